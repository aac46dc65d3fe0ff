/* A histogram of the HDR kind: log-linear buckets, 128 to each power of two, so that any percentile
 * is known to better than 1 %. Records from 1 ns to 2^40 ns; no allocation. */
#ifndef CANTUS_BENCH_HISTOGRAM_H
#define CANTUS_BENCH_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_SUB_BITS = 7,
    HISTOGRAM_BUCKETS = (41 - HISTOGRAM_SUB_BITS) << HISTOGRAM_SUB_BITS
};

struct histogram {
    uint64_t total;
    uint64_t max;
    uint64_t counts[HISTOGRAM_BUCKETS];
};

void histogram_reset(struct histogram *h);
void histogram_record(struct histogram *h, uint64_t value_ns);
/* The same value `count` times. */
void histogram_add(struct histogram *h, uint64_t value_ns, uint64_t count);
/* The highest value of a bucket of counts[]. */
uint64_t histogram_highest(uint32_t bucket);
/* The value at or below which `share` (0..1) of the recorded ones lie; 0 if there are none. */
uint64_t histogram_at(const struct histogram *h, double share);

#endif
