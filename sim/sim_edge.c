/* Proxies, and clients that come to them and go: the library's own, which publish, read, are refused, and are
 * started again by whoever sees to them. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "sim/sim_private.h"

enum {
    EDGE_INDEX = 20, /* of the first client: the workload's number of what it publishes */
    EDGE_IN_FLIGHT_MAX = 24,
    EDGE_PUSHES_MAX = 6,
    EDGE_GROUP_MAX = 5,
    EDGE_TORN_GROUP = 8,
    EDGE_CHANGES_MAX = 60,
    EDGE_CHANGE_CHANCE = 3,
    EDGE_RELAY_BYTES = 8 << 20,
    EXTRAS_FROM_SEED = 49000000
};

/* Each of these is there in some runs. Their rights are given by sim_grant.c. */
static const struct sim_edge_role roles[] = {
    { .name = "edge-replica",
      .key = 1,
      .work = SIM_WORK_EDGE_READ,
      .subtrees = { "/" },
      .rights_stay = true,
      .replica = true },
    { .name = "edge-feed",
      .key = 2,
      .work = SIM_WORK_EDGE_FEED,
      .publisher = "feed",
      .subtrees = { "/edge/feed" },
      .rights_stay = true },
    { .name = "edge-pipe",
      .key = 3,
      .work = SIM_WORK_EDGE_PIPE,
      .publisher = "pipe",
      .subtrees = { "/items" },
      .rights_stay = true },
    { .name = "edge-reader", .key = 4, .work = SIM_WORK_EDGE_READ, .subtrees = { "/edge", "/v" } },
    { .name = "edge-writer",
      .key = 5,
      .work = SIM_WORK_EDGE_WRITE,
      .publisher = "writer",
      .subtrees = { "/edge/a", "/edge/c" } },
    { .name = "edge-nobody",
      .key = SIM_EDGE_NOBODY,
      .work = SIM_WORK_EDGE_READ,
      .subtrees = { "/edge" } },
    { .name = "edge-twin",
      .key = 3,
      .work = SIM_WORK_EDGE_PIPE,
      .publisher = "pipe",
      .subtrees = { "/items" },
      .rights_stay = true,
      .twin = true },
    { .name = "edge-peer",
      .key = 4,
      .work = SIM_WORK_EDGE_READ,
      .subtrees = { "/edge" },
      .peer = true },
    { .name = "edge-changer",
      .key = 1,
      .work = SIM_WORK_EDGE_CHANGE,
      .subtrees = { "/items" },
      .rights_stay = true,
      .changer = true },
};
const char *const sim_edge_changed[SIM_EDGE_CHANGED] = { "/edge", "/v", "/feed" };
_Static_assert(EDGE_INDEX + 2 == SIM_EDGE_PIPE, "PIPE_ROLE has this index");
enum { ROLES = sizeof roles / sizeof roles[0], PIPE_ROLE = 2, ROLE_CHANCE = 3 };

/* ---- keys ------------------------------------------------------------------------------------ */

const struct sim_edge_key *sim_edge_key(uint32_t key)
{
    static _Thread_local struct sim_edge_key keys[SIM_EDGE_KEYS];
    static _Thread_local bool made;
    for (uint32_t i = 0; !made && i < SIM_EDGE_KEYS; i++) {
        uint8_t seed[crypto_sign_SEEDBYTES];
        memset(seed, (int)(0x60 + i), sizeof seed);
        crypto_sign_seed_keypair(keys[i].public_key, keys[i].secret, seed);
    }
    made = true;
    assert(key < SIM_EDGE_KEYS);
    return &keys[key];
}

void sim_edge_sign(void *ctx, const uint8_t message[EDGE_SIGNED_SIZE],
                   uint8_t signature[EDGE_SIGNATURE_SIZE])
{
    const struct sim_edge_key *k = ctx;
    crypto_sign_detached(signature, NULL, message, EDGE_SIGNED_SIZE, k->secret);
}

/* ---- proxies --------------------------------------------------------------------------------- */

/* Its own draws; and in seeds that nobody had looked at before these were there, for the schedules of the others are
 * what they were when they found something. */
