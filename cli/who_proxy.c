#include "cli/who_proxy.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "shell/key_pair.h"
#include "shell/loop.h"
#include "transport/tls.h"

enum { ANSWER_MAX = 4 + 1 + CLIENTS_SIZE_MAX };
#define ANSWER_NS UINT64_C(10000000000)
#define TLS_NAMED "tls:"

enum connection_state { CONNECTION_NONE, CONNECTION_LOGS_IN, CONNECTION_IN, CONNECTION_LOST };

static_assert((int)WHO_NAME_MAX >= (int)PORT_ADDR_TEXT, "a name, or an address in its place");

struct connection {
    char name[WHO_NAME_MAX + 1];
    enum connection_state state;
    uint32_t stream;
    bool answered;
    char problem[ASK_PROBLEM_MAX];
};

struct who_proxies {
    bool has_key;
    struct key_pair key;
    struct tls *tls; /* NULL: plain */
    struct transport *transport;
    struct loop *loop;
    struct clients page; /* the last answer */
    struct proxy_list list;
    struct connection all[PROXY_LIST_MAX]; /* one for each of the list's addresses */
};

/* ---- the protocol ---------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static void lose(struct who_proxies *w, struct connection *c,
                                                       const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(c->problem, sizeof c->problem, format, args);
    va_end(args);
    cli_clean(c->problem); /* others' words */
    if (c->stream != 0)
        w->transport->port.ops->stream_close(&w->transport->port, c->stream);
    c->stream = 0;
    c->state = CONNECTION_LOST;
}

static void say(struct who_proxies *w, struct connection *c, const uint8_t *frame, size_t length)
{
    struct port *port = &w->transport->port;
    if (port->ops->stream_room(port, c->stream, length) < length)
        lose(w, c, "takes nothing of what is said");
    else
        port->ops->stream_write(port, c->stream, frame, length);
}

static void say_hello(struct who_proxies *w, struct connection *c)
{
    uint8_t frame[256];
    struct edge_hello hello = { .version = EDGE_VERSION,
                                .has_key = w->has_key,
                                .agent = "cantus-who" };
    memcpy(hello.key, w->key.public_key, sizeof hello.key);
    say(w, c, frame, edge_hello_encode(&hello, frame, sizeof frame));
}

static void on_welcome(struct who_proxies *w, struct connection *c, const struct edge_welcome *said)
{
    uint8_t frame[256], message[EDGE_SIGNED_SIZE], binding[PORT_BINDING_SIZE];
    struct edge_prove prove;
    snprintf(c->name, sizeof c->name, "%s", said->proxy);
    cli_clean(c->name);
    if (!w->has_key)
        return;
    port_stream_binding(&w->transport->port, c->stream, binding);
    edge_signed(said, w->key.public_key, binding, message);
    key_pair_sign(&w->key, message, sizeof message, prove.signature);
    say(w, c, frame, edge_prove_encode(&prove, frame, sizeof frame));
}

static void on_frame(struct who_proxies *w, struct connection *c, enum edge_type type,
                     const uint8_t *body, size_t length)
{
    struct edge_welcome welcome;
    struct edge_clients clients;
    struct edge_refused refused;
    struct edge_closing closing;
    if (type == EDGE_WELCOME && edge_welcome_decode(body, length, &welcome))
        on_welcome(w, c, &welcome);
    else if (type == EDGE_ACCEPTED)
        c->state = CONNECTION_IN;
    else if (type == EDGE_CLIENTS && edge_clients_decode(body, length, &clients) &&
             clients_decode(clients.page, clients.length, &w->page))
        c->answered = true;
    else if (type == EDGE_REFUSED && edge_refused_decode(body, length, &refused))
        lose(w, c, "refuses: %s", refused.text);
    else if (type == EDGE_CLOSING && edge_closing_decode(body, length, &closing))
        lose(w, c, "closes: %s", closing.text);
    else
        lose(w, c, "answered with something that is no list of clients; another version?");
}

static size_t take_bytes(struct who_proxies *w, struct connection *c, const uint8_t *bytes,
                         size_t length)
{
    size_t at = 0;
    while (c->stream != 0) {
        enum edge_type type;
        size_t frame = edge_frame_peek(bytes + at, length - at, &type);
        if (frame == SIZE_MAX ||
            (length - at >= EDGE_HEADER && wire_load32(bytes + at) > ANSWER_MAX - 4))
            lose(w, c, "does not speak the client protocol of this version");
        else if (frame == 0)
            return at;
        else
            on_frame(w, c, type, bytes + at + EDGE_HEADER, frame - EDGE_HEADER);
        at += frame;
    }
    return length;
}

static size_t on_stream(void *core, const struct port_stream_event *e, struct port_time now)
{
    (void)now;
    struct who_proxies *w = core;
    for (uint32_t i = 0; i < w->list.count; i++) {
        struct connection *c = &w->all[i];
        if (c->stream == 0 || c->stream != e->stream)
            continue;
        if (e->type == PORT_STREAM_CONNECTED)
            say_hello(w, c);
        else if (e->type == PORT_STREAM_BYTES)
            return take_bytes(w, c, e->bytes, e->length);
        else if (e->type == PORT_STREAM_CLOSED) {
            c->stream = 0;
            lose(w, c, "%s", e->reason != NULL ? e->reason : "hung up, or nobody is there");
        }
        return 0;
    }
    return e->type == PORT_STREAM_BYTES ? e->length : 0;
}

