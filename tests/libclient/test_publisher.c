/* A publisher alone: the test plays the stream. What it sends is decoded from the port; outcomes,
 * joins, forks and hints are handed to it directly, so that each can be lost, late or foreign. */
#include "libclient/publisher.h"

#include <stdio.h>

#include "rig.h"
#include "suite_main.h"

enum { ID = 5, TOPIC = 20 };

struct bench {
    struct rig rig; /* for its port */
    struct catalog *catalog;
    struct publisher *p;
    uint64_t counters[COUNTER_END];
    struct publisher_outcome outcomes[4096];
    uint32_t outcome_count;
    uint64_t seq;
    struct port_time now;
};

static void on_outcome(void *ctx, const struct publisher_outcome *o)
{
    struct bench *b = ctx;
    ck_assert_uint_lt(b->outcome_count, 4096);
    b->outcomes[b->outcome_count++] = *o;
}

static struct bench *bench_new(const struct publisher_options *changes)
{
    struct bench *b = calloc(1, sizeof *b);
    rig_port_init(&b->rig);
    struct publisher_options o = changes != NULL ? *changes : (struct publisher_options) { 0 };
    snprintf(o.identity, sizeof o.identity, "me");
    o.stream = RIG_STREAM;
    o.nonce = 99;
    struct catalog_options limits = { .topics_max = 64, .publishers_max = 64 };
    b->catalog = catalog_create(&limits);
    b->now.mono_ns = SECOND;
    b->seq = 10;
    b->p = publisher_create(&o, &b->rig.leader.port, b->counters, on_outcome, b);
    ck_assert(b->p != NULL && b->catalog != NULL);
    return b;
}

static void bench_free(struct bench *b)
{
    publisher_destroy(b->p);
    catalog_destroy(b->catalog);
    free(b);
}

static uint64_t step(struct bench *b)
{
    b->rig.leader.sent_count = 0;
    return publisher_step(b->p, b->catalog, true, b->now);
}

static uint64_t join_record(struct bench *b, uint64_t nonce, uint32_t incarnation, uint64_t last)
{
    struct sys_join j = { .nonce = nonce,
                          .publisher = ID,
                          .incarnation = incarnation,
                          .last_publisher_seq = last,
                          .identity = "me" };
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_join_encode(&j, payload, sizeof payload);
    struct message m = {
        .seq = ++b->seq, .topic = TOPIC_JOIN, .length = (uint32_t)length, .payload = payload
    };
    publisher_on_message(b->p, &m, b->now);
    return m.seq;
}

static void activate(struct bench *b, uint64_t last)
{
    step(b);
    publisher_on_stable(b->p, join_record(b, 99, 1, last));
    step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_ACTIVE);
}

static struct position here(const struct bench *b)
{
    return (struct position) { .epoch = { .number = 1 }, .seq = b->seq };
}

static uint64_t push(struct bench *b, const char *text)
{
    struct publisher_item item = { .topic = TOPIC,
                                   .payload = text,
                                   .length = (uint32_t)strlen(text) };
    return publisher_push(b->p, &item, here(b));
}

static uint64_t sequenced(struct bench *b, uint64_t number, const void *payload, size_t length)
{
    struct message m = { .seq = ++b->seq,
                         .topic = TOPIC,
                         .publisher = ID,
                         .publisher_seq = number,
                         .payload = payload,
                         .length = (uint32_t)length };
    publisher_on_message(b->p, &m, b->now);
    return m.seq;
}

static uint64_t said(struct bench *b, uint64_t number, const char *text)
{
    return sequenced(b, number, text, strlen(text));
}

/* As the sequencer of the current epoch gives it. */
static struct hint hint_of(const struct bench *b, enum hint_reason reason, uint64_t from,
                           uint64_t end)
{
    return (struct hint) { .reason = reason,
                           .publisher = ID,
                           .incarnation = 1,
                           .next_publisher_seq = from,
                           .nonce = end,
                           .epoch = here(b).epoch };
}

