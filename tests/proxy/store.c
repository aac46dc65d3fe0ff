#include "store.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/replay.h"

static struct store *of(struct port *port)
{
    return (struct store *)(void *)port;
}

static void no_send(struct port *port, enum port_channel channel, struct port_addr to,
                    const uint8_t *bytes, uint32_t length)
{
    (void)port, (void)channel, (void)to, (void)bytes, (void)length;
}

static uint8_t *no_scratch(struct port *port, uint32_t length)
{
    (void)port, (void)length;
    return NULL;
}

static uint32_t do_connect(struct port *port, struct port_addr to)
{
    struct store *s = of(port);
    for (uint32_t i = 0; i < STORE_STREAMS; i++) {
        struct store_stream *t = &s->streams[i];
        if (t->open)
            continue;
        uint8_t *out = t->out != NULL ? t->out : malloc(STORE_OUT);
        *t = (struct store_stream) { .open = true, .port = to.port, .out = out };
        return i + 1;
    }
    return 0;
}

static size_t do_room(struct port *port, uint32_t stream, size_t want)
{
    (void)port, (void)stream;
    return want;
}

static void put(struct store_stream *t, enum replay_type type, const void *body, size_t length)
{
    size_t wrote =
        replay_frame_encode(type, body, length, t->out + t->length, STORE_OUT - t->length);
    assert(wrote > 0);
    t->length += wrote;
}

static void put_end(struct store *s, struct store_stream *t, enum replay_end_reason reason,
                    uint64_t oldest_seq)
{
    struct replay_end end = { .reason = reason, .oldest_seq = oldest_seq, .next_seq = t->next_seq };
    uint8_t body[64];
    (void)s;
    put(t, REPLAY_END, body, replay_end_encode(&end, body, sizeof body));
    t->asked = false;
}

static uint64_t oldest_of(const struct store *s, const struct store_stream *t)
{
    return t->port == 2 && s->oldest_seq_of_second != 0 ? s->oldest_seq_of_second : s->oldest_seq;
}

static void do_write(struct port *port, uint32_t stream, const void *bytes, size_t length)
{
    struct store *s = of(port);
    struct store_stream *t = &s->streams[stream - 1];
    struct replay_request q;
    enum replay_type type;
    assert(replay_frame_peek(bytes, length, &type) == length && type == REPLAY_REQUEST);
    assert(replay_request_decode((const uint8_t *)bytes + REPLAY_FRAME_HEADER,
                                 length - REPLAY_FRAME_HEADER, &q));
    assert(q.stream == STREAM_ID && !t->asked);
    t->asked = true;
    t->next_seq = q.first_seq;
    t->end_seq = q.end_seq;
    s->requests++;
    s->searches += q.end_seq == q.first_seq + 1;
    if (q.first_seq < oldest_of(s, t))
        put_end(s, t, REPLAY_PRUNED, oldest_of(s, t));
    else if (s->refuses != 0 && stream_draw(s->stream, s->refuses) == 0)
        s->refused++, put_end(s, t, REPLAY_BUSY, 1);
}

static void do_close(struct port *port, uint32_t stream)
{
    of(port)->streams[stream - 1].open = false;
}

void store_init(struct store *s, struct stream *stream)
{
    static const struct port_ops ops = { .send = no_send,
                                         .scratch = no_scratch,
                                         .stream_connect = do_connect,
                                         .stream_room = do_room,
                                         .stream_write = do_write,
                                         .stream_close = do_close };
    *s = (struct store) { .port = { .ops = &ops }, .stream = stream };
}

void store_close(struct store *s)
{
    for (uint32_t i = 0; i < STORE_STREAMS; i++)
        free(s->streams[i].out);
}

/* The next batch, or the end. */
static void produce(struct store *s, struct store_stream *t)
{
    struct stream *from = s->stream;
    uint32_t low = 0, high = from->batch_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (batch_end_seq(&from->batches[middle].header) <= t->next_seq)
            low = middle + 1;
        else
            high = middle;
    }
    if (t->next_seq >= t->end_seq || low == from->batch_count) {
        put_end(s, t, REPLAY_DONE, 1);
        return;
    }
    const struct stream_batch *b = &from->batches[low];
    uint8_t bytes[STREAM_BATCH_MAX];
    memcpy(bytes, b->bytes, b->header.length);
    if (s->lies != 0 && stream_draw(from, s->lies) == 0) {
        /* Well-formed, but of another history. */
        struct batch_builder again = { .bytes = bytes,
                                       .capacity = sizeof bytes,
                                       .length = b->header.length,
                                       .count = b->header.count,
                                       .first_seq = b->header.first_seq };
        struct batch_header header = b->header;
        header.before.low ^= 1;
        batch_close(&again, 0, &header);
        s->lied++;
    }
    put(t, REPLAY_BATCH, bytes, b->header.length);
    s->frames++;
    t->next_seq = batch_end_seq(&b->header);
}

static void tell(struct store *s, uint32_t i, enum port_stream_event_type type,
                 store_receiver *receiver, void *ctx)
{
    struct store_stream *t = &s->streams[i];
    struct port_stream_event e = {
        .type = type, .stream = i + 1, .bytes = t->out, .length = t->length
    };
    size_t consumed = 0;
    bool known = receiver(ctx, &e, &consumed);
    assert(known);
    if (!t->open || !t->told)
        return; /* closed meanwhile, and maybe another's already */
    assert(consumed <= t->length);
    t->length -= consumed;
    memmove(t->out, t->out + consumed, t->length);
}

void store_pump(struct store *s, store_receiver *receiver, void *ctx)
{
    for (uint32_t i = 0; i < STORE_STREAMS; i++) {
        struct store_stream *t = &s->streams[i];
        if (!t->open)
            continue;
        if (!t->told) {
            t->told = true;
            tell(s, i, PORT_STREAM_CONNECTED, receiver, ctx);
        }
        for (uint32_t k = 0; k < 20 && t->open && t->asked && t->length < STORE_OUT / 2; k++)
            produce(s, t);
        if (t->open && t->length > 0)
            tell(s, i, PORT_STREAM_BYTES, receiver, ctx);
        if (t->open && s->breaks != 0 && stream_draw(s->stream, s->breaks) == 0) {
            t->open = false;
            s->broke++;
            struct port_stream_event e = { .type = PORT_STREAM_CLOSED, .stream = i + 1 };
            size_t consumed;
            (void)receiver(ctx, &e, &consumed);
        }
    }
}
