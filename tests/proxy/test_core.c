/* The core's own part: it follows, it goes back over a fork without a replay and is then what the leader is, it
 * holds back what its memory of /sys can't take, and it says how it is. */
#include "proxy/base.h"
#include "rig.h"

static void same_as_the_leader(const struct rig *r)
{
    ck_assert_uint_eq(catalog_digest(proxy_catalog(r->proxy)), catalog_digest(r->leader.catalog));
    ck_assert_uint_eq(proxy_seq(r->proxy), rig_tip(r));
}

START_TEST(after_a_fork_its_catalog_is_the_leaders)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    rig_say(r, "/a", "stable");
    rig_run(r);
    r->leader.hold_stable = true;
    uint64_t common[6];
    for (uint32_t i = 0; i < 6; i++) {
        char path[32];
        snprintf(path, sizeof path, "/topic/%u", i);
        rig_topic(r, path);
        rig_grant(r, &key, ACCESS_READ, path);
        common[i] = rig_tip(r);
        rig_say(r, path, "x");
    }
    rig_run(r);
    same_as_the_leader(r);
    for (uint32_t i = 6; i-- > 0;) { /* further and further back */
        rig_fork(r, common[i]);
        rig_run(r);
        same_as_the_leader(r);
        ck_assert(proxy_ready(r->proxy));
    }
    r->leader.stable = rig_tip(r);
    rig_say(r, "/b", "and on");
    rig_run(r);
    same_as_the_leader(r);
    ck_assert_uint_eq(rig_counter(r, COUNTER_FORKS), 6);
    rig_free(r);
}
END_TEST

START_TEST(forks_at_random_places_again_and_again)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    uint64_t noise = 1;
    r->leader.hold_stable = true;
    for (uint32_t i = 0; i < 400; i++) {
        char path[32];
        noise = noise * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint32_t roll = (uint32_t)(noise >> 40);
        snprintf(path, sizeof path, "/r/%u", roll % 40);
        if (roll % 7 < 3)
            rig_topic(r, path);
        else if (roll % 7 < 5)
            rig_grant(r, &key, ACCESS_WRITE, path);
        else if (roll % 7 == 5 && rig_tip(r) > r->leader.stable)
            r->leader.stable += roll % (rig_tip(r) - r->leader.stable + 1);
        else
            rig_fork(r, r->leader.stable + roll % (rig_tip(r) - r->leader.stable + 1));
        rig_run(r);
        same_as_the_leader(r);
    }
    ck_assert_uint_gt(rig_counter(r, COUNTER_FORKS), 10);
    rig_free(r);
}
END_TEST

START_TEST(what_its_memory_of_sys_cannot_take_waits_for_the_watermark)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    r->leader.hold_stable = true;
    for (uint32_t i = 0; i < 22000; i++) {
        if (i % 2 == 0)
            rig_grant(r, &key, ACCESS_READ, "/flip");
        else
            rig_revoke(r, &key, ACCESS_READ, "/flip");
    }
    for (int i = 0; i < 50; i++)
        rig_round(r);
    ck_assert_uint_lt(proxy_seq(r->proxy), rig_tip(r));
    r->leader.stable = rig_tip(r);
    rig_pass(r, 20 * SECOND);
    same_as_the_leader(r);
    rig_free(r);
}
END_TEST

START_TEST(a_run_that_an_epoch_record_cuts_off_is_not_sent)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    size_t length;
    rig_grant(r, &key, ACCESS_READ, "/a");
    uint32_t topic = rig_topic(r, "/a/x"), id = rig_join(r, "x", 3), c = rig_login(r, &key);
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    rig_run(r);
    r->leader.hold_stable = true;
    rig_emit(r, topic, id, 1, MESSAGE_MORE, "half", 4);
    rig_run(r);
    rig_fork(r, rig_tip(r)); /* nothing is lost, but who was in the middle of it is gone */
    rig_run(r);
    ck_assert_uint_eq(rig_counter(r, COUNTER_RUNS_VOIDED), 1);
    rig_emit(r, topic, id, 1, 0, "whole", 5);
    rig_run(r);
    struct edge_message m;
    const uint8_t *body = rig_next(r, c, EDGE_MESSAGE, &length);
    ck_assert(body != NULL && edge_message_decode(body, length, &m));
    ck_assert_mem_eq(m.payload, "whole", 5);
    same_as_the_leader(r);
    rig_free(r);
}
END_TEST

