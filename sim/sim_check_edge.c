/* The observer of clients of proxies: what each is handed is the filter of the one order by its subtrees and
 * its rights, as far as it says to have everything; and nothing that it may not read.
 *
 * A set that is changed is known by what the client does and is told: a subtree counts from the seq on of which
 * CHANGED speaks, and no longer once it is not wanted any more.
 *
 * Rights of a client that come and go: what it could read at its seq and ever since, it must be handed; what it
 * could read neither at its seq nor at any time since, never. */
#include <string.h>

#include "sim/sim_private.h"

static struct sim *sim_of(const struct sim_node *n)
{
    return n->port.sim;
}

uint32_t sim_check_edge_branch(const struct sim_node *n)
{
    struct position p = edge_position(client_core_edge(n->core));
    return p.seq == 0 ? SIM_NONE : sim_history_branch(&sim_of(n)->history, p.epoch);
}

static bool wants(const struct sim *s, const struct sim_node *n, uint32_t branch, uint32_t topic,
                  uint64_t seq)
{
    uint32_t length;
    const char *path = sim_check_path(s, branch, topic, &length);
    const char *const *subtrees = n->client->edge->subtrees;
    for (uint32_t i = 0; path != NULL && subtrees[i] != NULL; i++) {
        bool in = strcmp(subtrees[i], "/") == 0
                      ? !topic_in_subtree(path, length, "/sys", 4)
                      : topic_in_subtree(path, length, subtrees[i], strlen(subtrees[i]));
        if (in)
            return true;
    }
    const struct sim_wanted *w = n->client->wanted;
    for (uint32_t i = 0; path != NULL && i < SIM_EDGE_CHANGED; i++)
        if (w[i].state == SIM_WANTED_COUNTS && seq >= w[i].from_seq &&
            topic_in_subtree(path, length, sim_edge_changed[i], strlen(sim_edge_changed[i])))
            return true;
    return false;
}

void sim_check_edge_changed(struct sim *s, struct sim_node *n, const char *subtree, uint64_t seq,
                            bool refused)
{
    struct sim_wanted *w = NULL;
    for (uint32_t i = 0; i < SIM_EDGE_CHANGED; i++)
        if (strcmp(subtree, sim_edge_changed[i]) == 0)
            w = &n->client->wanted[i];
    if (n->client->work != SIM_WORK_EDGE_CHANGE)
        return;
    if (w == NULL || w->state != SIM_WANTED_WAITS || (!refused && seq <= n->client->reader.seq))
        sim_violate(s, SIM_VIEWS, "%s is told that %s counts from %lu on, and did not ask", n->name,
                    subtree, seq);
    else
        *w = (struct sim_wanted) { refused ? SIM_WANTED_NOT : SIM_WANTED_COUNTS, seq };
}

uint64_t sim_check_edge_missing(struct sim *s, const struct sim_node *n, uint32_t branch,
                                uint64_t after, uint64_t through)
{
    const struct sim_history *h = &s->history;
    for (uint64_t seq = after + 1; seq <= through; seq++) {
        const struct sim_entry *e = sim_history_at(h, branch, seq);
        if (e != NULL && sim_check_is_delivered(h, branch, seq) &&
            wants(s, n, branch, e->topic, seq) &&
            sim_check_may_read(s, branch, n->client->edge->key, e->topic, seq).always)
            return seq;
    }
    return 0;
}

/* Whether the history through `seq` on this branch continues what it was handed. */
static bool continues(const struct sim_history *h, const struct sim_reader *r, uint32_t branch)
{
    return r->branch == SIM_NONE || sim_history_common(h, r->branch, r->seq, branch) >= r->seq;
}

static bool is_stable(const struct sim_history *h, uint32_t branch, uint64_t seq)
{
    return seq <= h->stable_seq &&
           sim_history_owner(h, branch, seq) == sim_history_owner(h, h->stable_branch, seq);
}

void sim_check_edge_message(void *ctx, const struct cantus_message *m)
{
    struct sim_node *n = ctx;
    struct sim *s = sim_of(n);
    const struct sim_history *h = &s->history;
    struct sim_reader *r = &n->client->reader;
    if (s->result.violated != SIM_FINE)
        return;
    struct position at = edge_position(client_core_edge(n->core));
    uint32_t branch = sim_check_edge_branch(n);
    const struct sim_entry *e = branch != SIM_NONE ? sim_history_at(h, branch, m->seq) : NULL;
    if (e == NULL || at.seq != m->seq || !sim_history_has(h, branch, at)) {
        sim_violate(s, SIM_VIEWS, "%s is handed %lu of epoch %u, which was never there", n->name,
                    m->seq, at.epoch.number);
        return;
    }
    if (!sim_check_may_read(s, branch, n->client->edge->key, e->topic, m->seq).ever)
        sim_violate(s, SIM_READERS, "%s is handed %lu, on %s, and may not read it", n->name, m->seq,
                    m->topic);
    if (!continues(h, r, branch)) {
        sim_violate(s, SIM_VIEWS, "%s is handed %lu of another history, and not told", n->name,
                    m->seq);
        return;
    }
    uint64_t missing = sim_check_edge_missing(s, n, branch, r->seq, m->seq - 1);
    if (m->seq <= r->seq || missing != 0)
        sim_violate(s, SIM_VIEWS, "%s is handed %lu after %lu, and not %lu", n->name, m->seq,
                    r->seq, missing);
    if (!sim_check_is_delivered(h, branch, m->seq) || e->timestamp_ns != m->timestamp_ns ||
        !sim_check_same_bytes(h, branch, m->seq, m))
        sim_violate(s, SIM_VIEWS, "%s is handed other bytes for %lu than were sequenced", n->name,
                    m->seq);
    if (!wants(s, n, branch, e->topic, m->seq))
        sim_violate(s, SIM_VIEWS, "%s is handed %lu, on %s, which it did not ask for", n->name,
                    m->seq, m->topic);
    uint64_t end = sim_check_run_end(h, branch, m->seq);
    if (n->client->level == CANTUS_STABLE && (end == 0 || !is_stable(h, branch, end)))
        sim_violate(s, SIM_VIEWS, "%s, at stable, is handed %lu, which is not", n->name, m->seq);
    r->branch = branch;
    r->seq = m->seq;
}

