/* The weight of the bench against everything else that runs on the machine.
 *
 * Processes that yield give their turn to whatever else wants to run. Where the kernel groups processes by
 * session (autogroup), all other sessions together then take as much of a core as the bench does, however
 * little they need it for, and no priority of a single process changes that. So the bench runs in a session
 * of its own, whose group outweighs the others where the case spins: everything that it starts, floors and
 * peers too, is in it. */
#ifndef CANTUS_BENCH_WEIGHT_H
#define CANTUS_BENCH_WEIGHT_H

#include "bench/bench.h"

/* Runs work(ctx) in a child process, in a session of its own. Signals that end or stop are handed on to all of it.
 * The child's exit status is returned; if a signal ended it, this process ends by the same. The group is gone when
 * the last of its processes is. */
int weight_run(int (*work)(void *ctx), void *ctx);

/* Makes that session as heavy as this case wants, and is permitted. Does nothing outside of weight_run. */
void weight_set(const struct bench_case *c);

/* Notes the weight under which a case ran as autogroup_nice, -20 to 19; nothing if it is as any other session's,
 * or if the kernel doesn't group. */
void weight_note(struct bench_result *r);

#endif
