/* What a fork leaves of clients' publishers: what answers a fallen message falls with it, groups
 * fall whole, and what depends on nothing is sent again, each once. The leader's history is cut and
 * what is in the new one is counted. */
#include "rig.h"

static struct rig_key key;

/* It may read and write /a, where there is /a/x. */
static struct rig *begin(void)
{
    key = rig_key(2);
    return rig_new_for(&key, "/a", "/a/x");
}

START_TEST(what_answers_a_fallen_message_falls_with_it_and_all_behind)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    size_t length;
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    rig_run(r);
    r->leader.hold_stable = true;
    struct position before = rig_position(r);
    uint64_t common = before.seq;
    rig_say(r, "/a/x", "will fall");
    rig_run(r);
    struct position fallen = rig_position(r);
    r->leader.deaf = true;
    rig_publish_from(r, c, o.publisher, 1, before, "stays");
    rig_publish_from(r, c, o.publisher, 2, fallen, "answers what falls");
    rig_publish_from(r, c, o.publisher, 3, (struct position) { 0 }, "behind it");
    rig_run(r);
    ck_assert_uint_eq(rig_counter(r, COUNTER_RELAYED), 3);
    rig_fork(r, common);
    rig_publish_from(r, c, o.publisher, 4, (struct position) { 0 }, "still on its way");
    rig_run(r);
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_FORKED, &length));
    r->leader.deaf = false;
    rig_publish_from(r, c, o.publisher, 2, rig_position(r), "decided anew");
    rig_pass(r, SECOND);
    ck_assert_uint_eq(rig_times(r, "stays"), 1);
    ck_assert_uint_eq(rig_times(r, "answers what falls"), 0);
    ck_assert_uint_eq(rig_times(r, "behind it"), 0);
    ck_assert_uint_eq(rig_times(r, "still on its way"), 0);
    ck_assert_uint_eq(rig_times(r, "decided anew"), 1);
    ck_assert_uint_eq(rig_outcome(r, c).number, 1);
    ck_assert_uint_eq(rig_outcome(r, c).number, 2);
    ck_assert_ptr_null(rig_next(r, c, EDGE_REFUSED, &length));
    rig_free(r);
}
END_TEST

static void publish_part(struct rig *r, uint32_t c, uint32_t publisher, uint64_t number,
                         struct position at, const char *text, bool more)
{
    struct edge_publish p = { .publisher = publisher,
                              .number = number,
                              .position = at,
                              .flags = more ? MESSAGE_MORE : 0,
                              .topic = "/a/x",
                              .topic_length = 4,
                              .payload = (const uint8_t *)text,
                              .length = (uint32_t)strlen(text) };
    rig_publish_at(r, c, &p);
}

/* The epoch that cuts it off voids what of it was stable, too. */
START_TEST(a_group_of_which_a_part_was_stable_falls_whole_and_is_sent_again)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    const struct position nowhere = { .seq = 0 };
    r->leader.hold_stable = true;
    publish_part(r, c, o.publisher, 1, nowhere, "first", true);
    publish_part(r, c, o.publisher, 2, nowhere, "second", true);
    publish_part(r, c, o.publisher, 3, nowhere, "third", false);
    rig_run(r);
    ck_assert_uint_eq(rig_times(r, "third"), 1);
    uint64_t first = rig_tip(r) - 2;
    r->leader.stable = first;
    rig_run(r);
    ck_assert_uint_eq(proxy_stable(r->proxy), first);
    rig_fork(r, first + 1);
    ck_assert_uint_eq(rig_times(r, "third"), 0);
    r->leader.hold_stable = false;
    rig_pass(r, SECOND);
    ck_assert_uint_eq(rig_times(r, "third"), 1);
    publish_part(r, c, o.publisher, 4, nowhere, "fourth", false);
    rig_pass(r, SECOND);
    ck_assert_uint_eq(rig_times(r, "fourth"), 1);
    rig_free(r);
}
END_TEST

START_TEST(a_group_of_which_a_part_answers_a_fallen_message_falls_whole)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    size_t length;
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    rig_run(r);
    r->leader.hold_stable = true;
    struct position before = rig_position(r);
    rig_say(r, "/a/x", "will fall");
    rig_run(r);
    r->leader.deaf = true;
    publish_part(r, c, o.publisher, 1, before, "stays", false);
    publish_part(r, c, o.publisher, 2, before, "first", true);
    publish_part(r, c, o.publisher, 3, rig_position(r), "second", true);
    rig_run(r);
    rig_fork(r, before.seq);
    rig_run(r);
    r->leader.deaf = false;
    publish_part(r, c, o.publisher, 4, before, "still on its way", false);
    publish_part(r, c, o.publisher, 2, rig_position(r), "decided anew", false);
    rig_pass(r, SECOND);
    ck_assert_uint_eq(rig_times(r, "stays"), 1);
    ck_assert_uint_eq(rig_times(r, "first"), 0);
    ck_assert_uint_eq(rig_times(r, "second"), 0);
    ck_assert_uint_eq(rig_times(r, "still on its way"), 0);
    ck_assert_uint_eq(rig_times(r, "decided anew"), 1);
    ck_assert_ptr_null(rig_next(r, c, EDGE_REFUSED, &length));
    rig_free(r);
}
END_TEST

