/* A bare proxy: what comes on a connection goes to the group, and what comes back from a bare sequencer to that
 * connection; whoever says hello is let in at once. It waits as Cantus does by default: after 50 us of spinning. */
#ifndef CANTUS_BENCH_EDGE_BARE_H
#define CANTUS_BENCH_EDGE_BARE_H

#include "bench/floor.h"
#include "bench/stage.h"

enum { EDGE_BARE_FRAME_MAX = 2048 };

struct edge_bare {
    struct floor_socket relay, echo; /* the proxy's and the sequencer's datagrams */
    int listener;
    uint16_t port;
    uint32_t request_bytes, answer_bytes; /* a message's, on the connection */
    size_t unsent_bytes;                  /* of a request that is not all there */
    uint8_t request[EDGE_BARE_FRAME_MAX];
};

/* In front of the forks. False with errno set; close it all the same. */
bool edge_bare_open(struct edge_bare *b, const struct stage *s, uint32_t payload_bytes);
void edge_bare_close(struct edge_bare *b);
/* Roles, while the phase is STAGE_FLOOR. */
void edge_bare_proxy(struct edge_bare *b, const struct stage *s);
void edge_bare_sequencer(struct edge_bare *b, const struct stage *s);
/* For up to so long: the bytes that came; 0: none. */
size_t edge_bare_wait(int fd, uint64_t timeout_ns);

#endif
