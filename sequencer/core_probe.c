/* Asking the stores before sealing, which would fence a leader that is well. A probe is a seal that
 * binds nobody: each store answers what it would answer, and how long ago it heard the leader.
 *
 * A standby that promotes itself does so only when it has heard nothing of the leader for the
 * configured silence, enough stores to seal answer, and no majority of the members has heard the
 * leader within that silence. A promotion for a lease is judged alike, by a silence of its own.
 * While it would lose what a store reports it waits, so that the store may heal, but not for ever:
 * what is stable is safe in any case, and a stream without a leader serves nobody.
 * Whether that is right does not matter for safety, only for peace. */
#include "sequencer/core_private.h"

#include <stdio.h>

/* ---- asking ---------------------------------------------------------------------------------- */

void probe_open(struct sequencer *s)
{
    uint32_t number = s->number_seen == UINT32_MAX ? UINT32_MAX : s->number_seen + 1;
    s->probe.open = true;
    s->probe.asked = (struct epoch) { .number = number, .candidate = s->o.candidate };
    s->probe.at_ns = s->now.mono_ns;
    for (uint32_t i = 0; i < STORES_MAX; i++)
        s->stores[i].probed = false;
}

void probe_send_due(struct sequencer *s)
{
    if (s->now.mono_ns < s->probe.at_ns)
        return;
    struct seal seal = { .epoch = s->probe.asked, .probe = true };
    uint8_t *out = port_scratch(s->port, SIGNAL_SIZE_MAX);
    size_t length = seal_encode(&seal, s->o.stream, out, SIGNAL_SIZE_MAX);
    assert(length > 0);
    count(s, COUNTER_PROBES, 1);
    sequencer_send_egress(s, out, (uint32_t)length);
    /* By chance, so that two that ask at once don't go on doing so. */
    s->probe.at_ns =
        s->now.mono_ns + s->o.seal_retry_ns + random_next(s) % (s->o.seal_retry_ns / 2 + 1);
}

void probe_on_answer(struct sequencer *s, const struct promise *p)
{
    struct store *store = store_of(s, p->store);
    store->probe = *p;
    store->probed = true;
    store->probed_ns = s->now.mono_ns;
}

/* ---- what the answers come to ---------------------------------------------------------------- */

static bool answers(const struct sequencer *s, const struct store *store)
{
    return store->id != 0 && store->probed &&
           s->now.mono_ns - store->probed_ns <= PROBE_ROUNDS * s->o.seal_retry_ns;
}

static bool heard_leader(const struct sequencer *s, const struct store *store, uint64_t silence_ns)
{
    uint64_t age_ns = store->probe.leader_age_ns;
    uint64_t since_ns = s->now.mono_ns - store->probed_ns;
    return age_ns < silence_ns && since_ns < silence_ns - age_ns;
}

struct probe_view probe_look(const struct sequencer *s, uint64_t silence_ns)
{
    struct probe_view view = { 0 };
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        const struct store *store = &s->stores[i];
        if (answers(s, store) && store->probe.proven &&
            (view.best == NULL || position_compare(store->probe.tail, view.best->probe.tail) > 0))
            view.best = store;
    }
    if (view.best == NULL || view.best->probe.members.count == 0)
        return (struct probe_view) { 0 };
    const struct membership *members = &view.best->probe.members;
    view.members = members->count;
    view.needed = membership_seal_quorum(members);
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        const struct store *store = &s->stores[i];
        if (!answers(s, store) || !membership_has(members, store->id))
            continue;
        view.heard++;
        view.hear_leader += heard_leader(s, store, silence_ns);
        if (store->probe.proven)
            view.answered++;
        else if (position_compare(store->probe.tail, view.best->probe.tail) > 0)
            view.damaged = store;
    }
    return view;
}

bool probe_heard(const struct sequencer *s, uint64_t store)
{
    for (uint32_t i = 0; i < STORES_MAX; i++)
        if (s->stores[i].id == store && answers(s, &s->stores[i]))
            return true;
    return false;
}

bool probe_would_lose(const struct sequencer *s, const struct probe_view *view, char *text,
                      size_t size)
{
    const struct promise *best = &view->best->probe;
    if (view->damaged != NULL) {
        snprintf(text, size,
                 "store %016llx reports seq %llu, above %llu that can be had, but is damaged: let "
                 "it heal, or stop it if what only it has may be lost",
                 (unsigned long long)view->damaged->id,
                 (unsigned long long)view->damaged->probe.tail.seq,
                 (unsigned long long)best->tail.seq);
        return true;
    }
    uint64_t next = follower_next(s->follower);
    if (best->tail.seq >= next && best->oldest_seq > next) {
        snprintf(text, size,
                 "this standby is at %llu, and store %016llx, which has the most, begins at %llu: "
                 "promote a standby that is further, or let this one catch up",
                 (unsigned long long)(next - 1), (unsigned long long)view->best->id,
                 (unsigned long long)best->oldest_seq);
        return true;
    }
    if (best->tail.seq >= next && best->fetch_port == 0 && best->stream_port == 0) {
        snprintf(text, size,
                 "store %016llx has seq %llu, which this standby lacks, and does not say where to "
                 "fetch it: configure its address",
                 (unsigned long long)view->best->id, (unsigned long long)best->tail.seq);
        return true;
    }
    return false;
}

