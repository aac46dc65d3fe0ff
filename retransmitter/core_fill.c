#include "retransmitter/core_private.h"

/* Requests are queued as they come and answered at the end of the step: batches are sent from where
 * the journal keeps them, and the next append may overwrite that. */

#define NOBODY UINT32_MAX

/* ---- who asks how much --------------------------------------------------------------------------
 */

static uint32_t bucket_of(const struct fill *f, struct port_addr a)
{
    uint64_t h = ((uint64_t)a.ip << 16 | a.port) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(h >> 40) & f->bucket_mask;
}

static void unlink_use(struct fill *f, uint32_t i)
{
    struct requester *q = &f->requesters[i];
    if (q->older != NOBODY)
        f->requesters[q->older].newer = q->newer;
    else
        f->oldest = q->newer;
    if (q->newer != NOBODY)
        f->requesters[q->newer].older = q->older;
    else
        f->newest = q->older;
}

static void link_newest(struct fill *f, uint32_t i)
{
    struct requester *q = &f->requesters[i];
    q->older = f->newest;
    q->newer = NOBODY;
    if (f->newest != NOBODY)
        f->requesters[f->newest].newer = i;
    else
        f->oldest = i;
    f->newest = i;
}

static void unlink_bucket(struct fill *f, uint32_t i)
{
    uint32_t *at = &f->buckets[bucket_of(f, f->requesters[i].addr)];
    while (*at != i)
        at = &f->requesters[*at].hash_next;
    *at = f->requesters[i].hash_next;
}

static int64_t burst_bytes(const struct retransmitter *r)
{
    uint64_t whole = (uint64_t)r->o.fill_batches_max * r->o.datagram_max;
    uint64_t share = r->o.fill_rate_bytes / 64;
    return (int64_t)(whole > share ? whole : share);
}

/* A slot for a new requester: a fresh one, or that of whoever asked longest ago. */
static uint32_t new_slot(struct retransmitter *r)
{
    struct fill *f = &r->fill;
    if (f->requester_count < r->o.requesters_max)
        return f->requester_count++;
    uint32_t i = f->oldest;
    unlink_bucket(f, i);
    unlink_use(f, i);
    return i;
}

/* The requester with its bucket filled up to now. */
static struct requester *requester_of(struct retransmitter *r, struct port_addr addr)
{
    struct fill *f = &r->fill;
    uint32_t *bucket = &f->buckets[bucket_of(f, addr)];
    uint32_t i = *bucket;
    while (i != NOBODY && !port_addr_equal(f->requesters[i].addr, addr))
        i = f->requesters[i].hash_next;
    int64_t burst = burst_bytes(r);
    if (i == NOBODY) {
        i = new_slot(r);
        f->requesters[i] = (struct requester) {
            .addr = addr, .tokens = burst, .refilled_ns = r->now.mono_ns, .hash_next = *bucket
        };
        *bucket = i;
    } else {
        unlink_use(f, i);
    }
    link_newest(f, i);
    struct requester *q = &f->requesters[i];
    /* A thousand seconds fill any bucket, and keep the product in range. */
    uint64_t waited_us = earlier((r->now.mono_ns - q->refilled_ns) / 1000, UINT64_C(1000000000));
    uint64_t earned = waited_us * r->o.fill_rate_bytes / 1000000;
    if (earned > 0) {
        int64_t filled = q->tokens + (int64_t)earned;
        q->tokens = filled < burst ? filled : burst;
        q->refilled_ns = r->now.mono_ns;
    }
    return q;
}

/* ---- many who ask the same ----------------------------------------------------------------------
 */

enum range_answer {
    RANGE_ONE, /* to the requester */
    RANGE_ALL, /* by multicast */
    RANGE_NONE /* has just been multicast */
};

static enum range_answer range_of(struct retransmitter *r, const struct fill_request *q)
{
    struct fill *f = &r->fill;
    struct range *range = NULL;
    for (uint32_t i = 0; i < RANGES_MAX && range == NULL; i++) {
        struct range *x = &f->ranges[i];
        if (x->first_seq < q->gap.end_seq && q->gap.first_seq < x->end_seq &&
            r->now.mono_ns - x->began_ns < r->o.multicast_ns)
            range = x;
    }
    if (range == NULL) {
        range = &f->ranges[f->range_next++ % RANGES_MAX];
        *range = (struct range) { .first_seq = q->gap.first_seq,
                                  .end_seq = q->gap.end_seq,
                                  .asked_end = q->gap.end_seq,
                                  .began_ns = r->now.mono_ns };
    }
    if (range->multicast) {
        bool covered = q->gap.first_seq >= range->first_seq && q->gap.end_seq <= range->asked_end;
        return covered ? RANGE_NONE : RANGE_ONE;
    }
    for (uint32_t i = 0; i < range->count; i++) {
        if (port_addr_equal(range->from[i], q->from))
            return RANGE_ONE; /* again: the answer was lost on its way to this one */
    }
    range->from[range->count++] = q->from;
    if (range->count < r->o.multicast_after)
        return RANGE_ONE;
    range->multicast = true;
    range->first_seq = q->gap.first_seq;
    range->end_seq = q->gap.end_seq;
    range->asked_end = q->gap.end_seq;
    range->began_ns = r->now.mono_ns;
    return RANGE_ALL;
}

