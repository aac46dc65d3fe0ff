/* Clients that begin at the tip or at a time. Through a proxy that is a script (script.h): what it is asked for, the
 * first time and after connections were lost, so that the start neither moves nor is asked for twice. On the core by
 * a leader (rig.h): the same messages are handed over, and what is in front of them is passed over. Each message is
 * named by its text. */
#include <stdio.h>

#include "script.h"
#include "suite_main.h"

/* ---- through a proxy ------------------------------------------------------------------------- */

static struct script *script_from(enum follower_level level, enum cantus_from from,
                                  uint64_t from_ns)
{
    struct script *s = script_new(level);
    client_core_destroy(s->core);
    s->from = from;
    s->from_ns = from_ns;
    script_make_core(s);
    script_subscribe(s, "/a");
    script_let_in(s, 50, 50);
    return s;
}

static struct edge_subscribe asked(struct script *s)
{
    struct edge_subscribe r;
    HEAR(s, subscribe, EDGE_SUBSCRIBE, &r);
    return r;
}

static void grant_behind(struct script *s, uint64_t seq)
{
    SAY(s, subscribed, .position = script_at(script_first_epoch, seq));
    script_flush(s);
}

/* It comes again, and asks for what is behind this seq. */
static void goes_on_behind(struct script *s, uint64_t seq)
{
    script_let_in(s, 90, 90);
    struct edge_subscribe r = asked(s);
    ck_assert_int_eq(r.from, EDGE_FROM_POSITION);
    ck_assert_uint_eq(r.position.seq, seq);
    ck_assert(epoch_equal(r.position.epoch, script_first_epoch));
    grant_behind(s, seq);
}

START_TEST(the_tip_is_asked_for_once_and_stays_where_it_was)
{
    for (int level = FOLLOWER_SEQUENCED; level <= FOLLOWER_STABLE; level++) {
        struct script *s = script_from((enum follower_level)level, CANTUS_FROM_TIP, 0);
        ck_assert_int_eq(asked(s).from, EDGE_FROM_TIP);
        ck_assert(!client_core_caught_up(s->core));
        script_cut(s); /* before it was answered: there is no start yet */
        script_let_in(s, 55, 55);
        ck_assert_int_eq(asked(s).from, EDGE_FROM_TIP);
        ck_assert_ptr_null(script_reported(s, CANTUS_REPORT_SUBSCRIBED));
        grant_behind(s, 60);
        ck_assert_uint_eq(script_reported(s, CANTUS_REPORT_SUBSCRIBED)->r.seq, 61);
        ck_assert(client_core_caught_up(s->core));
        script_cut(s); /* before anything came */
        goes_on_behind(s, 60);
        script_tell(s, 70, "one");
        script_flush(s);
        script_saw(s, 0, 70, "one");
        script_cut(s);
        goes_on_behind(s, 70);
        ck_assert_uint_eq(script_reported(s, CANTUS_REPORT_SUBSCRIBED)->r.seq, 61);
        ck_assert_uint_eq(script_violations(s), 0);
        script_free(s);
    }
}
END_TEST

START_TEST(a_time_is_asked_for_once_and_what_is_older_is_passed_over)
{
    struct script *s = script_from(FOLLOWER_SEQUENCED, CANTUS_FROM_TIME, 42 * 1000);
    struct edge_subscribe r = asked(s);
    ck_assert_int_eq(r.from, EDGE_FROM_TIME);
    ck_assert_uint_eq(r.time_ns, 42 * 1000);
    ck_assert(!client_core_caught_up(s->core));
    grant_behind(s, 40); /* a run may begin so early */
    script_cut(s);
    goes_on_behind(s, 40);
    script_tell(s, 41, "older");
    script_tell(s, 42, "one");
    script_tell(s, 43, "two");
    script_flush(s);
    script_saw(s, 0, 42, "one");
    script_saw(s, 1, 43, "two");
    ck_assert_uint_eq(s->seen_count, 2);
    script_cut(s);
    goes_on_behind(s, 43);
    ck_assert_uint_eq(script_violations(s), 0);
    script_free(s);
}
END_TEST

