/* Runs one suite, as every test program here does. */
#ifndef CANTUS_TESTS_LIBCLIENT_SUITE_MAIN_H
#define CANTUS_TESTS_LIBCLIENT_SUITE_MAIN_H

#include <check.h>
#include <stdlib.h>

static inline int suite_main(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
