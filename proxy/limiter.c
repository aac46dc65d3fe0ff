#include "proxy/limiter.h"

#include <stdlib.h>

#include "proto/hash.h"

#define NONE UINT32_MAX
enum { SPARE_ACCOUNTS = 4096, SPARE_ADDRESSES = 4096, NOBODY = 0 };
#define NO_SHARE_NS UINT64_C(100000000) /* ask again: nothing here tells when there will be one */
#define DEBT_MAX_NS (INT64_C(1) << 56)

struct bucket {
    uint64_t full_ns; /* when it will be full again */
};

struct account {
    uint8_t key[ACCESS_KEY_SIZE];
    uint32_t sessions;
    uint32_t chain;          /* of those with the same hash */
    uint32_t newer, older;   /* of those without a session: which was left later, earlier */
    uint64_t limits_version; /* `limit` is as of this */
    struct limit limit;
    uint64_t logins_version;
    uint32_t proxies; /* that divide it, as of that */
    struct bucket messages, bytes, records;
    uint64_t has[LIMITER_QUOTAS];
};

struct address {
    uint32_t ip;
    uint32_t connections, logins;
    uint32_t chain;
    uint32_t newer, older; /* of those without a connection, like accounts */
    struct bucket records;
};

struct subtree {
    struct limit limit;
    struct bucket messages, bytes;
    size_t length;
    char path[TOPIC_PATH_MAX + 1];
};

struct limiter {
    const struct catalog *catalog;
    const struct logins *logins; /* NULL: nobody divides keys' limits */
    uint64_t secret;
    uint64_t forks;
    uint32_t accounts_max, addresses_max;
    uint32_t account_count;
    uint32_t left_first, left_last; /* without a session: the one that was left first goes first */
    uint32_t address_count;
    uint32_t gone_first, gone_last; /* without a connection */
    struct limiter_pace address_pace, key_pace;
    uint32_t slots; /* of both tables of chains: a power of two */
    uint32_t *account_chains, *address_chains;
    struct account *accounts; /* [NOBODY] is nobody's in particular */
    struct address *addresses;
    uint64_t subtrees_version;
    uint32_t proxies; /* that divide them; 0: this is none of them */
    uint32_t subtree_count;
    struct subtree subtrees[LIMITS_MAX];
    struct subtree before[LIMITS_MAX]; /* while they are taken anew */
};

/* ---- memory ---------------------------------------------------------------------------------- */

static uint32_t slots_for(uint32_t entries)
{
    uint32_t slots = 64;
    while (slots < entries)
        slots *= 2;
    return slots;
}

size_t limiter_memory(uint32_t sessions_max)
{
    uint32_t accounts = sessions_max + SPARE_ACCOUNTS;
    return sizeof(struct limiter) + accounts * sizeof(struct account) +
           (sessions_max + SPARE_ADDRESSES) * sizeof(struct address) +
           2 * (size_t)slots_for(accounts) * sizeof(uint32_t);
}

struct limiter *limiter_create(uint32_t sessions_max, const struct catalog *catalog,
                               uint64_t secret)
{
    struct limiter *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    l->catalog = catalog;
    l->secret = secret;
    l->accounts_max = sessions_max + SPARE_ACCOUNTS;
    l->addresses_max = sessions_max + SPARE_ADDRESSES;
    l->slots = slots_for(l->accounts_max);
    l->accounts = calloc(l->accounts_max, sizeof *l->accounts);
    l->addresses = calloc(l->addresses_max, sizeof *l->addresses);
    l->account_chains = malloc(l->slots * sizeof *l->account_chains);
    l->address_chains = malloc(l->slots * sizeof *l->address_chains);
    if (l->accounts == NULL || l->addresses == NULL || l->account_chains == NULL ||
        l->address_chains == NULL) {
        limiter_destroy(l);
        return NULL;
    }
    memset(l->account_chains, 0xff, l->slots * sizeof *l->account_chains);
    memset(l->address_chains, 0xff, l->slots * sizeof *l->address_chains);
    l->account_count = 1;
    l->accounts[NOBODY] = (struct account) { .limits_version = UINT64_MAX, .proxies = 1 };
    l->left_first = l->left_last = l->gone_first = l->gone_last = NONE;
    l->subtrees_version = UINT64_MAX;
    return l;
}

