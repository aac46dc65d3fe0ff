/* Cantus's own programs as processes of a case: those that lie beside the one that runs. */
#ifndef CANTUS_BENCH_PROGRAMS_H
#define CANTUS_BENCH_PROGRAMS_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct programs {
    char folder[PATH_MAX];
};

/* False with a text in error[BENCH_ERROR_MAX]. */
bool programs_find(struct programs *p, char *error);
/* arguments[0] is the program's name; NULL ends them. What it prints goes to `out`, or nowhere
 * (-1); what it says to nowhere. It ends when this process does. Below 0: not started. */
pid_t programs_start(const struct programs *p, const char *const *arguments, int out);
/* By that signal; waits, and sets the pid to 0. Does nothing for 0 and below. */
void programs_end(pid_t *child, int signal);
/* A file or folder of a case's own, whole. */
void programs_remove(const char *path);

#endif
