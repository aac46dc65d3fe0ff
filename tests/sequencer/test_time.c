/* Goal: time never goes back and is never taken from a clock that is far off; whatever the clocks
 * do, it goes on. suite.c does not check timestamps: here every batch is looked at. */
#include "tests/sequencer/suite.h"

static struct suite *lead(void)
{
    struct suite *t = suite_new();
    suite_lead(t, 1);
    suite_join(t, "alice");
    suite_topic(t, 1, "/t");
    return t;
}

static uint64_t stamp(struct suite *t)
{
    uint64_t before = t->last_batch.timestamp_ns;
    suite_propose(t, 1, ledger_next(sequencer_ledger(t->core), 1), TOPIC_FIRST_USER, 8);
    suite_step(t);
    ck_assert_uint_ge(t->last_batch.timestamp_ns, before);
    return t->last_batch.timestamp_ns;
}

START_TEST(the_clock_is_the_time)
{
    struct suite *t = lead();
    for (int i = 0; i < 10; i++) {
        suite_advance(t, 3 * MS);
        ck_assert_uint_eq(stamp(t), t->now.wall_ns);
    }
    ck_assert_uint_eq(suite_counter(t, COUNTER_CLOCK_BEHIND), 0);
    suite_free(t);
}
END_TEST

START_TEST(behind_the_last_stamp_time_goes_on_at_half_its_rate)
{
    struct suite *t = lead();
    uint64_t last = stamp(t);
    t->now.wall_ns -= 10 * SECOND;
    ck_assert_uint_eq(stamp(t), last);
    for (int i = 1; i <= 5; i++) {
        t->now.mono_ns += SECOND;
        t->now.wall_ns += SECOND;
        ck_assert_uint_eq(stamp(t), last + (uint64_t)i * SECOND / 2);
    }
    for (int i = 1; i <= 200; i++) { /* odd little steps add up */
        t->now.mono_ns += 3;
        t->now.wall_ns += 3;
        stamp(t);
    }
    ck_assert_uint_eq(stamp(t), last + 5 * SECOND / 2 + 300);
    t->now.mono_ns += 20 * SECOND;
    t->now.wall_ns += 20 * SECOND; /* it has caught up */
    ck_assert_uint_eq(stamp(t), t->now.wall_ns);
    ck_assert_uint_eq(suite_counter(t, COUNTER_CLOCK_BEHIND), 1);
    t->now.wall_ns -= SECOND;
    stamp(t);
    ck_assert_uint_eq(suite_counter(t, COUNTER_CLOCK_BEHIND), 2);
    suite_free(t);
}
END_TEST

START_TEST(a_clock_far_ahead_of_the_stores_is_refused)
{
    struct suite *t = lead();
    uint64_t true_time = t->now.wall_ns;
    stamp(t);
    t->now.wall_ns += 3600 * SECOND;
    t->now.mono_ns += SECOND;
    ck_assert_uint_eq(stamp(t), true_time + SECOND); /* the store's clock, which went on */
    ck_assert_uint_eq(suite_counter(t, COUNTER_CLOCK_REFUSED), 1);
    t->now.mono_ns += SECOND;
    t->now.wall_ns += SECOND;
    ck_assert_uint_eq(stamp(t), true_time + 2 * SECOND);
    ck_assert_uint_eq(suite_counter(t, COUNTER_CLOCK_REFUSED), 1);
    /* The store says that an hour has passed indeed. */
    suite_ack(t, 1, t->tip);
    ck_assert_uint_eq(stamp(t), t->now.wall_ns);
    suite_free(t);
}
END_TEST

START_TEST(a_little_ahead_is_allowed)
{
    struct suite *t = lead();
    t->now.wall_ns += t->options.clock_ahead_max_ns;
    ck_assert_uint_eq(stamp(t), t->now.wall_ns);
    t->now.wall_ns += 1;
    ck_assert_uint_lt(stamp(t), t->now.wall_ns);
    ck_assert_uint_eq(suite_counter(t, COUNTER_CLOCK_REFUSED), 1);
    suite_free(t);
}
END_TEST

/* One store whose clock is far ahead does not make ours believable, nor one far behind refuse it.
 */
START_TEST(it_is_the_median_of_the_members_that_counts)
{
    struct suite *t = suite_new();
    suite_lead(t, 3);
    suite_join(t, "alice");
    suite_topic(t, 1, "/t");
    struct ack a = suite_ack_of(t, 1, t->tip);
    a.clock_ns = t->now.wall_ns + 7200 * SECOND;
    suite_give_ack(t, &a);
    a.store = 2;
    a.clock_ns = t->now.wall_ns;
    suite_give_ack(t, &a);
    a.store = 3;
    a.clock_ns = t->now.wall_ns - 7200 * SECOND;
    suite_give_ack(t, &a);
    for (uint64_t store = 10; store < 20; store++) { /* no members */
        a.store = store;
        a.clock_ns = t->now.wall_ns + 7200 * SECOND;
        suite_give_ack(t, &a);
    }
    ck_assert_uint_eq(stamp(t), t->now.wall_ns);
    uint64_t true_time = t->now.wall_ns;
    t->now.wall_ns += 3600 * SECOND;
    ck_assert_uint_eq(stamp(t), true_time);
    ck_assert_uint_eq(suite_counter(t, COUNTER_CLOCK_REFUSED), 1);
    suite_free(t);
}
END_TEST

START_TEST(a_restart_with_a_clock_behind_does_not_go_back)
{
    struct suite *t = lead();
    suite_advance(t, 100 * SECOND);
    uint64_t last = stamp(t);
    t->now.wall_ns -= 50 * SECOND;
    suite_restart(t, t->tip);
    suite_elect(t, 1);
    ck_assert_uint_ge(t->last_batch.timestamp_ns, last);
    ck_assert_uint_lt(t->last_batch.timestamp_ns, last + 10 * SECOND);
    suite_free(t);
}
END_TEST

SUITE_MAIN("sequencer_time", the_clock_is_the_time,
           behind_the_last_stamp_time_goes_on_at_half_its_rate,
           a_clock_far_ahead_of_the_stores_is_refused, a_little_ahead_is_allowed,
           it_is_the_median_of_the_members_that_counts,
           a_restart_with_a_clock_behind_does_not_go_back)
