/* The follower, both catalogs, forks; the participant. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/core_private.h"

#define LEAVE_NS UINT64_C(300000000) /* for the stream to take that it is gone */

/* ---- building -------------------------------------------------------------------------------- */

void proxy_options_default(struct proxy_options *o)
{
    *o = (struct proxy_options) {
        .catalog = catalog_options_resolve(NULL),
        .datagram_max = WIRE_DATAGRAM_DEFAULT,
        .run_bytes_max = RUN_BYTES_DEFAULT,
        .sessions_max = 16384,
        .sessions_per_key = 1024,
        .sessions_per_addr = 16384,
        .records_per_addr_s = 64,
        .records_per_addr_burst = 32768,
        .records_per_key_s = 16,
        .records_per_key_burst = 5120,
        .logins_max = 512,
        .subtrees_max = 262144,
        .view_bytes = UINT64_C(256) << 20,
        .recent_bytes = UINT64_C(256) << 20,
        .lag_bytes_max = UINT64_C(4) << 20,
        .slow_ns = UINT64_C(30) * 1000000000,
        .replays_max = 8,
        .publishers_max = 4096,
        .publisher_bytes = 256 << 10,
        .relay_bytes = UINT64_C(256) << 20,
        .presence_ms = 30000,
        .window = 256,
        .login_ns = UINT64_C(5) * 1000000000,
        .idle_ns = UINT64_C(60) * 1000000000,
        .quantum_bytes = 16384,
    };
}

static struct readers_options readers_options_of(const struct proxy_options *o)
{
    struct readers_options r = {
        .views = { .views_max = o->sessions_max,
                   .subtrees_max = o->subtrees_max,
                   .topics_max = o->catalog.topics_max,
                   .bytes_max = o->view_bytes,
                   .lag_bytes_max = o->lag_bytes_max,
                   .sabotage = o->sabotage },
        .history = { .stream = o->stream,
                     .source_count = o->source_count,
                     .replays_max = o->replays_max,
                     .waiting_max = o->sessions_max,
                     .run_bytes_max = o->run_bytes_max },
        .recent_bytes = o->recent_bytes,
        .readers_max = o->sessions_max,
        .sabotage = o->sabotage,
    };
    memcpy(r.history.sources, o->sources, sizeof r.history.sources);
    memcpy(&r.history.random, o->secret, sizeof r.history.random);
    return r;
}

static struct follower_options follower_options_of(const struct proxy_options *o)
{
    struct follower_options f = { .stream = o->stream,
                                  .level = FOLLOWER_SEQUENCED,
                                  .datagram_max = o->datagram_max,
                                  .source_count = o->source_count };
    memcpy(f.sources, o->sources, sizeof f.sources);
    memcpy(&f.random, o->secret + 8, sizeof f.random);
    return f;
}

size_t proxy_memory(const struct proxy_options *options)
{
    struct proxy_options o = *options;
    o.catalog = catalog_options_resolve(&o.catalog);
    const struct port port = { .datagram_max = o.datagram_max };
    struct readers_options r = readers_options_of(&o);
    struct follower_options f = follower_options_of(&o);
    return sizeof(struct proxy) + follower_memory(&f) + catalog_memory(&o.catalog) +
           base_memory(&o.catalog) + run_memory(o.run_bytes_max) + readers_memory(&r) +
           logins_memory() + limiter_memory(o.sessions_max) + relay_memory(&o, &port) +
           sessions_memory(&o);
}

size_t proxy_request_max(const struct proxy_options *o)
{
    enum { LEAST = 16384, AROUND = 1024 };
    size_t max = (size_t)o->publisher_bytes / 2 + AROUND;
    return max > LEAST ? max : LEAST;
}

static bool on_deliver(void *ctx, const uint8_t *batch, const struct batch_header *header);
static void on_forked(void *ctx, uint64_t first_seq, struct epoch by);
static void on_stable(void *ctx, uint64_t stable_seq, uint64_t time_ns);
static void on_lost(void *ctx, uint64_t first_seq, uint64_t oldest_seq);

