#include "sequencer/core_private.h"

static void refuse(struct sequencer *s, const struct gap_request *r, struct port_addr to,
                   enum gap_refusal_reason reason, uint64_t oldest_seq)
{
    struct gap_refusal refusal = { .reason = reason,
                                   .first_seq = r->first_seq,
                                   .oldest_seq = oldest_seq,
                                   .end_seq = s->next_seq,
                                   .nonce = r->nonce };
    uint8_t *out = port_scratch(s->port, SIGNAL_SIZE_MAX);
    size_t length = gap_refusal_encode(&refusal, s->o.stream, out, SIGNAL_SIZE_MAX);
    assert(length > 0);
    count(s, COUNTER_GAP_REFUSED, 1);
    sequencer_send(s, PORT_UNICAST, to, out, (uint32_t)length);
}

/* The last resort of whoever has a gap: retransmitters are asked first. */
void answer_gap_request(struct sequencer *s, const struct port_datagram *d)
{
    struct gap_request r;
    enum wire_verdict verdict = gap_request_decode(d->bytes, d->length, s->o.stream, &r);
    if (verdict != WIRE_OK) {
        sequencer_count_verdict(s, verdict);
        return;
    }
    if (s->state != SEQUENCER_LEADING)
        return;
    count(s, COUNTER_GAP_REQUESTS_IN, 1);
    uint64_t index = s->ring_head;
    uint64_t oldest_seq = index < s->ring_end ? ring_slot_at(s, index)->first_seq : s->next_seq;
    if (r.first_seq >= s->next_seq) {
        refuse(s, &r, d->from, GAP_NOT_YET, oldest_seq);
        return;
    }
    if (r.first_seq < oldest_seq) {
        refuse(s, &r, d->from, GAP_PRUNED, oldest_seq);
        return;
    }
    index = ring_find(s, r.first_seq);
    assert(index != UINT64_MAX);
    if (index < s->ring_lent)
        s->ring_lent = index;
    for (uint32_t n = 0; index < s->ring_end && n < FILL_BATCHES_MAX; index++, n++) {
        const struct ring_slot *slot = ring_slot_at(s, index);
        if (slot->first_seq >= r.end_seq)
            return;
        if (s->fills_left == 0) {
            refuse(s, &r, d->from, GAP_BUSY, oldest_seq);
            return;
        }
        s->fills_left--;
        count(s, COUNTER_FILLS_OUT, 1);
        sequencer_send(s, PORT_UNICAST, d->from, ring_bytes_at(s, index), slot->length);
    }
    if (index == s->ring_end && r.end_seq > s->next_seq)
        refuse(s, &r, d->from, GAP_NOT_YET, oldest_seq);
}

/* One bucket for everyone: hints are advice, and advice must not become a flood. Holes have their
 * own, so that strangers who are told off don't slow the recovery from loss. */
static bool hint_allowed(struct sequencer *s, struct hint_bucket *bucket)
{
    uint64_t due = (s->now.mono_ns - bucket->refill_ns) / bucket->interval_ns;
    if (due > 0) {
        bucket->refill_ns += due * bucket->interval_ns;
        uint64_t tokens = bucket->tokens + due;
        bucket->tokens = tokens > HINTS_BURST ? HINTS_BURST : (uint32_t)tokens;
    }
    if (bucket->tokens == 0) {
        count(s, COUNTER_HINTS_WITHHELD, 1);
        return false;
    }
    bucket->tokens--;
    return true;
}

static void send_hint(struct sequencer *s, struct port_addr to, const struct hint *hint)
{
    uint8_t *out = port_scratch(s->port, SIGNAL_SIZE_MAX);
    size_t length = hint_encode(hint, s->o.stream, out, SIGNAL_SIZE_MAX);
    assert(length > 0);
    count(s, COUNTER_HINTS_OUT, 1);
    sequencer_send(s, PORT_UNICAST, to, out, (uint32_t)length);
}

void answer_hint(struct sequencer *s, struct port_addr to, enum hint_reason reason,
                 uint32_t publisher, uint64_t nonce)
{
    if (!hint_allowed(s, &s->advice))
        return;
    struct hint hint = {
        .reason = reason, .publisher = publisher, .nonce = nonce, .epoch = s->epoch
    };
    if (publisher > 0 && publisher < catalog_publisher_end(s->catalog)) {
        hint.incarnation = catalog_publisher(s->catalog, publisher)->incarnation;
        hint.next_publisher_seq = ledger_next(&s->ledger, publisher);
    }
    send_hint(s, to, &hint);
}

void answer_missing(struct sequencer *s, struct port_addr to, uint32_t publisher, uint64_t first,
                    uint64_t end)
{
    struct queue *q = &s->queues[publisher];
    if (end <= q->told)
        return; /* a duplicate, or it had to give its slot to one before it and comes again */
    q->told = end;
    if (!hint_allowed(s, &s->holes))
        return;
    struct hint hint = { .reason = HINT_MISSING,
                         .publisher = publisher,
                         .incarnation = catalog_publisher(s->catalog, publisher)->incarnation,
                         .next_publisher_seq = first,
                         .nonce = end,
                         .epoch = s->epoch };
    send_hint(s, to, &hint);
}

void answer_publisher(struct sequencer *s, struct port_addr to, enum hint_reason reason,
                      uint32_t publisher)
{
    struct queue *q = &s->queues[publisher];
    if (q->hint_ns != 0 && s->now.mono_ns - q->hint_ns < HINT_INTERVAL_NS)
        return;
    q->hint_ns = s->now.mono_ns;
    answer_hint(s, to, reason, publisher, 0);
}
