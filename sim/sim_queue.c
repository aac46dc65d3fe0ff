#include "sim/sim_queue.h"

#include <stdlib.h>

enum { SIM_QUEUE_ARITY = 4 }; /* flatter than a binary one, and its children lie together */

bool sim_queue_init(struct sim_queue *q)
{
    *q = (struct sim_queue) { .heap = malloc(sizeof *q->heap * SIM_EVENTS_MAX) };
    return q->heap != NULL;
}

void sim_queue_close(struct sim_queue *q)
{
    free(q->heap);
    *q = (struct sim_queue) { 0 };
}

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

bool sim_queue_push(struct sim_queue *q, struct sim_event event)
{
    if (q->count == SIM_EVENTS_MAX)
        return false;
    event.order = q->pushed++;
    uint32_t at = q->count++;
    if (q->count > q->peak)
        q->peak = q->count;
    while (at > 0) {
        uint32_t parent = (at - 1) / SIM_QUEUE_ARITY;
        if (!earlier(&event, &q->heap[parent]))
            break;
        q->heap[at] = q->heap[parent];
        at = parent;
    }
    q->heap[at] = event;
    return true;
}

bool sim_queue_pop(struct sim_queue *q, struct sim_event *out)
{
    if (q->count == 0)
        return false;
    *out = q->heap[0];
    struct sim_event last = q->heap[--q->count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = at * SIM_QUEUE_ARITY + 1;
        if (child >= q->count)
            break;
        uint32_t end = child + SIM_QUEUE_ARITY < q->count ? child + SIM_QUEUE_ARITY : q->count;
        for (uint32_t other = child + 1; other < end; other++)
            if (earlier(&q->heap[other], &q->heap[child]))
                child = other;
        if (!earlier(&q->heap[child], &last))
            break;
        q->heap[at] = q->heap[child];
        at = child;
    }
    q->heap[at] = last;
    return true;
}

const struct sim_event *sim_queue_peek(const struct sim_queue *q)
{
    return q->count > 0 ? &q->heap[0] : NULL;
}
