#include "sequencer/core_private.h"

#include <stdlib.h>

enum {
    DATAGRAM_MIN = BATCH_HEADER_SIZE + MESSAGE_HEADER_SIZE + SYS_PAYLOAD_MAX,
    PAGE_BYTES = 4096 /* at least */
};

/* ---- options and memory ---------------------------------------------------------------------- */

void sequencer_options_default(struct sequencer_options *o)
{
    *o = (struct sequencer_options) { .how = SYS_EPOCH_STARTED,
                                      .why = "",
                                      .datagram_max = WIRE_DATAGRAM_DEFAULT,
                                      .ring_bytes = UINT64_C(64) << 20,
                                      .queue_max = 8192,
                                      .window = 4096,
                                      .run_bytes_max = RUN_BYTES_DEFAULT,
                                      .quantum_bytes = 4096,
                                      .step_batches_max = 128,
                                      .tick_ns = UINT64_C(1000000000),
                                      .words_ns = UINT64_C(5000000000),
                                      .heartbeat_min_ns = 20000,
                                      .heartbeat_max_ns = UINT64_C(100000000),
                                      .pace_ns = 50000,
                                      .clock_ahead_max_ns = UINT64_C(10000000000),
                                      .seal_retry_ns = UINT64_C(50000000),
                                      .lease_silence_ns = UINT64_C(500000000),
                                      .adopt_timeout_ns = UINT64_C(2000000000) };
}

static uint32_t stride_of(uint32_t length)
{
    return (length + 63) & ~(uint32_t)63;
}

static uint32_t at_least(uint32_t value, uint32_t least)
{
    return value < least ? least : value;
}

/* The options as they are understood: what is out of range means the nearest in range. */
static struct sequencer_options resolve(const struct sequencer_options *given)
{
    struct sequencer_options o = *given;
    if (o.datagram_max == 0)
        o.datagram_max = WIRE_DATAGRAM_DEFAULT;
    o.datagram_max = at_least(o.datagram_max, DATAGRAM_MIN);
    if (o.datagram_max > WIRE_DATAGRAM_MAX)
        o.datagram_max = WIRE_DATAGRAM_MAX;
    uint64_t ring_min = (uint64_t)RING_SLOTS_MIN * stride_of(o.datagram_max);
    if (o.ring_bytes < ring_min)
        o.ring_bytes = ring_min;
    o.queue_max = at_least(o.queue_max, QUEUE_MIN);
    if (o.pending_max == 0)
        o.pending_max = 4096;
    o.window = at_least(o.window, 1);
    o.run_bytes_max = at_least(o.run_bytes_max, 1);
    o.quantum_bytes = at_least(o.quantum_bytes, QUANTUM_MIN);
    o.step_batches_max = at_least(o.step_batches_max, 1);
    o.heartbeat_min_ns = o.heartbeat_min_ns == 0 ? 1 : o.heartbeat_min_ns;
    if (o.heartbeat_max_ns < o.heartbeat_min_ns)
        o.heartbeat_max_ns = o.heartbeat_min_ns;
    o.seal_retry_ns = o.seal_retry_ns == 0 ? 1 : o.seal_retry_ns;
    o.adopt_timeout_ns = o.adopt_timeout_ns == 0 ? 1 : o.adopt_timeout_ns;
    if (o.source_count > FOLLOWER_SOURCES_MAX)
        o.source_count = FOLLOWER_SOURCES_MAX;
    o.catalog = catalog_options_resolve(&o.catalog);
    return o;
}

static uint32_t ring_slots_of(const struct sequencer_options *o)
{
    uint64_t slots = RING_SLOTS_MIN;
    uint32_t stride = stride_of(o->datagram_max);
    while (slots * 2 * stride <= o->ring_bytes && slots < UINT64_C(1) << 30)
        slots *= 2;
    return (uint32_t)slots;
}

static struct follower_options follower_options_of(const struct sequencer_options *o)
{
    struct follower_options f = { .stream = o->stream,
                                  .level = FOLLOWER_SEQUENCED,
                                  .pending_max = o->pending_max,
                                  .datagram_max = o->datagram_max,
                                  .gap_delay_ns = 20000,
                                  .retry_ns = 300000,
                                  .retry_max_ns = UINT64_C(50000000),
                                  .bulk_messages = 8192,
                                  .source_count = o->source_count,
                                  .random = o->candidate };
    memcpy(f.sources, o->sources, sizeof f.sources);
    return f;
}

