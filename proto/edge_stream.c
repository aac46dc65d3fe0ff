#include "proto/edge_field.h"

/* ---- fields ---------------------------------------------------------------------------------- */

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

/* ---- reading --------------------------------------------------------------------------------- */

size_t edge_subscribe_encode(const struct edge_subscribe *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_SUBSCRIBE, out, capacity);
    require(&w, level_valid(in->level) && from_valid(in->from));
    wire_put8(&w, (uint8_t)in->level);
    wire_put8(&w, (uint8_t)in->from);
    wire_put_position(&w, in->position);
    wire_put64(&w, in->time_ns);
    wire_put32(&w, in->tick_ms);
    wire_put64(&w, in->mark_seq);
    put_subtrees(&w, &in->subtrees);
    return edge_end(&w);
}

bool edge_subscribe_decode(const uint8_t *body, size_t length, struct edge_subscribe *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->level = (enum edge_level)wire_get8(&r);
    out->from = (enum edge_from)wire_get8(&r);
    out->position = wire_get_position(&r);
    out->time_ns = wire_get64(&r);
    out->tick_ms = wire_get32(&r);
    out->mark_seq = wire_get64(&r);
    out->subtrees = get_subtrees(&r);
    refuse_unless(&r, level_valid(out->level) && from_valid(out->from));
    return wire_reader_done(&r);
}

size_t edge_change_encode(const struct edge_change *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_CHANGE, out, capacity);
    put_subtrees(&w, &in->add);
    put_subtrees(&w, &in->remove);
    return edge_end(&w);
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
    struct wire_writer w = edge_begin(EDGE_SUBSCRIBED, out, capacity);
    wire_put_position(&w, in->position);
    return edge_end(&w);
}

bool edge_subscribed_decode(const uint8_t *body, size_t length, struct edge_subscribed *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->position = wire_get_position(&r);
    return wire_reader_done(&r);
}

size_t edge_changed_encode(const struct edge_changed *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_CHANGED, out, capacity);
    wire_put64(&w, in->seq);
    return edge_end(&w);
}

bool edge_changed_decode(const uint8_t *body, size_t length, struct edge_changed *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->seq = wire_get64(&r);
    return wire_reader_done(&r);
}

size_t edge_epoch_encode(const struct edge_epoch *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_EPOCH, out, capacity);
    wire_put_epoch(&w, in->epoch);
    wire_put64(&w, in->first_seq);
    return edge_end(&w);
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
    return n->kind == EDGE_NAME_PUBLISHER && publisher_valid(n->id) &&
           identity_check_bytes(n->text, n->length) == NULL;
}

size_t edge_name_encode(const struct edge_name *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_NAME, out, capacity);
    require(&w, name_valid(in));
    wire_put8(&w, (uint8_t)in->kind);
    put24(&w, in->id);
    put_text(&w, in->text, in->length);
    return edge_end(&w);
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

/* The fields' places are known, so nobody asks for each whether there is room: a proxy writes one for every
 * message, and its clients read one. */
size_t edge_message_encode(const struct edge_message *in, uint8_t *out, size_t capacity)
{
    uint8_t *body = out + EDGE_HEADER;
    size_t length = EDGE_HEADER + EDGE_MESSAGE_HEADER + in->length;
    if (!message_valid(in) || length > capacity || length - 4 > EDGE_FRAME_MAX)
        return 0;
    wire_store32(out, (uint32_t)length - 4);
    out[4] = EDGE_MESSAGE;
    wire_store64(body, in->seq);
    wire_store64(body + 8, in->previous);
    wire_store64(body + 16, in->timestamp_ns);
    wire_store64(body + 24,
                 (uint64_t)in->topic | (uint64_t)in->publisher << 24 | in->publisher_seq << 48);
    wire_store32(body + 32, (uint32_t)(in->publisher_seq >> 16));
    body[36] = in->flags;
    if (in->length > 0)
        memcpy(body + EDGE_MESSAGE_HEADER, in->payload, in->length);
    return length;
}

