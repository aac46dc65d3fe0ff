/* How long an event loop's rounds take, and what in them: from the times that the loop reads
 * anyway, so that one which serves a single participant knows exactly what was slow, and one which
 * serves several knows between which of them. */
#ifndef CANTUS_SHELL_PAUSES_H
#define CANTUS_SHELL_PAUSES_H

#include "shell/loop.h"

/* What a participant did, a bit set. */
enum pauses_did {
    PAUSES_DATAGRAMS = 1,
    PAUSES_STREAMS = 2,
    PAUSES_DISK = 4,
    PAUSES_STEP = 8,
    PAUSES_CALLER = 16 /* not the loop: whoever polls it, between two polls */
};

/* Between two readings of the clock. */
struct pauses_span {
    uint64_t duration_ns;
    const char *first, *last; /* names of participants; NULL: none */
    uint32_t did;
};

struct pauses {
    uint64_t round_ns; /* mono; when the round began; 0: after a wait or an idle return */
    uint64_t read_ns;  /* mono; when the clock was read last */
    struct pauses_span span;
    struct pauses_span longest; /* of the round */
    struct loop_pause max;
    struct loop_pause minutes[2]; /* this one and the one before */
    uint64_t minute_ns;           /* mono; when this one began */
};

static inline void pauses_did(struct pauses *p, const char *name, uint32_t did)
{
    if (p->span.first == NULL)
        p->span.first = name;
    if (name != NULL)
        p->span.last = name;
    p->span.did |= did;
}

/* The clock was read. */
static inline void pauses_read(struct pauses *p, uint64_t mono_ns)
{
    uint64_t duration_ns = mono_ns - p->read_ns;
    if (duration_ns > p->longest.duration_ns) {
        p->longest = p->span;
        p->longest.duration_ns = duration_ns;
    }
    p->span = (struct pauses_span) { 0 };
    p->read_ns = mono_ns;
}

/* A round begins, and with it ends the one before, if there was one. */
void pauses_round(struct pauses *p, struct port_time now);

/* No work is in hand: what comes until the next round is no pause. */
static inline void pauses_rest(struct pauses *p)
{
    p->round_ns = 0;
}

struct loop_pause pauses_recent(const struct pauses *p, uint64_t mono_ns);

#endif
