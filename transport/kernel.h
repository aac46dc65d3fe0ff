/* The kernel-socket back end's own: shared by kernel*.c and nobody else. */
#ifndef CANTUS_TRANSPORT_KERNEL_H
#define CANTUS_TRANSPORT_KERNEL_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "transport/transport.h"

enum {
    KERNEL_SEND_MAX = 1024, /* datagrams queued; more are sent at once */
    KERNEL_SCRATCH_BYTES = 512 * 1024,
    KERNEL_SEGMENTS_MAX = 64,     /* of one UDP_SEGMENT send */
    KERNEL_SEGMENTED_MAX = 65507, /* bytes of one send: what an IPv4 UDP datagram holds */
    KERNEL_COALESCED_MAX = 32,    /* receive buffers when the kernel may coalesce */
    KERNEL_COALESCED_BYTES = 64 * 1024,
    KERNEL_FLOW_SUSPECTED = 2,    /* looks in a row that found something: from then on for many */
    KERNEL_FLOW_BEGINS = 4,       /* looks in a row that found something, at last many */
    KERNEL_FLOW_ENDS = 256,       /* looks in a row that found nothing, or one datagram */
    KERNEL_STREAMS_LIMIT = 65000, /* an id has 16 bits for them */
    KERNEL_ACCEPTS_MAX = 16,      /* per round, of each listener */
    KERNEL_HANDSHAKES_MAX = 8,    /* steps of them per round: each may take a signature */
    KERNEL_BATCH_MIN = 8,         /* streams with something to send for which one call is made, */
    KERNEL_BATCH_MAX = 64,        /* and of one call */
    KERNEL_LISTENERS = 2          /* our own address, and where clients are accepted */
};

