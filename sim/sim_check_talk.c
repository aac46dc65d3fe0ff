/* The observer of what proxies send: every byte behind SUBSCRIBED is a function of the log and of what the client
 * asked for. At the end of a run the readers of a fresh proxy follow the final history from its beginning to its
 * end, live, without a network, a clock, a fault or a fork; and for each connection there was, and there for each
 * stretch behind a SUBSCRIBED or a FORKED, a reader begins behind the same position with the same request, and is
 * told of the same publishers. It has to write the same frames in the same order, up to where the connection ended,
 * or to where it was sent what no longer holds. The fresh proxy takes what it follows for stable at once, since it
 * lasts, and sends it before it looks at the next message: who waits has less when a change of rights ends its
 * connection.
 *
 * Compared are EPOCH, NAME, MESSAGE, PROGRESS, OUTCOME, CHANGED, OPENED of a join that came behind the login, and
 * SUPERSEDED of who is open. Not:
 * - REFUSED, ALIVE and CLOSING, which are no part of the stream's order; nor OPENED of an older join, and SUPERSEDED of
 *   who was never open, which come where the proxy is when it is asked;
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
#include "sim/sim_talk.h"

enum {
    STRETCHES_MAX = 1024,
    OWNED_MAX = 4,
    CHANGES_MAX = 16,
    SET_BYTES = 64,
    VIEW_BYTES = 8 << 20,
    RECENT_BYTES = 16 << 20,
    SLACK = 1024
};

/* A publisher of the connection, as OPENED and SUPERSEDED tell. */
struct owned {
    uint32_t publisher;
    uint64_t join_seq;
    uint64_t superseded_seq; /* 0: it is not */
    size_t at;               /* of its OPENED */
    size_t superseded_at;    /* of its SUPERSEDED */
    bool done;
};

struct set {
    struct edge_subtrees subtrees; /* but for where they are */
    uint8_t bytes[SET_BYTES];
};

/* Of the set, as CHANGED tells. */
struct changed {
    uint64_t seq;
    size_t at; /* of its frame */
    struct set set;
};

struct stretch {
    const struct sim_talk *talk;
    struct set set; /* that it begins with */
    size_t asked;   /* behind the last CHANGE that was answered */
    struct changed changed[CHANGES_MAX];
    uint32_t changed_count, changed_done;
    struct edge_subscribe request;
    uint64_t begin_seq; /* of the stream, from which on the fresh proxy reads */
    uint64_t login_seq, mark_seq;
    size_t begin, end; /* of the talk's bytes */
    struct owned owned[OWNED_MAX];
    uint32_t owned_count;
    struct reader *reader;
    uint64_t floor_seq; /* where it began */
    uint32_t principal;
    uint8_t *bytes; /* that the fresh proxy writes */
    size_t length, capacity;
};

struct check {
    struct sim *s;
    uint32_t branch; /* the final history */
    uint64_t end_seq;
    struct stretch *stretches;
    uint32_t count, begun;
    struct catalog *catalog;
    struct readers *readers;
    struct run_assembler run;
    struct position position;
    uint64_t counters[COUNTER_END];
    uint32_t principal_end;
    uint64_t due_seq; /* the next at which a publisher is to be owned, or a set changed */
};

/* ---- frames ---------------------------------------------------------------------------------- */

struct frame {
    enum edge_type type;
    const uint8_t *body;
    size_t length; /* of the whole */
};

static bool frame_at(const uint8_t *bytes, size_t available, struct frame *f)
{
    f->length = edge_frame_peek(bytes, available, &f->type);
    f->body = bytes + EDGE_HEADER;
    return f->length != 0 && f->length <= available;
}

static bool was_open(const struct stretch *t, const struct edge_superseded *s)
{
    for (uint32_t i = 0; i < t->owned_count; i++)
        if (t->owned[i].publisher == s->publisher && t->owned[i].superseded_seq == s->join_seq)
            return true;
    return false;
}

