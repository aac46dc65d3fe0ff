#include <stdlib.h>

#include "journal/journal_private.h"

/* The offline walk reads what recovery would, changes nothing, and goes on behind damage where a
 * later header or the mark says how. */

struct journal_walk {
    struct disk *disk;
    struct store_identity id;
    struct mark_slot slots[2];
    int newest;
    struct segment_header header;
    struct image image;
    uint8_t *scratch;
    struct journal_walk_result *result;
    bool (*batch)(void *ctx, const uint8_t *bytes, const struct batch_header *header,
                  uint64_t segment, uint64_t offset);
    void *ctx;
    uint64_t first_seq;
    uint32_t segment; /* the next one */
    bool there;       /* and its header */
    bool stopped;
};

static void damage(struct journal_walk *w, uint64_t offset, uint64_t seq, const char *what)
{
    struct journal_walk_result *result = w->result;
    if (result->damaged)
        return; /* the first place is the one to begin at */
    result->damaged = true;
    journal_error_set(result->damage, "segment %u offset %llu: %s (seq %llu)", w->segment,
                      (unsigned long long)offset, what, (unsigned long long)seq);
}

static bool visit(void *ctx, const uint8_t *bytes, const struct batch_header *header,
                  uint64_t offset)
{
    struct journal_walk *w = ctx;
    struct journal_walk_result *result = w->result;
    if (batch_end_seq(header) > w->first_seq && w->batch != NULL &&
        !w->batch(w->ctx, bytes, header, w->segment, offset))
        return false;
    if (result->batches == 0)
        result->first_seq = header->first_seq;
    result->batches++;
    result->messages += header->count;
    result->last_seq = batch_end_seq(header) - 1;
    result->digest = header->digest;
    return true;
}

static bool header_at(struct journal_walk *w, uint32_t number, struct segment_header *header)
{
    char name[DISK_NAME_MAX + 1];
    segment_name(name, number);
    int32_t file = w->disk->ops->open(w->disk, name, false);
    if (file < 0)
        return false;
    bool ok = segment_header_read(w->disk, file, w->scratch, header, NULL, NULL);
    w->disk->ops->close_file(w->disk, file);
    return ok && header->segment == number && header->stream == w->id.stream &&
           header->store == w->id.store;
}

/* The last segment: what is missing below the mark is damage, the rest a torn tail. */
static void walk_last(struct journal_walk *w, struct image_walk *follow, uint64_t offset)
{
    struct chain *chain = follow->chain;
    const struct mark_slot *mark = w->newest < 0 ? NULL : &w->slots[w->newest];
    if (mark == NULL)
        damage(w, 0, chain->last.seq, "the file `mark` is unreadable: this may not be all");
    if (mark != NULL && chain->last.seq < mark->acknowledged.last.seq) {
        damage(w, offset, chain->last.seq + 1, "acknowledged, but not readable");
        if (mark->acknowledged.segment != w->segment)
            return;
        chain->last = mark->acknowledged.last;
        chain->digest = mark->acknowledged.digest;
        offset = image_follow(&w->image, mark->acknowledged.offset, follow);
    }
    if (follow->stopped)
        return;
    uint64_t torn_bytes = image_torn_bytes(&w->image, offset); /* reads to the end */
    if (offset < w->image.failed_end)
        damage(w, offset, chain->last.seq + 1, "the disk can't read on here");
    else if (mark == NULL || !mark->cutting)
        w->result->torn_bytes = torn_bytes;
}

static bool walk_segment(struct journal_walk *w, const struct segment_header *next, bool *stopped)
{
    if (!image_begin(&w->image, w->disk, w->segment, w->slots, w->newest))
        return false;
    struct chain chain = { .stream = w->id.stream,
                           .last = { .epoch = w->header.epoch_before,
                                     .seq = w->header.first_seq - 1 },
                           .digest = w->header.before };
    struct image_walk follow = { .chain = &chain, .visit = visit, .visit_ctx = w };
    const struct mark_slot *mark = w->newest < 0 ? NULL : &w->slots[w->newest];
    bool none = false;
    if (next != NULL) {
        follow.until_seq = next->first_seq - 1;
        none = follow.until_seq == chain.last.seq;
    } else if (mark != NULL && mark->cutting) {
        follow.until_seq = mark->end.last.seq;
        none = follow.until_seq <= chain.last.seq;
    }
    uint64_t offset = w->header.header_bytes;
    if (!none)
        offset = image_follow(&w->image, offset, &follow);
    if (follow.stopped) {
        *stopped = true;
    } else if (next == NULL) {
        walk_last(w, &follow, offset);
        *stopped = follow.stopped;
    } else if (chain.last.seq + 1 != next->first_seq || !digest_equal(chain.digest, next->before)) {
        damage(w, offset, chain.last.seq + 1, "the chain of digests breaks");
    }
    w->result->segments++;
    return true;
}

