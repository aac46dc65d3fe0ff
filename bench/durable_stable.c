#include "bench/durable.h"

#include <cantus/cantus.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bench/bare_disk.h"
#include "bench/floor.h"
#include "bench/stage.h"
#include "proto/batch.h"

enum { STORES = 3, MAJORITY = 2, PAYLOAD_MAX = 1024, ACK_BYTES = 64, SPIN_NS = 20000 };
#define PATIENCE_NS UINT64_C(20000000000)
#define LOST_NS     UINT64_C(500000000)
#define TOPIC       "/bench/durable"

struct stable {
    const struct bench_knobs *knobs;
    uint32_t payload_bytes;
    uint8_t payload[PAYLOAD_MAX];
    struct stage stage;
    struct floor_socket sender;
    struct cantus_client *client;
    struct cantus_pipe *pipe;
    uint64_t floor_lost;
};

/* ---- the other processes --------------------------------------------------------------------- */

static struct port_addr floor_group(struct port_addr a)
{
    a.port = (uint16_t)(a.port + 10000);
    return a;
}

static bool open_floor(struct floor_socket *s, const struct stage *stage, bool sender)
{
    struct port_addr out = floor_group(stage->config.egress_a);
    struct port_addr back = floor_group(stage->config.ingress);
    return sender ? floor_open(s, back, out, stage->config.interface)
                  : floor_open(s, out, back, stage->config.interface);
}

static int serve(void *ctx, struct stage *s)
{
    (void)ctx;
    return stage_sequencer(s, NULL, NULL);
}

/* Spins for as long as the daemons do by default, then waits. */
static void idle(int fd, uint64_t since_ns)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    if (stage_mono_ns() - since_ns < SPIN_NS)
        sched_yield();
    else
        (void)poll(&p, 1, 1);
}

/* Records what arrives and acknowledges it, while the floor is measured. */
static void record_bare(struct stage *s, struct floor_socket *socket, struct bare_disk *disk)
{
    uint8_t bytes[FLOOR_DATAGRAM_BYTES];
    uint64_t last = stage_mono_ns();
    while (stage_phase_now(s) == STAGE_FLOOR) {
        if (recv(socket->receive, bytes, sizeof bytes, 0) <= 0) {
            idle(socket->receive, last);
            continue;
        }
        bool failed = false;
        last = stage_mono_ns();
        bool sent = bare_disk_submit(disk, BARE_DISK_BLOCK);
        while (sent && !bare_disk_done(disk, &failed))
            idle(disk->ring.ring_fd, last);
        if (sent && !failed)
            (void)!send(socket->send, bytes, ACK_BYTES, 0);
        last = stage_mono_ns();
    }
}

/* What a recorder has for the floor. */
struct recorder {
    struct floor_socket socket;
    struct bare_disk disk;
};

static void bare_part(void *ctx, struct stage *s)
{
    struct recorder *r = ctx;
    record_bare(s, &r->socket, &r->disk);
}

static int record(struct stage *s, uint32_t index)
{
    char error[BENCH_ERROR_MAX], name[32];
    struct recorder r = { .socket = { .receive = -1, .send = -1 } };
    snprintf(name, sizeof name, "floor-%u", index);
    snprintf(error, sizeof error, "sockets of the floor: %s", strerror(errno));
    if (!open_floor(&r.socket, s, false) || !bare_disk_open(&r.disk, s->dir, name, error)) {
        fprintf(stderr, "cantus: %s\n", error);
        return 1;
    }
    return stage_record(s, index, bare_part, &r);
}

static int record_first(void *ctx, struct stage *s)
{
    (void)ctx;
    return record(s, 0);
}

static int record_second(void *ctx, struct stage *s)
{
    (void)ctx;
    return record(s, 1);
}

