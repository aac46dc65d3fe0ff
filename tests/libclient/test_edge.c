/* A client core through a proxy. Method: the proxy is a script. Each test plays one over a port that only
 * remembers: it takes the client's frames one by one, judges them, and says what a proxy might, in order or
 * not, whole or in pieces, until the connection ends; then it sees with what the next one begins. */
#include <stdio.h>

#include "libclient/core.h"
#include "rig.h"
#include "suite_main.h"

#define STREAM UINT64_C(0xabcdef)

enum { HEARD_MAX = 4 << 20, SAID_MAX = 4 << 20, PROXIES = 2 };

struct script {
    struct port port; /* first */
    struct port_time now;
    struct client_core *core;
    struct edge_options edge;
    enum follower_level level;
    uint64_t until_seq;
    char error[CANTUS_ERROR_MAX];

    uint32_t stream, streams; /* the open one, or 0; ever */
    struct port_addr to;
    bool connected;
    size_t room; /* of the stream; what the client writes is taken away at once */
    uint8_t *heard;
    size_t heard_at, heard_end;
    uint8_t *said;
    size_t said_end;
    uint64_t deadline;
    uint64_t last; /* match in the block, as the proxy goes */
    uint64_t block;

    struct rig_seen seen[256];
    uint32_t seen_count;
    struct rig_report reports[64];
    uint32_t report_count;
};

/* ---- the port -------------------------------------------------------------------------------- */

static struct script *script_of(struct port *port)
{
    return (struct script *)(void *)port;
}

static void port_drops(struct port *port, enum port_channel channel, struct port_addr to,
                       const uint8_t *bytes, uint32_t length)
{
    (void)port, (void)channel, (void)to, (void)bytes, (void)length;
    ck_abort_msg("a client of a proxy sends no datagrams");
}

static uint32_t port_connect(struct port *port, struct port_addr to)
{
    struct script *s = script_of(port);
    ck_assert(s->stream == 0);
    s->stream = ++s->streams;
    s->to = to;
    s->connected = false;
    s->heard_at = s->heard_end = 0;
    s->said_end = 0;
    s->last = s->block = 0;
    return s->stream;
}

static size_t port_room(struct port *port, uint32_t stream, size_t want)
{
    struct script *s = script_of(port);
    (void)want;
    return stream == s->stream && s->connected ? s->room : 0;
}

static void port_write(struct port *port, uint32_t stream, const void *bytes, size_t length)
{
    struct script *s = script_of(port);
    ck_assert_uint_eq(stream, s->stream);
    ck_assert_uint_le(length, s->room);
    ck_assert_uint_le(s->heard_end + length, HEARD_MAX);
    memcpy(s->heard + s->heard_end, bytes, length);
    s->heard_end += length;
}

static void port_close(struct port *port, uint32_t stream)
{
    struct script *s = script_of(port);
    ck_assert_uint_eq(stream, s->stream);
    s->stream = 0;
}

static const struct port_ops script_port = { .send = port_drops,
                                             .stream_connect = port_connect,
                                             .stream_room = port_room,
                                             .stream_write = port_write,
                                             .stream_close = port_close };

/* ---- the client ------------------------------------------------------------------------------ */

static void see(void *ctx, const struct cantus_message *m)
{
    struct script *s = ctx;
    struct rig_seen *seen = &s->seen[s->seen_count++ % 256];
    *seen = (struct rig_seen) { .seq = m->seq,
                                .timestamp_ns = m->timestamp_ns,
                                .publisher_seq = m->publisher_seq,
                                .length = m->length };
    snprintf(seen->topic, sizeof seen->topic, "%.63s", m->topic);
    snprintf(seen->publisher, sizeof seen->publisher, "%.63s", m->publisher);
    snprintf(seen->head, sizeof seen->head, "%.*s", (int)(m->length < 31 ? m->length : 31),
             (const char *)m->payload);
}

static void on_report(void *ctx, const struct cantus_report *r)
{
    struct script *s = ctx;
    if (s->report_count == 64)
        return;
    struct rig_report *to = &s->reports[s->report_count++];
    to->r = *r;
    snprintf(to->identity, sizeof to->identity, "%.63s", r->identity);
    snprintf(to->topic, sizeof to->topic, "%.255s", r->topic);
    snprintf(to->text, sizeof to->text, "%.255s", r->text);
}

static const struct rig_report *reported(const struct script *s, enum cantus_report_kind kind)
{
    for (uint32_t i = s->report_count; i-- > 0;) {
        if (s->reports[i].r.kind == kind)
            return &s->reports[i];
    }
    return NULL;
}

static void sign(void *ctx, const uint8_t message[EDGE_SIGNED_SIZE],
                 uint8_t signature[EDGE_SIGNATURE_SIZE])
{
    (void)ctx;
    for (int i = 0; i < EDGE_SIGNATURE_SIZE; i++)
        signature[i] = (uint8_t)(message[i] ^ message[i + 64] ^ 0x5a);
}

static void make_core(struct script *s)
{
    struct client_core_options o = { .follower = { .level = s->level },
                                     .edge = &s->edge,
                                     .until_seq = s->until_seq,
                                     .random = 7,
                                     .report = on_report,
                                     .ctx = s };
    s->core = client_core_create(&o, &s->port, s->now, s->error);
    ck_assert_msg(s->core != NULL, "%s", s->error);
    struct port_addr proxies[PROXIES] = { { 0x0a000001, 7000 }, { 0x0a000002, 7000 } };
    edge_set_proxies(client_core_edge(s->core), proxies, PROXIES);
}

static struct script *script_new(enum follower_level level)
{
    struct script *s = calloc(1, sizeof *s);
    ck_assert_ptr_nonnull(s);
    s->port = (struct port) { .ops = &script_port, .datagram_max = WIRE_DATAGRAM_DEFAULT };
    s->heard = malloc(HEARD_MAX);
    s->said = malloc(SAID_MAX);
    s->room = HEARD_MAX;
    s->now = (struct port_time) { .mono_ns = SECOND, .wall_ns = SECOND };
    s->level = level;
    s->edge =
        (struct edge_options) { .level = level == FOLLOWER_STABLE ? EDGE_STABLE : EDGE_SEQUENCED,
                                .has_key = true,
                                .agent = "test",
                                .sign = sign,
                                .random = 5 };
    memset(s->edge.key, 9, sizeof s->edge.key);
    make_core(s);
    return s;
}

static void script_free(struct script *s)
{
    client_core_destroy(s->core);
    free(s->heard);
    free(s->said);
    free(s);
}

static void subscribe(struct script *s, const char *subtree)
{
    ck_assert(client_core_subscribe(s->core, subtree, see, s, s->error));
}

static void step(struct script *s)
{
    for (int i = 0; i < 3; i++)
        s->deadline = client_participant.step(s->core, s->now);
}

static void event(struct script *s, enum port_stream_event_type type, const uint8_t *bytes,
                  size_t length)
{
    struct port_stream_event e = {
        .type = type, .stream = s->stream, .bytes = bytes, .length = length
    };
    size_t used = client_participant.on_stream(s->core, &e, s->now);
    ck_assert(type != PORT_STREAM_BYTES || used == length);
}

/* Hands over what was said, in pieces of `piece` bytes (0: in one). */
static void flush_pieces(struct script *s, size_t piece)
{
    size_t end = s->said_end, at = 0;
    s->said_end = 0;
    uint32_t stream = s->stream;
    while (at < end && s->stream == stream) {
        size_t length = piece != 0 && piece < end - at ? piece : end - at;
        event(s, PORT_STREAM_BYTES, s->said + at, length);
        at += length;
    }
    step(s);
}