/* What of a group is on its way has no outcome before its end is: it would wait for itself. */
START_TEST(a_group_with_more_bytes_than_may_be_in_flight_is_not_left_open_for_ever)
{
    struct rig *r = begin();
    struct limit_whom whom = { .who = LIMIT_KEY };
    memcpy(whom.key, key.public, sizeof whom.key);
    rig_limit(r, &whom, &(struct limit) { .inflight_bytes = 10 });
    rig_run(r);
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    const struct position nowhere = { .seq = 0 };
    publish_part(r, c, o.publisher, 1, nowhere, "1234567", true);
    publish_part(r, c, o.publisher, 2, nowhere, "7654321", true);
    publish_part(r, c, o.publisher, 3, nowhere, "end", false);
    rig_pass(r, SECOND);
    ck_assert_uint_eq(rig_times(r, "end"), 1);
    rig_free(r);
}
END_TEST

START_TEST(what_depends_on_nothing_is_sent_again_after_a_fork)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    r->leader.hold_stable = true;
    uint64_t common = rig_tip(r);
    rig_publish(r, c, o.publisher, 1, "/a/x", "blind");
    rig_run(r);
    ck_assert_uint_eq(rig_times(r, "blind"), 1);
    rig_fork(r, common);
    ck_assert_uint_eq(rig_times(r, "blind"), 0);
    rig_pass(r, SECOND);
    ck_assert_uint_eq(rig_times(r, "blind"), 1);
    rig_free(r);
}
END_TEST

START_TEST(a_message_for_a_place_that_is_no_more_is_passed_over)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    size_t length;
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    rig_run(r);
    r->leader.hold_stable = true;
    uint64_t common = rig_tip(r);
    rig_say(r, "/a/x", "will fall");
    rig_run(r);
    struct position fallen = rig_position(r);
    rig_fork(r, common);
    rig_run(r);
    rig_publish_from(r, c, o.publisher, 1, fallen, "answers what fell");
    rig_publish_from(r, c, o.publisher, 2, (struct position) { 0 }, "behind it");
    rig_run(r);
    ck_assert_uint_eq(rig_counter(r, COUNTER_RELAYED), 0);
    rig_publish_from(r, c, o.publisher, 1, rig_position(r), "anew");
    rig_pass(r, 100 * MS);
    ck_assert_uint_eq(rig_times(r, "anew"), 1);
    ck_assert_ptr_null(rig_next(r, c, EDGE_REFUSED, &length));
    rig_free(r);
}
END_TEST

START_TEST(a_join_that_a_fork_takes_back_is_made_again)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    r->leader.hold_stable = true;
    r->leader.stable = rig_tip(r);
    rig_run(r);
    uint64_t common = rig_tip(r);
    size_t length;
    rig_open(r, c, "p", 7, 1);
    rig_pass(r, 20 * MS);
    ck_assert_ptr_null(rig_next(r, c, EDGE_OPENED, &length)); /* it might still fall */
    rig_fork(r, common);
    r->leader.hold_stable = false;
    rig_pass(r, SECOND);
    struct edge_opened o = rig_next_opened(r, c);
    ck_assert_uint_eq(o.incarnation, 1);
    rig_publish(r, c, o.publisher, 1, "/a/x", "one");
    rig_run(r);
    ck_assert_uint_eq(rig_outcome(r, c).number, 1);
    rig_free(r);
}
END_TEST

/* Else its client opens anew, or gives up, though nobody has superseded it: and what it had under way would have no
 * outcome. */
START_TEST(nobody_is_told_of_being_superseded_by_a_join_that_falls)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key), d = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    size_t length;
    r->leader.hold_stable = true;
    uint64_t common = rig_tip(r);
    rig_open(r, d, "p", 8, 0);
    rig_pass(r, 20 * MS);
    ck_assert_ptr_null(rig_next(r, c, EDGE_SUPERSEDED, &length)); /* it might still fall */
    rig_open(r, c, "p", 9, o.incarnation + 1);                    /* not for want of an answer */
    rig_pass(r, 20 * MS);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_ORDER);
    rig_hang_up(r, d);
    r->leader.deaf = true; /* nor does it join anew */
    rig_run(r);
    rig_fork(r, common);
    rig_run(r);
    r->leader.deaf = r->leader.hold_stable = false;
    rig_publish(r, c, o.publisher, 1, "/a/x", "one");
    rig_pass(r, SECOND);
    ck_assert_uint_eq(rig_outcome(r, c).number, 1);
    uint32_t e = rig_login(r, &key);
    uint64_t join_seq = rig_opened(r, e, "p", 10).join_seq;
    rig_pass(r, SECOND);
    struct edge_superseded s = rig_next_superseded(r, c);
    ck_assert_uint_eq(s.incarnation, 2);
    ck_assert_uint_eq(s.join_seq, join_seq);
    ck_assert_ptr_null(rig_next(r, c, EDGE_SUPERSEDED, &length));
    rig_free(r);
}
END_TEST

