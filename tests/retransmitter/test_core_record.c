/* Recording: that what is acknowledged is durable, neither sooner nor otherwise, whatever the disk
 * does; that gaps are asked for and not acknowledged; that a later epoch's history cuts exactly;
 * and that a restart goes on where the journal ends. The disk completes when the test says so. */
#include "retransmitter/core_private.h"
#include "rig.h"

static const struct epoch FIRST = { 11, 1 };
static const struct epoch SECOND = { 22, 2 };

START_TEST(a_founder_acknowledges_its_genesis)
{
    struct rig *rig = rig_new(1);
    struct ack ack;
    ck_assert(rig_last_ack(rig, &ack));
    ck_assert_uint_eq(ack.store, RIG_STORE);
    ck_assert_uint_eq(ack.tail.seq, 1);
    ck_assert(digest_equal(ack.digest, journal_tail_digest(rig->journal)));
    ck_assert(!ack.full);
    rig_free(rig);
}
END_TEST

START_TEST(acknowledged_only_once_durable)
{
    struct rig *rig = rig_new(1);
    struct leader l = rig_led(rig, FIRST);
    rig_forget(rig);
    rig->disk.hold = true;
    struct batch_bytes batch;
    leader_batch(&l, 3, 32, &batch);
    rig_hear(rig, &batch);
    rig_settle(rig);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, 5);
    ck_assert_uint_eq(rig_count(rig, WIRE_ACK), 0);
    rig->disk.hold = false;
    rig_settle(rig);
    struct ack ack;
    ck_assert(rig_last_ack(rig, &ack));
    ck_assert_uint_eq(ack.tail.seq, 5);
    ck_assert(epoch_equal(ack.tail.epoch, FIRST));
    ck_assert(epoch_equal(ack.promised, FIRST));
    ck_assert(digest_equal(ack.digest, batch.header.digest));
    ck_assert_uint_eq(ack.clock_ns, rig->now.wall_ns);
    rig_free(rig);
}
END_TEST

START_TEST(sabotage_sends_before_it_persists)
{
    struct rig *rig = rig_new(1);
    rig_crash(rig);
    rig->options.sabotage = RETRANSMITTER_SEND_BEFORE_PERSIST;
    rig_start(rig);
    struct leader l = rig_led(rig, FIRST);
    rig_forget(rig);
    rig->disk.hold = true;
    rig_batches(rig, &l, 1, 3, 32);
    struct ack ack;
    ck_assert(rig_last_ack(rig, &ack));
    ck_assert_uint_eq(ack.tail.seq, 5);
    rig_free(rig);
}
END_TEST

START_TEST(a_later_epoch_is_promised_before_it_is_recorded)
{
    struct rig *rig = rig_new(1);
    rig_forget(rig);
    rig->disk.hold = true;
    (void)rig_led(rig, FIRST);
    ck_assert_uint_eq(journal_promised(rig->journal).number, 0);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, 1);
    rig->disk.hold = false;
    rig_settle(rig);
    ck_assert(epoch_equal(journal_promised(rig->journal), FIRST));
    ck_assert_uint_eq(journal_durable(rig->journal).seq, 2);
    /* Nothing was acknowledged in the new epoch under the old promise. */
    for (uint32_t i = 0; i < rig->sent_count; i++) {
        struct ack ack;
        if (ack_decode(rig->sent[i].bytes, rig->sent[i].length, RIG_STREAM, &ack) == WIRE_OK &&
            epoch_equal(ack.tail.epoch, FIRST))
            ck_assert(epoch_equal(ack.promised, FIRST));
    }
    rig_free(rig);
}
END_TEST

START_TEST(acknowledgements_are_repeated_when_idle)
{
    struct rig *rig = rig_new(1);
    rig_forget(rig);
    rig_settle(rig);
    ck_assert_uint_eq(rig_count(rig, WIRE_ACK), 0);
    rig_pass(rig, UINT64_C(100000000));
    ck_assert_uint_eq(rig_count(rig, WIRE_ACK), 1);
    ck_assert_uint_le(rig->next_ns, rig->now.mono_ns + UINT64_C(100000000));
    rig_free(rig);
}
END_TEST

/* So that who waits is woken once for what it hears and for what it says. */
START_TEST(an_idle_acknowledgement_goes_with_a_heartbeat)
{
    struct rig *rig = rig_new(1);
    struct leader l = leader_of(rig, FIRST);
    rig_begin(rig, &l);
    rig_pass(rig, UINT64_C(10000000));
    rig_forget(rig);
    rig_heartbeat(rig, &l);
    rig_settle(rig);
    ck_assert_uint_eq(rig_count(rig, WIRE_ACK), 0); /* the last one is not old enough */
    rig_pass(rig, UINT64_C(60000000));
    ck_assert_uint_eq(rig_count(rig, WIRE_ACK), 0);
    rig_heartbeat(rig, &l);
    rig_settle(rig);
    ck_assert_uint_eq(rig_count(rig, WIRE_ACK), 1);
    rig_free(rig);
}
END_TEST

