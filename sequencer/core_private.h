/* What the files of the sequencer's core share. See core.h for what it does.
 *
 *   core.c         create, entry points, the state machine
 *   core_base.c    the state machines a second time, below the tip: what a fork goes back to
 *   core_status.c  what it says of itself
 *   core_command.c what an operator asks of it
 *   core_member.c  the rules of a membership change
 *   core_seal.c    seal, adopt, begin
 *   core_probe.c   asking the stores first: automatic promotion, and whether one can succeed
 *   core_queue.c   proposals held, per publisher, until their turn
 *   core_append.c  the turns: accept or reject
 *   core_ask.c     joins, and topics asked for
 *   core_run.c     runs: collected, judged once, emitted in one piece
 *   core_emit.c    the ring, batches, heartbeats, ticks, pacing
 *   core_ack.c     stores: acknowledgements, stable
 *   core_time.c    the rules of time
 *   core_word.c    what stores have said: those that were restored from an older copy
 *   core_answer.c  unicast answers: gap fills, hints
 *
 * All emission happens inside `step`, so what an entry point queued for sending out of the ring is
 * never overwritten before it is flushed. */
#ifndef CANTUS_SEQUENCER_CORE_PRIVATE_H
#define CANTUS_SEQUENCER_CORE_PRIVATE_H

#include "proto/command.h"
#include "proto/proposal.h"
#include "proto/signal.h"
#include "sequencer/core.h"

enum {
    RING_RESERVE = 16, /* slots that only epoch, session and member records may take */
    RING_SLOTS_MIN = 64,
    STORES_MAX = 2 * MEMBERS_MAX + 2, /* heard of at a time; members stay, others make room */
    ASKS_MAX = 256,                   /* joins and creates waiting for the next step */
    FILL_BATCHES_MAX = 64,            /* answering one gap request */
    FILLS_PER_STEP_MAX = 1024,        /* answering all requests between two steps */
    HINTS_BURST = 64,
    QUEUE_MIN = 16,
    QUANTUM_MIN = 256,
    BASE_BATCHES_STANDBY = 256, /* applied to the base per step */
    BASE_BATCHES_EXTRA = 8,     /* applied to the base per step, beyond those emitted */
    DEAF_MESSAGES = 1000,       /* followed without a proposal heard */
    MEMBER_LAG_MAX = 65536,     /* messages that a store to be added may be behind */
    PREFETCH_AHEAD = 4,         /* datagrams */
    UNCAUGHT_SILENCES = 8,      /* until one that never caught up promotes itself */
    LOSS_SILENCES = 8,          /* until one that would lose what a store reports does so */
    CALLERS_MAX = 64,           /* connections to the stream port */
    SEAL_BACKOFF_MAX = 6        /* doublings of the delay between two candidates' rounds */
};

#define NIL UINT32_MAX /* no slot, no publisher */

#define RECALL_INTERVAL_NS UINT64_C(1000000) /* to one store */
#define HINT_INTERVAL_NS   UINT64_C(1000000) /* one a millisecond, after the burst */
#define HOLE_INTERVAL_NS   UINT64_C(50000)   /* the same of holes: loss recovery waits for them */
#define HELD_STALE_NS      UINT64_C(1000000000) /* a queue that waits this long makes room */
#define STALE_SCAN_NS      UINT64_C(10000000)
#define TOKEN_EXPIRES_NS   UINT64_C(100000000)
#define PROMOTE_ASKS_NS    UINT64_C(300000000)  /* for the stores' word on a promotion asked for */
#define STORE_SILENT_NS    UINT64_C(2000000000) /* a store not heard for so long cannot be added */
#define PROBE_JITTER_NS    UINT64_C(10000000)
#define PROBE_ROUNDS       4 /* times seal_retry_ns, that an answer is good for */
#define CALLER_IDLE_NS     UINT64_C(30000000000) /* without a question answered: closed */
#define EXCLUDED_ROUNDS    4 /* times adopt_timeout_ns, until a store is asked again */

/* ---- proposals held -------------------------------------------------------------------------- */