/* Numbers in the i-th datagram sent in the last step: count, and the first in *first. */
static uint32_t numbers_in(const struct bench *b, uint32_t i, uint64_t *first)
{
    struct proposal_header h;
    ck_assert_uint_lt(i, b->rig.leader.sent_count);
    const struct leader_sent *d = &b->rig.leader.sent[i];
    ck_assert_int_eq(proposal_decode(d->bytes, d->length, RIG_STREAM, &h), WIRE_OK);
    ck_assert_uint_eq(h.publisher, ID);
    *first = h.first_publisher_seq;
    return h.count;
}

/* ---- joining --------------------------------------------------------------------------------- */

START_TEST(it_joins_when_caught_up_and_again_until_its_record_is_stable)
{
    struct bench *b = bench_new(NULL);
    ck_assert_uint_eq(publisher_step(b->p, b->catalog, false, b->now), PORT_NEVER);
    ck_assert_uint_eq(b->rig.leader.sent_count, 0);
    for (uint32_t i = 0; i < 20; i++) {
        uint64_t deadline = step(b);
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
    join_record(b, 98, 1, 0); /* somebody else's */
    ck_assert_uint_eq(publisher_id(b->p), 0);
    uint64_t seq = join_record(b, 99, 2, 41);
    ck_assert_uint_eq(publisher_id(b->p), ID);
    step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_JOINING);
    ck_assert(!publisher_has_room(b->p, 1));
    publisher_on_stable(b->p, seq - 1);
    step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_JOINING);
    publisher_on_stable(b->p, seq);
    step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_ACTIVE);
    ck_assert_uint_eq(push(b, "x"), 42); /* numbers go on */
    bench_free(b);
}
END_TEST

START_TEST(a_later_incarnation_stops_it_for_good_once_stable)
{
    struct bench *b = bench_new(NULL);
    activate(b, 0);
    uint64_t seq = join_record(b, 7, 2, 0);
    step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_ACTIVE);
    publisher_on_fork(b->p, (struct position) { .seq = seq - 1 }); /* it was taken back */
    publisher_on_stable(b->p, seq + 10);
    step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_ACTIVE);
    b->seq += 20;
    seq = join_record(b, 7, 2, 0);
    publisher_on_stable(b->p, seq);
    step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_SUPERSEDED);
    ck_assert_uint_eq(publisher_superseded_seq(b->p), seq);
    ck_assert_uint_eq(push(b, "x"), 0);
    ck_assert_uint_eq(step(b), PORT_NEVER);
    ck_assert_uint_eq(b->rig.leader.sent_count, 0);
    bench_free(b);
}
END_TEST

/* ---- sending --------------------------------------------------------------------------------- */

START_TEST(proposals_share_datagrams_as_long_as_their_position_is_the_same)
{
    struct bench *b = bench_new(NULL);
    activate(b, 0);
    for (int i = 0; i < 10; i++)
        push(b, "0123456789");
    b->seq++; /* its author has applied more */
    push(b, "other");
    step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 2);
    uint64_t first;
    ck_assert_uint_eq(numbers_in(b, 0, &first), 10);
    ck_assert_uint_eq(first, 1);
    ck_assert_uint_eq(numbers_in(b, 1, &first), 1);
    ck_assert_uint_eq(first, 11);
    for (int i = 0; i < 200; i++)
        push(b, "0123456789");
    step(b);
    uint64_t expected = 12;
    for (uint32_t i = 0; i < b->rig.leader.sent_count; i++) {
        uint32_t count = numbers_in(b, i, &first);
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
    activate(b, 0);
    push(b, "a");
    uint64_t deadline = step(b);
    ck_assert_uint_eq(deadline - b->now.mono_ns, 300 * 1000);
    uint64_t wait = 0;
    for (int i = 0; i < 12; i++) {
        b->now.mono_ns = deadline - 1;
        step(b);
        ck_assert_uint_eq(b->rig.leader.sent_count, 0);
        b->now.mono_ns = deadline;
        deadline = step(b);
        ck_assert_uint_eq(b->rig.leader.sent_count, 1);
        ck_assert_uint_ge(deadline - b->now.mono_ns, wait);
        wait = deadline - b->now.mono_ns;
    }
    ck_assert_uint_eq(wait, 100 * MS);
    ck_assert_uint_eq(b->counters[COUNTER_RESENT], 12);
    publisher_on_stable(b->p, said(b, 1, "a"));
    ck_assert_uint_eq(step(b), PORT_NEVER);
    ck_assert_uint_eq(b->outcome_count, 1);
    ck_assert_uint_eq(publisher_done_number(b->p), 1);
    said(b, 1, "a"); /* a duplicate in the stream is not a second outcome */
    ck_assert_uint_eq(b->outcome_count, 1);
    bench_free(b);
}
END_TEST

