#include "tests/journal/fake_disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILES = 512, HANDLES = 256, SECTOR = 512 };

struct fake_file {
    char name[DISK_NAME_MAX + 1]; /* "": free */
    uint8_t *bytes;
    uint8_t *written; /* one a block: completed by a queued write */
    uint64_t size, capacity;
    uint32_t handles;
    bool removed;
};

struct flight {
    struct disk_request request;
    struct fake_file *file;
    char name[DISK_NAME_MAX + 1];
};

struct fake_disk {
    struct disk disk;
    uint64_t state;
    struct fake_file files[FILES];
    struct fake_file *handles[HANDLES];
    struct flight flying[DISK_REQUESTS_MAX];
    struct disk_completion done[DISK_REQUESTS_MAX];
    uint32_t flying_count, done_count;
    int refusal;
    bool refuse_blocking;
    uint32_t die_after;
    bool dying, dead;
    char unreadable[DISK_NAME_MAX + 1]; /* "": none */
    uint64_t unreadable_at, unreadable_end;
    uint64_t rewrites, segment_writes;
};

static struct fake_disk *of(struct disk *disk)
{
    return (struct fake_disk *)disk;
}

uint64_t fake_disk_random(struct fake_disk *f)
{
    f->state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = f->state;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static struct fake_file *find(const struct fake_disk *f, const char *name)
{
    for (uint32_t i = 0; i < FILES; i++) {
        const struct fake_file *file = &f->files[i];
        if (!file->removed && strcmp(file->name, name) == 0 && name[0] != 0)
            return &((struct fake_disk *)(uintptr_t)f)->files[i];
    }
    return NULL;
}

static void grow(struct fake_file *file, uint64_t size)
{
    if (size > file->capacity) {
        uint64_t capacity = size + size / 2 + DISK_BLOCK;
        uint8_t *bytes = realloc(file->bytes, capacity);
        uint8_t *written = realloc(file->written, capacity / DISK_BLOCK + 1);
        if (bytes == NULL || written == NULL)
            abort();
        memset(bytes + file->capacity, 0, capacity - file->capacity);
        uint64_t known = file->capacity == 0 ? 0 : file->capacity / DISK_BLOCK + 1;
        memset(written + known, 0, capacity / DISK_BLOCK + 1 - known);
        file->bytes = bytes;
        file->written = written;
        file->capacity = capacity;
    }
    if (size > file->size)
        file->size = size;
}

static void erase(struct fake_file *file)
{
    free(file->bytes);
    free(file->written);
    memset(file, 0, sizeof *file);
}

static struct fake_file *create(struct fake_disk *f, const char *name)
{
    for (uint32_t i = 0; i < FILES; i++) {
        if (f->files[i].name[0] != 0)
            continue;
        (void)snprintf(f->files[i].name, sizeof f->files[i].name, "%s", name);
        return &f->files[i];
    }
    abort();
}

static int32_t handle_of(struct fake_disk *f, struct fake_file *file)
{
    for (int32_t i = 0; i < HANDLES; i++) {
        if (f->handles[i] == NULL) {
            f->handles[i] = file;
            file->handles++;
            return i;
        }
    }
    return -EMFILE;
}

static int32_t fake_open(struct disk *d, const char *name, bool make)
{
    struct fake_disk *f = of(d);
    if (f->dead)
        return -EIO;
    struct fake_file *file = find(f, name);
    if (file == NULL && !make)
        return -ENOENT;
    return handle_of(f, file != NULL ? file : create(f, name));
}

static void fake_close(struct disk *d, int32_t n)
{
    struct fake_disk *f = of(d);
    if (n < 0 || n >= HANDLES || f->handles[n] == NULL)
        return;
    struct fake_file *file = f->handles[n];
    f->handles[n] = NULL;
    file->handles--;
    if (file->removed && file->handles == 0)
        erase(file);
}

static int64_t fake_size(struct disk *d, int32_t n)
{
    return (int64_t)of(d)->handles[n]->size;
}

static int fake_truncate(struct disk *d, int32_t n, uint64_t size)
{
    struct fake_file *file = of(d)->handles[n];
    grow(file, size);
    memset(file->bytes + size, 0, file->capacity - size);
    file->size = size;
    return 0;
}

static int fake_remove(struct disk *d, const char *name)
{
    struct fake_disk *f = of(d);
    if (f->dead)
        return -EIO;
    struct fake_file *file = find(f, name);
    if (file == NULL)
        return -ENOENT;
    file->removed = true;
    if (file->handles == 0)
        erase(file);
    return 0;
}

static int fake_list(struct disk *d, void (*name)(void *ctx, const char *name), void *ctx)
{
    struct fake_disk *f = of(d);
    for (uint32_t i = 0; i < FILES; i++)
        if (f->files[i].name[0] != 0 && !f->files[i].removed)
            name(ctx, f->files[i].name);
    return 0;
}

static int64_t read_file(const struct fake_file *file, uint64_t offset, void *bytes,
                         uint64_t length)
{
    if (offset >= file->size)
        return 0;
    if (length > file->size - offset)
        length = file->size - offset;
    memcpy(bytes, file->bytes + offset, length);
    return (int64_t)length;
}

static int64_t fake_read(struct disk *d, int32_t n, uint64_t offset, void *bytes, size_t length)
{
    struct fake_disk *f = of(d);
    bool bad = f->unreadable[0] != 0 && strcmp(f->handles[n]->name, f->unreadable) == 0 &&
               offset < f->unreadable_end && f->unreadable_at < offset + length;
    return f->dead || bad ? -EIO : read_file(f->handles[n], offset, bytes, length);
}

static void tear(struct fake_disk *f, struct fake_file *file, uint64_t offset, const uint8_t *bytes,
                 uint64_t length)
{
    uint64_t mood = fake_disk_random(f) % 4;
    for (uint64_t at = 0; at < length; at += SECTOR) {
        bool kept = mood == 0 ? true : mood == 1 ? false : fake_disk_random(f) % 2 == 0;
        if (!kept)
            continue;
        grow(file, offset + at + SECTOR);
        memcpy(file->bytes + offset + at, bytes + at, SECTOR);
    }
}

static int64_t fake_write(struct disk *d, int32_t n, uint64_t offset, const void *bytes,
                          size_t length)
{
    struct fake_disk *f = of(d);
    struct fake_file *file = f->handles[n];
    if (offset % DISK_BLOCK != 0 || length % DISK_BLOCK != 0 || (uintptr_t)bytes % DISK_BLOCK != 0)
        abort();
    if (f->dead)
        return -EIO;
    for (uint64_t b = offset / DISK_BLOCK; b < (offset + length) / DISK_BLOCK; b++)
        if (b < file->capacity / DISK_BLOCK)
            file->written[b] = 0;
    if (f->dying && f->die_after-- == 0) {
        tear(f, file, offset, bytes, length);
        f->dead = true;
        return -EIO;
    }
    if (f->refusal != 0 && f->refuse_blocking)
        return -f->refusal;
    grow(file, offset + length);
    memcpy(file->bytes + offset, bytes, length);
    return (int64_t)length;
}

static bool fake_submit(struct disk *d, const struct disk_request *r)
{
    struct fake_disk *f = of(d);
    if (f->flying_count + f->done_count >= DISK_REQUESTS_MAX)
        return false;
    struct flight *flight = &f->flying[f->flying_count++];
    memset(flight, 0, sizeof *flight);
    flight->request = *r;
    if (r->op == DISK_PREPARE)
        (void)snprintf(flight->name, sizeof flight->name, "%s", r->name);
    else if ((flight->file = f->handles[r->file]) == NULL)
        abort();
    if (r->op != DISK_PREPARE && (r->offset % DISK_BLOCK != 0 || r->length % DISK_BLOCK != 0 ||
                                  (uintptr_t)r->bytes % DISK_BLOCK != 0))
        abort();
    return true;
}

static uint32_t fake_complete(struct disk *d, struct disk_completion *out, uint32_t max)
{
    struct fake_disk *f = of(d);
    uint32_t count = f->done_count < max ? f->done_count : max;
    memcpy(out, f->done, count * sizeof *out);
    f->done_count -= count;
    memmove(f->done, f->done + count, f->done_count * sizeof *out);
    return count;
}

static int fake_fd(const struct disk *d)
{
    (void)d;
    return -1;
}

static void fake_destroy(struct disk *d)
{
    fake_disk_free(of(d));
}

static int64_t do_write(struct fake_disk *f, struct flight *flight)
{
    struct fake_file *file = flight->file;
    const struct disk_request *r = &flight->request;
    if (f->refusal != 0) {
        tear(f, file, r->offset, r->bytes, r->length);
        return -f->refusal;
    }
    bool segment = strncmp(file->name, "segment-", 8) == 0;
    grow(file, r->offset + r->length);
    for (uint64_t b = r->offset / DISK_BLOCK; b < (r->offset + r->length) / DISK_BLOCK; b++) {
        f->rewrites += segment && file->written[b] != 0;
        f->segment_writes += segment;
        file->written[b] = 1;
    }
    memcpy(file->bytes + r->offset, r->bytes, r->length);
    return (int64_t)r->length;
}

static int64_t do_prepare(struct fake_disk *f, const struct flight *flight)
{
    if (f->refusal != 0)
        return -f->refusal;
    (void)fake_remove(&f->disk, flight->name);
    struct fake_file *file = create(f, flight->name);
    grow(file, flight->request.length);
    return handle_of(f, file);
}

void fake_disk_work(struct fake_disk *f, uint32_t max)
{
    for (uint32_t i = 0; i < max && f->flying_count > 0; i++) {
        uint32_t pick = (uint32_t)(fake_disk_random(f) % f->flying_count);
        struct flight flight = f->flying[pick];
        f->flying[pick] = f->flying[--f->flying_count];
        int64_t result = 0;
        switch (flight.request.op) {
        case DISK_WRITE:
            result = do_write(f, &flight);
            break;
        case DISK_READ:
            result = read_file(flight.file, flight.request.offset, flight.request.bytes,
                               flight.request.length);
            break;
        case DISK_PREPARE:
            result = do_prepare(f, &flight);
            break;
        }
        f->done[f->done_count++] =
            (struct disk_completion) { .cookie = flight.request.cookie, .result = result };
    }
}

uint32_t fake_disk_flying(const struct fake_disk *f)
{
    return f->flying_count + f->done_count;
}

void fake_disk_crash(struct fake_disk *f)
{
    for (uint32_t i = 0; i < f->flying_count; i++) {
        struct flight *flight = &f->flying[i];
        if (flight->request.op == DISK_WRITE)
            tear(f, flight->file, flight->request.offset, flight->request.bytes,
                 flight->request.length);
        else if (flight->request.op == DISK_PREPARE && fake_disk_random(f) % 2 == 0) {
            (void)fake_remove(&f->disk, flight->name);
            grow(create(f, flight->name),
                 fake_disk_random(f) % (flight->request.length / DISK_BLOCK) * DISK_BLOCK);
        }
    }
    f->flying_count = f->done_count = 0;
    f->dying = f->dead = false;
    f->refusal = 0;
    for (int32_t i = 0; i < HANDLES; i++)
        fake_close(&f->disk, i);
}

void fake_disk_die_after(struct fake_disk *f, uint32_t count)
{
    f->dying = count != UINT32_MAX;
    f->die_after = count;
}

void fake_disk_refuse(struct fake_disk *f, int error, bool blocking_too)
{
    f->refusal = error;
    f->refuse_blocking = blocking_too;
}

void fake_disk_unreadable(struct fake_disk *f, const char *name, uint64_t offset, uint64_t end)
{
    (void)snprintf(f->unreadable, sizeof f->unreadable, "%s", name == NULL ? "" : name);
    f->unreadable_at = offset;
    f->unreadable_end = end;
}

bool fake_disk_has(const struct fake_disk *f, const char *name)
{
    return find(f, name) != NULL;
}

uint64_t fake_disk_size(const struct fake_disk *f, const char *name)
{
    const struct fake_file *file = find(f, name);
    return file == NULL ? 0 : file->size;
}

uint8_t *fake_disk_bytes(struct fake_disk *f, const char *name)
{
    struct fake_file *file = find(f, name);
    return file == NULL ? NULL : file->bytes;
}

void fake_disk_put(struct fake_disk *f, const char *name, const void *bytes, size_t length)
{
    (void)fake_remove(&f->disk, name);
    struct fake_file *file = create(f, name);
    grow(file, length);
    if (length > 0)
        memcpy(file->bytes, bytes, length);
}

void fake_disk_remove(struct fake_disk *f, const char *name)
{
    (void)fake_remove(&f->disk, name);
}

uint64_t fake_disk_rewrites(const struct fake_disk *f)
{
    return f->rewrites;
}

uint64_t fake_disk_segment_writes(const struct fake_disk *f)
{
    return f->segment_writes;
}

static const struct disk_ops ops = {
    .open = fake_open,
    .close_file = fake_close,
    .size = fake_size,
    .truncate = fake_truncate,
    .remove = fake_remove,
    .list = fake_list,
    .read = fake_read,
    .write = fake_write,
    .submit = fake_submit,
    .submit_synced = fake_submit,
    .complete = fake_complete,
    .fd = fake_fd,
    .destroy = fake_destroy,
};

struct fake_disk *fake_disk_new(uint64_t seed)
{
    struct fake_disk *f = calloc(1, sizeof *f);
    if (f == NULL)
        abort();
    f->disk.ops = &ops;
    f->state = seed;
    return f;
}

void fake_disk_free(struct fake_disk *f)
{
    for (uint32_t i = 0; i < FILES; i++)
        erase(&f->files[i]);
    free(f);
}

struct disk *fake_disk_of(struct fake_disk *f)
{
    return &f->disk;
}
