/* Damage below what was acknowledged: that a damaged store neither acknowledges nor is counted,
 * asks its peers and then the leader for the missing piece, and votes again once it is whole. */
#include <stdio.h>

#include "rig.h"

static const struct epoch FIRST = { 11, 1 };
static const struct epoch SECOND = { 22, 2 };
static const struct epoch THIRD = { 33, 3 };
static const struct port_addr PEER_B = { 0x0a00000b, 710 };
static const struct port_addr PEER_C = { 0x0a00000c, 710 };

enum { BATCHES = 400, RECORD = 150 };
static struct batch_bytes history[BATCHES];

/* Records a history, flips a byte in the middle of it on disk, and starts again. */
static struct rig *damaged(uint32_t peers)
{
    struct rig *rig = rig_new(1);
    struct leader l = rig_led(rig, FIRST);
    for (int i = 0; i < BATCHES; i++) {
        leader_batch(&l, 4, 300, &history[i]);
        rig_hear(rig, &history[i]);
        rig_settle(rig);
    }
    for (int i = 0; i < 10; i++)
        rig_pass(rig, RIG_SECOND / 10);
    rig_crash(rig);
    struct memory_file *segment = memory_disk_file(&rig->disk, "segment-00000001");
    ck_assert_ptr_nonnull(segment);
    segment->bytes[300 * 1024] ^= 0x10;
    rig->options.peer_count = peers;
    rig->options.peers[0].unicast = PEER_B;
    rig->options.peers[1].unicast = PEER_C;
    rig_start(rig);
    return rig;
}

START_TEST(a_damaged_store_does_not_vote)
{
    struct rig *rig = damaged(0);
    ck_assert(rig->report.damaged);
    ck_assert(!journal_proven(rig->journal));
    rig_pass(rig, RIG_SECOND);
    ck_assert_uint_eq(rig_count(rig, WIRE_ACK), 0);
    rig_seal(rig, SECOND, false);
    rig_settle(rig);
    struct promise p;
    ck_assert(rig_last_promise(rig, &p));
    ck_assert(!p.proven);
    ck_assert(epoch_equal(p.promised, SECOND));
    static struct status status;
    retransmitter_status(rig->core, rig->now, &status);
    ck_assert_str_eq(status.state, "damaged");
    rig_free(rig);
}
END_TEST

START_TEST(healed_from_a_peer)
{
    struct rig *rig = damaged(1);
    struct gap_request gap;
    struct port_addr to;
    for (int round = 0; round < 500 && !journal_proven(rig->journal); round++) {
        rig_forget(rig);
        rig_pass(rig, RIG_SECOND / 100);
        if (rig_last_gap_request(rig, &gap, &to) && port_addr_equal(to, PEER_B))
            rig_answer(rig, PEER_B, &gap, history, BATCHES, 8);
        rig_settle(rig);
        if (!journal_proven(rig->journal))
            ck_assert_uint_eq(rig_count(rig, WIRE_ACK), 0);
    }
    ck_assert(journal_proven(rig->journal));
    rig_settle(rig);
    struct ack ack;
    ck_assert(rig_last_ack(rig, &ack));
    ck_assert_uint_eq(ack.tail.seq, batch_end_seq(&history[BATCHES - 1].header) - 1);
    ck_assert_uint_gt(rig_counter(rig, COUNTER_JOURNAL_HEALED), 0);
    /* And it stays whole. */
    rig_crash(rig);
    rig_start(rig);
    ck_assert(!rig->report.damaged);
    ck_assert(journal_proven(rig->journal));
    rig_free(rig);
}
END_TEST

/* The missing piece holds the record of an epoch of which later batches are there: where that epoch
 * began is known once it is whole, and histories are compared by it. */