/* One datagram of proposals. The cursor stands at entry `number`. */
struct held {
    struct proposal_cursor cursor;
    uint64_t number;
    uint64_t first;
    uint64_t end;
    struct position position; /* of its author */
    uint32_t incarnation;
    uint32_t next;
    uint32_t previous;
    uint32_t publisher; /* 0: the slot is free */
};

/* What is known of the run at the head of a queue, so that no fragment is looked at twice while
 * the rest arrives. */
struct run_scan {
    uint64_t first; /* its first number; 0: nothing scanned */
    uint32_t count;
    uint32_t bytes;
    uint32_t slot;  /* last one looked at */
    uint8_t extent; /* enum run_extent: once its end is known, nothing behind it is looked at */
};

struct queue {
    uint32_t head; /* by number */
    uint32_t tail;
    uint32_t slots;
    uint32_t next_active;
    int64_t deficit; /* may be negative: a run is paid for after it was emitted */
    uint64_t heard_ns;
    uint64_t hint_ns;
    uint64_t told; /* of holes below this number */
    struct run_scan scan;
    bool active;
    bool discarding; /* inside a run rejected as too large: its rest is rejected too */
};

/* ---- emission -------------------------------------------------------------------------------- */

struct ring_slot {
    uint64_t first_seq;
    uint64_t end_seq;
    struct digest digest;
    uint32_t length;
    bool plain; /* users' messages only, outside runs, found lawful at the tip */
};

enum room {
    ROOM_ORDINARY = 0,
    ROOM_RESERVED =
        1 /* the way out of a full stream: neither reserve, pace nor budget hold it up */
};

/* Why no batch could be opened. */
enum blocked {
    BLOCKED_NOT = 0,
    BLOCKED_BUDGET, /* enough for one step */
    BLOCKED_PACE,
    BLOCKED_RING
};

/* Tokens, refilled one an interval up to HINTS_BURST; each hint takes one. */
struct hint_bucket {
    uint64_t refill_ns;
    uint64_t interval_ns;
    uint32_t tokens;
};

/* A run being emitted: nothing else until it is done. */
struct run_emission {
    uint32_t publisher;
    uint32_t left;
    uint64_t number;
};

/* A join or a create: what is asked of the sequencer itself. */
struct ask {
    enum wire_type type;
    struct port_addr from;
    union {
        struct join join;
        struct create create;
    };
};

/* ---- stores ---------------------------------------------------------------------------------- */

struct store {
    uint64_t id; /* 0: free */
    uint64_t heard_ns;
    uint64_t clock_offset; /* its wall clock minus our monotonic one, as of then; wraps */
    uint64_t acked_seq;    /* of our epoch, counted */
    uint64_t durable_seq;  /* as it says */
    uint64_t excluded_until_ns;
    uint64_t probed_ns;     /* when `probe` came */
    struct port_addr from;  /* of its last word */
    uint64_t recalled_ns;   /* when it was last told what it has said */
    struct store_word said; /* the most, as heard here; store 0: nothing yet */
    struct word base;       /* what that run began with */
    bool restored;          /* its last word was less than it has said */
    struct promise promise;
    struct promise probe; /* its last answer to a probe of ours */
    bool probed;          /* the current one, in `probe` */
    bool has_clock;
    bool promised; /* our current epoch, in `promise` */
    bool current;  /* its tail is of our epoch */
    bool full;
};

/* ---- the base -------------------------------------------------------------------------------- */

/* The state machines as of a batch boundary below the tip; the batches from there on are in the
 * ring. It follows the stable watermark, so that no fork of an honest stream goes below it. */
struct base {
    struct catalog *catalog;
    struct ledger ledger;
    uint8_t *discarding; /* by publisher id, as in struct queue */
    uint64_t next_seq;
    struct digest digest;
    uint64_t index; /* of the ring slot that comes next */
    bool valid;
    bool tried; /* the follower was restarted here, and has delivered nothing since */
};

/* ---- asked first ----------------------------------------------------------------------------- */

