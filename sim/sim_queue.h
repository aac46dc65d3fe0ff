/* What will happen, in order of time; ties in the order of scheduling. A heap of fixed size. */
#ifndef CANTUS_SIM_SIM_QUEUE_H
#define CANTUS_SIM_SIM_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

enum { SIM_EVENTS_MAX = 1 << 16 };

struct sim_event {
    uint64_t at;
    uint64_t order; /* set by sim_queue_push */
    uint32_t kind;  /* enum sim_event_kind */
    uint32_t node;
    uint32_t a;
    uint32_t b;
};

struct sim_queue {
    struct sim_event *heap; /* SIM_EVENTS_MAX */
    uint32_t count;
    uint32_t peak;
    uint64_t pushed;
};

bool sim_queue_init(struct sim_queue *q); /* false: no memory */
void sim_queue_close(struct sim_queue *q);
bool sim_queue_push(struct sim_queue *q, struct sim_event event); /* false: full */
bool sim_queue_pop(struct sim_queue *q, struct sim_event *out);   /* false: empty */
const struct sim_event *sim_queue_peek(const struct sim_queue *q);

#endif