/* The seq of the message that a frame follows from; 0: of none, or it comes when it is asked for. */
static uint64_t seq_of(const struct check *c, const struct stretch *t, const struct frame *f)
{
    size_t length = f->length - EDGE_HEADER;
    struct edge_message m;
    struct edge_progress p;
    struct edge_outcome o;
    struct edge_epoch e;
    struct edge_opened opened;
    struct edge_superseded superseded;
    struct edge_changed changed;
    if (f->type == EDGE_CHANGED && edge_changed_decode(f->body, length, &changed))
        return changed.seq - 1;
    if (f->type == EDGE_OPENED && edge_opened_decode(f->body, length, &opened))
        return opened.join_seq > t->login_seq ? opened.join_seq : 0;
    if (f->type == EDGE_SUPERSEDED && edge_superseded_decode(f->body, length, &superseded))
        return was_open(t, &superseded) ? superseded.join_seq : 0;
    if (f->type == EDGE_MESSAGE && edge_message_decode(f->body, length, &m))
        return m.seq;
    if (f->type == EDGE_OUTCOME && edge_outcome_decode(f->body, length, &o))
        return o.seq;
    if (f->type == EDGE_EPOCH && edge_epoch_decode(f->body, length, &e))
        return e.first_seq;
    if (f->type != EDGE_PROGRESS || !edge_progress_decode(f->body, length, &p))
        return 0;
    const struct sim_entry *entry = sim_history_at(&c->s->history, c->branch, p.through);
    bool tick = p.through == t->mark_seq || (entry != NULL && entry->topic == TOPIC_CLOCK);
    return p.through + !tick; /* the end of a block is told in front of the next message */
}

/* ---- what was said --------------------------------------------------------------------------- */

/* The next frame of this type that the client has sent. */
static bool next_asked(struct stretch *t, enum edge_type type, struct frame *f)
{
    const struct sim_talk *talk = t->talk;
    while (frame_at(talk->asked + t->asked, talk->asked_length - t->asked, f)) {
        t->asked += f->length;
        if (f->type == type)
            return true;
    }
    return false;
}

static bool is_in(struct edge_subtrees set, const char *subtree, size_t length)
{
    const char *other;
    size_t other_length;
    while (edge_subtree_next(&set, &other, &other_length))
        if (other_length == length && memcmp(other, subtree, length) == 0)
            return true;
    return false;
}

static struct edge_subtrees subtrees_of(const struct set *set)
{
    struct edge_subtrees subtrees = set->subtrees;
    subtrees.at = set->bytes;
    return subtrees;
}

/* Those of `more` that are not in `without`. False: too many. */
static bool add(struct set *set, struct edge_subtrees more, struct edge_subtrees without)
{
    const char *subtree;
    size_t length;
    while (edge_subtree_next(&more, &subtree, &length)) {
        size_t used = set->subtrees.length;
        if (is_in(without, subtree, length))
            continue;
        if (used + 1 + length > SET_BYTES)
            return false;
        set->bytes[used] = (uint8_t)length;
        memcpy(set->bytes + used + 1, subtree, length);
        set->subtrees.length += 1 + length;
        set->subtrees.count++;
    }
    return true;
}

static bool find_request(struct stretch *t)
{
    struct frame f;
    const struct edge_subtrees none = { 0 };
    return next_asked(t, EDGE_SUBSCRIBE, &f) &&
           edge_subscribe_decode(f.body, f.length - EDGE_HEADER, &t->request) &&
           add(&t->set, t->request.subtrees, none);
}

/* The next CHANGE counts from here on. False: it is not kept, or there are too many. */
static bool note_changed(struct stretch *t, uint64_t seq, size_t at)
{
    struct frame f;
    struct edge_change change;
    if (t->changed_count == CHANGES_MAX || !next_asked(t, EDGE_CHANGE, &f) ||
        !edge_change_decode(f.body, f.length - EDGE_HEADER, &change))
        return false;
    struct changed *c = &t->changed[t->changed_count];
    const struct set *before = t->changed_count > 0 ? &c[-1].set : &t->set;
    *c = (struct changed) { .seq = seq, .at = at };
    t->changed_count++;
    return add(&c->set, subtrees_of(before), change.remove) &&
           add(&c->set, change.add, subtrees_of(&c->set));
}

/* Where the record of the login is, if that lasted. */
static void note_accepted(const struct check *c, struct stretch *t, struct position p)
{
    t->login_seq = sim_history_has(&c->s->history, c->branch, p) ? p.seq : 0;
}

static void note_opened(struct stretch *t, const struct edge_opened *o, size_t at)
{
    if (t->owned_count < OWNED_MAX)
        t->owned[t->owned_count++] =
            (struct owned) { .publisher = o->publisher, .join_seq = o->join_seq, .at = at };
}

static void note_superseded(struct stretch *t, const struct edge_superseded *s, size_t at)
{
    for (uint32_t i = 0; i < t->owned_count; i++) {
        struct owned *o = &t->owned[i];
        if (o->publisher != s->publisher || o->superseded_seq != 0)
            continue;
        o->superseded_seq = s->join_seq;
        o->superseded_at = at;
    }
}

