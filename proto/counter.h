/* Every counter and gauge there is, in one table: the names that metrics, `cantus status`, `cantus
 * top` and docs/counters.md use. A core has an array of COUNTER_END of them and keeps those that
 * concern it; the array may lie in memory that other processes read (shell/counter_file.h). */
#ifndef CANTUS_PROTO_COUNTER_H
#define CANTUS_PROTO_COUNTER_H

#include <stdint.h>

/* X(NAME, kind, unit, help). A COUNT only grows while its process runs; a GAUGE is what is now. Units
 * are base units, but for ns. */
#define COUNTER_TABLE(X)                                                                           \
    X(DATAGRAMS_IN, COUNT, "datagrams", "received")                                                \
    X(BYTES_IN, COUNT, "bytes", "received")                                                        \
    X(DATAGRAMS_OUT, COUNT, "datagrams", "sent")                                                   \
    X(BYTES_OUT, COUNT, "bytes", "sent")                                                           \
    X(DROPPED_SHORT, COUNT, "datagrams", "dropped: truncated")                                     \
    X(DROPPED_FOREIGN, COUNT, "datagrams", "dropped: not Cantus")                                  \
    X(DROPPED_VERSION, COUNT, "datagrams", "dropped: another protocol version")                    \
    X(DROPPED_STREAM, COUNT, "datagrams", "dropped: another stream")                               \
    X(DROPPED_CORRUPT, COUNT, "datagrams", "dropped: checksum or digest")                          \
    X(DROPPED_MALFORMED, COUNT, "datagrams", "dropped: fields contradict each other")              \
    X(OVERSIZED_IN, COUNT, "batches", "dropped: longer than datagram_max here, raise it")          \
    X(BATCHES_EMITTED, COUNT, "batches", "emitted by the sequencer")                               \
    X(MESSAGES_SEQUENCED, COUNT, "messages", "sequenced, rejects and /sys included")               \
    X(PROPOSALS_IN, COUNT, "messages", "proposals received")                                       \
    X(PROPOSALS_DUPLICATE, COUNT, "messages", "proposals dropped: number already sequenced")       \
    X(PROPOSALS_AHEAD, COUNT, "messages", "proposals dropped: beyond the window")                  \
    X(PROPOSALS_FORKED, COUNT, "messages", "proposals dropped: position off the history")          \
    X(PROPOSALS_UNKNOWN, COUNT, "messages", "proposals dropped: no such publisher")                \
    X(PROPOSALS_SUPERSEDED, COUNT, "messages", "proposals dropped: older incarnation")             \
    X(PROPOSALS_OVERFLOW, COUNT, "messages", "proposals dropped: queue full")                      \
    X(PROPOSALS_REJECTED, COUNT, "messages", "rejected in the stream")                             \
    X(JOINS_IN, COUNT, "datagrams", "joins received")                                              \
    X(JOINS_CONFLICT, COUNT, "datagrams", "joins that lost the compare-and-set")                   \
    X(JOINS_FULL, COUNT, "datagrams", "joins dropped: publisher table full")                       \
    X(HINTS_OUT, COUNT, "datagrams", "hints sent")                                                 \
    X(HEARTBEATS_OUT, COUNT, "datagrams", "heartbeats sent")                                       \
    X(TICKS, COUNT, "messages", "clock ticks sequenced")                                           \
    X(RING_FULL, COUNT, "events", "appending paused: ring full, nothing above stable may leave")   \
    X(PACED, COUNT, "events", "emission slowed to the quorum's recording")                         \
    X(ACKS_IN, COUNT, "datagrams", "acknowledgements received")                                    \
    X(ACKS_OLD_EPOCH, COUNT, "datagrams", "acknowledgements not counted: tail of another epoch")   \
    X(ACKS_WRONG_DIGEST, COUNT, "datagrams", "acknowledgements not counted: digest differs")       \
    X(CLOCK_BEHIND, COUNT, "events", "clock found behind the last timestamp")                      \
    X(CLOCK_REFUSED, COUNT, "events", "clock refused: far ahead of the retransmitters' median")    \
    X(SEALS, COUNT, "events", "seal rounds begun")                                                 \
    X(EPOCHS_BEGUN, COUNT, "events", "epochs begun by this process")                               \
    X(FENCED, COUNT, "events", "found itself fenced by a later epoch")                             \
    X(PROMOTIONS, COUNT, "events", "promotions begun by an operator or a silence")                 \
    X(PROBES, COUNT, "datagrams", "sent to ask the stores before a promotion")                     \
    X(STANDBY_ROLLBACKS, COUNT, "events",                                                          \
      "forks gone back over without following the stream anew")                                    \
    X(MEMBER_CHANGES, COUNT, "events", "changes of the membership sequenced")                      \
    X(COMMANDS_REFUSED, COUNT, "events", "operators' commands refused")                            \
    X(GAPS, COUNT, "events", "gaps noticed")                                                       \
    X(GAP_REQUESTS_OUT, COUNT, "datagrams", "gap requests sent")                                   \
    X(GAP_RETRIES, COUNT, "datagrams", "gap requests sent again")                                  \
    X(GAP_REQUESTS_IN, COUNT, "datagrams", "gap requests received")                                \
    X(GAP_REFUSED, COUNT, "datagrams", "gap requests refused")                                     \
    X(FILLS_OUT, COUNT, "batches", "sent to fill gaps")                                            \
    X(FILLS_MULTICAST, COUNT, "batches", "sent to fill gaps of many requesters at once")           \
    X(FILLS_IN, COUNT, "batches", "received that filled a gap")                                    \
    X(DUPLICATES_IN, COUNT, "batches", "received again (line B, retries)")                         \
    X(REORDERED_IN, COUNT, "batches", "received ahead of their turn")                              \
    X(PENDING_OVERFLOW, COUNT, "batches",                                                          \
      "dropped: reassembly window full, asked for again later")                                    \
    X(STALE_IN, COUNT, "batches", "of an older epoch than the newest heard")                       \
    X(FORKS, COUNT, "events", "own history found off the current one and cut")                     \
    X(REPLAYS_OUT, COUNT, "events", "bulk replays served")                                         \
    X(REPLAYS_IN, COUNT, "events", "bulk replays asked for")                                       \
    X(REPLAY_BYTES_OUT, COUNT, "bytes", "served by bulk replay")                                   \
    X(REPLAYS_REFUSED, COUNT, "events", "bulk replays refused")                                    \
    X(MESSAGES_DELIVERED, COUNT, "messages", "delivered to the application")                       \
    X(RUNS_VOIDED, COUNT, "events", "runs voided by an epoch record")                              \
    X(JOURNAL_COMMITS, COUNT, "events", "group commits")                                           \
    X(JOURNAL_BYTES, COUNT, "bytes", "appended to the journal")                                    \
    X(JOURNAL_WRITE_ERRORS, COUNT, "events", "journal writes that failed and were tried again")    \
    X(JOURNAL_FULL, COUNT, "events", "acknowledging suspended: disk full")                         \
    X(JOURNAL_TORN_BYTES, COUNT, "bytes", "of a torn tail cut at recovery")                        \
    X(JOURNAL_DAMAGED, COUNT, "batches", "found damaged below the durable mark")                   \
    X(JOURNAL_HEALED, COUNT, "batches", "damaged ones fetched again from a peer")                  \
    X(SCRUBBED_BYTES, COUNT, "bytes", "of closed segments read again and verified")                \
    X(SCRUB_PASSES, COUNT, "events", "times that all closed segments were read again")             \
    X(SCRUB_FOUND, COUNT, "events",                                                                \
      "pieces of closed segments found rotten by reading them again")                              \
    X(JOURNAL_CUT, COUNT, "batches", "cut because a later epoch's history lacks them")             \
    X(PUBLISHED, COUNT, "messages", "handed to the publisher")                                     \
    X(RESENT, COUNT, "messages", "proposals sent again")                                           \
    X(OUTCOMES, COUNT, "messages", "own proposals seen in the stream")                             \
    X(QUARANTINED, COUNT, "events", "apps stopped from proposing what is already sequenced")       \
    X(DIGESTS_DROPPED, COUNT, "messages", "digests of states never published: too many waited")    \
    X(STREAMS_REFUSED, COUNT, "events", "connections refused: too many")                           \
    X(MEMORY, GAUGE, "bytes", "taken at start")                                                    \
    X(TIP, GAUGE, "seq", "last message known to exist")                                            \
    X(STABLE, GAUGE, "seq", "last message known to be on a quorum of stores")                      \
    X(LAG, GAUGE, "messages", "known to exist, but not stable, durable or delivered here")         \
    X(DURABLE, GAUGE, "seq", "last message on this store's disk")                                  \
    X(OLDEST, GAUGE, "seq", "oldest message in this store")                                        \
    X(DELIVERED, GAUGE, "seq", "last message delivered to the application")                        \
    X(EPOCH, GAUGE, "number", "of the epoch it leads or follows")                                  \
    X(EPOCH_FIRST, GAUGE, "seq", "first message of that epoch")                                    \
    X(LEADING, GAUGE, "flag", "puts messages in order")                                            \
    X(PAUSED, GAUGE, "flag", "the leader takes nothing in: no quorum of stores")                   \
    X(MEMBERS, GAUGE, "stores", "that belong to the stream")                                       \
    X(MEMBERS_CURRENT, GAUGE, "stores", "members that have acknowledged in this epoch")            \
    X(QUORUM, GAUGE, "stores", "that make a message stable")                                       \
    X(PUBLISHERS, GAUGE, "publishers", "that have ever joined the stream")                         \
    X(TOPICS, GAUGE, "topics", "of the stream")                                                    \
    X(QUEUED, GAUGE, "datagrams", "of proposals waiting for their turn")                           \
    X(QUEUE_MAX, GAUGE, "datagrams", "of proposals that there is room for")                        \
    X(RING_UNSTABLE, GAUGE, "bytes", "of the ring of recent batches that are not stable")          \
    X(RING_SIZE, GAUGE, "bytes", "the ring of recent batches can hold")                            \
    X(IN_FLIGHT, GAUGE, "messages", "own proposals not seen in the stream yet")                    \
    X(DISK_FREE, GAUGE, "bytes", "free where the store is")                                        \
    X(DISK_SIZE, GAUGE, "bytes", "of the file system where the store is")                          \
    X(LOOP_PAUSE_MAX, GAUGE, "ns", "longest pause of the event loop")                              \
    X(LOOP_PAUSE_RECENT, GAUGE, "ns", "longest pause of the event loop in the last minute or two")

enum counter {
#define COUNTER_ENUM(name, kind, unit, help) COUNTER_##name,
    COUNTER_TABLE(COUNTER_ENUM)
#undef COUNTER_ENUM
        COUNTER_END
};

_Static_assert(COUNTER_END < 128, "status messages size their counter list by this");

enum counter_kind { COUNTER_KIND_COUNT, COUNTER_KIND_GAUGE };

const char *counter_name(enum counter c); /* "gap_requests_out" */
enum counter_kind counter_kind(enum counter c);
const char *counter_unit(enum counter c);
const char *counter_help(enum counter c);
/* Its name by the rules of Prometheus: "cantus_gap_requests_out_total". */
const char *counter_metric(enum counter c);
/* What its values are to be divided by for the unit that the metric's name says: 1, or 1e9 for what
 * is in ns here and in seconds there. */
double counter_metric_divisor(enum counter c);
/* Changes with any name, kind, unit or place in the table. */
uint64_t counter_table_hash(void);

#endif
