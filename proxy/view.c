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

/* Of one chain each view has at most one entry. */
static uint32_t lists_of(const struct views_options *o)
{
    return 16 * o->views_max + o->subtrees_max + extra_of(o);
}

size_t views_memory(const struct views_options *o)
{
    return sizeof(struct views) + (o->views_max + 1) * sizeof(struct view) +
           (o->subtrees_max + 1) * (sizeof(struct node) + sizeof(struct sub)) +
           (interests_of(o) + 1) * sizeof(struct interest) +
           (chunks_of(o) + 1) * (sizeof(struct chunk) + (size_t)VIEW_CHUNK_BYTES) +
           (slots_for(o->views_max) + 2 * (size_t)slots_for(o->subtrees_max) +
            2 * (size_t)slots_for(interests_of(o)) + lists_of(o)) *
               sizeof(uint32_t) +
           o->topics_max * sizeof(struct topic_place);
}

struct views *views_create(const struct views_options *o, const struct catalog *catalog,
                           const struct recent *recent, view_losing *losing, void *ctx)
{
    struct views *v = calloc(1, sizeof *v);
    if (v == NULL)
        return NULL;
    v->o = *o;
    v->catalog = catalog;
    v->recent = recent;
    v->losing = losing;
    v->losing_ctx = ctx;
    v->view_mask = slots_for(o->views_max) - 1;
    v->node_mask = v->sub_mask = slots_for(o->subtrees_max) - 1;
    v->interest_max = interests_of(o);
    v->interest_mask = 2 * slots_for(v->interest_max) - 1;
    v->list_max = lists_of(o);
    v->chunk_max = v->chunks_free = chunks_of(o);
    v->view_end = v->node_end = v->sub_end = v->chunk_end = 1;
    v->version = v->node_version = 1;
    /* What is zero and large is not touched before it is used. */
    v->views = calloc(o->views_max + 1, sizeof v->views[0]);
    v->nodes = calloc(o->subtrees_max + 1, sizeof v->nodes[0]);
    v->subs = calloc(o->subtrees_max + 1, sizeof v->subs[0]);
    v->interests = calloc(v->interest_max + 1, sizeof v->interests[0]);
    v->chunks = calloc(v->chunk_max + 1, sizeof v->chunks[0]);
    v->chunk_bytes = malloc((v->chunk_max + (size_t)1) * VIEW_CHUNK_BYTES);
    v->view_index = calloc(v->view_mask + 1, sizeof v->view_index[0]);
    v->node_index = calloc(v->node_mask + 1, sizeof v->node_index[0]);
    v->sub_index = calloc(v->sub_mask + 1, sizeof v->sub_index[0]);
    v->interest_index = calloc(v->interest_mask + 1, sizeof v->interest_index[0]);
    v->lists = calloc(v->list_max, sizeof v->lists[0]);
    v->topics = calloc(o->topics_max, sizeof v->topics[0]);
    if (v->views != NULL && v->nodes != NULL && v->subs != NULL && v->interests != NULL &&
        v->chunks != NULL && v->chunk_bytes != NULL && v->view_index != NULL &&
        v->node_index != NULL && v->sub_index != NULL && v->interest_index != NULL &&
        v->lists != NULL && v->topics != NULL)
        return v;
    views_destroy(v);
    return NULL;
}

void views_destroy(struct views *v)
{
    if (v == NULL)
        return;
    void *tables[] = { v->views,     v->nodes,          v->subs,       v->interests,
                       v->chunks,    v->chunk_bytes,    v->view_index, v->node_index,
                       v->sub_index, v->interest_index, v->lists,      v->topics };
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        free(tables[i]);
    free(v);
}

/* ---- filters --------------------------------------------------------------------------------- */

/* What contains comes directly before all that it contains. */
static int compare(const void *a, const void *b)
{
    const struct subtree *x = a, *y = b;
    for (size_t i = 0; i < x->length && i < y->length; i++) {
        int p = x->text[i] == '/' ? 0 : (uint8_t)x->text[i];
        int q = y->text[i] == '/' ? 0 : (uint8_t)y->text[i];
        if (p != q)
            return p - q;
    }
    return (x->length > y->length) - (x->length < y->length);
}

