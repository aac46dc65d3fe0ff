/* Runs: groups and fragments. A run is emitted only once it is complete here, judged once, and then
 * emitted in one piece, even if that takes several steps.
 *
 * A run that is too large is rejected as soon as that is known, and then so is the rest of it as it
 * arrives, each piece by one reject record, until the message without MORE. That a rejected run
 * goes on is said in the record (detail 1), because whoever takes over must know it too: the rest
 * of a rejected run is not a run of its own. */
#include "sequencer/core_private.h"

/* ---- collecting ------------------------------------------------------------------------------ */

enum run_extent { RUN_INCOMPLETE = 0, RUN_COMPLETE, RUN_TOO_LARGE };

/* Looks at one datagram's entries from number first + count on. */
static enum run_extent scan_slot(struct sequencer *s, struct run_scan *scan, const struct held *h)
{
    struct proposal_cursor cursor = h->cursor;
    struct proposal_entry e;
    for (uint64_t number = h->number; proposal_next(&cursor, &e); number++) {
        if (number < scan->first + scan->count)
            continue;
        scan->count++;
        scan->bytes += e.length;
        if (scan->bytes > s->o.run_bytes_max || scan->count > s->run_messages_max ||
            (scan->count == s->run_messages_max && (e.flags & MESSAGE_MORE) != 0))
            return RUN_TOO_LARGE;
        if ((e.flags & MESSAGE_MORE) == 0)
            return RUN_COMPLETE;
    }
    return RUN_INCOMPLETE;
}

/* How far the run at `next`, which is at the head of the queue, has arrived. */
static enum run_extent scan_run(struct sequencer *s, struct queue *q, uint64_t next)
{
    struct run_scan *scan = &q->scan;
    if (scan->first != next)
        *scan = (struct run_scan) { .first = next, .slot = q->head };
    /* It was scanned to its end before, and then there was no room for it. */
    if (scan->extent != RUN_INCOMPLETE)
        return (enum run_extent)scan->extent;
    for (uint32_t at = scan->slot; at != NIL; at = s->held[at].next) {
        const struct held *h = &s->held[at];
        if (h->number > scan->first + scan->count)
            break;
        scan->slot = at;
        enum run_extent extent = scan_slot(s, scan, h);
        if (extent != RUN_INCOMPLETE) {
            scan->extent = (uint8_t)extent;
            return extent;
        }
    }
    return RUN_INCOMPLETE;
}

/* ---- refusing -------------------------------------------------------------------------------- */

/* How many of the numbers that have arrived belong to the run at `next`, up to its end. */
static uint32_t known_of_run(struct sequencer *s, const struct queue *q, uint64_t next, bool *ended)
{
    uint64_t expected = next;
    *ended = false;
    for (uint32_t at = q->head; at != NIL && !*ended; at = s->held[at].next) {
        const struct held *h = &s->held[at];
        if (h->number > expected)
            break;
        struct proposal_cursor cursor = h->cursor;
        struct proposal_entry e;
        for (uint64_t number = h->number; proposal_next(&cursor, &e); number++) {
            if (number < expected)
                continue;
            expected++;
            if ((e.flags & MESSAGE_MORE) == 0) {
                *ended = true;
                break;
            }
        }
    }
    return (uint32_t)(expected - next);
}

/* One record for all that is known of the run. */
static enum served refuse_run(struct sequencer *s, uint32_t publisher, struct queue *q,
                              uint64_t next, struct sys_reject *reject)
{
    bool ended;
    reject->count = known_of_run(s, q, next, &ended);
    if (sabotaged(s, SEQUENCER_HALF_REFUSED))
        reject->count = 1;
    if (reject->reason == REJECT_TOO_LARGE)
        reject->detail = !ended;
    if (!sabotaged(s, SEQUENCER_SILENT_REFUSAL) && !append_reject(s, publisher, next, reject))
        return SERVED_BLOCKED;
    queue_trim(s, q, next + reject->count);
    q->scan.first = 0;
    return SERVED;
}

/* ---- judging --------------------------------------------------------------------------------- */

struct judgement {
    struct sys_reject reject; /* reason 0: accepted */
    uint32_t slots;           /* batches it begins */
    uint32_t used;            /* bytes of the batch it is at */
    uint32_t index;
    uint32_t fragment_topic; /* of the message whose payload goes on; 0: none */
};