/* What went out by multicast for q: up to end_seq, which may be less than was asked for, or nothing.
 * Who asks for the rest is answered, and if nothing went out the next who asks makes it a multicast
 * again. */
static void range_sent(struct retransmitter *r, const struct fill_request *q, uint64_t end_seq)
{
    for (uint32_t i = 0; i < RANGES_MAX; i++) {
        struct range *range = &r->fill.ranges[i];
        if (!range->multicast || range->first_seq != q->gap.first_seq ||
            range->asked_end != q->gap.end_seq)
            continue;
        if (end_seq > range->first_seq) {
            range->end_seq = end_seq;
        } else {
            range->multicast = false;
            range->count--;
        }
    }
}

/* ---- answers ------------------------------------------------------------------------------------
 */

static void refuse(struct retransmitter *r, const struct fill_request *q,
                   enum gap_refusal_reason reason, uint64_t end_seq)
{
    uint64_t oldest = journal_oldest_seq(r->journal);
    struct gap_refusal refusal = { .reason = reason,
                                   .first_seq = q->gap.first_seq,
                                   .oldest_seq = oldest,
                                   .end_seq = end_seq > oldest ? end_seq : oldest,
                                   .nonce = q->gap.nonce };
    uint8_t *out = port_scratch(r->port, SIGNAL_SIZE_MAX);
    size_t length = gap_refusal_encode(&refusal, r->o.stream, out, SIGNAL_SIZE_MAX);
    core_send(r, PORT_UNICAST, q->from, out, length);
    r->counters[COUNTER_GAP_REFUSED]++;
}

/* What of it can be had: below the end that is served, and below damage. */
static uint64_t servable_end(const struct retransmitter *r, const struct gap_request *gap)
{
    uint64_t end = core_served_end(r, gap->epoch);
    for (uint32_t i = 0; i < journal_damage_count(r->journal); i++) {
        uint64_t damaged, damaged_end;
        journal_damage(r->journal, i, &damaged, &damaged_end);
        if (gap->first_seq < damaged_end)
            end = earlier(end, damaged);
    }
    return end;
}

static void send_fill(struct retransmitter *r, bool multicast, struct port_addr to,
                      const uint8_t *batch, uint32_t length)
{
    core_send(r, multicast ? PORT_EGRESS_A : PORT_UNICAST, to, batch, length);
    r->counters[COUNTER_FILLS_OUT]++;
    r->counters[COUNTER_FILLS_MULTICAST] += multicast;
}

/* From memory: how many batches; 0 if the first of them is no longer there. One that was recorded
 * under a larger datagram_max fits no datagram of ours: only a replay brings it. */
static uint32_t serve_recent(struct retransmitter *r, const struct fill_request *q, bool multicast,
                             struct requester *requester, uint64_t end)
{
    uint32_t sent = 0;
    uint64_t seq = q->gap.first_seq;
    while (seq < end && sent < r->o.fill_batches_max) {
        uint32_t length;
        const uint8_t *batch = journal_recent(r->journal, seq, &length);
        struct batch_header header;
        if (batch == NULL || requester->tokens <= 0 || length > r->o.datagram_max ||
            batch_decode(batch, length, r->o.stream, &header) != WIRE_OK)
            break;
        send_fill(r, multicast, q->from, batch, length);
        requester->tokens -= length;
        seq = batch_end_seq(&header);
        sent++;
    }
    if (multicast && sent > 0)
        range_sent(r, q, seq);
    return sent;
}

static bool read_for(struct retransmitter *r, const struct fill_request *q, bool multicast)
{
    for (uint32_t i = 0; i < FILL_SLOTS; i++) {
        struct fill_slot *slot = &r->fill.slots[i];
        if (slot->state != FILL_SLOT_FREE)
            continue;
        slot->read = (struct journal_read) { .first_seq = q->gap.first_seq,
                                             .buffer = slot->buffer,
                                             .capacity = FILL_SLOT_BYTES };
        if (!journal_read_begin(r->journal, &slot->read))
            return false;
        slot->state = FILL_SLOT_READING;
        slot->dropped = false;
        slot->multicast = multicast;
        slot->request = *q;
        r->again = r->again || slot->read.done;
        return true;
    }
    return false;
}

