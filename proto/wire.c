#include "proto/wire.h"

#include "proto/hash.h"

enum { LENGTH_AT = 4, STREAM_AT = 8, CHECKSUM_AT = 16, PEEK_SIZE = 16 };

_Static_assert(WIRE_FRAME_SIZE == CHECKSUM_AT + 8, "the checksum ends the frame");
_Static_assert(WIRE_DATAGRAM_MAX <= UINT16_MAX, "the length field is 16 bits");

struct wire_reader wire_reader_of(const void *bytes, size_t length)
{
    const uint8_t *at = bytes;
    return (
        struct wire_reader) { .at = at, .end = length == 0 ? at : at + length, .failed = false };
}

struct wire_writer wire_writer_of(void *bytes, size_t capacity)
{
    uint8_t *at = bytes;
    return (struct wire_writer) {
        .begin = at, .at = at, .end = capacity == 0 ? at : at + capacity, .failed = false
    };
}

/* ---- reading --------------------------------------------------------------------------------- */

const uint8_t *wire_get_bytes(struct wire_reader *r, size_t length)
{
    if (r->failed || (size_t)(r->end - r->at) < length) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *bytes = r->at;
    if (length > 0)
        r->at += length;
    return bytes;
}

uint8_t wire_get8(struct wire_reader *r)
{
    const uint8_t *p = wire_get_bytes(r, 1);
    return p ? *p : 0;
}

uint16_t wire_get16(struct wire_reader *r)
{
    const uint8_t *p = wire_get_bytes(r, 2);
    return p ? wire_load16(p) : 0;
}

uint32_t wire_get32(struct wire_reader *r)
{
    const uint8_t *p = wire_get_bytes(r, 4);
    return p ? wire_load32(p) : 0;
}

uint64_t wire_get64(struct wire_reader *r)
{
    const uint8_t *p = wire_get_bytes(r, 8);
    return p ? wire_load64(p) : 0;
}

bool wire_get_bool(struct wire_reader *r)
{
    uint8_t v = wire_get8(r);
    if (v > 1)
        r->failed = true;
    return v == 1;
}

struct epoch wire_get_epoch(struct wire_reader *r)
{
    struct epoch v;
    v.number = wire_get32(r);
    v.candidate = wire_get64(r);
    return v;
}

struct position wire_get_position(struct wire_reader *r)
{
    struct position v;
    v.epoch = wire_get_epoch(r);
    v.seq = wire_get64(r);
    return v;
}

struct digest wire_get_digest(struct wire_reader *r)
{
    struct digest v;
    v.low = wire_get64(r);
    v.high = wire_get64(r);
    return v;
}

void wire_get_string(struct wire_reader *r, char *out, size_t capacity)
{
    if (capacity > 0)
        out[0] = '\0';
    size_t length = wire_get8(r);
    const uint8_t *text = wire_get_bytes(r, length);
    if (text == NULL)
        return;
    if (length >= capacity || memchr(text, 0, length) != NULL) {
        r->failed = true;
        return;
    }
    memcpy(out, text, length);
    out[length] = '\0';
}

bool wire_reader_done(const struct wire_reader *r)
{
    return !r->failed && r->at == r->end;
}

/* ---- writing --------------------------------------------------------------------------------- */

static uint8_t *reserve(struct wire_writer *w, size_t length)
{
    if (w->failed || (size_t)(w->end - w->at) < length) {
        w->failed = true;
        return NULL;
    }
    uint8_t *p = w->at;
    if (length > 0)
        w->at += length;
    return p;
}

void wire_put8(struct wire_writer *w, uint8_t v)
{
    uint8_t *p = reserve(w, 1);
    if (p)
        *p = v;
}

void wire_put16(struct wire_writer *w, uint16_t v)
{
    uint8_t *p = reserve(w, 2);
    if (p)
        wire_store16(p, v);
}

void wire_put32(struct wire_writer *w, uint32_t v)
{
    uint8_t *p = reserve(w, 4);
    if (p)
        wire_store32(p, v);
}

void wire_put64(struct wire_writer *w, uint64_t v)
{
    uint8_t *p = reserve(w, 8);
    if (p)
        wire_store64(p, v);
}

void wire_put_epoch(struct wire_writer *w, struct epoch v)
{
    wire_put32(w, v.number);
    wire_put64(w, v.candidate);
}

