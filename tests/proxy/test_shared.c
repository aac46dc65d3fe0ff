/* Limits of subtrees, divided among the proxies that are there. Two of them follow one stream, and a greedy client
 * of each writes all that it may on the same subtree: what is sequenced is counted, over any time in which one comes,
 * stays, crashes, comes back or drains. The stream's time goes on in ticks, with the clocks. That it would be found
 * is shown with proxies that divide nothing. */
#include "rig.h"

enum { RATE = 100, BURST_MS = 200, BURST = RATE * BURST_MS / 1000, FRAMES = 3000, TICK_MS = 250 };

struct greedy {
    uint32_t c;
    struct rig_key key;
    struct edge_opened opened;
};

static struct limit limit = { .messages_per_s = RATE, .burst_ms = BURST_MS };

static struct rig *begin(uint32_t sabotage)
{
    struct proxy_options o = rig_options();
    struct limit_whom a = { .who = LIMIT_SUBTREE, .subtree = "/a" };
    o.sabotage = sabotage;
    struct rig *r = rig_new_with(&o, false);
    rig_limit(r, &a, &limit);
    rig_topic(r, "/a/x");
    rig_run(r);
    return r;
}

/* A client that has said far more than it may. */
static struct greedy come(struct rig *r, uint8_t seed)
{
    struct greedy g = { .key = rig_key(seed) };
    rig_grant(r, &g.key, ACCESS_READ | ACCESS_WRITE, "/a");
    rig_run(r);
    g.c = rig_login(r, &g.key);
    g.opened = rig_opened(r, g.c, "greedy", seed);
    return g;
}

static void say_much(struct rig *r, const struct greedy *g)
{
    for (uint64_t i = 1; i <= FRAMES; i++)
        rig_publish(r, g->c, g->opened.publisher, g->opened.last_number + i, "/a/x", "much");
}

static void come_and_say_much(struct rig *r, uint8_t seed)
{
    struct greedy g = come(r, seed);
    say_much(r, &g);
}

/* Of the clocks and of the stream. What was sequenced meanwhile. */
static uint32_t pass(struct rig *r, uint32_t ms)
{
    uint32_t before = rig_times(r, "much");
    for (uint32_t at = 0; at < ms; at += TICK_MS) {
        rig_pass(r, TICK_MS * MS);
        r->leader.timestamp_ns += TICK_MS * MS;
        rig_emit(r, TOPIC_CLOCK, 0, 0, 0, NULL, 0);
        rig_run(r);
    }
    return rig_times(r, "much") - before;
}

static void about(uint32_t count, uint32_t expected)
{
    ck_assert_uint_ge(count, expected - expected / 20 - 2);
    ck_assert_uint_le(count, expected + 3);
}

static uint32_t there(const struct rig *r)
{
    return presence_count(catalog_presence(r->leader.catalog), r->leader.timestamp_ns);
}

static uint32_t presences(const struct rig *r)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < r->leader.log_count; i++) {
        struct batch_cursor cursor = batch_begin(r->leader.log[i].bytes, &r->leader.log[i].header);
        struct message m;
        while (batch_next(&cursor, &m))
            count += m.topic == TOPIC_EDGE && sys_edge_is_presence(m.payload, m.length);
    }
    return count;
}

/* Through two, in so long from the first message on. */
static uint32_t through_two(uint32_t sabotage, uint32_t ms)
{
    struct rig *r = begin(sabotage);
    struct greedy one = come(r, 2);
    rig_add_other(r);
    struct greedy two = come(r, 3);
    ck_assert_uint_eq(there(r), 2);
    pass(r, 1000); /* all buckets are full */
    say_much(r, &one);
    say_much(r, &two);
    uint32_t count = pass(r, ms);
    rig_free(r);
    return count;
}

START_TEST(two_let_through_what_one_would)
{
    uint32_t count = through_two(0, 5000);
    ck_assert_uint_ge(count, 5 * RATE);
    ck_assert_uint_le(count, 5 * RATE + BURST + 2);
}
END_TEST

START_TEST(two_that_divide_nothing_are_found)
{
    ck_assert_uint_gt(through_two(PROXY_UNDIVIDED, 5000), 5 * RATE + BURST + 2);
}
END_TEST

START_TEST(who_comes_takes_its_part_and_who_drains_gives_it_back)
{
    struct rig *r = begin(0);
    come_and_say_much(r, 2);
    pass(r, 1000);
    about(pass(r, 3000), 3 * RATE);
    rig_add_other(r);
    about(pass(r, 4000), 2 * RATE); /* nobody writes there through the other */
    come_and_say_much(r, 3);
    pass(r, 1000);
    about(pass(r, 3000), 3 * RATE);
    proxy_drain(r->other, r->now);
    rig_run(r);
    ck_assert(proxy_drained(r->other));
    ck_assert_uint_eq(there(r), 1);
    rig_end_other(r);
    about(pass(r, 3000), 3 * RATE);
    rig_free(r);
}
END_TEST

START_TEST(one_that_has_crashed_counts_for_a_while_of_the_streams_time)
{
    struct rig *r = begin(0);
    come_and_say_much(r, 2);
    rig_add_other(r);
    pass(r, 1000);
    rig_end_other(r);
    ck_assert_uint_eq(there(r), 2);
    rig_pass(r, 10 * SECOND); /* the clocks go on, and the stream does not */
    pass(r, 1000);
    ck_assert_uint_eq(there(r), 2);
    about(pass(r, 4000), 2 * RATE);
    uint32_t ms = 0;
    for (; there(r) == 2; ms += TICK_MS)
        pass(r, TICK_MS);
    ck_assert_uint_le(ms, r->options.presence_ms);
    about(pass(r, 3000), 3 * RATE);
    ck_assert_uint_eq(there(r), 1);
    rig_free(r);
}
END_TEST

