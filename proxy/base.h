/* The catalog a second time, at the stable watermark: what a fork goes back to.
 *
 * Messages under /sys wait here until they are stable. A fork makes the tip's catalog a copy of this one,
 * and applies to it what waits below the common end. Pure. */
#ifndef CANTUS_PROXY_BASE_H
#define CANTUS_PROXY_BASE_H

#include "proto/catalog.h"

struct base;

enum { BASE_BYTES = 4 << 20 }; /* of what waits */

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
/* Everything behind `common` is gone, and `tip` is the catalog as of there. False if that is below what was
 * stable, or a run was open there that began earlier and may go on: follow the stream from its beginning. */
bool base_fork(struct base *b, struct catalog *tip, uint64_t common_seq);
/* The epoch record `seq` has cut off a run. */
void base_note_voided(struct base *b, uint64_t seq);

const struct catalog *base_catalog(const struct base *b);

#endif
