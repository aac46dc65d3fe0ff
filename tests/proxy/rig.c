/* The port, the clients, and the driver. */
#include "rig.h"

enum { RIG_ROOM = 256 * 1024 };

/* ---- port ------------------------------------------------------------------------------------ */

static struct rig *rig_of(struct port *port)
{
    return (struct rig *)(void *)port;
}

static uint32_t fake_connect(struct port *port, struct port_addr to)
{
    (void)to;
    return rig_of(port)->store_hangs ? RIG_STORE_STREAM : 0;
}

static size_t fake_room(struct port *port, uint32_t id, size_t want)
{
    struct rig_stream *s = &rig_of(port)->streams[id - 1];
    size_t all = s->room != 0 ? s->room : RIG_ROOM;
    size_t room = s->untaken < all ? all - s->untaken : 0;
    s->waits = s->waits || room < want;
    return room;
}

static void append(uint8_t **to, size_t *length, size_t *capacity, const void *bytes, size_t more)
{
    if (*length + more > *capacity) {
        *capacity = (*length + more) * 2;
        *to = realloc(*to, *capacity);
        if (*to == NULL)
            abort();
    }
    memcpy(*to + *length, bytes, more);
    *length += more;
}

static void fake_write(struct port *port, uint32_t id, const void *bytes, size_t length)
{
    struct rig_stream *s = &rig_of(port)->streams[id - 1];
    if (!s->open || length > fake_room(port, id, 0))
        abort();
    append(&s->out, &s->out_length, &s->out_capacity, bytes, length);
    s->untaken += length;
}

static void fake_close(struct port *port, uint32_t id)
{
    struct rig_stream *s = &rig_of(port)->streams[id - 1];
    if (!s->open && id != RIG_STORE_STREAM)
        abort();
    s->open = false;
}

static const struct port_ops fake = { .send = leader_send,
                                      .scratch = leader_scratch,
                                      .stream_connect = fake_connect,
                                      .stream_room = fake_room,
                                      .stream_write = fake_write,
                                      .stream_close = fake_close };

/* ---- driving --------------------------------------------------------------------------------- */

static void feed(struct rig *r, const uint8_t *bytes, uint32_t length, enum port_channel channel)
{
    struct port_datagram d = {
        .bytes = bytes, .length = length, .from = { RIG_HERE, 5000 }, .channel = channel
    };
    proxy_participant.on_datagrams(r->proxy, &d, 1, r->now);
    if (r->other != NULL)
        proxy_participant.on_datagrams(r->other, &d, 1, r->now);
}

static size_t tell(struct rig *r, uint32_t id, enum port_stream_event_type type,
                   const uint8_t *bytes, size_t length)
{
    struct port_stream_event e = { .type = type,
                                   .stream = id,
                                   .peer = r->streams[id - 1].addr,
                                   .bytes = bytes,
                                   .length = length };
    return proxy_participant.on_stream(r->streams[id - 1].of_other ? r->other : r->proxy, &e,
                                       r->now);
}

static bool offer(struct rig *r, uint32_t id)
{
    struct rig_stream *s = &r->streams[id - 1];
    if (!s->open || s->in_length == 0)
        return false;
    /* A copy of exactly these, so that the sanitizers see a look behind them. */
    size_t length = s->in_length;
    uint8_t *bytes = malloc(length);
    memcpy(bytes, s->in, length);
    size_t used = tell(r, id, PORT_STREAM_BYTES, bytes, length);
    free(bytes);
    MUST(used <= length);
    s->in_length -= used;
    memmove(s->in, s->in + used, s->in_length);
    return used > 0;
}

static bool take(struct rig *r, uint32_t id)
{
    struct rig_stream *s = &r->streams[id - 1];
    if (s->deaf || s->untaken == 0)
        return false;
    s->untaken = 0;
    if (s->open && s->waits) {
        s->waits = false;
        tell(r, id, PORT_STREAM_ROOM, NULL, 0);
    }
    return true;
}

