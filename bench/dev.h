/* `cantus bench dev`: a default `cantus dev`, from outside. */
#ifndef CANTUS_BENCH_DEV_H
#define CANTUS_BENCH_DEV_H

#include "bench/bench.h"

/* From nothing to the line that says `ready`. */
bool dev_start(const struct bench_knobs *k, struct bench_result *r, char *error);
/* The CPU time that it takes in a second in which nobody asks anything of it. */
bool dev_idle(const struct bench_knobs *k, struct bench_result *r, char *error);

#endif
