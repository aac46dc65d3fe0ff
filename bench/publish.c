#include "bench/publish.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bench/clock.h"
#include "bench/leader.h"
#include "bench/spent.h"
#include "libclient/core.h"
#include "proto/hash.h"
#include "proto/proposal.h"

enum {
    WARM_UP = 2, /* rounds before: the rings are touched for the first time */
    PAYLOAD_MAX = 1024,
    SENT_MAX = 256, /* datagrams of one turn */
    TAPE_BATCHES = 8192,
    TAPE_BYTES = 16 << 20,
    ROUND_NS = 10000, /* by which time goes on with every turn */
    TURNS_MAX = 1000  /* to join */
};
#define TOPIC "/md/exchange-0/instrument-0" /* the leader has made it */

struct publish {
    struct port port; /* first */
    struct leader *leader;
    struct client_core *client;
    struct cantus_pipe *pipe;
    struct port_time now;
    uint32_t payload_bytes;
    uint8_t payload[PAYLOAD_MAX];
    uint64_t pushed;
    /* What the client has sent, in its own memory until its next step. */
    struct port_datagram sent[SENT_MAX];
    uint32_t sent_count;
    /* What the leader emitted, for the client's next turn. */
    uint8_t *tape;
    uint32_t tape_length;
    struct port_datagram batches[TAPE_BATCHES];
    uint32_t batch_count;
    uint8_t floor_out[WIRE_DATAGRAM_DEFAULT];
    uint64_t sum; /* so that no work is optimized away */
};

static void record(void *ctx, const uint8_t *bytes, uint32_t length)
{
    struct publish *p = ctx;
    assert(p->batch_count < TAPE_BATCHES && p->tape_length + length <= TAPE_BYTES);
    memcpy(p->tape + p->tape_length, bytes, length);
    p->batches[p->batch_count++] =
        (struct port_datagram) { .bytes = p->tape + p->tape_length,
                                 .length = length,
                                 .from = { .ip = 0x7f000001, .port = 998 },
                                 .channel = PORT_EGRESS_A };
    p->tape_length += (length + 63) & ~UINT32_C(63);
}

static void take(struct port *port, enum port_channel channel, struct port_addr to,
                 const uint8_t *bytes, uint32_t length)
{
    struct publish *p = (struct publish *)port;
    (void)to;
    if (channel != PORT_INGRESS)
        return;
    assert(p->sent_count < SENT_MAX);
    p->sent[p->sent_count++] = (struct port_datagram) { .bytes = bytes,
                                                        .length = length,
                                                        .from = { .ip = 0x7f000001, .port = 997 },
                                                        .channel = PORT_INGRESS };
}

static uint8_t *scratch(struct port *port, uint32_t length)
{
    static uint8_t bytes[PORT_SCRATCH_MAX];
    (void)port;
    (void)length;
    return bytes;
}

static const struct port_ops to_leader = { .send = take, .scratch = scratch };

/* What is measured: what has come back, as much as the window then takes, and one step's datagrams. Of
 * its own, so that tests/instructions can count inside it. */
__attribute__((noinline)) static void publish_turn(struct publish *p)
{
    p->now.mono_ns += ROUND_NS;
    p->now.wall_ns += ROUND_NS;
    p->sent_count = 0;
    for (uint32_t at = 0; at < p->batch_count; at += LEADER_BURST) {
        uint32_t left = p->batch_count - at;
        client_participant.on_datagrams(p->client, &p->batches[at],
                                        left < LEADER_BURST ? left : LEADER_BURST, p->now);
    }
    while (cantus_pipe_push(p->pipe, TOPIC, p->payload, p->payload_bytes))
        p->pushed++;
    client_participant.step(p->client, p->now);
}

/* The same datagrams through nothing but what no publisher can spare: a copy of each payload and a checksum of
 * each datagram on its way out, and the digest of each batch that comes back. */
static void floor_turn(struct publish *p)
{
    for (uint32_t i = 0; i < p->sent_count; i++) {
        const struct port_datagram *d = &p->sent[i];
        for (uint32_t at = PROPOSAL_HEADER_SIZE; at + p->payload_bytes < d->length;
             at += PROPOSAL_ENTRY_SIZE + p->payload_bytes)
            batch_copy(p->floor_out + at, p->payload, p->payload_bytes);
        p->sum += hash128(p->floor_out, d->length, 0).low;
    }
    for (uint32_t i = 0; i < p->batch_count; i++)
        p->sum += hash128(p->batches[i].bytes + 32, p->batches[i].length - 32, 0).low;
}

