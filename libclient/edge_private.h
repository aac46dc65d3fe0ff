/* Shared by edge*.c and nobody else. */
#ifndef CANTUS_LIBCLIENT_EDGE_PRIVATE_H
#define CANTUS_LIBCLIENT_EDGE_PRIVATE_H

#include "libclient/edge.h"

enum {
    /* A message introduces two names at most, and a block has EDGE_BLOCK messages; whoever begins in the
     * middle is told what is known there. */
    EDGE_NAMES_MAX = 3 * EDGE_BLOCK,
    EDGE_NAME_SLOTS = 32768, /* a power of two, more than twice that */
    EDGE_NAME_BYTES = 2 << 20,
    EDGE_OUT_BYTES = EDGE_FRAME_MAX + 64 * 1024
};

#define EDGE_FIRST_UNKNOWN UINT64_MAX /* first seq of an epoch */

#define EDGE_LOGIN_NS UINT64_C(15000000000) /* from connect to ACCEPTED */
#define EDGE_ALIVE_NS                                                                              \
    UINT64_C(15000000000) /* said after so long a silence of ours; it is answered */
#define EDGE_DEAD_NS        UINT64_C(60000000000) /* without a byte of the proxy's */
#define EDGE_BACKOFF_NS     UINT64_C(50000000)    /* doubles with each round of all proxies */
#define EDGE_BACKOFF_MAX_NS UINT64_C(5000000000)
#define EDGE_GOOD_NS        UINT64_C(2000000000) /* a connection that held so long: begin anew */

enum edge_state {
    EDGE_STATE_REST = 1, /* until retry_at_ns */
    EDGE_STATE_CONNECT,
    EDGE_STATE_HELLO, /* HELLO is said */
    EDGE_STATE_PROVE, /* until ACCEPTED */
    EDGE_STATE_ACCEPTED,
    EDGE_STATE_FAILED /* for good */
};

struct edge_name_slot {
    uint32_t word;  /* kind and id */
    uint32_t block; /* it counts if this is names.block */
    struct edge_text text;
};

struct edge_names {
    struct edge_name_slot *slots; /* EDGE_NAME_SLOTS */
    char *bytes;                  /* EDGE_NAME_BYTES */
    uint32_t used, bytes_used;
    uint32_t block; /* counts blocks: the names of others are forgotten */
};

struct edge {
    struct edge_options options;
    struct edge_callbacks call;
    struct port *port;
    struct port_time now;
    uint64_t random;
    uint64_t violations;

    enum edge_state state;
    uint32_t stream; /* the port's; 0: none */
    uint32_t proxy_count, proxy, tried;
    uint32_t rounds; /* of all proxies, in vain */
    uint32_t identity_refusals;
    struct port_addr proxies[EDGE_PROXIES_MAX];
    uint64_t retry_at_ns, login_by_ns, accepted_ns, said_ns, heard_ns;
    struct edge_welcome welcome;
    struct edge_accepted accepted;
    uint64_t stream_id, stable, tip;

    uint8_t *in; /* a frame that has not come whole: up to EDGE_FRAME_MAX + 4 */
    size_t in_used;
    uint8_t *out; /* EDGE_OUT_BYTES: [out_at, out_end) waits for room */
    size_t out_at, out_end;

    struct edge_subtrees subtrees, asked; /* wanted; and what this connection was asked for */
    uint8_t *subtree_bytes, *asked_bytes;
    uint8_t *change_bytes;         /* of a CHANGE: both lists */
    uint32_t change, asked_change; /* numbers of theirs */
    bool wants_change, changing;   /* it is still to be asked for; to be answered */
    uint32_t tick_ms;
    uint64_t mark_seq;
    enum edge_from begin_from; /* until `begun`: a SUBSCRIBED has told the position */
    uint64_t begin_ns;
    bool begun;
    enum edge_from asked_from; /* of this connection */
    bool subscribing, subscribed;

    struct position position;  /* handed over through */
    struct epoch epoch;        /* of what comes next */
    uint64_t epoch_first_seq;  /* of it; 0: it began in front of the position */
    struct epoch epoch_before; /* up to there, from before_first_seq on */
    uint64_t before_first_seq;
    uint64_t timestamp_ns; /* nothing older comes */
    uint64_t last;         /* match in the block, or in one that has ended; 0: none */
    bool covered;          /* a PROGRESS has named it: its block may be over */
    bool fresh;            /* whatever matched at or below `boundary` may be named as previous */
    uint64_t boundary;
    struct edge_names names;
};

/* ---- edge.c ---------------------------------------------------------------------------------- */
/* Room for a frame of at most this length, or NULL. */
uint8_t *edge_frame_room(struct edge *e, size_t length);
void edge_frame_written(struct edge *e, size_t length);
/* It does not add up: counts, and gives the connection up. */
__attribute__((format(printf, 2, 3))) void edge_violation(struct edge *e, const char *format, ...);
void edge_fail(struct edge *e, const char *text);
/* This connection is over; the next one is tried, at once or after a while. */
void edge_lose(struct edge *e, bool at_once);

/* ---- edge_login.c ---------------------------------------------------------------------------- */
void edge_say_hello(struct edge *e);
void edge_on_welcome(struct edge *e, const uint8_t *body, size_t length);
void edge_on_accepted(struct edge *e, const uint8_t *body, size_t length);
void edge_on_closing(struct edge *e, const uint8_t *body, size_t length);
/* Whatever it says before its WELCOME, or hangs up instead: somebody else may listen there. */
#define EDGE_NO_PROXY ": is it a proxy, at the port for its clients?"
void edge_subscribe(struct edge *e);

/* ---- edge_change.c --------------------------------------------------------------------------- */
void edge_asked_all(struct edge *e); /* what is wanted is what was asked for */
/* Asks for what has changed, if it may now. */
void edge_ask_change(struct edge *e);
void edge_on_changed(struct edge *e, const uint8_t *body, size_t length);

/* ---- edge_read.c ----------------------------------------------------------------------------- */
/* Everything at and below `seq` was sent. */
void edge_have_all_through(struct edge *e, uint64_t seq);
/* What was sent last is not to be named: whatever matched at or below `seq` may be. */
void edge_begin_behind(struct edge *e, uint64_t seq);
/* A whole frame. */
void edge_on_frame(struct edge *e, enum edge_type type, const uint8_t *body, size_t length);

/* ---- edge_names.c ---------------------------------------------------------------------------- */
bool edge_names_init(struct edge_names *n);
void edge_names_close(struct edge_names *n);
void edge_names_forget(struct edge_names *n);
/* NULL: more than a block has. What was known by this id is replaced. */
struct edge_text *edge_names_add(struct edge_names *n, const struct edge_name *name);
/* The next from *at on, or NULL. */
struct edge_text *edge_names_next(struct edge_names *n, enum edge_name_kind kind, uint32_t *at);
const struct edge_text *edge_names_find(const struct edge_names *n, enum edge_name_kind kind,
                                        uint32_t id); /* or NULL */

#endif
