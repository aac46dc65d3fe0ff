/* What sessions subscribe to: where it begins, how it changes, what it may cost, and what a fork makes of it. */
#include "rig.h"

enum { FRAME_MAX = 64 + 2 * EDGE_SUBTREES_MAX * (1 + TOPIC_PATH_MAX) };

/* No tick comes here. */
START_TEST(who_wants_what_there_is_is_told_at_its_own_login_that_it_has_it)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    size_t length;
    rig_grant(r, &key, ACCESS_READ, "/");
    rig_say(r, "/a/x", "before");
    uint32_t c = rig_login(r, &key);
    uint64_t login = proxy_seq(r->proxy);
    rig_say(r, "/a/x", "since");
    rig_run(r);
    rig_subscribe(r, c, "/a", EDGE_FROM_POSITION);
    rig_run(r);
    const uint8_t *body = rig_next(r, c, EDGE_PROGRESS, &length);
    struct edge_progress p;
    ck_assert(body != NULL && edge_progress_decode(body, length, &p));
    ck_assert_uint_eq(p.through, login);
    struct edge_message m;
    body = rig_next(r, c, EDGE_MESSAGE, &length);
    ck_assert(body != NULL && edge_message_decode(body, length, &m));
    ck_assert_mem_eq(m.payload, "since", 5);
    ck_assert_uint_eq(m.previous, p.previous);
    rig_free(r);
}
END_TEST

START_TEST(a_subscription_changes_at_a_stated_seq)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    size_t length;
    rig_grant(r, &key, ACCESS_READ, "/");
    uint32_t c = rig_login(r, &key);
    rig_change(r, c, "/a", NULL);
    rig_run(r);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_ORDER);
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    rig_run(r);
    rig_subscribe(r, c, "/b", EDGE_FROM_TIP);
    rig_run(r);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_ORDER);
    rig_say(r, "/b/x", "no");
    rig_change(r, c, "/b", "/a");
    rig_run(r);
    const uint8_t *body = rig_next(r, c, EDGE_CHANGED, &length);
    struct edge_changed changed;
    ck_assert(body != NULL && edge_changed_decode(body, length, &changed));
    rig_say(r, "/a/x", "no more");
    uint64_t seq = rig_say(r, "/b/x", "yes");
    rig_run(r);
    struct edge_message m;
    body = rig_next(r, c, EDGE_MESSAGE, &length);
    ck_assert(body != NULL && edge_message_decode(body, length, &m));
    ck_assert_uint_eq(m.seq, seq);
    ck_assert_uint_gt(m.seq, changed.seq);
    struct proxy_client client;
    ck_assert(proxy_client_at(r->proxy, 0, &client));
    ck_assert_uint_eq(client.subtrees, 1);
    rig_free(r);
}
END_TEST

/* A SUBSCRIBE or CHANGE of `count` subtrees below /bomb. */
static void bomb(struct rig *r, uint32_t c, bool change, uint32_t from, uint32_t count)
{
    static uint8_t list[EDGE_SUBTREES_MAX * 256], frame[EDGE_SUBTREES_MAX * 256 + 64];
    struct edge_subtrees s = { .count = (uint16_t)count, .at = list };
    for (uint32_t i = 0; i < count; i++) {
        int n = snprintf((char *)list + s.length + 1, 200, "/bomb/%0150u", from + i);
        list[s.length] = (uint8_t)n;
        s.length += 1 + (size_t)n;
    }
    struct edge_subscribe q = { .level = EDGE_SEQUENCED, .from = EDGE_FROM_TIP, .subtrees = s };
    struct edge_change d = { .add = s };
    size_t length = change ? edge_change_encode(&d, frame, sizeof frame)
                           : edge_subscribe_encode(&q, frame, sizeof frame);
    ck_assert_uint_gt(length, 0);
    rig_write(r, c, frame, length);
}

static void subscribe_behind(struct rig *r, uint32_t c, const char *subtree, enum edge_level level,
                             struct position from)
{
    uint8_t frame[512], text[256];
    text[0] = (uint8_t)strlen(subtree);
    memcpy(text + 1, subtree, text[0]);
    struct edge_subscribe s = { .level = (uint8_t)level,
                                .from = EDGE_FROM_POSITION,
                                .position = from,
                                .tick_ms = 1000,
                                .subtrees = { 1, text, 1 + (size_t)text[0] } };
    rig_write(r, c, frame, edge_subscribe_encode(&s, frame, sizeof frame));
}

