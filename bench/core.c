#include "bench/core.h"

#include "bench/clock.h"
#include "bench/leader.h"
#include "bench/spent.h"
#include "shell/pages.h"

enum {
    TOPICS = 10000,
    WARM_UP = 2, /* rounds before: the ring is touched for the first time */
    CHUNK = 256  /* datagrams made at a time: what a receive buffer holds, in cache */
};

/* Floor and core take the same chunk in turn. */
static bool round_of(void *ctx, uint64_t messages, struct spent *s, char *error)
{
    struct leader *l = ctx;
    const uint64_t tip = sequencer_tip(leader_core(l));
    while (s->messages < messages) {
        s->messages += leader_make(l, CHUNK);
        uint64_t began = bench_cpu_ns();
        leader_floor(l);
        uint64_t between = bench_cpu_ns();
        leader_run(l);
        s->ns += bench_cpu_ns() - between;
        s->floor_ns += between - began;
    }
    const uint64_t sequenced = sequencer_tip(leader_core(l)) - tip;
    if (sequenced < s->messages)
        snprintf(error, BENCH_ERROR_MAX, "of %llu messages proposed, %llu were sequenced",
                 (unsigned long long)s->messages, (unsigned long long)sequenced);
    return sequenced >= s->messages;
}

static bool run(const struct bench_knobs *k, uint32_t publishers, double wanted,
                struct bench_result *result, char *error)
{
    struct leader_options o = { .publishers = publishers,
                                .topics = TOPICS,
                                .payload_bytes = k->payload_bytes != 0 ? k->payload_bytes : 32 };
    struct leader *l = leader_create(&o);
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (l == NULL)
        return false;
    bench_set_u64(result, "huge_pages_mib", k->small_pages ? 0 : pages_ask() >> 20);
    bench_set_u64(result, "payload_bytes", o.payload_bytes);
    bench_set_u64(result, "publishers", publishers);
    bench_set_u64(result, "topics", TOPICS);
    bench_set_u64(result, "datagram_bytes", WIRE_DATAGRAM_DEFAULT);
    bench_set_u64(result, "stores", LEADER_STORES);
    bench_set_u64(result, "ack_lag_batches", LEADER_ACK_LAG);
    result->unit = "messages";
    result->floor = "the same datagrams: their checksums, a copy of each payload, the digests";
    result->target_rate_per_s = wanted;
    bool fine = spent_measure(k, WARM_UP, round_of, l, result, error);
    leader_destroy(l);
    return fine;
}

bool core_run_100(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, 100, 40e6, result, error);
}

bool core_run_100000(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, 100000, 20e6, result, error);
}
