/* Who comes to proxies for a while: reads from the tip, from a time, or from a position that it was told of once,
 * be it of a history that did not last or one that is not there yet; is told of progress as often as it likes; changes
 * its subtrees in some runs; is deaf now and then; leaves, and comes again as another. It speaks the protocol itself, for the library always
 * goes on where it was.
 *
 * It looks at each frame: that nothing is left out, doubled, damaged or not its business, that it begins where it
 * asked to, and is told where histories part. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim_private.h"

enum {
    VISITS = 4,
    PLACES = 32, /* positions it was told of, a ring */
    GATHERED_MAX = SIM_RUN_BYTES_MAX + 4096,
    FRAME_MAX = 512,
    SUBTREES_MAX = 3,
    SLOW_TICK_MS = 5000, /* of which no run sees many */
    LEAVES = 40,         /* one act in so many */
    DEAF = 12,
    CHANGES = 3,
    WANTS_MAX = 12 /* of one visit, those that it no longer has included */
};

static const char *const all_subtrees[] = { "/",      "/edge", "/edge/a", "/edge/c",
                                            "/items", "/v",    "/feed",   "/edge/feed" };
static const uint32_t ticks_ms[] = { 0, 1, 3, 20, SLOW_TICK_MS };
static const uint32_t keys[] = { SIM_EDGE_NOBODY, 1, 2, 3, 4, 4, 5 };
enum {
    SUBTREES = sizeof all_subtrees / sizeof all_subtrees[0],
    TICKS = sizeof ticks_ms / sizeof ticks_ms[0],
    KEYS = sizeof keys / sizeof keys[0]
};

/* A subtree, among all, and the messages for which it counts. */
struct want {
    uint32_t subtree;
    uint64_t from_seq, end_seq;
};

enum stage { CONNECTS, LOGS_IN, ASKS, READS };

struct visit {
    uint32_t stream; /* 0: none */
    enum stage stage;
    uint32_t key;
    struct want wants[WANTS_MAX];
    uint32_t wants_count;
    bool changes;                  /* it is not told yet from where on: */
    uint32_t changed;              /* this one, which is wanted now or no longer */
    struct edge_subscribe request; /* but for its subtrees */
    struct position tip;           /* when it was let in */
    struct epoch epoch, older;     /* of what comes from epoch_seq on, and below */
    uint64_t epoch_seq;
    uint32_t branch; /* that it is on; SIM_NONE: not known yet */
    uint64_t seq;    /* it has everything through here */
    bool forked;     /* before it began: what it asked for does not hold */
    uint64_t deaf_until_ns;
    uint8_t *gathered; /* GATHERED_MAX: the beginning of a frame */
    size_t length;
};

struct sim_visitor {
    struct sim *sim;
    struct sim_node *node;
    uint64_t next_ns;
    uint64_t quiet_seq; /* stable when the run became quiet; 0: not yet */
    struct position places[PLACES];
    uint32_t place_count;
    struct visit visits[VISITS];
};

struct sim_visitor *sim_visitor_create(struct sim *s, struct sim_node *n)
{
    struct sim_visitor *x = calloc(1, sizeof *x);
    uint8_t *gathered = x != NULL ? malloc((size_t)VISITS * GATHERED_MAX) : NULL;
    if (gathered == NULL) {
        free(x);
        return NULL;
    }
    *x = (struct sim_visitor) { .sim = s, .node = n };
    for (uint32_t i = 0; i < VISITS; i++)
        x->visits[i].gathered = gathered + (size_t)i * GATHERED_MAX;
    return x;
}

void sim_visitor_destroy(struct sim_visitor *x)
{
    free(x->visits[0].gathered);
    free(x);
}

static uint64_t below(struct sim_visitor *x, uint64_t bound)
{
    return sim_random_below(&x->sim->random, bound);
}

static void say(struct sim_visitor *x, struct visit *v, const uint8_t *bytes, size_t length)
{
    struct port *port = &x->node->port.port;
    if (length > 0 && port->ops->stream_room(port, v->stream, length) >= length)
        port->ops->stream_write(port, v->stream, bytes, length);
}

static void leave(struct sim_visitor *x, struct visit *v)
{
    struct port *port = &x->node->port.port;
    if (v->stream != 0)
        port->ops->stream_close(port, v->stream);
    v->stream = 0;
}

/* ---- what it asks for ------------------------------------------------------------------------ */

