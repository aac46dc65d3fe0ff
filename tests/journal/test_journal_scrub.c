/* Scrub and its healing, and runs that acknowledge before syncing, on the fake disk: bits are
 * flipped in segments that nobody reads, and the scrub must find each of them, keep the store
 * recording meanwhile, and leave every byte as it was offered once the pieces are put back. Boots
 * change under a store to see which ends it takes for a loss. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

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

static struct journal_options options;

static void open_store(void)
{
    enum journal_error code;
    j = journal_open(disk, &options, MADE_STREAM, &report, &code, error);
    ck_assert_msg(j != NULL, "%s", error);
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
    for (uint32_t i = 0; i < 100; i++) {
        journal_commit(j);
        complete_all();
        (void)journal_step(j, now_ns += 10000000);
    }
    ck_assert(journal_idle(j));
}

static void crash(void)
{
    fake_disk_crash(fake);
    journal_close(j);
    j = NULL;
}

static void setup(void)
{
    options = (struct journal_options) {
        .segment_bytes = 1 << 20, .commit_bytes = 65536, .recent_bytes = 65536, .segments_max = 100
    };
    fake = fake_disk_new(1);
    disk = fake_disk_of(fake);
    now_ns = 1;
    buffer = aligned_alloc(DISK_BLOCK, BUFFER_BYTES);
    maker_init(&maker);
    maker_genesis(&maker, STORE);
    ck_assert_int_eq(journal_format(disk, &options, MADE_STREAM, STORE, maker.made[0].bytes,
                                    maker.made[0].header.length, error),
                     JOURNAL_OK);
    open_store();
}

static void teardown(void)
{
    fake_disk_crash(fake);
    journal_close(j);
    maker_free(&maker);
    fake_disk_free(fake);
    free(buffer);
}

/* A little more than `segments` of them, with a second epoch, and members that change in each. */
static void fill(uint32_t segments)
{
    for (uint32_t i = 0; i < segments * 900; i++) {
        if (i == 50)
            maker.epoch = (struct epoch) { .number = 1, .candidate = 5 };
        if (i % 300 == 60)
            maker_members(&maker, 1 + i / 300);
        maker_batch(&maker, 1, 1050, (uint8_t)(i + 1));
    }
    append_all();
}

/* One pass; how many pieces were read. */
static uint32_t scrub(void)
{
    uint32_t pieces = 0;
    for (uint32_t i = 0; i < 10000; i++) {
        if (journal_scrub(j) == JOURNAL_SCRUB_END)
            return pieces;
        ck_assert(journal_scrubbing(j));
        ck_assert(!journal_idle(j));
        complete_all();
        ck_assert(!journal_scrubbing(j));
        pieces++;
    }
    ck_abort_msg("the pass does not end");
}

static uint64_t counted(enum counter c)
{
    return journal_counters(j)[c];
}

static void heal_all(void)
{
    for (uint32_t i = 0; i < 10000 && !journal_proven(j); i++) {
        /* The last one's turn first: any of them may be healed next. */
        uint64_t first_seq, end_seq;
        journal_damage(j, journal_damage_count(j) - 1, &first_seq, &end_seq);
        ck_assert_uint_lt(first_seq, end_seq);
        const struct made *made = maker_find(&maker, first_seq);
        const struct made *wrong = maker_find(&maker, batch_end_seq(&made->header));
        if (wrong != NULL && wrong->header.first_seq < end_seq)
            ck_assert(!journal_heal(j, wrong->bytes, &wrong->header));
        ck_assert(journal_heal(j, made->bytes, &made->header));
    }
    ck_assert(journal_proven(j));
}

static void check_reads(void)
{
    for (uint64_t seq = 1; seq <= maker_tail(&maker);) {
        struct journal_read read = { .first_seq = seq, .buffer = buffer, .capacity = BUFFER_BYTES };
        ck_assert(journal_read_begin(j, &read));
        complete_all();
        ck_assert(read.done);
        ck_assert_msg(read.error == 0, "seq %lu: %d", seq, read.error);
        for (const uint8_t *at = read.batches; at < read.batches + read.length;) {
            const struct made *made = maker_find(&maker, seq);
            ck_assert_mem_eq(at, made->bytes, made->header.length);
            at += journal_aligned(made->header.length);
            seq = batch_end_seq(&made->header);
        }
    }
}

static uint8_t *segment(uint32_t number)
{
    char name[DISK_NAME_MAX + 1];
    snprintf(name, sizeof name, "segment-%08u", number);
    uint8_t *bytes = fake_disk_bytes(fake, name);
    ck_assert_ptr_nonnull(bytes);
    return bytes;
}

