/* The observer of the clients: what each is handed, what it reports, where its replicas stand, and
 * whether all is live again. */
#include <stdio.h>
#include <string.h>

#include "proto/hash.h"
#include "sim/sim_private.h"

static struct sim *sim_of(const struct sim_node *n)
{
    return n->port.sim;
}

/* The history that a client's newest leader stands for; SIM_NONE: it has heard of none. */
static uint32_t heard_branch(const struct sim_node *n)
{
    if (n->client->edge != NULL)
        return sim_check_edge_branch(n);
    const struct follower *f = client_core_follower(n->core);
    return sim_history_branch(&sim_of(n)->history, follower_heard(f));
}

/* ---- deliveries ------------------------------------------------------------------------------ */

/* Whether the run that seq is in was voided by an epoch record. */
static bool voided(const struct sim_history *h, uint32_t branch, uint64_t seq)
{
    const struct sim_entry *e = sim_history_at(h, branch, seq);
    while (e != NULL && e->topic != TOPIC_EPOCH) {
        if ((e->flags & MESSAGE_MORE) == 0)
            return false;
        e = sim_history_at(h, branch, ++seq);
    }
    return true;
}

/* The seq with which the run that seq is in ends; 0: it is open, or voided. */
uint64_t sim_check_run_end(const struct sim_history *h, uint32_t branch, uint64_t seq)
{
    const struct sim_entry *e = sim_history_at(h, branch, seq);
    while (e != NULL && (e->flags & MESSAGE_MORE) != 0 && e->topic != TOPIC_EPOCH)
        e = sim_history_at(h, branch, ++seq);
    return e != NULL && e->topic != TOPIC_EPOCH ? seq : 0;
}

bool sim_check_is_delivered(const struct sim_history *h, uint32_t branch, uint64_t seq)
{
    const struct sim_entry *e = sim_history_at(h, branch, seq);
    if (e == NULL || e->topic < TOPIC_FIRST_USER || e->is_digest ||
        (e->flags & MESSAGE_FRAGMENT) != 0)
        return false;
    return (e->flags & MESSAGE_MORE) == 0 || !voided(h, branch, seq);
}

bool sim_check_same_bytes(const struct sim_history *h, uint32_t branch, uint64_t seq,
                          const struct cantus_message *m)
{
    size_t left = m->length;
    const uint8_t *end = (const uint8_t *)m->payload + m->length;
    for (bool first = true;; first = false, seq--) {
        const struct sim_entry *e = sim_history_at(h, branch, seq);
        if (!first && (e == NULL || (e->flags & MESSAGE_FRAGMENT) == 0))
            return left == 0;
        if (e == NULL || e->length > left || memcmp(end - e->length, e->payload, e->length) != 0)
            return false;
        end -= e->length;
        left -= e->length;
    }
}

static void check_item(struct sim *s, const struct sim_node *n, const struct cantus_message *m)
{
    struct sim_item_header h;
    if (!sim_item_header(m->payload, m->length, &h) || h.kind != SIM_ITEM_PLAIN)
        return;
    if (m->length != sim_item_length(h.author, h.number) ||
        !sim_item_check(m->payload, m->length, h.author, h.number))
        sim_violate(s, SIM_ONE_ORDER, "%s is handed item %lu of publisher-%u, and it is damaged",
                    n->name, h.number, h.author);
}

