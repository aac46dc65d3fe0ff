/* What a process says of itself when asked: a plain struct, and its protobuf form. */
#ifndef CANTUS_PROTO_STATUS_H
#define CANTUS_PROTO_STATUS_H

#include "proto/counter.h"
#include "proto/signal.h"
#include "proto/sys.h"

enum { STATUS_PUBLISHERS_MAX = 64, STATUS_SIZE_MAX = 32 * 1024 };

struct status_member {
    uint64_t store;
    uint64_t durable_seq;
    uint64_t age_ns;
    bool current;
    bool full;
};

struct status_publisher {
    uint32_t id;
    uint32_t incarnation;
    uint64_t next_number;
    char identity[IDENTITY_MAX + 1];
};

struct status {
    char role[24];
    char state[64];
    char session[SESSION_NAME_MAX + 1];
    uint64_t stream;
    struct epoch epoch;
    uint64_t epoch_first_seq;
    uint64_t tip;
    uint64_t stable;
    bool is_volatile;
    uint32_t quorum;
    uint32_t member_count;
    struct status_member members[MEMBERS_MAX];
    uint32_t publisher_count; /* in all; at most STATUS_PUBLISHERS_MAX of them are listed */
    struct status_publisher publishers[STATUS_PUBLISHERS_MAX];
    uint32_t topic_count;
    uint32_t epochs_used; /* sequencers: of the history, of EPOCH_TABLE_MAX; else 0 */
    uint64_t counters[COUNTER_END];
    uint64_t uptime_ns;
    uint64_t memory_bytes;
    uint64_t store;
    uint64_t clock_ns; /* its wall clock as it answered: Unix time */
};

/* Packs without allocating; returns the length, 0 if it does not fit. */
size_t status_encode(const struct status *in, uint8_t *out, size_t capacity);
bool status_decode(const uint8_t *bytes, size_t length, struct status *out);
/* A store that was restored from an older copy of itself, and has been told so. */
#define STATUS_RESTORED "restored from a copy, re-format it"

#endif
