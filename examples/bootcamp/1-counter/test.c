/* Replicas of the counter agree, whenever they were started and however often restarted. */
#include "examples/bootcamp/bootcamp.h"

START_TEST(replicas_agree)
{
    struct sim_options options = { .seed = 1 };
    struct sim *s = sim_open(&options);
    uint32_t a = sim_add_app(s, &cantus_app_v1, "", NULL, CANTUS_STABLE);
    uint32_t b = sim_add_app(s, &cantus_app_v1, "", NULL, CANTUS_STABLE);
    bootcamp_wait(s);
    bootcamp_publish(s, "/visits", "ada");
    bootcamp_publish(s, "/visits", "ada");
    bootcamp_publish(s, "/visits", "grace");
    ck_assert_msg(sim_app_digest(s, a) == sim_app_digest(s, b),
                  "two replicas differ at seq %llu: is all of the state in `state`?",
                  (unsigned long long)sim_seq(s, a));
    sim_close(s);
}
END_TEST

START_TEST(a_restarted_replica_agrees)
{
    struct sim_options options = { .seed = 2 };
    struct sim *s = sim_open(&options);
    uint32_t a = sim_add_app(s, &cantus_app_v1, "", NULL, CANTUS_STABLE);
    bootcamp_wait(s);
    bootcamp_publish(s, "/visits", "ada");
    bootcamp_publish(s, "/visits", "grace");
    uint64_t before = sim_app_digest(s, a);
    sim_crash(s, a);
    sim_restart(s, a);
    bootcamp_wait(s);
    ck_assert_msg(sim_app_digest(s, a) == before,
                  "restarted, the replica is in another state than before");
    sim_close(s);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { replicas_agree, a_restarted_replica_agrees };
    return bootcamp_run("counter", tests, 2);
}
