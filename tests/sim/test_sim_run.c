/* Whole runs: that a seed is a verdict, the same each time; that sound cores are clean; that each
 * planted mistake is found by the checker that is there for it; and the schedules, kept by seed, that
 * once found a mistake nobody had planted. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "sim/sim_private.h"

static const struct planted {
    const char *name;
    enum sim_invariant invariant;
} planted[] = {
#define PLANTED(name, what, invariant) { #name, (enum sim_invariant)invariant },
    SIM_SABOTAGES(PLANTED)
#undef PLANTED
};

enum { PLANTED_COUNT = sizeof planted / sizeof planted[0], SEARCH_MAX = 300 };

static void run(struct sim_options options, char json[2048])
{
    struct sim_result result;
    ck_assert(sim_run(&options, &result));
    ck_assert_uint_gt(sim_result_json(&result, json, 2048), 0);
}

static void run_clean(struct sim_options options)
{
    struct sim_result result;
    ck_assert(sim_run(&options, &result));
    ck_assert_msg(result.violated == SIM_FINE, "seed %lu, step %lu: %s: %s", options.seed,
                  result.violation_step, sim_invariant_name(result.violated), result.violation);
    ck_assert_uint_ge(result.messages, 1000);
    ck_assert_uint_ge(result.faults, 20);
}

START_TEST(a_seed_is_a_verdict)
{
    char first[2048], second[2048], other[2048];
    run((struct sim_options) { .seed = 11 }, first);
    run((struct sim_options) { .seed = 11 }, second);
    run((struct sim_options) { .seed = 12 }, other);
    ck_assert_str_eq(first, second);
    ck_assert_str_ne(first, other);
    run((struct sim_options) { .seed = 3, .sabotage = "gap-ignored" }, first);
    run((struct sim_options) { .seed = 3, .sabotage = "gap_ignored" }, second);
    ck_assert_str_eq(first, second);
    ck_assert_ptr_nonnull(strstr(first, "\"violated\":\"nothing-stable-lost\""));
}
END_TEST

START_TEST(sound_cores_are_clean)
{
    run_clean((struct sim_options) { .seed = 100 + (uint64_t)_i });
}
END_TEST

START_TEST(so_are_several_stores_and_sequencers)
{
    run_clean((struct sim_options) { .seed = 200 + (uint64_t)_i, .stores = 3, .sequencers = 3 });
    run_clean((struct sim_options) {
        .seed = 200 + (uint64_t)_i, .stores = 5, .spares = 2, .sequencers = 2 });
    run_clean((struct sim_options) {
        .seed = 200 + (uint64_t)_i, .stores = 3, .quorum = 1, .sequencers = 2 });
    run_clean((struct sim_options) { .seed = 200 + (uint64_t)_i, .stores = 1, .sequencers = 1 });
}
END_TEST

START_TEST(so_are_proxies_and_their_clients)
{
    run_clean((struct sim_options) { .seed = 300 + (uint64_t)_i, .edge = true });
}
END_TEST

/* Every kind of deployment and of fault comes up within a few seeds. */
START_TEST(everything_is_drawn)
{
    uint32_t stores = 0, sequencers = 0;
    uint64_t kinds = 0, wipes = 0, changes = 0, promotions = 0, half_steps = 0, repeated = 0,
             forks = 0, logins = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct sim_result r;
        ck_assert(sim_run(&(struct sim_options) { .seed = seed }, &r));
        ck_assert_int_eq(r.violated, SIM_FINE);
        stores |= UINT32_C(1) << r.stores;
        sequencers |= UINT32_C(1) << r.sequencers;
        kinds |= r.fault_kinds;
        wipes += r.wipes;
        changes += r.member_changes;
        promotions += r.promotions;
        half_steps += r.half_steps;
        repeated += r.repeated;
        forks += r.forks;
        logins += r.logins;
    }
    ck_assert_uint_eq(stores & 0x2a, 0x2a);
    ck_assert_uint_eq(sequencers, 0xe);
    ck_assert_uint_eq(kinds, (UINT64_C(1) << SIM_FAULT_KINDS) - 1);
    ck_assert(wipes > 0 && changes > 0 && promotions > 0);
    ck_assert(half_steps > 0 && repeated > 0 && forks > 0 && logins > 0);
}
END_TEST

