/* What a client asks: OPEN, PUBLISH. */
#include <stdarg.h>
#include <stdio.h>

#include "proxy/relay_private.h"

enum {
    WAIT_NS = 100 * 1000 * 1000, /* for what nothing here tells of */
    PUBLISH_FIXED = 32 /* of a PUBLISH without a condition: what is not topic and payload */
};

__attribute__((format(printf, 3, 4))) static enum relay_verdict
refuse(struct edge_refused *refused, enum edge_refusal reason, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    refused->reason = (uint8_t)reason;
    vsnprintf(refused->text, sizeof refused->text, format, args);
    va_end(args);
    return RELAY_REFUSED;
}

/* ---- OPEN ------------------------------------------------------------------------------------ */

/* "@KEY:name" of the key that was proven. False: not a name. */
static bool identity_of(const struct session *s, const char *name, char identity[IDENTITY_MAX + 1])
{
    uint8_t key[ACCESS_KEY_SIZE];
    char text[ACCESS_KEY_TEXT + 1];
    if (proxy_sabotaged(s->all->p, PROXY_ANY_IDENTITY) && name[0] == '@') {
        memcpy(identity, name, IDENTITY_MAX + 1);
        return identity_check(identity) == NULL;
    }
    access_key_write(s->key, text);
    size_t length = strlen(name);
    if (length + 2 + ACCESS_KEY_TEXT > IDENTITY_MAX)
        return false;
    snprintf(identity, IDENTITY_MAX + 1, "@%s:%.*s", text,
             (int)(IDENTITY_MAX - 2 - ACCESS_KEY_TEXT), name);
    return identity_check(identity) == NULL && access_identity_key(identity, key) &&
           memcmp(key, s->key, sizeof key) == 0;
}

/* Everybody can make a key; a publisher is a place in everybody's catalog, for ever. */
static bool may_publish_anything(const struct session *s)
{
    const struct access *access = catalog_access(s->all->p->catalog);
    if (s->principal != ACCESS_PRINCIPAL_ANYONE || proxy_sabotaged(s->all->p, PROXY_ANY_IDENTITY))
        return true;
    struct access_grant g;
    for (uint32_t i = 0; access_grant_at(access, i, &g); i++)
        if (g.whom.who == ACCESS_ANYONE && (g.rights & ACCESS_WRITE) != 0)
            return true;
    return false;
}

/* So that nobody waits for its outcomes. */
static bool was_told_of_its_end(const struct relay_publisher *q)
{
    return q->superseded &&
           reader_has_told(q->session->reader, publisher_superseded_seq(q->publisher));
}

/* Its own of this name, as far as that still stands in the way. */
static bool is_open_already(const struct relay_publisher *own)
{
    return own != NULL && !was_told_of_its_end(own);
}

/* What it held is somebody else's by now: it is told so, and nothing is written down. */
static bool comes_too_late(const struct relay *r, const struct edge_open *open,
                           const char *identity)
{
    uint32_t id = catalog_publisher_find(r->p->catalog, identity);
    if (open->wanted == 0 || id == 0)
        return false;
    const struct catalog_publisher *there = catalog_publisher(r->p->catalog, id);
    return there->incarnation >= open->wanted && there->nonce != open->nonce;
}

enum relay_verdict relay_may_open(struct relay *r, struct session *s, const struct edge_open *open,
                                  bool *writes, struct edge_refused *refused)
{
    char identity[IDENTITY_MAX + 1];
    snprintf(refused->subject, sizeof refused->subject, "%s", open->name);
    if (!s->has_key) {
        refused->right = ACCESS_WRITE;
        return refuse(refused, EDGE_REFUSED_RIGHT,
                      "to publish takes a key: cantus key new FILE makes one");
    }
    if (!identity_of(s, open->name, identity))
        return refuse(refused, EDGE_REFUSED_NAME,
                      "a publisher's name has 1 to 18 printable bytes, and no space");
    if (!may_publish_anything(s)) {
        refused->right = ACCESS_WRITE;
        return refuse(refused, EDGE_REFUSED_RIGHT,
                      "nothing is granted to this key: who may grant gives it: "
                      "cantus grant KEY write SUBTREE");
    }
    if (catalog_publisher_find(r->p->catalog, identity) == 0 &&
        !limiter_may_have(r->p->limiter, s->account, LIMITER_IDENTITIES, 1,
                          r->p->o.catalog.publishers_max / RELAY_SHARE))
        return refuse(refused, EDGE_REFUSED_QUOTA,
                      "too many publishers have been made of this key");
    const struct relay_publisher *own = relay_find_identity(s, identity);
    if (is_open_already(own))
        return refuse(refused, EDGE_REFUSED_ORDER, "this publisher is open already");
    uint32_t more = own != NULL ? 0 : 1; /* that one makes room */
    if (s->publishers + more > SESSION_PUBLISHERS_MAX ||
        !limiter_may_have(r->p->limiter, s->account, LIMITER_PUBLISHERS, more,
                          r->max / RELAY_SHARE + 1))
        return refuse(refused, EDGE_REFUSED_QUOTA, "too many publishers of this key are open");
    if (session_reader(s) == NULL)
        return refuse(refused, EDGE_REFUSED_QUOTA, "this proxy is full");
    if (r->used + more > r->max)
        return refuse(refused, EDGE_REFUSED_QUOTA, "too many publishers are open at this proxy");
    *writes = !comes_too_late(r, open, identity);
    return RELAY_DONE;
}

