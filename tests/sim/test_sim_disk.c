/* The simulated disk, tormented directly: what is durable when, what a crash leaves, how it refuses,
 * and that it notices a caller that breaks the rules. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim_disk.h"

static struct sim_random chance;
static uint64_t now_ns;
static struct sim_disk disk;
static uint8_t *block; /* four of them, aligned */

static void set_up(void)
{
    sim_random_init(&chance, 5);
    now_ns = 1000000;
    sim_disk_init(&disk, &chance, &now_ns);
    block = aligned_alloc(DISK_BLOCK, 4 * DISK_BLOCK);
    ck_assert_ptr_nonnull(block);
    memset(block, 0xab, 4 * DISK_BLOCK);
}

static void tear_down(void)
{
    sim_disk_close(&disk);
    free(block);
}

static int32_t file_of_zeros(uint64_t blocks)
{
    int32_t file = disk.disk.ops->open(&disk.disk, "file", true);
    ck_assert_int_ge(file, 0);
    ck_assert_int_eq(disk.disk.ops->truncate(&disk.disk, file, blocks * DISK_BLOCK), 0);
    return file;
}

static void submit(enum disk_op op, int32_t file, uint64_t offset, uint64_t length)
{
    const struct disk_request r = { .op = op,
                                    .file = file,
                                    .offset = offset,
                                    .length = length,
                                    .bytes = block,
                                    .name = "prepared",
                                    .cookie = 77 };
    ck_assert(disk.disk.ops->submit(&disk.disk, &r));
}

static int64_t finish(void)
{
    struct disk_completion done;
    ck_assert_uint_ne(sim_disk_due(&disk), UINT64_MAX);
    now_ns = sim_disk_due(&disk);
    sim_disk_advance(&disk);
    ck_assert_uint_eq(disk.disk.ops->complete(&disk.disk, &done, 1), 1);
    ck_assert_uint_eq(done.cookie, 77);
    return done.result;
}

static uint8_t byte_at(int32_t file, uint64_t at)
{
    uint8_t byte = 0;
    ck_assert_int_eq(disk.disk.ops->read(&disk.disk, file, at, &byte, 1), 1);
    return byte;
}

START_TEST(a_write_takes_effect_when_it_completes)
{
    int32_t file = file_of_zeros(4);
    submit(DISK_WRITE, file, DISK_BLOCK, DISK_BLOCK);
    struct disk_completion none;
    sim_disk_advance(&disk);
    ck_assert_uint_eq(disk.disk.ops->complete(&disk.disk, &none, 1), 0);
    ck_assert_uint_eq(byte_at(file, DISK_BLOCK), 0);
    ck_assert_int_eq(finish(), DISK_BLOCK);
    ck_assert_uint_eq(byte_at(file, DISK_BLOCK), 0xab);
    ck_assert_uint_eq(byte_at(file, DISK_BLOCK * 2), 0);
    ck_assert_uint_eq(sim_disk_due(&disk), UINT64_MAX);
}
END_TEST

START_TEST(a_crash_leaves_any_sectors_of_what_was_in_flight)
{
    bool none = false, some = false, all = false, torn = false;
    int32_t file = file_of_zeros(8);
    for (int i = 0; i < 200; i++) {
        ck_assert_int_eq(disk.disk.ops->truncate(&disk.disk, file, 0), 0);
        ck_assert_int_eq(disk.disk.ops->truncate(&disk.disk, file, 8 * DISK_BLOCK), 0);
        submit(DISK_WRITE, file, 0, 4 * DISK_BLOCK);
        sim_disk_crash(&disk);
        const struct disk_request r = { .op = DISK_WRITE, .file = file, .bytes = block };
        ck_assert(!disk.disk.ops->submit(&disk.disk, &r));
        disk.dead = false;
        uint32_t kept = 0;
        for (uint64_t s = 0; s < 4 * DISK_BLOCK / SIM_DISK_SECTOR; s++) {
            uint8_t first = byte_at(file, s * SIM_DISK_SECTOR);
            uint8_t last = byte_at(file, (s + 1) * SIM_DISK_SECTOR - 1);
            kept += first == 0xab && last == 0xab;
            torn = torn || (first == 0xab && last == 0);
        }
        none = none || kept == 0;
        all = all || kept == 32;
        some = some || (kept > 0 && kept < 32);
    }
    ck_assert(none && some && all && torn);
    ck_assert_uint_gt(disk.counters.torn_writes, 0);
    ck_assert_uint_gt(disk.counters.lost_writes, 0);
}
END_TEST

START_TEST(what_has_completed_survives_a_crash)
{
    int32_t file = file_of_zeros(4);
    submit(DISK_WRITE, file, 0, 4 * DISK_BLOCK);
    ck_assert_int_eq(finish(), 4 * DISK_BLOCK);
    sim_disk_crash(&disk);
    for (uint64_t at = 0; at < 4 * DISK_BLOCK; at += 97)
        ck_assert_uint_eq(byte_at(file, at), 0xab);
}
END_TEST

