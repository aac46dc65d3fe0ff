#include "script.h"

#include <stdio.h>

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

const struct rig_report *script_reported(const struct script *s, enum cantus_report_kind kind)
{
    for (uint32_t i = s->report_count; i-- > 0;) {
        if (s->reports[i].r.kind == kind)
            return &s->reports[i];
    }
    return NULL;
}

void script_sign(void *ctx, const uint8_t message[EDGE_SIGNED_SIZE],
                 uint8_t signature[EDGE_SIGNATURE_SIZE])
{
    (void)ctx;
    for (int i = 0; i < EDGE_SIGNATURE_SIZE; i++)
        signature[i] = (uint8_t)(message[i] ^ message[i + 64] ^ 0x5a);
}

void script_make_core(struct script *s)
{
    struct client_core_options o = { .follower = { .level = s->level },
                                     .edge = &s->edge,
                                     .until_seq = s->until_seq,
                                     .from = s->from,
                                     .from_ns = s->from_ns,
                                     .random = 7,
                                     .report = on_report,
                                     .ctx = s };
    s->core = client_core_create(&o, &s->port, s->now, s->error);
    ck_assert_msg(s->core != NULL, "%s", s->error);
    struct port_addr proxies[PROXIES] = { { 0x0a000001, 7000 }, { 0x0a000002, 7000 } };
    edge_set_proxies(client_core_edge(s->core), proxies, PROXIES);
}

struct script *script_new(enum follower_level level)
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
                                .sign = script_sign,
                                .random = 5 };
    memset(s->edge.key, 9, sizeof s->edge.key);
    script_make_core(s);
    return s;
}

void script_free(struct script *s)
{
    client_core_destroy(s->core);
    free(s->heard);
    free(s->said);
    free(s);
}

void script_subscribe(struct script *s, const char *subtree)
{
    ck_assert(client_core_subscribe(s->core, subtree, see, s, s->error));
}

void script_step(struct script *s)
{
    for (int i = 0; i < 3; i++)
        s->deadline = client_participant.step(s->core, s->now);
}

void script_event(struct script *s, enum port_stream_event_type type, const uint8_t *bytes,
                  size_t length)
{
    struct port_stream_event e = {
        .type = type, .stream = s->stream, .bytes = bytes, .length = length
    };
    size_t used = client_participant.on_stream(s->core, &e, s->now);
    ck_assert(type != PORT_STREAM_BYTES || used == length);
}

/* Hands over what was said, in pieces of `piece` bytes (0: in one). */
void script_flush_pieces(struct script *s, size_t piece)
{
    size_t end = s->said_end, at = 0;
    s->said_end = 0;
    uint32_t stream = s->stream;
    while (at < end && s->stream == stream) {
        size_t length = piece != 0 && piece < end - at ? piece : end - at;
        script_event(s, PORT_STREAM_BYTES, s->said + at, length);
        at += length;
    }
    script_step(s);
}

void script_flush(struct script *s)
{
    script_flush_pieces(s, 0);
}

void script_cut(struct script *s)
{
    script_event(s, PORT_STREAM_CLOSED, NULL, 0);
    s->stream = 0;
    script_step(s);
}

/* Until it connects anew. */
void script_wait_connect(struct script *s)
{
    script_step(s);
    for (int i = 0; i < 1000 && s->stream == 0; i++) {
        ck_assert_msg(s->deadline != PORT_NEVER, "it waits for nothing");
        if (s->deadline > s->now.mono_ns)
            s->now.mono_ns = s->deadline;
        script_step(s);
    }
    ck_assert_uint_ne(s->stream, 0);
    ck_assert(!s->connected);
    s->connected = true;
    script_event(s, PORT_STREAM_CONNECTED, NULL, 0);
    script_step(s);
}

/* ---- the proxy ------------------------------------------------------------------------------- */

const uint8_t *script_hear(struct script *s, enum edge_type type, size_t *length)
{
    script_step(s);
    enum edge_type got;
    size_t frame = edge_frame_peek(s->heard + s->heard_at, s->heard_end - s->heard_at, &got);
    ck_assert_msg(frame != 0 && frame != SIZE_MAX, "no frame instead of type %d", type);
    ck_assert_msg(got == type, "a frame of type %d instead of %d", got, type);
    const uint8_t *body = s->heard + s->heard_at + EDGE_HEADER;
    *length = frame - EDGE_HEADER;
    s->heard_at += frame;
    return body;
}

bool script_hears_nothing(struct script *s)
{
    script_step(s);
    return s->heard_at == s->heard_end;
}

const struct epoch script_first_epoch = { .number = 1, .candidate = 11 };
const struct epoch script_second_epoch = { .number = 2, .candidate = 22 };

struct position script_at(struct epoch epoch, uint64_t seq)
{
    return (struct position) { .epoch = epoch, .seq = seq };
}