size_t sequencer_memory(const struct sequencer_options *given)
{
    struct sequencer_options o = resolve(given);
    struct follower_options f = follower_options_of(&o);
    size_t ring = ring_slots_of(&o);
    size_t stride = stride_of(o.datagram_max);
    size_t machines = catalog_memory(&o.catalog) + ledger_memory(&o.catalog);
    return sizeof(struct sequencer) + 2 * machines + o.catalog.publishers_max +
           follower_memory(&f) + ring * (stride + sizeof(struct ring_slot)) +
           o.queue_max * (stride + sizeof(struct held)) +
           o.catalog.publishers_max * sizeof(struct queue);
}

/* ---- the stream, until we lead --------------------------------------------------------------- */

bool sequencer_discards(const struct sequencer *s, const struct message *m, uint32_t *publisher,
                        bool *discarding)
{
    if (m->topic == TOPIC_REJECT && m->publisher != 0) {
        struct sys_reject reject;
        if (!sys_reject_decode(m->payload, m->length, &reject))
            return false;
        *publisher = m->publisher;
        *discarding = reject.reason == REJECT_TOO_LARGE && reject.detail != 0;
        return true;
    }
    struct sys_join join;
    if (m->topic != TOPIC_JOIN || !sys_join_decode(m->payload, m->length, &join) ||
        join.publisher >= s->ledger.publishers_max)
        return false;
    *publisher = join.publisher;
    *discarding = false;
    return true;
}

void sequencer_follow_message(struct sequencer *s, const struct message *m)
{
    uint32_t publisher;
    bool discarding;
    if (sequencer_discards(s, m, &publisher, &discarding))
        s->queues[publisher].discarding = discarding;
}

/* What has been sequenced need not be held any longer, nor what an older incarnation proposed. */
static void prune_held(struct sequencer *s, const struct message *m)
{
    if (m->publisher != 0) {
        struct queue *q = &s->queues[m->publisher];
        if (q->head != NIL)
            queue_trim(s, q, ledger_next(&s->ledger, m->publisher));
    } else if (m->topic == TOPIC_JOIN) {
        struct sys_join join;
        if (sys_join_decode(m->payload, m->length, &join) &&
            join.publisher < s->ledger.publishers_max)
            queue_drop(s, join.publisher);
    }
}

void sequencer_apply(struct sequencer *s, const uint8_t *batch, const struct batch_header *header)
{
    struct batch_cursor cursor = batch_begin(batch, header);
    struct message m;
    while (batch_next(&cursor, &m)) {
        enum catalog_verdict verdict = catalog_apply(s->catalog, &m, header);
        if (verdict == CATALOG_OTHER_PROTOCOL)
            s->unfit = "the stream speaks another version of the protocol";
        if (verdict == CATALOG_DIVERGED)
            s->unfit = "the catalog differs from the one that the session record names";
        if (!ledger_apply(&s->ledger, &m)) {
            s->unfit = "the stream breaks its own rules: verify the journals";
            continue;
        }
        if (m.topic < TOPIC_FIRST_USER)
            sequencer_follow_message(s, &m);
        prune_held(s, &m);
    }
    s->next_seq = batch_end_seq(header);
    s->digest = header->digest;
}

/* Messages that the leader heard proposed, and we did not. Only what is live counts: the rest was
 * proposed before we listened. */
static void listen(struct sequencer *s, const uint8_t *batch, const struct batch_header *header)
{
    if (s->unheard >= DEAF_MESSAGES || follower_leader_heard_ns(s->follower) == 0 ||
        batch_end_seq(header) < follower_goal_next(s->follower))
        return;
    struct batch_cursor cursor = batch_begin(batch, header);
    struct message m;
    while (batch_next(&cursor, &m))
        s->unheard += m.publisher != 0;
}

static bool deliver(void *ctx, const uint8_t *batch, const struct batch_header *header)
{
    struct sequencer *s = ctx;
    /* Where bytes of the ring wait for the flush, it stays as it is until then. */
    if (s->state == SEQUENCER_LEADING || s->unfit != NULL || s->ring_lent != UINT64_MAX)
        return false;
    s->base.tried = false;
    ring_put(s, batch, header);
    sequencer_apply(s, batch, header);
    listen(s, batch, header);
    count(s, COUNTER_MESSAGES_DELIVERED, header->count);
    if (header->timestamp_ns > s->last_stamp_ns)
        s->last_stamp_ns = header->timestamp_ns;
    s->last_stamp_mono_ns = s->now.mono_ns;
    return true;
}

