#include "retransmitter/core_private.h"

/* ---- what the follower may hear -------------------------------------------------------------- */

/* The epoch at its fixed place, before anything is verified. */
static struct epoch batch_epoch(const uint8_t *bytes)
{
    return (struct epoch) { .candidate = wire_load64(bytes + 72),
                            .number = wire_load32(bytes + 80) };
}

static void note_heard_tail(struct retransmitter *r, const struct batch_header *header)
{
    struct position heard = { header->epoch, batch_end_seq(header) - 1 };
    if (epoch_compare(header->epoch, r->pledge) >= 0 &&
        position_compare(heard, r->heard_tail) > 0) {
        r->heard_tail = heard;
        r->heard_digest = header->digest;
    }
}

/* Verifies what speaks for an epoch: a later one, another of this number, or the first word of this
 * one's leader. All the rest is verified by the follower, once. */
static enum wire_verdict verify(struct retransmitter *r, const struct port_datagram *d,
                                enum wire_type type, struct epoch *epoch)
{
    struct batch_header header;
    struct heartbeat heartbeat;
    enum wire_verdict verdict;
    if (type == WIRE_BATCH) {
        verdict = batch_verify(d->bytes, d->length, r->o.stream, &header);
        *epoch = header.epoch;
        if (verdict == WIRE_OK && core_sabotaged(r, RETRANSMITTER_GAP_IGNORED))
            note_heard_tail(r, &header);
    } else {
        verdict = heartbeat_decode(d->bytes, d->length, r->o.stream, &heartbeat);
        *epoch = heartbeat.epoch;
    }
    return verdict;
}

bool record_admit(struct retransmitter *r, const struct port_datagram *d, enum wire_type type)
{
    if (type == WIRE_BATCH && !core_sabotaged(r, RETRANSMITTER_GAP_IGNORED)) {
        if (d->length < BATCH_HEADER_SIZE) {
            core_count_verdict(r, WIRE_SHORT);
            return false;
        }
        struct epoch said = batch_epoch(d->bytes);
        /* Of an older epoch: a fill that may extend the chain, and never vouches. */
        if (said.number < r->pledge.number || (epoch_equal(said, r->pledge) && r->led))
            return true;
    }
    struct epoch epoch;
    enum wire_verdict verdict = verify(r, d, type, &epoch);
    if (verdict != WIRE_OK) {
        core_count_verdict(r, verdict);
        return false;
    }
    if (epoch.number > r->pledge.number) {
        promise_raise(r, epoch, true);
    } else if (epoch_equal(epoch, r->pledge)) {
        r->led = r->spoken_to = true;
    } else if (epoch.number == r->pledge.number && !core_sabotaged(r, RETRANSMITTER_RECORD_STALE)) {
        /* A promise is for one candidate of a number, and so is what is recorded. */
        r->counters[COUNTER_STALE_IN]++;
        return false;
    }
    return true;
}

/* A replay's vouches reach the follower without passing record_admit. */
void record_heard(struct retransmitter *r)
{
    struct epoch heard = follower_heard(r->follower);
    if (epoch_equal(heard, r->pledge) || r->restart_pending)
        return;
    if (heard.number > r->pledge.number)
        promise_raise(r, heard, true);
    else if (heard.number == r->pledge.number && !core_sabotaged(r, RETRANSMITTER_RECORD_STALE)) {
        r->restart_pending = true;
        r->again = true;
    }
}

/* Damage may hide the record of the epoch that the tail is of: then nothing can be compared with
 * this history until it is healed. */
static bool tail_understood(const struct retransmitter *r)
{
    struct position tail = journal_tail(r->journal);
    return epoch_table_has(journal_epochs(r->journal), tail.seq, tail);
}