static void flush(struct script *s)
{
    flush_pieces(s, 0);
}

static void cut(struct script *s)
{
    event(s, PORT_STREAM_CLOSED, NULL, 0);
    s->stream = 0;
    step(s);
}

/* Until it connects anew. */
static void wait_connect(struct script *s)
{
    step(s);
    for (int i = 0; i < 1000 && s->stream == 0; i++) {
        ck_assert_msg(s->deadline != PORT_NEVER, "it waits for nothing");
        if (s->deadline > s->now.mono_ns)
            s->now.mono_ns = s->deadline;
        step(s);
    }
    ck_assert_uint_ne(s->stream, 0);
    ck_assert(!s->connected);
    s->connected = true;
    event(s, PORT_STREAM_CONNECTED, NULL, 0);
    step(s);
}

/* ---- the proxy ------------------------------------------------------------------------------- */

static const uint8_t *hear(struct script *s, enum edge_type type, size_t *length)
{
    step(s);
    enum edge_type got;
    size_t frame = edge_frame_peek(s->heard + s->heard_at, s->heard_end - s->heard_at, &got);
    ck_assert_msg(frame != 0 && frame != SIZE_MAX, "no frame instead of type %d", type);
    ck_assert_msg(got == type, "a frame of type %d instead of %d", got, type);
    const uint8_t *body = s->heard + s->heard_at + EDGE_HEADER;
    *length = frame - EDGE_HEADER;
    s->heard_at += frame;
    return body;
}

static bool hears_nothing(struct script *s)
{
    step(s);
    return s->heard_at == s->heard_end;
}

#define HEAR(s, name, TYPE, out)                                                                   \
    do {                                                                                           \
        size_t hear_length;                                                                        \
        const uint8_t *hear_body = hear(s, TYPE, &hear_length);                                    \
        ck_assert(edge_##name##_decode(hear_body, hear_length, out));                              \
    } while (0)

#define SAY(s, name, ...)                                                                          \
    do {                                                                                           \
        const struct edge_##name say_it = { __VA_ARGS__ };                                         \
        size_t say_length =                                                                        \
            edge_##name##_encode(&say_it, (s)->said + (s)->said_end, SAID_MAX - (s)->said_end);    \
        ck_assert_uint_gt(say_length, 0);                                                          \
        (s)->said_end += say_length;                                                               \
    } while (0)

static const struct epoch first_epoch = { .number = 1, .candidate = 11 };
static const struct epoch second_epoch = { .number = 2, .candidate = 22 };

static struct position at(struct epoch epoch, uint64_t seq)
{
    return (struct position) { .epoch = epoch, .seq = seq };
}

static void let_in(struct script *s, uint64_t tip, uint64_t stable)
{
    wait_connect(s);
    struct edge_hello h;
    HEAR(s, hello, EDGE_HELLO, &h);
    ck_assert_uint_eq(h.version, EDGE_VERSION);
    ck_assert_str_eq(h.agent, "test");
    SAY(s, welcome, .version = EDGE_VERSION, .stream = STREAM, .challenge = { 1, 2 }, .proxy = "p");
    flush(s);
    struct edge_prove p;
    if (h.has_key)
        HEAR(s, prove, EDGE_PROVE, &p);
    SAY(s, accepted, .tip = at(first_epoch, tip), .stable = stable, .fragment_bytes = 1000,
        .window = 64, .payload_max = 1 << 20);
    flush(s);
}

/* Its request is as it should be, and granted. */
static struct edge_subscribe subscribed(struct script *s)
{
    struct edge_subscribe r;
    HEAR(s, subscribe, EDGE_SUBSCRIBE, &r);
    struct position p = r.position;
    if (r.from == EDGE_FROM_TIP)
        p = at(first_epoch, 10);
    SAY(s, subscribed, .position = p);
    if (p.seq == 0)
        SAY(s, epoch, .epoch = first_epoch, .first_seq = 2);
    flush(s);
    return r;
}

static void begin(struct script *s)
{
    let_in(s, 10, 10);
    subscribed(s);
}

static void name_it(struct script *s, enum edge_name_kind kind, uint32_t id, const char *text)
{
    SAY(s, name, .kind = kind, .id = id, .text = text, .length = strlen(text));
}

/* A message on topic 17, as a proxy that knows its trade says it. */
static void tell(struct script *s, uint64_t seq, const char *text)
{
    if (seq / EDGE_BLOCK != s->block) {
        if (s->last != 0)
            SAY(s, progress, .through = s->block * EDGE_BLOCK + EDGE_BLOCK - 1, .previous = s->last,
                .stable = 0, .timestamp_ns = s->last * 1000);
        s->block = seq / EDGE_BLOCK;
        s->last = 0;
    }
    if (s->last == 0) {
        name_it(s, EDGE_NAME_TOPIC, 17, "/a/b");
        name_it(s, EDGE_NAME_PUBLISHER, 3, "other");
    }
    SAY(s, message, .seq = seq, .previous = s->last, .timestamp_ns = seq * 1000, .topic = 17,
        .publisher = 3, .publisher_seq = seq, .payload = (const uint8_t *)text,
        .length = (uint32_t)strlen(text));
    s->last = seq;
}

static void saw(const struct script *s, uint32_t index, uint64_t seq, const char *text)
{
    ck_assert_uint_gt(s->seen_count, index);
    ck_assert_uint_eq(s->seen[index].seq, seq);
    ck_assert_str_eq(s->seen[index].head, text);
}

static struct edge_stats stats(const struct script *s)
{
    return edge_stats(client_core_edge(s->core));
}

/* The connection; the next one may have been begun. */
static bool is_gone(const struct script *s)
{
    return s->stream == 0 || !s->connected;
}

/* ---- login ----------------------------------------------------------------------------------- */

START_TEST(it_proves_its_key_and_subscribes_from_the_beginning)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    subscribe(s, "/a");
    subscribe(s, "/a/b"); /* inside of the other: not asked for again */
    subscribe(s, "/sys/grant");
    wait_connect(s);
    struct edge_hello h;
    HEAR(s, hello, EDGE_HELLO, &h);
    ck_assert(h.has_key);
    ck_assert_uint_eq(h.stream, 0);
    struct edge_welcome w = { .version = EDGE_VERSION, .stream = STREAM, .proxy = "east" };
    memset(w.challenge, 0x77, sizeof w.challenge);
    SAY(s, welcome, .version = w.version, .stream = w.stream, .proxy = "east",
        .challenge = { 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77,
                       0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77,
                       0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77 });
    flush(s);
    struct edge_prove p;
    HEAR(s, prove, EDGE_PROVE, &p);
    uint8_t message[EDGE_SIGNED_SIZE], binding[32] = { 0 }, expected[EDGE_SIGNATURE_SIZE];
    edge_signed(&w, s->edge.key, binding, message);
    sign(NULL, message, expected);
    ck_assert_mem_eq(p.signature, expected, sizeof expected);
    ck_assert(hears_nothing(s));
    SAY(s, accepted, .tip = at(first_epoch, 10), .stable = 8, .fragment_bytes = 1000, .window = 64,
        .payload_max = 1 << 20);
    flush(s);
    struct edge_subscribe r;
    HEAR(s, subscribe, EDGE_SUBSCRIBE, &r);
    ck_assert_int_eq(r.level, EDGE_SEQUENCED);
    ck_assert_int_eq(r.from, EDGE_FROM_POSITION);
    ck_assert_uint_eq(r.position.seq, 0);
    ck_assert_uint_eq(r.tick_ms, EDGE_TICK_DEFAULT_MS);
    ck_assert_uint_eq(r.subtrees.count, 2);
    const char *text;
    size_t length;
    ck_assert(edge_subtree_next(&r.subtrees, &text, &length));
    ck_assert(length == 2 && memcmp(text, "/a", 2) == 0);
    ck_assert_uint_eq(client_core_stream(s->core), STREAM);
    ck_assert(!client_core_caught_up(s->core));
    script_free(s);
}
END_TEST

