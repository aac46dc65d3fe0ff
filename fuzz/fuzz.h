/* What the fuzz targets share. A target feeds the input to decoders as it is, and where a checksum
 * would keep nearly all of them out, once more with the checksum made right. */
#ifndef CANTUS_FUZZ_FUZZ_H
#define CANTUS_FUZZ_FUZZ_H

#include <assert.h>
#include <stdlib.h>

#include "proto/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy of the input with its length field and checksum made right, as a frame. */
static inline bool fuzz_reframe(const uint8_t *data, size_t size, uint8_t *out, size_t capacity)
{
    if (size < WIRE_FRAME_SIZE || size > capacity)
        return false;
    memcpy(out, data, size);
    struct wire_writer w = wire_frame_begin(out, capacity, (enum wire_type)data[3],
                                            wire_load16(data + 6), wire_load64(data + 8));
    w.at = out + size;
    return wire_frame_end(&w) == size;
}

#endif
