/* The client core through a proxy: which subtrees it is asked for. */
#include "libclient/core_private.h"

/* What is inside of another one is not asked for again; "/" leaves out /sys. */
static bool is_inside(const char *inner, const char *outer)
{
    if (strcmp(outer, "/") == 0)
        return strcmp(inner, "/") == 0 || !topic_in_subtree(inner, strlen(inner), "/sys", 4);
    return topic_in_subtree(inner, strlen(inner), outer, strlen(outer));
}

static const char *subtree_at(const struct client_core *c, uint32_t index)
{
    for (uint32_t i = 0; i < c->machine_count; i++) {
        uint32_t count = machine_subtree_count(c->machines[i].machine);
        if (index < count)
            return machine_subtree(c->machines[i].machine, index);
        index -= count;
    }
    return index < c->subscription_count ? c->subscriptions[index].subtree : NULL;
}

static bool is_covered(const struct client_core *c, uint32_t index)
{
    const char *other;
    for (uint32_t i = 0; (other = subtree_at(c, i)) != NULL; i++) {
        const char *it = subtree_at(c, index);
        if (it[0] == '\0')
            return true; /* nobody's */
        if (i != index && other[0] != '\0' && is_inside(it, other) &&
            (i < index || !is_inside(other, it)))
            return true;
    }
    return false;
}

static void ask_for_subtrees(struct client_core *c)
{
    const char *subtree;
    for (uint32_t i = 0; (subtree = subtree_at(c, i)) != NULL; i++) {
        if (is_covered(c, i) || edge_add_subtree(c->edge, subtree))
            continue;
        core_fail(c, CANTUS_ERROR, "too many subtrees: a proxy takes at most %d, of %d bytes",
                  EDGE_SUBTREES_MAX, EDGE_SUBTREE_BYTES_MAX);
        return;
    }
}

void core_edge_resubscribe(struct client_core *c)
{
    c->resubscribe = false;
    c->route_count = 1;
    edge_reroute(c->edge);
    edge_clear_subtrees(c->edge);
    ask_for_subtrees(c);
    edge_change(c->edge, c->change);
}

void core_edge_start(struct client_core *c)
{
    ask_for_subtrees(c);
    edge_set_mark(c->edge, c->options.until_seq);
    if (c->options.from == CANTUS_FROM_TIP)
        edge_set_from(c->edge, EDGE_FROM_TIP, 0);
    else if (c->options.from == CANTUS_FROM_TIME)
        edge_set_from(c->edge, EDGE_FROM_TIME, c->options.from_ns);
    for (uint32_t i = 0; i < c->machine_count; i++) {
        if (machine_has_timers(c->machines[i].machine))
            edge_set_tick(c->edge, 1); /* each of the stream's may be what a timer waits for */
    }
}
