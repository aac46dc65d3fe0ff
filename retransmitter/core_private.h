/* What the parts of the retransmitter's core share; nobody else includes this.
 *
 *   core.c          memory, entry points, the order of a step
 *   core_record.c   follower -> journal, cuts, acknowledgements
 *   core_promise.c  seals and promises
 *   core_fill.c     gap requests of others
 *   core_heal.c     damage of our own
 *   core_scrub.c    looking for it
 *   core_copy.c     a new store's history
 *   core_replay.c   streams: bulk replay, and requests for the rest
 *   core_command.c  commands
 *   core_status.c   status */
#ifndef CANTUS_RETRANSMITTER_CORE_PRIVATE_H
#define CANTUS_RETRANSMITTER_CORE_PRIVATE_H

#include <assert.h>

#include "proto/command.h"
#include "retransmitter/core.h"

enum {
    FILL_QUEUE_MAX = 256, /* gap requests that wait for their turn */
    FILL_SLOTS = 4,       /* of them being read from disk */
    FILL_SLOT_BYTES = 128 * 1024,
    FILL_STEP_BATCHES = 256,   /* sent per step: recording never waits longer than that */
    RANGES_MAX = 64,           /* ranges watched for many requesters */
    RANGE_REQUESTERS_MAX = 16, /* the most that multicast_after can be */
    REPLAY_BUFFER_BYTES = 256 * 1024,
    REPLAY_STEP_BYTES = 64 * 1024, /* per replay and step */
    REPLAY_VOUCH_BATCHES = 64,
    IDLE_STREAMS_MAX = 32,   /* connections beyond those that replay */
    STATUS_REQUESTS_MAX = 8, /* of one connection, unanswered */
    COMMAND_BUFFER_BYTES = 128 * 1024
};
#define STREAM_IDLE_NS UINT64_C(30000000000) /* without progress: closed */
#define DISK_RETRY_NS  UINT64_C(10000000)
#define READ_RETRY_NS  UINT64_C(1000000)
#define HEAL_FIRST_NS  UINT64_C(2000000)
#define HEAL_MAX_NS    UINT64_C(500000000)
#define SCRUB_YIELD_NS UINT64_C(5000000)    /* to those who wait for the disk; but one piece */
#define SCRUB_HOLD_NS  UINT64_C(1000000000) /* every so often is read all the same */
#define COPY_RETRY_NS  UINT64_C(1000000000)

/* ---- gap requests ---------------------------------------------------------------------------- */

struct fill_request {
    struct gap_request gap;
    struct port_addr from;
};

/* A token bucket; they hang in a hash table and in a list by last use. */
struct requester {
    struct port_addr addr;
    int64_t tokens; /* bytes; may go below zero by one answer */
    uint64_t refilled_ns;
    uint32_t hash_next;
    uint32_t older, newer;
};

/* Who asked for one range lately. */
struct range {
    uint64_t first_seq, end_seq; /* empty: unused */
    uint64_t asked_end;          /* end_seq is less if not all of it was sent */
    uint64_t began_ns;
    uint32_t count;
    bool multicast; /* answered to all */
    struct port_addr from[RANGE_REQUESTERS_MAX];
};

enum fill_slot_state {
    FILL_SLOT_FREE = 0,
    FILL_SLOT_READING,
    FILL_SLOT_SENT /* its buffer is queued in the port until the flush */
};

struct fill_slot {
    enum fill_slot_state state;
    bool dropped; /* a cut went through what is being read */
    bool multicast;
    struct fill_request request;
    struct journal_read read;
    uint8_t *buffer;
};

struct fill {
    struct fill_request queue[FILL_QUEUE_MAX];
    uint32_t queue_begin, queue_count;
    struct range ranges[RANGES_MAX];
    uint32_t range_next;
    struct fill_slot slots[FILL_SLOTS];
    struct requester *requesters;
    uint32_t *buckets;
    uint32_t bucket_mask;
    uint32_t requester_count;
    uint32_t oldest, newest;
};

/* ---- streams --------------------------------------------------------------------------------- */

enum replay_state {
    REPLAY_SLOT_FREE = 0,
    REPLAY_SLOT_RUNNING,
    REPLAY_SLOT_DYING /* its client is gone, a read into its buffer is not back */
};

/* A buffer, and the read into it. */
struct replay_piece {
    bool reading; /* begun, and not taken yet */
    bool dropped; /* a cut went through it */
    bool ahead;   /* begun before what is in front of it was sent */
    struct journal_read read;
    uint8_t *buffer;
};

/* While one piece is sent the next one is read. */
struct replay_slot {
    enum replay_state state;
    struct replay_piece pieces[2];
    uint32_t now;      /* the one that is sent */
    const uint8_t *at; /* what is left of it */
    uint32_t left;
    uint64_t next_seq, end_seq; /* end_seq 0: to the tail */
    struct epoch epoch;         /* of the request */
    struct digest digest;       /* before next_seq, once something was sent */
    bool linked;                /* digest is known */
    uint32_t unvouched;         /* batches since the last vouch */
    bool dead;                  /* a cut went through what was sent */
};

struct client {
    uint32_t stream; /* 0: free */
    bool waits_room;
    uint8_t status_due; /* requests not answered yet */
    bool command_due;   /* one at a time */
    struct command command;
    struct replay_slot *replay;
    uint64_t progress_ns;
};

/* ---- the whole ------------------------------------------------------------------------------- */

