/* Access: who may read and write what. Part of the catalog.
 *
 * A grant adds rights on a subtree, and so on all below it, for a key, for a group of keys, or for
 * anyone; only its revocation takes them away. `/` does not include /sys, which is granted by
 * itself. The administrator key of the genesis has every right everywhere.
 *
 * For the check of every message: each topic lies in a region, the smallest subtree that is named by
 * a grant and contains it; each key with a right of its own is a principal, with one row of bits, a bit
 * for each region. So a check is two loads and a bit (access_row). Rows are computed when something
 * under /sys/grant or /sys/group changes, which is rare.
 *
 * A function of the stream; all memory is in one block without pointers into itself, so that the
 * catalog can be copied as bytes. Regions and principals are never given back, so their numbers are the
 * same wherever the same stream was applied. */
#ifndef CANTUS_PROTO_ACCESS_H
#define CANTUS_PROTO_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/topic.h"

enum {
    ACCESS_KEY_SIZE = 32, /* Ed25519 public key */
    ACCESS_KEY_TEXT = 43, /* base64url without padding: how a key is written */
    ACCESS_GROUP_MAX = 31,
    ACCESS_PRINCIPALS_DEFAULT = 4096,
    ACCESS_REGIONS_DEFAULT = 1024,
    ACCESS_GRANTS_DEFAULT = 8192,
    ACCESS_MEMBERS_DEFAULT = 8192, /* of all groups together */
    ACCESS_GROUPS_DEFAULT = 256
};

/* A set of bits. */
enum access_right {
    ACCESS_READ = 1,
    ACCESS_WRITE = 2,
    ACCESS_GRANT = 4, /* may grant and revoke there; on `/` also: groups and limits */
    ACCESS_RIGHTS = 7
};

enum access_who { ACCESS_ANYONE = 1, ACCESS_KEY = 2, ACCESS_GROUP = 3 };

/* Whom a grant is for. */
struct access_whom {
    enum access_who who;
    uint8_t key[ACCESS_KEY_SIZE];     /* ACCESS_KEY */
    char group[ACCESS_GROUP_MAX + 1]; /* ACCESS_GROUP: a topic segment's characters, not empty */
};

struct access_grant {
    struct access_whom whom;
    uint8_t rights;
    const char *subtree;
};

/* Principals by number: nobody in particular, the administrator, then keys as they come up. */
enum { ACCESS_PRINCIPAL_ANYONE = 0, ACCESS_PRINCIPAL_ADMIN = 1, ACCESS_PRINCIPAL_FIRST = 2 };
/* Regions: what no grant names, outside and inside of /sys. */
enum { ACCESS_REGION_REST = 0, ACCESS_REGION_SYS = 1 };

/* 0 means the default. */
struct access_options {
    uint32_t principals_max, regions_max, grants_max, members_max, groups_max;
};

enum access_verdict {
    ACCESS_OK = 0,
    ACCESS_UNCHANGED, /* as it was: granted already, or nothing to revoke */
    ACCESS_MALFORMED, /* a subtree, name or right that can't be */
    ACCESS_FULL
};

struct access;

struct access *access_create(const struct access_options *options); /* NULL: no memory */
void access_destroy(struct access *a);
size_t access_memory(const struct access_options *options);
/* In so many bytes of somebody else's, aligned to 16, which need not be zero. */
struct access *access_place(void *memory, const struct access_options *options);
/* Nothing is granted, and no key but this one has rights. */
void access_reset(struct access *a, const uint8_t admin_key[ACCESS_KEY_SIZE]);
void access_copy(struct access *to, const struct access *from); /* created with equal options */
/* XXH3-64 chain over everything that a check depends on; the same whatever the options. */
uint64_t access_digest(const struct access *a, uint64_t seed);

/* Adds or takes away these rights. A region that begins with it is told in *begun, else it is 0: then
 * the topics of the region's parent that lie in the subtree belong to it. */
enum access_verdict access_grant(struct access *a, const struct access_grant *g, bool revoke,
                                 uint32_t *begun);
enum access_verdict access_member(struct access *a, const char *group,
                                  const uint8_t key[ACCESS_KEY_SIZE], bool remove);
/* What they would answer; nothing changes. */
enum access_verdict access_refuses_grant(const struct access *a, const struct access_grant *g,
                                         bool revoke);
enum access_verdict access_refuses_member(const struct access *a, const char *group,
                                          const uint8_t key[ACCESS_KEY_SIZE], bool remove);

/* ---- questions ------------------------------------------------------------------------------- */
uint32_t access_region_of(const struct access *a, const char *path, size_t length);
uint32_t access_region_parent(const struct access *a, uint32_t region);
uint32_t access_region_end(const struct access *a); /* numbers are below this */
const char *access_region_path(const struct access *a, uint32_t region, size_t *length);
/* ACCESS_PRINCIPAL_ANYONE for a key that no grant or group names. */
uint32_t access_principal_of(const struct access *a, const uint8_t key[ACCESS_KEY_SIZE]);
/* The rights of a principal in a region, anyone's included. */
uint8_t access_rights(const struct access *a, uint32_t principal, uint32_t region);
/* The same for one right and every region: bit r % 64 of word r / 64. Stays where it is; what it says
 * may change with every version. */
const uint64_t *access_row(const struct access *a, uint32_t principal, enum access_right right);
uint32_t access_principal_end(const struct access *a); /* numbers are below this */
/* All of `rights`, anywhere below and at this subtree, hold: for subscriptions. */
bool access_may_subtree(const struct access *a, uint32_t principal, uint8_t rights,
                        const char *subtree, size_t length);
/* Grows by one with every change: whoever keeps what it computed from here asks this first. */
uint64_t access_version(const struct access *a);
/* In the order in which they were first given; for tools. False at the end. */
bool access_grant_at(const struct access *a, uint32_t index, struct access_grant *out);
bool access_member_at(const struct access *a, uint32_t index, const char **group,
                      const uint8_t **key);

/* ---- names ----------------------------------------------------------------------------------- */
bool access_group_valid(const char *name);
void access_key_write(const uint8_t key[ACCESS_KEY_SIZE], char out[ACCESS_KEY_TEXT + 1]);
bool access_key_read(const char *text, size_t length, uint8_t key[ACCESS_KEY_SIZE]);
/* The identity of a key's publisher: "@KEY:name", name of 1 to 18 bytes. Identities without "@" are those
 * of the core network, which is trusted. False: it has no key in it, or not a well-formed one. */
bool access_identity_key(const char *identity, uint8_t key[ACCESS_KEY_SIZE]);

#endif
