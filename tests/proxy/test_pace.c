/* What is written down for clients stays in the stream, and their publishers and topics in everybody's catalog,
 * for ever. Goal: whoever logs in and out, changes its subscription or makes up names as fast as it can adds no
 * more than the stated pace, however it goes about it, while an honest client beside it goes on. */
#include "rig.h"

enum { ELSEWHERE = 0x0a000001 };

static struct proxy_options paced(uint32_t addr_s, uint32_t addr_burst, uint32_t key_s,
                                  uint32_t key_burst)
{
    struct proxy_options o;
    proxy_options_default(&o);
    o.sessions_max = 512;
    o.recent_bytes = o.view_bytes = 8 << 20;
    o.relay_bytes = 32 << 20;
    o.subtrees_max = 65536;
    o.records_per_addr_s = addr_s;
    o.records_per_addr_burst = addr_burst;
    o.records_per_key_s = key_s;
    o.records_per_key_burst = key_burst;
    return o;
}

static struct edge_opened honest(struct rig *r, uint32_t *c)
{
    struct rig_key key = rig_key(99);
    rig_grant(r, &key, ACCESS_READ | ACCESS_WRITE, "/honest");
    rig_topic(r, "/honest/a");
    *c = rig_login(r, &key);
    return rig_opened(r, *c, "h", 5);
}

static void goes_on(struct rig *r, uint32_t c, uint32_t publisher, uint64_t number)
{
    rig_publish(r, c, publisher, number, "/honest/a", "x");
    rig_run(r);
    ck_assert_uint_eq(rig_outcome(r, c).number, number);
}

START_TEST(an_address_that_logs_in_and_out_waits_for_its_turn)
{
    enum { RATE = 10, BURST = 20, SECONDS = 10 };
    struct proxy_options o = paced(RATE, BURST, 0, 0);
    struct rig *r = rig_new_with(&o, false);
    uint32_t good;
    struct edge_opened h = honest(r, &good);
    uint64_t before = rig_counter(r, COUNTER_LOGINS), end = r->now.mono_ns + SECONDS * SECOND;
    uint64_t number = 0;
    uint32_t clients[16];
    for (int i = 0; i < 16; i++)
        rig_hello(r, clients[i] = rig_connect(r, ELSEWHERE), NULL);
    while (r->now.mono_ns < end) {
        rig_run(r);
        size_t length;
        for (int i = 0; i < 16; i++) {
            if (rig_next(r, clients[i], EDGE_ACCEPTED, &length) == NULL)
                continue;
            rig_hang_up(r, clients[i]); /* at once again */
            rig_hello(r, clients[i] = rig_connect(r, ELSEWHERE), NULL);
        }
        goes_on(r, good, h.publisher, ++number);
        rig_pass(r, 10 * MS);
    }
    uint64_t logins = rig_counter(r, COUNTER_LOGINS) - before;
    ck_assert_uint_le(logins, BURST + RATE * SECONDS + 2);
    ck_assert_uint_ge(logins, BURST + RATE * SECONDS - 2); /* it is paced, not locked out */
    ck_assert_uint_gt(rig_counter(r, COUNTER_THROTTLED), 0);
    rig_login(r, NULL); /* others need not wait */
    rig_free(r);
}
END_TEST

START_TEST(a_key_that_logs_in_too_often_is_refused_wherever_it_comes_from)
{
    enum { RATE = 2, BURST = 8 };
    struct proxy_options o = paced(0, 0, RATE, BURST);
    struct rig *r = rig_new_with(&o, false);
    struct rig_key key = rig_key(3);
    uint32_t good, in = 0;
    struct edge_opened h = honest(r, &good);
    for (uint32_t i = 0; i < 40; i++) {
        uint32_t c = rig_connect(r, ELSEWHERE + i);
        rig_hello(r, c, &key);
        rig_run(r);
        struct edge_welcome w = rig_welcome(r, c);
        rig_prove(r, c, &key, &w);
        rig_run(r);
        if (r->streams[c - 1].open) {
            rig_hang_up(r, c);
            in++;
        } else {
            rig_closed(r, c, EDGE_CLOSING_QUOTA);
        }
    }
    ck_assert_uint_ge(in, BURST);
    ck_assert_uint_le(in, BURST + 3);
    ck_assert_uint_eq(rig_counter(r, COUNTER_SESSIONS_REFUSED), 40 - in);
    goes_on(r, good, h.publisher, 1);
    rig_pass(r, SECOND);
    rig_login(r, &key);
    rig_free(r);
}
END_TEST

