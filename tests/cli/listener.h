/* Processes to ask, for tests: children that listen on a port of loopback and answer as they are told. */
#ifndef CANTUS_TESTS_CLI_LISTENER_H
#define CANTUS_TESTS_CLI_LISTENER_H

#include "cli/ask.h"

/* Answers on `client`, given the whole frame that was asked. Runs in the child. */
typedef void listener_answer(void *ctx, int client, enum replay_type type, const uint8_t *body,
                             size_t length);

void listeners_open(void); /* for a checked fixture */
void listeners_close(void);
/* An address at which nobody listens, and that nobody else takes. */
struct port_addr listener_nobody(void);
struct port_addr listener_start(listener_answer *answer, void *ctx);

void listener_send(int client, const uint8_t *bytes, size_t length, size_t piece);
/* A whole REPLAY_STATUS frame; returns its length. */
size_t listener_status_frame(const struct status *status, uint8_t *out, size_t capacity);

#endif
