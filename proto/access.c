#include "proto/access.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/hash.h"

enum { RIGHTS = 3, GROUPS_HIGH = 1024 };
#define NONE UINT32_MAX

struct region {
    uint32_t parent; /* the next larger region around it, or NONE */
    uint16_t length;
    char path[TOPIC_PATH_MAX + 1];
};

struct grant {
    uint32_t region;
    uint32_t subject; /* a row: of a principal, or behind those of all principals, of a group */
    uint8_t rights;
};

struct member {
    uint32_t group;
    uint32_t principal;
};

/* Where the tables lie, as offsets from the block's own address. */
struct layout {
    size_t regions, order, grants, members, groups, keys, index, own, whole, marks, size;
    uint32_t slots; /* of the index: a power of two */
    uint32_t words; /* of one right's bits in a row */
};

struct access {
    struct access_options options;
    struct layout layout;
    uint32_t region_count, grant_count, member_count, group_count, principal_count;
    uint64_t version;
};

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

static struct layout layout_of(struct access_options o)
{
    struct layout l = { .slots = 64, .words = (o.regions_max + 63) / 64 };
    while (l.slots < 2 * o.principals_max)
        l.slots *= 2;
    size_t row = (size_t)l.words * RIGHTS * sizeof(uint64_t), at = 0;
    (void)place(&at, sizeof(struct access));
    l.regions = place(&at, o.regions_max * sizeof(struct region));
    l.order = place(&at, o.regions_max * sizeof(uint32_t));
    l.grants = place(&at, o.grants_max * sizeof(struct grant));
    l.members = place(&at, o.members_max * sizeof(struct member));
    l.groups = place(&at, (size_t)o.groups_max * (ACCESS_GROUP_MAX + 1));
    l.keys = place(&at, (size_t)o.principals_max * ACCESS_KEY_SIZE);
    l.index = place(&at, l.slots * sizeof(uint32_t));
    l.own = place(&at, ((size_t)o.principals_max + o.groups_max) * row);
    l.whole = place(&at, o.principals_max * row);
    l.marks = place(&at, o.principals_max);
    l.size = at;
    return l;
}

static void *table(struct access *a, size_t offset)
{
    return (uint8_t *)a + offset;
}

static const void *table_of(const struct access *a, size_t offset)
{
    return (const uint8_t *)a + offset;
}

static const struct region *regions_of(const struct access *a)
{
    return table_of(a, a->layout.regions);
}

static const struct grant *grants_of(const struct access *a)
{
    return table_of(a, a->layout.grants);
}

static const struct member *members_of(const struct access *a)
{
    return table_of(a, a->layout.members);
}

static const char *group_of(const struct access *a, uint32_t group)
{
    return (const char *)table_of(a, a->layout.groups) + (size_t)group * (ACCESS_GROUP_MAX + 1);
}

static const uint8_t *key_of(const struct access *a, uint32_t principal)
{
    return (const uint8_t *)table_of(a, a->layout.keys) + (size_t)principal * ACCESS_KEY_SIZE;
}

/* The bits of one right. Rows of groups come behind those of the principals. */
static uint64_t *own_row(struct access *a, uint32_t subject, uint32_t right)
{
    return (uint64_t *)table(a, a->layout.own) +
           ((size_t)subject * RIGHTS + right) * a->layout.words;
}

