#include "proxy/encoder.h"

#include <assert.h>
#include <string.h>

void encoder_begin(struct encoder *e)
{
    e->previous = 0;
}

static uint32_t word_of(enum edge_name_kind kind, uint32_t id)
{
    return (uint32_t)kind << 24 | id;
}

static uint32_t place_of(uint32_t word)
{
    return word * UINT32_C(2654435761) >> 22; /* Fibonacci hashing; ENCODER_NAMES is 2^10 */
}

_Static_assert(ENCODER_NAMES == 1 << 10, "place_of keeps ten bits");

static size_t write_name(const struct catalog *names, uint32_t word, uint8_t *out, size_t capacity)
{
    struct edge_name n = { .kind = (enum edge_name_kind)(word >> 24), .id = word & 0xffffff };
    if (n.kind == EDGE_NAME_TOPIC) {
        n.text = catalog_topic_path(names, n.id, &n.length);
        assert(n.text != NULL); /* it was in the stream, and the catalog has followed it */
    } else {
        n.text = catalog_publisher(names, n.id)->identity;
        n.length = strlen(n.text);
    }
    return edge_name_encode(&n, out, capacity);
}

/* Notes a name as known; the bytes of its NAME if it was not. */
static size_t introduce(struct encoder *e, const struct catalog *names, uint32_t word, bool muted,
                        uint8_t *out)
{
    uint32_t at = place_of(word);
    if (e->names[at] == word)
        return 0;
    e->names[at] = word;
    if (muted)
        return 0;
    size_t length = write_name(names, word, out, EDGE_HEADER + 5 + 255);
    assert(length > 0);
    return length;
}

size_t encoder_head(struct encoder *e, const struct catalog *names, const struct run_message *m,
                    bool muted, uint8_t out[ENCODER_OVERHEAD_MAX])
{
    const struct message *from = &m->message;
    assert(from->seq > e->previous);
    if (e->previous == 0)
        memset(e->names, 0, sizeof e->names);
    size_t length = introduce(e, names, word_of(EDGE_NAME_TOPIC, from->topic), muted, out);
    if (from->publisher != 0)
        length +=
            introduce(e, names, word_of(EDGE_NAME_PUBLISHER, from->publisher), muted, out + length);
    struct edge_message message = { .seq = from->seq,
                                    .previous = e->previous,
                                    .timestamp_ns = from->timestamp_ns,
                                    .topic = from->topic,
                                    .publisher = from->publisher,
                                    .publisher_seq = from->publisher_seq,
                                    .flags = from->flags & MESSAGE_MORE };
    e->previous = from->seq;
    if (muted)
        return 0;
    size_t head = edge_message_encode(&message, out + length, EDGE_HEADER + EDGE_MESSAGE_HEADER);
    assert(head == EDGE_HEADER + EDGE_MESSAGE_HEADER);
    wire_store32(out + length, (uint32_t)head - 4 + from->length);
    return length + head;
}

size_t encoder_message(struct encoder *e, const struct catalog *names, const struct run_message *m,
                       bool muted, uint8_t *out)
{
    size_t length = encoder_head(e, names, m, muted, out);
    if (muted)
        return 0;
    if (m->message.length > 0)
        batch_copy(out + length, m->message.payload, m->message.length);
    return length + m->message.length;
}

size_t encoder_end(struct encoder *e, uint64_t through, uint64_t stable, uint64_t time_ns,
                   bool muted, uint8_t *out)
{
    struct edge_progress p = {
        .through = through, .previous = e->previous, .stable = stable, .timestamp_ns = time_ns
    };
    bool matched = e->previous != 0;
    e->previous = 0;
    if (!matched || muted)
        return 0;
    size_t length = edge_progress_encode(&p, out, ENCODER_END_MAX);
    assert(length > 0);
    return length;
}

size_t encoder_names(const struct encoder *e, const struct catalog *names, uint32_t *at,
                     uint8_t *out, size_t capacity)
{
    size_t length = 0;
    for (; *at < ENCODER_NAMES; (*at)++) {
        if (e->previous == 0 || e->names[*at] == 0)
            continue;
        size_t wrote = write_name(names, e->names[*at], out + length, capacity - length);
        if (wrote == 0)
            return length;
        length += wrote;
    }
    return length;
}

bool encoder_equal(const struct encoder *a, const struct encoder *b)
{
    return a->previous == b->previous &&
           (a->previous == 0 || memcmp(a->names, b->names, sizeof a->names) == 0);
}

struct encoder_unit encoder_unit_at(const uint8_t *bytes, size_t available)
{
    struct encoder_unit u = { 0 };
    for (;;) {
        assert(available >= u.length + EDGE_HEADER);
        const uint8_t *frame = bytes + u.length;
        u.length += 4 + (size_t)wire_load32(frame);
        if (frame[4] == EDGE_NAME)
            continue;
        assert(frame[4] == EDGE_MESSAGE || frame[4] == EDGE_PROGRESS);
        assert(frame + EDGE_HEADER + 16 <= bytes + available);
        u.is_end = frame[4] == EDGE_PROGRESS;
        u.seq = wire_load64(frame + EDGE_HEADER);
        u.previous = wire_load64(frame + EDGE_HEADER + 8);
        return u;
    }
}
