/* How much clients may have and do: token buckets by key and by subtree, quotas by key and by address, and a
 * pace for what they make the proxy write down, which stays in the stream for ever.
 *
 * The limits are the catalog's (proto/limit.h). An account is a key's, of all its sessions here together, or
 * that of nobody in particular; it outlives its last session as long as there is room, so that who comes
 * back finds its bucket as it left it, and so does an address. Of a subtree's rates each proxy has its part, and of a
 * key's each where it is logged in (docs/permissions.md).
 *
 * A bucket is the time at which it will be full again: something is let through if that is at most the
 * burst away, and moves it by what it costs. So a large message may overdraw it once, and the next ones wait
 * for longer. A part of a limit is the same with times as many times longer, so nothing is lost to rounding, and
 * what is larger than the part passes, too. Pure; all memory is taken by create. */
#ifndef CANTUS_PROXY_LIMITER_H
#define CANTUS_PROXY_LIMITER_H

#include "proxy/logins.h"

#define LIMITER_NONE UINT32_MAX
enum { LIMITER_BURST_DEFAULT_MS = 100 };

struct limiter;

size_t limiter_memory(uint32_t sessions_max);
/* `secret`: so that nobody can choose keys that are slow to find. */
struct limiter *limiter_create(uint32_t sessions_max, const struct catalog *catalog,
                               uint64_t secret);
void limiter_destroy(struct limiter *l);
/* Of a key's rates an n-th is let through, where it is logged in at n proxies; NULL, as at first: all of them. */
void limiter_divide_keys(struct limiter *l, const struct logins *logins);
/* The catalog has gone back: what was computed from it is void. */
void limiter_fork(struct limiter *l);

/* ---- addresses ------------------------------------------------------------------------------- */
/* One more connection of this address; false if it has so many. */
bool limiter_connect(struct limiter *l, uint32_t ip, uint32_t connections_max);
void limiter_disconnect(struct limiter *l, uint32_t ip);
uint32_t limiter_connections(struct limiter *l, uint32_t ip);
/* One more of them that has not logged in; false if it has so many. */
bool limiter_begin_login(struct limiter *l, uint32_t ip, uint32_t logins_max);
void limiter_end_login(struct limiter *l, uint32_t ip);

/* ---- accounts -------------------------------------------------------------------------------- */
/* One more session of this key (NULL: nobody in particular). LIMITER_NONE: it has as many as its limit
 * says, or if that says nothing as `sessions_max` (0: no limit) says. */
uint32_t limiter_enter(struct limiter *l, const uint8_t *key, uint32_t sessions_max);
void limiter_leave(struct limiter *l, uint32_t account);

enum limiter_quota {
    LIMITER_TOPICS, /* created through this proxy since the account is known */
    LIMITER_SUBSCRIPTIONS,
    LIMITER_INFLIGHT_BYTES,
    LIMITER_PUBLISHERS, /* open; this and those below are no limits of the catalog's */
    LIMITER_IDENTITIES, /* of publishers, that have first joined through this proxy */
    LIMITER_SET_BYTES,
    LIMITER_QUOTAS
};
/* Whether it may have so many more: in all what its limit says, or if that says nothing `max` (0: no
 * limit). */
bool limiter_may_have(struct limiter *l, uint32_t account, enum limiter_quota quota, uint64_t more,
                      uint64_t max);
uint64_t limiter_has(const struct limiter *l, uint32_t account, enum limiter_quota quota);
void limiter_add(struct limiter *l, uint32_t account, enum limiter_quota quota, uint64_t more);
void limiter_subtract(struct limiter *l, uint32_t account, enum limiter_quota quota, uint64_t less);

/* ---- rates ----------------------------------------------------------------------------------- */
/* So many proxies divide the limits of subtrees now; 0, as at first: this one is none of them, and nothing passes
 * where there is such a limit. What is left in a bucket stays, as far as it has room; whoever begins has nothing
 * left. So all together never let through more than one would. Looks at the catalog's limits, too. */
void limiter_share(struct limiter *l, uint32_t proxies, uint64_t now_ns);
/* 0, and it is charged; or when to ask again. */
uint64_t limiter_take(struct limiter *l, uint32_t account, const char *topic, size_t topic_length,
                      uint32_t bytes, uint64_t now_ns);
/* Charged whatever there is: a reject that somebody caused. */
void limiter_charge(struct limiter *l, uint32_t account, uint32_t bytes, uint64_t now_ns);

/* ---- records --------------------------------------------------------------------------------- */
struct limiter_pace {
    uint32_t per_s; /* 0: no limit */
    uint32_t burst;
};

/* For each address with a connection, and for each key; at first there are none. */
void limiter_set_paces(struct limiter *l, struct limiter_pace address, struct limiter_pace key);
/* One more record because of this address, or this account, which if it is nobody's is not charged. 0, and it
 * is charged; or when to ask again. */
uint64_t limiter_pace_address(struct limiter *l, uint32_t ip, uint64_t now_ns);
uint64_t limiter_pace_account(struct limiter *l, uint32_t account, uint64_t now_ns);

#endif
