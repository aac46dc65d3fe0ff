/* Runs one application: its parts, its topics, its timers, its next proposal. Pure. */
#ifndef CANTUS_LIBCLIENT_MACHINE_H
#define CANTUS_LIBCLIENT_MACHINE_H

#include "cantus/app.h"
#include "proto/position.h"

struct machine;

enum machine_advice {
    MACHINE_NOTHING = 0, /* it has nothing to say */
    MACHINE_PROPOSES,
    MACHINE_QUARANTINED /* it keeps saying what is already sequenced, to no effect */
};

/* NULL, with a text in error[320]: abi, init refused, no memory, topics malformed. */
struct machine *machine_create(const struct cantus_app *app, const char *config, char *error);
void machine_destroy(struct machine *m);
/* Back to the initial state (a fork's rebuild). */
bool machine_reset(struct machine *m);

/* Whether it, or a part of it, wants messages of this topic path. */
bool machine_wants(const struct machine *m, const char *path, size_t length);
/* Fires the timers due at or before timestamp_ns; then (unless NULL) applies the message to the parts
 * and itself, where they want its topic. */
void machine_advance(struct machine *m, uint64_t timestamp_ns);
void machine_apply(struct machine *m, const struct cantus_message *message);
uint64_t machine_next_timer_ns(const struct machine *m); /* UINT64_MAX: none */

/* What it would propose now, into *proposal, with a buffer of the machine's own (1 MiB). */
enum machine_advice machine_next(struct machine *m, struct cantus_proposal *proposal);
/* Its last proposal was sequenced at seq (or rejected): the next question may differ. */
void machine_outcome(struct machine *m, uint64_t seq, bool rejected);
/* The proposal that is repeated, for the report. */
const char *machine_repeated_topic(const struct machine *m);
uint64_t machine_repeated_seq(const struct machine *m);

/* Over the app's and its parts' digests, pending timers included. */
uint64_t machine_digest(const struct machine *m);
/* The whole state, named by its position and logic version. save returns the length, or 0 if it
 * does not fit; load false if the snapshot is of another app or version, or damaged. */
size_t machine_save(const struct machine *m, struct position position, uint8_t *out,
                    size_t capacity);
bool machine_load(struct machine *m, const uint8_t *bytes, size_t length,
                  struct position *position);
void *machine_state(struct machine *m);
const struct cantus_app *machine_app(const struct machine *m);

#endif
