/* The parts that everything else rests on: chance that is the same everywhere, events in order, and
 * clocks of which the monotonic one never goes back whatever the other does. */
#include <check.h>

#include "sim/sim_clock.h"
#include "sim/sim_queue.h"
#include "sim/sim_random.h"

START_TEST(chance_is_the_same_everywhere)
{
    struct sim_random r, again, other;
    sim_random_init(&r, 1);
    sim_random_init(&again, 1);
    sim_random_init(&other, 2);
    /* Written down once: a change of these changes the meaning of every seed. */
    ck_assert_uint_eq(sim_random_next(&r), UINT64_C(0xb3f2af6d0fc710c5));
    ck_assert_uint_eq(sim_random_next(&again), UINT64_C(0xb3f2af6d0fc710c5));
    ck_assert_uint_ne(sim_random_next(&other), UINT64_C(0xb3f2af6d0fc710c5));
}
END_TEST

START_TEST(chance_stays_in_its_bounds)
{
    struct sim_random r;
    sim_random_init(&r, 3);
    uint32_t low = 0, high = 0, small = 0;
    for (int i = 0; i < 20000; i++) {
        uint64_t v = sim_random_between(&r, 5, 8);
        ck_assert(v >= 5 && v <= 8);
        low += v == 5;
        high += v == 8;
        uint64_t scaled = sim_random_scale(&r, 10, 1000);
        ck_assert(scaled >= 10 && scaled <= 1000);
        small += scaled < 100;
        ck_assert(!sim_random_chance(&r, 0));
        ck_assert(sim_random_chance(&r, 1000000));
        ck_assert_uint_eq(sim_random_below(&r, 1), 0);
    }
    ck_assert(low > 4000 && high > 4000);
    ck_assert_uint_gt(small, 8000);
    ck_assert_uint_eq(sim_random_scale(&r, 7, 7), 7);
}
END_TEST

START_TEST(events_come_in_order_and_ties_as_scheduled)
{
    struct sim_queue q;
    struct sim_random r;
    ck_assert(sim_queue_init(&q));
    sim_random_init(&r, 4);
    for (uint32_t i = 0; i < 5000; i++)
        ck_assert(sim_queue_push(
            &q, (struct sim_event) { .at = sim_random_below(&r, 300), .kind = 1, .a = i }));
    struct sim_event e, last = { 0 };
    ck_assert_uint_eq(sim_queue_peek(&q)->at, 0);
    for (uint32_t i = 0; i < 5000; i++, last = e) {
        ck_assert(sim_queue_pop(&q, &e));
        ck_assert(e.at > last.at || (e.at == last.at && (i == 0 || e.a > last.a)));
    }
    ck_assert(!sim_queue_pop(&q, &e));
    ck_assert_ptr_null(sim_queue_peek(&q));
    sim_queue_close(&q);
}
END_TEST

START_TEST(a_full_queue_says_so)
{
    struct sim_queue q;
    ck_assert(sim_queue_init(&q));
    for (uint32_t i = 0; i < SIM_EVENTS_MAX; i++)
        ck_assert(sim_queue_push(&q, (struct sim_event) { .at = i }));
    ck_assert(!sim_queue_push(&q, (struct sim_event) { .at = 0 }));
    ck_assert_uint_eq(q.peak, SIM_EVENTS_MAX);
    sim_queue_close(&q);
}
END_TEST

START_TEST(mono_never_goes_back_when_the_wall_clock_jumps)
{
    struct sim_clock c = { .drift_ppm = -200, .wall_off_ns = 5000 };
    sim_clock_start(&c, 1000);
    uint64_t last = 0;
    for (uint64_t t = 1000; t < 3000000000; t += 7000001) {
        struct port_time now = sim_clock_read(&c, t);
        ck_assert_uint_ge(now.mono_ns, last);
        last = now.mono_ns;
        int64_t by = t % 2 == 0 ? -1000000000 : 900000000;
        sim_clock_jump(&c, by);
        struct port_time then = sim_clock_read(&c, t);
        ck_assert_uint_eq(then.mono_ns, now.mono_ns);
        ck_assert_int_eq((int64_t)(then.wall_ns - now.wall_ns), by);
    }
}
END_TEST

START_TEST(a_deadline_is_reached_when_it_is_due)
{
    static const int64_t drifts[] = { -500, -1, 0, 1, 500 };
    for (size_t i = 0; i < 5; i++) {
        struct sim_clock c = { .drift_ppm = drifts[i] };
        sim_clock_start(&c, 0);
        uint64_t wanted = sim_clock_read(&c, 12345).mono_ns + 1000000000;
        uint64_t due = sim_clock_due(&c, 12345, wanted);
        int64_t late = (int64_t)(sim_clock_read(&c, due).mono_ns - wanted);
        ck_assert(late >= -2 && late <= 1000);
        ck_assert_uint_eq(sim_clock_due(&c, 12345, 0), 12346);
        ck_assert_uint_eq(sim_clock_due(&c, 12345, PORT_NEVER), PORT_NEVER);
    }
}
END_TEST

START_TEST(mono_begins_anew_with_its_host)
{
    struct sim_clock c = { 0 };
    sim_clock_start(&c, 0);
    uint64_t before = sim_clock_read(&c, 5000000).mono_ns;
    sim_clock_start(&c, 5000000);
    ck_assert_uint_lt(sim_clock_read(&c, 5000000).mono_ns, before);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_parts");
    TCase *t = tcase_create("parts");
    tcase_add_test(t, chance_is_the_same_everywhere);
    tcase_add_test(t, chance_stays_in_its_bounds);
    tcase_add_test(t, events_come_in_order_and_ties_as_scheduled);
    tcase_add_test(t, a_full_queue_says_so);
    tcase_add_test(t, mono_never_goes_back_when_the_wall_clock_jumps);
    tcase_add_test(t, a_deadline_is_reached_when_it_is_due);
    tcase_add_test(t, mono_begins_anew_with_its_host);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
