#include "proxy/reader_private.h"

uint8_t *slot_bytes(const struct reader *r)
{
    return r->s->slot_bytes + (size_t)r->slot * r->s->o.catch_up_bytes;
}

bool slot_in_names(const struct reader *r)
{
    const struct slot *slot = slot_of(r);
    return slot != NULL && r->at >= slot->names_begin && r->at < slot->names_end;
}

/* ---- taking and giving back ------------------------------------------------------------------ */

static void begin_names(struct slot *slot, size_t skip)
{
    struct reader *r = slot->reader;
    slot->names_at = 0;
    slot->names_skip = skip;
    slot->names_begin = reader_end(r) - skip;
    slot->names_end = UINT64_MAX;
}

static void begin_walk(struct slot *slot)
{
    slot->source = SOURCE_NONE;
    slot->block = (struct block) { 0 };
    slot->next = 0;
    slot->unmuted = false;
    slot->end_muted = false;
    slot->change_due = false;
    slot->blocked = false;
    slot->waits = false;
    slot->streaming = 0;
    encoder_begin(&slot->encoder);
}

void slot_start(struct reader *r)
{
    struct readers *s = r->s;
    r->slot = s->slot_order[--s->free_slot_count];
    struct slot *slot = slot_of(r);
    slot->reader = r;
    slot->place = s->free_slot_count;
    slot->begin = slot->end = 0;
    slot->moved = false;
    slot->moved_ns = s->now_ns;
    slot->names_begin = slot->names_end = 0;
    begin_walk(slot);
    const struct encoder *e = view_encoder(s->views, reader_effective_view(r));
    if (r->place.fresh)
        begin_names(slot, r->place.skip);
    if (!r->place.fresh || !reader_at_tip(r, e))
        return;
    slot->encoder = *e; /* as a walk over the block would leave it */
    slot->block = views_block(s->views);
    slot->next = slot->block.seq + 1;
}

