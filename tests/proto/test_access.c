/* Goal: every question to the access table is answered as by a list of grants that is read from the
 * beginning each time. Method: random grants, revocations and memberships over a small world of paths,
 * keys and groups, with both asked about everything after each; then the limits, and the names. */
#include <stdio.h>

#include "proto/access.h"
#include "tests/proto/suite.h"

enum { PATHS = 12, KEYS = 6, GROUPS = 3, LIST = 256, STEPS = 3000 };

static const char *const paths[PATHS] = {
    "/",        "/a", "/a/b", "/a/b/c", "/ab",        "/d/e",
    "/d/e/f/g", "/d", "/sys", "/sys/x", "/sys/x/y/z", "/a/bc"
};
static const char *const topics[] = { "/a",         "/a/b",    "/a/b/c",     "/a/b/c/d",
                                      "/a/b/cc",    "/a/bc/d", "/ab",        "/abc",
                                      "/d",         "/d/e/f",  "/d/e/f/g/h", "/sys/x",
                                      "/sys/x/y/z", "/sys/y",  "/sysx",      "/else/where",
                                      "/sys/x/y",   "/d/ee" };
static const char *const groups[GROUPS] = { "traders", "ops", "risk.eu" };

static uint64_t state;

static uint32_t draw(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % below;
}

static const uint8_t *key_number(uint32_t i)
{
    static uint8_t keys[KEYS][ACCESS_KEY_SIZE];
    memset(keys[i], (int)(7 + i), ACCESS_KEY_SIZE);
    return keys[i];
}

/* ---- the model ------------------------------------------------------------------------------- */

struct model {
    struct {
        uint32_t whom; /* 0 anyone, 1.. keys, then groups */
        uint32_t path;
        uint8_t rights;
    } grants[LIST];
    uint32_t count;
    bool member[GROUPS][KEYS];
};

static bool contains(const char *subtree, const char *topic)
{
    bool sys = strncmp(topic, "/sys/", 5) == 0 || strcmp(topic, "/sys") == 0;
    if (strcmp(subtree, "/") == 0)
        return !sys;
    size_t n = strlen(subtree);
    return strncmp(topic, subtree, n) == 0 && (topic[n] == 0 || topic[n] == '/');
}

static uint8_t model_rights(const struct model *m, uint32_t key, const char *topic)
{
    uint8_t rights = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        uint32_t whom = m->grants[i].whom;
        bool his = whom == 0 || whom == 1 + key || (whom > KEYS && m->member[whom - KEYS - 1][key]);
        if (his && contains(paths[m->grants[i].path], topic))
            rights |= m->grants[i].rights;
    }
    return rights;
}

static void model_change(struct model *m, uint32_t whom, uint32_t path, uint8_t rights, bool revoke)
{
    bool known = false;
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->grants[i].whom != whom || m->grants[i].path != path)
            continue;
        known = true;
        m->grants[i].rights =
            (uint8_t)(revoke ? m->grants[i].rights & ~rights : m->grants[i].rights | rights);
    }
    if (!revoke && !known) {
        ck_assert_uint_lt(m->count, LIST);
        m->grants[m->count].whom = whom;
        m->grants[m->count].path = path;
        m->grants[m->count++].rights = rights;
    }
    uint32_t kept = 0; /* so that the list stays short */
    for (uint32_t i = 0; i < m->count; i++)
        if (m->grants[i].rights != 0)
            m->grants[kept++] = m->grants[i];
    m->count = kept;
}

static struct access_whom whom_of(uint32_t whom)
{
    struct access_whom w = { .who = whom == 0      ? ACCESS_ANYONE
                                    : whom <= KEYS ? ACCESS_KEY
                                                   : ACCESS_GROUP };
    if (w.who == ACCESS_KEY)
        memcpy(w.key, key_number(whom - 1), ACCESS_KEY_SIZE);
    if (w.who == ACCESS_GROUP)
        strcpy(w.group, groups[whom - KEYS - 1]);
    return w;
}

static void compare(const struct access *a, const struct model *m)
{
    for (uint32_t key = 0; key < KEYS; key++)
        for (uint32_t t = 0; t < sizeof topics / sizeof topics[0]; t++) {
            uint32_t region = access_region_of(a, topics[t], strlen(topics[t]));
            uint32_t principal = access_principal_of(a, key_number(key));
            ck_assert_msg(access_rights(a, principal, region) == model_rights(m, key, topics[t]),
                          "key %u topic %s", key, topics[t]);
        }
}

static struct access *small_access(void)
{
    static const struct access_options options = { .principals_max = 16,
                                                   .regions_max = 80,
                                                   .grants_max = 200,
                                                   .members_max = 20,
                                                   .groups_max = 4 };
    uint8_t admin[ACCESS_KEY_SIZE] = { 1 };
    struct access *a = access_create(&options);
    ck_assert_ptr_nonnull(a);
    access_reset(a, admin);
    return a;
}