static bool contains(const struct subtree *outer, const struct subtree *inner)
{
    return topic_in_subtree(inner->text, inner->length, outer->text, outer->length) &&
           (outer->length > 1 || inner->length == 1 ||
            !topic_in_subtree(inner->text, inner->length, "/sys", 4));
}

/* Into scratch: sorted, without those that lie in another. Returns how many. */
static uint32_t normalize(struct views *v, const struct edge_subtrees *subtrees)
{
    struct edge_subtrees rest = *subtrees;
    struct subtree *all = v->scratch;
    uint32_t count = 0, kept = 0;
    while (count < EDGE_SUBTREES_MAX &&
           edge_subtree_next(&rest, &all[count].text, &all[count].length))
        count++;
    if (count > 1)
        qsort(all, count, sizeof all[0], compare);
    bool everything = count > 0 && all[0].length == 1;
    for (uint32_t i = 0; i < count; i++) {
        if ((kept > 0 && contains(&all[kept - 1], &all[i])) ||
            (kept > 0 && everything && contains(&all[0], &all[i])))
            continue;
        all[kept++] = all[i];
    }
    return kept;
}

static uint64_t filter_hash(const struct views *v, uint32_t principal, uint32_t count)
{
    uint64_t hash = principal;
    for (uint32_t i = 0; i < count; i++)
        hash = hash64(v->scratch[i].text, v->scratch[i].length, hash);
    return hash;
}

static bool same_filter(const struct views *v, const struct view *w, uint32_t principal,
                        uint32_t count)
{
    if (w->principal != principal || w->sub_count != count)
        return false;
    uint32_t s = w->first_sub;
    for (uint32_t i = 0; i < count; i++, s = v->subs[s].next_of_view) {
        const struct node *n = &v->nodes[v->subs[s].node];
        if (n->length != v->scratch[i].length ||
            memcmp(n->path, v->scratch[i].text, n->length) != 0)
            return false;
    }
    return true;
}

/* In front of its view's others. */
static bool add_sub(struct views *v, uint32_t view, const struct subtree *t)
{
    uint32_t s = v->sub_free;
    if (s == NONE && v->sub_end > v->o.subtrees_max)
        return false;
    uint32_t node = node_take(v, t->text, t->length);
    if (node == NONE)
        return false;
    if (s != NONE)
        v->sub_free = v->subs[s].next;
    else
        s = v->sub_end++;
    uint32_t *slot = &v->sub_index[hash_seed(node, view) & v->sub_mask];
    v->subs[s] = (struct sub) { .node = node,
                                .view = view,
                                .next_of_node = v->nodes[node].first_sub,
                                .next_of_view = v->views[view].first_sub,
                                .next = *slot };
    *slot = s;
    v->nodes[node].first_sub = s;
    v->views[view].first_sub = s;
    return true;
}

static void remove_first_sub(struct views *v, uint32_t view)
{
    uint32_t s = v->views[view].first_sub;
    const struct sub *sub = &v->subs[s];
    uint32_t *at = &v->sub_index[hash_seed(sub->node, view) & v->sub_mask];
    while (*at != s)
        at = &v->subs[*at].next;
    *at = sub->next;
    at = &v->nodes[sub->node].first_sub;
    while (*at != s)
        at = &v->subs[*at].next_of_node;
    *at = sub->next_of_node;
    if (v->nodes[sub->node].first_sub == NONE)
        node_release(v, sub->node);
    v->views[view].first_sub = sub->next_of_view;
    v->subs[s].next = v->sub_free;
    v->sub_free = s;
}

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
    while (v->views[view].first_sub != NONE)
        remove_first_sub(v, view);
    v->views[view].next = v->view_free;
    v->views[view].refs = 0;
    v->view_free = view;
    v->counts.views--;
    v->version++;
}

static void note_match(struct views *v, uint32_t view)
{
    struct view *w = &v->views[view];
    v->counts.matches++;
    if (w->matched)
        return;
    w->matched = true;
    w->next_matched = v->matched;
    v->matched = view;
}