static bool round_of(struct rig *r)
{
    bool busy = r->leader.log_delivered < r->leader.log_count;
    leader_deliver(r);
    for (uint32_t i = 1; i <= r->stream_count; i++)
        busy = offer(r, i) || busy;
    r->deadline = proxy_participant.step(r->proxy, r->now);
    if (r->other != NULL) {
        uint64_t deadline = proxy_participant.step(r->other, r->now);
        r->deadline = deadline < r->deadline ? deadline : r->deadline;
    }
    for (uint32_t i = 1; i <= r->stream_count; i++)
        busy = take(r, i) || busy;
    busy = busy || r->leader.sent_count > 0 || r->deadline <= r->now.mono_ns;
    leader_hear(r);
    return busy;
}

void rig_round(struct rig *r)
{
    (void)round_of(r);
}

void rig_run(struct rig *r)
{
    for (int i = 0; i < 100000; i++)
        if (!round_of(r))
            return;
    ck_abort_msg("it is never quiet");
}

void rig_pass(struct rig *r, uint64_t ns)
{
    uint64_t end = r->now.mono_ns + ns;
    rig_run(r);
    while (r->now.mono_ns < end) {
        uint64_t to = r->deadline < end ? r->deadline : end;
        uint64_t by = to > r->now.mono_ns ? to - r->now.mono_ns : 1;
        r->now.mono_ns += by;
        r->now.wall_ns += by;
        rig_run(r);
    }
}

/* ---- making ---------------------------------------------------------------------------------- */

struct rig_key rig_key(uint8_t seed)
{
    struct rig_key k;
    uint8_t bytes[crypto_sign_SEEDBYTES];
    memset(bytes, seed, sizeof bytes);
    crypto_sign_seed_keypair(k.public, k.secret, bytes);
    return k;
}

struct rig *rig_new_with(const struct proxy_options *options, bool is_volatile)
{
    struct rig *r = calloc(1, sizeof *r);
    MUST(r != NULL);
    r->leader.is_volatile = is_volatile;
    leader_port_init(&r->leader, &fake);
    r->leader.feed = feed;
    r->now = (struct port_time) { .mono_ns = SECOND, .wall_ns = 1000 * SECOND };
    r->leader.timestamp_ns = 1000 * SECOND;
    r->admin = rig_key(1);
    r->options = *options;
    r->options.stream = RIG_STREAM;
    r->options.catalog = (struct catalog_options) { .topics_max = 1024, .publishers_max = 512 };
    snprintf(r->options.name, sizeof r->options.name, "p1");
    memset(r->options.secret, 5, sizeof r->options.secret);
    leader_begin(r, &r->options.catalog, r->admin.public);
    r->proxy = proxy_create(&r->options, &r->leader.port, r->now);
    MUST(r->proxy != NULL);
    rig_run(r);
    ck_assert_msg(proxy_ready(r->proxy), "%s", proxy_state(r->proxy));
    return r;
}

struct proxy_options rig_options(void)
{
    struct proxy_options o;
    proxy_options_default(&o);
    o.sessions_max = 512;
    o.recent_bytes = o.view_bytes = 8 << 20;
    o.relay_bytes = 32 << 20;
    o.subtrees_max = 65536;
    return o;
}

struct rig *rig_new(void)
{
    struct proxy_options o = rig_options();
    return rig_new_with(&o, false);
}

struct rig *rig_new_for(const struct rig_key *key, const char *subtree, const char *topic)
{
    struct rig *r = rig_new();
    rig_grant(r, key, ACCESS_READ | ACCESS_WRITE, subtree);
    rig_topic(r, topic);
    rig_run(r);
    return r;
}

