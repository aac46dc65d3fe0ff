/* Changes of what may be read, and whom they concern: a few are known one by one. */
#include "proxy/reader_private.h"

void readers_note_rights(struct readers *s, const struct message *m)
{
    struct sys_grant grant;
    struct sys_group group;
    struct rights_change c = { .seq = m->seq, .length = 1, .subtree = "/" };
    const uint8_t *key = NULL;
    if (m->topic == TOPIC_GROUP && sys_group_decode(m->payload, m->length, &group)) {
        key = group.key;
    } else if (m->topic == TOPIC_GRANT && sys_grant_decode(m->payload, m->length, &grant) &&
               (grant.rights & ACCESS_READ) != 0) {
        key = grant.whom.who == ACCESS_KEY ? grant.whom.key : NULL;
        c.everyone = grant.whom.who != ACCESS_KEY;
        c.length = (uint8_t)strlen(grant.subtree);
        memcpy(c.subtree, grant.subtree, c.length);
    }
    if (key != NULL)
        c.principal = access_principal_of(catalog_access(s->catalog), key);
    if (!c.everyone && (key == NULL || c.principal == ACCESS_PRINCIPAL_ANYONE))
        return; /* of a key that nothing names */
    if (s->rights_end - s->rights_begin == RIGHTS_KEPT)
        s->rights_forgotten = s->rights[s->rights_begin++ % RIGHTS_KEPT].seq;
    s->rights[s->rights_end++ % RIGHTS_KEPT] = c;
    s->rights_version++;
}

void readers_fork_rights(struct readers *s, uint64_t seq)
{
    while (s->rights_end > s->rights_begin &&
           s->rights[(s->rights_end - 1) % RIGHTS_KEPT].seq > seq)
        s->rights_end--;
    if (s->rights_forgotten > seq)
        s->rights_forgotten = seq;
    s->rights_version++;
}

static bool is_of(const struct rights_change *c, uint32_t principal)
{
    return c->everyone || c->principal == principal;
}

static bool concerns(const struct rights_change *c, const struct reader *r)
{
    const struct views *v = r->s->views;
    bool meets = view_meets(v, r->view, c->subtree, c->length);
    for (uint32_t i = 0; i < r->change_count && !meets; i++)
        meets = view_meets(v, r->changes[i].view, c->subtree, c->length);
    return meets;
}

uint64_t reader_rights_seq(struct reader *r)
{
    const struct readers *s = r->s;
    if (r->principal == ACCESS_PRINCIPAL_ADMIN || !r->subscribed)
        return 0;
    if (r->rights_version != s->rights_version) {
        uint64_t i = s->rights_end;
        const struct rights_change *c = NULL;
        r->rights_version = s->rights_version;
        r->rights_seq = s->rights_forgotten;
        while (i > s->rights_begin && c == NULL) {
            c = &s->rights[--i % RIGHTS_KEPT];
            if (!is_of(c, r->principal) || !concerns(c, r))
                c = NULL;
        }
        if (c != NULL)
            r->rights_seq = c->seq;
    }
    return r->rights_seq > r->rights_from ? r->rights_seq : 0;
}

bool reader_rights_fall(const struct reader *r, uint64_t common_seq)
{
    const struct readers *s = r->s;
    if (r->principal == ACCESS_PRINCIPAL_ADMIN || !r->subscribed || r->rights_from <= common_seq)
        return false;
    for (uint64_t i = s->rights_end; i > s->rights_begin; i--) {
        const struct rights_change *c = &s->rights[(i - 1) % RIGHTS_KEPT];
        if (c->seq <= common_seq)
            return false;
        if (c->seq <= r->rights_from && is_of(c, r->principal) && concerns(c, r))
            return true;
    }
    return s->rights_forgotten > common_seq;
}

static bool meet(struct edge_subtrees subtrees, const struct rights_change *c)
{
    const char *subtree;
    size_t length;
    while (edge_subtree_next(&subtrees, &subtree, &length))
        if (topic_in_subtree(subtree, length, c->subtree, c->length) ||
            topic_in_subtree(c->subtree, c->length, subtree, length))
            return true;
    return false;
}

bool readers_rights_since(const struct readers *s, uint32_t principal,
                          struct edge_subtrees subtrees, uint64_t seq)
{
    if (principal == ACCESS_PRINCIPAL_ADMIN)
        return false;
    for (uint64_t i = s->rights_begin; i < s->rights_end; i++) {
        const struct rights_change *c = &s->rights[i % RIGHTS_KEPT];
        if (c->seq > seq && is_of(c, principal) && meet(subtrees, c))
            return true;
    }
    return s->rights_forgotten > seq;
}
