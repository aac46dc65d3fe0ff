/* The follower: turns batches and heartbeats, however they arrive, into the one order.
 *
 * Part of everything that follows the stream: clients, retransmitters, standby sequencers, proxies.
 * It reassembles, notices gaps and asks for them, follows long gaps over a replay stream, verifies
 * the digest chain, knows which part of it the current epoch vouches for, and finds out when its
 * history has forked and where. Design section 3 "Record and fill", and class Follower of
 * model/failover.py, whose names are used here.
 *
 *   chain      what links to our tail, batch by batch, by digest: maybe a dead tail
 *   heard      the newest epoch heard; batches of older epochs may extend the chain, never vouch
 *   vouched    the part of the chain below a batch or heartbeat of the heard epoch
 *   goal       the furthest position known on the heard epoch's history
 *   conflict   the chain does not link to the goal's history: wait for the epoch record of the
 * heard epoch, whose epoch table tells the common end; cut there; go on
 *
 * Delivered at SEQUENCED: what is vouched. At STABLE: what is vouched and at or below the heard
 * epoch's watermark. Both in order, whole batches, each once, until a fork at SEQUENCED takes some
 * back. A fork below what was delivered at STABLE cannot happen; it is asserted through `forked`.
 *
 * Pure; a plain struct; memory from follower_init only. */
#ifndef CANTUS_FOLLOW_FOLLOWER_H
#define CANTUS_FOLLOW_FOLLOWER_H

#include "proto/batch.h"
#include "proto/counter.h"
#include "proto/replay.h"
#include "proto/sys.h"
#include "transport/port.h"

enum { FOLLOWER_SOURCES_MAX = 16 };

enum follower_level { FOLLOWER_SEQUENCED = 1, FOLLOWER_STABLE = 2 };

/* Where history can be had: a retransmitter. */
struct follower_source {
    struct port_addr unicast; /* gap requests */
    struct port_addr stream;  /* replay; port 0: none */
};

struct follower_options {
    uint64_t stream;
    enum follower_level level;
    /* Batches held at most: ahead, unvouched, or not yet stable; default 4096. A replay of an older
     * epoch needs room for what lies between two vouches (64 batches in our stores). */
    uint32_t pending_max;
    uint32_t datagram_max; /* longest batch; default 1472 */
    uint64_t gap_delay_ns; /* patience with reordering before the first request; default 20 us */
    uint64_t retry_ns;     /* then, doubling up to retry_max_ns; defaults 300 us, 50 ms */
    uint64_t retry_max_ns;
    uint64_t bulk_messages; /* a gap longer than this is replayed over a stream; default 8192 */
    uint32_t source_count;
    struct follower_source
        sources[FOLLOWER_SOURCES_MAX]; /* asked in turn; the leader is the last resort */
    uint64_t random;   /* seeds nonces and the first source; equal seeds behave equally */
    uint32_t sabotage; /* enum follower_sabotage, a bit set; the simulator only */
};

enum follower_sabotage {
    FOLLOWER_BLIND_WATERMARK = 1,   /* believes a watermark without a history vouched for */
    FOLLOWER_FORKED_BY_SEQ = 2,     /* compares positions by seq alone */
    FOLLOWER_DELIVER_UNVOUCHED = 4, /* at SEQUENCED, delivers a fill before the chain closes */
    FOLLOWER_NO_DIGEST_CHECK = 8    /* links what has the right seq, whatever is below it */
};

/* Called inside the entry points. A callee may ask questions, set sources and call follower_start,
 * after which the entry point does nothing more; it must not call follower_adopt. */
struct follower_callbacks {
    /* The next batch at this level. False: not now (back-pressure); it is kept and offered again
     * by follower_step. */
    bool (*deliver)(void *ctx, const uint8_t *batch, const struct batch_header *header);
    /* The chain was cut: what was delivered at or above first_seq no longer holds. The follower
     * goes on delivering from first_seq, unless the callee restarts it with follower_start. */
    void (*forked)(void *ctx, uint64_t first_seq, struct epoch by);
    /* The watermark of the heard epoch rose, over vouched history. May be NULL. */
    void (*stable)(void *ctx, uint64_t stable_seq, uint64_t time_ns);
    /* No source has first_seq any more; the oldest that any has is oldest_seq. May be NULL. */
    void (*lost)(void *ctx, uint64_t first_seq, uint64_t oldest_seq);
    void *ctx;
};

struct follower;

size_t follower_memory(const struct follower_options *options);
struct follower *follower_create(const struct follower_options *options,
                                 const struct follower_callbacks *callbacks, struct port *port,
                                 uint64_t counters[COUNTER_END]); /* NULL: no memory */
void follower_destroy(struct follower *f);

/* (Re)starts behind a history whose tail is `tail` with this digest and epoch table (NULL, and seq
 * 0: from the beginning). Everything up to there counts as delivered and as vouched by tail.epoch.
 * `heard` is the oldest epoch that is listened to from here on: at least tail.epoch. */
void follower_start(struct follower *f, struct position tail, struct digest digest,
                    const struct epoch_table *epochs, struct epoch heard);

/* A datagram of type WIRE_BATCH, WIRE_HEARTBEAT or WIRE_GAP_REFUSAL; others are ignored (false). */
bool follower_on_datagram(struct follower *f, const struct port_datagram *d, struct port_time now);
/* Events of streams that this follower opened; false if the stream is not its own. *consumed is set
 * for BYTES. */
bool follower_on_stream(struct follower *f, const struct port_stream_event *e, struct port_time now,
                        size_t *consumed);
/* Gap requests, retries, replays, offers refused before. Returns the next deadline, mono_ns. */
uint64_t follower_step(struct follower *f, struct port_time now);

/* Hears an epoch without a message of it: a store that promised listens to nothing older. */
void follower_hear_epoch(struct follower *f, struct epoch epoch);
/* A candidate's promised quorum vouches for the tail it adopts: as a heartbeat of `epoch` at that
 * position would, with a source that surely has it. What we have beyond that tail is cut. If our
 * history is another one and neither the tail's epoch record nor its place is known, it is forked
 * at 1 and read anew. */
void follower_adopt(struct follower *f, struct epoch epoch, struct position tail,
                    struct digest digest, struct follower_source source);
/* Where to look for history, from now on (members come and go). */
void follower_set_sources(struct follower *f, const struct follower_source *sources,
                          uint32_t count);

uint64_t follower_next(const struct follower *f);             /* first seq not yet delivered */
struct position follower_tail(const struct follower *f);      /* of what was delivered */
struct digest follower_tail_digest(const struct follower *f); /* after what was delivered */
uint64_t follower_vouched_next(const struct follower *f);     /* 1: nothing, by the heard epoch */
uint64_t follower_goal_next(const struct follower *f);        /* 1: nothing is known */
struct epoch follower_heard(const struct follower *f);
uint64_t follower_stable(const struct follower *f); /* watermark over vouched history, ever */
bool follower_settled(
    const struct follower *f); /* no conflict: the heard epoch vouches for all delivered */
/* Vouched up to the goal, something of the heard epoch was heard, and no replay is open. */
bool follower_caught_up(const struct follower *f);
bool follower_replaying(const struct follower *f);
struct port_addr
follower_leader(const struct follower *f); /* source of its live batches; port 0: none */
uint64_t
follower_leader_heard_ns(const struct follower *f); /* mono_ns of its last word; 0: never */
const struct epoch_table *follower_epochs(const struct follower *f); /* of what was delivered */

#endif
