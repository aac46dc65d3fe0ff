#include "retransmitter/core_private.h"

/* The scrub has the lowest rank of all who read: one piece in flight, no faster than it was told,
 * and it gives way to fills and replays; not for ever, or a busy store would never be looked at. */

static bool disk_wanted(const struct retransmitter *r)
{
    return fill_reading(r) || replay_reading(r) || command_reading(r) || journal_full(r->journal);
}

static uint64_t piece_ns(const struct retransmitter *r)
{
    return (uint64_t)JOURNAL_SCRUB_BYTES * UINT64_C(1000000000) / r->o.scrub_bytes_per_s;
}

uint64_t scrub_step(struct retransmitter *r)
{
    uint64_t now = r->now.mono_ns;
    if (r->o.scrub_bytes_per_s == 0 || r->draining)
        return PORT_NEVER;
    if (now < r->scrub_at_ns)
        return r->scrub_at_ns;
    r->scrub_at_ns = now + SCRUB_YIELD_NS;
    if (journal_scrubbing(r->journal) ||
        (disk_wanted(r) && now < r->scrub_begun_ns + SCRUB_HOLD_NS))
        return r->scrub_at_ns;
    switch (journal_scrub(r->journal)) {
    case JOURNAL_SCRUB_READING:
        r->scrub_begun_ns = now;
        r->scrub_at_ns = now + piece_ns(r);
        break;
    case JOURNAL_SCRUB_LATER:
        break;
    case JOURNAL_SCRUB_END:
        r->scrub_at_ns = now + r->o.scrub_pause_ns;
        break;
    }
    return r->scrub_at_ns;
}