/* It has what it may use again, but not what the one before has used. */
START_TEST(one_that_is_back_under_its_name_begins_with_nothing)
{
    struct rig *r = begin(0);
    uint32_t count = 0;
    come_and_say_much(r, 2);
    pass(r, 1000);
    for (uint8_t i = 0; i < 8; i++) {
        uint32_t before = rig_times(r, "much");
        rig_add_other(r);
        come_and_say_much(r, 3);
        pass(r, 500);
        rig_end_other(r);
        count += rig_times(r, "much") - before;
    }
    ck_assert_uint_ge(count, 8 * RATE / 4); /* its own part at least */
    ck_assert_uint_le(count, 8 * RATE / 2 + BURST + 2 * 8);
    ck_assert_uint_eq(there(r), 2);
    rig_free(r);
}
END_TEST

START_TEST(it_says_so_thrice_in_the_time_and_nothing_while_the_stream_stands)
{
    struct rig *r = begin(0);
    ck_assert_uint_eq(presences(r), 1);
    rig_pass(r, 1000 * SECOND);
    ck_assert_uint_eq(presences(r), 1);
    pass(r, 3 * r->options.presence_ms);
    ck_assert_uint_ge(presences(r), 9);
    ck_assert_uint_le(presences(r), 10);
    ck_assert_uint_eq(there(r), 1);
    rig_free(r);
}
END_TEST

/* Whoever starts has all that was ever said in front of it: the time is the stream's. */
START_TEST(what_was_said_long_ago_does_not_count)
{
    struct rig *r = begin(0);
    rig_add_other(r);
    rig_end_other(r);
    pass(r, 2 * r->options.presence_ms);
    uint32_t before = presences(r);
    rig_add_other(r);
    ck_assert_uint_eq(there(r), 2);
    ck_assert_uint_eq(presences(r), before + 1);
    come_and_say_much(r, 3);
    pass(r, 1000);
    about(pass(r, 4000), 2 * RATE);
    rig_free(r);
}
END_TEST

START_TEST(a_fork_that_takes_the_record_back_takes_nothing_from_anybody_for_long)
{
    struct rig *r = begin(0);
    come_and_say_much(r, 2);
    pass(r, 1000);
    r->leader.hold_stable = true;
    uint64_t common = rig_tip(r);
    r->leader.stable = common;
    rig_run(r);
    pass(r, 2 * r->options.presence_ms / 3); /* said again meanwhile */
    rig_fork(r, common);
    rig_run(r);
    ck_assert_uint_eq(there(r), 1);
    ck_assert_uint_eq(catalog_digest(proxy_catalog(r->proxy)), catalog_digest(r->leader.catalog));
    r->leader.hold_stable = false;
    rig_emit(r, TOPIC_CLOCK, 0, 0, 0, NULL, 0);
    pass(r, 1000);
    pass(r, 2 * r->options.presence_ms);
    ck_assert_uint_eq(there(r), 1);
    ck_assert_uint_eq(catalog_digest(proxy_catalog(r->proxy)), catalog_digest(r->leader.catalog));
    rig_free(r);
}
END_TEST

/* What is larger than a part, or than all of it, passes, and is paid for. */
START_TEST(what_is_larger_than_a_part_passes)
{
    static char large[3000];
    memset(large, 'l', sizeof large - 1);
    limit = (struct limit) { .bytes_per_s = 2000, .burst_ms = BURST_MS };
    struct rig *r = begin(0);
    struct greedy one = come(r, 2);
    rig_add_other(r);
    for (uint64_t i = 1; i <= 10; i++)
        rig_publish(r, one.c, one.opened.publisher, one.opened.last_number + i, "/a/x", large);
    pass(r, 12000); /* a thousand a second */
    uint32_t fragments = (uint32_t)(ledger_next(&r->leader.ledger, one.opened.publisher) - 1);
    ck_assert_uint_ge(fragments, 4 * 3);
    ck_assert_uint_le(fragments, 5 * 3);
    rig_free(r);
}
END_TEST

START_TEST(a_stream_that_takes_nothing_does_not_keep_who_drains)
{
    struct rig *r = begin(0);
    r->leader.deaf = true;
    proxy_drain(r->proxy, r->now);
    rig_run(r);
    ck_assert(!proxy_drained(r->proxy));
    rig_pass(r, SECOND);
    ck_assert(proxy_drained(r->proxy));
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shared");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_test(all, two_let_through_what_one_would);
    tcase_add_test(all, two_that_divide_nothing_are_found);
    tcase_add_test(all, who_comes_takes_its_part_and_who_drains_gives_it_back);
    tcase_add_test(all, one_that_has_crashed_counts_for_a_while_of_the_streams_time);
    tcase_add_test(all, one_that_is_back_under_its_name_begins_with_nothing);
    tcase_add_test(all, it_says_so_thrice_in_the_time_and_nothing_while_the_stream_stands);
    tcase_add_test(all, what_was_said_long_ago_does_not_count);
    tcase_add_test(all, a_fork_that_takes_the_record_back_takes_nothing_from_anybody_for_long);
    tcase_add_test(all, what_is_larger_than_a_part_passes);
    tcase_add_test(all, a_stream_that_takes_nothing_does_not_keep_who_drains);
    suite_add_tcase(suite, all);
    return rig_suite(suite);
}