START_TEST(patience_follows_the_measured_round_trip)
{
    struct bench *b = bench_new(NULL);
    activate(b, 0);
    for (uint64_t i = 1; i <= 50; i++) {
        push(b, "a");
        step(b);
        b->now.mono_ns += 5 * MS; /* slow disks */
        said(b, i, "a");
    }
    push(b, "a");
    uint64_t deadline = step(b);
    ck_assert_uint_ge(deadline - b->now.mono_ns, 15 * MS);
    ck_assert_uint_le(deadline - b->now.mono_ns, 25 * MS);
    bench_free(b);
}
END_TEST

START_TEST(a_retry_begins_small_doubles_and_begins_anew)
{
    struct bench *b = bench_new(NULL);
    activate(b, 0);
    char text[1200];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < 40; i++)
        push(b, text);
    uint64_t deadline = step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 40);
    static const uint32_t expected[] = { 1, 2, 4, 8, 16, 32, 40, 1, 2 };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        b->now.mono_ns = deadline;
        deadline = step(b);
        ck_assert_uint_eq(b->rig.leader.sent_count, expected[i]);
        uint64_t first;
        numbers_in(b, 0, &first);
        ck_assert_uint_eq(first, 1);
    }
    bench_free(b);
}
END_TEST

START_TEST(a_run_is_sent_again_whole)
{
    struct bench *b = bench_new(NULL);
    activate(b, 0);
    static uint8_t bytes[300000];
    struct publisher_item item = { .topic = TOPIC, .payload = bytes, .length = sizeof bytes };
    ck_assert_uint_eq(publisher_push(b->p, &item, here(b)), 1);
    uint32_t sent = 0;
    uint64_t deadline;
    do {
        deadline = step(b);
        sent += b->rig.leader.sent_count;
    } while (deadline == b->now.mono_ns);
    push(b, "behind it");
    step(b);
    b->now.mono_ns = deadline;
    uint32_t again = 0;
    uint64_t last = 0;
    do {
        deadline = step(b);
        again += b->rig.leader.sent_count;
        if (b->rig.leader.sent_count > 0) {
            uint64_t first;
            uint32_t count = numbers_in(b, b->rig.leader.sent_count - 1, &first);
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
    activate(b, 0);
    for (int i = 0; i < 10; i++)
        push(b, "0123456789");
    step(b);
    struct hint h = hint_of(b, HINT_MISSING, 0, 0);
    static const uint64_t holes[][2] = { { 2, 4 }, { 6, 7 }, { 8, 10 } };
    for (size_t i = 0; i < sizeof holes / sizeof holes[0]; i++) {
        h.next_publisher_seq = holes[i][0];
        h.nonce = holes[i][1];
        publisher_on_hint(b->p, &h, here(b).epoch, b->now);
    }
    h.publisher = ID + 1; /* somebody else's */
    publisher_on_hint(b->p, &h, here(b).epoch, b->now);
    step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 3);
    static const uint64_t sent[][2] = { { 8, 2 }, { 6, 1 }, { 2, 2 } };
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t first;
        ck_assert_uint_eq(numbers_in(b, i, &first), sent[i][1]);
        ck_assert_uint_eq(first, sent[i][0]);
    }
    step(b);
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
    step(b);
    return b->rig.leader.sent_count;
}