START_TEST(nobody_in_particular_proves_nothing_and_can_not_publish)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    client_core_destroy(s->core);
    s->edge.has_key = false;
    make_core(s);
    subscribe(s, "/a");
    ck_assert_ptr_null(client_core_add_pipe(s->core, "me", s->error));
    ck_assert_ptr_nonnull(strstr(s->error, "needs a key"));
    begin(s);
    tell(s, 4, "one");
    flush(s);
    saw(s, 0, 4, "one");
    script_free(s);
}
END_TEST

START_TEST(names_of_publishers_are_checked)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    ck_assert_ptr_null(client_core_add_pipe(s->core, "nineteen-bytes-long", s->error));
    ck_assert_ptr_nonnull(strstr(s->error, "1 to 18"));
    ck_assert_ptr_null(client_core_add_pipe(s->core, "", s->error));
    ck_assert_ptr_null(client_core_add_pipe(s->core, "two words", s->error));
    ck_assert_ptr_nonnull(client_core_add_pipe(s->core, "eighteen-bytes-lon", s->error));
    script_free(s);
}
END_TEST

START_TEST(who_does_not_let_us_in_is_left_for_the_next)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    subscribe(s, "/a");
    wait_connect(s);
    struct port_addr first = s->to;
    cut(s); /* refused */
    wait_connect(s);
    ck_assert(!port_addr_equal(first, s->to));
    /* It says nothing at all. */
    s->now.mono_ns += 16 * SECOND;
    step(s);
    ck_assert(is_gone(s));
    wait_connect(s);
    ck_assert(port_addr_equal(first, s->to));
    SAY(s, closing, .reason = EDGE_CLOSING_QUOTA, .text = "too many of you");
    flush(s);
    ck_assert(is_gone(s));
    wait_connect(s);
    SAY(s, welcome, .version = 9, .stream = STREAM);
    flush(s);
    ck_assert(is_gone(s));
    begin(s);
    /* Another stream is not what we came for. */
    cut(s);
    wait_connect(s);
    struct edge_hello h;
    HEAR(s, hello, EDGE_HELLO, &h);
    ck_assert_uint_eq(h.stream, STREAM);
    SAY(s, welcome, .version = EDGE_VERSION, .stream = STREAM + 1);
    flush(s);
    ck_assert(is_gone(s));
    ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    ck_assert_ptr_nonnull(reported(s, CANTUS_REPORT_HINT));
    script_free(s);
}
END_TEST

START_TEST(a_key_that_nobody_lets_in_ends_the_client)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    subscribe(s, "/a");
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
        wait_connect(s);
        SAY(s, closing, .reason = EDGE_CLOSING_IDENTITY, .text = "");
        flush(s);
    }
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "key"));
    script_free(s);
}
END_TEST

START_TEST(rests_between_connections_grow_and_are_not_alike)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    subscribe(s, "/a");
    uint64_t rests[24], before;
    for (int i = 0; i < 24; i++) {
        wait_connect(s);
        before = s->now.mono_ns;
        cut(s);
        rests[i] = s->deadline > before && s->stream == 0 ? s->deadline - before : 0;
    }
    ck_assert_uint_eq(rests[0], 0); /* the other proxy at once */
    ck_assert_uint_lt(rests[1], 200 * MS);
    for (int i = 20; i < 24; i++) {
        ck_assert_uint_ge(rests[i], 2500 * MS);
        ck_assert_uint_le(rests[i], 7500 * MS);
    }
    ck_assert(rests[20] != rests[21] && rests[22] != rests[23]);
    script_free(s);
}
END_TEST

/* ---- reading --------------------------------------------------------------------------------- */

START_TEST(messages_come_in_order_with_their_names)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    subscribe(s, "/a");
    begin(s);
    tell(s, 4, "one");
    tell(s, 9, "two");
    tell(s, 5000, "three"); /* a block later */
    flush_pieces(s, 1);
    ck_assert_uint_eq(s->seen_count, 3);
    saw(s, 0, 4, "one");
    saw(s, 1, 9, "two");
    saw(s, 2, 5000, "three");
    ck_assert_str_eq(s->seen[2].topic, "/a/b");
    ck_assert_str_eq(s->seen[2].publisher, "other");
    ck_assert_uint_eq(s->seen[2].publisher_seq, 5000);
    ck_assert_uint_eq(client_core_seq(s->core), 5000);
    ck_assert(client_core_caught_up(s->core));
    ck_assert_uint_eq(stats(s).violations, 0);
    script_free(s);
}
END_TEST

START_TEST(a_frame_of_a_megabyte_arrives_in_pieces)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    subscribe(s, "/a");
    begin(s);
    static uint8_t payload[1 << 20];
    memset(payload, 'x', sizeof payload);
    tell(s, 3, "before");
    SAY(s, message, .seq = 4, .previous = 3, .timestamp_ns = 4000, .topic = 17, .publisher = 3,
        .publisher_seq = 1, .payload = payload, .length = sizeof payload);
    s->last = 4;
    tell(s, 5, "behind");
    flush_pieces(s, 100 * 1000);
    ck_assert_uint_eq(s->seen_count, 3);
    ck_assert_uint_eq(s->seen[1].length, sizeof payload);
    saw(s, 2, 5, "behind");
    script_free(s);
}
END_TEST

START_TEST(another_connection_goes_on_behind_the_last_message)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    subscribe(s, "/a");
    begin(s);
    tell(s, 4, "one");
    tell(s, 9, "two");
    s->said_end -= 1; /* the last byte is lost */
    flush(s);
    ck_assert_uint_eq(s->seen_count, 1);
    cut(s);
    ck_assert(!client_core_caught_up(s->core));
    let_in(s, 12, 12);
    struct edge_subscribe r = subscribed(s);
    ck_assert_uint_eq(r.position.seq, 4);
    ck_assert(epoch_equal(r.position.epoch, first_epoch));
    /* In the middle of a block: what was before is named, and known names are said. */
    name_it(s, EDGE_NAME_TOPIC, 17, "/a/b");
    name_it(s, EDGE_NAME_PUBLISHER, 3, "other");
    s->last = 4;
    tell(s, 9, "two");
    SAY(s, progress, .through = 20, .previous = 9, .stable = 18, .timestamp_ns = 20000);
    flush(s);
    ck_assert_uint_eq(s->seen_count, 2);
    saw(s, 1, 9, "two");
    ck_assert(client_core_caught_up(s->core));
    ck_assert_uint_eq(client_core_seq(s->core), 20);
    ck_assert_uint_eq(client_core_stable(s->core), 18);
    cut(s);
    let_in(s, 30, 30);
    ck_assert_uint_eq(subscribed(s).position.seq, 20);
    /* A progress inside of the block, and one at its end, the same match behind. */
    name_it(s, EDGE_NAME_TOPIC, 17, "/a/b");
    SAY(s, progress, .through = 25, .previous = 9, .stable = 24, .timestamp_ns = 25000);
    SAY(s, progress, .through = 4095, .previous = 9, .stable = 30, .timestamp_ns = 30000);
    s->block = 1;
    s->last = 0;
    tell(s, 4099, "three");
    flush(s);
    saw(s, 2, 4099, "three");
    ck_assert_uint_eq(stats(s).violations, 0);
    script_free(s);
}
END_TEST

