#include "memory_disk.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct memory_disk *of(struct disk *d)
{
    return (struct memory_disk *)d;
}

struct memory_file *memory_disk_file(struct memory_disk *d, const char *name)
{
    for (int i = 0; i < MEMORY_DISK_FILES; i++) {
        if (strcmp(d->files[i].name, name) == 0)
            return &d->files[i];
    }
    return NULL;
}

static struct memory_file *make(struct memory_disk *d, const char *name)
{
    struct memory_file *f = memory_disk_file(d, "");
    ck_assert_msg(f != NULL, "more files than the test's disk has");
    ck_assert(strlen(name) <= DISK_NAME_MAX);
    memcpy(f->name, name, strlen(name) + 1);
    return f;
}

static void resize(struct memory_file *f, uint64_t size)
{
    uint8_t *bytes = realloc(f->bytes, size > 0 ? size : 1);
    ck_assert_ptr_nonnull(bytes);
    f->bytes = bytes;
    if (size > f->size)
        memset(f->bytes + f->size, 0, size - f->size);
    f->size = size;
}

static int32_t open_file(struct disk *disk, const char *name, bool create)
{
    struct memory_disk *d = of(disk);
    struct memory_file *f = memory_disk_file(d, name);
    if (f == NULL && create)
        f = make(d, name);
    return f == NULL ? -ENOENT : (int32_t)(f - d->files);
}

static void close_file(struct disk *disk, int32_t file)
{
    (void)disk;
    (void)file;
}

static int64_t size_of(struct disk *disk, int32_t file)
{
    return (int64_t)of(disk)->files[file].size;
}

static int truncate_file(struct disk *disk, int32_t file, uint64_t size)
{
    if (of(disk)->no_writes)
        return -EIO;
    resize(&of(disk)->files[file], size);
    return 0;
}

static int remove_file(struct disk *disk, const char *name)
{
    struct memory_file *f = memory_disk_file(of(disk), name);
    if (of(disk)->no_writes)
        return -EIO;
    if (f == NULL)
        return -ENOENT;
    free(f->bytes);
    *f = (struct memory_file) { 0 };
    return 0;
}

static int list_files(struct disk *disk, void (*name)(void *ctx, const char *name), void *ctx)
{
    for (int i = 0; i < MEMORY_DISK_FILES; i++) {
        if (of(disk)->files[i].name[0] != '\0')
            name(ctx, of(disk)->files[i].name);
    }
    return 0;
}

static int64_t read_bytes(struct disk *disk, int32_t file, uint64_t offset, void *bytes,
                          size_t length)
{
    const struct memory_file *f = &of(disk)->files[file];
    if (offset >= f->size)
        return 0;
    size_t n = f->size - offset < length ? f->size - offset : length;
    memcpy(bytes, f->bytes + offset, n);
    return (int64_t)n;
}

static int64_t write_bytes(struct disk *disk, int32_t file, uint64_t offset, const void *bytes,
                           size_t length)
{
    struct memory_disk *d = of(disk);
    if (d->no_writes)
        return -EIO;
    struct memory_file *f = &d->files[file];
    if (offset + length > f->size)
        resize(f, offset + length);
    memcpy(f->bytes + offset, bytes, length);
    d->writes++;
    return (int64_t)length;
}

static bool submit(struct disk *disk, const struct disk_request *request)
{
    struct memory_disk *d = of(disk);
    if (d->queued == DISK_REQUESTS_MAX)
        return false;
    d->queue[d->queued++] = *request;
    return true;
}

static int64_t carry_out(struct memory_disk *d, const struct disk_request *q)
{
    switch (q->op) {
    case DISK_WRITE:
        return write_bytes(&d->disk, q->file, q->offset, q->bytes, q->length);
    case DISK_READ:
        return read_bytes(&d->disk, q->file, q->offset, q->bytes, q->length);
    case DISK_PREPARE:
        if (d->no_space)
            return -ENOSPC;
        if (memory_disk_file(d, q->name) != NULL)
            (void)remove_file(&d->disk, q->name);
        struct memory_file *f = make(d, q->name);
        resize(f, q->length);
        return f - d->files;
    }
    return -EINVAL;
}

static uint32_t complete(struct disk *disk, struct disk_completion *out, uint32_t max)
{
    struct memory_disk *d = of(disk);
    if (d->hold)
        return 0;
    uint32_t n = d->queued < max ? d->queued : max;
    for (uint32_t i = 0; i < n; i++)
        out[i] = (struct disk_completion) { d->queue[i].cookie, carry_out(d, &d->queue[i]) };
    d->queued -= n;
    memmove(d->queue, d->queue + n, d->queued * sizeof d->queue[0]);
    return n;
}

static int no_fd(const struct disk *disk)
{
    (void)disk;
    return -1;
}

static void destroy(struct disk *disk)
{
    (void)disk;
}

static const struct disk_ops OPS = { .open = open_file,
                                     .close_file = close_file,
                                     .size = size_of,
                                     .truncate = truncate_file,
                                     .remove = remove_file,
                                     .list = list_files,
                                     .read = read_bytes,
                                     .write = write_bytes,
                                     .submit = submit,
                                     .submit_synced = submit,
                                     .complete = complete,
                                     .fd = no_fd,
                                     .destroy = destroy };

void memory_disk_init(struct memory_disk *d)
{
    *d = (struct memory_disk) { .disk = { &OPS } };
}

void memory_disk_close(struct memory_disk *d)
{
    for (int i = 0; i < MEMORY_DISK_FILES; i++)
        free(d->files[i].bytes);
}

void memory_disk_crash(struct memory_disk *d)
{
    d->queued = 0;
}
