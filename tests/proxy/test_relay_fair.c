/* That no publisher waits for another's flood: by the order in which a deaf or slow leader is sent
 * what clients publish, and by limits of keys and subtrees. */
#include "rig.h"

static struct rig_key key;

/* It may read and write /a, where there is /a/x. */
static struct rig *begin(void)
{
    key = rig_key(2);
    return rig_new_for(&key, "/a", "/a/x");
}

static uint64_t published_by(const struct rig *r, uint32_t c)
{
    struct proxy_client client = { 0 };
    while (proxy_client_at(r->proxy, client.at, &client))
        if (port_addr_equal(client.addr, r->streams[c - 1].addr))
            return client.published;
    return 0;
}

/* Ten greedy ones have all that fits their connections waiting; a polite one says one thing, and is
 * the last to be looked at. How many bytes of one greedy one are taken, and how many are sent,
 * between its arrival and its own turn, at most. */
static uint32_t waits_for(uint32_t quantum_bytes)
{
    enum { GREEDY = 10, PAYLOAD = 500, EACH = 600 };
    struct proxy_options o;
    proxy_options_default(&o);
    o.sessions_max = 64;
    o.recent_bytes = o.view_bytes = 8 << 20;
    o.relay_bytes = 32 << 20;
    o.quantum_bytes = quantum_bytes;
    struct rig *r = rig_new_with(&o, false);
    static char text[PAYLOAD + 1];
    uint32_t greedy[GREEDY], most = 0;
    uint64_t before[GREEDY];
    struct edge_opened of[GREEDY];
    key = rig_key(2);
    rig_grant(r, &key, ACCESS_READ | ACCESS_WRITE, "/a");
    rig_topic(r, "/a/x");
    memset(text, 'g', PAYLOAD);
    for (uint32_t i = 0; i < GREEDY; i++) {
        char name[16];
        snprintf(name, sizeof name, "greedy%u", i);
        greedy[i] = rig_login(r, &key);
        of[i] = rig_opened(r, greedy[i], name, i);
    }
    uint32_t c = rig_login(r, &key);
    struct edge_opened polite = rig_opened(r, c, "polite", 99);
    for (uint32_t i = 0; i < GREEDY; i++)
        for (uint64_t n = 1; n <= EACH; n++)
            rig_publish(r, greedy[i], of[i].publisher, n, "/a/x", text);
    rig_round(r);
    uint32_t from = r->leader.order_count;
    for (uint32_t i = 0; i < GREEDY; i++)
        before[i] = published_by(r, greedy[i]);
    rig_publish(r, c, polite.publisher, 1, "/a/x", "please");
    for (int i = 0; i < 4 && published_by(r, c) == 0; i++)
        rig_round(r);
    ck_assert_uint_eq(published_by(r, c), 1);
    for (uint32_t i = 0; i < GREEDY; i++) {
        uint32_t sent = 0;
        for (uint32_t k = from; k < r->leader.order_count && r->leader.order[k] != polite.publisher;
             k++)
            sent += r->leader.order[k] == of[i].publisher ? PAYLOAD : 0u;
        uint32_t taken = (uint32_t)(published_by(r, greedy[i]) - before[i]) * PAYLOAD;
        ck_assert_uint_gt(r->streams[greedy[i] - 1].in_length, 0); /* it has more to say */
        most = taken > most ? taken : most;
        most = sent > most ? sent : most;
    }
    rig_free(r);
    return most;
}

START_TEST(a_polite_publisher_waits_for_two_quanta_of_each_greedy_one_at_most)
{
    uint32_t fair = waits_for(16384);
    ck_assert_uint_gt(fair, 0);
    ck_assert_uint_le(fair, 2 * 16384);
    ck_assert_uint_gt(waits_for(1 << 20), 2 * 16384);
}
END_TEST

/* Nothing is sequenced any more: how many messages of one publisher are still taken of so many publishers that say
 * all they can. */
static uint64_t on_its_way(uint32_t publishers)
{
    enum { PAYLOAD = 500, EACH = 600 };
    struct rig *r = begin();
    static char text[PAYLOAD + 1];
    uint32_t clients[4];
    uint64_t most = 0, before[4];
    memset(text, 'g', PAYLOAD);
    struct edge_opened of[4];
    for (uint32_t i = 0; i < publishers; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%u", i);
        clients[i] = rig_login(r, &key);
        of[i] = rig_opened(r, clients[i], name, i);
    }
    for (uint32_t i = 0; i < publishers; i++)
        for (uint64_t n = 1; n <= EACH; n++)
            rig_publish(r, clients[i], of[i].publisher, n, "/a/x", text);
    for (int i = 0; i < 3; i++)
        rig_round(r);
    for (uint32_t i = 0; i < publishers; i++)
        before[i] = published_by(r, clients[i]);
    r->leader.deaf = true;
    for (int i = 0; i < 20; i++)
        rig_round(r);
    for (uint32_t i = 0; i < publishers; i++) {
        uint64_t taken = published_by(r, clients[i]) - before[i];
        most = taken > most ? taken : most;
    }
    rig_free(r);
    return most;
}

