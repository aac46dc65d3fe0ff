#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "journal/journal_private.h"

/* Open. Headers and indexes of the closed segments tell that they fit each other; a segment without
 * an index is read and gets one; the last segment is read whole. What the mark says was
 * acknowledged and is not there is a hole; anything else that breaks off is a torn tail. */

struct recovery {
    struct journal *j;
    struct disk *disk;
    struct journal_report *report;
    char *error;
    enum journal_error code;
    struct mark_slot slots[2];
    int newest;
    struct mark_slot *mark;       /* the newer */
    struct segment_header header; /* of the segment looked at */
    struct image image;
    uint32_t highest_name;
    struct history history; /* at the segment's beginning; its table is not zeroed at first */
};

static bool refuse(struct recovery *r, enum journal_error code)
{
    if (r->code == JOURNAL_OK)
        r->code = code;
    return false;
}

static bool header_load(struct recovery *r, uint32_t number, struct segment_header *header,
                        struct history *history)
{
    char name[DISK_NAME_MAX + 1];
    segment_name(name, number);
    int32_t file = r->disk->ops->open(r->disk, name, false);
    if (file < 0 && file != -ENOENT) {
        /* Not there is one thing: what lies above the last is removed. Not to be had is another. */
        journal_error_set(r->error, "cannot open `%s`: %s", name, strerror(-file));
        return refuse(r, JOURNAL_IO);
    }
    if (file < 0)
        return false;
    int failure;
    bool ok = segment_header_read(r->disk, file, r->j->scratch, header, history, &failure);
    r->disk->ops->close_file(r->disk, file);
    if (failure != 0 && number > r->mark->acknowledged.segment && number <= r->mark->end.segment) {
        /* An acknowledged one is made anew. This one may be acknowledged or may never have been. */
        journal_error_set(r->error, "cannot read the header of `%s`: %s", name, strerror(failure));
        return refuse(r, JOURNAL_IO);
    }
    return ok && header->segment == number && header->stream == r->j->stream &&
           header->store == r->j->store;
}

static struct chain chain_of(const struct recovery *r)
{
    return (
        struct chain) { .stream = r->j->stream,
                        .last = { .epoch = r->header.epoch_before, .seq = r->header.first_seq - 1 },
                        .digest = r->header.before };
}

static bool image_open(struct recovery *r, uint32_t number)
{
    image_free(&r->image);
    if (image_load(&r->image, r->disk, number, r->slots, r->newest))
        return true;
    journal_error_set(r->error, "not enough memory to read segment %u", number);
    return refuse(r, JOURNAL_MEMORY);
}

static bool report_hole(struct recovery *r, const struct chain *at, uint32_t segment,
                        uint64_t offset, uint64_t end_seq, struct digest end_digest)
{
    struct hole hole = {
        .at = { .last = at->last, .digest = at->digest, .offset = offset, .segment = segment },
        .end_seq = end_seq,
        .end_digest = end_digest,
        .recovered = true,
    };
    if (!hole_add(r->j, &hole)) {
        journal_error_set(r->error,
                          "damaged in more than %d places, last in segment %u at offset %llu: "
                          "format a new store and let it copy the history from its peers",
                          (int)HOLES_MAX, segment, (unsigned long long)offset);
        return refuse(r, JOURNAL_IO);
    }
    if (!r->report->damaged) {
        r->report->damaged = true;
        r->report->damaged_seq = at->last.seq + 1;
        r->report->damaged_segment = segment;
        r->report->damaged_offset = offset;
    }
    return true;
}

/* Whether the index of a closed segment is there and says that it ends where the next one begins.
 */
static bool index_fits(struct recovery *r, uint32_t number, const struct segment_header *next)
{
    char name[DISK_NAME_MAX + 1];
    index_name(name, number);
    int32_t file = r->disk->ops->open(r->disk, name, false);
    if (file < 0)
        return false;
    struct index_summary summary;
    bool ok = r->disk->ops->read(r->disk, file, 0, r->j->scratch, DISK_BLOCK) == DISK_BLOCK &&
              index_summary_decode(r->j->scratch, number, &summary);
    r->disk->ops->close_file(r->disk, file);
    if (!ok || summary.first_seq != r->header.first_seq ||
        summary.end.last.seq + 1 != next->first_seq ||
        !digest_equal(summary.end.digest, next->before))
        return false;
    r->j->segments[number - 1].first_time_ns = summary.first_time_ns;
    return true;
}

