/* A store that runs on an older copy of its disk, when everybody who remembers is gone: the power of the whole room
 * fails, one store comes back as it was before, one as it should, and a sequencer that has heard nothing
 * seals. The two would be a quorum. What the leader of then had put into the stream, of what each store had said, is in
 * the journal that the candidate adopts: it goes on waiting for the third store, and the one that forgot
 * is formatted anew.
 *
 * The mistake is to believe a store whatever it has said before. */
#include "tests/sim/schedule.h"

static void play(struct schedule *d, const char *sabotage)
{
    schedule_say(d, "a");
    sim_advance(d->s, 100 * MS);
    ck_assert(sim_keep(d->s, d->store[1]));
    for (int i = 0; i < 10; i++) {
        schedule_say(d, "b");
        sim_advance(d->s, 20 * MS);
    }
    sim_advance(d->s, 2000 * MS); /* meanwhile the stream is told what the stores have said */
    uint64_t stable = sim_stable(d->s, d->sequencer[0]);
    for (int i = 0; i < 3; i++) {
        sim_crash(d->s, d->sequencer[i]);
        sim_crash(d->s, d->store[i]);
    }
    ck_assert_str_eq(sim_violation(d->s), "");
    sim_put_back(d->s, d->store[1]);
    ck_assert(sim_plant(d->s, sabotage));
    sim_restart(d->s, d->sequencer[1]);
    ck_assert(sim_plant(d->s, NULL));
    sim_restart(d->s, d->store[0]);
    sim_restart(d->s, d->store[1]);
    ck_assert_uint_lt(sim_seq(d->s, d->store[1]), stable);
    sim_promote(d->s, d->sequencer[1], "the power is back");
    sim_advance(d->s, 300 * MS);
    schedule_expect(d, !sim_leads(d->s, d->sequencer[1]));
    schedule_expect(d, strstr(sim_trace(d->s), "store-2 finds that it was restored") != NULL);
}

START_TEST(it_is_told_and_does_not_count)
{
    struct schedule d = schedule_open(NULL);
    play(&d, NULL);
    ck_assert_str_eq(sim_violation(d.s), "");
    sim_restart(d.s, d.store[2]);
    schedule_wait_lead(&d, d.sequencer[1]);
    sim_restart(d.s, d.sequencer[0]);
    sim_restart(d.s, d.sequencer[2]);
    schedule_end(&d, d.sequencer[1], 11);
}
END_TEST

START_TEST(believing_it_is_caught)
{
    struct schedule d = schedule_open(NULL);
    play(&d, "restored-votes");
    schedule_caught(&d, SIM_FENCED);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_restored", it_is_told_and_does_not_count,
                         believing_it_is_caught);
}
