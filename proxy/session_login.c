/* HELLO and PROVE. */
#include <sodium.h>
#include <stdio.h>

#include "proxy/session_private.h"

_Static_assert(crypto_sign_PUBLICKEYBYTES == ACCESS_KEY_SIZE, "Ed25519");
_Static_assert(crypto_sign_BYTES == EDGE_SIGNATURE_SIZE, "Ed25519");

static struct edge_welcome welcome_of(const struct session *e)
{
    const struct proxy *p = e->all->p;
    struct edge_welcome w = { .version = EDGE_VERSION, .stream = p->o.stream };
    memcpy(w.challenge, e->challenge, sizeof w.challenge);
    memcpy(w.proxy, p->o.name, sizeof p->o.name);
    return w;
}

enum session_read session_hello(struct session *e, const uint8_t *body, size_t length)
{
    struct proxy *p = e->all->p;
    struct edge_hello hello;
    char text[EDGE_TEXT_MAX + 1];
    if (!edge_hello_decode(body, length, &hello)) {
        session_end(e, EDGE_CLOSING_PROTOCOL, "a malformed HELLO");
        return SESSION_ENDED;
    }
    if (hello.version != EDGE_VERSION) {
        snprintf(text, sizeof text, "this proxy speaks version %d of the protocol, not %u",
                 EDGE_VERSION, hello.version);
        session_end(e, EDGE_CLOSING_PROTOCOL, text);
        return SESSION_ENDED;
    }
    if (hello.stream != 0 && hello.stream != p->o.stream) {
        session_end(e, EDGE_CLOSING_STREAM, NULL);
        return SESSION_ENDED;
    }
    e->has_key = hello.has_key;
    memcpy(e->key, hello.key, sizeof e->key);
    for (size_t i = 0; hello.agent[i] != '\0'; i++) /* people will look at it in a terminal */
        e->agent[i] = (char)(hello.agent[i] >= ' ' && hello.agent[i] <= '~' ? hello.agent[i] : '?');
    proxy_draw(p, "challenge", e->challenge);
    if (proxy_sabotaged(p, PROXY_SAME_CHALLENGE))
        memset(e->challenge, 7, sizeof e->challenge);
    struct edge_welcome welcome = welcome_of(e);
    uint8_t frame[SESSION_ROOM_MIN];
    session_say(e, frame, edge_welcome_encode(&welcome, frame, sizeof frame));
    if (e->has_key) {
        e->state = SESSION_CHALLENGED;
        return SESSION_READ;
    }
    session_let_in(e);
    return e->state == SESSION_FREE ? SESSION_ENDED : SESSION_READ;
}

static bool proves(const struct session *e, const struct edge_prove *prove)
{
    uint8_t binding[PORT_BINDING_SIZE];
    struct edge_welcome welcome = welcome_of(e);
    uint8_t signed_bytes[EDGE_SIGNED_SIZE];
    port_stream_binding(e->all->p->port, e->stream, binding);
    edge_signed(&welcome, e->key, binding, signed_bytes);
    return crypto_sign_verify_detached(prove->signature, signed_bytes, sizeof signed_bytes,
                                       e->key) == 0;
}

enum session_read session_prove(struct session *e, const uint8_t *body, size_t length)
{
    struct edge_prove prove;
    if (!edge_prove_decode(body, length, &prove)) {
        session_end(e, EDGE_CLOSING_PROTOCOL, "a malformed PROVE");
        return SESSION_ENDED;
    }
    if (e->all->proofs_left == 0) {
        e->all->more = true;
        return SESSION_LATER;
    }
    e->all->proofs_left--;
    if (!proves(e, &prove)) {
        session_end(e, EDGE_CLOSING_IDENTITY, NULL);
        return SESSION_ENDED;
    }
    session_let_in(e);
    return e->state == SESSION_FREE ? SESSION_ENDED : SESSION_READ;
}

void session_let_in(struct session *e)
{
    struct proxy *p = e->all->p;
    e->account = limiter_enter(p->limiter, e->has_key ? e->key : NULL,
                               e->has_key ? p->o.sessions_per_key : 0);
    if (e->account == LIMITER_NONE) {
        session_end(e, EDGE_CLOSING_QUOTA,
                    e->has_key ? "too many connections with this key"
                               : "too many connections without a key");
        return;
    }
    if (limiter_pace_account(p->limiter, e->account, p->now.mono_ns) != 0) {
        session_end(e, EDGE_CLOSING_QUOTA, "this key logs in too often: wait a little");
        return;
    }
    e->id = proxy_draw64(p, "session");
    e->state = SESSION_PROVEN;
    session_record(e);
}

/* Else the history may be one that ends: of a leader that is cut off, who has not heard of what was given. */
bool session_is_settled(const struct session *e)
{
    const struct proxy *p = e->all->p;
    return proxy_is_volatile(p) ||
           (e->recorded.seq <= p->stable && readers_has(p->readers, e->recorded));
}

void session_accepted(struct session *e, struct position position)
{
    struct proxy *p = e->all->p;
    e->state = SESSION_OPEN;
    e->login = e->recorded = position;
    e->heard_ns = p->now.mono_ns;
    session_end_login(e);
    proxy_count(p, COUNTER_LOGINS);
    session_look_up_principal(e);
    if (e->is_text) {
        session_text_accepted(e, position);
        return;
    }
    struct edge_accepted accepted = { .tip = position,
                                      .stable = p->stable,
                                      .is_volatile = proxy_is_volatile(p) };
    relay_limits(p->relay, &accepted);
    uint8_t frame[SESSION_ROOM_MIN];
    size_t length = edge_accepted_encode(&accepted, frame, sizeof frame);
    if (session_may_say(e))
        session_say(e, frame, length);
    else
        session_end(e, EDGE_CLOSING_SLOW, NULL);
}
