/* A proxy as a source. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

#include "libclient/client_private.h"

enum { PORT_TEXT_MAX = 5 };

/* ---- where they are -------------------------------------------------------------------------- */

static bool add(struct client_proxies *p, struct port_addr *found, uint32_t *count, uint32_t ip,
                uint16_t port)
{
    (void)p;
    struct port_addr a = { .ip = ip, .port = port };
    for (uint32_t i = 0; i < *count; i++) {
        if (port_addr_equal(found[i], a))
            return true;
    }
    if (*count == EDGE_PROXIES_MAX)
        return false; /* as many as are ever tried */
    found[(*count)++] = a;
    return true;
}

/* All addresses of a host, in the order in which the system gives them. */
static bool resolve(struct client_proxies *p, const struct client_proxy_host *host,
                    struct port_addr *found, uint32_t *count, char *error)
{
    struct in_addr numeric;
    if (inet_pton(AF_INET, host->name, &numeric) == 1) {
        add(p, found, count, ntohl(numeric.s_addr), host->port);
        return true;
    }
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *all = NULL;
    int result = getaddrinfo(host->name, NULL, &hints, &all);
    if (result != 0) {
        snprintf(error, CANTUS_ERROR_MAX, "proxy host \"%.200s\": %s", host->name,
                 result == EAI_SYSTEM ? strerror(errno) : gai_strerror(result));
        return false;
    }
    for (const struct addrinfo *a = all; a != NULL; a = a->ai_next) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a->ai_addr;
        add(p, found, count, ntohl(in->sin_addr.s_addr), host->port);
    }
    freeaddrinfo(all);
    return true;
}

/* False if none is found, with a text of the last in error. */
static bool find_proxies(struct cantus_client *c, char *error)
{
    struct port_addr found[EDGE_PROXIES_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->proxies->count; i++)
        resolve(c->proxies, &c->proxies->hosts[i], found, &count, error);
    if (count == 0)
        return false;
    edge_set_proxies(client_core_edge(c->core), found, count);
    return true;
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

/* ---- opening --------------------------------------------------------------------------------- */

static void sign(void *ctx, const uint8_t message[EDGE_SIGNED_SIZE],
                 uint8_t signature[EDGE_SIGNATURE_SIZE])
{
    const struct client_proxies *p = ctx;
    key_pair_sign(&p->key, message, EDGE_SIGNED_SIZE, signature);
}

static bool open_sockets(struct cantus_client *c, char *error)
{
    struct transport_options t = { .streams_max = 4 };
    char text[TRANSPORT_ERROR_MAX] = "";
    c->transport = transport_open_kernel(&t, text);
    if (c->transport == NULL) {
        snprintf(error, CANTUS_ERROR_MAX, "%s", text);
        return false;
    }
    struct loop_options l = { .polled = true, .yield = true,
                              .idle = c->options.spin ? LOOP_IDLE_SPIN : LOOP_IDLE_SPIN_THEN_WAIT };
    char loop_text[LOOP_ERROR_MAX] = "";
    c->loop = loop_create(&l, loop_text);
    if (c->loop == NULL)
        snprintf(error, CANTUS_ERROR_MAX, "%s", loop_text);
    return c->loop != NULL;
}

bool client_open_proxy(struct cantus_client *c, const char *list, char *error)
{
    struct client_proxies *p = c->proxies = calloc(1, sizeof *p);
    if (p == NULL) {
        snprintf(error, CANTUS_ERROR_MAX, "no memory for a client");
        return false;
    }
    if (!parse_hosts(p, list, error))
        return false;
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
    if (c->proxies != NULL)
        key_pair_forget(&c->proxies->key);
    free(c->proxies);
}
