/* A full disk on the quorum's slowest member: one store is down, so each of the two others counts,
 * and the slower one's disk is full. Nothing more becomes stable and nothing stable is lost; a
 * promotion meanwhile begins, since promises and the epoch record have room in reserve or wait; and
 * when there is room again all goes on by itself. */
#include "tests/sim/schedule.h"

START_TEST(it_stops_the_watermark_and_no_more)
{
    struct schedule d = schedule_open();
    schedule_say(&d, "a");
    sim_advance(d.s, 60 * MS);
    sim_crash(d.s, d.store[2]);
    sim_fill_disk(d.s, d.store[1], true);
    uint64_t stable = sim_stable(d.s, d.sequencer[0]);
    for (int i = 0; i < 20; i++) {
        schedule_say(&d, "b");
        sim_advance(d.s, MS);
    }
    sim_advance(d.s, 60 * MS);
    ck_assert_uint_gt(sim_seq(d.s, d.store[0]), stable + 19);
    const struct schedule_tally *t = sim_app_state(d.s, d.stable);
    uint64_t seen = t->count;
    ck_assert_uint_lt(seen, 21);
    sim_crash(d.s, d.sequencer[0]);
    sim_promote(d.s, d.sequencer[1], "it may not even seal");
    sim_advance(d.s, 100 * MS);
    ck_assert_str_eq(sim_violation(d.s), "");
    sim_fill_disk(d.s, d.store[1], false);
    schedule_wait_lead(&d, d.sequencer[1]);
    sim_restart(d.s, d.sequencer[0]);
    sim_restart(d.s, d.store[2]);
    schedule_end(&d, d.sequencer[1], 21);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_full_disk", it_stops_the_watermark_and_no_more);
}
