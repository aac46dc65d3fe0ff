#include "retransmitter/core.h"

#include <stdlib.h>
#include <string.h>

#include "retransmitter/core_private.h"

/* ---- options and memory ---------------------------------------------------------------------- */

#define DEFAULT(field, value) ((field) = (field) == 0 ? (value) : (field))

/* Every option that is zero. */
static void fill_in(struct retransmitter_options *o)
{
    DEFAULT(o->datagram_max, WIRE_DATAGRAM_DEFAULT);
    DEFAULT(o->pending_max, 4096);
    DEFAULT(o->ack_repeat_ns, UINT64_C(100000000));
    DEFAULT(o->fill_batches_max, 64);
    DEFAULT(o->fill_rate_bytes, UINT64_C(256) << 20);
    DEFAULT(o->requesters_max, 1024);
    DEFAULT(o->multicast_after, 3);
    DEFAULT(o->multicast_ns, UINT64_C(1000000));
    DEFAULT(o->replays_max, 16);
    DEFAULT(o->scrub_pause_ns, UINT64_C(30000000000));
    if (o->multicast_after > RANGE_REQUESTERS_MAX)
        o->multicast_after = RANGE_REQUESTERS_MAX;
    if (o->peer_count > FOLLOWER_SOURCES_MAX)
        o->peer_count = FOLLOWER_SOURCES_MAX;
}

void retransmitter_options_default(struct retransmitter_options *o)
{
    *o = (struct retransmitter_options) { .scrub_bytes_per_s = UINT64_C(8) << 20 };
    fill_in(o);
}

static struct follower_options follower_options_of(const struct retransmitter_options *o)
{
    struct follower_options f = { .stream = o->stream,
                                  .level = FOLLOWER_SEQUENCED,
                                  .pending_max = o->pending_max,
                                  .datagram_max = o->datagram_max,
                                  .source_count = o->peer_count,
                                  .random = o->random,
                                  .sabotage = (o->sabotage & RETRANSMITTER_NO_DIGEST_CHECK) != 0
                                                  ? FOLLOWER_NO_DIGEST_CHECK
                                                  : 0 };
    memcpy(f.sources, o->peers, sizeof f.sources);
    return f;
}

static uint32_t bucket_count(const struct retransmitter_options *o)
{
    uint32_t buckets = 16;
    while (buckets < o->requesters_max * 2)
        buckets *= 2;
    return buckets;
}

static size_t buffers_size(const struct retransmitter_options *o)
{
    return (size_t)(FILL_SLOTS + 1) * FILL_SLOT_BYTES + COMMAND_BUFFER_BYTES +
           (size_t)o->replays_max * 2 * REPLAY_BUFFER_BYTES;
}

size_t retransmitter_memory(const struct retransmitter_options *options)
{
    struct retransmitter_options o = *options;
    fill_in(&o);
    struct follower_options f = follower_options_of(&o);
    return sizeof(struct retransmitter) + follower_memory(&f) + buffers_size(&o) +
           o.requesters_max * sizeof(struct requester) + bucket_count(&o) * sizeof(uint32_t) +
           (o.replays_max + IDLE_STREAMS_MAX) * sizeof(struct client) +
           o.replays_max * sizeof(struct replay_slot) + STATUS_SIZE_MAX;
}

/* Everything but the follower. The first of the buffers is where all of them begin. */
static bool take_memory(struct retransmitter *r)
{
    const struct retransmitter_options *o = &r->o;
    uint32_t buckets = bucket_count(o);
    uint8_t *buffers = aligned_alloc(DISK_BLOCK, buffers_size(o));
    r->recorded_buffer = buffers;
    r->client_count = o->replays_max + IDLE_STREAMS_MAX;
    r->clients = calloc(r->client_count, sizeof *r->clients);
    r->replays = calloc(o->replays_max, sizeof *r->replays);
    r->fill.requesters = calloc(o->requesters_max, sizeof *r->fill.requesters);
    r->fill.buckets = malloc(buckets * sizeof *r->fill.buckets);
    r->frame = malloc(STATUS_SIZE_MAX);
    if (buffers == NULL || r->clients == NULL || r->replays == NULL || r->fill.requesters == NULL ||
        r->fill.buckets == NULL || r->frame == NULL)
        return false;
    memset(r->fill.buckets, 0xff, buckets * sizeof *r->fill.buckets);
    r->fill.bucket_mask = buckets - 1;
    r->fill.oldest = r->fill.newest = UINT32_MAX;
    buffers += FILL_SLOT_BYTES;
    for (uint32_t i = 0; i < FILL_SLOTS; i++, buffers += FILL_SLOT_BYTES)
        r->fill.slots[i].buffer = buffers;
    for (uint32_t i = 0; i < 2 * o->replays_max; i++, buffers += REPLAY_BUFFER_BYTES)
        r->replays[i / 2].pieces[i % 2].buffer = buffers;
    r->command_buffer = buffers;
    return true;
}

