/* Each puzzle is answered once, by whichever of two solvers comes first; also when one dies. */
#include "examples/bootcamp/bootcamp.h"

START_TEST(each_puzzle_is_answered_once)
{
    struct sim_options options = { .seed = 1 };
    struct sim *s = sim_open(&options);
    sim_add_app(s, &cantus_app_v1, "", "solver-a", CANTUS_SEQUENCED);
    sim_add_app(s, &cantus_app_v1, "", "solver-b", CANTUS_SEQUENCED);
    bootcamp_wait(s);
    bootcamp_publish(s, "/puzzle", "91");
    ck_assert_uint_eq(sim_sequenced(s, "/solution"), 1);
    bootcamp_publish(s, "/puzzle", "77");
    bootcamp_publish(s, "/puzzle", "15");
    ck_assert_uint_eq(sim_sequenced(s, "/solution"), 3);
    sim_close(s);
}
END_TEST

START_TEST(one_may_die)
{
    struct sim_options options = { .seed = 2 };
    struct sim *s = sim_open(&options);
    uint32_t a = sim_add_app(s, &cantus_app_v1, "", "solver-a", CANTUS_STABLE);
    uint32_t b = sim_add_app(s, &cantus_app_v1, "", "solver-b", CANTUS_STABLE);
    bootcamp_wait(s);
    bootcamp_publish(s, "/puzzle", "91");
    sim_crash(s, a);
    bootcamp_publish(s, "/puzzle", "77");
    sim_restart(s, a);
    bootcamp_wait(s);
    bootcamp_publish(s, "/puzzle", "15");
    ck_assert_uint_eq(sim_sequenced(s, "/solution"), 3);
    ck_assert_uint_eq(sim_app_digest(s, a), sim_app_digest(s, b));
    sim_close(s);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { each_puzzle_is_answered_once, one_may_die };
    return bootcamp_run("solvers", tests, 2);
}
