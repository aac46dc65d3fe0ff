/* Shared by core*.c, digest.c, pipe.c, injector.c and reconciler.c, and nobody else. */
#ifndef CANTUS_LIBCLIENT_CORE_PRIVATE_H
#define CANTUS_LIBCLIENT_CORE_PRIVATE_H

#include "follow/run.h"
#include "libclient/core.h"

enum {
    CLIENT_AUTHORS_MAX = 2 * CLIENT_MACHINES_MAX + CLIENT_PIPES_MAX,
    CLIENT_DIGESTS_MAX = 64,      /* of one app, that wait to be stable or to be sent */
    CLIENT_CREATES_MAX = 256,     /* topics asked for at once */
    CLIENT_STEP_ITEMS_MAX = 4096, /* of one injector */
    CLIENT_ROUTES_MAX = 65535,
    CLIENT_TEXT_MAX = 256
};

enum author_kind { AUTHOR_APP, AUTHOR_DIGEST, AUTHOR_PIPE, AUTHOR_INJECTOR, AUTHOR_RECONCILER };

/* Its own are counted in `own`, a byte each. */
_Static_assert(CLIENT_AUTHORS_MAX < 255, "an author's index + 1 fits a byte");

/* A publisher, and who speaks through it. Pipes, injectors and reconcilers are each one. */
struct author {
    struct client_core *core;
    struct publisher *publisher;
    struct client_machine *machine; /* of an app */
    enum author_kind kind;
    uint8_t index;  /* in core->authors */
    bool ask;       /* something has happened since it last said nothing */
    bool more;      /* what is pushed now is a part of a group, which goes on */
    bool stopped;   /* superseded, and reported */
    bool by_runs;   /* its publisher takes runs: what else there is to an outcome is counting */
    uint64_t items; /* of this identity with an outcome, in the history as delivered */
    uint64_t items_seen; /* the same, but counted again during a rebuild */
    uint64_t rejected;
    union {
        bool (*item)(void *ctx, uint64_t index, struct cantus_item *out);
        bool (*difference)(void *ctx, struct cantus_proposal *proposal);
    } call;
    void *ctx;
    uint8_t *buffer; /* a reconciler's proposals */
    /* The topic said last. Same spelling, same id. */
    uint32_t topic;
    char topic_path[TOPIC_PATH_MAX + 1];
};

struct cantus_pipe {
    struct author author;
};
struct cantus_injector {
    struct author author;
};
struct cantus_reconciler {
    struct author author;
};

/* The digests of an app's state on their way into the stream, oldest first. */
struct client_digests {
    struct author author;
    uint64_t every;
    uint32_t count;
    bool refused; /* its topic can't be had: nothing more is said */
    struct sys_digest waiting[CLIENT_DIGESTS_MAX];
    struct sys_digest said; /* the last that this identity published; its seq is 0: none */
    char topic[TOPIC_PATH_MAX + 1];
};

struct client_machine {
    struct machine *machine;
    struct author *author;          /* NULL: it only follows */
    struct client_digests *digests; /* NULL: it publishes none */
    bool changed;                   /* has applied something since its last digest was due */
    bool quarantine_reported;
};

struct client_subscription {
    char subtree[TOPIC_PATH_MAX + 1]; /* "": this slot is free */
    void (*message)(void *ctx, const struct cantus_message *m);
    void *ctx;
    uint64_t next_seq; /* nothing below is handed over (again) */
    uint64_t from_ns;  /* nor what is stamped earlier */
    uint32_t change;   /* it came with this one */
    bool waits;        /* from which seq on it counts is not known yet */
    bool from_tip;     /* likewise: from the tip on, once that is reached */
};

/* A topic that somebody wants to write to and that does not exist yet. */
struct client_create {
    struct author *author; /* NULL: this slot is free */
    uint64_t nonce;
    uint64_t at_ns;
    uint64_t wait_ns;
    uint32_t length;
    bool reported;
    char path[TOPIC_PATH_MAX + 1];
};

/* Who wants the messages of a topic. Route 0 is nobody. */
struct client_route {
    uint64_t machines;
    uint64_t subscriptions;
    uint64_t nodes[CLIENT_MACHINES_MAX]; /* as many as there are machines */
};

