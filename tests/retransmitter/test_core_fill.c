/* Gap requests of others: that the original bytes go out, from memory and from disk, no more of
 * them than a request and a requester may have, once by multicast where many ask; and that what may
 * not be served is refused with the reason and the range that could be. */
#include "rig.h"

static const struct epoch FIRST = { 11, 1 };
static const struct epoch SECOND = { 22, 2 };
static const struct port_addr ALICE = { 0x0a000010, 801 };
static const struct port_addr BOB = { 0x0a000011, 802 };
static const struct port_addr CAROL = { 0x0a000012, 803 };
static const struct port_addr DAVE = { 0x0a000013, 804 };

/* A store with this many batches of the first epoch, of 4 messages each. */
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

/* Checks that what was sent to `to` are whole batches in order from first_seq on; returns the first
 * seq that was not sent. */
static uint64_t sent_through(const struct rig *rig, enum port_channel channel, struct port_addr to,
                             uint64_t first_seq)
{
    uint64_t next = first_seq;
    for (uint32_t i = 0; i < rig->sent_count; i++) {
        const struct rig_sent *s = &rig->sent[i];
        struct batch_header header;
        if (s->channel != channel || (channel == PORT_UNICAST && !port_addr_equal(s->to, to)) ||
            batch_verify(s->bytes, s->length, RIG_STREAM, &header) != WIRE_OK)
            continue;
        ck_assert_uint_le(header.first_seq, next);
        ck_assert_uint_gt(batch_end_seq(&header), next);
        next = batch_end_seq(&header);
    }
    return next;
}

START_TEST(from_memory)
{
    struct leader l;
    struct rig *rig = filled(&l, 20, 32);
    rig_ask(rig, ALICE, FIRST, 3, 23);
    rig_settle(rig);
    ck_assert_uint_eq(sent_through(rig, PORT_UNICAST, ALICE, 3), 23);
    ck_assert_uint_eq(rig_count(rig, WIRE_GAP_REFUSAL), 0);
    ck_assert_uint_eq(rig_counter(rig, COUNTER_FILLS_OUT), 5);
    ck_assert_uint_eq(rig_counter(rig, COUNTER_GAP_REQUESTS_IN), 1);
    rig_free(rig);
}
END_TEST

/* More than the journal keeps in memory: the beginning comes from disk. */
START_TEST(from_disk)
{
    struct leader l;
    struct rig *rig = filled(&l, 400, 300);
    uint32_t length;
    ck_assert_ptr_null(journal_recent(rig->journal, 2, &length));
    rig->disk.hold = true;
    rig_ask(rig, ALICE, FIRST, 2, 60);
    ck_assert_uint_eq(sent_through(rig, PORT_UNICAST, ALICE, 2), 2);
    rig->disk.hold = false;
    rig_settle(rig);
    ck_assert_uint_ge(sent_through(rig, PORT_UNICAST, ALICE, 2), 60);
    /* Four at a time; the fifth hears that it is busy, and all slots are free again afterwards. */
    for (int round = 0; round < 3; round++) {
        rig_forget(rig);
        rig->disk.hold = true;
        for (uint16_t i = 0; i < 5; i++) {
            struct port_addr from = { 0x0a000020, (uint16_t)(900 + i) };
            rig_ask(rig, from, FIRST, 100 + 40u * i, 120 + 40u * i);
        }
        struct gap_refusal refusal;
        ck_assert(rig_last_refusal(rig, &refusal));
        ck_assert_int_eq(refusal.reason, GAP_BUSY);
        rig->disk.hold = false;
        rig_pass(rig, 2000000);
        ck_assert_uint_eq(rig_count(rig, WIRE_GAP_REFUSAL), 1);
        for (uint16_t i = 0; i < 4; i++) {
            struct port_addr from = { 0x0a000020, (uint16_t)(900 + i) };
            ck_assert_uint_ge(sent_through(rig, PORT_UNICAST, from, 100 + 40u * i), 120 + 40u * i);
        }
    }
    rig_free(rig);
}
END_TEST

