#include "bench/throughput.h"

#include <cantus/cantus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/chain.h"
#include "bench/core.h"
#include "bench/stage.h"
#include "libclient/client_private.h"
#include "proto/batch.h"

enum {
    PAYLOAD_MAX = 1024,
    ROUND_MS = 400,
    BARE_MS = 200, /* of each of the bare programs, which vary less */
    LOSS_PPM = 10000,
    AHEAD_BYTES_MAX = 4 << 20 /* of the receiver: the stream itself waits for no receiver */
};
#define PATIENCE_NS UINT64_C(10000000000)
#define TOPIC       "/bench/throughput"

/* What a case is. */
struct plan {
    uint32_t payload_bytes;
    bool no_segmentation;
    bool recorded;
    bool core_floor; /* in messages: the sequencer's core alone */
    uint32_t ingress_loss_ppm, egress_loss_ppm;
    double target;
};

struct throughput {
    const struct bench_knobs *knobs;
    struct plan plan;
    uint8_t payload[PAYLOAD_MAX];
    struct stage stage;
    struct chain chain; /* what `loss` has no part for */
    struct cantus_client *client;
    struct cantus_pipe *pipe;
    uint64_t pushed;
    uint64_t seen;      /* of what was delivered, when last looked at */
    uint32_t ahead_max; /* messages */
};

/* ---- the receiver ---------------------------------------------------------------------------- */

static void on_message(void *ctx, const struct cantus_message *m)
{
    uint64_t *delivered = ctx;
    (void)m;
    ++*delivered; /* in order and without gaps: the client delivers nothing else */
}

static void lose(const struct throughput *t, struct transport *transport)
{
    uint32_t ppm = atomic_load_explicit(&t->stage.shared->egress_loss_ppm, memory_order_relaxed);
    if ((ppm != 0) != (transport->lose_below != 0))
        transport_lose(transport, (double)ppm / STAGE_SHARE_PPM, 3);
}

static struct cantus_client *open_client(const struct throughput *t, char *error)
{
    struct cantus_client_options options = { .source = t->stage.dir,
                                             .level = CANTUS_SEQUENCED,
                                             .name = "" };
    return cantus_client_open(&options, error);
}

static int receive(void *ctx, struct stage *s)
{
    struct throughput *t = ctx;
    char error[BENCH_ERROR_MAX] = "";
    uint64_t delivered = 0;
    struct cantus_client *client = open_client(t, error);
    if (client == NULL ||
        !cantus_client_subscribe(client, "/bench", on_message, &delivered, error)) {
        fprintf(stderr, "cantus: %s\n", error);
        return 1;
    }
    for (enum stage_phase phase; (phase = stage_phase_now(s)) != STAGE_END;) {
        if (phase != STAGE_CANTUS) {
            chain_receive(&t->chain, s);
            continue;
        }
        lose(t, client->transport);
        if (cantus_client_poll(client, 100 * 1000) != CANTUS_OK) {
            fprintf(stderr, "cantus: %s\n", cantus_client_error(client));
            return 1;
        }
        atomic_store_explicit(&s->shared->overflows, client->transport->counters.receive_overflows,
                              memory_order_relaxed);
        atomic_store_explicit(&s->shared->delivered, delivered, memory_order_release);
    }
    cantus_client_close(client);
    return 0;
}

static void relay(void *ctx, struct stage *s)
{
    struct throughput *t = ctx;
    chain_relay(&t->chain, s);
}

static int serve(void *ctx, struct stage *s)
{
    return stage_sequencer(s, relay, ctx);
}

static int record(void *ctx, struct stage *s)
{
    struct throughput *t = ctx;
    return chain_recorder(&t->chain, s);
}

/* ---- the publisher, which is this process ---------------------------------------------------- */

static uint64_t delivered(const struct throughput *t)
{
    return atomic_load_explicit(&t->stage.shared->delivered, memory_order_acquire);
}

static bool publish(struct throughput *t, uint64_t timeout_ns, char *error)
{
    if (cantus_client_poll(t->client, timeout_ns) == CANTUS_OK &&
        !atomic_load(&t->stage.shared->failed))
        return true;
    snprintf(error, BENCH_ERROR_MAX, "%s", cantus_client_error(t->client));
    return false;
}

/* The next one may go: neither the pipe's window nor the receiver's distance is used up. */
static bool push(struct throughput *t)
{
    uint32_t length = t->plan.payload_bytes;
    if (t->pushed - t->seen >= t->ahead_max) {
        t->seen = delivered(t);
        if (t->pushed - t->seen >= t->ahead_max)
            return false;
    }
    if (!cantus_pipe_push(t->pipe, TOPIC, t->payload, length))
        return false;
    t->pushed++;
    return true;
}

