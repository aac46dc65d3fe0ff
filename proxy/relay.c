/* Publishers of sessions, the stream, forks. */
#include "proxy/relay_private.h"

#include <stdlib.h>

#include "proto/hash.h"

/* ---- memory ---------------------------------------------------------------------------------- */

static struct publisher_options options_of(const struct proxy_options *o)
{
    return (struct publisher_options) { .stream = o->stream,
                                        .window = o->window,
                                        .windows_kept = RELAY_WINDOWS_KEPT,
                                        .bytes_max = o->publisher_bytes,
                                        .datagram_max = o->datagram_max,
                                        .run_bytes_max = o->run_bytes_max,
                                        .releases_parts =
                                            (o->sabotage & PROXY_RELEASES_PARTS) != 0 };
}

static uint32_t count_of(const struct proxy_options *o, const struct publisher_sizes *sizes)
{
    uint64_t fit = o->relay_bytes / sizes->memory;
    uint64_t count = fit < o->publishers_max ? fit : o->publishers_max;
    return count > 0 ? (uint32_t)count : 1;
}

static uint32_t slots_for(uint32_t count)
{
    uint32_t slots = 64;
    while (slots < count)
        slots *= 2;
    return slots;
}

/* The sizes of all sessions' publishers: their datagrams are made in an outbox that they share. */
static struct publisher_sizes sizes_of(struct publisher_options options, const struct port *port)
{
    struct publisher_outbox shared = { 0 };
    options.outbox = &shared;
    return publisher_sizes(&options, port);
}

size_t relay_memory(const struct proxy_options *o, const struct port *port)
{
    struct publisher_sizes sizes = sizes_of(options_of(o), port);
    uint32_t count = count_of(o, &sizes);
    return sizeof(struct relay) + count * (sizeof(struct relay_publisher) + sizes.memory) +
           slots_for(count) * sizeof(uint32_t) +
           o->catalog.publishers_max *
               (sizeof(uint32_t) + sizeof(uint64_t) + sizeof(struct relay_rejected)) +
           RELAY_EXTRAS_MAX * sizeof(struct relay_extra) +
           RELAY_REJECTS_MAX * sizeof(struct relay_reject) +
           (size_t)RELAY_OUTBOX * sizes.datagram_max;
}

struct relay *relay_create(struct proxy *p)
{
    struct relay *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->p = p;
    r->options = options_of(&p->o);
    r->sizes = sizes_of(r->options, p->port);
    r->options.outbox = &r->outbox;
    r->max = count_of(&p->o, &r->sizes);
    r->free = r->first_busy = RELAY_NONE;
    r->identity_mask = slots_for(r->max) - 1;
    r->identity_secret = proxy_draw64(p, "identities");
    r->publishers = calloc(r->max, sizeof *r->publishers);
    r->slabs = aligned_alloc(64, r->max * r->sizes.memory);
    r->by_id = malloc(p->o.catalog.publishers_max * sizeof *r->by_id);
    r->by_identity = malloc((r->identity_mask + 1) * sizeof *r->by_identity);
    r->extra_numbers = calloc(p->o.catalog.publishers_max, sizeof *r->extra_numbers);
    r->extras = calloc(RELAY_EXTRAS_MAX, sizeof *r->extras);
    r->rejected = calloc(p->o.catalog.publishers_max, sizeof *r->rejected);
    r->rejects = malloc(RELAY_REJECTS_MAX * sizeof *r->rejects);
    r->own_memory = aligned_alloc(64, relay_own_memory(r));
    r->outbox.max = RELAY_OUTBOX;
    r->outbox.bytes = r->outbox_bytes = malloc((size_t)RELAY_OUTBOX * r->sizes.datagram_max);
    if (r->publishers == NULL || r->slabs == NULL || r->by_id == NULL || r->by_identity == NULL ||
        r->extra_numbers == NULL || r->extras == NULL || r->rejected == NULL ||
        r->rejects == NULL || r->outbox_bytes == NULL || r->own_memory == NULL) {
        relay_destroy(r);
        return NULL;
    }
    relay_open_own(r);
    memset(r->by_id, 0xff, p->o.catalog.publishers_max * sizeof *r->by_id);
    memset(r->by_identity, 0xff, (r->identity_mask + 1) * sizeof *r->by_identity);
    return r;
}

