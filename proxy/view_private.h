/* The inside of views.
 *
 *   view.c           memory, filters, what the stream does to views
 *   view_interest.c  which views want a topic
 *   view_chunk.c     their bytes, and the readers in them */
#ifndef CANTUS_PROXY_VIEW_PRIVATE_H
#define CANTUS_PROXY_VIEW_PRIVATE_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/hash.h"
#include "proxy/core.h"
#include "proxy/view.h"

enum { NONE = 0 }; /* of every index: tables begin at 1 */

/* A subtree that some view has in its filter. */
struct node {
    uint64_t hash;
    uint32_t next; /* in its slot of the index, or free */
    uint32_t first_sub;
    uint16_t length;
    char path[TOPIC_PATH_MAX + 1];
};

/* One subtree of one view. */
struct sub {
    uint32_t node, view;
    uint32_t next_of_node, next_of_view;
    uint32_t next; /* in its slot of the index, or free */
};

/* The views that have this very node, and may read in this region; and where to go on, at the next
 * subscribed subtree around it. A view's subtrees do not overlap, so nothing is met twice. */
struct interest {
    uint32_t node, region;
    uint32_t version;
    uint32_t up;
    uint32_t first, count; /* in `lists` */
};

/* What is remembered of a topic. */
struct topic_place {
    uint32_t interest, version;
    uint32_t node, node_version; /* the deepest around it */
};

struct chunk {
    uint64_t start; /* of its bytes, in the view's */
    uint64_t last_seq;
    uint32_t used;
    uint32_t stable_used; /* known to be stable */
    bool goes_on; /* it holds a later part of a unit that is larger than a chunk, nothing else */
    uint32_t view;
    uint32_t next;         /* of the view, or free */
    uint32_t older, newer; /* of all in use */
    struct view_reader *readers;
};

struct view {
    uint32_t refs;
    uint32_t principal;
    uint32_t first_sub, sub_count;
    uint32_t next; /* in its slot of the index, or free */
    uint64_t hash;
    uint64_t valid_from; /* count of blocks from which on the encoder knows its block's beginning */
    uint32_t next_matched, next_touched;
    bool matched, touched;
    uint32_t joined, at_end;
    uint32_t first_chunk, last_chunk;
    uint64_t end;
    struct view_reader *idle; /* of whom nobody needs a chunk */
    struct encoder encoder;
};

struct subtree {
    const char *text;
    size_t length;
};

struct views {
    struct views_options o;
    const struct catalog *catalog;
    const struct recent *recent;
    view_losing *losing;
    void *losing_ctx;

    struct view *views;
    struct node *nodes;
    struct sub *subs;
    struct interest *interests;
    struct chunk *chunks;
    uint8_t *chunk_bytes;
    uint32_t *view_index, *node_index, *sub_index, *interest_index, *lists;
    struct topic_place *topics;
    uint32_t view_mask, node_mask, sub_mask, interest_mask;
    uint32_t view_free, node_free, sub_free, chunk_free;
    uint32_t view_end, node_end, sub_end, chunk_end; /* never used from here on */
    uint32_t interest_count, interest_max, list_count, list_max, chunk_max, chunks_free;
    uint32_t oldest, newest; /* chunks */

    uint32_t version, node_version;
    uint64_t access_version;
    struct block block;
    uint64_t block_count;
    uint64_t stable;
    uint32_t matched, touched; /* views in whose block something matched; that got bytes */
    struct views_counts counts;
    struct subtree scratch[EDGE_SUBTREES_MAX];
};

/* ---- view_interest.c ------------------------------------------------------------------------- */

uint32_t node_find(const struct views *v, const char *path, size_t length);
/* One that is there, or made; NONE: no room. */
uint32_t node_take(struct views *v, const char *path, size_t length);
void node_release(struct views *v, uint32_t node); /* that has no sub any more */
bool sub_exists(const struct views *v, uint32_t node, uint32_t view);
/* The first of the chain of interests of this topic; NONE: nobody subscribes to anything around it. */
uint32_t interest_of(struct views *v, uint32_t topic);
void interests_flush(struct views *v);
void interests_check_access(struct views *v);

/* ---- view_chunk.c ---------------------------------------------------------------------------- */

void view_write_message(struct views *v, uint32_t view, const struct run_message *m);
void view_write_end(struct views *v, uint32_t view, uint64_t through, uint64_t stable,
                    uint64_t time_ns);
void view_release_chunks(struct views *v, struct view *w);

#endif
