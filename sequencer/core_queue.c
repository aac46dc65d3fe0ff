/* Proposals held until their turn: datagrams in one pool of slots, per publisher a list sorted by
 * number.
 *
 * The pool is shared by dynamic threshold: a publisher may hold as many slots as are free, so one
 * alone gets half, and many share. Three rules keep it moving whatever the publishers do:
 *   - what comes before a publisher's last datagram may take that one's slot, so that the missing
 *     number always gets in;
 *   - some slots are for one publisher at a time (the token), so that runs too long for the shares
 *     of a full pool are still completed, one after the other;
 *   - a queue that has waited for a missing number for a second makes room when room is short.
 * Whatever is dropped is sent again by its publisher.
 *
 * A standby holds what it hears in the same way, and drops what the history it follows has. When it
 * begins to lead, what is left and stands on its history is served at once. */
#include "sequencer/core_private.h"

void queue_reset_all(struct sequencer *s)
{
    memset(s->queues, 0, s->ledger.publishers_max * sizeof *s->queues);
    for (uint32_t p = 0; p < s->ledger.publishers_max; p++)
        s->queues[p].head = s->queues[p].tail = NIL;
    for (uint32_t i = 0; i < s->o.queue_max; i++)
        s->held[i] = (struct held) { .next = i + 1 < s->o.queue_max ? i + 1 : NIL };
    s->free_head = 0;
    s->free_count = s->o.queue_max;
    s->token_publisher = 0;
    s->token_used = 0;
    s->active_head = s->active_tail = NIL;
    s->turn_open = false;
    s->run = (struct run_emission) { 0 };
    s->ask_count = 0;
}

static bool emitting_run_of(const struct sequencer *s, uint32_t publisher)
{
    return s->run.left > 0 && s->run.publisher == publisher;
}

void queue_stand_by(struct sequencer *s)
{
    while (s->active_head != NIL)
        queue_deactivate_first(s);
    s->run = (struct run_emission) { 0 };
    s->ask_count = 0;
}

/* ---- slots ----------------------------------------------------------------------------------- */

static void slot_free(struct sequencer *s, struct queue *q, uint32_t index)
{
    struct held *h = &s->held[index];
    if (h->publisher == s->token_publisher && s->token_used > 0 && --s->token_used == 0)
        s->token_publisher = 0;
    if (h->previous == NIL)
        q->head = h->next;
    else
        s->held[h->previous].next = h->next;
    if (h->next == NIL)
        q->tail = h->previous;
    else
        s->held[h->next].previous = h->previous;
    q->slots--;
    h->publisher = 0;
    h->next = s->free_head;
    s->free_head = index;
    s->free_count++;
}

void queue_drop(struct sequencer *s, uint32_t publisher)
{
    struct queue *q = &s->queues[publisher];
    while (q->head != NIL)
        slot_free(s, q, q->head);
    q->scan.first = 0;
    q->told = 0;
}

/* Drops what has waited for a missing number for too long. */
static void drop_stale(struct sequencer *s)
{
    if (s->now.mono_ns - s->stale_scan_ns < STALE_SCAN_NS)
        return;
    s->stale_scan_ns = s->now.mono_ns;
    for (uint32_t i = 0; i < s->o.queue_max; i++) {
        uint32_t p = s->held[i].publisher;
        if (p == 0 || s->queues[p].active || emitting_run_of(s, p))
            continue;
        bool holds_token = p == s->token_publisher;
        uint64_t patience = holds_token ? TOKEN_EXPIRES_NS : HELD_STALE_NS;
        if (s->now.mono_ns - s->queues[p].heard_ns >= patience ||
            (holds_token && s->now.mono_ns - s->token_at_ns >= HELD_STALE_NS)) {
            count(s, COUNTER_PROPOSALS_OVERFLOW, s->held[i].end - s->held[i].number);
            queue_drop(s, p);
        }
    }
}

/* Whether this datagram goes on where the head of its queue, as far as it is known, ends. */
static bool goes_on(const struct sequencer *s, const struct queue *q, uint64_t first)
{
    return q->tail == NIL || first <= s->held[q->tail].end;
}

static bool slot_allowed(struct sequencer *s, uint32_t publisher, const struct queue *q,
                         uint64_t first)
{
    uint32_t reserved = s->token_reserve - s->token_used;
    uint32_t shared = s->free_count > reserved ? s->free_count - reserved : 0;
    if (shared > 0 && q->slots <= shared)
        return true;
    if (s->free_count == 0 || reserved == 0 || !goes_on(s, q, first))
        return false;
    if (s->token_publisher == 0) {
        s->token_publisher = publisher;
        s->token_at_ns = s->now.mono_ns;
    }
    if (s->token_publisher != publisher)
        return false;
    s->token_used++;
    return true;
}