/* Best effort: the next open tries again. */
static void index_rebuild(struct recovery *r, uint32_t number, const struct image_walk *walk,
                          uint64_t offset)
{
    struct journal *j = r->j;
    struct index_summary summary = { .first_seq = r->header.first_seq,
                                     .end = { .last = walk->chain->last,
                                              .digest = walk->chain->digest,
                                              .offset = offset,
                                              .segment = number },
                                     .first_time_ns = walk->first_time_ns,
                                     .last_time_ns = walk->last_time_ns };
    index_encode(&summary, &j->index, j->index_bytes);
    char name[DISK_NAME_MAX + 1];
    index_name(name, number);
    int32_t file = r->disk->ops->open(r->disk, name, true);
    if (file < 0)
        return;
    (void)r->disk->ops->write(r->disk, file, 0, j->index_bytes, index_file_bytes(j->index.count));
    r->disk->ops->close_file(r->disk, file);
}

/* A closed segment whose successor's header is known. */
static bool recover_closed(struct recovery *r, uint32_t number, const struct segment_header *next)
{
    if (index_fits(r, number, next))
        return true;
    if (!image_open(r, number))
        return false;
    struct chain chain = chain_of(r);
    r->j->index.count = 0;
    struct image_walk walk = { .chain = &chain,
                               .index = &r->j->index,
                               .until_seq = next->first_seq - 1 };
    uint64_t offset = image_follow(&r->image, r->header.header_bytes, &walk);
    r->j->segments[number - 1].first_time_ns = walk.first_time_ns;
    r->report->batches_checked += walk.batches;
    if (chain.last.seq == next->first_seq - 1 && digest_equal(chain.digest, next->before)) {
        index_rebuild(r, number, &walk, offset);
        return true;
    }
    if (chain.last.seq >= next->first_seq - 1) {
        journal_error_set(r->error,
                          "segments %u and %u are not of one history: restored from "
                          "different backups? Format a new store",
                          number, number + 1);
        return refuse(r, JOURNAL_IO);
    }
    return report_hole(r, &chain, number, offset, next->first_seq, next->before);
}

/* The header of an acknowledged segment is gone. All that it says follows from the segment before,
 * if that is whole: its first batch, or the index, must show that it is. */
static bool header_rebuild(struct recovery *r, uint32_t number, struct segment_header *next)
{
    struct journal *j = r->j;
    memset(next, 0, sizeof *next);
    *next = (struct segment_header) {
        .stream = j->stream, .store = j->store, .first_seq = 1, .segment = number
    };
    bool whole = number == 1;
    history_copy(j->spare, &r->history);
    if (number > 1) {
        if (!image_open(r, number - 1))
            return false;
        struct chain chain = chain_of(r);
        struct image_walk walk = { .chain = &chain, .history = j->spare };
        (void)image_follow(&r->image, r->header.header_bytes, &walk);
        next->first_seq = chain.last.seq + 1;
        next->before = chain.digest;
        next->epoch_before = chain.last.epoch;
        next->header_bytes = segment_header_bytes(&j->spare->epochs);
        whole = index_fits(r, number - 1, next);
        if (!whole && image_open(r, number) && next->header_bytes < r->image.size) {
            struct batch_header batch;
            whole = chain_next(&chain, r->image.bytes + next->header_bytes,
                               r->image.size - next->header_bytes, &batch) > 0;
        }
    }
    next->header_bytes = segment_header_bytes(&j->spare->epochs);
    if (!whole) {
        journal_error_set(r->error,
                          "the header of segment %u is unreadable, and so is the end of the one "
                          "before: format a new store and let it copy the history from its peers",
                          number);
        return refuse(r, JOURNAL_IO);
    }
    segment_header_encode(next, j->spare, j->scratch);
    char name[DISK_NAME_MAX + 1];
    segment_name(name, number);
    int32_t file = r->disk->ops->open(r->disk, name, true);
    if (file < 0 || r->disk->ops->write(r->disk, file, 0, j->scratch, next->header_bytes) !=
                        (int64_t)next->header_bytes) {
        journal_error_set(r->error, "cannot rewrite the damaged header of segment %u", number);
        refuse(r, JOURNAL_IO);
    }
    if (file >= 0)
        r->disk->ops->close_file(r->disk, file);
    return r->code == JOURNAL_OK;
}

