/* The journal's contract, case by case, on the fake disk: format and its refusals, recovery of what
 * was committed, damage and healing, cuts across segments, indexes lost, full disks, promises,
 * reads and times, and the offline walk. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/journal/fake_disk.h"
#include "tests/journal/history_maker.h"

#define STORE UINT64_C(77)

static struct fake_disk *fake;
static struct disk *disk;
static struct journal *j;
static struct history_maker maker;
static struct journal_report report;
static char error[JOURNAL_ERROR_MAX];
static uint64_t now_ns;
static uint8_t *buffer;
enum { BUFFER_BYTES = 128 * 1024 };

static const struct journal_options options = {
    .segment_bytes = 131072, .commit_bytes = 65536, .recent_bytes = 65536, .segments_max = 100
};

static enum journal_error try_open(uint64_t stream)
{
    enum journal_error code;
    j = journal_open(disk, &options, stream, &report, &code, error);
    ck_assert((j == NULL) == (code != JOURNAL_OK));
    return code;
}

static void complete_all(void)
{
    struct disk_completion done[8];
    uint32_t count;
    do {
        fake_disk_work(fake, 8);
        count = disk->ops->complete(disk, done, 8);
        for (uint32_t i = 0; i < count; i++)
            journal_on_disk(j, &done[i]);
    } while (count > 0);
}

static void settle(void)
{
    for (uint32_t i = 0; i < 1000 && !journal_idle(j); i++) {
        journal_commit(j);
        complete_all();
        now_ns += 100000000;
        (void)journal_step(j, now_ns);
    }
    ck_assert(journal_idle(j));
}

static void append_all(void)
{
    for (uint32_t tries = 0; journal_tail(j).seq < maker_tail(&maker); tries++) {
        ck_assert_uint_lt(tries, 100000);
        const struct made *next = maker_find(&maker, journal_tail(j).seq + 1);
        if (journal_append(j, next->bytes, &next->header))
            continue;
        journal_commit(j);
        complete_all();
        (void)journal_step(j, ++now_ns);
    }
    settle();
}

static void crash(void)
{
    fake_disk_crash(fake);
    journal_close(j);
    j = NULL;
}

static void setup(void)
{
    fake = fake_disk_new(1);
    disk = fake_disk_of(fake);
    now_ns = 1;
    buffer = aligned_alloc(DISK_BLOCK, BUFFER_BYTES);
    maker_init(&maker);
    maker_genesis(&maker, STORE);
    ck_assert_int_eq(journal_format(disk, &options, MADE_STREAM, STORE, maker.made[0].bytes,
                                    maker.made[0].header.length, error),
                     JOURNAL_OK);
    ck_assert_int_eq(try_open(MADE_STREAM), JOURNAL_OK);
}

static void teardown(void)
{
    fake_disk_crash(fake);
    journal_close(j);
    maker_free(&maker);
    fake_disk_free(fake);
    free(buffer);
}

/* About `segments` segments of batches of ~1 KiB, with two epochs and a change of members. */
static void fill(uint32_t segments)
{
    for (uint32_t i = 0; i < segments * 110; i++) {
        if (i == 50) {
            maker.epoch = (struct epoch) { .number = 1, .candidate = 5 };
            maker_members(&maker, 3);
        }
        maker_batch(&maker, 1, 1050, (uint8_t)(i + 1));
    }
    append_all();
    (void)journal_step(j, now_ns += 1000000000); /* idle: the mark comes up to the tail */
    (void)journal_step(j, now_ns += 1000000000);
    complete_all();
}

static void check_reads(void)
{
    uint64_t seq = 1;
    while (seq <= maker_tail(&maker)) {
        struct journal_read read = { .first_seq = seq, .buffer = buffer, .capacity = BUFFER_BYTES };
        ck_assert(journal_read_begin(j, &read));
        complete_all();
        ck_assert(read.done);
        ck_assert_msg(read.error == 0, "seq %lu: %d", seq, read.error);
        ck_assert_uint_gt(read.length, 0);
        const uint8_t *at = read.batches;
        while (at < read.batches + read.length) {
            const struct made *made = maker_find(&maker, seq);
            ck_assert_mem_eq(at, made->bytes, made->header.length);
            at += journal_aligned(made->header.length);
            seq = batch_end_seq(&made->header);
        }
    }
}

