#include "follow/follower_private.h"

void pending_reset(struct follower_pending *p)
{
    p->head = 0;
    p->count = 0;
    p->linked = 0;
    p->free_count = p->max;
    for (uint32_t i = 0; i < p->max; i++)
        p->free[i] = p->max - 1 - i;
}

/* Makes room at index by moving the shorter side. */
static void open_at(struct follower_pending *p, uint32_t index)
{
    if (index < p->count - index) {
        p->head = (p->head - 1) & p->mask;
        for (uint32_t i = 0; i < index; i++)
            *pending_at(p, i) = *pending_at(p, i + 1);
    } else {
        for (uint32_t i = p->count; i > index; i--)
            *pending_at(p, i) = *pending_at(p, i - 1);
    }
    p->count++;
}

void pending_remove(struct follower_pending *p, uint32_t index)
{
    assert(index < p->count);
    p->free[p->free_count++] = pending_at(p, index)->slot;
    if (index < p->count - 1 - index) {
        for (uint32_t i = index; i > 0; i--)
            *pending_at(p, i) = *pending_at(p, i - 1);
        p->head = (p->head + 1) & p->mask;
    } else {
        for (uint32_t i = index; i + 1 < p->count; i++)
            *pending_at(p, i) = *pending_at(p, i + 1);
    }
    p->count--;
    if (index < p->linked)
        p->linked--;
}

static void store(struct follower_pending *p, struct follower_held *held, const uint8_t *bytes,
                  const struct batch_header *b)
{
    assert(b->length <= p->stride);
    held->first_seq = b->first_seq;
    held->end_seq = batch_end_seq(b);
    p->headers[held->slot] = *b;
    memcpy(p->bytes + (size_t)held->slot * p->stride, bytes, b->length);
}

static void insert(struct follower_pending *p, uint32_t index, const uint8_t *bytes,
                   const struct batch_header *b)
{
    open_at(p, index);
    struct follower_held *held = pending_at(p, index);
    held->slot = p->free[--p->free_count];
    store(p, held, bytes, b);
}

/* The last one ahead makes room for something nearer than it. */
static bool make_room(struct follower_pending *p, uint64_t first_seq, bool *overflowed)
{
    if (p->free_count > 0)
        return true;
    *overflowed = true;
    if (p->linked == p->count || pending_at(p, p->count - 1)->first_seq < first_seq)
        return false;
    pending_remove(p, p->count - 1);
    return true;
}

bool pending_link(struct follower_pending *p, const uint8_t *bytes, const struct batch_header *b,
                  bool *overflowed)
{
    if (!make_room(p, b->first_seq, overflowed))
        return false;
    insert(p, p->linked, bytes, b);
    p->linked++;
    return true;
}

/* The first one ahead at or above first_seq. */
static uint32_t find_ahead(const struct follower_pending *p, uint64_t first_seq)
{
    uint32_t low = p->linked;
    uint32_t high = p->count;
    if (low < high && pending_at(p, high - 1)->first_seq < first_seq)
        return high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (pending_at(p, middle)->first_seq < first_seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

enum pending_verdict pending_hold_ahead(struct follower_pending *p, const uint8_t *bytes,
                                        const struct batch_header *b, bool *overflowed)
{
    uint32_t index = find_ahead(p, b->first_seq);
    if (index < p->count && pending_at(p, index)->first_seq == b->first_seq) {
        if (epoch_compare(b->epoch, pending_header(p, index)->epoch) <= 0)
            return PENDING_DUPLICATE;
        store(p, pending_at(p, index), bytes, b);
        return PENDING_REPLACED;
    }
    if (!make_room(p, b->first_seq, overflowed))
        return PENDING_FULL;
    insert(p, index, bytes, b);
    return PENDING_HELD;
}

const struct batch_header *pending_linked_end(const struct follower_pending *p, uint64_t next_seq)
{
    uint32_t low = 0;
    uint32_t high = p->linked;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (pending_at(p, middle)->end_seq < next_seq)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == p->linked || pending_at(p, low)->end_seq != next_seq)
        return NULL;
    return pending_header(p, low);
}
