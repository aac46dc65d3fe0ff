/* `cantus bench failover`: how long a stream stands still when its sequencer is killed.
 *
 * A sequencer, a standby and three stores as processes of their own on lo, under the load of a
 * publisher; the leader is killed again and again. Counted from the kill (manual: from the command)
 * to the first message of the new epoch, as a follower at stable gets it. The floor of an automatic
 * promotion is the configured silence. */
#ifndef CANTUS_BENCH_FAILOVER_H
#define CANTUS_BENCH_FAILOVER_H

#include "bench/bench.h"

bool failover_automatic(const struct bench_knobs *k, struct bench_result *r, char *error);
bool failover_manual(const struct bench_knobs *k, struct bench_result *r, char *error);

#endif