/* What the proxy knew of rights when it wrote this byte. */
static const struct sim_talk_mark *mark_at(const struct sim_talk *t, size_t at)
{
    uint32_t i = 0;
    while (i + 1 < t->mark_count && t->marks[i + 1].at <= at)
        i++;
    return &t->marks[i];
}

/* The stretch behind `p`, which was told in front of `at`, by a proxy that knew the rights as of `known`. False: there
 * is nothing to be compared. */
static bool begin_stretch(struct check *c, struct stretch *t, size_t at, struct position p,
                          struct position known, uint64_t mark_seq)
{
    const struct sim_talk *talk = t->talk;
    t->begin = t->end = at;
    if (t->changed_count > 0)
        t->set = t->changed[t->changed_count - 1].set;
    t->changed_count = 0;
    t->mark_seq = mark_seq;
    t->request.from = EDGE_FROM_POSITION;
    t->request.position = p;
    t->begin_seq = p.seq;
    if (!sim_history_has(&c->s->history, c->branch, p))
        return false;
    bool stay = talk->client->client->edge->rights_stay;
    if (stay)
        known = c->s->edge_opened;
    if (t->begin_seq < known.seq)
        t->begin_seq = known.seq;
    if (t->begin_seq < mark_seq)
        t->begin_seq = mark_seq;
    return sim_history_has(&c->s->history, c->branch, known);
}

static void end_stretch(struct check *c, const struct stretch *t)
{
    if (t->end == t->begin || c->count == STRETCHES_MAX)
        return;
    struct stretch *kept = &c->stretches[c->count++];
    *kept = *t;
    while (kept->changed_count > 0 && kept->changed[kept->changed_count - 1].at >= kept->end)
        kept->changed_count--;
}

/* Whether this message of that epoch is on the final history, and not of a group that an epoch has cut off there. */
static bool lasts(const struct check *c, struct epoch epoch, uint64_t seq)
{
    const struct sim_history *h = &c->s->history;
    const struct sim_entry *e = sim_history_at(h, c->branch, seq);
    struct position p = { .epoch = epoch, .seq = seq };
    return seq == 0 || (e != NULL && sim_history_has(h, c->branch, p) &&
                        (e->topic == TOPIC_EPOCH || sim_check_run_end(h, c->branch, seq) != 0));
}

/* Finds the stretches of a connection, and where each is cut. */
static void read_talk(struct check *c, const struct sim_talk *talk)
{
    struct stretch t = { .talk = talk };
    struct frame f;
    struct edge_accepted accepted;
    struct epoch epoch = { 0, 0 };
    bool compares = false, knows = true; /* its set */
    if (!find_request(&t))
        return;
    for (size_t at = 0; frame_at(talk->bytes + at, talk->length - at, &f); at += f.length) {
        size_t length = f.length - EDGE_HEADER, next = at + f.length;
        struct edge_subscribed subscribed;
        struct edge_forked forked;
        struct edge_opened opened;
        struct edge_superseded superseded;
        struct edge_epoch e;
        struct edge_changed changed;
        if (f.type == EDGE_ACCEPTED && edge_accepted_decode(f.body, length, &accepted))
            note_accepted(c, &t, accepted.tip);
        else if (f.type == EDGE_OPENED && edge_opened_decode(f.body, length, &opened))
            note_opened(&t, &opened, at);
        else if (f.type == EDGE_SUPERSEDED && edge_superseded_decode(f.body, length, &superseded))
            note_superseded(&t, &superseded, at);
        else if (f.type == EDGE_EPOCH && edge_epoch_decode(f.body, length, &e))
            epoch = e.epoch;
        else if (f.type == EDGE_CHANGED && edge_changed_decode(f.body, length, &changed)) {
            knows = knows && note_changed(&t, changed.seq, at);
            compares = compares && knows;
        }
        if (f.type == EDGE_SUBSCRIBED && edge_subscribed_decode(f.body, length, &subscribed)) {
            epoch = subscribed.position.epoch;
            compares = begin_stretch(c, &t, next, subscribed.position,
                                     mark_at(talk, next)->position, t.login_seq);
            continue;
        }
        if (f.type == EDGE_FORKED && edge_forked_decode(f.body, length, &forked)) {
            end_stretch(c, &t);
            epoch = forked.common.epoch;
            /* Who is live goes on with the fork, by the rights at its end, though it takes that later. */
            compares = begin_stretch(c, &t, next, forked.common, forked.common, 0) && knows;
            continue;
        }
        uint64_t seq = seq_of(c, &t, &f);
        compares = compares && lasts(c, epoch, seq);
        if (compares && seq != 0)
            t.end = next;
    }
    end_stretch(c, &t);
}

