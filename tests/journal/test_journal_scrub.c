/* Scrub and its healing, and runs that acknowledge before syncing, on the fake disk: bits are
 * flipped in segments that nobody reads, and the scrub must find each of them, keep the store
 * recording meanwhile, and leave every byte as it was offered once the pieces are put back. Boots
 * change under a store to see which ends it takes for a loss. */
#include <errno.h>
#include <stdio.h>

#include "tests/journal/store.h"

static struct store store;

static void setup(void)
{
    store_begin(&store, &(struct journal_options) { .segment_bytes = 1 << 20,
                                                    .commit_bytes = 65536,
                                                    .recent_bytes = 65536,
                                                    .segments_max = 100 });
}

static void teardown(void)
{
    store_end(&store);
}

/* A little more than `segments` of them, with a second epoch, and members that change in each. */
static void fill(uint32_t segments)
{
    for (uint32_t i = 0; i < segments * 900; i++) {
        if (i == 50)
            store.maker.epoch = (struct epoch) { .number = 1, .candidate = 5 };
        if (i % 300 == 60)
            maker_members(&store.maker, 1 + i / 300);
        maker_batch(&store.maker, 1, 1050, (uint8_t)(i + 1));
    }
    store_append_all(&store);
}

/* One pass; how many pieces were read. */
static uint32_t scrub(void)
{
    uint32_t pieces = 0;
    for (uint32_t i = 0; i < 10000; i++) {
        if (journal_scrub(store.journal) == JOURNAL_SCRUB_END)
            return pieces;
        ck_assert(journal_scrubbing(store.journal));
        ck_assert(!journal_idle(store.journal));
        store_complete_all(&store);
        ck_assert(!journal_scrubbing(store.journal));
        pieces++;
    }
    ck_abort_msg("the pass does not end");
}

static uint64_t counted(enum counter c)
{
    return journal_counters(store.journal)[c];
}

static void heal_all(void)
{
    for (uint32_t i = 0; i < 10000 && !journal_proven(store.journal); i++) {
        /* The last one's turn first: any of them may be healed next. */
        uint64_t first_seq, end_seq;
        journal_damage(store.journal, journal_damage_count(store.journal) - 1, &first_seq,
                       &end_seq);
        ck_assert_uint_lt(first_seq, end_seq);
        const struct made *made = maker_find(&store.maker, first_seq);
        const struct made *wrong = maker_find(&store.maker, batch_end_seq(&made->header));
        if (wrong != NULL && wrong->header.first_seq < end_seq)
            ck_assert(!journal_heal(store.journal, wrong->bytes, &wrong->header));
        ck_assert(journal_heal(store.journal, made->bytes, &made->header));
    }
    ck_assert(journal_proven(store.journal));
}

static uint8_t *segment(uint32_t number)
{
    char name[DISK_NAME_MAX + 1];
    snprintf(name, sizeof name, "segment-%08u", number);
    uint8_t *bytes = fake_disk_bytes(store.fake, name);
    ck_assert_ptr_nonnull(bytes);
    return bytes;
}

/* ---- scrub ----------------------------------------------------------------------------------- */

START_TEST(a_sound_journal_is_read_whole_and_nothing_is_found)
{
    ck_assert_int_eq(journal_scrub(store.journal), JOURNAL_SCRUB_END); /* no closed segment yet */
    fill(3);
    uint32_t pieces = scrub();
    ck_assert_uint_ge(pieces, 8);
    ck_assert_uint_ge(counted(COUNTER_SCRUBBED_BYTES), UINT64_C(2) << 20);
    ck_assert_uint_eq(counted(COUNTER_SCRUB_PASSES), 1);
    ck_assert_uint_eq(counted(COUNTER_SCRUB_FOUND), 0);
    ck_assert_uint_eq(scrub(), pieces);
    ck_assert_uint_eq(counted(COUNTER_SCRUB_PASSES), 2);
    ck_assert(journal_proven(store.journal));
    ck_assert_uint_eq(fake_disk_rewrites(store.fake), 0);
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
    ck_assert(!journal_proven(store.journal));
    ck_assert(journal_tail_proven(store.journal));
    ck_assert_uint_eq(journal_damage_count(store.journal), 1);
    fill(1); /* it goes on recording */
    ck_assert_uint_eq(journal_durable(store.journal).seq, maker_tail(&store.maker));
    (void)scrub(); /* what is known is not found again */
    ck_assert_uint_eq(counted(COUNTER_SCRUB_FOUND), 1);
    heal_all();
    ck_assert_uint_ge(counted(COUNTER_JOURNAL_HEALED), 1);
    ck_assert_uint_le(counted(COUNTER_JOURNAL_HEALED), 2);
    store_check_reads(&store);
    ck_assert(!fake_disk_has(store.fake, "index-00000002"));
    (void)scrub();
    ck_assert_uint_eq(counted(COUNTER_SCRUB_FOUND), 1);
    ck_assert(fake_disk_has(store.fake, "index-00000002")); /* trusted again */
    store_crash(&store);
    store_open(&store);
    ck_assert(!store.report.damaged);
    store_check_reads(&store);
    struct journal_walk_result walk;
    ck_assert_int_eq(journal_walk(store.disk, 1, NULL, NULL, &walk, store.error), JOURNAL_OK);
    ck_assert_msg(!walk.damaged, "%s", walk.damage);
    ck_assert(digest_equal(walk.digest, maker_digest(&store.maker)));
    ck_assert_uint_eq(fake_disk_rewrites(store.fake), 0);
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
    ck_assert_uint_eq(journal_damage_count(store.journal), 3);
    ck_assert_uint_eq(counted(COUNTER_SCRUB_FOUND), 3);
    heal_all();
    ck_assert_uint_ge(counted(COUNTER_JOURNAL_HEALED), 6);
    store_check_reads(&store);
}
END_TEST

