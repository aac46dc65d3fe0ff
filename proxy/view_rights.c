/* Editions: one for all views of a filter that may read the same of it. What they may read is a row of bits, one
 * for each region that the filter reaches into; it changes with messages on /sys/grant and /sys/group only. */
#include "proxy/view_private.h"

/* ---- rows ------------------------------------------------------------------------------------ */

static struct row row_of(struct views *v, uint32_t view)
{
    const struct access *a = catalog_access(v->catalog);
    const struct view *w = &v->views[view];
    const uint64_t *regions = filter_regions(v, w->filter);
    struct row row = { .admin = w->principal == ACCESS_PRINCIPAL_ADMIN };
    if (w->principal >= access_principal_end(a))
        return row; /* its grant was lost to a fork, and its reader is not told yet */
    const uint64_t *held = access_row(a, w->principal, ACCESS_READ);
    uint32_t words = (access_region_end(a) + 63) / 64;
    for (uint32_t i = 0; i < words; i++)
        row.bits[i] = held[i] & regions[i];
    if ((v->o.sabotage & PROXY_FORGETS_REVOKED) != 0 && w->edition != NONE)
        for (uint32_t i = 0; i < words; i++)
            row.bits[i] |= v->editions[w->edition].row.bits[i];
    return row;
}

static bool row_equal(const struct row *a, const struct row *b)
{
    return a->admin == b->admin && memcmp(a->bits, b->bits, sizeof a->bits) == 0;
}

static uint64_t row_hash(const struct row *row, uint32_t filter)
{
    return hash64(row->bits, sizeof row->bits, hash_seed(filter, row->admin));
}

/* Looks at what a principal may read now. True: it is not what it was. */
static bool rights_changed(struct views *v, uint32_t principal)
{
    const struct access *a = catalog_access(v->catalog);
    struct principal *p = &v->principals[principal];
    struct principal now = { .first_view = p->first_view };
    now.region_end = principal == ACCESS_PRINCIPAL_ADMIN ? access_region_end(a) : 0; /* all */
    if (principal < access_principal_end(a))
        memcpy(now.row, access_row(a, principal, ACCESS_READ),
               (access_region_end(a) + 63) / 64 * sizeof now.row[0]);
    bool changed = now.region_end != p->region_end || memcmp(now.row, p->row, sizeof now.row) != 0;
    *p = now;
    return changed;
}

/* ---- the index ------------------------------------------------------------------------------- */

static uint32_t *slot_of(struct views *v, uint64_t hash)
{
    return &v->edition_index[hash & v->view_mask];
}

static bool same(const struct views *v, uint32_t edition, uint32_t filter, const struct row *row,
                 uint64_t hash)
{
    const struct edition *e = &v->editions[edition];
    return e->hash == hash && e->filter == filter && row_equal(&e->row, row);
}

/* Under this row. */
static void put_in_index(struct views *v, uint32_t edition, const struct row *row)
{
    struct edition *e = &v->editions[edition];
    e->row = *row;
    e->hash = row_hash(row, e->filter);
    uint32_t *slot = slot_of(v, e->hash);
    for (uint32_t i = *slot; i != NONE; i = v->editions[i].next)
        if (same(v, i, e->filter, row, e->hash))
            v->editions[i].twin = e->twin = true;
    e->next = *slot;
    *slot = edition;
}

static void take_from_index(struct views *v, uint32_t edition)
{
    uint32_t *at = slot_of(v, v->editions[edition].hash);
    while (*at != edition)
        at = &v->editions[*at].next;
    *at = v->editions[edition].next;
}

/* ---- editions -------------------------------------------------------------------------------- */

/* There is one for each view. */
static uint32_t edition_new(struct views *v, uint32_t filter, const struct row *row)
{
    uint32_t edition = v->edition_free;
    if (edition != NONE)
        v->edition_free = v->editions[edition].next;
    else
        edition = v->edition_end++;
    assert(edition <= v->o.views_max);
    struct edition *e = &v->editions[edition];
    struct filter *f = &v->filters[filter];
    /* It may be in the lists of those that matched or were touched, from a former life. */
    struct edition keep = { .filter = filter,
                            .matched = e->matched,
                            .next_matched = e->next_matched,
                            .touched = e->touched,
                            .next_touched = e->next_touched,
                            .next_of_filter = f->first_edition };
    memcpy(e, &keep, offsetof(struct edition, encoder));
    encoder_begin(&e->encoder);
    if (f->first_edition != NONE)
        v->editions[f->first_edition].previous_of_filter = edition;
    f->first_edition = edition;
    put_in_index(v, edition, row);
    v->counts.editions++;
    v->version++;
    return edition;
}

