#include "proxy/reader_private.h"

#define PREEMPT_NS UINT64_C(200000000) /* took nothing for so long while others wait */

enum { SLOTS_PER_STEP = 16 };

uint32_t reader_effective_view(const struct reader *r)
{
    return r->changes_applied > 0 ? r->changes[r->changes_applied - 1].view : r->view;
}

void reader_break(struct reader *r)
{
    if (r->broken)
        return;
    r->broken = true;
    r->s->counts.broken++;
    reader_wake(r);
}

void reader_outdate(struct reader *r)
{
    r->outdated = r->outdated || !r->broken;
    reader_break(r);
}

/* ---- the line for slots ---------------------------------------------------------------------- */

void line_append(struct reader *r)
{
    struct line *line = &r->s->line;
    if (r->in_line)
        return;
    r->in_line = true;
    r->next_in_line = NULL;
    r->previous_in_line = line->last;
    *(line->last != NULL ? &line->last->next_in_line : &line->first) = r;
    line->last = r;
}

void line_remove(struct reader *r)
{
    struct line *line = &r->s->line;
    if (!r->in_line)
        return;
    r->in_line = false;
    *(r->previous_in_line != NULL ? &r->previous_in_line->next_in_line : &line->first) =
        r->next_in_line;
    *(r->next_in_line != NULL ? &r->next_in_line->previous_in_line : &line->last) =
        r->previous_in_line;
}

/* ---- leaving --------------------------------------------------------------------------------- */

/* Of one who lives, or is encoded for. */
static struct place place_of(const struct reader *r)
{
    const struct slot *slot = slot_of(r);
    struct place p = { .end = true };
    const uint8_t *bytes = NULL;
    size_t available = 0;
    if (slot_in_names(r)) {
        p = r->place;
        p.skip = r->at - slot->names_begin;
        return p;
    }
    if (r->unit_taken > 0)
        return (struct place) { .next = r->unit_seq,
                                .previous = r->unit_previous,
                                .skip = r->unit_taken };
    if (slot != NULL && slot->end > slot->begin) {
        bytes = slot_bytes(r) + slot->begin;
        available = slot->end - slot->begin;
    } else if (r->joined) {
        available = view_read(r->s->views, &r->in_view, false, &bytes);
    } else if (!slot->unmuted) {
        return r->place;
    }
    if (available > 0) {
        struct encoder_unit u = encoder_unit_at(bytes, available);
        p.next = u.seq + u.is_end;
        p.previous = u.previous;
        p.end = u.is_end;
        return p;
    }
    if (!r->joined &&
        slot->streaming != 0) /* its encoder has it already, and nothing is written of it */
        return (struct place) { .next = slot->streaming, .previous = slot->streaming_previous };
    p.next = r->joined ? views_block(r->s->views).seq + 1 : slot->next;
    p.previous = r->joined ? view_previous(r->s->views, &r->in_view) : slot->encoder.previous;
    const struct change *c = reader_next_change(r);
    if (!r->joined && c != NULL && c->seq >= r->place.next && c->seq < p.next)
        p.next = c->seq; /* nothing lies between, but maybe a block's end */
    if (!r->joined && p.next <= r->place.next)
        p.next = r->place.next, p.end = r->place.end; /* what is below was only looked at */
    return p;
}

uint64_t reader_next_seq(const struct reader *r)
{
    return r->joined || r->slot != NONE ? place_of(r).next : r->place.next;
}

static void leave(struct reader *r, bool lost)
{
    if (!r->joined && r->slot == NONE)
        return;
    r->place = place_of(r);
    queue_cut(r);
    reader_unwait(r);
    if (r->joined && !lost)
        view_leave(r->s->views, &r->in_view);
    r->s->counts.live -= r->joined;
    r->joined = false;
    slot_release(r);
    r->given = GIVEN_NOTHING;
}

void reader_leave(struct reader *r)
{
    leave(r, false);
}

void reader_losing(void *ctx, struct view_reader *in_view)
{
    struct reader *r = reader_in(in_view);
    struct readers *s = ctx;
    s->counts.left_behind++;
    leave(r, true);
    line_append(r);
}

/* ---- joining --------------------------------------------------------------------------------- */

