/* Goal: the offline walk hands over the history as it was written, byte for byte and once, whatever the
 * window through which it reads a segment does; and what is wrong with a file is found in every part of it.
 *
 * Method: segments of many windows, with batches of all lengths, so that they lie across the edges of pieces in
 * every way. Each batch that the walk hands over is compared with the one that was made, which is also how a
 * window that moved too far, or kept too little, would be seen. Then files are damaged, cut short, extended
 * while they are read, and made unreadable, at places in all windows. */
#include <stdio.h>

#include "proto/wire.h"
#include "tests/journal/store.h"

enum { SEGMENT = 1024 * 1024, TAIL_BATCHES = 300 };

static struct store store;

/* Four closed segments, and a last one of which a third is written. */
static void setup(void)
{
    store_begin(&store, &(struct journal_options) { .segment_bytes = SEGMENT,
                                                    .commit_bytes = 128 * 1024,
                                                    .recent_bytes = 65536,
                                                    .segments_max = 100 });
    for (uint32_t i = 0; i < 4 * SEGMENT / 1024 + TAIL_BATCHES; i++) {
        uint32_t random = (uint32_t)fake_disk_random(store.fake);
        if (random % 16 == 0)
            maker_batch(&store.maker, 40, 20 + random % 160, (uint8_t)i);
        else
            maker_batch(&store.maker, (uint16_t)(1 + random % 3), random / 16 % 550, (uint8_t)i);
    }
    store_append_all(&store);
}

static void teardown(void)
{
    store_end(&store);
}

struct seen {
    uint32_t next; /* batch */
    uint32_t
        more; /* are written with each of these that is handed over, while the walk is under way */
    bool skips; /* damage may be in between */
};

static bool compare(void *ctx, const uint8_t *bytes, const struct batch_header *header,
                    uint64_t segment, uint64_t offset)
{
    (void)segment;
    ck_assert_uint_eq(offset % 8, 0);
    struct seen *seen = ctx;
    while (seen->skips && store.maker.made[seen->next].header.first_seq < header->first_seq)
        seen->next++;
    const struct made *made = &store.maker.made[seen->next++];
    ck_assert_uint_eq(header->first_seq, made->header.first_seq);
    ck_assert_mem_eq(bytes, made->bytes, made->header.length);
    for (uint32_t i = 0; i < seen->more; i++) {
        maker_batch(&store.maker, 1, 700, (uint8_t)i);
        store_append_all(&store);
    }
    seen->more -= seen->more > 0;
    return true;
}

static struct journal_walk_result walk(struct seen *seen)
{
    struct journal_walk_result result;
    ck_assert_int_eq(journal_walk(store.disk, 1, compare, seen, &result, store.error), JOURNAL_OK);
    return result;
}

static uint8_t *segment(uint32_t number, uint64_t *size)
{
    char name[32];
    snprintf(name, sizeof name, "segment-%08u", number);
    *size = fake_disk_size(store.fake, name);
    return fake_disk_bytes(store.fake, name);
}

START_TEST(every_batch_comes_once_and_as_it_was_made)
{
    store_crash(&store);
    struct seen seen = { 0 };
    struct journal_walk_result result = walk(&seen);
    ck_assert_msg(!result.damaged, "%s", result.damage);
    ck_assert_uint_eq(seen.next, store.maker.count);
    ck_assert_uint_ge(result.segments, 4);
    ck_assert_uint_eq(result.torn_bytes, 0);
    ck_assert(digest_equal(result.digest, maker_digest(&store.maker)));
}
END_TEST

START_TEST(rot_is_found_wherever_it_is_and_never_handed_over)
{
    store_crash(&store);
    uint64_t size;
    uint8_t *bytes = segment(2, &size);
    for (uint64_t at = DISK_BLOCK + 9; at < SEGMENT - 2 * WIRE_DATAGRAM_MAX; at += 37 * 1024 + 8) {
        bytes[at] ^= 4;
        struct seen seen = { .skips = true };
        struct journal_walk_result result = walk(&seen);
        ck_assert_msg(result.damaged, "a bit at %lu of segment 2", at);
        ck_assert_ptr_nonnull(strstr(result.damage, "segment 2 "));
        ck_assert_uint_lt(result.batches, store.maker.count);
        ck_assert_uint_eq(result.last_seq, maker_tail(&store.maker)); /* and on behind it */
        bytes[at] ^= 4;
    }
    struct seen seen = { 0 };
    ck_assert(!walk(&seen).damaged);
}
END_TEST

