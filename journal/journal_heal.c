#include <errno.h>

#include "journal/journal_private.h"

/* Holes: pieces below the mark that are not readable. A batch has the same bytes wherever it is
 * kept, so one fetched from a peer goes exactly where it was; what follows may be fine as it is, so
 * after each batch the chain is followed on disk as far as it goes. */

bool hole_add(struct journal *j, const struct hole *hole)
{
    for (uint32_t i = 0; i < j->hole_count; i++)
        if (j->holes[i].at.segment == hole->at.segment)
            return true;
    if (j->hole_count == HOLES_MAX)
        return false;
    /* The one in the current segment stops appending: it is the first to be healed. */
    bool current = hole->at.segment == j->segment_count;
    if (current && j->hole_count > 0) {
        j->holes[j->hole_count++] = j->holes[0];
        j->holes[0] = *hole;
    } else {
        j->holes[j->hole_count++] = *hole;
    }
    j->counters[COUNTER_JOURNAL_DAMAGED]++;
    return true;
}

bool hole_in(const struct journal *j, uint32_t segment)
{
    for (uint32_t i = 0; i < j->hole_count; i++)
        if (j->holes[i].at.segment == segment)
            return true;
    return false;
}

void holes_cut(struct journal *j, uint64_t seq)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < j->hole_count; i++)
        if (j->holes[i].end_seq <= seq + 1)
            j->holes[kept++] = j->holes[i];
    j->hole_count = kept;
}

static bool any_batch(void *ctx, const uint8_t *bytes, const struct batch_header *header,
                      uint64_t offset)
{
    (void)bytes;
    (void)offset;
    const uint64_t *end_seq = ctx;
    return batch_end_seq(header) <= *end_seq;
}

/* Follows what is readable from hole->at on. */
static bool hole_advance(struct journal *j, struct hole *hole)
{
    struct chain chain = { .stream = j->stream, .last = hole->at.last, .digest = hole->at.digest };
    uint64_t offset = hole->at.offset;
    if (!segment_walk(j, hole->at.segment, &offset, &chain, any_batch, &hole->end_seq))
        return false;
    hole->at.last = chain.last;
    hole->at.digest = chain.digest;
    hole->at.offset = offset;
    return true;
}

/* The file cannot be opened for want of descriptors or memory: that says nothing of its bytes. */
static bool out_of_descriptors(struct journal *j, uint32_t segment)
{
    char name[DISK_NAME_MAX + 1];
    segment_name(name, segment);
    int32_t file = j->disk->ops->open(j->disk, name, false);
    if (file >= 0)
        j->disk->ops->close_file(j->disk, file);
    return file == -EMFILE || file == -ENFILE || file == -ENOMEM;
}

bool hole_at(struct journal *j, uint32_t segment, const struct chain *chain, uint64_t offset)
{
    if (segment >= j->segment_count || hole_in(j, segment) || j->hole_count == HOLES_MAX ||
        out_of_descriptors(j, segment))
        return false;
    const struct segment *next = &j->segments[segment];
    struct hole hole = { .at = { .last = chain->last,
                                 .digest = chain->digest,
                                 .offset = offset,
                                 .segment = segment },
                         .end_seq = next->first_seq,
                         .end_digest = next->before };
    (void)hole_advance(j, &hole);
    if (hole.at.last.seq + 1 == hole.end_seq)
        return false;
    /* Should the process end before this is healed, the next one shall not trust the index. */
    char name[DISK_NAME_MAX + 1];
    index_name(name, segment);
    (void)j->disk->ops->remove(j->disk, name);
    return hole_add(j, &hole);
}

/* A read of a closed segment met bytes that are not the batch that belongs there. */
void hole_found(struct journal *j, uint32_t segment)
{
    if (segment >= j->segment_count)
        return;
    const struct segment *s = &j->segments[segment - 1];
    struct chain chain = { .stream = j->stream, .last.seq = s->first_seq - 1, .digest = s->before };
    (void)hole_at(j, segment, &chain, s->header_bytes);
}

static bool put_batch(struct journal *j, const struct hole *hole, const uint8_t *batch,
                      uint32_t length)
{
    struct segment_file *file = segment_pin(j, hole->at.segment);
    if (file == NULL)
        return false;
    uint64_t base = block_floor(hole->at.offset), at = hole->at.offset - base;
    uint64_t size = block_ceil(at + journal_aligned(length));
    bool ok = true;
    memset(j->scratch, 0, size);
    /* A block that cannot be read is made of what is known of it: the rest is missing too. */
    for (uint64_t block = 0; block < size; block += DISK_BLOCK)
        if (j->disk->ops->read(j->disk, file->file, base + block, j->scratch + block, DISK_BLOCK) <
            0)
            memset(j->scratch + block, 0, DISK_BLOCK);
    memcpy(j->scratch + at, batch, length);
    memset(j->scratch + at + length, 0, journal_aligned(length) - length);
    ok = j->disk->ops->write(j->disk, file->file, base, j->scratch, size) == (int64_t)size;
    segment_unpin(j, file);
    return ok;
}