START_TEST(whoever_claims_a_key_without_having_it_costs_its_owner_nothing)
{
    struct proxy_options o = paced(0, 0, 1, 1);
    struct rig *r = rig_new_with(&o, false);
    struct rig_key key = rig_key(3), other = rig_key(4);
    for (uint32_t i = 0; i < 10; i++) {
        uint32_t c = rig_connect(r, ELSEWHERE);
        rig_hello(r, c, &key);
        rig_run(r);
        struct edge_welcome w = rig_welcome(r, c);
        rig_prove(r, c, &other, &w);
        rig_run(r);
        rig_closed(r, c, EDGE_CLOSING_IDENTITY);
    }
    rig_login(r, &key);
    rig_free(r);
}
END_TEST

START_TEST(changes_come_no_faster_than_the_pace)
{
    enum { RATE = 10, BURST = 20, SECONDS = 5, SAID = 500 };
    struct proxy_options o = paced(RATE, BURST, 0, 0);
    struct rig *r = rig_new_with(&o, false);
    rig_grant(r, NULL, ACCESS_READ, "/open");
    uint32_t good, c = rig_connect(r, ELSEWHERE);
    size_t length;
    struct edge_opened h = honest(r, &good);
    rig_hello(r, c, NULL);
    rig_run(r);
    rig_subscribe(r, c, "/open", EDGE_FROM_TIP);
    uint64_t tip = rig_tip(r);
    for (int i = 0; i < SAID; i++)
        rig_change(r, c, i % 2 == 0 ? "/open/a" : NULL, i % 2 == 1 ? "/open/a" : NULL);
    rig_pass(r, SECONDS * SECOND);
    uint32_t changed = 0;
    while (rig_next(r, c, EDGE_CHANGED, &length) != NULL)
        changed++;
    ck_assert_uint_ge(changed, BURST + RATE * SECONDS - 4);
    ck_assert_uint_le(changed, BURST + RATE * SECONDS);
    ck_assert_uint_le(rig_tip(r) - tip, changed + 2);
    goes_on(r, good, h.publisher, 1);
    rig_free(r);
}
END_TEST

START_TEST(a_key_that_nothing_is_granted_to_makes_no_publisher)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(3);
    uint32_t c = rig_login(r, &key);
    uint64_t joins = r->leader.joins;
    rig_open(r, c, "one", 1, 0);
    rig_run(r);
    struct edge_refused refused = rig_refused(r, c);
    ck_assert_uint_eq(refused.reason, EDGE_REFUSED_RIGHT);
    ck_assert_uint_eq(refused.right, ACCESS_WRITE);
    ck_assert_str_eq(refused.subject, "one");
    ck_assert_uint_eq(r->leader.joins, joins);
    rig_grant(r, NULL, ACCESS_WRITE, "/open");
    rig_opened(r, c, "one", 1);
    rig_free(r);
}
END_TEST

/* Each kind of OPEN that writes nothing, far more often than the key may have anything written down. */
START_TEST(an_open_that_fails_costs_its_key_nothing)
{
    enum { BURST = 10, TIMES = 40 };
    struct proxy_options o = paced(0, 0, 1, BURST);
    struct rig *r = rig_new_with(&o, false);
    struct rig_key key = rig_key(3), stranger = rig_key(4);
    rig_grant(r, &key, ACCESS_WRITE, "/its");
    uint32_t c = rig_login(r, &key), d = rig_login(r, &stranger), old = rig_login(r, &key);
    rig_opened(r, c, "open", 1);
    rig_opened(r, c, "held", 2);
    rig_opened(r, c, "held2", 3);
    uint64_t joins = r->leader.joins, number = 100;
    for (int i = 0; i < TIMES; i++) {
        rig_open(r, c, "open", number++, 0); /* open already */
        rig_run(r);
        ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_ORDER);
        rig_open(r, c, "a name that is far too long", number++, 0);
        rig_run(r);
        ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_NAME);
        rig_open(r, d, "one", number++, 0); /* nothing is granted to it */
        rig_run(r);
        ck_assert_uint_eq(rig_refused(r, d).reason, EDGE_REFUSED_RIGHT);
        rig_open(r, old, "held", number++, 1); /* it came back too late */
        rig_run(r);
        ck_assert_uint_eq(rig_next_superseded(r, old).incarnation, 1);
    }
    ck_assert_uint_eq(r->leader.joins, joins);
    ck_assert_uint_eq(rig_counter(r, COUNTER_THROTTLED), 0);
    rig_login(r, &key); /* who has the key, too, is still let in, and may publish */
    rig_opened(r, old, "new", number++);
    rig_free(r);
}
END_TEST

