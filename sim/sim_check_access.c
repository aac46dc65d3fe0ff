/* Exact permissions: nothing is in the stream that its publisher was not permitted to write at its seq,
 * and nothing is refused as not permitted that was.
 *
 * What was permitted is read off the history alone, record by record from its beginning, by rules
 * written down here once more: the cores' table of rights has no part in it. */
#include <stdlib.h>
#include <string.h>

#include "proto/access.h"
#include "proto/sys_edge.h"
#include "sim/sim_private.h"

enum { PAIRS_MAX = 64, MEMBERS_KEPT = 16, ANYONE = 1, KEY = 2, GROUP = 3 };
enum { READ = 1, WRITE = 2, GRANT = 4 };

struct text {
    const uint8_t *bytes;
    uint32_t length;
};

static bool same(struct text a, struct text b)
{
    return a.length == b.length && memcmp(a.bytes, b.bytes, a.length) == 0;
}

/* What was granted to one on one subtree. */
struct pair {
    uint8_t who;
    struct text whom, subtree;
    uint8_t rights;
};

struct rights {
    struct pair pairs[PAIRS_MAX];
    uint32_t pair_count;
    struct {
        struct text group, key;
    } members[MEMBERS_KEPT];
    uint32_t member_count;
};

/* ---- records --------------------------------------------------------------------------------- */

static struct text string_at(const uint8_t *at)
{
    return (struct text) { at + 1, at[0] };
}

static struct pair read_grant(const struct sim_entry *e, bool *revoke)
{
    const uint8_t *at = e->payload;
    struct pair p = { .rights = at[1], .who = at[2] };
    *revoke = at[0] != 0;
    at += 3;
    if (p.who == KEY) {
        p.whom = (struct text) { at, ACCESS_KEY_SIZE };
        at += ACCESS_KEY_SIZE;
    } else if (p.who == GROUP) {
        p.whom = string_at(at);
        at += 1 + at[0];
    }
    p.subtree = string_at(at);
    return p;
}

static void follow_grant(struct rights *r, const struct sim_entry *e)
{
    bool revoke;
    struct pair p = read_grant(e, &revoke);
    uint32_t i = 0;
    while (i < r->pair_count &&
           (r->pairs[i].who != p.who || !same(r->pairs[i].subtree, p.subtree) ||
            (p.who != ANYONE && !same(r->pairs[i].whom, p.whom))))
        i++;
    assert(i < PAIRS_MAX);
    if (i == r->pair_count) {
        r->pairs[r->pair_count++] = p;
        r->pairs[i].rights = 0;
    }
    r->pairs[i].rights =
        (uint8_t)(revoke ? r->pairs[i].rights & ~p.rights : r->pairs[i].rights | p.rights);
}

static void follow_group(struct rights *r, const struct sim_entry *e)
{
    struct text group = string_at(e->payload + 1);
    struct text key = { group.bytes + group.length, ACCESS_KEY_SIZE };
    uint32_t i = 0;
    while (i < r->member_count &&
           (!same(r->members[i].group, group) || !same(r->members[i].key, key)))
        i++;
    if (e->payload[0] == 0 && i == r->member_count) {
        assert(i < MEMBERS_KEPT);
        r->members[r->member_count].group = group;
        r->members[r->member_count++].key = key;
    } else if (e->payload[0] != 0 && i < r->member_count) {
        r->members[i] = r->members[--r->member_count];
    }
}

static void follow(struct rights *r, const struct sim_entry *e)
{
    if (e->topic == TOPIC_GRANT)
        follow_grant(r, e);
    else if (e->topic == TOPIC_GROUP)
        follow_group(r, e);
}

/* At the end of a branch: of the one that was asked for last, whose records are followed on from there. */
struct sim_rights {
    uint32_t branch;
    uint32_t followed; /* records */
    struct rights rights;
};

static const struct rights *rights_of(struct sim *s, uint32_t branch)
{
    const struct sim_tally *t = &s->history.branches[branch].tally;
    if (s->rights == NULL || s->rights->branch != branch) {
        free(s->rights);
        s->rights = calloc(1, sizeof *s->rights);
        assert(s->rights != NULL);
        s->rights->branch = branch;
    }
    struct sim_rights *r = s->rights;
    while (r->followed < t->access_count)
        follow(&r->rights, sim_history_at(&s->history, branch, t->access_seq[r->followed++]));
    return &r->rights;
}