/* Found, and the process ends before it is healed: then it is for recovery to find, and until it is
 * healed the store does not acknowledge. */
START_TEST(what_recovery_finds_stops_acknowledging)
{
    fill(3);
    segment(1)[30 * DISK_BLOCK] ^= 1;
    (void)scrub();
    ck_assert(journal_tail_proven(store.journal));
    store_crash(&store);
    store_open(&store);
    ck_assert(store.report.damaged);
    ck_assert(!journal_tail_proven(store.journal));
    heal_all();
    ck_assert(journal_tail_proven(store.journal));
    store_check_reads(&store);
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
    ck_assert(journal_proven(store.journal));
    fake_disk_bytes(store.fake, "index-00000001")[DISK_BLOCK + 30] ^= 4;
    fake_disk_bytes(store.fake, "index-00000002")[40] ^= 4;
    fake_disk_remove(store.fake, "index-00000003");
    (void)scrub();
    store_crash(&store);
    store_open(&store);
    ck_assert_uint_lt(store.report.batches_checked, 1000); /* of the last segment only */
    ck_assert_uint_eq(journal_members(store.journal)->count, 12);
    store_check_reads(&store);
}
END_TEST

/* Behind a hole the history is not known: the header waits until it is. */
START_TEST(a_header_behind_a_hole_waits_for_the_next_pass)
{
    fill(4);
    segment(1)[40 * DISK_BLOCK] ^= 1;
    segment(2)[40] ^= 1;
    (void)scrub();
    ck_assert_uint_eq(journal_damage_count(store.journal), 1);
    heal_all();
    (void)scrub();
    store_crash(&store);
    store_open(&store);
    ck_assert(!store.report.damaged);
    store_check_reads(&store);
}
END_TEST

START_TEST(a_cut_ends_the_pass)
{
    fill(4);
    for (uint32_t pieces = 0; pieces < 14; pieces++) {
        ck_assert_int_eq(journal_scrub(store.journal), JOURNAL_SCRUB_READING);
        store_complete_all(&store);
    }
    ck_assert_int_eq(journal_scrub(store.journal), JOURNAL_SCRUB_READING);
    ck_assert_int_eq(journal_scrub(store.journal), JOURNAL_SCRUB_READING); /* the same */
    const struct made *made = maker_find(&store.maker, 1000);
    uint64_t seq = batch_end_seq(&made->header) - 1;
    ck_assert(journal_cut(store.journal, seq, made->header.digest));
    store_complete_all(&store);
    maker_cut(&store.maker, seq);
    ck_assert(journal_idle(store.journal));
    ck_assert_uint_eq(scrub(), 5);
    store.maker.epoch.number++;
    for (uint32_t i = 0; i < 1800; i++)
        maker_batch(&store.maker, 1, 1050, (uint8_t)(i + 7));
    store_append_all(&store);
    (void)scrub();
    ck_assert_uint_eq(counted(COUNTER_SCRUB_FOUND), 0);
    store_check_reads(&store);
}
END_TEST

/* Two faults at once: a hole at the end of the journal that is closed while a cut has failed half
 * way. Making the end anew must not undo the cut. */
START_TEST(a_cut_to_be_repeated_comes_before_healing)
{
    for (uint32_t i = 0; i < 300; i++)
        maker_batch(&store.maker, 1, 1050, (uint8_t)i);
    store_append_all(&store);
    (void)journal_step(store.journal, store.now_ns += 1000000000);
    (void)journal_step(store.journal, store.now_ns += 1000000000);
    store_complete_all(&store);
    store_crash(&store);
    segment(1)[60 * DISK_BLOCK] ^= 1;
    store_open(&store);
    ck_assert(!journal_tail_proven(store.journal));
    const struct made *lower = maker_find(&store.maker, 20);
    uint64_t seq = batch_end_seq(&lower->header) - 1;
    fake_disk_refuse(store.fake, EIO, true);
    ck_assert(!journal_cut(store.journal, seq, lower->header.digest));
    fake_disk_refuse(store.fake, 0, false);
    const struct made *missing = maker_find(&store.maker, journal_damaged_seq(store.journal));
    ck_assert(!journal_heal(store.journal, missing->bytes, &missing->header));
    (void)journal_step(store.journal, store.now_ns += 1000000000);
    ck_assert(journal_cut(store.journal, seq, lower->header.digest));
    ck_assert_uint_eq(journal_tail(store.journal).seq, seq);
    ck_assert(journal_proven(store.journal));
    ck_assert_uint_eq(journal_damage_count(store.journal), 0);
    maker_cut(&store.maker, seq);
    maker_batch(&store.maker, 1, 10, 1);
    store_append_all(&store);
    store_crash(&store);
    store_open(&store);
    ck_assert_uint_eq(store.report.tail.seq, maker_tail(&store.maker));
    store_check_reads(&store);
}
END_TEST

