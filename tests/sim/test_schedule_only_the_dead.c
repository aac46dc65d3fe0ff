/* The message that only the dead sequencer's store had: a follower at sequenced was handed it, then
 * sequencer and store die together. Whoever leads next begins without it; the follower is told that
 * it forked, its author proposes it again, and when the store comes back it cuts it. It is in the
 * stream once. */
#include "tests/sim/schedule.h"

START_TEST(it_is_forgotten_and_said_again)
{
    struct schedule d = schedule_open();
    schedule_say(&d, "a");
    sim_advance(d.s, 60 * MS);
    const char *deaf[] = { "store-2", "store-3", "sequencer-2", "sequencer-3" };
    for (int i = 0; i < 4; i++) {
        sim_hold(d.s, "sequencer-1", deaf[i], true);
        sim_hold(d.s, "store-1", deaf[i], true);
    }
    schedule_say(&d, "b");
    sim_advance(d.s, MS);
    const struct schedule_tally *t = sim_app_state(d.s, d.sequenced);
    ck_assert_uint_eq(t->count, 2);
    t = sim_app_state(d.s, d.stable);
    ck_assert_uint_eq(t->count, 1);
    uint64_t lost = sim_seq(d.s, d.store[0]);
    sim_crash(d.s, d.sequencer[0]);
    sim_crash(d.s, d.store[0]);
    for (int i = 0; i < 4; i++) {
        schedule_lose(&d, "sequencer-1", deaf[i]);
        schedule_lose(&d, "store-1", deaf[i]);
    }
    ck_assert_uint_lt(sim_seq(d.s, d.store[1]), lost);
    sim_promote(d.s, d.sequencer[1], "the first is dead");
    schedule_wait_lead(&d, d.sequencer[1]);
    sim_advance(d.s, 100 * MS);
    sim_restart(d.s, d.store[0]);
    sim_restart(d.s, d.sequencer[0]);
    schedule_end(&d, d.sequencer[1], 2);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_only_the_dead", it_is_forgotten_and_said_again);
}
