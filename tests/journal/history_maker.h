/* Makes histories for the journal's tests: chained batches of any size, in any epoch. */
#ifndef CANTUS_TESTS_JOURNAL_HISTORY_MAKER_H
#define CANTUS_TESTS_JOURNAL_HISTORY_MAKER_H

#include "journal/journal.h"
#include "proto/topic.h"

enum { MADE_MAX = 20000, MADE_STREAM = 0x5357 };

struct made {
    uint8_t *bytes; /* header.length of them, then zeros to 8 */
    struct batch_header header;
};

struct history_maker {
    struct made *made;
    uint32_t count;
    struct epoch epoch;
    uint64_t time_ns;
};

void maker_init(struct history_maker *m);
void maker_free(struct history_maker *m);
/* The genesis batch, with one store. */
void maker_genesis(struct history_maker *m, uint64_t store);
/* `count` messages of `payload` bytes each, filled with `fill`. */
void maker_batch(struct history_maker *m, uint16_t count, uint32_t payload, uint8_t fill);
/* A batch with a membership record of `stores` stores. */
void maker_members(struct history_maker *m, uint32_t stores);
/* Forgets everything above seq, a batch boundary. */
void maker_cut(struct history_maker *m, uint64_t seq);
uint64_t maker_tail(const struct history_maker *m);
struct digest maker_digest(const struct history_maker *m);
/* The batch that holds seq. */
const struct made *maker_find(const struct history_maker *m, uint64_t seq);

#endif