static uint32_t draw_extras(const struct sim_options *o)
{
    struct sim_random r;
    sim_random_init(&r, o->seed ^ UINT64_C(0xed6e));
    uint32_t extras = 0;
    for (uint32_t extra = 1; extra < SIM_EDGE_END; extra *= 2)
        if (sim_random_below(&r, 3) == 0)
            extras |= extra;
    return o->seed >= EXTRAS_FROM_SEED ? extras : 0;
}

/* Small, so that places are lost, history is read from the stores, and quotas are met. */
static void draw_options(struct sim *s)
{
    static const uint64_t recents[] = { 16 << 10, 64 << 10, 512 << 10 };
    static const uint64_t lags[] = { 4 << 10, 32 << 10, 256 << 10 };
    static const uint64_t slows[] = { 20, 60, 1000 };
    static const uint32_t windows[] = { 16, 64, 256 };
    static const uint32_t buffers[] = { 8 << 10, 16 << 10, SIM_STREAM_BUFFER };
    struct sim_random *r = &s->random;
    struct proxy_options *o = &s->edge;
    proxy_options_default(o);
    o->stream = s->stream;
    o->catalog = (struct catalog_options) { SIM_TOPICS_MAX, SIM_PUBLISHERS_MAX };
    o->datagram_max = SIM_DATAGRAM_MAX;
    o->run_bytes_max = SIM_RUN_BYTES_MAX;
    o->sessions_max = (uint32_t)sim_random_between(r, 16, 32);
    o->sessions_per_key = 8;
    o->logins_max = (uint32_t)sim_random_between(r, 2, 8);
    o->subtrees_max = 256;
    o->view_bytes = 4 << 20;
    o->recent_bytes = recents[sim_random_below(r, 3)];
    o->lag_bytes_max = lags[sim_random_below(r, 3)];
    o->slow_ns = slows[sim_random_below(r, 3)] * SIM_MS;
    o->replays_max = (uint32_t)sim_random_between(r, 1, 2);
    o->publishers_max = 24;
    o->publisher_bytes = 128 << 10;
    o->relay_bytes = EDGE_RELAY_BYTES;
    o->window = windows[sim_random_below(r, 3)];
    o->login_ns = 100 * SIM_MS;
    o->quantum_bytes = 4096;
    o->presence_ms = 100 + 100 * (uint32_t)(s->options.seed % 20);
    s->edge_buffer = buffers[sim_random_below(r, 3)];
    s->edge_extras = draw_extras(&s->options);
    if ((s->edge_extras & SIM_EDGE_PACES) == 0)
        return;
    o->records_per_addr_s = o->records_per_key_s = (uint32_t)sim_random_between(r, 20, 200);
    o->records_per_addr_burst = o->records_per_key_burst = (uint32_t)sim_random_between(r, 4, 16);
}

bool sim_edge_create_proxy(struct sim *s, struct sim_node *n)
{
    struct proxy_options o = s->edge;
    for (uint32_t i = 0; i < sizeof o.secret; i += 8)
        wire_store64(o.secret + i, sim_random_next(&s->random));
    memcpy(o.name, n->name, strlen(n->name) + 1);
    for (uint32_t i = 0; i < s->node_count; i++)
        if (s->nodes[i]->kind == SIM_STORE && o.source_count < FOLLOWER_SOURCES_MAX)
            o.sources[o.source_count++] =
                (struct follower_source) { .unicast = s->nodes[i]->port.port.self,
                                           .stream = s->nodes[i]->port.port.self };
    o.sabotage = s->sabotage_proxy;
    n->ops = &proxy_participant;
    n->core = proxy_create(&o, &n->port.port, sim_node_time(s, n));
    return n->core != NULL;
}

uint32_t sim_edge_proxies(const struct sim *s, struct port_addr out[EDGE_PROXIES_MAX])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->node_count; i++)
        if (s->nodes[i]->kind == SIM_PROXY && count < EDGE_PROXIES_MAX)
            out[count++] = s->nodes[i]->port.port.self;
    return count;
}

