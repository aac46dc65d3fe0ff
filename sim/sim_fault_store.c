/* Stores that lose what they had: by rot, with their disk, with their host, or because a disk lied.
 * Never so many that the stream is lost. */
#include "sim/sim_private.h"

bool sim_fault_is_lost(const struct sim *s, uint64_t id)
{
    for (uint32_t i = 0; i < s->history.word_count; i++)
        if (s->history.words[i].id == id && s->history.words[i].gone)
            return true;
    for (uint32_t i = 0; i < s->node_count; i++)
        if (s->nodes[i]->kind == SIM_STORE && s->nodes[i]->store == id)
            return s->nodes[i]->rotten || s->nodes[i]->hurt;
    return false;
}

static bool seals_without(const struct sim *s, const struct membership *m, uint64_t id)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < m->count; i++)
        left += m->stores[i] != id && !sim_fault_is_lost(s, m->stores[i]);
    return left >= membership_seal_quorum(m);
}

/* Whether every membership that may count from now on can still be sealed, for ever, without this
 * store: who loses more than that has lost the stream, and no run does. */
static bool may_lose(const struct sim *s, const struct sim_node *n)
{
    const struct sim_history *h = &s->history;
    const struct membership *stable =
        h->stable_seq > 0 ? sim_history_members(h, h->stable_branch, h->stable_seq) : NULL;
    bool changing = !s->operator->up || sim_operator_busy(s->operator->core);
    if (changing || stable == NULL || h->word_count + 1 >= SIM_WORDS_MAX ||
        !seals_without(s, stable, n->store))
        return false;
    for (uint32_t i = 0; i < h->change_count; i++)
        if (h->changes[i].members.seq > stable->seq &&
            !seals_without(s, &h->changes[i].members, n->store))
            return false;
    return true;
}

bool sim_fault_rot(struct sim *s)
{
    struct sim_node *n = sim_fault_draw_node(s, SIM_STORE);
    if (n == NULL || n->rotten || !may_lose(s, n) || !sim_disk_rot(n->disk, "segment-"))
        return false;
    n->rotten = true;
    return true;
}

bool sim_fault_wipe(struct sim *s)
{
    struct sim_node *n = sim_fault_draw_node(s, SIM_STORE);
    /* With a W below a majority nobody could take its place. */
    bool fixed = s->options.quorum != 0 && s->options.quorum < s->options.stores / 2 + 1;
    if (n == NULL || fixed || !may_lose(s, n))
        return false;
    sim_node_crash(s, n);
    s->result.crashes++;
    s->result.wipes++;
    sim_deploy_wipe(s, n);
    if (sim_tracing(s))
        sim_trace_line(s, "%s is wiped, and will be store %016lx", n->name, n->store);
    sim_fault_restart_later(s, n, sim_fault_draw_outage(s));
    return true;
}

/* The host of a store goes down, and with it what it had not synced. Not so many that the stream is
 * lost. */
bool sim_fault_crash_host(struct sim *s, struct sim_node *n)
{
    bool fixed = s->options.quorum != 0 && s->options.quorum < s->options.stores / 2 + 1;
    if (n->kind != SIM_STORE || !n->disk->unsynced || fixed || !may_lose(s, n))
        return false;
    sim_node_crash(s, n);
    sim_disk_power(n->disk);
    n->hurt = true;
    if (s->sabotage_unsynced_votes)
        return true;
    struct sim_store_word *word = sim_history_word(&s->history, n->store);
    n->host_boot += SIM_NODES_MAX;
    n->host_lost = true;
    if (word != NULL)
        word->gone = true;
    return true;
}

/* Whether what is stable is on so many stores that one may have lost it and still be asked. */
static bool survives_liar(const struct membership *m)
{
    return membership_stable_quorum(m) + membership_seal_quorum(m) >= m->count + 2;
}

static bool may_lie(const struct sim *s)
{
    const struct sim_history *h = &s->history;
    const struct membership *stable =
        h->stable_seq > 0 ? sim_history_members(h, h->stable_branch, h->stable_seq) : NULL;
    if (s->sabotage_lying_quorum)
        return true;
    if (s->has_lied || stable == NULL || !survives_liar(stable))
        return false;
    for (uint32_t i = 0; i < h->change_count; i++)
        if (h->changes[i].members.seq > stable->seq && !survives_liar(&h->changes[i].members))
            return false;
    return true;
}

bool sim_fault_lie(struct sim *s)
{
    struct sim_node *n = sim_fault_draw_node(s, SIM_STORE);
    if (n == NULL || n->disk->unsynced)
        return false;
    uint64_t lies_ns = sim_random_scale(&s->random, SIM_MS / 2, 20 * SIM_MS);
    n->disk->weather.lies_until_ns = s->now + lies_ns + 1;
    sim_schedule(s, s->now + lies_ns, SIM_EVENT_FAULT, n->port.node, SIM_FAULT_LIE + 1, 0);
    return true;
}

/* Power fails, and what the disk had said was synced is not there. */
void sim_fault_end_lie(struct sim *s, struct sim_node *n)
{
    if (!n->up || s->healed || n->disk->weather.lies_until_ns <= s->now || n->rotten ||
        !may_lose(s, n) || !may_lie(s))
        return;
    s->has_lied = true;
    sim_node_crash(s, n);
    s->result.crashes++;
    n->lied = n->hurt = sim_disk_power(n->disk) > 0 || n->hurt;
    if (sim_tracing(s))
        sim_trace_line(s, "%s loses what its disk had said was synced", n->name);
    sim_check_disks(s);
    sim_fault_restart_later(s, n, sim_fault_draw_outage(s));
}
