/* Fields of the client protocol's frames, for its encoders and decoders. */
#ifndef CANTUS_PROTO_EDGE_FIELD_H
#define CANTUS_PROTO_EDGE_FIELD_H

#include "proto/edge.h"

/* A frame's head; edge_end fills in its length. */
static inline struct wire_writer edge_begin(enum edge_type type, uint8_t *out, size_t capacity)
{
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put32(&w, 0);
    wire_put8(&w, (uint8_t)type);
    return w;
}

/* The frame's length; 0 if it did not fit, or a rule was broken. */
static inline size_t edge_end(struct wire_writer *w)
{
    size_t length = wire_written(w);
    if (length == 0 || length - 4 > EDGE_FRAME_MAX)
        return 0;
    wire_store32(w->begin, (uint32_t)(length - 4));
    return length;
}

static inline void put24(struct wire_writer *w, uint32_t v)
{
    uint8_t bytes[3] = { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16) };
    wire_put_bytes(w, bytes, sizeof bytes);
}

static inline uint32_t get24(struct wire_reader *r)
{
    uint32_t low = wire_get16(r);
    return low | (uint32_t)wire_get8(r) << 16;
}

static inline void put_text(struct wire_writer *w, const char *text, size_t length)
{
    w->failed = w->failed || length > 255;
    wire_put8(w, (uint8_t)length);
    wire_put_bytes(w, text, length);
}

/* In place. */
static inline const char *get_text(struct wire_reader *r, size_t *length)
{
    *length = wire_get8(r);
    const uint8_t *bytes = wire_get_bytes(r, *length);
    if (bytes == NULL) {
        *length = 0;
        return "";
    }
    r->failed = r->failed || memchr(bytes, 0, *length) != NULL;
    return (const char *)bytes;
}

/* Everything that is left. */
static inline const uint8_t *get_rest(struct wire_reader *r, uint32_t *length)
{
    *length = (uint32_t)(r->end - r->at);
    return wire_get_bytes(r, *length);
}

static inline void get_key(struct wire_reader *r, uint8_t *key, size_t size)
{
    const uint8_t *bytes = wire_get_bytes(r, size);
    if (bytes != NULL)
        memcpy(key, bytes, size);
    else
        memset(key, 0, size);
}

static inline void refuse_unless(struct wire_reader *r, bool condition)
{
    r->failed = r->failed || !condition;
}

static inline void require(struct wire_writer *w, bool condition)
{
    w->failed = w->failed || !condition;
}

#endif
