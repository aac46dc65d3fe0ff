/* Publishers of clients: exactly once through lost connections and other processes; refused early
 * and clearly, or exactly by the leader when a right was taken away meanwhile; held back, not
 * dropped, when something is full. */
#include "rig.h"

static struct rig_key key;

/* It may read and write /a, where there is /a/x. */
static struct rig *begin(void)
{
    key = rig_key(2);
    return rig_new_for(&key, "/a", "/a/x");
}

/* ---- exactly once ---------------------------------------------------------------------------- */

START_TEST(a_client_that_lost_its_connection_asks_what_is_the_last_of_its_own)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    rig_publish(r, c, o.publisher, 1, "/a/x", "one");
    rig_publish(r, c, o.publisher, 2, "/a/x", "two");
    rig_round(r);
    rig_hang_up(r, c); /* before any outcome */
    uint32_t d = rig_login(r, &key);
    rig_open(r, d, "p", 7, o.incarnation + 1);
    rig_run(r);
    struct edge_opened again = rig_next_opened(r, d);
    ck_assert_uint_eq(again.incarnation, 2);
    ck_assert_uint_eq(again.publisher, o.publisher);
    ck_assert_uint_eq(again.last_number, 2);
    rig_publish(r, d, o.publisher, 3, "/a/x", "three");
    rig_run(r);
    ck_assert_uint_eq(rig_outcome(r, d).number, 3);
    ck_assert_uint_eq(rig_times(r, "one"), 1);
    ck_assert_uint_eq(rig_times(r, "two"), 1);
    ck_assert_uint_eq(rig_times(r, "three"), 1);
    rig_free(r);
}
END_TEST

START_TEST(what_was_not_heard_before_the_connection_was_lost_is_the_clients_to_say_again)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    r->leader.deaf = true;
    rig_publish(r, c, o.publisher, 1, "/a/x", "one");
    rig_round(r);
    rig_hang_up(r, c);
    rig_round(r);
    r->leader.deaf = false;
    rig_pass(r, SECOND);
    uint32_t d = rig_login(r, &key);
    rig_open(r, d, "p", 7, 2);
    rig_run(r);
    ck_assert_uint_eq(rig_next_opened(r, d).last_number, 0);
    rig_publish(r, d, o.publisher, 1, "/a/x", "one");
    rig_pass(r, SECOND);
    ck_assert_uint_eq(rig_times(r, "one"), 1);
    rig_free(r);
}
END_TEST

/* Told of the join that was there, it would be so where the proxy happens to be when it is asked. */
START_TEST(an_open_that_got_no_answer_is_another_join_when_it_comes_again)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key), d = rig_login(r, &key);
    rig_open(r, c, "p", 7, 1);
    rig_run(r);
    struct edge_opened o = rig_next_opened(r, c);
    rig_say(r, "/a/x", "behind it");
    rig_open(r, d, "p", 7, 1);
    rig_run(r);
    struct edge_opened again = rig_next_opened(r, d);
    ck_assert_uint_eq(again.incarnation, 2);
    ck_assert_uint_gt(again.join_seq, o.join_seq + 1);
    ck_assert_uint_eq(rig_next_superseded(r, c).join_seq, again.join_seq); /* by itself */
    rig_publish(r, d, o.publisher, 1, "/a/x", "one");
    rig_run(r);
    ck_assert_uint_eq(rig_outcome(r, d).number, 1);
    rig_free(r);
}
END_TEST

START_TEST(a_second_process_takes_over_and_the_first_is_told)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key), d = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    rig_publish(r, c, o.publisher, 1, "/a/x", "one");
    rig_run(r);
    rig_open(r, d, "p", 8, 0);
    rig_run(r);
    struct edge_opened second = rig_next_opened(r, d);
    ck_assert_uint_eq(second.incarnation, 2);
    ck_assert_uint_eq(second.last_number, 1);
    struct edge_superseded s = rig_next_superseded(r, c);
    ck_assert_uint_eq(s.publisher, o.publisher);
    ck_assert_uint_eq(s.incarnation, 2);
    ck_assert_uint_eq(s.join_seq, second.join_seq);
    rig_publish(r, c, o.publisher, 2, "/a/x", "from the first");
    rig_publish(r, d, o.publisher, 2, "/a/x", "from the second");
    rig_pass(r, SECOND);
    ck_assert_uint_eq(rig_times(r, "from the first"), 0);
    ck_assert_uint_eq(rig_times(r, "from the second"), 1);
    ck_assert_uint_eq(rig_counter(r, COUNTER_SUPERSEDED), 1);
    rig_free(r);
}
END_TEST

