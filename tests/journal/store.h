/* A store on the fake disk with the history that was offered to it, so that a test can drive the
 * journal in a line and compare what it gives with what it was given. */
#ifndef CANTUS_TESTS_JOURNAL_STORE_H
#define CANTUS_TESTS_JOURNAL_STORE_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/journal/fake_disk.h"
#include "tests/journal/history_maker.h"

#define STORE UINT64_C(77)

enum { STORE_BUFFER_BYTES = 128 * 1024 };

struct store {
    struct fake_disk *fake;
    struct disk *disk;
    struct journal_options options;
    struct journal *journal;
    struct history_maker maker;
    struct journal_report report;
    char error[JOURNAL_ERROR_MAX];
    uint64_t now_ns;
    uint8_t *buffer; /* for reads: STORE_BUFFER_BYTES */
};

/* Formatted and open. */
void store_begin(struct store *s, const struct journal_options *options);
void store_end(struct store *s);
enum journal_error store_try_open(struct store *s, uint64_t stream);
void store_open(struct store *s);
/* The journal is gone, and with it what the disk had not synced. */
void store_crash(struct store *s);

void store_complete_all(struct store *s);
/* Commits and lets time pass until there is nothing left to do. */
void store_settle(struct store *s);
/* Offers the journal what it has not got of the history, and settles. */
void store_append_all(struct store *s);
/* Makes about `segments` segments of 128 KiB of batches of ~1 KiB, with two epochs and a change of
 * members, and appends them. */
void store_fill(struct store *s, uint32_t segments);
/* Reads it all, and compares. */
void store_check_reads(struct store *s);

#endif
