/* One stream to many subscribers, each of which sees the whole order. */
#include <cantus/cantus.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/edge.h"
#include "bench/edge_crowd.h"
#include "bench/edge_stage.h"
#include "bench/nats.h"
#include "proto/wire.h"

enum {
    PAYLOAD_BYTES = 128,
    PAYLOAD_MAX = 1024,
    ROUND_MS = 400,
    AHEAD_BYTES_MAX = 2 << 20, /* of the slowest subscriber; so that none is left behind */
    DELIVERIES_MAX = 1 << 20,  /* the same: that are still to be made */
    PUSHES = 1024,             /* messages between two rounds of the client; */
    BURST = 256,               /* that are handed to nats-server in one call */
    STAGE_PEER = STAGE_CHAIN
};
#define PATIENCE_NS UINT64_C(20000000000)

struct plan {
    uint32_t subscribers;
    double target;
};

/* In memory that all processes share. */
struct shared {
    _Atomic uint64_t least[2]; /* that everybody has: of Cantus, of the peer */
    _Atomic bool ready, failed;
};

struct fanout {
    const struct bench_knobs *knobs;
    struct plan plan;
    uint32_t payload_bytes;
    uint64_t ahead_max; /* messages */
    struct edge_stage edge;
    struct shared *shared;
    struct key_pair key;
    struct nats nats;
    int peer;
    struct cantus_client *client;
    struct cantus_pipe *pipe;
    uint64_t pushed, published; /* to Cantus; to the peer */
    uint8_t payload[PAYLOAD_MAX];
};

/* ---- the other processes --------------------------------------------------------------------- */

static int serve(void *ctx, struct stage *s)
{
    (void)ctx;
    return stage_sequencer(s, NULL, NULL);
}

static int proxy(void *ctx, struct stage *s)
{
    struct fanout *f = ctx;
    const struct edge_proxy_watch watch = { .bare = NULL };
    (void)s;
    return edge_stage_proxy(&f->edge, &watch);
}

static bool gather(struct fanout *f, struct crowd *edge, struct crowd *peer, char *error)
{
    for (uint32_t i = 0; i < f->plan.subscribers; i++) {
        int fd = edge_client_open(&f->edge, &f->key, EDGE_SUBTREE, error);
        if (fd < 0 || !crowd_add(edge, fd))
            return false;
    }
    snprintf(error, BENCH_ERROR_MAX, "nats-server does not let us in");
    for (uint32_t i = 0; i < f->plan.subscribers && f->nats.server > 0; i++) {
        int fd = nats_connect(&f->nats, true);
        if (fd < 0 || !crowd_add(peer, fd))
            return false;
    }
    return true;
}

static int subscribe(void *ctx, struct stage *s)
{
    struct fanout *f = ctx;
    char error[BENCH_ERROR_MAX] = "out of memory, or of descriptors";
    struct crowd edge = { 0 }, peer = { 0 };
    bool fine = crowd_raise_descriptors(2 * f->plan.subscribers) &&
                crowd_open(&edge, CROWD_EDGE, f->plan.subscribers, f->payload_bytes) &&
                crowd_open(&peer, CROWD_NATS, f->plan.subscribers, f->payload_bytes) &&
                gather(f, &edge, &peer, error);
    edge.stage = peer.stage = s;
    if (!fine)
        fprintf(stderr, "cantus: %s\n", error);
    atomic_store(&f->shared->failed, !fine);
    atomic_store(&f->shared->ready, true);
    while (fine && stage_phase_now(s) != STAGE_END) {
        bool is_peer = stage_phase_now(s) == (enum stage_phase)STAGE_PEER;
        struct crowd *c = is_peer ? &peer : &edge;
        crowd_poll(c, 1);
        atomic_store_explicit(&f->shared->least[is_peer], crowd_least(c), memory_order_release);
        fine = !c->failed;
    }
    atomic_store(&f->shared->failed, !fine);
    crowd_close(&edge);
    crowd_close(&peer);
    return fine ? 0 : 1;
}

/* ---- the publisher, which is this process ---------------------------------------------------- */

static uint64_t least(const struct fanout *f, bool is_peer)
{
    return atomic_load_explicit(&f->shared->least[is_peer], memory_order_acquire);
}

