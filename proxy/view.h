/* Views: what everybody with the same filter gets, encoded once (proxy/encoder.h, proto/edge.h).
 *
 * A filter is a set of subtrees, and what its reader may read of them. Each topic has an interest: the set of
 * views that want it, found by one look-up whatever the number of views and subscriptions. Interests that are
 * equal are kept once: they follow from the deepest subscribed subtree above the topic and the topic's region
 * of access, and are computed anew, lazily, when views come or go, topics appear or rights change.
 *
 * A view's bytes are chunks from one pool. Readers have places in them, each its own. What all readers have
 * passed goes back to the pool at once; when the pool is empty, the oldest chunk of the view that holds most
 * goes, and its readers have lost their places: they are behind, and catch up (proxy/reader.h).
 *
 * Blocks end at each multiple of EDGE_BLOCK, and at each message on /sys/grant and /sys/group: so what a view
 * says above the last change of rights depends on the rights that hold now and on nothing before.
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
    uint64_t bytes_max; /* of chunks */
    uint32_t sabotage;  /* enum proxy_sabotage */
};

size_t views_memory(const struct views_options *o);
struct views *views_create(const struct views_options *o, const struct catalog *catalog,
                           const struct recent *recent); /* NULL: no memory */
void views_destroy(struct views *v);

/* The view of this filter, made if there is none; VIEW_NONE if there are too many views or subtrees.
 * `principal` is that of the catalog's access. Each open is closed once. */
uint32_t views_open(struct views *v, uint32_t principal, const struct edge_subtrees *subtrees);
void views_close(struct views *v, uint32_t view);

/* The next whole message, applied to the catalog and not yet to `recent`. Only views with somebody in them
 * are encoded. */
void views_message(struct views *v, const struct run_message *m, uint64_t stable);
/* Everything through `seq` has been offered; this much of it is stable. */
void views_through(struct views *v, uint64_t seq, uint64_t stable, uint64_t time_ns);
/* What is above `seq` no longer holds; the catalog and `recent` have gone back already. What was encoded of
 * it is gone: places behind view_end have to be given up (and their owners told). */
void views_fork(struct views *v, uint64_t seq);

bool view_wants(const struct views *v, uint32_t view, uint32_t topic);

/* Bytes since the view began: endless. */
uint64_t view_end(const struct views *v, uint32_t view);
uint64_t view_stable_end(const struct views *v, uint32_t view); /* of what is stable */
uint64_t view_seq(const struct views *v,
                  uint32_t view); /* everything through this has been encoded */
/* The encoder behind view_end: for whoever joins there. */
const struct encoder *view_encoder(const struct views *v, uint32_t view);

/* A reader begins at the view's end: everything behind that place is kept for it until it moves on. */
struct view_reader {
    uint32_t view;
    uint64_t at;
    uint32_t next, previous; /* the views' own: readers of a view, by chunk */
};
void view_join(struct views *v, uint32_t view, struct view_reader *r);
void view_leave(struct views *v, struct view_reader *r);
/* Bytes from its place, in place until the next call that changes views; 0: none. SIZE_MAX: it has
 * lost its place, and has left. */
size_t view_read(const struct views *v, const struct view_reader *r, const uint8_t **bytes);
void view_advance(struct views *v, struct view_reader *r, size_t taken);

#endif
