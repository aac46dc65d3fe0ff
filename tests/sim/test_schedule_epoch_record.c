/* An epoch record that reaches one retransmitter: its leader dies before anybody else hears of the
 * epoch, and another store has a longer tail, of the epoch before. Whoever leads next begins above
 * the record, if that store is among those that promise, and the longer tail is cut; or above the
 * longer tail, and then the record is cut. */
#include "tests/sim/schedule.h"

/* "b" and "c" are on store 3 alone. */
static void play_long_tail(struct schedule *d)
{
    const char *deaf[] = { "store-1", "store-2", "sequencer-2", "sequencer-3" };
    for (int i = 0; i < 4; i++) {
        sim_hold(d->s, "alice", deaf[i], true);
        sim_hold(d->s, "sequencer-1", deaf[i], true);
        sim_hold(d->s, "store-3", deaf[i], true);
    }
    schedule_say(d, "b");
    sim_advance(d->s, MS);
    schedule_say(d, "c");
    sim_advance(d->s, MS);
    sim_crash(d->s, d->sequencer[0]);
    schedule_lose(d, " ");
    schedule_cut_off(d, "store-3", true);
}

static void play(struct schedule *d, bool heard_of_it)
{
    schedule_say(d, "a");
    sim_advance(d->s, 60 * MS);
    uint64_t before = sim_seq(d->s, d->store[0]);
    play_long_tail(d);
    sim_hold(d->s, "alice", "*", true); /* so that nothing but the record is in epoch 2 */
    sim_promote(d->s, d->sequencer[1], "for one store only");
    /* Seals pass, the record does not, but to store 1. */
    for (int i = 0; i < 100 && !sim_leads(d->s, d->sequencer[1]); i++) {
        sim_hold(d->s, "sequencer-2", "*", true);
        sim_advance(d->s, MS / 10);
        schedule_pass(d, " sequencer-2 -> store-1 SEAL");
        schedule_pass(d, " sequencer-2 -> store-2 SEAL");
    }
    schedule_expect(d, sim_leads(d->s, d->sequencer[1]));
    sim_hold(d->s, "sequencer-2", "store-1", false);
    sim_hold(d->s, "store-1", "*", true);
    sim_hold(d->s, "store-1", "sequencer-2", false);
    sim_advance(d->s, MS);
    sim_crash(d->s, d->sequencer[1]);
    schedule_lose(d, " ");
    schedule_expect(d, sim_seq(d->s, d->store[0]) > before);
    schedule_expect(d, sim_seq(d->s, d->store[1]) == before);
    schedule_expect(d, sim_seq(d->s, d->store[2]) > sim_seq(d->s, d->store[0]));
    sim_hold(d->s, "*", "*", false);
    schedule_cut_off(d, heard_of_it ? "store-2" : "store-1", true);
    uint64_t record = sim_seq(d->s, d->store[0]), longest = sim_seq(d->s, d->store[2]);
    sim_promote(d->s, d->sequencer[2], "again");
    for (int i = 0; i < 400 && !sim_leads(d->s, d->sequencer[2]); i++)
        sim_advance(d->s, MS / 10);
    schedule_expect(d, sim_leads(d->s, d->sequencer[2]));
    char first[80];
    snprintf(first, sizeof first, " BATCH %lu..%lu epoch %u ", (heard_of_it ? record : longest) + 1,
             (heard_of_it ? record : longest) + 1, sim_epoch(d->s, d->sequencer[2]));
    schedule_expect(d, strstr(sim_trace(d->s), first) != NULL);
}

static void pass(bool heard_of_it)
{
    struct schedule d = schedule_open(NULL);
    play(&d, heard_of_it);
    sim_restart(d.s, d.sequencer[0]);
    sim_restart(d.s, d.sequencer[1]);
    schedule_say(&d, "d");
    schedule_end(&d, d.sequencer[2], 4);
}

START_TEST(it_is_adopted_or_cut)
{
    pass(true);
    pass(false);
}
END_TEST

START_TEST(a_candidate_that_adopts_the_longer_tail_is_caught)
{
    struct schedule d = schedule_open("adopt-longest");
    play(&d, true);
    schedule_caught(&d, SIM_FENCED);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_epoch_record", it_is_adopted_or_cut,
                         a_candidate_that_adopts_the_longer_tail_is_caught);
}
