/* Goal: a standby is where the stream is, and nothing that happens to it costs a replay: not a fork,
 * not being fenced, not a promotion. What a history was is scripted by a first core that leads; the
 * core under test then follows it, and rivals begin epochs behind any message of it. That nothing
 * was fetched is seen in that it never asked. */
#include "tests/sequencer/suite.h"

struct fixture {
    struct suite *t;
    uint32_t publisher;
    uint32_t topic;
};

static void propose(struct fixture *f, uint64_t first, uint64_t last)
{
    for (uint64_t n = first; n <= last; n++) {
        suite_propose(f->t, f->publisher, n, f->topic, 16);
        suite_run(f->t);
    }
}

/* A leader that has sequenced `count` messages of one publisher, each in a batch of its own, of
 * which the last `unstable` are not stable. */
static struct fixture fixture_of(uint64_t count, uint64_t unstable)
{
    struct fixture f = { .t = suite_new() };
    suite_lead(f.t, 1);
    f.publisher = suite_join(f.t, "alice");
    f.topic = suite_topic(f.t, f.publisher, "/t");
    propose(&f, 1, count - unstable);
    suite_ack(f.t, 1, f.t->tip);
    suite_run(f.t);
    propose(&f, count - unstable + 1, count);
    return f;
}

static void check_once(const struct fixture *f, uint64_t last)
{
    uint64_t expected = 1;
    for (uint64_t seq = 1; seq <= f->t->tip; seq++) {
        const struct message *m = suite_message(f->t, seq);
        if (m->publisher == f->publisher)
            ck_assert_uint_eq(m->publisher_seq, expected++);
    }
    ck_assert_uint_eq(expected, last + 1);
}

static uint64_t next_of(const struct fixture *f)
{
    return ledger_next(sequencer_ledger(f->t->core), f->publisher);
}

static const char *state_of(const struct suite *t)
{
    static struct status status;
    sequencer_status(t->core, t->now, &status);
    return status.state;
}

/* What a sequencer that reads the history from its beginning makes of it. */
static void check_machines(const struct fixture *f)
{
    struct suite *t = f->t;
    uint64_t catalog = catalog_digest(sequencer_catalog(t->core));
    uint64_t ledger = ledger_digest(sequencer_ledger(t->core));
    suite_standby(t, t->tip);
    ck_assert_uint_eq(catalog, catalog_digest(sequencer_catalog(t->core)));
    ck_assert_uint_eq(ledger, ledger_digest(sequencer_ledger(t->core)));
}

/* ---- forks ----------------------------------------------------------------------------------- */

START_TEST(a_fork_goes_back_and_on)
{
    for (uint64_t back = 1; back <= 5; back++) {
        struct fixture f = fixture_of(10, 5);
        struct suite *t = f.t;
        uint64_t tip = t->tip;
        suite_standby(t, tip);
        suite_rival(t, tip - back, (struct epoch) { .number = 2, .candidate = 99 });
        suite_give_batch(t, t->tip);
        suite_step(t);
        ck_assert_uint_eq(sequencer_tip(t->core), t->tip);
        ck_assert(digest_equal(sequencer_digest(t->core), t->digest));
        ck_assert_uint_eq(next_of(&f), 11 - back);
        ck_assert_uint_eq(suite_counter(t, COUNTER_FORKS), 1);
        ck_assert_uint_eq(suite_counter(t, COUNTER_STANDBY_ROLLBACKS), 1);
        ck_assert_uint_eq(suite_asked(t), 0);
        check_machines(&f);
        suite_free(t);
    }
}
END_TEST

/* One fork after the other, each below the one before. */
START_TEST(forks_upon_forks)
{
    struct fixture f = fixture_of(20, 18);
    struct suite *t = f.t;
    uint64_t tip = t->tip;
    suite_standby(t, tip);
    for (uint32_t i = 1; i <= 6; i++) {
        suite_rival(t, tip - 2 * i, (struct epoch) { .number = 1 + i, .candidate = 99 });
        suite_give_batch(t, t->tip);
        suite_step(t);
        ck_assert_uint_eq(sequencer_tip(t->core), t->tip);
        ck_assert_uint_eq(next_of(&f), 21 - 2 * i);
    }
    ck_assert_uint_eq(suite_counter(t, COUNTER_STANDBY_ROLLBACKS), 6);
    ck_assert_uint_eq(suite_asked(t), 0);
    check_machines(&f);
    suite_free(t);
}
END_TEST

