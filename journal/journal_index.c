#include "journal/journal_private.h"

void sparse_add(struct sparse_index *index, uint64_t seq, uint64_t timestamp_ns, uint64_t offset)
{
    if (index->count == index->max)
        return;
    if (index->count > 0 &&
        offset / INDEX_STRIDE == index->entries[index->count - 1].offset / INDEX_STRIDE)
        return;
    index->entries[index->count++] =
        (struct index_entry) { .seq = seq, .timestamp_ns = timestamp_ns, .offset = offset };
}

const struct index_entry *sparse_find_seq(const struct index_entry *entries, uint32_t count,
                                          uint64_t seq)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (entries[middle].seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? NULL : &entries[low - 1];
}

const struct index_entry *sparse_find_time(const struct index_entry *entries, uint32_t count,
                                           uint64_t time_ns)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (entries[middle].timestamp_ns < time_ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? NULL : &entries[low - 1];
}

uint32_t index_entries_max(const struct journal_options *options)
{
    return (uint32_t)((options->segment_bytes + HEADER_BYTES_MAX) / INDEX_STRIDE + 2);
}

uint32_t index_file_bytes(uint32_t entries)
{
    return (uint32_t)(DISK_BLOCK + block_ceil((uint64_t)entries * INDEX_ENTRY_BYTES));
}

void index_encode(const struct index_summary *summary, const struct sparse_index *index,
                  uint8_t *bytes)
{
    uint32_t length = index_file_bytes(index->count);
    memset(bytes, 0, length);
    struct wire_writer e = wire_writer_of(bytes + DISK_BLOCK, length - (uint32_t)DISK_BLOCK);
    for (uint32_t i = 0; i < index->count; i++) {
        wire_put64(&e, index->entries[i].seq);
        wire_put64(&e, index->entries[i].timestamp_ns);
        wire_put64(&e, index->entries[i].offset);
    }
    size_t entry_bytes = (size_t)index->count * INDEX_ENTRY_BYTES;
    struct wire_writer w = wire_writer_of(bytes + SEAL_BYTES, DISK_BLOCK - SEAL_BYTES);
    wire_put32(&w, summary->end.segment);
    wire_put32(&w, index->count);
    wire_put64(&w, summary->first_seq);
    wire_put_position(&w, summary->end.last);
    wire_put_digest(&w, summary->end.digest);
    wire_put64(&w, summary->end.offset);
    wire_put64(&w, summary->first_time_ns);
    wire_put64(&w, summary->last_time_ns);
    wire_put64(&w, journal_checksum(bytes + DISK_BLOCK, entry_bytes, summary->end.segment));
    assert(!w.failed && !e.failed);
    journal_seal(bytes, DISK_BLOCK, MAGIC_INDEX);
}

bool index_summary_decode(const uint8_t *block, uint32_t segment, struct index_summary *out)
{
    if (journal_unseal(block, DISK_BLOCK, MAGIC_INDEX) != SEAL_OK)
        return false;
    struct wire_reader r = wire_reader_of(block + SEAL_BYTES, DISK_BLOCK - SEAL_BYTES);
    out->end.segment = wire_get32(&r);
    out->count = wire_get32(&r);
    out->first_seq = wire_get64(&r);
    out->end.last = wire_get_position(&r);
    out->end.digest = wire_get_digest(&r);
    out->end.offset = wire_get64(&r);
    out->first_time_ns = wire_get64(&r);
    out->last_time_ns = wire_get64(&r);
    out->entries_checksum = wire_get64(&r);
    return !r.failed && out->end.segment == segment;
}

/* Entries are looked at one by one: they are a few hundred, and what the file says is not trusted
 * to be in order. */
static bool lookup(const uint8_t *bytes, size_t length, uint32_t segment, bool by_time,
                   uint64_t key, struct index_entry *out)
{
    struct index_summary summary;
    if (length < DISK_BLOCK || !index_summary_decode(bytes, segment, &summary) ||
        summary.count > (length - DISK_BLOCK) / INDEX_ENTRY_BYTES)
        return false;
    size_t entry_bytes = (size_t)summary.count * INDEX_ENTRY_BYTES;
    if (summary.entries_checksum != journal_checksum(bytes + DISK_BLOCK, entry_bytes, segment))
        return false;
    struct wire_reader r = wire_reader_of(bytes + DISK_BLOCK, entry_bytes);
    bool found = false;
    for (uint32_t i = 0; i < summary.count; i++) {
        struct index_entry e;
        e.seq = wire_get64(&r);
        e.timestamp_ns = wire_get64(&r);
        e.offset = wire_get64(&r);
        if (by_time ? e.timestamp_ns >= key : e.seq > key)
            break;
        if (e.offset % 8 != 0 || e.offset > SEGMENT_BYTES_MAX + HEADER_BYTES_MAX)
            return false;
        *out = e;
        found = true;
    }
    return found;
}

bool index_lookup(const uint8_t *bytes, size_t length, uint32_t segment, uint64_t seq,
                  struct index_entry *out)
{
    return lookup(bytes, length, segment, false, seq, out);
}

bool index_lookup_time(const uint8_t *bytes, size_t length, uint32_t segment, uint64_t time_ns,
                       struct index_entry *out)
{
    return lookup(bytes, length, segment, true, time_ns, out);
}
