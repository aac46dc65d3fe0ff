/* Getting in: HELLO, the proof, SUBSCRIBE; and what a proxy says when it does not want us. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "libclient/edge_private.h"

enum { IDENTITY_REFUSALS_MAX = 3 }; /* one may be a proof that came too late */

void edge_say_hello(struct edge *e)
{
    struct edge_hello h = { .version = EDGE_VERSION,
                            .stream = e->stream_id,
                            .has_key = e->options.has_key };
    memcpy(h.key, e->options.key, sizeof h.key);
    memcpy(h.agent, e->options.agent, sizeof h.agent);
    uint8_t *to = edge_frame_room(e, EDGE_HEADER + 256);
    assert(to != NULL);
    edge_frame_written(e, edge_hello_encode(&h, to, EDGE_HEADER + 256));
    e->state = EDGE_STATE_HELLO;
}

void edge_on_welcome(struct edge *e, const uint8_t *body, size_t length)
{
    struct edge_welcome w;
    if (e->state != EDGE_STATE_HELLO || !edge_welcome_decode(body, length, &w) ||
        w.version != EDGE_VERSION) {
        edge_violation(e, "its WELCOME is malformed, of another version, or not asked for");
        return;
    }
    if (e->stream_id != 0 && w.stream != e->stream_id) {
        edge_give_up(e, "it serves stream %016llx, not %016llx", (unsigned long long)w.stream,
                     (unsigned long long)e->stream_id);
        return;
    }
    e->welcome = w;
    e->state = EDGE_STATE_PROVE;
    if (!e->options.has_key)
        return;
    uint8_t binding[PORT_BINDING_SIZE];
    uint8_t message[EDGE_SIGNED_SIZE];
    struct edge_prove p;
    port_stream_binding(e->port, e->stream, binding);
    edge_signed(&w, e->options.key, binding, message);
    e->options.sign(e->options.sign_ctx, message, p.signature);
    uint8_t *to = edge_frame_room(e, EDGE_HEADER + sizeof p.signature);
    assert(to != NULL);
    edge_frame_written(e, edge_prove_encode(&p, to, EDGE_HEADER + sizeof p.signature));
}

void edge_on_accepted(struct edge *e, const uint8_t *body, size_t length)
{
    struct edge_accepted a;
    if (e->state != EDGE_STATE_PROVE || !edge_accepted_decode(body, length, &a) ||
        a.fragment_bytes > MESSAGE_PAYLOAD_MAX) {
        edge_violation(e, "its ACCEPTED is malformed or not asked for");
        return;
    }
    e->accepted = a;
    e->stream_id = e->welcome.stream;
    e->state = EDGE_STATE_ACCEPTED;
    e->accepted_ns = e->now.mono_ns;
    e->identity_refusals = 0;
    if (a.tip.seq > e->tip)
        e->tip = a.tip.seq;
    if (!e->call.accepted(e->call.ctx, &a))
        return;
    edge_subscribe(e);
}

void edge_subscribe(struct edge *e)
{
    e->asked_from = e->begun ? EDGE_FROM_POSITION : e->begin_from;
    /* Whoever wants outcomes alone begins where the stream is. */
    if (e->subtrees.count == 0 && e->position.seq == 0)
        e->asked_from = EDGE_FROM_TIP;
    struct edge_subscribe s = { .level = e->options.level,
                                .from = e->asked_from,
                                .position = e->position,
                                .time_ns = e->asked_from == EDGE_FROM_TIME ? e->begin_ns : 0,
                                .tick_ms = e->tick_ms,
                                .mark_seq = e->mark_seq,
                                .subtrees = e->subtrees };
    size_t length = EDGE_HEADER + 64 + e->subtrees.length;
    uint8_t *to = edge_frame_room(e, length);
    assert(to != NULL); /* nothing but the login came before it */
    edge_frame_written(e, edge_subscribe_encode(&s, to, length));
    edge_asked_all(e);
    e->subscribing = true;
}

void edge_on_closing(struct edge *e, const uint8_t *body, size_t length)
{
    struct edge_closing c;
    if (!edge_closing_decode(body, length, &c)) {
        edge_violation(e, "its CLOSING is malformed");
        return;
    }
    edge_clean(c.text);
    if (c.reason == EDGE_CLOSING_IDENTITY && ++e->identity_refusals >= IDENTITY_REFUSALS_MAX) {
        char text[EDGE_TROUBLE_MAX];
        snprintf(text, sizeof text, "no proxy lets this key in: %s", c.text);
        edge_fail(e, text);
        return;
    }
    /* Where it was let in; one that lets nobody in is as good as lost, and perhaps all drain. */
    if (c.reason == EDGE_CLOSING_DRAIN && e->proxy_count > 1 && e->state == EDGE_STATE_ACCEPTED) {
        edge_lose(e, true); /* as asked */
        return;
    }
    const char *reason = edge_closing_text(c.reason);
    bool more = c.text[0] != '\0' && strcmp(c.text, reason) != 0;
    edge_give_up(e, "%s%s%s", reason, more ? ": " : "", more ? c.text : "");
}