START_TEST(what_is_missing_at_the_end_of_a_file_is_damage)
{
    store_crash(&store);
    for (uint64_t left = SEGMENT - 40 * 1024; left > 3 * DISK_BLOCK; left -= 111 * 1024 + 5) {
        uint64_t size;
        uint8_t *bytes = segment(3, &size);
        uint8_t *whole = malloc(size);
        memcpy(whole, bytes, size);
        fake_disk_remove(store.fake, "segment-00000003");
        fake_disk_put(store.fake, "segment-00000003", whole, left);
        struct seen seen = { .skips = true };
        struct journal_walk_result result = walk(&seen);
        ck_assert(result.damaged);
        ck_assert_ptr_nonnull(strstr(result.damage, "segment 3 "));
        ck_assert_uint_eq(result.last_seq, maker_tail(&store.maker));
        fake_disk_remove(store.fake, "segment-00000003");
        fake_disk_put(store.fake, "segment-00000003", whole, size);
        free(whole);
        if (left < 111 * 1024 + 5)
            break;
    }
}
END_TEST

START_TEST(a_file_may_grow_under_the_walk)
{
    struct seen seen = { .more = 60 };
    uint32_t before = store.maker.count;
    struct journal_walk_result result = walk(&seen);
    ck_assert_msg(!result.damaged, "%s", result.damage);
    ck_assert_uint_gt(store.maker.count, before);
    ck_assert_uint_ge(seen.next, before);
    store_crash(&store);
    seen = (struct seen) { 0 };
    (void)walk(&seen);
    ck_assert_uint_eq(seen.next, store.maker.count);
}
END_TEST

static uint32_t last_segment(void)
{
    struct seen seen = { 0 };
    return (uint32_t)walk(&seen).segments;
}

/* Behind the tail, in whichever window: something torn is counted, a block that can't be read is told. */
START_TEST(behind_the_tail_all_windows_are_looked_at)
{
    store_crash(&store);
    uint32_t number = last_segment();
    uint64_t size;
    uint8_t *bytes = segment(number, &size);
    uint64_t tail = size;
    while (tail > 0 && bytes[tail - 1] == 0)
        tail--;
    uint64_t last_torn = 0;
    for (uint64_t at = tail + 2 * DISK_BLOCK; at < size; at += 97 * 1024 + 1) {
        bytes[at] = 7;
        struct seen seen = { 0 };
        struct journal_walk_result result = walk(&seen);
        ck_assert(!result.damaged);
        ck_assert_uint_eq(seen.next, store.maker.count);
        ck_assert_uint_gt(result.torn_bytes, last_torn);
        if (last_torn != 0)
            ck_assert_uint_eq(result.torn_bytes, last_torn + 97 * 1024 + 1);
        last_torn = result.torn_bytes;
        bytes[at] = 0;
        char name[32];
        snprintf(name, sizeof name, "segment-%08u", number);
        fake_disk_unreadable(store.fake, name, at, at + 1);
        seen = (struct seen) { 0 };
        result = walk(&seen);
        ck_assert(result.damaged);
        ck_assert_ptr_nonnull(strstr(result.damage, "the disk can't read on here"));
        ck_assert_uint_eq(seen.next, store.maker.count);
        fake_disk_unreadable(store.fake, NULL, 0, 0);
    }
    ck_assert_uint_ne(last_torn, 0);
}
END_TEST

/* In the last segment the mark says where it goes on behind damage: further on than the window is. */
START_TEST(the_walk_goes_on_where_the_mark_says)
{
    store_crash(&store);
    uint32_t number = last_segment();
    uint64_t size;
    uint8_t *bytes = segment(number, &size);
    bytes[2 * DISK_BLOCK + 77] ^= 1;
    struct seen seen = { .skips = true };
    struct journal_walk_result result = walk(&seen);
    ck_assert(result.damaged);
    ck_assert_ptr_nonnull(strstr(result.damage, "acknowledged, but not readable"));
    ck_assert_uint_lt(result.batches, store.maker.count);
    ck_assert_uint_eq(result.torn_bytes, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal_walk");
    TCase *tcase = tcase_create("walk");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, every_batch_comes_once_and_as_it_was_made);
    tcase_add_test(tcase, rot_is_found_wherever_it_is_and_never_handed_over);
    tcase_add_test(tcase, what_is_missing_at_the_end_of_a_file_is_damage);
    tcase_add_test(tcase, a_file_may_grow_under_the_walk);
    tcase_add_test(tcase, behind_the_tail_all_windows_are_looked_at);
    tcase_add_test(tcase, the_walk_goes_on_where_the_mark_says);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