void sim_check_message(void *ctx, const struct cantus_message *m)
{
    struct sim_node *n = ctx;
    struct sim *s = sim_of(n);
    struct sim_history *h = &s->history;
    struct sim_reader *r = &n->client->reader;
    if (s->result.violated != SIM_FINE)
        return;
    uint32_t branch = heard_branch(n);
    const struct sim_entry *e = branch != SIM_NONE ? sim_history_at(h, branch, m->seq) : NULL;
    if (e == NULL) {
        sim_violate(s, SIM_ONE_ORDER, "%s is handed %lu, which its leader has not emitted", n->name,
                    m->seq);
        return;
    }
    if (r->branch != SIM_NONE && sim_history_common(h, r->branch, r->seq, branch) < r->seq) {
        sim_violate(s, SIM_ONE_ORDER, "%s is handed %lu of another history, and not told", n->name,
                    m->seq);
        return;
    }
    if (m->seq <= r->seq)
        sim_violate(s, SIM_ONE_ORDER, "%s is handed %lu after %lu", n->name, m->seq, r->seq);
    for (uint64_t seq = r->seq + 1; seq < m->seq; seq++)
        if (sim_check_is_delivered(h, branch, seq))
            sim_violate(s, SIM_ONE_ORDER, "%s is handed %lu after %lu, and not %lu", n->name,
                        m->seq, r->seq, seq);
    if (!sim_check_is_delivered(h, branch, m->seq) || e->timestamp_ns != m->timestamp_ns ||
        !sim_check_same_bytes(h, branch, m->seq, m))
        sim_violate(s, SIM_ONE_ORDER, "%s is handed other bytes for %lu than were sequenced",
                    n->name, m->seq);
    if (n->client->level == CANTUS_STABLE && (e->flags & MESSAGE_MORE) != 0 &&
        sim_check_run_end(h, branch, m->seq) > h->stable_seq)
        sim_violate(s, SIM_ONE_ORDER, "%s, at stable, is handed %lu, and its group is not", n->name,
                    m->seq);
    if (n->client->level == CANTUS_STABLE &&
        (m->seq > h->stable_seq ||
         sim_history_owner(h, branch, m->seq) != sim_history_owner(h, h->stable_branch, m->seq)))
        sim_violate(s, SIM_ONE_ORDER, "%s, at stable, is handed %lu, which is not", n->name,
                    m->seq);
    if (n->index == 1) /* the others get the same bytes, or were found out above */
        check_item(s, n, m);
    r->branch = branch;
    r->seq = m->seq;
}

static void check_forked(struct sim *s, struct sim_node *n, uint64_t seq)
{
    struct sim_history *h = &s->history;
    struct sim_reader *r = &n->client->reader;
    s->result.forks++;
    if (n->client->level == CANTUS_STABLE) {
        sim_violate(s, SIM_ONE_ORDER, "%s, at stable, reports FORKED at %lu", n->name, seq);
        return;
    }
    if (n->client->edge != NULL) {
        sim_check_edge_forked(s, n, seq);
        return;
    }
    uint32_t branch = heard_branch(n);
    if (r->branch == SIM_NONE || branch == SIM_NONE)
        return;
    uint64_t common = sim_history_common(h, r->branch, r->seq, branch);
    if (common < r->seq ? seq != common + 1 : seq <= r->seq)
        sim_violate(s, SIM_ONE_ORDER, "%s reports FORKED at %lu, and the histories part behind %lu",
                    n->name, seq, common);
    if (r->seq >= seq)
        r->seq = seq - 1;
    r->branch = branch;
}

/* Only what is stable, and only of its own identity. */
static void check_superseded(struct sim *s, const struct sim_node *n,
                             const struct cantus_report *report)
{
    const struct sim_history *h = &s->history;
    const struct sim_entry *e = sim_history_at(h, h->stable_branch, report->seq);
    struct sys_join join;
    if (e == NULL || report->seq > h->stable_seq || e->topic != TOPIC_JOIN ||
        !sys_join_decode(e->payload, e->length, &join) ||
        strcmp(join.identity, report->identity) != 0)
        sim_violate(s, SIM_ANSWERED, "%s reports that \"%s\" was superseded at %lu, and it was not",
                    n->name, report->identity, report->seq);
}

void sim_check_report(void *ctx, const struct cantus_report *report)
{
    struct sim_node *n = ctx;
    struct sim *s = sim_of(n);
    static const char *const names[] = { "",         "FORKED",      "REBUILT",
                                         "REJECTED", "QUARANTINED", "SUPERSEDED",
                                         "LOST",     "HINT",        "SUBSCRIBED",
                                         "REFUSED" };
    if (sim_tracing(s))
        sim_trace_line(s, "%s reports %s %lu %s", n->name, names[report->kind], report->seq,
                       report->text != NULL ? report->text : "");
    if (report->kind == CANTUS_REPORT_HINT)
        snprintf(n->client->error, sizeof n->client->error, "%.159s", report->text);
    if (report->kind == CANTUS_REPORT_FORKED)
        check_forked(s, n, report->seq);
    else if (report->kind == CANTUS_REPORT_QUARANTINED)
        n->client->quarantined = true;
    else if (report->kind == CANTUS_REPORT_LOST)
        sim_violate(s, SIM_NOTHING_STABLE_LOST, "%s reports LOST: %.200s", n->name, report->text);
    else if (report->kind == CANTUS_REPORT_SUBSCRIBED)
        sim_check_edge_changed(s, n, report->topic, report->seq, false);
    else if (report->kind == CANTUS_REPORT_REFUSED)
        sim_check_edge_changed(s, n, report->topic, report->seq, true);
    else if (report->kind == CANTUS_REPORT_SUPERSEDED)
        check_superseded(s, n, report);
}

