/* Goal: what a publisher offers is sequenced or rejected exactly once and in its order, whatever
 * the network does to its datagrams; and no publisher is served at another's cost. On a stream
 * without stores, because nothing here depends on them. */
#include "tests/sequencer/suite.h"

struct fixture {
    struct suite *t;
    uint32_t publisher;
    uint32_t topic;
};

static struct fixture fixture_new(void)
{
    struct fixture f = { .t = suite_new() };
    suite_volatile(f.t);
    f.publisher = suite_join(f.t, "alice");
    f.topic = suite_topic(f.t, f.publisher, "/md/x");
    return f;
}

/* The numbers of the publisher's messages from seq on must be first, first + 1, ... */
static void check_numbers(const struct suite *t, uint64_t from, uint32_t publisher, uint64_t first,
                          uint32_t count)
{
    uint64_t expected = first;
    for (uint64_t seq = from; seq <= t->tip; seq++) {
        const struct message *m = suite_message(t, seq);
        if (m->publisher != publisher)
            continue;
        ck_assert_uint_eq(m->publisher_seq, expected);
        if (m->length >= 8 && m->topic >= TOPIC_FIRST_USER)
            ck_assert_uint_eq(wire_load64(m->payload), expected);
        expected++;
    }
    ck_assert_uint_eq(expected, first + count);
}

START_TEST(a_join_is_answered_by_the_stream)
{
    struct fixture f = fixture_new();
    const struct message *m = suite_message(f.t, f.t->tip - 1);
    struct sys_join join;
    ck_assert_uint_eq(m->topic, TOPIC_JOIN);
    ck_assert(sys_join_decode(m->payload, m->length, &join));
    ck_assert_uint_eq(join.publisher, f.publisher);
    ck_assert_uint_eq(join.incarnation, 1);
    ck_assert_uint_eq(join.nonce, 42);
    ck_assert_uint_eq(join.last_publisher_seq, 0);
    suite_free(f.t);
}
END_TEST

START_TEST(a_join_is_a_compare_and_set)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    uint64_t tip = t->tip;
    suite_give_join(t, "alice", 1, 42); /* again, the same one: it has won already */
    ck_assert_uint_eq(t->tip, tip);
    ck_assert_int_eq(t->hint.reason, HINT_OLD_NUMBER);
    ck_assert_uint_eq(t->hint.nonce, 42);
    ck_assert_uint_eq(t->hint.publisher, f.publisher);
    ck_assert_uint_eq(t->hint.incarnation, 1);
    ck_assert_uint_eq(t->hint.next_publisher_seq, 1);
    suite_give_join(t, "alice", 1, 43); /* another one: it has lost */
    ck_assert_uint_eq(t->tip, tip);
    ck_assert_int_eq(t->hint.reason, HINT_JOIN_CONFLICT);
    suite_give_join(t, "alice", 3, 44); /* not the next */
    suite_give_join(t, "carol", 2, 44);
    ck_assert_uint_eq(t->tip, tip);
    ck_assert_uint_eq(suite_counter(t, COUNTER_JOINS_CONFLICT), 3);
    suite_give_join(t, "alice", 2, 45);
    ck_assert_uint_eq(t->tip, tip + 1);
    suite_free(t);
}
END_TEST

START_TEST(joins_stop_at_a_full_catalog)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    char name[16];
    for (uint32_t i = 2; i < t->options.catalog.publishers_max; i++) {
        snprintf(name, sizeof name, "p%u", i);
        ck_assert_uint_eq(suite_join(t, name), i);
    }
    uint64_t tip = t->tip;
    suite_advance(t, SECOND);
    suite_give_join(t, "one-more", 1, 1);
    ck_assert_uint_eq(t->tip, tip);
    ck_assert_uint_eq(suite_counter(t, COUNTER_JOINS_FULL), 1);
    ck_assert_int_eq(t->hint.reason, HINT_OVERLOADED);
    suite_give_join(t, "alice", 2, 9); /* those that are in it still may */
    ck_assert_uint_eq(t->tip, tip + 1);
    suite_free(t);
}
END_TEST