struct probe {
    bool open;
    bool deferred; /* to another candidate, in this silence */
    struct epoch asked;
    uint64_t at_ns;    /* when to ask (again) */
    uint64_t lossy_ns; /* since when a promotion would lose something; 0: it would not */
};

/* What the answers to a probe come to. */
struct probe_view {
    const struct store *best;    /* the highest tail that can be had; NULL: no answer */
    const struct store *damaged; /* one that reports more but does not count; or NULL */
    uint32_t answered;           /* members that count */
    uint32_t heard;              /* members that answered, damaged ones too */
    uint32_t needed;
    uint32_t members;
    uint32_t hear_leader; /* members that heard the leader lately */
};

/* A command whose outcome is not yet known. */
struct asked_command {
    bool open;
    uint32_t stream;
    uint64_t deadline_ns;
    struct command command;
};

/* A connection to the stream port. */
struct caller {
    uint32_t stream;      /* 0: free */
    uint64_t answered_ns; /* or accepted */
};

struct sequencer {
    struct sequencer_options o;
    char why[WHY_MAX + 1];
    char session[SESSION_NAME_MAX + 1]; /* "": go on with what runs */
    char session_first[SESSION_NAME_MAX + 1];
    struct port *port;
    struct port_time now;
    struct port_time created;
    enum sequencer_state state;
    bool want_lead;
    const char *unfit; /* why it can never lead; NULL: it can */
    char waiting_for[256];
    bool promise_fell; /* since the quorum was counted: whoever gave it turned out to be restored */
    char restored[256]; /* of a store that says less than it has said */

    /* the state machines, and who feeds them until we lead */
    struct catalog *catalog;
    struct ledger ledger;
    struct follower *follower;
    struct base base;
    uint64_t *counters; /* the owner's memory or own_counters */
    uint64_t own_counters[COUNTER_END];

    /* as a standby */
    uint64_t leader_word_ns; /* of the leader's last word, or of when we began to listen */
    bool caught_up;          /* once, since its state machines were begun anew */
    uint32_t unheard;        /* publishers' messages followed since a proposal was heard */
    uint32_t fenced_by;      /* number; 0: it was not */
    bool fenced_begun;       /* by a leader that was heard, not by a promise to a candidate */
    struct probe probe;
    struct asked_command asked;

    /* seal and adopt */
    struct epoch epoch;
    uint32_t number_seen; /* highest epoch number heard, promised or sealed by anyone */
    uint32_t seal_losses;
    uint64_t seal_at_ns; /* when to send the seal (again), or to begin the next round */
    bool seal_begun;
    struct position adopted;
    struct digest adopted_digest;
    struct follower_source adopt_source;
    uint64_t adopt_store;
    uint64_t adopt_next; /* progress: what the follower had delivered */
    uint64_t adopt_deadline_ns;
    uint32_t adopt_restarts;
    bool automatic;   /* nobody told it to: it gives up when it hears the leader */
    bool has_promise; /* some store's, of this epoch */
    bool adopt_again; /* the follower was restarted and must be told what to adopt */
    uint64_t random;

    /* the history, when leading */
    uint64_t next_seq;
    uint64_t epoch_first_seq;
    uint64_t stable;
    struct digest digest; /* through the last closed batch */
    bool is_volatile;
    bool stable_rose;
    bool session_due;

    /* the ring: indices grow for ever, a slot's place is its index masked */
    uint8_t *ring_bytes;
    struct ring_slot *ring;
    uint32_t ring_stride;
    uint32_t ring_slots; /* a power of two */
    uint64_t ring_head;
    uint64_t ring_stable; /* first that is not wholly stable */
    uint64_t ring_lent;   /* first whose bytes the port holds until the flush after this step */
    uint64_t ring_end;

    /* the open batch */
    struct batch_builder batch;
    struct batch_header batch_header;
    bool batch_is_open;
    bool batch_plain;     /* see struct ring_slot */
    uint32_t payload_max; /* of one message */
    uint32_t step_batches;
    enum blocked blocked;
    bool paused;
    bool pacing;
    uint64_t pace_at_ns;
    struct run_emission run;