struct proxy *proxy_create(const struct proxy_options *options, struct port *port,
                           struct port_time now)
{
    struct proxy *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->o = *options;
    p->o.catalog = catalog_options_resolve(&options->catalog);
    p->port = port;
    p->now = now;
    p->counters = options->counters != NULL ? options->counters : p->own_counters;
    const struct follower_callbacks callbacks = {
        .deliver = on_deliver, .forked = on_forked, .stable = on_stable, .lost = on_lost, .ctx = p
    };
    struct follower_options f = follower_options_of(&p->o);
    struct readers_options r = readers_options_of(&p->o);
    r.counters = p->counters;
    p->catalog = catalog_create(&p->o.catalog);
    p->base = base_create(&p->o.catalog);
    p->follower = follower_create(&f, &callbacks, port, p->counters);
    if (p->catalog == NULL || p->base == NULL || p->follower == NULL ||
        !run_init(&p->run, p->o.run_bytes_max) ||
        (p->readers = readers_create(&r, port, p->catalog)) == NULL ||
        (p->logins = logins_create(p->catalog, proxy_draw64(p, "logins"))) == NULL ||
        (p->limiter = limiter_create(p->o.sessions_max, p->catalog, proxy_draw64(p, "keys"))) ==
            NULL ||
        (p->sessions = sessions_create(p)) == NULL || (p->relay = relay_create(p)) == NULL) {
        proxy_destroy(p);
        return NULL;
    }
    if (!proxy_sabotaged(p, PROXY_UNDIVIDED))
        limiter_divide_keys(p->limiter, p->logins);
    limiter_set_paces(
        p->limiter, (struct limiter_pace) { p->o.records_per_addr_s, p->o.records_per_addr_burst },
        (struct limiter_pace) { p->o.records_per_key_s, p->o.records_per_key_burst });
    return p;
}

void proxy_destroy(struct proxy *p)
{
    if (p == NULL)
        return;
    sessions_destroy(p->sessions);
    relay_destroy(p->relay);
    limiter_destroy(p->limiter);
    logins_destroy(p->logins);
    readers_destroy(p->readers);
    run_close(&p->run);
    follower_destroy(p->follower);
    base_destroy(p->base);
    catalog_destroy(p->catalog);
    free(p);
}

void proxy_draw(struct proxy *p, const char *what, uint8_t out[32])
{
    uint8_t text[64] = { 0 };
    struct wire_writer w = wire_writer_of(text, sizeof text);
    wire_put64(&w, p->ids++);
    wire_put_string(&w, what);
    int failed = crypto_generichash(out, 32, text, sizeof text, p->o.secret, sizeof p->o.secret);
    assert(failed == 0);
    (void)failed;
}

uint64_t proxy_draw64(struct proxy *p, const char *what)
{
    uint8_t bytes[32];
    proxy_draw(p, what, bytes);
    uint64_t id = wire_load64(bytes);
    return id != 0 ? id : 1;
}

void proxy_fail(struct proxy *p, const char *why)
{
    if (p->failed[0] != '\0')
        return;
    snprintf(p->failed, sizeof p->failed, "%s", why);
    sessions_end_all(p->sessions, EDGE_CLOSING_DRAIN, why);
}

/* ---- the stream ------------------------------------------------------------------------------ */

/* False: it can't be followed any further. */
static bool apply_sys(struct proxy *p, const struct message *m, const struct batch_header *header)
{
    if (!proxy_is_volatile(p) && m->topic != TOPIC_REJECT && m->topic != TOPIC_CLOCK &&
        (m->topic != TOPIC_EDGE || sys_edge_is_presence(m->payload, m->length)))
        base_apply(p->base, m, header);
    enum catalog_verdict verdict = catalog_apply_sys(p->catalog, m, header);
    if (m->topic == TOPIC_EDGE)
        logins_message(p->logins, m);
    switch (verdict) {
    case CATALOG_OK:
    case CATALOG_IGNORED:
    case CATALOG_MALFORMED:
    case CATALOG_FULL:
        return true;
    case CATALOG_OTHER_PROTOCOL:
        proxy_fail(p, "the stream's session speaks another version of the protocol: use the "
                      "release of Cantus that its sequencer runs");
        return false;
    case CATALOG_DIVERGED:
        proxy_fail(p, "the session record does not match what was applied: the catalog has "
                      "diverged; restart it, and report this as a bug");
        return false;
    }
    return true;
}

