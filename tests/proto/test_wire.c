/* Goal: readers and writers never leave their bounds and stay failed once they have; the frame
 * tells apart what is foreign, of another version or stream, short, corrupt and malformed. */
#include "tests/proto/suite.h"

START_TEST(fields_come_back)
{
    uint8_t bytes[128];
    struct wire_writer w = wire_writer_of(bytes, sizeof bytes);
    wire_put8(&w, 0x12);
    wire_put16(&w, 0x3456);
    wire_put32(&w, 0x789abcde);
    wire_put64(&w, UINT64_C(0x0123456789abcdef));
    wire_put_position(&w, (struct position) { { UINT64_MAX, 7 }, 99 });
    wire_put_digest(&w, (struct digest) { 1, 2 });
    wire_put_string(&w, "name");
    size_t length = wire_written(&w);
    ck_assert_uint_eq(length, 1 + 2 + 4 + 8 + 20 + 16 + 5);
    ck_assert_mem_eq(bytes, "\x12\x56\x34\xde\xbc\x9a\x78", 7);

    struct wire_reader r = wire_reader_of(bytes, length);
    char name[5];
    ck_assert_uint_eq(wire_get8(&r), 0x12);
    ck_assert_uint_eq(wire_get16(&r), 0x3456);
    ck_assert_uint_eq(wire_get32(&r), 0x789abcde);
    ck_assert_uint_eq(wire_get64(&r), UINT64_C(0x0123456789abcdef));
    struct position p = wire_get_position(&r);
    ck_assert(p.epoch.candidate == UINT64_MAX && p.epoch.number == 7 && p.seq == 99);
    ck_assert(digest_equal(wire_get_digest(&r), (struct digest) { 1, 2 }));
    ck_assert(!wire_reader_done(&r));
    wire_get_string(&r, name, sizeof name);
    ck_assert_str_eq(name, "name");
    ck_assert(wire_reader_done(&r));
}
END_TEST

START_TEST(a_failed_reader_yields_zeros)
{
    const uint8_t bytes[3] = { 0xff, 0xff, 0xff };
    struct wire_reader r = wire_reader_of(bytes, sizeof bytes);
    ck_assert_uint_eq(wire_get32(&r), 0);
    ck_assert(r.failed);
    ck_assert_uint_eq(wire_get8(&r), 0);
    ck_assert_ptr_null(wire_get_bytes(&r, 0));
    ck_assert(!wire_reader_done(&r));
    struct wire_reader empty = wire_reader_of(NULL, 0);
    ck_assert(wire_reader_done(&empty));
    ck_assert_uint_eq(wire_get8(&empty), 0);
    ck_assert(empty.failed);
}
END_TEST

START_TEST(a_failed_writer_writes_nothing_more)
{
    uint8_t bytes[8] = { 0 };
    struct wire_writer w = wire_writer_of(bytes, 3);
    wire_put32(&w, UINT32_MAX);
    wire_put8(&w, 0xff);
    ck_assert_uint_eq(wire_written(&w), 0);
    for (size_t i = 0; i < sizeof bytes; i++)
        ck_assert_uint_eq(bytes[i], 0);
    char text[257];
    uint8_t room[300];
    memset(text, 'x', 256);
    text[256] = '\0';
    w = wire_writer_of(room, sizeof room);
    wire_put_string(&w, text);
    ck_assert(w.failed);
    text[255] = '\0';
    w = wire_writer_of(room, sizeof room);
    wire_put_string(&w, text);
    ck_assert_uint_eq(wire_written(&w), 256);
}
END_TEST

START_TEST(strings_fit_and_hold_no_nul)
{
    char out[4];
    struct wire_reader r = wire_reader_of("\x03"
                                          "abc",
                                          4);
    wire_get_string(&r, out, sizeof out);
    ck_assert(!r.failed);
    ck_assert_str_eq(out, "abc");
    r = wire_reader_of("\x04"
                       "abcd",
                       5);
    wire_get_string(&r, out, sizeof out);
    ck_assert(r.failed);
    ck_assert_str_eq(out, "");
    r = wire_reader_of("\x03"
                       "a\0c",
                       4);
    wire_get_string(&r, out, sizeof out);
    ck_assert(r.failed);
    r = wire_reader_of("\x03"
                       "ab",
                       3);
    wire_get_string(&r, out, sizeof out);
    ck_assert(r.failed);
}
END_TEST

START_TEST(a_bool_is_0_or_1)
{
    struct wire_reader r = wire_reader_of("\x00\x01\x02", 3);
    ck_assert(!wire_get_bool(&r));
    ck_assert(wire_get_bool(&r));
    ck_assert(!r.failed);
    ck_assert(!wire_get_bool(&r));
    ck_assert(r.failed);
}
END_TEST

static size_t frame(uint8_t *out, size_t capacity)
{
    struct wire_writer w = wire_frame_begin(out, capacity, WIRE_SEAL, 7, SUITE_STREAM);
    wire_put_bytes(&w, "hello", 5);
    return wire_frame_end(&w);
}

