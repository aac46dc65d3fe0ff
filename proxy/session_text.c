/* Clients without the protocol: `nc` and a line. They are nobody in particular, and get lines.
 *
 * The lines are made of the frames that any reader gives, whose bytes may come in pieces. */
#include <stdarg.h>
#include <stdio.h>

#include "proxy/session_private.h"

enum {
    LINE_MAX = 400,   /* of what such a client may say */
    PREFIX_MAX = 512, /* of a line, in front of the payload */
    ESCAPED_MAX = 4,  /* bytes of text that one byte of payload takes at most */
    PIECE_MAX = 4096, /* written at a time */
    MESSAGE_HEAD = EDGE_HEADER + EDGE_MESSAGE_HEADER
};

static const char hello[] = "cantus ";

bool session_text_looks_so(const uint8_t *bytes, size_t length)
{
    /* No HELLO is long enough for its length to begin like this, whatever was typed. */
    return length >= 2 && bytes[0] >= ' ' && bytes[0] <= '~' && bytes[1] >= ' ' && bytes[1] <= '~';
}

void session_text_say(struct session *e, const char *format, ...)
{
    struct port *port = e->all->p->port;
    char line[SESSION_ROOM_MIN];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    size_t length = n < (int)sizeof line ? (size_t)n : sizeof line - 1;
    if (port->ops->stream_room(port, e->stream, length) >= length)
        port->ops->stream_write(port, e->stream, line, length);
}

/* ---- the line -------------------------------------------------------------------------------- */

/* The next word of a line, which it ends; NULL: there is none. */
static char *next_word(char **at)
{
    char *word = *at + strspn(*at, " ");
    if (*word == '\0')
        return NULL;
    *at = word + strcspn(word, " ");
    if (**at != '\0')
        *(*at)++ = '\0';
    return word;
}

static bool parse_from(const struct session *e, const char *word, struct edge_subscribe *out)
{
    enum { DIGITS_MAX = 19 };
    size_t digits = word != NULL ? strspn(word, "0123456789") : 0;
    if (digits == 0 || digits > DIGITS_MAX || word[digits] != '\0')
        return false;
    uint64_t seq = 0;
    for (size_t i = 0; i < digits; i++)
        seq = seq * 10 + (uint64_t)(word[i] - '0');
    const struct epoch_table *epochs = catalog_epochs(e->all->p->catalog);
    out->from = EDGE_FROM_POSITION;
    out->position.seq = seq > 0 ? seq - 1 : 0;
    const struct epoch_entry *entry = epoch_table_find(epochs, out->position.seq);
    if (entry != NULL)
        out->position.epoch = entry->epoch;
    return true;
}

static bool parse(struct session *e, char *line)
{
    char *at = line + sizeof hello - 1, *word = next_word(&at);
    struct edge_subscribe *r = &e->request;
    *r = (struct edge_subscribe) { .level = EDGE_SEQUENCED,
                                   .from = EDGE_FROM_TIP,
                                   .tick_ms = EDGE_TICK_DEFAULT_MS };
    if (word == NULL || topic_subtree_check(word, strlen(word)) != NULL)
        return false;
    e->text.subtree[0] = (char)strlen(word);
    memcpy(e->text.subtree + 1, word, strlen(word));
    while ((word = next_word(&at)) != NULL) {
        if (strcmp(word, "stable") == 0)
            r->level = EDGE_STABLE;
        else if (strcmp(word, "from") != 0 || !parse_from(e, next_word(&at), r))
            return false;
    }
    return true;
}

enum session_read session_text_hello(struct session *e, const uint8_t *bytes, size_t length,
                                     size_t *used)
{
    char line[LINE_MAX + 1];
    const uint8_t *end = memchr(bytes, '\n', length < LINE_MAX ? length : LINE_MAX);
    e->is_text = true;
    if (end == NULL && length < LINE_MAX) {
        e->is_text = false; /* nobody knows yet */
        return SESSION_READ;
    }
    size_t size = end != NULL ? (size_t)(end - bytes) : 0;
    memcpy(line, bytes, size);
    if (size > 0 && line[size - 1] == '\r')
        size--;
    line[size] = '\0';
    if (size < sizeof hello || strlen(line) != size || memcmp(line, hello, sizeof hello - 1) != 0 ||
        !parse(e, line)) {
        session_end(e, EDGE_CLOSING_PROTOCOL, "say: cantus SUBTREE [from SEQ] [stable]");
        return SESSION_ENDED;
    }
    *used = (size_t)(end - bytes) + 1;
    memcpy(e->agent, "text", sizeof "text");
    proxy_draw(e->all->p, "challenge", e->challenge);
    session_let_in(e);
    return e->state == SESSION_FREE ? SESSION_ENDED : SESSION_READ;
}

void session_text_accepted(struct session *e, struct position position)
{
    struct readers *readers = e->all->p->readers;
    size_t length = (size_t)(uint8_t)e->text.subtree[0];
    e->request.subtrees = (struct edge_subtrees) { .count = 1,
                                                   .at = (const uint8_t *)e->text.subtree,
                                                   .length = 1 + length };
    if (!reader_may_read_any(readers, e->principal, e->text.subtree + 1, length)) {
        struct edge_refused refused = { .request = EDGE_SUBSCRIBE,
                                        .reason = EDGE_REFUSED_RIGHT,
                                        .right = ACCESS_READ,
                                        .text = "not permitted: the right to read" };
        memcpy(refused.subject, e->text.subtree + 1, length);
        session_refuse(e, &refused);
        char text[EDGE_TEXT_MAX + 1];
        snprintf(text, sizeof text,
                 "nothing there is granted to anyone: who may grant there does so by cantus grant "
                 "anyone read %.*s",
                 (int)(length < 160 ? length : 160), e->text.subtree + 1);
        session_end(e, EDGE_CLOSING_IDENTITY, text);
        return;
    }
    if (session_reader(e) == NULL ||
        reader_subscribe(e->reader, &e->request, position) != READER_OK) {
        session_end(e, EDGE_CLOSING_QUOTA, NULL);
        return;
    }
    e->subscribed = true;
}

