/* The log: what a line looks like, that one event stays one line whatever it says, that repeats are
 * held back and counted, and that the table of distinct ones keeps its bound. The lines go through
 * a pipe; the clock is the test's. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shell/log.h"

static uint64_t now_ns;
static int pipe_fds[2];
static struct log out;
static char read_back[65536];

static uint64_t test_clock(void)
{
    return now_ns;
}

static void setup(void)
{
    now_ns = 1430438400000000000u + 1500000u; /* 2015-05-01T00:00:00.0015Z */
    ck_assert_int_eq(pipe(pipe_fds), 0);
    log_init(&out, pipe_fds[1], LOG_INFO);
    out.wall_ns = test_clock;
}

static void teardown(void)
{
    close(pipe_fds[0]);
    if (out.fd >= 0)
        close(out.fd);
}

/* Everything written since the last time. */
static const char *written(void)
{
    static const char mark = '\1';
    ck_assert_int_eq(write(out.fd, &mark, 1), 1);
    size_t length = 0;
    while (length == 0 || read_back[length - 1] != mark) {
        ssize_t n = read(pipe_fds[0], read_back + length, sizeof read_back - length);
        ck_assert_int_gt(n, 0);
        length += (size_t)n;
    }
    read_back[length - 1] = '\0';
    return read_back;
}

static uint32_t lines(const char *text)
{
    uint32_t n = 0;
    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

START_TEST(a_line)
{
    log_line(&out, LOG_WARN, "sequencer", "clock is behind", "behind_ns=%d why=%s", 7, "jump");
    ck_assert_str_eq(written(), "2015-05-01T00:00:00.001500Z warn  sequencer: clock is behind "
                                "behind_ns=7 why=jump\n");
    log_line(&out, LOG_INFO, "x", "no pairs", NULL);
    ck_assert_str_eq(written(), "2015-05-01T00:00:00.001500Z info  x: no pairs\n");
    log_line(&out, LOG_DEBUG, "x", "too quiet", NULL);
    ck_assert_str_eq(written(), "");
    ck_assert_uint_eq(out.count, 2);
}
END_TEST

START_TEST(one_event_is_one_line)
{
    static char large[4096];
    memset(large, 'a', sizeof large - 1);
    log_line(&out, LOG_ERROR, "x", "forged\n2015 info", "a=%s b=%s", "b\nc\r\x1b[31m", large);
    const char *text = written();
    ck_assert_uint_eq(lines(text), 1);
    ck_assert_uint_le(strlen(text), LOG_LINE_MAX);
    ck_assert_ptr_null(strchr(text, '\x1b'));
    char quoted[32];
    ck_assert_str_eq(log_quote("a \"b\"\\\n\x01", quoted, sizeof quoted),
                     "\"a \\\"b\\\"\\\\\\n\\x01\"");
    ck_assert_str_eq(log_quote("abcdef", quoted, 6), "\"abc\"");
    ck_assert_str_eq(log_quote("abcdef", quoted, 2), "");
}
END_TEST

START_TEST(repeats_are_held_back_and_counted)
{
    for (int i = 0; i < 1000; i++)
        log_line(&out, LOG_ERROR, "disk", "write failed", "try=%d", i);
    ck_assert_uint_eq(lines(written()), LOG_BURST);
    log_line(&out, LOG_ERROR, "disk", "something else", NULL); /* is not held back with it */
    ck_assert_uint_eq(lines(written()), 1);
    now_ns += 1000000000u;
    log_line(&out, LOG_ERROR, "disk", "write failed", "try=%d", 1000);
    const char *text = written();
    ck_assert_ptr_nonnull(strstr(text, "try=1000 held_back=995\n"));
    const struct log_entry *recent[2];
    ck_assert_uint_eq(log_recent(&out, LOG_WARN, recent, 2), 2);
    ck_assert_str_eq(recent[0]->text, "write failed");
    ck_assert_uint_eq(recent[0]->count, 1001);
    ck_assert_uint_eq(recent[0]->last_ns - recent[0]->first_ns, 1000000000u);
    /* At the end nothing stays untold. */
    for (int i = 0; i < 10; i++)
        log_line(&out, LOG_ERROR, "disk", "write failed", NULL);
    written();
    log_flush(&out);
    ck_assert_ptr_nonnull(strstr(written(), "write failed held_back=6\n"));
    log_flush(&out);
    ck_assert_str_eq(written(), "");
}
END_TEST

START_TEST(a_clock_that_goes_back_silences_nothing)
{
    for (int i = 0; i < 10; i++)
        log_line(&out, LOG_ERROR, "x", "t", NULL);
    written();
    now_ns -= 3600u * 1000000000u;
    log_line(&out, LOG_ERROR, "x", "t", NULL);
    ck_assert_uint_eq(lines(written()), 1);
}
END_TEST

START_TEST(the_table_is_bounded)
{
    char text[32];
    for (int i = 0; i < LOG_ENTRIES_MAX + 10; i++) {
        now_ns++;
        snprintf(text, sizeof text, "problem %d", i);
        log_line(&out, i % 2 == 0 ? LOG_WARN : LOG_INFO, "x", text, NULL);
    }
    ck_assert_uint_eq(lines(written()), LOG_ENTRIES_MAX + 10);
    ck_assert_uint_eq(out.count, LOG_ENTRIES_MAX);
    ck_assert_uint_eq(out.forgotten, 10);
    const struct log_entry *recent[LOG_ENTRIES_MAX];
    uint32_t n = log_recent(&out, LOG_WARN, recent, LOG_ENTRIES_MAX);
    ck_assert_uint_eq(n, LOG_ENTRIES_MAX / 2);
    ck_assert_str_eq(recent[0]->text, "problem 72");
    for (uint32_t i = 1; i < n; i++)
        ck_assert_uint_ge(recent[i - 1]->last_ns, recent[i]->last_ns);
    ck_assert_uint_eq(log_recent(&out, LOG_DEBUG, recent, 3), 3);
    ck_assert_str_eq(recent[0]->text, "problem 73");
    ck_assert_str_eq(recent[2]->text, "problem 71");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shell/log");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, a_line);
    tcase_add_test(all, one_event_is_one_line);
    tcase_add_test(all, repeats_are_held_back_and_counted);
    tcase_add_test(all, a_clock_that_goes_back_silences_nothing);
    tcase_add_test(all, the_table_is_bounded);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