/* Room for two control messages: what was dropped and a segment size. */
union kernel_control {
    char bytes[2 * CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

struct kernel_send {
    const uint8_t *bytes;
    uint32_t length;
    enum port_channel channel;
    struct port_addr to;
};

struct kernel_sender {
    struct kernel_send *queue; /* [KERNEL_SEND_MAX] */
    uint32_t count;
    struct mmsghdr *messages; /* [KERNEL_SEND_MAX] each, built at a flush */
    struct iovec *vectors;
    struct sockaddr_in *addresses;
    union kernel_control *controls;
    uint32_t *firsts; /* queue index of each message's first datagram */
    uint8_t *scratch; /* [KERNEL_SCRATCH_BYTES] */
    uint32_t scratch_used;
    uint64_t wait_left_ns; /* of this flush's patience with a full socket buffer */
    bool segmentation;     /* turned off when the device turns out to refuse it */
};

/* How a socket is read. While arrivals are few, one at a time by the cheapest call, and acted upon
 * before anything else is looked at; while they come one after the other, many at a time, and the
 * kernel may coalesce them. */
struct kernel_flow {
    bool coalesces;  /* UDP_GRO is on */
    bool stays;      /* it is not turned off again */
    bool may_be_old; /* it is off, but what was coalesced before may still be queued */
    uint32_t full;   /* looks in a row that found something, or did not find many */
    uint32_t empty;
};

struct kernel_receiver {
    struct mmsghdr *messages; /* [slots] each */
    struct iovec *vectors;
    struct sockaddr_in *addresses;
    union kernel_control *controls;
    enum port_channel *channels;
    uint8_t *buffers;
    uint32_t slots;
    uint32_t slot_bytes;
    uint32_t used; /* slots that hold something */
    uint32_t at;   /* slot to hand out from next, and where in it */
    uint32_t offset;
    uint32_t segment;      /* size of the segments of that slot; 0: one datagram */
    uint32_t turn;         /* channel to read first, so that a flood on one starves no other */
    enum port_channel hot; /* where something arrived last */
    uint64_t looked_ns;    /* when another one had its turn */
    struct kernel_flow flows[PORT_CHANNELS];
    uint32_t dropped[PORT_CHANNELS]; /* SO_RXQ_OVFL as last seen */
};

enum kernel_stream_state {
    KERNEL_STREAM_FREE,
    KERNEL_STREAM_CONNECTING,
    KERNEL_STREAM_OPEN,
    KERNEL_STREAM_CLOSING, /* by us: sends what is left */
    KERNEL_STREAM_DRAINING /* all sent: waits for the other side's end, so that nothing is reset */
};

struct kernel_stream {
    enum kernel_stream_state state;
    int fd;
    uint16_t generation;
    bool client;
    bool dirty;        /* in the list of those with something to send */
    bool watched;      /* in the list of those that epoll says nothing of */
    bool parked;       /* not watched by epoll: its end waits for its turn */
    bool in_parked;    /* in that list */
    bool had_turn;     /* its end is looked at when epoll tells of it */
    bool spread;       /* its buffers have more than a page of memory each */
    bool rests;        /* nothing has moved since they were looked at last */
    uint32_t interest; /* epoll events asked for */
    struct port_addr peer;
    uint64_t since_ns;    /* accepted */
    uint64_t close_by_ns; /* 0: not yet known */
    uint8_t *in;          /* contiguous: in_start..in_end is not consumed */
    uint32_t in_start, in_end;
    uint8_t *out; /* ring: `out_used` bytes from out_start */
    uint32_t out_start, out_used;
    uint32_t room_wanted; /* 0: nobody waits */
    struct tls_link *tls; /* NULL: plain */
    bool shakes;          /* hands: nothing else moves meanwhile */
    bool wants_write;     /* TLS does, to go on reading or shaking hands */
    bool more_in;         /* TLS may hold bytes for which there was no room */
};

struct kernel_streams {
    struct kernel_stream *table; /* [max] */
    uint32_t max;
    uint32_t page_bytes;
    uint32_t buffer_bytes;
    uint32_t active;
    uint16_t *free; /* [max], a ring: reuse comes late */
    uint32_t free_first, free_count;
    uint16_t *dirty; /* [max] */
    uint32_t dirty_count;
    struct kernel_batch *batch; /* NULL: not needed yet */
    bool batch_refused;         /* or the system has none */
    uint16_t *watched; /* [max], a ring: those with bytes not consumed, and those that we close */
    uint32_t watched_first, watched_count;
    uint16_t *parked; /* [max], a ring */
    uint32_t parked_first, parked_count;
    uint32_t turns;    /* clients that may come or go now */
    uint64_t turns_ns; /* counted up to then */
    uint64_t now_ns;   /* of this round */
    uint64_t talk_ns; /* a client that is no newcomer said something, or was told something, then */
    bool holds_back;  /* clients are not accepted before the next turn */
    uint32_t offers_owed; /* to so many of them, before the loop may wait */
    uint8_t *memory;
    size_t memory_bytes;
    int epoll;
    int listen[KERNEL_LISTENERS]; /* -1: not there */
    int reserve;     /* given up to refuse a connection when the process is out of descriptors */
    uint32_t hot;    /* its slot has had bytes last, */
    uint64_t hot_ns; /* then */
    uint64_t looked_ns;
    uint64_t busy_ns;     /* something came */
    uint64_t swept_ns;    /* memory was given back */
    uint32_t shakes_left; /* of this round */
    bool look_again;
};

struct kernel {
    struct transport transport; /* first */
    struct transport_options options;
    int epoll;                  /* the datagram sockets and streams.epoll; -1: nobody has asked */
    int sockets[PORT_CHANNELS]; /* -1: not received */
    int senders
        [PORT_CHANNELS]; /* [PORT_UNICAST] is sockets'; the others have the same address, each
                                   connected to its group; -1: no group */
    bool joins;          /* some group */
    struct kernel_sender sender;
    struct kernel_receiver receiver;
    struct kernel_streams streams;
};

static inline struct kernel *kernel_of(struct port *port)
{
    return (struct kernel *)(void *)port;
}

struct sockaddr_in kernel_sockaddr(struct port_addr a);
struct port_addr kernel_addr(const struct sockaddr_in *a);

/* kernel_setup.c: all sockets. False with a text in error. */
bool kernel_setup_sockets(struct kernel *k, char *error);
bool kernel_setup_listen(struct kernel *k, char *error);

bool kernel_sender_init(struct kernel *k);
void kernel_sender_close(struct kernel *k);
void kernel_send(struct port *port, enum port_channel channel, struct port_addr to,
                 const uint8_t *bytes, uint32_t length);
uint8_t *kernel_scratch(struct port *port, uint32_t length);
void kernel_send_flush(struct kernel *k);

/* Before we send segments to a group that we have joined: a socket that can't take them would have
 * them taken apart, each to be dropped as our own. */
void kernel_receive_own_segments(struct kernel *k, enum port_channel channel);
bool kernel_receiver_init(struct kernel *k);
void kernel_receiver_close(struct kernel *k);
uint32_t kernel_receive(struct transport *t, struct port_datagram *out, uint32_t max,
                        uint64_t now_ns);

/* kernel_tls.c. Of a stream's own descriptor; server_name as in tls_begin. */
bool kernel_tls_begin(struct kernel *k, struct kernel_stream *stream, const char *server_name);
bool kernel_tls_shake(struct kernel_stream *stream); /* false: it has failed */
/* Behind in_end; what came before `over` counts. */
size_t kernel_tls_read(struct kernel_stream *stream, size_t room, bool *over);
/* -1: no more for now, or never again, which reading will show. */
ssize_t kernel_tls_write(struct kernel_stream *stream, const uint8_t *bytes, size_t length);

bool kernel_streams_init(struct kernel *k);
void kernel_streams_close(struct kernel *k);
void kernel_stream_options(const struct kernel_streams *s, int fd, bool client);
uint32_t kernel_stream_connect(struct port *port, struct port_addr to);
size_t kernel_stream_room(struct port *port, uint32_t id, size_t want);
void kernel_stream_write(struct port *port, uint32_t id, const void *bytes, size_t length);
void kernel_stream_write_pieces(struct port *port, uint32_t id, const struct port_piece *pieces,
                                uint32_t count);
void kernel_stream_close(struct port *port, uint32_t id);
void kernel_stream_binding(struct port *port, uint32_t id, uint8_t out[PORT_BINDING_SIZE]);
bool kernel_streams_poll(struct transport *t, const struct participant_ops *ops, void *core,
                         struct port_time now);
void kernel_streams_flush(struct kernel *k);

#endif
