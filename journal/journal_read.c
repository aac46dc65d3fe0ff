#include <errno.h>

#include "journal/journal_private.h"

/* A read finds its segment in memory, its place in the segment by a hint, the index in memory (of
 * the current segment) or the index file, and walks from there. What the disk does not have yet is
 * copied from the commit buffers when the read begins: complete blocks never change, so disk and
 * memory agree however long the disk takes. */

static void finish(struct journal *j, struct read_slot *slot, int32_t error)
{
    if (slot->file != NULL)
        segment_unpin(j, slot->file);
    if (slot->read != NULL) {
        slot->read->done = true;
        slot->read->error = error;
        slot->read->private_[0] = 0;
    }
    memset(slot, 0, sizeof *slot);
}

static void fetch(struct journal *j, struct read_slot *slot);

static void add_hint(struct journal *j, uint64_t seq, uint32_t segment, uint64_t offset)
{
    for (uint32_t i = 0; i < HINTS_MAX; i++) {
        if (j->hints[i].segment == segment && j->hints[i].seq == seq)
            return;
    }
    j->hints[j->hint_next] =
        (struct read_hint) { .seq = seq, .offset = offset, .segment = segment };
    j->hint_next = (j->hint_next + 1) % HINTS_MAX;
}

/* Delivers from `at` in the buffer as many consecutive whole batches as there are. */
static uint32_t deliver(struct journal *j, struct read_slot *slot, uint32_t at)
{
    struct batch_header header;
    struct chain chain = { .stream = j->stream };
    uint32_t end = at;
    while (end < slot->total) {
        size_t length = batch_length_at(slot->buffer + end, slot->total - end);
        if (length == 0)
            break;
        if (end == at) {
            if (batch_verify(slot->buffer + end, length, j->stream, &header) != WIRE_OK)
                break;
        } else if (chain_next(&chain, slot->buffer + end, slot->total - end, &header) == 0) {
            break;
        }
        chain_advance(&chain, &header);
        end += journal_aligned((uint32_t)length);
    }
    if (end > slot->total)
        end = slot->total;
    if (end == at)
        return 0;
    if (chain.last.seq < j->tail.last.seq)
        add_hint(j, chain.last.seq + 1, slot->segment, block_floor(slot->start) + end);
    slot->read->batches = slot->buffer + at;
    slot->read->length = end - at;
    slot->read->end_seq = chain.last.seq + 1;
    return end - at;
}

/* Walks over what is in the buffer, to the batch that holds seq. */
static void walk(struct journal *j, struct read_slot *slot)
{
    uint64_t base = block_floor(slot->start);
    uint32_t at = (uint32_t)(slot->start - base);
    struct batch_header header;
    while (at < slot->total) {
        size_t length = batch_length_at(slot->buffer + at, slot->total - at);
        if (length == 0 || batch_decode(slot->buffer + at, length, j->stream, &header) != WIRE_OK ||
            header.first_seq > slot->seq)
            break;
        if (batch_end_seq(&header) > slot->seq) {
            uint32_t segment = slot->segment;
            if (deliver(j, slot, at) > 0) {
                finish(j, slot, 0);
                return;
            }
            finish(j, slot, -EILSEQ);
            hole_found(j, segment);
            return;
        }
        at += journal_aligned((uint32_t)length);
    }
    uint32_t rounds_max = (uint32_t)(j->options.segment_bytes / (slot->capacity - BATCH_ROOM)) + 8;
    if (base + at > slot->start && slot->total == slot->capacity && slot->rounds < rounds_max) {
        slot->start = base + at;
        fetch(j, slot);
        return;
    }
    uint32_t segment = slot->segment;
    finish(j, slot, -EILSEQ);
    hole_found(j, segment);
}

static void fetch(struct journal *j, struct read_slot *slot)
{
    slot->stage = READ_DATA;
    slot->rounds++;
    uint64_t base = block_floor(slot->start);
    uint64_t memory = segment_memory_begin(j, slot->segment);
    uint64_t disk = memory <= base ? 0 : memory - base;
    slot->disk_bytes = disk < slot->capacity ? (uint32_t)disk : slot->capacity;
    slot->total = slot->disk_bytes;
    if (slot->total < slot->capacity) {
        uint64_t from = base + slot->total;
        uint64_t end = segment_memory_copy(j, slot->segment, from, slot->buffer + slot->total,
                                           slot->capacity - slot->total);
        slot->total += (uint32_t)(end - from);
    }
    if (slot->disk_bytes == 0) {
        walk(j, slot);
        return;
    }
    struct disk_request request = { .op = DISK_READ,
                                    .file = slot->file->file,
                                    .offset = base,
                                    .length = slot->disk_bytes,
                                    .bytes = slot->buffer,
                                    .cookie = IO_KIND_END + (uint64_t)(slot - j->reads) };
    if (!j->disk->ops->submit(j->disk, &request))
        finish(j, slot, -EIO);
}