void relay_destroy(struct relay *r)
{
    if (r == NULL)
        return;
    free(r->own_memory);
    free(r->publishers);
    free(r->slabs);
    free(r->by_id);
    free(r->by_identity);
    free(r->extra_numbers);
    free(r->extras);
    free(r->rejected);
    free(r->rejects);
    free(r->outbox_bytes);
    free(r);
}

void relay_limits(const struct relay *r, struct edge_accepted *out)
{
    out->fragment_bytes = r->sizes.fragment_bytes;
    out->window = r->options.window;
    out->payload_max = r->sizes.item_max;
}

/* ---- chains ---------------------------------------------------------------------------------- */

static struct relay_publisher *at(const struct relay *r, uint32_t index)
{
    return index == RELAY_NONE ? NULL : &r->publishers[index];
}

static uint32_t *identity_chain(struct relay *r, const char *identity)
{
    uint64_t hash = hash64(identity, strlen(identity), r->identity_secret);
    return &r->by_identity[hash & r->identity_mask];
}

void relay_follow_id(struct relay_publisher *q)
{
    struct relay *r = q->relay;
    uint32_t id = publisher_join_seq(q->publisher) != 0 ? publisher_id(q->publisher) : 0;
    if (id == q->id)
        return;
    if (q->id != 0) {
        uint32_t *link = &r->by_id[q->id];
        while (*link != q->index)
            link = &r->publishers[*link].next_of_id;
        *link = q->next_of_id;
    }
    q->id = id;
    if (id == 0)
        return;
    q->next_of_id = r->by_id[id];
    r->by_id[id] = q->index;
}

/* Its join is there for good. */
static bool is_settled(const struct relay_publisher *q)
{
    const struct proxy *p = q->relay->p;
    return proxy_is_volatile(p) || publisher_join_seq(q->publisher) <= p->stable;
}

struct relay_publisher *relay_find(const struct session *s, uint32_t publisher_id)
{
    const struct relay *r = s->all->p->relay;
    struct relay_publisher *q = at(r, s->first_publisher);
    while (q != NULL && (q->id != publisher_id || !q->opened))
        q = at(r, q->next_of_session);
    return q != NULL && is_settled(q) ? q : NULL;
}

struct relay_publisher *relay_find_identity(const struct session *s, const char *identity)
{
    const struct relay *r = s->all->p->relay;
    struct relay_publisher *q = at(r, s->first_publisher);
    while (q != NULL && strcmp(publisher_identity(q->publisher), identity) != 0)
        q = at(r, q->next_of_session);
    return q;
}

static void become_busy(struct relay_publisher *q)
{
    struct relay *r = q->relay;
    if (q->busy)
        return;
    q->busy = true;
    q->previous = RELAY_NONE;
    q->next = r->first_busy;
    if (q->next != RELAY_NONE)
        r->publishers[q->next].previous = q->index;
    r->first_busy = q->index;
}

static void become_idle(struct relay_publisher *q)
{
    struct relay *r = q->relay;
    if (!q->busy)
        return;
    q->busy = false;
    *(q->previous == RELAY_NONE ? &r->first_busy : &r->publishers[q->previous].next) = q->next;
    if (q->next != RELAY_NONE)
        r->publishers[q->next].previous = q->previous;
}

/* ---- publishers ------------------------------------------------------------------------------ */

static void count_kept(struct relay_publisher *q, uint64_t kept)
{
    struct relay *r = q->relay;
    struct limiter *l = r->p->limiter;
    if (kept > q->kept)
        limiter_add(l, q->session->account, LIMITER_INFLIGHT_BYTES, kept - q->kept);
    else
        limiter_subtract(l, q->session->account, LIMITER_INFLIGHT_BYTES, q->kept - kept);
    r->kept += kept - q->kept;
    q->kept = kept;
}

