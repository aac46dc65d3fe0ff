#include "follow/follower_private.h"

#include "proto/topic.h"

static const struct digest no_digest = { 0, 0 };

void follower_enter_epoch(struct follower *f, struct epoch epoch)
{
    f->heard = epoch;
    f->epoch_first = 0;
    f->goal_next = 1;
    f->goal_digest = no_digest;
    f->stable = 0;
    f->vouched_next = 1;
    f->conflict = false;
    f->live = false;
    f->goal_known = false;
    f->heard_record = false;
    f->adopted = false;
    f->adopted_first = 0;
    f->adopted_source = (struct follower_source) { 0 };
    f->leader = (struct port_addr) { 0 };
    f->beats_from[0] = f->beats_from[1] = (struct port_addr) { 0 };
    f->leader_heard_ns = 0;
    f->record.count = 0;
    f->gaps_stale = true;
    follower_targets(f);
}

enum follower_on follower_on_history(const struct follower *f, struct epoch epoch, uint64_t seq)
{
    if (epoch_equal(epoch, f->heard))
        return ON_HISTORY;
    if (f->epoch_first != 0 && seq >= f->epoch_first)
        return OFF_HISTORY;
    if (f->adopted && seq >= f->adopted_next)
        return OFF_HISTORY;
    const struct epoch_entry *entry = epoch_table_find(&f->record, seq);
    if (entry != NULL)
        return epoch_equal(entry->epoch, epoch) ? ON_HISTORY : OFF_HISTORY;
    if (f->adopted) {
        int order = epoch_compare(epoch, f->adopted_epoch);
        if (order >= 0)
            return order == 0 ? ON_HISTORY : OFF_HISTORY;
    }
    return MAYBE_ON_HISTORY;
}

/* ---- epoch records --------------------------------------------------------------------------- */

/* What is held ahead and now turns out to be dead would only keep asking for what leads up to it.
 */
void follower_drop_dead_ahead(struct follower *f)
{
    struct follower_pending *p = &f->pending;
    for (uint32_t i = p->count; i > p->linked; i--) {
        const struct batch_header *b = pending_header(p, i - 1);
        if (follower_on_history(f, b->epoch, b->first_seq) == OFF_HISTORY) {
            pending_remove(p, i - 1);
            follower_count(f, COUNTER_STALE_IN);
        }
    }
    f->gaps_stale = true;
}

void follower_learn_epoch_first(struct follower *f, uint64_t seq)
{
    if (f->epoch_first == seq)
        return;
    f->epoch_first = seq;
    follower_drop_dead_ahead(f);
}

static bool decode_record(const uint8_t *bytes, const struct batch_header *b, struct sys_epoch *out)
{
    struct batch_cursor cursor = batch_begin(bytes, b);
    struct message m;
    return batch_next(&cursor, &m) && m.topic == TOPIC_EPOCH &&
           sys_epoch_decode(m.payload, m.length, out) && epoch_equal(out->epoch, b->epoch) &&
           out->adopted.seq + 1 == b->first_seq && digest_equal(out->digest, b->before);
}

/* The entries that a record carries go before those that are known already. */
static bool extend_record(struct follower *f, const struct sys_epoch *e)
{
    struct epoch_table *t = &f->record;
    if (e->entry_count == 0 || t->count + e->entry_count > EPOCH_TABLE_MAX)
        return false;
    memmove(&t->entries[e->entry_count], t->entries, t->count * sizeof t->entries[0]);
    memcpy(t->entries, e->entries, e->entry_count * sizeof t->entries[0]);
    t->count += e->entry_count;
    return true;
}

bool follower_reconcile(struct follower *f)
{
    assert(f->heard_record || f->adopted);
    if (f->record.count == 0)
        return true;
    /* How far the history that the record tells of is known to go. */
    uint64_t known_next = f->heard_record ? f->goal_next : f->adopted_next;
    struct digest known_digest = f->heard_record ? f->goal_digest : f->adopted_digest;
    struct common_end end =
        epoch_table_common_end(&f->epochs, f->chain_next - 1, f->chain_digest, f->record.entries,
                               f->record.count, known_next - 1, known_digest);
    if (follower_sabotaged(f, FOLLOWER_FORKED_BY_SEQ)) {
        uint64_t both = f->chain_next < known_next ? f->chain_next : known_next;
        end = (struct common_end) { .known = true, .seq = both - 1, .digest = f->chain_digest };
    }
    if (!end.known)
        return true;
    f->conflict = false;
    uint64_t next = end.seq + 1;
    if (next < f->chain_next && (next < known_next || f->adopted))
        return follower_cut(f, end.seq, end.digest);
    if (next > f->vouched_next)
        f->vouched_next = next;
    return true;
}

