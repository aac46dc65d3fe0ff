#include "journal/journal_private.h"

/* Two buffers of blocks, each of one segment: one fills while the other is in flight. A buffer
 * begins with the bytes of the block that the commit before left incomplete. */

void buffer_begin(struct journal *j, uint32_t segment, uint64_t base, const uint8_t *partial,
                  uint32_t length)
{
    struct commit_buffer *b = &j->buffers[j->filling];
    b->segment = segment;
    b->base = base;
    b->used = length;
    if (length > 0)
        memmove(b->bytes, partial, length);
}

/* The slot's image is written while nothing changes it: one commit is in flight at a time. */
static uint32_t mark_image(struct journal *j, bool closing, const uint8_t *partial, uint32_t length)
{
    struct mark_slot slot = { .commit = j->commit_number,
                              .generation = j->generation,
                              .acknowledged = j->durable,
                              .end = j->tail,
                              .partial_length = length,
                              .closed = closing,
                              .unsynced = j->unsynced,
                              .boot = j->boot };
    memcpy(slot.partial, partial, length);
    return mark_encode(&slot, j->stream, j->store, j->slot_bytes);
}

void commit_start(struct journal *j, bool closing)
{
    assert(!j->commit.running && !j->cut_pending);
    struct commit_buffer *b = &j->buffers[j->filling];
    uint32_t whole = (uint32_t)block_floor(b->used), partial = b->used - whole;
    if (closing && partial > 0) {
        memset(b->bytes + b->used, 0, DISK_BLOCK - partial);
        whole += DISK_BLOCK;
        partial = 0;
    }
    j->commit_number++;
    j->commit = (struct commit) { .running = true,
                                  .closing = closing,
                                  .slot = (uint8_t)(1 - j->durable_slot),
                                  .end = j->tail,
                                  .acknowledged_seq = j->durable.last.seq };
    uint32_t mark_bytes = mark_image(j, closing, b->bytes + whole, partial);
    j->filling = (uint8_t)(1 - j->filling);
    buffer_begin(j, b->segment, b->base + whole, b->bytes + whole, partial);
    j->idle_since_ns = 0;
    j->counters[COUNTER_JOURNAL_COMMITS]++;

    struct disk_request mark = { .op = DISK_WRITE,
                                 .file = j->mark_file,
                                 .offset = (uint64_t)j->commit.slot * SLOT_BYTES,
                                 .length = mark_bytes,
                                 .bytes = j->slot_bytes };
    if (whole > 0) {
        struct disk_request data = { .op = DISK_WRITE,
                                     .file = j->current_file->file,
                                     .offset = b->base,
                                     .length = whole,
                                     .bytes = b->bytes };
        io_begin(j, IO_DATA, &data);
    }
    io_begin(j, IO_MARK, &mark);
}

void commit_written(struct journal *j)
{
    assert(j->commit.running);
    j->commit.running = false;
    j->durable = j->commit.end;
    j->durable_slot = j->commit.slot;
    j->marked_seq = j->commit.acknowledged_seq;
    if (j->closing_file != NULL) {
        segment_unpin(j, j->closing_file);
        j->closing_file = NULL;
    }
}

void journal_commit(struct journal *j)
{
    if (j->commit.running || j->cut_pending || j->tail.last.seq == j->durable.last.seq)
        return;
    commit_start(j, false);
}

/* ---- the next segment ------------------------------------------------------------------------ */

/* In advance, when the current one is half full: the other half is the reserve out of which a full
 * disk's epoch and membership records are still written. */
void segment_prepare(struct journal *j)
{
    if (j->next_file != NULL || io_busy(j, IO_PREPARE) ||
        j->segment_count >= j->options.segments_max)
        return;
    if (!j->segment_closed && j->tail.offset < j->segment_limit - j->options.segment_bytes / 2)
        return;
    segment_name(j->prepare_name, j->segment_count + 1);
    struct disk_request request = { .op = DISK_PREPARE,
                                    .length = j->options.segment_bytes + 2 * (uint64_t)DISK_BLOCK +
                                              segment_header_bytes(&j->history.epochs),
                                    .name = j->prepare_name };
    io_begin(j, IO_PREPARE, &request);
}

