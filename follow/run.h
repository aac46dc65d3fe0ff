/* Runs: consecutive messages that belong together. Assembles what a follower delivers into whole
 * messages, so that nobody sees half a run.
 *
 * A group is handed over message by message once its last one is there; fragments are joined into one
 * message, which has the seq of its last fragment. An epoch record inside a run voids what came before
 * it. Bounded: a run has at most RUN_MESSAGES_MAX messages and run_bytes_max bytes. */
#ifndef CANTUS_FOLLOW_RUN_H
#define CANTUS_FOLLOW_RUN_H

#include "proto/batch.h"
#include "proto/ledger.h"

struct run_message {
    struct message message; /* seq is that of the last fragment; publisher_seq of the first */
    uint64_t first_seq;     /* of the first fragment */
    uint32_t fragments;     /* 1 for an ordinary message */
};

struct run_assembler {
    uint8_t *bytes; /* run_bytes_max */
    uint32_t bytes_max;
    uint32_t length;
    uint32_t count; /* whole messages collected */
    uint64_t first_seq; /* of the open run; 0: none is open */
    uint64_t voided;
    struct run_message *messages; /* RUN_MESSAGES_MAX */
    bool joining;   /* the last collected message goes on */
    bool broken;    /* over a limit: the rest of this run is skipped, and counted as voided */
};

bool run_init(struct run_assembler *r, uint32_t bytes_max); /* false: no memory */
void run_close(struct run_assembler *r);
void run_reset(struct run_assembler *r);

/* Offers the next message of the stream. Returns how many messages are now to be delivered:
 * 0 (a run is open), or all of a run that this one ended; 1 with *single set for a message outside
 * runs, which is then not copied. They stay until the next offer. */
uint32_t run_offer(struct run_assembler *r, const struct message *m,
                   const struct run_message **out);

#endif
