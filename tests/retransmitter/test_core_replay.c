/* Streams: that a replay is the history, verbatim, in order and vouched for often enough; that it
 * ends with the right reason; that a client which does not read, says nothing or talks nonsense
 * costs its own connection and nothing else; and that the status can be read. */
#include <stdlib.h>

#include "rig.h"

static const struct epoch FIRST = { 11, 1 };
static const struct epoch SECOND = { 22, 2 };

static struct rig *filled(struct leader *l, uint32_t batches, uint32_t length)
{
    struct rig *rig = rig_new(1);
    *l = leader_of(rig, FIRST);
    rig_begin(rig, l);
    rig_settle(rig);
    rig_batches(rig, l, batches, 4, length);
    rig_forget(rig);
    return rig;
}

static void ask(struct rig *rig, uint32_t stream, uint64_t id, struct epoch epoch,
                uint64_t first_seq, uint64_t end_seq)
{
    struct replay_request q = { id, first_seq, end_seq, epoch };
    uint8_t body[REPLAY_REQUEST_SIZE], frame[REPLAY_FRAME_HEADER + REPLAY_REQUEST_SIZE];
    size_t length = replay_request_encode(&q, body, sizeof body);
    ck_assert_uint_gt(length, 0);
    length = replay_frame_encode(REPLAY_REQUEST, body, length, frame, sizeof frame);
    ck_assert_uint_eq(rig_event(rig, PORT_STREAM_BYTES, stream, frame, length), length);
}

static void dial(struct rig *rig, uint32_t stream)
{
    rig_event(rig, PORT_STREAM_ACCEPTED, stream, NULL, 0);
}

/* What a client makes of it: takes the frames, checks them, and tells. */
struct seen {
    uint64_t first_seq, next_seq; /* of batches; 0: none */
    uint64_t batches, vouches, unvouched_max;
    struct digest digest;
    struct heartbeat vouch; /* the last */
    bool ended;
    struct replay_end end;
    uint64_t statuses;
    struct status status;
};

static void take_batch(struct seen *seen, uint64_t *unvouched, const uint8_t *body, size_t length)
{
    struct batch_header header;
    ck_assert_int_eq(batch_verify(body, length, RIG_STREAM, &header), WIRE_OK);
    if (seen->batches++ == 0) {
        seen->first_seq = header.first_seq;
    } else {
        ck_assert_uint_eq(header.first_seq, seen->next_seq);
        ck_assert(digest_equal(header.before, seen->digest));
    }
    seen->next_seq = batch_end_seq(&header);
    seen->digest = header.digest;
    if (++*unvouched > seen->unvouched_max)
        seen->unvouched_max = *unvouched;
}

static void take(struct rig *rig, uint32_t stream, struct seen *seen)
{
    struct rig_stream *s = &rig->streams[stream];
    uint64_t unvouched = 0;
    size_t at = 0;
    while (at < s->length) {
        enum replay_type type;
        size_t whole = replay_frame_peek(s->bytes + at, s->length - at, &type);
        ck_assert_uint_ne(whole, SIZE_MAX);
        ck_assert_uint_ne(whole, 0); /* the core writes whole frames */
        const uint8_t *body = s->bytes + at + REPLAY_FRAME_HEADER;
        size_t length = whole - REPLAY_FRAME_HEADER;
        ck_assert(!seen->ended);
        if (type == REPLAY_BATCH) {
            take_batch(seen, &unvouched, body, length);
        } else if (type == REPLAY_VOUCH) {
            ck_assert_int_eq(heartbeat_decode(body, length, RIG_STREAM, &seen->vouch), WIRE_OK);
            if (seen->batches > 0) {
                ck_assert_uint_eq(seen->vouch.next_seq, seen->next_seq);
                ck_assert(digest_equal(seen->vouch.digest, seen->digest));
            }
            ck_assert_uint_lt(seen->vouch.stable, seen->vouch.next_seq);
            ck_assert_uint_eq(seen->vouch.time_ns, 0);
            seen->vouches++;
            unvouched = 0;
        } else if (type == REPLAY_END) {
            ck_assert(replay_end_decode(body, length, &seen->end));
            seen->ended = true;
        } else {
            ck_assert_int_eq(type, REPLAY_STATUS);
            ck_assert(status_decode(body, length, &seen->status));
            seen->statuses++;
        }
        at += whole;
    }
    s->room += s->length;
    s->length = 0;
}