/* Whether this is where two histories part: where a branch begins, or the run that it has voided. */
static bool parts_at(const struct sim_history *h, uint32_t branch, uint64_t seq)
{
    uint64_t at = h->branches[branch].first_seq;
    uint32_t parent = h->branches[branch].parent;
    const struct sim_entry *e = NULL;
    while (at > seq && (e = sim_history_at(h, parent, at - 1)) != NULL &&
           (e->flags & MESSAGE_MORE) != 0)
        at--;
    return at == seq;
}

/* Whether it has what another history does not. A proxy that does not know where the two part goes back to a
 * watermark that both have passed. */
static bool has_parted(const struct sim_history *h, const struct sim_reader *r, uint64_t first_seq)
{
    const struct sim_entry *e = sim_history_at(h, r->branch, first_seq - 1);
    bool parted = false;
    for (uint32_t i = 0; e != NULL && e->watermark && i < h->branch_count && !parted; i++) {
        uint64_t common = sim_history_common(h, r->branch, r->seq, i);
        parted = common < r->seq && first_seq <= common;
    }
    return parted;
}

/* It goes back to where two histories part, of which one is its own. Which the other is it is told later. */
void sim_check_edge_forked(struct sim *s, struct sim_node *n, uint64_t first_seq)
{
    const struct sim_history *h = &s->history;
    struct sim_reader *r = &n->client->reader;
    bool parts = r->branch == SIM_NONE || first_seq > r->seq || has_parted(h, r, first_seq);
    for (uint32_t i = 0; i < h->branch_count && !parts; i++)
        parts = h->branches[i].first_seq == first_seq || parts_at(h, i, first_seq);
    if (!parts)
        sim_violate(s, SIM_VIEWS, "%s reports FORKED at %lu, where no histories part", n->name,
                    first_seq);
    if (r->seq >= first_seq)
        r->seq = first_seq - 1;
    for (uint32_t i = 0; i < SIM_EDGE_CHANGED; i++) { /* its beginning goes along */
        struct sim_wanted *w = &n->client->wanted[i];
        if (w->from_seq > first_seq)
            w->from_seq = first_seq;
    }
}

void sim_check_edge_client(struct sim *s, struct sim_node *n)
{
    const struct sim_history *h = &s->history;
    const struct edge *e = client_core_edge(n->core);
    struct sim_reader *r = &n->client->reader;
    struct position at = edge_position(e);
    if (edge_violations(e) > 0)
        sim_violate(s, SIM_VIEWS, "what a proxy sends does not add up: %s", n->client->error);
    enum cantus_status status = client_core_status(n->core);
    bool stopped = status != CANTUS_OK && status != CANTUS_SUPERSEDED; /* nothing is handed over */
    if (s->result.violated != SIM_FINE || at.seq <= r->seq || stopped)
        return;
    uint32_t branch = sim_check_edge_branch(n);
    if (branch == SIM_NONE || !sim_history_has(h, branch, at)) {
        sim_violate(s, SIM_VIEWS, "%s is told of %lu of epoch %u, which was never there", n->name,
                    at.seq, at.epoch.number);
        return;
    }
    if (!continues(h, r, branch)) {
        sim_violate(s, SIM_VIEWS, "%s has %lu of another history, and is not told", n->name,
                    at.seq);
        return;
    }
    uint64_t missing = sim_check_edge_missing(s, n, branch, r->seq, at.seq);
    if (missing != 0)
        sim_violate(s, SIM_VIEWS, "%s is told that it has everything through %lu, and has not %lu",
                    n->name, at.seq, missing);
    if (n->client->level == CANTUS_STABLE && !is_stable(h, branch, at.seq))
        sim_violate(s, SIM_VIEWS, "%s, at stable, is told of %lu, which is not", n->name, at.seq);
    r->branch = branch;
    r->seq = at.seq;
}

void sim_check_edge_proxy(struct sim *s, const struct sim_node *n)
{
    uint64_t gauges[COUNTER_END] = { 0 };
    proxy_gauges(n->core, gauges);
    if (proxy_sessions(n->core) > s->edge.sessions_max ||
        gauges[COUNTER_RELAY_USED] > s->edge.relay_bytes)
        sim_violate(s, SIM_BOUNDED, "%s has more sessions or bytes than it may", n->name);
    if (proxy_failed(n->core))
        sim_violate(s, SIM_LIVE, "%s can't go on: %s", n->name, proxy_state(n->core));
}
