#include "proxy/reader_private.h"

uint64_t reader_end(const struct reader *r)
{
    if (r->joined)
        return view_end(r->s->views, &r->in_view);
    const struct slot *slot = r->slot != NONE ? &r->s->slots[r->slot] : NULL;
    return r->at + (slot != NULL ? slot->end - slot->begin : 0);
}

/* ---- waking ---------------------------------------------------------------------------------- */

void reader_unwait(struct reader *r)
{
    if (r->wait_list == NULL)
        return;
    if (r->previous_waiting != NULL)
        r->previous_waiting->next_waiting = r->next_waiting;
    else
        *r->wait_list = r->next_waiting;
    if (r->next_waiting != NULL)
        r->next_waiting->previous_waiting = r->previous_waiting;
    r->wait_list = NULL;
}

static void wait_in(struct reader *r, struct reader **list)
{
    reader_unwait(r);
    r->wait_list = list;
    r->previous_waiting = NULL;
    r->next_waiting = *list;
    if (*list != NULL)
        (*list)->previous_waiting = r;
    *list = r;
}

void reader_wake(struct reader *r)
{
    reader_unwait(r);
    r->drained = false;
    if (r->is_ready)
        return;
    struct line *ready = &r->s->ready;
    r->is_ready = true;
    r->next_ready = NULL;
    *(ready->last != NULL ? &ready->last->next_ready : &ready->first) = r;
    ready->last = r;
}

/* A tick comes to all at once, and is in no hurry: it leaves behind what there is for others, or with the next
 * message, which wakes the reader as if there were no tick. */
static void wake_later(struct reader *r)
{
    struct line *later = &r->s->later;
    if (r->is_ready || r->is_later)
        return;
    r->is_later = true;
    r->next_later = NULL;
    *(later->last != NULL ? &later->last->next_later : &later->first) = r;
    later->last = r;
}

void reader_wake_list(struct reader **list)
{
    while (*list != NULL)
        reader_wake(*list);
}

/* Until this seq is stable. */
static void hold(struct reader *r)
{
    struct line *held = &r->s->held;
    if (r->is_held)
        return;
    r->is_held = true;
    r->next_held = NULL;
    *(held->last != NULL ? &held->last->next_held : &held->first) = r;
    held->last = r;
}

/* Everything was taken that may be. */
static void drained(struct reader *r)
{
    r->drained = true;
    if (r->joined && r->stable && view_unread(r->s->views, &r->in_view) > 0)
        hold(r);
    else if (r->joined)
        wait_in(r, r->stable ? &r->s->waiting_stable[r->in_view.edition]
                             : &r->s->waiting[r->in_view.edition]);
}

void reader_moved(void *ctx, struct view_reader *in_view)
{
    struct readers *s = ctx;
    struct reader *r = reader_in(in_view);
    if (r->wait_list != NULL)
        wait_in(r,
                r->stable ? &s->waiting_stable[in_view->edition] : &s->waiting[in_view->edition]);
}

/* ---- items ----------------------------------------------------------------------------------- */

static uint32_t take_item(struct readers *s)
{
    uint32_t i = s->item_free;
    if (i != NONE)
        s->item_free = s->items[i].next;
    else if (s->item_end <= s->item_max)
        i = s->item_end++;
    else
        return NONE;
    s->items_used++;
    return i;
}

static void append(struct readers *s, struct queue *q, uint32_t i)
{
    s->items[i].next = NONE;
    *(q->last != NONE ? &s->items[q->last].next : &q->first) = i;
    q->last = i;
    q->count++;
}

static uint32_t pop(struct readers *s, struct queue *q)
{
    uint32_t i = q->first;
    q->first = s->items[i].next;
    if (q->first == NONE)
        q->last = NONE;
    q->count--;
    return i;
}

static void give_back(struct readers *s, uint32_t i)
{
    s->items[i].next = s->item_free;
    s->item_free = i;
    s->items_used--;
}

void queue_clear(struct readers *s, struct queue *q)
{
    while (q->count > 0)
        give_back(s, pop(s, q));
}

bool queue_has_room(const struct reader *r, uint32_t count)
{
    return r->items.count + count <= ITEMS_MAX && r->s->items_used + count <= r->s->item_max;
}