static void expect_end(struct rig *r, uint32_t c, uint64_t through, uint64_t time_ns)
{
    size_t length;
    struct edge_progress p;
    const uint8_t *body = rig_next(r, c, EDGE_PROGRESS, &length);
    ck_assert(body != NULL && edge_progress_decode(body, length, &p));
    ck_assert_uint_eq(p.through, through);
    ck_assert_uint_eq(p.timestamp_ns, time_ns);
}

/* The next message may fall, and another, of another time, take its place. */
START_TEST(a_block_ends_with_the_time_of_its_own_last_message)
{
    struct rig *r = rig_new();
    rig_grant(r, NULL, ACCESS_READ, "/a");
    uint32_t c = rig_login(r, NULL);
    struct position from = rig_position(r);
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    rig_run(r);
    r->leader.hold_stable = true;
    rig_say(r, "/a", "one");
    rig_grant(r, NULL, ACCESS_READ, "/b");
    uint64_t common = rig_tip(r), time_ns = r->leader.timestamp_ns;
    r->leader.timestamp_ns += SECOND;
    rig_say(r, "/a", "two");
    rig_run(r);
    expect_end(r, c, common, time_ns);
    rig_fork(r, common);
    r->leader.timestamp_ns = time_ns + MS;
    rig_say(r, "/a", "two");
    rig_run(r);
    c = rig_login(r, NULL);
    subscribe_behind(r, c, "/a", EDGE_SEQUENCED, from);
    rig_run(r);
    expect_end(r, c, common, time_ns);
    rig_free(r);
}
END_TEST

/* A leader that is cut off has not heard of the record of a login; the next one has, and takes it up. It makes no
 * difference to who is at stable, and subscribed before that or in between. */
START_TEST(a_login_that_fell_is_told_where_it_comes_again)
{
    enum { LEFT_MAX = 16 };
    struct rig *r = rig_new();
    size_t length;
    rig_grant(r, NULL, ACCESS_READ, "/a");
    rig_say(r, "/b", "in the block in which who is live goes on");
    rig_run(r);
    struct position common = rig_position(r), begin = { 0 };
    r->leader.hold_stable = r->leader.fills_gaps = true;
    uint32_t clients[2];
    uint64_t logins[2];
    for (size_t i = 0; i < 2; i++) {
        clients[i] = rig_login(r, NULL);
        logins[i] = proxy_seq(r->proxy);
    }
    rig_say(r, "/b", "what comes behind them");
    subscribe_behind(r, clients[0], "/a", EDGE_STABLE, begin);
    rig_run(r);
    struct leader_batch left[LEFT_MAX];
    uint32_t count = (uint32_t)(rig_tip(r) - common.seq);
    ck_assert_uint_le(count, LEFT_MAX);
    memcpy(left, &r->leader.log[r->leader.log_count - count], count * sizeof left[0]);
    ck_assert_uint_eq(left[0].header.first_seq, common.seq + 1);
    rig_fork(r, common.seq);
    rig_run(r);
    subscribe_behind(r, clients[1], "/a", EDGE_STABLE, begin);
    rig_run(r);
    rig_fork_to(r, common.seq, left, count);
    rig_pass(r, 20 * SECOND);
    r->leader.hold_stable = false;
    rig_say(r, "/b", "by which the watermark is told");
    rig_run(r);
    for (size_t i = 0; i < 2; i++) {
        struct edge_progress p;
        const uint8_t *body = rig_next(r, clients[i], EDGE_PROGRESS, &length);
        ck_assert(body != NULL && edge_progress_decode(body, length, &p));
        ck_assert_uint_eq(p.through, logins[i]);
        ck_assert_ptr_null(rig_next(r, clients[i], EDGE_PROGRESS, &length));
    }
    rig_free(r);
}
END_TEST

