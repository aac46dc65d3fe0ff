#include "sequencer/core_private.h"

/* ---- questions ------------------------------------------------------------------------------- */

enum sequencer_state sequencer_state(const struct sequencer *s)
{
    return s->state;
}

struct epoch sequencer_epoch(const struct sequencer *s)
{
    return s->state == SEQUENCER_LEADING ? s->epoch : follower_heard(s->follower);
}

uint64_t sequencer_tip(const struct sequencer *s)
{
    return s->state == SEQUENCER_LEADING ? s->next_seq - 1 : follower_tail(s->follower).seq;
}

uint64_t sequencer_stable(const struct sequencer *s)
{
    return s->state == SEQUENCER_LEADING ? s->stable : follower_stable(s->follower);
}

struct digest sequencer_digest(const struct sequencer *s)
{
    return s->state == SEQUENCER_LEADING ? s->digest : follower_tail_digest(s->follower);
}

bool sequencer_paused(const struct sequencer *s)
{
    return s->state == SEQUENCER_LEADING && s->paused;
}

const struct catalog *sequencer_catalog(const struct sequencer *s)
{
    return s->catalog;
}

const struct ledger *sequencer_ledger(const struct sequencer *s)
{
    return &s->ledger;
}

const uint64_t *sequencer_counters(const struct sequencer *s)
{
    return s->counters;
}

uint64_t *sequencer_own_counters(struct sequencer *s)
{
    return s->counters;
}

static bool is_deaf(const struct sequencer *s)
{
    return s->unheard >= DEAF_MESSAGES;
}

const char *sequencer_waiting_for(const struct sequencer *s)
{
    switch (s->state) {
    case SEQUENCER_FOLLOWING:
        if (s->unfit != NULL)
            return s->unfit;
        if (s->waiting_for[0] != '\0')
            return s->waiting_for;
        if (is_deaf(s))
            return "standing by, but hears no proposals: check the ingress group's network";
        if (!s->caught_up)
            return follower_goal_next(s->follower) > 1 ? "standing by: catching up"
                                                       : "standing by: no leader heard yet";
        return s->fenced_by != 0 ? "standing by: fenced by a later epoch" : "standing by";
    case SEQUENCER_SEALING:
    case SEQUENCER_ADOPTING:
        return s->waiting_for[0] != '\0' ? s->waiting_for : "no store has promised";
    case SEQUENCER_LEADING:
        return "";
    }
    return "";
}

const char *sequencer_leads_no_more(const struct sequencer *s)
{
    if (s->state == SEQUENCER_LEADING)
        return "";
    if (s->fenced_by != 0)
        return s->fenced_begun ? "fenced: another sequencer has begun a later epoch; following it"
                               : "fenced: a store has promised a later epoch to another candidate; "
                                 "standing by until one begins";
    return s->unfit != NULL ? s->unfit
                            : "seals a higher epoch itself: a store had promised its number to "
                              "another candidate";
}

const char *sequencer_restored(const struct sequencer *s)
{
    return s->restored;
}

const char *sequencer_trouble(const struct sequencer *s)
{
    bool lossy = s->probe.lossy_ns != 0;
    return s->state == SEQUENCER_FOLLOWING && (lossy || is_deaf(s)) ? sequencer_waiting_for(s) : "";
}

/* ---- status ---------------------------------------------------------------------------------- */

const char *sequencer_state_name(const struct sequencer *s)
{
    switch (s->state) {
    case SEQUENCER_FOLLOWING:
        return is_deaf(s)               ? "following (deaf to the ingress group)"
               : s->probe.lossy_ns != 0 ? "following (a promotion would lose messages)"
               : s->fenced_by != 0      ? "following (fenced)"
                                        : "following";
    case SEQUENCER_SEALING:
        return "sealing";
    case SEQUENCER_ADOPTING:
        return "adopting";
    case SEQUENCER_LEADING:
        return s->paused ? "leading, paused: no quorum" : "leading";
    }
    return "";
}

static uint64_t epoch_first_seq(const struct sequencer *s)
{
    const struct epoch_table *epochs = catalog_epochs(s->catalog);
    return epochs->count > 0 ? epochs->entries[epochs->count - 1].first_seq : 0;
}

static uint64_t members_current(const struct sequencer *s, const struct membership *members)
{
    uint64_t current = 0;
    for (uint32_t i = 0; i < members->count; i++)
        for (uint32_t k = 0; k < STORES_MAX; k++)
            current += s->stores[k].id == members->stores[i] && s->stores[k].current;
    return current;
}

/* Of the leader, what is not stable lags; of who follows, what it has not got yet. */
static uint64_t lag(const struct sequencer *s, uint64_t tip)
{
    uint64_t have = s->state != SEQUENCER_LEADING ? follower_tail(s->follower).seq
                    : s->is_volatile              ? tip
                                                  : s->stable;
    return tip > have ? tip - have : 0;
}

