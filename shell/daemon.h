/* The run of a daemon: one loop in one thread from its start until somebody asks the process to end,
 * and whom it tells meanwhile: a log on stderr, and the service manager. What it does in its rounds
 * and what it says of them stays each daemon's own. One daemon a process. */
#ifndef CANTUS_SHELL_DAEMON_H
#define CANTUS_SHELL_DAEMON_H

#include "shell/config.h"
#include "shell/log.h"
#include "shell/loop.h"
#include "shell/notify.h"

struct daemon {
    struct loop *loop;
    struct log log;
    struct notify notify; /* that it stops is for the daemon to tell */
    bool huge_pages;
};

/* From here on SIGTERM and SIGINT end the daemon's rounds, and SIGPIPE nothing. False: there is no
 * loop, and *d is as after daemon_close; error[LOOP_ERROR_MAX] says why. */
bool daemon_open(struct daemon *d, const struct config *config, char *error);

/* All that it needs is allocated: asks for huge pages if the configuration wants them, and tells the service manager
 * that it is ready, and what it does. */
void daemon_ready(struct daemon *d, const char *component, const char *what);

/* A round: polls the loop for up to wait_ns, and tells the watchdog that it does. False, and nothing done,
 * once the daemon was asked to end. */
bool daemon_round(struct daemon *d, uint64_t wait_ns);

/* Rounds on, up to patience_ns, until done(ctx) is true, which is asked before each of them. False:
 * patience was over first. */
bool daemon_drain(struct daemon *d, uint64_t patience_ns, bool (*done)(void *ctx), void *ctx);

/* Writes what the log still holds back. Participants of the loop outlive this, or left it before. */
void daemon_close(struct daemon *d);

#endif
