/* Byte streams: in order and whole, but in pieces of any size, late, with bounded buffers, and reset
 * when an end dies.
 *
 * An id is (generation << 16 | connection * 2 + end + 1), so that a late use of a dead one finds
 * nothing. */
#include <stdlib.h>
#include <string.h>

#include "sim/sim_private.h"

/* `what` of an event: what happens, to which end, of which generation of the connection. */
enum what { OPEN = 0, DATA = 1, ROOM = 2, SHUT = 3, REFUSE = 4, JOINED = 5 };

static uint32_t what_of(const struct sim_connection *c, enum what what, uint32_t end)
{
    return (uint32_t)c->generation << 8 | (uint32_t)what << 1 | end;
}

static uint32_t index_of(const struct sim *s, const struct sim_connection *c)
{
    return (uint32_t)(c - s->connections);
}

static uint32_t id_of(const struct sim *s, const struct sim_connection *c, uint32_t end)
{
    return (uint32_t)c->generation << 16 | (index_of(s, c) * 2 + end + 1);
}

bool sim_stream_init(struct sim *s)
{
    s->stream_memory = malloc((size_t)SIM_STREAMS_MAX * 2 * SIM_STREAM_BUFFER);
    if (s->stream_memory == NULL)
        return false;
    for (uint32_t i = 0; i < SIM_STREAMS_MAX; i++)
        for (uint32_t end = 0; end < 2; end++)
            s->connections[i].way[end].bytes =
                s->stream_memory + ((size_t)i * 2 + end) * SIM_STREAM_BUFFER;
    return true;
}

void sim_stream_close_all(struct sim *s)
{
    free(s->stream_memory);
    s->stream_memory = NULL;
}

static uint64_t delay(struct sim *s)
{
    if (s->by_hand)
        return 0;
    const struct sim_weather *w = &s->network.weather;
    uint64_t at = sim_random_between(&s->random, w->latency_min_ns, w->latency_max_ns);
    /* A lost segment costs a retransmission. */
    if (sim_random_chance(&s->random, w->loss))
        at += sim_random_between(&s->random, 200 * SIM_US, 5 * SIM_MS);
    return at;
}

static void later(struct sim *s, struct sim_connection *c, enum what what, uint32_t end)
{
    sim_schedule(s, s->now + c->far_ns + delay(s), SIM_EVENT_STREAM, c->node[end], index_of(s, c),
                 what_of(c, what, end));
}

static struct sim_connection *find(struct sim *s, uint32_t node, uint32_t id, uint32_t *end)
{
    uint32_t at = (id & 0xffff) - 1;
    if (at >= SIM_STREAMS_MAX * 2)
        return NULL;
    struct sim_connection *c = &s->connections[at / 2];
    *end = at % 2;
    if (!c->used || c->generation != id >> 16 || c->node[*end] != node || c->dead[*end])
        return NULL;
    return c;
}

static void release_if_dead(struct sim_connection *c)
{
    if (c->dead[0] && c->dead[1])
        c->used = false;
}

/* Some clients are far away, and some of what they are sent comes in crumbs. */
static void draw_distance(struct sim *s, struct sim_connection *c)
{
    if ((s->edge_extras & SIM_EDGE_FAR) == 0 || s->healed)
        return;
    uint64_t drawn = sim_random_below(&s->random, 8);
    if (drawn == 0 || drawn == 1)
        c->far_ns = sim_random_scale(&s->random, SIM_MS, 30 * SIM_MS);
    if (drawn == 1 || drawn == 2)
        c->piece_max = 1 + (uint32_t)sim_random_below(&s->random, 48);
}

/* ---- the core's side ------------------------------------------------------------------------- */

uint32_t sim_stream_connect(struct port *port, struct port_addr to)
{
    struct sim_port *p = (struct sim_port *)port;
    struct sim *s = p->sim;
    uint32_t at = 0;
    while (at < SIM_STREAMS_MAX && s->connections[at].used)
        at++;
    if (at == SIM_STREAMS_MAX)
        return 0;
    if (s->connections_end <= at)
        s->connections_end = at + 1;
    struct sim_connection *c = &s->connections[at];
    uint32_t peer = to.ip - sim_net_address(0).ip;
    bool there = peer < s->node_count && s->nodes[peer]->port.port.stream_port == to.port;
    *c = (struct sim_connection) {
        .used = true,
        .generation = (uint16_t)(c->generation + 1),
        .node = { (uint16_t)p->node, (uint16_t)(there ? peer : p->node) },
        .way = { { .bytes = c->way[0].bytes, .capacity = SIM_STREAM_BUFFER },
                 { .bytes = c->way[1].bytes, .capacity = SIM_STREAM_BUFFER } },
    };
    if (there && s->nodes[peer]->kind == SIM_PROXY) {
        c->way[1].capacity = s->edge_buffer;
        draw_distance(s, c);
    }
    later(s, c, there ? OPEN : REFUSE, there ? 1 : 0);
    return id_of(s, c, 0);
}

