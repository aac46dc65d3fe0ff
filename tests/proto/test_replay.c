/* Goal: frames are found in a byte stream however it was cut, and what can never be one is said so
 * as soon as its first bytes show it. */
#include "proto/replay.h"
#include "tests/proto/suite.h"

START_TEST(frames_are_found_at_any_cut)
{
    uint8_t bytes[64];
    enum replay_type type = REPLAY_STATUS;
    size_t length = replay_frame_encode(REPLAY_BATCH, "0123456789", 10, bytes, sizeof bytes);
    ck_assert_uint_eq(length, 15);
    for (size_t available = 0; available < length; available++) {
        uint8_t *cut = suite_exact(bytes, available);
        ck_assert_uint_eq(replay_frame_peek(cut, available, &type), 0);
        free(cut);
    }
    ck_assert_uint_eq(replay_frame_peek(bytes, length, &type), length);
    ck_assert_int_eq(type, REPLAY_BATCH);
    ck_assert_uint_eq(replay_frame_peek(bytes, sizeof bytes, &type), length);
    for (size_t room = 0; room < length; room++)
        ck_assert_uint_eq(replay_frame_encode(REPLAY_BATCH, "0123456789", 10, bytes, room), 0);
    length = replay_frame_encode(REPLAY_STATUS_REQUEST, NULL, 0, bytes, sizeof bytes);
    ck_assert_uint_eq(length, REPLAY_FRAME_HEADER);
    ck_assert_uint_eq(replay_frame_peek(bytes, length, &type), length);
}
END_TEST

START_TEST(what_can_never_be_a_frame)
{
    uint8_t bytes[8] = { 0 };
    enum replay_type type;
    ck_assert_uint_eq(replay_frame_peek(bytes, 4, &type), SIZE_MAX);
    wire_store32(bytes, REPLAY_FRAME_MAX + 1);
    ck_assert_uint_eq(replay_frame_peek(bytes, 4, &type), SIZE_MAX);
    wire_store32(bytes, UINT32_MAX);
    ck_assert_uint_eq(replay_frame_peek(bytes, 4, &type), SIZE_MAX);
    wire_store32(bytes, REPLAY_FRAME_MAX);
    ck_assert_uint_eq(replay_frame_peek(bytes, 4, &type), 0);
    for (unsigned t = 0; t < 256; t++) {
        bytes[4] = (uint8_t)t;
        bool known = t >= REPLAY_REQUEST && t <= REPLAY_CLIENTS;
        ck_assert_uint_eq(replay_frame_peek(bytes, 5, &type), known ? 0 : SIZE_MAX);
    }
    static uint8_t large[REPLAY_FRAME_MAX + REPLAY_FRAME_HEADER];
    static const uint8_t body[REPLAY_FRAME_MAX];
    size_t length =
        replay_frame_encode(REPLAY_STATUS, body, REPLAY_FRAME_MAX - 1, large, sizeof large);
    ck_assert_uint_eq(length, REPLAY_FRAME_MAX + 4);
    ck_assert_uint_eq(replay_frame_peek(large, length, &type), length);
    ck_assert_uint_eq(
        replay_frame_encode(REPLAY_STATUS, body, REPLAY_FRAME_MAX, large, sizeof large), 0);
}
END_TEST

static bool request_any(const uint8_t *body, size_t length)
{
    struct replay_request out;
    return replay_request_decode(body, length, &out);
}

START_TEST(requests)
{
    struct replay_request in = { SUITE_STREAM, 5, 9, { 7, 2 } };
    struct replay_request out;
    uint8_t bytes[REPLAY_REQUEST_SIZE + 1];
    ck_assert_uint_eq(replay_request_encode(&in, bytes, sizeof bytes), REPLAY_REQUEST_SIZE);
    ck_assert_uint_eq(replay_request_encode(&in, bytes, REPLAY_REQUEST_SIZE - 1), 0);
    ck_assert(replay_request_decode(bytes, REPLAY_REQUEST_SIZE, &out));
    ck_assert(out.stream == SUITE_STREAM && out.first_seq == 5 && out.end_seq == 9);
    ck_assert(epoch_equal(in.epoch, out.epoch));
    suite_cut(bytes, REPLAY_REQUEST_SIZE, request_any);
    in.end_seq = 5;
    ck_assert_uint_eq(replay_request_encode(&in, bytes, sizeof bytes), 0);
    in.end_seq = 0; /* to the tip */
    ck_assert_uint_ne(replay_request_encode(&in, bytes, sizeof bytes), 0);
    wire_store64(bytes + 8, 0);
    ck_assert(!replay_request_decode(bytes, REPLAY_REQUEST_SIZE, &out));
}
END_TEST

static bool end_any(const uint8_t *body, size_t length)
{
    struct replay_end out;
    return replay_end_decode(body, length, &out);
}

START_TEST(ends)
{
    uint8_t bytes[17];
    struct replay_end out;
    for (int reason = REPLAY_DONE; reason <= REPLAY_DAMAGED; reason++) {
        struct replay_end in = { (enum replay_end_reason)reason, 3, 4 };
        ck_assert_uint_eq(replay_end_encode(&in, bytes, sizeof bytes), 17);
        ck_assert(replay_end_decode(bytes, 17, &out));
        ck_assert(out.reason == in.reason && out.oldest_seq == 3 && out.next_seq == 4);
        ck_assert_str_ne(replay_end_text(in.reason), "unknown reason");
    }
    suite_cut(bytes, 17, end_any);
    bytes[0] = REPLAY_DAMAGED + 1;
    ck_assert(!end_any(bytes, 17));
    bytes[0] = 0;
    ck_assert(!end_any(bytes, 17));
}
END_TEST

SUITE_RUN("replay", frames_are_found_at_any_cut, what_can_never_be_a_frame, requests, ends)