static void deliver_whole(struct proxy *p, const struct run_message *m,
                          const struct batch_header *header)
{
    p->position = (struct position) { .epoch = header->epoch, .seq = m->message.seq };
    readers_message(p->readers, m, header->stable);
    relay_message(p->relay, m);
    if (p->sys_applied)
        sessions_principals(p->sessions);
    p->sys_applied = false;
}

/* `one`: a message by itself, or a part of a run. */
static void deliver(struct proxy *p, const struct run_message *one,
                    const struct batch_header *header)
{
    const struct message *m = &one->message;
    if (m->flags == 0 && p->run.parts == 0) {
        deliver_whole(p, one, header);
        return;
    }
    uint64_t voided = p->run.voided, first_seq = p->run.parts > 0 ? p->run.first_seq : m->seq;
    const struct run_message *whole = NULL;
    uint32_t count = run_offer(&p->run, m, &whole);
    p->counters[COUNTER_RUNS_VOIDED] += p->run.voided - voided;
    if (first_seq < m->seq && (p->run.parts == 0 || p->run.first_seq != first_seq))
        base_note_run(p->base, first_seq, m->seq);
    for (uint32_t i = 0; i < count; i++)
        deliver_whole(p, &whole[i], header);
}

/* The watermark, as far as it has been followed. */
static void raise_stable(struct proxy *p)
{
    uint64_t stable = follower_stable(p->follower);
    if (stable > p->seq)
        stable = p->seq;
    if (stable <= p->stable)
        return;
    p->stable = stable;
    p->look_again = true;
    base_stable(p->base, stable);
    relay_stable(p->relay, stable);
    logins_stable(p->logins, stable);
    readers_stable(p->readers, stable);
}

/* As of what has been followed: every proxy's part follows from the stream. */
static void share_limits(struct proxy *p)
{
    const struct presence *there = catalog_presence(p->catalog);
    logins_time(p->logins, p->time_ns);
    uint32_t count = presence_count(there, p->time_ns);
    if (!presence_has(there, relay_own(p->relay), p->time_ns))
        count = 0;
    limiter_share(p->limiter, proxy_sabotaged(p, PROXY_UNDIVIDED) ? 1 : count, p->now.mono_ns);
}

static void start_over(struct proxy *p, struct epoch by)
{
    sessions_end_all(p->sessions, EDGE_CLOSING_DRAIN,
                     "the stream has lost what came last: connect again");
    const struct position nothing = { .seq = 0 };
    p->position = nothing;
    p->seq = p->stable = p->time_ns = 0;
    p->torn = false;
    p->live = false;
    catalog_reset(p->catalog);
    base_clear(p->base);
    run_reset(&p->run);
    limiter_fork(p->limiter);
    logins_fork(p->logins, 0);
    relay_fork(p->relay, nothing);
    readers_fork(p->readers, nothing);
    follower_start(p->follower, nothing, (struct digest) { 0, 0 }, NULL, by);
}

/* Behind a fork within a run: an epoch record voids it, and anything else goes on with it. */
static bool goes_on(struct proxy *p, const uint8_t *batch, const struct batch_header *header)
{
    struct batch_cursor cursor = batch_begin(batch, header);
    struct message first;
    bool torn = p->torn;
    p->torn = false;
    return torn && batch_next(&cursor, &first) && first.topic != TOPIC_EPOCH;
}

static bool on_deliver(void *ctx, const uint8_t *batch, const struct batch_header *header)
{
    struct proxy *p = ctx;
    if (p->failed[0] != '\0')
        return true;
    if (!base_has_room(p->base, header) || !relay_has_room(p->relay, header) ||
        !logins_has_room(p->logins, header))
        return false;
    if (goes_on(p, batch, header)) {
        start_over(p, follower_heard(p->follower));
        return true;
    }
    struct batch_cursor cursor = batch_begin(batch, header);
    struct run_message one = { .fragments = 1 };
    const struct message *m = &one.message;
    while (batch_next(&cursor, &one.message)) {
        one.first_seq = m->seq;
        p->sys_applied = p->sys_applied || m->topic < TOPIC_FIRST_USER;
        if (m->topic < TOPIC_FIRST_USER && !apply_sys(p, m, header))
            return true;
        deliver(p, &one, header);
        if (p->run.parts == 0)
            p->position = (struct position) { .epoch = header->epoch, .seq = m->seq };
    }
    p->counters[COUNTER_MESSAGES_DELIVERED] += header->count;
    p->seq = batch_end_seq(header) - 1;
    p->time_ns = header->timestamp_ns;
    p->look_again = true;
    share_limits(p);
    readers_through(p->readers, p->position);
    raise_stable(p);
    return true;
}

