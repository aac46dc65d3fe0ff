/* Gaps: when they are asked for, of whom, how often, and what refusals do. Time is the test's; the
 * requests are read off the fake port. */
#include <check.h>
#include <stdlib.h>

#include "rig.h"

enum { SOURCES = 3 };
static struct history *h;
static struct rig *r;

static void setup(void)
{
    struct follower_options o = rig_options(FOLLOWER_SEQUENCED, SOURCES, false);
    r = rig_new(&o);
    h = history_new();
    history_begin(h, 1);
    for (uint32_t i = 0; i < 60; i++)
        history_write(h, 2);
    rig_batches(r, h, 0, 4);
}

static void teardown(void)
{
    rig_free(r);
    free(h);
}

START_TEST(asks_after_the_delay_and_fills)
{
    rig_batch(r, h, 6);
    ck_assert_uint_eq(follower_step(r->follower, r->now), r->now.mono_ns + 20 * RIG_MICROSECOND);
    ck_assert_uint_eq(r->port.sent_count, 0);
    r->now.mono_ns += 20 * RIG_MICROSECOND;
    follower_step(r->follower, r->now);
    ck_assert_uint_eq(r->port.sent_count, 1);
    struct gap_request q = rig_request(r, 0);
    ck_assert_uint_eq(q.first_seq, h->batches[4].header.first_seq);
    ck_assert_uint_eq(q.end_seq, h->batches[6].header.first_seq);
    ck_assert(epoch_equal(q.epoch, h->epoch));
    ck_assert(!follower_caught_up(r->follower));
    rig_serve(r, h);
    ck_assert(rig_has(r, h, 7));
    ck_assert(follower_caught_up(r->follower));
    ck_assert_uint_eq(r->counters[COUNTER_GAPS], 1);
    ck_assert_uint_eq(r->counters[COUNTER_GAP_REQUESTS_OUT], 1);
    ck_assert_uint_eq(r->counters[COUNTER_FILLS_IN], 2);
    ck_assert_uint_eq(follower_step(r->follower, r->now), PORT_NEVER);
}
END_TEST

START_TEST(reordering_within_the_delay_asks_nothing)
{
    rig_batch(r, h, 5);
    rig_pass(r, 10 * RIG_MICROSECOND);
    rig_batch(r, h, 4);
    rig_pass(r, RIG_MILLISECOND);
    ck_assert_uint_eq(r->port.sent_count, 0);
    ck_assert(rig_has(r, h, 6));
}
END_TEST

START_TEST(tail_loss_is_noticed_by_a_heartbeat)
{
    rig_heartbeat(r, h, 10);
    rig_pass(r, 20 * RIG_MICROSECOND);
    ck_assert_uint_eq(r->port.sent_count, 1);
    ck_assert_uint_eq(rig_request(r, 0).end_seq, h->batches[10].header.first_seq);
    rig_serve(r, h);
    ck_assert(rig_has(r, h, 10));
}
END_TEST

START_TEST(retries_double_and_go_round_to_the_leader_last)
{
    rig_batch(r, h, 6);
    rig_pass(r, 20 * RIG_MICROSECOND);
    uint64_t waited = 0;
    for (uint32_t i = 0; i < 12; i++) {
        uint64_t deadline = follower_step(r->follower, r->now);
        ck_assert_uint_ge(deadline - r->now.mono_ns, waited);
        waited = deadline - r->now.mono_ns;
        ck_assert_uint_le(waited, 50 * RIG_MILLISECOND);
        r->now.mono_ns = deadline;
        follower_step(r->follower, r->now);
    }
    ck_assert_uint_eq(waited, 50 * RIG_MILLISECOND);
    ck_assert_uint_eq(r->port.sent_count, 13);
    ck_assert_uint_eq(r->counters[COUNTER_GAP_RETRIES], 12);
    for (uint32_t i = 0; i < 13; i++) {
        bool leader = port_addr_equal(r->port.sent[i].to, RIG_LEADER);
        ck_assert(leader == (i % (SOURCES + 1) == SOURCES));
        if (i > 0)
            ck_assert(!port_addr_equal(r->port.sent[i].to, r->port.sent[i - 1].to));
    }
}
END_TEST

START_TEST(a_leader_alone_is_asked)
{
    follower_set_sources(r->follower, NULL, 0);
    rig_batch(r, h, 6);
    rig_pass(r, 20 * RIG_MICROSECOND);
    ck_assert_uint_eq(r->port.sent_count, 1);
    ck_assert(port_addr_equal(r->port.sent[0].to, RIG_LEADER));
}
END_TEST

START_TEST(never_asks_itself)
{
    struct follower_source self = { .unicast = r->port.port.self };
    follower_set_sources(r->follower, &self, 1);
    rig_batch(r, h, 6);
    for (uint32_t i = 0; i < 6; i++)
        rig_step(r);
    for (uint32_t i = 0; i < r->port.sent_count; i++)
        ck_assert(port_addr_equal(r->port.sent[i].to, RIG_LEADER));
}
END_TEST

START_TEST(a_partial_answer_is_followed_by_the_rest_of_the_same_source)
{
    rig_batch(r, h, 30);
    rig_pass(r, 20 * RIG_MICROSECOND);
    struct port_addr first = r->port.sent[0].to;
    rig_forget_sent(r);
    for (uint32_t i = 4; i < 14; i++)
        rig_fill(r, h, i);
    rig_pass(r, 20 * RIG_MICROSECOND);
    ck_assert_uint_eq(r->port.sent_count, 1);
    ck_assert_uint_eq(rig_request(r, 0).first_seq, h->batches[14].header.first_seq);
    ck_assert(port_addr_equal(r->port.sent[0].to, first));
    ck_assert_uint_eq(r->counters[COUNTER_GAP_RETRIES], 0);
    rig_serve(r, h);
    ck_assert(rig_has(r, h, 31));
}
END_TEST