START_TEST(a_gap_is_asked_for_and_not_acknowledged)
{
    struct rig *rig = rig_new(1);
    rig_crash(rig);
    rig->options.peer_count = 1;
    rig->options.peers[0].unicast = (struct port_addr) { 0x0a00000b, 710 };
    rig_start(rig);
    struct leader l = rig_led(rig, FIRST);
    struct batch_bytes lost, next;
    leader_batch(&l, 2, 32, &lost);
    leader_batch(&l, 2, 32, &next);
    rig_forget(rig);
    rig_hear(rig, &next);
    rig_pass(rig, UINT64_C(1000000));
    const struct rig_sent *asked = rig_last(rig, WIRE_GAP_REQUEST, NULL);
    ck_assert_ptr_nonnull(asked);
    ck_assert(port_addr_equal(asked->to, rig->options.peers[0].unicast));
    struct gap_request gap;
    ck_assert_int_eq(gap_request_decode(asked->bytes, asked->length, RIG_STREAM, &gap), WIRE_OK);
    ck_assert_uint_eq(gap.first_seq, 3);
    ck_assert_uint_eq(gap.end_seq, 5);
    ck_assert_uint_eq(journal_durable(rig->journal).seq, 2);
    rig_receive(rig, PORT_UNICAST, rig->options.peers[0].unicast, lost.bytes, lost.header.length);
    rig_settle(rig);
    struct ack ack;
    ck_assert(rig_last_ack(rig, &ack));
    ck_assert_uint_eq(ack.tail.seq, 6);
    ck_assert(digest_equal(ack.digest, next.header.digest));
    rig_free(rig);
}
END_TEST

START_TEST(sabotage_ignores_the_gap)
{
    struct rig *rig = rig_new(1);
    rig_crash(rig);
    rig->options.sabotage = RETRANSMITTER_GAP_IGNORED;
    rig_start(rig);
    struct leader l = rig_led(rig, FIRST);
    struct batch_bytes lost, next;
    leader_batch(&l, 2, 32, &lost);
    leader_batch(&l, 2, 32, &next);
    rig_hear(rig, &next);
    rig_settle(rig);
    struct ack ack;
    ck_assert(rig_last_ack(rig, &ack));
    ck_assert_uint_eq(ack.tail.seq, 6);
    ck_assert_uint_eq(journal_durable(rig->journal).seq, 2);
    rig_free(rig);
}
END_TEST

START_TEST(a_restart_goes_on_where_the_journal_ends)
{
    struct rig *rig = rig_new(1);
    struct leader l = rig_led(rig, FIRST);
    rig_batches(rig, &l, 20, 5, 40);
    uint64_t tail = l.next_seq - 1;
    ck_assert_uint_eq(journal_durable(rig->journal).seq, tail);
    rig_crash(rig);
    rig_start(rig);
    ck_assert_uint_eq(rig->report.tail.seq, tail);
    struct ack ack;
    ck_assert(rig_last_ack(rig, &ack));
    ck_assert_uint_eq(ack.tail.seq, tail);
    ck_assert(epoch_equal(ack.promised, FIRST));
    rig_batches(rig, &l, 3, 5, 40);
    ck_assert(rig_last_ack(rig, &ack));
    ck_assert_uint_eq(ack.tail.seq, l.next_seq - 1);
    ck_assert(digest_equal(ack.digest, l.digest));
    rig_free(rig);
}
END_TEST

START_TEST(what_was_not_durable_is_not_missed)
{
    struct rig *rig = rig_new(1);
    struct leader l = rig_led(rig, FIRST);
    rig_batches(rig, &l, 4, 5, 40);
    struct ack before;
    ck_assert(rig_last_ack(rig, &before));
    rig->disk.hold = true;
    struct batch_bytes lost[6];
    for (int i = 0; i < 6; i++) {
        leader_batch(&l, 5, 40, &lost[i]);
        rig_hear(rig, &lost[i]);
    }
    rig_settle(rig);
    rig_crash(rig);
    rig_start(rig);
    ck_assert_uint_ge(journal_tail(rig->journal).seq, before.tail.seq);
    for (int i = 0; i < 6; i++)
        rig_hear(rig, &lost[i]);
    rig_settle(rig);
    struct ack ack;
    ck_assert(rig_last_ack(rig, &ack));
    ck_assert_uint_eq(ack.tail.seq, l.next_seq - 1);
    rig_free(rig);
}
END_TEST