void rig_add_other(struct rig *r)
{
    struct proxy_options o = r->options;
    snprintf(o.name, sizeof o.name, "p2");
    memset(o.secret, 6, sizeof o.secret);
    o.secret[0] = ++r->others; /* no two processes have the same */
    MUST(r->other == NULL);
    rig_run(r);
    struct proxy *other = proxy_create(&o, &r->leader.port, r->now);
    MUST(other != NULL);
    for (uint32_t i = 0; i < r->leader.log_delivered; i++) {
        const struct leader_batch *b = &r->leader.log[i];
        struct port_datagram d = { .bytes = b->bytes,
                                   .length = b->header.length,
                                   .from = { RIG_HERE, 5000 },
                                   .channel = PORT_EGRESS_A };
        proxy_participant.on_datagrams(other, &d, 1, r->now);
    }
    r->other = other;
    rig_run(r);
    ck_assert_msg(proxy_ready(r->other), "%s", proxy_state(r->other));
}

void rig_end_other(struct rig *r)
{
    for (uint32_t i = 0; i < r->stream_count; i++)
        if (r->streams[i].of_other)
            r->streams[i].open = false;
    proxy_destroy(r->other);
    r->other = NULL;
}

void rig_free(struct rig *r)
{
    proxy_destroy(r->proxy);
    proxy_destroy(r->other);
    for (uint32_t i = 0; i < r->stream_count; i++) {
        free(r->streams[i].in);
        free(r->streams[i].out);
    }
    leader_end(r);
    free(r);
}

uint64_t rig_counter(const struct rig *r, enum counter c)
{
    return proxy_counters(r->proxy)[c];
}

/* ---- the administrator ----------------------------------------------------------------------- */

static void by_admin(struct rig *r, uint32_t topic, const uint8_t *payload, size_t length)
{
    char key[ACCESS_KEY_TEXT + 1], identity[IDENTITY_MAX + 1];
    access_key_write(r->admin.public, key);
    snprintf(identity, sizeof identity, "@%s:admin", key);
    uint32_t id = catalog_publisher_find(r->leader.catalog, identity);
    if (id == 0)
        id = rig_join(r, identity, 1);
    MUST(length > 0);
    rig_emit(r, topic, id, ledger_next(&r->leader.ledger, id), 0, payload, length);
}

static void grant(struct rig *r, const struct rig_key *key, uint8_t rights, const char *subtree,
                  bool revoke)
{
    struct sys_grant g = { .revoke = revoke,
                           .rights = rights,
                           .whom = { .who = key != NULL ? ACCESS_KEY : ACCESS_ANYONE } };
    if (key != NULL)
        memcpy(g.whom.key, key->public, sizeof g.whom.key);
    snprintf(g.subtree, sizeof g.subtree, "%s", subtree);
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    by_admin(r, TOPIC_GRANT, payload, sys_grant_encode(&g, payload, sizeof payload));
}

void rig_grant(struct rig *r, const struct rig_key *key, uint8_t rights, const char *subtree)
{
    grant(r, key, rights, subtree, false);
}

void rig_revoke(struct rig *r, const struct rig_key *key, uint8_t rights, const char *subtree)
{
    grant(r, key, rights, subtree, true);
}

void rig_limit(struct rig *r, const struct limit_whom *whom, const struct limit *limit)
{
    struct sys_limit l = { .whom = *whom, .limit = *limit };
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    by_admin(r, TOPIC_LIMIT, payload, sys_limit_encode(&l, payload, sizeof payload));
}

/* ---- clients --------------------------------------------------------------------------------- */

uint32_t rig_connect(struct rig *r, uint32_t ip)
{
    MUST(r->stream_count < RIG_STREAMS_MAX);
    uint32_t id = ++r->stream_count;
    r->streams[id - 1] = (struct rig_stream) { .open = true,
                                               .of_other = r->other != NULL,
                                               .addr = { ip, (uint16_t)(10000 + id) } };
    tell(r, id, PORT_STREAM_ACCEPTED, NULL, 0);
    return id;
}