/* The leader takes what was sent; what it then emits comes back. */
static void answer(struct publish *p)
{
    p->batch_count = p->tape_length = 0;
    leader_take(p->leader, p->sent, p->sent_count);
}

/* Until it has joined and may push. */
static bool join(struct publish *p)
{
    for (uint32_t turn = 0; turn < TURNS_MAX && p->pushed == 0; turn++) {
        publish_turn(p);
        leader_make(p->leader, 1); /* a batch carries what is stable by now */
        answer(p);
        leader_run(p->leader);
    }
    return p->pushed > 0;
}

static bool start(struct publish *p, char *error)
{
    struct leader_options o = {
        .publishers = 1, .topics = 1, .payload_bytes = p->payload_bytes, .emitted = record, .ctx = p
    };
    p->tape = aligned_alloc(64, TAPE_BYTES);
    if (p->tape == NULL)
        return false;
    p->leader = leader_create(&o);
    if (p->leader == NULL)
        return false;
    p->now = (struct port_time) { .mono_ns = 1000000000, .wall_ns = 1000000000 };
    p->port = (struct port) { .ops = &to_leader, .datagram_max = WIRE_DATAGRAM_DEFAULT };
    struct client_core_options options = {
        .follower = { .stream = leader_stream(p->leader), .level = FOLLOWER_SEQUENCED }, .random = 1
    };
    p->client = client_core_create(&options, &p->port, p->now, error);
    p->pipe = p->client != NULL ? client_core_add_pipe(p->client, "publish", error) : NULL;
    if (p->pipe == NULL)
        return false;
    struct port_datagram genesis = { .channel = PORT_EGRESS_A,
                                     .from = { .ip = 0x7f000001, .port = 998 } };
    genesis.bytes = leader_genesis(p->leader, &genesis.length);
    client_participant.step(p->client, p->now);
    client_participant.on_datagrams(p->client, &genesis, 1, p->now);
    return join(p);
}

static void stop(struct publish *p)
{
    client_core_destroy(p->client);
    leader_destroy(p->leader);
    free(p->tape);
}

/* ---- measuring ------------------------------------------------------------------------------- */

static bool round_of(void *ctx, uint64_t messages, struct spent *s, char *error)
{
    struct publish *p = ctx;
    uint64_t first = cantus_pipe_sequenced(p->pipe);
    while (s->messages < messages) {
        uint64_t began = bench_cpu_ns();
        publish_turn(p);
        uint64_t between = bench_cpu_ns();
        floor_turn(p);
        s->floor_ns += bench_cpu_ns() - between;
        s->ns += between - began;
        s->messages = cantus_pipe_sequenced(p->pipe) - first;
        answer(p);
    }
    if (cantus_pipe_sequenced(p->pipe) + cantus_pipe_in_flight(p->pipe) == p->pushed &&
        cantus_pipe_rejected(p->pipe) == 0)
        return true;
    snprintf(error, BENCH_ERROR_MAX, "%llu messages pushed, but %llu sequenced and %llu in flight",
             (unsigned long long)p->pushed, (unsigned long long)cantus_pipe_sequenced(p->pipe),
             (unsigned long long)cantus_pipe_in_flight(p->pipe));
    return false;
}

bool publish_run(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    struct publish *p = calloc(1, sizeof *p);
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (p == NULL)
        return false;
    p->payload_bytes = k->payload_bytes != 0 ? k->payload_bytes : 32;
    if (p->payload_bytes > PAYLOAD_MAX) {
        snprintf(error, BENCH_ERROR_MAX, "at most %d bytes", PAYLOAD_MAX);
        free(p);
        return false;
    }
    bench_set_u64(result, "payload_bytes", p->payload_bytes);
    bench_set_u64(result, "datagram_bytes", WIRE_DATAGRAM_DEFAULT);
    result->unit = "messages";
    result->floor = "the same bytes: a copy of each payload, checksums out, digests back";
    bool fine = start(p, error) && spent_measure(k, WARM_UP, round_of, p, result, error);
    if (fine)
        bench_set_u64(result, "resent", client_core_counters(p->client)[COUNTER_RESENT]);
    stop(p);
    free(p);
    return fine;
}
