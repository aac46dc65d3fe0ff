/* A publisher alone (bench.h): how it joins, what it keeps and for how long, which outcomes it
 * believes, and what a fork leaves of it. */
#include "bench.h"
#include "suite_main.h"

/* ---- joining --------------------------------------------------------------------------------- */

START_TEST(it_joins_when_caught_up_and_again_until_its_record_is_stable)
{
    struct bench *b = bench_new(NULL);
    ck_assert_uint_eq(publisher_step(b->p, b->catalog, false, b->now), PORT_NEVER);
    ck_assert_uint_eq(b->rig.leader.sent_count, 0);
    for (uint32_t i = 0; i < 20; i++) {
        uint64_t deadline = bench_step(b);
        ck_assert_uint_eq(b->rig.leader.sent_count, 1);
        struct join j;
        ck_assert_int_eq(
            join_decode(b->rig.leader.sent[0].bytes, b->rig.leader.sent[0].length, RIG_STREAM, &j),
            WIRE_OK);
        ck_assert_uint_eq(j.nonce, 99);
        ck_assert_uint_eq(j.wanted, 1);
        ck_assert_uint_gt(deadline, b->now.mono_ns);
        ck_assert_uint_le(deadline - b->now.mono_ns, 100 * MS);
        b->now.mono_ns = deadline;
    }
    bench_join_record(b, 98, 1, 0); /* somebody else's */
    ck_assert_uint_eq(publisher_id(b->p), 0);
    uint64_t seq = bench_join_record(b, 99, 2, 41);
    ck_assert_uint_eq(publisher_id(b->p), ID);
    bench_step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_JOINING);
    ck_assert(!publisher_has_room(b->p, 1));
    publisher_on_stable(b->p, seq - 1);
    bench_step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_JOINING);
    publisher_on_stable(b->p, seq);
    bench_step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_ACTIVE);
    ck_assert_uint_eq(bench_push(b, "x"), 42); /* numbers go on */
    bench_free(b);
}
END_TEST

START_TEST(a_later_incarnation_stops_it_for_good_once_stable)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    uint64_t seq = bench_join_record(b, 7, 2, 0);
    bench_step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_ACTIVE);
    publisher_on_fork(b->p, (struct position) { .seq = seq - 1 }); /* it was taken back */
    publisher_on_stable(b->p, seq + 10);
    bench_step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_ACTIVE);
    b->seq += 20;
    seq = bench_join_record(b, 7, 2, 0);
    publisher_on_stable(b->p, seq);
    bench_step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_SUPERSEDED);
    ck_assert_uint_eq(publisher_superseded_seq(b->p), seq);
    ck_assert_uint_eq(bench_push(b, "x"), 0);
    ck_assert_uint_eq(bench_step(b), PORT_NEVER);
    ck_assert_uint_eq(b->rig.leader.sent_count, 0);
    bench_free(b);
}
END_TEST

/* ---- limits ---------------------------------------------------------------------------------- */

START_TEST(the_window_counts_what_has_no_outcome)
{
    struct publisher_options o = { .window = 4 };
    struct bench *b = bench_new(&o);
    bench_activate(b, 0);
    for (int i = 0; i < 4; i++)
        ck_assert_uint_ne(bench_push(b, "a"), 0);
    ck_assert(!publisher_has_room(b->p, 1));
    ck_assert_uint_eq(bench_push(b, "a"), 0);
    ck_assert_uint_eq(publisher_in_flight(b->p), 4);
    bench_said(b, 1, "a");
    ck_assert_uint_eq(bench_push(b, "a"), 5);
    ck_assert_uint_eq(bench_push(b, "a"), 0);
    bench_free(b);
}
END_TEST