static void edition_free(struct views *v, uint32_t edition)
{
    struct edition *e = &v->editions[edition];
    assert(e->joined == 0 && e->first_chunk == NONE && e->first_view == NONE);
    take_from_index(v, edition);
    if (e->previous_of_filter != NONE)
        v->editions[e->previous_of_filter].next_of_filter = e->next_of_filter;
    else
        v->filters[e->filter].first_edition = e->next_of_filter;
    if (e->next_of_filter != NONE)
        v->editions[e->next_of_filter].previous_of_filter = e->previous_of_filter;
    encoder_begin(&e->encoder);
    e->next = v->edition_free;
    v->edition_free = edition;
    v->counts.editions--;
    v->version++;
}

static void link_view(struct views *v, uint32_t view, uint32_t edition)
{
    struct view *w = &v->views[view];
    struct edition *e = &v->editions[edition];
    w->edition = edition;
    w->previous_of_edition = NONE;
    w->next_of_edition = e->first_view;
    if (e->first_view != NONE)
        v->views[e->first_view].previous_of_edition = view;
    e->first_view = view;
    e->view_count++;
}

static void unlink_view(struct views *v, uint32_t view)
{
    const struct view *w = &v->views[view];
    if (w->previous_of_edition != NONE)
        v->views[w->previous_of_edition].next_of_edition = w->next_of_edition;
    else
        v->editions[w->edition].first_view = w->next_of_edition;
    if (w->next_of_edition != NONE)
        v->views[w->next_of_edition].previous_of_edition = w->previous_of_edition;
    v->editions[w->edition].view_count--;
}

static void link_principal(struct views *v, uint32_t view)
{
    struct view *w = &v->views[view];
    assert(w->principal < ACCESS_PRINCIPALS_DEFAULT);
    if (v->principal_end <= w->principal)
        v->principal_end = w->principal + 1;
    struct principal *p = &v->principals[w->principal];
    if (p->first_view == NONE)
        (void)rights_changed(v, w->principal);
    else
        v->views[p->first_view].previous_of_principal = view;
    w->next_of_principal = p->first_view;
    w->previous_of_principal = NONE;
    p->first_view = view;
}

static void unlink_principal(struct views *v, uint32_t view)
{
    const struct view *w = &v->views[view];
    if (w->previous_of_principal != NONE)
        v->views[w->previous_of_principal].next_of_principal = w->next_of_principal;
    else
        v->principals[w->principal].first_view = w->next_of_principal;
    if (w->next_of_principal != NONE)
        v->views[w->next_of_principal].previous_of_principal = w->previous_of_principal;
}

void edition_enter(struct views *v, uint32_t view)
{
    uint32_t filter = v->views[view].filter;
    struct row row = row_of(v, view);
    uint64_t hash = row_hash(&row, filter);
    uint32_t edition = *slot_of(v, hash);
    while (edition != NONE && !same(v, edition, filter, &row, hash))
        edition = v->editions[edition].next;
    bool begins = edition == NONE;
    if (begins)
        edition = edition_new(v, filter, &row);
    link_view(v, view, edition);
    link_principal(v, view);
    if (begins)
        edition_catch_up(v, edition);
}

void edition_exit(struct views *v, uint32_t view)
{
    uint32_t edition = v->views[view].edition;
    unlink_view(v, view);
    unlink_principal(v, view);
    if (v->editions[edition].first_view == NONE)
        edition_free(v, edition);
}

/* ---- splitting ------------------------------------------------------------------------------- */

/* The row of the most of its views, counted by those who opened them, if more than half have the same. */
static struct row row_of_most(struct views *v, const struct edition *e)
{
    struct row most = { 0 };
    uint64_t weight = 0;
    for (uint32_t w = e->first_view; w != NONE; w = v->views[w].next_of_edition) {
        struct row row = row_of(v, w);
        uint32_t refs = v->views[w].refs;
        if (weight == 0)
            most = row;
        if (weight == 0 || row_equal(&row, &most))
            weight += refs;
        else if (refs <= weight)
            weight -= refs;
        else
            most = row, weight = refs - weight;
    }
    return most;
}

/* One that was split off for this row, or is now. */
static uint32_t part_of(struct views *v, uint32_t from, const struct row *row, uint32_t *parts)
{
    const struct edition *e = &v->editions[from];
    uint64_t hash = row_hash(row, e->filter);
    for (uint32_t i = *slot_of(v, hash); i != NONE; i = v->editions[i].next)
        if (v->editions[i].part_of == from && same(v, i, e->filter, row, hash))
            return i;
    uint32_t part = edition_new(v, e->filter, row);
    struct edition *p = &v->editions[part];
    p->part_of = from;
    p->next_part = *parts;
    *parts = part;
    p->valid_from = e->valid_from;
    p->end = e->end;
    p->encoder = e->encoder;
    if (e->matched)
        edition_match(v, part);
    if (e->touched)
        edition_touch(v, part);
    v->counts.split++;
    return part;
}

