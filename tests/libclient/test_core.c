/* The client core on the port of a leader (rig.h): what is delivered and in which order, where it
 * ends, timers, what a fork takes back and rebuilds, and what is told to humans. */
#include <stdio.h>

#include "suite_main.h"
#include "tally.h"

/* ---- delivery -------------------------------------------------------------------------------- */

START_TEST(a_subscription_sees_its_subtree_in_order)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    rig_subscribe(r, "/");
    rig_say(r, "/a", "one");
    rig_say(r, "/b", "two");
    rig_say(r, "/a/x", "three");
    rig_run(r);
    ck_assert_uint_eq(r->seen_count, 3);
    ck_assert_str_eq(r->seen[0].head, "one");
    ck_assert_str_eq(r->seen[1].topic, "/b");
    ck_assert_str_eq(r->seen[2].head, "three");
    ck_assert_str_eq(r->seen[2].publisher, "other");
    ck_assert_uint_eq(r->seen[2].publisher_seq, 3);
    ck_assert_uint_eq(client_core_seq(r->core), rig_tip(r));
    ck_assert(client_core_caught_up(r->core));
    rig_free(r);
}
END_TEST

/* One batch of messages on "/b", which nobody wants, and among them one on another topic, or longer. */
static void emit_one_among(struct rig *r, uint32_t count, uint32_t at, uint32_t topic,
                           size_t length)
{
    struct leader_batch *b = &r->leader.log[r->leader.log_count];
    uint32_t unwanted = rig_topic(r, "/b"),
             other = catalog_publisher_find(r->leader.catalog, "other");
    struct batch_builder builder;
    batch_open(&builder, b->bytes, WIRE_DATAGRAM_DEFAULT, rig_tip(r) + 1);
    for (uint32_t i = 0; i < count; i++)
        batch_add(&builder, i == at ? topic : unwanted, other, i + 1, 0, "something said",
                  i == at ? (uint32_t)length : 4);
    struct batch_header h = { .stream = RIG_STREAM,
                              .before = r->leader.digest,
                              .epoch = r->leader.epoch,
                              .timestamp_ns = r->leader.timestamp_ns };
    batch_close(&builder, 0, &h);
    ck_assert_int_eq(batch_verify(b->bytes, builder.length, RIG_STREAM, &b->header), WIRE_OK);
    r->leader.digest = b->header.digest;
    r->leader.log_count++;
}

/* What nobody wants is passed over several at a time: the one among it that somebody wants is not,
 * wherever it stands, and neither is one of another length the end of what comes after it. */
START_TEST(one_wanted_among_many_is_seen)
{
    enum { COUNT = 11 };
    for (uint32_t at = 0; at < COUNT; at++) {
        struct rig *r = rig_new(FOLLOWER_SEQUENCED);
        rig_subscribe(r, "/a");
        uint32_t wanted = rig_topic(r, "/a"), unwanted = rig_topic(r, "/b");
        rig_join(r, "other", 1);
        rig_run(r);
        uint64_t tip = rig_tip(r);
        emit_one_among(r, COUNT, at, wanted, 4);
        emit_one_among(r, COUNT, at, wanted, 7);
        emit_one_among(r, COUNT, at, unwanted, 7);
        rig_run(r);
        ck_assert_int_eq(client_core_status(r->core), CANTUS_OK);
        ck_assert_uint_eq(client_core_seq(r->core), tip + 3 * COUNT);
        ck_assert_uint_eq(r->seen_count, 2);
        ck_assert_uint_eq(r->seen[0].seq, tip + at + 1);
        ck_assert_str_eq(r->seen[0].head, "some");
        ck_assert_uint_eq(r->seen[1].seq, tip + COUNT + at + 1);
        ck_assert_str_eq(r->seen[1].head, "somethi");
        ck_assert_uint_eq(r->seen[1].publisher_seq, at + 1);
        rig_free(r);
    }
}
END_TEST

START_TEST(sys_is_seen_by_who_asks_for_it)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    rig_subscribe(r, "/sys");
    rig_say(r, "/a", "one");
    rig_run(r);
    ck_assert_uint_eq(r->seen_count, 4);
    ck_assert_str_eq(r->seen[0].topic, "/sys/genesis");
    ck_assert_uint_eq(r->seen[0].seq, 1);
    ck_assert_str_eq(r->seen[3].topic, "/sys/join");
    ck_assert_str_eq(r->seen[3].publisher, "");
    rig_free(r);
}
END_TEST

