/* `cantus bench chain`: the chain by itself, against the floor. */
#include <stdlib.h>

#include "bench/chain.h"

enum { ROUNDS = 3, ROUND_MS = 200, WARM_UP_MS = 100, PAYLOAD_BYTES = 256 };

static bool start(struct chain *c, struct stage *s, const struct chain_options *options,
                  char *error)
{
    const struct stage_options stage = { .no_segmentation = !options->segmentation };
    return stage_open(s, &stage, error) && chain_open(c, options, s, error) &&
           stage_fork(s, chain_relay_alone, c, -1, error) &&
           (!options->recorded || stage_fork(s, chain_recorder, c, -1, error)) &&
           stage_fork(s, chain_receiver_alone, c, -1, error);
}

static void measure(struct chain *c, struct stage *s, const struct bench_knobs *k,
                    struct bench_result *result)
{
    const uint32_t rounds = k->rounds != 0 ? k->rounds : ROUNDS;
    double rate = 0, floor = 0;
    (void)chain_publish(c, s, WARM_UP_MS);
    for (uint32_t round = 0; round < rounds; round++) {
        double below = chain_floor(c, s, ROUND_MS), measured = chain_publish(c, s, ROUND_MS);
        floor += below;
        rate += measured;
        bench_series_add(result, measured);
        k->progress(round + 1, rounds);
    }
    result->series_interval_s = ROUND_MS / 1e3;
    result->rate_per_s = rate / rounds;
    result->floor_rate_per_s = floor / rounds;
    bench_set_u64(result, "rounds", rounds);
}

static void describe(const struct chain *c, struct bench_result *result)
{
    const struct chain_options *o = &c->options;
    result->unit = "datagrams";
    result->floor = "two bare processes, sendmmsg and recvmmsg of 64 datagrams";
    bench_set_u64(result, "proposal_bytes", o->proposal_bytes);
    bench_set_u64(result, "batch_bytes", o->batch_bytes);
    bench_set_u64(result, "window", o->window);
    bench_set_u64(result, "ahead_max", o->ahead_max);
    bench_set_u64(result, "datagrams", c->sent);
    bench_set_u64(result, "lost", c->received_lost);
    bench_set_u64(result, "processes", o->recorded ? 4 : 3);
    bench_set_u64(result, "digests", o->hashed ? 5 : 0);
    bench_set_text(result, "segmentation", o->segmentation ? "on" : "off");
    bench_set_text(result, "idle", "spin 50 us, then wait");
}

/* What a case is. */
struct plan {
    bool segmentation, recorded, hashed;
};

static bool run(const struct bench_knobs *k, struct plan plan, struct bench_result *result,
                char *error)
{
    uint32_t payload_bytes = k->payload_bytes != 0 ? k->payload_bytes : PAYLOAD_BYTES;
    struct chain_options options =
        chain_options_of(payload_bytes, plan.segmentation, plan.recorded);
    struct chain *c = calloc(1, sizeof *c);
    struct stage s = { 0 };
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (c == NULL)
        return false;
    options.alone = true;
    options.hashed = plan.hashed;
    bench_set_u64(result, "payload_bytes", payload_bytes);
    bool fine = start(c, &s, &options, error);
    if (fine) {
        measure(c, &s, k, result);
        describe(c, result);
        snprintf(error, BENCH_ERROR_MAX, "a process gave up");
        fine = !atomic_load(&s.shared->failed);
    }
    stage_close(&s);
    chain_close(c);
    free(c);
    return fine;
}

bool chain_gso(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, (struct plan) { .segmentation = true }, result, error);
}

bool chain_gso_hashed(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, (struct plan) { .segmentation = true, .hashed = true }, result, error);
}

bool chain_no_gso(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, (struct plan) { 0 }, result, error);
}

bool chain_recorded(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, (struct plan) { .segmentation = true, .recorded = true }, result, error);
}

bool chain_recorded_no_gso(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, (struct plan) { .recorded = true }, result, error);
}
