/* What the stream does to readers: ticks, outcomes of their publishers, messages, the watermark, forks. */
#include "proxy/reader_private.h"

/* ---- ticks ----------------------------------------------------------------------------------- */

void reader_leave_group(struct reader *r)
{
    struct group *g = &r->s->groups[r->group];
    *(r->previous_in_group != NULL ? &r->previous_in_group->next_in_group : &g->members) =
        r->next_in_group;
    if (r->next_in_group != NULL)
        r->next_in_group->previous_in_group = r->previous_in_group;
}

void reader_join_group(struct reader *r, uint32_t tick_ms)
{
    struct readers *s = r->s;
    uint32_t empty = NONE, g = 1;
    r->tick_ns = tick_ms == 0 ? 1 : tick_ms * UINT64_C(1000000);
    for (; g < s->group_end; g++) {
        if (s->groups[g].members != NULL && s->groups[g].tick_ns == r->tick_ns)
            break;
        if (s->groups[g].members == NULL && empty == NONE)
            empty = g;
    }
    if (g == s->group_end) {
        g = empty != NONE ? empty : s->group_end++;
        s->groups[g] = (struct group) { .tick_ns = r->tick_ns };
    }
    struct group *group = &s->groups[g];
    group->fresh = true;
    r->group = g;
    r->previous_in_group = NULL;
    r->next_in_group = group->members;
    if (group->members != NULL)
        group->members->previous_in_group = r;
    group->members = r;
}

/* To a live one. What there is no room for it will find again from behind. */
static void say_behind(struct reader *r, const struct run_message *m, uint64_t stable)
{
    if (!queue_has_room(r, 4)) {
        r->s->counts.left_behind++;
        reader_leave(r);
        r->place.next = r->place.next < m->message.seq ? r->place.next : m->message.seq;
        reader_begin(r);
        return;
    }
    reader_behind(r, m, stable, view_previous(r->s->views, &r->in_view));
}

static void tick(struct readers *s, const struct run_message *m, uint64_t stable)
{
    for (uint32_t g = 1; g < s->group_end; g++) {
        struct group *group = &s->groups[g];
        uint64_t index = m->message.timestamp_ns / group->tick_ns;
        if (group->members == NULL || (index <= group->index && !group->fresh))
            continue;
        group->index = index;
        group->fresh = false;
        for (struct reader *r = group->members; r != NULL; r = r->next_in_group)
            if (r->joined)
                say_behind(r, m, stable);
    }
}

/* ---- publishers ------------------------------------------------------------------------------ */

static uint32_t *owner_slot(struct readers *s, uint32_t publisher)
{
    return &s->owner_index[publisher * UINT32_C(2654435761) & s->owner_mask];
}

bool reader_own(struct reader *r, uint32_t publisher, uint64_t from_seq)
{
    struct readers *s = r->s;
    for (uint32_t o = r->owned; o != NONE; o = s->owners[o].next_of_reader)
        if (s->owners[o].publisher == publisher)
            return true;
    uint32_t i = s->owner_free;
    if (i != NONE)
        s->owner_free = s->owners[i].next;
    else if (s->owner_end <= s->owner_max)
        i = s->owner_end++;
    else
        return false;
    uint32_t *slot = owner_slot(s, publisher);
    s->owners[i] = (struct owner) { .from_seq = from_seq,
                                    .through_seq = UINT64_MAX,
                                    .reader = r,
                                    .publisher = publisher,
                                    .next = *slot,
                                    .next_of_reader = r->owned };
    *slot = i;
    r->owned = i;
    if (r->tick_said == 0)
        s->groups[r->group].fresh = true;
    return true;
}

void reader_own_through(struct reader *r, uint32_t publisher, uint64_t seq)
{
    struct readers *s = r->s;
    for (uint32_t i = r->owned; i != NONE; i = s->owners[i].next_of_reader)
        if (s->owners[i].publisher == publisher)
            s->owners[i].through_seq = seq;
}

void reader_disown(struct reader *r, uint32_t publisher)
{
    struct readers *s = r->s;
    uint32_t *of_reader = &r->owned;
    while (*of_reader != NONE && s->owners[*of_reader].publisher != publisher)
        of_reader = &s->owners[*of_reader].next_of_reader;
    uint32_t i = *of_reader;
    if (i == NONE)
        return;
    *of_reader = s->owners[i].next_of_reader;
    uint32_t *at = owner_slot(s, publisher);
    while (*at != i)
        at = &s->owners[*at].next;
    *at = s->owners[i].next;
    s->owners[i].next = s->owner_free;
    s->owner_free = i;
}

