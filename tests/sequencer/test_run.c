/* Goal: a run is in the stream whole and in one piece, or refused by one record that consumes all
 * its numbers; one that is incomplete or too large holds up nobody. */
#include "tests/sequencer/suite.h"

enum { CHUNK = 1300 };

struct fixture {
    struct suite *t;
    uint32_t alice;
    uint32_t bob;
    uint32_t topic;
    uint64_t tip; /* before the test */
};

static struct fixture fixture_of(struct suite *t)
{
    struct fixture f = { .t = t };
    suite_volatile(t);
    f.alice = suite_join(t, "alice");
    f.bob = suite_join(t, "bob");
    f.topic = suite_topic(t, f.alice, "/t");
    f.tip = t->tip;
    return f;
}

static struct fixture fixture_new(void)
{
    return fixture_of(suite_new());
}

/* A fragmented message of `count` datagrams, one fragment each, of which `from..to` are given. */
static void give_fragments(struct fixture *f, uint32_t publisher, uint64_t first, uint32_t count,
                           uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        struct offer o;
        uint8_t flags = i + 1 < count ? MESSAGE_MORE | MESSAGE_FRAGMENT : 0;
        offer_open(f->t, &o, publisher, first + i);
        offer_add(&o, f->topic, flags, NULL, CHUNK);
        offer_give(f->t, &o);
    }
}

/* From seq on: a run of `count` messages of the publisher, nothing in between. */
static void check_run(const struct fixture *f, uint64_t seq, uint32_t publisher, uint64_t first,
                      uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct message *m = suite_message(f->t, seq + i);
        ck_assert_uint_eq(m->publisher, publisher);
        ck_assert_uint_eq(m->publisher_seq, first + i);
        ck_assert_uint_eq(m->flags & MESSAGE_MORE, i + 1 < count ? MESSAGE_MORE : 0);
    }
}

START_TEST(a_group_in_one_datagram)
{
    struct fixture f = fixture_new();
    struct offer o;
    offer_open(f.t, &o, f.alice, 1);
    offer_add(&o, f.topic, MESSAGE_MORE, "a", 1);
    offer_add(&o, f.topic, MESSAGE_MORE, "b", 1);
    offer_add(&o, f.topic, 0, "c", 1);
    offer_add(&o, f.topic, 0, "alone", 5);
    offer_give(f.t, &o);
    suite_run(f.t);
    check_run(&f, f.tip + 1, f.alice, 1, 3);
    check_run(&f, f.tip + 4, f.alice, 4, 1);
    ck_assert_uint_eq(ledger_next(sequencer_ledger(f.t->core), f.alice), 5);
    ck_assert_uint_eq(ledger_last_seq(sequencer_ledger(f.t->core), f.topic), f.tip + 4);
    suite_free(f.t);
}
END_TEST

START_TEST(fragments_over_many_datagrams_in_any_order)
{
    struct fixture f = fixture_new();
    enum { COUNT = 200 };
    for (uint32_t i = 0; i < COUNT; i++) { /* 7 and COUNT have no common divisor */
        uint32_t at = i * 7 % COUNT;
        give_fragments(&f, f.alice, 1, COUNT, at, at + 1);
        suite_run(f.t);
        if (i + 1 < COUNT)
            ck_assert_uint_eq(f.t->tip, f.tip);
    }
    ck_assert_uint_eq(f.t->tip, f.tip + COUNT);
    check_run(&f, f.tip + 1, f.alice, 1, COUNT);
    suite_free(f.t);
}
END_TEST

/* What was lost comes again in a datagram that begins in front of where the search for the run's end has got to. */
START_TEST(pieces_that_come_again_in_a_larger_one)
{
    struct fixture f = fixture_new();
    for (uint32_t from = 1; from <= 2; from++) {
        struct offer part;
        offer_open(f.t, &part, f.alice, from);
        offer_add(&part, f.topic, MESSAGE_MORE, NULL, 8);
        offer_give(f.t, &part);
        suite_run(f.t);
        ck_assert_uint_eq(f.t->tip, f.tip);
    }
    struct offer again;
    offer_open(f.t, &again, f.alice, 1);
    for (uint32_t number = 1; number <= 4; number++)
        offer_add(&again, f.topic, number < 4 ? MESSAGE_MORE : 0, NULL, 8);
    offer_give(f.t, &again);
    suite_run(f.t);
    ck_assert_uint_eq(f.t->tip, f.tip + 4);
    check_run(&f, f.tip + 1, f.alice, 1, 4);
    suite_free(f.t);
}
END_TEST

