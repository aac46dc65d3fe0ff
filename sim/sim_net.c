/* Datagrams: every copy has its own fate, and its own delay. */
#include <stdlib.h>
#include <string.h>

#include "proto/hash.h"
#include "sim/sim_private.h"

enum { NETWORK = 0x0a000000, PORT_NUMBER = 7000 };

struct port_addr sim_net_address(uint32_t node)
{
    return (struct port_addr) { .ip = NETWORK + 1 + node, .port = PORT_NUMBER };
}

static uint32_t node_of(const struct sim *s, struct port_addr to)
{
    uint32_t node = to.ip - NETWORK - 1;
    return node < s->node_count && to.port == PORT_NUMBER ? node : SIM_NONE;
}

/* ---- packets --------------------------------------------------------------------------------- */

bool sim_net_init(struct sim *s)
{
    struct sim_network *n = &s->network;
    n->free = malloc(sizeof *n->free * SIM_SLABS_MAX * SIM_PACKETS_SLAB);
    n->arrivals = malloc(sizeof *n->arrivals * SIM_EVENTS_MAX);
    n->free_arrivals = malloc(sizeof *n->free_arrivals * SIM_EVENTS_MAX);
    if (n->free == NULL || n->arrivals == NULL || n->free_arrivals == NULL)
        return false;
    n->weather = (struct sim_weather) { .latency_min_ns = 20 * SIM_US,
                                        .latency_max_ns = 40 * SIM_US,
                                        .reorder_max_ns = 400 * SIM_US,
                                        .delay_max_ns = 20 * SIM_MS };
    return true;
}

void sim_net_close(struct sim *s)
{
    struct sim_network *n = &s->network;
    for (uint32_t i = 0; i < n->slab_count; i++)
        free(n->slabs[i]);
    free(n->free);
    free(n->arrivals);
    free(n->free_arrivals);
}

/* NULL when SIM_SLABS_MAX are on the way: then the network loses it. */
static struct sim_packet *take_packet(struct sim_network *n)
{
    if (n->free_count == 0) {
        if (n->slab_count == SIM_SLABS_MAX)
            return NULL;
        struct sim_packet *slab = malloc(sizeof *slab * SIM_PACKETS_SLAB);
        if (slab == NULL)
            return NULL;
        n->slabs[n->slab_count++] = slab;
        for (uint32_t i = SIM_PACKETS_SLAB; i-- > 0;)
            n->free[n->free_count++] = &slab[i];
    }
    struct sim_packet *p = n->free[--n->free_count];
    p->references = 1;
    return p;
}

static void drop_packet(struct sim_network *n, struct sim_packet *p)
{
    if (--p->references == 0)
        n->free[n->free_count++] = p;
}

void sim_net_release(struct sim *s, uint32_t slot)
{
    struct sim_network *n = &s->network;
    drop_packet(n, n->arrivals[slot].packet);
    n->arrivals[slot].packet = NULL;
    n->free_arrivals[n->free_arrival_count++] = slot;
}

/* ---- on the way ------------------------------------------------------------------------------ */

bool sim_net_blocked(const struct sim *s, uint32_t from, uint32_t to)
{
    const struct sim_network *n = &s->network;
    uint64_t since = n->blocked_from[from][to], turn = n->flaps_ns[from][to];
    return n->blocked_until[from][to] > s->now && since <= s->now &&
           (turn == 0 || (s->now - since) / turn % 2 == 0);
}