START_TEST(while_others_wait_half_a_quantum_of_each_is_on_its_way_at_most)
{
    ck_assert_uint_eq(on_its_way(1), 256); /* the window */
    uint64_t many = on_its_way(4);
    ck_assert_uint_gt(many, 0);
    ck_assert_uint_le(many, 16384 / 2 / 500 + 1);
}
END_TEST

START_TEST(a_rate_limit_holds_its_key_back_and_nobody_else)
{
    struct rig *r = begin();
    struct rig_key other = rig_key(3);
    struct limit_whom whom = { .who = LIMIT_KEY };
    const struct limit limit = { .messages_per_s = 100, .burst_ms = 50 };
    memcpy(whom.key, key.public, sizeof whom.key);
    rig_limit(r, &whom, &limit);
    rig_grant(r, &other, ACCESS_WRITE, "/a");
    uint32_t c = rig_login(r, &key), d = rig_login(r, &other);
    struct edge_opened o = rig_opened(r, c, "p", 7), q = rig_opened(r, d, "q", 8);
    rig_pass(r, SECOND);
    for (uint64_t i = 1; i <= 500; i++)
        rig_publish(r, c, o.publisher, i, "/a/x", "limited");
    for (uint64_t i = 1; i <= 200; i++)
        rig_publish(r, d, q.publisher, i, "/a/x", "free");
    rig_pass(r, 2 * SECOND);
    ck_assert_uint_eq(rig_times(r, "free"), 200);
    ck_assert_uint_ge(rig_times(r, "limited"), 195);
    ck_assert_uint_le(rig_times(r, "limited"), 210);
    ck_assert_uint_gt(rig_counter(r, COUNTER_THROTTLED), 0);
    rig_free(r);
}
END_TEST

START_TEST(a_limit_of_a_subtree_is_for_all_that_write_there_together)
{
    struct rig *r = begin();
    struct rig_key other = rig_key(3);
    const struct limit_whom whom = { .who = LIMIT_SUBTREE, .subtree = "/a/shared" };
    const struct limit limit = { .bytes_per_s = 10000, .burst_ms = 100 };
    rig_limit(r, &whom, &limit);
    rig_grant(r, &other, ACCESS_WRITE, "/a");
    rig_topic(r, "/a/shared/t");
    uint32_t c = rig_login(r, &key), d = rig_login(r, &other);
    struct edge_opened o = rig_opened(r, c, "p", 7), q = rig_opened(r, d, "q", 8);
    static char text[101];
    memset(text, 's', 100);
    for (uint64_t i = 1; i <= 200; i++) {
        rig_publish(r, c, o.publisher, i, "/a/shared/t", text);
        rig_publish(r, d, q.publisher, i, "/a/shared/t", text);
    }
    rig_pass(r, SECOND);
    ck_assert_uint_ge(rig_times(r, text), 100);
    ck_assert_uint_le(rig_times(r, text), 115);
    rig_free(r);
}
END_TEST

START_TEST(bytes_in_flight_are_limited)
{
    struct rig *r = begin();
    const struct limit_whom whom = { .who = LIMIT_EVERYONE };
    const struct limit limit = { .inflight_bytes = 350 };
    static char text[101];
    memset(text, 'i', 100);
    rig_limit(r, &whom, &limit);
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    r->leader.deaf = true;
    for (uint64_t i = 1; i <= 20; i++)
        rig_publish(r, c, o.publisher, i, "/a/x", text);
    rig_pass(r, 10 * MS);
    ck_assert_uint_eq(rig_counter(r, COUNTER_RELAYED), 3);
    r->leader.deaf = false;
    rig_pass(r, SECOND);
    ck_assert_uint_eq(rig_times(r, text), 20);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_relay_fair");
    TCase *all = tcase_create("fairness");
    tcase_add_test(all, a_polite_publisher_waits_for_two_quanta_of_each_greedy_one_at_most);
    tcase_add_test(all, while_others_wait_half_a_quantum_of_each_is_on_its_way_at_most);
    tcase_add_test(all, a_rate_limit_holds_its_key_back_and_nobody_else);
    tcase_add_test(all, a_limit_of_a_subtree_is_for_all_that_write_there_together);
    tcase_add_test(all, bytes_in_flight_are_limited);
    suite_add_tcase(suite, all);
    return rig_suite(suite);
}