START_TEST(a_new_incarnation_goes_on_and_fences_the_old_one)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    suite_propose(t, f.publisher, 1, f.topic, 8);
    suite_propose(t, f.publisher, 3, f.topic, 8); /* held: 2 is missing */
    suite_run(t);
    suite_give_join(t, "alice", 2, 77);
    struct sys_join join;
    const struct message *m = suite_message(t, t->tip);
    ck_assert(sys_join_decode(m->payload, m->length, &join));
    ck_assert_uint_eq(join.incarnation, 2);
    ck_assert_uint_eq(join.last_publisher_seq, 1);
    uint64_t tip = t->tip;
    struct offer o;
    offer_open(t, &o, f.publisher, 2);
    o.header.incarnation = 1;
    offer_add(&o, f.topic, 0, "old", 3);
    offer_give(t, &o);
    suite_run(t);
    ck_assert_uint_eq(t->tip, tip);
    ck_assert_uint_eq(suite_counter(t, COUNTER_PROPOSALS_SUPERSEDED), 1);
    ck_assert_int_eq(t->hint.reason, HINT_SUPERSEDED);
    suite_propose(t, f.publisher, 2, f.topic, 8); /* of incarnation 2 */
    suite_run(t);
    ck_assert_uint_eq(t->tip, tip + 1); /* and not 3, which the old one sent */
    offer_open(t, &o, f.publisher, 3);
    o.header.incarnation = 3; /* one that has not joined */
    offer_add(&o, f.topic, 0, "new", 3);
    offer_give(t, &o);
    suite_run(t);
    ck_assert_uint_eq(t->tip, tip + 1);
    suite_free(t);
}
END_TEST

START_TEST(a_topic_is_created_once)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    uint64_t tip = t->tip;
    ck_assert_uint_eq(suite_topic(t, f.publisher, "/md/x"), f.topic);
    ck_assert_uint_eq(t->tip, tip);
    ck_assert_uint_eq(suite_topic(t, f.publisher, "/md/y"), f.topic + 1);
    ck_assert_uint_eq(t->tip, tip + 1);

    struct create c = { .nonce = 6, .publisher = f.publisher, .path = "/sys/mine" };
    uint8_t bytes[PORT_SCRATCH_MAX];
    suite_give(t, bytes, create_encode(&c, SUITE_STREAM, bytes, sizeof bytes));
    suite_run(t);
    ck_assert_int_eq(t->hint.reason, HINT_TOPIC_REFUSED);
    ck_assert_uint_eq(t->hint.nonce, 6);
    c = (struct create) { .nonce = 7, .publisher = 31, .path = "/ok" };
    suite_give(t, bytes, create_encode(&c, SUITE_STREAM, bytes, sizeof bytes));
    suite_run(t);
    ck_assert_int_eq(t->hint.reason, HINT_UNKNOWN_PUBLISHER);
    ck_assert_uint_eq(t->tip, tip + 1);
    suite_free(t);
}
END_TEST

START_TEST(a_topic_proposed_exists_from_the_next_message_on)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    uint64_t tip = t->tip;
    struct offer o;
    offer_open(t, &o, f.publisher, 1);
    offer_add(&o, f.topic + 1, 0, "early", 5);
    offer_add(&o, TOPIC_TOPIC, 0, "/md/y", 5);
    offer_add(&o, f.topic + 1, 0, "there", 5);
    offer_give(t, &o);
    suite_run(t);
    ck_assert_uint_eq(t->tip, tip + 3);
    ck_assert_uint_eq(suite_message(t, tip + 1)->topic, TOPIC_REJECT);
    ck_assert_uint_eq(suite_message(t, tip + 2)->topic, TOPIC_TOPIC);
    ck_assert_uint_eq(suite_message(t, tip + 2)->publisher, f.publisher);
    ck_assert_uint_eq(suite_message(t, tip + 3)->topic, f.topic + 1);
    check_numbers(t, tip + 1, f.publisher, 1, 3);
    suite_free(t);
}
END_TEST