void script_let_in(struct script *s, uint64_t tip, uint64_t stable)
{
    script_wait_connect(s);
    struct edge_hello h;
    HEAR(s, hello, EDGE_HELLO, &h);
    ck_assert_uint_eq(h.version, EDGE_VERSION);
    ck_assert_str_eq(h.agent, "test");
    SAY(s, welcome, .version = EDGE_VERSION, .stream = STREAM, .challenge = { 1, 2 }, .proxy = "p");
    script_flush(s);
    struct edge_prove p;
    if (h.has_key)
        HEAR(s, prove, EDGE_PROVE, &p);
    SAY(s, accepted, .tip = script_at(script_first_epoch, tip), .stable = stable,
        .fragment_bytes = 1000, .window = 64, .payload_max = 1 << 20,
        .is_volatile = s->is_volatile);
    script_flush(s);
}

/* Its request is as it should be, and granted. */
struct edge_subscribe script_grant(struct script *s)
{
    struct edge_subscribe r;
    HEAR(s, subscribe, EDGE_SUBSCRIBE, &r);
    struct position p = r.position;
    if (r.from == EDGE_FROM_TIP)
        p = script_at(script_first_epoch, 10);
    SAY(s, subscribed, .position = p);
    if (p.seq == 0)
        SAY(s, epoch, .epoch = script_first_epoch, .first_seq = 2);
    script_flush(s);
    return r;
}

void script_begin(struct script *s)
{
    script_let_in(s, 10, 10);
    script_grant(s);
}

void script_name(struct script *s, enum edge_name_kind kind, uint32_t id, const char *text)
{
    SAY(s, name, .kind = kind, .id = id, .text = text, .length = strlen(text));
}

/* A message on topic 17, as a proxy that knows its trade says it. */
void script_tell(struct script *s, uint64_t seq, const char *text)
{
    if (seq / EDGE_BLOCK != s->block) {
        if (s->last != 0)
            SAY(s, progress, .through = s->block * EDGE_BLOCK + EDGE_BLOCK - 1, .previous = s->last,
                .stable = 0, .timestamp_ns = s->last * 1000);
        s->block = seq / EDGE_BLOCK;
        s->last = 0;
    }
    if (s->last == 0) {
        script_name(s, EDGE_NAME_TOPIC, 17, "/a/b");
        script_name(s, EDGE_NAME_PUBLISHER, 3, "other");
    }
    SAY(s, message, .seq = seq, .previous = s->last, .timestamp_ns = seq * 1000, .topic = 17,
        .publisher = 3, .publisher_seq = seq, .payload = (const uint8_t *)text,
        .length = (uint32_t)strlen(text));
    s->last = seq;
}

void script_saw(const struct script *s, uint32_t index, uint64_t seq, const char *text)
{
    ck_assert_uint_gt(s->seen_count, index);
    ck_assert_uint_eq(s->seen[index].seq, seq);
    ck_assert_str_eq(s->seen[index].head, text);
}

uint64_t script_violations(const struct script *s)
{
    return edge_violations(client_core_edge(s->core));
}

/* The connection; the next one may have been begun. */
bool script_is_gone(const struct script *s)
{
    return s->stream == 0 || !s->connected;
}

/* ---- a publisher -------------------------------------------------------------------------------- */

struct edge_open script_opened_items(struct script *s, uint64_t last, uint64_t join_seq,
                                     uint64_t items)
{
    struct edge_open o;
    HEAR(s, open, EDGE_OPEN, &o);
    SAY(s, opened, .publisher = 12, .incarnation = o.wanted != 0 ? o.wanted : 3,
        .last_number = last, .join_seq = join_seq, .items = items);
    script_flush(s);
    return o;
}

struct edge_open script_opened(struct script *s, uint64_t last, uint64_t join_seq)
{
    return script_opened_items(s, last, join_seq, last);
}

void script_heard_item(struct script *s, uint64_t number, const char *payload)
{
    struct edge_publish p;
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.publisher, 12);
    ck_assert_uint_eq(p.number, number);
    ck_assert_uint_eq(p.length, strlen(payload));
    ck_assert_mem_eq(p.payload, payload, p.length);
    ck_assert(p.topic_length == 4 && memcmp(p.topic, "/a/b", 4) == 0);
}

void script_outcome(struct script *s, uint64_t number, uint32_t count, uint64_t seq, uint8_t reason)
{
    SAY(s, outcome, .publisher = 12, .number = number, .count = count, .seq = seq, .reason = reason,
        .stable = seq - 1);
    script_flush(s);
}

void script_push(struct script *s, struct cantus_pipe *pipe, const char *text)
{
    ck_assert(cantus_pipe_push(pipe, "/a/b", text, strlen(text)));
    script_step(s);
}
