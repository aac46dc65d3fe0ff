/* The message that only the dead sequencer's store had: a follower at sequenced was handed it, then
 * sequencer and store die together. Whoever leads next begins without it; the follower is told that
 * it forked, its author proposes it again, and when the store comes back it cuts it. It is in the
 * stream once. */
#include "tests/sim/schedule.h"

static void play(struct schedule *d)
{
    schedule_say(d, "a");
    sim_advance(d->s, 60 * MS);
    schedule_strand(d);
    schedule_say(d, "b");
    sim_advance(d->s, MS);
    const struct schedule_tally *t = sim_app_state(d->s, d->sequenced);
    schedule_expect(d, t->count == 2);
    t = sim_app_state(d->s, d->stable);
    schedule_expect(d, t->count == 1);
    uint64_t lost = sim_seq(d->s, d->store[0]);
    schedule_bury(d);
    schedule_expect(d, sim_seq(d->s, d->store[1]) < lost);
    sim_promote(d->s, d->sequencer[1], "the first is dead");
    schedule_wait_lead(d, d->sequencer[1]);
    sim_advance(d->s, 100 * MS);
    schedule_expect(d, strstr(sim_trace(d->s), "app-2 reports FORKED") != NULL);
    schedule_expect(d, strstr(sim_trace(d->s), "app-1 reports FORKED") == NULL);
}

START_TEST(it_is_forgotten_and_said_again)
{
    struct schedule d = schedule_open(NULL);
    play(&d);
    sim_restart(d.s, d.store[0]);
    sim_restart(d.s, d.sequencer[0]);
    schedule_end(&d, d.sequencer[1], 2);
}
END_TEST

START_TEST(a_follower_that_does_not_find_out_is_caught)
{
    struct schedule d = schedule_open("forked-by-seq");
    play(&d);
    schedule_caught(&d, SIM_ONE_ORDER);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_only_the_dead", it_is_forgotten_and_said_again,
                         a_follower_that_does_not_find_out_is_caught);
}
