#include <stdlib.h>

#include "journal/journal_private.h"

void journal_options_default(struct journal_options *o)
{
    if (o->segment_bytes == 0)
        o->segment_bytes = 32u << 20;
    if (o->commit_bytes == 0)
        o->commit_bytes = 1u << 20;
    if (o->recent_bytes == 0)
        o->recent_bytes = 32u << 20;
    if (o->segments_max == 0)
        o->segments_max = 65536;
}

const char *journal_options_check(const struct journal_options *o)
{
    if (o->segment_bytes < SEGMENT_BYTES_MIN || o->segment_bytes > SEGMENT_BYTES_MAX ||
        o->segment_bytes % DISK_BLOCK != 0)
        return "segment_bytes must be a multiple of 4096 from 64 KiB to 256 MiB";
    if (o->commit_bytes < BATCH_ROOM || o->commit_bytes > 256u * 1024 * 1024)
        return "commit_bytes must be from 64 KiB to 256 MiB";
    if (o->recent_bytes < BATCH_ROOM)
        return "recent_bytes must be at least 64 KiB";
    if (o->segments_max < 1 || o->segments_max > SEGMENT_NUMBER_MAX)
        return "segments_max must be from 1 to 99999999";
    return NULL;
}

void *aligned_new(size_t size)
{
    size = (size_t)block_ceil(size);
    void *memory = aligned_alloc(DISK_BLOCK, size);
    if (memory != NULL)
        memset(memory, 0, size);
    return memory;
}

static uint32_t buffer_size(const struct journal_options *o)
{
    return (uint32_t)(block_ceil(o->commit_bytes) + HEADER_BYTES_MAX + DISK_BLOCK);
}

static uint32_t recent_entries(const struct journal_options *o)
{
    return (uint32_t)(o->recent_bytes / 256 < 256 ? 256 : o->recent_bytes / 256);
}

size_t journal_memory(const struct journal_options *o)
{
    return sizeof(struct journal) + sizeof(struct history) +
           (size_t)o->segments_max * sizeof(struct segment) +
           2 * (size_t)index_entries_max(o) * sizeof(struct index_entry) +
           index_file_bytes(index_entries_max(o)) + 2 * (size_t)buffer_size(o) + SLOT_BYTES +
           DISK_BLOCK + SCRATCH_BYTES + (size_t)o->recent_bytes + JOURNAL_SCRUB_BYTES +
           sizeof(struct history) + index_entries_max(o) * sizeof(struct index_entry) +
           (size_t)recent_entries(o) * sizeof(struct recent_entry);
}

static void journal_free(struct journal *j)
{
    free(j->spare);
    free(j->segments);
    free(j->index.entries);
    free(j->spare_index.entries);
    free(j->index_bytes);
    free(j->buffers[0].bytes);
    free(j->buffers[1].bytes);
    free(j->slot_bytes);
    free(j->promise_bytes);
    free(j->scratch);
    free(j->recent.bytes);
    free(j->recent.entries);
    scrub_free(&j->scrub);
    free(j);
}

/* Its table is counted, and large: zeroing it would take longer than all else. */
struct history *history_new(void)
{
    struct history *history = malloc(sizeof *history);
    if (history != NULL)
        history_reset(history);
    return history;
}

struct journal *journal_new(struct disk *disk, const struct journal_options *o)
{
    struct journal *j = aligned_alloc(DISK_BLOCK, (size_t)block_ceil(sizeof *j));
    if (j == NULL)
        return NULL;
    /* All but the table of epochs, which is counted. */
    uint8_t *rest = (uint8_t *)(&j->history + 1);
    memset(j, 0, offsetof(struct journal, history));
    memset(rest, 0, sizeof *j - (size_t)(rest - (uint8_t *)j));
    history_reset(&j->history);
    j->disk = disk;
    j->options = *o;
    j->counters = o->counters != NULL ? o->counters : j->own_counters;
    j->buffer_bytes = buffer_size(o) - DISK_BLOCK; /* a closing commit pads its last block */
    j->mark_file = j->promise_file = -1;
    j->retry_delay_ns = RETRY_MIN_NS;
    uint32_t entries = index_entries_max(o);
    j->index.max = j->spare_index.max = entries;
    j->recent.capacity = o->recent_bytes & ~UINT64_C(7);
    j->recent.entries_max = recent_entries(o);
    j->spare = history_new();
    j->segments = calloc(o->segments_max, sizeof *j->segments);
    j->index.entries = calloc(entries, sizeof *j->index.entries);
    j->spare_index.entries = calloc(entries, sizeof *j->spare_index.entries);
    j->index_bytes = aligned_new(index_file_bytes(entries));
    /* The large ones are written before they are read: zeroing them would take longer than all else
     * that starting a small store does. */
    j->buffers[0].bytes = aligned_alloc(DISK_BLOCK, buffer_size(o));
    j->buffers[1].bytes = aligned_alloc(DISK_BLOCK, buffer_size(o));
    j->slot_bytes = aligned_new(SLOT_BYTES);
    j->promise_bytes = aligned_new(DISK_BLOCK);
    j->scratch = aligned_alloc(DISK_BLOCK, SCRATCH_BYTES);
    j->recent.bytes = aligned_alloc(DISK_BLOCK, (size_t)block_ceil(o->recent_bytes));
    j->recent.entries = calloc(j->recent.entries_max, sizeof *j->recent.entries);
    if (j->spare == NULL || j->segments == NULL || j->index.entries == NULL ||
        j->spare_index.entries == NULL || j->index_bytes == NULL || j->buffers[0].bytes == NULL ||
        j->buffers[1].bytes == NULL || j->slot_bytes == NULL || j->promise_bytes == NULL ||
        j->scratch == NULL || j->recent.bytes == NULL || j->recent.entries == NULL ||
        !scrub_allocate(&j->scrub, o)) {
        journal_free(j);
        return NULL;
    }
    return j;
}