/* ---- scrub ----------------------------------------------------------------------------------- */

START_TEST(a_sound_journal_is_read_whole_and_nothing_is_found)
{
    ck_assert_int_eq(journal_scrub(j), JOURNAL_SCRUB_END); /* no closed segment yet */
    fill(3);
    uint32_t pieces = scrub();
    ck_assert_uint_ge(pieces, 8);
    ck_assert_uint_ge(counted(COUNTER_SCRUBBED_BYTES), UINT64_C(2) << 20);
    ck_assert_uint_eq(counted(COUNTER_SCRUB_PASSES), 1);
    ck_assert_uint_eq(counted(COUNTER_SCRUB_FOUND), 0);
    ck_assert_uint_eq(scrub(), pieces);
    ck_assert_uint_eq(counted(COUNTER_SCRUB_PASSES), 2);
    ck_assert(journal_proven(j));
    ck_assert_uint_eq(fake_disk_rewrites(fake), 0);
}
END_TEST

/* Anywhere: in a first batch, across pieces, in a last one. */
START_TEST(rot_is_found_healed_and_never_stops_recording)
{
    static const uint32_t blocks[] = { 1, 3, 62, 63, 64, 65, 127, 200, 250 };
    fill(3);
    segment(2)[blocks[_i] * DISK_BLOCK + 1000] ^= 0x20;
    (void)scrub();
    ck_assert_uint_eq(counted(COUNTER_SCRUB_FOUND), 1);
    ck_assert(!journal_proven(j));
    ck_assert(journal_tail_proven(j));
    ck_assert_uint_eq(journal_damage_count(j), 1);
    fill(1); /* it goes on recording */
    ck_assert_uint_eq(journal_durable(j).seq, maker_tail(&maker));
    (void)scrub(); /* what is known is not found again */
    ck_assert_uint_eq(counted(COUNTER_SCRUB_FOUND), 1);
    heal_all();
    ck_assert_uint_ge(counted(COUNTER_JOURNAL_HEALED), 1);
    ck_assert_uint_le(counted(COUNTER_JOURNAL_HEALED), 2);
    check_reads();
    ck_assert(!fake_disk_has(fake, "index-00000002"));
    (void)scrub();
    ck_assert_uint_eq(counted(COUNTER_SCRUB_FOUND), 1);
    ck_assert(fake_disk_has(fake, "index-00000002")); /* trusted again */
    crash();
    open_store();
    ck_assert(!report.damaged);
    check_reads();
    struct journal_walk_result walk;
    ck_assert_int_eq(journal_walk(disk, 1, NULL, NULL, &walk, error), JOURNAL_OK);
    ck_assert_msg(!walk.damaged, "%s", walk.damage);
    ck_assert(digest_equal(walk.digest, maker_digest(&maker)));
    ck_assert_uint_eq(fake_disk_rewrites(fake), 0);
}
END_TEST

START_TEST(several_pieces_heal_in_any_order)
{
    fill(4);
    for (uint32_t number = 1; number <= 3; number++) {
        segment(number)[number * 20 * DISK_BLOCK] ^= 1;
        segment(number)[(number * 20 + 40) * DISK_BLOCK] ^= 1;
    }
    (void)scrub();
    ck_assert_uint_eq(journal_damage_count(j), 3);
    ck_assert_uint_eq(counted(COUNTER_SCRUB_FOUND), 3);
    heal_all();
    ck_assert_uint_ge(counted(COUNTER_JOURNAL_HEALED), 6);
    check_reads();
}
END_TEST

/* Found, and the process ends before it is healed: then it is for recovery to find, and until it is
 * healed the store does not acknowledge. */
START_TEST(what_recovery_finds_stops_acknowledging)
{
    fill(3);
    segment(1)[30 * DISK_BLOCK] ^= 1;
    (void)scrub();
    ck_assert(journal_tail_proven(j));
    crash();
    open_store();
    ck_assert(report.damaged);
    ck_assert(!journal_tail_proven(j));
    heal_all();
    ck_assert(journal_tail_proven(j));
    check_reads();
}
END_TEST

