/* One event of a limit order book, as it travels on /md/btcusd: encoded by field, little-endian. */
#ifndef ORDERBOOK_EVENT_H
#define ORDERBOOK_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum event_action {
    EVENT_CREATED = 1, /* the order enters the book with this volume */
    EVENT_CHANGED = 2, /* volume and price are what holds from now on */
    EVENT_DELETED = 3  /* the order leaves the book */
};

enum event_side { EVENT_BID = 1, EVENT_ASK = 2 };

struct event {
    uint64_t order_id;
    uint64_t time_ms; /* when it was received, Unix time */
    uint64_t volume;  /* remaining, in 1e-8 BTC */
    uint32_t price;   /* in cents of a USD */
    uint8_t action;
    uint8_t side;
};

enum { EVENT_SIZE = 30 };

void event_encode(const struct event *e, uint8_t out[EVENT_SIZE]);
/* False if it is not an event: wrong size, unknown action or side. */
bool event_decode(const void *payload, size_t length, struct event *out);

/* The events of a CSV file as obAnalytics exports it, plain or .xz. All are read at once. On failure
 * returns NULL with a text in error[256] that names the line. */
struct event *events_load(const char *path, size_t *count, char *error);

#endif