struct client_core {
    struct client_core_options options;
    struct port *port;
    struct port_time now;
    struct follower *follower; /* NULL through a proxy, as is the catalog */
    struct catalog *catalog;
    struct run_assembler run;
    struct edge *edge;  /* NULL on the core network */
    uint64_t *counters; /* the owner's memory or own_counters */
    uint64_t own_counters[COUNTER_END];

    enum cantus_status status;
    bool started; /* nothing can be added any more */
    bool live;    /* has caught up, and is not far behind since */
    bool rebuilding;
    bool ended; /* until_seq */
    char error[CANTUS_ERROR_MAX];

    uint64_t next;      /* seq of the next message of the stream */
    uint64_t held_next; /* of what was handed over and not taken back: `next`, or above it while
                               * a fork's history is applied again */
    struct epoch_table *held;   /* of that history, while it reaches above `next` */
    struct epoch_table *epochs; /* through a proxy: of the history that is handed over now */
    struct author *opening;     /* likewise: asked for, and not answered yet */
    uint64_t opening_done;      /* outcomes that it had then; UINT64_MAX: nothing was under way */
    struct digest digest;       /* of the history before it */
    bool any;                   /* a batch was applied: the digest is to be checked */
    struct position position;   /* applied through; between runs */
    uint64_t timer_due_ns;      /* the earliest of all machines, or earlier */
    uint64_t digest_due_seq;    /* the next message after which a digest is due */
    uint64_t stable;
    uint64_t stable_told; /* through a proxy: to its publishers */
    uint64_t random;
    uint64_t hint_reported_ns;
    uint64_t arrived; /* datagrams, for the planted mistakes' clock */

    /* By topic id, below topics_max. */
    uint16_t *route;
    const char **path;     /* in the catalog; NULL: not there */
    uint64_t *created_seq; /* 0: not there */
    uint32_t topics_max;
    uint32_t topic_end; /* routed up to here */
    uint8_t *routes;    /* route_count of route_size */
    size_t route_size;
    uint32_t route_count, routes_max;
    /* By publisher id: index of the author + 1. */
    uint8_t *own;
    uint32_t publishers_max;

    uint32_t machine_count;
    struct client_machine machines[CLIENT_MACHINES_MAX];
    uint32_t subscription_count;
    uint32_t change;  /* of subscriptions: counts them */
    bool resubscribe; /* one is still to be applied */
    struct client_subscription subscriptions[CLIENT_SUBSCRIPTIONS_MAX];
    uint32_t author_count;
    uint32_t pipe_count; /* pipes, injectors, reconcilers */
    struct author *authors[CLIENT_AUTHORS_MAX];
    uint32_t create_count;
    struct client_create creates[CLIENT_CREATES_MAX];
};

enum propose_result {
    PROPOSE_PUSHED,
    PROPOSE_LATER,  /* no room, or a topic that is still being made */
    PROPOSE_REFUSED /* it can never be sequenced; a text says why */
};

/* ---- core.c ---------------------------------------------------------------------------------- */
void core_report(const struct client_core *c, enum cantus_report_kind kind, uint64_t seq,
                 const char *identity, const char *topic, const char *text);
__attribute__((format(printf, 3, 4))) void
core_fail(struct client_core *c, enum cantus_status status, const char *format, ...);
uint64_t core_random(struct client_core *c);
/* Says that what was handed over from first_seq on no longer holds, and notes what still does; `epochs` are
 * those of the history as it was handed over. */
void core_report_fork(struct client_core *c, const struct epoch_table *epochs, uint64_t first_seq);
void core_check_superseded(struct client_core *c, struct author *a);
void core_step_authors(struct client_core *c);
/* Caught up, at last or again. */
void core_go_live(struct client_core *c);

/* ---- core_deliver.c -------------------------------------------------------------------------- */
/* Applies a batch that follows. */
void core_apply(struct client_core *c, const uint8_t *batch, const struct batch_header *header);
/* Back to before the first message; what was delivered above `common` no longer holds. */
void core_take_back(struct client_core *c, struct position common);
void core_rewind(struct client_core *c, struct position common);

