/* A publisher: a durable identity that proposes, exactly once, through loss, retry and failover.
 *
 * It joins (compare-and-set on the incarnation), numbers its proposals, keeps each until it is
 * stable, sends again what has no outcome after a few measured round trips, and reads every outcome
 * from the stream. Pure. */
#ifndef CANTUS_LIBCLIENT_PUBLISHER_H
#define CANTUS_LIBCLIENT_PUBLISHER_H

#include "proto/catalog.h"
#include "proto/counter.h"
#include "proto/proposal.h"
#include "transport/port.h"

enum publisher_state {
    PUBLISHER_WAITING = 1, /* for its history to catch up, before it knows what to join as */
    PUBLISHER_JOINING,     /* until its join record is stable (volatile streams: delivered) */
    PUBLISHER_ACTIVE,
    PUBLISHER_SUPERSEDED /* a later incarnation has joined: for good */
};

/* Where datagrams are made, which have to stay as they are until the driver has flushed. Publishers that
 * are driven together may share one: their owner empties it before it steps them. */
struct publisher_outbox {
    uint8_t *bytes; /* max of datagram_max */
    uint32_t max, count;
};

struct publisher_options {
    char identity[IDENTITY_MAX + 1];
    uint64_t stream;
    uint64_t nonce;        /* random: tells our join from another's */
    uint32_t wanted;       /* incarnation: if a later one is there, it is superseded; 0: the next */
    uint32_t window;       /* numbers in flight at most; a power of two; default 1024 */
    uint32_t windows_kept; /* numbers kept until stable, in windows; a power of two; default 8 */
    uint64_t bytes_max;    /* kept until stable; default 4 MiB, at least two runs; the ring is
                               the next power of two */
    uint32_t datagram_max; /* default 1472 */
    uint32_t run_bytes_max; /* of one item; default 1 MiB */
    uint64_t
        resend_min_ns; /* default 300 us; grows with the measured round trip, doubles per retry */
    uint64_t resend_max_ns; /* default 100 ms */
    bool blind;             /* what it says does not depend on the history: a fork drops nothing */
    bool by_proxy;          /* sends to one: publisher_edge.h */
    bool takes_runs; /* its owner hands it what it can by publisher_take_run: not with by_proxy */
    bool renumbers;  /* a planted mistake: retries under a new number */
    bool releases_parts; /* another: lets go of a run's messages one by one as they become stable */
    struct publisher_outbox *outbox; /* NULL: its own */
};

/* A whole proposal. */
struct publisher_item {
    uint32_t topic;
    const void *payload;
    uint32_t length; /* longer than a datagram holds: split into fragments */
    bool more;       /* a group, which goes on with the next item */
    bool conditional;
    uint32_t condition_topic;
    uint64_t condition_after;
    /* Instead of ids, to a proxy; else NULL and 0. */
    const char *path, *condition_path;
    uint8_t path_length, condition_path_length;
};

struct publisher_outcome {
    uint32_t items; /* 1, but for publisher_take_run: so many, of one number and one seq each */
    uint64_t first_number; /* of the (first) item's first fragment */
    uint64_t number;       /* of its last */
    uint64_t seq;          /* of the (last) message, or of the reject record */
    uint8_t rejected;      /* enum reject_reason, 0: sequenced */
    uint32_t topic;        /* of the (last) item */
};

struct publisher;

/* What these options come to. */
struct publisher_sizes {
    size_t memory;
    uint32_t datagram_max;
    uint32_t fragment_bytes; /* a longer item takes a number for each so many bytes of it */
    uint32_t item_max;       /* the longest that it can ever take */
};
struct publisher_sizes publisher_sizes(const struct publisher_options *options,
                                       const struct port *port);

struct publisher *publisher_create(const struct publisher_options *options, struct port *port,
                                   uint64_t counters[COUNTER_END],
                                   void (*outcome)(void *ctx, const struct publisher_outcome *o),
                                   void *ctx); /* NULL: no memory */
