#include "proxy/view_private.h"

enum { CHUNKS_MIN = 256, INTERESTS_EXTRA_MAX = 65536, INTERESTS_PER_TOPIC = 4 };

/* ---- memory ---------------------------------------------------------------------------------- */

static uint32_t slots_for(uint32_t count)
{
    uint32_t slots = 1024;
    while (slots < count)
        slots *= 2;
    return slots;
}

static uint32_t chunks_of(const struct views_options *o)
{
    uint64_t chunks = o->bytes_max / VIEW_CHUNK_BYTES;
    return chunks < CHUNKS_MIN ? CHUNKS_MIN : (uint32_t)chunks;
}

static uint32_t extra_of(const struct views_options *o)
{
    return o->topics_max < INTERESTS_EXTRA_MAX / INTERESTS_PER_TOPIC
               ? o->topics_max * INTERESTS_PER_TOPIC
               : INTERESTS_EXTRA_MAX;
}

static uint32_t interests_of(const struct views_options *o)
{
    return o->subtrees_max + extra_of(o);
}

/* Of one chain each edition has at most one entry. */
static uint32_t lists_of(const struct views_options *o)
{
    return 16 * o->views_max + o->subtrees_max + extra_of(o);
}

size_t views_memory(const struct views_options *o)
{
    return sizeof(struct views) +
           (o->views_max + 1) *
               (sizeof(struct filter) + sizeof(struct view) + sizeof(struct edition)) +
           ACCESS_PRINCIPALS_DEFAULT * sizeof(struct principal) +
           (o->subtrees_max + 1) * (sizeof(struct node) + sizeof(struct sub)) +
           (interests_of(o) + 1) * sizeof(struct interest) +
           (chunks_of(o) + 1) * (sizeof(struct chunk) + (size_t)VIEW_CHUNK_BYTES) +
           (3 * (size_t)slots_for(o->views_max) + 2 * (size_t)slots_for(o->subtrees_max) +
            2 * (size_t)slots_for(interests_of(o)) + lists_of(o)) *
               sizeof(uint32_t) +
           o->topics_max * sizeof(struct topic_place);
}

struct views *views_create(const struct views_options *o, const struct catalog *catalog,
                           const struct recent *recent, view_losing *losing, view_moved *moved,
                           void *ctx)
{
    struct views *v = calloc(1, sizeof *v);
    if (v == NULL)
        return NULL;
    v->o = *o;
    v->catalog = catalog;
    v->recent = recent;
    v->losing = losing;
    v->moved = moved;
    v->ctx = ctx;
    v->view_mask = slots_for(o->views_max) - 1;
    v->node_mask = v->sub_mask = slots_for(o->subtrees_max) - 1;
    v->interest_max = interests_of(o);
    v->interest_mask = 2 * slots_for(v->interest_max) - 1;
    v->list_max = lists_of(o);
    v->chunk_max = v->chunks_free = chunks_of(o);
    v->filter_end = v->view_end = v->edition_end = 1;
    v->node_end = v->sub_end = v->chunk_end = 1;
    v->version = v->node_version = 1;
    /* What is zero and large is not touched before it is used. */
    v->filters = calloc(o->views_max + 1, sizeof v->filters[0]);
    v->views = calloc(o->views_max + 1, sizeof v->views[0]);
    v->editions = calloc(o->views_max + 1, sizeof v->editions[0]);
    v->principals = calloc(ACCESS_PRINCIPALS_DEFAULT, sizeof v->principals[0]);
    v->nodes = calloc(o->subtrees_max + 1, sizeof v->nodes[0]);
    v->subs = calloc(o->subtrees_max + 1, sizeof v->subs[0]);
    v->interests = calloc(v->interest_max + 1, sizeof v->interests[0]);
    v->chunks = calloc(v->chunk_max + 1, sizeof v->chunks[0]);
    v->chunk_bytes = malloc((v->chunk_max + (size_t)1) * VIEW_CHUNK_BYTES);
    v->filter_index = calloc(v->view_mask + 1, sizeof v->filter_index[0]);
    v->view_index = calloc(v->view_mask + 1, sizeof v->view_index[0]);
    v->edition_index = calloc(v->view_mask + 1, sizeof v->edition_index[0]);
    v->node_index = calloc(v->node_mask + 1, sizeof v->node_index[0]);
    v->sub_index = calloc(v->sub_mask + 1, sizeof v->sub_index[0]);
    v->interest_index = calloc(v->interest_mask + 1, sizeof v->interest_index[0]);
    v->lists = calloc(v->list_max, sizeof v->lists[0]);
    v->topics = calloc(o->topics_max, sizeof v->topics[0]);
    if (v->filters != NULL && v->views != NULL && v->editions != NULL && v->principals != NULL &&
        v->nodes != NULL && v->subs != NULL && v->interests != NULL && v->chunks != NULL &&
        v->chunk_bytes != NULL && v->filter_index != NULL && v->view_index != NULL &&
        v->edition_index != NULL && v->node_index != NULL && v->sub_index != NULL &&
        v->interest_index != NULL && v->lists != NULL && v->topics != NULL)
        return v;
    views_destroy(v);
    return NULL;
}

