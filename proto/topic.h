/* Topic paths: `/md/nasdaq/aapl`. A subscription names a subtree; `/` is the whole tree.
 *
 * A path is 2..TOPIC_PATH_MAX bytes, begins with '/', has no empty segment and no trailing '/', and
 * its segments are of A-Z a-z 0-9 . _ - ~ and ':' only, and neither "." nor "..". Case matters. On
 * the wire a topic is a 24-bit id that the catalog gives out in the order of creation. */
#ifndef CANTUS_PROTO_TOPIC_H
#define CANTUS_PROTO_TOPIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOPIC_PATH_MAX = 255, TOPIC_DEPTH_MAX = 16 };

/* The topics every stream has. Users' topics begin at TOPIC_FIRST_USER. */
enum topic_id {
    TOPIC_NONE = 0,
    TOPIC_GENESIS = 1, /* /sys/genesis  the stream's first message */
    TOPIC_EPOCH = 2,   /* /sys/epoch    epoch records */
    TOPIC_SESSION = 3, /* /sys/session  session records */
    TOPIC_JOIN = 4,    /* /sys/join     publishers and their incarnations */
    TOPIC_REJECT = 5,  /* /sys/reject   numbers consumed without a message */
    TOPIC_TOPIC = 6,   /* /sys/topic    creates a topic: the payload is its path */
    TOPIC_CLOCK = 7,   /* /sys/clock    ticks */
    TOPIC_MEMBER = 8,  /* /sys/member   stores added and removed, W */
    TOPIC_GRANT = 9,   /* /sys/grant    rights given and taken */
    TOPIC_GROUP = 10,  /* /sys/group    keys in groups */
    TOPIC_LIMIT = 11,  /* /sys/limit    rates and quotas */
    TOPIC_EDGE = 12,   /* /sys/edge     proxies' own records */
    TOPIC_WORD = 13,   /* /sys/word     what the stores have said */
    TOPIC_FIRST_USER = 16
};

/* Checks a path; NULL if it is well-formed, else what is wrong with it, for humans. `/` is accepted
 * as a subtree, not as a topic. */
const char *topic_path_check(const char *path, size_t length);
const char *topic_subtree_check(const char *subtree, size_t length);

/* Whether `path` is `subtree` or below it. Both well-formed. */
bool topic_in_subtree(const char *path, size_t path_length, const char *subtree,
                      size_t subtree_length);

/* The path of a fixed topic; NULL for other ids. */
const char *topic_fixed_path(uint32_t id);

#endif