static void forget(struct sequencer *s)
{
    catalog_reset(s->catalog);
    ledger_reset(&s->ledger);
    queue_reset_all(s);
    ring_reset(s);
    base_reset(s);
    s->next_seq = 1;
    s->digest = (struct digest) { 0, 0 };
    s->permit_publisher = 0;
    s->last_stamp_ns = 0;
    s->unfit = NULL;
    s->caught_up = false;
}

void sequencer_rebuild(struct sequencer *s, struct epoch heard)
{
    forget(s);
    follower_start(s->follower, (struct position) { .seq = 0 }, (struct digest) { 0, 0 }, NULL,
                   heard);
}

/* Follows on from what the state machines hold. */
static void follow_on(struct sequencer *s, struct epoch heard)
{
    const struct epoch_table *epochs = catalog_epochs(s->catalog);
    const struct epoch_entry *entry = epoch_table_find(epochs, s->next_seq - 1);
    if (entry == NULL) {
        sequencer_rebuild(s, heard);
        return;
    }
    struct position tail = { .epoch = entry->epoch, .seq = s->next_seq - 1 };
    follower_start(s->follower, tail, s->digest, epochs, heard);
}

void sequencer_restart(struct sequencer *s, struct epoch heard)
{
    bool again = s->base.tried;
    if (again || s->base.next_seq == 1 || !base_rollback(s, s->base.next_seq)) {
        sequencer_rebuild(s, heard);
        return;
    }
    s->base.tried = true;
    follow_on(s, heard);
}

static void forked(void *ctx, uint64_t first_seq, struct epoch by)
{
    struct sequencer *s = ctx;
    if (base_rollback(s, first_seq))
        return;
    s->adopt_again = s->state == SEQUENCER_ADOPTING;
    /* 1: it can't be told where the two part, so the base may still be common to both. */
    if (first_seq == 1)
        sequencer_restart(s, by);
    else
        sequencer_rebuild(s, by);
}

void sequencer_stand_by(struct sequencer *s)
{
    s->state = SEQUENCER_FOLLOWING;
    s->want_lead = false;
    s->seal_begun = false;
    s->probe = (struct probe) { 0 };
    s->waiting_for[0] = '\0';
}

/* What we emitted stays followed, as a tail that nobody has vouched for: where a later epoch's
 * history parts from it, it is cut like any other. */
static void leave(struct sequencer *s, struct epoch heard)
{
    assert(!s->batch_is_open);
    sequencer_stand_by(s);
    s->leader_word_ns = s->now.mono_ns;
    s->unheard = 0;
    s->stable = 0;
    s->paused = s->pacing = false;
    if (s->is_volatile || !s->base.valid) {
        s->is_volatile = false;
        sequencer_rebuild(s, heard);
        return;
    }
    queue_stand_by(s);
    follow_on(s, heard);
}

void sequencer_resign(struct sequencer *s)
{
    leave(s, s->epoch);
}

void sequencer_fence(struct sequencer *s, uint32_t number, struct epoch by, bool begun)
{
    if (number > s->number_seen)
        s->number_seen = number;
    count(s, COUNTER_FENCED, 1);
    s->fenced_by = number;
    s->fenced_begun = begun;
    command_abandon(s, "fenced by a later epoch before it was done: ask the new leader");
    leave(s, by);
}

/* ---- create ---------------------------------------------------------------------------------- */

static bool allocate(struct sequencer *s)
{
    struct follower_options f = follower_options_of(&s->o);
    struct follower_callbacks callbacks = { .deliver = deliver, .forked = forked, .ctx = s };
    s->ring_slots = ring_slots_of(&s->o);
    s->ring_stride = stride_of(s->o.datagram_max);
    s->held_stride = s->ring_stride;
    s->catalog = catalog_create(&s->o.catalog);
    s->follower = follower_create(&f, &callbacks, s->port, s->counters);
    s->ring = calloc(s->ring_slots, sizeof *s->ring);
    s->ring_bytes = aligned_alloc(64, (size_t)s->ring_slots * s->ring_stride);
    s->queues = calloc(s->o.catalog.publishers_max, sizeof *s->queues);
    s->held = calloc(s->o.queue_max, sizeof *s->held);
    s->held_bytes = aligned_alloc(64, (size_t)s->o.queue_max * s->held_stride);
    /* Touched now: a page fault per third batch is as long as all the rest that a batch takes. */
    for (size_t at = 0; s->ring_bytes != NULL && at < (size_t)s->ring_slots * s->ring_stride;
         at += PAGE_BYTES)
        s->ring_bytes[at] = 0;
    return ledger_init(&s->ledger, &s->o.catalog) && base_allocate(s) && s->catalog != NULL &&
           s->follower != NULL && s->ring != NULL && s->ring_bytes != NULL && s->queues != NULL &&
           s->held != NULL && s->held_bytes != NULL;
}

