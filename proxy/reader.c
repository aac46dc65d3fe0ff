#include "proxy/reader_private.h"

enum {
    CATCH_UPS_DEFAULT = 1024,
    CATCH_UP_BYTES_DEFAULT = 65536,
    CATCH_UP_BYTES_MIN = 8192,
    RECENT_EXTRA = 4096, /* records around two of the largest messages */
    ITEMS_EXTRA = 65536,
    ITEMS_PER_READER = 16,
    OWNERS_EXTRA = 1024
};

/* ---- memory ---------------------------------------------------------------------------------- */

static struct readers_options resolve(const struct readers_options *in)
{
    struct readers_options o = *in;
    if (o.catch_ups_max == 0)
        o.catch_ups_max = CATCH_UPS_DEFAULT;
    if (o.catch_ups_max > o.readers_max)
        o.catch_ups_max = o.readers_max;
    if (o.catch_up_bytes == 0)
        o.catch_up_bytes = CATCH_UP_BYTES_DEFAULT;
    if (o.catch_up_bytes < CATCH_UP_BYTES_MIN)
        o.catch_up_bytes = CATCH_UP_BYTES_MIN;
    if (o.history.run_bytes_max == 0)
        o.history.run_bytes_max = RUN_BYTES_DEFAULT;
    uint64_t least = 2 * (uint64_t)o.history.run_bytes_max + RECENT_EXTRA;
    if (o.recent_bytes < least)
        o.recent_bytes = least;
    return o;
}

static uint32_t power_above(uint32_t count)
{
    uint32_t power = 1024;
    while (power < count)
        power *= 2;
    return power;
}

static uint32_t items_of(const struct readers_options *o)
{
    return o->readers_max * ITEMS_PER_READER + ITEMS_EXTRA;
}

static uint32_t owners_of(const struct readers_options *o)
{
    return o->readers_max + OWNERS_EXTRA;
}

size_t readers_memory(const struct readers_options *in)
{
    struct readers_options o = resolve(in);
    size_t views = o.views.views_max + (size_t)1;
    return sizeof(struct readers) + views_memory(&o.views) + history_memory(&o.history) +
           recent_memory(o.recent_bytes) + (o.readers_max + (size_t)1) * sizeof(struct reader) +
           (items_of(&o) + (size_t)1) * sizeof(struct item) +
           (owners_of(&o) + (size_t)1) * sizeof(struct owner) +
           power_above(owners_of(&o)) * sizeof(uint32_t) +
           (o.readers_max + (size_t)1) * sizeof(struct group) +
           (o.catch_ups_max + (size_t)1) *
               (sizeof(struct slot) + o.catch_up_bytes + sizeof(uint32_t)) +
           views * (2 * sizeof(struct reader *) + sizeof(bool)) +
           power_above(o.views.views_max + 1) * (sizeof(uint32_t) + sizeof(uint64_t));
}

static bool take_memory(struct readers *s)
{
    const struct readers_options *o = &s->o;
    uint32_t views = o->views.views_max + 1;
    s->readers = calloc(o->readers_max + 1, sizeof s->readers[0]);
    s->items = calloc(s->item_max + 1, sizeof s->items[0]);
    s->owners = calloc(s->owner_max + 1, sizeof s->owners[0]);
    s->owner_index = calloc(s->owner_mask + 1, sizeof s->owner_index[0]);
    s->groups = calloc(o->readers_max + 1, sizeof s->groups[0]);
    s->slots = calloc(o->catch_ups_max + 1, sizeof s->slots[0]);
    s->slot_bytes = calloc(o->catch_ups_max + 1, o->catch_up_bytes);
    s->slot_order = calloc(o->catch_ups_max, sizeof s->slot_order[0]);
    s->waiting = calloc(views, sizeof(struct reader *));
    s->waiting_stable = calloc(views, sizeof(struct reader *));
    s->is_unstable = calloc(views, sizeof s->is_unstable[0]);
    s->unstable = calloc(s->unstable_mask + 1, sizeof s->unstable[0]);
    s->unstable_seq = calloc(s->unstable_mask + 1, sizeof s->unstable_seq[0]);
    return s->readers != NULL && s->items != NULL && s->owners != NULL && s->owner_index != NULL &&
           s->groups != NULL && s->slots != NULL && s->slot_bytes != NULL &&
           s->slot_order != NULL && s->waiting != NULL && s->waiting_stable != NULL &&
           s->is_unstable != NULL && s->unstable != NULL && s->unstable_seq != NULL;
}