void views_destroy(struct views *v)
{
    if (v == NULL)
        return;
    void *tables[] = { v->filters,     v->views,        v->editions,       v->principals,
                       v->nodes,       v->subs,         v->interests,      v->chunks,
                       v->chunk_bytes, v->filter_index, v->view_index,     v->edition_index,
                       v->node_index,  v->sub_index,    v->interest_index, v->lists,
                       v->topics };
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        free(tables[i]);
    free(v);
}

/* ---- views ------------------------------------------------------------------------------------ */

static uint32_t take_view(struct views *v)
{
    uint32_t view = v->view_free;
    if (view != NONE)
        v->view_free = v->views[view].next;
    else if (v->view_end <= v->o.views_max)
        view = v->view_end++;
    else
        return VIEW_NONE;
    v->counts.views++;
    return view;
}

static void give_back(struct views *v, uint32_t view)
{
    v->views[view].next = v->view_free;
    v->view_free = view;
    v->counts.views--;
}

static uint32_t *slot_of(struct views *v, uint32_t principal, uint32_t filter)
{
    return &v->view_index[hash64(&filter, sizeof filter, principal) & v->view_mask];
}

/* Takes over one of the filter's refs. */
static uint32_t open_view(struct views *v, uint32_t principal, uint32_t filter)
{
    if (v->filters[filter].sub_count == 0)
        principal = ACCESS_PRINCIPAL_ANYONE;
    uint32_t *slot = slot_of(v, principal, filter);
    uint32_t view = *slot;
    while (view != VIEW_NONE &&
           (v->views[view].principal != principal || v->views[view].filter != filter))
        view = v->views[view].next;
    if (view != VIEW_NONE) {
        v->views[view].refs++;
        filter_release(v, filter);
        return view;
    }
    view = take_view(v);
    if (view == VIEW_NONE) {
        filter_release(v, filter);
        return VIEW_NONE;
    }
    v->views[view] =
        (struct view) { .refs = 1, .principal = principal, .filter = filter, .next = *slot };
    *slot = view;
    edition_enter(v, view);
    return view;
}

uint32_t views_open(struct views *v, uint32_t principal, const struct edge_subtrees *subtrees)
{
    editions_check_rights(v);
    uint32_t filter = filter_take(v, subtrees);
    return filter != NONE ? open_view(v, principal, filter) : VIEW_NONE;
}

uint32_t views_open_as(struct views *v, uint32_t principal, uint32_t view)
{
    editions_check_rights(v);
    uint32_t filter = v->views[view].filter;
    v->filters[filter].refs++;
    return open_view(v, principal, filter);
}

void views_close(struct views *v, uint32_t view)
{
    struct view *w = &v->views[view];
    assert(w->refs > 0);
    if (--w->refs > 0)
        return;
    uint32_t *at = slot_of(v, w->principal, w->filter);
    while (*at != view)
        at = &v->views[*at].next;
    *at = w->next;
    edition_exit(v, view);
    filter_release(v, w->filter);
    give_back(v, view);
}

/* ---- the stream ------------------------------------------------------------------------------ */

void edition_match(struct views *v, uint32_t edition)
{
    struct edition *e = &v->editions[edition];
    if (e->matched)
        return;
    e->matched = true;
    e->next_matched = v->matched;
    v->matched = edition;
}

void edition_catch_up(struct views *v, uint32_t edition)
{
    struct edition *e = &v->editions[edition];
    struct block b = { 0 };
    struct recent_cursor c;
    struct run_message m;
    uint64_t stable, through;
    uint8_t nothing[ENCODER_OVERHEAD_MAX];
    e->valid_from = v->block_count;
    if (v->filters[e->filter].sub_count == 0 || v->block.seq == 0)
        return;
    if (!recent_seek(v->recent, block_begin(v->block.seq), &c)) {
        e->valid_from++;
        return;
    }
    while (recent_next(v->recent, &c, &m, &stable) == RECENT_MESSAGE) {
        if (block_ends(&b, m.message.seq, &through))
            encoder_begin(&e->encoder);
        if (edition_wants(v, edition, m.message.topic))
            (void)encoder_head(&e->encoder, v->catalog, &m, true, nothing);
        block_note(&b, &m.message);
    }
    if (e->encoder.previous != 0)
        edition_match(v, edition);
}