START_TEST(a_key_makes_up_so_many_publishers_and_has_what_it_made)
{
    enum { SHARE = RIG_PUBLISHERS_MAX / 8 };
    struct rig *r = rig_new();
    struct rig_key key = rig_key(3);
    uint32_t good, c = 0;
    struct edge_opened h = honest(r, &good);
    char name[16];
    rig_grant(r, &key, ACCESS_WRITE, "/its");
    for (uint32_t i = 0; i < SHARE; i++) {
        if (i % 8 == 0) {
            if (c != 0)
                rig_hang_up(r, c);
            c = rig_login(r, &key);
        }
        snprintf(name, sizeof name, "n%u", i);
        rig_opened(r, c, name, i + 1);
    }
    rig_hang_up(r, c);
    c = rig_login(r, &key);
    rig_open(r, c, "more", 1000, 0);
    rig_run(r);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_QUOTA);
    rig_opened(r, c, "n0", 1001);
    goes_on(r, good, h.publisher, 1);
    rig_free(r);
}
END_TEST

START_TEST(a_key_makes_so_many_topics_unless_its_limit_says_more)
{
    enum { SHARE = 1024 / 8 };
    struct rig *r = rig_new();
    struct rig_key key = rig_key(3);
    uint32_t good;
    struct edge_opened h = honest(r, &good);
    rig_grant(r, &key, ACCESS_WRITE, "/its");
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "one", 1);
    char path[32];
    for (uint32_t i = 0; i < SHARE; i++) {
        snprintf(path, sizeof path, "/its/%u", i);
        rig_publish(r, c, o.publisher, i + 1, path, "x");
    }
    rig_pass(r, 20 * SECOND);
    rig_publish(r, c, o.publisher, SHARE + 1, "/its/more", "x");
    rig_run(r);
    struct edge_refused refused = rig_refused(r, c);
    ck_assert_uint_eq(refused.reason, EDGE_REFUSED_QUOTA);
    ck_assert_str_eq(refused.subject, "/its/more");
    goes_on(r, good, h.publisher, 1);
    struct limit_whom whom = { .who = LIMIT_KEY };
    memcpy(whom.key, key.public, sizeof whom.key);
    rig_limit(r, &whom, &(struct limit) { .topics = SHARE + 1 });
    rig_publish(r, c, o.publisher, SHARE + 1, "/its/more", "x");
    rig_pass(r, SECOND);
    uint32_t outcomes = 0;
    size_t length;
    while (rig_next(r, c, EDGE_OUTCOME, &length) != NULL)
        outcomes++;
    ck_assert_uint_ge(outcomes, 1);
    rig_free(r);
}
END_TEST

START_TEST(an_address_that_fills_the_proxy_makes_room_for_others)
{
    enum { MAX = 64 };
    struct proxy_options o = paced(0, 0, 0, 0);
    o.sessions_max = MAX;
    o.logins_max = 16;
    struct rig *r = rig_new_with(&o, false);
    uint32_t crowd[MAX + 8], turned_away = 0, full = 0;
    for (int i = 0; i < MAX; i++)
        crowd[i] = rig_connect(r, ELSEWHERE);
    rig_run(r);
    ck_assert_uint_eq(proxy_sessions(r->proxy), MAX);
    for (int i = 0; i < 8; i++) { /* more of the same are not worth anybody's place */
        crowd[MAX + i] = rig_connect(r, ELSEWHERE);
        full += !r->streams[crowd[MAX + i] - 1].open;
    }
    ck_assert_uint_eq(full, 8);
    for (uint32_t i = 0; i < 10; i++)
        rig_login(r, NULL);
    ck_assert_uint_eq(rig_counter(r, COUNTER_LOGINS), 10);
    for (int i = 0; i < MAX; i++)
        turned_away += !r->streams[crowd[i] - 1].open;
    ck_assert_uint_eq(turned_away, 10);
    ck_assert_uint_eq(proxy_sessions(r->proxy), MAX);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_pace");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_test(all, an_address_that_logs_in_and_out_waits_for_its_turn);
    tcase_add_test(all, a_key_that_logs_in_too_often_is_refused_wherever_it_comes_from);
    tcase_add_test(all, whoever_claims_a_key_without_having_it_costs_its_owner_nothing);
    tcase_add_test(all, changes_come_no_faster_than_the_pace);
    tcase_add_test(all, a_key_that_nothing_is_granted_to_makes_no_publisher);
    tcase_add_test(all, an_open_that_fails_costs_its_key_nothing);
    tcase_add_test(all, a_key_makes_up_so_many_publishers_and_has_what_it_made);
    tcase_add_test(all, a_key_makes_so_many_topics_unless_its_limit_says_more);
    tcase_add_test(all, an_address_that_fills_the_proxy_makes_room_for_others);
    suite_add_tcase(suite, all);
    return rig_suite(suite);
}
