/* Thousands of clients that are dropped, and are back at once.
 *
 * Clients have machines of their own, and here there is one for all: the process that has them gets what nobody else
 * wants of it (SCHED_IDLE), and frees its old sockets when all are back, one after the other. What the kernel does for
 * their ends of the connections it does all the same. Whoever stays connected is told of progress every
 * EDGE_TICK_DEFAULT_MS, all of them at once, so a calm lasts for that long. */
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
#include "bench/edge_bare.h"
#include "bench/edge_crowd.h"
#include "bench/edge_stage.h"
#include "proto/edge.h"

enum {
    CLIENTS = 5000,
    ROUNDS = 3,
    CALM_MS = EDGE_TICK_DEFAULT_MS,
    CALM_SHORT_MS = 1000,
    CLOSED_AT_ONCE = 8,
    EVERY_US = 1000, /* a live message; counted from when it should have been published */
    PAYLOAD_BYTES = 32,
    CAUGHT_UP_US_MAX = 10 * 1000 * 1000 /* wanted */
};
#define TURN_NS     UINT64_C(100000)
#define PATIENCE_NS UINT64_C(60000000000)

struct shared {
    _Atomic uint32_t storms; /* asked for */
    _Atomic uint32_t over;   /* all were caught up again, */
    _Atomic uint32_t freed;  /* and what they had before is gone */
    _Atomic uint64_t took_ns;
    _Atomic bool bare; /* they are of the bare proxy */
    _Atomic bool failed;
};

struct storm {
    const struct bench_knobs *knobs;
    uint32_t clients;
    struct edge_stage edge;
    struct edge_bare bare;
    int live_bare; /* the connection to it */
    uint64_t bare_bytes;
    struct shared *shared;
    struct cantus_client *client;
    struct cantus_pipe *pipe;
    uint64_t delivered;
    struct histogram live;                   /* of a calm, or of a storm */
    struct histogram bare_calm, bare_stormy; /* p99 of each */
};

/* ---- the other processes --------------------------------------------------------------------- */

static void sequence_bare(void *ctx, struct stage *s)
{
    struct storm *t = ctx;
    if (stage_phase_now(s) == STAGE_FLOOR)
        edge_bare_sequencer(&t->bare, s);
}

static int serve(void *ctx, struct stage *s)
{
    return stage_sequencer(s, sequence_bare, ctx);
}

static void proxy_bare(void *ctx, struct stage *s)
{
    struct storm *t = ctx;
    if (stage_phase_now(s) == STAGE_FLOOR)
        edge_bare_proxy(&t->bare, s);
}

static int proxy(void *ctx, struct stage *s)
{
    struct storm *t = ctx;
    const struct edge_proxy_watch watch = { .bare = proxy_bare, .ctx = t };
    if (!crowd_raise_descriptors(3 * t->clients))
        return 1;
    (void)s;
    return edge_stage_proxy(&t->edge, &watch);
}

/* All at once: what each has to say is on its way before anything is read. */
static bool connect_all(struct storm *t, struct crowd *c, struct position behind)
{
    uint8_t frames[256], list[] = "\x06/quiet";
    struct edge_hello hello = { .version = EDGE_VERSION, .agent = "storm" };
    struct edge_subscribe subscribe = { .level = EDGE_SEQUENCED,
                                        .from = EDGE_FROM_POSITION,
                                        .position = behind,
                                        .tick_ms = EDGE_TICK_DEFAULT_MS,
                                        .subtrees = { .count = 1, .at = list, .length = 7 } };
    uint16_t port = atomic_load(&t->shared->bare) ? t->bare.port : t->edge.proxy.port;
    size_t length = edge_hello_encode(&hello, frames, sizeof frames);
    length += edge_subscribe_encode(&subscribe, frames + length, sizeof frames - length);
    for (uint32_t i = 0; i < t->clients; i++) {
        int fd = edge_connect(port);
        if (fd < 0 || !edge_send_all(fd, frames, length) || !crowd_add(c, fd)) {
            fprintf(stderr, "cantus: client %u: %s\n", i, strerror(errno));
            return false;
        }
    }
    return true;
}

static bool give_way(void)
{
    const struct sched_param none = { 0 };
    return sched_setscheduler(0, SCHED_IDLE, &none) == 0;
}

/* So that the kernel does not free thousands of sockets in one go, which it does wherever it comes to. */
static void free_slowly(struct crowd *gone, struct crowd *here)
{
    while (gone->count > 0) {
        crowd_close_some(gone, CLOSED_AT_ONCE);
        if (here->count > 0)
            (void)crowd_poll(here, 1);
        else
            stage_sleep_ms(1);
    }
    crowd_close(gone);
}