struct retransmitter *retransmitter_create(const struct retransmitter_options *options,
                                           struct journal *journal, struct port *port,
                                           struct port_time now)
{
    struct retransmitter *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->o = *options;
    fill_in(&r->o);
    r->journal = journal;
    r->counters = journal_counters(journal);
    r->port = port;
    r->now = now;
    r->created_ns = now.mono_ns;
    r->heal_nonce = r->o.random;
    r->heal_wait_ns = HEAL_FIRST_NS;
    struct follower_options f = follower_options_of(&r->o);
    struct follower_callbacks callbacks = {
        .deliver = record_deliver, .forked = record_forked, .lost = record_lost, .ctx = r
    };
    r->follower = follower_create(&f, &callbacks, port, r->counters);
    if (r->follower == NULL || !take_memory(r)) {
        retransmitter_destroy(r);
        return NULL;
    }
    struct position tail = journal_tail(journal);
    r->pledge = tail.epoch;
    if (epoch_compare(journal_promised(journal), r->pledge) > 0 &&
        !core_sabotaged(r, RETRANSMITTER_VOLATILE_PROMISE))
        r->pledge = journal_promised(journal);
    r->restart_pending = true;
    record_restart(r);
    record_recover_stable(r);
    return r;
}

void retransmitter_destroy(struct retransmitter *r)
{
    if (r == NULL)
        return;
    if (r->follower != NULL)
        follower_destroy(r->follower);
    free(r->recorded_buffer);
    free(r->clients);
    free(r->replays);
    free(r->fill.requesters);
    free(r->fill.buckets);
    free(r->frame);
    free(r);
}

/* ---- what the parts share -------------------------------------------------------------------- */

void core_count_verdict(struct retransmitter *r, enum wire_verdict verdict)
{
    switch (verdict) {
    case WIRE_OK:
        break;
    case WIRE_SHORT:
        r->counters[COUNTER_DROPPED_SHORT]++;
        break;
    case WIRE_FOREIGN:
        r->counters[COUNTER_DROPPED_FOREIGN]++;
        break;
    case WIRE_OTHER_VERSION:
        r->counters[COUNTER_DROPPED_VERSION]++;
        break;
    case WIRE_OTHER_STREAM:
        r->counters[COUNTER_DROPPED_STREAM]++;
        break;
    case WIRE_CORRUPT:
        r->counters[COUNTER_DROPPED_CORRUPT]++;
        break;
    case WIRE_MALFORMED:
        r->counters[COUNTER_DROPPED_MALFORMED]++;
        break;
    }
}

void core_send(struct retransmitter *r, enum port_channel channel, struct port_addr to,
               const uint8_t *bytes, size_t length)
{
    assert(length > 0 && length <= UINT32_MAX);
    port_send(r->port, channel, to, bytes, (uint32_t)length);
    r->counters[COUNTER_DATAGRAMS_OUT]++;
    r->counters[COUNTER_BYTES_OUT] += length;
}

/* What is recorded has been vouched for by the leader of the tail's epoch. Once a later epoch is
 * held to, that counts for nothing until its own leader has vouched; only the candidate, which this
 * store has promised to, may fetch all of it, because it has to adopt it. */
uint64_t core_served_end(const struct retransmitter *r, struct epoch epoch)
{
    struct position tail = journal_tail(r->journal);
    uint64_t end = tail.seq + 1;
    if (r->cut_pending)
        end = earlier(end, r->cut_seq + 1);
    if (epoch_equal(r->pledge, tail.epoch))
        return end;
    if (!r->led)
        return promise_held(r) && epoch_equal(epoch, r->pledge) ? end : 0;
    return follower_settled(r->follower) ? earlier(end, follower_vouched_next(r->follower)) : 0;
}

/* ---- events ---------------------------------------------------------------------------------- */