/* One that it was told of, or a little behind that. */
static struct position draw_position(struct sim_visitor *x)
{
    uint32_t kept = x->place_count < PLACES ? x->place_count : PLACES;
    struct position p = { { 0, 0 }, 0 };
    if (kept > 0 && below(x, 6) != 0)
        p = x->places[below(x, kept)];
    if (p.seq > 0 && below(x, 4) == 0)
        p.seq += below(x, 20);
    return p;
}

/* Of some message, or next to it, or soon. */
static uint64_t draw_time(struct sim_visitor *x)
{
    const struct sim_history *h = &x->sim->history;
    const struct sim_branch *b = &h->branches[h->branch_count - 1];
    uint64_t seq = 1 + below(x, b->end_seq - 1);
    uint64_t at = sim_history_at(h, h->branch_count - 1, seq)->timestamp_ns;
    switch (below(x, 4)) {
    case 0:
        return at;
    case 1:
        return at + 1;
    case 2:
        return at - 1;
    default:
        return b->timestamp_ns + below(x, 5 * SIM_MS);
    }
}

static void draw_request(struct sim_visitor *x, struct visit *v)
{
    v->key = keys[below(x, KEYS)];
    v->request = (struct edge_subscribe) { .level = below(x, 2) == 0 ? EDGE_SEQUENCED : EDGE_STABLE,
                                           .from = (enum edge_from)(1 + below(x, 3)),
                                           .tick_ms = ticks_ms[below(x, TICKS)] };
    if (v->request.from == EDGE_FROM_POSITION)
        v->request.position = draw_position(x);
    if (v->request.from == EDGE_FROM_TIME)
        v->request.time_ns = draw_time(x);
    v->wants_count = 1 + (uint32_t)below(x, SUBTREES_MAX);
    uint32_t first = (uint32_t)below(x, SUBTREES);
    for (uint32_t i = 0; i < v->wants_count; i++)
        v->wants[i] =
            (struct want) { .subtree = (first + i * 3) % SUBTREES, .end_seq = UINT64_MAX };
}

static void put_subtree(struct edge_subtrees *set, uint8_t *names, uint32_t subtree)
{
    const char *name = all_subtrees[subtree];
    set->at = names;
    set->count++;
    names[set->length++] = (uint8_t)strlen(name);
    memcpy(names + set->length, name, strlen(name));
    set->length += strlen(name);
}

/* The one that it has; NULL: it has it no longer, or never had. */
static struct want *find_want(struct visit *v, uint32_t subtree)
{
    for (uint32_t i = 0; i < v->wants_count; i++)
        if (v->wants[i].subtree == subtree && v->wants[i].end_seq == UINT64_MAX)
            return &v->wants[i];
    return NULL;
}

static void say_change(struct sim_visitor *x, struct visit *v)
{
    uint8_t names[32], frame[FRAME_MAX];
    struct edge_change change = { .add = { .count = 0 } };
    if (v->stage != READS || v->changes || v->wants_count == WANTS_MAX)
        return;
    v->changes = true;
    v->changed = (uint32_t)below(x, SUBTREES);
    put_subtree(find_want(v, v->changed) == NULL ? &change.add : &change.remove, names, v->changed);
    say(x, v, frame, edge_change_encode(&change, frame, sizeof frame));
}

static void say_subscribe(struct sim_visitor *x, struct visit *v)
{
    uint8_t names[SUBTREES_MAX * 32], frame[FRAME_MAX];
    struct edge_subscribe request = v->request;
    for (uint32_t i = 0; i < v->wants_count; i++)
        put_subtree(&request.subtrees, names, v->wants[i].subtree);
    say(x, v, frame, edge_subscribe_encode(&request, frame, sizeof frame));
    v->stage = ASKS;
}

static void say_hello(struct sim_visitor *x, struct visit *v)
{
    uint8_t frame[FRAME_MAX];
    struct edge_hello hello = { .version = EDGE_VERSION, .has_key = v->key != SIM_EDGE_NOBODY };
    if (hello.has_key)
        memcpy(hello.key, sim_edge_key(v->key)->public_key, sizeof hello.key);
    memcpy(hello.agent, "visitor", sizeof "visitor");
    say(x, v, frame, edge_hello_encode(&hello, frame, sizeof frame));
    v->stage = LOGS_IN;
}