void rig_hang_up(struct rig *r, uint32_t c)
{
    MUST(r->streams[c - 1].open);
    tell(r, c, PORT_STREAM_CLOSED, NULL, 0);
    r->streams[c - 1].open = false;
}

void rig_write(struct rig *r, uint32_t c, const void *bytes, size_t length)
{
    struct rig_stream *s = &r->streams[c - 1];
    append(&s->in, &s->in_length, &s->in_capacity, bytes, length);
}

static uint8_t frame[EDGE_FRAME_MAX];

void rig_hello(struct rig *r, uint32_t c, const struct rig_key *key)
{
    struct edge_hello h = { .version = EDGE_VERSION, .has_key = key != NULL, .agent = "rig" };
    if (key != NULL)
        memcpy(h.key, key->public, sizeof h.key);
    rig_write(r, c, frame, edge_hello_encode(&h, frame, sizeof frame));
}

const uint8_t *rig_next(struct rig *r, uint32_t c, enum edge_type type, size_t *length)
{
    struct rig_stream *s = &r->streams[c - 1];
    for (;;) {
        enum edge_type found;
        size_t size = edge_frame_peek(s->out + s->read, s->out_length - s->read, &found);
        MUST(size != SIZE_MAX);
        if (size == 0)
            return NULL;
        const uint8_t *body = s->out + s->read + EDGE_HEADER;
        s->read += size;
        *length = size - EDGE_HEADER;
        if (found == type)
            return body;
    }
}

