/* Cantus: following and feeding a stream from a process.
 *
 * One thread, poll-driven, no hidden threads: call cantus_client_poll in a loop, or wait on
 * cantus_client_fd with your own. No allocation on the message path after start.
 *
 * Levels. A message is *sequenced* once it has its place in the order, and *stable* once a quorum
 * of stores has it on disk. Sequenced is the fastest and may be taken back by a failover: then
 * `forked` is called, and the library rebuilds the apps. Stable is never taken back. See
 * docs/guarantees.md. */
#ifndef CANTUS_CLIENT_H
#define CANTUS_CLIENT_H

#include "cantus/app.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CANTUS_ERROR_MAX 1024

enum cantus_level {
    CANTUS_STABLE = 0, /* the default */
    CANTUS_SEQUENCED = 1
};

/* Where subscriptions that are made before the first poll begin. */
enum cantus_from {
    CANTUS_FROM_BEGINNING = 0, /* the default */
    CANTUS_FROM_TIP = 1,       /* behind all that there is: CANTUS_REPORT_SUBSCRIBED tells where */
    CANTUS_FROM_TIME = 2       /* with the first message stamped from_ns or later */
};

enum cantus_status {
    CANTUS_OK = 0,
    CANTUS_END = 1,         /* a journal source has been read to its end, or until_seq is reached */
    CANTUS_ERROR = -1,      /* the client can't go on; cantus_client_error says why */
    CANTUS_SUPERSEDED = -2, /* a later incarnation of one of our identities has joined: stop */
    CANTUS_LOST = -3        /* the history it needs is gone from every store */
};

enum cantus_report_kind {
    CANTUS_REPORT_FORKED = 1,      /* seq: the first that no longer holds */
    CANTUS_REPORT_REBUILT = 2,     /* seq: apps are rebuilt and back at the tip */
    CANTUS_REPORT_REJECTED = 3,    /* an own proposal: topic, reason */
    CANTUS_REPORT_QUARANTINED = 4, /* an app kept proposing what is already sequenced: seq, topic */
    CANTUS_REPORT_SUPERSEDED = 5,
    CANTUS_REPORT_LOST = 6,
    CANTUS_REPORT_HINT = 7, /* the sequencer's advice, e.g. paused: no quorum of stores */
    /* Of a subscription that was made after the first poll, or begins at the tip; topic: its subtree. */
    CANTUS_REPORT_SUBSCRIBED = 8, /* seq: the first from which on it counts */
    CANTUS_REPORT_REFUSED = 9     /* by a proxy: it is gone */
};

struct cantus_report {
    enum cantus_report_kind kind;
    uint64_t seq;
    const char *identity; /* of the app or pipe concerned, or "" */
    const char *topic;    /* or "" */
    const char *text;     /* one line for humans */
};

struct cantus_client_options {
    /* "DIR": the deployment that DIR/cantus.yaml describes. "proxy:HOST:PORT[,HOST:PORT...]": through
     * one of these proxies, and another when it is lost; a name in the DNS stands for all its addresses.
     * "proxys:HOST:PORT[,...]": the same over TLS; HOST is the name that its certificate must have.
     * "journal:DIR": a store's files, offline.
     *
     * An app runs unchanged through a proxy. What its surroundings may notice: identities are names of a key
     * (key_file); an item is at most as large as the proxy says (half of its publisher_kib: 128 KiB by default); what our
     * key may not write, or has no topic left to make for, ends the client if a pipe or an injector says it, and is
     * reported as rejected to an app, and what it may not read ends it if it was asked for before the first poll;
     * cantus_client_seq and timers go on at ticks of the stream, as often as an app with timers needs it, else each 5 s;
     * that a stream is volatile is known once a proxy has let us in; digests are not published; and where a comment here
     * says so. */
    const char *source;
    enum cantus_level level;
    /* Deliver nothing above; 0: no end. cantus_client_seq is then the last whole message at or below it, and timers
     * have fired as due there. */
    uint64_t until_seq;
    void (*report)(void *ctx, const struct cantus_report *report); /* may be NULL */
    void *ctx;
    /* What `cantus top` calls it, and `cantus who` if it comes through a proxy; NULL: the program's name. "": nobody
     * is to see its counters. (Through a proxy they are seen on hosts where a part of the deployment runs, too, if
     * its cantus.yaml names no directory for them.) */
    const char *name;
    bool spin; /* lowest latency at the price of a core; default: kind to a laptop */
    /* Through a proxy: who we are (`cantus key new FILE`). NULL: nobody in particular, who reads what
     * anyone may and publishes nothing. An identity given to an app or a pipe is a name of this key, of at
     * most 18 bytes: "@KEY:NAME" in the stream. */
    const char *key_file;
    /* With "proxys:": a PEM file of the authorities that are trusted. NULL: the system's. */
    const char *ca_file;
    /* A proxy sends nothing of what is in front of it; elsewhere that is read and passed over. A client that does
     * not begin at the beginning has no apps: their state is that of the whole stream. Where it has begun holds for
     * good, whatever becomes of connections. A journal's tip is its end: nothing comes.
     *
     * A time may be ahead: messages stamped earlier are not handed over. A proxy waits for it, and nothing else is
     * heard of it meanwhile: no pipe is ready; the client has caught up while our clock says that it is ahead. */
    enum cantus_from from;
    uint64_t from_ns; /* CANTUS_FROM_TIME: Unix time */
};

