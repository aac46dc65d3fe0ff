#include "proto/command.h"

#include <string.h>

#include "control.pb-c.h"
#include "proto/arena.h"

static bool copy_text(char *out, size_t capacity, const char *in)
{
    size_t length = strlen(in);
    if (length >= capacity)
        return false;
    memcpy(out, in, length + 1);
    return true;
}

static bool known_kind(uint32_t kind)
{
    return kind >= COMMAND_PROMOTE && kind <= COMMAND_DRAIN;
}

static bool known_how(uint32_t how)
{
    return how == 0 || how == SYS_EPOCH_PROMOTED || how == SYS_EPOCH_LEASE;
}

static bool known_verdict(uint32_t verdict)
{
    return verdict >= OUTCOME_DONE && verdict <= OUTCOME_REFUSED;
}

size_t command_encode(const struct command *in, uint8_t *out, size_t capacity)
{
    struct command copy = *in;
    if (!known_kind(in->kind) || !known_how(in->how) ||
        memchr(in->why, 0, sizeof in->why) == NULL || memchr(in->name, 0, sizeof in->name) == NULL)
        return 0;
    Cantus__Command packed = CANTUS__COMMAND__INIT;
    packed.kind = copy.kind;
    packed.store = copy.store;
    packed.seq = copy.seq;
    packed.why = copy.why;
    packed.name = copy.name;
    packed.has_how = copy.how != 0;
    packed.how = copy.how;
    if (cantus__command__get_packed_size(&packed) > capacity)
        return 0;
    return cantus__command__pack(&packed, out);
}

bool command_decode(const uint8_t *bytes, size_t length, struct command *out)
{
    memset(out, 0, sizeof *out);
    if (length > COMMAND_SIZE_MAX)
        return false;
    struct arena arena;
    ProtobufCAllocator allocator = arena_allocator(&arena);
    Cantus__Command *in = cantus__command__unpack(&allocator, length, bytes);
    if (in == NULL || !known_kind(in->kind) || !known_how(in->how) ||
        !copy_text(out->why, sizeof out->why, in->why) ||
        !copy_text(out->name, sizeof out->name, in->name) ||
        (out->name[0] != '\0' && !session_name_valid(out->name))) {
        memset(out, 0, sizeof *out);
        return false;
    }
    out->kind = (enum command_kind)in->kind;
    out->how = (uint8_t)in->how;
    out->store = in->store;
    out->seq = in->seq;
    return true;
}

size_t outcome_encode(const struct outcome *in, uint8_t *out, size_t capacity)
{
    struct outcome copy = *in;
    if (!known_verdict(in->verdict) || memchr(in->text, 0, sizeof in->text) == NULL)
        return 0;
    Cantus__Outcome packed = CANTUS__OUTCOME__INIT;
    packed.verdict = copy.verdict;
    packed.seq = copy.seq;
    packed.epoch_number = copy.position.epoch.number;
    packed.epoch_candidate = copy.position.epoch.candidate;
    packed.position_seq = copy.position.seq;
    packed.digest_low = copy.digest.low;
    packed.digest_high = copy.digest.high;
    packed.text = copy.text;
    if (cantus__outcome__get_packed_size(&packed) > capacity)
        return 0;
    return cantus__outcome__pack(&packed, out);
}

bool outcome_decode(const uint8_t *bytes, size_t length, struct outcome *out)
{
    memset(out, 0, sizeof *out);
    if (length > COMMAND_SIZE_MAX)
        return false;
    struct arena arena;
    ProtobufCAllocator allocator = arena_allocator(&arena);
    Cantus__Outcome *in = cantus__outcome__unpack(&allocator, length, bytes);
    if (in == NULL || !known_verdict(in->verdict) ||
        !copy_text(out->text, sizeof out->text, in->text)) {
        memset(out, 0, sizeof *out);
        return false;
    }
    out->verdict = (enum outcome_verdict)in->verdict;
    out->seq = in->seq;
    out->position = (struct position) { .epoch = { .candidate = in->epoch_candidate,
                                                   .number = in->epoch_number },
                                        .seq = in->position_seq };
    out->digest = (struct digest) { .low = in->digest_low, .high = in->digest_high };
    return true;
}
