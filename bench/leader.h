/* A leading sequencer's core, alone: no socket, no other process. Its publishers are datagrams made
 * beforehand, its stores acknowledge what they were sent some batches ago, its port counts.
 *
 * It is what `core` measures, and what writes the streams that the other cases read. */
#ifndef CANTUS_BENCH_LEADER_H
#define CANTUS_BENCH_LEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "sequencer/core.h"

enum {
    LEADER_CHUNK_MAX = 512, /* datagrams made at a time */
    LEADER_BURST = 64,      /* handed over at a time, as one receive call would bring them */
    LEADER_STORES = 3,
    LEADER_ACK_LAG = 1024 /* batches: some 0.7 ms at 40 M messages/s */
};

struct leader_options {
    uint32_t publishers;
    uint32_t topics;
    uint32_t payload_bytes;
    /* What goes out on the egress group, from the epoch record on. May be NULL. */
    void (*emitted)(void *ctx, const uint8_t *bytes, uint32_t length);
    void *ctx;
};

struct leader;

/* Leads when this returns; publishers have joined, topics exist. NULL: no memory. */
struct leader *leader_create(const struct leader_options *options);
void leader_destroy(struct leader *l);

const uint8_t *leader_genesis(const struct leader *l, uint32_t *length);
uint64_t leader_stream(const struct leader *l);
const struct sequencer *leader_core(const struct leader *l);

/* Makes the next `count` datagrams of proposals, as full as they get, of publishers and on topics
 * in no order. Returns the number of messages. */
uint32_t leader_make(struct leader *l, uint32_t count);
/* The core takes them, and emits them: what is measured. */
void leader_run(struct leader *l);
/* The core takes somebody else's datagrams, at most LEADER_CHUNK_MAX, as many receive calls would bring them, and
 * everything it then emits is stable. */
void leader_take(struct leader *l, const struct port_datagram *datagrams, uint32_t count);
/* The same bytes through nothing but what no sequencer can spare: a checksum of each datagram, a
 * copy of each payload, a digest of each batch. */
void leader_floor(struct leader *l);

#endif