START_TEST(any_order_of_arrival_gives_the_publishers_order)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    uint64_t from = t->tip + 1;
    const uint64_t order[] = { 3, 2, 7, 3, 1, 1, 10, 5, 9, 8, 6, 4, 2, 10 };
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        suite_propose(t, f.publisher, order[i], f.topic, 16);
        suite_run(t);
    }
    check_numbers(t, from, f.publisher, 1, 10);
    ck_assert_uint_eq(suite_counter(t, COUNTER_PROPOSALS_DUPLICATE), 4);
    ck_assert_uint_eq(suite_counter(t, COUNTER_PROPOSALS_IN), 14);
    suite_free(t);
}
END_TEST

/* Datagrams of many proposals that overlap in every way, at random: each number comes out once. */
START_TEST(overlapping_datagrams_come_out_once)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    uint64_t from = t->tip + 1;
    uint32_t seed = 12345;
    uint64_t done = 0;
    for (int turn = 0; turn < 3000; turn++) {
        seed = seed * 1664525 + 1013904223;
        uint64_t next = ledger_next(sequencer_ledger(t->core), f.publisher);
        uint64_t first = next + (seed >> 8) % 40;
        first = first > 12 ? first - 12 : 1;
        struct offer o;
        offer_open(t, &o, f.publisher, first);
        for (uint64_t n = first; n < first + 1 + (seed >> 20) % 9; n++)
            offer_add(&o, f.topic, 0, &n, 8);
        offer_give(t, &o);
        if ((seed >> 16) % 3 == 0)
            suite_run(t);
        done = ledger_next(sequencer_ledger(t->core), f.publisher) - 1;
    }
    ck_assert_uint_gt(done, 1000);
    check_numbers(t, from, f.publisher, 1, (uint32_t)done);
    suite_free(t);
}
END_TEST

/* When the hole opens, and for each one; not when it closes, nor for what comes late into it. */
START_TEST(a_publisher_is_told_what_is_missing)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    uint32_t hints = t->hints;
    suite_propose(t, f.publisher, 1, f.topic, 8);
    suite_propose(t, f.publisher, 2, f.topic, 8);
    ck_assert_uint_eq(t->hints, hints);
    static const uint64_t holes[][2] = { { 3, 5 }, { 6, 9 } };
    for (size_t i = 0; i < 2; i++) {
        suite_propose(t, f.publisher, holes[i][1], f.topic, 8);
        ck_assert_uint_eq(t->hints, ++hints);
        ck_assert_int_eq(t->hint.reason, HINT_MISSING);
        ck_assert_uint_eq(t->hint.publisher, f.publisher);
        ck_assert_uint_eq(t->hint.next_publisher_seq, holes[i][0]);
        ck_assert_uint_eq(t->hint.nonce, holes[i][1]);
    }
    static const uint64_t late[] = { 7, 3, 4, 6, 8 };
    for (size_t i = 0; i < sizeof late / sizeof late[0]; i++)
        suite_propose(t, f.publisher, late[i], f.topic, 8);
    ck_assert_uint_eq(t->hints, hints);
    suite_run(t);
    suite_propose(t, f.publisher, 10, f.topic, 8);
    ck_assert_uint_eq(t->hints, hints);
    suite_free(t);
}
END_TEST

START_TEST(a_hole_is_told_of_once)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    uint32_t hints = t->hints;
    for (int i = 0; i < 100; i++) /* the first opens the hole, the others are duplicates */
        suite_propose(t, f.publisher, 3, f.topic, 8);
    ck_assert_uint_eq(t->hints, hints + 1);
    suite_advance(t, SECOND);
    suite_propose(t, f.publisher, 3, f.topic, 8);
    ck_assert_uint_eq(t->hints, hints + 1);
    suite_free(t);
}
END_TEST

/* The newest datagram gives its slot in a full pool to one before it, and comes again once there is
 * room. */
