/* Where in a client's bytes the answers to its requests lie, and what a change of rights, or a fork that takes one
 * back, does to them: all that is a function of the log. What a client was sent is taken apart and laid beside the
 * leader's log; and a slow client is compared with a prompt one, and one behind a fork with a fresh one. */
#include "rig.h"

enum { RECORDS_MAX = 64 };

static struct rig_key key;

static struct rig *begin(void)
{
    key = rig_key(2);
    return rig_new_for(&key, "/", "/a/x");
}

static void subscribe_at(struct rig *r, uint32_t c, const char *subtree, enum edge_level level,
                         struct position from)
{
    uint8_t frame[512], text[256];
    text[0] = (uint8_t)strlen(subtree);
    memcpy(text + 1, subtree, text[0]);
    struct edge_subscribe s = { .level = level,
                                .from = EDGE_FROM_POSITION,
                                .position = from,
                                .tick_ms = 1000,
                                .subtrees = { 1, text, 1 + (size_t)text[0] } };
    rig_write(r, c, frame, edge_subscribe_encode(&s, frame, sizeof frame));
}

/* ---- the log --------------------------------------------------------------------------------- */

/* Seqs of the messages on a topic from `first` on, as many as fit. */
static uint32_t on_topic(const struct rig *r, uint32_t topic, uint64_t first, uint64_t *seqs)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < r->leader.log_count; i++) {
        struct batch_cursor cursor = batch_begin(r->leader.log[i].bytes, &r->leader.log[i].header);
        struct message m;
        while (batch_next(&cursor, &m))
            if (m.topic == topic && m.seq >= first && count < RECORDS_MAX)
                seqs[count++] = m.seq;
    }
    return count;
}

/* Of the records of changes. */
static uint32_t changes(const struct rig *r, uint64_t *seqs)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < r->leader.log_count; i++) {
        struct batch_cursor cursor = batch_begin(r->leader.log[i].bytes, &r->leader.log[i].header);
        struct message m;
        struct sys_edge e;
        while (batch_next(&cursor, &m))
            if (m.topic == TOPIC_EDGE && sys_edge_decode(m.payload, m.length, &e) &&
                e.kind == SYS_EDGE_CHANGE && count < RECORDS_MAX)
                seqs[count++] = m.seq;
    }
    return count;
}

/* ---- what a client was sent ------------------------------------------------------------------ */

struct walk {
    const uint8_t *at, *end;
    enum edge_type type;
    const uint8_t *body;
    size_t length;
    uint64_t seq; /* that it is told at; 0: of none */
};

static struct walk walk_from(const struct rig *r, uint32_t c, size_t begin)
{
    const struct rig_stream *s = &r->streams[c - 1];
    return (struct walk) { .at = s->out + begin, .end = s->out + s->out_length };
}

static uint64_t seq_of(const struct walk *w)
{
    struct edge_message m;
    struct edge_progress p;
    struct edge_opened o;
    struct edge_outcome out;
    struct edge_changed c;
    if (w->type == EDGE_MESSAGE && edge_message_decode(w->body, w->length, &m))
        return m.seq;
    if (w->type == EDGE_PROGRESS && edge_progress_decode(w->body, w->length, &p))
        return p.through;
    if (w->type == EDGE_OPENED && edge_opened_decode(w->body, w->length, &o))
        return o.join_seq;
    if (w->type == EDGE_OUTCOME && edge_outcome_decode(w->body, w->length, &out))
        return out.seq;
    if (w->type == EDGE_CHANGED && edge_changed_decode(w->body, w->length, &c))
        return c.seq - 1;
    return 0;
}

static bool next(struct walk *w)
{
    size_t whole = edge_frame_peek(w->at, (size_t)(w->end - w->at), &w->type);
    if (whole == 0 || whole > (size_t)(w->end - w->at))
        return false;
    w->body = w->at + EDGE_HEADER;
    w->length = whole - EDGE_HEADER;
    w->at += whole;
    w->seq = seq_of(w);
    return true;
}

/* Everything comes in the order of the stream. Returns how many frames of this type there are; and the seqs of
 * them, if so asked. */
static uint32_t in_order(const struct rig *r, uint32_t c, size_t begin, enum edge_type type,
                         uint64_t *seqs)
{
    struct walk w = walk_from(r, c, begin);
    uint64_t last = 0;
    uint32_t count = 0;
    while (next(&w)) {
        if (w.type == EDGE_FORKED)
            last = 0;
        if (w.type == type && count < RECORDS_MAX && seqs != NULL)
            seqs[count] = w.seq;
        count += w.type == type;
        if (w.seq == 0)
            continue;
        ck_assert_uint_ge(w.seq, last);
        last = w.seq;
    }
    return count;
}

