/* `cantus bench rtt`: how long from proposing a message to applying it, in the order of the stream,
 * next to the floor. */
#ifndef CANTUS_BENCH_RTT_H
#define CANTUS_BENCH_RTT_H

#include "bench/bench.h"

/* App and sequencer, two processes, each on a core. */
bool rtt_sequenced(const struct bench_knobs *knobs, struct bench_result *result, char *error);
/* A retransmitter records what they say, as a third process. */
bool rtt_recorded(const struct bench_knobs *knobs, struct bench_result *result, char *error);
/* Each of the two loses a share of what arrives. */
bool rtt_loss(const struct bench_knobs *knobs, struct bench_result *result, char *error);

#endif