/* ---- questions ------------------------------------------------------------------------------- */

static bool contains(struct text subtree, struct text path)
{
    bool sys = path.length >= 4 && memcmp(path.bytes, "/sys", 4) == 0 &&
               (path.length == 4 || path.bytes[4] == '/');
    if (subtree.length == 1)
        return !sys;
    return path.length >= subtree.length &&
           memcmp(path.bytes, subtree.bytes, subtree.length) == 0 &&
           (path.length == subtree.length || path.bytes[subtree.length] == '/');
}

static bool is_member(const struct rights *r, struct text group, struct text key)
{
    for (uint32_t i = 0; i < r->member_count; i++)
        if (same(r->members[i].group, group) && same(r->members[i].key, key))
            return true;
    return false;
}

static bool has(const struct rights *r, struct text key, uint8_t right, struct text path)
{
    static const uint8_t admin[ACCESS_KEY_SIZE]; /* the genesis': zeros */
    if (memcmp(key.bytes, admin, sizeof admin) == 0)
        return true;
    for (uint32_t i = 0; i < r->pair_count; i++) {
        const struct pair *p = &r->pairs[i];
        bool his = p->who == ANYONE || (p->who == KEY && same(p->whom, key)) ||
                   (p->who == GROUP && is_member(r, p->whom, key));
        if (his && (p->rights & right) != 0 && contains(p->subtree, path))
            return true;
    }
    return false;
}

/* ---- the history's names --------------------------------------------------------------------- */

/* False: a publisher of the core, who may. */
static bool key_of(const struct sim *s, uint32_t branch, uint32_t publisher,
                   uint8_t key[ACCESS_KEY_SIZE])
{
    const struct sim_tally *t = &s->history.branches[branch].tally;
    const struct sim_entry *e = sim_history_at(&s->history, branch, t->join_seq[publisher]);
    struct sys_join join;
    return e != NULL && sys_join_decode(e->payload, e->length, &join) &&
           access_identity_key(join.identity, key);
}

static struct text path_of(const struct sim *s, uint32_t branch, uint32_t topic)
{
    const struct sim_tally *t = &s->history.branches[branch].tally;
    uint32_t index = topic - TOPIC_FIRST_USER;
    if (index >= t->topic_count)
        return (struct text) { NULL, 0 };
    const struct sim_entry *e = sim_history_at(&s->history, branch, t->topic_seq[index]);
    return (struct text) { e->payload, e->length };
}

void sim_check_access_tally(const struct sim *s, struct sim_tally *t, uint32_t branch,
                            const struct sim_entry *e, uint64_t seq)
{
    struct sys_join join;
    if (e->topic == TOPIC_JOIN && sys_join_decode(e->payload, e->length, &join) &&
        join.publisher < SIM_PUBLISHERS_MAX)
        t->join_seq[join.publisher] = seq;
    if (e->topic == TOPIC_GRANT || e->topic == TOPIC_GROUP) {
        assert(t->access_count < SIM_ACCESS_MAX); /* the workload has no more to say */
        t->access_seq[t->access_count++] = seq;
    }
    if (e->topic != TOPIC_TOPIC)
        return;
    for (uint32_t i = 0; i < t->topic_count; i++) {
        const struct sim_entry *old = sim_history_at(&s->history, branch, t->topic_seq[i]);
        if (old->length == e->length && memcmp(old->payload, e->payload, e->length) == 0)
            return;
    }
    if (t->topic_count < SIM_TOPICS_MAX)
        t->topic_seq[t->topic_count++] = seq;
}

/* ---- the check ------------------------------------------------------------------------------- */

/* The right and the subtree that a message needs; right 0: none. */
static struct text needs(const struct sim *s, uint32_t branch, const struct message *m,
                         uint8_t *right)
{
    static const uint8_t root[] = "/";
    const struct sim_entry e = { .payload = m->payload, .length = m->length };
    bool revoke;
    *right = 0;
    if (m->topic >= TOPIC_FIRST_USER || m->topic == TOPIC_TOPIC) {
        *right = WRITE;
        return m->topic == TOPIC_TOPIC ? (struct text) { m->payload, m->length }
                                       : path_of(s, branch, m->topic);
    }
    if (m->topic == TOPIC_GRANT || m->topic == TOPIC_GROUP || m->topic == TOPIC_LIMIT)
        *right = GRANT;
    return m->topic == TOPIC_GRANT ? read_grant(&e, &revoke).subtree : (struct text) { root, 1 };
}

