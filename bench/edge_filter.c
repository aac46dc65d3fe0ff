/* What the proxy takes in when nearly nobody wants it. */
#include <cantus/cantus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/edge.h"
#include "bench/edge_stage.h"
#include "proto/batch.h"
#include "proto/edge.h"
#include "proto/wire.h"
#include "proxy/core.h"

enum {
    PAYLOAD_BYTES = 256,
    PAYLOAD_MAX = 1024,
    ROUND_MS = 400,
    WANTED_ONE_IN = 100,
    PER_SESSION = 1000, /* subtrees */
    AHEAD_BYTES_MAX = 4 << 20
};
#define PATIENCE_NS UINT64_C(10000000000)

/* In memory that all processes share. */
struct shared {
    _Atomic uint64_t through; /* messages: taken in */
    _Atomic bool ready, failed;
};

/* A deployment whose stream is taken in by the proxy, or (the floor) by a client on the core. */
struct side {
    struct edge_stage edge;
    bool is_proxy;
    uint32_t subscriptions;
    struct key_pair key;
    struct shared *shared;
    struct cantus_client *client;
    struct cantus_pipe *pipe;
    uint64_t pushed, first;
};

struct filter {
    const struct bench_knobs *knobs;
    uint32_t payload_bytes;
    uint64_t ahead_max;
    struct side proxy, bare;
    uint8_t payload[PAYLOAD_MAX];
};

/* ---- the other processes --------------------------------------------------------------------- */

static int serve(void *ctx, struct stage *s)
{
    (void)ctx;
    return stage_sequencer(s, NULL, NULL);
}

static void note(void *ctx, const struct proxy *core)
{
    struct side *side = ctx;
    atomic_store_explicit(&side->shared->through, proxy_seq(core), memory_order_release);
}

static int proxy(void *ctx, struct stage *s)
{
    struct side *side = ctx;
    const struct edge_proxy_watch watch = { .round = note, .ctx = side };
    (void)s;
    return edge_stage_proxy(&side->edge, &watch);
}

static void on_message(void *ctx, const struct cantus_message *m)
{
    (void)ctx;
    (void)m;
}

static int receive(void *ctx, struct stage *s)
{
    struct side *side = ctx;
    char error[BENCH_ERROR_MAX] = "";
    struct cantus_client_options options = { .source = s->dir,
                                             .level = CANTUS_SEQUENCED,
                                             .name = "" };
    struct cantus_client *c = cantus_client_open(&options, error);
    if (c == NULL || !cantus_client_subscribe(c, EDGE_SUBTREE, on_message, NULL, error)) {
        fprintf(stderr, "cantus: %s\n", error);
        return 1;
    }
    for (enum stage_phase phase; (phase = stage_phase_now(s)) != STAGE_END;) {
        if (phase != STAGE_CANTUS)
            stage_sleep_ms(1);
        else if (cantus_client_poll(c, 100 * 1000) != CANTUS_OK)
            return 1;
        atomic_store_explicit(&side->shared->through, cantus_client_seq(c), memory_order_release);
    }
    cantus_client_close(c);
    return 0;
}

/* More subtrees of a session, none of which anything is ever on. */
static bool add_subtrees(int fd, uint32_t first, uint32_t count)
{
    static uint8_t frame[64 * 1024], list[48 * 1024];
    size_t length = 0;
    for (uint32_t i = 0; i < count; i++) {
        int n = snprintf((char *)list + length + 1, 32, "/none/%u", first + i);
        list[length] = (uint8_t)n;
        length += 1 + (size_t)n;
    }
    struct edge_change change = { .add = {
                                      .count = (uint16_t)count, .at = list, .length = length } };
    return edge_send_all(fd, frame, edge_change_encode(&change, frame, sizeof frame));
}

