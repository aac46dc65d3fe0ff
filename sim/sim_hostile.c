/* Who comes to proxies and means them no good: sends noise and mutated frames, drips and floods, replays the
 * logins of others that it has overheard, signs for their keys with its own, opens their publishers, publishes
 * and asks for what it may not. It has a key of its own, to which nothing was ever granted. */
#include <stdlib.h>
#include <string.h>

#include "sim/sim_private.h"

enum {
    CONNECTIONS = 5,
    NOISE_MAX = 600,
    DEAF_BYTES = 6 * 1024, /* an incomplete frame of so many: it is not read any further */
    FRAME_MAX = 2048
};

enum play {
    PLAY_NOISE,
    PLAY_MUTANT, /* frames of which some are damaged */
    PLAY_REPLAY, /* the proof of another's login */
    PLAY_LIAR,   /* another's key, its own signature */
    PLAY_THIEF,  /* what it has no right to, well-formed */
    PLAY_FLOOD,  /* requests, as many as there is room for, and reads nothing */
    PLAY_DRIP,   /* a byte at a time */
    PLAY_TEXT,
    PLAYS
};

struct connection {
    uint32_t stream; /* 0: none */
    uint32_t proxy;  /* its node */
    enum play play;
    bool deaf, accepted;
    uint32_t victim, dripped;
    struct epoch epoch;
    const struct sim_overheard *proof;
};

struct sim_hostile {
    struct sim *sim;
    struct sim_node *node;
    uint64_t next_ns;
    struct connection connections[CONNECTIONS];
};

struct sim_hostile *sim_hostile_create(struct sim *s, struct sim_node *n)
{
    struct sim_hostile *x = calloc(1, sizeof *x);
    if (x != NULL)
        *x = (struct sim_hostile) { .sim = s, .node = n };
    return x;
}

void sim_hostile_overhear(struct sim *s, const struct sim_connection *c, const uint8_t *bytes,
                          size_t length)
{
    enum edge_type type;
    const struct sim_node *n = s->nodes[c->node[0]];
    if (n->kind != SIM_CLIENT || n->client->edge == NULL || length > SIM_PROOF_SIZE ||
        edge_frame_peek(bytes, length, &type) != length || type != EDGE_PROVE)
        return;
    struct sim_overheard *o = &s->overheard[s->overheard_count++ % SIM_OVERHEARD_MAX];
    o->key = n->client->edge->key;
    o->proxy = c->node[1];
    o->length = (uint32_t)length;
    memcpy(o->bytes, bytes, length);
}

static uint64_t below(struct sim_hostile *x, uint64_t bound)
{
    return sim_random_below(&x->sim->random, bound);
}

static void say(struct sim_hostile *x, struct connection *c, const uint8_t *bytes, size_t length)
{
    struct port *port = &x->node->port.port;
    size_t room = c->stream != 0 ? port->ops->stream_room(port, c->stream, length) : 0;
    if (length > 0 && room >= length)
        port->ops->stream_write(port, c->stream, bytes, length);
}

static void leave(struct sim_hostile *x, struct connection *c)
{
    struct port *port = &x->node->port.port;
    if (c->stream != 0)
        port->ops->stream_close(port, c->stream);
    c->stream = 0;
}

/* ---- frames ---------------------------------------------------------------------------------- */

static size_t put_subtrees(struct sim_hostile *x, uint8_t *out, struct edge_subtrees *to)
{
    static const char *const all[] = {
        "/", "/edge", "/items", "/sys", "/sys/edge", "/w", "/edge/c"
    };
    size_t length = 0;
    uint16_t count = (uint16_t)(1 + below(x, 3));
    for (uint16_t i = 0; i < count; i++) {
        const char *subtree = all[below(x, sizeof all / sizeof all[0])];
        out[length++] = (uint8_t)strlen(subtree);
        memcpy(out + length, subtree, strlen(subtree));
        length += strlen(subtree);
    }
    *to = (struct edge_subtrees) { .count = count, .at = out, .length = length };
    return length;
}