START_TEST(whoever_comes_back_too_late_is_superseded_at_once)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key), d = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    rig_hang_up(r, c);
    rig_open(r, d, "p", 8, 0);
    rig_run(r);
    uint32_t e = rig_login(r, &key);
    rig_open(r, e, "p", 7, o.incarnation + 1);
    rig_pass(r, SECOND);
    ck_assert_uint_eq(rig_next_superseded(r, e).incarnation, 2);
    size_t length;
    ck_assert_ptr_null(rig_next(r, d, EDGE_SUPERSEDED, &length));
    rig_free(r);
}
END_TEST

/* ---- permission ------------------------------------------------------------------------------ */

START_TEST(what_may_not_be_written_is_refused_with_topic_and_right)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    static const char *const topics[] = { "/b/x", "/sys/edge", "/sys/join", "/sys/new" };
    rig_topic(r, "/b/x");
    rig_run(r);
    for (uint32_t i = 0; i < 4; i++) {
        rig_publish(r, c, o.publisher, 1, topics[i], "no");
        rig_run(r);
        struct edge_refused no = rig_refused(r, c);
        ck_assert_uint_eq(no.reason, EDGE_REFUSED_RIGHT);
        ck_assert_uint_eq(no.right, ACCESS_WRITE);
        ck_assert_uint_eq(no.number, 1);
        ck_assert_str_eq(no.subject, topics[i]);
    }
    ck_assert_uint_eq(rig_counter(r, COUNTER_REFUSED_RIGHT), 4);
    rig_publish(r, c, o.publisher, 1, "/a/x", "yes"); /* the number is unused */
    rig_run(r);
    ck_assert_uint_eq(rig_outcome(r, c).reason, 0);
    ck_assert_uint_eq(r->leader.rejects, 0);
    rig_free(r);
}
END_TEST

START_TEST(a_revocation_that_the_proxy_has_not_heard_of_is_an_outcome)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    rig_revoke(r, &key, ACCESS_WRITE, "/a"); /* emitted, not yet delivered */
    uint32_t delivered = r->leader.log_delivered;
    r->leader.log_delivered = r->leader.log_count;
    rig_publish(r, c, o.publisher, 1, "/a/x", "too late");
    proxy_participant.step(r->proxy, r->now);
    rig_round(r); /* read and sent, as far as the proxy knows permitted */
    ck_assert_uint_eq(rig_counter(r, COUNTER_RELAYED), 1);
    r->leader.log_delivered = delivered;
    rig_run(r);
    struct edge_outcome out = rig_outcome(r, c);
    ck_assert_uint_eq(out.number, 1);
    ck_assert_uint_eq(out.reason, REJECT_NOT_PERMITTED);
    rig_publish(r, c, o.publisher, 2, "/a/x", "early");
    rig_run(r);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_RIGHT);
    ck_assert_uint_eq(rig_times(r, "too late"), 0);
    rig_free(r);
}
END_TEST

/* Whether a client of one key gets to open a publisher of another's. */
static bool claims(uint32_t sabotage)
{
    struct proxy_options o;
    proxy_options_default(&o);
    o.sessions_max = 64;
    o.recent_bytes = o.view_bytes = 8 << 20;
    o.relay_bytes = 8 << 20;
    o.sabotage = sabotage;
    struct rig *r = rig_new_with(&o, false);
    struct rig_key thief = rig_key(3);
    char text[ACCESS_KEY_TEXT + 1], name[IDENTITY_MAX + 1];
    key = rig_key(2);
    access_key_write(key.public, text);
    snprintf(name, sizeof name, "@%s:p", text);
    uint32_t c = rig_login(r, &thief);
    size_t length;
    rig_open(r, c, name, 7, 0);
    rig_run(r);
    bool opened = rig_next(r, c, EDGE_OPENED, &length) != NULL;
    rig_free(r);
    return opened;
}

