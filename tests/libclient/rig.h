/* A client core on the port of a leader (tests/leader/leader.h), and all that it reported and its
 * subscriptions saw. Time is a number. */
#ifndef CANTUS_TESTS_LIBCLIENT_RIG_H
#define CANTUS_TESTS_LIBCLIENT_RIG_H

#include <stdlib.h>

#include "libclient/core.h"
#include "proto/signal.h"
#include "tests/leader/leader.h"

enum { RIG_REPORTS_MAX = 64, RIG_SEEN_MAX = 8192 };

struct rig_report {
    struct cantus_report r;
    char identity[64], topic[256], text[256];
};

/* A message as a subscription saw it. */
struct rig_seen {
    uint64_t seq, timestamp_ns, publisher_seq, hash;
    size_t length;
    char topic[64], publisher[64];
    char head[32];
};

struct rig {
    struct leader leader; /* first */
    struct port_time now;
    uint64_t deadline;
    struct client_core *core;
    struct machine *watched; /* by the test */
    struct client_core_options options;
    struct rig_report reports[RIG_REPORTS_MAX];
    uint32_t report_count;
    struct rig_seen seen[RIG_SEEN_MAX];
    uint32_t seen_count;
    char error[CANTUS_ERROR_MAX];
};

/* The client's code runs. Its callbacks here don't use Check, which allocates. */
extern bool rig_inside;

/* The leader has emitted the genesis and its first epoch record; the client has seen nothing yet.
 */
struct rig *rig_new(enum follower_level level);
struct rig *rig_new_volatile(void);
void rig_free(struct rig *r);
/* Another client on the same stream; the old one is gone. */
void rig_restart(struct rig *r);
void rig_make_core(struct rig *r);
struct machine *rig_add(struct rig *r, const struct cantus_app *app, const char *config,
                        const char *identity);
void rig_subscribe(struct rig *r, const char *subtree); /* with rig_see */
/* Hands what was emitted to the client and what it sent to the leader until both are quiet. */
void rig_run(struct rig *r);
/* The same, time going on by `ns` at a time, at most `rounds` times, until done() is true. */
bool rig_run_until(struct rig *r, bool (*done)(struct rig *r), uint64_t ns, uint32_t rounds);
/* One step of the client, nothing else. */
void rig_step(struct rig *r);
void rig_hint(struct rig *r, struct hint h);
void rig_tick(struct rig *r, uint64_t timestamp_ns); /* a message on /sys/clock, delivered */

void rig_see(void *ctx, const struct cantus_message *m); /* a subscription's callback; ctx: rig */
const struct rig_report *rig_reported(const struct rig *r, enum cantus_report_kind kind);
/* The port alone, for tests of parts. */
void rig_port_init(struct rig *r);

#endif
