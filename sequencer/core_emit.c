#include "sequencer/core_private.h"

enum { HEARTBEAT_PATIENCE = 5 }; /* times heartbeat_min_ns: a first heartbeat is never later */

/* ---- the ring -------------------------------------------------------------------------------- */

void ring_reset(struct sequencer *s)
{
    s->ring_head = s->ring_stable = s->ring_end = 0;
    s->ring_lent = UINT64_MAX;
    s->batch_is_open = false;
    s->paused = s->pacing = false;
}

uint64_t ring_find(const struct sequencer *s, uint64_t seq)
{
    uint64_t low = s->ring_head;
    uint64_t high = s->ring_end;
    uint32_t mask = s->ring_slots - 1;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        const struct ring_slot *slot = &s->ring[middle & mask];
        if (seq < slot->first_seq)
            high = middle;
        else if (seq >= slot->end_seq)
            low = middle + 1;
        else
            return middle;
    }
    return UINT64_MAX;
}

/* Slots that cannot be had: what is not stable stays. Where nothing ever is, the oldest goes. */
static uint64_t ring_used(const struct sequencer *s)
{
    if (s->is_volatile || sabotaged(s, SEQUENCER_RING_FORGETS))
        return 0;
    return s->ring_end - s->ring_stable;
}

static void blocked_by_ring(struct sequencer *s)
{
    s->blocked = BLOCKED_RING;
    if (!s->paused)
        count(s, COUNTER_RING_FULL, 1);
    s->paused = true;
}

bool emit_ring_room(struct sequencer *s, uint32_t slots)
{
    if (ring_used(s) + s->batch_is_open + slots + RING_RESERVE <= s->ring_slots)
        return true;
    blocked_by_ring(s);
    return false;
}

static bool ring_take(struct sequencer *s, enum room room)
{
    uint64_t reserve = room == ROOM_RESERVED ? 0 : RING_RESERVE;
    if (ring_used(s) + 1 + reserve > s->ring_slots) {
        blocked_by_ring(s);
        return false;
    }
    s->paused = false;
    if (s->ring_end - s->ring_head == s->ring_slots) {
        if (s->ring_head == s->ring_lent) {
            s->blocked = BLOCKED_BUDGET;
            return false;
        }
        if (s->ring_stable == s->ring_head)
            s->ring_stable++;
        base_push(s);
        s->ring_head++;
    }
    return true;
}

void ring_put(struct sequencer *s, const uint8_t *bytes, const struct batch_header *h)
{
    assert(h->length <= s->ring_stride);
    if (s->ring_end - s->ring_head == s->ring_slots) {
        base_push(s);
        s->ring_head++;
    }
    memcpy(ring_bytes_at(s, s->ring_end), bytes, h->length);
    *ring_slot_at(s, s->ring_end++) = (struct ring_slot) { .first_seq = h->first_seq,
                                                           .end_seq = batch_end_seq(h),
                                                           .digest = h->digest,
                                                           .length = h->length };
}

void emit_stable_rose(struct sequencer *s)
{
    while (s->ring_stable < s->ring_end) {
        const struct ring_slot *slot = ring_slot_at(s, s->ring_stable);
        if (slot->end_seq - 1 > s->stable)
            break;
        s->ring_stable++;
        s->paused = false;
    }
}

/* ---- batches --------------------------------------------------------------------------------- */

/* Past a bound of the quorum's lag, one batch per pace_ns: the quorum is slow, not gone. The lag is
 * counted in room of the ring, of which a short batch takes as much as a long one. */
static bool held_by_pace(struct sequencer *s)
{
    uint64_t lag = (s->ring_end - s->ring_stable) * s->ring_stride;
    if (s->is_volatile || lag <= s->o.pace_bytes) {
        s->pacing = false;
        return false;
    }
    if (!s->pacing)
        count(s, COUNTER_PACED, 1);
    s->pacing = true;
    if (s->now.mono_ns >= s->pace_at_ns)
        return false;
    s->blocked = BLOCKED_PACE;
    return true;
}

