/* The journal's contract, case by case, on the fake disk: format and its refusals, recovery of what
 * was committed, indexes lost, cuts across segments, promises, full disks, reads and times, and the
 * offline walk. Damage has a file of its own. */
#include <errno.h>

#include "tests/journal/store.h"

static struct store store;

static const struct journal_options OPTIONS = {
    .segment_bytes = 131072, .commit_bytes = 65536, .recent_bytes = 65536, .segments_max = 100
};

static void setup(void)
{
    store_begin(&store, &OPTIONS);
}

static void teardown(void)
{
    store_end(&store);
}

/* ---- open and format ------------------------------------------------------------------------- */

START_TEST(format_refuses_what_is_there)
{
    ck_assert_int_eq(
        journal_format(store.disk, &store.options, MADE_STREAM, STORE, NULL, 0, store.error),
        JOURNAL_NOT_EMPTY);
    struct fake_disk *other = fake_disk_new(2);
    fake_disk_put(other, "holiday.jpg", "x", 1);
    ck_assert_int_eq(journal_format(fake_disk_of(other), &store.options, MADE_STREAM, STORE, NULL,
                                    0, store.error),
                     JOURNAL_NOT_EMPTY);
    fake_disk_remove(other, "holiday.jpg");
    /* Killed at any of its writes, it can be done again. */
    for (uint32_t i = 0; i < 7; i++) {
        fake_disk_die_after(other, i);
        ck_assert_int_ne(journal_format(fake_disk_of(other), &store.options, MADE_STREAM, STORE,
                                        NULL, 0, store.error),
                         JOURNAL_OK);
        fake_disk_crash(other);
    }
    ck_assert_int_eq(journal_format(fake_disk_of(other), &store.options, MADE_STREAM, STORE,
                                    store.maker.made[0].bytes,
                                    store.maker.made[0].header.length - 8u, store.error),
                     JOURNAL_FOREIGN);
    ck_assert_int_eq(journal_format(fake_disk_of(other), &store.options, MADE_STREAM, STORE, NULL,
                                    0, store.error),
                     JOURNAL_OK);
    fake_disk_free(other);
}
END_TEST

START_TEST(open_tells_what_is_wrong)
{
    store_crash(&store);
    ck_assert_int_eq(store_try_open(&store, MADE_STREAM + 1), JOURNAL_FOREIGN);
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    ck_assert_uint_eq(store.report.stream, MADE_STREAM);
    ck_assert_uint_eq(store.report.store, STORE);
    ck_assert_uint_eq(store.report.tail.seq, 1);
    ck_assert_uint_eq(journal_members(store.journal)->stores[0], STORE);
    store_crash(&store);
    fake_disk_bytes(store.fake, "store")[20] ^= 1;
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_IO);
    fake_disk_bytes(store.fake, "store")[20] ^= 1;
    fake_disk_bytes(store.fake, "mark")[20] ^= 1; /* one slot is enough, as both hold everything */
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    ck_assert_uint_eq(store.report.tail.seq, 1);
    store_crash(&store);
    fake_disk_bytes(store.fake, "promise")[20] ^= 1;
    fake_disk_bytes(store.fake, "promise")[DISK_BLOCK + 20] ^= 1;
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_IO);
    fake_disk_remove(store.fake, "store");
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_NO_STORE);
}
END_TEST

START_TEST(everything_committed_is_there_again)
{
    store_fill(&store, 3);
    ck_assert_uint_eq(journal_durable(store.journal).seq, maker_tail(&store.maker));
    store_crash(&store);
    ck_assert_int_eq(store_try_open(&store, MADE_STREAM), JOURNAL_OK);
    ck_assert_uint_eq(store.report.tail.seq, maker_tail(&store.maker));
    ck_assert(digest_equal(store.report.digest, maker_digest(&store.maker)));
    ck_assert_uint_gt(store.report.segments, 2);
    ck_assert_uint_eq(journal_epochs(store.journal)->count, 2);
    ck_assert_uint_eq(journal_members(store.journal)->count, 3);
    ck_assert_uint_lt(store.report.batches_checked,
                      store.maker.count); /* older segments were not read */
    store_check_reads(&store);
    maker_batch(&store.maker, 2, 30, 9);
    store_append_all(&store);
    store_check_reads(&store);
    ck_assert_uint_eq(fake_disk_rewrites(store.fake), 0);
}
END_TEST

