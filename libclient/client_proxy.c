/* A proxy as a source. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "libclient/client_private.h"

enum { PORT_TEXT_MAX = 5 };

/* ---- where they are -------------------------------------------------------------------------- */

static void add(struct client_proxies *p, uint32_t host, uint32_t ip)
{
    struct port_addr a = { .ip = ip, .port = p->hosts[host].port };
    for (uint32_t i = 0; i < p->found_count; i++) {
        if (port_addr_equal(p->found[i], a))
            return;
    }
    if (p->found_count == EDGE_PROXIES_MAX)
        return; /* as many as are ever tried */
    p->found_as[p->found_count] = (uint8_t)host;
    p->found[p->found_count++] = a;
}

/* All addresses of a host, in the order in which the system gives them. */
static void resolve(struct client_proxies *p, uint32_t index, char *error)
{
    const struct client_proxy_host *host = &p->hosts[index];
    struct in_addr numeric;
    if (inet_pton(AF_INET, host->name, &numeric) == 1) {
        add(p, index, ntohl(numeric.s_addr));
        return;
    }
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *all = NULL;
    int result = getaddrinfo(host->name, NULL, &hints, &all);
    if (result != 0) {
        snprintf(error, CANTUS_ERROR_MAX, "proxy host \"%.200s\": %s", host->name,
                 result == EAI_SYSTEM ? strerror(errno) : gai_strerror(result));
        return;
    }
    for (const struct addrinfo *a = all; a != NULL; a = a->ai_next) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a->ai_addr;
        add(p, index, ntohl(in->sin_addr.s_addr));
    }
    freeaddrinfo(all);
}

/* False if none is found, with a text of the last in error. */
static bool find_proxies(struct cantus_client *c, char *error)
{
    struct client_proxies *p = c->proxies;
    uint32_t before = p->found_count;
    p->found_count = 0;
    for (uint32_t i = 0; i < p->count; i++)
        resolve(p, i, error);
    if (p->found_count == 0) {
        p->found_count = before; /* where they were: nothing was written over them */
        return false;
    }
    edge_set_proxies(client_core_edge(c->core), p->found, p->found_count);
    return true;
}

/* Whose certificate is wanted there. */
static const char *name_of(void *ctx, struct port_addr to)
{
    const struct client_proxies *p = ctx;
    for (uint32_t i = 0; i < p->found_count; i++) {
        if (port_addr_equal(p->found[i], to))
            return p->hosts[p->found_as[i]].name;
    }
    return p->hosts[0].name; /* not reached: they are all from there */
}

void client_find_proxies(struct cantus_client *c)
{
    char error[CANTUS_ERROR_MAX];
    if (edge_wants_proxies(client_core_edge(c->core)))
        find_proxies(c, error); /* if that fails, where they were */
}

/* HOST:PORT, between `at` and `end`. */
static bool parse_host(struct client_proxy_host *host, const char *at, const char *end)
{
    const char *colon = end;
    while (colon > at && colon[-1] != ':')
        colon--;
    size_t length = colon > at ? (size_t)(colon - 1 - at) : 0;
    if (length == 0 || length > CLIENT_HOST_MAX || colon == end || end - colon > PORT_TEXT_MAX)
        return false;
    uint32_t port = 0;
    for (const char *digit = colon; digit < end; digit++) {
        if (*digit < '0' || *digit > '9')
            return false;
        port = port * 10 + (uint32_t)(*digit - '0');
    }
    memcpy(host->name, at, length);
    host->port = (uint16_t)port;
    return port >= 1 && port <= UINT16_MAX;
}

static bool parse_hosts(struct client_proxies *p, const char *list, char *error)
{
    for (const char *at = list;;) {
        const char *end = at + strcspn(at, ",");
        if (p->count == EDGE_PROXIES_MAX) {
            snprintf(error, CANTUS_ERROR_MAX, "more than %d proxies are named", EDGE_PROXIES_MAX);
            return false;
        }
        if (!parse_host(&p->hosts[p->count++], at, end)) {
            snprintf(error, CANTUS_ERROR_MAX,
                     "\"proxy:%.200s\": what is wanted is proxy:HOST:PORT, or several "
                     "HOST:PORT with commas between them",
                     list);
            return false;
        }
        if (*end == '\0')
            return true;
        at = end + 1;
    }
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
    struct transport_options t = {
        .streams_max = 4, .tls = p->tls, .tls_name = p->tls != NULL ? name_of : NULL, .tls_ctx = p
    };
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
    if (!parse_hosts(p, list, error) || (tls && !open_tls(c, error)))
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
    if (c->core == NULL || !find_proxies(c, error))
        return false;
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
