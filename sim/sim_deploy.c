/* What a run consists of, and the options of its cores: small, so that limits are reached and a run
 * is cheap. */
#include <stdio.h>
#include <string.h>

#include "sim/sim_private.h"

enum {
    SEGMENT_BYTES = 96 * 1024,
    COMMIT_BYTES = 64 * 1024,
    RECENT_BYTES = 128 * 1024,
    BULK_MESSAGES = 200,
    DIGEST_EVERY = 64,
    SPARES_MAX = 2
};

static const struct journal_options journal_options = {
    .segment_bytes = SEGMENT_BYTES,
    .commit_bytes = COMMIT_BYTES,
    .recent_bytes = RECENT_BYTES,
    .segments_max = 128,
};

static struct follower_source source_of(const struct sim_node *n)
{
    return (struct follower_source) { .unicast = n->port.port.self, .stream = n->port.port.self };
}

static uint32_t sources(const struct sim *s, const struct sim_node *but,
                        struct follower_source *out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->node_count; i++)
        if (s->nodes[i]->kind == SIM_STORE && s->nodes[i] != but && count < FOLLOWER_SOURCES_MAX)
            out[count++] = source_of(s->nodes[i]);
    return count;
}

/* ---- cores ----------------------------------------------------------------------------------- */

static bool create_sequencer(struct sim *s, struct sim_node *n)
{
    struct sequencer_options o;
    sequencer_options_default(&o);
    o.stream = s->stream;
    o.candidate = sim_random_next(&s->random) | 1;
    o.lead = s->sequencer_count == 1 || (n->index == 1 && !n->ever);
    o.how = SYS_EPOCH_STARTED;
    o.why = "";
    o.source_count = sources(s, NULL, o.sources);
    o.catalog = (struct catalog_options) { SIM_TOPICS_MAX, SIM_PUBLISHERS_MAX };
    o.datagram_max = SIM_DATAGRAM_MAX;
    o.ring_bytes = s->ring_bytes;
    o.queue_max = s->queue_max;
    o.window = 256;
    o.pending_max = 512;
    o.run_bytes_max = SIM_RUN_BYTES_MAX;
    o.line_b = s->line_b;
    o.tick_ns = s->by_hand ? 0 : 10 * SIM_MS;
    o.words_ns = s->by_hand ? SIM_MS * 1000 : 4 * SIM_MS;
    o.heartbeat_min_ns = (s->by_hand ? 100 : 300) * SIM_US;
    o.heartbeat_max_ns = 10 * SIM_MS;
    o.seal_retry_ns = 4 * SIM_MS;
    o.adopt_timeout_ns = 50 * SIM_MS;
    o.silence_ns = s->silence_ns;
    o.sabotage = s->sabotage_sequencer;
    n->ops = &sequencer_participant;
    n->core = sequencer_create(&o, &n->port.port, sim_node_time(s, n));
    return n->core != NULL;
}

static struct journal_options journal_options_of(const struct sim_node *n)
{
    struct journal_options o = journal_options;
    o.unsynced = n->disk->unsynced;
    o.boot = n->host_boot;
    o.run = n->store * UINT64_C(0x9e3779b97f4a7c15) + n->boot; /* of no other run */
    return o;
}

static bool format(struct sim *s, struct sim_node *n, char *error)
{
    struct journal_options options = journal_options_of(n);
    n->formatted = journal_format(&n->disk->disk, &options, s->stream, n->store, s->genesis,
                                  n->founder ? s->genesis_length : 0, error) == JOURNAL_OK;
    return n->formatted;
}

void sim_deploy_wipe(struct sim *s, struct sim_node *n)
{
    struct sim_store_word *word = sim_history_word(&s->history, n->store);
    sim_disk_wipe(n->disk);
    n->formatted = n->founder = n->rotten = n->host_lost = n->lied = n->hurt = n->restored = false;
    if (s->sabotage_wiped_votes || word == NULL)
        return;
    word->gone = true;
    n->store = sim_random_next(&s->random) | 1;
}

static bool create_store(struct sim *s, struct sim_node *n);

