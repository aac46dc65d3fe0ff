/* Which machines and subscriptions want the messages of a topic: decided once, when the topic
 * appears, so that a message costs one look into a table.
 *
 * The subtrees that hold a path are all above its deepest one, so there are at most as many
 * different routes as subtrees, and one more. */
#include "libclient/core_private.h"

#include <string.h>

static struct client_route *route_at(const struct client_core *c, uint32_t index)
{
    return (struct client_route *)(void *)(c->routes + index * c->route_size);
}

static bool subscribes(const struct client_subscription *s, const char *path, size_t length)
{
    if (s->subtree[0] == '\0')
        return false;
    if (strcmp(s->subtree, "/") == 0)
        return !topic_in_subtree(path, length, "/sys", 4);
    return topic_in_subtree(path, length, s->subtree, strlen(s->subtree));
}

uint16_t core_find_route(struct client_core *c, const char *path, size_t length)
{
    assert(c->route_count < c->routes_max);
    struct client_route *r = route_at(c, c->route_count);
    memset(r, 0, c->route_size);
    for (uint32_t i = 0; i < c->machine_count; i++) {
        r->nodes[i] = machine_wants(c->machines[i].machine, path, length);
        if (r->nodes[i] != 0)
            r->machines |= UINT64_C(1) << i;
    }
    for (uint32_t i = 0; i < c->subscription_count; i++) {
        if (subscribes(&c->subscriptions[i], path, length))
            r->subscriptions |= UINT64_C(1) << i;
    }
    for (uint32_t i = 0; i < c->route_count; i++) {
        if (memcmp(route_at(c, i), r, c->route_size) == 0)
            return (uint16_t)i;
    }
    return (uint16_t)c->route_count++;
}

void core_route_new_topics(struct client_core *c, uint64_t seq)
{
    uint32_t end = catalog_topic_end(c->catalog);
    for (; c->topic_end < end; c->topic_end++) {
        size_t length;
        const char *path = catalog_topic_path(c->catalog, c->topic_end, &length);
        if (path == NULL)
            continue;
        c->route[c->topic_end] = core_find_route(c, path, length);
        c->path[c->topic_end] = path;
        c->created_seq[c->topic_end] = seq;
    }
}

void core_route_reset(struct client_core *c)
{
    for (uint32_t i = 0; i < c->topic_end; i++) {
        c->route[i] = 0;
        c->path[i] = NULL;
        c->created_seq[i] = 0;
    }
    c->topic_end = 1;
    core_route_new_topics(c, 0);
}

void core_reroute(struct client_core *c)
{
    c->route_count = 1;
    for (uint32_t i = 0; i < c->topic_end; i++) {
        if (c->path[i] != NULL)
            c->route[i] = core_find_route(c, c->path[i], strlen(c->path[i]));
    }
}