static uint32_t bytes_left(int32_t file)
{
    uint32_t left = 0;
    for (uint64_t at = DISK_BLOCK; at < 5 * DISK_BLOCK; at += SIM_DISK_SECTOR)
        left += byte_at(file, at) == 0xab;
    return left;
}

/* Unsynced, or lying: a crash of the process takes nothing, one of its host any of it. */
START_TEST(what_is_only_cached_is_lost_with_the_power)
{
    bool some = false;
    disk.unsynced = _i == 0;
    for (int i = 0; i < 50; i++) {
        int32_t file = file_of_zeros(5);
        disk.weather.lies_until_ns = _i == 0 ? 0 : UINT64_MAX;
        submit(DISK_WRITE, file, DISK_BLOCK, 4 * DISK_BLOCK);
        ck_assert_int_eq(finish(), 4 * DISK_BLOCK);
        sim_disk_crash(&disk);
        ck_assert_uint_eq(bytes_left(file), 32);
        uint64_t lost = sim_disk_power(&disk);
        ck_assert_uint_eq(bytes_left(file), 32 - lost);
        some = some || (lost > 0 && lost < 32);
        disk.dead = false;
        ck_assert_int_eq(disk.disk.ops->remove(&disk.disk, "file"), 0);
    }
    ck_assert(some);
}
END_TEST

START_TEST(what_a_sync_has_brought_down_is_not)
{
    int32_t file = file_of_zeros(5);
    disk.unsynced = true;
    submit(DISK_WRITE, file, DISK_BLOCK, 4 * DISK_BLOCK);
    finish();
    /* The same bytes, synced; and then an honest disk's next write. */
    struct disk_request r = {
        .op = DISK_WRITE, .file = file, .length = 4 * DISK_BLOCK, .bytes = block, .cookie = 77
    };
    ck_assert(disk.disk.ops->submit_synced(&disk.disk, &r));
    finish();
    sim_disk_crash(&disk);
    ck_assert_uint_eq(sim_disk_power(&disk), 0);
    ck_assert_uint_eq(bytes_left(file), 32);
    disk.dead = disk.unsynced = false;
    disk.weather.lies_until_ns = UINT64_MAX;
    submit(DISK_WRITE, file, DISK_BLOCK, DISK_BLOCK);
    finish();
    disk.weather.lies_until_ns = 0;
    submit(DISK_WRITE, file, 2 * DISK_BLOCK, DISK_BLOCK);
    finish();
    sim_disk_crash(&disk);
    ck_assert_uint_eq(sim_disk_power(&disk), 0);
}
END_TEST

START_TEST(a_full_disk_refuses_new_blocks_and_a_thin_one_all)
{
    int32_t file = file_of_zeros(4);
    disk.weather.full = true;
    submit(DISK_WRITE, file, 0, DISK_BLOCK);
    ck_assert_int_eq(finish(), DISK_BLOCK);
    submit(DISK_WRITE, file, 4 * DISK_BLOCK, DISK_BLOCK);
    ck_assert_int_eq(finish(), -ENOSPC);
    submit(DISK_PREPARE, 0, 0, 8 * DISK_BLOCK);
    ck_assert_int_eq(finish(), -ENOSPC);
    disk.weather.thin = true;
    submit(DISK_WRITE, file, 0, DISK_BLOCK);
    ck_assert_int_eq(finish(), -ENOSPC);
    ck_assert_uint_eq(disk.counters.refused_full, 3);
    disk.weather.full = false;
    submit(DISK_PREPARE, 0, 0, 8 * DISK_BLOCK);
    int64_t prepared = finish();
    ck_assert_int_ge(prepared, 0);
    ck_assert_int_eq(disk.disk.ops->size(&disk.disk, (int32_t)prepared), 8 * DISK_BLOCK);
}
END_TEST

START_TEST(a_failing_disk_says_so)
{
    int32_t file = file_of_zeros(4);
    disk.weather.error_chance = 1000000;
    submit(DISK_WRITE, file, 0, DISK_BLOCK);
    ck_assert_int_eq(finish(), -EIO);
    submit(DISK_READ, file, 0, DISK_BLOCK);
    ck_assert_int_eq(finish(), -EIO);
    ck_assert_uint_eq(disk.counters.errors, 2);
}
END_TEST

START_TEST(a_read_may_come_back_with_one_bit_flipped)
{
    int32_t file = file_of_zeros(4);
    disk.weather.flip_chance = 1000000;
    submit(DISK_READ, file, 0, DISK_BLOCK);
    ck_assert_int_eq(finish(), DISK_BLOCK);
    uint32_t bits = 0;
    for (uint32_t i = 0; i < DISK_BLOCK; i++)
        bits += (uint32_t)__builtin_popcount(block[i]);
    ck_assert_uint_eq(bits, 1);
    for (uint64_t i = 0; i < DISK_BLOCK; i++)
        ck_assert_uint_eq(byte_at(file, i), 0);
}
END_TEST