size_t sim_stream_room(struct port *port, uint32_t stream, size_t want)
{
    struct sim_port *p = (struct sim_port *)port;
    uint32_t end;
    struct sim_connection *c = find(p->sim, p->node, stream, &end);
    if (c == NULL)
        return 0;
    struct sim_direction *d = &c->way[end];
    size_t room = d->capacity - d->used;
    if (room < want)
        d->room_wanted = want < d->capacity ? (uint32_t)want : d->capacity;
    return room;
}

static void move(struct sim *s, struct sim_connection *c, uint32_t writer)
{
    struct sim_direction *d = &c->way[writer];
    if (d->moving || !c->open)
        return;
    d->moving = true;
    later(s, c, DATA, 1 - writer);
}

void sim_stream_write(struct port *port, uint32_t stream, const void *bytes, size_t length)
{
    struct sim_port *p = (struct sim_port *)port;
    uint32_t end;
    struct sim_connection *c = find(p->sim, p->node, stream, &end);
    if (c == NULL)
        return;
    struct sim_direction *d = &c->way[end];
    if (length > d->capacity - d->used) {
        sim_violate(p->sim, SIM_BOUNDED, "%s writes more than there is room for",
                    p->sim->nodes[p->node]->name);
        return;
    }
    if (end == 0 && p->sim->proxy_count > 0)
        sim_hostile_overhear(p->sim, c, bytes, length);
    if (p->sim->proxy_count > 0)
        sim_talk_note(p->sim, c, end, bytes, length);
    memcpy(d->bytes + d->used, bytes, length);
    d->used += (uint32_t)length;
    move(p->sim, c, end);
}

void sim_stream_close(struct port *port, uint32_t stream)
{
    struct sim_port *p = (struct sim_port *)port;
    uint32_t end;
    struct sim_connection *c = find(p->sim, p->node, stream, &end);
    if (c == NULL)
        return;
    c->dead[end] = true;
    c->way[end].closing = true;
    c->way[1 - end].used = c->way[1 - end].arrived = c->way[1 - end].offered = 0;
    if (c->open)
        move(p->sim, c, end);
    release_if_dead(c);
}

/* ---- what happens ---------------------------------------------------------------------------- */

static size_t tell(struct sim *s, struct sim_connection *c, uint32_t end,
                   enum port_stream_event_type type, const uint8_t *bytes, size_t length)
{
    struct sim_node *n = s->nodes[c->node[end]];
    const struct port_stream_event event = {
        .type = type,
        .stream = id_of(s, c, end),
        .peer = sim_net_address(c->node[1 - end]),
        .client = n->kind == SIM_PROXY && end == 1,
        .bytes = bytes,
        .length = length,
    };
    size_t consumed = 0;
    sim_node_stream(s, n, &event, &consumed);
    return consumed;
}

static void shut(struct sim *s, struct sim_connection *c, uint32_t end)
{
    if (c->dead[end])
        return;
    /* The id is dead once the core is told, but it is told under that id. */
    tell(s, c, end, PORT_STREAM_CLOSED, NULL, 0);
    c->dead[end] = true;
    release_if_dead(c);
}

static void consume(struct sim *s, struct sim_connection *c, uint32_t writer, size_t consumed)
{
    struct sim_direction *d = &c->way[writer];
    if (consumed > d->arrived) {
        sim_violate(s, SIM_BOUNDED, "%s consumes more than it was offered",
                    s->nodes[c->node[1 - writer]]->name);
        return;
    }
    if (consumed == 0)
        return;
    memmove(d->bytes, d->bytes + consumed, d->used - consumed);
    d->used -= (uint32_t)consumed;
    d->arrived -= (uint32_t)consumed;
    d->offered -= d->offered < consumed ? d->offered : (uint32_t)consumed;
    if (d->room_wanted > 0 && d->capacity - d->used >= d->room_wanted) {
        d->room_wanted = 0;
        later(s, c, ROOM, writer);
    }
}

/* Shows the receiver what has arrived. */
static void offer(struct sim *s, struct sim_connection *c, uint32_t end)
{
    struct sim_direction *d = &c->way[1 - end];
    if (c->dead[end] || d->arrived == 0)
        return;
    uint16_t generation = c->generation;
    d->offered = d->arrived;
    size_t consumed = tell(s, c, end, PORT_STREAM_BYTES, d->bytes, d->arrived);
    if (c->used && c->generation == generation && !c->dead[end])
        consume(s, c, 1 - end, consumed);
}

static void data(struct sim *s, struct sim_connection *c, uint32_t end)
{
    struct sim_direction *d = &c->way[1 - end];
    d->moving = false;
    if (c->dead[end]) {
        d->used = d->arrived = d->offered = 0;
        return;
    }
    uint32_t waiting = d->used - d->arrived;
    if (waiting > 0) {
        uint32_t piece = waiting;
        if (!s->by_hand && sim_random_below(&s->random, 3) == 0)
            piece = 1 + (uint32_t)sim_random_below(&s->random, waiting);
        if (c->piece_max != 0 && piece > c->piece_max)
            piece = c->piece_max;
        d->arrived += piece;
        s->nodes[c->node[end]]->unread = true;
        offer(s, c, end);
    }
    if (!c->used || c->dead[end])
        return;
    if (d->arrived < d->used)
        move(s, c, 1 - end);
    else if (d->closing)
        shut(s, c, end);
}

