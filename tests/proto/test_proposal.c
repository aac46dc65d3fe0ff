/* Goal: a datagram of proposals comes back entry by entry, and what contradicts itself does not. */
#include "proto/proposal.h"
#include "tests/proto/suite.h"

static const struct proposal_header header = {
    .position = { { 0xcafe, 2 }, 77 }, .first_publisher_seq = 10, .publisher = 5, .incarnation = 3
};

static size_t make(uint8_t *bytes, uint32_t capacity)
{
    struct proposal_builder b;
    proposal_open(&b, bytes, capacity);
    struct proposal_entry plain = { .topic = 0x123456,
                                    .length = 5,
                                    .flags = MESSAGE_MORE | MESSAGE_FRAGMENT,
                                    .payload = (const uint8_t *)"hello" };
    struct proposal_entry conditional = {
        .topic = 16, .conditional = true, .condition_topic = TOPIC_ID_MAX, .after_seq = UINT64_MAX
    };
    ck_assert(proposal_fits(&b, &plain));
    proposal_add(&b, &plain);
    proposal_add(&b, &conditional);
    return proposal_close(&b, SUITE_STREAM, &header);
}

static enum wire_verdict decode(const uint8_t *bytes, size_t length)
{
    struct proposal_header h;
    return proposal_decode(bytes, length, SUITE_STREAM, &h);
}

START_TEST(entries_come_back)
{
    uint8_t bytes[256];
    size_t length = make(bytes, sizeof bytes);
    struct proposal_header h;
    ck_assert_uint_eq(length,
                      PROPOSAL_HEADER_SIZE + 2 * PROPOSAL_ENTRY_SIZE + PROPOSAL_CONDITION_SIZE + 5);
    ck_assert_int_eq(proposal_decode(bytes, length, SUITE_STREAM, &h), WIRE_OK);
    ck_assert_int_eq(position_compare(h.position, header.position), 0);
    ck_assert_uint_eq(h.first_publisher_seq, 10);
    ck_assert_uint_eq(h.publisher, 5);
    ck_assert_uint_eq(h.incarnation, 3);
    ck_assert_uint_eq(h.count, 2);
    struct proposal_cursor c = proposal_begin(bytes, &h);
    struct proposal_entry e;
    ck_assert(proposal_next(&c, &e));
    ck_assert_uint_eq(e.topic, 0x123456);
    ck_assert_uint_eq(e.flags, 3);
    ck_assert(!e.conditional);
    ck_assert_uint_eq(e.length, 5);
    ck_assert_mem_eq(e.payload, "hello", 5);
    ck_assert(proposal_next(&c, &e));
    ck_assert_uint_eq(e.topic, 16);
    ck_assert(e.conditional);
    ck_assert_uint_eq(e.condition_topic, TOPIC_ID_MAX);
    ck_assert_uint_eq(e.after_seq, UINT64_MAX);
    ck_assert_uint_eq(e.length, 0);
    ck_assert(!proposal_next(&c, &e));
    suite_attack(bytes, length, decode);
}
END_TEST

START_TEST(fits_is_exact)
{
    uint8_t bytes[PROPOSAL_HEADER_SIZE + PROPOSAL_ENTRY_SIZE + PROPOSAL_CONDITION_SIZE + 3];
    struct proposal_builder b;
    proposal_open(&b, bytes, sizeof bytes);
    struct proposal_entry e = { .topic = 16,
                                .length = 3,
                                .conditional = true,
                                .condition_topic = 16,
                                .payload = (const uint8_t *)"abcd" };
    ck_assert(proposal_fits(&b, &e));
    e.length = 4;
    ck_assert(!proposal_fits(&b, &e));
    e.length = UINT32_MAX;
    ck_assert(!proposal_fits(&b, &e));
    e.length = 3;
    proposal_add(&b, &e);
    e.length = 0;
    e.conditional = false;
    ck_assert(!proposal_fits(&b, &e));
    ck_assert_uint_eq(proposal_close(&b, SUITE_STREAM, &header), sizeof bytes);
    ck_assert_int_eq(decode(bytes, sizeof bytes), WIRE_OK);
}
END_TEST

/* Gives the changed datagram a checksum that is right again. */
static enum wire_verdict decode_again(uint8_t *bytes, size_t length)
{
    uint16_t count = wire_load16(bytes + 6);
    struct wire_writer w = wire_frame_begin(bytes, length, WIRE_PROPOSAL, count, SUITE_STREAM);
    w.at = bytes + length;
    ck_assert_uint_eq(wire_frame_end(&w), length);
    return decode(bytes, length);
}

START_TEST(contradictions_are_malformed)
{
    uint8_t good[256];
    uint8_t bytes[256];
    size_t length = make(good, sizeof good);
    const size_t first = PROPOSAL_HEADER_SIZE;
    const size_t second = first + PROPOSAL_ENTRY_SIZE + 5;
    memcpy(bytes, good, sizeof good);
    ck_assert_int_eq(decode_again(bytes, length), WIRE_OK);

#define BAD(statement)                                                                             \
    do {                                                                                           \
        memcpy(bytes, good, sizeof good);                                                          \
        statement;                                                                                 \
        ck_assert_msg(decode_again(bytes, length) == WIRE_MALFORMED, "%s", #statement);            \
    } while (0)
    BAD(wire_store16(bytes + 6, 0));  /* no entries */
    BAD(wire_store16(bytes + 6, 1));  /* bytes left over */
    BAD(wire_store16(bytes + 6, 3));  /* an entry too few */
    BAD(wire_store32(bytes + 24, 0)); /* the sequencer's own id */
    BAD(wire_store32(bytes + 24, PUBLISHER_ID_MAX + 1));
    BAD(wire_store32(bytes + 28, 0));                 /* incarnation */
    BAD(wire_store64(bytes + 32, 0));                 /* number */
    BAD(wire_store64(bytes + 32, PUBLISHER_SEQ_MAX)); /* the second overflows */
    BAD(wire_store64(bytes + 32, UINT64_MAX));
    BAD(bytes[60] = 1);                                         /* reserved */
    BAD(memset(bytes + first + 2, 0, 3));                       /* topic 0 */
    BAD(bytes[first + 1] &= 0xbf);                              /* FRAGMENT without MORE */
    BAD(bytes[first + 5] = 2);                                  /* condition */
    BAD(bytes[second + 5] = 0);                                 /* its bytes left over */
    BAD(wire_store32(bytes + second + PROPOSAL_ENTRY_SIZE, 0)); /* condition's topic */
    BAD(wire_store32(bytes + second + PROPOSAL_ENTRY_SIZE, TOPIC_ID_MAX + 1));
    BAD(bytes[second] = 1); /* payload beyond the end */
#undef BAD
    memcpy(bytes, good, sizeof good);
    wire_store64(bytes + 32, PUBLISHER_SEQ_MAX - 1);
    ck_assert_int_eq(decode_again(bytes, length), WIRE_OK);
    ck_assert_int_eq(decode_again(bytes, PROPOSAL_HEADER_SIZE - 1), WIRE_SHORT);
}
END_TEST

SUITE_RUN("proposal", entries_come_back, fits_is_exact, contradictions_are_malformed)
