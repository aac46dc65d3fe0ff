#include "journal/disk_directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_FILE "lock"
enum { ERROR_MAX = 256 };

static struct disk_directory *of(struct disk *disk)
{
    return (struct disk_directory *)disk;
}

static bool take_lock(struct disk_directory *d, const char *directory, char *error)
{
    d->lock_fd = openat(d->directory_fd, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (d->lock_fd < 0) {
        (void)snprintf(error, ERROR_MAX, "%s: cannot create the lock file: %s", directory,
                       strerror(errno));
        return false;
    }
    char pid[32] = "";
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t got = pread(d->lock_fd, pid, sizeof pid - 1, 0);
        pid[got > 0 ? got : 0] = 0;
        pid[strcspn(pid, "\n")] = 0;
        (void)snprintf(error, ERROR_MAX,
                       "%s is in use by process %s: stop that one first, or give another directory",
                       directory, pid[0] != 0 ? pid : "(unknown)");
        return false;
    }
    int length = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(d->lock_fd, 0) != 0 || pwrite(d->lock_fd, pid, (size_t)length, 0) != length) {
        (void)snprintf(error, ERROR_MAX, "%s: cannot write the lock file: %s", directory,
                       strerror(errno));
        return false;
    }
    return true;
}

/* Some file systems take the flag and refuse the first write: ask with a write. */
static bool direct_works(struct disk_directory *d)
{
    int fd =
        openat(d->directory_fd, "probe", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_DIRECT, 0644);
    if (fd < 0)
        return false;
    void *block = aligned_alloc(DISK_BLOCK, DISK_BLOCK);
    bool works = false;
    if (block != NULL) {
        memset(block, 0, DISK_BLOCK);
        works = pwrite(fd, block, DISK_BLOCK, 0) == DISK_BLOCK;
    }
    free(block);
    (void)close(fd);
    (void)unlinkat(d->directory_fd, "probe", 0);
    return works;
}

bool disk_directory_open(struct disk_directory *d, const struct disk_options *options, char *error)
{
    d->lock_fd = -1;
    for (uint32_t i = 0; i < DISK_FILES_MAX; i++)
        d->files[i] = -1;
    d->directory_fd = open(options->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->directory_fd < 0) {
        (void)snprintf(error, ERROR_MAX, "cannot open the directory %s: %s", options->directory,
                       strerror(errno));
        return false;
    }
    d->read_only = options->read_only;
    if (!d->read_only && !take_lock(d, options->directory, error)) {
        disk_directory_close(d);
        return false;
    }
    d->open_flags =
        !d->read_only && options->direct && options->sync == DISK_SYNC_EVERY && direct_works(d)
            ? O_DIRECT
            : 0;
    return true;
}

void disk_directory_close(struct disk_directory *d)
{
    for (uint32_t i = 0; i < DISK_FILES_MAX; i++)
        if (d->files[i] >= 0)
            (void)close(d->files[i]);
    if (d->lock_fd >= 0)
        (void)close(d->lock_fd);
    if (d->directory_fd >= 0)
        (void)close(d->directory_fd);
}

int32_t disk_directory_adopt(struct disk_directory *d, int fd)
{
    for (int32_t i = 0; i < DISK_FILES_MAX; i++) {
        if (d->files[i] < 0) {
            d->files[i] = fd;
            return i;
        }
    }
    (void)close(fd);
    return -EMFILE;
}

int disk_directory_fd(const struct disk_directory *d, int32_t file)
{
    return file < 0 || file >= DISK_FILES_MAX ? -1 : d->files[file];
}

int disk_directory_create(struct disk_directory *d, const char *name)
{
    int fd =
        openat(d->directory_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | d->open_flags, 0644);
    return fd < 0 ? -errno : fd;
}

int32_t disk_directory_open_file(struct disk *disk, const char *name, bool create)
{
    struct disk_directory *d = of(disk);
    int flags = (d->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | d->open_flags;
    int fd = openat(d->directory_fd, name, flags);
    bool created = false;
    if (fd < 0 && errno == ENOENT && create && !d->read_only) {
        fd = openat(d->directory_fd, name, flags | O_CREAT, 0644);
        created = true;
    }
    if (fd < 0)
        return -errno;
    /* What is read from here on must be on disk and not only in the page cache, where an earlier
     * process may have left it: else it would be acknowledged, and lost with the power. */
    if ((!d->read_only && fdatasync(fd) != 0) || (created && fsync(d->directory_fd) != 0)) {
        int error = errno;
        (void)close(fd);
        return -error;
    }
    return disk_directory_adopt(d, fd);
}

void disk_directory_close_file(struct disk *disk, int32_t file)
{
    struct disk_directory *d = of(disk);
    int fd = disk_directory_fd(d, file);
    if (fd < 0)
        return;
    (void)close(fd);
    d->files[file] = -1;
}

int64_t disk_directory_size(struct disk *disk, int32_t file)
{
    struct stat st;
    return fstat(disk_directory_fd(of(disk), file), &st) == 0 ? st.st_size : -errno;
}

int disk_directory_truncate(struct disk *disk, int32_t file, uint64_t size)
{
    int fd = disk_directory_fd(of(disk), file);
    return ftruncate(fd, (off_t)size) == 0 && fsync(fd) == 0 ? 0 : -errno;
}

int disk_directory_remove(struct disk *disk, const char *name)
{
    struct disk_directory *d = of(disk);
    return unlinkat(d->directory_fd, name, 0) == 0 && fsync(d->directory_fd) == 0 ? 0 : -errno;
}

int disk_directory_list(struct disk *disk, void (*name)(void *ctx, const char *name), void *ctx)
{
    int fd = openat(of(disk)->directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        int error = errno;
        (void)close(fd);
        return -error;
    }
    errno = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, LOCK_FILE) != 0)
            name(ctx, entry->d_name);
    int error = errno;
    (void)closedir(dir);
    return -error;
}

int64_t disk_directory_read(struct disk *disk, int32_t file, uint64_t offset, void *bytes,
                            size_t length)
{
    int fd = disk_directory_fd(of(disk), file);
    size_t done = 0;
    while (done < length) {
        ssize_t got = pread(fd, (uint8_t *)bytes + done, length - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        done += (size_t)got;
        if (done % DISK_BLOCK != 0)
            break; /* the end of the file; a direct read could not go on from here */
    }
    return (int64_t)done;
}

int64_t disk_directory_write(struct disk *disk, int32_t file, uint64_t offset, const void *bytes,
                             size_t length)
{
    int fd = disk_directory_fd(of(disk), file);
    size_t done = 0;
    while (done < length) {
        ssize_t put =
            pwrite(fd, (const uint8_t *)bytes + done, length - done, (off_t)(offset + done));
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? -errno : -ENOSPC;
        done += (size_t)put;
    }
    return fdatasync(fd) == 0 ? (int64_t)done : -errno;
}
