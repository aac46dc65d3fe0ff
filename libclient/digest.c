/* State digests: what a replica says of its state, at positions that all replicas choose alike.
 *
 * A digest is due at every multiple of `every`, of the state between runs at or below it. Only a
 * state that has changed since the multiple before is worth one: so digests, which are messages
 * too, don't cause digests. */
#include "libclient/core_private.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- building -------------------------------------------------------------------------------- */

static void find_due(struct client_core *c, uint64_t seq)
{
    c->digest_due_seq = UINT64_MAX;
    for (uint32_t i = 0; i < c->machine_count; i++) {
        const struct client_digests *d = c->machines[i].digests;
        if (d == NULL || seq > UINT64_MAX - d->every)
            continue;
        uint64_t due = (seq / d->every + 1) * d->every;
        if (due < c->digest_due_seq)
            c->digest_due_seq = due;
    }
}

static struct client_machine *slot_of(struct client_core *c, const struct machine *m)
{
    for (uint32_t i = 0; i < c->machine_count; i++) {
        if (c->machines[i].machine == m)
            return &c->machines[i];
    }
    return NULL;
}

/* What stands against it, for humans; NULL if nothing. */
static const char *what_is_wrong(const struct client_core *c, const struct client_machine *slot,
                                 const char *topic, bool named)
{
    if (c->edge != NULL)
        return "only a client on the core network publishes them, and this one comes by a proxy";
    if (c->started)
        return "say so before the first poll";
    if (slot == NULL)
        return "it is not of this client";
    if (slot->digests != NULL)
        return "it publishes them already";
    if (!machine_has_digest(slot->machine))
        return "neither it nor a part of it has a digest function";
    if (!named && slot->author == NULL)
        return "it only follows, so its digests need an identity of their own";
    return topic_path_check(topic, strnlen(topic, TOPIC_PATH_MAX + 1));
}

bool client_core_publish_digests(struct client_core *c, const struct machine *m,
                                 const char *identity, uint64_t every, char *error)
{
    char topic[sizeof SYS_DIGEST_ROOT + TOPIC_PATH_MAX + 1];
    snprintf(topic, sizeof topic, SYS_DIGEST_ROOT "/%s", machine_app(m)->name);
    struct client_machine *slot = slot_of(c, m);
    const char *wrong = what_is_wrong(c, slot, topic, identity != NULL);
    if (wrong != NULL) {
        snprintf(error, CANTUS_ERROR_MAX, "digests of app \"%.100s\": %s", machine_app(m)->name,
                 wrong);
        return false;
    }
    char own[IDENTITY_MAX + sizeof ".digest"];
    if (identity == NULL) {
        snprintf(own, sizeof own, "%s.digest", publisher_identity(slot->author->publisher));
        identity = own;
    }
    struct client_digests *d = calloc(1, sizeof *d);
    if (d == NULL || !author_init(c, &d->author, AUTHOR_DIGEST, identity, error)) {
        if (d == NULL)
            snprintf(error, CANTUS_ERROR_MAX, "no memory for publisher \"%.63s\"", identity);
        free(d);
        return false;
    }
    d->every = every != 0 ? every : CANTUS_DIGEST_EVERY;
    memcpy(d->topic, topic, strlen(topic) + 1);
    slot->digests = d;
    find_due(c, 0);
    return true;
}

/* ---- taking ---------------------------------------------------------------------------------- */

/* A digest may be dear: of what lies behind, only the last one is taken. */
static bool is_worth_taking(const struct client_core *c, const struct client_digests *d,
                            uint64_t seq)
{
    if (d->refused)
        return false;
    if (c->live)
        return true;
    uint64_t end = follower_goal_next(c->follower);
    return end > seq && end - seq <= d->every;
}

