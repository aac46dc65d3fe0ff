/* From a batch to the apps: catalog, runs, timers, machines, subscriptions, own outcomes. */
#include "libclient/core_private.h"

/* ---- one whole message ----------------------------------------------------------------------- */

void core_fire_timers(struct client_core *c, uint64_t timestamp_ns)
{
    c->timer_due_ns = UINT64_MAX;
    for (uint32_t i = 0; i < c->machine_count; i++) {
        struct client_machine *slot = &c->machines[i];
        if (machine_next_timer_ns(slot->machine) <= timestamp_ns) {
            machine_advance(slot->machine, timestamp_ns);
            slot->changed = true;
            if (slot->author != NULL)
                slot->author->ask = true;
        }
        uint64_t due = machine_next_timer_ns(slot->machine);
        if (due < c->timer_due_ns)
            c->timer_due_ns = due;
    }
}

static const char *identity_of(const struct client_core *c, uint32_t publisher)
{
    const struct catalog_publisher *p = catalog_publisher(c->catalog, publisher);
    return p != NULL ? p->identity : "";
}

static inline void hand_over_by(struct client_core *c, const struct client_route *route,
                                const struct cantus_message *message)
{
    for (uint64_t left = route->machines; left != 0; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(left);
        struct client_machine *slot = &c->machines[i];
        machine_apply(slot->machine, route->nodes[i], message);
        slot->changed = true;
        uint64_t due = machine_next_timer_ns(slot->machine);
        if (due < c->timer_due_ns)
            c->timer_due_ns = due;
        if (slot->author != NULL)
            slot->author->ask = true;
    }
    for (uint64_t left = route->subscriptions; left != 0; left &= left - 1) {
        struct client_subscription *s = &c->subscriptions[__builtin_ctzll(left)];
        if (message->seq < s->next_seq || message->timestamp_ns < s->from_ns)
            continue;
        s->next_seq = message->seq + 1;
        s->message(s->ctx, message);
    }
}

void core_hand_over(struct client_core *c, const struct client_route *route,
                    const struct cantus_message *message)
{
    hand_over_by(c, route, message);
}

static inline void hand_over(struct client_core *c, const struct message *m, const char *publisher)
{
    struct cantus_message message = {
        .seq = m->seq,
        .timestamp_ns = m->timestamp_ns,
        .topic = c->path[m->topic],
        .publisher = publisher,
        .publisher_seq = m->publisher_seq,
        .payload = m->payload,
        .length = m->length,
    };
    hand_over_by(c, core_route(c, m->topic), &message);
}

/* Timers first, then the machines, then who watches them, then the author's outcome. */
static void deliver(struct client_core *c, const struct message *m)
{
    uint64_t timestamp_ns = m->timestamp_ns;
    if ((c->options.sabotage & CLIENT_TIMER_BY_ARRIVAL) != 0)
        timestamp_ns = c->now.wall_ns;
    if (timestamp_ns >= c->timer_due_ns)
        core_fire_timers(c, timestamp_ns);
    uint32_t route = m->topic < c->topics_max ? c->route[m->topic] : 0;
    if (route != 0)
        hand_over(c, m, identity_of(c, m->publisher));
    uint32_t own = m->publisher < c->publishers_max ? c->own[m->publisher] : 0;
    if (own != 0)
        author_on_message(c->authors[own - 1], m);
}

/* ---- /sys ------------------------------------------------------------------------------------ */

static void on_join(struct client_core *c, const struct message *m)
{
    for (uint32_t i = 0; i < c->author_count; i++) {
        struct author *a = c->authors[i];
        publisher_on_message(a->publisher, m, c->now);
        uint32_t id = catalog_publisher_find(c->catalog, publisher_identity(a->publisher));
        if (id != 0 && id < c->publishers_max)
            c->own[id] = (uint8_t)(a->index + 1);
    }
}