static void tell_owners(struct readers *s, const struct run_message *m, uint64_t stable)
{
    uint32_t next;
    for (uint32_t i = *owner_slot(s, m->message.publisher); i != NONE; i = next) {
        const struct owner *o = &s->owners[i];
        next = o->next;
        /* At a tick everybody is told by turns. */
        if (o->publisher == m->message.publisher && o->reader->joined)
            say_behind(o->reader, m, stable);
    }
}

/* ---- the stream ------------------------------------------------------------------------------ */

static uint64_t due_of(const struct reader *r)
{
    uint64_t due = UINT64_MAX;
    if (r->pending.count > 0)
        due = r->s->items[r->pending.first].seq;
    if (r->changes_applied < r->change_count && r->changes[r->changes_applied].seq < due)
        due = r->changes[r->changes_applied].seq;
    return due;
}

/* Whose set changes at a seq that was still to come goes behind for it. */
static void serve_changes(struct readers *s, uint64_t seq)
{
    for (uint32_t i = 1; seq >= s->due_seq && i < s->reader_end; i++) {
        struct reader *r = &s->readers[i];
        if (!r->open || !r->joined || r->changes_applied == r->change_count ||
            r->changes[r->changes_applied].seq > seq)
            continue;
        reader_leave(r);
        line_append(r);
    }
}

/* Behind the message. */
static void serve_due(struct readers *s, uint64_t seq)
{
    if (seq < s->due_seq)
        return;
    s->due_seq = UINT64_MAX;
    for (uint32_t i = 1; i < s->reader_end; i++) {
        struct reader *r = &s->readers[i];
        if (!r->open)
            continue;
        if (r->joined)
            reader_say_pending(r, seq);
        uint64_t due = due_of(r);
        if (due > seq && due < s->due_seq)
            s->due_seq = due;
    }
}

static void begin_epoch(struct readers *s, uint64_t seq)
{
    const struct epoch_table *t = catalog_epochs(s->catalog);
    if (t->count > 0 && t->entries[t->count - 1].first_seq == seq) {
        s->stable_before[t->count - 1] = s->message_stable;
        s->whole_before[t->count - 1] = s->last_seq;
    }
    for (uint32_t i = 1; i < s->reader_end; i++) {
        struct reader *r = &s->readers[i];
        if (!r->open || !r->joined)
            continue;
        if (queue_has_room(r, 4)) {
            reader_say_epoch(r, seq);
        } else {
            reader_leave(r);
            line_append(r); /* not to the view, which has yet to get this message */
        }
    }
}

/* ---- what readers have asked for -------------------------------------------------------------- */

void reader_look_for_asked(const struct reader *r)
{
    struct readers *s = r->s;
    if (r->asked_seq > s->last_seq && r->asked_seq < s->asked_due)
        s->asked_due = r->asked_seq;
    if (r->mark.seq > s->last_seq && r->mark.seq < s->asked_due)
        s->asked_due = r->mark.seq;
}

static void look_for_asked(struct readers *s)
{
    s->asked_due = UINT64_MAX;
    for (uint32_t i = 1; i < s->reader_end; i++)
        if (s->readers[i].open)
            reader_look_for_asked(&s->readers[i]);
}

/* Between the last message and the one at `seq`, which was not offered yet. */
static void serve_asked_in_front(struct readers *s, uint64_t seq, uint64_t stable)
{
    const struct block b = views_block(s->views);
    const struct reader_last last = { b.seq, b.timestamp_ns };
    for (uint32_t i = 1; seq > s->asked_due && i < s->reader_end; i++) {
        struct reader *r = &s->readers[i];
        if (!r->open || !r->joined || r->asked_seq <= s->last_seq || r->asked_seq >= seq)
            continue;
        if (queue_has_room(r, 4)) {
            reader_in_front(r, last, seq, stable, view_previous(s->views, &r->in_view));
        } else {
            reader_leave(r);
            line_append(r);
        }
    }
}

/* Behind the message. */
static void serve_asked(struct readers *s, const struct run_message *m, uint64_t stable)
{
    if (m->message.seq < s->asked_due)
        return;
    for (uint32_t i = 1; i < s->reader_end; i++) {
        struct reader *r = &s->readers[i];
        if (!r->open || !r->joined ||
            (r->asked_seq != m->message.seq && r->mark.seq != m->message.seq))
            continue;
        if (queue_has_room(r, 4)) {
            reader_say_asked(r, m, stable, view_previous(s->views, &r->in_view));
            continue;
        }
        reader_leave(r);
        r->place.next = r->place.next < m->message.seq ? r->place.next : m->message.seq;
        reader_begin(r);
    }
    look_for_asked(s);
}

