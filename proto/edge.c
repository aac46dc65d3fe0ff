#include "proto/edge.h"

#include <assert.h>
#include <string.h>

/* ---- frames ---------------------------------------------------------------------------------- */

static bool type_known(uint8_t type)
{
    return (type >= EDGE_HELLO && type <= EDGE_ALIVE) ||
           (type >= EDGE_WELCOME && type <= EDGE_CLOSING);
}

size_t edge_frame_peek(const uint8_t *bytes, size_t available, enum edge_type *type)
{
    if (available < 4)
        return 0;
    uint32_t length = wire_load32(bytes);
    if (length == 0 || length > EDGE_FRAME_MAX)
        return SIZE_MAX;
    if (available < EDGE_HEADER)
        return 0;
    if (!type_known(bytes[4]))
        return SIZE_MAX;
    *type = (enum edge_type)bytes[4];
    return available < 4 + (size_t)length ? 0 : 4 + (size_t)length;
}

static struct wire_writer begin(enum edge_type type, uint8_t *out, size_t capacity)
{
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put32(&w, 0);
    wire_put8(&w, (uint8_t)type);
    return w;
}

static size_t end(struct wire_writer *w)
{
    size_t length = wire_written(w);
    if (length == 0 || length - 4 > EDGE_FRAME_MAX)
        return 0;
    wire_store32(w->begin, (uint32_t)(length - 4));
    return length;
}

size_t edge_alive_encode(uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_ALIVE, out, capacity);
    return end(&w);
}

/* ---- fields ---------------------------------------------------------------------------------- */

static void put24(struct wire_writer *w, uint32_t v)
{
    uint8_t bytes[3] = { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16) };
    wire_put_bytes(w, bytes, sizeof bytes);
}

static uint32_t get24(struct wire_reader *r)
{
    uint32_t low = wire_get16(r);
    return low | (uint32_t)wire_get8(r) << 16;
}

static void put48(struct wire_writer *w, uint64_t v)
{
    wire_put32(w, (uint32_t)v);
    wire_put16(w, (uint16_t)(v >> 32));
}

static uint64_t get48(struct wire_reader *r)
{
    uint64_t low = wire_get32(r);
    return low | (uint64_t)wire_get16(r) << 32;
}

static void put_text(struct wire_writer *w, const char *text, size_t length)
{
    w->failed = w->failed || length > 255;
    wire_put8(w, (uint8_t)length);
    wire_put_bytes(w, text, length);
}

/* In place. */
static const char *get_text(struct wire_reader *r, size_t *length)
{
    *length = wire_get8(r);
    const uint8_t *bytes = wire_get_bytes(r, *length);
    if (bytes == NULL) {
        *length = 0;
        return "";
    }
    r->failed = r->failed || memchr(bytes, 0, *length) != NULL;
    return (const char *)bytes;
}

/* Everything that is left. */
static const uint8_t *get_rest(struct wire_reader *r, uint32_t *length)
{
    *length = (uint32_t)(r->end - r->at);
    return wire_get_bytes(r, *length);
}

static void get_key(struct wire_reader *r, uint8_t *key, size_t size)
{
    const uint8_t *bytes = wire_get_bytes(r, size);
    if (bytes != NULL)
        memcpy(key, bytes, size);
    else
        memset(key, 0, size);
}

static void refuse_unless(struct wire_reader *r, bool condition)
{
    r->failed = r->failed || !condition;
}

static void require(struct wire_writer *w, bool condition)
{
    w->failed = w->failed || !condition;
}

static void put_subtrees(struct wire_writer *w, const struct edge_subtrees *s)
{
    struct edge_subtrees rest = *s;
    const char *text;
    size_t length;
    uint16_t count = 0;
    while (edge_subtree_next(&rest, &text, &length))
        count++;
    require(w, count == s->count && s->count <= EDGE_SUBTREES_MAX && rest.length == 0);
    wire_put16(w, s->count);
    wire_put_bytes(w, s->at, s->length);
}

