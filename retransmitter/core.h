/* The retransmitter: records every batch, acknowledges what is durable, fills gaps, serves replays.
 *
 * A follower at SEQUENCED whose deliveries go to the journal, so that it records only what the
 * heard epoch vouches for, cuts exactly at the common end, and has one rule for what it may serve.
 *
 * Effects in this order: persist, then send. An acknowledgement names only what a completed commit
 * holds; a promise is answered only when its write has completed, and only after all that was
 * recorded for older epochs is durable, so that the tail it reports is the tail it has. */
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
    uint32_t replays_max;      /* concurrent; default 16; each takes a 256 KiB buffer */
    uint32_t sabotage;         /* enum retransmitter_sabotage, a bit set; the simulator only */
};

enum retransmitter_sabotage {
    RETRANSMITTER_SEND_BEFORE_PERSIST = 1, /* acknowledges what is only appended */
    RETRANSMITTER_GAP_IGNORED = 2,         /* acknowledges what it heard, gaps or not */
    RETRANSMITTER_VOLATILE_PROMISE = 4, /* answers before its promise is durable, and forgets it */
    RETRANSMITTER_RECORD_STALE = 8      /* records batches older than its promise */
};

struct retransmitter;

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
const uint64_t *retransmitter_counters(struct retransmitter *r); /* journal's included */
/* [COUNTER_END] without the journal's: where a driver keeps what it counts for the core. */
uint64_t *retransmitter_own_counters(struct retransmitter *r);
void retransmitter_status(struct retransmitter *r, struct port_time now, struct status *out);

#endif