START_TEST(capped_per_request)
{
    struct leader l;
    struct rig *rig = filled(&l, 100, 32);
    rig_ask(rig, ALICE, FIRST, 3, l.next_seq);
    rig_settle(rig);
    ck_assert_uint_eq(rig_count(rig, WIRE_BATCH), 64);
    ck_assert_uint_eq(sent_through(rig, PORT_UNICAST, ALICE, 3), 3 + 64 * 4);
    rig_free(rig);
}
END_TEST

START_TEST(capped_per_requester)
{
    struct rig *rig = rig_new(1);
    rig_crash(rig);
    rig->options.fill_rate_bytes = 100000;
    rig->options.fill_batches_max = 4;
    rig_start(rig);
    struct leader l = rig_led(rig, FIRST);
    rig_batches(rig, &l, 10, 4, 300);
    rig_forget(rig);
    struct gap_refusal refusal;
    uint32_t asked = 0;
    while (!rig_last_refusal(rig, &refusal) && asked++ < 100)
        rig_ask(rig, ALICE, FIRST, 3, 15);
    ck_assert_uint_lt(asked, 10);
    ck_assert_int_eq(refusal.reason, GAP_BUSY);
    ck_assert_uint_eq(refusal.first_seq, 3);
    ck_assert_uint_eq(refusal.nonce, ALICE.port);
    /* Others are not affected. */
    rig_forget(rig);
    rig_pass(rig, 2000000);
    rig_ask(rig, BOB, FIRST, 3, 15);
    ck_assert_uint_eq(sent_through(rig, PORT_UNICAST, BOB, 3), 15);
    /* And it is served again after a while. */
    rig_forget(rig);
    rig_pass(rig, RIG_SECOND);
    rig_ask(rig, ALICE, FIRST, 3, 15);
    ck_assert_uint_eq(sent_through(rig, PORT_UNICAST, ALICE, 3), 15);
    rig_free(rig);
}
END_TEST

START_TEST(requesters_are_forgotten_oldest_first)
{
    struct rig *rig = rig_new(1);
    rig_crash(rig);
    rig->options.requesters_max = 8;
    rig_start(rig);
    struct leader l = rig_led(rig, FIRST);
    rig_batches(rig, &l, 10, 4, 32);
    for (uint16_t i = 0; i < 1000; i++) {
        struct port_addr from = { 0x0a000100u + i % 37, (uint16_t)(1 + i % 101) };
        rig_forget(rig);
        rig_pass(rig, 2000000);
        rig_ask(rig, from, FIRST, 3, 11);
        ck_assert_uint_eq(sent_through(rig, PORT_UNICAST, from, 3), 11);
    }
    rig_free(rig);
}
END_TEST

START_TEST(multicast_once_for_many)
{
    struct leader l;
    struct rig *rig = filled(&l, 20, 32);
    rig_ask(rig, ALICE, FIRST, 3, 11);
    rig_ask(rig, ALICE, FIRST, 3, 11); /* the same one again counts once */
    rig_ask(rig, BOB, FIRST, 3, 15);
    ck_assert_uint_eq(sent_through(rig, PORT_EGRESS_A, ALICE, 3), 3);
    rig_forget(rig);
    rig_ask(rig, CAROL, FIRST, 3, 15);
    ck_assert_uint_eq(sent_through(rig, PORT_EGRESS_A, CAROL, 3), 15);
    ck_assert_uint_eq(sent_through(rig, PORT_UNICAST, CAROL, 3), 3);
    ck_assert_uint_eq(rig_counter(rig, COUNTER_FILLS_MULTICAST), 3);
    rig_forget(rig);
    rig_ask(rig, DAVE, FIRST, 7, 11); /* has just been sent to all */
    ck_assert_uint_eq(rig->sent_count, 0);
    rig_ask(rig, DAVE, FIRST, 15, 19); /* has not */
    ck_assert_uint_eq(sent_through(rig, PORT_UNICAST, DAVE, 15), 19);
    rig_pass(rig, 1000000);
    rig_forget(rig);
    rig_ask(rig, DAVE, FIRST, 7, 11);
    ck_assert_uint_eq(sent_through(rig, PORT_UNICAST, DAVE, 7), 11);
    rig_free(rig);
}
END_TEST

/* Only what went out counts as sent to all: no more than a request may have, and nothing of what
 * could not be read. */