/* Publishes for `ms`, and until the receiver has it all. The rate of messages; negative: failed. */
static double run_cantus(struct throughput *t, uint32_t ms, char *error)
{
    uint64_t first = delivered(t), pushed = t->pushed;
    uint64_t began = stage_mono_ns(), now = began;
    while (now - began < (uint64_t)ms * 1000000) {
        while (push(t))
            continue;
        if (!publish(t, 100 * 1000, error))
            return -1;
        now = stage_mono_ns();
    }
    while (delivered(t) < t->pushed) {
        if (!publish(t, 100 * 1000, error))
            return -1;
        now = stage_mono_ns();
        if (now - began > PATIENCE_NS) {
            snprintf(error, BENCH_ERROR_MAX, "%llu of %llu messages did not arrive",
                     (unsigned long long)(t->pushed - delivered(t)),
                     (unsigned long long)(t->pushed - pushed));
            return -1;
        }
    }
    return (double)(t->pushed - first) * 1e9 / (double)(now - began);
}

static void set_loss(struct throughput *t, bool on)
{
    atomic_store(&t->stage.shared->ingress_loss_ppm, on ? t->plan.ingress_loss_ppm : 0);
    atomic_store(&t->stage.shared->egress_loss_ppm, on ? t->plan.egress_loss_ppm : 0);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static bool is_loss(const struct plan *p)
{
    return p->ingress_loss_ppm != 0 || p->egress_loss_ppm != 0;
}

static bool start(struct throughput *t, char *error)
{
    struct stage_options options = { .store = t->plan.recorded,
                                     .no_segmentation = t->plan.no_segmentation };
    const struct chain_options chain =
        chain_options_of(t->plan.payload_bytes, !t->plan.no_segmentation, t->plan.recorded);
    if (!stage_open(&t->stage, &options, error) ||
        (!is_loss(&t->plan) && !chain_open(&t->chain, &chain, &t->stage, error)) ||
        !stage_fork(&t->stage, serve, t, -1, error) ||
        (t->plan.recorded && !stage_fork(&t->stage, record, t, -1, error)) ||
        !stage_fork(&t->stage, receive, t, -1, error))
        return false;
    t->client = open_client(t, error);
    t->pipe = t->client != NULL ? cantus_pipe_open(t->client, "throughput", error) : NULL;
    if (t->pipe == NULL)
        return false;
    for (uint64_t began = stage_mono_ns(); delivered(t) == 0;) {
        t->pushed +=
            t->pushed == 0 && cantus_pipe_push(t->pipe, TOPIC, t->payload, t->plan.payload_bytes);
        if (!publish(t, 1000 * 1000, error))
            return false;
        if (stage_mono_ns() - began > PATIENCE_NS) {
            snprintf(error, BENCH_ERROR_MAX, "nothing was delivered within 10 s");
            return false;
        }
    }
    return true;
}

static void stop(struct throughput *t)
{
    if (t->client != NULL)
        cantus_client_close(t->client);
    stage_close(&t->stage);
    chain_close(&t->chain);
}

/* ---- measuring ------------------------------------------------------------------------------- */

/* Messages in a full batch. */
static uint32_t batch_messages(const struct throughput *t)
{
    return (t->stage.config.datagram_max - BATCH_HEADER_SIZE) /
           (MESSAGE_HEADER_SIZE + t->plan.payload_bytes);
}

static void describe(const struct throughput *t, struct bench_result *result, uint32_t rounds,
                     double messages_per_s, uint64_t batches)
{
    const struct plan *p = &t->plan;
    const struct stage_shared *shared = t->stage.shared;
    bench_set_u64(result, "payload_bytes", p->payload_bytes);
    bench_set_u64(result, "datagram_bytes", t->stage.config.datagram_max);
    bench_set_u64(result, "messages_per_datagram", batch_messages(t));
    bench_set_u64(result, "messages_per_s", (uint64_t)messages_per_s);
    bench_set_u64(result, "messages", t->pushed);
    bench_set_u64(result, "ahead_max", t->ahead_max);
    bench_set_u64(result, "batches", batches);
    bench_set_u64(result, "rounds", rounds);
    bench_set_u64(result, "processes", p->recorded ? 4 : 3);
    bench_set_u64(result, "ingress_loss_ppm", p->ingress_loss_ppm);
    bench_set_u64(result, "receiver_loss_ppm", p->egress_loss_ppm);
    bench_set_u64(result, "receiver_overflows", atomic_load(&shared->overflows));
    bench_set_u64(result, "resent", client_core_counters(t->client->core)[COUNTER_RESENT]);
    bench_set_text(result, "segmentation", p->no_segmentation ? "off" : "on");
    bench_set_text(result, "transport", "kernel");
    bench_set_text(result, "idle", "spin 50 us, then wait");
    result->wanted = p->target > 0 ? BENCH_AT_LEAST : BENCH_NO_TARGET;
    result->target = p->target;
    result->floor = is_loss(p) ? "the same processes while nothing is lost"
                               : "two bare processes, sendmmsg and recvmmsg of 64 datagrams";
}

/* Sums over the rounds. */
struct rates {
    double messages, floor, chain; /* the latter two: datagrams */
};

/* One round: the bare programs, then the measured part. */
static bool measure_round(struct throughput *t, struct rates *sum, char *error)
{
    if (is_loss(&t->plan)) {
        double lossless = run_cantus(t, ROUND_MS, error);
        if (lossless < 0)
            return false;
        sum->floor += lossless / batch_messages(t);
    } else {
        sum->floor += chain_floor(&t->chain, &t->stage, BARE_MS);
        sum->chain += chain_publish(&t->chain, &t->stage, BARE_MS);
    }
    set_loss(t, true);
    double measured = run_cantus(t, ROUND_MS, error);
    set_loss(t, false);
    sum->messages += measured;
    return measured >= 0;
}

static bool measure(struct throughput *t, struct bench_result *result, char *error)
{
    const struct bench_knobs *k = t->knobs;
    const uint32_t rounds = k->rounds != 0 ? k->rounds : 5;
    struct rates sum = { 0 };
    if (run_cantus(t, ROUND_MS / 2, error) < 0)
        return false;
    uint64_t batches = atomic_load(&t->stage.shared->batches);
    for (uint32_t round = 0; round < rounds; round++) {
        double before = sum.messages;
        if (!measure_round(t, &sum, error))
            return false;
        bench_series_add(result, (sum.messages - before) / batch_messages(t));
        k->progress(round + 1, rounds);
    }
    result->series_interval_s = ROUND_MS / 1e3;
    result->unit = "datagrams";
    result->rate_per_s = sum.messages / rounds / batch_messages(t);
    result->floor_rate_per_s = sum.floor / rounds;
    result->chain_rate_per_s = sum.chain / rounds;
    describe(t, result, rounds, sum.messages / rounds,
             atomic_load(&t->stage.shared->batches) - batches);
    return true;
}

/* 32-byte messages are held against what the sequencer's core does alone. */
static bool use_core_floor(const struct throughput *t, struct bench_result *result, char *error)
{
    struct bench_result *core = calloc(1, sizeof *core);
    struct bench_knobs knobs = { .rounds = 3, .progress = t->knobs->progress };
    if (core == NULL)
        return false;
    bool fine = core_run_100(&knobs, core, error);
    result->unit = "messages";
    result->rate_per_s *= batch_messages(t);
    result->chain_rate_per_s *= batch_messages(t);
    result->floor_rate_per_s = core->rate_per_s;
    result->floor = "the sequencer's core alone, without sockets";
    free(core);
    return fine;
}

static bool run(const struct bench_knobs *knobs, const struct plan *plan,
                struct bench_result *result, char *error)
{
    struct throughput *t = calloc(1, sizeof *t);
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (t == NULL)
        return false;
    t->knobs = knobs;
    t->plan = *plan;
    t->ahead_max = AHEAD_BYTES_MAX / (MESSAGE_HEADER_SIZE + plan->payload_bytes);
    bool fine = start(t, error) && measure(t, result, error);
    if (fine && plan->core_floor)
        fine = use_core_floor(t, result, error);
    stop(t);
    free(t);
    return fine;
}

/* ---- cases ----------------------------------------------------------------------------------- */

bool throughput_256(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, &(struct plan) { .payload_bytes = 256, .target = 5 }, result, error);
}