static void open_connection(struct sim *s, struct sim_connection *c)
{
    struct sim_node *server = s->nodes[c->node[1]];
    if (c->dead[0]) {
        c->used = false;
        return;
    }
    if (!server->up || c->dead[1]) {
        c->dead[1] = true;
        later(s, c, SHUT, 0);
        return;
    }
    c->open = true;
    uint16_t generation = c->generation;
    tell(s, c, 1, PORT_STREAM_ACCEPTED, NULL, 0);
    if (!c->used || c->generation != generation || c->dead[0])
        return;
    later(s, c, JOINED, 0);
    move(s, c, 0);
}

void sim_stream_event(struct sim *s, uint32_t connection, uint32_t event)
{
    struct sim_connection *c = &s->connections[connection];
    if (!c->used || c->generation != event >> 8)
        return;
    uint32_t end = event & 1;
    enum what what = (enum what)(event >> 1 & 7);
    struct sim_node *n = s->nodes[c->node[end]];
    bool stuck = sim_net_blocked(s, c->node[1 - end], c->node[end]) ||
                 sim_net_blocked(s, c->node[end], c->node[1 - end]);
    bool slow = what == DATA && c->way[1 - end].slow_until > s->now;
    if ((stuck && what != REFUSE) || slow || sim_node_frozen(s, n)) {
        sim_schedule(s, s->now + 2 * SIM_MS, SIM_EVENT_STREAM, c->node[end], connection, event);
        return;
    }
    switch (what) {
    case OPEN:
        open_connection(s, c);
        break;
    case DATA:
        data(s, c, end);
        break;
    case ROOM:
        if (!c->dead[end])
            tell(s, c, end, PORT_STREAM_ROOM, NULL, 0);
        break;
    case JOINED:
        if (!c->dead[end])
            tell(s, c, end, PORT_STREAM_CONNECTED, NULL, 0);
        break;
    case SHUT:
        shut(s, c, end);
        break;
    case REFUSE:
        c->dead[1] = true;
        shut(s, c, 0);
        break;
    }
}

void sim_stream_offer(struct sim *s, struct sim_node *n)
{
    uint32_t node = n->port.node;
    if (!n->unread)
        return;
    n->unread = false;
    for (uint32_t i = 0; i < s->connections_end; i++) {
        struct sim_connection *c = &s->connections[i];
        for (uint32_t end = 0; end < 2 && c->used; end++)
            if (c->node[end] == node && c->open && c->way[1 - end].arrived > 0) {
                offer(s, c, end);
                n->unread = n->unread || c->way[1 - end].arrived > 0;
            }
    }
}

void sim_stream_node_down(struct sim *s, uint32_t node)
{
    for (uint32_t i = 0; i < SIM_STREAMS_MAX; i++) {
        struct sim_connection *c = &s->connections[i];
        for (uint32_t end = 0; end < 2 && c->used; end++) {
            if (c->node[end] != node || c->dead[end])
                continue;
            c->dead[end] = true;
            if (c->open && !c->dead[1 - end])
                later(s, c, SHUT, 1 - end);
            if (!c->open)
                c->dead[1] = end == 1; /* the connect, on its way, finds what is there then */
            release_if_dead(c);
        }
    }
}

uint32_t sim_stream_reset_some(struct sim *s)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < SIM_STREAMS_MAX; i++) {
        struct sim_connection *c = &s->connections[i];
        if (!c->used || !c->open || sim_random_below(&s->random, 2) == 0)
            continue;
        count++;
        for (uint32_t end = 0; end < 2; end++)
            if (!c->dead[end])
                later(s, c, SHUT, end);
    }
    return count;
}

static bool is_of_client(const struct sim *s, const struct sim_connection *c)
{
    return c->used && c->open && s->nodes[c->node[1]]->kind == SIM_PROXY;
}

uint32_t sim_stream_cut(struct sim *s, uint32_t proxy)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->connections_end; i++) {
        struct sim_connection *c = &s->connections[i];
        if (!is_of_client(s, c) ||
            (proxy != SIM_NONE ? c->node[1] != proxy : sim_random_below(&s->random, 2) == 0))
            continue;
        count++;
        for (uint32_t end = 0; end < 2; end++)
            if (!c->dead[end])
                later(s, c, SHUT, end);
    }
    return count;
}

uint32_t sim_stream_slow(struct sim *s)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->connections_end; i++) {
        struct sim_connection *c = &s->connections[i];
        if (!is_of_client(s, c) || sim_random_below(&s->random, 2) == 0)
            continue;
        count++;
        c->way[1].slow_until = s->now + sim_random_scale(&s->random, 2 * SIM_MS, 200 * SIM_MS);
    }
    return count;
}
