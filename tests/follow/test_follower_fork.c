/* Epochs: what a follower does when the leader changes, and the new one's history is longer,
 * shorter or other than its own. `old` is the history of the first leader, `new` that of the
 * second, which adopted only a part of it. Each way of finding out is tried alone: by the epoch
 * record, by a later batch, by a heartbeat, by a fill. */
#include <check.h>
#include <stdlib.h>

#include "rig.h"

enum { COMMON = 8 };
static struct history *old;
static struct history *new;
static struct rig *r;

static void setup_level(enum follower_level level)
{
    struct follower_options o = rig_options(level, 2, false);
    r = rig_new(&o);
    old = history_new();
    history_begin(old, 1);
    for (uint32_t i = 0; i < 12; i++)
        history_write(old, 1 + i % 3);
    new = history_copy(old);
    history_cut(new, COMMON);
    history_begin(new, 2);
    for (uint32_t i = 0; i < 10; i++)
        history_write(new, 1 + i % 2);
}

static void setup(void)
{
    setup_level(FOLLOWER_SEQUENCED);
}

static void teardown(void)
{
    rig_free(r);
    free(old);
    free(new);
}

static uint64_t fork_seq(void)
{
    return new->batches[COMMON].header.first_seq;
}

static void expect_fork_at_common_end(void)
{
    ck_assert_uint_eq(r->forks, 1);
    ck_assert_uint_eq(r->counters[COUNTER_FORKS], 1);
    ck_assert_uint_eq(r->forked_seq, fork_seq());
}

static void expect_fork(void)
{
    expect_fork_at_common_end();
    ck_assert(epoch_equal(r->forked_by, new->epoch));
}

START_TEST(a_new_epoch_continues)
{
    rig_batches(r, new, 0, new->count);
    ck_assert(rig_has(r, new, new->count));
    ck_assert_uint_eq(r->forks, 0);
    ck_assert_uint_eq(follower_epochs(r->follower)->count, 3);
    ck_assert(epoch_equal(follower_heard(r->follower), new->epoch));
}
END_TEST

START_TEST(the_record_itself_cuts)
{
    rig_batches(r, old, 0, old->count);
    rig_batches(r, new, COMMON, new->count);
    expect_fork();
    ck_assert(rig_has(r, new, new->count));
    ck_assert(follower_settled(r->follower));
}
END_TEST

START_TEST(the_record_cuts_a_chain_that_ends_where_it_begins)
{
    /* Our old tail ends exactly where the new history's record begins plus one batch. */
    rig_batches(r, old, 0, COMMON);
    rig_batch(r, new, COMMON);
    ck_assert_uint_eq(r->forks, 0);
    ck_assert(rig_has(r, new, COMMON + 1));
}
END_TEST

START_TEST(a_later_batch_finds_the_fork_and_the_record_is_fetched)
{
    rig_batches(r, old, 0, old->count);
    rig_batches(r, new, COMMON + 3, new->count);
    rig_heartbeat(r, new, new->count);
    ck_assert(!follower_settled(r->follower));
    ck_assert(rig_heal(r, new));
    expect_fork();
    ck_assert(rig_has(r, new, new->count));
    ck_assert(follower_settled(r->follower));
}
END_TEST

START_TEST(a_heartbeat_alone_finds_the_fork)
{
    for (uint32_t upto = COMMON + 1; upto <= new->count; upto++) {
        teardown();
        setup();
        rig_batches(r, old, 0, old->count);
        rig_heartbeat(r, new, upto);
        ck_assert(!follower_settled(r->follower));
        rig_step(r);
        ck_assert_uint_gt(r->port.sent_count, 0);
        ck_assert_uint_eq(rig_request(r, 0).first_seq, fork_seq());
        ck_assert_uint_eq(rig_request(r, 0).end_seq, fork_seq() + 1);
        ck_assert(rig_heal(r, new));
        expect_fork();
        ck_assert(r->delivered_count >= upto);
        rig_batches(r, new, upto, new->count);
        ck_assert(rig_heal(r, new));
        ck_assert(rig_has(r, new, new->count));
    }
}
END_TEST

