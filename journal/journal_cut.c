#include <errno.h>

#include "journal/journal_private.h"

/* A cut is atomic through the slots: the first write names the new end, and that a cut down to it
 * is under way, so that a crash from there on completes it; the second, when everything above is
 * gone from disk, says that it is done. Both carry the last block, so both slots are of the new
 * lineage before anything is appended to it. */

struct find {
    struct journal *j;
    uint64_t seq;
    uint64_t end_offset; /* of the batches taken */
    uint8_t *partial;
    bool stopped; /* by the caller's own wish, not by what is on disk */
};

static bool find_visit(void *ctx, const uint8_t *bytes, const struct batch_header *header,
                       uint64_t offset)
{
    struct find *f = ctx;
    struct journal *j = f->j;
    f->stopped = batch_end_seq(header) - 1 > f->seq || !history_apply(j->spare, bytes, header);
    if (f->stopped)
        return false;
    sparse_add(&j->spare_index, header->first_seq, header->timestamp_ns, offset);
    /* Keep the bytes of the block that the batch ends in. */
    uint64_t end = offset + journal_aligned(header->length), block = block_floor(end);
    uint64_t from = offset > block ? offset : block;
    if (from < end) {
        memset(f->partial + (from - block), 0, DISK_BLOCK - (from - block));
        uint64_t copied = from - offset;
        if (copied < header->length)
            memcpy(f->partial + (from - block), bytes + copied, header->length - copied);
    }
    f->end_offset = end;
    return true;
}

/* The segment that a cut down to seq ends in: the one that seq + 1 goes to; but if the one before
 * is still being closed, that one, whose last block is only in a slot and in memory yet. */
static uint32_t cut_segment(const struct journal *j, uint64_t seq)
{
    uint32_t number = segment_of(j, seq + 1);
    if (j->commit.running && j->commit.closing && number > j->commit.end.segment)
        return j->commit.end.segment;
    return number;
}

bool cut_find(struct journal *j, uint64_t seq, struct digest digest, struct place *at,
              uint8_t partial[DISK_BLOCK])
{
    uint32_t number = cut_segment(j, seq);
    struct segment_header header;
    struct segment_file *file = segment_pin(j, number);
    if (file == NULL)
        return false;
    bool ok;
    if (segment_memory_begin(j, number) == 0) {
        /* The segment has just begun: its header may not be on disk, and will not come there by a
         * commit if the cut leaves nothing of it but this. */
        uint32_t length = j->segments[number - 1].header_bytes;
        (void)segment_memory_copy(j, number, 0, j->scratch, length);
        ok = segment_header_decode(j->scratch, length, &header, j->spare) &&
             j->disk->ops->write(j->disk, file->file, 0, j->scratch, length) == (int64_t)length;
    } else {
        ok = segment_header_read(j->disk, file->file, j->scratch, &header, j->spare, NULL);
    }
    segment_unpin(j, file);
    if (!ok)
        return false;
    j->spare_index.count = 0;
    struct chain chain = { .stream = j->stream,
                           .last = { .epoch = header.epoch_before, .seq = header.first_seq - 1 },
                           .digest = header.before };
    uint64_t offset = header.header_bytes;
    struct find find = { .j = j, .seq = seq, .end_offset = offset, .partial = partial };
    if (!segment_walk(j, number, &offset, &chain, find_visit, &find))
        return false;
    *at = (struct place) {
        .last = chain.last, .digest = chain.digest, .offset = offset, .segment = number
    };
    if (chain.last.seq < seq && !find.stopped)
        hole_in_the_way(j, number, &chain, offset, seq, digest);
    return chain.last.seq == seq && digest_equal(chain.digest, digest);
}

static bool remove_file(struct journal *j, const char *name)
{
    int result = j->disk->ops->remove(j->disk, name);
    return result == 0 || result == -ENOENT;
}

static bool slot_write(struct journal *j, const struct place *at, const uint8_t *partial,
                       uint8_t slot_index, bool cutting)
{
    struct mark_slot slot = { .commit = ++j->commit_number,
                              .generation = j->generation,
                              .acknowledged = *at,
                              .end = *at,
                              .partial_length = (uint32_t)(at->offset - block_floor(at->offset)),
                              .cutting = cutting,
                              .unsynced = j->unsynced,
                              .ended = j->ended,
                              .boot = j->boot };
    memcpy(slot.partial, partial, slot.partial_length);
    uint32_t length = mark_encode(&slot, j->stream, j->store, j->slot_bytes);
    return j->disk->ops->write(j->disk, j->mark_file, (uint64_t)slot_index * SLOT_BYTES,
                               j->slot_bytes, length) == (int64_t)length;
}

static bool remove_segments(struct journal *j, uint32_t above)
{
    char name[DISK_NAME_MAX + 1];
    if (above < j->segment_count) {
        if (j->next_file != NULL) {
            segment_unpin(j, j->next_file);
            j->next_file = NULL;
        }
        segment_doom(j, j->segment_count + 1);
        segment_name(name, j->segment_count + 1);
        if (!remove_file(j, name))
            return false;
    }
    for (uint32_t number = j->segment_count; number > above; number--) {
        segment_name(name, number);
        if (!remove_file(j, name))
            return false;
        index_name(name, number);
        if (!remove_file(j, name))
            return false;
    }
    index_name(name, above);
    return remove_file(j, name);
}