static void say_proof(struct sim_visitor *x, struct visit *v, const struct edge_welcome *w)
{
    static const uint8_t no_binding[32];
    const struct sim_edge_key *key = sim_edge_key(v->key);
    uint8_t message[EDGE_SIGNED_SIZE], frame[FRAME_MAX];
    struct edge_prove prove;
    if (v->key == SIM_EDGE_NOBODY)
        return;
    edge_signed(w, key->public_key, no_binding, message);
    sim_edge_sign((void *)(uintptr_t)key, message, prove.signature);
    say(x, v, frame, edge_prove_encode(&prove, frame, sizeof frame));
}

/* ---- what it is told ------------------------------------------------------------------------- */

static bool wants(const struct sim *s, const struct visit *v, uint32_t branch, uint32_t topic,
                  uint64_t seq)
{
    uint32_t length;
    const char *path = sim_check_path(s, branch, topic, &length);
    for (uint32_t i = 0; path != NULL && i < v->wants_count; i++) {
        const struct want *w = &v->wants[i];
        const char *subtree = all_subtrees[w->subtree];
        if (seq < w->from_seq || seq >= w->end_seq)
            continue;
        if (strcmp(subtree, "/") == 0 ? !topic_in_subtree(path, length, "/sys", 4)
                                      : topic_in_subtree(path, length, subtree, strlen(subtree)))
            return true;
    }
    return false;
}

static uint64_t missing(struct sim *s, const struct visit *v, uint32_t branch, uint64_t through)
{
    const struct sim_history *h = &s->history;
    for (uint64_t seq = v->seq + 1; seq <= through; seq++) {
        const struct sim_entry *e = sim_history_at(h, branch, seq);
        if (e != NULL && sim_check_is_delivered(h, branch, seq) &&
            wants(s, v, branch, e->topic, seq) &&
            sim_check_may_read(s, branch, v->key, e->topic, seq).always)
            return seq;
    }
    return 0;
}

static bool is_stable(const struct sim_history *h, uint32_t branch, uint64_t seq)
{
    return seq <= h->stable_seq &&
           sim_history_owner(h, branch, seq) == sim_history_owner(h, h->stable_branch, seq);
}

static struct epoch epoch_at(const struct visit *v, uint64_t seq)
{
    return seq < v->epoch_seq ? v->older : v->epoch;
}

static void set_epoch(struct visit *v, struct epoch epoch, uint64_t first_seq)
{
    v->older = v->epoch;
    v->epoch = epoch;
    v->epoch_seq = first_seq;
}

/* It has everything through here, on a history that goes on from where it was. */
static void comes_to(struct sim_visitor *x, struct visit *v, uint64_t seq)
{
    struct sim *s = x->sim;
    const struct sim_history *h = &s->history;
    struct position p = { epoch_at(v, seq), seq };
    uint32_t branch = sim_history_branch(h, p.epoch);
    if (branch == SIM_NONE || !sim_history_has(h, branch, p)) {
        sim_violate(s, SIM_VIEWS, "%s is told of %lu of epoch %u, which was never there",
                    x->node->name, seq, p.epoch.number);
        return;
    }
    if (v->branch != SIM_NONE && v->branch != branch &&
        sim_history_common(h, v->branch, v->seq, branch) < v->seq)
        sim_violate(s, SIM_VIEWS, "%s has %lu of another history, and is not told", x->node->name,
                    seq);
    if (v->request.level == EDGE_STABLE && !is_stable(h, branch, seq))
        sim_violate(s, SIM_VIEWS, "%s, at stable, is told of %lu, which is not", x->node->name,
                    seq);
    v->branch = branch;
    if (v->seq < seq)
        v->seq = seq;
    x->places[x->place_count++ % PLACES] = p;
}

static void on_message(struct sim_visitor *x, struct visit *v, const struct edge_message *m)
{
    struct sim *s = x->sim;
    const struct sim_history *h = &s->history;
    uint32_t branch = sim_history_branch(h, epoch_at(v, m->seq));
    const struct sim_entry *e = branch != SIM_NONE ? sim_history_at(h, branch, m->seq) : NULL;
    struct cantus_message same = { .payload = m->payload, .length = m->length };
    if (v->stage != READS || e == NULL || e->topic != m->topic ||
        e->timestamp_ns != m->timestamp_ns || !sim_check_is_delivered(h, branch, m->seq) ||
        !sim_check_same_bytes(h, branch, m->seq, &same)) {
        sim_violate(s, SIM_VIEWS, "%s is sent other bytes for %lu than were sequenced",
                    x->node->name, m->seq);
        return;
    }
    uint64_t lacks = missing(s, v, branch, m->seq - 1);
    if (m->seq <= v->seq || lacks != 0)
        sim_violate(s, SIM_VIEWS, "%s is sent %lu after %lu, and not %lu", x->node->name, m->seq,
                    v->seq, lacks);
    if (!wants(s, v, branch, m->topic, m->seq))
        sim_violate(s, SIM_VIEWS, "%s is sent %lu, which it did not ask for", x->node->name,
                    m->seq);
    if (!sim_check_may_read(s, branch, v->key, m->topic, m->seq).ever)
        sim_violate(s, SIM_READERS, "%s is sent %lu, on topic %u, and may not read it",
                    x->node->name, m->seq, m->topic);
    comes_to(x, v, m->seq);
}

