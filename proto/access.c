#include "proto/access_private.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/hash.h"

enum { GROUPS_HIGH = 1024 };

/* ---- memory ---------------------------------------------------------------------------------- */

static uint32_t or_default(uint32_t value, uint32_t otherwise, uint32_t low, uint32_t high)
{
    if (value == 0)
        value = otherwise;
    if (value < low)
        return low;
    return value < high ? value : high;
}

static struct access_options resolve(const struct access_options *options)
{
    struct access_options o = { 0 };
    if (options != NULL)
        o = *options;
    o.principals_max = or_default(o.principals_max, ACCESS_PRINCIPALS_DEFAULT, 4, 1 << 20);
    o.regions_max = or_default(o.regions_max, ACCESS_REGIONS_DEFAULT, 4, 1 << 16);
    o.grants_max = or_default(o.grants_max, ACCESS_GRANTS_DEFAULT, 4, 1 << 20);
    o.members_max = or_default(o.members_max, ACCESS_MEMBERS_DEFAULT, 4, 1 << 20);
    o.groups_max = or_default(o.groups_max, ACCESS_GROUPS_DEFAULT, 1, GROUPS_HIGH);
    return o;
}

static size_t place(size_t *at, size_t bytes)
{
    size_t here = *at;
    *at = (here + bytes + 63) & ~(size_t)63;
    return here;
}

static struct access_layout layout_of(struct access_options o)
{
    struct access_layout l = { .slots = 64, .words = (o.regions_max + 63) / 64 };
    while (l.slots < 2 * o.principals_max)
        l.slots *= 2;
    size_t row = (size_t)l.words * ACCESS_RIGHTS_COUNT * sizeof(uint64_t), at = 0;
    (void)place(&at, sizeof(struct access));
    l.regions = place(&at, o.regions_max * sizeof(struct access_region));
    l.order = place(&at, o.regions_max * sizeof(uint32_t));
    l.grants = place(&at, o.grants_max * sizeof(struct access_given));
    l.members = place(&at, o.members_max * sizeof(struct access_membership));
    l.groups = place(&at, (size_t)o.groups_max * (ACCESS_GROUP_MAX + 1));
    l.keys = place(&at, (size_t)o.principals_max * ACCESS_KEY_SIZE);
    l.index = place(&at, l.slots * sizeof(uint32_t));
    l.own = place(&at, ((size_t)o.principals_max + o.groups_max) * row);
    l.whole = place(&at, o.principals_max * row);
    l.marks = place(&at, o.principals_max);
    l.size = at;
    return l;
}
/* The bits of one right. Rows of groups come behind those of the principals. */
static uint64_t *own_row(struct access *a, uint32_t subject, uint32_t right)
{
    return (uint64_t *)access_table(a, a->layout.own) +
           ((size_t)subject * ACCESS_RIGHTS_COUNT + right) * a->layout.words;
}

static uint64_t *whole_row(struct access *a, uint32_t principal, uint32_t right)
{
    return (uint64_t *)access_table(a, a->layout.whole) +
           ((size_t)principal * ACCESS_RIGHTS_COUNT + right) * a->layout.words;
}

size_t access_memory(const struct access_options *options)
{
    return layout_of(resolve(options)).size;
}

struct access *access_place(void *memory, const struct access_options *options)
{
    struct access *a = memory;
    struct access_options o = resolve(options);
    *a = (struct access) { .options = o, .layout = layout_of(o) };
    static const uint8_t none[ACCESS_KEY_SIZE];
    access_reset(a, none);
    return a;
}

struct access *access_create(const struct access_options *options)
{
    void *memory = malloc(access_memory(options));
    return memory != NULL ? access_place(memory, options) : NULL;
}

void access_destroy(struct access *a)
{
    free(a);
}
static void add_region(struct access *a, const char *path, size_t length, uint32_t parent)
{
    struct access_region *r =
        (struct access_region *)access_table(a, a->layout.regions) + a->region_count;
    uint32_t *order = access_table(a, a->layout.order);
    r->parent = parent;
    r->length = (uint16_t)length;
    memcpy(r->path, path, length);
    r->path[length] = 0;
    /* Ascending in length, so that what contains comes before what is contained. */
    uint32_t at = a->region_count;
    for (; at > 0 && access_regions(a)[order[at - 1]].length > length; at--)
        order[at] = order[at - 1];
    order[at] = a->region_count++;
}