/* ---- clients --------------------------------------------------------------------------------- */

struct edge_options sim_edge_options(struct sim *s, const struct sim_node *n)
{
    const struct sim_edge_role *role = n->client->edge;
    const struct sim_edge_key *key = sim_edge_key(role->key);
    struct edge_options o = {
        .level = n->client->level == CANTUS_STABLE ? EDGE_STABLE : EDGE_SEQUENCED,
        .stream = sim_random_below(&s->random, 2) == 0 ? s->stream : 0,
        .has_key = role->key != SIM_EDGE_NOBODY,
        .sign = sim_edge_sign,
        .sign_ctx = (void *)(uintptr_t)key,
        .random = sim_random_next(&s->random),
    };
    if (o.has_key)
        memcpy(o.key, key->public_key, sizeof o.key);
    memcpy(o.agent, n->name, strlen(n->name) + 1);
    return o;
}

/* Of an injector, of one client: as many as it has to say so far. */
static bool feed_item(void *ctx, uint64_t index, struct cantus_item *out)
{
    static _Thread_local uint8_t payload[SIM_RUN_BYTES_MAX];
    const struct sim_node *n = ctx;
    if (index >= n->client->goal)
        return false;
    uint32_t length = sim_item_length(n->index, index + 1);
    sim_item_fill(n->index, index + 1, payload, length);
    *out = (struct cantus_item) { .topic = "/edge/feed", .payload = payload, .length = length };
    return true;
}

bool sim_edge_furnish(struct sim *s, struct sim_node *n, char *error)
{
    struct sim_client *c = n->client;
    const struct sim_edge_role *role = c->edge;
    struct port_addr proxies[EDGE_PROXIES_MAX];
    uint32_t count = sim_edge_proxies(s, proxies);
    edge_set_proxies(client_core_edge(n->core), proxies, count);
    if (c->work == SIM_WORK_EDGE_PIPE || c->work == SIM_WORK_EDGE_WRITE)
        c->pipe = client_core_add_pipe(n->core, role->publisher, error);
    if (c->work == SIM_WORK_EDGE_FEED)
        c->injector = client_core_add_injector(n->core, role->publisher, feed_item, n, error);
    if (role->publisher != NULL && c->pipe == NULL && c->injector == NULL)
        return false;
    memset(c->wanted, 0, sizeof c->wanted);
    for (uint32_t i = 0; role->subtrees[i] != NULL; i++)
        if (!client_core_subscribe(n->core, role->subtrees[i], sim_check_edge_message, n, error))
            return false;
    return true;
}

static bool deploy_client(struct sim *s, uint32_t which)
{
    const struct sim_edge_role *role = &roles[which];
    enum cantus_level level =
        sim_random_below(&s->random, 2) == 0 ? CANTUS_STABLE : CANTUS_SEQUENCED;
    struct sim_node *n = sim_deploy_client(s, role->name, level);
    if (n == NULL)
        return false;
    struct sim_client *c = n->client;
    memset(n->join, 0, sizeof n->join);
    n->index = EDGE_INDEX + (role->twin ? PIPE_ROLE : which);
    c->edge = role;
    c->work = role->work;
    c->late = true;
    if (!role->replica)
        return true;
    c->apps[0] = &sim_follower_app;
    c->apps[1] = &sim_solver_app;
    c->app_count = 2;
    snprintf(c->config[0], sizeof c->config[0], "%u", sim_node_index(s, n));
    snprintf(c->config[1], sizeof c->config[1], "%u %u", n->index, s->solver_items);
    memcpy(c->identities[1], "solver", sizeof "solver");
    return true;
}

/* Who wants what nobody in particular wants, at times with equal rights: in an eighth of the seeds, so that the
 * schedules of the others are what they were when they found something. */
static bool has_peer(const struct sim *s)
{
    const char *sabotage = s->options.sabotage;
    return s->options.seed % 16 == 1 || s->options.seed % 16 == 5 ||
           (sabotage != NULL && sim_sabotage_named(sabotage, "shares-revoked"));
}

