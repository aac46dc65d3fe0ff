/* From messages to the frames of the client protocol, block by block, as proto/edge.h says.
 *
 * Two encoders with the same filter that have been offered the same messages of a block write the same
 * bytes from there on. So one that starts inside of a block is offered the block from its beginning, muted,
 * and then says the names that it would have introduced. Pure; a plain struct.
 *
 * A block's end is said when the next message of the stream comes, whatever that is: in front of it. So what is
 * written is a function of the whole messages, one by one, and not of what a batch was. What is written for one
 * message is a unit: its NAMEs and its MESSAGE, or a PROGRESS. */
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

/* Where in its block a walk over the whole messages is. */
struct block {
    uint64_t seq; /* of the last message; 0: none */
    uint64_t timestamp_ns;
    bool ended; /* by that message: it changed who may read what */
};

/* Whether a block ends in front of this seq, and through where. */
static inline bool block_ends(const struct block *b, uint64_t seq, uint64_t *through)
{
    if (b->ended)
        *through = b->seq;
    else
        *through = b->seq / EDGE_BLOCK * EDGE_BLOCK + (EDGE_BLOCK - 1);
    return b->seq != 0 && *through < seq;
}

static inline void block_note(struct block *b, const struct message *m)
{
    *b = (struct block) { .seq = m->seq,
                          .timestamp_ns = m->timestamp_ns,
                          .ended = m->topic == TOPIC_GRANT || m->topic == TOPIC_GROUP };
}

/* The first seq of the block around this one, but for ends by messages. */
static inline uint64_t block_begin(uint64_t seq)
{
    uint64_t begin = seq / EDGE_BLOCK * EDGE_BLOCK;
    return begin != 0 ? begin : 1;
}

struct encoder {
    uint64_t previous; /* the last match in the block; 0: none, and `names` are of no meaning */
    uint32_t names[ENCODER_NAMES]; /* kind and id; 0: nothing */
};

/* As at the beginning of a block. */
void encoder_begin(struct encoder *e);

/* A whole message of the block that matches, behind those offered before. `out` has room for its payload
 * and ENCODER_OVERHEAD_MAX. Returns the bytes written. Muted: takes note of it and writes nothing. */
size_t encoder_message(struct encoder *e, const struct catalog *names, const struct run_message *m,
                       bool muted, uint8_t *out);
/* The same without the payload, which has to follow. */
size_t encoder_head(struct encoder *e, const struct catalog *names, const struct run_message *m,
                    bool muted, uint8_t out[ENCODER_OVERHEAD_MAX]);
/* The block is complete through this seq; the next begins. Writes its PROGRESS if something matched: at most
 * ENCODER_END_MAX bytes. `time_ns` is that of the block's last message, for the next one may fall with a fork
 * that leaves this block; `stable` is what was known with the next one. */
size_t encoder_end(struct encoder *e, uint64_t through, uint64_t stable, uint64_t time_ns,
                   bool muted, uint8_t *out);
/* The names that are known to whoever read the block from its beginning. *at begins at 0; returns the bytes
 * written, as many as fit; all are said when *at is ENCODER_NAMES. */
size_t encoder_names(const struct encoder *e, const struct catalog *names, uint32_t *at,
                     uint8_t *out, size_t capacity);
bool encoder_equal(const struct encoder *a, const struct encoder *b);

/* A unit in bytes that an encoder wrote, from its beginning on. */
struct encoder_unit {
    size_t length;     /* all of it, whatever is there of it */
    uint64_t seq;      /* of the message; of a PROGRESS, what it reaches through */
    uint64_t previous; /* that it says */
    bool is_end;       /* a PROGRESS */
};
/* The seq that has to be stable for it to be: a PROGRESS is said in front of a later message. */
static inline uint64_t encoder_unit_seq(const struct encoder_unit *u)
{
    return u->seq + u->is_end;
}
/* At least its head has to be there: the NAMEs, and the first fields of what they are for. */
struct encoder_unit encoder_unit_at(const uint8_t *bytes, size_t available);

#endif
