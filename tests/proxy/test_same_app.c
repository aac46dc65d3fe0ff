/* One app, on the core network and through a proxy. The same code is given to two client cores: one follows the
 * batches of a leader, the other is let in by a real proxy core that follows the same leader. The stream is drawn:
 * messages that the app wants and others, large ones, groups, some voided by a new epoch, ticks of the stream's
 * clock; so is where the app is to stop, which may be in the past, inside of a message, or still to be written, and
 * when the connection is lost. Whatever the app notices is written down: messages, timers, where it stopped. Both
 * logs have to be equal. A pipe that moves between the two has to count its items alike.
 *
 * That a difference would be found is shown with a proxy that puts its own clock into what it tells. */
#include "libclient/core.h"
#include "rig.h"

enum { TRACE_MAX = 1 << 16, LARGE_BYTES = 3000, GROUP_MAX = 5 };

static const char *const topics[] = { "/a", "/a/x", "/a/y", "/b/x", "/c" };

static uint64_t state;

static uint32_t draw(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % below;
}

/* ---- the app: it counts, and sets timers by what it reads ------------------------------------- */

struct trace {
    uint32_t count;
    bool full;
    struct event {
        uint32_t kind;
        uint64_t a, b, c;
    } events[TRACE_MAX];
};

enum { EVENT_MESSAGE = 1, EVENT_TIMER, EVENT_SEEN };

static struct trace *tracing; /* of the client whose code runs */

static void note(uint32_t kind, uint64_t a, uint64_t b, uint64_t c)
{
    if (tracing->count == TRACE_MAX) {
        tracing->full = true;
        return;
    }
    tracing->events[tracing->count++] = (struct event) { kind, a, b, c };
}

struct watch {
    uint64_t count, last_ns, again;
    struct cantus_timers *timers;
};

static bool watch_init(void *state_of, const char *config, struct cantus_timers *timers)
{
    struct watch *w = state_of;
    (void)config;
    w->timers = timers;
    return true;
}

static void watch_apply(void *state_of, const struct cantus_message *m)
{
    struct watch *w = state_of;
    w->count++;
    w->last_ns = m->timestamp_ns;
    note(EVENT_MESSAGE, m->seq, cantus_hash(m->publisher_seq, m->payload, m->length),
         cantus_hash(m->timestamp_ns, m->topic, strlen(m->topic)));
    uint64_t id = m->seq % 7;
    if (m->length % 4 == 0)
        cantus_timer_set(w->timers, id, m->timestamp_ns + m->length * 100 * MS);
    else if (m->length % 4 == 1)
        cantus_timer_set(w->timers, id, m->timestamp_ns + m->length / 8);
    else if (m->length % 4 == 2)
        cantus_timer_cancel(w->timers, id);
    if (m->length % 50 == 0)
        w->again = 3;
}

static void watch_timer(void *state_of, uint64_t id, uint64_t now_ns)
{
    struct watch *w = state_of;
    note(EVENT_TIMER, id, now_ns, w->count);
    if (w->again > 0) {
        w->again--;
        cantus_timer_set(w->timers, id, now_ns + 700 * MS);
    }
}

static uint64_t watch_digest(const void *state_of)
{
    const struct watch *w = state_of;
    const uint64_t fields[] = { w->count, w->last_ns, w->again };
    return cantus_hash(0, fields, sizeof fields);
}

static const char *const watched[] = { "/a", NULL };
static const struct cantus_app watch_app = { .abi = CANTUS_APP_ABI,
                                             .name = "watch",
                                             .topics = watched,
                                             .state_size = sizeof(struct watch),
                                             .init = watch_init,
                                             .apply = watch_apply,
                                             .timer = watch_timer,
                                             .digest = watch_digest };

static void see(void *ctx, const struct cantus_message *m)
{
    (void)ctx;
    note(EVENT_SEEN, m->seq, m->length, m->publisher_seq);
}

/* ---- clients ---------------------------------------------------------------------------------- */

struct client {
    struct port port; /* first */
    struct rig *r;
    struct rig_key key;
    struct edge_options edge;
    struct client_core *core;
    struct machine *machine;
    struct cantus_pipe *pipe;
    uint32_t stream; /* 0: none */
    bool connected;
    struct trace trace;
};

