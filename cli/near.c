#include "cli/near.h"

#include <stdio.h>
#include <string.h>

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

uint32_t near_distance(const char *a, const char *b)
{
    uint32_t rows[3][NEAR_NAME_SIZE];
    size_t n = strnlen(a, NEAR_NAME_SIZE - 1), m = strnlen(b, NEAR_NAME_SIZE - 1);
    for (uint32_t k = 0; k <= m; k++)
        rows[0][k] = k;
    for (uint32_t i = 1; i <= n; i++) {
        uint32_t *row = rows[i % 3];
        const uint32_t *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        row[0] = i;
        for (uint32_t k = 1; k <= m; k++) {
            row[k] = least(least(above[k], row[k - 1]) + 1, above[k - 1] + (a[i - 1] != b[k - 1]));
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                row[k] = least(row[k], before[k - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

void near_consider(struct near_names *n, const char *wanted, const char *name)
{
    size_t shorter = strlen(wanted) < strlen(name) ? strlen(wanted) : strlen(name);
    uint32_t distance = near_distance(wanted, name);
    bool begins = shorter >= 2 && strncmp(wanted, name, shorter) == 0;
    if (distance > (strlen(wanted) + 2) / 3 && !begins)
        return;
    uint32_t at = 0;
    for (uint32_t i = 0; i < n->count; i++) {
        if (strcmp(n->name[i], name) == 0)
            return;
        at += n->distance[i] <= distance;
    }
    if (at == NEAR_NAMES_MAX)
        return;
    uint32_t kept = n->count < NEAR_NAMES_MAX ? n->count : NEAR_NAMES_MAX - 1;
    memmove(n->name[at + 1], n->name[at], (kept - at) * sizeof n->name[0]);
    memmove(&n->distance[at + 1], &n->distance[at], (kept - at) * sizeof n->distance[0]);
    n->distance[at] = distance;
    snprintf(n->name[at], NEAR_NAME_SIZE, "%s", name);
    n->count = kept + 1;
}