/* ---- OPENED ---------------------------------------------------------------------------------- */

START_TEST(opened_lies_directly_behind_its_join_and_is_not_said_before_that_is_stable)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    enum edge_level level = _i == 0 ? EDGE_SEQUENCED : EDGE_STABLE;
    subscribe_at(r, c, "/", level, rig_position(r));
    rig_run(r);
    size_t begin = r->streams[c - 1].out_length;
    rig_say(r, "/a/x", "the other one has joined");
    uint64_t first = rig_tip(r) + 1, joins[RECORDS_MAX], told[RECORDS_MAX];
    r->leader.hold_stable = true;
    for (uint32_t i = 0; i < 20; i++) {
        char name[8];
        snprintf(name, sizeof name, "p%u", i);
        rig_say(r, "/a/x", "in front");
        if (i % 4 == 0)
            rig_open(r, c, name, 7 + i, 0);
        rig_run(r);
        rig_say(r, "/a/x", "behind");
        rig_run(r);
        ck_assert_uint_eq(in_order(r, c, begin, EDGE_OPENED, NULL), i / 4);
        if (i % 4 != 3)
            continue;
        r->leader.stable = rig_tip(r);
        rig_run(r);
    }
    ck_assert_uint_eq(in_order(r, c, begin, EDGE_OPENED, told), 5);
    ck_assert_uint_eq(on_topic(r, TOPIC_JOIN, first, joins), 5);
    ck_assert_mem_eq(told, joins, 5 * sizeof told[0]);
    rig_free(r);
}
END_TEST

/* Nothing of it was said yet. */
START_TEST(a_join_that_falls_is_said_where_it_comes_again)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    subscribe_at(r, c, "/", EDGE_SEQUENCED, rig_position(r));
    rig_run(r);
    size_t begin = r->streams[c - 1].out_length;
    rig_say(r, "/a/x", "the other one has joined");
    r->leader.hold_stable = true;
    uint64_t common = rig_say(r, "/a/x", "in front");
    rig_open(r, c, "p", 7, 0);
    rig_run(r);
    rig_say(r, "/a/x", "behind");
    rig_run(r);
    rig_fork(r, common);
    rig_say(r, "/a/x", "of another history");
    rig_pass(r, SECOND);
    r->leader.stable = rig_tip(r);
    rig_pass(r, SECOND);
    uint64_t joins[RECORDS_MAX], told[RECORDS_MAX];
    ck_assert_uint_eq(on_topic(r, TOPIC_JOIN, common, joins), 1);
    ck_assert_uint_eq(in_order(r, c, begin, EDGE_OPENED, told), 1);
    ck_assert_uint_eq(told[0], joins[0]);
    rig_free(r);
}
END_TEST

/* ---- CHANGED --------------------------------------------------------------------------------- */

/* Slow at sequenced, or at stable: it was told of none when they fall. */
START_TEST(changes_that_fall_untold_are_told_where_their_records_come_again)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    enum edge_level level = _i == 0 ? EDGE_SEQUENCED : EDGE_STABLE;
    subscribe_at(r, c, "/a", level, rig_position(r));
    rig_run(r);
    size_t begin = r->streams[c - 1].out_length;
    r->leader.hold_stable = true;
    uint64_t records[RECORDS_MAX], told[RECORDS_MAX];
    r->leader.deaf = true; /* its records wait */
    rig_change(r, c, "/c", "/a");
    rig_run(r);
    if (level == EDGE_SEQUENCED) { /* no byte more */
        r->streams[c - 1].deaf = true;
        r->streams[c - 1].room = r->streams[c - 1].untaken = 1;
    }
    uint64_t common = rig_say(r, "/a/x", "in front");
    rig_run(r);
    r->leader.deaf = false;
    rig_pass(r, SECOND);
    if (level == EDGE_STABLE)
        rig_change(r, c, "/d", NULL);
    rig_pass(r, SECOND);
    uint32_t count = level == EDGE_STABLE ? 2 : 1;
    ck_assert_uint_eq(changes(r, records), count);
    rig_say(r, "/c/x", "falls");
    rig_run(r);
    rig_fork(r, common);
    rig_say(r, "/a/x", "of the set before");
    rig_pass(r, SECOND);
    uint64_t wanted = rig_say(r, "/c/x", "of the new set");
    r->leader.stable = rig_tip(r);
    r->streams[c - 1].deaf = false;
    r->streams[c - 1].room = 0;
    rig_pass(r, SECOND);
    ck_assert_uint_eq(changes(r, records), count);
    ck_assert_uint_eq(in_order(r, c, begin, EDGE_CHANGED, told), count);
    ck_assert_mem_eq(told, records, count * sizeof told[0]);
    ck_assert_uint_eq(in_order(r, c, begin, EDGE_MESSAGE, told), 3);
    ck_assert_uint_eq(told[2], wanted);
    rig_free(r);
}
END_TEST