/* The same, of whom wants now this and now that. */
static bool has_changer(const struct sim *s)
{
    const char *sabotage = s->options.sabotage;
    return s->options.seed % 16 == 7 || s->options.seed % 16 == 11 ||
           (sabotage != NULL && sim_sabotage_named(sabotage, "changes-late"));
}

/* Who comes and goes: in seeds of a kind that found nothing before there was one. */
static bool has_visitor(const struct sim *s)
{
    return s->options.seed % 16 == 7 || (s->options.seed >> 25 != 0 && s->options.seed % 8 < 3);
}

bool sim_edge_deploy(struct sim *s)
{
    char name[SIM_NAME_MAX + 1];
    draw_options(s);
    s->tears_groups = sim_edge_tears_groups(s);
    uint64_t proxies_max = (s->edge_extras & SIM_EDGE_HALVES) != 0 ? 3 : 2;
    s->proxy_count = (uint32_t)sim_random_between(&s->random, 1, proxies_max);
    for (uint32_t i = 1; i <= s->proxy_count; i++) {
        snprintf(name, sizeof name, "proxy-%u", i);
        if (sim_node_add(s, SIM_PROXY, i, name) == NULL)
            return false;
    }
    struct sim_node *granter = sim_deploy_client(s, "edge-granter", CANTUS_SEQUENCED);
    if (granter == NULL)
        return false;
    granter->client->work = SIM_WORK_GRANTS;
    granter->client->grant_role = SIM_GRANT_EDGE;
    sim_grant_identity(SIM_GRANT_EDGE, granter->client->identity);
    bool all = s->options.sabotage != NULL, has_pipe = false;
    for (uint32_t i = 0; i < ROLES; i++) {
        if ((roles[i].peer && !has_peer(s)) || (roles[i].changer && !has_changer(s)))
            continue;
        bool wanted = all || roles[i].changer || sim_random_below(&s->random, ROLE_CHANCE) != 0;
        if (roles[i].twin)
            wanted = has_pipe && sim_random_below(&s->random, 2) == 0;
        has_pipe = has_pipe || (wanted && i == PIPE_ROLE);
        if (wanted && !deploy_client(s, i))
            return false;
    }
    if (has_visitor(s) && sim_node_add(s, SIM_VISITOR, 1, "visitor-1") == NULL)
        return false;
    if (!all && sim_random_below(&s->random, 2) == 0)
        return true;
    return sim_node_add(s, SIM_HOSTILE, 1, "hostile-1") != NULL;
}

/* ---- what they do ---------------------------------------------------------------------------- */

static struct sim_node *granter_of(const struct sim *s)
{
    for (uint32_t i = 0; i < s->node_count; i++)
        if (s->nodes[i]->kind == SIM_CLIENT && s->nodes[i]->client->grant_role == SIM_GRANT_EDGE)
            return s->nodes[i];
    return NULL;
}

void sim_edge_look(struct sim *s)
{
    if (s->proxy_count == 0 || s->edge_open || !sim_grant_edge_begun(s, granter_of(s)))
        return;
    s->edge_open = true;
    s->edge_opened = (struct position) {
        .epoch = s->history
                     .branches[sim_history_owner(&s->history, s->history.stable_branch,
                                                 s->history.stable_seq)]
                     .epoch,
        .seq = s->history.stable_seq
    };
    for (uint32_t i = 0; i < s->node_count; i++) {
        const struct sim_node *n = s->nodes[i];
        if (n->kind != SIM_CLIENT || n->client->edge == NULL)
            continue;
        uint64_t after = n->client->edge->twin
                             ? sim_random_between(&s->random, SIM_MS, 100 * SIM_MS)
                             : sim_random_below(&s->random, 4 * SIM_MS);
        sim_schedule(s, s->now + after, SIM_EVENT_RESTART, i, n->boot, 0);
    }
}

/* Of a quarter of the seeds: the schedules of the others are what they were when they found something. */
bool sim_edge_has_groups(const struct sim *s)
{
    const char *sabotage = s->options.sabotage;
    return s->options.seed % 4 == 0 ||
           (sabotage != NULL && sim_sabotage_named(sabotage, "releases-parts"));
}