void relay_touch(struct relay_publisher *q)
{
    if (q->over)
        return;
    count_kept(q, publisher_kept_bytes(q->publisher));
    q->deadline_ns = 0;
    become_busy(q);
}

/* Rejects cost what messages cost. What became of it the client's reader tells. */
static void on_outcome(void *ctx, const struct publisher_outcome *o)
{
    struct relay_publisher *q = ctx;
    struct proxy *p = q->relay->p;
    if (o->rejected != 0)
        limiter_charge(p->limiter, q->session->account, SYS_EDGE_SIZE_MAX, p->now.mono_ns);
}

struct relay_publisher *relay_take(struct relay *r, struct session *s,
                                   const struct publisher_options *options)
{
    uint32_t index = r->free;
    if (index != RELAY_NONE)
        r->free = r->publishers[index].next;
    else if (r->high < r->max)
        index = r->high++;
    else
        return NULL;
    r->used++;
    struct relay_publisher *q = &r->publishers[index];
    *q = (struct relay_publisher) { .relay = r, .session = s, .index = index };
    q->publisher = publisher_place(r->slabs + index * r->sizes.memory, options, r->p->port,
                                   r->p->counters, on_outcome, q);
    publisher_on_stable(q->publisher, r->p->stable);
    uint32_t *chain = identity_chain(r, options->identity);
    q->next_of_identity = *chain;
    *chain = index;
    q->next_of_session = s->first_publisher;
    s->first_publisher = index;
    s->publishers++;
    limiter_add(r->p->limiter, s->account, LIMITER_PUBLISHERS, 1);
    relay_touch(q);
    return q;
}

void relay_drop(struct relay_publisher *q)
{
    struct relay *r = q->relay;
    struct session *s = q->session;
    count_kept(q, 0);
    limiter_subtract(r->p->limiter, s->account, LIMITER_PUBLISHERS, 1);
    become_idle(q);
    if (q->id != 0) {
        uint32_t *link = &r->by_id[q->id];
        while (*link != q->index)
            link = &r->publishers[*link].next_of_id;
        *link = q->next_of_id;
    }
    uint32_t *link = identity_chain(r, publisher_identity(q->publisher));
    while (*link != q->index)
        link = &r->publishers[*link].next_of_identity;
    *link = q->next_of_identity;
    link = &s->first_publisher;
    while (*link != q->index)
        link = &r->publishers[*link].next_of_session;
    *link = q->next_of_session;
    s->publishers--;
    if (q->opened && s->reader != NULL)
        reader_disown(s->reader, q->id);
    q->session = NULL;
    q->next = r->free;
    r->free = q->index;
    r->used--;
}

void relay_close(struct relay *r, struct session *s)
{
    while (s->first_publisher != SESSION_NONE)
        relay_drop(at(r, s->first_publisher));
    relay_topic_forget(r, s);
}

/* ---- what sessions are told ------------------------------------------------------------------ */

/* Directly behind the join: it, and what comes behind it, waits until that is there for good. */
static void insert(struct relay_publisher *q, uint64_t seq, const uint8_t *frame, size_t length)
{
    bool settles = !proxy_is_volatile(q->relay->p);
    assert(length > 0 && length <= READER_FRAME_MAX);
    if (!reader_insert(q->session->reader, seq, settles, frame, length))
        session_doom(q->session, EDGE_CLOSING_SLOW);
}

/* In front of OPENED: what has an outcome and is not said to be rejected was sequenced. */
static void say_rejects(struct relay_publisher *q, uint64_t seq, uint64_t *unknown_through)
{
    struct edge_outcome told[RELAY_REJECTS_TOLD];
    uint8_t frame[READER_FRAME_MAX];
    uint32_t count =
        relay_rejects_of(q->relay, publisher_id(q->publisher), q->known, told, unknown_through);
    for (uint32_t i = 0; i < count; i++)
        insert(q, seq, frame, edge_outcome_encode(&told[i], frame, sizeof frame));
}

