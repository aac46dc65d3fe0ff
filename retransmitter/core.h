/* The retransmitter: records every batch, acknowledges what is durable, fills gaps, serves replays.
 *
 * A follower at SEQUENCED whose deliveries go to the journal, so that it records only what the
 * heard epoch vouches for, cuts exactly at the common end, and has one rule for what it may serve.
 *
 * Effects in this order: persist, then send. An acknowledgement names only what a completed commit
 * holds; a promise is answered only when its write has completed, and only after all that was
 * recorded for older epochs is durable, so that the tail it reports is the tail it has.
 *
 * Damage. What recovery finds damaged below the mark takes the store's voice away: its word about
 * what is durable is what has just turned out wrong, so it neither acknowledges nor counts until it
 * is proven through its mark again. Rot that the scrub (or a read) finds later in a closed segment
 * is another matter: the disk has kept its word at the time, and what is recorded now is as durable
 * as ever, so the store goes on acknowledging; were it to stop, one bad sector on each of two
 * stores would stop the stream, for a loss that their peers repair in milliseconds. What it can't
 * do meanwhile is be a candidate's source: its promise says that it is not proven, and is not
 * counted, until the piece is back. That costs nothing in safety, because a seal is counted over
 * proven stores only, and any such quorum meets every set of stores that made something stable.
 * Pieces come back from the peers in turn, then the leader, and go verbatim to where they were.
 *
 * A new store, formatted without a history, copies it from its peers by bulk replay, whether or not
 * there is a leader, and goes on asking while there is none; a member needs no such thing, for the
 * next leader brings what it lacks. What it copies is verified as anything else, and acknowledged
 * when it is durable, which counts for nothing at the sequencer until the store is a member. Its
 * promises say what it has: no members, or members of which it is none.
 *
 * Peers are configuration and do not follow the membership: who may be asked for history is a
 * matter of addresses, and history proves itself by its digests, whoever it comes from. A store
 * that has left may be asked in vain; one that has joined is asked once it is configured, and until
 * then the leader's ring and the other peers stand in. */
#ifndef CANTUS_RETRANSMITTER_CORE_H
#define CANTUS_RETRANSMITTER_CORE_H

#include "follow/follower.h"
#include "journal/journal.h"
#include "proto/status.h"

struct retransmitter_options {
    uint64_t stream;
    uint64_t random;
    struct port_addr fetch_udp; /* what promises and peers are told */
    uint16_t fetch_stream_port;
    uint32_t peer_count;
    struct follower_source peers[FOLLOWER_SOURCES_MAX];
    uint32_t datagram_max;
    uint32_t pending_max;      /* of the follower */
    uint64_t ack_repeat_ns;    /* an acknowledgement is sent again when idle; default 100 ms */
    uint32_t fill_batches_max; /* per gap request; default 64 */
    uint64_t fill_rate_bytes;  /* per requester and second; default 256 MiB */
    uint32_t requesters_max;   /* told apart at a time; default 1024 */
    uint32_t multicast_after;  /* asked within multicast_ns; default 3, at most 16 */
    uint64_t multicast_ns;     /* default 1 ms */
    uint32_t replays_max;      /* concurrent; default 16; each takes two buffers of 256 KiB */
    /* Closed segments are read again in the background at no more than this; 0: never. This one
     * has no default in create, only in retransmitter_options_default: 8 MiB. */
    uint64_t scrub_bytes_per_s;
    uint64_t scrub_pause_ns; /* from the end of a pass to the next; default 30 s */
    uint32_t sabotage;       /* enum retransmitter_sabotage, a bit set; the simulator only */
};

enum retransmitter_sabotage {
    RETRANSMITTER_SEND_BEFORE_PERSIST = 1, /* acknowledges what is only appended */
    RETRANSMITTER_GAP_IGNORED = 2,         /* acknowledges what it heard, gaps or not */
    RETRANSMITTER_VOLATILE_PROMISE = 4, /* answers before its promise is durable, and forgets it */
    RETRANSMITTER_RECORD_STALE = 8,     /* records batches older than its promise */
    RETRANSMITTER_EPOCH_NUMBER_ONLY = 16, /* promises the number, whoever the candidate */
    RETRANSMITTER_NO_DIGEST_CHECK = 32,   /* appends at the right seq, whatever is below it */
    RETRANSMITTER_CUT_TO_STABLE = 64      /* cuts to what it knows is stable */
};

struct retransmitter;

enum { RETRANSMITTER_STATE_MAX = 63 };

/* Everything zero but what has a default. Where create finds a zero, it takes the default too. */
void retransmitter_options_default(struct retransmitter_options *o);
size_t retransmitter_memory(const struct retransmitter_options *o);
/* The journal stays the caller's; its disk's completions come in through on_disk. */
struct retransmitter *retransmitter_create(const struct retransmitter_options *o,
                                           struct journal *journal, struct port *port,
                                           struct port_time now);
void retransmitter_destroy(struct retransmitter *r);

extern const struct participant_ops retransmitter_participant;

/* Stops recording and flushes, for a clean end: true once all that was recorded is durable. */
bool retransmitter_drain(struct retransmitter *r);
uint64_t retransmitter_stable(const struct retransmitter *r);
/* Once journal_restored: what others remember that this store has said. */
struct word retransmitter_recalled(const struct retransmitter *r);
/* Whether a commit is under way, and nothing but recording has to be done: what arrives now waits for
 * the next one. */
bool retransmitter_rests(const void *core);
/* [COUNTER_END]: the journal's, in which the core and its driver count as well. */
uint64_t *retransmitter_counters(struct retransmitter *r);
/* What is now, into a counters' array: only gauges are set. For the driver to call now and then. */
void retransmitter_gauges(const struct retransmitter *r, uint64_t gauges[COUNTER_END]);
/* Its text, or one in text[RETRANSMITTER_STATE_MAX + 1]. */
const char *retransmitter_state(const struct retransmitter *r, char *text);
void retransmitter_status(struct retransmitter *r, struct port_time now, struct status *out);

#endif