START_TEST(a_hole_that_held_an_epoch_record)
{
    static struct leader l, second, third;
    struct rig *rig = rig_new(1);
    l = leader_of(rig, FIRST);
    rig_begin(rig, &l);
    rig_settle(rig);
    for (int i = 0; i < BATCHES; i++) {
        if (i == RECORD) {
            rig_seal(rig, SECOND, false);
            rig_settle(rig);
            second = leader_after(&l, SECOND);
            leader_begin(&second, &history[i]);
        } else {
            leader_batch(i < RECORD ? &l : &second, 4, 300, &history[i]);
        }
        rig_hear(rig, &history[i]);
        rig_settle(rig);
        for (int k = 0; i == BATCHES - 4 && k < 10; k++)
            rig_pass(rig, RIG_SECOND / 10); /* the mark comes up to here */
    }
    rig_crash(rig);
    memory_disk_file(&rig->disk, "segment-00000001")->bytes[(RECORD - 5) * 1024] ^= 0x10;
    rig->options.peer_count = 1;
    rig->options.peers[0].unicast = PEER_B;
    rig_start(rig);
    ck_assert(rig->report.damaged);
    struct gap_request gap;
    struct port_addr to;
    for (int round = 0; round < 500 && !journal_proven(rig->journal); round++) {
        rig_pass(rig, RIG_SECOND / 100);
        if (rig_last_gap_request(rig, &gap, &to))
            rig_answer(rig, PEER_B, &gap, history, BATCHES, 8);
        rig_settle(rig);
    }
    ck_assert(journal_proven(rig->journal));
    struct batch_bytes unheard;
    leader_batch(&second, 1, 100, &unheard);
    third = leader_after(&second, THIRD);
    rig_seal(rig, THIRD, false);
    rig_settle(rig);
    rig_begin(rig, &third);
    rig_receive(rig, PORT_UNICAST, PEER_B, history[RECORD].bytes, history[RECORD].header.length);
    rig_settle(rig);
    rig_forget(rig);
    rig_pass(rig, RIG_SECOND);
    ck_assert(rig_last_gap_request(rig, &gap, &to));
    ck_assert_uint_eq(gap.first_seq, unheard.header.first_seq);
    rig_receive(rig, PORT_UNICAST, PEER_B, unheard.bytes, unheard.header.length);
    rig_settle(rig);
    rig_batches(rig, &third, 5, 1, 100);
    rig_settle(rig);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, third.next_seq - 1);
    rig_free(rig);
}
END_TEST

START_TEST(asks_in_turn_and_backs_off)
{
    struct rig *rig = damaged(2);
    bool b = false, c = false;
    struct gap_request gap;
    struct port_addr to;
    for (int i = 0; i < 20; i++) {
        if (rig_last_gap_request(rig, &gap, &to)) {
            b = b || port_addr_equal(to, PEER_B);
            c = c || port_addr_equal(to, PEER_C);
        }
        rig_forget(rig);
        rig_pass(rig, 20000000);
    }
    ck_assert(b);
    ck_assert(c);
    rig_pass(rig, 10 * RIG_SECOND);
    rig_forget(rig);
    for (int i = 0; i < 100; i++)
        rig_pass(rig, RIG_SECOND / 10);
    ck_assert_uint_le(rig_count(rig, WIRE_GAP_REQUEST), 25);
    ck_assert_uint_ge(rig_count(rig, WIRE_GAP_REQUEST), 5);
    rig_free(rig);
}
END_TEST

START_TEST(a_refusal_moves_it_on_at_once)
{
    struct rig *rig = damaged(2);
    struct gap_request gap;
    struct port_addr to;
    ck_assert(rig_last_gap_request(rig, &gap, &to));
    ck_assert(port_addr_equal(to, PEER_B));
    struct gap_refusal refusal = { GAP_NOT_YET, gap.first_seq, 1, gap.first_seq, gap.nonce };
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = gap_refusal_encode(&refusal, RIG_STREAM, bytes, sizeof bytes);
    rig_forget(rig);
    rig_receive(rig, PORT_UNICAST, PEER_B, bytes, (uint32_t)length);
    ck_assert(rig_last_gap_request(rig, &gap, &to));
    ck_assert(port_addr_equal(to, PEER_C));
    rig_free(rig);
}
END_TEST

