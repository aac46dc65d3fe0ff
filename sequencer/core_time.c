#include "sequencer/core_private.h"

/* The median of the members' clocks, as an offset to our monotonic one: the lower one of two in the
 * middle, because what it guards against is a clock that is ahead. */
static void find_median(struct sequencer *s)
{
    int64_t offsets[STORES_MAX];
    uint32_t n = 0;
    const struct membership *members = catalog_members(s->catalog);
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        const struct store *store = &s->stores[i];
        if (store->id == 0 || !store->has_clock)
            continue;
        if (members->count > 0 && !membership_has(members, store->id))
            continue;
        int64_t offset = (int64_t)store->clock_offset;
        uint32_t at = n++;
        for (; at > 0 && offsets[at - 1] > offset; at--)
            offsets[at] = offsets[at - 1];
        offsets[at] = offset;
    }
    s->has_median = n > 0;
    if (n > 0)
        s->median_offset = (uint64_t)offsets[(n - 1) / 2];
}

void time_heard_clock(struct sequencer *s, struct store *store, uint64_t clock_ns)
{
    store->clock_offset = clock_ns - s->now.mono_ns;
    store->has_clock = true;
    find_median(s);
}

/* Our clock, or the median's where ours is far ahead of it. */
static uint64_t accepted_clock(struct sequencer *s)
{
    uint64_t clock = s->now.wall_ns;
    if (!s->has_median)
        return clock;
    uint64_t median = s->now.mono_ns + s->median_offset;
    bool ahead = clock > median && clock - median > s->o.clock_ahead_max_ns;
    if (ahead && !s->clock_refused)
        count(s, COUNTER_CLOCK_REFUSED, 1);
    s->clock_refused = ahead;
    return ahead ? median : clock;
}

uint64_t time_stamp(struct sequencer *s)
{
    if (sabotaged(s, SEQUENCER_CLOCK_UNCLAMPED))
        return s->now.wall_ns;
    uint64_t clock = accepted_clock(s);
    if (clock >= s->last_stamp_ns) {
        s->clock_behind = false;
        s->last_stamp_ns = clock;
        s->last_stamp_mono_ns = s->now.mono_ns;
        return clock;
    }
    /* Behind: time goes on at half its rate until the clock has caught up. What halving drops stays
     * in last_stamp_mono_ns, so that many short steps add up. */
    if (!s->clock_behind) {
        count(s, COUNTER_CLOCK_BEHIND, 1);
        s->clock_behind = true;
    }
    if (s->now.mono_ns > s->last_stamp_mono_ns) {
        uint64_t half = (s->now.mono_ns - s->last_stamp_mono_ns) / 2;
        s->last_stamp_ns += half;
        s->last_stamp_mono_ns += 2 * half;
    }
    return s->last_stamp_ns;
}