static struct client
    *home; /* on the core network, fed with what the leader says; NULL: nobody is */

static struct client *client_of(struct port *port)
{
    return (struct client *)(void *)port;
}

static uint32_t port_connect(struct port *port, struct port_addr to)
{
    struct client *c = client_of(port);
    (void)to;
    MUST(c->stream == 0);
    c->connected = false;
    c->stream = rig_connect(c->r, RIG_HERE);
    return c->stream;
}

static size_t port_room(struct port *port, uint32_t id, size_t want)
{
    (void)port, (void)id, (void)want;
    return 1 << 20;
}

static void port_write(struct port *port, uint32_t id, const void *bytes, size_t length)
{
    struct client *c = client_of(port);
    MUST(id == c->stream);
    rig_write(c->r, id, bytes, length);
}

static void port_close(struct port *port, uint32_t id)
{
    struct client *c = client_of(port);
    MUST(id == c->stream);
    if (c->r->streams[id - 1].open)
        rig_hang_up(c->r, id);
    c->stream = 0;
}

static void send_datagram(struct port *port, enum port_channel channel, struct port_addr to,
                          const uint8_t *bytes, uint32_t length)
{
    leader_send(&client_of(port)->r->leader.port, channel, to, bytes, length);
}

static uint8_t *port_scratch_of(struct port *port, uint32_t length)
{
    return leader_scratch(&client_of(port)->r->leader.port, length);
}

static const struct port_ops client_port = { .send = send_datagram,
                                             .scratch = port_scratch_of,
                                             .stream_connect = port_connect,
                                             .stream_room = port_room,
                                             .stream_write = port_write,
                                             .stream_close = port_close };

static void sign(void *ctx, const uint8_t message[EDGE_SIGNED_SIZE],
                 uint8_t signature[EDGE_SIGNATURE_SIZE])
{
    const struct client *c = ctx;
    crypto_sign_detached(signature, NULL, message, EDGE_SIGNED_SIZE, c->key.secret);
}

static void feed_home(struct client *c, const uint8_t *bytes, uint32_t length)
{
    struct port_datagram d = {
        .bytes = bytes, .length = length, .from = { RIG_HERE, 5000 }, .channel = PORT_EGRESS_A
    };
    tracing = &c->trace;
    client_participant.on_datagrams(c->core, &d, 1, c->r->now);
    client_participant.step(c->core, c->r->now);
}

static void (*feed_proxies)(struct rig *r, const uint8_t *bytes, uint32_t length,
                            enum port_channel channel);

static void feed_all(struct rig *r, const uint8_t *bytes, uint32_t length,
                     enum port_channel channel)
{
    feed_proxies(r, bytes, length, channel);
    if (home != NULL)
        feed_home(home, bytes, length);
}

enum where { ON_CORE, BY_PROXY };

static struct client *client_new(struct rig *r, enum where where, enum follower_level level,
                                 uint64_t until_seq)
{
    static uint64_t nonces;
    char error[CANTUS_ERROR_MAX];
    struct client *c = calloc(1, sizeof *c);
    MUST(c != NULL);
    c->port = (struct port) { .ops = &client_port, .datagram_max = WIRE_DATAGRAM_DEFAULT };
    c->r = r;
    c->key = rig_key(3);
    c->edge =
        (struct edge_options) { .level = level == FOLLOWER_STABLE ? EDGE_STABLE : EDGE_SEQUENCED,
                                .has_key = true,
                                .agent = "app",
                                .sign = sign,
                                .sign_ctx = c,
                                .random = 5 };
    memcpy(c->edge.key, c->key.public, sizeof c->edge.key);
    struct client_core_options o = {
        .follower = { .stream = RIG_STREAM, .level = level, .pending_max = 1024 },
        .catalog = r->options.catalog,
        .edge = where == BY_PROXY ? &c->edge : NULL,
        .until_seq = until_seq,
        .random = ++nonces,
    };
    c->core = client_core_create(&o, &c->port, r->now, error);
    ck_assert_msg(c->core != NULL, "%s", error);
    if (where == BY_PROXY) {
        struct port_addr proxy = { RIG_HERE, 7000 };
        edge_set_proxies(client_core_edge(c->core), &proxy, 1);
    }
    return c;
}

