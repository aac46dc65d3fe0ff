#include "journal/journal_private.h"

enum { MARK_CUTTING = 1, MARK_CLOSED = 2, MARK_UNSYNCED = 4, MARK_ENDED = 8 };

static void put_place(struct wire_writer *w, const struct place *p)
{
    wire_put_position(w, p->last);
    wire_put_digest(w, p->digest);
    wire_put32(w, p->segment);
    wire_put64(w, p->offset);
}

static struct place get_place(struct wire_reader *r)
{
    struct place p;
    p.last = wire_get_position(r);
    p.digest = wire_get_digest(r);
    p.segment = wire_get32(r);
    p.offset = wire_get64(r);
    return p;
}

uint32_t mark_encode(const struct mark_slot *slot, uint64_t stream, uint64_t store, uint8_t *bytes)
{
    assert(slot->partial_length < DISK_BLOCK);
    memset(bytes, 0, SLOT_BYTES);
    struct wire_writer w = wire_writer_of(bytes + SEAL_BYTES, DISK_BLOCK - SEAL_BYTES);
    wire_put64(&w, stream);
    wire_put64(&w, store);
    wire_put64(&w, slot->commit);
    wire_put64(&w, slot->generation);
    wire_put32(&w, (slot->cutting ? (uint32_t)MARK_CUTTING : 0) |
                       (slot->closed ? (uint32_t)MARK_CLOSED : 0) |
                       (slot->unsynced ? (uint32_t)MARK_UNSYNCED : 0) |
                       (slot->ended ? (uint32_t)MARK_ENDED : 0));
    put_place(&w, &slot->acknowledged);
    put_place(&w, &slot->end);
    wire_put32(&w, slot->partial_length);
    wire_put64(&w, journal_checksum(slot->partial, slot->partial_length, slot->commit));
    wire_put64(&w, slot->boot);
    assert(!w.failed);
    journal_seal(bytes, DISK_BLOCK, MAGIC_MARK);
    if (slot->partial_length == 0)
        return DISK_BLOCK;
    memcpy(bytes + DISK_BLOCK, slot->partial, slot->partial_length);
    return SLOT_BYTES;
}

static bool place_sane(const struct place *p)
{
    return p->segment >= 1 && p->segment <= SEGMENT_NUMBER_MAX && p->offset >= DISK_BLOCK &&
           p->offset % 8 == 0 && p->offset <= SEGMENT_BYTES_MAX + HEADER_BYTES_MAX;
}

void mark_decode(const uint8_t *bytes, uint64_t stream, uint64_t store, struct mark_slot *slot)
{
    memset(slot, 0, sizeof *slot);
    if (journal_unseal(bytes, DISK_BLOCK, MAGIC_MARK) != SEAL_OK)
        return;
    struct wire_reader r = wire_reader_of(bytes + SEAL_BYTES, DISK_BLOCK - SEAL_BYTES);
    bool same = wire_get64(&r) == stream;
    same = wire_get64(&r) == store && same;
    slot->commit = wire_get64(&r);
    slot->generation = wire_get64(&r);
    uint32_t flags = wire_get32(&r);
    slot->cutting = (flags & MARK_CUTTING) != 0;
    slot->closed = (flags & MARK_CLOSED) != 0;
    slot->unsynced = (flags & MARK_UNSYNCED) != 0;
    slot->ended = (flags & MARK_ENDED) != 0;
    slot->acknowledged = get_place(&r);
    slot->end = get_place(&r);
    slot->partial_length = wire_get32(&r);
    uint64_t checksum = wire_get64(&r);
    slot->boot = wire_get64(&r);
    if (!same || r.failed || !place_sane(&slot->acknowledged) || !place_sane(&slot->end))
        return;
    uint32_t partial = slot->closed ? 0 : (uint32_t)(slot->end.offset % DISK_BLOCK);
    if (slot->partial_length != partial ||
        checksum != journal_checksum(bytes + DISK_BLOCK, partial, slot->commit))
        return;
    memcpy(slot->partial, bytes + DISK_BLOCK, partial);
    slot->valid = true;
}

int mark_read(struct disk *disk, int32_t file, uint64_t stream, uint64_t store, uint8_t *scratch,
              struct mark_slot slots[2], int *newest)
{
    int refused = 0;
    *newest = -1;
    for (uint32_t i = 0; i < 2; i++) {
        memset(scratch, 0, SLOT_BYTES);
        int64_t got = disk->ops->read(disk, file, (uint64_t)i * SLOT_BYTES, scratch, SLOT_BYTES);
        if (got < 0)
            refused = (int)got;
        mark_decode(scratch, stream, store, &slots[i]);
        if (slots[i].valid && (*newest < 0 || slots[i].commit > slots[*newest].commit))
            *newest = (int)i;
    }
    return refused;
}

/* The tail is durable, nothing is in flight, and the filling buffer begins with the last block. */
bool marks_rewrite(struct journal *j, bool ended)
{
    const struct commit_buffer *b = &j->buffers[j->filling];
    struct mark_slot slot = { .generation = j->generation,
                              .acknowledged = j->durable,
                              .end = j->durable,
                              .closed = j->segment_closed,
                              .unsynced = j->unsynced,
                              .ended = ended,
                              .boot = j->boot };
    assert(!j->commit.running && j->tail.last.seq == j->durable.last.seq);
    if (!slot.closed) {
        slot.partial_length = (uint32_t)(j->durable.offset - block_floor(j->durable.offset));
        assert(b->base + b->used == j->durable.offset && b->used >= slot.partial_length);
        memcpy(slot.partial, b->bytes + (b->used - slot.partial_length), slot.partial_length);
    }
    for (uint32_t i = 0; i < 2; i++) {
        uint8_t at = (uint8_t)(1 - j->durable_slot);
        slot.commit = ++j->commit_number;
        uint32_t length = mark_encode(&slot, j->stream, j->store, j->slot_bytes);
        if (j->disk->ops->write(j->disk, j->mark_file, (uint64_t)at * SLOT_BYTES, j->slot_bytes,
                                length) != (int64_t)length)
            return false;
        j->durable_slot = at;
    }
    j->marked_seq = j->durable.last.seq;
    return true;
}