/* Another message has its seq, which is nothing to it. */
START_TEST(a_login_that_fell_for_good_is_told_nowhere)
{
    struct rig *r = rig_new();
    size_t length;
    rig_grant(r, NULL, ACCESS_READ, "/a");
    rig_run(r);
    struct position common = rig_position(r), begin = { 0 };
    r->leader.hold_stable = true;
    uint32_t c = rig_login(r, NULL);
    uint64_t login = proxy_seq(r->proxy);
    rig_fork(r, common.seq);
    for (int i = 0; i < 3; i++)
        rig_say(r, "/b", "something else");
    subscribe_behind(r, c, "/a", EDGE_STABLE, begin);
    r->leader.hold_stable = false;
    rig_say(r, "/b", "by which the watermark is told");
    rig_run(r);
    ck_assert_uint_gt(proxy_seq(r->proxy), login);
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_SUBSCRIBED, &length));
    ck_assert_ptr_null(rig_next(r, c, EDGE_PROGRESS, &length));
    rig_free(r);
}
END_TEST

/* What a block's readers were told depends on rights that its last message may have changed: who goes on behind
 * that is told nothing of it again, neither names nor its end. */
START_TEST(behind_a_fork_to_the_end_of_a_block_a_block_begins)
{
    struct rig *r = rig_new();
    size_t length;
    rig_grant(r, NULL, ACCESS_READ, "/a");
    uint32_t c = rig_login(r, NULL);
    rig_subscribe(r, c, "/", EDGE_FROM_TIP);
    rig_run(r);
    r->leader.hold_stable = true;
    rig_say(r, "/b", "it may not be read yet");
    rig_grant(r, NULL, ACCESS_READ, "/b");
    struct position common = rig_position(r);
    rig_say(r, "/a", "falls");
    rig_run(r);
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_MESSAGE, &length));
    rig_fork(r, common.seq);
    uint64_t seq = rig_say(r, "/b", "holds");
    rig_run(r);
    uint32_t d = rig_login(r, NULL);
    subscribe_behind(r, d, "/", EDGE_SEQUENCED, common);
    rig_run(r);
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_FORKED, &length));
    uint32_t clients[] = { c, d };
    for (size_t i = 0; i < 2; i++) {
        size_t read = r->streams[clients[i] - 1].read;
        struct edge_message m;
        const uint8_t *body = rig_next(r, clients[i], EDGE_MESSAGE, &length);
        ck_assert(body != NULL && edge_message_decode(body, length, &m));
        ck_assert_uint_eq(m.seq, seq);
        ck_assert_uint_eq(m.previous, 0);
        r->streams[clients[i] - 1].read = read;
        struct edge_progress p;
        body = rig_next(r, clients[i], EDGE_PROGRESS, &length);
        ck_assert(body == NULL || edge_progress_decode(body, length, &p));
        ck_assert(body == NULL || p.through > seq);
    }
    rig_free(r);
}
END_TEST

/* What was told of what is left was judged by rights that the fork took back: by those that hold there, other
 * messages match, and none follows from the last one that was sent. Who is told of the fork begins behind it. */
START_TEST(whoever_was_told_by_rights_that_fell_begins_anew)
{
    struct rig *r = rig_new();
    size_t length;
    rig_grant(r, NULL, ACCESS_READ, "/a");
    rig_run(r);
    struct position from = rig_position(r);
    uint64_t seq = rig_say(r, "/b", "it may not be read yet");
    rig_run(r);
    struct position common = rig_position(r);
    r->leader.hold_stable = true;
    uint32_t before = rig_login(r, NULL);
    subscribe_behind(r, before, "/", EDGE_STABLE, from);
    rig_run(r);
    rig_grant(r, NULL, ACCESS_READ, "/b");
    uint32_t clients[] = { rig_login(r, NULL), rig_login(r, NULL) };
    subscribe_behind(r, clients[0], "/", EDGE_STABLE, from);
    subscribe_behind(r, clients[1], "/", EDGE_SEQUENCED, from);
    rig_run(r);
    struct edge_message m;
    for (size_t i = 0; i < 2; i++) {
        const uint8_t *body = rig_next(r, clients[i], EDGE_MESSAGE, &length);
        ck_assert(body != NULL && edge_message_decode(body, length, &m));
        ck_assert_uint_eq(m.seq, seq);
    }
    rig_fork(r, common.seq);
    r->leader.hold_stable = false;
    seq = rig_say(r, "/a", "holds");
    rig_run(r);
    rig_closed(r, clients[0], EDGE_CLOSING_RIGHTS);
    ck_assert_ptr_nonnull(rig_next(r, clients[1], EDGE_FORKED, &length));
    clients[0] = before;
    for (size_t i = 0; i < 2; i++) {
        const uint8_t *body = rig_next(r, clients[i], EDGE_MESSAGE, &length);
        ck_assert(body != NULL && edge_message_decode(body, length, &m));
        ck_assert_uint_eq(m.seq, seq);
        ck_assert_uint_eq(m.previous, 0);
    }
    rig_free(r);
}
END_TEST

