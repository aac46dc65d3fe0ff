/* Promotion of the standby that lags: it has heard nothing for hundreds of messages when the leader
 * dies and it is chosen. It fetches what the stores promised before it begins; nothing is lost, and
 * its numbers of the publisher go on where the stream's do: what it hears late, of what the dead
 * leader has sequenced long ago, is not sequenced again. */
#include "tests/sim/schedule.h"

static void play(struct schedule *d)
{
    schedule_say(d, "w");
    sim_advance(d->s, 60 * MS);
    schedule_cut_off(d, "sequencer-3", true);
    for (int i = 0; i < 200; i++) {
        schedule_say(d, "x");
        sim_advance(d->s, MS / 4);
    }
    sim_advance(d->s, 60 * MS);
    uint64_t stable = sim_stable(d->s, d->sequencer[0]);
    schedule_expect(d, stable > 200);
    schedule_expect(d, sim_seq(d->s, d->sequencer[2]) < 20);
    schedule_say(d, "y");
    sim_settle(d->s);
    sim_crash(d->s, d->sequencer[0]);
    /* All that is on the way is lost, but the first that alice proposed to it since. */
    uint32_t late = schedule_find(d, " alice -> sequencer-3 PROPOSAL 2..");
    schedule_expect(d, late != UINT32_MAX);
    for (uint32_t i = sim_in_flight(d->s); i-- > 0;)
        if (i != late)
            ck_assert(sim_drop(d->s, i));
    schedule_cut_off(d, "sequencer-3", false);
    sim_hold(d->s, "alice", "sequencer-3", true);
    sim_promote(d->s, d->sequencer[2], "whoever is there");
    schedule_wait_lead(d, d->sequencer[2]);
    schedule_expect(d, sim_seq(d->s, d->sequencer[2]) > stable);
    uint64_t said = sim_sequenced(d->s, "/said");
    schedule_expect(d, said > 200);
    schedule_expect(d, sim_deliver(d->s, schedule_find(d, " alice -> sequencer-3 PROPOSAL 2..")));
    schedule_expect(d, sim_sequenced(d->s, "/said") == said);
}

START_TEST(it_catches_up_before_it_begins)
{
    struct schedule d = schedule_open(NULL);
    play(&d);
    sim_restart(d.s, d.sequencer[0]);
    schedule_end(&d, d.sequencer[2], 202);
}
END_TEST

START_TEST(one_that_forgets_the_numbers_is_caught)
{
    struct schedule d = schedule_open("dedup-forgotten");
    play(&d);
    schedule_caught(&d, SIM_EXACTLY_ONCE);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_lagging_standby", it_catches_up_before_it_begins,
                         one_that_forgets_the_numbers_is_caught);
}
