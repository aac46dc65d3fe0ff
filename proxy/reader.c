#include "proxy/reader_private.h"

enum {
    CATCH_UPS_DEFAULT = 1024,
    CATCH_UP_BYTES_DEFAULT = 65536,
    CATCH_UP_BYTES_MIN = 8192,
    RECENT_EXTRA = 4096, /* records around two of the largest messages */
    ITEMS_EXTRA_MAX = 65536,
    ITEMS_EXTRA_PER_READER = 256,
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
    uint32_t extra = o->readers_max < ITEMS_EXTRA_MAX / ITEMS_EXTRA_PER_READER
                         ? o->readers_max * ITEMS_EXTRA_PER_READER
                         : ITEMS_EXTRA_MAX;
    return o->readers_max * ITEMS_PER_READER + extra;
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
    s->slot_bytes = malloc((o->catch_ups_max + (size_t)1) * o->catch_up_bytes);
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
    s->rights_version = 1;
    s->due_seq = s->asked_due = s->parked_seq = s->parked_time_ns = s->touch_seq = UINT64_MAX;
    s->recent = recent_create(s->o.recent_bytes);
    if (s->recent != NULL)
        s->views = views_create(&s->o.views, catalog, s->recent, reader_losing, reader_moved, s);
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
                           .is_later = r->is_later,
                           .next_later = r->next_later,
                           .is_held = r->is_held,
                           .next_held = r->next_held };
    const struct epoch_entry *e = epoch_table_find(catalog_epochs(s->catalog), s->last_seq);
    r->epoch_said = r->epoch_taken = e != NULL ? e->first_seq : 0;
    r->place = (struct place) { .next = s->last_seq + 1, .end = true, .fresh = true };
    reader_join_group(r, EDGE_TICK_DEFAULT_MS);
    s->reader_count++;
    reader_begin(r);
    return r;
}

void reader_close(struct reader *r)
{
    struct readers *s = r->s;
    reader_leave(r);
    line_remove(r);
    reader_unpark(r);
    reader_leave_group(r);
    while (r->owned != NONE)
        reader_disown(r, s->owners[r->owned].publisher);
    queue_clear(s, &r->items);
    queue_clear(s, &r->pending);
    reader_drop_changes(r);
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
    r->rights_from = s->last_seq;
    r->rights_version = 0;
    r->stable = request->level == EDGE_STABLE;
    reader_leave_group(r);
    reader_join_group(r, request->tick_ms);
    r->position = request->from == EDGE_FROM_TIP ? tip : request->position;
    r->time_ns = request->time_ns;
    r->asked_seq = request->mark_seq;
    reader_look_for_asked(r);
    if (request->from == EDGE_FROM_TIME)
        reader_resolve_time(r);
    else
        reader_resolve_position(r);
    reader_wake(r);
    return READER_OK;
}

void reader_mark(struct reader *r, struct position p)
{
    assert(!r->subscribed);
    r->mark = p;
}

/* Its next change counts from this seq on. */
static void change_from(struct reader *r, uint64_t seq)
{
    struct readers *s = r->s;
    if (seq > s->last_seq + 1 && seq < s->due_seq)
        s->due_seq = seq;
    if (seq <= s->last_seq + 1 && r->joined) {
        reader_leave(r);
        reader_begin(r);
    }
}

enum reader_refusal reader_change(struct reader *r, const struct edge_subtrees *now, uint64_t seq,
                                  uint32_t number)
{
    struct readers *s = r->s;
    assert(r->subscribed);
    if (r->change_count == CHANGES_MAX)
        return READER_TOO_MANY;
    uint32_t view = views_open(s->views, r->principal, now);
    if (view == VIEW_NONE)
        return READER_TOO_MANY;
    r->rights_version = 0;
    r->changes[r->change_count++] = (struct change) { .seq = seq, .view = view, .number = number };
    change_from(r, seq);
    return READER_OK;
}

void reader_change_again(struct reader *r, uint64_t seq, uint32_t number)
{
    for (uint32_t i = 0; i < r->change_count; i++) {
        if (r->changes[i].number != number || r->changes[i].seq != CHANGE_FELL)
            continue;
        r->changes[i].seq = seq;
        change_from(r, seq);
    }
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
    r->rights_version = 0;
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
        return r->outdated ? READER_OUTDATED : READER_BROKEN;
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

uint32_t reader_subtrees(const struct reader *r)
{
    uint32_t view = r->change_count > 0 ? r->changes[r->change_count - 1].view : r->view;
    return view_subtrees(r->s->views, view);
}

struct readers_counts readers_counts(const struct readers *s)
{
    struct readers_counts c = s->counts;
    c.behind = s->reader_count - c.live;
    return c;
}

struct views *readers_views(const struct readers *s)
{
    return s->views;
}

/* Of those for whom there is only a tick, one behind several others, so that they are told at last. */
static struct reader *next_ready(struct readers *s)
{
    enum { OTHERS = 3 };
    struct reader *r;
    if (s->later.first != NULL && s->ticks_left > 0 &&
        (s->ready.first == NULL || s->ready_turn == OTHERS)) {
        s->ticks_left--;
        r = s->later.first;
        s->later.first = r->next_later;
        s->later.last = s->later.first != NULL ? s->later.last : NULL;
        r->is_later = false;
        s->ready_turn = 0;
        return r;
    }
    r = s->ready.first;
    s->ready.first = r->next_ready;
    s->ready.last = s->ready.first != NULL ? s->ready.last : NULL;
    r->is_ready = false;
    s->ready_turn += s->ready_turn < OTHERS;
    return r;
}

void *readers_ready(struct readers *s)
{
    uint32_t edition;
    while ((edition = views_touched(s->views)) != VIEW_NONE) {
        reader_wake_list(&s->waiting[edition]);
        if (s->touch_seq <= s->stable)
            reader_wake_list(&s->waiting_stable[edition]);
        else
            readers_note_unstable(s, edition, s->touch_seq);
    }
    s->touch_seq = UINT64_MAX;
    while (s->ready.first != NULL || (s->later.first != NULL && s->ticks_left > 0)) {
        struct reader *r = next_ready(s);
        if (r->open)
            return r->ctx;
    }
    return NULL;
}

uint64_t readers_ready_ns(const struct readers *s)
{
    return s->later.first != NULL ? s->ticks_ns + READER_TICKS_APART_NS : PORT_NEVER;
}
