#include "bench/leader.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/hash.h"
#include "proto/proposal.h"
#include "proto/signal.h"

#define STREAM UINT64_C(0xbe9c4)
#define WALL   UINT64_C(1700000000000000000)

enum {
    DATAGRAM = WIRE_DATAGRAM_DEFAULT,
    SCRATCHES = 64,
    ASKED_AT_ONCE = 128,
    STEPS_MAX = 1000,
    ROUND_NS = 50000, /* by which time goes on with every burst */
    PAYLOADS = 4096   /* bytes from which payloads are taken */
};

struct emitted {
    uint64_t end_seq;
    struct digest digest;
};

struct leader {
    struct port port; /* first */
    struct leader_options options;
    struct sequencer *core;
    struct port_time now;
    uint64_t deadline;
    uint8_t genesis[DATAGRAM];
    uint32_t genesis_length;
    struct batch_header genesis_header;
    struct epoch sealed; /* that it asks for */
    bool asks_genesis;
    uint64_t first_epoch_seq;
    uint64_t batches; /* emitted */
    uint64_t bytes;
    struct emitted emitted[LEADER_ACK_LAG];
    uint8_t scratch[SCRATCHES][PORT_SCRATCH_MAX];
    uint32_t scratch_next;

    uint32_t publisher_first, topic_first;
    uint64_t *next; /* by publisher, from publisher_first on */
    uint64_t random;
    uint8_t payloads[PAYLOADS];
    uint32_t made;
    struct port_datagram datagrams[LEADER_CHUNK_MAX];
    uint8_t *bytes_made;
    uint8_t *floor_out;
};

static uint64_t random_next(struct leader *l)
{
    l->random ^= l->random << 13;
    l->random ^= l->random >> 7;
    l->random ^= l->random << 17;
    return l->random;
}

/* ---- the port -------------------------------------------------------------------------------- */

static void note_batch(struct leader *l, const uint8_t *bytes)
{
    enum { DIGEST_AT = 16, FIRST_SEQ_AT = 48 };
    struct emitted *e = &l->emitted[l->batches++ % LEADER_ACK_LAG];
    e->end_seq = wire_load64(bytes + FIRST_SEQ_AT) + wire_load16(bytes + 6);
    e->digest.low = wire_load64(bytes + DIGEST_AT);
    e->digest.high = wire_load64(bytes + DIGEST_AT + 8);
}

static void take(struct port *port, enum port_channel channel, struct port_addr to,
                 const uint8_t *bytes, uint32_t length)
{
    enum { TYPE_AT = 3 };
    struct leader *l = (struct leader *)port;
    (void)to;
    l->bytes += length;
    if (bytes[TYPE_AT] == WIRE_GAP_REQUEST)
        l->asks_genesis = true;
    if (channel != PORT_EGRESS_A)
        return;
    struct seal seal;
    if (bytes[TYPE_AT] == WIRE_BATCH) {
        note_batch(l, bytes);
        if (l->options.emitted != NULL)
            l->options.emitted(l->options.ctx, bytes, length);
    } else if (bytes[TYPE_AT] == WIRE_SEAL &&
               seal_decode(bytes, length, STREAM, &seal) == WIRE_OK) {
        l->sealed = seal.epoch;
    }
}

static uint8_t *scratch(struct port *port, uint32_t length)
{
    struct leader *l = (struct leader *)port;
    assert(length <= PORT_SCRATCH_MAX);
    return l->scratch[l->scratch_next++ % SCRATCHES];
}

static uint32_t no_connect(struct port *port, struct port_addr to)
{
    (void)port;
    (void)to;
    return 0;
}

static size_t no_room(struct port *port, uint32_t stream, size_t want)
{
    (void)port;
    (void)stream;
    (void)want;
    return 0;
}

static void no_write(struct port *port, uint32_t stream, const void *bytes, size_t length)
{
    (void)port;
    (void)stream;
    (void)bytes;
    (void)length;
}

