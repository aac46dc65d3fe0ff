/* Publishing through a proxy, which is a script (script.h): exactly once over lost connections,
 * within the window, until it is superseded or refused. What forks do to it is in test_edge_fork.c,
 * what apps propose in test_edge_app.c. */
#include "script.h"
#include "suite_main.h"

START_TEST(a_pipe_is_exactly_once_over_reconnects)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s); /* no subtree: from the tip */
    ck_assert(!cantus_pipe_ready(pipe));
    struct edge_open o = script_opened(s, 5, 11);
    ck_assert_str_eq(o.name, "me");
    ck_assert_uint_eq(o.wanted, 0);
    ck_assert(cantus_pipe_ready(pipe));
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 5);
    script_push(s, pipe, "six");
    script_push(s, pipe, "seven");
    script_push(s, pipe, "eight");
    script_heard_item(s, 6, "six");
    script_heard_item(s, 7, "seven");
    script_heard_item(s, 8, "eight");
    ck_assert(script_hears_nothing(s));
    s->now.mono_ns += 5 * SECOND;
    ck_assert(script_hears_nothing(s)); /* no retries */
    script_outcome(s, 6, 1, 13, 0);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 6);
    ck_assert_uint_eq(cantus_pipe_last_seq(pipe), 13);
    /* Seven is in the stream, but nobody has told. */
    script_cut(s);
    ck_assert(!cantus_pipe_ready(pipe));
    ck_assert(!cantus_pipe_push(pipe, "/a/b", "no", 2));
    script_let_in(s, 20, 20);
    struct edge_subscribe r = script_grant(s);
    ck_assert_uint_eq(r.position.seq, 13);
    struct edge_open again = script_opened(s, 7, 21);
    ck_assert_uint_eq(again.wanted, 4);
    ck_assert_uint_ne(again.nonce, o.nonce);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 7);
    script_heard_item(s, 8, "eight");
    ck_assert(script_hears_nothing(s));
    script_outcome(s, 8, 1, 23, 0);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 8);
    ck_assert_uint_eq(cantus_pipe_in_flight(pipe), 0);
    ck_assert_uint_eq(script_violations(s), 0);
    script_free(s);
}
END_TEST

START_TEST(an_open_without_an_answer_is_asked_again_with_its_nonce)
{
    struct script *s = script_new(FOLLOWER_STABLE);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    struct edge_open first, again;
    HEAR(s, open, EDGE_OPEN, &first);
    script_cut(s);
    script_begin(s);
    HEAR(s, open, EDGE_OPEN, &again);
    ck_assert_uint_eq(first.nonce, again.nonce);
    ck_assert_uint_eq(again.wanted, 0);
    SAY(s, opened, .publisher = 12, .incarnation = 1, .last_number = 0, .join_seq = 12);
    script_flush(s);
    ck_assert(cantus_pipe_ready(pipe));
    script_free(s);
}
END_TEST

START_TEST(outcomes_from_before_a_reconnect_count_once)
{
    struct script *s = script_new(FOLLOWER_STABLE);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    script_opened(s, 0, 11);
    script_push(s, pipe, "one");
    script_push(s, pipe, "two");
    script_heard_item(s, 1, "one");
    script_heard_item(s, 2, "two");
    script_cut(s);
    script_begin(s);
    script_outcome(s, 1, 1, 14, 0); /* in the order of the stream, before the join */
    ck_assert_uint_eq(cantus_pipe_in_flight(pipe), 1);
    script_opened(s, 1, 15);
    script_outcome(s, 1, 1, 16, 0); /* nothing new */
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 1);
    script_heard_item(s, 2, "two");
    script_outcome(s, 2, 1, 17, 0);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 2);
    ck_assert_uint_eq(script_violations(s), 0);
    script_free(s);
}
END_TEST

/* Numbers 1 to 5, of which 1 is known to be rejected, and 2 and 4 were while nobody was there; the second time the proxy
 * has forgotten the reject of 2. */
