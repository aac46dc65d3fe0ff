/* A locked directory of files, by plain system calls: what the disk back ends have in common. */
#ifndef CANTUS_JOURNAL_DISK_DIRECTORY_H
#define CANTUS_JOURNAL_DISK_DIRECTORY_H

#include "journal/disk.h"

enum {
    DISK_FILES_MAX = 128, /* open at a time */
    DISK_PREPARE_CHUNK = 1024 * 1024
};

/* Every back end's struct begins with one. */
struct disk_directory {
    struct disk disk;
    int directory_fd;
    int lock_fd;
    int open_flags;            /* O_DIRECT, or 0 */
    bool read_only;            /* opens without the lock, and writes nothing, not even a sync */
    int files[DISK_FILES_MAX]; /* file descriptors, -1: free */
};

/* False with a text in error[256]. */
bool disk_directory_open(struct disk_directory *d, const struct disk_options *options, char *error);
void disk_directory_close(struct disk_directory *d);
/* A file number for a descriptor, or -EMFILE (the descriptor is closed then). */
int32_t disk_directory_adopt(struct disk_directory *d, int fd);
int disk_directory_fd(const struct disk_directory *d, int32_t file); /* -1: no such file */
/* Creates `name` empty, whatever it held before. A file descriptor or -errno. */
int disk_directory_create(struct disk_directory *d, const char *name);

/* The operations of struct disk_ops that block. */
int32_t disk_directory_open_file(struct disk *disk, const char *name, bool create);
void disk_directory_close_file(struct disk *disk, int32_t file);
int64_t disk_directory_size(struct disk *disk, int32_t file);
int disk_directory_truncate(struct disk *disk, int32_t file, uint64_t size);
int disk_directory_remove(struct disk *disk, const char *name);
int disk_directory_list(struct disk *disk, void (*name)(void *ctx, const char *name), void *ctx);
int64_t disk_directory_read(struct disk *disk, int32_t file, uint64_t offset, void *bytes,
                            size_t length);
int64_t disk_directory_write(struct disk *disk, int32_t file, uint64_t offset, const void *bytes,
                             size_t length);

#endif