bool edge_message_decode(const uint8_t *body, size_t length, struct edge_message *out)
{
    *out = (struct edge_message) { .seq = 0 };
    if (length < EDGE_MESSAGE_HEADER)
        return false;
    uint64_t ids = wire_load64(body + 24);
    out->seq = wire_load64(body);
    out->previous = wire_load64(body + 8);
    out->timestamp_ns = wire_load64(body + 16);
    out->topic = ids & 0xffffff;
    out->publisher = ids >> 24 & 0xffffff;
    out->publisher_seq = ids >> 48 | (uint64_t)wire_load32(body + 32) << 16;
    out->flags = body[36];
    out->payload = body + EDGE_MESSAGE_HEADER;
    out->length = (uint32_t)(length - EDGE_MESSAGE_HEADER);
    return message_valid(out);
}

size_t edge_progress_encode(const struct edge_progress *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_PROGRESS, out, capacity);
    require(&w, in->previous <= in->through);
    wire_put64(&w, in->through);
    wire_put64(&w, in->previous);
    wire_put64(&w, in->stable);
    wire_put64(&w, in->timestamp_ns);
    return edge_end(&w);
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
    struct wire_writer w = edge_begin(EDGE_FORKED, out, capacity);
    wire_put_position(&w, in->common);
    return edge_end(&w);
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
    struct wire_writer w = edge_begin(EDGE_OPEN, out, capacity);
    require(&w, in->name[0] != 0);
    wire_put64(&w, in->nonce);
    wire_put32(&w, in->wanted);
    wire_put64(&w, in->known);
    wire_put_string(&w, in->name);
    return edge_end(&w);
}

bool edge_open_decode(const uint8_t *body, size_t length, struct edge_open *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->nonce = wire_get64(&r);
    out->wanted = wire_get32(&r);
    out->known = wire_get64(&r);
    wire_get_string(&r, out->name, sizeof out->name);
    refuse_unless(&r, out->name[0] != 0);
    return wire_reader_done(&r);
}

static bool opened_valid(const struct edge_opened *o)
{
    return publisher_valid(o->publisher) && o->incarnation >= 1 && o->items <= o->last_number &&
           o->unknown_through <= o->last_number;
}

size_t edge_opened_encode(const struct edge_opened *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_OPENED, out, capacity);
    require(&w, opened_valid(in));
    wire_put32(&w, in->publisher);
    wire_put32(&w, in->incarnation);
    wire_put64(&w, in->last_number);
    wire_put64(&w, in->join_seq);
    wire_put64(&w, in->items);
    wire_put64(&w, in->unknown_through);
    return edge_end(&w);
}

bool edge_opened_decode(const uint8_t *body, size_t length, struct edge_opened *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->publisher = wire_get32(&r);
    out->incarnation = wire_get32(&r);
    out->last_number = wire_get64(&r);
    out->join_seq = wire_get64(&r);
    out->items = wire_get64(&r);
    out->unknown_through = wire_get64(&r);
    refuse_unless(&r, opened_valid(out));
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
    struct wire_writer w = edge_begin(EDGE_PUBLISH, out, capacity);
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
    return edge_end(&w);
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
    struct wire_writer w = edge_begin(EDGE_OUTCOME, out, capacity);
    require(&w, outcome_valid(in));
    wire_put32(&w, in->publisher);
    wire_put64(&w, in->number);
    wire_put32(&w, in->count);
    wire_put64(&w, in->seq);
    wire_put8(&w, in->reason);
    wire_put64(&w, in->detail);
    wire_put64(&w, in->stable);
    return edge_end(&w);
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
    out->stable = wire_get64(&r);
    return wire_reader_done(&r) && outcome_valid(out);
}

size_t edge_superseded_encode(const struct edge_superseded *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_SUPERSEDED, out, capacity);
    require(&w, publisher_valid(in->publisher) && in->incarnation >= 1);
    wire_put32(&w, in->publisher);
    wire_put32(&w, in->incarnation);
    wire_put64(&w, in->join_seq);
    return edge_end(&w);
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
