/* The status message. protobuf has many encodings of one thing, ours is one of them: what decodes
 * is encoded to bytes that decode to the same again. */
#include "fuzz/fuzz.h"
#include "proto/status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct status status;
    static uint8_t first[STATUS_SIZE_MAX];
    static uint8_t second[STATUS_SIZE_MAX];
    if (!status_decode(data, size, &status))
        return 0;
    size_t length = status_encode(&status, first, sizeof first);
    assert(length > 0);
    assert(status_decode(first, length, &status));
    assert(status_encode(&status, second, sizeof second) == length);
    assert(memcmp(first, second, length) == 0);
    return 0;
}
