/* The catalog a second time, at the stable watermark: what a fork goes back to.
 *
 * Messages under /sys wait here until they are stable. A fork makes the tip's catalog a copy of this one,
 * and applies to it what waits below the common end. Where runs were is kept for as long: a history that
 * is gone back to may go on with a run of which the beginning is not at hand any more. Pure. */
#ifndef CANTUS_PROXY_BASE_H
#define CANTUS_PROXY_BASE_H

#include "proto/catalog.h"

struct base;

enum {
    BASE_BYTES = 4 << 20, /* of what waits */
    BASE_RUNS_MAX = 16384 /* that are known: forks to below one that is forgotten begin anew */
};

size_t base_memory(const struct catalog_options *options);
struct base *base_create(const struct catalog_options *options); /* NULL: no memory */
void base_destroy(struct base *b);
void base_clear(struct base *b);

/* Whether a whole batch more may be pushed; if not, wait for base_stable. */
bool base_has_room(const struct base *b, const struct batch_header *batch);
/* A message under /sys, in the order of the stream. */
void base_apply(struct base *b, const struct message *m, const struct batch_header *batch);
/* Everything at and below this seq has become stable. */
void base_stable(struct base *b, uint64_t seq);
/* A run began with first_seq and was open until end_seq, which ended it or cut it off. In their order. */
void base_note_run(struct base *b, uint64_t first_seq, uint64_t end_seq);
/* Everything behind `common` is gone, and `tip` is the catalog as of there; *open_seq is where
 * the run begins that is open there; 0: none is. False if that is below what was stable, or it is not known whether
 * one is: follow the stream from its beginning. */
bool base_fork(struct base *b, struct catalog *tip, uint64_t common_seq, uint64_t *open_seq);

const struct catalog *base_catalog(const struct base *b);

#endif
