/* Where keys are logged in, by a proxy's core that follows a leader (rig.h) which is told of other proxies: what they
 * write on /sys/edge, that they come and go, join anew, and what a fork takes back. And what comes of it: a key that is
 * logged in at two proxies has half of its rate at each, counted in messages that are let through. */
#include "proxy/core_private.h"
#include "rig.h"

static uint32_t other_proxy(struct rig *r, const char *name, uint64_t nonce)
{
    char identity[IDENTITY_MAX + 1];
    snprintf(identity, sizeof identity, SYS_EDGE_PROXY "%s", name);
    return rig_join(r, identity, nonce);
}

static uint64_t write_down(struct rig *r, uint32_t publisher, const struct sys_edge *e)
{
    uint8_t payload[SYS_EDGE_SIZE_MAX];
    size_t length = sys_edge_encode(e, payload, sizeof payload);
    ck_assert_uint_gt(length, 0);
    return rig_emit(r, TOPIC_EDGE, publisher, ledger_next(&r->leader.ledger, publisher), 0, payload,
                    length);
}

static uint64_t say_present(struct rig *r, uint32_t publisher, uint32_t lasts_ms)
{
    const struct sys_edge e = { .kind = SYS_EDGE_PRESENT, .lasts_ms = lasts_ms };
    return write_down(r, publisher, &e);
}

static uint64_t say_session(struct rig *r, uint32_t publisher, enum sys_edge_kind kind,
                            const struct rig_key *key, uint64_t session)
{
    struct sys_edge e = { .kind = kind, .session = session, .has_key = true };
    memcpy(e.key, key->public, sizeof e.key);
    return write_down(r, publisher, &e);
}

static uint32_t proxies_of(struct rig *r, const struct rig_key *key)
{
    rig_run(r);
    return logins_proxies(r->proxy->logins, key->public);
}

START_TEST(a_key_counts_where_it_has_a_session)
{
    struct rig *r = rig_new();
    const struct rig_key key = rig_key(2), another = rig_key(3);
    uint32_t a = other_proxy(r, "a", 1), b = other_proxy(r, "b", 2);
    say_present(r, a, 60000);
    say_present(r, b, 60000);
    ck_assert_uint_eq(proxies_of(r, &key), 0);
    say_session(r, a, SYS_EDGE_LOGIN, &key, 1);
    say_session(r, a, SYS_EDGE_LOGIN, &key, 2);
    ck_assert_uint_eq(proxies_of(r, &key), 1);
    ck_assert_uint_eq(proxies_of(r, &another), 0);
    say_session(r, b, SYS_EDGE_LOGIN, &key, 3);
    ck_assert_uint_eq(proxies_of(r, &key), 2);
    say_session(r, a, SYS_EDGE_LOGOUT, &key, 1);
    ck_assert_uint_eq(proxies_of(r, &key), 2);
    say_session(r, a, SYS_EDGE_LOGOUT, &key, 2);
    say_session(r, a, SYS_EDGE_LOGOUT, &key, 2); /* of nobody */
    ck_assert_uint_eq(proxies_of(r, &key), 1);
    uint32_t c = rig_login(r, &key); /* at this one */
    ck_assert_uint_eq(proxies_of(r, &key), 2);
    rig_hang_up(r, c);
    ck_assert_uint_eq(proxies_of(r, &key), 1);
    rig_free(r);
}
END_TEST

START_TEST(a_proxy_that_is_gone_takes_its_sessions_along)
{
    struct rig *r = rig_new();
    const struct rig_key key = rig_key(2);
    uint32_t a = other_proxy(r, "a", 1), b = other_proxy(r, "b", 2);
    say_session(r, a, SYS_EDGE_LOGIN, &key, 1);
    say_session(r, b, SYS_EDGE_LOGIN, &key, 2);
    ck_assert_uint_eq(proxies_of(r, &key), 0); /* neither has said that it is there */
    say_present(r, a, 1000);
    say_present(r, b, 60000);
    ck_assert_uint_eq(proxies_of(r, &key), 2);
    r->leader.timestamp_ns += 2 * SECOND;
    rig_say(r, "/x", "time goes on");
    ck_assert_uint_eq(proxies_of(r, &key), 1);
    other_proxy(r, "b", 3); /* another process */
    ck_assert_uint_eq(proxies_of(r, &key), 0);
    say_session(r, b, SYS_EDGE_LOGOUT, &key, 2); /* of one before it: nothing */
    say_session(r, b, SYS_EDGE_LOGIN, &key, 3);
    ck_assert_uint_eq(proxies_of(r, &key), 1);
    rig_free(r);
}
END_TEST