/* Each in turn differs from a good one in one thing; the good one is heeded in the end. */
START_TEST(hints_that_cannot_be_true_are_ignored_and_counted)
{
    struct bench *b = bench_new(NULL);
    activate(b, 0);
    for (int i = 0; i < 10; i++)
        push(b, "0123456789");
    step(b);
    push(b, "not sent yet");
    said(b, 1, "0123456789");
    said(b, 2, "0123456789");
    struct hint good = hint_of(b, HINT_MISSING, 2, 6); /* 2 has its outcome by now */
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
        give_hint(b, hint_of(b, HINT_MISSING, ranges[i][0], ranges[i][1]));
        ck_assert_uint_eq(b->counters[COUNTER_HINTS_IGNORED], ++ignored);
    }
    step(b);
    uint64_t first;
    ck_assert_uint_eq(b->rig.leader.sent_count, 1);
    numbers_in(b, 0, &first);
    ck_assert_uint_eq(first, 11); /* only what was new */
    ck_assert_uint_eq(sent_for(b, good), 1);
    ck_assert_uint_eq(numbers_in(b, 0, &first), 3);
    ck_assert_uint_eq(first, 3);
    ck_assert_uint_eq(b->counters[COUNTER_HINTS_IGNORED], ignored);
    bench_free(b);
}
END_TEST

/* A flood of hints for a window of a hundred large proposals, whole and in parts, over some retries:
 * each number is sent at most once more than without it. */
START_TEST(no_crowd_of_hints_makes_more_than_one_sending_of_each)
{
    struct bench *b = bench_new(NULL);
    activate(b, 0);
    char text[1200];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < 100; i++)
        push(b, text);
    while (step(b) == b->now.mono_ns)
        ;
    uint32_t sent = 0;
    for (uint64_t i = 0; i < 250; i++) { /* within the patience of 300 us */
        for (uint64_t j = 0; j < 100; j++)
            give_hint(b, hint_of(b, HINT_MISSING, 1 + j % (i + 1), 100));
        step(b);
        sent += b->rig.leader.sent_count;
        b->now.mono_ns += 1000;
    }
    ck_assert_uint_eq(sent, 99);
    ck_assert_uint_eq(b->counters[COUNTER_RESENT], 99);
    ck_assert_uint_ge(b->counters[COUNTER_HINTS_IGNORED], 24000);
    /* What it sends again by itself may be asked for once again, but not before resend_min_ns. */
    uint64_t deadline = step(b);
    ck_assert_uint_ge(deadline, b->now.mono_ns);
    b->now.mono_ns = deadline;
    step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 1);
    struct hint whole = hint_of(b, HINT_MISSING, 1, 99);
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
    activate(b, 0);
    for (int i = 0; i < 10; i++)
        push(b, "0123456789");
    step(b);
    give_hint(b, hint_of(b, HINT_MISSING, 2, 6));
    publisher_on_fork(b->p, here(b));
    give_hint(b, hint_of(b, HINT_MISSING, 2, 6)); /* of the leader before it, late */
    step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 1);
    uint64_t first;
    ck_assert_uint_eq(numbers_in(b, 0, &first), 10);
    bench_free(b);
}
END_TEST

START_TEST(a_hint_brings_a_retry_forward_but_not_too_often)
{
    struct bench *b = bench_new(NULL);
    activate(b, 0);
    for (int i = 0; i < 10; i++)
        push(b, "0123456789");
    step(b);
    struct hint h = hint_of(b, HINT_AHEAD, 4, 0);
    b->now.mono_ns += 1000;
    publisher_on_hint(b->p, &h, here(b).epoch, b->now);
    step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 1);
    uint64_t first;
    numbers_in(b, 0, &first);
    ck_assert_uint_eq(first, 4);
    b->now.mono_ns += 1000;
    publisher_on_hint(b->p, &h, here(b).epoch, b->now);
    step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 0);
    h.next_publisher_seq = 400; /* nothing of ours */
    b->now.mono_ns += 200 * 1000;
    publisher_on_hint(b->p, &h, here(b).epoch, b->now);
    h.publisher = ID + 1;
    h.next_publisher_seq = 4;
    publisher_on_hint(b->p, &h, here(b).epoch, b->now);
    step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 0);
    bench_free(b);
}
END_TEST