static bool sooner(const struct sim_due *a, const struct sim_due *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push_due(struct sim_node *n, struct sim_due due)
{
    uint32_t at = n->due_count++;
    while (at > 0 && sooner(&due, &n->due[(at - 1) / 2])) {
        n->due[at] = n->due[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    n->due[at] = due;
}

static uint32_t pop_due(struct sim_node *n)
{
    uint32_t slot = n->due[0].slot, at = 0, child;
    struct sim_due last = n->due[--n->due_count];
    while ((child = at * 2 + 1) < n->due_count) {
        child += child + 1 < n->due_count && sooner(&n->due[child + 1], &n->due[child]);
        if (!sooner(&n->due[child], &last))
            break;
        n->due[at] = n->due[child];
        at = child;
    }
    n->due[at] = last;
    return slot;
}

static void launch(struct sim *s, uint32_t from, uint32_t to, enum port_channel channel,
                   struct sim_packet *packet, uint64_t at)
{
    struct sim_network *n = &s->network;
    struct sim_node *receiver = s->nodes[to];
    if ((n->free_arrival_count == 0 && n->arrivals_end == SIM_EVENTS_MAX) ||
        (s->by_hand ? n->flight_count == SIM_FLIGHT_MAX : receiver->due_count == SIM_DUE_MAX)) {
        s->result.lost++;
        return;
    }
    uint32_t slot =
        n->free_arrival_count > 0 ? n->free_arrivals[--n->free_arrival_count] : n->arrivals_end++;
    packet->references++;
    n->arrivals[slot] = (struct sim_arrival) {
        .packet = packet,
        .order = ++n->sent,
        .from = (uint16_t)from,
        .to = (uint16_t)to,
        .channel = (uint8_t)channel,
        .held = n->hold[from][to],
    };
    if (s->by_hand) {
        n->flight[n->flight_count++] = slot;
        return;
    }
    push_due(receiver, (struct sim_due) { .at = at, .order = n->sent, .slot = slot });
    if (receiver->up)
        sim_node_wake(s, receiver, at + receiver->lag_ns);
}

static struct sim_packet *damaged(struct sim *s, const struct sim_packet *packet)
{
    struct sim_packet *copy = take_packet(&s->network);
    if (copy == NULL)
        return NULL;
    copy->length = packet->length;
    memcpy(copy->bytes, packet->bytes, packet->length);
    uint64_t flips = sim_random_between(&s->random, 1, 3);
    for (uint64_t i = 0; i < flips; i++)
        copy->bytes[sim_random_below(&s->random, copy->length)] ^=
            (uint8_t)(1u << sim_random_below(&s->random, 8));
    if (sim_random_below(&s->random, 8) == 0)
        copy->length = 1 + (uint32_t)sim_random_below(&s->random, copy->length);
    s->result.corrupted++;
    return copy;
}

static void send_copy(struct sim *s, uint32_t from, uint32_t to, enum port_channel channel,
                      struct sim_packet *packet)
{
    const struct sim_weather *w = &s->network.weather;
    struct sim_random *r = &s->random;
    uint64_t at = s->now + sim_random_between(r, w->latency_min_ns, w->latency_max_ns);
    if (sim_random_chance(r, w->reorder))
        at += sim_random_between(r, 1, w->reorder_max_ns);
    if (sim_random_chance(r, w->delay)) {
        at += sim_random_scale(r, SIM_MS, w->delay_max_ns);
        s->result.delayed++;
    }
    if (sim_random_chance(r, w->corrupt)) {
        struct sim_packet *copy = damaged(s, packet);
        if (copy != NULL) {
            launch(s, from, to, channel, copy, at);
            drop_packet(&s->network, copy);
        }
        return;
    }
    launch(s, from, to, channel, packet, at);
}

static void send_to(struct sim *s, uint32_t from, uint32_t to, enum port_channel channel,
                    struct sim_packet *packet)
{
    const struct sim_weather *w = &s->network.weather;
    if (!s->nodes[to]->up)
        return;
    if (sim_net_blocked(s, from, to)) {
        s->result.lost++;
        return;
    }
    if (from != to && sim_random_chance(&s->random, w->loss)) {
        s->result.lost++;
        return;
    }
    send_copy(s, from, to, channel, packet);
    if (sim_random_chance(&s->random, w->duplicate)) {
        s->result.duplicated++;
        send_copy(s, from, to, channel, packet);
    }
}

/* Now and then one is kept, so that it can be heard again when it is old. */
static void hoard(struct sim *s, uint32_t from, enum port_channel channel, uint64_t to_mask,
                  struct sim_packet *packet)
{
    struct sim_network *n = &s->network;
    enum wire_type type;
    if (s->by_hand || wire_peek(packet->bytes, packet->length, s->stream, &type) != WIRE_OK)
        return;
    /* What is said seldom is kept for sure. */
    bool often = type == WIRE_BATCH || type == WIRE_HEARTBEAT || type == WIRE_ACK ||
                 type == WIRE_PROPOSAL || type == WIRE_GAP_REQUEST;
    if (often && sim_random_below(&s->random, 32) != 0)
        return;
    struct sim_hoarded *h = &n->hoard[n->hoard_next++ % SIM_HOARD_MAX];
    if (h->packet != NULL)
        drop_packet(n, h->packet);
    packet->references++;
    *h = (struct sim_hoarded) {
        .packet = packet, .to_mask = to_mask, .from = (uint16_t)from, .channel = (uint8_t)channel
    };
}

uint32_t sim_net_repeat(struct sim *s, uint32_t max)
{
    struct sim_network *n = &s->network;
    uint32_t count = n->hoard_next < SIM_HOARD_MAX ? n->hoard_next : SIM_HOARD_MAX, sent = 0;
    for (uint32_t i = 0; i < max && count > 0; i++) {
        const struct sim_hoarded *h = &n->hoard[sim_random_below(&s->random, count)];
        for (uint32_t to = 0; to < s->node_count; to++) {
            if ((h->to_mask >> to & 1) == 0 || !s->nodes[to]->up ||
                sim_random_below(&s->random, 2) == 0)
                continue;
            uint64_t at = s->now + sim_random_scale(&s->random, 10 * SIM_US, 2 * SIM_MS);
            launch(s, h->from, to, (enum port_channel)h->channel, h->packet, at);
            sent++;
        }
    }
    s->result.repeated += sent;
    return sent;
}

static void send_one(struct sim *s, struct sim_node *n, const struct sim_out *out)
{
    if (out->channel == PORT_EGRESS_B && !s->line_b)
        return;
    if (s->watches_bytes && hash64(out->bytes, out->length, 0) != out->hash)
        sim_violate(s, SIM_BOUNDED, "%s changes the bytes of a datagram before the flush", n->name);
    if (sim_tracing(s)) {
        static const char *const channels[] = { "", "ingress", "egress-a", "egress-b" };
        char text[160];
        sim_datagram_text(out->bytes, out->length, text, sizeof text);
        uint32_t to = out->channel == PORT_UNICAST ? node_of(s, out->to) : SIM_NONE;
        sim_trace_line(s, "%s -> %s %s", n->name,
                       out->channel != PORT_UNICAST ? channels[out->channel]
                       : to == SIM_NONE             ? "nowhere"
                                                    : s->nodes[to]->name,
                       text);
    }
    struct sim_packet *packet = take_packet(&s->network);
    if (packet == NULL) {
        s->result.lost++;
        return;
    }
    packet->length = out->length;
    memcpy(packet->bytes, out->bytes, out->length);
    uint32_t from = n->port.node;
    uint64_t to_mask = 0;
    if (out->channel == PORT_UNICAST) {
        uint32_t to = node_of(s, out->to);
        to_mask = to != SIM_NONE ? UINT64_C(1) << to : 0;
    } else {
        for (uint32_t to = 0; to < s->node_count; to++)
            to_mask |= (uint64_t)s->nodes[to]->join[out->channel] << to;
    }
    for (uint32_t to = 0; to_mask >> to != 0; to++)
        if ((to_mask >> to & 1) != 0)
            send_to(s, from, to, out->channel, packet);
    hoard(s, from, out->channel, to_mask, packet);
    drop_packet(&s->network, packet);
}

void sim_net_flush(struct sim *s, struct sim_node *n)
{
    for (uint32_t i = 0; i < n->out_count; i++)
        send_one(s, n, &n->out[i]);
    n->out_count = 0;
    n->scratch_used = 0;
}

/* False: there is no room for it. */
static bool deposit(struct sim *s, struct sim_node *n, uint32_t slot)
{
    const struct sim_arrival *a = &s->network.arrivals[slot];
    uint64_t *newest = &s->network.newest[a->from][a->to];
    if (a->order < *newest)
        s->result.reordered++;
    else
        *newest = a->order;
    if (!n->up || n->inbox_count == SIM_INBOX_MAX) {
        s->result.lost += n->up;
        sim_net_release(s, slot);
        return false;
    }
    n->inbox[n->inbox_count++] = slot;
    return true;
}

void sim_net_receive(struct sim *s, struct sim_node *n)
{
    while (n->due_count > 0 && n->due[0].at <= s->now)
        deposit(s, n, pop_due(n));
}

void sim_net_arrive(struct sim *s, uint32_t slot)
{
    struct sim_node *n = s->nodes[s->network.arrivals[slot].to];
    if (deposit(s, n, slot))
        sim_node_wake(s, n, s->now);
}

uint32_t sim_net_linger(struct sim *s, uint32_t from, uint64_t min_ns, uint64_t max_ns)
{
    uint32_t count = 0;
    for (uint32_t to = 0; to < s->node_count; to++) {
        struct sim_node *n = s->nodes[to];
        uint32_t total = n->due_count;
        n->due_count = 0;
        /* What is put back takes no more room than what was looked at. */
        for (uint32_t i = 0; i < total; i++) {
            struct sim_due due = n->due[i];
            if (s->network.arrivals[due.slot].from == from) {
                due.at += sim_random_between(&s->random, min_ns, max_ns);
                count++;
            }
            push_due(n, due);
        }
    }
    s->result.delayed += count;
    return count;
}

/* ---- the core's side ------------------------------------------------------------------------- */

static void port_queue(struct port *port, enum port_channel channel, struct port_addr to,
                       const uint8_t *bytes, uint32_t length)
{
    struct sim_port *p = (struct sim_port *)port;
    struct sim_node *n = p->sim->nodes[p->node];
    if (length == 0 || length > SIM_DATAGRAM_MAX) {
        sim_violate(p->sim, SIM_BOUNDED, "%s sends a datagram of %u bytes", n->name, length);
        return;
    }
    if (n->out_count == SIM_OUT_MAX)
        sim_net_flush(p->sim, n);
    /* Looked at now: what a store says is about its disk as it is when it says so. */
    if (channel != PORT_EGRESS_B || p->sim->line_b)
        sim_check_send(p->sim, n, channel, bytes, length);
    n->out[n->out_count++] =
        (struct sim_out) { .bytes = bytes,
                           .length = length,
                           .channel = channel,
                           .to = to,
                           .hash = p->sim->watches_bytes ? hash64(bytes, length, 0) : 0 };
}

static uint8_t *port_memory(struct port *port, uint32_t length)
{
    struct sim_port *p = (struct sim_port *)port;
    struct sim_node *n = p->sim->nodes[p->node];
    if (length > PORT_SCRATCH_MAX)
        sim_violate(p->sim, SIM_BOUNDED, "%s asks for scratch of %u bytes", n->name, length);
    if (n->scratch_used + PORT_SCRATCH_MAX > SIM_SCRATCH_BYTES)
        sim_net_flush(p->sim, n);
    uint8_t *memory = n->scratch + n->scratch_used;
    n->scratch_used += (length + 7u) & ~7u;
    return memory;
}

static const struct port_ops port_ops = {
    .send = port_queue,
    .scratch = port_memory,
    .stream_connect = sim_stream_connect,
    .stream_room = sim_stream_room,
    .stream_write = sim_stream_write,
    .stream_close = sim_stream_close,
};

void sim_port_init(struct sim *s, struct sim_node *n)
{
    uint32_t node = sim_node_index(s, n);
    bool connects = n->kind == SIM_CLIENT || n->kind == SIM_HOSTILE || n->kind == SIM_VISITOR;
    n->port = (struct sim_port) {
        .port = { .ops = &port_ops,
                  .self = sim_net_address(node),
                  .stream_port = connects ? 0 : PORT_NUMBER,
                  .datagram_max = SIM_DATAGRAM_MAX },
        .sim = s,
        .node = node,
    };
}
