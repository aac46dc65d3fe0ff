/* Names that are alike are offered, the nearest first, each once; others are not. */
#include "cli/near.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(test_distances)
{
    ck_assert_uint_eq(near_distance("", ""), 0);
    ck_assert_uint_eq(near_distance("trader", "trader"), 0);
    ck_assert_uint_eq(near_distance("", "abc"), 3);
    ck_assert_uint_eq(near_distance("trader", "trder"), 1);
    ck_assert_uint_eq(near_distance("trader", "traders"), 1);
    ck_assert_uint_eq(near_distance("trader", "trqder"), 1);
    ck_assert_uint_eq(near_distance("trader", "trdaer"), 1); /* neighbours swapped */
    ck_assert_uint_eq(near_distance("kitten", "sitting"), 3);
    char a[200], b[200];
    memset(a, 'a', sizeof a - 1);
    memset(b, 'b', sizeof b - 1);
    a[199] = b[199] = '\0';
    ck_assert_uint_eq(near_distance(a, b), NEAR_NAME_SIZE - 1);
}
END_TEST

START_TEST(test_the_nearest_first_and_each_once)
{
    static const char *const names[] = { "tradex12", "zebra", "trader", "trades",
                                         "trader",   "trade", "t",      "trade-of-the-day",
                                         "traded",   "tradet" };
    struct near_names n = { 0 };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        near_consider(&n, "trade", names[i]);
    ck_assert_uint_eq(n.count, NEAR_NAMES_MAX);
    ck_assert_str_eq(n.name[0], "trade");
    ck_assert_str_eq(n.name[1], "trader");
    ck_assert_str_eq(n.name[2], "trades");
    ck_assert_str_eq(n.name[3], "traded");
    ck_assert_str_eq(n.name[4], "tradet");
    for (uint32_t i = 1; i < n.count; i++)
        ck_assert_uint_le(n.distance[i - 1], n.distance[i]);
    struct near_names begun = { 0 };
    near_consider(&begun, "cantus", "cantus-pub");
    near_consider(&begun, "cantus", "zebra");
    near_consider(&begun, "c", "cantus-pub");
    ck_assert_uint_eq(begun.count, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("near");
    TCase *cases = tcase_create("near");
    tcase_add_test(cases, test_distances);
    tcase_add_test(cases, test_the_nearest_first_and_each_once);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