START_TEST(nothing_of_the_dead_tail_is_delivered_once_the_epoch_is_heard)
{
    rig_batches(r, old, 0, COMMON - 2);
    rig_heartbeat(r, new, new->count);
    /* A store that knows nothing of it answers with its dead tail. */
    for (uint32_t i = COMMON - 2; i < old->count; i++)
        rig_fill(r, old, i);
    for (uint32_t i = 0; i < r->delivered_count; i++)
        ck_assert(digest_equal(r->delivered[i].digest, new->batches[i].header.digest));
    ck_assert_uint_le(r->delivered_count, COMMON);
    ck_assert(rig_heal(r, new));
    ck_assert_uint_eq(r->forks, 0);
    ck_assert(rig_has(r, new, new->count));
}
END_TEST

START_TEST(a_dead_fill_below_a_third_epoch_is_found_out)
{
    /* The heard epoch begins far above; of the two below, the dead one fills first. */
    struct history *third = history_copy(new);
    history_begin(third, 3);
    history_write(third, 2);
    history_write(third, 2);
    rig_batches(r, old, 0, COMMON - 2);
    rig_heartbeat(r, third, third->count);
    for (uint32_t i = COMMON - 2; i < COMMON + 2; i++)
        rig_fill(r, old, i);
    ck_assert_uint_eq(r->delivered_count, COMMON - 2);
    ck_assert(rig_heal(r, third));
    ck_assert(rig_has(r, third, third->count));
    ck_assert_uint_eq(r->forks, 0);
    free(third);
}
END_TEST

START_TEST(a_batch_of_an_older_epoch_is_stale_once_its_end_is_known)
{
    rig_batches(r, new, 0, COMMON + 1);
    uint64_t stale = r->counters[COUNTER_STALE_IN];
    rig_batches(r, old, COMMON, old->count);
    rig_heartbeat(r, old, old->count);
    ck_assert_uint_eq(r->counters[COUNTER_STALE_IN], stale + old->count - COMMON);
    ck_assert(epoch_equal(follower_heard(r->follower), new->epoch));
    ck_assert_uint_eq(rig_step(r), PORT_NEVER);
    ck_assert(rig_has(r, new, COMMON + 1));
}
END_TEST

START_TEST(an_old_epoch_extends_but_never_vouches)
{
    rig_batches(r, old, 0, 4);
    follower_hear_epoch(r->follower, (struct epoch) { .number = 9, .candidate = 1 });
    rig_batches(r, old, 4, old->count);
    ck_assert(rig_has(r, old, 4));
    ck_assert(!follower_settled(r->follower));
    ck_assert_uint_eq(follower_vouched_next(r->follower), 1);
    ck_assert_uint_eq(follower_goal_next(r->follower), 1);
    ck_assert_uint_eq(follower_leader_heard_ns(r->follower), 0);
    follower_hear_epoch(r->follower, old->epoch);
    ck_assert_uint_eq(follower_heard(r->follower).number, 9);
    /* The leader of that epoch appears, and continues from where they all ended. */
    history_begin(old, 10);
    rig_batch(r, old, old->count - 1);
    ck_assert(rig_has(r, old, old->count));
}
END_TEST

START_TEST(stable_watermarks_do_not_cross_epochs)
{
    teardown();
    setup_level(FOLLOWER_STABLE);
    uint64_t stable = old->batches[COMMON - 1].header.first_seq - 1;
    old->stable = stable;
    rig_batches(r, old, 0, old->count);
    rig_heartbeat(r, old, old->count);
    ck_assert(rig_has(r, old, COMMON - 1));
    rig_batches(r, new, COMMON, new->count);
    rig_heartbeat(r, new, new->count);
    ck_assert(rig_has(r, old, COMMON - 1));
    ck_assert_uint_eq(r->forks, 0); /* the dead tail was never delivered */
    new->stable = new->next_seq - 1;
    rig_heartbeat(r, new, new->count);
    ck_assert(rig_has(r, new, new->count));
}
END_TEST

