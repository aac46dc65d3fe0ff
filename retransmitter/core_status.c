#include <inttypes.h>
#include <stdio.h>

#include "retransmitter/core_private.h"

#define TEXT(...) (snprintf(text, capacity, __VA_ARGS__), text)

/* How far a store that is no member is with its history; how much there is, where a leader says. */
static const char *copy_state(const struct retransmitter *r, char *text, size_t capacity)
{
    uint64_t tail = journal_tail(r->journal).seq, goal = follower_goal_next(r->follower) - 1;
    if (goal > tail && follower_leader_heard_ns(r->follower) != 0)
        return TEXT("copying, %" PRIu64 " of %" PRIu64, tail, goal);
    if (tail == 0 || follower_replaying(r->follower))
        return TEXT("copying, %" PRIu64, tail);
    return follower_leader_heard_ns(r->follower) != 0 ? "recording, not a member"
                                                      : "copied, no leader";
}

const char *retransmitter_state(const struct retransmitter *r, char *text)
{
    const size_t capacity = RETRANSMITTER_STATE_MAX + 1;
    if (r->draining)
        return "stopping";
    if (journal_restored(r->journal))
        return STATUS_RESTORED;
    if (journal_may_have_lost(r->journal))
        return "may have lost, re-format it";
    if (!journal_tail_proven(r->journal))
        return "damaged";
    if (journal_full(r->journal))
        return "full";
    if (r->lost)
        return "history lost";
    if (!r->led && !epoch_equal(r->pledge, journal_tail(r->journal).epoch))
        return "promised";
    if (!follower_settled(r->follower))
        return "forked";
    if (!copy_member(r))
        return copy_state(r, text, capacity);
    if (!journal_proven(r->journal))
        return TEXT("recording, healing seq %" PRIu64, journal_damaged_seq(r->journal));
    if (follower_caught_up(r->follower))
        return "recording";
    return r->led ? "catching up" : "no leader";
}

static uint64_t epoch_first_seq(const struct journal *j)
{
    const struct epoch_table *epochs = journal_epochs(j);
    return epochs->count > 0 ? epochs->entries[epochs->count - 1].first_seq : 0;
}

void retransmitter_gauges(const struct retransmitter *r, uint64_t gauges[COUNTER_END])
{
    const struct journal *j = r->journal;
    uint64_t tip = journal_tail(j).seq, durable = journal_durable(j).seq;
    uint64_t goal = follower_goal_next(r->follower) - 1;
    if (goal > tip)
        tip = goal;
    gauges[COUNTER_MEMORY] = retransmitter_memory(&r->o);
    gauges[COUNTER_TIP] = tip;
    gauges[COUNTER_STABLE] = retransmitter_stable(r);
    gauges[COUNTER_DURABLE] = durable;
    gauges[COUNTER_LAG] = tip > durable ? tip - durable : 0;
    gauges[COUNTER_OLDEST] = journal_oldest_seq(j);
    gauges[COUNTER_EPOCH] = journal_tail(j).epoch.number;
    gauges[COUNTER_EPOCH_FIRST] = epoch_first_seq(j);
    const struct membership *members = journal_members(j);
    gauges[COUNTER_MEMBERS] = members != NULL ? members->count : 0;
    gauges[COUNTER_QUORUM] =
        members != NULL && members->count > 0 ? membership_stable_quorum(members) : 0;
}

void retransmitter_status(struct retransmitter *r, struct port_time now, struct status *out)
{
    const struct journal *j = r->journal;
    *out = (struct status) { .stream = r->o.stream,
                             .tip = journal_tail(j).seq,
                             .epoch = journal_tail(j).epoch,
                             .stable = retransmitter_stable(r),
                             .store = journal_store(j),
                             .clock_ns = now.wall_ns,
                             .uptime_ns = now.mono_ns - r->created_ns,
                             .memory_bytes = retransmitter_memory(&r->o) };
    memcpy(out->role, "retransmitter", sizeof "retransmitter");
    char text[RETRANSMITTER_STATE_MAX + 1];
    const char *state = retransmitter_state(r, text);
    assert(strlen(state) < sizeof out->state);
    memcpy(out->state, state, strlen(state) + 1);
    out->epoch_first_seq = epoch_first_seq(j);
    const struct membership *members = journal_members(j);
    if (members != NULL) {
        out->quorum = membership_stable_quorum(members);
        out->member_count = members->count;
        for (uint32_t i = 0; i < members->count; i++) {
            /* It knows of itself only. */
            bool self = members->stores[i] == out->store;
            out->members[i] =
                (struct status_member) { .store = members->stores[i],
                                         .durable_seq = self ? journal_durable(j).seq : 0,
                                         .age_ns = self ? 0 : UINT64_MAX,
                                         .current = self,
                                         .full = self && journal_full(j) };
        }
    }
    memcpy(out->counters, r->counters, sizeof out->counters);
    retransmitter_gauges(r, out->counters);
}
