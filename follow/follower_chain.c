#include "follow/follower_private.h"

/* ---- delivery -------------------------------------------------------------------------------- */

static bool deliverable(const struct follower *f, uint64_t end_seq)
{
    bool vouched =
        end_seq <= f->vouched_next ||
        follower_sabotaged(f, f->options.level == FOLLOWER_STABLE ? FOLLOWER_BLIND_WATERMARK
                                                                  : FOLLOWER_DELIVER_UNVOUCHED);
    return vouched && (f->options.level == FOLLOWER_SEQUENCED || end_seq - 1 <= f->stable);
}

enum offer { OFFER_TAKEN, OFFER_REFUSED, OFFER_RESTARTED };

static enum offer offer(struct follower *f, const uint8_t *bytes, const struct batch_header *b)
{
    uint32_t generation = f->generation;
    f->delivering = true;
    bool taken = f->callbacks.deliver(f->callbacks.ctx, bytes, b);
    f->delivering = false;
    if (f->generation != generation)
        return OFFER_RESTARTED;
    f->refused = !taken;
    if (!taken)
        return OFFER_REFUSED;
    f->delivered_next = batch_end_seq(b);
    f->delivered_digest = b->digest;
    f->blocked_ns = FOLLOWER_BLOCKED_NS;
    return OFFER_TAKEN;
}

static bool deliver_linked(struct follower *f)
{
    struct follower_pending *p = &f->pending;
    while (p->linked > 0 && !f->refused && deliverable(f, pending_at(p, 0)->end_seq)) {
        enum offer result = offer(f, pending_bytes(p, 0), pending_header(p, 0));
        if (result == OFFER_RESTARTED)
            return false;
        if (result == OFFER_TAKEN)
            pending_remove(p, 0);
    }
    return true;
}

static bool report_stable(struct follower *f)
{
    uint64_t stable = f->stable < f->vouched_next - 1 ? f->stable : f->vouched_next - 1;
    if (stable <= f->stable_reported)
        return true;
    f->stable_reported = stable;
    if (f->callbacks.stable == NULL)
        return true;
    uint32_t generation = f->generation;
    f->callbacks.stable(f->callbacks.ctx, stable, f->time_ns);
    return f->generation == generation;
}

/* ---- the chain ------------------------------------------------------------------------------- */

/* The batch, which links by digest, becomes the tail. False: no history looks like that. */
static bool extend_chain(struct follower *f, const struct batch_header *b)
{
    if (!epoch_equal(b->epoch, f->chain_epoch) || f->chain_next == 1) {
        struct epoch_entry entry = { .epoch = b->epoch,
                                     .first_seq = b->first_seq,
                                     .before = b->before };
        if (!epoch_table_append(&f->epochs, entry))
            return false;
        f->chain_epoch = b->epoch;
    }
    f->chain_next = batch_end_seq(b);
    f->chain_digest = b->digest;
    if (follower_on_history(f, b->epoch, f->chain_next - 1) == ON_HISTORY)
        f->vouched_next = f->chain_next;
    return true;
}

/* A batch at the end of the chain does not link. Whether it is worth keeping until it is known
 * which of the two is dead. */
static bool mismatch(struct follower *f, const struct batch_header *b, bool trusted)
{
    enum follower_on on = follower_on_history(f, b->epoch, b->first_seq);
    /* A candidate does not start over because of a stray fill. */
    if (on == OFF_HISTORY || (on == MAYBE_ON_HISTORY && f->adopted && !trusted))
        return false;
    follower_conflict(f);
    return on == ON_HISTORY && f->conflict;
}

/* A batch that begins below the end of the chain, and is not part of it: the answer of somebody
 * whose history is another one, if it reaches beyond the end. */
static void overlap(struct follower *f, const struct batch_header *b, bool trusted)
{
    const struct epoch_entry *own = epoch_table_find(&f->epochs, b->first_seq);
    if (own != NULL && epoch_equal(own->epoch, b->epoch)) {
        follower_count(f, COUNTER_DUPLICATES_IN);
        return;
    }
    if (batch_end_seq(b) > f->chain_next ||
        follower_on_history(f, b->epoch, b->first_seq) == ON_HISTORY)
        mismatch(f, b, trusted);
    follower_count(f, COUNTER_STALE_IN);
}

static bool links(const struct follower *f, const struct batch_header *b)
{
    return digest_equal(b->before, f->chain_digest) ||
           follower_sabotaged(f, FOLLOWER_NO_DIGEST_CHECK);
}