struct cantus_client;
struct cantus_machine;
struct cantus_pipe;

/* NULL on failure, with a text in error[CANTUS_ERROR_MAX] that says what to do. */
CANTUS_API struct cantus_client *cantus_client_open(const struct cantus_client_options *options,
                                                    char *error);
CANTUS_API void cantus_client_close(struct cantus_client *client);

/* One round of work, waiting up to timeout_ns (0: not at all) if there is none. */
CANTUS_API enum cantus_status cantus_client_poll(struct cantus_client *client, uint64_t timeout_ns);
CANTUS_API int cantus_client_fd(struct cantus_client *client);
/* When to poll even if the fd is quiet: nanoseconds from now. */
CANTUS_API uint64_t cantus_client_timeout_ns(struct cantus_client *client);
CANTUS_API const char *cantus_client_error(const struct cantus_client *client);

CANTUS_API uint64_t cantus_client_stream(const struct cantus_client *client);
CANTUS_API uint64_t cantus_client_seq(const struct cantus_client *client); /* delivered through */
CANTUS_API uint64_t cantus_client_tip(const struct cantus_client *client); /* known to exist */
CANTUS_API uint64_t cantus_client_stable(const struct cantus_client *client); /* known stable */
/* Delivered everything that is known to exist at its level, and something was heard at all. */
CANTUS_API bool cantus_client_caught_up(const struct cantus_client *client);

/* Adds an app before the first poll. With an identity it proposes as that publisher; with NULL it
 * only follows. NULL on failure, with a text in error. */
CANTUS_API struct cantus_machine *cantus_client_add_app(struct cantus_client *client,
                                                        const struct cantus_app *app,
                                                        const char *config, const char *identity,
                                                        char *error);
CANTUS_API const void *cantus_machine_state(const struct cantus_machine *machine);
CANTUS_API uint64_t cantus_machine_digest(const struct cantus_machine *machine);
CANTUS_API bool cantus_machine_quarantined(const struct cantus_machine *machine);

/* Publishes digests of the app's state, on the core network, so that replicas of it can be compared while they run
 * (`cantus digest`). Before the first poll.
 *
 * One digest is due at every seq that is a multiple of `every` (0: CANTUS_DIGEST_EVERY), of the
 * state after all that is complete at or below that seq; so replicas with the same `every` choose
 * the same positions. Where the app has applied nothing and no timer of its has fired since the
 * multiple before, none is said. They are published only once they are stable, on
 * /sys/digest/NAME with the app's name, by a publisher of their own: `identity`, or if that is
 * NULL, the app's with ".digest" at its end. An app that only follows needs one. A replica that
 * starts says nothing of the past but its newest digest. False, with a text in error, if that can't
 * be: the app has no digest function, its name is no topic, or the stream is volatile. */
#define CANTUS_DIGEST_EVERY 16384
CANTUS_API bool cantus_client_publish_digests(struct cantus_client *client,
                                              struct cantus_machine *machine, const char *identity,
                                              uint64_t every, char *error);