static void end_block(struct views *v, uint64_t through, uint64_t stable, uint64_t time_ns)
{
    while (v->matched != NONE) {
        uint32_t edition = v->matched;
        struct edition *e = &v->editions[edition];
        v->matched = e->next_matched;
        e->matched = false;
        edition_write_end(v, edition, through, stable, time_ns);
    }
    v->block_count++;
    if (v->merge_due)
        editions_merge(v);
}

static bool left_out(const struct views *v, const struct run_message *m)
{
    return (v->o.sabotage & PROXY_SKIPS_A_MATCH) != 0 && m->message.seq % 61 == 0;
}

static void offer(struct views *v, const struct run_message *m, uint64_t stable, bool muted)
{
    uint64_t through;
    uint8_t nothing[ENCODER_OVERHEAD_MAX];
    editions_check_rights(v);
    if (block_ends(&v->block, m->message.seq, &through))
        end_block(v, through, stable, v->block.timestamp_ns);
    block_note(&v->block, &m->message);
    v->counts.lookups++;
    for (uint32_t i = interest_of(v, m->message.topic); i != NONE; i = v->interests[i].up) {
        for (uint32_t k = 0; k < v->interests[i].count; k++) {
            uint32_t edition = v->lists[v->interests[i].first + k];
            struct edition *e = &v->editions[edition];
            if (e->valid_from > v->block_count || left_out(v, m))
                continue;
            v->counts.matches++;
            edition_match(v, edition);
            if (muted || e->joined == 0)
                (void)encoder_head(&e->encoder, v->catalog, m, true, nothing);
            else
                edition_write_message(v, edition, m);
        }
    }
}

void views_message(struct views *v, const struct run_message *m, uint64_t stable)
{
    offer(v, m, stable, false);
}

void views_stable(struct views *v, uint64_t stable)
{
    v->stable = stable;
}

static void all_valid_from(struct views *v, uint64_t block_count)
{
    for (uint32_t e = 1; e < v->edition_end; e++)
        v->editions[e].valid_from = block_count;
}

void views_fork(struct views *v, uint64_t seq)
{
    struct recent_cursor c;
    struct run_message m;
    uint64_t stable;
    for (uint32_t e = 1; e < v->edition_end; e++) {
        assert(v->editions[e].joined == 0);
        encoder_begin(&v->editions[e].encoder);
        v->editions[e].matched = false;
    }
    v->matched = NONE;
    v->block = (struct block) { 0 };
    v->block_count++;
    all_valid_from(v, v->block_count);
    /* Topics, regions and principals may be others now. */
    v->node_version++;
    interests_flush(v);
    editions_fork(v);
    uint64_t last = recent_end(v->recent) - 1;
    if (last > seq)
        last = seq;
    if (last == 0)
        return;
    if (recent_seek(v->recent, block_begin(last), &c)) {
        while (recent_next(v->recent, &c, &m, &stable) == RECENT_MESSAGE)
            offer(v, &m, stable, true);
        return;
    }
    all_valid_from(v, v->block_count + 1);
    v->block.seq = last;
}

/* ---- questions ------------------------------------------------------------------------------- */

uint32_t views_touched(struct views *v)
{
    uint32_t edition = v->touched;
    if (edition == NONE)
        return VIEW_NONE;
    v->touched = v->editions[edition].next_touched;
    v->editions[edition].touched = false;
    return edition;
}

struct block views_block(const struct views *v)
{
    return v->block;
}

uint32_t view_subtrees(const struct views *v, uint32_t view)
{
    return v->filters[v->views[view].filter].sub_count;
}

const struct encoder *view_encoder(const struct views *v, uint32_t view)
{
    const struct edition *e = &v->editions[v->views[view].edition];
    return e->valid_from <= v->block_count ? &e->encoder : NULL;
}

void view_know(struct views *v, uint32_t view, const struct encoder *known)
{
    uint32_t edition = v->views[view].edition;
    struct edition *e = &v->editions[edition];
    assert(e->valid_from > v->block_count && e->joined == 0 && !v->block.ended);
    e->encoder = *known;
    e->valid_from = v->block_count;
    if (known->previous != 0)
        edition_match(v, edition);
}

struct views_counts views_counts(const struct views *v)
{
    return v->counts;
}
