/* Goal: a standby promotes itself after a silence only when the stores that answer make a quorum and
 * no majority of the members heard the leader lately; it asks before it seals, gives up when the
 * leader is heard again, and follows a rival that was faster. Who was told to lead goes on. */
#include "tests/sequencer/suite.h"

#define SILENCE (100 * MS)

/* A standby that has followed a leader's history and heard it last now. */
static struct suite *standby(uint32_t stores)
{
    struct suite *t = suite_new();
    suite_lead(t, stores);
    t->options.silence_ns = SILENCE;
    suite_standby(t, t->tip);
    suite_give_heartbeat(t, t->tip + 1, 0);
    t->seals = 0;
    suite_run(t);
    return t;
}

static void answer(struct suite *t, uint64_t store, uint64_t age_ns)
{
    struct promise p = suite_promise(t, store);
    p.probe = true;
    p.promised = t->seen[t->tip - 1].batch.epoch;
    p.leader_age_ns = age_ns;
    suite_give_promise(t, &p);
}

static void advance_until_asked(struct suite *t)
{
    uint32_t seals = t->seals;
    for (int i = 0; i < 2000 && t->seals == seals; i++)
        suite_advance(t, MS);
    ck_assert_uint_gt(t->seals, seals);
}

static struct sys_epoch epoch_record(const struct suite *t)
{
    struct sys_epoch record;
    uint64_t seq = t->tip;
    while (suite_message(t, seq)->topic != TOPIC_EPOCH)
        seq--;
    const struct message *m = suite_message(t, seq);
    ck_assert(sys_epoch_decode(m->payload, m->length, &record));
    return record;
}

START_TEST(it_asks_first_and_then_seals)
{
    struct suite *t = standby(3);
    suite_advance(t, SILENCE - 1);
    ck_assert_uint_eq(t->seals, 0);
    suite_advance(t, 10 * MS + 1); /* of jitter, at most */
    ck_assert_uint_eq(t->seals, 1);
    ck_assert(t->seal.probe);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    answer(t, 1, SILENCE + 5 * MS);
    ck_assert_str_eq(sequencer_waiting_for(t->core),
                     "the leader is silent: 1 of 2 stores needed have answered");
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    answer(t, 2, UINT64_MAX);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    ck_assert(!t->seal.probe);
    ck_assert_uint_eq(t->seal.epoch.number, 2);
    ck_assert_uint_eq(suite_counter(t, COUNTER_PROMOTIONS), 1);
    suite_elect(t, 3);
    ck_assert_uint_eq(epoch_record(t).how, SYS_EPOCH_TIMEOUT);
    ck_assert_ptr_nonnull(strstr(epoch_record(t).why, "ms"));
    suite_free(t);
}
END_TEST

START_TEST(not_while_a_majority_hears_the_leader)
{
    struct suite *t = standby(3);
    advance_until_asked(t);
    answer(t, 1, MS); /* one of three is no majority */
    answer(t, 3, UINT64_MAX);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    suite_free(t);

    t = standby(3);
    for (int round = 0; round < 20; round++) {
        advance_until_asked(t);
        ck_assert(t->seal.probe);
        answer(t, 1, MS);
        ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
        answer(t, 2, SILENCE - 1);
        ck_assert_str_eq(sequencer_waiting_for(t->core),
                         "the leader is silent here, but 2 of 3 stores have heard it");
        answer(t, 3, UINT64_MAX);
        ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    }
    advance_until_asked(t);
    answer(t, 1, SILENCE);
    answer(t, 2, SILENCE);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    suite_free(t);
}
END_TEST

START_TEST(damaged_and_foreign_stores_do_not_count)
{
    struct suite *t = standby(3);
    advance_until_asked(t);
    answer(t, 1, UINT64_MAX);
    answer(t, 9, UINT64_MAX); /* no member */
    struct promise p = suite_promise(t, 2);
    p.probe = true;
    p.promised = t->seen[t->tip - 1].batch.epoch;
    p.proven = false;
    suite_give_promise(t, &p);
    p.proven = true;
    p.asked.number++; /* an answer to somebody else */
    suite_give_promise(t, &p);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    answer(t, 2, UINT64_MAX);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    suite_free(t);
}
END_TEST

static void answer_damaged(struct suite *t, uint64_t store, uint64_t beyond)
{
    struct promise p = suite_promise(t, store);
    p.probe = true;
    p.promised = t->seen[t->tip - 1].batch.epoch;
    p.leader_age_ns = UINT64_MAX;
    p.proven = false;
    p.tail.seq += beyond;
    suite_give_promise(t, &p);
}

