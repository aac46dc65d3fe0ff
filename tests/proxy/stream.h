/* A stream as a sequencer might write it, with everything in it that readers have to mind: several publishers
 * and their rejects, groups and fragments that cross blocks, ticks, grants and revocations, epochs; and what it
 * was at an earlier time, to fork back to. Kept whole, as batches and as whole messages with what was true at
 * each. */
#ifndef CANTUS_TESTS_PROXY_STREAM_H
#define CANTUS_TESTS_PROXY_STREAM_H

#include "follow/run.h"
#include "proto/catalog.h"

enum {
    STREAM_ID = 7007,
    STREAM_TOPICS = 60,
    STREAM_TOPICS_END = TOPIC_FIRST_USER + STREAM_TOPICS,
    STREAM_PUBLISHERS = 6,
    STREAM_BATCH_MAX = 1472,
    STREAM_PRINCIPALS = 4 /* anyone, the administrator, and two keys */
};

struct stream_batch {
    struct batch_header header;
    uint8_t *bytes;
};

struct stream_message {
    struct run_message whole;
    uint64_t stable;
    uint8_t *payload;
    uint32_t may_read; /* bit p: principal p may read it, with the rights behind it */
    struct epoch epoch;
};

struct stream {
    struct catalog *catalog, *saved;
    struct epoch_table
        dead; /* epochs that are off the history, with the last seq of each in `before.low` */
    struct epoch epoch;
    uint64_t next_seq, time_ns, stable;
    uint64_t publisher_seqs[STREAM_PUBLISHERS + 1];
    struct digest digest;
    struct run_assembler assembler;
    struct stream_batch *batches;
    uint32_t batch_count;
    struct stream_message *messages;
    uint32_t message_count;
    uint64_t random;
    uint64_t saved_seq, saved_time_ns; /* 0: nothing is saved */
    uint64_t saved_publisher_seqs[STREAM_PUBLISHERS + 1];
    struct digest saved_digest;
    struct epoch saved_epoch;
    uint32_t saved_batches, saved_messages;
    bool epoch_due;      /* the next write begins one */
    uint32_t open_parts; /* of the run that the last batch left open */
    uint8_t admin[ACCESS_KEY_SIZE], keys[2][ACCESS_KEY_SIZE];
    uint32_t busy;     /* how many messages a batch has at most */
    uint32_t large;    /* one message in so many may be large */
    bool quiet_rights; /* nothing is granted or revoked any more */
    bool few;          /* topics and publishers in any stretch */
};

struct stream *stream_new(uint64_t seed);
void stream_free(struct stream *s);
uint32_t stream_draw(struct stream *s, uint32_t below);

/* Begins a batch with whatever; stream_write ends it and says which whole messages came of it: those from
 * *first on. */
void stream_write(struct stream *s, uint32_t *first);
/* The same, of these messages only. */
void stream_write_one(struct stream *s, uint32_t topic, uint32_t publisher, const void *payload,
                      uint32_t length, uint32_t *first);
/* Remembers this as a place to go back to; false inside of a run. */
bool stream_save(struct stream *s);
/* Goes back there; what came since never was. A new epoch begins with the next write. */
struct position stream_fork(struct stream *s);
/* The watermark goes up to somewhere at or below the saved place, or anywhere if nothing is saved. */
void stream_settle(struct stream *s);

bool stream_wants(const struct stream *s, uint32_t topic, const char *const *subtrees,
                  uint32_t count);
bool stream_may_read(const struct stream *s, uint32_t principal, uint32_t topic);
/* The first whole message at or above seq. */
uint32_t stream_index(const struct stream *s, uint64_t seq);
struct position stream_position(const struct stream *s, uint64_t seq);

#endif
