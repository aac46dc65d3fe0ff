/* Goal: a lease's process campaigns, promotes and gives up when it should, and above all not when it
 * should not: a sequencer that leads well never loses its lease by its own doing, and none is
 * promoted beside it. Time is passed in. */
#include "cli/lease.h"

#include <check.h>
#include <stdlib.h>

#define MS  UINT64_C(1000000)
#define TTL (3000 * MS)

static struct lease l;
static struct lease_view v;

static void fresh(void)
{
    lease_init(&l, TTL, 1000 * MS);
    v = (struct lease_view) { .now_ns = 1000 * MS, .answers = true, .follows = true };
}

static enum lease_action after(uint64_t ns)
{
    v.now_ns += ns;
    return lease_decide(&l, &v);
}

/* Every combination of facts, for one that has just begun: what is allowed in each. */
START_TEST(what_is_done_in_each_case)
{
    for (int bits = 0; bits < 32; bits++) {
        fresh();
        v.holds = bits & 1;
        v.answers = bits & 2;
        v.follows = v.answers && (bits & 4);
        v.leads = v.answers && !v.follows && (bits & 8);
        v.other_leads = !v.leads && (bits & 16);
        enum lease_action action = lease_decide(&l, &v);
        bool promotes = v.holds && v.follows && !v.other_leads;
        ck_assert_int_eq(action == LEASE_PROMOTE, promotes);
        ck_assert_int_eq(action == LEASE_GIVE_UP, v.holds && v.other_leads);
        if (v.leads)
            ck_assert_int_eq(action, LEASE_CAMPAIGN);
        if (!v.holds && !v.leads)
            ck_assert_int_eq(action, v.follows && !v.other_leads ? LEASE_CAMPAIGN : LEASE_WAIT);
    }
}
END_TEST

START_TEST(a_leader_keeps_it_through_hiccups)
{
    fresh();
    v.holds = true;
    v.leads = true;
    v.follows = false;
    for (int i = 0; i < 1000; i++) {
        v.answers = v.leads = i % 3 == 0;
        ck_assert_int_eq(after(TTL / 8), LEASE_CAMPAIGN);
    }
}
END_TEST

START_TEST(one_that_does_not_answer_gives_it_up)
{
    fresh();
    v.holds = true;
    v.answers = v.follows = false;
    ck_assert_int_eq(after(lease_patience_ns(&l)), LEASE_CAMPAIGN);
    ck_assert_int_eq(after(1), LEASE_GIVE_UP);
    ck_assert_str_eq(l.why, "its sequencer does not answer");
    /* One that leads, by its own word, without stores. */
    fresh();
    v.holds = true;
    v.follows = false;
    ck_assert_int_eq(after(lease_patience_ns(&l)), LEASE_CAMPAIGN);
    ck_assert_int_eq(after(1), LEASE_GIVE_UP);
    ck_assert_str_eq(l.why, "its sequencer does not hear the stores it needs");
}
END_TEST

START_TEST(a_promotion_is_waited_for)
{
    fresh();
    v.holds = true;
    ck_assert_int_eq(after(0), LEASE_PROMOTE);
    lease_promotion_taken(&l, v.now_ns);
    v.follows = false;
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(after(TTL / 10), LEASE_CAMPAIGN);
    ck_assert_int_eq(after(1), LEASE_GIVE_UP);
    v.holds = false;
    v.follows = true;
    ck_assert_int_eq(after(0), LEASE_WAIT);
}
END_TEST

START_TEST(one_that_stands_by_again_is_promoted_again)
{
    fresh();
    v.holds = true;
    ck_assert_int_eq(after(0), LEASE_PROMOTE);
    lease_promotion_taken(&l, v.now_ns);
    ck_assert_int_eq(after(lease_patience_ns(&l)), LEASE_CAMPAIGN);
    ck_assert_int_eq(after(1), LEASE_PROMOTE);
}
END_TEST

START_TEST(refusals_are_paused_after_longer_each_time)
{
    uint64_t paused_ns[6];
    fresh();
    for (int i = 0; i < 6; i++) {
        lease_promotion_refused(&l, v.now_ns, 0);
        uint64_t began_ns = v.now_ns;
        while (after(MS) == LEASE_WAIT)
            ;
        paused_ns[i] = v.now_ns - began_ns;
        ck_assert_uint_le(paused_ns[i], 2000 * MS);
        ck_assert(i == 0 || paused_ns[i] >= paused_ns[i - 1]);
    }
    ck_assert_uint_eq(paused_ns[0], 250 * MS);
    ck_assert_uint_eq(paused_ns[5], 2000 * MS);
    /* By chance, so that two are not refused in step; and forgotten once one is taken. */
    lease_promotion_taken(&l, v.now_ns);
    lease_promotion_refused(&l, v.now_ns, 250 * MS);
    ck_assert_uint_eq(l.pause_until_ns - v.now_ns, 500 * MS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lease");
    TCase *tests = tcase_create("lease");
    tcase_add_test(tests, what_is_done_in_each_case);
    tcase_add_test(tests, a_leader_keeps_it_through_hiccups);
    tcase_add_test(tests, one_that_does_not_answer_gives_it_up);
    tcase_add_test(tests, a_promotion_is_waited_for);
    tcase_add_test(tests, one_that_stands_by_again_is_promoted_again);
    tcase_add_test(tests, refusals_are_paused_after_longer_each_time);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
