/* Promotion during a gap fill: a follower at sequenced has asked for what it missed, and the answer,
 * of a tail that dies meanwhile, arrives after the first that it hears of the later epoch, which is
 * not its record. It links to what the follower has, and is not delivered, for the later epoch does
 * not vouch for it. */
#include "tests/sim/schedule.h"

/* "b" reaches store 1 alone; app 2 hears of it by a heartbeat, and asks; the answer takes long. */
static void play_gap(struct schedule *d)
{
    schedule_strand(d);
    sim_hold(d->s, "store-1", "app-2", true);
    sim_hold(d->s, "sequencer-1", "app-2", true);
    schedule_say(d, "b");
    sim_advance(d->s, MS);
    schedule_lose(d, " sequencer-1 -> app-2 BATCH");
    schedule_expect(d, sim_deliver(d->s, schedule_find(d, " sequencer-1 -> app-2 HEARTBEAT")));
    schedule_wait_flight(d, " store-1 -> app-2 BATCH");
    schedule_bury(d);
}

/* Of the later epoch app 2 hears a message far above its record, and nothing else yet. */
static void play(struct schedule *d)
{
    schedule_say(d, "a");
    sim_advance(d->s, 60 * MS);
    play_gap(d);
    sim_hold(d->s, "*", "alice", true); /* which would say it again */
    sim_hold(d->s, "*", "app-2", true);
    uint64_t before = sim_seq(d->s, d->sequenced);
    sim_promote(d->s, d->sequencer[1], "amid a fill");
    schedule_wait_lead(d, d->sequencer[1]);
    ck_assert(sim_publish(d->s, "bob", "/said", "c", 1));
    sim_advance(d->s, 60 * MS);
    schedule_expect(d, sim_seq(d->s, d->sequencer[1]) > before + 2);
    char newest[80];
    snprintf(newest, sizeof newest, "..%lu epoch 2 ", sim_seq(d->s, d->sequencer[1]));
    schedule_expect(d, sim_epoch(d->s, d->sequenced) < sim_epoch(d->s, d->sequencer[1]));
    schedule_expect(d, sim_deliver(d->s, schedule_find(d, newest)));
    schedule_lose(d, " sequencer-2 -> app-2 ");
    schedule_expect(d, sim_epoch(d->s, d->sequenced) == sim_epoch(d->s, d->sequencer[1]));
    schedule_expect(d, sim_seq(d->s, d->sequenced) == before);
    schedule_expect(d, schedule_pass(d, " store-1 -> app-2 BATCH") > 0);
    schedule_expect(d, sim_seq(d->s, d->sequenced) == before);
}

START_TEST(a_dead_fill_is_not_delivered)
{
    struct schedule d = schedule_open(NULL);
    play(&d);
    sim_restart(d.s, d.sequencer[0]);
    sim_restart(d.s, d.store[0]);
    schedule_end(&d, d.sequencer[1], 3);
}
END_TEST

START_TEST(a_follower_that_delivers_it_is_caught)
{
    struct schedule d = schedule_open("deliver-unvouched");
    play(&d);
    schedule_caught(&d, SIM_ONE_ORDER);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_gap_fill", a_dead_fill_is_not_delivered,
                         a_follower_that_delivers_it_is_caught);
}