    /* proposals */
    struct queue *queues; /* by publisher id */
    struct held *held;
    uint8_t *held_bytes;
    uint32_t held_stride;
    uint32_t free_head;
    uint32_t free_count;
    uint32_t token_reserve; /* slots for one publisher at a time, so that a run can be completed */
    uint32_t token_used;
    uint32_t token_publisher;
    uint64_t token_at_ns;
    uint32_t active_head; /* publishers that may have something to serve, in turn */
    uint32_t active_tail;
    bool turn_open; /* the first of them got its quantum already */
    uint64_t stale_scan_ns;
    uint32_t run_messages_max;
    struct ask asks[ASKS_MAX];
    uint32_t ask_count;

    /* the last permission looked up */
    uint32_t permit_publisher; /* 0: none */
    uint32_t permit_topic;
    uint8_t permit_reason;

    /* heartbeats, ticks, hints, fills */
    uint64_t heartbeat_at_ns;
    uint64_t heartbeat_interval_ns;
    uint64_t batch_sent_ns;
    uint64_t batch_gap_ns; /* between the last batches, on average */
    uint64_t tick_at_ns;
    uint64_t words_at_ns;
    uint64_t words_next; /* next_seq behind the last such record */
    struct hint_bucket advice;
    struct hint_bucket holes;
    uint32_t fills_left;

    /* time */
    uint64_t last_stamp_ns;
    uint64_t last_stamp_mono_ns;
    uint64_t median_offset;
    bool has_median;
    bool clock_behind;
    bool clock_refused;

    struct store stores[STORES_MAX];

    uint64_t secure;          /* seq of this epoch on a majority */
    uint64_t locked_until_ns; /* a member promised our number to another; 0: none did */
    bool holds_back;          /* appends nothing, so that all becomes stable */

    struct caller callers[CALLERS_MAX];
    struct status status;
    uint8_t status_body[STATUS_SIZE_MAX];
    uint8_t status_frame[STATUS_SIZE_MAX + REPLAY_FRAME_HEADER];
};

static inline void count(struct sequencer *s, enum counter c, uint64_t n)
{
    s->counters[c] += n;
}

static inline bool sabotaged(const struct sequencer *s, enum sequencer_sabotage mistake)
{
    return (s->o.sabotage & (uint32_t)mistake) != 0;
}

static inline struct ring_slot *ring_slot_at(struct sequencer *s, uint64_t index)
{
    return &s->ring[index & (s->ring_slots - 1)];
}

static inline uint8_t *ring_bytes_at(struct sequencer *s, uint64_t index)
{
    return s->ring_bytes + (index & (s->ring_slots - 1)) * s->ring_stride;
}

/* core.c */
/* A later number was heard of: `begun` by its leader, or promised by a store only. */
void sequencer_fence(struct sequencer *s, uint32_t number, struct epoch by, bool begun);
void sequencer_send(struct sequencer *s, enum port_channel channel, struct port_addr to,
                    const uint8_t *bytes, uint32_t length);
void sequencer_send_egress(struct sequencer *s, const uint8_t *bytes, uint32_t length);
void sequencer_count_verdict(struct sequencer *s, enum wire_verdict verdict);
/* A message of the stream, for what the sequencer keeps beside catalog and ledger. */
void sequencer_follow_message(struct sequencer *s, const struct message *m);
/* Whether this message says if the rest of a publisher's run is discarded; whose, and whether. */
bool sequencer_discards(const struct sequencer *s, const struct message *m, uint32_t *publisher,
                        bool *discarding);
/* A batch of the stream, applied to the state machines at the tip. */
void sequencer_apply(struct sequencer *s, const uint8_t *batch, const struct batch_header *header);
/* Forgets the state machines and follows the stream from its beginning. */
void sequencer_rebuild(struct sequencer *s, struct epoch heard);
/* Follows the stream again from the base, or from its beginning if that did not help. */
void sequencer_restart(struct sequencer *s, struct epoch heard);
/* No longer wants to lead. */
void sequencer_stand_by(struct sequencer *s);
/* Leads no more, and follows on from its own tip. */
void sequencer_resign(struct sequencer *s);

