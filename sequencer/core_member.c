/* The rules of a membership change (design section 3, "Membership"; Sequencer.change of the model).
 *
 * One store at a time, so that any quorum of the old membership meets any of the new. The change
 * before it, and some message of this epoch, must be on a majority: else a candidate could still
 * begin under a membership two changes away. A majority, not W: if it waited for a W above that, a
 * lost store could never be removed. And W may not be below a majority before or after, because
 * then what it makes stable does not meet the seals of a membership one larger or smaller.
 *
 * Two more rules keep an operator from stopping the stream: who is added must be level enough to
 * vote at once, and who stays must be able to go on. */
#include "sequencer/core_private.h"

#include <stdarg.h>
#include <stdio.h>

struct reason {
    char *text;
    size_t size;
};

__attribute__((format(printf, 2, 3))) static bool refuse(struct reason r, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(r.text, r.size, format, arguments);
    va_end(arguments);
    return false;
}

static const struct store *known(const struct sequencer *s, uint64_t id)
{
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        if (s->stores[i].id == id)
            return &s->stores[i];
    }
    return NULL;
}

static bool fixed(const struct sequencer *s, const struct membership *m)
{
    return !sabotaged(s, SEQUENCER_SMALL_QUORUM_CHANGE) &&
           membership_stable_quorum(m) < m->count / 2 + 1;
}

static bool settled(const struct sequencer *s, const struct membership *now, struct reason r)
{
    if (sabotaged(s, SEQUENCER_UNGUARDED_MEMBERSHIP))
        return true;
    if (s->secure >= now->seq && s->secure >= s->epoch_first_seq)
        return true;
    uint64_t needed = now->seq > s->epoch_first_seq ? now->seq : s->epoch_first_seq;
    return refuse(r,
                  "seq %llu (%s) is not yet on a majority of the %u members: bring a majority up, "
                  "then try again",
                  (unsigned long long)needed,
                  needed == now->seq ? "the previous change" : "this epoch's record", now->count);
}

/* Whether it can vote at once. */
static bool level(const struct sequencer *s, uint64_t id, struct reason r)
{
    const struct store *store = known(s, id);
    if (store == NULL || store->heard_ns == 0)
        return refuse(r,
                      "store %016llx has not been heard: start its retransmitter on this stream "
                      "first; if it runs, it has promised this epoch to another sequencer, and "
                      "follows after the next promotion",
                      (unsigned long long)id);
    uint64_t age_ns = s->now.mono_ns - store->heard_ns;
    if (age_ns > STORE_SILENT_NS)
        return refuse(r, "store %016llx was last heard %llu ms ago: is it running?",
                      (unsigned long long)id, (unsigned long long)(age_ns / 1000000));
    uint64_t tip = s->next_seq - 1;
    uint64_t behind = store->durable_seq < tip ? tip - store->durable_seq : 0;
    if (!store->current || behind > MEMBER_LAG_MAX)
        return refuse(r, "store %016llx is at seq %llu%s, %llu behind: wait until it has caught up",
                      (unsigned long long)id, (unsigned long long)store->durable_seq,
                      store->current ? "" : " of an older epoch", (unsigned long long)behind);
    if (store->full)
        return refuse(r, "store %016llx has a full disk: make room there first",
                      (unsigned long long)id);
    return true;
}

/* Whether those that stay make a quorum without the one that goes. */
static bool can_go_on(const struct sequencer *s, const struct membership *rest, struct reason r)
{
    uint32_t well = 0;
    for (uint32_t i = 0; i < rest->count; i++) {
        const struct store *store = known(s, rest->stores[i]);
        well += store != NULL && store->current && !store->full &&
                s->now.mono_ns - store->heard_ns <= STORE_SILENT_NS;
    }
    uint32_t needed = membership_stable_quorum(rest);
    return well >= needed ||
           refuse(r,
                  "only %u of the %u stores that would stay are recording, and %u are needed: "
                  "bring them up, or add another first",
                  well, rest->count, needed);
}

static bool add(const struct sequencer *s, uint64_t id, struct membership *out, struct reason r)
{
    if (membership_has(out, id))
        return refuse(r, "store %016llx is a member already, of the membership of seq %llu",
                      (unsigned long long)id, (unsigned long long)out->seq);
    if (out->count == MEMBERS_MAX)
        return refuse(r, "there are %u members, which is the most: remove one first", out->count);
    if (!level(s, id, r))
        return false;
    if (sabotaged(s, SEQUENCER_REPLACE_MEMBERS))
        out->stores[id % out->count] = id;
    else
        out->stores[out->count++] = id;
    return true;
}

static bool drop(const struct sequencer *s, uint64_t id, struct membership *out, struct reason r)
{
    if (!membership_has(out, id))
        return refuse(r, "store %016llx is not a member, of the membership of seq %llu",
                      (unsigned long long)id, (unsigned long long)out->seq);
    if (out->count == 1)
        return refuse(r, "store %016llx is the last member: add another first",
                      (unsigned long long)id);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < out->count; i++) {
        if (out->stores[i] != id)
            out->stores[kept++] = out->stores[i];
    }
    out->stores[kept] = 0;
    out->count = kept;
    return can_go_on(s, out, r);
}

bool member_change(const struct sequencer *s, const struct command *c, struct membership *out,
                   char *text, size_t size)
{
    struct reason r = { .text = text, .size = size };
    *out = *catalog_members(s->catalog);
    if (out->count == 0)
        return refuse(r, "a stream without stores has no members");
    if (c->store == 0)
        return refuse(r, "which store? Its id is not 0");
    if (fixed(s, out))
        return refuse(r,
                      "a quorum of %u is below a majority of %u members, which fixes the "
                      "membership (docs/guarantees.md)",
                      membership_stable_quorum(out), out->count);
    struct membership now = *out;
    if (!(c->kind == COMMAND_MEMBER_ADD ? add(s, c->store, out, r) : drop(s, c->store, out, r)) ||
        !settled(s, &now, r))
        return false;
    if (fixed(s, out))
        return refuse(r,
                      "the configured quorum of %u would be below a majority of %u members, which "
                      "would fix the membership",
                      membership_stable_quorum(out), out->count);
    return true;
}