/* Each of these, behind messages 4 and 9, ends the connection, with nothing handed over. */
static void lie(struct script *s, int which)
{
    const uint8_t *x = (const uint8_t *)"x";
    switch (which) {
    case 0: /* a gap */
        SAY(s, message, .seq = 12, .previous = 11, .timestamp_ns = 12000, .topic = 17,
            .publisher = 3, .publisher_seq = 1, .payload = x, .length = 1);
        break;
    case 1: /* the same again */
        SAY(s, message, .seq = 9, .previous = 4, .timestamp_ns = 12000, .topic = 17, .publisher = 3,
            .publisher_seq = 1, .payload = x, .length = 1);
        break;
    case 2: /* as if it were the block's first, which 9 is not covered for */
        SAY(s, message, .seq = 12, .previous = 0, .timestamp_ns = 12000, .topic = 17,
            .publisher = 3, .publisher_seq = 1, .payload = x, .length = 1);
        break;
    case 3: /* back in time */
        SAY(s, message, .seq = 12, .previous = 9, .timestamp_ns = 8999, .topic = 17, .publisher = 3,
            .publisher_seq = 1, .payload = x, .length = 1);
        break;
    case 4: /* a topic that was not introduced */
        SAY(s, message, .seq = 12, .previous = 9, .timestamp_ns = 12000, .topic = 18,
            .publisher = 3, .publisher_seq = 1, .payload = x, .length = 1);
        break;
    case 5: /* a publisher */
        SAY(s, message, .seq = 12, .previous = 9, .timestamp_ns = 12000, .topic = 17,
            .publisher = 4, .publisher_seq = 1, .payload = x, .length = 1);
        break;
    case 6: /* progress with a match that did not come */
        SAY(s, progress, .through = 20, .previous = 15, .stable = 1, .timestamp_ns = 20000);
        break;
    case 7: /* progress without the one that came */
        SAY(s, progress, .through = 20, .previous = 4, .stable = 1, .timestamp_ns = 20000);
        break;
    case 8: /* progress backwards */
        SAY(s, progress, .through = 8, .previous = 4, .stable = 1, .timestamp_ns = 20000);
        break;
    case 9: /* an epoch backwards */
        SAY(s, epoch, .epoch = { .number = 1, .candidate = 77 }, .first_seq = 12);
        break;
    case 10:
        SAY(s, epoch, .epoch = second_epoch, .first_seq = 9);
        break;
    case 11: /* what a client says */
        s->said_end +=
            edge_open_encode(&(struct edge_open) { .name = "x" }, s->said + s->said_end, 100);
        break;
    case 12:
        SAY(s, changed, .seq = 12);
        break;
    case 13:
        SAY(s, subscribed, .position = at(first_epoch, 9));
        break;
    case 14:
        SAY(s, opened, .publisher = 1, .incarnation = 1, .join_seq = 9);
        break;
    case 15:
        SAY(s, outcome, .publisher = 1, .number = 1, .count = 1, .seq = 12);
        break;
    case 16:
        SAY(s, superseded, .publisher = 1, .incarnation = 1, .join_seq = 9);
        break;
    case 17:
        SAY(s, refused, .request = EDGE_PUBLISH, .reason = EDGE_REFUSED_NUMBER, .publisher = 1);
        break;
    case 18: /* garbage: a type that is none */
        memcpy(s->said + s->said_end, "\1\0\0\0\x63", 5);
        s->said_end += 5;
        break;
    case 19: /* a length that can't be */
        memset(s->said + s->said_end, 0xff, 5);
        s->said_end += 5;
        break;
    case 20: /* a body that is too short */
        memcpy(s->said + s->said_end, "\2\0\0\0\x16\0", 6);
        s->said_end += 6;
        break;
    case 21:
        SAY(s, welcome, .version = EDGE_VERSION, .stream = STREAM);
        break;
    case 22:
        SAY(s, accepted, .fragment_bytes = 1, .window = 1);
        break;
    default:
        break;
    }
}

START_TEST(whatever_does_not_add_up_ends_the_connection)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    subscribe(s, "/a");
    begin(s);
    tell(s, 4, "one");
    tell(s, 9, "two");
    lie(s, _i);
    tell(s, 13, "never");
    flush(s);
    ck_assert(is_gone(s));
    ck_assert_uint_eq(s->seen_count, 2);
    ck_assert_uint_eq(stats(s).violations, 1);
    /* And nothing is lost by it. */
    let_in(s, 20, 20);
    ck_assert_uint_eq(subscribed(s).position.seq, 9);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    script_free(s);
}
END_TEST

START_TEST(garbage_at_any_place_does_no_harm)
{
    uint64_t random = (uint64_t)_i * 977 + 1;
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    subscribe(s, "/a");
    ck_assert_ptr_nonnull(client_core_add_pipe(s->core, "me", s->error));
    for (int round = 0; round < 20; round++) {
        begin(s);
        s->said_end = 0;
        tell(s, client_core_seq(s->core) + 2, "x");
        SAY(s, progress, .through = s->last + 5, .previous = s->last, .stable = 5,
            .timestamp_ns = s->last * 1000 + 1);
        for (int i = 0; i < 3; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            s->said[random % s->said_end] = (uint8_t)(random >> 40);
        }
        flush_pieces(s, 7);
        if (s->stream != 0)
            cut(s);
        if (client_core_status(s->core) != CANTUS_OK)
            break; /* a position at the end of time */
        if (client_core_seq(s->core) > UINT64_MAX / 2)
            break;
    }
    script_free(s);
}
END_TEST

START_TEST(more_names_than_a_block_can_have_end_the_connection)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    subscribe(s, "/a");
    begin(s);
    uint32_t id = 17;
    while (s->stream != 0 && id < 50000) {
        name_it(s, EDGE_NAME_TOPIC, id++, "/a/b");
        if (s->said_end > SAID_MAX / 2)
            flush(s);
        if (id % 1000 == 0)
            flush(s);
    }
    ck_assert_uint_gt(id, 2 * EDGE_BLOCK);
    ck_assert_uint_lt(id, 50000);
    begin(s);
    /* Nor do ever new words for one. */
    char text[250] = "/a/";
    memset(text + 3, 'y', 200);
    for (id = 0; s->stream != 0 && id < 50000; id++) {
        snprintf(text + 203, 20, "%u", id);
        name_it(s, EDGE_NAME_TOPIC, 17, text);
        if (id % 1000 == 0)
            flush(s);
    }
    ck_assert_uint_lt(id, 50000);
    script_free(s);
}
END_TEST

START_TEST(nothing_is_delivered_above_until_seq)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    client_core_destroy(s->core);
    s->until_seq = 7;
    make_core(s);
    subscribe(s, "/a");
    begin(s);
    tell(s, 4, "one");
    flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    tell(s, 9, "two");
    flush(s);
    ck_assert_uint_eq(s->seen_count, 1);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_END);
    ck_assert_uint_eq(client_core_seq(s->core), 7);
    SAY(s, forked, .common = at(first_epoch, 8));
    flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_END);
    SAY(s, forked, .common = at(first_epoch, 5));
    SAY(s, epoch, .epoch = second_epoch, .first_seq = 6);
    flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    s->last = 4;
    tell(s, 7, "other two");
    flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_END);
    saw(s, 1, 7, "other two");
    script_free(s);
}
END_TEST