/* The base is bounded by the ring, whatever the watermark: a fork below it is followed anew. */
START_TEST(a_fork_below_the_base_is_followed_anew)
{
    struct suite *t = suite_new();
    t->options.ring_bytes = 1; /* the least: 64 slots */
    suite_lead(t, 1);
    struct fixture f = { .t = t };
    f.publisher = suite_join(t, "alice");
    f.topic = suite_topic(t, f.publisher, "/t");
    for (uint64_t n = 1; n <= 200; n++) {
        propose(&f, n, n);
        suite_ack(t, 1, t->tip);
    }
    uint64_t tip = t->tip;
    suite_standby(t, tip);
    suite_rival(t, tip - 100, (struct epoch) { .number = 2, .candidate = 99 });
    suite_give_batch(t, t->tip);
    suite_give_heartbeat(t, t->tip + 1, 0);
    for (int i = 0; i < 400 && sequencer_tip(t->core) != t->tip; i++) {
        suite_advance(t, MS);
        suite_serve(t);
    }
    ck_assert_uint_eq(sequencer_tip(t->core), t->tip);
    ck_assert_uint_eq(suite_counter(t, COUNTER_STANDBY_ROLLBACKS), 0);
    ck_assert_uint_eq(next_of(&f), 101);
    check_machines(&f);
    suite_free(t);
}
END_TEST

/* Longer than the ring, never stable as far as the standby knows, and still right. */
START_TEST(the_ring_of_a_standby_turns_over)
{
    struct fixture f = fixture_of(150, 150);
    struct suite *t = f.t;
    t->options.ring_bytes = 1;
    uint64_t tip = t->tip;
    suite_standby(t, tip);
    suite_rival(t, tip - 40, (struct epoch) { .number = 2, .candidate = 99 });
    suite_give_batch(t, t->tip);
    suite_step(t);
    ck_assert_uint_eq(next_of(&f), 111);
    ck_assert_uint_eq(suite_asked(t), 0);
    check_machines(&f);
    suite_free(t);
}
END_TEST

/* A rejected run's rest is rejected, unless the rejection itself is taken back. */
START_TEST(a_rejection_is_taken_back_too)
{
    struct suite *t = suite_new();
    t->options.run_bytes_max = 3000;
    suite_lead(t, 1);
    struct fixture f = { .t = t };
    f.publisher = suite_join(t, "alice");
    f.topic = suite_topic(t, f.publisher, "/t");
    uint64_t before = t->tip;
    struct offer o;
    for (uint64_t n = 1; n <= 4; n++) {
        offer_open(t, &o, f.publisher, n);
        offer_add(&o, f.topic, MESSAGE_MORE | MESSAGE_FRAGMENT, NULL, 1000);
        offer_give(t, &o);
    }
    suite_run(t);
    ck_assert_uint_eq(suite_rejected(t, f.publisher, 1).count, 4);
    suite_standby(t, t->tip);
    suite_rival(t, before, (struct epoch) { .number = 2, .candidate = 99 });
    suite_give_batch(t, t->tip);
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "");
    suite_elect(t, 1);
    offer_open(t, &o, f.publisher, 1); /* a run that is short enough */
    offer_add(&o, f.topic, MESSAGE_MORE, NULL, 100);
    offer_add(&o, f.topic, 0, NULL, 100);
    offer_give(t, &o);
    suite_run(t);
    ck_assert_uint_eq(suite_message(t, t->tip)->topic, f.topic);
    ck_assert_uint_eq(next_of(&f), 3);
    suite_free(t);
}
END_TEST

/* ---- fenced ---------------------------------------------------------------------------------- */

START_TEST(a_fenced_leader_stands_by_and_leads_again)
{
    struct fixture f = fixture_of(10, 5);
    struct suite *t = f.t;
    uint32_t asked = suite_asked(t);
    suite_rival(t, t->tip - 3, (struct epoch) { .number = 2, .candidate = 99 });
    suite_give_batch(t, t->tip);
    suite_step(t);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    ck_assert_uint_eq(suite_counter(t, COUNTER_FENCED), 1);
    ck_assert_str_eq(state_of(t), "following (fenced)");
    ck_assert_uint_eq(sequencer_tip(t->core), t->tip);
    ck_assert_uint_eq(next_of(&f), 8);
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "back again");
    suite_elect(t, 1);
    ck_assert_uint_eq(sequencer_epoch(t->core).number, 3);
    ck_assert_str_eq(state_of(t), "leading");
    ck_assert_uint_eq(suite_asked(t), asked);
    propose(&f, 6, 10);
    check_once(&f, 10);
    check_machines(&f);
    suite_free(t);
}
END_TEST

