/* The ledger: per publisher the next number, per topic the last seq. With the catalog it is all that
 * a sequencer must know to go on, and like it a function of the stream.
 *
 * It changes with every message, so it is two flat arrays. The effects of a run are held back until
 * its last message, because an epoch record inside a run voids it. */
#ifndef CANTUS_PROTO_LEDGER_H
#define CANTUS_PROTO_LEDGER_H

#include "proto/catalog.h"

enum {
    RUN_MESSAGES_MAX = 2048, /* of one run */
    RUN_BYTES_DEFAULT = 1 << 20
};

struct ledger {
    uint64_t *next;     /* by publisher id: its next number; first is 1 */
    uint64_t *last_seq; /* by topic id: seq of its last message; 0 none */
    uint32_t publishers_max;
    uint32_t topics_max;
    uint32_t run_count; /* messages of the open run, 0 when none is open */
    uint32_t run_publisher;
    uint64_t run_first_number;
    uint64_t run_first_seq;
    uint32_t run_topics[RUN_MESSAGES_MAX];
};

bool ledger_init(struct ledger *l, const struct catalog_options *options); /* false: no memory */
void ledger_close(struct ledger *l);
void ledger_reset(struct ledger *l);
void ledger_copy(struct ledger *to, const struct ledger *from);

/* Follows one message. False if it breaks a rule of the stream (a number out of turn, an id out of
 * range, a run that another publisher's message interrupts): the stream itself is broken. */
bool ledger_apply(struct ledger *l, const struct message *m);

static inline uint64_t ledger_next(const struct ledger *l, uint32_t publisher)
{
    return l->next[publisher];
}

static inline uint64_t ledger_last_seq(const struct ledger *l, uint32_t topic)
{
    return l->last_seq[topic];
}

uint64_t ledger_digest(const struct ledger *l);

#endif