static struct edge_subtrees get_subtrees(struct wire_reader *r)
{
    struct edge_subtrees s = { .count = wire_get16(r), .at = r->at };
    refuse_unless(r, s.count <= EDGE_SUBTREES_MAX);
    for (uint32_t i = 0; i < s.count && !r->failed; i++) {
        size_t length;
        const char *text = get_text(r, &length);
        refuse_unless(r, topic_subtree_check(text, length) == NULL);
    }
    s.length = r->failed ? 0 : (size_t)(r->at - s.at);
    return s;
}

bool edge_subtree_next(struct edge_subtrees *s, const char **subtree, size_t *length)
{
    if (s->count == 0 || s->length == 0 || s->length < 1 + (size_t)s->at[0])
        return false;
    *length = s->at[0];
    *subtree = (const char *)s->at + 1;
    s->at += 1 + *length;
    s->length -= 1 + *length;
    s->count--;
    return true;
}

/* What is wrong on one side of the wire is wrong on the other: each rule is written once. */
static bool level_valid(enum edge_level level)
{
    return level == EDGE_SEQUENCED || level == EDGE_STABLE;
}

static bool from_valid(enum edge_from from)
{
    return from >= EDGE_FROM_TIP && from <= EDGE_FROM_TIME;
}

static bool publisher_valid(uint32_t publisher)
{
    return publisher >= 1 && publisher <= PUBLISHER_ID_MAX;
}

static bool number_valid(uint64_t number)
{
    return number >= 1 && number <= PUBLISHER_SEQ_MAX;
}

static bool topic_valid(const char *path, size_t length)
{
    return length > 1 && topic_path_check(path, length) == NULL;
}

/* ---- login ----------------------------------------------------------------------------------- */

size_t edge_hello_encode(const struct edge_hello *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_HELLO, out, capacity);
    wire_put16(&w, in->version);
    wire_put64(&w, in->stream);
    wire_put8(&w, in->has_key);
    if (in->has_key)
        wire_put_bytes(&w, in->key, sizeof in->key);
    wire_put_string(&w, in->agent);
    return end(&w);
}

bool edge_hello_decode(const uint8_t *body, size_t length, struct edge_hello *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    memset(out, 0, sizeof *out);
    out->version = wire_get16(&r);
    out->stream = wire_get64(&r);
    out->has_key = wire_get_bool(&r);
    if (out->has_key)
        get_key(&r, out->key, sizeof out->key);
    wire_get_string(&r, out->agent, sizeof out->agent);
    return wire_reader_done(&r);
}

size_t edge_welcome_encode(const struct edge_welcome *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_WELCOME, out, capacity);
    require(&w, in->stream != 0);
    wire_put16(&w, in->version);
    wire_put64(&w, in->stream);
    wire_put_bytes(&w, in->challenge, sizeof in->challenge);
    wire_put_string(&w, in->proxy);
    return end(&w);
}

bool edge_welcome_decode(const uint8_t *body, size_t length, struct edge_welcome *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    memset(out, 0, sizeof *out);
    out->version = wire_get16(&r);
    out->stream = wire_get64(&r);
    get_key(&r, out->challenge, sizeof out->challenge);
    wire_get_string(&r, out->proxy, sizeof out->proxy);
    refuse_unless(&r, out->stream != 0);
    return wire_reader_done(&r);
}

size_t edge_prove_encode(const struct edge_prove *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_PROVE, out, capacity);
    wire_put_bytes(&w, in->signature, sizeof in->signature);
    return end(&w);
}

bool edge_prove_decode(const uint8_t *body, size_t length, struct edge_prove *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    get_key(&r, out->signature, sizeof out->signature);
    return wire_reader_done(&r);
}