/* ---- limits ---------------------------------------------------------------------------------- */

START_TEST(the_window_counts_what_has_no_outcome)
{
    struct publisher_options o = { .window = 4 };
    struct bench *b = bench_new(&o);
    activate(b, 0);
    for (int i = 0; i < 4; i++)
        ck_assert_uint_ne(push(b, "a"), 0);
    ck_assert(!publisher_has_room(b->p, 1));
    ck_assert_uint_eq(push(b, "a"), 0);
    ck_assert_uint_eq(publisher_in_flight(b->p), 4);
    said(b, 1, "a");
    ck_assert_uint_eq(push(b, "a"), 5);
    ck_assert_uint_eq(push(b, "a"), 0);
    bench_free(b);
}
END_TEST

START_TEST(what_is_not_stable_yet_is_kept_and_bounded)
{
    struct publisher_options o = { .window = 16, .bytes_max = 4000 };
    struct bench *b = bench_new(&o);
    activate(b, 0);
    char text[1001];
    memset(text, 'y', 1000);
    text[1000] = '\0';
    uint64_t number = 0;
    while (push(b, text) != 0) {
        step(b);
        said(b, ++number, text);
    }
    ck_assert_uint_eq(number, 4); /* bytes_max, though all have an outcome */
    ck_assert_uint_eq(publisher_in_flight(b->p), 0);
    publisher_on_stable(b->p, b->seq - 2);
    ck_assert_uint_eq(push(b, text), 5);
    ck_assert_uint_eq(push(b, text), 6);
    ck_assert_uint_eq(push(b, text), 0);
    publisher_on_stable(b->p, b->seq);
    ck_assert_uint_eq(push(b, text), 7);
    ck_assert(!publisher_has_room(b->p, 2001)); /* above bytes_max / 2: never */
    ck_assert_uint_eq(publisher_item_max(b->p), 2000);
    bench_free(b);
}
END_TEST