/* ---- open and format ------------------------------------------------------------------------- */

START_TEST(format_refuses_what_is_there)
{
    ck_assert_int_eq(journal_format(disk, &options, MADE_STREAM, STORE, NULL, 0, error),
                     JOURNAL_NOT_EMPTY);
    struct fake_disk *other = fake_disk_new(2);
    fake_disk_put(other, "holiday.jpg", "x", 1);
    ck_assert_int_eq(
        journal_format(fake_disk_of(other), &options, MADE_STREAM, STORE, NULL, 0, error),
        JOURNAL_NOT_EMPTY);
    fake_disk_remove(other, "holiday.jpg");
    /* Killed at any of its writes, it can be done again. */
    for (uint32_t i = 0; i < 7; i++) {
        fake_disk_die_after(other, i);
        ck_assert_int_ne(
            journal_format(fake_disk_of(other), &options, MADE_STREAM, STORE, NULL, 0, error),
            JOURNAL_OK);
        fake_disk_crash(other);
    }
    ck_assert_int_eq(journal_format(fake_disk_of(other), &options, MADE_STREAM, STORE,
                                    maker.made[0].bytes, maker.made[0].header.length - 8u, error),
                     JOURNAL_FOREIGN);
    ck_assert_int_eq(
        journal_format(fake_disk_of(other), &options, MADE_STREAM, STORE, NULL, 0, error),
        JOURNAL_OK);
    fake_disk_free(other);
}
END_TEST

START_TEST(open_tells_what_is_wrong)
{
    crash();
    ck_assert_int_eq(try_open(MADE_STREAM + 1), JOURNAL_FOREIGN);
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    ck_assert_uint_eq(report.stream, MADE_STREAM);
    ck_assert_uint_eq(report.store, STORE);
    ck_assert_uint_eq(report.tail.seq, 1);
    ck_assert_uint_eq(journal_members(j)->stores[0], STORE);
    crash();
    fake_disk_bytes(fake, "store")[20] ^= 1;
    ck_assert_int_eq(try_open(0), JOURNAL_IO);
    fake_disk_bytes(fake, "store")[20] ^= 1;
    fake_disk_bytes(fake, "mark")[20] ^= 1; /* one slot is enough, as both hold everything */
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    ck_assert_uint_eq(report.tail.seq, 1);
    crash();
    fake_disk_bytes(fake, "promise")[20] ^= 1;
    fake_disk_bytes(fake, "promise")[DISK_BLOCK + 20] ^= 1;
    ck_assert_int_eq(try_open(0), JOURNAL_IO);
    fake_disk_remove(fake, "store");
    ck_assert_int_eq(try_open(0), JOURNAL_NO_STORE);
}
END_TEST

START_TEST(everything_committed_is_there_again)
{
    fill(3);
    ck_assert_uint_eq(journal_durable(j).seq, maker_tail(&maker));
    crash();
    ck_assert_int_eq(try_open(MADE_STREAM), JOURNAL_OK);
    ck_assert_uint_eq(report.tail.seq, maker_tail(&maker));
    ck_assert(digest_equal(report.digest, maker_digest(&maker)));
    ck_assert_uint_gt(report.segments, 2);
    ck_assert_uint_eq(journal_epochs(j)->count, 2);
    ck_assert_uint_eq(journal_members(j)->count, 3);
    ck_assert_uint_lt(report.batches_checked, maker.count); /* older segments were not read */
    check_reads();
    maker_batch(&maker, 2, 30, 9);
    append_all();
    check_reads();
    ck_assert_uint_eq(fake_disk_rewrites(fake), 0);
}
END_TEST

START_TEST(idle_time_brings_the_mark_up)
{
    maker_batch(&maker, 2, 30, 9);
    append_all();
    (void)journal_step(j, now_ns += 1);
    uint64_t next = journal_step(j, now_ns += 1);
    ck_assert_uint_ne(next, UINT64_MAX);
    (void)journal_step(j, next);
    complete_all();
    crash();
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    ck_assert_uint_eq(report.mark.seq, maker_tail(&maker));
}
END_TEST

