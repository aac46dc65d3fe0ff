/* Draws a day of the book as SVG: depth as a heat map with the best bid and ask over it, and the volume
 * near the middle below. Fed with the messages of /md/btcusd; keeps a book of its own. */
#ifndef ORDERBOOK_PLOT_H
#define ORDERBOOK_PLOT_H

#include "book.h"

struct plot;

struct plot *plot_create(void); /* NULL: no memory */
void plot_destroy(struct plot *p);
void plot_message(struct plot *p, const struct cantus_message *m);
/* False with errno set. */
bool plot_write(const struct plot *p, const char *path);

#endif