START_TEST(subscription_bombs_meet_quotas_and_memory_comes_back)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    struct rig_honest h = rig_honest_new(r);
    rig_grant(r, &key, ACCESS_READ, "/bomb");
    rig_run(r);
    for (int again = 0; again < 3; again++) {
        uint32_t c = rig_login(r, &key);
        uint32_t refused = 0, said = 0;
        size_t length;
        bomb(r, c, false, 0, 100);
        for (uint32_t i = 1; i < 40; i++, said++)
            bomb(r, c, true, i * 100, 100);
        rig_run(r);
        while (rig_next(r, c, EDGE_REFUSED, &length) != NULL)
            refused++;
        ck_assert_uint_gt(refused, 20);
        ck_assert_uint_lt(refused, said);
        rig_honest_goes_on(r, &h);
        rig_hang_up(r, c);
        rig_run(r);
    }
    rig_free(r);
}
END_TEST

/* So many names of the greatest length, from this one on. */
static struct edge_subtrees long_names(uint32_t first, uint32_t count, uint8_t *memory)
{
    struct edge_subtrees s = { .count = (uint16_t)count, .at = memory };
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *at = memory + s.length;
        memset(at, 'l', 1 + TOPIC_PATH_MAX);
        at[0] = TOPIC_PATH_MAX;
        memcpy(at + 1, "/l/", 3);
        char number[8];
        snprintf(number, sizeof number, "%05u", first + i);
        memcpy(at + 4, number, 5);
        s.length += 1 + TOPIC_PATH_MAX;
    }
    return s;
}

/* A piece at a time, as a transport with a small buffer gives it. */
static void write_in_pieces(struct rig *r, uint32_t c, const uint8_t *bytes, size_t length,
                            size_t piece)
{
    for (size_t at = 0; at < length; at += piece) {
        rig_write(r, c, bytes + at, length - at < piece ? length - at : piece);
        rig_run(r);
    }
}

START_TEST(a_set_as_large_as_there_is_comes_in_pieces_whatever_publishers_may_have)
{
    static uint8_t frame[FRAME_MAX], names[FRAME_MAX], others[FRAME_MAX];
    struct proxy_options o = rig_options();
    o.publisher_bytes = 16 << 10;
    o.subtrees_max = 262144;
    struct rig *r = rig_new_with(&o, false);
    struct rig_key key = rig_key(2);
    rig_grant(r, &key, ACCESS_READ, "/l");
    rig_run(r);
    uint32_t c = rig_login(r, &key);
    struct edge_subscribe s = { .level = EDGE_STABLE,
                                .from = EDGE_FROM_TIP,
                                .subtrees = long_names(0, EDGE_SUBTREES_MAX, names) };
    size_t length = edge_subscribe_encode(&s, frame, sizeof frame);
    ck_assert_uint_gt(length, EDGE_SUBTREES_MAX * TOPIC_PATH_MAX);
    write_in_pieces(r, c, frame, length, 5000);
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_SUBSCRIBED, &length));
    /* Both at once: the second waits for the first. */
    for (uint32_t i = 0; i < 2; i++) {
        struct edge_change change = { .add = long_names(2000 + 400 * i, 400, names),
                                      .remove = long_names(400 * i, 400, others) };
        length = edge_change_encode(&change, frame, sizeof frame);
        rig_write(r, c, frame, length);
    }
    rig_run(r);
    for (int i = 0; i < 2; i++)
        ck_assert_ptr_nonnull(rig_next(r, c, EDGE_CHANGED, &length));
    struct proxy_client client;
    ck_assert(proxy_client_at(r->proxy, 0, &client));
    ck_assert_uint_eq(client.subtrees, EDGE_SUBTREES_MAX);
    rig_hang_up(r, c);
    rig_run(r);
    /* Whoever leaves in the middle of it leaves no memory behind. */
    for (uint32_t i = 0; i < 40; i++) {
        c = rig_login(r, &key);
        s.subtrees = long_names(0, EDGE_SUBTREES_MAX, names);
        length = edge_subscribe_encode(&s, frame, sizeof frame);
        write_in_pieces(r, c, frame, length / 2, 60000);
        rig_hang_up(r, c);
        rig_run(r);
    }
    c = rig_login(r, &key);
    write_in_pieces(r, c, frame, length, 60000);
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_SUBSCRIBED, &length));
    rig_free(r);
}
END_TEST

