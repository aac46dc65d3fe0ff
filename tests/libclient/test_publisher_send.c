/* What a publisher alone (bench.h) sends and when: how items share datagrams, when they are sent
 * again with and without hints, and that no hint, true or not, makes it send more than there is to
 * send. */
#include "bench.h"
#include "suite_main.h"

START_TEST(proposals_share_datagrams_as_long_as_their_position_is_the_same)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    for (int i = 0; i < 10; i++)
        bench_push(b, "0123456789");
    b->seq++; /* its author has applied more */
    bench_push(b, "other");
    bench_step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 2);
    uint64_t first;
    ck_assert_uint_eq(bench_numbers_in(b, 0, &first), 10);
    ck_assert_uint_eq(first, 1);
    ck_assert_uint_eq(bench_numbers_in(b, 1, &first), 1);
    ck_assert_uint_eq(first, 11);
    for (int i = 0; i < 200; i++)
        bench_push(b, "0123456789");
    bench_step(b);
    uint64_t expected = 12;
    for (uint32_t i = 0; i < b->rig.leader.sent_count; i++) {
        uint32_t count = bench_numbers_in(b, i, &first);
        ck_assert_uint_eq(first, expected);
        expected += count;
    }
    ck_assert_uint_eq(expected, 212);
    ck_assert_uint_le(b->rig.leader.sent_count, 3);
    bench_free(b);
}
END_TEST

START_TEST(what_has_no_outcome_is_sent_again_later_and_later)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    bench_push(b, "a");
    uint64_t deadline = bench_step(b);
    ck_assert_uint_eq(deadline - b->now.mono_ns, 300 * 1000);
    uint64_t wait = 0;
    for (int i = 0; i < 12; i++) {
        b->now.mono_ns = deadline - 1;
        bench_step(b);
        ck_assert_uint_eq(b->rig.leader.sent_count, 0);
        b->now.mono_ns = deadline;
        deadline = bench_step(b);
        ck_assert_uint_eq(b->rig.leader.sent_count, 1);
        ck_assert_uint_ge(deadline - b->now.mono_ns, wait);
        wait = deadline - b->now.mono_ns;
    }
    ck_assert_uint_eq(wait, 100 * MS);
    ck_assert_uint_eq(b->counters[COUNTER_RESENT], 12);
    publisher_on_stable(b->p, bench_said(b, 1, "a"));
    ck_assert_uint_eq(bench_step(b), PORT_NEVER);
    ck_assert_uint_eq(b->outcome_count, 1);
    ck_assert_uint_eq(publisher_done_number(b->p), 1);
    bench_said(b, 1, "a"); /* a duplicate in the stream is not a second outcome */
    ck_assert_uint_eq(b->outcome_count, 1);
    bench_free(b);
}
END_TEST

START_TEST(patience_follows_the_measured_round_trip)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    for (uint64_t i = 1; i <= 50; i++) {
        bench_push(b, "a");
        bench_step(b);
        b->now.mono_ns += 5 * MS; /* slow disks */
        bench_said(b, i, "a");
    }
    bench_push(b, "a");
    uint64_t deadline = bench_step(b);
    ck_assert_uint_ge(deadline - b->now.mono_ns, 15 * MS);
    ck_assert_uint_le(deadline - b->now.mono_ns, 25 * MS);
    bench_free(b);
}
END_TEST

START_TEST(a_retry_begins_small_doubles_and_begins_anew)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    char text[1200];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < 40; i++)
        bench_push(b, text);
    uint64_t deadline = bench_step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 40);
    static const uint32_t expected[] = { 1, 2, 4, 8, 16, 32, 40, 1, 2 };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        b->now.mono_ns = deadline;
        deadline = bench_step(b);
        ck_assert_uint_eq(b->rig.leader.sent_count, expected[i]);
        uint64_t first;
        bench_numbers_in(b, 0, &first);
        ck_assert_uint_eq(first, 1);
    }
    bench_free(b);
}
END_TEST

