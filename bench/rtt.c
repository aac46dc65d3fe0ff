#include "bench/rtt.h"

#include <cantus/cantus.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/floor.h"
#include "bench/stage.h"
#include "libclient/client_private.h"
#include "proto/batch.h"
#include "proto/proposal.h"

enum { PAYLOAD_MAX = 1024, LOSS_PPM = 1000 };
#define PATIENCE_NS UINT64_C(20000000000)

struct rtt {
    const struct bench_knobs *knobs;
    bool recorded;
    uint32_t loss_ppm;
    uint32_t payload_bytes;
    uint8_t payload[PAYLOAD_MAX];
    struct stage stage;
    struct floor_socket near, far;
    struct cantus_client *client;
    struct cantus_pipe *pipe;
    cpu_set_t cores; /* that we may use, before we stay on one */
};

/* ---- the other process: sequencer and echo in turn ------------------------------------------- */

static bool is_floor(void *ctx)
{
    const struct stage *s = ctx;
    return stage_phase_now(s) == STAGE_FLOOR;
}

static void echo(void *ctx, struct stage *s)
{
    struct rtt *r = ctx;
    floor_echo(&r->far, is_floor, s);
}

static int serve(void *ctx, struct stage *s)
{
    return stage_sequencer(s, echo, ctx);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static bool open_floor(struct rtt *r, char *error)
{
    struct port_addr out = r->stage.config.ingress, back = r->stage.config.egress_a;
    out.port = (uint16_t)(out.port + 10000);
    back.port = (uint16_t)(back.port + 10000);
    uint32_t interface = r->stage.config.interface;
    if (!floor_open(&r->near, back, out, interface) || !floor_open(&r->far, out, back, interface)) {
        snprintf(error, BENCH_ERROR_MAX, "sockets of the floor: %s", strerror(errno));
        return false;
    }
    r->near.request_bytes = PROPOSAL_HEADER_SIZE + PROPOSAL_ENTRY_SIZE + r->payload_bytes;
    r->near.answer_bytes = r->far.answer_bytes =
        BATCH_HEADER_SIZE + MESSAGE_HEADER_SIZE + r->payload_bytes;
    return true;
}

static bool poll_once(struct rtt *r, uint64_t timeout_ns, char *error)
{
    if (cantus_client_poll(r->client, timeout_ns) == CANTUS_OK &&
        !atomic_load(&r->stage.shared->failed))
        return true;
    snprintf(error, BENCH_ERROR_MAX, "%s", cantus_client_error(r->client));
    return false;
}

static bool wait_until_ready(struct rtt *r, char *error)
{
    for (uint64_t began = stage_mono_ns(); !cantus_pipe_ready(r->pipe);) {
        if (!poll_once(r, 1000 * 1000, error))
            return false;
        if (stage_mono_ns() - began > 2 * PATIENCE_NS) {
            snprintf(error, BENCH_ERROR_MAX, "the sequencer did not answer within 40 s");
            return false;
        }
    }
    return true;
}

static bool start(struct rtt *r, char *error)
{
    struct stage_options options = { .store = r->recorded, .spin = true };
    if (!stage_open(&r->stage, &options, error) || !open_floor(r, error) ||
        !stage_fork(&r->stage, serve, r, 1, error))
        return false;
    if (r->recorded && !stage_fork(&r->stage, stage_recorder, NULL, -1, error))
        return false;
    sched_getaffinity(0, sizeof r->cores, &r->cores);
    stage_stay_on_core(0);
    struct cantus_client_options client = {
        .source = r->stage.dir, .level = CANTUS_SEQUENCED, .name = "", .spin = true
    };
    r->client = cantus_client_open(&client, error);
    if (r->client == NULL)
        return false;
    r->pipe = cantus_pipe_open(r->client, "rtt", error);
    if (r->pipe == NULL || !wait_until_ready(r, error))
        return false;
    atomic_store(&r->stage.shared->ingress_loss_ppm, r->loss_ppm);
    transport_lose(r->client->transport, (double)r->loss_ppm / STAGE_SHARE_PPM, 2);
    return true;
}

static void stop(struct rtt *r)
{
    if (r->client != NULL)
        cantus_client_close(r->client);
    stage_close(&r->stage);
    if (CPU_COUNT(&r->cores) > 0)
        sched_setaffinity(0, sizeof r->cores, &r->cores);
    floor_close(&r->near);
    floor_close(&r->far);
}

/* ---- measuring ------------------------------------------------------------------------------- */

/* When the message of this number should be pushed: at its time, or (closed loop) when the one
 * before has come back. */
static uint64_t due_ns(const struct rtt *r, uint64_t began_ns, uint64_t number)
{
    return began_ns + number * UINT64_C(1000000000) / r->knobs->rate_per_s;
}

static bool measure_open(struct rtt *r, uint64_t trips, struct histogram *into, char *error)
{
    uint64_t first = cantus_pipe_sequenced(r->pipe), pushed = 0, done = 0;
    uint64_t began = stage_mono_ns(), now = began;
    while (done < trips) {
        while (pushed < trips && due_ns(r, began, pushed) <= now &&
               cantus_pipe_push(r->pipe, "/bench/rtt", r->payload, r->payload_bytes))
            pushed++;
        uint64_t next = pushed < trips ? due_ns(r, began, pushed) : now + 1000000;
        if (!poll_once(r, next > now ? next - now : 0, error))
            return false;
        now = stage_mono_ns();
        for (; done < cantus_pipe_sequenced(r->pipe) - first; done++)
            if (into != NULL)
                histogram_record(into, now - due_ns(r, began, done));
        if (now > due_ns(r, began, trips) + PATIENCE_NS) {
            snprintf(error, BENCH_ERROR_MAX, "messages do not come back at this rate");
            return false;
        }
    }
    return true;
}

static bool measure_closed(struct rtt *r, uint64_t trips, struct histogram *into, char *error)
{
    for (uint64_t i = 0; i < trips; i++) {
        uint64_t done = cantus_pipe_sequenced(r->pipe), began = stage_mono_ns();
        bool pushed = false;
        while (cantus_pipe_sequenced(r->pipe) == done) {
            if (!pushed) /* the topic does not exist yet: while warming up */
                pushed = cantus_pipe_push(r->pipe, "/bench/rtt", r->payload, r->payload_bytes);
            if (!poll_once(r, 1000 * 1000, error))
                return false;
            if (stage_mono_ns() - began > PATIENCE_NS) {
                snprintf(error, BENCH_ERROR_MAX, "a message did not come back");
                return false;
            }
        }
        if (into != NULL)
            histogram_record(into, stage_mono_ns() - began);
    }
    return true;
}

static uint64_t measure_floor(struct rtt *r, uint64_t trips, struct histogram *into)
{
    static uint64_t number;
    uint64_t lost = 0;
    for (uint64_t i = 0; i < trips; i++) {
        uint64_t ns = floor_ping(&r->near, ++number);
        if (ns == 0)
            lost++;
        else if (into != NULL)
            histogram_record(into, ns);
    }
    return lost;
}

static void describe(const struct rtt *r, struct bench_result *result, uint32_t rounds,
                     uint64_t lost)
{
    bench_set_u64(result, "payload_bytes", r->payload_bytes);
    bench_set_u64(result, "trips", result->latency.total);
    bench_set_u64(result, "rounds", rounds);
    bench_set_u64(result, "rate_asked_per_s", r->knobs->rate_per_s);
    bench_set_u64(result, "loss_ppm", r->loss_ppm);
    bench_set_u64(result, "floor_lost", lost);
    bench_set_text(result, "transport", "kernel");
    bench_set_text(result, "idle", "spin, yielding");
    bench_set_u64(result, "processes", r->recorded ? 3 : 2);
    result->floor = "two bare processes that bounce a multicast datagram";
    if (r->loss_ppm > 0) {
        result->target_p999_us = 1000;
        return;
    }
    result->wanted = BENCH_AT_MOST;
    result->target = r->recorded ? 1.4 : 1.2;
}

static bool measure(struct rtt *r, struct bench_result *result, char *error)
{
    const struct bench_knobs *k = r->knobs;
    const uint32_t rounds = k->rounds != 0 ? k->rounds : 20;
    const uint64_t trips = k->count != 0 ? k->count : 2000;
    uint64_t lost = 0;
    for (uint32_t round = 0; round <= rounds; round++) { /* the first is for warming up */
        bool counts = round > 0;
        struct histogram *into = counts ? &result->latency : NULL;
        stage_set_phase(&r->stage, STAGE_FLOOR);
        lost += measure_floor(r, trips, counts ? &result->floor_latency : NULL);
        stage_set_phase(&r->stage, STAGE_CANTUS);
        bool fine = counts && k->rate_per_s != 0 ? measure_open(r, trips, into, error)
                                                 : measure_closed(r, trips, into, error);
        if (!fine)
            return false;
        k->progress(round, rounds);
    }
    describe(r, result, rounds, lost);
    return true;
}

static bool run(const struct rtt *what, struct bench_result *result, char *error)
{
    struct rtt *r = malloc(sizeof *r);
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (r == NULL)
        return false;
    *r = *what;
    r->payload_bytes = r->knobs->payload_bytes != 0 ? r->knobs->payload_bytes : 32;
    r->near = r->far = (struct floor_socket) { .receive = -1, .send = -1 };
    bool fine = start(r, error) && measure(r, result, error);
    stop(r);
    free(r);
    return fine;
}

bool rtt_sequenced(const struct bench_knobs *knobs, struct bench_result *result, char *error)
{
    return run(&(struct rtt) { .knobs = knobs }, result, error);
}

bool rtt_recorded(const struct bench_knobs *knobs, struct bench_result *result, char *error)
{
    return run(&(struct rtt) { .knobs = knobs, .recorded = true }, result, error);
}

bool rtt_loss(const struct bench_knobs *knobs, struct bench_result *result, char *error)
{
    return run(&(struct rtt) { .knobs = knobs, .loss_ppm = LOSS_PPM }, result, error);
}
