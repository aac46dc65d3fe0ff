/* Goal: every counter has a name of its own in lower case, a unit and a help text, and a metric's name
 * that keeps Prometheus' rules. */
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

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), n = strlen(end);
    return length >= n && strcmp(text + length - n, end) == 0;
}

/* prometheus.io/docs/practices/naming: one prefix, base units said in the plural, counters end in
 * _total and nothing else does. */
START_TEST(metrics_are_named_by_the_rules)
{
    for (int i = 0; i < COUNTER_END; i++) {
        enum counter c = (enum counter)i;
        const char *metric = counter_metric(c);
        ck_assert_int_eq(strncmp(metric, "cantus_", 7), 0);
        ck_assert_uint_eq(strspn(metric, "abcdefghijklmnopqrstuvwxyz_"), strlen(metric));
        ck_assert_int_eq(ends_with(metric, "_total"), counter_kind(c) == COUNTER_KIND_COUNT);
        ck_assert_msg(strcmp(counter_unit(c), "bytes") != 0 || strstr(metric, "bytes") != NULL,
                      "%s counts bytes", metric);
        bool ns = strcmp(counter_unit(c), "ns") == 0;
        ck_assert(counter_metric_divisor(c) == (ns ? 1e9 : 1.0));
        ck_assert_int_eq(ns, strstr(metric, "_seconds") != NULL);
        for (int other = 0; other < i; other++)
            ck_assert_str_ne(metric, counter_metric((enum counter)other));
    }
    ck_assert_str_eq(counter_metric(COUNTER_GAPS), "cantus_gaps_total");
    ck_assert_str_eq(counter_metric(COUNTER_SCRUBBED_BYTES), "cantus_scrubbed_bytes_total");
    ck_assert_str_eq(counter_metric(COUNTER_LOOP_PAUSE_MAX), "cantus_loop_pause_max_seconds");
    ck_assert_str_eq(counter_metric(COUNTER_TIP), "cantus_tip_seq");
}
END_TEST

SUITE_RUN("counter", the_table_is_whole, metrics_are_named_by_the_rules)