START_TEST(a_run_is_sent_again_whole)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    static uint8_t bytes[300000];
    struct publisher_item item = { .topic = TOPIC, .payload = bytes, .length = sizeof bytes };
    ck_assert_uint_eq(publisher_push(b->p, &item, bench_here(b)), 1);
    uint32_t sent = 0;
    uint64_t deadline;
    do {
        deadline = bench_step(b);
        sent += b->rig.leader.sent_count;
    } while (deadline == b->now.mono_ns);
    bench_push(b, "behind it");
    bench_step(b);
    b->now.mono_ns = deadline;
    uint32_t again = 0;
    uint64_t last = 0;
    do {
        deadline = bench_step(b);
        again += b->rig.leader.sent_count;
        if (b->rig.leader.sent_count > 0) {
            uint64_t first;
            uint32_t count = bench_numbers_in(b, b->rig.leader.sent_count - 1, &first);
            last = first + count - 1;
        }
    } while (deadline == b->now.mono_ns);
    ck_assert_uint_eq(again, sent);
    ck_assert_uint_ge(last, sent);
    bench_free(b);
}
END_TEST

/* Each hole by itself, no more than the hole, and not what has its outcome by then. */
START_TEST(what_is_told_to_be_missing_is_sent_again_at_once)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    for (int i = 0; i < 10; i++)
        bench_push(b, "0123456789");
    bench_step(b);
    struct hint h = bench_hint_of(b, HINT_MISSING, 0, 0);
    static const uint64_t holes[][2] = { { 2, 4 }, { 6, 7 }, { 8, 10 } };
    for (size_t i = 0; i < sizeof holes / sizeof holes[0]; i++) {
        h.next_publisher_seq = holes[i][0];
        h.nonce = holes[i][1];
        publisher_on_hint(b->p, &h, bench_here(b).epoch, b->now);
    }
    h.publisher = ID + 1; /* somebody else's */
    publisher_on_hint(b->p, &h, bench_here(b).epoch, b->now);
    bench_step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 3);
    static const uint64_t sent[][2] = { { 8, 2 }, { 6, 1 }, { 2, 2 } };
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t first;
        ck_assert_uint_eq(bench_numbers_in(b, i, &first), sent[i][1]);
        ck_assert_uint_eq(first, sent[i][0]);
    }
    bench_step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 0);
    bench_free(b);
}
END_TEST

static void give_hint(struct bench *b, struct hint h)
{
    publisher_on_hint(b->p, &h, (struct epoch) { .number = 1 }, b->now);
}

/* What a hint asks for, alone in its step. */
static uint32_t sent_for(struct bench *b, struct hint h)
{
    give_hint(b, h);
    bench_step(b);
    return b->rig.leader.sent_count;
}

/* Each in turn differs from a good one in one thing; the good one is heeded in the end. */
START_TEST(hints_that_cannot_be_true_are_ignored_and_counted)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    for (int i = 0; i < 10; i++)
        bench_push(b, "0123456789");
    bench_step(b);
    bench_push(b, "not sent yet");
    bench_said(b, 1, "0123456789");
    bench_said(b, 2, "0123456789");
    struct hint good = bench_hint_of(b, HINT_MISSING, 2, 6); /* 2 has its outcome by now */
    uint64_t ignored = 0;
    for (int reason = 0; reason < 2; reason++) {
        struct hint bad = good;
        bad.reason = reason == 0 ? HINT_MISSING : HINT_AHEAD;
        bad.next_publisher_seq = 4;
        bad.incarnation = 2;
        give_hint(b, bad);
        bad.incarnation = 0;
        give_hint(b, bad);
        bad.incarnation = 1;
        bad.epoch.number = 0; /* of a leader that was deposed */
        give_hint(b, bad);
        ck_assert_uint_eq(b->counters[COUNTER_HINTS_IGNORED], ignored += 3);
    }
    static const uint64_t ranges[][2] = { { 4, 4 },  { 5, 4 },          { 1, 3 },
                                          { 4, 11 }, { 4, UINT64_MAX }, { 300, 400 },
                                          { 0, 0 },  { UINT64_MAX, 0 } };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        give_hint(b, bench_hint_of(b, HINT_MISSING, ranges[i][0], ranges[i][1]));
        ck_assert_uint_eq(b->counters[COUNTER_HINTS_IGNORED], ++ignored);
    }
    bench_step(b);
    uint64_t first;
    ck_assert_uint_eq(b->rig.leader.sent_count, 1);
    bench_numbers_in(b, 0, &first);
    ck_assert_uint_eq(first, 11); /* only what was new */
    ck_assert_uint_eq(sent_for(b, good), 1);
    ck_assert_uint_eq(bench_numbers_in(b, 0, &first), 3);
    ck_assert_uint_eq(first, 3);
    ck_assert_uint_eq(b->counters[COUNTER_HINTS_IGNORED], ignored);
    bench_free(b);
}
END_TEST

