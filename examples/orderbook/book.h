/* A limit order book as a state machine over /md/btcusd: live orders, depth per price, best bid and
 * ask. Other apps hold it as a part. */
#ifndef ORDERBOOK_BOOK_H
#define ORDERBOOK_BOOK_H

#include <cantus/app.h>

#include "event.h"

enum { BOOK_ORDERS_MAX = 1 << 16, BOOK_SIDES = 2 };

struct book_order {
    uint64_t id; /* 0: an empty slot */
    uint64_t volume;
    uint32_t price;
    uint8_t side;
};

struct book_level {
    uint64_t volume;
    uint32_t price;
    uint32_t orders;
};

struct book_side {
    struct book_level *levels; /* ascending in price */
    uint32_t count;
    uint64_t volume;
};

struct book {
    struct book_order *orders; /* open addressing by id, BOOK_ORDERS_MAX * 2 slots */
    struct book_side sides[BOOK_SIDES];
    uint64_t events;  /* applied, those below included */
    uint64_t unknown; /* changed or deleted, but not live at that moment */
    uint64_t malformed;
    uint64_t overflow; /* created beyond BOOK_ORDERS_MAX: not kept */
    uint64_t live;
    uint64_t orders_hash; /* sum over the live orders: independent of their order in memory */
    uint64_t last_time_ms;
    uint64_t last_seq; /* of the last event */
};

extern const struct cantus_app book_app;

/* In cents; 0 if that side is empty. */
uint32_t book_best_bid(const struct book *b);
uint32_t book_best_ask(const struct book *b);

#endif