/* False: the stream can't be followed any further. */
static bool apply_sys(struct client_core *c, const struct message *m,
                      const struct batch_header *header)
{
    enum catalog_verdict verdict = catalog_apply_sys(c->catalog, m, header);
    switch (verdict) {
    case CATALOG_OK:
        if (catalog_topic_end(c->catalog) > c->topic_end)
            core_route_new_topics(c, m->seq);
        if (m->topic == TOPIC_JOIN)
            on_join(c, m);
        return true;
    case CATALOG_IGNORED:
    case CATALOG_MALFORMED:
    case CATALOG_FULL:
        return true;
    case CATALOG_OTHER_PROTOCOL:
        core_fail(c, CANTUS_ERROR,
                  "the session that begins at seq %llu speaks another version of the protocol: "
                  "use the release of Cantus that the stream's sequencer runs",
                  (unsigned long long)m->seq);
        return false;
    case CATALOG_DIVERGED:
        core_fail(c, CANTUS_ERROR,
                  "the session record at seq %llu does not match what this process has applied: "
                  "its catalog has diverged; restart it, and report this as a bug",
                  (unsigned long long)m->seq);
        return false;
    }
    return true;
}

/* ---- batches --------------------------------------------------------------------------------- */

static inline void stand_at(struct client_core *c, struct epoch epoch, uint64_t seq)
{
    c->position = (struct position) { .epoch = epoch, .seq = seq };
}

/* What ended a run is above until_seq: of a group what is not above is handed over. */
__attribute__((noinline)) static void deliver_below(struct client_core *c,
                                                    const struct run_message *whole, uint32_t count,
                                                    struct epoch epoch, uint64_t until)
{
    for (uint32_t i = 0; i < count && whole[i].message.seq <= until; i++) {
        deliver(c, &whole[i].message);
        stand_at(c, epoch, whole[i].message.seq);
    }
}

static void offer_to_run(struct client_core *c, const struct message *m, struct epoch epoch,
                         uint64_t until)
{
    uint64_t voided = c->run.voided;
    const struct run_message *whole = NULL;
    uint32_t count = run_offer(&c->run, m, &whole);
    c->counters[COUNTER_RUNS_VOIDED] += c->run.voided - voided;
    if (m->seq > until) {
        deliver_below(c, whole, count, epoch, until);
        return;
    }
    bool half = (c->options.sabotage & CLIENT_HALF_GROUP) != 0;
    if (half && m->flags == MESSAGE_MORE)
        deliver(c, m);
    for (uint32_t i = half && count > 1 ? count - 1 : 0; i < count; i++)
        deliver(c, &whole[i].message);
    if (c->run.parts == 0)
        stand_at(c, epoch, m->seq);
}

static inline uint32_t topic_of(uint64_t head)
{
    return (uint32_t)(head >> 16) & TOPIC_ID_MAX;
}

/* Passes over users' messages outside runs that nobody wants while they are as long as the first, four at
 * a time: nothing waits for a length. For who is no author. */
static void skip_alike(const struct client_core *core, struct batch_cursor *cursor)
{
    const uint16_t *routes = core->route;
    const uint32_t topics = core->topics_max - TOPIC_FIRST_USER;
    const uint8_t *at = cursor->at, *end = cursor->end;
    const uint64_t first = wire_load64(at); /* a batch has a message */
    const size_t step = MESSAGE_HEADER_SIZE + (size_t)(first & MESSAGE_PAYLOAD_MAX);
    uint32_t left = cursor->left;
    if ((first & MESSAGE_FLAGS_MASK) != 0)
        return;
    for (; left >= 4 && (size_t)(end - at) >= 4 * step; left -= 4, at += 4 * step) {
        uint64_t a = wire_load64(at), b = wire_load64(at + step);
        uint64_t c = wire_load64(at + 2 * step), d = wire_load64(at + 3 * step);
        uint64_t differ = (a ^ first) | (b ^ first) | (c ^ first) | (d ^ first);
        uint32_t i = topic_of(a), j = topic_of(b), k = topic_of(c), l = topic_of(d);
        if ((differ & (MESSAGE_FLAGS_MASK | MESSAGE_PAYLOAD_MAX)) != 0 ||
            i - TOPIC_FIRST_USER >= topics || j - TOPIC_FIRST_USER >= topics ||
            k - TOPIC_FIRST_USER >= topics || l - TOPIC_FIRST_USER >= topics ||
            (routes[i] | routes[j] | routes[k] | routes[l]) != 0)
            break;
    }
    cursor->seq += cursor->left - left;
    cursor->left = left;
    cursor->at = at;
}