size_t edge_accepted_encode(const struct edge_accepted *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_ACCEPTED, out, capacity);
    require(&w, in->fragment_bytes >= 1 && in->window >= 1);
    wire_put_position(&w, in->tip);
    wire_put64(&w, in->stable);
    wire_put32(&w, in->fragment_bytes);
    wire_put32(&w, in->window);
    wire_put32(&w, in->payload_max);
    return end(&w);
}

bool edge_accepted_decode(const uint8_t *body, size_t length, struct edge_accepted *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->tip = wire_get_position(&r);
    out->stable = wire_get64(&r);
    out->fragment_bytes = wire_get32(&r);
    out->window = wire_get32(&r);
    out->payload_max = wire_get32(&r);
    refuse_unless(&r, out->fragment_bytes >= 1 && out->window >= 1);
    return wire_reader_done(&r);
}

void edge_signed(const struct edge_welcome *w, const uint8_t key[ACCESS_KEY_SIZE],
                 const uint8_t binding[32], uint8_t out[EDGE_SIGNED_SIZE])
{
    static const char title[16] = "cantus login 1"; /* and two zeros */
    uint8_t name[EDGE_AGENT_MAX + 1] = { 0 };
    memcpy(name, w->proxy, strnlen(w->proxy, EDGE_AGENT_MAX));
    struct wire_writer to = wire_writer_of(out, EDGE_SIGNED_SIZE);
    wire_put_bytes(&to, title, sizeof title);
    wire_put64(&to, w->stream);
    wire_put_bytes(&to, w->challenge, sizeof w->challenge);
    wire_put_bytes(&to, key, ACCESS_KEY_SIZE);
    wire_put_bytes(&to, binding, 32);
    wire_put_bytes(&to, name, sizeof name);
    assert(wire_written(&to) == EDGE_SIGNED_SIZE);
}

/* ---- reading --------------------------------------------------------------------------------- */

size_t edge_subscribe_encode(const struct edge_subscribe *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_SUBSCRIBE, out, capacity);
    require(&w, level_valid(in->level) && from_valid(in->from));
    wire_put8(&w, (uint8_t)in->level);
    wire_put8(&w, (uint8_t)in->from);
    wire_put_position(&w, in->position);
    wire_put64(&w, in->time_ns);
    wire_put32(&w, in->tick_ms);
    put_subtrees(&w, &in->subtrees);
    return end(&w);
}

bool edge_subscribe_decode(const uint8_t *body, size_t length, struct edge_subscribe *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->level = (enum edge_level)wire_get8(&r);
    out->from = (enum edge_from)wire_get8(&r);
    out->position = wire_get_position(&r);
    out->time_ns = wire_get64(&r);
    out->tick_ms = wire_get32(&r);
    out->subtrees = get_subtrees(&r);
    refuse_unless(&r, level_valid(out->level) && from_valid(out->from));
    return wire_reader_done(&r);
}

size_t edge_change_encode(const struct edge_change *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_CHANGE, out, capacity);
    put_subtrees(&w, &in->add);
    put_subtrees(&w, &in->remove);
    return end(&w);
}

bool edge_change_decode(const uint8_t *body, size_t length, struct edge_change *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->add = get_subtrees(&r);
    out->remove = get_subtrees(&r);
    return wire_reader_done(&r);
}

size_t edge_subscribed_encode(const struct edge_subscribed *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_SUBSCRIBED, out, capacity);
    wire_put_position(&w, in->position);
    return end(&w);
}

bool edge_subscribed_decode(const uint8_t *body, size_t length, struct edge_subscribed *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->position = wire_get_position(&r);
    return wire_reader_done(&r);
}

size_t edge_changed_encode(const struct edge_changed *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_CHANGED, out, capacity);
    wire_put64(&w, in->seq);
    return end(&w);
}

bool edge_changed_decode(const uint8_t *body, size_t length, struct edge_changed *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->seq = wire_get64(&r);
    return wire_reader_done(&r);
}

