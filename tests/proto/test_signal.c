/* Goal: every small datagram comes back field by field, has the size that docs/wire.md states, and
 * is refused when cut, damaged, out of range or without room. */
#include "proto/signal.h"
#include "tests/proto/suite.h"

#define DECODER(type)                                                                              \
    static enum wire_verdict type##_any(const uint8_t *bytes, size_t length)                       \
    {                                                                                              \
        struct type out;                                                                           \
        return type##_decode(bytes, length, SUITE_STREAM, &out);                                   \
    }
DECODER(heartbeat)
DECODER(gap_request)
DECODER(gap_refusal)
DECODER(ack)
DECODER(recall)
DECODER(seal)
DECODER(promise)
DECODER(join)
DECODER(create)
DECODER(hint)

/* Encodes into exactly the room it needs, decodes, and attacks it. */
#define ROUND_TRIP(type, in, out, body)                                                            \
    do {                                                                                           \
        uint8_t made[SIGNAL_SIZE_MAX];                                                             \
        size_t length = type##_encode(&(in), SUITE_STREAM, made, sizeof made);                     \
        ck_assert_uint_eq(length, WIRE_FRAME_SIZE + (body));                                       \
        for (size_t room = 0; room < length; room++)                                               \
            ck_assert_uint_eq(type##_encode(&(in), SUITE_STREAM, made, room), 0);                  \
        ck_assert_uint_eq(type##_encode(&(in), SUITE_STREAM, made, length), length);               \
        ck_assert_int_eq(type##_decode(made, length, SUITE_STREAM, &(out)), WIRE_OK);              \
        suite_attack(made, length, type##_any);                                                    \
    } while (0)

#define REFUSED(type, in)                                                                          \
    do {                                                                                           \
        uint8_t room[SIGNAL_SIZE_MAX];                                                             \
        ck_assert_uint_eq(type##_encode(&(in), SUITE_STREAM, room, sizeof room), 0);               \
    } while (0)

/* Replaces one byte of the body, with a checksum that is right again. */
static size_t forge(uint8_t *bytes, size_t length, size_t at, uint8_t value)
{
    bytes[WIRE_FRAME_SIZE + at] = value;
    struct wire_writer w = wire_frame_begin(bytes, length, (enum wire_type)bytes[3],
                                            wire_load16(bytes + 6), SUITE_STREAM);
    w.at = bytes + length;
    return wire_frame_end(&w);
}

START_TEST(heartbeats)
{
    struct heartbeat in = { { 9, 2 }, 100, { 3, 4 }, 90, 12345, 50 };
    struct heartbeat out;
    ROUND_TRIP(heartbeat, in, out, 60);
    ck_assert(epoch_equal(in.epoch, out.epoch) && digest_equal(in.digest, out.digest));
    ck_assert_uint_eq(out.next_seq, 100);
    ck_assert_uint_eq(out.stable, 90);
    ck_assert_uint_eq(out.time_ns, 12345);
    ck_assert_uint_eq(out.epoch_first_seq, 50);
    in.next_seq = 20; /* vouches for a replay of what came before its epoch */
    ROUND_TRIP(heartbeat, in, out, 60);
    in.next_seq = 0;
    REFUSED(heartbeat, in);
    in.next_seq = 1;
    in.epoch_first_seq = 0;
    REFUSED(heartbeat, in);
}
END_TEST

START_TEST(gap_requests)
{
    struct gap_request in = { { 9, 2 }, 100, 101, 5 };
    struct gap_request out;
    ROUND_TRIP(gap_request, in, out, 36);
    ck_assert(epoch_equal(in.epoch, out.epoch));
    ck_assert_uint_eq(out.first_seq, 100);
    ck_assert_uint_eq(out.end_seq, 101);
    ck_assert_uint_eq(out.nonce, 5);
    in.end_seq = 100;
    REFUSED(gap_request, in);
    in.first_seq = 0;
    REFUSED(gap_request, in);
}
END_TEST

START_TEST(gap_refusals)
{
    struct gap_refusal in = { GAP_NOT_YET, 100, 1, 90, 5 };
    struct gap_refusal out;
    ROUND_TRIP(gap_refusal, in, out, 33);
    ck_assert_int_eq(out.reason, GAP_NOT_YET);
    ck_assert_uint_eq(out.first_seq, 100);
    ck_assert_uint_eq(out.oldest_seq, 1);
    ck_assert_uint_eq(out.end_seq, 90);
    ck_assert_uint_eq(out.nonce, 5);
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = gap_refusal_encode(&in, SUITE_STREAM, bytes, sizeof bytes);
    ck_assert_uint_eq(forge(bytes, length, 0, GAP_BUSY), length);
    ck_assert_int_eq(gap_refusal_any(bytes, length), WIRE_OK);
    forge(bytes, length, 0, GAP_BUSY + 1);
    ck_assert_int_eq(gap_refusal_any(bytes, length), WIRE_MALFORMED);
    forge(bytes, length, 0, 0);
    ck_assert_int_eq(gap_refusal_any(bytes, length), WIRE_MALFORMED);
}
END_TEST

static const struct word WORD = { { 6, 3 }, { { 5, 2 }, 44 } };

static bool word_equal(const struct word *a, const struct word *b)
{
    return epoch_equal(a->promised, b->promised) && position_compare(a->tail, b->tail) == 0;
}

START_TEST(recalls)
{
    struct recall in = { 7, 11, { 9, 2 }, WORD };
    struct recall out;
    ROUND_TRIP(recall, in, out, 60);
    ck_assert(out.store == 7 && out.run == 11 && epoch_equal(in.epoch, out.epoch));
    ck_assert(word_equal(&in.said, &out.said));
    in.store = 0;
    REFUSED(recall, in);
}
END_TEST

/* A promise only rises, whoever the candidate. What is of the promised epoch is never cut; what is
 * older may be. */
START_TEST(words_that_forget)
{
    const struct word said = { { 1, 3 }, { { 1, 3 }, 50 } }; /* epochs: candidate, number */
    const struct {
        struct word now;
        bool forgets;
    } cases[] = {
        { said, false },
        { { { 1, 3 }, { { 1, 3 }, 51 } }, false },
        { { { 1, 3 }, { { 1, 3 }, 49 } }, true },
        { { { 1, 3 }, { { 1, 2 }, 60 } }, true },
        { { { 1, 2 }, { { 1, 2 }, 60 } }, true },  /* an older promise */
        { { { 2, 3 }, { { 1, 3 }, 50 } }, true },  /* the same number, to another */
        { { { 2, 4 }, { { 1, 2 }, 10 } }, false }, /* cut, for a later one */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_int_eq(word_forgets(&said, &cases[i].now), cases[i].forgets);
    const struct word promised = { { 1, 3 }, { { 1, 2 }, 50 } };
    const struct word cut = { { 1, 3 }, { { 1, 2 }, 40 } };
    ck_assert(!word_forgets(&promised, &cut));
}
END_TEST

START_TEST(acks)
{
    struct ack in = { 7, { 11, WORD }, true, { 9, 2 }, { { 8, 1 }, 55 }, { 3, 4 }, 999, true };
    struct ack out;
    ROUND_TRIP(ack, in, out, 106);
    ck_assert_uint_eq(out.run.id, 11);
    ck_assert(out.settled && word_equal(&out.run.base, &in.run.base));
    ck_assert_uint_eq(out.store, 7);
    ck_assert(epoch_equal(in.promised, out.promised) && digest_equal(in.digest, out.digest));
    ck_assert_int_eq(position_compare(in.tail, out.tail), 0);
    ck_assert_uint_eq(out.clock_ns, 999);
    ck_assert(out.full);
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = ack_encode(&in, SUITE_STREAM, bytes, sizeof bytes);
    forge(bytes, length, 105, 2);
    ck_assert_int_eq(ack_any(bytes, length), WIRE_MALFORMED);
    in.store = 0;
    REFUSED(ack, in);
}
END_TEST

START_TEST(seals)
{
    struct seal in = { { 9, 2 }, true };
    struct seal out;
    ROUND_TRIP(seal, in, out, 13);
    ck_assert(epoch_equal(in.epoch, out.epoch) && out.probe);
    in.probe = false;
    ROUND_TRIP(seal, in, out, 13);
    ck_assert(!out.probe);
}
END_TEST

static struct promise a_promise(void)
{
    struct promise p = { .store = 7,
                         .run = { 11, WORD },
                         .promised = { 9, 2 },
                         .asked = { 10, 3 },
                         .probe = true,
                         .proven = true,
                         .tail = { { 8, 1 }, 55 },
                         .digest = { 3, 4 },
                         .oldest_seq = 2,
                         .clock_ns = 999,
                         .leader_age_ns = UINT64_MAX,
                         .fetch_ip = 0x7f000001,
                         .fetch_port = 4000,
                         .stream_port = 4001,
                         .members = { .seq = 3, .quorum = 2, .count = MEMBERS_MAX } };
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        p.members.stores[i] = 100 + i;
    return p;
}

START_TEST(promises)
{
    struct promise in = a_promise();
    struct promise out;
    ROUND_TRIP(promise, in, out, 142 + 13 + 8 * MEMBERS_MAX);
    ck_assert_uint_eq(out.store, 7);
    ck_assert(epoch_equal(in.promised, out.promised) && epoch_equal(in.asked, out.asked));
    ck_assert(out.probe && out.proven);
    ck_assert(out.run.id == 11 && word_equal(&out.run.base, &in.run.base));
    ck_assert_int_eq(position_compare(in.tail, out.tail), 0);
    ck_assert(digest_equal(in.digest, out.digest));
    ck_assert_uint_eq(out.oldest_seq, 2);
    ck_assert_uint_eq(out.clock_ns, 999);
    ck_assert_uint_eq(out.leader_age_ns, UINT64_MAX);
    ck_assert_uint_eq(out.fetch_ip, 0x7f000001);
    ck_assert_uint_eq(out.fetch_port, 4000);
    ck_assert_uint_eq(out.stream_port, 4001);
    ck_assert_mem_eq(&out.members, &in.members, sizeof in.members);
    in.members.count = 0;
    ROUND_TRIP(promise, in, out, 142 + 13);
    ck_assert_uint_eq(out.members.stores[0], 0);
    in.store = 0;
    REFUSED(promise, in);
}
END_TEST

START_TEST(memberships_that_are_none)
{
    struct promise in = a_promise();
    in.members.stores[14] = in.members.stores[3];
    REFUSED(promise, in);
    in.members.stores[14] = 0;
    REFUSED(promise, in);
    in = a_promise();
    in.members.count = MEMBERS_MAX + 1;
    REFUSED(promise, in);
    in = a_promise();
    in.members.quorum = MEMBERS_MAX + 1;
    REFUSED(promise, in);

    uint8_t bytes[SIGNAL_SIZE_MAX];
    in = a_promise();
    size_t length = promise_encode(&in, SUITE_STREAM, bytes, sizeof bytes);
    forge(bytes, length, 142 + 12, MEMBERS_MAX + 1);
    ck_assert_int_eq(promise_any(bytes, length), WIRE_MALFORMED);
    forge(bytes, length, 142 + 12, MEMBERS_MAX - 1);
    ck_assert_int_eq(promise_any(bytes, length), WIRE_MALFORMED);
    forge(bytes, length, 142 + 12, MEMBERS_MAX);
    ck_assert_int_eq(promise_any(bytes, length), WIRE_OK);
    forge(bytes, length, 142 + 13, 101); /* the first store twice */
    ck_assert_int_eq(promise_any(bytes, length), WIRE_MALFORMED);
}
END_TEST

START_TEST(joins)
{
    struct join in = { .nonce = 5, .wanted = 1, .identity = "orderbook@host" };
    struct join out;
    ROUND_TRIP(join, in, out, 13 + 14);
    ck_assert_uint_eq(out.nonce, 5);
    ck_assert_uint_eq(out.wanted, 1);
    ck_assert_str_eq(out.identity, "orderbook@host");
    memset(in.identity, 'x', IDENTITY_MAX);
    ROUND_TRIP(join, in, out, 13 + IDENTITY_MAX);
    in.wanted = 0;
    REFUSED(join, in);
    in.wanted = 1;
    in.identity[5] = ' ';
    REFUSED(join, in);
    in.identity[0] = '\0';
    REFUSED(join, in);
}
END_TEST

START_TEST(creates)
{
    struct create in = { .nonce = 5, .publisher = 6, .path = "/md/x" };
    struct create out;
    ROUND_TRIP(create, in, out, 13 + 5);
    ck_assert_uint_eq(out.nonce, 5);
    ck_assert_uint_eq(out.publisher, 6);
    ck_assert_str_eq(out.path, "/md/x");
    memset(in.path, 'x',
           sizeof in.path - 1); /* not well-formed: the hint says so, not the decoder */
    ROUND_TRIP(create, in, out, 13 + 255);
    ck_assert_str_eq(out.path, in.path);
    in.path[0] = '\0';
    REFUSED(create, in);
}
END_TEST

START_TEST(identities)
{
    char name[IDENTITY_MAX + 2];
    memset(name, 'a', sizeof name);
    name[IDENTITY_MAX + 1] = '\0';
    ck_assert_ptr_nonnull(identity_check(name));
    name[IDENTITY_MAX] = '\0';
    ck_assert_ptr_null(identity_check(name));
    ck_assert_ptr_nonnull(identity_check(""));
    for (int c = 1; c < 256; c++) {
        char one[2] = { (char)c, '\0' };
        ck_assert_int_eq(identity_check(one) == NULL, c > ' ' && c <= '~');
    }
}
END_TEST

START_TEST(hints)
{
    struct hint in = { HINT_SUPERSEDED, 1, 2, 3, 4, { 9, 2 } };
    struct hint out;
    ROUND_TRIP(hint, in, out, 37);
    ck_assert_int_eq(out.reason, HINT_SUPERSEDED);
    ck_assert_uint_eq(out.publisher, 1);
    ck_assert_uint_eq(out.incarnation, 2);
    ck_assert_uint_eq(out.next_publisher_seq, 3);
    ck_assert_uint_eq(out.nonce, 4);
    ck_assert(epoch_equal(in.epoch, out.epoch));
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = hint_encode(&in, SUITE_STREAM, bytes, sizeof bytes);
    forge(bytes, length, 0, HINT_MISSING + 1);
    ck_assert_int_eq(hint_any(bytes, length), WIRE_MALFORMED);
    wire_store16(bytes + 6, 1); /* the count that signals don't have */
    forge(bytes, length, 0, HINT_PAUSED);
    ck_assert_int_eq(hint_any(bytes, length), WIRE_MALFORMED);
}
END_TEST

START_TEST(one_is_not_taken_for_another)
{
    uint8_t bytes[SIGNAL_SIZE_MAX];
    struct seal in = { { 9, 2 }, true };
    size_t length = seal_encode(&in, SUITE_STREAM, bytes, sizeof bytes);
    ck_assert_int_eq(ack_any(bytes, length), WIRE_MALFORMED);
    bytes[3] = WIRE_ACK;
    length = forge(bytes, length, 12, 1);
    ck_assert_int_eq(ack_any(bytes, length), WIRE_MALFORMED);
}
END_TEST

SUITE_RUN("signal", heartbeats, gap_requests, gap_refusals, recalls, words_that_forget, acks, seals,
          promises, memberships_that_are_none, joins, creates, identities, hints,
          one_is_not_taken_for_another)