START_TEST(several_holes_are_asked_for_together_but_boundedly)
{
    for (uint32_t i = 5; i < 59; i += 2)
        rig_batch(r, h, i);
    rig_pass(r, 20 * RIG_MICROSECOND);
    ck_assert_uint_eq(r->port.sent_count, 16);
    rig_serve(r, h);
    ck_assert(rig_heal(r, h));
    ck_assert(rig_has(r, h, 58));
}
END_TEST

START_TEST(refusal_moves_on_at_once_but_not_for_ever)
{
    rig_batch(r, h, 6);
    rig_pass(r, 20 * RIG_MICROSECOND);
    for (uint32_t i = 0; i < SOURCES + 1; i++) {
        ck_assert_uint_eq(r->port.sent_count, 1);
        struct gap_request q = rig_request(r, 0);
        struct port_addr from = r->port.sent[0].to;
        rig_forget_sent(r);
        rig_refuse(r, &q, GAP_NOT_YET, 1, from);
        follower_step(r->follower, r->now);
    }
    ck_assert_uint_eq(r->port.sent_count, 0); /* all have refused: now wait */
    ck_assert_uint_ge(follower_step(r->follower, r->now), r->now.mono_ns + 300 * RIG_MICROSECOND);
    ck_assert(rig_heal(r, h));
    ck_assert(rig_has(r, h, 7));
}
END_TEST

START_TEST(busy_keeps_the_pause)
{
    rig_batch(r, h, 6);
    rig_pass(r, 20 * RIG_MICROSECOND);
    struct gap_request q = rig_request(r, 0);
    struct port_addr from = r->port.sent[0].to;
    rig_forget_sent(r);
    rig_refuse(r, &q, GAP_BUSY, 1, from);
    follower_step(r->follower, r->now);
    ck_assert_uint_eq(r->port.sent_count, 0);
    rig_step(r);
    ck_assert_uint_eq(r->port.sent_count, 1);
    ck_assert(!port_addr_equal(r->port.sent[0].to, from));
}
END_TEST

START_TEST(foreign_refusals_are_ignored)
{
    rig_batch(r, h, 6);
    rig_pass(r, 20 * RIG_MICROSECOND);
    struct gap_request q = rig_request(r, 0);
    rig_forget_sent(r);
    q.nonce ^= 1;
    rig_refuse(r, &q, GAP_NOT_YET, 1, rig_source_udp(0));
    q.nonce = 0;
    rig_refuse(r, &q, GAP_PRUNED, 900, rig_source_udp(0));
    follower_step(r->follower, r->now);
    ck_assert_uint_eq(r->port.sent_count, 0);
}
END_TEST

START_TEST(lost_is_said_once_when_all_have_pruned)
{
    rig_batch(r, h, 6);
    rig_pass(r, 20 * RIG_MICROSECOND);
    for (uint32_t i = 0; i < 3 * (SOURCES + 1); i++) {
        while (r->port.sent_count == 0)
            rig_step(r);
        ck_assert_uint_eq(r->losts, i > SOURCES);
        struct gap_request q = rig_request(r, 0);
        struct port_addr from = r->port.sent[0].to;
        rig_forget_sent(r);
        rig_refuse(r, &q, GAP_PRUNED, 500 + (from.ip == 99 ? 7 : from.ip), from);
        follower_step(r->follower, r->now);
    }
    ck_assert_uint_eq(r->losts, 1);
    ck_assert_uint_eq(r->lost_first, h->batches[4].header.first_seq);
    ck_assert_uint_eq(r->lost_oldest, 507);
}
END_TEST

START_TEST(equal_seeds_ask_alike)
{
    struct follower_options o = rig_options(FOLLOWER_SEQUENCED, SOURCES, false);
    for (uint64_t seed = 0; seed < 5; seed++) {
        o.random = seed;
        struct rig *a = rig_new(&o);
        struct rig *b = rig_new(&o);
        struct rig *both[2] = { a, b };
        for (uint32_t i = 0; i < 2; i++) {
            rig_batch(both[i], h, 0);
            rig_batch(both[i], h, 9);
            rig_step(both[i]);
        }
        ck_assert_uint_eq(a->port.sent_count, 1);
        ck_assert_mem_eq(a->port.sent[0].bytes, b->port.sent[0].bytes, a->port.sent[0].length);
        ck_assert(port_addr_equal(a->port.sent[0].to, b->port.sent[0].to));
        ck_assert_uint_eq(a->port.sent[0].to.ip, 10 + seed % SOURCES);
        rig_free(a);
        rig_free(b);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("follower_gap");
    TCase *t = tcase_create("gaps");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, asks_after_the_delay_and_fills);
    tcase_add_test(t, reordering_within_the_delay_asks_nothing);
    tcase_add_test(t, tail_loss_is_noticed_by_a_heartbeat);
    tcase_add_test(t, retries_double_and_go_round_to_the_leader_last);
    tcase_add_test(t, a_leader_alone_is_asked);
    tcase_add_test(t, never_asks_itself);
    tcase_add_test(t, a_partial_answer_is_followed_by_the_rest_of_the_same_source);
    tcase_add_test(t, several_holes_are_asked_for_together_but_boundedly);
    tcase_add_test(t, refusal_moves_on_at_once_but_not_for_ever);
    tcase_add_test(t, busy_keeps_the_pause);
    tcase_add_test(t, foreign_refusals_are_ignored);
    tcase_add_test(t, lost_is_said_once_when_all_have_pruned);
    tcase_add_test(t, equal_seeds_ask_alike);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
