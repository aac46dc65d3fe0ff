/* A deployment of its own in a temporary directory: `cantus dev` as a child process. */
#ifndef EXAMPLES_EMBEDDED_H
#define EXAMPLES_EMBEDDED_H

#include <stdbool.h>
#include <sys/types.h>

struct embedded {
    char dir[64];
    pid_t child;
};

/* Starts it and waits until it is ready; `program` is who asks. False with a text in error[256]. */
bool embedded_start(struct embedded *e, const char *program, char *error);
/* Stops it and removes its directory. */
void embedded_stop(struct embedded *e);

#endif