START_TEST(a_hole_is_told_of_once_whatever_becomes_of_its_end)
{
    struct suite *t = suite_new();
    t->options.queue_max = 16;
    suite_volatile(t);
    uint32_t p = suite_join(t, "alice");
    uint32_t topic = suite_topic(t, p, "/t");
    uint64_t newest = 0;
    for (uint64_t n = 4; suite_counter(t, COUNTER_PROPOSALS_OVERFLOW) == 0; n += 4) {
        suite_propose(t, p, n, topic, 8);
        if (t->hint.reason == HINT_MISSING)
            newest = t->hint.nonce;
    }
    uint64_t n = 2;
    for (; suite_counter(t, COUNTER_PROPOSALS_OVERFLOW) == 1; n++)
        suite_propose(t, p, n, topic, 8);
    ck_assert_uint_lt(n, newest - 4);
    uint64_t from = t->tip + 1;
    suite_propose(t, p, 1, topic, 8);
    suite_run(t);
    check_numbers(t, from, p, 1, (uint32_t)n - 1);
    uint32_t hints = t->hints;
    suite_propose(t, p, newest, topic, 8);
    ck_assert_uint_eq(t->hints, hints);
    suite_propose(t, p, newest + 4, topic, 8); /* another hole */
    ck_assert_uint_eq(t->hints, hints + 1);
    ck_assert_uint_eq(t->hint.next_publisher_seq, newest + 1);
    suite_free(t);
}
END_TEST

START_TEST(the_window_bounds_what_is_held)
{
    struct suite *t = suite_new();
    t->options.window = 8;
    suite_volatile(t);
    uint32_t p = suite_join(t, "alice");
    uint32_t topic = suite_topic(t, p, "/t");
    uint64_t from = t->tip + 1;
    suite_propose(t, p, 9, topic, 8); /* 1 + window: too far */
    ck_assert_uint_eq(suite_counter(t, COUNTER_PROPOSALS_AHEAD), 1);
    ck_assert_int_eq(t->hint.reason, HINT_AHEAD);
    ck_assert_uint_eq(t->hint.next_publisher_seq, 1);
    for (uint64_t n = 8; n >= 1; n--)
        suite_propose(t, p, n, topic, 8);
    suite_run(t);
    check_numbers(t, from, p, 1, 8);
    suite_propose(t, p, UINT64_C(1) << 40, topic, 8);
    ck_assert_uint_eq(suite_counter(t, COUNTER_PROPOSALS_AHEAD), 2);
    suite_free(t);
}
END_TEST

START_TEST(strangers_are_dropped_and_told)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    uint64_t tip = t->tip;
    suite_propose(t, 20, 1, f.topic, 8);
    ck_assert_uint_eq(suite_counter(t, COUNTER_PROPOSALS_UNKNOWN), 1);
    ck_assert_int_eq(t->hint.reason, HINT_UNKNOWN_PUBLISHER);
    struct offer o;
    offer_open(t, &o, f.publisher, 1);
    o.header.position.epoch.candidate ^= 1; /* another history */
    offer_add(&o, f.topic, 0, "x", 1);
    offer_give(t, &o);
    offer_open(t, &o, f.publisher, 1);
    o.header.position.seq = t->tip + 1; /* what does not exist yet */
    offer_add(&o, f.topic, 0, "x", 1);
    offer_give(t, &o);
    suite_run(t);
    ck_assert_uint_eq(suite_counter(t, COUNTER_PROPOSALS_FORKED), 2);
    ck_assert_int_eq(t->hint.reason, HINT_FORKED);
    ck_assert_uint_eq(t->tip, tip);
    suite_free(t);
}
END_TEST

START_TEST(each_reason_to_reject_is_in_the_stream)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    struct offer o;
    uint64_t number = 1;
    const struct {
        uint32_t topic;
        const char *payload;
        uint8_t reason;
    } cases[] = {
        { TOPIC_EPOCH, "x", REJECT_NOT_PERMITTED },
        { TOPIC_REJECT, "x", REJECT_NOT_PERMITTED },
        { 50, "x", REJECT_NO_TOPIC },
        { TOPIC_ID_MAX, "x", REJECT_NO_TOPIC },
        { TOPIC_TOPIC, "no slash", REJECT_BAD_PATH },
        { TOPIC_TOPIC, "/sys/mine", REJECT_NOT_PERMITTED },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++, number++) {
        offer_open(t, &o, f.publisher, number);
        offer_add(&o, cases[i].topic, 0, cases[i].payload, (uint32_t)strlen(cases[i].payload));
        offer_give(t, &o);
        suite_run(t);
        struct sys_reject reject = suite_rejected(t, f.publisher, number);
        ck_assert_uint_eq(reject.reason, cases[i].reason);
        ck_assert_uint_eq(reject.topic, cases[i].topic);
        ck_assert_uint_eq(reject.count, 1);
    }
    ck_assert_uint_eq(suite_counter(t, COUNTER_PROPOSALS_REJECTED), number - 1);
    /* The next number is the next one: a reject consumes it. */
    suite_propose(t, f.publisher, number, f.topic, 8);
    suite_run(t);
    ck_assert_uint_eq(suite_message(t, t->tip)->publisher_seq, number);
    suite_free(t);
}
END_TEST