/* ---- replicas -------------------------------------------------------------------------------- */

void sim_check_applied(struct sim *s, uint32_t node, uint64_t seq, uint64_t digest)
{
    struct sim_history *h = &s->history;
    const struct sim_node *n = node < s->node_count ? s->nodes[node] : NULL;
    if (s->result.violated != SIM_FINE)
        return;
    uint32_t branch = n != NULL && n->core != NULL ? heard_branch(n) : h->stable_branch;
    struct sim_entry *e = branch != SIM_NONE ? sim_history_at(h, branch, seq) : NULL;
    if (e == NULL)
        return;
    if (!e->applied) {
        e->applied = true;
        e->applied_digest = digest;
    } else if (e->applied_digest != digest) {
        sim_violate(s, SIM_DETERMINISM, "%s: its state behind %lu differs from another replica's",
                    n != NULL ? n->name : "a replay", seq);
    }
}

/* ---- live again ------------------------------------------------------------------------------ */

static bool is_superseded(const struct sim_node *n)
{
    return client_core_status(n->core) == CANTUS_SUPERSEDED;
}

/* Another process that believes to be this publisher. */
static const struct sim_node *rival_of(const struct sim *s, const struct sim_node *n)
{
    for (uint32_t i = 0; i < s->node_count; i++) {
        const struct sim_node *other = s->nodes[i];
        if (other != n && other->kind == SIM_CLIENT && other->client->work == SIM_WORK_PIPE &&
            other->index == n->index && !is_superseded(other))
            return other;
    }
    return NULL;
}

static enum sim_invariant client_live(const struct sim *s, const struct sim_node *n, uint64_t tip,
                                      char *why, size_t capacity)
{
    const struct sim_client *c = n->client;
    if (c->edge != NULL)
        return sim_edge_live(s, n, tip, why, capacity);
    uint64_t seq = client_core_seq(n->core);
    uint64_t sequenced = c->pipe != NULL       ? cantus_pipe_sequenced(c->pipe)
                         : c->injector != NULL ? cantus_injector_sequenced(c->injector)
                                               : c->goal;
    bool over = is_superseded(n), pipe = c->work == SIM_WORK_PIPE;
    if (c->grant_role == SIM_GRANT_EDGE && !sim_grant_edge_over(s, n)) {
        snprintf(why, capacity, "%s has not said everything", n->name);
        return SIM_LIVE;
    }
    if (client_core_status(n->core) != CANTUS_OK && !over) {
        snprintf(why, capacity, "%s has stopped with status %d: %.200s", n->name,
                 client_core_status(n->core), client_core_error(n->core));
        return SIM_LIVE;
    }
    if (seq != tip) {
        snprintf(why, capacity, "%s stands at %lu of %lu", n->name, seq, tip);
        return SIM_LIVE;
    }
    if (over ? !pipe : pipe && rival_of(s, n) != NULL)
        snprintf(why, capacity, "%s is not told that it was superseded, or is and was not",
                 n->name);
    else if ((c->work == SIM_WORK_GROUPS || c->work == SIM_WORK_GRANTS) &&
             !sim_group_answered(s, n))
        snprintf(why, capacity, "%s has no answer through its number %lu", n->name, c->proposed);
    else if (sequenced != c->goal && !over)
        snprintf(why, capacity, "%s: %lu of %lu items have an outcome", n->name, sequenced,
                 c->goal);
    else
        return SIM_FINE;
    return SIM_ANSWERED;
}

/* Whoever led before has found out, and every standby is where the leader is. */
static bool standby_live(const struct sim_node *n, uint64_t tip, char *why, size_t capacity)
{
    if (sequencer_state(n->core) != SEQUENCER_FOLLOWING)
        snprintf(why, capacity, "%s is no standby: %.200s", n->name,
                 sequencer_waiting_for(n->core));
    else if (sequencer_tip(n->core) != tip)
        snprintf(why, capacity, "%s follows at %lu of %lu", n->name, sequencer_tip(n->core), tip);
    else
        return true;
    return false;
}