void reader_join(struct reader *r, uint32_t view)
{
    assert(!r->joined);
    view_join(r->s->views, view, &r->in_view, reader_end(r));
    r->joined = true;
    r->s->counts.live++;
    if (r->tick_said == 0)
        r->s->groups[r->group].fresh = true;
    if (r->drained)
        reader_wake(r);
}

bool reader_at_tip(const struct reader *r, const struct encoder *e)
{
    struct block b = views_block(r->s->views);
    return e != NULL && r->place.next > b.seq && !b.ended;
}

/* Else its first grant fell with a fork, and its session says next who it is now: its view has nothing in it, which
 * is not what lies in front of it. */
static bool is_known(const struct reader *r)
{
    return r->principal < access_principal_end(catalog_access(r->s->catalog));
}

static bool join_at_once(struct reader *r)
{
    uint32_t view = reader_effective_view(r);
    const struct encoder *e = view_encoder(r->s->views, view);
    if (!reader_at_tip(r, e) || r->place.skip > 0 || !is_known(r))
        return false;
    if (r->place.fresh ? e->previous != 0 : e->previous != r->place.previous)
        return false;
    reader_join(r, view);
    r->s->counts.joined_at_once++;
    return true;
}

bool reader_say_changed(struct reader *r)
{
    const struct change *c = reader_next_change(r);
    struct edge_changed changed = { .seq = c->seq };
    uint8_t frame[READER_FRAME_MAX];
    size_t length = edge_changed_encode(&changed, frame, sizeof frame);
    if (!queue_put(r, ITEM_CHANGED, c->seq - 1, 0, frame, length))
        return false;
    uint64_t next = r->place.next > c->seq ? r->place.next : c->seq;
    r->place = (struct place) { .next = next, .end = true, .fresh = true };
    r->changes_applied++;
    return true;
}

/* False: it needs a slot. */
static bool begin_now(struct reader *r)
{
    if (r->broken || r->lost || r->waits_for != WAITS_NOT || r->joined || r->slot != NONE)
        return true;
    if (reader_rights_seq(r) >= r->place.next) {
        reader_outdate(r);
        return true;
    }
    if (r->unit_taken == 0) /* else behind that unit: its rest comes first */
        reader_say_pending(r, r->place.next - 1);
    const struct change *c;
    while ((c = reader_next_change(r)) != NULL && c->seq <= r->place.next && r->unit_taken == 0 &&
           queue_has_room(r, 1) && reader_say_changed(r))
        ;
    return (c == NULL || c->seq > r->place.next) && join_at_once(r);
}

void reader_begin(struct reader *r)
{
    if (!begin_now(r))
        line_append(r);
}

/* ---- turns ----------------------------------------------------------------------------------- */

/* Whoever took nothing for a while, or has everything and can't join, gives way, if somebody waits. */
static void preempt(struct readers *s, struct slot *slot)
{
    struct reader *r = slot->reader;
    if (slot->moved) {
        slot->moved = false;
        slot->moved_ns = s->now_ns;
    }
    if (s->free_slot_count > 0 || s->line.first == NULL ||
        (slot->end == slot->begin && !slot->waits) || s->now_ns - slot->moved_ns < PREEMPT_NS)
        return;
    s->counts.preempted++;
    leave(r, false);
    line_append(r);
}

static void serve_line(struct readers *s)
{
    while (s->line.first != NULL && s->free_slot_count > 0) {
        struct reader *r = s->line.first;
        line_remove(r);
        if (!begin_now(r))
            slot_start(r);
    }
}

static uint32_t slots_used(const struct readers *s)
{
    return s->o.catch_ups_max - s->free_slot_count;
}

bool slots_step(struct readers *s)
{
    uint32_t ran = 0;
    bool more = false;
    serve_line(s);
    uint32_t left = slots_used(s);
    for (; left > 0 && slots_used(s) > 0 && ran < SLOTS_PER_STEP; left--) {
        s->slot_turn = (s->slot_turn + 1) % slots_used(s);
        struct slot *slot = &s->slots[s->slot_order[s->free_slot_count + s->slot_turn]];
        preempt(s, slot);
        if (slot->reader == NULL || slot->reader->joined || slot->reader->lost)
            continue;
        if (slot_run(slot)) {
            ran++;
            more = true;
        }
    }
    return more || (s->line.first != NULL && s->free_slot_count > 0);
}
