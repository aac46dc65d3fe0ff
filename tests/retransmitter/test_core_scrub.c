/* The background scrub: that it reads the closed segments no faster than it was told, one piece at a
 * time, and steps back for those who wait for the disk; and that rot it finds is fetched from a
 * peer while the store goes on acknowledging, but does not let a candidate count on it. */
#include <stdio.h>

#include "rig.h"

static const struct epoch FIRST = { 11, 1 };
static const struct epoch SECOND = { 22, 2 };
static const struct port_addr PEER_B = { 0x0a00000b, 710 };
static const struct port_addr PEER_C = { 0x0a00000c, 710 };

enum { BATCHES = 1500, RATE = 4 << 20 };
#define PIECE_NS ((uint64_t)JOURNAL_SCRUB_BYTES * RIG_SECOND / RATE)
#define PAUSE_NS (10 * RIG_SECOND)
static struct batch_bytes history[BATCHES];
static struct leader leader;

/* Two closed segments and some of a third; `flip` bytes into the first, if not 0. The scrub begins
 * with the restart. */
static struct rig *recorded(uint64_t flip)
{
    struct rig *rig = rig_new(1);
    leader = rig_led(rig, FIRST);
    for (int i = 0; i < BATCHES; i++) {
        leader_batch(&leader, 4, 320, &history[i]);
        rig_hear(rig, &history[i]);
        rig_settle(rig);
    }
    rig_pass(rig, RIG_SECOND);
    ck_assert_ptr_nonnull(memory_disk_file(&rig->disk, "index-00000002"));
    rig_crash(rig);
    struct memory_file *segment = memory_disk_file(&rig->disk, "segment-00000001");
    ck_assert_ptr_nonnull(segment);
    if (flip > 0)
        segment->bytes[flip] ^= 0x10;
    rig->options.peer_count = 2;
    rig->options.peers[0].unicast = PEER_B;
    rig->options.peers[1].unicast = PEER_C;
    rig->options.scrub_bytes_per_s = RATE;
    rig->options.scrub_pause_ns = PAUSE_NS;
    rig_start(rig);
    rig_heartbeat(rig, &leader);
    rig_settle(rig);
    return rig;
}

static const char *state(struct rig *rig)
{
    static struct status status;
    retransmitter_status(rig->core, rig->now, &status);
    return status.state;
}

START_TEST(reads_at_the_rate_it_was_told_and_then_rests)
{
    struct rig *rig = recorded(0);
    uint64_t before = rig_counter(rig, COUNTER_SCRUBBED_BYTES);
    ck_assert_uint_gt(before, 0);
    uint64_t steps = 0;
    for (; rig_counter(rig, COUNTER_SCRUB_PASSES) == 0; steps++) {
        ck_assert_uint_lt(steps, 1000);
        uint64_t bytes = rig_counter(rig, COUNTER_SCRUBBED_BYTES);
        rig_pass(rig, PIECE_NS - 1);
        ck_assert_uint_le(rig_counter(rig, COUNTER_SCRUBBED_BYTES) - bytes, JOURNAL_SCRUB_BYTES);
        ck_assert_uint_le(rig->next_ns, rig->now.mono_ns + PAUSE_NS);
    }
    ck_assert_uint_ge(rig_counter(rig, COUNTER_SCRUBBED_BYTES), 2 << 20);
    ck_assert_uint_ge(steps, 7);
    ck_assert_uint_eq(rig_counter(rig, COUNTER_SCRUB_FOUND), 0);
    uint64_t pass = rig_counter(rig, COUNTER_SCRUBBED_BYTES);
    rig_pass(rig, PAUSE_NS - 2 * PIECE_NS);
    ck_assert_uint_eq(rig_counter(rig, COUNTER_SCRUBBED_BYTES), pass);
    for (int i = 0; i < 100; i++)
        rig_pass(rig, PIECE_NS);
    ck_assert_uint_eq(rig_counter(rig, COUNTER_SCRUB_PASSES), 2);
    ck_assert_uint_eq(rig_counter(rig, COUNTER_SCRUBBED_BYTES), 2 * pass);
    ck_assert_str_eq(state(rig), "recording");
    rig_free(rig);
}
END_TEST

START_TEST(off_is_off)
{
    struct rig *rig = recorded(0);
    rig_crash(rig);
    rig->options.scrub_bytes_per_s = 0;
    rig_start(rig);
    for (int i = 0; i < 100; i++)
        rig_pass(rig, RIG_SECOND);
    ck_assert_uint_eq(rig_counter(rig, COUNTER_SCRUBBED_BYTES), 0);
    struct retransmitter_options o;
    retransmitter_options_default(&o);
    ck_assert_uint_eq(o.scrub_bytes_per_s, 8 << 20);
    rig_free(rig);
}
END_TEST

/* One that never ends does not keep it away for ever. */
START_TEST(fills_that_wait_for_the_disk_come_first)
{
    struct rig *rig = recorded(0);
    uint64_t bytes = rig_counter(rig, COUNTER_SCRUBBED_BYTES);
    rig->disk.hold = true;
    rig_ask(rig, PEER_C, FIRST, 10, 14);
    for (int i = 0; i < 5; i++)
        rig_pass(rig, PIECE_NS);
    ck_assert_uint_eq(rig->disk.queued, 1);
    rig_pass(rig, 2 * RIG_SECOND);
    ck_assert_uint_eq(rig->disk.queued, 2); /* and never more than one of its own */
    rig_pass(rig, 2 * RIG_SECOND);
    ck_assert_uint_eq(rig->disk.queued, 2);
    rig->disk.hold = false;
    rig_settle(rig);
    ck_assert_uint_gt(rig_counter(rig, COUNTER_SCRUBBED_BYTES), bytes);
    rig_free(rig);
}
END_TEST

