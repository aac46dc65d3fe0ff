#include "proto/arena.h"

static void *arena_take(void *data, size_t size)
{
    struct arena *arena = data;
    size_t rounded = (size + 15) & ~(size_t)15;
    if (rounded < size || rounded > sizeof arena->bytes - arena->used)
        return NULL;
    void *p = arena->bytes + arena->used;
    arena->used += rounded;
    return p;
}

static void arena_give(void *data, void *p)
{
    (void)data;
    (void)p;
}

ProtobufCAllocator arena_allocator(struct arena *arena)
{
    arena->used = 0;
    return (
        ProtobufCAllocator) { .alloc = arena_take, .free = arena_give, .allocator_data = arena };
}