START_TEST(a_fork_is_cut_at_the_common_end)
{
    struct rig *rig = rig_new(1);
    struct leader old = rig_led(rig, FIRST);
    rig_batches(rig, &old, 3, 4, 32);
    static struct leader later;
    later = leader_after(&old, SECOND); /* knows nothing of what follows */
    rig_batches(rig, &old, 5, 4, 32);
    uint64_t dead = old.next_seq - 1;
    ck_assert_uint_eq(journal_durable(rig->journal).seq, dead);
    uint64_t common = later.next_seq - 1;
    rig_begin(rig, &later);
    rig_settle(rig);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, common + 1);
    ck_assert(digest_equal(journal_tail_digest(rig->journal), later.digest));
    ck_assert(epoch_equal(journal_promised(rig->journal), SECOND));
    rig_batches(rig, &later, 10, 4, 32);
    struct ack ack;
    ck_assert(rig_last_ack(rig, &ack));
    ck_assert(epoch_equal(ack.tail.epoch, SECOND));
    ck_assert_uint_eq(ack.tail.seq, later.next_seq - 1);
    /* And after a restart it is the later history that is there. */
    rig_crash(rig);
    rig_start(rig);
    ck_assert(digest_equal(journal_tail_digest(rig->journal), later.digest));
    rig_free(rig);
}
END_TEST

START_TEST(a_cut_that_fails_is_repeated)
{
    struct rig *rig = rig_new(1);
    struct leader old = rig_led(rig, FIRST);
    static struct leader later;
    later = leader_after(&old, SECOND);
    rig_batches(rig, &old, 5, 4, 32);
    /* The promise goes through, and the disk fails from then on. */
    rig_seal(rig, SECOND, false);
    rig_settle(rig);
    ck_assert(epoch_equal(journal_promised(rig->journal), SECOND));
    rig->disk.no_writes = true;
    rig_begin(rig, &later);
    rig_settle(rig);
    struct ack ack;
    rig_pass(rig, RIG_SECOND);
    if (rig_last_ack(rig, &ack))
        ck_assert(!epoch_equal(ack.tail.epoch, SECOND));
    rig->disk.no_writes = false;
    for (int i = 0; i < 5; i++)
        rig_pass(rig, RIG_SECOND);
    ck_assert_uint_eq(journal_durable(rig->journal).seq, later.next_seq - 1);
    ck_assert(digest_equal(journal_durable_digest(rig->journal), later.digest));
    rig_free(rig);
}
END_TEST

START_TEST(a_full_disk_says_so_and_clears)
{
    struct rig *rig = rig_new(1);
    struct leader l = rig_led(rig, FIRST);
    rig->disk.no_space = true;
    struct ack ack = { 0 };
    static struct batch_bytes kept[4096];
    uint32_t n = 0;
    for (; n < 4096 && !ack.full; n++) {
        leader_batch(&l, 1, 1300, &kept[n]);
        rig_hear(rig, &kept[n]);
        rig_settle(rig);
        rig_last_ack(rig, &ack);
        rig_forget(rig);
        if (n % 64 == 63)
            rig_pass(rig, UINT64_C(5000000));
        rig_last_ack(rig, &ack);
    }
    ck_assert_msg(ack.full, "the disk never was full");
    uint64_t stuck = ack.tail.seq;
    ck_assert_uint_gt(stuck, 100);
    static struct status status;
    retransmitter_status(rig->core, rig->now, &status);
    ck_assert_str_eq(status.state, "full");
    rig_forget(rig);
    rig_pass(rig, RIG_SECOND);
    ck_assert(rig_last_ack(rig, &ack));
    ck_assert(ack.full);
    ck_assert_uint_lt(ack.tail.seq, l.next_seq + 4096);
    rig->disk.no_space = false;
    for (int i = 0; i < 5; i++)
        rig_pass(rig, RIG_SECOND);
    for (uint32_t i = 0; i < n; i++) /* as a peer would fill */
        rig_receive(rig, PORT_UNICAST, RIG_LEADER, kept[i].bytes, kept[i].header.length);
    rig_settle(rig);
    rig_heartbeat(rig, &l);
    rig_settle(rig);
    ck_assert(rig_last_ack(rig, &ack));
    ck_assert(!ack.full);
    ck_assert_uint_eq(ack.tail.seq, l.next_seq - 1);
    rig_free(rig);
}
END_TEST

