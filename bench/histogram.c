#include "bench/histogram.h"

#include <string.h>

static uint32_t bucket_of(uint64_t value)
{
    const uint64_t sub = UINT64_C(1) << HISTOGRAM_SUB_BITS;
    if (value < sub * 2)
        return (uint32_t)value;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    uint64_t bucket = ((uint64_t)shift << HISTOGRAM_SUB_BITS) + (value >> shift);
    return bucket < HISTOGRAM_BUCKETS ? (uint32_t)bucket : HISTOGRAM_BUCKETS - 1;
}

uint64_t histogram_highest(uint32_t bucket)
{
    const uint32_t sub = 1u << HISTOGRAM_SUB_BITS;
    if (bucket < sub * 2)
        return bucket;
    uint32_t shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t base = (uint64_t)(bucket - (shift << HISTOGRAM_SUB_BITS));
    return ((base + 1) << shift) - 1;
}

void histogram_reset(struct histogram *h)
{
    memset(h, 0, sizeof *h);
}

void histogram_record(struct histogram *h, uint64_t value_ns)
{
    h->counts[bucket_of(value_ns)]++;
    h->total++;
    if (value_ns > h->max)
        h->max = value_ns;
}

void histogram_add(struct histogram *h, uint64_t value_ns, uint64_t count)
{
    h->counts[bucket_of(value_ns)] += count;
    h->total += count;
    if (count > 0 && value_ns > h->max)
        h->max = value_ns;
}

uint64_t histogram_at(const struct histogram *h, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)h->total + 0.5), seen = 0;
    if (wanted == 0)
        wanted = 1;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen >= wanted)
            return histogram_highest(i) < h->max ? histogram_highest(i) : h->max;
    }
    return h->max;
}
