/* Apps on a client core that follows through a proxy (script.h): their timers, what they propose
 * and are refused, and how they are built again after a fork. The app counts, and proposes until it
 * has counted to its goal. */
#include <stdio.h>

#include "script.h"
#include "suite_main.h"

struct count {
    uint64_t count, goal, fired, fired_at;
    struct cantus_timers *timers;
};

static bool count_init(void *state, const char *config, struct cantus_timers *timers)
{
    struct count *c = state;
    c->goal = strtoull(config, NULL, 10);
    c->timers = timers;
    return true;
}

static void count_apply(void *state, const struct cantus_message *m)
{
    struct count *c = state;
    c->count++;
    if (m->length > 5 && memcmp(m->payload, "timer", 5) == 0)
        cantus_timer_set(c->timers, 1, m->timestamp_ns + 5000);
}

static void count_timer(void *state, uint64_t id, uint64_t now_ns)
{
    struct count *c = state;
    (void)id;
    c->fired = now_ns;
    c->fired_at = c->count;
}

static bool count_next(const void *state, struct cantus_proposal *p)
{
    const struct count *c = state;
    if (c->count >= c->goal)
        return false;
    p->topic = "/a/b";
    p->payload = "inc";
    p->length = 3;
    p->condition_topic = "/a/c";
    p->condition_after = c->count;
    return true;
}

static uint64_t count_digest(const void *state)
{
    const struct count *c = state;
    const uint64_t fields[] = { c->count, c->fired, c->fired_at };
    return cantus_hash(0, fields, sizeof fields);
}

static const char *const count_topics[] = { "/a", NULL };
static const struct cantus_app count_app = { .abi = CANTUS_APP_ABI,
                                             .name = "count",
                                             .topics = count_topics,
                                             .state_size = sizeof(struct count),
                                             .init = count_init,
                                             .apply = count_apply,
                                             .timer = count_timer,
                                             .next = count_next,
                                             .digest = count_digest };

static struct machine *add(struct script *s, const char *goal, const char *identity)
{
    struct machine *m = client_core_add_app(s->core, &count_app, goal, identity, s->error);
    ck_assert_msg(m != NULL, "%s", s->error);
    return m;
}

START_TEST(timers_fire_with_messages_and_with_progress)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    const struct count *c = machine_state_const(add(s, "0", NULL));
    script_let_in(s, 10, 10);
    ck_assert_uint_eq(script_grant(s).tick_ms, 1); /* each tick of the stream */
    script_tell(s, 4, "timer");                    /* due at 9000: sequenced at 4000 */
    script_tell(s, 5, "timer!");
    script_flush(s);
    SAY(s, progress, .through = 8, .previous = 5, .stable = 1, .timestamp_ns = 9999);
    script_flush(s);
    ck_assert_uint_eq(c->fired, 0); /* due at 10000 */
    SAY(s, progress, .through = 9, .previous = 5, .stable = 1, .timestamp_ns = 10000);
    script_flush(s);
    ck_assert_uint_eq(c->fired, 10000);
    ck_assert_uint_eq(c->fired_at, 2);
    script_tell(s, 11, "timer!"); /* due at 16000 */
    script_tell(s, 16, "x");      /* fires before it */
    script_flush(s);
    ck_assert_uint_eq(c->fired, 16000);
    ck_assert_uint_eq(c->fired_at, 3);
    script_free(s);
}
END_TEST

