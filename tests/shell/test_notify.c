/* What the service manager hears: the test is the manager, with a datagram socket of its own, by path
 * and in the abstract space, and reads back exactly what was sent. Also that nothing is sent where
 * nobody asked, and that a manager which is gone or does not read holds nothing up. */
#include <check.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shell/notify.h"

static char directory[] = "/tmp/cantus-notify-XXXXXX";
static char path[64];
static int manager = -1;
static struct notify n;

static void listen_at(const char *name)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    size_t length = strlen(name);
    memcpy(at.sun_path, name, length + 1);
    if (name[0] == '@')
        at.sun_path[0] = '\0';
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    ck_assert_int_ge(manager, 0);
    ck_assert_int_eq(
        bind(manager, (const struct sockaddr *)(const void *)&at,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (name[0] != '@'))),
        0);
    setenv("NOTIFY_SOCKET", name, 1);
}

static void setup(void)
{
    strcpy(directory, "/tmp/cantus-notify-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/manager", directory);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

static void teardown(void)
{
    notify_close(&n);
    if (manager >= 0)
        close(manager);
    manager = -1;
    unlink(path);
    rmdir(directory);
}

/* The next datagram, "" if there is none. */
static const char *heard(void)
{
    static char text[1024];
    ssize_t length = recv(manager, text, sizeof text - 1, 0);
    text[length > 0 ? length : 0] = '\0';
    return text;
}

START_TEST(nobody_to_tell)
{
    setenv("WATCHDOG_USEC", "3000000", 1);
    notify_open(&n);
    ck_assert_int_eq(n.fd, -1);
    ck_assert(!notify_ready(&n, "fine"));
    ck_assert(!notify_status(&n, "fine"));
    ck_assert(!notify_stopping(&n));
    ck_assert(!notify_alive(&n, UINT64_C(1) << 60));
    ck_assert_uint_eq(notify_wait_ns(&n, 77), 77);
}
END_TEST

START_TEST(all_that_can_be_said)
{
    listen_at(path);
    notify_open(&n);
    ck_assert(notify_ready(&n, "leading epoch 3"));
    ck_assert_str_eq(heard(), "READY=1\nSTATUS=leading epoch 3");
    ck_assert(notify_ready(&n, NULL));
    ck_assert_str_eq(heard(), "READY=1\n");
    ck_assert(notify_status(&n, "following"));
    ck_assert_str_eq(heard(), "STATUS=following");
    ck_assert(notify_stopping(&n));
    ck_assert_str_eq(heard(), "STOPPING=1");
    ck_assert_str_eq(heard(), "");
}
END_TEST

START_TEST(an_abstract_name)
{
    char name[64];
    snprintf(name, sizeof name, "@cantus-notify-%d", (int)getpid());
    listen_at(name);
    notify_open(&n);
    ck_assert(notify_stopping(&n));
    ck_assert_str_eq(heard(), "STOPPING=1");
}
END_TEST

START_TEST(children_do_not_inherit_it)
{
    listen_at(path);
    setenv("WATCHDOG_USEC", "3000000", 1);
    notify_open(&n);
    ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
    ck_assert_ptr_null(getenv("WATCHDOG_USEC"));
    ck_assert_ptr_null(getenv("WATCHDOG_PID"));
}
END_TEST

START_TEST(names_that_are_none)
{
    char longer[200];
    memset(longer, 'x', sizeof longer);
    longer[0] = '/';
    longer[sizeof longer - 1] = '\0';
    const char *const bad[] = { "", "relative", "/", "@", longer };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        setenv("NOTIFY_SOCKET", bad[i], 1);
        notify_open(&n);
        ck_assert_int_eq(n.fd, -1);
        ck_assert(!notify_ready(&n, NULL));
    }
}
END_TEST