static size_t put_open(struct sim_hostile *x, uint8_t *out)
{
    struct edge_open o = { .nonce = sim_random_next(&x->sim->random) };
    uint32_t whose = (uint32_t)below(x, SIM_EDGE_KEYS);
    o.wanted = (uint32_t)below(x, 3);
    if (below(x, 2) == 0) {
        memcpy(o.name, "stolen", sizeof "stolen");
        return edge_open_encode(&o, out, FRAME_MAX);
    }
    o.name[0] = '@';
    access_key_write(sim_edge_key(whose)->public_key, o.name + 1);
    memcpy(o.name + 1 + ACCESS_KEY_TEXT, SIM_HOSTILE_NAME, sizeof SIM_HOSTILE_NAME);
    return edge_open_encode(&o, out, FRAME_MAX);
}

static size_t put_publish(struct sim_hostile *x, uint8_t *out)
{
    static const char *const topics[] = { "/items/p22", "/edge/a", "/edge/feed", "/sys/grant",
                                          "/stolen" };
    uint8_t payload[300];
    const char *topic = topics[below(x, sizeof topics / sizeof topics[0])];
    memset(payload, 'x', sizeof payload);
    struct edge_publish p = { .publisher = (uint32_t)below(x, SIM_PUBLISHERS_MAX),
                              .number = 1 + below(x, 4),
                              .flags = below(x, 4) == 0 ? MESSAGE_MORE : 0,
                              .topic = topic,
                              .topic_length = strlen(topic),
                              .payload = payload,
                              .length = (uint32_t)below(x, sizeof payload) };
    if (below(x, 3) == 0) {
        p.conditional = true;
        p.condition_topic = topic;
        p.condition_topic_length = strlen(topic);
    }
    return edge_publish_encode(&p, out, FRAME_MAX);
}

static size_t put_request(struct sim_hostile *x, uint8_t *out)
{
    uint8_t names[256], others[256];
    struct edge_subscribe subscribe = { .level = below(x, 2) == 0 ? EDGE_SEQUENCED : EDGE_STABLE,
                                        .from = (enum edge_from)(1 + below(x, 3)),
                                        .tick_ms = (uint32_t)below(x, 20) };
    struct edge_change change;
    switch (below(x, 6)) {
    case 0:
        subscribe.position.seq = subscribe.from == EDGE_FROM_POSITION ? below(x, 2000) : 0;
        put_subtrees(x, names, &subscribe.subtrees);
        return edge_subscribe_encode(&subscribe, out, FRAME_MAX);
    case 1:
        put_subtrees(x, names, &change.add);
        put_subtrees(x, others, &change.remove);
        return edge_change_encode(&change, out, FRAME_MAX);
    case 2:
    case 3:
        return put_open(x, out);
    case 4:
        return put_publish(x, out);
    default:
        return edge_alive_encode(out, FRAME_MAX);
    }
}

static void mutate(struct sim_hostile *x, uint8_t *frame, size_t length)
{
    for (uint64_t i = below(x, 4); i > 0 && length > 0; i--)
        frame[below(x, length)] ^= (uint8_t)(1u << below(x, 8));
}

static void say_hello(struct sim_hostile *x, struct connection *c)
{
    uint8_t frame[FRAME_MAX];
    struct edge_hello hello = { .version = EDGE_VERSION,
                                .has_key = c->play != PLAY_FLOOD || below(x, 2) == 0 };
    memcpy(hello.key, sim_edge_key(c->victim)->public_key, sizeof hello.key);
    memcpy(hello.agent, "honest", sizeof "honest");
    if (!hello.has_key)
        memset(hello.key, 0, sizeof hello.key);
    say(x, c, frame, edge_hello_encode(&hello, frame, sizeof frame));
}