static bool open_batch(struct sequencer *s, enum room room)
{
    if (room == ROOM_ORDINARY) {
        if (s->step_batches >= s->o.step_batches_max) {
            s->blocked = BLOCKED_BUDGET;
            return false;
        }
        if (held_by_pace(s))
            return false;
    }
    if (!ring_take(s, room))
        return false;
    s->blocked = BLOCKED_NOT;
    s->step_batches++;
    s->pace_at_ns = s->now.mono_ns + s->o.pace_ns;
    batch_open(&s->batch, ring_bytes_at(s, s->ring_end), s->o.datagram_max, s->next_seq);
    s->batch_header = (struct batch_header) { .stream = s->o.stream,
                                              .before = s->digest,
                                              .epoch = s->epoch,
                                              .first_seq = s->next_seq,
                                              .timestamp_ns = time_stamp(s) };
    s->batch_is_open = true;
    s->batch_plain = true;
    return true;
}

bool emit_room(struct sequencer *s, uint32_t payload_length, enum room room)
{
    if (s->batch_is_open) {
        if (batch_fits(&s->batch, payload_length))
            return true;
        emit_close(s, true);
    }
    return open_batch(s, room);
}

/* For the planted mistakes with rights; without them, always. */
static bool follows_rights(const struct sequencer *s, const struct message *m)
{
    if (m->topic != TOPIC_GRANT && m->topic != TOPIC_GROUP)
        return true;
    bool revokes = m->length > 0 && m->payload[0] != 0;
    return !sabotaged(s, SEQUENCER_RIGHTS_OF_BATCH) &&
           !(revokes && sabotaged(s, SEQUENCER_REVOCATION_IGNORED));
}

static void follow_rights_late(struct sequencer *s, const uint8_t *bytes)
{
    struct batch_cursor cursor = batch_begin(bytes, &s->batch_header);
    struct message m;
    while (batch_next(&cursor, &m))
        if (!follows_rights(s, &m))
            (void)catalog_apply(s->catalog, &m, &s->batch_header);
}

/* Of batches that leave at different times. */
static void note_gap(struct sequencer *s)
{
    uint64_t gap_ns = s->now.mono_ns - s->batch_sent_ns;
    uint64_t max_ns = HEARTBEAT_PATIENCE * s->o.heartbeat_min_ns;
    if (gap_ns == 0)
        return;
    s->batch_sent_ns = s->now.mono_ns;
    s->batch_gap_ns = (3 * s->batch_gap_ns + (gap_ns < max_ns ? gap_ns : max_ns)) / 4;
}

/* Where batches follow each other soon, the next one tells what a heartbeat would: that one is in nobody's way. */
static uint64_t first_heartbeat_ns(const struct sequencer *s)
{
    uint64_t min_ns = s->o.heartbeat_min_ns, patient_ns = 2 * s->batch_gap_ns;
    bool soon = patient_ns > min_ns && patient_ns <= HEARTBEAT_PATIENCE * min_ns;
    return soon && patient_ns <= s->o.heartbeat_max_ns ? patient_ns : min_ns;
}

void emit_close(struct sequencer *s, bool full)
{
    if (!s->batch_is_open)
        return;
    s->batch_is_open = false;
    if (sabotaged(s, SEQUENCER_STABLE_UNACKED))
        s->stable = s->next_seq - 1;
    s->batch_header.stable = s->stable;
    batch_close(&s->batch, full && s->o.pad ? s->o.datagram_max : 0, &s->batch_header);
    const struct batch_header *h = &s->batch_header;
    s->digest = h->digest;
    uint8_t *bytes = ring_bytes_at(s, s->ring_end);
    if (sabotaged(s, SEQUENCER_RIGHTS_OF_BATCH))
        follow_rights_late(s, bytes);
    *ring_slot_at(s, s->ring_end++) = (struct ring_slot) { .first_seq = h->first_seq,
                                                           .end_seq = batch_end_seq(h),
                                                           .digest = h->digest,
                                                           .length = h->length,
                                                           .plain = s->batch_plain };
    if (sabotaged(s, SEQUENCER_STABLE_UNACKED))
        emit_stable_rose(s);
    count(s, COUNTER_BATCHES_EMITTED, 1);
    count(s, COUNTER_MESSAGES_SEQUENCED, h->count);
    sequencer_send_egress(s, bytes, h->length);
    s->stable_rose = false;
    note_gap(s);
    s->heartbeat_interval_ns = first_heartbeat_ns(s);
    s->heartbeat_at_ns = s->now.mono_ns + s->heartbeat_interval_ns;
}

