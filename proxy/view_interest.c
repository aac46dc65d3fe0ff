#include "proxy/view_private.h"

/* ---- subtrees -------------------------------------------------------------------------------- */

static uint32_t find_hashed(const struct views *v, uint64_t hash, const char *path, size_t length)
{
    uint32_t n = v->node_index[hash & v->node_mask];
    while (n != NONE && (v->nodes[n].hash != hash || v->nodes[n].length != length ||
                         memcmp(v->nodes[n].path, path, length) != 0))
        n = v->nodes[n].next;
    return n;
}

static bool row_has(const struct row *r, uint32_t region)
{
    return (r->bits[region / 64] >> region % 64 & 1) != 0;
}

static uint32_t node_find(const struct views *v, const char *path, size_t length)
{
    return find_hashed(v, hash64(path, length, 0), path, length);
}

uint32_t node_take(struct views *v, const char *path, size_t length)
{
    uint64_t hash = hash64(path, length, 0);
    uint32_t n = find_hashed(v, hash, path, length);
    if (n != NONE)
        return n;
    if (v->node_free != NONE) {
        n = v->node_free;
        v->node_free = v->nodes[n].next;
    } else if (v->node_end <= v->o.subtrees_max) {
        n = v->node_end++;
    } else {
        return NONE;
    }
    struct node *node = &v->nodes[n];
    uint32_t *slot = &v->node_index[hash & v->node_mask];
    node->hash = hash;
    node->first_sub = NONE;
    node->length = (uint16_t)length;
    memcpy(node->path, path, length);
    node->path[length] = 0;
    node->next = *slot;
    *slot = n;
    v->node_version++;
    return n;
}

void node_release(struct views *v, uint32_t node)
{
    uint32_t *at = &v->node_index[v->nodes[node].hash & v->node_mask];
    while (*at != node)
        at = &v->nodes[*at].next;
    *at = v->nodes[node].next;
    v->nodes[node].next = v->node_free;
    v->node_free = node;
    v->node_version++;
}

static bool sub_exists(const struct views *v, uint32_t node, uint32_t filter)
{
    uint32_t s = v->sub_index[hash_seed(node, filter) & v->sub_mask];
    while (s != NONE && (v->subs[s].node != node || v->subs[s].filter != filter))
        s = v->subs[s].next;
    return s != NONE;
}

static bool is_sys(const char *path, size_t length)
{
    return topic_in_subtree(path, length, "/sys", 4);
}

/* The deepest subscribed subtree that contains this path, of `length` bytes or fewer. `/` leaves out what
 * is below /sys. */
static uint32_t deepest_node(const struct views *v, const char *path, size_t length, bool sys)
{
    while (length > 0) {
        uint32_t n = node_find(v, path, length);
        if (n != NONE)
            return n;
        do {
            length--;
        } while (length > 0 && path[length] != '/');
    }
    return sys ? NONE : node_find(v, "/", 1);
}

static uint32_t node_above(const struct views *v, uint32_t node)
{
    const struct node *n = &v->nodes[node];
    size_t length = n->length;
    if (length == 1)
        return NONE;
    do {
        length--;
    } while (length > 0 && n->path[length] != '/');
    return deepest_node(v, n->path, length, is_sys(n->path, n->length));
}

/* ---- interests ------------------------------------------------------------------------------- */

void interests_flush(struct views *v)
{
    memset(v->interest_index, 0, (v->interest_mask + 1) * sizeof v->interest_index[0]);
    v->interest_count = 0;
    v->list_count = 0;
    v->version++;
}

/* False: no room, all are to be forgotten. */
static bool compute(struct views *v, struct interest *i)
{
    i->first = v->list_count;
    i->count = 0;
    v->counts.computed++;
    for (uint32_t s = v->nodes[i->node].first_sub; s != NONE; s = v->subs[s].next_of_node) {
        uint32_t edition = v->filters[v->subs[s].filter].first_edition;
        for (; edition != NONE; edition = v->editions[edition].next_of_filter) {
            v->counts.visited++;
            if (!row_has(&v->editions[edition].row, i->region))
                continue;
            if (v->list_count == v->list_max)
                return false;
            v->lists[v->list_count++] = edition;
            i->count++;
        }
    }
    i->version = v->version;
    return true;
}

/* That of a subtree and a region, as it is now; NONE: no room. */
static uint32_t interest_at(struct views *v, uint32_t node, uint32_t region)
{
    uint32_t slot = (uint32_t)hash_seed(node, region) & v->interest_mask;
    uint32_t n;
    while ((n = v->interest_index[slot]) != NONE &&
           (v->interests[n].node != node || v->interests[n].region != region))
        slot = (slot + 1) & v->interest_mask;
    if (n == NONE) {
        if (v->interest_count == v->interest_max)
            return NONE;
        n = ++v->interest_count;
        v->interest_index[slot] = n;
        v->interests[n] =
            (struct interest) { .node = node, .region = region, .version = v->version - 1 };
    }
    if (v->interests[n].version != v->version && !compute(v, &v->interests[n]))
        return NONE;
    return n;
}

/* The chain from this subtree up; NONE: no room. */
static uint32_t chain_at(struct views *v, uint32_t node, uint32_t region)
{
    uint32_t first = NONE, last = NONE;
    for (; node != NONE; node = node_above(v, node)) {
        uint32_t n = interest_at(v, node, region);
        if (n == NONE)
            return NONE;
        v->interests[n].up = NONE;
        if (last != NONE)
            v->interests[last].up = n;
        else
            first = n;
        last = n;
    }
    return first;
}

static uint32_t region_of(const struct views *v, uint32_t topic, const char *path, size_t length)
{
    return topic >= TOPIC_FIRST_USER ? catalog_topic_region(v->catalog, topic)
                                     : access_region_of(catalog_access(v->catalog), path, length);
}

uint32_t interest_of(struct views *v, uint32_t topic)
{
    if (topic >= v->o.topics_max)
        return NONE;
    struct topic_place *t = &v->topics[topic];
    if (t->version == v->version)
        return t->interest;
    if (!catalog_topic_exists(v->catalog, topic))
        return NONE;
    size_t length;
    const char *path = catalog_topic_path(v->catalog, topic, &length);
    if (t->node_version != v->node_version) {
        t->node = deepest_node(v, path, length, is_sys(path, length));
        t->node_version = v->node_version;
    }
    t->interest = NONE;
    if (t->node != NONE) {
        uint32_t region = region_of(v, topic, path, length);
        t->interest = chain_at(v, t->node, region);
        if (t->interest == NONE) {
            v->counts.flushed++;
            interests_flush(v);
            t->interest = chain_at(v, t->node, region);
            assert(t->interest != NONE); /* one chain has room: each edition is in it once */
        }
    }
    t->version = v->version;
    return t->interest;
}

bool edition_wants(struct views *v, uint32_t edition, uint32_t topic)
{
    const struct edition *e = &v->editions[edition];
    for (uint32_t i = interest_of(v, topic); i != NONE; i = v->interests[i].up)
        if (sub_exists(v, v->interests[i].node, e->filter))
            return row_has(&e->row, v->interests[i].region);
    return false;
}

bool view_wants(struct views *v, uint32_t view, uint32_t topic)
{
    editions_check_rights(v);
    return edition_wants(v, v->views[view].edition, topic);
}
