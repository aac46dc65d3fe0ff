#include <stdlib.h>

#include "journal/journal_private.h"

/* The scrub reads the closed segments again, piece by piece, and walks the chain as recovery would.
 * A place where it breaks is read once more, and becomes a hole if that is what the disk says. It
 * carries the history along, which is all that a decayed header needs to be written anew. */

bool scrub_allocate(struct scrub *s, const struct journal_options *options)
{
    s->index.max = index_entries_max(options);
    s->buffer = aligned_alloc(DISK_BLOCK, JOURNAL_SCRUB_BYTES);
    s->history = history_new();
    s->index.entries = calloc(s->index.max, sizeof *s->index.entries);
    return s->buffer != NULL && s->history != NULL && s->index.entries != NULL;
}

void scrub_free(struct scrub *s)
{
    free(s->buffer);
    free(s->history);
    free(s->index.entries);
}

static void go_to(struct scrub *s, uint32_t segment, bool history_known)
{
    s->segment = segment;
    s->offset = 0;
    s->history_known = history_known;
}

void scrub_cut(struct journal *j)
{
    j->scrub.stale = j->scrub.flying;
    go_to(&j->scrub, 0, false);
}

static void rotten(struct journal *j)
{
    struct scrub *s = &j->scrub;
    uint64_t offset = s->offset > 0 ? s->offset : j->segments[s->segment - 1].header_bytes;
    if (hole_at(j, s->segment, &s->chain, offset))
        j->counters[COUNTER_SCRUB_FOUND]++;
    go_to(s, s->segment + 1, false);
}

/* ---- the header, the index ------------------------------------------------------------------- */

static bool header_good(const struct journal *j, uint32_t number, const uint8_t *bytes,
                        struct segment_header *header, struct history *history)
{
    const struct segment *segment = &j->segments[number - 1];
    return segment_header_decode(bytes, JOURNAL_SCRUB_BYTES, header, history) &&
           header->segment == number && header->stream == j->stream && header->store == j->store &&
           header->first_seq == segment->first_seq &&
           header->header_bytes == segment->header_bytes &&
           digest_equal(header->before, segment->before);
}

/* All that a header says follows from what comes before it. */
static void header_write(struct journal *j, const struct segment_header *header)
{
    const struct scrub *s = &j->scrub;
    if (segment_header_bytes(&s->history->epochs) != header->header_bytes)
        return;
    segment_header_encode(header, s->history, j->scratch);
    if (j->disk->ops->write(j->disk, s->file->file, 0, j->scratch, header->header_bytes) ==
        (int64_t)header->header_bytes)
        j->counters[COUNTER_JOURNAL_HEALED]++;
}

/* The chain begins with what memory knows; the file's header must say the same. Where the history
 * is not known, because what lies before has rotted too, the header waits for the next pass. */
static void begin_segment(struct journal *j)
{
    struct scrub *s = &j->scrub;
    const struct segment *segment = &j->segments[s->segment - 1];
    struct epoch before = { 0 };
    if (s->history_known)
        before = s->segment == 1 ? (struct epoch) { 0 } : s->chain.last.epoch;
    struct segment_header header;
    bool good = header_good(j, s->segment, s->buffer, &header, j->spare);
    if (!good && j->disk->ops->read(j->disk, s->file->file, 0, s->buffer, segment->header_bytes) ==
                     (int64_t)segment->header_bytes)
        good = header_good(j, s->segment, s->buffer, &header, j->spare);
    if (good) {
        history_copy(s->history, j->spare);
        s->history_known = true;
        before = header.epoch_before;
    } else {
        j->counters[COUNTER_SCRUB_FOUND]++;
        header = (struct segment_header) { .stream = j->stream,
                                           .store = j->store,
                                           .first_seq = segment->first_seq,
                                           .before = segment->before,
                                           .epoch_before = before,
                                           .segment = s->segment,
                                           .header_bytes = segment->header_bytes };
        if (s->history_known)
            header_write(j, &header);
    }
    s->chain = (struct chain) { .stream = j->stream,
                                .last = { .epoch = before, .seq = segment->first_seq - 1 },
                                .digest = segment->before };
    s->offset = segment->header_bytes;
    s->index.count = 0;
    s->first_time_ns = 0;
}

static bool index_good(struct journal *j, int32_t file, const struct index_summary *expected)
{
    struct index_summary summary;
    struct index_entry entry;
    uint32_t length = index_file_bytes(expected->count);
    int64_t got = j->disk->ops->read(j->disk, file, 0, j->scratch, length);
    return got == (int64_t)length &&
           index_summary_decode(j->scratch, expected->end.segment, &summary) &&
           summary.first_seq == expected->first_seq && summary.count == expected->count &&
           summary.end.last.seq == expected->end.last.seq &&
           digest_equal(summary.end.digest, expected->end.digest) &&
           index_lookup(j->scratch, length, expected->end.segment, expected->end.last.seq, &entry);
}

/* The index of a segment that has just been walked to its end. It is a convenience: what cannot be
 * written now is left to the next pass or open. */