START_TEST(of_a_time_that_is_ahead_there_is_nothing_to_wait_for)
{
    struct script *s = script_from(FOLLOWER_STABLE, CANTUS_FROM_TIME, UINT64_MAX / 2);
    ck_assert_int_eq(asked(s).from, EDGE_FROM_TIME);
    script_step(s);
    ck_assert(client_core_caught_up(s->core));
    script_cut(s);
    ck_assert(!client_core_caught_up(s->core));
    script_free(s);
}
END_TEST

START_TEST(a_fork_behind_the_start_takes_it_along)
{
    struct script *s = script_from(FOLLOWER_SEQUENCED, CANTUS_FROM_TIP, 0);
    asked(s);
    grant_behind(s, 60);
    SAY(s, forked, .common = script_at(script_first_epoch, 45));
    SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 46);
    script_tell(s, 47, "instead");
    script_flush(s);
    ck_assert_uint_eq(script_reported(s, CANTUS_REPORT_FORKED)->r.seq, 46);
    script_saw(s, 0, 47, "instead");
    script_cut(s);
    script_let_in(s, 90, 90);
    struct edge_subscribe r = asked(s);
    ck_assert_int_eq(r.from, EDGE_FROM_POSITION);
    ck_assert_uint_eq(r.position.seq, 47);
    ck_assert_uint_eq(script_violations(s), 0);
    script_free(s);
}
END_TEST

START_TEST(who_may_not_read_there_is_told_as_ever)
{
    struct script *s = script_from(FOLLOWER_SEQUENCED, CANTUS_FROM_TIP, 0);
    asked(s);
    SAY(s, refused, .request = EDGE_SUBSCRIBE, .reason = EDGE_REFUSED_RIGHT, .right = ACCESS_READ,
        .subject = "/a");
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_null(script_reported(s, CANTUS_REPORT_REFUSED));
    script_free(s);
}
END_TEST

START_TEST(whose_end_is_in_front_of_the_tip_has_ended)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    client_core_destroy(s->core);
    s->from = CANTUS_FROM_TIP;
    s->until_seq = 20;
    script_make_core(s);
    script_subscribe(s, "/a");
    script_let_in(s, 50, 50);
    asked(s);
    grant_behind(s, 60);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_END);
    script_free(s);
}
END_TEST

START_TEST(what_is_subscribed_to_meanwhile_is_its_own_affair)
{
    struct script *s = script_from(FOLLOWER_SEQUENCED, CANTUS_FROM_TIP, 0);
    asked(s);
    ck_assert(client_core_subscribe(s->core, "/b", rig_see, NULL, s->error));
    grant_behind(s, 60);
    ck_assert_str_eq(script_reported(s, CANTUS_REPORT_SUBSCRIBED)->topic, "/a");
    struct edge_change c;
    HEAR(s, change, EDGE_CHANGE, &c);
    ck_assert_uint_eq(c.add.count, 1);
    SAY(s, changed, .seq = 65);
    script_flush(s);
    ck_assert_str_eq(script_reported(s, CANTUS_REPORT_SUBSCRIBED)->topic, "/b");
    ck_assert_uint_eq(script_reported(s, CANTUS_REPORT_SUBSCRIBED)->r.seq, 65);
    script_free(s);
}
END_TEST

/* ---- on the core ----------------------------------------------------------------------------- */

static struct rig *rig_from(enum follower_level level)
{
    struct rig *r = rig_new(level);
    r->leader.timestamp_ns += SECOND;
    rig_say(r, "/a", "before");
    return r;
}

static void begin(struct rig *r, enum cantus_from from, uint64_t from_ns)
{
    r->options.from = from;
    r->options.from_ns = from_ns;
    rig_restart(r);
    rig_subscribe(r, "/a");
    rig_run_until(r, NULL, 1000 * 1000, 50);
}

static void rig_saw(const struct rig *r, const char *texts)
{
    char seen[256] = "";
    for (uint32_t i = 0; i < r->seen_count; i++) {
        size_t used = strlen(seen);
        snprintf(seen + used, sizeof seen - used, "%s ", r->seen[i].head);
    }
    ck_assert_str_eq(seen, texts);
}

