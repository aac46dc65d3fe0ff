#include "bench/bare_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/stage.h"

static bool write_zeros(const struct bare_disk *d)
{
    for (uint64_t at = 0; at < BARE_DISK_FILE_BYTES; at += BARE_DISK_APPEND_MAX)
        if (pwrite(d->fd, d->bytes, BARE_DISK_APPEND_MAX, (off_t)at) != BARE_DISK_APPEND_MAX)
            return false;
    return fsync(d->fd) == 0;
}

bool bare_disk_open(struct bare_disk *d, const char *directory, const char *name, char *error)
{
    char path[256];
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_DSYNC;
    *d = (struct bare_disk) { .fd = -1, .direct = true };
    snprintf(path, sizeof path, "%.180s/%.60s", directory, name);
    d->bytes = aligned_alloc(BARE_DISK_BLOCK, BARE_DISK_APPEND_MAX);
    if (d->bytes != NULL)
        memset(d->bytes, 0, BARE_DISK_APPEND_MAX);
    d->fd = open(path, flags | O_DIRECT, 0600);
    if (d->fd < 0 && errno == EINVAL) {
        d->direct = false;
        d->fd = open(path, flags, 0600);
    }
    d->ring_open = d->bytes != NULL && io_uring_queue_init(8, &d->ring, 0) == 0;
    if (d->ring_open && d->fd >= 0 && write_zeros(d)) {
        memset(d->bytes, 0x5a, BARE_DISK_APPEND_MAX);
        return true;
    }
    snprintf(error, BENCH_ERROR_MAX, "%s: the floor's file: %s", path, strerror(errno));
    return false;
}

void bare_disk_close(struct bare_disk *d)
{
    if (d->ring_open)
        io_uring_queue_exit(&d->ring);
    if (d->fd >= 0)
        close(d->fd);
    free(d->bytes);
    *d = (struct bare_disk) { .fd = -1 };
}

bool bare_disk_submit(struct bare_disk *d, uint32_t bytes)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&d->ring);
    if (sqe == NULL)
        return false;
    if (d->offset + bytes > BARE_DISK_FILE_BYTES)
        d->offset = 0;
    io_uring_prep_write(sqe, d->fd, d->bytes, bytes, d->offset);
    io_uring_sqe_set_data64(sqe, bytes);
    d->offset += bytes;
    return io_uring_submit(&d->ring) == 1;
}

bool bare_disk_done(struct bare_disk *d, bool *failed)
{
    struct io_uring_cqe *cqe;
    if (io_uring_peek_cqe(&d->ring, &cqe) != 0)
        return false;
    *failed = cqe->res < 0 || (uint64_t)cqe->res != io_uring_cqe_get_data64(cqe);
    io_uring_cqe_seen(&d->ring, cqe);
    return true;
}

uint64_t bare_disk_append(struct bare_disk *d, uint32_t bytes)
{
    bool failed = false;
    uint64_t began = stage_mono_ns();
    if (!bare_disk_submit(d, bytes))
        return 0;
    while (!bare_disk_done(d, &failed))
        sched_yield(); /* the kernel's part of a write runs on this core, too */
    return failed ? 0 : stage_mono_ns() - began;
}

void bare_disk_file_system(const char *directory, char *out, uint32_t size)
{
    static const struct {
        unsigned long magic;
        const char *name;
    } known[] = { { EXT4_SUPER_MAGIC, "ext4" },
                  { TMPFS_MAGIC, "tmpfs" },
                  { XFS_SUPER_MAGIC, "xfs" },
                  { BTRFS_SUPER_MAGIC, "btrfs" },
                  { OVERLAYFS_SUPER_MAGIC, "overlayfs" } };
    struct statfs s;
    if (statfs(directory, &s) != 0) {
        snprintf(out, size, "unknown");
        return;
    }
    snprintf(out, size, "%#lx", (unsigned long)s.f_type);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].magic == (unsigned long)s.f_type)
            snprintf(out, size, "%s", known[i].name);
}