/* Goes through the headers up to the last segment, whose header and history are left in r. */
static bool recover_headers(struct recovery *r)
{
    struct journal *j = r->j;
    if (!header_load(r, 1, &r->header, &r->history)) {
        if (r->code != JOURNAL_OK)
            return false;
        history_reset(&r->history);
        if (!header_rebuild(r, 1, &r->header))
            return false;
    }
    for (uint32_t number = 1;; number++) {
        if (number > j->options.segments_max) {
            journal_error_set(r->error, "more than segments_max = %u segments: raise it",
                              j->options.segments_max);
            return refuse(r, JOURNAL_MEMORY);
        }
        j->segments[number - 1] = (struct segment) { .first_seq = r->header.first_seq,
                                                     .before = r->header.before,
                                                     .header_bytes = r->header.header_bytes };
        j->segment_count = number;
        if (r->mark->cutting && number == r->mark->end.segment)
            return true;
        struct segment_header next;
        bool there = header_load(r, number + 1, &next, j->spare);
        if (r->code != JOURNAL_OK)
            return false;
        if (there && next.first_seq < r->header.first_seq)
            there = false;
        if (!there) {
            if (number >= r->mark->acknowledged.segment)
                return true;
            if (!header_rebuild(r, number + 1, &next))
                return false;
        }
        /* header_load's or header_rebuild's history, before another image needs the scratch */
        history_copy(&r->history, j->spare);
        if (!recover_closed(r, number, &next))
            return false;
        r->header = next;
    }
}

/* Blocks that were laid over and are complete by now: the commit that was to put them in their
 * place tore, and the slot that still has them is about to be used again. */
static bool repair_blocks(struct recovery *r, int32_t file, uint64_t tail_offset)
{
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t at = r->image.patch_at[i];
        uint64_t end = r->mark->closed ? block_ceil(tail_offset) : block_floor(tail_offset);
        if (!r->image.patched[i] || at >= end)
            continue;
        if (r->disk->ops->write(r->disk, file, at, r->image.bytes + at, DISK_BLOCK) != DISK_BLOCK)
            return refuse(r, JOURNAL_IO);
    }
    return true;
}

static bool contradiction(struct recovery *r)
{
    journal_error_set(r->error,
                      "the journal and its mark (acknowledged through seq %llu) are not of one "
                      "history: restored from a backup? Format a new store",
                      (unsigned long long)r->mark->acknowledged.last.seq);
    return refuse(r, JOURNAL_IO);
}

/* Follows the chain through the last segment, past a hole if the mark says that there must be more.
 * Leaves index, history, recent and the tail in j. */
static bool follow_last(struct recovery *r, struct chain *chain)
{
    struct journal *j = r->j;
    uint32_t number = j->segment_count;
    const struct place *mark = &r->mark->acknowledged;
    j->index.count = 0;
    history_copy(&j->history, &r->history);
    struct image_walk walk = { .chain = chain,
                               .history = &j->history,
                               .index = &j->index,
                               .recent = &j->recent,
                               .until_seq = mark->last.seq };
    uint64_t offset = r->header.header_bytes;
    if (mark->last.seq > chain->last.seq)
        offset = image_follow(&r->image, offset, &walk);
    if (chain->last.seq < mark->last.seq) {
        if (mark->segment != number)
            return contradiction(r);
        if (!report_hole(r, chain, number, offset, mark->last.seq + 1, mark->digest))
            return false;
        (void)recent_cut(&j->recent, 0);
        chain->last = mark->last;
        chain->digest = mark->digest;
        offset = mark->offset;
    } else if (chain->last.seq > mark->last.seq
                   ? mark->segment == number && chain->last.seq >= r->header.first_seq
                   : !digest_equal(chain->digest, mark->digest)) {
        return contradiction(r);
    }
    walk.until_seq = r->mark->cutting ? r->mark->end.last.seq : 0;
    if (!r->mark->cutting || chain->last.seq < walk.until_seq)
        offset = image_follow(&r->image, offset, &walk);
    j->segments[number - 1].first_time_ns = walk.first_time_ns;
    r->report->batches_checked += walk.batches;
    j->tail = (struct place) {
        .last = chain->last, .digest = chain->digest, .offset = offset, .segment = number
    };
    return true;
}

