#include "proto/limit.h"

#include <assert.h>
#include <string.h>

#include "proto/hash.h"
#include "proto/wire.h"

struct entry {
    struct limit_whom whom;
    struct limit limit;
};

struct limits {
    uint32_t count;
    uint64_t version;
    struct entry entries[LIMITS_MAX];
};

size_t limits_memory(void)
{
    return sizeof(struct limits);
}

struct limits *limits_place(void *memory)
{
    limits_reset(memory);
    return memory;
}

void limits_reset(struct limits *l)
{
    l->count = 0;
    l->version = 0;
}

void limits_copy(struct limits *to, const struct limits *from)
{
    memcpy(to, from, offsetof(struct limits, entries) + from->count * sizeof from->entries[0]);
}

static bool same(const struct limit_whom *a, const struct limit_whom *b)
{
    if (a->who != b->who)
        return false;
    if (a->who == LIMIT_KEY)
        return memcmp(a->key, b->key, sizeof a->key) == 0;
    return a->who == LIMIT_EVERYONE || strcmp(a->subtree, b->subtree) == 0;
}

static uint32_t index_of(const struct limits *l, const struct limit_whom *whom)
{
    uint32_t i = 0;
    while (i < l->count && !same(&l->entries[i].whom, whom))
        i++;
    return i;
}

static bool equal(const struct limit *a, const struct limit *b)
{
    return a->messages_per_s == b->messages_per_s && a->bytes_per_s == b->bytes_per_s &&
           a->burst_ms == b->burst_ms && a->topics == b->topics &&
           a->subscriptions == b->subscriptions && a->connections == b->connections &&
           a->inflight_bytes == b->inflight_bytes;
}

enum limit_verdict limits_refuse(const struct limits *l, const struct limit_whom *whom,
                                 const struct limit *limit, bool remove)
{
    uint32_t i = index_of(l, whom);
    if (remove)
        return i == l->count ? LIMIT_UNCHANGED : LIMIT_OK;
    if (i == l->count)
        return l->count == LIMITS_MAX ? LIMIT_FULL : LIMIT_OK;
    return equal(&l->entries[i].limit, limit) ? LIMIT_UNCHANGED : LIMIT_OK;
}

enum limit_verdict limits_set(struct limits *l, const struct limit_whom *whom,
                              const struct limit *limit, bool remove)
{
    enum limit_verdict verdict = limits_refuse(l, whom, limit, remove);
    if (verdict != LIMIT_OK)
        return verdict;
    uint32_t i = index_of(l, whom);
    if (remove) {
        l->count--;
        memmove(&l->entries[i], &l->entries[i + 1], (l->count - i) * sizeof l->entries[0]);
    } else {
        if (i == l->count)
            l->entries[l->count++].whom = *whom;
        l->entries[i].limit = *limit;
    }
    l->version++;
    return LIMIT_OK;
}

const struct limit *limits_find(const struct limits *l, const struct limit_whom *whom)
{
    uint32_t i = index_of(l, whom);
    return i < l->count ? &l->entries[i].limit : NULL;
}

struct limit limits_of_key(const struct limits *l, const uint8_t key[ACCESS_KEY_SIZE])
{
    struct limit_whom whom = { .who = LIMIT_KEY };
    memcpy(whom.key, key, sizeof whom.key);
    const struct limit *found = limits_find(l, &whom);
    whom.who = LIMIT_EVERYONE;
    if (found == NULL)
        found = limits_find(l, &whom);
    return found != NULL ? *found : (struct limit) { 0 };
}

bool limits_entry(const struct limits *l, uint32_t index, struct limit_whom *whom,
                  struct limit *limit)
{
    if (index >= l->count)
        return false;
    *whom = l->entries[index].whom;
    *limit = l->entries[index].limit;
    return true;
}

uint64_t limits_version(const struct limits *l)
{
    return l->version;
}

uint64_t limits_digest(const struct limits *l, uint64_t seed)
{
    uint8_t bytes[1 + ACCESS_KEY_SIZE + 1 + TOPIC_PATH_MAX + 40];
    uint64_t h = seed;
    for (uint32_t i = 0; i < l->count; i++) {
        const struct entry *e = &l->entries[i];
        struct wire_writer w = wire_writer_of(bytes, sizeof bytes);
        wire_put8(&w, (uint8_t)e->whom.who);
        if (e->whom.who == LIMIT_KEY)
            wire_put_bytes(&w, e->whom.key, sizeof e->whom.key);
        else if (e->whom.who == LIMIT_SUBTREE)
            wire_put_string(&w, e->whom.subtree);
        wire_put64(&w, e->limit.messages_per_s);
        wire_put64(&w, e->limit.bytes_per_s);
        wire_put32(&w, e->limit.burst_ms);
        wire_put32(&w, e->limit.topics);
        wire_put32(&w, e->limit.subscriptions);
        wire_put32(&w, e->limit.connections);
        wire_put64(&w, e->limit.inflight_bytes);
        assert(!w.failed);
        h = hash64(bytes, wire_written(&w), h);
    }
    return h;
}