/* core_base.c */
bool base_allocate(struct sequencer *s);
void base_free(struct sequencer *s);
void base_reset(struct sequencer *s);
/* The oldest slot is needed: what is in it goes into the base. */
void base_push(struct sequencer *s);
/* Follows the watermark, at most this many batches. True if there is more to do. */
bool base_follow(struct sequencer *s, uint64_t stable, uint32_t batches_max);
/* Takes back what is at or above first_seq. False, and nothing is changed, if it can't be done. */
bool base_rollback(struct sequencer *s, uint64_t first_seq);

/* core_probe.c */
uint64_t probe_step(struct sequencer *s);
void probe_open(struct sequencer *s);
void probe_send_due(struct sequencer *s);
void probe_on_seal(struct sequencer *s);
void probe_on_answer(struct sequencer *s, const struct promise *p);
/* A store that heard the leader within silence_ns counts as hearing it. */
struct probe_view probe_look(const struct sequencer *s, uint64_t silence_ns);
bool probe_heard(const struct sequencer *s, uint64_t store);
/* Whether a promotion would not have what the stores that answered report; what, and what to do. */
bool probe_would_lose(const struct sequencer *s, const struct probe_view *view, char *text,
                      size_t size);
uint64_t random_next(struct sequencer *s);

/* core_command.c */
bool command_on(struct sequencer *s, uint32_t stream, const uint8_t *body, size_t length);
void command_stream_closed(struct sequencer *s, uint32_t stream);
/* What waits for its turn to be carried out. */
void command_lead_step(struct sequencer *s);
uint64_t command_standby_step(struct sequencer *s);
void command_abandon(struct sequencer *s, const char *why);

/* core_member.c */
/* The membership that the command makes, of which seq is still to be set; or why not, in text. */
bool member_change(const struct sequencer *s, const struct command *c, struct membership *out,
                   char *text, size_t size);

/* core_seal.c */
uint64_t seal_step(struct sequencer *s);
void seal_start(struct sequencer *s);
void seal_on_promise(struct sequencer *s, const struct promise *p, struct port_addr from);
/* The leader heard that a member promised its number to another candidate. */
void seal_heard_locked(struct sequencer *s);
/* Whether the leader should seal a higher number now; meanwhile it may hold back what is proposed. */
bool seal_again_due(struct sequencer *s);
void seal_again(struct sequencer *s);
/* A live word of the leader of `heard`, while we want to lead ourselves. */
void seal_on_leader(struct sequencer *s, struct epoch heard);
uint64_t adopt_step(struct sequencer *s);
void begin_volatile(struct sequencer *s);

/* core_queue.c */
void queue_reset_all(struct sequencer *s);
/* Keeps what is held, but serves nothing. */
void queue_stand_by(struct sequencer *s);
/* Drops what is off our history: all that it lacks if we begin to lead, and then the rest is
 * served. */
void queue_check_all(struct sequencer *s, bool begin);
void queue_drop(struct sequencer *s, uint32_t publisher);
/* Of a datagram that comes soon: a hint to the caches, whatever is in it. */
void queue_prefetch(const struct sequencer *s, const struct port_datagram *d);
void queue_on_proposal(struct sequencer *s, const struct port_datagram *d);
/* What stands at number `next` of the publisher, after dropping what is below; NULL if it has not
 * arrived. */
struct held *queue_head(struct sequencer *s, struct queue *q, uint64_t next);
/* Drops what is below next; returns how many numbers that were. */
uint64_t queue_trim(struct sequencer *s, struct queue *q, uint64_t next);
/* The next `count` of it are done. */
void queue_advance(struct sequencer *s, struct queue *q, struct held *h,
                   struct proposal_cursor after, uint32_t count);
void queue_activate(struct sequencer *s, uint32_t publisher);
uint32_t queue_deactivate_first(struct sequencer *s);

/* core_append.c */
void append_step(struct sequencer *s);
enum reject_reason append_refuses(struct sequencer *s, uint32_t publisher, uint32_t topic);
enum reject_reason append_condition(struct sequencer *s, const struct proposal_entry *e,
                                    uint64_t *detail);
