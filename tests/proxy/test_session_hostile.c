/* Sessions of clients that are confused or hostile. Each must cost a bounded amount, end as is
 * said, and leave everybody else alone: an honest client's round trip is looked at beside them. */
#include "rig.h"

/* ---- hostile bytes --------------------------------------------------------------------------- */

START_TEST(dribbled_bytes_are_as_good_as_others)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    rig_grant(r, &key, ACCESS_READ | ACCESS_WRITE, "/a");
    uint32_t c = rig_connect(r, RIG_HERE), scratch = rig_connect(r, RIG_HERE);
    const struct rig_stream *from = &r->streams[scratch - 1];
    size_t done = 0;
    rig_hello(r, scratch, &key);
    for (int stage = 0; stage < 3; stage++) {
        for (; done < from->in_length; done++) {
            rig_write(r, c, from->in + done, 1);
            r->streams[scratch - 1].open = false; /* its bytes are not for the proxy */
            rig_round(r);
        }
        rig_run(r);
        if (stage == 0) {
            struct edge_welcome w = rig_welcome(r, c);
            rig_prove(r, scratch, &key, &w);
        } else if (stage == 1) {
            rig_subscribe(r, scratch, "/a", EDGE_FROM_TIP);
            rig_open(r, scratch, "slow", 1, 0);
        }
    }
    size_t length;
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_OPENED, &length));
    r->streams[scratch - 1].open = true;
    rig_free(r);
}
END_TEST

static uint64_t noise;

static uint8_t draw(void)
{
    noise = noise * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint8_t)(noise >> 40);
}

START_TEST(garbage_ends_whoever_says_it)
{
    struct rig *r = rig_new();
    struct rig_honest h = rig_honest_new(r);
    struct rig_key key = rig_key(2);
    for (uint32_t i = 0; i < 300; i++) {
        uint8_t bytes[600];
        uint32_t c = i % 2 == 0 ? rig_connect(r, 7) : rig_login(r, &key);
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = draw();
        if (i % 3 == 0) { /* a frame that is whole, of a known type, with garbage inside */
            wire_store32(bytes, sizeof bytes - 4);
            bytes[4] = (uint8_t)(1 + i / 3 % 7);
        }
        rig_write(r, c, bytes, sizeof bytes);
        rig_run(r);
        ck_assert(!r->streams[c - 1].open || r->streams[c - 1].in_length <= sizeof bytes);
        if (r->streams[c - 1].open)
            rig_hang_up(r, c);
        if (i % 50 == 0)
            rig_honest_goes_on(r, &h);
    }
    ck_assert_uint_gt(rig_counter(r, COUNTER_SESSIONS_MALFORMED), 250);
    rig_run(r);
    ck_assert_uint_eq(proxy_sessions(r->proxy), 1);
    rig_free(r);
}
END_TEST

START_TEST(giant_lengths_end_it_before_anything_is_kept)
{
    struct rig *r = rig_new();
    const uint8_t giant[][5] = {
        { 255, 255, 255, 255, 1 }, { 0, 0, 0, 0, 1 }, { 0, 8, 16, 0, 1 }, { 0, 0, 15, 0, 6 }
    };
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t c = rig_connect(r, RIG_HERE);
        rig_write(r, c, giant[i], sizeof giant[i]);
        rig_run(r);
        rig_closed(r, c, EDGE_CLOSING_PROTOCOL);
    }
    rig_free(r);
}
END_TEST

START_TEST(what_does_not_come_next_ends_it)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    uint32_t c = rig_connect(r, RIG_HERE);
    rig_publish(r, c, 1, 1, "/a", "x");
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_PROTOCOL);
    c = rig_connect(r, RIG_HERE);
    rig_hello(r, c, &key);
    rig_hello(r, c, &key);
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_PROTOCOL);
    c = rig_login(r, &key);
    rig_hello(r, c, &key);
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_PROTOCOL);
    c = rig_login(r, &key);
    const uint8_t welcome[] = { 1, 0, 0, 0, EDGE_WELCOME }; /* a proxy's word */
    rig_write(r, c, welcome, sizeof welcome);
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_PROTOCOL);
    rig_free(r);
}
END_TEST

