/* The observer of what proxies send: every byte behind SUBSCRIBED is a function of the log and of what the client
 * asked for. At the end of a run the readers of a fresh proxy follow the final history from its beginning to its
 * end, live, without a network, a clock, a fault or a fork; and for each connection there was, and there for each
 * stretch behind a SUBSCRIBED or a FORKED, a reader begins behind the same position with the same request, and is
 * told of the same publishers. It has to write the same frames in the same order, up to where the connection ended,
 * or to where it was sent what no longer holds. The fresh proxy takes what it follows for stable at once, since it
 * lasts, and sends it before it looks at the next message: who waits has less when a change of rights ends its
 * connection.
 *
 * Compared are EPOCH, NAME, MESSAGE, PROGRESS, OUTCOME, CHANGED, OPENED, and SUPERSEDED of who is open. Not:
 * - REFUSED, ALIVE and CLOSING, which are no part of the stream's order; nor SUPERSEDED of who was never open, which
 *   comes where the proxy is when it is asked;
 * - outcomes in front of where the fresh proxy begins: what a subscription begins with is judged by the rights that
 *   hold where it is made, so the fresh one makes it where the first one did, and goes on from a fork where that
 *   ends;
 * - what a fork has taken back, and what began on a history of rights that did not last.
 * A set is changed where CHANGED says, which has to be behind the record of a change. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "follow/run.h"
#include "proxy/reader.h"
#include "sim/sim_stretch.h"

enum { VIEW_BYTES = 8 << 20, RECENT_BYTES = 16 << 20, SLACK = 1024 };

struct check {
    struct sim *s;
    struct sim_stretches *stretches; /* in the order in which they begin */
    uint64_t end_seq;
    uint32_t begun; /* of the stretches */
    struct catalog *catalog;
    struct readers *readers;
    struct run_assembler run;
    struct position position;
    uint64_t counters[COUNTER_END];
    uint32_t principal_end;
    uint64_t due_seq; /* the next at which a publisher is to be owned, or a set changed */
    uint64_t now_ns;  /* it goes on while somebody is to be told of a tick */
};

/* ---- the fresh proxy ------------------------------------------------------------------------- */

static uint32_t principal_of(const struct check *c, const struct sim_stretch *t)
{
    uint32_t key = t->talk->key;
    return key != SIM_EDGE_NOBODY
               ? access_principal_of(catalog_access(c->catalog), sim_edge_key(key)->public_key)
               : ACCESS_PRINCIPAL_ANYONE;
}

static void fail(struct check *c, const char *why)
{
    sim_violate(c->s, SIM_BOUNDED, "the fresh proxy: %s", why);
}

/* What it was told there, it is told behind this seq. */
static bool tell(const struct sim_stretch *t, size_t at, uint64_t seq)
{
    struct sim_frame f;
    return at < t->begin || !sim_frame_at(t->talk->bytes + at, t->end - at, &f) ||
           reader_insert(t->reader, seq, true, t->talk->bytes + at, f.length);
}

/* The OPENED there, and the OUTCOMEs of rejects in front of it: each has to be of a record below the join. */
static bool tell_opened(const struct check *c, const struct sim_stretch *t,
                        const struct sim_stretch_owned *o)
{
    struct sim_frame f;
    size_t at = o->rejects_at;
    for (; at < o->at && sim_frame_at(t->talk->bytes + at, o->at - at, &f); at += f.length) {
        struct edge_outcome told = { 0 };
        if (f.type != EDGE_OUTCOME)
            continue;
        bool is = edge_outcome_decode(f.body, f.length - EDGE_HEADER, &told);
        const struct sim_entry *e =
            is ? sim_history_at(&c->s->history, c->stretches->branch, told.seq) : NULL;
        if (e == NULL || e->topic != TOPIC_REJECT || e->publisher != o->publisher)
            sim_violate(c->s, SIM_SAME, "%s is told of a reject at %lu, where none is written",
                        t->talk->client->name, told.seq);
        if (!tell(t, at, o->join_seq))
            return false;
    }
    return tell(t, at, o->join_seq);
}

