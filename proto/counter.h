/* Every counter there is, in one table: the names that metrics, `cantus status` and the docs use. A
 * core owns an array of COUNTER_END of them and counts those that concern it. */
#ifndef CANTUS_PROTO_COUNTER_H
#define CANTUS_PROTO_COUNTER_H

#include <stdint.h>

/* X(NAME, unit, help) */
#define COUNTER_TABLE(X)                                                                           \
    X(DATAGRAMS_IN, "datagrams", "received")                                                       \
    X(BYTES_IN, "bytes", "received")                                                               \
    X(DATAGRAMS_OUT, "datagrams", "sent")                                                          \
    X(BYTES_OUT, "bytes", "sent")                                                                  \
    X(DROPPED_SHORT, "datagrams", "dropped: truncated")                                            \
    X(DROPPED_FOREIGN, "datagrams", "dropped: not Cantus")                                         \
    X(DROPPED_VERSION, "datagrams", "dropped: another protocol version")                           \
    X(DROPPED_STREAM, "datagrams", "dropped: another stream")                                      \
    X(DROPPED_CORRUPT, "datagrams", "dropped: checksum or digest")                                 \
    X(DROPPED_MALFORMED, "datagrams", "dropped: fields contradict each other")                     \
    X(OVERSIZED_IN, "batches", "dropped: longer than datagram_max here, raise it")                 \
    X(BATCHES_EMITTED, "batches", "emitted by the sequencer")                                      \
    X(MESSAGES_SEQUENCED, "messages", "sequenced, rejects and /sys included")                      \
    X(PROPOSALS_IN, "messages", "proposals received")                                              \
    X(PROPOSALS_DUPLICATE, "messages", "proposals dropped: number already sequenced")              \
    X(PROPOSALS_AHEAD, "messages", "proposals dropped: beyond the window")                         \
    X(PROPOSALS_FORKED, "messages", "proposals dropped: position off the history")                 \
    X(PROPOSALS_UNKNOWN, "messages", "proposals dropped: no such publisher")                       \
    X(PROPOSALS_SUPERSEDED, "messages", "proposals dropped: older incarnation")                    \
    X(PROPOSALS_OVERFLOW, "messages", "proposals dropped: queue full")                             \
    X(PROPOSALS_REJECTED, "messages", "rejected in the stream")                                    \
    X(JOINS_IN, "datagrams", "joins received")                                                     \
    X(JOINS_CONFLICT, "datagrams", "joins that lost the compare-and-set")                          \
    X(JOINS_FULL, "datagrams", "joins dropped: publisher table full")                              \
    X(HINTS_OUT, "datagrams", "hints sent")                                                        \
    X(HEARTBEATS_OUT, "datagrams", "heartbeats sent")                                              \
    X(TICKS, "messages", "clock ticks sequenced")                                                  \
    X(RING_FULL, "events", "appending paused: ring full, nothing above stable may leave")          \
    X(PACED, "events", "emission slowed to the quorum's recording")                                \
    X(ACKS_IN, "datagrams", "acknowledgements received")                                           \
    X(ACKS_OLD_EPOCH, "datagrams", "acknowledgements not counted: tail of another epoch")          \
    X(ACKS_WRONG_DIGEST, "datagrams", "acknowledgements not counted: digest differs")              \
    X(CLOCK_BEHIND, "events", "clock found behind the last timestamp")                             \
    X(CLOCK_REFUSED, "events", "clock refused: far ahead of the retransmitters' median")           \
    X(SEALS, "events", "seal rounds begun")                                                        \
    X(EPOCHS_BEGUN, "events", "epochs begun by this process")                                      \
    X(FENCED, "events", "found itself fenced by a later epoch")                                    \
    X(PROMOTIONS, "events", "promotions begun by an operator or a silence")                        \
    X(PROBES, "datagrams", "sent to ask the stores before a promotion")                            \
    X(STANDBY_ROLLBACKS, "events", "forks gone back over without following the stream anew")       \
    X(MEMBER_CHANGES, "events", "changes of the membership sequenced")                             \
    X(COMMANDS_REFUSED, "events", "operators' commands refused")                                   \
    X(GAPS, "events", "gaps noticed")                                                              \
    X(GAP_REQUESTS_OUT, "datagrams", "gap requests sent")                                          \
    X(GAP_RETRIES, "datagrams", "gap requests sent again")                                         \
    X(GAP_REQUESTS_IN, "datagrams", "gap requests received")                                       \
    X(GAP_REFUSED, "datagrams", "gap requests refused")                                            \
    X(FILLS_OUT, "batches", "sent to fill gaps")                                                   \
    X(FILLS_MULTICAST, "batches", "sent to fill gaps of many requesters at once")                  \
    X(FILLS_IN, "batches", "received that filled a gap")                                           \
    X(DUPLICATES_IN, "batches", "received again (line B, retries)")                                \
    X(REORDERED_IN, "batches", "received ahead of their turn")                                     \
    X(PENDING_OVERFLOW, "batches", "dropped: reassembly window full, asked for again later")       \
    X(STALE_IN, "batches", "of an older epoch than the newest heard")                              \
    X(FORKS, "events", "own history found off the current one and cut")                            \
    X(REPLAYS_OUT, "events", "bulk replays served")                                                \
    X(REPLAYS_IN, "events", "bulk replays asked for")                                              \
    X(REPLAY_BYTES_OUT, "bytes", "served by bulk replay")                                          \
    X(REPLAYS_REFUSED, "events", "bulk replays refused")                                           \
    X(MESSAGES_DELIVERED, "messages", "delivered to the application")                              \
    X(RUNS_VOIDED, "events", "runs voided by an epoch record")                                     \
    X(JOURNAL_COMMITS, "events", "group commits")                                                  \
    X(JOURNAL_BYTES, "bytes", "appended to the journal")                                           \
    X(JOURNAL_WRITE_ERRORS, "events", "journal writes that failed and were tried again")           \
    X(JOURNAL_FULL, "events", "acknowledging suspended: disk full")                                \
    X(JOURNAL_TORN_BYTES, "bytes", "of a torn tail cut at recovery")                               \
    X(JOURNAL_DAMAGED, "batches", "found damaged below the durable mark")                          \
    X(JOURNAL_HEALED, "batches", "damaged ones fetched again from a peer")                         \
    X(SCRUBBED_BYTES, "bytes", "of closed segments read again and verified")                       \
    X(SCRUB_PASSES, "events", "times that all closed segments were read again")                    \
    X(SCRUB_FOUND, "events", "pieces of closed segments found rotten by reading them again")       \
    X(JOURNAL_CUT, "batches", "cut because a later epoch's history lacks them")                    \
    X(PUBLISHED, "messages", "handed to the publisher")                                            \
    X(RESENT, "messages", "proposals sent again")                                                  \
    X(OUTCOMES, "messages", "own proposals seen in the stream")                                    \
    X(QUARANTINED, "events", "apps stopped from proposing what is already sequenced")              \
    X(DIGESTS_DROPPED, "messages", "digests of states never published: too many waited")           \
    X(STREAMS_REFUSED, "events", "connections refused: too many")                                  \
    X(LOOP_PAUSE_MAX, "ns", "longest pause of the event loop")

enum counter {
#define COUNTER_ENUM(name, unit, help) COUNTER_##name,
    COUNTER_TABLE(COUNTER_ENUM)
#undef COUNTER_ENUM
        COUNTER_END
};

_Static_assert(COUNTER_END < 128, "status messages size their counter list by this");

const char *counter_name(enum counter c); /* "gap_requests_out" */
const char *counter_unit(enum counter c);
const char *counter_help(enum counter c);

#endif
