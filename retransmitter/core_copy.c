#include "retransmitter/core_private.h"

bool copy_member(const struct retransmitter *r)
{
    const struct membership *members = journal_members(r->journal);
    for (uint32_t i = 0; i < members->count; i++) {
        if (members->stores[i] == journal_store(r->journal))
            return true;
    }
    return false;
}

/* The follower reads once what its sources have, and then waits for a leader to tell of more. A
 * store that has yet to become a member goes on asking: there may be no leader before it is one,
 * and its peers may have come up after it. */
uint64_t copy_step(struct retransmitter *r)
{
    if (r->draining || r->o.peer_count == 0 || copy_member(r))
        return PORT_NEVER;
    uint64_t now = r->now.mono_ns, heard = follower_leader_heard_ns(r->follower);
    if (follower_replaying(r->follower) || r->restart_pending || r->cut_pending ||
        journal_tail(r->journal).seq != follower_next(r->follower) - 1)
        r->copy_at_ns = now + COPY_RETRY_NS;
    if (heard != 0 && now < heard + COPY_RETRY_NS)
        r->copy_at_ns = heard + COPY_RETRY_NS;
    if (r->copy_at_ns == 0)
        r->copy_at_ns = now + COPY_RETRY_NS;
    if (now < r->copy_at_ns)
        return r->copy_at_ns;
    r->copy_at_ns = now + COPY_RETRY_NS;
    r->restart_pending = true;
    r->again = true;
    return r->copy_at_ns;
}