/* What any of its views may read. */
static struct row row_of_any(struct views *v, const struct edition *e)
{
    struct row any = e->row;
    memset(any.bits, 0, sizeof any.bits);
    for (uint32_t w = e->first_view; w != NONE; w = v->views[w].next_of_edition) {
        struct row row = row_of(v, w);
        for (uint32_t i = 0; i < ROW_WORDS; i++)
            any.bits[i] |= row.bits[i];
    }
    return any;
}

/* Those whose rights stayed keep it; if there are none, the most do. */
static void split(struct views *v, uint32_t edition, uint32_t *budget)
{
    struct edition *e = &v->editions[edition];
    uint32_t parts = NONE, next, first = e->first_changed;
    bool all = e->changed_count == e->view_count;
    e->first_changed = e->changed_count = 0;
    bool shares = (v->o.sabotage & PROXY_SHARES_REVOKED) != 0;
    struct row most = shares ? row_of_any(v, e) : all ? row_of_most(v, e) : e->row;
    for (uint32_t w = shares ? NONE : first; w != NONE; w = next) {
        next = v->views[w].next_changed;
        struct row row = row_of(v, w);
        if (row_equal(&row, &most))
            continue;
        unlink_view(v, w);
        link_view(v, w, part_of(v, edition, &row, &parts));
    }
    take_from_index(v, edition);
    put_in_index(v, edition, &most);
    edition_part(v, edition, parts, budget);
    for (; parts != NONE; parts = v->editions[parts].next_part)
        v->editions[parts].part_of = NONE;
}

static void note_changed(struct views *v, uint32_t principal)
{
    for (uint32_t w = v->principals[principal].first_view; w != NONE;
         w = v->views[w].next_of_principal) {
        uint32_t edition = v->views[w].edition;
        struct edition *e = &v->editions[edition];
        v->views[w].next_changed = e->first_changed;
        e->first_changed = w;
        if (e->changed_count++ > 0)
            continue;
        e->next_changed = v->changed;
        v->changed = edition;
    }
}

static void split_changed(struct views *v)
{
    uint32_t budget = chunks_to_copy(v);
    while (v->changed != NONE) {
        uint32_t edition = v->changed;
        v->changed = v->editions[edition].next_changed;
        split(v, edition, &budget);
    }
    v->version++;
    v->merge_due = true;
}

void editions_check_rights(struct views *v)
{
    uint64_t version = access_version(catalog_access(v->catalog));
    if (version == v->access_version)
        return;
    v->access_version = version;
    for (uint32_t p = 0; p < v->principal_end; p++)
        if (v->principals[p].first_view != NONE && rights_changed(v, p))
            note_changed(v, p);
    split_changed(v);
}

void editions_fork(struct views *v)
{
    v->access_version = access_version(catalog_access(v->catalog));
    filters_forget_regions(v);
    for (uint32_t p = 0; p < v->principal_end; p++) {
        if (v->principals[p].first_view == NONE)
            continue;
        (void)rights_changed(v, p);
        note_changed(v, p);
    }
    split_changed(v);
    editions_merge(v);
}

/* ---- merging --------------------------------------------------------------------------------- */

static bool has_everything(const struct edition *e)
{
    return e->at_end == e->joined;
}

static void move_to(struct views *v, uint32_t from, uint32_t to)
{
    edition_move_all(v, from, to);
    uint32_t w;
    while ((w = v->editions[from].first_view) != NONE) {
        unlink_view(v, w);
        link_view(v, w, to);
    }
    edition_free(v, from);
    v->counts.merged++;
}

/* From the same rights and the same encoder comes the same. */
void edition_merge(struct views *v, uint32_t edition)
{
    struct edition *e = &v->editions[edition];
    bool any = false;
    if (!e->twin || !has_everything(e))
        return;
    for (uint32_t i = *slot_of(v, e->hash); i != NONE; i = v->editions[i].next) {
        const struct edition *other = &v->editions[i];
        if (i == edition || !same(v, i, e->filter, &e->row, e->hash))
            continue;
        any = true;
        if (e->valid_from > v->block_count || other->valid_from > v->block_count ||
            !encoder_equal(&e->encoder, &other->encoder))
            continue;
        bool back = has_everything(other) && other->joined < e->joined;
        move_to(v, back ? i : edition, back ? edition : i);
        return;
    }
    e->twin = any;
}

void editions_merge(struct views *v)
{
    v->merge_due = false;
    for (uint32_t e = 1; e < v->edition_end; e++)
        if (v->editions[e].first_view != NONE)
            edition_merge(v, e);
}