START_TEST(malformed_datagrams_are_counted_and_dropped)
{
    struct rig *rig = rig_new(1);
    struct leader l = leader_of(rig, FIRST);
    struct batch_bytes batch;
    leader_begin(&l, &batch);
    uint32_t length = batch.header.length;
    rig_receive(rig, PORT_EGRESS_A, RIG_LEADER, batch.bytes, 10);
    ck_assert_uint_eq(rig_counter(rig, COUNTER_DROPPED_SHORT), 1);
    rig_receive(rig, PORT_EGRESS_A, RIG_LEADER, (const uint8_t *)"GET / HTTP/1.0\r\n\r\n", 18);
    ck_assert_uint_eq(rig_counter(rig, COUNTER_DROPPED_FOREIGN), 1);
    struct batch_bytes other = batch;
    other.bytes[8] ^= 1;
    rig_receive(rig, PORT_EGRESS_A, RIG_LEADER, other.bytes, length);
    ck_assert_uint_eq(rig_counter(rig, COUNTER_DROPPED_STREAM), 1);
    other = batch;
    other.bytes[2]++;
    rig_receive(rig, PORT_EGRESS_A, RIG_LEADER, other.bytes, length);
    ck_assert_uint_eq(rig_counter(rig, COUNTER_DROPPED_VERSION), 1);
    /* Every single bit of it flipped: nothing is recorded, nothing is promised. */
    for (uint32_t bit = 0; bit < length * 8; bit++) {
        other = batch;
        other.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        rig_receive(rig, PORT_EGRESS_A, RIG_LEADER, other.bytes, length);
    }
    ck_assert_uint_gt(rig_counter(rig, COUNTER_DROPPED_CORRUPT), 0);
    rig_settle(rig);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, 1);
    ck_assert_uint_eq(journal_promised(rig->journal).number, 0);
    /* Every type with garbage behind a good frame. */
    for (uint32_t type = 0; type < 256; type++) {
        uint8_t bytes[64];
        struct wire_writer w =
            wire_frame_begin(bytes, sizeof bytes, (enum wire_type)type, 3, RIG_STREAM);
        wire_put64(&w, UINT64_MAX);
        wire_put8(&w, (uint8_t)type);
        size_t whole = wire_frame_end(&w);
        rig_receive(rig, PORT_UNICAST, RIG_LEADER, bytes, (uint32_t)whole);
    }
    rig_settle(rig);
    rig_hear(rig, &batch);
    rig_settle(rig);
    ck_assert_uint_eq(journal_durable(rig->journal).seq, 2);
    rig_free(rig);
}
END_TEST

/* The last batch is read from disk while a leader may say more, and a restart of the follower keeps
 * what it said: what the batch says comes last, and is less. */
START_TEST(the_recorded_watermark_does_not_go_back)
{
    struct rig *rig = rig_new(1);
    struct leader l = rig_led(rig, FIRST);
    l.stable = 2;
    rig_batches(rig, &l, 10, 4, 32);
    rig_crash(rig);
    rig_start(rig);
    ck_assert_uint_eq(retransmitter_stable(rig->core), 2);
    l.stable = l.next_seq - 3;
    rig_heartbeat(rig, &l);
    rig_settle(rig);
    rig->core->restart_pending = true;
    rig_step(rig);
    ck_assert_uint_eq(rig->core->recorded_stable, l.stable);
    record_recover_stable(rig->core);
    ck_assert_uint_eq(rig->core->recorded_stable, l.stable);
    rig_free(rig);
}
END_TEST

START_TEST(draining_ends_with_everything_durable)
{
    struct rig *rig = rig_new(1);
    struct leader l = rig_led(rig, FIRST);
    rig->disk.hold = true;
    struct batch_bytes batch;
    leader_batch(&l, 3, 32, &batch);
    rig_hear(rig, &batch);
    ck_assert(!retransmitter_drain(rig->core));
    rig->disk.hold = false;
    rig_settle(rig);
    for (int i = 0; i < 100 && !retransmitter_drain(rig->core); i++)
        rig_pass(rig, UINT64_C(10000000));
    ck_assert(retransmitter_drain(rig->core));
    ck_assert_uint_eq(journal_durable(rig->journal).seq, l.next_seq - 1);
    struct batch_bytes after;
    leader_batch(&l, 3, 32, &after);
    rig_hear(rig, &after);
    rig_settle(rig);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, after.header.first_seq - 1);
    rig_free(rig);
}
END_TEST

RIG_MAIN("retransmitter_record", a_founder_acknowledges_its_genesis, acknowledged_only_once_durable,
         sabotage_sends_before_it_persists, a_later_epoch_is_promised_before_it_is_recorded,
         acknowledgements_are_repeated_when_idle, an_idle_acknowledgement_goes_with_a_heartbeat,
         a_gap_is_asked_for_and_not_acknowledged, sabotage_ignores_the_gap,
         a_restart_goes_on_where_the_journal_ends, what_was_not_durable_is_not_missed,
         a_fork_is_cut_at_the_common_end, a_cut_that_fails_is_repeated,
         a_full_disk_says_so_and_clears, malformed_datagrams_are_counted_and_dropped,
         the_recorded_watermark_does_not_go_back, draining_ends_with_everything_durable)