static void no_close(struct port *port, uint32_t stream)
{
    (void)port;
    (void)stream;
}

static const struct port_ops counting = { .send = take,
                                          .scratch = scratch,
                                          .stream_connect = no_connect,
                                          .stream_room = no_room,
                                          .stream_write = no_write,
                                          .stream_close = no_close };

/* ---- driving --------------------------------------------------------------------------------- */

static void give(struct leader *l, const void *bytes, size_t length)
{
    struct port_datagram d = { .bytes = bytes,
                               .length = (uint32_t)length,
                               .from = { .ip = 0x7f000001, .port = 999 },
                               .channel = PORT_INGRESS };
    sequencer_participant.on_datagrams(l->core, &d, 1, l->now);
}

static void step(struct leader *l)
{
    l->now.mono_ns += ROUND_NS;
    l->now.wall_ns += ROUND_NS;
    for (uint32_t steps = 0; steps < STEPS_MAX; steps++) {
        l->deadline = sequencer_participant.step(l->core, l->now);
        if (l->deadline > l->now.mono_ns)
            return;
    }
}

static void acknowledge(struct leader *l, const struct emitted *e)
{
    struct ack a = { .promised = sequencer_epoch(l->core),
                     .tail = { .epoch = sequencer_epoch(l->core), .seq = e->end_seq - 1 },
                     .digest = e->digest,
                     .clock_ns = l->now.wall_ns };
    for (uint64_t store = 1; store <= LEADER_STORES; store++) {
        uint8_t bytes[SIGNAL_SIZE_MAX];
        a.store = store;
        give(l, bytes, ack_encode(&a, STREAM, bytes, sizeof bytes));
    }
}

/* Of what was emitted so long ago. */
static void acknowledge_late(struct leader *l)
{
    if (l->batches >= LEADER_ACK_LAG)
        acknowledge(l, &l->emitted[l->batches % LEADER_ACK_LAG]);
}

static void acknowledge_all(struct leader *l)
{
    if (l->batches > 0)
        acknowledge(l, &l->emitted[(l->batches - 1) % LEADER_ACK_LAG]);
}

/* ---- becoming the leader --------------------------------------------------------------------- */

static bool make_genesis(struct leader *l)
{
    struct sys_genesis genesis = { .stream = STREAM,
                                   .created_ns = WALL,
                                   .protocol_version = WIRE_VERSION,
                                   .members = { .seq = 1, .count = LEADER_STORES } };
    for (uint32_t i = 0; i < LEADER_STORES; i++)
        genesis.members.stores[i] = i + 1;
    l->genesis_length = (uint32_t)genesis_batch(&genesis, l->genesis, sizeof l->genesis);
    return batch_verify(l->genesis, l->genesis_length, STREAM, &l->genesis_header) == WIRE_OK;
}

static void promise(struct leader *l)
{
    struct promise p = { .promised = l->sealed,
                         .asked = l->sealed,
                         .proven = true,
                         .tail = { .epoch = l->genesis_header.epoch, .seq = 1 },
                         .digest = l->genesis_header.digest,
                         .oldest_seq = 1,
                         .clock_ns = l->now.wall_ns,
                         .leader_age_ns = UINT64_MAX,
                         .fetch_ip = 0x7f000001,
                         .members = { .seq = 1, .count = LEADER_STORES } };
    for (uint32_t i = 0; i < LEADER_STORES; i++)
        p.members.stores[i] = i + 1;
    for (uint64_t store = 1; store <= LEADER_STORES; store++) {
        uint8_t bytes[SIGNAL_SIZE_MAX];
        p.store = store;
        p.fetch_port = (uint16_t)(1000 + store);
        give(l, bytes, promise_encode(&p, STREAM, bytes, sizeof bytes));
    }
}