static uint32_t slot_take(struct sequencer *s, uint32_t publisher, struct queue *q, uint64_t first)
{
    if (!slot_allowed(s, publisher, q, first)) {
        if (q->tail != NIL && first < s->held[q->tail].first && !emitting_run_of(s, publisher)) {
            const struct held *last = &s->held[q->tail];
            count(s, COUNTER_PROPOSALS_OVERFLOW, last->end - last->number);
            slot_free(s, q, q->tail);
            q->scan.first = 0;
        } else {
            drop_stale(s);
        }
        if (!slot_allowed(s, publisher, q, first))
            return NIL;
    }
    uint32_t index = s->free_head;
    s->free_head = s->held[index].next;
    s->free_count--;
    return index;
}

/* ---- a publisher's list ---------------------------------------------------------------------- */

/* The slot after which a datagram of these numbers belongs, NIL for the front. Nearly always the
 * last one. */
static uint32_t place_of(const struct sequencer *s, const struct queue *q, uint64_t first)
{
    uint32_t at = q->tail;
    while (at != NIL && s->held[at].first > first)
        at = s->held[at].previous;
    return at;
}

static bool covers(const struct held *h, uint64_t first, uint64_t end)
{
    return h->first <= first && h->end >= end;
}

static void insert_after(struct sequencer *s, struct queue *q, uint32_t at, uint32_t index)
{
    struct held *h = &s->held[index];
    h->previous = at;
    h->next = at == NIL ? q->head : s->held[at].next;
    if (h->next == NIL)
        q->tail = index;
    else
        s->held[h->next].previous = index;
    if (at == NIL)
        q->head = index;
    else
        s->held[at].next = index;
    q->slots++;
}

uint64_t queue_trim(struct sequencer *s, struct queue *q, uint64_t next)
{
    uint64_t dropped = 0;
    while (q->head != NIL) {
        struct held *h = &s->held[q->head];
        struct proposal_entry skipped;
        if (h->end > next) {
            for (; h->number < next; h->number++, dropped++)
                proposal_next(&h->cursor, &skipped);
            break;
        }
        dropped += h->end - h->number;
        slot_free(s, q, q->head);
        q->scan.first = 0;
    }
    return dropped;
}

struct held *queue_head(struct sequencer *s, struct queue *q, uint64_t next)
{
    if (q->head == NIL)
        return NULL;
    struct held *h = &s->held[q->head];
    if (h->number == next || sabotaged(s, SEQUENCER_ORDER_BY_ARRIVAL))
        return h;
    count(s, COUNTER_PROPOSALS_DUPLICATE, queue_trim(s, q, next));
    if (q->head == NIL || s->held[q->head].number > next)
        return NULL;
    return &s->held[q->head];
}

void queue_advance(struct sequencer *s, struct queue *q, struct held *h,
                   struct proposal_cursor after, uint32_t count)
{
    h->cursor = after;
    h->number += count;
    if (h->number == h->end) {
        assert(h == &s->held[q->head]);
        slot_free(s, q, q->head);
    }
}

/* ---- those with something to serve ----------------------------------------------------------- */

void queue_activate(struct sequencer *s, uint32_t publisher)
{
    struct queue *q = &s->queues[publisher];
    if (q->active)
        return;
    q->active = true;
    q->next_active = NIL;
    if (s->active_tail == NIL)
        s->active_head = publisher;
    else
        s->queues[s->active_tail].next_active = publisher;
    s->active_tail = publisher;
}

uint32_t queue_deactivate_first(struct sequencer *s)
{
    uint32_t publisher = s->active_head;
    struct queue *q = &s->queues[publisher];
    s->active_head = q->next_active;
    if (s->active_head == NIL)
        s->active_tail = NIL;
    q->active = false;
    s->turn_open = false;
    return publisher;
}

/* ---- arrival --------------------------------------------------------------------------------- */

