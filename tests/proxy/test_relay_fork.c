/* What a fork leaves of clients' publishers: what answers a fallen message falls with it, groups
 * fall whole, and what depends on nothing is sent again, each once. The leader's history is cut and
 * what is in the new one is counted. */
#include "rig.h"

static struct rig_key key;
static struct rig *r;
static uint32_t c;           /* a client with the key, which may read and write /a, */
static struct edge_opened o; /* and its publisher */

static const struct position nowhere = { .seq = 0 };

/* There is /a/x. */
static void begin(void)
{
    key = rig_key(2);
    r = rig_new_for(&key, "/a", "/a/x");
    c = rig_login(r, &key);
}

static void publish_and_read(void)
{
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    o = rig_opened(r, c, "p", 7);
    rig_run(r);
}

/* What is sequenced from here on may fall. Returns the last that does not. */
static struct position hold(void)
{
    r->leader.hold_stable = true;
    return rig_position(r);
}

static void sequence(const char *text)
{
    rig_say(r, "/a/x", text);
    rig_run(r);
}

static void publish_with(uint64_t number, struct position at, const char *text, uint8_t flags)
{
    struct edge_publish p = { .publisher = o.publisher,
                              .number = number,
                              .position = at,
                              .flags = flags,
                              .topic = "/a/x",
                              .topic_length = 4,
                              .payload = (const uint8_t *)text,
                              .length = (uint32_t)strlen(text) };
    rig_publish_at(r, c, &p);
}

static void publish(uint64_t number, struct position at, const char *text)
{
    publish_with(number, at, text, 0);
}

/* Of a group that is not complete with it. */
static void publish_part(uint64_t number, struct position at, const char *text)
{
    publish_with(number, at, text, MESSAGE_MORE);
}

static bool heard(enum edge_type type)
{
    size_t length;
    return rig_next(r, c, type, &length) != NULL;
}

static void sequenced(const char *text, uint32_t times)
{
    ck_assert_msg(rig_times(r, text) == times, "\"%s\" %u times", text, rig_times(r, text));
}

START_TEST(what_answers_a_fallen_message_falls_with_it_and_all_behind)
{
    begin();
    publish_and_read();
    struct position before = hold();
    sequence("will fall");
    struct position fallen = rig_position(r);
    r->leader.deaf = true;
    publish(1, before, "stays");
    publish(2, fallen, "answers what falls");
    publish(3, nowhere, "behind it");
    rig_run(r);
    ck_assert_uint_eq(rig_counter(r, COUNTER_RELAYED), 3);
    rig_fork(r, before.seq);
    publish(4, nowhere, "still on its way");
    rig_run(r);
    ck_assert(heard(EDGE_FORKED));
    r->leader.deaf = false;
    publish(2, rig_position(r), "decided anew");
    rig_pass(r, SECOND);
    sequenced("stays", 1);
    sequenced("answers what falls", 0);
    sequenced("behind it", 0);
    sequenced("still on its way", 0);
    sequenced("decided anew", 1);
    ck_assert_uint_eq(rig_outcome(r, c).number, 1);
    ck_assert_uint_eq(rig_outcome(r, c).number, 2);
    ck_assert(!heard(EDGE_REFUSED));
    rig_free(r);
}
END_TEST

/* The epoch that cuts it off voids what of it was stable, too. */
START_TEST(a_group_of_which_a_part_was_stable_falls_whole_and_is_sent_again)
{
    begin();
    o = rig_opened(r, c, "p", 7);
    r->leader.hold_stable = true;
    publish_part(1, nowhere, "first");
    publish_part(2, nowhere, "second");
    publish(3, nowhere, "third");
    rig_run(r);
    sequenced("third", 1);
    uint64_t first = rig_tip(r) - 2;
    r->leader.stable = first;
    rig_run(r);
    ck_assert_uint_eq(proxy_stable(r->proxy), first);
    rig_fork(r, first + 1);
    sequenced("third", 0);
    r->leader.hold_stable = false;
    rig_pass(r, SECOND);
    sequenced("third", 1);
    publish(4, nowhere, "fourth");
    rig_pass(r, SECOND);
    sequenced("fourth", 1);
    rig_free(r);
}
END_TEST

