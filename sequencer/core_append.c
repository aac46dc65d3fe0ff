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
    if (reason == 0 && e->topic == TOPIC_TOPIC)
        reason = catalog_refuses_topic(s->catalog, (const char *)e->payload, e->length);
    return reason;
}

static bool refuse_or_create(struct sequencer *s, uint32_t publisher, uint64_t number,
                             const struct proposal_entry *e, enum reject_reason reason,
                             uint64_t detail)
{
    if (reason != 0) {
        struct sys_reject reject = {
            .reason = (uint8_t)reason, .topic = e->topic, .count = 1, .detail = detail
        };
        return append_reject(s, publisher, number, &reject);
    }
    if (!emit_record(s, TOPIC_TOPIC, publisher, number, e->payload, e->length, ROOM_ORDINARY))
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
    if (reason != 0 || e->topic < TOPIC_FIRST_USER) {
        if (!refuse_or_create(s, publisher, number, e, reason, detail))
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
    queue_advance(s, q, h, after);
    return true;
}

/* ---- turns ----------------------------------------------------------------------------------- */

/* Serves until its credit is used up; NOTHING when it has no more to serve. */
static enum served serve_turn(struct sequencer *s, uint32_t publisher, struct queue *q)
{
    while (q->deficit > 0) {
        uint64_t next = ledger_next(&s->ledger, publisher);
        struct held *h = queue_head(s, q, next);
        if (h == NULL)
            return SERVED_NOTHING;
        struct proposal_cursor cursor = h->cursor;
        struct proposal_entry e;
        bool there = proposal_next(&cursor, &e);
        assert(there);
        if (e.flags == 0 && !q->discarding) {
            if (!serve_message(s, publisher, q, h, &e, cursor))
                return SERVED_BLOCKED;
            continue;
        }
        enum served served = run_serve(s, publisher, q, h->number, e.topic);
        if (served != SERVED)
            return served;
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
