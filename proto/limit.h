/* Limits: how much a key, or all together on a subtree, may publish, and have at a time. Part of the
 * catalog, which only keeps them; proxies enforce them.
 *
 * A function of the stream; all memory is in one block without pointers into itself. */
#ifndef CANTUS_PROTO_LIMIT_H
#define CANTUS_PROTO_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/access.h"

enum { LIMITS_MAX = 512 };

enum limit_who {
    LIMIT_EVERYONE = 1, /* each key that has no limit of its own, and nobody in particular */
    LIMIT_KEY = 2,
    LIMIT_SUBTREE = 3 /* all that is written there together */
};

struct limit_whom {
    enum limit_who who;
    uint8_t key[ACCESS_KEY_SIZE];     /* LIMIT_KEY */
    char subtree[TOPIC_PATH_MAX + 1]; /* LIMIT_SUBTREE */
};

/* Everywhere 0 means no limit. */
struct limit {
    uint64_t messages_per_s; /* first transmissions, and rejects */
    uint64_t bytes_per_s;
    uint32_t burst_ms; /* what was not used for so long may be used at once */
    /* at a time, but for topics: ever */
    uint32_t topics, subscriptions, connections;
    uint64_t inflight_bytes;
};

enum limit_verdict { LIMIT_OK = 0, LIMIT_UNCHANGED, LIMIT_FULL };

struct limits;

size_t limits_memory(void);
/* In so many bytes, aligned to 16, which need not be zero; nothing is limited. */
struct limits *limits_place(void *memory);
void limits_reset(struct limits *l);
void limits_copy(struct limits *to, const struct limits *from);
uint64_t limits_digest(const struct limits *l, uint64_t seed);

/* Both well-formed. `remove`: what holds for everybody holds again. limits_refuse says what limits_set
 * would, and changes nothing. */
enum limit_verdict limits_refuse(const struct limits *l, const struct limit_whom *whom,
                                 const struct limit *limit, bool remove);
enum limit_verdict limits_set(struct limits *l, const struct limit_whom *whom,
                              const struct limit *limit, bool remove);

/* What was set for exactly this one; NULL: nothing was. */
const struct limit *limits_find(const struct limits *l, const struct limit_whom *whom);
/* What holds for a key: its own limit, or else everyone's. */
struct limit limits_of_key(const struct limits *l, const uint8_t key[ACCESS_KEY_SIZE]);
/* In the order in which they were first set; false at the end. */
bool limits_entry(const struct limits *l, uint32_t index, struct limit_whom *whom,
                  struct limit *limit);
/* Grows by one with every change. */
uint64_t limits_version(const struct limits *l);

#endif