/* ---- frames to lines ------------------------------------------------------------------------- */

static void put(struct session *e, const char *text, size_t length)
{
    struct proxy *p = e->all->p;
    p->port->ops->stream_write(p->port, e->stream, text, length);
    e->bytes_out += length;
    p->counters[COUNTER_CLIENT_BYTES_OUT] += length;
}

static void put_line(struct session *e, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void put_line(struct session *e, const char *format, ...)
{
    char line[PREFIX_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    put(e, line, n < (int)sizeof line ? (size_t)n : sizeof line - 1);
}

/* In front of a message's payload: its head is complete. */
static void begin_message(struct session *e, const struct edge_message *m)
{
    const struct catalog *c = e->all->p->catalog;
    size_t length = 0;
    const char *topic =
        catalog_topic_exists(c, m->topic) ? catalog_topic_path(c, m->topic, &length) : "?";
    const struct catalog_publisher *publisher =
        m->publisher < catalog_publisher_end(c) ? catalog_publisher(c, m->publisher) : NULL;
    put_line(e, "%llu %llu %s %s ", (unsigned long long)m->seq, (unsigned long long)m->timestamp_ns,
             topic, m->publisher != 0 && publisher != NULL ? publisher->identity : "-");
}

/* Any other frame, whole. */
static void say_frame(struct session *e, enum edge_type type, const uint8_t *body, size_t length)
{
    struct edge_subscribed subscribed;
    struct edge_progress progress;
    struct edge_forked forked;
    struct edge_epoch epoch;
    if (type == EDGE_SUBSCRIBED && edge_subscribed_decode(body, length, &subscribed))
        put_line(e, "# subscribed behind %llu\n", (unsigned long long)subscribed.position.seq);
    else if (type == EDGE_PROGRESS && edge_progress_decode(body, length, &progress))
        put_line(e, "# through %llu stable %llu time %llu\n", (unsigned long long)progress.through,
                 (unsigned long long)progress.stable, (unsigned long long)progress.timestamp_ns);
    else if (type == EDGE_FORKED && edge_forked_decode(body, length, &forked))
        put_line(e, "# forked: what came behind %llu no longer holds\n",
                 (unsigned long long)forked.common.seq);
    else if (type == EDGE_EPOCH && edge_epoch_decode(body, length, &epoch))
        put_line(e, "# epoch %u from %llu\n", epoch.epoch.number,
                 (unsigned long long)epoch.first_seq);
}

/* As much of a message's payload as there is, and room for it. */
static size_t say_payload(struct session *e, const uint8_t *bytes, size_t length, size_t room)
{
    static const char digits[] = "0123456789abcdef";
    char text[PIECE_MAX];
    size_t most = room < sizeof text ? room : sizeof text, at = 0, done = 0;
    for (; done < length && at + ESCAPED_MAX < most; done++) {
        uint8_t b = bytes[done];
        if (b >= ' ' && b <= '~' && b != '\\') {
            text[at++] = (char)b;
            continue;
        }
        text[at++] = '\\';
        text[at++] = 'x';
        text[at++] = digits[b >> 4];
        text[at++] = digits[b & 15];
    }
    e->text.left -= (uint32_t)done;
    if (e->text.left == 0)
        text[at++] = '\n';
    put(e, text, at);
    return done;
}

/* How much of a frame is gathered before it can be acted upon, as far as its beginning tells. */
static size_t head_wanted(const struct session_text *t)
{
    if (t->have < EDGE_HEADER)
        return EDGE_HEADER;
    size_t frame = 4 + (size_t)wire_load32(t->head);
    return t->head[4] == EDGE_MESSAGE ? MESSAGE_HEAD : frame;
}

/* The head is complete: a message without its payload, or another frame whole. */
static void act_on_head(struct session *e)
{
    struct session_text *t = &e->text;
    size_t frame = 4 + (size_t)wire_load32(t->head);
    enum edge_type type = (enum edge_type)t->head[4];
    t->have = 0;
    if (type != EDGE_MESSAGE) {
        say_frame(e, type, t->head + EDGE_HEADER, frame - EDGE_HEADER);
        return;
    }
    struct edge_message m;
    bool sound = edge_message_decode(t->head + EDGE_HEADER, EDGE_MESSAGE_HEADER, &m);
    assert(sound); /* our own reader wrote it */
    (void)sound;
    begin_message(e, &m);
    t->left = (uint32_t)(frame - MESSAGE_HEAD);
    if (t->left == 0)
        put(e, "\n", 1);
}

bool session_text_flush(struct session *e, size_t room)
{
    struct session_text *t = &e->text;
    const uint8_t *bytes;
    size_t length = reader_next(e->reader, EDGE_FRAME_MAX, &bytes);
    if (length == 0)
        return false;
    if (room < PREFIX_MAX + 1)
        return true;
    if (t->left > 0) {
        size_t there = length - t->at < t->left ? length - t->at : t->left;
        t->at += (uint32_t)say_payload(e, bytes + t->at, there, room);
    } else {
        size_t wanted = head_wanted(t);
        assert(wanted <= sizeof t->head);
        while (t->have < wanted && t->at < length) {
            t->head[t->have++] = bytes[t->at++];
            wanted = head_wanted(t);
        }
        if (t->have == wanted)
            act_on_head(e);
    }
    if (t->at == length) {
        t->at = 0;
        reader_take(e->reader);
    }
    return true;
}
