/* Many subscribers in one process: each reads all that comes on its connection, counts the messages, and checks
 * that they come in their order with none missing. No library, and nothing is done with a message besides.
 *
 * The first 8 bytes of a payload are its number, from 1 on. */
#ifndef CANTUS_BENCH_EDGE_CROWD_H
#define CANTUS_BENCH_EDGE_CROWD_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/stage.h"
#include "proto/edge.h"

enum crowd_protocol { CROWD_EDGE, CROWD_NATS };

struct crowd {
    enum crowd_protocol protocol;
    uint32_t max, count, payload_bytes;
    struct crowd_end *ends;
    uint64_t *seen;              /* the last number, of each */
    uint64_t *seqs;              /* CROWD_EDGE: of the message before */
    uint8_t *bytes;              /* read into */
    uint32_t head;               /* CROWD_NATS: what comes before each payload */
    char text[64];               /* the same */
    int epoll;                   /* its descriptor is readable when something has come */
    uint32_t subscribed;         /* CROWD_EDGE: SUBSCRIBED frames that came */
    struct edge_subscribed last; /* of them */
    uint64_t total;              /* messages */
    const struct stage *stage;   /* or NULL: that connections end when it does is no failure */
    bool failed; /* one was missing, came twice, or the connection ended: said on stderr */
};

/* False: no memory or no descriptors. Close it all the same. */
bool crowd_open(struct crowd *c, enum crowd_protocol protocol, uint32_t max,
                uint32_t payload_bytes);
void crowd_close(struct crowd *c);
/* The other side is told that all have gone; they are still to be closed, which may be done bit by bit. */
void crowd_drop(struct crowd *c);
void crowd_close_some(struct crowd *c, uint32_t max);
/* A connection that is subscribed, with nothing published yet. It is the crowd's from here on. */
bool crowd_add(struct crowd *c, int fd);
/* Reads what has come, or comes within so many milliseconds. False: nothing has. */
bool crowd_poll(struct crowd *c, int timeout_ms);
/* The last number that everybody has seen. */
uint64_t crowd_least(const struct crowd *c);
/* So many connections may be open in this process. */
bool crowd_raise_descriptors(uint32_t count);

#endif
