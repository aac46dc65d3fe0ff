/* The time that a case without sockets measures by. */
#ifndef CANTUS_BENCH_CLOCK_H
#define CANTUS_BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Of this thread: where nothing waits, what neighbours take of the core is not the case's. */
static inline uint64_t bench_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static inline uint64_t bench_mono_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

#endif
