/* Building a client core, and its entry points as a participant. */
#include "libclient/core_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- reports --------------------------------------------------------------------------------- */

void core_report(const struct client_core *c, enum cantus_report_kind kind, uint64_t seq,
                 const char *identity, const char *topic, const char *text)
{
    if (c->options.report == NULL)
        return;
    struct cantus_report report = {
        .kind = kind, .seq = seq, .identity = identity, .topic = topic, .text = text
    };
    c->options.report(c->options.ctx, &report);
}

/* The first failure is the one that is told. Being superseded ends one author, not the core. */
void core_fail(struct client_core *c, enum cantus_status status, const char *format, ...)
{
    if (c->status < 0 && c->status != CANTUS_SUPERSEDED)
        return;
    c->status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(c->error, sizeof c->error, format, args);
    va_end(args);
}

uint64_t core_random(struct client_core *c)
{
    c->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = c->random;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return z != 0 ? z : 1;
}

/* ---- what the follower says ------------------------------------------------------------------ */

void core_report_fork(struct client_core *c, const struct epoch_table *epochs, uint64_t first_seq)
{
    char text[CLIENT_TEXT_MAX];
    snprintf(text, sizeof text,
             "a failover took back what was sequenced but not stable, from seq %llu on; applying "
             "the history again",
             (unsigned long long)first_seq);
    core_report(c, CANTUS_REPORT_FORKED, first_seq, "", "", text);
    if (c->next >= c->held_next)
        epoch_table_copy(c->held, epochs);
    epoch_table_cut(c->held, first_seq - 1);
    c->held_next = first_seq;
}

/* While a fork's history is applied again, a later fork may have taken back more than was said: it
 * shows where the epochs of what was handed over and of what comes now part. */
static void check_held(struct client_core *c, const struct batch_header *header)
{
    const struct epoch_entry *entry = epoch_table_find(c->held, header->first_seq);
    if (entry != NULL && epoch_equal(entry->epoch, header->epoch))
        return;
    core_report_fork(c, catalog_epochs(c->catalog), header->first_seq);
    struct position common = { .seq = header->first_seq - 1 };
    const struct epoch_entry *last = epoch_table_find(catalog_epochs(c->catalog), common.seq);
    if (last != NULL)
        common.epoch = last->epoch;
    core_take_back(c, common);
}

static bool on_deliver(void *ctx, const uint8_t *batch, const struct batch_header *header)
{
    struct client_core *c = ctx;
    bool stopped = c->status < 0 && c->status != CANTUS_SUPERSEDED;
    if (!stopped && header->first_seq >= c->next) {
        if (header->first_seq < c->held_next)
            check_held(c, header);
        core_apply(c, batch, header);
        if (c->next > c->held_next)
            c->held_next = c->next;
    } else
        assert(stopped || (c->options.sabotage & CLIENT_DELIVERS_AHEAD) != 0);
    return true;
}

static void on_forked(void *ctx, uint64_t first_seq, struct epoch by)
{
    struct client_core *c = ctx;
    if (first_seq >= c->next)
        return; /* if it was handed over before, check_held finds it */
    if (c->options.follower.level == FOLLOWER_STABLE) {
        core_fail(c, CANTUS_ERROR,
                  "message %llu was stable and is no longer in the stream: stores have lost what "
                  "they promised; restart from a store that is whole",
                  (unsigned long long)first_seq);
        return;
    }
    if (c->ended && first_seq > c->options.until_seq) {
        c->next = first_seq; /* what was asked for still holds */
        c->held_next = first_seq;
        return;
    }
    struct position common = { .seq = first_seq - 1 };
    const struct epoch_entry *entry = epoch_table_find(catalog_epochs(c->catalog), common.seq);
    if (entry != NULL)
        common.epoch = entry->epoch;
    core_report_fork(c, catalog_epochs(c->catalog), first_seq);
    core_rewind(c, common);
    follower_start(c->follower, (struct position) { .seq = 0 }, (struct digest) { 0, 0 }, NULL, by);
}

static void on_stable(void *ctx, uint64_t stable_seq, uint64_t time_ns)
{
    (void)time_ns;
    struct client_core *c = ctx;
    if (stable_seq > c->stable)
        c->stable = stable_seq;
    for (uint32_t i = 0; i < c->author_count; i++)
        publisher_on_stable(c->authors[i]->publisher, stable_seq);
}

static void on_lost(void *ctx, uint64_t first_seq, uint64_t oldest_seq)
{
    struct client_core *c = ctx;
    if (c->status < 0)
        return;
    core_fail(c, CANTUS_LOST,
              "message %llu is gone from every store; the oldest that is left is %llu",
              (unsigned long long)first_seq, (unsigned long long)oldest_seq);
    core_report(c, CANTUS_REPORT_LOST, oldest_seq, "", "", c->error);
}

