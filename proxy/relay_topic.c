/* Topics that have to be made first: the session that writes to one is not read from until it is there, where
 * no fork takes it back. */
#include <stdio.h>

#include "proxy/relay_private.h"

enum { FIRST_WAIT_NS = 2 * 1000 * 1000, LAST_WAIT_NS = 500 * 1000 * 1000 };

static struct relay_create *find(struct relay *r, const char *path, size_t length)
{
    for (uint32_t i = 0; i < RELAY_CREATES_MAX; i++) {
        struct relay_create *c = &r->creates[i];
        if (c->session != NULL && c->length == length && memcmp(c->path, path, length) == 0)
            return c;
    }
    return NULL;
}

/* NULL: there is none, or this account has its share. */
static struct relay_create *free_one(struct relay *r, uint32_t account)
{
    struct relay_create *c = NULL;
    uint32_t its = 0;
    for (uint32_t i = 0; i < RELAY_CREATES_MAX; i++) {
        if (r->creates[i].session == NULL)
            c = &r->creates[i];
        else
            its += r->creates[i].session->account == account;
    }
    return its < RELAY_CREATES_MAX / RELAY_SHARE ? c : NULL;
}

static void forget(struct relay *r, struct relay_create *c)
{
    c->session = NULL;
    r->create_count--;
}

static enum relay_verdict refuse(struct edge_refused *refused, enum edge_refusal reason,
                                 enum access_right right, const char *text)
{
    refused->reason = (uint8_t)reason;
    refused->right = (uint8_t)right;
    snprintf(refused->text, sizeof refused->text, "%s", text);
    return RELAY_REFUSED;
}

static enum relay_verdict refuse_writing(struct edge_refused *refused)
{
    char text[EDGE_TEXT_MAX + 1];
    snprintf(text, sizeof text, "who may grant there gives it: cantus grant KEY write %.200s",
             refused->subject);
    return refuse(refused, EDGE_REFUSED_RIGHT, ACCESS_WRITE, text);
}

static enum relay_verdict ask(struct relay_publisher *q, const char *path, size_t length,
                              uint64_t *retry_ns, struct edge_refused *refused)
{
    struct relay *r = q->relay;
    struct proxy *p = r->p;
    *retry_ns = p->now.mono_ns + LAST_WAIT_NS;
    struct relay_create *c = r->create_count > 0 ? find(r, path, length) : NULL;
    if (c != NULL && c->refused) {
        forget(r, c);
        return refuse(refused, EDGE_REFUSED_QUOTA, ACCESS_WRITE,
                      "the sequencer refuses to make this topic");
    }
    if (c != NULL)
        return RELAY_LATER;
    if (!limiter_may_have(p->limiter, q->session->account, LIMITER_TOPICS, 1,
                          p->o.catalog.topics_max / RELAY_SHARE))
        return refuse(refused, EDGE_REFUSED_QUOTA, ACCESS_WRITE,
                      "this key has made as many topics as it may");
    c = free_one(r, q->session->account);
    if (c == NULL)
        return RELAY_LATER;
    *c = (struct relay_create) { .session = q->session,
                                 .nonce = proxy_draw64(p, "topic"),
                                 .at_ns = p->now.mono_ns,
                                 .wait_ns = FIRST_WAIT_NS,
                                 .publisher = q->id,
                                 .length = (uint32_t)length };
    memcpy(c->path, path, length);
    r->create_count++;
    limiter_add(p->limiter, q->session->account, LIMITER_TOPICS, 1);
    return RELAY_LATER;
}

