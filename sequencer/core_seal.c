/* Seal, adopt, begin: how a sequencer comes to lead (design section 3, "Fail over"; class Sequencer
 * of the model). Nothing is emitted before a quorum has promised; the number is new for every
 * round, because what one number vouched for must never change. */
#include "sequencer/core_private.h"

#include <stdio.h>

/* ---- seal ------------------------------------------------------------------------------------ */

uint64_t random_next(struct sequencer *s)
{
    uint64_t x = s->random += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static void send_seal(struct sequencer *s)
{
    struct seal seal = { .epoch = s->epoch };
    uint8_t *out = port_scratch(s->port, SIGNAL_SIZE_MAX);
    size_t length = seal_encode(&seal, s->o.stream, out, SIGNAL_SIZE_MAX);
    assert(length > 0);
    sequencer_send_egress(s, out, (uint32_t)length);
    s->seal_at_ns = s->now.mono_ns + s->o.seal_retry_ns;
}

/* A round with a number above all that were heard of. */
void seal_start(struct sequencer *s)
{
    uint32_t heard = follower_heard(s->follower).number;
    if (heard > s->number_seen)
        s->number_seen = heard;
    const struct epoch_table *epochs = catalog_epochs(s->catalog);
    if (s->number_seen == UINT32_MAX || epochs->count == EPOCH_TABLE_MAX)
        s->unfit = "the epoch table is full: begin a new stream";
    if (s->unfit != NULL) {
        s->state = SEQUENCER_FOLLOWING;
        return;
    }
    s->epoch = (struct epoch) { .number = ++s->number_seen, .candidate = s->o.candidate };
    for (uint32_t i = 0; i < STORES_MAX; i++)
        s->stores[i].promised = false;
    s->state = SEQUENCER_SEALING;
    s->seal_begun = true;
    s->has_promise = false;
    s->probe.open = false;
    snprintf(s->waiting_for, sizeof s->waiting_for, "no store has promised");
    count(s, COUNTER_SEALS, 1);
    send_seal(s);
}

/* Another candidate has the stores. Wait a while, longer each time and by chance, then try above
 * it: two that want to lead don't duel for ever. */
static void seal_lost(struct sequencer *s, bool rival)
{
    uint32_t doublings = s->seal_losses < SEAL_BACKOFF_MAX ? s->seal_losses : SEAL_BACKOFF_MAX;
    uint64_t delay_max = s->o.seal_retry_ns << doublings;
    /* The first time, unless it is our very number that another has, it is rather that ours was
     * low. A rival gets the time to begin, so that we hear it and follow. */
    uint64_t delay = s->seal_losses == 0 ? 0 : random_next(s) % (delay_max + 1);
    if (rival || s->automatic)
        delay += s->o.seal_retry_ns;
    s->seal_losses++;
    s->state = SEQUENCER_SEALING;
    s->seal_begun = false;
    s->seal_at_ns = s->now.mono_ns + delay;
    snprintf(s->waiting_for, sizeof s->waiting_for,
             "another candidate has the stores' promise: waiting before trying above it");
}

void seal_on_leader(struct sequencer *s, struct epoch heard)
{
    if (epoch_equal(heard, s->epoch))
        return;
    bool begun = heard.number >= s->epoch.number;
    /* Whoever is told to lead while another leads begins with a number that is too low, and goes
     * above what it finds. But who heard nothing of a later one until the stores had promised is
     * overtaken, and follows. */
    bool overtaken = begun && (s->automatic || s->has_promise || heard.number == s->epoch.number);
    bool alive_again = s->automatic && s->state == SEQUENCER_SEALING;
    if (overtaken || alive_again)
        sequencer_stand_by(s);
}

static bool counts(const struct sequencer *s, const struct store *store)
{
    return store->id != 0 && store->promised && store->promise.proven &&
           store->excluded_until_ns <= s->now.mono_ns;
}

static void adopt(struct sequencer *s, const struct store *best);

static bool better(const struct sequencer *s, const struct promise *p, const struct promise *than)
{
    if (sabotaged(s, SEQUENCER_ADOPT_LONGEST))
        return p->tail.seq > than->tail.seq;
    return position_compare(p->tail, than->tail) > 0;
}

static const struct membership *electorate(const struct sequencer *s, const struct promise *best)
{
    const struct sys_genesis *genesis = catalog_genesis(s->catalog);
    bool founders = sabotaged(s, SEQUENCER_STATIC_MEMBERSHIP) && genesis != NULL;
    return founders ? &genesis->members : &best->members;
}

/* Anew with every report: the best tail names the members that count. */
static void judge(struct sequencer *s)
{
    const struct store *best = NULL;
    uint32_t damaged = 0, restored = 0;
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        const struct store *store = &s->stores[i];
        damaged += store->id != 0 && store->promised && !store->promise.proven && !store->restored;
        restored += store->id != 0 && store->restored;
        if (counts(s, store) && (best == NULL || better(s, &store->promise, &best->promise)))
            best = store;
    }
    char but[160] = "";
    if (damaged > 0)
        snprintf(but, sizeof but,
                 "; %u damaged or restored from a copy, without a vote: see `cantus status` and "
                 "`cantus journal verify`",
                 damaged);
    else if (restored > 0)
        snprintf(but, sizeof but,
                 "; %u restored from an older copy, without a vote: bring the others up, then "
                 "replace it",
                 restored);
    if (best == NULL || best->promise.members.count == 0) {
        snprintf(s->waiting_for, sizeof s->waiting_for, "no store has promised%s", but);
        return;
    }
    uint32_t promised = 0;
    const struct membership *members = electorate(s, &best->promise);
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        if (counts(s, &s->stores[i]) && membership_has(members, s->stores[i].id))
            promised++;
    }
    uint32_t needed = sabotaged(s, SEQUENCER_MINORITY_SEAL) ? 1 : membership_seal_quorum(members);
    snprintf(s->waiting_for, sizeof s->waiting_for, "%u of %u stores needed have promised%s",
             promised, needed, but);
    if (promised >= needed)
        adopt(s, best);
}

