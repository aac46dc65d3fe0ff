/* Who may write what: the catalog's access table and limits, and what they mean for its topics and
 * publishers; and who says that it is a proxy. */
#include "proto/catalog_private.h"
#include "proto/sys_edge.h"

const struct access *catalog_access(const struct catalog *c)
{
    return catalog_table_of(c, c->layout.access);
}

const struct limits *catalog_limits(const struct catalog *c)
{
    return catalog_table_of(c, c->layout.limits);
}

const struct presence *catalog_presence(const struct catalog *c)
{
    return &c->presence;
}

uint32_t catalog_topic_region(const struct catalog *c, uint32_t id)
{
    assert(id >= TOPIC_FIRST_USER && id < c->topic_end);
    return ((const uint16_t *)catalog_table_of(c, c->layout.regions))[id];
}

/* ---- publishers ------------------------------------------------------------------------------ */

void catalog_set_principal(struct catalog *c, struct catalog_publisher *p)
{
    uint8_t key[ACCESS_KEY_SIZE];
    p->trusted = p->identity[0] != '@';
    p->principal = access_identity_key(p->identity, key)
                       ? access_principal_of(catalog_access(c), key)
                       : ACCESS_PRINCIPAL_ANYONE;
}

/* Keys become principals when something first names them: rarely. */
static void set_all_principals(struct catalog *c)
{
    struct catalog_publisher *publishers = catalog_table(c, c->layout.publishers);
    for (uint32_t id = 1; id < c->publisher_end; id++)
        if (publishers[id].principal == ACCESS_PRINCIPAL_ANYONE && !publishers[id].trusted)
            catalog_set_principal(c, &publishers[id]);
}

static bool is_trusted(const struct catalog *c, uint32_t publisher)
{
    return publisher == 0 || catalog_publisher(c, publisher)->trusted;
}

static bool is_proxy(const struct catalog *c, uint32_t publisher)
{
    const struct catalog_publisher *p = catalog_publisher(c, publisher);
    return p != NULL && strncmp(p->identity, SYS_EDGE_PROXY, sizeof SYS_EDGE_PROXY - 1) == 0;
}

struct catalog_writer catalog_writer_of(const struct catalog *c, uint32_t publisher)
{
    const struct access *a = catalog_access(c);
    bool known = publisher < c->publisher_end;
    uint32_t principal = !known                     ? ACCESS_PRINCIPAL_ANYONE
                         : is_trusted(c, publisher) ? ACCESS_PRINCIPAL_ADMIN
                                                    : catalog_publisher(c, publisher)->principal;
    return (struct catalog_writer) { .regions = catalog_table_of(c, c->layout.regions),
                                     .row = access_row(a, principal, ACCESS_WRITE),
                                     .topic_count = known ? c->topic_end - TOPIC_FIRST_USER : 0 };
}

enum reject_reason catalog_refuses(const struct catalog *c, uint32_t publisher, uint32_t topic)
{
    const enum reject_reason fine = (enum reject_reason)0;
    if (publisher >= c->publisher_end)
        return REJECT_NOT_PERMITTED;
    if (!catalog_topic_exists(c, topic))
        return REJECT_NO_TOPIC;
    if (publisher == 0)
        return fine;
    if (topic >= TOPIC_FIRST_USER) {
        struct catalog_writer writer = catalog_writer_of(c, publisher);
        return catalog_writer_may(&writer, topic) ? fine : REJECT_NOT_PERMITTED;
    }
    bool trusted = is_trusted(c, publisher);
    switch (topic) {
    case TOPIC_TOPIC:
        return fine;
    case TOPIC_GRANT:
    case TOPIC_GROUP:
    case TOPIC_LIMIT:
        return trusted ? REJECT_NOT_PERMITTED : fine;
    case TOPIC_EDGE:
        return trusted ? fine : REJECT_NOT_PERMITTED;
    default:
        return REJECT_NOT_PERMITTED;
    }
}

static bool may(const struct catalog *c, uint32_t publisher, enum access_right right,
                const char *subtree, size_t length)
{
    uint32_t principal = catalog_publisher(c, publisher)->principal;
    return access_may_subtree(catalog_access(c), principal, (uint8_t)right, subtree, length);
}