START_TEST(large_items_travel_in_fragments_and_have_one_outcome)
{
    struct bench *b = bench_new(NULL);
    activate(b, 0);
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
    ck_assert_uint_eq(publisher_push(b->p, &item, here(b)), 1);
    uint64_t count = publisher_next_number(b->p) - 1;
    ck_assert_uint_gt(count, 700);
    ck_assert_uint_eq(publisher_in_flight(b->p), 1);
    static uint8_t joined[1 << 20];
    size_t length = 0;
    uint64_t next = 1;
    while (next <= count) {
        uint64_t deadline = step(b);
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
    sequenced(b, 1, bytes, sizeof bytes);
    ck_assert_uint_eq(b->outcome_count, 1);
    ck_assert_uint_eq(b->outcomes[0].first_number, 1);
    ck_assert_uint_eq(b->outcomes[0].number, count);
    ck_assert_uint_eq(publisher_in_flight(b->p), 0);
    ck_assert_uint_eq(publisher_mismatches(b->p), 0);
    item.length++;
    ck_assert_uint_eq(publisher_push(b->p, &item, here(b)), 0);
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
    activate(b, 0);
    push(b, "a");
    char text[3001];
    memset(text, 'z', 3000);
    text[3000] = '\0';
    push(b, text);
    uint64_t numbers = publisher_next_number(b->p) - 2;
    ck_assert_uint_gt(numbers, 1);
    push(b, "b");
    reject(b, 1, 1, REJECT_CONDITION);
    reject(b, 2, (uint32_t)numbers, REJECT_TOO_LARGE);
    ck_assert_uint_eq(b->outcome_count, 2);
    ck_assert_uint_eq(b->outcomes[0].rejected, REJECT_CONDITION);
    ck_assert_uint_eq(b->outcomes[1].rejected, REJECT_TOO_LARGE);
    ck_assert_uint_eq(b->outcomes[1].first_number, 2);
    said(b, 2 + numbers, "b");
    ck_assert_uint_eq(b->outcomes[2].rejected, 0);
    ck_assert_uint_eq(publisher_in_flight(b->p), 0);
    bench_free(b);
}
END_TEST

START_TEST(foreign_bytes_under_its_number_are_noticed)
{
    struct bench *b = bench_new(NULL);
    activate(b, 0);
    push(b, "mine");
    said(b, 1, "thine");
    ck_assert_uint_eq(publisher_mismatches(b->p), 1);
    said(b, 2, "from nowhere");
    ck_assert_uint_eq(publisher_mismatches(b->p), 2);
    ck_assert_uint_eq(b->outcome_count, 1);
    bench_free(b);
}
END_TEST

/* ---- forks ----------------------------------------------------------------------------------- */

START_TEST(a_fork_sends_again_what_still_answers_and_drops_what_does_not)
{
    struct bench *b = bench_new(NULL);
    activate(b, 0);
    push(b, "a");
    uint64_t at_a = said(b, 1, "a");
    push(b, "b"); /* its author knows of a */
    push(b, "c");
    step(b);
    uint64_t at_b = said(b, 2, "b");
    push(b, "d"); /* its author knows of b */
    step(b);
    ck_assert_uint_eq(publisher_in_flight(b->p), 2);
    uint32_t lost = publisher_on_fork(b->p, (struct position) { .seq = at_a });
    ck_assert_uint_eq(lost, 1);
    ck_assert_uint_lt(at_a, at_b);
    ck_assert_uint_eq(publisher_in_flight(b->p), 2); /* b and c */
    ck_assert_uint_eq(publisher_next_number(b->p), 4);
    step(b);
    uint64_t first;
    ck_assert_uint_eq(numbers_in(b, 0, &first), 2);
    ck_assert_uint_eq(first, 2);
    b->seq = at_a;
    said(b, 2, "b");
    said(b, 3, "c");
    ck_assert_uint_eq(publisher_in_flight(b->p), 0);
    ck_assert_uint_eq(push(b, "e"), 4);
    ck_assert_uint_eq(publisher_mismatches(b->p), 0);
    bench_free(b);
}
END_TEST

START_TEST(a_blind_publisher_keeps_everything_through_a_fork)
{
    struct publisher_options o = { .blind = true };
    struct bench *b = bench_new(&o);
    activate(b, 0);
    uint64_t common = b->seq;
    push(b, "a");
    said(b, 1, "a");
    push(b, "b");
    b->seq++;
    push(b, "c");
    step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 2);
    struct position p = { .epoch = { .number = 1 }, .seq = common };
    ck_assert_uint_eq(publisher_on_fork(b->p, p), 1);
    ck_assert_uint_eq(publisher_in_flight(b->p), 3);
    step(b);
    uint64_t first;
    ck_assert_uint_eq(b->rig.leader.sent_count, 1); /* one position for all of them */
    ck_assert_uint_eq(numbers_in(b, 0, &first), 3);
    ck_assert_uint_eq(first, 1);
    bench_free(b);
}
END_TEST

START_TEST(a_fork_below_its_join_begins_again)
{
    struct bench *b = bench_new(NULL);
    step(b);
    uint64_t seq = join_record(b, 99, 1, 0);
    publisher_on_fork(b->p, (struct position) { .seq = seq - 1 });
    ck_assert_uint_eq(publisher_id(b->p), 0);
    b->now.mono_ns += SECOND;
    step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 1);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_JOINING);
    seq = join_record(b, 99, 1, 0);
    publisher_on_stable(b->p, seq);
    step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_ACTIVE);
    bench_free(b);
}
END_TEST

/* ---- as a proxy uses it ----------------------------------------------------------------------- */

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
    step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 0);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_JOINING);
    ck_assert_uint_eq(publisher_superseded_seq(b->p), b->seq);
    publisher_on_stable(b->p, b->seq);
    step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_SUPERSEDED);
    bench_free(b);
}
END_TEST

