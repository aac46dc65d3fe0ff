#include "bench/spent.h"

void spent_add(struct spent *total, const struct spent *round, struct bench_result *result)
{
    total->messages += round->messages;
    total->ns += round->ns;
    total->floor_ns += round->floor_ns;
    bench_series_add(result, (double)round->messages * 1e9 / (double)round->ns);
}

void spent_close(const struct spent *total, uint32_t rounds, struct bench_result *result)
{
    result->rate_per_s = (double)total->messages * 1e9 / (double)total->ns;
    result->floor_rate_per_s = (double)total->messages * 1e9 / (double)total->floor_ns;
    bench_set_u64(result, "messages", total->messages);
    bench_set_u64(result, "rounds", rounds);
}