/* Fenced by a promise alone: the candidate never began, and our whole tail is adopted again. */
START_TEST(a_fenced_leader_keeps_what_nobody_took_back)
{
    struct fixture f = fixture_of(10, 5);
    struct suite *t = f.t;
    uint64_t tip = t->store_tip = t->tip;
    uint32_t asked = suite_asked(t);
    struct promise p = suite_promise(t, 1);
    p.promised = (struct epoch) { .number = 2, .candidate = 99 };
    suite_give_promise(t, &p);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "");
    suite_elect(t, 1);
    ck_assert_uint_eq(suite_message(t, tip + 1)->topic, TOPIC_EPOCH);
    ck_assert_uint_eq(suite_asked(t), asked);
    propose(&f, 9, 12);
    check_once(&f, 12);
    suite_free(t);
}
END_TEST

/* It never hears the record of the epoch that fenced it, and what is to be adopted ends lower. */
START_TEST(a_fenced_leader_goes_back_to_what_is_adopted)
{
    struct fixture f = fixture_of(10, 5);
    struct suite *t = f.t;
    struct promise p = suite_promise(t, 1);
    p.promised = (struct epoch) { .number = 2, .candidate = 99 };
    suite_give_promise(t, &p);
    suite_rival(t, t->tip - 4, (struct epoch) { .number = 2, .candidate = 99 });
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "");
    suite_elect(t, 1);
    ck_assert_uint_eq(next_of(&f), 7);
    propose(&f, 5, 10);
    check_once(&f, 10);
    check_machines(&f);
    suite_free(t);
}
END_TEST

/* ---- held proposals -------------------------------------------------------------------------- */

START_TEST(what_was_held_is_sequenced_at_once)
{
    struct fixture f = fixture_of(10, 0);
    struct suite *t = f.t;
    suite_standby(t, t->tip);
    uint32_t hints = t->hints;
    for (uint64_t n = 13; n >= 9; n--)
        suite_propose(t, f.publisher, n, f.topic, 16);
    suite_run(t);
    uint64_t tip = t->tip;
    ck_assert_uint_eq(t->hints, hints); /* it speaks for nobody */
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "");
    suite_step(t);
    struct promise p = suite_promise(t, 1);
    suite_give_promise(t, &p);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_LEADING);
    ck_assert_uint_eq(suite_message(t, tip + 1)->topic, TOPIC_EPOCH);
    ck_assert_uint_eq(t->tip, tip + 4); /* 11, 12, 13 in the same step */
    check_once(&f, 13);
    suite_free(t);
}
END_TEST

START_TEST(what_the_leader_sequences_is_held_no_longer)
{
    struct fixture f = fixture_of(20, 0);
    struct suite *t = f.t;
    uint64_t tip = t->tip;
    suite_standby(t, tip - 10);
    for (uint64_t n = 11; n <= 21; n++)
        suite_propose(t, f.publisher, n, f.topic, 16);
    for (uint64_t seq = tip - 9; seq <= tip;)
        seq = suite_give_batch(t, seq);
    suite_step(t);
    t->store_tip = tip;
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "");
    suite_elect(t, 1);
    check_once(&f, 21);
    ck_assert_uint_eq(suite_counter(t, COUNTER_PROPOSALS_DUPLICATE), 0);
    suite_free(t);
}
END_TEST

/* What answers a message that is no more is not sequenced, and does not stand in the way of what
 * its author decides instead. */
START_TEST(what_was_held_for_another_history_is_dropped)
{
    struct fixture f = fixture_of(10, 5);
    struct suite *t = f.t;
    struct offer answer;
    offer_open(t, &answer, f.publisher, 8);
    offer_add(&answer, f.topic, 0, "to what is gone", 15);
    suite_standby(t, t->tip);
    offer_give(t, &answer);
    suite_rival(t, t->tip - 3, (struct epoch) { .number = 2, .candidate = 99 });
    offer_give(t, &answer);
    suite_give_batch(t, t->tip);
    suite_step(t);
    offer_open(t, &answer, f.publisher, 8);
    offer_add(&answer, f.topic, 0, "otherwise", 9);
    offer_give(t, &answer);
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "");
    suite_elect(t, 1);
    check_once(&f, 8);
    ck_assert_mem_eq(suite_message(t, t->tip)->payload, "otherwise", 9);
    suite_free(t);
}
END_TEST

