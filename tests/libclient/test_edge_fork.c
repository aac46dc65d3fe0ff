/* Forks as a client without apps is told of them through a proxy (script.h), while it is connected
 * and when it comes back: what it read, what it published and its joins are taken back as far as
 * the proxy says, but never what is stable. */
#include "script.h"
#include "suite_main.h"

/* ACCEPTED speaks of the stream's history: what is stable there says nothing of an outcome on
 * another one. */
START_TEST(what_is_stable_on_another_history_is_not_given_up)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    struct edge_subscribe r;
    script_begin(s);
    script_opened(s, 0, 11);
    script_push(s, pipe, "one");
    script_heard_item(s, 1, "one");
    script_outcome(s, 1, 1, 15, 0);
    script_cut(s);
    script_let_in(s, 20, 18);
    HEAR(s, subscribe, EDGE_SUBSCRIBE, &r);
    ck_assert_uint_eq(r.position.seq, 15);
    SAY(s, forked, .common = script_at(script_first_epoch, 13));
    SAY(s, subscribed, .position = script_at(script_first_epoch, 13));
    SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 14);
    script_flush(s);
    script_opened(s, 0, 19);
    script_heard_item(s, 1, "one");
    ck_assert_uint_eq(script_violations(s), 0);
    script_free(s);
}
END_TEST

START_TEST(without_apps_a_fork_goes_on_where_it_is)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    script_opened(s, 0, 11);
    script_tell(s, 12, "old");
    script_flush(s);
    script_push(s, pipe, "one");
    script_push(s, pipe, "two");
    script_heard_item(s, 1, "one");
    script_heard_item(s, 2, "two");
    script_outcome(s, 1, 1, 14, 0);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 1);
    SAY(s, forked, .common = script_at(script_first_epoch, 13));
    SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 14);
    script_flush(s);
    ck_assert_uint_eq(script_reported(s, CANTUS_REPORT_FORKED)->r.seq, 14);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 0);
    ck_assert_uint_eq(cantus_pipe_in_flight(pipe), 2);
    ck_assert(script_hears_nothing(s)); /* the proxy has them */
    script_outcome(s, 1, 1, 15, 0);
    script_outcome(s, 2, 1, 16, 0);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 2);
    script_tell(s, 17, "new");
    script_flush(s);
    script_saw(s, s->seen_count - 1, 17, "new");
    ck_assert_ptr_nonnull(script_reported(s, CANTUS_REPORT_REBUILT));
    ck_assert_uint_eq(script_violations(s), 0);
    ck_assert_uint_eq(s->streams, 1);
    script_free(s);
}
END_TEST

START_TEST(a_position_that_is_off_the_history_is_told)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_begin(s);
    script_tell(s, 4, "one");
    script_tell(s, 9, "two");
    script_flush(s);
    script_cut(s);
    script_let_in(s, 20, 20);
    struct edge_subscribe r;
    HEAR(s, subscribe, EDGE_SUBSCRIBE, &r);
    ck_assert_uint_eq(r.position.seq, 9);
    if (_i == 0)
        SAY(s, forked, .common = script_at(script_first_epoch, 6));
    SAY(s, subscribed, .position = script_at(script_first_epoch, 6));
    if (_i == 1)
        SAY(s, forked, .common = script_at(script_first_epoch, 6));
    SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 7);
    script_tell(s, 8, "other two");
    script_flush(s);
    ck_assert_uint_eq(script_reported(s, CANTUS_REPORT_FORKED)->r.seq, 7);
    script_saw(s, 2, 8, "other two");
    ck_assert_uint_eq(script_violations(s), 0);
    script_free(s);
}
END_TEST

/* The proxy does not know where its history and the client's part: the join, which is stable, is
 * behind that. */
START_TEST(a_fork_in_front_of_a_join_leaves_the_publisher)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    ck_assert_ptr_nonnull(client_core_add_pipe(s->core, "pub", s->error));
    script_subscribe(s, "/a");
    script_begin(s);
    script_opened(s, 0, 11);
    script_tell(s, 12, "one");
    script_flush(s);
    script_cut(s);
    script_let_in(s, 20, 10);
    struct edge_subscribe r;
    HEAR(s, subscribe, EDGE_SUBSCRIBE, &r);
    SAY(s, forked, .common = script_at(script_first_epoch, 6));
    SAY(s, subscribed, .position = script_at(script_first_epoch, 6));
    script_flush(s);
    ck_assert_uint_eq(script_opened(s, 0, 21).wanted, 4);
    ck_assert_uint_eq(script_violations(s), 0);
    script_free(s);
}
END_TEST

START_TEST(a_fork_of_what_was_stable_stops_the_client)
{
    struct script *s = script_new(FOLLOWER_STABLE);
    script_subscribe(s, "/a");
    script_begin(s);
    script_tell(s, 4, "one");
    script_tell(s, 9, "two");
    script_flush(s);
    SAY(s, forked, .common = script_at(script_first_epoch, 4));
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "was stable"));
    script_free(s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("edge_fork");
    TCase *t = tcase_create("forks");
    tcase_add_test(t, what_is_stable_on_another_history_is_not_given_up);
    tcase_add_test(t, without_apps_a_fork_goes_on_where_it_is);
    tcase_add_loop_test(t, a_position_that_is_off_the_history_is_told, 0, 2);
    tcase_add_test(t, a_fork_in_front_of_a_join_leaves_the_publisher);
    tcase_add_test(t, a_fork_of_what_was_stable_stops_the_client);
    suite_add_tcase(s, t);
    return suite_main(s);
}