START_TEST(a_whole_mebibyte)
{
    struct suite *t = suite_new();
    t->options.ring_bytes = 8 << 20;
    struct fixture f = fixture_of(t);
    uint32_t count = (RUN_BYTES_DEFAULT - 1) / CHUNK;
    give_fragments(&f, f.alice, 1, count, 0, count);
    suite_propose(t, f.bob, 1, f.topic, 8);
    suite_run(t);
    ck_assert_uint_eq(t->tip, f.tip + count + 1);
    check_run(&f, suite_message(t, f.tip + 1)->publisher == f.bob ? f.tip + 2 : f.tip + 1, f.alice,
              1, count);
    suite_free(t);
}
END_TEST

START_TEST(an_incomplete_run_holds_up_nobody)
{
    struct fixture f = fixture_new();
    give_fragments(&f, f.alice, 1, 10, 0, 9);
    suite_propose(f.t, f.bob, 1, f.topic, 8);
    suite_run(f.t);
    ck_assert_uint_eq(f.t->tip, f.tip + 1);
    ck_assert_uint_eq(suite_message(f.t, f.t->tip)->publisher, f.bob);
    give_fragments(&f, f.alice, 1, 10, 9, 10);
    suite_run(f.t);
    check_run(&f, f.tip + 2, f.alice, 1, 10);
    suite_free(f.t);
}
END_TEST

/* One batch a step: the run takes many steps, and ticks, joins and others wait for its end. */
START_TEST(nothing_gets_inside_a_run_that_takes_many_steps)
{
    struct suite *t = suite_new();
    t->options.step_batches_max = 1;
    t->options.tick_ns = MS;
    struct fixture f = fixture_of(t);
    give_fragments(&f, f.alice, 1, 50, 0, 50);
    suite_step(t);
    ck_assert_uint_gt(t->tip, f.tip);
    while (t->tip < f.tip + 50) {
        uint64_t before = t->tip;
        t->now.mono_ns += MS;
        suite_propose(t, f.bob, ledger_next(sequencer_ledger(t->core), f.bob), f.topic, 8);
        uint8_t bytes[SIGNAL_SIZE_MAX];
        struct join j = { .nonce = 1, .wanted = 1, .identity = "late" };
        suite_give(t, bytes, join_encode(&j, SUITE_STREAM, bytes, sizeof bytes));
        suite_step(t);
        ck_assert_uint_gt(t->tip, before);
    }
    suite_run(t);
    check_run(&f, f.tip + 1, f.alice, 1, 50);
    ck_assert_uint_eq(suite_count(t, f.tip + 51, f.bob), 1);
    suite_free(t);
}
END_TEST

/* ---- refused --------------------------------------------------------------------------------- */

static void check_refused(struct fixture *f, struct offer *o, uint32_t count, uint8_t reason)
{
    uint64_t first = o->header.first_publisher_seq;
    uint64_t tip = f->t->tip;
    offer_give(f->t, o);
    suite_run(f->t);
    ck_assert_uint_eq(f->t->tip, tip + 1);
    struct sys_reject reject = suite_rejected(f->t, f->alice, first);
    ck_assert_uint_eq(reject.count, count);
    ck_assert_uint_eq(reject.reason, reason);
    ck_assert_uint_eq(ledger_next(sequencer_ledger(f->t->core), f->alice), first + count);
}

