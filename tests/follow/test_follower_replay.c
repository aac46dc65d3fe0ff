/* The bulk stream: a late joiner reads history from a store while the live stream goes on beside
 * it. A test plays the store: it writes frames into one buffer and offers what the follower has not
 * consumed, in pieces of any size. */
#include <check.h>
#include <stdlib.h>

#include "rig.h"

enum { SOURCES = 2, BYTES_MAX = 1 << 18 };
static struct history *h;
static struct rig *r;
static uint8_t bytes[BYTES_MAX];
static size_t written;
static size_t offered; /* of what was written, how far the follower has seen it */
static size_t eaten;

static void start(struct follower_options *o)
{
    r = rig_new(o);
    written = offered = eaten = 0;
}

static void setup(void)
{
    struct follower_options o = rig_options(FOLLOWER_SEQUENCED, SOURCES, true);
    o.bulk_messages = 20;
    o.pending_max = 16;
    start(&o);
    h = history_new();
    history_begin(h, 1);
    for (uint32_t i = 0; i < 30; i++)
        history_write(h, 2);
    history_begin(h, 2);
    for (uint32_t i = 0; i < 30; i++)
        history_write(h, 2);
}

static void teardown(void)
{
    rig_free(r);
    free(h);
}

/* ---- the store ------------------------------------------------------------------------------- */

static void event(enum port_stream_event_type type)
{
    struct port_stream_event e = { .type = type,
                                   .stream = r->port.stream_count,
                                   .peer = r->port.streams[r->port.stream_count - 1].to };
    size_t consumed;
    ck_assert(follower_on_stream(r->follower, &e, r->now, &consumed));
    if (type == PORT_STREAM_CONNECTED)
        written = offered = eaten = 0;
}

static void frame(enum replay_type type, const void *body, size_t length)
{
    size_t size = replay_frame_encode(type, body, length, bytes + written, sizeof bytes - written);
    ck_assert_uint_gt(size, 0);
    written += size;
}

static void frame_batches(const struct history *of, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++)
        frame(REPLAY_BATCH, of->batches[i].bytes, of->batches[i].header.length);
}

/* The heard epoch's word for the history up to `count` batches. */
static void frame_vouch(const struct history *of, uint32_t count)
{
    struct heartbeat hb = history_heartbeat(of, count);
    uint8_t body[SIGNAL_SIZE_MAX];
    frame(REPLAY_VOUCH, body, heartbeat_encode(&hb, HISTORY_STREAM, body, sizeof body));
}

static void frame_end(enum replay_end_reason reason, uint64_t oldest_seq)
{
    struct replay_end end = { .reason = reason, .oldest_seq = oldest_seq };
    uint8_t body[32];
    frame(REPLAY_END, body, replay_end_encode(&end, body, sizeof body));
}

static bool is_closed(void)
{
    return r->port.streams[r->port.stream_count - 1].closed;
}

/* Offers what there is, `more` bytes beyond what was offered before. */
static void offer(size_t more)
{
    offered = offered + more < written ? offered + more : written;
    uint8_t *copy = malloc(offered - eaten + 1);
    memcpy(copy, bytes + eaten, offered - eaten);
    struct port_stream_event e = { .type = PORT_STREAM_BYTES,
                                   .stream = r->port.stream_count,
                                   .bytes = copy,
                                   .length = offered - eaten };
    size_t consumed = 0;
    ck_assert(follower_on_stream(r->follower, &e, r->now, &consumed));
    ck_assert_uint_le(consumed, e.length);
    eaten += consumed;
    free(copy);
}

static void offer_all(void)
{
    offer(written);
}

static struct replay_request request_of(uint32_t stream)
{
    struct fake_stream *s = &r->port.streams[stream - 1];
    enum replay_type type;
    ck_assert_uint_eq(replay_frame_peek(s->bytes, s->written, &type), s->written);
    ck_assert_int_eq(type, REPLAY_REQUEST);
    struct replay_request q;
    ck_assert(replay_request_decode(s->bytes + REPLAY_FRAME_HEADER,
                                    s->written - REPLAY_FRAME_HEADER, &q));
    return q;
}

static void connect_next(void)
{
    uint32_t before = r->port.stream_count;
    uint64_t deadline = follower_step(r->follower, r->now);
    for (uint32_t i = 0; i < 20 && r->port.stream_count == before; i++) {
        ck_assert_uint_ne(deadline, PORT_NEVER);
        if (deadline > r->now.mono_ns)
            r->now.mono_ns = deadline;
        deadline = follower_step(r->follower, r->now);
    }
    ck_assert_uint_eq(r->port.stream_count, before + 1);
    event(PORT_STREAM_CONNECTED);
    ck_assert(follower_replaying(r->follower));
}

