/* Commands to a store: digests at any seq, from memory and from disk, refusals that say why, and
 * clients that ask at the same time, go away, or ask for what is not a store's to do. */
#include <stdio.h>

#include "rig.h"

#include "proto/command.h"

static const struct epoch FIRST = { 11, 1 };
static const struct epoch SECOND = { 22, 2 };

enum { BATCHES = 900 };
static struct batch_bytes history[BATCHES];
static struct leader leader, older;

static struct rig *recorded(void)
{
    struct rig *rig = rig_new(1);
    leader = rig_led(rig, FIRST);
    for (int i = 0; i < BATCHES; i++) {
        if (i == BATCHES - 2)
            older = leader;
        leader_batch(&leader, 4, 320, &history[i]);
        rig_hear(rig, &history[i]);
        rig_settle(rig);
    }
    return rig;
}

static void dial(struct rig *rig, uint32_t stream)
{
    rig_event(rig, PORT_STREAM_ACCEPTED, stream, NULL, 0);
}

static void give(struct rig *rig, uint32_t stream, const struct command *command)
{
    uint8_t body[COMMAND_SIZE_MAX], frame[REPLAY_FRAME_HEADER + COMMAND_SIZE_MAX];
    size_t length = command_encode(command, body, sizeof body);
    ck_assert_uint_gt(length, 0);
    length = replay_frame_encode(REPLAY_COMMAND, body, length, frame, sizeof frame);
    ck_assert_uint_eq(rig_event(rig, PORT_STREAM_BYTES, stream, frame, length), length);
}

static void ask(struct rig *rig, uint32_t stream, uint64_t seq)
{
    struct command command = { .kind = COMMAND_DIGEST_AT, .seq = seq };
    give(rig, stream, &command);
}

/* The one outcome that has been written; false: none yet. */
static bool outcome(struct rig *rig, uint32_t stream, struct outcome *out)
{
    struct rig_stream *s = &rig->streams[stream];
    if (s->length == 0)
        return false;
    enum replay_type type;
    size_t whole = replay_frame_peek(s->bytes, s->length, &type);
    ck_assert_uint_eq(whole, s->length);
    ck_assert_int_eq(type, REPLAY_OUTCOME);
    ck_assert(outcome_decode(s->bytes + REPLAY_FRAME_HEADER, whole - REPLAY_FRAME_HEADER, out));
    s->length = 0;
    return true;
}

static void check_digest(struct rig *rig, uint32_t stream, uint64_t seq)
{
    struct outcome out;
    ck_assert_msg(outcome(rig, stream, &out), "no outcome for %lu", seq);
    ck_assert_msg(out.verdict == OUTCOME_DONE, "%lu: %s", seq, out.text);
    for (int i = 0; i < BATCHES; i++) {
        const struct batch_header *h = &history[i].header;
        if (h->first_seq > seq || batch_end_seq(h) <= seq)
            continue;
        ck_assert_uint_eq(out.position.seq, batch_end_seq(h) - 1);
        ck_assert(epoch_equal(out.position.epoch, h->epoch));
        ck_assert(digest_equal(out.digest, h->digest));
        ck_assert_uint_eq(out.seq, seq);
        return;
    }
    ck_abort_msg("%lu was never made", seq);
}

START_TEST(the_digest_after_any_batch)
{
    struct rig *rig = recorded();
    dial(rig, 1);
    for (uint64_t seq = 3; seq < leader.next_seq; seq += 37) {
        ask(rig, 1, seq);
        check_digest(rig, 1, seq);
    }
    ask(rig, 1, leader.next_seq - 1);
    check_digest(rig, 1, leader.next_seq - 1);
    ck_assert(!rig->streams[1].closed);
    rig_free(rig);
}
END_TEST

