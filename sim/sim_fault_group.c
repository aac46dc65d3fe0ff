/* A group of an edge pipe that is stable in part when everything stops: the leader, and the stores with what they have
 * not written yet. The next epoch begins inside of the group, and voids all of it.
 *
 * It hardly happens by itself, for the parts of a group are sent at once. So the disk of each store that acknowledges
 * an end inside of one group halts, and when that is stable, the power fails. */
#include "sim/sim_private.h"

#define HALTS_NS     (5 * SIM_MS)
#define TEARS_MIN_NS (2 * SIM_MS) /* between the groups that are torn */
#define TEARS_MAX_NS (20 * SIM_MS)

/* The first seq of the group that goes on behind this one; 0: none does. */
static uint64_t open_group(const struct sim_history *h, uint32_t branch, uint64_t seq)
{
    struct sim_item_header item;
    const struct sim_entry *e = sim_history_at(h, branch, seq);
    if (e == NULL || (e->flags & (MESSAGE_MORE | MESSAGE_FRAGMENT)) != MESSAGE_MORE ||
        !sim_item_header(e->payload, e->length, &item) || item.author != SIM_EDGE_PIPE)
        return 0;
    while ((e = sim_history_at(h, branch, seq - 1)) != NULL && (e->flags & MESSAGE_MORE) != 0)
        seq--;
    return seq;
}

void sim_fault_group_acked(struct sim *s, struct sim_node *store, uint32_t branch, uint64_t seq)
{
    if (!s->tears_groups || s->healed || s->tear_due)
        return;
    uint64_t first = open_group(&s->history, branch, seq);
    if (first == 0 || (first != s->tear_seq && s->now < s->tear_after))
        return;
    s->tear_seq = first;
    s->tear_after = s->now + TEARS_MIN_NS;
    sim_disk_stall(store->disk, s->now + HALTS_NS);
}

void sim_fault_group_stable(struct sim *s, uint32_t branch, uint64_t seq)
{
    if (!s->tears_groups || s->healed || s->tear_due || s->tear_seq == 0 ||
        open_group(&s->history, branch, seq) != s->tear_seq)
        return;
    s->tear_due = true;
    sim_schedule(s, s->now + sim_random_scale(&s->random, 200 * SIM_US, SIM_MS), SIM_EVENT_FAULT, 0,
                 SIM_FAULT_TORN_GROUP + 1, 0);
}

void sim_fault_tear_group(struct sim *s)
{
    s->tear_due = false;
    s->tear_seq = 0;
    s->tear_after = s->now + sim_random_between(&s->random, TEARS_MIN_NS, TEARS_MAX_NS);
    if (s->healed)
        return;
    if (sim_tracing(s))
        sim_trace_line(s, "fault: everything stops while a group is stable in part");
    for (uint32_t i = 0; i < s->node_count; i++) {
        struct sim_node *n = s->nodes[i];
        bool leads = n->kind == SIM_SEQUENCER && n == sim_leader(s);
        if (!n->up || (n->kind != SIM_STORE && !leads))
            continue;
        sim_node_crash(s, n);
        s->result.crashes++;
        sim_fault_restart_later(s, n, sim_random_scale(&s->random, 100 * SIM_US, 4 * SIM_MS));
    }
    s->faults_scheduled++;
}
