/* The retransmitter's shell: its core on a configuration's sockets, journal directory and clock. Driven
 * by a loop, alone in `cantus-retransmitter` or beside others in `cantus dev`. */
#ifndef CANTUS_RETRANSMITTER_SHELL_H
#define CANTUS_RETRANSMITTER_SHELL_H

#include "retransmitter/core.h"
#include "shell/config.h"

struct retransmitter_shell {
    struct retransmitter *core;
    struct transport *transport;
    struct journal *journal;
    struct disk *disk;
    struct journal_report report; /* what recovery found */
};

/* The store of config->retransmitters[index]; its directory is formatted. Peers are the others. False
 * with a text in error[CONFIG_ERROR_MAX] that says what to do. */
bool retransmitter_shell_open(struct retransmitter_shell *r, const struct config *config,
                              uint32_t index, char *error);
/* Flushes what was recorded, as far as the disk lets it within two seconds. */
void retransmitter_shell_close(struct retransmitter_shell *r);
/* To be added to a loop. */
struct loop_participant retransmitter_shell_participant(struct retransmitter_shell *r);
/* What recovery found, for humans, in one line: "recovered through seq 1234, 3 segments, ..." */
void retransmitter_shell_describe(const struct retransmitter_shell *r, char *out, size_t capacity);

#endif
