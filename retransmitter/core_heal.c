#include "retransmitter/core_private.h"

/* A store that is damaged asks its peers in turn, then the leader, whose ring may still have what is
 * missing; what comes must close the chain, which the journal checks. Of several pieces, the next
 * has its turn when nobody has this one. */

struct heal_range {
    uint64_t first_seq, end_seq;
};

/* What to ask for, of one piece. When the last of it is in place but the disk refused to close the
 * matter, the last batch once more: it makes the journal try again. */
static struct heal_range heal_range(const struct retransmitter *r, uint32_t piece)
{
    struct heal_range range;
    journal_damage(r->journal, piece, &range.first_seq, &range.end_seq);
    if (range.first_seq >= range.end_seq && range.end_seq > 1)
        range.first_seq = range.end_seq - 1;
    return range;
}

static bool heal_missing(const struct retransmitter *r, const struct batch_header *header)
{
    for (uint32_t i = 0; i < journal_damage_count(r->journal); i++) {
        struct heal_range range = heal_range(r, i);
        if (batch_end_seq(header) > range.first_seq && header->first_seq < range.end_seq)
            return true;
    }
    return false;
}

bool heal_on_batch(struct retransmitter *r, const struct port_datagram *d)
{
    if (journal_damage_count(r->journal) == 0 || d->channel != PORT_UNICAST)
        return false;
    struct batch_header header;
    if (batch_verify(d->bytes, d->length, r->o.stream, &header) != WIRE_OK)
        return false; /* the follower counts it */
    if (!heal_missing(r, &header) || !journal_heal(r->journal, d->bytes, &header))
        return false;
    /* What was missing may have held the record of an epoch: now the journal knows where that one
     * began, and the follower, which compares histories by it, does not. */
    r->restart_pending = r->restart_pending || journal_damage_count(r->journal) == 0;
    r->heal_wait_ns = HEAL_FIRST_NS;
    r->heal_at_ns = r->now.mono_ns + HEAL_FIRST_NS;
    r->again = true;
    return true;
}

/* This source has nothing. When the circle is done, another piece has its turn, and things slow down. */
static void next_source(struct retransmitter *r)
{
    r->heal_source++;
    if (r->heal_source % (r->o.peer_count + 1) != 0)
        return;
    r->heal_piece++;
    r->heal_wait_ns = earlier(r->heal_wait_ns * 2, HEAL_MAX_NS);
}

void heal_on_refusal(struct retransmitter *r, const struct port_datagram *d)
{
    if (journal_damage_count(r->journal) == 0)
        return;
    struct gap_refusal refusal;
    if (gap_refusal_decode(d->bytes, d->length, r->o.stream, &refusal) == WIRE_OK &&
        refusal.nonce == r->heal_nonce) {
        next_source(r);
        r->heal_asked_seq = 0; /* of the next one nothing was asked yet */
        /* At once, but not around and around the circle. */
        r->heal_now = r->heal_source % (r->o.peer_count + 1) != 0;
        r->again = r->heal_now;
    }
}

/* The peers in turn, then the leader. False if there is nobody in this turn. */
static bool heal_source(struct retransmitter *r, struct port_addr *out)
{
    uint32_t turn = r->heal_source % (r->o.peer_count + 1);
    *out = turn < r->o.peer_count ? r->o.peers[turn].unicast : follower_leader(r->follower);
    return out->port != 0;
}

uint64_t heal_step(struct retransmitter *r)
{
    uint32_t pieces = journal_damage_count(r->journal);
    if (pieces == 0)
        return PORT_NEVER;
    bool due = r->heal_now || r->now.mono_ns >= r->heal_at_ns;
    if (!due)
        return r->heal_at_ns;
    struct heal_range range = heal_range(r, r->heal_piece % pieces);
    if (range.first_seq == r->heal_asked_seq && !r->heal_now) {
        /* Asked before, and nothing came of it. */
        next_source(r);
        range = heal_range(r, r->heal_piece % pieces);
    }
    r->heal_now = false;
    r->heal_asked_seq = range.first_seq;
    r->heal_at_ns = r->now.mono_ns + r->heal_wait_ns;
    struct port_addr to;
    if (heal_source(r, &to)) {
        struct gap_request ask = { .epoch = r->pledge,
                                   .first_seq = range.first_seq,
                                   .end_seq = range.end_seq,
                                   .nonce = ++r->heal_nonce };
        uint8_t *out = port_scratch(r->port, SIGNAL_SIZE_MAX);
        size_t length = gap_request_encode(&ask, r->o.stream, out, SIGNAL_SIZE_MAX);
        if (length > 0) {
            core_send(r, PORT_UNICAST, to, out, length);
            r->counters[COUNTER_GAP_REQUESTS_OUT]++;
        }
    }
    return r->heal_at_ns;
}
