/* What the journal sees of a disk: one directory of named files, as requests and completions.
 *
 * Back ends: io_uring (disk_uring.c), plain system calls (disk_file.c), the simulator's. The calls
 * marked (start) block and are used at format, recovery, cut and heal only; the rest queues. Reads
 * and writes alike are of whole, aligned blocks to and from aligned memory. */
#ifndef CANTUS_JOURNAL_DISK_H
#define CANTUS_JOURNAL_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DISK_BLOCK = 4096, /* writes are whole, aligned blocks, from aligned memory */
    DISK_NAME_MAX = 63,
    DISK_REQUESTS_MAX = 64 /* in flight */
};

enum disk_op {
    DISK_WRITE, /* and durable when it completes, unless the disk was opened without syncing */
    DISK_READ,
    DISK_PREPARE /* creates `name` anew with `length` zeros pre-written, durably; result is its file
                    number. When it fails nothing stays behind */
};

struct disk_request {
    enum disk_op op;
    int32_t file;
    uint64_t offset;
    uint64_t length;
    void *bytes; /* must stay until completion; not changed by DISK_WRITE */
    const char *name;
    uint64_t cookie; /* handed back */
};

struct disk_completion {
    uint64_t cookie;
    int64_t result; /* bytes, a file number, or -errno */
};

struct disk;

struct disk_ops {
    /* Opens a file, creating it if asked (start); what an earlier process wrote to it is made
     * durable. Opening one twice gives two numbers. File number >= 0, or -errno. */
    int32_t (*open)(struct disk *d, const char *name, bool create);
    void (*close_file)(struct disk *d, int32_t file);
    int64_t (*size)(struct disk *d, int32_t file);
    int (*truncate)(struct disk *d, int32_t file, uint64_t size); /* (start) durable */
    /* (start) Removes, durably. 0 or -errno. */
    int (*remove)(struct disk *d, const char *name);
    /* (start) Calls back with every name in the directory, in any order. 0 or -errno. */
    int (*list)(struct disk *d, void (*name)(void *ctx, const char *name), void *ctx);
    /* Fewer bytes than asked only at the end of the file. */
    int64_t (*read)(struct disk *d, int32_t file, uint64_t offset, void *bytes, size_t length);
    /* (start) Writes, durably in every mode. */
    int64_t (*write)(struct disk *d, int32_t file, uint64_t offset, const void *bytes,
                     size_t length);
    /* Queues; false if DISK_REQUESTS_MAX are in flight. */
    bool (*submit)(struct disk *d, const struct disk_request *request);
    /* As submit for a DISK_WRITE that is synced in every mode: promises and marks of cuts. */
    bool (*submit_synced)(struct disk *d, const struct disk_request *request);
    uint32_t (*complete)(struct disk *d, struct disk_completion *out, uint32_t max);
    int (*fd)(const struct disk *d); /* readable when something completed; -1: poll instead */
    /* Waits until everything in flight has completed; `complete` then hands it out. NULL where
     * memory of requests need not stay (a simulated disk): nothing is waited for then. */
    void (*drain)(struct disk *d);
    void (*destroy)(struct disk *d);
};

struct disk {
    const struct disk_ops *ops;
};

enum disk_sync {
    DISK_SYNC_EVERY = 1, /* O_DSYNC or fdatasync before a write completes */
    DISK_SYNC_NONE = 2   /* completes from the page cache: a host crash may lose it */
};

struct disk_options {
    const char *directory;
    enum disk_sync sync;
    bool direct;    /* O_DIRECT where the file system has it */
    bool read_only; /* for looking only: takes no lock, creates and writes nothing */
};

/* NULL on failure, with a text that says what to do in error[256]. The directory is locked until
 * destroy: a second opener is refused, and told by which pid. */
struct disk *disk_open_uring(const struct disk_options *options, char *error);
struct disk *disk_open_file(const struct disk_options *options, char *error);

#endif
