/* The client's shell: a core on sockets, or on a store's files. */
#include "libclient/client_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define SILENCE_NS     UINT64_C(2000000000)
#define JOURNAL_PREFIX "journal:"
#define PROXY_PREFIX   "proxy:"
#define PROXYS_PREFIX  "proxys:"

static uint64_t random_seed(void)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        seed = loop_clock().mono_ns ^ loop_clock().wall_ns << 20;
    return seed;
}

static const char *kind_name(enum cantus_report_kind kind)
{
    switch (kind) {
    case CANTUS_REPORT_FORKED:
        return "forked";
    case CANTUS_REPORT_REBUILT:
        return "rebuilt";
    case CANTUS_REPORT_REJECTED:
        return "a proposal was rejected";
    case CANTUS_REPORT_QUARANTINED:
        return "quarantined";
    case CANTUS_REPORT_SUPERSEDED:
        return "superseded by a later incarnation";
    case CANTUS_REPORT_LOST:
        return "history is lost";
    case CANTUS_REPORT_HINT:
        return "hint";
    case CANTUS_REPORT_SUBSCRIBED:
        return "subscribed";
    case CANTUS_REPORT_REFUSED:
        return "a subscription was refused";
    }
    return "";
}

/* What the app is told is remembered among its problems as well, unless it is good news. */
static void on_report(void *ctx, const struct cantus_report *report)
{
    struct cantus_client *c = ctx;
    if (report->kind != CANTUS_REPORT_REBUILT && report->kind != CANTUS_REPORT_SUBSCRIBED)
        log_line(&c->problems, LOG_WARN, report->identity, kind_name(report->kind),
                 "seq=%llu topic=%s: %s", (unsigned long long)report->seq, report->topic,
                 report->text);
    if (c->options.report != NULL)
        c->options.report(c->options.ctx, report);
}

struct client_core_options client_core_options_of(struct cantus_client *c)
{
    return (struct client_core_options) {
        .follower = { .level = c->options.level == CANTUS_SEQUENCED ? FOLLOWER_SEQUENCED
                                                                    : FOLLOWER_STABLE },
        .until_seq = c->options.until_seq,
        .from = c->options.from,
        .from_ns = c->options.from_ns,
        .random = random_seed(),
        .report = on_report,
        .ctx = c,
    };
}

/* ---- a deployment ---------------------------------------------------------------------------- */

static bool load_config(struct cantus_client *c, const char *directory, char *error)
{
    char path[CONFIG_PATH_MAX + sizeof CONFIG_FILE + 2];
    if (snprintf(c->directory, sizeof c->directory, "%s", directory) >= (int)sizeof c->directory) {
        snprintf(error, CANTUS_ERROR_MAX, "the path \"%.60s...\" is too long", directory);
        return false;
    }
    snprintf(path, sizeof path, "%s/%s", directory, CONFIG_FILE);
    char problems[CONFIG_ERROR_MAX] = "";
    struct config_text text = { .text = problems, .capacity = sizeof problems };
    if (config_load(path, &c->config, config_report_text, &text))
        return true;
    snprintf(error, CANTUS_ERROR_MAX, "%s", problems);
    size_t length = strlen(error);
    if (length > 0 && error[length - 1] == '\n')
        error[length - 1] = '\0';
    return false;
}

static bool open_loop(struct cantus_client *c, char *error)
{
    struct transport_options t =
        config_transport(&c->config, (struct port_addr) { .ip = c->config.interface, .port = 0 });
    t.join[PORT_EGRESS_A] = true;
    t.join[PORT_EGRESS_B] = c->config.egress_b.port != 0;
    t.streams_max = 8;
    char text[TRANSPORT_ERROR_MAX] = "";
    c->transport = transport_open_kernel(&t, text);
    if (c->transport == NULL) {
        snprintf(error, CANTUS_ERROR_MAX, "%s", text);
        return false;
    }
    struct loop_options l = config_loop(&c->config);
    l.polled = true;
    if (c->options.spin)
        l.idle = LOOP_IDLE_SPIN;
    char loop_text[LOOP_ERROR_MAX] = "";
    c->loop = loop_create(&l, loop_text);
    if (c->loop == NULL)
        snprintf(error, CANTUS_ERROR_MAX, "%s", loop_text);
    return c->loop != NULL;
}

/* Without it the client only can't be watched. */
static void open_counters(struct cantus_client *c)
{
    const char *name = c->options.name != NULL ? c->options.name : program_invocation_short_name;
    if (name[0] != '\0')
        c->counters = counter_file_of(&c->config, "app", name, &c->problems);
}