/* ---- building -------------------------------------------------------------------------------- */

static bool take_tables(struct client_core *c)
{
    struct catalog_options limits = catalog_options_resolve(&c->options.catalog);
    c->topics_max = limits.topics_max;
    c->publishers_max = limits.publishers_max;
    c->route = calloc(c->topics_max, sizeof *c->route);
    c->path = calloc(c->topics_max, sizeof *c->path);
    c->created_seq = calloc(c->topics_max, sizeof *c->created_seq);
    c->own = calloc(c->publishers_max, sizeof *c->own);
    c->held = malloc(sizeof *c->held);
    if (c->held != NULL)
        epoch_table_reset(c->held);
    return c->route != NULL && c->path != NULL && c->created_seq != NULL && c->own != NULL &&
           c->held != NULL;
}

struct client_core *client_core_create(const struct client_core_options *options, struct port *port,
                                       struct port_time now, char *error)
{
    struct client_core *c = calloc(1, sizeof *c);
    if (c == NULL)
        goto no_memory;
    c->options = *options;
    c->counters = options->counters != NULL ? options->counters : c->own_counters;
    c->port = port;
    c->now = now;
    c->random = options->random;
    c->next = 1;
    c->timer_due_ns = UINT64_MAX;
    c->digest_due_seq = UINT64_MAX;
    if (c->options.run_bytes_max == 0)
        c->options.run_bytes_max = RUN_BYTES_DEFAULT;
    if (c->options.follower.random == 0)
        c->options.follower.random = core_random(c);
    struct follower_callbacks callbacks = {
        .deliver = on_deliver,
        .forked = on_forked,
        .stable = on_stable,
        .lost = on_lost,
        .ctx = c,
    };
    if (options->edge != NULL) {
        if (!core_edge_create(c))
            goto no_memory;
        return c;
    }
    c->catalog = catalog_create(&c->options.catalog);
    c->follower = follower_create(&c->options.follower, &callbacks, port, c->counters);
    if (c->catalog == NULL || c->follower == NULL || !run_init(&c->run, c->options.run_bytes_max) ||
        !take_tables(c))
        goto no_memory;
    follower_start(c->follower, (struct position) { .seq = 0 }, (struct digest) { 0, 0 }, NULL,
                   (struct epoch) { 0, 0 });
    return c;
no_memory:
    snprintf(error, CANTUS_ERROR_MAX,
             "no memory for a client: fewer topics or publishers in the "
             "deployment's limits need less");
    client_core_destroy(c);
    return NULL;
}

void client_core_destroy(struct client_core *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->author_count; i++) {
        author_close(c->authors[i]);
        free(c->authors[i]);
    }
    for (uint32_t i = 0; i < c->machine_count; i++)
        machine_destroy(c->machines[i].machine);
    follower_destroy(c->follower);
    catalog_destroy(c->catalog);
    edge_destroy(c->edge);
    run_close(&c->run);
    free(c->route);
    free(c->path);
    free(c->created_seq);
    free(c->own);
    free(c->held);
    free(c->epochs);
    free(c->routes);
    free(c);
}

/* Takes the tables whose size depends on what was added. */
static bool start(struct client_core *c)
{
    if (c->started)
        return c->status >= 0 || c->status == CANTUS_SUPERSEDED;
    c->started = true;
    uint32_t subtrees = CLIENT_SUBSCRIPTIONS_MAX; /* they may come later */
    for (uint32_t i = 0; i < c->machine_count; i++)
        subtrees += machine_subtree_count(c->machines[i].machine);
    /* Nobody, /sys below "/", the fixed topics' own, and room to build the next one. */
    c->routes_max = subtrees + 4;
    c->route_size = offsetof(struct client_route, nodes) + c->machine_count * sizeof(uint64_t);
    if (c->routes_max <= CLIENT_ROUTES_MAX)
        c->routes = calloc(c->routes_max, c->route_size);
    if (c->routes == NULL) {
        core_fail(c, CANTUS_ERROR, "no memory for the routes of %u subtrees", subtrees);
        return false;
    }
    c->route_count = 1;
    if (c->edge != NULL)
        core_edge_start(c);
    else
        core_route_reset(c);
    return c->status >= 0;
}