static void on_progress(struct sim_visitor *x, struct visit *v, const struct edge_progress *p)
{
    struct sim *s = x->sim;
    uint32_t branch = sim_history_branch(&s->history, epoch_at(v, p->through));
    uint64_t lacks = branch != SIM_NONE ? missing(s, v, branch, p->through) : 0;
    if (v->stage != READS || p->through < v->seq || lacks != 0)
        sim_violate(s, SIM_VIEWS, "%s is told that it has everything through %lu, and has not %lu",
                    x->node->name, p->through, lacks);
    comes_to(x, v, p->through);
}

static void on_changed(struct sim_visitor *x, struct visit *v, uint64_t seq)
{
    struct want *w = find_want(v, v->changed);
    if (!v->changes || seq <= v->seq)
        sim_violate(x->sim, SIM_VIEWS, "%s, at %lu, is told of a change from %lu on", x->node->name,
                    v->seq, seq);
    else if (w != NULL)
        w->end_seq = seq;
    else
        v->wants[v->wants_count++] =
            (struct want) { .subtree = v->changed, .from_seq = seq, .end_seq = UINT64_MAX };
    v->changes = false;
}

/* What CHANGED has said holds on, though its record falls. */
static void go_back(struct visit *v, uint64_t common_seq)
{
    for (uint32_t i = 0; i < v->wants_count; i++) {
        struct want *w = &v->wants[i];
        if (w->from_seq > common_seq + 1)
            w->from_seq = common_seq + 1;
        if (w->end_seq != UINT64_MAX && w->end_seq > common_seq + 1)
            w->end_seq = common_seq + 1;
    }
    if (v->seq > common_seq)
        v->seq = common_seq;
}

/* The first message behind this seq that is one: no fragment but the last, and not cut off by an epoch. */
static const struct sim_entry *next_message(const struct sim_history *h, uint32_t branch,
                                            uint64_t seq)
{
    const struct sim_entry *e;
    do {
        e = sim_history_at(h, branch, ++seq);
    } while (e != NULL && (e->flags & (MESSAGE_FRAGMENT | MESSAGE_MORE)) != 0 &&
             !sim_check_is_delivered(h, branch, seq));
    return e;
}

/* Whether there is a history on which this position is in front of the first message stamped so or later. */
static bool begins_at_time(const struct sim_history *h, struct position p, uint64_t time_ns)
{
    for (uint32_t i = 0; i < h->branch_count; i++) {
        const struct sim_entry *last = p.seq > 0 ? sim_history_at(h, i, p.seq) : NULL;
        const struct sim_entry *next = next_message(h, i, p.seq);
        bool whole = last == NULL || (last->flags & (MESSAGE_FRAGMENT | MESSAGE_MORE)) == 0 ||
                     sim_check_is_delivered(h, i, p.seq);
        if (sim_history_has(h, i, p) && whole && (last == NULL || last->timestamp_ns < time_ns) &&
            next != NULL && next->timestamp_ns >= time_ns)
            return true;
    }
    return false;
}

