/* Publishers of keys, who write where they may and where they may not, in runs too, and give and take
 * rights meanwhile; and an operator with the administrator's key, who does the same to them. They speak
 * the protocol themselves, since the library asks its own catalog first. What a number says is a
 * function of the number, so that its bytes never change. */
#include <stdio.h>
#include <string.h>

#include "proto/proposal.h"
#include "proto/signal.h"
#include "proto/sys_access.h"
#include "sim/sim_private.h"

enum {
    OPERATOR = 1,
    ITEMS_MAX = 8,
    RECORDS_BELOW = 160,
    OPERATIONS = 240,
    MAGIC_GRANT = 0x74617267
};

static const char *const topics[] = { "/w", "/w/a", "/w/a/c", "/w/b", "/v" };
static const char *const edge_topics[] = { "/edge/a", "/edge/a/x", "/edge/b", "/edge/c" };
static const char *const subtrees[] = { "/w", "/w/a", "/w/a/c", "/v", "/" };
enum { TOPICS = sizeof topics / sizeof topics[0], SUBTREES = sizeof subtrees / sizeof subtrees[0] };
enum { EDGE_TOPICS = sizeof edge_topics / sizeof edge_topics[0] };

/* Rights of the edge's clients (sim_edge.c) that stay, first; and at the end those that came and went stay. */
static const struct edge_right {
    uint32_t key; /* SIM_EDGE_NOBODY: for anyone */
    uint8_t rights;
    const char *subtree;
} edge_begins[] = {
    { 1, ACCESS_READ | ACCESS_WRITE, "/" },
    { 2, ACCESS_READ | ACCESS_WRITE, "/edge/feed" },
    { 3, ACCESS_READ | ACCESS_WRITE, "/items" },
    { SIM_EDGE_NOBODY, ACCESS_READ, "/edge/c" },
    { 5, ACCESS_READ | ACCESS_WRITE, "/edge/a" },
}, edge_ends[] = {
    { 4, ACCESS_READ, "/edge/b" },
    { 4, ACCESS_READ, "/v" },
    { 5, ACCESS_READ | ACCESS_WRITE, "/edge" },
};
/* Whose rates are limited at times. */
static const struct {
    uint32_t key; /* SIM_EDGE_NOBODY: each that has no limit of its own */
    const char *subtree;
} limited[] = {
    { .key = SIM_EDGE_NOBODY },
    { .key = 2 },
    { .key = 3 },
    { .key = 5 },
    { .subtree = "/edge" },
    { .subtree = "/items" },
    { .subtree = "/edge/a" },
};
enum {
    LIMITED = sizeof limited / sizeof limited[0],
    EDGE_BEGINS = sizeof edge_begins / sizeof edge_begins[0],
    EDGE_ENDS = sizeof edge_ends / sizeof edge_ends[0],
    EDGE_OPERATIONS = 90
};

/* ---- content --------------------------------------------------------------------------------- */

static uint64_t drawn(uint32_t role, uint64_t number)
{
    uint64_t x = (number * 8 + role) * UINT64_C(0x9e3779b97f4a7c15);
    x ^= x >> 31;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    return x ^ x >> 29;
}

/* The administrator's key is the genesis': zeros. */
void sim_grant_identity(uint32_t role, char out[IDENTITY_MAX + 1])
{
    bool admin = role == OPERATOR || role == SIM_GRANT_EDGE;
    uint8_t key[ACCESS_KEY_SIZE] = { (uint8_t)(admin ? 0 : role) };
    out[0] = '@';
    access_key_write(key, out + 1);
    memcpy(out + 1 + ACCESS_KEY_TEXT,
           role == SIM_GRANT_EDGE ? ":edge"
           : admin                ? ":oper"
                                  : ":team",
           6);
}

static bool begins_pair(uint32_t role, uint64_t number)
{
    return role != OPERATOR && role != SIM_GRANT_EDGE && number % 2 == 1 &&
           drawn(role, number) % 8 == 0;
}

static bool ends_pair(uint32_t role, uint64_t number)
{
    return number % 2 == 0 && begins_pair(role, number - 1);
}

static struct access_whom whom_of(uint64_t d)
{
    struct access_whom whom = { .who = ACCESS_KEY };
    whom.key[0] = (uint8_t)(2 + d % 2);
    if (d % 8 == 6)
        whom.who = ACCESS_ANYONE;
    if (d % 8 == 7) {
        whom.who = ACCESS_GROUP;
        memcpy(whom.group, "team", 5);
    }
    return whom;
}