static void check_reject(struct sim *s, uint32_t branch, const struct message *m,
                         const uint8_t *key)
{
    struct sys_reject reject;
    if (!sys_reject_decode(m->payload, m->length, &reject) ||
        reject.reason != REJECT_NOT_PERMITTED || reject.topic < TOPIC_FIRST_USER)
        return;
    const struct rights *r = rights_of(s, branch);
    struct text path = path_of(s, branch, reject.topic);
    if (key == NULL ||
        (path.length > 0 && has(r, (struct text) { key, ACCESS_KEY_SIZE }, WRITE, path)))
        sim_violate(
            s, SIM_PERMISSIONS,
            "seq %lu: number %lu of publisher id %u is refused on topic %u, and is permitted",
            m->seq, m->publisher_seq, m->publisher, reject.topic);
}

/* A run is judged once: what its first message found holds to its end, for nothing comes between. */
void sim_check_permitted(struct sim *s, uint32_t branch, const struct message *m)
{
    uint8_t bytes[ACCESS_KEY_SIZE], right;
    if (m->publisher == 0 || m->publisher >= SIM_PUBLISHERS_MAX)
        return;
    const uint8_t *key = key_of(s, branch, m->publisher, bytes) ? bytes : NULL;
    if (m->topic == TOPIC_REJECT) {
        check_reject(s, branch, m, key);
        return;
    }
    bool of_keys = m->topic == TOPIC_GRANT || m->topic == TOPIC_GROUP || m->topic == TOPIC_LIMIT;
    bool permitted = key == NULL && !of_keys;
    if (key != NULL && m->topic != TOPIC_EDGE) {
        struct text subtree = needs(s, branch, m, &right);
        const struct rights *r = rights_of(s, branch);
        permitted = right != 0 && subtree.length > 0 &&
                    has(r, (struct text) { key, ACCESS_KEY_SIZE }, right, subtree);
    }
    if (!permitted)
        sim_violate(s, SIM_PERMISSIONS, "seq %lu: publisher id %u writes topic %u, and may not",
                    m->seq, m->publisher, m->topic);
}

/* ---- who may read ---------------------------------------------------------------------------- */

/* The right to read of each key of the edge's clients in each topic, after each record of rights of one branch:
 * a bit for each. */
struct sim_timeline {
    uint32_t branch;
    uint32_t count; /* records followed */
    uint32_t topics;
    struct rights rights;
    uint64_t held[SIM_EDGE_KEYS][SIM_TOPICS_MAX][SIM_ACCESS_MAX / 64 + 1];
};

static void note_held(const struct sim *s, struct sim_timeline *l, uint32_t topic)
{
    struct text path = path_of(s, l->branch, topic + TOPIC_FIRST_USER);
    for (uint32_t key = 0; key < SIM_EDGE_KEYS; key++) {
        struct text who = { sim_edge_key(key)->public_key, ACCESS_KEY_SIZE };
        uint64_t bit = UINT64_C(1) << l->count % 64;
        uint64_t *word = &l->held[key][topic][l->count / 64];
        *word = has(&l->rights, who, READ, path) ? *word | bit : *word & ~bit;
    }
}

/* A topic counts from the record on before which it was made. */
static void follow_timeline(const struct sim *s, struct sim_timeline *l)
{
    const struct sim_tally *t = &s->history.branches[l->branch].tally;
    for (;;) {
        uint64_t next = l->count < t->access_count ? t->access_seq[l->count] : UINT64_MAX;
        while (l->topics < t->topic_count && t->topic_seq[l->topics] < next)
            note_held(s, l, l->topics++);
        if (l->count == t->access_count)
            return;
        follow(&l->rights, sim_history_at(&s->history, l->branch, next));
        l->count++;
        for (uint32_t topic = 0; topic < l->topics; topic++)
            note_held(s, l, topic);
    }
}