void slot_release(struct reader *r)
{
    struct slot *slot = slot_of(r);
    if (slot == NULL)
        return;
    if (slot->source == SOURCE_HISTORY)
        history_cancel(r->s->history, slot->replay);
    slot->reader = NULL;
    struct readers *s = r->s;
    uint32_t first_used = s->slot_order[s->free_slot_count];
    s->slot_order[slot->place] = first_used;
    s->slots[first_used].place = slot->place;
    s->slot_order[s->free_slot_count++] = r->slot;
    r->slot = NONE;
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* Compacted if that makes room for as much. */
static uint32_t free_bytes(struct slot *slot, size_t want)
{
    struct reader *r = slot->reader;
    uint32_t size = r->s->o.catch_up_bytes;
    if (slot->begin > 0 && size - slot->end < want) {
        memmove(slot_bytes(r), slot_bytes(r) + slot->begin, slot->end - slot->begin);
        slot->end -= slot->begin;
        slot->begin = 0;
    }
    return size - slot->end;
}

/* False: no room for all of them now. */
static bool say_names(struct slot *slot)
{
    struct reader *r = slot->reader;
    while (slot->names_at < ENCODER_NAMES) {
        uint32_t room = free_bytes(slot, ENCODER_OVERHEAD_MAX);
        uint8_t *out = slot_bytes(r) + slot->end;
        if (room < ENCODER_OVERHEAD_MAX)
            return false;
        size_t length = encoder_names(&slot->encoder, r->s->catalog, &slot->names_at, out, room);
        size_t skip = slot->names_skip < length ? slot->names_skip : length;
        memmove(out, out + skip, length - skip);
        slot->names_skip -= skip;
        slot->end += (uint32_t)(length - skip);
    }
    slot->names_end = reader_end(r);
    return true;
}

/* Whoever begins here begins a block. */
static bool block_over(const struct slot *slot)
{
    uint64_t through;
    return block_ends(&slot->block, slot->reader->place.next, &through);
}

/* From here on what is offered is said. */
static bool unmute(struct slot *slot)
{
    struct reader *r = slot->reader;
    bool over = r->place.fresh && block_over(slot);
    if (over) { /* of the block that ends there it is told nothing */
        encoder_begin(&slot->encoder);
        slot->names_at = ENCODER_NAMES;
        r->place.end = false;
    }
    if (r->place.fresh) {
        if (!say_names(slot))
            return false;
        if (slot->names_skip > 0)
            reader_break(r);       /* they are not what they were */
    } else if (block_over(slot)) { /* what it was told of it, rights may have changed at its end */
        slot->encoder.previous = r->place.previous;
    }
    slot->end_muted = !r->place.end;
    slot->unmuted = true;
    return true;
}

/* What of the unit there is room for; true: all of it is written. A unit that fits is not begun before there
 * is room for all of it. */
static bool write_unit(struct slot *slot, const struct run_message *m)
{
    struct reader *r = slot->reader;
    size_t total = slot->head_length + (size_t)m->message.length;
    uint32_t room = free_bytes(slot, total - slot->unit_done);
    if (slot->unit_done == slot->unit_from && total - slot->unit_done > room &&
        slot->end > slot->begin) {
        slot->wants = total - slot->unit_done;
        return false;
    }
    uint8_t *out = slot_bytes(r);
    if (slot->unit_done < slot->head_length) {
        size_t piece = slot->head_length - slot->unit_done;
        piece = piece < room ? piece : room;
        memcpy(out + slot->end, slot->head + slot->unit_done, piece);
        slot->unit_done += piece;
        slot->end += (uint32_t)piece;
        room -= (uint32_t)piece;
    }
    if (slot->unit_done >= slot->head_length && slot->unit_done < total) {
        size_t done = slot->unit_done - slot->head_length;
        size_t piece = total - slot->unit_done < room ? total - slot->unit_done : room;
        memcpy(out + slot->end, m->message.payload + done, piece);
        slot->unit_done += piece;
        slot->end += (uint32_t)piece;
    }
    return slot->unit_done == total;
}

/* The parts of a message in front of its unit. False: no room. */
static bool begin_message(struct slot *slot, const struct run_message *m, uint64_t stable)
{
    struct reader *r = slot->reader;
    const struct message *from = &m->message;
    uint64_t through;
    if (slot->unmuted) {
        if (free_bytes(slot, 2 * ENCODER_OVERHEAD_MAX) < ENCODER_OVERHEAD_MAX ||
            !queue_has_room(r, 5))
            return false;
        const struct reader_last last = { slot->block.seq, slot->block.timestamp_ns };
        if (r->asked_seq >= r->place.next)
            reader_in_front(r, last, from->seq, stable, slot->encoder.previous);
        if (from->topic == TOPIC_EPOCH || from->topic == TOPIC_GENESIS)
            reader_say_epoch(r, from->seq);
    }
    if (block_ends(&slot->block, from->seq, &through)) {
        bool muted = !slot->unmuted || slot->end_muted;
        slot->end +=
            (uint32_t)encoder_end(&slot->encoder, through, stable, slot->block.timestamp_ns, muted,
                                  slot_bytes(r) + slot->end);
    }
    slot->block.seq = from->seq; /* its end is said once; block_note says the rest */
    slot->block.ended = false;
    bool resumes = slot->unmuted && r->unit_taken > 0 && !slot_in_names(r) &&
                   r->place.skip == r->unit_taken && from->seq >= r->place.next;
    if (!view_wants(r->s->views, reader_effective_view(r), from->topic)) {
        if (resumes)
            reader_break(r);
        return true;
    }
    slot->streaming_previous = slot->encoder.previous;
    slot->head_length =
        (uint32_t)encoder_head(&slot->encoder, r->s->catalog, m, !slot->unmuted, slot->head);
    if (!slot->unmuted)
        return true;
    slot->streaming = from->seq;
    slot->unit_from = slot->unit_done = resumes ? r->place.skip : 0;
    if (resumes &&
        (from->seq != r->unit_seq || slot->head_length + (size_t)from->length != r->unit_length))
        reader_break(r);
    return true;
}

/* True: done with it. */
static bool offer(struct slot *slot, const struct run_message *m, uint64_t stable)
{
    struct reader *r = slot->reader;
    const struct change *c = reader_next_change(r);
    if (r->broken)
        return false;
    slot->wants = ENCODER_OVERHEAD_MAX;
    if (slot->streaming == 0) {
        bool changes = c != NULL && c->seq <= m->message.seq;
        bool reached = m->message.seq >= r->place.next;
        bool at_first = changes && c->seq <= r->place.next;
        if (reached && !slot->unmuted && !at_first && !unmute(slot))
            return false;
        slot->change_due = reached && changes;
        if (slot->change_due || !begin_message(slot, m, stable) || r->broken)
            return false;
    }
    if (slot->streaming != 0) {
        if (!write_unit(slot, m))
            return false;
        slot->streaming = 0;
        r->s->o.counters[COUNTER_CLIENT_MESSAGES_OUT]++;
    }
    if (slot->unmuted)
        reader_behind(r, m, stable, slot->encoder.previous);
    slot->end_muted = slot->end_muted && !slot->unmuted;
    r->place.skip = slot->unmuted ? 0 : r->place.skip;
    block_note(&slot->block, &m->message);
    slot->waits = false;
    slot->next = m->message.seq + 1;
    return true;
}

/* False: not now. */
static bool apply_change(struct slot *slot)
{
    struct reader *r = slot->reader;
    if (slot->names_begin < slot->names_end && r->at < slot->names_end)
        return false; /* the names of the one before are still to be taken */
    if (r->unit_taken > 0 && slot->end == slot->begin) {
        reader_break(r); /* the rest of it is not to be had any more */
        return false;
    }
    if (slot->source == SOURCE_HISTORY)
        history_cancel(r->s->history, slot->replay);
    slot->source = SOURCE_NONE;
    if (!queue_has_room(r, 1) || !reader_say_changed(r))
        return false;
    begin_walk(slot);
    begin_names(slot, 0);
    return true;
}

/* Everything that there is was offered. */
static void reached_end(struct slot *slot)
{
    struct reader *r = slot->reader;
    struct readers *s = r->s;
    if (!slot->unmuted && !unmute(slot))
        return;
    reader_say_pending(r, s->last_seq);
    const struct change *c = reader_next_change(r);
    if (c != NULL && c->seq <= s->last_seq + 1) {
        slot->change_due = true;
        return;
    }
    uint32_t view = reader_effective_view(r);
    const struct encoder *e = view_encoder(s->views, view);
    struct block b = views_block(s->views);
    bool gap = reader_sabotaged(r, PROXY_JOINS_WITH_GAP);
    slot->waits = true;
    uint64_t through;
    if (!gap && (slot->next != b.seq + 1 || block_ends(&b, slot->next, &through)))
        return;
    if (e == NULL) {
        view_know(s->views, view, &slot->encoder);
        e = view_encoder(s->views, view);
    }
    if (e == NULL || (!gap && !encoder_equal(e, &slot->encoder))) {
        s->counts.not_yet++;
        return;
    }
    slot->source = SOURCE_NONE;
    reader_join(r, view);
    s->counts.joined++;
    if (slot->end == slot->begin)
        slot_release(r);
}

/* ---- where it comes from --------------------------------------------------------------------- */

static uint64_t first_wanted(const struct slot *slot)
{
    const struct place *p = &slot->reader->place;
    if (slot->next != 0)
        return slot->next;
    return block_begin(p->end && p->next > 1 ? p->next - 1 : p->next);
}

static bool choose_source(struct slot *slot)
{
    struct readers *s = slot->reader->s;
    uint64_t first = first_wanted(slot);
    if (recent_seek(s->recent, first, &slot->cursor)) {
        slot->source = SOURCE_RECENT;
        return true;
    }
    if (first > s->watermark) { /* it is on its way to the stores */
        slot->waits = true;
        return false;
    }
    /* Not into a run that is still open: nobody knows when its end comes to the stores. */
    uint64_t end = s->watermark < s->last_seq ? s->watermark + 1 : s->last_seq + 1;
    slot->asked_end = recent_first(s->recent);
    if (slot->asked_end == 0 || slot->asked_end > end || slot->asked_end <= first)
        slot->asked_end = end;
    slot->replay = history_ask(s->history, first, slot->asked_end, slot->reader);
    if (slot->replay == HISTORY_NONE)
        return false;
    slot->source = SOURCE_HISTORY;
    slot->blocked = false;
    return true;
}

/* True: it may go on at once. */
static bool run_recent(struct slot *slot, uint32_t *budget)
{
    struct readers *s = slot->reader->s;
    struct run_message m;
    uint64_t stable;
    for (; *budget > 0; (*budget)--) {
        if (slot_pass(slot))
            continue;
        struct recent_cursor before = slot->cursor;
        switch (recent_next(s->recent, &slot->cursor, &m, &stable)) {
        case RECENT_MESSAGE:
            s->counts.from_recent++;
            if (offer(slot, &m, stable))
                break;
            slot->cursor = before;
            return slot->change_due;
        case RECENT_GONE:
            slot->source = SOURCE_NONE;
            return slot->streaming == 0;
        case RECENT_END:
            reached_end(slot);
            return slot->change_due && !slot->reader->joined;
        }
        if (slot->source == SOURCE_RECENT && reader_sabotaged(slot->reader, PROXY_JOINS_WITH_GAP) &&
            slot->unmuted && slot->next % 37 == 0) {
            reached_end(slot);
            return false;
        }
    }
    return true;
}

/* Whether a message that was refused for want of it may go on: else it would be offered again and again, for
 * as long as the client takes nothing. */
static bool has_room(struct slot *slot)
{
    return queue_has_room(slot->reader, 5) &&
           (slot->end == slot->begin || free_bytes(slot, slot->wants) >= slot->wants);
}

/* It is encoded for by rights that hold no more from the message at hand on, or from one before it. */
static bool may_go_on(const struct slot *slot)
{
    struct reader *r = slot->reader;
    uint64_t seq = reader_rights_seq(r);
    if (slot->unmuted ? seq > slot->next : seq >= r->place.next)
        reader_outdate(r);
    return !r->broken;
}

bool slot_run(struct slot *slot)
{
    uint32_t budget = STEP_MESSAGES;
    struct reader *r = slot->reader;
    bool more = true;
    if (!may_go_on(slot))
        return false;
    while (more && budget > 0 && slot->reader == r && !r->joined && !r->broken) {
        if (slot->change_due) {
            more = apply_change(slot);
        } else if (slot->source == SOURCE_NONE) {
            more = choose_source(slot);
        } else if (slot->source == SOURCE_RECENT) {
            more = run_recent(slot, &budget);
        } else {
            more = false;
            if (slot->blocked && has_room(slot)) {
                slot->blocked = false;
                history_resume(r->s->history, slot->replay);
            }
        }
    }
    if (slot->reader == r && r->drained && slot->end > slot->begin)
        reader_wake(r);
    return more && budget == 0;
}

/* ---- history --------------------------------------------------------------------------------- */

bool slot_history_message(void *ctx, void *reader, const struct run_message *m, uint64_t stable)
{
    struct readers *s = ctx;
    struct reader *r = reader;
    struct slot *slot = slot_of(r);
    if (!may_go_on(slot))
        return false;
    s->counts.from_history++;
    bool done = offer(slot, m, stable);
    slot->blocked = !done;
    if (r->drained && slot->end > slot->begin)
        reader_wake(r);
    return done;
}

void slot_history_done(void *ctx, void *reader)
{
    (void)ctx;
    struct slot *slot = slot_of(reader);
    slot->source = SOURCE_NONE;
    if (slot->next < slot->asked_end)
        slot->next = slot->asked_end;
}

void slot_history_failed(void *ctx, void *reader, uint64_t oldest_seq)
{
    (void)ctx;
    struct reader *r = reader;
    slot_of(r)->source = SOURCE_NONE;
    r->lost = true;
    r->oldest = oldest_seq;
    reader_wake(r);
}
