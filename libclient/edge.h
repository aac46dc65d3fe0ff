/* A client's side of the client protocol (proto/edge.h; docs/wire.md, section 10): one connection at a time
 * to one of several proxies, and again to the next when it is lost. Pure.
 *
 *   connect ──▶ HELLO, PROVE ──▶ SUBSCRIBE behind the last applied position ──▶ frames
 *      ▲                                                                        │
 *      └── the next proxy, after a while ◀── lost, closed, or it does not add up ┘
 *
 * A proxy is not trusted with the order: whatever names a message that was not sent, goes back, or uses
 * what was not introduced ends the connection, and the next one goes on behind the last applied position.
 * What is handed over is so each message once, in order, whatever happens to connections; only a FORKED
 * takes something back.
 *
 * It knows nothing of apps and publishers: it reads and writes frames, and keeps the position. */
#ifndef CANTUS_LIBCLIENT_EDGE_H
#define CANTUS_LIBCLIENT_EDGE_H

#include "proto/edge.h"
#include "transport/port.h"

enum {
    EDGE_PROXIES_MAX = 32,
    EDGE_SUBTREE_BYTES_MAX = 64 * 1024, /* of a subscription, as on the wire */
    EDGE_TROUBLE_MAX = 512
};

struct edge_options {
    enum edge_level level;
    uint64_t stream;              /* 0: whichever it is; then that one for good */
    bool has_key;                 /* nobody in particular otherwise */
    uint8_t key[ACCESS_KEY_SIZE]; /* public */
    char agent[EDGE_AGENT_MAX + 1];
    /* Signs with the key, at once. */
    void (*sign)(void *ctx, const uint8_t message[EDGE_SIGNED_SIZE],
                 uint8_t signature[EDGE_SIGNATURE_SIZE]);
    void *sign_ctx;
    uint64_t random; /* which proxy first, and jitter */
};

/* A name, while its block lasts. */
struct edge_text {
    const char *text; /* terminated */
    uint32_t length;
    uint16_t route; /* of a topic: what callbacks->topic said */
};

/* Called inside the entry points. A callee may publish, open and restart. */
struct edge_callbacks {
    /* Logged in: the frame's limits hold from here on. False: this proxy can't be used; it has said why
     * with edge_give_up. */
    bool (*accepted)(void *ctx, const struct edge_accepted *a);
    void (*subscribed)(void *ctx); /* behind edge_position; publishers may be opened */
    /* The set of subtrees that edge_change named with this number, or a later one, counts from this seq on. */
    void (*changed)(void *ctx, uint64_t seq, uint32_t change);
    void (*epoch)(void *ctx, struct epoch epoch, uint64_t first_seq);
    uint16_t (*topic)(void *ctx, const char *path, size_t length);
    void (*message)(void *ctx, const struct edge_message *m, const struct edge_text *topic,
                    const char *publisher);
    void (*progress)(void *ctx, uint64_t through, uint64_t timestamp_ns);
    void (*stable)(void *ctx, uint64_t stable);
    /* False: it does not add up. */
    bool (*opened)(void *ctx, const struct edge_opened *o);
    bool (*outcome)(void *ctx, const struct edge_outcome *o);
    bool (*refused)(void *ctx, const struct edge_refused *r); /* of a CHANGE: reconnect */
    bool (*superseded)(void *ctx, const struct edge_superseded *s);
    /* What was handed over behind `common` no longer holds; the position is back there. */
    void (*forked)(void *ctx, struct position common);
    void (*lost)(void *ctx);                      /* the connection, after it was accepted */
    void (*trouble)(void *ctx, const char *text); /* for humans: why a connection has ended */
    void (*failed)(void *ctx, const char *text);  /* for good: no proxy will do */
    void *ctx;
};

struct edge;

struct edge *edge_create(const struct edge_options *options, const struct edge_callbacks *callbacks,
                         struct port *port); /* NULL: no memory */
void edge_destroy(struct edge *e);
/* Where to connect to. Before the first step, and whenever edge_wants_proxies: names may lead elsewhere. */
void edge_set_proxies(struct edge *e, const struct port_addr *proxies, uint32_t count);
bool edge_wants_proxies(const struct edge *e); /* all were tried */
/* What it asks for. Before the first step. Subtrees are read from the beginning, or where edge_set_from says;
 * without any, outcomes alone come, from the tip. False: more than a subscription holds. */
bool edge_add_subtree(struct edge *e, const char *subtree);
/* Where to begin, with a time if it is one; once that is granted, connections go on behind the position that was
 * told. Before the first step. */
void edge_set_from(struct edge *e, enum edge_from from, uint64_t time_ns);
/* Wants another set from now on: none, and what is added behind it, which `edge_change` completes. Over this
 * connection if there is one, with a number of the caller's that grows. */
void edge_clear_subtrees(struct edge *e);
void edge_change(struct edge *e, uint32_t change);
/* What callbacks->topic said may be another. */
void edge_reroute(struct edge *e);
void edge_set_tick(struct edge *e, uint32_t tick_ms); /* default EDGE_TICK_DEFAULT_MS */
/* Progress is said of the last whole message at or below this seq, too. */
void edge_set_mark(struct edge *e, uint64_t seq);

bool edge_on_stream(struct edge *e, const struct port_stream_event *event, struct port_time now,
                    size_t *consumed); /* false: not its own */
uint64_t edge_step(struct edge *e, struct port_time now);

/* Reads the stream anew, from the beginning, over a new connection. */
void edge_restart(struct edge *e);
/* Goes on where it is over a new connection, to the same proxy. */
void edge_reconnect(struct edge *e);
/* Ends this connection; the next proxy is tried. */
__attribute__((format(printf, 2, 3))) void edge_give_up(struct edge *e, const char *format, ...);

/* No more connections. */
void edge_stop(struct edge *e);

/* In place: what is not printable ASCII in what a proxy says for humans becomes question marks. */
void edge_clean(char *text);

/* Queue a frame; false: no room now, or not connected. */
bool edge_open_publisher(struct edge *e, const struct edge_open *o);
bool edge_publish(struct edge *e, const struct edge_publish *p);

bool edge_is_subscribed(const struct edge *e);
bool edge_awaits_time(
    const struct edge *e); /* it was asked for, and is not there, or not told yet */
const struct edge_accepted *edge_accepted(const struct edge *e); /* of this connection */
struct position edge_position(const struct edge *e);             /* handed over through */
uint64_t edge_stream(const struct edge *e);                      /* 0: not known yet */
uint64_t edge_stable(const struct edge *e);
uint64_t edge_tip(const struct edge *e);        /* known to exist */
uint64_t edge_violations(const struct edge *e); /* by proxies */
const char *edge_state_text(const struct edge *e);

#endif
