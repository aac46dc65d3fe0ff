/* Passing what a walk need not read: a stretch of messages of which its reader is sent nothing. What is left behind
 * in its slot is what offering them one by one leaves there. */
#include "proxy/reader_private.h"

static bool wants_one(struct reader *r, const struct recent_stretch *t)
{
    uint32_t view = reader_effective_view(r);
    for (uint32_t i = 0; i < t->topic_count; i++)
        if (view_wants(r->s->views, view, t->topics[i]))
            return true;
    return false;
}

static bool owns_one(const struct reader *r, const struct recent_stretch *t)
{
    for (uint32_t i = r->owned; i != NONE; i = r->s->owners[i].next_of_reader)
        for (uint32_t k = 0; k < t->publisher_count; k++)
            if (r->s->owners[i].publisher == t->publishers[k])
                return true;
    return false;
}

static bool is_told(const struct slot *slot, const struct recent_stretch *t)
{
    const struct reader *r = slot->reader;
    uint64_t from_seq = slot->cursor.seq;
    return t->clock_ns / r->tick_ns > r->tick_said || owns_one(r, t) ||
           (r->mark.seq >= from_seq && r->mark.seq <= t->last_seq) ||
           (r->asked_seq > slot->block.seq && r->asked_seq <= t->last_seq) ||
           (r->pending.count > 0 && r->s->items[r->pending.first].seq <= t->last_seq);
}

static bool may_pass(const struct slot *slot, const struct recent_stretch *t, bool ends)
{
    struct reader *r = slot->reader;
    if (slot->streaming != 0 || r->unit_taken > 0 || r->broken)
        return false;
    if (r->changes_applied < r->change_count && r->changes[r->changes_applied].seq <= t->last_seq)
        return false;
    if (slot->unmuted ? is_told(slot, t) : t->last_seq >= r->place.next)
        return false;
    /* The end of a block in which something matched is said with what comes behind it. */
    return !(ends && slot->encoder.previous != 0) && !wants_one(r, t);
}

bool slot_pass(struct slot *slot)
{
    struct reader *r = slot->reader;
    const struct recent_stretch *t = recent_stretch(r->s->recent, &slot->cursor);
    uint64_t through;
    if (t == NULL || reader_sabotaged(r, PROXY_PASSES_NOTHING))
        return false;
    bool ends = block_ends(&slot->block, t->last_seq, &through);
    bool blindly = reader_sabotaged(r, PROXY_PASSES_A_MATCH) && t->number % 5 == 0 &&
                   slot->unmuted && slot->streaming == 0 && r->unit_taken == 0;
    if (!blindly && !may_pass(slot, t, ends))
        return false;
    slot->end_muted = slot->end_muted && !slot->unmuted;
    r->place.skip = slot->unmuted ? 0 : r->place.skip;
    slot->block = (struct block) { .seq = t->last_seq, .timestamp_ns = t->last_ns };
    slot->waits = false;
    slot->next = t->last_seq + 1;
    recent_pass(&slot->cursor, t);
    r->s->counts.passed++;
    return true;
}