static struct client *client_with_app(struct rig *r, enum where where, enum follower_level level,
                                      uint64_t until_seq)
{
    char error[CANTUS_ERROR_MAX];
    struct client *c = client_new(r, where, level, until_seq);
    c->machine = client_core_add_app(c->core, &watch_app, "", NULL, error);
    ck_assert_msg(c->machine != NULL, "%s", error);
    ck_assert_msg(client_core_subscribe(c->core, "/b", see, NULL, error), "%s", error);
    return c;
}

static void client_free(struct client *c)
{
    if (c->stream != 0)
        port_close(&c->port, c->stream);
    client_core_destroy(c->core);
    free(c);
}

/* What the leader has said before. */
static void go_home(struct client *c)
{
    for (uint32_t i = 0; i < c->r->leader.log_delivered; i++)
        feed_home(c, c->r->leader.log[i].bytes, c->r->leader.log[i].header.length);
    home = c;
}

static void tell(struct client *c, enum port_stream_event_type type, const uint8_t *bytes,
                 size_t length)
{
    struct port_stream_event e = {
        .type = type, .stream = c->stream, .bytes = bytes, .length = length
    };
    client_participant.on_stream(c->core, &e, c->r->now);
}

/* True: there was something. */
static bool pump(struct client *c)
{
    tracing = &c->trace;
    uint32_t id = c->stream;
    bool busy = false;
    if (id != 0) {
        struct rig_stream *s = &c->r->streams[id - 1];
        if (!c->connected) {
            c->connected = busy = true;
            tell(c, PORT_STREAM_CONNECTED, NULL, 0);
        }
        while (c->stream == id && s->read < s->out_length) {
            size_t left = s->out_length - s->read, piece = 1 + draw(5000);
            const uint8_t *bytes = s->out + s->read;
            piece = piece < left ? piece : left;
            s->read += piece;
            tell(c, PORT_STREAM_BYTES, bytes, piece);
            busy = true;
        }
        if (c->stream == id && !s->open) {
            tell(c, PORT_STREAM_CLOSED, NULL, 0);
            c->stream = 0;
            busy = true;
        }
    }
    size_t said = c->stream != 0 ? c->r->streams[c->stream - 1].in_length : 0;
    uint64_t deadline = client_participant.step(c->core, c->r->now);
    return busy || deadline <= c->r->now.mono_ns ||
           (c->stream != 0 && (c->stream != id || c->r->streams[id - 1].in_length != said));
}

static void run(struct rig *r, struct client *c)
{
    for (uint32_t i = 0; i < 2000; i++) {
        rig_run(r);
        if (!pump(c))
            return;
    }
    ck_abort_msg("it is never quiet");
}

/* ---- the stream ------------------------------------------------------------------------------- */

static uint32_t author(struct rig *r)
{
    uint32_t id = catalog_publisher_find(r->leader.catalog, "other");
    if (id != 0)
        return id;
    rig_say(r, "/a", "joined");
    return catalog_publisher_find(r->leader.catalog, "other");
}

static void say_parts(struct rig *r, const char *topic, uint8_t flags, uint32_t count, bool open)
{
    static uint8_t bytes[LARGE_BYTES];
    uint32_t id = author(r), on = rig_topic(r, topic);
    uint64_t number = ledger_next(&r->leader.ledger, id);
    for (uint32_t i = 0; i < count; i++)
        rig_emit(r, on, id, number + i, i + 1 < count || open ? flags : 0, bytes,
                 1 + draw(flags == MESSAGE_MORE ? 200 : 1200));
}

static void write_one(struct rig *r)
{
    static char text[400];
    const char *topic = topics[draw(sizeof topics / sizeof topics[0])];
    r->leader.timestamp_ns += draw(3) == 0 ? draw(1500) * MS : draw(2);
    switch (draw(16)) {
    case 0:
        say_parts(r, topic, MESSAGE_MORE | MESSAGE_FRAGMENT, 2 + draw(3), false);
        break;
    case 1:
        say_parts(r, topic, MESSAGE_MORE, 2 + draw(GROUP_MAX), false);
        break;
    case 2:
    case 3:
        rig_emit(r, TOPIC_CLOCK, 0, 0, 0, NULL, 0);
        break;
    case 4:
        if (draw(4) == 0) { /* a run that an epoch cuts off */
            say_parts(r, topic, draw(2) == 0 ? MESSAGE_MORE : MESSAGE_MORE | MESSAGE_FRAGMENT,
                      1 + draw(3), true);
            rig_fork(r, rig_tip(r));
        }
        break;
    default:
        memset(text, 't', sizeof text);
        text[draw(300)] = '\0';
        rig_say(r, topic, text);
    }
}