START_TEST(lost_indexes_are_rebuilt)
{
    fill(3);
    crash();
    ck_assert(fake_disk_has(fake, "index-00000001"));
    ck_assert(fake_disk_has(fake, "index-00000002"));
    fake_disk_remove(fake, "index-00000001");
    fake_disk_bytes(fake, "index-00000002")[40] ^= 4;
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    ck_assert(!report.damaged);
    ck_assert(fake_disk_has(fake, "index-00000001"));
    check_reads();
    crash();
    /* Damage in the entries, which open does not look at: reads walk instead. */
    fake_disk_bytes(fake, "index-00000001")[DISK_BLOCK + 30] ^= 4;
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    check_reads();
}
END_TEST

/* ---- damage ---------------------------------------------------------------------------------- */

static void heal_all(void)
{
    ck_assert(!journal_proven(j));
    for (uint32_t i = 0; i < 10000 && !journal_proven(j); i++) {
        uint64_t seq = journal_damaged_seq(j);
        ck_assert_uint_lt(seq, journal_damaged_end_seq(j));
        const struct made *made = maker_find(&maker, seq);
        const struct made *wrong = maker_find(&maker, made->header.first_seq + 1);
        if (wrong != NULL && wrong != made)
            ck_assert(!journal_heal(j, wrong->bytes, &wrong->header));
        ck_assert(journal_heal(j, made->bytes, &made->header));
    }
    ck_assert(journal_proven(j));
    ck_assert_uint_eq(journal_damaged_seq(j), 0);
}

START_TEST(damage_in_the_last_segment_is_reported_and_healed)
{
    fill(1);
    crash();
    uint8_t *bytes = fake_disk_bytes(fake, "segment-00000001");
    bytes[DISK_BLOCK * (2 + (uint32_t)_i * 4) + 100] ^= 0x10;
    struct journal_walk_result walk;
    ck_assert_int_eq(journal_walk(disk, 1, NULL, NULL, &walk, error), JOURNAL_OK);
    ck_assert(walk.damaged);
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    ck_assert(report.damaged);
    ck_assert_uint_eq(report.damaged_segment, 1);
    ck_assert_uint_eq(report.tail.seq, maker_tail(&maker));
    maker_batch(&maker, 1, 10, 3);
    const struct made *next = maker_find(&maker, maker_tail(&maker));
    ck_assert(!journal_append(j, next->bytes, &next->header));
    if (_i == 1) { /* a crash half way loses nothing */
        const struct made *made = maker_find(&maker, journal_damaged_seq(j));
        (void)journal_heal(j, made->bytes, &made->header);
        crash();
        ck_assert_int_eq(try_open(0), JOURNAL_OK);
    }
    if (!journal_proven(j))
        heal_all();
    append_all();
    check_reads();
    ck_assert_uint_eq(journal_epochs(j)->count, 2);
    ck_assert_uint_eq(journal_members(j)->count, 3);
    crash();
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    ck_assert(!report.damaged);
    ck_assert_int_eq(journal_walk(disk, 1, NULL, NULL, &walk, error), JOURNAL_OK);
    ck_assert_msg(!walk.damaged, "%s", walk.damage);
    ck_assert_uint_eq(walk.batches, maker.count);
    ck_assert(digest_equal(walk.digest, maker_digest(&maker)));
}
END_TEST

/* One commit of `count` batches; the mark that goes with it names the commit before. */
static void commit_once(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        maker_batch(&maker, 1, 1050, (uint8_t)(i + 3));
        const struct made *next = maker_find(&maker, maker_tail(&maker));
        ck_assert(journal_append(j, next->bytes, &next->header));
    }
    /* Where the segment ends it takes a second one, and the next segment may have to be prepared. */
    for (uint32_t i = 0; i < 4 && journal_durable(j).seq < maker_tail(&maker); i++) {
        journal_commit(j);
        complete_all();
    }
    ck_assert_uint_eq(journal_durable(j).seq, maker_tail(&maker));
}

/* Whichever block cannot be read: what was acknowledged is there, or known to be missing, or the
 * journal does not open. It is never taken for a torn tail, and nothing is cut. */