/* Reads until it is over, giving room as it takes. */
static void drain(struct rig *rig, uint32_t stream, struct seen *seen)
{
    for (int i = 0; i < 1000 && !seen->ended && !rig->streams[stream].closed; i++) {
        take(rig, stream, seen);
        if (!seen->ended)
            rig_event(rig, PORT_STREAM_ROOM, stream, NULL, 0);
    }
    take(rig, stream, seen);
}

START_TEST(the_whole_history)
{
    struct leader l;
    struct rig *rig = filled(&l, 1000, 200);
    l.stable = l.next_seq - 5;
    rig_heartbeat(rig, &l);
    dial(rig, 1);
    ask(rig, 1, RIG_STREAM, FIRST, 1, 0);
    struct seen seen = { 0 };
    drain(rig, 1, &seen);
    ck_assert(seen.ended);
    ck_assert_int_eq(seen.end.reason, REPLAY_DONE);
    ck_assert_uint_eq(seen.end.next_seq, l.next_seq);
    ck_assert_uint_eq(seen.end.oldest_seq, 1);
    ck_assert_uint_eq(seen.first_seq, 1);
    ck_assert_uint_eq(seen.next_seq, l.next_seq);
    ck_assert(digest_equal(seen.digest, l.digest));
    ck_assert_uint_le(seen.unvouched_max, 64);
    ck_assert(epoch_equal(seen.vouch.epoch, FIRST));
    ck_assert_uint_eq(seen.vouch.next_seq, l.next_seq);
    ck_assert_uint_eq(seen.vouch.stable, l.next_seq - 5);
    ck_assert_uint_eq(seen.vouch.epoch_first_seq, 2);
    ck_assert_uint_eq(rig_counter(rig, COUNTER_REPLAYS_OUT), 1);
    /* The connection may ask again. */
    seen = (struct seen) { 0 };
    ask(rig, 1, RIG_STREAM, FIRST, 10, 30);
    drain(rig, 1, &seen);
    ck_assert_int_eq(seen.end.reason, REPLAY_DONE);
    ck_assert_uint_le(seen.first_seq, 10);
    ck_assert_uint_ge(seen.next_seq, 30);
    ck_assert_uint_lt(seen.next_seq, 34);
    rig_free(rig);
}
END_TEST

START_TEST(what_comes_meanwhile_belongs_to_it)
{
    struct leader l;
    struct rig *rig = filled(&l, 300, 200);
    dial(rig, 1);
    rig->streams[1].room = 8 * 1024;
    ask(rig, 1, RIG_STREAM, FIRST, 1, 0);
    ck_assert_uint_gt(rig->streams[1].length, 0);
    rig_batches(rig, &l, 20, 4, 200);
    struct seen seen = { 0 };
    drain(rig, 1, &seen);
    ck_assert_int_eq(seen.end.reason, REPLAY_DONE);
    ck_assert_uint_eq(seen.next_seq, l.next_seq);
    rig_free(rig);
}
END_TEST

START_TEST(nothing_missing_is_vouched_for)
{
    struct leader l;
    struct rig *rig = filled(&l, 3, 32);
    dial(rig, 1);
    ask(rig, 1, RIG_STREAM, FIRST, l.next_seq, 0);
    struct seen seen = { 0 };
    drain(rig, 1, &seen);
    ck_assert_int_eq(seen.end.reason, REPLAY_DONE);
    ck_assert_uint_eq(seen.batches, 0);
    ck_assert_uint_eq(seen.vouches, 1);
    ck_assert_uint_eq(seen.vouch.next_seq, l.next_seq);
    ck_assert(digest_equal(seen.vouch.digest, l.digest));
    rig_free(rig);
}
END_TEST