START_TEST(answers_as_a_list_of_grants_would)
{
    struct access *a = small_access(), *copy = small_access();
    static struct model m;
    memset(&m, 0, sizeof m);
    /* Regions as a catalog keeps them: changed when one begins, not asked for anew. */
    uint32_t regions[sizeof topics / sizeof topics[0]];
    for (uint32_t t = 0; t < sizeof topics / sizeof topics[0]; t++)
        regions[t] = access_region_of(a, topics[t], strlen(topics[t]));
    state = 4711;
    for (uint32_t step = 0; step < STEPS; step++) {
        uint64_t version = access_version(a), before = access_digest(a, 1);
        enum access_verdict verdict;
        if (draw(4) == 0) {
            uint32_t group = draw(GROUPS), key = draw(KEYS);
            bool remove = draw(2) == 0;
            verdict = access_member(a, groups[group], key_number(key), remove);
            ck_assert_int_eq(verdict,
                             m.member[group][key] == !remove ? ACCESS_UNCHANGED : ACCESS_OK);
            m.member[group][key] = !remove;
        } else {
            uint32_t whom = draw(1 + KEYS + GROUPS), path = draw(PATHS), begun;
            bool revoke = draw(2) == 0;
            struct access_grant g = { .whom = whom_of(whom),
                                      .rights = (uint8_t)(1 + draw(ACCESS_RIGHTS)),
                                      .subtree = paths[path] };
            verdict = access_grant(a, &g, revoke, &begun);
            model_change(&m, whom, path, g.rights, revoke);
            for (uint32_t t = 0; begun != 0 && t < sizeof topics / sizeof topics[0]; t++)
                if (regions[t] == access_region_parent(a, begun) &&
                    contains(paths[path], topics[t]))
                    regions[t] = begun;
        }
        ck_assert(verdict == ACCESS_OK || verdict == ACCESS_UNCHANGED);
        ck_assert((verdict == ACCESS_OK) == (access_version(a) != version));
        ck_assert((verdict == ACCESS_OK) == (access_digest(a, 1) != before));
        for (uint32_t t = 0; t < sizeof topics / sizeof topics[0]; t++)
            ck_assert_uint_eq(regions[t], access_region_of(a, topics[t], strlen(topics[t])));
        compare(a, &m);
    }
    access_copy(copy, a);
    compare(copy, &m);
    ck_assert_uint_eq(access_digest(copy, 1), access_digest(a, 1));
    access_destroy(copy);
    access_destroy(a);
}
END_TEST

START_TEST(the_administrator_may_everything)
{
    struct access *a = small_access();
    uint8_t admin[ACCESS_KEY_SIZE] = { 1 };
    uint32_t begun;
    uint32_t principal = access_principal_of(a, admin);
    ck_assert_uint_eq(principal, ACCESS_PRINCIPAL_ADMIN);
    for (uint32_t i = 0; i < PATHS; i++) {
        struct access_grant g = { .whom = whom_of(1), .rights = ACCESS_READ, .subtree = paths[i] };
        ck_assert_int_eq(access_grant(a, &g, false, &begun), ACCESS_OK);
        g.whom = (struct access_whom) { .who = ACCESS_KEY };
        memcpy(g.whom.key, admin, sizeof admin);
        g.rights = ACCESS_RIGHTS;
        (void)access_grant(a, &g, true, &begun);
        ck_assert(access_may_subtree(a, principal, ACCESS_RIGHTS, paths[i], strlen(paths[i])));
    }
    access_destroy(a);
}
END_TEST

START_TEST(a_subtree_needs_the_right_on_all_of_it)
{
    struct access *a = small_access();
    uint32_t begun;
    struct access_grant g = { .whom = whom_of(1), .rights = ACCESS_READ, .subtree = "/a/b" };
    ck_assert_int_eq(access_grant(a, &g, false, &begun), ACCESS_OK);
    uint32_t p = access_principal_of(a, key_number(0));
    ck_assert(access_may_subtree(a, p, ACCESS_READ, "/a/b", 4));
    ck_assert(access_may_subtree(a, p, ACCESS_READ, "/a/b/c/d", 8));
    ck_assert(!access_may_subtree(a, p, ACCESS_READ, "/a", 2));
    ck_assert(!access_may_subtree(a, p, ACCESS_READ, "/", 1));
    ck_assert(!access_may_subtree(a, p, ACCESS_READ | ACCESS_WRITE, "/a/b", 4));
    access_destroy(a);
}
END_TEST