static bool lead(struct leader *l)
{
    for (uint32_t i = 0; i < STEPS_MAX && sequencer_state(l->core) != SEQUENCER_LEADING; i++) {
        struct epoch before = l->sealed;
        step(l);
        if (!epoch_equal(before, l->sealed))
            promise(l);
        if (l->asks_genesis)
            give(l, l->genesis, l->genesis_length);
    }
    step(l);
    acknowledge_all(l);
    return sequencer_state(l->core) == SEQUENCER_LEADING;
}

static void join_all(struct leader *l)
{
    for (uint32_t i = 0; i < l->options.publishers; i++) {
        uint8_t bytes[SIGNAL_SIZE_MAX];
        struct join j = { .nonce = i + 1, .wanted = 1 };
        snprintf(j.identity, sizeof j.identity, "publisher-%u", i);
        give(l, bytes, join_encode(&j, STREAM, bytes, sizeof bytes));
        if (i % ASKED_AT_ONCE == ASKED_AT_ONCE - 1 || i + 1 == l->options.publishers) {
            step(l);
            acknowledge_all(l);
        }
    }
}

static void create_all(struct leader *l)
{
    for (uint32_t i = 0; i < l->options.topics; i++) {
        uint8_t bytes[SIGNAL_SIZE_MAX];
        struct create c = { .nonce = i + 1, .publisher = l->publisher_first };
        snprintf(c.path, sizeof c.path, "/md/exchange-%u/instrument-%u", i % 16, i);
        give(l, bytes, create_encode(&c, STREAM, bytes, sizeof bytes));
        if (i % ASKED_AT_ONCE == ASKED_AT_ONCE - 1 || i + 1 == l->options.topics) {
            step(l);
            acknowledge_all(l);
        }
    }
}

static bool populate(struct leader *l)
{
    const struct catalog *c = sequencer_catalog(l->core);
    join_all(l);
    l->publisher_first = catalog_publisher_find(c, "publisher-0");
    create_all(l);
    l->topic_first =
        catalog_topic_find(c, "/md/exchange-0/instrument-0", strlen("/md/exchange-0/instrument-0"));
    return catalog_publisher_end(c) == l->publisher_first + l->options.publishers &&
           catalog_topic_end(c) == l->topic_first + l->options.topics;
}

struct leader *leader_create(const struct leader_options *options)
{
    struct leader *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    l->options = *options;
    l->port = (struct port) { .ops = &counting, .datagram_max = DATAGRAM };
    l->now = (struct port_time) { .mono_ns = 1000000000, .wall_ns = WALL + 1000000000 };
    l->random = UINT64_C(0x9e3779b97f4a7c15);
    for (uint32_t i = 0; i < PAYLOADS; i++)
        l->payloads[i] = (uint8_t)random_next(l);
    struct sequencer_options o;
    sequencer_options_default(&o);
    o.stream = STREAM;
    o.candidate = 7;
    o.lead = true;
    l->core = sequencer_create(&o, &l->port, l->now);
    l->next = malloc(options->publishers * sizeof *l->next);
    l->bytes_made = aligned_alloc(64, (size_t)LEADER_CHUNK_MAX * DATAGRAM);
    l->floor_out = aligned_alloc(64, DATAGRAM);
    if (l->core == NULL || l->next == NULL || l->bytes_made == NULL || l->floor_out == NULL ||
        !make_genesis(l) || !lead(l) || !populate(l)) {
        leader_destroy(l);
        return NULL;
    }
    for (uint32_t i = 0; i < options->publishers; i++)
        l->next[i] = 1;
    return l;
}

void leader_destroy(struct leader *l)
{
    if (l == NULL)
        return;
    sequencer_destroy(l->core);
    free(l->next);
    free(l->bytes_made);
    free(l->floor_out);
    free(l);
}

const uint8_t *leader_genesis(const struct leader *l, uint32_t *length)
{
    *length = l->genesis_length;
    return l->genesis;
}