/* ---- tests ----------------------------------------------------------------------------------- */

START_TEST(reads_what_there_is_without_a_leader)
{
    follower_step(r->follower, r->now);
    ck_assert_uint_eq(r->port.stream_count, 1);
    event(PORT_STREAM_CONNECTED);
    struct replay_request q = request_of(1);
    ck_assert(q.stream == HISTORY_STREAM && q.first_seq == 1 && q.end_seq == 0);
    frame_batches(h, 0, h->count);
    frame_vouch(h, h->count);
    frame_end(REPLAY_DONE, 1);
    offer_all();
    ck_assert(rig_has(r, h, h->count));
    ck_assert(is_closed() && !follower_replaying(r->follower));
    ck_assert_uint_eq(rig_step(r), PORT_NEVER); /* and does not ask again */
    ck_assert_uint_eq(r->port.sent_count, 0);
    ck_assert_uint_eq(r->counters[COUNTER_REPLAYS_IN], 1);
    ck_assert(follower_leader(r->follower).port == 0);
}
END_TEST

START_TEST(frames_may_come_in_any_pieces)
{
    for (size_t piece = 1; piece < 400; piece = piece * 3 + 1) {
        teardown();
        setup();
        connect_next();
        frame_batches(h, 0, h->count);
        frame_end(REPLAY_DONE, 1);
        while (offered < written)
            offer(piece);
        ck_assert(rig_has(r, h, h->count));
        ck_assert(is_closed());
    }
}
END_TEST

START_TEST(a_far_live_stream_is_reached_by_replay)
{
    follower_set_sources(r->follower, NULL, 0); /* nothing to read at first */
    rig_batches(r, h, 50, 54);
    struct follower_options o = rig_options(FOLLOWER_SEQUENCED, SOURCES, true);
    follower_set_sources(r->follower, o.sources, SOURCES);
    connect_next();
    ck_assert_uint_eq(request_of(1).first_seq, 1);
    ck_assert(epoch_equal(request_of(1).epoch, h->epoch));
    rig_forget_sent(r);
    frame_batches(h, 0, 10);
    offer_all();
    ck_assert_uint_eq(r->delivered_count, 0); /* of an older epoch: not vouched yet */
    frame_vouch(h, 10);
    offer_all();
    ck_assert(rig_has(r, h, 10));
    rig_pass(r, RIG_MILLISECOND);
    ck_assert_uint_eq(r->port.sent_count, 0); /* gaps are the stream's business */
    frame_batches(h, 10, 20);
    frame_vouch(h, 20);
    offer_all();
    frame_batches(h, 20, 33);
    offer_all();
    ck_assert(rig_has(r, h, 33)); /* the record of the heard epoch closes the chain */
    frame_batches(h, 33, 50);
    frame_batches(h, 50, 54); /* the store goes on where we have live ones */
    offer_all();
    ck_assert(rig_has(r, h, 54));
    ck_assert(is_closed() && follower_caught_up(r->follower));
    rig_batches(r, h, 54, h->count);
    ck_assert(rig_has(r, h, h->count));
}
END_TEST

START_TEST(live_batches_fill_the_window_nearest_first)
{
    connect_next();
    rig_batches(r, h, 40, h->count);
    ck_assert_uint_eq(r->counters[COUNTER_PENDING_OVERFLOW], h->count - 40 - 16);
    frame_batches(h, 0, 10);
    frame_vouch(h, 10);
    frame_batches(h, 10, 20);
    frame_vouch(h, 20);
    frame_batches(h, 20, h->count);
    frame_end(REPLAY_DONE, 1);
    offer_all();
    ck_assert(rig_has(r, h, h->count));
}
END_TEST

START_TEST(refusal_stops_reading)
{
    connect_next();
    frame_batches(h, 0, h->count);
    frame_end(REPLAY_DONE, 1);
    r->refuse = true;
    offer_all();
    size_t once = eaten;
    ck_assert_uint_lt(once, written);
    offer_all();
    ck_assert_uint_eq(eaten, once);
    for (uint32_t i = 0; i < 100; i++) { /* for long: a stall of our own is not the store's */
        uint64_t deadline = follower_step(r->follower, r->now);
        ck_assert_uint_le(deadline, r->now.mono_ns + 20 * RIG_MILLISECOND);
        r->now.mono_ns += 100 * RIG_MILLISECOND;
        offer_all();
    }
    ck_assert_uint_eq(r->port.stream_count, 1);
    ck_assert(!is_closed());
    r->refuse = false;
    follower_step(r->follower, r->now);
    offer_all();
    ck_assert(rig_has(r, h, h->count));
}
END_TEST