static struct suite *standby_that_would_lose(void)
{
    struct suite *t = standby(3);
    advance_until_asked(t);
    answer(t, 1, UINT64_MAX);
    answer_damaged(t, 2, 5);
    answer(t, 3, UINT64_MAX);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    ck_assert_ptr_nonnull(strstr(sequencer_waiting_for(t->core),
                                 "would lose: store 0000000000000002 reports seq 8, above 3"));
    ck_assert_str_eq(sequencer_trouble(t->core), sequencer_waiting_for(t->core));
    ck_assert_str_eq(sequencer_state_name(t->core), "following (a promotion would lose messages)");
    return t;
}

/* What a damaged store reports may heal; what it then has is adopted. */
START_TEST(it_waits_for_what_it_would_lose)
{
    struct suite *t = standby_that_would_lose();
    advance_until_asked(t);
    answer_damaged(t, 2, 5);
    answer(t, 1, UINT64_MAX);
    answer(t, 3, UINT64_MAX);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    ck_assert_uint_eq(suite_counter(t, COUNTER_SEALS), 0);
    answer(t, 2, UINT64_MAX); /* it has healed */
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    ck_assert_str_eq(sequencer_trouble(t->core), "");
    suite_elect(t, 3);
    ck_assert_ptr_null(strstr(epoch_record(t).why, "gave up"));
    suite_free(t);

    t = standby_that_would_lose(); /* or the leader comes back */
    suite_give_heartbeat(t, t->tip + 1, 0);
    ck_assert_str_eq(sequencer_trouble(t->core), "");
    suite_free(t);
}
END_TEST

/* What is stable cannot be lost, and a stream must not stand still for ever. */
START_TEST(it_does_not_wait_for_ever)
{
    struct suite *t = standby_that_would_lose();
    uint64_t began_ns = t->now.mono_ns;
    while (sequencer_state(t->core) == SEQUENCER_FOLLOWING) {
        ck_assert_uint_lt(t->now.mono_ns, began_ns + 9 * SILENCE);
        advance_until_asked(t);
        answer(t, 1, UINT64_MAX);
        answer_damaged(t, 2, 5);
        answer(t, 3, UINT64_MAX);
    }
    ck_assert_uint_ge(t->now.mono_ns, began_ns + 8 * SILENCE);
    suite_elect(t, 3);
    ck_assert_ptr_nonnull(
        strstr(epoch_record(t).why, "gave up what damaged store 0000000000000002 has above seq 3"));
    suite_free(t);
}
END_TEST

/* What was said long ago is no answer. */
START_TEST(answers_go_stale)
{
    struct suite *t = standby(3);
    advance_until_asked(t);
    answer(t, 1, UINT64_MAX);
    suite_advance(t, 5 * t->options.seal_retry_ns);
    answer(t, 2, UINT64_MAX);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    answer(t, 1, UINT64_MAX);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    suite_free(t);
}
END_TEST

START_TEST(a_word_of_the_leader_ends_it)
{
    struct suite *t = standby(3);
    advance_until_asked(t);
    answer(t, 1, UINT64_MAX);
    suite_give_heartbeat(t, t->tip + 1, 0);
    ck_assert_str_eq(sequencer_waiting_for(t->core), "standing by");
    answer(t, 2, UINT64_MAX); /* too late */
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    uint32_t seals = t->seals;
    for (int i = 0; i < 50; i++) {
        suite_advance(t, SILENCE / 2);
        suite_give_heartbeat(t, t->tip + 1, 0);
    }
    ck_assert_uint_eq(t->seals, seals);

    advance_until_asked(t);
    answer(t, 1, UINT64_MAX);
    answer(t, 2, UINT64_MAX);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    suite_advance(t, 1);
    suite_give_heartbeat(t, t->tip + 1, 0);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    suite_free(t);
}
END_TEST

START_TEST(who_was_told_goes_on)
{
    struct suite *t = standby(3);
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "by hand");
    suite_step(t);
    suite_advance(t, 1);
    suite_give_heartbeat(t, t->tip + 1, 0);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    suite_elect(t, 3);
    ck_assert_uint_eq(epoch_record(t).how, SYS_EPOCH_PROMOTED);
    suite_free(t);
}
END_TEST

START_TEST(whoever_begins_first_is_followed)
{
    struct suite *t = standby(3);
    uint64_t tip = t->tip;
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "");
    suite_step(t);
    struct promise p = suite_promise(t, 1);
    suite_give_promise(t, &p);
    suite_rival(t, tip, (struct epoch) { .number = 3, .candidate = 99 });
    suite_advance(t, 1);
    suite_give_batch(t, t->tip);
    suite_give_heartbeat(t, t->tip + 1, 0);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    ck_assert_uint_eq(sequencer_tip(t->core), tip + 1);
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "and yet"); /* told after that */
    suite_elect(t, 3);
    ck_assert_uint_eq(sequencer_epoch(t->core).number, 4);
    suite_free(t);
}
END_TEST

