#include <stdlib.h>

#include "journal/journal_private.h"

enum { IMAGE_READ_BYTES = 1024 * 1024 };

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
static void read_piece(struct image *image, struct disk *disk, int32_t file, uint64_t at,
                       uint64_t length)
{
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

bool image_load(struct image *image, struct disk *disk, uint32_t number,
                const struct mark_slot slots[2], int newest)
{
    *image = (struct image) { .bytes = image->bytes,
                              .capacity = image->capacity,
                              .before = image->before };
    char name[DISK_NAME_MAX + 1];
    segment_name(name, number);
    int32_t file = disk->ops->open(disk, name, false);
    int64_t on_disk = file < 0 ? file : disk->ops->size(disk, file);
    uint64_t size = on_disk < 0 ? 0 : (uint64_t)on_disk;
    if (size > SEGMENT_BYTES_MAX + 2 * (uint64_t)HEADER_BYTES_MAX)
        size = SEGMENT_BYTES_MAX + 2 * (uint64_t)HEADER_BYTES_MAX;
    /* A partial block may lie just beyond what has been written of the segment so far. */
    image->size = block_ceil(size) + DISK_BLOCK;
    for (uint32_t i = 0; newest >= 0 && i < 4; i++) {
        const struct mark_slot *slot = &slots[i / 2];
        const struct place *place = i % 2 == 0 ? &slot->end : &slot->acknowledged;
        if (slot->valid && place->segment == number &&
            block_floor(place->offset) + DISK_BLOCK > image->size)
            image->size = block_floor(place->offset) + DISK_BLOCK;
    }
    if (on_disk < 0)
        image->failed_end = image->size;
    bool memory = take_memory(image);
    uint64_t at = 0;
    for (uint64_t length; memory && at < size; at += length) {
        length = block_ceil(size - at);
        length = length < IMAGE_READ_BYTES ? length : IMAGE_READ_BYTES;
        read_piece(image, disk, file, at, length);
    }
    if (file >= 0)
        disk->ops->close_file(disk, file);
    if (!memory) {
        image_free(image);
        return false;
    }
    if (at < image->size)
        memset(image->bytes + at, 0, image->size - at);
    /* The older first: where both know the same block, the newer knows more of it. */
    for (uint32_t k = 0; newest >= 0 && k < 2; k++) {
        uint32_t i = k == 0 ? 1 - (uint32_t)newest : (uint32_t)newest;
        if (slots[i].valid && slots[i].generation == slots[newest].generation &&
            slots[i].end.segment == number && slots[i].partial_length > 0)
            lay_over(image, i, &slots[i]);
    }
    return true;
}

void image_free(struct image *image)
{
    free(image->bytes);
    free(image->before);
    image->bytes = NULL;
    image->capacity = 0;
    image->before = NULL;
}

uint64_t image_follow(const struct image *image, uint64_t offset, struct image_walk *walk)
{
    struct batch_header header;
    while (offset < image->size &&
           (walk->until_seq == 0 || walk->chain->last.seq < walk->until_seq)) {
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