static void link_pending(struct follower *f)
{
    struct follower_pending *p = &f->pending;
    while (p->linked < p->count && pending_at(p, p->linked)->first_seq <= f->chain_next) {
        const struct batch_header *b = pending_header(p, p->linked);
        f->gaps_stale = true;
        if (b->first_seq < f->chain_next) {
            overlap(f, b, false);
            pending_remove(p, p->linked);
        } else if (!links(f, b)) {
            if (mismatch(f, b, false))
                return;
            follower_count(f, COUNTER_STALE_IN);
            pending_remove(p, p->linked);
        } else if (follower_on_history(f, b->epoch, b->first_seq) == OFF_HISTORY) {
            follower_count(f, COUNTER_STALE_IN);
            pending_remove(p, p->linked);
        } else if (!extend_chain(f, b)) {
            follower_count(f, COUNTER_DROPPED_MALFORMED);
            pending_remove(p, p->linked);
        } else {
            p->linked++;
        }
    }
}

bool follower_advance(struct follower *f)
{
    link_pending(f);
    if (f->conflict) {
        if (!follower_resolve(f))
            return false;
        link_pending(f);
    }
    return deliver_linked(f) && report_stable(f);
}

/* The batch links: deliver it from where it lies if nothing is before it, else hold it. */
static bool link_batch(struct follower *f, const uint8_t *bytes, const struct batch_header *b)
{
    struct follower_pending *p = &f->pending;
    bool overflowed = false;
    if (p->linked == 0 && extend_chain(f, b)) {
        if (deliverable(f, f->chain_next)) {
            enum offer result = offer(f, bytes, b);
            if (result != OFFER_REFUSED)
                return result == OFFER_TAKEN;
        }
        bool held = pending_link(p, bytes, b, &overflowed);
        assert(held); /* nothing else is linked, so whatever fills it is further away */
    } else if (p->linked == 0 || p->linked == p->max) {
        follower_count(f, p->linked == 0 ? COUNTER_DROPPED_MALFORMED : COUNTER_PENDING_OVERFLOW);
    } else if (extend_chain(f, b)) {
        bool held = pending_link(p, bytes, b, &overflowed);
        assert(held);
    } else {
        follower_count(f, COUNTER_DROPPED_MALFORMED);
    }
    if (overflowed)
        follower_count(f, COUNTER_PENDING_OVERFLOW);
    return true;
}

/* ---- batches --------------------------------------------------------------------------------- */

/* A heartbeat is the leader's own; a batch on the groups may also be a peer's fill for many, which
 * says nothing of the leader once it is known where heartbeats come from. Line B has addresses of
 * its own. */
static void hear_leader(struct follower *f, const struct follower_arrival *a, bool heartbeat)
{
    struct port_addr *beats = &f->beats_from[a->line_b];
    if (heartbeat && a->live)
        *beats = a->from;
    else if (!heartbeat && beats->port != 0 && !port_addr_equal(*beats, a->from))
        return;
    f->leader_heard_ns = a->now_ns;
    f->live = true;
    if (f->leader.port != 0 && (!heartbeat || a->line_b || port_addr_equal(f->leader, a->from)))
        return;
    f->leader = a->from;
    follower_targets(f);
}

static void raise_goal(struct follower *f, uint64_t next_seq, struct digest digest)
{
    f->goal_known = true;
    if (next_seq <= f->goal_next)
        return;
    f->goal_next = next_seq;
    f->goal_digest = digest;
}

/* What a batch says of the heard epoch beside its messages. */
static bool learn(struct follower *f, const uint8_t *bytes, const struct batch_header *b,
                  const struct follower_arrival *a)
{
    uint64_t end_seq = batch_end_seq(b);
    /* One that was not heard of before comes from the leader; an older one may be a fill. */
    if (a->live && end_seq > f->goal_next)
        hear_leader(f, a, false);
    raise_goal(f, end_seq, b->digest);
    if (b->stable > f->stable)
        f->stable = b->stable;
    if (b->timestamp_ns > f->time_ns)
        f->time_ns = b->timestamp_ns;
    return f->heard_record || follower_learn_record(f, bytes, b);
}

