/* What protobuf-c may take to unpack a message of the control plane: a hostile one runs out of it and
 * is refused. Nothing is given back before the end. Internal to proto/. */
#ifndef CANTUS_PROTO_ARENA_H
#define CANTUS_PROTO_ARENA_H

#include <protobuf-c/protobuf-c.h>
#include <stdalign.h>
#include <stdint.h>

struct arena {
    alignas(16) uint8_t bytes[96 * 1024];
    size_t used;
};

/* Empties the arena; the allocator is good as long as it. */
ProtobufCAllocator arena_allocator(struct arena *arena);

#endif
