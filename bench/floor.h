/* The floor under a round trip: two bare processes that bounce one multicast datagram, with the same
 * kind of sockets and the same way of waiting as the measured part. */
#ifndef CANTUS_BENCH_FLOOR_H
#define CANTUS_BENCH_FLOOR_H

#include <stdbool.h>
#include <stdint.h>

#include "transport/port.h"

struct floor_socket {
    int receive; /* joined to `from` */
    int send;
    struct port_addr to;
};

/* False with errno set. */
bool floor_open(struct floor_socket *s, struct port_addr from, struct port_addr to,
                uint32_t interface);
void floor_close(struct floor_socket *s);
/* Bounces what arrives until *stop; spinning with sched_yield, like the measured part. */
void floor_echo(struct floor_socket *s, const volatile int *phase, int while_phase);
/* One round trip of a 32-byte datagram, in ns; 0 if it was lost (200 ms). */
uint64_t floor_ping(struct floor_socket *s, uint64_t number);

#endif