bool sim_edge_tears_groups(const struct sim *s)
{
    const char *sabotage = s->options.sabotage;
    return sabotage != NULL ? sim_sabotage_named(sabotage, "releases-parts")
                            : s->options.seed >= EXTRAS_FROM_SEED && s->options.seed % 16 == 12;
}

static bool group_goes_on(const struct sim *s, const struct sim_client *c, uint64_t item)
{
    if (s->tears_groups) /* in several batches, all of them */
        return !s->quiet && c->group + 1 < EDGE_TORN_GROUP;
    return sim_edge_has_groups(s) && !s->quiet && c->group + 1 < EDGE_GROUP_MAX &&
           item * UINT64_C(0x9e3779b97f4a7c15) >> 62 != 0;
}

static bool push_edge_item(struct sim *s, struct sim_node *n, uint64_t item)
{
    uint8_t payload[SIM_EDGE_ITEM_MAX];
    struct sim_client *c = n->client;
    char topic[32];
    snprintf(topic, sizeof topic, "/items/p%u", n->index);
    uint32_t length = sim_item_length(n->index, item);
    sim_item_fill(n->index, item, payload, length);
    bool more = group_goes_on(s, c, item);
    if (more ? !client_core_push_part(c->pipe, topic, payload, length)
             : !cantus_pipe_push(c->pipe, topic, payload, length))
        return false;
    c->group = more ? c->group + 1 : 0;
    return true;
}

static void push_edge_items(struct sim *s, struct sim_node *n)
{
    struct sim_client *c = n->client;
    if (!cantus_pipe_ready(c->pipe))
        return;
    if (!c->started) {
        c->started = true;
        c->group = 0;
        c->items = cantus_pipe_sequenced(c->pipe);
        if (c->goal < c->items)
            c->goal = c->items;
    }
    uint64_t pushes = sim_random_between(&s->random, 1, EDGE_PUSHES_MAX);
    for (uint64_t i = 0; i < pushes && cantus_pipe_in_flight(c->pipe) < EDGE_IN_FLIGHT_MAX; i++) {
        uint64_t item = c->items + 1;
        if (!push_edge_item(s, n, item))
            break;
        c->items = item;
        if (c->goal < item)
            c->goal = item;
    }
}

/* Whether it may is for others to say. */
static void push_words(struct sim *s, struct sim_node *n)
{
    static const char *const topics[] = { "/edge/a", "/edge/a/x", "/edge/b" };
    struct sim_client *c = n->client;
    uint8_t word[64];
    if (!cantus_pipe_ready(c->pipe) || cantus_pipe_in_flight(c->pipe) >= EDGE_IN_FLIGHT_MAX)
        return;
    memset(word, 'w', sizeof word);
    cantus_pipe_push(c->pipe, topics[sim_random_below(&s->random, 3)], word,
                     sim_random_between(&s->random, 1, sizeof word));
}

static void change_subtrees(struct sim *s, struct sim_node *n)
{
    struct sim_client *c = n->client;
    char error[CANTUS_ERROR_MAX];
    c->started = c->started || edge_is_subscribed(client_core_edge(n->core));
    if (!c->started || c->changes == EDGE_CHANGES_MAX ||
        sim_random_below(&s->random, EDGE_CHANGE_CHANCE) != 0)
        return;
    c->changes++;
    uint32_t which = (uint32_t)sim_random_below(&s->random, SIM_EDGE_CHANGED);
    const char *subtree = sim_edge_changed[which];
    struct sim_wanted *w = &c->wanted[which];
    bool had = w->state != SIM_WANTED_NOT;
    w->state = had ? SIM_WANTED_NOT : SIM_WANTED_WAITS;
    if (sim_tracing(s))
        sim_trace_line(s, "%s %s %s", n->name, had ? "no longer wants" : "wants", subtree);
    if (had ? !client_core_unsubscribe(n->core, subtree, sim_check_edge_message, n)
            : !client_core_subscribe(n->core, subtree, sim_check_edge_message, n, error))
        sim_violate(s, SIM_BOUNDED, "%s can't change %s", n->name, subtree);
}

