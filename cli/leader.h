/* Telling the sequencer that leads what to do, and seeing it through until it is stable. */
#ifndef CANTUS_CLI_LEADER_H
#define CANTUS_CLI_LEADER_H

#include "cli/ask.h"

/* Asks all, and returns the one that leads. NULL, having said why, if none does. */
struct process *leader_find(struct processes *p);

/* What a command was to bring about. */
struct change {
    uint64_t seq; /* of its record; 0: not known */
    struct epoch epoch;
    uint64_t store; /* 0: it is no matter of membership */
    bool member;    /* the store is to be one, or not */
};

/* Sends a command to the leader, which leader_find has found. False, having said why, if it did not
 * take it. */
bool leader_command(const struct process *leader, const struct command *command,
                    struct change *change);
/* Waits until the change holds and is stable, whoever leads by then. False, having said why, after
 * timeout_ns, when interrupted, or when a failover undid it. */
bool leader_wait(struct processes *p, const struct change *change, uint64_t timeout_ns);

/* Waits between two looks. False when interrupted. */
bool leader_pause(uint64_t ns);

#endif
