/* Goal: batches are filled to the datagram when there is enough and flushed when there is not; what
 * is said between them is a heartbeat; and nothing above stable leaves the ring. */
#include "tests/sequencer/suite.h"

struct fixture {
    struct suite *t;
    uint32_t publisher;
    uint32_t topic;
    uint64_t number;
};

static struct fixture fixture_join(struct suite *t)
{
    struct fixture f = { .t = t, .number = 1 };
    f.publisher = suite_join(t, "alice");
    f.topic = suite_topic(t, f.publisher, "/t");
    return f;
}

static struct fixture fixture_volatile(struct suite *t)
{
    suite_volatile(t);
    return fixture_join(t);
}

static void propose(struct fixture *f, uint32_t messages, uint32_t length)
{
    for (uint32_t i = 0; i < messages; i++)
        suite_propose(f->t, f->publisher, f->number++, f->topic, length);
}

START_TEST(thirty_messages_of_32_bytes_fill_a_datagram)
{
    struct fixture f = fixture_volatile(suite_new());
    uint32_t batches = f.t->batches;
    propose(&f, 65, 32);
    suite_run(f.t);
    ck_assert_uint_eq(f.t->batches, batches + 3);
    ck_assert_uint_eq(f.t->seen[f.t->tip - 1].batch.count, 5);
    ck_assert_uint_eq(f.t->seen[f.t->tip - 6].batch.count, 30);
    ck_assert_uint_eq(f.t->seen[f.t->tip - 6].batch.length, 88 + 30 * 46);
    ck_assert_uint_eq(f.t->seen[f.t->tip - 36].batch.count, 30);
    suite_free(f.t);
}
END_TEST

START_TEST(a_single_message_is_flushed_at_once)
{
    struct fixture f = fixture_volatile(suite_new());
    propose(&f, 1, 32);
    suite_step(f.t);
    ck_assert_uint_eq(f.t->last_batch.count, 1);
    ck_assert_uint_eq(f.t->last_batch.length, 88 + 46);
    suite_free(f.t);
}
END_TEST

START_TEST(full_batches_are_padded_to_equal_size)
{
    struct suite *t = suite_new();
    t->options.pad = true;
    struct fixture f = fixture_volatile(t);
    propose(&f, 65, 33);
    suite_run(t);
    ck_assert_uint_eq(t->seen[t->tip - 1].batch.length, 88u + 47u * t->last_batch.count);
    ck_assert_uint_lt(t->last_batch.length, WIRE_DATAGRAM_DEFAULT);
    const struct batch_header *full = &t->seen[t->tip - 1 - t->last_batch.count].batch;
    ck_assert_uint_eq(full->count, 29);
    ck_assert_uint_eq(full->length, WIRE_DATAGRAM_DEFAULT);
    suite_free(t);
}
END_TEST

START_TEST(line_b_carries_the_same)
{
    struct suite *t = suite_new();
    t->options.line_b = true;
    struct fixture f = fixture_volatile(t);
    propose(&f, 3, 32);
    suite_advance(t, SECOND);
    uint32_t lines[PORT_CHANNELS] = { 0 };
    for (uint32_t i = 0; i < t->sent_count; i++) {
        if (t->sent[i].channel == PORT_EGRESS_A) {
            ck_assert_int_eq(t->sent[i + 1].channel, PORT_EGRESS_B);
            ck_assert_mem_eq(t->sent[i].bytes, t->sent[i + 1].bytes, t->sent[i].length);
        }
        lines[t->sent[i].channel]++;
    }
    ck_assert_uint_gt(lines[PORT_EGRESS_A], 4);
    ck_assert_uint_eq(lines[PORT_EGRESS_A], lines[PORT_EGRESS_B]);
    suite_free(t);
}
END_TEST

START_TEST(a_step_emits_a_bounded_number_of_batches)
{
    struct suite *t = suite_new();
    t->options.step_batches_max = 2;
    struct fixture f = fixture_volatile(t);
    propose(&f, 300, 32);
    for (uint32_t i = 1; i <= 5; i++) {
        uint32_t before = t->batches;
        suite_step(t);
        ck_assert_uint_eq(t->batches, before + 2);
        ck_assert_uint_le(t->deadline, t->now.mono_ns + (i < 5 ? 0 : SECOND));
    }
    suite_run(t);
    ck_assert_uint_eq(suite_count(t, 1, f.publisher), 300);
    suite_free(t);
}
END_TEST

/* ---- heartbeats and ticks -------------------------------------------------------------------- */

