/* Goal: a change of the membership is sequenced only under the rules of the design, one at a time,
 * and counts from its append: each rule is broken in turn. */
#include "tests/sequencer/suite.h"

static void change(struct suite *t, enum command_kind kind, uint64_t store)
{
    struct command c = { .kind = kind, .store = store };
    suite_command(t, 7, &c);
}

static void check_refused(struct suite *t, const char *because)
{
    struct outcome outcome = suite_outcome(t);
    ck_assert_int_eq(outcome.verdict, OUTCOME_REFUSED);
    ck_assert_msg(strstr(outcome.text, because) != NULL, "\"%s\" does not say \"%s\"", outcome.text,
                  because);
}

static void check_done(struct suite *t, uint32_t members)
{
    struct outcome outcome = suite_outcome(t);
    ck_assert_msg(outcome.verdict == OUTCOME_DONE, "%s", outcome.text);
    const struct message *m = suite_message(t, outcome.seq);
    struct membership record;
    ck_assert_uint_eq(m->topic, TOPIC_MEMBER);
    ck_assert(sys_member_decode(m->payload, m->length, &record));
    ck_assert_uint_eq(record.seq, outcome.seq);
    ck_assert_uint_eq(record.count, members);
    ck_assert_uint_eq(record.quorum, t->quorum);
    ck_assert_uint_eq(catalog_members(sequencer_catalog(t->core))->count, members);
}

static void ack_all(struct suite *t, uint64_t first, uint64_t last)
{
    for (uint64_t store = first; store <= last; store++)
        suite_ack(t, store, t->tip);
    suite_run(t);
}

static struct suite *leader(uint32_t stores, uint32_t quorum)
{
    struct suite *t = suite_new();
    t->quorum = quorum;
    suite_lead(t, stores);
    return t;
}

START_TEST(a_store_is_added_and_votes)
{
    struct suite *t = leader(3, 0);
    ack_all(t, 1, 4);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_done(t, 4);
    ck_assert_uint_lt(sequencer_stable(t->core), t->tip);
    ack_all(t, 1, 2); /* two of four are not enough */
    ck_assert_uint_lt(sequencer_stable(t->core), t->tip);
    ack_all(t, 4, 4);
    ck_assert_uint_eq(sequencer_stable(t->core), t->tip);
    ck_assert_uint_eq(suite_counter(t, COUNTER_MEMBER_CHANGES), 1);
    suite_free(t);
}
END_TEST

/* W of three: with the third one lost nothing is stable, until it is no longer a member. */
START_TEST(a_lost_store_is_removed)
{
    struct suite *t = leader(3, 3);
    ack_all(t, 1, 2);
    ck_assert_uint_lt(sequencer_stable(t->core), t->tip);
    uint64_t tip = t->tip;
    change(t, COMMAND_MEMBER_REMOVE, 3);
    check_done(t, 2);
    ck_assert_uint_eq(sequencer_stable(t->core), tip); /* counts from its append */
    ack_all(t, 1, 2);
    ck_assert_uint_eq(sequencer_stable(t->core), t->tip);
    suite_free(t);
}
END_TEST

START_TEST(this_epochs_record_must_be_on_a_majority)
{
    struct suite *t = leader(3, 0);
    ack_all(t, 4, 4);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_refused(t, "this epoch's record");
    ack_all(t, 1, 1);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_refused(t, "not yet on a majority of the 3 members");
    struct ack old = suite_ack_of(t, 2, 1); /* the genesis record is of an older epoch */
    suite_give_ack(t, &old);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_refused(t, "not yet on a majority");
    ack_all(t, 2, 2);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_done(t, 4);
    suite_free(t);
}
END_TEST

START_TEST(the_previous_change_must_be_on_a_majority)
{
    struct suite *t = leader(3, 0);
    ack_all(t, 1, 5);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_done(t, 4);
    change(t, COMMAND_MEMBER_ADD, 5);
    check_refused(t, "the previous change");
    ack_all(t, 1, 2);
    change(t, COMMAND_MEMBER_ADD, 5);
    check_refused(t, "the previous change"); /* two of four */
    ack_all(t, 4, 4);
    change(t, COMMAND_MEMBER_ADD, 5);
    check_done(t, 5);
    suite_free(t);
}
END_TEST

START_TEST(who_is_added_must_be_able_to_vote)
{
    struct suite *t = leader(3, 0);
    ack_all(t, 1, 3);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_refused(t, "has not been heard");
    struct ack a = suite_ack_of(t, 4, 1);
    suite_give_ack(t, &a);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_refused(t, "of an older epoch");
    a = suite_ack_of(t, 4, t->tip);
    a.digest.low ^= 1; /* another history */
    a.tail.seq = t->tip;
    uint32_t publisher = suite_join(t, "alice"); /* above stable */
    ck_assert_uint_gt(publisher, 0);
    a.tail.seq = t->tip;
    suite_give_ack(t, &a);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_refused(t, "store 0000000000000004 is at seq");
    a = suite_ack_of(t, 4, t->tip);
    a.full = true;
    suite_give_ack(t, &a);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_refused(t, "full disk");
    suite_ack(t, 4, t->tip);
    suite_advance(t, 3 * SECOND);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_refused(t, "last heard 3000 ms ago");
    suite_ack(t, 4, t->tip);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_done(t, 4);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_refused(t, "a member already");
    suite_free(t);
}
END_TEST