START_TEST(it_says_that_it_lives)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    subscribe(s, "/a");
    begin(s);
    ck_assert(hears_nothing(s));
    s->now.mono_ns += 14 * SECOND;
    ck_assert(hears_nothing(s));
    s->now.mono_ns = s->deadline;
    size_t length;
    hear(s, EDGE_ALIVE, &length);
    ck_assert(hears_nothing(s));
    s->said_end += edge_alive_encode(s->said + s->said_end, SAID_MAX - s->said_end);
    flush(s);
    /* And who does not answer is given up. */
    uint32_t stream = s->stream;
    for (int i = 0; i < 3; i++) {
        s->now.mono_ns += 15 * SECOND;
        hear(s, EDGE_ALIVE, &length);
    }
    ck_assert_uint_eq(s->stream, stream);
    s->now.mono_ns += 15 * SECOND;
    step(s);
    ck_assert(is_gone(s));
    script_free(s);
}
END_TEST

/* ---- refusals of what is asked for ------------------------------------------------------------ */

START_TEST(a_subscription_that_is_not_permitted_ends_the_client)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    subscribe(s, "/a");
    let_in(s, 10, 10);
    SAY(s, refused, .request = EDGE_SUBSCRIBE, .reason = EDGE_REFUSED_RIGHT, .right = ACCESS_READ,
        .subject = "/a", .text = "ask the administrator");
    flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "\"/a\": not permitted"));
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "read"));
    ck_assert(is_gone(s));
    script_free(s);
}
END_TEST

START_TEST(history_that_is_gone_is_lost)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    subscribe(s, "/a");
    let_in(s, 10, 10);
    SAY(s, refused, .request = EDGE_SUBSCRIBE, .reason = EDGE_REFUSED_HISTORY,
        .text = "the oldest is 5000");
    flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_LOST);
    ck_assert_ptr_nonnull(reported(s, CANTUS_REPORT_LOST));
    script_free(s);
}
END_TEST

START_TEST(a_quota_is_waited_for)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    subscribe(s, "/a");
    let_in(s, 10, 10);
    SAY(s, refused, .request = EDGE_SUBSCRIBE, .reason = EDGE_REFUSED_QUOTA, .subject = "/a");
    flush(s);
    ck_assert(is_gone(s));
    ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    ck_assert_uint_eq(stats(s).violations, 0);
    begin(s);
    script_free(s);
}
END_TEST

START_TEST(at_stable_a_volatile_stream_is_none)
{
    struct script *s = script_new(FOLLOWER_STABLE);
    subscribe(s, "/a");
    wait_connect(s);
    SAY(s, welcome, .version = EDGE_VERSION, .stream = STREAM);
    SAY(s, accepted, .fragment_bytes = 1000, .window = 64, .is_volatile = true);
    flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "volatile"));
    script_free(s);
}
END_TEST

/* ---- publishing ------------------------------------------------------------------------------ */

static struct edge_open opened(struct script *s, uint64_t last, uint64_t join_seq)
{
    struct edge_open o;
    HEAR(s, open, EDGE_OPEN, &o);
    SAY(s, opened, .publisher = 12, .incarnation = o.wanted != 0 ? o.wanted : 3,
        .last_number = last, .join_seq = join_seq);
    flush(s);
    return o;
}

static void heard_item(struct script *s, uint64_t number, const char *payload)
{
    struct edge_publish p;
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.publisher, 12);
    ck_assert_uint_eq(p.number, number);
    ck_assert_uint_eq(p.length, strlen(payload));
    ck_assert_mem_eq(p.payload, payload, p.length);
    ck_assert(p.topic_length == 4 && memcmp(p.topic, "/a/b", 4) == 0);
}

static void outcome(struct script *s, uint64_t number, uint32_t count, uint64_t seq, uint8_t reason)
{
    SAY(s, outcome, .publisher = 12, .number = number, .count = count, .seq = seq, .reason = reason,
        .stable = seq - 1);
    flush(s);
}

static void push(struct script *s, struct cantus_pipe *pipe, const char *text)
{
    ck_assert(cantus_pipe_push(pipe, "/a/b", text, strlen(text)));
    step(s);
}

START_TEST(a_pipe_is_exactly_once_over_reconnects)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    begin(s); /* no subtree: from the tip */
    ck_assert(!cantus_pipe_ready(pipe));
    struct edge_open o = opened(s, 5, 11);
    ck_assert_str_eq(o.name, "me");
    ck_assert_uint_eq(o.wanted, 0);
    ck_assert(cantus_pipe_ready(pipe));
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 5);
    push(s, pipe, "six");
    push(s, pipe, "seven");
    push(s, pipe, "eight");
    heard_item(s, 6, "six");
    heard_item(s, 7, "seven");
    heard_item(s, 8, "eight");
    ck_assert(hears_nothing(s));
    s->now.mono_ns += 5 * SECOND;
    ck_assert(hears_nothing(s)); /* no retries */
    outcome(s, 6, 1, 13, 0);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 6);
    ck_assert_uint_eq(cantus_pipe_last_seq(pipe), 13);
    /* Seven is in the stream, but nobody has told. */
    cut(s);
    ck_assert(!cantus_pipe_ready(pipe));
    ck_assert(!cantus_pipe_push(pipe, "/a/b", "no", 2));
    let_in(s, 20, 20);
    struct edge_subscribe r = subscribed(s);
    ck_assert_uint_eq(r.position.seq, 13);
    struct edge_open again = opened(s, 7, 21);
    ck_assert_uint_eq(again.wanted, 4);
    ck_assert_uint_ne(again.nonce, o.nonce);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 7);
    heard_item(s, 8, "eight");
    ck_assert(hears_nothing(s));
    outcome(s, 8, 1, 23, 0);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 8);
    ck_assert_uint_eq(cantus_pipe_in_flight(pipe), 0);
    ck_assert_uint_eq(stats(s).violations, 0);
    script_free(s);
}
END_TEST

START_TEST(an_open_without_an_answer_is_asked_again_with_its_nonce)
{
    struct script *s = script_new(FOLLOWER_STABLE);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    begin(s);
    struct edge_open first, again;
    HEAR(s, open, EDGE_OPEN, &first);
    cut(s);
    begin(s);
    HEAR(s, open, EDGE_OPEN, &again);
    ck_assert_uint_eq(first.nonce, again.nonce);
    ck_assert_uint_eq(again.wanted, 0);
    SAY(s, opened, .publisher = 12, .incarnation = 1, .last_number = 0, .join_seq = 12);
    flush(s);
    ck_assert(cantus_pipe_ready(pipe));
    script_free(s);
}
END_TEST

START_TEST(outcomes_from_before_a_reconnect_count_once)
{
    struct script *s = script_new(FOLLOWER_STABLE);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    begin(s);
    opened(s, 0, 11);
    push(s, pipe, "one");
    push(s, pipe, "two");
    heard_item(s, 1, "one");
    heard_item(s, 2, "two");
    cut(s);
    begin(s);
    outcome(s, 1, 1, 14, 0); /* in the order of the stream, before the join */
    ck_assert_uint_eq(cantus_pipe_in_flight(pipe), 1);
    opened(s, 1, 15);
    outcome(s, 1, 1, 16, 0); /* nothing new */
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 1);
    heard_item(s, 2, "two");
    outcome(s, 2, 1, 17, 0);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 2);
    ck_assert_uint_eq(stats(s).violations, 0);
    script_free(s);
}
END_TEST

START_TEST(outcomes_out_of_turn_end_the_connection)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    begin(s);
    opened(s, 0, 11);
    push(s, pipe, "one");
    push(s, pipe, "two");
    outcome(s, _i == 0 ? 2 : 1, _i == 0 ? 1 : 3, 13, 0);
    ck_assert(is_gone(s));
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 0);
    ck_assert_uint_eq(stats(s).violations, 1);
    script_free(s);
}
END_TEST

