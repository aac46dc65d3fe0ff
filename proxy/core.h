/* The proxy: one more follower of the stream, that lets clients in over TCP. docs/wire.md, section 10.
 *
 *   follower ──▶ catalog ──▶ readers ──▶ sessions ──▶ clients
 *                                           │
 *      ingress ◀── proposals ◀── relay ◀────┘
 *
 *   core.c      the follower, both catalogs, forks; the participant
 *   base.h      the catalog at the stable watermark
 *   reader.h    what a session is sent of the stream
 *   session.h   one connection: login, requests, quotas, text mode
 *   relay.h     publishers of sessions; the proxy's own, which logs logins on /sys/edge, and that it is there
 *   limiter.h   token buckets by key and subtree
 *   logins.h    at how many proxies a key is logged in
 *
 * What a session sends after ACCEPTED is a function of the stream (its login and its changed subscriptions
 * are records there: proto/sys_edge.h) and of the client's own bytes; what depends on when a request came is the
 * exception: a refusal, a page of clients, and the answer to an OPEN whose join is there already.
 *
 * A slow client is first left behind by its view, then cut off; nobody waits for it. Memory is taken by
 * create; what clients make comes from pools of the stated sizes.
 *
 * It has no durable state. Its catalog follows at sequenced, with a copy at the stable watermark, so that a
 * fork costs no replay. Grants are judged by the former, for writing (early: the sequencer judges again) and
 * for reading: who reads at sequenced reads a branch by its own grants, and who reads at stable gets only what
 * is stable, by grants that a fork may still take back. Pure. */
#ifndef CANTUS_PROXY_CORE_H
#define CANTUS_PROXY_CORE_H

#include "follow/follower.h"
#include "proto/catalog.h"
#include "proto/edge.h"

enum { PROXY_SECRET_SIZE = 32, PROXY_NAME_MAX = 31 };

struct proxy_options {
    uint64_t stream;
    /* Challenges and ids come of it: from the system's random source */
    uint8_t secret[PROXY_SECRET_SIZE];
    char name[PROXY_NAME_MAX + 1]; /* its publisher is "proxy.NAME" */
    uint32_t source_count;
    struct follower_source sources[FOLLOWER_SOURCES_MAX];
    struct catalog_options catalog;
    uint32_t datagram_max;      /* default 1472 */
    uint32_t run_bytes_max;     /* default RUN_BYTES_DEFAULT */
    uint32_t sessions_max;      /* default 16384 */
    uint32_t sessions_per_key;  /* default 1024, if the catalog's limits say nothing */
    uint32_t sessions_per_addr; /* default 16384 */
    /* What a client makes the proxy write down stays in the stream for ever: a login (with its logout), a
     * subscription from the tip, a change, a publisher. So many a second for each address, and each key,
     * behind a burst; default 64 behind 32768, and 16 behind 5120. 0: no limit. Whose address has none left
     * waits for its turn; a login of a key that has none left is refused. */
    uint32_t records_per_addr_s, records_per_addr_burst;
    uint32_t records_per_key_s, records_per_key_burst;
    uint32_t logins_max;     /* not accepted yet, at a time; default 512: others wait their turn */
    uint32_t subtrees_max;   /* of all sessions together; default 262144 */
    uint64_t view_bytes;     /* default 256 MiB */
    uint64_t recent_bytes;   /* default 256 MiB */
    uint64_t lag_bytes_max;  /* default 4 MiB */
    uint64_t slow_ns;        /* takes nothing although there is something: cut off; default 30 s */
    uint32_t replays_max;    /* default 8 */
    uint32_t publishers_max; /* open at a time; default 4096 */
    /* Published and not yet stable, of one publisher; default 256 KiB, at most half of which one message may have */
    uint64_t publisher_bytes;
    /* Of all publishers, which are as many as fit: each takes publisher_bytes and 400 bytes for each number of its
     * window; default 256 MiB */
    uint64_t relay_bytes;
    /* It says that it is there, which limits of subtrees are divided by, thrice in so long of the stream's time, and
     * counts for so long; default 30 s */
    uint32_t presence_ms;
    uint32_t window;        /* numbers in flight, of one publisher; a power of two; default 256 */
    uint64_t login_ns;      /* from connect to PROVE; default 5 s */
    uint64_t idle_ns;       /* without a byte from the client; default 60 s; 0: for ever */
    uint32_t quantum_bytes; /* deficit round robin between publishing sessions; default 16384 */
    uint64_t *counters;     /* [COUNTER_END], zeroed by the owner; NULL: its own memory */
    uint32_t sabotage;      /* enum proxy_sabotage, a bit set; the simulator only */
};

