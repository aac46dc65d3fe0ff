#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "journal/disk_directory.h"

/* Plain system calls. Reads and writes happen inside submit; a file is prepared piece by piece, one
 * in each call of complete, so that no caller waits long. */

struct disk_file {
    struct disk_directory directory;
    enum disk_sync sync;
    int event_fd;
    uint32_t done_count, preparing_count;
    struct disk_completion done[DISK_REQUESTS_MAX];
    struct preparing {
        char name[DISK_NAME_MAX + 1];
        uint64_t cookie, at, length;
        int fd;
    } preparing[DISK_REQUESTS_MAX];
    uint8_t *zeros;
};

static void wake(struct disk_file *d)
{
    uint64_t one = 1;
    ssize_t ignored = write(d->event_fd, &one, sizeof one);
    (void)ignored;
}

static void push(struct disk_file *d, uint64_t cookie, int64_t result)
{
    d->done[d->done_count++] = (struct disk_completion) { .cookie = cookie, .result = result };
    wake(d);
}

static int64_t write_now(struct disk_file *d, const struct disk_request *r, bool sync)
{
    if (sync)
        return disk_directory_write(&d->directory.disk, r->file, r->offset, r->bytes,
                                    (size_t)r->length);
    ssize_t put = pwrite(disk_directory_fd(&d->directory, r->file), r->bytes, (size_t)r->length,
                         (off_t)r->offset);
    return put < 0 ? -errno : put;
}

static bool file_submit(struct disk_file *d, const struct disk_request *r, bool sync)
{
    if (d->done_count + d->preparing_count >= DISK_REQUESTS_MAX)
        return false;
    switch (r->op) {
    case DISK_WRITE:
        push(d, r->cookie, write_now(d, r, sync));
        break;
    case DISK_READ:
        push(d, r->cookie,
             disk_directory_read(&d->directory.disk, r->file, r->offset, r->bytes,
                                 (size_t)r->length));
        break;
    case DISK_PREPARE: {
        int fd = disk_directory_create(&d->directory, r->name);
        if (fd < 0) {
            push(d, r->cookie, fd);
            break;
        }
        struct preparing *p = &d->preparing[d->preparing_count++];
        *p = (struct preparing) { .cookie = r->cookie, .length = r->length, .fd = fd };
        (void)snprintf(p->name, sizeof p->name, "%s", r->name);
        wake(d);
        break;
    }
    }
    return true;
}

static bool submit(struct disk *disk, const struct disk_request *r)
{
    struct disk_file *d = (struct disk_file *)disk;
    return file_submit(d, r, d->sync == DISK_SYNC_EVERY);
}

static bool submit_synced(struct disk *disk, const struct disk_request *r)
{
    return file_submit((struct disk_file *)disk, r, true);
}

/* One piece of the oldest file that is being prepared. */
static void prepare_some(struct disk_file *d)
{
    struct preparing *p = &d->preparing[0];
    uint64_t left = p->length - p->at;
    size_t length = (size_t)(left < DISK_PREPARE_CHUNK ? left : DISK_PREPARE_CHUNK);
    int64_t result = 0;
    if (length > 0) {
        ssize_t put = pwrite(p->fd, d->zeros, length, (off_t)p->at);
        if (put <= 0)
            result = put < 0 ? -errno : -ENOSPC;
        else
            p->at += (uint64_t)put;
    }
    if (result == 0 && p->at < p->length)
        return;
    if (result == 0 && (fsync(p->fd) != 0 || fsync(d->directory.directory_fd) != 0))
        result = -errno;
    if (result == 0) {
        result = disk_directory_adopt(&d->directory, p->fd);
    } else {
        (void)close(p->fd);
    }
    if (result < 0)
        (void)unlinkat(d->directory.directory_fd, p->name, 0);
    uint64_t cookie = p->cookie;
    d->preparing_count--;
    memmove(p, p + 1, d->preparing_count * sizeof *p);
    push(d, cookie, result);
}

static uint32_t complete(struct disk *disk, struct disk_completion *out, uint32_t max)
{
    struct disk_file *d = (struct disk_file *)disk;
    if (d->preparing_count > 0)
        prepare_some(d);
    uint32_t count = d->done_count < max ? d->done_count : max;
    memcpy(out, d->done, count * sizeof *out);
    d->done_count -= count;
    memmove(d->done, d->done + count, d->done_count * sizeof *out);
    if (d->done_count == 0 && d->preparing_count == 0) {
        uint64_t ignored;
        ssize_t got = read(d->event_fd, &ignored, sizeof ignored);
        (void)got;
    }
    return count;
}

static void drain(struct disk *disk)
{
    struct disk_file *d = (struct disk_file *)disk;
    while (d->preparing_count > 0)
        prepare_some(d);
}

static int event_fd(const struct disk *disk)
{
    return ((const struct disk_file *)disk)->event_fd;
}

static void destroy(struct disk *disk)
{
    struct disk_file *d = (struct disk_file *)disk;
    for (uint32_t i = 0; i < d->preparing_count; i++) {
        (void)close(d->preparing[i].fd);
        (void)unlinkat(d->directory.directory_fd, d->preparing[i].name, 0);
    }
    (void)close(d->event_fd);
    disk_directory_close(&d->directory);
    free(d->zeros);
    free(d);
}

static const struct disk_ops ops = {
    .open = disk_directory_open_file,
    .close_file = disk_directory_close_file,
    .size = disk_directory_size,
    .truncate = disk_directory_truncate,
    .remove = disk_directory_remove,
    .list = disk_directory_list,
    .read = disk_directory_read,
    .write = disk_directory_write,
    .submit = submit,
    .submit_synced = submit_synced,
    .complete = complete,
    .fd = event_fd,
    .drain = drain,
    .destroy = destroy,
};

struct disk *disk_open_file(const struct disk_options *options, char *error)
{
    struct disk_file *d = calloc(1, sizeof *d);
    uint8_t *zeros = aligned_alloc(DISK_BLOCK, DISK_PREPARE_CHUNK);
    if (d == NULL || zeros == NULL) {
        (void)snprintf(error, 256, "not enough memory");
        goto failed;
    }
    memset(zeros, 0, DISK_PREPARE_CHUNK);
    d->directory.disk.ops = &ops;
    d->sync = options->sync;
    d->zeros = zeros;
    d->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (d->event_fd < 0) {
        (void)snprintf(error, 256, "cannot make an eventfd: %s", strerror(errno));
        goto failed;
    }
    if (!disk_directory_open(&d->directory, options, error)) {
        (void)close(d->event_fd);
        goto failed;
    }
    return &d->directory.disk;
failed:
    free(zeros);
    free(d);
    return NULL;
}