START_TEST(runs_arrive_whole_and_voided_ones_not_at_all)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    rig_subscribe(r, "/");
    uint32_t topic = rig_topic(r, "/a");
    uint32_t id = rig_join(r, "other", 1);
    rig_emit(r, topic, id, 1, MESSAGE_MORE | MESSAGE_FRAGMENT, "he", 2);
    uint64_t before = rig_tip(r) - 1;
    rig_run(r);
    ck_assert_uint_eq(r->seen_count, 0);
    ck_assert_uint_eq(client_core_seq(r->core), before); /* between runs */
    rig_emit(r, topic, id, 2, 0, "llo", 3);
    rig_emit(r, topic, id, 3, MESSAGE_MORE, "a", 1);
    rig_emit(r, topic, id, 4, 0, "b", 1);
    rig_run(r);
    ck_assert_uint_eq(r->seen_count, 3);
    ck_assert_str_eq(r->seen[0].head, "hello");
    ck_assert_uint_eq(r->seen[0].publisher_seq, 1);
    ck_assert_str_eq(r->seen[1].head, "a");
    ck_assert_uint_eq(client_core_seq(r->core), rig_tip(r));
    rig_emit(r, topic, id, 5, MESSAGE_MORE, "lost", 4);
    rig_fork(r, rig_tip(r)); /* nothing is cut, but the leader of this run is gone */
    rig_emit(r, topic, id, 5, 0, "again", 5);
    rig_run(r);
    ck_assert_uint_eq(r->seen_count, 4);
    ck_assert_str_eq(r->seen[3].head, "again");
    ck_assert_uint_eq(client_core_counters(r->core)[COUNTER_RUNS_VOIDED], 1);
    ck_assert_ptr_null(rig_reported(r, CANTUS_REPORT_FORKED));
    rig_free(r);
}
END_TEST

START_TEST(nothing_is_delivered_above_until_seq)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    r->options.until_seq = 7;
    rig_restart(r);
    rig_subscribe(r, "/");
    for (int i = 0; i < 10; i++)
        rig_say(r, "/a", "x");
    rig_run(r);
    ck_assert_uint_eq(client_core_seq(r->core), 7);
    ck_assert_uint_eq(r->seen[r->seen_count - 1].seq, 7);
    ck_assert_int_eq(client_core_status(r->core), CANTUS_END);
    rig_free(r);
}
END_TEST

START_TEST(a_stream_of_another_protocol_is_not_followed)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    rig_subscribe(r, "/");
    struct sys_session s = { .name = "monday",
                             .protocol_version = WIRE_VERSION + 1,
                             .protocol_digest = 1,
                             .catalog_digest = 1 };
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_session_encode(&s, payload, sizeof payload);
    struct leader_batch *b = &r->leader.log[r->leader.log_count];
    struct batch_builder builder;
    batch_open(&builder, b->bytes, WIRE_DATAGRAM_DEFAULT, rig_tip(r) + 1);
    batch_add(&builder, TOPIC_SESSION, 0, 0, 0, payload, (uint32_t)length);
    struct batch_header h = { .stream = RIG_STREAM,
                              .before = r->leader.digest,
                              .epoch = r->leader.epoch,
                              .timestamp_ns = r->leader.timestamp_ns };
    batch_close(&builder, 0, &h);
    ck_assert_int_eq(batch_verify(b->bytes, builder.length, RIG_STREAM, &b->header), WIRE_OK);
    r->leader.log_count++;
    r->leader.digest = b->header.digest;
    rig_run(r);
    ck_assert_int_eq(client_core_status(r->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(r->core), "version of the protocol"));
    rig_free(r);
}
END_TEST

START_TEST(batches_can_be_applied_offline_if_they_follow)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    struct machine *m = rig_add(r, &tally_app, "0", NULL);
    for (int i = 0; i < 5; i++)
        rig_say(r, "/count", "x");
    for (uint32_t i = 0; i < r->leader.log_count; i++) {
        const struct leader_batch *b = &r->leader.log[i];
        if (i > 0) {
            ck_assert(!client_core_apply_batch(r->core, r->leader.log[0].bytes,
                                               &r->leader.log[0].header));
            struct batch_header other = b->header;
            other.before.low++;
            ck_assert(!client_core_apply_batch(r->core, b->bytes, &other));
        }
        ck_assert(client_core_apply_batch(r->core, b->bytes, &b->header));
    }
    ck_assert_uint_eq(((struct tally *)machine_state(m))->count, 5);
    ck_assert_uint_eq(client_core_seq(r->core), rig_tip(r));
    rig_free(r);
}
END_TEST