/* Below /sys/digest: where replicas say what state they are in. Like any topic of a user's, except
 * that a subscription to everything leaves it out. */
static bool is_state_digest(const char *path, size_t length)
{
    size_t root = sizeof SYS_DIGEST_ROOT - 1;
    return length > root && topic_in_subtree(path, length, SYS_DIGEST_ROOT, root);
}

enum reject_reason catalog_refuses_topic(const struct catalog *c, uint32_t publisher,
                                         const char *path, size_t length)
{
    if (topic_path_check(path, length) != NULL)
        return REJECT_BAD_PATH;
    if (topic_in_subtree(path, length, "/sys", 4) && !is_state_digest(path, length))
        return REJECT_NOT_PERMITTED;
    if (publisher >= c->publisher_end ||
        (!is_trusted(c, publisher) && !may(c, publisher, ACCESS_WRITE, path, length)))
        return REJECT_NOT_PERMITTED;
    if (catalog_topic_find(c, path, length) != 0)
        return (enum reject_reason)0;
    if (c->topic_end == c->options.topics_max || length >= c->layout.path_bytes_max - c->path_bytes)
        return REJECT_FULL;
    return (enum reject_reason)0;
}

/* ---- records --------------------------------------------------------------------------------- */

/* One of the three, decoded. */
struct change {
    struct sys_grant grant;
    struct sys_group group;
    struct sys_limit limit;
};

static struct access_grant grant_of(const struct sys_grant *g)
{
    return (struct access_grant) { .whom = g->whom, .rights = g->rights, .subtree = g->subtree };
}

static enum reject_reason of_access(enum access_verdict verdict)
{
    switch (verdict) {
    case ACCESS_OK:
    case ACCESS_UNCHANGED:
        break;
    case ACCESS_MALFORMED:
        return REJECT_MALFORMED;
    case ACCESS_FULL:
        return REJECT_FULL;
    }
    return (enum reject_reason)0;
}

static enum reject_reason refuses_grant(const struct catalog *c, uint32_t publisher,
                                        const struct sys_grant *g)
{
    if (!may(c, publisher, ACCESS_GRANT, g->subtree, strlen(g->subtree)))
        return REJECT_NOT_PERMITTED;
    struct access_grant grant = grant_of(g);
    return of_access(access_refuses_grant(catalog_access(c), &grant, g->revoke));
}

static enum reject_reason refuses_group(const struct catalog *c, uint32_t publisher,
                                        const struct sys_group *g)
{
    if (!may(c, publisher, ACCESS_GRANT, "/", 1))
        return REJECT_NOT_PERMITTED;
    return of_access(access_refuses_member(catalog_access(c), g->group, g->key, g->remove));
}

static enum reject_reason refuses_limit(const struct catalog *c, uint32_t publisher,
                                        const struct sys_limit *l)
{
    if (!may(c, publisher, ACCESS_GRANT, "/", 1))
        return REJECT_NOT_PERMITTED;
    bool full = limits_refuse(catalog_limits(c), &l->whom, &l->limit, l->remove) == LIMIT_FULL;
    return full ? REJECT_FULL : (enum reject_reason)0;
}

static bool decode(uint32_t topic, const uint8_t *payload, size_t length, struct change *out)
{
    return topic == TOPIC_GRANT   ? sys_grant_decode(payload, length, &out->grant)
           : topic == TOPIC_GROUP ? sys_group_decode(payload, length, &out->group)
                                  : sys_limit_decode(payload, length, &out->limit);
}

/* The right comes before the form: whoever may not write there at all learns nothing else. */
static enum reject_reason refuses_change(const struct catalog *c, uint32_t publisher,
                                         uint32_t topic, const uint8_t *payload, size_t length,
                                         struct change *out)
{
    enum reject_reason reason = catalog_refuses(c, publisher, topic);
    if (publisher == 0)
        return REJECT_NOT_PERMITTED;
    if (reason != 0)
        return reason;
    if (!decode(topic, payload, length, out))
        return REJECT_MALFORMED;
    return topic == TOPIC_GRANT   ? refuses_grant(c, publisher, &out->grant)
           : topic == TOPIC_GROUP ? refuses_group(c, publisher, &out->group)
                                  : refuses_limit(c, publisher, &out->limit);
}

