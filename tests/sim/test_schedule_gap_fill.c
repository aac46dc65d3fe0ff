/* Promotion during a gap fill: a follower at sequenced has asked for what it missed, and the answer,
 * of a tail that dies meanwhile, arrives after the later epoch's first word. It links to what the
 * follower has, and is not delivered, for the later epoch does not vouch for it. */
#include "tests/sim/schedule.h"

START_TEST(a_dead_fill_is_not_delivered)
{
    struct schedule d = schedule_open();
    schedule_say(&d, "a");
    sim_advance(d.s, 60 * MS);
    /* "b" reaches store 1 alone; the app hears of it by a heartbeat, and asks. */
    const char *deaf[] = { "store-2", "store-3", "sequencer-2", "sequencer-3" };
    for (int i = 0; i < 4; i++) {
        sim_hold(d.s, "sequencer-1", deaf[i], true);
        sim_hold(d.s, "store-1", deaf[i], true);
    }
    sim_hold(d.s, "store-1", "app-2", true);
    sim_hold(d.s, "sequencer-1", "app-2", true);
    schedule_say(&d, "b");
    sim_advance(d.s, MS);
    for (uint32_t i = sim_in_flight(d.s); i-- > 0;)
        if (strstr(sim_describe(d.s, i), "sequencer-1 -> app-2 BATCH") != NULL)
            ck_assert(sim_drop(d.s, i));
    for (uint32_t i = 0; i < sim_in_flight(d.s); i++)
        if (strstr(sim_describe(d.s, i), "sequencer-1 -> app-2 HEARTBEAT") != NULL) {
            ck_assert(sim_deliver(d.s, i));
            break;
        }
    sim_advance(d.s, 4 * MS);
    bool filled = false;
    for (uint32_t i = 0; i < sim_in_flight(d.s); i++)
        filled = filled || strstr(sim_describe(d.s, i), "store-1 -> app-2 BATCH") != NULL;
    ck_assert_msg(filled, "nobody answers");
    sim_crash(d.s, d.sequencer[0]);
    sim_crash(d.s, d.store[0]);
    for (int i = 0; i < 4; i++) {
        schedule_lose(&d, "sequencer-1", deaf[i]);
        schedule_lose(&d, "store-1", deaf[i]);
    }
    sim_hold(d.s, "*", "alice", true); /* which would say it again */
    sim_promote(d.s, d.sequencer[1], "amid a fill");
    schedule_wait_lead(&d, d.sequencer[1]);
    sim_advance(d.s, 20 * MS);
    const struct schedule_tally *t = sim_app_state(d.s, d.sequenced);
    uint64_t count = t->count;
    sim_hold(d.s, "store-1", "app-2", false);
    sim_settle(d.s);
    t = sim_app_state(d.s, d.sequenced);
    ck_assert_uint_eq(t->count, count);
    ck_assert_str_eq(sim_violation(d.s), "");
    sim_restart(d.s, d.sequencer[0]);
    sim_restart(d.s, d.store[0]);
    schedule_end(&d, d.sequencer[1], 2);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_gap_fill", a_dead_fill_is_not_delivered);
}