START_TEST(multicast_covers_what_was_sent)
{
    struct leader l;
    struct rig *rig = filled(&l, 100, 32);
    uint64_t sent_end = 3 + 64 * 4;
    rig_ask(rig, ALICE, FIRST, 3, l.next_seq);
    rig_ask(rig, BOB, FIRST, 3, l.next_seq);
    rig_ask(rig, CAROL, FIRST, 3, l.next_seq);
    ck_assert_uint_eq(sent_through(rig, PORT_EGRESS_A, CAROL, 3), sent_end);
    rig_forget(rig);
    rig_ask(rig, CAROL, FIRST, sent_end, sent_end + 8);
    ck_assert_uint_eq(sent_through(rig, PORT_UNICAST, CAROL, sent_end), sent_end + 8);
    rig_forget(rig);
    rig_ask(rig, DAVE, FIRST, sent_end - 8, sent_end);
    ck_assert_uint_eq(rig->sent_count, 0);
    rig_free(rig);
}
END_TEST

START_TEST(a_multicast_that_was_refused_is_none)
{
    struct leader l;
    struct rig *rig = filled(&l, 400, 300);
    rig->disk.hold = true;
    /* Two slots read for others, two for those who ask the same; the third finds none free. */
    rig_ask(rig, (struct port_addr) { 0x0a000020, 900 }, FIRST, 200, 204);
    rig_ask(rig, (struct port_addr) { 0x0a000020, 901 }, FIRST, 300, 304);
    rig_ask(rig, ALICE, FIRST, 2, 10);
    rig_ask(rig, BOB, FIRST, 2, 10);
    rig_forget(rig);
    rig_ask(rig, CAROL, FIRST, 2, 10);
    struct gap_refusal refusal;
    ck_assert(rig_last_refusal(rig, &refusal));
    ck_assert_int_eq(refusal.reason, GAP_BUSY);
    rig->disk.hold = false;
    rig_settle(rig);
    rig_forget(rig);
    rig_ask(rig, DAVE, FIRST, 2, 10); /* it is the third now */
    rig_settle(rig);
    ck_assert_uint_ge(sent_through(rig, PORT_EGRESS_A, DAVE, 2), 10);
    rig_free(rig);
}
END_TEST

START_TEST(refused_beyond_the_tail)
{
    struct leader l;
    struct rig *rig = filled(&l, 5, 32);
    uint64_t end = l.next_seq;
    struct gap_refusal refusal;
    rig_ask(rig, ALICE, FIRST, end, end + 10);
    ck_assert(rig_last_refusal(rig, &refusal));
    ck_assert_int_eq(refusal.reason, GAP_NOT_YET);
    ck_assert_uint_eq(refusal.first_seq, end);
    ck_assert_uint_eq(refusal.oldest_seq, 1);
    ck_assert_uint_eq(refusal.end_seq, end);
    /* Partly there: that part, and the refusal. */
    rig_forget(rig);
    rig_ask(rig, BOB, FIRST, end - 4, end + 10);
    ck_assert_uint_eq(sent_through(rig, PORT_UNICAST, BOB, end - 4), end);
    ck_assert(rig_last_refusal(rig, &refusal));
    ck_assert_int_eq(refusal.reason, GAP_NOT_YET);
    ck_assert_uint_eq(rig_counter(rig, COUNTER_GAP_REFUSED), 2);
    rig_free(rig);
}
END_TEST

/* While a candidate's promise stands and its leader was not heard, what is recorded may be dead: it
 * is for that candidate alone, which has to adopt it. */
START_TEST(only_the_candidate_while_a_promise_stands)
{
    struct leader l;
    struct rig *rig = filled(&l, 10, 32);
    rig_seal(rig, SECOND, false);
    rig_settle(rig);
    struct gap_refusal refusal;
    rig_ask(rig, ALICE, FIRST, 3, 11);
    rig_settle(rig);
    ck_assert(rig_last_refusal(rig, &refusal));
    ck_assert_int_eq(refusal.reason, GAP_NOT_YET);
    ck_assert_uint_eq(rig_count(rig, WIRE_BATCH), 0);
    rig_forget(rig);
    rig_ask(rig, BOB, SECOND, 3, l.next_seq);
    rig_settle(rig);
    ck_assert_uint_eq(sent_through(rig, PORT_UNICAST, BOB, 3), l.next_seq);
    /* Its leader vouches for part of it: that part, for everybody. */
    static struct leader later;
    later = leader_after(&l, SECOND);
    rig_begin(rig, &later);
    rig_settle(rig);
    rig_forget(rig);
    rig_pass(rig, 2000000);
    rig_ask(rig, ALICE, FIRST, 3, later.next_seq);
    ck_assert_uint_eq(sent_through(rig, PORT_UNICAST, ALICE, 3), later.next_seq);
    rig_free(rig);
}
END_TEST

