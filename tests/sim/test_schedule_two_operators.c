/* Two operators promoting at once, each at a standby of his own, while the old leader is only slow.
 * All three may pick the same number; at most one begins with it, the others end as standbys of
 * whoever leads last, and what was said is in the stream once. */
#include "tests/sim/schedule.h"

START_TEST(one_leads_in_the_end)
{
    struct schedule d = schedule_open();
    schedule_say(&d, "a");
    sim_advance(d.s, 60 * MS);
    sim_freeze(d.s, d.sequencer[0], true);
    schedule_say(&d, "b");
    sim_settle(d.s);
    sim_promote(d.s, d.sequencer[1], "operator one");
    sim_promote(d.s, d.sequencer[2], "operator two");
    sim_advance(d.s, MS);
    sim_freeze(d.s, d.sequencer[0], false);
    for (int i = 0; i < 400; i++) {
        sim_advance(d.s, 5 * MS);
        if (sim_leads(d.s, d.sequencer[1]) != sim_leads(d.s, d.sequencer[2]) &&
            !sim_leads(d.s, d.sequencer[0]))
            break;
    }
    ck_assert(!sim_leads(d.s, d.sequencer[0]));
    uint32_t leader = sim_leads(d.s, d.sequencer[1]) ? d.sequencer[1] : d.sequencer[2];
    schedule_end(&d, leader, 2);
}
END_TEST

int main(void)
{
    return schedule_main("schedule_two_operators", one_leads_in_the_end);
}
