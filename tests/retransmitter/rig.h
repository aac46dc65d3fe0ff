/* One retransmitter on a disk in memory and a port that remembers, and the leaders it hears:
 * scripts that make batches and heartbeats of an epoch. Time stands still unless a test moves it.
 *
 * Sent bytes are copied at the flush, after the entry point and the step have returned, so that a
 * core which queues memory and then changes it is found out. */
#ifndef CANTUS_TESTS_RETRANSMITTER_RIG_H
#define CANTUS_TESTS_RETRANSMITTER_RIG_H

#include <check.h>

#include "memory_disk.h"
#include "retransmitter/core.h"

#define RIG_STREAM UINT64_C(0x5ca1ab1e)
#define RIG_STORE  UINT64_C(0xa)
#define RIG_SECOND UINT64_C(1000000000)

enum { RIG_SENT_MAX = 8192, RIG_STREAMS_MAX = 64, RIG_BATCH_MAX = 1472 };

struct rig_sent {
    enum port_channel channel;
    struct port_addr to;
    uint32_t length;
    uint8_t *bytes;
};

struct rig_stream {
    uint8_t *bytes; /* what the core has written and the test not taken */
    size_t length;
    size_t room;
    bool closed;   /* by the core */
    size_t wanted; /* room it waits for */
};

struct rig {
    struct port port; /* first */
    struct memory_disk disk;
    struct journal_options journal_options;
    struct retransmitter_options options;
    struct journal *journal;
    struct retransmitter *core;
    struct journal_report report;
    struct port_time now;
    uint64_t next_ns; /* what the last step returned */
    struct rig_sent queued[RIG_SENT_MAX], sent[RIG_SENT_MAX];
    uint32_t queued_count, sent_count;
    uint8_t scratch[512 * 1024];
    uint32_t scratch_used;
    struct rig_stream streams[RIG_STREAMS_MAX];
    uint32_t stream_count; /* the core's own connects */
};

/* A store with the genesis in it, founder of a stream of `members` stores 0xa, 0xb, ... */
struct rig *rig_new(uint32_t members);
/* A new store without history, of no membership, that has `peers` peers. */
struct rig *rig_empty(uint32_t peers);
void rig_start(struct rig *rig);
/* kill -9: memory and what is in flight are gone. Then rig_start again. */
void rig_crash(struct rig *rig);
void rig_free(struct rig *rig);

void rig_receive(struct rig *rig, enum port_channel channel, struct port_addr from,
                 const uint8_t *bytes, uint32_t length);
size_t rig_event(struct rig *rig, enum port_stream_event_type type, uint32_t stream,
                 const void *bytes, size_t length);
void rig_step(struct rig *rig);
/* Completions and steps until nothing moves, without passing time. */
void rig_settle(struct rig *rig);
void rig_pass(struct rig *rig, uint64_t ns); /* and settles */
void rig_forget(struct rig *rig);            /* what was sent */

/* The last datagram of this type that was sent after rig_forget; NULL. `count` may be NULL. */
const struct rig_sent *rig_last(const struct rig *rig, enum wire_type type, uint32_t *count);
uint32_t rig_count(const struct rig *rig, enum wire_type type);
bool rig_last_ack(const struct rig *rig, struct ack *out);
bool rig_last_promise(const struct rig *rig, struct promise *out);
bool rig_last_gap_request(const struct rig *rig, struct gap_request *out, struct port_addr *to);
bool rig_last_refusal(const struct rig *rig, struct gap_refusal *out);
uint64_t rig_counter(struct rig *rig, enum counter c);

/* ---- what it hears --------------------------------------------------------------------------- */

struct batch_bytes {
    uint8_t bytes[RIG_BATCH_MAX];
    struct batch_header header;
};

struct leader {
    struct epoch epoch;
    uint64_t epoch_first_seq;
    uint64_t next_seq;
    struct digest digest;
    uint64_t stable;
    uint64_t time_ns;
    struct epoch_table epochs; /* of its history */
};

/* Behind the genesis of the rig's store. */
struct leader leader_of(struct rig *rig, struct epoch epoch);
/* The next leader, which adopts what `old` had when it was copied. */
struct leader leader_after(const struct leader *old, struct epoch epoch);
void leader_begin(struct leader *l, struct batch_bytes *out); /* its epoch record */
/* The next batch: `count` messages of `length` bytes. */
void leader_batch(struct leader *l, uint32_t count, uint32_t length, struct batch_bytes *out);
void rig_hear(struct rig *rig, const struct batch_bytes *batch);
void rig_heartbeat(struct rig *rig, const struct leader *l);
/* Makes and hears it. */
void rig_begin(struct rig *rig, struct leader *l);
/* A leader behind the genesis whose epoch record is durable. */
struct leader rig_led(struct rig *rig, struct epoch epoch);
void rig_batches(struct rig *rig, struct leader *l, uint32_t batches, uint32_t count,
                 uint32_t length);
/* Answers as a peer would: at most `max` of these batches, where they were asked for. */
void rig_answer(struct rig *rig, struct port_addr from, const struct gap_request *asked,
                const struct batch_bytes *batches, uint32_t count, uint32_t max);
void rig_seal(struct rig *rig, struct epoch epoch, bool probe);
void rig_ask(struct rig *rig, struct port_addr from, struct epoch epoch, uint64_t first_seq,
             uint64_t end_seq);

extern const struct port_addr RIG_LEADER;

int rig_main(const char *name, const TTest *const *tests, size_t count);
#define RIG_MAIN(name, ...)                                                                        \
    int main(void)                                                                                 \
    {                                                                                              \
        const TTest *const tests[] = { __VA_ARGS__ };                                              \
        return rig_main(name, tests, sizeof tests / sizeof tests[0]);                              \
    }

#endif
