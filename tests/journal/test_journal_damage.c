/* What recovery makes of damage, on the fake disk: bits are flipped, blocks become unreadable,
 * whole pieces go missing, in the mark, in headers and in batches. What was acknowledged is there
 * or known to be missing, never taken for a torn tail, and healed byte for byte. */
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

static void heal_all(void)
{
    ck_assert(!journal_proven(store.journal));
    for (uint32_t i = 0; i < 10000 && !journal_proven(store.journal); i++) {
        uint64_t seq = journal_damaged_seq(store.journal);
        ck_assert_uint_lt(seq, journal_damaged_end_seq(store.journal));
        const struct made *made = maker_find(&store.maker, seq);
        const struct made *wrong = maker_find(&store.maker, made->header.first_seq + 1);
        if (wrong != NULL && wrong != made)
            ck_assert(!journal_heal(store.journal, wrong->bytes, &wrong->header));
        ck_assert(journal_heal(store.journal, made->bytes, &made->header));
    }
    ck_assert(journal_proven(store.journal));
    ck_assert_uint_eq(journal_damaged_seq(store.journal), 0);
}

START_TEST(damage_in_the_last_segment_is_reported_and_healed)
{
    store_fill(&store, 1);
    store_crash(&store);
    uint8_t *bytes = fake_disk_bytes(store.fake, "segment-00000001");
    bytes[DISK_BLOCK * (2 + (uint32_t)_i * 4) + 100] ^= 0x10;
    struct journal_walk_result walk;
    ck_assert_int_eq(journal_walk(store.disk, 1, NULL, NULL, &walk, store.error), JOURNAL_OK);
    ck_assert(walk.damaged);
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    ck_assert(store.report.damaged);
    ck_assert_uint_eq(store.report.damaged_segment, 1);
    ck_assert_uint_eq(store.report.tail.seq, maker_tail(&store.maker));
    maker_batch(&store.maker, 1, 10, 3);
    const struct made *next = maker_find(&store.maker, maker_tail(&store.maker));
    ck_assert(!journal_append(store.journal, next->bytes, &next->header));
    if (_i == 1) { /* a crash half way loses nothing */
        const struct made *made = maker_find(&store.maker, journal_damaged_seq(store.journal));
        (void)journal_heal(store.journal, made->bytes, &made->header);
        store_crash(&store);
        ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    }
    if (!journal_proven(store.journal))
        heal_all();
    store_append_all(&store);
    store_check_reads(&store);
    ck_assert_uint_eq(journal_epochs(store.journal)->count, 2);
    ck_assert_uint_eq(journal_members(store.journal)->count, 3);
    store_crash(&store);
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    ck_assert(!store.report.damaged);
    ck_assert_int_eq(journal_walk(store.disk, 1, NULL, NULL, &walk, store.error), JOURNAL_OK);
    ck_assert_msg(!walk.damaged, "%s", walk.damage);
    ck_assert_uint_eq(walk.batches, store.maker.count);
    ck_assert(digest_equal(walk.digest, maker_digest(&store.maker)));
}
END_TEST

/* One commit of `count` batches; the mark that goes with it names the commit before. */
static void commit_once(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        maker_batch(&store.maker, 1, 1050, (uint8_t)(i + 3));
        const struct made *next = maker_find(&store.maker, maker_tail(&store.maker));
        ck_assert(journal_append(store.journal, next->bytes, &next->header));
    }
    /* Where the segment ends it takes a second one, and the next segment may have to be prepared. */
    for (uint32_t i = 0; i < 4 && journal_durable(store.journal).seq < maker_tail(&store.maker);
         i++) {
        journal_commit(store.journal);
        store_complete_all(&store);
    }
    ck_assert_uint_eq(journal_durable(store.journal).seq, maker_tail(&store.maker));
}

/* Whichever block cannot be read: what was acknowledged is there, or known to be missing, or the
 * journal does not open. It is never taken for a torn tail, and nothing is cut. */
START_TEST(what_cannot_be_read_is_not_torn)
{
    const char *name = "segment-00000001";
    for (uint32_t i = 0; i < 60; i++)
        commit_once(1);
    commit_once(9);
    store_crash(&store);
    uint32_t refused = 0, holes = 0;
    for (uint64_t at = fake_disk_size(store.fake, name); at > DISK_BLOCK; at -= DISK_BLOCK) {
        fake_disk_unreadable(store.fake, name, at - DISK_BLOCK, at);
        if (store_try_open(&store, 0) == JOURNAL_OK) {
            ck_assert_uint_eq(store.report.tail.seq, maker_tail(&store.maker));
            ck_assert_uint_eq(store.report.torn_bytes, 0);
            holes += store.report.damaged;
            store_crash(&store);
        } else {
            ck_assert_ptr_nonnull(strstr(store.error, "cannot read segment 1"));
            refused++;
        }
    }
    ck_assert_uint_ge(refused, 2);
    ck_assert_uint_gt(holes, 10);
    fake_disk_unreadable(store.fake, NULL, 0, 0);
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    ck_assert(!store.report.damaged);
    ck_assert_uint_eq(store.report.tail.seq, maker_tail(&store.maker));
    store_check_reads(&store);
}
END_TEST