START_TEST(served_after_a_restart)
{
    struct leader l;
    struct rig *rig = filled(&l, 10, 32);
    rig_crash(rig);
    rig_start(rig);
    rig_ask(rig, ALICE, FIRST, 3, l.next_seq);
    rig_settle(rig);
    ck_assert_uint_eq(sent_through(rig, PORT_UNICAST, ALICE, 3), l.next_seq);
    rig_free(rig);
}
END_TEST

/* History of a time when datagrams could be larger: what fits is sent, from memory and from disk,
 * and the rest is left to a replay. */
START_TEST(no_fill_is_larger_than_a_datagram)
{
    struct leader l;
    struct rig *rig = filled(&l, 400, 300);
    uint64_t large_end = l.next_seq;
    rig_batches(rig, &l, 4, 4, 32);
    rig_crash(rig);
    rig->options.datagram_max = 600;
    rig->port.datagram_max = 600;
    rig_start(rig);
    rig_forget(rig);
    uint32_t length;
    ck_assert_ptr_null(journal_recent(rig->journal, 3, &length));
    ck_assert_ptr_nonnull(journal_recent(rig->journal, large_end - 4, &length));
    ck_assert_uint_gt(length, 600);
    rig_ask(rig, ALICE, FIRST, 3, 11);
    rig_ask(rig, BOB, FIRST, large_end - 4, l.next_seq);
    rig_settle(rig);
    ck_assert_uint_eq(rig_count(rig, WIRE_BATCH), 0);
    rig_pass(rig, 2000000);
    rig_ask(rig, CAROL, FIRST, large_end, l.next_seq);
    rig_settle(rig);
    ck_assert_uint_eq(sent_through(rig, PORT_UNICAST, CAROL, large_end), l.next_seq);
    for (uint32_t i = 0; i < rig->sent_count; i++)
        ck_assert_uint_le(rig->sent[i].length, 600);
    rig_free(rig);
}
END_TEST

START_TEST(a_flood_of_requests_is_bounded)
{
    struct leader l;
    struct rig *rig = filled(&l, 100, 32);
    /* All in one go, so that no step comes between. */
    static uint8_t bytes[400][SIGNAL_SIZE_MAX];
    static struct port_datagram d[400];
    for (uint16_t i = 0; i < 400; i++) {
        struct gap_request g = { FIRST, 3, l.next_seq, i };
        size_t length = gap_request_encode(&g, RIG_STREAM, bytes[i], SIGNAL_SIZE_MAX);
        d[i] = (struct port_datagram) {
            bytes[i], (uint32_t)length, { 0x0a010000u + i, 9 }, PORT_UNICAST
        };
    }
    retransmitter_participant.on_datagrams(rig->core, d, 400, rig->now);
    rig_step(rig);
    ck_assert_uint_le(rig_count(rig, WIRE_BATCH), 256 + 64);
    ck_assert_uint_ge(rig_count(rig, WIRE_GAP_REFUSAL), 144);
    rig_settle(rig);
    /* Two got it by unicast, the third request was answered to all. */
    ck_assert_uint_eq(rig_count(rig, WIRE_BATCH), 3 * 64);
    rig_free(rig);
}
END_TEST

RIG_MAIN("retransmitter_fill", from_memory, from_disk, capped_per_request, capped_per_requester,
         requesters_are_forgotten_oldest_first, multicast_once_for_many,
         multicast_covers_what_was_sent, a_multicast_that_was_refused_is_none,
         refused_beyond_the_tail, only_the_candidate_while_a_promise_stands, served_after_a_restart,
         no_fill_is_larger_than_a_datagram, a_flood_of_requests_is_bounded)
