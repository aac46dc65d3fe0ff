/* Goal: what batch_add wrote, batch_next reads; nothing but a well-formed batch decodes; the digest
 * notices every changed bit. */
#include <stdlib.h>

#include "proto/batch.h"
#include "tests/proto/suite.h"

static const struct batch_header header = { .stream = SUITE_STREAM,
                                            .before = { 3, 4 },
                                            .epoch = { 0xcafe, 2 },
                                            .timestamp_ns = 1000,
                                            .stable = 41 };

static size_t make(uint8_t *bytes, uint32_t capacity, uint32_t pad_to, struct batch_header *h)
{
    struct batch_builder b;
    batch_open(&b, bytes, capacity, 42);
    ck_assert_uint_eq(batch_add(&b, TOPIC_ID_MAX, PUBLISHER_ID_MAX, PUBLISHER_SEQ_MAX,
                                MESSAGE_MORE | MESSAGE_FRAGMENT, "hello", 5),
                      42);
    ck_assert_uint_eq(batch_add(&b, 16, 0x010203, 0x040506070809, 0, NULL, 0), 43);
    ck_assert_uint_eq(batch_add(&b, 7, 0, 0, 0, "x", 1), 44);
    *h = header;
    batch_close(&b, pad_to, h);
    return h->length;
}

static enum wire_verdict verify(const uint8_t *bytes, size_t length)
{
    struct batch_header h;
    return batch_verify(bytes, length, SUITE_STREAM, &h);
}

static enum wire_verdict verify_any(const uint8_t *bytes, size_t length)
{
    struct batch_header h;
    return batch_verify(bytes, length, 0, &h);
}

static enum wire_verdict decode(const uint8_t *bytes, size_t length)
{
    struct batch_header h;
    return batch_decode(bytes, length, SUITE_STREAM, &h);
}

START_TEST(messages_come_back)
{
    uint8_t bytes[256];
    struct batch_header made;
    struct batch_header h;
    size_t length = make(bytes, sizeof bytes, 0, &made);
    ck_assert_uint_eq(length, BATCH_HEADER_SIZE + 3 * MESSAGE_HEADER_SIZE + 6);
    ck_assert_int_eq(batch_verify(bytes, length, SUITE_STREAM, &h), WIRE_OK);
    ck_assert(digest_equal(h.digest, made.digest));
    ck_assert(digest_equal(h.before, header.before));
    ck_assert(epoch_equal(h.epoch, header.epoch));
    ck_assert_uint_eq(h.stream, SUITE_STREAM);
    ck_assert_uint_eq(h.timestamp_ns, 1000);
    ck_assert_uint_eq(h.stable, 41);
    ck_assert_uint_eq(h.length, length);
    ck_assert_uint_eq(h.first_seq, 42);
    ck_assert_uint_eq(h.count, 3);
    ck_assert_uint_eq(batch_end_seq(&h), 45);

    struct batch_cursor c = batch_begin(bytes, &h);
    struct message m;
    ck_assert(batch_next(&c, &m));
    ck_assert_uint_eq(m.seq, 42);
    ck_assert_uint_eq(m.timestamp_ns, 1000);
    ck_assert_uint_eq(m.topic, TOPIC_ID_MAX);
    ck_assert_uint_eq(m.publisher, PUBLISHER_ID_MAX);
    ck_assert_uint_eq(m.publisher_seq, PUBLISHER_SEQ_MAX);
    ck_assert_uint_eq(m.flags, MESSAGE_MORE | MESSAGE_FRAGMENT);
    ck_assert_uint_eq(m.length, 5);
    ck_assert_mem_eq(m.payload, "hello", 5);
    ck_assert(batch_next(&c, &m));
    ck_assert_uint_eq(m.topic, 16);
    ck_assert_uint_eq(m.publisher, 0x010203);
    ck_assert_uint_eq(m.publisher_seq, 0x040506070809);
    ck_assert_uint_eq(m.length, 0);
    ck_assert(batch_next(&c, &m));
    ck_assert_uint_eq(m.seq, 44);
    ck_assert_uint_eq(m.topic, 7);
    ck_assert_mem_eq(m.payload, "x", 1);
    ck_assert(!batch_next(&c, &m));
}
END_TEST

START_TEST(every_cut_and_every_bit_is_noticed)
{
    uint8_t bytes[256];
    struct batch_header h;
    size_t length = make(bytes, sizeof bytes, 0, &h);
    suite_attack(bytes, length, verify);
    suite_attack(bytes, length, verify_any);
    length = make(bytes, sizeof bytes, 200, &h);
    ck_assert_uint_eq(length, 200);
    suite_attack(bytes, length, verify);
}
END_TEST

