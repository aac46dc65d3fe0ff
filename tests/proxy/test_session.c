/* Sessions of clients that mean well, from the first byte to the last: how they log in, how slow and idle they may
 * be, and how a proxy sends them elsewhere. */
#include "rig.h"

/* ---- logging in ------------------------------------------------------------------------------ */

START_TEST(a_client_with_a_key_logs_in_publishes_and_gets_what_it_subscribed_to)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    size_t length;
    rig_grant(r, &key, ACCESS_READ | ACCESS_WRITE, "/a");
    uint32_t c = rig_login(r, &key);
    ck_assert_uint_eq(rig_counter(r, COUNTER_LOGINS), 1);
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    rig_run(r);
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_SUBSCRIBED, &length));
    struct edge_opened o = rig_opened(r, c, "one", 11);
    ck_assert_uint_eq(o.incarnation, 1);
    ck_assert_uint_eq(o.last_number, 0);
    rig_publish(r, c, o.publisher, 1, "/a/b", "hello");
    rig_run(r);
    const uint8_t *body = rig_next(r, c, EDGE_MESSAGE, &length);
    struct edge_message m;
    ck_assert(body != NULL && edge_message_decode(body, length, &m));
    ck_assert_uint_eq(m.publisher, o.publisher);
    ck_assert_mem_eq(m.payload, "hello", 5);
    struct edge_outcome out = rig_outcome(r, c);
    ck_assert_uint_eq(out.number, 1);
    ck_assert_uint_eq(out.seq, m.seq);
    ck_assert_uint_eq(out.reason, 0);
    ck_assert_uint_eq(r->leader.creates, 1);
    rig_free(r);
}
END_TEST

/* The records on /sys/edge of a kind, in the leader's log. */
static uint32_t records(const struct rig *r, enum sys_edge_kind kind, struct sys_edge *last)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < r->leader.log_count; i++) {
        struct batch_cursor cursor = batch_begin(r->leader.log[i].bytes, &r->leader.log[i].header);
        struct message m;
        struct sys_edge e;
        while (batch_next(&cursor, &m)) {
            if (m.topic != TOPIC_EDGE || !sys_edge_decode(m.payload, m.length, &e) ||
                e.kind != kind)
                continue;
            count++;
            *last = e;
        }
    }
    return count;
}

START_TEST(logins_and_logouts_are_written_down)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    struct sys_edge login, logout;
    uint32_t c = rig_login(r, &key);
    ck_assert_uint_eq(records(r, SYS_EDGE_LOGIN, &login), 1);
    ck_assert_mem_eq(login.key, key.public, sizeof login.key);
    ck_assert_uint_eq(login.ip, RIG_HERE);
    ck_assert_str_eq(login.agent, "rig");
    ck_assert_uint_eq(records(r, SYS_EDGE_LOGOUT, &logout), 0);
    struct proxy_client client;
    ck_assert(proxy_client_at(r->proxy, 0, &client));
    ck_assert_uint_eq(client.session, login.session);
    ck_assert(!proxy_client_at(r->proxy, client.at, &client));
    rig_hang_up(r, c);
    rig_run(r);
    ck_assert_uint_eq(records(r, SYS_EDGE_LOGOUT, &logout), 1);
    ck_assert_uint_eq(logout.session, login.session);
    ck_assert_uint_eq(logout.reason, 0);
    ck_assert_uint_eq(proxy_sessions(r->proxy), 0);
    rig_free(r);
}
END_TEST

/* A leader that is cut off has not heard of what was given meanwhile: by its history nobody is refused for good. */
START_TEST(what_a_fork_may_give_is_not_refused)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    rig_run(r);
    r->leader.stable = rig_tip(r);
    r->leader.hold_stable = true;
    uint64_t common = rig_tip(r);
    size_t length;
    uint32_t c = rig_login(r, &key), d = rig_login(r, &key);
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    rig_open(r, d, "p", 7, 0);
    rig_pass(r, 100 * MS);
    ck_assert_ptr_null(rig_next(r, c, EDGE_REFUSED, &length));
    ck_assert_ptr_null(rig_next(r, d, EDGE_REFUSED, &length));
    rig_fork(r, common);
    rig_grant(r, &key, ACCESS_READ | ACCESS_WRITE, "/a");
    rig_pass(r, 100 * MS);
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_SUBSCRIBED, &length));
    r->leader.hold_stable = false;
    rig_say(r, "/a/x", "by which the watermark is told");
    rig_pass(r, SECOND);
    ck_assert_uint_eq(rig_next_opened(r, d).incarnation, 1);
    rig_subscribe(r, d, "/b", EDGE_FROM_TIP);
    rig_run(r);
    ck_assert_uint_eq(rig_refused(r, d).reason, EDGE_REFUSED_RIGHT);
    rig_free(r);
}
END_TEST

