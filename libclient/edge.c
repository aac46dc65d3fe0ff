/* The connection: to whom, since when, what waits to be written, and what to do when it is lost. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libclient/edge_private.h"

/* ---- building -------------------------------------------------------------------------------- */

struct edge *edge_create(const struct edge_options *options, const struct edge_callbacks *callbacks,
                         struct port *port)
{
    struct edge *e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    e->options = *options;
    e->call = *callbacks;
    e->port = port;
    e->random = options->random;
    e->stream_id = options->stream;
    e->state = EDGE_STATE_REST;
    e->tick_ms = EDGE_TICK_DEFAULT_MS;
    e->begin_from = EDGE_FROM_POSITION;
    e->in = malloc(4 + EDGE_FRAME_MAX);
    e->out = malloc(EDGE_OUT_BYTES);
    e->subtree_bytes = malloc(EDGE_SUBTREE_BYTES_MAX);
    e->asked_bytes = malloc(EDGE_SUBTREE_BYTES_MAX);
    e->change_bytes = malloc((size_t)2 * EDGE_SUBTREE_BYTES_MAX);
    if (e->in == NULL || e->out == NULL || e->subtree_bytes == NULL || e->asked_bytes == NULL ||
        e->change_bytes == NULL || !edge_names_init(&e->names)) {
        edge_destroy(e);
        return NULL;
    }
    e->subtrees.at = e->subtree_bytes;
    e->asked.at = e->asked_bytes;
    return e;
}

void edge_destroy(struct edge *e)
{
    if (e == NULL)
        return;
    free(e->in);
    free(e->out);
    free(e->subtree_bytes);
    free(e->asked_bytes);
    free(e->change_bytes);
    edge_names_close(&e->names);
    free(e);
}

static uint64_t draw(struct edge *e)
{
    e->random = e->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return e->random >> 20;
}

void edge_set_proxies(struct edge *e, const struct port_addr *proxies, uint32_t count)
{
    if (count > EDGE_PROXIES_MAX)
        count = EDGE_PROXIES_MAX;
    if (count == 0)
        return;
    memcpy(e->proxies, proxies, count * sizeof *proxies);
    if (e->proxy_count == 0)
        e->proxy = (uint32_t)(draw(e) % count); /* so that clients spread */
    e->proxy_count = count;
    e->proxy %= count;
    e->tried = 0;
}

bool edge_wants_proxies(const struct edge *e)
{
    return e->state == EDGE_STATE_REST && e->tried >= e->proxy_count;
}

void edge_set_from(struct edge *e, enum edge_from from, uint64_t time_ns)
{
    e->begin_from = from;
    e->begin_ns = time_ns;
}

void edge_set_tick(struct edge *e, uint32_t tick_ms)
{
    e->tick_ms = tick_ms;
}

void edge_set_mark(struct edge *e, uint64_t seq)
{
    e->mark_seq = seq;
}

/* ---- losing it ------------------------------------------------------------------------------- */

/* A proxy in the list each time; after all of them a rest that grows, with jitter, so that thousands of
 * clients do not come back as one. */
static uint64_t rest_ns(struct edge *e, bool at_once)
{
    if (at_once || (e->tried < e->proxy_count && e->rounds == 0))
        return 0;
    uint64_t ns = EDGE_BACKOFF_NS;
    for (uint32_t i = 0; i < e->rounds && ns < EDGE_BACKOFF_MAX_NS; i++)
        ns *= 2;
    if (ns > EDGE_BACKOFF_MAX_NS)
        ns = EDGE_BACKOFF_MAX_NS;
    return ns / 2 + draw(e) % ns;
}