static bool format_anew(struct sim *s, struct sim_node *n)
{
    sim_disk_crash(n->disk);
    if (n->journal != NULL)
        journal_close(n->journal);
    n->journal = NULL;
    sim_deploy_wipe(s, n);
    n->disk->dead = false;
    s->result.wipes++;
    return create_store(s, n);
}

static bool create_store(struct sim *s, struct sim_node *n)
{
    char error[JOURNAL_ERROR_MAX] = "";
    enum journal_error code = JOURNAL_OK;
    struct journal_report report;
    if (!n->formatted && !format(s, n, error)) {
        snprintf(s->text, sizeof s->text, "%s", error);
        return false;
    }
    struct journal_options options = journal_options_of(n);
    n->journal = journal_open(&n->disk->disk, &options, s->stream, &report, &code, error);
    bool lost = n->journal != NULL && report.may_have_lost;
    if (n->journal != NULL && lost != n->host_lost && !report.restored)
        sim_violate(s, SIM_NOTHING_STABLE_LOST, "%s %s", n->name,
                    lost ? "claims that it may have lost something, and has not"
                         : "does not say that it may have lost what it acknowledged");
    /* The shell refuses to start, and somebody formats it anew. */
    if (lost || (n->journal == NULL && (n->host_lost || n->hurt)))
        return format_anew(s, n);
    if (n->journal == NULL) {
        snprintf(s->text, sizeof s->text, "%s", error);
        return false;
    }
    sim_check_started(s, n, &report);
    struct retransmitter_options o;
    retransmitter_options_default(&o);
    o.stream = s->stream;
    o.random = sim_random_next(&s->random);
    o.fetch_udp = n->port.port.self;
    o.fetch_stream_port = n->port.port.stream_port;
    o.peer_count = sources(s, n, o.peers);
    o.datagram_max = SIM_DATAGRAM_MAX;
    o.pending_max = s->pending_max;
    o.ack_repeat_ns = 10 * SIM_MS;
    o.requesters_max = 64;
    o.replays_max = 4;
    o.sabotage = s->sabotage_retransmitter;
    n->ops = &retransmitter_participant;
    n->core = retransmitter_create(&o, n->journal, &n->port.port, sim_node_time(s, n));
    if (n->core == NULL) {
        journal_close(n->journal);
        n->journal = NULL;
    }
    return n->core != NULL;
}

static bool furnish_client(struct sim *s, struct sim_node *n, char *error)
{
    struct sim_client *c = n->client;
    struct client_core *core = n->core;
    for (uint32_t i = 0; i < c->app_count; i++) {
        const char *identity = c->identities[i][0] != '\0' ? c->identities[i] : NULL;
        c->machines[i] = client_core_add_app(core, c->apps[i], c->config[i], identity, error);
        if (c->machines[i] == NULL)
            return false;
    }
    if (c->work == SIM_WORK_PIPE || c->work == SIM_WORK_BY_HAND) {
        c->pipe = client_core_add_pipe(core, c->identity, error);
        if (c->pipe == NULL)
            return false;
    }
    if (c->work == SIM_WORK_INJECTOR) {
        c->injector = client_core_add_injector(core, c->identity, sim_work_item, s, error);
        if (c->injector == NULL)
            return false;
    }
    /* Of what all replicas are alike in, by publishers of their own. */
    if (c->edge != NULL)
        return sim_edge_furnish(s, n, error);
    if ((s->extras & SIM_EXTRA_DIGESTS) != 0 && c->app_count > 0 &&
        c->apps[0] == &sim_follower_app) {
        char identity[SIM_NAME_MAX + 8];
        snprintf(identity, sizeof identity, "%s.digest", n->name);
        if (!client_core_publish_digests(core, c->machines[0], identity, DIGEST_EVERY, error))
            return false;
    }
    return client_core_subscribe(core, "/", sim_check_message, n, error);
}

