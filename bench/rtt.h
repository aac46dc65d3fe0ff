/* `cantus bench rtt`: from proposing a message to applying it, and the floor under that. */
#ifndef CANTUS_BENCH_RTT_H
#define CANTUS_BENCH_RTT_H

#include <stdbool.h>
#include <stdint.h>

struct rtt_options {
    uint32_t rounds;         /* of floor and measured part in turn */
    uint32_t trips;          /* of each in a round */
    uint32_t payload_length; /* 8..1024 */
    void (*progress)(uint64_t done, uint64_t total);
};

struct rtt_result {
    double p50_us, p99_us, p999_us, max_us;
    double floor_p50_us, floor_p99_us;
    double ratio; /* of the medians */
    uint64_t trips;
    uint64_t floor_lost;
};

/* App and sequencer as two processes on a volatile stream in a directory of its own, which is removed.
 * False with a text in error[1024]. */
bool rtt_run(const struct rtt_options *options, struct rtt_result *result, char *error);

#endif
