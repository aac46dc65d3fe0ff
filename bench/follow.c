#include "bench/follow.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bench/clock.h"
#include "bench/leader.h"
#include "bench/spent.h"
#include "libclient/core.h"
#include "proto/hash.h"

enum {
    PUBLISHERS = 100,
    TOPICS = 10000,
    WARM_UP = 1,
    CHUNK = 64, /* datagrams of proposals at a time, so that what is measured is in cache */
    TAPE_BATCHES = 8192,
    TAPE_BYTES = 8 << 20,
    SWAPPED_EVERY = 32,  /* of so many datagrams one comes after the next one */
    REPEATED_EVERY = 64, /* one comes twice */
    ROUND_NS = 10000     /* by which time goes on with every burst */
};

/* What the leader emitted since it was last read. */
struct tape {
    uint8_t *bytes;
    uint32_t length;
    uint32_t count;
    struct port_datagram batches[TAPE_BATCHES];
    uint32_t arriving;
    struct port_datagram arrivals[2 * TAPE_BATCHES]; /* in the order of arrival */
};

struct follow {
    struct tape tape;
    struct leader *leader;
    struct port port;
    struct client_core *client;
    struct port_time now;
    bool wanted; /* its messages are asked for */
    uint64_t handed_over;
    uint64_t sum; /* so that no work is optimized away */
};

static void record(void *ctx, const uint8_t *bytes, uint32_t length)
{
    struct tape *t = ctx;
    assert(t->count < TAPE_BATCHES && t->length + length <= TAPE_BYTES);
    memcpy(t->bytes + t->length, bytes, length);
    t->batches[t->count++] = (struct port_datagram) { .bytes = t->bytes + t->length,
                                                      .length = length,
                                                      .from = { .ip = 0x7f000001, .port = 998 },
                                                      .channel = PORT_EGRESS_A };
    t->length += (length + 63) & ~UINT32_C(63);
}

/* Neighbours change places within one burst, so that no gap is open at its end. */
static void shuffle(struct tape *t)
{
    t->arriving = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        bool swap = i % SWAPPED_EVERY == 7 && i + 1 < t->count;
        if (swap)
            t->arrivals[t->arriving++] = t->batches[i + 1];
        t->arrivals[t->arriving++] = t->batches[i];
        if (i % REPEATED_EVERY == 20)
            t->arrivals[t->arriving++] = t->batches[i];
        i += swap;
    }
    t->count = t->length = 0;
}

/* ---- the client ------------------------------------------------------------------------------ */

static void take(struct port *port, enum port_channel channel, struct port_addr to,
                 const uint8_t *bytes, uint32_t length)
{
    (void)port;
    (void)channel;
    (void)to;
    (void)bytes;
    (void)length;
}

static uint8_t *scratch(struct port *port, uint32_t length)
{
    static uint8_t bytes[PORT_SCRATCH_MAX];
    (void)port;
    (void)length;
    return bytes;
}

static const struct port_ops nowhere = { .send = take, .scratch = scratch };

static void on_message(void *ctx, const struct cantus_message *m)
{
    struct follow *f = ctx;
    f->handed_over++;
    f->sum += m->length + *(const uint8_t *)m->payload;
}

/* Of its own, so that tests/instructions can count inside it. */
__attribute__((noinline)) static void follow_arrive(struct follow *f)
{
    const struct tape *t = &f->tape;
    for (uint32_t at = 0; at < t->arriving; at += LEADER_BURST) {
        uint32_t left = t->arriving - at;
        f->now.mono_ns += ROUND_NS;
        f->now.wall_ns += ROUND_NS;
        client_participant.on_datagrams(f->client, &t->arrivals[at],
                                        left < LEADER_BURST ? left : LEADER_BURST, f->now);
        client_participant.step(f->client, f->now);
    }
}

/* The same datagrams through nothing but what no receiver can spare: a digest, and a look at each
 * message's header. */
static void floor_arrive(struct follow *f)
{
    for (uint32_t i = 0; i < f->tape.arriving; i++) {
        const struct port_datagram *d = &f->tape.arrivals[i];
        struct batch_header h = { .count = wire_load16(d->bytes + 6) };
        struct batch_cursor cursor = batch_begin(d->bytes, &h);
        struct message m;
        f->sum += hash128(d->bytes + 32, d->length - 32, 0).low;
        while (batch_next(&cursor, &m))
            f->sum += m.topic;
    }
}

