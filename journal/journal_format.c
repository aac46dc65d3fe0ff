#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "journal/journal_private.h"
#include "proto/hash.h"

#define STORE_FILE "store"
#define FORMATTING_FILE                                                                            \
    "formatting" /* while it is there and `store` is not, format may begin again */

void journal_error_set(char *error, const char *format, ...)
{
    if (error == NULL)
        return;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(error, JOURNAL_ERROR_MAX, format, args);
    va_end(args);
}

uint64_t journal_checksum(const void *bytes, size_t length, uint64_t seed)
{
    return hash64(bytes, length, seed);
}

void journal_seal(uint8_t *bytes, size_t length, uint32_t magic)
{
    struct wire_writer w = wire_writer_of(bytes, SEAL_BYTES);
    wire_put32(&w, magic);
    wire_put16(&w, JOURNAL_VERSION);
    wire_put16(&w, 0);
    wire_put64(&w, journal_checksum(bytes + SEAL_BYTES, length - SEAL_BYTES,
                                    (uint64_t)JOURNAL_VERSION << 32 | magic));
}

enum seal_verdict journal_unseal(const uint8_t *bytes, size_t length, uint32_t magic)
{
    struct wire_reader r = wire_reader_of(bytes, length);
    uint32_t got_magic = wire_get32(&r);
    uint16_t version = wire_get16(&r);
    (void)wire_get16(&r);
    uint64_t checksum = wire_get64(&r);
    if (r.failed || got_magic != magic)
        return SEAL_BROKEN;
    if (checksum !=
        journal_checksum(bytes + SEAL_BYTES, length - SEAL_BYTES, (uint64_t)version << 32 | magic))
        return SEAL_BROKEN;
    return version == JOURNAL_VERSION ? SEAL_OK : SEAL_OTHER_VERSION;
}

enum journal_error store_read(struct disk *disk, uint8_t *block, struct store_identity *out,
                              char *error)
{
    int32_t file = disk->ops->open(disk, STORE_FILE, false);
    if (file == -ENOENT) {
        journal_error_set(error, "there is no store here (no file `store`): make one with "
                                 "`cantus init`, or correct the path");
        return JOURNAL_NO_STORE;
    }
    if (file < 0) {
        journal_error_set(error, "cannot open the file `store`: %s", strerror(-file));
        return JOURNAL_IO;
    }
    int64_t got = disk->ops->read(disk, file, 0, block, DISK_BLOCK);
    disk->ops->close_file(disk, file);
    enum seal_verdict verdict =
        got == DISK_BLOCK ? journal_unseal(block, DISK_BLOCK, MAGIC_STORE) : SEAL_BROKEN;
    if (verdict == SEAL_OTHER_VERSION) {
        journal_error_set(error,
                          "the store was written by format version %u, this program knows %u: "
                          "use the program that wrote it",
                          wire_load16(block + 4), JOURNAL_VERSION);
        return JOURNAL_OTHER_VERSION;
    }
    if (verdict == SEAL_BROKEN) {
        journal_error_set(error, "the file `store` is damaged: which store this is cannot be told; "
                                 "format a new one and let it copy the history from its peers");
        return JOURNAL_IO;
    }
    struct wire_reader r = wire_reader_of(block + SEAL_BYTES, DISK_BLOCK - SEAL_BYTES);
    out->stream = wire_get64(&r);
    out->store = wire_get64(&r);
    return JOURNAL_OK;
}

/* ---- format ---------------------------------------------------------------------------------- */

struct leftovers {
    bool store, formatting, other;
    char names[65][DISK_NAME_MAX + 1];
    uint32_t count;
};

static void look_at_name(void *ctx, const char *name)
{
    struct leftovers *l = ctx;
    if (strcmp(name, "lock") == 0)
        return;
    if (strcmp(name, STORE_FILE) == 0)
        l->store = l->other = true;
    else if (strcmp(name, FORMATTING_FILE) == 0)
        l->formatting = true;
    else if (strcmp(name, "mark") == 0 || strcmp(name, "promise") == 0 ||
             name_number(name, "segment-") != 0 || name_number(name, "index-") != 0) {
        l->other = true;
        if (l->count < 64) {
            strncpy(l->names[l->count], name, DISK_NAME_MAX);
            l->count++;
        }
    } else {
        l->other = true;
        l->formatting = false;
    }
}

static int write_file(struct disk *disk, const char *name, const uint8_t *bytes, uint64_t length)
{
    int32_t file = disk->ops->open(disk, name, true);
    if (file < 0)
        return file;
    int64_t wrote = disk->ops->write(disk, file, 0, bytes, length);
    disk->ops->close_file(disk, file);
    if (wrote < 0)
        return (int)wrote;
    return wrote == (int64_t)length ? 0 : -EIO;
}

/* Whether `store` is whole: the last thing that format writes. */
static bool store_whole(struct disk *disk)
{
    uint8_t *block = aligned_new(DISK_BLOCK);
    struct store_identity id;
    bool whole = block == NULL || store_read(disk, block, &id, NULL) != JOURNAL_IO;
    free(block);
    return whole;
}