/* Of what proxies write down the catalog reads only this. One that is too many is passed over, not rejected: it may
 * count later. */
static enum reject_reason refuses_presence(const struct catalog *c, uint32_t publisher,
                                           const uint8_t *payload, size_t length)
{
    struct sys_edge e;
    if (!sys_edge_is_presence(payload, length))
        return (enum reject_reason)0;
    if (!is_proxy(c, publisher))
        return REJECT_NOT_PERMITTED;
    return sys_edge_decode(payload, length, &e) ? (enum reject_reason)0 : REJECT_MALFORMED;
}

enum reject_reason catalog_refuses_sys(const struct catalog *c, uint32_t publisher, uint32_t topic,
                                       const uint8_t *payload, size_t length)
{
    struct change change;
    switch (topic) {
    case TOPIC_TOPIC:
        return catalog_refuses_topic(c, publisher, (const char *)payload, length);
    case TOPIC_GRANT:
    case TOPIC_GROUP:
    case TOPIC_LIMIT:
        return refuses_change(c, publisher, topic, payload, length, &change);
    case TOPIC_EDGE:
        return refuses_presence(c, publisher, payload, length);
    default:
        return (enum reject_reason)0;
    }
}

/* The topics of the region around it that lie in the one that begins. */
static void move_topics(struct catalog *c, uint32_t region, const char *subtree)
{
    uint16_t *regions = catalog_table(c, c->layout.regions);
    uint32_t around = access_region_parent(catalog_access(c), region);
    for (uint32_t id = TOPIC_FIRST_USER; id < c->topic_end; id++) {
        size_t length;
        const char *path = catalog_topic_path(c, id, &length);
        if (regions[id] == around && topic_in_subtree(path, length, subtree, strlen(subtree)))
            regions[id] = (uint16_t)region;
    }
}

static void apply_change(struct catalog *c, uint32_t topic, const struct change *change)
{
    struct access *a = catalog_access_table(c);
    uint32_t begun = 0, principals = access_principal_end(a);
    if (topic == TOPIC_GRANT) {
        struct access_grant grant = grant_of(&change->grant);
        (void)access_grant(a, &grant, change->grant.revoke, &begun);
        if (begun != 0)
            move_topics(c, begun, grant.subtree);
    } else if (topic == TOPIC_GROUP) {
        const struct sys_group *g = &change->group;
        (void)access_member(a, g->group, g->key, g->remove);
    } else {
        const struct sys_limit *l = &change->limit;
        (void)limits_set(catalog_limits_table(c), &l->whom, &l->limit, l->remove);
    }
    if (access_principal_end(a) != principals)
        set_all_principals(c);
}

enum catalog_verdict catalog_apply_access(struct catalog *c, const struct message *m)
{
    struct change change;
    enum reject_reason reason =
        refuses_change(c, m->publisher, m->topic, m->payload, m->length, &change);
    if (reason == REJECT_FULL)
        return CATALOG_FULL;
    if (reason != 0)
        return CATALOG_MALFORMED;
    apply_change(c, m->topic, &change);
    return CATALOG_OK;
}

enum catalog_verdict catalog_apply_presence(struct catalog *c, const struct message *m,
                                            const struct batch_header *batch)
{
    struct sys_edge e;
    if (!sys_edge_is_presence(m->payload, m->length))
        return CATALOG_IGNORED;
    if (!is_proxy(c, m->publisher) || !sys_edge_decode(m->payload, m->length, &e))
        return CATALOG_MALFORMED;
    uint64_t now_ns = batch->timestamp_ns, until_ns = now_ns + e.lasts_ms * UINT64_C(1000000);
    return presence_set(&c->presence, m->publisher, now_ns, until_ns) ? CATALOG_OK
                                                                      : CATALOG_IGNORED;
}
