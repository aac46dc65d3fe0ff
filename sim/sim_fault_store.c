/* Stores that lose what they had: by rot, with their disk, with their host, because a disk lied, or by
 * being restored from an older copy. Never so many that the stream is lost. */
#include "sim/sim_private.h"

bool sim_fault_is_lost(const struct sim *s, uint64_t id)
{
    for (uint32_t i = 0; i < s->history.word_count; i++)
        if (s->history.words[i].id == id && s->history.words[i].gone)
            return true;
    for (uint32_t i = 0; i < s->node_count; i++)
        if (s->nodes[i]->kind == SIM_STORE && s->nodes[i]->store == id)
            return s->nodes[i]->rotten || s->nodes[i]->hurt || s->nodes[i]->restored;
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
    /* Those that are damaged or restored come back as others, too. */
    bool room = h->word_count + SIM_STORES_MAX < SIM_WORDS_MAX;
    if (changing || stable == NULL || !room || !seals_without(s, stable, n->store))
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
    for (uint32_t i = 0; i < s->node_count; i++)
        if (s->nodes[i]->restored)
            return false;
    if (s->has_lied || stable == NULL || !survives_liar(stable))
        return false;
    /* While some may still seal as the members before, two sets need have no more than one in common. */
    for (uint32_t i = 0; i < h->change_count; i++)
        if (h->changes[i].members.seq > 1)
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

/* ---- older copies ---------------------------------------------------------------------------- */

struct evidence {
    const struct sim *sim;
    uint64_t store;
    struct word kept;
    bool found;
};

/* A record that is stable, and says that the store has said more than the copy knows. */
static bool look_for_word(void *ctx, const uint8_t *bytes, const struct batch_header *header,
                          uint64_t segment, uint64_t offset)
{
    struct evidence *e = ctx;
    const struct sim_history *h = &e->sim->history;
    struct batch_cursor cursor = batch_begin(bytes, header);
    struct message m;
    struct sys_words words;
    (void)segment;
    (void)offset;
    while (batch_next(&cursor, &m)) {
        const struct position at = { header->epoch, m.seq };
        if (m.topic != TOPIC_WORD || !sys_words_decode(m.payload, m.length, &words) ||
            m.seq > h->stable_seq || !sim_history_has(h, h->stable_branch, at))
            continue;
        for (uint32_t i = 0; i < words.count; i++)
            e->found = e->found || (words.words[i].store == e->store &&
                                    word_forgets(&words.words[i].word, &e->kept));
    }
    return !e->found;
}

/* Whether this store knows, durably, that the copy is old. */
static bool knows(const struct sim *s, const struct sim_node *other, const struct sim_node *n)
{
    struct evidence e = { .sim = s, .store = n->store, .kept = n->kept };
    struct journal_walk_result walked;
    char error[JOURNAL_ERROR_MAX];
    return other->formatted &&
           journal_walk(&other->disk->disk, 1, look_for_word, &e, &walked, error) == JOURNAL_OK &&
           e.found;
}

static bool is_gone(const struct sim *s, uint64_t id)
{
    for (uint32_t i = 0; i < s->history.word_count; i++)
        if (s->history.words[i].id == id)
            return s->history.words[i].gone;
    return false;
}

/* Whether too few of the others don't know it to make anything stable with it, or to seal: with so
 * few, whoever counts it reads in its history that the copy is old. */
static bool outvoted(const struct sim *s, const struct membership *m, const struct sim_node *n,
                     const bool *known)
{
    uint32_t ignorant = 0;
    if (!membership_has(m, n->store))
        return false; /* of those that left nobody keeps the words */
    for (uint32_t i = 0; i < m->count; i++) {
        bool knows_it = false;
        for (uint32_t k = 0; k < s->node_count; k++)
            knows_it = knows_it || (s->nodes[k]->kind == SIM_STORE &&
                                    s->nodes[k]->store == m->stores[i] && known[k]);
        ignorant += m->stores[i] != n->store && !knows_it && !is_gone(s, m->stores[i]);
    }
    return ignorant + 2 <= membership_seal_quorum(m) && ignorant + 2 <= membership_stable_quorum(m);
}

/* Whether an older leader or candidate is still at it, which may never have heard of the record, and
 * which others may have promised or acknowledged something before they went on. */
static bool is_somebody_behind(const struct sim *s)
{
    const struct sim_history *h = &s->history;
    struct epoch newest = { 0 };
    for (uint32_t i = 0; i < h->branch_count; i++)
        if (epoch_compare(h->branches[i].epoch, newest) > 0)
            newest = h->branches[i].epoch;
    for (uint32_t i = 0; i < s->node_count; i++) {
        const struct sim_node *n = s->nodes[i];
        if (n->kind != SIM_SEQUENCER || !n->up || sequencer_state(n->core) == SEQUENCER_FOLLOWING)
            continue;
        if (sequencer_state(n->core) != SEQUENCER_LEADING ||
            !epoch_equal(sequencer_epoch(n->core), newest))
            return true;
    }
    return false;
}

static bool will_be_noticed(const struct sim *s, const struct sim_node *n)
{
    const struct sim_history *h = &s->history;
    bool known[SIM_NODES_MAX] = { false };
    if (is_somebody_behind(s))
        return false;
    for (uint32_t i = 0; i < s->node_count; i++)
        known[i] = s->nodes[i]->kind == SIM_STORE && s->nodes[i] != n && knows(s, s->nodes[i], n);
    if (!outvoted(s, sim_history_members(h, h->stable_branch, h->stable_seq), n, known))
        return false;
    for (uint32_t i = 0; i < h->change_count; i++)
        if (!outvoted(s, &h->changes[i].members, n, known))
            return false;
    return true;
}

bool sim_fault_keep(struct sim *s, struct sim_node *n)
{
    (void)s;
    struct journal *j = n->journal;
    if (!n->up || !journal_idle(j) || !journal_settled(j) || !journal_proven(j) ||
        !epoch_equal(journal_tail(j).epoch, journal_promised(j)) || n->disk->in_flight > 0)
        return false;
    n->kept = journal_word(j);
    sim_disk_keep(n->disk);
    return true;
}

void sim_fault_put_back(struct sim *s, struct sim_node *n)
{
    sim_node_crash(s, n);
    sim_disk_restore(n->disk);
    n->restored = true;
    if (sim_tracing(s))
        sim_trace_line(s, "%s is as it was at %lu, promised %u", n->name, n->kept.tail.seq,
                       n->kept.promised.number);
}

bool sim_fault_restore(struct sim *s)
{
    struct sim_node *n = sim_fault_draw_node(s, SIM_STORE);
    bool fixed = s->options.quorum != 0 && s->options.quorum < s->options.stores / 2 + 1;
    if (n == NULL || fixed || n->disk->unsynced || n->rotten || n->hurt || n->restored)
        return false;
    if (n->disk->kept == NULL)
        return sim_fault_keep(s, n);
    if (!may_lose(s, n) || !will_be_noticed(s, n))
        return sim_random_below(&s->random, 8) == 0 && sim_fault_keep(s, n);
    sim_fault_put_back(s, n);
    s->result.crashes++;
    s->result.restores++;
    sim_fault_restart_later(s, n, sim_fault_draw_outage(s));
    return true;
}

void sim_fault_look_restored(struct sim *s, struct sim_node *n)
{
    if (n->kind != SIM_STORE || !n->up || !journal_restored(n->journal))
        return;
    if (!n->restored && !n->hurt && !n->rotten) {
        sim_violate(s, SIM_LIVE, "%s takes itself for an older copy, and is not", n->name);
        return;
    }
    if (sim_tracing(s))
        sim_trace_line(s, "%s finds that it was restored, and is formatted anew", n->name);
    sim_node_crash(s, n);
    sim_deploy_wipe(s, n);
    sim_fault_restart_later(s, n, SIM_MS);
}