START_TEST(topics_stop_at_a_full_catalog)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    char path[32];
    for (uint32_t i = TOPIC_FIRST_USER + 1; i < t->options.catalog.topics_max; i++) {
        snprintf(path, sizeof path, "/t/%u", i);
        suite_topic(t, f.publisher, path);
    }
    struct offer o;
    offer_open(t, &o, f.publisher, 1);
    offer_add(&o, TOPIC_TOPIC, 0, "/one/more", 9);
    offer_give(t, &o);
    suite_run(t);
    ck_assert_uint_eq(suite_rejected(t, f.publisher, 1).reason, REJECT_FULL);
    suite_free(t);
}
END_TEST

START_TEST(what_fits_no_batch_is_too_large)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    uint32_t fits = WIRE_DATAGRAM_DEFAULT - BATCH_HEADER_SIZE - MESSAGE_HEADER_SIZE;
    suite_propose(t, f.publisher, 1, f.topic, fits);
    suite_run(t);
    ck_assert_uint_eq(suite_message(t, t->tip)->length, fits);
    ck_assert_uint_eq(t->last_batch.length, WIRE_DATAGRAM_DEFAULT);
    suite_propose(t, f.publisher, 2, f.topic, fits + 1);
    suite_run(t);
    ck_assert_uint_eq(suite_rejected(t, f.publisher, 2).reason, REJECT_TOO_LARGE);
    suite_free(t);
}
END_TEST

START_TEST(of_two_with_the_same_precondition_one_succeeds)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    uint32_t bob = suite_join(t, "bob");
    uint64_t seen = t->tip;
    struct offer o;
    for (uint32_t i = 0; i < 2; i++) {
        offer_open(t, &o, i == 0 ? f.publisher : bob, 1);
        offer_add_if(&o, f.topic, 0, f.topic, seen);
        offer_give(t, &o);
    }
    suite_run(t);
    ck_assert_uint_eq(t->tip, seen + 2);
    const struct message *won = suite_message(t, seen + 1);
    ck_assert_uint_eq(won->topic, f.topic);
    uint32_t lost = won->publisher == bob ? f.publisher : bob;
    struct sys_reject reject = suite_rejected(t, lost, 1);
    ck_assert_uint_eq(reject.reason, REJECT_CONDITION);
    ck_assert_uint_eq(reject.detail, seen + 1);
    /* "Nothing after S" holds at S itself. */
    offer_open(t, &o, bob, 2);
    offer_add_if(&o, f.topic, 0, f.topic, seen + 1);
    offer_add_if(&o, f.topic, 0, 60, 0); /* a topic that does not exist */
    offer_give(t, &o);
    suite_run(t);
    ck_assert_uint_eq(suite_message(t, t->tip - 1)->topic, f.topic);
    ck_assert_uint_eq(suite_rejected(t, bob, 3).reason, REJECT_NO_TOPIC);
    suite_free(t);
}
END_TEST

/* Ten publishers with three hundred messages each waiting, and one with ten: in the time that its
 * share takes, it gets all of them through. */