static int blow(void *ctx, struct stage *s)
{
    struct storm *t = ctx;
    struct crowd crowd = { 0 }, gone = { 0 };
    bool fine = crowd_raise_descriptors(2 * t->clients) && give_way();
    uint32_t storms = 0;
    while (fine && stage_phase_now(s) != STAGE_END) {
        if (atomic_load(&t->shared->storms) == storms) {
            crowd.count > 0 ? (void)crowd_poll(&crowd, 5) : stage_sleep_ms(5);
            fine = !crowd.failed;
            continue;
        }
        storms++;
        const struct position behind = crowd.last.position; /* where they were */
        gone = crowd;
        crowd = (struct crowd) { 0 };
        uint64_t began = stage_mono_ns();
        crowd_drop(&gone);
        fine = crowd_open(&crowd, CROWD_EDGE, t->clients, 0) && connect_all(t, &crowd, behind);
        crowd.stage = s;
        while (fine && crowd.subscribed < t->clients && stage_phase_now(s) != STAGE_END) {
            (void)crowd_poll(&crowd, 1);
            fine = !crowd.failed && stage_mono_ns() - began < PATIENCE_NS;
        }
        atomic_store(&t->shared->took_ns, stage_mono_ns() - began);
        atomic_store(&t->shared->over, storms);
        free_slowly(&gone, &crowd);
        atomic_store(&t->shared->freed, storms);
    }
    atomic_store(&t->shared->failed, !fine);
    crowd_close(&crowd);
    return fine ? 0 : 1;
}

/* ---- live traffic, in this process ----------------------------------------------------------- */

static void on_message(void *ctx, const struct cantus_message *m)
{
    struct storm *t = ctx;
    (void)m;
    t->delivered++;
}

static bool poll_once(struct storm *t, char *error)
{
    if (cantus_client_poll(t->client, TURN_NS) == CANTUS_OK && !atomic_load(&t->shared->failed))
        return true;
    snprintf(error, BENCH_ERROR_MAX, "%s", cantus_client_error(t->client));
    return false;
}