START_TEST(heartbeats_back_off_and_begin_again)
{
    struct suite *t = suite_new();
    t->options.heartbeat_min_ns = 20000;
    t->options.heartbeat_max_ns = 100 * MS;
    struct fixture f = fixture_volatile(t);
    for (int round = 0; round < 2; round++) {
        propose(&f, 1, 32);
        suite_run(t);
        uint64_t interval = 20000;
        for (int i = 0; i < 16; i++) {
            uint32_t before = t->heartbeats;
            ck_assert_uint_eq(t->deadline - t->now.mono_ns, interval);
            suite_advance(t, interval - 1);
            ck_assert_uint_eq(t->heartbeats, before);
            suite_advance(t, 1);
            ck_assert_uint_eq(t->heartbeats, before + 1);
            interval = interval * 2 < 100 * MS ? interval * 2 : 100 * MS;
        }
        ck_assert_uint_eq(t->heartbeat.next_seq, t->tip + 1);
        ck_assert(digest_equal(t->heartbeat.digest, t->digest));
        ck_assert(epoch_equal(t->heartbeat.epoch, sequencer_epoch(t->core)));
        ck_assert_uint_eq(t->heartbeat.epoch_first_seq, 2);
        ck_assert_uint_ge(t->heartbeat.time_ns, t->last_batch.timestamp_ns);
    }
    suite_free(t);
}
END_TEST

/* The time from a proposal to the first heartbeat behind it, after 32 proposals so far apart. */
static uint64_t first_heartbeat_ns(uint64_t distance_ns)
{
    struct suite *t = suite_new();
    t->options.heartbeat_min_ns = 20000;
    struct fixture f = fixture_volatile(t);
    for (int i = 0; i < 32; i++) {
        propose(&f, 1, 32);
        suite_run(t);
        if (i < 31)
            suite_advance(t, distance_ns);
    }
    uint64_t first_ns = t->deadline - t->now.mono_ns;
    suite_free(t);
    return first_ns;
}

START_TEST(a_heartbeat_waits_for_a_batch_that_is_soon_to_come)
{
    ck_assert_uint_eq(first_heartbeat_ns(1000), 20000);
    ck_assert_uint_eq(first_heartbeat_ns(9000), 20000);
    ck_assert_uint_le(first_heartbeat_ns(30000), 61000);
    ck_assert_uint_gt(first_heartbeat_ns(30000), 55000);
    ck_assert_uint_eq(first_heartbeat_ns(60000), 20000);
    ck_assert_uint_eq(first_heartbeat_ns(SECOND), 20000);
}
END_TEST

START_TEST(no_message_is_stamped_before_a_heartbeats_time)
{
    struct fixture f = fixture_volatile(suite_new());
    suite_advance(f.t, SECOND);
    uint64_t said = f.t->heartbeat.time_ns;
    ck_assert_uint_eq(said, f.t->now.wall_ns);
    f.t->now.wall_ns -= 5 * SECOND;
    propose(&f, 1, 32);
    suite_run(f.t);
    ck_assert_uint_ge(f.t->last_batch.timestamp_ns, said);
    suite_free(f.t);
}
END_TEST

START_TEST(ticks_are_messages_on_sys_clock)
{
    struct suite *t = suite_new();
    t->options.tick_ns = 10 * MS;
    suite_volatile(t);
    for (uint32_t i = 1; i <= 50; i++) {
        suite_advance(t, 10 * MS - 1);
        ck_assert_uint_eq(suite_counter(t, COUNTER_TICKS), i - 1);
        suite_advance(t, 1);
        ck_assert_uint_eq(suite_counter(t, COUNTER_TICKS), i);
        const struct message *m = suite_message(t, t->tip);
        ck_assert_uint_eq(m->topic, TOPIC_CLOCK);
        ck_assert_uint_eq(m->publisher, 0);
        ck_assert_uint_eq(m->length, 0);
        ck_assert_uint_eq(m->timestamp_ns, t->now.wall_ns);
    }
    suite_advance(t, 10 * SECOND); /* late by a thousand: one is enough */
    ck_assert_uint_eq(suite_counter(t, COUNTER_TICKS), 51);
    suite_free(t);
}
END_TEST

/* ---- the ring -------------------------------------------------------------------------------- */

