/* Its memory and its states. How it is given items is in publisher_push.c, how it sends in publisher_send.c, what the
 * stream tells it in publisher_stream.c. */
#include "libclient/publisher_private.h"

#include <stdlib.h>

#include "proto/ledger.h"

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

/* ---- its states ------------------------------------------------------------------------------ */

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

uint32_t publisher_open_group(const struct publisher *p, uint32_t *bytes)
{
    uint64_t first = p->next;
    *bytes = 0;
    while (first > p->done && (publisher_entry(p, first - 1)->flags & MESSAGE_MORE) != 0)
        *bytes += publisher_entry(p, --first)->length;
    return (uint32_t)(p->next - first);
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
