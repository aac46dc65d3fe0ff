#include "bench/core.h"

#include "bench/clock.h"
#include "bench/leader.h"
#include "bench/spent.h"
#include "shell/pages.h"

enum {
    TOPICS = 10000,
    ROUNDS = 20,
    WARM_UP = 2,        /* rounds before: the ring is touched for the first time */
    MESSAGES = 1000000, /* in a round */
    CHUNK = 256         /* datagrams made at a time: what a receive buffer holds, in cache */
};

/* Floor and core take the same chunk in turn. */
static void round_of(struct leader *l, uint64_t messages, struct spent *s)
{
    for (uint64_t done = 0; done < messages;) {
        done += leader_make(l, CHUNK);
        uint64_t began = bench_cpu_ns();
        leader_floor(l);
        uint64_t between = bench_cpu_ns();
        leader_run(l);
        s->ns += bench_cpu_ns() - between;
        s->floor_ns += between - began;
        s->messages = done;
    }
}

static bool measure(struct leader *l, const struct bench_knobs *k, struct bench_result *result,
                    char *error)
{
    const uint32_t rounds = k->rounds != 0 ? k->rounds : ROUNDS;
    const uint64_t messages = k->count != 0 ? k->count : MESSAGES;
    struct spent total = { 0 };
    for (uint32_t round = 0; round < WARM_UP + rounds; round++) {
        struct spent s = { 0 };
        uint64_t tip = sequencer_tip(leader_core(l));
        round_of(l, messages, &s);
        if (sequencer_tip(leader_core(l)) < tip + s.messages) {
            snprintf(error, BENCH_ERROR_MAX, "of %llu messages proposed, %llu were sequenced",
                     (unsigned long long)s.messages,
                     (unsigned long long)(sequencer_tip(leader_core(l)) - tip));
            return false;
        }
        if (round >= WARM_UP)
            spent_add(&total, &s, result);
        k->progress(round + 1, WARM_UP + rounds);
    }
    spent_close(&total, rounds, result);
    bench_set_text(result, "clock", "cpu time of the thread");
    return true;
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
    bool fine = measure(l, k, result, error);
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
