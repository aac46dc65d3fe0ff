/* The one source of chance of a run: xoshiro256**, seeded through splitmix64. Integers only, so that
 * every machine draws the same. */
#ifndef CANTUS_SIM_SIM_RANDOM_H
#define CANTUS_SIM_SIM_RANDOM_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

__extension__ typedef unsigned __int128 sim_random_wide;

struct sim_random {
    uint64_t word[4];
};

void sim_random_init(struct sim_random *r, uint64_t seed);

static inline uint64_t sim_random_rotate(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static inline uint64_t sim_random_next(struct sim_random *r)
{
    uint64_t *w = r->word;
    uint64_t result = sim_random_rotate(w[1] * 5, 7) * 9;
    uint64_t t = w[1] << 17;
    w[2] ^= w[0];
    w[3] ^= w[1];
    w[1] ^= w[2];
    w[0] ^= w[3];
    w[2] ^= t;
    w[3] = sim_random_rotate(w[3], 45);
    return result;
}

/* 0 .. bound - 1; bound > 0. */
static inline uint64_t sim_random_below(struct sim_random *r, uint64_t bound)
{
    assert(bound > 0);
    return (uint64_t)((sim_random_wide)sim_random_next(r) * bound >> 64);
}

/* low .. high, both included. */
static inline uint64_t sim_random_between(struct sim_random *r, uint64_t low, uint64_t high)
{
    assert(low <= high);
    return low + sim_random_below(r, high - low + 1);
}

static inline bool sim_random_chance(struct sim_random *r, uint32_t per_million)
{
    return per_million > 0 && sim_random_below(r, 1000000) < per_million;
}

/* low .. high, small values likelier: every doubling is as likely as the one before. low > 0. */
uint64_t sim_random_scale(struct sim_random *r, uint64_t low, uint64_t high);

#endif