static void copy_text(char *out, size_t capacity, const char *text)
{
    size_t length = text == NULL ? 0 : strnlen(text, capacity - 1);
    if (length > 0)
        memcpy(out, text, length);
    memset(out + length, 0, capacity - length);
}

struct sequencer *sequencer_create(const struct sequencer_options *o, struct port *port,
                                   struct port_time now)
{
    struct sequencer *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->o = resolve(o);
    s->port = port;
    s->now = s->created = now;
    s->counters = o->counters != NULL ? o->counters : s->own_counters;
    if (!allocate(s)) {
        sequencer_destroy(s);
        return NULL;
    }
    uint64_t ring = (uint64_t)s->ring_slots * s->ring_stride;
    if (s->o.step_batches_max > s->ring_slots / 4)
        s->o.step_batches_max = s->ring_slots / 4;
    if (s->o.pace_bytes == 0)
        s->o.pace_bytes = ring / 2;
    s->token_reserve = s->o.queue_max / 2;
    if (s->token_reserve > RUN_MESSAGES_MAX)
        s->token_reserve = RUN_MESSAGES_MAX;
    s->run_messages_max = s->token_reserve < s->o.window ? s->token_reserve : s->o.window;
    s->payload_max = s->o.datagram_max - BATCH_HEADER_SIZE - MESSAGE_HEADER_SIZE;
    if (s->payload_max > MESSAGE_PAYLOAD_MAX)
        s->payload_max = MESSAGE_PAYLOAD_MAX;
    copy_text(s->why, sizeof s->why, s->o.why);
    copy_text(s->session, sizeof s->session, s->o.session);
    copy_text(s->session_first, sizeof s->session_first,
              s->o.session_first != NULL ? s->o.session_first : "default");
    s->random = s->o.candidate;
    s->advice = (struct hint_bucket) { now.mono_ns, HINT_INTERVAL_NS, HINTS_BURST };
    s->holes = (struct hint_bucket) { now.mono_ns, HOLE_INTERVAL_NS, HINTS_BURST };
    s->state = SEQUENCER_FOLLOWING;
    s->want_lead = s->o.lead;
    s->leader_word_ns = now.mono_ns;
    sequencer_rebuild(s, (struct epoch) { 0 });
    return s;
}

void sequencer_destroy(struct sequencer *s)
{
    if (s == NULL)
        return;
    catalog_destroy(s->catalog);
    ledger_close(&s->ledger);
    base_free(s);
    if (s->follower != NULL)
        follower_destroy(s->follower);
    free(s->ring);
    free(s->ring_bytes);
    free(s->queues);
    free(s->held);
    free(s->held_bytes);
    free(s);
}

/* ---- sending --------------------------------------------------------------------------------- */

void sequencer_send(struct sequencer *s, enum port_channel channel, struct port_addr to,
                    const uint8_t *bytes, uint32_t length)
{
    count(s, COUNTER_DATAGRAMS_OUT, 1);
    count(s, COUNTER_BYTES_OUT, length);
    port_send(s->port, channel, to, bytes, length);
}

void sequencer_send_egress(struct sequencer *s, const uint8_t *bytes, uint32_t length)
{
    sequencer_send(s, PORT_EGRESS_A, (struct port_addr) { 0 }, bytes, length);
    if (s->o.line_b)
        sequencer_send(s, PORT_EGRESS_B, (struct port_addr) { 0 }, bytes, length);
}

/* ---- datagrams ------------------------------------------------------------------------------- */