static void on_forked(void *ctx, uint64_t first_seq, struct epoch by)
{
    struct proxy *p = ctx;
    if (first_seq > p->seq || p->failed[0] != '\0')
        return;
    if (p->run.parts > 0)
        base_note_run(p->base, p->run.first_seq, p->seq + 1);
    uint64_t open_seq;
    if (proxy_is_volatile(p) || !base_fork(p->base, p->catalog, first_seq - 1, &open_seq)) {
        start_over(p, by);
        return;
    }
    run_reset(&p->run);
    p->torn = open_seq != 0;
    p->seq = first_seq - 1;
    /* A group that is cut off is voided, all of it. */
    struct position common = { .seq = p->torn ? open_seq - 1 : p->seq };
    const struct epoch_entry *entry = epoch_table_find(catalog_epochs(p->catalog), common.seq);
    if (entry != NULL)
        common.epoch = entry->epoch;
    p->position = common;
    p->look_again = true;
    limiter_fork(p->limiter);
    logins_fork(p->logins, p->seq);
    relay_fork(p->relay, common);
    readers_fork(p->readers, common);
    sessions_principals(p->sessions);
}

static void on_stable(void *ctx, uint64_t stable_seq, uint64_t time_ns)
{
    (void)stable_seq;
    (void)time_ns;
    raise_stable(ctx);
}

static void on_lost(void *ctx, uint64_t first_seq, uint64_t oldest_seq)
{
    struct proxy *p = ctx;
    char text[sizeof p->failed];
    snprintf(text, sizeof text, "message %llu is gone from every store; the oldest is %llu",
             (unsigned long long)first_seq, (unsigned long long)oldest_seq);
    proxy_fail(p, text);
}

/* ---- the participant ------------------------------------------------------------------------- */

static void proxy_on_datagrams(void *core, const struct port_datagram *datagrams, uint32_t count,
                               struct port_time now)
{
    enum { TYPE_AT = 3 };
    struct proxy *p = core;
    p->now = now;
    for (uint32_t i = 0; i < count; i++) {
        const struct port_datagram *d = &datagrams[i];
        if (d->length <= TYPE_AT || d->bytes[TYPE_AT] != WIRE_HINT) {
            follower_on_datagram(p->follower, d, now);
            continue;
        }
        struct hint h;
        if (hint_decode(d->bytes, d->length, p->o.stream, &h) == WIRE_OK)
            relay_hint(p->relay, &h);
        else
            proxy_count(p, COUNTER_DROPPED_MALFORMED);
    }
}

static size_t proxy_on_stream(void *core, const struct port_stream_event *e, struct port_time now)
{
    struct proxy *p = core;
    p->now = now;
    size_t consumed = 0;
    if (follower_on_stream(p->follower, e, now, &consumed) ||
        readers_on_stream(p->readers, e, now, &consumed))
        return consumed;
    return sessions_on_stream(p->sessions, e);
}

