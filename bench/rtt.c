#include "bench/rtt.h"

#include <cantus/cantus.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/floor.h"
#include "cli/deployment.h"

enum phase { PHASE_CANTUS = 0, PHASE_FLOOR = 1, PHASE_END = 2 };

struct rtt {
    char dir[64];
    struct config config;
    volatile int *phase; /* shared with the child */
    pid_t child;
    struct floor_socket near, far;
    struct cantus_client *client;
    struct cantus_pipe *pipe;
};

static uint64_t mono_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Keeps the process on the nth of the cores that it may use; where there are fewer, they share. */
static void stay_on_core(int n)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) <= n)
        return;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || n-- > 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

/* ---- the other process: sequencer and echo in turn ------------------------------------------- */

static int serve(struct rtt *r)
{
    char error[CONFIG_ERROR_MAX];
    struct loop_options options = { .idle = LOOP_IDLE_SPIN, .yield = true };
    struct sequencer_start start = { .lead = true, .how = SYS_EPOCH_STARTED };
    struct sequencer_shell sequencer;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    stay_on_core(1);
    struct loop *loop = loop_create(&options, error);
    if (loop == NULL || !sequencer_shell_open(&sequencer, &r->config, &start, error)) {
        fprintf(stderr, "cantus: %s\n", error);
        return 1;
    }
    struct loop_participant participant = sequencer_shell_participant(&sequencer);
    loop_add(loop, &participant);
    while (*r->phase != PHASE_END) {
        if (*r->phase == PHASE_FLOOR)
            floor_echo(&r->far, r->phase, PHASE_FLOOR);
        else
            loop_poll(loop, 100 * 1000);
    }
    return 0;
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static bool make_stream(struct rtt *r, char *error)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(r->dir, sizeof r->dir, "%.40s/cantus-rtt-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(r->dir) == NULL) {
        snprintf(error, DEPLOYMENT_ERROR_MAX, "%s: %s", r->dir, strerror(errno));
        r->dir[0] = 0;
        return false;
    }
    struct deployment_init what = { .dir = r->dir, .is_volatile = true };
    uint64_t stream;
    if (!deployment_init(&what, &stream, error))
        return false;
    snprintf(error, DEPLOYMENT_ERROR_MAX, "the configuration just written can't be read");
    return deployment_config(r->dir, &r->config);
}

static bool open_floor(struct rtt *r, char *error)
{
    struct port_addr out = r->config.ingress, back = r->config.egress_a;
    out.port = (uint16_t)(out.port + 10000);
    back.port = (uint16_t)(back.port + 10000);
    if (floor_open(&r->near, back, out, r->config.interface) &&
        floor_open(&r->far, out, back, r->config.interface))
        return true;
    snprintf(error, DEPLOYMENT_ERROR_MAX, "sockets of the floor: %s", strerror(errno));
    return false;
}

static bool wait_until_ready(struct rtt *r, char *error)
{
    for (uint64_t began = mono_ns(); !cantus_pipe_ready(r->pipe);) {
        if (cantus_client_poll(r->client, 1000 * 1000) != CANTUS_OK ||
            mono_ns() - began > UINT64_C(10000000000)) {
            snprintf(error, DEPLOYMENT_ERROR_MAX, "the sequencer did not answer within 10 s: %s",
                     cantus_client_error(r->client));
            return false;
        }
    }
    return true;
}