/* ---- rights ---------------------------------------------------------------------------------- */

enum { CHANGES_OF_OTHERS = 5, CHANGES_OF_ITS_OWN = 3 };

/* The first ones do not concern who reads /a with this key. */
static void change_rights(struct rig *r, int which)
{
    struct rig_key other = rig_key(9), unknown = rig_key(7);
    switch (which) {
    case 0:
        rig_grant(r, &other, ACCESS_READ, "/a");
        break;
    case 1:
        rig_revoke(r, &unknown, ACCESS_READ, "/a");
        break;
    case 2:
        rig_grant(r, &key, ACCESS_READ, "/z");
        break;
    case 3:
        rig_grant(r, NULL, ACCESS_READ, "/z");
        break;
    case 4:
        rig_grant(r, &key, ACCESS_WRITE, "/a");
        break;
    case 5:
        rig_revoke(r, &key, ACCESS_READ, "/a");
        break;
    case 6:
        rig_grant(r, NULL, ACCESS_READ, "/a/x");
        break;
    default:
        rig_grant(r, NULL, ACCESS_READ, "/");
        break;
    }
}

static void say_some(struct rig *r, uint32_t count)
{
    static char text[500];
    memset(text, 's', sizeof text - 1);
    for (uint32_t i = 0; i < count; i++) {
        rig_say(r, i % 3 == 0 ? "/a/y" : "/a/x", text);
        if (i % 8 == 0)
            rig_run(r);
    }
    rig_run(r);
}

static uint64_t behind(const struct rig *r)
{
    uint64_t gauges[COUNTER_END] = { 0 };
    proxy_gauges(r->proxy, gauges);
    return gauges[COUNTER_SESSIONS_BEHIND];
}

/* One is prompt, and one takes nothing while rights change. What they are sent is the same; whom the change
 * concerns that has not got to it is sent away in front of it. */
START_TEST(who_is_behind_a_change_of_rights_is_sent_what_the_prompt_are_or_away)
{
    struct proxy_options o = rig_options();
    o.lag_bytes_max = 20000;
    struct rig *r = rig_new_with(&o, false);
    struct rig_key other = rig_key(9);
    key = rig_key(2);
    rig_grant(r, &key, ACCESS_READ, "/a");
    rig_grant(r, &other, ACCESS_READ, "/z");
    uint32_t prompt = rig_login(r, &key), slow = rig_login(r, &key);
    struct position from = rig_position(r);
    size_t begin = r->streams[prompt - 1].out_length, slow_begin = r->streams[slow - 1].out_length;
    subscribe_at(r, prompt, "/a", EDGE_SEQUENCED, from);
    subscribe_at(r, slow, "/a", EDGE_SEQUENCED, from);
    rig_run(r);
    say_some(r, 4);
    r->streams[slow - 1].deaf = true;
    r->streams[slow - 1].room = 8000;
    say_some(r, 400);
    ck_assert_uint_eq(behind(r), 1);
    change_rights(r, _i);
    say_some(r, 20);
    r->streams[slow - 1].deaf = false;
    r->streams[slow - 1].room = 0;
    rig_pass(r, SECOND);
    const struct rig_stream *p = &r->streams[prompt - 1], *s = &r->streams[slow - 1];
    size_t length = p->out_length - begin, slow_length = s->out_length - slow_begin;
    ck_assert(p->open);
    ck_assert_int_eq(s->open, _i < CHANGES_OF_OTHERS);
    if (!s->open) {
        uint8_t frame[EDGE_HEADER + 256];
        struct edge_closing closing = { .reason = EDGE_CLOSING_RIGHTS };
        snprintf(closing.text, sizeof closing.text, "%s", edge_closing_text(EDGE_CLOSING_RIGHTS));
        size_t last = edge_closing_encode(&closing, frame, sizeof frame);
        ck_assert_uint_gt(slow_length, last);
        slow_length -= last;
        ck_assert_mem_eq(s->out + slow_begin + slow_length, frame, last);
        ck_assert_uint_lt(slow_length, length);
        ck_assert_uint_eq(rig_counter(r, COUNTER_SESSIONS_OUTDATED), 1);
    } else {
        ck_assert_uint_eq(slow_length, length);
    }
    ck_assert_mem_eq(s->out + slow_begin, p->out + begin, slow_length);
    rig_free(r);
}
END_TEST