static void say_proof(struct sim_hostile *x, struct connection *c, const struct edge_welcome *w)
{
    static const uint8_t no_binding[32];
    uint8_t message[EDGE_SIGNED_SIZE], frame[FRAME_MAX];
    struct edge_prove prove;
    if (c->play == PLAY_REPLAY) {
        say(x, c, c->proof->bytes, c->proof->length);
        return;
    }
    edge_signed(w, sim_edge_key(c->victim)->public_key, no_binding, message);
    sim_edge_sign((void *)(uintptr_t)sim_edge_key(SIM_EDGE_FOREIGN), message, prove.signature);
    say(x, c, frame, edge_prove_encode(&prove, frame, sizeof frame));
}

/* ---- what it is told ------------------------------------------------------------------------- */

/* Nothing was granted to it, but to anyone. */
static void judge_message(struct sim_hostile *x, const struct connection *c,
                          const struct edge_message *m)
{
    struct sim *s = x->sim;
    uint32_t branch = sim_history_branch(&s->history, c->epoch);
    if (branch != SIM_NONE &&
        !sim_check_may_read(s, branch, SIM_EDGE_FOREIGN, m->topic, m->seq).ever)
        sim_violate(s, SIM_READERS, "%s is sent %lu, on topic %u, and may not read it",
                    x->node->name, m->seq, m->topic);
}

static void on_frame(struct sim_hostile *x, struct connection *c, enum edge_type type,
                     const uint8_t *body, size_t length)
{
    struct edge_welcome welcome;
    struct edge_epoch epoch;
    struct edge_forked forked;
    struct edge_message message;
    if (type == EDGE_WELCOME && edge_welcome_decode(body, length, &welcome)) {
        say_proof(x, c, &welcome);
    } else if (type == EDGE_ACCEPTED) {
        c->accepted = true;
        if (c->play == PLAY_REPLAY || c->play == PLAY_LIAR)
            sim_violate(x->sim, SIM_IDENTITIES, "%s is let in with a key that it has not",
                        x->node->name);
    } else if (type == EDGE_EPOCH && edge_epoch_decode(body, length, &epoch)) {
        c->epoch = epoch.epoch;
    } else if (type == EDGE_FORKED && edge_forked_decode(body, length, &forked)) {
        c->epoch = forked.common.epoch;
    } else if (type == EDGE_MESSAGE && edge_message_decode(body, length, &message)) {
        judge_message(x, c, &message);
    }
}

static size_t on_bytes(struct sim_hostile *x, struct connection *c, const uint8_t *bytes,
                       size_t length)
{
    size_t at = 0;
    uint32_t stream = c->stream;
    if (c->play == PLAY_FLOOD && c->accepted)
        return 0;
    /* Noise, or a damaged request, may look like the beginning of a line, and is answered with one. */
    if ((c->play == PLAY_NOISE || c->play == PLAY_MUTANT) && length > 0 && bytes[0] == '#')
        c->deaf = true;
    if (c->deaf || c->play == PLAY_TEXT)
        return length;
    while (c->stream == stream) {
        enum edge_type type;
        size_t frame = edge_frame_peek(bytes + at, length - at, &type);
        if (frame == SIZE_MAX) {
            sim_violate(x->sim, SIM_VIEWS, "%s is sent what is no frame", x->node->name);
            return length;
        }
        if (frame == 0)
            break;
        on_frame(x, c, type, bytes + at + EDGE_HEADER, frame - EDGE_HEADER);
        at += frame;
    }
    c->deaf = length - at > DEAF_BYTES;
    return c->deaf ? length : at;
}

static size_t on_stream(void *core, const struct port_stream_event *e, struct port_time now)
{
    struct sim_hostile *x = core;
    (void)now;
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        struct connection *c = &x->connections[i];
        if (c->stream != e->stream || c->stream == 0)
            continue;
        if (e->type == PORT_STREAM_BYTES)
            return on_bytes(x, c, e->bytes, e->length);
        if (e->type == PORT_STREAM_CLOSED)
            c->stream = 0;
        if (e->type == PORT_STREAM_CONNECTED && c->play != PLAY_NOISE && c->play != PLAY_DRIP &&
            c->play != PLAY_TEXT)
            say_hello(x, c);
        return 0;
    }
    return e->length;
}