uint64_t leader_stream(const struct leader *l)
{
    (void)l;
    return STREAM;
}

const struct sequencer *leader_core(const struct leader *l)
{
    return l->core;
}

/* ---- work ------------------------------------------------------------------------------------ */

static uint32_t make_datagram(struct leader *l, struct port_datagram *d, uint8_t *bytes)
{
    uint32_t publisher = (uint32_t)(random_next(l) % l->options.publishers);
    struct proposal_builder b;
    proposal_open(&b, bytes, DATAGRAM);
    for (;;) {
        uint64_t random = random_next(l);
        struct proposal_entry e = {
            .topic = l->topic_first + (uint32_t)(random % l->options.topics),
            .length = l->options.payload_bytes,
            .payload = l->payloads + (random >> 40) % (PAYLOADS - l->options.payload_bytes),
        };
        if (!proposal_fits(&b, &e))
            break;
        proposal_add(&b, &e);
    }
    struct proposal_header h = { .publisher = l->publisher_first + publisher,
                                 .incarnation = 1,
                                 .first_publisher_seq = l->next[publisher],
                                 .position = { .epoch = sequencer_epoch(l->core),
                                               .seq = sequencer_tip(l->core) } };
    l->next[publisher] += b.count;
    *d = (struct port_datagram) { .bytes = bytes,
                                  .length = proposal_close(&b, STREAM, &h),
                                  .from = { .ip = 0x7f000001, .port = 999 },
                                  .channel = PORT_INGRESS };
    return b.count;
}

uint32_t leader_make(struct leader *l, uint32_t count)
{
    assert(count <= LEADER_CHUNK_MAX);
    uint32_t messages = 0;
    l->made = count;
    for (uint32_t i = 0; i < count; i++)
        messages += make_datagram(l, &l->datagrams[i], l->bytes_made + (size_t)i * DATAGRAM);
    return messages;
}

void leader_run(struct leader *l)
{
    for (uint32_t at = 0; at < l->made; at += LEADER_BURST) {
        uint32_t left = l->made - at;
        sequencer_participant.on_datagrams(l->core, &l->datagrams[at],
                                           left < LEADER_BURST ? left : LEADER_BURST, l->now);
        step(l);
        acknowledge_late(l);
    }
}

void leader_take(struct leader *l, const struct port_datagram *datagrams, uint32_t count)
{
    for (uint32_t at = 0; at < count; at += LEADER_BURST) {
        uint32_t left = count - at;
        sequencer_participant.on_datagrams(l->core, &datagrams[at],
                                           left < LEADER_BURST ? left : LEADER_BURST, l->now);
        step(l);
    }
    acknowledge_all(l);
}

/* Its sum is returned so that the work is not optimized away. */
static uint64_t floor_datagram(struct leader *l, const struct port_datagram *d, uint32_t *at)
{
    struct proposal_header h = { .count = wire_load16(d->bytes + 6) };
    struct proposal_cursor cursor = proposal_begin(d->bytes, &h);
    struct proposal_entry e;
    uint64_t sum = hash64(d->bytes + WIRE_FRAME_SIZE, d->length - WIRE_FRAME_SIZE, 0);
    while (proposal_next(&cursor, &e)) {
        if (*at + MESSAGE_HEADER_SIZE + e.length > DATAGRAM) {
            struct digest digest = hash128(l->floor_out, *at, sum);
            sum += digest.low;
            *at = BATCH_HEADER_SIZE;
        }
        memcpy(l->floor_out + *at + MESSAGE_HEADER_SIZE, e.payload, e.length);
        *at += MESSAGE_HEADER_SIZE + e.length;
    }
    return sum;
}

void leader_floor(struct leader *l)
{
    uint32_t at = BATCH_HEADER_SIZE;
    for (uint32_t i = 0; i < l->made; i++)
        l->random ^= floor_datagram(l, &l->datagrams[i], &at) | 1;
    l->random |= 1;
}