START_TEST(decayed_headers_and_indexes_are_written_anew)
{
    fill(4);
    uint8_t *header = malloc(DISK_BLOCK);
    ck_assert_ptr_nonnull(header);
    for (uint32_t number = 1; number <= 3; number++) {
        memcpy(header, segment(number), DISK_BLOCK);
        segment(number)[40] ^= 1;
        (void)scrub();
        ck_assert_mem_eq(segment(number), header, DISK_BLOCK);
        ck_assert_uint_eq(counted(COUNTER_SCRUB_FOUND), number);
    }
    free(header);
    ck_assert(journal_proven(j));
    fake_disk_bytes(fake, "index-00000001")[DISK_BLOCK + 30] ^= 4;
    fake_disk_bytes(fake, "index-00000002")[40] ^= 4;
    fake_disk_remove(fake, "index-00000003");
    (void)scrub();
    crash();
    open_store();
    ck_assert_uint_lt(report.batches_checked, 1000); /* of the last segment only */
    ck_assert_uint_eq(journal_members(j)->count, 12);
    check_reads();
}
END_TEST

/* Behind a hole the history is not known: the header waits until it is. */
START_TEST(a_header_behind_a_hole_waits_for_the_next_pass)
{
    fill(4);
    segment(1)[40 * DISK_BLOCK] ^= 1;
    segment(2)[40] ^= 1;
    (void)scrub();
    ck_assert_uint_eq(journal_damage_count(j), 1);
    heal_all();
    (void)scrub();
    crash();
    open_store();
    ck_assert(!report.damaged);
    check_reads();
}
END_TEST

START_TEST(a_cut_ends_the_pass)
{
    fill(4);
    for (uint32_t pieces = 0; pieces < 14; pieces++) {
        ck_assert_int_eq(journal_scrub(j), JOURNAL_SCRUB_READING);
        complete_all();
    }
    ck_assert_int_eq(journal_scrub(j), JOURNAL_SCRUB_READING);
    ck_assert_int_eq(journal_scrub(j), JOURNAL_SCRUB_READING); /* the same */
    const struct made *made = maker_find(&maker, 1000);
    uint64_t seq = batch_end_seq(&made->header) - 1;
    ck_assert(journal_cut(j, seq, made->header.digest));
    complete_all();
    maker_cut(&maker, seq);
    ck_assert(journal_idle(j));
    ck_assert_uint_eq(scrub(), 5);
    maker.epoch.number++;
    for (uint32_t i = 0; i < 1800; i++)
        maker_batch(&maker, 1, 1050, (uint8_t)(i + 7));
    append_all();
    (void)scrub();
    ck_assert_uint_eq(counted(COUNTER_SCRUB_FOUND), 0);
    check_reads();
}
END_TEST

/* Two faults at once: a hole at the end of the journal that is closed while a cut has failed half
 * way. Making the end anew must not undo the cut. */
START_TEST(a_cut_to_be_repeated_comes_before_healing)
{
    for (uint32_t i = 0; i < 300; i++)
        maker_batch(&maker, 1, 1050, (uint8_t)i);
    append_all();
    (void)journal_step(j, now_ns += 1000000000);
    (void)journal_step(j, now_ns += 1000000000);
    complete_all();
    crash();
    segment(1)[60 * DISK_BLOCK] ^= 1;
    open_store();
    ck_assert(!journal_tail_proven(j));
    const struct made *lower = maker_find(&maker, 20);
    uint64_t seq = batch_end_seq(&lower->header) - 1;
    fake_disk_refuse(fake, EIO, true);
    ck_assert(!journal_cut(j, seq, lower->header.digest));
    fake_disk_refuse(fake, 0, false);
    const struct made *missing = maker_find(&maker, journal_damaged_seq(j));
    ck_assert(!journal_heal(j, missing->bytes, &missing->header));
    (void)journal_step(j, now_ns += 1000000000);
    ck_assert(journal_cut(j, seq, lower->header.digest));
    ck_assert_uint_eq(journal_tail(j).seq, seq);
    ck_assert(journal_proven(j));
    ck_assert_uint_eq(journal_damage_count(j), 0);
    maker_cut(&maker, seq);
    maker_batch(&maker, 1, 10, 1);
    append_all();
    crash();
    open_store();
    ck_assert_uint_eq(report.tail.seq, maker_tail(&maker));
    check_reads();
}
END_TEST

/* ---- runs that acknowledge before syncing ---------------------------------------------------- */

static void run(bool unsynced, uint64_t boot)
{
    options.unsynced = unsynced;
    options.boot = boot;
    open_store();
}

static void record(void)
{
    for (uint32_t i = 0; i < 40; i++)
        maker_batch(&maker, 1, 700, (uint8_t)i);
    append_all();
}

