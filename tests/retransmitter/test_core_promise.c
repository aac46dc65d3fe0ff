/* Seals: that a promise is durable before it is answered and after all that was recorded for older
 * epochs, that it is given to one candidate of a number, survives a restart and ends recording for
 * anything older, and that probes change nothing. */
#include "rig.h"

static const struct epoch FIRST = { 11, 1 };
static const struct epoch SECOND = { 22, 2 };
static const struct epoch RIVAL = { 33, 2 };
static const struct epoch THIRD = { 44, 3 };

START_TEST(answered_when_durable)
{
    struct rig *rig = rig_new(3);
    struct leader l = rig_led(rig, FIRST);
    rig_batches(rig, &l, 3, 4, 32);
    rig_forget(rig);
    rig->now.mono_ns += 5000;
    rig->disk.hold = true;
    rig_seal(rig, SECOND, false);
    rig_settle(rig);
    ck_assert_uint_eq(rig_count(rig, WIRE_PROMISE), 0);
    rig->disk.hold = false;
    rig_settle(rig);
    struct promise p;
    ck_assert(rig_last_promise(rig, &p));
    ck_assert_uint_eq(p.store, RIG_STORE);
    ck_assert(epoch_equal(p.promised, SECOND));
    ck_assert(epoch_equal(p.asked, SECOND));
    ck_assert(!p.probe);
    ck_assert(p.proven);
    ck_assert_uint_eq(p.tail.seq, l.next_seq - 1);
    ck_assert(epoch_equal(p.tail.epoch, FIRST));
    ck_assert(digest_equal(p.digest, l.digest));
    ck_assert_uint_eq(p.oldest_seq, 1);
    ck_assert_uint_eq(p.clock_ns, rig->now.wall_ns);
    ck_assert_uint_eq(p.leader_age_ns, 5000);
    ck_assert_uint_eq(p.fetch_ip, 0x0a00000a);
    ck_assert_uint_eq(p.fetch_port, 710);
    ck_assert_uint_eq(p.stream_port, 711);
    ck_assert_uint_eq(p.members.count, 3);
    ck_assert_uint_eq(p.members.stores[1], RIG_STORE + 1);
    rig_free(rig);
}
END_TEST

/* The commit is in flight when the seal comes; more has come in behind it. The promise waits for
 * all of it and reports exactly what is durable, and nothing is recorded afterwards. */
START_TEST(a_seal_during_commits_reports_all_of_them)
{
    struct rig *rig = rig_new(1);
    struct leader l = rig_led(rig, FIRST);
    rig->disk.hold = true;
    struct batch_bytes batch;
    for (int i = 0; i < 10; i++) {
        leader_batch(&l, 4, 32, &batch);
        rig_hear(rig, &batch);
    }
    uint64_t appended = journal_tail(rig->journal).seq;
    ck_assert_uint_gt(appended, journal_durable(rig->journal).seq);
    rig_forget(rig);
    rig_seal(rig, SECOND, false);
    for (int i = 0; i < 10; i++) { /* too late */
        leader_batch(&l, 4, 32, &batch);
        rig_hear(rig, &batch);
    }
    ck_assert_uint_eq(rig_count(rig, WIRE_PROMISE), 0);
    rig->disk.hold = false;
    rig_settle(rig);
    struct promise p;
    ck_assert(rig_last_promise(rig, &p));
    ck_assert_uint_eq(p.tail.seq, appended);
    ck_assert_uint_eq(journal_durable(rig->journal).seq, appended);
    ck_assert(digest_equal(p.digest, journal_durable_digest(rig->journal)));
    rig_batches(rig, &l, 3, 4, 32);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, appended);
    rig_crash(rig);
    rig_start(rig);
    ck_assert(epoch_equal(journal_promised(rig->journal), SECOND));
    ck_assert_uint_eq(journal_tail(rig->journal).seq, appended);
    rig_batches(rig, &l, 3, 4, 32);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, appended);
    rig_free(rig);
}
END_TEST

START_TEST(sabotage_records_stale_batches)
{
    struct rig *rig = rig_new(1);
    rig_crash(rig);
    rig->options.sabotage = RETRANSMITTER_RECORD_STALE;
    rig_start(rig);
    struct leader l = rig_led(rig, FIRST);
    rig_seal(rig, SECOND, false);
    rig_settle(rig);
    rig_batches(rig, &l, 3, 4, 32);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, l.next_seq - 1);
    rig_free(rig);
}
END_TEST