static size_t grant_payload(uint32_t role, uint64_t number, uint8_t *out, size_t capacity)
{
    uint64_t d = drawn(role, number) >> 8;
    struct sys_grant g = { .revoke = (d & 1) != 0,
                           .rights = ACCESS_WRITE,
                           .whom = whom_of(d >> 8) };
    const char *subtree = subtrees[(d >> 16) % SUBTREES];
    if (role == OPERATOR && (number <= 2 || (d >> 24) % 3 == 0)) {
        g = (struct sys_grant) { .revoke = number > 2 && (d >> 32) % 4 == 0,
                                 .rights = ACCESS_GRANT | ACCESS_WRITE,
                                 .whom = { .who = ACCESS_KEY } };
        g.whom.key[0] = (uint8_t)(2 + number % 2);
        subtree = "/w";
    }
    memcpy(g.subtree, subtree, strlen(subtree) + 1);
    return sys_grant_encode(&g, out, capacity);
}

static size_t group_payload(uint32_t role, uint64_t number, uint8_t *out, size_t capacity)
{
    uint64_t d = drawn(role, number) >> 8;
    struct sys_group g = { .remove = (d & 1) != 0, .group = "team" };
    g.key[0] = (uint8_t)(2 + (d >> 8) % 2);
    return sys_group_encode(&g, out, capacity);
}

static size_t edge_payload(const struct edge_right *right, bool revoke, uint8_t *out,
                           size_t capacity)
{
    struct sys_grant g = { .revoke = revoke,
                           .rights = right->rights,
                           .whom = { .who = ACCESS_KEY } };
    if (right->key == SIM_EDGE_NOBODY)
        g.whom.who = ACCESS_ANYONE;
    else
        memcpy(g.whom.key, sim_edge_key(right->key)->public_key, sizeof g.whom.key);
    memcpy(g.subtree, right->subtree, strlen(right->subtree) + 1);
    return sys_grant_encode(&g, out, capacity);
}

static void write_limited(uint32_t which, struct limit_whom *whom)
{
    whom->who = limited[which].subtree != NULL          ? LIMIT_SUBTREE
                : limited[which].key == SIM_EDGE_NOBODY ? LIMIT_EVERYONE
                                                        : LIMIT_KEY;
    if (whom->who == LIMIT_SUBTREE)
        memcpy(whom->subtree, limited[which].subtree, strlen(limited[which].subtree) + 1);
    if (whom->who == LIMIT_KEY)
        memcpy(whom->key, sim_edge_key(limited[which].key)->public_key, sizeof whom->key);
}

/* At the end none is left. */
static bool limit_payload(const struct sim *s, uint64_t number, uint8_t *out, size_t capacity,
                          size_t *length)
{
    static const uint64_t rates[] = { 40, 200, 1000, 5000 }, bytes[] = { 0, 0, 10000, 200000 };
    uint64_t d = drawn(SIM_GRANT_EDGE, number), left = EDGE_OPERATIONS - EDGE_ENDS - number;
    struct sys_limit l = { .remove = number + LIMITED > EDGE_OPERATIONS - EDGE_ENDS };
    if ((s->edge_extras & SIM_EDGE_LIMITS) == 0 || number <= EDGE_BEGINS ||
        number > EDGE_OPERATIONS - EDGE_ENDS || (!l.remove && d % 8 != 4 && d % 8 != 5))
        return false;
    write_limited((uint32_t)(l.remove ? left : (d >> 8) % LIMITED), &l.whom);
    if (!l.remove)
        l.limit = (struct limit) { .messages_per_s = rates[(d >> 16) % 4],
                                   .bytes_per_s = bytes[(d >> 20) % 4],
                                   .burst_ms = (uint32_t)(d >> 24) % 30 };
    *length = sys_limit_encode(&l, out, capacity);
    return true;
}

/* Rights of the edge's clients, and limits, and between them words that they may read or not. */
static size_t edge_content(const struct sim *s, uint64_t number, uint32_t *topic, uint8_t *out,
                           size_t capacity)
{
    size_t length;
    static const struct edge_right come_and_go[] = {
        { 4, ACCESS_READ, "/edge/a" },
        { 4, ACCESS_READ, "/edge/a/x" },
        { 4, ACCESS_READ, "/edge" },
        { 4, ACCESS_READ, "/edge/b" },
        { 4, ACCESS_READ, "/v" },
        { 5, ACCESS_WRITE, "/edge/a" },
        { 5, ACCESS_WRITE, "/edge" },
        { 5, ACCESS_READ, "/edge/a" },
        { SIM_EDGE_NOBODY, ACCESS_READ, "/edge/b" },
        { SIM_EDGE_NOBODY, ACCESS_READ, "/edge/a/x" },
    };
    uint64_t d = drawn(SIM_GRANT_EDGE, number);
    *topic = TOPIC_GRANT;
    if (number <= EDGE_BEGINS)
        return edge_payload(&edge_begins[number - 1], false, out, capacity);
    if (limit_payload(s, number, out, capacity, &length)) {
        *topic = TOPIC_LIMIT;
        return length;
    }
    if (number > EDGE_OPERATIONS - EDGE_ENDS && number <= EDGE_OPERATIONS)
        return edge_payload(&edge_ends[EDGE_OPERATIONS - number], false, out, capacity);
    if (d % 8 == 0) {
        struct sys_group g = { .remove = (d >> 8 & 1) != 0, .group = "team" };
        memcpy(g.key, sim_edge_key(4 + (uint32_t)(d >> 16 & 1))->public_key, sizeof g.key);
        *topic = TOPIC_GROUP;
        return sys_group_encode(&g, out, capacity);
    }
    if (d % 8 <= 3 && number <= EDGE_OPERATIONS)
        return edge_payload(&come_and_go[(d >> 16) % (sizeof come_and_go / sizeof come_and_go[0])],
                            (d >> 8 & 1) != 0, out, capacity);
    *topic = TOPIC_FIRST_USER + (uint32_t)(d >> 16) % EDGE_TOPICS;
    memset(out, (int)d, SIM_ITEM_HEADER);
    wire_store32(out, MAGIC_GRANT);
    return SIM_ITEM_HEADER;
}