/* Publishers that have joined by this seq are its own, and told so there; others are later. */
static void own(struct check *c, struct sim_stretch *t, uint64_t seq)
{
    for (uint32_t i = 0; i < t->owned_count; i++) {
        struct sim_stretch_owned *o = &t->owned[i];
        if (!o->done && o->join_seq > seq && o->join_seq < c->due_seq)
            c->due_seq = o->join_seq;
        if (o->done || o->join_seq > seq)
            continue;
        o->done = true;
        bool ok = reader_own(t->reader, o->publisher, o->join_seq);
        ok = ok && (o->at >= t->end || tell_opened(c, t, o));
        if (o->superseded_seq != 0) {
            reader_own_through(t->reader, o->publisher, o->superseded_seq);
            ok = ok && (o->superseded_at >= t->end || tell(t, o->superseded_at, o->superseded_seq));
        }
        if (!ok)
            fail(c, "too many publishers");
    }
}

/* Sets that are changed behind this seq. */
static void change(struct check *c, struct sim_stretch *t, uint64_t seq)
{
    for (; t->changed_done < t->changed_count; t->changed_done++) {
        const struct sim_stretch_change *next = &t->changed[t->changed_done];
        struct edge_subtrees subtrees = sim_stretch_subtrees(&next->set);
        if (next->seq > seq + 1 && next->seq - 1 < c->due_seq)
            c->due_seq = next->seq - 1;
        if (next->seq > seq + 1)
            return;
        const struct sim_entry *e =
            sim_history_at(&c->s->history, c->stretches->branch, next->seq - 1);
        if (e == NULL || e->topic != TOPIC_EDGE)
            sim_violate(c->s, SIM_SAME, "%s is told of a change behind %lu, where none is written",
                        t->talk->client->name, next->seq - 1);
        if (reader_change(t->reader, &subtrees, next->seq, t->changed_done) != READER_OK)
            fail(c, "too many changes");
    }
}

static void begin_reading(struct check *c, struct sim_stretch *t)
{
    t->principal = principal_of(c, t);
    t->reader = reader_open(c->readers, t->principal, EDGE_SEQUENCED, t);
    if (t->reader == NULL) {
        fail(c, "too many readers");
        return;
    }
    t->floor_seq = c->position.seq;
    const struct sim_history *h = &c->s->history;
    struct position mark = { .seq = t->mark_seq };
    if (mark.seq != 0)
        mark.epoch = h->branches[sim_history_owner(h, c->stretches->branch, mark.seq)].epoch;
    reader_mark(t->reader, mark);
    t->request.subtrees = sim_stretch_subtrees(&t->set);
    if (reader_subscribe(t->reader, &t->request, t->request.position) != READER_OK)
        fail(c, "too many views");
    own(c, t, c->position.seq);
    change(c, t, c->position.seq);
}

/* False: there was nothing. */
static bool take(struct check *c, struct sim_stretch *t)
{
    const uint8_t *bytes;
    size_t length, before = t->length;
    while ((length = reader_next(t->reader, EDGE_FRAME_MAX, &bytes)) > 0) {
        if (t->length + length > t->capacity) {
            size_t capacity = t->capacity != 0 ? t->capacity : t->end - t->begin + SLACK;
            while (capacity < t->length + length)
                capacity *= 2;
            uint8_t *larger = realloc(t->bytes, capacity);
            if (larger == NULL) {
                fail(c, "out of memory");
                return false;
            }
            t->bytes = larger;
            t->capacity = capacity;
        }
        memcpy(t->bytes + t->length, bytes, length);
        t->length += length;
        reader_take(t->reader);
    }
    if (t->length >= t->end - t->begin + SLACK) {
        reader_close(t->reader);
        t->reader = NULL;
    }
    return t->length > before;
}

/* Everything that may be sent by now is. */
static void drain(struct check *c)
{
    struct sim_stretch *t;
    for (bool more = true; more;) {
        c->now_ns += READER_TICKS_APART_NS;
        const struct port_time now = { .mono_ns = c->now_ns, .wall_ns = c->now_ns };
        more = readers_step(c->readers, now) <= now.mono_ns;
        while ((t = readers_ready(c->readers)) != NULL)
            more = take(c, t) || more;
        more = more || readers_ready_ns(c->readers) != PORT_NEVER;
    }
}