struct retransmitter {
    struct retransmitter_options o;
    struct journal *journal;
    struct port *port;
    struct follower *follower;
    uint64_t *counters; /* the journal's */
    uint64_t created_ns;
    struct port_time now;
    bool again; /* there is more to do at once */
    bool draining;
    bool lost; /* no source has what comes next any more */

    /* The epoch that this store holds to: nothing older is recorded from the moment it is set, and
     * nothing is said in its name before journal_promised has followed. */
    struct epoch pledge;
    bool led;                 /* its leader was heard */
    uint64_t leader_heard_ns; /* of any epoch; 0: never */
    bool seal_asked;          /* its candidate waits for the promise */

    /* The follower has cut, the journal not yet. */
    bool cut_pending;
    uint64_t cut_seq;
    struct digest cut_digest;
    uint64_t cut_retry_ns;
    bool restart_pending; /* the follower hears what this store must not record */

    struct word recalled; /* what others remember of this store, and it does not */
    struct position acked;
    struct epoch acked_promised;
    bool acked_full, acked_any;
    uint64_t ack_at_ns;
    bool spoken_to;             /* by the leader, since the last look at whether to acknowledge */
    bool restart_deeper;        /* RETRANSMITTER_CUT_TO_STABLE only */
    struct position heard_tail; /* RETRANSMITTER_GAP_IGNORED only */
    struct digest heard_digest;

    /* What the last batch before the start said of the watermark. */
    uint64_t recorded_stable;
    bool recorded_reading;
    struct journal_read recorded_read;
    uint8_t *recorded_buffer;

    struct fill fill;

    uint64_t heal_asked_seq, heal_at_ns, heal_wait_ns, heal_nonce;
    uint32_t heal_source;
    uint32_t heal_piece; /* whose turn it is */
    bool heal_now;       /* the source refused: the next one at once */

    uint64_t scrub_at_ns, scrub_begun_ns;
    uint64_t copy_at_ns;

    /* Of a command: one read at a time, for all clients. */
    struct journal_read command_read;
    uint8_t *command_buffer;
    uint32_t command_stream; /* whose; 0: its client is gone, or nobody's */
    bool command_reading;
    bool command_dropped; /* a cut went through what is being read */

    struct client *clients;
    uint32_t client_count, clients_open;
    struct replay_slot *replays;
    uint32_t replay_first; /* whose turn it is */
    uint8_t *frame;        /* of a status */
    struct status status;
};

void core_count_verdict(struct retransmitter *r, enum wire_verdict verdict);
void core_send(struct retransmitter *r, enum port_channel channel, struct port_addr to,
               const uint8_t *bytes, size_t length);
static inline bool core_sabotaged(const struct retransmitter *r, uint32_t what)
{
    return (r->o.sabotage & what) != 0;
}
static inline uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}
/* First seq above what may be served to one who has heard `epoch`; 0: nothing now. */
uint64_t core_served_end(const struct retransmitter *r, struct epoch epoch);

/* A batch or heartbeat: false if this store must not hear it (or it is broken), and then counted.
 */
bool record_admit(struct retransmitter *r, const struct port_datagram *d, enum wire_type type);
/* After anything that may have let the follower hear a later epoch by itself. */
void record_heard(struct retransmitter *r);
bool record_deliver(void *ctx, const uint8_t *batch, const struct batch_header *header);
void record_forked(void *ctx, uint64_t first_seq, struct epoch by);
void record_lost(void *ctx, uint64_t first_seq, uint64_t oldest_seq);
uint64_t record_cut(struct retransmitter *r);
void record_restart(struct retransmitter *r);
uint64_t record_ack(struct retransmitter *r);
void record_recover_stable(struct retransmitter *r);

/* Holds to a later epoch from here on. */
void promise_raise(struct retransmitter *r, struct epoch epoch, bool led);
bool promise_held(const struct retransmitter *r); /* durably */
void promise_on_seal(struct retransmitter *r, const struct port_datagram *d);
void promise_step(struct retransmitter *r);
void promise_on_recall(struct retransmitter *r, const struct port_datagram *d);

void fill_on_request(struct retransmitter *r, const struct port_datagram *d);
void fill_release(struct retransmitter *r); /* buffers that the last flush has sent */
void fill_step(struct retransmitter *r);
void fill_cut(struct retransmitter *r);
bool fill_reading(const struct retransmitter *r);

/* True if the batch was taken as a piece of what is damaged. */
bool heal_on_batch(struct retransmitter *r, const struct port_datagram *d);
void heal_on_refusal(struct retransmitter *r, const struct port_datagram *d);
uint64_t heal_step(struct retransmitter *r);

uint64_t scrub_step(struct retransmitter *r);

bool copy_member(const struct retransmitter *r); /* this store is one, by what it has recorded */
uint64_t copy_step(struct retransmitter *r);

/* There is room for an outcome; its bytes, 0 while a read is awaited. */
size_t command_answer(struct retransmitter *r, const struct client *c, uint8_t *out,
                      size_t capacity);
void command_forget(struct retransmitter *r, uint32_t stream);
void command_cut(struct retransmitter *r);
bool command_reading(const struct retransmitter *r);

size_t replay_on_stream(struct retransmitter *r, const struct port_stream_event *event);
uint64_t replay_step(struct retransmitter *r);
void replay_cut(struct retransmitter *r);
bool replay_reading(const struct retransmitter *r);

#endif