START_TEST(what_is_too_long_is_refused_with_the_limit)
{
    static uint8_t frame[FRAME_MAX], names[FRAME_MAX];
    static const uint8_t publish[] = { 0, 0, 8, 0, EDGE_PUBLISH };
    struct proxy_options o = rig_options();
    o.publisher_bytes = 16 << 10;
    o.subtrees_max = 16384; /* 512 KiB of names, and of a key an eighth */
    struct rig *r = rig_new_with(&o, false);
    struct rig_key key = rig_key(2);
    struct edge_subscribe s = { .level = EDGE_STABLE,
                                .from = EDGE_FROM_TIP,
                                .subtrees = long_names(0, EDGE_SUBTREES_MAX, names) };
    struct edge_closing closing;
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t c = rig_login(r, &key);
        size_t length = i == 0 ? edge_subscribe_encode(&s, frame, sizeof frame) : sizeof publish;
        rig_write(r, c, i == 0 ? frame : publish, length);
        rig_run(r);
        const uint8_t *body = rig_next(r, c, EDGE_CLOSING, &length);
        ck_assert(body != NULL && edge_closing_decode(body, length, &closing));
        ck_assert_uint_eq(closing.reason, i == 0 ? EDGE_CLOSING_QUOTA : EDGE_CLOSING_PROTOCOL);
        ck_assert_ptr_nonnull(
            strstr(closing.text, i == 0 ? "subtrees_max" : "at most 16384 bytes"));
    }
    rig_free(r);
}
END_TEST

START_TEST(a_key_has_as_many_subscriptions_as_its_limit_says)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    struct limit_whom whom = { .who = LIMIT_KEY };
    const struct limit limit = { .subscriptions = 2 };
    size_t length;
    memcpy(whom.key, key.public, sizeof whom.key);
    rig_grant(r, &key, ACCESS_READ, "/");
    rig_limit(r, &whom, &limit);
    uint32_t c = rig_login(r, &key), d = rig_login(r, &key);
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    rig_subscribe(r, d, "/a", EDGE_FROM_TIP);
    rig_run(r);
    ck_assert_ptr_nonnull(rig_next(r, d, EDGE_SUBSCRIBED, &length));
    rig_change(r, c, "/b", NULL);
    rig_run(r);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_QUOTA);
    rig_hang_up(r, d);
    rig_change(r, c, "/b", NULL);
    rig_run(r);
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_CHANGED, &length));
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_session_subscribe");
    TCase *all = tcase_create("subscriptions");
    tcase_add_test(all, who_wants_what_there_is_is_told_at_its_own_login_that_it_has_it);
    tcase_add_test(all, a_login_that_fell_is_told_where_it_comes_again);
    tcase_add_test(all, a_login_that_fell_for_good_is_told_nowhere);
    tcase_add_test(all, a_subscription_changes_at_a_stated_seq);
    tcase_add_test(all, a_block_ends_with_the_time_of_its_own_last_message);
    tcase_add_test(all, behind_a_fork_to_the_end_of_a_block_a_block_begins);
    tcase_add_test(all, whoever_was_told_by_rights_that_fell_begins_anew);
    tcase_add_test(all, subscription_bombs_meet_quotas_and_memory_comes_back);
    tcase_add_test(all, a_set_as_large_as_there_is_comes_in_pieces_whatever_publishers_may_have);
    tcase_add_test(all, what_is_too_long_is_refused_with_the_limit);
    tcase_add_test(all, a_key_has_as_many_subscriptions_as_its_limit_says);
    suite_add_tcase(suite, all);
    return rig_suite(suite);
}