START_TEST(a_refusal_is_one_record_for_all_its_numbers)
{
    struct fixture f = fixture_new();
    struct offer o;
    uint64_t n = 1;
    offer_open(f.t, &o, f.alice, n); /* a topic that does not exist */
    offer_add(&o, f.topic, MESSAGE_MORE, "a", 1);
    offer_add(&o, 60, MESSAGE_MORE, "b", 1);
    offer_add(&o, f.topic, 0, "c", 1);
    check_refused(&f, &o, 3, REJECT_NO_TOPIC);
    offer_open(f.t, &o, f.alice, n += 3); /* one it may not write to */
    offer_add(&o, f.topic, MESSAGE_MORE, "a", 1);
    offer_add(&o, TOPIC_SESSION, 0, "b", 1);
    check_refused(&f, &o, 2, REJECT_NOT_PERMITTED);
    offer_open(f.t, &o, f.alice, n += 2); /* /sys inside a run */
    offer_add(&o, TOPIC_TOPIC, MESSAGE_MORE, "/a", 2);
    offer_add(&o, f.topic, 0, "b", 1);
    check_refused(&f, &o, 2, REJECT_MALFORMED);
    offer_open(f.t, &o, f.alice, n += 2); /* a payload that goes on with another topic */
    uint32_t other = suite_topic(f.t, f.bob, "/other");
    offer_add(&o, f.topic, MESSAGE_MORE | MESSAGE_FRAGMENT, "a", 1);
    offer_add(&o, other, 0, "b", 1);
    check_refused(&f, &o, 2, REJECT_MALFORMED);
    offer_open(f.t, &o, f.alice, n += 2); /* a condition that is not on the first */
    offer_add(&o, f.topic, MESSAGE_MORE, "a", 1);
    offer_add_if(&o, f.topic, 0, f.topic, UINT64_MAX);
    check_refused(&f, &o, 2, REJECT_MALFORMED);
    suite_free(f.t);
}
END_TEST

START_TEST(the_condition_of_a_run_is_judged_at_its_first_message)
{
    struct fixture f = fixture_new();
    struct offer o;
    suite_propose(f.t, f.bob, 1, f.topic, 8);
    suite_run(f.t);
    uint64_t last = f.t->tip;
    offer_open(f.t, &o, f.alice, 1);
    offer_add_if(&o, f.topic, MESSAGE_MORE, f.topic, last - 1);
    offer_add(&o, f.topic, 0, "b", 1);
    check_refused(&f, &o, 2, REJECT_CONDITION);
    ck_assert_uint_eq(suite_rejected(f.t, f.alice, 1).detail, last);
    offer_open(f.t, &o, f.alice, 3);
    offer_add_if(&o, f.topic, MESSAGE_MORE, f.topic, last);
    offer_add(&o, f.topic, MESSAGE_MORE, "b", 1); /* the run itself is no obstacle */
    offer_add(&o, f.topic, 0, "c", 1);
    offer_give(f.t, &o);
    suite_run(f.t);
    check_run(&f, f.t->tip - 2, f.alice, 3, 3);
    suite_free(f.t);
}
END_TEST

/* Over the limit by bytes: the record comes while the run still arrives, says that it goes on, and
 * the rest is consumed as it comes, by records that say so until the end. */
START_TEST(a_run_too_large_is_consumed_to_its_end)
{
    struct suite *t = suite_new();
    t->options.run_bytes_max = 10 * CHUNK;
    struct fixture f = fixture_of(t);
    give_fragments(&f, f.alice, 1, 30, 0, 10);
    suite_run(t);
    ck_assert_uint_eq(t->tip, f.tip);
    give_fragments(&f, f.alice, 1, 30, 10, 12);
    suite_run(t);
    ck_assert_uint_eq(t->tip, f.tip + 1);
    struct sys_reject reject = suite_rejected(t, f.alice, 1);
    ck_assert_uint_eq(reject.reason, REJECT_TOO_LARGE);
    ck_assert_uint_eq(reject.count, 12);
    ck_assert_uint_eq(reject.detail, 1);
    give_fragments(&f, f.alice, 1, 30, 12, 20);
    suite_run(t);
    reject = suite_rejected(t, f.alice, 13);
    ck_assert_uint_eq(reject.count, 8);
    ck_assert_uint_eq(reject.detail, 1);
    give_fragments(&f, f.alice, 1, 30, 20, 30);
    suite_propose(t, f.alice, 31, f.topic, 8);
    suite_run(t);
    const struct message *m = suite_message(t, t->tip);
    ck_assert_uint_eq(m->publisher_seq, 31);
    ck_assert_uint_eq(m->topic, f.topic);
    m = suite_message(t, t->tip - 1);
    ck_assert(sys_reject_decode(m->payload, m->length, &reject));
    ck_assert_uint_eq(m->publisher_seq, 21);
    ck_assert_uint_eq(reject.count, 10);
    ck_assert_uint_eq(reject.detail, 0);
    ck_assert_uint_eq(suite_counter(t, COUNTER_PROPOSALS_REJECTED), 30);
    /* The limit itself is allowed. */
    give_fragments(&f, f.alice, 32, 10, 0, 10);
    suite_run(t);
    check_run(&f, t->tip - 9, f.alice, 32, 10);
    suite_free(t);
}
END_TEST

