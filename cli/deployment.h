/* A deployment's directory: cantus.yaml, genesis, the administrator's key, the stores. And the whole of
 * it in one process, as `cantus dev` runs it. */
#ifndef CANTUS_CLI_DEPLOYMENT_H
#define CANTUS_CLI_DEPLOYMENT_H

#include "retransmitter/shell.h"
#include "sequencer/shell.h"

enum { DEPLOYMENT_ERROR_MAX = 1024 };

struct deployment_init {
    const char *dir;
    bool is_volatile;
    const char *session; /* NULL: "default" */
};

/* Makes DIR, if it is not there, and a stream in it: cantus.yaml, genesis, admin.key, store-1/. Refuses
 * a directory that has one. On failure nothing half-made is left that would be taken for a stream:
 * cantus.yaml is written last. */
bool deployment_init(const struct deployment_init *what, uint64_t *stream, char *error);
bool deployment_exists(const char *dir);
/* DIR/cantus.yaml; problems go to stderr, all of them. */
bool deployment_config(const char *dir, struct config *out);

struct deployment {
    struct config config;
    struct log log;
    struct loop *loop;
    struct sequencer_shell sequencer;
    uint32_t store_count;
    struct retransmitter_shell *stores[CONFIG_RETRANSMITTERS_MAX];
};

/* Sequencer and all stores that the configuration names, in one loop. */
bool deployment_open(struct deployment *d, const char *dir, const char *session, char *error);
/* Stops appending, waits until the stores have on disk what they recorded (2 s at most), closes. */
void deployment_close(struct deployment *d);

#endif