/* The current segment is whole again: its end is made anew, from what is in place, and the epochs,
 * members and index of the piece that was missing are learned. */
static bool finish_current(struct journal *j)
{
    uint8_t partial[DISK_BLOCK];
    memset(partial, 0, sizeof partial);
    struct place at;
    struct place tail = j->tail;
    io_settle(j);
    return !io_in_the_way(j, j->segment_count) &&
           cut_find(j, tail.last.seq, tail.digest, &at, partial) && cut_at(j, &at, partial);
}

static bool hole_closed(const struct hole *hole)
{
    return hole->at.last.seq + 1 == hole->end_seq &&
           digest_equal(hole->at.digest, hole->end_digest);
}

/* A cut has to know what it keeps, and some of that is not readable. */
void hole_in_the_way(struct journal *j, uint32_t segment, const struct chain *chain,
                     uint64_t offset, uint64_t seq, struct digest digest)
{
    if (segment < j->segment_count)
        (void)hole_at(j, segment, chain, offset);
    if (segment != j->segment_count || out_of_descriptors(j, segment))
        return;
    struct hole hole = { .at = { .last = chain->last,
                                 .digest = chain->digest,
                                 .offset = offset,
                                 .segment = segment },
                         .end_seq = seq + 1,
                         .end_digest = digest,
                         .below_tail = true };
    for (uint32_t i = 0; i < j->hole_count; i++) {
        struct hole *there = &j->holes[i];
        if (there->at.segment != segment)
            continue;
        if (!hole_closed(there))
            return;
        /* There is another behind the one that was healed. */
        hole.recovered = there->recovered;
        hole.below_tail = there->below_tail;
        *there = hole;
        return;
    }
    (void)hole_add(j, &hole);
}

/* The next batch of this hole, put in its place. */
static bool heal_hole(struct journal *j, struct hole *hole, const uint8_t *batch,
                      const struct batch_header *header)
{
    struct chain chain = { .stream = j->stream, .last = hole->at.last, .digest = hole->at.digest };
    struct batch_header checked;
    uint32_t length = chain_next(&chain, batch, header->length, &checked);
    if (length == 0 || batch_end_seq(&checked) > hole->end_seq ||
        (batch_end_seq(&checked) == hole->end_seq &&
         !digest_equal(checked.digest, hole->end_digest)) ||
        !put_batch(j, hole, batch, length))
        return false;
    j->counters[COUNTER_JOURNAL_HEALED]++;
    chain_advance(&chain, &checked);
    hole->at.last = chain.last;
    hole->at.digest = chain.digest;
    hole->at.offset += journal_aligned(length);
    (void)hole_advance(j, hole);
    return true;
}

bool journal_heal(struct journal *j, const uint8_t *batch, const struct batch_header *header)
{
    if (j->cut_pending)
        return false;
    bool taken = false, closed = false;
    for (uint32_t i = 0; i < j->hole_count && !taken; i++) {
        struct hole *hole = &j->holes[i];
        closed = closed || hole_closed(hole);
        taken = !hole_closed(hole) && header->first_seq == hole->at.last.seq + 1 &&
                heal_hole(j, hole, batch, header);
    }
    taken = taken || closed; /* the disk refused to finish the matter: once more */
    if (taken)
        heal_finish(j);
    return taken;
}

static void hole_remove(struct journal *j, uint32_t index)
{
    for (uint32_t i = index + 1; i < j->hole_count; i++)
        j->holes[i - 1] = j->holes[i];
    j->hole_count--;
}

/* Not while a cut waits to be repeated: making the current segment's end anew is a cut too, and
 * would take the place of that one. */
void heal_finish(struct journal *j)
{
    for (uint32_t i = j->hole_count; i > 0 && !j->cut_pending; i--) {
        if (i > j->hole_count || !hole_closed(&j->holes[i - 1]))
            continue;
        uint32_t segment = j->holes[i - 1].at.segment;
        if (segment == j->segment_count && !j->holes[i - 1].below_tail && !finish_current(j))
            continue;
        /* What settled meanwhile may have found, and the cut dropped, others. */
        for (uint32_t k = 0; k < j->hole_count; k++) {
            if (j->holes[k].at.segment == segment) {
                hole_remove(j, k);
                break;
            }
        }
    }
}
