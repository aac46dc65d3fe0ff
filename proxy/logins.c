#include "proxy/logins.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/hash.h"
#include "proto/sys_edge.h"

#define NONE UINT32_MAX
enum { SLOTS = LOGINS_PAIRS_MAX };

struct pair {
    uint8_t key[ACCESS_KEY_SIZE];
    uint64_t join_seq; /* of the proxy's publisher, when it wrote these */
    uint32_t publisher;
    uint32_t sessions;
    uint32_t unstable; /* changes of it that a fork may take back */
    uint32_t chain;    /* of those with the same hash, or free */
};

struct unstable {
    uint64_t seq;
    uint32_t pair;
    bool login;
};

struct logins {
    const struct catalog *catalog;
    uint64_t secret, version, time_ns, present;
    uint32_t used, free; /* pairs at or above `used` were never used */
    bool crowded;        /* a login found no place */
    uint64_t unstable_begin, unstable_end;
    uint32_t slots[SLOTS];
    struct pair pairs[LOGINS_PAIRS_MAX];
    struct unstable unstable[LOGINS_UNSTABLE_MAX];
};

size_t logins_memory(void)
{
    return sizeof(struct logins);
}

static void forget_all(struct logins *l)
{
    memset(l->slots, 0xff, sizeof l->slots);
    l->used = 0;
    l->free = NONE;
    l->crowded = false;
    l->unstable_begin = l->unstable_end;
    l->version++;
}

struct logins *logins_create(const struct catalog *catalog, uint64_t secret)
{
    struct logins *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    l->catalog = catalog;
    l->secret = secret;
    forget_all(l);
    return l;
}

void logins_destroy(struct logins *l)
{
    free(l);
}

/* ---- pairs ------------------------------------------------------------------------------------ */

static uint32_t slot_of(const struct logins *l, const uint8_t key[ACCESS_KEY_SIZE])
{
    return (uint32_t)hash64(key, ACCESS_KEY_SIZE, l->secret) & (SLOTS - 1);
}

static uint64_t join_of(const struct logins *l, uint32_t publisher)
{
    const struct catalog_publisher *p = catalog_publisher(l->catalog, publisher);
    return p != NULL ? p->join_seq : 0;
}

static uint32_t find(const struct logins *l, const uint8_t key[ACCESS_KEY_SIZE], uint32_t publisher)
{
    uint64_t join_seq = join_of(l, publisher);
    uint32_t i = l->slots[slot_of(l, key)];
    while (i != NONE && (l->pairs[i].publisher != publisher || l->pairs[i].join_seq != join_seq ||
                         memcmp(l->pairs[i].key, key, ACCESS_KEY_SIZE) != 0))
        i = l->pairs[i].chain;
    return i;
}

/* Nothing of it is left, or its proxy has joined anew for good. */
static bool is_over(const struct logins *l, const struct pair *p)
{
    return p->unstable == 0 && (p->sessions == 0 || p->join_seq < join_of(l, p->publisher));
}

static void sweep(struct logins *l)
{
    for (uint32_t s = 0; s < SLOTS; s++) {
        uint32_t *link = &l->slots[s];
        while (*link != NONE) {
            struct pair *p = &l->pairs[*link];
            if (!is_over(l, p)) {
                link = &p->chain;
                continue;
            }
            uint32_t freed = *link;
            *link = p->chain;
            p->chain = l->free;
            l->free = freed;
        }
    }
}

/* NONE: there is no place. */
static uint32_t add(struct logins *l, const uint8_t key[ACCESS_KEY_SIZE], uint32_t publisher)
{
    if (l->crowded)
        return NONE; /* for good: who has found no place is not known */
    if (l->used == LOGINS_PAIRS_MAX && l->free == NONE)
        sweep(l);
    uint32_t i = l->free;
    if (i != NONE)
        l->free = l->pairs[i].chain;
    else if (l->used < LOGINS_PAIRS_MAX)
        i = l->used++;
    l->crowded = i == NONE;
    if (i == NONE)
        return NONE;
    uint32_t *slot = &l->slots[slot_of(l, key)];
    l->pairs[i] =
        (struct pair) { .publisher = publisher, .join_seq = join_of(l, publisher), .chain = *slot };
    memcpy(l->pairs[i].key, key, ACCESS_KEY_SIZE);
    *slot = i;
    return i;
}

/* ---- the stream ------------------------------------------------------------------------------- */

static struct unstable *at(struct logins *l, uint64_t count)
{
    return &l->unstable[count & (LOGINS_UNSTABLE_MAX - 1)];
}

bool logins_has_room(const struct logins *l, const struct batch_header *batch)
{
    return l->unstable_end - l->unstable_begin + batch->count <= LOGINS_UNSTABLE_MAX;
}

void logins_message(struct logins *l, const struct message *m)
{
    struct sys_edge e;
    if (!sys_edge_decode(m->payload, m->length, &e) || !e.has_key)
        return;
    bool login = e.kind == SYS_EDGE_LOGIN;
    uint32_t i = find(l, e.key, m->publisher);
    if (i == NONE && login)
        i = add(l, e.key, m->publisher);
    l->version++;
    if (i == NONE || (!login && l->pairs[i].sessions == 0))
        return;
    struct pair *p = &l->pairs[i];
    p->sessions += login ? 1 : UINT32_MAX;
    const struct sys_genesis *genesis = catalog_genesis(l->catalog);
    if (genesis != NULL && genesis->is_volatile)
        return; /* a fork begins anew */
    p->unstable++;
    *at(l, l->unstable_end++) = (struct unstable) { .seq = m->seq, .pair = i, .login = login };
}

void logins_time(struct logins *l, uint64_t time_ns)
{
    const struct presence *there = catalog_presence(l->catalog);
    uint64_t present = 0;
    l->time_ns = time_ns;
    for (uint32_t i = 0; i < there->count; i++)
        if (there->all[i].until_ns > time_ns)
            present += there->all[i].publisher * UINT64_C(0x9e3779b97f4a7c15) ^
                       join_of(l, there->all[i].publisher);
    l->version += present != l->present;
    l->present = present;
}

void logins_stable(struct logins *l, uint64_t stable)
{
    while (l->unstable_begin < l->unstable_end && at(l, l->unstable_begin)->seq <= stable)
        l->pairs[at(l, l->unstable_begin++)->pair].unstable--;
}

void logins_fork(struct logins *l, uint64_t common_seq)
{
    l->version++;
    if (common_seq == 0) {
        forget_all(l);
        return;
    }
    while (l->unstable_begin < l->unstable_end && at(l, l->unstable_end - 1)->seq > common_seq) {
        const struct unstable *last = at(l, --l->unstable_end);
        l->pairs[last->pair].sessions -= last->login ? 1 : UINT32_MAX;
        l->pairs[last->pair].unstable--;
    }
}

/* ---- questions -------------------------------------------------------------------------------- */

uint32_t logins_proxies(const struct logins *l, const uint8_t key[ACCESS_KEY_SIZE])
{
    const struct presence *there = catalog_presence(l->catalog);
    if (l->crowded)
        return presence_count(there, l->time_ns);
    uint32_t count = 0;
    for (uint32_t i = l->slots[slot_of(l, key)]; i != NONE; i = l->pairs[i].chain) {
        const struct pair *p = &l->pairs[i];
        count += p->sessions > 0 && memcmp(p->key, key, ACCESS_KEY_SIZE) == 0 &&
                 p->join_seq == join_of(l, p->publisher) &&
                 presence_has(there, p->publisher, l->time_ns);
    }
    return count;
}

uint64_t logins_version(const struct logins *l)
{
    return l->version;
}
