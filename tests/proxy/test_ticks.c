/* Ticks come to thousands of clients at the same moment. Goal: a round of the proxy gives a limited number of
 * sessions what there is for them; messages do not wait behind others' ticks, of which so many leave in a time; and
 * however many messages there are, the ticks leave all the same. What each client has got is looked at round by
 * round. */
#include "proxy/reader.h"
#include "rig.h"

enum { QUIET = 200, IN_A_ROUND = 64, LATER_ONE_IN = 4 };
#define ALL_NS ((uint64_t)QUIET * READER_TICKS_APART_NS)

static struct rig *r;
static uint32_t quiet[QUIET];
static size_t had[RIG_STREAMS_MAX]; /* bytes, before the tick */

static uint32_t subscribed(const char *subtree)
{
    uint32_t c = rig_login(r, NULL);
    rig_subscribe(r, c, subtree, EDGE_FROM_TIP);
    rig_run(r);
    return c;
}

static void clock_message(void)
{
    r->leader.timestamp_ns += EDGE_TICK_DEFAULT_MS * MS;
    rig_emit(r, TOPIC_CLOCK, 0, 0, 0, NULL, 0);
}

static uint32_t told(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < QUIET; i++)
        count += r->streams[quiet[i] - 1].out_length > had[quiet[i]];
    return count;
}

/* The next one in which ticks may leave. */
static void next_round(void)
{
    r->now.mono_ns += READER_TICKS_APART_NS;
    r->now.wall_ns += READER_TICKS_APART_NS;
    rig_round(r);
}

static void setup(void)
{
    r = rig_new();
    rig_grant(r, NULL, ACCESS_READ, "/");
    rig_topic(r, "/live/x");
    rig_topic(r, "/quiet/x");
    for (uint32_t i = 0; i < QUIET; i++)
        quiet[i] = subscribed("/quiet");
    clock_message();
    rig_pass(r, ALL_NS);
    for (uint32_t c = 1; c <= r->stream_count; c++)
        had[c] = r->streams[c - 1].out_length;
}

static void teardown(void)
{
    rig_free(r);
}

START_TEST(messages_do_not_wait_behind_ticks)
{
    uint32_t live = subscribed("/live");
    size_t length;
    clock_message();
    next_round();
    const uint32_t first = told();
    ck_assert_uint_gt(first, 0);
    ck_assert_uint_le(first, READER_TICKS_AT_ONCE);
    rig_say(r, "/live/x", "now");
    rig_round(r); /* at the same time */
    ck_assert_uint_eq(told(), first);
    ck_assert_uint_gt(r->deadline, r->now.mono_ns);
    ck_assert_uint_le(r->deadline, r->now.mono_ns + READER_TICKS_APART_NS);
    ck_assert_ptr_nonnull(
        rig_next(r, live, EDGE_PROGRESS, &length)); /* in the order of the stream */
    ck_assert_ptr_nonnull(rig_next(r, live, EDGE_MESSAGE, &length));
    rig_pass(r, ALL_NS);
    ck_assert_uint_eq(told(), QUIET);
    for (uint32_t i = 0; i < QUIET; i++) { /* once each */
        ck_assert_ptr_nonnull(rig_next(r, quiet[i], EDGE_PROGRESS, &length));
        ck_assert_ptr_nonnull(rig_next(r, quiet[i], EDGE_PROGRESS, &length));
        ck_assert_ptr_null(rig_next(r, quiet[i], EDGE_PROGRESS, &length));
    }
    ck_assert_ptr_null(rig_next(r, live, EDGE_PROGRESS, &length));
}
END_TEST

/* Each round has a message for more sessions than it serves. */
START_TEST(ticks_leave_between_messages)
{
    enum { LIVE = IN_A_ROUND + 20, ROUNDS = (QUIET + LIVE) * LATER_ONE_IN / IN_A_ROUND + 2 };
    for (uint32_t i = 0; i < LIVE; i++)
        subscribed("/live");
    rig_say(r, "/live/x", "first");
    clock_message();
    for (uint32_t i = 0; i < ROUNDS; i++) {
        ck_assert_uint_le(told(), i * READER_TICKS_AT_ONCE);
        rig_say(r, "/live/x", "and on");
        next_round();
    }
    ck_assert_uint_eq(told(), QUIET);
}
END_TEST

/* Some of those whose turn is yet to come are gone then, and others are there in their places. */
START_TEST(who_comes_and_goes_meanwhile_harms_nobody)
{
    enum { GONE = QUIET / 2 };
    size_t length;
    clock_message();
    next_round();
    for (uint32_t i = 0; i < QUIET; i += QUIET / GONE)
        rig_hang_up(r, quiet[i]);
    next_round();
    for (uint32_t i = 0; i < GONE; i++)
        rig_hello(r, rig_connect(r, RIG_HERE), NULL);
    clock_message();
    rig_pass(r, ALL_NS);
    for (uint32_t i = 1; i < QUIET; i += QUIET / GONE)
        for (int ticks = 0; ticks < 3; ticks++)
            ck_assert_ptr_nonnull(rig_next(r, quiet[i], EDGE_PROGRESS, &length));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy/ticks");
    TCase *ticks = tcase_create("ticks");
    tcase_add_checked_fixture(ticks, setup, teardown);
    tcase_add_test(ticks, messages_do_not_wait_behind_ticks);
    tcase_add_test(ticks, ticks_leave_between_messages);
    tcase_add_test(ticks, who_comes_and_goes_meanwhile_harms_nobody);
    suite_add_tcase(suite, ticks);
    return rig_suite(suite);
}
