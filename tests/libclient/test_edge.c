/* What a client core does with a connection to a proxy (script.h): login, rests, refusals, and words that are fit
 * to be printed. */
#include <stdio.h>

#include "script.h"
#include "suite_main.h"

static struct script *let_in_and_named(uint8_t kind, const char *text)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_begin(s);
    const uint8_t head[] = { (uint8_t)(1 + 1 + 3 + 1 + strlen(text)),
                             0,
                             0,
                             0,
                             EDGE_NAME,
                             kind,
                             17,
                             0,
                             0,
                             (uint8_t)strlen(text) };
    memcpy(s->said, head, sizeof head); /* as no encoder would write it */
    memcpy(s->said + sizeof head, text, strlen(text));
    s->said_end = sizeof head + strlen(text);
    script_flush(s);
    return s;
}

/* People look at them in terminals. */
START_TEST(names_and_texts_of_a_proxy_are_fit_to_be_printed)
{
    static const struct {
        uint8_t kind;
        const char *text;
        bool fine;
    } names[] = {
        { EDGE_NAME_TOPIC, "/a/b", true },           { EDGE_NAME_TOPIC, "/a/\x1b[2J", false },
        { EDGE_NAME_PUBLISHER, "other", true },      { EDGE_NAME_PUBLISHER, "two words", false },
        { EDGE_NAME_PUBLISHER, "a\x1b]0;b", false }, { EDGE_NAME_PUBLISHER, "a\xc2\x9b", false }
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct script *s = let_in_and_named(names[i].kind, names[i].text);
        ck_assert_uint_eq(script_is_gone(s), !names[i].fine);
        ck_assert_uint_eq(script_violations(s), !names[i].fine);
        script_free(s);
    }
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_let_in(s, 10, 10);
    SAY(s, closing, .reason = EDGE_CLOSING_SLOW, .text = "\x1b[2Jcome\nback\x9b");
    script_flush(s);
    ck_assert_ptr_nonnull(strstr(script_reported(s, CANTUS_REPORT_HINT)->text, "?[2Jcome?back?"));
    script_let_in(s, 10, 10);
    SAY(s, refused, .request = EDGE_SUBSCRIBE, .reason = EDGE_REFUSED_RIGHT,
        .subject = "/a\x1b[31m", .text = "no\r");
    script_flush(s);
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "/a?[31m"));
    ck_assert_ptr_null(strpbrk(client_core_error(s->core), "\x1b\r"));
    script_free(s);
}
END_TEST

/* ---- login ----------------------------------------------------------------------------------- */

START_TEST(it_proves_its_key_and_subscribes_from_the_beginning)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_subscribe(s, "/a/b"); /* inside of the other: not asked for again */
    script_subscribe(s, "/sys/grant");
    script_wait_connect(s);
    struct edge_hello h;
    HEAR(s, hello, EDGE_HELLO, &h);
    ck_assert(h.has_key);
    ck_assert_uint_eq(h.stream, 0);
    struct edge_welcome w = { .version = EDGE_VERSION, .stream = STREAM, .proxy = "east" };
    memset(w.challenge, 0x77, sizeof w.challenge);
    SAY(s, welcome, .version = w.version, .stream = w.stream, .proxy = "east",
        .challenge = { 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77,
                       0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77,
                       0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77 });
    script_flush(s);
    struct edge_prove p;
    HEAR(s, prove, EDGE_PROVE, &p);
    uint8_t message[EDGE_SIGNED_SIZE], binding[32] = { 0 }, expected[EDGE_SIGNATURE_SIZE];
    edge_signed(&w, s->edge.key, binding, message);
    script_sign(NULL, message, expected);
    ck_assert_mem_eq(p.signature, expected, sizeof expected);
    ck_assert(script_hears_nothing(s));
    SAY(s, accepted, .tip = script_at(script_first_epoch, 10), .stable = 8, .fragment_bytes = 1000,
        .window = 64, .payload_max = 1 << 20);
    script_flush(s);
    struct edge_subscribe r;
    HEAR(s, subscribe, EDGE_SUBSCRIBE, &r);
    ck_assert_int_eq(r.level, EDGE_SEQUENCED);
    ck_assert_int_eq(r.from, EDGE_FROM_POSITION);
    ck_assert_uint_eq(r.position.seq, 0);
    ck_assert_uint_eq(r.tick_ms, EDGE_TICK_DEFAULT_MS);
    ck_assert_uint_eq(r.subtrees.count, 2);
    const char *text;
    size_t length;
    ck_assert(edge_subtree_next(&r.subtrees, &text, &length));
    ck_assert(length == 2 && memcmp(text, "/a", 2) == 0);
    ck_assert_uint_eq(client_core_stream(s->core), STREAM);
    ck_assert(!client_core_caught_up(s->core));
    script_free(s);
}
END_TEST