void sequencer_gauges(const struct sequencer *s, uint64_t gauges[COUNTER_END])
{
    const struct membership *members = catalog_members(s->catalog);
    bool leads = s->state == SEQUENCER_LEADING;
    uint64_t tip = sequencer_tip(s), goal = follower_goal_next(s->follower) - 1;
    if (!leads && goal > tip)
        tip = goal;
    gauges[COUNTER_MEMORY] = sequencer_memory(&s->o);
    gauges[COUNTER_TIP] = tip;
    gauges[COUNTER_STABLE] = sequencer_stable(s);
    gauges[COUNTER_LAG] = lag(s, tip);
    gauges[COUNTER_EPOCH] = sequencer_epoch(s).number;
    gauges[COUNTER_EPOCH_FIRST] = epoch_first_seq(s);
    gauges[COUNTER_LEADING] = leads;
    gauges[COUNTER_PAUSED] = sequencer_paused(s);
    gauges[COUNTER_MEMBERS] = members->count;
    gauges[COUNTER_MEMBERS_CURRENT] = members_current(s, members);
    gauges[COUNTER_QUORUM] = members->count == 0 ? 0 : membership_stable_quorum(members);
    gauges[COUNTER_PUBLISHERS] = catalog_publisher_end(s->catalog) - 1;
    gauges[COUNTER_TOPICS] = catalog_topic_end(s->catalog) - TOPIC_FIRST_USER;
    gauges[COUNTER_QUEUED] = s->o.queue_max - s->free_count;
    gauges[COUNTER_QUEUE_MAX] = s->o.queue_max;
    gauges[COUNTER_RING_UNSTABLE] = leads ? (s->ring_end - s->ring_stable) * s->ring_stride : 0;
    gauges[COUNTER_RING_SIZE] = (uint64_t)s->ring_slots * s->ring_stride;
}

static void status_members(const struct sequencer *s, struct port_time now, struct status *out)
{
    const struct membership *members = catalog_members(s->catalog);
    out->quorum = members->count == 0 ? 0 : membership_stable_quorum(members);
    out->member_count = members->count;
    for (uint32_t i = 0; i < members->count; i++) {
        struct status_member *m = &out->members[i];
        *m = (struct status_member) { .store = members->stores[i], .age_ns = UINT64_MAX };
        for (uint32_t k = 0; k < STORES_MAX; k++) {
            const struct store *store = &s->stores[k];
            if (store->id != members->stores[i])
                continue;
            m->durable_seq = store->durable_seq;
            m->age_ns = now.mono_ns - store->heard_ns;
            m->current = store->current && !store->restored;
            m->full = store->full;
        }
    }
}

static void status_publishers(const struct sequencer *s, struct status *out)
{
    uint32_t end = catalog_publisher_end(s->catalog);
    out->publisher_count = end - 1;
    for (uint32_t id = 1; id < end && id <= STATUS_PUBLISHERS_MAX; id++) {
        const struct catalog_publisher *publisher = catalog_publisher(s->catalog, id);
        struct status_publisher *p = &out->publishers[id - 1];
        p->id = id;
        p->incarnation = publisher->incarnation;
        p->next_number = ledger_next(&s->ledger, id);
        memcpy(p->identity, publisher->identity, sizeof p->identity);
    }
}

void sequencer_status(const struct sequencer *s, struct port_time now, struct status *out)
{
    *out = (struct status) { .role = "sequencer",
                             .stream = s->o.stream,
                             .epoch = sequencer_epoch(s),
                             .tip = sequencer_tip(s),
                             .stable = sequencer_stable(s),
                             .is_volatile = s->is_volatile,
                             .clock_ns = now.wall_ns,
                             .uptime_ns = now.mono_ns - s->created.mono_ns,
                             .memory_bytes = sequencer_memory(&s->o) };
    const char *state = sequencer_state_name(s);
    memcpy(out->state, state, strlen(state) + 1);
    const char *session = catalog_session(s->catalog);
    memcpy(out->session, session, strlen(session) + 1);
    out->epochs_used = catalog_epochs(s->catalog)->count;
    out->epoch_first_seq = epoch_first_seq(s);
    out->topic_count = catalog_topic_end(s->catalog) - TOPIC_FIRST_USER;
    memcpy(out->counters, s->counters, sizeof out->counters);
    sequencer_gauges(s, out->counters);
    status_members(s, now, out);
    status_publishers(s, out);
}

/* ---- the stream port ------------------------------------------------------------------------- */

static struct caller *caller_of(struct sequencer *s, uint32_t stream)
{
    for (uint32_t i = 0; i < CALLERS_MAX; i++)
        if (s->callers[i].stream == stream)
            return &s->callers[i];
    return NULL;
}

