/* What a core sees of the network: datagrams and byte streams, as events in and effects out.
 *
 * A core calls `port_send` and friends inside its entry points; nothing happens there but queueing.
 * Whoever drives the core (a shell's loop, the simulator) carries the effects out afterwards. A
 * transport back end implements `struct port`; so does the simulator. */
#ifndef CANTUS_TRANSPORT_PORT_H
#define CANTUS_TRANSPORT_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct port_time {
    uint64_t mono_ns; /* for time-outs */
    uint64_t wall_ns; /* Unix time: may jump both ways */
};
#define PORT_NEVER UINT64_MAX

/* IPv4, host byte order. */
struct port_addr {
    uint32_t ip;
    uint16_t port;
};

static inline bool port_addr_equal(struct port_addr a, struct port_addr b)
{
    return a.ip == b.ip && a.port == b.port;
}

enum { PORT_ADDR_TEXT = sizeof "255.255.255.255:65535" };

/* As people write it. Returns `out`. */
static inline const char *port_addr_write(struct port_addr a, char out[PORT_ADDR_TEXT])
{
    snprintf(out, PORT_ADDR_TEXT, "%u.%u.%u.%u:%u", a.ip >> 24, a.ip >> 16 & 255, a.ip >> 8 & 255,
             a.ip & 255, a.port);
    return out;
}

enum port_channel {
    PORT_UNICAST = 0,
    PORT_INGRESS = 1,  /* group: publishers -> sequencers */
    PORT_EGRESS_A = 2, /* group: sequencer -> everyone, line A */
    PORT_EGRESS_B = 3, /* the same on another network, if configured */
    PORT_CHANNELS = 4
};

struct port_datagram {
    const uint8_t *bytes; /* borrowed: until the entry point that got it returns */
    uint32_t length;
    struct port_addr from;
    enum port_channel channel; /* it arrived on */
};

enum port_stream_event_type {
    PORT_STREAM_ACCEPTED, /* somebody connected to us */
    PORT_STREAM_CONNECTED,
    PORT_STREAM_BYTES, /* bytes and length: everything received and not yet consumed */
    PORT_STREAM_ROOM,  /* room to write again, after a write found too little */
    PORT_STREAM_CLOSED /* by the other side, an error, or a refused connect; the id is dead */
};

struct port_stream_event {
    enum port_stream_event_type type;
    uint32_t stream;
    bool client; /* it was accepted where clients are */
    struct port_addr peer;
    const uint8_t *bytes;
    size_t length;
    const char *reason; /* of CLOSED, for humans; NULL: none is known */
};

enum { PORT_BINDING_SIZE = 32 };

enum { PORT_PIECES_MAX = 16 };

/* Of what is written in one go. */
struct port_piece {
    const uint8_t *bytes;
    size_t length;
};

struct port;

struct port_ops {
    /* Queues one datagram. `bytes` must stay as they are until the driver has flushed, which it
     * does after the entry point returns and before the next one. `to` counts for PORT_UNICAST
     * only; a group that is not configured takes nothing. */
    void (*send)(struct port *port, enum port_channel channel, struct port_addr to,
                 const uint8_t *bytes, uint32_t length);
    /* Memory for a small datagram, good until the flush. Never NULL up to PORT_SCRATCH_MAX bytes.
     */
    uint8_t *(*scratch)(struct port *port, uint32_t length);
    /* Begins to connect; the id of the stream, or 0 if there are too many. CONNECTED or CLOSED
     * follows. */
    uint32_t (*stream_connect)(struct port *port, struct port_addr to);
    /* How many bytes stream_write takes now. If fewer than `want`, a ROOM event comes later. */
    size_t (*stream_room)(struct port *port, uint32_t stream, size_t want);
    /* Copies. length <= room. */
    void (*stream_write)(struct port *port, uint32_t stream, const void *bytes, size_t length);
    /* The same for several pieces, at most PORT_PIECES_MAX; what the network takes at once is spared the copy.
     * NULL: piece by piece. */
    void (*stream_write_pieces)(struct port *port, uint32_t stream, const struct port_piece *pieces,
                                uint32_t count);
    /* Closes once what was written is sent. No event follows. */
    void (*stream_close)(struct port *port, uint32_t stream);
    /* What both ends of this connection know and nobody else does (RFC 9266), to be signed by who logs in
     * over it; zeros for a stream that is not encrypted. NULL: no stream is. */
    void (*stream_binding)(struct port *port, uint32_t stream, uint8_t out[PORT_BINDING_SIZE]);
};

enum { PORT_SCRATCH_MAX = 512 };

struct port {
    const struct port_ops *ops;
    struct port_addr self; /* our unicast address */
    uint16_t stream_port;  /* where we accept streams; 0: nowhere */
    uint32_t datagram_max; /* payload bytes */
};

static inline void port_send(struct port *p, enum port_channel channel, struct port_addr to,
                             const uint8_t *bytes, uint32_t length)
{
    p->ops->send(p, channel, to, bytes, length);
}

static inline uint8_t *port_scratch(struct port *p, uint32_t length)
{
    return p->ops->scratch(p, length);
}

static inline void port_stream_write_pieces(struct port *p, uint32_t stream,
                                            const struct port_piece *pieces, uint32_t count)
{
    if (p->ops->stream_write_pieces != NULL) {
        p->ops->stream_write_pieces(p, stream, pieces, count);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        p->ops->stream_write(p, stream, pieces[i].bytes, pieces[i].length);
}

static inline void port_stream_binding(struct port *p, uint32_t stream,
                                       uint8_t out[PORT_BINDING_SIZE])
{
    for (int i = 0; i < PORT_BINDING_SIZE; i++)
        out[i] = 0;
    if (p->ops->stream_binding != NULL)
        p->ops->stream_binding(p, stream, out);
}

struct disk_completion;

/* A core as its driver sees it. After any on_* calls the driver calls `step`, then flushes. */
struct participant_ops {
    void (*on_datagrams)(void *core, const struct port_datagram *datagrams, uint32_t count,
                         struct port_time now);
    /* For BYTES returns how many were consumed; the rest comes again with what arrives next, or in
     * the next round if nothing does. A core that waits for room asks for that round by its
     * deadline. */
    size_t (*on_stream)(void *core, const struct port_stream_event *event, struct port_time now);
    void (*on_disk)(void *core, const struct disk_completion *completion, struct port_time now);
    /* Does what is due; returns the mono_ns at which it wants to be called again: PORT_NEVER, or
     * now or earlier if it has more to do at once. */
    uint64_t (*step)(void *core, struct port_time now);
};

#endif