/* Whether its author is who it should be and stands on our history; counted and hinted if not. */
static bool author_stands(struct sequencer *s, const struct port_datagram *d,
                          const struct proposal_header *h)
{
    if (h->publisher >= catalog_publisher_end(s->catalog)) {
        count(s, COUNTER_PROPOSALS_UNKNOWN, h->count);
        answer_hint(s, d->from, HINT_UNKNOWN_PUBLISHER, 0, 0);
        return false;
    }
    uint32_t incarnation = catalog_publisher(s->catalog, h->publisher)->incarnation;
    bool any = sabotaged(s, SEQUENCER_OLDER_INCARNATION) && h->incarnation < incarnation;
    if (h->incarnation != incarnation && !any) {
        bool older = h->incarnation < incarnation;
        count(s, older ? COUNTER_PROPOSALS_SUPERSEDED : COUNTER_PROPOSALS_UNKNOWN, h->count);
        answer_publisher(s, d->from, older ? HINT_SUPERSEDED : HINT_UNKNOWN_PUBLISHER,
                         h->publisher);
        return false;
    }
    if (!epoch_table_has(catalog_epochs(s->catalog), s->next_seq - 1, h->position) &&
        !sabotaged(s, SEQUENCER_FOREIGN_BASIS)) {
        count(s, COUNTER_PROPOSALS_FORKED, h->count);
        answer_publisher(s, d->from, HINT_FORKED, h->publisher);
        return false;
    }
    return true;
}

/* Whether its numbers are of use; counted and hinted if not. */
static bool numbers_stand(struct sequencer *s, const struct port_datagram *d,
                          const struct proposal_header *h)
{
    if (sabotaged(s, SEQUENCER_ORDER_BY_ARRIVAL))
        return true;
    uint64_t next = ledger_next(&s->ledger, h->publisher);
    if (next == 1 && sabotaged(s, SEQUENCER_DEDUP_FORGOTTEN))
        next = s->ledger.next[h->publisher] = h->first_publisher_seq;
    if (h->first_publisher_seq + h->count <= next) {
        count(s, COUNTER_PROPOSALS_DUPLICATE, h->count);
        answer_publisher(s, d->from, HINT_OLD_NUMBER, h->publisher);
        return false;
    }
    if (h->first_publisher_seq >= next + s->o.window) {
        count(s, COUNTER_PROPOSALS_AHEAD, h->count);
        answer_publisher(s, d->from, HINT_AHEAD, h->publisher);
        return false;
    }
    return true;
}

/* Whether a standby should keep it: nobody is told anything, since it speaks for nobody. What its
 * author had applied may not have come here yet. */
static bool may_be_held(const struct sequencer *s, const struct proposal_header *h)
{
    if (s->unfit != NULL || h->publisher >= catalog_publisher_end(s->catalog) ||
        h->incarnation != catalog_publisher(s->catalog, h->publisher)->incarnation)
        return false;
    uint64_t next = ledger_next(&s->ledger, h->publisher);
    if (h->first_publisher_seq + h->count <= next || h->first_publisher_seq >= next + s->o.window)
        return false;
    return h->position.seq >= s->next_seq ||
           epoch_table_has(catalog_epochs(s->catalog), s->next_seq - 1, h->position);
}

static bool hold(struct sequencer *s, const struct port_datagram *d,
                 const struct proposal_header *h)
{
    struct queue *q = &s->queues[h->publisher];
    uint64_t first = h->first_publisher_seq;
    uint64_t end = first + h->count;
    bool by_arrival = sabotaged(s, SEQUENCER_ORDER_BY_ARRIVAL);
    uint32_t at = by_arrival ? q->tail : place_of(s, q, first);
    if (!by_arrival && at != NIL && covers(&s->held[at], first, end)) {
        if (s->state == SEQUENCER_LEADING) {
            count(s, COUNTER_PROPOSALS_DUPLICATE, h->count);
            return true;
        }
        /* What was held may turn out to be off the history: the later word is the better one. */
        if (s->held[at].first != first || s->held[at].end != end)
            return true;
        slot_free(s, q, at);
        q->scan.first = 0;
    }
    uint32_t index = slot_take(s, h->publisher, q, first);
    if (index == NIL) {
        count(s, COUNTER_PROPOSALS_OVERFLOW, h->count);
        return false;
    }
    uint8_t *bytes = s->held_bytes + (size_t)index * s->held_stride;
    memcpy(bytes, d->bytes, d->length);
    s->held[index] = (struct held) { .cursor = proposal_begin(bytes, h),
                                     .number = first,
                                     .first = first,
                                     .end = end,
                                     .position = h->position,
                                     .incarnation = h->incarnation,
                                     .publisher = h->publisher };
    /* Room may have been made by dropping the very slot after which this one belongs. */
    insert_after(s, q, by_arrival ? q->tail : place_of(s, q, first), index);
    if (first < q->scan.first + q->scan.count)
        q->scan.first = 0; /* it may reach further than what was scanned there */
    return true;
}

/* With many publishers what is kept of one is in no cache: it is fetched while the datagrams before
 * this one are looked at. */