/* ---- the fresh proxy ------------------------------------------------------------------------- */

static uint32_t principal_of(const struct check *c, const struct stretch *t)
{
    uint32_t key = t->talk->client->client->edge->key;
    return key != SIM_EDGE_NOBODY
               ? access_principal_of(catalog_access(c->catalog), sim_edge_key(key)->public_key)
               : ACCESS_PRINCIPAL_ANYONE;
}

static void fail(struct check *c, const char *why)
{
    sim_violate(c->s, SIM_BOUNDED, "the fresh proxy: %s", why);
}

/* Of a join that was in the stream before the connection was there: told when it was asked for. */
static bool is_old(const struct stretch *t, const struct owned *o)
{
    return o->join_seq <= t->login_seq;
}

/* What it was told there, it is told behind this seq. */
static bool tell(const struct stretch *t, size_t at, uint64_t seq)
{
    struct frame f;
    return at < t->begin || !frame_at(t->talk->bytes + at, t->end - at, &f) ||
           reader_insert(t->reader, seq, true, t->talk->bytes + at, f.length);
}

/* Publishers that have joined by this seq are its own, and told so there; others are later. */
static void own(struct check *c, struct stretch *t, uint64_t seq)
{
    for (uint32_t i = 0; i < t->owned_count; i++) {
        struct owned *o = &t->owned[i];
        if (!o->done && o->join_seq > seq && o->join_seq < c->due_seq)
            c->due_seq = o->join_seq;
        if (o->done || o->join_seq > seq)
            continue;
        o->done = true;
        bool ok = reader_own(t->reader, o->publisher, o->join_seq);
        if (o->at < t->end && !is_old(t, o))
            ok = ok && tell(t, o->at, o->join_seq);
        if (o->superseded_seq != 0) {
            reader_own_through(t->reader, o->publisher, o->superseded_seq);
            ok = ok && (o->superseded_at >= t->end || tell(t, o->superseded_at, o->superseded_seq));
        }
        if (!ok)
            fail(c, "too many publishers");
    }
}

/* Sets that are changed behind this seq. */
static void change(struct check *c, struct stretch *t, uint64_t seq)
{
    for (; t->changed_done < t->changed_count; t->changed_done++) {
        const struct changed *next = &t->changed[t->changed_done];
        struct edge_subtrees subtrees = subtrees_of(&next->set);
        if (next->seq > seq + 1 && next->seq - 1 < c->due_seq)
            c->due_seq = next->seq - 1;
        if (next->seq > seq + 1)
            return;
        const struct sim_entry *e = sim_history_at(&c->s->history, c->branch, next->seq - 1);
        if (e == NULL || e->topic != TOPIC_EDGE)
            sim_violate(c->s, SIM_SAME, "%s is told of a change behind %lu, where none is written",
                        t->talk->client->name, next->seq - 1);
        if (reader_change(t->reader, &subtrees, next->seq, t->changed_done) != READER_OK)
            fail(c, "too many changes");
    }
}

static void begin_reading(struct check *c, struct stretch *t)
{
    t->principal = principal_of(c, t);
    t->reader = reader_open(c->readers, t->principal, EDGE_SEQUENCED, t);
    if (t->reader == NULL) {
        fail(c, "too many readers");
        return;
    }
    t->floor_seq = c->position.seq;
    reader_mark(t->reader, t->mark_seq);
    t->request.subtrees = subtrees_of(&t->set);
    if (reader_subscribe(t->reader, &t->request, t->request.position) != READER_OK)
        fail(c, "too many views");
    own(c, t, c->position.seq);
    change(c, t, c->position.seq);
}