void relay_open(struct relay *r, struct session *s, const struct edge_open *open)
{
    struct publisher_options o = r->options;
    bool fine = identity_of(s, open->name, o.identity);
    assert(fine);
    o.nonce = open->nonce;
    o.wanted = open->wanted;
    struct relay_publisher *own = relay_find_identity(s, o.identity);
    if (own != NULL)
        relay_drop(own);
    if (catalog_publisher_find(r->p->catalog, o.identity) == 0)
        limiter_add(r->p->limiter, s->account, LIMITER_IDENTITIES, 1);
    struct relay_publisher *q = relay_take(r, s, &o);
    assert(q != NULL);
    q->known = open->known;
    (void)fine;
}

/* ---- PUBLISH --------------------------------------------------------------------------------- */

enum place { PLACE_HERE, PLACE_AHEAD, PLACE_OFF };

/* Where its author was, in the history as it is here. */
static enum place place_of(const struct proxy *p, struct position at)
{
    if (at.seq == 0)
        return PLACE_HERE;
    if (at.seq > p->position.seq && epoch_compare(at.epoch, p->position.epoch) >= 0)
        return PLACE_AHEAD;
    return readers_has(p->readers, at) ? PLACE_HERE : PLACE_OFF;
}

/* A group has to be complete before any of it is sequenced. False: it can't become so. */
static bool group_fits(const struct relay_publisher *q, const struct edge_publish *in,
                       uint32_t numbers)
{
    const struct relay *r = q->relay;
    uint32_t most = r->options.window < RUN_MESSAGES_MAX ? r->options.window : RUN_MESSAGES_MAX;
    return ((in->flags & MESSAGE_MORE) == 0 && q->group == 0) ||
           (q->group + numbers <= most && q->group_bytes + in->length <= r->sizes.item_max);
}

/* What goes on a fixed topic: its payload says what right it takes. */
static enum relay_verdict check_fixed(const struct relay_publisher *q, uint32_t topic,
                                      const struct edge_publish *in, struct edge_refused *refused)
{
    const struct catalog *c = q->relay->p->catalog;
    if ((in->flags & MESSAGE_MORE) != 0 || q->group > 0 || in->length > SYS_PAYLOAD_MAX)
        return refuse(refused, EDGE_REFUSED_LARGE, "nothing under /sys is part of a group");
    enum reject_reason reason = catalog_refuses_sys(c, q->id, topic, in->payload, in->length);
    if (reason == 0)
        return RELAY_DONE;
    refused->right = topic == TOPIC_TOPIC ? ACCESS_WRITE : ACCESS_GRANT;
    if (reason == REJECT_NOT_PERMITTED)
        return refuse(refused, EDGE_REFUSED_RIGHT,
                      "it takes the right to grant on the subtree that it names; for groups and "
                      "limits, on /");
    if (reason == REJECT_FULL)
        return refuse(refused, EDGE_REFUSED_QUOTA, "%s", reject_reason_text((uint8_t)reason));
    return refuse(refused, EDGE_REFUSED_NAME,
                  "its payload is none of this topic: docs/wire.md, section 7");
}

/* Who has superseded it is there for good. */
static bool is_over(const struct relay_publisher *q)
{
    const struct proxy *p = q->relay->p;
    return proxy_is_volatile(p) || publisher_superseded_seq(q->publisher) <= p->stable;
}

/* Of whom, what number, and where. RELAY_DONE with *q NULL: it is passed over. */
static enum relay_verdict check_author(struct session *s, const struct edge_publish *in,
                                       struct relay_publisher **q, uint64_t *retry_ns,
                                       struct edge_refused *refused)
{
    struct proxy *p = s->all->p;
    struct relay_publisher *author = relay_find(s, in->publisher);
    *q = NULL;
    if (author == NULL)
        return refuse(refused, EDGE_REFUSED_ORDER, "no such publisher is open here");
    if (author->superseded && is_over(author))
        return RELAY_DONE;
    if (author->superseded) {
        /* A fork may take that back, and its client goes on behind this number if it has not heard. */
        *retry_ns = p->now.mono_ns + WAIT_NS;
        return RELAY_LATER;
    }
    switch (place_of(p, in->position)) {
    case PLACE_HERE:
        break;
    case PLACE_AHEAD:
        *retry_ns = p->now.mono_ns + WAIT_NS;
        return RELAY_LATER;
    case PLACE_OFF:
        author->voids = true;
        return RELAY_DONE;
    }
    uint64_t next = publisher_next_number(author->publisher);
    if (in->number != next && author->voids)
        return RELAY_DONE;
    if (in->number != next)
        return refuse(refused, EDGE_REFUSED_NUMBER, "the next number is %llu",
                      (unsigned long long)next);
    author->voids = false;
    *q = author;
    return RELAY_DONE;
}

