/* Goal: every counter has a name of its own in lower case, a unit and a help text. */
#include "proto/counter.h"
#include "tests/proto/suite.h"

START_TEST(the_table_is_whole)
{
    for (int c = 0; c < COUNTER_END; c++) {
        const char *name = counter_name((enum counter)c);
        ck_assert_uint_gt(strlen(name), 0);
        ck_assert_uint_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
        ck_assert_uint_gt(strlen(counter_unit((enum counter)c)), 0);
        ck_assert_uint_gt(strlen(counter_help((enum counter)c)), 0);
        for (int other = 0; other < c; other++)
            ck_assert_str_ne(name, counter_name((enum counter)other));
    }
    ck_assert_str_eq(counter_name(COUNTER_GAP_REQUESTS_OUT), "gap_requests_out");
    ck_assert_str_eq(counter_unit(COUNTER_LOOP_PAUSE_MAX), "ns");
    ck_assert_str_eq(counter_help(COUNTER_GAPS), "gaps noticed");
}
END_TEST

SUITE_RUN("counter", the_table_is_whole)