enum sim_invariant sim_check_live(struct sim *s, char *why, size_t capacity)
{
    const struct sim_node *leader = sim_leader(s);
    if (leader == NULL) {
        const char *waiting = "";
        for (uint32_t i = 0; i < s->node_count; i++)
            if (s->nodes[i]->kind == SIM_SEQUENCER)
                waiting = sequencer_waiting_for(s->nodes[i]->core);
        snprintf(why, capacity, "nobody leads: %.200s", waiting);
        return SIM_LIVE;
    }
    uint64_t tip = sequencer_tip(leader->core);
    if (sequencer_stable(leader->core) != tip) {
        snprintf(why, capacity, "%s is at %lu, and %lu is stable", leader->name, tip,
                 sequencer_stable(leader->core));
        return SIM_LIVE;
    }
    if (!s->quiet) {
        snprintf(why, capacity, "%lu messages of %u", tip, s->options.messages_min);
        return SIM_LIVE;
    }
    struct command repair;
    const struct sim_node *asked;
    if (sim_operator_repairs(s, &repair, &asked)) {
        snprintf(why, capacity, "store %016lx is gone, or has come, and %s does not say so",
                 repair.store, asked->name);
        return SIM_LIVE;
    }
    for (uint32_t i = 0; i < s->node_count; i++) {
        const struct sim_node *n = s->nodes[i];
        if (n->restored) {
            snprintf(why, capacity, "%s was restored from an older copy, and does not know it",
                     n->name);
            return SIM_LIVE;
        }
        if (n->kind == SIM_STORE && n->journal == NULL) {
            snprintf(why, capacity, "%s is down", n->name);
            return SIM_LIVE;
        }
        if (n->kind == SIM_STORE && !sim_operator_sits_out(n, leader) &&
            journal_durable(n->journal).seq != tip) {
            snprintf(why, capacity, "%s has %lu of %lu", n->name, journal_durable(n->journal).seq,
                     tip);
            return SIM_LIVE;
        }
        if (n->kind == SIM_VISITOR && !sim_visitor_live(n->core, why, capacity))
            return SIM_LIVE;
        enum sim_invariant client =
            n->kind == SIM_CLIENT ? client_live(s, n, tip, why, capacity) : SIM_FINE;
        if (client != SIM_FINE)
            return client;
        if (n->kind == SIM_SEQUENCER && n != leader && !standby_live(n, tip, why, capacity))
            return SIM_LIVE;
    }
    return SIM_FINE;
}

/* ---- the end --------------------------------------------------------------------------------- */

struct replay {
    struct sim *sim;
    struct client_core *core; /* NULL: the bytes are looked at, and not applied */
    uint64_t seq;
    bool refused;
};

static bool replay_batch(void *ctx, const uint8_t *bytes, const struct batch_header *header,
                         uint64_t segment, uint64_t offset)
{
    (void)segment;
    (void)offset;
    struct replay *r = ctx;
    const struct sim_history *h = &r->sim->history;
    const struct sim_entry *last = sim_history_at(h, h->stable_branch, batch_end_seq(header) - 1);
    if (last == NULL || !last->last || !digest_equal(last->digest, header->digest) ||
        (r->core != NULL && !client_core_apply_batch(r->core, bytes, header))) {
        r->refused = true;
        return false;
    }
    r->seq = batch_end_seq(header) - 1;
    return true;
}

/* Every store's journal is the history. What it leads to is where the replicas are: that is tried
 * with one of them, for the others have the same bytes. */
static void check_replay(struct sim *s, struct sim_node *store, bool apply, const uint64_t *digests)
{
    char error[JOURNAL_ERROR_MAX] = "";
    struct sim_node *borrowed = store;
    struct client_core_options o = {
        .follower = { .stream = s->stream, .level = FOLLOWER_STABLE, .pending_max = 16 },
        .catalog = { SIM_TOPICS_MAX, SIM_PUBLISHERS_MAX },
        .run_bytes_max = SIM_RUN_BYTES_MAX,
    };
    struct client_core *core =
        apply ? client_core_create(&o, &borrowed->port.port, sim_node_time(s, borrowed), error)
              : NULL;
    const struct machine *machines[2] = { NULL, NULL };
    if (core != NULL) {
        machines[0] = client_core_add_app(core, &sim_follower_app, "", NULL, error);
        machines[1] = client_core_add_app(core, &sim_solver_app, "", NULL, error);
    }
    struct replay r = { .sim = s, .core = core };
    struct journal_walk_result walked;
    if ((apply && (machines[0] == NULL || machines[1] == NULL)) ||
        journal_walk(&store->disk->disk, 1, replay_batch, &r, &walked, error) != JOURNAL_OK)
        sim_violate(s, SIM_DETERMINISM, "the journal of %s can't be read: %.200s", store->name,
                    error);
    else if (r.refused || walked.damaged)
        sim_violate(s, SIM_NOTHING_STABLE_LOST, "the journal of %s is not the history behind %lu",
                    store->name, r.seq);
    else if (r.seq != s->history.stable_seq)
        sim_violate(s, SIM_NOTHING_STABLE_LOST, "the journal of %s ends at %lu of %lu", store->name,
                    r.seq, s->history.stable_seq);
    else
        for (uint32_t i = 0; apply && i < 2; i++)
            if (digests[i] != 0 && machine_digest(machines[i]) != digests[i])
                sim_violate(s, SIM_DETERMINISM, "a replay from the journal of %s ends otherwise",
                            store->name);
    if (core != NULL)
        client_core_destroy(core);
}