size_t edge_epoch_encode(const struct edge_epoch *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_EPOCH, out, capacity);
    wire_put_epoch(&w, in->epoch);
    wire_put64(&w, in->first_seq);
    return end(&w);
}

bool edge_epoch_decode(const uint8_t *body, size_t length, struct edge_epoch *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->epoch = wire_get_epoch(&r);
    out->first_seq = wire_get64(&r);
    return wire_reader_done(&r);
}

static bool name_valid(const struct edge_name *n)
{
    if (n->kind == EDGE_NAME_TOPIC)
        return n->id >= 1 && n->id <= TOPIC_ID_MAX && topic_valid(n->text, n->length);
    return n->kind == EDGE_NAME_PUBLISHER && publisher_valid(n->id) && n->length >= 1 &&
           n->length <= IDENTITY_MAX;
}

size_t edge_name_encode(const struct edge_name *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_NAME, out, capacity);
    require(&w, name_valid(in));
    wire_put8(&w, (uint8_t)in->kind);
    put24(&w, in->id);
    put_text(&w, in->text, in->length);
    return end(&w);
}

bool edge_name_decode(const uint8_t *body, size_t length, struct edge_name *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->kind = (enum edge_name_kind)wire_get8(&r);
    out->id = get24(&r);
    out->text = get_text(&r, &out->length);
    return wire_reader_done(&r) && name_valid(out);
}

static bool message_valid(const struct edge_message *m)
{
    return m->seq >= 1 && m->previous < m->seq && m->topic >= 1 && m->topic <= TOPIC_ID_MAX &&
           m->publisher <= PUBLISHER_ID_MAX && m->publisher_seq <= PUBLISHER_SEQ_MAX &&
           (m->publisher == 0) == (m->publisher_seq == 0) && m->flags <= MESSAGE_MORE;
}

size_t edge_message_encode(const struct edge_message *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_MESSAGE, out, capacity);
    require(&w, message_valid(in));
    wire_put64(&w, in->seq);
    wire_put64(&w, in->previous);
    wire_put64(&w, in->timestamp_ns);
    put24(&w, in->topic);
    put24(&w, in->publisher);
    put48(&w, in->publisher_seq);
    wire_put8(&w, in->flags);
    wire_put_bytes(&w, in->payload, in->length);
    return end(&w);
}

bool edge_message_decode(const uint8_t *body, size_t length, struct edge_message *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->seq = wire_get64(&r);
    out->previous = wire_get64(&r);
    out->timestamp_ns = wire_get64(&r);
    out->topic = get24(&r);
    out->publisher = get24(&r);
    out->publisher_seq = get48(&r);
    out->flags = wire_get8(&r);
    out->payload = get_rest(&r, &out->length);
    return wire_reader_done(&r) && message_valid(out);
}

size_t edge_progress_encode(const struct edge_progress *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_PROGRESS, out, capacity);
    require(&w, in->previous <= in->through);
    wire_put64(&w, in->through);
    wire_put64(&w, in->previous);
    wire_put64(&w, in->stable);
    wire_put64(&w, in->timestamp_ns);
    return end(&w);
}

bool edge_progress_decode(const uint8_t *body, size_t length, struct edge_progress *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->through = wire_get64(&r);
    out->previous = wire_get64(&r);
    out->stable = wire_get64(&r);
    out->timestamp_ns = wire_get64(&r);
    refuse_unless(&r, out->previous <= out->through);
    return wire_reader_done(&r);
}

size_t edge_forked_encode(const struct edge_forked *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_FORKED, out, capacity);
    wire_put_position(&w, in->common);
    return end(&w);
}

bool edge_forked_decode(const uint8_t *body, size_t length, struct edge_forked *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->common = wire_get_position(&r);
    return wire_reader_done(&r);
}

/* ---- publishing ------------------------------------------------------------------------------ */

size_t edge_open_encode(const struct edge_open *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_OPEN, out, capacity);
    require(&w, in->name[0] != 0);
    wire_put64(&w, in->nonce);
    wire_put32(&w, in->wanted);
    wire_put_string(&w, in->name);
    return end(&w);
}

