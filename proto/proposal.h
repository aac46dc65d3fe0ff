/* Proposals: messages before they are sequenced. One datagram carries many of one publisher.
 *
 *   frame (24), u32 publisher, u32 incarnation, u64 first_publisher_seq, position (20), u32 zero
 *   then `count` times: u16 length and flags, u24 topic, u8 condition,
 *                       [u32 topic, u64 after_seq if condition = 1], payload
 *
 * The position is what the author had applied when it decided; the sequencer drops a proposal whose
 * position is off its history, because it answers a message that does not exist. A run carries its
 * condition on its first message. */
#ifndef CANTUS_PROTO_PROPOSAL_H
#define CANTUS_PROTO_PROPOSAL_H

#include "proto/batch.h"

enum {
    PROPOSAL_HEADER_SIZE = WIRE_FRAME_SIZE + 4 + 4 + 8 + 20 + 4,
    PROPOSAL_ENTRY_SIZE = 6,
    PROPOSAL_CONDITION_SIZE = 12
};

struct proposal_header {
    struct position position;
    uint64_t first_publisher_seq;
    uint32_t publisher;
    uint32_t incarnation;
    uint16_t count; /* >= 1 */
};

struct proposal_entry {
    uint64_t after_seq; /* holds if the topic's last message is at or below this seq */
    uint32_t condition_topic;
    uint32_t topic;
    uint32_t length;
    uint8_t flags; /* enum message_flag */
    bool conditional;
    const uint8_t *payload;
};

struct proposal_cursor {
    const uint8_t *at;
    uint32_t left;
};

/* Checks frame, checksum, and that the entries fill the datagram exactly. publisher, incarnation,
 * first_publisher_seq and every topic are at least 1 and in their range. */
enum wire_verdict proposal_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                                  struct proposal_header *out);
/* The publisher that a datagram of at least PROPOSAL_HEADER_SIZE bytes would name if it were one of
 * proposals: nothing is checked. */
static inline uint32_t proposal_publisher(const uint8_t *bytes)
{
    return wire_load32(bytes + WIRE_FRAME_SIZE);
}
struct proposal_cursor proposal_begin(const uint8_t *bytes, const struct proposal_header *header);
/* The next entry of a decoded datagram; false at its end. */
static inline bool proposal_next(struct proposal_cursor *c, struct proposal_entry *out)
{
    if (c->left == 0)
        return false;
    uint32_t head = wire_load32(c->at);
    out->length = head & 0x3fff;
    out->flags = (uint8_t)(head >> 14 & 3);
    out->topic = head >> 16 | (uint32_t)c->at[4] << 16;
    out->conditional = c->at[5] != 0;
    c->at += PROPOSAL_ENTRY_SIZE;
    if (out->conditional) {
        out->condition_topic = wire_load32(c->at);
        out->after_seq = wire_load64(c->at + 4);
        c->at += PROPOSAL_CONDITION_SIZE;
    } else {
        out->condition_topic = 0;
        out->after_seq = 0;
    }
    out->payload = c->at;
    c->at += out->length;
    c->left--;
    return true;
}

/* A datagram of proposals under construction. */
struct proposal_builder {
    uint8_t *bytes;
    uint32_t capacity;
    uint32_t length;
    uint16_t count;
};

void proposal_open(struct proposal_builder *b, uint8_t *bytes, uint32_t capacity);
bool proposal_fits(const struct proposal_builder *b, const struct proposal_entry *entry);
void proposal_add(struct proposal_builder *b, const struct proposal_entry *entry);
/* A message without flags, as batch_put has made it, of a payload this long; without a condition. False if it does not
 * fit. */
static inline bool proposal_add_message(struct proposal_builder *b, const uint8_t *message,
                                        uint32_t length)
{
    if (b->length + PROPOSAL_ENTRY_SIZE + length > b->capacity)
        return false;
    uint8_t *at = b->bytes + b->length;
    wire_store32(at, wire_load32(message)); /* both begin with the length and the topic */
    at[4] = message[4];
    at[5] = 0;
    batch_copy(at + PROPOSAL_ENTRY_SIZE, message + MESSAGE_HEADER_SIZE, length);
    b->length += PROPOSAL_ENTRY_SIZE + length;
    b->count++;
    return true;
}
/* Returns the datagram's length. The count is taken from the builder, not from header->count. */
uint32_t proposal_close(struct proposal_builder *b, uint64_t stream,
                        const struct proposal_header *header);

#endif