void publisher_destroy(struct publisher *p);
/* In so many bytes of somebody else's, aligned to 64, which need not be zero. Nothing is to be destroyed. */
struct publisher *publisher_place(void *memory, const struct publisher_options *options,
                                  struct port *port, uint64_t counters[COUNTER_END],
                                  void (*outcome)(void *ctx, const struct publisher_outcome *o),
                                  void *ctx);

/* The longest item it can ever take. */
uint32_t publisher_item_max(const struct publisher *p);
/* Whether an item of this length can be pushed now. */
bool publisher_has_room(const struct publisher *p, uint32_t length);
/* Queues an item authored at `position`; its first number, or 0 if there is no room. Bytes are
 * copied and never change for that number. */
uint64_t publisher_push(struct publisher *p, const struct publisher_item *item,
                        struct position position);

/* The same of a publisher that takes runs, for an item with nothing else to it. 0, too, if it can't go in one message: then
 * it is publisher_push's. */
uint64_t publisher_push_plain(struct publisher *p, uint32_t topic, const void *payload,
                              uint32_t length, const struct position *position);

/* The stream, as delivered at the client's level: every whole message of its own id (fragments
 * joined, with the number of the first), rejects too, and every join record. */
void publisher_on_message(struct publisher *p, const struct message *m, struct port_time now);
/* The same of `count` messages outside runs that follow each other in a batch, `length` bytes of it. If they are what
 * comes next of what was pushed, and as it was pushed (publisher, numbers, topics, payloads), they have their outcome
 * at once; false: nothing has happened, and each is to be handed over by itself. */
bool publisher_take_run(struct publisher *p, const uint8_t *bytes, size_t length, uint32_t count,
                        uint64_t first_seq, struct port_time now);
void publisher_on_stable(struct publisher *p, uint64_t stable_seq);
/* Through where no fork takes back an outcome of its own, while everything at and below this seq is stable: a run that
 * is stable in part falls whole. */
uint64_t publisher_holds_through(struct publisher *p, uint64_t stable_seq);
/* What was delivered above `common` no longer holds. The first item that was authored at a position that
 * fell off, with all of its group, and all behind it, are dropped (their numbers are free again: the author decides again), or, of
 * a blind publisher, authored again at `common`; others are sent again. Returns how many messages (rejects,
 * too) were outcomes of its items and are no longer there. */
uint32_t publisher_on_fork(struct publisher *p, struct position common);
/* Anybody can send one: it is heeded only if it speaks to this incarnation, not in an older epoch
 * than `heard`, the newest that the stream has shown, and of numbers under way. What it asks for is
 * sent again once at most, until its own retry. */
void publisher_on_hint(struct publisher *p, const struct hint *h, struct epoch heard,
                       struct port_time now);
/* Joins when the catalog is current, sends, sends again. Returns the next deadline, mono_ns. */
uint64_t publisher_step(struct publisher *p, const struct catalog *catalog, bool caught_up,
                        struct port_time now);

enum publisher_state publisher_state(const struct publisher *p);
const char *publisher_identity(const struct publisher *p);
uint32_t publisher_id(const struct publisher *p);             /* 0 before it has joined */
uint32_t publisher_incarnation(const struct publisher *p);    /* 0 before it has joined */
uint64_t publisher_join_seq(const struct publisher *p);       /* of its join record; 0: none */
uint64_t publisher_superseded_seq(const struct publisher *p); /* of the later join; 0: none */
uint64_t publisher_next_number(const struct publisher *p);    /* of the next push */
uint64_t publisher_done_number(const struct publisher *p);    /* outcomes are known through this */
uint64_t publisher_last_seq(
    const struct publisher *p); /* of the last outcome since it has joined; 0: none */
/* Numbers of the group that the next item goes on with, and their bytes. */
uint32_t publisher_open_group(const struct publisher *p, uint32_t *bytes);
uint32_t publisher_in_flight(const struct publisher *p);  /* items without an outcome */
uint64_t publisher_kept_bytes(const struct publisher *p); /* not stable yet */
bool publisher_is_idle(const struct publisher *p);        /* joined, and nothing is kept */
uint64_t publisher_mismatches(const struct publisher *p); /* own numbers with others' bytes: 0 */

#endif