START_TEST(openings_that_can_not_be_end_the_connection)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    begin(s);
    opened(s, 4, 11);
    push(s, pipe, "five");
    outcome(s, 5, 1, 13, 0);
    push(s, pipe, "six");
    cut(s);
    begin(s);
    struct edge_open o;
    HEAR(s, open, EDGE_OPEN, &o);
    static const struct edge_opened wrong[] = {
        { .publisher = 13, .incarnation = 4, .last_number = 5, .join_seq = 20 }, /* another's */
        { .publisher = 12, .incarnation = 3, .last_number = 5, .join_seq = 20 }, /* as before */
        { .publisher = 12, .incarnation = 4, .last_number = 4, .join_seq = 20 }, /* has forgotten */
        { .publisher = 12, .incarnation = 4, .last_number = 7, .join_seq = 20 }, /* not sent */
    };
    s->said_end = edge_opened_encode(&wrong[_i], s->said, SAID_MAX);
    flush(s);
    ck_assert(is_gone(s));
    ck_assert_uint_eq(stats(s).violations, 1);
    script_free(s);
}
END_TEST

START_TEST(the_window_and_the_room_of_the_stream_are_respected)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    begin(s);
    opened(s, 0, 11);
    for (int i = 0; i < 64; i++)
        push(s, pipe, "x");
    ck_assert(!cantus_pipe_push(pipe, "/a/b", "x", 1));
    for (uint64_t i = 1; i <= 64; i++)
        heard_item(s, i, "x");
    outcome(s, 1, 1, 13, 0);
    push(s, pipe, "y");
    ck_assert(!cantus_pipe_push(pipe, "/a/b", "x", 1));
    heard_item(s, 65, "y");
    for (uint64_t i = 2; i <= 65; i++)
        outcome(s, i, 1, 12 + i, 0);
    /* A large one, a few bytes at a time; it takes a number for each 1000 bytes. */
    static char large[60001];
    memset(large, 'z', sizeof large - 1);
    s->room = 777;
    push(s, pipe, large);
    for (int i = 0; i < 200; i++)
        event(s, PORT_STREAM_ROOM, NULL, 0);
    s->room = HEARD_MAX;
    heard_item(s, 66, large);
    push(s, pipe, "last");
    heard_item(s, 126, "last");
    outcome(s, 66, 60, 200, 0);
    outcome(s, 126, 1, 201, 0);
    ck_assert_uint_eq(cantus_pipe_in_flight(pipe), 0);
    script_free(s);
}
END_TEST

START_TEST(who_is_superseded_stops_once_that_is_stable)
{
    bool stable = _i >= 2;
    struct script *s = script_new(stable ? FOLLOWER_STABLE : FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    begin(s);
    opened(s, 0, 11);
    if (_i % 2 == 1) { /* found when it comes back */
        cut(s);
        begin(s);
        struct edge_open o;
        HEAR(s, open, EDGE_OPEN, &o);
    }
    SAY(s, superseded, .publisher = 12, .incarnation = 9, .join_seq = 15);
    flush(s);
    ck_assert(!cantus_pipe_push(pipe, "/a/b", "x", 1));
    if (!stable) {
        ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
        SAY(s, progress, .through = 18, .stable = 14, .timestamp_ns = 1);
        flush(s);
        ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
        SAY(s, progress, .through = 19, .stable = 15, .timestamp_ns = 1);
        flush(s);
    }
    ck_assert_int_eq(client_core_status(s->core), CANTUS_SUPERSEDED);
    ck_assert_ptr_nonnull(reported(s, CANTUS_REPORT_SUPERSEDED));
    ck_assert_uint_ne(s->stream, 0); /* it follows on */
    cut(s);
    begin(s);
    ck_assert(hears_nothing(s)); /* and does not come back */
    script_free(s);
}
END_TEST

START_TEST(a_fork_takes_back_what_superseded)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    begin(s);
    opened(s, 0, 11);
    SAY(s, superseded, .publisher = 12, .incarnation = 9, .join_seq = 15);
    flush(s);
    ck_assert(hears_nothing(s));
    SAY(s, forked, .common = at(first_epoch, 13));
    SAY(s, epoch, .epoch = second_epoch, .first_seq = 14);
    flush(s);
    ck_assert_uint_eq(opened(s, 0, 15).wanted, 4);
    ck_assert(cantus_pipe_ready(pipe));
    ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    script_free(s);
}
END_TEST

START_TEST(a_pipe_that_may_not_write_ends_the_client)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    begin(s);
    opened(s, 0, 11);
    push(s, pipe, "one");
    SAY(s, refused, .request = EDGE_PUBLISH, .reason = EDGE_REFUSED_RIGHT, .right = ACCESS_WRITE,
        .publisher = 12, .number = 1, .subject = "/a/b");
    flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "\"/a/b\": not permitted"));
    script_free(s);
}
END_TEST

START_TEST(several_publishers_are_opened_one_after_the_other)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *a = client_core_add_pipe(s->core, "a", s->error);
    struct cantus_pipe *b = client_core_add_pipe(s->core, "b", s->error);
    begin(s);
    struct edge_open o;
    HEAR(s, open, EDGE_OPEN, &o);
    ck_assert_str_eq(o.name, "a");
    ck_assert(hears_nothing(s));
    SAY(s, opened, .publisher = 20, .incarnation = 1, .last_number = 0, .join_seq = 12);
    flush(s);
    HEAR(s, open, EDGE_OPEN, &o);
    ck_assert_str_eq(o.name, "b");
    SAY(s, opened, .publisher = 21, .incarnation = 1, .last_number = 0, .join_seq = 13);
    flush(s);
    ck_assert(cantus_pipe_ready(a) && cantus_pipe_ready(b));
    push(s, b, "x");
    struct edge_publish p;
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.publisher, 21);
    script_free(s);
}
END_TEST

static uint64_t items_asked;
static const uint32_t item_lengths[] = { 10, 2500, 1000, 1001, 5 }; /* 1, 3, 1, 2, 1 numbers */

static bool next_item(void *ctx, uint64_t index, struct cantus_item *out)
{
    static char payload[4096];
    (void)ctx;
    items_asked++;
    if (index >= sizeof item_lengths / sizeof item_lengths[0])
        return false;
    *out =
        (struct cantus_item) { .topic = "/a/b", .payload = payload, .length = item_lengths[index] };
    return true;
}

START_TEST(an_injector_finds_its_place_by_numbers)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_injector *i =
        client_core_add_injector(s->core, "feed", next_item, NULL, s->error);
    begin(s);
    opened(s, 5, 11); /* the first three items */
    ck_assert_uint_eq(cantus_injector_sequenced(i), 3);
    struct edge_publish p;
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 6);
    ck_assert_uint_eq(p.length, 1001);
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 8);
    ck_assert_uint_eq(p.length, 5);
    ck_assert(hears_nothing(s));
    outcome(s, 6, 2, 14, 0);
    ck_assert_uint_eq(cantus_injector_sequenced(i), 4);
    cut(s);
    begin(s);
    opened(s, 8, 30);
    ck_assert_uint_eq(cantus_injector_sequenced(i), 5);
    ck_assert(hears_nothing(s));
    script_free(s);
}
END_TEST

/* ---- apps ------------------------------------------------------------------------------------ */

struct count {
    uint64_t count, goal, fired, fired_at;
    struct cantus_timers *timers;
};

static bool count_init(void *state, const char *config, struct cantus_timers *timers)
{
    struct count *c = state;
    c->goal = strtoull(config, NULL, 10);
    c->timers = timers;
    return true;
}