/* Topics, and what the payload of a fixed one says. */
static enum relay_verdict check_topics(struct relay_publisher *q, const struct edge_publish *in,
                                       struct publisher_item *item, uint64_t *retry_ns,
                                       struct edge_refused *refused)
{
    enum relay_verdict verdict =
        relay_topic(q, in->topic, in->topic_length, ACCESS_WRITE, &item->topic, retry_ns, refused);
    if (verdict == RELAY_DONE && item->topic < TOPIC_FIRST_USER)
        verdict = check_fixed(q, item->topic, in, refused);
    if (verdict == RELAY_DONE && in->conditional)
        verdict = relay_topic(q, in->condition_topic, in->condition_topic_length, ACCESS_READ,
                              &item->condition_topic, retry_ns, refused);
    return verdict;
}

/* What is on its way is in front of everybody else's: while others wait, that is half a quantum of messages as long as
 * this one at most. With the quantum that is read in a round, and what is sequenced before somebody else's message is
 * read, that one waits for two. */
static bool has_its_share(const struct relay_publisher *q, const struct edge_publish *in)
{
    const struct session *s = q->session;
    bool others = s->all->stopped > (s->stopped ? 1u : 0u);
    uint64_t each = (uint64_t)in->length + in->topic_length + PUBLISH_FIXED;
    return others && q->group == 0 &&
           2 * publisher_in_flight(q->publisher) * each >= q->relay->p->o.quantum_bytes;
}

/* What is on its way of a group has no outcome before the rest of it is there. */
static bool has_all_its_bytes(const struct relay_publisher *q, const struct edge_publish *in)
{
    struct limiter *l = q->relay->p->limiter;
    uint32_t account = q->session->account;
    return q->group == 0 && limiter_has(l, account, LIMITER_INFLIGHT_BYTES) > 0 &&
           !limiter_may_have(l, account, LIMITER_INFLIGHT_BYTES, in->length, 0);
}

/* Whether it may go now. */
static bool may_go(struct relay_publisher *q, const struct edge_publish *in, uint64_t *retry_ns)
{
    struct proxy *p = q->relay->p;
    uint32_t account = q->session->account;
    if (!publisher_has_room(q->publisher, in->length) || has_its_share(q, in) ||
        has_all_its_bytes(q, in)) {
        *retry_ns = p->now.mono_ns + WAIT_NS;
        return false;
    }
    *retry_ns =
        limiter_take(p->limiter, account, in->topic, in->topic_length, in->length, p->now.mono_ns);
    return *retry_ns == 0;
}

enum relay_verdict relay_publish(struct relay *r, struct session *s, const struct edge_publish *in,
                                 uint64_t *retry_ns, struct edge_refused *refused)
{
    struct relay_publisher *q;
    enum relay_verdict verdict = check_author(s, in, &q, retry_ns, refused);
    if (verdict != RELAY_DONE || q == NULL)
        return verdict;
    struct publisher_item item = { .payload = in->payload,
                                   .length = in->length,
                                   .more = (in->flags & MESSAGE_MORE) != 0,
                                   .conditional = in->conditional,
                                   .condition_after = in->condition_after };
    if (in->length > r->sizes.item_max)
        return refuse(refused, EDGE_REFUSED_LARGE, "a message has at most %u bytes here",
                      r->sizes.item_max);
    uint32_t fragment = r->sizes.fragment_bytes;
    uint32_t numbers = in->length <= fragment ? 1 : (in->length + fragment - 1) / fragment;
    if (!group_fits(q, in, numbers)) {
        (void)refuse(refused, EDGE_REFUSED_LARGE, "a group has to fit the window, and a message");
        return RELAY_BROKEN;
    }
    verdict = check_topics(q, in, &item, retry_ns, refused);
    if (verdict != RELAY_DONE)
        return verdict;
    if (!may_go(q, in, retry_ns))
        return RELAY_LATER;
    uint64_t number = publisher_push(q->publisher, &item, in->position);
    assert(number == in->number); /* there was room */
    (void)number;
    q->group = item.more ? q->group + numbers : 0;
    q->group_bytes = item.more ? q->group_bytes + in->length : 0;
    s->published++;
    proxy_count(r->p, COUNTER_RELAYED);
    relay_touch(q);
    return RELAY_DONE;
}