START_TEST(thousands_that_say_nothing_hold_up_nobody_from_elsewhere)
{
    struct proxy_options o = rig_options();
    o.sessions_max = 4096;
    o.logins_max = 64;
    struct rig *r = rig_new_with(&o, false);
    struct rig_key key = rig_key(2);
    for (uint32_t i = 0; i < 3000; i++)
        rig_connect(r, 66);
    rig_run(r);
    uint32_t c = rig_connect(r, 1);
    rig_hello(r, c, &key);
    uint64_t before = r->now.mono_ns;
    rig_run(r); /* its turn comes, by deadlines of now alone */
    ck_assert_uint_eq(r->now.mono_ns, before);
    struct edge_welcome w = rig_welcome(r, c);
    rig_prove(r, c, &key, &w);
    rig_run(r);
    size_t length;
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_ACCEPTED, &length));
    ck_assert_uint_eq(proxy_sessions(r->proxy), 3001);
    rig_pass(r, 3 * SECOND + o.login_ns);
    ck_assert_uint_ge(rig_counter(r, COUNTER_LOGINS_FAILED),
                      8); /* an eighth of the turns is theirs */
    rig_free(r);
}
END_TEST

START_TEST(whoever_does_not_say_who_it_is_in_time_is_cut_off)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    uint32_t silent = rig_connect(r, 1), unproven = rig_connect(r, 2),
             dribbling = rig_connect(r, 3);
    rig_hello(r, unproven, &key);
    for (int i = 0; i < 8; i++) {
        if (r->streams[dribbling - 1].open)
            rig_write(r, dribbling, i == 0 ? "\x30" : "\0", 1);
        rig_pass(r, SECOND);
    }
    rig_closed(r, silent, EDGE_CLOSING_IDENTITY);
    rig_closed(r, unproven, EDGE_CLOSING_IDENTITY);
    ck_assert(!r->streams[dribbling - 1].open);
    rig_free(r);
}
END_TEST

START_TEST(signatures_are_checked_a_few_in_a_round)
{
    struct rig *r = rig_new();
    struct rig_honest h = rig_honest_new(r);
    struct rig_key key = rig_key(2);
    uint32_t first = r->stream_count + 1;
    for (uint32_t i = 0; i < 60; i++) {
        uint32_t c = rig_connect(r, 10 + i);
        rig_hello(r, c, &key);
    }
    rig_run(r);
    for (uint32_t i = 0; i < 60; i++) {
        struct edge_welcome w = rig_welcome(r, first + i);
        rig_prove(r, first + i, &key, &w);
    }
    uint64_t before = rig_counter(r, COUNTER_LOGINS);
    rig_honest_goes_on(r, &h); /* eight rounds */
    ck_assert_uint_le(rig_counter(r, COUNTER_LOGINS) - before, 16);
    rig_run(r);
    ck_assert_uint_eq(rig_counter(r, COUNTER_LOGINS) - before, 60);
    rig_free(r);
}
END_TEST

/* ---- quotas of connections ------------------------------------------------------------------- */

START_TEST(an_address_has_so_many_connections)
{
    struct proxy_options o = rig_options();
    o.sessions_per_addr = 3;
    struct rig *r = rig_new_with(&o, false);
    uint32_t c[4];
    for (int i = 0; i < 4; i++)
        c[i] = rig_connect(r, 9);
    rig_closed(r, c[3], EDGE_CLOSING_QUOTA);
    ck_assert_uint_eq(rig_counter(r, COUNTER_SESSIONS_REFUSED), 1);
    uint32_t elsewhere = rig_connect(r, 10);
    ck_assert(r->streams[elsewhere - 1].open);
    rig_hang_up(r, c[0]);
    ck_assert(r->streams[rig_connect(r, 9) - 1].open);
    rig_free(r);
}
END_TEST

START_TEST(a_key_has_so_many_connections)
{
    struct proxy_options o = rig_options();
    o.sessions_per_key = 2;
    struct rig *r = rig_new_with(&o, false);
    struct rig_key key = rig_key(2), other = rig_key(3);
    uint32_t one = rig_login(r, &key);
    rig_login(r, &key);
    uint32_t c = rig_connect(r, RIG_HERE);
    rig_hello(r, c, &key);
    rig_run(r);
    struct edge_welcome w = rig_welcome(r, c);
    rig_prove(r, c, &key, &w);
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_QUOTA);
    rig_login(r, &other);
    rig_hang_up(r, one);
    rig_login(r, &key);
    rig_free(r);
}
END_TEST

