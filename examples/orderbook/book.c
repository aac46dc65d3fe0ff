#include "book.h"

#include <stdlib.h>
#include <string.h>

static const char *const book_topics[] = { "/md/btcusd", NULL };

enum { SLOTS = BOOK_ORDERS_MAX * 2 };

/* ---- orders ---------------------------------------------------------------------------------- */

static uint32_t slot_of(uint64_t id)
{
    return (uint32_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 40) & (SLOTS - 1);
}

static struct book_order *order_find(const struct book *b, uint64_t id)
{
    uint32_t i = slot_of(id);
    while (b->orders[i].id != 0 && b->orders[i].id != id)
        i = (i + 1) & (SLOTS - 1);
    return &b->orders[i];
}

/* Closes the hole, so that no tombstones pile up over a day. */
static void order_remove(struct book *b, struct book_order *order)
{
    uint32_t hole = (uint32_t)(order - b->orders);
    for (uint32_t i = (hole + 1) & (SLOTS - 1); b->orders[i].id != 0; i = (i + 1) & (SLOTS - 1)) {
        uint32_t home = slot_of(b->orders[i].id);
        if (((i - home) & (SLOTS - 1)) >= ((i - hole) & (SLOTS - 1))) {
            b->orders[hole] = b->orders[i];
            hole = i;
        }
    }
    b->orders[hole] = (struct book_order) { 0 };
}

static uint64_t order_hash(const struct book_order *o)
{
    uint64_t fields[4] = { o->id, o->volume, o->price, o->side };
    return cantus_hash(0, fields, sizeof fields);
}

/* ---- levels ---------------------------------------------------------------------------------- */

static uint32_t level_index(const struct book_side *s, uint32_t price)
{
    uint32_t low = 0, high = s->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (s->levels[middle].price < price)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void level_add(struct book_side *s, uint32_t price, uint64_t volume)
{
    uint32_t i = level_index(s, price);
    if (i == s->count || s->levels[i].price != price) {
        memmove(&s->levels[i + 1], &s->levels[i], (s->count - i) * sizeof s->levels[0]);
        s->levels[i] = (struct book_level) { .price = price };
        s->count++;
    }
    s->levels[i].volume += volume;
    s->levels[i].orders++;
    s->volume += volume;
}

static void level_remove(struct book_side *s, uint32_t price, uint64_t volume)
{
    uint32_t i = level_index(s, price);
    s->levels[i].volume -= volume;
    s->volume -= volume;
    if (--s->levels[i].orders == 0) {
        s->count--;
        memmove(&s->levels[i], &s->levels[i + 1], (s->count - i) * sizeof s->levels[0]);
    }
}

/* ---- the state machine ----------------------------------------------------------------------- */

static void enter(struct book *b, const struct book_order *order)
{
    struct book_order *slot = order_find(b, order->id);
    if (slot->id == 0 && b->live == BOOK_ORDERS_MAX) {
        b->overflow++;
        return;
    }
    *slot = *order;
    level_add(&b->sides[order->side - 1], order->price, order->volume);
    b->orders_hash += order_hash(order);
    b->live++;
}

static void leave(struct book *b, struct book_order *order)
{
    level_remove(&b->sides[order->side - 1], order->price, order->volume);
    b->orders_hash -= order_hash(order);
    b->live--;
    order_remove(b, order);
}

static bool book_init(void *state, const char *config, struct cantus_timers *timers)
{
    (void)config;
    (void)timers;
    struct book *b = state;
    b->orders = calloc(SLOTS, sizeof *b->orders);
    bool fine = b->orders != NULL;
    for (int side = 0; side < BOOK_SIDES; side++) {
        b->sides[side].levels = calloc(BOOK_ORDERS_MAX + 1, sizeof(struct book_level));
        fine = fine && b->sides[side].levels != NULL;
    }
    return fine;
}

static void book_close(void *state)
{
    struct book *b = state;
    free(b->orders);
    for (int side = 0; side < BOOK_SIDES; side++)
        free(b->sides[side].levels);
}

static void book_apply(void *state, const struct cantus_message *m)
{
    struct book *b = state;
    struct event e;
    b->events++;
    b->last_seq = m->seq;
    if (!event_decode(m->payload, m->length, &e) || e.order_id == 0) {
        b->malformed++;
        return;
    }
    b->last_time_ms = e.time_ms;
    struct book_order *order = order_find(b, e.order_id);
    bool is_live = order->id != 0;
    if (!is_live && e.action != EVENT_CREATED) {
        b->unknown++;
        return;
    }
    if (is_live)
        leave(b, order);
    if (e.action != EVENT_DELETED)
        enter(b, &(struct book_order) {
                     .id = e.order_id, .volume = e.volume, .price = e.price, .side = e.side });
}

static uint64_t book_digest(const void *state)
{
    const struct book *b = state;
    uint64_t fields[] = { b->events, b->unknown,     b->malformed,    b->overflow,
                          b->live,   b->orders_hash, b->last_time_ms, b->last_seq };
    return cantus_hash(0, fields, sizeof fields);
}

static void book_save(const void *state, struct cantus_writer *w)
{
    const struct book *b = state;
    cantus_write_u64(w, b->events);
    cantus_write_u64(w, b->unknown);
    cantus_write_u64(w, b->malformed);
    cantus_write_u64(w, b->overflow);
    cantus_write_u64(w, b->last_time_ms);
    cantus_write_u64(w, b->last_seq);
    cantus_write_u64(w, b->live);
    for (uint32_t i = 0; i < SLOTS; i++) {
        const struct book_order *o = &b->orders[i];
        if (o->id == 0)
            continue;
        cantus_write_u64(w, o->id);
        cantus_write_u64(w, o->volume);
        cantus_write_u64(w, (uint64_t)o->price << 8 | o->side);
    }
}

static bool book_load(void *state, struct cantus_reader *r)
{
    struct book *b = state;
    b->events = cantus_read_u64(r);
    b->unknown = cantus_read_u64(r);
    b->malformed = cantus_read_u64(r);
    b->overflow = cantus_read_u64(r);
    b->last_time_ms = cantus_read_u64(r);
    b->last_seq = cantus_read_u64(r);
    uint64_t live = cantus_read_u64(r);
    if (live > BOOK_ORDERS_MAX)
        return false;
    for (uint64_t i = 0; i < live; i++) {
        struct book_order o = { .id = cantus_read_u64(r), .volume = cantus_read_u64(r) };
        uint64_t packed = cantus_read_u64(r);
        o.price = (uint32_t)(packed >> 8);
        o.side = (uint8_t)packed;
        if (o.id == 0 || (o.side != EVENT_BID && o.side != EVENT_ASK) ||
            order_find(b, o.id)->id != 0)
            return false;
        enter(b, &o);
    }
    return true;
}

uint32_t book_best_bid(const struct book *b)
{
    const struct book_side *s = &b->sides[EVENT_BID - 1];
    return s->count ? s->levels[s->count - 1].price : 0;
}

uint32_t book_best_ask(const struct book *b)
{
    const struct book_side *s = &b->sides[EVENT_ASK - 1];
    return s->count ? s->levels[0].price : 0;
}

const struct cantus_app book_app = {
    .abi = CANTUS_APP_ABI,
    .logic_version = 1,
    .name = "book",
    .topics = book_topics,
    .state_size = sizeof(struct book),
    .init = book_init,
    .apply = book_apply,
    .save = book_save,
    .load = book_load,
    .digest = book_digest,
    .close = book_close,
};
