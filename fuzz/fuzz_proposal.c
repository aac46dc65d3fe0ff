/* Proposals. Whatever decodes can be walked inside its bounds, and is rebuilt to the same bytes. */
#include "fuzz/fuzz.h"
#include "proto/proposal.h"

static uint64_t touched;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t room[WIRE_DATAGRAM_MAX];
    static uint8_t again[WIRE_DATAGRAM_MAX];
    struct proposal_header header;
    (void)proposal_decode(data, size, 0, &header);
    if (!fuzz_reframe(data, size, room, sizeof room))
        return 0;
    uint8_t *bytes = malloc(size); /* exactly as long, for the address sanitizer */
    memcpy(bytes, room, size);
    if (proposal_decode(bytes, size, 0, &header) == WIRE_OK) {
        struct proposal_builder b;
        proposal_open(&b, again, sizeof again);
        struct proposal_cursor c = proposal_begin(bytes, &header);
        struct proposal_entry e;
        while (proposal_next(&c, &e)) {
            assert(e.payload >= bytes && e.payload + e.length <= bytes + size);
            for (uint32_t i = 0; i < e.length; i++)
                touched += e.payload[i];
            proposal_add(&b, &e);
        }
        assert(proposal_close(&b, wire_load64(bytes + 8), &header) == size);
        assert(memcmp(again, bytes, size) == 0);
    }
    free(bytes);
    return 0;
}
