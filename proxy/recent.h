/* The recent part of the stream, as whole messages in their order: what readers that have fallen behind, or
 * begin a little in the past, are served from without asking a store.
 *
 * A ring of bytes. Messages are copied in once and read in place. The oldest leave for new ones; what is above
 * the stable watermark leaves like the rest, for nobody needs it to go back over a fork: a cut only shortens.
 * Blocks are those of EDGE_BLOCK seqs. Each stretch of RECENT_STRETCH seqs has a note of what is in it, by which
 * somebody who wants nothing of that passes it without reading it. Pure; all memory is taken by create. */
#ifndef CANTUS_PROXY_RECENT_H
#define CANTUS_PROXY_RECENT_H

#include "follow/run.h"
#include "proto/edge.h"

struct recent;

enum { RECENT_STRETCH = 64, RECENT_STRETCH_TOPICS = 6, RECENT_STRETCH_PUBLISHERS = 4 };

_Static_assert(EDGE_BLOCK % RECENT_STRETCH == 0, "a stretch lies in one block");

/* What whole messages it has, those that have left since included. Nothing in it ends a block or begins an epoch. */
struct recent_stretch {
    uint64_t number;   /* seq / RECENT_STRETCH */
    uint64_t last_seq; /* of the last message */
    uint64_t last_ns;
    uint64_t clock_ns; /* of the last on /sys/clock; 0: none */
    uint64_t end;      /* place behind it */
    uint32_t topics[RECENT_STRETCH_TOPICS];
    uint32_t publishers[RECENT_STRETCH_PUBLISHERS];
    uint8_t topic_count, publisher_count;
    bool unknown; /* more of either, or something that everybody has to look at */
};

/* `bytes` is rounded up to a power of two, at least 64 KiB; more than twice the largest message. NULL: no
 * memory. */
struct recent *recent_create(uint64_t bytes);
void recent_destroy(struct recent *r);
size_t recent_memory(uint64_t bytes); /* that create takes */

/* The next whole message of the stream, which may begin anywhere; `stable` is the watermark of the batch that completed it. */
void recent_push(struct recent *r, const struct run_message *m, uint64_t stable);
/* What is above `seq` no longer holds. */
void recent_fork(struct recent *r, uint64_t seq);

/* Every message from this seq on is there; 0: nothing is kept. */
uint64_t recent_oldest(const struct recent *r);
/* The same, at the beginning of a block; above recent_end if no block is whole. */
uint64_t recent_first(const struct recent *r);
uint64_t recent_end(const struct recent *r); /* behind the last message */

/* A place in it. Good until the message there leaves or is cut; recent_next finds out. */
struct recent_cursor {
    uint64_t seq; /* everything below has been read */
    uint64_t place;
    uint64_t cuts;
};
/* At the first message at or above `seq`; false if that is not kept any more. */
bool recent_seek(const struct recent *r, uint64_t seq, struct recent_cursor *out);

enum recent_result { RECENT_MESSAGE, RECENT_END, RECENT_GONE };
/* The next one, in place until the next push. */
enum recent_result recent_next(const struct recent *r, struct recent_cursor *c,
                               struct run_message *out, uint64_t *stable);
/* The stretch that the next one is in; NULL: there is none, or it has to be read. */
const struct recent_stretch *recent_stretch(const struct recent *r, const struct recent_cursor *c);
/* Behind it. */
static inline void recent_pass(struct recent_cursor *c, const struct recent_stretch *t)
{
    c->place = t->end;
    c->seq = t->last_seq + 1;
}
/* The first message stamped at or after time_ns: its first seq. RECENT_END: all are earlier; RECENT_GONE: it
 * may be further back. */
enum recent_result recent_find_time(const struct recent *r, uint64_t time_ns, uint64_t *first_seq);

#endif