START_TEST(a_full_window_stops_reading)
{
    teardown();
    struct follower_options o = rig_options(FOLLOWER_STABLE, SOURCES, true);
    o.pending_max = 4;
    start(&o);
    h = history_new();
    history_begin(h, 1);
    for (uint32_t i = 0; i < 12; i++)
        history_write(h, 2);
    connect_next();
    frame_batches(h, 0, h->count);
    offer_all();
    ck_assert_uint_eq(r->delivered_count, 0);
    ck_assert_uint_lt(eaten, written);
    h->stable = h->next_seq - 1;
    rig_heartbeat(r, h, h->count);
    ck_assert_uint_eq(r->delivered_count, 4);
    for (uint32_t i = 0; i < 10 && !is_closed(); i++)
        offer_all();
    ck_assert(rig_has(r, h, h->count));
}
END_TEST

START_TEST(a_refusing_store_is_left_for_the_next)
{
    static const enum replay_end_reason reasons[] = { REPLAY_BUSY, REPLAY_NOT_YET, REPLAY_DAMAGED,
                                                      REPLAY_OTHER_STREAM, REPLAY_BAD_REQUEST };
    for (uint32_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        teardown();
        setup();
        rig_batches(r, h, 50, h->count);
        connect_next();
        frame_end(reasons[i], 1);
        offer_all();
        ck_assert(is_closed());
        connect_next();
        ck_assert(!port_addr_equal(r->port.streams[0].to, r->port.streams[1].to));
        frame_end(reasons[i], 1);
        offer_all();
        uint64_t before = r->now.mono_ns;
        connect_next(); /* both have refused: only after a pause */
        ck_assert_uint_ge(r->now.mono_ns - before, 50 * RIG_MILLISECOND);
        ck_assert_uint_eq(r->losts, 0);
    }
}
END_TEST

START_TEST(a_closed_or_refused_connection_is_left_for_the_next)
{
    rig_batches(r, h, 50, h->count);
    follower_step(r->follower, r->now);
    ck_assert_uint_eq(r->port.stream_count, 1);
    event(PORT_STREAM_CLOSED);
    ck_assert(!follower_replaying(r->follower));
    connect_next();
    frame_batches(h, 0, 3);
    offer_all();
    event(PORT_STREAM_CLOSED);
    connect_next();
    ck_assert_uint_eq(request_of(3).first_seq, h->batches[3].header.first_seq);
    r->port.refuse_connect = true;
    event(PORT_STREAM_CLOSED);
    for (uint32_t i = 0; i < 10; i++)
        rig_step(r);
    r->port.refuse_connect = false;
    rig_forget_sent(r);
    connect_next();
}
END_TEST

START_TEST(a_stalled_stream_is_left)
{
    rig_batches(r, h, 50, h->count);
    connect_next();
    frame_batches(h, 0, 3);
    offer(100);
    r->now.mono_ns += 1900 * (uint64_t)RIG_MILLISECOND;
    follower_step(r->follower, r->now);
    offer(100); /* slow is not stalled */
    r->now.mono_ns += 1900 * (uint64_t)RIG_MILLISECOND;
    follower_step(r->follower, r->now);
    ck_assert(!is_closed());
    offer(0); /* the driver's offering it again is no progress */
    r->now.mono_ns += 200 * (uint64_t)RIG_MILLISECOND;
    follower_step(r->follower, r->now);
    ck_assert(r->port.streams[0].closed);
}
END_TEST

START_TEST(rubbish_closes_the_stream)
{
    for (uint32_t kind = 0; kind < 5; kind++) {
        teardown();
        setup();
        connect_next();
        frame_batches(h, 0, 3);
        size_t at = written;
        switch (kind) {
        case 0:
            memset(bytes + written, 0xff, 64);
            written += 64;
            break;
        case 1:
            frame_batches(h, 3, 4);
            bytes[at + 60] ^= 1;
            break;
        case 2:
            frame_vouch(h, 4);
            bytes[at + 40] ^= 1;
            break;
        case 3:
            frame(REPLAY_END, "??", 2);
            break;
        case 4:
            frame(REPLAY_STATUS_REQUEST, "", 0);
            break;
        }
        frame_batches(h, 3, 5);
        offer_all();
        ck_assert(is_closed());
        ck_assert(rig_has(r, h, 3));
        ck_assert_uint_ge(
            r->counters[COUNTER_DROPPED_MALFORMED] + r->counters[COUNTER_DROPPED_CORRUPT], 1);
    }
}
END_TEST

