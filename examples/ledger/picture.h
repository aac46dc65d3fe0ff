/* Draws a day of the ledger as SVG: how many instructions ended how, and the money on hold. An app that
 * holds the ledger as a part. */
#ifndef LEDGER_PICTURE_H
#define LEDGER_PICTURE_H

#include "ledger.h"

enum { PICTURE_POINTS_MAX = 1 << 17 };

struct picture_point {
    uint64_t time_ns;
    int64_t held;
    uint8_t outcome;
};

struct picture {
    struct ledger ledger;
    struct picture_point points[PICTURE_POINTS_MAX];
    uint32_t count;
    uint64_t settled_ns[256]; /* when each settlement was announced */
    uint32_t settled;
};

extern const struct cantus_app picture_app;

/* False with errno set. */
bool picture_write(const struct picture *p, const char *path);

#endif
