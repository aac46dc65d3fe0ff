/* Compares what replicas of an app say of their states (state digests), position by position. Only
 * digests of one logic version and one set of skips are comparable. Knows nothing of where the
 * statements come from. */
#ifndef CANTUS_CLI_DIGEST_MONITOR_H
#define CANTUS_CLI_DIGEST_MONITOR_H

#include "proto/sys.h"

enum {
    DIGEST_REPLICAS_MAX = 64,    /* further ones are counted and not compared */
    DIGEST_POINTS_MAX = 256,     /* kept, newest; what is said of older ones is counted */
    DIGEST_STATEMENTS_MAX = 128, /* of one point; further ones are counted */
    DIGEST_BEHIND_MAX = 2        /* newer points there are when one is shown though not complete */
};

struct digest_statement {
    uint32_t replica;
    uint32_t logic_version;
    uint64_t digest;
    uint64_t skips;
};

/* A position, and all that was said of it. */
struct digest_point {
    struct position position;
    uint32_t count;
    bool shown;    /* as it is now */
    bool compared; /* there are two that can be */
    struct digest_statement statements[DIGEST_STATEMENTS_MAX];
};

struct digest_monitor {
    /* Of a point that is complete (every replica ever heard has spoken), or will hardly be. Again
     * if more is said of it later. */
    void (*show)(void *ctx, const struct digest_monitor *m, const struct digest_point *p);
    void *ctx;
    uint32_t replica_count;
    char replicas[DIGEST_REPLICAS_MAX][IDENTITY_MAX + 1];
    uint64_t compared; /* points at which there was something to compare */
    uint64_t overflow; /* statements for which there was no room */
    bool differs;
    struct digest_point mismatch; /* the first that was forgotten */
    uint32_t point_count;
    struct digest_point points[DIGEST_POINTS_MAX]; /* by seq */
};

/* All zero but show and ctx. */
void digest_monitor_add(struct digest_monitor *m, const char *publisher,
                        const struct sys_digest *said);
/* Nothing more will be said: shows the rest. */
void digest_monitor_end(struct digest_monitor *m);

bool digest_point_differs(const struct digest_point *p);
/* Every replica ever heard has spoken. */
bool digest_point_complete(const struct digest_monitor *m, const struct digest_point *p);
/* The lowest point at which replicas differ, NULL if none. */
const struct digest_point *digest_monitor_mismatch(const struct digest_monitor *m);

/* Those of a point who say the same: the index of the first statement of the group after `after`
 * (-1: the first group), -1 if there are no more. Size and members by comparing with it. */
int digest_group_next(const struct digest_point *p, int after);
bool digest_same_group(const struct digest_statement *a, const struct digest_statement *b);
uint32_t digest_group_size(const struct digest_point *p, int group);
/* Whether no other group that it can be compared with is as large. */
bool digest_group_is_majority(const struct digest_point *p, int group);

#endif
