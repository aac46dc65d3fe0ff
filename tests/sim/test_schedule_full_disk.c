/* A full disk on the quorum's slowest member: one store is down, so each of the two others counts,
 * and the slower one's disk is full. Nothing more becomes stable and nothing stable is lost; a
 * promotion meanwhile begins, since promises and the epoch record have room in reserve, or waits; and
 * when there is room again all goes on by itself.
 *
 * The mistake is planted in that one store, which starts again before its disk fills. */
#include "tests/sim/schedule.h"

static void play(struct schedule *d, const char *sabotage)
{
    schedule_say(d, "a");
    sim_advance(d->s, 60 * MS);
    sim_crash(d->s, d->store[2]);
    sim_crash(d->s, d->store[1]);
    ck_assert(sim_plant(d->s, sabotage));
    sim_restart(d->s, d->store[1]);
    ck_assert(sim_plant(d->s, NULL));
    sim_advance(d->s, 60 * MS);
    sim_fill_disk(d->s, d->store[1], true);
    ck_assert_str_eq(sim_violation(d->s), "");
    uint64_t stable = sim_stable(d->s, d->sequencer[0]);
    uint64_t durable = sim_seq(d->s, d->store[1]);
    for (int i = 0; i < 20; i++) {
        schedule_say(d, "b");
        sim_advance(d->s, MS);
    }
    sim_advance(d->s, 60 * MS);
    schedule_expect(d, sim_seq(d->s, d->store[0]) > stable + 19);
    schedule_expect(d, sim_seq(d->s, d->store[1]) == durable);
    schedule_expect(d, sim_stable(d->s, d->sequencer[0]) == stable);
    schedule_expect(d, strstr(sim_trace(d->s), " full") != NULL); /* it says so */
    const struct schedule_tally *t = sim_app_state(d->s, d->stable);
    schedule_expect(d, t->count < 21);
    sim_crash(d->s, d->sequencer[0]);
    sim_promote(d->s, d->sequencer[1], "it may not even seal");
    sim_advance(d->s, 100 * MS);
}

START_TEST(it_stops_the_watermark_and_no_more)
{
    struct schedule d = schedule_open(NULL);
    play(&d, NULL);
    ck_assert_str_eq(sim_violation(d.s), "");
    sim_fill_disk(d.s, d.store[1], false);
    schedule_wait_lead(&d, d.sequencer[1]);
    sim_restart(d.s, d.sequencer[0]);
    sim_restart(d.s, d.store[2]);
    schedule_end(&d, d.sequencer[1], 21);
}
END_TEST

START_TEST(a_store_that_acknowledges_what_it_could_not_write_is_caught)
{
    struct schedule d = schedule_open(NULL);
    play(&d, "send-before-persist");
    ck_assert_ptr_nonnull(strstr(sim_violation(d.s), "store-2 acknowledges"));
    schedule_caught(&d, SIM_NOTHING_STABLE_LOST);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_full_disk", it_stops_the_watermark_and_no_more,
                         a_store_that_acknowledges_what_it_could_not_write_is_caught);
}