bool throughput_1024(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, &(struct plan) { .payload_bytes = 1024, .target = 5 }, result, error);
}

bool throughput_32(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, &(struct plan) { .payload_bytes = 32, .core_floor = true, .target = .6 }, result,
               error);
}

bool throughput_256_no_gso(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, &(struct plan) { .payload_bytes = 256, .no_segmentation = true, .target = .6 },
               result, error);
}

bool throughput_1024_no_gso(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, &(struct plan) { .payload_bytes = 1024, .no_segmentation = true, .target = .6 },
               result, error);
}

bool throughput_32_no_gso(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, &(struct plan) { .payload_bytes = 32, .no_segmentation = true, .target = .6 },
               result, error);
}

bool throughput_recorded(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, &(struct plan) { .payload_bytes = 256, .recorded = true }, result, error);
}

bool throughput_recorded_no_gso(const struct bench_knobs *k, struct bench_result *result,
                                char *error)
{
    return run(k,
               &(struct plan) {
                   .payload_bytes = 256, .no_segmentation = true, .recorded = true, .target = .5 },
               result, error);
}

bool loss_receiver(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k,
               &(struct plan) { .payload_bytes = 256, .egress_loss_ppm = LOSS_PPM, .target = .85 },
               result, error);
}

bool loss_ingress(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k,
               &(struct plan) { .payload_bytes = 256, .ingress_loss_ppm = LOSS_PPM, .target = .7 },
               result, error);
}

bool loss_both(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k,
               &(struct plan) { .payload_bytes = 256,
                                .ingress_loss_ppm = LOSS_PPM,
                                .egress_loss_ppm = LOSS_PPM,
                                .target = .6 },
               result, error);
}