/* Nor is a segment that may hold what was acknowledged taken for one that was never begun. */
START_TEST(an_unreadable_header_is_not_a_leftover)
{
    const char *name = "segment-00000002";
    for (uint32_t i = 0;; i++) {
        ck_assert_uint_lt(i, 200);
        const uint8_t *bytes = fake_disk_bytes(store.fake, name);
        if (bytes != NULL && bytes[0] != 0)
            break;
        commit_once(1);
    }
    store_crash(&store);
    fake_disk_unreadable(store.fake, name, 0, DISK_BLOCK);
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_IO);
    ck_assert_ptr_nonnull(strstr(store.error, "cannot read the header of `segment-00000002`"));
    fake_disk_unreadable(store.fake, NULL, 0, 0);
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    ck_assert_uint_eq(store.report.tail.seq, maker_tail(&store.maker));
    store_check_reads(&store);
}
END_TEST

/* A slot of the mark that the disk would not give may be the newer one: the older is not trusted.
 * */
START_TEST(an_unreadable_mark_is_not_an_old_one)
{
    for (uint32_t i = 0; i < 5; i++)
        commit_once(1);
    store_crash(&store);
    struct journal_walk_result walk;
    uint64_t half = fake_disk_size(store.fake, "mark") / 2;
    for (uint32_t i = 0; i < 2; i++) {
        fake_disk_unreadable(store.fake, "mark", i * half, i * half + DISK_BLOCK);
        ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_IO);
        ck_assert_ptr_nonnull(strstr(store.error, "the file `mark` can't be read"));
        ck_assert_int_eq(journal_walk(store.disk, 1, NULL, NULL, &walk, store.error), JOURNAL_OK);
        ck_assert(walk.damaged);
    }
    fake_disk_unreadable(store.fake, NULL, 0, 0);
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    ck_assert_uint_eq(store.report.tail.seq, maker_tail(&store.maker));
}
END_TEST

START_TEST(the_walk_tells_the_unreadable_from_a_torn_tail)
{
    for (uint32_t i = 0; i < 20; i++)
        commit_once(9);
    store_crash(&store);
    const char *name = "segment-00000001";
    struct journal_walk_result walk;
    uint64_t found = 0;
    for (uint64_t at = DISK_BLOCK; at < 16 * DISK_BLOCK; at += DISK_BLOCK) {
        fake_disk_unreadable(store.fake, name, at, at + DISK_BLOCK);
        ck_assert_int_eq(journal_walk(store.disk, 1, NULL, NULL, &walk, store.error), JOURNAL_OK);
        ck_assert_uint_eq(walk.torn_bytes, 0);
        found += walk.damaged;
    }
    ck_assert_uint_gt(found, 2);
}
END_TEST

START_TEST(damage_in_an_old_segment_is_found_by_reading)
{
    store_fill(&store, 3);
    store_crash(&store);
    fake_disk_bytes(store.fake, "segment-00000001")[DISK_BLOCK * 5 + 9] ^= 0x10;
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    ck_assert(journal_proven(store.journal)); /* not looked at yet */
    uint64_t end = 0;
    for (uint64_t seq = 1; seq < 60 && journal_proven(store.journal); seq++) {
        struct journal_read read = { .first_seq = seq,
                                     .buffer = store.buffer,
                                     .capacity = STORE_BUFFER_BYTES };
        ck_assert(journal_read_begin(store.journal, &read));
        store_complete_all(&store);
        ck_assert(read.done);
        ck_assert(read.error == 0 || read.error == -EILSEQ);
        end = seq;
    }
    ck_assert(!journal_proven(store.journal));
    ck_assert_uint_eq(journal_damaged_seq(store.journal), end);
    store_crash(&store);
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    ck_assert(store.report.damaged); /* remembered, as the index is gone */
    heal_all();
    store_check_reads(&store);
}
END_TEST

/* The last blocks are lost, and with them the slot that had one of them: what is healed in the
 * block that the mark's end lies in counts, whatever is in memory. */