static uint64_t step(void *core, struct port_time now)
{
    (void)core;
    (void)now;
    return PORT_NEVER;
}

static const struct participant_ops participant = { .on_stream = on_stream, .step = step };

/* ---- asking ---------------------------------------------------------------------------------- */

/* Until it has logged in, or answered. */
static bool wait_for(struct who_proxies *w, struct connection *c, bool answer)
{
    uint64_t until_ns = cli_mono_ns() + ANSWER_NS, now_ns;
    while (c->state != CONNECTION_LOST && !(answer ? c->answered : c->state == CONNECTION_IN)) {
        now_ns = cli_mono_ns();
        if (now_ns >= until_ns || !cli_running())
            lose(w, c, "does not answer");
        else
            loop_poll(w->loop, until_ns - now_ns);
    }
    return c->state != CONNECTION_LOST;
}

static bool log_in(struct who_proxies *w, struct connection *c)
{
    if (c->state != CONNECTION_NONE)
        return c->state == CONNECTION_IN;
    c->stream = w->transport->port.ops->stream_connect(&w->transport->port, w->list.at[c - w->all]);
    c->state = CONNECTION_LOGS_IN;
    if (c->stream == 0)
        lose(w, c, "too many connections");
    return wait_for(w, c, false);
}

bool who_proxies_page(struct who_proxies *w, uint32_t index, uint32_t place, struct clients *page,
                      char *problem)
{
    struct connection *c = &w->all[index];
    const struct edge_who who = { .place = place };
    uint8_t frame[16];
    c->answered = false;
    if (log_in(w, c))
        say(w, c, frame, edge_who_encode(&who, frame, sizeof frame));
    if (!wait_for(w, c, true)) {
        memcpy(problem, c->problem, sizeof c->problem);
        return false;
    }
    *page = w->page;
    return true;
}

/* ---- opening --------------------------------------------------------------------------------- */

static bool find(struct who_proxies *w, const char *list)
{
    char error[PROXY_LIST_ERROR_MAX];
    if (!proxy_list_parse(&w->list, list, error) || !proxy_list_resolve(&w->list, error)) {
        cli_fail("--proxy: %s", error);
        return false;
    }
    for (uint32_t i = 0; i < w->list.count; i++)
        port_addr_write(w->list.at[i], w->all[i].name);
    return true;
}

static bool open_sockets(struct who_proxies *w)
{
    struct transport_options options = { .streams_max = PROXY_LIST_MAX,
                                         .tls = w->tls,
                                         .tls_name = w->tls != NULL ? proxy_list_name : NULL,
                                         .tls_ctx = &w->list };
    struct loop_options wait = { .idle = LOOP_IDLE_WAIT };
    char error[TRANSPORT_ERROR_MAX + LOOP_ERROR_MAX] = "";
    w->transport = transport_open_kernel(&options, error);
    w->loop = w->transport != NULL ? loop_create(&wait, error) : NULL;
    const struct loop_participant p = { .core = w, .ops = &participant, .transport = w->transport };
    if (w->loop != NULL && loop_add(w->loop, &p))
        return true;
    cli_fail("%s", error[0] != '\0' ? error : "cannot watch sockets: too many open files?");
    return false;
}

static bool open_all(struct who_proxies *w, const struct cli_globals *g)
{
    char error[KEY_PAIR_ERROR_MAX];
    bool tls = strncmp(g->proxy, TLS_NAMED, strlen(TLS_NAMED)) == 0;
    w->has_key = g->key_file != NULL;
    if (!find(w, g->proxy + (tls ? strlen(TLS_NAMED) : 0)))
        return false;
    if (!tls && g->ca_file != NULL) {
        cli_fail("--ca is for TLS: --proxy tls:HOST:PORT");
        return false;
    }
    if ((w->has_key && !key_pair_read(g->key_file, &w->key, error)) ||
        (tls && (w->tls = tls_client(g->ca_file, error)) == NULL)) {
        cli_fail("%s", error);
        return false;
    }
    return open_sockets(w);
}

struct who_proxies *who_proxies_open(const struct cli_globals *globals)
{
    struct who_proxies *w = calloc(1, sizeof *w);
    if (w == NULL)
        cli_fail("out of memory");
    else if (open_all(w, globals))
        return w;
    who_proxies_close(w);
    return NULL;
}

void who_proxies_close(struct who_proxies *w)
{
    if (w == NULL)
        return;
    if (w->loop != NULL)
        loop_destroy(w->loop);
    if (w->transport != NULL)
        w->transport->ops->close(w->transport);
    tls_free(w->tls);
    key_pair_forget(&w->key);
    free(w);
}

uint32_t who_proxies_count(const struct who_proxies *w)
{
    return w->list.count;
}

const char *who_proxies_name(const struct who_proxies *w, uint32_t index)
{
    return w->all[index].name;
}
