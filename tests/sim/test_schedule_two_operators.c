/* Two operators promoting at once, each at a standby of his own, while the old leader is only slow.
 * Both candidates pick the same number, and all stores hear the one, then the other. A promise is
 * for one candidate of a number, so one of them begins with it and the other takes a higher one;
 * what was said is in the stream once. */
#include "tests/sim/schedule.h"

static uint32_t play(struct schedule *d)
{
    schedule_say(d, "a");
    sim_advance(d->s, 60 * MS);
    sim_freeze(d->s, d->sequencer[0], true);
    schedule_say(d, "b");
    sim_settle(d->s);
    /* Nobody hears the first but that the stores hear it seal, and the second comes later. */
    sim_hold(d->s, "sequencer-2", "*", true);
    sim_hold(d->s, "sequencer-3", "*", true);
    sim_hold(d->s, "*", "sequencer-3", true);
    sim_promote(d->s, d->sequencer[1], "operator one");
    sim_promote(d->s, d->sequencer[2], "operator two");
    schedule_wait_flight(d, " sequencer-3 -> store-3 SEAL");
    for (int i = 0; i < 100 && !sim_leads(d->s, d->sequencer[1]); i++) {
        schedule_pass(d, " sequencer-2 -> store-1 SEAL");
        schedule_pass(d, " sequencer-2 -> store-2 SEAL");
        schedule_pass(d, " sequencer-2 -> store-3 SEAL");
        sim_advance(d->s, MS / 10);
    }
    schedule_expect(d, sim_leads(d->s, d->sequencer[1]));
    uint32_t number = sim_epoch(d->s, d->sequencer[1]);
    sim_advance(d->s, MS);
    for (int i = 0; i < 3; i++)
        schedule_expect(d, sim_epoch(d->s, d->store[i]) == number);
    /* The second has heard no promise to the first, and now its word arrives. */
    schedule_lose(d, " -> sequencer-3 PROMISE");
    sim_hold(d->s, "*", "sequencer-3", false);
    sim_hold(d->s, "sequencer-2", "sequencer-3", true);
    char rival[2][60];
    for (int i = 0; i < 2; i++) {
        snprintf(rival[i], sizeof rival[i], " sequencer-3 -> store-%d SEAL %u", i + 1, number);
        schedule_expect(d, schedule_pass(d, rival[i]) > 0);
    }
    sim_advance(d->s, MS);
    sim_hold(d->s, "*", "*", false);
    sim_freeze(d->s, d->sequencer[0], false);
    for (int i = 0; i < 400; i++) {
        sim_advance(d->s, 5 * MS);
        if (sim_leads(d->s, d->sequencer[1]) != sim_leads(d->s, d->sequencer[2]) &&
            !sim_leads(d->s, d->sequencer[0]))
            break;
    }
    schedule_expect(d, !sim_leads(d->s, d->sequencer[0]));
    return sim_leads(d->s, d->sequencer[1]) ? d->sequencer[1] : d->sequencer[2];
}

START_TEST(one_leads_in_the_end)
{
    struct schedule d = schedule_open(NULL);
    uint32_t leader = play(&d);
    schedule_end(&d, leader, 2);
}
END_TEST

START_TEST(stores_that_promise_the_number_to_both_are_caught)
{
    struct schedule d = schedule_open("epoch-number-only");
    play(&d);
    schedule_caught(&d, SIM_FENCED);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_two_operators", one_leads_in_the_end,
                         stores_that_promise_the_number_to_both_are_caught);
}