static void forget(struct sequencer *s, uint32_t stream)
{
    struct caller *caller = caller_of(s, stream);
    if (caller != NULL)
        caller->stream = 0;
    command_stream_closed(s, stream);
}

void status_hang_up(struct sequencer *s, uint32_t stream)
{
    forget(s, stream);
    s->port->ops->stream_close(s->port, stream);
}

static void accept(struct sequencer *s, uint32_t stream)
{
    struct caller *caller = caller_of(s, stream);
    if (caller == NULL)
        caller = caller_of(s, 0);
    if (caller == NULL) {
        count(s, COUNTER_STREAMS_REFUSED, 1);
        s->port->ops->stream_close(s->port, stream);
        return;
    }
    *caller = (struct caller) { .stream = stream, .answered_ns = s->now.mono_ns };
}

/* Whose command waits for its turn is not idle. */
uint64_t status_step(struct sequencer *s)
{
    uint64_t next = PORT_NEVER;
    for (uint32_t i = 0; i < CALLERS_MAX; i++) {
        struct caller *caller = &s->callers[i];
        if (caller->stream == 0)
            continue;
        if (s->asked.open && s->asked.stream == caller->stream)
            caller->answered_ns = s->now.mono_ns;
        uint64_t due_ns = caller->answered_ns + CALLER_IDLE_NS;
        if (s->now.mono_ns >= due_ns)
            status_hang_up(s, caller->stream);
        else if (due_ns < next)
            next = due_ns;
    }
    return next;
}

bool status_write_frame(struct sequencer *s, uint32_t stream, enum replay_type type,
                        const uint8_t *body, size_t length)
{
    size_t framed =
        replay_frame_encode(type, body, length, s->status_frame, sizeof s->status_frame);
    if (framed == 0 || s->port->ops->stream_room(s->port, stream, framed) < framed)
        return false;
    s->port->ops->stream_write(s->port, stream, s->status_frame, framed);
    return true;
}

static bool answer_status(struct sequencer *s, uint32_t stream)
{
    sequencer_status(s, s->now, &s->status);
    size_t length = status_encode(&s->status, s->status_body, sizeof s->status_body);
    return length > 0 && status_write_frame(s, stream, REPLAY_STATUS, s->status_body, length);
}

/* History is served by retransmitters. */
static bool refuse_replay(struct sequencer *s, uint32_t stream, const uint8_t *body, size_t length)
{
    struct replay_request request;
    struct replay_end end = { .reason = REPLAY_BAD_REQUEST };
    if (replay_request_decode(body, length, &request)) {
        end.oldest_seq = sequencer_tip(s) + 1;
        end.next_seq = request.first_seq;
        end.reason = request.stream != s->o.stream        ? REPLAY_OTHER_STREAM
                     : request.first_seq < end.oldest_seq ? REPLAY_PRUNED
                                                          : REPLAY_NOT_YET;
    }
    uint8_t out[64];
    size_t encoded = replay_end_encode(&end, out, sizeof out);
    assert(encoded > 0);
    count(s, COUNTER_REPLAYS_REFUSED, 1);
    return status_write_frame(s, stream, REPLAY_END, out, encoded);
}

static bool answer_frame(struct sequencer *s, uint32_t stream, enum replay_type type,
                         const uint8_t *body, size_t length)
{
    if (type == REPLAY_STATUS_REQUEST)
        return length == 0 && answer_status(s, stream);
    if (type == REPLAY_COMMAND)
        return command_on(s, stream, body, length);
    return type == REPLAY_REQUEST && refuse_replay(s, stream, body, length);
}

/* Whoever asks for something else, or doesn't read its answers, is cut off. */
size_t status_on_stream(struct sequencer *s, const struct port_stream_event *e)
{
    if (e->type == PORT_STREAM_CLOSED)
        forget(s, e->stream);
    if (e->type == PORT_STREAM_ACCEPTED)
        accept(s, e->stream);
    if (e->type != PORT_STREAM_BYTES)
        return 0;
    size_t consumed = 0;
    while (consumed < e->length) {
        const uint8_t *at = e->bytes + consumed;
        enum replay_type type;
        size_t framed = replay_frame_peek(at, e->length - consumed, &type);
        if (framed == 0)
            return consumed;
        if (framed == SIZE_MAX || !answer_frame(s, e->stream, type, at + REPLAY_FRAME_HEADER,
                                                framed - REPLAY_FRAME_HEADER)) {
            status_hang_up(s, e->stream);
            return e->length;
        }
        struct caller *caller = caller_of(s, e->stream);
        if (caller != NULL)
            caller->answered_ns = s->now.mono_ns;
        consumed += framed;
    }
    return consumed;
}
