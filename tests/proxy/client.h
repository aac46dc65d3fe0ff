/* A client of readers: takes bytes and judges them.
 *
 * An exact one, whose rights never change, knows every byte that it must get: they are made anew from the whole
 * messages of the stream, a plain filter and an encoder (which has a test of its own), without views, catch-up,
 * ring or chunks. The others know what they may and what they must get. */
#ifndef CANTUS_TESTS_PROXY_CLIENT_H
#define CANTUS_TESTS_PROXY_CLIENT_H

#include "proxy/reader.h"
#include "stream.h"

enum { CLIENT_SUBTREES = 4, CLIENT_SETS = 64, CLIENT_FELL = 4 /* that a reader keeps */ };

struct client_set {
    uint64_t seq;       /* from here on */
    uint32_t number;    /* of its change */
    size_t segment_end; /* of its CHANGED, in what is expected */
    const char *subtrees[CLIENT_SUBTREES];
    uint32_t count;
};

struct segment {
    uint64_t seq;
    size_t end;
};

struct client {
    struct stream *stream;
    struct readers *readers;
    struct reader *reader;
    uint32_t principal;
    bool exact, stable, subscribed, started, closed;
    bool told; /* where it begins, but that went with a fork */
    struct edge_subscribe request;
    struct position asked; /* what the request comes to: the position, or the tip */
    struct client_set sets[CLIENT_SETS];
    uint32_t set_count;
    struct client_set fell[CLIENT_FELL]; /* with a fork: their records come again, in their order */
    uint32_t fell_count, changes;
    uint64_t own_from[STREAM_PUBLISHERS + 1]; /* UINT64_MAX: not its own */
    uint64_t floor;
    uint64_t tick_ns, tick_last, tick_from, epoch_said;
    struct position mark; /* PROGRESS is due behind it, too; 0: no more */

    struct encoder encoder;
    struct block block;
    uint32_t next_index;
    uint8_t *expected;
    size_t length, capacity, received;
    struct segment *segments;
    uint32_t segment_count, segment_capacity;
    bool forked; /* it has to be told */
    struct position common;

    /* Of those that are not exact. */
    uint8_t *frame; /* what came of a frame */
    size_t frame_length;
    uint64_t last_seq, previous;
    bool may[STREAM_TOPICS_END]; /* with the rights at `floor` */
    bool begun;                  /* it was told where */
    bool joined;                 /* the chain begins anew */
    uint64_t messages, ticks, outcomes, forks, progresses, bytes;
    uint64_t told_seq;
};

extern char client_fault[256]; /* what the first client found wrong; empty: nothing */

void client_open(struct client *c, struct stream *s, struct readers *readers, uint32_t principal,
                 bool stable);
void client_subscribe(struct client *c, const struct edge_subscribe *request,
                      const char *const *subtrees, uint32_t count);
void client_change(struct client *c, const char *const *subtrees, uint32_t count);
void client_own(struct client *c, uint32_t publisher);
void client_insert(struct client *c);
/* In front of readers_fork, and behind it. */
void client_before_fork(struct client *c, struct position common);
void client_after_fork(struct client *c);
/* Reads up to so many bytes, at most `room` at a time. */
void client_read(struct client *c, size_t bytes, size_t room);
/* It has been given all that there is, and it has to be everything. */
void client_complete(struct client *c);
void client_close(struct client *c);

#endif