struct readers *readers_create(const struct readers_options *o, struct port *port,
                               const struct catalog *catalog)
{
    struct readers *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->o = resolve(o);
    s->o.views.sabotage = o->sabotage;
    s->catalog = catalog;
    s->item_max = items_of(&s->o);
    s->owner_max = owners_of(&s->o);
    s->owner_mask = power_above(s->owner_max) - 1;
    s->unstable_mask = power_above(s->o.views.views_max + 1) - 1;
    s->reader_end = s->item_end = s->owner_end = s->group_end = 1;
    s->due_seq = s->parked_seq = s->parked_time_ns = s->touch_seq = UINT64_MAX;
    s->recent = recent_create(s->o.recent_bytes);
    if (s->recent != NULL)
        s->views = views_create(&s->o.views, catalog, s->recent, reader_losing, s);
    s->history = history_create(&s->o.history, port, catalog_epochs(catalog), s->o.counters);
    if (s->views == NULL || s->history == NULL || !take_memory(s)) {
        readers_destroy(s);
        return NULL;
    }
    for (uint32_t i = s->o.catch_ups_max; i > 0; i--)
        s->slot_order[s->free_slot_count++] = i;
    struct history_callbacks callbacks = { .message = slot_history_message,
                                           .done = slot_history_done,
                                           .failed = slot_history_failed,
                                           .ctx = s };
    history_listen(s->history, &callbacks);
    return s;
}

void readers_destroy(struct readers *s)
{
    if (s == NULL)
        return;
    void *tables[] = { s->readers,  s->items,        s->owners,     s->owner_index,
                       s->groups,   s->slots,        s->slot_bytes, s->slot_order,
                       s->unstable, s->unstable_seq, s->is_unstable };
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        free(tables[i]);
    free((void *)s->waiting);
    free((void *)s->waiting_stable);
    history_destroy(s->history);
    views_destroy(s->views);
    recent_destroy(s->recent);
    free(s);
}

/* ---- ticks ----------------------------------------------------------------------------------- */

static void leave_group(struct reader *r)
{
    struct group *g = &r->s->groups[r->group];
    *(r->previous_in_group != NULL ? &r->previous_in_group->next_in_group : &g->members) =
        r->next_in_group;
    if (r->next_in_group != NULL)
        r->next_in_group->previous_in_group = r->previous_in_group;
}

/* Those with the same interval between ticks are looked at together. */
static void join_group(struct reader *r, uint32_t tick_ms)
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
    reader_behind(r, m, stable, view_encoder(r->s->views, r->in_view.view)->previous);
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

/* ---- where it begins ------------------------------------------------------------------------- */

static struct position position_at(const struct readers *s, uint64_t seq)
{
    const struct epoch_entry *e = epoch_table_find(catalog_epochs(s->catalog), seq);
    struct position p = { .seq = seq };
    if (e != NULL)
        p.epoch = e->epoch;
    return p;
}

static uint64_t tail_of(const struct readers *s)
{
    return s->through.seq > s->last_seq ? s->through.seq : s->last_seq;
}

static void say_position(struct reader *r, enum item_kind kind, struct position p)
{
    uint8_t frame[READER_FRAME_MAX];
    struct edge_subscribed subscribed = { .position = p };
    struct edge_forked forked = { .common = p };
    size_t length = kind == ITEM_FORKED ? edge_forked_encode(&forked, frame, sizeof frame)
                                        : edge_subscribed_encode(&subscribed, frame, sizeof frame);
    if (!queue_put(r, kind, p.seq, 0, frame, length))
        reader_break(r);
}

static void begin_behind(struct reader *r, struct position p)
{
    r->waits_for = WAITS_NOT;
    if (r->lacks_outcomes && p.seq > r->floor)
        reader_break(r); /* it was behind already, and would never hear of what lies between */
    say_position(r, ITEM_SUBSCRIBED, p);
    r->tick_said = r->tick_taken = 0;
    r->epoch_said = r->epoch_taken = 0;
    reader_say_epoch(r, p.seq);
    r->place = (struct place) { .next = p.seq + 1, .end = true, .fresh = true };
    reader_begin(r);
}

/* The last seq that a position off the history surely shares with ours. What became stable before an epoch
 * began is part of each later one's history. */
