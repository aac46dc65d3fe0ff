#include "proxy/shell.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "proxy/inquiry.h"
#include "shell/counter_file.h"

enum {
    STREAMS_SPARE = 64, /* beside clients: replays, operators, those that are being refused */
    DESCRIPTORS_SPARE = 96,
    BUFFER_MIN = 128 * 1024 /* each way, of a connection: two frames of a replay */
};

struct proxy_shell {
    struct proxy *core;
    struct transport *transport;
    struct tls *tls; /* NULL: clients come plain */
    struct loop *loop;
    struct counter_file *counters; /* NULL: there is none */
    const char *name;
    size_t memory;
    bool draining;
    bool stepped; /* nothing came since: nothing is due before deadline_ns */
    uint64_t deadline_ns;
    struct inquiry inquiry;
};

/* ---- one participant of both ----------------------------------------------------------------- */

/* What came on the stream leaves before anything else is looked at: the clients wait for it. Not while a step has
 * more to do than it may at once: those who catch up would have two shares of each round. */
static void on_datagrams(void *core, const struct port_datagram *datagrams, uint32_t count,
                         struct port_time now)
{
    struct proxy_shell *s = core;
    proxy_participant.on_datagrams(s->core, datagrams, count, now);
    s->stepped = s->deadline_ns > now.mono_ns;
    if (!s->stepped)
        return;
    s->deadline_ns = proxy_participant.step(s->core, now);
}

static size_t on_stream(void *core, const struct port_stream_event *event, struct port_time now)
{
    struct proxy_shell *s = core;
    size_t consumed;
    s->stepped = false;
    if (inquiry_on_stream(&s->inquiry, event, now, &consumed))
        return consumed;
    return proxy_participant.on_stream(s->core, event, now);
}

static uint64_t step(void *core, struct port_time now)
{
    struct proxy_shell *s = core;
    uint64_t other = inquiry_step(&s->inquiry, now);
    if (!s->stepped || s->deadline_ns <= now.mono_ns)
        s->deadline_ns = proxy_participant.step(s->core, now);
    s->stepped = false;
    return s->deadline_ns < other ? s->deadline_ns : other;
}

static const struct participant_ops participant = { .on_datagrams = on_datagrams,
                                                    .on_stream = on_stream,
                                                    .step = step };

static void sample(void *ctx, const struct loop *l)
{
    struct proxy_shell *s = ctx;
    uint64_t *counters = proxy_counters(s->core);
    const struct membership *members = catalog_members(proxy_catalog(s->core));
    proxy_gauges(s->core, counters);
    counters[COUNTER_MEMBERS] = members->count;
    counters[COUNTER_QUORUM] = members->count > 0 ? membership_stable_quorum(members) : 0;
    counter_file_sample(s->counters, proxy_state(s->core), l);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* A client more than there are descriptors would be refused without a word. */
static bool raise_descriptors(const struct config_proxy *own, char *error)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)own->sessions_max + DESCRIPTORS_SPARE;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return true;
    if (limit.rlim_max < wanted) {
        snprintf(
            error, PROXY_SHELL_ERROR_MAX,
            "proxy %s: sessions_max: %u clients need %lu file descriptors, and this process may "
            "have %lu: raise that (`ulimit -Hn`, LimitNOFILE in its unit), or lower "
            "sessions_max",
            own->name, own->sessions_max, (unsigned long)wanted, (unsigned long)limit.rlim_max);
        return false;
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        return true;
    snprintf(error, PROXY_SHELL_ERROR_MAX, "proxy %s: cannot raise its limit of descriptors: %s",
             own->name, strerror(errno));
    return false;
}

static bool open_tls(struct proxy_shell *s, const struct config *config,
                     const struct config_proxy *own, char *error)
{
    char certificate[CONFIG_PATH_MAX * 2 + 2], key[CONFIG_PATH_MAX * 2 + 2];
    char text[TLS_ERROR_MAX] = "TLS: its files have too long paths";
    if (own->tls_certificate[0] == '\0')
        return true;
    if (config_path(config, own->tls_certificate, certificate, sizeof certificate) &&
        config_path(config, own->tls_key, key, sizeof key))
        s->tls = tls_server(certificate, key, text);
    if (s->tls == NULL)
        snprintf(error, PROXY_SHELL_ERROR_MAX, "proxy %s: %s", own->name, text);
    return s->tls != NULL;
}

