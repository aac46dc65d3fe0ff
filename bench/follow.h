/* `cantus bench reassembly` and `discard`: datagrams through a client's core, to the messages that
 * are handed over, and to those of topics that nobody asked for. */
#ifndef CANTUS_BENCH_FOLLOW_H
#define CANTUS_BENCH_FOLLOW_H

#include "bench/bench.h"

bool reassembly_run(const struct bench_knobs *knobs, struct bench_result *result, char *error);
bool discard_run(const struct bench_knobs *knobs, struct bench_result *result, char *error);

#endif