START_TEST(nobody_opens_anothers_publisher)
{
    ck_assert(!claims(0));
    ck_assert(claims(PROXY_ANY_IDENTITY));
}
END_TEST

START_TEST(names_that_are_none_are_refused)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    static const char *const names[] = { "a b", "1234567890123456789", "\x01", "\xff" };
    for (uint32_t i = 0; i < 4; i++) {
        rig_open(r, c, names[i], 7, 0);
        rig_run(r);
        ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_NAME);
    }
    rig_opened(r, c, "123456789012345678", 7);
    rig_open(r, c, "123456789012345678", 8, 0);
    rig_run(r);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_ORDER);
    rig_free(r);
}
END_TEST

START_TEST(a_condition_on_what_may_not_be_read_is_refused)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    rig_say(r, "/secret", "x");
    rig_run(r);
    struct edge_publish p = { .publisher = o.publisher,
                              .number = 1,
                              .topic = "/a/x",
                              .topic_length = 4,
                              .conditional = true,
                              .condition_topic = "/secret",
                              .condition_topic_length = 7 };
    rig_publish_at(r, c, &p);
    rig_run(r);
    struct edge_refused no = rig_refused(r, c);
    ck_assert_uint_eq(no.right, ACCESS_READ);
    ck_assert_str_eq(no.subject, "/secret");
    p.condition_topic = "/a/x";
    p.condition_topic_length = 4;
    rig_publish_at(r, c, &p);
    rig_run(r);
    ck_assert_uint_eq(rig_outcome(r, c).reason, 0);
    p.number = 2; /* now there is something behind 0 */
    rig_publish_at(r, c, &p);
    rig_run(r);
    ck_assert_uint_eq(rig_outcome(r, c).reason, REJECT_CONDITION);
    rig_free(r);
}
END_TEST

START_TEST(a_client_administers_with_the_right_to_and_not_without)
{
    struct rig *r = begin();
    struct sys_grant g = { .rights = ACCESS_READ,
                           .whom = { .who = ACCESS_ANYONE },
                           .subtree = "/a" };
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    struct edge_publish p = { .number = 1,
                              .topic = "/sys/grant",
                              .topic_length = 10,
                              .payload = payload,
                              .length = (uint32_t)sys_grant_encode(&g, payload, sizeof payload) };
    uint32_t c = rig_login(r, &key);
    p.publisher = rig_opened(r, c, "p", 7).publisher;
    rig_publish_at(r, c, &p);
    rig_run(r);
    struct edge_refused no = rig_refused(r, c);
    ck_assert_uint_eq(no.reason, EDGE_REFUSED_RIGHT);
    ck_assert_uint_eq(no.right, ACCESS_GRANT);
    uint32_t a = rig_login(r, &r->admin);
    p.publisher = rig_opened(r, a, "cli", 8).publisher;
    rig_publish_at(r, a, &p);
    rig_run(r);
    ck_assert_uint_eq(rig_outcome(r, a).reason, 0);
    uint32_t anyone = rig_login(r, NULL);
    rig_subscribe(r, anyone, "/a", EDGE_FROM_TIP);
    rig_run(r);
    size_t length;
    ck_assert_ptr_nonnull(rig_next(r, anyone, EDGE_SUBSCRIBED, &length));
    rig_free(r);
}
END_TEST

/* ---- numbers and sizes ----------------------------------------------------------------------- */

START_TEST(only_the_next_number_is_taken)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    rig_publish(r, c, o.publisher, 2, "/a/x", "two");
    rig_run(r);
    struct edge_refused no = rig_refused(r, c);
    ck_assert_uint_eq(no.reason, EDGE_REFUSED_NUMBER);
    ck_assert_uint_eq(no.number, 2);
    rig_publish(r, c, o.publisher + 1, 1, "/a/x", "whose?");
    rig_run(r);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_ORDER);
    rig_publish(r, c, o.publisher, 1, "/a/x", "one");
    rig_publish(r, c, o.publisher, 2, "/a/x", "two");
    rig_run(r);
    ck_assert_uint_eq(rig_outcome(r, c).number, 1);
    ck_assert_uint_eq(rig_outcome(r, c).number, 2);
    rig_free(r);
}
END_TEST

