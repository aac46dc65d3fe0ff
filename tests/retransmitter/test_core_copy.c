/* A new store: that it copies its history from a peer, with a leader and without one, from peers
 * that come up after it, verified and durable before it is acknowledged; that its promises harm
 * nobody; and that its status says how far it is.
 *
 * The peer is another core on another rig; the test carries the bytes of their stream. */
#include <stdio.h>
#include <stdlib.h>

#include "rig.h"

static const struct epoch FIRST = { 11, 1 };
static const struct epoch SECOND = { 22, 2 };

enum { BATCHES = 2000, AT_PEER = 1 };
static struct leader leader;

static struct rig *peer_with(uint32_t batches)
{
    struct rig *rig = rig_new(1);
    leader = rig_led(rig, FIRST);
    leader.stable = 100;
    rig_batches(rig, &leader, batches, 4, 320);
    return rig;
}

static const char *state(struct rig *rig)
{
    static struct status status;
    retransmitter_status(rig->core, rig->now, &status);
    return status.state;
}

/* The stream that the new store has opened last; 0: none is open. */
static uint32_t opened(const struct rig *rig)
{
    uint32_t stream = RIG_STREAMS_MAX / 2 + rig->stream_count - 1;
    return rig->stream_count == 0 || rig->streams[stream].closed ? 0 : stream;
}

static void carry(struct rig *from, uint32_t from_stream, struct rig *to, uint32_t to_stream,
                  size_t most)
{
    struct rig_stream *s = &from->streams[from_stream];
    size_t offered = s->length < most ? s->length : most;
    if (offered == 0)
        return;
    uint8_t *copy = malloc(offered);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, s->bytes, offered);
    size_t used = rig_event(to, PORT_STREAM_BYTES, to_stream, copy, offered);
    free(copy);
    ck_assert_uint_le(used, offered);
    memmove(s->bytes, s->bytes + used, s->length - used);
    s->length -= used;
    s->room += used;
    rig_event(from, PORT_STREAM_ROOM, from_stream, NULL, 0);
}

/* One exchange between the new store and its peer; false: nothing is open. */
static bool exchange(struct rig *rig, struct rig *peer, size_t most)
{
    uint32_t stream = opened(rig);
    if (stream == 0)
        return false;
    carry(rig, stream, peer, AT_PEER, SIZE_MAX);
    carry(peer, AT_PEER, rig, stream, most);
    return true;
}

static void connect_to(struct rig *rig, struct rig *peer)
{
    ck_assert_uint_ne(opened(rig), 0);
    rig_event(peer, PORT_STREAM_ACCEPTED, AT_PEER, NULL, 0);
    rig_event(rig, PORT_STREAM_CONNECTED, opened(rig), NULL, 0);
}

static void copy_all(struct rig *rig, struct rig *peer)
{
    for (int i = 0; i < 10000; i++) {
        if (!exchange(rig, peer, SIZE_MAX))
            break;
        rig_pass(rig, 100000);
    }
    ck_assert_uint_eq(journal_tail(rig->journal).seq, journal_tail(peer->journal).seq);
    ck_assert(digest_equal(journal_tail_digest(rig->journal), journal_tail_digest(peer->journal)));
}

START_TEST(without_a_leader)
{
    struct rig *peer = peer_with(BATCHES);
    struct rig *rig = rig_empty(1);
    ck_assert_str_eq(state(rig), "copying, 0");
    connect_to(rig, peer);
    uint64_t began = rig->now.mono_ns;
    for (int i = 0; i < 8; i++)
        exchange(rig, peer, 64 * 1024);
    uint64_t tail = journal_tail(rig->journal).seq;
    ck_assert_uint_gt(tail, 0);
    char text[64];
    snprintf(text, sizeof text, "copying, %lu", tail);
    ck_assert_str_eq(state(rig), text);
    copy_all(rig, peer);
    ck_assert_uint_lt(rig->now.mono_ns - began, RIG_SECOND); /* nothing waits for a timer */
    ck_assert_str_eq(state(rig), "copied, no leader");
    ck_assert_uint_eq(retransmitter_stable(rig->core), 100);
    /* Acknowledged is what is durable, by a store that nobody counts. */
    struct ack ack;
    ck_assert(rig_last_ack(rig, &ack));
    ck_assert_uint_eq(ack.store, RIG_STORE + 100);
    ck_assert_uint_eq(ack.tail.seq, journal_durable(rig->journal).seq);
    /* It is all there after a crash. */
    rig_crash(rig);
    rig->stream_count = 0;
    rig_start(rig);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, journal_tail(peer->journal).seq);
    rig_free(rig);
    rig_free(peer);
}
END_TEST