static bool at_the_tip(const struct proxy *p)
{
    const struct follower *f = p->follower;
    return follower_caught_up(f) && follower_leader_heard_ns(f) != 0 &&
           follower_next(f) >= follower_goal_next(f) && catalog_genesis(p->catalog) != NULL;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* A stream that takes nothing must not keep it. */
static uint64_t leave(struct proxy *p)
{
    if (!p->draining || sessions_count(p->sessions) > 0) {
        p->gone_by_ns = 0;
        return PORT_NEVER;
    }
    if (p->gone_by_ns == 0)
        p->gone_by_ns = p->now.mono_ns + LEAVE_NS;
    return proxy_drained(p) ? PORT_NEVER : p->gone_by_ns;
}

static uint64_t proxy_step(void *core, struct port_time now)
{
    struct proxy *p = core;
    p->now = now;
    uint64_t deadline = follower_step(p->follower, now);
    if (p->failed[0] != '\0')
        return PORT_NEVER;
    p->live = p->live ? !follower_replaying(p->follower) : at_the_tip(p);
    deadline = earlier(deadline, readers_step(p->readers, now));
    deadline = earlier(deadline, sessions_step(p->sessions));
    deadline = earlier(deadline, relay_step(p->relay));
    deadline = earlier(deadline, leave(p));
    if (relay_superseded(p->relay))
        proxy_fail(p, "another process has joined under this proxy's name: give each its own");
    return deadline;
}

const struct participant_ops proxy_participant = {
    .on_datagrams = proxy_on_datagrams,
    .on_stream = proxy_on_stream,
    .step = proxy_step,
};

void proxy_drain(struct proxy *p, struct port_time now)
{
    p->now = now;
    p->draining = true;
}

/* ---- questions ------------------------------------------------------------------------------- */

bool proxy_drained(const struct proxy *p)
{
    return p->draining && sessions_count(p->sessions) == 0 &&
           (relay_has_left(p->relay) || (p->gone_by_ns != 0 && p->now.mono_ns >= p->gone_by_ns));
}

uint32_t proxy_sessions(const struct proxy *p)
{
    return sessions_count(p->sessions);
}

uint64_t proxy_seq(const struct proxy *p)
{
    return p->seq;
}

uint64_t proxy_stable(const struct proxy *p)
{
    return p->stable;
}

bool proxy_ready(const struct proxy *p)
{
    return p->live && p->failed[0] == '\0' && relay_ready(p->relay);
}

bool proxy_failed(const struct proxy *p)
{
    return p->failed[0] != '\0';
}

const struct catalog *proxy_catalog(const struct proxy *p)
{
    return p->catalog;
}

uint64_t *proxy_counters(const struct proxy *p)
{
    return p->counters;
}

void proxy_gauges(const struct proxy *p, uint64_t gauges[COUNTER_END])
{
    uint64_t goal = follower_goal_next(p->follower) - 1;
    uint64_t tip = goal > p->seq ? goal : p->seq;
    const struct epoch_table *epochs = follower_epochs(p->follower);
    gauges[COUNTER_TIP] = tip;
    gauges[COUNTER_STABLE] = p->stable;
    gauges[COUNTER_DELIVERED] = p->seq;
    gauges[COUNTER_LAG] = tip - p->seq;
    gauges[COUNTER_EPOCH] = follower_heard(p->follower).number;
    gauges[COUNTER_EPOCH_FIRST] =
        epochs->count > 0 ? epochs->entries[epochs->count - 1].first_seq : 0;
    gauges[COUNTER_MEMORY] = proxy_memory(&p->o);
    gauges[COUNTER_SESSIONS] = sessions_count(p->sessions);
    gauges[COUNTER_SESSIONS_MAX] = p->o.sessions_max;
    struct readers_counts readers = readers_counts(p->readers);
    struct views_counts views = views_counts(readers_views(p->readers));
    gauges[COUNTER_SESSIONS_BEHIND] = readers.behind;
    gauges[COUNTER_CLIENTS_LEFT_BEHIND] = readers.left_behind;
    gauges[COUNTER_CLIENTS_FORKED] = readers.forked;
    gauges[COUNTER_VIEWS] = views.editions;
    gauges[COUNTER_VIEW_USED] = (uint64_t)views.chunks * VIEW_CHUNK_BYTES;
    gauges[COUNTER_VIEW_SIZE] = p->o.view_bytes;
    gauges[COUNTER_SUBTREES] = sessions_subtrees(p->sessions);
    gauges[COUNTER_RELAYS] = relay_publishers(p->relay);
    gauges[COUNTER_RELAY_USED] = relay_kept_bytes(p->relay);
}

const char *proxy_state(const struct proxy *p)
{
    if (p->failed[0] != '\0')
        return p->failed;
    if (p->draining)
        return sessions_count(p->sessions) == 0 ? "drained" : "draining";
    if (follower_leader_heard_ns(p->follower) == 0)
        return "no leader";
    return !p->live ? "catching up" : relay_ready(p->relay) ? "serving" : "joining";
}

bool proxy_client_at(const struct proxy *p, uint32_t at, struct proxy_client *out)
{
    return sessions_client_at(p->sessions, at, out);
}