bool append_reject(struct sequencer *s, uint32_t publisher, uint64_t number,
                   const struct sys_reject *reject);

/* core_ask.c */
void ask_on(struct sequencer *s, const struct ask *a);
/* Answers what was asked since; false: no room now. */
bool ask_step(struct sequencer *s);

/* core_run.c */
enum served {
    SERVED = 0,     /* something was consumed */
    SERVED_NOTHING, /* the head waits for more to arrive */
    SERVED_BLOCKED  /* no batch could be opened: the same again later */
};
/* The run whose first message, at the head of the queue, has this number and topic. */
enum served run_serve(struct sequencer *s, uint32_t publisher, struct queue *q, uint64_t next,
                      uint32_t topic);
/* Goes on with the run being emitted; false: blocked. */
bool run_emit(struct sequencer *s);

/* core_emit.c */
bool emit_room(struct sequencer *s, uint32_t payload_length, enum room room);
bool emit_ring_room(struct sequencer *s, uint32_t slots);
void emit_close(struct sequencer *s, bool full);
/* A message of the slow path: the state machines follow it. False: no room now. */
bool emit_record(struct sequencer *s, uint32_t topic, uint32_t publisher, uint64_t publisher_seq,
                 const uint8_t *payload, uint32_t length, enum room room);
void emit_epoch_record(struct sequencer *s);
void emit_session_record(struct sequencer *s);
bool emit_member_record(struct sequencer *s, struct membership *members);
void emit_tick(struct sequencer *s);
void emit_heartbeat(struct sequencer *s);
void emit_stable_rose(struct sequencer *s);
void emit_begin(struct sequencer *s);
uint64_t emit_deadline(const struct sequencer *s);
/* Index of the slot that holds seq; UINT64_MAX if none does. */
uint64_t ring_find(const struct sequencer *s, uint64_t seq);
void ring_reset(struct sequencer *s);
/* A batch that was followed; the oldest makes place. */
void ring_put(struct sequencer *s, const uint8_t *bytes, const struct batch_header *h);

/* core_ack.c */
struct store *store_of(struct sequencer *s, uint64_t id);
void ack_on(struct sequencer *s, const struct ack *a, struct port_addr from);
void ack_begin(struct sequencer *s);
/* Anew under a membership that changed. */
void ack_judge(struct sequencer *s);

/* core_word.c */
/* Whether this word of a store counts; from whom it came is kept. */
bool word_heard(struct sequencer *s, struct store *store, const struct run *run,
                const struct word *now, struct port_addr from);
/* Tells the store that its run is accepted. */
void word_accept(struct sequencer *s, struct store *store);
/* Again, once all that is adopted is known. False: some do not count any more. */
bool word_promises_stand(struct sequencer *s);
void emit_words(struct sequencer *s);

/* core_time.c */
uint64_t time_stamp(struct sequencer *s);
void time_heard_clock(struct sequencer *s, struct store *store, uint64_t clock_ns);

/* core_answer.c */
void answer_gap_request(struct sequencer *s, const struct port_datagram *d);
void answer_hint(struct sequencer *s, struct port_addr to, enum hint_reason reason,
                 uint32_t publisher, uint64_t nonce);
/* To a publisher, at most one a millisecond. */
void answer_publisher(struct sequencer *s, struct port_addr to, enum hint_reason reason,
                      uint32_t publisher);
/* Its numbers [first, end) are missing: said once. */
void answer_missing(struct sequencer *s, struct port_addr to, uint32_t publisher, uint64_t first,
                    uint64_t end);

/* core_status.c */
bool status_write_frame(struct sequencer *s, uint32_t stream, enum replay_type type,
                        const uint8_t *body, size_t length);
size_t status_on_stream(struct sequencer *s, const struct port_stream_event *e);
/* Closes a connection to the stream port. */
void status_hang_up(struct sequencer *s, uint32_t stream);
/* Closes those that ask nothing; when to look again. */
uint64_t status_step(struct sequencer *s);

#endif
