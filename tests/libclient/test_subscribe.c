/* Subscriptions that are made and ended while a client is connected: from the seq on that is told each message of
 * the subtree comes, once, and none below it, whatever happens to the connection or the history meanwhile. On the
 * core by a leader (rig.h), through a proxy that is a script (script.h). Each message is named by its text. */
#include <stdio.h>

#include "script.h"
#include "suite_main.h"

struct watch {
    char seen[256]; /* texts, each with a blank behind it */
    struct client_core *core;
    bool once; /* ends itself at the first message */
};

static void note(void *ctx, const struct cantus_message *m)
{
    struct watch *w = ctx;
    size_t used = strlen(w->seen);
    snprintf(w->seen + used, sizeof w->seen - used, "%.*s ", (int)m->length,
             (const char *)m->payload);
    if (w->once)
        ck_assert(client_core_unsubscribe(w->core, "/a", note, w));
}

/* ---- on the core ----------------------------------------------------------------------------- */

START_TEST(on_the_core_a_subscription_counts_from_the_next_seq_on)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    struct watch w = { 0 };
    rig_say(r, "/a", "before");
    rig_run(r);
    uint64_t tip = client_core_seq(r->core);
    ck_assert(client_core_subscribe(r->core, "/a", note, &w, r->error));
    rig_run(r);
    const struct rig_report *told = rig_reported(r, CANTUS_REPORT_SUBSCRIBED);
    ck_assert_ptr_nonnull(told);
    ck_assert_uint_eq(told->r.seq, tip + 1);
    ck_assert_str_eq(told->topic, "/a");
    rig_say(r, "/a", "one");
    rig_say(r, "/b", "not");
    rig_say(r, "/a/new", "two");
    rig_run(r);
    ck_assert_str_eq(w.seen, "one two ");
    ck_assert(!client_core_unsubscribe(r->core, "/b", note, &w));
    ck_assert(client_core_unsubscribe(r->core, "/a", note, &w));
    ck_assert(!client_core_unsubscribe(r->core, "/a", note, &w));
    rig_say(r, "/a", "after");
    rig_run(r);
    ck_assert_str_eq(w.seen, "one two ");
    rig_free(r);
}
END_TEST

START_TEST(it_may_end_within_its_own_call_and_its_place_is_free_again)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    rig_topic(r, "/a");
    rig_run(r);
    for (int i = 0; i < 3 * CLIENT_SUBSCRIPTIONS_MAX; i++) {
        struct watch w = { .core = r->core, .once = true };
        ck_assert(client_core_subscribe(r->core, "/a", note, &w, r->error));
        rig_run(r);
        rig_say(r, "/a", "x");
        rig_say(r, "/a", "y");
        rig_run(r);
        ck_assert_str_eq(w.seen, "x ");
    }
    struct watch many[CLIENT_SUBSCRIPTIONS_MAX];
    memset(many, 0, sizeof many);
    for (int i = 0; i < CLIENT_SUBSCRIPTIONS_MAX; i++)
        ck_assert(client_core_subscribe(r->core, "/a", note, &many[i], r->error));
    ck_assert(!client_core_subscribe(r->core, "/a", note, NULL, r->error));
    ck_assert_ptr_nonnull(strstr(r->error, "64"));
    ck_assert(!client_core_subscribe(r->core, "a", note, NULL, r->error));
    rig_say(r, "/a", "z");
    rig_run(r);
    for (int i = 0; i < CLIENT_SUBSCRIPTIONS_MAX; i++)
        ck_assert_str_eq(many[i].seen, "z ");
    rig_free(r);
}
END_TEST

START_TEST(a_fork_takes_its_beginning_along_and_no_further)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    struct watch w = { 0 };
    uint64_t kept = rig_say(r, "/a", "kept");
    rig_say(r, "/a", "lost");
    rig_run(r);
    ck_assert(client_core_subscribe(r->core, "/a", note, &w, r->error));
    rig_say(r, "/a", "lost too");
    rig_run(r);
    ck_assert_str_eq(w.seen, "lost too ");
    rig_fork(r, kept);
    rig_say(r, "/a", "instead");
    rig_run_until(r, NULL, 1000 * 1000, 50);
    ck_assert_str_eq(w.seen, "lost too instead ");
    rig_free(r);
}
END_TEST

static bool is_rebuilding(struct rig *r)
{
    return rig_reported(r, CANTUS_REPORT_FORKED) != NULL;
}

START_TEST(what_is_only_applied_again_after_a_fork_is_not_for_who_came_meanwhile)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    struct watch w = { 0 };
    uint64_t kept = rig_say(r, "/a", "kept");
    rig_say(r, "/a", "lost");
    rig_run(r);
    rig_fork(r, kept);
    rig_say(r, "/a", "instead");
    ck_assert(rig_run_until(r, is_rebuilding, 1000 * 1000, 50));
    ck_assert_uint_lt(client_core_seq(r->core), kept);
    ck_assert(client_core_subscribe(r->core, "/a", note, &w, r->error));
    rig_run_until(r, NULL, 1000 * 1000, 50);
    ck_assert_uint_gt(rig_reported(r, CANTUS_REPORT_SUBSCRIBED)->r.seq, kept);
    ck_assert_str_eq(w.seen, "instead ");
    rig_free(r);
}
END_TEST

