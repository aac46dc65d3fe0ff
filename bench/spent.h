/* What messages cost a thread, and its floor, in rounds of both in turn. */
#ifndef CANTUS_BENCH_SPENT_H
#define CANTUS_BENCH_SPENT_H

#include "bench/bench.h"

struct spent {
    uint64_t messages;
    uint64_t ns;
    uint64_t floor_ns;
};

/* A round's, which is a point of the series. */
void spent_add(struct spent *total, const struct spent *round, struct bench_result *result);
/* The rates. */
void spent_close(const struct spent *total, uint32_t rounds, struct bench_result *result);

#endif