static const struct sim_timeline *timeline_of(struct sim *s, uint32_t branch)
{
    struct sim_timeline **l = &s->timelines[branch];
    if (*l == NULL)
        *l = calloc(1, sizeof **l);
    assert(*l != NULL);
    (*l)->branch = branch;
    follow_timeline(s, *l);
    return *l;
}

static struct sim_may may_read_on(struct sim *s, uint32_t branch, uint32_t key, uint32_t topic,
                                  uint64_t seq)
{
    struct sim_may may = { .ever = false, .always = true };
    const struct sim_timeline *l = timeline_of(s, branch);
    const struct sim_tally *t = &s->history.branches[branch].tally;
    uint32_t index = topic - TOPIC_FIRST_USER;
    if (topic < TOPIC_FIRST_USER || index >= l->topics)
        return (struct sim_may) { false, false };
    for (uint32_t i = l->count;; i--) {
        bool held = (l->held[key][index][i / 64] >> i % 64 & 1) != 0;
        may.ever = may.ever || held;
        may.always = may.always && held;
        if (i == 0 || t->access_seq[i - 1] < seq)
            return may;
    }
}

/* Of all histories that a proxy may follow: which of them it did when it looked is not known. All have what was
 * stable when the first client was let in. */
struct sim_may sim_check_may_read(struct sim *s, uint32_t branch, uint32_t key, uint32_t topic,
                                  uint64_t seq)
{
    const struct sim_history *h = &s->history;
    struct sim_may may = { .ever = false, .always = true };
    uint32_t owner = sim_history_owner(h, branch, seq);
    for (uint32_t i = h->branch_count; i-- > 0;) {
        if (!sim_history_has(h, i, s->edge_opened) || seq >= h->branches[i].end_seq ||
            sim_history_owner(h, i, seq) != owner)
            continue;
        struct sim_may on = may_read_on(s, i, key, topic, seq);
        may.ever = may.ever || on.ever;
        may.always = may.always && on.always;
    }
    return may;
}

const char *sim_check_path(const struct sim *s, uint32_t branch, uint32_t topic, uint32_t *length)
{
    struct text path = { NULL, 0 };
    if (topic >= TOPIC_FIRST_USER)
        path = path_of(s, branch, topic);
    *length = path.length;
    return (const char *)path.bytes;
}

/* A login, or a join, of a key that is only used by others. */
void sim_check_edge_record(struct sim *s, const struct message *m)
{
    struct sys_edge record;
    struct sys_join join;
    if (m->topic == TOPIC_EDGE && sys_edge_decode(m->payload, m->length, &record) &&
        record.kind == SYS_EDGE_LOGIN) {
        uint32_t node = record.ip - sim_net_address(0).ip;
        const struct sim_node *n = node < s->node_count ? s->nodes[node] : NULL;
        uint32_t key = n == NULL || n->kind == SIM_HOSTILE            ? SIM_EDGE_FOREIGN
                       : n->client != NULL && n->client->edge != NULL ? n->client->edge->key
                                                                      : SIM_EDGE_NOBODY;
        s->result.logins++;
        bool any = n != NULL && n->kind == SIM_VISITOR; /* it has them all */
        if (record.has_key && !any &&
            memcmp(record.key, sim_edge_key(key)->public_key, sizeof record.key) != 0)
            sim_violate(s, SIM_IDENTITIES, "seq %lu: %s is let in with a key that it has not",
                        m->seq, n != NULL ? n->name : "a stranger");
    }
    if (m->topic == TOPIC_JOIN && m->publisher == 0 &&
        sys_join_decode(m->payload, m->length, &join)) {
        char key[ACCESS_KEY_TEXT + 1];
        access_key_write(sim_edge_key(SIM_EDGE_FOREIGN)->public_key, key);
        const char *name = strrchr(join.identity, ':');
        if (name != NULL && strcmp(name, SIM_HOSTILE_NAME) == 0 &&
            strncmp(join.identity + 1, key, ACCESS_KEY_TEXT) != 0)
            sim_violate(s, SIM_IDENTITIES, "seq %lu: somebody has joined as %s, and is not", m->seq,
                        join.identity);
    }
}