/* Everybody wants the same hundredth; the first session reads it, the others' subtrees are their own. */
static int subscribe(void *ctx, struct stage *s)
{
    struct side *side = ctx;
    char error[BENCH_ERROR_MAX] = "";
    uint8_t bytes[64 * 1024];
    uint32_t sessions = (side->subscriptions + PER_SESSION - 1) / PER_SESSION,
             left = side->subscriptions;
    int first = -1;
    for (uint32_t i = 0; i < sessions; i++) {
        int fd = edge_client_open(&side->edge, &side->key, EDGE_SUBTREE "/wanted", error);
        uint32_t count = left < PER_SESSION ? left : PER_SESSION;
        if (fd < 0 || (count > 1 && !add_subtrees(fd, i * PER_SESSION, count - 1))) {
            fprintf(stderr, "cantus: %s\n", error);
            atomic_store(&side->shared->failed, true);
            return 1;
        }
        left -= count;
        first = first < 0 ? fd : first;
    }
    atomic_store(&side->shared->ready, true);
    while (stage_phase_now(s) != STAGE_END)
        (void)!read(first, bytes, sizeof bytes); /* gives up after a while, and looks again */
    return 0;
}

/* ---- the publisher, which is this process ---------------------------------------------------- */

static uint64_t through(const struct side *side)
{
    return atomic_load_explicit(&side->shared->through, memory_order_acquire) - side->first;
}

static bool publish(struct filter *f, struct side *side, bool push, char *error)
{
    static const char *const topics[] = { EDGE_TOPIC "/a", EDGE_TOPIC "/b", EDGE_TOPIC "/c" };
    uint64_t seen = through(side);
    while (push && (side->first == 0 ? side->pushed < 1 : side->pushed < seen + f->ahead_max)) {
        const char *topic =
            side->pushed % WANTED_ONE_IN == 0 ? EDGE_SUBTREE "/wanted" : topics[side->pushed % 3];
        if (!cantus_pipe_push(side->pipe, topic, f->payload, f->payload_bytes))
            break;
        side->pushed++;
    }
    if (cantus_client_poll(side->client, 100 * 1000) == CANTUS_OK &&
        !atomic_load(&side->shared->failed) && !atomic_load(&side->edge.stage.shared->failed))
        return true;
    snprintf(error, BENCH_ERROR_MAX, "%s", cantus_client_error(side->client));
    return false;
}