/* The end that the mark names may have been acknowledged by the commit after: what is missing of it
 * is a torn tail if the disk has something else there, and not if it would not say. */
static bool unreadable_is_not_torn(struct recovery *r)
{
    const struct place *tail = &r->j->tail;
    if (tail->last.seq >= r->mark->end.last.seq || tail->offset >= r->image.failed_end)
        return true;
    journal_error_set(r->error,
                      "cannot read segment %u behind offset %llu (seq %llu), where up to seq %llu "
                      "may be acknowledged: if the disk stays so, format a new store and let it "
                      "copy the history from its peers",
                      tail->segment, (unsigned long long)tail->offset,
                      (unsigned long long)tail->last.seq,
                      (unsigned long long)r->mark->end.last.seq);
    return refuse(r, JOURNAL_IO);
}

static void count_name(void *ctx, const char *name)
{
    struct recovery *r = ctx;
    uint32_t number = name_number(name, "segment-");
    if (number == 0)
        number = name_number(name, "index-");
    if (number > r->highest_name)
        r->highest_name = number;
}

/* What lies above the last segment: prepared, never acknowledged. One at a time, because names may
 * not be removed while they are listed, and their numbers may be anything. */
static bool remove_leftovers(struct recovery *r)
{
    for (uint32_t rounds = 0; rounds < 1024; rounds++) {
        r->highest_name = 0;
        int result = r->disk->ops->list(r->disk, count_name, r);
        if (result < 0)
            return refuse(r, JOURNAL_IO);
        if (r->highest_name <= r->j->segment_count)
            return true;
        char name[DISK_NAME_MAX + 1];
        segment_name(name, r->highest_name);
        result = r->disk->ops->remove(r->disk, name);
        if (result < 0 && result != -ENOENT)
            return refuse(r, JOURNAL_IO);
        index_name(name, r->highest_name);
        result = r->disk->ops->remove(r->disk, name);
        if (result < 0 && result != -ENOENT)
            return refuse(r, JOURNAL_IO);
    }
    return true;
}

/* Whether the place of the last, partial block is still empty, as it is until a commit completes
 * the block. If one tried, and tore or was not marked, the block is made anew. */
static bool tail_block_untouched(const struct recovery *r)
{
    const struct image *image = &r->image;
    if (r->mark->partial_length == 0)
        return true;
    /* The older slot was laid over first, so what it found is what the disk has. */
    int older = 1 - r->newest;
    bool both = image->laid[older] && image->patch_at[older] == image->patch_at[r->newest];
    const uint8_t *block = image->before[both ? older : r->newest];
    for (uint32_t i = 0; i < DISK_BLOCK; i++)
        if (block[i] != 0)
            return false;
    return true;
}

static bool slot_ends_here(const struct recovery *r, const struct mark_slot *slot)
{
    return slot->valid && slot->end.segment == r->j->segment_count &&
           slot->end.offset == r->j->tail.offset && slot->end.last.seq == r->j->tail.last.seq &&
           digest_equal(slot->end.digest, r->j->tail.digest);
}

/* Decides what the next commit builds on. A tail that the newer slot describes exactly is left as
 * it is; every other is made so, by a cut at the tail. */
