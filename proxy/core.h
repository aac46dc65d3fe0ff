/* The proxy: one more follower of the stream, that lets clients in over TCP.
 *
 *   follower ──batches──▶ ring ──▶ interest: topic -> the views that want it
 *                                     │
 *                                     ▼            view: what all clients with the same set of subtrees
 *   clients ◀── sessions ◀────────── views         get, encoded once
 *      │           ▲ catch-up: ring or a store, encoded for the one session, until it has reached
 *      │           │           the view's bytes
 *      └─publish─▶ relay ──proposals──▶ ingress group
 *
 * What a session sends after ACCEPTED is a function of the stream, its subscription and its own requests;
 * a refusal, which depends on when a request came, is the one exception. A session at stable is a view's
 * bytes up to the stable watermark.
 *
 * A slow client is first left behind by its view (catch-up), then cut off; nobody waits for it. Memory is
 * taken by create, but for sessions and views, which come from pools of the stated sizes.
 *
 * It has no durable state. Its catalog follows at sequenced with a copy at the stable watermark, as a
 * sequencer's does, so that a fork costs no replay. Grants are judged by the former for writing (early:
 * the sequencer judges again), and for reading by both: what either forbids is not sent. Pure. */
#ifndef CANTUS_PROXY_CORE_H
#define CANTUS_PROXY_CORE_H

#include "follow/follower.h"
#include "proto/catalog.h"
#include "proto/edge.h"

struct proxy_options {
    uint64_t stream;
    uint64_t random; /* seeds challenges and nonces: must not be guessable in operation */
    char name[EDGE_AGENT_MAX + 1];
    uint32_t source_count;
    struct follower_source sources[FOLLOWER_SOURCES_MAX];
    struct catalog_options catalog;
    uint32_t datagram_max;      /* default 1472 */
    uint32_t sessions_max;      /* default 16384 */
    uint32_t sessions_per_key;  /* default 256; of nobody in particular: per address */
    uint32_t sessions_per_addr; /* default 1024 */
    uint32_t logins_max;        /* not accepted yet; default 512: the rest waits in the backlog */
    uint32_t views_max;         /* default sessions_max */
    uint64_t view_bytes;        /* encoded, of all views; default 256 MiB */
    uint64_t lag_bytes_max; /* a session this far behind its view is left behind; default 4 MiB */
    uint64_t slow_ns;     /* without taking a byte although there are some: cut off; default 30 s */
    uint64_t ring_bytes;  /* of recent batches; default 256 MiB */
    uint32_t replays_max; /* from stores at a time; default 8 */
    uint32_t publishers_max; /* open at a time; default 16384 */
    uint64_t inflight_bytes; /* published and not yet stable, of one session; default 4 MiB */
    uint32_t window;         /* numbers in flight, of one publisher; default 1024 */
    uint64_t login_ns;       /* from connect to PROVE; default 5 s */
    uint64_t idle_ns;        /* without a byte from the client; default 60 s */
    uint64_t quantum_bytes;  /* deficit round robin between publishing sessions; default 16384 */
    /* [COUNTER_END], zeroed by the owner; NULL: its own memory. */
    uint64_t *counters;
    uint32_t sabotage; /* enum proxy_sabotage, a bit set; the simulator only */
};

enum proxy_sabotage {
    PROXY_FORGETS_REVOKED = 1, /* goes on sending what may no longer be read */
    PROXY_SKIPS_A_MATCH = 2,   /* now and then leaves a message out */
    PROXY_ANY_IDENTITY = 4,    /* opens publishers of other keys */
    PROXY_REPLAYED_LOGIN = 8,  /* gives everyone the same challenge */
    PROXY_JOINS_WITH_GAP = 16, /* goes from catch-up to live without looking whether they meet */
    PROXY_FORK_UNTOLD = 32     /* goes on behind a fork as if nothing had been sent */
};

struct proxy;

void proxy_options_default(struct proxy_options *o);
size_t proxy_memory(const struct proxy_options *o);
struct proxy *proxy_create(const struct proxy_options *o, struct port *port,
                           struct port_time now); /* NULL: no memory */
void proxy_destroy(struct proxy *p);

extern const struct participant_ops proxy_participant;

/* Tells all clients to go elsewhere and accepts no more; done when no session is left. */
void proxy_drain(struct proxy *p, struct port_time now);
bool proxy_drained(const struct proxy *p);

uint32_t proxy_sessions(const struct proxy *p);
uint64_t proxy_tip(const struct proxy *p);
uint64_t proxy_stable(const struct proxy *p);
const struct catalog *proxy_catalog(const struct proxy *p);
const uint64_t *proxy_counters(const struct proxy *p);

#endif
