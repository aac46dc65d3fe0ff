/* Promotion by a lease: when the process beside a sequencer campaigns for the lease, keeps it,
 * promotes its sequencer, and gives the lease up. Pure: facts and the time go in, what to do comes
 * out.
 *
 * The lease chooses who promotes; it keeps nobody from leading. Two may believe that they hold it
 * at once: a process that was stopped past the end of its lease, a clock that runs fast, an etcd
 * that was restored from a backup. So nothing that must hold rests on it. The seal fences: a
 * sequencer leads only with the promises of a quorum of the stores, and whoever led before it is
 * refused from then on, whatever lease it holds. A wrong holder costs a pause at most.
 *
 *   its sequencer leads, and hears stores enough   campaigns, and keeps the lease
 *   another one does                               waits, and gives up what it holds
 *   nobody does, its sequencer answers             campaigns; holding the lease, promotes it
 *   its sequencer does not answer                  waits; gives the lease up after a third of its
 *                                                  time
 *
 * A promotion asks the stores first and is refused while a majority of them hears the leader, so a
 * leader whose own lease process is dead, or whose etcd is gone, leads on. After a refusal the
 * lease is given up for a while, so that another standby, which may reach more, has its turn. */
#ifndef CANTUS_CLI_LEASE_H
#define CANTUS_CLI_LEASE_H

#include <stdbool.h>
#include <stdint.h>

enum lease_action {
    LEASE_WAIT = 1,
    LEASE_CAMPAIGN, /* get it, or keep it */
    LEASE_PROMOTE,
    LEASE_GIVE_UP
};

/* What is known in this round. */
struct lease_view {
    uint64_t now_ns; /* monotonic */
    uint64_t random;
    bool holds;       /* by our own clock: granted, renewed in time */
    bool answers;     /* our sequencer does */
    bool follows;     /* it does nothing towards leading */
    bool leads;       /* it does, and hears the stores it needs */
    bool other_leads; /* another one does, in a later epoch if ours leads too */
};

struct lease {
    uint64_t ttl_ns;
    uint64_t well_ns;  /* when our sequencer was well last */
    uint64_t asked_ns; /* when a promotion was taken; 0: none is under way */
    uint64_t pause_until_ns;
    uint32_t refusals; /* in a row */
    const char *why;   /* of the last LEASE_GIVE_UP */
};

void lease_init(struct lease *l, uint64_t ttl_ns, uint64_t now_ns);
enum lease_action lease_decide(struct lease *l, const struct lease_view *view);
/* What became of a LEASE_PROMOTE. */
void lease_promotion_taken(struct lease *l, uint64_t now_ns);
void lease_promotion_refused(struct lease *l, uint64_t now_ns, uint64_t random);

/* How long a sequencer may be unwell until it counts as that: a third of the lease's time. */
uint64_t lease_patience_ns(const struct lease *l);
/* Between two rounds. */
uint64_t lease_round_ns(const struct lease *l);

#endif
