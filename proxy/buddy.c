#include "proxy/buddy.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ORDERS = 32, PIECE_SHIFT = 6, TAKEN = 0xff };
#define NONE UINT32_MAX

_Static_assert(BUDDY_PIECE_MIN == 1 << PIECE_SHIFT, "pieces are counted in the smallest");

/* Of each smallest piece: free ones know their neighbours in the list of their order. */
struct place {
    uint32_t next, previous;
    uint8_t order; /* of the free piece that begins here; else TAKEN */
};

struct buddy {
    uint8_t *bytes;
    struct place *places;
    uint32_t count;
    uint32_t top;          /* order of the whole */
    uint32_t free[ORDERS]; /* heads */
};

static uint32_t order_of(size_t length)
{
    uint32_t order = 0;
    while (((size_t)BUDDY_PIECE_MIN << order) < length)
        order++;
    return order;
}

size_t buddy_size(size_t length)
{
    return (size_t)BUDDY_PIECE_MIN << order_of(length);
}

size_t buddy_memory(size_t bytes)
{
    size_t all = buddy_size(bytes);
    return sizeof(struct buddy) + all + all / BUDDY_PIECE_MIN * sizeof(struct place);
}

static void link_free(struct buddy *b, uint32_t at, uint32_t order)
{
    struct place *p = &b->places[at];
    *p = (struct place) { .next = b->free[order], .previous = NONE, .order = (uint8_t)order };
    if (p->next != NONE)
        b->places[p->next].previous = at;
    b->free[order] = at;
}

static void unlink_free(struct buddy *b, uint32_t at)
{
    struct place *p = &b->places[at];
    *(p->previous == NONE ? &b->free[p->order] : &b->places[p->previous].next) = p->next;
    if (p->next != NONE)
        b->places[p->next].previous = p->previous;
    p->order = TAKEN;
}

struct buddy *buddy_create(size_t bytes)
{
    struct buddy *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->top = order_of(bytes);
    assert(b->top < ORDERS);
    b->count = UINT32_C(1) << b->top;
    b->bytes = malloc(buddy_size(bytes));
    b->places = malloc(b->count * sizeof *b->places);
    if (b->bytes == NULL || b->places == NULL) {
        buddy_destroy(b);
        return NULL;
    }
    memset(b->free, 0xff, sizeof b->free);
    memset(b->places, 0xff, b->count * sizeof *b->places);
    link_free(b, 0, b->top);
    return b;
}

void buddy_destroy(struct buddy *b)
{
    if (b == NULL)
        return;
    free(b->bytes);
    free(b->places);
    free(b);
}

void *buddy_take(struct buddy *b, size_t length)
{
    uint32_t wanted = order_of(length), order = wanted;
    while (order <= b->top && b->free[order] == NONE)
        order++;
    if (order > b->top)
        return NULL;
    uint32_t at = b->free[order];
    unlink_free(b, at);
    while (order > wanted) {
        order--;
        link_free(b, at + (UINT32_C(1) << order), order);
    }
    return b->bytes + ((size_t)at << PIECE_SHIFT);
}

void buddy_give(struct buddy *b, void *piece, size_t length)
{
    if (piece == NULL)
        return;
    uint32_t at = (uint32_t)((size_t)((uint8_t *)piece - b->bytes) >> PIECE_SHIFT);
    uint32_t order = order_of(length);
    assert(at < b->count && b->places[at].order == TAKEN);
    for (; order < b->top; order++) {
        uint32_t other = at ^ UINT32_C(1) << order;
        if (b->places[other].order != order)
            break;
        unlink_free(b, other);
        at &= ~(UINT32_C(1) << order);
    }
    link_free(b, at, order);
}
