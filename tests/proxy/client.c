/* What a client asks for, and how it reads; what it must get is in client_expect.c and client_judge.c. */
#include "client_private.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char client_fault[256];

void client_wrong(struct client *c, const char *format, ...)
{
    va_list args;
    c->closed = true;
    if (client_fault[0] != 0)
        return;
    va_start(args, format);
    vsnprintf(client_fault, sizeof client_fault, format, args);
    va_end(args);
}

bool client_wants(const struct client *c, uint32_t topic)
{
    if (c->set_count == 0)
        return false;
    const struct client_set *set = &c->sets[c->set_count - 1];
    return stream_wants(c->stream, topic, set->subtrees, set->count);
}

uint64_t client_tip(const struct client *c)
{
    return c->stream->next_seq - 1 - c->stream->open_parts;
}

uint64_t client_last_seq(const struct stream *s)
{
    return s->message_count > 0 ? s->messages[s->message_count - 1].whole.message.seq : 0;
}

bool client_on_history(const struct client *c, struct position p)
{
    return epoch_table_has(catalog_epochs(c->stream->catalog), c->stream->next_seq - 1, p);
}

/* It began behind the seq in front of this one, or its set changed last from this one on. */
bool client_begins_at(const struct client *c, uint64_t seq)
{
    return c->subscribed &&
           (c->tick_from + 1 == seq || (c->set_count > 0 && c->sets[c->set_count - 1].seq == seq));
}

/* ---- requests -------------------------------------------------------------------------------- */

void client_open(struct client *c, struct stream *s, struct readers *readers, uint32_t principal,
                 bool stable)
{
    *c = (struct client) { .stream = s,
                           .readers = readers,
                           .principal = principal,
                           .exact = principal == ACCESS_PRINCIPAL_ADMIN,
                           .stable = stable,
                           .started = true,
                           .tick_ns = EDGE_TICK_DEFAULT_MS * UINT64_C(1000000) };
    memset(c->own_from, 0xff, sizeof c->own_from);
    c->reader = reader_open(readers, principal, stable ? EDGE_STABLE : EDGE_SEQUENCED, c);
    assert(c->reader != NULL);
    const struct epoch_entry *e = epoch_table_find(catalog_epochs(s->catalog), client_last_seq(s));
    c->epoch_said = e != NULL ? e->first_seq : 0;
    expect_from(c, client_last_seq(s) + 1);
}

static size_t put_subtrees(const char *const *subtrees, uint32_t count, uint8_t *out,
                           struct edge_subtrees *to)
{
    size_t length = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t n = strlen(subtrees[i]);
        out[length++] = (uint8_t)n;
        memcpy(out + length, subtrees[i], n);
        length += n;
    }
    *to = (struct edge_subtrees) { .count = (uint16_t)count, .at = out, .length = length };
    return length;
}

static void put_set(struct client *c, uint64_t seq, const char *const *subtrees, uint32_t count)
{
    assert(c->set_count < CLIENT_SETS && count <= CLIENT_SUBTREES);
    struct client_set *set = &c->sets[c->set_count++];
    *set = (struct client_set) { .seq = seq, .number = c->changes, .count = count };
    memcpy(set->subtrees, subtrees, count * sizeof subtrees[0]);
}

void client_subscribe(struct client *c, const struct edge_subscribe *request,
                      const char *const *subtrees, uint32_t count)
{
    uint8_t bytes[1024];
    expect_all(c);
    c->request = *request;
    put_subtrees(subtrees, count, bytes, &c->request.subtrees);
    struct position tip = stream_position(c->stream, client_tip(c));
    c->asked = request->from == EDGE_FROM_TIP ? tip : request->position;
    c->floor = client_last_seq(c->stream);
    judge_note_rights(c);
    c->subscribed = true;
    c->started = false; /* until it is told where */
    c->stable = request->level == EDGE_STABLE;
    c->tick_ns = request->tick_ms == 0 ? 1 : request->tick_ms * UINT64_C(1000000);
    put_set(c, 0, subtrees, count);
    c->joined = true;
    c->mark =
        stream_position(c->stream, client_last_seq(c->stream)); /* as if its login were that */
    reader_mark(c->reader, c->mark);
    enum reader_refusal refusal = reader_subscribe(c->reader, &c->request, tip);
    assert(refusal == READER_OK);
}

static size_t opened(uint64_t seq, uint8_t *out)
{
    struct edge_opened o = { .publisher = 3, .incarnation = 1, .last_number = 5, .join_seq = seq };
    return edge_opened_encode(&o, out, 64);
}