enum journal_error journal_walk_next(struct journal_walk *w, bool *more)
{
    const struct mark_slot *mark = w->newest < 0 ? NULL : &w->slots[w->newest];
    bool walked = false;
    for (; w->there && !w->stopped && !walked; w->segment++) {
        struct segment_header next;
        bool followed = header_at(w, w->segment + 1, &next) &&
                        next.first_seq >= w->header.first_seq &&
                        !(mark != NULL && mark->cutting && mark->end.segment == w->segment);
        walked = !(followed && next.first_seq <= w->first_seq);
        if (walked && !walk_segment(w, followed ? &next : NULL, &w->stopped))
            return JOURNAL_MEMORY;
        if (!followed && !w->stopped && mark != NULL && mark->acknowledged.segment > w->segment) {
            w->segment++;
            damage(w, 0, w->header.first_seq, "the header is unreadable");
        }
        w->there = followed;
        w->header = next;
    }
    *more = w->there && !w->stopped;
    return JOURNAL_OK;
}

/* The store and its mark, and the first segment's header. */
static enum journal_error begin(struct journal_walk *w, char *error)
{
    enum journal_error code = store_read(w->disk, w->scratch, &w->id, error);
    if (code != JOURNAL_OK)
        return code;
    w->result->stream = w->id.stream;
    w->result->store = w->id.store;
    int32_t file = w->disk->ops->open(w->disk, "mark", false);
    if (file >= 0) {
        if (mark_read(w->disk, file, w->id.stream, w->id.store, w->scratch, w->slots, &w->newest) !=
            0)
            w->newest = -1; /* what could not be read may be the newer slot */
        w->disk->ops->close_file(w->disk, file);
    }
    w->segment = 1;
    w->there = header_at(w, 1, &w->header);
    if (!w->there)
        damage(w, 0, 1, "the header is unreadable");
    return JOURNAL_OK;
}

struct journal_walk *journal_walk_begin(struct disk *disk, uint64_t first_seq,
                                        bool (*batch)(void *ctx, const uint8_t *bytes,
                                                      const struct batch_header *header,
                                                      uint64_t segment, uint64_t offset),
                                        void *ctx, struct journal_walk_result *result,
                                        enum journal_error *code, char *error)
{
    memset(result, 0, sizeof *result);
    struct journal_walk *w = calloc(1, sizeof *w);
    uint8_t *scratch = aligned_alloc(DISK_BLOCK, SCRATCH_BYTES);
    *code = JOURNAL_MEMORY;
    journal_error_set(error, "not enough memory");
    if (w == NULL || scratch == NULL) {
        free(scratch);
        free(w);
        return NULL;
    }
    *w = (struct journal_walk) { .disk = disk,
                                 .scratch = scratch,
                                 .result = result,
                                 .batch = batch,
                                 .ctx = ctx,
                                 .first_seq = first_seq,
                                 .newest = -1 };
    *code = begin(w, error);
    if (*code == JOURNAL_OK) {
        journal_error_set(error, "%s", "");
        return w;
    }
    journal_walk_end(w);
    return NULL;
}

void journal_walk_end(struct journal_walk *w)
{
    if (w == NULL)
        return;
    image_free(&w->image);
    free(w->scratch);
    free(w);
}

enum journal_error journal_walk(struct disk *disk, uint64_t first_seq,
                                bool (*batch)(void *ctx, const uint8_t *bytes,
                                              const struct batch_header *header, uint64_t segment,
                                              uint64_t offset),
                                void *ctx, struct journal_walk_result *result, char *error)
{
    enum journal_error code;
    struct journal_walk *w = journal_walk_begin(disk, first_seq, batch, ctx, result, &code, error);
    for (bool more = w != NULL; more && code == JOURNAL_OK;)
        code = journal_walk_next(w, &more);
    if (w != NULL && code != JOURNAL_OK)
        journal_error_set(error, "not enough memory");
    journal_walk_end(w);
    return code;
}
