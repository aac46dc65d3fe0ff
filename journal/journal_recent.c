#include "journal/journal_private.h"

/* Batches lie one after the other, 8-aligned, each whole: where one does not fit before the end of
 * the memory, the ring goes on at its beginning. Entries with `at` at or above head are of the
 * lap before, and so older than all below it. */

static struct recent_entry *entry_at(const struct recent *r, uint32_t i)
{
    assert(r->entries_max > 0);
    return &r->entries[(r->first + i) % r->entries_max];
}

static void drop_oldest(struct recent *r)
{
    r->first = (r->first + 1) % r->entries_max;
    r->count--;
}

void recent_add(struct recent *r, const uint8_t *batch, const struct batch_header *header)
{
    uint64_t size = journal_aligned(header->length);
    assert(size <= r->capacity);
    if (r->head + size > r->capacity) {
        while (r->count > 0 && entry_at(r, 0)->at >= r->head)
            drop_oldest(r);
        r->head = 0;
    }
    while (r->count > 0 && entry_at(r, 0)->at >= r->head && entry_at(r, 0)->at < r->head + size)
        drop_oldest(r);
    if (r->count == r->entries_max)
        drop_oldest(r);
    memcpy(r->bytes + r->head, batch, header->length);
    memset(r->bytes + r->head + header->length, 0, size - header->length);
    *entry_at(r, r->count) = (struct recent_entry) { .first_seq = header->first_seq,
                                                     .at = r->head,
                                                     .length = header->length,
                                                     .count = header->count };
    r->count++;
    r->head += size;
}

uint32_t recent_cut(struct recent *r, uint64_t seq)
{
    uint32_t cut = 0;
    while (r->count > 0) {
        const struct recent_entry *newest = entry_at(r, r->count - 1);
        if (newest->first_seq + newest->count - 1 <= seq)
            break;
        r->count--;
        cut++;
    }
    if (r->count == 0) {
        r->head = 0;
    } else {
        const struct recent_entry *newest = entry_at(r, r->count - 1);
        r->head = newest->at + journal_aligned(newest->length);
    }
    return cut;
}

static uint32_t find_index(const struct recent *r, uint64_t seq)
{
    uint32_t low = 0, high = r->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct recent_entry *e = entry_at(r, middle);
        if (e->first_seq + e->count <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct recent_entry *recent_find(const struct recent *r, uint64_t seq)
{
    uint32_t i = find_index(r, seq);
    if (i == r->count || entry_at(r, i)->first_seq > seq)
        return NULL;
    return entry_at(r, i);
}

uint32_t recent_copy(const struct recent *r, uint64_t seq, uint8_t *out, uint32_t capacity,
                     uint64_t *end_seq)
{
    uint32_t i = find_index(r, seq);
    if (i == r->count || entry_at(r, i)->first_seq > seq)
        return 0;
    uint32_t length = 0;
    for (; i < r->count; i++) {
        const struct recent_entry *e = entry_at(r, i);
        uint32_t size = journal_aligned(e->length);
        if (size > capacity - length)
            break;
        memcpy(out + length, r->bytes + e->at, size);
        length += size;
        *end_seq = e->first_seq + e->count;
    }
    return length;
}
