#include "sim/sim_disk.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/hash.h"

static struct sim_disk *disk_of(const struct disk *d)
{
    return (struct sim_disk *)(uintptr_t)d;
}

/* ---- files ----------------------------------------------------------------------------------- */

static int32_t find_file(const struct sim_disk *d, const char *name)
{
    for (int32_t i = 0; i < SIM_DISK_FILES_MAX; i++)
        if (strcmp(d->files[i].name, name) == 0)
            return i;
    return -ENOENT;
}

static bool reserve(struct sim_disk_file *f, uint64_t size)
{
    if (size <= f->capacity)
        return true;
    uint64_t capacity = f->capacity == 0 ? size : f->capacity * 2;
    if (capacity < size)
        capacity = size;
    uint8_t *bytes = f->bytes == NULL ? calloc(1, capacity) : realloc(f->bytes, capacity);
    if (bytes == NULL)
        return false;
    if (f->bytes != NULL)
        memset(bytes + f->capacity, 0, capacity - f->capacity);
    f->bytes = bytes;
    f->capacity = capacity;
    return true;
}

/* ---- the cache ------------------------------------------------------------------------------- */

static void uncache(struct sim_disk *d, uint32_t at)
{
    free(d->cached[at].before);
    d->cached_count--;
    memmove(&d->cached[at], &d->cached[at + 1], (d->cached_count - at) * sizeof d->cached[0]);
}

/* This part of the file is durable now. */
static void written_back(struct sim_disk *d, int32_t file, uint64_t offset, uint64_t length)
{
    for (uint32_t i = d->cached_count; i-- > 0;) {
        const struct sim_disk_cached *c = &d->cached[i];
        if (c->file == file && c->offset < offset + length && offset < c->offset + c->length)
            uncache(d, i);
    }
}

static void all_written_back(struct sim_disk *d)
{
    while (d->cached_count > 0)
        uncache(d, d->cached_count - 1);
}

static bool lies(const struct sim_disk *d)
{
    return *d->now_ns < d->weather.lies_until_ns;
}

/* Before a plain write: it stays in the cache, or the sync brings everything down. */
static void cache(struct sim_disk *d, const struct sim_disk_io *io)
{
    const struct disk_request *r = &io->request;
    const struct sim_disk_file *f = &d->files[r->file];
    if (!d->unsynced && !lies(d)) {
        all_written_back(d);
        return;
    }
    if (io->synced) {
        written_back(d, r->file, r->offset, r->length);
        return;
    }
    if (d->cached_count == SIM_DISK_CACHED_MAX)
        uncache(d, 0);
    uint8_t *before = calloc(1, r->length);
    if (before == NULL)
        return;
    if (r->offset < f->size)
        memcpy(before, f->bytes + r->offset,
               f->size - r->offset < r->length ? f->size - r->offset : r->length);
    d->cached[d->cached_count++] = (struct sim_disk_cached) {
        .before = before, .file = r->file, .offset = r->offset, .length = r->length
    };
}

uint64_t sim_disk_power(struct sim_disk *d)
{
    uint32_t mode = (uint32_t)sim_random_below(d->random, 3);
    uint64_t lost = 0;
    assert(d->dead);
    while (d->cached_count > 0 && (d->unsynced || lies(d))) {
        const struct sim_disk_cached *c = &d->cached[d->cached_count - 1];
        struct sim_disk_file *f = &d->files[c->file];
        for (uint64_t at = 0; at + SIM_DISK_SECTOR <= c->length; at += SIM_DISK_SECTOR) {
            if (mode > 0 && sim_random_below(d->random, 2) == 0)
                continue;
            memcpy(f->bytes + c->offset + at, c->before + at, SIM_DISK_SECTOR);
            lost++;
        }
        uncache(d, d->cached_count - 1);
    }
    all_written_back(d);
    d->weather.lies_until_ns = 0;
    d->counters.lost_writes += lost > 0;
    return lost;
}

