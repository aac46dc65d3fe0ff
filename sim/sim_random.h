/* The one source of chance of a run: xoshiro256**, seeded through splitmix64. Integers only, so that
 * every machine draws the same. */
#ifndef CANTUS_SIM_SIM_RANDOM_H
#define CANTUS_SIM_SIM_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct sim_random {
    uint64_t word[4];
};

void sim_random_init(struct sim_random *r, uint64_t seed);
uint64_t sim_random_next(struct sim_random *r);
/* 0 .. bound - 1; bound > 0. */
uint64_t sim_random_below(struct sim_random *r, uint64_t bound);
/* low .. high, both included. */
uint64_t sim_random_between(struct sim_random *r, uint64_t low, uint64_t high);
bool sim_random_chance(struct sim_random *r, uint32_t per_million);
/* low .. high, small values likelier: every doubling is as likely as the one before. low > 0. */
uint64_t sim_random_scale(struct sim_random *r, uint64_t low, uint64_t high);

#endif
