#include "sequencer/core_private.h"

/* The store's entry. Where the table is full, one that is no member and was heard longest ago makes
 * room: members are fewer than the table has places. */
struct store *store_of(struct sequencer *s, uint64_t id)
{
    const struct membership *members = catalog_members(s->catalog);
    struct store *victim = NULL;
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        struct store *store = &s->stores[i];
        if (store->id == id && id != 0)
            return store;
        if (victim != NULL && victim->id == 0)
            continue;
        if (store->id != 0 && membership_has(members, store->id))
            continue;
        if (victim == NULL || store->id == 0 || store->heard_ns < victim->heard_ns)
            victim = store;
    }
    assert(victim != NULL);
    *victim = (struct store) { .id = id };
    return victim;
}

void ack_begin(struct sequencer *s)
{
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        s->stores[i].acked_seq = 0;
        s->stores[i].current = false;
    }
    s->secure = 0;
}

static void stable_raise(struct sequencer *s, uint64_t seq)
{
    if (seq <= s->stable || s->is_volatile)
        return;
    s->stable = seq;
    s->stable_rose = true;
    emit_stable_rose(s);
}

/* Stable is the W-th highest among what the members acknowledged; what a majority has meets every
 * seal, which is what a change of the members waits for. */
void ack_judge(struct sequencer *s)
{
    const struct membership *members = catalog_members(s->catalog);
    uint64_t acked[MEMBERS_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        const struct store *store = &s->stores[i];
        if (store->id == 0 || !membership_has(members, store->id) || n == MEMBERS_MAX)
            continue;
        uint32_t at = n++;
        for (; at > 0 && acked[at - 1] < store->acked_seq; at--)
            acked[at] = acked[at - 1];
        acked[at] = store->acked_seq;
    }
    uint32_t quorum = sabotaged(s, SEQUENCER_WEAK_QUORUM) ? 1 : membership_stable_quorum(members);
    uint32_t majority = members->count / 2 + 1;
    if (members->count > 0 && n >= majority && acked[majority - 1] > s->secure)
        s->secure = acked[majority - 1];
    if (quorum > 0 && n >= quorum)
        stable_raise(s, acked[quorum - 1]);
}

/* Whether the tail that was acknowledged is a batch boundary of our own history. Below the ring
 * everything is stable already. */
static bool tail_is_ours(struct sequencer *s, const struct ack *a)
{
    if (a->tail.seq >= s->next_seq)
        return false;
    uint64_t index = ring_find(s, a->tail.seq);
    if (index == UINT64_MAX)
        return false;
    const struct ring_slot *slot = ring_slot_at(s, index);
    return slot->end_seq == a->tail.seq + 1 && digest_equal(slot->digest, a->digest);
}

void ack_on(struct sequencer *s, const struct ack *a, struct port_addr from)
{
    count(s, COUNTER_ACKS_IN, 1);
    if (a->promised.number > s->number_seen)
        s->number_seen = a->promised.number;
    if (s->state == SEQUENCER_LEADING && a->promised.number > s->epoch.number) {
        sequencer_fence(s, a->promised.number, a->promised, false);
        return;
    }
    struct store *store = store_of(s, a->store);
    const struct word now = { .promised = a->promised, .tail = a->tail };
    store->heard_ns = s->now.mono_ns;
    /* What never was is nobody's word. */
    bool invented = s->state == SEQUENCER_LEADING && epoch_equal(a->tail.epoch, s->epoch) &&
                    a->tail.seq >= s->next_seq;
    if (!invented && !word_heard(s, store, &a->run, &now, from))
        return;
    store->durable_seq = a->tail.seq;
    store->full = a->full;
    time_heard_clock(s, store, a->clock_ns);
    if (s->state != SEQUENCER_LEADING)
        return;
    /* Not only a member: one that is not could not become current either, and so never one. */
    if (a->promised.number == s->epoch.number && !epoch_equal(a->promised, s->epoch))
        seal_heard_locked(s);
    store->current = epoch_equal(a->tail.epoch, s->epoch);
    if (store->current && !a->settled)
        word_accept(s, store);
    if (!membership_has(catalog_members(s->catalog), a->store)) {
        store->current = store->current && (a->tail.seq <= s->stable || tail_is_ours(s, a));
        return;
    }
    if (!store->current) {
        count(s, COUNTER_ACKS_OLD_EPOCH, 1);
        bool adopted = epoch_equal(a->tail.epoch, s->adopted.epoch) &&
                       a->tail.seq <= s->adopted.seq && sabotaged(s, SEQUENCER_STABLE_ON_ADOPT);
        if (!adopted && (!sabotaged(s, SEQUENCER_ACK_ANY_EPOCH) || a->tail.seq >= s->next_seq))
            return;
    } else if (a->tail.seq <= s->stable) {
        /* Nothing new: stable already, and perhaps no longer in the ring to be compared. */
        return;
    } else if (!tail_is_ours(s, a)) {
        count(s, COUNTER_ACKS_WRONG_DIGEST, 1);
        return;
    }
    if (a->tail.seq > store->acked_seq) {
        store->acked_seq = a->tail.seq;
        ack_judge(s);
    }
}
