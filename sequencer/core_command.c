/* What an operator asks of a sequencer on its stream port. One command at a time is looked into or
 * waits for its turn; whoever asks another meanwhile is told so. A connection that closes takes its
 * command with it, unless that has been carried out. */
#include "sequencer/core_private.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- outcomes -------------------------------------------------------------------------------- */

static bool send_outcome(struct sequencer *s, uint32_t stream, const struct outcome *outcome)
{
    size_t length = outcome_encode(outcome, s->status_body, sizeof s->status_body);
    if (outcome->verdict == OUTCOME_REFUSED)
        count(s, COUNTER_COMMANDS_REFUSED, 1);
    return length > 0 && status_write_frame(s, stream, REPLAY_OUTCOME, s->status_body, length);
}

__attribute__((format(printf, 3, 4))) static struct outcome
outcome_of(enum outcome_verdict verdict, uint64_t seq, const char *format, ...)
{
    struct outcome outcome = { .verdict = verdict, .seq = seq };
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(outcome.text, sizeof outcome.text, format, arguments);
    va_end(arguments);
    return outcome;
}

/* The answer to what waited. Whoever does not read it is cut off. */
static void finish(struct sequencer *s, const struct outcome *outcome)
{
    uint32_t stream = s->asked.stream;
    s->asked.open = false;
    if (!send_outcome(s, stream, outcome))
        status_hang_up(s, stream);
}

void command_abandon(struct sequencer *s, const char *why)
{
    if (!s->asked.open)
        return;
    struct outcome outcome = outcome_of(OUTCOME_REFUSED, 0, "%s", why);
    finish(s, &outcome);
}

void command_stream_closed(struct sequencer *s, uint32_t stream)
{
    if (s->asked.open && s->asked.stream == stream)
        s->asked.open = false;
}

/* ---- promote --------------------------------------------------------------------------------- */

/* Which stores the operator should look after: those that did not answer, or cannot vote either. */
static void name_silent(const struct sequencer *s, bool damaged_too, char *out, size_t size)
{
    const struct membership *members = catalog_members(s->catalog);
    size_t at = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < members->count && at + 20 < size && at < 120; i++) {
        bool answered = !damaged_too && probe_heard(s, members->stores[i]);
        for (uint32_t k = 0; damaged_too && k < STORES_MAX; k++)
            answered = answered || (s->stores[k].id == members->stores[i] && s->stores[k].probed &&
                                    s->stores[k].probe.proven);
        if (!answered)
            at += (size_t)snprintf(out + at, size - at, "%s%016llx", at > 0 ? ", " : "",
                                   (unsigned long long)members->stores[i]);
    }
}

static void refuse_promotion(struct sequencer *s, const struct probe_view *view)
{
    char silent[160];
    name_silent(s, true, silent, sizeof silent);
    struct outcome outcome;
    if (view->best == NULL)
        outcome = outcome_of(OUTCOME_REFUSED, 0,
                             "no store answered: start the retransmitters, or repair the network "
                             "between them and this standby");
    else
        outcome = outcome_of(OUTCOME_REFUSED, 0,
                             "%u of %u stores needed answered: start those that are missing (%s), "
                             "or promote where they can be reached",
                             view->answered, view->needed, silent);
    s->probe.open = false;
    finish(s, &outcome);
}

/* Nothing that exists is given up unasked. */
static bool would_lose(const struct sequencer *s, const struct probe_view *view,
                       struct outcome *outcome)
{
    *outcome = (struct outcome) { .verdict = OUTCOME_REFUSED };
    return probe_would_lose(s, view, outcome->text, sizeof outcome->text);
}

/* Who holds a lease knows nothing of the leader but that it does not hold it. */
static bool would_overthrow(const struct sequencer *s, const struct probe_view *view,
                            struct outcome *outcome)
{
    if (s->asked.command.how != SYS_EPOCH_LEASE || view->hear_leader <= view->members / 2)
        return false;
    *outcome =
        outcome_of(OUTCOME_REFUSED, 0,
                   "%u of %u stores hear the leader: it is well, and a lease does not overthrow it",
                   view->hear_leader, view->members);
    return true;
}