static uint64_t common_with(const struct readers *s, struct position p)
{
    const struct epoch_table *t = catalog_epochs(s->catalog);
    for (uint32_t i = 0; i < t->count; i++) {
        if (epoch_equal(t->entries[i].epoch, p.epoch) && p.seq >= t->entries[i].first_seq)
            return i + 1 < t->count ? t->entries[i + 1].first_seq - 1 : tail_of(s);
        if (epoch_compare(t->entries[i].epoch, p.epoch) >= 0)
            return s->stable_before[i] < p.seq ? s->stable_before[i] : p.seq - 1;
    }
    return s->watermark < p.seq ? s->watermark : p.seq - 1;
}

static void park(struct reader *r, enum waits_for what)
{
    struct readers *s = r->s;
    if (r->waits_for == WAITS_NOT) {
        r->next_parked = s->parked;
        s->parked = r;
    }
    r->waits_for = what;
    if (what == WAITS_TIME && r->time_ns < s->parked_time_ns)
        s->parked_time_ns = r->time_ns;
    if (what == WAITS_POSITION && r->position.seq < s->parked_seq)
        s->parked_seq = r->position.seq;
}

static void unpark(struct reader *r)
{
    struct reader **at = &r->s->parked;
    if (r->waits_for == WAITS_NOT)
        return;
    while (*at != r)
        at = &(*at)->next_parked;
    *at = r->next_parked;
    r->waits_for = WAITS_NOT;
}

/* What an epoch record has voided is nobody's history, though its seqs are. */
static uint64_t not_voided(const struct readers *s, uint64_t seq)
{
    const struct epoch_table *t = catalog_epochs(s->catalog);
    uint32_t i = t->count;
    while (i > 0 && t->entries[i - 1].first_seq > seq)
        i--;
    return i < t->count && s->whole_before[i] < seq ? s->whole_before[i] : seq;
}

bool readers_has(const struct readers *s, struct position p)
{
    return epoch_table_has(catalog_epochs(s->catalog), tail_of(s), p) &&
           not_voided(s, p.seq) == p.seq;
}

/* Whether the stream has come so far that it is known what this position is. */
static bool position_known(const struct readers *s, struct position p)
{
    const struct epoch_table *t = catalog_epochs(s->catalog);
    if (p.seq == 0)
        return true;
    if (t->count == 0)
        return false;
    struct epoch newest = t->entries[t->count - 1].epoch;
    return p.epoch.number < newest.number ||
           (epoch_equal(p.epoch, newest) && p.seq <= tail_of(s)) ||
           (p.epoch.number == newest.number && !epoch_equal(p.epoch, newest));
}

static void resolve_position(struct reader *r)
{
    struct readers *s = r->s;
    struct position p = r->position;
    if (!position_known(s, p)) {
        park(r, WAITS_POSITION);
        return;
    }
    unpark(r);
    if (p.seq == 0)
        p = (struct position) { 0 };
    bool has = epoch_table_has(catalog_epochs(s->catalog), tail_of(s), p);
    uint64_t seq = not_voided(s, has ? p.seq : common_with(s, p));
    if (!has || seq < p.seq) {
        p = position_at(s, seq);
        s->counts.forked++;
        say_position(r, ITEM_FORKED, p);
    }
    begin_behind(r, p);
}

static void resolve_time(struct reader *r)
{
    struct readers *s = r->s;
    uint64_t seq = 0;
    enum recent_result result = recent_find_time(s->recent, r->time_ns, &seq);
    uint64_t oldest = recent_oldest(s->recent);
    if (result == RECENT_GONE && oldest > 1) {
        uint64_t high = oldest <= s->watermark ? oldest : s->watermark + 1;
        if (!history_find_time(s->history, r->time_ns, 1, high, &seq)) {
            park(r, WAITS_TIME);
            s->parked_time_ns = 0; /* asked anew with each step */
            return;
        }
    } else if (result != RECENT_MESSAGE) {
        park(r, WAITS_TIME);
        return;
    }
    unpark(r);
    begin_behind(r, position_at(s, seq - 1));
}

/* Those for whom the stream has come far enough. */
static void serve_parked(struct readers *s, bool all)
{
    if (!all && tail_of(s) < s->parked_seq && s->last_time_ns < s->parked_time_ns)
        return;
    s->parked_seq = s->parked_time_ns = UINT64_MAX;
    struct reader *next;
    for (struct reader *r = s->parked; r != NULL; r = next) {
        next = r->next_parked;
        if (r->waits_for == WAITS_POSITION)
            resolve_position(r);
        else
            resolve_time(r);
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
            reader_begin(r);
        }
    }
}

