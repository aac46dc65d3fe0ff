/* `cantus bench throughput` and `cantus bench loss`: how much goes from a publisher through the
 * sequencer to a receiver, three processes, everything in order and nothing missing.
 *
 * A datagram is what a full batch of 1472 bytes carries, so that small batches don't count for more
 * than they hold. The floor of `throughput` is two of these processes, one of which sends datagrams
 * of that size, 64 a call, that the other receives, 64 a call, without segmentation offload. The
 * floor of `loss` is the same three processes while nothing is lost. */
#ifndef CANTUS_BENCH_THROUGHPUT_H
#define CANTUS_BENCH_THROUGHPUT_H

#include "bench/bench.h"

bool throughput_256(const struct bench_knobs *knobs, struct bench_result *result, char *error);
bool throughput_1024(const struct bench_knobs *knobs, struct bench_result *result, char *error);
bool throughput_32(const struct bench_knobs *knobs, struct bench_result *result, char *error);
bool throughput_256_no_gso(const struct bench_knobs *knobs, struct bench_result *result,
                           char *error);
bool throughput_1024_no_gso(const struct bench_knobs *knobs, struct bench_result *result,
                            char *error);
bool throughput_32_no_gso(const struct bench_knobs *knobs, struct bench_result *result,
                          char *error);
bool throughput_recorded(const struct bench_knobs *knobs, struct bench_result *result, char *error);
bool throughput_recorded_no_gso(const struct bench_knobs *knobs, struct bench_result *result,
                                char *error);

bool loss_receiver(const struct bench_knobs *knobs, struct bench_result *result, char *error);
bool loss_ingress(const struct bench_knobs *knobs, struct bench_result *result, char *error);
bool loss_both(const struct bench_knobs *knobs, struct bench_result *result, char *error);

#endif
