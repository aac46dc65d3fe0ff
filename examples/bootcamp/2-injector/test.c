/* The six prices are in the stream once each, whatever crashed when. */
#include "examples/bootcamp/bootcamp.h"

enum { PRICES = 6 };

START_TEST(all_prices_arrive)
{
    struct sim_options options = { .seed = 1 };
    struct sim *s = sim_open(&options);
    sim_add_app(s, &cantus_app_v1, "", "injector", CANTUS_STABLE);
    bootcamp_wait(s);
    ck_assert_uint_eq(sim_sequenced(s, "/prices"), PRICES);
    sim_close(s);
}
END_TEST

/* Lets `steps` datagrams through, then crashes the injector and starts it again. */
static void crash_after(uint32_t steps)
{
    struct sim_options options = { .seed = 2 };
    struct sim *s = sim_open(&options);
    uint32_t injector = sim_add_app(s, &cantus_app_v1, "", "injector", CANTUS_STABLE);
    for (uint32_t i = 0; i < steps && sim_in_flight(s) > 0; i++)
        sim_deliver(s, 0);
    sim_crash(s, injector);
    sim_restart(s, injector);
    bootcamp_wait(s);
    uint64_t found = sim_sequenced(s, "/prices");
    ck_assert_msg(found == PRICES,
                  "crashed after %u datagrams: %llu prices are in the stream instead of %d", steps,
                  (unsigned long long)found, PRICES);
    sim_close(s);
}

START_TEST(exactly_once_after_a_crash)
{
    for (uint32_t steps = 0; steps < 60; steps += 3)
        crash_after(steps);
}
END_TEST

START_TEST(asking_does_not_change_the_answer)
{
    struct sim_options options = { .seed = 3 };
    struct sim *s = sim_open(&options);
    uint32_t injector = sim_add_app(s, &cantus_app_v1, "", NULL, CANTUS_STABLE);
    bootcamp_wait(s);
    struct cantus_proposal first, second;
    ck_assert(sim_would_propose(s, injector, &first));
    char payload[16] = "";
    memcpy(payload, first.payload, first.length);
    ck_assert(sim_would_propose(s, injector, &second));
    ck_assert_msg(second.length == strlen(payload) &&
                      memcmp(payload, second.payload, second.length) == 0,
                  "asked twice in one state, it says two different things");
    sim_close(s);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { all_prices_arrive, exactly_once_after_a_crash,
                                   asking_does_not_change_the_answer };
    return bootcamp_run("injector", tests, 3);
}