/* ---- records --------------------------------------------------------------------------------- */

bool emit_record(struct sequencer *s, uint32_t topic, uint32_t publisher, uint64_t publisher_seq,
                 const uint8_t *payload, uint32_t length, enum room room)
{
    if (!emit_room(s, length, room))
        return false;
    s->batch_plain = false;
    struct message m = { .seq = batch_add(&s->batch, topic, publisher, publisher_seq, 0, payload,
                                          length),
                         .timestamp_ns = s->batch_header.timestamp_ns,
                         .publisher_seq = publisher_seq,
                         .topic = topic,
                         .publisher = publisher,
                         .length = length,
                         .payload = payload };
    s->next_seq = m.seq + 1;
    enum catalog_verdict verdict = CATALOG_OK;
    if (follows_rights(s, &m))
        verdict = catalog_apply(s->catalog, &m, &s->batch_header);
    bool lawful = ledger_apply(&s->ledger, &m);
    assert((lawful && (verdict == CATALOG_OK || verdict == CATALOG_IGNORED)) || s->o.sabotage != 0);
    (void)lawful;
    sequencer_follow_message(s, &m);
    s->permit_publisher = 0;
    return true;
}

/* Alone in its batch: whoever looks for where an epoch begins finds nothing else there. */
void emit_epoch_record(struct sequencer *s)
{
    const struct epoch_table *epochs = catalog_epochs(s->catalog);
    struct sys_epoch record = { .epoch = s->epoch,
                                .adopted = s->adopted,
                                .digest = s->adopted_digest,
                                .how = s->o.how,
                                .entry_count = epochs->count };
    if (record.entry_count > EPOCH_RECORD_ENTRIES)
        record.entry_count = EPOCH_RECORD_ENTRIES;
    memcpy(record.entries, epochs->entries + epochs->count - record.entry_count,
           record.entry_count * sizeof record.entries[0]);
    memcpy(record.why, s->why, sizeof record.why);
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_epoch_encode(&record, payload, sizeof payload);
    assert(length > 0);
    bool done = emit_record(s, TOPIC_EPOCH, 0, 0, payload, (uint32_t)length, ROOM_RESERVED);
    assert(done); /* the ring is empty */
    (void)done;
    emit_close(s, false);
}

/* A name that no record can hold is none: whatever runs goes on. */
void emit_session_record(struct sequencer *s)
{
    const char *running = catalog_session(s->catalog);
    const char *name = session_name_valid(s->session)         ? s->session
                       : running[0] != '\0'                   ? running
                       : session_name_valid(s->session_first) ? s->session_first
                                                              : "default";
    s->session_due = false;
    if (strcmp(name, running) == 0)
        return;
    struct sys_session record = { .protocol_version = WIRE_VERSION,
                                  .protocol_digest = protocol_digest(),
                                  .catalog_digest = catalog_digest(s->catalog) };
    memcpy(record.name, name, strlen(name) + 1);
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_session_encode(&record, payload, sizeof payload);
    assert(length > 0);
    s->session_due = !emit_record(s, TOPIC_SESSION, 0, 0, payload, (uint32_t)length, ROOM_RESERVED);
}

/* It counts from its append: whoever acknowledged is judged by it at once. */
bool emit_member_record(struct sequencer *s, struct membership *members)
{
    uint8_t payload[SYS_PAYLOAD_MAX];
    members->seq = s->next_seq;
    size_t length = sys_member_encode(members, payload, sizeof payload);
    assert(length > 0);
    if (!emit_record(s, TOPIC_MEMBER, 0, 0, payload, (uint32_t)length, ROOM_RESERVED))
        return false;
    assert(catalog_members(s->catalog)->seq == members->seq);
    count(s, COUNTER_MEMBER_CHANGES, 1);
    ack_judge(s);
    return true;
}

