/* What the processes of a deployment do just now: those of this host by their counter files, which
 * disturbs none of them, the others by their status ports. */
#ifndef CANTUS_CLI_OBSERVE_H
#define CANTUS_CLI_OBSERVE_H

#include "cli/ask.h"
#include "shell/counter_file.h"

enum { OBSERVED_MAX = COUNTER_FILES_MAX, OBSERVE_NOTE_MAX = 512 };
/* Without a sign of life for so long, a loop stands still: it samples every second at least. */
#define OBSERVE_STALLED_NS UINT64_C(3000000000)

struct observed {
    char role[COUNTER_FILE_ROLE_MAX + 1];
    char name[COUNTER_FILE_NAME_MAX + 1];
    char state[COUNTER_FILE_STATE_MAX + 1];
    bool alive;  /* it runs, or it has answered */
    bool remote; /* asked by its status port: pauses' causes and problems are not known */
    uint64_t silent_ns;
    uint64_t pid;        /* 0: remote */
    uint64_t started_ns; /* Unix time */
    uint64_t counters[COUNTER_END];
    struct loop_pause pause_max, pause_recent;
    uint32_t problem_count;
};

struct observation {
    uint64_t mono_ns, wall_ns;
    uint32_t count;
    struct observed
        all[OBSERVED_MAX]; /* sequencers, retransmitters, proxies, apps; each in order of names */
    char note[OBSERVE_NOTE_MAX]; /* what could not be read; "" */
};

/* NULL: no memory. */
struct observation *observation_create(void);
void observation_destroy(struct observation *o);

/* This host's processes, by the files in `directory`. Those that have ended, too (alive: false). */
void observe_files(struct observation *o, const char *directory);
/* Adds the configured processes of which no living one was found, by asking them. Takes up to
 * timeout_ns where one does not answer. */
void observe_others(struct observation *o, const struct config *config, uint64_t timeout_ns);

/* Which of the table's counters mean something of a process of this role. */
bool observe_keeps(const char *role, enum counter c);

#endif
