/* The stale sequencer that wakes inside a replay: it was stopped while it led, another leads, and a
 * store that was down for long is reading the history over a stream. Then the old one wakes and goes
 * on emitting where it stopped. It is fenced at once, finds out, and stands by; the store's replay
 * takes nothing of it. */
#include "tests/sim/schedule.h"

START_TEST(it_harms_nobody_and_finds_out)
{
    struct schedule d = schedule_open();
    sim_advance(d.s, 20 * MS);
    sim_crash(d.s, d.store[2]);
    for (int i = 0; i < 300; i++) {
        schedule_say(&d, i % 2 == 0 ? "x" : "y");
        if (i % 10 == 0)
            sim_advance(d.s, MS);
    }
    sim_advance(d.s, 100 * MS);
    /* What the old leader has not yet heard when it stops, it sequences when it wakes. */
    sim_freeze(d.s, d.sequencer[0], true);
    schedule_say(&d, "z");
    sim_settle(d.s);
    sim_promote(d.s, d.sequencer[1], "the first is silent");
    schedule_wait_lead(&d, d.sequencer[1]);
    sim_advance(d.s, 20 * MS);
    sim_restart(d.s, d.store[2]);
    for (int i = 0; i < 20 && sim_seq(d.s, d.store[2]) == 0; i++)
        sim_settle(d.s);
    sim_freeze(d.s, d.sequencer[0], false);
    sim_advance(d.s, 50 * MS);
    ck_assert(!sim_leads(d.s, d.sequencer[0]));
    schedule_end(&d, d.sequencer[1], 301);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_stale_in_replay", it_harms_nobody_and_finds_out);
}