static void take(struct client_core *c, const struct client_machine *slot)
{
    struct client_digests *d = slot->digests;
    if (!c->live)
        d->count = 0;
    if (d->count == CLIENT_DIGESTS_MAX) {
        c->counters[COUNTER_DIGESTS_DROPPED]++;
        d->count--;
        memmove(&d->waiting[0], &d->waiting[1], d->count * sizeof d->waiting[0]);
    }
    d->waiting[d->count++] = (struct sys_digest) {
        .logic_version = machine_app(slot->machine)->logic_version,
        .position = c->position,
        .digest = machine_digest(slot->machine),
    };
}

void core_take_digests(struct client_core *c, uint64_t seq)
{
    for (uint32_t i = 0; i < c->machine_count; i++) {
        struct client_machine *slot = &c->machines[i];
        if (slot->digests == NULL || seq % slot->digests->every != 0)
            continue;
        if (slot->changed && is_worth_taking(c, slot->digests, seq))
            take(c, slot);
        slot->changed = false;
    }
    find_due(c, seq);
}

/* What was taken of a state that no longer holds is forgotten: by its seq, the history that comes
 * instead would make it stable. */
void core_take_back_digests(struct client_core *c, struct position common)
{
    for (uint32_t i = 0; i < c->machine_count; i++) {
        struct client_digests *d = c->machines[i].digests;
        while (d != NULL && d->count > 0 && d->waiting[d->count - 1].position.seq > common.seq)
            d->count--;
    }
}

void core_rewind_digests(struct client_core *c)
{
    for (uint32_t i = 0; i < c->machine_count; i++) {
        struct client_machine *slot = &c->machines[i];
        slot->changed = false;
        struct client_digests *d = slot->digests;
        if (d == NULL)
            continue;
        d->said = (struct sys_digest) { .logic_version = 0 };
    }
    find_due(c, 0);
}

/* ---- saying ---------------------------------------------------------------------------------- */

static struct client_digests *digests_of(struct author *a)
{
    return (struct client_digests *)(void *)a;
}

static void note_said(struct client_digests *d, const struct sys_digest *said)
{
    if (said->position.seq >= d->said.position.seq)
        d->said = *said;
}

/* An earlier incarnation's too: a replica that starts again does not repeat itself. */
void digest_on_message(struct author *a, const struct message *m)
{
    struct sys_digest said;
    if (m->topic >= TOPIC_FIRST_USER && sys_digest_decode(m->payload, m->length, &said))
        note_said(digests_of(a), &said);
}

static bool is_said(const struct client_digests *d, const struct sys_digest *one)
{
    return one->position.seq == d->said.position.seq &&
           epoch_equal(one->position.epoch, d->said.position.epoch) &&
           one->logic_version == d->said.logic_version && one->digest == d->said.digest &&
           one->skips == d->said.skips;
}

static bool is_stable(const struct client_core *c, uint64_t seq)
{
    return c->options.follower.level == FOLLOWER_STABLE || seq <= c->stable;
}

static enum propose_result say(struct client_digests *d, const struct sys_digest *one)
{
    uint8_t payload[SYS_DIGEST_SIZE];
    size_t length = sys_digest_encode(one, payload, sizeof payload);
    assert(length > 0);
    struct cantus_proposal proposal = { .topic = d->topic, .payload = payload, .length = length };
    char text[CLIENT_TEXT_MAX];
    enum propose_result result = author_propose(&d->author, &proposal, text);
    if (result == PROPOSE_PUSHED)
        note_said(d, one);
    if (result == PROPOSE_REFUSED) {
        d->refused = true;
        core_report(d->author.core, CANTUS_REPORT_REJECTED, one->position.seq,
                    publisher_identity(d->author.publisher), d->topic, text);
    }
    return result;
}

void digest_step(struct author *a)
{
    struct client_digests *d = digests_of(a);
    if (d->count == 0 || !author_ready(a))
        return;
    uint32_t done = 0;
    for (; done < d->count && is_stable(a->core, d->waiting[done].position.seq); done++) {
        const struct sys_digest *one = &d->waiting[done];
        if (!is_said(d, one) && say(d, one) == PROPOSE_LATER)
            break;
    }
    d->count -= done;
    memmove(&d->waiting[0], &d->waiting[done], d->count * sizeof d->waiting[0]);
}