void limiter_destroy(struct limiter *l)
{
    if (l == NULL)
        return;
    free(l->accounts);
    free(l->addresses);
    free(l->account_chains);
    free(l->address_chains);
    free(l);
}

/* ---- addresses ------------------------------------------------------------------------------- */

static uint32_t *address_chain(struct limiter *l, uint32_t ip)
{
    uint32_t hash = ip * UINT32_C(2654435761);
    return &l->address_chains[(hash ^ hash >> 16) & (l->slots - 1)];
}

/* The link to its entry, or the end of its chain. */
static uint32_t *find_address(struct limiter *l, uint32_t ip)
{
    uint32_t *link = address_chain(l, ip);
    while (*link != NONE && l->addresses[*link].ip != ip)
        link = &l->addresses[*link].chain;
    return link;
}

/* It has a connection again, or is forgotten. */
static void ungo(struct limiter *l, uint32_t index)
{
    struct address *a = &l->addresses[index];
    *(a->older == NONE ? &l->gone_first : &l->addresses[a->older].newer) = a->newer;
    *(a->newer == NONE ? &l->gone_last : &l->addresses[a->newer].older) = a->older;
}

static uint32_t fresh_address(struct limiter *l)
{
    if (l->address_count < l->addresses_max)
        return l->address_count++;
    uint32_t oldest = l->gone_first;
    if (oldest == NONE)
        return NONE;
    ungo(l, oldest);
    *find_address(l, l->addresses[oldest].ip) = l->addresses[oldest].chain;
    return oldest;
}

bool limiter_connect(struct limiter *l, uint32_t ip, uint32_t connections_max)
{
    uint32_t index = *find_address(l, ip);
    if (connections_max == 0)
        return false;
    if (index == NONE) {
        index = fresh_address(l);
        if (index == NONE)
            return false;
        l->addresses[index] = (struct address) { .ip = ip, .connections = 1, .chain = NONE };
        *find_address(l, ip) = index;
        return true;
    }
    struct address *a = &l->addresses[index];
    if (a->connections >= connections_max)
        return false;
    if (a->connections++ == 0)
        ungo(l, index);
    return true;
}

void limiter_disconnect(struct limiter *l, uint32_t ip)
{
    uint32_t index = *find_address(l, ip);
    assert(index != NONE && l->addresses[index].connections > 0);
    struct address *a = &l->addresses[index];
    if (--a->connections > 0)
        return;
    assert(a->logins == 0);
    a->older = l->gone_last;
    a->newer = NONE;
    *(l->gone_last == NONE ? &l->gone_first : &l->addresses[l->gone_last].newer) = index;
    l->gone_last = index;
}

uint32_t limiter_connections(struct limiter *l, uint32_t ip)
{
    uint32_t index = *find_address(l, ip);
    return index != NONE ? l->addresses[index].connections : 0;
}

bool limiter_begin_login(struct limiter *l, uint32_t ip, uint32_t logins_max)
{
    uint32_t index = *find_address(l, ip);
    assert(index != NONE);
    if (l->addresses[index].logins >= logins_max)
        return false;
    l->addresses[index].logins++;
    return true;
}

void limiter_end_login(struct limiter *l, uint32_t ip)
{
    uint32_t index = *find_address(l, ip);
    assert(index != NONE && l->addresses[index].logins > 0);
    l->addresses[index].logins--;
}

/* ---- accounts -------------------------------------------------------------------------------- */

/* Of the limits as they are now: another one whenever they change or go back. */
static uint64_t version_of(const struct limiter *l)
{
    return limits_version(catalog_limits(l->catalog)) + (l->forks << 32);
}

void limiter_divide_keys(struct limiter *l, const struct logins *logins)
{
    l->logins = logins;
}

void limiter_fork(struct limiter *l)
{
    l->forks++;
}