static void on_datagram(struct retransmitter *r, const struct port_datagram *d)
{
    enum wire_type type;
    enum wire_verdict verdict = wire_peek(d->bytes, d->length, r->o.stream, &type);
    r->counters[COUNTER_DATAGRAMS_IN]++;
    r->counters[COUNTER_BYTES_IN] += d->length;
    if (verdict != WIRE_OK) {
        core_count_verdict(r, verdict);
        return;
    }
    switch (type) {
    case WIRE_BATCH:
        if (!heal_on_batch(r, d) && record_admit(r, d, type))
            follower_on_datagram(r->follower, d, r->now);
        break;
    case WIRE_HEARTBEAT:
        if (record_admit(r, d, type))
            follower_on_datagram(r->follower, d, r->now);
        break;
    case WIRE_GAP_REFUSAL:
        heal_on_refusal(r, d);
        follower_on_datagram(r->follower, d, r->now);
        break;
    case WIRE_GAP_REQUEST:
        fill_on_request(r, d);
        break;
    case WIRE_SEAL:
        promise_on_seal(r, d);
        break;
    case WIRE_RECALL:
        promise_on_recall(r, d);
        break;
    case WIRE_PROPOSAL:
    case WIRE_CREATE:
    case WIRE_JOIN:
    case WIRE_HINT:
    case WIRE_ACK:
    case WIRE_PROMISE:
        break; /* for others */
    case WIRE_TYPE_END:
        core_count_verdict(r, WIRE_MALFORMED);
        break;
    }
}

static void on_datagrams(void *core, const struct port_datagram *datagrams, uint32_t count,
                         struct port_time now)
{
    struct retransmitter *r = core;
    r->now = now;
    for (uint32_t i = 0; i < count; i++)
        on_datagram(r, &datagrams[i]);
}

static size_t on_stream(void *core, const struct port_stream_event *event, struct port_time now)
{
    struct retransmitter *r = core;
    r->now = now;
    size_t consumed = 0;
    if (follower_on_stream(r->follower, event, now, &consumed)) {
        record_heard(r);
        return consumed;
    }
    return replay_on_stream(r, event);
}

static void on_disk(void *core, const struct disk_completion *completion, struct port_time now)
{
    struct retransmitter *r = core;
    r->now = now;
    uint64_t durable = journal_durable(r->journal).seq;
    journal_on_disk(r->journal, completion);
    /* At once: a step would begin the next commit first, and that takes time. */
    if (journal_durable(r->journal).seq != durable)
        (void)record_ack(r);
}

/* Persist, then send: what is appended here is acknowledged when its commit is back. Batches are sent
 * at the very end, from the journal's memory, which the next append may overwrite. */
static uint64_t step(void *core, struct port_time now)
{
    struct retransmitter *r = core;
    r->now = now;
    r->again = false;
    fill_release(r);
    uint64_t next = journal_step(r->journal, now.mono_ns);
    if (r->recorded_reading)
        record_recover_stable(r);
    record_heard(r);
    record_restart(r);
    promise_step(r);
    next = earlier(next, record_cut(r));
    next = earlier(next, follower_step(r->follower, now));
    record_heard(r);
    record_restart(r);
    promise_step(r);
    journal_commit(r->journal);
    next = earlier(next, record_ack(r));
    next = earlier(next, heal_step(r));
    fill_step(r);
    next = earlier(next, replay_step(r));
    next = earlier(next, copy_step(r));
    next = earlier(next, scrub_step(r));
    return r->again ? now.mono_ns : next;
}

const struct participant_ops retransmitter_participant = {
    .on_datagrams = on_datagrams, .on_stream = on_stream, .on_disk = on_disk, .step = step
};

/* ---- questions ------------------------------------------------------------------------------- */

bool retransmitter_drain(struct retransmitter *r)
{
    r->draining = true;
    r->again = true;
    journal_commit(r->journal);
    return journal_idle(r->journal) &&
           journal_durable(r->journal).seq == journal_tail(r->journal).seq && !fill_reading(r) &&
           !replay_reading(r) && !command_reading(r) &&
           !(r->recorded_reading && !r->recorded_read.done);
}

uint64_t retransmitter_stable(const struct retransmitter *r)
{
    uint64_t heard = follower_stable(r->follower);
    return heard > r->recorded_stable ? heard : r->recorded_stable;
}

struct word retransmitter_recalled(const struct retransmitter *r)
{
    return r->recalled;
}

bool retransmitter_rests(const void *core)
{
    const struct retransmitter *r = core;
    return journal_durable(r->journal).seq < journal_tail(r->journal).seq && !r->draining &&
           r->fill.queue_count == 0 && !follower_replaying(r->follower);
}

uint64_t *retransmitter_counters(struct retransmitter *r)
{
    return r->counters;
}