START_TEST(an_app_proposes_when_it_has_caught_up_and_is_told_of_refusals)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct machine *m = add(s, "3", "me");
    script_begin(s);
    script_tell(s, 4, "one");
    script_flush(s);
    struct edge_open o;
    HEAR(s, open, EDGE_OPEN, &o);
    SAY(s, opened, .publisher = 12, .incarnation = 1, .last_number = 0, .join_seq = 12);
    script_flush(s);
    struct edge_publish p;
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 1);
    ck_assert_uint_eq(p.position.seq, 12); /* what OPENED says that it has applied */
    ck_assert(epoch_equal(p.position.epoch, script_first_epoch));
    ck_assert(p.conditional && p.condition_after == 1);
    ck_assert(p.condition_topic_length == 4 && memcmp(p.condition_topic, "/a/c", 4) == 0);
    SAY(s, refused, .request = EDGE_PUBLISH, .reason = EDGE_REFUSED_RIGHT, .right = ACCESS_WRITE,
        .publisher = 12, .number = 1, .subject = "/a/b");
    script_flush(s);
    const struct rig_report *r = script_reported(s, CANTUS_REPORT_REJECTED);
    ck_assert_ptr_nonnull(r);
    ck_assert_str_eq(r->topic, "/a/b");
    ck_assert_ptr_nonnull(strstr(r->text, "right to write"));
    ck_assert(script_hears_nothing(s)); /* until something changes */
    script_tell(s, 13, "two");
    script_flush(s);
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 1); /* it was free again */
    ck_assert_uint_eq(p.position.seq, 13);
    /* A reject of the stream's consumes it. */
    SAY(s, outcome, .publisher = 12, .number = 1, .count = 1, .seq = 15, .reason = REJECT_CONDITION,
        .detail = 13);
    script_flush(s);
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 2);
    r = script_reported(s, CANTUS_REPORT_REJECTED);
    ck_assert_uint_eq(r->r.seq, 15);
    ck_assert_str_eq(r->topic, "/a/b");
    char identity[64] = "@", key[ACCESS_KEY_TEXT + 1];
    access_key_write(s->edge.key, key);
    snprintf(identity, sizeof identity, "@%s:me", key);
    ck_assert_str_eq(r->identity, identity);
    ck_assert_uint_eq(((const struct count *)machine_state_const(m))->count, 2);
    ck_assert(!client_core_publish_digests(s->core, m, NULL, 0, s->error));
    ck_assert_ptr_nonnull(strstr(s->error, "core network"));
    script_free(s);
}
END_TEST

START_TEST(a_fork_rebuilds_the_apps_over_a_new_connection)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct machine *m = add(s, "0", NULL);
    script_subscribe(s, "/a");
    script_begin(s);
    for (uint64_t seq = 4; seq < 12; seq++)
        script_tell(s, seq, "old");
    script_flush(s);
    uint32_t stream = s->stream;
    struct port_addr to = s->to;
    SAY(s, forked, .common = script_at(script_first_epoch, 9));
    script_flush(s);
    const struct rig_report *r = script_reported(s, CANTUS_REPORT_FORKED);
    ck_assert_ptr_nonnull(r);
    ck_assert_uint_eq(r->r.seq, 10);
    ck_assert_uint_eq(((const struct count *)machine_state_const(m))->count, 0);
    script_begin(s);
    ck_assert_uint_ne(s->stream, stream);
    ck_assert(port_addr_equal(to, s->to)); /* there is nothing wrong with it */
    for (uint64_t seq = 4; seq < 10; seq++)
        script_tell(s, seq, "old");
    SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 10);
    script_tell(s, 11, "new");
    script_flush(s);
    ck_assert_uint_eq(((const struct count *)machine_state_const(m))->count, 7);
    ck_assert_ptr_nonnull(script_reported(s, CANTUS_REPORT_REBUILT));
    ck_assert_uint_eq(s->seen_count, 9); /* the subscription was not told twice */
    script_saw(s, 8, 11, "new");
    ck_assert_uint_eq(script_violations(s), 0);
    script_free(s);
}
END_TEST