START_TEST(a_polite_publisher_is_not_kept_waiting)
{
    struct suite *t = suite_new();
    t->options.step_batches_max = 4;
    t->options.quantum_bytes = 256;
    suite_volatile(t);
    uint32_t polite = suite_join(t, "polite");
    uint32_t topic = suite_topic(t, polite, "/t");
    uint32_t greedy[10];
    for (uint32_t i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "greedy%u", i);
        greedy[i] = suite_join(t, name);
    }
    for (uint32_t i = 0; i < 10; i++) {
        for (uint64_t first = 1; first <= 300; first += 20) {
            struct offer o;
            offer_open(t, &o, greedy[i], first);
            for (uint64_t n = first; n < first + 20; n++)
                offer_add(&o, topic, 0, NULL, 50);
            offer_give(t, &o);
        }
    }
    uint64_t from = t->tip + 1;
    for (uint64_t n = 1; n <= 10; n++)
        suite_propose(t, polite, n, topic, 50);
    while (suite_count(t, from, polite) < 10) {
        ck_assert_uint_lt(t->tip + 1 - from, 11 * 10 * 2); /* its fair share, and some slack */
        suite_step(t);
    }
    suite_run(t);
    ck_assert_uint_eq(t->tip - from + 1, 10 * 300 + 10);
    suite_free(t);
}
END_TEST

/* Shares are in bytes: who sends large messages gets fewer of them. */
START_TEST(shares_are_counted_in_bytes)
{
    struct suite *t = suite_new();
    t->options.step_batches_max = 1;
    suite_volatile(t);
    uint32_t small = suite_join(t, "small");
    uint32_t large = suite_join(t, "large");
    uint32_t topic = suite_topic(t, small, "/t");
    for (uint64_t n = 1; n <= 1000; n++) {
        suite_propose(t, small, n, topic, 50);
        suite_propose(t, large, n, topic, 1000);
    }
    uint64_t from = t->tip + 1;
    while (suite_count(t, from, small) < 900)
        suite_step(t);
    uint64_t bytes_small = (uint64_t)suite_count(t, from, small) * 64;
    uint64_t bytes_large = (uint64_t)suite_count(t, from, large) * 1014;
    ck_assert_uint_lt(bytes_large, bytes_small + 3 * 4096);
    ck_assert_uint_gt(bytes_large + 3 * 4096, bytes_small);
    suite_free(t);
}
END_TEST

/* A pool of sixteen slots. The greedy one's held datagrams leave room, the missing number always
 * gets in, and what was dropped comes again. */
START_TEST(a_small_pool_delays_but_never_blocks)
{
    struct suite *t = suite_new();
    t->options.queue_max = 16;
    suite_volatile(t);
    uint32_t greedy = suite_join(t, "greedy");
    uint32_t polite = suite_join(t, "polite");
    uint32_t topic = suite_topic(t, greedy, "/t");
    uint64_t from = t->tip + 1;
    for (uint64_t n = 2; n <= 100; n++) /* 1 is missing: all are held, or dropped */
        suite_propose(t, greedy, n, topic, 8);
    ck_assert_uint_gt(suite_counter(t, COUNTER_PROPOSALS_OVERFLOW), 80);
    ck_assert_int_eq(t->hint.reason, HINT_OVERLOADED);
    suite_propose(t, polite, 1, topic, 8);
    suite_run(t);
    ck_assert_uint_eq(suite_count(t, from, polite), 1);
    uint64_t sent = 0;
    for (int turn = 0; turn < 100 && suite_count(t, from, greedy) < 100; turn++) {
        uint64_t next = ledger_next(sequencer_ledger(t->core), greedy);
        for (uint64_t n = next; n <= 100; n++, sent++)
            suite_propose(t, greedy, n, topic, 8);
        suite_run(t);
    }
    check_numbers(t, from, greedy, 1, 100);
    suite_free(t);
}
END_TEST

/* Publishers that died with a number missing hold the whole pool; after a second it is given to who
 * is alive. */
START_TEST(what_is_held_for_the_dead_makes_room)
{
    struct suite *t = suite_new();
    t->options.queue_max = 32;
    suite_volatile(t);
    uint32_t alive = suite_join(t, "alive");
    uint32_t topic = suite_topic(t, alive, "/t");
    for (uint32_t i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "dead%u", i);
        uint32_t p = suite_join(t, name);
        for (uint64_t n = 20; n >= 2; n--)
            suite_propose(t, p, n, topic, 8);
    }
    suite_run(t);
    suite_advance(t, 2 * SECOND);
    uint64_t from = t->tip + 1;
    for (uint64_t n = 10; n >= 1; n--)
        suite_propose(t, alive, n, topic, 8);
    suite_run(t);
    check_numbers(t, from, alive, 1, 10);
    suite_free(t);
}
END_TEST