START_TEST(large_messages_take_a_number_for_each_fragment)
{
    struct rig *r = begin();
    static uint8_t large[200000];
    uint32_t c = rig_login(r, &key);
    r->streams[c - 1].read = 0;
    size_t length;
    struct edge_accepted limits;
    const uint8_t *body = rig_next(r, c, EDGE_ACCEPTED, &length);
    ck_assert(body != NULL && edge_accepted_decode(body, length, &limits));
    struct edge_opened o = rig_opened(r, c, "p", 7);
    struct edge_publish p = { .publisher = o.publisher,
                              .number = 1,
                              .topic = "/a/x",
                              .topic_length = 4,
                              .payload = large,
                              .length = limits.payload_max };
    uint32_t numbers = (limits.payload_max + limits.fragment_bytes - 1) / limits.fragment_bytes;
    memset(large, 'l', sizeof large);
    rig_publish_at(r, c, &p);
    rig_publish(r, c, o.publisher, 1 + numbers, "/a/x", "small");
    rig_run(r);
    struct edge_outcome out = rig_outcome(r, c);
    ck_assert_uint_eq(out.number, 1);
    ck_assert_uint_eq(out.count, numbers);
    ck_assert_uint_eq(rig_outcome(r, c).number, 1 + numbers);
    p.number = 2 + numbers;
    p.length = limits.payload_max + 1;
    rig_publish_at(r, c, &p);
    rig_run(r);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_LARGE);
    rig_free(r);
}
END_TEST

START_TEST(a_group_is_sequenced_whole_and_one_that_cannot_be_ends_its_session)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    struct edge_publish p = { .publisher = o.publisher,
                              .topic = "/a/x",
                              .topic_length = 4,
                              .payload = (const uint8_t *)"g",
                              .length = 1,
                              .flags = MESSAGE_MORE };
    for (p.number = 1; p.number <= 2; p.number++)
        rig_publish_at(r, c, &p);
    rig_run(r);
    ck_assert_uint_eq(rig_times(r, "g"), 0);
    p.flags = 0;
    rig_publish_at(r, c, &p);
    rig_run(r);
    ck_assert_uint_eq(rig_times(r, "g"), 3);
    ck_assert_uint_eq(rig_outcome(r, c).number, 1);
    p.flags = MESSAGE_MORE;
    for (p.number = 4; p.number < 400; p.number++)
        rig_publish_at(r, c, &p);
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_QUOTA);
    rig_free(r);
}
END_TEST

/* ---- back-pressure --------------------------------------------------------------------------- */

START_TEST(a_full_window_leaves_the_rest_unread)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key), d = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7), other = rig_opened(r, d, "q", 8);
    r->leader.hold_stable = false;
    r->leader.deaf = true;
    for (uint64_t i = 1; i <= 1000; i++)
        rig_publish(r, c, o.publisher, i, "/a/x", "flood");
    rig_pass(r, 10 * MS);
    ck_assert_uint_eq(rig_counter(r, COUNTER_RELAYED), r->options.window);
    ck_assert_uint_gt(r->streams[c - 1].in_length, 0);
    rig_publish(r, d, other.publisher, 1, "/a/x", "polite");
    rig_pass(r, 10 * MS);
    ck_assert_uint_eq(rig_counter(r, COUNTER_RELAYED), r->options.window + 1);
    r->leader.deaf = false;
    rig_pass(r, SECOND);
    ck_assert_uint_eq(rig_times(r, "flood"), 1000);
    ck_assert_uint_eq(rig_times(r, "polite"), 1);
    ck_assert_uint_eq(r->streams[c - 1].in_length, 0);
    rig_free(r);
}
END_TEST

