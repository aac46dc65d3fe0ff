/* A transport back end: a `struct port` for a core, and the driver's side of it.
 *
 * Back ends: kernel sockets (kernel.c), the simulator's network (sim/). A user-space stack
 * fits the same interface: nothing here names a socket. One thread; no allocation after open, but
 * for TLS's (tls.h). */
#ifndef CANTUS_TRANSPORT_TRANSPORT_H
#define CANTUS_TRANSPORT_TRANSPORT_H

#include "transport/port.h"
#include "transport/tls.h"

enum { TRANSPORT_ERROR_MAX = 256, TRANSPORT_RECEIVE_MAX = 256, TRANSPORT_LOOK_NS = 3000 };

struct transport_options {
    struct port_addr unicast; /* ip of our interface, default 127.0.0.1; port 0: any */
    struct port_addr groups[PORT_CHANNELS]; /* ingress, egress A and B; port 0: not configured */
    uint32_t interfaces[PORT_CHANNELS];     /* ip of each group's interface; 0: unicast.ip */
    bool join[PORT_CHANNELS];               /* which groups are received */
    bool listen;                            /* accept streams at our own address */
    uint16_t stream_port;                   /* to listen on there; 0: any */
    struct port_addr clients;               /* accept streams here, too; ip 0: on every interface;
                                               port 0: don't */
    uint32_t datagram_max;                  /* default 1472 */
    uint32_t receive_buffer_bytes;          /* default 8 MiB, as far as the system allows */
    uint32_t streams_max;                   /* default 64 */
    uint32_t stream_buffer_bytes;           /* each way, of memory that is taken when it is used and
                                               given back by those that rest; default 256 KiB */
    uint8_t ttl;                            /* of multicast; default 1 */
    bool segmentation;                      /* UDP_SEGMENT / UDP_GRO where it helps */
    /* What is accepted at `clients` speaks TLS, or where we connect to, if tls_name says whose certificate
     * is wanted there (NULL: plain). It must outlive the transport. NULL: all streams are plain. */
    struct tls *tls;
    const char *(*tls_name)(void *ctx, struct port_addr to);
    void *tls_ctx;
};

struct transport;

struct transport_ops {
    /* What has arrived, at most `max` (<= TRANSPORT_RECEIVE_MAX); borrowed until the next receive.
     * now_ns, monotonic, lets a back end look where something arrived last, and every
     * TRANSPORT_LOOK_NS at one of the other channels in turn; 0: everywhere, as after a wait. What
     * the transport sent itself does not come back to it. */
    uint32_t (*receive)(struct transport *t, struct port_datagram *out, uint32_t max,
                        uint64_t now_ns);
    /* Hands stream events to the participant, as many as there are. True if there were any. */
    bool (*streams)(struct transport *t, const struct participant_ops *ops, void *core,
                    struct port_time now);
    /* Sends what the core queued. Datagrams that the system refuses are dropped and counted. */
    void (*flush)(struct transport *t);
    /* Becomes readable when there is something to receive or a stream event; -1: out of memory. Who
     * never waits does not ask for it, and spares every arrival the wake-up. */
    int (*fd)(struct transport *t);
    void (*close)(struct transport *t);
};

struct transport_counters {
    uint64_t datagrams_in, bytes_in, datagrams_out, bytes_out;
    uint64_t send_errors;       /* datagrams that the system refused */
    uint64_t receive_overflows; /* datagrams lost because the socket's buffer was full */
    uint64_t receive_oversized; /* datagrams dropped: longer than datagram_max */
    uint64_t streams_refused;
    uint64_t lost_on_purpose; /* by transport_lose */
};

struct transport {
    struct port port; /* first: a back end's struct port * is its struct transport * */
    const struct transport_ops *ops;
    struct transport_counters counters;
    bool more; /* streams() has something left to hand over: not to be waited before the next one */
    uint64_t due_ns;     /* streams() has something to hand over then; 0: not that it knew */
    uint32_t lose_below; /* of 2^32; 0: nothing is lost on purpose */
    uint64_t lose_state;
};

/* From now on loses this share of the datagrams that arrive, each by itself, whatever the kernel
 * had coalesced. For tests and benches. */
void transport_lose(struct transport *t, double share, uint64_t seed);
/* For back ends: whether to lose the next one. */
static inline bool transport_loses(struct transport *t)
{
    if (t->lose_below == 0)
        return false;
    t->lose_state = t->lose_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    bool lose = (uint32_t)(t->lose_state >> 32) < t->lose_below;
    t->counters.lost_on_purpose += lose;
    return lose;
}

/* Fills in the defaults named above where a field is zero. */
void transport_options_default(struct transport_options *o);

/* Kernel sockets: recvmmsg, sendmmsg, epoll. NULL on failure, with a text in error
 * [TRANSPORT_ERROR_MAX] that says what, where and what to do (port in use, no multicast route, no
 * such interface, no permission). */
struct transport *transport_open_kernel(const struct transport_options *options, char *error);

#endif
