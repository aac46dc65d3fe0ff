/* Runs: consecutive messages that belong together. Assembles what a follower delivers into whole
 * messages, so that nobody sees half a run.
 *
 * A group is handed over message by message once its last one is there; fragments are joined into
 * one message, which has the seq of its last fragment. An epoch record inside a run voids what came
 * before it. Bounded: a run has at most RUN_MESSAGES_MAX messages and run_bytes_max bytes. */
#ifndef CANTUS_FOLLOW_RUN_H
#define CANTUS_FOLLOW_RUN_H

#include "proto/batch.h"
#include "proto/ledger.h"

struct run_message {
    struct message message; /* seq, time and flags of the last fragment; the rest of the first */
    uint64_t first_seq;     /* of the first fragment */
    uint32_t fragments;     /* 1 for an ordinary message */
};

struct run_assembler {
    uint8_t *bytes; /* bytes_max: the payloads of the open run */
    uint32_t bytes_max;
    uint32_t length;
    uint32_t parts;               /* messages of the open run; 0: none is open */
    uint32_t count;               /* whole messages collected */
    uint32_t publisher;           /* whose run it is */
    uint64_t first_seq;           /* of the open run */
    uint64_t voided;              /* runs that were not delivered */
    struct run_message *messages; /* RUN_MESSAGES_MAX */
    struct run_message single;
    bool joining; /* the last collected message goes on */
    bool broken;  /* over a limit: the rest of this run is skipped */
};

/* bytes_max 0: RUN_BYTES_DEFAULT. False: no memory. */
bool run_init(struct run_assembler *r, uint32_t bytes_max);
void run_close(struct run_assembler *r);
size_t run_memory(uint32_t bytes_max); /* bytes that init takes */
/* Forgets an open run, without counting it: after a fork, or a start elsewhere. */
void run_reset(struct run_assembler *r);

/* Offers the next message of the stream. Returns how many messages are now to be delivered, and
 * where they are: 0 (a run is open), 1 for a message outside runs, whose payload is not copied, or
 * all of the run that this one ended. They stay until the next offer. */
uint32_t run_offer(struct run_assembler *r, const struct message *m,
                   const struct run_message **out);

#endif