static enum wire_verdict open_seal(const uint8_t *bytes, size_t length)
{
    uint16_t count;
    struct wire_reader body;
    return wire_frame_open(bytes, length, SUITE_STREAM, WIRE_SEAL, &count, &body);
}

/* Without knowing the stream, so that only the checksum protects it. */
static enum wire_verdict open_any(const uint8_t *bytes, size_t length)
{
    uint16_t count;
    struct wire_reader body;
    return wire_frame_open(bytes, length, 0, WIRE_SEAL, &count, &body);
}

START_TEST(a_frame_comes_back)
{
    uint8_t bytes[64];
    size_t length = frame(bytes, sizeof bytes);
    uint16_t count;
    struct wire_reader body;
    ck_assert_uint_eq(length, WIRE_FRAME_SIZE + 5);
    ck_assert_int_eq(wire_frame_open(bytes, length, SUITE_STREAM, WIRE_SEAL, &count, &body),
                     WIRE_OK);
    ck_assert_uint_eq(count, 7);
    ck_assert_mem_eq(wire_get_bytes(&body, 5), "hello", 5);
    ck_assert(wire_reader_done(&body));
    suite_attack(bytes, length, open_seal);
    suite_attack(bytes, length, open_any);
}
END_TEST

START_TEST(a_frame_that_does_not_fit_is_none)
{
    uint8_t bytes[64];
    for (size_t capacity = 0; capacity < WIRE_FRAME_SIZE + 5; capacity++)
        ck_assert_uint_eq(frame(bytes, capacity), 0);
    ck_assert_uint_ne(frame(bytes, WIRE_FRAME_SIZE + 5), 0);
}
END_TEST

START_TEST(verdicts_tell_apart)
{
    uint8_t good[64];
    uint8_t bytes[64];
    size_t length = frame(good, sizeof good);
    enum wire_type type;

    memcpy(bytes, good, sizeof good);
    bytes[0] ^= 1;
    ck_assert_int_eq(open_seal(bytes, length), WIRE_FOREIGN);
    memcpy(bytes, good, sizeof good);
    bytes[2]++;
    ck_assert_int_eq(open_seal(bytes, length), WIRE_OTHER_VERSION);
    memcpy(bytes, good, sizeof good);
    bytes[8] ^= 1;
    ck_assert_int_eq(open_seal(bytes, length), WIRE_OTHER_STREAM);
    ck_assert_int_eq(wire_peek(bytes, length, 0, &type), WIRE_OK);
    ck_assert_int_eq(type, WIRE_SEAL);
    memcpy(bytes, good, sizeof good);
    ck_assert_int_eq(open_seal(bytes, length + 1), WIRE_SHORT);
    ck_assert_int_eq(open_seal(bytes, 15), WIRE_SHORT);
    bytes[length - 1] ^= 1;
    ck_assert_int_eq(open_seal(bytes, length), WIRE_CORRUPT);
    memcpy(bytes, good, sizeof good);
    for (unsigned t = 0; t < 256; t++) {
        bytes[3] = (uint8_t)t;
        bool known = t > 0 && t < WIRE_TYPE_END;
        ck_assert_int_eq(wire_peek(bytes, length, SUITE_STREAM, &type),
                         known ? WIRE_OK : WIRE_MALFORMED);
    }
    bytes[3] = WIRE_ACK;
    ck_assert_int_eq(open_seal(bytes, length), WIRE_MALFORMED);
}
END_TEST

START_TEST(no_datagram_is_longer_than_the_maximum)
{
    static uint8_t bytes[WIRE_DATAGRAM_MAX + 2];
    struct wire_writer w = wire_frame_begin(bytes, sizeof bytes, WIRE_SEAL, 0, SUITE_STREAM);
    w.at = bytes + WIRE_DATAGRAM_MAX;
    ck_assert_uint_eq(wire_frame_end(&w), WIRE_DATAGRAM_MAX);
    ck_assert_int_eq(open_seal(bytes, WIRE_DATAGRAM_MAX), WIRE_OK);
    w.at++;
    ck_assert_uint_eq(wire_frame_end(&w), 0);
    wire_store16(bytes + 4, WIRE_DATAGRAM_MAX + 1);
    ck_assert_int_eq(open_seal(bytes, WIRE_DATAGRAM_MAX + 1), WIRE_MALFORMED);
}
END_TEST

START_TEST(every_verdict_has_a_name)
{
    for (int v = WIRE_OK; v <= WIRE_MALFORMED; v++) {
        ck_assert_str_ne(wire_verdict_name((enum wire_verdict)v), "unknown");
        for (int other = WIRE_OK; other < v; other++)
            ck_assert_str_ne(wire_verdict_name((enum wire_verdict)v),
                             wire_verdict_name((enum wire_verdict)other));
    }
}
END_TEST

SUITE_RUN("wire", fields_come_back, a_failed_reader_yields_zeros,
          a_failed_writer_writes_nothing_more, strings_fit_and_hold_no_nul, a_bool_is_0_or_1,
          a_frame_comes_back, a_frame_that_does_not_fit_is_none, verdicts_tell_apart,
          no_datagram_is_longer_than_the_maximum, every_verdict_has_a_name)