void sequencer_count_verdict(struct sequencer *s, enum wire_verdict verdict)
{
    switch (verdict) {
    case WIRE_OK:
        break;
    case WIRE_SHORT:
        count(s, COUNTER_DROPPED_SHORT, 1);
        break;
    case WIRE_FOREIGN:
        count(s, COUNTER_DROPPED_FOREIGN, 1);
        break;
    case WIRE_OTHER_VERSION:
        count(s, COUNTER_DROPPED_VERSION, 1);
        break;
    case WIRE_OTHER_STREAM:
        count(s, COUNTER_DROPPED_STREAM, 1);
        break;
    case WIRE_CORRUPT:
        count(s, COUNTER_DROPPED_CORRUPT, 1);
        break;
    case WIRE_MALFORMED:
        count(s, COUNTER_DROPPED_MALFORMED, 1);
        break;
    }
}

/* While leading, the stream is our own; the only news in it would be a later epoch. Our own batches
 * come back to us by multicast, so the number is looked at before the digest. */
static void on_stream_datagram(struct sequencer *s, const struct port_datagram *d,
                               enum wire_type type)
{
    if (s->state == SEQUENCER_LEADING) {
        enum wire_verdict verdict = WIRE_OK;
        struct epoch epoch = { 0 };
        if (type == WIRE_BATCH) {
            struct batch_header h;
            if (d->length < BATCH_HEADER_SIZE || wire_load32(d->bytes + 80) <= s->epoch.number)
                return;
            verdict = batch_verify(d->bytes, d->length, s->o.stream, &h);
            epoch = h.epoch;
        } else if (type == WIRE_HEARTBEAT) {
            struct heartbeat h;
            verdict = heartbeat_decode(d->bytes, d->length, s->o.stream, &h);
            epoch = h.epoch;
        }
        sequencer_count_verdict(s, verdict);
        if (verdict != WIRE_OK || epoch.number <= s->epoch.number)
            return;
        sequencer_fence(s, epoch.number, epoch, true);
    }
    follower_on_datagram(s->follower, d, s->now);
    struct epoch heard = follower_heard(s->follower);
    if (heard.number > s->number_seen)
        s->number_seen = heard.number;
    uint64_t word_ns = follower_leader_heard_ns(s->follower);
    if (word_ns <= s->leader_word_ns)
        return;
    s->leader_word_ns = word_ns;
    if (s->state == SEQUENCER_SEALING || s->state == SEQUENCER_ADOPTING)
        seal_on_leader(s, heard);
}

static void on_signal(struct sequencer *s, const struct port_datagram *d, enum wire_type type)
{
    enum wire_verdict verdict = WIRE_OK;
    if (type == WIRE_JOIN) {
        struct ask ask = { .type = type, .from = d->from };
        verdict = join_decode(d->bytes, d->length, s->o.stream, &ask.join);
        if (verdict == WIRE_OK)
            ask_on(s, &ask);
    } else if (type == WIRE_CREATE) {
        struct ask ask = { .type = type, .from = d->from };
        verdict = create_decode(d->bytes, d->length, s->o.stream, &ask.create);
        if (verdict == WIRE_OK)
            ask_on(s, &ask);
    } else if (type == WIRE_ACK) {
        struct ack ack;
        verdict = ack_decode(d->bytes, d->length, s->o.stream, &ack);
        if (verdict == WIRE_OK)
            ack_on(s, &ack, d->from);
    } else if (type == WIRE_PROMISE) {
        struct promise promise;
        verdict = promise_decode(d->bytes, d->length, s->o.stream, &promise);
        if (verdict == WIRE_OK)
            seal_on_promise(s, &promise, d->from);
    } else if (type == WIRE_SEAL) {
        struct seal seal;
        verdict = seal_decode(d->bytes, d->length, s->o.stream, &seal);
        if (verdict == WIRE_OK && !seal.probe && seal.epoch.candidate != s->o.candidate) {
            if (seal.epoch.number > s->number_seen)
                s->number_seen = seal.epoch.number;
            probe_on_seal(s);
        }
    }
    sequencer_count_verdict(s, verdict);
}