static int32_t create_file(struct sim_disk *d, const char *name)
{
    if (strlen(name) > DISK_NAME_MAX || name[0] == '\0')
        return -ENAMETOOLONG;
    int32_t at = find_file(d, "");
    if (at < 0)
        return -ENOSPC;
    struct sim_disk_file *f = &d->files[at];
    assert(f->bytes == NULL);
    memcpy(f->name, name, strlen(name) + 1);
    return at;
}

static void delete_file(struct sim_disk_file *f)
{
    free(f->bytes);
    *f = (struct sim_disk_file) { .name = "" };
}

static struct sim_disk_file *file_of(struct sim_disk *d, int32_t file)
{
    if (file < 0 || file >= SIM_DISK_FILES_MAX || d->files[file].name[0] == '\0')
        return NULL;
    return &d->files[file];
}

static int32_t disk_open(struct disk *disk, const char *name, bool create)
{
    struct sim_disk *d = disk_of(disk);
    int32_t at = find_file(d, name);
    if (at >= 0)
        written_back(d, at, 0, UINT64_MAX / 2);
    return at >= 0 || !create ? at : create_file(d, name);
}

static void disk_close_file(struct disk *disk, int32_t file)
{
    (void)disk;
    (void)file;
}

static int64_t disk_size(struct disk *disk, int32_t file)
{
    const struct sim_disk_file *f = file_of(disk_of(disk), file);
    return f == NULL ? -EBADF : (int64_t)f->size;
}

static int disk_truncate(struct disk *disk, int32_t file, uint64_t size)
{
    struct sim_disk_file *f = file_of(disk_of(disk), file);
    if (f == NULL)
        return -EBADF;
    written_back(disk_of(disk), file, 0, UINT64_MAX / 2);
    if (!reserve(f, size))
        return -ENOSPC;
    if (size < f->size)
        memset(f->bytes + size, 0, f->size - size);
    f->size = size;
    return 0;
}

static int disk_remove(struct disk *disk, const char *name)
{
    struct sim_disk *d = disk_of(disk);
    int32_t at = find_file(d, name);
    if (at < 0)
        return at;
    written_back(d, at, 0, UINT64_MAX / 2);
    delete_file(&d->files[at]);
    return 0;
}

static int disk_list(struct disk *disk, void (*name)(void *ctx, const char *name), void *ctx)
{
    struct sim_disk *d = disk_of(disk);
    for (int32_t i = 0; i < SIM_DISK_FILES_MAX; i++)
        if (d->files[i].name[0] != '\0')
            name(ctx, d->files[i].name);
    return 0;
}

static int64_t read_bytes(struct sim_disk *d, int32_t file, uint64_t offset, void *bytes,
                          uint64_t length)
{
    const struct sim_disk_file *f = file_of(d, file);
    if (f == NULL)
        return -EBADF;
    if (offset >= f->size)
        return 0;
    uint64_t there = f->size - offset < length ? f->size - offset : length;
    memcpy(bytes, f->bytes + offset, there);
    return (int64_t)there;
}

static int64_t write_bytes(struct sim_disk *d, int32_t file, uint64_t offset, const void *bytes,
                           uint64_t length)
{
    struct sim_disk_file *f = file_of(d, file);
    if (f == NULL)
        return -EBADF;
    if (!reserve(f, offset + length))
        return -ENOSPC;
    if (length > 0)
        memcpy(f->bytes + offset, bytes, length);
    if (f->size < offset + length)
        f->size = offset + length;
    return (int64_t)length;
}

static bool refuses(const struct sim_disk *d, int32_t file, uint64_t end)
{
    if (!d->weather.full)
        return false;
    return d->weather.thin || file < 0 || end > d->files[file].size;
}

static int64_t disk_read(struct disk *disk, int32_t file, uint64_t offset, void *bytes,
                         size_t length)
{
    return read_bytes(disk_of(disk), file, offset, bytes, length);
}

static int64_t disk_write(struct disk *disk, int32_t file, uint64_t offset, const void *bytes,
                          size_t length)
{
    struct sim_disk *d = disk_of(disk);
    if (d->dead)
        return -EIO;
    if (file_of(d, file) != NULL && refuses(d, file, offset + length)) {
        d->counters.refused_full++;
        return -ENOSPC;
    }
    written_back(d, file, offset, length);
    return write_bytes(d, file, offset, bytes, length);
}