START_TEST(refused_with_a_reason)
{
    struct leader l;
    struct rig *rig = filled(&l, 3, 32);
    struct seen seen = { 0 };
    dial(rig, 1);
    ask(rig, 1, RIG_STREAM, FIRST, l.next_seq + 1, 0);
    drain(rig, 1, &seen);
    ck_assert_int_eq(seen.end.reason, REPLAY_NOT_YET);
    seen = (struct seen) { 0 };
    dial(rig, 2);
    ask(rig, 2, RIG_STREAM + 1, FIRST, 1, 0);
    drain(rig, 2, &seen);
    ck_assert_int_eq(seen.end.reason, REPLAY_OTHER_STREAM);
    ck_assert(rig->streams[2].closed);
    /* Nonsense, too long, a type that only servers send, a request that contradicts itself. */
    static const uint8_t NONSENSE[][48] = { "GET / HTTP/1.1\r\n\r\n", { 0, 0, 0, 0, 1 },
                                            { 200, 0, 0, 0, 2 },      { 1, 0, 0, 0, 6 },
                                            { 37, 0, 0, 0, 1 },       { 0, 0, 0, 1, 1 } };
    for (uint32_t i = 0; i < sizeof NONSENSE / sizeof NONSENSE[0]; i++) {
        seen = (struct seen) { 0 };
        dial(rig, 3 + i);
        rig_event(rig, PORT_STREAM_BYTES, 3 + i, NONSENSE[i], sizeof NONSENSE[i]);
        drain(rig, 3 + i, &seen);
        ck_assert_msg(seen.ended, "nonsense %u", i);
        ck_assert_int_eq(seen.end.reason, REPLAY_BAD_REQUEST);
        ck_assert(rig->streams[3 + i].closed);
    }
    ck_assert_uint_eq(rig_counter(rig, COUNTER_REPLAYS_REFUSED), 8);
    rig_free(rig);
}
END_TEST

START_TEST(a_request_may_come_in_pieces)
{
    struct leader l;
    struct rig *rig = filled(&l, 3, 32);
    struct replay_request q = { RIG_STREAM, 1, 0, FIRST };
    uint8_t body[REPLAY_REQUEST_SIZE], frame[REPLAY_FRAME_HEADER + REPLAY_REQUEST_SIZE];
    size_t length = replay_request_encode(&q, body, sizeof body);
    length = replay_frame_encode(REPLAY_REQUEST, body, length, frame, sizeof frame);
    dial(rig, 1);
    for (size_t have = 1; have < length; have++) {
        ck_assert_uint_eq(rig_event(rig, PORT_STREAM_BYTES, 1, frame, have), 0);
        ck_assert_uint_eq(rig->streams[1].length, 0);
    }
    ck_assert_uint_eq(rig_event(rig, PORT_STREAM_BYTES, 1, frame, length), length);
    struct seen seen = { 0 };
    drain(rig, 1, &seen);
    ck_assert_int_eq(seen.end.reason, REPLAY_DONE);
    ck_assert_uint_eq(seen.next_seq, l.next_seq);
    rig_free(rig);
}
END_TEST

START_TEST(a_slow_client_holds_only_its_slot)
{
    struct rig *rig = rig_new(1);
    rig_crash(rig);
    rig->options.replays_max = 2;
    rig_start(rig);
    struct leader l = rig_led(rig, FIRST);
    rig_batches(rig, &l, 400, 4, 300);
    for (uint32_t i = 1; i <= 2; i++) { /* never read */
        dial(rig, i);
        rig->streams[i].room = 16 * 1024;
        ask(rig, i, RIG_STREAM, FIRST, 1, 0);
    }
    struct seen seen = { 0 };
    dial(rig, 3);
    ask(rig, 3, RIG_STREAM, FIRST, 1, 0);
    drain(rig, 3, &seen);
    ck_assert_int_eq(seen.end.reason, REPLAY_BUSY);
    ck_assert(!rig->streams[3].closed);
    rig_batches(rig, &l, 3, 4, 300); /* recording goes on */
    ck_assert_uint_eq(journal_durable(rig->journal).seq, l.next_seq - 1);
    rig_pass(rig, 29 * RIG_SECOND);
    ck_assert(!rig->streams[1].closed);
    rig_pass(rig, 2 * RIG_SECOND);
    ck_assert(rig->streams[1].closed);
    ck_assert(rig->streams[2].closed);
    ck_assert(rig->streams[3].closed); /* said nothing either */
    seen = (struct seen) { 0 };
    dial(rig, 4);
    ask(rig, 4, RIG_STREAM, FIRST, 1, 0);
    drain(rig, 4, &seen);
    ck_assert_int_eq(seen.end.reason, REPLAY_DONE);
    ck_assert_uint_eq(seen.next_seq, l.next_seq);
    rig_free(rig);
}
END_TEST