static bool create_client(struct sim *s, struct sim_node *n)
{
    char error[CANTUS_ERROR_MAX] = "";
    struct client_core_options o = {
        .follower = {
            .stream = s->stream,
            .level = n->client->level == CANTUS_SEQUENCED ? FOLLOWER_SEQUENCED : FOLLOWER_STABLE,
            .pending_max = s->pending_max,
            .datagram_max = SIM_DATAGRAM_MAX,
            .bulk_messages = BULK_MESSAGES,
            .random = sim_random_next(&s->random),
            .sabotage = s->sabotage_follower,
        },
        .catalog = { SIM_TOPICS_MAX, SIM_PUBLISHERS_MAX },
        .run_bytes_max = SIM_RUN_BYTES_MAX,
        .random = sim_random_next(&s->random),
        .report = sim_check_report,
        .ctx = n,
        .sabotage = s->sabotage_client,
    };
    o.follower.source_count = sources(s, NULL, o.follower.sources);
    struct edge_options edge;
    if (n->client->edge != NULL) {
        edge = sim_edge_options(s, n);
        o.edge = &edge;
    }
    if (n->client->work == SIM_WORK_GROUPS || n->client->work == SIM_WORK_GRANTS)
        n->client->nonce = sim_random_next(&s->random) | 1;
    n->client->proposed = 0;
    n->ops = &client_participant;
    n->client->reader = (struct sim_reader) { .branch = SIM_NONE };
    n->client->quarantined = false;
    n->core = client_core_create(&o, &n->port.port, sim_node_time(s, n), error);
    if (n->core != NULL && furnish_client(s, n, error))
        return true;
    snprintf(s->text, sizeof s->text, "%.500s", error);
    if (n->core != NULL)
        client_core_destroy(n->core);
    n->core = NULL;
    return false;
}

bool sim_create_core(struct sim *s, struct sim_node *n)
{
    sim_work_context(s);
    switch (n->kind) {
    case SIM_SEQUENCER:
        return create_sequencer(s, n);
    case SIM_STORE:
        return create_store(s, n);
    case SIM_CLIENT:
        return create_client(s, n);
    case SIM_OPERATOR:
        n->ops = &sim_operator_participant;
        n->core = sim_operator_create(s, n);
        return n->core != NULL;
    case SIM_PROXY:
        return sim_edge_create_proxy(s, n);
    case SIM_HOSTILE:
        n->ops = &sim_hostile_participant;
        n->core = sim_hostile_create(s, n);
        return n->core != NULL;
    case SIM_VISITOR:
        n->ops = &sim_visitor_participant;
        n->core = sim_visitor_create(s, n);
        return n->core != NULL;
    }
    return false;
}

/* ---- the deployment -------------------------------------------------------------------------- */

static bool write_genesis(struct sim *s)
{
    struct sys_genesis g = {
        .stream = s->stream,
        .created_ns = SIM_CLOCK_EPOCH_NS - SIM_MS,
        .protocol_version = WIRE_VERSION,
        .members = { .seq = 1, .quorum = s->options.quorum, .count = s->options.stores },
    };
    memcpy(g.members.stores, s->store_ids, s->options.stores * sizeof s->store_ids[0]);
    s->genesis_length = (uint32_t)genesis_batch(&g, s->genesis, sizeof s->genesis);
    struct batch_header h;
    struct message m;
    if (s->genesis_length == 0 ||
        batch_verify(s->genesis, s->genesis_length, s->stream, &h) != WIRE_OK)
        return false;
    struct batch_cursor cursor = batch_begin(s->genesis, &h);
    uint32_t branch = sim_history_grow(&s->history, h.epoch, SIM_NONE, 1);
    struct sim_branch *b = &s->history.branches[branch];
    b->digest = h.digest;
    b->timestamp_ns = h.timestamp_ns;
    for (uint32_t i = 0; i < SIM_PUBLISHERS_MAX; i++)
        b->tally.next[i] = 1;
    if (!batch_next(&cursor, &m))
        return false;
    struct sim_entry *e = sim_history_append(&s->history, branch, &m);
    if (e == NULL)
        return false;
    e->digest = h.digest;
    e->last = true;
    return sim_history_change(&s->history, branch, &g.members);
}