static void on_subscribed(struct sim_visitor *x, struct visit *v, struct position p)
{
    struct sim *s = x->sim;
    const struct sim_history *h = &s->history;
    uint32_t branch = p.seq == 0 ? 0 : sim_history_branch(h, p.epoch);
    const struct edge_subscribe *r = &v->request;
    bool sound = v->stage == ASKS && branch != SIM_NONE && sim_history_has(h, branch, p);
    if (sound && r->from == EDGE_FROM_POSITION)
        sound = v->forked ? p.seq == v->seq && epoch_equal(p.epoch, v->epoch)
                          : p.seq == r->position.seq &&
                                (p.seq == 0 || epoch_equal(p.epoch, r->position.epoch));
    if (sound && r->from == EDGE_FROM_TIP && epoch_equal(p.epoch, v->tip.epoch))
        sound = p.seq > v->tip.seq;
    if (sound && r->from == EDGE_FROM_TIME)
        sound = begins_at_time(h, p, r->time_ns);
    if (!sound)
        sim_violate(s, SIM_VIEWS, "%s, which asked for %s, begins behind %lu of epoch %u",
                    x->node->name,
                    r->from == EDGE_FROM_TIP    ? "the tip"
                    : r->from == EDGE_FROM_TIME ? "a time"
                                                : "a position",
                    p.seq, p.epoch.number);
    v->stage = READS;
    set_epoch(v, p.epoch, 0);
    v->seq = p.seq;
    v->branch = p.seq == 0 ? SIM_NONE : branch;
}

/* What it has, or asked for, holds through `common`, and so does the history that it is on. */
static void on_forked(struct sim_visitor *x, struct visit *v, struct position common)
{
    struct sim *s = x->sim;
    const struct sim_history *h = &s->history;
    struct position at = { epoch_at(v, v->seq), v->seq };
    if (v->stage == ASKS)
        at = v->request.position;
    uint32_t branch = v->stage == ASKS ? sim_history_branch(h, at.epoch) : v->branch;
    uint32_t other = sim_history_branch(h, common.epoch);
    bool sound = common.seq == 0 || (other != SIM_NONE && sim_history_has(h, other, common));
    if (sound && common.seq != 0 && common.seq <= at.seq && branch != SIM_NONE)
        sound = sim_history_has(h, branch, common);
    if (!sound || (v->stage == ASKS && v->request.from != EDGE_FROM_POSITION) || v->stage < ASKS)
        sim_violate(s, SIM_VIEWS, "%s, at %lu, is told FORKED behind %lu, which it has not",
                    x->node->name, at.seq, common.seq);
    v->forked = v->forked || v->stage == ASKS;
    set_epoch(v, common.epoch, 0);
    if (v->stage == ASKS)
        v->seq = common.seq;
    go_back(v, common.seq);
    v->branch = common.seq == 0 || v->stage == ASKS ? SIM_NONE : other;
}

static void on_frame(struct sim_visitor *x, struct visit *v, enum edge_type type,
                     const uint8_t *body, size_t length)
{
    struct edge_welcome welcome;
    struct edge_accepted accepted;
    struct edge_subscribed subscribed;
    struct edge_epoch epoch;
    struct edge_message message;
    struct edge_progress progress;
    struct edge_forked forked;
    struct edge_changed changed;
    if (type == EDGE_WELCOME && edge_welcome_decode(body, length, &welcome)) {
        say_proof(x, v, &welcome);
    } else if (type == EDGE_ACCEPTED && edge_accepted_decode(body, length, &accepted)) {
        v->tip = accepted.tip;
        say_subscribe(x, v);
    } else if (type == EDGE_SUBSCRIBED && edge_subscribed_decode(body, length, &subscribed)) {
        on_subscribed(x, v, subscribed.position);
    } else if (type == EDGE_EPOCH && edge_epoch_decode(body, length, &epoch)) {
        set_epoch(v, epoch.epoch, epoch.first_seq);
    } else if (type == EDGE_MESSAGE && edge_message_decode(body, length, &message)) {
        on_message(x, v, &message);
    } else if (type == EDGE_PROGRESS && edge_progress_decode(body, length, &progress)) {
        on_progress(x, v, &progress);
    } else if (type == EDGE_FORKED && edge_forked_decode(body, length, &forked)) {
        on_forked(x, v, forked.common);
    } else if (type == EDGE_CHANGED && edge_changed_decode(body, length, &changed)) {
        on_changed(x, v, changed.seq);
    } else if (type == EDGE_REFUSED) {
        leave(x, v);
    } else if (type != EDGE_NAME && type != EDGE_CLOSING && type != EDGE_ALIVE) {
        sim_violate(x->sim, SIM_VIEWS, "%s is sent a frame of type %u that it can't be meant for",
                    x->node->name, type);
    }
}