START_TEST(idle_time_brings_the_mark_up)
{
    maker_batch(&store.maker, 2, 30, 9);
    store_append_all(&store);
    (void)journal_step(store.journal, store.now_ns += 1);
    uint64_t next = journal_step(store.journal, store.now_ns += 1);
    ck_assert_uint_ne(next, UINT64_MAX);
    (void)journal_step(store.journal, next);
    store_complete_all(&store);
    store_crash(&store);
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    ck_assert_uint_eq(store.report.mark.seq, maker_tail(&store.maker));
}
END_TEST

START_TEST(lost_indexes_are_rebuilt)
{
    store_fill(&store, 3);
    store_crash(&store);
    ck_assert(fake_disk_has(store.fake, "index-00000001"));
    ck_assert(fake_disk_has(store.fake, "index-00000002"));
    fake_disk_remove(store.fake, "index-00000001");
    fake_disk_bytes(store.fake, "index-00000002")[40] ^= 4;
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    ck_assert(!store.report.damaged);
    ck_assert(fake_disk_has(store.fake, "index-00000001"));
    store_check_reads(&store);
    store_crash(&store);
    /* Damage in the entries, which open does not look at: reads walk instead. */
    fake_disk_bytes(store.fake, "index-00000001")[DISK_BLOCK + 30] ^= 4;
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    store_check_reads(&store);
}
END_TEST

/* ---- cut, promise, full ---------------------------------------------------------------------- */

START_TEST(cuts_go_across_segments)
{
    store_fill(&store, 3);
    static const uint64_t down_to[] = { 300, 205, 115, 40, 1 };
    for (uint32_t i = 0; i < 5; i++) {
        const struct made *made = maker_find(&store.maker, down_to[i]);
        uint64_t seq = batch_end_seq(&made->header) - 1;
        struct digest wrong = made->header.before;
        ck_assert(!journal_cut(store.journal, seq, wrong));
        ck_assert(journal_cut(store.journal, seq, made->header.digest));
        maker_cut(&store.maker, seq);
        ck_assert_uint_eq(journal_tail(store.journal).seq, seq);
        ck_assert_uint_eq(journal_durable(store.journal).seq, seq);
        ck_assert_uint_eq(journal_epochs(store.journal)->count, seq >= 51 ? 2 : 1);
        ck_assert_uint_eq(journal_members(store.journal)->count, seq >= 53 ? 3 : 1);
        if (i % 2 == 0) {
            store_crash(&store);
            ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
            ck_assert_uint_eq(store.report.tail.seq, seq);
            ck_assert(!store.report.damaged);
        }
        for (uint32_t k = 0; k < 5; k++)
            maker_batch(&store.maker, 1, 700, (uint8_t)(100 + k));
        store_append_all(&store);
        store_check_reads(&store);
    }
    struct digest none = { 0, 0 };
    ck_assert(journal_cut(store.journal, 0, none));
    ck_assert_uint_eq(journal_tail(store.journal).seq, 0);
    store_crash(&store);
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    ck_assert_uint_eq(store.report.tail.seq, 0);
}
END_TEST

START_TEST(a_failed_cut_can_be_repeated)
{
    store_fill(&store, 2);
    const struct made *made = maker_find(&store.maker, 100);
    fake_disk_refuse(store.fake, EIO, true);
    ck_assert(!journal_cut(store.journal, 100, made->header.before));
    uint64_t seq = batch_end_seq(&made->header) - 1;
    ck_assert(!journal_cut(store.journal, seq, made->header.digest));
    ck_assert_uint_eq(journal_tail(store.journal).seq, maker_tail(&store.maker));
    fake_disk_refuse(store.fake, 0, false);
    ck_assert(journal_cut(store.journal, seq, made->header.digest));
    maker_cut(&store.maker, seq);
    maker_batch(&store.maker, 1, 10, 1);
    store_append_all(&store);
    store_check_reads(&store);
}
END_TEST

START_TEST(promises_are_durable_and_grow)
{
    struct epoch three = { .number = 3, .candidate = 9 }, two = { .number = 2, .candidate = 9 };
    ck_assert(journal_promise(store.journal, three));
    ck_assert(!journal_promise(store.journal, (struct epoch) { .number = 4 }));
    ck_assert_uint_eq(journal_promised(store.journal).number, 0);
    store_complete_all(&store);
    ck_assert(epoch_equal(journal_promised(store.journal), three));
    ck_assert(!journal_promise(store.journal, two));
    ck_assert(!journal_promise(store.journal, three));
    store_crash(&store);
    fake_disk_bytes(store.fake, "promise")[(uint32_t)_i * DISK_BLOCK + 30] ^=
        1; /* either may decay */
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    ck_assert(epoch_equal(store.report.promised, three));
}
END_TEST