START_TEST(what_is_not_stable_yet_is_kept_and_bounded)
{
    struct publisher_options o = { .window = 16, .bytes_max = 4000 };
    struct bench *b = bench_new(&o);
    bench_activate(b, 0);
    char text[1001];
    memset(text, 'y', 1000);
    text[1000] = '\0';
    uint64_t number = 0;
    while (bench_push(b, text) != 0) {
        bench_step(b);
        bench_said(b, ++number, text);
    }
    ck_assert_uint_eq(number, 4); /* bytes_max, though all have an outcome */
    ck_assert_uint_eq(publisher_in_flight(b->p), 0);
    publisher_on_stable(b->p, b->seq - 2);
    ck_assert_uint_eq(bench_push(b, text), 5);
    ck_assert_uint_eq(bench_push(b, text), 6);
    ck_assert_uint_eq(bench_push(b, text), 0);
    publisher_on_stable(b->p, b->seq);
    ck_assert_uint_eq(bench_push(b, text), 7);
    ck_assert(!publisher_has_room(b->p, 2001)); /* above bytes_max / 2: never */
    ck_assert_uint_eq(publisher_item_max(b->p), 2000);
    bench_free(b);
}
END_TEST

START_TEST(large_items_travel_in_fragments_and_have_one_outcome)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    static uint8_t bytes[1 << 20];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 977);
    struct publisher_item item = { .topic = TOPIC,
                                   .payload = bytes,
                                   .length = sizeof bytes,
                                   .conditional = true,
                                   .condition_topic = 21,
                                   .condition_after = 3 };
    ck_assert(publisher_has_room(b->p, sizeof bytes));
    ck_assert_uint_eq(publisher_push(b->p, &item, bench_here(b)), 1);
    uint64_t count = publisher_next_number(b->p) - 1;
    ck_assert_uint_gt(count, 700);
    ck_assert_uint_eq(publisher_in_flight(b->p), 1);
    static uint8_t joined[1 << 20];
    size_t length = 0;
    uint64_t next = 1;
    while (next <= count) {
        uint64_t deadline = bench_step(b);
        ck_assert(next + 64 > count || deadline == b->now.mono_ns);
        ck_assert_uint_gt(b->rig.leader.sent_count, 0);
        for (uint32_t i = 0; i < b->rig.leader.sent_count; i++) {
            struct proposal_header h;
            struct proposal_entry e;
            const struct leader_sent *d = &b->rig.leader.sent[i];
            ck_assert_int_eq(proposal_decode(d->bytes, d->length, RIG_STREAM, &h), WIRE_OK);
            struct proposal_cursor c = proposal_begin(d->bytes, &h);
            while (proposal_next(&c, &e)) {
                ck_assert_int_eq(e.conditional, next == 1);
                ck_assert_uint_eq(e.flags, next < count ? MESSAGE_MORE | MESSAGE_FRAGMENT : 0);
                memcpy(joined + length, e.payload, e.length);
                length += e.length;
                next++;
            }
        }
    }
    ck_assert_uint_eq(length, sizeof bytes);
    ck_assert_mem_eq(joined, bytes, sizeof bytes);
    bench_sequenced(b, 1, bytes, sizeof bytes);
    ck_assert_uint_eq(b->outcome_count, 1);
    ck_assert_uint_eq(b->outcomes[0].first_number, 1);
    ck_assert_uint_eq(b->outcomes[0].number, count);
    ck_assert_uint_eq(publisher_in_flight(b->p), 0);
    ck_assert_uint_eq(publisher_mismatches(b->p), 0);
    item.length++;
    ck_assert_uint_eq(publisher_push(b->p, &item, bench_here(b)), 0);
    bench_free(b);
}
END_TEST

/* ---- outcomes -------------------------------------------------------------------------------- */

static void reject(struct bench *b, uint64_t number, uint32_t count, uint8_t reason)
{
    struct sys_reject r = { .reason = reason, .topic = TOPIC, .count = count };
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_reject_encode(&r, payload, sizeof payload);
    struct message m = { .seq = ++b->seq,
                         .topic = TOPIC_REJECT,
                         .publisher = ID,
                         .publisher_seq = number,
                         .payload = payload,
                         .length = (uint32_t)length };
    publisher_on_message(b->p, &m, b->now);
}

