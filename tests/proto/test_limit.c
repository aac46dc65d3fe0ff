/* Goal: a limit is what was last set for that key or subtree, else everyone's, else none; the table is
 * bounded, copied and digested as a whole. */
#include <stdio.h>

#include "proto/limit.h"
#include "tests/proto/suite.h"

static struct limits *create(void)
{
    void *memory = malloc(limits_memory());
    ck_assert_ptr_nonnull(memory);
    memset(memory, 0xa5, limits_memory());
    return limits_place(memory);
}

static struct limit_whom key_of(uint8_t byte)
{
    struct limit_whom whom = { .who = LIMIT_KEY };
    memset(whom.key, byte, sizeof whom.key);
    return whom;
}

static const struct limit_whom everyone = { .who = LIMIT_EVERYONE };
static const struct limit slow = { .messages_per_s = 10 }, fast = { .messages_per_s = 1000 };

START_TEST(own_before_everyones)
{
    struct limits *l = create();
    struct limit_whom a = key_of(1), b = key_of(2);
    ck_assert_uint_eq(limits_of_key(l, a.key).messages_per_s, 0);
    ck_assert_int_eq(limits_set(l, &everyone, &slow, false), LIMIT_OK);
    ck_assert_int_eq(limits_set(l, &a, &fast, false), LIMIT_OK);
    ck_assert_int_eq(limits_set(l, &a, &fast, false), LIMIT_UNCHANGED);
    ck_assert_uint_eq(limits_of_key(l, a.key).messages_per_s, 1000);
    ck_assert_uint_eq(limits_of_key(l, b.key).messages_per_s, 10);
    ck_assert_int_eq(limits_set(l, &b, &slow, true), LIMIT_UNCHANGED);
    ck_assert_int_eq(limits_set(l, &a, &slow, true), LIMIT_OK);
    ck_assert_uint_eq(limits_of_key(l, a.key).messages_per_s, 10);
    /* One's own limit may be that there is none. */
    ck_assert_int_eq(limits_set(l, &a, &(struct limit) { 0 }, false), LIMIT_OK);
    ck_assert_uint_eq(limits_of_key(l, a.key).messages_per_s, 0);
    free(l);
}
END_TEST

START_TEST(subtrees_are_told_apart)
{
    struct limits *l = create();
    struct limit_whom a = { .who = LIMIT_SUBTREE, .subtree = "/a" };
    struct limit_whom ab = { .who = LIMIT_SUBTREE, .subtree = "/a/b" };
    ck_assert_ptr_null(limits_find(l, &a));
    ck_assert_int_eq(limits_set(l, &a, &slow, false), LIMIT_OK);
    ck_assert_ptr_null(limits_find(l, &ab));
    ck_assert_int_eq(limits_set(l, &ab, &fast, false), LIMIT_OK);
    ck_assert_uint_eq(limits_find(l, &a)->messages_per_s, 10);
    ck_assert_uint_eq(limits_find(l, &ab)->messages_per_s, 1000);
    struct limit_whom whom;
    struct limit limit;
    ck_assert(limits_entry(l, 1, &whom, &limit));
    ck_assert_str_eq(whom.subtree, "/a/b");
    ck_assert_uint_eq(limit.messages_per_s, 1000);
    ck_assert(!limits_entry(l, 2, &whom, &limit));
    free(l);
}
END_TEST

START_TEST(full_is_said_and_changes_nothing)
{
    struct limits *l = create();
    struct limit_whom whom = { .who = LIMIT_SUBTREE };
    for (int i = 0; i < LIMITS_MAX; i++) {
        snprintf(whom.subtree, sizeof whom.subtree, "/a/%d", i);
        ck_assert_int_eq(limits_set(l, &whom, &slow, false), LIMIT_OK);
    }
    uint64_t digest = limits_digest(l, 0), version = limits_version(l);
    ck_assert_int_eq(limits_refuse(l, &everyone, &slow, false), LIMIT_FULL);
    ck_assert_int_eq(limits_set(l, &everyone, &slow, false), LIMIT_FULL);
    ck_assert_uint_eq(limits_digest(l, 0), digest);
    ck_assert_uint_eq(limits_version(l), version);
    ck_assert_int_eq(limits_set(l, &whom, &fast, false), LIMIT_OK); /* one that is there */
    ck_assert_int_eq(limits_set(l, &whom, &slow, true), LIMIT_OK);
    ck_assert_int_eq(limits_set(l, &everyone, &slow, false), LIMIT_OK);
    free(l);
}
END_TEST

START_TEST(every_field_is_in_the_digest)
{
    struct limits *l = create(), *copy = create();
    uint64_t seen[16] = { limits_digest(l, 0) };
    const struct limit each[] = { { .messages_per_s = 1 }, { .bytes_per_s = 1 },
                                  { .burst_ms = 1 },       { .topics = 1 },
                                  { .subscriptions = 1 },  { .connections = 1 },
                                  { .inflight_bytes = 1 }, { 0 } };
    for (uint32_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        ck_assert_int_eq(limits_refuse(l, &everyone, &each[i], false), LIMIT_OK);
        ck_assert_int_eq(limits_set(l, &everyone, &each[i], false), LIMIT_OK);
        seen[i + 1] = limits_digest(l, 0);
        for (uint32_t j = 0; j <= i; j++)
            ck_assert_uint_ne(seen[j], seen[i + 1]);
        limits_copy(copy, l);
        ck_assert_uint_eq(limits_digest(copy, 0), seen[i + 1]);
    }
    limits_reset(l);
    ck_assert_uint_eq(limits_digest(l, 0), seen[0]);
    free(l);
    free(copy);
}
END_TEST

SUITE_RUN("limit", own_before_everyones, subtrees_are_told_apart, full_is_said_and_changes_nothing,
          every_field_is_in_the_digest)