void seal_on_promise(struct sequencer *s, const struct promise *p, struct port_addr from)
{
    if (p->promised.number > s->number_seen)
        s->number_seen = p->promised.number;
    if (s->state == SEQUENCER_LEADING) {
        if (p->promised.number > s->epoch.number)
            sequencer_fence(s, p->promised.number, p->promised, false);
        return;
    }
    struct store *store = store_of(s, p->store);
    const struct word now = { .promised = p->promised, .tail = p->tail };
    store->heard_ns = s->now.mono_ns;
    time_heard_clock(s, store, p->clock_ns);
    /* One that is damaged does not vote, and may not know yet what it has. */
    if (p->proven && !word_heard(s, store, &p->run, &now, from))
        return;
    if (p->probe && s->probe.open && epoch_equal(p->asked, s->probe.asked))
        probe_on_answer(s, p);
    if (p->probe || (s->state != SEQUENCER_SEALING && s->state != SEQUENCER_ADOPTING) ||
        !s->seal_begun)
        return;
    /* A tail of our number or above is a history that this number cannot continue. */
    if (p->tail.epoch.number > s->number_seen)
        s->number_seen = p->tail.epoch.number;
    bool ours = epoch_equal(p->promised, s->epoch) && p->tail.epoch.number < s->epoch.number;
    if (ours && epoch_equal(p->asked, s->epoch)) {
        store->promise = *p;
        store->promised = true;
        s->has_promise = true;
        store->durable_seq = p->tail.seq;
        if (s->state == SEQUENCER_SEALING)
            judge(s);
    } else if (!ours && p->promised.number >= s->epoch.number) {
        seal_lost(s, p->promised.number == s->epoch.number);
    }
}

uint64_t seal_step(struct sequencer *s)
{
    if (s->now.mono_ns >= s->seal_at_ns) {
        if (s->seal_begun) {
            send_seal(s);
            judge(s); /* a store that was excluded may count again */
        } else {
            seal_start(s);
        }
    }
    return s->seal_at_ns;
}

/* ---- again, above itself --------------------------------------------------------------------- */

/* A store that promised our very number to another candidate records nothing of ours, and could not
 * be told to: only a higher number frees it. So the leader seals one itself, once it is clear that
 * the store stays like that; what it has emitted gets the time to become stable first. */
void seal_heard_locked(struct sequencer *s)
{
    if (s->locked_until_ns == 0)
        s->locked_until_ns = s->now.mono_ns + s->o.adopt_timeout_ns;
}