static void count_apply(void *state, const struct cantus_message *m)
{
    struct count *c = state;
    c->count++;
    if (m->length > 5 && memcmp(m->payload, "timer", 5) == 0)
        cantus_timer_set(c->timers, 1, m->timestamp_ns + 5000);
}

static void count_timer(void *state, uint64_t id, uint64_t now_ns)
{
    struct count *c = state;
    (void)id;
    c->fired = now_ns;
    c->fired_at = c->count;
}

static bool count_next(const void *state, struct cantus_proposal *p)
{
    const struct count *c = state;
    if (c->count >= c->goal)
        return false;
    p->topic = "/a/b";
    p->payload = "inc";
    p->length = 3;
    p->condition_topic = "/a/c";
    p->condition_after = c->count;
    return true;
}

static uint64_t count_digest(const void *state)
{
    const struct count *c = state;
    const uint64_t fields[] = { c->count, c->fired, c->fired_at };
    return cantus_hash(0, fields, sizeof fields);
}

static const char *const count_topics[] = { "/a", NULL };
static const struct cantus_app count_app = { .abi = CANTUS_APP_ABI,
                                             .name = "count",
                                             .topics = count_topics,
                                             .state_size = sizeof(struct count),
                                             .init = count_init,
                                             .apply = count_apply,
                                             .timer = count_timer,
                                             .next = count_next,
                                             .digest = count_digest };

static struct machine *add(struct script *s, const char *goal, const char *identity)
{
    struct machine *m = client_core_add_app(s->core, &count_app, goal, identity, s->error);
    ck_assert_msg(m != NULL, "%s", s->error);
    return m;
}

START_TEST(timers_fire_with_messages_and_with_progress)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    const struct count *c = machine_state_const(add(s, "0", NULL));
    let_in(s, 10, 10);
    ck_assert_uint_eq(subscribed(s).tick_ms, 1); /* each tick of the stream */
    tell(s, 4, "timer");                         /* due at 9000: sequenced at 4000 */
    tell(s, 5, "timer!");
    flush(s);
    SAY(s, progress, .through = 8, .previous = 5, .stable = 1, .timestamp_ns = 9999);
    flush(s);
    ck_assert_uint_eq(c->fired, 0); /* due at 10000 */
    SAY(s, progress, .through = 9, .previous = 5, .stable = 1, .timestamp_ns = 10000);
    flush(s);
    ck_assert_uint_eq(c->fired, 10000);
    ck_assert_uint_eq(c->fired_at, 2);
    tell(s, 11, "timer!"); /* due at 16000 */
    tell(s, 16, "x");      /* fires before it */
    flush(s);
    ck_assert_uint_eq(c->fired, 16000);
    ck_assert_uint_eq(c->fired_at, 3);
    script_free(s);
}
END_TEST

START_TEST(an_app_proposes_when_it_has_caught_up_and_is_told_of_refusals)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct machine *m = add(s, "3", "me");
    begin(s);
    tell(s, 4, "one");
    flush(s);
    struct edge_open o;
    HEAR(s, open, EDGE_OPEN, &o);
    SAY(s, opened, .publisher = 12, .incarnation = 1, .last_number = 0, .join_seq = 12);
    flush(s);
    struct edge_publish p;
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 1);
    ck_assert_uint_eq(p.position.seq, 12); /* what OPENED says that it has applied */
    ck_assert(epoch_equal(p.position.epoch, first_epoch));
    ck_assert(p.conditional && p.condition_after == 1);
    ck_assert(p.condition_topic_length == 4 && memcmp(p.condition_topic, "/a/c", 4) == 0);
    SAY(s, refused, .request = EDGE_PUBLISH, .reason = EDGE_REFUSED_RIGHT, .right = ACCESS_WRITE,
        .publisher = 12, .number = 1, .subject = "/a/b");
    flush(s);
    const struct rig_report *r = reported(s, CANTUS_REPORT_REJECTED);
    ck_assert_ptr_nonnull(r);
    ck_assert_str_eq(r->topic, "/a/b");
    ck_assert_ptr_nonnull(strstr(r->text, "right to write"));
    ck_assert(hears_nothing(s)); /* until something changes */
    tell(s, 13, "two");
    flush(s);
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 1); /* it was free again */
    ck_assert_uint_eq(p.position.seq, 13);
    /* A reject of the stream's consumes it. */
    SAY(s, outcome, .publisher = 12, .number = 1, .count = 1, .seq = 15, .reason = REJECT_CONDITION,
        .detail = 13);
    flush(s);
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 2);
    r = reported(s, CANTUS_REPORT_REJECTED);
    ck_assert_uint_eq(r->r.seq, 15);
    ck_assert_str_eq(r->topic, "/a/b");
    char identity[64] = "@", key[ACCESS_KEY_TEXT + 1];
    access_key_write(s->edge.key, key);
    snprintf(identity, sizeof identity, "@%s:me", key);
    ck_assert_str_eq(r->identity, identity);
    ck_assert_uint_eq(((const struct count *)machine_state_const(m))->count, 2);
    ck_assert(!client_core_publish_digests(s->core, m, NULL, 0, s->error));
    ck_assert_ptr_nonnull(strstr(s->error, "core network"));
    script_free(s);
}
END_TEST

START_TEST(a_fork_rebuilds_the_apps_over_a_new_connection)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct machine *m = add(s, "0", NULL);
    subscribe(s, "/a");
    begin(s);
    for (uint64_t seq = 4; seq < 12; seq++)
        tell(s, seq, "old");
    flush(s);
    uint32_t stream = s->stream;
    struct port_addr to = s->to;
    SAY(s, forked, .common = at(first_epoch, 9));
    flush(s);
    const struct rig_report *r = reported(s, CANTUS_REPORT_FORKED);
    ck_assert_ptr_nonnull(r);
    ck_assert_uint_eq(r->r.seq, 10);
    ck_assert_uint_eq(((const struct count *)machine_state_const(m))->count, 0);
    begin(s);
    ck_assert_uint_ne(s->stream, stream);
    ck_assert(port_addr_equal(to, s->to)); /* there is nothing wrong with it */
    for (uint64_t seq = 4; seq < 10; seq++)
        tell(s, seq, "old");
    SAY(s, epoch, .epoch = second_epoch, .first_seq = 10);
    tell(s, 11, "new");
    flush(s);
    ck_assert_uint_eq(((const struct count *)machine_state_const(m))->count, 7);
    ck_assert_ptr_nonnull(reported(s, CANTUS_REPORT_REBUILT));
    ck_assert_uint_eq(s->seen_count, 9); /* the subscription was not told twice */
    saw(s, 8, 11, "new");
    ck_assert_uint_eq(stats(s).violations, 0);
    script_free(s);
}
END_TEST

START_TEST(a_second_fork_during_the_rebuild_is_found)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    add(s, "0", NULL);
    subscribe(s, "/a");
    begin(s);
    tell(s, 4, "old");
    SAY(s, epoch, .epoch = second_epoch, .first_seq = 6);
    for (uint64_t seq = 7; seq < 12; seq++)
        tell(s, seq, "old");
    flush(s);
    SAY(s, forked, .common = at(second_epoch, 9));
    flush(s);
    ck_assert_uint_eq(reported(s, CANTUS_REPORT_FORKED)->r.seq, 10);
    begin(s);
    tell(s, 4, "old");
    flush(s);
    /* What was told of 6 to 9 does not hold either: another epoch began at 5. */
    SAY(s, epoch, .epoch = { .number = 3, .candidate = 33 }, .first_seq = 5);
    tell(s, 7, "new");
    flush(s);
    ck_assert_uint_eq(reported(s, CANTUS_REPORT_FORKED)->r.seq, 5);
    saw(s, s->seen_count - 1, 7, "new");
    ck_assert_uint_eq(s->seen_count, 7);
    script_free(s);
}
END_TEST

