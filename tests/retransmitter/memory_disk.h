/* A disk in memory, for tests: requests complete when the test says so, or fail as it says. What
 * was written is durable at completion; memory_disk_crash forgets what is in flight. */
#ifndef CANTUS_TESTS_RETRANSMITTER_MEMORY_DISK_H
#define CANTUS_TESTS_RETRANSMITTER_MEMORY_DISK_H

#include "journal/disk.h"

enum { MEMORY_DISK_FILES = 64 };

struct memory_file {
    char name[DISK_NAME_MAX + 1]; /* "": free */
    uint8_t *bytes;
    uint64_t size;
};

struct memory_disk {
    struct disk disk; /* first */
    struct memory_file files[MEMORY_DISK_FILES];
    struct disk_request queue[DISK_REQUESTS_MAX];
    uint32_t queued;
    bool hold;      /* nothing completes */
    bool no_space;  /* DISK_PREPARE fails with ENOSPC */
    bool no_writes; /* writes fail with EIO, the synchronous ones too */
    uint64_t writes;
};

void memory_disk_init(struct memory_disk *d);
void memory_disk_close(struct memory_disk *d);
void memory_disk_crash(struct memory_disk *d);
/* The bytes of a file; NULL if it is not there. */
struct memory_file *memory_disk_file(struct memory_disk *d, const char *name);

#endif