bool seal_again_due(struct sequencer *s)
{
    if (s->locked_until_ns == 0 || s->run.left > 0 || s->now.mono_ns < s->locked_until_ns)
        return false;
    bool stable = s->stable + 1 == s->next_seq;
    bool patient = s->now.mono_ns < s->locked_until_ns + s->o.adopt_timeout_ns;
    s->holds_back = patient && !stable;
    return !s->holds_back;
}

void seal_again(struct sequencer *s)
{
    sequencer_resign(s);
    snprintf(s->why, sizeof s->why, "a store had promised epoch %u to another candidate",
             s->epoch.number);
    s->automatic = false;
    s->seal_losses = 0;
    seal_start(s);
}

/* ---- adopt ----------------------------------------------------------------------------------- */

static void tell_follower(struct sequencer *s)
{
    s->adopt_again = false;
    follower_adopt(s->follower, s->epoch, s->adopted, s->adopted_digest, s->adopt_source);
}

static void adopt(struct sequencer *s, const struct store *best)
{
    const struct promise *p = &best->promise;
    s->state = SEQUENCER_ADOPTING;
    s->promise_fell = false;
    s->adopted = p->tail;
    s->adopted_digest = p->digest;
    s->adopt_store = best->id;
    s->adopt_source =
        (struct follower_source) { .unicast = { .ip = p->fetch_ip, .port = p->fetch_port },
                                   .stream = { .ip = p->fetch_ip, .port = p->stream_port } };
    s->adopt_next = follower_next(s->follower);
    s->adopt_deadline_ns = s->now.mono_ns + s->o.adopt_timeout_ns;
    s->adopt_restarts = 0;
    snprintf(s->waiting_for, sizeof s->waiting_for,
             "fetching the history through %llu, as store %016llx has it",
             (unsigned long long)s->adopted.seq, (unsigned long long)best->id);
    tell_follower(s);
}

static bool adopted_wholly(const struct sequencer *s)
{
    return follower_tail(s->follower).seq == s->adopted.seq &&
           digest_equal(follower_tail_digest(s->follower), s->adopted_digest);
}

/* What was delivered is not a beginning of what is adopted. Nobody but us could tell where the two
 * part, since our epoch record does not exist yet: follow it again from below. */
static bool delivered_off_it(const struct sequencer *s)
{
    uint64_t delivered = follower_tail(s->follower).seq;
    return delivered > s->adopted.seq || (delivered == s->adopted.seq && !adopted_wholly(s));
}

static void restart_follower(struct sequencer *s)
{
    s->adopt_restarts++;
    sequencer_restart(s, s->epoch);
    tell_follower(s);
    s->adopt_next = follower_next(s->follower);
    s->adopt_deadline_ns = s->now.mono_ns + s->o.adopt_timeout_ns;
}

/* Without this store, for a while: then it is asked again, if there is no quorum without it. */
static void give_up_store(struct sequencer *s)
{
    struct store *store = store_of(s, s->adopt_store);
    store->excluded_until_ns = s->now.mono_ns + EXCLUDED_ROUNDS * s->o.adopt_timeout_ns;
    seal_start(s);
}

static void begin(struct sequencer *s)
{
    s->state = SEQUENCER_LEADING;
    s->waiting_for[0] = '\0';
    s->seal_losses = 0;
    s->next_seq = s->adopted.seq + 1;
    s->epoch_first_seq = s->next_seq;
    s->digest = s->adopted_digest;
    s->fenced_by = 0;
    s->unheard = 0;
    s->locked_until_ns = 0;
    s->holds_back = false;
    if (sabotaged(s, SEQUENCER_DEDUP_FORGOTTEN)) {
        ledger_reset(&s->ledger);
        s->base.valid = false;
    }
    ack_begin(s);
    emit_begin(s);
    count(s, COUNTER_EPOCHS_BEGUN, 1);
    emit_epoch_record(s);
    queue_check_all(s, true);
    s->session_due = true;
}

