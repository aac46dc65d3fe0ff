#include "proto/proposal.h"

#include <assert.h>

enum {
    PUBLISHER_AT = WIRE_FRAME_SIZE,
    INCARNATION_AT = WIRE_FRAME_SIZE + 4,
    FIRST_NUMBER_AT = WIRE_FRAME_SIZE + 8,
    POSITION_AT = WIRE_FRAME_SIZE + 16,
    ZERO_AT = WIRE_FRAME_SIZE + 36
};

_Static_assert(ZERO_AT + 4 == PROPOSAL_HEADER_SIZE, "the header's last field ends it");

/* Whether `count` entries fill [at, end) exactly and none contradicts itself. */
static bool entries_fit(const uint8_t *at, const uint8_t *end, uint32_t count)
{
    uint32_t guess = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (end - at < PROPOSAL_ENTRY_SIZE)
            return false;
        uint32_t head = wire_load32(at);
        uint32_t payload_length = batch_guess(&guess, head & MESSAGE_PAYLOAD_MAX);
        uint32_t flags = head >> 14 & 3;
        uint32_t topic = head >> 16 | (uint32_t)at[4] << 16;
        uint32_t conditional = at[5];
        if (flags == MESSAGE_FRAGMENT || topic == 0 || conditional > 1)
            return false;
        at += PROPOSAL_ENTRY_SIZE;
        if (conditional) {
            if (end - at < PROPOSAL_CONDITION_SIZE)
                return false;
            uint32_t condition_topic = wire_load32(at);
            if (condition_topic == 0 || condition_topic > TOPIC_ID_MAX)
                return false;
            at += PROPOSAL_CONDITION_SIZE;
        }
        if (end - at < (ptrdiff_t)payload_length)
            return false;
        at += payload_length;
    }
    return at == end;
}

enum wire_verdict proposal_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                                  struct proposal_header *out)
{
    struct proposal_header h;
    struct wire_reader body;
    enum wire_verdict verdict =
        wire_frame_open(bytes, length, stream, WIRE_PROPOSAL, &h.count, &body);
    if (verdict != WIRE_OK)
        return verdict;
    if (length < PROPOSAL_HEADER_SIZE)
        return WIRE_SHORT;
    h.publisher = wire_load32(bytes + PUBLISHER_AT);
    h.incarnation = wire_load32(bytes + INCARNATION_AT);
    h.first_publisher_seq = wire_load64(bytes + FIRST_NUMBER_AT);
    h.position.epoch.number = wire_load32(bytes + POSITION_AT);
    h.position.epoch.candidate = wire_load64(bytes + POSITION_AT + 4);
    h.position.seq = wire_load64(bytes + POSITION_AT + 12);
    if (h.count == 0 || h.publisher == 0 || h.publisher > PUBLISHER_ID_MAX || h.incarnation == 0 ||
        h.first_publisher_seq == 0 || h.first_publisher_seq > PUBLISHER_SEQ_MAX - h.count + 1 ||
        wire_load32(bytes + ZERO_AT) != 0 ||
        !entries_fit(bytes + PROPOSAL_HEADER_SIZE, bytes + length, h.count))
        return WIRE_MALFORMED;
    *out = h;
    return WIRE_OK;
}

struct proposal_cursor proposal_begin(const uint8_t *bytes, const struct proposal_header *header)
{
    return (struct proposal_cursor) { .at = bytes + PROPOSAL_HEADER_SIZE, .left = header->count };
}

static uint32_t entry_size(const struct proposal_entry *entry)
{
    uint32_t condition = entry->conditional ? PROPOSAL_CONDITION_SIZE : 0;
    return PROPOSAL_ENTRY_SIZE + condition + entry->length;
}

void proposal_open(struct proposal_builder *b, uint8_t *bytes, uint32_t capacity)
{
    assert(capacity >= PROPOSAL_HEADER_SIZE && capacity <= WIRE_DATAGRAM_MAX);
    b->bytes = bytes;
    b->capacity = capacity;
    b->length = PROPOSAL_HEADER_SIZE;
    b->count = 0;
}

bool proposal_fits(const struct proposal_builder *b, const struct proposal_entry *entry)
{
    return entry->length <= MESSAGE_PAYLOAD_MAX && b->length + entry_size(entry) <= b->capacity;
}

void proposal_add(struct proposal_builder *b, const struct proposal_entry *entry)
{
    assert(proposal_fits(b, entry));
    assert(entry->topic != 0 && entry->topic <= TOPIC_ID_MAX);
    assert(entry->flags <= 3 && entry->flags != MESSAGE_FRAGMENT);
    uint8_t *at = b->bytes + b->length;
    wire_store32(at, entry->length | (uint32_t)entry->flags << 14 | entry->topic << 16);
    at[4] = (uint8_t)(entry->topic >> 16);
    at[5] = entry->conditional;
    at += PROPOSAL_ENTRY_SIZE;
    if (entry->conditional) {
        assert(entry->condition_topic != 0 && entry->condition_topic <= TOPIC_ID_MAX);
        wire_store32(at, entry->condition_topic);
        wire_store64(at + 4, entry->after_seq);
        at += PROPOSAL_CONDITION_SIZE;
    }
    if (entry->length > 0)
        memcpy(at, entry->payload, entry->length);
    b->length += entry_size(entry);
    b->count++;
}

uint32_t proposal_close(struct proposal_builder *b, uint64_t stream,
                        const struct proposal_header *header)
{
    assert(b->count > 0 && header->publisher != 0 && header->incarnation != 0);
    assert(header->first_publisher_seq != 0);
    struct wire_writer w = wire_frame_begin(b->bytes, b->capacity, WIRE_PROPOSAL, b->count, stream);
    wire_put32(&w, header->publisher);
    wire_put32(&w, header->incarnation);
    wire_put64(&w, header->first_publisher_seq);
    wire_put_position(&w, header->position);
    wire_put32(&w, 0);
    assert(wire_written(&w) == PROPOSAL_HEADER_SIZE);
    w.at = b->bytes + b->length;
    return (uint32_t)wire_frame_end(&w);
}
