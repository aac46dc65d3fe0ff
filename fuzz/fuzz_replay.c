/* The framed stream. Frames lie inside the bytes that are there, whatever decodes is encoded to the
 * same bytes. */
#include "fuzz/fuzz.h"
#include "proto/replay.h"

static void try_body(enum replay_type type, const uint8_t *body, size_t length)
{
    uint8_t again[64];
    struct replay_request request;
    struct replay_end end;
    if (type == REPLAY_REQUEST && replay_request_decode(body, length, &request)) {
        assert(replay_request_encode(&request, again, sizeof again) == length);
        assert(memcmp(again, body, length) == 0);
    }
    if (type == REPLAY_END && replay_end_decode(body, length, &end)) {
        assert(replay_end_encode(&end, again, sizeof again) == length);
        assert(memcmp(again, body, length) == 0);
        assert(replay_end_text(end.reason) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t again[4 + REPLAY_FRAME_MAX];
    while (size > 0) {
        enum replay_type type;
        size_t length = replay_frame_peek(data, size, &type);
        if (length == 0 || length == SIZE_MAX)
            break;
        assert(length >= REPLAY_FRAME_HEADER && length <= size);
        const uint8_t *body = data + REPLAY_FRAME_HEADER;
        size_t body_length = length - REPLAY_FRAME_HEADER;
        try_body(type, body, body_length);
        assert(replay_frame_encode(type, body, body_length, again, sizeof again) == length);
        assert(memcmp(again, data, length) == 0);
        data += length;
        size -= length;
    }
    return 0;
}
