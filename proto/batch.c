#include "proto/batch.h"

#include "proto/hash.h"

enum {
    DIGEST_AT = 16,
    COVERED_AT = 32, /* what the digest covers begins with the digest before it */
    BEFORE_AT = 32,
    FIRST_SEQ_AT = 48,
    TIMESTAMP_AT = 56,
    STABLE_AT = 64,
    CANDIDATE_AT = 72,
    NUMBER_AT = 80,
    ZERO_AT = 84,
    BATCH_SIZE_MIN = BATCH_HEADER_SIZE + MESSAGE_HEADER_SIZE
};

_Static_assert(ZERO_AT + 4 == BATCH_HEADER_SIZE, "the header's last field ends it");

static struct digest digest_at(const uint8_t *p)
{
    return (struct digest) { .low = wire_load64(p), .high = wire_load64(p + 8) };
}

static void digest_store(uint8_t *p, struct digest d)
{
    wire_store64(p, d.low);
    wire_store64(p + 8, d.high);
}

static struct digest digest_of(const uint8_t *bytes, size_t length)
{
    uint64_t seed = hash_seed(wire_load64(bytes), wire_load64(bytes + 8));
    return hash128(bytes + COVERED_AT, length - COVERED_AT, seed);
}

static bool all_zero(const uint8_t *p, size_t length)
{
    return length == 0 || (p[0] == 0 && memcmp(p, p + 1, length - 1) == 0);
}

static enum wire_verdict peek(const uint8_t *bytes, size_t length, uint64_t stream)
{
    enum wire_type type;
    enum wire_verdict verdict = wire_peek(bytes, length, stream, &type);
    if (verdict != WIRE_OK)
        return verdict;
    if (type != WIRE_BATCH)
        return WIRE_MALFORMED;
    return length < BATCH_SIZE_MIN ? WIRE_SHORT : WIRE_OK;
}

/* Passes over messages outside runs that are as long as the first, four at a time: nothing waits for a
 * length. Returns how many, all of which fit. */
static uint32_t pass_alike(const uint8_t **from, const uint8_t *end, uint32_t count)
{
    const uint64_t topic_mask = (uint64_t)TOPIC_ID_MAX << 16, topic_one = 1 << 16;
    const uint8_t *at = *from;
    if (end - at < MESSAGE_HEADER_SIZE)
        return 0;
    const uint64_t first = wire_load64(at);
    if ((first & MESSAGE_FLAGS_MASK) != 0)
        return 0;
    const size_t step = MESSAGE_HEADER_SIZE + (size_t)(first & MESSAGE_PAYLOAD_MAX);
    uint32_t passed = 0;
    for (; count - passed >= 4 && (size_t)(end - at) >= 4 * step; passed += 4, at += 4 * step) {
        uint64_t a = wire_load64(at), b = wire_load64(at + step);
        uint64_t c = wire_load64(at + 2 * step), d = wire_load64(at + 3 * step);
        uint64_t differ = (a ^ first) | (b ^ first) | (c ^ first) | (d ^ first);
        /* A topic of 0 makes the top bit 1. */
        uint64_t none = ((a & topic_mask) - topic_one) | ((b & topic_mask) - topic_one) |
                        ((c & topic_mask) - topic_one) | ((d & topic_mask) - topic_one);
        if ((differ & (MESSAGE_FLAGS_MASK | MESSAGE_PAYLOAD_MAX)) != 0 || none >> 63 != 0)
            break;
    }
    *from = at;
    return passed;
}

/* Whether `count` message headers, their payloads and zeros fill the batch exactly. */
static bool messages_fit(const uint8_t *bytes, size_t length, uint32_t count)
{
    const uint8_t *at = bytes + BATCH_HEADER_SIZE;
    const uint8_t *end = bytes + length;
    uint32_t guess = 0;
    for (uint32_t i = pass_alike(&at, end, count); i < count; i++) {
        if (end - at < MESSAGE_HEADER_SIZE)
            return false;
        uint64_t head = wire_load64(at);
        uint32_t payload_length = batch_guess(&guess, (uint32_t)head & MESSAGE_PAYLOAD_MAX);
        uint32_t flags = (uint32_t)(head >> 14 & 3);
        uint32_t topic = (uint32_t)(head >> 16 & TOPIC_ID_MAX);
        if (flags == MESSAGE_FRAGMENT || topic == 0)
            return false;
        at += MESSAGE_HEADER_SIZE;
        if (end - at < (ptrdiff_t)payload_length)
            return false;
        at += payload_length;
    }
    return all_zero(at, (size_t)(end - at));
}

