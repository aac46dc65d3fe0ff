/* Goal: each planted mistake is really made, and only when asked for. The simulator's checkers are
 * proven by catching them; here the same steps are gone through with and without. */
#include "tests/sequencer/suite.h"

static struct suite *lead(uint32_t sabotage, bool on)
{
    struct suite *t = suite_new();
    t->options.sabotage = on ? sabotage : 0;
    t->options.ring_bytes = 1;
    t->options.pace_ns = 0;
    suite_lead(t, 1);
    suite_join(t, "alice");
    suite_topic(t, 1, "/t");
    return t;
}

static void propose(struct suite *t, uint64_t number)
{
    suite_propose(t, 1, number, TOPIC_FIRST_USER, 8);
    suite_run(t);
}

START_TEST(dedup_forgotten)
{
    struct suite *t = lead(SEQUENCER_DEDUP_FORGOTTEN, _i == 1);
    for (uint64_t n = 1; n <= 5; n++)
        propose(t, n);
    suite_restart(t, t->tip);
    suite_elect(t, 1);
    propose(t, 4); /* sent again */
    ck_assert_uint_eq(suite_count(t, 1, 1), _i == 1 ? 6 : 5);
    suite_free(t);
}
END_TEST

START_TEST(clock_unclamped)
{
    struct suite *t = lead(SEQUENCER_CLOCK_UNCLAMPED, _i == 1);
    propose(t, 1);
    uint64_t last = t->last_batch.timestamp_ns;
    t->now.wall_ns -= SECOND;
    propose(t, 2);
    ck_assert_int_eq(t->last_batch.timestamp_ns < last, _i == 1);
    suite_free(t);
}
END_TEST

START_TEST(order_by_arrival)
{
    struct suite *t = lead(SEQUENCER_ORDER_BY_ARRIVAL, _i == 1);
    propose(t, 2);
    propose(t, 1);
    ck_assert_uint_eq(suite_message(t, t->tip)->publisher_seq, _i == 1 ? 1 : 2);
    ck_assert_uint_eq(suite_count(t, 1, 1), 2);
    suite_free(t);
}
END_TEST

START_TEST(ack_any_epoch)
{
    struct suite *t = lead(SEQUENCER_ACK_ANY_EPOCH, _i == 1);
    propose(t, 1);
    uint64_t tip = t->tip;
    struct ack old = suite_ack_of(t, 1, tip);
    suite_restart(t, tip);
    suite_elect(t, 1);
    old.promised = sequencer_epoch(t->core);
    suite_give_ack(t, &old);
    ck_assert_uint_eq(sequencer_stable(t->core), _i == 1 ? tip : 0);
    suite_free(t);
}
END_TEST

START_TEST(stable_unacked)
{
    struct suite *t = lead(SEQUENCER_STABLE_UNACKED, _i == 1);
    propose(t, 1);
    ck_assert_uint_eq(t->last_batch.stable, _i == 1 ? t->tip : 0);
    suite_free(t);
}
END_TEST

START_TEST(foreign_basis)
{
    struct suite *t = lead(SEQUENCER_FOREIGN_BASIS, _i == 1);
    struct offer o;
    offer_open(t, &o, 1, 1);
    o.header.position.epoch.candidate ^= 1;
    offer_add(&o, TOPIC_FIRST_USER, 0, "x", 1);
    offer_give(t, &o);
    suite_run(t);
    ck_assert_uint_eq(suite_count(t, 1, 1), _i == 1 ? 1 : 0);
    suite_free(t);
}
END_TEST

START_TEST(ring_forgets)
{
    struct suite *t = lead(SEQUENCER_RING_FORGETS, _i == 1);
    for (uint64_t n = 1; n <= 200; n++)
        propose(t, n);
    ck_assert_int_eq(suite_count(t, 1, 1) == 200, _i == 1);
    ck_assert_int_eq(sequencer_paused(t->core), _i == 0);
    suite_free(t);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { dedup_forgotten, clock_unclamped, order_by_arrival,
                                   ack_any_epoch,   stable_unacked,  foreign_basis,
                                   ring_forgets };
    Suite *suite = suite_create("sequencer_sabotage");
    TCase *tcase = tcase_create("sequencer_sabotage");
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_loop_test(tcase, tests[i], 0, 2);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