static void say_opened(struct relay_publisher *q)
{
    const struct publisher *publisher = q->publisher;
    uint8_t frame[READER_FRAME_MAX];
    uint64_t seq = publisher_join_seq(publisher);
    struct edge_opened opened = { .publisher = publisher_id(publisher),
                                  .incarnation = publisher_incarnation(publisher),
                                  .last_number = publisher_next_number(publisher) - 1,
                                  .join_seq = seq };
    opened.items = opened.last_number - q->relay->extra_numbers[opened.publisher];
    q->opened = true;
    if (!reader_own(q->session->reader, opened.publisher, seq)) {
        session_doom(q->session, EDGE_CLOSING_QUOTA);
        return;
    }
    say_rejects(q, seq, &opened.unknown_through);
    insert(q, seq, frame, edge_opened_encode(&opened, frame, sizeof frame));
}

static void say_superseded(struct relay_publisher *q, uint64_t seq)
{
    struct relay *r = q->relay;
    const char *identity = publisher_identity(q->publisher);
    uint32_t id = catalog_publisher_find(r->p->catalog, identity);
    uint8_t frame[READER_FRAME_MAX];
    if (id == 0)
        return;
    struct edge_superseded superseded = {
        .publisher = id,
        .incarnation = catalog_publisher(r->p->catalog, id)->incarnation,
        .join_seq = seq,
    };
    q->superseded = true;
    proxy_count(r->p, COUNTER_SUPERSEDED);
    reader_own_through(q->session->reader, id, seq);
    insert(q, seq, frame, edge_superseded_encode(&superseded, frame, sizeof frame));
}

void relay_tell(struct relay_publisher *q)
{
    const struct publisher *publisher = q->publisher;
    if (!q->opened && !q->superseded && publisher_join_seq(publisher) != 0)
        say_opened(q);
    else if (!q->superseded && publisher_superseded_seq(publisher) != 0)
        say_superseded(q, publisher_superseded_seq(publisher));
}

/* ---- the stream ------------------------------------------------------------------------------ */

/* Those of this identity: who asked for it, and whom it supersedes. */
static void on_join(struct relay *r, const struct message *m)
{
    struct sys_join j;
    publisher_on_message(r->own, m, r->p->now);
    r->own_deadline_ns = 0;
    if (!sys_join_decode(m->payload, m->length, &j))
        return;
    uint32_t next;
    for (uint32_t i = *identity_chain(r, j.identity); i != RELAY_NONE; i = next) {
        struct relay_publisher *q = at(r, i);
        next = q->next_of_identity;
        if (strcmp(publisher_identity(q->publisher), j.identity) != 0)
            continue;
        publisher_on_message(q->publisher, m, r->p->now);
        relay_follow_id(q);
        relay_touch(q);
        relay_tell(q);
    }
}

void relay_message(struct relay *r, const struct run_message *m)
{
    const struct message *message = &m->message;
    if (message->publisher == 0) {
        if (message->topic == TOPIC_JOIN)
            on_join(r, message);
        return;
    }
    if (message->publisher == publisher_id(r->own)) {
        publisher_on_message(r->own, message, r->p->now);
        r->own_deadline_ns = 0;
        return;
    }
    if (message->publisher >= r->p->o.catalog.publishers_max)
        return;
    if (m->fragments > 1 || message->topic == TOPIC_REJECT)
        relay_count_extra(r, m);
    if (message->topic == TOPIC_REJECT)
        relay_note_reject(r, message);
    struct relay_publisher *q = at(r, r->by_id[message->publisher]);
    for (; q != NULL; q = at(r, q->next_of_id)) {
        publisher_on_message(q->publisher, message, r->p->now);
        relay_touch(q);
    }
}

void relay_stable(struct relay *r, uint64_t stable)
{
    publisher_on_stable(r->own, stable);
    r->own_deadline_ns = 0;
    relay_settle_extras(r, stable);
    relay_settle_rejects(r, stable);
    uint32_t next;
    for (uint32_t i = r->first_busy; i != RELAY_NONE; i = next) {
        struct relay_publisher *q = at(r, i);
        next = q->next;
        publisher_on_stable(q->publisher, stable);
        relay_touch(q);
        relay_tell(q);
    }
}