START_TEST(what_cannot_be_read_is_not_torn)
{
    const char *name = "segment-00000001";
    for (uint32_t i = 0; i < 60; i++)
        commit_once(1);
    commit_once(9);
    crash();
    uint32_t refused = 0, holes = 0;
    for (uint64_t at = fake_disk_size(fake, name); at > DISK_BLOCK; at -= DISK_BLOCK) {
        fake_disk_unreadable(fake, name, at - DISK_BLOCK, at);
        if (try_open(0) == JOURNAL_OK) {
            ck_assert_uint_eq(report.tail.seq, maker_tail(&maker));
            ck_assert_uint_eq(report.torn_bytes, 0);
            holes += report.damaged;
            crash();
        } else {
            ck_assert_ptr_nonnull(strstr(error, "cannot read segment 1"));
            refused++;
        }
    }
    ck_assert_uint_ge(refused, 2);
    ck_assert_uint_gt(holes, 10);
    fake_disk_unreadable(fake, NULL, 0, 0);
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    ck_assert(!report.damaged);
    ck_assert_uint_eq(report.tail.seq, maker_tail(&maker));
    check_reads();
}
END_TEST

/* Nor is a segment that may hold what was acknowledged taken for one that was never begun. */
START_TEST(an_unreadable_header_is_not_a_leftover)
{
    const char *name = "segment-00000002";
    for (uint32_t i = 0;; i++) {
        ck_assert_uint_lt(i, 200);
        const uint8_t *bytes = fake_disk_bytes(fake, name);
        if (bytes != NULL && bytes[0] != 0)
            break;
        commit_once(1);
    }
    crash();
    fake_disk_unreadable(fake, name, 0, DISK_BLOCK);
    ck_assert_int_eq(try_open(0), JOURNAL_IO);
    ck_assert_ptr_nonnull(strstr(error, "cannot read the header of `segment-00000002`"));
    fake_disk_unreadable(fake, NULL, 0, 0);
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    ck_assert_uint_eq(report.tail.seq, maker_tail(&maker));
    check_reads();
}
END_TEST

/* A slot of the mark that the disk would not give may be the newer one: the older is not trusted. */
START_TEST(an_unreadable_mark_is_not_an_old_one)
{
    for (uint32_t i = 0; i < 5; i++)
        commit_once(1);
    crash();
    struct journal_walk_result walk;
    uint64_t half = fake_disk_size(fake, "mark") / 2;
    for (uint32_t i = 0; i < 2; i++) {
        fake_disk_unreadable(fake, "mark", i * half, i * half + DISK_BLOCK);
        ck_assert_int_eq(try_open(0), JOURNAL_IO);
        ck_assert_ptr_nonnull(strstr(error, "the file `mark` can't be read"));
        ck_assert_int_eq(journal_walk(disk, 1, NULL, NULL, &walk, error), JOURNAL_OK);
        ck_assert(walk.damaged);
    }
    fake_disk_unreadable(fake, NULL, 0, 0);
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    ck_assert_uint_eq(report.tail.seq, maker_tail(&maker));
}
END_TEST

START_TEST(the_walk_tells_the_unreadable_from_a_torn_tail)
{
    for (uint32_t i = 0; i < 20; i++)
        commit_once(9);
    crash();
    const char *name = "segment-00000001";
    struct journal_walk_result walk;
    uint64_t found = 0;
    for (uint64_t at = DISK_BLOCK; at < 16 * DISK_BLOCK; at += DISK_BLOCK) {
        fake_disk_unreadable(fake, name, at, at + DISK_BLOCK);
        ck_assert_int_eq(journal_walk(disk, 1, NULL, NULL, &walk, error), JOURNAL_OK);
        ck_assert_uint_eq(walk.torn_bytes, 0);
        found += walk.damaged;
    }
    ck_assert_uint_gt(found, 2);
}
END_TEST

START_TEST(damage_in_an_old_segment_is_found_by_reading)
{
    fill(3);
    crash();
    fake_disk_bytes(fake, "segment-00000001")[DISK_BLOCK * 5 + 9] ^= 0x10;
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    ck_assert(journal_proven(j)); /* not looked at yet */
    uint64_t end = 0;
    for (uint64_t seq = 1; seq < 60 && journal_proven(j); seq++) {
        struct journal_read read = { .first_seq = seq, .buffer = buffer, .capacity = BUFFER_BYTES };
        ck_assert(journal_read_begin(j, &read));
        complete_all();
        ck_assert(read.done);
        ck_assert(read.error == 0 || read.error == -EILSEQ);
        end = seq;
    }
    ck_assert(!journal_proven(j));
    ck_assert_uint_eq(journal_damaged_seq(j), end);
    crash();
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    ck_assert(report.damaged); /* remembered, as the index is gone */
    heal_all();
    check_reads();
}
END_TEST