static uint32_t slot_of(const struct access *a, const uint8_t key[ACCESS_KEY_SIZE])
{
    const uint32_t *index = access_table_of(a, a->layout.index);
    uint32_t mask = a->layout.slots - 1;
    uint32_t at = (uint32_t)hash64(key, ACCESS_KEY_SIZE, 0) & mask;
    while (index[at] != 0 && memcmp(access_key_of(a, index[at]), key, ACCESS_KEY_SIZE) != 0)
        at = (at + 1) & mask;
    return at;
}

static size_t row_bytes(const struct access *a)
{
    return (size_t)a->layout.words * ACCESS_RIGHTS_COUNT * sizeof(uint64_t);
}

/* Tables are not zeroed before they are used: a new subject has nothing. */
static void clear_subject(struct access *a, uint32_t subject)
{
    memset(own_row(a, subject, 0), 0, row_bytes(a));
    if (access_is_group(a, subject))
        return;
    memset(whole_row(a, subject, 0), 0, row_bytes(a));
    ((uint8_t *)access_table(a, a->layout.marks))[subject] = 0;
}

static uint32_t add_principal(struct access *a, const uint8_t key[ACCESS_KEY_SIZE])
{
    uint32_t principal = a->principal_count++;
    clear_subject(a, principal);
    ((uint32_t *)access_table(a, a->layout.index))[slot_of(a, key)] = principal;
    memcpy((uint8_t *)access_table(a, a->layout.keys) + (size_t)principal * ACCESS_KEY_SIZE, key,
           ACCESS_KEY_SIZE);
    return principal;
}

void access_reset(struct access *a, const uint8_t admin_key[ACCESS_KEY_SIZE])
{
    clear_subject(a, ACCESS_PRINCIPAL_ANYONE);
    memset(access_table(a, a->layout.index), 0, a->layout.slots * sizeof(uint32_t));
    a->region_count = a->grant_count = a->member_count = a->group_count = 0;
    a->principal_count = ACCESS_PRINCIPAL_ADMIN;
    a->version = 0;
    add_region(a, "/", 1, ACCESS_NONE);
    add_region(a, "/sys", 4, ACCESS_NONE);
    (void)add_principal(a, admin_key);
    memset(own_row(a, ACCESS_PRINCIPAL_ADMIN, 0), 0xff, row_bytes(a));
    memset(whole_row(a, ACCESS_PRINCIPAL_ADMIN, 0), 0xff, row_bytes(a));
}

static void copy_table(struct access *to, const struct access *from, size_t offset, size_t bytes)
{
    memcpy(access_table(to, offset), access_table_of(from, offset), bytes);
}