START_TEST(rot_heals_while_the_store_goes_on)
{
    struct rig *rig = recorded(500 * 1024);
    ck_assert(!rig->report.damaged);
    for (int i = 0; i < 100 && journal_proven(rig->journal); i++)
        rig_pass(rig, PIECE_NS);
    ck_assert(!journal_proven(rig->journal));
    ck_assert_uint_eq(rig_counter(rig, COUNTER_SCRUB_FOUND), 1);
    char text[64];
    snprintf(text, sizeof text, "recording, healing seq %lu", journal_damaged_seq(rig->journal));
    ck_assert_str_eq(state(rig), text);
    /* It acknowledges what comes. */
    rig_forget(rig);
    rig_batches(rig, &leader, 3, 4, 100);
    struct ack ack;
    ck_assert(rig_last_ack(rig, &ack));
    ck_assert_uint_eq(ack.tail.seq, leader.next_seq - 1);
    /* But is not to be counted on. */
    rig_seal(rig, SECOND, true);
    struct promise p;
    ck_assert(rig_last_promise(rig, &p));
    ck_assert(!p.proven);
    /* Nobody answers at first. */
    struct gap_request gap;
    struct port_addr to;
    rig_pass(rig, RIG_SECOND);
    ck_assert(rig_last_gap_request(rig, &gap, &to));
    ck_assert_uint_eq(gap.first_seq, journal_damaged_seq(rig->journal));
    for (int i = 0; i < 100 && !journal_proven(rig->journal); i++) {
        rig_forget(rig);
        rig_pass(rig, RIG_SECOND / 10);
        if (rig_last_gap_request(rig, &gap, &to))
            rig_answer(rig, PEER_B, &gap, history, BATCHES, 8);
    }
    ck_assert(journal_proven(rig->journal));
    ck_assert_uint_ge(rig_counter(rig, COUNTER_JOURNAL_HEALED), 1);
    ck_assert_str_eq(state(rig), "recording");
    rig_forget(rig);
    rig_seal(rig, SECOND, true);
    ck_assert(rig_last_promise(rig, &p));
    ck_assert(p.proven);
    rig_crash(rig);
    rig_start(rig);
    ck_assert(!rig->report.damaged);
    rig_free(rig);
}
END_TEST

/* A piece that nobody has does not keep another from being healed. */
START_TEST(pieces_take_turns)
{
    struct rig *rig = recorded(200 * 1024);
    memory_disk_file(&rig->disk, "segment-00000002")->bytes[300 * 1024] ^= 1;
    for (int i = 0; i < 100 && journal_damage_count(rig->journal) < 2; i++)
        rig_pass(rig, PIECE_NS);
    ck_assert_uint_eq(journal_damage_count(rig->journal), 2);
    uint64_t first_seq, end_seq;
    journal_damage(rig->journal, 0, &first_seq, &end_seq);
    for (int i = 0; i < 1000 && journal_damage_count(rig->journal) > 1; i++) {
        rig_forget(rig);
        rig_pass(rig, RIG_SECOND / 10);
        struct gap_request gap;
        struct port_addr to;
        if (rig_last_gap_request(rig, &gap, &to) && gap.first_seq >= end_seq)
            rig_answer(rig, PEER_B, &gap, history, BATCHES, 4);
    }
    ck_assert_uint_eq(journal_damage_count(rig->journal), 1);
    ck_assert_uint_eq(journal_damaged_seq(rig->journal), first_seq);
    /* What lies behind both, and between them, is served; what is damaged is not. */
    rig_forget(rig);
    rig_ask(rig, PEER_C, FIRST, end_seq + 8, end_seq + 9);
    rig_settle(rig);
    ck_assert_uint_eq(rig_count(rig, WIRE_BATCH), 1);
    rig_free(rig);
}
END_TEST

/* The same state for a store that recovery has found out. */
START_TEST(a_store_that_may_have_lost_has_no_voice)
{
    struct rig *rig = rig_new(1);
    struct leader l = leader_of(rig, FIRST);
    rig_crash(rig);
    rig->journal_options.unsynced = true;
    rig->journal_options.boot = 1;
    rig_start(rig);
    rig_begin(rig, &l);
    rig_settle(rig);
    rig_batches(rig, &l, 10, 4, 100);
    ck_assert_uint_gt(rig_count(rig, WIRE_ACK), 0);
    rig_crash(rig);
    rig->journal_options.boot = 2;
    rig_start(rig);
    ck_assert(rig->report.may_have_lost);
    rig_heartbeat(rig, &l);
    rig_batches(rig, &l, 10, 4, 100);
    rig_pass(rig, RIG_SECOND);
    ck_assert_uint_eq(journal_durable(rig->journal).seq, l.next_seq - 1);
    ck_assert_uint_eq(rig_count(rig, WIRE_ACK), 0);
    rig_seal(rig, SECOND, false);
    rig_settle(rig);
    struct promise p;
    ck_assert(rig_last_promise(rig, &p));
    ck_assert(!p.proven);
    ck_assert_str_eq(state(rig), "may have lost, re-format it");
    rig_free(rig);
}
END_TEST

RIG_MAIN("retransmitter_scrub", reads_at_the_rate_it_was_told_and_then_rests, off_is_off,
         fills_that_wait_for_the_disk_come_first, rot_heals_while_the_store_goes_on,
         pieces_take_turns, a_store_that_may_have_lost_has_no_voice)