START_TEST(refused_with_the_reason)
{
    struct rig *rig = recorded();
    struct outcome out;
    dial(rig, 1);
    ask(rig, 1, leader.next_seq);
    ck_assert(outcome(rig, 1, &out));
    ck_assert_int_eq(out.verdict, OUTCOME_REFUSED);
    ck_assert_ptr_nonnull(strstr(out.text, "beyond its tail"));
    ask(rig, 1, 0);
    ck_assert(outcome(rig, 1, &out));
    ck_assert_int_eq(out.verdict, OUTCOME_REFUSED);
    static const enum command_kind OTHERS[] = { COMMAND_PROMOTE, COMMAND_MEMBER_ADD,
                                                COMMAND_MEMBER_REMOVE, COMMAND_SESSION };
    for (uint32_t i = 0; i < 4; i++) {
        struct command command = { .kind = OTHERS[i], .store = 7, .why = "x", .name = "y" };
        give(rig, 1, &command);
        ck_assert(outcome(rig, 1, &out));
        ck_assert_int_eq(out.verdict, OUTCOME_REFUSED);
        ck_assert_ptr_nonnull(strstr(out.text, "a retransmitter takes only"));
    }
    rig_crash(rig);
    memory_disk_file(&rig->disk, "segment-00000001")->bytes[300 * 1024] ^= 1;
    rig_start(rig);
    dial(rig, 1);
    uint64_t seq = 2;
    while (journal_proven(rig->journal)) {
        ask(rig, 1, seq);
        ck_assert(outcome(rig, 1, &out));
        seq += 4;
    }
    ck_assert_int_eq(out.verdict, OUTCOME_REFUSED);
    ck_assert_ptr_nonnull(strstr(out.text, "damaged"));
    rig_free(rig);
}
END_TEST

START_TEST(who_comes_second_waits)
{
    struct rig *rig = recorded();
    for (uint32_t stream = 1; stream <= 4; stream++)
        dial(rig, stream);
    rig->disk.hold = true;
    for (uint32_t stream = 1; stream <= 4; stream++)
        ask(rig, stream, 100 + stream * 50);
    ck_assert_uint_eq(rig->disk.queued, 1);
    rig_event(rig, PORT_STREAM_CLOSED, 1, NULL, 0);
    rig->streams[2].room = 0; /* does not read */
    rig->disk.hold = false;
    rig_pass(rig, 1000000);
    struct outcome out;
    ck_assert(!outcome(rig, 2, &out));
    check_digest(rig, 3, 250);
    check_digest(rig, 4, 300);
    rig->streams[2].room = 256 * 1024;
    rig_event(rig, PORT_STREAM_ROOM, 2, NULL, 0);
    check_digest(rig, 2, 200);
    ck_assert(retransmitter_drain(rig->core));
    rig_free(rig);
}
END_TEST

/* Two at once from one client, or what is no command: no client of ours. */
START_TEST(nonsense_costs_the_connection)
{
    struct rig *rig = recorded();
    dial(rig, 1);
    rig->disk.hold = true;
    ask(rig, 1, 100);
    ask(rig, 1, 101);
    ck_assert(rig->streams[1].closed);
    rig->disk.hold = false;
    dial(rig, 2);
    ask(rig, 2, 200);
    check_digest(rig, 2, 200);
    uint8_t frame[64];
    memset(frame, 0xee, sizeof frame);
    wire_store32(frame, 60);
    frame[4] = REPLAY_COMMAND;
    ck_assert_uint_eq(rig_event(rig, PORT_STREAM_BYTES, 2, frame, sizeof frame), sizeof frame);
    ck_assert(rig->streams[2].closed);
    dial(rig, 3);
    wire_store32(frame, COMMAND_SIZE_MAX + 2);
    (void)rig_event(rig, PORT_STREAM_BYTES, 3, frame, 10);
    ck_assert(rig->streams[3].closed);
    rig_free(rig);
}
END_TEST

/* What was being read is cut before it can be told. */
START_TEST(a_cut_goes_before_the_answer)
{
    struct rig *rig = recorded();
    rig_crash(rig);
    rig->journal_options.recent_bytes = 65536;
    rig_start(rig);
    rig_pass(rig, 1000000);
    dial(rig, 1);
    static struct leader next;
    next = leader_after(&older, SECOND);
    struct batch_bytes begin;
    leader_begin(&next, &begin);
    rig->disk.hold = true;
    uint64_t cut = begin.header.first_seq;
    ask(rig, 1, cut + 5);
    rig->disk.hold = false;
    rig_hear(rig, &begin);
    rig_settle(rig);
    struct outcome out;
    ck_assert(outcome(rig, 1, &out));
    rig_pass(rig, 1000000);
    ask(rig, 1, cut + 5);
    ck_assert(outcome(rig, 1, &out));
    ck_assert_int_eq(out.verdict, OUTCOME_REFUSED);
    ask(rig, 1, cut);
    ck_assert(outcome(rig, 1, &out));
    ck_assert_int_eq(out.verdict, OUTCOME_DONE);
    ck_assert(digest_equal(out.digest, begin.header.digest));
    ck_assert(epoch_equal(out.position.epoch, SECOND));
    rig_free(rig);
}
END_TEST

RIG_MAIN("retransmitter_command", the_digest_after_any_batch, refused_with_the_reason,
         who_comes_second_waits, nonsense_costs_the_connection, a_cut_goes_before_the_answer)