static void go_on(struct check *c)
{
    uint64_t seq = c->position.seq, stable = c->s->history.stable_seq;
    readers_through(c->readers, c->position);
    readers_stable(c->readers, seq < stable ? seq : stable);
    drain(c);
}

static void deliver(struct check *c, const struct run_message *m, const struct batch_header *batch)
{
    uint64_t seq = m->message.seq;
    c->position = (struct position) { .epoch = batch->epoch, .seq = seq };
    readers_message(c->readers, m, batch->stable);
    if (seq >= c->due_seq) {
        c->due_seq = UINT64_MAX;
        for (uint32_t i = 0; i < c->begun; i++)
            if (c->stretches->all[i].reader != NULL) {
                own(c, &c->stretches->all[i], seq);
                change(c, &c->stretches->all[i], seq);
            }
    }
    uint32_t principal_end = access_principal_end(catalog_access(c->catalog));
    for (uint32_t i = 0; principal_end != c->principal_end && i < c->begun; i++) {
        struct sim_stretch *t = &c->stretches->all[i];
        if (t->reader != NULL && principal_of(c, t) != t->principal) {
            t->principal = principal_of(c, t);
            if (reader_principal(t->reader, t->principal) != READER_OK)
                fail(c, "too many views");
        }
    }
    c->principal_end = principal_end;
    go_on(c);
}

/* The batch that begins with this seq, as it was emitted. Returns the first seq behind it. */
static uint64_t follow_batch(struct check *c, uint64_t seq)
{
    const struct sim_history *h = &c->s->history;
    uint64_t last = seq;
    while (!sim_history_at(h, c->stretches->branch, last)->last)
        last++;
    const struct sim_entry *e = sim_history_at(h, c->stretches->branch, last);
    struct batch_header batch = {
        .stream = c->s->stream,
        .digest = e->digest,
        .epoch = h->branches[sim_history_owner(h, c->stretches->branch, seq)].epoch,
        .first_seq = seq,
        .timestamp_ns = e->timestamp_ns,
        .stable = e->stable,
        .count = (uint16_t)(last - seq + 1),
    };
    if (seq > 1)
        batch.before = sim_history_at(h, c->stretches->branch, seq - 1)->digest;
    for (; seq <= last; seq++) {
        e = sim_history_at(h, c->stretches->branch, seq);
        const struct message m = { .seq = seq,
                                   .timestamp_ns = e->timestamp_ns,
                                   .publisher_seq = e->publisher_seq,
                                   .topic = e->topic,
                                   .publisher = e->publisher,
                                   .flags = e->flags,
                                   .length = e->length,
                                   .payload = e->payload };
        const struct run_message *whole;
        if (m.topic < TOPIC_FIRST_USER)
            (void)catalog_apply_sys(c->catalog, &m, &batch);
        uint32_t count = run_offer(&c->run, &m, &whole);
        for (uint32_t i = 0; i < count; i++)
            deliver(c, &whole[i], &batch);
        if (c->run.parts == 0)
            c->position = (struct position) { .epoch = batch.epoch, .seq = seq };
    }
    go_on(c);
    return last + 1;
}

static int by_begin(const void *a, const void *b)
{
    const struct sim_stretch *x = a, *y = b;
    return (x->begin_seq > y->begin_seq) - (x->begin_seq < y->begin_seq);
}

static void follow(struct check *c)
{
    for (uint64_t seq = 1; seq < c->end_seq && c->s->result.violated == SIM_FINE;) {
        seq = follow_batch(c, seq);
        while (c->begun < c->stretches->count && c->stretches->all[c->begun].begin_seq < seq)
            begin_reading(c, &c->stretches->all[c->begun++]);
        drain(c);
    }
}