START_TEST(nothing_is_acknowledged_before_it_is_durable)
{
    struct rig *peer = peer_with(200);
    struct rig *rig = rig_empty(1);
    connect_to(rig, peer);
    struct ack ack;
    for (int i = 0; i < 200 && exchange(rig, peer, 20000); i++) {
        rig->disk.hold = i % 3 != 0;
        rig_pass(rig, 1000000);
        if (rig_last_ack(rig, &ack))
            ck_assert_uint_le(ack.tail.seq, journal_durable(rig->journal).seq);
    }
    rig->disk.hold = false;
    rig_pass(rig, 1000000);
    copy_all(rig, peer);
    rig_free(rig);
    rig_free(peer);
}
END_TEST

/* The first attempt finds nobody; later ones do, although no leader speaks. */
START_TEST(peers_that_come_up_later_are_found)
{
    struct rig *peer = peer_with(200);
    struct rig *rig = rig_empty(2);
    for (int i = 0; i < 10 && opened(rig) != 0; i++) {
        rig_event(rig, PORT_STREAM_CLOSED, opened(rig), NULL, 0); /* refused */
        rig->streams[RIG_STREAMS_MAX / 2 + rig->stream_count - 1].closed = true;
        rig_settle(rig);
    }
    ck_assert_uint_eq(opened(rig), 0);
    uint32_t before = rig->stream_count;
    for (int i = 0; i < 50 && opened(rig) == 0; i++)
        rig_pass(rig, RIG_SECOND / 5);
    ck_assert_uint_eq(rig->stream_count, before + 1);
    connect_to(rig, peer);
    copy_all(rig, peer);
    rig_free(rig);
    rig_free(peer);
}
END_TEST

/* What the leader says tells how much there is; the store joins the stream where the copy ends. */
START_TEST(with_a_leader)
{
    struct rig *peer = peer_with(BATCHES);
    struct rig *rig = rig_empty(1);
    connect_to(rig, peer);
    rig_heartbeat(rig, &leader);
    rig_settle(rig);
    for (int i = 0; i < 4; i++)
        exchange(rig, peer, 64 * 1024);
    char text[64];
    snprintf(text, sizeof text, "copying, %lu of %lu", journal_tail(rig->journal).seq,
             leader.next_seq - 1);
    ck_assert_str_eq(state(rig), text);
    struct batch_bytes live;
    leader_batch(&leader, 4, 100, &live);
    rig_hear(peer, &live);
    rig_settle(peer);
    rig_hear(rig, &live);
    copy_all(rig, peer);
    ck_assert_str_eq(state(rig), "recording, not a member");
    leader_batch(&leader, 4, 100, &live);
    rig_hear(rig, &live);
    rig_settle(rig);
    ck_assert_uint_eq(journal_tail(rig->journal).seq, leader.next_seq - 1);
    rig_free(rig);
    rig_free(peer);
}
END_TEST

START_TEST(a_forged_history_is_not_copied)
{
    struct rig *peer = peer_with(200);
    struct rig *rig = rig_empty(1);
    connect_to(rig, peer);
    carry(rig, opened(rig), peer, AT_PEER, SIZE_MAX);
    struct rig_stream *s = &peer->streams[AT_PEER];
    ck_assert_uint_gt(s->length, 150000);
    s->bytes[100000] ^= 1;
    uint32_t stream = opened(rig);
    for (int i = 0; i < 100 && !rig->streams[stream].closed; i++) {
        carry(peer, AT_PEER, rig, stream, SIZE_MAX);
        rig_pass(rig, 100000);
    }
    ck_assert(rig->streams[stream].closed);
    ck_assert_uint_lt(journal_tail(rig->journal).seq, journal_tail(peer->journal).seq);
    ck_assert_uint_gt(
        rig_counter(rig, COUNTER_DROPPED_CORRUPT) + rig_counter(rig, COUNTER_DROPPED_MALFORMED), 0);
    rig_free(rig);
    rig_free(peer);
}
END_TEST

START_TEST(promises_of_an_empty_store_name_nobody)
{
    struct rig *rig = rig_empty(1);
    rig_seal(rig, SECOND, false);
    rig_settle(rig);
    struct promise p;
    ck_assert(rig_last_promise(rig, &p));
    ck_assert_uint_eq(p.members.count, 0);
    ck_assert_uint_eq(p.tail.seq, 0);
    ck_assert_uint_eq(p.store, RIG_STORE + 100);
    rig_pass(rig, RIG_SECOND);
    ck_assert_uint_eq(rig_count(rig, WIRE_ACK), 0);
    rig_free(rig);
}
END_TEST

RIG_MAIN("retransmitter_copy", without_a_leader, nothing_is_acknowledged_before_it_is_durable,
         peers_that_come_up_later_are_found, with_a_leader, a_forged_history_is_not_copied,
         promises_of_an_empty_store_name_nobody)
