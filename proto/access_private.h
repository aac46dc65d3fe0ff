/* How access keeps what it knows: shared by access*.c, and nobody else. */
#ifndef CANTUS_PROTO_ACCESS_PRIVATE_H
#define CANTUS_PROTO_ACCESS_PRIVATE_H

#include <string.h>

#include "proto/access.h"

enum { ACCESS_RIGHTS_COUNT = 3 };
#define ACCESS_NONE UINT32_MAX

struct access_region {
    uint32_t parent; /* the next larger region around it, or ACCESS_NONE */
    uint16_t length;
    char path[TOPIC_PATH_MAX + 1];
};

struct access_given {
    uint32_t region;
    uint32_t subject; /* a row: of a principal, or behind those of all principals, of a group */
    uint8_t rights;
};

struct access_membership {
    uint32_t group;
    uint32_t principal;
};

/* Where the tables lie, as offsets from the block's own address. */
struct access_layout {
    size_t regions, order, grants, members, groups, keys, index, own, whole, marks, size;
    uint32_t slots; /* of the index: a power of two */
    uint32_t words; /* of one right's bits in a row */
};

struct access {
    struct access_options options;
    struct access_layout layout;
    uint32_t region_count, grant_count, member_count, group_count, principal_count;
    uint64_t version;
};

static inline void *access_table(struct access *a, size_t offset)
{
    return (uint8_t *)a + offset;
}

static inline const void *access_table_of(const struct access *a, size_t offset)
{
    return (const uint8_t *)a + offset;
}

static inline const struct access_region *access_regions(const struct access *a)
{
    return access_table_of(a, a->layout.regions);
}

static inline const struct access_given *access_given_of(const struct access *a)
{
    return access_table_of(a, a->layout.grants);
}

static inline const struct access_membership *access_memberships(const struct access *a)
{
    return access_table_of(a, a->layout.members);
}

static inline const char *access_group_name(const struct access *a, uint32_t group)
{
    return (const char *)access_table_of(a, a->layout.groups) +
           (size_t)group * (ACCESS_GROUP_MAX + 1);
}

static inline const uint8_t *access_key_of(const struct access *a, uint32_t principal)
{
    return (const uint8_t *)access_table_of(a, a->layout.keys) +
           (size_t)principal * ACCESS_KEY_SIZE;
}

static inline bool access_is_group(const struct access *a, uint32_t subject)
{
    return subject >= a->options.principals_max;
}

/* Its number, or ACCESS_NONE. */
uint32_t access_find_principal(const struct access *a, const uint8_t key[ACCESS_KEY_SIZE]);

#endif
