/* A proxy's core on the port of a leader (tests/leader/leader.h), and clients that are nothing but
 * bytes. Time is a number; a round offers each connection's bytes once and steps once, as a driver
 * does. */
#ifndef CANTUS_TESTS_PROXY_RIG_H
#define CANTUS_TESTS_PROXY_RIG_H

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/sys_edge.h"
#include "proxy/core.h"
#include "tests/leader/leader.h"

enum {
    RIG_STREAMS_MAX = 8192,
    RIG_STORE_STREAM = RIG_STREAMS_MAX /* no client has it */
};

struct rig_key {
    uint8_t public[ACCESS_KEY_SIZE], secret[crypto_sign_SECRETKEYBYTES];
};

struct rig_stream {
    bool open;     /* as the proxy sees it */
    bool deaf;     /* its client takes nothing */
    size_t room;   /* of what is not taken; 0: RIG_ROOM */
    bool waits;    /* for a ROOM event */
    bool of_other; /* its client has come to the other proxy */
    struct port_addr addr;
    uint8_t *in; /* said by the client and not yet consumed */
    size_t in_length, in_capacity;
    uint8_t *out; /* what the client has got */
    size_t out_length, out_capacity;
    size_t untaken; /* of it, while the client is deaf */
    size_t read;    /* by the test */
};

struct rig {
    struct leader leader;                       /* first */
    bool store_hangs;                           /* it is connected to for ever; else it is down */
    struct rig_stream streams[RIG_STREAMS_MAX]; /* stream id less 1 */
    uint32_t stream_count;

    struct port_time now;
    uint64_t deadline;
    struct proxy *proxy;
    struct proxy *other; /* beside it; NULL: none */
    uint8_t others;      /* ever */
    struct proxy_options options;
    struct rig_key admin;
};

/* Genesis, epoch record; `admin` may do everything. The proxy has joined. */
struct rig *rig_new(void);
struct proxy_options rig_options(void); /* of rig_new */
struct rig *rig_new_with(const struct proxy_options *options, bool is_volatile);
/* The key may read and write the subtree, and there is this topic. */
struct rig *rig_new_for(const struct rig_key *key, const char *subtree, const char *topic);
void rig_free(struct rig *r);
/* A second proxy, with another name, which follows from the beginning; who connects from now on comes to it. */
void rig_add_other(struct rig *r);
/* Ends it as a crash would. */
void rig_end_other(struct rig *r);
void rig_round(struct rig *r);             /* deliver, offer, step: once */
void rig_run(struct rig *r);               /* until all is quiet */
void rig_pass(struct rig *r, uint64_t ns); /* time, in steps to the proxy's deadlines */

struct rig_key rig_key(uint8_t seed);
/* As the administrator: rights for this key (NULL: anyone) on a subtree. */
void rig_grant(struct rig *r, const struct rig_key *key, uint8_t rights, const char *subtree);
void rig_revoke(struct rig *r, const struct rig_key *key, uint8_t rights, const char *subtree);
void rig_limit(struct rig *r, const struct limit_whom *whom, const struct limit *limit);
struct position rig_position(const struct rig *r);         /* the leader's tip */
uint32_t rig_times(const struct rig *r, const char *text); /* how often it was sequenced */
uint64_t rig_counter(const struct rig *r, enum counter c);

/* ---- clients --------------------------------------------------------------------------------- */
uint32_t rig_connect(struct rig *r, uint32_t ip); /* a stream */
void rig_hang_up(struct rig *r, uint32_t c);
void rig_write(struct rig *r, uint32_t c, const void *bytes, size_t length);
void rig_hello(struct rig *r, uint32_t c, const struct rig_key *key);
struct edge_welcome rig_welcome(struct rig *r, uint32_t c);
void rig_prove(struct rig *r, uint32_t c, const struct rig_key *key, const struct edge_welcome *w);
/* Connects and logs in; NULL: nobody in particular. */
uint32_t rig_login(struct rig *r, const struct rig_key *key);
void rig_subscribe(struct rig *r, uint32_t c, const char *subtree, enum edge_from from);
void rig_change(struct rig *r, uint32_t c, const char *add, const char *remove);
void rig_open(struct rig *r, uint32_t c, const char *name, uint64_t nonce, uint32_t wanted);
/* Of rejects above this number it wants to know. */
void rig_open_above(struct rig *r, uint32_t c, const char *name, uint64_t nonce, uint32_t wanted,
                    uint64_t known);
/* Opens, and runs until it is opened. */
struct edge_opened rig_opened(struct rig *r, uint32_t c, const char *name, uint64_t nonce);
void rig_publish(struct rig *r, uint32_t c, uint32_t publisher, uint64_t number, const char *topic,
                 const char *text);
void rig_publish_at(struct rig *r, uint32_t c, const struct edge_publish *publish);
/* The next frame of this type, those before it are passed over; NULL: there is none. */
const uint8_t *rig_next(struct rig *r, uint32_t c, enum edge_type type, size_t *length);
struct edge_opened rig_next_opened(struct rig *r, uint32_t c);
struct edge_superseded rig_next_superseded(struct rig *r, uint32_t c);
struct edge_refused rig_refused(struct rig *r, uint32_t c);
struct edge_outcome rig_outcome(struct rig *r, uint32_t c);
/* Closed by the proxy, for this reason. */
void rig_closed(struct rig *r, uint32_t c, enum edge_closing_reason reason);

/* Somebody whose round trips have to work whatever the others do. */
struct rig_honest {
    struct rig_key key;
    uint32_t c;
    struct edge_opened opened;
    uint64_t number;
};

struct rig_honest rig_honest_new(struct rig *r);
/* Published, and its outcome is there after a few rounds. */
void rig_honest_goes_on(struct rig *r, struct rig_honest *h);

static inline int rig_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
