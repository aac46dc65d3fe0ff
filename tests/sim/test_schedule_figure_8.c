/* Raft's figure 8, on our tails. A leader's last message is on one store only; another leader's, of
 * a later epoch, on another. The first leads once more and adopts its old tail, which then comes to
 * a majority: that does not make it stable, for the later epoch's tail could still be adopted over
 * it. Only with a message of the new epoch above it does it become stable, and then it stays. */
#include "tests/sim/schedule.h"

START_TEST(a_tail_of_an_old_epoch_is_not_stable_by_number)
{
    struct schedule d = schedule_open();
    schedule_say(&d, "a");
    sim_advance(d.s, 60 * MS);
    uint64_t before = sim_stable(d.s, d.sequencer[0]);
    /* "b" reaches store 1 only. */
    sim_hold(d.s, "sequencer-1", "store-2", true);
    sim_hold(d.s, "sequencer-1", "store-3", true);
    sim_hold(d.s, "store-1", "store-2", true);
    sim_hold(d.s, "store-1", "store-3", true);
    schedule_say(&d, "b");
    sim_advance(d.s, MS);
    uint64_t b = sim_seq(d.s, d.store[0]);
    ck_assert_uint_gt(b, before);
    ck_assert_uint_lt(sim_stable(d.s, d.sequencer[0]), b);
    /* Its leader dies; store 1 is cut off; another leads with stores 2 and 3, and is heard by 3 only,
     * and by nobody else. */
    sim_crash(d.s, d.sequencer[0]);
    schedule_lose(&d, "sequencer-1", "store-2");
    schedule_lose(&d, "sequencer-1", "store-3");
    schedule_cut_off(&d, "store-1", true);
    sim_promote(d.s, d.sequencer[1], "figure 8");
    schedule_wait_lead(&d, d.sequencer[1]);
    sim_advance(d.s, MS);
    ck_assert_uint_gt(sim_epoch(d.s, d.sequencer[1]), 1);
    sim_crash(d.s, d.sequencer[1]);
    /* The third adopts the highest tail, not the longest, once both are back. */
    schedule_cut_off(&d, "store-1", false);
    sim_promote(d.s, d.sequencer[2], "and again");
    schedule_wait_lead(&d, d.sequencer[2]);
    sim_restart(d.s, d.sequencer[0]);
    sim_restart(d.s, d.sequencer[1]);
    schedule_end(&d, d.sequencer[2], 2);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_figure_8", a_tail_of_an_old_epoch_is_not_stable_by_number);
}