static bool may_add(const struct client_core *c, uint32_t count, uint32_t max, const char *what,
                    char *error)
{
    if (c->started) {
        snprintf(error, CANTUS_ERROR_MAX, "%s must be added before the first poll", what);
        return false;
    }
    if (count == max) {
        snprintf(error, CANTUS_ERROR_MAX, "a client takes at most %u of %s", max, what);
        return false;
    }
    return true;
}

struct machine *client_core_add_app(struct client_core *c, const struct cantus_app *app,
                                    const char *config, const char *identity, char *error)
{
    if (!may_add(c, c->machine_count, CLIENT_MACHINES_MAX, "apps", error))
        return NULL;
    if (c->options.from != CANTUS_FROM_BEGINNING) {
        snprintf(error, CANTUS_ERROR_MAX,
                 "app \"%.63s\": an app applies the stream from its beginning, and this client "
                 "begins elsewhere (from)",
                 app->name);
        return NULL;
    }
    struct machine *m = machine_create(app, config, error);
    if (m == NULL)
        return NULL;
    struct client_machine *slot = &c->machines[c->machine_count];
    *slot = (struct client_machine) { .machine = m };
    if (identity != NULL) {
        struct author *a = calloc(1, sizeof *a);
        if (a == NULL || !author_init(c, a, AUTHOR_APP, identity, error)) {
            if (a == NULL)
                snprintf(error, CANTUS_ERROR_MAX, "no memory for publisher \"%.63s\"", identity);
            free(a);
            machine_destroy(m);
            return NULL;
        }
        a->machine = slot;
        slot->author = a;
    }
    c->machine_count++;
    uint64_t due = machine_next_timer_ns(m);
    if (due < c->timer_due_ns)
        c->timer_due_ns = due;
    return m;
}

static struct author *add_pipe(struct client_core *c, size_t size, enum author_kind kind,
                               const char *identity, void *ctx, char *error)
{
    if (!may_add(c, c->pipe_count, CLIENT_PIPES_MAX, "pipes, injectors and reconcilers", error))
        return NULL;
    struct author *a = calloc(1, size);
    uint8_t *buffer = kind == AUTHOR_RECONCILER ? malloc(MACHINE_BUFFER_BYTES) : NULL;
    if (a == NULL || (kind == AUTHOR_RECONCILER && buffer == NULL)) {
        snprintf(error, CANTUS_ERROR_MAX, "no memory for publisher \"%.63s\"", identity);
    } else {
        a->buffer = buffer;
        a->ctx = ctx;
        if (author_init(c, a, kind, identity, error)) {
            c->pipe_count++;
            return a;
        }
    }
    free(a);
    free(buffer);
    return NULL;
}

struct cantus_pipe *client_core_add_pipe(struct client_core *c, const char *identity, char *error)
{
    return (struct cantus_pipe *)add_pipe(c, sizeof(struct cantus_pipe), AUTHOR_PIPE, identity,
                                          NULL, error);
}

struct cantus_injector *client_core_add_injector(struct client_core *c, const char *identity,
                                                 bool (*item)(void *ctx, uint64_t index,
                                                              struct cantus_item *out),
                                                 void *ctx, char *error)
{
    struct cantus_injector *i =
        (struct cantus_injector *)add_pipe(c, sizeof *i, AUTHOR_INJECTOR, identity, ctx, error);
    if (i != NULL)
        i->author.call.item = item;
    return i;
}

struct cantus_reconciler *
client_core_add_reconciler(struct client_core *c, const char *identity,
                           bool (*difference)(void *ctx, struct cantus_proposal *proposal),
                           void *ctx, char *error)
{
    struct cantus_reconciler *r =
        (struct cantus_reconciler *)add_pipe(c, sizeof *r, AUTHOR_RECONCILER, identity, ctx, error);
    if (r != NULL)
        r->author.call.difference = difference;
    return r;
}

/* ---- events ---------------------------------------------------------------------------------- */

static void on_hint(struct client_core *c, const struct port_datagram *d)
{
    struct hint h;
    if (hint_decode(d->bytes, d->length, c->options.follower.stream, &h) != WIRE_OK) {
        c->counters[COUNTER_DROPPED_MALFORMED]++;
        return;
    }
    if (h.reason == HINT_TOPIC_REFUSED) {
        core_on_create_refused(c, &h);
        return;
    }
    for (uint32_t i = 0; i < c->author_count; i++)
        publisher_on_hint(c->authors[i]->publisher, &h, follower_heard(c->follower), c->now);
    if (h.reason == HINT_PAUSED && (c->hint_reported_ns == 0 ||
                                    c->now.mono_ns - c->hint_reported_ns >= UINT64_C(1000000000))) {
        c->hint_reported_ns = c->now.mono_ns;
        core_report(
            c, CANTUS_REPORT_HINT, 0, "", "",
            "the sequencer is paused: its ring is full because no quorum of stores records; "
            "look at the retransmitters");
    }
}

