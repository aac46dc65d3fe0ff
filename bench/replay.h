/* `cantus bench replay`: a store's files to the state of an app, through the library. */
#ifndef CANTUS_BENCH_REPLAY_H
#define CANTUS_BENCH_REPLAY_H

#include "bench/bench.h"

bool replay_cached(const struct bench_knobs *knobs, struct bench_result *result, char *error);
bool replay_cold(const struct bench_knobs *knobs, struct bench_result *result, char *error);

#endif