static uint64_t *whole_row(struct access *a, uint32_t principal, uint32_t right)
{
    return (uint64_t *)table(a, a->layout.whole) +
           ((size_t)principal * RIGHTS + right) * a->layout.words;
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

static bool is_group(const struct access *a, uint32_t subject)
{
    return subject >= a->options.principals_max;
}

static void add_region(struct access *a, const char *path, size_t length, uint32_t parent)
{
    struct region *r = (struct region *)table(a, a->layout.regions) + a->region_count;
    uint32_t *order = table(a, a->layout.order);
    r->parent = parent;
    r->length = (uint16_t)length;
    memcpy(r->path, path, length);
    r->path[length] = 0;
    /* Ascending in length, so that what contains comes before what is contained. */
    uint32_t at = a->region_count;
    for (; at > 0 && regions_of(a)[order[at - 1]].length > length; at--)
        order[at] = order[at - 1];
    order[at] = a->region_count++;
}

static uint32_t slot_of(const struct access *a, const uint8_t key[ACCESS_KEY_SIZE])
{
    const uint32_t *index = table_of(a, a->layout.index);
    uint32_t mask = a->layout.slots - 1;
    uint32_t at = (uint32_t)hash64(key, ACCESS_KEY_SIZE, 0) & mask;
    while (index[at] != 0 && memcmp(key_of(a, index[at]), key, ACCESS_KEY_SIZE) != 0)
        at = (at + 1) & mask;
    return at;
}

static size_t row_bytes(const struct access *a)
{
    return (size_t)a->layout.words * RIGHTS * sizeof(uint64_t);
}

/* Tables are not zeroed before they are used: a new subject has nothing. */
static void clear_subject(struct access *a, uint32_t subject)
{
    memset(own_row(a, subject, 0), 0, row_bytes(a));
    if (is_group(a, subject))
        return;
    memset(whole_row(a, subject, 0), 0, row_bytes(a));
    ((uint8_t *)table(a, a->layout.marks))[subject] = 0;
}

static uint32_t add_principal(struct access *a, const uint8_t key[ACCESS_KEY_SIZE])
{
    uint32_t principal = a->principal_count++;
    clear_subject(a, principal);
    ((uint32_t *)table(a, a->layout.index))[slot_of(a, key)] = principal;
    memcpy((uint8_t *)table(a, a->layout.keys) + (size_t)principal * ACCESS_KEY_SIZE, key,
           ACCESS_KEY_SIZE);
    return principal;
}

void access_reset(struct access *a, const uint8_t admin_key[ACCESS_KEY_SIZE])
{
    clear_subject(a, ACCESS_PRINCIPAL_ANYONE);
    memset(table(a, a->layout.index), 0, a->layout.slots * sizeof(uint32_t));
    a->region_count = a->grant_count = a->member_count = a->group_count = 0;
    a->principal_count = ACCESS_PRINCIPAL_ADMIN;
    a->version = 0;
    add_region(a, "/", 1, NONE);
    add_region(a, "/sys", 4, NONE);
    (void)add_principal(a, admin_key);
    memset(own_row(a, ACCESS_PRINCIPAL_ADMIN, 0), 0xff, row_bytes(a));
    memset(whole_row(a, ACCESS_PRINCIPAL_ADMIN, 0), 0xff, row_bytes(a));
}

static void copy_table(struct access *to, const struct access *from, size_t offset, size_t bytes)
{
    memcpy(table(to, offset), table_of(from, offset), bytes);
}

/* Only what is in use. */
void access_copy(struct access *to, const struct access *from)
{
    const struct layout *l = &from->layout;
    assert(to->layout.size == l->size);
    size_t row = row_bytes(from);
    memcpy(to, from, sizeof *to);
    copy_table(to, from, l->regions, from->region_count * sizeof(struct region));
    copy_table(to, from, l->order, from->region_count * sizeof(uint32_t));
    copy_table(to, from, l->grants, from->grant_count * sizeof(struct grant));
    copy_table(to, from, l->members, from->member_count * sizeof(struct member));
    copy_table(to, from, l->groups, (size_t)from->group_count * (ACCESS_GROUP_MAX + 1));
    copy_table(to, from, l->keys, (size_t)from->principal_count * ACCESS_KEY_SIZE);
    copy_table(to, from, l->index, l->slots * sizeof(uint32_t));
    copy_table(to, from, l->own, from->principal_count * row);
    copy_table(to, from, l->own + from->options.principals_max * row, from->group_count * row);
    copy_table(to, from, l->whole, from->principal_count * row);
    copy_table(to, from, l->marks, from->principal_count);
}

/* ---- names ----------------------------------------------------------------------------------- */

bool access_group_valid(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > ACCESS_GROUP_MAX)
        return false;
    char path[ACCESS_GROUP_MAX + 2] = "/";
    memcpy(path + 1, name, length + 1);
    return memchr(name, '/', length) == NULL && topic_path_check(path, length + 1) == NULL;
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void access_key_write(const uint8_t key[ACCESS_KEY_SIZE], char out[ACCESS_KEY_TEXT + 1])
{
    uint32_t bits = 0, held = 0, at = 0;
    for (uint32_t i = 0; i < ACCESS_KEY_SIZE; i++) {
        bits = bits << 8 | key[i];
        for (held += 8; held >= 6; held -= 6)
            out[at++] = alphabet[bits >> (held - 6) & 63];
    }
    out[at++] = alphabet[bits << (6 - held) & 63];
    assert(at == ACCESS_KEY_TEXT);
    out[at] = 0;
}

bool access_key_read(const char *text, size_t length, uint8_t key[ACCESS_KEY_SIZE])
{
    uint32_t bits = 0, held = 0, at = 0;
    if (length != ACCESS_KEY_TEXT)
        return false;
    for (size_t i = 0; i < length; i++) {
        const char *c = text[i] == 0 ? NULL : strchr(alphabet, text[i]);
        if (c == NULL)
            return false;
        bits = bits << 6 | (uint32_t)(c - alphabet);
        held += 6;
        if (held >= 8) {
            held -= 8;
            key[at++] = (uint8_t)(bits >> held);
        }
    }
    return (bits & ((1u << held) - 1)) == 0; /* each key is written in one way */
}

bool access_identity_key(const char *identity, uint8_t key[ACCESS_KEY_SIZE])
{
    size_t length = strlen(identity);
    return length > 1 + ACCESS_KEY_TEXT + 1 && identity[0] == '@' &&
           identity[1 + ACCESS_KEY_TEXT] == ':' &&
           access_key_read(identity + 1, ACCESS_KEY_TEXT, key);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* What a subject was granted itself, spread to all that lies below. */
static void compute_own(struct access *a, uint32_t subject)
{
    const struct region *regions = regions_of(a);
    const uint32_t *order = table_of(a, a->layout.order);
    if (subject == ACCESS_PRINCIPAL_ADMIN)
        return;
    memset(own_row(a, subject, 0), 0, row_bytes(a));
    for (uint32_t i = 0; i < a->grant_count; i++) {
        const struct grant *g = &grants_of(a)[i];
        for (uint32_t k = 0; g->subject == subject && k < RIGHTS; k++)
            if ((g->rights >> k & 1) != 0)
                own_row(a, subject, k)[g->region / 64] |= UINT64_C(1) << g->region % 64;
    }
    for (uint32_t k = 0; k < RIGHTS; k++) {
        uint64_t *row = own_row(a, subject, k);
        for (uint32_t i = 0; i < a->region_count; i++) {
            uint32_t r = order[i], parent = regions[r].parent;
            if (parent != NONE && (row[parent / 64] >> parent % 64 & 1) != 0)
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
    uint8_t *marks = table(a, a->layout.marks);
    size_t words = (size_t)a->layout.words * RIGHTS;
    for (uint32_t p = 0; p < a->principal_count; p++) {
        if (marks[p] == 0)
            continue;
        memcpy(whole_row(a, p, 0), own_row(a, p, 0), row_bytes(a));
        add_row(whole_row(a, p, 0), own_row(a, ACCESS_PRINCIPAL_ANYONE, 0), words);
    }
    for (uint32_t i = 0; i < a->member_count; i++) {
        const struct member *m = &members_of(a)[i];
        if (marks[m->principal] == 0)
            continue;
        add_row(whole_row(a, m->principal, 0), own_row(a, a->options.principals_max + m->group, 0),
                words);
    }
    memset(marks, 0, a->principal_count);
}

static void mark(struct access *a, uint32_t subject)
{
    uint8_t *marks = table(a, a->layout.marks);
    if (subject == ACCESS_PRINCIPAL_ANYONE)
        memset(marks, 1, a->principal_count);
    else if (!is_group(a, subject))
        marks[subject] = 1;
    for (uint32_t i = 0; is_group(a, subject) && i < a->member_count; i++)
        if (members_of(a)[i].group == subject - a->options.principals_max)
            marks[members_of(a)[i].principal] = 1;
}

/* ---- changes --------------------------------------------------------------------------------- */

static uint32_t find_region(const struct access *a, const char *path, size_t length)
{
    for (uint32_t i = 0; i < a->region_count; i++)
        if (regions_of(a)[i].length == length && memcmp(regions_of(a)[i].path, path, length) == 0)
            return i;
    return NONE;
}

static bool below(const struct region *inner, const struct region *outer)
{
    return topic_in_subtree(inner->path, inner->length, outer->path, outer->length);
}

/* A region inside of another has its rights from the start; those inside of it change their parent. */
static void begin_region(struct access *a, const char *path, size_t length)
{
    uint32_t parent = access_region_of(a, path, length), r = a->region_count;
    add_region(a, path, length, parent);
    struct region *regions = table(a, a->layout.regions);
    for (uint32_t i = 0; i < r; i++)
        if (regions[i].parent == parent && below(&regions[i], &regions[r]))
            regions[i].parent = r;
    for (uint32_t s = 0; s < a->options.principals_max + a->group_count; s++) {
        if (s == a->principal_count)
            s = a->options.principals_max;
        for (uint32_t k = 0; k < RIGHTS; k++) {
            uint64_t *own = own_row(a, s, k);
            own[r / 64] |= (own[parent / 64] >> parent % 64 & 1) << r % 64;
            if (is_group(a, s))
                continue;
            uint64_t *whole = whole_row(a, s, k);
            whole[r / 64] |= (whole[parent / 64] >> parent % 64 & 1) << r % 64;
        }
    }
}

static uint32_t find_group(const struct access *a, const char *name)
{
    for (uint32_t i = 0; i < a->group_count; i++)
        if (strcmp(group_of(a, i), name) == 0)
            return i;
    return NONE;
}

static uint32_t find_principal(const struct access *a, const uint8_t key[ACCESS_KEY_SIZE])
{
    uint32_t found = ((const uint32_t *)table_of(a, a->layout.index))[slot_of(a, key)];
    return found != 0 ? found : NONE;
}

/* The row that a grant is for, NONE if there is none yet. */
static uint32_t find_subject(const struct access *a, const struct access_whom *whom)
{
    if (whom->who == ACCESS_ANYONE)
        return ACCESS_PRINCIPAL_ANYONE;
    if (whom->who == ACCESS_KEY)
        return find_principal(a, whom->key);
    uint32_t group = find_group(a, whom->group);
    return group != NONE ? a->options.principals_max + group : NONE;
}

static uint32_t add_group(struct access *a, const char *name)
{
    char *to = (char *)table(a, a->layout.groups) + (size_t)a->group_count * (ACCESS_GROUP_MAX + 1);
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

/* NONE: it has nothing in this very region. */
static uint32_t find_grant(const struct access *a, uint32_t subject, uint32_t region)
{
    const struct grant *grants = grants_of(a);
    for (uint32_t i = 0; i < a->grant_count; i++)
        if (grants[i].subject == subject && grants[i].region == region)
            return i;
    return NONE;
}

static void take_back(struct access *a, uint32_t i, uint8_t rights)
{
    struct grant *grants = table(a, a->layout.grants);
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
    struct grant *grants = table(a, a->layout.grants);
    uint32_t i = find_grant(a, subject, region);
    if (i == NONE) {
        i = a->grant_count++;
        grants[i] = (struct grant) { .subject = subject, .region = region };
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
    uint32_t known = subject == NONE || region == NONE ? NONE : find_grant(a, subject, region);
    uint8_t has = known == NONE ? 0 : grants_of(a)[known].rights;
    if (revoke)
        return (has & g->rights) == 0 ? ACCESS_UNCHANGED : ACCESS_OK;
    if ((has & g->rights) == g->rights)
        return ACCESS_UNCHANGED;
    if ((known == NONE && a->grant_count == a->options.grants_max) ||
        (region == NONE && a->region_count == a->options.regions_max) ||
        (subject == NONE && !room_for_subject(a, &g->whom)))
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
    if (subject == NONE)
        subject = g->whom.who == ACCESS_KEY
                      ? add_principal(a, g->whom.key)
                      : a->options.principals_max + add_group(a, g->whom.group);
    if (region == NONE) {
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
    while (i < a->member_count &&
           (members_of(a)[i].group != group || members_of(a)[i].principal != principal))
        i++;
    return i;
}

enum access_verdict access_refuses_member(const struct access *a, const char *group,
                                          const uint8_t key[ACCESS_KEY_SIZE], bool remove)
{
    if (!access_group_valid(group))
        return ACCESS_MALFORMED;
    uint32_t g = find_group(a, group), p = find_principal(a, key);
    if (remove != (find_member(a, g, p) < a->member_count))
        return ACCESS_UNCHANGED;
    if (!remove && (a->member_count == a->options.members_max ||
                    (g == NONE && a->group_count == a->options.groups_max) ||
                    (p == NONE && a->principal_count == a->options.principals_max)))
        return ACCESS_FULL;
    return ACCESS_OK;
}

enum access_verdict access_member(struct access *a, const char *group,
                                  const uint8_t key[ACCESS_KEY_SIZE], bool remove)
{
    enum access_verdict verdict = access_refuses_member(a, group, key, remove);
    if (verdict != ACCESS_OK)
        return verdict;
    uint32_t g = find_group(a, group), p = find_principal(a, key);
    struct member *members = table(a, a->layout.members);
    if (remove) {
        uint32_t i = find_member(a, g, p);
        a->member_count--;
        memmove(&members[i], &members[i + 1], (a->member_count - i) * sizeof members[0]);
    } else {
        g = g != NONE ? g : add_group(a, group);
        p = p != NONE ? p : add_principal(a, key);
        members[a->member_count++] = (struct member) { .group = g, .principal = p };
    }
    mark(a, p);
    compute_whole(a);
    a->version++;
    return ACCESS_OK;
}

/* ---- questions ------------------------------------------------------------------------------- */

uint32_t access_region_of(const struct access *a, const char *path, size_t length)
{
    const uint32_t *order = table_of(a, a->layout.order);
    for (uint32_t i = a->region_count; i > 0; i--) {
        const struct region *r = &regions_of(a)[order[i - 1]];
        if (order[i - 1] != ACCESS_REGION_REST &&
            topic_in_subtree(path, length, r->path, r->length))
            return order[i - 1];
    }
    return ACCESS_REGION_REST;
}

uint32_t access_region_parent(const struct access *a, uint32_t region)
{
    assert(region > ACCESS_REGION_SYS && region < a->region_count);
    return regions_of(a)[region].parent;
}

uint32_t access_principal_of(const struct access *a, const uint8_t key[ACCESS_KEY_SIZE])
{
    uint32_t found = find_principal(a, key);
    return found != NONE ? found : ACCESS_PRINCIPAL_ANYONE;
}

const uint64_t *access_row(const struct access *a, uint32_t principal, enum access_right right)
{
    assert(principal < a->principal_count);
    const uint64_t *rows = table_of(a, a->layout.whole);
    return rows + ((size_t)principal * RIGHTS + (uint32_t)right / 2) * a->layout.words;
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
    const struct grant *g = &grants_of(a)[index];
    *out = (struct access_grant) { .rights = g->rights, .subtree = regions_of(a)[g->region].path };
    if (is_group(a, g->subject)) {
        out->whom.who = ACCESS_GROUP;
        memcpy(out->whom.group, group_of(a, g->subject - a->options.principals_max),
               sizeof out->whom.group);
    } else if (g->subject == ACCESS_PRINCIPAL_ANYONE) {
        out->whom.who = ACCESS_ANYONE;
    } else {
        out->whom.who = ACCESS_KEY;
        memcpy(out->whom.key, key_of(a, g->subject), ACCESS_KEY_SIZE);
    }
    return true;
}

bool access_member_at(const struct access *a, uint32_t index, const char **group,
                      const uint8_t **key)
{
    if (index >= a->member_count)
        return false;
    *group = group_of(a, members_of(a)[index].group);
    *key = key_of(a, members_of(a)[index].principal);
    return true;
}

uint64_t access_digest(const struct access *a, uint64_t seed)
{
    uint64_t h = seed;
    for (uint32_t p = ACCESS_PRINCIPAL_ADMIN; p < a->principal_count; p++)
        h = hash64(key_of(a, p), ACCESS_KEY_SIZE, h);
    for (uint32_t i = 0; i < a->group_count; i++)
        h = hash64(group_of(a, i), strlen(group_of(a, i)), h);
    for (uint32_t i = ACCESS_REGION_SYS + 1; i < a->region_count; i++)
        h = hash64(regions_of(a)[i].path, regions_of(a)[i].length, h);
    for (uint32_t i = 0; i < a->grant_count; i++) {
        const struct grant *g = &grants_of(a)[i];
        /* Rows of groups are numbered behind the options' principals: here behind nothing. */
        uint32_t number =
            is_group(a, g->subject) ? g->subject - a->options.principals_max : g->subject;
        uint8_t bytes[10] = { g->rights, is_group(a, g->subject) };
        memcpy(bytes + 2, &g->region, 4);
        memcpy(bytes + 6, &number, 4);
        h = hash64(bytes, sizeof bytes, h);
    }
    for (uint32_t i = 0; i < a->member_count; i++) {
        uint8_t bytes[8];
        memcpy(bytes, &members_of(a)[i].group, 4);
        memcpy(bytes + 4, &members_of(a)[i].principal, 4);
        h = hash64(bytes, sizeof bytes, h);
    }
    return h;
}
