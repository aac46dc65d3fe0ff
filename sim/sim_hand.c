/* The simulator by hand: datagrams move when they are told to, or when everything is settled. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim_private.h"

enum { SETTLE_MAX = 1000000 };

struct sim *sim_open(const struct sim_options *options)
{
    char error[SIM_TEXT_MAX];
    struct sim_options o = options != NULL ? *options : (struct sim_options) { 0 };
    struct sim *s = sim_create(&o, true, error);
    if (s == NULL)
        return NULL;
    s->network.weather.latency_min_ns = s->network.weather.latency_max_ns = 0;
    return s;
}

void sim_close(struct sim *s)
{
    if (s != NULL)
        sim_destroy(s);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

uint32_t sim_node(const struct sim *s, const char *name)
{
    for (uint32_t i = 0; i < s->node_count; i++)
        if (strcmp(s->nodes[i]->name, name) == 0)
            return i;
    return SIM_NO_NODE;
}

static struct sim_client *client_of(const struct sim *s, uint32_t node)
{
    return node < s->node_count ? s->nodes[node]->client : NULL;
}

static struct machine *machine_of(const struct sim *s, uint32_t node)
{
    const struct sim_client *c = client_of(s, node);
    return c != NULL && s->nodes[node]->up ? c->machines[0] : NULL;
}

uint32_t sim_add_app(struct sim *s, const struct cantus_app *app, const char *config,
                     const char *identity, enum cantus_level level)
{
    char name[SIM_NAME_MAX + 1];
    uint32_t index = 1;
    do
        snprintf(name, sizeof name, "app-%u", index++);
    while (sim_node(s, name) != SIM_NO_NODE);
    struct sim_node *n = sim_deploy_client(s, name, level);
    if (n == NULL)
        return SIM_NO_NODE;
    struct sim_client *c = n->client;
    c->apps[0] = app;
    snprintf(c->config[0], sizeof c->config[0], "%s", config != NULL ? config : "");
    snprintf(c->identities[0], sizeof c->identities[0], "%s", identity != NULL ? identity : "");
    c->app_count = 1;
    return sim_node_start(s, n) ? n->port.node : SIM_NO_NODE;
}

void sim_crash(struct sim *s, uint32_t node)
{
    if (node < s->node_count)
        sim_node_crash(s, s->nodes[node]);
}

void sim_restart(struct sim *s, uint32_t node)
{
    if (node < s->node_count && !s->nodes[node]->up && !sim_node_start(s, s->nodes[node]))
        sim_violate(s, SIM_LIVE, "%s does not start: %.400s", s->nodes[node]->name, s->text);
}

bool sim_keep(struct sim *s, uint32_t node)
{
    return node < s->node_count && s->nodes[node]->kind == SIM_STORE &&
           sim_fault_keep(s, s->nodes[node]);
}

void sim_put_back(struct sim *s, uint32_t node)
{
    if (node < s->node_count && s->nodes[node]->kind == SIM_STORE &&
        s->nodes[node]->disk->kept != NULL)
        sim_fault_put_back(s, s->nodes[node]);
}

void sim_freeze(struct sim *s, uint32_t node, bool frozen)
{
    if (node >= s->node_count)
        return;
    struct sim_node *n = s->nodes[node];
    n->frozen_until = frozen ? UINT64_MAX : 0;
    sim_queue_wake(&s->queue, node, SIM_QUEUE_NEVER);
    if (!frozen && n->up)
        sim_node_wake(s, n, s->now);
}

void sim_fill_disk(struct sim *s, uint32_t node, bool full)
{
    if (node < s->node_count && s->nodes[node]->disk != NULL)
        s->nodes[node]->disk->weather.full = s->nodes[node]->disk->weather.thin = full;
}

static struct sequencer *sequencer_of(const struct sim *s, uint32_t node)
{
    bool there =
        node < s->node_count && s->nodes[node]->kind == SIM_SEQUENCER && s->nodes[node]->up;
    return there ? s->nodes[node]->core : NULL;
}

void sim_promote(struct sim *s, uint32_t node, const char *why)
{
    struct sequencer *core = sequencer_of(s, node);
    if (core == NULL)
        return;
    sequencer_lead(core, SYS_EPOCH_PROMOTED, why);
    sim_node_wake(s, s->nodes[node], s->now);
}

bool sim_leads(struct sim *s, uint32_t node)
{
    const struct sequencer *core = sequencer_of(s, node);
    return core != NULL && sequencer_state(core) == SEQUENCER_LEADING;
}

uint32_t sim_epoch(struct sim *s, uint32_t node)
{
    if (node >= s->node_count || !s->nodes[node]->up)
        return 0;
    const struct sim_node *n = s->nodes[node];
    switch (n->kind) {
    case SIM_SEQUENCER:
        return sequencer_epoch(n->core).number;
    case SIM_STORE:
        return journal_promised(n->journal).number;
    case SIM_CLIENT:
        return follower_heard(client_core_follower(n->core)).number;
    case SIM_OPERATOR:
    case SIM_PROXY:
    case SIM_HOSTILE:
    case SIM_VISITOR:
        break;
    }
    return 0;
}

uint64_t sim_stable(struct sim *s, uint32_t node)
{
    const struct sequencer *core = sequencer_of(s, node);
    if (core != NULL)
        return sequencer_stable(core);
    bool store = node < s->node_count && s->nodes[node]->kind == SIM_STORE && s->nodes[node]->up;
    return store ? retransmitter_stable(s->nodes[node]->core) : 0;
}

bool sim_would_propose(struct sim *s, uint32_t node, struct cantus_proposal *out)
{
    struct machine *m = machine_of(s, node);
    memset(out, 0, sizeof *out);
    sim_work_context(s);
    return m != NULL && machine_next(m, out) == MACHINE_PROPOSES;
}

const void *sim_app_state(struct sim *s, uint32_t node)
{
    struct machine *m = machine_of(s, node);
    return m != NULL ? machine_state(m) : NULL;
}

uint64_t sim_app_digest(struct sim *s, uint32_t node)
{
    const struct machine *m = machine_of(s, node);
    return m != NULL ? machine_digest(m) : 0;
}

bool sim_app_quarantined(struct sim *s, uint32_t node)
{
    const struct sim_client *c = client_of(s, node);
    return c != NULL && c->quarantined;
}

uint64_t sim_seq(struct sim *s, uint32_t node)
{
    if (node >= s->node_count || !s->nodes[node]->up)
        return 0;
    const struct sim_node *n = s->nodes[node];
    switch (n->kind) {
    case SIM_SEQUENCER:
        return sequencer_tip(n->core);
    case SIM_STORE:
        return journal_durable(n->journal).seq;
    case SIM_CLIENT:
        return client_core_seq(n->core);
    case SIM_OPERATOR:
    case SIM_PROXY:
    case SIM_HOSTILE:
    case SIM_VISITOR:
        break;
    }
    return 0;
}

uint64_t sim_sequenced(struct sim *s, const char *topic)
{
    const struct sim_history *h = &s->history;
    uint32_t newest = 0;
    for (uint32_t i = 1; i < h->branch_count; i++)
        if (epoch_compare(h->branches[i].epoch, h->branches[newest].epoch) > 0)
            newest = i;
    uint64_t count = 0;
    for (uint64_t seq = 1; seq < h->branches[newest].end_seq; seq++) {
        const struct sim_entry *e = sim_history_at(h, newest, seq);
        if (e->topic < TOPIC_FIRST_USER || (e->flags & MESSAGE_FRAGMENT) != 0)
            continue;
        for (uint32_t i = 0; i < s->node_count; i++) {
            if (s->nodes[i]->kind != SIM_SEQUENCER || !s->nodes[i]->up)
                continue;
            size_t length;
            const char *path =
                catalog_topic_path(sequencer_catalog(s->nodes[i]->core), e->topic, &length);
            count += topic == NULL || (path != NULL && strcmp(path, topic) == 0);
            break;
        }
    }
    return count;
}

/* ---- publishing ------------------------------------------------------------------------------ */

