#include "proxy/inquiry.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proxy/client_page.h"

#define IDLE_NS UINT64_C(30000000000) /* a caller that asks nothing */

_Static_assert((int)CLIENTS_SIZE_MAX <= (int)STATUS_SIZE_MAX, "either answer has room");

void inquiry_init(struct inquiry *q, const struct inquiry_options *o, struct proxy *proxy,
                  struct port *port, struct port_time now)
{
    memset(q, 0, sizeof *q);
    q->o = *o;
    q->proxy = proxy;
    q->port = port;
    q->began_ns = now.mono_ns;
}

/* ---- answers --------------------------------------------------------------------------------- */

static void copy_text(char *out, size_t capacity, const char *text)
{
    size_t length = strnlen(text, capacity - 1);
    memcpy(out, text, length);
    out[length] = '\0';
}

static size_t answer_status(struct inquiry *q, struct port_time now)
{
    struct status *s = &q->status;
    const struct catalog *catalog = proxy_catalog(q->proxy);
    const struct epoch_table *epochs = catalog_epochs(catalog);
    const struct membership *members = catalog_members(catalog);
    *s = (struct status) { .role = "proxy",
                           .stream = q->o.stream,
                           .is_volatile = q->o.is_volatile,
                           .tip = proxy_seq(q->proxy),
                           .stable = proxy_stable(q->proxy),
                           .uptime_ns = now.mono_ns - q->began_ns,
                           .memory_bytes = q->o.memory_bytes,
                           .clock_ns = now.wall_ns };
    copy_text(s->state, sizeof s->state, proxy_state(q->proxy));
    copy_text(s->session, sizeof s->session, catalog_session(catalog));
    if (epochs->count > 0) {
        s->epoch = epochs->entries[epochs->count - 1].epoch;
        s->epoch_first_seq = epochs->entries[epochs->count - 1].first_seq;
    }
    s->quorum = members->count > 0 ? membership_stable_quorum(members) : 0;
    memcpy(s->counters, proxy_counters(q->proxy), sizeof s->counters);
    proxy_gauges(q->proxy, s->counters);
    return status_encode(s, q->body, sizeof q->body);
}

static size_t answer_clients(struct inquiry *q, uint32_t at, struct port_time now)
{
    struct clients *page = &q->page;
    struct proxy_client client;
    *page = (struct clients) { .tip = proxy_seq(q->proxy), .clock_ns = now.wall_ns };
    while (proxy_client_at(q->proxy, at, &client)) {
        if (page->count == CLIENTS_PAGE_MAX) {
            page->next = at;
            break;
        }
        client_page_add(page, &client);
        at = client.at;
    }
    return clients_encode(page, q->body, sizeof q->body);
}

static size_t answer_command(struct inquiry *q, const struct command *command, struct port_time now)
{
    struct outcome outcome = { .verdict = OUTCOME_REFUSED };
    if (command->kind != COMMAND_DRAIN) {
        copy_text(
            outcome.text, sizeof outcome.text,
            "a proxy takes only the command drain: give this one to the sequencer that leads, "
            "or a promotion to the standby");
        proxy_counters(q->proxy)[COUNTER_COMMANDS_REFUSED]++;
        return outcome_encode(&outcome, q->body, sizeof q->body);
    }
    uint32_t sessions = proxy_sessions(q->proxy);
    proxy_drain(q->proxy, now);
    outcome.verdict = proxy_drained(q->proxy) ? OUTCOME_DONE : OUTCOME_PENDING;
    outcome.seq = sessions;
    snprintf(outcome.text, sizeof outcome.text, "%" PRIu32 " clients are told to go elsewhere",
             sessions);
    return outcome_encode(&outcome, q->body, sizeof q->body);
}

/* ---- callers --------------------------------------------------------------------------------- */

static void forget(struct inquiry *q, uint32_t i)
{
    q->callers[i].stream = 0;
    q->caller_count--;
}