START_TEST(what_was_rejected_in_between_is_told_in_front_of_the_opening)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    struct edge_open o = script_opened(s, 0, 11);
    ck_assert_uint_eq(o.known, UINT64_MAX);
    static const char *const items[] = { "one", "two", "three", "four", "five" };
    for (uint32_t i = 0; i < 5; i++) {
        script_push(s, pipe, items[i]);
        script_heard_item(s, i + 1, items[i]);
    }
    script_outcome(s, 1, 1, 13, REJECT_CONDITION); /* not stable yet */
    script_cut(s);
    script_let_in(s, 20, 11);
    script_grant(s);
    HEAR(s, open, EDGE_OPEN, &o);
    ck_assert_uint_eq(o.known, 0);
    if (_i == 0)
        SAY(s, outcome, .publisher = 12, .number = 1, .count = 2, .seq = 14,
            .reason = REJECT_CONDITION, .stable = 14);
    SAY(s, outcome, .publisher = 12, .number = 4, .count = 1, .seq = 16,
        .reason = REJECT_NOT_PERMITTED, .stable = 16);
    script_flush(s);
    const struct rig_report *r = script_reported(s, CANTUS_REPORT_REJECTED);
    ck_assert_uint_eq(r->r.seq, 16);
    ck_assert_str_eq(r->topic, "/a/b");
    ck_assert_str_eq(r->text, reject_reason_text(REJECT_NOT_PERMITTED));
    ck_assert_uint_eq(cantus_pipe_in_flight(pipe), 1); /* three was sequenced */
    SAY(s, opened, .publisher = 12, .incarnation = o.wanted, .last_number = 5, .join_seq = 21,
        .items = 5, .unknown_through = _i == 0 ? 0 : 2);
    script_flush(s);
    ck_assert_uint_eq(cantus_pipe_rejected(pipe), _i == 0 ? 3 : 2);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 5);
    ck_assert_uint_eq(cantus_pipe_in_flight(pipe), 0);
    bool told = script_reported(s, CANTUS_REPORT_HINT) != NULL &&
                strstr(script_reported(s, CANTUS_REPORT_HINT)->text, "rejected") != NULL;
    ck_assert(told == (_i == 1));
    script_push(s, pipe, "six");
    script_heard_item(s, 6, "six");
    ck_assert_uint_eq(script_violations(s), 0);
    script_free(s);
}
END_TEST

START_TEST(outcomes_out_of_turn_end_the_connection)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    script_opened(s, 0, 11);
    script_push(s, pipe, "one");
    script_push(s, pipe, "two");
    script_outcome(s, _i == 0 ? 2 : 1, _i == 0 ? 1 : 3, 13, 0);
    ck_assert(script_is_gone(s));
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 0);
    ck_assert_uint_eq(script_violations(s), 1);
    script_free(s);
}
END_TEST

START_TEST(openings_that_can_not_be_end_the_connection)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    script_opened(s, 4, 11);
    script_push(s, pipe, "five");
    script_outcome(s, 5, 1, 13, 0);
    script_push(s, pipe, "six");
    script_cut(s);
    script_begin(s);
    struct edge_open o;
    HEAR(s, open, EDGE_OPEN, &o);
    static const struct edge_opened wrong[] = {
        { .publisher = 13, .incarnation = 4, .last_number = 5, .join_seq = 20 }, /* another's */
        { .publisher = 12, .incarnation = 3, .last_number = 5, .join_seq = 20 }, /* as before */
        { .publisher = 12, .incarnation = 4, .last_number = 4, .join_seq = 20 }, /* has forgotten */
        { .publisher = 12, .incarnation = 4, .last_number = 7, .join_seq = 20 }, /* not sent */
    };
    s->said_end = edge_opened_encode(&wrong[_i], s->said, SAID_MAX);
    script_flush(s);
    ck_assert(script_is_gone(s));
    ck_assert_uint_eq(script_violations(s), 1);
    script_free(s);
}
END_TEST