START_TEST(restart_inside_forked)
{
    rig_batches(r, old, 0, old->count);
    r->restart_in_forked = true;
    rig_batch(r, new, COMMON);
    ck_assert_uint_eq(r->forks, 1);
    ck_assert_uint_eq(follower_next(r->follower), 1);
    ck_assert(epoch_equal(follower_heard(r->follower), new->epoch));
    rig_heartbeat(r, new, new->count);
    ck_assert(rig_heal(r, new));
    ck_assert(rig_has(r, new, new->count));
}
END_TEST

/* Twice as many epochs as a record lists lie between us and the heard one: records are read back
 * until one reaches a shared epoch. */
START_TEST(short_records_are_read_back)
{
    rig_batches(r, old, 0, old->count);
    for (uint32_t number = 3; number < 13; number++) {
        history_begin_short(new, number, 3);
        history_write(new, 2);
    }
    rig_heartbeat(r, new, new->count);
    ck_assert(rig_heal(r, new));
    expect_fork();
    ck_assert(rig_has(r, new, new->count));
}
END_TEST

START_TEST(a_new_follower_needs_no_fork)
{
    rig_heartbeat(r, new, new->count);
    ck_assert(rig_heal(r, new));
    ck_assert(rig_has(r, new, new->count));
    ck_assert_uint_eq(r->forks, 0);
}
END_TEST

START_TEST(two_leaders_of_one_epoch_never_make_a_cut)
{
    /* Impossible by the seal; if it happens all the same, nothing is torn down for it. */
    struct history *twin = history_copy(old);
    history_cut(twin, COMMON);
    history_write(twin, 5);
    rig_batches(r, old, 0, COMMON + 2);
    rig_batches(r, twin, COMMON, twin->count);
    rig_heartbeat(r, twin, twin->count);
    for (uint32_t i = 0; i < 20; i++)
        rig_step(r);
    ck_assert_uint_eq(r->forks, 0);
    ck_assert(rig_has(r, old, COMMON + 2));
    free(twin);
}
END_TEST

/* ---- candidates ------------------------------------------------------------------------------ */

static const struct epoch candidate = { .number = 5, .candidate = 55 };

static void adopt(const struct history *h)
{
    struct follower_source source = { .unicast = rig_source_udp(7) };
    follower_adopt(r->follower, candidate, (struct position) { h->epoch, h->next_seq - 1 },
                   h->digest, source);
}

START_TEST(adopts_its_own_tail)
{
    rig_batches(r, old, 0, old->count);
    adopt(old);
    ck_assert(follower_caught_up(r->follower) && follower_settled(r->follower));
    ck_assert_uint_eq(follower_vouched_next(r->follower), old->next_seq);
    ck_assert(epoch_equal(follower_heard(r->follower), candidate));
    ck_assert_uint_eq(r->forks, 0);
}
END_TEST

START_TEST(adopts_a_longer_tail)
{
    rig_batches(r, old, 0, 5);
    adopt(old);
    ck_assert(!follower_caught_up(r->follower));
    rig_pass(r, 20 * RIG_MICROSECOND);
    ck_assert_uint_eq(r->port.sent_count, 1);
    ck_assert(port_addr_equal(r->port.sent[0].to, rig_source_udp(7)));
    ck_assert(epoch_equal(rig_request(r, 0).epoch, candidate));
    ck_assert(rig_heal(r, old));
    ck_assert(rig_has(r, old, old->count));
    ck_assert(follower_caught_up(r->follower));
}
END_TEST

START_TEST(adopts_a_shorter_tail)
{
    rig_batches(r, old, 0, old->count);
    struct history *shorter = history_copy(old);
    history_cut(shorter, COMMON);
    adopt(shorter);
    ck_assert_uint_eq(r->forks, 1);
    ck_assert_uint_eq(r->forked_seq, shorter->next_seq);
    ck_assert(rig_has(r, shorter, COMMON));
    ck_assert(follower_caught_up(r->follower));
    free(shorter);
}
END_TEST

START_TEST(adopts_another_history_from_the_beginning)
{
    rig_batches(r, old, 0, old->count);
    adopt(new);
    ck_assert(rig_heal(r, new));
    ck_assert(rig_has(r, new, new->count));
    ck_assert(follower_caught_up(r->follower));
    ck_assert_uint_eq(r->forks, 1);
    ck_assert(epoch_equal(r->forked_by, candidate));
}
END_TEST