static bool is_fine(const struct fanout *f, char *error)
{
    if (!atomic_load(&f->shared->failed) && !atomic_load(&f->edge.stage.shared->failed))
        return true;
    snprintf(error, BENCH_ERROR_MAX, "another process has given up");
    return false;
}

/* As many as may go; then a round of the client. */
static bool publish(struct fanout *f, bool push, char *error)
{
    uint64_t seen = least(f, false);
    for (uint32_t i = 0; push && i < PUSHES && f->pushed - seen < f->ahead_max; i++) {
        wire_store64(f->payload, f->pushed + 1);
        if (!cantus_pipe_push(f->pipe, EDGE_TOPIC, f->payload, f->payload_bytes))
            break;
        f->pushed++;
    }
    if (cantus_client_poll(f->client, 100 * 1000) == CANTUS_OK)
        return is_fine(f, error);
    snprintf(error, BENCH_ERROR_MAX, "%s", cantus_client_error(f->client));
    return false;
}

static bool publish_to_peer(struct fanout *f, bool push, char *error)
{
    char text[BURST * (NATS_HEAD_MAX + PAYLOAD_MAX + 2)], line[NATS_HEAD_MAX];
    size_t head = nats_pub_head(line, f->payload_bytes), length = 0;
    uint64_t seen = least(f, true);
    for (uint32_t i = 0; push && i < BURST && f->published - seen < f->ahead_max; i++) {
        memcpy(text + length, line, head);
        wire_store64(f->payload, ++f->published);
        memcpy(text + length + head, f->payload, f->payload_bytes);
        memcpy(text + length + head + f->payload_bytes, "\r\n", 2);
        length += head + f->payload_bytes + 2;
    }
    if (length == 0)
        sched_yield();
    if (edge_send_all(f->peer, text, length))
        return is_fine(f, error);
    snprintf(error, BENCH_ERROR_MAX, "nats-server closes");
    return false;
}