/* What an operator asks for is decided on every member's word, not on whose came first: one that
 * answers late may report more than the others have. Who holds a lease is in a hurry. */
static bool asks_on(const struct sequencer *s, const struct probe_view *view)
{
    return s->now.mono_ns < s->asked.deadline_ns && view->heard < view->members &&
           s->asked.command.how != SYS_EPOCH_LEASE;
}

static void begin_asked(struct sequencer *s, const struct probe_view *view)
{
    bool lease = s->asked.command.how == SYS_EPOCH_LEASE;
    sequencer_lead(s, lease ? SYS_EPOCH_LEASE : SYS_EPOCH_PROMOTED, s->asked.command.why);
    s->automatic = lease;
    s->want_lead = false;
    s->seal_losses = 0;
    seal_start(s);
    count(s, COUNTER_PROMOTIONS, 1);
    char silent[160];
    name_silent(s, false, silent, sizeof silent);
    bool all = view->heard == view->members || silent[0] == '\0';
    struct outcome outcome = outcome_of(
        OUTCOME_PENDING, 0, "asks the stores to promise epoch %u%s%s", s->epoch.number,
        all ? "" : "; not heard, so what only these have may be lost: ", all ? "" : silent);
    finish(s, &outcome);
}

uint64_t command_standby_step(struct sequencer *s)
{
    struct outcome outcome;
    if (s->unfit != NULL) {
        command_abandon(s, s->unfit);
        return s->now.mono_ns;
    }
    probe_send_due(s);
    struct probe_view view = probe_look(s, s->o.lease_silence_ns);
    if (view.best != NULL && view.answered >= view.needed && !asks_on(s, &view)) {
        s->probe.open = false;
        if (would_overthrow(s, &view, &outcome) || would_lose(s, &view, &outcome)) {
            finish(s, &outcome);
            return s->now.mono_ns;
        }
        begin_asked(s, &view);
        return s->now.mono_ns;
    }
    if (s->now.mono_ns < s->asked.deadline_ns)
        return s->asked.deadline_ns < s->probe.at_ns ? s->asked.deadline_ns : s->probe.at_ns;
    refuse_promotion(s, &view);
    return s->now.mono_ns;
}

static bool keep(struct sequencer *s, uint32_t stream, const struct command *c)
{
    s->asked = (struct asked_command) { .open = true,
                                        .stream = stream,
                                        .deadline_ns = s->now.mono_ns + PROMOTE_ASKS_NS,
                                        .command = *c };
    return true;
}

static bool on_promote(struct sequencer *s, uint32_t stream, const struct command *c)
{
    struct outcome outcome;
    if (s->state == SEQUENCER_LEADING) {
        outcome = outcome_of(OUTCOME_REFUSED, s->epoch_first_seq, "leads already, epoch %u",
                             s->epoch.number);
    } else if (s->unfit != NULL) {
        outcome = outcome_of(OUTCOME_REFUSED, 0, "%s", s->unfit);
    } else if (s->o.volatile_genesis_length > 0) {
        outcome = outcome_of(OUTCOME_REFUSED, 0,
                             "a stream without stores cannot be taken over: start it anew");
    } else if (s->state != SEQUENCER_FOLLOWING || s->want_lead) {
        if (c->how != SYS_EPOCH_LEASE)
            s->automatic = false; /* now somebody said so */
        outcome = outcome_of(OUTCOME_PENDING, 0, "under way already: %s", sequencer_waiting_for(s));
    } else {
        probe_open(s);
        return keep(s, stream, c);
    }
    return send_outcome(s, stream, &outcome);
}

/* ---- why ------------------------------------------------------------------------------------- */

