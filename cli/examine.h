/* Whether a machine is fit for Cantus: each check says what it found, whether that is good, why it
 * matters, and the command that mends it. With a configuration it looks at what the processes on
 * this machine need; without one, at what any deployment does. */
#ifndef CANTUS_CLI_EXAMINE_H
#define CANTUS_CLI_EXAMINE_H

#include "cli/machine.h"
#include "shell/config.h"

enum { FINDINGS_MAX = 128, FINDING_TEXT_MAX = 400 };

enum examine_verdict { EXAMINE_OK = 1, EXAMINE_WARN, EXAMINE_BAD };

struct finding {
    const char *check; /* "receive_buffer": a word for scripts */
    enum examine_verdict verdict;
    char found[FINDING_TEXT_MAX + 1];
    const char *why;                 /* it matters */
    char mend[FINDING_TEXT_MAX + 1]; /* a command; empty if nothing is to be done */
};

struct findings {
    uint32_t count;
    uint32_t dropped; /* for which there was no room */
    struct finding all[FINDINGS_MAX];
};

/* The wall clock of a process that answered, less ours at the middle of the question. */
struct examine_skew {
    char name[CONFIG_NAME_MAX + 1];
    int64_t skew_ns;
    uint64_t uncertain_ns; /* half of what the question took */
    uint64_t restored;     /* its store, if that was restored from an older copy; else 0 */
};

struct examine {
    const struct machine *machine;
    const struct config *config; /* NULL: only the machine */
    uint32_t host;               /* processes with this address are on this machine; 0: those with
                                    an address that it has */
    const struct examine_skew *skews;
    uint32_t skew_count;
};

void examine(const struct examine *what, struct findings *out);
const char *examine_verdict_name(enum examine_verdict verdict);
enum examine_verdict examine_worst(const struct findings *findings);

#endif
