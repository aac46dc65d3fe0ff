/* Inside the follower: its state, and what its parts offer each other.
 *
 *   follower.c          memory, entry points
 *   follower_chain.c    where batches and heartbeats go, delivery
 *   follower_pending.c  the held batches
 *   follower_fork.c     epochs: what the heard epoch's history is, conflicts, cuts
 *   follower_gap.c      what is missing, whom to ask
 *   follower_replay.c   the bulk stream
 *
 * Callbacks may restart the follower, so whatever calls one says so by its result: false means that
 * everything the caller knew is gone and it must return. */
#ifndef CANTUS_FOLLOW_FOLLOWER_PRIVATE_H
#define CANTUS_FOLLOW_FOLLOWER_PRIVATE_H

#include <assert.h>

#include "follow/follower.h"

enum {
    FOLLOWER_GAPS_MAX = 16, /* holes asked for at a time, nearest first */
    FOLLOWER_REQUESTS_PER_STEP = 16,
    FOLLOWER_TARGETS_MAX = FOLLOWER_SOURCES_MAX + 2, /* and the adopted source, and the leader */
    FOLLOWER_BULK_AFTER_RETRIES = 8,
    FOLLOWER_PENDING_MAX = 1 << 20
};
#define FOLLOWER_BLOCKED_NS       UINT64_C(200000) /* first wait before a refused offer is repeated */
#define FOLLOWER_BLOCKED_MAX_NS   UINT64_C(10000000)
#define FOLLOWER_STREAM_STALL_NS  UINT64_C(2000000000)
#define FOLLOWER_REPLAY_PAUSE_MAX UINT64_C(1000000000)

_Static_assert(FOLLOWER_TARGETS_MAX <= 32, "who said pruned is a mask of 32 bits");

/* ---- held batches ---------------------------------------------------------------------------- */

struct follower_held {
    uint64_t first_seq;
    uint64_t end_seq;
    uint32_t slot;
};

/* Copies of batches from the first undelivered one on, ascending by first_seq: the first `linked`
 * of them are the end of the chain, the others are ahead of it. */
struct follower_pending {
    struct follower_held *order; /* circular */
    uint32_t mask;
    uint32_t head;
    uint32_t count;
    uint32_t linked;
    uint32_t max;
    uint32_t free_count;
    uint32_t stride; /* bytes of a slot */
    uint32_t *free;
    struct batch_header *headers; /* by slot */
    uint8_t *bytes;
};

static inline struct follower_held *pending_at(const struct follower_pending *p, uint32_t index)
{
    return &p->order[(p->head + index) & p->mask];
}

static inline const struct batch_header *pending_header(const struct follower_pending *p,
                                                        uint32_t index)
{
    return &p->headers[pending_at(p, index)->slot];
}

static inline const uint8_t *pending_bytes(const struct follower_pending *p, uint32_t index)
{
    return p->bytes + (size_t)pending_at(p, index)->slot * p->stride;
}

enum pending_verdict {
    PENDING_HELD,
    PENDING_REPLACED, /* one of an older epoch */
    PENDING_DUPLICATE,
    PENDING_FULL
};

void pending_reset(struct follower_pending *p);
/* The next of the chain: after the linked ones. False if there is no room; *overflowed is set if
 * the furthest one ahead had to go for it. */
bool pending_link(struct follower_pending *p, const uint8_t *bytes, const struct batch_header *b,
                  bool *overflowed);
enum pending_verdict pending_hold_ahead(struct follower_pending *p, const uint8_t *bytes,
                                        const struct batch_header *b, bool *overflowed);
void pending_remove(struct follower_pending *p, uint32_t index);
/* The linked batch that ends before next_seq; NULL if there is none. */
const struct batch_header *pending_linked_end(const struct follower_pending *p, uint64_t next_seq);

/* ---- state ----------------------------------------------------------------------------------- */

struct follower_gap {
    uint64_t first_seq;
    uint64_t end_seq; /* 0: not in use */
    uint64_t due_ns;
    uint64_t interval_ns;
    uint64_t nonce;      /* of the last request; 0: none */
    uint64_t oldest_seq; /* that anybody who pruned it still has; 0: nobody said */
    uint32_t target;
    uint32_t requests; /* since the last progress */
    uint32_t refusals;
    uint32_t pruned; /* mask of targets */
    bool rotate;     /* the next request goes to the next target */
};

enum follower_replay_state {
    REPLAY_IDLE,
    REPLAY_CONNECTING,
    REPLAY_ASKED,    /* connected and asked, nothing came yet */
    REPLAY_STREAMING /* gap requests are suspended */
};

struct follower_replay {
    enum follower_replay_state state;
    uint32_t stream;
    uint32_t target;
    uint32_t fruitless; /* attempts in a row that brought nothing */
    uint32_t pruned;    /* mask of targets */
    uint64_t oldest_seq;
    uint64_t begun_seq;
    uint64_t due_ns;
    uint64_t interval_ns;
    uint64_t progress_ns;
    size_t unread; /* bytes of an incomplete frame, or left for want of room */
    bool initial;  /* just started: read what there is, even if no leader is heard */
    bool blocked;  /* bytes were left unread for want of room */
};

/* Where a batch or heartbeat came from. */
struct follower_arrival {
    uint64_t now_ns;
    struct port_addr from;
    bool datagram;
    bool live; /* from a group: the leader's, or a fill for many */
    bool line_b;
    bool adopted; /* from the source that has the adopted tail */
};