/* What was sent before SUPERSEDED was heard is not passed over as long as that may fall: the numbers would be missing. */
START_TEST(who_has_not_heard_of_a_superseded_that_a_fork_took_back_goes_on)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key), d = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    r->leader.hold_stable = true;
    uint64_t common = rig_tip(r);
    rig_open(r, d, "p", 8, 0);
    rig_run(r);
    rig_publish(r, c, o.publisher, 1, "/a/x", "one");
    rig_run(r);
    rig_hang_up(r, d);
    r->leader.deaf = true; /* nor does it join anew */
    rig_run(r);
    rig_fork(r, common);
    rig_run(r);
    r->leader.deaf = r->leader.hold_stable = false;
    rig_publish(r, c, o.publisher, 2, "/a/x", "two");
    rig_pass(r, SECOND);
    size_t length;
    ck_assert_ptr_null(rig_next(r, c, EDGE_REFUSED, &length));
    ck_assert_uint_eq(rig_times(r, "one"), 1);
    ck_assert_uint_eq(rig_times(r, "two"), 1);
    rig_free(r);
}
END_TEST

START_TEST(what_a_superseded_one_sends_waits_until_that_is_stable_and_is_passed_over)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key), d = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    r->leader.hold_stable = true;
    rig_open(r, d, "p", 8, 0);
    rig_run(r);
    rig_publish(r, c, o.publisher, 1, "/a/x", "one");
    rig_pass(r, SECOND);
    ck_assert_uint_gt(r->streams[c - 1].in_length, 0); /* unread */
    r->leader.hold_stable = false;
    rig_say(r, "/a/x", "by which the watermark is told");
    rig_pass(r, SECOND);
    ck_assert_uint_eq(r->streams[c - 1].in_length, 0);
    size_t length;
    ck_assert_ptr_null(rig_next(r, c, EDGE_REFUSED, &length));
    ck_assert_uint_eq(rig_times(r, "one"), 0);
    rig_free(r);
}
END_TEST

/* No watermark ever rises there, and nobody else joins, that would remind it. */
START_TEST(a_proxy_joins_a_volatile_stream_once_it_follows_it)
{
    struct proxy_options options = rig_options();
    struct rig *r = rig_new_with(&options, true);
    key = rig_key(2);
    proxy_destroy(r->proxy);
    rig_fork(r, 2); /* genesis and epoch: nobody has joined */
    r->leader.log_delivered = 0;
    r->proxy = proxy_create(&r->options, &r->leader.port, r->now);
    ck_assert_ptr_nonnull(r->proxy);
    proxy_participant.step(r->proxy, r->now); /* it has not heard of anything */
    ck_assert(!proxy_ready(r->proxy));
    rig_run(r);
    ck_assert_msg(proxy_ready(r->proxy), "it is %s", proxy_state(r->proxy));
    rig_grant(r, &key, ACCESS_WRITE, "/a");
    rig_topic(r, "/a/x");
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    rig_publish(r, c, o.publisher, 1, "/a/x", "one");
    rig_run(r);
    ck_assert_uint_eq(rig_outcome(r, c).number, 1);
    rig_free(r);
}
END_TEST

START_TEST(a_place_that_is_yet_to_come_here_is_waited_for)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    struct position ahead = rig_position(r); /* another proxy was faster */
    ahead.seq += 2;
    rig_publish_from(r, c, o.publisher, 1, ahead, "of the future");
    rig_pass(r, 10 * MS);
    ck_assert_uint_eq(rig_counter(r, COUNTER_RELAYED), 0);
    rig_say(r, "/a/x", "one");
    rig_say(r, "/a/x", "two");
    rig_run(r);
    ck_assert_uint_eq(rig_counter(r, COUNTER_RELAYED), 1);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_relay_fork");
    TCase *all = tcase_create("forks");
    tcase_add_test(all, what_answers_a_fallen_message_falls_with_it_and_all_behind);
    tcase_add_test(all, a_group_of_which_a_part_was_stable_falls_whole_and_is_sent_again);
    tcase_add_test(all, a_group_of_which_a_part_answers_a_fallen_message_falls_whole);
    tcase_add_test(all, a_group_with_more_bytes_than_may_be_in_flight_is_not_left_open_for_ever);
    tcase_add_test(all, what_depends_on_nothing_is_sent_again_after_a_fork);
    tcase_add_test(all, a_message_for_a_place_that_is_no_more_is_passed_over);
    tcase_add_test(all, a_join_that_a_fork_takes_back_is_made_again);
    tcase_add_test(all, nobody_is_told_of_being_superseded_by_a_join_that_falls);
    tcase_add_test(all, who_has_not_heard_of_a_superseded_that_a_fork_took_back_goes_on);
    tcase_add_test(all, what_a_superseded_one_sends_waits_until_that_is_stable_and_is_passed_over);
    tcase_add_test(all, a_proxy_joins_a_volatile_stream_once_it_follows_it);
    tcase_add_test(all, a_place_that_is_yet_to_come_here_is_waited_for);
    suite_add_tcase(suite, all);
    return rig_suite(suite);
}
