/* The sequencer's shell: its core on a configuration's sockets and clock. Driven by a loop, alone in
 * `cantus-sequencer` or beside others in `cantus dev`. */
#ifndef CANTUS_SEQUENCER_SHELL_H
#define CANTUS_SEQUENCER_SHELL_H

#include "sequencer/core.h"
#include "shell/counter_file.h"

struct sequencer_shell {
    struct sequencer *core;
    struct transport *transport;
    struct counter_file *counters; /* NULL: there is none */
    const char *name;
    uint8_t
        genesis[WIRE_DATAGRAM_DEFAULT]; /* of a volatile stream; the core reads it when it begins */
};

struct sequencer_start {
    uint32_t index;      /* of the configuration's sequencers */
    bool lead;           /* else it stands by */
    uint8_t how;         /* enum sys_epoch_how */
    const char *why;     /* may be NULL */
    const char *session; /* NULL: go on with the one that runs */
    struct log *log;     /* its problems are to be read by others; NULL: it has none */
};

/* A volatile deployment's genesis is read from DIR/genesis. *s must stay where it is until close. False with a text in
 * error[CONFIG_ERROR_MAX] that says what to do. */
bool sequencer_shell_open(struct sequencer_shell *s, const struct config *config,
                          const struct sequencer_start *start, char *error);
void sequencer_shell_close(struct sequencer_shell *s);
/* To be added to a loop. */
struct loop_participant sequencer_shell_participant(struct sequencer_shell *s);

#endif
