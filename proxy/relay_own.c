/* The proxy's own publisher: what sessions do, and that the proxy is there. */
#include <stdio.h>

#include "proxy/relay_private.h"

static void own_outcome(void *ctx, const struct publisher_outcome *o)
{
    struct relay *r = ctx;
    const struct relay_note *n = &r->notes[o->number % RELAY_NOTES];
    struct sys_edge record = { .kind = n->kind, .session = n->session, .change = n->change };
    if (o->rejected == 0 && n->kind != SYS_EDGE_PRESENT)
        sessions_recorded(r->p->sessions, n->slot, &record, r->p->position);
    else if (o->rejected != 0)
        proxy_fail(r->p, "the stream rejects what it writes down: /sys/edge is for the core's own");
}

static struct publisher_options options_of(const struct relay *r)
{
    struct publisher_options own = { .stream = r->p->o.stream,
                                     .window = RELAY_OWN_WINDOW,
                                     .windows_kept = RELAY_OWN_WINDOWS,
                                     .bytes_max = RELAY_OWN_BYTES,
                                     .datagram_max = r->p->o.datagram_max,
                                     .blind = true };
    snprintf(own.identity, sizeof own.identity, SYS_EDGE_PROXY "%s", r->p->o.name);
    return own;
}

size_t relay_own_memory(const struct relay *r)
{
    struct publisher_options own = options_of(r);
    return publisher_sizes(&own, r->p->port).memory;
}

void relay_open_own(struct relay *r)
{
    struct proxy *p = r->p;
    struct publisher_options own = options_of(r);
    own.nonce = proxy_draw64(p, "join");
    r->own = publisher_place(r->own_memory, &own, p->port, p->counters, own_outcome, r);
    r->own_deadline_ns = 0;
    r->present_again_ns = 0;
    r->leaves = false;
}

bool relay_record(struct relay *r, uint32_t slot, const struct sys_edge *record)
{
    uint8_t payload[SYS_EDGE_SIZE_MAX];
    size_t length = sys_edge_encode(record, payload, sizeof payload);
    assert(length > 0);
    struct publisher_item item = { .topic = TOPIC_EDGE,
                                   .payload = payload,
                                   .length = (uint32_t)length };
    uint64_t number = publisher_push(r->own, &item, r->p->position);
    if (number == 0)
        return false;
    r->notes[number % RELAY_NOTES] = (struct relay_note) {
        .slot = slot, .session = record->session, .kind = record->kind, .change = record->change
    };
    r->own_deadline_ns = 0;
    return true;
}

bool relay_ready(const struct relay *r)
{
    return publisher_state(r->own) == PUBLISHER_ACTIVE;
}

bool relay_superseded(const struct relay *r)
{
    return publisher_state(r->own) == PUBLISHER_SUPERSEDED;
}

uint32_t relay_own(const struct relay *r)
{
    return publisher_id(r->own);
}

/* ---- that it is there ------------------------------------------------------------------------ */

/* Again whenever a third of the time is over for which it holds, so that it may be late. What is on its way is sent
 * until it is in the stream: once is enough each time. */
void relay_present(struct relay *r)
{
    struct proxy *p = r->p;
    bool leaves = p->draining && sessions_count(p->sessions) == 0;
    if (!p->live || !relay_ready(r) || r->leaves || (!leaves && p->time_ns < r->present_again_ns))
        return;
    struct sys_edge record = { .kind = SYS_EDGE_PRESENT,
                               .lasts_ms = leaves ? 0 : p->o.presence_ms };
    if (!relay_record(r, SESSION_NONE, &record))
        return;
    r->leaves = leaves;
    r->present_again_ns = p->time_ns + p->o.presence_ms * UINT64_C(1000000) / 3;
}

bool relay_has_left(const struct relay *r)
{
    const struct proxy *p = r->p;
    bool is_there = presence_has(catalog_presence(p->catalog), relay_own(r), p->time_ns);
    return !p->live || !relay_ready(r) || (r->leaves && !is_there);
}
