/* `cantus bench durable`: what a disk costs, and what Cantus adds to it. All files lie in TMPDIR,
 * those of the floor beside those of the stores; the lines say which file system that is, for where
 * there is no disk below (tmpfs) the figures say nothing of one. */
#ifndef CANTUS_BENCH_DURABLE_H
#define CANTUS_BENCH_DURABLE_H

#include "bench/bench.h"

/* A journal alone: from offering a full batch to knowing it durable, one at a time. */
bool durable_append(const struct bench_knobs *knobs, struct bench_result *result, char *error);
/* A retransmitter's core, its journal and its disk, without sockets: batches arrive at a rate, and
 * each is counted from when it should have arrived to when its acknowledgement is handed over. */
bool durable_loaded(const struct bench_knobs *knobs, struct bench_result *result, char *error);
/* A sequencer, three stores and an app, five processes: from having a message sequenced to knowing
 * it stable. */
bool durable_stable(const struct bench_knobs *knobs, struct bench_result *result, char *error);

#endif