/* ---- through a proxy ------------------------------------------------------------------------- */

static struct script *connected(enum follower_level level)
{
    struct script *s = script_new(level);
    script_subscribe(s, "/a");
    script_begin(s);
    script_tell(s, 4, "one");
    script_flush(s);
    return s;
}

/* The next frame: one CHANGE of one subtree, or none, each way. */
static void hear_change(struct script *s, const char *add, const char *remove)
{
    struct edge_change c;
    HEAR(s, change, EDGE_CHANGE, &c);
    struct edge_subtrees lists[] = { c.add, c.remove };
    const char *wanted[] = { add, remove };
    for (int i = 0; i < 2; i++) {
        const char *text;
        size_t length;
        ck_assert_uint_eq(lists[i].count, wanted[i] != NULL);
        if (wanted[i] == NULL)
            continue;
        ck_assert(edge_subtree_next(&lists[i], &text, &length));
        ck_assert_uint_eq(length, strlen(wanted[i]));
        ck_assert_mem_eq(text, wanted[i], length);
    }
}

static void tell_other(struct script *s, uint64_t seq, uint64_t previous, const char *text)
{
    script_name(s, EDGE_NAME_TOPIC, 18, "/b/x");
    script_name(s, EDGE_NAME_PUBLISHER, 3, "other");
    SAY(s, message, .seq = seq, .previous = previous, .timestamp_ns = seq * 1000, .topic = 18,
        .publisher = 3, .publisher_seq = seq, .payload = (const uint8_t *)text,
        .length = (uint32_t)strlen(text));
}

START_TEST(a_proxy_is_asked_and_says_from_which_seq_on)
{
    struct script *s = connected(FOLLOWER_SEQUENCED);
    struct watch w = { 0 };
    ck_assert(client_core_subscribe(s->core, "/b", note, &w, s->error));
    hear_change(s, "/b", NULL);
    ck_assert_ptr_null(script_reported(s, CANTUS_REPORT_SUBSCRIBED));
    SAY(s, changed, .seq = 21);
    tell_other(s, 22, 20, "two"); /* whatever was below 21 may be named */
    script_flush(s);
    const struct rig_report *told = script_reported(s, CANTUS_REPORT_SUBSCRIBED);
    ck_assert_ptr_nonnull(told);
    ck_assert_uint_eq(told->r.seq, 21);
    ck_assert_str_eq(told->topic, "/b");
    ck_assert_str_eq(w.seen, "two ");
    ck_assert_uint_eq(client_core_seq(s->core), 22);
    ck_assert(client_core_unsubscribe(s->core, "/b", note, &w));
    hear_change(s, NULL, "/b");
    tell_other(s, 23, 22, "under way");
    SAY(s, changed, .seq = 24);
    script_flush(s);
    ck_assert_str_eq(w.seen, "two ");
    ck_assert_uint_eq(script_violations(s), 0);
    script_free(s);
}
END_TEST

START_TEST(what_is_there_already_is_not_asked_for)
{
    struct script *s = connected(FOLLOWER_SEQUENCED);
    struct watch w = { 0 };
    ck_assert(client_core_subscribe(s->core, "/a/b", note, &w, s->error));
    ck_assert(script_hears_nothing(s));
    ck_assert_uint_eq(script_reported(s, CANTUS_REPORT_SUBSCRIBED)->r.seq, 5);
    script_tell(s, 9, "two");
    script_flush(s);
    ck_assert_str_eq(w.seen, "two ");
    script_saw(s, 1, 9, "two");
    script_free(s);
}
END_TEST

START_TEST(one_change_at_a_time_and_the_next_with_all_that_came_meanwhile)
{
    struct script *s = connected(FOLLOWER_SEQUENCED);
    struct watch w = { 0 }, v = { 0 };
    ck_assert(client_core_subscribe(s->core, "/b", note, &w, s->error));
    hear_change(s, "/b", NULL);
    ck_assert(client_core_subscribe(s->core, "/c", note, &v, s->error));
    ck_assert(client_core_unsubscribe(s->core, "/b", note, &w));
    ck_assert(script_hears_nothing(s));
    SAY(s, changed, .seq = 11);
    script_flush(s);
    hear_change(s, "/c", "/b");
    SAY(s, changed, .seq = 12);
    script_flush(s);
    ck_assert_uint_eq(script_reported(s, CANTUS_REPORT_SUBSCRIBED)->r.seq, 12);
    ck_assert(script_hears_nothing(s));
    script_free(s);
}
END_TEST