static void count_views(struct readers *s)
{
    struct views_counts c = views_counts(s->views);
    s->o.counters[COUNTER_CLIENT_MESSAGES_OUT] += c.written - s->written;
    s->o.counters[COUNTER_VIEW_CHUNKS_EVICTED] += c.evicted - s->evicted;
    s->written = c.written;
    s->evicted = c.evicted;
}

void readers_message(struct readers *s, const struct run_message *m, uint64_t stable)
{
    const struct message *from = &m->message;
    serve_changes(s, from->seq);
    serve_asked_in_front(s, from->seq, stable);
    if (from->topic == TOPIC_EPOCH || from->topic == TOPIC_GENESIS)
        begin_epoch(s, from->seq);
    if (s->touch_seq == UINT64_MAX)
        s->touch_seq = from->seq;
    views_message(s->views, m, stable);
    recent_push(s->recent, m, stable);
    s->last_seq = from->seq;
    s->last_time_ns = from->timestamp_ns;
    s->message_stable = stable;
    if (from->topic < TOPIC_FIRST_USER && views_block(s->views).ended)
        readers_note_rights(s, from);
    if (from->publisher != 0)
        tell_owners(s, m, stable);
    else if (from->topic == TOPIC_CLOCK)
        tick(s, m, stable);
    serve_asked(s, m, stable);
    serve_due(s, from->seq);
    if (s->parked != NULL)
        readers_serve_parked(s, from->topic == TOPIC_EPOCH);
}

void readers_note_unstable(struct readers *s, uint32_t edition, uint64_t seq)
{
    if (s->is_unstable[edition] || s->waiting_stable[edition] == NULL)
        return;
    uint32_t at = (s->unstable_head + s->unstable_count++) & s->unstable_mask;
    s->is_unstable[edition] = true;
    s->unstable[at] = edition;
    s->unstable_seq[at] = seq;
}

static void wake_stable(struct readers *s)
{
    while (s->unstable_count > 0 &&
           s->unstable_seq[s->unstable_head & s->unstable_mask] <= s->stable) {
        uint32_t edition = s->unstable[s->unstable_head++ & s->unstable_mask];
        s->unstable_count--;
        s->is_unstable[edition] = false;
        reader_wake_list(&s->waiting_stable[edition]);
    }
    struct line held = s->held;
    s->held = (struct line) { 0 };
    for (struct reader *next, *r = held.first; r != NULL; r = next) {
        next = r->next_held;
        r->is_held = false;
        if (r->open)
            reader_wake(r);
    }
}

/* Looks for the end of the last group at or below the watermark: what comes behind it is voided together, if
 * an epoch begins before the rest is stable. */
static void advance_stable(struct readers *s)
{
    struct run_message m;
    uint64_t stable, before = s->stable;
    while (s->stable < s->last_seq && s->stable < s->watermark) {
        struct recent_cursor c = s->stable_at;
        enum recent_result result = recent_next(s->recent, &c, &m, &stable);
        if (result == RECENT_GONE &&
            recent_seek(s->recent, recent_oldest(s->recent), &s->stable_at))
            continue;
        if (result != RECENT_MESSAGE || m.message.seq > s->watermark)
            break;
        s->stable_at = c;
        if ((m.message.flags & MESSAGE_MORE) == 0)
            s->stable = m.message.seq;
    }
    if (s->stable == before)
        return;
    views_stable(s->views, s->stable);
    wake_stable(s);
}

void readers_through(struct readers *s, struct position through)
{
    s->through = through;
    count_views(s);
    advance_stable(s);
    if (s->parked != NULL)
        readers_serve_parked(s, false);
}

void readers_stable(struct readers *s, uint64_t stable)
{
    if (stable <= s->watermark)
        return;
    s->watermark = stable;
    advance_stable(s);
}

void reader_drop_changes(struct reader *r)
{
    while (r->change_count > 0)
        views_close(r->s->views, r->changes[--r->change_count].view);
}