/* Asks for the index file, into the read's own buffer. False: there is none. */
static bool fetch_index(struct journal *j, struct read_slot *slot)
{
    char name[DISK_NAME_MAX + 1];
    index_name(name, slot->segment);
    int32_t file = j->disk->ops->open(j->disk, name, false);
    if (file < 0)
        return false;
    uint32_t length = index_file_bytes(index_entries_max(&j->options));
    struct disk_request request = { .op = DISK_READ,
                                    .file = file,
                                    .length = length < slot->capacity ? length : slot->capacity,
                                    .bytes = slot->buffer,
                                    .cookie = IO_KIND_END + (uint64_t)(slot - j->reads) };
    slot->stage = READ_INDEX;
    slot->index_file = file;
    if (j->disk->ops->submit(j->disk, &request))
        return true;
    j->disk->ops->close_file(j->disk, file);
    return false;
}

void read_completed(struct journal *j, uint32_t index, int64_t result)
{
    if (index >= READS_MAX)
        return;
    struct read_slot *slot = &j->reads[index];
    if (slot->stage == READ_FREE)
        return;
    if (slot->stage == READ_INDEX)
        j->disk->ops->close_file(j->disk, slot->index_file);
    if (slot->read == NULL || slot->stale) {
        finish(j, slot, -ENOENT);
        return;
    }
    if (slot->stage == READ_INDEX) {
        struct index_entry entry;
        if (result > 0 &&
            index_lookup(slot->buffer, (size_t)result, slot->segment, slot->seq, &entry))
            slot->start = entry.offset;
        fetch(j, slot);
        return;
    }
    if (result < 0) {
        uint32_t segment = slot->segment;
        finish(j, slot, -EIO);
        hole_found(j, segment);
        return;
    }
    if (result < (int64_t)slot->disk_bytes)
        memset(slot->buffer + result, 0, slot->disk_bytes - (uint64_t)result);
    walk(j, slot);
}

static bool from_memory(struct journal *j, struct journal_read *read)
{
    uint32_t length =
        recent_copy(&j->recent, read->first_seq, read->buffer, read->capacity, &read->end_seq);
    if (length == 0)
        return false;
    read->batches = read->buffer;
    read->length = length;
    read->done = true;
    return true;
}

bool journal_read_begin(struct journal *j, struct journal_read *read)
{
    assert(read->capacity % DISK_BLOCK == 0 && read->capacity >= 2 * BATCH_ROOM);
    read->done = false;
    read->error = 0;
    read->batches = NULL;
    read->length = 0;
    read->end_seq = 0;
    memset(read->private_, 0, sizeof read->private_);
    if (read->first_seq < journal_oldest_seq(j) || read->first_seq > j->tail.last.seq) {
        read->done = true;
        read->error = -ENOENT;
        return true;
    }
    if (from_memory(j, read))
        return true;
    struct read_slot *slot = NULL;
    for (uint32_t i = 0; i < READS_MAX && slot == NULL; i++)
        if (j->reads[i].stage == READ_FREE)
            slot = &j->reads[i];
    if (slot == NULL)
        return false;
    uint32_t number = segment_of(j, read->first_seq);
    *slot = (struct read_slot) { .read = read,
                                 .segment = number,
                                 .file = segment_pin(j, number),
                                 .seq = read->first_seq,
                                 .start = j->segments[number - 1].header_bytes,
                                 .buffer = read->buffer,
                                 .capacity = read->capacity };
    read->private_[0] = (uint64_t)(slot - j->reads) + 1;
    if (slot->file == NULL) {
        finish(j, slot, -EIO);
        hole_found(j, number);
        return true;
    }
    bool hinted = false;
    for (uint32_t i = 0; i < HINTS_MAX && !hinted; i++) {
        hinted = j->hints[i].segment == number && j->hints[i].seq == slot->seq;
        if (hinted)
            slot->start = j->hints[i].offset;
    }
    if (!hinted && number == j->segment_count) {
        const struct index_entry *entry =
            sparse_find_seq(j->index.entries, j->index.count, slot->seq);
        if (entry != NULL)
            slot->start = entry->offset;
    } else if (!hinted && fetch_index(j, slot)) {
        return true;
    }
    fetch(j, slot);
    return true;
}