/* Two leaders in turn: the second goes on with one of the first's runs in its middle, and the third with the
 * first's history, on which the run goes on. Its beginning is then not at hand: it is followed anew. */
START_TEST(a_run_that_a_fork_goes_back_into_is_whole)
{
    for (uint32_t ended = 0; ended <= 1; ended++) { /* as far as the proxy had it */
        struct rig *r = rig_new();
        struct rig_key key = rig_key(2);
        rig_grant(r, &key, ACCESS_READ, "/a");
        uint32_t topic = rig_topic(r, "/a/x"), id = rig_join(r, "x", 3), c = rig_login(r, &key);
        rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
        rig_run(r);
        r->leader.hold_stable = true;
        r->leader.fills_gaps = true;
        uint8_t more = MESSAGE_MORE | MESSAGE_FRAGMENT;
        uint64_t first = rig_emit(r, topic, id, 1, more, "a ", 2);
        rig_emit(r, topic, id, 2, more, "whole ", 6);
        if (ended == 0)
            rig_run(r);
        rig_emit(r, topic, id, 3, 0, "run", 3);
        if (ended == 1)
            rig_run(r);
        struct leader_batch left[2];
        memcpy(left, &r->leader.log[r->leader.log_count - 2], sizeof left);
        rig_fork(r, first);
        rig_run(r);
        same_as_the_leader(r);
        ck_assert(r->streams[c - 1].open); /* nobody is the worse for the first fork */
        rig_fork_to(r, first, left, 2);
        rig_pass(r, 20 * SECOND);
        same_as_the_leader(r);
        r->leader.hold_stable = false; /* it has joined again */
        r->leader.stable = rig_tip(r);
        rig_run(r);
        struct edge_message m;
        size_t length;
        c = rig_login(r, &key);
        rig_subscribe(r, c, "/a", EDGE_FROM_POSITION);
        rig_run(r);
        const uint8_t *body = rig_next(r, c, EDGE_MESSAGE, &length);
        ck_assert(body != NULL && edge_message_decode(body, length, &m));
        ck_assert_uint_eq(m.length, 11);
        ck_assert_mem_eq(m.payload, "a whole run", 11);
        rig_free(r);
    }
}
END_TEST

START_TEST(it_says_how_it_is)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    uint64_t gauges[COUNTER_END] = { 0 };
    ck_assert_str_eq(proxy_state(r->proxy), "serving");
    rig_login(r, &key);
    proxy_gauges(r->proxy, gauges);
    ck_assert_uint_eq(gauges[COUNTER_SESSIONS], 1);
    ck_assert_uint_eq(gauges[COUNTER_TIP], rig_tip(r));
    ck_assert_uint_eq(gauges[COUNTER_STABLE], rig_tip(r));
    ck_assert_uint_eq(gauges[COUNTER_MEMORY], proxy_memory(&r->options));
    proxy_drain(r->proxy, r->now);
    rig_run(r);
    ck_assert_str_eq(proxy_state(r->proxy), "drained");
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_core");
    TCase *all = tcase_create("core");
    tcase_add_test(all, after_a_fork_its_catalog_is_the_leaders);
    tcase_add_test(all, forks_at_random_places_again_and_again);
    tcase_add_test(all, what_its_memory_of_sys_cannot_take_waits_for_the_watermark);
    tcase_add_test(all, a_run_that_an_epoch_record_cuts_off_is_not_sent);
    tcase_add_test(all, a_run_that_a_fork_goes_back_into_is_whole);
    tcase_add_test(all, it_says_how_it_is);
    suite_add_tcase(suite, all);
    return rig_suite(suite);
}
