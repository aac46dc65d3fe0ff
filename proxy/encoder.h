/* From messages to the frames of the client protocol: block by block, as proto/edge.h says.
 *
 * Two encoders with the same filter that have been offered the same messages of a block write the same bytes
 * from there on. So one that starts inside of a block is offered the block from its beginning, muted, and
 * then says the names it would have introduced. Pure. */
#ifndef CANTUS_PROXY_ENCODER_H
#define CANTUS_PROXY_ENCODER_H

#include "follow/run.h"
#include "proto/catalog.h"
#include "proto/edge.h"

struct encoder {
    uint64_t block;    /* seq / EDGE_BLOCK of what was offered last */
    uint64_t previous; /* the last match in it; 0: none */
    uint64_t stable;   /* as the last batch said */
    uint64_t time_ns;
    uint32_t name_count;
    /* What this block has introduced: open addressing over kind and id, emptied by the generation. */
    uint32_t *names;
    uint32_t *generations;
    uint32_t slots;
    uint32_t generation;
};

/* Bytes of frames that one message can become at most, its payload aside: the end of a block, two names, and
 * its own header. */
enum {
    ENCODER_OVERHEAD_MAX =
        2 * (EDGE_HEADER + 32) + 2 * (EDGE_HEADER + 4 + 256) + EDGE_HEADER + EDGE_MESSAGE_HEADER
};

bool encoder_init(struct encoder *e); /* false: no memory */
void encoder_close(struct encoder *e);
/* At the beginning of the block that holds `seq`. */
void encoder_begin(struct encoder *e, uint64_t seq);

/* A whole message that matches, the payload included; out has room for it and ENCODER_OVERHEAD_MAX. Returns
 * the bytes written. Muted: takes note of it and writes nothing. */
size_t encoder_message(struct encoder *e, const struct catalog *names, const struct run_message *m,
                       bool muted, uint8_t *out);
/* Everything through this seq was offered. Writes the PROGRESS that ends a block, if one ended. */
size_t encoder_through(struct encoder *e, uint64_t seq, uint64_t stable, uint64_t time_ns,
                       uint8_t *out);
/* The names this block has introduced so far, in order of kind and id. Returns the bytes written, 0 when it
 * does not fit; *from begins at 0 and is where to go on: at UINT32_MAX all are said. */
size_t encoder_names(const struct encoder *e, const struct catalog *names, uint32_t *from,
                     uint8_t *out, size_t capacity);

#endif