/* Behind the last tick of the stream nothing is told through a proxy, nor what time it is: an outcome has none. */
static bool knows_the_time(const struct sim_history *h, const struct sim_node *n)
{
    const struct sim_entry *e = sim_history_at(h, h->stable_branch, h->stable_seq);
    return n->client->edge == NULL ||
           (client_core_seq(n->core) == h->stable_seq &&
            (e->topic == TOPIC_CLOCK || (e->topic >= TOPIC_FIRST_USER && !e->is_digest)));
}

/* Replicas of one app stand alike; returns their digest. */
static uint64_t check_alike(struct sim *s, const struct cantus_app *app)
{
    const struct sim_node *first = NULL;
    uint64_t digest = 0;
    for (uint32_t i = 0; i < s->node_count; i++) {
        const struct sim_node *n = s->nodes[i];
        for (uint32_t j = 0; n->kind == SIM_CLIENT && j < n->client->app_count; j++) {
            if (n->client->apps[j] != app || !knows_the_time(&s->history, n))
                continue;
            uint64_t mine = machine_digest(n->client->machines[j]);
            if (first != NULL && mine != digest)
                sim_violate(s, SIM_DETERMINISM, "%s and %s differ at %lu", first->name, n->name,
                            client_core_seq(n->core));
            first = n;
            digest = mine;
        }
    }
    return digest;
}

static void check_answers(struct sim *s, const struct sim_tally *t)
{
    for (uint32_t i = 0; i < s->node_count; i++) {
        const struct sim_node *n = s->nodes[i];
        if (n->kind == SIM_CLIENT && n->client->work != SIM_WORK_NONE &&
            n->client->work != SIM_WORK_GROUPS && n->client->work != SIM_WORK_GRANTS &&
            !is_superseded(n) && t->items[n->index] != n->client->goal)
            sim_violate(s, SIM_ANSWERED, "%s pushed %lu items, and %lu are in the stream", n->name,
                        n->client->goal, t->items[n->index]);
    }
}

/* What a standby would begin with is what the leader has. */
static void check_standbys(struct sim *s)
{
    const struct sim_node *leader = sim_leader(s);
    for (uint32_t i = 0; leader != NULL && i < s->node_count; i++) {
        const struct sim_node *n = s->nodes[i];
        if (n->kind == SIM_SEQUENCER && (ledger_digest(sequencer_ledger(n->core)) !=
                                             ledger_digest(sequencer_ledger(leader->core)) ||
                                         catalog_digest(sequencer_catalog(n->core)) !=
                                             catalog_digest(sequencer_catalog(leader->core))))
            sim_violate(s, SIM_EXACTLY_ONCE, "%s holds another ledger or catalog than %s", n->name,
                        leader->name);
    }
}

void sim_check_final(struct sim *s)
{
    struct sim_history *h = &s->history;
    check_standbys(s);
    const struct sim_branch *b = &h->branches[h->stable_branch];
    check_answers(s, &b->tally);
    uint64_t digests[2] = { check_alike(s, &sim_follower_app), check_alike(s, &sim_solver_app) };
    uint64_t user = s->options.app != NULL ? check_alike(s, s->options.app) : 0;
    bool applied = false;
    for (uint32_t i = 0; i < s->node_count; i++)
        /* Rot that nobody has read yet is found by scrubbing, or when somebody does. */
        if (s->nodes[i]->kind == SIM_STORE && !s->nodes[i]->rotten && !s->nodes[i]->hurt &&
            (sim_leader(s) == NULL || !sim_operator_sits_out(s->nodes[i], sim_leader(s)))) {
            check_replay(s, s->nodes[i], !applied, digests);
            applied = true;
        }
    s->result.messages = h->stable_seq;
    s->result.digest = hash64(&b->digest, sizeof b->digest, digests[0] ^ digests[1] * 31 ^ user);
}