START_TEST(a_group_of_which_a_part_answers_a_fallen_message_falls_whole)
{
    begin();
    publish_and_read();
    struct position before = hold();
    sequence("will fall");
    r->leader.deaf = true;
    publish(1, before, "stays");
    publish_part(2, before, "first");
    publish_part(3, rig_position(r), "second");
    rig_run(r);
    rig_fork(r, before.seq);
    rig_run(r);
    r->leader.deaf = false;
    publish(4, before, "still on its way");
    publish(2, rig_position(r), "decided anew");
    rig_pass(r, SECOND);
    sequenced("stays", 1);
    sequenced("first", 0);
    sequenced("second", 0);
    sequenced("still on its way", 0);
    sequenced("decided anew", 1);
    ck_assert(!heard(EDGE_REFUSED));
    rig_free(r);
}
END_TEST

/* What of a group is on its way has no outcome before its end is: it would wait for itself. */
START_TEST(a_group_with_more_bytes_than_may_be_in_flight_is_not_left_open_for_ever)
{
    struct limit_whom whom = { .who = LIMIT_KEY };
    begin();
    memcpy(whom.key, key.public, sizeof whom.key);
    rig_limit(r, &whom, &(struct limit) { .inflight_bytes = 10 });
    rig_run(r);
    o = rig_opened(r, c, "p", 7);
    publish_part(1, nowhere, "1234567");
    publish_part(2, nowhere, "7654321");
    publish(3, nowhere, "end");
    rig_pass(r, SECOND);
    sequenced("end", 1);
    rig_free(r);
}
END_TEST

START_TEST(what_depends_on_nothing_is_sent_again_after_a_fork)
{
    begin();
    o = rig_opened(r, c, "p", 7);
    struct position before = hold();
    publish(1, nowhere, "blind");
    rig_run(r);
    sequenced("blind", 1);
    rig_fork(r, before.seq);
    sequenced("blind", 0);
    rig_pass(r, SECOND);
    sequenced("blind", 1);
    rig_free(r);
}
END_TEST

START_TEST(a_message_for_a_place_that_is_no_more_is_passed_over)
{
    begin();
    publish_and_read();
    struct position before = hold();
    sequence("will fall");
    struct position fallen = rig_position(r);
    rig_fork(r, before.seq);
    rig_run(r);
    publish(1, fallen, "answers what fell");
    publish(2, nowhere, "behind it");
    rig_run(r);
    ck_assert_uint_eq(rig_counter(r, COUNTER_RELAYED), 0);
    publish(1, rig_position(r), "anew");
    rig_pass(r, 100 * MS);
    sequenced("anew", 1);
    ck_assert(!heard(EDGE_REFUSED));
    rig_free(r);
}
END_TEST

START_TEST(a_join_that_a_fork_takes_back_is_made_again)
{
    begin();
    r->leader.stable = rig_tip(r);
    struct position before = hold();
    rig_run(r);
    rig_open(r, c, "p", 7, 1);
    rig_pass(r, 20 * MS);
    ck_assert(!heard(EDGE_OPENED)); /* it might still fall */
    rig_fork(r, before.seq);
    r->leader.hold_stable = false;
    rig_pass(r, SECOND);
    o = rig_next_opened(r, c);
    ck_assert_uint_eq(o.incarnation, 1);
    publish(1, nowhere, "one");
    rig_run(r);
    ck_assert_uint_eq(rig_outcome(r, c).number, 1);
    rig_free(r);
}
END_TEST

/* Else its client opens anew, or gives up, though nobody has superseded it: and what it had under way would have no
 * outcome. */
