#include <stdio.h>

#include "journal/journal_private.h"

void segment_name(char name[DISK_NAME_MAX + 1], uint32_t number)
{
    (void)snprintf(name, DISK_NAME_MAX + 1, "segment-%08u", (unsigned)number);
}

void index_name(char name[DISK_NAME_MAX + 1], uint32_t number)
{
    (void)snprintf(name, DISK_NAME_MAX + 1, "index-%08u", (unsigned)number);
}

uint32_t name_number(const char *name, const char *prefix)
{
    size_t length = strlen(prefix);
    if (strncmp(name, prefix, length) != 0 || strlen(name) != length + 8)
        return 0;
    uint32_t number = 0;
    for (const char *at = name + length; *at != 0; at++) {
        if (*at < '0' || *at > '9')
            return 0;
        number = number * 10 + (uint32_t)(*at - '0');
    }
    return number;
}

/* ---- the header ------------------------------------------------------------------------------ */

uint32_t segment_header_bytes(const struct epoch_table *epochs)
{
    return (uint32_t)block_ceil(HEADER_FIXED_BYTES + (uint64_t)epochs->count * EPOCH_ENTRY_BYTES);
}

void segment_header_encode(const struct segment_header *header, const struct history *history,
                           uint8_t *bytes)
{
    memset(bytes, 0, header->header_bytes);
    struct wire_writer w =
        wire_writer_of(bytes + SEAL_BYTES, header->header_bytes - (uint32_t)SEAL_BYTES);
    wire_put32(&w, header->header_bytes);
    wire_put32(&w, header->segment);
    wire_put64(&w, header->stream);
    wire_put64(&w, header->store);
    wire_put64(&w, header->first_seq);
    wire_put_digest(&w, header->before);
    wire_put_epoch(&w, header->epoch_before);
    const struct membership *m = &history->members;
    wire_put64(&w, m->seq);
    wire_put32(&w, m->quorum);
    wire_put32(&w, m->count);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        wire_put64(&w, i < m->count ? m->stores[i] : 0);
    wire_put32(&w, history->epochs.count);
    for (uint32_t i = 0; i < history->epochs.count; i++) {
        const struct epoch_entry *e = &history->epochs.entries[i];
        wire_put_epoch(&w, e->epoch);
        wire_put64(&w, e->first_seq);
        wire_put_digest(&w, e->before);
    }
    assert(!w.failed);
    journal_seal(bytes, header->header_bytes, MAGIC_SEGMENT);
}

static bool decode_history(struct wire_reader *r, struct history *history)
{
    history_reset(history);
    struct membership *m = &history->members;
    m->seq = wire_get64(r);
    m->quorum = wire_get32(r);
    m->count = wire_get32(r);
    if (m->count > MEMBERS_MAX)
        return false;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        m->stores[i] = wire_get64(r);
    uint32_t count = wire_get32(r);
    if (count > EPOCH_TABLE_MAX)
        return false;
    for (uint32_t i = 0; i < count && !r->failed; i++) {
        struct epoch_entry e;
        e.epoch = wire_get_epoch(r);
        e.first_seq = wire_get64(r);
        e.before = wire_get_digest(r);
        if (!r->failed && !epoch_table_append(&history->epochs, e))
            return false;
    }
    return !r->failed;
}

bool segment_header_decode(const uint8_t *bytes, size_t length, struct segment_header *header,
                           struct history *history)
{
    struct wire_reader r = wire_reader_of(bytes, length);
    (void)wire_get_bytes(&r, SEAL_BYTES);
    header->header_bytes = wire_get32(&r);
    if (r.failed || header->header_bytes < DISK_BLOCK || header->header_bytes > length ||
        header->header_bytes % DISK_BLOCK != 0 ||
        journal_unseal(bytes, header->header_bytes, MAGIC_SEGMENT) != SEAL_OK)
        return false;
    header->segment = wire_get32(&r);
    header->stream = wire_get64(&r);
    header->store = wire_get64(&r);
    header->first_seq = wire_get64(&r);
    header->before = wire_get_digest(&r);
    header->epoch_before = wire_get_epoch(&r);
    if (r.failed || header->first_seq == 0)
        return false;
    return history == NULL || decode_history(&r, history);
}

bool segment_header_read(struct disk *disk, int32_t file, uint8_t *scratch,
                         struct segment_header *header, struct history *history, int *error)
{
    int64_t got = disk->ops->read(disk, file, 0, scratch, DISK_BLOCK);
    if (error != NULL)
        *error = got < 0 ? (int)-got : 0;
    if (got != DISK_BLOCK)
        return false;
    uint32_t bytes = wire_load32(scratch + SEAL_BYTES);
    if (bytes < DISK_BLOCK || bytes > HEADER_BYTES_MAX || bytes % DISK_BLOCK != 0)
        return false;
    if (bytes > DISK_BLOCK) {
        got = disk->ops->read(disk, file, 0, scratch, bytes);
        if (error != NULL && got < 0)
            *error = (int)-got;
        if (got != (int64_t)bytes)
            return false;
    }
    return segment_header_decode(scratch, bytes, header, history);
}