static void index_check(struct journal *j, uint64_t last_time_ns)
{
    const struct scrub *s = &j->scrub;
    if (io_busy(j, IO_INDEX_PREPARE) || io_busy(j, IO_INDEX_WRITE) || s->index.count == 0)
        return;
    struct index_summary summary = { .first_seq = j->segments[s->segment - 1].first_seq,
                                     .end = { .last = s->chain.last,
                                              .digest = s->chain.digest,
                                              .offset = s->offset,
                                              .segment = s->segment },
                                     .first_time_ns = s->first_time_ns,
                                     .last_time_ns = last_time_ns,
                                     .count = s->index.count };
    char name[DISK_NAME_MAX + 1];
    index_name(name, s->segment);
    int32_t file = j->disk->ops->open(j->disk, name, true);
    if (file < 0)
        return;
    if (!index_good(j, file, &summary)) {
        index_encode(&summary, &s->index, j->scratch);
        (void)j->disk->ops->write(j->disk, file, 0, j->scratch, index_file_bytes(s->index.count));
    }
    j->disk->ops->close_file(j->disk, file);
}

/* ---- pieces ---------------------------------------------------------------------------------- */

/* Walks what has been read. It ends with the segment, with rot, or where the next piece begins. */
static void walk(struct journal *j, uint64_t base, uint64_t total)
{
    struct scrub *s = &j->scrub;
    const struct segment *next = &j->segments[s->segment];
    struct batch_header header = { 0 };
    while (s->chain.last.seq + 1 < next->first_seq) {
        uint64_t at = s->offset - base, left = total > at ? total - at : 0;
        uint32_t length = left == 0 ? 0 : chain_next(&s->chain, s->buffer + at, left, &header);
        if (length == 0 && left < BATCH_ROOM && total == JOURNAL_SCRUB_BYTES)
            return;
        if (length == 0 || batch_end_seq(&header) > next->first_seq) {
            rotten(j);
            return;
        }
        s->history_known = s->history_known && history_apply(s->history, s->buffer + at, &header);
        sparse_add(&s->index, header.first_seq, header.timestamp_ns, s->offset);
        if (s->first_time_ns == 0)
            s->first_time_ns = header.timestamp_ns;
        chain_advance(&s->chain, &header);
        s->offset += journal_aligned(length);
    }
    if (digest_equal(s->chain.digest, next->before))
        index_check(j, header.timestamp_ns);
    go_to(s, s->segment + 1, s->history_known);
}

void scrub_completed(struct journal *j, int64_t result)
{
    struct scrub *s = &j->scrub;
    if (!s->flying)
        return;
    s->flying = false;
    if (s->stale || hole_in(j, s->segment)) {
        /* Cut, or a read came to it first. */
        bool stale = s->stale;
        s->stale = false;
        segment_unpin(j, s->file);
        s->file = NULL;
        if (!stale)
            go_to(s, s->segment + 1, false);
        return;
    }
    uint64_t got = result < 0 ? 0 : (uint64_t)result;
    uint64_t base = block_floor(s->offset);
    memset(s->buffer + got, 0, JOURNAL_SCRUB_BYTES - got);
    j->counters[COUNTER_SCRUBBED_BYTES] += got;
    if (s->offset == 0)
        begin_segment(j);
    if (result < 0)
        rotten(j);
    else
        walk(j, base, JOURNAL_SCRUB_BYTES);
    segment_unpin(j, s->file);
    s->file = NULL;
}

/* Closed, and all of it on disk. */
static bool can_scrub(const struct journal *j, uint32_t segment)
{
    return segment < j->segment_count && segment_memory_begin(j, segment) == UINT64_MAX;
}

enum journal_scrub journal_scrub(struct journal *j)
{
    struct scrub *s = &j->scrub;
    if (s->flying)
        return JOURNAL_SCRUB_READING;
    if (j->cut_pending)
        return JOURNAL_SCRUB_LATER;
    if (s->segment == 0) {
        history_reset(s->history);
        go_to(s, 1, true);
    }
    while (s->segment < j->segment_count && hole_in(j, s->segment))
        go_to(s, s->segment + 1, false);
    if (!can_scrub(j, s->segment)) {
        j->counters[COUNTER_SCRUB_PASSES] += s->segment > 1;
        go_to(s, 0, false);
        return JOURNAL_SCRUB_END;
    }
    s->file = segment_pin(j, s->segment);
    if (s->file == NULL) {
        go_to(s, s->segment + 1, false);
        return JOURNAL_SCRUB_LATER;
    }
    struct disk_request request = { .op = DISK_READ,
                                    .file = s->file->file,
                                    .offset = block_floor(s->offset),
                                    .length = JOURNAL_SCRUB_BYTES,
                                    .bytes = s->buffer,
                                    .cookie = SCRUB_COOKIE };
    if (!j->disk->ops->submit(j->disk, &request)) {
        segment_unpin(j, s->file);
        s->file = NULL;
        return JOURNAL_SCRUB_LATER;
    }
    s->flying = true;
    return JOURNAL_SCRUB_READING;
}

bool journal_scrubbing(const struct journal *j)
{
    return j->scrub.flying;
}