START_TEST(nobody_is_told_of_being_superseded_by_a_join_that_falls)
{
    begin();
    uint32_t d = rig_login(r, &key);
    o = rig_opened(r, c, "p", 7);
    struct position before = hold();
    rig_open(r, d, "p", 8, 0);
    rig_pass(r, 20 * MS);
    ck_assert(!heard(EDGE_SUPERSEDED));        /* it might still fall */
    rig_open(r, c, "p", 9, o.incarnation + 1); /* not for want of an answer */
    rig_pass(r, 20 * MS);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_ORDER);
    rig_hang_up(r, d);
    r->leader.deaf = true; /* nor does it join anew */
    rig_run(r);
    rig_fork(r, before.seq);
    rig_run(r);
    r->leader.deaf = r->leader.hold_stable = false;
    publish(1, nowhere, "one");
    rig_pass(r, SECOND);
    ck_assert_uint_eq(rig_outcome(r, c).number, 1);
    uint32_t e = rig_login(r, &key);
    uint64_t join_seq = rig_opened(r, e, "p", 10).join_seq;
    rig_pass(r, SECOND);
    struct edge_superseded s = rig_next_superseded(r, c);
    ck_assert_uint_eq(s.incarnation, 2);
    ck_assert_uint_eq(s.join_seq, join_seq);
    ck_assert(!heard(EDGE_SUPERSEDED));
    rig_free(r);
}
END_TEST

/* What was sent before SUPERSEDED was heard is not passed over as long as that may fall: the numbers would be missing. */
START_TEST(who_has_not_heard_of_a_superseded_that_a_fork_took_back_goes_on)
{
    begin();
    uint32_t d = rig_login(r, &key);
    o = rig_opened(r, c, "p", 7);
    struct position before = hold();
    rig_open(r, d, "p", 8, 0);
    rig_run(r);
    publish(1, nowhere, "one");
    rig_run(r);
    rig_hang_up(r, d);
    r->leader.deaf = true; /* nor does it join anew */
    rig_run(r);
    rig_fork(r, before.seq);
    rig_run(r);
    r->leader.deaf = r->leader.hold_stable = false;
    publish(2, nowhere, "two");
    rig_pass(r, SECOND);
    ck_assert(!heard(EDGE_REFUSED));
    sequenced("one", 1);
    sequenced("two", 1);
    rig_free(r);
}
END_TEST

START_TEST(what_a_superseded_one_sends_waits_until_that_is_stable_and_is_passed_over)
{
    begin();
    uint32_t d = rig_login(r, &key);
    o = rig_opened(r, c, "p", 7);
    r->leader.hold_stable = true;
    rig_open(r, d, "p", 8, 0);
    rig_run(r);
    publish(1, nowhere, "one");
    rig_pass(r, SECOND);
    ck_assert_uint_gt(r->streams[c - 1].in_length, 0); /* unread */
    r->leader.hold_stable = false;
    rig_say(r, "/a/x", "by which the watermark is told");
    rig_pass(r, SECOND);
    ck_assert_uint_eq(r->streams[c - 1].in_length, 0);
    ck_assert(!heard(EDGE_REFUSED));
    sequenced("one", 0);
    rig_free(r);
}
END_TEST

/* No watermark ever rises there, and nobody else joins, that would remind it. */
START_TEST(a_proxy_joins_a_volatile_stream_once_it_follows_it)
{
    struct proxy_options options = rig_options();
    r = rig_new_with(&options, true);
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
    c = rig_login(r, &key);
    o = rig_opened(r, c, "p", 7);
    publish(1, nowhere, "one");
    rig_run(r);
    ck_assert_uint_eq(rig_outcome(r, c).number, 1);
    rig_free(r);
}
END_TEST

START_TEST(a_place_that_is_yet_to_come_here_is_waited_for)
{
    begin();
    o = rig_opened(r, c, "p", 7);
    struct position ahead = rig_position(r); /* another proxy was faster */
    ahead.seq += 2;
    publish(1, ahead, "of the future");
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