static void on_datagram(struct sequencer *s, const struct port_datagram *d)
{
    enum wire_type type;
    count(s, COUNTER_DATAGRAMS_IN, 1);
    count(s, COUNTER_BYTES_IN, d->length);
    enum wire_verdict verdict = wire_peek(d->bytes, d->length, s->o.stream, &type);
    if (verdict != WIRE_OK) {
        sequencer_count_verdict(s, verdict);
        return;
    }
    switch (type) {
    case WIRE_PROPOSAL:
        queue_on_proposal(s, d);
        break;
    case WIRE_BATCH:
    case WIRE_HEARTBEAT:
    case WIRE_GAP_REFUSAL:
        on_stream_datagram(s, d, type);
        break;
    case WIRE_GAP_REQUEST:
        answer_gap_request(s, d);
        break;
    case WIRE_JOIN:
    case WIRE_CREATE:
    case WIRE_ACK:
    case WIRE_SEAL:
    case WIRE_PROMISE:
        on_signal(s, d, type);
        break;
    case WIRE_HINT: /* for publishers */
    case WIRE_RECALL:
        break;
    case WIRE_TYPE_END:
        count(s, COUNTER_DROPPED_MALFORMED, 1);
        break;
    }
}

static void on_datagrams(void *core, const struct port_datagram *datagrams, uint32_t n,
                         struct port_time now)
{
    struct sequencer *s = core;
    s->now = now;
    for (uint32_t i = 0; i < n; i++) {
        if (i + PREFETCH_AHEAD < n)
            queue_prefetch(s, &datagrams[i + PREFETCH_AHEAD]);
        on_datagram(s, &datagrams[i]);
    }
}

/* ---- the state machine ----------------------------------------------------------------------- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t lead_step(struct sequencer *s)
{
    if (seal_again_due(s)) {
        seal_again(s);
        return s->now.mono_ns;
    }
    s->step_batches = 0;
    s->blocked = BLOCKED_NOT;
    s->fills_left = FILLS_PER_STEP_MAX;
    if (s->run.left == 0) {
        if (s->session_due)
            emit_session_record(s);
        command_lead_step(s);
    }
    if (!s->holds_back) {
        emit_words(s);
        emit_tick(s); /* before what would leave no room for it, for as long as there is load */
        append_step(s);
    }
    emit_close(s, false);
    emit_heartbeat(s);
    s->ring_lent = UINT64_MAX;
    if (base_follow(s, s->stable, s->step_batches + BASE_BATCHES_EXTRA))
        return s->now.mono_ns;
    return emit_deadline(s);
}

static uint64_t state_step(struct sequencer *s)
{
    struct port_time now = s->now;
    if (s->state == SEQUENCER_LEADING)
        return lead_step(s);
    uint64_t deadline = follower_step(s->follower, now);
    s->caught_up = s->caught_up || follower_caught_up(s->follower);
    if (base_follow(s, follower_stable(s->follower), BASE_BATCHES_STANDBY))
        deadline = now.mono_ns;
    s->ring_lent = UINT64_MAX;
    if (s->state == SEQUENCER_FOLLOWING && s->want_lead && s->unfit == NULL) {
        s->want_lead = false;
        if (s->o.volatile_genesis_length > 0)
            begin_volatile(s);
        else
            seal_start(s);
    }
    if (s->state == SEQUENCER_FOLLOWING)
        deadline = earlier(deadline, probe_step(s));
    switch (s->state) {
    case SEQUENCER_FOLLOWING:
        return deadline;
    case SEQUENCER_SEALING:
        return earlier(deadline, seal_step(s));
    case SEQUENCER_ADOPTING:
        deadline = earlier(deadline, adopt_step(s));
        return s->state == SEQUENCER_LEADING ? lead_step(s) : deadline;
    case SEQUENCER_LEADING:
        return lead_step(s);
    }
    return deadline;
}

static uint64_t step(void *core, struct port_time now)
{
    struct sequencer *s = core;
    s->now = now;
    uint64_t deadline = state_step(s);
    return earlier(deadline, status_step(s));
}

static size_t on_stream(void *core, const struct port_stream_event *e, struct port_time now)
{
    struct sequencer *s = core;
    size_t consumed = 0;
    s->now = now;
    if (follower_on_stream(s->follower, e, now, &consumed))
        return consumed;
    return status_on_stream(s, e);
}

/* It has no disk. */
static void on_disk(void *core, const struct disk_completion *completion, struct port_time now)
{
    (void)core;
    (void)completion;
    (void)now;
}

const struct participant_ops sequencer_participant = {
    .on_datagrams = on_datagrams, .on_stream = on_stream, .on_disk = on_disk, .step = step
};

void sequencer_lead(struct sequencer *s, uint8_t how, const char *why)
{
    if (s->state == SEQUENCER_LEADING)
        return;
    s->o.how = how;
    copy_text(s->why, sizeof s->why, why);
    s->automatic = false;
    s->want_lead = s->state == SEQUENCER_FOLLOWING;
}