enum proxy_sabotage {
    PROXY_FORGETS_REVOKED = 1,  /* goes on sending what may no longer be read */
    PROXY_SKIPS_A_MATCH = 2,    /* now and then leaves a message out */
    PROXY_ANY_IDENTITY = 4,     /* opens publishers of other keys */
    PROXY_SAME_CHALLENGE = 8,   /* gives everyone the same challenge */
    PROXY_JOINS_WITH_GAP = 16,  /* goes from behind to live without looking whether they meet */
    PROXY_FORK_UNTOLD = 32,     /* goes on behind a fork as if nothing had been sent */
    PROXY_STABLE_EARLY = 64,    /* sends what is not stable to readers at stable */
    PROXY_OWN_CLOCK = 128,      /* tells the time with something of its own clock */
    PROXY_PASSES_A_MATCH = 256, /* who catches up passes what it wants now and then */
    PROXY_PASSES_NOTHING =
        512, /* no mistake: who catches up reads every message, to compare with */
    PROXY_STABLE_OF_NOW = 1024, /* tells who is behind what is stable now, not what was there */
    PROXY_UNDIVIDED = 2048, /* lets through all of a subtree's limit, as if it were the only one */
    PROXY_SHARES_REVOKED = 4096, /* encodes once for those whose rights are no longer equal */
    PROXY_CHANGES_LATE = 8192,   /* a changed set counts one seq behind where its record says */
    PROXY_RELEASES_PARTS = 16384 /* keeps of a group only what is not stable yet */
};

struct proxy;

/* Sets every field; stream, secret, name and sources are zeros. */
void proxy_options_default(struct proxy_options *o);
size_t proxy_memory(const struct proxy_options *o);
/* The longest request of a client, but for SUBSCRIBE and CHANGE: the transport's buffer for what it sends has to hold
 * that. */
size_t proxy_request_max(const struct proxy_options *o);
struct proxy *proxy_create(const struct proxy_options *o, struct port *port,
                           struct port_time now); /* NULL: no memory */
void proxy_destroy(struct proxy *p);
extern const struct participant_ops proxy_participant;

/* Tells all clients to go elsewhere and accepts no more; done when no session is left, and the stream says that it is
 * gone, or does not take it in a short time. */
void proxy_drain(struct proxy *p, struct port_time now);
bool proxy_drained(const struct proxy *p);

uint32_t proxy_sessions(const struct proxy *p);
uint64_t proxy_seq(const struct proxy *p); /* followed through */
uint64_t proxy_stable(const struct proxy *p);
bool proxy_ready(const struct proxy *p);  /* caught up, and its publisher has joined */
bool proxy_failed(const struct proxy *p); /* it can't go on; proxy_state says why */
const struct catalog *proxy_catalog(const struct proxy *p);
uint64_t *proxy_counters(const struct proxy *p);
void proxy_gauges(const struct proxy *p, uint64_t gauges[COUNTER_END]);
const char *proxy_state(const struct proxy *p); /* a word or two for humans */

/* For `cantus who`. */
struct proxy_client {
    uint32_t at; /* where the next look goes on */
    uint64_t session;
    struct port_addr addr;
    bool has_key, is_text, subscribed, stable, behind;
    uint8_t key[ACCESS_KEY_SIZE];
    char agent[EDGE_AGENT_MAX + 1];
    uint64_t since_wall_ns;
    uint64_t seq; /* sent through */
    uint64_t bytes_in, bytes_out;
    uint64_t published;
    uint32_t subtrees, publishers;
};
/* The session in the first slot at or above `at` that has one; false: no more. */
bool proxy_client_at(const struct proxy *p, uint32_t at, struct proxy_client *out);

#endif