START_TEST(a_full_disk_suspends_and_clears)
{
    fake_disk_refuse(store.fake, _i == 0 ? ENOSPC : EIO, false);
    for (uint32_t i = 0; i < 400; i++)
        maker_batch(&store.maker, 1, 1050, 7);
    uint64_t refused = 0;
    for (uint32_t i = 0; i < 2000; i++) {
        const struct made *next = maker_find(&store.maker, journal_tail(store.journal).seq + 1);
        if (!journal_append(store.journal, next->bytes, &next->header))
            refused++;
        journal_commit(store.journal);
        store_complete_all(&store);
        (void)journal_step(store.journal, store.now_ns += 50000000);
    }
    ck_assert_uint_gt(refused, 1000);
    ck_assert(journal_full(store.journal));
    ck_assert_uint_eq(journal_durable(store.journal).seq, 1);
    ck_assert_uint_eq(journal_counters(store.journal)[COUNTER_JOURNAL_FULL], 1);
    fake_disk_refuse(store.fake, 0, false);
    for (uint32_t i = 0; i < 100; i++) {
        (void)journal_step(store.journal, store.now_ns += 1000000000);
        store_complete_all(&store);
    }
    ck_assert(!journal_full(store.journal));
    store_append_all(&store);
    ck_assert_uint_eq(journal_durable(store.journal).seq, maker_tail(&store.maker));
    store_check_reads(&store);
    ck_assert_uint_eq(fake_disk_rewrites(store.fake), 0);
}
END_TEST

START_TEST(reads_and_times)
{
    store_fill(&store, 3);
    struct journal_read read = { .first_seq = 0,
                                 .buffer = store.buffer,
                                 .capacity = STORE_BUFFER_BYTES };
    ck_assert(journal_read_begin(store.journal, &read));
    ck_assert_int_eq(read.error, -ENOENT);
    read.first_seq = maker_tail(&store.maker) + 1;
    ck_assert(journal_read_begin(store.journal, &read));
    ck_assert_int_eq(read.error, -ENOENT);
    uint32_t length;
    const uint8_t *newest = journal_recent(store.journal, maker_tail(&store.maker), &length);
    ck_assert_ptr_nonnull(newest);
    ck_assert_mem_eq(newest, store.maker.made[store.maker.count - 1].bytes, length);
    ck_assert_ptr_null(journal_recent(store.journal, 1, &length));
    read.first_seq = 2;
    ck_assert(journal_read_begin(store.journal, &read));
    ck_assert(!read.done);
    journal_read_cancel(store.journal, &read);
    store_complete_all(&store);
    ck_assert(!read.done);
    ck_assert(journal_idle(store.journal));
    for (uint32_t i = 0; i < store.maker.count; i += 7) {
        const struct batch_header *h = &store.maker.made[i].header;
        ck_assert_uint_eq(journal_seq_at_time(store.journal, h->timestamp_ns), h->first_seq);
        ck_assert_uint_eq(journal_seq_at_time(store.journal, h->timestamp_ns - 3), h->first_seq);
    }
    ck_assert_uint_eq(journal_seq_at_time(store.journal, 0), 1);
    ck_assert_uint_eq(journal_seq_at_time(store.journal, store.maker.time_ns + 1),
                      maker_tail(&store.maker) + 1);
}
END_TEST

static bool count_batches(void *ctx, const uint8_t *bytes, const struct batch_header *header,
                          uint64_t segment, uint64_t offset)
{
    (void)segment;
    (void)offset;
    uint64_t *count = ctx;
    const struct made *made = maker_find(&store.maker, header->first_seq);
    ck_assert_mem_eq(bytes, made->bytes, made->header.length);
    return ++*count < 200;
}

START_TEST(the_walk_sees_it_all_and_stops_when_told)
{
    store_fill(&store, 3);
    store_crash(&store);
    uint64_t count = 0;
    struct journal_walk_result walk;
    ck_assert_int_eq(journal_walk(store.disk, 1, NULL, NULL, &walk, store.error), JOURNAL_OK);
    ck_assert_msg(!walk.damaged, "%s", walk.damage);
    ck_assert_uint_eq(walk.batches, store.maker.count);
    ck_assert_uint_eq(walk.last_seq, maker_tail(&store.maker));
    ck_assert(digest_equal(walk.digest, maker_digest(&store.maker)));
    ck_assert_int_eq(journal_walk(store.disk, 1, count_batches, &count, &walk, store.error),
                     JOURNAL_OK);
    ck_assert_uint_eq(count, 200);
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
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
    tcase_add_test(tcase, cuts_go_across_segments);
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
