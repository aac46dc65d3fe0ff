/* What a publisher knows and keeps. How it is given items is in publisher_push.c, how it sends in publisher_send.c. */
#include "libclient/publisher_private.h"

#include <stdlib.h>

#include "proto/ledger.h"
#include "proto/topic.h"

static void defaults(struct publisher_options *o, const struct port *port)
{
    if (o->window == 0)
        o->window = 1024;
    if (o->windows_kept == 0)
        o->windows_kept = PUBLISHER_WINDOWS_KEPT;
    if (o->bytes_max == 0)
        o->bytes_max = 4 << 20;
    if (o->datagram_max == 0)
        o->datagram_max = WIRE_DATAGRAM_DEFAULT;
    if (port->datagram_max != 0 && port->datagram_max < o->datagram_max)
        o->datagram_max = port->datagram_max;
    if (o->run_bytes_max == 0)
        o->run_bytes_max = RUN_BYTES_DEFAULT;
    if (o->resend_min_ns == 0)
        o->resend_min_ns = 300 * 1000;
    if (o->resend_max_ns == 0)
        o->resend_max_ns = 100 * 1000 * 1000;
    if (o->resend_max_ns < o->resend_min_ns)
        o->resend_max_ns = o->resend_min_ns;
}

/* A fragment must fit a datagram of proposals with a condition, and later a batch. */
static uint32_t fragment_max(uint32_t datagram_max)
{
    uint32_t proposal = PROPOSAL_HEADER_SIZE + PROPOSAL_ENTRY_SIZE + PROPOSAL_CONDITION_SIZE;
    uint32_t batch = BATCH_HEADER_SIZE + MESSAGE_HEADER_SIZE;
    uint32_t fits = datagram_max - (proposal > batch ? proposal : batch);
    return fits < MESSAGE_PAYLOAD_MAX ? fits : MESSAGE_PAYLOAD_MAX;
}

/* So that a place in the ring costs no division. */
static uint64_t power_of_two(uint64_t n)
{
    uint64_t power = 1;
    while (power < n)
        power *= 2;
    return power;
}

/* Where the parts lie in the one block. */
struct layout {
    size_t entries, rests, bytes, datagrams, size;
};