/* What this number says: on a fixed topic a record, else the index of a topic in *topic. */
static size_t content(const struct sim *s, uint32_t role, uint64_t number, uint32_t *topic,
                      uint8_t *out, size_t capacity)
{
    if (role == SIM_GRANT_EDGE)
        return edge_content(s, number, topic, out, capacity);
    uint64_t d = drawn(role, number);
    bool pair = begins_pair(role, number) || ends_pair(role, number);
    bool record = role == OPERATOR || (!pair && number < RECORDS_BELOW && d % 4 == 1);
    if (record && (d >> 40) % 5 == 0 && number > 2) {
        *topic = TOPIC_GROUP;
        return group_payload(role, number, out, capacity);
    }
    if (record) {
        *topic = TOPIC_GRANT;
        return grant_payload(role, number, out, capacity);
    }
    *topic = TOPIC_FIRST_USER + (uint32_t)(d >> 16) % TOPICS;
    memset(out, (int)d, SIM_ITEM_HEADER);
    wire_store32(out, MAGIC_GRANT);
    return SIM_ITEM_HEADER;
}

/* ---- the publisher --------------------------------------------------------------------------- */

static void send(struct sim_node *n, const uint8_t *bytes, size_t length)
{
    port_send(&n->port.port, PORT_INGRESS, (struct port_addr) { 0, 0 }, bytes, (uint32_t)length);
}

static void ask_join(const struct sim *s, struct sim_node *n, uint32_t incarnation)
{
    struct join j = { .nonce = n->client->nonce, .wanted = incarnation + 1 };
    memcpy(j.identity, n->client->identity, sizeof j.identity);
    uint8_t *out = port_scratch(&n->port.port, SIGNAL_SIZE_MAX);
    send(n, out, join_encode(&j, s->stream, out, SIGNAL_SIZE_MAX));
}

static void ask_topic(const struct sim *s, struct sim_node *n, uint32_t publisher, const char *path)
{
    struct create c = { .nonce = n->client->nonce, .publisher = publisher };
    memcpy(c.path, path, strlen(path) + 1);
    uint8_t *out = port_scratch(&n->port.port, SIGNAL_SIZE_MAX);
    send(n, out, create_encode(&c, s->stream, out, SIGNAL_SIZE_MAX));
}

/* The ids of all topics; asks for one that is missing, of which only the operator always may. */
static bool find_topics(const struct sim *s, struct sim_node *n, uint32_t publisher,
                        uint32_t ids[TOPICS])
{
    const struct catalog *catalog = client_core_catalog(n->core);
    bool edge = n->client->grant_role == SIM_GRANT_EDGE;
    const char *const *paths = edge ? edge_topics : topics;
    for (uint32_t i = 0; i < (uint32_t)(edge ? EDGE_TOPICS : TOPICS); i++) {
        ids[i] = catalog_topic_find(catalog, paths[i], strlen(paths[i]));
        if (ids[i] != 0)
            continue;
        ask_topic(s, n, publisher, paths[i]);
        return false;
    }
    return true;
}

