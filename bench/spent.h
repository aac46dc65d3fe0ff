/* What messages cost a thread, and its floor, in rounds of both in turn. */
#ifndef CANTUS_BENCH_SPENT_H
#define CANTUS_BENCH_SPENT_H

#include "bench/bench.h"

/* Of a round: CPU time of the thread. */
struct spent {
    uint64_t messages;
    uint64_t ns;
    uint64_t floor_ns;
};

/* At least so many messages; adds up what they cost. False with a text in error[BENCH_ERROR_MAX]: it was not they
 * that came out. */
typedef bool spent_round(void *ctx, uint64_t messages, struct spent *s, char *error);

/* After `warm_up` rounds 20 of a million messages, unless the knobs say otherwise: each a point of the series; the
 * rates are those of all. */
bool spent_measure(const struct bench_knobs *k, uint32_t warm_up, spent_round *round, void *ctx,
                   struct bench_result *result, char *error);

#endif
