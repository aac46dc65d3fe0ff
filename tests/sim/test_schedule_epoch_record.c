/* An epoch record that reaches one retransmitter: its leader dies before anybody else hears of the
 * epoch. Whoever leads next begins above it: on the record, if that store is among those that
 * promise, or without it, and then that store cuts it. */
#include "tests/sim/schedule.h"

static void run(bool heard_of_it)
{
    struct schedule d = schedule_open();
    schedule_say(&d, "a");
    sim_advance(d.s, 60 * MS);
    uint64_t before = sim_seq(d.s, d.store[0]);
    sim_crash(d.s, d.sequencer[0]);
    sim_promote(d.s, d.sequencer[1], "for one store only");
    /* Seals pass, the record does not, but to store 1. */
    for (int i = 0; i < 100 && !sim_leads(d.s, d.sequencer[1]); i++) {
        sim_hold(d.s, "sequencer-2", "*", true);
        sim_advance(d.s, MS / 10);
        for (uint32_t k = sim_in_flight(d.s); k-- > 0;)
            if (strstr(sim_describe(d.s, k), "SEAL") != NULL ||
                strstr(sim_describe(d.s, k), "GAP") != NULL)
                ck_assert(sim_deliver(d.s, k));
    }
    ck_assert(sim_leads(d.s, d.sequencer[1]));
    sim_hold(d.s, "sequencer-2", "store-1", false);
    sim_hold(d.s, "store-1", "*", true);
    sim_hold(d.s, "store-1", "sequencer-2", false);
    sim_advance(d.s, MS);
    ck_assert_uint_gt(sim_seq(d.s, d.store[0]), before);
    ck_assert_uint_eq(sim_seq(d.s, d.store[1]), before);
    sim_crash(d.s, d.sequencer[1]);
    for (uint32_t k = sim_in_flight(d.s); k-- > 0;)
        ck_assert(sim_drop(d.s, k));
    sim_hold(d.s, "*", "*", false);
    schedule_cut_off(&d, heard_of_it ? "store-3" : "store-1", true);
    sim_promote(d.s, d.sequencer[2], "again");
    schedule_wait_lead(&d, d.sequencer[2]);
    ck_assert_uint_gt(sim_epoch(d.s, d.sequencer[2]), 2);
    sim_restart(d.s, d.sequencer[0]);
    sim_restart(d.s, d.sequencer[1]);
    schedule_say(&d, "b");
    schedule_end(&d, d.sequencer[2], 2);
}

START_TEST(it_is_adopted_or_cut)
{
    run(true);
    run(false);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_epoch_record", it_is_adopted_or_cut);
}
