/* Shared by relay*.c, and nobody else. */
#ifndef CANTUS_PROXY_RELAY_PRIVATE_H
#define CANTUS_PROXY_RELAY_PRIVATE_H

#include "proxy/relay.h"
#include "proxy/session_private.h"

enum {
    RELAY_OWN_WINDOW = 4096,
    RELAY_OWN_WINDOWS = 2,
    RELAY_NOTES = RELAY_OWN_WINDOW * RELAY_OWN_WINDOWS,
    RELAY_OWN_BYTES = 1 << 20,
    RELAY_OUTBOX = 512, /* datagrams in one round, of all together */
    RELAY_WINDOWS_KEPT = 4,
    RELAY_CREATES_MAX = 256,    /* topics asked for at once */
    RELAY_SHARE = 8,            /* no account has more than one of so many of all publishers */
    RELAY_EXTRAS_MAX = 65536,   /* not stable yet; more wait until some are: a power of two */
    RELAY_REJECTS_KEPT = 32768, /* the last of the stream are told of */
    RELAY_REJECTS_MAX = 2 * RELAY_REJECTS_KEPT, /* and what a fork may uncover: a power of two */
    RELAY_REJECTS_SEEN = 4096,                  /* of one publisher, for one OPENED */
    RELAY_REJECTS_TOLD = 512                    /* OUTCOMEs in front of it */
};

#define RELAY_NONE UINT32_MAX

/* A publisher of a session. Chains go by index. */
struct relay_publisher {
    struct publisher *publisher; /* in its slab */
    struct relay *relay;
    struct session *session; /* NULL: free */
    uint32_t index;
    uint32_t id; /* by which it is found; 0: not yet */
    uint32_t next_of_session, next_of_id, next_of_identity;
    uint32_t next, previous; /* in the list of the busy */
    bool busy;
    bool opened;     /* OPENED has its place, and is said once that is stable */
    bool superseded; /* SUPERSEDED has its place, and is said once that is stable */
    bool over;       /* it is: the publisher is here for what its client has sent before it heard */
    bool voids; /* its client has yet to take back what a fork has: other numbers are passed over */
    uint64_t known; /* number: its client is told of rejects above it */
    uint32_t group; /* numbers of the group that is open */
    uint32_t group_bytes;
    uint64_t kept; /* bytes, as counted in its account */
    uint64_t deadline_ns;
};

/* A message that took more numbers than one, which a fork may take back. */
struct relay_extra {
    uint64_t seq;
    uint32_t publisher;
    uint32_t numbers; /* but for the one */
};

/* A reject record. Those of one publisher are a chain, from the last one back. */
struct relay_reject {
    uint64_t seq, number, detail;
    uint64_t previous;      /* one more than its endless count; 0: none */
    uint64_t previous_last; /* number that it rejected last */
    uint32_t publisher, count;
    uint8_t reason;
};

struct relay_rejected {
    uint64_t end;  /* one more than the endless count of the last record; 0: none */
    uint64_t last; /* number that it rejected last */
};

/* A topic that somebody waits for. */
struct relay_create {
    struct session *session; /* NULL: free */
    uint64_t nonce;
    uint64_t at_ns, wait_ns;
    uint32_t publisher;
    bool refused;
    uint32_t length;
    char path[TOPIC_PATH_MAX + 1];
};

/* Which record each number of the proxy's own publisher is. */
struct relay_note {
    uint32_t slot;
    uint64_t session;
    enum sys_edge_kind kind;
    uint32_t change;
};

struct relay {
    struct proxy *p;
    struct publisher_options options; /* of a session's publisher, but for its identity */
    struct publisher_sizes sizes;
    uint32_t max;
    struct relay_publisher *publishers;
    uint8_t *slabs;
    uint32_t free, used, high; /* free: a chain by `next` */
    uint32_t *by_id;           /* by publisher id: heads of chains */
    uint32_t *by_identity;     /* by hash */
    uint32_t identity_mask;
    uint64_t identity_secret;
    /* By publisher id: its numbers less these are its messages. Those that are not stable lie in a ring. */
    uint64_t *extra_numbers;
    struct relay_extra *extras;
    uint64_t extra_begin, extra_end;    /* endless counts */
    struct relay_rejected *rejected;    /* by publisher id */
    struct relay_reject *rejects;       /* a ring of the last of all */
    uint64_t reject_stable, reject_end; /* endless counts; those below the first are stable */
    uint32_t first_busy;
    uint64_t kept; /* bytes, of all */
    struct publisher_outbox outbox;
    uint8_t *outbox_bytes;

    struct publisher *own;
    void *own_memory;
    uint64_t own_deadline_ns;
    uint64_t present_again_ns; /* of the stream's time: it says again that it is there */
    bool leaves;               /* it has said so last */
    bool live;                 /* as the proxy was when last looked */
    struct relay_note notes[RELAY_NOTES];

    uint32_t create_count;
    struct relay_create creates[RELAY_CREATES_MAX];
};

/* ---- relay.c --------------------------------------------------------------------------------- */
struct relay_publisher *relay_find(const struct session *s, uint32_t publisher_id);
struct relay_publisher *relay_find_identity(const struct session *s, const char *identity);
/* NULL: there are too many. */
struct relay_publisher *relay_take(struct relay *r, struct session *s,
                                   const struct publisher_options *options);
void relay_drop(struct relay_publisher *q);
/* Looks at what has changed: it is stepped, and its account knows what it keeps. */
void relay_touch(struct relay_publisher *q);
/* Into the chain of its id, or out of it, when that has changed. */
void relay_follow_id(struct relay_publisher *q);
/* Tells its session what is to be told now. */
void relay_tell(struct relay_publisher *q);

/* ---- relay_count.c --------------------------------------------------------------------------- */
/* A whole message of a publisher with more numbers than one. */
void relay_count_extra(struct relay *r, const struct run_message *m);
void relay_settle_extras(struct relay *r, uint64_t stable);
void relay_fork_extras(struct relay *r, uint64_t common_seq);

/* ---- relay_reject.c -------------------------------------------------------------------------- */
bool relay_rejects_have_room(const struct relay *r, const struct batch_header *batch);
void relay_note_reject(struct relay *r, const struct message *m);
void relay_settle_rejects(struct relay *r, uint64_t stable);
void relay_fork_rejects(struct relay *r, uint64_t common_seq);
/* Those of its numbers above `known`, in their order; at most RELAY_REJECTS_TOLD. *unknown_through: rejects through
 * this number are left out; 0: none. */
uint32_t relay_rejects_of(const struct relay *r, uint32_t publisher, uint64_t known,
                          struct edge_outcome told[RELAY_REJECTS_TOLD], uint64_t *unknown_through);

/* ---- relay_own.c ----------------------------------------------------------------------------- */
size_t relay_own_memory(const struct relay *r); /* aligned to 64 */
/* Joins, anew if it had. */
void relay_open_own(struct relay *r);
/* Says that the proxy is there, or leaves, when that is due. */
void relay_present(struct relay *r);

/* ---- relay_topic.c --------------------------------------------------------------------------- */
/* The id of a topic that may be written to by q, and whose creation no fork takes back. */
enum relay_verdict relay_topic(struct relay_publisher *q, const char *path, size_t length,
                               enum access_right right, uint32_t *topic, uint64_t *retry_ns,
                               struct edge_refused *refused);
uint64_t relay_topic_step(struct relay *r);
void relay_topic_hint(struct relay *r, const struct hint *h);
void relay_topic_forget(struct relay *r, const struct session *s);

#endif
