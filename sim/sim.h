/* The simulator: a whole deployment in one thread, on a seeded network, disk and clock.
 *
 * It drives the very cores that ship, through the same `struct port` and `struct disk`. Time is a
 * number; what happens next is drawn from one seeded generator; so a run is a function of its
 * options, and a failure is replayed from its seed alone, on any machine.
 *
 * A run has a phase of faults and then a healed phase, in which everything must become live again.
 * The checkers watch every emission, delivery and acknowledgement from outside; each is proven by a
 * planted mistake (sabotage) that it catches. */
#ifndef CANTUS_SIM_SIM_H
#define CANTUS_SIM_SIM_H

#include "cantus/app.h"
#include "libclient/core.h"
#include "retransmitter/core.h"
#include "sequencer/core.h"

enum { SIM_TEXT_MAX = 512, SIM_NODES_MAX = 64 };
#define SIM_NO_NODE UINT32_MAX

enum sim_invariant {
    SIM_FINE = 0,
    SIM_ONE_ORDER = 1, /* numbered as in design section 2 */
    SIM_NOTHING_STABLE_LOST = 2,
    SIM_EXACTLY_ONCE = 3,
    SIM_ANSWERED = 4,
    SIM_TIME = 5,
    SIM_FENCED = 6,
    SIM_DETERMINISM = 7,
    SIM_PERMISSIONS = 8,
    SIM_BOUNDED = 9,
    SIM_LIVE = 10,
    /* of the edge, section 4 */
    SIM_VIEWS = 11,      /* a client's view is exactly the filter of the one order */
    SIM_READERS = 12,    /* nobody is handed what he may not read */
    SIM_IDENTITIES = 13, /* nobody acts as a key that he does not have */
    SIM_SAME = 14        /* what a client is sent is what another proxy would send it */
};

/* X(NAME, what it does, which invariant's checker finds it). Those of the executable specification
 * have its names. */