START_TEST(one_candidate_of_a_number)
{
    struct rig *rig = rig_new(1);
    rig_seal(rig, SECOND, false);
    rig_settle(rig);
    rig_forget(rig);
    rig_seal(rig, RIVAL, false);
    rig_settle(rig);
    struct promise p;
    ck_assert(rig_last_promise(rig, &p));
    ck_assert(epoch_equal(p.promised, SECOND));
    ck_assert(epoch_equal(p.asked, RIVAL));
    rig_forget(rig);
    rig_seal(rig, FIRST, false);
    rig_settle(rig);
    ck_assert(rig_last_promise(rig, &p));
    ck_assert(epoch_equal(p.promised, SECOND));
    ck_assert(epoch_equal(p.asked, FIRST));
    /* Answered again to the one that has it, also after a restart. */
    rig_crash(rig);
    rig_start(rig);
    rig_seal(rig, RIVAL, false);
    rig_settle(rig);
    ck_assert(rig_last_promise(rig, &p));
    ck_assert(epoch_equal(p.promised, SECOND));
    rig_forget(rig);
    rig_seal(rig, SECOND, false);
    rig_settle(rig);
    ck_assert(rig_last_promise(rig, &p));
    ck_assert(epoch_equal(p.promised, SECOND));
    ck_assert(epoch_equal(p.asked, SECOND));
    rig_free(rig);
}
END_TEST

START_TEST(the_rival_of_a_promise_is_not_recorded)
{
    struct rig *rig = rig_new(1);
    struct leader rival = leader_of(rig, RIVAL);
    rig_seal(rig, SECOND, false);
    rig_settle(rig);
    rig_begin(rig, &rival);
    rig_settle(rig);
    rig_heartbeat(rig, &rival);
    rig_settle(rig);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, 1);
    ck_assert(epoch_equal(journal_promised(rig->journal), SECOND));
    ck_assert_uint_ge(rig_counter(rig, COUNTER_STALE_IN), 2);
    rig_free(rig);
}
END_TEST

static void write_frame(uint8_t *out, size_t *length, enum replay_type type, const void *body,
                        size_t size)
{
    size_t n = replay_frame_encode(type, body, size, out + *length, 8192 - *length);
    ck_assert_uint_gt(n, 0);
    *length += n;
}

/* The same over a replay, whose vouches only the follower sees. */
START_TEST(the_rival_of_a_promise_is_not_copied)
{
    struct rig *rig = rig_new(1);
    struct leader rival = leader_of(rig, RIVAL);
    rig_seal(rig, SECOND, false);
    rig_settle(rig);
    rig_crash(rig);
    rig->options.peer_count = 1;
    rig->options.peers[0].unicast = (struct port_addr) { 0x0a00000b, 710 };
    rig->options.peers[0].stream = (struct port_addr) { 0x0a00000b, 711 };
    rig_start(rig);
    ck_assert_uint_ge(rig->stream_count, 1); /* it looks for more at once */
    uint32_t stream = RIG_STREAMS_MAX / 2 + rig->stream_count - 1;
    rig_event(rig, PORT_STREAM_CONNECTED, stream, NULL, 0);
    ck_assert_uint_gt(rig->streams[stream].length, 0);
    struct batch_bytes record;
    leader_begin(&rival, &record);
    struct heartbeat vouch = { .epoch = RIVAL,
                               .next_seq = rival.next_seq,
                               .digest = rival.digest,
                               .epoch_first_seq = rival.epoch_first_seq };
    uint8_t bytes[8192], body[SIGNAL_SIZE_MAX];
    size_t length = 0, size = heartbeat_encode(&vouch, RIG_STREAM, body, sizeof body);
    write_frame(bytes, &length, REPLAY_BATCH, record.bytes, record.header.length);
    write_frame(bytes, &length, REPLAY_VOUCH, body, size);
    rig_event(rig, PORT_STREAM_BYTES, stream, bytes, length);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, 1);
    ck_assert(epoch_equal(journal_promised(rig->journal), SECOND));
    /* The candidate that has the promise is followed all the same, and so is a later one. */
    static struct leader l;
    l = leader_of(rig, SECOND);
    rig_begin(rig, &l);
    rig_settle(rig);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, 2);
    ck_assert(digest_equal(journal_tail_digest(rig->journal), l.digest));
    rig_free(rig);
}
END_TEST

START_TEST(sabotage_forgets_its_promise)
{
    struct rig *rig = rig_new(1);
    rig_crash(rig);
    rig->options.sabotage = RETRANSMITTER_VOLATILE_PROMISE;
    rig_start(rig);
    rig->disk.hold = true;
    rig_seal(rig, SECOND, false);
    struct promise p;
    ck_assert(rig_last_promise(rig, &p));
    ck_assert(epoch_equal(p.promised, SECOND));
    rig_crash(rig);
    rig_start(rig);
    rig_seal(rig, RIVAL, false);
    rig_settle(rig);
    ck_assert(rig_last_promise(rig, &p));
    ck_assert(epoch_equal(p.promised, RIVAL));
    rig_free(rig);
}
END_TEST

