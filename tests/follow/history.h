/* A history as a leader writes it: chained batches, epoch records, heartbeats. Copying one and
 * going on in another epoch makes two that diverge. */
#ifndef CANTUS_TESTS_FOLLOW_HISTORY_H
#define CANTUS_TESTS_FOLLOW_HISTORY_H

#include "proto/batch.h"
#include "proto/sys.h"

enum { HISTORY_STREAM = 7007, HISTORY_BATCH_MAX = 1472, HISTORY_BATCHES_MAX = 600 };

struct history_batch {
    struct batch_header header;
    uint8_t bytes[HISTORY_BATCH_MAX];
};

struct history {
    struct epoch epoch;
    uint64_t next_seq;
    struct digest digest;
    uint64_t stable; /* goes into what is written next */
    struct epoch_table epochs;
    uint32_t count;
    struct history_batch batches[HISTORY_BATCHES_MAX];
};

struct history *history_new(void); /* the genesis record alone */
struct history *history_copy(const struct history *from);
/* Keeps the first `count` batches. */
void history_cut(struct history *h, uint32_t count);
void history_begin(struct history *h, uint32_t number);
/* The same, with a record that names only the newest `entries` epochs. */
void history_begin_short(struct history *h, uint32_t number, uint32_t entries);
/* A batch of `messages` messages, each of them unique. */
void history_write(struct history *h, uint32_t messages);
/* The heartbeat after the first `count` batches. */
struct heartbeat history_heartbeat(const struct history *h, uint32_t count);
/* The batch that holds seq; count if there is none. */
uint32_t history_find(const struct history *h, uint64_t seq);
/* Digest before seq, which begins a batch or is the next. */
struct digest history_before(const struct history *h, uint64_t seq);

#endif