/* The follower forgets what it heard and goes on behind what is recorded. */
void record_restart(struct retransmitter *r)
{
    bool half_cut =
        r->cut_pending && r->cut_retry_ns != 0; /* the journal wants it repeated first */
    if (!r->restart_pending || half_cut || !tail_understood(r))
        return;
    r->restart_pending = false;
    r->cut_pending = false;
    r->recorded_stable = retransmitter_stable(r);
    follower_start(r->follower, journal_tail(r->journal), journal_tail_digest(r->journal),
                   journal_epochs(r->journal), r->pledge);
}

/* ---- recording ------------------------------------------------------------------------------- */

bool record_deliver(void *ctx, const uint8_t *batch, const struct batch_header *header)
{
    struct retransmitter *r = ctx;
    if (r->draining || r->cut_pending)
        return false;
    record_heard(r);
    if (r->restart_pending)
        return false;
    if (!promise_held(r) && !core_sabotaged(r, RETRANSMITTER_RECORD_STALE))
        return false;
    struct position tail = journal_tail(r->journal);
    struct batch_header blind = *header;
    if (core_sabotaged(r, RETRANSMITTER_NO_DIGEST_CHECK)) {
        blind.before = journal_tail_digest(r->journal);
        header = &blind;
    }
    if (header->first_seq != tail.seq + 1 ||
        !digest_equal(header->before, journal_tail_digest(r->journal))) {
        /* The journal has moved by itself: a healed tail. */
        r->restart_pending = true;
        r->again = true;
        return false;
    }
    if (!journal_append(r->journal, batch, header))
        return false;
    r->lost = false;
    return true;
}

/* RETRANSMITTER_CUT_TO_STABLE only: where the batch that holds the watermark ends, if that is in
 * memory. */
static void cut_deeper(struct retransmitter *r)
{
    uint32_t length;
    uint64_t stable = retransmitter_stable(r);
    const uint8_t *batch = stable > 0 ? journal_recent(r->journal, stable, &length) : NULL;
    struct batch_header header;
    if (batch == NULL || batch_decode(batch, length, r->o.stream, &header) != WIRE_OK ||
        batch_end_seq(&header) > r->cut_seq)
        return;
    r->cut_seq = batch_end_seq(&header) - 1;
    r->cut_digest = header.digest;
    r->restart_deeper = true;
}

void record_forked(void *ctx, uint64_t first_seq, struct epoch by)
{
    struct retransmitter *r = ctx;
    (void)by;
    assert(first_seq > 0);
    r->cut_pending = true;
    r->cut_seq = first_seq - 1;
    r->cut_digest = follower_tail_digest(r->follower);
    r->cut_retry_ns = 0;
    if (core_sabotaged(r, RETRANSMITTER_CUT_TO_STABLE))
        cut_deeper(r);
    record_heard(r);
    r->again = true;
}

void record_lost(void *ctx, uint64_t first_seq, uint64_t oldest_seq)
{
    struct retransmitter *r = ctx;
    (void)first_seq;
    (void)oldest_seq;
    r->lost = true;
}

/* The promise first, then the cut: until the later epoch is durable here, a restart would find
 * neither. */
uint64_t record_cut(struct retransmitter *r)
{
    if (!r->cut_pending || (r->restart_pending && r->cut_retry_ns == 0))
        return PORT_NEVER;
    if (!promise_held(r) && !core_sabotaged(r, RETRANSMITTER_RECORD_STALE))
        return PORT_NEVER; /* its completion brings us back */
    if (r->now.mono_ns < r->cut_retry_ns)
        return r->cut_retry_ns;
    if (journal_tail(r->journal).seq > r->cut_seq) {
        if (!journal_cut(r->journal, r->cut_seq, r->cut_digest)) {
            r->cut_retry_ns = r->now.mono_ns + DISK_RETRY_NS;
            return r->cut_retry_ns;
        }
        fill_cut(r);
        replay_cut(r);
        command_cut(r);
    }
    r->cut_pending = false;
    r->restart_pending = r->restart_pending || r->restart_deeper;
    r->restart_deeper = false;
    r->again = true;
    return PORT_NEVER;
}

/* ---- acknowledgements ------------------------------------------------------------------------ */