static void change_again(struct client *c, uint64_t seq)
{
    expect_all(c);
    struct client_set *set = &c->sets[c->set_count++];
    *set = c->fell[0];
    set->seq = seq;
    memmove(c->fell, c->fell + 1, --c->fell_count * sizeof c->fell[0]);
    reader_change_again(c->reader, seq, set->number);
    expect_changed(c, seq);
}

void client_change(struct client *c, const char *const *subtrees, uint32_t count)
{
    uint8_t bytes[1024];
    struct edge_subtrees now;
    if (!c->subscribed || !c->started || c->set_count == CLIENT_SETS)
        return;
    uint64_t seq = client_last_seq(c->stream) + 1;
    if (client_begins_at(c, seq))
        return; /* there is no record of it in front of that */
    if (c->fell_count > 0) {
        change_again(c, seq);
        return;
    }
    put_subtrees(subtrees, count, bytes, &now);
    if (reader_change(c->reader, &now, seq, c->changes + 1) != READER_OK)
        return;
    c->changes++;
    expect_all(c);
    put_set(c, seq, subtrees, count);
    if (c->exact)
        expect_changed(c, seq);
}

void client_own(struct client *c, uint32_t publisher)
{
    expect_all(c);
    if (c->own_from[publisher] == UINT64_MAX)
        c->own_from[publisher] = client_last_seq(c->stream);
    bool owned = reader_own(c->reader, publisher, client_last_seq(c->stream));
    assert(owned);
}

void client_insert(struct client *c)
{
    uint8_t frame[64];
    uint64_t seq = client_last_seq(c->stream);
    if (c->set_count > 0 && c->sets[c->set_count - 1].seq > seq)
        return; /* on either side of its CHANGED */
    size_t length = opened(seq, frame);
    if (!c->started || !reader_insert(c->reader, seq, false, frame, length))
        return;
    expect_all(c);
    if (c->exact)
        expect_inserted(c, seq, frame, length);
}

/* ---- forks ----------------------------------------------------------------------------------- */

void client_before_fork(struct client *c, struct position common)
{
    if (c->closed)
        return;
    expect_all(c);
    c->common = common;
    if (c->mark.seq > common.seq) /* no fork of the stream comes back to what it left */
        c->mark = (struct position) { 0 };
    c->forked = !c->stable && reader_seq(c->reader) > common.seq;
    if (c->exact)
        expect_before_fork(c);
}

void client_after_fork(struct client *c)
{
    if (c->closed) {
        if (client_fault[0] == 0 && reader_state(c->reader) < READER_BROKEN)
            client_wrong(c, "in the middle of a frame that no longer holds, and not broken");
        return;
    }
    if (!c->exact && reader_state(c->reader) >= READER_BROKEN)
        c->closed = true; /* its frame went */
    for (uint32_t p = 1; p <= STREAM_PUBLISHERS; p++)
        if (c->own_from[p] != UINT64_MAX && c->own_from[p] > c->common.seq)
            c->own_from[p] = c->common.seq;
    if (c->floor > c->common.seq) {
        c->floor = c->common.seq;
        judge_note_rights(c);
    }
    if (c->exact && c->started)
        expect_after_fork(c);
    else
        c->joined = true;
}

/* ---- reading --------------------------------------------------------------------------------- */

void client_read(struct client *c, size_t bytes, size_t room)
{
    const uint8_t *next;
    while (bytes > 0 && !c->closed) {
        size_t length = reader_next(c->reader, room, &next);
        if (length == 0)
            break;
        assert(length <= room);
        c->bytes += length;
        if (c->exact)
            expect_bytes(c, next, length);
        else
            judge_bytes(c, next, length);
        reader_take(c->reader);
        bytes = length < bytes ? bytes - length : 0;
    }
    if (!c->exact && reader_state(c->reader) >= READER_BROKEN)
        c->closed = true; /* what it had a piece of may not be read any more */
    if (!c->closed && reader_state(c->reader) >= READER_LOST)
        client_wrong(c, "%s", reader_state(c->reader) == READER_LOST ? "lost" : "broken");
}

void client_complete(struct client *c)
{
    if (c->closed)
        return;
    if (c->exact)
        expect_complete(c);
    else if (c->begun)
        judge_gap(c, c->stable ? c->stream->stable + 1 : UINT64_MAX);
}

void client_close(struct client *c)
{
    if (c->reader != NULL)
        reader_close(c->reader);
    free(c->expected);
    free(c->segments);
    free(c->frame);
    memset(c, 0, sizeof *c);
}
