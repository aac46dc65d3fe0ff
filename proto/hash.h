/* XXH3, through libxxhash. Everything in Cantus that hashes comes by here.
 *
 * The library's plain build knows SSE2 only; on x86-64 its dispatch header picks AVX2 or AVX-512 at
 * run time. All of them, and all machines, give the same values. */
#ifndef CANTUS_PROTO_HASH_H
#define CANTUS_PROTO_HASH_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

#include "proto/position.h"

static inline uint64_t hash64(const void *bytes, size_t length, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, length, seed);
}

static inline struct digest hash128(const void *bytes, size_t length, uint64_t seed)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(bytes, length, seed);
    return (struct digest) { .low = h.low64, .high = h.high64 };
}

/* The seed that ties the 16 bytes in front of a checksum to what the checksum covers. Both words
 * go through a bijection, so no change of one of them alone keeps the seed. */
static inline uint64_t hash_seed(uint64_t first, uint64_t second)
{
    return first ^ second * UINT64_C(0x9e3779b97f4a7c15);
}

#endif