START_TEST(nobody_in_particular_proves_nothing_and_can_not_publish)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    client_core_destroy(s->core);
    s->edge.has_key = false;
    script_make_core(s);
    script_subscribe(s, "/a");
    ck_assert_ptr_null(client_core_add_pipe(s->core, "me", s->error));
    ck_assert_ptr_nonnull(strstr(s->error, "needs a key"));
    script_begin(s);
    script_tell(s, 4, "one");
    script_flush(s);
    script_saw(s, 0, 4, "one");
    script_free(s);
}
END_TEST

START_TEST(names_of_publishers_are_checked)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    ck_assert_ptr_null(client_core_add_pipe(s->core, "nineteen-bytes-long", s->error));
    ck_assert_ptr_nonnull(strstr(s->error, "1 to 18"));
    ck_assert_ptr_null(client_core_add_pipe(s->core, "", s->error));
    ck_assert_ptr_null(client_core_add_pipe(s->core, "two words", s->error));
    ck_assert_ptr_nonnull(client_core_add_pipe(s->core, "eighteen-bytes-lon", s->error));
    script_free(s);
}
END_TEST

START_TEST(who_does_not_let_us_in_is_left_for_the_next)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_wait_connect(s);
    struct port_addr first = s->to;
    script_cut(s); /* refused */
    script_wait_connect(s);
    ck_assert(!port_addr_equal(first, s->to));
    /* It says nothing at all. */
    s->now.mono_ns += 16 * SECOND;
    script_step(s);
    ck_assert(script_is_gone(s));
    script_wait_connect(s);
    ck_assert(port_addr_equal(first, s->to));
    SAY(s, closing, .reason = EDGE_CLOSING_QUOTA, .text = "too many of you");
    script_flush(s);
    ck_assert(script_is_gone(s));
    script_wait_connect(s);
    SAY(s, welcome, .version = 9, .stream = STREAM);
    script_flush(s);
    ck_assert(script_is_gone(s));
    script_begin(s);
    /* Another stream is not what we came for. */
    script_cut(s);
    script_wait_connect(s);
    struct edge_hello h;
    HEAR(s, hello, EDGE_HELLO, &h);
    ck_assert_uint_eq(h.stream, STREAM);
    SAY(s, welcome, .version = EDGE_VERSION, .stream = STREAM + 1);
    script_flush(s);
    ck_assert(script_is_gone(s));
    ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    ck_assert_ptr_nonnull(script_reported(s, CANTUS_REPORT_HINT));
    script_free(s);
}
END_TEST

/* The words of each trouble: nothing twice, and what may be done about it. */
START_TEST(troubles_are_told_once_and_with_a_way_out)
{
    enum { HANGS_UP, GARBAGE, LOST, CLOSES, REFUSES, END };
    static const char *const words[END] = {
        [HANGS_UP] = "the connection was lost: is it a proxy, at the port for its clients?",
        [GARBAGE] = "it sent what is no frame: is it a proxy, at the port for its clients?",
        [LOST] = "the connection was lost; going on over another",
        [CLOSES] = ": over a quota",
        [REFUSES] = ": over a quota: name fewer; it is tried again, elsewhere or later",
    };
    for (int i = 0; i < END; i++) {
        struct script *s = script_new(FOLLOWER_SEQUENCED);
        script_subscribe(s, "/a");
        if (i >= LOST)
            script_let_in(s, 10, 10);
        else
            script_wait_connect(s);
        if (i == HANGS_UP || i == LOST)
            script_cut(s);
        else if (i == GARBAGE)
            script_event(s, PORT_STREAM_BYTES, (const uint8_t *)"HTTP/1.1 400 Bad Request\r\n", 26);
        else if (i == CLOSES)
            SAY(s, closing, .reason = EDGE_CLOSING_QUOTA, .text = "over a quota");
        else
            SAY(s, refused, .request = EDGE_SUBSCRIBE, .reason = EDGE_REFUSED_QUOTA,
                .text = "name fewer");
        script_flush(s);
        const struct rig_report *r = script_reported(s, CANTUS_REPORT_HINT);
        ck_assert_ptr_nonnull(r);
        size_t all = strlen(r->text), end = strlen(words[i]);
        ck_assert_msg(all >= end && strcmp(r->text + all - end, words[i]) == 0, "%s", r->text);
        ck_assert_ptr_null(strstr(r->text, "quota: over"));
        ck_assert_ptr_null(strchr(r->text, '"'));
        script_free(s);
    }
}
END_TEST