/* ---- runs that acknowledge before syncing ---------------------------------------------------- */

static void run(bool unsynced, uint64_t boot)
{
    store.options.unsynced = unsynced;
    store.options.boot = boot;
    store_open(&store);
}

static void record(void)
{
    for (uint32_t i = 0; i < 40; i++)
        maker_batch(&store.maker, 1, 700, (uint8_t)i);
    store_append_all(&store);
}

START_TEST(a_host_that_crashed_under_an_unsynced_run_may_have_lost)
{
    store_crash(&store);
    run(true, 1);
    ck_assert(!store.report.may_have_lost);
    record();
    store_crash(&store); /* of the process */
    run(true, 1);
    ck_assert(!store.report.may_have_lost);
    ck_assert(journal_proven(store.journal));
    record();
    store_crash(&store);
    for (uint32_t i = 0; i < 3; i++) { /* it stays so, whatever is recorded, and in every mode */
        run(i != 1, 2 + i / 2);
        ck_assert(store.report.may_have_lost);
        ck_assert(journal_may_have_lost(store.journal));
        ck_assert(!journal_proven(store.journal));
        ck_assert(!journal_tail_proven(store.journal));
        ck_assert(!journal_end(store.journal) || !store.options.unsynced);
        record();
        if (i == 1) {
            uint64_t seq = journal_durable(store.journal).seq - 5;
            const struct made *made = maker_find(&store.maker, seq);
            ck_assert(journal_cut(store.journal, seq, made->header.digest));
            maker_cut(&store.maker, seq);
        }
        store_crash(&store);
    }
    run(true, 0);
    ck_assert(store.report.may_have_lost);
}
END_TEST

START_TEST(a_clean_end_is_no_loss)
{
    store_crash(&store);
    run(true, 1);
    record();
    ck_assert(journal_end(store.journal));
    store_crash(&store);
    run(true, 2);
    ck_assert(!store.report.may_have_lost);
    ck_assert_uint_eq(store.report.tail.seq, maker_tail(&store.maker));
    record();
    ck_assert(journal_end(store.journal));
    store_crash(&store);
    run(false, 3); /* syncing from now on */
    ck_assert(!store.report.may_have_lost);
    record();
    store_crash(&store);
    run(false, 4);
    ck_assert(!store.report.may_have_lost);
    store_crash(&store);
    run(true, 5);
    ck_assert(!store.report.may_have_lost);
    store_crash(&store);
    run(true, 6); /* what ended cleanly once did not this time */
    ck_assert(store.report.may_have_lost);
}
END_TEST

/* Without a boot nothing tells a crash of the host from one of the process. */
START_TEST(an_unknown_boot_is_taken_for_another)
{
    store_crash(&store);
    run(true, 0);
    record();
    ck_assert(journal_end(store.journal));
    store_crash(&store);
    run(true, 0);
    ck_assert(!store.report.may_have_lost);
    store_crash(&store);
    run(true, 0);
    ck_assert(store.report.may_have_lost);
}
END_TEST

/* Torn on the way into the run, or out of it: never a mark that says less than it should. */
START_TEST(the_run_is_marked_before_anything_is_acknowledged)
{
    store_crash(&store);
    run(true, 1);
    record();
    ck_assert(journal_end(store.journal));
    store_crash(&store);
    store.options.boot = 2;
    enum journal_error code;
    fake_disk_die_after(store.fake, (uint32_t)_i);
    store.journal =
        journal_open(store.disk, &store.options, MADE_STREAM, &store.report, &code, store.error);
    if (store.journal == NULL) {
        ck_assert_int_eq(code, JOURNAL_IO);
    } else {
        journal_close(store.journal);
        store.journal = NULL;
    }
    bool opened = code == JOURNAL_OK;
    fake_disk_crash(store.fake);
    fake_disk_die_after(store.fake, UINT32_MAX);
    run(true, 3);
    ck_assert(!opened || store.report.may_have_lost);
    ck_assert_uint_eq(store.report.tail.seq, maker_tail(&store.maker));
}
END_TEST

START_TEST(an_end_with_something_in_flight_is_none)
{
    store_crash(&store);
    run(true, 1);
    maker_batch(&store.maker, 1, 10, 1);
    const struct made *next = maker_find(&store.maker, 2);
    ck_assert(journal_append(store.journal, next->bytes, &next->header));
    ck_assert(!journal_end(store.journal));
    journal_commit(store.journal);
    ck_assert(!journal_end(store.journal));
    store_complete_all(&store);
    fake_disk_refuse(store.fake, EIO, true);
    ck_assert(!journal_end(store.journal));
    fake_disk_refuse(store.fake, 0, false);
    ck_assert(journal_end(store.journal));
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
