/* A client core that is fed whatever a proxy might send. The input is a list of connections: of each, records of
 * a length (two bytes, the highest bit: with this the connection ends) and so many bytes, which arrive as they
 * are. The core is let in first, so that the input begins where the stream does. What is checked is what the
 * core promises its app whatever a proxy does: messages come in order, each once, unless FORKED was reported. */
#include "fuzz/fuzz.h"
#include "libclient/core.h"

enum { OUT_MAX = 1 << 20 };

struct client {
    struct port port; /* first */
    struct client_core *core;
    uint32_t stream;
    uint64_t last; /* seq that was handed over */
    uint64_t stable_last;
    struct port_time now;
};

static struct client *client_of(struct port *port)
{
    return (struct client *)(void *)port;
}

static uint32_t on_connect(struct port *port, struct port_addr to)
{
    (void)to;
    return ++client_of(port)->stream;
}

static size_t on_room(struct port *port, uint32_t stream, size_t want)
{
    (void)port, (void)stream, (void)want;
    return OUT_MAX;
}

static void on_write(struct port *port, uint32_t stream, const void *bytes, size_t length)
{
    (void)port, (void)stream, (void)bytes;
    assert(length <= OUT_MAX);
}

static void on_close(struct port *port, uint32_t stream)
{
    (void)port, (void)stream;
}

static const struct port_ops ops = { .stream_connect = on_connect,
                                     .stream_room = on_room,
                                     .stream_write = on_write,
                                     .stream_close = on_close };

static void sign(void *ctx, const uint8_t message[EDGE_SIGNED_SIZE],
                 uint8_t signature[EDGE_SIGNATURE_SIZE])
{
    (void)ctx, (void)message;
    memset(signature, 1, EDGE_SIGNATURE_SIZE);
}

static void see(void *ctx, const struct cantus_message *m)
{
    struct client *c = ctx;
    assert(m->seq > c->last);
    assert(strlen(m->topic) > 1 && m->topic[0] == '/');
    c->last = m->seq;
}

static void on_report(void *ctx, const struct cantus_report *r)
{
    struct client *c = ctx;
    if (r->kind != CANTUS_REPORT_FORKED)
        return;
    assert(r->seq >= 1);
    if (c->last >= r->seq)
        c->last = r->seq - 1;
}

struct count {
    uint64_t count;
    struct cantus_timers *timers;
};

static bool count_init(void *state, const char *config, struct cantus_timers *timers)
{
    (void)config;
    ((struct count *)state)->timers = timers;
    return true;
}

static void count_apply(void *state, const struct cantus_message *m)
{
    struct count *s = state;
    s->count++;
    cantus_timer_set(s->timers, m->seq % 4, m->timestamp_ns + m->seq % 1000);
}

static void count_timer(void *state, uint64_t id, uint64_t now_ns)
{
    (void)id, (void)now_ns;
    ((struct count *)state)->count++;
}

static bool count_next(const void *state, struct cantus_proposal *p)
{
    const struct count *s = state;
    *p = (struct cantus_proposal) { .topic = "/a/b", .payload = &s->count, .length = 8 };
    return s->count % 3 == 1;
}

static const char *const topics[] = { "/a", NULL };
static const struct cantus_app app = { .abi = CANTUS_APP_ABI,
                                       .name = "count",
                                       .topics = topics,
                                       .state_size = sizeof(struct count),
                                       .init = count_init,
                                       .apply = count_apply,
                                       .timer = count_timer,
                                       .next = count_next };

static void step(struct client *c)
{
    for (int i = 0; i < 3; i++)
        client_participant.step(c->core, c->now);
}

static void event(struct client *c, enum port_stream_event_type type, const uint8_t *bytes,
                  size_t length)
{
    const struct port_stream_event e = {
        .type = type, .stream = c->stream, .bytes = bytes, .length = length
    };
    size_t used = client_participant.on_stream(c->core, &e, c->now);
    assert(type != PORT_STREAM_BYTES || used == length);
}

static void let_in(struct client *c)
{
    static const struct edge_welcome welcome = { .version = EDGE_VERSION, .stream = 5 };
    static const struct edge_accepted accepted = { .tip = { { 7, 1 }, 10 },
                                                   .stable = 9,
                                                   .fragment_bytes = 1000,
                                                   .window = 16,
                                                   .payload_max = 1 << 16 };
    uint8_t frame[256];
    c->now.mono_ns += UINT64_C(60000000000);
    step(c);
    event(c, PORT_STREAM_CONNECTED, NULL, 0);
    event(c, PORT_STREAM_BYTES, frame, edge_welcome_encode(&welcome, frame, sizeof frame));
    event(c, PORT_STREAM_BYTES, frame, edge_accepted_encode(&accepted, frame, sizeof frame));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client c = { .port = { .ops = &ops, .datagram_max = WIRE_DATAGRAM_DEFAULT },
                        .now = { UINT64_C(1000000000), UINT64_C(1000000000) } };
    if (size == 0)
        return 0;
    const struct edge_options edge = { .level = (data[0] & 1) != 0 ? EDGE_STABLE : EDGE_SEQUENCED,
                                       .has_key = true,
                                       .sign = sign,
                                       .agent = "fuzz" };
    const struct client_core_options options = {
        .follower = { .level = (data[0] & 1) != 0 ? FOLLOWER_STABLE : FOLLOWER_SEQUENCED },
        .edge = &edge,
        .report = on_report,
        .ctx = &c,
        .random = 3,
    };
    char error[CANTUS_ERROR_MAX];
    c.core = client_core_create(&options, &c.port, c.now, error);
    assert(c.core != NULL);
    const struct port_addr proxy = { 0x7f000001, 1 };
    edge_set_proxies(client_core_edge(c.core), &proxy, 1);
    if ((data[0] & 2) != 0)
        assert(client_core_add_app(c.core, &app, "", "app", error) != NULL);
    assert(client_core_subscribe(c.core, "/a", see, &c, error));
    struct cantus_pipe *pipe = NULL;
    if ((data[0] & 4) != 0) { /* its memory takes most of a run's time */
        pipe = client_core_add_pipe(c.core, "pipe", error);
        assert(pipe != NULL);
    }
    let_in(&c);
    for (size_t at = 1; at + 2 <= size;) {
        size_t length = wire_load16(data + at) & 0x7fff;
        bool ends = (data[at + 1] & 0x80) != 0;
        at += 2;
        if (length > size - at)
            length = size - at;
        event(&c, PORT_STREAM_BYTES, data + at, length);
        at += length;
        if (pipe != NULL)
            cantus_pipe_push(pipe, "/a/b", "item", 4);
        step(&c);
        if (ends) {
            event(&c, PORT_STREAM_CLOSED, NULL, 0);
            let_in(&c);
        }
    }
    client_core_destroy(c.core);
    return 0;
}
