/* A store's directory. The input is a list of edits to the files of a small, real store, and says
 * whether checksums are made right again afterwards, so that what lies behind them is reached too.
 * Whatever the files say, open, walk and read neither crash nor run off. */
#include <stdlib.h>

#include "journal/journal_private.h"
#include "tests/journal/fake_disk.h"
#include "tests/journal/history_maker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILES = 6, BUFFER_BYTES = 128 * 1024 };

static const char *const names[FILES] = {
    "store", "mark", "promise", "segment-00000001", "segment-00000002", "index-00000001"
};
static const struct journal_options options = {
    .segment_bytes = 65536, .commit_bytes = 65536, .recent_bytes = 65536, .segments_max = 8
};
static uint8_t *originals[FILES];
static size_t lengths[FILES];
static uint8_t *buffer;

static void complete(struct disk *disk, struct fake_disk *fake, struct journal *j)
{
    struct disk_completion done[8];
    uint32_t count;
    do {
        fake_disk_work(fake, 8);
        count = disk->ops->complete(disk, done, 8);
        for (uint32_t i = 0; i < count; i++)
            journal_on_disk(j, &done[i]);
    } while (count > 0);
}

static void make_originals(void)
{
    struct fake_disk *fake = fake_disk_new(1);
    struct disk *disk = fake_disk_of(fake);
    struct history_maker maker;
    maker_init(&maker);
    maker_genesis(&maker, 7);
    char error[JOURNAL_ERROR_MAX];
    enum journal_error code = journal_format(disk, &options, MADE_STREAM, 7, maker.made[0].bytes,
                                             maker.made[0].header.length, error);
    struct journal_report report;
    struct journal *j = journal_open(disk, &options, 0, &report, &code, error);
    if (j == NULL)
        abort();
    for (uint32_t i = 0; i < 300; i++)
        maker_batch(&maker, 1, 300, (uint8_t)(i + 1));
    for (uint64_t now = 1; journal_durable(j).seq < 250; now++) {
        const struct made *next = maker_find(&maker, journal_tail(j).seq + 1);
        if (journal_tail(j).seq < 250)
            (void)journal_append(j, next->bytes, &next->header);
        journal_commit(j);
        complete(disk, fake, j);
        (void)journal_step(j, now);
    }
    for (uint32_t i = 0; i < FILES; i++) {
        lengths[i] = fake_disk_size(fake, names[i]);
        originals[i] = malloc(lengths[i]);
        if (originals[i] == NULL || lengths[i] == 0)
            abort();
        memcpy(originals[i], fake_disk_bytes(fake, names[i]), lengths[i]);
    }
    journal_close(j);
    fake_disk_free(fake);
    maker_free(&maker);
    buffer = aligned_alloc(DISK_BLOCK, BUFFER_BYTES);
}

static void seal_again(uint8_t *bytes, size_t length)
{
    for (size_t at = 0; at + DISK_BLOCK <= length; at += DISK_BLOCK) {
        uint32_t magic = wire_load32(bytes + at);
        if (magic == MAGIC_STORE || magic == MAGIC_MARK || magic == MAGIC_PROMISE ||
            magic == MAGIC_INDEX)
            journal_seal(bytes + at, DISK_BLOCK, magic);
        if (magic == MAGIC_SEGMENT) {
            uint32_t header = wire_load32(bytes + at + SEAL_BYTES);
            if (header >= DISK_BLOCK && header <= length - at)
                journal_seal(bytes + at, header, magic);
        }
    }
}

static void put_files(struct fake_disk *fake, struct wire_reader *r)
{
    uint8_t flags = wire_get8(r);
    for (uint32_t i = 0; i < FILES; i++)
        if ((flags >> (i + 2) & 1) == 0)
            fake_disk_put(fake, names[i], originals[i], lengths[i]);
    while (!r->failed && r->at < r->end) {
        uint8_t file = wire_get8(r);
        uint32_t offset = wire_get32(r);
        uint8_t count = wire_get8(r);
        const uint8_t *bytes = wire_get_bytes(r, count);
        uint8_t *target = fake_disk_bytes(fake, names[file % FILES]);
        if (bytes == NULL || target == NULL)
            continue;
        offset %= (uint32_t)lengths[file % FILES] - 256;
        memcpy(target + offset, bytes, count);
    }
    for (uint32_t i = 0; (flags & 1) != 0 && i < FILES; i++)
        if (fake_disk_has(fake, names[i]))
            seal_again(fake_disk_bytes(fake, names[i]), lengths[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (buffer == NULL)
        make_originals();
    struct wire_reader r = wire_reader_of(data, size);
    struct fake_disk *fake = fake_disk_new(1);
    struct disk *disk = fake_disk_of(fake);
    put_files(fake, &r);
    char error[JOURNAL_ERROR_MAX];
    struct journal_walk_result walk;
    (void)journal_walk(disk, 1, NULL, NULL, &walk, error);
    struct journal_report report;
    enum journal_error code;
    struct journal *j = journal_open(disk, &options, 0, &report, &code, error);
    if (j != NULL) {
        static const uint64_t seqs[] = { 1, 50, 120, 170, 200, 249, 250 };
        for (size_t i = 0; i < sizeof seqs / sizeof seqs[0]; i++) {
            struct journal_read read = { .first_seq = seqs[i],
                                         .buffer = buffer,
                                         .capacity = BUFFER_BYTES };
            (void)journal_read_begin(j, &read);
            complete(disk, fake, j);
        }
        (void)journal_seq_at_time(j, 1500);
        (void)journal_step(j, 1);
        (void)journal_step(j, 1000000000);
        complete(disk, fake, j);
        fake_disk_crash(fake);
        journal_close(j);
    }
    fake_disk_free(fake);
    return 0;
}
