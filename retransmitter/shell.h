/* The retransmitter's shell: opens the store and the transport that a configuration names, and puts
 * the core into a loop. */
#ifndef CANTUS_RETRANSMITTER_SHELL_H
#define CANTUS_RETRANSMITTER_SHELL_H

#include "retransmitter/core.h"
#include "shell/config.h"
#include "shell/log.h"
#include "shell/loop.h"

enum { RETRANSMITTER_SHELL_ERROR_MAX = 1024 };

struct retransmitter_shell;

/* Makes a new store without history, with a random id, in the directory of that retransmitter,
 * which is created when it is missing. It copies the history from its peers once it runs, and
 * counts for nothing until it has been added as a member. */
bool retransmitter_shell_format(const struct config *config, uint32_t index, uint64_t *store,
                                char *error);

/* Opens everything and joins the loop. NULL on failure, with a text that says what, where and what
 * to do. What recovery found goes to the log. config, loop and log stay the caller's and must
 * outlive it. */
struct retransmitter_shell *retransmitter_shell_open(const struct config *config, uint32_t index,
                                                     struct loop *loop, struct log *log,
                                                     char *error);
/* Stops recording; true once all that was recorded is durable. The loop has to be polled between
 * calls. */
bool retransmitter_shell_drain(struct retransmitter_shell *s);
void retransmitter_shell_close(struct retransmitter_shell *s);
struct retransmitter *retransmitter_shell_core(struct retransmitter_shell *s);

#endif