/* False: there was nothing. */
static bool take(struct check *c, struct stretch *t)
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
    const struct port_time now = { .mono_ns = SIM_MS, .wall_ns = SIM_MS };
    struct stretch *t;
    for (bool more = true; more;) {
        more = readers_step(c->readers, now) <= now.mono_ns;
        while ((t = readers_ready(c->readers)) != NULL)
            more = take(c, t) || more;
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
            if (c->stretches[i].reader != NULL) {
                own(c, &c->stretches[i], seq);
                change(c, &c->stretches[i], seq);
            }
    }
    uint32_t principal_end = access_principal_end(catalog_access(c->catalog));
    for (uint32_t i = 0; principal_end != c->principal_end && i < c->begun; i++) {
        struct stretch *t = &c->stretches[i];
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
    while (!sim_history_at(h, c->branch, last)->last)
        last++;
    const struct sim_entry *e = sim_history_at(h, c->branch, last);
    struct batch_header batch = {
        .stream = c->s->stream,
        .digest = e->digest,
        .epoch = h->branches[sim_history_owner(h, c->branch, seq)].epoch,
        .first_seq = seq,
        .timestamp_ns = e->timestamp_ns,
        .stable = e->stable,
        .count = (uint16_t)(last - seq + 1),
    };
    if (seq > 1)
        batch.before = sim_history_at(h, c->branch, seq - 1)->digest;
    for (; seq <= last; seq++) {
        e = sim_history_at(h, c->branch, seq);
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
    const struct stretch *x = a, *y = b;
    return (x->begin_seq > y->begin_seq) - (x->begin_seq < y->begin_seq);
}

static void follow(struct check *c)
{
    for (uint64_t seq = 1; seq < c->end_seq && c->s->result.violated == SIM_FINE;) {
        seq = follow_batch(c, seq);
        while (c->begun < c->count && c->stretches[c->begun].begin_seq < seq)
            begin_reading(c, &c->stretches[c->begun++]);
        drain(c);
    }
}

static bool prepare(struct check *c, struct port *port)
{
    const struct catalog_options catalog = { SIM_TOPICS_MAX, SIM_PUBLISHERS_MAX };
    const uint32_t readers_max = c->count;
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

static bool is_compared(const struct stretch *t, const struct frame *f)
{
    struct edge_outcome o;
    struct edge_opened opened;
    struct edge_superseded s;
    if (f->type == EDGE_SUPERSEDED && edge_superseded_decode(f->body, f->length - EDGE_HEADER, &s))
        return was_open(t, &s);
    if (f->type == EDGE_OPENED && edge_opened_decode(f->body, f->length - EDGE_HEADER, &opened))
        return opened.join_seq > t->login_seq;
    if (f->type == EDGE_OUTCOME && edge_outcome_decode(f->body, f->length - EDGE_HEADER, &o))
        return o.seq > t->floor_seq;
    return f->type == EDGE_CHANGED || f->type == EDGE_EPOCH || f->type == EDGE_NAME ||
           f->type == EDGE_MESSAGE || f->type == EDGE_PROGRESS;
}

/* The next one that is compared; at *at, which is moved behind it. */
static bool next_frame(const struct stretch *t, const uint8_t *bytes, size_t end, size_t *at,
                       struct frame *f)
{
    while (frame_at(bytes + *at, end - *at, f)) {
        *at += f->length;
        if (is_compared(t, f))
            return true;
    }
    return false;
}

static void describe(const struct check *c, const struct stretch *t, const struct frame *f,
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
        snprintf(out, capacity, "%s of %lu", names[f->type], seq_of(c, t, f));
}

static void compare(struct check *c, const struct stretch *t)
{
    const uint8_t *sent = t->talk->bytes + t->begin;
    size_t end = t->end - t->begin, at = 0, other_at = 0;
    struct frame f, other;
    while (next_frame(t, sent, end, &at, &f)) {
        bool is = next_frame(t, t->bytes, t->length, &other_at, &other);
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
    struct check c = { .s = s, .branch = s->history.stable_branch, .due_seq = UINT64_MAX };
    struct port port = { .datagram_max = SIM_DATAGRAM_MAX };
    if (s->talk_count == 0)
        return;
    c.end_seq = s->history.branches[c.branch].end_seq;
    c.stretches = calloc(STRETCHES_MAX, sizeof *c.stretches);
    for (uint32_t i = 0; c.stretches != NULL && i < s->talk_count; i++)
        read_talk(&c, s->talks[i]);
    if (c.stretches == NULL || (c.count > 0 && !prepare(&c, &port))) {
        fail(&c, "out of memory");
    } else if (c.count > 0) {
        qsort(c.stretches, c.count, sizeof *c.stretches, by_begin);
        follow(&c);
    }
    for (uint32_t i = 0; i < c.count && s->result.violated == SIM_FINE; i++)
        compare(&c, &c.stretches[i]);
    for (uint32_t i = 0; i < c.count; i++)
        free(c.stretches[i].bytes);
    free(c.stretches);
    readers_destroy(c.readers);
    run_close(&c.run);
    catalog_destroy(c.catalog);
}