/* One that finds no room is not lost, and nothing spins for it. */
START_TEST(a_tick_waits_for_room)
{
    struct suite *t = suite_new();
    t->options.ring_bytes = 1; /* 64 slots */
    t->options.pace_ns = 0;
    t->options.tick_ns = SECOND;
    suite_lead(t, 1);
    uint32_t publisher = suite_join(t, "alice");
    uint32_t topic = suite_topic(t, publisher, "/t");
    for (uint64_t n = 1; !sequencer_paused(t->core); n++) {
        suite_propose(t, publisher, n, topic, 8);
        suite_run(t);
    }
    uint64_t tip = t->tip;
    suite_advance(t, SECOND);
    for (int i = 0; i < 5; i++) {
        suite_advance(t, 10 * MS);
        ck_assert_uint_gt(t->deadline, t->now.mono_ns);
    }
    ck_assert_uint_eq(t->tip, tip);
    suite_ack(t, 1, t->tip);
    suite_run(t);
    ck_assert_uint_eq(suite_message(t, tip + 1)->topic, TOPIC_CLOCK);
    ck_assert_uint_eq(suite_counter(t, COUNTER_TICKS), 1);
    suite_free(t);
}
END_TEST

START_TEST(a_full_ring_stops_appending_until_stable_rises)
{
    struct suite *t = suite_new();
    t->options.ring_bytes = 1; /* 64 slots */
    t->options.pace_ns = 0;
    suite_lead(t, 1);
    struct fixture f = fixture_join(t);
    for (int i = 0; i < 200; i++) {
        propose(&f, 1, 32);
        suite_run(t);
    }
    ck_assert(sequencer_paused(t->core));
    ck_assert_uint_eq(suite_counter(t, COUNTER_RING_FULL), 1);
    uint64_t tip = t->tip;
    ck_assert_uint_eq(t->batches, 64 - 16); /* the reserve is not for them */
    suite_advance(t, 10 * SECOND);
    ck_assert_uint_eq(t->tip, tip);
    ck_assert_uint_gt(t->heartbeats, 0); /* it does not fall silent */
    /* All of what it emitted can still be had from it. */
    suite_ack(t, 1, tip - 10);
    suite_run(t);
    ck_assert_uint_eq(sequencer_stable(t->core), tip - 10);
    ck_assert(!sequencer_paused(t->core));
    ck_assert_uint_gt(t->tip, tip);
    suite_ack(t, 1, t->tip);
    suite_run(t);
    ck_assert_uint_eq(suite_count(t, 1, f.publisher), 200); /* what was held went out */
    suite_free(t);
}
END_TEST

START_TEST(a_volatile_ring_forgets)
{
    struct suite *t = suite_new();
    t->options.ring_bytes = 1;
    struct fixture f = fixture_volatile(t);
    for (int i = 0; i < 500; i++) {
        propose(&f, 1, 32);
        suite_run(t);
    }
    ck_assert_uint_eq(suite_count(t, 1, f.publisher), 500);
    ck_assert_uint_eq(suite_counter(t, COUNTER_RING_FULL), 0);
    ck_assert_uint_eq(suite_counter(t, COUNTER_PACED), 0);
    ck_assert_uint_eq(sequencer_stable(t->core), 0);
    suite_free(t);
}
END_TEST

START_TEST(past_a_lag_emission_is_paced)
{
    struct suite *t = suite_new();
    t->options.pace_bytes = 8 * 1472;
    t->options.pace_ns = MS;
    suite_lead(t, 1);
    struct fixture f = fixture_join(t);
    suite_ack(t, 1, t->tip);
    suite_advance(t, MS);
    propose(&f, 900, 32);
    uint32_t batches = t->batches;
    suite_run(t);
    ck_assert_uint_eq(t->batches - batches, 9); /* the one that passes the bound, too */
    ck_assert_uint_eq(suite_counter(t, COUNTER_PACED), 1);
    for (int i = 0; i < 3; i++) {
        batches = t->batches;
        suite_advance(t, MS);
        ck_assert_uint_eq(t->batches, batches + 1);
    }
    suite_ack(t, 1, t->tip); /* the quorum has caught up: full speed */
    batches = t->batches;
    suite_run(t);
    ck_assert_uint_gt(t->batches, batches + 1);
    ck_assert_uint_eq(suite_counter(t, COUNTER_PACED), 2); /* until it lags again */
    suite_free(t);
}
END_TEST

SUITE_MAIN("sequencer_emit", thirty_messages_of_32_bytes_fill_a_datagram,
           a_single_message_is_flushed_at_once, full_batches_are_padded_to_equal_size,
           line_b_carries_the_same, a_step_emits_a_bounded_number_of_batches,
           heartbeats_back_off_and_begin_again, a_heartbeat_waits_for_a_batch_that_is_soon_to_come,
           no_message_is_stamped_before_a_heartbeats_time, ticks_are_messages_on_sys_clock,
           a_tick_waits_for_room, a_full_ring_stops_appending_until_stable_rises,
           a_volatile_ring_forgets, past_a_lag_emission_is_paced)
