/* Reading and writing fields, little-endian and bounds checked; and the frame of every datagram.
 *
 * Nothing that comes from outside is ever cast to a struct. A reader that runs off its end turns
 * `failed` on, yields zeros from there, and is asked once at the end; a writer does the same, so
 * that code reads as a list of fields. docs/wire.md specifies every byte. */
#ifndef CANTUS_PROTO_WIRE_H
#define CANTUS_PROTO_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/position.h"

enum {
    WIRE_MAGIC = 0x7443, /* "Ct" */
    WIRE_VERSION = 1,
    WIRE_FRAME_SIZE = 24,         /* magic, version, type, length, count, stream, checksum */
    WIRE_DATAGRAM_DEFAULT = 1472, /* UDP payload of a 1500-byte MTU */
    WIRE_DATAGRAM_MAX = 8972      /* UDP payload of a 9000-byte MTU */
};

enum wire_type {
    WIRE_BATCH = 1,
    WIRE_HEARTBEAT = 2,
    WIRE_PROPOSAL = 3,
    WIRE_JOIN = 4,
    WIRE_HINT = 5,
    WIRE_GAP_REQUEST = 6,
    WIRE_GAP_REFUSAL = 7,
    WIRE_ACK = 8,
    WIRE_SEAL = 9,
    WIRE_PROMISE = 10,
    WIRE_CREATE = 11,
    WIRE_RECALL = 12,
    WIRE_TYPE_END
};

/* Why a datagram was not decoded. Each has a counter of its name. */
enum wire_verdict {
    WIRE_OK = 0,
    WIRE_SHORT,   /* truncated, or its length field disagrees with what arrived */
    WIRE_FOREIGN, /* not the magic: somebody else's packet */
    WIRE_OTHER_VERSION,
    WIRE_OTHER_STREAM, /* ours, but of another stream */
    WIRE_CORRUPT,      /* checksum or digest */
    WIRE_MALFORMED     /* fields that contradict each other, or an unknown type */
};

struct wire_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

struct wire_writer {
    uint8_t *begin;
    uint8_t *at;
    uint8_t *end;
    bool failed;
};

static inline uint16_t wire_load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t wire_load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t wire_load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void wire_store16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}

static inline void wire_store32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
}

static inline void wire_store64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "wire_load/wire_store copy native words: a big-endian port swaps them here");

struct wire_reader wire_reader_of(const void *bytes, size_t length);
struct wire_writer wire_writer_of(void *bytes, size_t capacity);

uint8_t wire_get8(struct wire_reader *r);
uint16_t wire_get16(struct wire_reader *r);
uint32_t wire_get32(struct wire_reader *r);
uint64_t wire_get64(struct wire_reader *r);
bool wire_get_bool(struct wire_reader *r);                /* u8: 0 or 1, anything else fails */
struct epoch wire_get_epoch(struct wire_reader *r);       /* u32 number, u64 candidate: 12 bytes */
struct position wire_get_position(struct wire_reader *r); /* epoch, u64 seq: 20 bytes */
struct digest wire_get_digest(struct wire_reader *r);     /* u64 low, u64 high */
/* `length` bytes in place, or NULL (and failed). They live as long as what is being read. */
const uint8_t *wire_get_bytes(struct wire_reader *r, size_t length);
/* A u8 length and that many bytes, copied and terminated into out[capacity]; fails if it does not
 * fit, or holds a NUL. */
void wire_get_string(struct wire_reader *r, char *out, size_t capacity);
/* True when everything was there and nothing is left over. */
bool wire_reader_done(const struct wire_reader *r);

void wire_put8(struct wire_writer *w, uint8_t v);
void wire_put16(struct wire_writer *w, uint16_t v);
void wire_put32(struct wire_writer *w, uint32_t v);
void wire_put64(struct wire_writer *w, uint64_t v);
void wire_put_epoch(struct wire_writer *w, struct epoch v);
void wire_put_position(struct wire_writer *w, struct position v);
void wire_put_digest(struct wire_writer *w, struct digest v);
void wire_put_bytes(struct wire_writer *w, const void *bytes, size_t length);
void wire_put_string(struct wire_writer *w, const char *text); /* u8 length; fails above 255 */
size_t wire_written(const struct wire_writer *w);              /* 0 if it failed */

/* Looks at the first 16 bytes that all datagrams share: u16 magic, u8 version, u8 type, u16 length,
 * u16 count, u64 stream. On WIRE_OK *type is set, the length field equals `length`, and that is at
 * most WIRE_DATAGRAM_MAX. `stream` 0 accepts any. */
enum wire_verdict wire_peek(const uint8_t *bytes, size_t length, uint64_t stream,
                            enum wire_type *type);

/* The frame of every datagram but a batch. Begin reserves it; end fills in length and checksum
 * (XXH3-64 of the rest, seeded with the first 16 bytes: proto/hash.h) and returns the datagram's
 * length, or 0 if it did not fit. */
struct wire_writer wire_frame_begin(uint8_t *out, size_t capacity, enum wire_type type,
                                    uint16_t count, uint64_t stream);
size_t wire_frame_end(struct wire_writer *w);

/* Checks a whole frame and hands out a reader of its body, and its count field. */
enum wire_verdict wire_frame_open(const uint8_t *bytes, size_t length, uint64_t stream,
                                  enum wire_type type, uint16_t *count, struct wire_reader *body);

/* "corrupt", "foreign", ... */
const char *wire_verdict_name(enum wire_verdict verdict);

#endif