START_TEST(a_client_that_goes_frees_its_slot)
{
    struct rig *rig = rig_new(1);
    rig_crash(rig);
    rig->options.replays_max = 1;
    rig_start(rig);
    struct leader l = rig_led(rig, FIRST);
    rig_batches(rig, &l, 1000, 4, 300);
    for (int i = 0; i < 20; i++) {
        dial(rig, 1);
        rig->disk.hold = i % 2 == 0; /* also with its read under way */
        ask(rig, 1, RIG_STREAM, FIRST, 1, 0);
        rig_event(rig, PORT_STREAM_CLOSED, 1, NULL, 0);
        rig->disk.hold = false;
        rig_settle(rig);
    }
    struct seen seen = { 0 };
    dial(rig, 1);
    ask(rig, 1, RIG_STREAM, FIRST, 1, 0);
    drain(rig, 1, &seen);
    ck_assert_int_eq(seen.end.reason, REPLAY_DONE);
    rig_free(rig);
}
END_TEST

START_TEST(connections_are_bounded)
{
    struct rig *rig = rig_new(1);
    rig_crash(rig);
    rig->options.replays_max = 1;
    rig_start(rig);
    uint32_t refused = 0;
    for (uint32_t i = 1; i < RIG_STREAMS_MAX; i++) {
        dial(rig, i);
        refused += rig->streams[i].closed;
    }
    ck_assert_uint_eq(refused, RIG_STREAMS_MAX - 1 - 33);
    ck_assert_uint_eq(rig_counter(rig, COUNTER_STREAMS_REFUSED), refused);
    rig_free(rig);
}
END_TEST

static void complete(struct rig *rig)
{
    struct disk_completion done[8];
    uint32_t n = rig->disk.disk.ops->complete(&rig->disk.disk, done, 8);
    for (uint32_t k = 0; k < n; k++)
        retransmitter_participant.on_disk(rig->core, &done[k], rig->now);
}

START_TEST(a_step_serves_no_more_than_its_share)
{
    struct leader l;
    struct rig *rig = filled(&l, 600, 300);
    dial(rig, 1);
    rig->streams[1].room = 16 * 1024 * 1024;
    struct replay_request q = { RIG_STREAM, 1, 0, FIRST };
    uint8_t body[REPLAY_REQUEST_SIZE], frame[REPLAY_FRAME_HEADER + REPLAY_REQUEST_SIZE];
    size_t length = replay_request_encode(&q, body, sizeof body);
    length = replay_frame_encode(REPLAY_REQUEST, body, length, frame, sizeof frame);
    struct port_stream_event e = {
        .type = PORT_STREAM_BYTES, .stream = 1, .bytes = frame, .length = length
    };
    retransmitter_participant.on_stream(rig->core, &e, rig->now);
    for (int i = 0; i < 100; i++) {
        size_t before = rig->streams[1].length;
        rig_step(rig);
        ck_assert_uint_le(rig->streams[1].length - before, 64 * 1024 + 2048);
        complete(rig);
    }
    struct seen seen = { 0 };
    drain(rig, 1, &seen);
    ck_assert_int_eq(seen.end.reason, REPLAY_DONE);
    rig_free(rig);
}
END_TEST