/* Publishes for `ms`, and until everybody has it all. Delivered messages a second; below 0: failed. */
static double run_for(struct fanout *f, bool is_peer, uint32_t ms, char *error)
{
    bool (*step)(struct fanout * f, bool push, char *error) = is_peer ? publish_to_peer : publish;
    const uint64_t *number = is_peer ? &f->published : &f->pushed;
    stage_set_phase(&f->edge.stage, is_peer ? (enum stage_phase)STAGE_PEER : STAGE_CANTUS);
    uint64_t first = *number, began = stage_mono_ns(), now = began;
    while (now - began < (uint64_t)ms * 1000000 || least(f, is_peer) < *number) {
        if (!step(f, now - began < (uint64_t)ms * 1000000, error))
            return -1;
        now = stage_mono_ns();
        if (now - began > PATIENCE_NS) {
            snprintf(error, BENCH_ERROR_MAX, "%llu messages did not arrive everywhere%s",
                     (unsigned long long)(*number - least(f, is_peer)),
                     is_peer ? ": nats-server" : "");
            return -1;
        }
    }
    return (double)(*number - first) * f->plan.subscribers * 1e9 / (double)(now - began);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static bool wait_until_gathered(struct fanout *f, char *error)
{
    for (uint64_t began = stage_mono_ns(); !atomic_load(&f->shared->ready);) {
        stage_sleep_ms(10);
        if (stage_mono_ns() - began < PATIENCE_NS && is_fine(f, error))
            continue;
        snprintf(error, BENCH_ERROR_MAX, "the subscribers were not let in");
        return false;
    }
    return is_fine(f, error);
}

static bool start(struct fanout *f, char *error)
{
    const struct stage_options options = { .spin = false };
    struct stage *s = &f->edge.stage;
    char text[KEY_PAIR_ERROR_MAX];
    if (!edge_stage_open(&f->edge, &options, error))
        return false;
    s->config.proxies[0].sessions_max = f->plan.subscribers + 16;
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    f->shared =
        mmap(NULL, sizeof *f->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (f->shared == MAP_FAILED) {
        f->shared = NULL;
        return false;
    }
    if (!key_pair_read(f->edge.key_file, &f->key, text)) {
        snprintf(error, BENCH_ERROR_MAX, "%s", text);
        return false;
    }
    if (nats_is_installed() && !nats_start(&f->nats, error))
        return false;
    if (!stage_fork(s, serve, f, -1, error) || !stage_fork(s, proxy, f, -1, error) ||
        !stage_fork(s, subscribe, f, -1, error) || !wait_until_gathered(f, error))
        return false;
    struct cantus_client_options client = { .source = s->dir,
                                            .level = CANTUS_SEQUENCED,
                                            .name = "" };
    f->client = cantus_client_open(&client, error);
    f->pipe = f->client != NULL ? cantus_pipe_open(f->client, "fanout", error) : NULL;
    if (f->pipe == NULL)
        return false;
    snprintf(error, BENCH_ERROR_MAX, "nats-server does not let us in");
    if (f->nats.server > 0)
        f->peer = nats_connect(&f->nats, false);
    return f->nats.server == 0 || f->peer >= 0;
}

static void stop(struct fanout *f)
{
    if (f->client != NULL)
        cantus_client_close(f->client);
    stage_close(&f->edge.stage);
    nats_stop(&f->nats);
    if (f->peer >= 0)
        close(f->peer);
    if (f->shared != NULL)
        munmap(f->shared, sizeof *f->shared);
}

/* ---- measuring ------------------------------------------------------------------------------- */

static void describe(const struct fanout *f, struct bench_result *result, uint32_t rounds)
{
    bool judged = f->nats.server > 0;
    bench_set_u64(result, "payload_bytes", f->payload_bytes);
    bench_set_u64(result, "subscribers", f->plan.subscribers);
    bench_set_u64(result, "messages", f->pushed);
    bench_set_u64(result, "ahead_max", f->ahead_max);
    bench_set_u64(result, "rounds", rounds);
    bench_set_u64(result, "processes", 4);
    bench_set_text(result, "publisher", "on the core");
    bench_set_text(result, "transport", "kernel");
    bench_set_text(result, "idle", "spin 50 us, then wait");
    bench_set_text(result, "peer", judged ? "nats-server" : NATS_MISSING);
    result->wanted = judged ? BENCH_AT_LEAST : BENCH_NO_TARGET;
    result->target = f->plan.target;
    result->floor = "nats-server and as many subscribers of it";
}

static bool measure(struct fanout *f, struct bench_result *result, char *error)
{
    const struct bench_knobs *k = f->knobs;
    const uint32_t rounds = k->rounds != 0 ? k->rounds : 5;
    double sum = 0, floor = 0;
    for (uint32_t round = 0; round <= rounds; round++) { /* the first is for warming up */
        double peer = f->nats.server > 0 ? run_for(f, true, ROUND_MS, error) : 0;
        double measured = peer >= 0 ? run_for(f, false, ROUND_MS, error) : -1;
        if (measured < 0)
            return false;
        k->progress(round, rounds);
        if (round == 0)
            continue;
        bench_series_add(result, measured);
        sum += measured;
        floor += peer;
    }
    result->series_interval_s = ROUND_MS / 1e3;
    result->unit = "messages";
    result->rate_per_s = sum / rounds;
    result->floor_rate_per_s = floor / rounds;
    describe(f, result, rounds);
    return true;
}

static bool run(const struct bench_knobs *k, const struct plan *plan, struct bench_result *result,
                char *error)
{
    struct fanout *f = calloc(1, sizeof *f);
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (f == NULL)
        return false;
    f->knobs = k;
    f->plan = *plan;
    f->peer = -1;
    f->payload_bytes = k->payload_bytes != 0 ? k->payload_bytes : PAYLOAD_BYTES;
    f->ahead_max = AHEAD_BYTES_MAX / f->payload_bytes;
    if (f->ahead_max > DELIVERIES_MAX / plan->subscribers)
        f->ahead_max = DELIVERIES_MAX / plan->subscribers;
    bool fine = start(f, error) && measure(f, result, error);
    stop(f);
    free(f);
    return fine;
}

bool edge_fanout_1(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, &(struct plan) { .subscribers = 1, .target = 1.5 }, result, error);
}

bool edge_fanout_10(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, &(struct plan) { .subscribers = 10, .target = 3 }, result, error);
}

bool edge_fanout_100(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, &(struct plan) { .subscribers = 100, .target = 3 }, result, error);
}

bool edge_fanout_1000(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, &(struct plan) { .subscribers = 1000, .target = 3 }, result, error);
}
