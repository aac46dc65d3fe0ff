/* Many clients that want nothing but to know that nothing is missing. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/edge.h"
#include "bench/edge_crowd.h"
#include "bench/edge_stage.h"
#include "proto/edge.h"

enum {
    CLIENTS = 10000,
    ROUNDS = 2,          /* each as long as the default interval of progress */
    IDLE_US_MAX = 20000, /* wanted: 2 % of a core */
    MEMORY_MB_MAX = 200, /* wanted */
    SETTLE_MS = 3000,    /* buffers are given back a second after a login */
    READ_EVERY_MS = 20
};
#define POLL_NS     UINT64_C(1000000000)
#define PATIENCE_NS UINT64_C(60000000000)

struct shared {
    _Atomic bool ready, failed;
};

struct idle {
    const struct bench_knobs *knobs;
    uint32_t clients;
    struct edge_stage edge;
    struct shared *shared;
};

static int serve(void *ctx, struct stage *s)
{
    (void)ctx;
    return stage_sequencer(s, NULL, NULL);
}

static int proxy(void *ctx, struct stage *s)
{
    struct idle *d = ctx;
    const struct edge_proxy_watch watch = { .poll_ns = POLL_NS };
    (void)s;
    return edge_stage_proxy(&d->edge, &watch);
}

/* On one machine who sends pays for waking who reads. This process stands for clients on other machines: it wakes up
 * by itself, so that the proxy is not charged with thousands of wake-ups of one process, or of some by chance. */
static void read_at_times(struct crowd *c)
{
    stage_sleep_ms(READ_EVERY_MS);
    while (!c->failed && crowd_poll(c, 0)) {
    }
}

static int connect_all(void *ctx, struct stage *s)
{
    struct idle *d = ctx;
    char error[BENCH_ERROR_MAX] = "out of memory, or of descriptors";
    struct crowd crowd = { 0 };
    bool fine =
        crowd_raise_descriptors(d->clients) && crowd_open(&crowd, CROWD_EDGE, d->clients, 0);
    crowd.stage = s;
    for (uint32_t i = 0; fine && i < d->clients; i++) {
        int fd = edge_client_open(&d->edge, NULL, EDGE_SUBTREE, error);
        fine = fd >= 0 && crowd_add(&crowd, fd);
    }
    if (!fine)
        fprintf(stderr, "cantus: %u clients: %s\n", crowd.count, error);
    atomic_store(&d->shared->failed, !fine);
    atomic_store(&d->shared->ready, true);
    while (fine && !crowd.failed && stage_phase_now(s) != STAGE_END)
        read_at_times(&crowd);
    atomic_store(&d->shared->failed, crowd.failed);
    crowd_close(&crowd);
    return fine ? 0 : 1;
}

static bool start(struct idle *d, char *error)
{
    const struct stage_options options = { .store = true, .poll_ns = POLL_NS };
    struct stage *s = &d->edge.stage;
    if (!edge_stage_open(&d->edge, &options, error))
        return false;
    s->config.proxies[0].sessions_max = d->clients + 16;
    s->config.proxies[0].idle_s = 0;
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    void *memory =
        mmap(NULL, sizeof *d->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    d->shared = memory != MAP_FAILED ? memory : NULL;
    if (d->shared == NULL || !stage_fork(s, serve, d, -1, error) ||
        !stage_fork(s, proxy, d, -1, error) || !stage_fork(s, stage_recorder, NULL, -1, error) ||
        !edge_stage_grant(&d->edge, EDGE_SUBTREE, error) ||
        !stage_fork(s, connect_all, d, -1, error))
        return false;
    for (uint64_t began = stage_mono_ns(); !atomic_load(&d->shared->ready);) {
        stage_sleep_ms(10);
        if (stage_mono_ns() - began < PATIENCE_NS && !atomic_load(&s->shared->failed))
            continue;
        snprintf(error, BENCH_ERROR_MAX, "the clients were not let in");
        return false;
    }
    snprintf(error, BENCH_ERROR_MAX, "not all clients were let in");
    return !atomic_load(&d->shared->failed);
}

bool edge_idle(const struct bench_knobs *k, struct bench_result *r, char *error)
{
    const uint32_t rounds = k->rounds != 0 ? k->rounds : ROUNDS;
    struct idle d = { .knobs = k, .clients = k->count != 0 ? (uint32_t)k->count : CLIENTS };
    bool fine = start(&d, error);
    const pid_t process = d.edge.stage.children[1];
    if (fine)
        stage_sleep_ms(SETTLE_MS);
    for (uint32_t i = 0; fine && i < rounds; i++) {
        uint64_t before = stage_cpu_ns(process), began = stage_mono_ns();
        stage_sleep_ms(EDGE_TICK_DEFAULT_MS);
        uint64_t after = stage_cpu_ns(process), passed = stage_mono_ns() - began;
        histogram_record(&r->latency, (uint64_t)((double)(after - before) * 1e9 / (double)passed));
        k->progress(i + 1, rounds);
    }
    fine = fine && !atomic_load(&d.shared->failed);
    r->memory_mb = (double)stage_memory_bytes(process) / 1e6;
    r->target_memory_mb = MEMORY_MB_MAX;
    r->target_p50_us = IDLE_US_MAX;
    bench_set_u64(r, "clients", d.clients);
    bench_set_u64(r, "tick_ms", EDGE_TICK_DEFAULT_MS);
    bench_set_u64(r, "rounds", rounds);
    bench_set_u64(r, "clients_read_every_ms", READ_EVERY_MS);
    bench_set_text(r, "clock", "CPU time in a second, of each round: 10 ms are 1 %");
    stage_close(&d.edge.stage);
    if (d.shared != NULL)
        munmap(d.shared, sizeof *d.shared);
    return fine;
}