START_TEST(the_window_and_the_room_of_the_stream_are_respected)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    script_opened(s, 0, 11);
    for (int i = 0; i < 64; i++)
        script_push(s, pipe, "x");
    ck_assert(!cantus_pipe_push(pipe, "/a/b", "x", 1));
    for (uint64_t i = 1; i <= 64; i++)
        script_heard_item(s, i, "x");
    script_outcome(s, 1, 1, 13, 0);
    script_push(s, pipe, "y");
    ck_assert(!cantus_pipe_push(pipe, "/a/b", "x", 1));
    script_heard_item(s, 65, "y");
    for (uint64_t i = 2; i <= 65; i++)
        script_outcome(s, i, 1, 12 + i, 0);
    /* A large one, a few bytes at a time; it takes a number for each 1000 bytes. */
    static char large[60001];
    memset(large, 'z', sizeof large - 1);
    s->room = 777;
    script_push(s, pipe, large);
    for (int i = 0; i < 200; i++)
        script_event(s, PORT_STREAM_ROOM, NULL, 0);
    s->room = HEARD_MAX;
    script_heard_item(s, 66, large);
    script_push(s, pipe, "last");
    script_heard_item(s, 126, "last");
    script_outcome(s, 66, 60, 200, 0);
    script_outcome(s, 126, 1, 201, 0);
    ck_assert_uint_eq(cantus_pipe_in_flight(pipe), 0);
    script_free(s);
}
END_TEST

/* It is told so once that is stable. */
START_TEST(who_is_superseded_stops)
{
    struct script *s = script_new(_i >= 2 ? FOLLOWER_STABLE : FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    script_opened(s, 0, 11);
    if (_i % 2 == 1) { /* found when it comes back */
        script_cut(s);
        script_begin(s);
        struct edge_open o;
        HEAR(s, open, EDGE_OPEN, &o);
    }
    SAY(s, superseded, .publisher = 12, .incarnation = 9, .join_seq = 15);
    script_flush(s);
    SAY(s, outcome, .publisher = 12, .number = 1, .count = 1, .seq = 16); /* not its own */
    script_flush(s);
    ck_assert_uint_eq(script_violations(s), 0);
    ck_assert(!cantus_pipe_push(pipe, "/a/b", "x", 1));
    ck_assert_int_eq(client_core_status(s->core), CANTUS_SUPERSEDED);
    ck_assert_ptr_nonnull(script_reported(s, CANTUS_REPORT_SUPERSEDED));
    ck_assert_uint_ne(s->stream, 0); /* it follows on */
    script_cut(s);
    script_begin(s);
    ck_assert(script_hears_nothing(s)); /* and does not come back */
    script_free(s);
}
END_TEST

/* Its join is in the stream, and a later one, before it is told of either. */
START_TEST(who_is_superseded_before_it_is_open_stops)
{
    struct script *s = script_new(FOLLOWER_STABLE);
    struct edge_open o;
    ck_assert_ptr_nonnull(client_core_add_pipe(s->core, "me", s->error));
    script_begin(s);
    HEAR(s, open, EDGE_OPEN, &o);
    SAY(s, superseded, .publisher = 12, .incarnation = 9, .join_seq = 15);
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_SUPERSEDED);
    ck_assert_uint_eq(script_violations(s), 0);
    script_free(s);
}
END_TEST

/* It would be no different at the next connection, and each is written down for ever. */
START_TEST(a_pipe_that_has_no_topic_left_to_make_ends_the_client)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    script_opened(s, 0, 11);
    script_push(s, pipe, "one");
    SAY(s, refused, .request = EDGE_PUBLISH, .reason = EDGE_REFUSED_QUOTA, .right = ACCESS_WRITE,
        .publisher = 12, .number = 1, .subject = "/a/b", .text = "as many topics as it may");
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "\"/a/b\": over a quota"));
    script_free(s);
}
END_TEST

START_TEST(a_pipe_that_may_not_write_ends_the_client)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    script_opened(s, 0, 11);
    script_push(s, pipe, "one");
    SAY(s, refused, .request = EDGE_PUBLISH, .reason = EDGE_REFUSED_RIGHT, .right = ACCESS_GRANT,
        .publisher = 12, .number = 1, .subject = "/a/b");
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(
        strstr(client_core_error(s->core), "\"/a/b\": not permitted (right to grant)"));
    script_free(s);
}
END_TEST