void wire_put_position(struct wire_writer *w, struct position v)
{
    wire_put_epoch(w, v.epoch);
    wire_put64(w, v.seq);
}

void wire_put_digest(struct wire_writer *w, struct digest v)
{
    wire_put64(w, v.low);
    wire_put64(w, v.high);
}

void wire_put_bytes(struct wire_writer *w, const void *bytes, size_t length)
{
    uint8_t *p = reserve(w, length);
    if (p && length > 0)
        memcpy(p, bytes, length);
}

void wire_put_string(struct wire_writer *w, const char *text)
{
    size_t length = strlen(text);
    if (length > UINT8_MAX) {
        w->failed = true;
        return;
    }
    wire_put8(w, (uint8_t)length);
    wire_put_bytes(w, text, length);
}

size_t wire_written(const struct wire_writer *w)
{
    return w->failed ? 0 : (size_t)(w->at - w->begin);
}

/* ---- the frame ------------------------------------------------------------------------------- */

enum wire_verdict wire_peek(const uint8_t *bytes, size_t length, uint64_t stream,
                            enum wire_type *type)
{
    if (length < PEEK_SIZE)
        return WIRE_SHORT;
    if (wire_load16(bytes) != WIRE_MAGIC)
        return WIRE_FOREIGN;
    if (bytes[2] != WIRE_VERSION)
        return WIRE_OTHER_VERSION;
    if (stream != 0 && wire_load64(bytes + STREAM_AT) != stream)
        return WIRE_OTHER_STREAM;
    if (wire_load16(bytes + LENGTH_AT) != length)
        return WIRE_SHORT;
    if (bytes[3] == 0 || bytes[3] >= WIRE_TYPE_END || length > WIRE_DATAGRAM_MAX)
        return WIRE_MALFORMED;
    *type = (enum wire_type)bytes[3];
    return WIRE_OK;
}

struct wire_writer wire_frame_begin(uint8_t *out, size_t capacity, enum wire_type type,
                                    uint16_t count, uint64_t stream)
{
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put16(&w, WIRE_MAGIC);
    wire_put8(&w, WIRE_VERSION);
    wire_put8(&w, (uint8_t)type);
    wire_put16(&w, 0);
    wire_put16(&w, count);
    wire_put64(&w, stream);
    wire_put64(&w, 0);
    return w;
}

static uint64_t frame_checksum(const uint8_t *bytes, size_t length)
{
    uint64_t seed = hash_seed(wire_load64(bytes), wire_load64(bytes + 8));
    return hash64(bytes + WIRE_FRAME_SIZE, length - WIRE_FRAME_SIZE, seed);
}

size_t wire_frame_end(struct wire_writer *w)
{
    size_t length = wire_written(w);
    if (length < WIRE_FRAME_SIZE || length > WIRE_DATAGRAM_MAX)
        return 0;
    wire_store16(w->begin + LENGTH_AT, (uint16_t)length);
    wire_store64(w->begin + CHECKSUM_AT, frame_checksum(w->begin, length));
    return length;
}

enum wire_verdict wire_frame_open(const uint8_t *bytes, size_t length, uint64_t stream,
                                  enum wire_type type, uint16_t *count, struct wire_reader *body)
{
    enum wire_type found;
    enum wire_verdict verdict = wire_peek(bytes, length, stream, &found);
    if (verdict != WIRE_OK)
        return verdict;
    if (found != type)
        return WIRE_MALFORMED;
    if (length < WIRE_FRAME_SIZE)
        return WIRE_SHORT;
    if (wire_load64(bytes + CHECKSUM_AT) != frame_checksum(bytes, length))
        return WIRE_CORRUPT;
    *count = wire_load16(bytes + 6);
    *body = wire_reader_of(bytes + WIRE_FRAME_SIZE, length - WIRE_FRAME_SIZE);
    return WIRE_OK;
}

const char *wire_verdict_name(enum wire_verdict verdict)
{
    switch (verdict) {
    case WIRE_OK:
        return "ok";
    case WIRE_SHORT:
        return "short";
    case WIRE_FOREIGN:
        return "foreign";
    case WIRE_OTHER_VERSION:
        return "other version";
    case WIRE_OTHER_STREAM:
        return "other stream";
    case WIRE_CORRUPT:
        return "corrupt";
    case WIRE_MALFORMED:
        return "malformed";
    }
    return "unknown";
}