static bool start(struct follow *f, const struct leader_options *o, const char *subtree,
                  char *error)
{
    struct leader_options with_tape = *o;
    with_tape.emitted = record;
    with_tape.ctx = &f->tape;
    f->tape.bytes = aligned_alloc(64, TAPE_BYTES);
    if (f->tape.bytes == NULL)
        return false;
    f->leader = leader_create(&with_tape);
    if (f->leader == NULL)
        return false;
    f->now = (struct port_time) { .mono_ns = 1000000000, .wall_ns = 1000000000 };
    f->port = (struct port) { .ops = &nowhere, .datagram_max = WIRE_DATAGRAM_DEFAULT };
    struct client_core_options options = { .follower = { .stream = leader_stream(f->leader),
                                                         .level = FOLLOWER_SEQUENCED } };
    f->client = client_core_create(&options, &f->port, f->now, error);
    if (f->client == NULL || !client_core_subscribe(f->client, subtree, on_message, f, error))
        return false;
    struct port_datagram genesis = { .channel = PORT_EGRESS_A,
                                     .from = { .ip = 0x7f000001, .port = 998 } };
    genesis.bytes = leader_genesis(f->leader, &genesis.length);
    client_participant.step(f->client, f->now);
    client_participant.on_datagrams(f->client, &genesis, 1, f->now);
    shuffle(&f->tape);
    follow_arrive(f);
    return true;
}

static void stop(struct follow *f)
{
    client_core_destroy(f->client);
    leader_destroy(f->leader);
    free(f->tape.bytes);
}

/* ---- measuring ------------------------------------------------------------------------------- */

static bool round_of(void *ctx, uint64_t messages, struct spent *s, char *error)
{
    struct follow *f = ctx;
    const uint64_t before = f->handed_over;
    while (s->messages < messages) {
        s->messages += leader_make(f->leader, CHUNK);
        leader_run(f->leader);
        shuffle(&f->tape);
        uint64_t began = bench_cpu_ns();
        floor_arrive(f);
        uint64_t between = bench_cpu_ns();
        follow_arrive(f);
        s->ns += bench_cpu_ns() - between;
        s->floor_ns += between - began;
    }
    const uint64_t seq = client_core_seq(f->client), tip = sequencer_tip(leader_core(f->leader));
    const uint64_t handed_over = f->handed_over - before;
    if (seq == tip && handed_over == (f->wanted ? s->messages : 0))
        return true;
    snprintf(error, BENCH_ERROR_MAX, "through %llu of %llu, and %llu of %llu messages handed over",
             (unsigned long long)seq, (unsigned long long)tip, (unsigned long long)handed_over,
             (unsigned long long)s->messages);
    return false;
}

static bool run(const struct bench_knobs *k, bool wanted, double target,
                struct bench_result *result, char *error)
{
    struct leader_options o = { .publishers = PUBLISHERS,
                                .topics = TOPICS,
                                .payload_bytes = k->payload_bytes != 0 ? k->payload_bytes : 32 };
    struct follow *f = calloc(1, sizeof *f);
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (f == NULL)
        return false;
    bench_set_u64(result, "payload_bytes", o.payload_bytes);
    bench_set_u64(result, "publishers", PUBLISHERS);
    bench_set_u64(result, "topics", TOPICS);
    bench_set_u64(result, "datagram_bytes", WIRE_DATAGRAM_DEFAULT);
    bench_set_u64(result, "swapped_every", SWAPPED_EVERY);
    bench_set_u64(result, "repeated_every", REPEATED_EVERY);
    result->unit = "messages";
    result->floor = "the same datagrams: their digests, and a look at each message's header";
    result->target_rate_per_s = target;
    f->wanted = wanted;
    bool fine = start(f, &o, wanted ? "/md" : "/other", error) &&
                spent_measure(k, WARM_UP, round_of, f, result, error);
    stop(f);
    free(f);
    return fine;
}

bool reassembly_run(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, true, 60e6, result, error);
}

bool discard_run(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, false, 200e6, result, error);
}