static void sample(void *ctx, const struct loop *l)
{
    struct cantus_client *c = ctx;
    client_core_gauges(c->core, client_core_counters(c->core));
    counter_file_sample(c->counters, client_core_state(c->core), l);
}

static bool open_deployment(struct cantus_client *c, const char *directory, char *error)
{
    if (!load_config(c, directory, error))
        return false;
    if (c->config.is_volatile && c->options.level == CANTUS_STABLE) {
        snprintf(error, CANTUS_ERROR_MAX,
                 "the stream of %.200s is volatile: nothing in it is ever stable; follow it at "
                 "CANTUS_SEQUENCED",
                 directory);
        return false;
    }
    if (!open_loop(c, error))
        return false;
    struct client_core_options o = client_core_options_of(c);
    o.follower.stream = c->config.stream;
    o.follower.datagram_max = c->config.datagram_max;
    o.run_bytes_max = c->config.sequencer.run_bytes_max;
    o.catalog.topics_max = c->config.sequencer.topics_max;
    o.catalog.publishers_max = c->config.sequencer.publishers_max;
    for (uint32_t i = 0; i < c->config.retransmitter_count && i < (uint32_t)FOLLOWER_SOURCES_MAX;
         i++) {
        const struct config_retransmitter *r = &c->config.retransmitters[i];
        o.follower.sources[o.follower.source_count++] = (struct follower_source) {
            .unicast = r->unicast,
            .stream = { .ip = r->unicast.ip, .port = r->stream_port },
        };
    }
    open_counters(c);
    o.counters = counter_file_counters(c->counters);
    c->core = client_core_create(&o, &c->transport->port, loop_clock(), error);
    if (c->core == NULL)
        return false;
    struct loop_participant p = {
        .core = c->core,
        .ops = &client_participant,
        .transport = c->transport,
        .counters = client_core_counters(c->core),
        .name = "client",
        .sample = sample,
        .sample_ctx = c,
    };
    if (!loop_add(c->loop, &p)) {
        snprintf(error, CANTUS_ERROR_MAX,
                 "cannot watch the client's sockets: too many open files? raise `ulimit -n`");
        return false;
    }
    c->opened_ns = loop_clock().mono_ns;
    return true;
}

/* Told once: a client that waits for a deployment which isn't there looks like one that hangs. */
static void check_heard(struct cantus_client *c)
{
    if (c->heard)
        return;
    uint64_t now = loop_now(c->loop).mono_ns;
    if (follower_leader_heard_ns(client_core_follower(c->core)) != 0) {
        c->heard = true;
        return;
    }
    if (now < c->opened_ns || now - c->opened_ns < SILENCE_NS)
        return;
    c->heard = true;
    if (c->options.report == NULL)
        return;
    char text[CONFIG_PATH_MAX * 2 + 240];
    snprintf(text, sizeof text,
             "nothing heard from the sequencer of %s for 2 s: is it running? `cantus dev --dir %s` "
             "starts it; if it is, the egress group does not reach this process",
             c->directory, c->directory);
    struct cantus_report report = {
        .kind = CANTUS_REPORT_HINT, .identity = "", .topic = "", .text = text
    };
    c->options.report(c->options.ctx, &report);
}

static bool open_source(struct cantus_client *c, const char *source, char *error)
{
    if (strncmp(source, JOURNAL_PREFIX, strlen(JOURNAL_PREFIX)) == 0)
        return client_open_journal(c, source + strlen(JOURNAL_PREFIX), error);
    if (strncmp(source, PROXY_PREFIX, strlen(PROXY_PREFIX)) == 0)
        return client_open_proxy(c, source + strlen(PROXY_PREFIX), false, error);
    if (strncmp(source, PROXYS_PREFIX, strlen(PROXYS_PREFIX)) == 0)
        return client_open_proxy(c, source + strlen(PROXYS_PREFIX), true, error);
    return open_deployment(c, source, error);
}

/* ---- the public functions -------------------------------------------------------------------- */

struct cantus_client *cantus_client_open(const struct cantus_client_options *options, char *error)
{
    error[0] = '\0';
    if (options->source == NULL || options->source[0] == '\0') {
        snprintf(error, CANTUS_ERROR_MAX,
                 "no source: name a deployment's directory, proxy:HOST:PORT, proxys:HOST:PORT, or "
                 "journal:DIR");
        return NULL;
    }
    struct cantus_client *c = calloc(1, sizeof *c);
    if (c == NULL) {
        snprintf(error, CANTUS_ERROR_MAX, "no memory for a client");
        return NULL;
    }
    c->options = *options;
    c->options.source = NULL; /* the caller's, and not needed again */
    log_init(&c->problems, -1, LOG_WARN);
    c->readable = -1;
    if (open_source(c, options->source, error))
        return c;
    cantus_client_close(c);
    return NULL;
}