static struct sim_node *publisher_of(struct sim *s, const char *identity)
{
    for (uint32_t i = 0; i < s->node_count; i++)
        if (s->nodes[i]->kind == SIM_CLIENT && s->nodes[i]->client->work == SIM_WORK_BY_HAND &&
            strcmp(s->nodes[i]->client->identity, identity) == 0)
            return s->nodes[i];
    struct sim_node *n = sim_deploy_client(s, identity, CANTUS_STABLE);
    if (n == NULL)
        return NULL;
    n->client->work = SIM_WORK_BY_HAND;
    n->client->queued = calloc(SIM_QUEUED_MAX, sizeof *n->client->queued);
    return n->client->queued != NULL && sim_node_start(s, n) ? n : NULL;
}

bool sim_publish(struct sim *s, const char *identity, const char *topic, const void *payload,
                 size_t length)
{
    if (strlen(identity) > SIM_NAME_MAX || strlen(topic) > TOPIC_PATH_MAX ||
        length > SIM_RUN_BYTES_MAX)
        return false;
    struct sim_node *n = publisher_of(s, identity);
    if (n == NULL || n->client->queued_count == SIM_QUEUED_MAX)
        return false;
    uint8_t *copy = malloc(length + 1);
    if (copy == NULL)
        return false;
    if (length > 0)
        memcpy(copy, payload, length);
    struct sim_queued *q = &n->client->queued[n->client->queued_count++];
    snprintf(q->topic, sizeof q->topic, "%s", topic);
    q->payload = copy;
    q->length = length;
    sim_work(s, n);
    return true;
}