/* Timers due by then; then whoever wants a message of this route. */
void core_fire_timers(struct client_core *c, uint64_t timestamp_ns);
void core_hand_over(struct client_core *c, const struct client_route *route,
                    const struct cantus_message *message);

/* ---- core_edge.c ----------------------------------------------------------------------------- */
bool core_edge_create(struct client_core *c);
uint64_t core_edge_step(struct client_core *c);
/* "@KEY:name"; false, with a text in error. */
bool core_edge_identity(const struct client_core *c, const char *name, char out[IDENTITY_MAX + 1],
                        char *error);
enum propose_result core_edge_propose(struct author *a, const struct cantus_proposal *proposal,
                                      char text[CLIENT_TEXT_MAX]);
/* The path of the topic of what had this outcome. */
void core_edge_path(const struct author *a, const struct publisher_outcome *o,
                    char path[TOPIC_PATH_MAX + 1]);

/* ---- core_edge_subscribe.c ------------------------------------------------------------------- */
void core_edge_start(struct client_core *c);
/* The proxy is to be asked for the subtrees that are wanted now. */
void core_edge_resubscribe(struct client_core *c);

/* ---- core_subscribe.c ------------------------------------------------------------------------ */
/* Everything below `seq` was there when the client came: those that begin at the tip do so here, once. */
void core_begin_at_tip(struct client_core *c, uint64_t seq);
/* Subscriptions have changed: the next message is this one. */
void core_resubscribe(struct client_core *c, uint64_t seq);
/* Those of this change and the ones before it count from `seq` on. */
void core_subscribed_from(struct client_core *c, uint64_t seq, uint32_t change);
/* A proxy does not let us subscribe to what was asked for while connected. False: it was not. */
bool core_drop_subscriptions(struct client_core *c, const char *subtree, const char *text);

/* ---- core_route.c ---------------------------------------------------------------------------- */
void core_route_new_topics(struct client_core *c, uint64_t seq);
void core_route_reset(struct client_core *c);
/* Of topics that there are, anew. */
void core_reroute(struct client_core *c);
/* The route of a topic with this path. */
uint16_t core_find_route(struct client_core *c, const char *path, size_t length);
static inline const struct client_route *core_route_of(const struct client_core *c, uint32_t route)
{
    return (const struct client_route *)(const void *)(c->routes + route * c->route_size);
}
static inline const struct client_route *core_route(const struct client_core *c, uint32_t topic)
{
    return core_route_of(c, c->route[topic]);
}

/* ---- core_author.c --------------------------------------------------------------------------- */
/* Makes the publisher of `a`, which is the caller's memory until it is added. */
bool author_init(struct client_core *c, struct author *a, enum author_kind kind,
                 const char *identity, char *error);
void author_close(struct author *a);
/* What it says does not depend on the history: a fork takes nothing of it back. */
bool author_is_blind(enum author_kind kind);
enum propose_result author_propose(struct author *a, const struct cantus_proposal *proposal,
                                   char text[CLIENT_TEXT_MAX]);
void author_on_message(struct author *a, const struct message *m);
/* Its publisher has taken a run of so many messages. */
void author_on_run(struct author *a, uint32_t count);
/* Whether it may be asked: joined, and the client is at the tip. */
bool author_ready(const struct author *a);
uint64_t core_step_creates(struct client_core *c);
void core_on_create_refused(struct client_core *c, const struct hint *h);
void app_step(struct author *a);

/* ---- digest.c -------------------------------------------------------------------------------- */
/* Message `seq` was applied, and a digest is due. */
void core_take_digests(struct client_core *c, uint64_t seq);
/* What was delivered above `common` no longer holds. */
void core_take_back_digests(struct client_core *c, struct position common);
/* The history is applied again from the beginning. */
void core_rewind_digests(struct client_core *c);
void digest_on_message(struct author *a, const struct message *m);
void digest_step(struct author *a);

/* ---- pipe.c, injector.c, reconciler.c -------------------------------------------------------- */
void injector_step(struct author *a);
void reconciler_step(struct author *a);

#endif