static void refresh(struct limiter *l, struct account *a)
{
    const struct limits *limits = catalog_limits(l->catalog);
    if (a->limits_version == version_of(l))
        return;
    a->limits_version = version_of(l);
    const struct limit_whom everyone = { .who = LIMIT_EVERYONE };
    const struct limit *found = limits_find(limits, &everyone);
    if (a != &l->accounts[NOBODY])
        a->limit = limits_of_key(limits, a->key);
    else
        a->limit = found != NULL ? *found : (struct limit) { 0 };
}

static uint32_t *account_chain(struct limiter *l, const uint8_t key[ACCESS_KEY_SIZE])
{
    return &l->account_chains[hash64(key, ACCESS_KEY_SIZE, l->secret) & (l->slots - 1)];
}

static uint32_t *find_account(struct limiter *l, const uint8_t key[ACCESS_KEY_SIZE])
{
    uint32_t *link = account_chain(l, key);
    while (*link != NONE && memcmp(l->accounts[*link].key, key, ACCESS_KEY_SIZE) != 0)
        link = &l->accounts[*link].chain;
    return link;
}

static void unleave(struct limiter *l, uint32_t index)
{
    struct account *a = &l->accounts[index];
    *(a->older == NONE ? &l->left_first : &l->accounts[a->older].newer) = a->newer;
    *(a->newer == NONE ? &l->left_last : &l->accounts[a->newer].older) = a->older;
}

static uint32_t fresh_account(struct limiter *l)
{
    if (l->account_count < l->accounts_max)
        return l->account_count++;
    uint32_t oldest = l->left_first;
    if (oldest == NONE)
        return NONE;
    unleave(l, oldest);
    uint32_t *link = find_account(l, l->accounts[oldest].key);
    *link = l->accounts[oldest].chain;
    return oldest;
}

static uint32_t account_of(struct limiter *l, const uint8_t *key)
{
    if (key == NULL)
        return NOBODY;
    uint32_t found = *find_account(l, key);
    if (found != NONE)
        return found;
    uint32_t fresh = fresh_account(l);
    if (fresh == NONE)
        return NONE;
    l->accounts[fresh] =
        (struct account) { .limits_version = UINT64_MAX, .proxies = 1, .chain = NONE };
    memcpy(l->accounts[fresh].key, key, ACCESS_KEY_SIZE);
    *find_account(l, key) = fresh;
    /* As if it had just been left. */
    l->accounts[fresh].older = l->left_last;
    l->accounts[fresh].newer = NONE;
    *(l->left_last == NONE ? &l->left_first : &l->accounts[l->left_last].newer) = fresh;
    l->left_last = fresh;
    return fresh;
}

uint32_t limiter_enter(struct limiter *l, const uint8_t *key, uint32_t sessions_max)
{
    uint32_t index = account_of(l, key);
    if (index == NONE)
        return LIMITER_NONE;
    struct account *a = &l->accounts[index];
    refresh(l, a);
    uint32_t most = a->limit.connections != 0 ? a->limit.connections : sessions_max;
    if (most != 0 && a->sessions >= most)
        return LIMITER_NONE;
    if (a->sessions++ == 0 && index != NOBODY)
        unleave(l, index);
    return index;
}

void limiter_leave(struct limiter *l, uint32_t account)
{
    struct account *a = &l->accounts[account];
    assert(a->sessions > 0);
    if (--a->sessions > 0 || account == NOBODY)
        return;
    a->older = l->left_last;
    a->newer = NONE;
    *(l->left_last == NONE ? &l->left_first : &l->accounts[l->left_last].newer) = account;
    l->left_last = account;
}

bool limiter_may_have(struct limiter *l, uint32_t account, enum limiter_quota quota, uint64_t more,
                      uint64_t max)
{
    struct account *a = &l->accounts[account];
    refresh(l, a);
    uint64_t limit = 0;
    switch (quota) {
    case LIMITER_TOPICS:
        limit = a->limit.topics;
        break;
    case LIMITER_SUBSCRIPTIONS:
        limit = a->limit.subscriptions;
        break;
    case LIMITER_INFLIGHT_BYTES:
        limit = a->limit.inflight_bytes;
        break;
    case LIMITER_PUBLISHERS:
    case LIMITER_IDENTITIES:
    case LIMITER_SET_BYTES:
    case LIMITER_QUOTAS:
        break;
    }
    uint64_t most = limit != 0 ? limit : max;
    return most == 0 || a->has[quota] + more <= most;
}

