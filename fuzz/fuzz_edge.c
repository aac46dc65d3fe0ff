/* The client protocol: a frame is looked for at the front of the input, as each side does with what it gets, and
 * whatever decodes is encoded to the same bytes; then the rest. */
#include "fuzz/fuzz.h"
#include "proto/edge.h"

static uint8_t again[EDGE_FRAME_MAX + 4];

static void try_frame(enum edge_type type, const uint8_t *frame, size_t length)
{
    const uint8_t *body = frame + EDGE_HEADER;
    size_t body_length = length - EDGE_HEADER;
#define TRY(name, TYPE)                                                                            \
    case TYPE: {                                                                                   \
        struct edge_##name out;                                                                    \
        if (edge_##name##_decode(body, body_length, &out)) {                                       \
            assert(edge_##name##_encode(&out, again, sizeof again) == length);                     \
            assert(memcmp(again, frame, length) == 0);                                             \
            assert(edge_##name##_encode(&out, again, length - 1) == 0);                            \
        }                                                                                          \
        return;                                                                                    \
    }
    switch (type) {
        EDGE_TYPES(TRY)
    case EDGE_ALIVE:
        return;
    }
#undef TRY
}

static void walk_subtrees(const uint8_t *frame, size_t length)
{
    struct edge_subscribe s;
    if (!edge_subscribe_decode(frame + EDGE_HEADER, length - EDGE_HEADER, &s))
        return;
    const char *subtree;
    size_t subtree_length;
    uint32_t count = s.subtrees.count;
    while (edge_subtree_next(&s.subtrees, &subtree, &subtree_length)) {
        assert(subtree_length >= 1 && subtree[0] == '/');
        count--;
    }
    assert(count == 0 && s.subtrees.length == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = 0;
    while (at < size) {
        enum edge_type type;
        size_t length = edge_frame_peek(data + at, size - at, &type);
        if (length == 0 || length == SIZE_MAX)
            return 0;
        assert(length >= EDGE_HEADER && length <= size - at && length <= EDGE_FRAME_MAX + 4);
        try_frame(type, data + at, length);
        if (type == EDGE_SUBSCRIBE)
            walk_subtrees(data + at, length);
        at += length;
    }
    return 0;
}
