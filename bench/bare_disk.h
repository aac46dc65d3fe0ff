/* The floor under what goes to a disk: a bare program that writes into a file written
 * beforehand, each write O_DIRECT and O_DSYNC and through io_uring, as the journal does it, and
 * nothing else. */
#ifndef CANTUS_BENCH_BARE_DISK_H
#define CANTUS_BENCH_BARE_DISK_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

enum { BARE_DISK_FILE_BYTES = 16 << 20, BARE_DISK_APPEND_MAX = 1 << 20, BARE_DISK_BLOCK = 4096 };

struct bare_disk {
    struct io_uring ring;
    bool ring_open;
    int fd;
    bool direct; /* the file system has O_DIRECT */
    uint8_t *bytes;
    uint64_t offset;
};

/* A file of this name in the directory. False with a text in error[BENCH_ERROR_MAX]; close it all
 * the same. */
bool bare_disk_open(struct bare_disk *d, const char *directory, const char *name, char *error);
void bare_disk_close(struct bare_disk *d);
/* Writes whole blocks at the next place, from the start again when the file is full. */
bool bare_disk_submit(struct bare_disk *d, uint32_t bytes);
/* Whether what was submitted is durable. Does not wait. */
bool bare_disk_done(struct bare_disk *d, bool *failed);
/* Both, spinning and yielding; in ns, 0: failed. */
uint64_t bare_disk_append(struct bare_disk *d, uint32_t bytes);

/* "ext4", "tmpfs" ...: of the file system that the directory is on. */
void bare_disk_file_system(const char *directory, char *out, uint32_t size);

#endif
