#include "follow/follower_private.h"

#include <stdlib.h>

/* ---- memory ---------------------------------------------------------------------------------- */

static struct follower_options resolve(const struct follower_options *in)
{
    struct follower_options o = *in;
    if (o.pending_max == 0)
        o.pending_max = 4096;
    if (o.pending_max > FOLLOWER_PENDING_MAX)
        o.pending_max = FOLLOWER_PENDING_MAX;
    if (o.datagram_max == 0)
        o.datagram_max = WIRE_DATAGRAM_DEFAULT;
    if (o.datagram_max > WIRE_DATAGRAM_MAX)
        o.datagram_max = WIRE_DATAGRAM_MAX;
    if (o.gap_delay_ns == 0)
        o.gap_delay_ns = 20000;
    if (o.retry_ns == 0)
        o.retry_ns = 300000;
    if (o.retry_max_ns == 0)
        o.retry_max_ns = 50000000;
    if (o.retry_max_ns < o.retry_ns)
        o.retry_max_ns = o.retry_ns;
    if (o.bulk_messages == 0)
        o.bulk_messages = 8192;
    if (o.source_count > FOLLOWER_SOURCES_MAX)
        o.source_count = FOLLOWER_SOURCES_MAX;
    return o;
}

/* Where the parts lie in the one block. */
struct layout {
    size_t order;
    size_t headers;
    size_t free;
    size_t bytes;
    size_t size;
    uint32_t order_count;
    uint32_t stride;
};