/* Whom a message on /sys/grant or /sys/group concerns. */
static void note_rights(struct readers *s, const struct message *m)
{
    struct sys_grant grant;
    struct sys_group group;
    const uint8_t *key = NULL;
    if (m->topic == TOPIC_GROUP && sys_group_decode(m->payload, m->length, &group))
        key = group.key;
    else if (m->topic == TOPIC_GRANT && sys_grant_decode(m->payload, m->length, &grant) &&
             grant.whom.who == ACCESS_KEY)
        key = grant.whom.key;
    uint32_t principal = key != NULL ? access_principal_of(catalog_access(s->catalog), key)
                                     : ACCESS_PRINCIPAL_ANYONE;
    if (principal != ACCESS_PRINCIPAL_ANYONE && principal < ACCESS_PRINCIPALS_DEFAULT)
        s->principal_seq[principal] = m->seq;
    else
        s->everyone_seq = m->seq;
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
    if (from->topic == TOPIC_EPOCH || from->topic == TOPIC_GENESIS)
        begin_epoch(s, from->seq);
    if (s->touch_seq == UINT64_MAX)
        s->touch_seq = from->seq;
    views_message(s->views, m, stable);
    recent_push(s->recent, m, stable);
    s->last_seq = from->seq;
    s->last_time_ns = from->timestamp_ns;
    s->message_stable = stable;
    if (views_block(s->views).ended)
        note_rights(s, from);
    if (from->publisher != 0)
        tell_owners(s, m, stable);
    else if (from->topic == TOPIC_CLOCK)
        tick(s, m, stable);
    serve_due(s, from->seq);
    if (s->parked != NULL)
        serve_parked(s, from->topic == TOPIC_EPOCH);
}

/* Readers at stable whose view got something that is not. */
static void note_unstable(struct readers *s, uint32_t view, uint64_t seq)
{
    if (s->is_unstable[view] || s->waiting_stable[view] == NULL)
        return;
    uint32_t at = (s->unstable_head + s->unstable_count++) & s->unstable_mask;
    s->is_unstable[view] = true;
    s->unstable[at] = view;
    s->unstable_seq[at] = seq;
}