static void hang_up(struct inquiry *q, uint32_t i)
{
    q->port->ops->stream_close(q->port, q->callers[i].stream);
    forget(q, i);
}

enum reaction { ANSWERED, NO_ROOM, NO_REQUEST };

static enum reaction answer(struct inquiry *q, uint32_t stream, enum replay_type type,
                            const uint8_t *body, size_t length, struct port_time now)
{
    /* Made only if it can be written. */
    if (q->port->ops->stream_room(q->port, stream, sizeof q->frame) < sizeof q->frame)
        return NO_ROOM;
    enum replay_type answers;
    size_t size;
    struct command command;
    if (type == REPLAY_STATUS_REQUEST && length == 0) {
        answers = REPLAY_STATUS;
        size = answer_status(q, now);
    } else if (type == REPLAY_CLIENTS_REQUEST && length == 4) {
        answers = REPLAY_CLIENTS;
        size = answer_clients(q, wire_load32(body), now);
    } else if (type == REPLAY_COMMAND && command_decode(body, length, &command)) {
        answers = REPLAY_OUTCOME;
        size = answer_command(q, &command, now);
    } else
        return NO_REQUEST;
    assert(size > 0);
    size_t framed = replay_frame_encode(answers, q->body, size, q->frame, sizeof q->frame);
    assert(framed > 0);
    q->port->ops->stream_write(q->port, stream, q->frame, framed);
    return ANSWERED;
}

static size_t take_bytes(struct inquiry *q, uint32_t i, const struct port_stream_event *e,
                         struct port_time now)
{
    size_t at = 0;
    for (;;) {
        enum replay_type type;
        size_t whole = replay_frame_peek(e->bytes + at, e->length - at, &type);
        if (whole == 0)
            return at;
        enum reaction reaction =
            whole == SIZE_MAX ? NO_REQUEST
                              : answer(q, e->stream, type, e->bytes + at + REPLAY_FRAME_HEADER,
                                       whole - REPLAY_FRAME_HEADER, now);
        if (reaction == NO_ROOM)
            return at;
        if (reaction == NO_REQUEST) {
            hang_up(q, i);
            return e->length;
        }
        q->callers[i].heard_ns = now.mono_ns;
        at += whole;
    }
}

static bool accept_caller(struct inquiry *q, uint32_t stream, struct port_time now)
{
    for (uint32_t i = 0; i < INQUIRY_CALLERS_MAX; i++) {
        if (q->callers[i].stream != 0)
            continue;
        q->callers[i].stream = stream;
        q->callers[i].heard_ns = now.mono_ns;
        q->caller_count++;
        return true;
    }
    q->port->ops->stream_close(q->port, stream);
    proxy_counters(q->proxy)[COUNTER_STREAMS_REFUSED]++;
    return true;
}

bool inquiry_on_stream(struct inquiry *q, const struct port_stream_event *e, struct port_time now,
                       size_t *consumed)
{
    *consumed = 0;
    if (e->type == PORT_STREAM_ACCEPTED)
        return !e->client && accept_caller(q, e->stream, now);
    if (q->caller_count == 0)
        return false;
    for (uint32_t i = 0; i < INQUIRY_CALLERS_MAX; i++) {
        if (q->callers[i].stream != e->stream)
            continue;
        if (e->type == PORT_STREAM_BYTES)
            *consumed = take_bytes(q, i, e, now);
        else if (e->type == PORT_STREAM_CLOSED)
            forget(q, i);
        return true;
    }
    return false;
}

uint64_t inquiry_step(struct inquiry *q, struct port_time now)
{
    uint64_t next = PORT_NEVER;
    for (uint32_t i = 0; i < INQUIRY_CALLERS_MAX && q->caller_count > 0; i++) {
        uint64_t due_ns = q->callers[i].heard_ns + IDLE_NS;
        if (q->callers[i].stream == 0)
            continue;
        if (now.mono_ns >= due_ns)
            hang_up(q, i);
        else if (due_ns < next)
            next = due_ns;
    }
    return next;
}
