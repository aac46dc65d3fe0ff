/* Payloads of /sys/grant, /sys/group and /sys/limit: who may do what, and how much of it. Written by
 * publishers that have ACCESS_GRANT on the subtree, for groups and limits on `/`.
 *
 * Encoders return the length, 0 if it does not fit or is nothing that the decoder would take;
 * decoders false if the payload is malformed. */
#ifndef CANTUS_PROTO_SYS_ACCESS_H
#define CANTUS_PROTO_SYS_ACCESS_H

#include "proto/access.h"
#include "proto/limit.h"

/* /sys/grant: adds these rights to what there is, or takes them away. */
struct sys_grant {
    bool revoke;
    uint8_t rights; /* enum access_right, a set, not empty */
    struct access_whom whom;
    char subtree[TOPIC_PATH_MAX + 1];
};

/* /sys/group: a key into a group, or out of it. */
struct sys_group {
    bool remove;
    char group[ACCESS_GROUP_MAX + 1];
    uint8_t key[ACCESS_KEY_SIZE];
};

/* /sys/limit: in place of what was set for the same one. */
struct sys_limit {
    bool remove; /* then the limit is all zeros */
    struct limit_whom whom;
    struct limit limit;
};

enum { SYS_ACCESS_SIZE_MAX = 400 }; /* of any of them */

size_t sys_grant_encode(const struct sys_grant *in, uint8_t *out, size_t capacity);
bool sys_grant_decode(const uint8_t *payload, size_t length, struct sys_grant *out);
size_t sys_group_encode(const struct sys_group *in, uint8_t *out, size_t capacity);
bool sys_group_decode(const uint8_t *payload, size_t length, struct sys_group *out);
size_t sys_limit_encode(const struct sys_limit *in, uint8_t *out, size_t capacity);
bool sys_limit_decode(const uint8_t *payload, size_t length, struct sys_limit *out);

#endif
