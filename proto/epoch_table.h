/* The epoch table of a history: where each epoch began, and the digest there.
 *
 * Everybody keeps one. It answers the two questions that failover asks: is a position on this
 * history, and where do two histories part. Both follow from one fact: an epoch has one leader, so
 * two histories that hold some of it agree up to where the shorter one leaves it. See
 * design.md section 3 "History digest" and common_end() in model/failover.py. */
#ifndef CANTUS_PROTO_EPOCH_TABLE_H
#define CANTUS_PROTO_EPOCH_TABLE_H

#include "proto/position.h"

enum {
    EPOCH_TABLE_MAX = 4096,   /* epochs of one stream; begin refuses beyond, with an error */
    EPOCH_RECORD_ENTRIES = 24 /* the newest entries, which an epoch record carries */
};

struct epoch_entry {
    struct epoch epoch;
    uint64_t first_seq;   /* of its epoch record (of the genesis record for epoch 0) */
    struct digest before; /* history digest of everything below first_seq */
};

struct epoch_table {
    uint32_t count;
    struct epoch_entry entries[EPOCH_TABLE_MAX]; /* ascending in epoch and in first_seq */
};

/* Where two histories part: everything up to seq agrees. */
struct common_end {
    bool known;           /* false: the piece of the other table does not reach back far enough, or
                             the two contradict each other: never cut on this */
    uint64_t seq;         /* last common seq; 0 if nothing is shared */
    struct digest digest; /* history digest through seq */
};

/* Forgets everything. */
void epoch_table_reset(struct epoch_table *table);
/* Only what is in use: a table is large and mostly empty. */
void epoch_table_copy(struct epoch_table *to, const struct epoch_table *from);

/* Appends; false (and unchanged) if full, or if the entry is not above the last in both epoch
 * number and first_seq. */
bool epoch_table_append(struct epoch_table *table, struct epoch_entry entry);

/* Drops every epoch that begins after seq. */
void epoch_table_cut(struct epoch_table *table, uint64_t seq);

/* The entry of the epoch that message seq belongs to; NULL for seq 0 and below the first entry.
 * The newest epoch reaches to infinity: the caller knows its own tail. */
const struct epoch_entry *epoch_table_find(const struct epoch_table *table, uint64_t seq);

/* Whether position lies on the history that this table describes and that ends at tail_seq. */
bool epoch_table_has(const struct epoch_table *table, uint64_t tail_seq, struct position position);

/* The common end of the history (mine, my_tail_seq, my_tail_digest) and another, of which the
 * newest `count` entries and the end are given. `other_tail_seq` is the last seq of that other
 * history. */
struct common_end epoch_table_common_end(const struct epoch_table *mine, uint64_t my_tail_seq,
                                         struct digest my_tail_digest,
                                         const struct epoch_entry *other, uint32_t count,
                                         uint64_t other_tail_seq, struct digest other_tail_digest);

#endif
