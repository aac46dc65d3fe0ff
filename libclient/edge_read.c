/* Reading the stream as a proxy tells it, and noticing when that can't be. */
#include <assert.h>
#include <string.h>

#include "libclient/edge_private.h"

static bool alive(const struct edge *e)
{
    return e->state == EDGE_STATE_ACCEPTED;
}

/* Whether `previous` may be what was sent before: the match before it, or nothing, if the block of that is
 * over; and just after the beginning, whatever lies at or below it. */
static bool previous_fits(const struct edge *e, uint64_t previous)
{
    if (e->fresh && previous <= e->boundary)
        return true;
    return previous == e->last || (previous == 0 && e->covered);
}

void edge_begin_behind(struct edge *e, uint64_t seq)
{
    e->last = 0;
    e->covered = false;
    e->fresh = true;
    e->boundary = seq;
}

/* What ends a block, or answers an OPEN, may come behind the EPOCH that follows its seq; of a position further
 * back the epoch is not known any more, and it is passed over. */
static void go_to(struct edge *e, uint64_t seq)
{
    if (seq > e->position.seq && seq >= e->epoch_first_seq)
        e->position = (struct position) { .epoch = e->epoch, .seq = seq };
    else if (seq > e->position.seq && seq >= e->before_first_seq)
        e->position = (struct position) { .epoch = e->epoch_before, .seq = seq };
    if (seq > e->tip)
        e->tip = seq;
}

/* A fork ahead takes back the epochs behind it, and none that began in front of it. */
static void drop_epochs(struct edge *e, struct epoch last)
{
    if (epoch_compare(last, e->epoch) >= 0)
        return;
    e->epoch = last;
    e->epoch_first_seq = epoch_equal(last, e->position.epoch) ? 0 : EDGE_FIRST_UNKNOWN;
    e->before_first_seq = EDGE_FIRST_UNKNOWN;
}

static void go_back(struct edge *e, struct position common)
{
    if (common.seq >= e->position.seq) {
        drop_epochs(e, common.epoch);
        edge_begin_behind(e, e->position.seq); /* nothing of it was sent here */
        return;
    }
    e->position = common;
    e->epoch = common.epoch;
    e->epoch_first_seq = 0;
    e->timestamp_ns = 0; /* of what is left it is not known; later messages tell */
    e->tip = common.seq;
    if (e->stable > common.seq)
        e->stable = common.seq;
    if (e->accepted.tip.seq > common.seq)
        e->accepted.tip = common;
    edge_begin_behind(e, common.seq);
    e->call.forked(e->call.ctx, common);
}

static void note_stable(struct edge *e, uint64_t stable)
{
    if (stable <= e->stable)
        return;
    e->stable = stable;
    e->call.stable(e->call.ctx, stable);
}

/* ---- the stream ------------------------------------------------------------------------------ */

static void on_subscribed(struct edge *e, const uint8_t *body, size_t length)
{
    struct edge_subscribed s;
    if (!e->subscribing || !edge_subscribed_decode(body, length, &s)) {
        edge_violation(e, "its SUBSCRIBED is malformed or not asked for");
        return;
    }
    bool behind = e->asked_from == EDGE_FROM_POSITION;
    if (behind && s.position.seq > e->position.seq) {
        edge_violation(e, "it begins behind %llu, we have everything through %llu",
                       (unsigned long long)s.position.seq, (unsigned long long)e->position.seq);
        return;
    }
    if (behind && s.position.seq < e->position.seq)
        go_back(e, s.position); /* what was behind it is not there */
    if (!alive(e))
        return; /* begun anew */
    e->subscribing = false;
    e->subscribed = e->begun = true;
    e->position = s.position;
    e->epoch = s.position.epoch;
    e->epoch_first_seq = 0;
    edge_begin_behind(e, s.position.seq);
    e->call.subscribed(e->call.ctx);
    if (e->subscribed)
        e->call.changed(e->call.ctx, e->position.seq + 1, e->asked_change);
    if (e->subscribed)
        note_stable(e, e->accepted.stable); /* of this history */
}

