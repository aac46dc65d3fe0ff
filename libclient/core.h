/* The client core: a follower and the catalog, or a connection to a proxy (edge.h), and what hangs on
 * them: machines, publishers, pipes, injectors, reconcilers, subscriptions. What the public API drives
 * over sockets, and the simulator over its network. Pure. */
#ifndef CANTUS_LIBCLIENT_CORE_H
#define CANTUS_LIBCLIENT_CORE_H

#include "cantus/client.h"
#include "follow/follower.h"
#include "libclient/edge.h"
#include "libclient/machine.h"
#include "libclient/publisher.h"

enum { CLIENT_MACHINES_MAX = 64, CLIENT_PIPES_MAX = 64, CLIENT_SUBSCRIPTIONS_MAX = 64 };

/* Everything is added before the first event or step, but for subscriptions. */
struct client_core_options {
    struct follower_options follower; /* stream, level, sources, sizes */
    struct catalog_options catalog;
    /* Through a proxy: then of the above only the follower's level and stream count, and identities are
     * names, behind "@KEY:" in the stream. NULL: on the core network. */
    const struct edge_options *edge;
    uint32_t run_bytes_max;
    uint64_t until_seq;
    enum cantus_from from; /* other than the beginning: without apps */
    uint64_t from_ns;
    uint64_t random; /* nonces */
    void (*report)(void *ctx, const struct cantus_report *report);
    void *ctx;
    /* [COUNTER_END], zeroed by the owner, who may read them from anywhere at any time; NULL: its
     * own memory. */
    uint64_t *counters;
    uint32_t sabotage; /* enum client_sabotage, a bit set; the simulator only */
};

enum client_sabotage {
    CLIENT_RENUMBERS = 1,        /* after a time-out sends the item again under a new number */
    CLIENT_TIMER_BY_ARRIVAL = 2, /* fires timers by the local clock instead of the stream's */
    CLIENT_DELIVERS_AHEAD = 4,   /* hands over what arrives, gaps or not */
    CLIENT_NOT_TOLD = 8,         /* takes no notice of being superseded */
    CLIENT_HALF_GROUP = 16,      /* hands over a group's messages before its last one is there */
    CLIENT_BEGINS_ANEW = 32      /* takes no notice of the items that a proxy tells of */
};

struct client_core;

struct client_core *client_core_create(const struct client_core_options *options, struct port *port,
                                       struct port_time now, char *error);
void client_core_destroy(struct client_core *c);
extern const struct participant_ops client_participant;

struct machine *client_core_add_app(struct client_core *c, const struct cantus_app *app,
                                    const char *config, const char *identity, char *error);
/* Publishes digests of this app's state; cantus_client_publish_digests says when. */
bool client_core_publish_digests(struct client_core *c, const struct machine *m,
                                 const char *identity, uint64_t every, char *error);
bool client_core_subscribe(struct client_core *c, const char *subtree,
                           void (*message)(void *ctx, const struct cantus_message *m), void *ctx,
                           char *error);
bool client_core_unsubscribe(struct client_core *c, const char *subtree,
                             void (*message)(void *ctx, const struct cantus_message *m), void *ctx);
struct cantus_pipe *client_core_add_pipe(struct client_core *c, const char *identity, char *error);
/* cantus_pipe_push through a proxy of a part of a group, which goes on with what is pushed next: for the
 * simulator, for other clients than the library have groups. */
bool client_core_push_part(struct cantus_pipe *pipe, const char *topic, const void *payload,
                           size_t length);
struct cantus_injector *client_core_add_injector(struct client_core *c, const char *identity,
                                                 bool (*item)(void *ctx, uint64_t index,
                                                              struct cantus_item *out),
                                                 void *ctx, char *error);
struct cantus_reconciler *
client_core_add_reconciler(struct client_core *c, const char *identity,
                           bool (*difference)(void *ctx, struct cantus_proposal *proposal),
                           void *ctx, char *error);

/* Of a core through a proxy, to be told where proxies are; else NULL. */
struct edge *client_core_edge(struct client_core *c);

/* Feeds a batch directly: offline replay from a journal. False when it does not follow. */
bool client_core_apply_batch(struct client_core *c, const uint8_t *batch,
                             const struct batch_header *header);

enum cantus_status client_core_status(const struct client_core *c);
const char *
client_core_error(const struct client_core *c); /* "" while the status is not negative */
/* Delivered everything that is known to exist at its level, apps rebuilt. */
bool client_core_caught_up(const struct client_core *c);
const struct follower *client_core_follower(const struct client_core *c); /* NULL: by a proxy */
const struct catalog *client_core_catalog(const struct client_core *c);   /* likewise */
uint64_t client_core_tip(const struct client_core *c);                    /* known to exist */
uint64_t client_core_stable(const struct client_core *c);                 /* known to be stable */
uint64_t client_core_stream(const struct client_core *c);                 /* 0: not known yet */
/* What is now, into a counters' array: only gauges are set. For the driver to call now and then. */
void client_core_gauges(const struct client_core *c, uint64_t gauges[COUNTER_END]);
const char *client_core_state(const struct client_core *c); /* a word or two for humans */
uint64_t *client_core_counters(struct client_core *c);      /* the driver counts in them, too */
uint64_t client_core_seq(const struct client_core *c);      /* applied through */
/* The publisher behind an app (NULL if it only follows). */
const struct publisher *client_core_publisher(const struct client_core *c, const struct machine *m);

#endif