struct sim_node *sim_deploy_client(struct sim *s, const char *name, enum cantus_level level)
{
    struct sim_node *n = sim_node_add(s, SIM_CLIENT, 1, name);
    if (n == NULL)
        return NULL;
    n->client->level = level;
    snprintf(n->client->identity, sizeof n->client->identity, "%s", name);
    return n;
}

static bool add_app(struct sim_node *n, const struct cantus_app *app, const char *config,
                    const char *identity)
{
    struct sim_client *c = n->client;
    if (c->app_count == 2)
        return false;
    c->apps[c->app_count] = app;
    snprintf(c->config[c->app_count], sizeof c->config[0], "%s", config != NULL ? config : "");
    snprintf(c->identities[c->app_count], sizeof c->identities[0], "%s", identity);
    c->app_count++;
    return true;
}

static enum cantus_level level_of(uint32_t i)
{
    return i % 2 == 0 ? CANTUS_STABLE : CANTUS_SEQUENCED;
}

/* A second process that will be publisher-2, one that publishes groups, and three of keys. */
static bool deploy_extras(struct sim *s)
{
    if ((s->extras & SIM_EXTRA_TWIN) != 0 && s->options.publishers > 1) {
        struct sim_node *n = sim_deploy_client(s, "twin-2", level_of(0));
        if (n == NULL)
            return false;
        n->index = 2;
        n->client->work = SIM_WORK_PIPE;
        n->client->late = true;
        memcpy(n->client->identity, "publisher-2", sizeof "publisher-2");
        sim_schedule(s, s->now + sim_random_between(&s->random, 5 * SIM_MS, 120 * SIM_MS),
                     SIM_EVENT_RESTART, n->port.node, 0, 0);
    }
    if ((s->extras & SIM_EXTRA_GROUPS) != 0) {
        struct sim_node *n = sim_deploy_client(s, "grouper-1", level_of(1));
        if (n == NULL)
            return false;
        n->client->work = SIM_WORK_GROUPS;
    }
    for (uint32_t role = 1; (s->extras & SIM_EXTRA_GRANTS) != 0 && role <= SIM_GRANT_ROLES;
         role++) {
        char name[SIM_NAME_MAX + 1];
        snprintf(name, sizeof name, "keyed-%u", role);
        struct sim_node *n = sim_deploy_client(s, name, CANTUS_SEQUENCED);
        if (n == NULL)
            return false;
        n->client->work = SIM_WORK_GRANTS;
        n->client->grant_role = role;
        sim_grant_identity(role, n->client->identity);
    }
    return (s->extras & SIM_EXTRA_EDGE) == 0 || sim_edge_deploy(s);
}

static bool deploy_clients(struct sim *s)
{
    char name[SIM_NAME_MAX + 1];
    const struct sim_options *o = &s->options;
    for (uint32_t i = 0; i < o->publishers; i++) {
        snprintf(name, sizeof name, "publisher-%u", i + 1);
        struct sim_node *n = sim_deploy_client(s, name, level_of(i));
        if (n == NULL)
            return false;
        n->index = i + 1;
        n->client->work = i == 0 ? SIM_WORK_INJECTOR : SIM_WORK_PIPE;
    }
    for (uint32_t i = 0; i < o->followers; i++) {
        snprintf(name, sizeof name, "follower-%u", i + 1);
        struct sim_node *n = sim_deploy_client(s, name, level_of(i));
        if (n == NULL)
            return false;
        n->index = i + 1;
        char config[32], identity[24] = "";
        snprintf(config, sizeof config, "%u", sim_node_index(s, n));
        if (!add_app(n, &sim_follower_app, config, ""))
            return false;
        if (i < 3)
            snprintf(identity, sizeof identity, "solver-%u", i + 1);
        snprintf(config, sizeof config, "%u %u", i + 1, s->solver_items);
        if (!add_app(n, &sim_solver_app, config, identity))
            return false;
    }
    for (uint32_t i = 0; i < o->app_replicas && o->app != NULL; i++) {
        snprintf(name, sizeof name, "app-%u", i + 1);
        struct sim_node *n = sim_deploy_client(s, name, level_of(i));
        if (n == NULL || !add_app(n, o->app, o->app_config, name))
            return false;
        n->index = i + 1;
    }
    return true;
}