#define SIM_SABOTAGES(X)                                                                           \
    X(send_before_persist, "a retransmitter acknowledges what is only appended", 2)                \
    X(dedup_forgotten, "a sequencer begins with an empty ledger", 3)                               \
    X(clock_unclamped, "a sequencer stamps its raw clock, also after a failover", 5)               \
    X(gap_ignored, "a retransmitter acknowledges what it heard, gaps or not", 2)                   \
    X(order_by_arrival, "a sequencer ignores publishers' numbers", 3)                              \
    X(stable_unacked, "a leader calls stable what it has emitted", 2)                              \
    X(ring_forgets, "a leader lets what is above stable leave its ring", 10)                       \
    X(renumbered_retry, "a publisher retries an item under a new number", 3)                       \
    X(timer_by_arrival, "a client fires timers by its local clock", 7)                             \
    X(delivers_ahead, "a client hands over what arrives, gaps or not", 1)                          \
    X(ack_any_epoch, "a leader counts an acknowledgement whatever the tail's epoch", 2)            \
    X(stable_on_adopt, "a leader counts the adopted tail without an entry of its own epoch", 2)    \
    X(adopt_longest, "a candidate adopts the longest tail, not the highest (epoch, seq)", 2)       \
    X(volatile_promise, "a retransmitter forgets its promise when it restarts", 6)                 \
    X(record_stale, "a retransmitter records batches older than its promise", 6)                   \
    X(no_digest_check, "a retransmitter appends at the right seq, whatever is below it", 2)        \
    X(minority_seal, "a candidate begins on one promise", 6)                                       \
    X(blind_watermark, "a follower believes a watermark of a history not vouched for", 1)          \
    X(epoch_number_only, "a promise is for the number, whoever the candidate", 6)                  \
    X(weak_quorum, "one store makes stable while a majority seals", 2)                             \
    X(replace_members, "one record swaps a member for another store", 2)                           \
    X(unguarded_membership, "a change waits for nothing to be on a majority", 2)                   \
    X(static_membership, "a candidate seals a majority of the founders", 6)                        \
    X(small_quorum_change, "the membership changes although W is below a majority", 2)             \
    X(wiped_votes, "a wiped store comes back under its old id and votes", 2)                       \
    X(cut_to_stable, "a retransmitter that differs cuts to what it knows is stable", 2)            \
    X(forked_by_seq, "a follower compares positions by seq alone", 1)                              \
    X(deliver_unvouched, "a follower at sequenced delivers a fill before the chain closes", 1)     \
    X(foreign_basis, "a leader does not check the position a proposal names", 1)                   \
    X(begin_after_rerecord, "a leader begins only when the adopted tail is on a quorum", 10)       \
    X(older_incarnation, "a sequencer takes what an older incarnation proposes", 3)                \
    X(not_told, "a publisher takes no notice of a later incarnation of itself", 4)                 \
    X(half_refused, "a sequencer refuses a group's first message, and not the others", 1)          \
    X(half_group, "a client hands over a group's messages before its last one is there", 1)        \
    X(unsynced_votes,                                                                              \
      "a store that had not synced what it acknowledged votes after a crash of its host", 2)       \
    X(lying_quorum, "a disk lies about syncs, and only a majority makes stable", 2)                \
    X(false_digest, "a replica publishes a digest that depends on more than the stream", 7)        \
    X(silent_refusal, "a sequencer drops a group that it refuses, without a record", 4)            \
    X(unpermitted, "a sequencer does not ask whether a message is permitted", 8)                   \
    X(rights_of_batch, "a sequencer checks rights as of the beginning of a batch", 8)              \
    X(revocation_ignored, "a sequencer takes no notice of revocations", 8)                         \
    X(restored_votes, "a store restored from an older copy of itself is believed", 2)              \
    X(forgets_revoked, "a proxy goes on sending what may no longer be read", 12)                   \
    X(skips_a_match, "a proxy now and then leaves a message out", 11)                              \
    X(any_identity, "a proxy opens publishers of other keys", 13)                                  \
    X(same_challenge, "a proxy gives everyone the same challenge", 13)                             \
    X(joins_with_gap, "a proxy goes from behind to live without looking whether they meet", 11)    \
    X(fork_untold, "a proxy goes on behind a fork as if nothing had been sent", 11)                \
    X(stable_early, "a proxy sends what is not stable to readers at stable", 11)                   \
    X(own_clock, "a proxy tells the time with something of its own clock", 14)                     \
    X(stable_of_now, "a proxy tells who is behind what is stable now, not what was there", 14)     \
    X(shares_revoked, "a proxy goes on encoding once for those whose rights are no longer equal",  \
      12)                                                                                          \
    X(changes_late, "a proxy lets a changed set count from one seq too late on", 14)               \
    X(begins_anew, "who comes back through a proxy forgets what it is told of its items", 3)       \
    X(releases_parts, "a proxy keeps of a group only what is not stable yet", 4)                   \
    X(restless, "a leader asks to be called again at once, for ever", 9)

struct sim_options {
    uint64_t seed;
    uint32_t stores;       /* founding retransmitters; default drawn: 1, 3 or 5; by hand 1 */
    uint32_t spares;       /* that are no members at first; default drawn if stores is; at most 2 */
    uint32_t sequencers;   /* default drawn 1..3; by hand 1 */
    uint32_t quorum;       /* W; default drawn if stores is, else a majority */
    uint32_t publishers;   /* default drawn 2..5 */
    uint32_t followers;    /* default drawn 2..4; half at sequenced, half at stable */
    uint32_t messages_min; /* sequenced before the healed phase ends; default 1000 */
    uint32_t faults_min;   /* that really fired; default 20 */
    bool core_only;        /* no proxies, whatever is drawn */
    bool edge;             /* proxies, whatever is drawn */
    const char *sabotage;  /* NULL or a name of SIM_SABOTAGES, with '-' for '_' */
    const struct cantus_app *app; /* a user's app to run on every follower, with config and */
    const char *app_config;       /* publisher identities app-1, app-2, ...; may be NULL */
    uint32_t app_replicas;
    bool trace; /* write every step to trace_to */
    void (*trace_to)(void *ctx, const char *line);
    void *ctx;
};

struct sim_result {
    uint64_t seed;
    uint64_t steps;
    uint64_t messages; /* in the final history */
    uint64_t digest;   /* over the final history and all final states */
    uint64_t faults;   /* fired, by kind below */
    uint64_t lost, duplicated, reordered, delayed, corrupted, repeated, partitions, crashes,
        half_steps, freezes, torn_writes, lost_writes, disk_full, bit_flips, clock_jumps, wipes,
        restores, logins;
    uint64_t fault_kinds; /* of those that are scheduled, which struck: a bit each */
    uint64_t forks, epochs, promotions, member_changes;
    uint32_t stores, sequencers; /* as drawn */
    enum sim_invariant violated;
    uint64_t violation_step;
    char violation[SIM_TEXT_MAX];
};

