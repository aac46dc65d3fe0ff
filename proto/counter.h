/* Every counter and gauge there is, in one table: the names that metrics, `cantus status`, `cantus
 * top` and docs/counters.md use. A core has an array of COUNTER_END of them and keeps those that
 * concern it; the array may lie in memory that other processes read (shell/counter_file.h). */
#ifndef CANTUS_PROTO_COUNTER_H
#define CANTUS_PROTO_COUNTER_H

#include <stdint.h>

/* X(NAME, kind, whose, unit, help). A COUNT only grows while its process runs; a GAUGE is what is now,
 * and means something only of those whose it is (of others it is 0). Units are base units, but for
 * ns. */
#define COUNTER_TABLE(X)                                                                           \
    X(DATAGRAMS_IN, COUNT, ALL, "datagrams", "received")                                           \
    X(BYTES_IN, COUNT, ALL, "bytes", "received")                                                   \
    X(DATAGRAMS_OUT, COUNT, ALL, "datagrams", "sent")                                              \
    X(BYTES_OUT, COUNT, ALL, "bytes", "sent")                                                      \
    X(DROPPED_SHORT, COUNT, ALL, "datagrams", "dropped: truncated")                                \
    X(DROPPED_FOREIGN, COUNT, ALL, "datagrams", "dropped: not Cantus")                             \
    X(DROPPED_VERSION, COUNT, ALL, "datagrams", "dropped: another protocol version")               \
    X(DROPPED_STREAM, COUNT, ALL, "datagrams", "dropped: another stream")                          \
    X(DROPPED_CORRUPT, COUNT, ALL, "datagrams", "dropped: checksum or digest")                     \
    X(DROPPED_MALFORMED, COUNT, ALL, "datagrams", "dropped: fields contradict each other")         \
    X(OVERSIZED_IN, COUNT, ALL, "batches", "dropped: longer than datagram_max here, raise it")     \
    X(BATCHES_EMITTED, COUNT, ALL, "batches", "emitted by the sequencer")                          \
    X(MESSAGES_SEQUENCED, COUNT, ALL, "messages", "sequenced, rejects and /sys included")          \
    X(PROPOSALS_IN, COUNT, ALL, "messages", "proposals received")                                  \
    X(PROPOSALS_DUPLICATE, COUNT, ALL, "messages", "proposals dropped: number already sequenced")  \
    X(PROPOSALS_AHEAD, COUNT, ALL, "messages", "proposals dropped: beyond the window")             \
    X(PROPOSALS_FORKED, COUNT, ALL, "messages", "proposals dropped: position off the history")     \
    X(PROPOSALS_UNKNOWN, COUNT, ALL, "messages", "proposals dropped: no such publisher")           \
    X(PROPOSALS_SUPERSEDED, COUNT, ALL, "messages", "proposals dropped: older incarnation")        \
    X(PROPOSALS_OVERFLOW, COUNT, ALL, "messages", "proposals dropped: queue full")                 \
    X(PROPOSALS_REJECTED, COUNT, ALL, "messages", "rejected in the stream")                        \
    X(JOINS_IN, COUNT, ALL, "datagrams", "joins received")                                         \
    X(JOINS_CONFLICT, COUNT, ALL, "datagrams", "joins that lost the compare-and-set")              \
    X(JOINS_FULL, COUNT, ALL, "datagrams", "joins dropped: publisher table full")                  \
    X(HINTS_OUT, COUNT, ALL, "datagrams", "hints sent")                                            \
    X(HINTS_WITHHELD, COUNT, ALL, "datagrams", "hints not sent: too many already")                 \
    X(HINTS_IGNORED, COUNT, ALL, "datagrams",                                                      \
      "hints not heeded: of an older epoch or incarnation, out of range, or told already")         \
    X(HEARTBEATS_OUT, COUNT, ALL, "datagrams", "heartbeats sent")                                  \
    X(TICKS, COUNT, ALL, "messages", "clock ticks sequenced")                                      \
    X(RING_FULL, COUNT, ALL, "events",                                                             \
      "appending paused: ring full, nothing above stable may leave")                               \
    X(PACED, COUNT, ALL, "events", "emission slowed to the quorum's recording")                    \
    X(ACKS_IN, COUNT, ALL, "datagrams", "acknowledgements received")                               \
    X(ACKS_OLD_EPOCH, COUNT, ALL, "datagrams",                                                     \
      "acknowledgements not counted: tail of another epoch")                                       \
    X(ACKS_WRONG_DIGEST, COUNT, ALL, "datagrams", "acknowledgements not counted: digest differs")  \
    X(WORDS_REFUSED, COUNT, ALL, "datagrams",                                                      \
      "of stores not counted: they say less than they have said, or came late")                    \
    X(CLOCK_BEHIND, COUNT, ALL, "events", "clock found behind the last timestamp")                 \
    X(CLOCK_REFUSED, COUNT, ALL, "events",                                                         \
      "clock refused: far ahead of the retransmitters' median")                                    \
    X(SEALS, COUNT, ALL, "events", "seal rounds begun")                                            \
    X(EPOCHS_BEGUN, COUNT, ALL, "events", "epochs begun by this process")                          \
    X(FENCED, COUNT, ALL, "events", "found itself fenced by a later epoch")                        \
    X(PROMOTIONS, COUNT, ALL, "events", "promotions begun by an operator or a silence")            \
    X(PROBES, COUNT, ALL, "datagrams", "sent to ask the stores before a promotion")                \
    X(STANDBY_ROLLBACKS, COUNT, ALL, "events",                                                     \
      "forks gone back over without following the stream anew")                                    \
    X(MEMBER_CHANGES, COUNT, ALL, "events", "changes of the membership sequenced")                 \
    X(COMMANDS_REFUSED, COUNT, ALL, "events", "operators' commands refused")                       \
    X(GAPS, COUNT, ALL, "events", "gaps noticed")                                                  \
    X(GAP_REQUESTS_OUT, COUNT, ALL, "datagrams", "gap requests sent")                              \
    X(GAP_RETRIES, COUNT, ALL, "datagrams", "gap requests sent again")                             \
    X(GAP_REQUESTS_IN, COUNT, ALL, "datagrams", "gap requests received")                           \
    X(GAP_REFUSED, COUNT, ALL, "datagrams", "gap requests refused")                                \
    X(FILLS_OUT, COUNT, ALL, "batches", "sent to fill gaps")                                       \
    X(FILLS_MULTICAST, COUNT, ALL, "batches", "sent to fill gaps of many requesters at once")      \
    X(FILLS_IN, COUNT, ALL, "batches", "received that filled a gap")                               \
    X(DUPLICATES_IN, COUNT, ALL, "batches", "received again (line B, retries)")                    \
    X(REORDERED_IN, COUNT, ALL, "batches", "received ahead of their turn")                         \
    X(PENDING_OVERFLOW, COUNT, ALL, "batches",                                                     \
      "dropped: reassembly window full, asked for again later")                                    \
    X(STALE_IN, COUNT, ALL, "batches", "of an older epoch than the newest heard")                  \
    X(FORKS, COUNT, ALL, "events", "own history found off the current one and cut")                \
    X(REPLAYS_OUT, COUNT, ALL, "events", "bulk replays served")                                    \
    X(REPLAYS_IN, COUNT, ALL, "events", "bulk replays asked for")                                  \
    X(REPLAY_BYTES_OUT, COUNT, ALL, "bytes", "served by bulk replay")                              \
    X(REPLAYS_REFUSED, COUNT, ALL, "events", "bulk replays refused")                               \
    X(MESSAGES_DELIVERED, COUNT, ALL, "messages", "delivered to the application")                  \
    X(RUNS_VOIDED, COUNT, ALL, "events", "runs voided by an epoch record")                         \
    X(JOURNAL_COMMITS, COUNT, ALL, "events", "group commits")                                      \
    X(JOURNAL_BYTES, COUNT, ALL, "bytes", "appended to the journal")                               \
    X(JOURNAL_WRITE_ERRORS, COUNT, ALL, "events",                                                  \
      "journal writes that failed and were tried again")                                           \
    X(JOURNAL_FULL, COUNT, ALL, "events", "acknowledging suspended: disk full")                    \
    X(JOURNAL_TORN_BYTES, COUNT, ALL, "bytes", "of a torn tail cut at recovery")                   \
    X(JOURNAL_DAMAGED, COUNT, ALL, "batches", "found damaged below the durable mark")              \
    X(JOURNAL_HEALED, COUNT, ALL, "batches", "damaged ones fetched again from a peer")             \
    X(SCRUBBED_BYTES, COUNT, ALL, "bytes", "of closed segments read again and verified")           \
    X(SCRUB_PASSES, COUNT, ALL, "events", "times that all closed segments were read again")        \
    X(SCRUB_FOUND, COUNT, ALL, "events",                                                           \
      "pieces of closed segments found rotten by reading them again")                              \
    X(JOURNAL_CUT, COUNT, ALL, "batches", "cut because a later epoch's history lacks them")        \
    X(STORE_RESTORED, COUNT, STORES, "events",                                                     \
      "found to be restored from an older copy: it must be formatted again")                       \
    X(PUBLISHED, COUNT, ALL, "messages", "handed to the publisher")                                \
    X(RESENT, COUNT, ALL, "messages", "proposals sent again")                                      \
    X(OUTCOMES, COUNT, ALL, "messages", "own proposals seen in the stream")                        \
    X(QUARANTINED, COUNT, ALL, "events", "apps stopped from proposing what is already sequenced")  \
    X(DIGESTS_DROPPED, COUNT, ALL, "messages",                                                     \
      "digests of states never published: too many waited")                                        \
    X(STREAMS_REFUSED, COUNT, ALL, "events", "connections refused: too many")                      \
    X(LOGINS, COUNT, PROXIES, "sessions", "clients let in: with a key, without one, or as text")   \
    X(LOGINS_FAILED, COUNT, PROXIES, "events",                                                     \
      "logins that proved nothing: a wrong signature, or none in time")                            \
    X(SESSIONS_REFUSED, COUNT, PROXIES, "events",                                                  \
      "connections refused: too many, of all, a key or an address")                                \
    X(SESSIONS_MALFORMED, COUNT, PROXIES, "events",                                                \
      "clients cut off: what they sent is not the protocol")                                       \
    X(SESSIONS_SLOW, COUNT, PROXIES, "events", "clients cut off: they took nothing for too long")  \
    X(SESSIONS_OUTDATED, COUNT, PROXIES, "events",                                                 \
      "clients sent away: what they may read changed ahead of what they had")                      \
    X(SESSIONS_IDLE, COUNT, PROXIES, "events", "clients cut off: they said nothing for too long")  \
    X(SESSIONS_DRAINED, COUNT, PROXIES, "events", "clients told to go to another proxy")           \
    X(REFUSED_RIGHT, COUNT, PROXIES, "events", "requests of clients refused: no such right")       \
    X(REFUSED_NAME, COUNT, PROXIES, "events",                                                      \
      "requests of clients refused: not a topic, subtree or name")                                 \
    X(REFUSED_NUMBER, COUNT, PROXIES, "events",                                                    \
      "requests of clients refused: not the next number")                                          \
    X(REFUSED_QUOTA, COUNT, PROXIES, "events", "requests of clients refused: a quota")             \
    X(REFUSED_LARGE, COUNT, PROXIES, "events", "requests of clients refused: too large")           \
    X(REFUSED_ORDER, COUNT, PROXIES, "events", "requests of clients refused: not now")             \
    X(REFUSED_HISTORY, COUNT, PROXIES, "events",                                                   \
      "requests of clients refused: not kept so far back")                                         \
    X(RELAYED, COUNT, PROXIES, "messages", "of clients, handed on to the sequencer")               \
    X(THROTTLED, COUNT, PROXIES, "events",                                                         \
      "a client was not read from: a rate limit, or too much in flight")                           \
    X(SUPERSEDED, COUNT, PROXIES, "events",                                                        \
      "publishers of clients that a later incarnation took over")                                  \
    X(CLIENT_MESSAGES_OUT, COUNT, PROXIES, "messages", "sent to clients, once for each")           \
    X(CLIENT_BYTES_OUT, COUNT, PROXIES, "bytes", "sent to clients")                                \
    X(CLIENT_BYTES_IN, COUNT, PROXIES, "bytes", "received from clients")                           \
    X(CLIENTS_LEFT_BEHIND, COUNT, PROXIES, "events",                                               \
      "clients slower than the stream that had to catch up")                                       \
    X(CLIENTS_FORKED, COUNT, PROXIES, "events", "clients told that what they got no longer holds") \
    X(VIEW_CHUNKS_EVICTED, COUNT, PROXIES, "events",                                               \
      "encoded pieces given up before everybody had taken them")                                   \
    X(MEMORY, GAUGE, SERVERS, "bytes", "taken at start")                                           \
    X(TIP, GAUGE, ALL, "seq", "last message known to exist")                                       \
    X(STABLE, GAUGE, ALL, "seq", "last message known to be on a quorum of stores")                 \
    X(LAG, GAUGE, ALL, "messages", "known to exist, but not stable, durable or delivered here")    \
    X(DURABLE, GAUGE, STORES, "seq", "last message on this store's disk")                          \
    X(OLDEST, GAUGE, STORES, "seq", "oldest message in this store")                                \
    X(DELIVERED, GAUGE, APPS, "seq", "last message delivered to the application")                  \
    X(EPOCH, GAUGE, ALL, "number", "of the epoch it leads or follows")                             \
    X(EPOCH_FIRST, GAUGE, ALL, "seq", "first message of that epoch")                               \
    X(LEADING, GAUGE, SEQUENCERS, "flag", "puts messages in order")                                \
    X(PAUSED, GAUGE, SEQUENCERS, "flag", "the leader takes nothing in: no quorum of stores")       \
    X(MEMBERS, GAUGE, SERVERS, "stores", "that belong to the stream")                              \
    X(MEMBERS_CURRENT, GAUGE, SEQUENCERS, "stores",                                                \
      "members that have acknowledged in this epoch")                                              \
    X(QUORUM, GAUGE, SERVERS, "stores", "that make a message stable")                              \
    X(PUBLISHERS, GAUGE, SEQUENCERS, "publishers", "that have ever joined the stream")             \
    X(TOPICS, GAUGE, SEQUENCERS, "topics", "of the stream")                                        \
    X(QUEUED, GAUGE, SEQUENCERS, "datagrams", "of proposals waiting for their turn")               \
    X(QUEUE_MAX, GAUGE, SEQUENCERS, "datagrams", "of proposals that there is room for")            \
    X(RING_UNSTABLE, GAUGE, SEQUENCERS, "bytes",                                                   \
      "of the ring of recent batches that are not stable")                                         \
    X(RING_SIZE, GAUGE, SEQUENCERS, "bytes", "the ring of recent batches can hold")                \
    X(IN_FLIGHT, GAUGE, APPS, "messages", "own proposals not seen in the stream yet")              \
    X(SESSIONS, GAUGE, PROXIES, "clients", "connected")                                            \
    X(SESSIONS_MAX, GAUGE, PROXIES, "clients", "that there is room for")                           \
    X(SESSIONS_BEHIND, GAUGE, PROXIES, "clients", "that are catching up")                          \
    X(SUBTREES, GAUGE, PROXIES, "subtrees", "that clients subscribe to, of all together")          \
    X(VIEWS, GAUGE, PROXIES, "views", "sets of subtrees and rights, each encoded once")            \
    X(VIEW_USED, GAUGE, PROXIES, "bytes", "encoded and not taken by everybody yet")                \
    X(VIEW_SIZE, GAUGE, PROXIES, "bytes", "there is room for, encoded")                            \
    X(RELAYS, GAUGE, PROXIES, "publishers", "of clients, open")                                    \
    X(RELAY_USED, GAUGE, PROXIES, "bytes", "published by clients and not stable yet")              \
    X(DISK_FREE, GAUGE, STORES, "bytes", "free where the store is")                                \
    X(DISK_SIZE, GAUGE, STORES, "bytes", "of the file system where the store is")                  \
    X(LOOP_PAUSE_MAX, GAUGE, ALL, "ns", "longest pause of the event loop")                         \
    X(LOOP_PAUSE_RECENT, GAUGE, ALL, "ns",                                                         \
      "longest pause of the event loop in the last minute or two")

enum counter {
#define COUNTER_ENUM(name, kind, whose, unit, help) COUNTER_##name,
    COUNTER_TABLE(COUNTER_ENUM)
#undef COUNTER_ENUM
        COUNTER_END
};

_Static_assert(COUNTER_END < 160, "status messages size their counter list by this");

enum counter_kind { COUNTER_KIND_COUNT, COUNTER_KIND_GAUGE };
enum counter_whose { /* a bit set */
                     COUNTER_SEQUENCERS = 1,
                     COUNTER_STORES = 2, /* retransmitters */
                     COUNTER_APPS = 4,
                     COUNTER_PROXIES = 8,
                     COUNTER_SERVERS = COUNTER_SEQUENCERS | COUNTER_STORES | COUNTER_PROXIES,
                     COUNTER_ALL = COUNTER_SERVERS | COUNTER_APPS
};

const char *counter_name(enum counter c); /* "gap_requests_out" */
enum counter_kind counter_kind(enum counter c);
enum counter_whose counter_whose(enum counter c);
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