/* ---- which segment, which file --------------------------------------------------------------- */

uint32_t segment_of(const struct journal *j, uint64_t seq)
{
    uint32_t low = 1, high = j->segment_count;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        if (j->segments[middle - 1].first_seq <= seq)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static void file_close(struct journal *j, struct segment_file *f)
{
    j->disk->ops->close_file(j->disk, f->file);
    memset(f, 0, sizeof *f);
}

static struct segment_file *file_slot(struct journal *j)
{
    struct segment_file *oldest = NULL;
    for (uint32_t i = 0; i < FILES_MAX; i++) {
        struct segment_file *f = &j->files[i];
        if (f->segment == 0)
            return f;
        if (f->pins == 0 && (oldest == NULL || f->used_at < oldest->used_at))
            oldest = f;
    }
    if (oldest != NULL)
        file_close(j, oldest);
    return oldest;
}

struct segment_file *segment_adopt(struct journal *j, uint32_t number, int32_t file)
{
    struct segment_file *f = file_slot(j);
    if (f == NULL) {
        j->disk->ops->close_file(j->disk, file);
        return NULL;
    }
    *f = (struct segment_file) {
        .used_at = ++j->files_clock, .segment = number, .pins = 1, .file = file
    };
    return f;
}

struct segment_file *segment_pin(struct journal *j, uint32_t number)
{
    for (uint32_t i = 0; i < FILES_MAX; i++) {
        struct segment_file *f = &j->files[i];
        if (f->segment == number && !f->doomed) {
            f->pins++;
            f->used_at = ++j->files_clock;
            return f;
        }
    }
    char name[DISK_NAME_MAX + 1];
    segment_name(name, number);
    int32_t file = j->disk->ops->open(j->disk, name, false);
    return file < 0 ? NULL : segment_adopt(j, number, file);
}

void segment_unpin(struct journal *j, struct segment_file *f)
{
    assert(f->pins > 0);
    f->pins--;
    if (f->pins == 0 && f->doomed)
        file_close(j, f);
}

void segment_doom(struct journal *j, uint32_t number)
{
    for (uint32_t i = 0; i < FILES_MAX; i++) {
        struct segment_file *f = &j->files[i];
        if (f->segment != number)
            continue;
        f->doomed = true;
        if (f->pins == 0)
            file_close(j, f);
    }
}

/* ---- disk and memory as one ------------------------------------------------------------------ */

uint64_t segment_memory_begin(const struct journal *j, uint32_t number)
{
    const struct commit_buffer *flying = &j->buffers[1 - j->filling];
    if (j->commit.running && flying->segment == number)
        return flying->base;
    const struct commit_buffer *filling = &j->buffers[j->filling];
    return filling->segment == number ? filling->base : UINT64_MAX;
}

static uint64_t copy_overlap(const struct commit_buffer *b, uint64_t offset, uint8_t *out,
                             uint64_t length)
{
    uint64_t begin = b->base > offset ? b->base : offset;
    uint64_t end = b->base + b->used;
    if (end > offset + length)
        end = offset + length;
    if (begin >= end)
        return offset;
    memcpy(out + (begin - offset), b->bytes + (begin - b->base), end - begin);
    return end;
}

uint64_t segment_memory_copy(const struct journal *j, uint32_t number, uint64_t offset,
                             uint8_t *out, uint64_t length)
{
    uint64_t end = offset;
    const struct commit_buffer *flying = &j->buffers[1 - j->filling];
    if (j->commit.running && flying->segment == number)
        end = copy_overlap(flying, offset, out, length);
    const struct commit_buffer *filling = &j->buffers[j->filling];
    if (filling->segment == number) {
        uint64_t filled = copy_overlap(filling, offset, out, length);
        end = filled > end ? filled : end;
    }
    return end;
}

bool segment_walk(struct journal *j, uint32_t number, uint64_t *offset, struct chain *chain,
                  segment_visit *visit, void *ctx)
{
    struct segment_file *f = segment_pin(j, number);
    if (f == NULL)
        return false;
    bool readable = true;
    for (bool more = true; more && readable;) {
        uint64_t base = block_floor(*offset), at = *offset - base;
        memset(j->scratch, 0, SCRATCH_BYTES);
        readable = j->disk->ops->read(j->disk, f->file, base, j->scratch, SCRATCH_BYTES) >= 0;
        (void)segment_memory_copy(j, number, base, j->scratch, SCRATCH_BYTES);
        more = false;
        struct batch_header header;
        uint32_t length;
        while (readable &&
               (length = chain_next(chain, j->scratch + at, SCRATCH_BYTES - at, &header)) > 0) {
            if (!visit(ctx, j->scratch + at, &header, base + at)) {
                more = false;
                break;
            }
            chain_advance(chain, &header);
            at += journal_aligned(length);
            *offset = base + at;
            more = true;
            if (at >= SCRATCH_BYTES)
                break;
        }
    }
    segment_unpin(j, f);
    return readable;
}
