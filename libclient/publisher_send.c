/* How a publisher sends: joins, new proposals at once, and again what has no outcome.
 *
 * The sequencer holds what arrives ahead of its turn, so one lost datagram needs one datagram sent
 * again: a retry begins with the first datagram's worth. When that is not enough (a failover forgot
 * everything) each further retry sends twice as many; once all has been sent again to no avail, nobody
 * may be there to hear it, and it begins anew with one. Of a run, which shows no progress before it
 * is complete, any fragment may be missing: it is sent again whole. */
#include "libclient/publisher_private.h"

static uint64_t retry_ns(const struct publisher *p)
{
    uint64_t ns = 4 * p->round_trip_ns;
    if (ns < p->options.resend_min_ns)
        ns = p->options.resend_min_ns;
    for (uint32_t i = 0; i < p->retries && ns < p->options.resend_max_ns; i++)
        ns *= 2;
    return ns < p->options.resend_max_ns ? ns : p->options.resend_max_ns;
}

/* Appends what is not just a message to the datagram; false if it does not fit. */
static bool add(const struct publisher *p, uint64_t number, struct proposal_builder *b)
{
    const struct publisher_entry *e = publisher_entry(p, number);
    const struct publisher_rest *rest = publisher_rest(p, number);
    struct proposal_entry entry = {
        .after_seq = rest->condition_after,
        .condition_topic = rest->condition_topic,
        .topic = e->topic,
        .length = e->length,
        .flags = e->flags,
        .conditional = rest->conditional,
        .payload = publisher_bytes(p, e->begin),
    };
    if (!proposal_fits(b, &entry))
        return false;
    proposal_add(b, &entry);
    return true;
}

static bool may_send(const struct publisher *p)
{
    return p->step_left > 0 && p->outbox->count < p->outbox->max;
}

/* Sends one datagram from number `from`, ending before `end`. Returns the number after it. */
static uint64_t send_one(struct publisher *p, uint64_t from, uint64_t end, uint64_t now_ns)
{
    uint32_t capacity = p->options.datagram_max;
    struct proposal_builder b;
    proposal_open(&b, p->outbox->bytes + (size_t)p->outbox->count++ * capacity, capacity);
    p->step_left--;
    const struct position position = publisher_entry(p, from)->position;
    struct publisher_entry *const entries = p->entries;
    const uint64_t entries_max = p->entries_max, mask = p->bytes_mask;
    const uint8_t *const bytes = p->bytes;
    uint64_t n = from;
    for (; n < end; n++) {
        struct publisher_entry *e = &entries[n & (entries_max - 1)];
        if (!epoch_equal(e->position.epoch, position.epoch) || e->position.seq != position.seq)
            break;
        const uint8_t *message = bytes + ((e->begin - MESSAGE_HEADER_SIZE) & mask);
        if (!(e->alike != 0 ? proposal_add_message(&b, message, e->length) : add(p, n, &b)))
            break;
        if (e->first_sent_ns == 0)
            e->first_sent_ns = now_ns;
        else
            e->resent = true;
        e->sent_ns = now_ns;
        e->filled = false;
    }
    assert(n > from);
    struct proposal_header header = {
        .position = position,
        .first_publisher_seq = from,
        .publisher = p->id,
        .incarnation = p->incarnation,
        .count = b.count,
    };
    uint32_t length = proposal_close(&b, p->options.stream, &header);
    port_send(p->port, PORT_INGRESS, (struct port_addr) { 0, 0 }, b.bytes, length);
    return n;
}

static void begin_retry(struct publisher *p, uint64_t from)
{
    const struct publisher_entry *e = publisher_entry(p, from);
    p->retry_at = from;
    p->retry_left = p->burst;
    p->retry_through = e->begins ? from + publisher_item_entries(p, from) : from + 1;
}

/* False if there is more to send again than one step takes. */
static bool go_on_with_retry(struct publisher *p, uint64_t now_ns)
{
    if (p->retry_at < p->done)
        p->retry_at = p->done;
    while (p->retry_at < p->sent && (p->retry_left > 0 || p->retry_at < p->retry_through)) {
        if (!may_send(p))
            return false;
        uint64_t from = p->retry_at;
        p->retry_at = send_one(p, from, p->sent, now_ns);
        p->counters[COUNTER_RESENT] += p->retry_at - from;
        if (p->retry_left > 0)
            p->retry_left--;
    }
    if (p->retry_through != 0 && p->retry_at >= p->sent)
        p->burst = 1;
    p->retry_left = 0;
    p->retry_through = 0;
    return true;
}