/* Calls back for every message of a subtree; "/" leaves out /sys. At most 64 at a time.
 *
 * Before the first poll: from the beginning on, or where the client's options say. Later: for every message from a
 * seq on that CANTUS_REPORT_SUBSCRIBED tells before the first of them; a proxy that does not permit it is told by
 * CANTUS_REPORT_REFUSED. A fork that goes back behind that seq takes it along, to the first seq that no longer holds.
 * May be called within a callback. */
CANTUS_API bool cantus_client_subscribe(struct cantus_client *client, const char *subtree,
                                        void (*message)(void *ctx,
                                                        const struct cantus_message *message),
                                        void *ctx, char *error);
/* Ends the subscription that was made with these: it is not called again. False: there is none. */
CANTUS_API bool cantus_client_unsubscribe(struct cantus_client *client, const char *subtree,
                                          void (*message)(void *ctx,
                                                          const struct cantus_message *message),
                                          void *ctx);

/* ---- pipe: push items in, each is sequenced exactly once ---------------------------------------
 *
 * A pipe is a publisher with a window of items in flight. Items are numbered from 1 for the life of
 * its identity: after a restart, once it is ready, cantus_pipe_sequenced says how many are in the
 * stream, and the next push is the one after. */
CANTUS_API struct cantus_pipe *cantus_pipe_open(struct cantus_client *client, const char *identity,
                                                char *error);
/* Whether the pipe has joined and knows where it stands; then pushes are taken. */
CANTUS_API bool cantus_pipe_ready(const struct cantus_pipe *pipe);
/* Copies the item; up to 1 MiB, or what a proxy takes (it travels in fragments and arrives whole). False: the window is
 * full, the pipe is not ready yet, or the topic is still being made; poll and push again. An item that
 * can never be sequenced (a malformed topic, too large) ends the client with CANTUS_ERROR. Items
 * outlive a fork: the library sends them again, in their order. */
CANTUS_API bool cantus_pipe_push(struct cantus_pipe *pipe, const char *topic, const void *payload,
                                 size_t length);
CANTUS_API uint64_t
cantus_pipe_sequenced(const struct cantus_pipe *pipe); /* items with an outcome */
CANTUS_API uint64_t cantus_pipe_rejected(const struct cantus_pipe *pipe); /* of them, in this run */
CANTUS_API uint64_t cantus_pipe_in_flight(const struct cantus_pipe *pipe);
CANTUS_API uint64_t
cantus_pipe_last_seq(const struct cantus_pipe *pipe); /* of the last outcome in this run; 0: none */

/* ---- injector: keeps the stream up to date with an external source -----------------------------
 *
 * The source is a list that only grows; item i becomes the publisher's message i + 1 (which is not its
 * number: a large message takes a number for each fragment). The library asks for the next item
 * whenever there is room, and after any restart goes on at the right one. */
struct cantus_item {
    const char *topic;
    const void *payload;
    size_t length;
};
struct cantus_injector;
/* `item` fills in item `index` (from 0); false: there is none yet (asked again at the next poll).
 */
CANTUS_API struct cantus_injector *
cantus_injector_open(struct cantus_client *client, const char *identity,
                     bool (*item)(void *ctx, uint64_t index, struct cantus_item *out), void *ctx,
                     char *error);
CANTUS_API uint64_t cantus_injector_sequenced(const struct cantus_injector *injector);
CANTUS_API uint64_t cantus_injector_last_seq(const struct cantus_injector *injector); /* likewise */

/* ---- reconciler: makes the stream's state equal to a wanted one ---------------------------------
 *
 * `difference` compares what is wanted outside with what the stream says (an app of the same
 * client), and proposes one step; false when they agree. Asked again once that step's outcome is
 * applied, so a step is never proposed twice for one difference. */
struct cantus_reconciler;
CANTUS_API struct cantus_reconciler *
cantus_reconciler_open(struct cantus_client *client, const char *identity,
                       bool (*difference)(void *ctx, struct cantus_proposal *proposal), void *ctx,
                       char *error);

#ifdef __cplusplus
}
#endif
#endif