START_TEST(a_fork_takes_back_logins_and_logouts)
{
    struct rig *r = rig_new();
    const struct rig_key key = rig_key(2);
    uint32_t a = other_proxy(r, "a", 1), b = other_proxy(r, "b", 2);
    say_present(r, a, 60000);
    say_present(r, b, 60000);
    uint64_t common = say_session(r, a, SYS_EDGE_LOGIN, &key, 1);
    ck_assert_uint_eq(proxies_of(r, &key), 1);
    r->leader.hold_stable = true;
    say_session(r, a, SYS_EDGE_LOGOUT, &key, 1);
    say_session(r, b, SYS_EDGE_LOGIN, &key, 2);
    say_session(r, b, SYS_EDGE_LOGIN, &key, 3);
    other_proxy(r, "a", 3);
    say_session(r, a, SYS_EDGE_LOGIN, &key, 4);
    ck_assert_uint_eq(proxies_of(r, &key), 2);
    rig_fork(r, common);
    ck_assert_uint_eq(proxies_of(r, &key), 1);
    r->leader.hold_stable = false;
    say_session(r, a, SYS_EDGE_LOGOUT, &key, 1);
    ck_assert_uint_eq(proxies_of(r, &key), 0);
    rig_free(r);
}
END_TEST

/* More than there are places for: nobody has more than his part. */
START_TEST(without_a_place_each_key_counts_everywhere)
{
    struct rig *r = rig_new();
    uint32_t a = other_proxy(r, "a", 1);
    struct rig_key key = rig_key(2);
    struct logins *l = r->proxy->logins;
    struct sys_edge e = { .kind = SYS_EDGE_LOGIN, .session = 1, .has_key = true };
    uint8_t payload[SYS_EDGE_SIZE_MAX];
    say_present(r, a, 60000);
    ck_assert_uint_eq(proxies_of(r, &key), 0);
    struct message m = { .topic = TOPIC_EDGE, .publisher = a, .payload = payload };
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i <= LOGINS_PAIRS_MAX; i++) {
            memcpy(e.key, &i, sizeof i);
            e.kind = SYS_EDGE_LOGIN;
            m.length = (uint32_t)sys_edge_encode(&e, payload, sizeof payload);
            m.seq = 1;
            logins_message(l, &m);
            logins_stable(l, 1);
            if (round > 0)
                continue;
            e.kind = SYS_EDGE_LOGOUT; /* its place is free again */
            m.length = (uint32_t)sys_edge_encode(&e, payload, sizeof payload);
            logins_message(l, &m);
            logins_stable(l, 1);
        }
        ck_assert_uint_eq(logins_proxies(l, key.public), round == 0 ? 0 : 2);
    }
    rig_free(r);
}
END_TEST

/* ---- rates ------------------------------------------------------------------------------------ */

enum { RATE = 100, SECONDS = 10, BURST = RATE / 10 };

/* So many are let through in ten seconds: what is offered is always more. */
static uint32_t let_through(struct rig *r, const struct rig_key *key)
{
    struct limiter *l = r->proxy->limiter;
    uint64_t from = r->now.mono_ns, at = from;
    uint32_t count = 0, account = limiter_enter(l, key->public, 0);
    while (at < from + SECONDS * SECOND) {
        uint64_t wait = limiter_take(l, account, "/a", 2, 10, at);
        count += wait == 0;
        at = wait > at ? wait : at;
    }
    r->now.mono_ns = at;
    limiter_leave(l, account);
    return count;
}

START_TEST(the_rate_of_a_key_is_divided_where_it_is_logged_in)
{
    struct rig *r = rig_new();
    const struct rig_key key = rig_key(2);
    const struct limit limit = { .messages_per_s = RATE };
    struct limit_whom whom = { .who = LIMIT_KEY };
    memcpy(whom.key, key.public, sizeof whom.key);
    rig_limit(r, &whom, &limit);
    uint32_t a = other_proxy(r, "a", 1);
    say_present(r, a, 3600000);
    (void)rig_login(r, &key);
    rig_run(r);
    uint32_t whole = let_through(r, &key);
    ck_assert_uint_ge(whole, SECONDS * RATE);
    ck_assert_uint_le(whole, SECONDS * RATE + BURST + 1);
    say_session(r, a, SYS_EDGE_LOGIN, &key, 1);
    ck_assert_uint_eq(proxies_of(r, &key), 2);
    uint32_t half = let_through(r, &key);
    ck_assert_uint_ge(half, SECONDS * RATE / 2 - 1);
    ck_assert_uint_le(half, SECONDS * RATE / 2 + 1);
    say_session(r, a, SYS_EDGE_LOGOUT, &key, 1);
    rig_run(r);
    ck_assert_uint_ge(let_through(r, &key), SECONDS * RATE - 1);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logins");
    TCase *t = tcase_create("logins");
    tcase_add_test(t, a_key_counts_where_it_has_a_session);
    tcase_add_test(t, a_proxy_that_is_gone_takes_its_sessions_along);
    tcase_add_test(t, a_fork_takes_back_logins_and_logouts);
    tcase_add_test(t, without_a_place_each_key_counts_everywhere);
    tcase_add_test(t, the_rate_of_a_key_is_divided_where_it_is_logged_in);
    suite_add_tcase(suite, t);
    return rig_suite(suite);
}
