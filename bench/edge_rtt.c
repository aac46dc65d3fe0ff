/* Publish over TCP to own message back over TCP. */
#include <arpa/inet.h>
#include <cantus/cantus.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/edge.h"
#include "bench/edge_stage.h"
#include "bench/floor.h"
#include "bench/nats.h"
#include "proto/edge.h"
#include "proto/proposal.h"

enum { PAYLOAD_MAX = 1024, FRAME_MAX = 2048, STAGE_PEER = STAGE_CHAIN };
#define PATIENCE_NS UINT64_C(5000000000)
#define SPIN_NS     UINT64_C(50000) /* what waits when idle: as the loop does by default */

struct rtt {
    const struct bench_knobs *knobs;
    bool spin; /* else the default: a while, then it waits */
    bool against_peer;
    uint32_t payload_bytes;
    uint8_t payload[PAYLOAD_MAX];
    struct edge_stage edge;
    struct floor_socket relay, echo; /* the bare relay's datagrams */
    int listener, bare;              /* its client's connection: the relay's end, and ours */
    uint32_t request_bytes, answer_bytes;
    struct nats nats;
    int peer;
    struct cantus_client *client;
    struct cantus_pipe *pipe;
    uint64_t delivered;
    cpu_set_t cores; /* that we may use, before we stay on one */
};

/* ---- the other processes --------------------------------------------------------------------- */

static bool is_floor(void *ctx)
{
    const struct stage *s = ctx;
    return stage_phase_now(s) == STAGE_FLOOR;
}

static void echo(void *ctx, struct stage *s)
{
    struct rtt *r = ctx;
    if (is_floor(s))
        floor_echo(&r->echo, is_floor, s);
    else
        stage_sleep_ms(1);
}

static int serve(void *ctx, struct stage *s)
{
    return stage_sequencer(s, echo, ctx);
}