START_TEST(the_block_of_the_marks_end_is_healed)
{
    for (int i = 0; i < 20 + _i / 2; i++)
        commit_once(1);
    store_crash(&store);
    uint64_t half = fake_disk_size(store.fake, "mark") / 2;
    fake_disk_bytes(store.fake, "mark")[(uint64_t)(_i % 2) * half + 20] ^= 1;
    uint8_t *segment = fake_disk_bytes(store.fake, "segment-00000001");
    uint64_t end = fake_disk_size(store.fake, "segment-00000001");
    for (uint32_t lost = 0; lost < 2 && end > 3 * DISK_BLOCK; end -= DISK_BLOCK)
        if (segment[end - DISK_BLOCK] != 0 || segment[end - 9] != 0) {
            memset(segment + end - DISK_BLOCK, 0, DISK_BLOCK);
            lost++;
        }
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    if (store.report.damaged)
        heal_all();
    ck_assert(journal_proven(store.journal));
    uint64_t tail = store.report.tail.seq;
    ck_assert_uint_ge(tail + 2,
                      maker_tail(&store.maker)); /* a slot names the commit before its own */
    if (tail == maker_tail(&store.maker))
        store_check_reads(&store);
    store_crash(&store);
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    ck_assert(!store.report.damaged);
    ck_assert_uint_eq(store.report.tail.seq, tail);
}
END_TEST

START_TEST(whole_pieces_can_be_missing)
{
    store_fill(&store, 3);
    store_crash(&store);
    switch (_i) {
    case 0: /* a header of an old segment */
        fake_disk_bytes(store.fake, "segment-00000002")[30] ^= 1;
        break;
    case 1: /* an old segment */
        fake_disk_remove(store.fake, "segment-00000002");
        fake_disk_remove(store.fake, "index-00000002");
        break;
    case 2: /* the first */
        fake_disk_remove(store.fake, "segment-00000001");
        fake_disk_remove(store.fake, "index-00000001");
        break;
    case 3: /* the header of the last */
        fake_disk_bytes(store.fake, "segment-00000003")[30] ^= 1;
        break;
    default: /* the whole last */
        memset(fake_disk_bytes(store.fake, "segment-00000003"), 0,
               fake_disk_size(store.fake, "segment-00000003"));
        break;
    }
    enum journal_error code = store_try_open(&store, 0);
    ck_assert_msg(code == JOURNAL_OK, "%s", store.error);
    if (!journal_proven(store.journal))
        heal_all();
    else
        ck_assert(_i == 0 || _i == 3);
    store_check_reads(&store);
    ck_assert_uint_eq(journal_epochs(store.journal)->count, 2);
    maker_batch(&store.maker, 1, 10, 3);
    store_append_all(&store);
}
END_TEST

/* Rot in the segment that is written to, below the place of a cut: the cut waits until a peer has
 * healed what it keeps, one piece after the other. Rot above that place is of no concern. */
START_TEST(a_cut_heals_what_it_keeps)
{
    for (uint32_t i = 0; i < 20; i++)
        commit_once(1);
    const struct made *made = maker_find(&store.maker, maker_tail(&store.maker) - 4);
    uint64_t seq = batch_end_seq(&made->header) - 1;
    uint8_t *bytes = fake_disk_bytes(store.fake, "segment-00000001");
    bytes[DISK_BLOCK * 2 + 40] ^= 1;
    bytes[DISK_BLOCK * 4 + 40] ^= 1;
    bytes[fake_disk_size(store.fake, "segment-00000001") - 8] ^= (uint8_t)_i;
    uint32_t healed = 0;
    while (!journal_cut(store.journal, seq, made->header.digest)) {
        ck_assert_uint_lt(healed++, 3);
        heal_all();
    }
    ck_assert_uint_ge(healed, 1);
    maker_cut(&store.maker, seq);
    ck_assert_uint_eq(journal_tail(store.journal).seq, seq);
    store_check_reads(&store);
    commit_once(2);
    store_crash(&store);
    ck_assert_int_eq(store_try_open(&store, 0), JOURNAL_OK);
    ck_assert(!store.report.damaged);
    ck_assert_uint_eq(store.report.tail.seq, maker_tail(&store.maker));
    store_check_reads(&store);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal_damage");
    TCase *tcase = tcase_create("journal_damage");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, damage_in_the_last_segment_is_reported_and_healed, 0, 7);
    tcase_add_test(tcase, what_cannot_be_read_is_not_torn);
    tcase_add_test(tcase, an_unreadable_header_is_not_a_leftover);
    tcase_add_test(tcase, an_unreadable_mark_is_not_an_old_one);
    tcase_add_test(tcase, the_walk_tells_the_unreadable_from_a_torn_tail);
    tcase_add_test(tcase, damage_in_an_old_segment_is_found_by_reading);
    tcase_add_loop_test(tcase, the_block_of_the_marks_end_is_healed, 0, 16);
    tcase_add_loop_test(tcase, whole_pieces_can_be_missing, 0, 5);
    tcase_add_loop_test(tcase, a_cut_heals_what_it_keeps, 0, 2);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
