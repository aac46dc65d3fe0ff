/* The ledger: per publisher the next number, per topic the last seq. With the catalog it is all
 * that a sequencer must know to go on, and like it a function of the stream.
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
size_t ledger_memory(const struct catalog_options *options); /* bytes that init takes */
void ledger_close(struct ledger *l);
void ledger_reset(struct ledger *l);
/* Both were initialized with equal options. */
void ledger_copy(struct ledger *to, const struct ledger *from);

/* Follows one message. False, and unchanged, if it breaks a rule of the stream: the stream itself
 * is broken. The rules:
 *   - topic and publisher are in their range, topic is not 0;
 *   - publisher 0 (the sequencer) has publisher_seq 0, no flags, and writes no rejects;
 *   - a publisher's number is the one that is next; a reject consumes `count` of them;
 *   - publishers write user topics, and of /sys TOPIC_TOPIC, TOPIC_GRANT to TOPIC_EDGE and the
 *     rejects in their name, none of which is ever part of a run;
 *   - the messages of a run follow each other directly, at most RUN_MESSAGES_MAX. Only an epoch
 *     record may come between: it voids the run, whose numbers are then unused. */
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
