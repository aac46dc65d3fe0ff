/* Where a history that is gone back to has a run that is open: a fork is told to clients in front of that run, and
 * otherwise where it is, however far back. Runs are noted by hand; how what waits is applied again is what the
 * simulator's forks test. */
#include <check.h>
#include <stdlib.h>

#include "proxy/base.h"

struct rig {
    struct base *base;
    struct catalog *tip;
};

static const struct catalog_options small = { .topics_max = 64, .publishers_max = 16 };

static struct rig rig_new(void)
{
    struct rig g = { base_create(&small), catalog_create(&small) };
    ck_assert(g.base != NULL && g.tip != NULL);
    return g;
}

static void rig_free(struct rig *g)
{
    base_destroy(g->base);
    catalog_destroy(g->tip);
}

/* What is open there. */
static uint64_t fork_to(struct rig *g, uint64_t common_seq)
{
    uint64_t open_seq = UINT64_MAX;
    ck_assert(base_fork(g->base, g->tip, common_seq, &open_seq));
    return open_seq;
}

/* 101 to 103 are a run, 110 and 111 were cut off by what is at 112, and 120 to 122 are one. */
static void note_some(struct rig *g)
{
    base_note_run(g->base, 101, 103);
    base_note_run(g->base, 110, 112);
    base_note_run(g->base, 120, 122);
}

static const struct {
    uint64_t common_seq, open_seq;
} forks[] = { { 500, 0 },   { 122, 0 },   { 121, 120 }, { 120, 120 }, { 119, 0 },   { 112, 0 },
              { 111, 110 }, { 110, 110 }, { 109, 0 },   { 103, 0 },   { 102, 101 }, { 100, 0 } };

START_TEST(a_run_is_open_from_its_first_message_to_its_last)
{
    struct rig g = rig_new();
    note_some(&g);
    ck_assert_uint_eq(fork_to(&g, forks[_i].common_seq), forks[_i].open_seq);
    rig_free(&g);
}
END_TEST

/* Also if the beginning is stable, and on what is gone back to after that. */
START_TEST(it_stays_open_for_later_forks)
{
    struct rig g = rig_new();
    note_some(&g);
    base_stable(g.base, 120);
    ck_assert_uint_eq(fork_to(&g, 121), 120);
    ck_assert_uint_eq(fork_to(&g, 121), 120);
    base_note_run(g.base, 130, 140);
    ck_assert_uint_eq(fork_to(&g, 135), 130);
    ck_assert_uint_eq(fork_to(&g, 125), 0);
    ck_assert_uint_eq(fork_to(&g, 120), 120);
    rig_free(&g);
}
END_TEST

/* A run that is not known any more may have been open there. */
START_TEST(what_is_forgotten_is_not_gone_back_to)
{
    struct rig g = rig_new();
    uint64_t open_seq;
    for (uint64_t i = 0; i <= BASE_RUNS_MAX; i++)
        base_note_run(g.base, 10 * i + 1, 10 * i + 3);
    ck_assert(!base_fork(g.base, g.tip, 2, &open_seq));
    ck_assert_uint_eq(fork_to(&g, 3), 0);
    base_stable(g.base, 20);
    ck_assert(!base_fork(g.base, g.tip, 19, &open_seq));
    rig_free(&g);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_base");
    TCase *tcase = tcase_create("runs");
    tcase_add_loop_test(tcase, a_run_is_open_from_its_first_message_to_its_last, 0,
                        sizeof forks / sizeof forks[0]);
    tcase_add_test(tcase, it_stays_open_for_later_forks);
    tcase_add_test(tcase, what_is_forgotten_is_not_gone_back_to);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
