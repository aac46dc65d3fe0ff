/* Goal: who has a gap gets the original bytes out of the ring, within bounds, or is told what there
 * is; and only from a leader. */
#include "tests/sequencer/suite.h"

static const struct port_addr asker = { .ip = 0x0a000001, .port = 4242 };

static struct suite *fill(uint32_t batches)
{
    struct suite *t = suite_new();
    t->options.ring_bytes = 1; /* 64 slots */
    suite_volatile(t);
    suite_join(t, "alice");
    suite_topic(t, 1, "/t");
    for (uint32_t n = 1; n <= batches; n++) {
        suite_propose(t, 1, n, TOPIC_FIRST_USER, 8);
        suite_run(t);
    }
    return t;
}

static void ask(struct suite *t, uint64_t first_seq, uint64_t end_seq)
{
    struct gap_request r = {
        .epoch = sequencer_epoch(t->core), .first_seq = first_seq, .end_seq = end_seq, .nonce = 31
    };
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = gap_request_encode(&r, SUITE_STREAM, bytes, sizeof bytes);
    ck_assert_uint_gt(length, 0);
    suite_give_from(t, bytes, length, asker);
}

START_TEST(a_gap_is_filled_with_the_original_bytes)
{
    struct suite *t = fill(20);
    uint32_t before = t->sent_count;
    ask(t, 10, 14);
    ck_assert_uint_eq(t->fills, 4);
    ck_assert_uint_eq(t->refusals, 0);
    for (uint32_t i = 0; i < 4; i++) {
        const struct sent *sent = &t->sent[before + i];
        ck_assert_int_eq(sent->channel, PORT_UNICAST);
        ck_assert(port_addr_equal(sent->to, asker));
        const struct seen *seen = &t->seen[10 + i - 1];
        ck_assert_uint_eq(sent->length, seen->batch.length);
        ck_assert_mem_eq(sent->bytes, seen->bytes, sent->length);
    }
    ask(t, 1, 2); /* the genesis record too */
    ck_assert_uint_eq(t->fills, 5);
    suite_free(t);
}
END_TEST

START_TEST(a_request_within_a_batch_gets_all_of_it)
{
    struct suite *t = fill(1);
    for (uint64_t n = 2; n <= 6; n++)
        suite_propose(t, 1, n, TOPIC_FIRST_USER, 8);
    suite_run(t);
    ck_assert_uint_eq(t->last_batch.count, 5);
    ask(t, t->tip - 1, t->tip);
    ck_assert_uint_eq(t->fills, 1);
    ck_assert_uint_eq(t->sent[t->sent_count - 1].length, t->last_batch.length);
    suite_free(t);
}
END_TEST

START_TEST(what_is_not_there_is_refused)
{
    struct suite *t = fill(200);
    ask(t, 5, 8);
    ck_assert_uint_eq(t->fills, 0);
    ck_assert_uint_eq(t->refusals, 1);
    ck_assert_int_eq(t->refusal.reason, GAP_PRUNED);
    ck_assert_uint_eq(t->refusal.nonce, 31);
    ck_assert_uint_eq(t->refusal.first_seq, 5);
    ck_assert_uint_eq(t->refusal.end_seq, t->tip + 1);
    ck_assert_uint_gt(t->refusal.oldest_seq, 200 - 64);
    uint64_t oldest = t->refusal.oldest_seq;
    ask(t, oldest, oldest + 1);
    ck_assert_uint_eq(t->fills, 1);
    ask(t, oldest - 1, oldest + 1);
    ck_assert_uint_eq(t->refusals, 2);
    ask(t, t->tip + 1, t->tip + 2);
    ck_assert_uint_eq(t->refusals, 3);
    ck_assert_int_eq(t->refusal.reason, GAP_NOT_YET);
    ask(t, t->tip, t->tip + 2); /* a part of it */
    ck_assert_uint_eq(t->fills, 2);
    ck_assert_uint_eq(t->refusals, 4);
    ck_assert_int_eq(t->refusal.reason, GAP_NOT_YET);
    ck_assert_uint_eq(suite_counter(t, COUNTER_GAP_REFUSED), 4);
    suite_free(t);
}
END_TEST

START_TEST(answers_are_capped)
{
    struct suite *t = suite_new();
    suite_volatile(t);
    suite_join(t, "alice");
    suite_topic(t, 1, "/t");
    for (uint32_t n = 1; n <= 300; n++) {
        suite_propose(t, 1, n, TOPIC_FIRST_USER, 8);
        suite_run(t);
    }
    ask(t, 10, 250);
    ck_assert_uint_eq(t->fills, 64); /* a request */
    for (int i = 0; i < 100; i++)
        ask(t, 10, 250);
    ck_assert_uint_eq(t->fills, 1024); /* all of them, between two steps */
    ck_assert_int_eq(t->refusal.reason, GAP_BUSY);
    suite_step(t);
    ask(t, 10, 11);
    ck_assert_uint_eq(t->fills, 1025);
    suite_free(t);
}
END_TEST

/* The driver flushes after the step that follows: until then the bytes of a fill must not change,
 * which suite_step looks at. The oldest batch of a full ring that forgets is asked for in front of
 * a step with more than a ring's worth to emit. */
START_TEST(a_fill_is_not_overwritten_before_it_is_flushed)
{
    struct suite *t = fill(200);
    for (uint32_t n = 0; n < 300; n++)
        suite_propose(t, 1, 201 + n, TOPIC_FIRST_USER, 1000);
    uint64_t tip = t->tip;
    ask(t, tip - 63, tip - 62);
    ck_assert_uint_eq(t->fills, 1);
    suite_step(t);
    ck_assert_uint_eq(t->tip, tip); /* it waits for the flush */
    ck_assert_uint_le(t->deadline, t->now.mono_ns);
    ask(t, tip - 60, tip - 59);
    suite_step(t);
    ck_assert_uint_eq(t->tip, tip + 3);
    suite_run(t);
    ck_assert_uint_eq(suite_count(t, 1, 1), 500);
    suite_free(t);
}
END_TEST

/* Stores that crashed ask for the oldest of what is not yet stable: of a full ring, too. */
START_TEST(a_full_ring_serves_its_oldest)
{
    struct suite *t = suite_new();
    t->options.ring_bytes = 1;
    t->options.pace_ns = 0;
    suite_lead(t, 1);
    suite_join(t, "alice");
    suite_topic(t, 1, "/t");
    for (uint32_t n = 1; n <= 100; n++) {
        suite_propose(t, 1, n, TOPIC_FIRST_USER, 8);
        suite_run(t);
    }
    ck_assert(sequencer_paused(t->core));
    ask(t, 2, 3);
    ck_assert_uint_eq(t->fills, 1);
    ck_assert_uint_eq(t->refusals, 0);
    suite_run(t);
    suite_free(t);
}
END_TEST

START_TEST(a_standby_does_not_answer)
{
    struct suite *t = suite_new();
    t->options.lead = false;
    suite_recorded(t, 1);
    suite_step(t);
    ask(t, 1, 2);
    ck_assert_uint_eq(t->sent_count, 0);
    suite_free(t);
}
END_TEST

SUITE_MAIN("sequencer_answer", a_gap_is_filled_with_the_original_bytes,
           a_request_within_a_batch_gets_all_of_it, what_is_not_there_is_refused,
           answers_are_capped, a_fill_is_not_overwritten_before_it_is_flushed,
           a_full_ring_serves_its_oldest, a_standby_does_not_answer)
