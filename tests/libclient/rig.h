/* A client core on a port that remembers, and a leader of a few lines that sequences what the
 * client sends: joins, topics, proposals with conditions, rejects. Tests script the leader where
 * that matters: they drop what is sent to it, emit messages of their own, cut its history. Time is
 * a number. */
#ifndef CANTUS_TESTS_LIBCLIENT_RIG_H
#define CANTUS_TESTS_LIBCLIENT_RIG_H

#include <check.h>
#include <stdlib.h>

#include "libclient/core.h"
#include "proto/ledger.h"
#include "proto/signal.h"

#define RIG_STREAM UINT64_C(0x5eed)
#define MS         UINT64_C(1000000)
#define SECOND     UINT64_C(1000000000)

enum {
    RIG_SENT_MAX = 4096,
    RIG_LOG_MAX = 16384,
    RIG_REPORTS_MAX = 64,
    RIG_SEEN_MAX = 8192,
    RIG_WINDOW = 1024,
    RIG_PUBLISHERS_MAX = 16
};

struct rig_sent {
    uint32_t length;
    uint8_t bytes[WIRE_DATAGRAM_DEFAULT];
};

struct rig_batch {
    struct batch_header header;
    uint8_t bytes[WIRE_DATAGRAM_DEFAULT];
};

struct rig_fragment {
    uint64_t number; /* 0: none */
    struct proposal_entry e;
    uint8_t bytes[WIRE_DATAGRAM_DEFAULT];
};

struct rig_report {
    struct cantus_report r;
    char identity[64], topic[256], text[256];
};

/* A message as a subscription saw it. */
struct rig_seen {
    uint64_t seq, timestamp_ns, publisher_seq, hash;
    size_t length;
    char topic[64], publisher[64];
    char head[32];
};

struct rig {
    struct port port; /* first */
    uint8_t scratch[256][PORT_SCRATCH_MAX];
    uint32_t scratch_used;
    struct rig_sent sent[RIG_SENT_MAX];
    uint32_t sent_count;  /* not yet taken by the leader */
    uint64_t datagrams;   /* ever */
    uint32_t lose_one_of; /* one of n datagrams to the leader is lost; 0: none */
    uint64_t loss_state;
    bool deaf; /* the leader hears nothing */

    struct epoch epoch;
    struct digest digest;
    uint64_t timestamp_ns;
    uint64_t stable;
    uint64_t stable_max; /* nothing above becomes stable; 0: no limit */
    bool hold_stable;    /* else all that was emitted is stable */
    bool is_volatile;
    struct catalog *catalog;
    struct ledger ledger;
    struct rig_batch *log; /* RIG_LOG_MAX */
    uint32_t log_count, log_delivered;
    struct rig_fragment *held; /* RIG_WINDOW of each of RIG_PUBLISHERS_MAX */
    uint8_t reject_next;       /* reason for the next proposal */
    uint64_t creates, joins, proposals, conditions_failed;

    struct port_time now;
    uint64_t deadline;
    struct client_core *core;
    struct client_core_options options;
    struct rig_report reports[RIG_REPORTS_MAX];
    uint32_t report_count;
    struct rig_seen seen[RIG_SEEN_MAX];
    uint32_t seen_count;
    char error[CANTUS_ERROR_MAX];
};

/* The client's code runs. Its callbacks here don't use Check, which allocates. */
extern bool rig_inside;

/* The leader has emitted the genesis and its first epoch record; the client has seen nothing yet.
 */
struct rig *rig_new(enum follower_level level);
struct rig *rig_new_volatile(void);
void rig_free(struct rig *r);
/* Another client on the same stream; the old one is gone. */
void rig_restart(struct rig *r);
void rig_make_core(struct rig *r);
/* Hands what was emitted to the client and what it sent to the leader until both are quiet. */
void rig_run(struct rig *r);
/* The same, time going on by `ns` at a time, at most `rounds` times, until done() is true. */
bool rig_run_until(struct rig *r, bool (*done)(struct rig *r), uint64_t ns, uint32_t rounds);
/* One step of the client, nothing else. */
void rig_step(struct rig *r);
void rig_deliver(struct rig *r); /* what was emitted, and a heartbeat */
void rig_hint(struct rig *r, struct hint h);
void rig_tick(struct rig *r, uint64_t timestamp_ns); /* a message on /sys/clock, delivered */

/* Emission. Each call is a batch; rig_emit_many puts `count` equal messages into one. */
uint64_t rig_emit(struct rig *r, uint32_t topic, uint32_t publisher, uint64_t number, uint8_t flags,
                  const void *payload, size_t length);
uint32_t rig_topic(struct rig *r, const char *path); /* makes it if need be */
uint32_t rig_join(struct rig *r, const char *identity, uint64_t nonce);
/* Emits text on a topic as publisher "other". */
uint64_t rig_say(struct rig *r, const char *path, const char *text);
/* A later epoch whose history has only the first `seq` messages of this one's. */
void rig_fork(struct rig *r, uint64_t seq);
uint64_t rig_tip(const struct rig *r);

void rig_see(void *ctx, const struct cantus_message *m); /* a subscription's callback; ctx: rig */
const struct rig_report *rig_reported(const struct rig *r, enum cantus_report_kind kind);
/* Port alone, for tests of parts. */
void rig_port_init(struct rig *r);

#endif
