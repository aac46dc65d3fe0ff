#include "bench/spent.h"

enum { ROUNDS = 20, MESSAGES = 1000000 };

bool spent_measure(const struct bench_knobs *k, uint32_t warm_up, spent_round *round, void *ctx,
                   struct bench_result *result, char *error)
{
    const uint32_t rounds = k->rounds != 0 ? k->rounds : ROUNDS;
    const uint64_t messages = k->count != 0 ? k->count : MESSAGES;
    struct spent total = { 0 };
    for (uint32_t i = 0; i < warm_up + rounds; i++) {
        struct spent s = { 0 };
        if (!round(ctx, messages, &s, error))
            return false;
        k->progress(i + 1, warm_up + rounds);
        if (i < warm_up)
            continue;
        total.messages += s.messages;
        total.ns += s.ns;
        total.floor_ns += s.floor_ns;
        bench_series_add(result, (double)s.messages * 1e9 / (double)s.ns);
    }
    result->rate_per_s = (double)total.messages * 1e9 / (double)total.ns;
    result->floor_rate_per_s = (double)total.messages * 1e9 / (double)total.floor_ns;
    bench_set_u64(result, "messages", total.messages);
    bench_set_u64(result, "rounds", rounds);
    bench_set_text(result, "clock", "cpu time of the thread");
    return true;
}
