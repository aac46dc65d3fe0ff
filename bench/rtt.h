/* `cantus bench rtt`: from proposing a message to applying it, and the floor under that: two bare
 * processes that bounce a multicast datagram of the same payload. */
#ifndef CANTUS_BENCH_RTT_H
#define CANTUS_BENCH_RTT_H

#include "bench/bench.h"

/* App and sequencer as two processes on a volatile stream in a directory of its own, which is removed. */
bool rtt_run(const struct bench_knobs *k, struct bench_result *r, char *error);

#endif