/* The last blocks are lost, and with them the slot that had one of them: what is healed in the block that
 * the mark's end lies in counts, whatever is in memory. */
START_TEST(the_block_of_the_marks_end_is_healed)
{
    for (int i = 0; i < 20 + _i / 2; i++)
        commit_once(1);
    crash();
    uint64_t half = fake_disk_size(fake, "mark") / 2;
    fake_disk_bytes(fake, "mark")[(uint64_t)(_i % 2) * half + 20] ^= 1;
    uint8_t *segment = fake_disk_bytes(fake, "segment-00000001");
    uint64_t end = fake_disk_size(fake, "segment-00000001");
    for (uint32_t lost = 0; lost < 2 && end > 3 * DISK_BLOCK; end -= DISK_BLOCK)
        if (segment[end - DISK_BLOCK] != 0 || segment[end - 9] != 0) {
            memset(segment + end - DISK_BLOCK, 0, DISK_BLOCK);
            lost++;
        }
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    if (report.damaged)
        heal_all();
    ck_assert(journal_proven(j));
    uint64_t tail = report.tail.seq;
    ck_assert_uint_ge(tail + 2, maker_tail(&maker)); /* a slot names the commit before its own */
    if (tail == maker_tail(&maker))
        check_reads();
    crash();
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    ck_assert(!report.damaged);
    ck_assert_uint_eq(report.tail.seq, tail);
}
END_TEST

START_TEST(whole_pieces_can_be_missing)
{
    fill(3);
    crash();
    switch (_i) {
    case 0: /* a header of an old segment */
        fake_disk_bytes(fake, "segment-00000002")[30] ^= 1;
        break;
    case 1: /* an old segment */
        fake_disk_remove(fake, "segment-00000002");
        fake_disk_remove(fake, "index-00000002");
        break;
    case 2: /* the first */
        fake_disk_remove(fake, "segment-00000001");
        fake_disk_remove(fake, "index-00000001");
        break;
    case 3: /* the header of the last */
        fake_disk_bytes(fake, "segment-00000003")[30] ^= 1;
        break;
    default: /* the whole last */
        memset(fake_disk_bytes(fake, "segment-00000003"), 0,
               fake_disk_size(fake, "segment-00000003"));
        break;
    }
    enum journal_error code = try_open(0);
    ck_assert_msg(code == JOURNAL_OK, "%s", error);
    if (!journal_proven(j))
        heal_all();
    else
        ck_assert(_i == 0 || _i == 3);
    check_reads();
    ck_assert_uint_eq(journal_epochs(j)->count, 2);
    maker_batch(&maker, 1, 10, 3);
    append_all();
}
END_TEST

/* ---- cut, promise, full ---------------------------------------------------------------------- */

START_TEST(cuts_go_across_segments)
{
    fill(3);
    static const uint64_t down_to[] = { 300, 205, 115, 40, 1 };
    for (uint32_t i = 0; i < 5; i++) {
        const struct made *made = maker_find(&maker, down_to[i]);
        uint64_t seq = batch_end_seq(&made->header) - 1;
        struct digest wrong = made->header.before;
        ck_assert(!journal_cut(j, seq, wrong));
        ck_assert(journal_cut(j, seq, made->header.digest));
        maker_cut(&maker, seq);
        ck_assert_uint_eq(journal_tail(j).seq, seq);
        ck_assert_uint_eq(journal_durable(j).seq, seq);
        ck_assert_uint_eq(journal_epochs(j)->count, seq >= 51 ? 2 : 1);
        ck_assert_uint_eq(journal_members(j)->count, seq >= 53 ? 3 : 1);
        if (i % 2 == 0) {
            crash();
            ck_assert_int_eq(try_open(0), JOURNAL_OK);
            ck_assert_uint_eq(report.tail.seq, seq);
            ck_assert(!report.damaged);
        }
        for (uint32_t k = 0; k < 5; k++)
            maker_batch(&maker, 1, 700, (uint8_t)(100 + k));
        append_all();
        check_reads();
    }
    struct digest none = { 0, 0 };
    ck_assert(journal_cut(j, 0, none));
    ck_assert_uint_eq(journal_tail(j).seq, 0);
    crash();
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    ck_assert_uint_eq(report.tail.seq, 0);
}
END_TEST