static void on_epoch(struct edge *e, const uint8_t *body, size_t length)
{
    struct edge_epoch p;
    if (!e->subscribed || !edge_epoch_decode(body, length, &p)) {
        edge_violation(e, "its EPOCH is malformed or too early");
        return;
    }
    if (epoch_equal(p.epoch, e->epoch)) {
        if (e->epoch_first_seq == EDGE_FIRST_UNKNOWN)
            e->epoch_first_seq = p.first_seq;
        return;
    }
    if (p.epoch.number <= e->epoch.number || p.first_seq <= e->position.seq) {
        edge_violation(e, "it goes back to epoch %u at seq %llu", p.epoch.number,
                       (unsigned long long)p.first_seq);
        return;
    }
    e->epoch_before = e->epoch;
    e->before_first_seq = e->epoch_first_seq;
    e->epoch = p.epoch;
    e->epoch_first_seq = p.first_seq;
    e->call.epoch(e->call.ctx, p.epoch, p.first_seq);
}

static void on_name(struct edge *e, const uint8_t *body, size_t length)
{
    struct edge_name n;
    if (!e->subscribed || !edge_name_decode(body, length, &n)) {
        edge_violation(e, "its NAME is malformed or too early");
        return;
    }
    struct edge_text *t = edge_names_add(&e->names, &n);
    if (t == NULL)
        edge_violation(e, "it introduces more names than a block has messages");
    else if (n.kind == EDGE_NAME_TOPIC)
        t->route = e->call.topic(e->call.ctx, t->text, t->length);
}

static void on_message(struct edge *e, const uint8_t *body, size_t length)
{
    struct edge_message m;
    if (!e->subscribed || !edge_message_decode(body, length, &m)) {
        edge_violation(e, "its MESSAGE is malformed or too early");
        return;
    }
    if (m.seq <= e->position.seq || m.timestamp_ns < e->timestamp_ns) {
        edge_violation(e, "message %llu comes again, or goes back in time",
                       (unsigned long long)m.seq);
        return;
    }
    if (!previous_fits(e, m.previous)) {
        edge_violation(e, "messages are missing before %llu: the one before it is %llu, not %llu",
                       (unsigned long long)m.seq, (unsigned long long)m.previous,
                       (unsigned long long)e->last);
        return;
    }
    const struct edge_text *topic = edge_names_find(&e->names, EDGE_NAME_TOPIC, m.topic);
    const struct edge_text *publisher =
        m.publisher != 0 ? edge_names_find(&e->names, EDGE_NAME_PUBLISHER, m.publisher) : NULL;
    if (topic == NULL || (m.publisher != 0 && publisher == NULL)) {
        edge_violation(e, "message %llu names what was not introduced", (unsigned long long)m.seq);
        return;
    }
    e->last = m.seq;
    e->covered = false;
    e->fresh = false;
    e->timestamp_ns = m.timestamp_ns;
    go_to(e, m.seq);
    e->call.message(e->call.ctx, &m, topic, publisher != NULL ? publisher->text : "");
}

static void on_progress(struct edge *e, const uint8_t *body, size_t length)
{
    struct edge_progress p;
    if (!edge_progress_decode(body, length, &p)) {
        edge_violation(e, "its PROGRESS is malformed");
        return;
    }
    if (!e->subscribed)
        return; /* of a session without a subscription */
    if (p.through < e->position.seq || p.timestamp_ns < e->timestamp_ns ||
        !previous_fits(e, p.previous)) {
        edge_violation(e, "its progress through %llu does not follow: messages are missing",
                       (unsigned long long)p.through);
        return;
    }
    e->last = p.previous;
    e->covered = true;
    e->fresh = false;
    e->timestamp_ns = p.timestamp_ns;
    go_to(e, p.through);
    note_stable(e, p.stable);
    if ((p.through + 1) % EDGE_BLOCK == 0)
        edge_names_forget(&e->names);
    e->call.progress(e->call.ctx, p.through, p.timestamp_ns);
}

static void on_forked(struct edge *e, const uint8_t *body, size_t length)
{
    struct edge_forked f;
    if (!edge_forked_decode(body, length, &f))
        edge_violation(e, "its FORKED is malformed");
    else
        go_back(e, f.common);
}

/* ---- publishers ------------------------------------------------------------------------------ */

/* What is of a seq comes behind everything below it. */
void edge_have_all_through(struct edge *e, uint64_t seq)
{
    if (!alive(e) || seq <= e->position.seq)
        return;
    go_to(e, seq);
    if (seq > e->position.seq)
        return;
    e->call.progress(e->call.ctx, seq, e->timestamp_ns);
}

