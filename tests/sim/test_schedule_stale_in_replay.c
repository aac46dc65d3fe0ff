/* The stale sequencer that wakes inside a replay: it was stopped while it led, and a store that was
 * down for long is reading the history over a stream. Another has all the promises, and nobody has
 * heard it yet, when the old one wakes and goes on emitting where it stopped. It is fenced by the
 * promises alone: no store records what it emits, nor does the store that is replaying. It finds
 * out, and stands by. */
#include "tests/sim/schedule.h"

/* Enough for a replay to take a while. */
static void play_history(struct schedule *d)
{
    static char text[2000];
    memset(text, 'x', sizeof text);
    for (int i = 0; i < 300; i++) {
        ck_assert(sim_publish(d->s, "alice", "/said", text, sizeof text));
        if (i % 10 == 0)
            sim_advance(d->s, MS);
    }
    sim_advance(d->s, 100 * MS);
    schedule_expect(d, sim_sequenced(d->s, "/said") == 300);
}

static void play(struct schedule *d)
{
    sim_advance(d->s, 20 * MS);
    sim_crash(d->s, d->store[2]);
    play_history(d);
    uint64_t tip = sim_seq(d->s, d->store[0]);
    /* What the old leader has not yet heard when it stops, it sequences when it wakes; of what
     * happens meanwhile it hears later. */
    sim_freeze(d->s, d->sequencer[0], true);
    schedule_say(d, "z");
    sim_settle(d->s);
    sim_hold(d->s, "*", "sequencer-1", true);
    sim_hold(d->s, "alice", "*", true);
    sim_restart(d->s, d->store[2]);
    for (int i = 0; i < 1000 && sim_seq(d->s, d->store[2]) < 20; i++)
        sim_advance(d->s, MS / 100);
    sim_hold(d->s, "sequencer-2", "*", true);
    sim_promote(d->s, d->sequencer[1], "the first is silent");
    for (int i = 0; i < 400 && !sim_leads(d->s, d->sequencer[1]); i++) {
        schedule_pass(d, " SEAL ");
        sim_advance(d->s, MS / 100);
    }
    schedule_expect(d, sim_leads(d->s, d->sequencer[1]));
    uint64_t replayed = sim_seq(d->s, d->store[2]);
    schedule_expect(d, replayed >= 20 && replayed < tip);
    sim_freeze(d->s, d->sequencer[0], false);
    sim_settle(d->s);
    /* It leads still, as far as it knows, and says so. */
    schedule_expect(d, sim_leads(d->s, d->sequencer[0]));
    schedule_expect(d, sim_seq(d->s, d->sequencer[0]) > tip);
    sim_advance(d->s, 2 * MS);
    schedule_expect(d, sim_seq(d->s, d->store[0]) == tip);
    schedule_expect(d, sim_seq(d->s, d->store[2]) <= tip);
    sim_hold(d->s, "*", "*", false);
    sim_advance(d->s, 50 * MS);
    schedule_expect(d, !sim_leads(d->s, d->sequencer[0]));
}

START_TEST(it_harms_nobody_and_finds_out)
{
    struct schedule d = schedule_open(NULL);
    play(&d);
    schedule_end(&d, d.sequencer[1], 301);
}
END_TEST

START_TEST(a_store_that_records_it_is_caught)
{
    struct schedule d = schedule_open("record-stale");
    play(&d);
    schedule_caught(&d, SIM_FENCED);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_stale_in_replay", it_harms_nobody_and_finds_out,
                         a_store_that_records_it_is_caught);
}