START_TEST(without_apps_a_fork_goes_on_where_it_is)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    subscribe(s, "/a");
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    begin(s);
    opened(s, 0, 11);
    tell(s, 12, "old");
    flush(s);
    push(s, pipe, "one");
    push(s, pipe, "two");
    heard_item(s, 1, "one");
    heard_item(s, 2, "two");
    outcome(s, 1, 1, 14, 0);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 1);
    SAY(s, forked, .common = at(first_epoch, 13));
    SAY(s, epoch, .epoch = second_epoch, .first_seq = 14);
    flush(s);
    ck_assert_uint_eq(reported(s, CANTUS_REPORT_FORKED)->r.seq, 14);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 0);
    ck_assert_uint_eq(cantus_pipe_in_flight(pipe), 2);
    ck_assert(hears_nothing(s)); /* the proxy has them */
    outcome(s, 1, 1, 15, 0);
    outcome(s, 2, 1, 16, 0);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 2);
    tell(s, 17, "new");
    flush(s);
    saw(s, s->seen_count - 1, 17, "new");
    ck_assert_ptr_nonnull(reported(s, CANTUS_REPORT_REBUILT));
    ck_assert_uint_eq(stats(s).violations, 0);
    ck_assert_uint_eq(s->streams, 1);
    script_free(s);
}
END_TEST

START_TEST(a_position_that_is_off_the_history_is_told)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    subscribe(s, "/a");
    begin(s);
    tell(s, 4, "one");
    tell(s, 9, "two");
    flush(s);
    cut(s);
    let_in(s, 20, 20);
    struct edge_subscribe r;
    HEAR(s, subscribe, EDGE_SUBSCRIBE, &r);
    ck_assert_uint_eq(r.position.seq, 9);
    if (_i == 0)
        SAY(s, forked, .common = at(first_epoch, 6));
    SAY(s, subscribed, .position = at(first_epoch, 6));
    if (_i == 1)
        SAY(s, forked, .common = at(first_epoch, 6));
    SAY(s, epoch, .epoch = second_epoch, .first_seq = 7);
    tell(s, 8, "other two");
    flush(s);
    ck_assert_uint_eq(reported(s, CANTUS_REPORT_FORKED)->r.seq, 7);
    saw(s, 2, 8, "other two");
    ck_assert_uint_eq(stats(s).violations, 0);
    script_free(s);
}
END_TEST

START_TEST(an_app_decides_again_after_a_fork)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    add(s, "3", "me");
    begin(s);
    tell(s, 4, "one");
    flush(s);
    opened(s, 0, 12);
    struct edge_publish p;
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.position.seq, 12);
    tell(s, 13, "two"); /* not the app's own */
    flush(s);
    SAY(s, forked, .common = at(first_epoch, 12));
    flush(s);
    let_in(s, 12, 12);
    subscribed(s);
    tell(s, 4, "one");
    flush(s);
    struct edge_open o = opened(s, 0, 20);
    ck_assert_uint_eq(o.wanted, 4);
    HEAR(s, publish, EDGE_PUBLISH, &p); /* authored at 12, which holds: sent again as it was */
    ck_assert_uint_eq(p.number, 1);
    ck_assert_uint_eq(p.position.seq, 12);
    /* And one whose position fell off is decided again. */
    SAY(s, forked, .common = at(first_epoch, 11));
    flush(s);
    let_in(s, 12, 12);
    subscribed(s);
    ck_assert_uint_eq(stats(s).violations, 0);
    opened(s, 0, 30);
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 1);
    ck_assert_uint_eq(p.position.seq, 30);
    ck_assert_uint_eq(p.condition_after, 0);
    script_free(s);
}
END_TEST

START_TEST(a_fork_of_what_was_stable_stops_the_client)
{
    struct script *s = script_new(FOLLOWER_STABLE);
    subscribe(s, "/a");
    begin(s);
    tell(s, 4, "one");
    tell(s, 9, "two");
    flush(s);
    SAY(s, forked, .common = at(first_epoch, 4));
    flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "was stable"));
    script_free(s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("edge");
    TCase *t = tcase_create("login");
    tcase_add_test(t, it_proves_its_key_and_subscribes_from_the_beginning);
    tcase_add_test(t, nobody_in_particular_proves_nothing_and_can_not_publish);
    tcase_add_test(t, names_of_publishers_are_checked);
    tcase_add_test(t, who_does_not_let_us_in_is_left_for_the_next);
    tcase_add_test(t, a_key_that_nobody_lets_in_ends_the_client);
    tcase_add_test(t, rests_between_connections_grow_and_are_not_alike);
    tcase_add_test(t, a_subscription_that_is_not_permitted_ends_the_client);
    tcase_add_test(t, history_that_is_gone_is_lost);
    tcase_add_test(t, a_quota_is_waited_for);
    tcase_add_test(t, at_stable_a_volatile_stream_is_none);
    suite_add_tcase(s, t);
    t = tcase_create("reading");
    tcase_add_test(t, messages_come_in_order_with_their_names);
    tcase_add_test(t, a_frame_of_a_megabyte_arrives_in_pieces);
    tcase_add_test(t, another_connection_goes_on_behind_the_last_message);
    tcase_add_loop_test(t, whatever_does_not_add_up_ends_the_connection, 0, 23);
    tcase_add_loop_test(t, garbage_at_any_place_does_no_harm, 0, 10);
    tcase_add_test(t, more_names_than_a_block_can_have_end_the_connection);
    tcase_add_test(t, nothing_is_delivered_above_until_seq);
    tcase_add_test(t, it_says_that_it_lives);
    suite_add_tcase(s, t);
    t = tcase_create("publishing");
    tcase_add_test(t, a_pipe_is_exactly_once_over_reconnects);
    tcase_add_test(t, an_open_without_an_answer_is_asked_again_with_its_nonce);
    tcase_add_test(t, outcomes_from_before_a_reconnect_count_once);
    tcase_add_loop_test(t, outcomes_out_of_turn_end_the_connection, 0, 2);
    tcase_add_loop_test(t, openings_that_can_not_be_end_the_connection, 0, 4);
    tcase_add_test(t, the_window_and_the_room_of_the_stream_are_respected);
    tcase_add_loop_test(t, who_is_superseded_stops_once_that_is_stable, 0, 4);
    tcase_add_test(t, a_fork_takes_back_what_superseded);
    tcase_add_test(t, a_pipe_that_may_not_write_ends_the_client);
    tcase_add_test(t, several_publishers_are_opened_one_after_the_other);
    tcase_add_test(t, an_injector_finds_its_place_by_numbers);
    suite_add_tcase(s, t);
    t = tcase_create("apps");
    tcase_add_test(t, timers_fire_with_messages_and_with_progress);
    tcase_add_test(t, an_app_proposes_when_it_has_caught_up_and_is_told_of_refusals);
    tcase_add_test(t, a_fork_rebuilds_the_apps_over_a_new_connection);
    tcase_add_test(t, a_second_fork_during_the_rebuild_is_found);
    tcase_add_test(t, without_apps_a_fork_goes_on_where_it_is);
    tcase_add_loop_test(t, a_position_that_is_off_the_history_is_told, 0, 2);
    tcase_add_test(t, an_app_decides_again_after_a_fork);
    tcase_add_test(t, a_fork_of_what_was_stable_stops_the_client);
    suite_add_tcase(s, t);
    return suite_main(s);
}
