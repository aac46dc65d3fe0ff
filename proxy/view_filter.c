/* Filters: sets of subtrees, each kept once, and the regions of access that they reach into. */
#include "proxy/view_private.h"

/* ---- order ----------------------------------------------------------------------------------- */

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

/* ---- subtrees of a filter -------------------------------------------------------------------- */

static uint64_t hash_of(const struct views *v, uint32_t count)
{
    uint64_t hash = count;
    for (uint32_t i = 0; i < count; i++)
        hash = hash64(v->scratch[i].text, v->scratch[i].length, hash);
    return hash;
}

static bool is_filter(const struct views *v, const struct filter *f, uint32_t count)
{
    if (f->sub_count != count)
        return false;
    uint32_t s = f->first_sub;
    for (uint32_t i = 0; i < count; i++, s = v->subs[s].next_of_filter) {
        const struct node *n = &v->nodes[v->subs[s].node];
        if (n->length != v->scratch[i].length ||
            memcmp(n->path, v->scratch[i].text, n->length) != 0)
            return false;
    }
    return true;
}

/* In front of its filter's others. */
static bool add_sub(struct views *v, uint32_t filter, const struct subtree *t)
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
    uint32_t *slot = &v->sub_index[hash_seed(node, filter) & v->sub_mask];
    v->subs[s] = (struct sub) { .node = node,
                                .filter = filter,
                                .next_of_node = v->nodes[node].first_sub,
                                .next_of_filter = v->filters[filter].first_sub,
                                .next = *slot };
    *slot = s;
    v->nodes[node].first_sub = s;
    v->filters[filter].first_sub = s;
    return true;
}

static void remove_first_sub(struct views *v, uint32_t filter)
{
    uint32_t s = v->filters[filter].first_sub;
    const struct sub *sub = &v->subs[s];
    uint32_t *at = &v->sub_index[hash_seed(sub->node, filter) & v->sub_mask];
    while (*at != s)
        at = &v->subs[*at].next;
    *at = sub->next;
    at = &v->nodes[sub->node].first_sub;
    while (*at != s)
        at = &v->subs[*at].next_of_node;
    *at = sub->next_of_node;
    if (v->nodes[sub->node].first_sub == NONE)
        node_release(v, sub->node);
    v->filters[filter].first_sub = sub->next_of_filter;
    v->subs[s].next = v->sub_free;
    v->sub_free = s;
}

/* ---- filters --------------------------------------------------------------------------------- */

static void give_back(struct views *v, uint32_t filter)
{
    while (v->filters[filter].first_sub != NONE)
        remove_first_sub(v, filter);
    v->filters[filter].next = v->filter_free;
    v->filter_free = filter;
}

uint32_t filter_take(struct views *v, const struct edge_subtrees *subtrees)
{
    uint32_t count = normalize(v, subtrees);
    uint64_t hash = hash_of(v, count);
    uint32_t *slot = &v->filter_index[hash & v->view_mask];
    for (uint32_t f = *slot; f != NONE; f = v->filters[f].next) {
        if (v->filters[f].hash != hash || !is_filter(v, &v->filters[f], count))
            continue;
        v->filters[f].refs++;
        return f;
    }
    uint32_t filter = v->filter_free;
    if (filter != NONE)
        v->filter_free = v->filters[filter].next;
    else if (v->filter_end <= v->o.views_max)
        filter = v->filter_end++;
    else
        return NONE;
    v->filters[filter] = (struct filter) { .refs = 1, .sub_count = count, .hash = hash };
    for (uint32_t i = count; i > 0; i--) {
        if (add_sub(v, filter, &v->scratch[i - 1]))
            continue;
        give_back(v, filter);
        return NONE;
    }
    v->filters[filter].next = *slot;
    *slot = filter;
    return filter;
}

void filter_release(struct views *v, uint32_t filter)
{
    struct filter *f = &v->filters[filter];
    if (--f->refs > 0)
        return;
    uint32_t *at = &v->filter_index[f->hash & v->view_mask];
    while (*at != filter)
        at = &v->filters[*at].next;
    *at = f->next;
    give_back(v, filter);
}

/* ---- regions --------------------------------------------------------------------------------- */

static struct subtree subtree_of(const struct views *v, uint32_t sub)
{
    const struct node *n = &v->nodes[v->subs[sub].node];
    return (struct subtree) { .text = n->path, .length = n->length };
}

static struct subtree region_at(const struct access *a, uint32_t region)
{
    struct subtree r;
    r.text = access_region_path(a, region, &r.length);
    return r;
}

static void set_bit(uint64_t *bits, uint32_t at)
{
    bits[at / 64] |= UINT64_C(1) << at % 64;
}

bool view_meets(const struct views *v, uint32_t view, const char *subtree, size_t length)
{
    uint32_t s = v->filters[v->views[view].filter].first_sub;
    for (; s != NONE; s = v->subs[s].next_of_filter) {
        struct subtree t = subtree_of(v, s);
        if (topic_in_subtree(t.text, t.length, subtree, length) ||
            topic_in_subtree(subtree, length, t.text, t.length))
            return true;
    }
    return false;
}

/* Those from its region_end on that lie in it. True: one of them is around one of its subtrees. */
static bool look_inside(const struct views *v, struct filter *f)
{
    const struct access *a = catalog_access(v->catalog);
    uint32_t end = access_region_end(a);
    bool around = false;
    for (uint32_t r = f->region_end; r < end; r++) {
        struct subtree region = region_at(a, r);
        for (uint32_t s = f->first_sub; s != NONE; s = v->subs[s].next_of_filter) {
            struct subtree t = subtree_of(v, s);
            if (contains(&t, &region))
                set_bit(f->regions, r);
            around = around || topic_in_subtree(t.text, t.length, region.text, region.length);
        }
    }
    f->region_end = end;
    return around;
}

/* What lies in none of the regions inside of a subtree lies in the smallest one around it. */
const uint64_t *filter_regions(struct views *v, uint32_t filter)
{
    const struct access *a = catalog_access(v->catalog);
    struct filter *f = &v->filters[filter];
    assert(access_region_end(a) <= ACCESS_REGIONS_DEFAULT);
    if (f->region_end == access_region_end(a) || (f->region_end != 0 && !look_inside(v, f)))
        return f->regions;
    memset(f->regions, 0, sizeof f->regions);
    f->region_end = 0;
    (void)look_inside(v, f);
    for (uint32_t s = f->first_sub; s != NONE; s = v->subs[s].next_of_filter) {
        struct subtree t = subtree_of(v, s);
        set_bit(f->regions, access_region_of(a, t.text, t.length));
    }
    return f->regions;
}

void filters_forget_regions(struct views *v)
{
    for (uint32_t f = 1; f < v->filter_end; f++) {
        memset(v->filters[f].regions, 0, sizeof v->filters[f].regions);
        v->filters[f].region_end = 0;
    }
}