/* ---- promoting itself ------------------------------------------------------------------------ */

/* One that joined late leaves it to those that need not fetch first. But what the leader had said
 * may have died with it, and perhaps there is nobody else. */
static bool may_promote(const struct sequencer *s, uint64_t silent_ns)
{
    return s->caught_up || follower_goal_next(s->follower) <= 1 ||
           silent_ns / UNCAUGHT_SILENCES >= s->o.silence_ns;
}

/* True while what a store reports would be lost and may yet be had. */
static bool waits_for_loss(struct sequencer *s, const struct probe_view *view)
{
    char text[sizeof s->waiting_for - 16];
    if (!probe_would_lose(s, view, text, sizeof text)) {
        s->probe.lossy_ns = 0;
        return false;
    }
    if (s->probe.lossy_ns == 0)
        s->probe.lossy_ns = s->now.mono_ns;
    if ((s->now.mono_ns - s->probe.lossy_ns) / LOSS_SILENCES >= s->o.silence_ns)
        return false;
    snprintf(s->waiting_for, sizeof s->waiting_for, "would lose: %s", text);
    return true;
}

static void promote(struct sequencer *s, const struct probe_view *view, uint64_t silent_ns)
{
    unsigned long long silent_ms = silent_ns / 1000000;
    s->o.how = SYS_EPOCH_TIMEOUT;
    if (view->damaged != NULL)
        snprintf(s->why, sizeof s->why,
                 "no word of the leader for %llu ms; gave up what damaged store %016llx has above "
                 "seq %llu",
                 silent_ms, (unsigned long long)view->damaged->id,
                 (unsigned long long)view->best->probe.tail.seq);
    else
        snprintf(s->why, sizeof s->why, "no word of the leader for %llu ms", silent_ms);
    s->automatic = true;
    s->seal_losses = 0;
    count(s, COUNTER_PROMOTIONS, 1);
    seal_start(s);
}

static void judge(struct sequencer *s, uint64_t silent_ns)
{
    struct probe_view view = probe_look(s, s->o.silence_ns);
    if (view.best == NULL) {
        snprintf(s->waiting_for, sizeof s->waiting_for,
                 "the leader is silent, and no store has answered yet");
    } else if (view.answered < view.needed) {
        snprintf(s->waiting_for, sizeof s->waiting_for,
                 "the leader is silent: %u of %u stores needed have answered", view.answered,
                 view.needed);
    } else if (view.hear_leader > view.members / 2) {
        snprintf(s->waiting_for, sizeof s->waiting_for,
                 "the leader is silent here, but %u of %u stores have heard it", view.hear_leader,
                 view.members);
        s->probe.open = false;
        s->probe.at_ns =
            s->now.mono_ns + s->o.silence_ns / 2 + random_next(s) % (s->o.silence_ns / 2 + 1);
    } else if (!waits_for_loss(s, &view)) {
        promote(s, &view, silent_ns);
    }
}

/* Spread a little, so that several standbys don't all seal at once. */
static uint64_t jitter_ns(struct sequencer *s)
{
    uint64_t max_ns = s->o.silence_ns / 4;
    return random_next(s) % ((max_ns < PROBE_JITTER_NS ? max_ns : PROBE_JITTER_NS) + 1);
}

/* Another candidate is at it: it gets the time to begin, once in a silence. */
void probe_on_seal(struct sequencer *s)
{
    if (s->state != SEQUENCER_FOLLOWING || s->asked.open || s->probe.deferred)
        return;
    s->probe.open = false;
    s->probe.deferred = true;
    s->probe.at_ns = s->now.mono_ns + s->o.silence_ns / 2 + jitter_ns(s);
}

static void leader_is_well(struct sequencer *s)
{
    s->waiting_for[0] = '\0';
    s->probe = (struct probe) { 0 };
}

uint64_t probe_step(struct sequencer *s)
{
    if (s->asked.open)
        return command_standby_step(s);
    if (s->o.silence_ns == 0 || s->unfit != NULL || s->o.volatile_genesis_length > 0)
        return PORT_NEVER;
    uint64_t now_ns = s->now.mono_ns;
    uint64_t silent_ns = now_ns - s->leader_word_ns;
    if (silent_ns < s->o.silence_ns) {
        leader_is_well(s);
        return s->leader_word_ns + s->o.silence_ns;
    }
    if (!may_promote(s, silent_ns)) {
        snprintf(s->waiting_for, sizeof s->waiting_for,
                 "the leader is silent, and this standby has not caught up");
        return now_ns + s->o.silence_ns;
    }
    if (s->probe.at_ns == 0)
        s->probe.at_ns = s->leader_word_ns + s->o.silence_ns + jitter_ns(s);
    if (!s->probe.open) {
        if (now_ns < s->probe.at_ns)
            return s->probe.at_ns;
        probe_open(s);
    }
    probe_send_due(s);
    judge(s, silent_ns);
    return s->state == SEQUENCER_FOLLOWING ? s->probe.at_ns : now_ns;
}
