/* Who is connected: a page at a time, each of which is bounded work, and only so many a second for all who ask. */
#include <stdio.h>
#include <string.h>

#include "proto/clients.h"
#include "proto/topic.h"
#include "proxy/client_page.h"
#include "proxy/session_private.h"

enum {
    /* Of a client in protobuf: 13 tags of a byte, six numbers of 64 bits, two of 8 bytes that are fixed, four of 32
     * bits, flags, the key and the agent with their lengths; and of the page around it. */
    CLIENT_BYTES = 3 + 13 + 6 * 10 + 2 * 8 + 4 * 5 + 1 + 1 + ACCESS_KEY_SIZE + 1 + EDGE_AGENT_MAX,
    PAGE_BYTES = EDGE_HEADER + 6 + 11 + 11
};
_Static_assert(PAGE_BYTES + SESSION_WHO_CLIENTS * CLIENT_BYTES <= SESSION_WHO_BYTES,
               "a page has room");
_Static_assert((int)SESSION_WHO_CLIENTS <= (int)CLIENTS_PAGE_MAX, "a page is one for its decoder");

/* Those from this slot on, as many as a page has and as are found soon. */
static void gather(const struct sessions *s, uint32_t at, struct clients *page)
{
    struct proxy_client client;
    uint32_t looked = 0;
    for (; at < s->high && looked < SESSION_WHO_LOOKED; at++, looked++) {
        if (!session_is_connected(&s->table[at]))
            continue;
        if (page->count == SESSION_WHO_CLIENTS)
            break;
        sessions_client_at(s, at, &client);
        client_page_add(page, &client);
    }
    page->next = at < s->high ? at : 0;
}

static enum session_read refuse(struct session *e, const char *topic)
{
    struct edge_refused refused = { .request = EDGE_WHO,
                                    .reason = EDGE_REFUSED_RIGHT,
                                    .right = ACCESS_READ };
    snprintf(refused.subject, sizeof refused.subject, "%s", topic);
    snprintf(
        refused.text, sizeof refused.text,
        "the right to read %s is missing: who may grant there gives it: cantus grant KEY read %s",
        topic, topic);
    session_refuse(e, &refused);
    return SESSION_READ;
}

enum session_read session_who(struct session *e, const uint8_t *body, size_t length)
{
    struct sessions *s = e->all;
    struct proxy *p = s->p;
    struct edge_who who;
    const char *topic = topic_fixed_path(TOPIC_EDGE);
    if (!edge_who_decode(body, length, &who)) {
        session_end(e, EDGE_CLOSING_PROTOCOL, "a malformed WHO");
        return SESSION_ENDED;
    }
    if (!access_may_subtree(catalog_access(p->catalog), e->principal, ACCESS_READ, topic,
                            strlen(topic)))
        return session_is_settled(e) ? refuse(e, topic) : SESSION_LATER;
    if (p->now.mono_ns < s->who_ns) {
        if (!e->stopped)
            proxy_count(p, COUNTER_THROTTLED);
        session_retry_at(e, s->who_ns);
        return SESSION_LATER;
    }
    if (!session_has_room(e, SESSION_WHO_BYTES))
        return SESSION_LATER;
    s->who_ns = p->now.mono_ns + SESSION_WHO_NS;
    struct clients page = { .tip = p->seq, .clock_ns = p->now.wall_ns };
    uint8_t packed[SESSION_WHO_BYTES], frame[SESSION_WHO_BYTES];
    gather(s, who.place, &page);
    const struct edge_clients answer = {
        .page = packed, .length = (uint32_t)clients_encode(&page, packed, sizeof packed)
    };
    session_say(e, frame, edge_clients_encode(&answer, frame, sizeof frame));
    return SESSION_READ;
}
