/* Those whose rights change, or whose level is not exact: what they got they may read and have asked for, and
 * nothing is missing that they had to get. */
#include "client_private.h"

#include <stdlib.h>
#include <string.h>

void judge_note_rights(struct client *c)
{
    for (uint32_t t = 0; t < STREAM_TOPICS_END; t++)
        c->may[t] = stream_may_read(c->stream, c->principal, t);
}

/* History is judged by what held where the subscription was made, what came since by what held there. */
static bool may_read(const struct client *c, const struct stream_message *m)
{
    const struct message *from = &m->whole.message;
    return from->seq <= c->floor ? c->may[from->topic] : (m->may_read >> c->principal & 1) != 0;
}

static bool chain_holds(struct client *c, uint64_t previous)
{
    bool holds = previous == c->previous || (c->joined && previous <= c->last_seq);
    if (holds)
        c->previous = previous;
    c->joined = false;
    return holds;
}

/* Nothing that it had to get lies in (last_seq, seq). */
void judge_gap(struct client *c, uint64_t seq)
{
    const struct stream *s = c->stream;
    for (uint32_t i = stream_index(s, c->last_seq + 1); i < s->message_count; i++) {
        const struct message *m = &s->messages[i].whole.message;
        if (m->seq >= seq)
            break;
        if (client_wants(c, m->topic) && may_read(c, &s->messages[i]))
            client_wrong(c, "%lu is missing", m->seq);
    }
}

static void judge_message(struct client *c, const struct edge_message *m)
{
    const struct stream *s = c->stream;
    uint32_t i = stream_index(s, m->seq);
    c->messages++;
    if (i == s->message_count || s->messages[i].whole.message.seq != m->seq) {
        client_wrong(c, "%lu is not a message", m->seq);
        return;
    }
    const struct stream_message *real = &s->messages[i];
    if (m->length != real->whole.message.length ||
        memcmp(m->payload, real->payload, m->length) != 0 || m->topic != real->whole.message.topic)
        client_wrong(c, "%lu is another message", m->seq);
    if (m->seq <= c->last_seq && c->last_seq != 0)
        client_wrong(c, "%lu came after %lu", m->seq, c->last_seq);
    if (!client_wants(c, m->topic))
        client_wrong(c, "%lu was not asked for", m->seq);
    if (!may_read(c, real))
        client_wrong(c, "%lu may not be read", m->seq);
    if (c->stable && m->seq > s->stable)
        client_wrong(c, "%lu is not stable", m->seq);
    if (!chain_holds(c, m->previous))
        client_wrong(c, "%lu says %lu came before it, which was %lu", m->seq, m->previous,
                     c->previous);
    judge_gap(c, m->seq);
    c->previous = c->last_seq = m->seq;
}

static void judge_progress(struct client *c, const struct edge_progress *p)
{
    c->progresses++;
    if (!chain_holds(c, p->previous))
        client_wrong(c, "PROGRESS %lu says %lu, which was %lu", p->through, p->previous,
                     c->previous);
    judge_gap(c, p->through + 1);
    if (p->through > c->last_seq)
        c->last_seq = p->through;
    /* A block's end: the chain begins anew. */
    uint32_t i = stream_index(c->stream, p->through);
    bool tick =
        i < c->stream->message_count && c->stream->messages[i].whole.message.seq == p->through &&
        (c->stream->messages[i].whole.message.topic == TOPIC_CLOCK || p->through == c->mark.seq);
    if (!tick || p->through % EDGE_BLOCK == EDGE_BLOCK - 1)
        c->previous = 0;
    uint32_t topic = tick ? c->stream->messages[i].whole.message.topic : 0;
    if (tick &&
        (p->through % EDGE_BLOCK == EDGE_BLOCK - 1 || topic == TOPIC_GRANT || topic == TOPIC_GROUP))
        c->joined = true; /* either */
}

static void judge_frame(struct client *c, enum edge_type type, const uint8_t *body, size_t length)
{
    struct edge_message m;
    struct edge_progress p;
    struct edge_forked f;
    struct edge_subscribed sub;
    if (type == EDGE_MESSAGE && edge_message_decode(body, length, &m)) {
        judge_message(c, &m);
    } else if (type == EDGE_PROGRESS && edge_progress_decode(body, length, &p)) {
        judge_progress(c, &p);
    } else if (type == EDGE_FORKED && edge_forked_decode(body, length, &f)) {
        if (!client_on_history(c, f.common))
            client_wrong(c, "FORKED to what never was");
        c->last_seq = f.common.seq;
        c->joined = true;
        c->forks++;
    } else if (type == EDGE_SUBSCRIBED && edge_subscribed_decode(body, length, &sub)) {
        c->last_seq = sub.position.seq;
        c->joined = c->begun = true;
    } else if (type == EDGE_CHANGED) {
        c->joined = true;
    }
}

void judge_bytes(struct client *c, const uint8_t *bytes, size_t length)
{
    if (c->frame == NULL)
        c->frame = malloc(EDGE_FRAME_MAX + EDGE_HEADER);
    while (length > 0 && !c->closed) {
        enum edge_type type;
        size_t whole = edge_frame_peek(c->frame, c->frame_length, &type);
        size_t want = whole != 0 ? whole : EDGE_HEADER;
        if (c->frame_length >= EDGE_HEADER)
            want = 4 + (size_t)wire_load32(c->frame);
        size_t piece = want - c->frame_length < length ? want - c->frame_length : length;
        memcpy(c->frame + c->frame_length, bytes, piece);
        c->frame_length += piece;
        bytes += piece;
        length -= piece;
        whole = edge_frame_peek(c->frame, c->frame_length, &type);
        if (whole == SIZE_MAX)
            client_wrong(c, "not a frame");
        if (whole == 0 || whole == SIZE_MAX || whole > c->frame_length)
            continue;
        judge_frame(c, type, c->frame + EDGE_HEADER, whole - EDGE_HEADER);
        c->frame_length = 0;
    }
}