/* What it is told next begins at a place above this seq, of which it will hear though it is not stable. */
static bool begins_above(const struct reader *r, uint64_t seq)
{
    bool above = false;
    for (uint32_t i = r->items.first; i != NONE; i = r->s->items[i].next) {
        const struct item *item = &r->s->items[i];
        if (item->kind == ITEM_SUBSCRIBED)
            above = item->seq > seq;
        if (item->kind == ITEM_FORKED && item->seq <= seq)
            above = false;
    }
    return above;
}

static void fork_reader(struct reader *r, struct position common)
{
    struct readers *s = r->s;
    bool rights_fall = reader_rights_fall(r, common.seq);
    reader_leave(r);
    line_remove(r);
    for (uint32_t i = r->owned; i != NONE; i = s->owners[i].next_of_reader) {
        if (s->owners[i].from_seq > common.seq)
            s->owners[i].from_seq = common.seq;
        if (s->owners[i].through_seq > common.seq)
            s->owners[i].through_seq = UINT64_MAX;
    }
    if (r->floor > common.seq)
        r->floor = common.seq;
    if (r->rights_from > common.seq)
        r->rights_from = common.seq;
    if (r->waits_for != WAITS_NOT)
        return;
    bool mid_unit = r->unit_taken > 0 && !r->place.fresh && r->place.next > common.seq;
    bool beyond = mid_unit || r->place.next > common.seq + 1;
    if (beyond && r->stable && !begins_above(r, common.seq) &&
        !reader_sabotaged(r, PROXY_STABLE_EARLY)) {
        /* It has nothing above the watermark, which never goes back. */
        r->place =
            (struct place) { .next = common.seq + 1, .previous = r->place.previous, .end = true };
        beyond = false;
    }
    const struct epoch_entry *e = epoch_table_find(catalog_epochs(s->catalog), common.seq);
    if (r->epoch_taken > common.seq) /* it began in an epoch that never was */
        r->epoch_taken = e != NULL ? e->first_seq : 0;
    queue_fork(r, common.seq);
    for (uint32_t i = 0; i < r->change_count; i++)
        if (r->changes[i].seq > common.seq + 1)
            r->changes[i].seq = CHANGE_FELL;
    if (!beyond) {
        if (rights_fall && !r->place.fresh)
            reader_outdate(r); /* by what holds there, other matches lie in front of it */
        return;
    }
    if (r->unit_taken > 0)
        reader_break(r);
    bool untold = reader_sabotaged(r, PROXY_FORK_UNTOLD);
    r->place = (struct place) { .next = common.seq + 1, .end = true, .fresh = !untold };
    r->tick_said = r->tick_taken = r->epoch_said = r->epoch_taken = 0;
    s->counts.forked++;
    if (untold)
        return;
    r->mark = (struct position) { 0 };
    reader_say_position(r, ITEM_FORKED, common);
    reader_say_epoch(r, common.seq);
}

void readers_fork(struct readers *s, struct position common)
{
    for (uint32_t i = 1; i < s->reader_end; i++)
        if (s->readers[i].open)
            fork_reader(&s->readers[i], common);
    recent_fork(s->recent, common.seq);
    views_fork(s->views, common.seq);
    s->last_seq = views_block(s->views).seq < common.seq ? common.seq : views_block(s->views).seq;
    s->through = common;
    s->touch_seq = UINT64_MAX;
    readers_fork_rights(s, common.seq);
    look_for_asked(s);
    for (uint32_t g = 1; g < s->group_end; g++) {
        s->groups[g].index = 0;
        s->groups[g].fresh = true;
    }
    for (uint32_t i = 1; i < s->reader_end; i++)
        if (s->readers[i].open)
            reader_begin(&s->readers[i]);
    if (s->parked != NULL)
        readers_serve_parked(s, true);
}

bool readers_on_stream(struct readers *s, const struct port_stream_event *e, struct port_time now,
                       size_t *consumed)
{
    s->now_ns = now.mono_ns;
    return history_on_stream(s->history, e, now, consumed);
}

uint64_t readers_step(struct readers *s, struct port_time now)
{
    s->now_ns = now.mono_ns;
    if (now.mono_ns - s->ticks_ns >= READER_TICKS_APART_NS) {
        s->ticks_left = READER_TICKS_AT_ONCE;
        s->ticks_ns = now.mono_ns;
    }
    if (s->parked_time_ns == 0)
        readers_serve_parked(s, false);
    bool more = slots_step(s);
    uint64_t deadline = history_step(s->history, now);
    if (more)
        return now.mono_ns;
    if (s->line.first != NULL && now.mono_ns + 50000000 < deadline)
        deadline = now.mono_ns + 50000000; /* somebody may have to give way */
    return deadline;
}