/* A process that was refused something ends, and is started again. */
static bool give_up(struct sim *s, struct sim_node *n)
{
    enum cantus_status status = client_core_status(n->core);
    if (status == CANTUS_OK || status == CANTUS_SUPERSEDED)
        return false;
    snprintf(n->client->error, sizeof n->client->error, "%.159s", client_core_error(n->core));
    if (sim_tracing(s))
        sim_trace_line(s, "%s gives up: %s", n->name, n->client->error);
    if (n->client->edge->rights_stay)
        sim_violate(s, SIM_LIVE, "%s, whose rights stay, gives up: %s", n->name, n->client->error);
    s->edge_restarts++;
    sim_node_crash(s, n);
    sim_fault_restart_later(s, n, sim_random_between(&s->random, SIM_MS, 8 * SIM_MS));
    return true;
}

void sim_edge_work(struct sim *s, struct sim_node *n)
{
    struct sim_client *c = n->client;
    if (give_up(s, n))
        return;
    bool more = !s->quiet || (c->work == SIM_WORK_EDGE_PIPE &&
                              (!c->started || c->items < c->goal || c->group > 0));
    if (!more)
        return;
    if (c->work == SIM_WORK_EDGE_PIPE)
        push_edge_items(s, n);
    else if (c->work == SIM_WORK_EDGE_WRITE)
        push_words(s, n);
    else if (c->work == SIM_WORK_EDGE_CHANGE)
        change_subtrees(s, n);
    else if (c->work == SIM_WORK_EDGE_FEED &&
             c->goal < cantus_injector_sequenced(c->injector) + EDGE_IN_FLIGHT_MAX)
        c->goal += sim_random_between(&s->random, 1, EDGE_PUSHES_MAX);
    sim_node_step(s, n);
}

/* ---- live again ------------------------------------------------------------------------------ */

/* Where it is told of the time, and that it has everything. */
static uint64_t last_tick(const struct sim_history *h, uint64_t tip)
{
    while (tip > 1 && sim_history_at(h, h->stable_branch, tip)->topic != TOPIC_CLOCK)
        tip--;
    return tip;
}

static bool is_superseded(const struct sim_node *n)
{
    return n->core != NULL && client_core_status(n->core) == CANTUS_SUPERSEDED;
}

/* Of several processes that are one publisher all but one are told that they were superseded. */
static bool is_rivalled(const struct sim *s, const struct sim_node *n)
{
    for (uint32_t i = 0; i < s->node_count; i++) {
        const struct sim_node *other = s->nodes[i];
        if (other != n && other->kind == SIM_CLIENT && other->client->edge != NULL &&
            other->client->work == SIM_WORK_EDGE_PIPE && !is_superseded(other))
            return true;
    }
    return false;
}

static enum sim_invariant publisher_live(const struct sim *s, const struct sim_node *n, char *why,
                                         size_t capacity)
{
    const struct sim_client *c = n->client;
    bool over = is_superseded(n), rivalled = c->work == SIM_WORK_EDGE_PIPE && is_rivalled(s, n);
    if (over != rivalled) {
        snprintf(why, capacity, "%s is not told that it was superseded, or is and was not",
                 n->name);
        return SIM_ANSWERED;
    }
    if (over)
        return SIM_FINE;
    if (c->work == SIM_WORK_EDGE_FEED && cantus_injector_sequenced(c->injector) != c->goal)
        snprintf(why, capacity, "%s: %lu of %lu items have an outcome", n->name,
                 cantus_injector_sequenced(c->injector), c->goal);
    else if (c->work == SIM_WORK_EDGE_PIPE && !c->started)
        snprintf(why, capacity, "%s is not told what of its publisher's is in the stream", n->name);
    else if (c->work == SIM_WORK_EDGE_PIPE && cantus_pipe_sequenced(c->pipe) != c->goal)
        snprintf(why, capacity, "%s: %lu of %lu items have an outcome", n->name,
                 cantus_pipe_sequenced(c->pipe), c->goal);
    else if (c->work == SIM_WORK_EDGE_WRITE && cantus_pipe_in_flight(c->pipe) > 0)
        snprintf(why, capacity, "%s has no answer for %lu", n->name,
                 cantus_pipe_in_flight(c->pipe));
    else
        return SIM_FINE;
    return SIM_ANSWERED;
}

