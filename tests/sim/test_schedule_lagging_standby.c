/* Promotion of the standby that lags: it has heard nothing for hundreds of messages when the leader
 * dies and it is chosen. It fetches what the stores promised before it begins; nothing is lost, and
 * its number of the publisher goes on where the stream's does. */
#include "tests/sim/schedule.h"

START_TEST(it_catches_up_before_it_begins)
{
    struct schedule d = schedule_open();
    schedule_cut_off(&d, "sequencer-3", true);
    for (int i = 0; i < 200; i++) {
        schedule_say(&d, "x");
        sim_advance(d.s, MS / 4);
    }
    sim_advance(d.s, 60 * MS);
    uint64_t stable = sim_stable(d.s, d.sequencer[0]);
    ck_assert_uint_gt(stable, 200);
    ck_assert_uint_lt(sim_seq(d.s, d.sequencer[2]), 20);
    schedule_say(&d, "y");
    sim_settle(d.s);
    sim_crash(d.s, d.sequencer[0]);
    for (uint32_t i = sim_in_flight(d.s); i-- > 0;)
        ck_assert(sim_drop(d.s, i));
    schedule_cut_off(&d, "sequencer-3", false);
    sim_promote(d.s, d.sequencer[2], "whoever is there");
    schedule_wait_lead(&d, d.sequencer[2]);
    ck_assert_uint_gt(sim_seq(d.s, d.sequencer[2]), stable);
    sim_restart(d.s, d.sequencer[0]);
    schedule_end(&d, d.sequencer[2], 201);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_lagging_standby", it_catches_up_before_it_begins);
}
