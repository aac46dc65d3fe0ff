/* `cantus bench publish`: a publisher's own part of a message, alone: pushed, proposed, back in a batch, concluded. */
#ifndef CANTUS_BENCH_PUBLISH_H
#define CANTUS_BENCH_PUBLISH_H

#include "bench/bench.h"

bool publish_run(const struct bench_knobs *knobs, struct bench_result *result, char *error);

#endif
