#include "fake_port.h"

#include <assert.h>
#include <string.h>

static void fake_send(struct port *port, enum port_channel channel, struct port_addr to,
                      const uint8_t *bytes, uint32_t length)
{
    struct fake_port *p = (struct fake_port *)(void *)port;
    assert(p->sent_count < FAKE_SENT_MAX && length <= PORT_SCRATCH_MAX);
    struct fake_sent *s = &p->sent[p->sent_count++];
    s->channel = channel;
    s->to = to;
    s->length = length;
    memcpy(s->bytes, bytes, length);
}

static uint8_t *fake_scratch(struct port *port, uint32_t length)
{
    struct fake_port *p = (struct fake_port *)(void *)port;
    assert(length <= PORT_SCRATCH_MAX);
    return p->scratch;
}

static uint32_t fake_connect(struct port *port, struct port_addr to)
{
    struct fake_port *p = (struct fake_port *)(void *)port;
    if (p->refuse_connect)
        return 0;
    assert(p->stream_count < FAKE_STREAMS_MAX);
    p->streams[p->stream_count] = (struct fake_stream) { .to = to };
    return ++p->stream_count;
}

static size_t fake_room(struct port *port, uint32_t stream, size_t want)
{
    struct fake_port *p = (struct fake_port *)(void *)port;
    (void)stream;
    return p->room < want ? p->room : want;
}

static void fake_write(struct port *port, uint32_t stream, const void *bytes, size_t length)
{
    struct fake_port *p = (struct fake_port *)(void *)port;
    struct fake_stream *s = &p->streams[stream - 1];
    assert(!s->closed && s->written + length <= sizeof s->bytes);
    memcpy(s->bytes + s->written, bytes, length);
    s->written += length;
}

static void fake_close(struct port *port, uint32_t stream)
{
    struct fake_port *p = (struct fake_port *)(void *)port;
    assert(!p->streams[stream - 1].closed);
    p->streams[stream - 1].closed = true;
}

static const struct port_ops fake_ops = { .send = fake_send,
                                          .scratch = fake_scratch,
                                          .stream_connect = fake_connect,
                                          .stream_room = fake_room,
                                          .stream_write = fake_write,
                                          .stream_close = fake_close };

void fake_port_init(struct fake_port *p)
{
    memset(p, 0, sizeof *p);
    p->port = (struct port) { .ops = &fake_ops, .self = { 1, 1 }, .datagram_max = 1472 };
    p->room = 4096;
}
