/* The floors under what goes over the network: two bare processes that bounce one multicast
 * datagram, or of which one sends what the other receives, with the same kind of sockets, the same
 * sizes and the same way of waiting as the measured part. */
#ifndef CANTUS_BENCH_FLOOR_H
#define CANTUS_BENCH_FLOOR_H

#include <stdbool.h>
#include <stdint.h>

#include "transport/port.h"

struct floor_socket {
    int receive; /* joined to `from` */
    int send;
    uint32_t request_bytes; /* of a ping, and of its answer; at least 8 */
    uint32_t answer_bytes;
};

enum { FLOOR_DATAGRAM_BYTES = 1472, FLOOR_AT_ONCE = 64 };

/* False with errno set. */
bool floor_open(struct floor_socket *s, struct port_addr from, struct port_addr to,
                uint32_t interface);
void floor_close(struct floor_socket *s);
/* Answers what arrives, while `goes_on` says so; spinning with sched_yield, like the measured
 * part. */
void floor_echo(struct floor_socket *s, bool (*goes_on)(void *ctx), void *ctx);
/* One round trip, in ns; 0 if it was lost (200 ms). */
uint64_t floor_ping(struct floor_socket *s, uint64_t number);

/* Sends FLOOR_AT_ONCE datagrams in one call. How many left. */
uint32_t floor_blast(struct floor_socket *s);
/* Receives as many at most in one call; yields when there are none. */
uint32_t floor_drain(struct floor_socket *s);

#endif