START_TEST(damage_is_corrupt_before_it_is_anything_else)
{
    uint8_t bytes[256];
    struct batch_header h;
    size_t length = make(bytes, sizeof bytes, 0, &h);
    bytes[BATCH_HEADER_SIZE] ^= 0xff; /* a length that does not fit */
    ck_assert_int_eq(verify(bytes, length), WIRE_CORRUPT);
    ck_assert_int_eq(decode(bytes, length), WIRE_MALFORMED);
}
END_TEST

START_TEST(thirty_messages_of_32_bytes_fit_a_datagram)
{
    uint8_t bytes[WIRE_DATAGRAM_DEFAULT];
    uint8_t payload[32] = { 1 };
    struct batch_builder b;
    batch_open(&b, bytes, sizeof bytes, 1);
    int count = 0;
    for (; batch_fits(&b, sizeof payload); count++)
        batch_add(&b, 16, 1, (uint64_t)count + 1, 0, payload, sizeof payload);
    ck_assert_int_ge(count, 30);
    ck_assert(!batch_fits(&b, UINT32_MAX));
    struct batch_header h = header;
    batch_close(&b, 0, &h);
    ck_assert_int_eq(verify(bytes, h.length), WIRE_OK);
}
END_TEST

START_TEST(a_full_batch_has_no_room_to_spare)
{
    uint8_t bytes[BATCH_HEADER_SIZE + MESSAGE_HEADER_SIZE + 10];
    struct batch_builder b;
    batch_open(&b, bytes, sizeof bytes, 1);
    ck_assert(batch_fits(&b, 10));
    ck_assert(!batch_fits(&b, 11));
    batch_add(&b, 16, 1, 1, 0, "0123456789", 10);
    ck_assert(!batch_fits(&b, 0));
    struct batch_header h = header;
    batch_close(&b, sizeof bytes, &h);
    ck_assert_int_eq(verify(bytes, h.length), WIRE_OK);
}
END_TEST

/* Each of these contradicts itself; decode looks at fields only, so the digest may stay. */
START_TEST(contradictions_are_malformed)
{
    uint8_t good[256];
    uint8_t bytes[256];
    struct batch_header h;
    size_t length = make(good, sizeof good, 160, &h);
    ck_assert_int_eq(decode(good, length), WIRE_OK);

#define BAD(statement)                                                                             \
    do {                                                                                           \
        memcpy(bytes, good, sizeof good);                                                          \
        statement;                                                                                 \
        ck_assert_msg(decode(bytes, length) == WIRE_MALFORMED, "%s", #statement);                  \
    } while (0)
    BAD(wire_store16(bytes + 6, 0));                      /* no messages */
    BAD(wire_store16(bytes + 6, 4));                      /* the fourth is padding: topic 0 */
    BAD(wire_store16(bytes + 6, 2));                      /* the third would be padding */
    BAD(wire_store16(bytes + 6, UINT16_MAX));             /* beyond the end */
    BAD(wire_store64(bytes + 48, 0));                     /* seq 0 */
    BAD(wire_store64(bytes + 48, UINT64_MAX - 2));        /* seqs overflow */
    BAD(bytes[84] = 1);                                   /* reserved */
    BAD(bytes[159] = 1);                                  /* padding */
    BAD(bytes[BATCH_HEADER_SIZE + 48] = 1);               /* padding's first byte */
    BAD(memset(bytes + BATCH_HEADER_SIZE + 2, 0, 3));     /* topic 0 */
    BAD(bytes[BATCH_HEADER_SIZE + 1] &= 0xbf);            /* FRAGMENT without MORE */
    BAD(wire_store16(bytes + BATCH_HEADER_SIZE, 0x3fff)); /* payload beyond the end */
    BAD(bytes[3] = WIRE_HEARTBEAT);                       /* another type */
#undef BAD
    memcpy(bytes, good, sizeof good);
    wire_store64(bytes + 48, UINT64_MAX - 3);
    ck_assert_int_eq(decode(bytes, length), WIRE_OK);
}
END_TEST

/* Messages of one length are passed four at a time: what is wrong with any of them is seen, whichever it
 * is, and one that differs is none that is wrong. */
START_TEST(one_of_many_alike_is_looked_at_like_each)
{
    enum { COUNT = 11, LENGTH = 20 };
    uint8_t good[512], bytes[512];
    struct batch_builder b;
    struct batch_header h = header;
    batch_open(&b, good, sizeof good, 1);
    for (uint32_t i = 0; i < COUNT; i++)
        batch_add(&b, 0x3f00 + i, 1, i + 1, 0, "0123456789012345678901234567890", LENGTH);
    batch_close(&b, 0, &h);
    ck_assert_int_eq(decode(good, h.length), WIRE_OK);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint8_t *at = bytes + BATCH_HEADER_SIZE + i * (MESSAGE_HEADER_SIZE + LENGTH);
        memcpy(bytes, good, sizeof good);
        memset(at + 2, 0, 3); /* topic 0 */
        ck_assert_int_eq(decode(bytes, h.length), WIRE_MALFORMED);
        memcpy(bytes, good, sizeof good);
        at[1] |= 0x80; /* FRAGMENT without MORE */
        ck_assert_int_eq(decode(bytes, h.length), WIRE_MALFORMED);
        for (uint8_t length = 0; length < 2 * LENGTH; length++) {
            memcpy(bytes, good, sizeof good);
            at[0] = length;
            ck_assert_msg((decode(bytes, h.length) == WIRE_OK) == (length == LENGTH), "%u, %u", i,
                          length);
        }
        memcpy(bytes, good, sizeof good);
        at[1] |= 0x40; /* MORE: part of a run */
        ck_assert_int_eq(decode(bytes, h.length), WIRE_OK);
        memset(at + 2, 0xff, 3); /* the highest topic */
        ck_assert_int_eq(decode(bytes, h.length), WIRE_OK);
    }
}
END_TEST

