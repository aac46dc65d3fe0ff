/* The state machines a second time, at a batch boundary below the tip. A fork takes back what lies
 * above it: the tip becomes a copy of the base, and the ring's batches from there to the fork are
 * applied again. So neither a fork nor being fenced costs a replay.
 *
 * Standby and leader alike apply each batch to the base once it is stable, in steps as bounded as
 * the emission itself; and before its slot of the ring is used again, stable or not. What is right
 * never depends on the watermark: a fork below the base, whatever brought it there, is answered by
 * following the stream anew. */
#include "sequencer/core_private.h"

#include <stdlib.h>

bool base_allocate(struct sequencer *s)
{
    struct base *b = &s->base;
    b->catalog = catalog_create(&s->o.catalog);
    b->discarding = calloc(s->o.catalog.publishers_max, 1);
    return ledger_init(&b->ledger, &s->o.catalog) && b->catalog != NULL && b->discarding != NULL;
}

void base_free(struct sequencer *s)
{
    catalog_destroy(s->base.catalog);
    ledger_close(&s->base.ledger);
    free(s->base.discarding);
}

void base_reset(struct sequencer *s)
{
    struct base *b = &s->base;
    catalog_reset(b->catalog);
    ledger_reset(&b->ledger);
    memset(b->discarding, 0, s->o.catalog.publishers_max);
    b->next_seq = 1;
    b->digest = (struct digest) { 0, 0 };
    b->index = s->ring_end;
    b->valid = true;
    b->tried = false;
}

/* ---- following the tip ----------------------------------------------------------------------- */

static bool apply_slow(struct sequencer *s, const struct message *m, const uint8_t *bytes,
                       uint32_t length)
{
    struct base *b = &s->base;
    if (!ledger_apply(&b->ledger, m))
        return false;
    if (m->topic >= TOPIC_FIRST_USER)
        return true;
    struct batch_header h;
    if (batch_decode(bytes, length, s->o.stream, &h) != WIRE_OK)
        return false;
    catalog_apply(b->catalog, m, &h);
    uint32_t publisher;
    bool discarding;
    if (sequencer_discards(s, m, &publisher, &discarding))
        b->discarding[publisher] = discarding;
    return true;
}

/* Nothing in it that was not found lawful when it was emitted: two stores for each message are all
 * that the leader's hot path pays for its base. */
static void apply_plain(struct ledger *l, struct batch_cursor cursor)
{
    struct message m;
    uint32_t guess = 0;
    while (batch_next_guessing(&cursor, &m, &guess)) {
        l->next[m.publisher] = m.publisher_seq + 1;
        l->last_seq[m.topic] = m.seq;
    }
}

static bool apply_any(struct sequencer *s, struct batch_cursor cursor, const uint8_t *bytes,
                      uint32_t length)
{
    struct message m;
    while (batch_next(&cursor, &m)) {
        if (!apply_slow(s, &m, bytes, length))
            return false;
    }
    return true;
}

static bool apply_next(struct sequencer *s)
{
    struct base *b = &s->base;
    const struct ring_slot *slot = ring_slot_at(s, b->index);
    const uint8_t *bytes = ring_bytes_at(s, b->index);
    struct batch_header partial = { .first_seq = slot->first_seq,
                                    .count = (uint16_t)(slot->end_seq - slot->first_seq) };
    struct batch_cursor cursor = batch_begin(bytes, &partial);
    if (slot->plain && b->ledger.run_count == 0)
        apply_plain(&b->ledger, cursor);
    else if (!apply_any(s, cursor, bytes, slot->length))
        return false;
    b->next_seq = slot->end_seq;
    b->digest = slot->digest;
    b->index++;
    return true;
}

static void push(struct sequencer *s)
{
    s->base.valid = apply_next(s); /* false: the stream itself is broken, or sabotaged */
}

void base_push(struct sequencer *s)
{
    if (s->base.valid && s->base.index == s->ring_head)
        push(s);
}

bool base_follow(struct sequencer *s, uint64_t stable, uint32_t batches_max)
{
    struct base *b = &s->base;
    for (; b->valid && b->index < s->ring_end; batches_max--) {
        if (ring_slot_at(s, b->index)->end_seq - 1 > stable)
            return false;
        if (batches_max == 0)
            return true;
        push(s);
    }
    return false;
}

/* ---- going back to it ------------------------------------------------------------------------ */

/* The slot that begins with first_seq, from the base on; UINT64_MAX if no batch begins there. */
static uint64_t boundary_at(const struct sequencer *s, uint64_t first_seq)
{
    if (first_seq == s->next_seq)
        return s->ring_end;
    uint64_t index = ring_find(s, first_seq);
    if (index == UINT64_MAX || index < s->base.index)
        return UINT64_MAX;
    return s->ring[index & (s->ring_slots - 1)].first_seq == first_seq ? index : UINT64_MAX;
}

bool base_rollback(struct sequencer *s, uint64_t first_seq)
{
    struct base *b = &s->base;
    if (!b->valid || first_seq < b->next_seq)
        return false;
    uint64_t end = boundary_at(s, first_seq);
    if (end == UINT64_MAX)
        return false;
    catalog_copy(s->catalog, b->catalog);
    ledger_copy(&s->ledger, &b->ledger);
    for (uint32_t p = 0; p < s->ledger.publishers_max; p++)
        s->queues[p].discarding = b->discarding[p] != 0;
    s->permit_publisher = 0;
    s->unfit = NULL;
    s->next_seq = b->next_seq;
    s->digest = b->digest;
    s->ring_end = end;
    for (uint64_t index = b->index; index < end; index++) {
        struct batch_header h;
        const uint8_t *bytes = ring_bytes_at(s, index);
        enum wire_verdict verdict =
            batch_decode(bytes, ring_slot_at(s, index)->length, s->o.stream, &h);
        assert(verdict == WIRE_OK); /* it was verified, or we made it */
        (void)verdict;
        sequencer_apply(s, bytes, &h);
    }
    count(s, COUNTER_STANDBY_ROLLBACKS, 1);
    queue_check_all(s, false);
    return true;
}