static void ack_tail(const struct retransmitter *r, struct position *tail, struct digest *digest)
{
    const struct journal *j = r->journal;
    *tail = journal_durable(j);
    *digest = journal_durable_digest(j);
    if (core_sabotaged(r, RETRANSMITTER_SEND_BEFORE_PERSIST)) {
        *tail = journal_tail(j);
        *digest = journal_tail_digest(j);
    }
    if (core_sabotaged(r, RETRANSMITTER_GAP_IGNORED) && r->heard_tail.seq > tail->seq) {
        *tail = r->heard_tail;
        *digest = r->heard_digest;
    }
}

/* When something changed, and again when nothing does; where the leader has just spoken after half the
 * time, so that an idle host is woken once for both. Not by a store whose word about what is durable
 * has turned out wrong. */
uint64_t record_ack(struct retransmitter *r)
{
    const struct journal *j = r->journal;
    struct ack ack = { .store = journal_store(j),
                       .run = journal_run(j),
                       .settled = journal_settled(j),
                       .promised = journal_promised(j),
                       .clock_ns = r->now.wall_ns,
                       .full = journal_full(j) };
    ack_tail(r, &ack.tail, &ack.digest);
    if (!journal_tail_proven(j) || ack.tail.seq == 0)
        return PORT_NEVER;
    bool changed = !r->acked_any || position_compare(ack.tail, r->acked) != 0 ||
                   !epoch_equal(ack.promised, r->acked_promised) || ack.full != r->acked_full;
    uint64_t due_ns = r->ack_at_ns - (r->spoken_to ? r->o.ack_repeat_ns / 2 : 0);
    r->spoken_to = false;
    if (!changed && r->now.mono_ns < due_ns)
        return r->ack_at_ns;
    uint8_t *out = port_scratch(r->port, SIGNAL_SIZE_MAX);
    size_t length = ack_encode(&ack, r->o.stream, out, SIGNAL_SIZE_MAX);
    core_send(r, PORT_INGRESS, (struct port_addr) { 0 }, out, length);
    r->acked_any = true;
    r->acked = ack.tail;
    r->acked_promised = ack.promised;
    r->acked_full = ack.full;
    r->ack_at_ns = r->now.mono_ns + r->o.ack_repeat_ns;
    return r->ack_at_ns;
}

/* ---- the watermark after a restart ----------------------------------------------------------- */

static void take_recorded(struct retransmitter *r, const uint8_t *batch, uint32_t length)
{
    struct batch_header header;
    if (batch_decode(batch, length, r->o.stream, &header) != WIRE_OK)
        return;
    /* A leader that was heard while the batch was read may have said more. */
    uint64_t stable = earlier(header.stable, batch_end_seq(&header) - 1);
    if (stable > r->recorded_stable)
        r->recorded_stable = stable;
}

/* The last batch carries the watermark of its own epoch, which is the tail's, and what was stable
 * once stays so. That is all that offline followers at STABLE have to go by. */
void record_recover_stable(struct retransmitter *r)
{
    if (r->recorded_reading) {
        if (!r->recorded_read.done)
            return;
        r->recorded_reading = false;
        if (r->recorded_read.error == 0 && r->recorded_read.length > 0) {
            size_t length = batch_length_at(r->recorded_read.batches, r->recorded_read.length);
            take_recorded(r, r->recorded_read.batches, (uint32_t)length);
        }
        return;
    }
    uint64_t seq = journal_tail(r->journal).seq;
    if (seq == 0)
        return;
    uint32_t length;
    const uint8_t *batch = journal_recent(r->journal, seq, &length);
    if (batch != NULL) {
        take_recorded(r, batch, length);
        return;
    }
    r->recorded_read = (struct journal_read) { .first_seq = seq,
                                               .buffer = r->recorded_buffer,
                                               .capacity = FILL_SLOT_BYTES };
    r->recorded_reading = journal_read_begin(r->journal, &r->recorded_read);
}
