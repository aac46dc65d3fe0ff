/* The clocks of one host: a monotonic one that starts with it and drifts, and a wall clock that is
 * off, drifts and jumps both ways. */
#ifndef CANTUS_SIM_SIM_CLOCK_H
#define CANTUS_SIM_SIM_CLOCK_H

#include "transport/port.h"

struct sim_clock {
    uint64_t started_at; /* in the run's time */
    int64_t drift_ppm;   /* -1000 .. 1000 */
    int64_t wall_off_ns;
};

/* When the run begins, by the true wall clock. */
#define SIM_CLOCK_EPOCH_NS      UINT64_C(1430438400000000000)
#define SIM_CLOCK_MONO_START_NS UINT64_C(1000000)

void sim_clock_start(struct sim_clock *c, uint64_t now_ns);

static inline int64_t sim_clock_drifted(const struct sim_clock *c, uint64_t elapsed_ns)
{
    return (int64_t)elapsed_ns + (int64_t)elapsed_ns * c->drift_ppm / 1000000;
}

static inline struct port_time sim_clock_read(const struct sim_clock *c, uint64_t now_ns)
{
    return (struct port_time) {
        .mono_ns = SIM_CLOCK_MONO_START_NS + (uint64_t)sim_clock_drifted(c, now_ns - c->started_at),
        .wall_ns = SIM_CLOCK_EPOCH_NS + (uint64_t)(sim_clock_drifted(c, now_ns) + c->wall_off_ns),
    };
}

/* The run's time at which mono_ns will be reached; never before `now_ns` + 1. */
uint64_t sim_clock_due(const struct sim_clock *c, uint64_t now_ns, uint64_t mono_ns);
void sim_clock_jump(struct sim_clock *c, int64_t by_ns);

#endif
