#include <stdlib.h>

#include "journal/journal_private.h"

enum {
    PIECE_BYTES = 256 * 1024,
    /* A piece, and what is left of the one before: small enough to stay in the cache. */
    WINDOW_BYTES = PIECE_BYTES + 16 * DISK_BLOCK
};

_Static_assert((int)WIRE_DATAGRAM_MAX + 2 * DISK_BLOCK <= (int)WINDOW_BYTES - (int)PIECE_BYTES,
               "less than a batch is left when the next piece is read");

/* Memory for `size` bytes, whatever is in it. */
static bool take_memory(struct image *image, uint64_t size)
{
    if (image->before == NULL)
        image->before = calloc(2, DISK_BLOCK);
    if (image->capacity < size) {
        free(image->bytes);
        image->bytes = aligned_alloc(DISK_BLOCK, size);
        image->capacity = size;
    }
    return image->bytes != NULL && image->before != NULL;
}

/* What the disk does not have, or can't give, is zeros. */
static void read_piece(struct image *image, uint64_t at, uint64_t length)
{
    struct disk *disk = image->disk;
    int32_t file = image->file;
    uint8_t *to = image->bytes + (at - image->base);
    int64_t got = disk->ops->read(disk, file, at, to, length);
    if (got >= 0) {
        memset(to + got, 0, length - (uint64_t)got);
        return;
    }
    /* One bad sector must not hide its neighbours. */
    for (uint64_t b = 0; b < length; b += DISK_BLOCK) {
        got = disk->ops->read(disk, file, at + b, to + b, DISK_BLOCK);
        if (got < 0 && at + b + DISK_BLOCK > image->failed_end)
            image->failed_end = at + b + DISK_BLOCK;
        got = got < 0 ? 0 : got;
        memset(to + b + got, 0, DISK_BLOCK - (uint64_t)got);
    }
}

static void lay_over(struct image *image, uint32_t i, uint64_t at, uint64_t length)
{
    const struct mark_slot *slot = &image->slots[i];
    image->patch_at[i] = block_floor(slot->end.offset);
    if (image->patch_at[i] < at || image->patch_at[i] + DISK_BLOCK > at + length)
        return;
    image->laid[i] = true;
    uint8_t *block = image->bytes + (image->patch_at[i] - image->base);
    image->patched[i] = memcmp(block, slot->partial, slot->partial_length) != 0;
    memcpy(image->before[i], block, DISK_BLOCK);
    memcpy(block, slot->partial, slot->partial_length);
}

/* Reads the next piece behind what is there. */
static void read_next(struct image *image)
{
    uint64_t at = image->read_end;
    uint64_t length = image->size - at < PIECE_BYTES ? image->size - at : PIECE_BYTES;
    uint64_t there = at < image->file_end ? image->file_end - at : 0;
    there = there < length ? there : length;
    if (there > 0)
        read_piece(image, at, there);
    memset(image->bytes + (at + there - image->base), 0, length - there);
    image->read_end += length;
    /* The older first: where both know the same block, the newer knows more of it. */
    for (uint32_t k = 0; image->newest >= 0 && k < 2; k++) {
        uint32_t i = k == 0 ? 1 - (uint32_t)image->newest : (uint32_t)image->newest;
        const struct mark_slot *slot = &image->slots[i];
        if (slot->valid && slot->generation == image->slots[image->newest].generation &&
            slot->end.segment == image->segment && slot->partial_length > 0)
            lay_over(image, i, at, length);
    }
}

/* Moves the window to `offset`, and reads on. */
static void window_move(struct image *image, uint64_t offset)
{
    uint64_t base = block_floor(offset);
    if (base >= image->base && base < image->read_end)
        memmove(image->bytes, image->bytes + (base - image->base), image->read_end - base);
    else
        image->read_end = base;
    image->base = base;
    read_next(image);
}

/* The bytes at an offset below the end, and how many there are: more than a batch, or all up to the end. */
static const uint8_t *bytes_at(struct image *image, uint64_t offset, uint64_t *available)
{
    if (offset < image->base ||
        (image->read_end < image->size && image->read_end < offset + WIRE_DATAGRAM_MAX))
        window_move(image, offset);
    *available = image->read_end - offset;
    return image->bytes + (offset - image->base);
}

static void close_file(struct image *image)
{
    if (image->disk != NULL && image->file >= 0)
        image->disk->ops->close_file(image->disk, image->file);
    image->disk = NULL;
}