/* Offers a new view the block so far, from `recent`. */
static void catch_up(struct views *v, uint32_t view)
{
    struct view *w = &v->views[view];
    struct block b = { 0 };
    struct recent_cursor c;
    struct run_message m;
    uint64_t stable, through;
    uint8_t nothing[ENCODER_OVERHEAD_MAX];
    encoder_begin(&w->encoder);
    w->valid_from = v->block_count;
    if (w->sub_count == 0 || v->block.seq == 0)
        return;
    if (!recent_seek(v->recent, block_begin(v->block.seq), &c)) {
        w->valid_from++;
        return;
    }
    while (recent_next(v->recent, &c, &m, &stable) == RECENT_MESSAGE) {
        if (block_ends(&b, m.message.seq, &through))
            encoder_begin(&w->encoder);
        if (view_wants(v, view, m.message.topic))
            (void)encoder_head(&w->encoder, v->catalog, &m, true, nothing);
        block_note(&b, &m.message);
    }
    if (w->encoder.previous != 0)
        note_match(v, view);
}

/* Of the subtrees in scratch. */
static uint32_t open_view(struct views *v, uint32_t principal, uint32_t count)
{
    if (count == 0)
        principal = ACCESS_PRINCIPAL_ANYONE;
    uint64_t hash = filter_hash(v, principal, count);
    uint32_t *slot = &v->view_index[hash & v->view_mask];
    for (uint32_t view = *slot; view != VIEW_NONE; view = v->views[view].next) {
        if (v->views[view].hash != hash || !same_filter(v, &v->views[view], principal, count))
            continue;
        v->views[view].refs++;
        return view;
    }
    uint32_t view = take_view(v);
    if (view == VIEW_NONE)
        return VIEW_NONE;
    struct view *w = &v->views[view];
    /* It may be in the lists of those that matched or were touched, from a former life. */
    struct view keep = { .matched = w->matched,
                         .next_matched = w->next_matched,
                         .touched = w->touched,
                         .next_touched = w->next_touched };
    size_t head = offsetof(struct view, encoder);
    memcpy(w, &keep, head);
    w->refs = 1;
    w->principal = principal;
    w->hash = hash;
    for (uint32_t i = count; i > 0; i--) {
        if (add_sub(v, view, &v->scratch[i - 1]))
            continue;
        give_back(v, view);
        return VIEW_NONE;
    }
    w->sub_count = count;
    w->next = *slot;
    *slot = view;
    v->version++;
    catch_up(v, view);
    return view;
}

uint32_t views_open(struct views *v, uint32_t principal, const struct edge_subtrees *subtrees)
{
    return open_view(v, principal, normalize(v, subtrees));
}

uint32_t views_open_as(struct views *v, uint32_t principal, uint32_t view)
{
    uint32_t count = 0;
    for (uint32_t s = v->views[view].first_sub; s != NONE; s = v->subs[s].next_of_view) {
        const struct node *n = &v->nodes[v->subs[s].node];
        v->scratch[count++] = (struct subtree) { .text = n->path, .length = n->length };
    }
    return open_view(v, principal, count);
}

bool view_meets(const struct views *v, uint32_t view, const char *subtree, size_t length)
{
    for (uint32_t s = v->views[view].first_sub; s != NONE; s = v->subs[s].next_of_view) {
        const struct node *n = &v->nodes[v->subs[s].node];
        if (topic_in_subtree(n->path, n->length, subtree, length) ||
            topic_in_subtree(subtree, length, n->path, n->length))
            return true;
    }
    return false;
}

void views_close(struct views *v, uint32_t view)
{
    struct view *w = &v->views[view];
    assert(w->refs > 0);
    if (--w->refs > 0)
        return;
    assert(w->joined == 0 && w->first_chunk == NONE);
    uint32_t *at = &v->view_index[w->hash & v->view_mask];
    while (*at != view)
        at = &v->views[*at].next;
    *at = w->next;
    encoder_begin(&w->encoder);
    give_back(v, view);
}