/* One run, from its seed to its verdict. False: out of memory or a bad option (in result->violation). */
bool sim_run(const struct sim_options *options, struct sim_result *result);
/* One JSON line, the same on every machine. */
size_t sim_result_json(const struct sim_result *result, char *out, size_t capacity);
const char *sim_invariant_name(enum sim_invariant invariant);

/* ---- by hand ---------------------------------------------------------------------------------
 *
 * A deployment in which nothing moves unless told: for tests of one's own apps under a chosen
 * interleaving. The network is a list of datagrams in flight; deliver, drop, duplicate or hold each. */
struct sim;
struct sim *sim_open(const struct sim_options *options);
void sim_close(struct sim *s);

uint32_t sim_add_app(struct sim *s, const struct cantus_app *app, const char *config,
                     const char *identity,
                     enum cantus_level level); /* a process of its own; its node */
uint32_t sim_node(const struct sim *s,
                  const char *name); /* "sequencer-1", "store-1", "app-1" ... */

void sim_settle(struct sim *s); /* until nothing is in flight or due at once */
/* Time passes; what falls due happens, and what is in flight and not held arrives. */
void sim_advance(struct sim *s, uint64_t ns);
uint32_t sim_in_flight(const struct sim *s);
/* One line for a datagram in flight, of which a group gets one for each receiver:
 * "3 app-1 -> sequencer-1 PROPOSAL 1..1 of 1 at 4". */
const char *sim_describe(struct sim *s, uint32_t index);
bool sim_deliver(struct sim *s, uint32_t index);
bool sim_drop(struct sim *s, uint32_t index);
bool sim_duplicate(struct sim *s, uint32_t index);
void sim_hold(struct sim *s, const char *from, const char *to, bool hold); /* "*": anyone */
void sim_crash(struct sim *s, uint32_t node);
void sim_freeze(struct sim *s, uint32_t node, bool frozen); /* it takes no step, and hears later */
void sim_fill_disk(struct sim *s, uint32_t node, bool full);
/* Begins to promote a sequencer, as an operator would. */
void sim_promote(struct sim *s, uint32_t node, const char *why);
bool sim_leads(struct sim *s, uint32_t node);
/* Number: a sequencer's own, the newest that a store has promised or an app has heard of. */
uint32_t sim_epoch(struct sim *s, uint32_t node);
uint64_t sim_stable(struct sim *s, uint32_t node); /* as a sequencer or a store knows it */
void sim_restart(struct sim *s, uint32_t node);
/* Keeps a copy of a store's disk. False: it is not at rest. */
bool sim_keep(struct sim *s, uint32_t node);
/* The store stops, and the copy is put in the place of its disk. */
void sim_put_back(struct sim *s, uint32_t node);
/* What the app of this node would propose now; false: nothing. */
bool sim_would_propose(struct sim *s, uint32_t node, struct cantus_proposal *out);
const void *sim_app_state(struct sim *s, uint32_t node);
uint64_t sim_app_digest(struct sim *s, uint32_t node);
bool sim_app_quarantined(struct sim *s, uint32_t node);
uint64_t sim_seq(struct sim *s, uint32_t node); /* applied through */
/* Messages sequenced on user topics; for assertions. */
uint64_t sim_sequenced(struct sim *s, const char *topic);
/* Proposes as if a process had: from outside, through a pipe of that identity; up to 40 KiB. What
 * the pipe can't take yet waits. False: too long, or too many wait. */
bool sim_publish(struct sim *s, const char *identity, const char *topic, const void *payload,
                 size_t length);
/* The trace so far: one line an event, no times or addresses that differ between machines. */
const char *sim_trace(const struct sim *s);
const char *sim_violation(const struct sim *s); /* "" while all invariants hold */
enum sim_invariant sim_violated(const struct sim *s);
/* Processes that start from now on make this mistake; NULL: none. False: there is no such one. */
bool sim_plant(struct sim *s, const char *sabotage);

#endif