START_TEST(rot_changes_what_is_stored)
{
    int32_t file = file_of_zeros(4);
    ck_assert(!sim_disk_rot(&disk, "file"));
    submit(DISK_WRITE, file, 0, 4 * DISK_BLOCK);
    finish();
    ck_assert(!sim_disk_rot(&disk, "other"));
    ck_assert(sim_disk_rot(&disk, "fi"));
    uint32_t changed = 0;
    for (uint64_t at = 0; at < 4 * DISK_BLOCK; at++)
        changed += byte_at(file, at) != 0xab;
    ck_assert_uint_eq(changed, 1);
}
END_TEST

START_TEST(bytes_that_change_in_flight_are_noticed)
{
    int32_t file = file_of_zeros(4);
    submit(DISK_WRITE, file, 0, DISK_BLOCK);
    ck_assert_ptr_null(disk.misuse);
    block[100] ^= 1;
    finish();
    ck_assert_ptr_nonnull(disk.misuse);
}
END_TEST

START_TEST(requests_that_are_not_blocks_are_noticed)
{
    int32_t file = file_of_zeros(4);
    submit(DISK_READ, file, 512, DISK_BLOCK);
    ck_assert_ptr_nonnull(disk.misuse);
}
END_TEST

START_TEST(no_more_than_the_contract_says_are_in_flight)
{
    int32_t file = file_of_zeros(4);
    for (int i = 0; i < DISK_REQUESTS_MAX; i++)
        submit(DISK_WRITE, file, 0, DISK_BLOCK);
    const struct disk_request more = { .op = DISK_READ, .file = file, .length = DISK_BLOCK };
    ck_assert(!disk.disk.ops->submit(&disk.disk, &more));
}
END_TEST

static void count_names(void *ctx, const char *name)
{
    ck_assert_uint_gt(strlen(name), 0);
    ++*(uint32_t *)ctx;
}

/* What was written, made and grown since the copy is gone. */
START_TEST(a_copy_takes_the_place_of_what_is_there)
{
    int32_t file = file_of_zeros(1);
    sim_disk_keep(&disk);
    submit(DISK_WRITE, file, 0, DISK_BLOCK);
    ck_assert_int_eq(finish(), DISK_BLOCK);
    ck_assert_int_eq(disk.disk.ops->truncate(&disk.disk, file, 4 * DISK_BLOCK), 0);
    ck_assert_int_ge(disk.disk.ops->open(&disk.disk, "later", true), 0);
    sim_disk_crash(&disk);
    sim_disk_restore(&disk);
    disk.dead = false;
    file = disk.disk.ops->open(&disk.disk, "file", false);
    ck_assert_int_eq(disk.disk.ops->size(&disk.disk, file), DISK_BLOCK);
    ck_assert_uint_eq(byte_at(file, 0), 0);
    ck_assert_int_lt(disk.disk.ops->open(&disk.disk, "later", false), 0);
    ck_assert_ptr_null(disk.kept);
}
END_TEST

START_TEST(files_are_listed_and_removed)
{
    uint32_t names = 0;
    file_of_zeros(1);
    ck_assert_int_ge(disk.disk.ops->open(&disk.disk, "second", true), 0);
    ck_assert_int_eq(disk.disk.ops->open(&disk.disk, "third", false), -ENOENT);
    disk.disk.ops->list(&disk.disk, count_names, &names);
    ck_assert_uint_eq(names, 2);
    ck_assert_int_eq(disk.disk.ops->remove(&disk.disk, "file"), 0);
    ck_assert_int_eq(disk.disk.ops->remove(&disk.disk, "file"), -ENOENT);
    names = 0;
    disk.disk.ops->list(&disk.disk, count_names, &names);
    ck_assert_uint_eq(names, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_disk");
    TCase *t = tcase_create("disk");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, a_write_takes_effect_when_it_completes);
    tcase_add_test(t, a_crash_leaves_any_sectors_of_what_was_in_flight);
    tcase_add_test(t, what_has_completed_survives_a_crash);
    tcase_add_loop_test(t, what_is_only_cached_is_lost_with_the_power, 0, 2);
    tcase_add_test(t, what_a_sync_has_brought_down_is_not);
    tcase_add_test(t, a_full_disk_refuses_new_blocks_and_a_thin_one_all);
    tcase_add_test(t, a_failing_disk_says_so);
    tcase_add_test(t, a_read_may_come_back_with_one_bit_flipped);
    tcase_add_test(t, rot_changes_what_is_stored);
    tcase_add_test(t, bytes_that_change_in_flight_are_noticed);
    tcase_add_test(t, requests_that_are_not_blocks_are_noticed);
    tcase_add_test(t, no_more_than_the_contract_says_are_in_flight);
    tcase_add_test(t, a_copy_takes_the_place_of_what_is_there);
    tcase_add_test(t, files_are_listed_and_removed);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
