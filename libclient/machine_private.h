/* Shared by machine*.c and nobody else. */
#ifndef CANTUS_LIBCLIENT_MACHINE_PRIVATE_H
#define CANTUS_LIBCLIENT_MACHINE_PRIVATE_H

#include "libclient/machine.h"
#include "proto/topic.h"
#include "proto/wire.h"

/* A node's handle to the machine's timers. */
struct cantus_timers {
    struct machine *machine;
    uint32_t node;
};

struct machine_timer {
    uint64_t due_ns;
    uint64_t id;
    uint32_t node;
};

struct machine_node {
    const struct cantus_app *app;
    void *state;
    struct cantus_timers timers;
    bool open; /* init has succeeded */
};

struct machine {
    const struct cantus_app *app;
    uint8_t *state;
    size_t state_size; /* as allocated */
    char *config;
    uint8_t *buffer;
    uint32_t node_count;
    uint32_t subtree_count;
    struct machine_node nodes[MACHINE_NODES_MAX];
    /* Sorted: the next to fire is the last, and of several due at once the one registered first. */
    uint32_t timer_count;
    struct machine_timer timers[CANTUS_TIMERS_MAX];

    uint64_t proposal_hash; /* of its last proposal */
    uint64_t digest;        /* of the state that made it, once it is a repetition */
    uint64_t outcome_seq;
    uint32_t repeats;
    bool proposed;
    bool answered; /* the last proposal has its outcome */
    bool digest_known;
    bool quarantined;
    char topic[TOPIC_PATH_MAX + 1];
};

struct cantus_writer {
    struct wire_writer wire;
};

struct cantus_reader {
    struct wire_reader wire;
};

#endif