START_TEST(nobody_in_particular_proves_nothing_and_has_what_anyone_has)
{
    struct rig *r = rig_new();
    rig_grant(r, NULL, ACCESS_READ, "/open");
    uint32_t c = rig_login(r, NULL);
    rig_subscribe(r, c, "/closed", EDGE_FROM_TIP);
    rig_run(r);
    struct edge_refused no = rig_refused(r, c);
    ck_assert_uint_eq(no.request, EDGE_SUBSCRIBE);
    ck_assert_uint_eq(no.reason, EDGE_REFUSED_RIGHT);
    ck_assert_uint_eq(no.right, ACCESS_READ);
    ck_assert_str_eq(no.subject, "/closed");
    ck_assert_uint_eq(rig_counter(r, COUNTER_REFUSED_RIGHT), 1);
    rig_subscribe(r, c, "/open", EDGE_FROM_TIP);
    rig_run(r);
    rig_say(r, "/open/a", "news");
    rig_run(r);
    size_t length;
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_MESSAGE, &length));
    rig_open(r, c, "me", 1, 0);
    rig_run(r);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_RIGHT);
    rig_free(r);
}
END_TEST

START_TEST(a_wrong_signature_is_the_end)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2), other = rig_key(3);
    uint32_t c = rig_connect(r, RIG_HERE);
    rig_hello(r, c, &key);
    rig_run(r);
    struct edge_welcome w = rig_welcome(r, c);
    other.public[0] = 0;
    memcpy(other.public, key.public, sizeof other.public);
    rig_prove(r, c, &other, &w);
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_IDENTITY);
    ck_assert_uint_eq(rig_counter(r, COUNTER_LOGINS_FAILED), 1);
    ck_assert_uint_eq(rig_counter(r, COUNTER_LOGINS), 0);
    rig_free(r);
}
END_TEST

/* True: a PROVE that was captured on one connection lets somebody in on another. */
static bool replays(uint32_t sabotage)
{
    struct proxy_options o = rig_options();
    o.sabotage = sabotage;
    struct rig *r = rig_new_with(&o, false);
    struct rig_key key = rig_key(2);
    uint32_t one = rig_connect(r, RIG_HERE), two = rig_connect(r, RIG_HERE);
    rig_hello(r, one, &key);
    rig_hello(r, two, &key);
    rig_run(r);
    struct edge_welcome w = rig_welcome(r, one);
    rig_prove(r, two, &key, &w);
    rig_run(r);
    bool in = r->streams[two - 1].open;
    rig_free(r);
    return in;
}

START_TEST(a_captured_login_is_worth_nothing_elsewhere)
{
    ck_assert(!replays(0));
    ck_assert(replays(PROXY_SAME_CHALLENGE));
}
END_TEST

START_TEST(other_versions_and_streams_are_told_so)
{
    struct rig *r = rig_new();
    uint8_t frame[256];
    struct edge_hello h = { .version = EDGE_VERSION + 1 };
    uint32_t c = rig_connect(r, RIG_HERE);
    rig_write(r, c, frame, edge_hello_encode(&h, frame, sizeof frame));
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_PROTOCOL);
    h = (struct edge_hello) { .version = EDGE_VERSION, .stream = RIG_STREAM + 1 };
    c = rig_connect(r, RIG_HERE);
    rig_write(r, c, frame, edge_hello_encode(&h, frame, sizeof frame));
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_STREAM);
    rig_free(r);
}
END_TEST

