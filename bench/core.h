/* `cantus bench core`: the sequencer's core alone. See leader.h. */
#ifndef CANTUS_BENCH_CORE_H
#define CANTUS_BENCH_CORE_H

#include "bench/bench.h"

bool core_run_100(const struct bench_knobs *knobs, struct bench_result *result, char *error);
bool core_run_100000(const struct bench_knobs *knobs, struct bench_result *result, char *error);

#endif