/* Found by the first searches; what each found is in the log of the core that was mended. */
START_TEST(what_was_found_stays_mended)
{
    static const uint64_t seeds[] = { 7,  50,   95,   5345, 5586, 21341, 258,     467,
                                      22, 1163, 1176, 1399, 1457, 2055,  8026607, 8064664 };
    run_clean((struct sim_options) { .seed = seeds[_i], .core_only = true });
    run_clean((struct sim_options) {
        .seed = seeds[_i], .stores = 3, .sequencers = 3, .core_only = true });
}
END_TEST

static const uint64_t edge_seeds[] = { 9,        24,       51,       76,       178,      230,
                                       249,      270,      404,      527,      3033032,  3034060,
                                       5000648,  5004461,  7104046,  9000878,  9008954,  9010863,
                                       9115546,  14000512, 15004110, 15004637, 15030150, 15030218,
                                       15030257, 18005041, 18050142, 20008405, 21005734, 21008077,
                                       21000925, 22000000, 41000174, 48005794, 59005027 };
enum { EDGE_SEEDS = sizeof edge_seeds / sizeof edge_seeds[0] };

START_TEST(so_does_what_was_found_at_the_edge)
{
    run_clean((struct sim_options) { .seed = edge_seeds[_i], .edge = true });
}
END_TEST

START_TEST(a_planted_mistake_is_found)
{
    struct sim_options options = { .seed = 1, .sabotage = planted[_i].name };
    struct sim_result result;
    for (; options.seed <= SEARCH_MAX; options.seed++) {
        ck_assert(sim_run(&options, &result));
        /* Other checkers may come first, for one mistake breaks more than one promise. */
        if (result.violated != planted[_i].invariant)
            continue;
        ck_assert_str_ne(result.violation, "");
        return;
    }
    ck_abort_msg("%s is not found in %d runs", planted[_i].name, SEARCH_MAX);
}
END_TEST

static void remember(void *ctx, const char *line)
{
    char *last = ctx;
    snprintf(last, 1024, "%.1000s", line);
}

START_TEST(a_trace_ends_with_the_violation)
{
    char last[1024] = "";
    struct sim_options options = {
        .seed = 1, .sabotage = "stable-unacked", .trace = true, .trace_to = remember, .ctx = last
    };
    struct sim_result result;
    ck_assert(sim_run(&options, &result));
    ck_assert_int_eq(result.violated, SIM_NOTHING_STABLE_LOST);
    ck_assert_str_ne(last, "");
}
END_TEST

START_TEST(bad_options_are_refused)
{
    struct sim_result result;
    struct sim_options options = { .seed = 1, .sabotage = "nonsense" };
    ck_assert(!sim_run(&options, &result));
    ck_assert_ptr_nonnull(strstr(result.violation, "nonsense"));
    options = (struct sim_options) { .seed = 1, .stores = 99 };
    ck_assert(!sim_run(&options, &result));
    ck_assert_str_ne(result.violation, "");
}
END_TEST

START_TEST(a_line_that_does_not_fit_is_none)
{
    char line[64];
    struct sim_result result = { .violated = SIM_LIVE, .violation = "a \"quoted\" \\ text" };
    ck_assert_uint_eq(sim_result_json(&result, line, sizeof line), 0);
    char whole[1024];
    ck_assert_uint_gt(sim_result_json(&result, whole, sizeof whole), 0);
    ck_assert_ptr_nonnull(strstr(whole, "a \\\"quoted\\\" \\\\ text"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_run");
    TCase *t = tcase_create("run");
    tcase_add_test(t, a_seed_is_a_verdict);
    tcase_add_loop_test(t, sound_cores_are_clean, 0, 12);
    tcase_add_loop_test(t, so_are_several_stores_and_sequencers, 0, 6);
    tcase_add_loop_test(t, so_are_proxies_and_their_clients, 0, 12);
    tcase_add_test(t, everything_is_drawn);
    tcase_add_loop_test(t, what_was_found_stays_mended, 0, 16);
    tcase_add_loop_test(t, so_does_what_was_found_at_the_edge, 0, EDGE_SEEDS);
    tcase_add_loop_test(t, a_planted_mistake_is_found, 0, PLANTED_COUNT);
    tcase_add_test(t, a_trace_ends_with_the_violation);
    tcase_add_test(t, bad_options_are_refused);
    tcase_add_test(t, a_line_that_does_not_fit_is_none);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
