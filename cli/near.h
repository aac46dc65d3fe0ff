/* Names that somebody may have meant. */
#ifndef CANTUS_CLI_NEAR_H
#define CANTUS_CLI_NEAR_H

#include <stdbool.h>
#include <stdint.h>

enum { NEAR_NAMES_MAX = 5, NEAR_NAME_SIZE = 64 };

struct near_names {
    uint32_t count; /* the nearest first, each once */
    uint32_t distance[NEAR_NAMES_MAX];
    char name[NEAR_NAMES_MAX][NEAR_NAME_SIZE];
};

/* Letters to insert, leave out, change or swap with their neighbour to make one of the other. Only
 * the first NEAR_NAME_SIZE - 1 count. */
uint32_t near_distance(const char *a, const char *b);
/* Takes it in if it is near enough: a third of its letters differ at most, or one is the beginning
 * of the other. */
void near_consider(struct near_names *n, const char *wanted, const char *name);

#endif