static void index_write(struct journal *j)
{
    if (io_busy(j, IO_INDEX_PREPARE) || io_busy(j, IO_INDEX_WRITE) || j->index.count == 0)
        return;
    struct index_summary summary = { .first_seq = j->segments[j->segment_count - 1].first_seq,
                                     .end = j->tail,
                                     .first_time_ns = j->index.entries[0].timestamp_ns,
                                     .last_time_ns =
                                         j->index.entries[j->index.count - 1].timestamp_ns };
    index_encode(&summary, &j->index, j->index_bytes);
    j->index_length = index_file_bytes(j->index.count);
    index_name(j->index_name, j->segment_count);
    struct disk_request request = { .op = DISK_PREPARE,
                                    .length = j->index_length,
                                    .name = j->index_name };
    io_begin(j, IO_INDEX_PREPARE, &request);
}

/* Closes the current segment, whose last block goes to its place padded, and begins the next, whose
 * header is the beginning of its first commit. */
static bool roll(struct journal *j)
{
    if (j->commit.running)
        return false;
    segment_prepare(j);
    if (j->next_file == NULL || j->segment_count >= j->options.segments_max)
        return false;
    uint32_t number = j->segment_count + 1;
    index_write(j);
    if (!j->segment_closed && j->buffers[j->filling].used > 0) {
        commit_start(j, true);
        j->closing_file = j->current_file;
    } else {
        segment_unpin(j, j->current_file);
    }
    j->current_file = j->next_file;
    j->next_file = NULL;
    struct segment_header header = { .stream = j->stream,
                                     .store = j->store,
                                     .first_seq = j->tail.last.seq + 1,
                                     .before = j->tail.digest,
                                     .epoch_before = j->tail.last.epoch,
                                     .segment = number,
                                     .header_bytes = segment_header_bytes(&j->history.epochs) };
    struct commit_buffer *b = &j->buffers[j->filling];
    b->segment = number;
    b->base = 0;
    b->used = header.header_bytes;
    segment_header_encode(&header, &j->history, b->bytes);
    j->segments[number - 1] = (struct segment) { .first_seq = header.first_seq,
                                                 .before = header.before,
                                                 .header_bytes = header.header_bytes };
    j->segment_count = number;
    j->segment_limit = header.header_bytes + j->options.segment_bytes;
    j->segment_closed = false;
    j->index.count = 0;
    j->tail.segment = number;
    j->tail.offset = header.header_bytes;
    return true;
}

/* Room for `size` bytes in the filling buffer, of the segment that they go to. */
static bool make_room(struct journal *j, uint32_t size)
{
    if (j->segment_closed || j->tail.offset + size > j->segment_limit) {
        if (!roll(j))
            return false;
    }
    if (j->buffers[j->filling].used + size <= j->buffer_bytes)
        return true;
    journal_commit(j);
    return j->buffers[j->filling].used + size <= j->buffer_bytes;
}

bool journal_append(struct journal *j, const uint8_t *batch, const struct batch_header *header)
{
    assert(header->first_seq == j->tail.last.seq + 1);
    assert(digest_equal(header->before, j->tail.digest));
    if (j->cut_pending || hole_in(j, j->segment_count))
        return false;
    uint32_t size = journal_aligned(header->length);
    if (!make_room(j, size) || !history_apply(&j->history, batch, header))
        return false;
    struct commit_buffer *b = &j->buffers[j->filling];
    assert(b->base + b->used == j->tail.offset);
    memcpy(b->bytes + b->used, batch, header->length);
    memset(b->bytes + b->used + header->length, 0, size - header->length);
    b->used += size;
    if (j->segments[j->segment_count - 1].first_time_ns == 0)
        j->segments[j->segment_count - 1].first_time_ns = header->timestamp_ns;
    sparse_add(&j->index, header->first_seq, header->timestamp_ns, j->tail.offset);
    recent_add(&j->recent, batch, header);
    j->tail.last = (struct position) { .epoch = header->epoch, .seq = batch_end_seq(header) - 1 };
    j->tail.digest = header->digest;
    j->tail.offset += size;
    j->counters[COUNTER_JOURNAL_BYTES] += size;
    segment_prepare(j);
    return true;
}
