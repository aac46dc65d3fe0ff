/* Goal: the longest pause is told with what took most of it, and is forgotten after a minute or two
 * where it should be. The clock is the test's: a pause is what the rounds' times say. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "shell/pauses.h"

static const uint64_t second_ns = UINT64_C(1000000000);
static struct pauses pauses;
static struct port_time now;

static void setup(void)
{
    now = (struct port_time) { .mono_ns = 1000 * second_ns, .wall_ns = 5000 * second_ns };
    pauses = (struct pauses) { .minute_ns = now.mono_ns };
}

static void pass(uint64_t ns)
{
    now.mono_ns += ns;
    now.wall_ns += ns;
}

static void clock_read(void)
{
    pauses_read(&pauses, now.mono_ns);
}

/* A round that takes so long, most of it in the step of s1. */
static void slow_round(uint64_t ns)
{
    pauses_round(&pauses, now);
    pauses_did(&pauses, "s1", PAUSES_STEP);
    pass(ns);
    pauses_round(&pauses, now);
    pauses_rest(&pauses);
}

START_TEST(what_took_most_of_it_is_named)
{
    pauses_round(&pauses, now);
    pauses_did(&pauses, "s1", PAUSES_DATAGRAMS);
    pass(10);
    clock_read();
    pauses_did(&pauses, "s1", PAUSES_STEP);
    pauses_did(&pauses, "r1", PAUSES_DISK);
    pass(50);
    clock_read();
    pauses_did(&pauses, "r1", PAUSES_STEP);
    pass(20);
    pauses_round(&pauses, now);
    ck_assert_uint_eq(pauses.max.duration_ns, 80);
    ck_assert_uint_eq(pauses.max.wall_ns, now.wall_ns);
    ck_assert_str_eq(pauses.max.what, "s1 to r1: disk, step");
}
END_TEST

START_TEST(one_participant_is_named_alone)
{
    slow_round(5);
    ck_assert_str_eq(pauses.max.what, "s1: step");
    pauses_round(&pauses, now);
    pauses_did(&pauses, NULL, PAUSES_CALLER);
    pass(7);
    pauses_round(&pauses, now);
    ck_assert_str_eq(pauses.max.what, "caller");
}
END_TEST

START_TEST(a_wait_is_no_pause)
{
    pauses_round(&pauses, now);
    pass(10);
    pauses_rest(&pauses);
    pass(3600 * second_ns);
    pauses_round(&pauses, now);
    ck_assert_uint_eq(pauses.max.duration_ns, 0);
    pass(1);
    pauses_round(&pauses, now);
    ck_assert_uint_eq(pauses.max.duration_ns, 1);
}
END_TEST

START_TEST(recent_ones_are_forgotten_and_the_longest_is_not)
{
    slow_round(1000);
    slow_round(10);
    ck_assert_uint_eq(pauses_recent(&pauses, now.mono_ns).duration_ns, 1000);
    pass(61 * second_ns);
    slow_round(20);
    ck_assert_uint_eq(pauses_recent(&pauses, now.mono_ns).duration_ns, 1000);
    pass(61 * second_ns);
    slow_round(5);
    ck_assert_uint_eq(pauses_recent(&pauses, now.mono_ns).duration_ns, 20);
    ck_assert_uint_eq(pauses_recent(&pauses, now.mono_ns + 130 * second_ns).duration_ns, 0);
    ck_assert_uint_eq(pauses.max.duration_ns, 1000);
}
END_TEST

START_TEST(long_names_are_cut)
{
    char name[200];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    pauses_round(&pauses, now);
    pauses_did(&pauses, "a", PAUSES_DATAGRAMS | PAUSES_STREAMS | PAUSES_DISK);
    pauses_did(&pauses, name, PAUSES_STEP | PAUSES_CALLER);
    pass(5);
    pauses_round(&pauses, now);
    ck_assert_uint_le(strlen(pauses.max.what), LOOP_PAUSE_WHAT_MAX);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pauses");
    TCase *tcase = tcase_create("pauses");
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, what_took_most_of_it_is_named);
    tcase_add_test(tcase, one_participant_is_named_alone);
    tcase_add_test(tcase, a_wait_is_no_pause);
    tcase_add_test(tcase, recent_ones_are_forgotten_and_the_longest_is_not);
    tcase_add_test(tcase, long_names_are_cut);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
