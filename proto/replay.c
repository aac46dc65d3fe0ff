#include "proto/replay.h"

#include <stddef.h>

size_t replay_frame_peek(const uint8_t *bytes, size_t available, enum replay_type *type)
{
    if (available < 4)
        return 0;
    uint32_t length = wire_load32(bytes);
    if (length == 0 || length > REPLAY_FRAME_MAX)
        return SIZE_MAX;
    if (available < REPLAY_FRAME_HEADER)
        return 0;
    if (bytes[4] < REPLAY_REQUEST || bytes[4] > REPLAY_CLIENTS)
        return SIZE_MAX;
    if (available - 4 < length)
        return 0;
    *type = (enum replay_type)bytes[4];
    return 4 + (size_t)length;
}

size_t replay_frame_encode(enum replay_type type, const void *body, size_t length, uint8_t *out,
                           size_t capacity)
{
    if (length >= REPLAY_FRAME_MAX)
        return 0;
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put32(&w, (uint32_t)length + 1);
    wire_put8(&w, (uint8_t)type);
    wire_put_bytes(&w, body, length);
    return wire_written(&w);
}

static bool request_valid(const struct replay_request *q)
{
    return q->first_seq > 0 && (q->end_seq == 0 || q->end_seq > q->first_seq);
}

size_t replay_request_encode(const struct replay_request *in, uint8_t *out, size_t capacity)
{
    if (!request_valid(in))
        return 0;
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put64(&w, in->stream);
    wire_put64(&w, in->first_seq);
    wire_put64(&w, in->end_seq);
    wire_put_epoch(&w, in->epoch);
    return wire_written(&w);
}

bool replay_request_decode(const uint8_t *body, size_t length, struct replay_request *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->stream = wire_get64(&r);
    out->first_seq = wire_get64(&r);
    out->end_seq = wire_get64(&r);
    out->epoch = wire_get_epoch(&r);
    return wire_reader_done(&r) && request_valid(out);
}

size_t replay_end_encode(const struct replay_end *in, uint8_t *out, size_t capacity)
{
    if (in->reason < REPLAY_DONE || in->reason > REPLAY_DAMAGED)
        return 0;
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put8(&w, (uint8_t)in->reason);
    wire_put64(&w, in->oldest_seq);
    wire_put64(&w, in->next_seq);
    return wire_written(&w);
}

bool replay_end_decode(const uint8_t *body, size_t length, struct replay_end *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    uint8_t reason = wire_get8(&r);
    out->reason = (enum replay_end_reason)reason;
    out->oldest_seq = wire_get64(&r);
    out->next_seq = wire_get64(&r);
    return wire_reader_done(&r) && reason >= REPLAY_DONE && reason <= REPLAY_DAMAGED;
}

const char *replay_end_text(enum replay_end_reason reason)
{
    switch (reason) {
    case REPLAY_DONE:
        return "done";
    case REPLAY_PRUNED:
        return "the beginning that was asked for is no longer kept";
    case REPLAY_NOT_YET:
        return "the beginning that was asked for is not there yet";
    case REPLAY_OTHER_STREAM:
        return "this server keeps another stream";
    case REPLAY_BUSY:
        return "all replay slots are taken";
    case REPLAY_BAD_REQUEST:
        return "the request is malformed";
    case REPLAY_DAMAGED:
        return "the journal is damaged there and not yet healed";
    }
    return "unknown reason";
}