START_TEST(a_key_that_nobody_lets_in_ends_the_client)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
        script_wait_connect(s);
        SAY(s, closing, .reason = EDGE_CLOSING_IDENTITY, .text = "");
        script_flush(s);
    }
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "key"));
    script_free(s);
}
END_TEST

START_TEST(rests_between_connections_grow_and_are_not_alike)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    uint64_t rests[24], before;
    for (int i = 0; i < 24; i++) {
        script_wait_connect(s);
        before = s->now.mono_ns;
        script_cut(s);
        rests[i] = s->deadline > before && s->stream == 0 ? s->deadline - before : 0;
    }
    ck_assert_uint_eq(rests[0], 0); /* the other proxy at once */
    ck_assert_uint_lt(rests[1], 200 * MS);
    for (int i = 20; i < 24; i++) {
        ck_assert_uint_ge(rests[i], 2500 * MS);
        ck_assert_uint_le(rests[i], 7500 * MS);
    }
    ck_assert(rests[20] != rests[21] && rests[22] != rests[23]);
    script_free(s);
}
END_TEST

/* ---- refusals of what is asked for ------------------------------------------------------------ */

START_TEST(a_subscription_that_is_not_permitted_ends_the_client)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_let_in(s, 10, 10);
    SAY(s, refused, .request = EDGE_SUBSCRIBE, .reason = EDGE_REFUSED_RIGHT, .right = ACCESS_READ,
        .subject = "/a",
        .text =
            "a proxy may say a lot, and what helps comes last, so that all of it has to be passed on: "
            "who may grant there gives it, by a command that is as long as a path can be long: "
            "cantus grant KEY read /a");
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(
        strstr(client_core_error(s->core), "\"/a\": not permitted (right to read): a proxy"));
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), ": cantus grant KEY read /a"));
    ck_assert(script_is_gone(s));
    script_free(s);
}
END_TEST

START_TEST(history_that_is_gone_is_lost)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_let_in(s, 10, 10);
    SAY(s, refused, .request = EDGE_SUBSCRIBE, .reason = EDGE_REFUSED_HISTORY,
        .text = "the oldest is 5000");
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_LOST);
    ck_assert_ptr_nonnull(script_reported(s, CANTUS_REPORT_LOST));
    script_free(s);
}
END_TEST

START_TEST(a_quota_is_waited_for)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_let_in(s, 10, 10);
    SAY(s, refused, .request = EDGE_SUBSCRIBE, .reason = EDGE_REFUSED_QUOTA, .subject = "/a");
    script_flush(s);
    ck_assert(script_is_gone(s));
    ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    ck_assert_uint_eq(script_violations(s), 0);
    script_begin(s);
    script_free(s);
}
END_TEST

START_TEST(at_stable_a_volatile_stream_is_none)
{
    struct script *s = script_new(FOLLOWER_STABLE);
    script_subscribe(s, "/a");
    script_wait_connect(s);
    SAY(s, welcome, .version = EDGE_VERSION, .stream = STREAM);
    SAY(s, accepted, .fragment_bytes = 1000, .window = 64, .is_volatile = true);
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "volatile"));
    script_free(s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("edge");
    TCase *t = tcase_create("login");
    tcase_add_test(t, names_and_texts_of_a_proxy_are_fit_to_be_printed);
    tcase_add_test(t, it_proves_its_key_and_subscribes_from_the_beginning);
    tcase_add_test(t, nobody_in_particular_proves_nothing_and_can_not_publish);
    tcase_add_test(t, names_of_publishers_are_checked);
    tcase_add_test(t, who_does_not_let_us_in_is_left_for_the_next);
    tcase_add_test(t, troubles_are_told_once_and_with_a_way_out);
    tcase_add_test(t, a_key_that_nobody_lets_in_ends_the_client);
    tcase_add_test(t, rests_between_connections_grow_and_are_not_alike);
    tcase_add_test(t, a_subscription_that_is_not_permitted_ends_the_client);
    tcase_add_test(t, history_that_is_gone_is_lost);
    tcase_add_test(t, a_quota_is_waited_for);
    tcase_add_test(t, at_stable_a_volatile_stream_is_none);
    suite_add_tcase(s, t);
    return suite_main(s);
}
