/* A deployment's directory: cantus.yaml, genesis, the administrator's key, the stores. And the
 * whole of it in one process, as `cantus dev` runs it. */
#ifndef CANTUS_CLI_DEPLOYMENT_H
#define CANTUS_CLI_DEPLOYMENT_H

#include "proxy/shell.h"
#include "retransmitter/shell.h"
#include "sequencer/shell.h"

enum { DEPLOYMENT_ERROR_MAX = 1024 };

struct deployment_init {
    const char *dir;
    bool is_volatile;
    const char *session; /* NULL: "main" */
    uint32_t stores;     /* 0: 1, or none if volatile */
    uint32_t sequencers; /* 0: 1 */
    uint32_t proxies;    /* 0: 1 */
    uint32_t quorum;     /* W: stores that make a message stable; 0: a majority */
};

/* Makes DIR, if it is not there, and a stream in it: cantus.yaml, genesis, admin.key, and stores
 * r1/, r2/ ... that all begin with the same genesis. Refuses a directory that has one. On failure
 * nothing half-made is left that would be taken for a stream: cantus.yaml is written last. */
bool deployment_init(const struct deployment_init *what, uint64_t *stream, char *error);
/* Says on stderr what the chosen numbers mean, where that may not be expected. */
void deployment_print_notes(const struct deployment_init *what);
bool deployment_exists(const char *dir);
/* DIR/cantus.yaml; problems go to stderr, all of them. */
bool deployment_config(const char *dir, struct config *out);

struct deployment {
    struct config config;
    struct log log;
    struct loop *loop;
    uint32_t sequencer_count;
    struct sequencer_shell *sequencers[CONFIG_SEQUENCERS_MAX];
    uint32_t store_count;
    struct retransmitter_shell *stores[CONFIG_RETRANSMITTERS_MAX];
    uint32_t proxy_count;
    struct proxy_shell *proxies[CONFIG_PROXIES_MAX];
};

/* All sequencers, stores and proxies that the configuration names, in one loop. The first sequencer
 * leads, the others stand by. */
bool deployment_open(struct deployment *d, const char *dir, const char *session, char *error);
/* The index of the sequencer that leads, by the latest epoch; -1 if none does. */
int deployment_leader(const struct deployment *d);
/* The proxies are ready for clients. */
bool deployment_lets_in(const struct deployment *d);
/* Lets clients go, stops appending, waits until the stores have on disk what they recorded (2 s at most), closes. */
void deployment_close(struct deployment *d);

#endif