/* One that finds no room stays due: it is emitted as soon as there is some. */
void emit_tick(struct sequencer *s)
{
    if (s->o.tick_ns == 0 || s->now.mono_ns < s->tick_at_ns || s->run.left > 0)
        return;
    if (!emit_record(s, TOPIC_CLOCK, 0, 0, NULL, 0, ROOM_ORDINARY))
        return;
    s->tick_at_ns = s->now.mono_ns + s->o.tick_ns;
    count(s, COUNTER_TICKS, 1);
}

/* ---- heartbeats ------------------------------------------------------------------------------ */

static void send_heartbeat(struct sequencer *s)
{
    struct heartbeat h = { .epoch = s->epoch,
                           .next_seq = s->next_seq,
                           .digest = s->digest,
                           .stable = s->stable,
                           .time_ns = time_stamp(s),
                           .epoch_first_seq = s->epoch_first_seq };
    uint8_t *out = port_scratch(s->port, SIGNAL_SIZE_MAX);
    size_t length = heartbeat_encode(&h, s->o.stream, out, SIGNAL_SIZE_MAX);
    assert(length > 0);
    count(s, COUNTER_HEARTBEATS_OUT, 1);
    sequencer_send_egress(s, out, (uint32_t)length);
}

/* When stable rose and no batch carried the news, at once; else when due. */
void emit_heartbeat(struct sequencer *s)
{
    if (s->stable_rose) {
        s->heartbeat_interval_ns = s->o.heartbeat_min_ns;
    } else {
        if (s->now.mono_ns < s->heartbeat_at_ns)
            return;
        s->heartbeat_interval_ns *= 2;
    }
    s->stable_rose = false;
    if (s->heartbeat_interval_ns > s->o.heartbeat_max_ns)
        s->heartbeat_interval_ns = s->o.heartbeat_max_ns;
    s->heartbeat_at_ns = s->now.mono_ns + s->heartbeat_interval_ns;
    send_heartbeat(s);
}

void emit_begin(struct sequencer *s)
{
    s->tick_at_ns = s->now.mono_ns + s->o.tick_ns;
    s->words_at_ns = s->now.mono_ns + s->o.words_ns;
    s->words_next = 0;
    s->heartbeat_interval_ns = s->o.heartbeat_min_ns;
    s->batch_sent_ns = s->now.mono_ns;
    s->batch_gap_ns = HEARTBEAT_PATIENCE * s->o.heartbeat_min_ns;
    s->pace_at_ns = 0;
    s->blocked = BLOCKED_NOT;
    s->stable_rose = false;
    s->paused = s->pacing = false;
    /* What was adopted is in the stores, and may leave the ring. */
    s->ring_stable = s->ring_end;
}

uint64_t emit_deadline(const struct sequencer *s)
{
    if (sabotaged(s, SEQUENCER_RESTLESS))
        return s->now.mono_ns;
    if (s->holds_back)
        return s->heartbeat_at_ns; /* what waits to be appended goes on waiting */
    if (s->blocked == BLOCKED_BUDGET)
        return s->now.mono_ns;
    uint64_t deadline = s->heartbeat_at_ns;
    /* A tick that is due waits for room, or behind a run that does; what makes room wakes both. */
    if (s->o.tick_ns > 0 && s->tick_at_ns > s->now.mono_ns && s->tick_at_ns < deadline)
        deadline = s->tick_at_ns;
    if (s->o.words_ns > 0 && s->words_next != s->next_seq && s->words_at_ns > s->now.mono_ns &&
        s->words_at_ns < deadline && !s->is_volatile)
        deadline = s->words_at_ns;
    if (s->blocked == BLOCKED_PACE && s->pace_at_ns < deadline)
        deadline = s->pace_at_ns;
    return deadline;
}