START_TEST(a_key_that_is_named_later_has_its_rights_at_once)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    size_t length;
    uint32_t c = rig_login(r, &key);
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    rig_run(r);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_RIGHT);
    rig_open(r, c, "p", 1, 0);
    rig_grant(r, &key, ACCESS_READ | ACCESS_WRITE, "/a");
    rig_run(r);
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    rig_run(r);
    rig_say(r, "/a/x", "for it");
    rig_run(r);
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_MESSAGE, &length));
    rig_free(r);
}
END_TEST

/* ---- slow and idle --------------------------------------------------------------------------- */

START_TEST(whoever_takes_nothing_is_cut_off_and_others_do_not_feel_it)
{
    struct rig *r = rig_new();
    struct rig_honest h = rig_honest_new(r);
    struct rig_key key = rig_key(2);
    static char text[1000];
    rig_grant(r, &key, ACCESS_READ, "/");
    uint32_t deaf = rig_login(r, &key), fine = rig_login(r, &key);
    rig_subscribe(r, deaf, "/", EDGE_FROM_TIP);
    rig_subscribe(r, fine, "/", EDGE_FROM_TIP);
    rig_run(r);
    r->streams[deaf - 1].deaf = true;
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 400; i++)
        rig_say(r, "/much", text);
    rig_pass(r, 20 * SECOND);
    ck_assert(r->streams[deaf - 1].open);
    rig_honest_goes_on(r, &h);
    rig_write(r, fine, "\x01\0\0\0\x07", 5); /* ALIVE */
    rig_pass(r, 15 * SECOND);
    ck_assert(!r->streams[deaf - 1].open);
    ck_assert_uint_eq(rig_counter(r, COUNTER_SESSIONS_SLOW), 1);
    rig_honest_goes_on(r, &h);
    size_t length;
    uint32_t got = 0;
    while (rig_next(r, fine, EDGE_MESSAGE, &length) != NULL)
        got++;
    ck_assert_uint_ge(got, 400);
    rig_free(r);
}
END_TEST

START_TEST(whoever_says_nothing_for_too_long_is_cut_off_and_alive_is_enough)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    uint32_t quiet = rig_login(r, &key), alive = rig_login(r, &key);
    size_t length;
    for (int i = 0; i < 7; i++) {
        rig_write(r, alive, "\x01\0\0\0\x07", 5);
        rig_pass(r, 10 * SECOND);
        ck_assert_ptr_nonnull(rig_next(r, alive, EDGE_ALIVE, &length));
    }
    rig_closed(r, quiet, EDGE_CLOSING_IDLE);
    ck_assert(r->streams[alive - 1].open);
    rig_free(r);
}
END_TEST

/* Half a request is as good as none: it may be all that ever comes. Whoever is not read from, for what it has
 * published waits for its limit, says nothing that could be heard, and is left in peace. */
START_TEST(half_a_request_is_no_sign_of_life_but_what_waits_for_a_limit_is)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2), limited = rig_key(3);
    struct limit_whom whom = { .who = LIMIT_KEY };
    const struct limit limit = { .messages_per_s = 1, .burst_ms = 1000 };
    memcpy(whom.key, limited.public, sizeof whom.key);
    rig_grant(r, &limited, ACCESS_WRITE, "/a");
    rig_limit(r, &whom, &limit);
    uint32_t half = rig_login(r, &key), waits = rig_login(r, &limited);
    struct edge_opened o = rig_opened(r, waits, "p", 7);
    rig_write(r, half, "\x20\0\0\0\x05", 5);
    for (uint64_t i = 1; i <= 100; i++)
        rig_publish(r, waits, o.publisher, i, "/a/x", "limited");
    for (int i = 0; i < 9; i++)
        rig_pass(r, 10 * SECOND);
    rig_closed(r, half, EDGE_CLOSING_IDLE);
    ck_assert(r->streams[waits - 1].open);
    for (int i = 0; i < 3; i++)
        rig_pass(r, 5 * SECOND);
    ck_assert_uint_eq(rig_times(r, "limited"), 100);
    ck_assert(r->streams[waits - 1].open); /* it has its minute from now on */
    for (int i = 0; i < 7; i++)
        rig_pass(r, 10 * SECOND);
    rig_closed(r, waits, EDGE_CLOSING_IDLE);
    rig_free(r);
}
END_TEST