/* Passes over users' messages outside runs that nobody wants: two looks into tables each. */
__attribute__((always_inline)) static inline void skip_unwanted(const struct client_core *c,
                                                                struct batch_cursor *cursor,
                                                                uint32_t *guess, const bool authors)
{
    const uint16_t *routes = c->route;
    const uint8_t *own = c->own;
    const uint32_t topics = c->topics_max - TOPIC_FIRST_USER, publishers_max = c->publishers_max;
    const uint8_t *at = cursor->at;
    uint32_t left = cursor->left;
    for (; left > 0; left--) {
        uint64_t head = wire_load64(at);
        uint32_t length = batch_guess(guess, (uint32_t)head & MESSAGE_PAYLOAD_MAX);
        uint32_t topic = (uint32_t)(head >> 16) & TOPIC_ID_MAX, publisher = (uint32_t)(head >> 40);
        if ((head & 0xc000) != 0 || topic - TOPIC_FIRST_USER >= topics || routes[topic] != 0 ||
            (authors && (publisher >= publishers_max || own[publisher] != 0)))
            break;
        at += MESSAGE_HEADER_SIZE + length;
    }
    cursor->seq += cursor->left - left;
    cursor->left = left;
    cursor->at = at;
}

/* Own messages outside runs, one behind the other, that nobody here wants: their publisher knows all of them again
 * at once. False if that did not come about, for none through *tried. */
__attribute__((noinline)) static bool take_own(struct client_core *c, struct author *a,
                                               struct batch_cursor *cursor, const uint8_t **tried)
{
    const uint32_t topics = c->topics_max - TOPIC_FIRST_USER;
    const uint8_t *at = cursor->at;
    const uint32_t publisher = publisher_id(a->publisher);
    if (!a->by_runs || wire_load64(at + 6) >> 16 != publisher_done_number(a->publisher) + 1)
        return false;
    uint32_t count = 0, guess = 0;
    for (; count < cursor->left; count++) {
        uint64_t head = wire_load64(at);
        uint32_t topic = topic_of(head);
        if ((head & MESSAGE_FLAGS_MASK) != 0 || (uint32_t)(head >> 40) != publisher ||
            topic - TOPIC_FIRST_USER >= topics || c->route[topic] != 0)
            break;
        at += MESSAGE_HEADER_SIZE + batch_guess(&guess, (uint32_t)head & MESSAGE_PAYLOAD_MAX);
    }
    *tried = at;
    if (!publisher_take_run(a->publisher, cursor->at, (size_t)(at - cursor->at), count, cursor->seq,
                            c->now))
        return false;
    author_on_run(a, count);
    cursor->seq += count;
    cursor->left -= count;
    cursor->at = at;
    return true;
}

/* Users' messages outside runs, from where the cursor stands to the first that is something else:
 * the same as deliver, without what only the others need. */
__attribute__((always_inline)) static inline void deliver_plain(struct client_core *c,
                                                                struct batch_cursor *cursor,
                                                                const struct batch_header *header,
                                                                const bool authors)
{
    struct message m;
    uint32_t guess = 0, publisher = 0;
    const char *identity = "";
    const uint8_t *tried = cursor->at;
    for (;;) {
        skip_unwanted(c, cursor, &guess, authors);
        struct batch_cursor after = *cursor;
        if (!batch_next_guessing(&after, &m, &guess) || m.flags != 0 ||
            m.topic < TOPIC_FIRST_USER || m.topic >= c->topics_max ||
            m.publisher >= c->publishers_max)
            break;
        const uint8_t own = authors ? c->own[m.publisher] : 0;
        if (own != 0 && cursor->at >= tried && take_own(c, c->authors[own - 1], cursor, &tried))
            continue;
        if (m.seq > header->first_seq)
            stand_at(c, header->epoch, m.seq - 1);
        if (m.publisher != publisher) {
            publisher = m.publisher;
            identity = identity_of(c, publisher);
        }
        if (c->route[m.topic] != 0)
            hand_over(c, &m, identity);
        if (own != 0)
            author_on_message(c->authors[own - 1], &m);
        *cursor = after;
        if (m.timestamp_ns >= c->timer_due_ns && after.left > 0)
            core_fire_timers(c, m.timestamp_ns);
    }
    if (cursor->seq > header->first_seq)
        stand_at(c, header->epoch, cursor->seq - 1);
}

/* Of its own for who is no author: it looks for less. */
static void deliver_calm(struct client_core *c, struct batch_cursor *cursor,
                         const struct batch_header *header)
{
    if (c->author_count == 0) {
        skip_alike(c, cursor);
        deliver_plain(c, cursor, header, false);
    } else {
        deliver_plain(c, cursor, header, true);
    }
}

