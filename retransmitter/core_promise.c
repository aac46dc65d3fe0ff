#include "retransmitter/core_private.h"

/* A seal goes through three moments: the pledge (nothing older is recorded any more), the promise
 * (all that was recorded is durable, then the promise itself), and only then the answer. So the
 * tail that is reported is the tail that this store has, and keeps until the epoch's leader cuts
 * it. */

bool promise_held(const struct retransmitter *r)
{
    return epoch_equal(r->pledge, journal_promised(r->journal)) ||
           core_sabotaged(r, RETRANSMITTER_VOLATILE_PROMISE);
}

/* The follower forgets the leader with its epoch; who asks for a promise still wants to know. */
static void note_leader(struct retransmitter *r)
{
    uint64_t heard_ns = follower_leader_heard_ns(r->follower);
    if (heard_ns > r->leader_heard_ns)
        r->leader_heard_ns = heard_ns;
}

static uint64_t leader_age_ns(const struct retransmitter *r)
{
    if (r->leader_heard_ns == 0)
        return UINT64_MAX;
    return r->now.mono_ns > r->leader_heard_ns ? r->now.mono_ns - r->leader_heard_ns : 0;
}

void promise_raise(struct retransmitter *r, struct epoch epoch, bool led)
{
    assert(epoch.number > r->pledge.number);
    note_leader(r);
    r->pledge = epoch;
    r->led = led;
    r->seal_asked = false;
    r->again = true;
    /* A cut that has not begun is of an older epoch's history, and what is promised now is the tail as it
     * is: the cut is dropped, and found again if the new leader's history wants it. */
    if (!led && r->cut_pending && r->cut_retry_ns == 0)
        r->restart_pending = true;
    if (!core_sabotaged(r, RETRANSMITTER_RECORD_STALE))
        follower_hear_epoch(r->follower, epoch);
}

static void answer(struct retransmitter *r, const struct seal *seal, struct epoch promised)
{
    const struct journal *j = r->journal;
    note_leader(r);
    struct promise p = { .store = journal_store(j),
                         .run = journal_run(j),
                         .promised = promised,
                         .asked = seal->epoch,
                         .probe = seal->probe,
                         .proven = journal_proven(j),
                         .tail = journal_durable(j),
                         .digest = journal_durable_digest(j),
                         .oldest_seq = journal_oldest_seq(j),
                         .clock_ns = r->now.wall_ns,
                         .leader_age_ns = leader_age_ns(r),
                         .fetch_ip = r->o.fetch_udp.ip,
                         .fetch_port = r->o.fetch_udp.port,
                         .stream_port = r->o.fetch_stream_port };
    const struct membership *members = journal_members(j);
    if (members != NULL)
        p.members = *members;
    uint8_t *out = port_scratch(r->port, SIGNAL_SIZE_MAX);
    size_t length = promise_encode(&p, r->o.stream, out, SIGNAL_SIZE_MAX);
    core_send(r, PORT_INGRESS, (struct port_addr) { 0 }, out, length);
}

void promise_on_seal(struct retransmitter *r, const struct port_datagram *d)
{
    struct seal seal;
    enum wire_verdict verdict = seal_decode(d->bytes, d->length, r->o.stream, &seal);
    if (verdict != WIRE_OK) {
        core_count_verdict(r, verdict);
        return;
    }
    if (core_sabotaged(r, RETRANSMITTER_EPOCH_NUMBER_ONLY) && !seal.probe && promise_held(r) &&
        seal.epoch.number == r->pledge.number) {
        answer(r, &seal, seal.epoch);
        return;
    }
    bool same = epoch_equal(seal.epoch, r->pledge);
    bool admits = seal.epoch.number > r->pledge.number || same;
    if (seal.probe) {
        /* Who asks sees whether its number is above what stands. A promise that was not given is
         * never named: the leader that hears it would step down. */
        answer(r, &seal, journal_promised(r->journal));
        return;
    }
    if (!admits) {
        /* Who is told of a promise may count it, so only of one that stands. A candidate that gets
         * no answer now asks again. */
        if (promise_held(r))
            answer(r, &seal, r->pledge);
        return;
    }
    if (!same)
        promise_raise(r, seal.epoch, false);
    r->seal_asked = true;
    r->again = true;
}

void promise_step(struct retransmitter *r)
{
    if (!promise_held(r)) {
        struct journal *j = r->journal;
        if (journal_durable(j).seq < journal_tail(j).seq)
            journal_commit(j);
        else if (epoch_compare(r->pledge, journal_promised(j)) > 0)
            /* False while an older one is being written: its completion brings us back here. */
            (void)journal_promise(j, r->pledge);
    }
    /* A cut that has begun comes to its end before its tail is reported. */
    if (!promise_held(r) || !r->seal_asked || r->cut_pending)
        return;
    r->seal_asked = false;
    struct seal seal = { .epoch = r->pledge };
    answer(r, &seal, r->pledge);
}

/* Of its own run a store knows all that it has said; of earlier ones, that it was in what the run began
 * with. Whoever remembers more speaks of a store that this one is no longer. */
void promise_on_recall(struct retransmitter *r, const struct port_datagram *d)
{
    struct journal *j = r->journal;
    struct recall recall;
    enum wire_verdict verdict = recall_decode(d->bytes, d->length, r->o.stream, &recall);
    if (verdict != WIRE_OK) {
        core_count_verdict(r, verdict);
        return;
    }
    struct run run = journal_run(j);
    struct word now = journal_word(j);
    if (recall.store != journal_store(j) || run.id == 0 || journal_may_have_lost(j))
        return;
    bool own = recall.run == run.id;
    if (word_forgets(&recall.said, own ? &now : &run.base)) {
        r->recalled = recall.said;
        r->counters[COUNTER_STORE_RESTORED]++;
        journal_disown(j);
        r->again = true;
    } else if (own && epoch_equal(recall.epoch, now.promised) &&
               epoch_equal(recall.epoch, now.tail.epoch) && recall.epoch.number > 0) {
        (void)journal_settle(j, recall.epoch);
    }
}
