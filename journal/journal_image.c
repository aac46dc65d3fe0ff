#include <stdlib.h>

#include "journal/journal_private.h"

enum { IMAGE_READ_BYTES = 256 * 1024 };

static void lay_over(struct image *image, uint32_t i, const struct mark_slot *slot)
{
    image->patch_at[i] = block_floor(slot->end.offset);
    if (image->patch_at[i] + DISK_BLOCK > image->size)
        return;
    image->laid[i] = true;
    uint8_t *block = image->bytes + image->patch_at[i];
    image->patched[i] = memcmp(block, slot->partial, slot->partial_length) != 0;
    memcpy(image->before[i], block, DISK_BLOCK);
    memcpy(block, slot->partial, slot->partial_length);
}

/* Memory for image->size bytes, whatever is in it. */
static bool take_memory(struct image *image)
{
    if (image->before == NULL)
        image->before = calloc(2, DISK_BLOCK);
    if (image->capacity < image->size) {
        free(image->bytes);
        image->bytes = aligned_alloc(DISK_BLOCK, image->size);
        image->capacity = image->size;
    }
    return image->bytes != NULL && image->before != NULL;
}

/* What the disk does not have, or can't give, is zeros. */
static void read_piece(struct image *image, uint64_t at, uint64_t length)
{
    struct disk *disk = image->disk;
    int32_t file = image->file;
    int64_t got = disk->ops->read(disk, file, at, image->bytes + at, length);
    if (got >= 0) {
        memset(image->bytes + at + got, 0, length - (uint64_t)got);
        return;
    }
    /* One bad sector must not hide its neighbours. */
    for (uint64_t b = at; b < at + length; b += DISK_BLOCK) {
        got = disk->ops->read(disk, file, b, image->bytes + b, DISK_BLOCK);
        if (got < 0)
            image->failed_end = b + DISK_BLOCK;
        got = got < 0 ? 0 : got;
        memset(image->bytes + b + got, 0, DISK_BLOCK - (uint64_t)got);
    }
}

static void close_file(struct image *image)
{
    if (image->disk != NULL && image->file >= 0)
        image->disk->ops->close_file(image->disk, image->file);
    image->disk = NULL;
}

static void read_through(struct image *image, uint64_t end)
{
    while (image->read_end < end && image->read_end < image->file_end) {
        uint64_t left = image->file_end - image->read_end;
        uint64_t length = left < IMAGE_READ_BYTES ? left : IMAGE_READ_BYTES;
        read_piece(image, image->read_end, length);
        image->read_end += length;
    }
    if (image->read_end == image->file_end)
        close_file(image);
}

static bool load(struct image *image, struct disk *disk, uint32_t number,
                 const struct mark_slot slots[2], int newest, bool whole)
{
    close_file(image);
    *image = (struct image) { .bytes = image->bytes,
                              .capacity = image->capacity,
                              .before = image->before };
    char name[DISK_NAME_MAX + 1];
    segment_name(name, number);
    int32_t file = disk->ops->open(disk, name, false);
    image->disk = disk;
    image->file = file;
    bool laid_over = false;
    int64_t on_disk = file < 0 ? file : disk->ops->size(disk, file);
    uint64_t size = on_disk < 0 ? 0 : (uint64_t)on_disk;
    if (size > SEGMENT_BYTES_MAX + 2 * (uint64_t)HEADER_BYTES_MAX)
        size = SEGMENT_BYTES_MAX + 2 * (uint64_t)HEADER_BYTES_MAX;
    /* A partial block may lie just beyond what has been written of the segment so far. */
    image->size = block_ceil(size) + DISK_BLOCK;
    for (uint32_t i = 0; newest >= 0 && i < 4; i++) {
        const struct mark_slot *slot = &slots[i / 2];
        const struct place *place = i % 2 == 0 ? &slot->end : &slot->acknowledged;
        laid_over = laid_over || (slot->valid && place->segment == number);
        if (slot->valid && place->segment == number &&
            block_floor(place->offset) + DISK_BLOCK > image->size)
            image->size = block_floor(place->offset) + DISK_BLOCK;
    }
    if (on_disk < 0)
        image->failed_end = image->size;
    if (!take_memory(image)) {
        image_free(image);
        return false;
    }
    memset(image->bytes + block_ceil(size), 0, image->size - block_ceil(size));
    image->file_end = block_ceil(size);
    if (whole || laid_over)
        read_through(image, image->file_end);
    /* The older first: where both know the same block, the newer knows more of it. */
    for (uint32_t k = 0; newest >= 0 && k < 2; k++) {
        uint32_t i = k == 0 ? 1 - (uint32_t)newest : (uint32_t)newest;
        if (slots[i].valid && slots[i].generation == slots[newest].generation &&
            slots[i].end.segment == number && slots[i].partial_length > 0)
            lay_over(image, i, &slots[i]);
    }
    return true;
}

bool image_load(struct image *image, struct disk *disk, uint32_t number,
                const struct mark_slot slots[2], int newest)
{
    return load(image, disk, number, slots, newest, true);
}

bool image_begin(struct image *image, struct disk *disk, uint32_t number,
                 const struct mark_slot slots[2], int newest)
{
    return load(image, disk, number, slots, newest, false);
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
        read_through(image, offset + WIRE_DATAGRAM_MAX);
        const uint8_t *at = image->bytes + offset;
        uint32_t length = chain_next(walk->chain, at, image->size - offset, &header);
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

uint64_t image_torn_bytes(const struct image *image, uint64_t offset)
{
    uint64_t end = image->size;
    /* Mostly a whole segment of zeros: a block at a time, as long as all of it is. */
    static const uint8_t zeros[DISK_BLOCK];
    while (end >= offset + DISK_BLOCK &&
           memcmp(image->bytes + end - DISK_BLOCK, zeros, DISK_BLOCK) == 0)
        end -= DISK_BLOCK;
    for (; end > offset; end--)
        if (image->bytes[end - 1] != 0)
            return end - offset;
    return 0;
}