static bool begin(struct image *image, struct disk *disk, uint32_t number,
                  const struct mark_slot slots[2], int newest, bool whole)
{
    close_file(image);
    *image = (struct image) { .bytes = image->bytes,
                              .capacity = image->capacity,
                              .before = image->before,
                              .slots = slots,
                              .newest = newest,
                              .segment = number };
    char name[DISK_NAME_MAX + 1];
    segment_name(name, number);
    int32_t file = disk->ops->open(disk, name, false);
    image->disk = disk;
    image->file = file;
    int64_t on_disk = file < 0 ? file : disk->ops->size(disk, file);
    uint64_t size = on_disk < 0 ? 0 : (uint64_t)on_disk;
    if (size > SEGMENT_BYTES_MAX + 2 * (uint64_t)HEADER_BYTES_MAX)
        size = SEGMENT_BYTES_MAX + 2 * (uint64_t)HEADER_BYTES_MAX;
    image->file_end = block_ceil(size);
    /* A partial block may lie just beyond what has been written of the segment so far. */
    image->size = image->file_end + DISK_BLOCK;
    for (uint32_t i = 0; newest >= 0 && i < 4; i++) {
        const struct mark_slot *slot = &slots[i / 2];
        const struct place *place = i % 2 == 0 ? &slot->end : &slot->acknowledged;
        if (slot->valid && place->segment == number &&
            block_floor(place->offset) + DISK_BLOCK > image->size)
            image->size = block_floor(place->offset) + DISK_BLOCK;
    }
    if (on_disk < 0)
        image->failed_end = image->size;
    if (!take_memory(image, whole ? image->size : WINDOW_BYTES)) {
        image_free(image);
        return false;
    }
    while (whole && image->read_end < image->size)
        read_next(image);
    if (whole)
        close_file(image);
    return true;
}

bool image_load(struct image *image, struct disk *disk, uint32_t number,
                const struct mark_slot slots[2], int newest)
{
    return begin(image, disk, number, slots, newest, true);
}

bool image_begin(struct image *image, struct disk *disk, uint32_t number,
                 const struct mark_slot slots[2], int newest)
{
    return begin(image, disk, number, slots, newest, false);
}

void image_free(struct image *image)
{
    close_file(image);
    free(image->bytes);
    free(image->before);
    image->bytes = NULL;
    image->capacity = 0;
    image->before = NULL;
}

uint64_t image_follow(struct image *image, uint64_t offset, struct image_walk *walk)
{
    struct batch_header header;
    while (offset < image->size &&
           (walk->until_seq == 0 || walk->chain->last.seq < walk->until_seq)) {
        uint64_t available;
        const uint8_t *at = bytes_at(image, offset, &available);
        uint32_t length = chain_next(walk->chain, at, available, &header);
        if (length == 0)
            break;
        if (walk->visit != NULL && !walk->visit(walk->visit_ctx, at, &header, offset)) {
            walk->stopped = true;
            break;
        }
        if (walk->history != NULL && !history_apply(walk->history, at, &header))
            break;
        if (walk->index != NULL)
            sparse_add(walk->index, header.first_seq, header.timestamp_ns, offset);
        if (walk->recent != NULL)
            recent_add(walk->recent, at, &header);
        if (walk->batches++ == 0)
            walk->first_time_ns = header.timestamp_ns;
        walk->last_time_ns = header.timestamp_ns;
        chain_advance(walk->chain, &header);
        offset += journal_aligned(length);
    }
    return offset;
}

/* Without the zeros at the end. */
static uint64_t written_end(const uint8_t *bytes, uint64_t length)
{
    /* Mostly a whole segment of zeros: a block at a time, as long as all of it is. */
    static const uint8_t zeros[DISK_BLOCK];
    while (length >= DISK_BLOCK && memcmp(bytes + length - DISK_BLOCK, zeros, DISK_BLOCK) == 0)
        length -= DISK_BLOCK;
    while (length > 0 && bytes[length - 1] == 0)
        length--;
    return length;
}

uint64_t image_torn_bytes(struct image *image, uint64_t offset)
{
    uint64_t torn = 0;
    for (uint64_t at = offset; at < image->size;) {
        uint64_t available;
        const uint8_t *bytes = bytes_at(image, at, &available);
        uint64_t end = written_end(bytes, available);
        if (end > 0)
            torn = at + end - offset;
        at += available;
    }
    return torn;
}