static bool push(struct storm *t, bool bare)
{
    const struct edge_bare *b = &t->bare;
    uint8_t payload[PAYLOAD_BYTES] = { 0 };
    if (!bare)
        return cantus_pipe_push(t->pipe, EDGE_TOPIC, payload, sizeof payload);
    return send(t->live_bare, b->request, b->request_bytes, MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
}

static bool turn(struct storm *t, bool bare, char *error)
{
    if (!bare)
        return poll_once(t, error);
    t->bare_bytes += edge_bare_wait(t->live_bare, TURN_NS);
    t->delivered = t->bare_bytes / t->bare.answer_bytes;
    snprintf(error, BENCH_ERROR_MAX, "the storm of the bare proxy has failed");
    return !atomic_load(&t->shared->failed);
}

/* For so long, and until the storms so far are over. The p99, in ns; 0: failed. */
static uint64_t live_for(struct storm *t, uint32_t ms, uint32_t storms, char *error)
{
    bool bare = atomic_load(&t->shared->bare);
    uint64_t began = stage_mono_ns(), now = began, pushed = 0, first = t->delivered, done = 0;
    histogram_reset(&t->live);
    while (now - began < (uint64_t)ms * 1000000 || atomic_load(&t->shared->over) < storms ||
           done < pushed) {
        bool more = now - began < (uint64_t)ms * 1000000 || atomic_load(&t->shared->over) < storms;
        if (more && began + pushed * EVERY_US * 1000 <= now && push(t, bare))
            pushed++;
        if (!turn(t, bare, error))
            return 0;
        now = stage_mono_ns();
        for (; done < t->delivered - first; done++)
            histogram_record(&t->live, now - (began + done * EVERY_US * 1000));
        snprintf(error, BENCH_ERROR_MAX, "the storm is not over after a minute");
        if (now - began > PATIENCE_NS)
            return 0;
    }
    return histogram_at(&t->live, .99);
}

static bool start(struct storm *t, char *error)
{
    const struct stage_options options = { .store = true };
    struct stage *s = &t->edge.stage;
    if (!edge_stage_open(&t->edge, &options, error))
        return false;
    s->config.proxies[0].sessions_max = 2 * t->clients + 16;
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    void *memory =
        mmap(NULL, sizeof *t->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    t->shared = memory != MAP_FAILED ? memory : NULL;
    if (t->shared == NULL || !edge_bare_open(&t->bare, s, PAYLOAD_BYTES) ||
        !stage_fork(s, serve, t, -1, error) || !stage_fork(s, proxy, t, -1, error) ||
        !stage_fork(s, stage_recorder, NULL, -1, error) ||
        !edge_stage_grant(&t->edge, "/quiet", error) || !stage_fork(s, blow, t, -1, error))
        return false;
    struct cantus_client_options client = { .source = t->edge.source,
                                            .level = CANTUS_SEQUENCED,
                                            .name = "",
                                            .key_file = t->edge.key_file };
    t->client = cantus_client_open(&client, error);
    if (t->client == NULL ||
        !cantus_client_subscribe(t->client, EDGE_SUBTREE, on_message, t, error))
        return false;
    t->pipe = cantus_pipe_open(t->client, "live", error);
    for (uint64_t began = stage_mono_ns(); t->pipe != NULL && !cantus_pipe_ready(t->pipe);) {
        if (!poll_once(t, error))
            return false;
        snprintf(error, BENCH_ERROR_MAX, "the proxy did not let us publish");
        if (stage_mono_ns() - began > PATIENCE_NS)
            return false;
    }
    return t->pipe != NULL;
}

static void stop(struct storm *t)
{
    if (t->client != NULL)
        cantus_client_close(t->client);
    stage_close(&t->edge.stage);
    edge_bare_close(&t->bare);
    if (t->live_bare >= 0)
        close(t->live_bare);
    if (t->shared != NULL)
        munmap(t->shared, sizeof *t->shared);
    free(t);
}

/* The p99 of a calm, and of the storm behind it. */
static bool blow_once(struct storm *t, uint32_t calm_ms, uint64_t *calm, uint64_t *stormy,
                      char *error)
{
    uint32_t storms = atomic_load(&t->shared->storms);
    *stormy = 0;
    while (atomic_load(&t->shared->freed) < storms)
        if (!turn(t, atomic_load(&t->shared->bare), error))
            return false;
    *calm = live_for(t, calm_ms, storms, error);
    atomic_store(&t->shared->storms, storms + 1);
    if (*calm > 0)
        *stormy = live_for(t, 0, storms + 1, error);
    return *stormy > 0;
}

/* The same clients and the same live messages, with nothing in between that could be left out. */
static bool measure_bare(struct storm *t, uint32_t rounds, struct bench_result *r, char *error)
{
    uint64_t calm, stormy;
    snprintf(error, BENCH_ERROR_MAX, "the bare proxy does not let us in");
    t->live_bare = edge_connect(t->bare.port);
    if (t->live_bare < 0)
        return false;
    t->delivered = 0;
    atomic_store(&t->shared->bare, true);
    stage_set_phase(&t->edge.stage, STAGE_FLOOR);
    for (uint32_t round = 0; round <= rounds; round++) {
        if (!blow_once(t, CALM_SHORT_MS, &calm, &stormy, error))
            return false;
        if (round == 0)
            continue;
        histogram_record(&t->bare_calm, calm);
        histogram_record(&t->bare_stormy, stormy);
    }
    bench_set_u64(r, "bare_calm_p99_us", histogram_at(&t->bare_calm, .5) / 1000);
    bench_set_u64(r, "bare_storm_p99_us", histogram_at(&t->bare_stormy, .5) / 1000);
    return true;
}

/* The first storm only connects them. */
static bool measure(struct storm *t, bool of_live, struct bench_result *r, char *error)
{
    const uint32_t rounds = t->knobs->rounds != 0 ? t->knobs->rounds : ROUNDS;
    const uint32_t calm_ms = of_live ? CALM_MS : CALM_SHORT_MS;
    uint64_t calm, stormy;
    for (uint32_t round = 0; round <= rounds; round++) {
        if (!blow_once(t, round > 0 ? calm_ms : CALM_SHORT_MS, &calm, &stormy, error))
            return false;
        t->knobs->progress(round, rounds);
        if (round == 0)
            continue;
        histogram_record(&r->latency, of_live ? stormy : atomic_load(&t->shared->took_ns));
        if (of_live)
            histogram_record(&r->floor_latency, calm);
    }
    bench_set_u64(r, "clients", t->clients);
    bench_set_u64(r, "rounds", rounds);
    bench_set_u64(r, "live_every_us", EVERY_US);
    bench_set_u64(r, "calm_ms", calm_ms);
    bench_set_text(r, "clients_scheduled", "idle");
    return !of_live || measure_bare(t, rounds, r, error);
}

static bool run(const struct bench_knobs *k, bool of_live, struct bench_result *r, char *error)
{
    struct storm *t = calloc(1, sizeof *t);
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (t == NULL)
        return false;
    t->knobs = k;
    t->live_bare = -1;
    t->clients = k->count != 0 ? (uint32_t)k->count : CLIENTS;
    bool fine = start(t, error) && measure(t, of_live, r, error);
    stop(t);
    return fine;
}

bool edge_storm(const struct bench_knobs *k, struct bench_result *r, char *error)
{
    r->target_p50_us = CAUGHT_UP_US_MAX;
    return run(k, false, r, error);
}

bool edge_storm_live(const struct bench_knobs *k, struct bench_result *r, char *error)
{
    r->floor = "the same p99 while nobody comes or goes";
    r->wanted = BENCH_AT_MOST;
    r->target = 2;
    return run(k, true, r, error);
}
