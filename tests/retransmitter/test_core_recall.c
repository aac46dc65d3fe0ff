/* Runs, and what a store is told that it has said: one that was restored from an older copy of its
 * disk gives up its vote for good, one that was merely started again goes on, and a late word about
 * another run is nothing to it. The older copy is a copy of the disk in memory. */
#include "rig.h"

static const struct epoch FIRST = { 11, 1 };
static const struct epoch SECOND = { 22, 2 };

static struct rig *rig_of_run(uint64_t run)
{
    struct rig *rig = rig_new(3);
    rig_crash(rig);
    rig->journal_options.run = run;
    rig_start(rig);
    rig_settle(rig);
    return rig;
}

static void start_again(struct rig *rig, uint64_t run)
{
    rig_crash(rig);
    rig->journal_options.run = run;
    rig_start(rig);
    rig_settle(rig);
}

static void tell(struct rig *rig, uint64_t store, uint64_t run, struct epoch epoch,
                 struct word said)
{
    const struct recall r = { .store = store, .run = run, .epoch = epoch, .said = said };
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = recall_encode(&r, RIG_STREAM, bytes, sizeof bytes);
    ck_assert_uint_gt(length, 0);
    rig_receive(rig, PORT_UNICAST, RIG_LEADER, bytes, (uint32_t)length);
    rig_settle(rig);
}

START_TEST(a_run_begins_with_what_is_there)
{
    struct rig *rig = rig_of_run(5);
    struct leader l = leader_of(rig, FIRST);
    rig_begin(rig, &l);
    rig_batches(rig, &l, 3, 1, 10);
    struct ack ack;
    ck_assert(rig_last_ack(rig, &ack));
    ck_assert_uint_eq(ack.run.id, 5);
    ck_assert_uint_eq(ack.run.base.tail.seq, 1);
    ck_assert(!ack.settled);
    /* Nobody has accepted it: the next start goes on with it. */
    start_again(rig, 6);
    ck_assert_uint_eq(journal_run(rig->journal).id, 5);
    struct word now = journal_word(rig->journal);
    tell(rig, RIG_STORE, 5, SECOND, now); /* by another leader than that of its epoch */
    ck_assert(!journal_settled(rig->journal));
    tell(rig, RIG_STORE, 5, FIRST, now);
    ck_assert(journal_settled(rig->journal));
    start_again(rig, 7);
    ck_assert_uint_eq(journal_run(rig->journal).id, 7);
    ck_assert_uint_eq(journal_run(rig->journal).base.tail.seq, now.tail.seq);
    /* Accepted by one leader is not accepted by the next. */
    tell(rig, RIG_STORE, 7, FIRST, now);
    ck_assert(journal_settled(rig->journal));
    rig_seal(rig, SECOND, false);
    rig_settle(rig);
    ck_assert(!journal_settled(rig->journal));
    start_again(rig, 8);
    ck_assert_uint_eq(journal_run(rig->journal).id, 7);
    rig_free(rig);
}
END_TEST

START_TEST(who_forgot_gives_up_its_vote)
{
    struct rig *rig = rig_of_run(5);
    struct leader l = leader_of(rig, FIRST);
    rig_begin(rig, &l);
    rig_batches(rig, &l, 3, 1, 10);
    struct word base = journal_run(rig->journal).base;
    struct word more = base;
    if (_i == 0)
        more.tail.seq++; /* acknowledged in epoch 0, of which it promised */
    else
        more.promised = SECOND;
    rig_forget(rig);
    tell(rig, RIG_STORE, 4, (struct epoch) { 0 }, more);
    ck_assert(journal_restored(rig->journal));
    ck_assert_uint_eq(rig_counter(rig, COUNTER_STORE_RESTORED), 1);
    char text[RETRANSMITTER_STATE_MAX + 1];
    ck_assert_str_eq(retransmitter_state(rig->core, text), "restored from a copy, re-format it");
    ck_assert_int_eq(position_compare(retransmitter_recalled(rig->core).tail, more.tail), 0);
    rig_batches(rig, &l, 3, 1, 10);
    rig_pass(rig, RIG_SECOND);
    ck_assert_uint_eq(rig_count(rig, WIRE_ACK), 0);
    rig_seal(rig, SECOND, false);
    rig_settle(rig);
    struct promise p;
    ck_assert(rig_last_promise(rig, &p) && !p.proven);
    start_again(rig, 6); /* for good */
    ck_assert(rig->report.restored && rig->report.may_have_lost);
    rig_free(rig);
}
END_TEST

START_TEST(what_is_nothing_to_it)
{
    struct rig *rig = rig_of_run(5);
    struct leader l = leader_of(rig, FIRST);
    rig_begin(rig, &l);
    rig_batches(rig, &l, 3, 1, 10);
    struct word now = journal_word(rig->journal), base = journal_run(rig->journal).base;
    struct word more = now;
    more.tail.seq += 100;
    tell(rig, RIG_STORE + 1, 4, FIRST, more);            /* another's */
    tell(rig, RIG_STORE, 4, (struct epoch) { 0 }, base); /* said before this run */
    tell(rig, RIG_STORE, 5, (struct epoch) { 0 }, now);  /* by itself */
    uint8_t bytes[SIGNAL_SIZE_MAX];
    const struct recall r = { .store = RIG_STORE, .run = 4, .said = more };
    size_t length = recall_encode(&r, RIG_STREAM, bytes, sizeof bytes);
    for (size_t cut = 0; cut < length; cut++) /* damaged */
        rig_receive(rig, PORT_UNICAST, RIG_LEADER, bytes, (uint32_t)cut);
    rig_settle(rig);
    ck_assert(!journal_restored(rig->journal));
    /* But of its own run it has said no more than it has: its memory was rolled back. */
    tell(rig, RIG_STORE, 5, (struct epoch) { 0 }, more);
    ck_assert(journal_restored(rig->journal));
    rig_free(rig);
}
END_TEST

/* The disk refuses for a while: the vote is gone at once, and durably as soon as it can be. */
START_TEST(given_up_on_a_slow_disk)
{
    struct rig *rig = rig_of_run(5);
    struct word more = journal_run(rig->journal).base;
    more.promised = SECOND;
    rig->disk.hold = true;
    rig_seal(rig, FIRST, false); /* a promise is on its way */
    tell(rig, RIG_STORE, 4, (struct epoch) { 0 }, more);
    ck_assert(journal_restored(rig->journal) && !journal_proven(rig->journal));
    rig->disk.hold = false;
    rig_settle(rig);
    start_again(rig, 6);
    ck_assert(rig->report.restored);
    ck_assert(epoch_equal(journal_promised(rig->journal), FIRST));
    rig_free(rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("retransmitter_recall");
    TCase *tcase = tcase_create("retransmitter_recall");
    tcase_add_test(tcase, a_run_begins_with_what_is_there);
    tcase_add_loop_test(tcase, who_forgot_gives_up_its_vote, 0, 2);
    tcase_add_test(tcase, what_is_nothing_to_it);
    tcase_add_test(tcase, given_up_on_a_slow_disk);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