static bool prepare(struct check *c, struct port *port)
{
    const struct catalog_options catalog = { SIM_TOPICS_MAX, SIM_PUBLISHERS_MAX };
    const uint32_t readers_max = c->stretches->count;
    struct readers_options o = {
        .views = { .views_max = 4 * readers_max + 2,
                   .subtrees_max = 8 * readers_max + 4,
                   .topics_max = catalog.topics_max,
                   .bytes_max = VIEW_BYTES,
                   .lag_bytes_max = VIEW_BYTES },
        .history = { .stream = c->s->stream,
                     .replays_max = 1,
                     .waiting_max = readers_max,
                     .run_bytes_max = SIM_RUN_BYTES_MAX },
        .recent_bytes = RECENT_BYTES,
        .readers_max = readers_max,
        .catch_ups_max = readers_max, /* who has to wait for a turn is behind */
        .counters = c->counters,
    };
    c->catalog = catalog_create(&catalog);
    if (c->catalog == NULL || !run_init(&c->run, SIM_RUN_BYTES_MAX))
        return false;
    c->readers = readers_create(&o, port, c->catalog);
    return c->readers != NULL;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static bool is_compared(const struct check *c, const struct sim_stretch *t,
                        const struct sim_frame *f)
{
    uint64_t seq = sim_stretch_seq(c->stretches, t, f);
    return f->type == EDGE_NAME || (f->type == EDGE_OUTCOME ? seq > t->floor_seq : seq != 0);
}

/* The next one that is compared; at *at, which is moved behind it. */
static bool next_frame(const struct check *c, const struct sim_stretch *t, const uint8_t *bytes,
                       size_t end, size_t *at, struct sim_frame *f)
{
    while (sim_frame_at(bytes + *at, end - *at, f)) {
        *at += f->length;
        if (is_compared(c, t, f))
            return true;
    }
    return false;
}

static void describe(const struct check *c, const struct sim_stretch *t, const struct sim_frame *f,
                     char *out, size_t capacity)
{
    static const char *const names[] = {
        [EDGE_EPOCH] = "EPOCH",     [EDGE_NAME] = "NAME",
        [EDGE_MESSAGE] = "MESSAGE", [EDGE_PROGRESS] = "PROGRESS",
        [EDGE_OPENED] = "OPENED",   [EDGE_OUTCOME] = "OUTCOME",
        [EDGE_CHANGED] = "CHANGED", [EDGE_SUPERSEDED] = "SUPERSEDED"
    };
    if (f == NULL)
        snprintf(out, capacity, "nothing");
    else
        snprintf(out, capacity, "%s of %lu", names[f->type], sim_stretch_seq(c->stretches, t, f));
}

static void compare(struct check *c, const struct sim_stretch *t)
{
    const uint8_t *sent = t->talk->bytes + t->begin;
    size_t end = t->end - t->begin, at = 0, other_at = 0;
    struct sim_frame f, other;
    while (next_frame(c, t, sent, end, &at, &f)) {
        bool is = next_frame(c, t, t->bytes, t->length, &other_at, &other);
        if (is && f.length == other.length &&
            memcmp(f.body - EDGE_HEADER, other.body - EDGE_HEADER, f.length) == 0)
            continue;
        char a[64], b[64];
        describe(c, t, &f, a, sizeof a);
        describe(c, t, is ? &other : NULL, b, sizeof b);
        sim_violate(c->s, SIM_SAME,
                    "%s, behind %lu, is sent %s by %s, and would be sent %s by another",
                    t->talk->client->name, t->request.position.seq, a, t->talk->proxy->name, b);
        return;
    }
}

void sim_check_talks(struct sim *s)
{
    struct check c = { .s = s, .due_seq = UINT64_MAX };
    struct port port = { .datagram_max = SIM_DATAGRAM_MAX };
    if (s->talk_count == 0)
        return;
    struct sim_stretches *all = c.stretches = calloc(1, sizeof *all);
    if (all == NULL) {
        fail(&c, "out of memory");
        return;
    }
    all->s = s;
    all->branch = s->history.stable_branch;
    c.end_seq = s->history.branches[all->branch].end_seq;
    for (uint32_t i = 0; i < s->talk_count; i++)
        sim_stretches_add(all, s->talks[i]);
    if (all->count > 0 && !prepare(&c, &port)) {
        fail(&c, "out of memory");
    } else if (all->count > 0) {
        qsort(all->all, all->count, sizeof all->all[0], by_begin);
        follow(&c);
    }
    for (uint32_t i = 0; i < all->count && s->result.violated == SIM_FINE; i++)
        compare(&c, &all->all[i]);
    for (uint32_t i = 0; i < all->count; i++)
        free(all->all[i].bytes);
    free(all);
    readers_destroy(c.readers);
    run_close(&c.run);
    catalog_destroy(c.catalog);
}