void queue_prefetch(const struct sequencer *s, const struct port_datagram *d)
{
    if (d->length < PROPOSAL_HEADER_SIZE)
        return;
    uint32_t publisher = proposal_publisher(d->bytes);
    if (publisher >= catalog_publisher_end(s->catalog))
        return;
    const struct queue *q = &s->queues[publisher];
    __builtin_prefetch(q, 1);
    __builtin_prefetch((const uint8_t *)(q + 1) - 1, 1);
    __builtin_prefetch(&s->ledger.next[publisher], 1);
    __builtin_prefetch(&s->base.ledger.next[publisher], 1);
    __builtin_prefetch(catalog_publisher(s->catalog, publisher));
}

/* What lies between its newest datagram and the one before it is lost, or late. */
static void tell_of_hole(struct sequencer *s, const struct port_datagram *d, const struct queue *q,
                         const struct proposal_header *h)
{
    const struct held *last = q->tail != NIL ? &s->held[q->tail] : NULL;
    if (last == NULL || last->first != h->first_publisher_seq)
        return;
    uint64_t next =
        last->previous != NIL ? s->held[last->previous].end : ledger_next(&s->ledger, h->publisher);
    if (next < last->first)
        answer_missing(s, d->from, h->publisher, next, last->first);
}

void queue_on_proposal(struct sequencer *s, const struct port_datagram *d)
{
    struct proposal_header h;
    if (d->length > s->held_stride) {
        count(s, COUNTER_DROPPED_MALFORMED, 1);
        return;
    }
    enum wire_verdict verdict = proposal_decode(d->bytes, d->length, s->o.stream, &h);
    if (verdict != WIRE_OK) {
        sequencer_count_verdict(s, verdict);
        return;
    }
    count(s, COUNTER_PROPOSALS_IN, h.count);
    s->unheard = 0;
    if (s->state != SEQUENCER_LEADING) {
        if (may_be_held(s, &h)) {
            s->queues[h.publisher].heard_ns = s->now.mono_ns;
            hold(s, d, &h);
        }
        return;
    }
    if (!author_stands(s, d, &h) || !numbers_stand(s, d, &h))
        return;
    struct queue *q = &s->queues[h.publisher];
    q->heard_ns = s->now.mono_ns;
    if (!hold(s, d, &h))
        answer_publisher(s, d->from, s->paused ? HINT_PAUSED : HINT_OVERLOADED, h.publisher);
    else
        tell_of_hole(s, d, q, &h);
    if (!q->active && !emitting_run_of(s, h.publisher) &&
        queue_head(s, q, ledger_next(&s->ledger, h.publisher)) != NULL)
        queue_activate(s, h.publisher);
}

/* ---- another history, another role ----------------------------------------------------------- */

static bool still_stands(const struct sequencer *s, const struct held *h, bool begin)
{
    if (h->publisher >= catalog_publisher_end(s->catalog) ||
        h->incarnation != catalog_publisher(s->catalog, h->publisher)->incarnation)
        return false;
    if (h->position.seq >= s->next_seq)
        return !begin;
    return epoch_table_has(catalog_epochs(s->catalog), s->next_seq - 1, h->position);
}

/* Back to its beginning: a run whose first numbers were sequenced, and then voided or taken back,
 * comes again as a whole, and who sends it again is told nothing of what is held here. */
static void rewind_held(struct sequencer *s, uint32_t index)
{
    struct held *h = &s->held[index];
    struct proposal_header header = { .count = (uint16_t)(h->end - h->first) };
    h->number = h->first;
    h->cursor = proposal_begin(s->held_bytes + (size_t)index * s->held_stride, &header);
}

void queue_check_all(struct sequencer *s, bool begin)
{
    for (uint32_t p = 0; p < s->ledger.publishers_max; p++)
        s->queues[p].told = 0; /* its numbers may have been taken back */
    for (uint32_t i = 0; i < s->o.queue_max; i++) {
        struct held *h = &s->held[i];
        if (h->publisher == 0)
            continue;
        struct queue *q = &s->queues[h->publisher];
        q->scan.first = 0;
        if (!still_stands(s, h, begin)) {
            count(s, COUNTER_PROPOSALS_FORKED, h->end - h->number);
            slot_free(s, q, i);
        } else if (h->number != h->first) {
            rewind_held(s, i);
        }
    }
    for (uint32_t i = 0; begin && i < s->o.queue_max; i++) {
        uint32_t publisher = s->held[i].publisher;
        if (publisher == 0 || s->queues[publisher].active)
            continue;
        uint64_t next = ledger_next(&s->ledger, publisher);
        queue_trim(s, &s->queues[publisher], next);
        if (s->queues[publisher].head != NIL && queue_head(s, &s->queues[publisher], next) != NULL)
            queue_activate(s, publisher);
    }
}