START_TEST(an_old_number_is_hinted_at_most_once_a_millisecond)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    suite_propose(t, f.publisher, 1, f.topic, 8);
    suite_run(t);
    suite_advance(t, SECOND);
    uint32_t before = t->hints;
    for (int i = 0; i < 50; i++)
        suite_propose(t, f.publisher, 1, f.topic, 8);
    ck_assert_uint_eq(t->hints, before + 1);
    ck_assert_int_eq(t->hint.reason, HINT_OLD_NUMBER);
    ck_assert_uint_eq(t->hint.next_publisher_seq, 2);
    suite_advance(t, MS);
    suite_propose(t, f.publisher, 1, f.topic, 8);
    ck_assert_uint_eq(t->hints, before + 2);
    suite_free(t);
}
END_TEST

START_TEST(hints_are_a_bucket)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    suite_advance(t, SECOND);
    uint32_t before = t->hints;
    for (int i = 0; i < 1000; i++)
        suite_propose(t, 25, 1, f.topic, 8); /* no such publisher */
    ck_assert_uint_eq(t->hints - before, 64);
    suite_advance(t, 10 * MS);
    for (int i = 0; i < 1000; i++)
        suite_propose(t, 25, 1, f.topic, 8);
    ck_assert_uint_eq(t->hints - before, 74);
    suite_free(t);
}
END_TEST

/* Holes have a bucket of their own: whoever empties the other slows no recovery from loss. */
START_TEST(holes_are_a_bucket_too)
{
    struct fixture f = fixture_new();
    struct suite *t = f.t;
    suite_advance(t, SECOND);
    for (int i = 0; i < 100; i++)
        suite_propose(t, 25, 1, f.topic, 8); /* no such publisher */
    uint32_t before = t->hints;
    uint64_t withheld = suite_counter(t, COUNTER_HINTS_WITHHELD);
    ck_assert_uint_eq(withheld, 36);
    uint64_t n = 0;
    for (int i = 0; i < 100; i++)
        suite_propose(t, f.publisher, n += 2, f.topic, 8);
    ck_assert_uint_eq(t->hints - before, 64);
    ck_assert_int_eq(t->hint.reason, HINT_MISSING);
    ck_assert_uint_eq(suite_counter(t, COUNTER_HINTS_WITHHELD) - withheld, 36);
    suite_advance(t, MS);
    for (int i = 0; i < 100; i++)
        suite_propose(t, f.publisher, n += 2, f.topic, 8);
    ck_assert_uint_eq(t->hints - before, 64 + 20);
    suite_free(t);
}
END_TEST

SUITE_MAIN("sequencer_append", a_join_is_answered_by_the_stream, a_join_is_a_compare_and_set,
           joins_stop_at_a_full_catalog, a_new_incarnation_goes_on_and_fences_the_old_one,
           a_topic_is_created_once, a_topic_proposed_exists_from_the_next_message_on,
           any_order_of_arrival_gives_the_publishers_order, overlapping_datagrams_come_out_once,
           a_publisher_is_told_what_is_missing, a_hole_is_told_of_once,
           a_hole_is_told_of_once_whatever_becomes_of_its_end, the_window_bounds_what_is_held,
           strangers_are_dropped_and_told, each_reason_to_reject_is_in_the_stream,
           topics_stop_at_a_full_catalog, what_fits_no_batch_is_too_large,
           of_two_with_the_same_precondition_one_succeeds, a_polite_publisher_is_not_kept_waiting,
           shares_are_counted_in_bytes, a_small_pool_delays_but_never_blocks,
           what_is_held_for_the_dead_makes_room, an_old_number_is_hinted_at_most_once_a_millisecond,
           hints_are_a_bucket, holes_are_a_bucket_too)