bool edge_open_decode(const uint8_t *body, size_t length, struct edge_open *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->nonce = wire_get64(&r);
    out->wanted = wire_get32(&r);
    wire_get_string(&r, out->name, sizeof out->name);
    refuse_unless(&r, out->name[0] != 0);
    return wire_reader_done(&r);
}

size_t edge_opened_encode(const struct edge_opened *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_OPENED, out, capacity);
    require(&w, publisher_valid(in->publisher) && in->incarnation >= 1);
    wire_put32(&w, in->publisher);
    wire_put32(&w, in->incarnation);
    wire_put64(&w, in->last_number);
    wire_put64(&w, in->join_seq);
    return end(&w);
}

bool edge_opened_decode(const uint8_t *body, size_t length, struct edge_opened *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->publisher = wire_get32(&r);
    out->incarnation = wire_get32(&r);
    out->last_number = wire_get64(&r);
    out->join_seq = wire_get64(&r);
    refuse_unless(&r, publisher_valid(out->publisher) && out->incarnation >= 1);
    return wire_reader_done(&r);
}

static bool publish_valid(const struct edge_publish *p)
{
    return publisher_valid(p->publisher) && number_valid(p->number) && p->flags <= MESSAGE_MORE &&
           topic_valid(p->topic, p->topic_length) && p->length <= 1u << 20 &&
           (!p->conditional || topic_valid(p->condition_topic, p->condition_topic_length));
}

size_t edge_publish_encode(const struct edge_publish *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_PUBLISH, out, capacity);
    require(&w, publish_valid(in));
    wire_put32(&w, in->publisher);
    wire_put64(&w, in->number);
    wire_put_position(&w, in->position);
    wire_put8(&w, in->flags);
    put_text(&w, in->topic, in->topic_length);
    wire_put8(&w, in->conditional);
    if (in->conditional) {
        put_text(&w, in->condition_topic, in->condition_topic_length);
        wire_put64(&w, in->condition_after);
    }
    wire_put_bytes(&w, in->payload, in->length);
    return end(&w);
}

bool edge_publish_decode(const uint8_t *body, size_t length, struct edge_publish *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    memset(out, 0, sizeof *out);
    out->publisher = wire_get32(&r);
    out->number = wire_get64(&r);
    out->position = wire_get_position(&r);
    out->flags = wire_get8(&r);
    out->topic = get_text(&r, &out->topic_length);
    out->conditional = wire_get_bool(&r);
    if (out->conditional) {
        out->condition_topic = get_text(&r, &out->condition_topic_length);
        out->condition_after = wire_get64(&r);
    }
    out->payload = get_rest(&r, &out->length);
    return wire_reader_done(&r) && publish_valid(out);
}

static bool outcome_valid(const struct edge_outcome *o)
{
    return publisher_valid(o->publisher) && number_valid(o->number) && o->count >= 1 &&
           o->seq >= 1 && o->reason < REJECT_END;
}

size_t edge_outcome_encode(const struct edge_outcome *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_OUTCOME, out, capacity);
    require(&w, outcome_valid(in));
    wire_put32(&w, in->publisher);
    wire_put64(&w, in->number);
    wire_put32(&w, in->count);
    wire_put64(&w, in->seq);
    wire_put8(&w, in->reason);
    wire_put64(&w, in->detail);
    return end(&w);
}

bool edge_outcome_decode(const uint8_t *body, size_t length, struct edge_outcome *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->publisher = wire_get32(&r);
    out->number = wire_get64(&r);
    out->count = wire_get32(&r);
    out->seq = wire_get64(&r);
    out->reason = wire_get8(&r);
    out->detail = wire_get64(&r);
    return wire_reader_done(&r) && outcome_valid(out);
}