/* Rot in the segment that is written to, below the place of a cut: the cut waits until a peer has healed
 * what it keeps, one piece after the other. Rot above that place is of no concern. */
START_TEST(a_cut_heals_what_it_keeps)
{
    for (uint32_t i = 0; i < 20; i++)
        commit_once(1);
    const struct made *made = maker_find(&maker, maker_tail(&maker) - 4);
    uint64_t seq = batch_end_seq(&made->header) - 1;
    uint8_t *bytes = fake_disk_bytes(fake, "segment-00000001");
    bytes[DISK_BLOCK * 2 + 40] ^= 1;
    bytes[DISK_BLOCK * 4 + 40] ^= 1;
    bytes[fake_disk_size(fake, "segment-00000001") - 8] ^= (uint8_t)_i;
    uint32_t healed = 0;
    while (!journal_cut(j, seq, made->header.digest)) {
        ck_assert_uint_lt(healed++, 3);
        heal_all();
    }
    ck_assert_uint_ge(healed, 1);
    maker_cut(&maker, seq);
    ck_assert_uint_eq(journal_tail(j).seq, seq);
    check_reads();
    commit_once(2);
    crash();
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    ck_assert(!report.damaged);
    ck_assert_uint_eq(report.tail.seq, maker_tail(&maker));
    check_reads();
}
END_TEST

START_TEST(a_failed_cut_can_be_repeated)
{
    fill(2);
    const struct made *made = maker_find(&maker, 100);
    fake_disk_refuse(fake, EIO, true);
    ck_assert(!journal_cut(j, 100, made->header.before));
    uint64_t seq = batch_end_seq(&made->header) - 1;
    ck_assert(!journal_cut(j, seq, made->header.digest));
    ck_assert_uint_eq(journal_tail(j).seq, maker_tail(&maker));
    fake_disk_refuse(fake, 0, false);
    ck_assert(journal_cut(j, seq, made->header.digest));
    maker_cut(&maker, seq);
    maker_batch(&maker, 1, 10, 1);
    append_all();
    check_reads();
}
END_TEST

START_TEST(promises_are_durable_and_grow)
{
    struct epoch three = { .number = 3, .candidate = 9 }, two = { .number = 2, .candidate = 9 };
    ck_assert(journal_promise(j, three));
    ck_assert(!journal_promise(j, (struct epoch) { .number = 4 }));
    ck_assert_uint_eq(journal_promised(j).number, 0);
    complete_all();
    ck_assert(epoch_equal(journal_promised(j), three));
    ck_assert(!journal_promise(j, two));
    ck_assert(!journal_promise(j, three));
    crash();
    fake_disk_bytes(fake, "promise")[(uint32_t)_i * DISK_BLOCK + 30] ^= 1; /* either may decay */
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
    ck_assert(epoch_equal(report.promised, three));
}
END_TEST

START_TEST(a_full_disk_suspends_and_clears)
{
    fake_disk_refuse(fake, _i == 0 ? ENOSPC : EIO, false);
    for (uint32_t i = 0; i < 400; i++)
        maker_batch(&maker, 1, 1050, 7);
    uint64_t refused = 0;
    for (uint32_t i = 0; i < 2000; i++) {
        const struct made *next = maker_find(&maker, journal_tail(j).seq + 1);
        if (!journal_append(j, next->bytes, &next->header))
            refused++;
        journal_commit(j);
        complete_all();
        (void)journal_step(j, now_ns += 50000000);
    }
    ck_assert_uint_gt(refused, 1000);
    ck_assert(journal_full(j));
    ck_assert_uint_eq(journal_durable(j).seq, 1);
    ck_assert_uint_eq(journal_counters(j)[COUNTER_JOURNAL_FULL], 1);
    fake_disk_refuse(fake, 0, false);
    for (uint32_t i = 0; i < 100; i++) {
        (void)journal_step(j, now_ns += 1000000000);
        complete_all();
    }
    ck_assert(!journal_full(j));
    append_all();
    ck_assert_uint_eq(journal_durable(j).seq, maker_tail(&maker));
    check_reads();
    ck_assert_uint_eq(fake_disk_rewrites(fake), 0);
}
END_TEST