/* The subtree of which it is not told from where on it counts; NULL: none. */
static const char *waits_for(const struct sim_client *c)
{
    for (uint32_t i = 0; i < SIM_EDGE_CHANGED; i++)
        if (c->wanted[i].state == SIM_WANTED_WAITS)
            return sim_edge_changed[i];
    return NULL;
}

enum sim_invariant sim_edge_live(const struct sim *s, const struct sim_node *n, uint64_t tip,
                                 char *why, size_t capacity)
{
    const struct sim_client *c = n->client;
    if (!n->up) {
        snprintf(why, capacity, "%s is down: %.200s", n->name, c->error);
        return SIM_LIVE;
    }
    const struct edge *e = client_core_edge(n->core);
    const struct sim_history *h = &s->history;
    enum cantus_status status = client_core_status(n->core);
    uint64_t missing = !edge_is_subscribed(e)
                           ? 1
                           : sim_check_edge_missing((struct sim *)(uintptr_t)s, n, h->stable_branch,
                                                    c->reader.seq, tip);
    if ((status != CANTUS_OK && status != CANTUS_SUPERSEDED) || !edge_is_subscribed(e))
        snprintf(why, capacity, "%s is %s, status %d: %.200s", n->name, edge_state_text(e), status,
                 client_core_error(n->core));
    else if (missing != 0)
        snprintf(why, capacity, "%s stands at %lu, and has not got %lu", n->name, c->reader.seq,
                 missing);
    else if (waits_for(c) != NULL)
        snprintf(why, capacity, "%s waits for %s", n->name, waits_for(c));
    else if (c->edge->replica && client_core_seq(n->core) < last_tick(h, tip))
        snprintf(why, capacity, "%s stands at %lu of %lu", n->name, client_core_seq(n->core), tip);
    else
        return publisher_live(s, n, why, capacity);
    return SIM_LIVE;
}

/* ---- faults ---------------------------------------------------------------------------------- */

static bool crash_proxy(struct sim *s)
{
    struct sim_node *n = sim_fault_draw_node(s, SIM_PROXY);
    if (n == NULL)
        return false;
    sim_node_crash(s, n);
    s->result.crashes++;
    sim_fault_restart_later(s, n, sim_fault_draw_outage(s));
    return true;
}

static bool drain(struct sim *s)
{
    struct sim_node *n = sim_fault_draw_node(s, SIM_PROXY);
    if (n == NULL || sim_node_frozen(s, n))
        return false;
    proxy_drain(n->core, sim_node_time(s, n));
    sim_node_wake(s, n, s->now);
    sim_schedule(s, s->now + sim_random_scale(&s->random, 100 * SIM_US, 10 * SIM_MS),
                 SIM_EVENT_FAULT, n->port.node, SIM_FAULT_DRAIN + 1, 0);
    return true;
}

void sim_fault_end_drain(struct sim *s, struct sim_node *n)
{
    sim_node_crash(s, n);
    sim_fault_restart_later(s, n, sim_random_scale(&s->random, 100 * SIM_US, 2 * SIM_MS));
}

bool sim_fault_edge(struct sim *s, enum sim_fault kind)
{
    struct sim_node *n;
    switch ((uint32_t)kind) {
    case SIM_FAULT_CRASH_PROXY:
        return crash_proxy(s);
    case SIM_FAULT_CUT:
        return sim_stream_cut(s, SIM_NONE) > 0;
    case SIM_FAULT_STORM:
        n = sim_fault_draw_node(s, SIM_PROXY);
        return n != NULL && sim_stream_cut(s, n->port.node) > 0;
    case SIM_FAULT_SLOW:
        return sim_stream_slow(s) > 0;
    default:
        return drain(s);
    }
}
