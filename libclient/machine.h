/* Runs one application: its parts, its topics, its timers, its next proposal. Pure.
 *
 * An app and its parts, theirs too, are the nodes of a machine, in the order in which they apply:
 * every part before what it is a part of. A set of nodes is a bit mask. */
#ifndef CANTUS_LIBCLIENT_MACHINE_H
#define CANTUS_LIBCLIENT_MACHINE_H

#include "cantus/app.h"
#include "proto/position.h"

enum {
    MACHINE_NODES_MAX = 64,
    MACHINE_DEPTH_MAX = 8,            /* of parts in parts */
    MACHINE_REPEATS_MAX = 3,          /* of one proposal to no effect; then quarantine */
    MACHINE_TIMERS_FIRED_MAX = 65536, /* before one message; the others wait for the next */
    MACHINE_BUFFER_BYTES = 1 << 20,
    MACHINE_ERROR_MAX = 320
};

struct machine;

enum machine_advice {
    MACHINE_NOTHING = 0, /* it has nothing to say */
    MACHINE_PROPOSES,
    MACHINE_QUARANTINED /* it keeps saying what is already sequenced, to no effect */
};

/* NULL, with a text in error[MACHINE_ERROR_MAX]: abi, init refused, no memory, topics malformed. */
struct machine *machine_create(const struct cantus_app *app, const char *config, char *error);
void machine_destroy(struct machine *m);
/* Back to the initial state (a fork's rebuild). A quarantine stays. */
bool machine_reset(struct machine *m);

/* The nodes that want messages of this topic path. */
uint64_t machine_wants(const struct machine *m, const char *path, size_t length);
uint32_t machine_subtree_count(const struct machine *m);
const char *machine_subtree(const struct machine *m, uint32_t index); /* below that count */
bool machine_has_timers(const struct machine *m); /* whether any node has a use for them */
/* Fires the timers due at or before timestamp_ns. */
void machine_advance(struct machine *m, uint64_t timestamp_ns);
/* Applies a message to these nodes, after the timers due by then were fired. */
void machine_apply(struct machine *m, uint64_t nodes, const struct cantus_message *message);
uint64_t machine_next_timer_ns(const struct machine *m); /* UINT64_MAX: none */

/* What it would propose now, into *proposal, with a buffer of the machine's own (1 MiB). */
enum machine_advice machine_next(struct machine *m, struct cantus_proposal *proposal);
/* Its last proposal was sequenced at seq (or rejected): the next question may differ. */
void machine_outcome(struct machine *m, uint64_t seq, bool rejected);
bool machine_quarantined(const struct machine *m);
/* The proposal that is repeated, for the report. */
const char *machine_repeated_topic(const struct machine *m);
uint64_t machine_repeated_seq(const struct machine *m);

/* Over the app's and its parts' digests, pending timers included. */
uint64_t machine_digest(const struct machine *m);
bool machine_has_digest(const struct machine *m); /* the app or one of its parts */
/* The whole state, named by its position and logic version. save returns the length, or 0 if it
 * does not fit or a node that has a state can't save it; load false, with the initial state, if the
 * snapshot is of another app or version, or damaged. */
size_t machine_save(const struct machine *m, struct position position, uint8_t *out,
                    size_t capacity);
bool machine_load(struct machine *m, const uint8_t *bytes, size_t length,
                  struct position *position);
void *machine_state(struct machine *m);
const void *machine_state_const(const struct machine *m);
const struct cantus_app *machine_app(const struct machine *m);

#endif
