/* What an all-seeing observer knows of the stream: every batch that any leader ever emitted, as a
 * tree. An epoch is a branch, which grows from a position on an older one. */
#ifndef CANTUS_SIM_SIM_HISTORY_H
#define CANTUS_SIM_SIM_HISTORY_H

#include "proto/batch.h"
#include "proto/sys.h"

enum {
    SIM_BRANCHES_MAX = 1024,
    SIM_PUBLISHERS_MAX = 64,
    SIM_TOPICS_MAX = 96,
    SIM_ACCESS_MAX = 1024, /* grants and groups, on one history */
    SIM_WORDS_MAX = 64,    /* stores that ever were: a wiped one comes back as another */
    SIM_REPORTS_MAX = 32,  /* promises of a store that are remembered */
    SIM_CHANGES_MAX = 512  /* of the membership, on all branches */
};
#define SIM_NONE UINT32_MAX

/* One message that was emitted. */
struct sim_entry {
    const uint8_t *payload;
    uint64_t timestamp_ns;
    uint64_t publisher_seq;
    struct digest digest;    /* through its batch, if it is the last of one */
    uint64_t applied_digest; /* of the replicas' state behind it */
    uint64_t stable;         /* as its batch says, if it is the last of one */
    uint32_t topic;
    uint32_t publisher;
    uint32_t length;
    uint8_t flags;
    bool last;      /* of its batch */
    bool watermark; /* a leader has declared what is through here stable */
    bool is_digest; /* below /sys: not handed to who subscribes to "/" */
    bool said;      /* a replica has published the digest of its state behind it: */
    uint64_t said_digest;
    bool applied;
};

/* What counts along one history. */
struct sim_tally {
    uint64_t next[SIM_PUBLISHERS_MAX]; /* publishers' numbers, by id */
    uint32_t incarnation[SIM_PUBLISHERS_MAX];
    uint64_t items[SIM_PUBLISHERS_MAX];    /* by the workload's number: items sequenced */
    uint64_t rounds;                       /* of the race */
    uint64_t join_seq[SIM_PUBLISHERS_MAX]; /* of their newest joins */
    uint64_t topic_seq[SIM_TOPICS_MAX];    /* where users' topics were made, by id */
    uint32_t topic_count;
    uint64_t access_seq[SIM_ACCESS_MAX]; /* records of rights */
    uint32_t access_count;
    uint32_t run_publisher; /* of the open run; 0: none */
    bool in_message;        /* the next one is a fragment of the same */
    struct sim_tally_open {
        uint64_t next;
        uint64_t items;
        uint32_t item_publisher;
    } before_run; /* what comes back if the run is voided */
};

struct sim_branch {
    struct epoch epoch;
    uint64_t first_seq;   /* of its epoch record */
    uint64_t end_seq;     /* one after its last */
    uint32_t parent;      /* SIM_NONE: the genesis */
    struct digest digest; /* through end_seq - 1 */
    uint64_t timestamp_ns;
    uint64_t promised_ns;      /* a heartbeat said that nothing later is stamped earlier */
    uint64_t stable;           /* as its leader declared it */
    struct membership members; /* newest on it: counts from its append */
    uint64_t possible;         /* what its leader may call stable, by what the members have said */
    uint64_t secure;           /* what a majority of them has said it has */
    uint32_t *entries;         /* by seq - first_seq */
    uint32_t capacity;
    struct sim_tally tally;
};

/* A proposal as it went out: what its author had applied, and which bytes it names. */
struct sim_proposed {
    uint64_t publisher_seq;
    struct position position;
    uint64_t hash;
    uint32_t publisher;
    uint32_t incarnation;
    uint32_t next; /* another of the same number; SIM_NONE */
};

/* A promise as it was given, and the tail it came with. */
struct sim_report {
    struct epoch epoch;
    struct position tail;
};