/* A client that takes 4 KiB at a time has most of the first piece still to come. */
START_TEST(the_next_piece_is_read_while_one_is_sent)
{
    struct leader l;
    struct rig *rig = filled(&l, 1500, 300);
    dial(rig, 1);
    rig->streams[1].room = 4 * 1024;
    rig->disk.hold = true;
    ask(rig, 1, RIG_STREAM, FIRST, 1, 0);
    rig->disk.hold = false;
    for (int i = 0; i < 10 && rig->streams[1].length == 0; i++) {
        complete(rig);
        rig_step(rig);
    }
    ck_assert_uint_gt(rig->streams[1].length, 0);
    ck_assert_uint_le(rig->streams[1].length, 4 * 1024);
    ck_assert_uint_eq(rig->disk.queued, 1);
    ck_assert_int_eq(rig->disk.queue[0].op, DISK_READ);
    /* It is in its own buffer, and comes when it is its turn. */
    struct seen seen = { 0 };
    drain(rig, 1, &seen);
    ck_assert_int_eq(seen.end.reason, REPLAY_DONE);
    ck_assert_uint_eq(seen.next_seq, l.next_seq);
    ck_assert(digest_equal(seen.digest, l.digest));
    rig_free(rig);
}
END_TEST

START_TEST(only_the_candidate_while_a_promise_stands)
{
    struct leader l;
    struct rig *rig = filled(&l, 10, 32);
    rig_seal(rig, SECOND, false);
    rig_settle(rig);
    struct seen seen = { 0 };
    dial(rig, 1);
    ask(rig, 1, RIG_STREAM, FIRST, 1, 0);
    drain(rig, 1, &seen);
    ck_assert_int_eq(seen.end.reason, REPLAY_NOT_YET);
    ck_assert_uint_eq(seen.batches, 0);
    seen = (struct seen) { 0 };
    dial(rig, 2);
    ask(rig, 2, RIG_STREAM, SECOND, 1, 0);
    drain(rig, 2, &seen);
    ck_assert_int_eq(seen.end.reason, REPLAY_DONE);
    ck_assert_uint_eq(seen.next_seq, l.next_seq);
    ck_assert(epoch_equal(seen.vouch.epoch, FIRST)); /* nobody has vouched in the second */
    rig_free(rig);
}
END_TEST

/* What was replayed beyond the common end is dead: that client has to ask again. */
START_TEST(a_cut_ends_what_it_overtakes)
{
    struct leader l;
    struct rig *rig = filled(&l, 5, 300);
    static struct leader later;
    later = leader_after(&l, SECOND);
    rig_batches(rig, &l, 200, 4, 300);
    dial(rig, 1);
    rig->streams[1].room = 100 * 1024;
    ask(rig, 1, RIG_STREAM, FIRST, 1, 0);
    dial(rig, 2);
    rig->streams[2].room = 4 * 1024;
    ask(rig, 2, RIG_STREAM, FIRST, 1, 0);
    rig_begin(rig, &later);
    rig_settle(rig);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, later.next_seq - 1);
    struct seen first = { 0 }, second = { 0 };
    drain(rig, 1, &first);
    ck_assert(rig->streams[1].closed);
    ck_assert(!first.ended);
    drain(rig, 2, &second);
    ck_assert(second.ended);
    ck_assert_int_eq(second.end.reason, REPLAY_DONE);
    ck_assert_uint_eq(second.next_seq, later.next_seq);
    ck_assert(digest_equal(second.digest, later.digest));
    ck_assert(epoch_equal(second.vouch.epoch, SECOND));
    rig_free(rig);
}
END_TEST

/* Nobody leads after the restart: the watermark is what the last batch said. */
START_TEST(the_recorded_watermark_is_vouched_for)
{
    struct rig *rig = rig_new(1);
    struct leader l = rig_led(rig, FIRST);
    rig_batches(rig, &l, 10, 4, 32);
    l.stable = l.next_seq - 7;
    rig_batches(rig, &l, 1, 4, 32);
    rig_crash(rig);
    rig_start(rig);
    ck_assert_uint_eq(retransmitter_stable(rig->core), l.stable);
    struct seen seen = { 0 };
    dial(rig, 1);
    ask(rig, 1, RIG_STREAM, FIRST, 1, 0);
    drain(rig, 1, &seen);
    ck_assert_uint_eq(seen.vouch.stable, l.stable);
    rig_free(rig);
}
END_TEST

