/* The comparing of state digests, without a stream: what is shown when, who differs from whom, what
 * is not comparable, and what happens to what comes late, twice or too often. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/digest_monitor.h"

static struct digest_monitor m;
static uint32_t shown;
static uint64_t shown_seq;
static uint32_t shown_count; /* statements of the point shown last */

static void show(void *ctx, const struct digest_monitor *monitor, const struct digest_point *p)
{
    ck_assert_ptr_eq(ctx, &m);
    ck_assert_ptr_eq(monitor, &m);
    shown++;
    shown_seq = p->position.seq;
    shown_count = p->count;
}

static void reset(void)
{
    memset(&m, 0, sizeof m);
    m.show = show;
    m.ctx = &m;
    shown = 0;
}

static void say_as(const char *who, uint64_t seq, uint64_t digest, uint32_t version, uint64_t skips)
{
    struct sys_digest d = {
        .logic_version = version, .position = { { 9, 1 }, seq }, .digest = digest, .skips = skips
    };
    digest_monitor_add(&m, who, &d);
}

static void say(const char *who, uint64_t seq, uint64_t digest)
{
    say_as(who, seq, digest, 1, 0);
}

START_TEST(a_point_is_shown_when_all_have_spoken_or_time_has_gone_on)
{
    reset();
    say("a", 10, 1);
    ck_assert_uint_eq(shown, 1); /* nobody else is known */
    say("b", 10, 1);
    ck_assert_uint_eq(shown, 2); /* again, for there is more */
    ck_assert_uint_eq(shown_count, 2);
    say("b", 10, 1);
    ck_assert_uint_eq(shown, 2); /* nothing new */
    ck_assert_uint_eq(m.compared, 1);
    say("a", 20, 2);
    say("a", 30, 3);
    ck_assert_uint_eq(shown, 2); /* b may still come */
    say("b", 20, 2);
    ck_assert_uint_eq(shown_seq, 20);
    say("a", 40, 4);
    say("a", 50, 5);
    ck_assert_uint_eq(shown_seq, 30); /* b has fallen behind */
    ck_assert_uint_eq(shown_count, 1);
    say("b", 30, 3);
    ck_assert_uint_eq(shown_count, 2);
    ck_assert_uint_eq(m.compared, 3);
    uint32_t before = shown;
    digest_monitor_end(&m);
    ck_assert_uint_eq(shown, before + 2);
    ck_assert_ptr_null(digest_monitor_mismatch(&m));
}
END_TEST

START_TEST(who_differs_from_whom)
{
    reset();
    say("a", 10, 1);
    say("b", 10, 1);
    say("c", 20, 7);
    say("c", 10, 2);
    say("a", 20, 8);
    const struct digest_point *p = digest_monitor_mismatch(&m);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq(p->position.seq, 10); /* the lowest, not the one found first */
    ck_assert(digest_point_complete(&m, p));
    int first = digest_group_next(p, -1);
    int second = digest_group_next(p, first);
    ck_assert_int_eq(first, 0);
    ck_assert_int_eq(second, 2);
    ck_assert_int_eq(digest_group_next(p, second), -1);
    ck_assert_uint_eq(digest_group_size(p, first), 2);
    ck_assert_uint_eq(digest_group_size(p, second), 1);
    ck_assert(digest_group_is_majority(p, first));
    ck_assert(!digest_group_is_majority(p, second));
    say("d", 10, 2); /* two against two */
    p = digest_monitor_mismatch(&m);
    ck_assert(!digest_group_is_majority(p, first));
    ck_assert(!digest_group_is_majority(p, second));
}
END_TEST

START_TEST(a_replica_can_differ_from_itself)
{
    reset();
    say("a", 10, 1);
    say("a", 10, 2);
    ck_assert_ptr_nonnull(digest_monitor_mismatch(&m));
}
END_TEST

START_TEST(positions_of_other_epochs_versions_and_skips_are_not_compared)
{
    reset();
    say_as("a", 10, 1, 1, 0);
    say_as("b", 10, 2, 2, 0);
    say_as("c", 10, 3, 1, 5);
    struct sys_digest other = { .logic_version = 1, .position = { { 8, 1 }, 10 }, .digest = 4 };
    digest_monitor_add(&m, "d", &other);
    ck_assert_ptr_null(digest_monitor_mismatch(&m));
    ck_assert_uint_eq(m.compared, 0);
    ck_assert_uint_eq(m.point_count, 2);
    say_as("e", 10, 3, 2, 0);
    ck_assert_ptr_nonnull(digest_monitor_mismatch(&m));
    const struct digest_point *p = digest_monitor_mismatch(&m);
    ck_assert(digest_group_is_majority(p, 0)); /* nobody disputes it */
    ck_assert(!digest_group_is_majority(p, 1));
}
END_TEST

START_TEST(what_is_forgotten_was_shown_and_its_mismatch_is_kept)
{
    reset();
    say("a", 10, 1);
    say("b", 10, 2);
    for (uint64_t i = 2; i <= DIGEST_POINTS_MAX + 10; i++)
        say("b", i * 10, i);
    ck_assert_uint_eq(m.point_count, DIGEST_POINTS_MAX);
    const struct digest_point *p = digest_monitor_mismatch(&m);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq(p->position.seq, 10);
    ck_assert_uint_eq(m.overflow, 0);
    say("a", 20, 5); /* too late */
    ck_assert_uint_eq(m.overflow, 1);
    ck_assert_uint_eq(m.point_count, DIGEST_POINTS_MAX);
    say("a", 205, 5); /* between two that are kept */
    for (uint32_t i = 1; i < m.point_count; i++)
        ck_assert_uint_lt(m.points[i - 1].position.seq, m.points[i].position.seq);
    digest_monitor_end(&m);
    for (uint32_t i = 0; i < m.point_count; i++)
        ck_assert(m.points[i].shown);
}
END_TEST

START_TEST(too_many_are_counted)
{
    reset();
    for (int i = 0; i < DIGEST_REPLICAS_MAX + 3; i++) {
        char name[24];
        snprintf(name, sizeof name, "replica-%d", i);
        say(name, 10, 1);
    }
    ck_assert_uint_eq(m.replica_count, DIGEST_REPLICAS_MAX);
    ck_assert_uint_eq(m.overflow, 3);
    for (uint64_t digest = 2; digest < 100; digest++)
        say("replica-0", 10, digest);
    ck_assert_uint_eq(m.points[0].count, DIGEST_STATEMENTS_MAX);
    ck_assert_uint_eq(m.overflow, 3 + 98 - (DIGEST_STATEMENTS_MAX - DIGEST_REPLICAS_MAX));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("digest_monitor");
    TCase *t = tcase_create("digest_monitor");
    tcase_add_test(t, a_point_is_shown_when_all_have_spoken_or_time_has_gone_on);
    tcase_add_test(t, who_differs_from_whom);
    tcase_add_test(t, a_replica_can_differ_from_itself);
    tcase_add_test(t, positions_of_other_epochs_versions_and_skips_are_not_compared);
    tcase_add_test(t, what_is_forgotten_was_shown_and_its_mismatch_is_kept);
    tcase_add_test(t, too_many_are_counted);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
