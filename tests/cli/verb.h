/* A verb of `cantus` alone, on a deployment of the test's own, whose processes are listeners: what the
 * verb needs of the command, a directory with a cantus.yaml, and what it printed. */
#ifndef CANTUS_TESTS_CLI_VERB_H
#define CANTUS_TESTS_CLI_VERB_H

#include <check.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "tests/cli/listener.h"

#define VERB_STREAM UINT64_C(0x57)

extern bool verb_json; /* it is given --json */

void verb_set_up(void); /* for a checked fixture */
void verb_tear_down(void);
/* The deployment: one sequencer and so many stores, whose ports are the test's to fill in. */
struct config *verb_config(uint32_t stores);
/* Runs it on that. Its exit status, and what it printed. */
int verb_run(const struct cli_verb *verb, char *out, size_t capacity);

#endif