/* Messages a second; below 0: failed. */
static double run_for(struct filter *f, struct side *side, uint32_t ms, char *error)
{
    stage_set_phase(&side->edge.stage, STAGE_CANTUS);
    uint64_t first = side->pushed, began = stage_mono_ns(), now = began;
    /* /sys is in the stream, too: what counts is that the pipe's own are sequenced, and taken in. */
    uint64_t target = UINT64_MAX;
    while (now - began < (uint64_t)ms * 1000000 || through(side) < target) {
        bool push = now - began < (uint64_t)ms * 1000000;
        if (!publish(f, side, push, error))
            return -1;
        if (!push && target == UINT64_MAX && cantus_pipe_in_flight(side->pipe) == 0)
            target = cantus_client_seq(side->client) - side->first;
        now = stage_mono_ns();
        if (now - began > PATIENCE_NS) {
            snprintf(error, BENCH_ERROR_MAX, "not everything was taken in");
            return -1;
        }
    }
    stage_set_phase(&side->edge.stage, STAGE_CHAIN);
    return (double)(side->pushed - first) * 1e9 / (double)(now - began);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static bool start_side(struct filter *f, struct side *side, char *error)
{
    const struct stage_options options = { .spin = false };
    struct stage *s = &side->edge.stage;
    char text[KEY_PAIR_ERROR_MAX] = "";
    if (!edge_stage_open(&side->edge, &options, error))
        return false;
    snprintf(error, BENCH_ERROR_MAX, "out of memory, or no key");
    void *memory =
        mmap(NULL, sizeof *side->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    side->shared = memory != MAP_FAILED ? memory : NULL;
    if (side->shared == NULL || !key_pair_read(side->edge.key_file, &side->key, text) ||
        !stage_fork(s, serve, side, -1, error) ||
        !stage_fork(s, side->is_proxy ? proxy : receive, side, -1, error) ||
        (side->is_proxy && !stage_fork(s, subscribe, side, -1, error)))
        return false;
    for (uint64_t began = stage_mono_ns(); side->is_proxy && !atomic_load(&side->shared->ready);) {
        stage_sleep_ms(5);
        if (stage_mono_ns() - began < PATIENCE_NS && !atomic_load(&side->shared->failed))
            continue;
        snprintf(error, BENCH_ERROR_MAX, "the subscribers were not let in");
        return false;
    }
    struct cantus_client_options client = { .source = s->dir,
                                            .level = CANTUS_SEQUENCED,
                                            .name = "" };
    side->client = cantus_client_open(&client, error);
    side->pipe = side->client != NULL ? cantus_pipe_open(side->client, "filter", error) : NULL;
    if (side->pipe == NULL)
        return false;
    /* One message is there when the topics and publishers are: what comes behind it is counted. */
    for (uint64_t began = stage_mono_ns();
         side->pushed < 1 || cantus_pipe_in_flight(side->pipe) > 0;) {
        if (!publish(f, side, true, error))
            return false;
        snprintf(error, BENCH_ERROR_MAX, "the sequencer did not answer");
        if (stage_mono_ns() - began > PATIENCE_NS)
            return false;
    }
    side->first = cantus_client_seq(side->client) - side->pushed;
    return true;
}

static void stop_side(struct side *side)
{
    if (side->client != NULL)
        cantus_client_close(side->client);
    stage_close(&side->edge.stage);
    if (side->shared != NULL)
        munmap(side->shared, sizeof *side->shared);
}

/* ---- measuring ------------------------------------------------------------------------------- */

/* The CPU time of the proxy so far. */
static uint64_t proxy_cpu_ns(const struct filter *f)
{
    return stage_cpu_ns(f->proxy.edge.stage.children[1]);
}

static bool measure(struct filter *f, struct bench_result *result, char *error)
{
    const uint32_t rounds = f->knobs->rounds != 0 ? f->knobs->rounds : 5;
    double sum = 0, floor = 0;
    uint64_t cpu = 0, messages = 0;
    for (uint32_t round = 0; round <= rounds; round++) { /* the first is for warming up */
        double bare = run_for(f, &f->bare, ROUND_MS, error);
        uint64_t before = proxy_cpu_ns(f), pushed = f->proxy.pushed;
        double measured = bare >= 0 ? run_for(f, &f->proxy, ROUND_MS, error) : -1;
        if (measured < 0)
            return false;
        f->knobs->progress(round, rounds);
        if (round == 0)
            continue;
        cpu += proxy_cpu_ns(f) - before;
        messages += f->proxy.pushed - pushed;
        bench_series_add(result, measured);
        sum += measured;
        floor += bare;
    }
    result->series_interval_s = ROUND_MS / 1e3;
    result->unit = "messages";
    result->rate_per_s = sum / rounds;
    result->floor_rate_per_s = floor / rounds;
    result->wanted = BENCH_AT_LEAST;
    result->target = .95;
    result->floor = "a receiver on the core, as in throughput";
    bench_set_u64(result, "payload_bytes", f->payload_bytes);
    bench_set_u64(result, "subscriptions", f->proxy.subscriptions);
    bench_set_u64(result, "wanted_one_in", WANTED_ONE_IN);
    bench_set_u64(result, "messages", messages);
    bench_set_u64(result, "proxy_ns_per_message", messages > 0 ? cpu / messages : 0);
    bench_set_u64(result, "rounds", rounds);
    bench_set_text(result, "idle", "spin 50 us, then wait");
    return true;
}

static bool run(const struct bench_knobs *k, uint32_t subscriptions, struct bench_result *result,
                char *error)
{
    struct filter *f = calloc(1, sizeof *f);
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (f == NULL)
        return false;
    f->knobs = k;
    f->payload_bytes = k->payload_bytes != 0 ? k->payload_bytes : PAYLOAD_BYTES;
    f->ahead_max = AHEAD_BYTES_MAX / (MESSAGE_HEADER_SIZE + f->payload_bytes);
    f->proxy.is_proxy = true;
    f->proxy.subscriptions = subscriptions;
    bool fine = start_side(f, &f->bare, error);
    if (fine)
        stage_set_phase(&f->bare.edge.stage, STAGE_CHAIN);
    fine = fine && start_side(f, &f->proxy, error) && measure(f, result, error);
    stop_side(&f->proxy);
    stop_side(&f->bare);
    free(f);
    return fine;
}

bool edge_filter_1(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, 1, result, error);
}

bool edge_filter_100(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, 100, result, error);
}

bool edge_filter_10000(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, 10000, result, error);
}
