/* Goal: grants, groups and limits survive encoding; what is cut, too long, or no right, name or
 * subtree is refused by encoder and decoder alike. */
#include "proto/sys_access.h"
#include "tests/proto/suite.h"

static uint8_t payload[SYS_ACCESS_SIZE_MAX];

static bool decode_grant(const uint8_t *bytes, size_t length)
{
    struct sys_grant out;
    return sys_grant_decode(bytes, length, &out);
}

static bool decode_group(const uint8_t *bytes, size_t length)
{
    struct sys_group out;
    return sys_group_decode(bytes, length, &out);
}

static bool decode_limit(const uint8_t *bytes, size_t length)
{
    struct sys_limit out;
    return sys_limit_decode(bytes, length, &out);
}

static struct access_whom key_of(uint8_t byte)
{
    struct access_whom whom = { .who = ACCESS_KEY };
    memset(whom.key, byte, sizeof whom.key);
    return whom;
}

START_TEST(grants)
{
    const struct access_whom group = { .who = ACCESS_GROUP, .group = "traders" };
    const struct access_whom anyone = { .who = ACCESS_ANYONE };
    const struct access_whom whoms[] = { anyone, key_of(7), group };
    for (uint32_t i = 0; i < 3; i++) {
        struct sys_grant in = {
            .revoke = i == 1, .rights = (uint8_t)(i + 1), .whom = whoms[i], .subtree = "/md/nasdaq"
        };
        struct sys_grant out;
        size_t length = sys_grant_encode(&in, payload, sizeof payload);
        suite_cut(payload, length, decode_grant);
        ck_assert(sys_grant_decode(payload, length, &out));
        ck_assert_int_eq(out.revoke, in.revoke);
        ck_assert_uint_eq(out.rights, in.rights);
        ck_assert_int_eq((int)out.whom.who, (int)in.whom.who);
        ck_assert_mem_eq(out.whom.key, in.whom.key, sizeof in.whom.key);
        ck_assert_str_eq(out.whom.group, in.whom.group);
        ck_assert_str_eq(out.subtree, "/md/nasdaq");
        ck_assert_uint_eq(sys_grant_encode(&in, payload, length - 1), 0);
    }
}
END_TEST

START_TEST(grants_that_are_none)
{
    const struct sys_grant good = { .rights = 1, .whom = { .who = ACCESS_ANYONE }, .subtree = "/" };
    size_t length = sys_grant_encode(&good, payload, sizeof payload);
    ck_assert_uint_eq(length, 5);
    ck_assert(decode_grant(payload, length));
    const struct {
        uint32_t at;
        uint8_t value;
    } bad[] = { { 0, 2 }, { 1, 0 }, { 1, 8 }, { 2, 0 }, { 2, 4 }, { 4, 'x' }, { 4, 0 } };
    for (uint32_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t was = payload[bad[i].at];
        payload[bad[i].at] = bad[i].value;
        ck_assert(!decode_grant(payload, length));
        payload[bad[i].at] = was;
    }
    struct sys_grant wrong = good;
    wrong.rights = 0;
    ck_assert_uint_eq(sys_grant_encode(&wrong, payload, sizeof payload), 0);
    wrong = good;
    strcpy(wrong.subtree, "/a/");
    ck_assert_uint_eq(sys_grant_encode(&wrong, payload, sizeof payload), 0);
    wrong = good;
    wrong.whom.who = ACCESS_GROUP;
    strcpy(wrong.whom.group, "a/b");
    ck_assert_uint_eq(sys_grant_encode(&wrong, payload, sizeof payload), 0);
}
END_TEST

START_TEST(groups)
{
    struct sys_group in = { .remove = true, .group = "risk.eu" }, out;
    memset(in.key, 9, sizeof in.key);
    size_t length = sys_group_encode(&in, payload, sizeof payload);
    suite_cut(payload, length, decode_group);
    ck_assert(sys_group_decode(payload, length, &out));
    ck_assert(out.remove);
    ck_assert_str_eq(out.group, in.group);
    ck_assert_mem_eq(out.key, in.key, sizeof in.key);
    payload[2] = '/';
    ck_assert(!decode_group(payload, length));
    in.group[0] = '\0';
    ck_assert_uint_eq(sys_group_encode(&in, payload, sizeof payload), 0);
}
END_TEST

START_TEST(limits)
{
    struct sys_limit in = { .whom = { .who = LIMIT_SUBTREE, .subtree = "/a" },
                            .limit = { 1, 2, 3, 4, 5, 6, 7 } };
    for (int i = 0; i < 3; i++) {
        struct sys_limit out;
        in.whom.who = (enum limit_who)(LIMIT_EVERYONE + i);
        memset(in.whom.key, i == 1 ? 8 : 0, sizeof in.whom.key);
        size_t length = sys_limit_encode(&in, payload, sizeof payload);
        suite_cut(payload, length, decode_limit);
        ck_assert(sys_limit_decode(payload, length, &out));
        ck_assert_int_eq((int)out.whom.who, (int)in.whom.who);
        ck_assert_mem_eq(out.whom.key, in.whom.key, sizeof in.whom.key);
        ck_assert_str_eq(out.whom.subtree, i == 2 ? "/a" : "");
        ck_assert_mem_eq(&out.limit, &in.limit, sizeof in.limit);
        payload[0] = 1; /* to remove it, and to set it */
        ck_assert(!decode_limit(payload, length));
    }
    in.remove = true;
    ck_assert_uint_eq(sys_limit_encode(&in, payload, sizeof payload), 0);
    memset(&in.limit, 0, sizeof in.limit);
    size_t length = sys_limit_encode(&in, payload, sizeof payload);
    suite_cut(payload, length, decode_limit);
    payload[1] = 4;
    ck_assert(!decode_limit(payload, length));
}
END_TEST

START_TEST(the_longest_fit)
{
    struct sys_limit l = { .whom = { .who = LIMIT_SUBTREE } };
    struct sys_grant g = { .rights = 1, .whom = { .who = ACCESS_KEY } };
    memset(l.whom.subtree, 'a', TOPIC_PATH_MAX);
    l.whom.subtree[0] = '/';
    memcpy(g.subtree, l.whom.subtree, sizeof g.subtree);
    ck_assert_uint_gt(sys_limit_encode(&l, payload, sizeof payload), TOPIC_PATH_MAX);
    ck_assert_uint_gt(sys_grant_encode(&g, payload, sizeof payload), TOPIC_PATH_MAX);
}
END_TEST

SUITE_RUN("sys_access", grants, grants_that_are_none, groups, limits, the_longest_fit)
