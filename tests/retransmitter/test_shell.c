/* The shell over real files and loopback sockets, two of them in one loop: that what goes wrong at
 * the start is told with its name, that a new store copies its history from a peer that is already
 * there, and that the end is clean. Waits are for conditions, with a deadline far beyond what they
 * can take. */
#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "retransmitter/shell.h"

#define STREAM  UINT64_C(0x7e57)
#define WAIT_NS UINT64_C(20000000000)

static char directory[64];
static struct config config;
static struct loop *loop;
static struct log silent;
static char error[RETRANSMITTER_SHELL_ERROR_MAX];

static void set_up(void)
{
    snprintf(directory, sizeof directory, "/tmp/cantus-retransmitter-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    config_default_for_dir(&config, directory, (uint64_t)getpid());
    config.stream = STREAM;
    snprintf(config.directory, sizeof config.directory, "%s", directory);
    config.retransmitters[1] = config.retransmitters[0];
    config.retransmitter_count = 2;
    for (int i = 0; i < 2; i++) {
        struct config_retransmitter *r = &config.retransmitters[i];
        snprintf(r->name, sizeof r->name, "%c", 'a' + i);
        snprintf(r->directory, sizeof r->directory, "%c", 'a' + i);
        r->segment_mib = 1;
    }
    config.retransmitters[1].unicast.port++;
    config.retransmitters[1].stream_port++;
    struct loop_options options = config_loop(&config);
    loop = loop_create(&options, error);
    ck_assert_msg(loop != NULL, "%s", error);
    log_init(&silent, STDERR_FILENO, LOG_ERROR);
    error[0] = '\0';
}

static int remove_entry(const char *path, const struct stat *info, int flag, struct FTW *ftw)
{
    (void)info;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void tear_down(void)
{
    loop_destroy(loop);
    nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* A founder's store, as `cantus init` makes it. */
static void found(uint32_t index)
{
    char path[128];
    ck_assert(config_path(&config, config.retransmitters[index].directory, path, sizeof path));
    ck_assert_int_eq(mkdir(path, 0777), 0);
    struct disk_options options = { .directory = path, .sync = DISK_SYNC_NONE };
    struct disk *disk = disk_open_file(&options, error);
    ck_assert_msg(disk != NULL, "%s", error);
    struct sys_genesis genesis = { .stream = STREAM,
                                   .created_ns = 1,
                                   .protocol_version = WIRE_VERSION,
                                   .members = { .seq = 1, .count = 1, .stores = { 0xa } } };
    uint8_t batch[WIRE_DATAGRAM_DEFAULT];
    size_t length = genesis_batch(&genesis, batch, sizeof batch);
    struct journal_options journal = { .segment_bytes = 1 << 20,
                                       .commit_bytes = 1 << 20,
                                       .recent_bytes = 1 << 20,
                                       .segments_max = 64 };
    ck_assert_int_eq(journal_format(disk, &journal, STREAM, 0xa, batch, (uint32_t)length, error),
                     JOURNAL_OK);
    disk->ops->destroy(disk);
}

START_TEST(what_is_wrong_is_told)
{
    /* No directory, no store in it, twice formatted, of another stream, opened twice. */
    ck_assert_ptr_null(retransmitter_shell_open(&config, 0, loop, &silent, error));
    ck_assert_msg(strstr(error, "retransmitter a") != NULL, "%s", error);
    char path[128];
    ck_assert(config_path(&config, "a", path, sizeof path));
    ck_assert_int_eq(mkdir(path, 0777), 0);
    ck_assert_ptr_null(retransmitter_shell_open(&config, 0, loop, &silent, error));
    ck_assert_msg(strstr(error, "store") != NULL, "%s", error);
    ck_assert_int_eq(rmdir(path) == 0 || errno == ENOTEMPTY, 1);
    uint64_t store = 0;
    ck_assert_msg(retransmitter_shell_format(&config, 1, &store, error), "%s", error);
    ck_assert_uint_ne(store, 0);
    ck_assert(!retransmitter_shell_format(&config, 1, &store, error));
    config.stream++;
    ck_assert_ptr_null(retransmitter_shell_open(&config, 1, loop, &silent, error));
    ck_assert_msg(strstr(error, "stream") != NULL, "%s", error);
    config.stream--;
    struct retransmitter_shell *one = retransmitter_shell_open(&config, 1, loop, &silent, error);
    ck_assert_msg(one != NULL, "%s", error);
    ck_assert_ptr_null(retransmitter_shell_open(&config, 1, loop, &silent, error));
    ck_assert_msg(strstr(error, "in use") != NULL, "%s", error);
    retransmitter_shell_close(one);
}
END_TEST

static uint64_t tip(struct retransmitter_shell *s)
{
    static struct status status;
    retransmitter_status(retransmitter_shell_core(s), loop_now(loop), &status);
    return status.tip;
}

START_TEST(a_new_store_copies_from_its_peer)
{
    found(0);
    uint64_t store;
    ck_assert_msg(retransmitter_shell_format(&config, 1, &store, error), "%s", error);
    struct retransmitter_shell *a = retransmitter_shell_open(&config, 0, loop, &silent, error);
    ck_assert_msg(a != NULL, "%s", error);
    struct retransmitter_shell *b = retransmitter_shell_open(&config, 1, loop, &silent, error);
    ck_assert_msg(b != NULL, "%s", error);
    uint64_t until = loop_clock().mono_ns + WAIT_NS;
    while (tip(b) < 1 && loop_clock().mono_ns < until)
        loop_poll(loop, UINT64_C(10000000));
    ck_assert_uint_eq(tip(a), 1);
    ck_assert_uint_eq(tip(b), 1);
    bool done = false;
    while (!done && loop_clock().mono_ns < until) {
        bool first = retransmitter_shell_drain(a), second = retransmitter_shell_drain(b);
        done = first && second;
        if (!done)
            loop_poll(loop, UINT64_C(10000000));
    }
    ck_assert(done);
    retransmitter_shell_close(a);
    retransmitter_shell_close(b);
    b = retransmitter_shell_open(&config, 1, loop, &silent, error);
    ck_assert_msg(b != NULL, "%s", error);
    ck_assert_uint_eq(tip(b), 1);
    retransmitter_shell_close(b);
}
END_TEST

/* Opens the store as an earlier run on another boot of the host would have. */
static void run_before_reboot(uint32_t index, bool clean)
{
    char path[128], text[JOURNAL_ERROR_MAX];
    ck_assert(config_path(&config, config.retransmitters[index].directory, path, sizeof path));
    struct disk_options options = { .directory = path, .sync = DISK_SYNC_NONE };
    struct disk *disk = disk_open_file(&options, error);
    ck_assert_msg(disk != NULL, "%s", error);
    struct journal_options journal = { .unsynced = true, .boot = 1 };
    journal_options_default(&journal);
    struct journal_report report;
    enum journal_error code;
    struct journal *j = journal_open(disk, &journal, STREAM, &report, &code, text);
    ck_assert_msg(j != NULL, "%s", text);
    ck_assert(!report.may_have_lost);
    ck_assert(!clean || journal_end(j));
    journal_close(j);
    disk->ops->destroy(disk);
}

START_TEST(a_host_crash_in_sync_none_needs_a_new_store)
{
    found(0);
    config.retransmitters[0].sync = DISK_SYNC_NONE;
    run_before_reboot(0, true);
    struct retransmitter_shell *a = retransmitter_shell_open(&config, 0, loop, &silent, error);
    ck_assert_msg(a != NULL, "%s", error);
    retransmitter_shell_close(a); /* cleanly */
    run_before_reboot(0, false);
    for (int i = 0; i < 2; i++) {
        ck_assert_ptr_null(retransmitter_shell_open(&config, 0, loop, &silent, error));
        ck_assert_msg(strstr(error, "--format") != NULL, "%s", error);
        config.retransmitters[0].sync = DISK_SYNC_EVERY; /* does not make it any better */
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("retransmitter_shell");
    TCase *tcase = tcase_create("shell");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, what_is_wrong_is_told);
    tcase_add_test(tcase, a_new_store_copies_from_its_peer);
    tcase_add_test(tcase, a_host_crash_in_sync_none_needs_a_new_store);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