static void hold_ahead(struct follower *f, const uint8_t *bytes, const struct batch_header *b)
{
    bool overflowed = false;
    if (follower_on_history(f, b->epoch, b->first_seq) == OFF_HISTORY) {
        follower_count(f, COUNTER_STALE_IN);
        return;
    }
    switch (pending_hold_ahead(&f->pending, bytes, b, &overflowed)) {
    case PENDING_HELD:
        follower_count(f, COUNTER_REORDERED_IN);
        break;
    case PENDING_REPLACED:
        follower_count(f, COUNTER_STALE_IN);
        break;
    case PENDING_DUPLICATE:
        follower_count(f, COUNTER_DUPLICATES_IN);
        break;
    case PENDING_FULL:
        break;
    }
    if (overflowed)
        follower_count(f, COUNTER_PENDING_OVERFLOW);
}

bool follower_place(struct follower *f, const uint8_t *bytes, const struct batch_header *b,
                    const struct follower_arrival *a)
{
    int order = epoch_compare(b->epoch, f->heard);
    if (order > 0)
        follower_enter_epoch(f, b->epoch);
    if (order >= 0 ? !learn(f, bytes, b, a) : !follower_learn_record(f, bytes, b))
        return false;
    if (f->gap_count > 0 && follower_asked_for(f, b->first_seq))
        follower_count(f, COUNTER_FILLS_IN);

    if (b->first_seq > f->chain_next) {
        hold_ahead(f, bytes, b);
    } else if (b->first_seq < f->chain_next) {
        overlap(f, b, a->adopted);
    } else if (!links(f, b)) {
        if (mismatch(f, b, a->adopted))
            hold_ahead(f, bytes, b);
        else
            follower_count(f, COUNTER_STALE_IN);
    } else if (order < 0 && follower_on_history(f, b->epoch, b->first_seq) == OFF_HISTORY) {
        follower_count(f, COUNTER_STALE_IN);
    } else if (!link_batch(f, bytes, b)) {
        return false;
    }
    if (f->pending.count > 0 || f->gap_count > 0 || f->chain_next < f->goal_next)
        f->gaps_stale = true;
    return follower_advance(f);
}

/* ---- heartbeats ------------------------------------------------------------------------------ */

/* A heartbeat names a position on the heard epoch's history: if our chain has one there, they are
 * equal, or ours is off that history. */
static void compare(struct follower *f, const struct heartbeat *hb)
{
    const struct digest *digest = NULL;
    if (hb->next_seq == f->chain_next) {
        digest = &f->chain_digest;
    } else if (hb->next_seq < f->chain_next) {
        const struct batch_header *b = pending_linked_end(&f->pending, hb->next_seq);
        if (b != NULL)
            digest = &b->digest;
    }
    if (digest != NULL && digest_equal(*digest, hb->digest)) {
        if (hb->next_seq > f->vouched_next)
            f->vouched_next = hb->next_seq;
        return;
    }
    const struct epoch_entry *own = f->epoch_first != 0 && f->epoch_first < f->chain_next
                                        ? epoch_table_find(&f->epochs, f->epoch_first)
                                        : NULL;
    if (digest != NULL || (own != NULL && !epoch_equal(own->epoch, f->heard)))
        follower_conflict(f);
}

/* An older epoch's word is good where the heard epoch's history is known to hold that epoch: a
 * store vouches in the name of its tail's epoch, which is what a candidate adopts. */
static bool older_heartbeat(struct follower *f, const struct heartbeat *hb)
{
    uint64_t seq = hb->next_seq > hb->epoch_first_seq ? hb->next_seq - 1 : hb->epoch_first_seq;
    if (follower_on_history(f, hb->epoch, seq) != ON_HISTORY)
        return true;
    if (f->adopted && epoch_equal(hb->epoch, f->adopted_epoch))
        f->adopted_first = hb->epoch_first_seq;
    compare(f, hb);
    return follower_advance(f);
}

bool follower_heartbeat(struct follower *f, const struct heartbeat *hb,
                        const struct follower_arrival *a)
{
    int order = epoch_compare(hb->epoch, f->heard);
    if (order < 0)
        return older_heartbeat(f, hb);
    if (order > 0)
        follower_enter_epoch(f, hb->epoch);
    if (a->datagram)
        hear_leader(f, a, true);
    if (hb->epoch_first_seq != 0 && f->epoch_first == 0)
        follower_learn_epoch_first(f, hb->epoch_first_seq);
    if (hb->next_seq > f->goal_next)
        f->gaps_stale = true;
    raise_goal(f, hb->next_seq, hb->digest);
    if (hb->stable > f->stable)
        f->stable = hb->stable;
    if (hb->time_ns > f->time_ns)
        f->time_ns = hb->time_ns;
    compare(f, hb);
    return follower_advance(f);
}