enum { WHY_BATCHES_MAX = 256 }; /* the newest ones, looked through for a reject */

/* The newest reject of this publisher among the newest batches of the ring. */
static bool last_reject(struct sequencer *s, uint32_t publisher, struct sys_reject *out,
                        uint64_t *number)
{
    uint64_t oldest =
        s->ring_end - s->ring_head > WHY_BATCHES_MAX ? s->ring_end - WHY_BATCHES_MAX : s->ring_head;
    bool found = false;
    for (uint64_t index = s->ring_end; index > oldest && !found; index--) {
        struct batch_header h;
        struct message m;
        const uint8_t *bytes = ring_bytes_at(s, index - 1);
        size_t length = ring_slot_at(s, index - 1)->length;
        if (batch_decode(bytes, length, s->o.stream, &h) != WIRE_OK)
            continue;
        struct batch_cursor c = batch_begin(bytes, &h);
        while (batch_next(&c, &m)) {
            if (m.topic != TOPIC_REJECT || m.publisher != publisher ||
                !sys_reject_decode(m.payload, m.length, out))
                continue;
            *number = m.publisher_seq;
            found = true;
        }
    }
    return found;
}

/* What holds up the numbers that are here, or that nothing does. */
static struct outcome why_queue(const struct sequencer *s, uint32_t publisher)
{
    const struct queue *q = &s->queues[publisher];
    unsigned long long next = ledger_next(&s->ledger, publisher);
    unsigned incarnation = catalog_publisher(s->catalog, publisher)->incarnation;
    if (q->slots == 0)
        return outcome_of(OUTCOME_DONE, next,
                          "%s: every number below %llu is sequenced or rejected, none waits here "
                          "(incarnation %u)",
                          q->heard_ns == 0 ? "nothing was heard of it since this leader began"
                                           : "it waits for nothing here",
                          next, incarnation);
    const struct held *head = &s->held[q->head];
    unsigned long long age_ms = (s->now.mono_ns - q->heard_ns) / 1000000u;
    if (head->number > next)
        return outcome_of(OUTCOME_DONE, next,
                          "it waits for its own number %llu: %llu to %llu have not arrived, what "
                          "comes after them is held (%u datagrams, the last %llu ms ago, "
                          "incarnation %u)",
                          next, next, (unsigned long long)head->number - 1, q->slots, age_ms,
                          incarnation);
    if (s->paused)
        return outcome_of(OUTCOME_DONE, next,
                          "its number %llu waits, and %u datagrams in all: the ring is full of "
                          "what no quorum of stores has",
                          next, q->slots);
    if (q->scan.first == next && !q->active)
        return outcome_of(OUTCOME_DONE, next,
                          "its number %llu begins a run of which the end has not arrived (%u "
                          "datagrams, the last %llu ms ago)",
                          next, q->slots, age_ms);
    return outcome_of(OUTCOME_DONE, next,
                      "its number %llu waits for its turn: %u datagrams of %u held for all", next,
                      q->slots, s->o.queue_max - s->free_count);
}

static bool on_why(struct sequencer *s, uint32_t stream, const struct command *c)
{
    struct outcome outcome;
    struct sys_reject reject;
    uint64_t number;
    uint32_t publisher = catalog_publisher_find(s->catalog, c->name);
    if (s->state != SEQUENCER_LEADING) {
        outcome = outcome_of(OUTCOME_REFUSED, 0, "does not lead: %s", sequencer_waiting_for(s));
    } else if (publisher == 0) {
        outcome = outcome_of(OUTCOME_REFUSED, 0, "no publisher %s has joined this stream", c->name);
    } else {
        outcome = why_queue(s, publisher);
        if (last_reject(s, publisher, &reject, &number)) {
            size_t at = strlen(outcome.text);
            snprintf(outcome.text + at, sizeof outcome.text - at,
                     "; its number %llu was rejected: %s", (unsigned long long)number,
                     reject_reason_text(reject.reason));
        }
    }
    return send_outcome(s, stream, &outcome);
}