START_TEST(a_run_of_too_many_messages)
{
    struct suite *t = suite_new();
    t->options.window = 100; /* more can never be complete here */
    struct fixture f = fixture_of(t);
    struct offer o;
    for (uint64_t first = 1; first <= 100; first += 10) {
        offer_open(t, &o, f.alice, first);
        for (uint32_t i = 0; i < 10; i++)
            offer_add(&o, f.topic, MESSAGE_MORE, "x", 1);
        offer_give(t, &o);
        suite_run(t);
    }
    struct sys_reject reject = suite_rejected(t, f.alice, 1);
    ck_assert_uint_eq(reject.reason, REJECT_TOO_LARGE);
    ck_assert_uint_eq(reject.count, 100);
    ck_assert_uint_eq(reject.detail, 1);
    /* A new incarnation does not inherit it. */
    suite_give_join(t, "alice", 2, 1);
    uint64_t tip = t->tip;
    suite_propose(t, f.alice, 101, f.topic, 8);
    suite_run(t);
    ck_assert_uint_eq(suite_message(t, tip + 1)->topic, f.topic);
    suite_free(t);
}
END_TEST

START_TEST(a_run_that_fits_no_ring_is_refused)
{
    struct suite *t = suite_new();
    t->options.ring_bytes = 1; /* the least there is: 64 slots */
    struct fixture f = fixture_of(t);
    give_fragments(&f, f.alice, 1, 49, 0, 49);
    suite_run(t);
    ck_assert_uint_eq(suite_rejected(t, f.alice, 1).reason, REJECT_TOO_LARGE);
    give_fragments(&f, f.alice, 50, 47, 0, 47);
    suite_run(t);
    check_run(&f, t->tip - 46, f.alice, 50, 47);
    suite_free(t);
}
END_TEST

/* Eight publishers fill a small pool with pieces of runs, of which none fits beside the others, and
 * send again what is missing: all of them come through, one after the other. */
START_TEST(runs_that_compete_for_the_pool_are_all_completed)
{
    enum { PUBLISHERS = 8, COUNT = 30 };
    struct suite *t = suite_new();
    t->options.queue_max = 64;
    struct fixture f = fixture_of(t);
    uint32_t publishers[PUBLISHERS];
    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%u", i);
        publishers[i] = suite_join(t, name);
    }
    uint64_t from = t->tip + 1;
    int turn = 0;
    for (; turn < 100 && t->tip + 1 < from + PUBLISHERS * COUNT; turn++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            for (uint32_t p = 0; p < PUBLISHERS; p++) {
                if (ledger_next(sequencer_ledger(t->core), publishers[p]) == 1)
                    give_fragments(&f, publishers[p], 1, COUNT, i, i + 1);
            }
        }
        suite_advance(t, 20 * MS);
    }
    ck_assert_int_lt(turn, 100);
    for (uint32_t r = 0; r < PUBLISHERS; r++)
        check_run(&f, from + r * COUNT, suite_message(t, from + r * COUNT)->publisher, 1, COUNT);
    suite_free(t);
}
END_TEST