/* After peek. */
static enum wire_verdict decode(const uint8_t *bytes, size_t length, struct batch_header *out)
{
    struct batch_header h;
    h.length = (uint16_t)length;
    h.count = wire_load16(bytes + 6);
    h.stream = wire_load64(bytes + 8);
    h.digest = digest_at(bytes + DIGEST_AT);
    h.before = digest_at(bytes + BEFORE_AT);
    h.first_seq = wire_load64(bytes + FIRST_SEQ_AT);
    h.timestamp_ns = wire_load64(bytes + TIMESTAMP_AT);
    h.stable = wire_load64(bytes + STABLE_AT);
    h.epoch.candidate = wire_load64(bytes + CANDIDATE_AT);
    h.epoch.number = wire_load32(bytes + NUMBER_AT);
    if (h.count == 0 || h.first_seq == 0 || h.first_seq > UINT64_MAX - h.count ||
        wire_load32(bytes + ZERO_AT) != 0 || !messages_fit(bytes, length, h.count))
        return WIRE_MALFORMED;
    *out = h;
    return WIRE_OK;
}

enum wire_verdict batch_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                               struct batch_header *out)
{
    enum wire_verdict verdict = peek(bytes, length, stream);
    return verdict == WIRE_OK ? decode(bytes, length, out) : verdict;
}

enum wire_verdict batch_verify(const uint8_t *bytes, size_t length, uint64_t stream,
                               struct batch_header *out)
{
    enum wire_verdict verdict = peek(bytes, length, stream);
    if (verdict != WIRE_OK)
        return verdict;
    if (!digest_equal(digest_at(bytes + DIGEST_AT), digest_of(bytes, length)))
        return WIRE_CORRUPT;
    return decode(bytes, length, out);
}

size_t batch_length_at(const uint8_t *bytes, size_t available)
{
    if (available < BATCH_SIZE_MIN)
        return 0;
    size_t length = wire_load16(bytes + 4);
    if (length > available)
        return 0;
    return peek(bytes, length, 0) == WIRE_OK ? length : 0;
}

struct batch_cursor batch_begin(const uint8_t *bytes, const struct batch_header *header)
{
    return (struct batch_cursor) { .at = bytes + BATCH_HEADER_SIZE,
                                   .end = bytes + header->length,
                                   .seq = header->first_seq,
                                   .timestamp_ns = header->timestamp_ns,
                                   .left = header->count };
}

void batch_open(struct batch_builder *b, uint8_t *bytes, uint32_t capacity, uint64_t first_seq)
{
    assert(capacity >= BATCH_SIZE_MIN && capacity <= WIRE_DATAGRAM_MAX && first_seq > 0);
    b->bytes = bytes;
    b->capacity = capacity;
    b->length = BATCH_HEADER_SIZE;
    b->count = 0;
    b->first_seq = first_seq;
}

void batch_close(struct batch_builder *b, uint32_t pad_to, struct batch_header *header)
{
    assert(b->count > 0 && pad_to <= b->capacity);
    if (pad_to > b->length) {
        memset(b->bytes + b->length, 0, pad_to - b->length);
        b->length = pad_to;
    }
    header->length = (uint16_t)b->length;
    header->count = b->count;
    header->first_seq = b->first_seq;

    uint8_t *p = b->bytes;
    wire_store16(p, WIRE_MAGIC);
    p[2] = WIRE_VERSION;
    p[3] = WIRE_BATCH;
    wire_store16(p + 4, header->length);
    wire_store16(p + 6, header->count);
    wire_store64(p + 8, header->stream);
    digest_store(p + BEFORE_AT, header->before);
    wire_store64(p + FIRST_SEQ_AT, header->first_seq);
    wire_store64(p + TIMESTAMP_AT, header->timestamp_ns);
    wire_store64(p + STABLE_AT, header->stable);
    wire_store64(p + CANDIDATE_AT, header->epoch.candidate);
    wire_store32(p + NUMBER_AT, header->epoch.number);
    wire_store32(p + ZERO_AT, 0);
    header->digest = digest_of(p, b->length);
    digest_store(p + DIGEST_AT, header->digest);
}
