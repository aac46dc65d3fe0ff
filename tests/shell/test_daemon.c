/* A daemon's run, with the test as the service manager and as the operator: each signal that asks
 * it to end is raised for real, before a round and in the middle of one, and the log is read back
 * from the stderr of the test. Check gives every test a process of its own, since one daemon a
 * process is the contract. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shell/daemon.h"

#define LONG_NS UINT64_C(600000000000) /* longer than a test may take: who waits it out, fails */

static struct daemon d;
static struct config config;

static void setup(void)
{
    char error[LOOP_ERROR_MAX];
    ck_assert_msg(daemon_open(&d, &config, error), "%s", error);
}

static void teardown(void)
{
    daemon_close(&d);
}

static const int ENDS[] = { SIGTERM, SIGINT };
enum { ENDS_COUNT = sizeof ENDS / sizeof ENDS[0] };

START_TEST(a_signal_ends_the_rounds)
{
    ck_assert(daemon_round(&d, 0));
    raise(ENDS[_i]);
    ck_assert(!daemon_round(&d, LONG_NS));
    ck_assert(!daemon_round(&d, LONG_NS));
}
END_TEST

static bool sleeps(pid_t process)
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)process);
    FILE *f = fopen(path, "r");
    bool read = f != NULL && fgets(line, sizeof line, f) != NULL;
    if (f != NULL)
        fclose(f);
    const char *name_end = read ? strrchr(line, ')') : NULL;
    return name_end != NULL && strncmp(name_end, ") S", 3) == 0;
}

START_TEST(a_signal_ends_a_round_that_waits)
{
    pid_t parent = getpid(), child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        while (!sleeps(parent)) {
        }
        kill(parent, ENDS[_i]);
        _exit(0);
    }
    while (daemon_round(&d, LONG_NS)) {
    }
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
}
END_TEST

START_TEST(a_reader_that_is_gone_ends_nothing)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    close(ends[0]);
    ck_assert_int_eq(write(ends[1], "x", 1), -1);
    close(ends[1]);
    ck_assert(daemon_round(&d, 0));
}
END_TEST

static bool third_time(void *ctx)
{
    return ++*(int *)ctx == 3;
}

static bool never(void *ctx)
{
    (*(int *)ctx)++;
    return false;
}

START_TEST(it_drains_after_it_was_asked_to_end)
{
    int asked = 0;
    raise(SIGTERM);
    ck_assert(daemon_drain(&d, LONG_NS, third_time, &asked));
    ck_assert_int_eq(asked, 3);
}
END_TEST

START_TEST(it_drains_no_longer_than_patience)
{
    int asked = 0;
    ck_assert(!daemon_drain(&d, 0, never, &asked));
    ck_assert_int_eq(asked, 1);
    ck_assert(!daemon_drain(&d, 1000000, never, &asked));
    ck_assert_int_ge(asked, 2);
}
END_TEST

static uint64_t one_second(void)
{
    return 1000000000;
}

START_TEST(closing_writes_what_the_log_held_back)
{
    char text[16 * LOG_LINE_MAX];
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    d.log.fd = ends[1];
    d.log.wall_ns = one_second;
    for (int i = 0; i < LOG_BURST + 7; i++)
        log_line(&d.log, LOG_INFO, "test", "again and again", NULL);
    daemon_close(&d);
    close(ends[1]);
    ssize_t length = read(ends[0], text, sizeof text - 1);
    ck_assert_int_gt(length, 0);
    text[length] = '\0';
    ck_assert_msg(strstr(text, " held_back=7\n") != NULL, "%s", text);
    close(ends[0]);
    setup(); /* for teardown: and a daemon can be opened again */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("shell/daemon");
    TCase *c = tcase_create("run");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, a_signal_ends_the_rounds, 0, ENDS_COUNT);
    tcase_add_loop_test(c, a_signal_ends_a_round_that_waits, 0, ENDS_COUNT);
    tcase_add_test(c, a_reader_that_is_gone_ends_nothing);
    tcase_add_test(c, it_drains_after_it_was_asked_to_end);
    tcase_add_test(c, it_drains_no_longer_than_patience);
    tcase_add_test(c, closing_writes_what_the_log_held_back);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
