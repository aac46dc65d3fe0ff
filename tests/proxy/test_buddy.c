/* Goal: no two pieces overlap, everything that was given back can be had again, and a full block says so. A
 * random walk, with each piece filled with a number of its own. */
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/buddy.h"

enum { BYTES = 1 << 17, PIECES = 300, STEPS = 20000 };

static uint64_t state = 99;

static uint32_t draw(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % below;
}

START_TEST(pieces_are_disjoint_and_come_back)
{
    static uint8_t *pieces[PIECES];
    static size_t lengths[PIECES];
    struct buddy *b = buddy_create(BYTES - 1);
    ck_assert_ptr_nonnull(b);
    uint32_t refused = 0;
    for (uint32_t i = 0; i < STEPS; i++) {
        uint32_t k = draw(PIECES);
        if (pieces[k] != NULL) {
            bool own = true; /* an assertion for each byte would take minutes */
            for (size_t at = 0; at < lengths[k]; at++)
                own = own && pieces[k][at] == (k & 255);
            ck_assert(own);
            buddy_give(b, pieces[k], lengths[k]);
            pieces[k] = NULL;
            continue;
        }
        lengths[k] = 1 + draw(1u << (1 + draw(14)));
        pieces[k] = buddy_take(b, lengths[k]);
        if (pieces[k] != NULL)
            memset(pieces[k], (int)(k & 255), lengths[k]);
        else
            refused++;
    }
    ck_assert_uint_gt(refused, 0);
    for (uint32_t k = 0; k < PIECES; k++)
        buddy_give(b, pieces[k], lengths[k]);
    void *all = buddy_take(b, BYTES); /* the whole again, in one piece */
    ck_assert_ptr_nonnull(all);
    ck_assert_ptr_null(buddy_take(b, 1));
    buddy_give(b, all, BYTES);
    buddy_destroy(b);
}
END_TEST

START_TEST(what_is_too_large_is_not_had)
{
    struct buddy *b = buddy_create(1000);
    ck_assert_ptr_null(buddy_take(b, 1025));
    ck_assert_uint_eq(buddy_size(65), 128);
    ck_assert_ptr_nonnull(buddy_take(b, 0));
    buddy_destroy(b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_buddy");
    TCase *all = tcase_create("buddy");
    tcase_add_test(all, pieces_are_disjoint_and_come_back);
    tcase_add_test(all, what_is_too_large_is_not_had);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