/* From the connection to the group, and back. */
static void relay(void *ctx, struct stage *s)
{
    static int connection = -1;
    struct rtt *r = ctx;
    uint8_t bytes[FRAME_MAX] = { 0 };
    if (!is_floor(s)) {
        stage_sleep_ms(1);
        return;
    }
    if (connection < 0)
        connection = accept(r->listener, NULL, NULL);
    while (connection >= 0 && is_floor(s)) {
        if (recv(connection, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
            (void)!send(r->relay.send, bytes, r->relay.request_bytes, 0);
        else if (recv(r->relay.receive, bytes, sizeof bytes, 0) > 0)
            (void)!send(connection, bytes, r->answer_bytes, MSG_NOSIGNAL);
        else
            sched_yield();
    }
}

static int proxy(void *ctx, struct stage *s)
{
    struct rtt *r = ctx;
    const struct edge_proxy_watch watch = { .bare = relay, .ctx = r };
    (void)s;
    return edge_stage_proxy(&r->edge, &watch);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static bool open_floor(struct rtt *r, char *error)
{
    const struct config *config = &r->edge.stage.config;
    struct port_addr out = config->ingress, back = config->egress_a;
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof any;
    out.port = (uint16_t)(out.port + 10000);
    back.port = (uint16_t)(back.port + 10000);
    r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (r->listener < 0 || bind(r->listener, (struct sockaddr *)&any, length) != 0 ||
        listen(r->listener, 1) != 0 ||
        getsockname(r->listener, (struct sockaddr *)&any, &length) != 0 ||
        (r->bare = edge_connect(ntohs(any.sin_port))) < 0 ||
        !floor_open(&r->relay, back, out, config->interface) ||
        !floor_open(&r->echo, out, back, config->interface)) {
        snprintf(error, BENCH_ERROR_MAX, "sockets of the floor: %s", strerror(errno));
        return false;
    }
    r->relay.request_bytes = PROPOSAL_HEADER_SIZE + PROPOSAL_ENTRY_SIZE + r->payload_bytes;
    r->echo.answer_bytes = BATCH_HEADER_SIZE + MESSAGE_HEADER_SIZE + r->payload_bytes;
    uint8_t frame[FRAME_MAX];
    const struct edge_publish p = { .publisher = 1,
                                    .number = 1,
                                    .topic = EDGE_TOPIC,
                                    .topic_length = sizeof EDGE_TOPIC - 1,
                                    .payload = r->payload,
                                    .length = r->payload_bytes };
    r->request_bytes = (uint32_t)edge_publish_encode(&p, frame, sizeof frame);
    r->answer_bytes = EDGE_HEADER + EDGE_MESSAGE_HEADER + r->payload_bytes;
    return true;
}

static bool poll_once(struct rtt *r, uint64_t timeout_ns, char *error)
{
    if (cantus_client_poll(r->client, timeout_ns) == CANTUS_OK &&
        !atomic_load(&r->edge.stage.shared->failed))
        return true;
    snprintf(error, BENCH_ERROR_MAX, "%s", cantus_client_error(r->client));
    return false;
}

static void on_message(void *ctx, const struct cantus_message *m)
{
    struct rtt *r = ctx;
    (void)m;
    r->delivered++;
}

static bool open_client(struct rtt *r, char *error)
{
    struct cantus_client_options options = { .source = r->edge.source,
                                             .level = CANTUS_SEQUENCED,
                                             .name = "",
                                             .key_file = r->edge.key_file,
                                             .spin = r->spin };
    r->client = cantus_client_open(&options, error);
    if (r->client == NULL ||
        !cantus_client_subscribe(r->client, EDGE_SUBTREE, on_message, r, error))
        return false;
    r->pipe = cantus_pipe_open(r->client, "rtt", error);
    if (r->pipe == NULL)
        return false;
    for (uint64_t began = stage_mono_ns(); !cantus_pipe_ready(r->pipe);) {
        if (!poll_once(r, 1000 * 1000, error))
            return false;
        if (stage_mono_ns() - began > 2 * PATIENCE_NS) {
            snprintf(error, BENCH_ERROR_MAX, "the proxy did not let us publish within 10 s");
            return false;
        }
    }
    return true;
}

static bool start(struct rtt *r, char *error)
{
    struct stage_options options = { .spin = r->spin };
    struct stage *s = &r->edge.stage;
    if (!edge_stage_open(&r->edge, &options, error) || !open_floor(r, error) ||
        !stage_fork(s, serve, r, r->spin ? 0 : -1, error) ||
        !stage_fork(s, proxy, r, r->spin ? 1 : -1, error))
        return false;
    sched_getaffinity(0, sizeof r->cores, &r->cores);
    if (r->spin) /* every hop goes to another core */
        stage_stay_on_core(0);
    if (!open_client(r, error))
        return false;
    if (!nats_is_installed())
        return true;
    if (!nats_start(&r->nats, error))
        return false;
    r->peer = nats_connect(&r->nats, true);
    snprintf(error, BENCH_ERROR_MAX, "nats-server does not let us in");
    return r->peer >= 0;
}

static void stop(struct rtt *r)
{
    const int fds[] = { r->listener, r->bare, r->peer };
    if (r->client != NULL)
        cantus_client_close(r->client);
    nats_stop(&r->nats);
    stage_close(&r->edge.stage);
    if (CPU_COUNT(&r->cores) > 0)
        sched_setaffinity(0, sizeof r->cores, &r->cores);
    floor_close(&r->relay);
    floor_close(&r->echo);
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* ---- measuring ------------------------------------------------------------------------------- */

static bool measure_cantus(struct rtt *r, uint64_t trips, struct histogram *into, char *error)
{
    for (uint64_t i = 0; i < trips; i++) {
        uint64_t done = r->delivered, began = stage_mono_ns();
        bool pushed = false;
        while (r->delivered == done) {
            if (!pushed) /* the topic does not exist yet: while warming up */
                pushed = cantus_pipe_push(r->pipe, EDGE_TOPIC, r->payload, r->payload_bytes);
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

/* Sends, and waits for so many bytes. In ns; 0: they did not come. */
static uint64_t trip(const struct rtt *r, int fd, const void *request, size_t length, size_t answer)
{
    uint8_t back[FRAME_MAX];
    uint64_t began = stage_mono_ns(), now = began;
    if (send(fd, request, length, MSG_NOSIGNAL) != (ssize_t)length)
        return 0;
    for (size_t got = 0; now - began < PATIENCE_NS;) {
        ssize_t n = recv(fd, back, sizeof back, MSG_DONTWAIT);
        now = stage_mono_ns();
        if (n > 0)
            got += (size_t)n;
        if (got >= answer)
            return now - began;
        if (n < 0 && !r->spin && now - began > SPIN_NS) {
            struct pollfd p = { .fd = fd, .events = POLLIN };
            (void)!poll(&p, 1, 1000);
        } else if (n < 0) {
            sched_yield();
        }
    }
    return 0;
}

static bool measure_bare(struct rtt *r, uint64_t trips, struct histogram *into, char *error)
{
    uint8_t request[FRAME_MAX] = { 0 };
    for (uint64_t i = 0; i < trips; i++) {
        uint64_t ns = trip(r, r->bare, request, r->request_bytes, r->answer_bytes);
        snprintf(error, BENCH_ERROR_MAX, "the bare relay did not answer");
        if (ns == 0)
            return false;
        if (into != NULL)
            histogram_record(into, ns);
    }
    return true;
}

static bool measure_peer(struct rtt *r, uint64_t trips, struct histogram *into, char *error)
{
    char request[FRAME_MAX], head[NATS_HEAD_MAX];
    size_t length = nats_pub_head(request, r->payload_bytes);
    size_t answer = nats_msg_head(head, r->payload_bytes) + r->payload_bytes + 2;
    memset(request + length, 0, r->payload_bytes);
    memcpy(request + length + r->payload_bytes, "\r\n", 2);
    length += r->payload_bytes + 2;
    for (uint64_t i = 0; i < trips && r->peer >= 0; i++) {
        /* One PING of the server's own counts as part of an answer: the next trip then finds its answer's rest
         * there. It comes once, while warming up or after two minutes. */
        uint64_t ns = trip(r, r->peer, request, length, answer);
        snprintf(error, BENCH_ERROR_MAX, "nats-server did not answer");
        if (ns == 0)
            return false;
        if (into != NULL)
            histogram_record(into, ns);
    }
    return true;
}

static void describe(const struct rtt *r, struct bench_result *result, uint32_t rounds)
{
    bench_set_u64(result, "payload_bytes", r->payload_bytes);
    bench_set_u64(result, "trips", result->latency.total);
    bench_set_u64(result, "rounds", rounds);
    bench_set_text(result, "transport", "kernel");
    bench_set_text(result, "idle", r->spin ? "spin, yielding" : "spin 50 us, then wait");
    bench_set_u64(result, "processes", 3);
    bool judged = !r->against_peer || r->peer >= 0;
    result->wanted = judged ? BENCH_AT_MOST : BENCH_NO_TARGET;
    result->target = r->against_peer ? .6 : 1.2;
    result->floor = r->against_peer ? "nats-server: a publication to oneself"
                                    : "three bare processes: TCP, multicast, multicast, TCP";
    if (r->against_peer)
        bench_set_text(result, "peer", judged ? "nats-server" : NATS_MISSING);
}

static bool measure(struct rtt *r, struct bench_result *result, char *error)
{
    const struct bench_knobs *k = r->knobs;
    const uint32_t rounds = k->rounds != 0 ? k->rounds : 20;
    const uint64_t trips = k->count != 0 ? k->count : 1000;
    for (uint32_t round = 0; round <= rounds; round++) { /* the first is for warming up */
        struct histogram *into = round > 0 ? &result->latency : NULL;
        struct histogram *floor = round > 0 ? &result->floor_latency : NULL;
        stage_set_phase(&r->edge.stage,
                        r->against_peer ? (enum stage_phase)STAGE_PEER : STAGE_FLOOR);
        if (!(r->against_peer ? measure_peer : measure_bare)(r, trips, floor, error))
            return false;
        stage_set_phase(&r->edge.stage, STAGE_CANTUS);
        if (!measure_cantus(r, trips, into, error))
            return false;
        k->progress(round, rounds);
    }
    describe(r, result, rounds);
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
    r->relay = r->echo = (struct floor_socket) { .receive = -1, .send = -1 };
    r->listener = r->bare = r->peer = -1;
    bool fine = start(r, error) && measure(r, result, error);
    stop(r);
    free(r);
    return fine;
}

bool edge_rtt(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(&(struct rtt) { .knobs = k, .spin = true }, result, error);
}

bool edge_rtt_nats(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(&(struct rtt) { .knobs = k, .spin = true, .against_peer = true }, result, error);
}

bool edge_rtt_nats_idle(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(&(struct rtt) { .knobs = k, .against_peer = true }, result, error);
}
