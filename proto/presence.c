#include "proto/presence.h"

static uint32_t find(const struct presence *p, uint32_t publisher)
{
    uint32_t i = 0;
    while (i < p->count && p->all[i].publisher != publisher)
        i++;
    return i;
}

/* The order of those who stay is part of the catalog's digest. */
static void drop_ended(struct presence *p, uint64_t now_ns)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->count; i++)
        if (p->all[i].until_ns > now_ns)
            p->all[kept++] = p->all[i];
    p->count = kept;
}

bool presence_set(struct presence *p, uint32_t publisher, uint64_t now_ns, uint64_t until_ns)
{
    if (find(p, publisher) == p->count && presence_count(p, now_ns) == PRESENCE_MAX)
        return until_ns <= now_ns;
    drop_ended(p, now_ns);
    uint32_t i = find(p, publisher);
    if (i == p->count && until_ns > now_ns)
        p->count++;
    if (i < p->count) {
        p->all[i].publisher = publisher;
        p->all[i].until_ns = until_ns;
    }
    drop_ended(p, now_ns);
    return true;
}

uint32_t presence_count(const struct presence *p, uint64_t now_ns)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->count; i++)
        count += p->all[i].until_ns > now_ns;
    return count;
}

bool presence_has(const struct presence *p, uint32_t publisher, uint64_t now_ns)
{
    uint32_t i = find(p, publisher);
    return i < p->count && p->all[i].until_ns > now_ns;
}
