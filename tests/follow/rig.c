#include "rig.h"

#include <assert.h>
#include <stdlib.h>

static bool on_deliver(void *ctx, const uint8_t *batch, const struct batch_header *header)
{
    struct rig *r = ctx;
    struct batch_header again;
    assert(batch_verify(batch, header->length, HISTORY_STREAM, &again) == WIRE_OK);
    assert(digest_equal(again.digest, header->digest));
    assert(header->first_seq == r->expected_seq);
    assert(header->first_seq == follower_next(r->follower));
    if (r->restart_in_deliver) {
        r->restart_in_deliver = false;
        r->delivered_count = 0;
        r->expected_seq = 1;
        follower_start(r->follower, (struct position) { 0 }, (struct digest) { 0 }, NULL,
                       (struct epoch) { 0 });
        return true;
    }
    if (r->refuse)
        return false;
    if (r->delivered_count > 0)
        assert(digest_equal(header->before, r->delivered[r->delivered_count - 1].digest));
    assert(r->delivered_count < RIG_DELIVERED_MAX);
    r->delivered[r->delivered_count++] = *header;
    r->expected_seq = batch_end_seq(header);
    return true;
}

static void on_forked(void *ctx, uint64_t first_seq, struct epoch by)
{
    struct rig *r = ctx;
    assert(first_seq < r->expected_seq);
    r->forks++;
    r->forked_seq = first_seq;
    r->forked_by = by;
    while (r->delivered_count > 0 &&
           batch_end_seq(&r->delivered[r->delivered_count - 1]) > first_seq)
        r->delivered_count--;
    r->expected_seq = first_seq;
    if (r->restart_in_forked) {
        r->restart_in_forked = false;
        r->delivered_count = 0;
        r->expected_seq = 1;
        follower_start(r->follower, (struct position) { 0 }, (struct digest) { 0 }, NULL,
                       follower_heard(r->follower));
    }
}

static void on_stable(void *ctx, uint64_t stable_seq, uint64_t time_ns)
{
    struct rig *r = ctx;
    (void)time_ns;
    assert(stable_seq > r->stable_seq || r->forks > 0 || r->stables == 0);
    r->stable_seq = stable_seq;
    r->stables++;
}

static void on_lost(void *ctx, uint64_t first_seq, uint64_t oldest_seq)
{
    struct rig *r = ctx;
    r->losts++;
    r->lost_first = first_seq;
    r->lost_oldest = oldest_seq;
}

struct follower_options rig_options(enum follower_level level, uint32_t sources, bool streams)
{
    struct follower_options o = {
        .stream = HISTORY_STREAM, .level = level, .pending_max = 256, .source_count = sources
    };
    for (uint32_t i = 0; i < sources; i++) {
        o.sources[i].unicast = rig_source_udp(i);
        if (streams)
            o.sources[i].stream = rig_source_tcp(i);
    }
    return o;
}

struct rig *rig_new(const struct follower_options *options)
{
    struct rig *r = calloc(1, sizeof *r);
    assert(r != NULL);
    fake_port_init(&r->port);
    struct follower_callbacks callbacks = {
        .deliver = on_deliver, .forked = on_forked, .stable = on_stable, .lost = on_lost, .ctx = r
    };
    r->expected_seq = 1;
    r->now = (struct port_time) { .mono_ns = 1000000000, .wall_ns = 5 };
    r->follower = follower_create(options, &callbacks, &r->port.port, r->counters);
    assert(r->follower != NULL);
    return r;
}

void rig_free(struct rig *r)
{
    follower_destroy(r->follower);
    free(r);
}

void rig_datagram(struct rig *r, const uint8_t *bytes, uint32_t length, enum port_channel channel,
                  struct port_addr from)
{
    /* A copy of its own, so that a read beyond it is found. */
    uint8_t *copy = malloc(length > 0 ? length : 1);
    assert(copy != NULL);
    if (length > 0)
        memcpy(copy, bytes, length);
    struct port_datagram d = { .bytes = copy, .length = length, .from = from, .channel = channel };
    follower_on_datagram(r->follower, &d, r->now);
    free(copy);
}

void rig_batch(struct rig *r, const struct history *h, uint32_t index)
{
    const struct history_batch *b = &h->batches[index];
    rig_datagram(r, b->bytes, b->header.length, PORT_EGRESS_A, RIG_LEADER);
}

void rig_batches(struct rig *r, const struct history *h, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++)
        rig_batch(r, h, i);
}

void rig_fill(struct rig *r, const struct history *h, uint32_t index)
{
    const struct history_batch *b = &h->batches[index];
    rig_datagram(r, b->bytes, b->header.length, PORT_UNICAST, rig_source_udp(0));
}

void rig_heartbeat(struct rig *r, const struct history *h, uint32_t count)
{
    struct heartbeat hb = history_heartbeat(h, count);
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = heartbeat_encode(&hb, HISTORY_STREAM, bytes, sizeof bytes);
    assert(length > 0);
    rig_datagram(r, bytes, (uint32_t)length, PORT_EGRESS_A, RIG_LEADER);
}

uint64_t rig_step(struct rig *r)
{
    uint64_t deadline = follower_step(r->follower, r->now);
    if (deadline == PORT_NEVER)
        return deadline;
    if (deadline > r->now.mono_ns)
        r->now.mono_ns = deadline;
    return follower_step(r->follower, r->now);
}

uint64_t rig_pass(struct rig *r, uint64_t ns)
{
    follower_step(r->follower, r->now);
    r->now.mono_ns += ns;
    return follower_step(r->follower, r->now);
}

struct gap_request rig_request(const struct rig *r, uint32_t index)
{
    struct gap_request q;
    assert(index < r->port.sent_count);
    const struct fake_sent *s = &r->port.sent[index];
    assert(gap_request_decode(s->bytes, s->length, HISTORY_STREAM, &q) == WIRE_OK);
    return q;
}

void rig_forget_sent(struct rig *r)
{
    r->port.sent_count = 0;
}

uint32_t rig_serve(struct rig *r, const struct history *h)
{
    uint32_t count = r->port.sent_count;
    for (uint32_t i = 0; i < count && h != NULL; i++) {
        struct gap_request q = rig_request(r, i);
        for (uint32_t k = history_find(h, q.first_seq);
             k < h->count && h->batches[k].header.first_seq < q.end_seq; k++)
            rig_fill(r, h, k);
    }
    rig_forget_sent(r);
    return count;
}

void rig_refuse(struct rig *r, const struct gap_request *q, enum gap_refusal_reason reason,
                uint64_t oldest_seq, struct port_addr from)
{
    struct gap_refusal refusal = { .reason = reason,
                                   .first_seq = q->first_seq,
                                   .oldest_seq = oldest_seq,
                                   .end_seq = oldest_seq,
                                   .nonce = q->nonce };
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = gap_refusal_encode(&refusal, HISTORY_STREAM, bytes, sizeof bytes);
    assert(length > 0);
    rig_datagram(r, bytes, (uint32_t)length, PORT_UNICAST, from);
}

bool rig_heal(struct rig *r, const struct history *h)
{
    for (uint32_t round = 0; round < 200; round++) {
        if (rig_step(r) == PORT_NEVER && r->port.sent_count == 0)
            return true;
        rig_serve(r, h);
    }
    return false;
}

bool rig_has(const struct rig *r, const struct history *h, uint32_t count)
{
    if (r->delivered_count != count)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (!digest_equal(r->delivered[i].digest, h->batches[i].header.digest))
            return false;
    }
    return count == 0 ||
           digest_equal(follower_tail_digest(r->follower), h->batches[count - 1].header.digest);
}
