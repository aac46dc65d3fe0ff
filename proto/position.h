/* Epochs, positions and the history digest: the words every other header speaks in.
 *
 * A position that crosses a connection, a file or a process is always (epoch, seq), because a bare
 * seq can mean two different messages once a failover has dropped an unstable tail. */
#ifndef CANTUS_PROTO_POSITION_H
#define CANTUS_PROTO_POSITION_H

#include <stdbool.h>
#include <stdint.h>

/* The incarnation of the active sequencer. Numbers only grow; the random candidate id tells apart
 * two candidates that picked the same number, of which at most one ever begins. {0, 0} is the
 * genesis epoch, which has exactly one message: the genesis record, seq 1. */
struct epoch {
    uint64_t candidate;
    uint32_t number;
};

struct position {
    struct epoch epoch; /* the epoch of message seq */
    uint64_t seq;       /* 0: before the first message, on every history */
};

/* XXH3-128 over a batch, which holds the digest before it: the head of a hash chain over all
 * messages up to a batch boundary. Finds accidents and forks, not forgers (docs/guarantees.md). */
struct digest {
    uint64_t low;
    uint64_t high;
};

static inline int epoch_compare(struct epoch a, struct epoch b)
{
    if (a.number != b.number)
        return a.number < b.number ? -1 : 1;
    if (a.candidate != b.candidate)
        return a.candidate < b.candidate ? -1 : 1;
    return 0;
}

static inline bool epoch_equal(struct epoch a, struct epoch b)
{
    return a.number == b.number && a.candidate == b.candidate;
}

/* The order in which tails are adopted: the epoch of the last message first, then the seq. */
static inline int position_compare(struct position a, struct position b)
{
    int order = epoch_compare(a.epoch, b.epoch);
    if (order != 0)
        return order;
    return a.seq < b.seq ? -1 : a.seq > b.seq;
}

static inline bool digest_equal(struct digest a, struct digest b)
{
    return a.low == b.low && a.high == b.high;
}

#endif