START_TEST(additions_are_checked)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    rig_add(r, &tally_app, "0", "me");
    ck_assert_ptr_null(client_core_add_app(r->core, &tally_app, "0", "me", r->error));
    ck_assert_ptr_nonnull(strstr(r->error, "already used"));
    ck_assert_ptr_null(client_core_add_pipe(r->core, "me", r->error));
    ck_assert_ptr_null(client_core_add_pipe(r->core, "two words", r->error));
    ck_assert_ptr_null(client_core_add_pipe(r->core, "", r->error));
    ck_assert(!client_core_subscribe(r->core, "a/b", rig_see, r, r->error));
    ck_assert_ptr_nonnull(strstr(r->error, "a/b"));
    for (int i = 0; i < CLIENT_SUBSCRIPTIONS_MAX; i++)
        rig_subscribe(r, "/a");
    ck_assert(!client_core_subscribe(r->core, "/a", rig_see, r, r->error));
    rig_run(r);
    ck_assert_ptr_null(client_core_add_app(r->core, &tally_app, "0", NULL, r->error));
    ck_assert_ptr_nonnull(strstr(r->error, "before the first poll"));
    rig_free(r);
}
END_TEST

/* ---- timers ---------------------------------------------------------------------------------- */

static void say_timer(struct rig *r, uint64_t due_ns)
{
    char text[64];
    snprintf(text, sizeof text, "timer %llu", (unsigned long long)due_ns);
    rig_say(r, "/timer", text);
    rig_run(r);
}

START_TEST(timers_fire_before_the_first_message_stamped_then_or_later)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    struct machine *m = rig_add(r, &tally_app, "0", NULL);
    const struct tally *s = machine_state(m);
    uint64_t base = r->leader.timestamp_ns;
    say_timer(r, base + 100);
    rig_tick(r, base + 99);
    ck_assert_uint_eq(s->ticks, 0);
    r->leader.timestamp_ns = base + 100;
    rig_say(r, "/count", "x");
    rig_run(r);
    ck_assert_uint_eq(s->ticks, 1);
    ck_assert_uint_eq(s->fired_at, 0); /* before that message */
    ck_assert_uint_eq(s->fired_now, base + 100);
    ck_assert_uint_eq(s->count, 1);
    /* Due already when it is set: before the next message, whatever that is, and not earlier. */
    say_timer(r, base + 50);
    ck_assert_uint_eq(s->ticks, 1);
    rig_tick(r, base + 100);
    ck_assert_uint_eq(s->ticks, 2);
    ck_assert_uint_eq(s->fired_now, base + 50);
    /* Heartbeats carry time too, but no message. */
    say_timer(r, base + 200);
    r->leader.timestamp_ns = base + 1000;
    rig_run(r);
    ck_assert_uint_eq(s->ticks, 2);
    rig_free(r);
}
END_TEST

/* ---- forks ----------------------------------------------------------------------------------- */

static bool rebuilt(struct rig *r)
{
    return rig_reported(r, CANTUS_REPORT_REBUILT) != NULL;
}

START_TEST(a_fork_rebuilds_the_apps_and_hands_nothing_over_twice)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    r->leader.hold_stable = true;
    struct machine *m = rig_add(r, &tally_app, "0", NULL);
    rig_subscribe(r, "/");
    for (int i = 0; i < 8; i++)
        rig_say(r, "/count", "old");
    rig_run(r);
    uint64_t tip = rig_tip(r);
    ck_assert_uint_eq(((struct tally *)machine_state(m))->count, 8);
    ck_assert_uint_eq(r->seen_count, 8);
    rig_fork(r, tip - 3);
    rig_say(r, "/count", "new");
    rig_say(r, "/count", "new");
    ck_assert(rig_run_until(r, rebuilt, MS, 200));
    const struct rig_report *report = rig_reported(r, CANTUS_REPORT_FORKED);
    ck_assert_ptr_nonnull(report);
    ck_assert_uint_eq(report->r.seq, tip - 2);
    ck_assert_uint_eq(((struct tally *)machine_state(m))->count, 7);
    ck_assert_uint_eq(r->seen_count, 10);
    for (uint32_t i = 0; i < 8; i++)
        ck_assert_str_eq(r->seen[i].head, "old");
    ck_assert_str_eq(r->seen[8].head, "new");
    ck_assert_uint_eq(r->seen[8].seq, tip - 1); /* the epoch record took tip - 2 */
    /* The same as one that never saw the old history. */
    uint64_t digest = machine_digest(m);
    rig_restart(r);
    m = rig_add(r, &tally_app, "0", NULL);
    rig_run_until(r, NULL, MS, 20);
    ck_assert_uint_eq(machine_digest(m), digest);
    rig_free(r);
}
END_TEST