static uint32_t serve(struct retransmitter *r, const struct fill_request *q)
{
    if (q->gap.first_seq < journal_oldest_seq(r->journal)) {
        refuse(r, q, GAP_PRUNED, core_served_end(r, q->gap.epoch));
        return 0;
    }
    uint64_t servable = servable_end(r, &q->gap);
    if (q->gap.first_seq >= servable) {
        refuse(r, q, GAP_NOT_YET, servable);
        return 0;
    }
    struct requester *requester = requester_of(r, q->from);
    if (requester->tokens <= 0) {
        refuse(r, q, GAP_BUSY, servable);
        return 0;
    }
    enum range_answer answer = range_of(r, q);
    if (answer == RANGE_NONE)
        return 0;
    uint64_t end = earlier(q->gap.end_seq, servable);
    uint32_t sent = serve_recent(r, q, answer == RANGE_ALL, requester, end);
    if (sent == 0 && !read_for(r, q, answer == RANGE_ALL)) {
        if (answer == RANGE_ALL)
            range_sent(r, q, 0);
        refuse(r, q, GAP_BUSY, servable);
        return 0;
    }
    if (servable < q->gap.end_seq)
        refuse(r, q, GAP_NOT_YET, servable);
    return sent;
}

static uint32_t serve_read(struct retransmitter *r, struct fill_slot *slot)
{
    const struct journal_read *read = &slot->read;
    const struct fill_request *q = &slot->request;
    uint64_t end = earlier(q->gap.end_seq, servable_end(r, &q->gap)), sent_end = 0;
    if (read->error != 0) {
        if (slot->multicast)
            range_sent(r, q, 0);
        bool pruned = q->gap.first_seq < journal_oldest_seq(r->journal);
        refuse(r, q, pruned ? GAP_PRUNED : GAP_NOT_YET, q->gap.first_seq);
        return 0;
    }
    struct requester *requester = requester_of(r, q->from);
    const uint8_t *at = read->batches;
    uint32_t left = read->length, sent = 0;
    while (left > 0 && sent < r->o.fill_batches_max && requester->tokens > 0) {
        size_t length = batch_length_at(at, left);
        struct batch_header header;
        if (length == 0 || length > r->o.datagram_max ||
            batch_decode(at, length, r->o.stream, &header) != WIRE_OK || header.first_seq >= end)
            break;
        send_fill(r, slot->multicast, q->from, at, (uint32_t)length);
        requester->tokens -= (int64_t)length;
        sent_end = batch_end_seq(&header);
        sent++;
        uint32_t whole = journal_aligned((uint32_t)length);
        at += whole;
        left = left > whole ? left - whole : 0;
    }
    if (slot->multicast)
        range_sent(r, q, sent_end);
    return sent;
}

void fill_on_request(struct retransmitter *r, const struct port_datagram *d)
{
    struct fill *f = &r->fill;
    struct fill_request q = { .from = d->from };
    enum wire_verdict verdict = gap_request_decode(d->bytes, d->length, r->o.stream, &q.gap);
    if (verdict != WIRE_OK) {
        core_count_verdict(r, verdict);
        return;
    }
    r->counters[COUNTER_GAP_REQUESTS_IN]++;
    if (f->queue_count == FILL_QUEUE_MAX) {
        refuse(r, &q, GAP_BUSY, 0);
        return;
    }
    f->queue[(f->queue_begin + f->queue_count++) % FILL_QUEUE_MAX] = q;
}

void fill_release(struct retransmitter *r)
{
    for (uint32_t i = 0; i < FILL_SLOTS; i++) {
        if (r->fill.slots[i].state == FILL_SLOT_SENT)
            r->fill.slots[i].state = FILL_SLOT_FREE;
    }
}

void fill_step(struct retransmitter *r)
{
    struct fill *f = &r->fill;
    uint32_t sent = 0;
    for (uint32_t i = 0; i < FILL_SLOTS; i++) {
        struct fill_slot *slot = &f->slots[i];
        if (slot->state != FILL_SLOT_READING || !slot->read.done)
            continue;
        if (!slot->dropped)
            sent += serve_read(r, slot);
        else if (slot->multicast)
            range_sent(r, &slot->request, 0);
        slot->state = FILL_SLOT_SENT;
    }
    while (f->queue_count > 0 && sent < FILL_STEP_BATCHES) {
        sent += serve(r, &f->queue[f->queue_begin]);
        f->queue_begin = (f->queue_begin + 1) % FILL_QUEUE_MAX;
        f->queue_count--;
    }
    r->again = r->again || f->queue_count > 0;
}

/* What is being read may be of the piece that was cut. The requester asks again. */
void fill_cut(struct retransmitter *r)
{
    for (uint32_t i = 0; i < FILL_SLOTS; i++)
        r->fill.slots[i].dropped = true;
}

bool fill_reading(const struct retransmitter *r)
{
    for (uint32_t i = 0; i < FILL_SLOTS; i++) {
        if (r->fill.slots[i].state == FILL_SLOT_READING && !r->fill.slots[i].read.done)
            return true;
    }
    return false;
}