START_TEST(an_incarnation_that_is_to_come_is_waited_for_and_then_asked_for)
{
    struct publisher_options o = { .wanted = 3 };
    struct bench *b = bench_new(&o);
    joined_before(b, 7, 1);
    uint64_t again = step(b);
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
    step(b);
    struct join j;
    ck_assert_uint_eq(b->rig.leader.sent_count, 1);
    ck_assert_int_eq(
        join_decode(b->rig.leader.sent[0].bytes, b->rig.leader.sent[0].length, RIG_STREAM, &j),
        WIRE_OK);
    ck_assert_uint_eq(j.wanted, 3);
    bench_free(b);
}
END_TEST

START_TEST(a_join_that_is_there_is_gone_on_with)
{
    struct bench *b = bench_new(NULL);
    publisher_adopt(b->p, ID, 4, 9, 17);
    step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 0);
    publisher_on_stable(b->p, 9);
    step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_ACTIVE);
    ck_assert_uint_eq(publisher_incarnation(b->p), 4);
    ck_assert_uint_eq(push(b, "a"), 18);
    bench_free(b);
}
END_TEST

START_TEST(a_group_is_many_items_and_one_run)
{
    struct bench *b = bench_new(NULL);
    activate(b, 0);
    struct publisher_item item = { .topic = TOPIC, .payload = "g", .length = 1, .more = true };
    publisher_push(b->p, &item, here(b));
    item.more = false;
    publisher_push(b->p, &item, here(b));
    step(b);
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
    said(b, 1, "g");
    said(b, 2, "g");
    ck_assert_uint_eq(b->outcome_count, 2);
    ck_assert_uint_eq(publisher_in_flight(b->p), 0);
    bench_free(b);
}
END_TEST

START_TEST(what_was_said_behind_a_fallen_item_falls_with_it)
{
    struct bench *b = bench_new(NULL);
    activate(b, 0);
    uint64_t common = b->seq;
    struct publisher_item item = { .topic = TOPIC, .payload = "x", .length = 1 };
    publisher_push(b->p, &item, here(b));
    b->seq++;
    publisher_push(b->p, &item, here(b));
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
    activate(b, 0);
    for (int i = 0; i < 5; i++)
        push(b, text);
    ck_assert_uint_eq(step(b), b->now.mono_ns); /* there is more */
    ck_assert_uint_eq(b->rig.leader.sent_count, 2);
    ck_assert_uint_eq(outbox.count, 2);
    step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 0);
    outbox.count = 0;
    step(b);
    ck_assert_uint_eq(b->rig.leader.sent_count, 2);
    bench_free(b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("publisher");
    TCase *t = tcase_create("publisher");
    tcase_add_test(t, it_joins_when_caught_up_and_again_until_its_record_is_stable);
    tcase_add_test(t, a_later_incarnation_stops_it_for_good_once_stable);
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
    tcase_add_test(t, the_window_counts_what_has_no_outcome);
    tcase_add_test(t, what_is_not_stable_yet_is_kept_and_bounded);
    tcase_add_test(t, large_items_travel_in_fragments_and_have_one_outcome);
    tcase_add_test(t, a_reject_is_an_outcome_of_all_the_numbers_it_consumes);
    tcase_add_test(t, foreign_bytes_under_its_number_are_noticed);
    tcase_add_test(t, a_fork_sends_again_what_still_answers_and_drops_what_does_not);
    tcase_add_test(t, a_blind_publisher_keeps_everything_through_a_fork);
    tcase_add_test(t, a_fork_below_its_join_begins_again);
    tcase_add_test(t, an_incarnation_that_another_has_is_the_end_once_that_is_stable);
    tcase_add_test(t, an_incarnation_that_is_to_come_is_waited_for_and_then_asked_for);
    tcase_add_test(t, a_join_that_is_there_is_gone_on_with);
    tcase_add_test(t, a_group_is_many_items_and_one_run);
    tcase_add_test(t, what_was_said_behind_a_fallen_item_falls_with_it);
    tcase_add_test(t, publishers_that_share_an_outbox_send_as_much_as_it_holds);
    suite_add_tcase(s, t);
    return suite_main(s);
}
