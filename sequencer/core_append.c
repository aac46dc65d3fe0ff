/* Accept or reject: publishers take turns by deficit round robin, and the cost of a turn is known
 * only afterwards, so a turn goes on while credit is left and what is overdrawn is paid for by the
 * next ones (surplus round robin). */
#include "sequencer/core_private.h"

/* What stands against this publisher writing there. Neighbouring messages ask the same question. */
enum reject_reason append_refuses(struct sequencer *s, uint32_t publisher, uint32_t topic)
{
    if (publisher != s->permit_publisher || topic != s->permit_topic) {
        s->permit_reason = (uint8_t)catalog_refuses(s->catalog, publisher, topic);
        s->permit_publisher = publisher;
        s->permit_topic = topic;
    }
    return (enum reject_reason)s->permit_reason;
}

enum reject_reason append_condition(struct sequencer *s, const struct proposal_entry *e,
                                    uint64_t *detail)
{
    if (!catalog_topic_exists(s->catalog, e->condition_topic))
        return REJECT_NO_TOPIC;
    uint64_t last = ledger_last_seq(&s->ledger, e->condition_topic);
    if (last <= e->after_seq)
        return (enum reject_reason)0;
    *detail = last;
    return REJECT_CONDITION;
}

bool append_reject(struct sequencer *s, uint32_t publisher, uint64_t number,
                   const struct sys_reject *reject)
{
    uint8_t payload[64];
    size_t length = sys_reject_encode(reject, payload, sizeof payload);
    assert(length > 0);
    if (!emit_record(s, TOPIC_REJECT, publisher, number, payload, (uint32_t)length, ROOM_ORDINARY))
        return false;
    count(s, COUNTER_PROPOSALS_REJECTED, reject->count);
    s->queues[publisher].deficit -= (int64_t)(MESSAGE_HEADER_SIZE + length);
    return true;
}

/* ---- messages outside runs ------------------------------------------------------------------- */

static enum reject_reason refusal_of(struct sequencer *s, uint32_t publisher,
                                     const struct proposal_entry *e, uint64_t *detail)
{
    enum reject_reason reason = append_refuses(s, publisher, e->topic);
    if (reason != 0)
        return reason;
    if (e->length > s->payload_max)
        return REJECT_TOO_LARGE;
    if (e->conditional)
        reason = append_condition(s, e, detail);
    if (reason == 0 && e->topic < TOPIC_FIRST_USER)
        reason = catalog_refuses_sys(s->catalog, publisher, e->topic, e->payload, e->length);
    return reason;
}

static bool refuse_or_record(struct sequencer *s, uint32_t publisher, uint64_t number,
                             const struct proposal_entry *e, enum reject_reason reason,
                             uint64_t detail)
{
    if (reason != 0) {
        struct sys_reject reject = {
            .reason = (uint8_t)reason, .topic = e->topic, .count = 1, .detail = detail
        };
        return append_reject(s, publisher, number, &reject);
    }
    if (!emit_record(s, e->topic, publisher, number, e->payload, e->length, ROOM_ORDINARY))
        return false;
    s->queues[publisher].deficit -= (int64_t)(MESSAGE_HEADER_SIZE + e->length);
    return true;
}

static bool serve_message(struct sequencer *s, uint32_t publisher, struct queue *q, struct held *h,
                          const struct proposal_entry *e, struct proposal_cursor after)
{
    uint64_t number = h->number;
    uint64_t detail = 0;
    enum reject_reason reason = refusal_of(s, publisher, e, &detail);
    bool unpermitted = e->topic == TOPIC_CLOCK && sabotaged(s, SEQUENCER_UNPERMITTED);
    if ((reason != 0 || e->topic < TOPIC_FIRST_USER) && !unpermitted) {
        if (!refuse_or_record(s, publisher, number, e, reason, detail))
            return false;
    } else {
        if (!emit_room(s, e->length, ROOM_ORDINARY))
            return false;
        uint64_t seq = batch_add(&s->batch, e->topic, publisher, number, 0, e->payload, e->length);
        s->next_seq = seq + 1;
        s->ledger.next[publisher] = number + 1;
        s->ledger.last_seq[e->topic] = seq;
        q->deficit -= (int64_t)(MESSAGE_HEADER_SIZE + e->length);
    }
    queue_advance(s, q, h, after, 1);
    return true;
}

/* ---- the hot path ---------------------------------------------------------------------------- */