static size_t aligned(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static struct layout layout_of(const struct follower_options *o)
{
    struct layout l = { .order_count = 1 };
    while (l.order_count < o->pending_max)
        l.order_count *= 2;
    l.stride = (uint32_t)((o->datagram_max + 7) & ~UINT32_C(7));
    l.order = aligned(sizeof(struct follower));
    l.headers = aligned(l.order + l.order_count * sizeof(struct follower_held));
    l.free = aligned(l.headers + o->pending_max * sizeof(struct batch_header));
    l.bytes = aligned(l.free + o->pending_max * sizeof(uint32_t));
    l.size = l.bytes + (size_t)o->pending_max * l.stride;
    return l;
}

size_t follower_memory(const struct follower_options *options)
{
    struct follower_options o = resolve(options);
    return layout_of(&o).size;
}

struct follower *follower_create(const struct follower_options *options,
                                 const struct follower_callbacks *callbacks, struct port *port,
                                 uint64_t counters[COUNTER_END])
{
    struct follower_options o = resolve(options);
    struct layout l = layout_of(&o);
    uint8_t *block = malloc(l.size);
    if (block == NULL)
        return NULL;
    /* Not the epochs, which are counted, nor the slots, each of which is written before it is read:
     * they are most of it. */
    memset(block, 0, offsetof(struct follower, epochs));
    memset(block + l.order, 0, l.bytes - l.order);
    struct follower *f = (struct follower *)(void *)block;
    f->options = o;
    f->callbacks = *callbacks;
    f->port = port;
    f->counters = counters;
    f->random = o.random;
    epoch_table_reset(&f->epochs);
    epoch_table_reset(&f->record);
    f->pending.order = (struct follower_held *)(void *)(block + l.order);
    f->pending.headers = (struct batch_header *)(void *)(block + l.headers);
    f->pending.free = (uint32_t *)(void *)(block + l.free);
    f->pending.bytes = block + l.bytes;
    f->pending.mask = l.order_count - 1;
    f->pending.max = o.pending_max;
    f->pending.stride = l.stride;
    follower_start(f, (struct position) { 0 }, (struct digest) { 0, 0 }, NULL,
                   (struct epoch) { 0 });
    return f;
}

void follower_destroy(struct follower *f)
{
    free(f);
}

void follower_start(struct follower *f, struct position tail, struct digest digest,
                    const struct epoch_table *epochs, struct epoch heard)
{
    assert(epochs != NULL || tail.seq == 0);
    f->generation++;
    if (epochs == NULL)
        epoch_table_reset(&f->epochs);
    else if (epochs != &f->epochs)
        epoch_table_copy(&f->epochs, epochs);
    epoch_table_cut(&f->epochs, tail.seq);
    pending_reset(&f->pending);
    f->chain_next = tail.seq + 1;
    f->chain_digest = digest;
    f->chain_epoch = tail.epoch;
    f->delivered_next = tail.seq + 1;
    f->delivered_digest = digest;
    f->refused = false;
    f->blocked_ns = FOLLOWER_BLOCKED_NS;
    f->time_ns = 0;
    f->stable_reported = 0;
    follower_enter_epoch(f, epoch_compare(heard, tail.epoch) > 0 ? heard : tail.epoch);
    follower_gaps_reset(f);
    follower_replay_reset(f);
    if (tail.seq == 0 || !epoch_equal(f->heard, tail.epoch))
        return;
    /* What we begin with is of the heard epoch, so its history up to there is known. */
    const struct epoch_entry *own = epoch_table_find(&f->epochs, tail.seq);
    assert(own != NULL && epoch_equal(own->epoch, tail.epoch));
    f->epoch_first = own->first_seq;
    epoch_table_copy(&f->record, &f->epochs);
    f->heard_record = true;
    f->goal_next = f->vouched_next = f->chain_next;
    f->goal_digest = digest;
}

/* ---- entry points ---------------------------------------------------------------------------- */

void follower_count_dropped(struct follower *f, enum wire_verdict verdict)
{
    switch (verdict) {
    case WIRE_OK:
        break;
    case WIRE_SHORT:
        follower_count(f, COUNTER_DROPPED_SHORT);
        break;
    case WIRE_FOREIGN:
        follower_count(f, COUNTER_DROPPED_FOREIGN);
        break;
    case WIRE_OTHER_VERSION:
        follower_count(f, COUNTER_DROPPED_VERSION);
        break;
    case WIRE_OTHER_STREAM:
        follower_count(f, COUNTER_DROPPED_STREAM);
        break;
    case WIRE_CORRUPT:
        follower_count(f, COUNTER_DROPPED_CORRUPT);
        break;
    case WIRE_MALFORMED:
        follower_count(f, COUNTER_DROPPED_MALFORMED);
        break;
    }
}

static void on_refusal(struct follower *f, const struct port_datagram *d, uint64_t now_ns)
{
    struct gap_refusal refusal;
    enum wire_verdict verdict =
        gap_refusal_decode(d->bytes, d->length, f->options.stream, &refusal);
    if (verdict == WIRE_OK)
        follower_refusal(f, &refusal, now_ns);
    else
        follower_count_dropped(f, verdict);
}

bool follower_on_datagram(struct follower *f, const struct port_datagram *d, struct port_time now)
{
    enum { TYPE_AT = 3 };
    uint8_t type = d->length > TYPE_AT ? d->bytes[TYPE_AT] : 0;
    struct follower_arrival a = {
        .now_ns = now.mono_ns,
        .from = d->from,
        .datagram = true,
        .live = d->channel == PORT_EGRESS_A || d->channel == PORT_EGRESS_B,
        .line_b = d->channel == PORT_EGRESS_B,
        .adopted = f->adopted && port_addr_equal(d->from, f->adopted_source.unicast)
    };
    if (type == WIRE_BATCH) {
        struct batch_header b;
        enum wire_verdict verdict = batch_verify(d->bytes, d->length, f->options.stream, &b);
        if (verdict != WIRE_OK)
            follower_count_dropped(f, verdict);
        else if (b.length > f->pending.stride)
            follower_count(f, COUNTER_OVERSIZED_IN);
        else
            follower_place(f, d->bytes, &b, &a);
        return true;
    }
    if (type == WIRE_HEARTBEAT) {
        struct heartbeat hb;
        enum wire_verdict verdict = heartbeat_decode(d->bytes, d->length, f->options.stream, &hb);
        if (verdict == WIRE_OK)
            follower_heartbeat(f, &hb, &a);
        else
            follower_count_dropped(f, verdict);
        return true;
    }
    if (type != WIRE_GAP_REFUSAL)
        return false;
    on_refusal(f, d, now.mono_ns);
    return true;
}

bool follower_on_stream(struct follower *f, const struct port_stream_event *e, struct port_time now,
                        size_t *consumed)
{
    return follower_replay_event(f, e, now.mono_ns, consumed);
}

uint64_t follower_step(struct follower *f, struct port_time now)
{
    uint64_t now_ns = now.mono_ns;
    if (f->refused) {
        f->refused = false;
        follower_advance(f);
    }
    uint64_t deadline = follower_gaps_step(f, now_ns);
    uint64_t replay = follower_replay_step(f, now_ns);
    if (replay < deadline)
        deadline = replay;
    if (f->refused || f->replay.blocked) {
        if (now_ns + f->blocked_ns < deadline)
            deadline = now_ns + f->blocked_ns;
        if (f->blocked_ns < FOLLOWER_BLOCKED_MAX_NS)
            f->blocked_ns *= 2;
    }
    return deadline;
}

void follower_hear_epoch(struct follower *f, struct epoch epoch)
{
    if (epoch_compare(epoch, f->heard) > 0)
        follower_enter_epoch(f, epoch);
}

void follower_adopt(struct follower *f, struct epoch epoch, struct position tail,
                    struct digest digest, struct follower_source source)
{
    assert(!f->delivering);
    if (epoch_compare(epoch, f->heard) < 0)
        return;
    /* Whatever was adopted before for this epoch is void; what is known of the tail's is not. */
    bool known = epoch_equal(f->heard, tail.epoch);
    uint64_t first_seq = known ? f->epoch_first : 0;
    uint32_t record_count = known && f->heard_record ? f->record.count : 0;
    follower_enter_epoch(f, epoch);
    f->record.count = record_count;
    f->adopted = true;
    f->adopted_first = first_seq;
    f->adopted_epoch = tail.epoch;
    f->adopted_source = source;
    f->adopted_next = f->goal_next = tail.seq + 1;
    f->adopted_digest = f->goal_digest = digest;
    f->goal_known = true;
    follower_targets(f);
    /* Whatever came of earlier attempts: this source has it, is the first target, and serves this
     * epoch. */
    follower_replay_close(f);
    f->replay.target = f->replay.fruitless = 0;
    f->replay.due_ns = 0;
    f->replay.interval_ns = f->options.retry_max_ns;
    follower_drop_dead_ahead(f);
    uint64_t have = f->chain_next - 1;
    if (epoch_table_has(&f->epochs, have, tail)) {
        if (have > tail.seq && !follower_cut(f, tail.seq, digest))
            return;
        if (digest_equal(f->chain_digest, digest))
            f->vouched_next = f->chain_next;
        else
            follower_conflict(f);
    } else if (have >= tail.seq || epoch_compare(f->chain_epoch, tail.epoch) > 0) {
        follower_conflict(f);
    } else if (have == 0 || epoch_equal(f->chain_epoch, tail.epoch)) {
        f->vouched_next = f->chain_next;
    } else if (!follower_reconcile(f)) {
        return;
    }
    follower_advance(f);
}

void follower_set_sources(struct follower *f, const struct follower_source *sources, uint32_t count)
{
    f->options.source_count = count < FOLLOWER_SOURCES_MAX ? count : FOLLOWER_SOURCES_MAX;
    for (uint32_t i = 0; i < f->options.source_count; i++)
        f->options.sources[i] = sources[i];
    follower_targets(f);
}

/* ---- questions ------------------------------------------------------------------------------- */

uint64_t follower_next(const struct follower *f)
{
    return f->delivered_next;
}

struct position follower_tail(const struct follower *f)
{
    uint64_t seq = f->delivered_next - 1;
    const struct epoch_entry *entry = epoch_table_find(&f->epochs, seq);
    return (struct position) { .epoch = entry != NULL ? entry->epoch : (struct epoch) { 0 },
                               .seq = seq };
}

struct digest follower_tail_digest(const struct follower *f)
{
    return f->delivered_digest;
}

uint64_t follower_vouched_next(const struct follower *f)
{
    return f->vouched_next;
}

uint64_t follower_goal_next(const struct follower *f)
{
    return f->goal_next;
}

struct epoch follower_heard(const struct follower *f)
{
    return f->heard;
}

uint64_t follower_stable(const struct follower *f)
{
    return f->stable_reported;
}

bool follower_settled(const struct follower *f)
{
    return !f->conflict && f->vouched_next >= f->delivered_next;
}

bool follower_caught_up(const struct follower *f)
{
    return f->goal_known && !f->conflict && f->vouched_next >= f->goal_next &&
           f->replay.state == REPLAY_IDLE;
}

bool follower_replaying(const struct follower *f)
{
    return f->replay.state != REPLAY_IDLE;
}

struct port_addr follower_leader(const struct follower *f)
{
    return f->leader;
}

uint64_t follower_leader_heard_ns(const struct follower *f)
{
    return f->leader_heard_ns;
}

const struct epoch_table *follower_epochs(const struct follower *f)
{
    return &f->epochs;
}