static bool start(struct rtt *r, char *error)
{
    r->phase =
        mmap(NULL, sizeof *r->phase, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (r->phase == MAP_FAILED) {
        r->phase = NULL;
        snprintf(error, DEPLOYMENT_ERROR_MAX, "out of memory");
        return false;
    }
    if (!make_stream(r, error) || !open_floor(r, error))
        return false;
    r->child = fork();
    if (r->child == 0)
        _exit(serve(r));
    stay_on_core(0);
    struct cantus_client_options options = { .source = r->dir,
                                             .level = CANTUS_SEQUENCED,
                                             .spin = true };
    r->client = r->child < 0 ? NULL : cantus_client_open(&options, error);
    if (r->client == NULL)
        return false;
    r->pipe = cantus_pipe_open(r->client, "rtt", error);
    return r->pipe != NULL && wait_until_ready(r, error);
}

static void stop(struct rtt *r)
{
    if (r->client != NULL)
        cantus_client_close(r->client);
    if (r->phase != NULL)
        *r->phase = PHASE_END;
    if (r->child > 0)
        waitpid(r->child, NULL, 0);
    if (r->phase != NULL)
        munmap((void *)(uintptr_t)r->phase, sizeof *r->phase);
    floor_close(&r->near);
    floor_close(&r->far);
    static const char *const files[] = { CONFIG_FILE, "genesis", "admin.key" };
    for (size_t i = 0; r->dir[0] != 0 && i < sizeof files / sizeof files[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", r->dir, files[i]);
        unlink(path);
    }
    if (r->dir[0] != 0)
        rmdir(r->dir);
}

/* ---- measuring ------------------------------------------------------------------------------- */

static bool measure_cantus(struct rtt *r, const uint8_t *payload, uint32_t length, uint32_t trips,
                           struct histogram *into, char *error)
{
    for (uint32_t i = 0; i < trips; i++) {
        uint64_t done = cantus_pipe_sequenced(r->pipe), began = mono_ns(), now = began;
        bool pushed = cantus_pipe_push(r->pipe, "/bench/rtt", payload, length);
        while (cantus_pipe_sequenced(r->pipe) == done) {
            if (!pushed) /* the topic does not exist yet: while warming up */
                pushed = cantus_pipe_push(r->pipe, "/bench/rtt", payload, length);
            if (cantus_client_poll(r->client, 1000 * 1000) != CANTUS_OK ||
                now - began > 5000000000) {
                snprintf(error, DEPLOYMENT_ERROR_MAX, "a message did not come back: %s",
                         cantus_client_error(r->client));
                return false;
            }
            now = mono_ns();
        }
        if (into != NULL)
            histogram_record(into, mono_ns() - began);
    }
    return true;
}

static uint64_t measure_floor(struct rtt *r, uint32_t trips, struct histogram *into)
{
    static uint64_t number;
    uint64_t lost = 0;
    for (uint32_t i = 0; i < trips; i++) {
        uint64_t ns = floor_ping(&r->near, ++number);
        if (ns == 0)
            lost++;
        else if (into != NULL)
            histogram_record(into, ns);
    }
    return lost;
}

static bool measure(struct rtt *r, const struct bench_knobs *k, struct bench_result *result,
                    char *error)
{
    uint8_t payload[1024] = { 0 };
    const uint32_t rounds = k->rounds != 0 ? k->rounds : 20;
    const uint32_t trips = k->count != 0 ? (uint32_t)k->count : 2000;
    const uint32_t length = k->payload_bytes != 0 ? k->payload_bytes : 32;
    uint64_t lost = 0;
    for (uint32_t round = 0; round <= rounds; round++) { /* the first is for warming up */
        bool counts = round > 0;
        *r->phase = PHASE_FLOOR;
        lost += measure_floor(r, trips, counts ? &result->floor_latency : NULL);
        *r->phase = PHASE_CANTUS;
        if (!measure_cantus(r, payload, length, trips, counts ? &result->latency : NULL, error))
            return false;
        k->progress(round, rounds);
    }
    bench_set_u64(result, "payload_bytes", length);
    bench_set_u64(result, "trips", result->latency.total);
    bench_set_u64(result, "rounds", rounds);
    bench_set_u64(result, "floor_lost", lost);
    bench_set_text(result, "transport", "kernel");
    bench_set_text(result, "idle", "spin, yielding");
    bench_set_u64(result, "processes", 2);
    result->floor = "two bare processes that bounce a multicast datagram";
    result->wanted = BENCH_AT_MOST;
    result->target = 1.2;
    return true;
}

bool rtt_run(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    struct rtt *r = calloc(1, sizeof *r);
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (r == NULL)
        return false;
    r->near = r->far = (struct floor_socket) { .receive = -1, .send = -1 };
    bool fine = start(r, error) && measure(r, k, result, error);
    stop(r);
    free(r);
    return fine;
}