/* Another has the very number: it gets the time to begin. */
START_TEST(a_rival_of_the_same_number_goes_first)
{
    struct suite *t = standby(3);
    uint64_t tip = t->tip;
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "");
    suite_step(t);
    struct promise p = suite_promise(t, 1);
    p.promised = (struct epoch) { .number = 2, .candidate = 99 };
    suite_give_promise(t, &p);
    uint32_t seals = t->seals;
    suite_advance(t, t->options.seal_retry_ns - 1);
    ck_assert_uint_eq(t->seals, seals);
    suite_rival(t, tip, (struct epoch) { .number = 2, .candidate = 99 });
    suite_give_batch(t, t->tip);
    suite_give_heartbeat(t, t->tip + 1, 0);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    suite_free(t);
}
END_TEST

/* It does not hurry either when another candidate asks for promises. */
START_TEST(another_candidate_is_given_time)
{
    struct suite *t = standby(3);
    suite_advance(t, SILENCE - 1);
    uint8_t bytes[SIGNAL_SIZE_MAX];
    struct seal seal = { .epoch = { .number = 2, .candidate = 99 } };
    suite_give(t, bytes, seal_encode(&seal, SUITE_STREAM, bytes, sizeof bytes));
    suite_advance(t, SILENCE / 3);
    ck_assert_uint_eq(t->seals, 0);
    for (int i = 0; i < 100; i++) { /* but not for ever */
        suite_give(t, bytes, seal_encode(&seal, SUITE_STREAM, bytes, sizeof bytes));
        suite_advance(t, 10 * MS);
    }
    ck_assert_uint_gt(t->seals, 0);
    ck_assert(t->seal.probe);
    ck_assert_uint_eq(t->seal.epoch.number, 3);
    suite_free(t);
}
END_TEST

START_TEST(a_cold_deployment_comes_to_life)
{
    struct suite *t = suite_new();
    t->options.lead = false;
    t->options.silence_ns = SILENCE;
    suite_recorded(t, 3);
    suite_advance(t, SILENCE - 1);
    ck_assert_uint_eq(t->seals, 0);
    advance_until_asked(t);
    answer(t, 1, UINT64_MAX);
    answer(t, 2, UINT64_MAX);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    suite_elect(t, 3);
    suite_free(t);
}
END_TEST

START_TEST(who_never_caught_up_leaves_it_to_others)
{
    struct suite *t = suite_new();
    suite_lead(t, 3);
    t->options.lead = false;
    t->options.silence_ns = SILENCE;
    t->options.candidate++;
    suite_start(t);
    t->seals = 0;
    suite_give_heartbeat(t, t->tip + 1, 0);
    suite_advance(t, 7 * SILENCE);
    ck_assert_uint_eq(t->seals, 0);
    ck_assert_ptr_nonnull(strstr(sequencer_waiting_for(t->core), "caught up"));
    advance_until_asked(t); /* unless nobody does it */
    suite_free(t);
}
END_TEST

START_TEST(without_a_silence_it_waits_to_be_told)
{
    struct suite *t = standby(3);
    t->options.silence_ns = 0;
    suite_standby(t, t->tip);
    t->seals = 0;
    for (int i = 0; i < 100; i++)
        suite_advance(t, SECOND);
    ck_assert_uint_eq(t->seals, 0);
    suite_free(t);
}
END_TEST

/* Two that hear the silence at the same moment don't ask at the same moment. */
START_TEST(two_do_not_ask_in_step)
{
    uint64_t asked[2] = { 0 };
    for (uint32_t i = 0; i < 2; i++) {
        struct suite *t = suite_new();
        suite_lead(t, 3);
        t->options.candidate = 1000 + 77 * i;
        t->options.silence_ns = SILENCE;
        suite_standby(t, t->tip);
        suite_give_heartbeat(t, t->tip + 1, 0);
        t->seals = 0;
        while (t->seals == 0) {
            suite_advance(t, 1000);
            asked[i]++;
        }
        suite_free(t);
    }
    ck_assert_uint_ne(asked[0], asked[1]);
}
END_TEST

SUITE_MAIN("sequencer_probe", it_asks_first_and_then_seals, not_while_a_majority_hears_the_leader,
           damaged_and_foreign_stores_do_not_count, it_waits_for_what_it_would_lose,
           it_does_not_wait_for_ever, answers_go_stale, a_word_of_the_leader_ends_it,
           who_was_told_goes_on, whoever_begins_first_is_followed,
           a_rival_of_the_same_number_goes_first, another_candidate_is_given_time,
           a_cold_deployment_comes_to_life, who_never_caught_up_leaves_it_to_others,
           without_a_silence_it_waits_to_be_told, two_do_not_ask_in_step)