/* A last message whose header or payload is cut by the end of the datagram. */
START_TEST(a_message_is_inside_to_its_last_byte)
{
    uint8_t bytes[256];
    struct batch_builder b;
    for (uint32_t payload = 0; payload < 20; payload++) {
        struct batch_header h = header;
        batch_open(&b, bytes, sizeof bytes, 1);
        batch_add(&b, 16, 1, 1, 0, "0123456789012345678901234567890", 20);
        batch_add(&b, 16, 1, 2, 0, "0123456789012345678901234567890", payload);
        batch_close(&b, 0, &h);
        for (uint16_t cut = 1; cut < MESSAGE_HEADER_SIZE + payload; cut++) {
            uint16_t length = (uint16_t)(h.length - cut);
            uint8_t *copy = suite_exact(bytes, length);
            wire_store16(copy + 4, length);
            ck_assert_int_eq(decode(copy, length), WIRE_MALFORMED);
            free(copy);
        }
    }
}
END_TEST

START_TEST(a_journal_is_walked_by_lengths)
{
    uint8_t bytes[256] = { 0 };
    struct batch_header h;
    size_t length = make(bytes, sizeof bytes, 0, &h);
    ck_assert_uint_eq(batch_length_at(bytes, sizeof bytes), length);
    ck_assert_uint_eq(batch_length_at(bytes, length), length);
    for (size_t available = 0; available < length; available++) {
        uint8_t *cut = suite_exact(bytes, available);
        ck_assert_uint_eq(batch_length_at(cut, available), 0);
        free(cut);
    }
    ck_assert_uint_eq(batch_length_at(bytes + length, sizeof bytes - length), 0);
    wire_store16(bytes + 4, BATCH_HEADER_SIZE);
    ck_assert_uint_eq(batch_length_at(bytes, sizeof bytes), 0);
}
END_TEST

START_TEST(the_digest_is_a_chain)
{
    uint8_t bytes[256];
    struct batch_header first = header;
    struct batch_header second = header;
    second.before.high ^= 1;
    struct batch_builder b;
    batch_open(&b, bytes, sizeof bytes, 1);
    batch_add(&b, 16, 1, 1, 0, "same", 4);
    batch_close(&b, 0, &first);
    batch_open(&b, bytes, sizeof bytes, 1);
    batch_add(&b, 16, 1, 1, 0, "same", 4);
    batch_close(&b, 0, &second);
    ck_assert(!digest_equal(first.digest, second.digest));
}
END_TEST

/* Every length, at its exact place: what is before and behind it stays. */
START_TEST(a_copy_writes_its_bytes_and_no_others)
{
    uint8_t from[200], to[200 + 32];
    for (size_t i = 0; i < sizeof from; i++)
        from[i] = (uint8_t)(i * 7 + 1);
    for (uint32_t length = 0; length <= sizeof from; length++) {
        memset(to, 0xee, sizeof to);
        uint8_t *exact = malloc(length + 1); /* so that a sanitizer sees a read beyond it */
        ck_assert_ptr_nonnull(exact);
        memcpy(exact, from, length);
        batch_copy(to + 16, exact, length);
        free(exact);
        ck_assert_mem_eq(to + 16, from, length);
        for (size_t i = 0; i < sizeof to; i++) {
            if (i < 16 || i >= 16 + length)
                ck_assert_uint_eq(to[i], 0xee);
        }
    }
}
END_TEST

SUITE_RUN("batch", messages_come_back, every_cut_and_every_bit_is_noticed,
          damage_is_corrupt_before_it_is_anything_else, thirty_messages_of_32_bytes_fit_a_datagram,
          a_full_batch_has_no_room_to_spare, contradictions_are_malformed,
          one_of_many_alike_is_looked_at_like_each, a_message_is_inside_to_its_last_byte,
          a_journal_is_walked_by_lengths, the_digest_is_a_chain,
          a_copy_writes_its_bytes_and_no_others)
