/* Views: what all clients with the same filter get, encoded once.
 *
 * A filter is a set of subtrees and what may be read of them. Each topic has an interest: the set of
 * views that want it, found by one look-up whatever the number of views; equal sets are kept once.
 * A view is a list of chunks of encoded frames; sessions are readers of it, each with a place of its own.
 * A chunk goes back to the pool when no reader is in or before it, or when the pool is empty and it is the
 * oldest: its readers have lost their place then, and catch up. */
#ifndef CANTUS_PROXY_VIEW_H
#define CANTUS_PROXY_VIEW_H

#include "proxy/encoder.h"

enum { VIEW_CHUNK_BYTES = 16384, VIEW_NONE = 0 };

struct views;

struct views_options {
    uint32_t views_max;
    uint32_t topics_max;
    uint64_t bytes_max; /* of chunks */
};

/* Where a reader stands in its view's bytes. */
struct view_place {
    uint64_t at; /* bytes since the view began */
};

struct views *views_create(const struct views_options *o); /* NULL: no memory */
void views_destroy(struct views *v);

/* The view with this filter, made if there is none; VIEW_NONE if there are too many. Every open is closed
 * once. `principal` is that of the catalog's access table. */
uint32_t views_open(struct views *v, const struct catalog *catalog, uint32_t principal,
                    const struct edge_subtrees *subtrees);
void views_close(struct views *v, uint32_t view);

/* The stream, in its order, whole messages; then, once a batch, how far it goes. Only views with readers
 * are encoded. */
void views_message(struct views *v, const struct catalog *catalog, const struct run_message *m);
void views_through(struct views *v, uint64_t seq, uint64_t stable, uint64_t time_ns);
/* Topics are new, or rights changed: filters are computed anew, lazily. */
void views_catalog_changed(struct views *v, const struct catalog *catalog);
/* What was encoded above `common_seq` no longer holds. Readers beyond it must be told (their place is then
 * above view_end). */
void views_fork(struct views *v, uint64_t common_seq);

bool view_wants(const struct views *v, uint32_t view, uint32_t topic);
/* A place behind everything that was encoded for seqs through `seq`, if that is still there and the view has
 * been encoded since: for a session that has caught up with it. */
bool view_place_at(const struct views *v, uint32_t view, uint64_t seq, struct view_place *out);
/* Bytes to send from there, at most up to `seq_max`: in place, until the next call that changes views.
 * 0: none now. SIZE_MAX: the place was lost. */
size_t view_read(const struct views *v, uint32_t view, struct view_place place, uint64_t seq_max,
                 const uint8_t **bytes);
/* The last seq that is wholly before the place. */
uint64_t view_seq_before(const struct views *v, uint32_t view, struct view_place place);
uint64_t view_end(const struct views *v, uint32_t view);

#endif