START_TEST(a_full_proxy_says_so)
{
    struct proxy_options o = rig_options();
    o.sessions_max = 4;
    struct rig *r = rig_new_with(&o, false);
    for (uint32_t i = 0; i < 4; i++)
        rig_connect(r, i);
    rig_closed(r, rig_connect(r, 9), EDGE_CLOSING_QUOTA);
    rig_hang_up(r, 1);
    ck_assert(r->streams[rig_connect(r, 9) - 1].open);
    rig_free(r);
}
END_TEST

START_TEST(those_who_have_left_leave_room_even_if_that_cannot_be_written_down)
{
    struct proxy_options o = rig_options();
    o.sessions_max = 8;
    struct rig *r = rig_new_with(&o, false);
    r->leader.deaf = true;
    for (uint32_t i = 0; i < 3; i++) {
        rig_pass(r, 10 * MS);
        for (uint32_t k = 0; k < 8; k++) {
            uint32_t c = rig_connect(r, k);
            ck_assert(r->streams[c - 1].open);
            rig_hello(r, c, NULL);
        }
        rig_pass(r, 10 * MS);
        for (uint32_t c = 1; c <= r->stream_count; c++)
            if (r->streams[c - 1].open)
                rig_hang_up(r, c);
    }
    r->leader.deaf = false;
    rig_pass(r, SECOND);
    rig_login(r, NULL);
    rig_free(r);
}
END_TEST

START_TEST(what_a_client_calls_itself_is_fit_to_be_looked_at)
{
    struct rig *r = rig_new();
    struct edge_hello h = { .version = EDGE_VERSION, .agent = "a\x1b[2Jb\xff" };
    uint8_t frame[256];
    uint32_t c = rig_connect(r, RIG_HERE);
    rig_write(r, c, frame, edge_hello_encode(&h, frame, sizeof frame));
    rig_run(r);
    struct proxy_client client;
    ck_assert(proxy_client_at(r->proxy, 0, &client));
    ck_assert_str_eq(client.agent, "a?[2Jb?");
    rig_free(r);
}
END_TEST

START_TEST(a_proxy_that_follows_nothing_yet_waits_without_spinning)
{
    struct rig *r = rig_new();
    proxy_destroy(r->proxy);
    r->options.secret[0]++; /* no two processes have the same */
    r->proxy = proxy_create(&r->options, &r->leader.port, r->now);
    uint32_t c = rig_connect(r, RIG_HERE);
    rig_hello(r, c, NULL);
    struct port_stream_event e = { .type = PORT_STREAM_BYTES,
                                   .stream = c,
                                   .bytes = r->streams[c - 1].in,
                                   .length = r->streams[c - 1].in_length };
    ck_assert_uint_eq(proxy_participant.on_stream(r->proxy, &e, r->now), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_gt(proxy_participant.step(r->proxy, r->now), r->now.mono_ns);
    r->leader.log_delivered = 0;
    rig_pass(r, SECOND);
    size_t length;
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_ACCEPTED, &length));
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_session_hostile");
    TCase *all = tcase_create("hostile");
    tcase_add_test(all, dribbled_bytes_are_as_good_as_others);
    tcase_add_test(all, garbage_ends_whoever_says_it);
    tcase_add_test(all, giant_lengths_end_it_before_anything_is_kept);
    tcase_add_test(all, what_does_not_come_next_ends_it);
    tcase_add_test(all, thousands_that_say_nothing_hold_up_nobody_from_elsewhere);
    tcase_add_test(all, whoever_does_not_say_who_it_is_in_time_is_cut_off);
    tcase_add_test(all, signatures_are_checked_a_few_in_a_round);
    tcase_add_test(all, an_address_has_so_many_connections);
    tcase_add_test(all, a_key_has_so_many_connections);
    tcase_add_test(all, a_full_proxy_says_so);
    tcase_add_test(all, those_who_have_left_leave_room_even_if_that_cannot_be_written_down);
    tcase_add_test(all, what_a_client_calls_itself_is_fit_to_be_looked_at);
    tcase_add_test(all, a_proxy_that_follows_nothing_yet_waits_without_spinning);
    suite_add_tcase(suite, all);
    return rig_suite(suite);
}