static bool add_numbered(struct sim *s, enum sim_kind kind, const char *what, uint32_t index)
{
    char name[SIM_NAME_MAX + 1];
    snprintf(name, sizeof name, "%s-%u", what, index);
    struct sim_node *n = sim_node_add(s, kind, index, name);
    if (n != NULL && kind == SIM_STORE) {
        n->store = s->store_ids[index - 1];
        n->founder = index <= s->options.stores;
        n->host_boot = index;
        n->disk->unsynced = (s->extras & SIM_EXTRA_UNSYNCED) != 0 && index % 2 == 1;
    }
    return n != NULL;
}

bool sim_deploy(struct sim *s, char *error)
{
    static const uint32_t rounds[] = { 4, 12, 40 };
    static const uint32_t large[] = { 30, 100, 400 };
    static const uint32_t pending[] = { 40, 128, 512 };
    static const uint32_t queues[] = { 64, 256, 1024 };
    static const uint64_t silences[] = { 0, 0, 40, 80 };
    static const uint64_t rings[] = { 128 * 1024, 256 * 1024, 1024 * 1024 };
    struct sim_options *o = &s->options;
    o->stores = o->stores > 0 ? o->stores : 1;
    s->sequencer_count = o->sequencers > 0 ? o->sequencers : 1;
    if (o->stores > SIM_STORES_MAX - SPARES_MAX || o->spares > SPARES_MAX ||
        o->quorum > o->stores || s->sequencer_count > 8 || o->publishers > 12 || o->followers > 8 ||
        o->app_replicas > 16) {
        snprintf(error, SIM_TEXT_MAX,
                 "at most %u stores, of which W is a part, %u spares, 8 sequencers, 12 publishers, "
                 "8 followers and 16 replicas",
                 SIM_STORES_MAX - SPARES_MAX, SPARES_MAX);
        return false;
    }
    s->extras = s->by_hand ? 0 : sim_extras_draw(&s->options);
    s->store_count = o->stores + o->spares;
    s->result.stores = s->store_count;
    s->result.sequencers = s->sequencer_count;
    s->stream = sim_random_next(&s->random) | 1;
    s->line_b = !s->by_hand && sim_random_below(&s->random, 4) == 0;
    s->ring_bytes = rings[s->by_hand ? 2 : sim_random_below(&s->random, 3)];
    s->large_every = large[sim_random_below(&s->random, 3)];
    s->pending_max = s->by_hand ? 512 : pending[sim_random_below(&s->random, 3)];
    s->queue_max = s->by_hand ? 1024 : queues[sim_random_below(&s->random, 3)];
    s->solver_items = rounds[sim_random_below(&s->random, 3)];
    s->silence_ns = s->by_hand ? 0 : silences[sim_random_below(&s->random, 4)] * SIM_MS;
    for (uint32_t i = 0; i < s->store_count; i++)
        s->store_ids[i] = sim_random_next(&s->random) | 1;
    bool ok = write_genesis(s);
    for (uint32_t i = 1; ok && i <= s->sequencer_count; i++)
        ok = add_numbered(s, SIM_SEQUENCER, "sequencer", i);
    for (uint32_t i = 1; ok && i <= s->store_count; i++)
        ok = add_numbered(s, SIM_STORE, "store", i);
    ok = ok && deploy_clients(s) && deploy_extras(s);
    if (ok && !s->by_hand)
        ok = (s->operator= sim_node_add(s, SIM_OPERATOR, 1, "operator")) != NULL;
    for (uint32_t i = 0; ok && i < s->node_count; i++)
        if (s->nodes[i]->kind != SIM_CLIENT || !s->nodes[i]->client->late)
            ok = sim_node_start(s, s->nodes[i]);
    if (!ok)
        snprintf(error, SIM_TEXT_MAX, "the deployment does not start: %.400s",
                 s->text[0] != '\0' ? s->text : "out of memory");
    return ok;
}