START_TEST(a_reject_is_an_outcome_of_all_the_numbers_it_consumes)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    bench_push(b, "a");
    char text[3001];
    memset(text, 'z', 3000);
    text[3000] = '\0';
    bench_push(b, text);
    uint64_t numbers = publisher_next_number(b->p) - 2;
    ck_assert_uint_gt(numbers, 1);
    bench_push(b, "b");
    reject(b, 1, 1, REJECT_CONDITION);
    reject(b, 2, (uint32_t)numbers, REJECT_TOO_LARGE);
    ck_assert_uint_eq(b->outcome_count, 2);
    ck_assert_uint_eq(b->outcomes[0].rejected, REJECT_CONDITION);
    ck_assert_uint_eq(b->outcomes[1].rejected, REJECT_TOO_LARGE);
    ck_assert_uint_eq(b->outcomes[1].first_number, 2);
    bench_said(b, 2 + numbers, "b");
    ck_assert_uint_eq(b->outcomes[2].rejected, 0);
    ck_assert_uint_eq(publisher_in_flight(b->p), 0);
    bench_free(b);
}
END_TEST

START_TEST(foreign_bytes_under_its_number_are_noticed)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    bench_push(b, "mine");
    bench_said(b, 1, "thine");
    ck_assert_uint_eq(publisher_mismatches(b->p), 1);
    bench_said(b, 2, "from nowhere");
    ck_assert_uint_eq(publisher_mismatches(b->p), 2);
    ck_assert_uint_eq(b->outcome_count, 1);
    bench_free(b);
}
END_TEST

/* ---- forks ----------------------------------------------------------------------------------- */

START_TEST(a_fork_sends_again_what_still_answers_and_drops_what_does_not)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    bench_push(b, "a");
    uint64_t at_a = bench_said(b, 1, "a");
    bench_push(b, "b"); /* its author knows of a */
    bench_push(b, "c");
    bench_step(b);
    uint64_t at_b = bench_said(b, 2, "b");
    bench_push(b, "d"); /* its author knows of b */
    bench_step(b);
    ck_assert_uint_eq(publisher_in_flight(b->p), 2);
    uint32_t lost = publisher_on_fork(b->p, (struct position) { .seq = at_a });
    ck_assert_uint_eq(lost, 1);
    ck_assert_uint_lt(at_a, at_b);
    ck_assert_uint_eq(publisher_in_flight(b->p), 2); /* b and c */
    ck_assert_uint_eq(publisher_next_number(b->p), 4);
    bench_step(b);
    uint64_t first;
    ck_assert_uint_eq(bench_numbers_in(b, 0, &first), 2);
    ck_assert_uint_eq(first, 2);
    b->seq = at_a;
    bench_said(b, 2, "b");
    bench_said(b, 3, "c");
    ck_assert_uint_eq(publisher_in_flight(b->p), 0);
    ck_assert_uint_eq(bench_push(b, "e"), 4);
    ck_assert_uint_eq(publisher_mismatches(b->p), 0);
    bench_free(b);
}
END_TEST

/* What a client keeps that is told of a fork to below what it knows to be stable. */
START_TEST(a_fork_takes_back_a_run_that_is_stable_in_part)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    bench_push(b, "a");
    uint64_t at_a = bench_said(b, 1, "a");
    struct publisher_item item = { .topic = TOPIC, .payload = "g", .length = 1 };
    for (uint32_t i = 0; i < 3; i++) {
        item.more = i < 2;
        publisher_push(b->p, &item, bench_here(b));
    }
    bench_step(b);
    for (uint64_t number = 2; number <= 4; number++)
        bench_said(b, number, "g");
    uint64_t at_g = b->seq;
    ck_assert_uint_eq(publisher_holds_through(b->p, at_a), at_a);
    ck_assert_uint_eq(publisher_holds_through(b->p, at_g - 1), at_a);
    struct position holds = { .seq = at_a };
    ck_assert_uint_eq(publisher_on_fork(b->p, holds), 3);
    ck_assert_uint_eq(publisher_done_number(b->p), 1);
    for (uint64_t number = 2; number <= 4; number++)
        at_g = bench_said(b, number, "g");
    ck_assert_uint_eq(publisher_holds_through(b->p, at_g), at_g);
    ck_assert_uint_eq(publisher_kept_bytes(b->p), 0);
    bench_free(b);
}
END_TEST