/* History of a time when datagrams could be larger: a replay waits for the room that its batches
 * take, and brings all of it. */
START_TEST(batches_larger_than_a_datagram_are_replayed)
{
    struct leader l;
    struct rig *rig = filled(&l, 50, 300);
    rig_crash(rig);
    rig->options.datagram_max = 600;
    rig->port.datagram_max = 600;
    rig_start(rig);
    dial(rig, 1);
    struct rig_stream *s = &rig->streams[1];
    s->room = 1200; /* for a datagram and all that goes with it, not for these batches */
    ask(rig, 1, RIG_STREAM, FIRST, 1, 0);
    rig_settle(rig);
    struct seen seen = { 0 };
    size_t wanted_max = 0;
    for (int i = 0; i < 200 && !seen.ended; i++) {
        take(rig, 1, &seen);
        wanted_max = s->wanted > wanted_max ? s->wanted : wanted_max;
        s->room = i % 2 == 0 ? 1200 : s->wanted;
        rig_event(rig, PORT_STREAM_ROOM, 1, NULL, 0);
        rig_settle(rig);
    }
    ck_assert(seen.ended);
    ck_assert_int_eq(seen.end.reason, REPLAY_DONE);
    ck_assert_uint_eq(seen.next_seq, l.next_seq);
    ck_assert(digest_equal(seen.digest, l.digest));
    ck_assert_uint_gt(wanted_max, 1200);
    rig_free(rig);
}
END_TEST

START_TEST(the_status)
{
    struct leader l;
    struct rig *rig = filled(&l, 10, 32);
    static struct seen seen;
    uint8_t frame[REPLAY_FRAME_HEADER];
    size_t length = replay_frame_encode(REPLAY_STATUS_REQUEST, NULL, 0, frame, sizeof frame);
    dial(rig, 1);
    for (uint64_t i = 1; i <= 3; i++) {
        ck_assert_uint_eq(rig_event(rig, PORT_STREAM_BYTES, 1, frame, length), length);
        take(rig, 1, &seen);
        ck_assert_uint_eq(seen.statuses, i);
    }
    ck_assert_str_eq(seen.status.role, "retransmitter");
    ck_assert_str_eq(seen.status.state, "recording");
    ck_assert_uint_eq(seen.status.stream, RIG_STREAM);
    ck_assert_uint_eq(seen.status.store, RIG_STORE);
    ck_assert_uint_eq(seen.status.tip, l.next_seq - 1);
    ck_assert(epoch_equal(seen.status.epoch, FIRST));
    ck_assert_uint_eq(seen.status.epoch_first_seq, 2);
    ck_assert_uint_eq(seen.status.member_count, 1);
    ck_assert_uint_eq(seen.status.members[0].store, RIG_STORE);
    ck_assert_uint_eq(seen.status.members[0].durable_seq, l.next_seq - 1);
    ck_assert_uint_gt(seen.status.counters[COUNTER_JOURNAL_COMMITS], 0);
    ck_assert_uint_gt(seen.status.memory_bytes, 0);
    rig_seal(rig, SECOND, false);
    rig_settle(rig);
    rig_event(rig, PORT_STREAM_BYTES, 1, frame, length);
    take(rig, 1, &seen);
    ck_assert_str_eq(seen.status.state, "promised");
    rig_free(rig);
}
END_TEST

RIG_MAIN("retransmitter_replay", the_whole_history, what_comes_meanwhile_belongs_to_it,
         nothing_missing_is_vouched_for, refused_with_a_reason, a_request_may_come_in_pieces,
         a_slow_client_holds_only_its_slot, a_client_that_goes_frees_its_slot,
         connections_are_bounded, a_step_serves_no_more_than_its_share,
         the_next_piece_is_read_while_one_is_sent, only_the_candidate_while_a_promise_stands,
         a_cut_ends_what_it_overtakes, the_recorded_watermark_is_vouched_for,
         batches_larger_than_a_datagram_are_replayed, the_status)
