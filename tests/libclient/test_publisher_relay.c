/* A publisher alone (bench.h) as a proxy uses it for a client of its own: with an incarnation that
 * the client asks for, groups of items that are one run, and an outbox that it shares with others.
 * */
#include "bench.h"
#include "suite_main.h"

/* The catalog has a join of ours, or of another's. */
static void joined_before(struct bench *b, uint64_t nonce, uint32_t incarnation)
{
    struct batch_header batch = { .stream = RIG_STREAM };
    uint8_t payload[SYS_PAYLOAD_MAX];
    for (uint32_t i = 1; i <= incarnation; i++) {
        struct sys_join j = { .nonce = nonce, .publisher = 1, .incarnation = i, .identity = "me" };
        size_t length = sys_join_encode(&j, payload, sizeof payload);
        struct message m = {
            .seq = ++b->seq, .topic = TOPIC_JOIN, .length = (uint32_t)length, .payload = payload
        };
        batch.first_seq = m.seq;
        ck_assert_int_eq(catalog_apply(b->catalog, &m, &batch), CATALOG_OK);
    }
}

START_TEST(an_incarnation_that_another_has_is_the_end_once_that_is_stable)
{
    struct publisher_options o = { .wanted = 2 };
    struct bench *b = bench_new(&o);
    joined_before(b, 7, 2);
    bench_step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 0);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_JOINING);
    ck_assert_uint_eq(publisher_superseded_seq(b->p), b->seq);
    publisher_on_stable(b->p, b->seq);
    bench_step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_SUPERSEDED);
    bench_free(b);
}
END_TEST

START_TEST(an_incarnation_that_is_to_come_is_waited_for_and_then_asked_for)
{
    struct publisher_options o = { .wanted = 3 };
    struct bench *b = bench_new(&o);
    joined_before(b, 7, 1);
    uint64_t again = bench_step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 0); /* what it held is not here yet */
    struct batch_header batch = { .stream = RIG_STREAM, .first_seq = b->seq + 1 };
    struct sys_join second = { .nonce = 8, .publisher = 1, .incarnation = 2, .identity = "me" };
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_join_encode(&second, payload, sizeof payload);
    struct message m = {
        .seq = ++b->seq, .topic = TOPIC_JOIN, .length = (uint32_t)length, .payload = payload
    };
    ck_assert_int_eq(catalog_apply(b->catalog, &m, &batch), CATALOG_OK);
    b->now.mono_ns = again;
    bench_step(b);
    struct join j;
    ck_assert_uint_eq(b->rig.leader.sent_count, 1);
    ck_assert_int_eq(
        join_decode(b->rig.leader.sent[0].bytes, b->rig.leader.sent[0].length, RIG_STREAM, &j),
        WIRE_OK);
    ck_assert_uint_eq(j.wanted, 3);
    bench_free(b);
}
END_TEST

START_TEST(a_group_is_many_items_and_one_run)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    struct publisher_item item = { .topic = TOPIC, .payload = "g", .length = 1, .more = true };
    publisher_push(b->p, &item, bench_here(b));
    item.more = false;
    publisher_push(b->p, &item, bench_here(b));
    bench_step(b);
    struct proposal_header h;
    const struct leader_sent *d = &b->rig.leader.sent[0];
    ck_assert_int_eq(proposal_decode(d->bytes, d->length, RIG_STREAM, &h), WIRE_OK);
    struct proposal_cursor cursor = proposal_begin(d->bytes, &h);
    struct proposal_entry e;
    ck_assert(proposal_next(&cursor, &e));
    ck_assert_uint_eq(e.flags, MESSAGE_MORE);
    ck_assert(proposal_next(&cursor, &e));
    ck_assert_uint_eq(e.flags, 0);
    ck_assert_uint_eq(publisher_in_flight(b->p), 2);
    bench_said(b, 1, "g");
    bench_said(b, 2, "g");
    ck_assert_uint_eq(b->outcome_count, 2);
    ck_assert_uint_eq(publisher_in_flight(b->p), 0);
    bench_free(b);
}
END_TEST

START_TEST(what_was_said_behind_a_fallen_item_falls_with_it)
{
    struct bench *b = bench_new(NULL);
    bench_activate(b, 0);
    uint64_t common = b->seq;
    struct publisher_item item = { .topic = TOPIC, .payload = "x", .length = 1 };
    publisher_push(b->p, &item, bench_here(b));
    b->seq++;
    publisher_push(b->p, &item, bench_here(b));
    publisher_push(b->p, &item, (struct position) { .seq = 0 });
    publisher_on_fork(b->p, (struct position) { .epoch = { .number = 1 }, .seq = common });
    ck_assert_uint_eq(publisher_next_number(b->p), 2);
    ck_assert_uint_eq(publisher_in_flight(b->p), 1);
    ck_assert_uint_eq(publisher_kept_bytes(b->p), 1);
    bench_free(b);
}
END_TEST

START_TEST(publishers_that_share_an_outbox_send_as_much_as_it_holds)
{
    static uint8_t bytes[2 * WIRE_DATAGRAM_DEFAULT];
    struct publisher_outbox outbox = { .bytes = bytes, .max = 2 };
    struct publisher_options o = { .outbox = &outbox };
    struct bench *b = bench_new(&o);
    static char text[1000];
    memset(text, 't', sizeof text - 1);
    bench_activate(b, 0);
    for (int i = 0; i < 5; i++)
        bench_push(b, text);
    ck_assert_uint_eq(bench_step(b), b->now.mono_ns); /* there is more */
    ck_assert_uint_eq(b->rig.leader.sent_count, 2);
    ck_assert_uint_eq(outbox.count, 2);
    bench_step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 0);
    outbox.count = 0;
    bench_step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 2);
    bench_free(b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("publisher_relay");
    TCase *t = tcase_create("publisher_relay");
    tcase_add_test(t, an_incarnation_that_another_has_is_the_end_once_that_is_stable);
    tcase_add_test(t, an_incarnation_that_is_to_come_is_waited_for_and_then_asked_for);
    tcase_add_test(t, a_group_is_many_items_and_one_run);
    tcase_add_test(t, what_was_said_behind_a_fallen_item_falls_with_it);
    tcase_add_test(t, publishers_that_share_an_outbox_send_as_much_as_it_holds);
    suite_add_tcase(s, t);
    return suite_main(s);
}