START_TEST(a_host_that_crashed_under_an_unsynced_run_may_have_lost)
{
    crash();
    run(true, 1);
    ck_assert(!report.may_have_lost);
    record();
    crash(); /* of the process */
    run(true, 1);
    ck_assert(!report.may_have_lost);
    ck_assert(journal_proven(j));
    record();
    crash();
    for (uint32_t i = 0; i < 3; i++) { /* it stays so, whatever is recorded, and in every mode */
        run(i != 1, 2 + i / 2);
        ck_assert(report.may_have_lost);
        ck_assert(journal_may_have_lost(j));
        ck_assert(!journal_proven(j));
        ck_assert(!journal_tail_proven(j));
        ck_assert(!journal_end(j) || !options.unsynced);
        record();
        if (i == 1) {
            uint64_t seq = journal_durable(j).seq - 5;
            const struct made *made = maker_find(&maker, seq);
            ck_assert(journal_cut(j, seq, made->header.digest));
            maker_cut(&maker, seq);
        }
        crash();
    }
    run(true, 0);
    ck_assert(report.may_have_lost);
}
END_TEST

START_TEST(a_clean_end_is_no_loss)
{
    crash();
    run(true, 1);
    record();
    ck_assert(journal_end(j));
    crash();
    run(true, 2);
    ck_assert(!report.may_have_lost);
    ck_assert_uint_eq(report.tail.seq, maker_tail(&maker));
    record();
    ck_assert(journal_end(j));
    crash();
    run(false, 3); /* syncing from now on */
    ck_assert(!report.may_have_lost);
    record();
    crash();
    run(false, 4);
    ck_assert(!report.may_have_lost);
    crash();
    run(true, 5);
    ck_assert(!report.may_have_lost);
    crash();
    run(true, 6); /* what ended cleanly once did not this time */
    ck_assert(report.may_have_lost);
}
END_TEST

/* Without a boot nothing tells a crash of the host from one of the process. */
START_TEST(an_unknown_boot_is_taken_for_another)
{
    crash();
    run(true, 0);
    record();
    ck_assert(journal_end(j));
    crash();
    run(true, 0);
    ck_assert(!report.may_have_lost);
    crash();
    run(true, 0);
    ck_assert(report.may_have_lost);
}
END_TEST

/* Torn on the way into the run, or out of it: never a mark that says less than it should. */
START_TEST(the_run_is_marked_before_anything_is_acknowledged)
{
    crash();
    run(true, 1);
    record();
    ck_assert(journal_end(j));
    crash();
    options.boot = 2;
    enum journal_error code;
    fake_disk_die_after(fake, (uint32_t)_i);
    j = journal_open(disk, &options, MADE_STREAM, &report, &code, error);
    if (j == NULL) {
        ck_assert_int_eq(code, JOURNAL_IO);
    } else {
        journal_close(j);
        j = NULL;
    }
    bool opened = code == JOURNAL_OK;
    fake_disk_crash(fake);
    fake_disk_die_after(fake, UINT32_MAX);
    run(true, 3);
    ck_assert(!opened || report.may_have_lost);
    ck_assert_uint_eq(report.tail.seq, maker_tail(&maker));
}
END_TEST

START_TEST(an_end_with_something_in_flight_is_none)
{
    crash();
    run(true, 1);
    maker_batch(&maker, 1, 10, 1);
    const struct made *next = maker_find(&maker, 2);
    ck_assert(journal_append(j, next->bytes, &next->header));
    ck_assert(!journal_end(j));
    journal_commit(j);
    ck_assert(!journal_end(j));
    complete_all();
    fake_disk_refuse(fake, EIO, true);
    ck_assert(!journal_end(j));
    fake_disk_refuse(fake, 0, false);
    ck_assert(journal_end(j));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal_scrub");
    TCase *tcase = tcase_create("journal_scrub");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_sound_journal_is_read_whole_and_nothing_is_found);
    tcase_add_loop_test(tcase, rot_is_found_healed_and_never_stops_recording, 0, 9);
    tcase_add_test(tcase, several_pieces_heal_in_any_order);
    tcase_add_test(tcase, what_recovery_finds_stops_acknowledging);
    tcase_add_test(tcase, decayed_headers_and_indexes_are_written_anew);
    tcase_add_test(tcase, a_header_behind_a_hole_waits_for_the_next_pass);
    tcase_add_test(tcase, a_cut_ends_the_pass);
    tcase_add_test(tcase, a_cut_to_be_repeated_comes_before_healing);
    tcase_add_test(tcase, a_host_that_crashed_under_an_unsynced_run_may_have_lost);
    tcase_add_test(tcase, a_clean_end_is_no_loss);
    tcase_add_test(tcase, an_unknown_boot_is_taken_for_another);
    tcase_add_loop_test(tcase, the_run_is_marked_before_anything_is_acknowledged, 0, 4);
    tcase_add_test(tcase, an_end_with_something_in_flight_is_none);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
