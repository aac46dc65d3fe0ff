/* What `cantus doctor` reads of a machine, and the few things it tries on it. Everything that the
 * system says of itself is a file below /proc or /sys, read below `root`, so that a test can say it
 * instead; what has to be tried is a function of the same kind. */
#ifndef CANTUS_CLI_MACHINE_H
#define CANTUS_CLI_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/port.h"

enum {
    MACHINE_TEXT_MAX = 8192, /* of a file; the rest is not read */
    MACHINE_NAME_MAX = 31,
    MACHINE_PROBLEM_MAX = 160,
    MACHINE_APPENDS = 24 /* of a block of 4 KiB each, when a disk is measured */
};

struct machine_disk {
    uint64_t free_bytes, total_bytes;
    bool in_memory;                    /* tmpfs or ramfs */
    uint64_t append_ns;                /* the median of MACHINE_APPENDS; 0: not measured */
    char problem[MACHINE_PROBLEM_MAX]; /* why it was not */
};

struct machine {
    const char *root; /* "" is this machine */
    /* The interface that has this address. */
    bool (*interface_of)(uint32_t ip, char name[MACHINE_NAME_MAX + 1]);
    /* Sends one datagram to a group through this interface, and waits for it. False with a text in
     * problem[MACHINE_PROBLEM_MAX]. */
    bool (*multicast)(uint32_t group, uint32_t interface, char *problem);
    /* Of the file system of a directory, or of the nearest one above it that exists. With `measure`
     * it appends to a file of its own there, each block synced, and removes it. False: no such
     * directory. */
    bool (*disk)(const char *directory, bool measure, struct machine_disk *out);
};

/* This one. */
struct machine machine_real(void);

/* A whole small file without the newlines at its end. False if it can't be read. */
bool machine_read(const struct machine *m, char out[MACHINE_TEXT_MAX], const char *path, ...)
    __attribute__((format(printf, 3, 4)));
bool machine_read_u64(const struct machine *m, uint64_t *out, const char *path);
/* The soft limit of /proc/self/limits whose line begins so; UINT64_MAX: unlimited. */
bool machine_limit(const struct machine *m, const char *name, uint64_t *out);
/* The hard one, as far as which a process may raise it. */
bool machine_limit_hard(const struct machine *m, const char *name, uint64_t *out);
/* Numbers in a list such as 0-3,8. */
uint32_t machine_list_count(const char *list);

#endif