START_TEST(a_connection_that_is_lost_is_asked_for_all_of_it_from_where_it_was)
{
    struct script *s = connected(FOLLOWER_SEQUENCED);
    struct watch w = { 0 };
    ck_assert(client_core_subscribe(s->core, "/b", note, &w, s->error));
    hear_change(s, "/b", NULL);
    script_cut(s);
    script_let_in(s, 20, 20);
    struct edge_subscribe r = script_grant(s);
    ck_assert_uint_eq(r.position.seq, 4);
    ck_assert_uint_eq(r.subtrees.count, 2);
    ck_assert_uint_eq(script_reported(s, CANTUS_REPORT_SUBSCRIBED)->r.seq, 5);
    tell_other(s, 6, 4, "two");
    script_flush(s);
    ck_assert_str_eq(w.seen, "two ");
    ck_assert_uint_eq(script_violations(s), 0);
    script_free(s);
}
END_TEST

/* Its record may be among what was taken back: then it comes again, and CHANGED behind it. */
START_TEST(a_failover_meanwhile_is_waited_for)
{
    for (int level = FOLLOWER_SEQUENCED; level <= FOLLOWER_STABLE; level++) {
        struct script *s = connected((enum follower_level)level);
        struct watch w = { 0 };
        ck_assert(client_core_subscribe(s->core, "/b", note, &w, s->error));
        hear_change(s, "/b", NULL);
        SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 9);
        script_flush(s);
        ck_assert(!script_is_gone(s));
        ck_assert_ptr_null(script_reported(s, CANTUS_REPORT_SUBSCRIBED));
        SAY(s, changed, .seq = 12);
        script_flush(s);
        ck_assert_uint_eq(script_reported(s, CANTUS_REPORT_SUBSCRIBED)->r.seq, 12);
        ck_assert_uint_eq(script_violations(s), 0);
        script_free(s);
    }
}
END_TEST

START_TEST(what_may_not_be_read_is_refused_and_the_rest_goes_on)
{
    struct script *s = connected(FOLLOWER_SEQUENCED);
    struct watch w = { 0 }, v = { 0 };
    ck_assert(client_core_subscribe(s->core, "/secret", note, &w, s->error));
    ck_assert(client_core_subscribe(s->core, "/b", note, &v, s->error));
    struct edge_change c;
    HEAR(s, change, EDGE_CHANGE, &c);
    ck_assert_uint_eq(c.add.count, 2);
    SAY(s, refused, .request = EDGE_CHANGE, .reason = EDGE_REFUSED_RIGHT, .right = ACCESS_READ,
        .subject = "/secret");
    script_flush(s);
    const struct rig_report *told = script_reported(s, CANTUS_REPORT_REFUSED);
    ck_assert_ptr_nonnull(told);
    ck_assert_str_eq(told->topic, "/secret");
    ck_assert_ptr_nonnull(strstr(told->text, "right to read"));
    script_let_in(s, 20, 20);
    ck_assert_uint_eq(script_grant(s).subtrees.count, 2); /* "/a" and "/b" */
    ck_assert_str_eq(script_reported(s, CANTUS_REPORT_SUBSCRIBED)->topic, "/b");
    ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    ck_assert(!client_core_unsubscribe(s->core, "/secret", note, &w));
    script_free(s);
}
END_TEST

START_TEST(a_changed_that_contradicts_what_was_sent_ends_the_connection)
{
    struct script *s = connected(FOLLOWER_SEQUENCED);
    struct watch w = { 0 };
    ck_assert(client_core_subscribe(s->core, "/b", note, &w, s->error));
    hear_change(s, "/b", NULL);
    SAY(s, changed, .seq = 4);
    script_flush(s);
    ck_assert(script_is_gone(s));
    ck_assert_uint_eq(script_violations(s), 1);
    script_free(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("libclient_subscribe");
    TCase *all = tcase_create("subscribe");
    tcase_add_test(all, on_the_core_a_subscription_counts_from_the_next_seq_on);
    tcase_add_test(all, it_may_end_within_its_own_call_and_its_place_is_free_again);
    tcase_add_test(all, a_fork_takes_its_beginning_along_and_no_further);
    tcase_add_test(all, what_is_only_applied_again_after_a_fork_is_not_for_who_came_meanwhile);
    tcase_add_test(all, a_proxy_is_asked_and_says_from_which_seq_on);
    tcase_add_test(all, what_is_there_already_is_not_asked_for);
    tcase_add_test(all, one_change_at_a_time_and_the_next_with_all_that_came_meanwhile);
    tcase_add_test(all, a_connection_that_is_lost_is_asked_for_all_of_it_from_where_it_was);
    tcase_add_test(all, a_failover_meanwhile_is_waited_for);
    tcase_add_test(all, what_may_not_be_read_is_refused_and_the_rest_goes_on);
    tcase_add_test(all, a_changed_that_contradicts_what_was_sent_ends_the_connection);
    suite_add_tcase(suite, all);
    return suite_main(suite);
}
