/* The sequencer: the one process that stamps proposals with a seq and a time and re-emits them.
 *
 * Starting and failing over are the same path: seal, adopt, begin (design section 3). Until it leads,
 * a sequencer is a follower whose state machines are the catalog and the ledger; so a standby is simply
 * one that does not seal. It has no durable state of its own: all of that is in the stores.
 *
 *   FOLLOWING --lead--> SEALING --quorum--> ADOPTING --tail applied--> LEADING
 *       ^                  ^                    |  fetch impossible        |
 *       |                  +--------------------+                         |
 *       +------------------------------ a later epoch was heard ----------+
 *
 * It keeps its state machines twice: at the tip, and at a base that follows the stable watermark,
 * with the batches between them in its ring. So a fork, being fenced and a promotion cost no replay.
 * A standby holds the proposals that it hears, and sequences them at once when it begins. It is
 * promoted by sequencer_lead, by a command on its stream port, or by itself after silence_ns.
 *
 * A leader of which a member has promised the same number to another candidate seals a higher one
 * itself: LEADING --> SEALING.
 *
 * Effects: datagrams and answers on streams. Pure; all memory is taken by create. */
#ifndef CANTUS_SEQUENCER_CORE_H
#define CANTUS_SEQUENCER_CORE_H

#include "follow/follower.h"
#include "proto/ledger.h"
#include "proto/status.h"

enum sequencer_state {
    SEQUENCER_FOLLOWING = 1, /* standby */
    SEQUENCER_SEALING,
    SEQUENCER_ADOPTING,
    SEQUENCER_LEADING
};

struct sequencer_options {
    uint64_t stream;
    uint64_t candidate;  /* random: tells this incarnation from any other */
    bool lead;           /* seal at once; else wait for sequencer_lead */
    uint8_t how;         /* enum sys_epoch_how, for the epoch record */
    const char *why;     /* "" or an operator's words */
    const char *session; /* begin this session if another one runs; NULL: go on with what runs */
    const char *session_first; /* of a history that has none yet; NULL: "default" */

    /* A stream without stores begins its history with these bytes, which are borrowed until it is
     * destroyed. Length 0: stores decide. */
    const uint8_t *volatile_genesis;
    uint32_t volatile_genesis_length;
    uint32_t volatile_epoch; /* number of the epoch, above any earlier run's */

    uint32_t source_count; /* retransmitters: for catching up */
    struct follower_source sources[FOLLOWER_SOURCES_MAX];

    struct catalog_options catalog;
    uint32_t datagram_max;     /* default 1472 */
    uint64_t ring_bytes;       /* of recent batches; nothing above stable leaves; default 64 MiB */
    uint32_t queue_max;        /* datagrams of proposals held, all publishers; default 8192. A run
                                     has at most half as many messages (and at most the window) */
    uint32_t pending_max;      /* batches held while it follows; default 4096 */
    uint32_t window;           /* numbers held ahead of a publisher's next; default 4096 */
    uint32_t run_bytes_max;    /* default 1 MiB */
    uint32_t quantum_bytes;    /* deficit round robin; default 4096 */
    uint32_t step_batches_max; /* emitted per step; default 128 */
    bool line_b;               /* emit on PORT_EGRESS_B too */
    bool pad;                  /* full batches to equal size, for segmented sends */
    uint64_t tick_ns;          /* of /sys/clock; 0: none; default 1 s */
    uint64_t words_ns;         /* of /sys/word, while there is news; 0: none; default 5 s */
    /* After a message; while batches are up to 2.5 times as far apart, after twice that distance. Doubling up to
     * heartbeat_max_ns. */
    uint64_t heartbeat_min_ns;
    uint64_t heartbeat_max_ns; /* defaults 20 us, 100 ms */
    uint64_t pace_bytes;       /* room of the ring that waits for the quorum, beyond which emission
                                     is slowed; default half the ring */
    uint64_t pace_ns;          /* then at most one batch per this; default 50 us */
    uint64_t clock_ahead_max_ns; /* beyond the retransmitters' median: refused; default 10 s */
    uint64_t seal_retry_ns;      /* default 50 ms */
    uint64_t adopt_timeout_ns;   /* without progress: seal again without that store; default 2 s */
    uint64_t silence_ns;       /* a standby promotes itself after this silence of the leader, having
                                     asked the stores; 0: never */
    uint64_t lease_silence_ns; /* a promotion for a lease is refused while a majority of the stores
                                  has heard the leader within this; default 500 ms */

    /* [COUNTER_END], zeroed by the owner, who may read them from anywhere at any time; NULL: its
     * own memory. */
    uint64_t *counters;

    /* Planted mistakes, by the simulator only; 0 in every other build of options. */
    uint32_t sabotage; /* enum sequencer_sabotage, a bit set */
};