size_t edge_superseded_encode(const struct edge_superseded *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_SUPERSEDED, out, capacity);
    require(&w, publisher_valid(in->publisher) && in->incarnation >= 1);
    wire_put32(&w, in->publisher);
    wire_put32(&w, in->incarnation);
    wire_put64(&w, in->join_seq);
    return end(&w);
}

bool edge_superseded_decode(const uint8_t *body, size_t length, struct edge_superseded *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->publisher = wire_get32(&r);
    out->incarnation = wire_get32(&r);
    out->join_seq = wire_get64(&r);
    refuse_unless(&r, publisher_valid(out->publisher) && out->incarnation >= 1);
    return wire_reader_done(&r);
}

/* ---- saying no ------------------------------------------------------------------------------- */

size_t edge_refused_encode(const struct edge_refused *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_REFUSED, out, capacity);
    require(&w, in->reason >= 1 && in->reason < EDGE_REFUSED_END);
    wire_put8(&w, in->request);
    wire_put8(&w, in->reason);
    wire_put8(&w, in->right);
    wire_put32(&w, in->publisher);
    wire_put64(&w, in->number);
    wire_put_string(&w, in->subject);
    wire_put_string(&w, in->text);
    return end(&w);
}

bool edge_refused_decode(const uint8_t *body, size_t length, struct edge_refused *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    memset(out, 0, sizeof *out);
    out->request = wire_get8(&r);
    out->reason = wire_get8(&r);
    out->right = wire_get8(&r);
    out->publisher = wire_get32(&r);
    out->number = wire_get64(&r);
    wire_get_string(&r, out->subject, sizeof out->subject);
    wire_get_string(&r, out->text, sizeof out->text);
    refuse_unless(&r, out->reason >= 1 && out->reason < EDGE_REFUSED_END);
    return wire_reader_done(&r);
}

size_t edge_closing_encode(const struct edge_closing *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = begin(EDGE_CLOSING, out, capacity);
    require(&w, in->reason >= 1 && in->reason < EDGE_CLOSING_END);
    wire_put8(&w, in->reason);
    wire_put_string(&w, in->text);
    return end(&w);
}

bool edge_closing_decode(const uint8_t *body, size_t length, struct edge_closing *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    memset(out, 0, sizeof *out);
    out->reason = wire_get8(&r);
    wire_get_string(&r, out->text, sizeof out->text);
    refuse_unless(&r, out->reason >= 1 && out->reason < EDGE_CLOSING_END);
    return wire_reader_done(&r);
}

const char *edge_refusal_text(uint8_t reason)
{
    static const char *const texts[EDGE_REFUSED_END] = {
        [EDGE_REFUSED_RIGHT] = "not permitted",
        [EDGE_REFUSED_NAME] = "not a well-formed name",
        [EDGE_REFUSED_NUMBER] = "not the next number",
        [EDGE_REFUSED_QUOTA] = "over a quota",
        [EDGE_REFUSED_LARGE] = "too large",
        [EDGE_REFUSED_ORDER] = "not now",
        [EDGE_REFUSED_HISTORY] = "history is not kept so far back",
    };
    return reason < EDGE_REFUSED_END && texts[reason] != NULL ? texts[reason] : "unknown reason";
}

const char *edge_closing_text(uint8_t reason)
{
    static const char *const texts[EDGE_CLOSING_END] = {
        [EDGE_CLOSING_PROTOCOL] = "the protocol was broken",
        [EDGE_CLOSING_IDENTITY] = "the identity was not proven",
        [EDGE_CLOSING_STREAM] = "another stream runs here",
        [EDGE_CLOSING_SLOW] = "too slow",
        [EDGE_CLOSING_QUOTA] = "over a quota",
        [EDGE_CLOSING_DRAIN] = "this proxy stops: go to another",
        [EDGE_CLOSING_IDLE] = "nothing was heard for too long",
    };
    return reason < EDGE_CLOSING_END && texts[reason] != NULL ? texts[reason] : "unknown reason";
}
