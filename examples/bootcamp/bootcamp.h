/* What the bootcamp's tests have in common: each has an app to test, from exercise.c or solution.c. */
#ifndef BOOTCAMP_H
#define BOOTCAMP_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"

extern const struct cantus_app cantus_app_v1;

/* Time enough for whatever is under way to come to its end. */
static inline void bootcamp_wait(struct sim *s)
{
    sim_advance(s, UINT64_C(2000000000));
    ck_assert_str_eq(sim_violation(s), "");
}

static inline bool bootcamp_publish(struct sim *s, const char *topic, const char *payload)
{
    bool fine = sim_publish(s, "user", topic, payload, strlen(payload));
    bootcamp_wait(s);
    return fine;
}

/* Runs the tests of one exercise; the exit status of main. */
static inline int bootcamp_run(const char *name, const TTest *const *tests, int count)
{
    Suite *suite = suite_create(name);
    TCase *cases = tcase_create(name);
    for (int i = 0; i < count; i++)
        tcase_add_test(cases, tests[i]);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
