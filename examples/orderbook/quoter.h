/* A small quoting strategy: holds the book as a part, and keeps one quote, a bid and an ask around
 * the book's middle, on /orders/quoter. Its proposal is what the state says is missing; there is
 * nothing to remember about what was sent. */
#ifndef ORDERBOOK_QUOTER_H
#define ORDERBOOK_QUOTER_H

#include "book.h"

enum {
    QUOTE_HALF_SPREAD = 50, /* cents */
    QUOTE_STEP = 25         /* the middle must move as far before a new quote is due */
};

struct quoter {
    struct book book;
    uint32_t bid; /* of the standing quote, in cents; 0: none yet */
    uint32_t ask;
    uint64_t quotes; /* sequenced, of this quoter or a redundant one */
    uint64_t last_quote_seq;
};

extern const struct cantus_app quoter_app;

#endif