START_TEST(on_the_core_the_tip_is_where_it_catches_up)
{
    for (int level = FOLLOWER_SEQUENCED; level <= FOLLOWER_STABLE; level++) {
        struct rig *r = rig_from((enum follower_level)level);
        begin(r, CANTUS_FROM_TIP, 0);
        uint64_t tip = client_core_seq(r->core);
        ck_assert(client_core_caught_up(r->core));
        ck_assert_uint_eq(rig_reported(r, CANTUS_REPORT_SUBSCRIBED)->r.seq, tip + 1);
        rig_say(r, "/a", "one");
        rig_say(r, "/b", "not");
        rig_say(r, "/a/new", "two");
        rig_run_until(r, NULL, 1000 * 1000, 50);
        rig_saw(r, "one two ");
        rig_free(r);
    }
}
END_TEST

START_TEST(on_the_core_a_fork_takes_the_tip_along)
{
    struct rig *r = rig_from(FOLLOWER_SEQUENCED);
    uint64_t kept = rig_say(r, "/a", "kept");
    rig_say(r, "/a", "lost");
    begin(r, CANTUS_FROM_TIP, 0);
    rig_say(r, "/a", "lost too");
    rig_run(r);
    rig_saw(r, "lost too ");
    rig_fork(r, kept);
    rig_say(r, "/a", "instead");
    rig_run_until(r, NULL, 1000 * 1000, 50);
    rig_saw(r, "lost too instead ");
    rig_free(r);
}
END_TEST

START_TEST(on_the_core_what_is_older_is_passed_over)
{
    for (int fork = 0; fork < 2; fork++) {
        struct rig *r = rig_from(FOLLOWER_SEQUENCED);
        uint64_t kept = rig_say(r, "/a", "kept"), from_ns = r->leader.timestamp_ns + SECOND;
        r->leader.timestamp_ns = from_ns - 1;
        rig_say(r, "/a", "older");
        r->leader.timestamp_ns = from_ns;
        rig_say(r, "/a", "one");
        begin(r, CANTUS_FROM_TIME, from_ns);
        rig_say(r, "/a", "two");
        rig_run(r);
        rig_saw(r, "one two ");
        if (fork == 1) {
            rig_fork(r, kept);
            r->leader.timestamp_ns = from_ns - 1;
            rig_say(r, "/a", "older");
            r->leader.timestamp_ns = from_ns;
            rig_say(r, "/a", "instead");
            rig_run_until(r, NULL, 1000 * 1000, 50);
            rig_saw(r, "one two instead ");
        }
        rig_free(r);
    }
}
END_TEST

static const struct cantus_app app = { .abi = CANTUS_APP_ABI, .name = "counter", .state_size = 8 };

START_TEST(apps_apply_the_whole_stream)
{
    struct rig *r = rig_from(FOLLOWER_SEQUENCED);
    begin(r, CANTUS_FROM_TIP, 0);
    rig_restart(r);
    ck_assert_ptr_null(client_core_add_app(r->core, &app, "", NULL, r->error));
    ck_assert_ptr_nonnull(strstr(r->error, "from its beginning"));
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("libclient_from");
    TCase *all = tcase_create("from");
    tcase_add_test(all, the_tip_is_asked_for_once_and_stays_where_it_was);
    tcase_add_test(all, a_time_is_asked_for_once_and_what_is_older_is_passed_over);
    tcase_add_test(all, of_a_time_that_is_ahead_there_is_nothing_to_wait_for);
    tcase_add_test(all, a_fork_behind_the_start_takes_it_along);
    tcase_add_test(all, who_may_not_read_there_is_told_as_ever);
    tcase_add_test(all, whose_end_is_in_front_of_the_tip_has_ended);
    tcase_add_test(all, what_is_subscribed_to_meanwhile_is_its_own_affair);
    tcase_add_test(all, on_the_core_the_tip_is_where_it_catches_up);
    tcase_add_test(all, on_the_core_a_fork_takes_the_tip_along);
    tcase_add_test(all, on_the_core_what_is_older_is_passed_over);
    tcase_add_test(all, apps_apply_the_whole_stream);
    suite_add_tcase(suite, all);
    return suite_main(suite);
}