enum sequencer_sabotage {
    SEQUENCER_DEDUP_FORGOTTEN = 1,   /* restarts with an empty ledger */
    SEQUENCER_CLOCK_UNCLAMPED = 2,   /* stamps the raw clock */
    SEQUENCER_ORDER_BY_ARRIVAL = 4,  /* ignores publishers' numbers */
    SEQUENCER_ACK_ANY_EPOCH = 8,     /* counts an acknowledgement whatever the tail's epoch */
    SEQUENCER_STABLE_UNACKED = 16,   /* calls stable what it has emitted */
    SEQUENCER_FOREIGN_BASIS = 32,    /* does not check the position a proposal names */
    SEQUENCER_RING_FORGETS = 64,     /* lets what is above stable leave the ring */
    SEQUENCER_STABLE_ON_ADOPT = 128, /* counts the adopted tail without an entry of its own epoch */
    SEQUENCER_ADOPT_LONGEST = 256,   /* adopts the longest tail, not the highest (epoch, seq) */
    SEQUENCER_MINORITY_SEAL = 512,   /* begins on one promise */
    SEQUENCER_WEAK_QUORUM = 1024,    /* one store makes stable */
    SEQUENCER_REPLACE_MEMBERS = 2048,       /* one record swaps a member for another store */
    SEQUENCER_UNGUARDED_MEMBERSHIP = 4096,  /* a change waits for nothing */
    SEQUENCER_STATIC_MEMBERSHIP = 8192,     /* seals a majority of the founders */
    SEQUENCER_SMALL_QUORUM_CHANGE = 16384,  /* the membership changes with a W below a majority */
    SEQUENCER_BEGIN_AFTER_RERECORD = 32768, /* begins when the adopted tail is on a quorum */
    SEQUENCER_OLDER_INCARNATION = 65536,    /* takes what an older incarnation proposes */
    SEQUENCER_HALF_REFUSED = 131072,        /* refuses a group's first message only */
    SEQUENCER_SILENT_REFUSAL = 262144,      /* drops a group that it refuses, without a record */
    SEQUENCER_UNPERMITTED = 524288,         /* does not ask whether a message is permitted */
    SEQUENCER_RESTLESS = 1048576,           /* while it leads, asks to be called again at once */
    SEQUENCER_RIGHTS_OF_BATCH = 2097152,    /* checks rights as of the batch's beginning */
    SEQUENCER_REVOCATION_IGNORED = 4194304, /* takes no notice of revocations */
    SEQUENCER_RESTORED_VOTES = 8388608      /* believes a store whatever it has said before */
};

struct sequencer;

/* Sets every field: to the default named above, or to zero. */
void sequencer_options_default(struct sequencer_options *o);
size_t sequencer_memory(const struct sequencer_options *o);
struct sequencer *sequencer_create(const struct sequencer_options *o, struct port *port,
                                   struct port_time now); /* NULL: no memory */
void sequencer_destroy(struct sequencer *s);

extern const struct participant_ops sequencer_participant;

/* Promotes a standby: begins to seal. No effect while it leads. */
void sequencer_lead(struct sequencer *s, uint8_t how, const char *why);

enum sequencer_state sequencer_state(const struct sequencer *s);
struct epoch sequencer_epoch(const struct sequencer *s); /* its own while it leads */
uint64_t sequencer_tip(const struct sequencer *s);       /* last seq emitted or followed */
uint64_t sequencer_stable(const struct sequencer *s);
struct digest sequencer_digest(const struct sequencer *s); /* history digest through the tip */
bool sequencer_paused(const struct sequencer *s);          /* ring full */
const struct catalog *sequencer_catalog(const struct sequencer *s);
const struct ledger *sequencer_ledger(const struct sequencer *s);
const uint64_t *sequencer_counters(const struct sequencer *s); /* [COUNTER_END] */
/* What is now, into a counters' array: only gauges are set. For the driver to call now and then. */
void sequencer_gauges(const struct sequencer *s, uint64_t gauges[COUNTER_END]);
const char *sequencer_state_name(const struct sequencer *s);
/* The same, for the driver to keep its own figures in: the transport's, the loop's. */
uint64_t *sequencer_own_counters(struct sequencer *s);
void sequencer_status(const struct sequencer *s, struct port_time now, struct status *out);
/* Why it does not lead yet, for humans: "1 of 2 stores needed have promised"; "" while it leads. */
const char *sequencer_waiting_for(const struct sequencer *s);
/* Why one that led does so no more, for humans: it was fenced, or seals a higher epoch itself; ""
 * while it leads. */
const char *sequencer_leads_no_more(const struct sequencer *s);
/* What somebody should look after while it stands by: it is deaf, or its promotion would lose
 * messages, for which it waits; "" if there is no such thing. */
const char *sequencer_trouble(const struct sequencer *s);
/* Of a store that says less than it has said, the last such; "": there was none. */
const char *sequencer_restored(const struct sequencer *s);

#endif
