/* The proxy's inside: shared by core*.c, session*.c and relay*.c, and nobody else. */
#ifndef CANTUS_PROXY_CORE_PRIVATE_H
#define CANTUS_PROXY_CORE_PRIVATE_H

#include "follow/run.h"
#include "libclient/publisher.h"
#include "proxy/base.h"
#include "proxy/core.h"
#include "proxy/limiter.h"
#include "proxy/logins.h"
#include "proxy/reader.h"
#include "proxy/relay.h"
#include "proxy/session.h"

struct proxy {
    struct proxy_options o;
    struct port *port;
    struct port_time now;
    struct follower *follower;
    struct catalog *catalog; /* at sequenced */
    struct base *base;       /* at stable */
    struct run_assembler run;
    struct readers *readers;
    struct logins *logins;
    struct limiter *limiter;
    struct relay *relay;
    struct sessions *sessions;
    uint64_t *counters; /* the owner's memory or own_counters */
    uint64_t own_counters[COUNTER_END];

    struct position position; /* all through this was told to everybody; no run is open there */
    uint64_t seq;             /* the last message, of an open run too */
    uint64_t time_ns;         /* its timestamp */
    uint64_t stable;          /* at most `seq` */
    bool torn;                /* behind `seq` a run is open whose beginning went with a fork */
    uint64_t ids;             /* challenges and session ids given out */
    bool live;                /* has been at the tip, and is not far behind since */
    bool draining;
    uint64_t gone_by_ns; /* drained, whether or not the stream says so; 0: there are clients */
    bool look_again;     /* something has happened for which somebody who reads nothing may wait */
    bool sys_applied;    /* to the catalog, since sessions looked up who they are there */
    char failed[160];
};

static inline void proxy_count(struct proxy *p, enum counter c)
{
    p->counters[c]++;
}

static inline bool proxy_sabotaged(const struct proxy *p, enum proxy_sabotage s)
{
    return (p->o.sabotage & (uint32_t)s) != 0;
}

static inline bool proxy_is_volatile(const struct proxy *p)
{
    const struct sys_genesis *g = catalog_genesis(p->catalog);
    return g != NULL && g->is_volatile;
}

/* 32 bytes that nobody else can foretell, another time for each call. */
void proxy_draw(struct proxy *p, const char *what, uint8_t out[32]);
/* The same, as a number that is not 0. */
uint64_t proxy_draw64(struct proxy *p, const char *what);
/* It can't go on; the first reason is kept. */
void proxy_fail(struct proxy *p, const char *why);

#endif