START_TEST(a_flood_of_requests_that_are_not_answered_for_is_not_read)
{
    struct rig *r = rig_new();
    struct rig_honest h = rig_honest_new(r);
    struct rig_key key = rig_key(2);
    uint32_t c = rig_login(r, &key);
    r->streams[c - 1].deaf = true;
    for (int i = 0; i < 200000; i++)
        rig_write(r, c, "\x01\0\0\0\x07", 5);
    rig_honest_goes_on(r, &h);
    for (int i = 0; i < 1000; i++)
        rig_round(r);
    ck_assert_uint_gt(r->streams[c - 1].in_length, 0); /* its answers have no room any more */
    ck_assert_uint_le(r->streams[c - 1].untaken, 256 * 1024);
    rig_honest_goes_on(r, &h);
    rig_free(r);
}
END_TEST

/* ---- going elsewhere ------------------------------------------------------------------------- */

START_TEST(a_proxy_that_drains_sends_everybody_away)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    uint32_t c[200];
    for (uint32_t i = 0; i < 200; i++)
        c[i] = i < 100 ? rig_login(r, &key) : rig_connect(r, i);
    proxy_drain(r->proxy, r->now);
    ck_assert(!proxy_drained(r->proxy));
    rig_run(r);
    ck_assert(proxy_drained(r->proxy));
    for (uint32_t i = 0; i < 200; i++)
        rig_closed(r, c[i], EDGE_CLOSING_DRAIN);
    rig_closed(r, rig_connect(r, 7), EDGE_CLOSING_DRAIN);
    struct sys_edge last;
    ck_assert_uint_eq(records(r, SYS_EDGE_LOGOUT, &last), 100);
    rig_free(r);
}
END_TEST

/* ---- the proxy's own troubles ---------------------------------------------------------------- */

START_TEST(another_process_of_its_name_stops_it)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    uint32_t c = rig_login(r, &key);
    rig_join(r, "proxy.p1", 12345);
    rig_run(r);
    ck_assert(proxy_failed(r->proxy));
    ck_assert_ptr_nonnull(strstr(proxy_state(r->proxy), "name"));
    rig_closed(r, c, EDGE_CLOSING_DRAIN);
    rig_free(r);
}
END_TEST

START_TEST(a_fork_of_a_volatile_stream_sends_everybody_away_and_it_starts_over)
{
    struct proxy_options o = rig_options();
    struct rig *r = rig_new_with(&o, true);
    struct rig_key key = rig_key(2);
    uint32_t c = rig_login(r, &key);
    uint64_t seq = rig_say(r, "/a", "one");
    rig_say(r, "/a", "two");
    rig_run(r);
    rig_fork(r, seq);
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_DRAIN);
    rig_pass(r, SECOND);
    ck_assert_uint_eq(proxy_seq(r->proxy), 0); /* there is no store to start over from */
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_session");
    TCase *all = tcase_create("sessions");
    tcase_add_test(all, a_client_with_a_key_logs_in_publishes_and_gets_what_it_subscribed_to);
    tcase_add_test(all, logins_and_logouts_are_written_down);
    tcase_add_test(all, nobody_in_particular_proves_nothing_and_has_what_anyone_has);
    tcase_add_test(all, what_a_fork_may_give_is_not_refused);
    tcase_add_test(all, a_wrong_signature_is_the_end);
    tcase_add_test(all, a_captured_login_is_worth_nothing_elsewhere);
    tcase_add_test(all, other_versions_and_streams_are_told_so);
    tcase_add_test(all, a_key_that_is_named_later_has_its_rights_at_once);
    tcase_add_test(all, whoever_takes_nothing_is_cut_off_and_others_do_not_feel_it);
    tcase_add_test(all, whoever_says_nothing_for_too_long_is_cut_off_and_alive_is_enough);
    tcase_add_test(all, half_a_request_is_no_sign_of_life_but_what_waits_for_a_limit_is);
    tcase_add_test(all, a_flood_of_requests_that_are_not_answered_for_is_not_read);
    tcase_add_test(all, a_proxy_that_drains_sends_everybody_away);
    tcase_add_test(all, another_process_of_its_name_stops_it);
    tcase_add_test(all, a_fork_of_a_volatile_stream_sends_everybody_away_and_it_starts_over);
    suite_add_tcase(suite, all);
    return rig_suite(suite);
}