void edge_lose(struct edge *e, bool at_once)
{
    if (e->state == EDGE_STATE_FAILED || e->state == EDGE_STATE_REST)
        return;
    bool accepted = e->state == EDGE_STATE_ACCEPTED;
    if (e->stream != 0)
        e->port->ops->stream_close(e->port, e->stream);
    e->stream = 0;
    e->state = EDGE_STATE_REST;
    e->in_used = 0;
    e->out_at = e->out_end = 0;
    e->subscribing = e->subscribed = e->changing = false;
    edge_names_forget(&e->names);
    if (accepted && e->now.mono_ns - e->accepted_ns >= EDGE_GOOD_NS) {
        e->rounds = 0;
        e->tried = 0;
    }
    e->retry_at_ns = e->now.mono_ns + rest_ns(e, at_once);
    if (e->tried >= e->proxy_count && e->rounds < 32)
        e->rounds++;
    if (accepted)
        e->call.lost(e->call.ctx);
}

void edge_restart(struct edge *e)
{
    e->position = (struct position) { .seq = 0 };
    e->epoch = (struct epoch) { 0, 0 };
    e->timestamp_ns = 0;
    edge_reconnect(e);
}

void edge_reconnect(struct edge *e)
{
    if (e->state == EDGE_STATE_REST || e->state == EDGE_STATE_FAILED)
        return;
    e->proxy = (e->proxy + e->proxy_count - 1) % e->proxy_count; /* the same one again */
    edge_lose(e, true);
}

__attribute__((format(printf, 2, 0))) static void trouble(struct edge *e, const char *format,
                                                          va_list args)
{
    char text[EDGE_TROUBLE_MAX], at[PORT_ADDR_TEXT];
    port_addr_write(e->proxies[(e->proxy + e->proxy_count - 1) % e->proxy_count], at);
    int used = snprintf(text, sizeof text, "proxy %s: ", at);
    vsnprintf(text + used, sizeof text - (size_t)used, format, args);
    e->call.trouble(e->call.ctx, text);
}

void edge_clean(char *text)
{
    for (char *at = text; *at != '\0'; at++)
        *at = *at >= ' ' && *at <= '~' ? *at : '?';
}

void edge_give_up(struct edge *e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    trouble(e, format, args);
    va_end(args);
    edge_lose(e, false);
}

