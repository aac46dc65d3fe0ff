/* Both real disk back ends, in a directory of their own: the same journal life on each, the lock,
 * what a file system without O_DIRECT makes of it, and a file system that is really full. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/journal/history_maker.h"

static char directory[256];
static char error[JOURNAL_ERROR_MAX];

static struct disk *open_disk(int kind, const char *path, enum disk_sync sync)
{
    struct disk_options options = { .directory = path, .sync = sync, .direct = true };
    return kind == 0 ? disk_open_file(&options, error) : disk_open_uring(&options, error);
}

static void remove_name(void *ctx, const char *name)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
    (void)unlink(path);
}

static void remove_directory(char *path)
{
    struct disk *d = open_disk(0, path, DISK_SYNC_NONE);
    if (d != NULL) {
        (void)d->ops->list(d, remove_name, path);
        d->ops->destroy(d);
    }
    remove_name(path, "lock");
    (void)rmdir(path);
}

static void setup(void)
{
    (void)snprintf(directory, sizeof directory, "/tmp/cantus-disk-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void teardown(void)
{
    (void)umount2(directory, MNT_DETACH); /* where a test mounted something and failed */
    remove_directory(directory);
}

static void wait_for(struct disk *d)
{
    struct pollfd p = { .fd = d->ops->fd(d), .events = POLLIN };
    (void)poll(&p, p.fd < 0 ? 0 : 1, 1000);
}

/* Handles what completes until one of `cookie` does. */
static int64_t await(struct disk *d, uint64_t cookie)
{
    for (uint32_t i = 0; i < 1000; i++) {
        struct disk_completion done;
        if (d->ops->complete(d, &done, 1) == 0) {
            wait_for(d);
            continue;
        }
        ck_assert_uint_eq(done.cookie, cookie);
        return done.result;
    }
    ck_abort_msg("nothing completed");
    return 0;
}

static void check_disk(int kind, const char *path, enum disk_sync sync)
{
    struct disk *d = open_disk(kind, path, sync);
    ck_assert_msg(d != NULL, "%s", error);
    uint8_t *bytes = aligned_alloc(DISK_BLOCK, 3 * DISK_BLOCK);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_int_eq(d->ops->open(d, "a", false), -ENOENT);
    int32_t a = d->ops->open(d, "a", true);
    ck_assert_int_ge(a, 0);
    memset(bytes, 7, 3 * DISK_BLOCK);
    ck_assert_int_eq(d->ops->write(d, a, 0, bytes, DISK_BLOCK), DISK_BLOCK);
    struct disk_request write = { .op = DISK_WRITE,
                                  .file = a,
                                  .offset = DISK_BLOCK,
                                  .length = DISK_BLOCK,
                                  .bytes = bytes,
                                  .cookie = 5 };
    ck_assert(d->ops->submit(d, &write));
    ck_assert_int_eq(await(d, 5), DISK_BLOCK);
    write.offset += DISK_BLOCK;
    write.cookie = 6;
    ck_assert(d->ops->submit_synced(d, &write));
    ck_assert_int_eq(await(d, 6), DISK_BLOCK);
    ck_assert_int_eq(d->ops->size(d, a), 3 * DISK_BLOCK);
    memset(bytes, 0, 3 * DISK_BLOCK);
    struct disk_request read = {
        .op = DISK_READ, .file = a, .length = 3 * DISK_BLOCK, .bytes = bytes, .cookie = 7
    };
    ck_assert(d->ops->submit(d, &read));
    ck_assert_int_eq(await(d, 7), 3 * DISK_BLOCK);
    for (uint32_t i = 0; i < 3 * DISK_BLOCK; i++)
        ck_assert_int_eq(bytes[i], 7);
    ck_assert_int_eq(d->ops->read(d, a, 2 * DISK_BLOCK, bytes, 2 * DISK_BLOCK), DISK_BLOCK);
    ck_assert_int_eq(d->ops->truncate(d, a, DISK_BLOCK), 0);
    ck_assert_int_eq(d->ops->size(d, a), DISK_BLOCK);
    struct disk_request prepare = {
        .op = DISK_PREPARE, .name = "p", .length = 3 * 1024 * 1024 + DISK_BLOCK, .cookie = 8
    };
    ck_assert(d->ops->submit(d, &prepare));
    int32_t p = (int32_t)await(d, 8);
    ck_assert_int_ge(p, 0);
    ck_assert_int_eq(d->ops->size(d, p), 3 * 1024 * 1024 + DISK_BLOCK);
    d->ops->close_file(d, p);
    ck_assert_int_eq(d->ops->remove(d, "p"), 0);
    ck_assert_int_eq(d->ops->remove(d, "p"), -ENOENT);
    prepare.name = "no/such/place";
    ck_assert(d->ops->submit(d, &prepare));
    ck_assert_int_eq(await(d, 8), -ENOENT);
    /* As many at once as may be, and one more. */
    read.length = DISK_BLOCK;
    for (uint32_t i = 0; i < DISK_REQUESTS_MAX; i++)
        ck_assert(d->ops->submit(d, &read));
    ck_assert(!d->ops->submit(d, &read));
    d->ops->drain(d);
    for (uint32_t i = 0; i < DISK_REQUESTS_MAX; i++)
        ck_assert_int_eq(await(d, 7), DISK_BLOCK);
    d->ops->destroy(d);
    free(bytes);
}