struct follower {
    struct follower_options options;
    struct follower_callbacks callbacks;
    struct port *port;
    uint64_t *counters;
    uint64_t random;
    uint32_t generation; /* of follower_start */
    bool delivering;
    bool refused; /* the last offer was */
    bool conflict;
    bool live; /* the leader of the heard epoch was heard, not only its history */
    bool goal_known;
    bool heard_record; /* `record` is that of the heard epoch */
    bool adopted;      /* of the heard epoch's history only what lies below its record is known */
    bool gaps_stale;
    uint64_t blocked_ns; /* how long to wait before the next offer */

    uint64_t chain_next;
    struct digest chain_digest;
    struct epoch chain_epoch; /* of its tail */
    uint64_t delivered_next;
    struct digest delivered_digest;
    uint64_t vouched_next; /* 1: nothing */

    struct epoch heard;
    uint64_t epoch_first; /* seq of the heard epoch's record; 0: unknown */
    uint64_t goal_next;
    struct digest goal_digest;
    uint64_t stable;
    uint64_t stable_reported;
    uint64_t time_ns;
    struct epoch adopted_epoch; /* of the tail that was adopted */
    uint64_t adopted_first;     /* seq of that epoch's record; 0: unknown */
    uint64_t adopted_next;      /* after that tail */
    struct digest adopted_digest;
    struct follower_source adopted_source;
    struct port_addr leader;
    struct port_addr beats_from[2]; /* the heard epoch's heartbeats, by line; port 0: none yet */
    uint64_t leader_heard_ns;
    uint64_t lost_reported; /* seq; 0: none */

    struct follower_pending pending;
    struct follower_gap gaps[FOLLOWER_GAPS_MAX];
    uint32_t gap_count;
    struct follower_gap record_gap; /* the epoch record that a conflict needs */
    uint32_t target_count;
    uint32_t stream_count;
    struct port_addr targets[FOLLOWER_TARGETS_MAX]; /* of gap requests, in the order of asking */
    struct port_addr streams[FOLLOWER_TARGETS_MAX];
    struct follower_replay replay;

    /* From here on not zeroed at first. */
    struct epoch_table epochs; /* of the chain; what was delivered is a prefix */
    struct epoch_table
        record; /* newest part of that of the heard epoch's history; count 0: unknown */
};

static inline void follower_count(struct follower *f, enum counter c)
{
    f->counters[c]++;
}

static inline bool follower_sabotaged(const struct follower *f, uint32_t what)
{
    return (f->options.sabotage & what) != 0;
}

/* ---- follower_chain.c ------------------------------------------------------------------------ */

bool follower_place(struct follower *f, const uint8_t *bytes, const struct batch_header *b,
                    const struct follower_arrival *a);
bool follower_heartbeat(struct follower *f, const struct heartbeat *hb,
                        const struct follower_arrival *a);
/* Links what is held, resolves a conflict if it can, delivers, reports the watermark. */
bool follower_advance(struct follower *f);

/* ---- follower.c ------------------------------------------------------------------------------ */

void follower_count_dropped(struct follower *f, enum wire_verdict verdict);

/* ---- follower_fork.c ------------------------------------------------------------------------- */

enum follower_on { ON_HISTORY, OFF_HISTORY, MAYBE_ON_HISTORY };

void follower_enter_epoch(struct follower *f, struct epoch epoch);
/* Whether the heard epoch's history has this message, as far as is known. */
enum follower_on follower_on_history(const struct follower *f, struct epoch epoch, uint64_t seq);
/* Looks for an epoch record that tells more of the heard epoch's history. */
bool follower_learn_record(struct follower *f, const uint8_t *bytes, const struct batch_header *b);
void follower_learn_epoch_first(struct follower *f, uint64_t seq);
/* Drops what is held ahead and known to be off the heard epoch's history. */
void follower_drop_dead_ahead(struct follower *f);
/* The chain and the heard epoch's history differ somewhere. */
void follower_conflict(struct follower *f);
bool follower_resolve(struct follower *f);
/* Compares the chain with what the record tells: vouches for what is common, cuts what is not. */
bool follower_reconcile(struct follower *f);
bool follower_cut(struct follower *f, uint64_t end_seq, struct digest digest);
/* Forgets what is linked but not delivered. */
void follower_rewind(struct follower *f);
/* The record that is needed; 0: none, or it is not known where it is. */
uint64_t follower_record_wanted(const struct follower *f);
/* No room for more of the chain, and nothing vouches for what there is of it. */
bool follower_starved(const struct follower *f);

/* ---- follower_gap.c -------------------------------------------------------------------------- */

void follower_targets(struct follower *f);
void follower_gaps_reset(struct follower *f);
/* Whether this was asked for. */
bool follower_asked_for(const struct follower *f, uint64_t seq);
bool follower_refusal(struct follower *f, const struct gap_refusal *r, uint64_t now_ns);
uint64_t follower_gaps_step(struct follower *f, uint64_t now_ns);
bool follower_report_lost(struct follower *f, uint64_t oldest_seq);

/* ---- follower_replay.c ----------------------------------------------------------------------- */

void follower_replay_reset(struct follower *f);
void follower_replay_close(struct follower *f);
bool follower_replay_event(struct follower *f, const struct port_stream_event *e, uint64_t now_ns,
                           size_t *consumed);
uint64_t follower_replay_step(struct follower *f, uint64_t now_ns);

#endif