void edge_violation(struct edge *e, const char *format, ...)
{
    if (e->state == EDGE_STATE_REST || e->state == EDGE_STATE_FAILED)
        return; /* ended already, by a callee */
    e->violations++;
    char text[EDGE_TROUBLE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    edge_give_up(e, "%s%s", text, e->state == EDGE_STATE_HELLO ? EDGE_NO_PROXY : "");
}

void edge_stop(struct edge *e)
{
    edge_lose(e, false);
    e->state = EDGE_STATE_FAILED;
}

void edge_fail(struct edge *e, const char *text)
{
    edge_stop(e);
    e->call.failed(e->call.ctx, text);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void write_out(struct edge *e)
{
    while (e->out_at < e->out_end) {
        size_t want = e->out_end - e->out_at;
        size_t room = e->port->ops->stream_room(e->port, e->stream, want);
        if (room == 0)
            return;
        if (room < want)
            want = room;
        e->port->ops->stream_write(e->port, e->stream, e->out + e->out_at, want);
        e->out_at += want;
        e->said_ns = e->now.mono_ns;
        if (want == room)
            break; /* the rest comes with ROOM */
    }
    if (e->out_at == e->out_end)
        e->out_at = e->out_end = 0;
}

uint8_t *edge_frame_room(struct edge *e, size_t length)
{
    if (e->stream == 0)
        return NULL;
    if (EDGE_OUT_BYTES - e->out_end < length && e->out_at > 0) {
        memmove(e->out, e->out + e->out_at, e->out_end - e->out_at);
        e->out_end -= e->out_at;
        e->out_at = 0;
    }
    return EDGE_OUT_BYTES - e->out_end >= length ? e->out + e->out_end : NULL;
}

void edge_frame_written(struct edge *e, size_t length)
{
    assert(length > 0);
    e->out_end += length;
}

bool edge_open_publisher(struct edge *e, const struct edge_open *o)
{
    uint8_t *to = e->subscribed ? edge_frame_room(e, EDGE_HEADER + 256) : NULL;
    if (to == NULL)
        return false;
    edge_frame_written(e, edge_open_encode(o, to, EDGE_HEADER + 256));
    return true;
}

bool edge_publish(struct edge *e, const struct edge_publish *p)
{
    size_t length = EDGE_HEADER + 64 + p->topic_length + p->condition_topic_length + p->length;
    uint8_t *to = e->subscribed ? edge_frame_room(e, length) : NULL;
    if (to == NULL)
        return false;
    edge_frame_written(e, edge_publish_encode(p, to, length));
    return true;
}

/* ---- events ---------------------------------------------------------------------------------- */

static bool ended(const struct edge *e, uint32_t stream)
{
    return e->stream != stream;
}

/* One frame from the front of [at, at + length), which is of `stream`; the bytes used, 0 if there is not
 * a whole one. */
static size_t take_frame(struct edge *e, const uint8_t *at, size_t length)
{
    enum edge_type type;
    size_t frame = edge_frame_peek(at, length, &type);
    if (frame == SIZE_MAX) {
        edge_violation(e, "it sent what is no frame");
        return 0;
    }
    if (frame == 0)
        return 0;
    edge_on_frame(e, type, at + EDGE_HEADER, frame - EDGE_HEADER);
    return frame;
}

/* What is needed to complete the frame that has begun, at most `length`. */
static size_t complete(struct edge *e, const uint8_t *bytes, size_t length)
{
    size_t used = 0;
    while (used < length) {
        size_t whole = e->in_used < EDGE_HEADER ? EDGE_HEADER : 4 + (size_t)wire_load32(e->in);
        size_t part = whole - e->in_used < length - used ? whole - e->in_used : length - used;
        memcpy(e->in + e->in_used, bytes + used, part);
        e->in_used += part;
        used += part;
        uint32_t stream = e->stream;
        size_t frame = take_frame(e, e->in, e->in_used);
        if (ended(e, stream))
            return length;
        if (frame > 0) {
            e->in_used = 0;
            return used;
        }
    }
    return used;
}

static void on_bytes(struct edge *e, const uint8_t *bytes, size_t length)
{
    uint32_t stream = e->stream;
    size_t at = e->in_used > 0 ? complete(e, bytes, length) : 0;
    while (at < length && !ended(e, stream)) {
        size_t frame = take_frame(e, bytes + at, length - at);
        if (frame == 0)
            break;
        at += frame;
    }
    if (ended(e, stream) || at == length)
        return;
    /* A frame that is not whole: shorter than the longest, or take_frame had ended it. */
    memcpy(e->in, bytes + at, length - at);
    e->in_used = length - at;
}

/* What a TLS server says to who does not speak it: a record of an alert, RFC 8446. */
static bool is_alert(const struct edge *e, const struct port_stream_event *event)
{
    return e->in_used == 0 && event->length >= 5 && event->bytes[0] == 21 && event->bytes[1] == 3 &&
           event->bytes[3] == 0 && event->bytes[4] == 2;
}

bool edge_on_stream(struct edge *e, const struct port_stream_event *event, struct port_time now,
                    size_t *consumed)
{
    *consumed = event->type == PORT_STREAM_BYTES ? event->length : 0;
    if (e->stream == 0 || event->stream != e->stream)
        return false;
    e->now = now;
    switch (event->type) {
    case PORT_STREAM_ACCEPTED:
        return false;
    case PORT_STREAM_CONNECTED:
        if (e->state == EDGE_STATE_CONNECT)
            edge_say_hello(e);
        return true;
    case PORT_STREAM_BYTES:
        e->heard_ns = now.mono_ns;
        if (e->state == EDGE_STATE_HELLO && is_alert(e, event)) {
            edge_give_up(e, "it wants TLS: tls:HOST:PORT, or as a source proxys:HOST:PORT");
            return true;
        }
        on_bytes(e, event->bytes, event->length);
        return true;
    case PORT_STREAM_ROOM:
        write_out(e);
        return true;
    case PORT_STREAM_CLOSED: {
        enum edge_state was = e->state;
        e->stream = 0; /* it is dead already */
        if (event->reason != NULL)
            edge_give_up(e, "%s", event->reason);
        else if (was == EDGE_STATE_CONNECT)
            edge_give_up(e, "no connection; it is tried again");
        else
            edge_give_up(e, "the connection was lost%s",
                         was == EDGE_STATE_HELLO ? EDGE_NO_PROXY : "; going on over another");
        return true;
    }
    }
    return true;
}

static void connect_next(struct edge *e)
{
    struct port_addr to = e->proxies[e->proxy];
    e->proxy = (e->proxy + 1) % e->proxy_count;
    e->tried++;
    e->stream = e->port->ops->stream_connect(e->port, to);
    e->state = EDGE_STATE_CONNECT;
    e->login_by_ns = e->now.mono_ns + EDGE_LOGIN_NS;
    if (e->stream == 0)
        edge_give_up(e, "no connection can be made: too many open files?");
}

static void say_alive(struct edge *e)
{
    if (e->out_end > e->out_at || e->now.mono_ns - e->said_ns < EDGE_ALIVE_NS)
        return;
    uint8_t *to = edge_frame_room(e, EDGE_HEADER);
    if (to != NULL)
        edge_frame_written(e, edge_alive_encode(to, EDGE_HEADER));
}

uint64_t edge_step(struct edge *e, struct port_time now)
{
    e->now = now;
    switch (e->state) {
    case EDGE_STATE_FAILED:
        return PORT_NEVER;
    case EDGE_STATE_REST:
        if (e->proxy_count == 0 || now.mono_ns < e->retry_at_ns)
            return e->proxy_count == 0 ? PORT_NEVER : e->retry_at_ns;
        if (e->tried >= e->proxy_count)
            e->tried = 0; /* nobody gave other addresses */
        connect_next(e);
        return e->state == EDGE_STATE_REST ? e->retry_at_ns : e->login_by_ns;
    case EDGE_STATE_CONNECT:
    case EDGE_STATE_HELLO:
    case EDGE_STATE_PROVE:
        write_out(e);
        if (now.mono_ns < e->login_by_ns)
            return e->login_by_ns;
        edge_give_up(e, "it did not let us in for 15 s");
        return e->retry_at_ns;
    case EDGE_STATE_ACCEPTED:
        if (now.mono_ns - e->heard_ns >= EDGE_DEAD_NS) {
            edge_give_up(e, "nothing was heard of it for 60 s");
            return e->retry_at_ns;
        }
        edge_ask_change(e);
        say_alive(e);
        write_out(e);
        return e->said_ns + EDGE_ALIVE_NS;
    }
    return PORT_NEVER;
}

/* ---- questions ------------------------------------------------------------------------------- */

bool edge_is_subscribed(const struct edge *e)
{
    return e->subscribed;
}

bool edge_awaits_time(const struct edge *e)
{
    return e->subscribing && e->asked_from == EDGE_FROM_TIME;
}

const struct edge_accepted *edge_accepted(const struct edge *e)
{
    return &e->accepted;
}

struct position edge_position(const struct edge *e)
{
    return e->position;
}

uint64_t edge_stream(const struct edge *e)
{
    return e->stream_id;
}

uint64_t edge_stable(const struct edge *e)
{
    return e->stable;
}

uint64_t edge_tip(const struct edge *e)
{
    return e->tip > e->position.seq ? e->tip : e->position.seq;
}

uint64_t edge_violations(const struct edge *e)
{
    return e->violations;
}

const char *edge_state_text(const struct edge *e)
{
    switch (e->state) {
    case EDGE_STATE_REST:
    case EDGE_STATE_CONNECT:
        return "connecting";
    case EDGE_STATE_HELLO:
    case EDGE_STATE_PROVE:
        return "logging in";
    case EDGE_STATE_ACCEPTED:
        return e->subscribed ? "subscribed" : "subscribing";
    case EDGE_STATE_FAILED:
        return "failed";
    }
    return "";
}
