/* What will happen, in order of time; ties in the order of scheduling.
 *
 * A heap of fixed size, and beside it one wake-up for each node: those are moved all the time, and
 * would leave the heap full of what is no longer meant. */
#ifndef CANTUS_SIM_SIM_QUEUE_H
#define CANTUS_SIM_SIM_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

enum { SIM_EVENTS_MAX = 1 << 16, SIM_WAKES_MAX = 64, SIM_QUEUE_WAKE = 1 /* the kind */ };
#define SIM_QUEUE_NEVER UINT64_MAX

struct sim_event {
    uint64_t at;
    uint64_t order; /* set by sim_queue_push */
    uint32_t kind;  /* enum sim_event_kind */
    uint32_t node;
    uint32_t a;
    uint32_t b;
};

struct sim_wake {
    uint64_t at; /* SIM_QUEUE_NEVER: none */
    uint64_t order;
};

struct sim_queue {
    struct sim_event *heap; /* SIM_EVENTS_MAX */
    uint32_t count;
    uint32_t peak;
    uint64_t pushed;
    struct sim_wake wakes[SIM_WAKES_MAX]; /* by node */
    uint32_t wakes_end;                   /* none at or above was ever set */
    uint32_t first;                       /* of the wake-ups; with none, any */
    struct sim_event peeked;
};

bool sim_queue_init(struct sim_queue *q); /* false: no memory */
void sim_queue_close(struct sim_queue *q);
bool sim_queue_push(struct sim_queue *q, struct sim_event event); /* false: full */
bool sim_queue_pop(struct sim_queue *q, struct sim_event *out);   /* false: empty */
/* NULL: empty. Valid until the next call. */
const struct sim_event *sim_queue_peek(struct sim_queue *q);

/* Sets a node's wake-up anew, or takes it away: comes as an event of the kind SIM_QUEUE_WAKE. */
void sim_queue_wake(struct sim_queue *q, uint32_t node, uint64_t at);
static inline uint64_t sim_queue_wake_at(const struct sim_queue *q, uint32_t node)
{
    return q->wakes[node].at;
}

#endif
