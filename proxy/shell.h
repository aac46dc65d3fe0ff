/* The proxy's shell: its core on a configuration's sockets and clock, beside what operators ask of it.
 * Driven by a loop, alone in `cantus-proxy` or beside others in `cantus dev`. */
#ifndef CANTUS_PROXY_SHELL_H
#define CANTUS_PROXY_SHELL_H

#include "proxy/core.h"
#include "shell/config.h"
#include "shell/log.h"
#include "shell/loop.h"

enum { PROXY_SHELL_ERROR_MAX = 1024 };

struct proxy_shell;

/* Opens everything and joins the loop, after raising this process's limit of file descriptors as far as
 * sessions_max needs. NULL on failure, with a text that says what, where and what to do. config, loop and log
 * stay the caller's and must outlive it. */
struct proxy_shell *proxy_shell_open(const struct config *config, uint32_t index, struct loop *loop,
                                     struct log *log, char *error);
/* Tells the clients to go elsewhere; true once none is left. The loop has to be polled between calls. */
bool proxy_shell_drain(struct proxy_shell *s);
void proxy_shell_close(struct proxy_shell *s);
struct proxy *proxy_shell_core(struct proxy_shell *s);

#endif