/* The planted mistake: hands over what arrives, gaps or not. */
static void deliver_ahead(struct client_core *c, const struct port_datagram *d)
{
    struct batch_header header;
    if (batch_verify(d->bytes, d->length, c->options.follower.stream, &header) != WIRE_OK ||
        header.first_seq < c->next)
        return;
    core_apply(c, d->bytes, &header);
}

static void core_on_datagrams(void *core, const struct port_datagram *datagrams, uint32_t count,
                              struct port_time now)
{
    struct client_core *c = core;
    c->now = now;
    if (!start(c) || c->edge != NULL)
        return;
    for (uint32_t i = 0; i < count; i++) {
        const struct port_datagram *d = &datagrams[i];
        if (d->length > 3 && d->bytes[3] == WIRE_HINT)
            on_hint(c, d);
        else if ((c->options.sabotage & CLIENT_DELIVERS_AHEAD) != 0 && d->length > 3 &&
                 d->bytes[3] == WIRE_BATCH)
            deliver_ahead(c, d);
        if (d->length <= 3 || d->bytes[3] != WIRE_HINT)
            follower_on_datagram(c->follower, d, now);
    }
}

static size_t core_on_stream(void *core, const struct port_stream_event *event,
                             struct port_time now)
{
    struct client_core *c = core;
    c->now = now;
    size_t consumed = 0;
    if (c->edge != NULL && start(c)) {
        edge_on_stream(c->edge, event, now, &consumed);
        return consumed;
    }
    if (!start(c) || !follower_on_stream(c->follower, event, now, &consumed))
        return event->type == PORT_STREAM_BYTES ? event->length : 0;
    return consumed;
}

static bool at_the_tip(const struct client_core *c)
{
    const struct follower *f = c->follower;
    if (!follower_caught_up(f) || follower_leader_heard_ns(f) == 0 ||
        catalog_genesis(c->catalog) == NULL)
        return false;
    if (c->options.follower.level == FOLLOWER_SEQUENCED)
        return follower_next(f) >= follower_goal_next(f);
    return follower_next(f) > follower_stable(f);
}

void core_step_authors(struct client_core *c)
{
    for (uint32_t i = 0; i < c->author_count; i++) {
        struct author *a = c->authors[i];
        switch (a->kind) {
        case AUTHOR_APP:
            app_step(a);
            break;
        case AUTHOR_DIGEST:
            digest_step(a);
            break;
        case AUTHOR_INJECTOR:
            injector_step(a);
            break;
        case AUTHOR_RECONCILER:
            reconciler_step(a);
            break;
        case AUTHOR_PIPE:
            break;
        }
    }
}

void core_check_superseded(struct client_core *c, struct author *a)
{
    if (a->stopped || publisher_state(a->publisher) != PUBLISHER_SUPERSEDED ||
        (c->options.sabotage & CLIENT_NOT_TOLD) != 0)
        return;
    a->stopped = true;
    const char *identity = publisher_identity(a->publisher);
    core_fail(c, CANTUS_SUPERSEDED,
              "another process has joined as \"%s\" (seq %llu): this one must stop", identity,
              (unsigned long long)publisher_superseded_seq(a->publisher));
    core_report(c, CANTUS_REPORT_SUPERSEDED, publisher_superseded_seq(a->publisher), identity, "",
                "another process has joined under this identity");
}

void core_go_live(struct client_core *c)
{
    c->live = true;
    for (uint32_t i = 0; i < c->author_count; i++)
        c->authors[i]->ask = true;
    if (!c->rebuilding)
        return;
    c->rebuilding = false;
    core_report(c, CANTUS_REPORT_REBUILT, c->position.seq, "", "",
                "the apps are rebuilt and back at the tip");
}

static uint64_t core_step(void *core, struct port_time now)
{
    struct client_core *c = core;
    c->now = now;
    bool started = start(c);
    if (c->edge != NULL)
        return core_edge_step(c);
    if (!started)
        return PORT_NEVER;
    if (c->resubscribe && c->run.parts == 0)
        core_resubscribe(c, c->next);
    uint64_t deadline = follower_step(c->follower, now);
    if (c->live && follower_replaying(c->follower))
        c->live = false;
    if (!c->live && !c->ended && at_the_tip(c)) {
        for (uint32_t i = 0; i < c->author_count; i++)
            c->authors[i]->items = c->authors[i]->items_seen;
        core_begin_at_tip(c, c->next);
        core_go_live(c);
    }
    if (c->status < 0 && c->status != CANTUS_SUPERSEDED)
        return deadline;
    if (c->live)
        core_step_authors(c);
    if (c->create_count > 0) {
        uint64_t at = core_step_creates(c);
        deadline = at < deadline ? at : deadline;
    }
    for (uint32_t i = 0; i < c->author_count; i++) {
        struct author *a = c->authors[i];
        bool ready = author_ready(a);
        uint64_t at = publisher_step(a->publisher, c->catalog, c->live, now);
        if (!ready && author_ready(a))
            at = now.mono_ns; /* it has just joined: ask it */
        deadline = at < deadline ? at : deadline;
        core_check_superseded(c, a);
    }
    return deadline;
}