/* ---- requests -------------------------------------------------------------------------------- */

static void check_request(struct sim_disk *d, const struct disk_request *r)
{
    bool aligned = r->offset % DISK_BLOCK == 0 && r->length % DISK_BLOCK == 0 && r->length > 0;
    if (r->op == DISK_PREPARE) {
        if (r->name == NULL || strlen(r->name) > DISK_NAME_MAX || r->length == 0)
            d->misuse = "a malformed request to prepare a file";
        return;
    }
    if (!aligned || (uintptr_t)r->bytes % DISK_BLOCK != 0)
        d->misuse = "a request that is not of whole, aligned blocks";
    if (file_of(d, r->file) == NULL)
        d->misuse = "a request on a file that is not open";
}

static bool submit(struct sim_disk *d, const struct disk_request *request, bool synced)
{
    uint32_t at = 0;
    if (d->dead)
        return false;
    while (at < DISK_REQUESTS_MAX && d->ios[at].used)
        at++;
    if (at == DISK_REQUESTS_MAX || d->in_flight + d->done_count == DISK_REQUESTS_MAX)
        return false;
    check_request(d, request);
    struct sim_disk_io *io = &d->ios[at];
    *io = (struct sim_disk_io) {
        .request = *request, .used = true, .order = d->submitted++, .synced = synced
    };
    if (request->op == DISK_PREPARE && request->name != NULL)
        memcpy(io->name, request->name, strnlen(request->name, DISK_NAME_MAX));
    if (d->watches && request->op == DISK_WRITE)
        io->hash = hash64(request->bytes, request->length, 0);
    io->due_ns = *d->now_ns + sim_random_between(d->random, d->weather.latency_min_ns,
                                                 d->weather.latency_max_ns);
    if (io->due_ns < d->weather.stall_until_ns)
        io->due_ns = d->weather.stall_until_ns;
    d->in_flight++;
    return true;
}

static bool disk_submit(struct disk *disk, const struct disk_request *request)
{
    return submit(disk_of(disk), request, false);
}

static bool disk_submit_synced(struct disk *disk, const struct disk_request *request)
{
    return submit(disk_of(disk), request, true);
}

static uint32_t disk_complete(struct disk *disk, struct disk_completion *out, uint32_t max)
{
    struct sim_disk *d = disk_of(disk);
    uint32_t count = d->done_count < max ? d->done_count : max;
    memcpy(out, d->done, count * sizeof *out);
    d->done_count -= count;
    memmove(d->done, d->done + count, d->done_count * sizeof *out);
    return count;
}

static int disk_fd(const struct disk *disk)
{
    (void)disk;
    return -1;
}

static void disk_destroy(struct disk *disk)
{
    (void)disk; /* it outlives whoever opened it */
}

static const struct disk_ops ops = {
    .open = disk_open,
    .close_file = disk_close_file,
    .size = disk_size,
    .truncate = disk_truncate,
    .remove = disk_remove,
    .list = disk_list,
    .read = disk_read,
    .write = disk_write,
    .submit = disk_submit,
    .submit_synced = disk_submit_synced,
    .complete = disk_complete,
    .fd = disk_fd,
    .destroy = disk_destroy,
};

void sim_disk_init(struct sim_disk *d, struct sim_random *random, const uint64_t *now_ns)
{
    *d = (struct sim_disk) {
        .disk = { .ops = &ops },
        .random = random,
        .now_ns = now_ns,
        .watches = true,
        .weather = { .latency_min_ns = 20000, .latency_max_ns = 60000 },
    };
}

static void drop_copy(struct sim_disk *d)
{
    for (uint32_t i = 0; d->kept != NULL && i < SIM_DISK_FILES_MAX; i++)
        free(d->kept[i].bytes);
    free(d->kept);
    d->kept = NULL;
}