static struct rig *new_rig(uint64_t seed, uint32_t sabotage)
{
    struct proxy_options o = rig_options();
    o.sabotage = sabotage;
    struct rig *r = rig_new_with(&o, false);
    const struct rig_key key = rig_key(3);
    state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    home = NULL;
    feed_proxies = r->leader.feed;
    r->leader.feed = feed_all;
    rig_grant(r, &key, ACCESS_READ | ACCESS_WRITE, "/");
    for (uint32_t i = 0; i < sizeof topics / sizeof topics[0]; i++)
        rig_topic(r, topics[i]);
    rig_run(r);
    return r;
}

/* ---- the same app ----------------------------------------------------------------------------- */

/* The first event that differs; UINT32_MAX: none. */
static uint32_t differ(const struct client *a, const struct client *b)
{
    uint32_t i = 0;
    MUST(!a->trace.full && !b->trace.full);
    while (i < a->trace.count && i < b->trace.count &&
           memcmp(&a->trace.events[i], &b->trace.events[i], sizeof a->trace.events[i]) == 0)
        i++;
    return i == a->trace.count && i == b->trace.count ? UINT32_MAX : i;
}

/* Whether both noticed the same, of this stream and what is still written of it. */
static bool alike(struct rig *r, enum follower_level level, uint64_t until_seq)
{
    struct client *far = client_with_app(r, BY_PROXY, level, until_seq);
    go_home(client_with_app(r, ON_CORE, level, until_seq));
    run(r, far);
    for (uint32_t i = 0; i < 4000 && (client_core_status(home->core) != CANTUS_END ||
                                      client_core_status(far->core) != CANTUS_END);
         i++) {
        write_one(r);
        if (draw(200) == 0 && far->stream != 0 && far->connected)
            rig_hang_up(r, far->stream);
        if (draw(3) == 0)
            run(r, far);
        r->now.mono_ns += 20 * MS;
    }
    run(r, far);
    MUST(client_core_status(home->core) == CANTUS_END);
    bool honest = r->options.sabotage == 0;
    ck_assert_msg(client_core_status(far->core) == CANTUS_END || !honest, "%s",
                  client_core_error(far->core));
    uint32_t first = differ(home, far);
    bool same = first == UINT32_MAX && client_core_seq(home->core) == client_core_seq(far->core) &&
                machine_digest(home->machine) == machine_digest(far->machine);
    if (!same && honest)
        ck_abort_msg("until %lu: at %lu and %lu, %u and %u events, from %u on others",
                     (unsigned long)until_seq, (unsigned long)client_core_seq(home->core),
                     (unsigned long)client_core_seq(far->core), home->trace.count, far->trace.count,
                     first);
    client_free(far);
    client_free(home);
    home = NULL;
    return same;
}

START_TEST(an_app_notices_the_same_wherever_it_stops)
{
    struct rig *r = new_rig((uint64_t)_i, 0);
    for (uint32_t i = 0; i < 300; i++)
        write_one(r);
    rig_run(r);
    for (uint32_t i = 0; i < 40; i++) {
        uint64_t until = 1 + draw((uint32_t)rig_tip(r) + 60);
        alike(r, draw(2) == 0 ? FOLLOWER_STABLE : FOLLOWER_SEQUENCED, until);
    }
    rig_free(r);
}
END_TEST

START_TEST(what_differs_is_found)
{
    struct rig *r = new_rig(1, PROXY_OWN_CLOCK);
    bool found = false;
    for (uint32_t i = 0; i < 300; i++)
        write_one(r);
    rig_run(r);
    r->now.mono_ns += 77;
    for (uint32_t i = 0; i < 60 && !found; i++)
        found = !alike(r, FOLLOWER_SEQUENCED, 1 + draw((uint32_t)rig_tip(r)));
    ck_assert(found);
    rig_free(r);
}
END_TEST

