/* The set of subtrees: what is wanted, what was asked for, and the CHANGE between them. */
#include <string.h>

#include "libclient/edge_private.h"

bool edge_add_subtree(struct edge *e, const char *subtree)
{
    size_t length = strlen(subtree), used = e->subtrees.length;
    if (e->subtrees.count == EDGE_SUBTREES_MAX || length > TOPIC_PATH_MAX ||
        EDGE_SUBTREE_BYTES_MAX - used < 1 + length)
        return false;
    e->subtree_bytes[used] = (uint8_t)length;
    memcpy(e->subtree_bytes + used + 1, subtree, length);
    e->subtrees.length += 1 + length;
    e->subtrees.count++;
    return true;
}

void edge_clear_subtrees(struct edge *e)
{
    e->subtrees.count = 0;
    e->subtrees.length = 0;
}

void edge_change(struct edge *e, uint32_t change)
{
    e->change = change;
    e->wants_change = true;
}

void edge_reroute(struct edge *e)
{
    struct edge_text *t;
    for (uint32_t at = 0; (t = edge_names_next(&e->names, EDGE_NAME_TOPIC, &at)) != NULL;)
        t->route = e->call.topic(e->call.ctx, t->text, t->length);
}

void edge_asked_all(struct edge *e)
{
    memcpy(e->asked_bytes, e->subtree_bytes, e->subtrees.length);
    e->asked.count = e->subtrees.count;
    e->asked.length = e->subtrees.length;
    e->asked_change = e->change;
    e->wants_change = false;
}

static bool has(struct edge_subtrees set, const char *subtree, size_t length)
{
    const char *other;
    size_t other_length;
    while (edge_subtree_next(&set, &other, &other_length)) {
        if (other_length == length && memcmp(other, subtree, length) == 0)
            return true;
    }
    return false;
}

/* Those of `from` that are not in `set`, at `to`. */
static struct edge_subtrees without(struct edge_subtrees from, struct edge_subtrees set,
                                    uint8_t *to)
{
    struct edge_subtrees left = { .at = to };
    const char *subtree;
    size_t length;
    while (edge_subtree_next(&from, &subtree, &length)) {
        if (has(set, subtree, length))
            continue;
        to[left.length] = (uint8_t)length;
        memcpy(to + left.length + 1, subtree, length);
        left.length += 1 + length;
        left.count++;
    }
    return left;
}

void edge_ask_change(struct edge *e)
{
    if (!e->wants_change || !e->subscribed || e->changing)
        return;
    struct edge_change c = { .add = without(e->subtrees, e->asked, e->change_bytes),
                             .remove = without(e->asked, e->subtrees,
                                               e->change_bytes + EDGE_SUBTREE_BYTES_MAX) };
    if (c.add.count > 0 || c.remove.count > 0) {
        size_t length = EDGE_HEADER + 16 + c.add.length + c.remove.length;
        uint8_t *to = edge_frame_room(e, length);
        if (to == NULL)
            return; /* asked for once there is */
        edge_frame_written(e, edge_change_encode(&c, to, length));
        e->changing = true;
        edge_asked_all(e);
        return;
    }
    edge_asked_all(e);
    e->call.changed(e->call.ctx, e->position.seq + 1, e->asked_change);
}

void edge_on_changed(struct edge *e, const uint8_t *body, size_t length)
{
    struct edge_changed c;
    if (!e->changing || !edge_changed_decode(body, length, &c)) {
        edge_violation(e, "its CHANGED is malformed or not asked for");
        return;
    }
    if (c.seq <= e->position.seq) {
        edge_violation(e, "it changes what comes from %llu on, we have everything through %llu",
                       (unsigned long long)c.seq, (unsigned long long)e->position.seq);
        return;
    }
    e->changing = false;
    uint32_t stream = e->stream;
    edge_have_all_through(e, c.seq - 1);
    if (e->stream != stream)
        return; /* ended by a callee */
    edge_begin_behind(e, c.seq - 1);
    e->call.changed(e->call.ctx, c.seq, e->asked_change);
}