void sim_disk_keep(struct sim_disk *d)
{
    drop_copy(d);
    struct sim_disk_file *kept = calloc(SIM_DISK_FILES_MAX, sizeof *kept);
    bool whole = kept != NULL;
    for (uint32_t i = 0; whole && i < SIM_DISK_FILES_MAX; i++) {
        kept[i] = d->files[i];
        kept[i].bytes = NULL;
        kept[i].capacity = 0;
        if (d->files[i].size == 0)
            continue;
        whole = reserve(&kept[i], d->files[i].size);
        if (whole)
            memcpy(kept[i].bytes, d->files[i].bytes, d->files[i].size);
    }
    d->kept = kept;
    if (!whole)
        drop_copy(d);
}

void sim_disk_restore(struct sim_disk *d)
{
    assert(d->dead && d->in_flight == 0 && d->kept != NULL);
    all_written_back(d);
    for (uint32_t i = 0; i < SIM_DISK_FILES_MAX; i++) {
        free(d->files[i].bytes);
        d->files[i] = d->kept[i];
    }
    free(d->kept);
    d->kept = NULL;
}

void sim_disk_close(struct sim_disk *d)
{
    drop_copy(d);
    all_written_back(d);
    for (int32_t i = 0; i < SIM_DISK_FILES_MAX; i++)
        free(d->files[i].bytes);
    memset(d->files, 0, sizeof d->files);
}

/* ---- what happens ---------------------------------------------------------------------------- */

uint64_t sim_disk_due(const struct sim_disk *d)
{
    uint64_t due = d->done_count > 0 ? *d->now_ns : UINT64_MAX;
    for (uint32_t i = 0; d->in_flight > 0 && i < DISK_REQUESTS_MAX; i++)
        if (d->ios[i].used && d->ios[i].due_ns < due)
            due = d->ios[i].due_ns;
    return due;
}

/* Leaves any subset of a write's sectors, and tears at most one. */
static void write_partly(struct sim_disk *d, const struct disk_request *r)
{
    uint32_t mode = (uint32_t)sim_random_below(d->random, 4);
    uint64_t sectors = r->length / SIM_DISK_SECTOR;
    uint64_t prefix = sim_random_below(d->random, sectors + 1);
    bool tears = sim_random_below(d->random, 4) == 0;
    uint64_t kept = 0;
    for (uint64_t i = 0; i < sectors; i++) {
        bool keep = mode == 0   ? false
                    : mode == 1 ? true
                    : mode == 2 ? i < prefix
                                : sim_random_below(d->random, 2) == 0;
        uint64_t length = keep ? SIM_DISK_SECTOR : 0;
        if (!keep && tears && sim_random_below(d->random, 3) == 0) {
            length = sim_random_below(d->random, SIM_DISK_SECTOR);
            tears = false;
        }
        kept += length;
        uint64_t at = i * SIM_DISK_SECTOR;
        if (length > 0)
            write_bytes(d, r->file, r->offset + at, (const uint8_t *)r->bytes + at, length);
    }
    if (kept == 0)
        d->counters.lost_writes++;
    else if (kept < r->length)
        d->counters.torn_writes++;
}

static int64_t prepare(struct sim_disk *d, const struct sim_disk_io *io)
{
    if (refuses(d, -1, 0)) {
        d->counters.refused_full++;
        return -ENOSPC;
    }
    int32_t file = disk_open(&d->disk, io->name, true);
    if (file < 0)
        return file;
    int result = disk_truncate(&d->disk, file, io->request.length);
    return result < 0 ? result : file;
}

static int64_t carry_out(struct sim_disk *d, const struct sim_disk_io *io)
{
    const struct disk_request *r = &io->request;
    bool fails = sim_random_chance(d->random, d->weather.error_chance);
    switch (r->op) {
    case DISK_PREPARE:
        return prepare(d, io);
    case DISK_READ: {
        if (fails) {
            d->counters.errors++;
            return -EIO;
        }
        int64_t got = read_bytes(d, r->file, r->offset, r->bytes, r->length);
        if (got > 0 && sim_random_chance(d->random, d->weather.flip_chance)) {
            uint64_t at = sim_random_below(d->random, (uint64_t)got);
            ((uint8_t *)r->bytes)[at] ^= (uint8_t)(1u << sim_random_below(d->random, 8));
            d->counters.flips++;
        }
        return got;
    }
    case DISK_WRITE:
        d->counters.writes++;
        if (d->watches && hash64(r->bytes, r->length, 0) != io->hash)
            d->misuse = "the bytes of a write changed while it was in flight";
        if (file_of(d, r->file) != NULL && refuses(d, r->file, r->offset + r->length)) {
            d->counters.refused_full++;
            return -ENOSPC;
        }
        if (fails) {
            d->counters.errors++;
            write_partly(d, r);
            return -EIO;
        }
        if (file_of(d, r->file) != NULL)
            cache(d, io);
        return write_bytes(d, r->file, r->offset, r->bytes, r->length);
    }
    return -EINVAL;
}

