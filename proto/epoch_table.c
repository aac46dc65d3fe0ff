#include "proto/epoch_table.h"

#include <stddef.h>
#include <string.h>

void epoch_table_reset(struct epoch_table *table)
{
    table->count = 0;
}

void epoch_table_copy(struct epoch_table *to, const struct epoch_table *from)
{
    to->count = from->count;
    memcpy(to->entries, from->entries, from->count * sizeof from->entries[0]);
}

bool epoch_table_append(struct epoch_table *table, struct epoch_entry entry)
{
    if (table->count == EPOCH_TABLE_MAX || entry.first_seq == 0)
        return false;
    if (table->count > 0) {
        const struct epoch_entry *last = &table->entries[table->count - 1];
        if (entry.epoch.number <= last->epoch.number || entry.first_seq <= last->first_seq)
            return false;
    }
    table->entries[table->count++] = entry;
    return true;
}

void epoch_table_cut(struct epoch_table *table, uint64_t seq)
{
    while (table->count > 0 && table->entries[table->count - 1].first_seq > seq)
        table->count--;
}

/* How many of the entries begin at or below seq. */
static uint32_t begun_by(const struct epoch_entry *entries, uint32_t count, uint64_t seq)
{
    /* Nearly every question is about the newest epoch. */
    if (count > 0 && entries[count - 1].first_seq <= seq)
        return count;
    uint32_t low = 0;
    uint32_t high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (entries[middle].first_seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct epoch_entry *epoch_table_find(const struct epoch_table *table, uint64_t seq)
{
    uint32_t begun = begun_by(table->entries, table->count, seq);
    return begun == 0 ? NULL : &table->entries[begun - 1];
}

bool epoch_table_has(const struct epoch_table *table, uint64_t tail_seq, struct position position)
{
    if (position.seq == 0)
        return true;
    if (position.seq > tail_seq)
        return false;
    const struct epoch_entry *entry = epoch_table_find(table, position.seq);
    return entry != NULL && epoch_equal(entry->epoch, position.epoch);
}

/* A history as its entries and its end: those that begin after the end are not of it. */
struct history {
    const struct epoch_entry *entries;
    uint32_t count;
    uint64_t tail_seq;
    struct digest tail_digest;
};

static struct history history_of(const struct epoch_entry *entries, uint32_t count,
                                 uint64_t tail_seq, struct digest tail_digest)
{
    return (struct history) { .entries = entries,
                              .count = begun_by(entries, count, tail_seq),
                              .tail_seq = tail_seq,
                              .tail_digest = tail_digest };
}

/* Where the epoch at `index` ends in this history, and the digest there. */
static struct common_end epoch_end(const struct history *h, uint32_t index)
{
    if (index + 1 == h->count)
        return (struct common_end) { true, h->tail_seq, h->tail_digest };
    const struct epoch_entry *next = &h->entries[index + 1];
    return (struct common_end) { true, next->first_seq - 1, next->before };
}

struct common_end epoch_table_common_end(const struct epoch_table *mine, uint64_t my_tail_seq,
                                         struct digest my_tail_digest,
                                         const struct epoch_entry *other, uint32_t count,
                                         uint64_t other_tail_seq, struct digest other_tail_digest)
{
    const struct common_end nothing = { .known = true, .seq = 0 };
    const struct common_end unknown = { .known = false };
    struct history a = history_of(mine->entries, mine->count, my_tail_seq, my_tail_digest);
    struct history b = history_of(other, count, other_tail_seq, other_tail_digest);
    if (my_tail_seq == 0 || other_tail_seq == 0)
        return nothing;

    uint32_t i = a.count;
    uint32_t j = b.count;
    while (i > 0 && j > 0) {
        int order = epoch_compare(a.entries[i - 1].epoch, b.entries[j - 1].epoch);
        if (order == 0)
            break;
        if (order > 0)
            i--;
        else
            j--;
    }
    if (i == 0 || j == 0) {
        /* Nothing shared among what is given. It is certain that nothing is shared at all only if
         * the piece reaches back to the first message, and mine does too. */
        bool whole = b.count > 0 && b.entries[0].first_seq == 1 && a.count > 0 &&
                     a.entries[0].first_seq == 1;
        return whole ? nothing : unknown;
    }
    if (a.entries[i - 1].first_seq != b.entries[j - 1].first_seq ||
        !digest_equal(a.entries[i - 1].before, b.entries[j - 1].before))
        return unknown;
    struct common_end mine_end = epoch_end(&a, i - 1);
    struct common_end other_end = epoch_end(&b, j - 1);
    if (mine_end.seq == other_end.seq && !digest_equal(mine_end.digest, other_end.digest))
        return unknown;
    return mine_end.seq <= other_end.seq ? mine_end : other_end;
}