/* Some numbers in one datagram, which does not end inside a pair. */
static uint64_t propose(const struct sim *s, struct sim_node *n, const uint32_t ids[TOPICS],
                        struct proposal_header header, uint32_t count)
{
    uint32_t role = n->client->grant_role;
    uint64_t number = header.first_publisher_seq, end = number + count;
    static _Thread_local uint8_t datagrams[SIM_GRANT_EDGE + 1]
                                          [SIM_DATAGRAM_MAX]; /* until the flush */
    uint8_t *out = datagrams[role];
    struct proposal_builder b;
    proposal_open(&b, out, SIM_DATAGRAM_MAX);
    for (; number < end || ends_pair(role, number); number++) {
        uint8_t payload[SYS_ACCESS_SIZE_MAX];
        struct proposal_entry e = { .payload = payload,
                                    .flags = begins_pair(role, number) ? MESSAGE_MORE : 0 };
        e.length = (uint32_t)content(s, role, number, &e.topic, payload, sizeof payload);
        if (e.topic >= TOPIC_FIRST_USER)
            e.topic = ids[e.topic - TOPIC_FIRST_USER];
        assert(e.length > 0 && proposal_fits(&b, &e));
        proposal_add(&b, &e);
    }
    header.count = b.count;
    send(n, out, proposal_close(&b, s->stream, &header));
    return number - 1;
}

void sim_grant_work(struct sim *s, struct sim_node *n)
{
    struct sim_client *c = n->client;
    const struct catalog *catalog = client_core_catalog(n->core);
    struct position position = follower_tail(client_core_follower(n->core));
    uint32_t branch = sim_history_branch(&s->history, position.epoch), ids[TOPICS];
    if (branch == SIM_NONE || client_core_seq(n->core) != position.seq)
        return;
    uint32_t id = catalog_publisher_find(catalog, c->identity);
    const struct catalog_publisher *p = id != 0 ? catalog_publisher(catalog, id) : NULL;
    if (p == NULL || p->nonce != c->nonce) {
        ask_join(s, n, p != NULL ? p->incarnation : 0);
        return;
    }
    if (!find_topics(s, n, id, ids))
        return;
    const struct sim_tally *t = &s->history.branches[branch].tally;
    uint64_t next = t->next[id];
    bool enough = s->quiet || (c->grant_role == OPERATOR && next > OPERATIONS);
    if (c->grant_role == SIM_GRANT_EDGE) /* to its end, but not all at once */
        enough = next > EDGE_OPERATIONS ||
                 (next > EDGE_BEGINS && !s->healed && sim_random_below(&s->random, 6) != 0);
    /* Limits are there until everything heals. */
    uint64_t last_limit = EDGE_OPERATIONS - EDGE_ENDS - LIMITED;
    bool waits =
        c->grant_role == SIM_GRANT_EDGE && (s->edge_extras & SIM_EDGE_LIMITS) != 0 && !s->healed;
    enough = enough || (waits && next > last_limit);
    if (t->run_publisher != 0 || (enough && next > c->proposed))
        return;
    struct proposal_header header = { .position = position,
                                      .first_publisher_seq = next,
                                      .publisher = id,
                                      .incarnation = p->incarnation };
    uint32_t count = (uint32_t)sim_random_between(&s->random, 1, ITEMS_MAX - 1);
    if (c->grant_role == SIM_GRANT_EDGE && next <= EDGE_OPERATIONS &&
        count > EDGE_OPERATIONS + 1 - next)
        count = (uint32_t)(EDGE_OPERATIONS + 1 - next);
    if (waits && next <= last_limit && count > last_limit + 1 - next)
        count = (uint32_t)(last_limit + 1 - next);
    uint64_t last = propose(s, n, ids, header, count);
    if (c->proposed < last)
        c->proposed = last;
}

/* Where it takes itself to have joined, which may be a history that ends: its id is another's then. */
static bool has_joined(const struct sim_history *h, const struct sim_node *n, uint32_t id,
                       uint64_t join_seq)
{
    const struct sim_entry *e = sim_history_at(h, h->stable_branch, join_seq);
    struct sys_join j;
    return join_seq <= h->stable_seq && e != NULL && e->topic == TOPIC_JOIN &&
           sys_join_decode(e->payload, e->length, &j) && j.publisher == id &&
           strcmp(j.identity, n->client->identity) == 0;
}

/* The last of its numbers that is stable. */
static uint64_t said(const struct sim *s, const struct sim_node *n)
{
    const struct sim_history *h = &s->history;
    if (n->core == NULL)
        return 0;
    const struct catalog *catalog = client_core_catalog(n->core);
    uint32_t id = catalog_publisher_find(catalog, n->client->identity);
    if (id == 0 || !has_joined(h, n, id, catalog_publisher(catalog, id)->join_seq))
        return 0;
    for (uint64_t seq = h->stable_seq; seq > 0; seq--) {
        const struct sim_entry *e = sim_history_at(h, h->stable_branch, seq);
        if (e->publisher == id)
            return e->publisher_seq;
    }
    return 0;
}

bool sim_grant_edge_begun(const struct sim *s, const struct sim_node *n)
{
    return said(s, n) >= EDGE_BEGINS;
}

bool sim_grant_edge_over(const struct sim *s, const struct sim_node *n)
{
    return said(s, n) >= EDGE_OPERATIONS;
}
