/* The messages of the control plane. protobuf has many encodings of one thing, ours is one of them: what decodes
 * is encoded to bytes that decode to the same again. */
#include "fuzz/fuzz.h"
#include "proto/clients.h"
#include "proto/command.h"
#include "proto/status.h"

static void command_and_outcome(const uint8_t *data, size_t size)
{
    uint8_t bytes[COMMAND_SIZE_MAX * 2];
    struct command command;
    struct outcome outcome;
    if (command_decode(data, size, &command)) {
        size_t length = command_encode(&command, bytes, sizeof bytes);
        assert(length > 0 && command_decode(bytes, length, &command));
    }
    if (outcome_decode(data, size, &outcome)) {
        size_t length = outcome_encode(&outcome, bytes, sizeof bytes);
        assert(length > 0 && outcome_decode(bytes, length, &outcome));
    }
}

static void clients(const uint8_t *data, size_t size)
{
    static struct clients page;
    static uint8_t bytes[CLIENTS_SIZE_MAX];
    if (!clients_decode(data, size, &page))
        return;
    size_t length = clients_encode(&page, bytes, sizeof bytes);
    assert(length > 0 && clients_decode(bytes, length, &page));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct status status;
    static uint8_t first[STATUS_SIZE_MAX];
    static uint8_t second[STATUS_SIZE_MAX];
    command_and_outcome(data, size);
    clients(data, size);
    if (!status_decode(data, size, &status))
        return 0;
    size_t length = status_encode(&status, first, sizeof first);
    assert(length > 0);
    assert(status_decode(first, length, &status));
    assert(status_encode(&status, second, sizeof second) == length);
    assert(memcmp(first, second, length) == 0);
    return 0;
}