/* A whole run waits for room in a full ring, again and again, with more behind it and a tick due: it
 * stays the run it is, the tick does not keep the loop spinning, and room lets all of it through. */
START_TEST(a_run_that_waits_for_room_stays_what_it_is)
{
    struct suite *t = suite_new();
    t->options.ring_bytes = 1; /* 64 slots */
    t->options.pace_ns = 0;
    t->options.tick_ns = MS;
    suite_lead(t, 1);
    struct fixture f = { .t = t };
    f.alice = suite_join(t, "alice");
    f.topic = suite_topic(t, f.alice, "/t");
    while (!sequencer_paused(t->core))
        suite_advance(t, MS); /* ticks fill the ring */
    f.tip = t->tip;
    give_fragments(&f, f.alice, 1, 20, 0, 20);
    for (uint64_t n = 21; n <= 23; n++)
        suite_propose(t, f.alice, n, f.topic, 8);
    for (int i = 0; i < 5; i++) {
        suite_advance(t, MS);
        ck_assert_uint_gt(t->deadline, t->now.mono_ns);
        suite_propose(t, f.alice, 24, f.topic, 8);
    }
    ck_assert_uint_eq(t->tip, f.tip);
    suite_ack(t, 1, f.tip);
    suite_run(t);
    uint64_t first = f.tip + 1;
    while (suite_message(t, first)->topic == TOPIC_CLOCK)
        first++;
    check_run(&f, first, f.alice, 1, 20);
    ck_assert_uint_eq(suite_count(t, f.tip + 1, f.alice), 24);
    ck_assert_uint_eq(suite_counter(t, COUNTER_PROPOSALS_REJECTED), 0);
    suite_free(t);
}
END_TEST

/* However much room there is: a run is begun only where all of it will find room, with a batch open before
 * it, too. Half a run in a full ring would be in the way of the change that brings a quorum back. */
START_TEST(no_run_is_begun_without_room_for_all_of_it)
{
    enum { COUNT = 20 };
    uint32_t whole = 0, none = 0;
    for (uint32_t room = COUNT - 4; room < COUNT + 4; room++) {
        struct suite *t = suite_new();
        t->options.ring_bytes = 1; /* 64 slots, 16 of them in reserve */
        t->options.pace_ns = 0;
        t->options.tick_ns = MS;
        suite_lead(t, 1);
        struct fixture f = { .t = t };
        f.alice = suite_join(t, "alice");
        f.topic = suite_topic(t, f.alice, "/t");
        suite_ack(t, 1, t->tip);
        suite_run(t);
        for (uint32_t batches = t->batches; t->batches < batches + 48 - room;)
            suite_advance(t, MS);
        suite_propose(t, f.alice, 1, f.topic, 8); /* it opens a batch */
        give_fragments(&f, f.alice, 2, COUNT, 0, COUNT);
        uint64_t tip = t->tip;
        suite_run(t);
        uint32_t emitted = suite_count(t, tip + 1, f.alice);
        ck_assert_msg(emitted == 1 || emitted == 1 + COUNT, "room for %u: %u of it", room, emitted);
        whole += emitted == 1 + COUNT;
        none += emitted == 1;
        suite_free(t);
    }
    ck_assert_uint_gt(whole, 0);
    ck_assert_uint_gt(none, 0);
}
END_TEST

SUITE_MAIN("sequencer_run", no_run_is_begun_without_room_for_all_of_it,
           a_run_that_waits_for_room_stays_what_it_is, a_group_in_one_datagram,
           fragments_over_many_datagrams_in_any_order, pieces_that_come_again_in_a_larger_one,
           a_whole_mebibyte, an_incomplete_run_holds_up_nobody,
           nothing_gets_inside_a_run_that_takes_many_steps,
           a_refusal_is_one_record_for_all_its_numbers,
           the_condition_of_a_run_is_judged_at_its_first_message,
           a_run_too_large_is_consumed_to_its_end, a_run_of_too_many_messages,
           a_run_that_fits_no_ring_is_refused, runs_that_compete_for_the_pool_are_all_completed)