static size_t aligned(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static struct layout layout_of(const struct publisher_options *o)
{
    struct layout l = { .entries = aligned(sizeof(struct publisher)) };
    size_t entries = (size_t)o->window * o->windows_kept;
    l.rests = aligned(l.entries + entries * sizeof(struct publisher_entry));
    l.bytes = aligned(l.rests + entries * sizeof(struct publisher_rest));
    l.datagrams = aligned(l.bytes + power_of_two(o->bytes_max));
    l.size = l.datagrams;
    if (o->outbox == NULL && !o->by_proxy)
        l.size = aligned(l.datagrams + (size_t)PUBLISHER_STEP_DATAGRAMS * o->datagram_max);
    return l;
}

struct publisher_sizes publisher_sizes(const struct publisher_options *options,
                                       const struct port *port)
{
    struct publisher_options o = *options;
    defaults(&o, port);
    struct publisher p = { .options = o, .fragment_max = fragment_max(o.datagram_max) };
    return (struct publisher_sizes) { .memory = layout_of(&o).size,
                                      .datagram_max = o.datagram_max,
                                      .fragment_bytes = p.fragment_max,
                                      .item_max = publisher_find_item_max(&p) };
}

struct publisher *publisher_place(void *memory, const struct publisher_options *options,
                                  struct port *port, uint64_t counters[COUNTER_END],
                                  void (*outcome)(void *ctx, const struct publisher_outcome *o),
                                  void *ctx)
{
    struct publisher *p = memory;
    *p = (struct publisher) { .options = *options };
    defaults(&p->options, port);
    assert((p->options.window & (p->options.window - 1)) == 0);
    assert((p->options.windows_kept & (p->options.windows_kept - 1)) == 0);
    assert(!p->options.takes_runs || !p->options.by_proxy);
    struct layout l = layout_of(&p->options);
    p->port = port;
    p->counters = counters;
    p->outcome = outcome;
    p->ctx = ctx;
    p->state = PUBLISHER_WAITING;
    p->base = p->done = p->sent = p->next = 1;
    p->burst = 1;
    p->round_trip_new_ns = UINT64_MAX;
    p->fragment_max = fragment_max(p->options.datagram_max);
    p->item_max = publisher_find_item_max(p);
    p->bytes_mask = power_of_two(p->options.bytes_max) - 1;
    p->entries_max = p->options.window * p->options.windows_kept;
    /* Each entry is written whole when it is pushed, and not read before. */
    p->entries = (struct publisher_entry *)(void *)((uint8_t *)memory + l.entries);
    p->rests = (struct publisher_rest *)(void *)((uint8_t *)memory + l.rests);
    p->bytes = (uint8_t *)memory + l.bytes;
    p->own_outbox.bytes = (uint8_t *)memory + l.datagrams;
    p->own_outbox.max = PUBLISHER_STEP_DATAGRAMS;
    p->outbox = options->outbox != NULL ? options->outbox : &p->own_outbox;
    return p;
}

struct publisher *publisher_create(const struct publisher_options *options, struct port *port,
                                   uint64_t counters[COUNTER_END],
                                   void (*outcome)(void *ctx, const struct publisher_outcome *o),
                                   void *ctx)
{
    void *memory = aligned_alloc(64, publisher_sizes(options, port).memory);
    return memory != NULL ? publisher_place(memory, options, port, counters, outcome, ctx) : NULL;
}

void publisher_destroy(struct publisher *p)
{
    free(p);
}

/* ---- the stream ------------------------------------------------------------------------------ */

/* The last number of the run that this one is of, as far as there are numbers. */
static uint64_t run_last(const struct publisher *p, uint64_t number)
{
    while (number + 1 < p->next && (publisher_entry(p, number)->flags & MESSAGE_MORE) != 0)
        number++;
    return number;
}

/* Nothing is kept: the ring is used from its beginning again, so that the longest item fits. */
static void forget_bytes(struct publisher *p)
{
    p->bytes_head = (p->bytes_head + p->bytes_mask) & ~p->bytes_mask;
    p->bytes_tail = p->bytes_head;
    p->open.numbers = 0;
}

/* Of numbers from `base` on that lie alike, how many may go: outcomes come in their order, so the last of them tells
 * of all. */
static uint64_t releasable_alike(const struct publisher *p)
{
    uint64_t some = p->done - p->base;
    some = some < PUBLISHER_ALIKE_MAX ? some : PUBLISHER_ALIKE_MAX;
    for (; some > 0; some /= 2) {
        const struct publisher_entry *last = publisher_entry(p, p->base + some - 1);
        if (last->alike >= some && (p->is_volatile || last->outcome_seq <= p->stable))
            break;
    }
    return some;
}

/* A run is stable when all of it is: an epoch that cuts it off voids what was stable of it, too. */
static void release(struct publisher *p)
{
    const uint64_t began = p->base;
    while (p->base < p->done) {
        const struct publisher_entry *e = publisher_entry(p, p->base);
        if (!p->is_volatile && e->outcome_seq > p->stable)
            break;
        if (e->alike != 0) {
            p->base += releasable_alike(p);
            continue;
        }
        uint64_t last = run_last(p, p->base);
        if (last >= p->done ||
            (!p->is_volatile && publisher_entry(p, last)->outcome_seq > p->stable))
            break;
        p->base = last + 1;
    }
    if (p->base != began)
        p->released_seq = publisher_entry(p, p->base - 1)->outcome_seq;
    if (p->base == p->next)
        forget_bytes(p);
    else
        p->bytes_tail = publisher_begin(publisher_entry(p, p->base));
}

void publisher_restart_numbers(struct publisher *p, uint64_t last)
{
    p->base = p->done = p->sent = p->next = last + 1;
    p->released_seq = 0;
    forget_bytes(p);
    p->items_in_flight = 0;
    p->retries = 0;
    p->burst = 1;
    p->hinted = 0;
    p->retry_left = 0;
    p->retry_through = 0;
    p->hole_count = 0;
    p->partial_reject = 0;
}

static void on_join(struct publisher *p, const struct message *m)
{
    struct sys_join j;
    if (!sys_join_decode(m->payload, m->length, &j) ||
        strcmp(j.identity, p->options.identity) != 0 || p->state == PUBLISHER_SUPERSEDED)
        return;
    if (p->join_seq == 0) {
        if (j.nonce != p->options.nonce || j.incarnation < p->options.wanted)
            return;
        p->id = j.publisher;
        p->incarnation = j.incarnation;
        p->join_seq = m->seq;
        publisher_restart_numbers(p, j.last_publisher_seq);
    } else if (j.incarnation > p->incarnation && p->superseded_seq == 0) {
        p->superseded_seq = m->seq;
    }
}

/* The round trip is the least of what was seen lately. Every sample is too long rather than too
 * short: what was lost counts from its first sending, and what waited behind it waits with it. */
static void measure(struct publisher *p, const struct publisher_entry *e, uint64_t now_ns)
{
    if (e->first_sent_ns == 0 || now_ns < e->first_sent_ns)
        return;
    uint64_t sample = now_ns - e->first_sent_ns;
    if (sample < p->round_trip_new_ns)
        p->round_trip_new_ns = sample;
    if (p->round_trip_ns == 0 || sample < p->round_trip_ns)
        p->round_trip_ns = sample;
    if (now_ns == p->measured_ns)
        return;
    p->measured_ns = now_ns;
    if (++p->measured < PUBLISHER_SAMPLES)
        return;
    p->round_trip_ns = p->round_trip_new_ns;
    p->round_trip_new_ns = UINT64_MAX;
    p->measured = 0;
}

void publisher_conclude(struct publisher *p, uint64_t count, uint64_t seq, uint8_t rejected,
                        uint64_t now_ns)
{
    measure(p, publisher_entry(p, p->done), now_ns);
    if (!publisher_entry(p, p->done)->resent)
        p->burst = 1;
    p->retries = 0;
    for (uint64_t i = 0; i < count && p->done < p->next; i++) {
        struct publisher_entry *e = publisher_entry(p, p->done);
        e->outcome_seq = seq;
        p->counters[COUNTER_OUTCOMES]++;
        uint64_t number = p->done++;
        if (rejected != 0)
            p->partial_reject = rejected;
        if ((e->flags & MESSAGE_FRAGMENT) != 0)
            continue;
        struct publisher_outcome o = {
            .items = 1,
            .first_number = number + 1 - publisher_item_entries(p, number),
            .number = number,
            .seq = seq,
            .rejected = p->partial_reject,
            .topic = e->topic,
        };
        p->partial_reject = 0;
        assert(p->items_in_flight > 0);
        p->items_in_flight--;
        p->outcome(p->ctx, &o);
    }
    if (p->sent < p->done)
        p->sent = p->done;
    release(p);
}

/* Neighbours were sent together and come back together: only the first of them is a sample of the round
 * trip. */
static inline void sample(struct publisher *p, const struct publisher_entry *e, uint64_t now_ns)
{
    if (now_ns == p->measured_ns && e->first_sent_ns == p->measured_sent_ns)
        return;
    p->measured_sent_ns = e->first_sent_ns;
    measure(p, e, now_ns);
}

/* The same of one whole item in one message, which nearly all are. */
static void conclude_one(struct publisher *p, struct publisher_entry *e, uint64_t seq,
                         uint64_t now_ns)
{
    sample(p, e, now_ns);
    if (!e->resent)
        p->burst = 1;
    p->retries = 0;
    e->outcome_seq = seq;
    p->counters[COUNTER_OUTCOMES]++;
    struct publisher_outcome o = {
        .items = 1, .first_number = p->done, .number = p->done, .seq = seq, .topic = e->topic
    };
    p->done++;
    assert(p->items_in_flight > 0);
    p->items_in_flight--;
    p->outcome(p->ctx, &o);
    if (p->sent < p->done)
        p->sent = p->done;
    release(p);
}

static bool is_ours(const struct publisher *p, const struct message *m)
{
    const struct publisher_entry *e = publisher_entry(p, p->done);
    return e->begins && e->topic == m->topic && publisher_item_length(p, p->done) == m->length &&
           (m->length == 0 || memcmp(publisher_bytes(p, e->begin), m->payload, m->length) == 0);
}

void publisher_on_message(struct publisher *p, const struct message *m, struct port_time now)
{
    if (m->topic == TOPIC_JOIN && m->publisher == 0) {
        on_join(p, m);
        return;
    }
    if (p->join_seq == 0 || m->publisher != p->id || m->seq <= p->join_seq ||
        p->state == PUBLISHER_SUPERSEDED || p->superseded_seq != 0 || m->publisher_seq < p->done)
        return;
    if (m->publisher_seq != p->done || p->done == p->next) {
        p->mismatches++; /* this incarnation never gave it out: a broken stream */
        return;
    }
    if (m->topic == TOPIC_REJECT) {
        struct sys_reject r;
        if (sys_reject_decode(m->payload, m->length, &r))
            publisher_conclude(p, r.count, m->seq, r.reason, now.mono_ns);
        return;
    }
    if (!is_ours(p, m))
        p->mismatches++;
    uint32_t count = publisher_item_entries(p, p->done);
    if (count == 1 && p->partial_reject == 0)
        conclude_one(p, publisher_entry(p, p->done), m->seq, now.mono_ns);
    else
        publisher_conclude(p, count, m->seq, 0, now.mono_ns);
}

/* Whether `count` numbers from `done` lie in the ring as messages, one behind the other, and are so many bytes. */
static bool lie_alike(const struct publisher *p, size_t length, uint32_t count)
{
    for (uint32_t left = count; left > 0;) {
        uint32_t some = left < PUBLISHER_ALIKE_MAX ? left : PUBLISHER_ALIKE_MAX;
        if (publisher_entry(p, p->done + left - 1)->alike < some)
            return false;
        left -= some;
    }
    const struct publisher_entry *last = publisher_entry(p, p->done + count - 1);
    return last->begin + last->length - publisher_begin(publisher_entry(p, p->done)) == length;
}

/* The same as conclude_one of each, but for the one call that tells of all. */
static void conclude_run(struct publisher *p, uint32_t count, uint64_t first_seq, uint64_t now_ns)
{
    const uint64_t first = p->done;
    bool all_resent = true;
    for (uint32_t i = 0; i < count; i++) {
        struct publisher_entry *e = publisher_entry(p, first + i);
        sample(p, e, now_ns);
        e->outcome_seq = first_seq + i;
        all_resent = all_resent && e->resent;
    }
    if (!all_resent)
        p->burst = 1;
    p->retries = 0;
    p->counters[COUNTER_OUTCOMES] += count;
    p->done += count;
    if (p->sent < p->done)
        p->sent = p->done;
    assert(p->items_in_flight >= count);
    p->items_in_flight -= count;
    struct publisher_outcome o = { .items = count,
                                   .first_number = first,
                                   .number = p->done - 1,
                                   .seq = first_seq + count - 1,
                                   .topic = publisher_entry(p, p->done - 1)->topic };
    p->outcome(p->ctx, &o);
    release(p);
}

bool publisher_take_run(struct publisher *p, const uint8_t *bytes, size_t length, uint32_t count,
                        uint64_t first_seq, struct port_time now)
{
    if (p->join_seq == 0 || first_seq <= p->join_seq || p->state == PUBLISHER_SUPERSEDED ||
        p->superseded_seq != 0 || p->partial_reject != 0 || count == 0 ||
        count > p->next - p->done || !lie_alike(p, length, count))
        return false;
    const uint8_t *kept = publisher_bytes(p, publisher_begin(publisher_entry(p, p->done)));
    assert(kept + length <= p->bytes + p->bytes_mask + 1);
    if (memcmp(bytes, kept, length) != 0)
        return false;
    conclude_run(p, count, first_seq, now.mono_ns);
    return true;
}

void publisher_on_stable(struct publisher *p, uint64_t stable_seq)
{
    if (stable_seq > p->stable)
        p->stable = stable_seq;
    release(p);
}

uint32_t publisher_open_group(const struct publisher *p, uint32_t *bytes)
{
    uint64_t first = p->next;
    *bytes = 0;
    while (first > p->done && (publisher_entry(p, first - 1)->flags & MESSAGE_MORE) != 0)
        *bytes += publisher_entry(p, --first)->length;
    return (uint32_t)(p->next - first);
}

/* What was authored above `common`, on a position that is no more: of a group, all. */
static void take_back_fallen(struct publisher *p, struct position common)
{
    uint64_t fallen = p->done;
    while (fallen < p->next && publisher_entry(p, fallen)->position.seq <= common.seq)
        fallen++;
    while (!p->options.blind && fallen < p->next && fallen > p->done &&
           (publisher_entry(p, fallen - 1)->flags & MESSAGE_MORE) != 0)
        fallen--;
    if (p->options.blind) {
        for (; fallen < p->next; fallen++)
            if (publisher_entry(p, fallen)->position.seq > common.seq)
                publisher_entry(p, fallen)->position = common;
        return;
    }
    if (p->next > fallen && p->next > p->taken_back_end)
        p->taken_back_end = p->next;
    while (p->next > fallen) {
        const struct publisher_entry *e = publisher_entry(p, --p->next);
        if ((e->flags & MESSAGE_FRAGMENT) == 0)
            p->items_in_flight--;
        p->bytes_head = publisher_begin(e);
    }
}

uint32_t publisher_on_fork(struct publisher *p, struct position common)
{
    if (p->superseded_seq > common.seq && p->state != PUBLISHER_SUPERSEDED)
        p->superseded_seq = 0;
    uint32_t lost = 0;
    uint64_t lost_seq = 0;
    while (p->done > p->base && publisher_entry(p, p->done - 1)->outcome_seq > common.seq) {
        p->done--;
        struct publisher_entry *e = publisher_entry(p, p->done);
        lost += e->outcome_seq != lost_seq;
        lost_seq = e->outcome_seq;
        e->outcome_seq = 0;
        p->items_in_flight += (e->flags & MESSAGE_FRAGMENT) == 0;
    }
    if (p->join_seq > common.seq) {
        /* Only in a volatile stream: else the join was stable before anything was said. */
        p->join_seq = 0;
        p->id = 0;
        p->incarnation = 0;
        if (p->state != PUBLISHER_SUPERSEDED)
            p->state = PUBLISHER_WAITING;
        publisher_restart_numbers(p, 0);
        return lost;
    }
    take_back_fallen(p, common);
    p->partial_reject = 0;
    p->retry_left = 0;
    p->retry_through = 0;
    if (!p->options.by_proxy)
        p->sent = p->done; /* all is sent again; a proxy sees to what it has */
    else if (p->sent > p->next)
        p->sent = p->next;
    p->retries = 0;
    p->hinted = 0;
    p->hole_count = 0;
    p->open.numbers = 0;
    release(p);
    return lost;
}

/* Whoever misses numbers has the one behind them: it was sent. */
static bool note_hole(struct publisher *p, uint64_t from, uint64_t end, uint64_t now_ns)
{
    if (from < p->done)
        from = p->done;
    if (from >= end || end >= p->sent || p->hole_count == PUBLISHER_HOLES_MAX)
        return false;
    for (uint32_t i = 0; i < p->hole_count; i++)
        if (from < p->holes[i].end && p->holes[i].from < end)
            return false;
    while (from < end && !publisher_may_fill(p, from, now_ns))
        from++;
    if (from == end)
        return false;
    p->holes[p->hole_count].from = from;
    p->holes[p->hole_count++].end = end;
    return true;
}

static bool bring_forward(struct publisher *p, uint64_t number, uint64_t now_ns)
{
    uint64_t patience =
        p->round_trip_ns > p->options.resend_min_ns ? p->round_trip_ns : p->options.resend_min_ns;
    if (number < p->done || number >= p->sent || now_ns - p->hinted_at_ns < patience)
        return false;
    p->hinted = number;
    p->hinted_at_ns = now_ns;
    return true;
}

void publisher_on_hint(struct publisher *p, const struct hint *h, struct epoch heard,
                       struct port_time now)
{
    if (p->state != PUBLISHER_ACTIVE || h->publisher != p->id)
        return;
    bool heeded = h->incarnation == p->incarnation && epoch_compare(h->epoch, heard) >= 0;
    if (h->reason == HINT_MISSING)
        heeded = heeded && note_hole(p, h->next_publisher_seq, h->nonce, now.mono_ns);
    else if (h->reason == HINT_AHEAD || h->reason == HINT_OVERLOADED)
        heeded = heeded && bring_forward(p, h->next_publisher_seq, now.mono_ns);
    else
        return;
    if (!heeded)
        p->counters[COUNTER_HINTS_IGNORED]++;
}

static void end_superseded(struct publisher *p)
{
    p->state = PUBLISHER_SUPERSEDED;
    p->open.numbers = 0;
}

uint64_t publisher_step(struct publisher *p, const struct catalog *catalog, bool caught_up,
                        struct port_time now)
{
    const struct sys_genesis *genesis = catalog_genesis(catalog);
    if (genesis != NULL)
        p->is_volatile = genesis->is_volatile;
    bool settled = p->is_volatile;
    switch (p->state) {
    case PUBLISHER_WAITING:
        if (!caught_up)
            return PORT_NEVER;
        p->state = PUBLISHER_JOINING;
        p->join_at_ns = now.mono_ns;
        p->join_wait_ns = p->options.resend_min_ns * 4;
        __attribute__((fallthrough));
    case PUBLISHER_JOINING:
        if (p->join_seq == 0) {
            uint64_t deadline = caught_up ? publisher_join(p, catalog, now.mono_ns) : PORT_NEVER;
            if (p->superseded_seq != 0 && (settled || p->stable >= p->superseded_seq))
                end_superseded(p);
            return p->superseded_seq == 0 ? deadline : PORT_NEVER;
        }
        if (!settled && p->stable < p->join_seq)
            return PORT_NEVER;
        p->state = PUBLISHER_ACTIVE;
        return publisher_transmit(p, now.mono_ns);
    case PUBLISHER_ACTIVE:
        if (p->superseded_seq != 0 && (settled || p->stable >= p->superseded_seq)) {
            end_superseded(p);
            return PORT_NEVER;
        }
        return publisher_transmit(p, now.mono_ns);
    case PUBLISHER_SUPERSEDED:
        return PORT_NEVER;
    }
    return PORT_NEVER;
}

/* ---- questions ------------------------------------------------------------------------------- */

enum publisher_state publisher_state(const struct publisher *p)
{
    return p->state;
}

const char *publisher_identity(const struct publisher *p)
{
    return p->options.identity;
}

uint32_t publisher_id(const struct publisher *p)
{
    return p->id;
}

uint32_t publisher_incarnation(const struct publisher *p)
{
    return p->incarnation;
}

uint64_t publisher_join_seq(const struct publisher *p)
{
    return p->join_seq;
}

uint64_t publisher_superseded_seq(const struct publisher *p)
{
    return p->superseded_seq;
}

uint64_t publisher_next_number(const struct publisher *p)
{
    return p->next;
}

uint64_t publisher_done_number(const struct publisher *p)
{
    return p->done - 1;
}

uint64_t publisher_last_seq(const struct publisher *p)
{
    return p->done > p->base ? publisher_entry(p, p->done - 1)->outcome_seq : p->released_seq;
}

uint32_t publisher_in_flight(const struct publisher *p)
{
    return p->items_in_flight;
}

uint64_t publisher_kept_bytes(const struct publisher *p)
{
    return p->bytes_head - p->bytes_tail;
}

bool publisher_is_idle(const struct publisher *p)
{
    return p->state == PUBLISHER_ACTIVE && p->base == p->next;
}

uint64_t publisher_mismatches(const struct publisher *p)
{
    return p->mismatches;
}