/* Only what is in use. */
void access_copy(struct access *to, const struct access *from)
{
    const struct access_layout *l = &from->layout;
    assert(to->layout.size == l->size);
    size_t row = row_bytes(from);
    memcpy(to, from, sizeof *to);
    copy_table(to, from, l->regions, from->region_count * sizeof(struct access_region));
    copy_table(to, from, l->order, from->region_count * sizeof(uint32_t));
    copy_table(to, from, l->grants, from->grant_count * sizeof(struct access_given));
    copy_table(to, from, l->members, from->member_count * sizeof(struct access_membership));
    copy_table(to, from, l->groups, (size_t)from->group_count * (ACCESS_GROUP_MAX + 1));
    copy_table(to, from, l->keys, (size_t)from->principal_count * ACCESS_KEY_SIZE);
    copy_table(to, from, l->index, l->slots * sizeof(uint32_t));
    copy_table(to, from, l->own, from->principal_count * row);
    copy_table(to, from, l->own + from->options.principals_max * row, from->group_count * row);
    copy_table(to, from, l->whole, from->principal_count * row);
    copy_table(to, from, l->marks, from->principal_count);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* What a subject was granted itself, spread to all that lies below. */
static void compute_own(struct access *a, uint32_t subject)
{
    const struct access_region *regions = access_regions(a);
    const uint32_t *order = access_table_of(a, a->layout.order);
    if (subject == ACCESS_PRINCIPAL_ADMIN)
        return;
    memset(own_row(a, subject, 0), 0, row_bytes(a));
    for (uint32_t i = 0; i < a->grant_count; i++) {
        const struct access_given *g = &access_given_of(a)[i];
        for (uint32_t k = 0; g->subject == subject && k < ACCESS_RIGHTS_COUNT; k++)
            if ((g->rights >> k & 1) != 0)
                own_row(a, subject, k)[g->region / 64] |= UINT64_C(1) << g->region % 64;
    }
    for (uint32_t k = 0; k < ACCESS_RIGHTS_COUNT; k++) {
        uint64_t *row = own_row(a, subject, k);
        for (uint32_t i = 0; i < a->region_count; i++) {
            uint32_t r = order[i], parent = regions[r].parent;
            if (parent != ACCESS_NONE && (row[parent / 64] >> parent % 64 & 1) != 0)
                row[r / 64] |= UINT64_C(1) << r % 64;
        }
    }
}

static void add_row(uint64_t *to, const uint64_t *from, size_t words)
{
    for (size_t w = 0; w < words; w++)
        to[w] |= from[w];
}

/* The rows of the marked principals: their own, anyone's, and those of their groups. */
static void compute_whole(struct access *a)
{
    uint8_t *marks = access_table(a, a->layout.marks);
    size_t words = (size_t)a->layout.words * ACCESS_RIGHTS_COUNT;
    for (uint32_t p = 0; p < a->principal_count; p++) {
        if (marks[p] == 0)
            continue;
        memcpy(whole_row(a, p, 0), own_row(a, p, 0), row_bytes(a));
        add_row(whole_row(a, p, 0), own_row(a, ACCESS_PRINCIPAL_ANYONE, 0), words);
    }
    for (uint32_t i = 0; i < a->member_count; i++) {
        const struct access_membership *m = &access_memberships(a)[i];
        if (marks[m->principal] == 0)
            continue;
        add_row(whole_row(a, m->principal, 0), own_row(a, a->options.principals_max + m->group, 0),
                words);
    }
    memset(marks, 0, a->principal_count);
}

static void mark(struct access *a, uint32_t subject)
{
    uint8_t *marks = access_table(a, a->layout.marks);
    if (subject == ACCESS_PRINCIPAL_ANYONE)
        memset(marks, 1, a->principal_count);
    else if (!access_is_group(a, subject))
        marks[subject] = 1;
    for (uint32_t i = 0; access_is_group(a, subject) && i < a->member_count; i++)
        if (access_memberships(a)[i].group == subject - a->options.principals_max)
            marks[access_memberships(a)[i].principal] = 1;
}

/* ---- changes --------------------------------------------------------------------------------- */

static uint32_t find_region(const struct access *a, const char *path, size_t length)
{
    for (uint32_t i = 0; i < a->region_count; i++)
        if (access_regions(a)[i].length == length &&
            memcmp(access_regions(a)[i].path, path, length) == 0)
            return i;
    return ACCESS_NONE;
}

static bool below(const struct access_region *inner, const struct access_region *outer)
{
    return topic_in_subtree(inner->path, inner->length, outer->path, outer->length);
}

/* A region inside of another has its rights from the start; those inside of it change their parent. */
static void begin_region(struct access *a, const char *path, size_t length)
{
    uint32_t parent = access_region_of(a, path, length), r = a->region_count;
    add_region(a, path, length, parent);
    struct access_region *regions = access_table(a, a->layout.regions);
    for (uint32_t i = 0; i < r; i++)
        if (regions[i].parent == parent && below(&regions[i], &regions[r]))
            regions[i].parent = r;
    for (uint32_t s = 0; s < a->options.principals_max + a->group_count; s++) {
        if (s == a->principal_count)
            s = a->options.principals_max;
        for (uint32_t k = 0; k < ACCESS_RIGHTS_COUNT; k++) {
            uint64_t *own = own_row(a, s, k);
            own[r / 64] |= (own[parent / 64] >> parent % 64 & 1) << r % 64;
            if (access_is_group(a, s))
                continue;
            uint64_t *whole = whole_row(a, s, k);
            whole[r / 64] |= (whole[parent / 64] >> parent % 64 & 1) << r % 64;
        }
    }
}

static uint32_t find_group(const struct access *a, const char *name)
{
    for (uint32_t i = 0; i < a->group_count; i++)
        if (strcmp(access_group_name(a, i), name) == 0)
            return i;
    return ACCESS_NONE;
}

uint32_t access_find_principal(const struct access *a, const uint8_t key[ACCESS_KEY_SIZE])
{
    uint32_t found = ((const uint32_t *)access_table_of(a, a->layout.index))[slot_of(a, key)];
    return found != 0 ? found : ACCESS_NONE;
}

/* The row that a grant is for, ACCESS_NONE if there is none yet. */
static uint32_t find_subject(const struct access *a, const struct access_whom *whom)
{
    if (whom->who == ACCESS_ANYONE)
        return ACCESS_PRINCIPAL_ANYONE;
    if (whom->who == ACCESS_KEY)
        return access_find_principal(a, whom->key);
    uint32_t group = find_group(a, whom->group);
    return group != ACCESS_NONE ? a->options.principals_max + group : ACCESS_NONE;
}

static uint32_t add_group(struct access *a, const char *name)
{
    char *to =
        (char *)access_table(a, a->layout.groups) + (size_t)a->group_count * (ACCESS_GROUP_MAX + 1);
    memset(to, 0, ACCESS_GROUP_MAX + 1);
    memcpy(to, name, strlen(name));
    clear_subject(a, a->options.principals_max + a->group_count);
    return a->group_count++;
}

static bool whom_valid(const struct access_whom *whom)
{
    return whom->who == ACCESS_ANYONE || whom->who == ACCESS_KEY ||
           (whom->who == ACCESS_GROUP && access_group_valid(whom->group));
}

static bool room_for_subject(const struct access *a, const struct access_whom *whom)
{
    return whom->who == ACCESS_GROUP ? a->group_count < a->options.groups_max
                                     : a->principal_count < a->options.principals_max;
}

static void changed(struct access *a, uint32_t subject)
{
    compute_own(a, subject);
    mark(a, subject);
    compute_whole(a);
    a->version++;
}

/* ACCESS_NONE: it has nothing in this very region. */
static uint32_t find_grant(const struct access *a, uint32_t subject, uint32_t region)
{
    const struct access_given *grants = access_given_of(a);
    for (uint32_t i = 0; i < a->grant_count; i++)
        if (grants[i].subject == subject && grants[i].region == region)
            return i;
    return ACCESS_NONE;
}

static void take_back(struct access *a, uint32_t i, uint8_t rights)
{
    struct access_given *grants = access_table(a, a->layout.grants);
    uint32_t subject = grants[i].subject;
    grants[i].rights = (uint8_t)(grants[i].rights & ~rights);
    if (grants[i].rights == 0) {
        a->grant_count--;
        memmove(&grants[i], &grants[i + 1], (a->grant_count - i) * sizeof grants[0]);
    }
    changed(a, subject);
}

static void give(struct access *a, uint32_t subject, uint32_t region, uint8_t rights)
{
    struct access_given *grants = access_table(a, a->layout.grants);
    uint32_t i = find_grant(a, subject, region);
    if (i == ACCESS_NONE) {
        i = a->grant_count++;
        grants[i] = (struct access_given) { .subject = subject, .region = region };
    }
    grants[i].rights |= rights;
    changed(a, subject);
}

enum access_verdict access_refuses_grant(const struct access *a, const struct access_grant *g,
                                         bool revoke)
{
    size_t length = strnlen(g->subtree, TOPIC_PATH_MAX + 1);
    if (topic_subtree_check(g->subtree, length) != NULL || g->rights == 0 ||
        (g->rights & ~ACCESS_RIGHTS) != 0 || !whom_valid(&g->whom))
        return ACCESS_MALFORMED;
    uint32_t subject = find_subject(a, &g->whom), region = find_region(a, g->subtree, length);
    uint32_t known = subject == ACCESS_NONE || region == ACCESS_NONE
                         ? ACCESS_NONE
                         : find_grant(a, subject, region);
    uint8_t has = known == ACCESS_NONE ? 0 : access_given_of(a)[known].rights;
    if (revoke)
        return (has & g->rights) == 0 ? ACCESS_UNCHANGED : ACCESS_OK;
    if ((has & g->rights) == g->rights)
        return ACCESS_UNCHANGED;
    if ((known == ACCESS_NONE && a->grant_count == a->options.grants_max) ||
        (region == ACCESS_NONE && a->region_count == a->options.regions_max) ||
        (subject == ACCESS_NONE && !room_for_subject(a, &g->whom)))
        return ACCESS_FULL;
    return ACCESS_OK;
}

enum access_verdict access_grant(struct access *a, const struct access_grant *g, bool revoke,
                                 uint32_t *begun)
{
    *begun = 0;
    enum access_verdict verdict = access_refuses_grant(a, g, revoke);
    if (verdict != ACCESS_OK)
        return verdict;
    size_t length = strlen(g->subtree);
    uint32_t subject = find_subject(a, &g->whom), region = find_region(a, g->subtree, length);
    if (revoke) {
        take_back(a, find_grant(a, subject, region), g->rights);
        return ACCESS_OK;
    }
    if (subject == ACCESS_NONE)
        subject = g->whom.who == ACCESS_KEY
                      ? add_principal(a, g->whom.key)
                      : a->options.principals_max + add_group(a, g->whom.group);
    if (region == ACCESS_NONE) {
        region = a->region_count;
        begin_region(a, g->subtree, length);
        *begun = region;
    }
    give(a, subject, region, g->rights);
    return ACCESS_OK;
}

static uint32_t find_member(const struct access *a, uint32_t group, uint32_t principal)
{
    uint32_t i = 0;
    while (i < a->member_count && (access_memberships(a)[i].group != group ||
                                   access_memberships(a)[i].principal != principal))
        i++;
    return i;
}

enum access_verdict access_refuses_member(const struct access *a, const char *group,
                                          const uint8_t key[ACCESS_KEY_SIZE], bool remove)
{
    if (!access_group_valid(group))
        return ACCESS_MALFORMED;
    uint32_t g = find_group(a, group), p = access_find_principal(a, key);
    if (remove != (find_member(a, g, p) < a->member_count))
        return ACCESS_UNCHANGED;
    if (!remove && (a->member_count == a->options.members_max ||
                    (g == ACCESS_NONE && a->group_count == a->options.groups_max) ||
                    (p == ACCESS_NONE && a->principal_count == a->options.principals_max)))
        return ACCESS_FULL;
    return ACCESS_OK;
}

enum access_verdict access_member(struct access *a, const char *group,
                                  const uint8_t key[ACCESS_KEY_SIZE], bool remove)
{
    enum access_verdict verdict = access_refuses_member(a, group, key, remove);
    if (verdict != ACCESS_OK)
        return verdict;
    uint32_t g = find_group(a, group), p = access_find_principal(a, key);
    struct access_membership *members = access_table(a, a->layout.members);
    if (remove) {
        uint32_t i = find_member(a, g, p);
        a->member_count--;
        memmove(&members[i], &members[i + 1], (a->member_count - i) * sizeof members[0]);
    } else {
        g = g != ACCESS_NONE ? g : add_group(a, group);
        p = p != ACCESS_NONE ? p : add_principal(a, key);
        members[a->member_count++] = (struct access_membership) { .group = g, .principal = p };
    }
    mark(a, p);
    compute_whole(a);
    a->version++;
    return ACCESS_OK;
}
