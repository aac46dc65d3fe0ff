#include "sim/sim_queue.h"

#include <assert.h>
#include <stdlib.h>

enum { SIM_QUEUE_ARITY = 4 }; /* flatter than a binary one, and its children lie together */

bool sim_queue_init(struct sim_queue *q)
{
    *q = (struct sim_queue) { .heap = malloc(sizeof *q->heap * SIM_EVENTS_MAX) };
    for (uint32_t i = 0; i < SIM_WAKES_MAX; i++)
        q->wakes[i].at = SIM_QUEUE_NEVER;
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

static bool wake_earlier(const struct sim_wake *a, const struct sim_wake *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void find_first(struct sim_queue *q)
{
    q->first = 0;
    for (uint32_t i = 1; i < q->wakes_end; i++)
        if (wake_earlier(&q->wakes[i], &q->wakes[q->first]))
            q->first = i;
}

void sim_queue_wake(struct sim_queue *q, uint32_t node, uint64_t at)
{
    assert(node < SIM_WAKES_MAX);
    struct sim_wake *w = &q->wakes[node];
    bool later = at >= w->at;
    *w = (struct sim_wake) { .at = at, .order = at == SIM_QUEUE_NEVER ? 0 : q->pushed++ };
    if (node >= q->wakes_end)
        q->wakes_end = node + 1;
    if (node == q->first) {
        if (later)
            find_first(q);
    } else if (wake_earlier(w, &q->wakes[q->first]))
        q->first = node;
}

/* Whether a wake-up comes before all that the heap has. */
static bool wake_is_next(const struct sim_queue *q)
{
    const struct sim_wake *w = &q->wakes[q->first];
    if (w->at == SIM_QUEUE_NEVER || q->count == 0)
        return w->at != SIM_QUEUE_NEVER;
    const struct sim_event *e = &q->heap[0];
    return w->at != e->at ? w->at < e->at : w->order < e->order;
}

static struct sim_event wake_event(const struct sim_queue *q)
{
    const struct sim_wake *w = &q->wakes[q->first];
    return (struct sim_event) {
        .at = w->at, .order = w->order, .kind = SIM_QUEUE_WAKE, .node = q->first
    };
}

bool sim_queue_pop(struct sim_queue *q, struct sim_event *out)
{
    if (wake_is_next(q)) {
        *out = wake_event(q);
        q->wakes[q->first].at = SIM_QUEUE_NEVER;
        find_first(q);
        return true;
    }
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

const struct sim_event *sim_queue_peek(struct sim_queue *q)
{
    if (wake_is_next(q)) {
        q->peeked = wake_event(q);
        return &q->peeked;
    }
    return q->count > 0 ? &q->heap[0] : NULL;
}