/* Everything from the block that `at` is in becomes zeros, where it is not already: that block's
 * bytes are in the slots, and its own place is empty until a commit completes it. */
static bool zero_above(struct journal *j, const struct segment_file *file, const struct place *at)
{
    int64_t size = j->disk->ops->size(j->disk, file->file);
    if (size < 0)
        return false;
    for (uint64_t base = block_floor(at->offset); base < (uint64_t)size; base += SCRATCH_BYTES) {
        uint64_t length = block_ceil((uint64_t)size) - base;
        length = length < SCRATCH_BYTES ? length : SCRATCH_BYTES;
        memset(j->scratch, 0, length);
        bool dirty = j->disk->ops->read(j->disk, file->file, base, j->scratch, length) < 0;
        for (uint64_t i = 0; i < length && !dirty; i++)
            dirty = j->scratch[i] != 0;
        if (!dirty)
            continue;
        memset(j->scratch, 0, length);
        if (j->disk->ops->write(j->disk, file->file, base, j->scratch, length) != (int64_t)length)
            return false;
    }
    return true;
}

/* Memory follows once the disk is done. */
static void cut_memory(struct journal *j, const struct place *at, const uint8_t *partial,
                       struct segment_file *file)
{
    for (uint32_t number = at->segment + 1; number <= j->segment_count; number++)
        segment_doom(j, number);
    if (j->current_file != NULL)
        segment_unpin(j, j->current_file);
    if (j->closing_file != NULL)
        segment_unpin(j, j->closing_file);
    for (uint32_t number = at->segment + 1; number <= j->segment_count; number++)
        segment_doom(j, number);
    j->closing_file = NULL;
    j->current_file = file;
    j->segment_count = at->segment;
    j->segment_limit = j->segments[at->segment - 1].header_bytes + j->options.segment_bytes;
    j->segment_closed = false;
    j->tail = j->durable = *at;
    j->marked_seq = at->last.seq;
    j->commit.running = false;
    buffer_begin(j, at->segment, block_floor(at->offset), partial,
                 (uint32_t)(at->offset - block_floor(at->offset)));
    io_forget_failures(j);
    history_copy(&j->history, j->spare);
    struct sparse_index index = j->index;
    j->index = j->spare_index;
    j->spare_index = index;
    if (j->index.count == 0)
        j->segments[at->segment - 1].first_time_ns = 0;
    j->counters[COUNTER_JOURNAL_CUT] += recent_cut(&j->recent, at->last.seq);
    holes_cut(j, at->last.seq);
    memset(j->hints, 0, sizeof j->hints);
    reads_cut(j);
    scrub_cut(j);
    if (at->segment < j->first_written)
        j->first_written = at->segment;
    j->cut_pending = false;
}

bool cut_at(struct journal *j, const struct place *at, const uint8_t *partial)
{
    uint8_t kept[DISK_BLOCK];
    uint64_t kept_length = at->offset - block_floor(at->offset);
    memcpy(kept, partial, kept_length);
    struct segment_file *file = segment_pin(j, at->segment);
    if (file == NULL)
        return false;
    if (!j->cut_pending)
        j->generation++;
    j->cut_pending = true;
    j->cut_place = *at;
    bool done = slot_write(j, at, kept, (uint8_t)(1 - j->durable_slot), true);
    if (done) {
        /* From here on the other slot is the one that may be lost, if this has to be repeated. */
        j->durable_slot = (uint8_t)(1 - j->durable_slot);
        done = remove_segments(j, at->segment) && zero_above(j, file, at) &&
               slot_write(j, at, kept, (uint8_t)(1 - j->durable_slot), false);
    }
    if (!done) {
        segment_unpin(j, file);
        j->counters[COUNTER_JOURNAL_WRITE_ERRORS]++;
        return false;
    }
    j->durable_slot = (uint8_t)(1 - j->durable_slot);
    cut_memory(j, at, kept, file);
    return true;
}

bool journal_cut(struct journal *j, uint64_t seq, struct digest digest)
{
    io_settle(j);
    if (j->cut_pending && seq >= j->cut_place.last.seq) {
        seq = j->cut_place.last.seq;
        digest = j->cut_place.digest;
    } else if (!j->cut_pending && seq == j->tail.last.seq && seq == j->durable.last.seq) {
        return digest_equal(digest, j->tail.digest);
    }
    if (seq > j->durable.last.seq || seq + 1 < j->segments[0].first_seq ||
        io_in_the_way(j, cut_segment(j, seq)))
        return false;
    uint8_t partial[DISK_BLOCK];
    memset(partial, 0, sizeof partial);
    struct place at;
    return cut_find(j, seq, digest, &at, partial) && cut_at(j, &at, partial);
}
