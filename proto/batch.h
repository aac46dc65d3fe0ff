/* The batch: the unit on the wire, in the journal, in a gap fill and in a replay. The same bytes
 * everywhere, never re-encoded.
 *
 *   offset size field
 *        0    2 magic "Ct"          48    8 first_seq
 *        2    1 version             56    8 timestamp_ns (of all its messages; Unix time)
 *        3    1 type = 1            64    8 stable, as of its emission
 *        4    2 length, padding too 72    8 candidate of the epoch
 *        6    2 count of messages   80    4 number of the epoch
 *        8    8 stream              84    4 zero
 *       16   16 digest: XXH3-128 of [32, length), seeded with the first 16 bytes
 *       32   16 the digest before it
 *       88      messages, then zeros
 *
 *   message: u16 length and flags, u24 topic, u24 publisher, u48 publisher_seq, payload
 *
 * 14 bytes a message: thirty 32-byte messages fit 1472 bytes. A batch has one timestamp because it
 * is filled in one go from what had arrived. It never mixes epochs. */
#ifndef CANTUS_PROTO_BATCH_H
#define CANTUS_PROTO_BATCH_H

#include <assert.h>

#include "proto/wire.h"

enum {
    BATCH_HEADER_SIZE = 88,
    MESSAGE_HEADER_SIZE = 14,
    MESSAGE_PAYLOAD_MAX = 0x3fff, /* of one message in a batch; larger ones travel as fragments */
    MESSAGE_FLAGS_MASK = 0xc000,  /* where a header has the flags, next to the length */
    TOPIC_ID_MAX = 0xffffff,
    PUBLISHER_ID_MAX = 0xffffff
};
#define PUBLISHER_SEQ_MAX ((UINT64_C(1) << 48) - 1)

enum message_flag {
    MESSAGE_MORE = 1,    /* the run goes on with the next message */
    MESSAGE_FRAGMENT = 2 /* the payload goes on with the next message; implies MORE */
};

struct batch_header {
    uint64_t stream;
    struct digest digest; /* through the last message of this batch */
    struct digest before; /* through the one before first_seq */
    struct epoch epoch;
    uint64_t first_seq;
    uint64_t timestamp_ns;
    uint64_t stable;
    uint16_t length; /* whole datagram, padding included */
    uint16_t count;  /* >= 1 */
};

struct message {
    uint64_t seq;
    uint64_t timestamp_ns;
    uint64_t publisher_seq; /* 0 where publisher is 0 */
    uint32_t topic;
    uint32_t publisher; /* 0: the sequencer itself */
    uint8_t flags;
    uint32_t length;
    const uint8_t *payload; /* inside the batch (or a reassembled run): borrowed */
};

static inline uint64_t batch_end_seq(const struct batch_header *b)
{
    return b->first_seq + b->count;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Decodes and checks the header: fields, and every message header stays inside `length` (so that
 * batch_next needs no further checks), padding is zeros. Does not check the digest. */
enum wire_verdict batch_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                               struct batch_header *out);
/* As batch_decode, and the digest, which is looked at first: what was damaged on its way is
 * WIRE_CORRUPT whatever it says. What a receiver calls, once per batch. */
enum wire_verdict batch_verify(const uint8_t *bytes, size_t length, uint64_t stream,
                               struct batch_header *out);
/* The length of the batch that begins here, from its header alone, for walking a journal; 0 if
 * this is not the beginning of a batch or it does not fit in `available`. */
size_t batch_length_at(const uint8_t *bytes, size_t available);

/* How long a message is tells where the next one begins, so a walk waits for one load after
 * another. But lengths mostly repeat: the processor goes on from the guess, and checks it by a branch.
 * Returns `length`. */
static inline uint32_t batch_guess(uint32_t *guess, uint32_t length)
{
    uint32_t off = length - *guess;
    __asm__("" : "+r"(off)); /* or the compiler finds out that the guess becomes `length` */
    if (off != 0) {
        *guess += off;
        __asm__ volatile("" : "+r"(*guess)); /* or it adds the 0, too, and has no branch */
    }
    return *guess;
}

struct batch_cursor {
    const uint8_t *at, *end;
    uint64_t seq;
    uint64_t timestamp_ns;
    uint32_t left;
};