START_TEST(who_stays_must_be_able_to_go_on)
{
    struct suite *t = leader(3, 0);
    ack_all(t, 1, 2);
    change(t, COMMAND_MEMBER_REMOVE, 1);
    check_refused(t, "only 1 of the 2 stores that would stay are recording, and 2 are needed");
    change(t, COMMAND_MEMBER_REMOVE, 9);
    check_refused(t, "not a member");
    ack_all(t, 3, 3);
    change(t, COMMAND_MEMBER_REMOVE, 1);
    check_done(t, 2);
    ack_all(t, 2, 3);
    ck_assert_uint_eq(sequencer_stable(t->core), t->tip);
    change(t, COMMAND_MEMBER_REMOVE, 2);
    check_done(t, 1);
    ack_all(t, 3, 3);
    ck_assert_uint_eq(sequencer_stable(t->core), t->tip);
    change(t, COMMAND_MEMBER_REMOVE, 3);
    check_refused(t, "the last member");
    suite_free(t);
}
END_TEST

START_TEST(a_quorum_below_a_majority_fixes_the_membership)
{
    struct suite *t = leader(3, 1);
    ack_all(t, 1, 4);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_refused(t, "fixes the membership");
    change(t, COMMAND_MEMBER_REMOVE, 1);
    check_refused(t, "fixes the membership");
    suite_free(t);

    t = leader(3, 2); /* two is a majority of three, but not of four */
    ack_all(t, 1, 4);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_refused(t, "would be below a majority of 4");
    change(t, COMMAND_MEMBER_REMOVE, 3);
    check_done(t, 2);
    suite_free(t);
}
END_TEST

START_TEST(there_are_so_many_at_most)
{
    struct suite *t = leader(MEMBERS_MAX, 0);
    ack_all(t, 1, MEMBERS_MAX + 1);
    change(t, COMMAND_MEMBER_ADD, MEMBERS_MAX + 1);
    check_refused(t, "which is the most");
    suite_free(t);
}
END_TEST

START_TEST(a_volatile_stream_has_no_members)
{
    struct suite *t = suite_new();
    suite_volatile(t);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_refused(t, "without stores");
    suite_free(t);
}
END_TEST

/* The way out of a full ring: nothing is stable, until the one that is lost is removed. */
START_TEST(a_full_ring_lets_it_through)
{
    struct suite *t = suite_new();
    t->quorum = 3;
    t->options.ring_bytes = 1;
    t->options.pace_bytes = UINT64_C(1) << 40;
    suite_lead(t, 3);
    uint32_t publisher = suite_join(t, "alice");
    uint32_t topic = suite_topic(t, publisher, "/t");
    for (uint64_t n = 1; n <= 100; n++) {
        suite_propose(t, publisher, n, topic, 8);
        suite_run(t);
    }
    ck_assert(sequencer_paused(t->core));
    uint64_t tip = t->tip;
    ack_all(t, 1, 2);
    ck_assert(sequencer_paused(t->core));
    change(t, COMMAND_MEMBER_REMOVE, 3);
    check_done(t, 2);
    suite_run(t);
    ck_assert_uint_ge(sequencer_stable(t->core), tip);
    ck_assert(!sequencer_paused(t->core));
    ck_assert_uint_gt(t->tip, tip + 10);
    suite_free(t);
}
END_TEST

/* The next epoch seals the membership that this one left. */
START_TEST(the_change_lasts)
{
    struct suite *t = leader(3, 0);
    ack_all(t, 1, 4);
    change(t, COMMAND_MEMBER_ADD, 4);
    check_done(t, 4);
    suite_restart(t, t->tip);
    suite_elect(t, 3);
    ck_assert(membership_has(catalog_members(sequencer_catalog(t->core)), 4));
    suite_free(t);
}
END_TEST

SUITE_MAIN("sequencer_member", a_store_is_added_and_votes, a_lost_store_is_removed,
           this_epochs_record_must_be_on_a_majority, the_previous_change_must_be_on_a_majority,
           who_is_added_must_be_able_to_vote, who_stays_must_be_able_to_go_on,
           a_quorum_below_a_majority_fixes_the_membership, there_are_so_many_at_most,
           a_volatile_stream_has_no_members, a_full_ring_lets_it_through, the_change_lasts)
