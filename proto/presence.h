/* Which proxies are there: part of the catalog. Each says so in the stream, and for how long of the stream's own
 * time that holds; then it does not count any more, unless it has said so again. So everybody who has applied the
 * same messages counts the same at the same time, and nobody's clock is asked.
 *
 * A plain struct; a function of the stream. */
#ifndef CANTUS_PROTO_PRESENCE_H
#define CANTUS_PROTO_PRESENCE_H

#include <stdbool.h>
#include <stdint.h>

enum { PRESENCE_MAX = 64 };

struct presence {
    uint32_t count;
    struct {
        uint32_t publisher; /* the proxy's own */
        uint64_t until_ns;  /* of the stream's time: it counts before this */
    } all[PRESENCE_MAX];
};

/* What it says at now_ns; until_ns == now_ns: it leaves. False: there are so many already, and all count. */
bool presence_set(struct presence *p, uint32_t publisher, uint64_t now_ns, uint64_t until_ns);
/* How many count at this time. */
uint32_t presence_count(const struct presence *p, uint64_t now_ns);
bool presence_has(const struct presence *p, uint32_t publisher, uint64_t now_ns);

#endif