bool follower_learn_record(struct follower *f, const uint8_t *bytes, const struct batch_header *b)
{
    struct epoch_table *t = &f->record;
    bool heard = !f->heard_record && epoch_equal(b->epoch, f->heard);
    bool adopted = f->adopted && t->count == 0 && epoch_equal(b->epoch, f->adopted_epoch);
    bool older = (f->conflict || follower_starved(f)) && t->count > 0 &&
                 b->first_seq == t->entries[0].first_seq &&
                 epoch_equal(b->epoch, t->entries[0].epoch) &&
                 digest_equal(b->before, t->entries[0].before);
    struct sys_epoch e;
    if (!(heard || adopted || older) || !decode_record(bytes, b, &e))
        return true;
    if (!older) {
        struct epoch_entry own = { .epoch = b->epoch,
                                   .first_seq = b->first_seq,
                                   .before = b->before };
        epoch_table_reset(t);
        epoch_table_append(t, own);
    }
    if (heard) {
        f->heard_record = true;
        f->adopted = false;
        f->epoch_first = b->first_seq;
    }
    if (!extend_record(f, &e) && older)
        return true;
    follower_drop_dead_ahead(f);
    return follower_reconcile(f);
}

uint64_t follower_record_wanted(const struct follower *f)
{
    if (!f->conflict && !follower_starved(f))
        return 0;
    if (!f->heard_record && f->epoch_first != 0)
        return f->epoch_first;
    if (f->record.count == 0)
        return f->adopted_first;
    uint64_t oldest = f->record.entries[0].first_seq;
    return oldest > 1 ? oldest : 0;
}

bool follower_starved(const struct follower *f)
{
    const struct follower_pending *p = &f->pending;
    return p->linked == p->max && pending_at(p, 0)->end_seq > f->vouched_next;
}

/* ---- conflicts ------------------------------------------------------------------------------- */

void follower_conflict(struct follower *f)
{
    /* Who has some of the heard epoch can't differ from it below: an epoch has one leader. */
    if (f->chain_next > 1 && epoch_equal(f->chain_epoch, f->heard)) {
        follower_count(f, COUNTER_DROPPED_MALFORMED);
        return;
    }
    f->conflict = true;
    f->gaps_stale = true;
}

/* The record says that our chain is right, so what did not link to it is not. */
static void drop_mismatch(struct follower *f)
{
    struct follower_pending *p = &f->pending;
    if (p->linked < p->count && pending_at(p, p->linked)->first_seq == f->chain_next &&
        !digest_equal(pending_header(p, p->linked)->before, f->chain_digest)) {
        pending_remove(p, p->linked);
        follower_count(f, COUNTER_DROPPED_MALFORMED);
    }
}

bool follower_resolve(struct follower *f)
{
    if (!f->conflict)
        return true;
    if (f->record.count > 0) {
        uint64_t chain_next = f->chain_next;
        if (!follower_reconcile(f))
            return false;
        if (!f->conflict && f->chain_next == chain_next)
            drop_mismatch(f);
        return true;
    }
    /* An adopted tail vouches for a history of which no record lists the epochs yet. Where that of
     * the tail's own epoch is not known either, the common end can't be told: start over. */
    if (f->adopted && f->epoch_first == 0 && f->adopted_first == 0)
        return follower_cut(f, 0, no_digest);
    return true;
}

static void chain_ends(struct follower *f, uint64_t end_seq, struct digest digest)
{
    epoch_table_cut(&f->epochs, end_seq);
    const struct epoch_entry *entry = epoch_table_find(&f->epochs, end_seq);
    f->chain_next = end_seq + 1;
    f->chain_digest = digest;
    f->chain_epoch = entry != NULL ? entry->epoch : (struct epoch) { 0 };
    f->gaps_stale = true;
}

bool follower_cut(struct follower *f, uint64_t end_seq, struct digest digest)
{
    struct follower_pending *p = &f->pending;
    while (p->linked > 0 && pending_at(p, p->linked - 1)->end_seq > end_seq + 1) {
        const struct batch_header *b = pending_header(p, p->linked - 1);
        if (b->first_seq <= end_seq) { /* no batch ends there: at the one before, then */
            end_seq = b->first_seq - 1;
            digest = b->before;
        }
        pending_remove(p, p->linked - 1);
    }
    chain_ends(f, end_seq, digest);
    f->vouched_next = f->chain_next; /* the common end is on the heard epoch's history */
    f->conflict = false;
    follower_replay_close(f); /* it goes on where we no longer are */
    if (f->chain_next >= f->delivered_next)
        return true;

    f->delivered_next = f->chain_next;
    f->delivered_digest = digest;
    f->refused = false;
    if (f->stable_reported > end_seq)
        f->stable_reported = end_seq;
    follower_count(f, COUNTER_FORKS);
    uint32_t generation = f->generation;
    f->callbacks.forked(f->callbacks.ctx, f->delivered_next, f->heard);
    return f->generation == generation;
}

void follower_rewind(struct follower *f)
{
    while (f->pending.linked > 0)
        pending_remove(&f->pending, f->pending.linked - 1);
    chain_ends(f, f->delivered_next - 1, f->delivered_digest);
    if (f->vouched_next > f->chain_next)
        f->vouched_next = f->chain_next;
    f->refused = false;
}