uint64_t limiter_has(const struct limiter *l, uint32_t account, enum limiter_quota quota)
{
    return l->accounts[account].has[quota];
}

void limiter_add(struct limiter *l, uint32_t account, enum limiter_quota quota, uint64_t more)
{
    l->accounts[account].has[quota] += more;
}

void limiter_subtract(struct limiter *l, uint32_t account, enum limiter_quota quota, uint64_t less)
{
    assert(l->accounts[account].has[quota] >= less);
    l->accounts[account].has[quota] -= less;
}

/* ---- rates ----------------------------------------------------------------------------------- */

static uint64_t burst_ns(const struct limit *limit)
{
    uint64_t ms = limit->burst_ms != 0 ? limit->burst_ms : LIMITER_BURST_DEFAULT_MS;
    return ms * UINT64_C(1000000);
}

/* When something may pass: `now` or earlier, if it may now. */
static uint64_t passes_at(const struct bucket *b, uint64_t rate, const struct limit *limit)
{
    uint64_t burst = burst_ns(limit);
    return rate == 0 || b->full_ns < burst ? 0 : b->full_ns - burst;
}

static void pay(struct bucket *b, uint64_t rate, uint64_t amount, uint64_t now_ns)
{
    if (rate == 0)
        return;
    uint64_t cost = (amount * UINT64_C(1000000000) + rate - 1) / rate;
    b->full_ns = (b->full_ns > now_ns ? b->full_ns : now_ns) + cost;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void empty(struct bucket *b, const struct limit *limit, uint64_t now_ns)
{
    b->full_ns = later(b->full_ns, now_ns + burst_ns(limit));
}

/* The same amount, of which each piece now takes another time. */
static void divide(struct bucket *b, const struct limit *limit, uint32_t before, uint32_t proxies,
                   uint64_t now_ns)
{
    int64_t burst = (int64_t)burst_ns(limit);
    int64_t left = burst - (b->full_ns > now_ns ? (int64_t)(b->full_ns - now_ns) : 0);
    left = left > -DEBT_MAX_NS ? left * proxies / before : -DEBT_MAX_NS;
    b->full_ns = now_ns + (uint64_t)(burst - (left < burst ? left : burst));
}

/* As many as its key is logged in at; of whom this one is none, as before. */
static void share_account(struct limiter *l, struct account *a, uint64_t now_ns)
{
    if (l->logins == NULL || a == &l->accounts[NOBODY] ||
        a->logins_version == logins_version(l->logins))
        return;
    a->logins_version = logins_version(l->logins);
    uint32_t before = a->proxies, proxies = logins_proxies(l->logins, a->key);
    if (proxies == 0 || proxies == before)
        return;
    a->proxies = proxies;
    divide(&a->messages, &a->limit, before, proxies, now_ns);
    divide(&a->bytes, &a->limit, before, proxies, now_ns);
}

/* One that is limited from now on begins with nothing left: how long ago that was said is not asked. */
static void take_subtrees_anew(struct limiter *l, uint64_t now_ns)
{
    const struct limits *limits = catalog_limits(l->catalog);
    uint32_t before = l->subtree_count;
    memcpy(l->before, l->subtrees, before * sizeof l->before[0]);
    l->subtree_count = 0;
    struct limit_whom whom;
    struct limit limit;
    for (uint32_t i = 0; limits_entry(limits, i, &whom, &limit); i++) {
        if (whom.who != LIMIT_SUBTREE)
            continue;
        struct subtree *s = &l->subtrees[l->subtree_count++];
        *s = (struct subtree) { .limit = limit, .length = strlen(whom.subtree) };
        memcpy(s->path, whom.subtree, s->length);
        empty(&s->messages, &limit, now_ns);
        empty(&s->bytes, &limit, now_ns);
        for (uint32_t k = 0; k < before; k++) {
            if (strcmp(l->before[k].path, s->path) == 0) {
                s->messages = l->before[k].messages;
                s->bytes = l->before[k].bytes;
            }
        }
    }
    l->subtrees_version = version_of(l);
}

static bool holds(const struct subtree *s, const char *topic, size_t length)
{
    return topic_in_subtree(topic, length, s->path, s->length);
}

void limiter_share(struct limiter *l, uint32_t proxies, uint64_t now_ns)
{
    assert(proxies <= PRESENCE_MAX);
    uint32_t before = l->proxies;
    if (l->subtrees_version != version_of(l))
        take_subtrees_anew(l, now_ns);
    if (before == proxies)
        return;
    l->proxies = proxies;
    for (uint32_t i = 0; i < l->subtree_count && proxies > 0; i++) {
        struct subtree *s = &l->subtrees[i];
        if (before == 0) {
            empty(&s->messages, &s->limit, now_ns);
            empty(&s->bytes, &s->limit, now_ns);
        } else {
            divide(&s->messages, &s->limit, before, proxies, now_ns);
            divide(&s->bytes, &s->limit, before, proxies, now_ns);
        }
    }
}

/* When something may pass there. */
static uint64_t subtree_passes_at(const struct limiter *l, const struct subtree *s, uint64_t now_ns)
{
    const struct limit *limit = &s->limit;
    if (l->proxies == 0 && (limit->messages_per_s != 0 || limit->bytes_per_s != 0))
        return now_ns + NO_SHARE_NS;
    return later(passes_at(&s->messages, limit->messages_per_s, limit),
                 passes_at(&s->bytes, limit->bytes_per_s, limit));
}

uint64_t limiter_take(struct limiter *l, uint32_t account, const char *topic, size_t topic_length,
                      uint32_t bytes, uint64_t now_ns)
{
    struct account *a = &l->accounts[account];
    refresh(l, a);
    share_account(l, a, now_ns);
    if (l->subtrees_version != version_of(l))
        take_subtrees_anew(l, now_ns);
    uint64_t at = later(passes_at(&a->messages, a->limit.messages_per_s, &a->limit),
                        passes_at(&a->bytes, a->limit.bytes_per_s, &a->limit));
    for (uint32_t i = 0; i < l->subtree_count; i++) {
        const struct subtree *s = &l->subtrees[i];
        if (holds(s, topic, topic_length))
            at = later(at, subtree_passes_at(l, s, now_ns));
    }
    if (at > now_ns)
        return at;
    limiter_charge(l, account, bytes, now_ns);
    for (uint32_t i = 0; i < l->subtree_count; i++) {
        struct subtree *s = &l->subtrees[i];
        if (!holds(s, topic, topic_length))
            continue;
        pay(&s->messages, s->limit.messages_per_s, l->proxies, now_ns);
        pay(&s->bytes, s->limit.bytes_per_s, (uint64_t)bytes * l->proxies, now_ns);
    }
    return 0;
}

void limiter_charge(struct limiter *l, uint32_t account, uint32_t bytes, uint64_t now_ns)
{
    struct account *a = &l->accounts[account];
    refresh(l, a);
    share_account(l, a, now_ns);
    pay(&a->messages, a->limit.messages_per_s, a->proxies, now_ns);
    pay(&a->bytes, a->limit.bytes_per_s, (uint64_t)bytes * a->proxies, now_ns);
}

/* ---- records --------------------------------------------------------------------------------- */

void limiter_set_paces(struct limiter *l, struct limiter_pace address, struct limiter_pace key)
{
    l->address_pace = address;
    l->key_pace = key;
}

static uint64_t take_one(struct bucket *b, struct limiter_pace pace, uint64_t now_ns)
{
    if (pace.per_s == 0)
        return 0;
    uint64_t burst = UINT64_C(1000000000) / pace.per_s * pace.burst;
    if (b->full_ns > now_ns + burst)
        return b->full_ns - burst;
    pay(b, pace.per_s, 1, now_ns);
    return 0;
}

uint64_t limiter_pace_address(struct limiter *l, uint32_t ip, uint64_t now_ns)
{
    uint32_t index = *find_address(l, ip);
    assert(index != NONE);
    return take_one(&l->addresses[index].records, l->address_pace, now_ns);
}

uint64_t limiter_pace_account(struct limiter *l, uint32_t account, uint64_t now_ns)
{
    return account == NOBODY ? 0 : take_one(&l->accounts[account].records, l->key_pace, now_ns);
}
