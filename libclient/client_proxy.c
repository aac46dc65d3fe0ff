/* A proxy as a source. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "libclient/client_private.h"

static_assert((int)PROXY_LIST_MAX <= (int)EDGE_PROXIES_MAX, "all that are found can be tried");

void client_find_proxies(struct cantus_client *c)
{
    char error[PROXY_LIST_ERROR_MAX];
    struct proxy_list *l = &c->proxies->list;
    if (!edge_wants_proxies(client_core_edge(c->core)))
        return;
    proxy_list_resolve(l, error); /* if nothing is found, where they were */
    edge_set_proxies(client_core_edge(c->core), l->at, l->count);
}

/* ---- being seen ------------------------------------------------------------------------------- */

/* Where processes of this stream run on this host, `cantus top` finds us among them. Which stream it is is known
 * once a proxy has let us in; tried once. */
static void open_counters(struct cantus_client *c)
{
    struct client_proxies *p = c->proxies;
    char directory[CONFIG_PATH_MAX + 1];
    c->config.stream = client_core_stream(c->core);
    if (p->counters_tried || c->config.stream == 0)
        return;
    p->counters_tried = true;
    if (p->edge.agent[0] != '\0' && config_counters(&c->config, directory, sizeof directory) &&
        access(directory, W_OK | X_OK) == 0)
        c->counters = counter_file_of(&c->config, "app", p->edge.agent, &c->problems);
}

/* The core's are copied: there was no file when it began. */
static void sample(void *ctx, const struct loop *l)
{
    struct cantus_client *c = ctx;
    open_counters(c);
    if (c->counters == NULL)
        return;
    uint64_t *counters = counter_file_counters(c->counters);
    memcpy(counters, client_core_counters(c->core), COUNTER_END * sizeof *counters);
    client_core_gauges(c->core, counters);
    counter_file_sample(c->counters, client_core_state(c->core), l);
}

/* ---- opening --------------------------------------------------------------------------------- */

static void sign(void *ctx, const uint8_t message[EDGE_SIGNED_SIZE],
                 uint8_t signature[EDGE_SIGNATURE_SIZE])
{
    const struct client_proxies *p = ctx;
    key_pair_sign(&p->key, message, EDGE_SIGNED_SIZE, signature);
}

static bool open_sockets(struct cantus_client *c, char *error)
{
    struct client_proxies *p = c->proxies;
    struct transport_options t = { .streams_max = 4,
                                   .tls = p->tls,
                                   .tls_name = p->tls != NULL ? proxy_list_name : NULL,
                                   .tls_ctx = &p->list };
    char text[TRANSPORT_ERROR_MAX] = "";
    c->transport = transport_open_kernel(&t, text);
    if (c->transport == NULL) {
        snprintf(error, CANTUS_ERROR_MAX, "%s", text);
        return false;
    }
    struct loop_options l = { .polled = true,
                              .yield = true,
                              .idle = c->options.spin ? LOOP_IDLE_SPIN : LOOP_IDLE_SPIN_THEN_WAIT };
    char loop_text[LOOP_ERROR_MAX] = "";
    c->loop = loop_create(&l, loop_text);
    if (c->loop == NULL)
        snprintf(error, CANTUS_ERROR_MAX, "%s", loop_text);
    return c->loop != NULL;
}

static bool open_tls(struct cantus_client *c, char *error)
{
    char text[TLS_ERROR_MAX] = "";
    c->proxies->tls = tls_client(c->options.ca_file, text);
    if (c->proxies->tls == NULL)
        snprintf(error, CANTUS_ERROR_MAX, "%s", text);
    return c->proxies->tls != NULL;
}

bool client_open_proxy(struct cantus_client *c, const char *list, bool tls, char *error)
{
    struct client_proxies *p = c->proxies = calloc(1, sizeof *p);
    if (p == NULL) {
        snprintf(error, CANTUS_ERROR_MAX, "no memory for a client");
        return false;
    }
    if (!proxy_list_parse(&p->list, list, error) || (tls && !open_tls(c, error)))
        return false;
    if (!tls && c->options.ca_file != NULL) {
        snprintf(error, CANTUS_ERROR_MAX,
                 "authorities are named (%.200s), but not TLS: use proxys:HOST:PORT",
                 c->options.ca_file);
        return false;
    }
    if (c->options.key_file != NULL) {
        char text[KEY_PAIR_ERROR_MAX];
        if (!key_pair_read(c->options.key_file, &p->key, text)) {
            snprintf(error, CANTUS_ERROR_MAX, "%s", text);
            return false;
        }
    }
    struct client_core_options o = client_core_options_of(c);
    bool stable = o.follower.level == FOLLOWER_STABLE;
    p->edge = (struct edge_options) { .level = stable ? EDGE_STABLE : EDGE_SEQUENCED,
                                      .has_key = c->options.key_file != NULL,
                                      .sign = sign,
                                      .sign_ctx = p,
                                      .random = o.random };
    memcpy(p->edge.key, p->key.public_key, sizeof p->edge.key);
    const char *name = c->options.name != NULL ? c->options.name : program_invocation_short_name;
    snprintf(p->edge.agent, sizeof p->edge.agent, "%.*s", EDGE_AGENT_MAX, name);
    o.edge = &p->edge;
    if (!open_sockets(c, error))
        return false;
    c->core = client_core_create(&o, &c->transport->port, loop_clock(), error);
    if (c->core == NULL || (!proxy_list_resolve(&p->list, error) && p->list.count == 0))
        return false;
    edge_set_proxies(client_core_edge(c->core), p->list.at, p->list.count);
    struct loop_participant participant = {
        .core = c->core,
        .ops = &client_participant,
        .transport = c->transport,
        .counters = client_core_counters(c->core),
        .name = "client",
        .waits_if_crowded = true,
        .sample = sample,
        .sample_ctx = c,
    };
    if (!loop_add(c->loop, &participant)) {
        snprintf(error, CANTUS_ERROR_MAX,
                 "cannot watch the client's sockets: too many open files? raise `ulimit -n`");
        return false;
    }
    c->heard = true; /* the core says itself when nobody is there */
    return true;
}

void client_close_proxy(struct cantus_client *c)
{
    if (c->proxies != NULL) {
        key_pair_forget(&c->proxies->key);
        tls_free(c->proxies->tls);
    }
    free(c->proxies);
}