static bool settle_tail(struct recovery *r)
{
    struct journal *j = r->j;
    uint64_t partial = j->tail.offset - block_floor(j->tail.offset);
    j->durable = j->tail;
    j->segment_limit = j->segments[j->segment_count - 1].header_bytes + j->options.segment_bytes;
    bool needed = j->tail.last.seq >= r->mark->end.last.seq;
    j->durable_slot = (uint8_t)(needed ? r->newest : 1 - r->newest);
    uint8_t *block = r->image.bytes + block_floor(j->tail.offset);
    bool hole = hole_in(j, j->segment_count);
    if (hole) {
        /* Appending waits until it is healed. Then the tail is cut anew, from what is in place. */
        if (partial > 0) {
            memset(block + partial, 0, DISK_BLOCK - partial);
            if (j->disk->ops->write(j->disk, j->current_file->file, block_floor(j->tail.offset),
                                    block, DISK_BLOCK) != DISK_BLOCK)
                return refuse(r, JOURNAL_IO);
        }
        /* Nothing of the segment is in memory: what is healed in the last block is on disk only. */
        buffer_begin(j, j->segment_count, block_floor(j->tail.offset), NULL, 0);
        return true;
    }
    if (slot_ends_here(r, r->mark) && r->report->torn_bytes == 0 && !r->mark->cutting &&
        tail_block_untouched(r)) {
        j->segment_closed = r->mark->closed;
        if (j->segment_closed)
            buffer_begin(j, j->segment_count, block_ceil(j->tail.offset), NULL, 0);
        else
            buffer_begin(j, j->segment_count, block_floor(j->tail.offset), block,
                         (uint32_t)partial);
        return true;
    }
    history_copy(j->spare, &j->history);
    memcpy(j->spare_index.entries, j->index.entries, j->index.count * sizeof *j->index.entries);
    j->spare_index.count = j->index.count;
    struct place at = j->tail;
    if (!cut_at(j, &at, block))
        return refuse(r, JOURNAL_IO);
    return true;
}

static bool recover_last(struct recovery *r)
{
    struct journal *j = r->j;
    uint32_t number = j->segment_count;
    if (!image_open(r, number))
        return false;
    struct chain chain = chain_of(r);
    if (!follow_last(r, &chain) || !unreadable_is_not_torn(r))
        return false;
    if (block_floor(j->tail.offset) + DISK_BLOCK > r->image.size &&
        j->tail.offset != block_floor(j->tail.offset))
        return contradiction(r);
    r->report->torn_bytes = image_torn_bytes(&r->image, j->tail.offset);
    char name[DISK_NAME_MAX + 1];
    segment_name(name, number);
    int32_t file = r->disk->ops->open(r->disk, name, false);
    j->current_file = file < 0 ? NULL : segment_adopt(j, number, file);
    if (j->current_file == NULL) {
        journal_error_set(r->error, "cannot open `%s`", name);
        return refuse(r, JOURNAL_IO);
    }
    /* Before the mark may say that a cut is done, nothing may be left above it. */
    return repair_blocks(r, j->current_file->file, j->tail.offset) && remove_leftovers(r) &&
           settle_tail(r);
}

static bool open_marks(struct recovery *r)
{
    struct journal *j = r->j;
    j->mark_file = r->disk->ops->open(r->disk, "mark", false);
    int refused = 0;
    if (j->mark_file >= 0)
        refused =
            mark_read(r->disk, j->mark_file, j->stream, j->store, j->scratch, r->slots, &r->newest);
    if (refused != 0) {
        journal_error_set(r->error,
                          "the file `mark` can't be read (%s), so what was acknowledged is not "
                          "known. Try again when the disk answers; if it stays so, format a new "
                          "store and let it copy the history from its peers",
                          strerror(-refused));
        return refuse(r, JOURNAL_IO);
    }
    if (r->newest < 0) {
        journal_error_set(r->error, "the file `mark` is missing or damaged: what was acknowledged "
                                    "is not known. Format a new store and let it copy the history "
                                    "from its peers");
        return refuse(r, JOURNAL_IO);
    }
    r->mark = &r->slots[r->newest];
    j->commit_number = r->mark->commit;
    j->generation = r->mark->generation;
    j->marked_seq = r->mark->acknowledged.last.seq;
    j->unsynced = r->mark->unsynced;
    j->ended = r->mark->ended;
    j->boot = r->mark->boot;
    j->promise_file = r->disk->ops->open(r->disk, "promise", false);
    if (j->promise_file < 0 ||
        !promise_read(r->disk, j->promise_file, j->stream, j->store, j->scratch, &j->promise)) {
        journal_error_set(r->error, "the file `promise` is missing or damaged: a store that may "
                                    "have forgotten a promise must not vote. Format a new one, "
                                    "add it as a member and remove this one");
        return refuse(r, JOURNAL_IO);
    }
    j->promised = j->promise.promised;
    return true;
}

