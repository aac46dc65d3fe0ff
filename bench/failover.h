/* `cantus bench failover`: how long a stream stands still when its sequencer is killed. */
#ifndef CANTUS_BENCH_FAILOVER_H
#define CANTUS_BENCH_FAILOVER_H

#include <stdbool.h>
#include <stdint.h>

struct failover_options {
    uint32_t rounds;     /* kills */
    bool manual;         /* `cantus promote` instead of the standby's own decision */
    uint32_t silence_ms; /* of automatic promotion */
    void (*progress)(uint64_t done, uint64_t total);
};

struct failover_result {
    /* From the kill (manual: from the command) to the first message of the new epoch, as a follower at
     * stable gets it. Milliseconds. */
    double p50_ms, p99_ms, max_ms;
    uint64_t rounds;
    uint64_t messages; /* delivered in all, while it went on */
};

/* A sequencer, a standby and three stores as processes of their own on lo, under the load of a
 * publisher; the leader is killed again and again. False with a text in error[1024]. */
bool failover_run(const struct failover_options *options, struct failover_result *result,
                  char *error);

#endif