START_TEST(pruned_everywhere_is_lost)
{
    rig_batches(r, h, 50, h->count);
    for (uint32_t i = 0; i < SOURCES; i++) {
        ck_assert_uint_eq(r->losts, 0);
        connect_next();
        frame_end(REPLAY_PRUNED, 70 - i);
        offer_all();
    }
    ck_assert_uint_eq(r->losts, 1);
    ck_assert_uint_eq(r->lost_first, 1);
    ck_assert_uint_eq(r->lost_oldest, 70 - (SOURCES - 1));
}
END_TEST

START_TEST(waits_for_room_to_ask)
{
    r->port.room = 10;
    follower_step(r->follower, r->now);
    event(PORT_STREAM_CONNECTED);
    ck_assert_uint_eq(r->port.streams[0].written, 0);
    r->port.room = 4096;
    event(PORT_STREAM_ROOM);
    ck_assert_uint_eq(request_of(1).first_seq, 1);
}
END_TEST

START_TEST(streams_of_others_are_not_ours)
{
    connect_next();
    struct port_stream_event e = { .type = PORT_STREAM_CLOSED, .stream = 9 };
    size_t consumed;
    ck_assert(!follower_on_stream(r->follower, &e, r->now, &consumed));
    ck_assert(follower_replaying(r->follower));
}
END_TEST

START_TEST(a_replay_of_a_dead_tail_is_cut_and_left)
{
    struct history *dead = history_copy(h);
    history_cut(dead, 20);
    struct history *living = history_copy(dead);
    for (uint32_t i = 0; i < 10; i++)
        history_write(dead, 2);
    history_begin(living, 3);
    history_write(living, 2);
    connect_next();
    frame_batches(dead, 0, 25);
    offer_all();
    ck_assert(rig_has(r, dead, 25)); /* nothing newer was heard */
    rig_batch(r, living, 20);        /* the record of a later epoch */
    ck_assert_uint_eq(r->forks, 1);
    ck_assert_uint_eq(r->forked_seq, living->batches[20].header.first_seq);
    ck_assert(is_closed()); /* it would go on where we no longer are */
    rig_batch(r, living, 21);
    ck_assert(rig_has(r, living, 22));
    free(dead);
    free(living);
}
END_TEST

START_TEST(restart_while_replaying_closes_the_stream)
{
    connect_next();
    frame_batches(h, 0, 10);
    r->restart_in_deliver = true;
    offer_all();
    ck_assert(r->port.streams[0].closed);
    ck_assert_uint_eq(eaten, written);
    ck_assert_uint_eq(follower_next(r->follower), 1);
    connect_next();
    frame_batches(h, 0, h->count);
    offer_all();
    ck_assert(rig_has(r, h, h->count));
}
END_TEST

START_TEST(a_gap_that_nobody_fills_is_replayed)
{
    rig_batch(r, h, 0);
    rig_batch(r, h, 2);
    uint32_t before = r->port.stream_count;
    for (uint32_t i = 0; i < 30 && r->port.stream_count == before; i++) {
        rig_step(r);
        rig_forget_sent(r);
    }
    ck_assert_uint_eq(r->port.stream_count, before + 1);
    ck_assert_uint_gt(r->counters[COUNTER_GAP_RETRIES], 7);
    event(PORT_STREAM_CONNECTED);
    frame_batches(h, 1, 3);
    offer_all();
    ck_assert(rig_has(r, h, 3));
    ck_assert(is_closed());
}
END_TEST

/* With a window of 8 batches, and a history of 30 in the first epoch. */
static void start_small(bool streams)
{
    teardown();
    struct follower_options o = rig_options(FOLLOWER_SEQUENCED, SOURCES, streams);
    o.pending_max = 8;
    start(&o);
    h = history_new();
    history_begin(h, 1);
    for (uint32_t i = 0; i < 30; i++)
        history_write(h, 2);
}

/* The heard epoch vouches for nothing near: the window fills with what links but may be dead. */
START_TEST(starvation_ends_with_the_record)
{
    start_small(false);
    history_begin(h, 2);
    history_write(h, 2);
    rig_heartbeat(r, h, h->count);
    ck_assert(rig_heal(r, h));
    ck_assert(rig_has(r, h, h->count));
}
END_TEST