void journal_close(struct journal *j)
{
    if (j == NULL)
        return;
    io_settle(j);
    for (uint32_t i = 0; i < FILES_MAX; i++)
        if (j->files[i].segment != 0)
            j->disk->ops->close_file(j->disk, j->files[i].file);
    for (uint32_t i = 0; i < READS_MAX; i++)
        if (j->reads[i].stage == READ_INDEX)
            j->disk->ops->close_file(j->disk, j->reads[i].index_file);
    if (j->ios[IO_INDEX_WRITE].state != IO_IDLE)
        j->disk->ops->close_file(j->disk, j->index_file);
    if (j->mark_file >= 0)
        j->disk->ops->close_file(j->disk, j->mark_file);
    if (j->promise_file >= 0)
        j->disk->ops->close_file(j->disk, j->promise_file);
    journal_free(j);
}

/* Opening a file makes durable what was written to it. Earlier runs' segments were opened by this
 * one's recovery. */
static bool sync_written(struct journal *j)
{
    for (uint32_t number = j->first_written; number <= j->segment_count; number++) {
        char name[DISK_NAME_MAX + 1];
        segment_name(name, number);
        int32_t file = j->disk->ops->open(j->disk, name, false);
        if (file < 0)
            return false;
        j->disk->ops->close_file(j->disk, file);
    }
    return true;
}

bool journal_end(struct journal *j)
{
    if (!j->unsynced || j->may_have_lost)
        return !j->may_have_lost;
    io_settle(j);
    if (!journal_idle(j) || j->tail.segment != j->durable.segment || hole_in(j, j->segment_count) ||
        io_in_the_way(j, j->segment_count) || !sync_written(j))
        return false;
    return marks_rewrite(j, true);
}

/* ---- questions ------------------------------------------------------------------------------- */

uint64_t journal_store(const struct journal *j)
{
    return j->store;
}

uint64_t journal_stream(const struct journal *j)
{
    return j->stream;
}

struct position journal_tail(const struct journal *j)
{
    return j->tail.last;
}

struct digest journal_tail_digest(const struct journal *j)
{
    return j->tail.digest;
}

struct position journal_durable(const struct journal *j)
{
    return j->durable.last;
}

struct digest journal_durable_digest(const struct journal *j)
{
    return j->durable.digest;
}

struct epoch journal_promised(const struct journal *j)
{
    return j->promised;
}

uint64_t journal_oldest_seq(const struct journal *j)
{
    return j->segments[0].first_seq;
}

bool journal_proven(const struct journal *j)
{
    return j->hole_count == 0 && !j->may_have_lost;
}

bool journal_tail_proven(const struct journal *j)
{
    for (uint32_t i = 0; i < j->hole_count; i++)
        if (j->holes[i].recovered)
            return false;
    return !j->may_have_lost;
}

bool journal_restored(const struct journal *j)
{
    return j->promise.restored;
}

bool journal_may_have_lost(const struct journal *j)
{
    return j->may_have_lost;
}

uint32_t journal_damage_count(const struct journal *j)
{
    return j->hole_count;
}

void journal_damage(const struct journal *j, uint32_t index, uint64_t *first_seq, uint64_t *end_seq)
{
    assert(index < j->hole_count);
    *first_seq = j->holes[index].at.last.seq + 1;
    *end_seq = j->holes[index].end_seq;
}

uint64_t journal_damaged_seq(const struct journal *j)
{
    return j->hole_count == 0 ? 0 : j->holes[0].at.last.seq + 1;
}

uint64_t journal_damaged_end_seq(const struct journal *j)
{
    return j->hole_count == 0 ? 0 : j->holes[0].end_seq;
}

bool journal_full(const struct journal *j)
{
    return j->full || (j->segment_count >= j->options.segments_max &&
                       j->tail.offset + BATCH_ROOM > j->segment_limit);
}

bool journal_idle(const struct journal *j)
{
    for (uint32_t i = 0; i < IO_KIND_END; i++)
        if (j->ios[i].state != IO_IDLE)
            return false;
    for (uint32_t i = 0; i < READS_MAX; i++)
        if (j->reads[i].stage != READ_FREE)
            return false;
    return !j->scrub.flying && !j->cut_pending && j->tail.last.seq == j->durable.last.seq;
}

const struct epoch_table *journal_epochs(const struct journal *j)
{
    return &j->history.epochs;
}

const struct membership *journal_members(const struct journal *j)
{
    return &j->history.members;
}

uint64_t *journal_counters(struct journal *j)
{
    return j->counters;
}

const uint8_t *journal_recent(const struct journal *j, uint64_t seq, uint32_t *length)
{
    const struct recent_entry *e = recent_find(&j->recent, seq);
    if (e == NULL)
        return NULL;
    *length = e->length;
    return j->recent.bytes + e->at;
}
