/* The processes of a measurement at the edge: those of a stage, a proxy, and bare clients, which speak the
 * client protocol with nothing around it. */
#ifndef CANTUS_BENCH_EDGE_STAGE_H
#define CANTUS_BENCH_EDGE_STAGE_H

#include "bench/stage.h"
#include "shell/key_pair.h"

#define EDGE_TOPIC   "/bench/edge"
#define EDGE_SUBTREE "/bench"

struct edge_stage {
    struct stage stage;
    struct port_addr proxy; /* where clients connect */
    char source[64];        /* the same, for a client of the library */
    char key_file[128];     /* the administrator's */
};

/* False with a text in error[BENCH_ERROR_MAX]; close the stage all the same. */
bool edge_stage_open(struct edge_stage *e, const struct stage_options *options, char *error);
/* A role: the proxy. */
struct proxy;
struct edge_proxy_watch {
    void (*bare)(void *ctx, struct stage *s);           /* as in stage_sequencer; NULL: it sleeps */
    void (*round)(void *ctx, const struct proxy *core); /* after each round; or NULL */
    void *ctx;
    uint64_t poll_ns; /* how soon it notices another phase; 0: 20 ms, 100 us with `bare` */
};
int edge_stage_proxy(struct edge_stage *e, const struct edge_proxy_watch *watch);
/* Lets everybody read a subtree, by the command; a sequencer and a store run. */
bool edge_stage_grant(const struct edge_stage *e, const char *subtree, char *error);

/* A connection, logged in and subscribed to a subtree at *sequenced*, from the tip; or NULL: to nothing. With a key,
 * or as nobody in particular. Waits for the answers, at most some seconds. Below 0: failed, with a text in
 * error. */
int edge_client_open(const struct edge_stage *e, const struct key_pair *key, const char *subtree,
                     char *error);

/* Opens the next incarnation of a publisher over it. */
struct edge_opened;
bool edge_client_publisher(int fd, const char *name, struct edge_opened *opened, char *error);

/* A socket that connects to 127.0.0.1 and sends at once; below 0: errno. */
int edge_connect(uint16_t port);
bool edge_send_all(int fd, const void *bytes, size_t length);

#endif