START_TEST(tools_can_list_what_is_granted)
{
    struct access *a = small_access();
    uint32_t begun;
    struct access_grant g = { .whom = whom_of(KEYS + 2),
                              .rights = ACCESS_WRITE,
                              .subtree = "/d/e" };
    ck_assert_int_eq(access_grant(a, &g, false, &begun), ACCESS_OK);
    ck_assert_int_eq(access_member(a, "ops", key_number(3), false), ACCESS_OK);
    struct access_grant seen;
    const char *group;
    const uint8_t *key;
    ck_assert(access_grant_at(a, 0, &seen));
    ck_assert_int_eq(seen.whom.who, ACCESS_GROUP);
    ck_assert_str_eq(seen.whom.group, "ops");
    ck_assert_str_eq(seen.subtree, "/d/e");
    ck_assert_uint_eq(seen.rights, ACCESS_WRITE);
    ck_assert(!access_grant_at(a, 1, &seen));
    ck_assert(access_member_at(a, 0, &group, &key));
    ck_assert_str_eq(group, "ops");
    ck_assert_mem_eq(key, key_number(3), ACCESS_KEY_SIZE);
    ck_assert(!access_member_at(a, 1, &group, &key));
    access_destroy(a);
}
END_TEST

START_TEST(full_and_malformed_change_nothing)
{
    static const struct access_options tiny = {
        .principals_max = 4, .regions_max = 4, .grants_max = 4, .members_max = 4, .groups_max = 1
    };
    struct access *a = access_create(&tiny);
    uint32_t begun;
    ck_assert_ptr_nonnull(a);
    struct access_grant g = { .whom = whom_of(0), .rights = 0, .subtree = "/a" };
    ck_assert_int_eq(access_grant(a, &g, false, &begun), ACCESS_MALFORMED);
    g.rights = 8;
    ck_assert_int_eq(access_grant(a, &g, false, &begun), ACCESS_MALFORMED);
    g.rights = ACCESS_READ;
    static const char *const wrong[] = { "", "a", "/a/", "//", "/a/../b", "/a b" };
    for (uint32_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        g.subtree = wrong[i];
        ck_assert_int_eq(access_grant(a, &g, false, &begun), ACCESS_MALFORMED);
    }
    g.subtree = "/a";
    g.whom = (struct access_whom) { .who = ACCESS_GROUP, .group = "a/b" };
    ck_assert_int_eq(access_grant(a, &g, false, &begun), ACCESS_MALFORMED);
    ck_assert_int_eq(access_member(a, "", key_number(0), false), ACCESS_MALFORMED);

    uint32_t given = 0; /* two regions beside those that are always there */
    for (uint32_t i = 1; i < 6; i++) {
        g = (struct access_grant) { .whom = whom_of(0),
                                    .rights = ACCESS_READ,
                                    .subtree = paths[i] };
        given += access_grant(a, &g, false, &begun) == ACCESS_OK;
    }
    ck_assert_uint_eq(given, 2);
    uint64_t before = access_digest(a, 1);
    ck_assert_int_eq(access_grant(a, &g, false, &begun), ACCESS_FULL);
    ck_assert_int_eq(access_member(a, "one", key_number(0), false), ACCESS_OK);
    ck_assert_int_eq(access_member(a, "two", key_number(0), false), ACCESS_FULL);
    ck_assert_int_eq(access_member(a, "one", key_number(0), true), ACCESS_OK);
    ck_assert_uint_ne(access_digest(a, 1), before); /* the group and the key stay numbered */
    access_destroy(a);
}
END_TEST

START_TEST(names_are_read_as_they_are_written)
{
    uint8_t key[ACCESS_KEY_SIZE], back[ACCESS_KEY_SIZE];
    char text[ACCESS_KEY_TEXT + 1], identity[80];
    state = 99;
    for (uint32_t round = 0; round < 200; round++) {
        for (uint32_t i = 0; i < sizeof key; i++)
            key[i] = (uint8_t)draw(256);
        access_key_write(key, text);
        ck_assert_uint_eq(strlen(text), ACCESS_KEY_TEXT);
        ck_assert(access_key_read(text, strlen(text), back));
        ck_assert_mem_eq(key, back, sizeof key);
        snprintf(identity, sizeof identity, "@%s:book", text);
        ck_assert(access_identity_key(identity, back));
        ck_assert_mem_eq(key, back, sizeof key);
    }
    identity[0] = 'x';
    ck_assert(!access_identity_key(identity, back));
    ck_assert(!access_identity_key("injector", back));
    ck_assert(!access_identity_key("@short:book", back));
    snprintf(identity, sizeof identity, "@%s:", text);
    ck_assert(!access_identity_key(identity, back));
    text[ACCESS_KEY_TEXT - 1] = text[ACCESS_KEY_TEXT - 1] == 'B' ? 'C' : 'B'; /* bits of no byte */
    ck_assert(!access_key_read(text, ACCESS_KEY_TEXT, back));
    text[3] = '+';
    ck_assert(!access_key_read(text, ACCESS_KEY_TEXT, back));
    ck_assert(!access_group_valid("of-32-characters-is-one-too-many"));
    ck_assert(access_group_valid("of-31-characters-is-not-too-muc"));
}
END_TEST

SUITE_RUN("access", answers_as_a_list_of_grants_would, the_administrator_may_everything,
          a_subtree_needs_the_right_on_all_of_it, tools_can_list_what_is_granted,
          full_and_malformed_change_nothing, names_are_read_as_they_are_written)
