/* One pong a ping, and never a quarantine. */
#include "examples/bootcamp/bootcamp.h"

START_TEST(one_pong_a_ping)
{
    struct sim_options options = { .seed = 1 };
    struct sim *s = sim_open(&options);
    uint32_t app = sim_add_app(s, &cantus_app_v1, "", "ponger", CANTUS_STABLE);
    bootcamp_wait(s);
    for (int i = 1; i <= 3; i++) {
        bootcamp_publish(s, "/ping", "ping");
        ck_assert_msg(!sim_app_quarantined(s, app),
                      "quarantined: it keeps proposing what is already sequenced");
        ck_assert_uint_eq(sim_sequenced(s, "/pong"), (unsigned)i);
    }
    sim_close(s);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { one_pong_a_ping };
    return bootcamp_run("forever", tests, 1);
}
