/* What is asked of access: nothing here changes it. */
#include "proto/access_private.h"

#include <assert.h>

#include "proto/hash.h"

uint32_t access_region_of(const struct access *a, const char *path, size_t length)
{
    const uint32_t *order = access_table_of(a, a->layout.order);
    for (uint32_t i = a->region_count; i > 0; i--) {
        const struct access_region *r = &access_regions(a)[order[i - 1]];
        if (order[i - 1] != ACCESS_REGION_REST &&
            topic_in_subtree(path, length, r->path, r->length))
            return order[i - 1];
    }
    return ACCESS_REGION_REST;
}

uint32_t access_region_parent(const struct access *a, uint32_t region)
{
    assert(region > ACCESS_REGION_SYS && region < a->region_count);
    return access_regions(a)[region].parent;
}

uint32_t access_region_end(const struct access *a)
{
    return a->region_count;
}

const char *access_region_path(const struct access *a, uint32_t region, size_t *length)
{
    assert(region < a->region_count);
    *length = access_regions(a)[region].length;
    return access_regions(a)[region].path;
}

uint32_t access_principal_of(const struct access *a, const uint8_t key[ACCESS_KEY_SIZE])
{
    uint32_t found = access_find_principal(a, key);
    return found != ACCESS_NONE ? found : ACCESS_PRINCIPAL_ANYONE;
}

const uint64_t *access_row(const struct access *a, uint32_t principal, enum access_right right)
{
    assert(principal < a->principal_count);
    const uint64_t *rows = access_table_of(a, a->layout.whole);
    return rows + ((size_t)principal * ACCESS_RIGHTS_COUNT + (uint32_t)right / 2) * a->layout.words;
}

uint32_t access_principal_end(const struct access *a)
{
    return a->principal_count;
}

uint8_t access_rights(const struct access *a, uint32_t principal, uint32_t region)
{
    assert(region < a->region_count);
    uint8_t rights = 0;
    for (uint32_t right = 1; right <= ACCESS_GRANT; right *= 2)
        if ((access_row(a, principal, right)[region / 64] >> region % 64 & 1) != 0)
            rights |= (uint8_t)right;
    return rights;
}

bool access_may_subtree(const struct access *a, uint32_t principal, uint8_t rights,
                        const char *subtree, size_t length)
{
    return (access_rights(a, principal, access_region_of(a, subtree, length)) & rights) == rights;
}

uint64_t access_version(const struct access *a)
{
    return a->version;
}

bool access_grant_at(const struct access *a, uint32_t index, struct access_grant *out)
{
    if (index >= a->grant_count)
        return false;
    const struct access_given *g = &access_given_of(a)[index];
    *out =
        (struct access_grant) { .rights = g->rights, .subtree = access_regions(a)[g->region].path };
    if (access_is_group(a, g->subject)) {
        out->whom.who = ACCESS_GROUP;
        memcpy(out->whom.group, access_group_name(a, g->subject - a->options.principals_max),
               sizeof out->whom.group);
    } else if (g->subject == ACCESS_PRINCIPAL_ANYONE) {
        out->whom.who = ACCESS_ANYONE;
    } else {
        out->whom.who = ACCESS_KEY;
        memcpy(out->whom.key, access_key_of(a, g->subject), ACCESS_KEY_SIZE);
    }
    return true;
}

bool access_member_at(const struct access *a, uint32_t index, const char **group,
                      const uint8_t **key)
{
    if (index >= a->member_count)
        return false;
    *group = access_group_name(a, access_memberships(a)[index].group);
    *key = access_key_of(a, access_memberships(a)[index].principal);
    return true;
}

uint64_t access_digest(const struct access *a, uint64_t seed)
{
    uint64_t h = seed;
    for (uint32_t p = ACCESS_PRINCIPAL_ADMIN; p < a->principal_count; p++)
        h = hash64(access_key_of(a, p), ACCESS_KEY_SIZE, h);
    for (uint32_t i = 0; i < a->group_count; i++)
        h = hash64(access_group_name(a, i), strlen(access_group_name(a, i)), h);
    for (uint32_t i = ACCESS_REGION_SYS + 1; i < a->region_count; i++)
        h = hash64(access_regions(a)[i].path, access_regions(a)[i].length, h);
    for (uint32_t i = 0; i < a->grant_count; i++) {
        const struct access_given *g = &access_given_of(a)[i];
        /* Rows of groups are numbered behind the options' principals: here behind nothing. */
        uint32_t number =
            access_is_group(a, g->subject) ? g->subject - a->options.principals_max : g->subject;
        uint8_t bytes[10] = { g->rights, access_is_group(a, g->subject) };
        memcpy(bytes + 2, &g->region, 4);
        memcpy(bytes + 6, &number, 4);
        h = hash64(bytes, sizeof bytes, h);
    }
    for (uint32_t i = 0; i < a->member_count; i++) {
        uint8_t bytes[8];
        memcpy(bytes, &access_memberships(a)[i].group, 4);
        memcpy(bytes + 4, &access_memberships(a)[i].principal, 4);
        h = hash64(bytes, sizeof bytes, h);
    }
    return h;
}