/* ---- the leader ------------------------------------------------------------------------------ */

static void change_members(struct sequencer *s)
{
    struct outcome outcome = { .verdict = OUTCOME_REFUSED };
    struct membership members;
    if (member_change(s, &s->asked.command, &members, outcome.text, sizeof outcome.text)) {
        if (!emit_member_record(s, &members))
            return; /* no room even in the reserve: again in the next step */
        outcome = outcome_of(OUTCOME_DONE, members.seq, "%u members from seq %llu on",
                             members.count, (unsigned long long)members.seq);
    } else {
        outcome.seq = catalog_members(s->catalog)->seq;
    }
    finish(s, &outcome);
}

static void change_session(struct sequencer *s)
{
    const char *name = s->asked.command.name;
    struct outcome outcome;
    if (s->session_due)
        return; /* the one asked for at the start goes first */
    if (strcmp(name, catalog_session(s->catalog)) == 0) {
        outcome = outcome_of(OUTCOME_REFUSED, catalog_session_seq(s->catalog),
                             "session %s runs already", name);
    } else {
        memcpy(s->session, name, sizeof s->session);
        emit_session_record(s);
        if (s->session_due) {
            s->session_due = false;
            return;
        }
        outcome = outcome_of(OUTCOME_DONE, catalog_session_seq(s->catalog), "session %s", name);
    }
    finish(s, &outcome);
}

void command_lead_step(struct sequencer *s)
{
    if (!s->asked.open)
        return;
    if (s->asked.command.kind == COMMAND_SESSION) {
        change_session(s);
    } else if (s->asked.command.kind == COMMAND_PROMOTE) {
        struct outcome outcome =
            outcome_of(OUTCOME_DONE, s->epoch_first_seq, "leads, epoch %u", s->epoch.number);
        finish(s, &outcome);
    } else {
        change_members(s);
    }
}

static bool on_leaders(struct sequencer *s, uint32_t stream, const struct command *c)
{
    struct outcome outcome;
    if (s->state == SEQUENCER_LEADING && (c->kind != COMMAND_SESSION || c->name[0] != '\0'))
        return keep(s, stream, c);
    if (s->state == SEQUENCER_LEADING)
        outcome = outcome_of(OUTCOME_REFUSED, 0, "a session needs a name");
    else
        outcome =
            outcome_of(OUTCOME_REFUSED, 0, "does not lead (%s): ask the leader, whose epoch is %u",
                       sequencer_waiting_for(s), sequencer_epoch(s).number);
    return send_outcome(s, stream, &outcome);
}

bool command_on(struct sequencer *s, uint32_t stream, const uint8_t *body, size_t length)
{
    struct command c;
    if (!command_decode(body, length, &c))
        return false;
    struct outcome outcome;
    if (c.kind == COMMAND_WHY)
        return on_why(s, stream, &c);
    if (s->asked.open) {
        outcome = outcome_of(OUTCOME_REFUSED, 0,
                             "another command is being carried out: try again when it is done");
        return send_outcome(s, stream, &outcome);
    }
    switch (c.kind) {
    case COMMAND_PROMOTE:
        return on_promote(s, stream, &c);
    case COMMAND_MEMBER_ADD:
    case COMMAND_MEMBER_REMOVE:
    case COMMAND_SESSION:
        return on_leaders(s, stream, &c);
    case COMMAND_DIGEST_AT:
    case COMMAND_WHY:
    case COMMAND_DRAIN:
        break;
    }
    outcome =
        outcome_of(OUTCOME_REFUSED, 0,
                   c.kind == COMMAND_DRAIN ? "a sequencer has no clients: ask a proxy"
                                           : "a sequencer keeps no history: ask a retransmitter");
    return send_outcome(s, stream, &outcome);
}
