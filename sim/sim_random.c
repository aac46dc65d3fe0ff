#include "sim/sim_random.h"

#include <assert.h>

void sim_random_init(struct sim_random *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = seed;
        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        r->word[i] = z ^ z >> 31;
    }
}

uint64_t sim_random_scale(struct sim_random *r, uint64_t low, uint64_t high)
{
    assert(low > 0 && low <= high);
    uint32_t doublings = 0;
    while (low << (doublings + 1) <= high && doublings < 62)
        doublings++;
    uint64_t from = low << sim_random_below(r, doublings + 1);
    uint64_t to = from * 2 < high ? from * 2 : high;
    return sim_random_between(r, from, to);
}