START_TEST(a_probe_changes_nothing)
{
    struct rig *rig = rig_new(1);
    struct leader l = rig_led(rig, FIRST);
    rig_forget(rig);
    rig_seal(rig, THIRD, true);
    rig_settle(rig);
    struct promise p;
    ck_assert(rig_last_promise(rig, &p));
    ck_assert(p.probe);
    ck_assert(epoch_equal(p.promised, FIRST)); /* what stands: the third would be admitted */
    ck_assert(epoch_equal(p.asked, THIRD));
    ck_assert(epoch_equal(journal_promised(rig->journal), FIRST));
    rig_batches(rig, &l, 2, 4, 32);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, l.next_seq - 1);
    rig_seal(rig, THIRD, false);
    rig_settle(rig);
    rig_forget(rig);
    rig_seal(rig, SECOND, true);
    rig_settle(rig);
    ck_assert(rig_last_promise(rig, &p));
    ck_assert(epoch_equal(p.promised, THIRD));
    rig_free(rig);
}
END_TEST

START_TEST(a_higher_seal_takes_over)
{
    struct rig *rig = rig_new(1);
    rig_forget(rig);
    rig->disk.hold = true;
    rig_seal(rig, SECOND, false);
    rig_seal(rig, RIVAL, false); /* nothing stands yet that it could be told */
    rig_seal(rig, THIRD, false);
    ck_assert_uint_eq(rig_count(rig, WIRE_PROMISE), 0);
    rig->disk.hold = false;
    rig_settle(rig);
    ck_assert(epoch_equal(journal_promised(rig->journal), THIRD));
    struct promise p;
    uint32_t count;
    (void)rig_last(rig, WIRE_PROMISE, &count);
    ck_assert(rig_last_promise(rig, &p));
    ck_assert_uint_eq(count, 1);
    ck_assert(epoch_equal(p.promised, THIRD));
    rig_free(rig);
}
END_TEST

START_TEST(an_epoch_heard_is_promised_to)
{
    struct rig *rig = rig_new(1);
    (void)rig_led(rig, SECOND);
    rig_forget(rig);
    rig_seal(rig, RIVAL, false);
    rig_settle(rig);
    struct promise p;
    ck_assert(rig_last_promise(rig, &p));
    ck_assert(epoch_equal(p.promised, SECOND));
    rig_free(rig);
}
END_TEST

/* Found by the model (cut-after-promise): a batch of a later epoch shows a fork, and while that epoch's
 * promise is being written a seal for a still later one arrives. What is then reported is what is kept. */
START_TEST(the_tail_that_is_promised_is_not_cut)
{
    struct rig *rig = rig_new(1);
    struct leader first = leader_of(rig, FIRST);
    rig_begin(rig, &first);
    struct leader second = leader_after(&first, SECOND); /* continues what is there now */
    rig_batches(rig, &first, 4, 3, 32);                  /* and this is not on its history */
    rig_settle(rig);
    uint64_t tail = journal_tail(rig->journal).seq;
    rig->disk.hold = true;
    rig_begin(rig, &second);
    rig_seal(rig, THIRD, false);
    rig_forget(rig);
    rig->disk.hold = false;
    rig_settle(rig);
    struct promise p;
    ck_assert(rig_last_promise(rig, &p));
    ck_assert(epoch_equal(p.promised, THIRD));
    ck_assert_uint_eq(p.tail.seq, journal_tail(rig->journal).seq);
    ck_assert(digest_equal(p.digest, journal_tail_digest(rig->journal)));
    ck_assert_uint_eq(journal_tail(rig->journal).seq, tail);
    rig_free(rig);
}
END_TEST

/* A heartbeat of a later epoch is enough to end recording for the older one. */
START_TEST(a_heartbeat_fences)
{
    struct rig *rig = rig_new(1);
    struct leader l = rig_led(rig, FIRST);
    static struct leader later;
    later = leader_after(&l, SECOND);
    struct batch_bytes record;
    leader_begin(&later, &record);
    rig_heartbeat(rig, &later);
    rig_settle(rig);
    ck_assert(epoch_equal(journal_promised(rig->journal), SECOND));
    uint64_t tail = journal_tail(rig->journal).seq;
    rig_batches(rig, &l, 3, 4, 32);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, tail);
    rig_hear(rig, &record);
    rig_settle(rig);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, tail + 1);
    ck_assert(digest_equal(journal_tail_digest(rig->journal), later.digest));
    rig_free(rig);
}
END_TEST

START_TEST(leader_never_heard)
{
    struct rig *rig = rig_new(1);
    rig_seal(rig, FIRST, true);
    struct promise p;
    ck_assert(rig_last_promise(rig, &p));
    ck_assert_uint_eq(p.leader_age_ns, UINT64_MAX);
    rig_free(rig);
}
END_TEST

RIG_MAIN("retransmitter_promise", answered_when_durable, a_seal_during_commits_reports_all_of_them,
         sabotage_records_stale_batches, one_candidate_of_a_number,
         the_rival_of_a_promise_is_not_recorded, the_rival_of_a_promise_is_not_copied,
         sabotage_forgets_its_promise, a_probe_changes_nothing, a_higher_seal_takes_over,
         an_epoch_heard_is_promised_to, the_tail_that_is_promised_is_not_cut, a_heartbeat_fences,
         leader_never_heard)