/* Whether nothing is due within the batch but what its messages are. */
static bool is_calm(const struct client_core *c, const struct batch_header *header, uint64_t until)
{
    return c->run.parts == 0 && header->timestamp_ns < c->timer_due_ns && c->next - 1 <= until &&
           c->next - 1 < c->digest_due_seq && (c->options.sabotage & CLIENT_TIMER_BY_ARRIVAL) == 0;
}

void core_apply(struct client_core *c, const uint8_t *batch, const struct batch_header *header)
{
    c->any = true;
    c->digest = header->digest;
    c->next = batch_end_seq(header);
    if (c->ended || (c->status < 0 && c->status != CANTUS_SUPERSEDED))
        return;
    if (c->resubscribe && c->run.parts == 0)
        core_resubscribe(c, header->first_seq);
    uint64_t until = c->options.until_seq != 0 ? c->options.until_seq : UINT64_MAX;
    struct batch_cursor cursor = batch_begin(batch, header);
    struct message m;
    uint64_t last = 0;
    if (is_calm(c, header, until)) {
        deliver_calm(c, &cursor, header);
        last = cursor.seq - 1;
    }
    while (batch_next(&cursor, &m) && (m.seq <= until || c->run.parts > 0)) {
        if (m.topic < TOPIC_FIRST_USER && !apply_sys(c, &m, header))
            break;
        last = m.seq;
        if (m.flags == 0 && c->run.parts == 0) {
            deliver(c, &m);
            stand_at(c, header->epoch, m.seq);
        } else {
            offer_to_run(c, &m, header->epoch, until);
        }
        if (m.seq >= c->digest_due_seq && m.seq <= until)
            core_take_digests(c, m.seq);
    }
    if (last >= header->first_seq)
        c->counters[COUNTER_MESSAGES_DELIVERED] += last + 1 - header->first_seq;
    if (c->next > until && c->run.parts == 0) {
        c->ended = true;
        if (c->status == CANTUS_OK)
            c->status = CANTUS_END;
    }
}

/* What was handed over above the common end no longer holds. */
void core_take_back(struct client_core *c, struct position common)
{
    /* A proxy that does not know where the histories part goes back too far: what is stable still holds. */
    struct position kept = common;
    if (c->stable > common.seq) {
        kept.seq = c->stable;
        c->stable = common.seq;
    }
    if (c->stable_told > common.seq)
        c->stable_told = common.seq;
    for (uint32_t i = 0; i < c->subscription_count; i++) {
        struct client_subscription *s = &c->subscriptions[i];
        if (s->next_seq > common.seq + 1 && s->next_seq != UINT64_MAX)
            s->next_seq = common.seq + 1;
    }
    core_take_back_digests(c, common);
    for (uint32_t i = 0; i < c->author_count; i++) {
        struct author *a = c->authors[i];
        struct position holds = kept;
        if (kept.seq > common.seq)
            holds.seq = publisher_holds_through(a->publisher, kept.seq);
        if (holds.seq < common.seq) /* it goes back to the run itself */
            holds = common;
        uint32_t lost = publisher_on_fork(a->publisher, holds);
        a->items = publisher_join_seq(a->publisher) == 0 || a->items < lost ? 0 : a->items - lost;
    }
}

void core_rewind(struct client_core *c, struct position common)
{
    c->rebuilding = true;
    c->live = false;
    c->ended = false;
    if (c->status == CANTUS_END)
        c->status = CANTUS_OK;
    c->any = false;
    c->next = 1;
    c->position = (struct position) { .seq = 0 };
    c->timer_due_ns = UINT64_MAX;
    if (c->edge == NULL) {
        catalog_reset(c->catalog);
        run_reset(&c->run);
        core_route_reset(c);
        memset(c->own, 0, c->publishers_max * sizeof *c->own);
    }
    core_take_back(c, common);
    for (uint32_t i = 0; i < c->machine_count; i++) {
        struct machine *m = c->machines[i].machine;
        if (!machine_reset(m))
            core_fail(c, CANTUS_ERROR, "app \"%s\" refused to start again after a fork",
                      machine_app(m)->name);
        uint64_t due = machine_next_timer_ns(m);
        if (due < c->timer_due_ns)
            c->timer_due_ns = due;
    }
    core_rewind_digests(c);
    for (uint32_t i = 0; i < c->author_count; i++) {
        struct author *a = c->authors[i];
        a->items_seen = 0;
        a->topic = TOPIC_NONE;
    }
}