/* The same, of a time so long ago that the heard epoch's record does not list it: older records are read
 * back, though nothing contradicts anything. */
START_TEST(starvation_ends_with_an_older_record)
{
    start_small(false);
    for (uint32_t number = 2; number < 10; number++) {
        history_begin_short(h, number, 3);
        history_write(h, 2);
    }
    rig_heartbeat(r, h, h->count);
    ck_assert(rig_heal(r, h));
    ck_assert(rig_has(r, h, h->count));
}
END_TEST

START_TEST(starvation_of_a_candidate_ends_with_a_replay)
{
    start_small(true);
    history_begin(h, 2);
    history_write(h, 2);
    struct epoch epoch = { .number = 5, .candidate = 9 };
    struct follower_source source = { .unicast = rig_source_udp(7), .stream = rig_source_tcp(7) };
    follower_step(r->follower, r->now); /* a first replay begins at once, and fails */
    event(PORT_STREAM_CLOSED);
    follower_adopt(r->follower, epoch, (struct position) { h->epoch, h->next_seq - 1 }, h->digest,
                   source);
    for (uint32_t i = 0; i < 10; i++)
        rig_fill(r, h, i);
    connect_next();
    ck_assert_uint_eq(request_of(r->port.stream_count).first_seq, 1);
    for (uint32_t i = 0; i < h->count; i += 4) {
        uint32_t end = i + 4 < h->count ? i + 4 : h->count;
        frame_batches(h, i, end);
        frame_vouch(h, end); /* in the name of the adopted tail's epoch: there is no later one */
    }
    frame_end(REPLAY_DONE, 1);
    offer_all();
    ck_assert(rig_has(r, h, h->count));
    ck_assert(follower_caught_up(r->follower));
}
END_TEST

/* A candidate may have asked in vain for long, and waits longer each time. What it adopts is asked for at
 * once, and of the store that has it: its turn is short. */
START_TEST(what_is_adopted_is_asked_for_at_once)
{
    rig_heartbeat(r, h, h->count);
    for (uint32_t i = 0; i < 5 * SOURCES; i++) {
        connect_next();
        frame_end(REPLAY_NOT_YET, 1);
        offer_all();
    }
    uint32_t streams = r->port.stream_count;
    (void)follower_step(r->follower, r->now);
    ck_assert_uint_eq(r->port.stream_count, streams); /* it waits */
    struct epoch epoch = { .number = h->epoch.number + 1, .candidate = 4711 };
    struct follower_source source = { rig_source_udp(1), rig_source_tcp(1) };
    follower_adopt(r->follower, epoch, (struct position) { h->epoch, h->next_seq - 1 }, h->digest,
                   source);
    (void)follower_step(r->follower, r->now);
    ck_assert_uint_eq(r->port.stream_count, streams + 1);
    ck_assert(port_addr_equal(r->port.streams[streams].to, rig_source_tcp(1)));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("follower_replay");
    TCase *t = tcase_create("replay");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, reads_what_there_is_without_a_leader);
    tcase_add_test(t, frames_may_come_in_any_pieces);
    tcase_add_test(t, a_far_live_stream_is_reached_by_replay);
    tcase_add_test(t, live_batches_fill_the_window_nearest_first);
    tcase_add_test(t, refusal_stops_reading);
    tcase_add_test(t, a_full_window_stops_reading);
    tcase_add_test(t, a_refusing_store_is_left_for_the_next);
    tcase_add_test(t, a_closed_or_refused_connection_is_left_for_the_next);
    tcase_add_test(t, a_stalled_stream_is_left);
    tcase_add_test(t, rubbish_closes_the_stream);
    tcase_add_test(t, pruned_everywhere_is_lost);
    tcase_add_test(t, waits_for_room_to_ask);
    tcase_add_test(t, streams_of_others_are_not_ours);
    tcase_add_test(t, a_replay_of_a_dead_tail_is_cut_and_left);
    tcase_add_test(t, restart_while_replaying_closes_the_stream);
    tcase_add_test(t, a_gap_that_nobody_fills_is_replayed);
    tcase_add_test(t, starvation_ends_with_the_record);
    tcase_add_test(t, starvation_ends_with_an_older_record);
    tcase_add_test(t, starvation_of_a_candidate_ends_with_a_replay);
    tcase_add_test(t, what_is_adopted_is_asked_for_at_once);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