/* ---- what it does ---------------------------------------------------------------------------- */

static void begin(struct sim_hostile *x, struct connection *c)
{
    struct sim *s = x->sim;
    struct port *port = &x->node->port.port;
    struct port_addr proxies[EDGE_PROXIES_MAX];
    uint32_t proxy = (uint32_t)below(x, sim_edge_proxies(s, proxies));
    *c = (struct connection) { .play = (enum play)below(x, PLAYS), .victim = SIM_EDGE_FOREIGN };
    if (c->play == PLAY_LIAR)
        c->victim = 1 + (uint32_t)below(x, SIM_EDGE_FOREIGN - 1);
    if (c->play == PLAY_REPLAY) {
        uint32_t kept =
            s->overheard_count < SIM_OVERHEARD_MAX ? s->overheard_count : SIM_OVERHEARD_MAX;
        if (kept == 0)
            return;
        c->proof = &s->overheard[below(x, kept)];
        c->victim = c->proof->key;
        proxies[proxy] = sim_net_address(c->proof->proxy);
    }
    c->stream = port->ops->stream_connect(port, proxies[proxy]);
}

static void act(struct sim_hostile *x, struct connection *c)
{
    static const char text[] = "cantus /edge from 0\n";
    uint8_t bytes[FRAME_MAX];
    size_t length;
    switch (c->play) {
    case PLAY_NOISE:
        length = 1 + below(x, NOISE_MAX);
        for (size_t i = 0; i < length; i++)
            bytes[i] = (uint8_t)below(x, 256);
        say(x, c, bytes, length);
        break;
    case PLAY_MUTANT:
        length = put_request(x, bytes);
        mutate(x, bytes, length);
        say(x, c, bytes, length);
        break;
    case PLAY_REPLAY:
    case PLAY_LIAR:
    case PLAY_THIEF:
        if (c->accepted)
            say(x, c, bytes, put_request(x, bytes));
        break;
    case PLAY_FLOOD:
        for (uint32_t i = 0; c->accepted && i < 40; i++)
            say(x, c, bytes, put_request(x, bytes));
        break;
    case PLAY_DRIP:
        bytes[0] = (uint8_t)(c->dripped == 0 ? 60 : 0);
        c->dripped++;
        say(x, c, bytes, 1);
        break;
    case PLAY_TEXT:
        if (c->dripped < sizeof text - 1)
            say(x, c, (const uint8_t *)text + c->dripped++, 1);
        break;
    case PLAYS:
        break;
    }
}

static uint64_t step(void *core, struct port_time now)
{
    struct sim_hostile *x = core;
    struct sim *s = x->sim;
    if (now.mono_ns < x->next_ns)
        return x->next_ns;
    x->next_ns =
        now.mono_ns + sim_random_scale(&s->random, 100 * SIM_US, (s->quiet ? 60 : 6) * SIM_MS);
    if (!s->edge_open)
        return x->next_ns;
    struct connection *c = &x->connections[below(x, CONNECTIONS)];
    if (c->stream == 0)
        begin(x, c);
    else if (below(x, 30) == 0)
        leave(x, c);
    else
        act(x, c);
    return x->next_ns;
}

static void on_datagrams(void *core, const struct port_datagram *datagrams, uint32_t count,
                         struct port_time now)
{
    (void)core;
    (void)datagrams;
    (void)count;
    (void)now;
}

static void on_disk(void *core, const struct disk_completion *completion, struct port_time now)
{
    (void)core;
    (void)completion;
    (void)now;
}

const struct participant_ops sim_hostile_participant = {
    .on_datagrams = on_datagrams, .on_stream = on_stream, .on_disk = on_disk, .step = step
};