void cantus_client_close(struct cantus_client *client)
{
    if (client == NULL)
        return;
    loop_destroy(client->loop);
    client_core_destroy(client->core);
    if (client->transport != NULL)
        client->transport->ops->close(client->transport);
    counter_file_close(client->counters);
    client_close_journal(client);
    client_close_proxy(client);
    free(client);
}

enum cantus_status cantus_client_poll(struct cantus_client *client, uint64_t timeout_ns)
{
    if (client->disk != NULL)
        return client_poll_journal(client);
    if (client->proxies != NULL)
        client_find_proxies(client);
    if (!client->heard) {
        uint64_t silence = client->opened_ns + SILENCE_NS;
        uint64_t now = loop_clock().mono_ns;
        if (now < silence && timeout_ns > silence - now)
            timeout_ns = silence - now;
    }
    loop_poll(client->loop, timeout_ns);
    check_heard(client);
    return client_core_status(client->core);
}

int cantus_client_fd(struct cantus_client *client)
{
    return client->disk != NULL ? client->readable : loop_fd(client->loop);
}

uint64_t cantus_client_timeout_ns(struct cantus_client *client)
{
    return client->disk != NULL ? 0 : loop_timeout_ns(client->loop);
}

const char *cantus_client_error(const struct cantus_client *client)
{
    return client->error[0] != '\0' ? client->error : client_core_error(client->core);
}

uint64_t cantus_client_stream(const struct cantus_client *client)
{
    return client_core_stream(client->core);
}

uint64_t cantus_client_seq(const struct cantus_client *client)
{
    return client_core_seq(client->core);
}

uint64_t cantus_client_tip(const struct cantus_client *client)
{
    if (client->disk != NULL)
        return client->tip;
    return client_core_tip(client->core);
}

uint64_t cantus_client_stable(const struct cantus_client *client)
{
    return client->disk != NULL ? 0 : client_core_stable(client->core);
}

bool cantus_client_caught_up(const struct cantus_client *client)
{
    if (client->disk != NULL)
        return client->status == CANTUS_END;
    return client_core_caught_up(client->core);
}

struct cantus_machine *cantus_client_add_app(struct cantus_client *client,
                                             const struct cantus_app *app, const char *config,
                                             const char *identity, char *error)
{
    return (struct cantus_machine *)client_core_add_app(client->core, app, config, identity, error);
}

bool cantus_client_publish_digests(struct cantus_client *client, struct cantus_machine *machine,
                                   const char *identity, uint64_t every, char *error)
{
    if (client->config.is_volatile) {
        snprintf(error, CANTUS_ERROR_MAX,
                 "the stream is volatile: nothing in it is ever stable, and only digests of stable "
                 "states are published");
        return false;
    }
    return client_core_publish_digests(client->core, (const struct machine *)machine, identity,
                                       every, error);
}

static const struct machine *machine_of(const struct cantus_machine *machine)
{
    return (const struct machine *)machine;
}

const void *cantus_machine_state(const struct cantus_machine *machine)
{
    return machine_state_const(machine_of(machine));
}

uint64_t cantus_machine_digest(const struct cantus_machine *machine)
{
    return machine_digest(machine_of(machine));
}

bool cantus_machine_quarantined(const struct cantus_machine *machine)
{
    return machine_quarantined(machine_of(machine));
}

bool cantus_client_subscribe(struct cantus_client *client, const char *subtree,
                             void (*message)(void *ctx, const struct cantus_message *message),
                             void *ctx, char *error)
{
    return client_core_subscribe(client->core, subtree, message, ctx, error);
}

bool cantus_client_unsubscribe(struct cantus_client *client, const char *subtree,
                               void (*message)(void *ctx, const struct cantus_message *message),
                               void *ctx)
{
    return client_core_unsubscribe(client->core, subtree, message, ctx);
}

struct cantus_pipe *cantus_pipe_open(struct cantus_client *client, const char *identity,
                                     char *error)
{
    return client_core_add_pipe(client->core, identity, error);
}

struct cantus_injector *cantus_injector_open(struct cantus_client *client, const char *identity,
                                             bool (*item)(void *ctx, uint64_t index,
                                                          struct cantus_item *out),
                                             void *ctx, char *error)
{
    return client_core_add_injector(client->core, identity, item, ctx, error);
}

struct cantus_reconciler *
cantus_reconciler_open(struct cantus_client *client, const char *identity,
                       bool (*difference)(void *ctx, struct cantus_proposal *proposal), void *ctx,
                       char *error)
{
    return client_core_add_reconciler(client->core, identity, difference, ctx, error);
}
