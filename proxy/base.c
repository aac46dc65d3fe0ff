#include "proxy/base.h"

#include <stdlib.h>

/* One message that waits; its payload follows. Nothing lies across the ring's end: `size` 0 says that what
 * is left there is unused. */
struct waiting {
    uint32_t size; /* payload and padding included */
    struct message message;
    struct batch_header batch;
};

/* A run: behind all from first_seq on and below end_seq it was open. */
struct stretch {
    uint64_t first_seq, end_seq;
};

struct base {
    struct catalog *catalog;
    uint64_t stable;      /* applied through */
    uint64_t head, tail;  /* endless */
    uint8_t *bytes;       /* BASE_BYTES */
    struct stretch *runs; /* BASE_RUNS_MAX: not all stable */
    uint64_t run_head, run_tail;
    uint64_t forgotten; /* the end of the last run for which there was no room */
};

enum { ALIGNMENT = 16 };

static uint32_t size_of(uint32_t payload)
{
    return (uint32_t)(sizeof(struct waiting) + payload + ALIGNMENT - 1) &
           ~(uint32_t)(ALIGNMENT - 1);
}

size_t base_memory(const struct catalog_options *options)
{
    return sizeof(struct base) + BASE_BYTES + BASE_RUNS_MAX * sizeof(struct stretch) +
           catalog_memory(options);
}

struct base *base_create(const struct catalog_options *options)
{
    struct base *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->catalog = catalog_create(options);
    b->bytes = aligned_alloc(64, BASE_BYTES);
    b->runs = calloc(BASE_RUNS_MAX, sizeof b->runs[0]);
    if (b->catalog != NULL && b->bytes != NULL && b->runs != NULL)
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
    free(b->runs);
    free(b);
}

void base_clear(struct base *b)
{
    catalog_reset(b->catalog);
    b->stable = b->head = b->tail = 0;
    b->run_head = b->run_tail = b->forgotten = 0;
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
    /* Each message, and what may be left unused at the end. */
    uint64_t most =
        (uint64_t)batch->count * size_of(0) + batch->length + size_of(MESSAGE_PAYLOAD_MAX);
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
    w->message = *m;
    w->batch = *batch;
    w->message.payload = (const uint8_t *)(w + 1);
    if (m->length > 0)
        memcpy(w + 1, m->payload, m->length);
}

static struct stretch *run_at(const struct base *b, uint64_t at)
{
    return &b->runs[at % BASE_RUNS_MAX];
}

void base_note_run(struct base *b, uint64_t first_seq, uint64_t end_seq)
{
    if (b->run_head - b->run_tail == BASE_RUNS_MAX)
        b->forgotten = run_at(b, b->run_tail++)->end_seq;
    *run_at(b, b->run_head++) = (struct stretch) { .first_seq = first_seq, .end_seq = end_seq };
}

void base_stable(struct base *b, uint64_t seq)
{
    struct waiting *w;
    while ((w = next_from(b, &b->tail)) != NULL && w->message.seq <= seq) {
        (void)catalog_apply(b->catalog, &w->message, &w->batch);
        b->tail += w->size;
    }
    while (b->run_tail < b->run_head && run_at(b, b->run_tail)->end_seq <= seq)
        b->run_tail++;
    if (seq > b->stable)
        b->stable = seq;
}

/* What is left of a run that is open there stays known: it is open there on every history that is gone to
 * later. */
static uint64_t cut_runs(struct base *b, uint64_t common_seq)
{
    while (b->run_tail < b->run_head && run_at(b, b->run_head - 1)->first_seq > common_seq)
        b->run_head--;
    if (b->run_tail == b->run_head || run_at(b, b->run_head - 1)->end_seq <= common_seq)
        return 0;
    struct stretch *open = run_at(b, b->run_head - 1);
    open->end_seq = common_seq + 1;
    return open->first_seq;
}

bool base_fork(struct base *b, struct catalog *tip, uint64_t common_seq, uint64_t *open_seq)
{
    if (common_seq < b->stable || common_seq < b->forgotten)
        return false;
    uint64_t at = b->tail;
    struct waiting *w;
    catalog_copy(tip, b->catalog);
    while ((w = next_from(b, &at)) != NULL && w->message.seq <= common_seq) {
        (void)catalog_apply(tip, &w->message, &w->batch);
        at += w->size;
    }
    b->head = at;
    *open_seq = cut_runs(b, common_seq);
    return true;
}

const struct catalog *base_catalog(const struct base *b)
{
    return b->catalog;
}
