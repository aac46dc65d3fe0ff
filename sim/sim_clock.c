#include "sim/sim_clock.h"

void sim_clock_start(struct sim_clock *c, uint64_t now_ns)
{
    c->started_at = now_ns;
}

uint64_t sim_clock_due(const struct sim_clock *c, uint64_t now_ns, uint64_t mono_ns)
{
    if (mono_ns == PORT_NEVER)
        return PORT_NEVER;
    uint64_t mono_now = sim_clock_read(c, now_ns).mono_ns;
    if (mono_ns <= mono_now)
        return now_ns + 1;
    uint64_t ahead = mono_ns - mono_now;
    /* Beyond some hours a deadline is as good as none, and the arithmetic below would overflow. */
    if (ahead > UINT64_C(1000000000000))
        return PORT_NEVER;
    return now_ns + ahead * 1000000 / (uint64_t)(1000000 + c->drift_ppm) + 1;
}

void sim_clock_jump(struct sim_clock *c, int64_t by_ns)
{
    c->wall_off_ns += by_ns;
}
