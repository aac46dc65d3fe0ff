/* A simulated disk: one directory of files, with latency, and with everything that goes wrong.
 *
 * A write takes effect when it completes; one that is in flight when its host crashes leaves any
 * subset of its 512-byte sectors, one of them perhaps torn. A full disk refuses what needs new
 * blocks, a thin one also what does not. A failing one refuses a write after leaving some of it.
 * What an unsynced disk has completed, and what one that lies about syncs has, its host's power loss
 * takes back, any of its sectors, unless a sync has come since: see sim_disk_power.
 * Reads may come back with a bit flipped. Bytes handed in must not change before completion: one that
 * watches checks that. */
#ifndef CANTUS_SIM_SIM_DISK_H
#define CANTUS_SIM_SIM_DISK_H

#include "journal/disk.h"
#include "sim/sim_random.h"

enum {
    SIM_DISK_FILES_MAX = 256,
    SIM_DISK_SECTOR = 512,
    SIM_DISK_CACHED_MAX = 64 /* writes in the cache: beyond, the oldest is written back */
};

struct sim_disk_file {
    char name[DISK_NAME_MAX + 1]; /* "": free */
    uint8_t *bytes;
    uint64_t size;
    uint64_t capacity;
};

struct sim_disk_io {
    struct disk_request request;
    char name[DISK_NAME_MAX + 1]; /* of a PREPARE */
    uint64_t hash;                /* of a WRITE's bytes when it was submitted, if watched */
    uint64_t due_ns;
    uint64_t order;
    bool used;
    bool synced; /* in every mode */
};

/* A completed write that is only in a cache: what was there before. */
struct sim_disk_cached {
    uint8_t *before;
    int32_t file;
    uint64_t offset, length;
};

/* How this disk fails, right now. */
struct sim_disk_weather {
    bool full;             /* nothing that needs new blocks */
    bool thin;             /* while full: nothing at all */
    uint32_t error_chance; /* per million operations */
    uint32_t flip_chance;  /* per million asynchronous reads */
    uint64_t latency_min_ns;
    uint64_t latency_max_ns;
    uint64_t stall_until_ns; /* nothing completes before */
    uint64_t lies_until_ns;  /* plain writes complete from its cache; promises don't */
};

struct sim_disk_counters {
    uint64_t writes, refused_full, errors, flips, torn_writes, lost_writes;
};

struct sim_disk {
    struct disk disk; /* first */
    struct sim_random *random;
    const uint64_t *now_ns;
    struct sim_disk_weather weather;
    struct sim_disk_counters counters;
    struct sim_disk_file files[SIM_DISK_FILES_MAX];
    struct sim_disk_io ios[DISK_REQUESTS_MAX];
    struct disk_completion done[DISK_REQUESTS_MAX];
    uint32_t in_flight;
    uint32_t done_count;
    uint64_t submitted;
    bool unsynced; /* plain writes complete from the host's cache */
    struct sim_disk_cached cached[SIM_DISK_CACHED_MAX]; /* oldest first */
    uint32_t cached_count;
    struct sim_disk_file *kept; /* a copy of the files; NULL: there is none */
    bool watches;               /* for changes of what is being written */
    bool dead;                  /* its host is down: it takes nothing */
    const char *misuse;         /* what the caller did wrong; NULL: nothing */
};

void sim_disk_init(struct sim_disk *d, struct sim_random *random, const uint64_t *now_ns);
void sim_disk_close(struct sim_disk *d);
/* When the next request completes; UINT64_MAX: none is in flight. */
uint64_t sim_disk_due(const struct sim_disk *d);
/* Carries out what is due by now; completions are then there for complete(). */
void sim_disk_advance(struct sim_disk *d);
/* Nothing completes before then, not even what is in flight. */
void sim_disk_stall(struct sim_disk *d, uint64_t until_ns);
/* The host crashes: call it while the buffers of what is in flight still exist. */
void sim_disk_crash(struct sim_disk *d);
/* And its power fails, too: any of what is cached is lost. Call it after sim_disk_crash. Returns how
 * many sectors are what they were before. */
uint64_t sim_disk_power(struct sim_disk *d);
/* Everything on it is gone; it is a new one. Its host is down. */
void sim_disk_wipe(struct sim_disk *d);
/* Keeps a copy of what is on it now, instead of an earlier one. */
void sim_disk_keep(struct sim_disk *d);
/* Puts the copy in the place of what is on it. Its host is down. */
void sim_disk_restore(struct sim_disk *d);
/* Flips one bit of a file whose name begins so, below its last written block. False: none. */
bool sim_disk_rot(struct sim_disk *d, const char *prefix);

#endif
