#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "journal/disk_directory.h"

/* io_uring. Durable writes carry RWF_DSYNC, which is O_DSYNC for one write: with O_DIRECT one
 * forced-unit-access write, without it a write and the fdatasync of its range. A file is prepared
 * by a chain of requests: piece after piece of zeros, fsync of the file, fsync of the directory. */

enum stage {
    STAGE_FREE,
    STAGE_PLAIN, /* a read or a write */
    STAGE_ZEROS,
    STAGE_SYNC_FILE,
    STAGE_SYNC_DIRECTORY,
    STAGE_REFUSED /* could not even begin: a no-op carries the result, so that fd() wakes up */
};

struct request {
    enum stage stage;
    int fd;
    int error;
    uint64_t cookie;
    uint64_t at, length;
    char name[DISK_NAME_MAX + 1];
};

struct disk_uring {
    struct disk_directory directory;
    enum disk_sync sync;
    struct io_uring ring;
    uint8_t *zeros;
    uint32_t flying;
    struct request requests[DISK_REQUESTS_MAX];
    struct disk_completion done[DISK_REQUESTS_MAX]; /* reaped by drain */
    uint32_t done_count;
};

static struct disk_uring *of(struct disk *disk)
{
    return (struct disk_uring *)disk;
}

/* A queued entry can't be taken back: if the kernel refuses it now, it goes with the next submit.
 * So its request is in flight either way, and neither it, nor its descriptor, nor its bytes may be
 * used for anything else before it completes. */
static void send_off(struct disk_uring *d, struct io_uring_sqe *sqe, struct request *r)
{
    io_uring_sqe_set_data(sqe, r);
    (void)io_uring_submit(&d->ring);
}

/* Sends the next piece of work of a file that is being prepared. */
static bool prepare_step(struct disk_uring *d, struct request *r)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&d->ring);
    if (sqe == NULL)
        return false;
    if (r->stage == STAGE_ZEROS) {
        uint64_t left = r->length - r->at;
        io_uring_prep_write(sqe, r->fd, d->zeros,
                            (unsigned)(left < DISK_PREPARE_CHUNK ? left : DISK_PREPARE_CHUNK),
                            r->at);
    } else if (r->stage == STAGE_REFUSED) {
        io_uring_prep_nop(sqe);
    } else {
        int fd = r->stage == STAGE_SYNC_FILE ? r->fd : d->directory.directory_fd;
        io_uring_prep_fsync(sqe, fd, 0);
    }
    send_off(d, sqe, r);
    return true;
}

static struct request *request_new(struct disk_uring *d)
{
    for (uint32_t i = 0; i < DISK_REQUESTS_MAX; i++)
        if (d->requests[i].stage == STAGE_FREE)
            return &d->requests[i];
    return NULL;
}

static bool uring_submit(struct disk_uring *d, const struct disk_request *request, bool sync)
{
    if (d->flying + d->done_count >= DISK_REQUESTS_MAX)
        return false;
    struct request *r = request_new(d);
    if (r == NULL)
        return false;
    memset(r, 0, sizeof *r);
    r->cookie = request->cookie;
    r->length = request->length;
    bool sent = false;
    if (request->op == DISK_PREPARE) {
        int fd = disk_directory_create(&d->directory, request->name);
        r->fd = fd;
        r->error = fd;
        (void)snprintf(r->name, sizeof r->name, "%s", request->name);
        r->stage = fd < 0 ? STAGE_REFUSED : STAGE_ZEROS;
        sent = prepare_step(d, r);
        if (!sent && fd >= 0)
            (void)close(fd);
    } else {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&d->ring);
        if (sqe == NULL)
            return false;
        r->fd = disk_directory_fd(&d->directory, request->file);
        r->stage = STAGE_PLAIN;
        if (request->op == DISK_WRITE) {
            io_uring_prep_write(sqe, r->fd, request->bytes, (unsigned)request->length,
                                request->offset);
            sqe->rw_flags = sync ? RWF_DSYNC : 0;
        } else {
            io_uring_prep_read(sqe, r->fd, request->bytes, (unsigned)request->length,
                               request->offset);
        }
        send_off(d, sqe, r);
        sent = true;
    }
    if (!sent) {
        r->stage = STAGE_FREE;
        return false;
    }
    d->flying++;
    return true;
}

static bool submit(struct disk *disk, const struct disk_request *request)
{
    return uring_submit(of(disk), request, of(disk)->sync == DISK_SYNC_EVERY);
}