/* An earlier format that was interrupted has acknowledged nothing: begin again. */
static enum journal_error clear_directory(struct disk *disk, char *error)
{
    struct leftovers *found = calloc(1, sizeof *found);
    if (found == NULL)
        return JOURNAL_MEMORY;
    int result = disk->ops->list(disk, look_at_name, found);
    enum journal_error code = JOURNAL_OK;
    if (result < 0) {
        journal_error_set(error, "cannot list the directory: %s", strerror(-result));
        code = JOURNAL_IO;
    } else if (found->other && (!found->formatting || (found->store && store_whole(disk)))) {
        journal_error_set(error, "the directory is not empty%s: give an empty one",
                          found->store ? ", it holds a store" : "");
        code = JOURNAL_NOT_EMPTY;
    }
    if (code == JOURNAL_OK && found->store)
        (void)snprintf(found->names[found->count++], DISK_NAME_MAX + 1, STORE_FILE);
    for (uint32_t i = 0; code == JOURNAL_OK && i < found->count; i++) {
        found->names[i][DISK_NAME_MAX] = 0;
        result = disk->ops->remove(disk, found->names[i]);
        if (result < 0) {
            journal_error_set(error, "cannot remove `%s`: %s", found->names[i], strerror(-result));
            code = JOURNAL_IO;
        }
    }
    free(found);
    return code;
}

static int format_segment(struct disk *disk, const struct journal_options *options,
                          const uint8_t *bytes, uint64_t whole, const uint8_t *zeros)
{
    char name[DISK_NAME_MAX + 1];
    segment_name(name, 1);
    int32_t file = disk->ops->open(disk, name, true);
    if (file < 0)
        return file;
    int64_t result = 0;
    uint64_t end = block_ceil(options->segment_bytes) + HEADER_BYTES_MAX;
    for (uint64_t at = 0; at < end && result >= 0; at += SCRATCH_BYTES) {
        uint64_t length = end - at < SCRATCH_BYTES ? end - at : SCRATCH_BYTES;
        result = disk->ops->write(disk, file, at, zeros, length);
        if (result >= 0 && (uint64_t)result != length)
            result = -ENOSPC;
    }
    if (result >= 0)
        result = disk->ops->write(disk, file, 0, bytes, whole);
    disk->ops->close_file(disk, file);
    return result < 0 ? (int)result : 0;
}

struct format_memory {
    uint8_t segment[DISK_BLOCK * 2 + BATCH_ROOM];
    uint8_t zeros[SCRATCH_BYTES];
    uint8_t marks[2 * SLOT_BYTES];
    uint8_t promises[2 * DISK_BLOCK];
    uint8_t block[DISK_BLOCK];
    struct history history;
    struct mark_slot slot;
};

static int format_files(struct disk *disk, const struct journal_options *options,
                        const struct store_identity *id, struct format_memory *m,
                        const struct place *end)
{
    memset(m->block, 0, DISK_BLOCK);
    int result = write_file(disk, FORMATTING_FILE, m->block, DISK_BLOCK);
    if (result == 0)
        result = format_segment(disk, options, m->segment, block_floor(end->offset), m->zeros);
    m->slot.generation = 1;
    m->slot.acknowledged = m->slot.end = *end;
    m->slot.partial_length = (uint32_t)(end->offset - block_floor(end->offset));
    memcpy(m->slot.partial, m->segment + block_floor(end->offset), m->slot.partial_length);
    for (uint32_t i = 0; i < 2; i++) {
        m->slot.commit = i + 1;
        (void)mark_encode(&m->slot, id->stream, id->store, m->marks + (size_t)i * SLOT_BYTES);
        promise_encode_slot(id->stream, id->store, &(struct promise_slot) { .number = i + 1 },
                            m->promises + (size_t)i * DISK_BLOCK);
    }
    if (result == 0)
        result = write_file(disk, "mark", m->marks, sizeof m->marks);
    if (result == 0)
        result = write_file(disk, "promise", m->promises, sizeof m->promises);
    struct wire_writer w = wire_writer_of(m->block + SEAL_BYTES, DISK_BLOCK - SEAL_BYTES);
    wire_put64(&w, id->stream);
    wire_put64(&w, id->store);
    journal_seal(m->block, DISK_BLOCK, MAGIC_STORE);
    if (result == 0)
        result = write_file(disk, STORE_FILE, m->block, DISK_BLOCK);
    if (result == 0)
        result = disk->ops->remove(disk, FORMATTING_FILE);
    return result;
}

enum journal_error journal_format(struct disk *disk, const struct journal_options *options,
                                  uint64_t stream, uint64_t store, const uint8_t *genesis,
                                  uint32_t genesis_length, char *error)
{
    const char *wrong = journal_options_check(options);
    if (wrong != NULL || stream == 0 || store == 0) {
        journal_error_set(error, "%s", wrong != NULL ? wrong : "stream and store ids are not 0");
        return JOURNAL_IO;
    }
    struct place end = { .segment = 1, .offset = DISK_BLOCK };
    struct batch_header batch;
    if (genesis_length > 0) {
        struct chain chain = { .stream = stream };
        if (chain_next(&chain, genesis, genesis_length, &batch) != genesis_length) {
            journal_error_set(error, "the genesis batch is not the first batch of this stream");
            return JOURNAL_FOREIGN;
        }
        chain_advance(&chain, &batch);
        end.last = chain.last;
        end.digest = chain.digest;
        end.offset += journal_aligned(genesis_length);
    }
    enum journal_error code = clear_directory(disk, error);
    if (code != JOURNAL_OK)
        return code;
    struct format_memory *m = aligned_new(sizeof *m);
    if (m == NULL) {
        journal_error_set(error, "not enough memory");
        return JOURNAL_MEMORY;
    }
    struct segment_header header = {
        .stream = stream, .store = store, .first_seq = 1, .segment = 1, .header_bytes = DISK_BLOCK
    };
    segment_header_encode(&header, &m->history, m->segment);
    if (genesis_length > 0)
        memcpy(m->segment + DISK_BLOCK, genesis, genesis_length);
    int result = format_files(disk, options, &(struct store_identity) { stream, store }, m, &end);
    free(m);
    if (result < 0) {
        journal_error_set(error, "cannot write the new store: %s", strerror(-result));
        return JOURNAL_IO;
    }
    return JOURNAL_OK;
}
