/* A process's counters in shared memory, readable without disturbing it: one file per participant
 * in a directory that all processes of a deployment on a host share. The array of counters in the
 * file is the one that the core counts in, so being watched costs nothing per message.
 *
 * The file also says who it is of, what it is doing, when it was last alive, its longest pauses,
 * and the distinct problems it has logged. It is native to the host and to the table of counters it
 * was built with: a reader with another table says so and reads nothing. A writer keeps its file
 * locked, so that everyone sees which are of processes that have ended; it removes its own at the
 * end, and takes the place of a dead one of the same name at the start.
 *
 * The directory should be in memory (the default, below /dev/shm, is): of a file on a disk every
 * page is written back, and the store that follows would wait for the file system.
 *
 * Counters are 8 bytes, aligned, written by one thread and read by others while they change. What
 * is longer (texts, pauses) carries a version that is odd while it is written. */
#ifndef CANTUS_SHELL_COUNTER_FILE_H
#define CANTUS_SHELL_COUNTER_FILE_H

#include "proto/counter.h"
#include "shell/config.h"
#include "shell/log.h"

enum {
    COUNTER_FILE_ROLE_MAX = 31,
    COUNTER_FILE_NAME_MAX = 63,
    COUNTER_FILE_STATE_MAX = 63,
    COUNTER_FILE_DETAIL_MAX = 159,
    COUNTER_FILE_ERROR_MAX = 768,
    COUNTER_FILES_MAX = 256 /* of a directory; further ones are not read */
};

/* ---- writing --------------------------------------------------------------------------------- */

struct counter_file_start {
    const char *directory; /* made if it is not there; its parent is not */
    const char *role;      /* "sequencer" */
    const char
        *name; /* of a process of the deployment, or whatever an app calls itself; where it is
                         taken by a living process, "-2" and so on is added */
    uint64_t stream;
};

struct counter_file;

/* NULL with a text in error[COUNTER_FILE_ERROR_MAX]: it can be done without. */
struct counter_file *counter_file_create(const struct counter_file_start *start, char *error);
/* Removes the file. The counters are gone. NULL is fine. */
void counter_file_close(struct counter_file *f);
/* [COUNTER_END], zero at first. NULL of NULL. */
uint64_t *counter_file_counters(struct counter_file *f);
/* A sign of life, what the process is doing, and its longest pauses: to be called from the loop's
 * sample. NULL is fine. */
void counter_file_sample(struct counter_file *f, const char *state, const struct loop *l);
/* From here on, and until the file is closed, the warnings and errors of this log are in it, too.
 * One file a log: nothing happens if it has one. */
void counter_file_attach(struct counter_file *f, struct log *log);
/* The file of a process of a deployment, with its log attached. NULL if there is to be none: the
 * log (which may be NULL) says why. */
struct counter_file *counter_file_of(const struct config *config, const char *role,
                                     const char *name, struct log *log);

/* ---- reading --------------------------------------------------------------------------------- */

struct counter_problem {
    enum log_level level;
    char component[LOG_COMPONENT_MAX + 1];
    char text[LOG_TEXT_MAX + 1];
    char detail[COUNTER_FILE_DETAIL_MAX + 1]; /* the newest one's key=value pairs */
    uint64_t count;
    uint64_t first_ns, last_ns; /* Unix time */
};

struct counter_snapshot {
    bool alive;          /* its process runs */
    uint64_t silent_ns;  /* since its last sign of life: seconds mean that its loop stands still */
    uint64_t started_ns; /* Unix time */
    uint64_t pid;
    uint64_t stream;
    char role[COUNTER_FILE_ROLE_MAX + 1];
    char name[COUNTER_FILE_NAME_MAX + 1];
    char state[COUNTER_FILE_STATE_MAX + 1];
    uint64_t counters[COUNTER_END];
    struct loop_pause pause_max, pause_recent;
    uint64_t forgotten; /* problems for which there was no room */
    uint32_t problem_count;
    struct counter_problem problems[LOG_ENTRIES_MAX]; /* newest first */
};

/* False with a text in error[COUNTER_FILE_ERROR_MAX]: no such file, or not one that this build can
 * read. */
bool counter_file_read(const char *path, struct counter_snapshot *out, char *error);

/* Every file of a directory in the order of names, those of ended processes too. `snapshot` is NULL
 * of those that can't be read, and `text` says why. `space` is the caller's memory. Returns how
 * many there were; 0 if there is no directory. */
uint32_t counter_directory_read(const char *directory, struct counter_snapshot *space,
                                void (*each)(void *ctx, const char *path,
                                             const struct counter_snapshot *snapshot,
                                             const char *text),
                                void *ctx);

#endif