#define NEXT(name, type)                                                                           \
    struct edge_##name out;                                                                        \
    size_t length;                                                                                 \
    const uint8_t *body = rig_next(r, c, type, &length);                                           \
    ck_assert_msg(body != NULL, "no " #name);                                                      \
    MUST(edge_##name##_decode(body, length, &out))

struct edge_welcome rig_welcome(struct rig *r, uint32_t c)
{
    NEXT(welcome, EDGE_WELCOME);
    return out;
}

void rig_prove(struct rig *r, uint32_t c, const struct rig_key *key, const struct edge_welcome *w)
{
    static const uint8_t binding[32];
    uint8_t text[EDGE_SIGNED_SIZE];
    struct edge_prove p;
    edge_signed(w, key->public, binding, text);
    crypto_sign_detached(p.signature, NULL, text, sizeof text, key->secret);
    rig_write(r, c, frame, edge_prove_encode(&p, frame, sizeof frame));
}

uint32_t rig_login(struct rig *r, const struct rig_key *key)
{
    uint32_t c = rig_connect(r, RIG_HERE);
    rig_hello(r, c, key);
    rig_run(r);
    if (key != NULL) {
        struct edge_welcome w = rig_welcome(r, c);
        rig_prove(r, c, key, &w);
        rig_run(r);
    }
    NEXT(accepted, EDGE_ACCEPTED);
    (void)out;
    return c;
}

/* A list of one, or of none. */
static struct edge_subtrees list_of(const char *subtree, uint8_t memory[256])
{
    struct edge_subtrees s = { .at = memory };
    if (subtree != NULL) {
        s.count = 1;
        s.length = 1 + strlen(subtree);
        memory[0] = (uint8_t)strlen(subtree);
        memcpy(memory + 1, subtree, strlen(subtree));
    }
    return s;
}

void rig_subscribe(struct rig *r, uint32_t c, const char *subtree, enum edge_from from)
{
    uint8_t memory[256];
    struct edge_subscribe s = {
        .level = EDGE_SEQUENCED, .from = from, .tick_ms = 1000, .subtrees = list_of(subtree, memory)
    };
    rig_write(r, c, frame, edge_subscribe_encode(&s, frame, sizeof frame));
}

void rig_change(struct rig *r, uint32_t c, const char *add, const char *remove)
{
    uint8_t memory[2][256];
    struct edge_change s = { .add = list_of(add, memory[0]), .remove = list_of(remove, memory[1]) };
    rig_write(r, c, frame, edge_change_encode(&s, frame, sizeof frame));
}

void rig_open(struct rig *r, uint32_t c, const char *name, uint64_t nonce, uint32_t wanted)
{
    rig_open_above(r, c, name, nonce, wanted, UINT64_MAX);
}

void rig_open_above(struct rig *r, uint32_t c, const char *name, uint64_t nonce, uint32_t wanted,
                    uint64_t known)
{
    struct edge_open o = { .nonce = nonce, .wanted = wanted, .known = known };
    snprintf(o.name, sizeof o.name, "%s", name);
    rig_write(r, c, frame, edge_open_encode(&o, frame, sizeof frame));
}

struct edge_opened rig_opened(struct rig *r, uint32_t c, const char *name, uint64_t nonce)
{
    rig_open(r, c, name, nonce, 0);
    rig_run(r);
    return rig_next_opened(r, c);
}

void rig_publish_at(struct rig *r, uint32_t c, const struct edge_publish *publish)
{
    size_t length = edge_publish_encode(publish, frame, sizeof frame);
    MUST(length > 0);
    rig_write(r, c, frame, length);
}

void rig_publish(struct rig *r, uint32_t c, uint32_t publisher, uint64_t number, const char *topic,
                 const char *text)
{
    struct edge_publish p = { .publisher = publisher,
                              .number = number,
                              .topic = topic,
                              .topic_length = strlen(topic),
                              .payload = (const uint8_t *)text,
                              .length = (uint32_t)strlen(text) };
    rig_publish_at(r, c, &p);
}

struct edge_refused rig_refused(struct rig *r, uint32_t c)
{
    NEXT(refused, EDGE_REFUSED);
    return out;
}

struct edge_outcome rig_outcome(struct rig *r, uint32_t c)
{
    NEXT(outcome, EDGE_OUTCOME);
    return out;
}

void rig_closed(struct rig *r, uint32_t c, enum edge_closing_reason reason)
{
    NEXT(closing, EDGE_CLOSING);
    ck_assert_msg(out.reason == reason, "closed because \"%s\"", out.text);
    MUST(!r->streams[c - 1].open);
}

uint32_t rig_times(const struct rig *r, const char *text)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < r->leader.log_count; i++) {
        struct batch_cursor cursor = batch_begin(r->leader.log[i].bytes, &r->leader.log[i].header);
        struct message m;
        while (batch_next(&cursor, &m))
            count += m.topic >= TOPIC_FIRST_USER && m.length == strlen(text) &&
                     memcmp(m.payload, text, m.length) == 0;
    }
    return count;
}

struct edge_opened rig_next_opened(struct rig *r, uint32_t c)
{
    NEXT(opened, EDGE_OPENED);
    return out;
}

struct edge_superseded rig_next_superseded(struct rig *r, uint32_t c)
{
    NEXT(superseded, EDGE_SUPERSEDED);
    return out;
}

struct position rig_position(const struct rig *r)
{
    return (struct position) { .epoch = r->leader.epoch, .seq = rig_tip(r) };
}

struct rig_honest rig_honest_new(struct rig *r)
{
    struct rig_honest h = { .key = rig_key(99) };
    rig_grant(r, &h.key, ACCESS_READ | ACCESS_WRITE, "/honest");
    rig_topic(r, "/honest/a");
    h.c = rig_login(r, &h.key);
    h.opened = rig_opened(r, h.c, "h", 5);
    return h;
}

void rig_honest_goes_on(struct rig *r, struct rig_honest *h)
{
    rig_publish(r, h->c, h->opened.publisher, ++h->number, "/honest/a", "x");
    for (int i = 0; i < 8; i++)
        rig_round(r);
    struct edge_outcome out = rig_outcome(r, h->c);
    ck_assert_uint_eq(out.number, h->number);
    ck_assert_uint_eq(out.reason, 0);
}