static void begin_adopted(struct sequencer *s)
{
    const struct sys_genesis *genesis = catalog_genesis(s->catalog);
    if (genesis == NULL || genesis->is_volatile)
        s->unfit = "the stores hold no genesis record of a recorded stream";
    if (catalog_epochs(s->catalog)->count == EPOCH_TABLE_MAX)
        s->unfit = "the epoch table is full: begin a new stream";
    if (s->unfit != NULL) {
        s->state = SEQUENCER_FOLLOWING;
        return;
    }
    assert(s->next_seq == s->adopted.seq + 1 && digest_equal(s->digest, s->adopted_digest));
    s->is_volatile = false;
    s->stable = follower_stable(s->follower);
    if (s->stable > s->adopted.seq)
        s->stable = s->adopted.seq;
    begin(s);
}

/* SEQUENCER_BEGIN_AFTER_RERECORD only. */
static bool rerecorded(const struct sequencer *s)
{
    const struct membership *members = catalog_members(s->catalog);
    uint32_t have = 0;
    for (uint32_t i = 0; i < STORES_MAX; i++)
        have += s->stores[i].id != 0 && membership_has(members, s->stores[i].id) &&
                s->stores[i].durable_seq >= s->adopted.seq;
    return have >= membership_stable_quorum(members);
}

uint64_t adopt_step(struct sequencer *s)
{
    if (s->adopt_again)
        tell_follower(s);
    if (s->unfit == NULL && !adopted_wholly(s) && delivered_off_it(s))
        restart_follower(s);
    if (adopted_wholly(s) || s->unfit != NULL) {
        if (sabotaged(s, SEQUENCER_BEGIN_AFTER_RERECORD) && !rerecorded(s))
            return s->now.mono_ns + s->o.seal_retry_ns;
        if (!word_promises_stand(s)) {
            s->state = SEQUENCER_SEALING;
            judge(s);
            return s->now.mono_ns;
        }
        begin_adopted(s);
        return s->now.mono_ns;
    }
    if (follower_next(s->follower) != s->adopt_next) {
        s->adopt_next = follower_next(s->follower);
        s->adopt_deadline_ns = s->now.mono_ns + s->o.adopt_timeout_ns;
    } else if (s->now.mono_ns >= s->adopt_deadline_ns) {
        /* It may be our own beginning that does not fit: try from the base, then from nothing. */
        if (s->adopt_restarts < 2 && follower_next(s->follower) > 1)
            restart_follower(s);
        else
            give_up_store(s);
        return s->now.mono_ns;
    }
    return s->adopt_deadline_ns;
}

/* ---- streams without stores ------------------------------------------------------------------ */

static void apply_genesis(struct sequencer *s, const struct batch_header *h)
{
    struct batch_cursor cursor = batch_begin(s->o.volatile_genesis, h);
    struct message m;
    while (batch_next(&cursor, &m)) {
        if (catalog_apply(s->catalog, &m, h) != CATALOG_OK || !ledger_apply(&s->ledger, &m))
            s->unfit = "the genesis record is not valid";
    }
}

/* Nothing to seal and nothing to adopt but the genesis record. */
void begin_volatile(struct sequencer *s)
{
    struct batch_header h;
    if (s->unfit == NULL &&
        (batch_verify(s->o.volatile_genesis, s->o.volatile_genesis_length, s->o.stream, &h) !=
             WIRE_OK ||
         h.first_seq != 1 || h.length > s->ring_stride || s->o.volatile_epoch == 0))
        s->unfit = "the genesis record is not valid";
    if (s->unfit == NULL) {
        sequencer_rebuild(s, h.epoch);
        apply_genesis(s, &h);
    }
    if (s->unfit != NULL)
        return;
    s->is_volatile = true;
    s->stable = 0;
    s->adopted = (struct position) { .epoch = h.epoch, .seq = batch_end_seq(&h) - 1 };
    s->adopted_digest = h.digest;
    if (s->number_seen < s->o.volatile_epoch)
        s->number_seen = s->o.volatile_epoch - 1;
    s->epoch = (struct epoch) { .number = ++s->number_seen, .candidate = s->o.candidate };
    if (h.timestamp_ns > s->last_stamp_ns)
        s->last_stamp_ns = h.timestamp_ns;
    s->last_stamp_mono_ns = s->now.mono_ns;
    s->base.valid = false; /* there is nobody to go on with it after us */
    ring_put(s, s->o.volatile_genesis, &h);
    begin(s);
}
