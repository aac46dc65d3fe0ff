/* Counters as text: the exposition format of Prometheus (version 0.0.4), and the reference that is
 * docs/counters.md. */
#ifndef CANTUS_CLI_METRICS_H
#define CANTUS_CLI_METRICS_H

#include <stdio.h>

#include "cli/observe.h"

/* Every metric with its help and type, one sample a process: labels role, name and stream. Those of
 * a process that has ended are left out, but for cantus_up, which is 0. */
void metrics_print(FILE *f, const struct observation *o, uint64_t stream);
/* The table of all counters, in Markdown. */
void metrics_reference(FILE *f);

/* An HTTP server for GET /metrics at ADDRESS:PORT, until `running` says no. `print` writes what
 * there is to say just now. False with a text in error[METRICS_ERROR_MAX]. */
enum { METRICS_ERROR_MAX = 256 };
struct metrics_server {
    void (*print)(void *ctx, FILE *f);
    void *ctx;
    bool (*running)(void);
    void (*ready)(void *ctx,
                  uint16_t port); /* listening; the port that was taken, if 0 was asked for */
};
bool metrics_serve(const struct metrics_server *server, struct port_addr at, char *error);

#endif