/* ---- promise --------------------------------------------------------------------------------- */

void promise_encode_slot(uint64_t stream, uint64_t store, const struct promise_slot *slot,
                         uint8_t *block)
{
    memset(block, 0, DISK_BLOCK);
    struct wire_writer w = wire_writer_of(block + SEAL_BYTES, DISK_BLOCK - SEAL_BYTES);
    wire_put64(&w, stream);
    wire_put64(&w, store);
    wire_put64(&w, slot->number);
    wire_put_epoch(&w, slot->promised);
    wire_put64(&w, slot->run.id);
    word_put(&w, &slot->run.base);
    wire_put_epoch(&w, slot->settled);
    wire_put8(&w, slot->restored);
    journal_seal(block, DISK_BLOCK, MAGIC_PROMISE);
}

bool promise_read(struct disk *disk, int32_t file, uint64_t stream, uint64_t store,
                  uint8_t *scratch, struct promise_slot *out)
{
    bool found = false;
    *out = (struct promise_slot) { 0 };
    for (uint32_t i = 0; i < 2; i++) {
        int64_t got = disk->ops->read(disk, file, (uint64_t)i * DISK_BLOCK, scratch, DISK_BLOCK);
        if (got != DISK_BLOCK || journal_unseal(scratch, DISK_BLOCK, MAGIC_PROMISE) != SEAL_OK)
            continue;
        struct wire_reader r = wire_reader_of(scratch + SEAL_BYTES, DISK_BLOCK - SEAL_BYTES);
        struct promise_slot slot;
        bool same = wire_get64(&r) == stream;
        same = wire_get64(&r) == store && same;
        slot.number = wire_get64(&r);
        slot.promised = wire_get_epoch(&r);
        slot.run.id = wire_get64(&r);
        slot.run.base = word_get(&r);
        slot.settled = wire_get_epoch(&r);
        slot.restored = wire_get8(&r) != 0;
        if (!same || (found && slot.number < out->number))
            continue;
        found = true;
        *out = slot;
    }
    return found;
}

static uint64_t slot_encode(struct journal *j)
{
    j->promise.number++;
    promise_encode_slot(j->stream, j->store, &j->promise, j->promise_bytes);
    return (j->promise.number + 1) % 2 * DISK_BLOCK;
}

static void promise_write(struct journal *j)
{
    struct disk_request request = { .op = DISK_WRITE,
                                    .file = j->promise_file,
                                    .offset = slot_encode(j),
                                    .length = DISK_BLOCK,
                                    .bytes = j->promise_bytes };
    io_begin(j, IO_PROMISE, &request);
}

/* Into both slots, one after the other, before it stands: the decay of either cannot take back what
 * was promised, and a write that tears hits the one that is not needed. */
static void promise_start(struct journal *j, struct epoch epoch)
{
    j->promising = j->promise.promised = epoch;
    j->promise_stale = false;
    j->promise_writes = 0;
    promise_write(j);
}

bool journal_promise(struct journal *j, struct epoch epoch)
{
    if (io_busy(j, IO_PROMISE) || epoch_compare(epoch, j->promised) <= 0)
        return false;
    promise_start(j, epoch);
    return true;
}

void promise_written(struct journal *j)
{
    j->promise_writes++;
    if (j->promise_writes < 2) {
        promise_write(j);
        return;
    }
    j->promised = j->promising;
    promise_renew(j);
}

void promise_renew(struct journal *j)
{
    if (j->promise_stale && !io_busy(j, IO_PROMISE))
        promise_start(j, j->promised);
}

/* ---- runs ------------------------------------------------------------------------------------ */

bool promise_begin_run(struct journal *j, struct position tail)
{
    struct promise_slot *p = &j->promise;
    bool settled = p->run.id == 0 ||
                   (epoch_equal(p->settled, j->promised) && epoch_equal(p->settled, tail.epoch));
    if (j->options.run == 0 || j->may_have_lost || !settled)
        return true;
    p->run = (struct run) { .id = j->options.run, .base = { j->promised, tail } };
    p->settled = (struct epoch) { 0, 0 };
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t offset = slot_encode(j);
        if (j->disk->ops->write(j->disk, j->promise_file, offset, j->promise_bytes, DISK_BLOCK) !=
            DISK_BLOCK)
            return false;
    }
    return true;
}

bool journal_settle(struct journal *j, struct epoch epoch)
{
    if (io_busy(j, IO_PROMISE) || epoch_equal(j->promise.settled, epoch))
        return false;
    j->promise.settled = epoch;
    j->promise_stale = true;
    promise_renew(j);
    return true;
}

void journal_disown(struct journal *j)
{
    if (j->promise.restored)
        return;
    j->promise.restored = j->may_have_lost = j->promise_stale = true;
    promise_renew(j);
}

struct run journal_run(const struct journal *j)
{
    return j->promise.run;
}

bool journal_settled(const struct journal *j)
{
    return epoch_equal(j->promise.settled, j->promised);
}

struct word journal_word(const struct journal *j)
{
    return (struct word) { .promised = j->promised, .tail = j->durable.last };
}