/* Dead or foreign batches at the right seqs do not close the chain. */
/* A peer that was away is asked again, whatever the leader goes on refusing: it alone may have it. */
START_TEST(who_was_away_is_asked_again)
{
    struct rig *rig = damaged(1);
    struct batch_bytes more;
    const struct batch_header *last = &history[BATCHES - 1].header;
    struct leader l = { .epoch = FIRST,
                        .epoch_first_seq = history[0].header.first_seq - 1,
                        .next_seq = batch_end_seq(last),
                        .digest = last->digest,
                        .time_ns = last->timestamp_ns };
    leader_batch(&l, 1, 30, &more);
    rig_hear(rig, &more); /* now it knows where the leader is */
    uint32_t peer = 0, leader = 0;
    struct gap_request gap;
    struct port_addr to;
    for (int i = 0; i < 100; i++) {
        rig_forget(rig);
        rig_pass(rig, RIG_SECOND / 50);
        if (!rig_last_gap_request(rig, &gap, &to))
            continue;
        if (port_addr_equal(to, PEER_B)) {
            peer++; /* and it says nothing */
            continue;
        }
        leader++;
        struct gap_refusal refusal = { GAP_PRUNED, gap.first_seq, gap.end_seq, gap.end_seq,
                                       gap.nonce };
        uint8_t bytes[SIGNAL_SIZE_MAX];
        size_t length = gap_refusal_encode(&refusal, RIG_STREAM, bytes, sizeof bytes);
        rig_receive(rig, PORT_UNICAST, to, bytes, (uint32_t)length);
    }
    ck_assert_uint_ge(leader, 2);
    ck_assert_uint_ge(peer, 2);
    rig_free(rig);
}
END_TEST

START_TEST(only_the_right_bytes_heal)
{
    struct rig *rig = damaged(1);
    struct gap_request gap;
    struct port_addr to;
    ck_assert(rig_last_gap_request(rig, &gap, &to));
    ck_assert_uint_eq(gap.first_seq, journal_damaged_seq(rig->journal));
    struct batch_bytes false_one;
    static struct leader l;
    l = (struct leader) { .epoch = FIRST, .next_seq = gap.first_seq, .digest = { 1, 2 } };
    for (int i = 0; i < 8; i++) {
        leader_batch(&l, 4, 300, &false_one);
        rig_receive(rig, PORT_UNICAST, PEER_B, false_one.bytes, false_one.header.length);
    }
    rig_settle(rig);
    ck_assert(!journal_proven(rig->journal));
    ck_assert_uint_eq(journal_damaged_seq(rig->journal), gap.first_seq);
    ck_assert_uint_eq(rig_counter(rig, COUNTER_JOURNAL_HEALED), 0);
    rig_free(rig);
}
END_TEST

START_TEST(what_is_damaged_is_not_served)
{
    struct rig *rig = damaged(0);
    uint64_t hole = journal_damaged_seq(rig->journal);
    rig_forget(rig);
    rig_ask(rig, PEER_C, FIRST, hole, hole + 4);
    rig_settle(rig);
    struct gap_refusal refusal;
    ck_assert(rig_last_refusal(rig, &refusal));
    ck_assert_int_eq(refusal.reason, GAP_NOT_YET);
    ck_assert_uint_eq(rig_count(rig, WIRE_BATCH), 0);
    rig_forget(rig);
    rig_ask(rig, PEER_B, FIRST, hole - 8, hole + 4);
    rig_settle(rig);
    ck_assert_uint_ge(rig_count(rig, WIRE_BATCH), 1);
    rig_free(rig);
}
END_TEST

RIG_MAIN("retransmitter_heal", a_damaged_store_does_not_vote, healed_from_a_peer,
         a_hole_that_held_an_epoch_record, asks_in_turn_and_backs_off,
         a_refusal_moves_it_on_at_once, who_was_away_is_asked_again, only_the_right_bytes_heal,
         what_is_damaged_is_not_served)