struct batch_cursor batch_begin(const uint8_t *bytes, const struct batch_header *header);
/* The next message of a decoded batch; false at its end. `guess`, for one walk over many: 0 at first. */
static inline bool batch_next_guessing(struct batch_cursor *c, struct message *out, uint32_t *guess)
{
    if (c->left == 0)
        return false;
    uint64_t low = wire_load64(c->at);
    uint64_t high = wire_load64(c->at + 6);
    out->seq = c->seq++;
    out->timestamp_ns = c->timestamp_ns;
    out->length = batch_guess(guess, (uint32_t)low & MESSAGE_PAYLOAD_MAX);
    out->flags = (uint8_t)(low >> 14 & 3);
    out->topic = (uint32_t)(low >> 16 & 0xffffff);
    out->publisher = (uint32_t)(low >> 40);
    out->publisher_seq = high >> 16;
    out->payload = c->at + MESSAGE_HEADER_SIZE;
    c->at += MESSAGE_HEADER_SIZE + out->length;
    c->left--;
    return true;
}

static inline bool batch_next(struct batch_cursor *c, struct message *out)
{
    uint32_t guess = 0;
    return batch_next_guessing(c, out, &guess);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* A batch under construction in the caller's buffer of `capacity` bytes. */
struct batch_builder {
    uint8_t *bytes;
    uint32_t capacity;
    uint32_t length;
    uint16_t count;
    uint64_t first_seq;
};

void batch_open(struct batch_builder *b, uint8_t *bytes, uint32_t capacity, uint64_t first_seq);
/* Whether a message of this payload length still fits. */
static inline bool batch_fits(const struct batch_builder *b, uint32_t payload_length)
{
    return payload_length <= MESSAGE_PAYLOAD_MAX &&
           b->length + MESSAGE_HEADER_SIZE + payload_length <= b->capacity;
}
/* memcpy of what is mostly some tens of bytes: two moves that overlap, without a call. */
static inline void batch_copy(uint8_t *to, const uint8_t *from, uint32_t length)
{
    if (length > 64 || length < 8) {
        memcpy(to, from, length);
    } else if (length < 16) {
        uint64_t first = wire_load64(from), last = wire_load64(from + length - 8);
        wire_store64(to, first);
        wire_store64(to + length - 8, last);
    } else if (length <= 32) {
        uint8_t first[16], last[16];
        memcpy(first, from, 16);
        memcpy(last, from + length - 16, 16);
        memcpy(to, first, 16);
        memcpy(to + length - 16, last, 16);
    } else {
        uint8_t first[32], last[32];
        memcpy(first, from, 32);
        memcpy(last, from + length - 32, 32);
        memcpy(to, first, 32);
        memcpy(to + length - 32, last, 32);
    }
}

/* One message at `at`: header and payload. */
static inline void batch_put(uint8_t *at, uint32_t topic, uint32_t publisher,
                             uint64_t publisher_seq, uint8_t flags, const void *payload,
                             uint32_t payload_length)
{
    wire_store64(at, payload_length | (uint64_t)flags << 14 | (uint64_t)topic << 16 |
                         (uint64_t)publisher << 40);
    wire_store64(at + 6, publisher_seq << 16 | publisher >> 8);
    if (payload_length > 0)
        batch_copy(at + MESSAGE_HEADER_SIZE, payload, payload_length);
}

/* Appends; it must fit. Returns the seq it got. */
static inline uint64_t batch_add(struct batch_builder *b, uint32_t topic, uint32_t publisher,
                                 uint64_t publisher_seq, uint8_t flags, const void *payload,
                                 uint32_t payload_length)
{
    assert(batch_fits(b, payload_length));
    assert(topic != 0 && topic <= TOPIC_ID_MAX && publisher <= PUBLISHER_ID_MAX);
    assert(publisher_seq <= PUBLISHER_SEQ_MAX && flags <= 3 && flags != MESSAGE_FRAGMENT);
    batch_put(b->bytes + b->length, topic, publisher, publisher_seq, flags, payload,
              payload_length);
    b->length += MESSAGE_HEADER_SIZE + payload_length;
    return b->first_seq + b->count++;
}

/* Pads with zeros to `pad_to` (0: not at all), writes the header, computes the digest. header gives
 * stream, before, epoch, timestamp_ns and stable; the rest of it is filled in. */
void batch_close(struct batch_builder *b, uint32_t pad_to, struct batch_header *header);

#endif