START_TEST(what_is_not_stable_is_kept_within_its_bytes)
{
    struct rig *r = begin();
    static char text[1001];
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    memset(text, 'k', 1000);
    r->leader.hold_stable = true;
    for (uint64_t i = 1; i <= 400; i++)
        rig_publish(r, c, o.publisher, i, "/a/x", text);
    rig_pass(r, 100 * MS);
    ck_assert_uint_lt(rig_counter(r, COUNTER_RELAYED) * 1000, r->options.publisher_bytes + 1000);
    r->leader.hold_stable = false;
    r->leader.stable = rig_tip(r);
    rig_pass(r, SECOND);
    ck_assert_uint_eq(rig_times(r, text), 400);
    rig_free(r);
}
END_TEST

START_TEST(an_open_flood_meets_quotas_and_what_was_open_is_given_back)
{
    struct rig *r = begin();
    struct rig_key other = rig_key(3);
    rig_grant(r, &other, ACCESS_WRITE, "/a");
    for (int again = 0; again < 2; again++) {
        uint32_t c = rig_login(r, &key), opened = 0, refused = 0;
        size_t length, from = r->streams[c - 1].read;
        for (int i = 0; i < 100; i++) {
            char name[16];
            snprintf(name, sizeof name, "n%d", i);
            rig_open(r, c, name, 7 + (uint64_t)i, 0);
        }
        rig_run(r);
        while (rig_next(r, c, EDGE_OPENED, &length) != NULL)
            opened++;
        r->streams[c - 1].read = from;
        while (rig_next(r, c, EDGE_REFUSED, &length) != NULL)
            refused++;
        ck_assert_uint_eq(opened + refused, 100);
        ck_assert_uint_ge(refused, 36);
        uint32_t d = rig_login(r, &other);
        rig_opened(r, d, "mine", 9); /* there is room for others */
        rig_hang_up(r, c);
        rig_hang_up(r, d);
        rig_run(r);
        uint64_t gauges[COUNTER_END];
        proxy_gauges(r->proxy, gauges);
        ck_assert_uint_eq(gauges[COUNTER_RELAYS], 0);
        ck_assert_uint_eq(gauges[COUNTER_RELAY_USED], 0);
    }
    rig_free(r);
}
END_TEST

/* ---- topics ---------------------------------------------------------------------------------- */

START_TEST(a_topic_is_made_first_and_only_its_writer_waits)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key), d = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7), other = rig_opened(r, d, "q", 8);
    r->leader.deaf = true;
    rig_publish(r, c, o.publisher, 1, "/a/new", "first");
    rig_publish(r, c, o.publisher, 2, "/a/x", "second");
    rig_pass(r, 10 * MS);
    ck_assert_uint_eq(rig_counter(r, COUNTER_RELAYED), 0);
    rig_publish(r, d, other.publisher, 1, "/a/x", "other");
    rig_pass(r, 10 * MS);
    ck_assert_uint_eq(rig_counter(r, COUNTER_RELAYED), 1);
    r->leader.deaf = false;
    rig_pass(r, SECOND);
    ck_assert_uint_eq(rig_times(r, "first"), 1);
    ck_assert_uint_eq(rig_times(r, "second"), 1);
    ck_assert_uint_eq(rig_outcome(r, c).number, 1);
    ck_assert_uint_eq(rig_outcome(r, c).number, 2);
    rig_free(r);
}
END_TEST

START_TEST(a_topic_is_asked_for_again_once_the_proxy_has_caught_up_and_till_then_it_sleeps)
{
    struct proxy_options o = rig_options();
    o.source_count = 1;
    o.sources[0].unicast = o.sources[0].stream = (struct port_addr) { RIG_HERE, 6000 };
    struct rig *r = rig_new_with(&o, false);
    key = rig_key(2);
    rig_grant(r, &key, ACCESS_WRITE, "/a");
    rig_run(r);
    uint32_t c = rig_login(r, &key);
    struct edge_opened p = rig_opened(r, c, "p", 7);
    r->leader.deaf = true;
    rig_publish(r, c, p.publisher, 1, "/a/new", "one");
    rig_run(r);
    uint32_t delivered = r->leader.log_delivered;
    rig_say(r, "/a/other", "missed");
    r->leader.log_delivered = r->leader.log_count;
    r->store_hangs = true;
    for (int i = 0; i < 100 && strcmp(proxy_state(r->proxy), "catching up") != 0; i++)
        rig_pass(r, SECOND / 10);
    ck_assert_str_eq(proxy_state(r->proxy), "catching up");
    rig_pass(r, SECOND); /* rig_run finds out if it is never quiet */
    r->store_hangs = r->leader.deaf = false;
    r->leader.log_delivered = delivered;
    rig_pass(r, 5 * SECOND);
    ck_assert_uint_eq(rig_times(r, "one"), 1);
    rig_free(r);
}
END_TEST

