/* The small datagrams between the parts: heartbeat, gap request and refusal, acknowledgement, seal
 * and promise, join and hint. Each is a plain struct with an encoder (returns the length,
 * 0 if it does not fit or is nothing that the decoder would take) and a decoder. All but the
 * promise and the join have a fixed size.
 *
 * Who sends what where:
 *   heartbeat, seal          sequencer or candidate -> egress groups
 *   proposal, join, create   publisher              -> ingress group
 *   ack, promise             retransmitter          -> ingress group (standbys hear them too)
 *   recall                   sequencer              -> unicast, to the store that it is about
 *   gap request              anyone                 -> unicast, answered to its source address
 *   gap refusal, hint        unicast */
#ifndef CANTUS_PROTO_SIGNAL_H
#define CANTUS_PROTO_SIGNAL_H

#include "proto/wire.h"

enum {
    MEMBERS_MAX = 15,     /* stores of one stream */
    IDENTITY_MAX = 63,    /* bytes of a publisher's name */
    SIGNAL_SIZE_MAX = 384 /* of any datagram in this header */
};

/* What is wrong with a publisher's name, for humans; NULL if nothing: 1..IDENTITY_MAX bytes, each
 * printable ASCII other than space. */
const char *identity_check(const char *identity);
const char *identity_check_bytes(const char *bytes, size_t length);

/* Everything below next_seq exists on the history of `epoch`, with this digest. Consumes no seq.
 * The same datagram vouches for a piece of history inside a bulk replay. */
struct heartbeat {
    struct epoch epoch;
    uint64_t next_seq;
    struct digest digest; /* history digest before next_seq */
    uint64_t stable;
    uint64_t time_ns;         /* no later message is stamped earlier */
    uint64_t epoch_first_seq; /* of this epoch's record: where to learn its epoch table */
};

/* Asks for [first_seq, end_seq). Answers are the original batches, and a refusal if there is less.
 */
struct gap_request {
    struct epoch epoch; /* newest the requester has heard; a candidate names its own */
    uint64_t first_seq;
    uint64_t end_seq;
    uint64_t
        nonce; /* tells a multicast answer's requesters apart in counters; echoed by refusals */
};

enum gap_refusal_reason {
    GAP_PRUNED = 1,  /* below oldest_seq: it is gone here for good */
    GAP_NOT_YET = 2, /* at or above end_seq, or not yet vouched for here: ask another, or later */
    GAP_BUSY = 3     /* over the cap of this requester */
};

struct gap_refusal {
    enum gap_refusal_reason reason;
    uint64_t first_seq; /* of the request */
    uint64_t oldest_seq;
    uint64_t end_seq; /* what could be served is [oldest_seq, end_seq) */
    uint64_t nonce;
};

/* What a store says of itself, and must never forget. */
struct word {
    struct epoch promised;
    struct position tail;
};

/* Whether a store that has said `said` must have forgotten something if it is as `now` says. Promises
 * only rise, and what is of the promised epoch is cut for a later promise only. */
bool word_forgets(const struct word *said, const struct word *now);

/* Each start of a store's process is a run, with a random id. A store that was restored from an older
 * copy of itself says less, when its run begins, than it has said in another. */
struct run {
    uint64_t id;      /* 0: none, as of a store that does not vote */
    struct word base; /* where it began: all that was said in earlier runs is in it */
};

/* Durable through tail.seq. Counted only when tail.epoch is the leader's epoch. */
struct ack {
    uint64_t store;
    struct run run;
    bool settled; /* its leader has accepted this run */
    struct epoch promised;
    struct position tail;
    struct digest digest;
    uint64_t clock_ns; /* the retransmitter's wall clock */
    bool full;         /* cannot record more: disk full */
};

/* A candidate asks for a promise; with `probe`, only for what would be answered. */
struct seal {
    struct epoch epoch;
    bool probe;
};

struct membership {
    uint64_t seq;    /* of the record that set it */
    uint32_t quorum; /* W: stores that make stable; 0 means a majority */
    uint32_t count;
    uint64_t stores[MEMBERS_MAX]; /* distinct, none is 0; zeros from `count` on */
};

/* How a membership lies inside other formats: u64 seq, u32 quorum, u8 count, u64 stores. Put fails
 * the writer, and get the reader, on what is not a membership. */
void membership_put(struct wire_writer *w, const struct membership *in);
void membership_get(struct wire_reader *r, struct membership *out);

