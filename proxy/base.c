#include "proxy/base.h"

#include <stdlib.h>

/* One message that waits; its payload follows. Nothing lies across the ring's end: `size` 0 says that what
 * is left there is unused. */
struct waiting {
    uint32_t size; /* payload and padding included */
    bool voided;   /* not a message: the epoch record `seq` has cut off a run */
    struct message message;
    struct batch_header batch;
};

struct base {
    struct catalog *catalog;
    uint64_t stable;     /* applied through */
    uint64_t head, tail; /* endless */
    uint8_t *bytes;      /* BASE_BYTES */
};

enum { ALIGNMENT = 16 };

static uint32_t size_of(uint32_t payload)
{
    return (uint32_t)(sizeof(struct waiting) + payload + ALIGNMENT - 1) &
           ~(uint32_t)(ALIGNMENT - 1);
}

size_t base_memory(const struct catalog_options *options)
{
    return sizeof(struct base) + BASE_BYTES + catalog_memory(options);
}

struct base *base_create(const struct catalog_options *options)
{
    struct base *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->catalog = catalog_create(options);
    b->bytes = aligned_alloc(64, BASE_BYTES);
    if (b->catalog != NULL && b->bytes != NULL)
        return b;
    base_destroy(b);
    return NULL;
}

void base_destroy(struct base *b)
{
    if (b == NULL)
        return;
    catalog_destroy(b->catalog);
    free(b->bytes);
    free(b);
}

void base_clear(struct base *b)
{
    catalog_reset(b->catalog);
    b->stable = b->head = b->tail = 0;
}

static struct waiting *waiting_at(const struct base *b, uint64_t at)
{
    return (struct waiting *)(void *)(b->bytes + at % BASE_BYTES);
}

/* The first that waits at or behind `at`; NULL: none. *at moves behind what was unused. */
static struct waiting *next_from(const struct base *b, uint64_t *at)
{
    if (*at == b->head)
        return NULL;
    struct waiting *w = waiting_at(b, *at);
    if (BASE_BYTES - *at % BASE_BYTES < sizeof *w || w->size == 0) {
        *at += BASE_BYTES - *at % BASE_BYTES;
        w = waiting_at(b, *at);
    }
    return w;
}

bool base_has_room(const struct base *b, const struct batch_header *batch)
{
    /* Each message, a mark, and what may be left unused at the end. */
    uint64_t most =
        (uint64_t)(batch->count + 1) * size_of(0) + batch->length + size_of(MESSAGE_PAYLOAD_MAX);
    return b->head + most - b->tail <= BASE_BYTES;
}

static struct waiting *place(struct base *b, uint32_t payload)
{
    uint32_t size = size_of(payload);
    uint64_t left = BASE_BYTES - b->head % BASE_BYTES;
    if (left < size) {
        if (left >= sizeof(struct waiting))
            waiting_at(b, b->head)->size = 0;
        b->head += left;
    }
    struct waiting *w = waiting_at(b, b->head);
    b->head += size;
    assert(b->head - b->tail <= BASE_BYTES);
    w->size = size;
    return w;
}

void base_apply(struct base *b, const struct message *m, const struct batch_header *batch)
{
    struct waiting *w = place(b, m->length);
    w->voided = false;
    w->message = *m;
    w->batch = *batch;
    w->message.payload = (const uint8_t *)(w + 1);
    if (m->length > 0)
        memcpy(w + 1, m->payload, m->length);
}

void base_note_voided(struct base *b, uint64_t seq)
{
    struct waiting *w = place(b, 0);
    w->voided = true;
    w->message = (struct message) { .seq = seq };
}

void base_stable(struct base *b, uint64_t seq)
{
    struct waiting *w;
    while ((w = next_from(b, &b->tail)) != NULL && w->message.seq <= seq) {
        if (!w->voided)
            (void)catalog_apply(b->catalog, &w->message, &w->batch);
        b->tail += w->size;
    }
    if (seq > b->stable)
        b->stable = seq;
}

bool base_fork(struct base *b, struct catalog *tip, uint64_t common_seq)
{
    if (common_seq < b->stable)
        return false;
    uint64_t at = b->tail;
    struct waiting *w;
    catalog_copy(tip, b->catalog);
    while ((w = next_from(b, &at)) != NULL && w->message.seq <= common_seq) {
        if (!w->voided)
            (void)catalog_apply(tip, &w->message, &w->batch);
        at += w->size;
    }
    bool goes_on = false;
    for (uint64_t behind = at; (w = next_from(b, &behind)) != NULL; behind += w->size)
        goes_on = goes_on || (w->voided && w->message.seq == common_seq + 1);
    b->head = at;
    return !goes_on;
}

const struct catalog *base_catalog(const struct base *b)
{
    return b->catalog;
}