/* A line break would be another assignment, and what is too long is cut, not dropped. */
START_TEST(a_status_stays_one_line)
{
    char text[2 * NOTIFY_STATUS_MAX];
    listen_at(path);
    notify_open(&n);
    ck_assert(notify_status(&n, "why\nREADY=1\rSTOPPING=1"));
    ck_assert_str_eq(heard(), "STATUS=why READY=1 STOPPING=1");
    memset(text, 's', sizeof text);
    text[sizeof text - 1] = '\0';
    ck_assert(notify_ready(&n, text));
    ck_assert_uint_eq(strlen(heard()), strlen("READY=1\nSTATUS=") + NOTIFY_STATUS_MAX);
}
END_TEST

START_TEST(the_watchdog_is_told_in_time)
{
    listen_at(path);
    setenv("WATCHDOG_USEC", "3000", 1);
    notify_open(&n);
    ck_assert_uint_eq(n.watchdog_ns, 3000000);
    ck_assert_uint_eq(notify_wait_ns(&n, 500000), 500000);
    ck_assert_uint_eq(notify_wait_ns(&n, 5000000), 1000000);
    uint64_t now = 1000000000;
    ck_assert(notify_alive(&n, now));
    ck_assert_str_eq(heard(), "WATCHDOG=1");
    ck_assert(!notify_alive(&n, now));
    ck_assert(!notify_alive(&n, now + 999999));
    ck_assert(notify_alive(&n, now + 1000000));
    ck_assert_str_eq(heard(), "WATCHDOG=1");
    ck_assert_str_eq(heard(), "");
}
END_TEST

START_TEST(watchdogs_of_others)
{
    static const struct {
        const char *usec, *pid;
    } none[] = { { "3000000", "1" },
                 { "", NULL },
                 { "many", NULL },
                 { "0", NULL },
                 { "-1", NULL },
                 { "3000000x", NULL },
                 { "3000000", "" },
                 { "99999999999999999999999", NULL },
                 { "18446744073709551615", NULL } };
    listen_at(path);
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        setenv("NOTIFY_SOCKET", path, 1);
        setenv("WATCHDOG_USEC", none[i].usec, 1);
        if (none[i].pid != NULL)
            setenv("WATCHDOG_PID", none[i].pid, 1);
        notify_open(&n);
        ck_assert_uint_eq(n.watchdog_ns, 0);
        ck_assert(!notify_alive(&n, UINT64_C(1) << 60));
        notify_close(&n);
    }
    char own[32];
    snprintf(own, sizeof own, "%d", (int)getpid());
    setenv("NOTIFY_SOCKET", path, 1);
    setenv("WATCHDOG_USEC", "3000000", 1);
    setenv("WATCHDOG_PID", own, 1);
    notify_open(&n);
    ck_assert_uint_eq(n.watchdog_ns, 3000000000);
}
END_TEST

START_TEST(a_manager_that_is_gone_or_does_not_read)
{
    listen_at(path);
    setenv("WATCHDOG_USEC", "3000", 1);
    notify_open(&n);
    int sent = 0;
    while (sent < 100000 && notify_status(&n, "not read"))
        sent++;
    ck_assert_int_gt(sent, 0);
    ck_assert_int_lt(sent, 100000); /* its queue is full, and we are still here */
    close(manager);
    manager = -1;
    ck_assert(!notify_status(&n, "gone"));
    ck_assert(!notify_alive(&n, 1000000000));
    ck_assert_uint_eq(n.told_ns, 1000000000); /* not tried again in the next round */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("shell/notify");
    TCase *t = tcase_create("notify");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, nobody_to_tell);
    tcase_add_test(t, all_that_can_be_said);
    tcase_add_test(t, an_abstract_name);
    tcase_add_test(t, children_do_not_inherit_it);
    tcase_add_test(t, names_that_are_none);
    tcase_add_test(t, a_status_stays_one_line);
    tcase_add_test(t, the_watchdog_is_told_in_time);
    tcase_add_test(t, watchdogs_of_others);
    tcase_add_test(t, a_manager_that_is_gone_or_does_not_read);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