const struct participant_ops client_participant = {
    .on_datagrams = core_on_datagrams,
    .on_stream = core_on_stream,
    .step = core_step,
};

bool client_core_apply_batch(struct client_core *c, const uint8_t *batch,
                             const struct batch_header *header)
{
    if (!start(c) || header->first_seq != c->next ||
        (c->any && !digest_equal(header->before, c->digest)))
        return false;
    core_apply(c, batch, header);
    return true;
}

/* ---- questions ------------------------------------------------------------------------------- */

enum cantus_status client_core_status(const struct client_core *c)
{
    return c->status;
}

const char *client_core_error(const struct client_core *c)
{
    return c->error;
}

bool client_core_caught_up(const struct client_core *c)
{
    return (c->edge != NULL ? c->live : at_the_tip(c)) && !c->rebuilding;
}

const struct follower *client_core_follower(const struct client_core *c)
{
    return c->follower;
}

const struct catalog *client_core_catalog(const struct client_core *c)
{
    return c->catalog;
}

struct edge *client_core_edge(struct client_core *c)
{
    return c->edge;
}

uint64_t client_core_tip(const struct client_core *c)
{
    uint64_t tip = c->edge != NULL ? edge_tip(c->edge) : follower_goal_next(c->follower) - 1;
    return tip > c->position.seq ? tip : c->position.seq;
}

uint64_t client_core_stable(const struct client_core *c)
{
    return c->edge != NULL ? edge_stable(c->edge) : follower_stable(c->follower);
}

uint64_t client_core_stream(const struct client_core *c)
{
    if (c->edge != NULL)
        return edge_stream(c->edge);
    const struct sys_genesis *genesis = catalog_genesis(c->catalog);
    return genesis != NULL ? genesis->stream : c->options.follower.stream;
}

void client_core_gauges(const struct client_core *c, uint64_t gauges[COUNTER_END])
{
    uint64_t delivered = c->position.seq, tip = client_core_tip(c);
    uint64_t in_flight = 0;
    for (uint32_t i = 0; i < c->author_count; i++)
        in_flight += publisher_in_flight(c->authors[i]->publisher);
    const struct epoch_table *epochs = c->edge != NULL ? c->epochs : follower_epochs(c->follower);
    gauges[COUNTER_TIP] = tip;
    gauges[COUNTER_STABLE] = client_core_stable(c);
    gauges[COUNTER_DELIVERED] = delivered;
    gauges[COUNTER_LAG] = tip - delivered;
    gauges[COUNTER_EPOCH] =
        c->edge != NULL ? c->position.epoch.number : follower_heard(c->follower).number;
    gauges[COUNTER_EPOCH_FIRST] =
        epochs->count > 0 ? epochs->entries[epochs->count - 1].first_seq : 0;
    gauges[COUNTER_IN_FLIGHT] = in_flight;
}

const char *client_core_state(const struct client_core *c)
{
    if (c->status == CANTUS_SUPERSEDED)
        return "superseded";
    if (c->status < 0)
        return "failed";
    if (c->ended)
        return "ended";
    if (c->rebuilding)
        return "rebuilding";
    if (c->edge != NULL)
        return c->live                       ? "live"
               : edge_is_subscribed(c->edge) ? "catching up"
                                             : edge_state_text(c->edge);
    return c->live                                      ? "live"
           : follower_leader_heard_ns(c->follower) == 0 ? "no leader"
                                                        : "catching up";
}

uint64_t *client_core_counters(struct client_core *c)
{
    return c->counters;
}

uint64_t client_core_seq(const struct client_core *c)
{
    return c->position.seq;
}

const struct publisher *client_core_publisher(const struct client_core *c, const struct machine *m)
{
    for (uint32_t i = 0; i < c->machine_count; i++) {
        if (c->machines[i].machine == m && c->machines[i].author != NULL)
            return c->machines[i].author->publisher;
    }
    return NULL;
}
