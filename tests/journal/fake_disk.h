/* A disk in memory for the journal's tests: it keeps what is written and not yet completed apart
 * from what is durable, tears it when it crashes, refuses it, and flips bits. It also checks the
 * journal's promise that a block of a segment, once written and completed, is not written again by
 * a queued write (cut, heal and recovery use the blocking one, and say so by that). */
#ifndef CANTUS_TESTS_JOURNAL_FAKE_DISK_H
#define CANTUS_TESTS_JOURNAL_FAKE_DISK_H

#include "journal/disk.h"

struct fake_disk;

struct fake_disk *fake_disk_new(uint64_t seed);
void fake_disk_free(struct fake_disk *f);
struct disk *fake_disk_of(struct fake_disk *f);
uint64_t fake_disk_random(struct fake_disk *f);

/* Carries out up to `max` requests in flight, in random order; their completions become ready. */
void fake_disk_work(struct fake_disk *f, uint32_t max);
uint32_t fake_disk_flying(const struct fake_disk *f);
/* Power loss: of every write in flight any subset of its 512-byte sectors arrives; files are
 * closed, completions forgotten. */
void fake_disk_crash(struct fake_disk *f);
/* The next blocking writes after `count` tear and fail, and so does all else, until a crash.
 * UINT32_MAX: none will. */
void fake_disk_die_after(struct fake_disk *f, uint32_t count);
/* 0: none. Given to queued writes and preparations, and to blocking writes too if asked. */
void fake_disk_refuse(struct fake_disk *f, int error, bool blocking_too);
/* Blocking reads that touch [offset, end) of this file fail with EIO; NULL: none do. */
void fake_disk_unreadable(struct fake_disk *f, const char *name, uint64_t offset, uint64_t end);

bool fake_disk_has(const struct fake_disk *f, const char *name);
uint64_t fake_disk_size(const struct fake_disk *f, const char *name);
/* The bytes of a file, to be looked at or damaged; NULL: no such file. */
uint8_t *fake_disk_bytes(struct fake_disk *f, const char *name);
void fake_disk_put(struct fake_disk *f, const char *name, const void *bytes, size_t length);
void fake_disk_remove(struct fake_disk *f, const char *name);
uint64_t fake_disk_rewrites(const struct fake_disk *f); /* must stay 0 */
uint64_t fake_disk_segment_writes(const struct fake_disk *f);

#endif
