/* Goal: stable is what a quorum of the members holds under a tail of this epoch with our digest:
 * nothing else counts, it never falls, and its rise is told at once. */
#include "tests/sequencer/suite.h"

static struct suite *lead(uint32_t stores)
{
    struct suite *t = suite_new();
    suite_lead(t, stores);
    return t;
}

/* One batch of one message. */
static uint64_t emit_one(struct suite *t, uint64_t number)
{
    uint32_t p = catalog_publisher_find(sequencer_catalog(t->core), "alice");
    if (p == 0)
        p = suite_join(t, "alice");
    uint32_t topic = catalog_topic_find(sequencer_catalog(t->core), "/t", 2);
    if (topic == 0)
        topic = suite_topic(t, p, "/t");
    suite_propose(t, p, number, topic, 8);
    suite_run(t);
    return t->tip;
}

START_TEST(the_majority_makes_stable)
{
    struct suite *t = lead(3);
    uint64_t a = emit_one(t, 1);
    uint64_t b = emit_one(t, 2);
    suite_ack(t, 1, b);
    ck_assert_uint_eq(sequencer_stable(t->core), 0);
    suite_ack(t, 1, b); /* once more is not two */
    ck_assert_uint_eq(sequencer_stable(t->core), 0);
    suite_ack(t, 2, a);
    ck_assert_uint_eq(sequencer_stable(t->core), a);
    suite_ack(t, 3, b);
    ck_assert_uint_eq(sequencer_stable(t->core), b);
    suite_ack(t, 1, a); /* late ones change nothing */
    suite_ack(t, 3, a);
    ck_assert_uint_eq(sequencer_stable(t->core), b);
    suite_free(t);
}
END_TEST

START_TEST(what_does_not_count)
{
    struct suite *t = lead(1);
    uint64_t tip = emit_one(t, 1);
    struct ack a = suite_ack_of(t, 1, tip);
    a.tail.epoch.number--; /* a tail of an older epoch */
    suite_give_ack(t, &a);
    ck_assert_uint_eq(suite_counter(t, COUNTER_ACKS_OLD_EPOCH), 1);
    a = suite_ack_of(t, 1, tip);
    a.digest.low ^= 1;
    suite_give_ack(t, &a);
    ck_assert_uint_eq(suite_counter(t, COUNTER_ACKS_WRONG_DIGEST), 1);
    a = suite_ack_of(t, 1, tip);
    a.tail.seq += 100; /* what was never emitted */
    suite_give_ack(t, &a);
    ck_assert_uint_eq(suite_counter(t, COUNTER_ACKS_WRONG_DIGEST), 2);
    a = suite_ack_of(t, 9, tip); /* no member */
    suite_give_ack(t, &a);
    ck_assert_uint_eq(sequencer_stable(t->core), 0);
    suite_ack(t, 1, tip);
    ck_assert_uint_eq(sequencer_stable(t->core), tip);
    suite_free(t);
}
END_TEST

START_TEST(inside_a_batch_is_no_boundary)
{
    struct suite *t = lead(1);
    emit_one(t, 1);
    uint32_t p = catalog_publisher_find(sequencer_catalog(t->core), "alice");
    uint32_t topic = catalog_topic_find(sequencer_catalog(t->core), "/t", 2);
    for (uint64_t n = 2; n <= 4; n++)
        suite_propose(t, p, n, topic, 8);
    suite_run(t);
    ck_assert_uint_eq(t->last_batch.count, 3);
    struct ack a = suite_ack_of(t, 1, t->tip);
    a.tail.seq--;
    suite_give_ack(t, &a);
    ck_assert_uint_eq(sequencer_stable(t->core), 0);
    ck_assert_uint_eq(suite_counter(t, COUNTER_ACKS_WRONG_DIGEST), 1);
    suite_free(t);
}
END_TEST

START_TEST(a_quiet_stream_is_told_at_once)
{
    struct suite *t = lead(1);
    uint64_t tip = emit_one(t, 1);
    suite_advance(t, SECOND); /* heartbeats are far apart by now */
    uint32_t before = t->heartbeats;
    suite_ack(t, 1, tip);
    suite_step(t);
    ck_assert_uint_eq(t->heartbeats, before + 1);
    ck_assert_uint_eq(t->heartbeat.stable, tip);
    suite_step(t);
    ck_assert_uint_eq(t->heartbeats, before + 1);
    suite_free(t);
}
END_TEST

START_TEST(a_batch_carries_it_if_there_is_one)
{
    struct suite *t = lead(1);
    uint64_t tip = emit_one(t, 1);
    uint32_t p = catalog_publisher_find(sequencer_catalog(t->core), "alice");
    uint32_t before = t->heartbeats;
    suite_ack(t, 1, tip);
    suite_propose(t, p, 2, catalog_topic_find(sequencer_catalog(t->core), "/t", 2), 8);
    suite_step(t);
    ck_assert_uint_eq(t->heartbeats, before);
    ck_assert_uint_eq(t->last_batch.stable, tip);
    suite_free(t);
}
END_TEST

/* Raft's figure 8 on our tails: what was adopted is stable only below a tail of the new epoch. */
START_TEST(an_adopted_tail_is_not_stable_by_itself)
{
    struct suite *t = lead(1);
    uint64_t tip = emit_one(t, 1);
    struct ack old = suite_ack_of(t, 1, tip);
    suite_restart(t, tip);
    suite_elect(t, 1);
    old.promised = sequencer_epoch(t->core);
    suite_give_ack(t, &old);
    ck_assert_uint_eq(sequencer_stable(t->core), 0);
    suite_ack(t, 1, t->tip);
    ck_assert_uint_eq(sequencer_stable(t->core), t->tip);
    suite_free(t);
}
END_TEST

SUITE_MAIN("sequencer_ack", the_majority_makes_stable, what_does_not_count,
           inside_a_batch_is_no_boundary, a_quiet_stream_is_told_at_once,
           a_batch_carries_it_if_there_is_one, an_adopted_tail_is_not_stable_by_itself)