/* ---- the stream ------------------------------------------------------------------------------ */

static void end_block(struct views *v, uint64_t through, uint64_t stable, uint64_t time_ns)
{
    while (v->matched != VIEW_NONE) {
        struct view *w = &v->views[v->matched];
        uint32_t view = v->matched;
        v->matched = w->next_matched;
        w->matched = false;
        view_write_end(v, view, through, stable, time_ns);
    }
    v->block_count++;
}

static bool left_out(const struct views *v, const struct run_message *m)
{
    return (v->o.sabotage & PROXY_SKIPS_A_MATCH) != 0 && m->message.seq % 61 == 0;
}

static void offer(struct views *v, const struct run_message *m, uint64_t stable, bool muted)
{
    uint64_t through;
    uint8_t nothing[ENCODER_OVERHEAD_MAX];
    interests_check_access(v);
    if (block_ends(&v->block, m->message.seq, &through))
        end_block(v, through, stable, v->block.timestamp_ns);
    block_note(&v->block, &m->message);
    v->counts.lookups++;
    for (uint32_t i = interest_of(v, m->message.topic); i != NONE; i = v->interests[i].up) {
        for (uint32_t k = 0; k < v->interests[i].count; k++) {
            uint32_t view = v->lists[v->interests[i].first + k];
            struct view *w = &v->views[view];
            if (w->valid_from > v->block_count || left_out(v, m))
                continue;
            note_match(v, view);
            if (muted || w->joined == 0)
                (void)encoder_head(&w->encoder, v->catalog, m, true, nothing);
            else
                view_write_message(v, view, m);
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

void views_fork(struct views *v, uint64_t seq)
{
    struct recent_cursor c;
    struct run_message m;
    uint64_t stable;
    for (uint32_t view = 1; view < v->view_end; view++) {
        assert(v->views[view].joined == 0);
        encoder_begin(&v->views[view].encoder);
        v->views[view].matched = false;
    }
    v->matched = VIEW_NONE;
    /* Topics, regions and principals may be others now. */
    v->node_version++;
    interests_flush(v);
    v->access_version = access_version(catalog_access(v->catalog));
    v->block = (struct block) { 0 };
    v->block_count++;
    uint64_t last = recent_end(v->recent) - 1;
    if (last > seq)
        last = seq;
    if (last == 0)
        return;
    if (recent_seek(v->recent, block_begin(last), &c)) {
        uint64_t valid_from = v->block_count;
        for (uint32_t view = 1; view < v->view_end; view++)
            v->views[view].valid_from = valid_from;
        while (recent_next(v->recent, &c, &m, &stable) == RECENT_MESSAGE)
            offer(v, &m, stable, true);
        return;
    }
    for (uint32_t view = 1; view < v->view_end; view++)
        v->views[view].valid_from = v->block_count + 1;
    v->block.seq = last;
}

/* ---- questions ------------------------------------------------------------------------------- */

uint32_t views_touched(struct views *v)
{
    uint32_t view = v->touched;
    if (view == VIEW_NONE)
        return VIEW_NONE;
    v->touched = v->views[view].next_touched;
    v->views[view].touched = false;
    return view;
}

struct block views_block(const struct views *v)
{
    return v->block;
}

uint32_t view_subtrees(const struct views *v, uint32_t view)
{
    return v->views[view].sub_count;
}

uint64_t view_end(const struct views *v, uint32_t view)
{
    return v->views[view].end;
}

const struct encoder *view_encoder(const struct views *v, uint32_t view)
{
    const struct view *w = &v->views[view];
    return w->valid_from <= v->block_count ? &w->encoder : NULL;
}

void view_know(struct views *v, uint32_t view, const struct encoder *e)
{
    struct view *w = &v->views[view];
    assert(w->valid_from > v->block_count && w->joined == 0 && !v->block.ended);
    w->encoder = *e;
    w->valid_from = v->block_count;
    if (e->previous != 0)
        note_match(v, view);
}

struct views_counts views_counts(const struct views *v)
{
    return v->counts;
}