START_TEST(requests_do_what_they_say)
{
    check_disk(_i % 2, directory, _i / 2 == 0 ? DISK_SYNC_EVERY : DISK_SYNC_NONE);
}
END_TEST

START_TEST(works_without_direct_io)
{
    char path[] = "/dev/shm/cantus-disk-XXXXXX";
    if (mkdtemp(path) == NULL) {
        (void)printf("skipped: /dev/shm is not writable\n");
        return;
    }
    check_disk(_i, path, DISK_SYNC_EVERY);
    remove_directory(path);
}
END_TEST

START_TEST(one_process_per_directory)
{
    struct disk *first = open_disk(_i % 2, directory, DISK_SYNC_EVERY);
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(open_disk(_i / 2, directory, DISK_SYNC_EVERY));
    char pid[32];
    (void)snprintf(pid, sizeof pid, "%ld", (long)getpid());
    ck_assert_msg(strstr(error, pid) != NULL, "%s", error);
    first->ops->destroy(first);
    struct disk *second = open_disk(_i / 2, directory, DISK_SYNC_EVERY);
    ck_assert_ptr_nonnull(second);
    second->ops->destroy(second);
    ck_assert_ptr_null(open_disk(_i / 2, "/no/such/directory", DISK_SYNC_EVERY));
    ck_assert_ptr_nonnull(strstr(error, "/no/such/directory"));
}
END_TEST

/* ---- a journal on it ------------------------------------------------------------------------- */

static const struct journal_options options = {
    .segment_bytes = 262144, .commit_bytes = 65536, .recent_bytes = 65536, .segments_max = 100
};

static void turn(struct disk *d, struct journal *j, uint64_t *now_ns)
{
    struct disk_completion done[16];
    journal_commit(j);
    uint32_t count = d->ops->complete(d, done, 16);
    for (uint32_t i = 0; i < count; i++)
        journal_on_disk(j, &done[i]);
    (void)journal_step(j, *now_ns += 1000000);
}

static struct journal *start(struct disk *d, struct history_maker *m, bool format)
{
    struct journal_report report;
    enum journal_error code;
    if (format) {
        code = journal_format(d, &options, MADE_STREAM, 77, m->made[0].bytes,
                              m->made[0].header.length, error);
        ck_assert_msg(code == JOURNAL_OK, "%s", error);
    }
    struct journal *j = journal_open(d, &options, MADE_STREAM, &report, &code, error);
    ck_assert_msg(j != NULL, "%s", error);
    ck_assert(!report.damaged);
    return j;
}

