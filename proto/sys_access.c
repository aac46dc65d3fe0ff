#include "proto/sys_access.h"

#include <string.h>

#include "proto/wire.h"

static bool subtree_valid(const char *subtree)
{
    return topic_subtree_check(subtree, strnlen(subtree, TOPIC_PATH_MAX + 1)) == NULL;
}

static void get_key(struct wire_reader *r, uint8_t key[ACCESS_KEY_SIZE])
{
    const uint8_t *bytes = wire_get_bytes(r, ACCESS_KEY_SIZE);
    if (bytes != NULL)
        memcpy(key, bytes, ACCESS_KEY_SIZE);
}

/* ---- grants ---------------------------------------------------------------------------------- */

static bool grant_valid(const struct sys_grant *g)
{
    if (g->rights == 0 || (g->rights & ~ACCESS_RIGHTS) != 0 || !subtree_valid(g->subtree))
        return false;
    return g->whom.who == ACCESS_ANYONE || g->whom.who == ACCESS_KEY ||
           (g->whom.who == ACCESS_GROUP && access_group_valid(g->whom.group));
}

size_t sys_grant_encode(const struct sys_grant *in, uint8_t *out, size_t capacity)
{
    if (!grant_valid(in))
        return 0;
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put8(&w, in->revoke);
    wire_put8(&w, in->rights);
    wire_put8(&w, (uint8_t)in->whom.who);
    if (in->whom.who == ACCESS_KEY)
        wire_put_bytes(&w, in->whom.key, sizeof in->whom.key);
    else if (in->whom.who == ACCESS_GROUP)
        wire_put_string(&w, in->whom.group);
    wire_put_string(&w, in->subtree);
    return wire_written(&w);
}

bool sys_grant_decode(const uint8_t *payload, size_t length, struct sys_grant *out)
{
    struct wire_reader r = wire_reader_of(payload, length);
    memset(out, 0, sizeof *out);
    out->revoke = wire_get_bool(&r);
    out->rights = wire_get8(&r);
    out->whom.who = (enum access_who)wire_get8(&r);
    if (out->whom.who == ACCESS_KEY)
        get_key(&r, out->whom.key);
    else if (out->whom.who == ACCESS_GROUP)
        wire_get_string(&r, out->whom.group, sizeof out->whom.group);
    wire_get_string(&r, out->subtree, sizeof out->subtree);
    return wire_reader_done(&r) && grant_valid(out);
}

/* ---- groups ---------------------------------------------------------------------------------- */

size_t sys_group_encode(const struct sys_group *in, uint8_t *out, size_t capacity)
{
    if (!access_group_valid(in->group))
        return 0;
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put8(&w, in->remove);
    wire_put_string(&w, in->group);
    wire_put_bytes(&w, in->key, sizeof in->key);
    return wire_written(&w);
}

bool sys_group_decode(const uint8_t *payload, size_t length, struct sys_group *out)
{
    struct wire_reader r = wire_reader_of(payload, length);
    memset(out, 0, sizeof *out);
    out->remove = wire_get_bool(&r);
    wire_get_string(&r, out->group, sizeof out->group);
    get_key(&r, out->key);
    return wire_reader_done(&r) && access_group_valid(out->group);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static bool limit_valid(const struct sys_limit *l)
{
    const struct limit *v = &l->limit;
    if (l->remove && (v->messages_per_s | v->bytes_per_s | v->inflight_bytes | v->burst_ms |
                      v->topics | v->subscriptions | v->connections) != 0)
        return false;
    return l->whom.who == LIMIT_EVERYONE || l->whom.who == LIMIT_KEY ||
           (l->whom.who == LIMIT_SUBTREE && subtree_valid(l->whom.subtree));
}

size_t sys_limit_encode(const struct sys_limit *in, uint8_t *out, size_t capacity)
{
    if (!limit_valid(in))
        return 0;
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put8(&w, in->remove);
    wire_put8(&w, (uint8_t)in->whom.who);
    if (in->whom.who == LIMIT_KEY)
        wire_put_bytes(&w, in->whom.key, sizeof in->whom.key);
    else if (in->whom.who == LIMIT_SUBTREE)
        wire_put_string(&w, in->whom.subtree);
    wire_put64(&w, in->limit.messages_per_s);
    wire_put64(&w, in->limit.bytes_per_s);
    wire_put32(&w, in->limit.burst_ms);
    wire_put32(&w, in->limit.topics);
    wire_put32(&w, in->limit.subscriptions);
    wire_put32(&w, in->limit.connections);
    wire_put64(&w, in->limit.inflight_bytes);
    return wire_written(&w);
}

bool sys_limit_decode(const uint8_t *payload, size_t length, struct sys_limit *out)
{
    struct wire_reader r = wire_reader_of(payload, length);
    memset(out, 0, sizeof *out);
    out->remove = wire_get_bool(&r);
    out->whom.who = (enum limit_who)wire_get8(&r);
    if (out->whom.who == LIMIT_KEY)
        get_key(&r, out->whom.key);
    else if (out->whom.who == LIMIT_SUBTREE)
        wire_get_string(&r, out->whom.subtree, sizeof out->whom.subtree);
    out->limit.messages_per_s = wire_get64(&r);
    out->limit.bytes_per_s = wire_get64(&r);
    out->limit.burst_ms = wire_get32(&r);
    out->limit.topics = wire_get32(&r);
    out->limit.subscriptions = wire_get32(&r);
    out->limit.connections = wire_get32(&r);
    out->limit.inflight_bytes = wire_get64(&r);
    return wire_reader_done(&r) && limit_valid(out);
}