static void put_item(struct reader *r, uint32_t i)
{
    r->s->items[i].at = reader_end(r);
    append(r->s, &r->items, i);
    if (r->drained && r->s->items[i].kind == ITEM_TICK)
        wake_later(r);
    else if (r->drained)
        reader_wake(r);
}

bool queue_put(struct reader *r, enum item_kind kind, uint64_t seq, uint64_t tag,
               const uint8_t *frame, size_t length)
{
    struct readers *s = r->s;
    uint32_t i = take_item(s);
    assert(length > 0 && length <= READER_FRAME_MAX);
    if (i == NONE) {
        s->counts.items_full++;
        return false;
    }
    struct item *item = &s->items[i];
    item->seq = seq;
    item->tag = tag;
    item->kind = (uint8_t)kind;
    item->settled = false;
    item->length = (uint8_t)length;
    memcpy(item->bytes, frame, length);
    put_item(r, i);
    return true;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* What was said, by what is left of it. */
static void recount(struct reader *r)
{
    r->tick_said = r->tick_taken;
    r->epoch_said = r->epoch_taken;
    r->changes_applied = 0;
    for (uint32_t i = r->items.first; i != NONE; i = r->s->items[i].next) {
        const struct item *item = &r->s->items[i];
        if (item->kind == ITEM_SUBSCRIBED || item->kind == ITEM_FORKED)
            r->tick_said = r->epoch_said = 0;
        if (item->kind == ITEM_TICK)
            r->tick_said = item->tag;
        if (item->kind == ITEM_EPOCH)
            r->epoch_said = larger(r->epoch_said, item->tag);
        r->changes_applied += item->kind == ITEM_CHANGED;
    }
}

void queue_cut(struct reader *r)
{
    struct readers *s = r->s;
    struct queue all = r->items, pending = r->pending;
    r->items = r->pending = (struct queue) { 0 };
    while (all.count > 0) {
        uint32_t i = pop(s, &all);
        if (s->items[i].at <= r->at)
            append(s, &r->items, i);
        else if (s->items[i].kind == ITEM_SESSION)
            append(s, &r->pending, i);
        else
            give_back(s, i);
    }
    while (pending.count > 0)
        append(s, &r->pending, pop(s, &pending));
    recount(r);
}

static void fork_queue(struct reader *r, struct queue *q, uint64_t seq)
{
    struct queue all = *q;
    *q = (struct queue) { 0 };
    while (all.count > 0) {
        uint32_t i = pop(r->s, &all);
        const struct item *item = &r->s->items[i];
        if (item->seq <= seq || item->kind == ITEM_SUBSCRIBED) {
            append(r->s, q, i);
            continue;
        }
        r->inserted_bytes -= item->kind == ITEM_SESSION ? item->length : 0u;
        give_back(r->s, i);
    }
}

void queue_fork(struct reader *r, uint64_t seq)
{
    fork_queue(r, &r->items, seq);
    fork_queue(r, &r->pending, seq);
    recount(r);
}

bool reader_insert(struct reader *r, uint64_t seq, bool settled, const uint8_t *frame,
                   size_t length)
{
    struct readers *s = r->s;
    assert(length > 0 && length <= READER_FRAME_MAX);
    uint32_t i = r->inserted_bytes + length <= READER_INSERTED_MAX ? take_item(s) : NONE;
    if (i == NONE) {
        s->counts.items_full++;
        return false;
    }
    struct item *item = &s->items[i];
    item->seq = seq;
    item->kind = ITEM_SESSION;
    item->settled = settled;
    item->length = (uint8_t)length;
    memcpy(item->bytes, frame, length);
    r->inserted_bytes += (uint32_t)length;
    bool between = r->slot == NONE && r->unit_taken == 0;
    bool now = r->joined ? seq <= s->last_seq : between && seq < r->place.next;
    if (now) {
        put_item(r, i);
        return true;
    }
    /* Behind those of the same seq. */
    struct queue all = r->pending;
    r->pending = (struct queue) { 0 };
    while (all.count > 0 && s->items[all.first].seq <= seq)
        append(s, &r->pending, pop(s, &all));
    append(s, &r->pending, i);
    while (all.count > 0)
        append(s, &r->pending, pop(s, &all));
    if (seq > s->last_seq && seq < s->due_seq)
        s->due_seq = seq;
    return true;
}

void reader_say_pending(struct reader *r, uint64_t through)
{
    while (r->pending.count > 0 && r->s->items[r->pending.first].seq <= through)
        put_item(r, pop(r->s, &r->pending));
}

/* ---- what is said behind a message ----------------------------------------------------------- */

static const struct owner *owner_of(const struct reader *r, uint32_t publisher)
{
    for (uint32_t i = r->owned; i != NONE; i = r->s->owners[i].next_of_reader)
        if (r->s->owners[i].publisher == publisher)
            return &r->s->owners[i];
    return NULL;
}

static void say_outcome(struct reader *r, const struct run_message *m, uint64_t stable)
{
    const struct message *from = &m->message;
    const struct owner *owner = owner_of(r, from->publisher);
    if (owner == NULL || from->seq <= owner->from_seq || from->seq > owner->through_seq ||
        from->seq <= r->floor)
        return;
    struct edge_outcome o = { .publisher = from->publisher,
                              .number = from->publisher_seq,
                              .count = m->fragments,
                              .seq = from->seq,
                              .stable = stable };
    struct sys_reject reject;
    if (from->topic == TOPIC_REJECT && sys_reject_decode(from->payload, from->length, &reject)) {
        o.count = reject.count;
        o.reason = reject.reason;
        o.detail = reject.detail;
    }
    uint8_t frame[READER_FRAME_MAX];
    size_t length = edge_outcome_encode(&o, frame, sizeof frame);
    if (length > 0 && !queue_put(r, ITEM_OUTCOME, from->seq, 0, frame, length))
        reader_break(r); /* there was room when the message was looked at */
}

/* `tag`: the interval that was said; if that is no news it is no tick, and the next one is said. */
static void say_progress(struct reader *r, struct reader_last last, uint64_t stable,
                         uint64_t previous, uint64_t tag)
{
    struct edge_progress p = { .through = last.seq,
                               .previous = previous,
                               .stable = stable,
                               .timestamp_ns = last.timestamp_ns };
    if (reader_sabotaged(r, PROXY_OWN_CLOCK))
        p.timestamp_ns += r->s->now_ns & 1023;
    if (reader_sabotaged(r, PROXY_STABLE_OF_NOW) && !r->joined)
        p.stable = r->s->watermark;
    uint8_t frame[READER_FRAME_MAX];
    size_t length = edge_progress_encode(&p, frame, sizeof frame);
    if (!queue_put(r, ITEM_TICK, last.seq, tag, frame, length))
        reader_break(r);
    r->tick_said = tag;
}

static struct reader_last last_is(const struct run_message *m)
{
    return (struct reader_last) { m->message.seq, m->message.timestamp_ns };
}

static void say_tick(struct reader *r, const struct run_message *m, uint64_t stable,
                     uint64_t previous)
{
    uint64_t interval = m->message.timestamp_ns / r->tick_ns;
    if (interval > r->tick_said && (r->subscribed || r->owned != NONE))
        say_progress(r, last_is(m), stable, previous, interval);
}

void reader_in_front(struct reader *r, struct reader_last last, uint64_t seq, uint64_t stable,
                     uint64_t previous)
{
    if (r->asked_seq > last.seq && r->asked_seq < seq && last.timestamp_ns != 0)
        say_progress(r, last, stable, previous, r->tick_said);
}

/* Else a fork has another message at its seq. */
static bool is_mark(const struct reader *r)
{
    const struct epoch_entry *e = epoch_table_find(catalog_epochs(r->s->catalog), r->mark.seq);
    return e != NULL && epoch_equal(e->epoch, r->mark.epoch);
}

void reader_say_asked(struct reader *r, const struct run_message *m, uint64_t stable,
                      uint64_t previous)
{
    if (m->message.seq == r->mark.seq && is_mark(r))
        say_progress(r, last_is(m), stable, previous, r->tick_said);
    if (m->message.seq == r->asked_seq)
        say_progress(r, last_is(m), stable, previous, r->tick_said);
}

void reader_behind(struct reader *r, const struct run_message *m, uint64_t stable,
                   uint64_t previous)
{
    if (m->message.publisher != 0)
        say_outcome(r, m, stable);
    if (m->message.topic == TOPIC_CLOCK && m->message.publisher == 0)
        say_tick(r, m, stable, previous);
    if (!r->joined)
        reader_say_asked(r, m, stable, previous);
    reader_say_pending(r, m->message.seq);
}

/* In front of everything of its first message. */
void reader_say_epoch(struct reader *r, uint64_t seq)
{
    const struct epoch_entry *e = epoch_table_find(catalog_epochs(r->s->catalog), seq);
    if (e == NULL || e->first_seq <= r->epoch_said)
        return;
    struct edge_epoch epoch = { .epoch = e->epoch, .first_seq = e->first_seq };
    uint8_t frame[READER_FRAME_MAX];
    size_t length = edge_epoch_encode(&epoch, frame, sizeof frame);
    if (!queue_put(r, ITEM_EPOCH, seq, e->first_seq, frame, length))
        reader_break(r);
    r->epoch_said = e->first_seq;
}

/* ---- the bytes ------------------------------------------------------------------------------- */

static bool may_have(const struct reader *r, uint64_t seq)
{
    return !r->stable || seq <= r->s->stable || reader_sabotaged(r, PROXY_STABLE_EARLY);
}

/* Of NAME frames alone. */
static size_t frames_within(const uint8_t *bytes, size_t available, size_t room, size_t *first)
{
    size_t length = 0;
    *first = 4 + (size_t)wire_load32(bytes);
    while (length < available) {
        size_t frame = 4 + (size_t)wire_load32(bytes + length);
        if (length + frame > room)
            break;
        length += frame;
    }
    return length;
}

/* Of whole units, as many as fit and may be had. */
static size_t units_within(const struct reader *r, const uint8_t *bytes, size_t available,
                           size_t room, bool check_stable)
{
    size_t length = 0;
    while (length < available) {
        struct encoder_unit u = encoder_unit_at(bytes + length, available - length);
        if (length + u.length > room || length + u.length > available ||
            (check_stable && !may_have(r, encoder_unit_seq(&u))))
            break;
        length += u.length;
    }
    return length;
}

static size_t give(struct reader *r, enum given given, size_t length)
{
    r->given = given;
    r->given_length = length;
    return length;
}

/* A piece of what does not fit, or is not all there. */
static size_t give_piece(struct reader *r, enum given given, size_t available, size_t room)
{
    size_t left = r->unit_length - r->unit_taken;
    size_t length = available < room ? available : room;
    return give(r, given, length < left ? length : left);
}

static size_t give_names(struct reader *r, const uint8_t *bytes, size_t available, size_t room)
{
    const struct slot *slot = &r->s->slots[r->slot];
    if (slot->names_end != UINT64_MAX && available > slot->names_end - r->at)
        available = slot->names_end - r->at;
    size_t first, length = frames_within(bytes, available, room, &first);
    if (length > 0)
        return give(r, GIVEN_OWN, length);
    r->unit_length = first;
    r->unit_seq = r->place.next;
    return give_piece(r, GIVEN_OWN, available, room);
}

static size_t give_units(struct reader *r, enum given given, const uint8_t *bytes, size_t available,
                         size_t room)
{
    bool check = r->stable && given == GIVEN_OWN;
    struct encoder_unit u = encoder_unit_at(bytes, available);
    if (check && !may_have(r, encoder_unit_seq(&u))) {
        hold(r);
        r->drained = true;
        return give(r, GIVEN_NOTHING, 0);
    }
    if (u.length <= available && available <= room && !check)
        return give(r, given, available);
    size_t length = units_within(r, bytes, available, room, check);
    if (length > 0)
        return give(r, given, length);
    r->unit_length = u.length;
    r->unit_seq = u.seq;
    r->unit_previous = u.previous;
    return give_piece(r, given, available, room);
}

/* What the encoder has behind `at`. */
static size_t peek(struct reader *r, enum given *given, const uint8_t **bytes)
{
    struct slot *slot = r->slot != NONE ? &r->s->slots[r->slot] : NULL;
    if (slot != NULL && slot->end > slot->begin) {
        *given = GIVEN_OWN;
        *bytes = slot_bytes(r) + slot->begin;
        return slot->end - slot->begin;
    }
    *given = GIVEN_VIEW;
    if (!r->joined)
        return 0;
    bool stable = r->stable && !reader_sabotaged(r, PROXY_STABLE_EARLY);
    return view_read(r->s->views, &r->in_view, stable, bytes);
}

size_t reader_next(struct reader *r, size_t room, const uint8_t **bytes)
{
    r->given = GIVEN_NOTHING;
    if (r->unit_taken == 0)
        r->unit_length = 0;
    if (r->broken || r->lost || room == 0)
        return 0;
    const struct item *item = r->items.count > 0 ? &r->s->items[r->items.first] : NULL;
    if (item != NULL && item->at <= r->at) {
        assert(r->unit_taken == 0); /* nothing comes inside of a unit */
        if (!may_have(r, item->seq) || (item->settled && item->seq > r->s->stable)) {
            hold(r);
            r->drained = true;
            return 0;
        }
        *bytes = item->bytes;
        return item->length <= room ? give(r, GIVEN_ITEM, item->length) : 0;
    }
    enum given given;
    size_t available = peek(r, &given, bytes);
    if (item != NULL && available > item->at - r->at)
        available = item->at - r->at;
    if (available == 0) {
        drained(r);
        return 0;
    }
    if (r->unit_taken > 0)
        return give_piece(r, given, available, room);
    if (given == GIVEN_OWN && slot_in_names(r))
        return give_names(r, *bytes, available, room);
    return give_units(r, given, *bytes, available, room);
}

/* The set that was changed to is what was taken now. */
static void change_taken(struct reader *r)
{
    views_close(r->s->views, r->view);
    r->view = r->changes[0].view;
    r->change_count--;
    r->changes_applied--;
    memmove(r->changes, r->changes + 1, r->change_count * sizeof r->changes[0]);
}

static void take_item_given(struct reader *r)
{
    uint32_t i = pop(r->s, &r->items);
    const struct item *item = &r->s->items[i];
    switch ((enum item_kind)item->kind) {
    case ITEM_TICK:
        r->tick_taken = item->tag;
        break;
    case ITEM_EPOCH:
        r->epoch_taken = item->tag;
        break;
    case ITEM_SESSION:
        r->inserted_bytes -= item->length;
        break;
    case ITEM_CHANGED:
        change_taken(r);
        break;
    case ITEM_SUBSCRIBED:
    case ITEM_FORKED: /* what comes behind it is said as if for the first time */
        r->tick_taken = r->epoch_taken = 0;
        break;
    case ITEM_OUTCOME:
        break;
    }
    give_back(r->s, i);
}

void reader_take(struct reader *r)
{
    enum given given = r->given;
    size_t length = r->given_length;
    r->given = GIVEN_NOTHING;
    if (given == GIVEN_NOTHING)
        return;
    struct slot *slot = r->slot != NONE ? &r->s->slots[r->slot] : NULL;
    if (slot != NULL)
        slot->moved = true;
    if (given == GIVEN_ITEM) {
        take_item_given(r);
        return;
    }
    r->at += length;
    if (r->unit_length > 0) {
        r->unit_taken += length;
        if (r->unit_taken == r->unit_length)
            r->unit_taken = r->unit_length = 0;
    }
    if (given == GIVEN_VIEW) {
        view_advance(r->s->views, &r->in_view, length);
        return;
    }
    slot->begin += (uint32_t)length;
    if (slot->begin < slot->end)
        return;
    slot->begin = slot->end = 0;
    if (r->joined)
        slot_release(r);
}

static bool has_one_through(const struct reader *r, const struct queue *q, uint64_t seq)
{
    uint32_t i = q->first;
    while (i != NONE && r->s->items[i].seq > seq)
        i = r->s->items[i].next;
    return i != NONE;
}

bool reader_has_told(const struct reader *r, uint64_t seq)
{
    return reader_next_seq(r) > seq && !has_one_through(r, &r->items, seq) &&
           !has_one_through(r, &r->pending, seq);
}

bool reader_mid_frame(const struct reader *r)
{
    return r->unit_taken > 0;
}