/* What a store has said, per branch and in all. */
struct sim_store_word {
    uint64_t id;
    bool gone;                                  /* wiped: it never speaks again */
    struct sim_report reports[SIM_REPORTS_MAX]; /* circular */
    uint32_t report_count;
    struct epoch promised;         /* the newest it answered for */
    struct position promised_tail; /* that it reported then */
    struct position acked;         /* newest */
    struct digest acked_digest;
    uint64_t acked_in[SIM_BRANCHES_MAX]; /* by branch: greatest seq under a tail of that epoch */
};

struct sim_change {
    uint32_t branch;
    struct membership members; /* of seq members.seq on */
};

struct sim_history {
    struct sim_branch *branches; /* SIM_BRANCHES_MAX */
    uint32_t branch_count;
    struct sim_entry *entries;
    uint32_t entry_count, entry_capacity;
    uint8_t **chunks; /* payload memory */
    uint32_t chunk_count, chunk_capacity;
    size_t chunk_used;
    uint32_t stable_branch; /* the branch and seq of the longest history declared stable */
    uint64_t stable_seq;
    struct sim_proposed *proposed;
    uint32_t proposed_count, proposed_capacity;
    uint32_t *proposed_index;     /* hash table of heads */
    struct sim_store_word *words; /* SIM_WORDS_MAX */
    uint32_t word_count;
    struct sim_change changes[SIM_CHANGES_MAX];
    uint32_t change_count;
};

/* Where a client stands, as told by its deliveries. */
struct sim_reader {
    uint32_t branch;        /* of the history it is on; SIM_NONE: nothing yet */
    uint64_t seq;           /* last delivered (or known to be skipped) */
    uint64_t quiet_through; /* after a fork it is rebuilt from the beginning up to here */
};

bool sim_history_init(struct sim_history *h); /* false: no memory */
void sim_history_close(struct sim_history *h);

uint32_t sim_history_branch(const struct sim_history *h, struct epoch epoch); /* or SIM_NONE */
/* A branch that leaves `parent` behind seq adopted; SIM_NONE: too many. */
uint32_t sim_history_grow(struct sim_history *h, struct epoch epoch, uint32_t parent,
                          uint64_t first_seq);
/* Appends a message to a branch; copies its payload. NULL: no memory. */
struct sim_entry *sim_history_append(struct sim_history *h, uint32_t branch,
                                     const struct message *m);
/* The message with this seq on the history that ends with branch; NULL if it is not there. */
struct sim_entry *sim_history_at(const struct sim_history *h, uint32_t branch, uint64_t seq);
/* The branch that seq lies on, on the history of `branch`. */
uint32_t sim_history_owner(const struct sim_history *h, uint32_t branch, uint64_t seq);
bool sim_history_has(const struct sim_history *h, uint32_t branch, struct position position);
/* The last seq to which the history (a, through a_seq) and that of b agree. */
uint64_t sim_history_common(const struct sim_history *h, uint32_t a, uint64_t a_seq, uint32_t b);

/* The newest membership of the history (branch, through seq). */
const struct membership *sim_history_members(const struct sim_history *h, uint32_t branch,
                                             uint64_t seq);
/* A membership record at the end of the branch. False: too many. */
bool sim_history_change(struct sim_history *h, uint32_t branch, const struct membership *members);
/* What the store of this id has said, from now on or ever; NULL: too many stores. */
struct sim_store_word *sim_history_word(struct sim_history *h, uint64_t id);
/* How much of the branch the members may have made stable and secure, by what they have said. */
void sim_history_judge(struct sim_history *h, uint32_t branch);

void sim_history_proposed(struct sim_history *h, uint32_t publisher, uint32_t incarnation,
                          uint64_t publisher_seq, struct position position, uint64_t hash);
/* Calls back for what was proposed under this number, newest first, until it returns true. */
bool sim_history_find_proposed(const struct sim_history *h, uint32_t publisher,
                               uint64_t publisher_seq,
                               bool (*match)(void *ctx, const struct sim_proposed *p), void *ctx);

#endif