START_TEST(a_second_fork_during_the_rebuild_is_found)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    add(s, "0", NULL);
    script_subscribe(s, "/a");
    script_begin(s);
    script_tell(s, 4, "old");
    SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 6);
    for (uint64_t seq = 7; seq < 12; seq++)
        script_tell(s, seq, "old");
    script_flush(s);
    SAY(s, forked, .common = script_at(script_second_epoch, 9));
    script_flush(s);
    ck_assert_uint_eq(script_reported(s, CANTUS_REPORT_FORKED)->r.seq, 10);
    script_begin(s);
    script_tell(s, 4, "old");
    script_flush(s);
    /* What was told of 6 to 9 does not hold either: another epoch began at 5. */
    SAY(s, epoch, .epoch = { .number = 3, .candidate = 33 }, .first_seq = 5);
    script_tell(s, 7, "new");
    script_flush(s);
    ck_assert_uint_eq(script_reported(s, CANTUS_REPORT_FORKED)->r.seq, 5);
    script_saw(s, s->seen_count - 1, 7, "new");
    ck_assert_uint_eq(s->seen_count, 7);
    script_free(s);
}
END_TEST

START_TEST(an_app_decides_again_after_a_fork)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    s->is_volatile = true; /* joins are taken back, too */
    add(s, "3", "me");
    script_begin(s);
    script_tell(s, 4, "one");
    script_flush(s);
    script_opened(s, 0, 12);
    struct edge_publish p;
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.position.seq, 12);
    script_tell(s, 13, "two"); /* not the app's own */
    script_flush(s);
    SAY(s, forked, .common = script_at(script_first_epoch, 12));
    script_flush(s);
    script_let_in(s, 12, 0);
    script_grant(s);
    script_tell(s, 4, "one");
    script_flush(s);
    struct edge_open o = script_opened(s, 0, 20);
    ck_assert_uint_eq(o.wanted, 4);
    HEAR(s, publish, EDGE_PUBLISH, &p); /* authored at 12, which holds: sent again as it was */
    ck_assert_uint_eq(p.number, 1);
    ck_assert_uint_eq(p.position.seq, 12);
    /* And one whose position fell off is decided again. */
    SAY(s, forked, .common = script_at(script_first_epoch, 11));
    script_flush(s);
    script_let_in(s, 12, 0);
    script_grant(s);
    ck_assert_uint_eq(script_violations(s), 0);
    script_opened(s, 0, 30);
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 1);
    ck_assert_uint_eq(p.position.seq, 30);
    ck_assert_uint_eq(p.condition_after, 0);
    script_free(s);
}
END_TEST

/* The epoch that took it back does not last, and the next one goes on with what the one before had. */
START_TEST(what_another_fork_gives_back_keeps_its_number)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    add(s, "3", "me");
    script_begin(s);
    script_tell(s, 4, "one");
    script_flush(s);
    struct edge_open o;
    HEAR(s, open, EDGE_OPEN, &o);
    SAY(s, opened, .publisher = 12, .incarnation = 1, .last_number = 0, .join_seq = 12);
    script_tell(s, 13, "two");
    script_flush(s);
    struct edge_publish p;
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 1);
    ck_assert_uint_eq(p.position.seq, 13);
    SAY(s, forked, .common = script_at(script_first_epoch, 12));
    script_flush(s);
    script_let_in(s, 12, 0);
    script_grant(s);
    script_tell(s, 4, "one");
    script_tell(s, 13, "two");
    script_flush(s);
    HEAR(s, open, EDGE_OPEN, &o);
    SAY(s, opened, .publisher = 12, .incarnation = 2, .last_number = 1, .join_seq = 30);
    script_flush(s);
    ck_assert_uint_eq(script_violations(s), 0);
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 2);
    script_free(s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("edge_app");
    TCase *t = tcase_create("apps");
    tcase_add_test(t, timers_fire_with_messages_and_with_progress);
    tcase_add_test(t, an_app_proposes_when_it_has_caught_up_and_is_told_of_refusals);
    tcase_add_test(t, a_fork_rebuilds_the_apps_over_a_new_connection);
    tcase_add_test(t, a_second_fork_during_the_rebuild_is_found);
    tcase_add_test(t, an_app_decides_again_after_a_fork);
    tcase_add_test(t, what_another_fork_gives_back_keeps_its_number);
    suite_add_tcase(s, t);
    return suite_main(s);
}