/* The planted mistake: the retry is a new proposal. */
static void renumber(struct publisher *p)
{
    const struct publisher_entry *e = publisher_entry(p, p->done);
    struct publisher_item item = { .topic = e->topic,
                                   .payload = publisher_bytes(p, e->begin),
                                   .length = publisher_item_length(p, p->done) };
    if (e->begins)
        publisher_push(p, &item, e->position);
}

/* Sends [*from, end) again, which may all be filled. False if that is more than one step takes. */
static bool fill(struct publisher *p, uint64_t *from, uint64_t end, uint64_t now_ns)
{
    while (*from < end) {
        if (!may_send(p))
            return false;
        uint64_t next = send_one(p, *from, end, now_ns);
        p->counters[COUNTER_RESENT] += next - *from;
        for (; *from < next; ++*from)
            publisher_entry(p, *from)->filled = true;
    }
    return true;
}

/* What the sequencer has told us it misses, unless an outcome has come since, or it was sent again
 * anyway. False if there is more than one step takes. */
static bool fill_holes(struct publisher *p, uint64_t now_ns)
{
    while (p->hole_count > 0) {
        uint64_t *from = &p->holes[p->hole_count - 1].from;
        uint64_t end = p->holes[p->hole_count - 1].end;
        if (*from < p->done)
            *from = p->done;
        while (*from < end) {
            uint64_t stop = *from;
            while (stop < end && publisher_may_fill(p, stop, now_ns))
                stop++;
            if (!fill(p, from, stop, now_ns))
                return false;
            if (*from < end)
                ++*from; /* under way again */
        }
        p->hole_count--;
    }
    return true;
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

uint64_t publisher_transmit(struct publisher *p, uint64_t now_ns)
{
    p->step_left = PUBLISHER_STEP_DATAGRAMS;
    if (p->outbox == &p->own_outbox)
        p->outbox->count = 0;
    if (p->hinted >= p->done && p->hinted < p->sent && p->hinted != 0)
        begin_retry(p, p->hinted);
    p->hinted = 0;
    if (p->done < p->sent && now_ns >= publisher_entry(p, p->done)->sent_ns + retry_ns(p)) {
        if (p->options.renumbers)
            renumber(p);
        begin_retry(p, p->done);
        p->retries++;
        if (p->burst < p->options.window)
            p->burst *= 2;
    }
    bool retried = fill_holes(p, now_ns);
    retried = go_on_with_retry(p, now_ns) && retried;
    while (p->sent < p->next && may_send(p))
        p->sent = send_one(p, p->sent, p->next, now_ns);
    if (p->sent < p->next || !retried)
        return now_ns;
    if (p->done == p->sent)
        return PORT_NEVER;
    return publisher_entry(p, p->done)->sent_ns + retry_ns(p);
}

uint64_t publisher_join(struct publisher *p, const struct catalog *catalog, uint64_t now_ns)
{
    if (now_ns < p->join_at_ns)
        return p->join_at_ns;
    uint32_t id = catalog_publisher_find(catalog, p->options.identity);
    const struct catalog_publisher *there = id != 0 ? catalog_publisher(catalog, id) : NULL;
    uint32_t current = there != NULL ? there->incarnation : 0;
    if (p->options.wanted != 0 && current >= p->options.wanted &&
        there->nonce != p->options.nonce) {
        p->superseded_seq = there->join_seq;
        return PORT_NEVER;
    }
    p->join_at_ns = now_ns + p->join_wait_ns;
    p->join_wait_ns *= 2;
    if (p->join_wait_ns > p->options.resend_max_ns)
        p->join_wait_ns = p->options.resend_max_ns;
    if (current + 1 < p->options.wanted)
        return p->join_at_ns; /* what it held is not here yet */
    struct join j = { .nonce = p->options.nonce, .wanted = current + 1 };
    memcpy(j.identity, p->options.identity, sizeof j.identity);
    uint8_t *out = port_scratch(p->port, SIGNAL_SIZE_MAX);
    size_t length = join_encode(&j, p->options.stream, out, SIGNAL_SIZE_MAX);
    assert(length > 0);
    port_send(p->port, PORT_INGRESS, (struct port_addr) { 0, 0 }, out, (uint32_t)length);
    return p->join_at_ns;
}
