/* Batches. Whatever decodes can be walked inside its bounds, and is rebuilt to the same bytes. */
#include "fuzz/fuzz.h"
#include "proto/batch.h"

static uint64_t touched;

static void rebuild(const uint8_t *bytes, const struct batch_header *header)
{
    static uint8_t again[WIRE_DATAGRAM_MAX];
    struct batch_builder b;
    batch_open(&b, again, WIRE_DATAGRAM_MAX, header->first_seq);
    struct batch_cursor c = batch_begin(bytes, header);
    struct message m;
    uint64_t seq = header->first_seq;
    while (batch_next(&c, &m)) {
        assert(m.payload >= bytes && m.payload + m.length <= bytes + header->length);
        assert(m.seq == seq++);
        for (uint32_t i = 0; i < m.length; i++)
            touched += m.payload[i];
        batch_add(&b, m.topic, m.publisher, m.publisher_seq, m.flags, m.payload, m.length);
    }
    assert(seq == batch_end_seq(header));
    struct batch_header h = *header;
    batch_close(&b, header->length, &h);
    assert(h.length == header->length);

    /* The digest is right now: all but the digest is what came in, and the whole verifies. */
    assert(memcmp(again, bytes, 16) == 0);
    assert(memcmp(again + 32, bytes + 32, header->length - 32u) == 0);
    assert(batch_verify(again, h.length, h.stream, &h) == WIRE_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct batch_header header;
    size_t first = batch_length_at(data, size);
    assert(first <= size);
    if (batch_verify(data, size, 0, &header) == WIRE_OK)
        assert(batch_decode(data, size, header.stream, &header) == WIRE_OK);
    if (batch_decode(data, size, 0, &header) == WIRE_OK)
        rebuild(data, &header);
    else if (first > 0 && batch_decode(data, first, 0, &header) == WIRE_OK)
        rebuild(data, &header);
    return 0;
}