/* By an epoch that does not last: the next one goes on with what the one before had. */
START_TEST(what_another_fork_gives_back_keeps_its_numbers)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    const struct position common = bench_here(b);
    bench_said(b, 0, "another's");
    bench_push(b, "a");
    bench_push(b, "b");
    bench_step(b);
    ck_assert_uint_eq(publisher_on_fork(b->p, common), 0);
    ck_assert_uint_eq(publisher_next_number(b->p), 1);
    bench_said(b, 1, "a");
    bench_said(b, 2, "b");
    ck_assert_uint_eq(b->outcome_count, 0); /* it was told that they are lost */
    ck_assert_uint_eq(bench_push(b, "c"), 3);
    uint64_t seq = bench_said(b, 3, "c");
    ck_assert_uint_eq(b->outcome_count, 1);
    ck_assert_uint_eq(publisher_on_fork(b->p, common), 3); /* and taken again */
    ck_assert_uint_eq(publisher_next_number(b->p), 1);
    ck_assert_uint_eq(publisher_in_flight(b->p), 0);
    b->seq = common.seq;
    ck_assert_uint_eq(bench_push(b, "d"), 1);
    bench_said(b, 1, "d");
    publisher_on_stable(b->p, seq);
    ck_assert_uint_eq(publisher_kept_bytes(b->p), 0);
    ck_assert_uint_eq(publisher_mismatches(b->p), 0);
    bench_free(b);
}
END_TEST

START_TEST(a_blind_publisher_keeps_everything_through_a_fork)
{
    struct publisher_options o = { .blind = true };
    struct bench *b = bench_new(&o);
    bench_activate(b, 0);
    uint64_t common = b->seq;
    bench_push(b, "a");
    bench_said(b, 1, "a");
    bench_push(b, "b");
    b->seq++;
    bench_push(b, "c");
    bench_step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 2);
    struct position p = { .epoch = { .number = 1 }, .seq = common };
    ck_assert_uint_eq(publisher_on_fork(b->p, p), 1);
    ck_assert_uint_eq(publisher_in_flight(b->p), 3);
    bench_step(b);
    uint64_t first;
    ck_assert_uint_eq(b->rig.leader.sent_count, 1); /* one position for all of them */
    ck_assert_uint_eq(bench_numbers_in(b, 0, &first), 3);
    ck_assert_uint_eq(first, 1);
    bench_free(b);
}
END_TEST

START_TEST(a_fork_below_its_join_begins_again)
{
    struct bench *b = bench_new(NULL);
    bench_step(b);
    uint64_t seq = bench_join_record(b, 99, 1, 0);
    publisher_on_fork(b->p, (struct position) { .seq = seq - 1 });
    ck_assert_uint_eq(publisher_id(b->p), 0);
    b->now.mono_ns += SECOND;
    bench_step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 1);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_JOINING);
    seq = bench_join_record(b, 99, 1, 0);
    publisher_on_stable(b->p, seq);
    bench_step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_ACTIVE);
    bench_free(b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("publisher");
    TCase *t = tcase_create("publisher");
    tcase_add_test(t, it_joins_when_caught_up_and_again_until_its_record_is_stable);
    tcase_add_test(t, a_later_incarnation_stops_it_for_good_once_stable);
    tcase_add_test(t, the_window_counts_what_has_no_outcome);
    tcase_add_test(t, what_is_not_stable_yet_is_kept_and_bounded);
    tcase_add_test(t, large_items_travel_in_fragments_and_have_one_outcome);
    tcase_add_test(t, a_reject_is_an_outcome_of_all_the_numbers_it_consumes);
    tcase_add_test(t, foreign_bytes_under_its_number_are_noticed);
    tcase_add_test(t, a_fork_sends_again_what_still_answers_and_drops_what_does_not);
    tcase_add_test(t, a_fork_takes_back_a_run_that_is_stable_in_part);
    tcase_add_test(t, what_another_fork_gives_back_keeps_its_numbers);
    tcase_add_test(t, a_blind_publisher_keeps_everything_through_a_fork);
    tcase_add_test(t, a_fork_below_its_join_begins_again);
    suite_add_tcase(s, t);
    return suite_main(s);
}