/* ---- the same pipe ---------------------------------------------------------------------------- */

/* Its connection is lost before it hears what became of what it has pushed last. */
static void cut_behind(struct rig *r, struct client *c)
{
    pump(c);
    for (uint32_t i = 0; i < 100 && (i == 0 || r->leader.reject_next != 0); i++)
        rig_round(r); /* that which is to be rejected is */
    if (c->stream == 0)
        return;
    struct rig_stream *s = &r->streams[c->stream - 1];
    s->read = s->out_length;
    rig_hang_up(r, c->stream);
}

/* One run of a process: how many items are there when it is ready, and after what it pushes. */
static uint64_t push_some(struct rig *r, enum where where, uint64_t known)
{
    char error[CANTUS_ERROR_MAX], identity[IDENTITY_MAX + 1], key[ACCESS_KEY_TEXT + 1];
    static uint8_t bytes[4 * LARGE_BYTES];
    struct client *c = client_new(r, where, FOLLOWER_SEQUENCED, 0);
    access_key_write(c->key.public, key);
    snprintf(identity, sizeof identity, "@%s:pipe", key);
    c->pipe = client_core_add_pipe(c->core, where == BY_PROXY ? "pipe" : identity, error);
    ck_assert_msg(c->pipe != NULL, "%s", error);
    if (where == ON_CORE)
        go_home(c);
    for (uint32_t i = 0; i < 100 && !cantus_pipe_ready(c->pipe); i++) {
        run(r, c);
        r->now.mono_ns += 20 * MS;
    }
    ck_assert(cantus_pipe_ready(c->pipe));
    ck_assert_uint_eq(cantus_pipe_sequenced(c->pipe), known);
    ck_assert_uint_eq(cantus_pipe_last_seq(c->pipe), 0);
    uint64_t rejects = 0, pushed = 0, seq = 0;
    for (uint32_t i = 0; i < 10; i++) {
        bool large = draw(3) == 0;
        if (draw(4) == 0) {
            r->leader.reject_next = REJECT_NOT_PERMITTED;
            rejects++;
        }
        bool fits = cantus_pipe_push(c->pipe, "/a/x", bytes,
                                     large ? 2000 + draw(sizeof bytes - 2000) : draw(200));
        ck_assert(fits);
        pushed++;
        if (draw(2) == 0)
            write_one(r);
        if (where == BY_PROXY && draw(3) == 0)
            cut_behind(r, c);
        for (uint32_t k = 0; k < 1000 && cantus_pipe_in_flight(c->pipe) > 0; k++) {
            run(r, c);
            r->now.mono_ns += 20 * MS;
            seq = rig_tip(r) > seq ? rig_tip(r) : seq;
        }
        ck_assert_uint_eq(cantus_pipe_in_flight(c->pipe), 0);
        ck_assert_uint_eq(cantus_pipe_sequenced(c->pipe), known + pushed);
        ck_assert_uint_eq(cantus_pipe_rejected(c->pipe), rejects);
        ck_assert_uint_gt(cantus_pipe_last_seq(c->pipe), 0);
        ck_assert_uint_le(cantus_pipe_last_seq(c->pipe), seq);
    }
    home = NULL;
    client_free(c);
    return known + pushed;
}

START_TEST(a_pipe_that_moves_counts_its_items_alike)
{
    struct rig *r = new_rig((uint64_t)_i, 0);
    uint64_t items = 0;
    for (uint32_t i = 0; i < 6; i++) {
        items = push_some(r, draw(2) == 0 ? ON_CORE : BY_PROXY, items);
        if (draw(3) == 0)
            rig_fork(r, rig_tip(r));
    }
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("same_app");
    TCase *t = tcase_create("same_app");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, an_app_notices_the_same_wherever_it_stops, 0, 24);
    tcase_add_test(t, what_differs_is_found);
    tcase_add_loop_test(t, a_pipe_that_moves_counts_its_items_alike, 0, 24);
    suite_add_tcase(suite, t);
    return rig_suite(suite);
}