static enum reject_reason judge_entry(struct sequencer *s, uint32_t publisher, struct judgement *j,
                                      const struct proposal_entry *e)
{
    bool first = j->index == 0;
    if (e->topic < TOPIC_FIRST_USER && append_refuses(s, publisher, e->topic) == 0)
        return REJECT_MALFORMED; /* /sys messages stand alone */
    if ((e->flags & (MESSAGE_MORE | MESSAGE_FRAGMENT)) == MESSAGE_FRAGMENT ||
        (e->conditional && !first) || (j->fragment_topic != 0 && j->fragment_topic != e->topic))
        return REJECT_MALFORMED;
    enum reject_reason reason = append_refuses(s, publisher, e->topic);
    if (reason == 0 && e->length > s->payload_max)
        reason = REJECT_TOO_LARGE;
    if (reason == 0 && e->conditional)
        reason = append_condition(s, e, &j->reject.detail);
    j->fragment_topic = (e->flags & MESSAGE_FRAGMENT) != 0 ? e->topic : 0;
    uint32_t size = MESSAGE_HEADER_SIZE + e->length;
    if (j->used + size > s->o.datagram_max) {
        j->slots++;
        j->used = BATCH_HEADER_SIZE;
    }
    j->used += size;
    j->index++;
    return reason;
}

static void judge_run(struct sequencer *s, uint32_t publisher, struct queue *q, uint64_t next,
                      struct judgement *j)
{
    uint64_t expected = next;
    *j = (struct judgement) { .used = s->batch_is_open ? s->batch.length : s->o.datagram_max };
    for (uint32_t at = q->head; j->index < q->scan.count; at = s->held[at].next) {
        assert(at != NIL);
        const struct held *h = &s->held[at];
        struct proposal_cursor cursor = h->cursor;
        struct proposal_entry e;
        for (uint64_t number = h->number; j->index < q->scan.count; number++) {
            if (!proposal_next(&cursor, &e))
                break;
            if (number < expected)
                continue;
            expected++;
            enum reject_reason reason = judge_entry(s, publisher, j, &e);
            if (reason != 0) {
                j->reject.reason = (uint8_t)reason;
                j->reject.topic = e.topic;
                return;
            }
        }
    }
}

/* ---- emitting -------------------------------------------------------------------------------- */

bool run_emit(struct sequencer *s)
{
    if (s->run.left == 0)
        return true;
    uint32_t publisher = s->run.publisher;
    struct queue *q = &s->queues[publisher];
    while (s->run.left > 0) {
        struct held *h = queue_head(s, q, s->run.number);
        assert(h != NULL || s->o.sabotage != 0);
        if (h == NULL) {
            s->run.left = 0;
            break;
        }
        struct proposal_cursor cursor = h->cursor;
        struct proposal_entry e;
        bool there = proposal_next(&cursor, &e);
        assert(there);
        if (!emit_room(s, e.length, ROOM_ORDINARY))
            return false;
        s->batch_plain = false;
        uint64_t number = s->run.number++;
        struct message m = { .seq = batch_add(&s->batch, e.topic, publisher, number, e.flags,
                                              e.payload, e.length),
                             .publisher_seq = number,
                             .topic = e.topic,
                             .publisher = publisher,
                             .flags = e.flags,
                             .length = e.length };
        s->next_seq = m.seq + 1;
        bool lawful = ledger_apply(&s->ledger, &m);
        assert(lawful || s->o.sabotage != 0);
        (void)lawful;
        q->deficit -= (int64_t)(MESSAGE_HEADER_SIZE + e.length);
        queue_advance(s, q, h, cursor, 1);
        s->run.left--;
    }
    return true;
}

enum served run_serve(struct sequencer *s, uint32_t publisher, struct queue *q, uint64_t next,
                      uint32_t topic)
{
    struct sys_reject too_large = { .reason = REJECT_TOO_LARGE, .topic = topic };
    if (q->discarding)
        return refuse_run(s, publisher, q, next, &too_large);
    switch (scan_run(s, q, next)) {
    case RUN_INCOMPLETE:
        return SERVED_NOTHING;
    case RUN_TOO_LARGE:
        return refuse_run(s, publisher, q, next, &too_large);
    case RUN_COMPLETE:
        break;
    }
    struct judgement j;
    judge_run(s, publisher, q, next, &j);
    if (j.reject.reason == 0 && j.slots > s->ring_slots - RING_RESERVE)
        j.reject = too_large;
    if (j.reject.reason != 0)
        return refuse_run(s, publisher, q, next, &j.reject);
    if (!emit_ring_room(s, j.slots))
        return SERVED_BLOCKED;
    s->run =
        (struct run_emission) { .publisher = publisher, .left = q->scan.count, .number = next };
    q->scan.first = 0;
    return run_emit(s) ? SERVED : SERVED_BLOCKED;
}
