/* A port that remembers what is sent through it, and behind it a leader of a few lines that
 * sequences that as a sequencer would: joins, topics, permissions, conditions, runs. The rigs of the
 * client core and of the proxy begin with one, so that what is here takes a rig of either kind.
 * Tests script the leader where that matters: they make it deaf, emit messages of their own, cut its
 * history. */
#ifndef CANTUS_TESTS_LEADER_H
#define CANTUS_TESTS_LEADER_H

#include <check.h>

#include "transport/port.h"
#include "proto/catalog.h"
#include "proto/ledger.h"
#include "proto/proposal.h"

#define RIG_STREAM UINT64_C(0x5eed)
#define RIG_HERE   0x7f000001u
#define MS         UINT64_C(1000000)
#define SECOND     UINT64_C(1000000000)

enum {
    RIG_SENT_MAX = 8192,
    RIG_LOG_MAX = 32768,
    RIG_WINDOW = 1024,
    RIG_PUBLISHERS_MAX = 512,
};

struct rig; /* begins with a struct leader */

struct leader_sent {
    uint32_t length;
    uint8_t bytes[WIRE_DATAGRAM_DEFAULT];
};

struct leader_batch {
    struct batch_header header;
    uint8_t bytes[WIRE_DATAGRAM_DEFAULT];
};

struct leader_fragment {
    uint64_t number; /* 0: none */
    uint32_t generation;
    struct proposal_entry e;
    uint8_t bytes[WIRE_DATAGRAM_DEFAULT];
};

struct leader {
    struct port port; /* first */
    uint8_t scratch[256][PORT_SCRATCH_MAX];
    uint32_t scratch_used;
    struct leader_sent sent[RIG_SENT_MAX];
    uint32_t sent_count;  /* not yet taken by the leader */
    uint64_t datagrams;   /* ever */
    uint32_t lose_one_of; /* one of n datagrams to the leader is lost; 0: none */
    uint64_t loss_state;
    bool deaf; /* hears nothing */
    /* Gives a datagram to what is tested. */
    void (*feed)(struct rig *r, const uint8_t *bytes, uint32_t length, enum port_channel channel);
    bool fills_gaps; /* answers requests for them, deaf or not, as a store would */

    struct epoch epoch;
    struct digest digest;
    uint64_t timestamp_ns;
    uint64_t stable;
    uint64_t stable_max; /* nothing above becomes stable; 0: no limit */
    bool hold_stable;    /* else all that was emitted is stable */
    bool is_volatile;
    struct catalog *catalog;
    struct ledger ledger;
    struct leader_batch *log; /* RIG_LOG_MAX */
    uint32_t log_count, log_delivered;
    struct leader_fragment *held;             /* RIG_WINDOW of each publisher */
    uint32_t generations[RIG_PUBLISHERS_MAX]; /* what is held of an older one is void */
    uint8_t reject_next;                      /* reason for the next proposal */
    uint64_t creates, joins, proposals, rejects, conditions_failed;
    uint32_t order[RIG_LOG_MAX]; /* publishers of proposals that were new, as they came */
    uint32_t order_count;
};

/* `ops` are the rig's own: leader_send and leader_scratch may be among them. */
void leader_port_init(struct leader *l, const struct port_ops *ops);
void leader_send(struct port *port, enum port_channel channel, struct port_addr to,
                 const uint8_t *bytes, uint32_t length);
uint8_t *leader_scratch(struct port *port, uint32_t length);

/* Emits the genesis and the first epoch record. `admin_key` may do everything; NULL: everybody may.
 * is_volatile and timestamp_ns were set before. */
void leader_begin(struct rig *r, const struct catalog_options *catalog, const uint8_t *admin_key);
void leader_end(struct rig *r);
/* Takes what was sent. */
void leader_hear(struct rig *r);
/* Feeds what was emitted and not yet delivered, and a heartbeat. */
void leader_deliver(struct rig *r);

/* Each is a batch, and returns its message's seq. */
uint64_t rig_emit(struct rig *r, uint32_t topic, uint32_t publisher, uint64_t number, uint8_t flags,
                  const void *payload, size_t length);
uint64_t rig_say(struct rig *r, const char *path, const char *text); /* by "other" */
uint32_t rig_topic(struct rig *r, const char *path); /* its id; makes it if need be */
uint32_t rig_join(struct rig *r, const char *identity, uint64_t nonce); /* the publisher's id */
/* A later epoch whose history has only the first `seq` messages of this one's. */
void rig_fork(struct rig *r, uint64_t seq);
/* The same, and behind them come these of a history that was left. */
void rig_fork_to(struct rig *r, uint64_t seq, const struct leader_batch *left, uint32_t count);
uint64_t rig_tip(const struct rig *r);

/* Where a check is too often for Check's, each of which writes to a file. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ck_abort_msg("%s", #condition);                                                        \
    } while (0)

#endif