START_TEST(a_journal_lives_on_it)
{
    struct history_maker m;
    maker_init(&m);
    maker_genesis(&m, 77);
    uint64_t now_ns = 1;
    for (int life = 0; life < 3; life++) {
        struct disk *d = open_disk(_i, directory, DISK_SYNC_EVERY);
        ck_assert_msg(d != NULL, "%s", error);
        struct journal *j = start(d, &m, life == 0);
        ck_assert_uint_eq(journal_tail(j).seq, maker_tail(&m));
        for (uint32_t i = 0; i < 400; i++)
            maker_batch(&m, 2, 600, (uint8_t)(i + 1));
        for (uint64_t i = 0; journal_durable(j).seq < maker_tail(&m); i++) {
            ck_assert_uint_lt(i, 10000000);
            const struct made *next = maker_find(&m, journal_tail(j).seq + 1);
            if (next == NULL || !journal_append(j, next->bytes, &next->header))
                turn(d, j, &now_ns);
        }
        ck_assert(journal_promise(j, (struct epoch) { .number = (uint32_t)life + 1 }));
        if (life == 1) {
            const struct made *made = maker_find(&m, 300);
            uint64_t seq = batch_end_seq(&made->header) - 1;
            ck_assert(journal_cut(j, seq, made->header.digest));
            ck_assert_uint_eq(journal_promised(j).number, 2); /* the cut waited for it */
            maker_cut(&m, seq);
        }
        journal_close(j);
        d->ops->destroy(d);
    }
    struct disk *d = open_disk(_i, directory, DISK_SYNC_EVERY);
    struct journal_walk_result walk;
    ck_assert_int_eq(journal_walk(d, 1, NULL, NULL, &walk, error), JOURNAL_OK);
    ck_assert(!walk.damaged);
    ck_assert_uint_eq(walk.last_seq, maker_tail(&m));
    ck_assert(digest_equal(walk.digest, maker_digest(&m)));
    d->ops->destroy(d);
    maker_free(&m);
}
END_TEST

START_TEST(a_full_file_system_suspends_and_clears)
{
    if (geteuid() != 0 || mount("none", directory, "tmpfs", 0, "size=2m") != 0) {
        (void)printf("skipped: cannot mount a small tmpfs\n");
        return;
    }
    struct history_maker m;
    maker_init(&m);
    maker_genesis(&m, 77);
    uint64_t now_ns = 1;
    struct disk *d = open_disk(_i, directory, DISK_SYNC_EVERY);
    ck_assert_msg(d != NULL, "%s", error);
    char ballast[512];
    (void)snprintf(ballast, sizeof ballast, "%s/ballast", directory);
    struct journal *j = start(d, &m, true);
    FILE *file = fopen(ballast, "w");
    ck_assert_ptr_nonnull(file);
    for (uint32_t i = 0; i < 3 * 1024 * 1024 && fputc('x', file) != EOF; i++)
        continue;
    (void)fclose(file);
    for (uint32_t i = 0; i < 500; i++)
        maker_batch(&m, 2, 600, (uint8_t)(i + 1));
    for (uint32_t i = 0; i < 10000000 && !journal_full(j); i++) {
        const struct made *next = maker_find(&m, journal_tail(j).seq + 1);
        if (next == NULL || !journal_append(j, next->bytes, &next->header))
            turn(d, j, &now_ns);
    }
    ck_assert(journal_full(j));
    ck_assert_uint_lt(journal_durable(j).seq, maker_tail(&m));
    ck_assert_int_eq(unlink(ballast), 0);
    for (uint64_t i = 0; journal_durable(j).seq < maker_tail(&m); i++) {
        ck_assert_uint_lt(i, 10000000);
        const struct made *next = maker_find(&m, journal_tail(j).seq + 1);
        if (next == NULL || !journal_append(j, next->bytes, &next->header))
            turn(d, j, &now_ns);
    }
    journal_close(j);
    d->ops->destroy(d);
    maker_free(&m);
    ck_assert_int_eq(umount(directory), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("disk");
    TCase *tcase = tcase_create("disk");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, requests_do_what_they_say, 0, 4);
    tcase_add_loop_test(tcase, works_without_direct_io, 0, 2);
    tcase_add_loop_test(tcase, one_process_per_directory, 0, 4);
    tcase_add_loop_test(tcase, a_journal_lives_on_it, 0, 2);
    tcase_add_loop_test(tcase, a_full_file_system_suspends_and_clears, 0, 2);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