/* An incarnation that ended while we followed. */
START_TEST(what_was_held_of_an_older_incarnation_is_dropped)
{
    struct fixture f = fixture_of(10, 0);
    struct suite *t = f.t;
    uint64_t tip = t->tip;
    suite_give_join(t, "alice", 2, 43);
    ck_assert_uint_eq(t->tip, tip + 1);
    struct offer old;
    offer_open(t, &old, f.publisher, 11);
    old.header.incarnation = 1;
    old.header.position.seq = tip;
    offer_add(&old, f.topic, 0, "old", 3);
    suite_standby(t, tip);
    offer_give(t, &old);
    suite_give_batch(t, tip + 1);
    suite_step(t);
    t->store_tip = tip + 1;
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "");
    suite_elect(t, 1);
    check_once(&f, 10);
    suite_free(t);
}
END_TEST

/* However much is proposed that nobody sequences, it holds a bounded part of it. */
START_TEST(what_is_held_is_bounded)
{
    struct fixture f = fixture_of(10, 0);
    struct suite *t = f.t;
    t->options.queue_max = 64;
    suite_standby(t, t->tip);
    for (uint64_t n = 11; n < 1000; n++)
        suite_propose(t, f.publisher, n, f.topic, 16);
    ck_assert_uint_gt(suite_counter(t, COUNTER_PROPOSALS_OVERFLOW), 900);
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "");
    suite_elect(t, 1);
    uint64_t next = next_of(&f);
    ck_assert_uint_gt(next, 11);
    ck_assert_uint_le(next, 11 + 64);
    check_once(&f, next - 1);
    suite_free(t);
}
END_TEST

/* ---- deaf ------------------------------------------------------------------------------------ */

START_TEST(who_hears_no_proposals_says_so)
{
    struct fixture f = fixture_of(1100, 0);
    struct suite *t = f.t;
    uint64_t tip = t->tip;
    t->options.lead = false;
    t->options.candidate++;
    suite_start(t);
    for (uint64_t seq = 1; seq <= 500;) /* before a leader is heard it may be history */
        seq = suite_give_batch(t, seq);
    suite_give_heartbeat(t, 500, 0);
    uint64_t seq = 501;
    for (; seq <= tip && strcmp(state_of(t), "following") == 0;)
        seq = suite_give_batch(t, seq);
    ck_assert_uint_gt(seq, tip); /* six hundred are not enough */
    suite_free(t);

    f = fixture_of(1100, 0);
    t = f.t;
    t->options.lead = false;
    t->options.candidate++;
    suite_start(t);
    suite_give_batch(t, 1);
    suite_give_batch(t, 2);
    suite_give_heartbeat(t, 3, 0);
    for (seq = 3; seq <= tip;)
        seq = suite_give_batch(t, seq);
    ck_assert_str_eq(state_of(t), "following (deaf to the ingress group)");
    ck_assert_ptr_nonnull(strstr(sequencer_waiting_for(t->core), "ingress"));
    ck_assert_ptr_nonnull(strstr(sequencer_trouble(t->core), "hears no proposals"));
    suite_propose(t, f.publisher, 1101, f.topic, 8);
    ck_assert_str_eq(state_of(t), "following");
    ck_assert_str_eq(sequencer_trouble(t->core), "");
    suite_free(t);
}
END_TEST

SUITE_MAIN("sequencer_standby", a_fork_goes_back_and_on, forks_upon_forks,
           a_fork_below_the_base_is_followed_anew, the_ring_of_a_standby_turns_over,
           a_rejection_is_taken_back_too, a_fenced_leader_stands_by_and_leads_again,
           a_fenced_leader_keeps_what_nobody_took_back,
           a_fenced_leader_goes_back_to_what_is_adopted, what_was_held_is_sequenced_at_once,
           what_the_leader_sequences_is_held_no_longer,
           what_was_held_for_another_history_is_dropped,
           what_was_held_of_an_older_incarnation_is_dropped, what_is_held_is_bounded,
           who_hears_no_proposals_says_so)