/* Gathers them, for a frame may be longer than what a connection holds. */
static size_t on_bytes(struct sim_visitor *x, struct visit *v, const uint8_t *bytes, size_t length)
{
    uint32_t stream = v->stream;
    size_t at = 0;
    if (v->deaf_until_ns > x->sim->now)
        return 0;
    if (length > GATHERED_MAX - v->length)
        length = GATHERED_MAX - v->length;
    memcpy(v->gathered + v->length, bytes, length);
    v->length += length;
    while (v->stream == stream) {
        enum edge_type type;
        size_t frame = edge_frame_peek(v->gathered + at, v->length - at, &type);
        if (frame > GATHERED_MAX) {
            sim_violate(x->sim, SIM_VIEWS, "%s is sent what is no frame", x->node->name);
            break;
        }
        if (frame == 0 || frame > v->length - at)
            break;
        on_frame(x, v, type, v->gathered + at + EDGE_HEADER, frame - EDGE_HEADER);
        at += frame;
    }
    v->length -= at;
    memmove(v->gathered, v->gathered + at, v->length);
    return length;
}

static size_t on_stream(void *core, const struct port_stream_event *e, struct port_time now)
{
    struct sim_visitor *x = core;
    (void)now;
    for (uint32_t i = 0; i < VISITS; i++) {
        struct visit *v = &x->visits[i];
        if (v->stream != e->stream || v->stream == 0)
            continue;
        if (e->type == PORT_STREAM_BYTES)
            return on_bytes(x, v, e->bytes, e->length);
        if (e->type == PORT_STREAM_CLOSED)
            v->stream = 0;
        if (e->type == PORT_STREAM_CONNECTED)
            say_hello(x, v);
        return 0;
    }
    return e->length;
}

/* ---- what it does ---------------------------------------------------------------------------- */

static void begin(struct sim_visitor *x, struct visit *v)
{
    struct port *port = &x->node->port.port;
    struct port_addr proxies[EDGE_PROXIES_MAX];
    uint32_t proxy = (uint32_t)below(x, sim_edge_proxies(x->sim, proxies));
    *v = (struct visit) { .gathered = v->gathered, .branch = SIM_NONE };
    draw_request(x, v);
    v->stream = port->ops->stream_connect(port, proxies[proxy]);
}

static void act(struct sim_visitor *x, struct visit *v)
{
    struct sim *s = x->sim;
    if (v->stream == 0)
        begin(x, v);
    else if (below(x, LEAVES) == 0)
        leave(x, v);
    else if ((s->edge_extras & SIM_EDGE_CHANGES) != 0 && below(x, CHANGES) == 0)
        say_change(x, v);
    else if (below(x, DEAF) == 0)
        v->deaf_until_ns = s->now + sim_random_scale(&s->random, SIM_MS, 60 * SIM_MS);
}

static uint64_t step(void *core, struct port_time now)
{
    struct sim_visitor *x = core;
    struct sim *s = x->sim;
    if (now.mono_ns < x->next_ns)
        return x->next_ns;
    x->next_ns = now.mono_ns + sim_random_scale(&s->random, 100 * SIM_US, 4 * SIM_MS);
    if (s->quiet && x->quiet_seq == 0) {
        x->quiet_seq = s->history.stable_seq;
        for (uint32_t i = 0; i < VISITS; i++)
            x->visits[i].deaf_until_ns = 0;
    }
    if (s->edge_open && !s->quiet)
        act(x, &x->visits[below(x, VISITS)]);
    return x->next_ns;
}

bool sim_visitor_live(const struct sim_visitor *x, char *why, size_t capacity)
{
    for (uint32_t i = 0; i < VISITS; i++) {
        const struct visit *v = &x->visits[i];
        bool told = v->request.tick_ms == SLOW_TICK_MS || v->seq >= x->quiet_seq;
        if (v->stream == 0 || (v->stage == READS && told && !v->changes && x->quiet_seq != 0))
            continue;
        snprintf(why, capacity, "%s, visit %u, stage %d, is at %lu of %lu", x->node->name, i,
                 v->stage, v->seq, x->quiet_seq);
        return false;
    }
    return true;
}

static void on_datagrams(void *core, const struct port_datagram *datagrams, uint32_t count,
                         struct port_time now)
{
    (void)core;
    (void)datagrams;
    (void)count;
    (void)now;
}

static void on_disk(void *core, const struct disk_completion *completion, struct port_time now)
{
    (void)core;
    (void)completion;
    (void)now;
}

const struct participant_ops sim_visitor_participant = {
    .on_datagrams = on_datagrams, .on_stream = on_stream, .on_disk = on_disk, .step = step
};