static int record_third(void *ctx, struct stage *s)
{
    (void)ctx;
    return record(s, 2);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static bool poll_once(struct stable *t, uint64_t timeout_ns, char *error)
{
    if (cantus_client_poll(t->client, timeout_ns) == CANTUS_OK &&
        !atomic_load(&t->stage.shared->failed))
        return true;
    snprintf(error, BENCH_ERROR_MAX, "%s", cantus_client_error(t->client));
    return false;
}

static bool start(struct stable *t, char *error)
{
    static int (*const recorders[STORES])(
        void *ctx, struct stage *s) = { record_first, record_second, record_third };
    struct stage_options options = { .store = true, .stores = STORES };
    if (!stage_open(&t->stage, &options, error))
        return false;
    if (!open_floor(&t->sender, &t->stage, true)) {
        snprintf(error, BENCH_ERROR_MAX, "sockets of the floor: %s", strerror(errno));
        return false;
    }
    t->sender.request_bytes = BATCH_HEADER_SIZE + MESSAGE_HEADER_SIZE + t->payload_bytes;
    for (uint32_t i = 0; i < STORES; i++)
        if (!stage_fork(&t->stage, recorders[i], t, -1, error))
            return false;
    if (!stage_fork(&t->stage, serve, t, -1, error))
        return false;
    struct cantus_client_options client = { .source = t->stage.dir,
                                            .level = CANTUS_SEQUENCED,
                                            .name = "" };
    t->client = cantus_client_open(&client, error);
    t->pipe = t->client != NULL ? cantus_pipe_open(t->client, "durable", error) : NULL;
    if (t->pipe == NULL)
        return false;
    for (uint64_t began = stage_mono_ns(); !cantus_pipe_ready(t->pipe);) {
        if (!poll_once(t, 1000 * 1000, error))
            return false;
        if (stage_mono_ns() - began > 2 * PATIENCE_NS) {
            snprintf(error, BENCH_ERROR_MAX, "the sequencer did not answer within 40 s");
            return false;
        }
    }
    return true;
}

static void stop(struct stable *t)
{
    if (t->client != NULL)
        cantus_client_close(t->client);
    stage_close(&t->stage);
    floor_close(&t->sender);
    free(t);
}

/* ---- measuring ------------------------------------------------------------------------------- */

static bool measure_cantus(struct stable *t, uint64_t trips, struct histogram *into, char *error)
{
    for (uint64_t i = 0; i < trips; i++) {
        uint64_t done = cantus_pipe_sequenced(t->pipe), began = stage_mono_ns(), sequenced = 0;
        bool pushed = false;
        while (sequenced == 0 || cantus_client_stable(t->client) < cantus_pipe_last_seq(t->pipe)) {
            if (!pushed) /* the topic does not exist yet: while warming up */
                pushed = cantus_pipe_push(t->pipe, TOPIC, t->payload, t->payload_bytes);
            if (!poll_once(t, 1000 * 1000, error))
                return false;
            uint64_t now = stage_mono_ns();
            if (sequenced == 0 && cantus_pipe_sequenced(t->pipe) > done)
                sequenced = now;
            if (now - began > PATIENCE_NS) {
                snprintf(error, BENCH_ERROR_MAX, "a message did not become stable");
                return false;
            }
        }
        if (into != NULL)
            histogram_record(into, stage_mono_ns() - sequenced);
    }
    return true;
}

/* From a multicast to the acknowledgements of a majority; 0: lost. */
static uint64_t floor_trip(struct stable *t, uint64_t number)
{
    uint8_t bytes[FLOOR_DATAGRAM_BYTES] = { 0 }, back[FLOOR_DATAGRAM_BYTES];
    memcpy(bytes, &number, sizeof number);
    uint64_t began = stage_mono_ns(), now = began, last = began;
    if (send(t->sender.send, bytes, t->sender.request_bytes, 0) < 0)
        return 0;
    for (uint32_t acks = 0; now - began < LOST_NS;) {
        ssize_t n = recv(t->sender.receive, back, sizeof back, 0);
        now = stage_mono_ns();
        if (n < 0)
            idle(t->sender.receive, last);
        else if (n == ACK_BYTES && memcmp(back, bytes, sizeof number) == 0 && ++acks == MAJORITY)
            return now - began;
        last = n < 0 ? last : now;
    }
    return 0;
}

static void measure_floor(struct stable *t, uint64_t trips, struct histogram *into)
{
    static uint64_t number;
    for (uint64_t i = 0; i < trips; i++) {
        uint64_t ns = floor_trip(t, ++number);
        if (ns == 0)
            t->floor_lost++;
        else if (into != NULL)
            histogram_record(into, ns);
    }
}

static bool measure(struct stable *t, struct bench_result *r, char *error)
{
    const struct bench_knobs *k = t->knobs;
    const uint32_t rounds = k->rounds != 0 ? k->rounds : 50; /* short ones: the disk is shared */
    const uint64_t trips = k->count != 0 ? k->count : 40;
    for (uint32_t round = 0; round <= rounds; round++) { /* the first is for warming up */
        bool counts = round > 0;
        stage_set_phase(&t->stage, STAGE_FLOOR);
        stage_sleep_ms(3); /* until the others have noticed */
        measure_floor(t, trips, counts ? &r->floor_latency : NULL);
        stage_set_phase(&t->stage, STAGE_CANTUS);
        stage_sleep_ms(3);
        if (!measure_cantus(t, trips, counts ? &r->latency : NULL, error))
            return false;
        k->progress(round, rounds);
    }
    char file_system[32];
    bare_disk_file_system(t->stage.dir, file_system, sizeof file_system);
    bench_set_u64(r, "payload_bytes", t->payload_bytes);
    bench_set_u64(r, "trips", r->latency.total);
    bench_set_u64(r, "rounds", rounds);
    bench_set_u64(r, "stores", STORES);
    bench_set_u64(r, "processes", STORES + 2);
    bench_set_u64(r, "floor_lost", t->floor_lost);
    bench_set_text(r, "transport", "kernel");
    bench_set_text(r, "idle", "spin 50 us, then wait");
    bench_set_text(r, "file_system", file_system);
    r->floor =
        "a bare sender and three bare recorders: multicast, append, acknowledge; two of three";
    r->wanted = BENCH_AT_MOST;
    r->target = 1.3;
    return true;
}

bool durable_stable(const struct bench_knobs *knobs, struct bench_result *result, char *error)
{
    struct stable *t = calloc(1, sizeof *t);
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (t == NULL)
        return false;
    t->knobs = knobs;
    t->payload_bytes = knobs->payload_bytes != 0 ? knobs->payload_bytes : 32;
    t->sender = (struct floor_socket) { .receive = -1, .send = -1 };
    bool fine = start(t, error) && measure(t, result, error);
    stop(t);
    return fine;
}