static enum relay_verdict check(const struct relay_publisher *q, uint32_t topic, const char *path,
                                size_t length, enum access_right right,
                                struct edge_refused *refused)
{
    const struct catalog *c = q->relay->p->catalog;
    enum reject_reason reason = 0;
    if (right == ACCESS_READ &&
        !access_may_subtree(catalog_access(c), q->session->principal, ACCESS_READ, path, length))
        return refuse(refused, EDGE_REFUSED_RIGHT, right, "a condition on what it may not read");
    if (right == ACCESS_WRITE && topic != 0)
        reason = catalog_refuses(c, q->id, topic);
    if (topic == 0)
        reason = catalog_refuses_topic(c, q->id, path, length);
    switch (reason) {
    case REJECT_NOT_PERMITTED:
        return refuse_writing(refused);
    case REJECT_FULL:
        return refuse(refused, EDGE_REFUSED_QUOTA, ACCESS_WRITE, "the stream has no more topics");
    case REJECT_BAD_PATH:
    case REJECT_NO_TOPIC:
    case REJECT_CONDITION:
    case REJECT_TOO_LARGE:
    case REJECT_MALFORMED:
    case REJECT_END:
        return refuse(refused, EDGE_REFUSED_NAME, ACCESS_WRITE, "not a topic");
    }
    return RELAY_DONE;
}

enum relay_verdict relay_topic(struct relay_publisher *q, const char *path, size_t length,
                               enum access_right right, uint32_t *topic, uint64_t *retry_ns,
                               struct edge_refused *refused)
{
    const struct proxy *p = q->relay->p;
    memcpy(refused->subject, path, length);
    refused->subject[length] = '\0';
    *topic = catalog_topic_find(p->catalog, path, length);
    enum relay_verdict verdict = check(q, *topic, path, length, right, refused);
    if (verdict != RELAY_DONE)
        return verdict;
    if (*topic == 0)
        return ask(q, path, length, retry_ns, refused);
    if (proxy_is_volatile(p) || *topic < TOPIC_FIRST_USER ||
        *topic < catalog_topic_end(base_catalog(p->base)))
        return RELAY_DONE;
    *retry_ns = p->now.mono_ns + LAST_WAIT_NS;
    return RELAY_LATER;
}

static void send(struct relay *r, struct relay_create *c)
{
    struct proxy *p = r->p;
    struct create create = { .nonce = c->nonce, .publisher = c->publisher };
    memcpy(create.path, c->path, c->length);
    uint8_t *out = port_scratch(p->port, SIGNAL_SIZE_MAX);
    size_t length = create_encode(&create, p->o.stream, out, SIGNAL_SIZE_MAX);
    assert(length > 0);
    port_send(p->port, PORT_INGRESS, (struct port_addr) { 0, 0 }, out, (uint32_t)length);
    c->at_ns = p->now.mono_ns + c->wait_ns;
    c->wait_ns = c->wait_ns * 2 < LAST_WAIT_NS ? c->wait_ns * 2 : LAST_WAIT_NS;
}

uint64_t relay_topic_step(struct relay *r)
{
    struct proxy *p = r->p;
    uint64_t deadline = PORT_NEVER;
    for (uint32_t i = 0; r->create_count > 0 && i < RELAY_CREATES_MAX; i++) {
        struct relay_create *c = &r->creates[i];
        if (c->session == NULL || c->refused)
            continue;
        if (catalog_topic_find(p->catalog, c->path, c->length) != 0) {
            p->look_again = true;
            forget(r, c);
            continue;
        }
        if (!p->live)
            continue; /* once it is, all are asked for again */
        if (p->now.mono_ns >= c->at_ns)
            send(r, c);
        deadline = c->at_ns < deadline ? c->at_ns : deadline;
    }
    return deadline;
}

void relay_topic_hint(struct relay *r, const struct hint *h)
{
    for (uint32_t i = 0; i < RELAY_CREATES_MAX; i++) {
        struct relay_create *c = &r->creates[i];
        if (c->session == NULL || c->nonce != h->nonce)
            continue;
        c->refused = true;
        r->p->look_again = true;
    }
}

void relay_topic_forget(struct relay *r, const struct session *s)
{
    for (uint32_t i = 0; r->create_count > 0 && i < RELAY_CREATES_MAX; i++)
        if (r->creates[i].session == s)
            forget(r, &r->creates[i]);
}