/* The next entry, if it needs nothing but a place in a batch: outside runs, without a condition,
 * permitted, on a user's topic. */
struct plain_entry {
    uint32_t topic;
    uint32_t length;
};

static inline bool next_is_plain(const struct proposal_cursor *c,
                                 const struct catalog_writer *writer, struct plain_entry *out)
{
    uint32_t head = wire_load32(c->at);
    uint32_t rest = wire_load16(c->at + 4); /* the topic's last byte, the condition */
    out->length = head & MESSAGE_PAYLOAD_MAX;
    out->topic = head >> 16 | (rest & 0xff) << 16;
    return (head & 0xc000) == 0 && rest <= 0xff && catalog_writer_may(writer, out->topic);
}

/* Appends such entries of one datagram to the open batch. What is kept for each batch, datagram and
 * publisher is written once, at the end. */
static void append_plain(struct sequencer *s, uint32_t publisher, struct queue *q, struct held *h,
                         const struct catalog_writer *writer)
{
    struct batch_builder b = s->batch;
    struct proposal_cursor c = h->cursor;
    struct plain_entry e;
    uint64_t *last_seq = s->ledger.last_seq;
    const uint64_t first_seq = b.first_seq, number = h->number - b.count;
    const uint32_t credit = q->deficit < INT32_MAX ? (uint32_t)q->deficit : INT32_MAX;
    const uint32_t end = b.length + credit;
    while (c.left > 0 && b.length < end && next_is_plain(&c, writer, &e) &&
           batch_fits(&b, e.length)) {
        batch_put(b.bytes + b.length, e.topic, publisher, number + b.count, 0,
                  c.at + PROPOSAL_ENTRY_SIZE, e.length);
        last_seq[e.topic] = first_seq + b.count++;
        b.length += MESSAGE_HEADER_SIZE + e.length;
        c.at += PROPOSAL_ENTRY_SIZE + e.length;
        c.left--;
    }
    uint32_t taken = (uint32_t)(b.count - s->batch.count);
    assert(taken > 0);
    q->deficit -= (int64_t)(b.length - s->batch.length);
    s->batch = b;
    s->next_seq = first_seq + b.count;
    s->ledger.next[publisher] = h->number + taken;
    queue_advance(s, q, h, c, taken);
}

/* ---- turns ----------------------------------------------------------------------------------- */

/* Serves until its credit is used up; NOTHING when it has no more to serve. */
static enum served serve_turn(struct sequencer *s, uint32_t publisher, struct queue *q)
{
    struct catalog_writer writer = catalog_writer_of(s->catalog, publisher);
    while (q->deficit > 0) {
        uint64_t next = ledger_next(&s->ledger, publisher);
        struct held *h = queue_head(s, q, next);
        if (h == NULL)
            return SERVED_NOTHING;
        struct plain_entry plain;
        if (!q->discarding && next_is_plain(&h->cursor, &writer, &plain) &&
            plain.length <= s->payload_max) {
            if (!emit_room(s, plain.length, ROOM_ORDINARY))
                return SERVED_BLOCKED;
            append_plain(s, publisher, q, h, &writer);
            continue;
        }
        struct proposal_cursor cursor = h->cursor;
        struct proposal_entry e;
        bool there = proposal_next(&cursor, &e);
        assert(there);
        if (e.flags == 0 && !q->discarding) {
            if (!serve_message(s, publisher, q, h, &e, cursor))
                return SERVED_BLOCKED;
            writer = catalog_writer_of(s->catalog, publisher);
            continue;
        }
        enum served served = run_serve(s, publisher, q, h->number, e.topic);
        if (served != SERVED)
            return served;
        writer = catalog_writer_of(s->catalog, publisher);
    }
    return SERVED;
}

static bool serve_first(struct sequencer *s)
{
    uint32_t publisher = s->active_head;
    struct queue *q = &s->queues[publisher];
    if (!s->turn_open) {
        q->deficit += s->o.quantum_bytes;
        s->turn_open = true;
    }
    enum served served = serve_turn(s, publisher, q);
    if (served == SERVED_BLOCKED)
        return false;
    queue_deactivate_first(s);
    if (served == SERVED)
        queue_activate(s, publisher);
    else if (q->deficit > 0)
        q->deficit = 0; /* credit is not saved up; debt stays */
    return true;
}

void append_step(struct sequencer *s)
{
    if (!run_emit(s) || !ask_step(s))
        return;
    while (s->active_head != NIL) {
        if (!serve_first(s))
            return;
    }
}