struct promise {
    uint64_t store;
    struct run run;
    struct epoch promised; /* what this store now holds to; the candidate's own means yes */
    struct epoch asked;    /* the seal that is answered */
    bool probe;
    bool proven; /* false: damaged below its mark, must not be counted */
    struct position tail;
    struct digest digest;
    uint64_t oldest_seq;
    uint64_t clock_ns;
    uint64_t leader_age_ns;    /* since the leader was last heard; UINT64_MAX: never */
    uint32_t fetch_ip;         /* where its history is served: unicast UDP and TCP */
    uint16_t fetch_port;       /* UDP */
    uint16_t stream_port;      /* TCP */
    struct membership members; /* the newest in its tail */
};

/* To a store: what it has said, as the sequencer remembers. Of another run of the store's, and more
 * than its own run began with: then it was restored from an older copy, and must not vote. Of its
 * own run, from the leader of its epoch: the run is accepted. */
struct recall {
    uint64_t store;
    uint64_t run;
    struct epoch epoch; /* of the leader; a number of 0 from one that does not lead */
    struct word said;
};

/* Registers a publisher or raises its incarnation: compare-and-set on the catalog. */
struct join {
    uint64_t nonce;
    uint32_t wanted; /* current incarnation + 1 */
    char identity[IDENTITY_MAX + 1];
};

/* Asks for a topic. Not a proposal, so that no number of the publisher's is spent on it; asking for
 * one that exists changes nothing. */
struct create {
    uint64_t nonce;
    uint32_t publisher; /* whose write permission counts */
    char path[256];
};

enum hint_reason {
    HINT_UNKNOWN_PUBLISHER = 1, /* no such publisher id in this history */
    HINT_SUPERSEDED = 2,        /* a later incarnation has joined: stop */
    HINT_FORKED = 3,            /* the proposal's position is off the history */
    HINT_OLD_NUMBER = 4,        /* has it: read the outcome from the stream */
    HINT_AHEAD = 5,             /* beyond the window */
    HINT_JOIN_CONFLICT = 6,     /* join: wanted is not current + 1 */
    HINT_OVERLOADED = 7,        /* its queue here is full */
    HINT_PAUSED = 8,            /* ring full: no quorum of stores */
    HINT_TOPIC_REFUSED = 9,     /* create: bad path, not permitted, or the catalog is full */
    HINT_MISSING = 10           /* later numbers have come: [next_publisher_seq, nonce) have not */
};

/* Unicast advice to a sender; never the answer. */
struct hint {
    enum hint_reason reason;
    uint32_t publisher;
    uint32_t incarnation; /* current one */
    uint64_t next_publisher_seq;
    uint64_t nonce; /* of the join or create it answers; HINT_MISSING: a number; else 0 */
    struct epoch epoch;
};

size_t heartbeat_encode(const struct heartbeat *in, uint64_t stream, uint8_t *out, size_t capacity);
enum wire_verdict heartbeat_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                                   struct heartbeat *out);
size_t gap_request_encode(const struct gap_request *in, uint64_t stream, uint8_t *out,
                          size_t capacity);
enum wire_verdict gap_request_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                                     struct gap_request *out);
size_t gap_refusal_encode(const struct gap_refusal *in, uint64_t stream, uint8_t *out,
                          size_t capacity);
enum wire_verdict gap_refusal_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                                     struct gap_refusal *out);
size_t ack_encode(const struct ack *in, uint64_t stream, uint8_t *out, size_t capacity);
enum wire_verdict ack_decode(const uint8_t *bytes, size_t length, uint64_t stream, struct ack *out);
size_t seal_encode(const struct seal *in, uint64_t stream, uint8_t *out, size_t capacity);
enum wire_verdict seal_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                              struct seal *out);
size_t promise_encode(const struct promise *in, uint64_t stream, uint8_t *out, size_t capacity);
enum wire_verdict promise_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                                 struct promise *out);
size_t recall_encode(const struct recall *in, uint64_t stream, uint8_t *out, size_t capacity);
enum wire_verdict recall_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                                struct recall *out);
void word_put(struct wire_writer *w, const struct word *in);
struct word word_get(struct wire_reader *r);
size_t join_encode(const struct join *in, uint64_t stream, uint8_t *out, size_t capacity);
enum wire_verdict join_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                              struct join *out);
size_t create_encode(const struct create *in, uint64_t stream, uint8_t *out, size_t capacity);
enum wire_verdict create_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                                struct create *out);
size_t hint_encode(const struct hint *in, uint64_t stream, uint8_t *out, size_t capacity);
enum wire_verdict hint_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                              struct hint *out);

#endif