/* What the run before said of itself, and what this one says from its first acknowledgement on: in
 * both slots, and durable, before there is one. A store that may have lost keeps what is recorded,
 * so that every later open finds the same. */
static bool note_run(struct recovery *r)
{
    struct journal *j = r->j;
    const struct mark_slot *mark = r->mark;
    const struct journal_options *o = &j->options;
    j->first_written = j->segment_count;
    j->may_have_lost = mark->unsynced && !mark->ended &&
                       (mark->boot == 0 || o->boot == 0 || mark->boot != o->boot);
    j->may_have_lost = j->may_have_lost || j->promise.restored;
    r->report->may_have_lost = j->may_have_lost;
    r->report->restored = j->promise.restored;
    j->ended = false;
    /* What is damaged was there: the run begins with all that was acknowledged. */
    struct position tail = j->tail.last;
    if (j->hole_count > 0 && position_compare(mark->end.last, tail) > 0)
        tail = mark->end.last;
    if (!promise_begin_run(j, tail))
        return refuse(r, JOURNAL_IO);
    if (j->may_have_lost || (!mark->unsynced && !o->unsynced))
        return true;
    j->unsynced = o->unsynced;
    j->boot = o->boot;
    /* With a hole at the end the marks are written when it is healed, before anything is said. */
    if (hole_in(j, j->segment_count))
        return true;
    return marks_rewrite(j, false) || refuse(r, JOURNAL_IO);
}

static void fill_report(struct recovery *r)
{
    struct journal *j = r->j;
    struct journal_report *report = r->report;
    report->tail = j->tail.last;
    report->digest = j->tail.digest;
    report->mark = r->mark->acknowledged.last;
    report->oldest_seq = j->segments[0].first_seq;
    report->segments = j->segment_count;
    report->promised = j->promised;
    report->store = j->store;
    report->stream = j->stream;
    j->counters[COUNTER_JOURNAL_TORN_BYTES] += report->torn_bytes;
}

struct journal *journal_open(struct disk *disk, const struct journal_options *options,
                             uint64_t stream, struct journal_report *report,
                             enum journal_error *code, char *error)
{
    memset(report, 0, sizeof *report);
    const char *wrong = journal_options_check(options);
    if (wrong != NULL) {
        journal_error_set(error, "%s", wrong);
        *code = JOURNAL_IO;
        return NULL;
    }
    struct recovery *r = malloc(sizeof *r);
    struct journal *j = r == NULL ? NULL : journal_new(disk, options);
    if (j == NULL) {
        free(r);
        journal_error_set(error, "not enough memory: %zu bytes are needed",
                          journal_memory(options));
        *code = JOURNAL_MEMORY;
        return NULL;
    }
    memset(r, 0, offsetof(struct recovery, history));
    history_reset(&r->history);
    r->j = j;
    r->disk = disk;
    r->report = report;
    r->error = error;
    r->newest = -1;
    journal_error_set(error, "the disk refused a write while the journal was recovered");
    struct store_identity id;
    r->code = store_read(disk, j->scratch, &id, error);
    if (r->code == JOURNAL_OK && stream != 0 && id.stream != stream) {
        journal_error_set(error,
                          "the store belongs to stream %016llx, not %016llx: wrong directory?",
                          (unsigned long long)id.stream, (unsigned long long)stream);
        r->code = JOURNAL_FOREIGN;
    }
    if (r->code == JOURNAL_OK) {
        j->stream = id.stream;
        j->store = id.store;
        if (open_marks(r) && recover_headers(r) && recover_last(r) && note_run(r))
            fill_report(r);
    }
    image_free(&r->image);
    *code = r->code;
    free(r);
    if (*code != JOURNAL_OK) {
        journal_close(j);
        return NULL;
    }
    journal_error_set(error, "%s", "");
    segment_prepare(j);
    return j;
}