/* What it asks for in front of a change since its login is written down, and judged by what holds there. */
START_TEST(a_subscription_behind_a_change_of_rights_since_the_login_is_written_down)
{
    struct rig *r = begin();
    uint32_t c = rig_login(r, &key);
    struct position from = rig_position(r);
    uint64_t records[RECORDS_MAX];
    change_rights(r, _i);
    rig_say(r, "/a/x", "one");
    rig_run(r);
    subscribe_at(r, c, "/a", EDGE_SEQUENCED, from);
    rig_run(r);
    ck_assert_uint_eq(changes(r, records), _i >= CHANGES_OF_OTHERS);
    ck_assert(r->streams[c - 1].open);
    ck_assert_uint_eq(in_order(r, c, 0, EDGE_SUBSCRIBED, NULL), 1);
    rig_free(r);
}
END_TEST

/* ---- forks ----------------------------------------------------------------------------------- */

/* Of a fork that takes back the first grant that names its key: behind it, it reads as anyone again. What it is sent
 * there, the names that were known included, is what somebody is sent who begins there. */
START_TEST(behind_a_fork_that_takes_back_its_first_grant_it_is_sent_what_a_fresh_one_is)
{
    struct rig *r = rig_new();
    key = rig_key(2);
    rig_grant(r, NULL, ACCESS_READ, "/a");
    uint32_t c = rig_login(r, &key), fresh = rig_login(r, &key);
    rig_topic(r, "/a/x");
    subscribe_at(r, c, "/a", EDGE_SEQUENCED, rig_position(r));
    rig_run(r);
    r->leader.hold_stable = true;
    rig_say(r, "/a/x", "stays");
    struct position common = rig_position(r);
    rig_say(r, "/a/x", "falls");
    rig_run(r);
    rig_grant(r, &key, ACCESS_READ, _i == 0 ? "/b" : "/a/x");
    rig_say(r, "/a/x", "falls, too");
    rig_run(r);
    ck_assert_uint_eq(in_order(r, c, 0, EDGE_MESSAGE, NULL), 3);
    rig_fork(r, common.seq);
    rig_run(r);
    subscribe_at(r, fresh, "/a", EDGE_SEQUENCED, common);
    rig_run(r);
    rig_say(r, "/a/x", "behind it");
    rig_run(r);
    size_t ignored;
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_FORKED, &ignored));
    ck_assert_ptr_nonnull(rig_next(r, fresh, EDGE_SUBSCRIBED, &ignored));
    const struct rig_stream *s = &r->streams[c - 1], *f = &r->streams[fresh - 1];
    ck_assert_uint_eq(in_order(r, c, s->read, EDGE_NAME, NULL), 2);
    ck_assert_uint_eq(in_order(r, c, s->read, EDGE_MESSAGE, NULL), 1);
    ck_assert_uint_eq(s->out_length - s->read, f->out_length - f->read);
    ck_assert_mem_eq(s->out + s->read, f->out + f->read, f->out_length - f->read);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_exact");
    TCase *all = tcase_create("exact");
    tcase_add_loop_test(
        all, opened_lies_directly_behind_its_join_and_is_not_said_before_that_is_stable, 0, 2);
    tcase_add_test(all, a_join_that_falls_is_said_where_it_comes_again);
    tcase_add_loop_test(all, changes_that_fall_untold_are_told_where_their_records_come_again, 0,
                        2);
    tcase_add_loop_test(all, who_is_behind_a_change_of_rights_is_sent_what_the_prompt_are_or_away,
                        0, CHANGES_OF_OTHERS + CHANGES_OF_ITS_OWN);
    tcase_add_loop_test(all,
                        a_subscription_behind_a_change_of_rights_since_the_login_is_written_down, 0,
                        CHANGES_OF_OTHERS + CHANGES_OF_ITS_OWN);
    tcase_add_loop_test(
        all, behind_a_fork_that_takes_back_its_first_grant_it_is_sent_what_a_fresh_one_is, 0, 2);
    suite_add_tcase(suite, all);
    return rig_suite(suite);
}