static void wake_stable(struct readers *s)
{
    while (s->unstable_count > 0 &&
           s->unstable_seq[s->unstable_head & s->unstable_mask] <= s->stable) {
        uint32_t view = s->unstable[s->unstable_head++ & s->unstable_mask];
        s->unstable_count--;
        s->is_unstable[view] = false;
        reader_wake_list(&s->waiting_stable[view]);
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
        serve_parked(s, false);
}

void readers_stable(struct readers *s, uint64_t stable)
{
    if (stable <= s->watermark)
        return;
    s->watermark = stable;
    advance_stable(s);
}

struct position readers_common(const struct readers *s, struct position common)
{
    struct recent_cursor c = s->stable_at;
    struct run_message m;
    uint64_t stable, whole = s->stable;
    enum recent_result result = recent_next(s->recent, &c, &m, &stable);
    if (result == RECENT_GONE && recent_seek(s->recent, recent_oldest(s->recent), &c))
        result = recent_next(s->recent, &c, &m, &stable);
    while (result == RECENT_MESSAGE && m.message.seq <= common.seq) {
        if ((m.message.flags & MESSAGE_MORE) == 0)
            whole = m.message.seq;
        result = recent_next(s->recent, &c, &m, &stable);
    }
    return whole < common.seq ? position_at(s, whole) : common;
}

static void drop_changes(struct reader *r, uint64_t seq)
{
    while (r->change_count > 0 && r->changes[r->change_count - 1].seq > seq)
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
    bool behind = !r->joined || r->slot != NONE;
    reader_leave(r);
    line_remove(r);
    for (uint32_t i = r->owned; i != NONE; i = s->owners[i].next_of_reader)
        if (s->owners[i].from_seq > common.seq)
            s->owners[i].from_seq = common.seq;
    if (r->floor > common.seq)
        r->floor = common.seq;
    if (r->mark_seq > common.seq)
        r->mark_seq = 0;
    if (r->waits_for != WAITS_NOT)
        return;
    if (behind && !r->place.fresh && reader_rights_seq(r) > common.seq)
        reader_break(r); /* what it was encoded may lack what was taken away by what never was */
    bool beyond = r->place.next > common.seq + 1;
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
    drop_changes(r, common.seq + 1);
    if (!beyond)
        return;
    if (r->unit_taken > 0)
        reader_break(r);
    bool untold = reader_sabotaged(r, PROXY_FORK_UNTOLD);
    r->place = (struct place) { .next = common.seq + 1, .end = true, .fresh = !untold };
    r->tick_said = r->tick_taken = r->epoch_said = r->epoch_taken = 0;
    s->counts.forked++;
    if (untold)
        return;
    say_position(r, ITEM_FORKED, common);
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
    if (s->everyone_seq > common.seq)
        s->everyone_seq = common.seq;
    for (uint32_t i = 0; i < ACCESS_PRINCIPALS_DEFAULT; i++)
        if (s->principal_seq[i] > common.seq)
            s->principal_seq[i] = common.seq;
    for (uint32_t g = 1; g < s->group_end; g++) {
        s->groups[g].index = 0;
        s->groups[g].fresh = true;
    }
    for (uint32_t i = 1; i < s->reader_end; i++)
        if (s->readers[i].open)
            reader_begin(&s->readers[i]);
    if (s->parked != NULL)
        serve_parked(s, true);
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
    if (s->parked_time_ns == 0)
        serve_parked(s, false);
    bool more = slots_step(s);
    uint64_t deadline = history_step(s->history, now);
    if (more)
        return now.mono_ns;
    if (s->line.first != NULL && now.mono_ns + 50000000 < deadline)
        deadline = now.mono_ns + 50000000; /* somebody may have to give way */
    return deadline;
}

/* ---- requests -------------------------------------------------------------------------------- */

struct reader *reader_open(struct readers *s, uint32_t principal, enum edge_level level, void *ctx)
{
    struct reader *r = s->free_readers;
    struct edge_subtrees none = { .at = s->no_subtrees };
    uint32_t view = views_open(s->views, ACCESS_PRINCIPAL_ANYONE, &none);
    if (view == VIEW_NONE)
        return NULL;
    if (r != NULL) {
        s->free_readers = r->next_free;
    } else if (s->reader_end <= s->o.readers_max) {
        r = &s->readers[s->reader_end++];
    } else {
        views_close(s->views, view);
        return NULL;
    }
    /* It may still be in the lists of those that are ready and held, from a former life. */
    *r = (struct reader) { .s = s,
                           .ctx = ctx,
                           .principal = principal,
                           .open = true,
                           .stable = level == EDGE_STABLE,
                           .view = view,
                           .drained = true,
                           .is_ready = r->is_ready,
                           .next_ready = r->next_ready,
                           .is_held = r->is_held,
                           .next_held = r->next_held };
    const struct epoch_entry *e = epoch_table_find(catalog_epochs(s->catalog), s->last_seq);
    r->epoch_said = r->epoch_taken = e != NULL ? e->first_seq : 0;
    r->place = (struct place) { .next = s->last_seq + 1, .end = true, .fresh = true };
    join_group(r, EDGE_TICK_DEFAULT_MS);
    s->reader_count++;
    reader_begin(r);
    return r;
}

void reader_close(struct reader *r)
{
    struct readers *s = r->s;
    reader_leave(r);
    line_remove(r);
    unpark(r);
    leave_group(r);
    while (r->owned != NONE)
        reader_disown(r, s->owners[r->owned].publisher);
    queue_clear(s, &r->items);
    queue_clear(s, &r->pending);
    drop_changes(r, 0);
    views_close(s->views, r->view);
    r->open = false;
    r->next_free = s->free_readers;
    s->free_readers = r;
    s->reader_count--;
}

enum reader_refusal reader_subscribe(struct reader *r, const struct edge_subscribe *request,
                                     struct position tip)
{
    struct readers *s = r->s;
    assert(!r->subscribed);
    uint32_t view = views_open(s->views, r->principal, &request->subtrees);
    if (view == VIEW_NONE)
        return READER_TOO_MANY;
    reader_leave(r);
    line_remove(r);
    queue_cut(r);
    r->floor = r->place.next - 1;
    r->lacks_outcomes = r->owned != NONE && r->floor < s->last_seq;
    views_close(s->views, r->view);
    r->view = view;
    r->subscribed = true;
    r->stable = request->level == EDGE_STABLE;
    leave_group(r);
    join_group(r, request->tick_ms);
    r->position = request->from == EDGE_FROM_TIP ? tip : request->position;
    r->time_ns = request->time_ns;
    if (request->from == EDGE_FROM_TIME)
        resolve_time(r);
    else
        resolve_position(r);
    reader_wake(r);
    return READER_OK;
}

void reader_mark(struct reader *r, uint64_t seq)
{
    assert(!r->subscribed);
    r->mark_seq = seq;
}

enum reader_refusal reader_change(struct reader *r, const struct edge_subtrees *now, uint64_t seq)
{
    struct readers *s = r->s;
    assert(r->subscribed);
    if (r->change_count == CHANGES_MAX)
        return READER_TOO_MANY;
    uint32_t view = views_open(s->views, r->principal, now);
    if (view == VIEW_NONE)
        return READER_TOO_MANY;
    r->changes[r->change_count++] = (struct change) { .seq = seq, .view = view };
    if (seq > s->last_seq + 1 && seq < s->due_seq)
        s->due_seq = seq;
    if (seq <= s->last_seq + 1 && r->joined) {
        reader_leave(r);
        reader_begin(r);
    }
    return READER_OK;
}

enum reader_refusal reader_principal(struct reader *r, uint32_t principal)
{
    struct views *v = r->s->views;
    if (principal == r->principal)
        return READER_OK;
    uint32_t views[CHANGES_MAX + 1], count = 0;
    for (; count <= r->change_count; count++) {
        uint32_t old = count == 0 ? r->view : r->changes[count - 1].view;
        views[count] = views_open_as(v, principal, old);
        if (views[count] != VIEW_NONE)
            continue;
        while (count > 0)
            views_close(v, views[--count]);
        return READER_TOO_MANY;
    }
    reader_leave(r);
    line_remove(r);
    views_close(v, r->view);
    r->view = views[0];
    for (uint32_t i = 0; i < r->change_count; i++) {
        views_close(v, r->changes[i].view);
        r->changes[i].view = views[i + 1];
    }
    r->principal = principal;
    r->place.other = true;
    reader_begin(r);
    return READER_OK;
}

bool reader_may_read_any(const struct readers *s, uint32_t principal, const char *subtree,
                         size_t length)
{
    const struct access *a = catalog_access(s->catalog);
    if (principal >= access_principal_end(a))
        principal = ACCESS_PRINCIPAL_ANYONE;
    if (access_may_subtree(a, principal, ACCESS_READ, subtree, length))
        return true;
    struct access_grant g;
    for (uint32_t i = 0; access_grant_at(a, i, &g); i++) {
        size_t other = strlen(g.subtree);
        if ((g.rights & ACCESS_READ) == 0 || !topic_in_subtree(g.subtree, other, subtree, length) ||
            (length == 1 && topic_in_subtree(g.subtree, other, "/sys", 4)))
            continue;
        if (access_may_subtree(a, principal, ACCESS_READ, g.subtree, other))
            return true;
    }
    return false;
}

/* ---- questions ------------------------------------------------------------------------------- */

enum reader_state reader_state(const struct reader *r)
{
    if (r->broken)
        return READER_BROKEN;
    if (r->lost)
        return READER_LOST;
    return r->joined ? READER_LIVE : READER_BEHIND;
}

uint64_t reader_oldest(const struct reader *r)
{
    return r->oldest;
}

uint64_t reader_seq(const struct reader *r)
{
    return reader_next_seq(r) - 1;
}

uint64_t reader_bytes(const struct reader *r)
{
    return reader_end(r) - r->at;
}

uint32_t reader_subtrees(const struct reader *r)
{
    uint32_t view = r->change_count > 0 ? r->changes[r->change_count - 1].view : r->view;
    return view_subtrees(r->s->views, view);
}

struct readers_counts readers_counts(const struct readers *s)
{
    struct readers_counts c = s->counts;
    c.readers = s->reader_count;
    c.catching_up = s->o.catch_ups_max - s->free_slot_count;
    for (uint32_t i = 1; i < s->reader_end; i++) {
        c.live += s->readers[i].open && s->readers[i].joined;
        c.behind += s->readers[i].open && !s->readers[i].joined;
    }
    return c;
}

struct views *readers_views(const struct readers *s)
{
    return s->views;
}

void *readers_ready(struct readers *s)
{
    uint32_t view;
    while ((view = views_touched(s->views)) != VIEW_NONE) {
        reader_wake_list(&s->waiting[view]);
        if (s->touch_seq <= s->stable)
            reader_wake_list(&s->waiting_stable[view]);
        else
            note_unstable(s, view, s->touch_seq);
    }
    s->touch_seq = UINT64_MAX;
    while (s->ready.first != NULL) {
        struct reader *r = s->ready.first;
        s->ready.first = r->next_ready;
        if (s->ready.first == NULL)
            s->ready.last = NULL;
        r->is_ready = false;
        if (r->open)
            return r->ctx;
    }
    return NULL;
}