START_TEST(reads_and_times)
{
    fill(3);
    struct journal_read read = { .first_seq = 0, .buffer = buffer, .capacity = BUFFER_BYTES };
    ck_assert(journal_read_begin(j, &read));
    ck_assert_int_eq(read.error, -ENOENT);
    read.first_seq = maker_tail(&maker) + 1;
    ck_assert(journal_read_begin(j, &read));
    ck_assert_int_eq(read.error, -ENOENT);
    uint32_t length;
    const uint8_t *newest = journal_recent(j, maker_tail(&maker), &length);
    ck_assert_ptr_nonnull(newest);
    ck_assert_mem_eq(newest, maker.made[maker.count - 1].bytes, length);
    ck_assert_ptr_null(journal_recent(j, 1, &length));
    read.first_seq = 2;
    ck_assert(journal_read_begin(j, &read));
    ck_assert(!read.done);
    journal_read_cancel(j, &read);
    complete_all();
    ck_assert(!read.done);
    ck_assert(journal_idle(j));
    for (uint32_t i = 0; i < maker.count; i += 7) {
        const struct batch_header *h = &maker.made[i].header;
        ck_assert_uint_eq(journal_seq_at_time(j, h->timestamp_ns), h->first_seq);
        ck_assert_uint_eq(journal_seq_at_time(j, h->timestamp_ns - 3), h->first_seq);
    }
    ck_assert_uint_eq(journal_seq_at_time(j, 0), 1);
    ck_assert_uint_eq(journal_seq_at_time(j, maker.time_ns + 1), maker_tail(&maker) + 1);
}
END_TEST

static bool count_batches(void *ctx, const uint8_t *bytes, const struct batch_header *header,
                          uint64_t segment, uint64_t offset)
{
    (void)segment;
    (void)offset;
    uint64_t *count = ctx;
    const struct made *made = maker_find(&maker, header->first_seq);
    ck_assert_mem_eq(bytes, made->bytes, made->header.length);
    return ++*count < 200;
}

START_TEST(the_walk_sees_it_all_and_stops_when_told)
{
    fill(3);
    crash();
    uint64_t count = 0;
    struct journal_walk_result walk;
    ck_assert_int_eq(journal_walk(disk, 1, NULL, NULL, &walk, error), JOURNAL_OK);
    ck_assert_msg(!walk.damaged, "%s", walk.damage);
    ck_assert_uint_eq(walk.batches, maker.count);
    ck_assert_uint_eq(walk.last_seq, maker_tail(&maker));
    ck_assert(digest_equal(walk.digest, maker_digest(&maker)));
    ck_assert_int_eq(journal_walk(disk, 1, count_batches, &count, &walk, error), JOURNAL_OK);
    ck_assert_uint_eq(count, 200);
    ck_assert_int_eq(try_open(0), JOURNAL_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal");
    TCase *tcase = tcase_create("journal");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, format_refuses_what_is_there);
    tcase_add_test(tcase, open_tells_what_is_wrong);
    tcase_add_test(tcase, everything_committed_is_there_again);
    tcase_add_test(tcase, idle_time_brings_the_mark_up);
    tcase_add_test(tcase, lost_indexes_are_rebuilt);
    tcase_add_loop_test(tcase, damage_in_the_last_segment_is_reported_and_healed, 0, 7);
    tcase_add_test(tcase, what_cannot_be_read_is_not_torn);
    tcase_add_test(tcase, an_unreadable_header_is_not_a_leftover);
    tcase_add_test(tcase, an_unreadable_mark_is_not_an_old_one);
    tcase_add_test(tcase, the_walk_tells_the_unreadable_from_a_torn_tail);
    tcase_add_test(tcase, damage_in_an_old_segment_is_found_by_reading);
    tcase_add_loop_test(tcase, the_block_of_the_marks_end_is_healed, 0, 16);
    tcase_add_loop_test(tcase, whole_pieces_can_be_missing, 0, 5);
    tcase_add_test(tcase, cuts_go_across_segments);
    tcase_add_loop_test(tcase, a_cut_heals_what_it_keeps, 0, 2);
    tcase_add_test(tcase, a_failed_cut_can_be_repeated);
    tcase_add_loop_test(tcase, promises_are_durable_and_grow, 0, 2);
    tcase_add_loop_test(tcase, a_full_disk_suspends_and_clears, 0, 2);
    tcase_add_test(tcase, reads_and_times);
    tcase_add_test(tcase, the_walk_sees_it_all_and_stops_when_told);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