START_TEST(several_publishers_are_opened_one_after_the_other)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *a = client_core_add_pipe(s->core, "a", s->error);
    struct cantus_pipe *b = client_core_add_pipe(s->core, "b", s->error);
    script_begin(s);
    struct edge_open o;
    HEAR(s, open, EDGE_OPEN, &o);
    ck_assert_str_eq(o.name, "a");
    ck_assert(script_hears_nothing(s));
    SAY(s, opened, .publisher = 20, .incarnation = 1, .last_number = 0, .join_seq = 12);
    script_flush(s);
    HEAR(s, open, EDGE_OPEN, &o);
    ck_assert_str_eq(o.name, "b");
    SAY(s, opened, .publisher = 21, .incarnation = 1, .last_number = 0, .join_seq = 13);
    script_flush(s);
    ck_assert(cantus_pipe_ready(a) && cantus_pipe_ready(b));
    script_push(s, b, "x");
    struct edge_publish p;
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.publisher, 21);
    script_free(s);
}
END_TEST

static const uint32_t item_lengths[] = { 10, 2500, 1000, 1001, 5 }; /* 1, 3, 1, 2, 1 numbers */

static bool next_item(void *ctx, uint64_t index, struct cantus_item *out)
{
    static char payload[4096];
    (void)ctx;
    if (index >= sizeof item_lengths / sizeof item_lengths[0])
        return false;
    *out =
        (struct cantus_item) { .topic = "/a/b", .payload = payload, .length = item_lengths[index] };
    return true;
}

START_TEST(items_are_counted_not_their_numbers)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_injector *i =
        client_core_add_injector(s->core, "feed", next_item, NULL, s->error);
    script_begin(s);
    script_opened_items(s, 5, 11, 3);
    ck_assert_uint_eq(cantus_injector_sequenced(i), 3);
    struct edge_publish p;
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 6);
    ck_assert_uint_eq(p.length, 1001);
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 8);
    ck_assert_uint_eq(p.length, 5);
    ck_assert(script_hears_nothing(s));
    script_outcome(s, 6, 2, 14, 0);
    ck_assert_uint_eq(cantus_injector_sequenced(i), 4);
    script_cut(s);
    script_begin(s);
    script_opened_items(s, 8, 30, 5);
    ck_assert_uint_eq(cantus_injector_sequenced(i), 5);
    ck_assert_uint_eq(cantus_injector_last_seq(i), 30); /* where that was told */
    ck_assert(script_hears_nothing(s));
    script_free(s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("edge_publish");
    TCase *t = tcase_create("publishing");
    tcase_add_test(t, a_pipe_is_exactly_once_over_reconnects);
    tcase_add_test(t, an_open_without_an_answer_is_asked_again_with_its_nonce);
    tcase_add_loop_test(t, what_was_rejected_in_between_is_told_in_front_of_the_opening, 0, 2);
    tcase_add_test(t, outcomes_from_before_a_reconnect_count_once);
    tcase_add_loop_test(t, outcomes_out_of_turn_end_the_connection, 0, 2);
    tcase_add_loop_test(t, openings_that_can_not_be_end_the_connection, 0, 4);
    tcase_add_test(t, the_window_and_the_room_of_the_stream_are_respected);
    tcase_add_loop_test(t, who_is_superseded_stops, 0, 4);
    tcase_add_test(t, who_is_superseded_before_it_is_open_stops);
    tcase_add_test(t, a_pipe_that_has_no_topic_left_to_make_ends_the_client);
    tcase_add_test(t, a_pipe_that_may_not_write_ends_the_client);
    tcase_add_test(t, several_publishers_are_opened_one_after_the_other);
    tcase_add_test(t, items_are_counted_not_their_numbers);
    suite_add_tcase(s, t);
    return suite_main(s);
}