/* ---- datagrams ------------------------------------------------------------------------------- */

uint32_t sim_in_flight(const struct sim *s)
{
    return s->network.flight_count;
}

static uint32_t take_flight(struct sim *s, uint32_t index)
{
    struct sim_network *n = &s->network;
    uint32_t slot = n->flight[index];
    n->flight_count--;
    memmove(&n->flight[index], &n->flight[index + 1],
            (n->flight_count - index) * sizeof n->flight[0]);
    return slot;
}

const char *sim_describe(struct sim *s, uint32_t index)
{
    if (index >= s->network.flight_count)
        return "";
    const struct sim_arrival *a = &s->network.arrivals[s->network.flight[index]];
    char text[160];
    sim_datagram_text(a->packet->bytes, a->packet->length, text, sizeof text);
    snprintf(s->text, sizeof s->text, "%u %s -> %s %s", index, s->nodes[a->from]->name,
             s->nodes[a->to]->name, text);
    return s->text;
}

/* Carries out what is due at this very moment. */
static void due_now(struct sim *s)
{
    const struct sim_event *e;
    uint32_t left = SETTLE_MAX;
    while (s->result.violated == SIM_FINE && (e = sim_queue_peek(&s->queue)) != NULL &&
           e->at <= s->now && left-- > 0)
        sim_step(s);
    for (uint32_t i = 0; i < s->node_count; i++)
        if (s->nodes[i]->kind == SIM_CLIENT && s->nodes[i]->client->queued_count > 0)
            sim_work(s, s->nodes[i]);
}

bool sim_deliver(struct sim *s, uint32_t index)
{
    if (index >= s->network.flight_count)
        return false;
    sim_net_arrive(s, take_flight(s, index));
    due_now(s);
    return true;
}

bool sim_drop(struct sim *s, uint32_t index)
{
    if (index >= s->network.flight_count)
        return false;
    sim_net_release(s, take_flight(s, index));
    s->result.lost++;
    return true;
}

bool sim_duplicate(struct sim *s, uint32_t index)
{
    struct sim_network *n = &s->network;
    if (index >= n->flight_count || n->flight_count == SIM_FLIGHT_MAX || n->free_arrival_count == 0)
        return false;
    uint32_t copy = n->free_arrivals[--n->free_arrival_count];
    n->arrivals[copy] = n->arrivals[n->flight[index]];
    n->arrivals[copy].packet->references++;
    n->flight[n->flight_count++] = copy;
    s->result.duplicated++;
    return true;
}

static bool named(const struct sim_node *n, const char *name)
{
    return strcmp(name, "*") == 0 || strcmp(n->name, name) == 0;
}

void sim_hold(struct sim *s, const char *from, const char *to, bool hold)
{
    struct sim_network *n = &s->network;
    for (uint32_t i = 0; i < s->node_count; i++)
        for (uint32_t j = 0; j < s->node_count; j++)
            if (i != j && named(s->nodes[i], from) && named(s->nodes[j], to))
                n->hold[i][j] = hold;
    for (uint32_t i = 0; i < n->flight_count; i++) {
        struct sim_arrival *a = &n->arrivals[n->flight[i]];
        a->held = n->hold[a->from][a->to];
    }
}

static bool deliver_first(struct sim *s)
{
    const struct sim_network *n = &s->network;
    for (uint32_t i = 0; i < n->flight_count; i++)
        if (!n->arrivals[n->flight[i]].held)
            return sim_deliver(s, i);
    return false;
}

void sim_settle(struct sim *s)
{
    due_now(s);
    uint32_t left = SETTLE_MAX;
    while (s->result.violated == SIM_FINE && left-- > 0 && deliver_first(s)) {
    }
}

void sim_advance(struct sim *s, uint64_t ns)
{
    uint64_t until = s->now + ns;
    for (;;) {
        sim_settle(s);
        const struct sim_event *e = sim_queue_peek(&s->queue);
        if (s->result.violated != SIM_FINE || e == NULL || e->at > until)
            break;
        sim_step(s);
    }
    s->now = until;
    sim_settle(s);
}

const char *sim_trace(const struct sim *s)
{
    return s->trace != NULL ? s->trace : "";
}

const char *sim_violation(const struct sim *s)
{
    return s->result.violation;
}

enum sim_invariant sim_violated(const struct sim *s)
{
    return s->result.violated;
}
