/* An app that proposes "inc" until it has counted to its goal, which is its configuration, and sets
 * its timer as messages on /timer say. */
#ifndef CANTUS_TESTS_LIBCLIENT_TALLY_H
#define CANTUS_TESTS_LIBCLIENT_TALLY_H

#include "rig.h"

struct tally {
    uint64_t count;
    uint64_t goal;
    uint64_t ticks;
    uint64_t fired_at; /* count when the timer fired */
    uint64_t fired_now;
    struct cantus_timers *timers;
};

extern const struct cantus_app tally_app;

/* Whether r->watched, which is one, is at its goal. */
bool tally_is_done(struct rig *r);

#endif