START_TEST(a_topic_is_not_used_before_no_fork_can_take_it_back)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    rig_run(r);
    r->leader.hold_stable = true;
    rig_publish(r, c, o.publisher, 1, "/a/new", "first");
    rig_pass(r, 20 * MS);
    ck_assert_uint_ge(r->leader.creates, 1);
    ck_assert_uint_eq(rig_counter(r, COUNTER_RELAYED), 0);
    r->leader.stable = rig_tip(r);
    rig_pass(r, 20 * MS);
    ck_assert_uint_eq(rig_times(r, "first"), 1);
    rig_free(r);
}
END_TEST

START_TEST(a_key_makes_as_many_topics_as_its_limit_says)
{
    struct rig *r = begin();
    const struct limit_whom whom = { .who = LIMIT_EVERYONE };
    const struct limit limit = { .topics = 2 };
    rig_limit(r, &whom, &limit);
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    rig_publish(r, c, o.publisher, 1, "/a/1", "1");
    rig_publish(r, c, o.publisher, 2, "/a/2", "2");
    rig_publish(r, c, o.publisher, 3, "/a/3", "3");
    rig_pass(r, 100 * MS);
    struct edge_refused no = rig_refused(r, c);
    ck_assert_uint_eq(no.reason, EDGE_REFUSED_QUOTA);
    ck_assert_str_eq(no.subject, "/a/3");
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_relay");
    TCase *all = tcase_create("relay");
    tcase_add_test(all, a_client_that_lost_its_connection_asks_what_is_the_last_of_its_own);
    tcase_add_test(all,
                   what_was_not_heard_before_the_connection_was_lost_is_the_clients_to_say_again);
    tcase_add_test(all, an_open_that_got_no_answer_is_another_join_when_it_comes_again);
    tcase_add_test(all, a_second_process_takes_over_and_the_first_is_told);
    tcase_add_test(all, whoever_comes_back_too_late_is_superseded_at_once);
    tcase_add_test(all, what_may_not_be_written_is_refused_with_topic_and_right);
    tcase_add_test(all, a_revocation_that_the_proxy_has_not_heard_of_is_an_outcome);
    tcase_add_test(all, nobody_opens_anothers_publisher);
    tcase_add_test(all, names_that_are_none_are_refused);
    tcase_add_test(all, a_condition_on_what_may_not_be_read_is_refused);
    tcase_add_test(all, a_client_administers_with_the_right_to_and_not_without);
    tcase_add_test(all, only_the_next_number_is_taken);
    tcase_add_test(all, large_messages_take_a_number_for_each_fragment);
    tcase_add_test(all, a_group_is_sequenced_whole_and_one_that_cannot_be_ends_its_session);
    tcase_add_test(all, a_full_window_leaves_the_rest_unread);
    tcase_add_test(all, what_is_not_stable_is_kept_within_its_bytes);
    tcase_add_test(all, an_open_flood_meets_quotas_and_what_was_open_is_given_back);
    tcase_add_test(all, a_topic_is_made_first_and_only_its_writer_waits);
    tcase_add_test(all,
                   a_topic_is_asked_for_again_once_the_proxy_has_caught_up_and_till_then_it_sleeps);
    tcase_add_test(all, a_topic_is_not_used_before_no_fork_can_take_it_back);
    tcase_add_test(all, a_key_makes_as_many_topics_as_its_limit_says);
    suite_add_tcase(suite, all);
    return rig_suite(suite);
}
