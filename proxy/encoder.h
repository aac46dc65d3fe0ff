/* From messages to the frames of the client protocol, block by block, as proto/edge.h says.
 *
 * Two encoders with the same filter that have been offered the same messages of a block write the same
 * bytes from there on. So one that starts inside of a block is offered the block from its beginning, muted,
 * and then says the names that it would have introduced. Pure; a plain struct.
 *
 * A block is complete when no run is open that began in it: messages of a run are offered when its last
 * one is there. */
#ifndef CANTUS_PROXY_ENCODER_H
#define CANTUS_PROXY_ENCODER_H

#include "follow/run.h"
#include "proto/catalog.h"
#include "proto/edge.h"

enum {
    ENCODER_NAMES =
        1024, /* remembered as introduced; one whose place was taken is introduced again */
    /* What one message can become, its payload aside: two names, and its header. */
    ENCODER_OVERHEAD_MAX = 2 * (EDGE_HEADER + 5 + 255) + EDGE_HEADER + EDGE_MESSAGE_HEADER,
    ENCODER_END_MAX = EDGE_HEADER + 32
};

struct encoder {
    uint64_t block;    /* seq / EDGE_BLOCK of what is offered */
    uint64_t previous; /* the last match in it; 0: none, and `names` are of no meaning */
    uint32_t names[ENCODER_NAMES]; /* kind and id; 0: nothing */
};

/* As behind everything below the block of this seq. */
void encoder_begin(struct encoder *e, uint64_t seq);

/* A whole message of the block that matches, behind those offered before. `out` has room for its payload
 * and ENCODER_OVERHEAD_MAX. Returns the bytes written. Muted: takes note of it and writes nothing. */
size_t encoder_message(struct encoder *e, const struct catalog *names, const struct run_message *m,
                       bool muted, uint8_t *out);
/* The block is complete; the next begins. Writes its PROGRESS if something matched: at most ENCODER_END_MAX
 * bytes. `stable` and `time_ns` are of the batch that completed it. */
size_t encoder_end(struct encoder *e, uint64_t stable, uint64_t time_ns, bool muted, uint8_t *out);
/* The names that are known to whoever read the block from its beginning. *at begins at 0; returns the bytes
 * written, as many as fit; all are said when *at is ENCODER_NAMES. */
size_t encoder_names(const struct encoder *e, const struct catalog *names, uint32_t *at,
                     uint8_t *out, size_t capacity);

#endif