static bool options_of(const struct proxy_shell *s, const struct config *c,
                       const struct config_proxy *own, struct proxy_options *o, char *error)
{
    proxy_options_default(o);
    o->stream = c->stream;
    snprintf(o->name, sizeof o->name, "%s", own->name);
    if (getrandom(o->secret, sizeof o->secret, 0) != (ssize_t)sizeof o->secret) {
        snprintf(error, PROXY_SHELL_ERROR_MAX, "proxy %s: the system has no randomness: %s",
                 own->name, strerror(errno));
        return false;
    }
    for (uint32_t i = 0; i < c->retransmitter_count && o->source_count < FOLLOWER_SOURCES_MAX;
         i++) {
        const struct config_retransmitter *r = &c->retransmitters[i];
        o->sources[o->source_count++] =
            (struct follower_source) { .unicast = r->unicast,
                                       .stream = { r->unicast.ip, r->stream_port } };
    }
    o->catalog = (struct catalog_options) { .topics_max = c->sequencer.topics_max,
                                            .publishers_max = c->sequencer.publishers_max };
    o->datagram_max = c->datagram_max;
    o->run_bytes_max = c->sequencer.run_bytes_max;
    o->sessions_max = own->sessions_max;
    o->sessions_per_addr = own->sessions_per_addr;
    o->sessions_per_key = own->sessions_per_key;
    o->logins_max = own->logins_max;
    o->subtrees_max = own->subtrees_max;
    o->records_per_addr_s = own->records_per_addr_s;
    o->records_per_addr_burst = own->records_per_addr_burst;
    o->records_per_key_s = own->records_per_key_s;
    o->records_per_key_burst = own->records_per_key_burst;
    o->recent_bytes = (uint64_t)own->recent_mib << 20;
    o->view_bytes = (uint64_t)own->view_mib << 20;
    o->relay_bytes = (uint64_t)own->relay_mib << 20;
    o->publisher_bytes = (uint64_t)own->publisher_kib << 10;
    o->slow_ns = (uint64_t)own->slow_s * 1000000000u;
    o->idle_ns = (uint64_t)own->idle_s * 1000000000u;
    o->login_ns = (uint64_t)own->login_s * 1000000000u;
    o->counters = counter_file_counters(s->counters);
    return true;
}

static bool open_transport(struct proxy_shell *s, const struct config *config,
                           const struct config_proxy *own, const struct proxy_options *o,
                           char *error)
{
    struct transport_options options = config_transport_on(config, own->unicast, own->interface);
    uint32_t largest = (uint32_t)proxy_request_max(o);
    options.join[PORT_EGRESS_A] = true;
    options.join[PORT_EGRESS_B] = config->egress_b.port != 0;
    options.listen = true;
    options.stream_port = own->stream_port;
    options.clients = own->listen;
    options.tls = s->tls;
    options.streams_max = own->sessions_max + STREAMS_SPARE;
    options.stream_buffer_bytes = largest > BUFFER_MIN ? largest : BUFFER_MIN;
    char text[TRANSPORT_ERROR_MAX] = "";
    s->transport = transport_open_kernel(&options, text);
    if (s->transport == NULL)
        snprintf(error, PROXY_SHELL_ERROR_MAX, "proxy %s: %s", own->name, text);
    return s->transport != NULL;
}

static bool open_core(struct proxy_shell *s, const struct proxy_options *o, char *error)
{
    s->memory = proxy_memory(o);
    s->core = proxy_create(o, &s->transport->port, loop_clock());
    if (s->core != NULL)
        return true;
    snprintf(
        error, PROXY_SHELL_ERROR_MAX,
        "proxy %s: no memory: it needs %zu MiB at start; lower recent_mib, view_mib, relay_mib or "
        "sessions_max",
        o->name, s->memory >> 20);
    return false;
}

static bool join_loop(struct proxy_shell *s, const struct config *config, char *error)
{
    struct inquiry_options options = { .stream = config->stream,
                                       .is_volatile = config->is_volatile,
                                       .memory_bytes = s->memory };
    inquiry_init(&s->inquiry, &options, s->core, &s->transport->port, loop_clock());
    struct loop_participant p = { .core = s,
                                  .ops = &participant,
                                  .transport = s->transport,
                                  .counters = proxy_counters(s->core),
                                  .name = s->name,
                                  .waits_if_crowded = true,
                                  .sample = sample,
                                  .sample_ctx = s };
    if (loop_add(s->loop, &p))
        return true;
    snprintf(error, PROXY_SHELL_ERROR_MAX,
             "proxy %s: the event loop takes no more: %d participants at most", s->name,
             LOOP_PARTICIPANTS_MAX);
    proxy_destroy(s->core);
    s->core = NULL;
    return false;
}

struct proxy_shell *proxy_shell_open(const struct config *config, uint32_t index, struct loop *loop,
                                     struct log *log, char *error)
{
    const struct config_proxy *own = &config->proxies[index];
    struct proxy_shell *s = calloc(1, sizeof *s);
    if (s == NULL) {
        snprintf(error, PROXY_SHELL_ERROR_MAX, "proxy %s: no memory", own->name);
        return NULL;
    }
    s->loop = loop;
    s->name = own->name;
    s->counters = counter_file_of(config, "proxy", own->name, log);
    struct proxy_options o;
    char at[PORT_ADDR_TEXT];
    if (raise_descriptors(own, error) && open_tls(s, config, own, error) &&
        options_of(s, config, own, &o, error) && open_transport(s, config, own, &o, error) &&
        open_core(s, &o, error) && join_loop(s, config, error)) {
        log_line(log, LOG_INFO, "proxy", "listening",
                 "name=%s clients=%s tls=%s stream_port=%u memory_mib=%zu", own->name,
                 port_addr_write(own->listen, at), s->tls != NULL ? "yes" : "no", own->stream_port,
                 s->memory >> 20);
        return s;
    }
    proxy_shell_close(s);
    return NULL;
}

bool proxy_shell_drain(struct proxy_shell *s)
{
    if (!s->draining)
        proxy_drain(s->core, loop_clock());
    s->draining = true;
    return proxy_drained(s->core);
}

void proxy_shell_close(struct proxy_shell *s)
{
    if (s == NULL)
        return;
    if (s->core != NULL)
        loop_remove(s->loop, s);
    if (s->transport != NULL)
        s->transport->ops->close(s->transport);
    tls_free(s->tls);
    proxy_destroy(s->core);
    counter_file_close(s->counters);
    free(s);
}

struct proxy *proxy_shell_core(struct proxy_shell *s)
{
    return s->core;
}