static void fork_one(struct relay_publisher *q, struct position common)
{
    uint64_t next = publisher_next_number(q->publisher);
    publisher_on_fork(q->publisher, common);
    q->voids = q->voids || publisher_next_number(q->publisher) < next;
    q->group = publisher_open_group(q->publisher, &q->group_bytes);
    if (publisher_join_seq(q->publisher) == 0 && q->opened) {
        reader_disown(q->session->reader, q->id);
        q->opened = false;
    }
    if (publisher_superseded_seq(q->publisher) == 0)
        q->superseded = false;
    relay_follow_id(q);
    relay_touch(q);
}

void relay_fork(struct relay *r, struct position common)
{
    relay_fork_extras(r, common.seq);
    relay_fork_rejects(r, common.seq);
    if (common.seq == 0) {
        /* What it has said so far may still be there: it joins anew. */
        relay_open_own(r);
    } else {
        publisher_on_fork(r->own, common);
        r->own_deadline_ns = 0;
    }
    for (uint32_t i = 0; i < r->high; i++)
        if (r->publishers[i].session != NULL)
            fork_one(&r->publishers[i], common);
}

void relay_hint(struct relay *r, const struct hint *h)
{
    if (h->reason == HINT_TOPIC_REFUSED) {
        relay_topic_hint(r, h);
        return;
    }
    struct epoch heard = follower_heard(r->p->follower);
    publisher_on_hint(r->own, h, heard, r->p->now);
    r->own_deadline_ns = 0;
    if (h->publisher >= r->p->o.catalog.publishers_max)
        return;
    struct relay_publisher *q = at(r, r->by_id[h->publisher]);
    for (; q != NULL; q = at(r, q->next_of_id)) {
        publisher_on_hint(q->publisher, h, heard, r->p->now);
        q->deadline_ns = 0;
        become_busy(q);
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

static void retire(struct relay_publisher *q)
{
    count_kept(q, 0);
    become_idle(q);
    q->over = true;
}

static void step_one(struct relay_publisher *q, uint64_t *deadline)
{
    struct proxy *p = q->relay->p;
    if (q->deadline_ns <= p->now.mono_ns)
        q->deadline_ns = publisher_step(q->publisher, p->catalog, p->live, p->now);
    if (q->deadline_ns < *deadline)
        *deadline = q->deadline_ns;
    if (publisher_is_idle(q->publisher) && q->opened && publisher_superseded_seq(q->publisher) == 0)
        become_idle(q);
    if (publisher_state(q->publisher) != PUBLISHER_SUPERSEDED)
        return;
    if (!q->superseded)
        relay_tell(q);
    else
        retire(q);
}

/* Nobody joins before that, and in a volatile stream nothing else comes that would remind them. */
static void go_live(struct relay *r)
{
    r->live = r->p->live;
    if (!r->live)
        return;
    r->own_deadline_ns = 0;
    for (uint32_t i = r->first_busy; i != RELAY_NONE; i = r->publishers[i].next)
        r->publishers[i].deadline_ns = 0;
}

uint64_t relay_step(struct relay *r)
{
    struct proxy *p = r->p;
    if (r->live != p->live)
        go_live(r);
    uint64_t deadline = relay_topic_step(r);
    r->outbox.count = 0;
    if (r->own_deadline_ns <= p->now.mono_ns)
        r->own_deadline_ns = publisher_step(r->own, p->catalog, p->live, p->now);
    relay_present(r);
    if (r->own_deadline_ns < deadline)
        deadline = r->own_deadline_ns;
    uint32_t next;
    for (uint32_t i = r->first_busy; i != RELAY_NONE; i = next) {
        next = r->publishers[i].next;
        step_one(&r->publishers[i], &deadline);
    }
    return deadline;
}

uint32_t relay_publishers(const struct relay *r)
{
    return r->used;
}

uint64_t relay_kept_bytes(const struct relay *r)
{
    return r->kept;
}
