/* The inside of views.
 *
 *   view.c           memory, views, what the stream does to them
 *   view_filter.c    sets of subtrees
 *   view_rights.c    editions: who may read the same
 *   view_interest.c  which editions want a topic
 *   view_chunk.c     their bytes, and the readers in them */
#ifndef CANTUS_PROXY_VIEW_PRIVATE_H
#define CANTUS_PROXY_VIEW_PRIVATE_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/hash.h"
#include "proxy/core.h"
#include "proxy/view.h"

enum {
    NONE = 0, /* of every index: tables begin at 1 */
    ROW_WORDS = ACCESS_REGIONS_DEFAULT / 64
};

/* A subtree that some filter has in it. */
struct node {
    uint64_t hash;
    uint32_t next; /* in its slot of the index, or free */
    uint32_t first_sub;
    uint16_t length;
    char path[TOPIC_PATH_MAX + 1];
};

/* One subtree of one filter. */
struct sub {
    uint32_t node, filter;
    uint32_t next_of_node, next_of_filter;
    uint32_t next; /* in its slot of the index, or free */
};

struct filter {
    uint32_t refs; /* views */
    uint32_t first_sub, sub_count;
    uint32_t next; /* in its slot of the index, or free */
    uint32_t first_edition;
    uint32_t region_end; /* those below were looked at */
    uint64_t hash;
    uint64_t regions[ROW_WORDS]; /* in which its topics may lie */
};

struct view {
    uint32_t refs; /* 0: free */
    uint32_t principal, filter, edition;
    uint32_t next; /* in its slot of the index, or free */
    uint32_t next_of_edition, previous_of_edition;
    uint32_t next_of_principal, previous_of_principal;
    uint32_t next_changed; /* of its edition */
};

struct principal {
    uint32_t first_view;
    uint32_t region_end;
    uint64_t row[ROW_WORDS]; /* what it might read of those, when that was looked at */
};

/* The editions of filters that have this very node, and may read in this region; and where to go on, at the next
 * subscribed subtree around it. A filter's subtrees do not overlap, so nothing is met twice. */
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
    uint64_t start; /* of its bytes, in the edition's */
    uint64_t last_seq;
    uint32_t used;
    uint32_t stable_used; /* known to be stable */
    bool goes_on; /* it holds a later part of a unit that is larger than a chunk, nothing else */
    uint32_t edition;
    uint32_t next;         /* of the edition, or free */
    uint32_t older, newer; /* of all in use */
    struct view_reader *readers;
};

/* What may be read, of a filter's regions. */
struct row {
    uint64_t bits[ROW_WORDS];
    bool admin;
};

struct edition {
    uint32_t filter;
    uint32_t first_view, view_count;                     /* 0: free */
    uint32_t first_changed, changed_count, next_changed; /* views whose rights changed */
    uint32_t next;                                       /* in its slot of the index, or free */
    uint32_t next_of_filter, previous_of_filter;
    uint64_t hash;
    uint64_t valid_from; /* count of blocks from which on the encoder knows its block's beginning */
    uint32_t next_matched, next_touched;
    bool matched, touched;
    bool twin;                   /* there may be another of the same rights */
    uint32_t part_of, next_part; /* while it is split off */
    bool copies;
    uint32_t joined, at_end;
    uint32_t first_chunk, last_chunk;
    uint64_t end;             /* bytes written since it began: endless */
    struct view_reader *idle; /* of whom nobody needs a chunk */
    struct row row;
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
    view_moved *moved;
    void *ctx;

    struct filter *filters;
    struct view *views;
    struct edition *editions;
    struct principal *principals;
    struct node *nodes;
    struct sub *subs;
    struct interest *interests;
    struct chunk *chunks;
    uint8_t *chunk_bytes;
    uint32_t *filter_index, *view_index, *edition_index;
    uint32_t *node_index, *sub_index, *interest_index, *lists;
    struct topic_place *topics;
    uint32_t view_mask, node_mask, sub_mask, interest_mask; /* of filters and editions: view_mask */
    uint32_t filter_free, view_free, edition_free, node_free, sub_free, chunk_free;
    uint32_t filter_end, view_end, edition_end, node_end, sub_end,
        chunk_end; /* never used from here */
    uint32_t principal_end;
    uint32_t interest_count, interest_max, list_count, list_max, chunk_max, chunks_free;
    uint32_t oldest, newest; /* chunks */

    uint32_t version, node_version;
    uint64_t access_version;
    uint32_t changed; /* editions of views whose rights changed */
    bool merge_due;   /* at the next block's beginning: editions were split since */
    struct block block;
    uint64_t block_count;
    uint64_t stable;
    uint32_t matched, touched; /* editions in whose block something matched; that got bytes */
    struct views_counts counts;
    struct subtree scratch[EDGE_SUBTREES_MAX];
};

/* ---- view.c ---------------------------------------------------------------------------------- */

/* Something matched in its block. */
void edition_match(struct views *v, uint32_t edition);
/* Offers a new one the block so far, from `recent`. */
void edition_catch_up(struct views *v, uint32_t edition);

/* ---- view_filter.c --------------------------------------------------------------------------- */

/* The filter of these subtrees, made if there is none, which has one more view; NONE: no room. */
uint32_t filter_take(struct views *v, const struct edge_subtrees *subtrees);
void filter_release(struct views *v, uint32_t filter); /* that has one view less */
/* The regions in which its topics may lie, as they are now. */
const uint64_t *filter_regions(struct views *v, uint32_t filter);
void filters_forget_regions(struct views *v);

/* ---- view_rights.c --------------------------------------------------------------------------- */

/* That of what its principal may read, made if there is none. */
void edition_enter(struct views *v, uint32_t view);
void edition_exit(struct views *v, uint32_t view); /* its last view takes it along */
/* Before anything is offered or asked for by what may be read. */
void editions_check_rights(struct views *v);
/* Everything may have changed, and nobody is in any view. */
void editions_fork(struct views *v);
/* Those that are the same become one. */
void editions_merge(struct views *v);
/* The same for one, if it is one of those. Nobody in it lacks anything. */
void edition_merge(struct views *v, uint32_t edition);

/* ---- view_interest.c ------------------------------------------------------------------------- */

/* One that is there, or made; NONE: no room. */
uint32_t node_take(struct views *v, const char *path, size_t length);
void node_release(struct views *v, uint32_t node); /* that has no sub any more */
/* The first of the chain of interests of this topic; NONE: nobody subscribes to anything around it. */
uint32_t interest_of(struct views *v, uint32_t topic);
void interests_flush(struct views *v);
bool edition_wants(struct views *v, uint32_t edition, uint32_t topic);

/* ---- view_chunk.c ---------------------------------------------------------------------------- */

void edition_write_message(struct views *v, uint32_t edition, const struct run_message *m);
void edition_write_end(struct views *v, uint32_t edition, uint64_t through, uint64_t stable,
                       uint64_t time_ns);
/* It got bytes, or its readers have some to take. */
void edition_touch(struct views *v, uint32_t edition);
/* Readers whose view is in one of its parts now go there, which has the same end and nothing else yet, with copies
 * of the chunks that they have not taken: at most *budget. Who would need more loses its place. */
void edition_part(struct views *v, uint32_t edition, uint32_t parts, uint32_t *budget);
/* All of them, who have everything. */
void edition_move_all(struct views *v, uint32_t from, uint32_t to);
/* Chunks that may be copied at one change of rights: nobody loses a place for them. */
uint32_t chunks_to_copy(const struct views *v);

#endif