static void on_opened(struct edge *e, const uint8_t *body, size_t length)
{
    struct edge_opened o;
    if (!e->subscribed || !edge_opened_decode(body, length, &o)) {
        edge_violation(e, "its OPENED is malformed or not asked for");
        return;
    }
    if (!e->call.opened(e->call.ctx, &o)) {
        edge_violation(e, "its OPENED of publisher %u does not follow from what was sent",
                       o.publisher);
        return;
    }
    edge_have_all_through(e, o.join_seq);
    if (alive(e) && !e->accepted.is_volatile)
        note_stable(e, o.join_seq); /* before that it is not told */
}

static void on_outcome(struct edge *e, const uint8_t *body, size_t length)
{
    struct edge_outcome o;
    if (!e->subscribed || !edge_outcome_decode(body, length, &o)) {
        edge_violation(e, "its OUTCOME is malformed or too early");
        return;
    }
    if (!e->call.outcome(e->call.ctx, &o)) {
        edge_violation(e, "the outcome of number %llu is out of turn",
                       (unsigned long long)o.number);
        return;
    }
    edge_have_all_through(e, o.seq);
    note_stable(e, e->options.level == EDGE_STABLE && o.seq > o.stable ? o.seq : o.stable);
}

static void on_refused(struct edge *e, const uint8_t *body, size_t length)
{
    struct edge_refused r;
    if (!edge_refused_decode(body, length, &r)) {
        edge_violation(e, "its REFUSED is malformed");
        return;
    }
    edge_clean(r.subject);
    edge_clean(r.text);
    if (r.request == EDGE_CHANGE && !e->changing) {
        edge_violation(e, "it refuses a CHANGE that was not asked for");
        return;
    }
    if (!e->call.refused(e->call.ctx, &r))
        edge_violation(e, "it refuses what was right: %s%s%s", edge_refusal_text(r.reason),
                       r.text[0] != '\0' ? ": " : "", r.text);
}

static void on_superseded(struct edge *e, const uint8_t *body, size_t length)
{
    struct edge_superseded s;
    if (!edge_superseded_decode(body, length, &s) || !e->call.superseded(e->call.ctx, &s)) {
        edge_violation(e, "its SUPERSEDED is malformed, or of nobody here");
        return;
    }
    edge_have_all_through(e, s.join_seq);
    if (e->options.level == EDGE_STABLE)
        note_stable(e, s.join_seq);
}

void edge_on_frame(struct edge *e, enum edge_type type, const uint8_t *body, size_t length)
{
    if (!alive(e) && type != EDGE_WELCOME && type != EDGE_ACCEPTED && type != EDGE_CLOSING &&
        type != EDGE_ALIVE) {
        edge_violation(e, "it speaks of the stream before it has let us in");
        return;
    }
    switch (type) {
    case EDGE_HELLO:
    case EDGE_PROVE:
    case EDGE_SUBSCRIBE:
    case EDGE_CHANGE:
    case EDGE_OPEN:
    case EDGE_PUBLISH:
    case EDGE_WHO:
    case EDGE_CLIENTS:
        edge_violation(e, "it sent what was not asked for (type %d)", type);
        return;
    case EDGE_ALIVE:
        return;
    case EDGE_WELCOME:
        edge_on_welcome(e, body, length);
        return;
    case EDGE_ACCEPTED:
        edge_on_accepted(e, body, length);
        return;
    case EDGE_SUBSCRIBED:
        on_subscribed(e, body, length);
        return;
    case EDGE_CHANGED:
        edge_on_changed(e, body, length);
        return;
    case EDGE_EPOCH:
        on_epoch(e, body, length);
        return;
    case EDGE_NAME:
        on_name(e, body, length);
        return;
    case EDGE_MESSAGE:
        on_message(e, body, length);
        return;
    case EDGE_PROGRESS:
        on_progress(e, body, length);
        return;
    case EDGE_OPENED:
        on_opened(e, body, length);
        return;
    case EDGE_OUTCOME:
        on_outcome(e, body, length);
        return;
    case EDGE_REFUSED:
        on_refused(e, body, length);
        return;
    case EDGE_FORKED:
        on_forked(e, body, length);
        return;
    case EDGE_SUPERSEDED:
        on_superseded(e, body, length);
        return;
    case EDGE_CLOSING:
        edge_on_closing(e, body, length);
        return;
    }
}