static bool submit_synced(struct disk *disk, const struct disk_request *request)
{
    return uring_submit(of(disk), request, true);
}

/* Handles one completion of the ring; true if it ends a request, whose result is then in *out. */
static bool advance(struct disk_uring *d, struct request *r, int result,
                    struct disk_completion *out)
{
    *out = (struct disk_completion) { .cookie = r->cookie, .result = result };
    bool ended = true;
    switch (r->stage) {
    case STAGE_FREE:
        return false;
    case STAGE_PLAIN:
        break;
    case STAGE_ZEROS:
        if (result == 0)
            out->result = result = -ENOSPC;
        if (result < 0)
            break;
        r->at += (uint64_t)result;
        if (r->at >= r->length)
            r->stage = STAGE_SYNC_FILE;
        ended = false;
        break;
    case STAGE_SYNC_FILE:
        if (result == 0)
            r->stage = STAGE_SYNC_DIRECTORY;
        ended = result < 0;
        break;
    case STAGE_SYNC_DIRECTORY:
        if (result == 0) {
            out->result = disk_directory_adopt(&d->directory, r->fd);
            r->fd = -1;
        }
        break;
    case STAGE_REFUSED:
        out->result = r->error;
        break;
    }
    if (!ended && !prepare_step(d, r)) {
        out->result = -EAGAIN;
        ended = true;
    }
    if (!ended)
        return false;
    if (r->stage != STAGE_PLAIN && out->result < 0) {
        if (r->fd >= 0)
            (void)close(r->fd);
        (void)unlinkat(d->directory.directory_fd, r->name, 0);
    }
    r->stage = STAGE_FREE;
    d->flying--;
    return true;
}

static uint32_t reap(struct disk_uring *d, struct disk_completion *out, uint32_t max)
{
    uint32_t count = 0;
    struct io_uring_cqe *cqe;
    if (io_uring_sq_ready(&d->ring) > 0)
        (void)io_uring_submit(&d->ring); /* what was refused before */
    while (count < max && io_uring_peek_cqe(&d->ring, &cqe) == 0) {
        struct request *r = io_uring_cqe_get_data(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&d->ring, cqe);
        if (r != NULL && advance(d, r, result, &out[count]))
            count++;
    }
    return count;
}

static uint32_t complete(struct disk *disk, struct disk_completion *out, uint32_t max)
{
    struct disk_uring *d = of(disk);
    uint32_t count = d->done_count < max ? d->done_count : max;
    memcpy(out, d->done, count * sizeof *out);
    d->done_count -= count;
    memmove(d->done, d->done + count, d->done_count * sizeof *out);
    return count + reap(d, out + count, max - count);
}

static void drain(struct disk *disk)
{
    struct disk_uring *d = of(disk);
    while (d->flying > 0) {
        int result = io_uring_submit_and_wait(&d->ring, 1);
        if (result < 0 && result != -EINTR)
            return;
        d->done_count += reap(d, d->done + d->done_count, DISK_REQUESTS_MAX - d->done_count);
    }
}

static int ring_fd(const struct disk *disk)
{
    return ((const struct disk_uring *)disk)->ring.ring_fd;
}

static void destroy(struct disk *disk)
{
    struct disk_uring *d = of(disk);
    drain(disk);
    io_uring_queue_exit(&d->ring);
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
    .fd = ring_fd,
    .drain = drain,
    .destroy = destroy,
};

struct disk *disk_open_uring(const struct disk_options *options, char *error)
{
    struct disk_uring *d = calloc(1, sizeof *d);
    uint8_t *zeros = aligned_alloc(DISK_BLOCK, DISK_PREPARE_CHUNK);
    if (d == NULL || zeros == NULL) {
        (void)snprintf(error, 256, "not enough memory");
        goto failed;
    }
    memset(zeros, 0, DISK_PREPARE_CHUNK);
    d->directory.disk.ops = &ops;
    d->sync = options->sync;
    d->zeros = zeros;
    int result = io_uring_queue_init(2 * DISK_REQUESTS_MAX, &d->ring, 0);
    if (result < 0) {
        (void)snprintf(error, 256,
                       "io_uring is not available (%s): choose the plain disk back end in the "
                       "configuration",
                       strerror(-result));
        goto failed;
    }
    if (!disk_directory_open(&d->directory, options, error)) {
        io_uring_queue_exit(&d->ring);
        goto failed;
    }
    return &d->directory.disk;
failed:
    free(zeros);
    free(d);
    return NULL;
}