/* The next request that is due by `limit`, in order of time, then of submission. */
static struct sim_disk_io *next_due(struct sim_disk *d, uint64_t limit)
{
    struct sim_disk_io *best = NULL;
    for (uint32_t i = 0; d->in_flight > 0 && i < DISK_REQUESTS_MAX; i++) {
        struct sim_disk_io *io = &d->ios[i];
        if (!io->used || io->due_ns > limit)
            continue;
        if (best == NULL || io->due_ns < best->due_ns ||
            (io->due_ns == best->due_ns && io->order < best->order))
            best = io;
    }
    return best;
}

void sim_disk_advance(struct sim_disk *d)
{
    struct sim_disk_io *io;
    while ((io = next_due(d, *d->now_ns)) != NULL) {
        io->used = false;
        d->in_flight--;
        d->done[d->done_count++] = (struct disk_completion) {
            .cookie = io->request.cookie,
            .result = carry_out(d, io),
        };
    }
}

void sim_disk_stall(struct sim_disk *d, uint64_t until_ns)
{
    if (d->weather.stall_until_ns < until_ns)
        d->weather.stall_until_ns = until_ns;
    for (uint32_t i = 0; i < DISK_REQUESTS_MAX; i++)
        if (d->ios[i].used && d->ios[i].due_ns < until_ns)
            d->ios[i].due_ns = until_ns;
}

void sim_disk_crash(struct sim_disk *d)
{
    d->dead = true;
    for (uint32_t i = 0; i < DISK_REQUESTS_MAX; i++) {
        struct sim_disk_io *io = &d->ios[i];
        if (!io->used)
            continue;
        io->used = false;
        if (io->request.op == DISK_WRITE && file_of(d, io->request.file) != NULL)
            write_partly(d, &io->request);
        else if (io->request.op == DISK_PREPARE && sim_random_below(d->random, 2) == 0) {
            int32_t file = disk_open(&d->disk, io->name, true);
            if (file >= 0)
                disk_truncate(&d->disk, file, sim_random_below(d->random, io->request.length + 1));
        }
    }
    d->in_flight = 0;
    d->done_count = 0;
}

void sim_disk_wipe(struct sim_disk *d)
{
    assert(d->dead && d->in_flight == 0);
    drop_copy(d);
    all_written_back(d);
    for (uint32_t i = 0; i < SIM_DISK_FILES_MAX; i++)
        if (d->files[i].name[0] != '\0')
            delete_file(&d->files[i]);
    d->weather = (struct sim_disk_weather) { .latency_min_ns = d->weather.latency_min_ns,
                                             .latency_max_ns = d->weather.latency_max_ns };
}

bool sim_disk_rot(struct sim_disk *d, const char *prefix)
{
    uint32_t start = (uint32_t)sim_random_below(d->random, SIM_DISK_FILES_MAX);
    for (uint32_t i = 0; i < SIM_DISK_FILES_MAX; i++) {
        struct sim_disk_file *f = &d->files[(start + i) % SIM_DISK_FILES_MAX];
        if (f->name[0] == '\0' || strncmp(f->name, prefix, strlen(prefix)) != 0 || f->size == 0)
            continue;
        uint64_t end = f->size;
        while (end > 0 && f->bytes[end - 1] == 0)
            end--;
        if (end <= DISK_BLOCK)
            continue;
        uint64_t at = sim_random_between(d->random, DISK_BLOCK, end - 1);
        f->bytes[at] ^= (uint8_t)(1u << sim_random_below(d->random, 8));
        d->counters.flips++;
        return true;
    }
    return false;
}
