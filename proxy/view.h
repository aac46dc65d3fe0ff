/* Views: what everybody gets who wants the same and may read the same of it, encoded once (proxy/encoder.h,
 * proto/edge.h).
 *
 * A view is one principal's look at a filter, a set of subtrees. Views of one filter whose principals may read
 * the same of it, through whatever keys and groups, share an edition, which is what is encoded. (The
 * administrator's is its own.) Each topic has an interest: the set of editions that want it, found by one
 * look-up whatever the number of views, principals and subscriptions. Interests follow from the deepest
 * subscribed subtree above the topic and the topic's region of access, which many topics share, and are computed
 * anew, lazily, when editions come or go, topics appear or rights change.
 *
 * An edition's bytes are chunks from one pool. Readers have places in them, each its own. What all readers have
 * passed goes back to the pool at once, so that an edition of which everybody has everything holds no chunk.
 * When the pool is empty the oldest chunk of all goes, and when an edition holds more than lag_bytes_max its
 * oldest: whoever is still in it has lost its place (`losing`), is behind, and catches up (proxy/reader.h).
 *
 * Blocks end at each multiple of EDGE_BLOCK, and at each message on /sys/grant and /sys/group: so what an edition
 * says above the last change of rights depends on the rights that hold now and on nothing before. In front of
 * such a message an edition is split by what its principals may read from there on: the most keep it, the others
 * get one that begins as its copy, encoder, bytes not taken and all, so that no reader notices. Behind the block's
 * end editions that are the same again become one, each as soon as everybody in it has everything.
 *
 * Pure; all memory is taken by create. */
#ifndef CANTUS_PROXY_VIEW_H
#define CANTUS_PROXY_VIEW_H

#include "proxy/encoder.h"
#include "proxy/recent.h"

enum { VIEW_CHUNK_BYTES = 16384, VIEW_NONE = 0 };

struct views;

struct views_options {
    uint32_t views_max;
    uint32_t subtrees_max; /* of all views together */
    uint32_t topics_max;
    uint64_t bytes_max; /* of chunks; at least 4 MiB */
    uint64_t lag_bytes_max;
    uint32_t sabotage; /* enum proxy_sabotage */
};

/* A reader's place: everything behind it is kept until it moves on. */
struct view_reader {
    uint32_t view;    /* VIEW_NONE: nowhere */
    uint32_t edition; /* from 1 to views_max; the rest is the views' own */
    uint32_t chunk;
    uint64_t at;
    uint64_t shift; /* from bytes of the edition to those that the reader counts */
    struct view_reader *next, *previous; /* in the same chunk */
};

/* This reader is about to lose its place; what is there can be read for the last time. */
typedef void view_losing(void *ctx, struct view_reader *r);
/* It is in another edition now, where everything is as it was. */
typedef void view_moved(void *ctx, struct view_reader *r);

size_t views_memory(const struct views_options *o);
struct views *views_create(const struct views_options *o, const struct catalog *catalog,
                           const struct recent *recent, view_losing *losing, view_moved *moved,
                           void *ctx); /* NULL: no memory */
void views_destroy(struct views *v);

/* This principal's view of this filter, made if there is none; VIEW_NONE if there are too many views or subtrees.
 * `principal` is that of the catalog's access. Each open is closed once, by whom nobody is in it any more. */
uint32_t views_open(struct views *v, uint32_t principal, const struct edge_subtrees *subtrees);
/* The same subtrees for another principal. */
uint32_t views_open_as(struct views *v, uint32_t principal, uint32_t view);
void views_close(struct views *v, uint32_t view);
uint32_t view_subtrees(const struct views *v, uint32_t view);
/* Whether one of its subtrees is in this one, or this one in one of them. */
bool view_meets(const struct views *v, uint32_t view, const char *subtree, size_t length);

/* The next whole message, applied to the catalog and not yet to `recent`. Only what somebody will read is
 * written. */
void views_message(struct views *v, const struct run_message *m, uint64_t stable);
/* The last whole message that is stable, for those who read no more than that. */
void views_stable(struct views *v, uint64_t stable);
/* What is above `seq` no longer holds; the catalog and `recent` have gone back already. Nobody is in any view. */
void views_fork(struct views *v, uint64_t seq);

bool view_wants(struct views *v, uint32_t view, uint32_t topic);
/* The next edition that got bytes since it was last told; VIEW_NONE: no more. */
uint32_t views_touched(struct views *v);

struct block views_block(const struct views *v); /* where everything that was offered ends */
/* Behind everything that is written: for whoever joins there. NULL: not known before the block ends, for its beginning is
 * not in `recent` any more. */
const struct encoder *view_encoder(const struct views *v, uint32_t view);

/* Somebody else has offered the block so far to an encoder with this filter: for a view of which that is not
 * known. The block has not ended. */
void view_know(struct views *v, uint32_t view, const struct encoder *e);

/* Begins at the view's end, which for it is `end`. */
void view_join(struct views *v, uint32_t view, struct view_reader *r, uint64_t end);
/* Where that is now. */
uint64_t view_end(const struct views *v, const struct view_reader *r);
uint64_t view_unread(const struct views *v, const struct view_reader *r);
/* The last match in the block, at that end; 0: none. */
uint64_t view_previous(const struct views *v, const struct view_reader *r);
void view_leave(struct views *v, struct view_reader *r);
/* Bytes from its place, in place until the next call that changes views: of whole units, or of a part of one
 * that is larger than a chunk; only what is stable, if so asked. 0: none. */
size_t view_read(struct views *v, const struct view_reader *r, bool stable, const uint8_t **bytes);
void view_advance(struct views *v, struct view_reader *r, size_t taken);

/* ---- for tests and metrics ------------------------------------------------------------------- */
struct views_counts {
    uint64_t lookups;                 /* messages offered */
    uint64_t matches;                 /* messages written or noted, for each edition */
    uint64_t computed;                /* interests */
    uint64_t visited;                 /* subscriptions of editions looked at for that */
    uint64_t flushed;                 /* times that all interests were forgotten for want of room */
    uint64_t lost;                    /* places */
    uint64_t written;                 /* messages, for each reader that was there */
    uint64_t evicted;                 /* chunks that somebody still needed */
    uint64_t split, merged;           /* editions */
    uint64_t copied;                  /* chunks, for that */
    uint32_t views, editions, chunks; /* in use */
};
struct views_counts views_counts(const struct views *v);

#endif
