/* Raft's figure 8, on our tails. A leader's last messages are on one store only; another leader's
 * record, of a later epoch, on another. A third adopts the older tail, which then comes to a
 * majority: that does not make it stable, for the later epoch's tail can still be adopted over it.
 * Here it is, and nothing was lost but what was never stable. Only with a message of its own epoch
 * above it would it have become stable. */
#include "tests/sim/schedule.h"

enum { LONG = 40 }; /* messages, which together take a store several commits */

/* They reach store 1 only, and their leader dies. */
static void play_first(struct schedule *d)
{
    static char text[8000];
    schedule_strand(d);
    for (int i = 0; i < 4; i++)
        sim_hold(d->s, "alice", schedule_others[i], true);
    for (int i = 0; i < LONG; i++)
        ck_assert(sim_publish(d->s, "alice", "/said", text, sizeof text));
    sim_advance(d->s, 60 * MS);
    sim_crash(d->s, d->sequencer[0]);
    schedule_lose(d, " ");
    sim_hold(d->s, "*", "*", false);
    sim_hold(d->s, "alice", "*", true);
}

/* The second leads with stores 2 and 3, and only store 3 hears its record. */
static void play_second(struct schedule *d)
{
    schedule_cut_off(d, "store-1", true);
    sim_hold(d->s, "sequencer-2", "*", true);
    sim_promote(d->s, d->sequencer[1], "figure 8");
    for (int i = 0; i < 400 && !sim_leads(d->s, d->sequencer[1]); i++) {
        sim_advance(d->s, MS / 10);
        schedule_pass(d, " sequencer-2 -> store-2 SEAL");
        schedule_pass(d, " sequencer-2 -> store-3 SEAL");
    }
    schedule_expect(d, sim_leads(d->s, d->sequencer[1]));
    sim_hold(d->s, "store-3", "*", true);
    sim_hold(d->s, "sequencer-2", "store-3", false);
    sim_advance(d->s, MS);
    sim_crash(d->s, d->sequencer[1]);
    schedule_lose(d, " ");
}

/* The third leads with stores 1 and 2, and store 2 copies the adopted tail. */
static void play_third(struct schedule *d, uint64_t before)
{
    sim_hold(d->s, "*", "*", false);
    sim_hold(d->s, "alice", "*", true);
    schedule_cut_off(d, "store-3", true);
    uint64_t tail = sim_seq(d->s, d->store[0]);
    sim_promote(d->s, d->sequencer[2], "and again");
    for (int i = 0; i < 4000 && sim_seq(d->s, d->store[1]) == before; i++)
        sim_advance(d->s, MS / 100);
    /* Some of it is on a majority now, and acknowledged, and nothing of the new epoch is. */
    uint64_t copied = sim_seq(d->s, d->store[1]);
    schedule_expect(d, sim_leads(d->s, d->sequencer[2]));
    schedule_expect(d, copied > before && copied < tail);
    char ack[60];
    snprintf(ack, sizeof ack, "store-2 -> ingress ACK %lu epoch 1 promised %u", copied,
             sim_epoch(d->s, d->sequencer[2]));
    schedule_expect(d, strstr(sim_trace(d->s), ack) != NULL);
    schedule_expect(d, sim_stable(d->s, d->sequencer[2]) == before);
}

static void play(struct schedule *d)
{
    schedule_say(d, "a");
    sim_advance(d->s, 60 * MS);
    uint64_t before = sim_stable(d->s, d->sequencer[0]);
    play_first(d);
    schedule_expect(d, sim_seq(d->s, d->store[0]) > before + LONG);
    schedule_expect(d, sim_seq(d->s, d->store[1]) == before);
    play_second(d);
    schedule_expect(d, sim_seq(d->s, d->store[2]) == before + 1);
    schedule_expect(d, sim_seq(d->s, d->store[1]) == before);
    play_third(d, before);
    /* All that have the copy and the new record die; the second's tail is higher than what is
     * left. */
    sim_crash(d->s, d->sequencer[2]);
    sim_crash(d->s, d->store[1]);
    sim_crash(d->s, d->store[0]);
    schedule_lose(d, " ");
    sim_restart(d->s, d->sequencer[0]);
    sim_restart(d->s, d->store[1]);
    schedule_expect(d, sim_seq(d->s, d->store[1]) > before);
    schedule_cut_off(d, "store-3", false);
    sim_promote(d->s, d->sequencer[0], "the second's tail is the higher one");
    schedule_wait_lead(d, d->sequencer[0]);
    sim_advance(d->s, 10 * MS);
    schedule_expect(d, sim_stable(d->s, d->sequencer[0]) > before);
    schedule_expect(d, sim_sequenced(d->s, "/said") == 1);
}

START_TEST(a_tail_of_an_old_epoch_is_not_stable_by_number)
{
    struct schedule d = schedule_open(NULL);
    play(&d);
    sim_restart(d.s, d.store[0]);
    sim_restart(d.s, d.sequencer[1]);
    sim_restart(d.s, d.sequencer[2]);
    schedule_end(&d, d.sequencer[0], 1 + LONG);
}
END_TEST

START_TEST(a_leader_that_counts_it_is_caught)
{
    struct schedule d = schedule_open("stable-on-adopt");
    play(&d);
    schedule_caught(&d, SIM_NOTHING_STABLE_LOST);
    d = schedule_open("ack-any-epoch");
    play(&d);
    schedule_caught(&d, SIM_NOTHING_STABLE_LOST);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_figure_8", a_tail_of_an_old_epoch_is_not_stable_by_number,
                         a_leader_that_counts_it_is_caught);
}