/* A flood of hints for a window of a hundred large proposals, whole and in parts, over some
 * retries: each number is sent at most once more than without it. */
START_TEST(no_crowd_of_hints_makes_more_than_one_sending_of_each)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    char text[1200];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < 100; i++)
        bench_push(b, text);
    while (bench_step(b) == b->now.mono_ns)
        ;
    uint32_t sent = 0;
    for (uint64_t i = 0; i < 250; i++) { /* within the patience of 300 us */
        for (uint64_t j = 0; j < 100; j++)
            give_hint(b, bench_hint_of(b, HINT_MISSING, 1 + j % (i + 1), 100));
        bench_step(b);
        sent += b->rig.leader.sent_count;
        b->now.mono_ns += 1000;
    }
    ck_assert_uint_eq(sent, 99);
    ck_assert_uint_eq(b->counters[COUNTER_RESENT], 99);
    ck_assert_uint_ge(b->counters[COUNTER_HINTS_IGNORED], 24000);
    /* What it sends again by itself may be asked for once again, but not before resend_min_ns. */
    uint64_t deadline = bench_step(b);
    ck_assert_uint_ge(deadline, b->now.mono_ns);
    b->now.mono_ns = deadline;
    bench_step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 1);
    struct hint whole = bench_hint_of(b, HINT_MISSING, 1, 99);
    b->now.mono_ns += 299999;
    ck_assert_uint_eq(sent_for(b, whole), 0);
    b->now.mono_ns += 1;
    ck_assert_uint_eq(sent_for(b, whole), 1);
    ck_assert_uint_eq(sent_for(b, whole), 0);
    bench_free(b);
}
END_TEST

/* A fork sends everything again: what was asked for before it is not sent twice. */
START_TEST(a_fork_forgets_the_holes)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    for (int i = 0; i < 10; i++)
        bench_push(b, "0123456789");
    bench_step(b);
    give_hint(b, bench_hint_of(b, HINT_MISSING, 2, 6));
    publisher_on_fork(b->p, bench_here(b));
    give_hint(b, bench_hint_of(b, HINT_MISSING, 2, 6)); /* of the leader before it, late */
    bench_step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 1);
    uint64_t first;
    ck_assert_uint_eq(bench_numbers_in(b, 0, &first), 10);
    bench_free(b);
}
END_TEST

START_TEST(a_hint_brings_a_retry_forward_but_not_too_often)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    for (int i = 0; i < 10; i++)
        bench_push(b, "0123456789");
    bench_step(b);
    struct hint h = bench_hint_of(b, HINT_AHEAD, 4, 0);
    b->now.mono_ns += 1000;
    publisher_on_hint(b->p, &h, bench_here(b).epoch, b->now);
    bench_step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 1);
    uint64_t first;
    bench_numbers_in(b, 0, &first);
    ck_assert_uint_eq(first, 4);
    b->now.mono_ns += 1000;
    publisher_on_hint(b->p, &h, bench_here(b).epoch, b->now);
    bench_step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 0);
    h.next_publisher_seq = 400; /* nothing of ours */
    b->now.mono_ns += 200 * 1000;
    publisher_on_hint(b->p, &h, bench_here(b).epoch, b->now);
    h.publisher = ID + 1;
    h.next_publisher_seq = 4;
    publisher_on_hint(b->p, &h, bench_here(b).epoch, b->now);
    bench_step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 0);
    bench_free(b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("publisher_send");
    TCase *t = tcase_create("publisher_send");
    tcase_add_test(t, proposals_share_datagrams_as_long_as_their_position_is_the_same);
    tcase_add_test(t, what_has_no_outcome_is_sent_again_later_and_later);
    tcase_add_test(t, patience_follows_the_measured_round_trip);
    tcase_add_test(t, a_retry_begins_small_doubles_and_begins_anew);
    tcase_add_test(t, a_run_is_sent_again_whole);
    tcase_add_test(t, what_is_told_to_be_missing_is_sent_again_at_once);
    tcase_add_test(t, hints_that_cannot_be_true_are_ignored_and_counted);
    tcase_add_test(t, no_crowd_of_hints_makes_more_than_one_sending_of_each);
    tcase_add_test(t, a_fork_forgets_the_holes);
    tcase_add_test(t, a_hint_brings_a_retry_forward_but_not_too_often);
    suite_add_tcase(s, t);
    return suite_main(s);
}