void journal_read_cancel(struct journal *j, struct journal_read *read)
{
    uint64_t slot = read->private_[0];
    if (slot >= 1 && slot <= READS_MAX && j->reads[slot - 1].read == read)
        j->reads[slot - 1].read = NULL;
    read->private_[0] = 0;
}

void reads_cut(struct journal *j)
{
    for (uint32_t i = 0; i < READS_MAX; i++)
        j->reads[i].stale = j->reads[i].stage != READ_FREE;
}

/* ---- by time --------------------------------------------------------------------------------- */

struct time_find {
    uint64_t time_ns;
    uint64_t seq; /* 0: not found */
};

static bool time_visit(void *ctx, const uint8_t *bytes, const struct batch_header *header,
                       uint64_t offset)
{
    (void)bytes;
    (void)offset;
    struct time_find *find = ctx;
    if (header->timestamp_ns < find->time_ns)
        return true;
    find->seq = header->first_seq;
    return false;
}

/* Where to begin the walk in a segment: an offset and the seq there. */
static void time_start(struct journal *j, uint32_t number, uint64_t time_ns, uint64_t *offset,
                       uint64_t *seq)
{
    *offset = j->segments[number - 1].header_bytes;
    *seq = j->segments[number - 1].first_seq;
    if (number == j->segment_count) {
        const struct index_entry *e = sparse_find_time(j->index.entries, j->index.count, time_ns);
        if (e != NULL) {
            *offset = e->offset;
            *seq = e->seq;
        }
        return;
    }
    char name[DISK_NAME_MAX + 1];
    index_name(name, number);
    int32_t file = j->disk->ops->open(j->disk, name, false);
    if (file < 0)
        return;
    uint32_t length = index_file_bytes(index_entries_max(&j->options));
    int64_t got = j->disk->ops->read(j->disk, file, 0, j->scratch,
                                     length < SCRATCH_BYTES ? length : SCRATCH_BYTES);
    j->disk->ops->close_file(j->disk, file);
    struct index_entry entry;
    if (got > 0 && index_lookup_time(j->scratch, (size_t)got, number, time_ns, &entry)) {
        *offset = entry.offset;
        *seq = entry.seq;
    }
}

uint64_t journal_seq_at_time(struct journal *j, uint64_t time_ns)
{
    uint32_t low = 1, high = j->segment_count;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        /* 0, not known, is only a segment that has no batch yet or is damaged: begin below it. */
        uint64_t first = j->segments[middle - 1].first_time_ns;
        if (first != 0 && first < time_ns)
            low = middle;
        else
            high = middle - 1;
    }
    for (uint32_t number = low; number <= j->segment_count; number++) {
        uint64_t offset, seq;
        time_start(j, number, time_ns, &offset, &seq);
        /* The batch there names the digest before it: the walk's chain begins with that. */
        struct segment_file *file = segment_pin(j, number);
        if (file == NULL)
            continue;
        uint64_t base = block_floor(offset);
        memset(j->scratch, 0, SCRATCH_BYTES);
        (void)j->disk->ops->read(j->disk, file->file, base, j->scratch, SCRATCH_BYTES);
        (void)segment_memory_copy(j, number, base, j->scratch, SCRATCH_BYTES);
        segment_unpin(j, file);
        struct batch_header header;
        const uint8_t *at = j->scratch + (offset - base);
        size_t length = batch_length_at(at, SCRATCH_BYTES - (offset - base));
        if (length == 0 || batch_decode(at, length, j->stream, &header) != WIRE_OK)
            continue;
        struct chain chain = { .stream = j->stream,
                               .last = { .seq = seq - 1 },
                               .digest = header.before };
        struct time_find find = { .time_ns = time_ns };
        (void)segment_walk(j, number, &offset, &chain, time_visit, &find);
        if (find.seq != 0)
            return find.seq;
    }
    return j->tail.last.seq + 1;
}