START_TEST(an_app_decides_again_after_a_fork)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    r->leader.stable_max = 4; /* the join, and the topic */
    r->watched = rig_add(r, &tally_app, "6", "me");
    ck_assert(rig_run_until(r, tally_is_done, MS, 100));
    uint64_t tip = rig_tip(r);
    rig_fork(r, tip - 4);
    ck_assert(rig_run_until(r, rebuilt, MS, 200));
    rig_run_until(r, NULL, MS, 50);
    const struct tally *s = machine_state(r->watched);
    ck_assert_uint_eq(s->count, 6);
    ck_assert_uint_eq(publisher_mismatches(client_core_publisher(r->core, r->watched)), 0);
    ck_assert_uint_eq(publisher_next_number(client_core_publisher(r->core, r->watched)), 7);
    rig_free(r);
}
END_TEST

START_TEST(a_fork_of_what_was_stable_stops_the_client)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    struct machine *m = rig_add(r, &tally_app, "0", NULL);
    for (int i = 0; i < 8; i++)
        rig_say(r, "/count", "x");
    rig_run(r);
    rig_fork(r, rig_tip(r) - 3);
    rig_say(r, "/count", "y");
    rig_run_until(r, NULL, MS, 50);
    ck_assert_int_eq(client_core_status(r->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(r->core), "was stable"));
    ck_assert_uint_eq(((struct tally *)machine_state(m))->count, 8);
    rig_free(r);
}
END_TEST

START_TEST(a_fork_above_until_seq_changes_nothing_and_one_below_rebuilds)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    r->leader.hold_stable = true;
    r->options.until_seq = 8;
    rig_restart(r);
    struct machine *m = rig_add(r, &tally_app, "0", NULL);
    for (int i = 0; i < 10; i++)
        rig_say(r, "/count", "x");
    rig_run(r);
    ck_assert_int_eq(client_core_status(r->core), CANTUS_END);
    uint64_t digest = machine_digest(m);
    rig_fork(r, 9);
    rig_run_until(r, NULL, MS, 20);
    ck_assert_int_eq(client_core_status(r->core), CANTUS_END);
    ck_assert_uint_eq(machine_digest(m), digest);
    ck_assert_ptr_null(rig_reported(r, CANTUS_REPORT_FORKED));
    rig_fork(r, 6);
    rig_run_until(r, NULL, MS, 20);
    ck_assert_ptr_nonnull(rig_reported(r, CANTUS_REPORT_FORKED));
    ck_assert_int_eq(client_core_status(r->core), CANTUS_OK); /* 7 is the epoch's record */
    rig_say(r, "/count", "y");
    rig_say(r, "/count", "y");
    rig_run_until(r, NULL, MS, 20);
    ck_assert_int_eq(client_core_status(r->core), CANTUS_END);
    ck_assert_uint_eq(client_core_seq(r->core), 8);
    ck_assert_uint_eq(((struct tally *)machine_state(m))->count, 3);
    rig_free(r);
}
END_TEST

START_TEST(hints_for_humans_are_reported_but_not_over_and_over)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    r->watched = rig_add(r, &tally_app, "1", "me");
    leader_deliver(r);
    rig_step(r);
    for (int i = 0; i < 100; i++) {
        rig_hint(r, (struct hint) { .reason = HINT_PAUSED });
        r->now.mono_ns += MS;
    }
    ck_assert_uint_eq(r->report_count, 1);
    ck_assert_int_eq(r->reports[0].r.kind, CANTUS_REPORT_HINT);
    ck_assert_ptr_nonnull(strstr(r->reports[0].text, "paused"));
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("core");
    TCase *t = tcase_create("core");
    tcase_add_test(t, a_subscription_sees_its_subtree_in_order);
    tcase_add_test(t, one_wanted_among_many_is_seen);
    tcase_add_test(t, sys_is_seen_by_who_asks_for_it);
    tcase_add_test(t, runs_arrive_whole_and_voided_ones_not_at_all);
    tcase_add_test(t, nothing_is_delivered_above_until_seq);
    tcase_add_test(t, a_stream_of_another_protocol_is_not_followed);
    tcase_add_test(t, batches_can_be_applied_offline_if_they_follow);
    tcase_add_test(t, additions_are_checked);
    tcase_add_test(t, timers_fire_before_the_first_message_stamped_then_or_later);
    tcase_add_test(t, a_fork_rebuilds_the_apps_and_hands_nothing_over_twice);
    tcase_add_test(t, an_app_decides_again_after_a_fork);
    tcase_add_test(t, a_fork_of_what_was_stable_stops_the_client);
    tcase_add_test(t, a_fork_above_until_seq_changes_nothing_and_one_below_rebuilds);
    tcase_add_test(t, hints_for_humans_are_reported_but_not_over_and_over);
    suite_add_tcase(s, t);
    return suite_main(s);
}