/* A standby that has heard the tail's epoch knows where its record is, or even what is in it. */
START_TEST(adopts_another_history_by_its_record)
{
    for (uint32_t known = 0; known < 2; known++) {
        teardown();
        setup();
        rig_batches(r, old, 0, old->count);
        rig_heartbeat(r, new, new->count - 1); /* and then nothing more of that leader's */
        if (known == 1)
            rig_batch(r, new, COMMON);
        adopt(new);
        ck_assert(rig_heal(r, new));
        ck_assert(rig_has(r, new, new->count));
        ck_assert(follower_caught_up(r->follower));
        expect_fork_at_common_end();
    }
}
END_TEST

START_TEST(adopts_across_an_epoch)
{
    rig_batches(r, new, 0, 5);
    adopt(new);
    ck_assert(rig_heal(r, new));
    ck_assert(rig_has(r, new, new->count));
    ck_assert_uint_eq(r->forks, 0);
}
END_TEST

START_TEST(an_adopted_tail_ends_the_history)
{
    struct history *shorter = history_copy(old);
    history_cut(shorter, COMMON);
    adopt(shorter);
    for (uint32_t i = 0; i < old->count; i++)
        rig_fill(r, old, i);
    ck_assert(rig_has(r, shorter, COMMON));
    free(shorter);
}
END_TEST

START_TEST(an_adoption_of_the_past_is_ignored)
{
    rig_batches(r, new, 0, new->count);
    struct follower_source source = { .unicast = rig_source_udp(7) };
    follower_adopt(r->follower, old->epoch, (struct position) { old->epoch, old->next_seq - 1 },
                   old->digest, source);
    ck_assert(rig_has(r, new, new->count));
    ck_assert(epoch_equal(follower_heard(r->follower), new->epoch));
}
END_TEST

START_TEST(another_tail_for_the_same_candidate)
{
    rig_batches(r, old, 0, 4);
    adopt(new); /* can't be had */
    rig_pass(r, RIG_MILLISECOND);
    rig_forget_sent(r);
    adopt(old);
    ck_assert(rig_heal(r, old));
    ck_assert(rig_has(r, old, old->count));
    ck_assert(follower_caught_up(r->follower));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("follower_fork");
    TCase *t = tcase_create("epochs");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_new_epoch_continues);
    tcase_add_test(t, the_record_itself_cuts);
    tcase_add_test(t, the_record_cuts_a_chain_that_ends_where_it_begins);
    tcase_add_test(t, a_later_batch_finds_the_fork_and_the_record_is_fetched);
    tcase_add_test(t, a_heartbeat_alone_finds_the_fork);
    tcase_add_test(t, nothing_of_the_dead_tail_is_delivered_once_the_epoch_is_heard);
    tcase_add_test(t, a_dead_fill_below_a_third_epoch_is_found_out);
    tcase_add_test(t, a_batch_of_an_older_epoch_is_stale_once_its_end_is_known);
    tcase_add_test(t, an_old_epoch_extends_but_never_vouches);
    tcase_add_test(t, stable_watermarks_do_not_cross_epochs);
    tcase_add_test(t, restart_inside_forked);
    tcase_add_test(t, short_records_are_read_back);
    tcase_add_test(t, a_new_follower_needs_no_fork);
    tcase_add_test(t, two_leaders_of_one_epoch_never_make_a_cut);
    suite_add_tcase(s, t);
    t = tcase_create("candidates");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, adopts_its_own_tail);
    tcase_add_test(t, adopts_a_longer_tail);
    tcase_add_test(t, adopts_a_shorter_tail);
    tcase_add_test(t, adopts_another_history_from_the_beginning);
    tcase_add_test(t, adopts_another_history_by_its_record);
    tcase_add_test(t, adopts_across_an_epoch);
    tcase_add_test(t, an_adopted_tail_ends_the_history);
    tcase_add_test(t, an_adoption_of_the_past_is_ignored);
    tcase_add_test(t, another_tail_for_the_same_candidate);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
