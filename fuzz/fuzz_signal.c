/* The small datagrams, each by its type. Whatever decodes is encoded to the same bytes. */
#include "fuzz/fuzz.h"
#include "proto/signal.h"

/* Only one type is right for the input; all are asked, for none may be confused by another's. */
#define TRY(type)                                                                                  \
    do {                                                                                           \
        struct type out;                                                                           \
        if (type##_decode(bytes, size, 0, &out) == WIRE_OK) {                                      \
            assert(type##_encode(&out, wire_load64(bytes + 8), again, sizeof again) == size);      \
            assert(memcmp(again, bytes, size) == 0);                                               \
            decoded++;                                                                             \
        }                                                                                          \
    } while (0)

static void try_all(const uint8_t *bytes, size_t size)
{
    uint8_t again[SIGNAL_SIZE_MAX];
    int decoded = 0;
    TRY(heartbeat);
    TRY(gap_request);
    TRY(gap_refusal);
    TRY(ack);
    TRY(seal);
    TRY(promise);
    TRY(recall);
    TRY(join);
    TRY(create);
    TRY(hint);
    assert(decoded <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t room[WIRE_DATAGRAM_MAX];
    try_all(data, size);
    if (!fuzz_reframe(data, size, room, sizeof room))
        return 0;
    uint8_t *bytes = malloc(size);
    memcpy(bytes, room, size);
    try_all(bytes, size);
    free(bytes);
    return 0;
}
