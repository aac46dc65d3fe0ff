/* Goal: a store that says less than it has said is not counted, neither by whom it was heard before
 * nor by whom has only read of it in the stream, and is told; late datagrams do no harm. Stores are
 * played by hand: run 0 is the one that the suite's promises and acknowledgements are of. */
#include "tests/sequencer/suite.h"

enum { RUN = 77 };

/* Store 3, started on a copy of `seq`. */
static struct ack restored(struct suite *t, uint64_t seq)
{
    struct ack a = suite_ack_of(t, 3, seq);
    a.run = (struct run) { .id = RUN, .base = { .promised = a.promised, .tail = a.tail } };
    return a;
}

static uint64_t emit(struct suite *t, uint64_t nonce)
{
    suite_give_join(t, nonce % 2 == 0 ? "alice" : "bob", (uint32_t)(nonce / 2), nonce);
    suite_run(t);
    return t->tip;
}

START_TEST(one_that_forgot_is_not_counted_and_told)
{
    struct suite *t = suite_new();
    suite_lead(t, 3);
    uint64_t a = emit(t, 2), b = emit(t, 3);
    suite_ack(t, 3, b);
    struct ack ack = restored(t, a);
    suite_give_ack(t, &ack);
    suite_run(t);
    ck_assert_uint_eq(suite_counter(t, COUNTER_WORDS_REFUSED), 1);
    ck_assert_uint_eq(t->recall.store, 3);
    ck_assert_uint_eq(t->recall.run, 0);
    ck_assert_uint_eq(t->recall.said.tail.seq, b);
    ck_assert_ptr_nonnull(strstr(sequencer_restored(t->core), "store 0000000000000003"));
    /* Nor when it has all of it again: what else it has forgotten nobody knows. */
    uint64_t c = emit(t, 4);
    const struct run run = ack.run;
    ack = suite_ack_of(t, 3, c);
    ack.run = run;
    suite_give_ack(t, &ack);
    suite_ack(t, 1, c);
    ck_assert_uint_lt(sequencer_stable(t->core), c);
    struct status status;
    sequencer_status(t->core, t->now, &status);
    ck_assert(!status.members[2].current && status.members[0].current);
    suite_ack(t, 2, c);
    ck_assert_uint_eq(sequencer_stable(t->core), c);
    suite_free(t);
}
END_TEST

START_TEST(a_restart_that_forgot_nothing_counts)
{
    struct suite *t = suite_new();
    suite_lead(t, 3);
    uint64_t a = emit(t, 2), b = emit(t, 3);
    suite_ack(t, 3, a);
    struct ack ack = restored(t, a);
    suite_advance(t, 1000000);
    suite_give_ack(t, &ack);
    ck_assert_uint_eq(suite_counter(t, COUNTER_WORDS_REFUSED), 0);
    suite_step(t);
    ck_assert_uint_eq(t->recall.run, RUN); /* its run is accepted */
    ck_assert(epoch_equal(t->recall.epoch, sequencer_epoch(t->core)));
    const struct run run = ack.run;
    ack = suite_ack_of(t, 3, b);
    ack.run = run;
    ack.settled = true;
    uint32_t recalls = t->recalls;
    suite_advance(t, 10000000);
    suite_give_ack(t, &ack);
    suite_step(t);
    ck_assert_uint_eq(t->recalls, recalls); /* it knows */
    suite_ack(t, 1, b);
    ck_assert_uint_eq(sequencer_stable(t->core), b);
    suite_free(t);
}
END_TEST

/* Of the same run: it came late. It takes nothing away, and nothing is said of it. */
START_TEST(a_late_word_changes_nothing)
{
    struct suite *t = suite_new();
    suite_lead(t, 3);
    uint64_t a = emit(t, 2), b = emit(t, 3);
    suite_ack(t, 3, b);
    suite_ack(t, 3, a);
    ck_assert_str_eq(sequencer_restored(t->core), "");
    struct status status;
    sequencer_status(t->core, t->now, &status);
    ck_assert(status.members[2].current);
    suite_ack(t, 1, b);
    ck_assert_uint_eq(sequencer_stable(t->core), b);
    suite_free(t);
}
END_TEST

static const struct message *newest_words(const struct suite *t, struct sys_words *out)
{
    const struct message *found = NULL;
    for (uint64_t seq = 1; seq <= t->tip; seq++) {
        const struct message *m = suite_message(t, seq);
        if (m->topic == TOPIC_WORD && sys_words_decode(m->payload, m->length, out))
            found = m;
    }
    return found;
}

START_TEST(what_was_said_is_in_the_stream)
{
    struct suite *t = suite_new();
    t->options.words_ns = 1000000;
    suite_lead(t, 3);
    uint64_t a = emit(t, 2);
    suite_ack(t, 1, a);
    suite_ack(t, 2, a);
    suite_advance(t, 1000000);
    struct sys_words words = { 0 };
    const struct message *m = newest_words(t, &words);
    ck_assert_ptr_nonnull(m);
    ck_assert_uint_eq(words.count, 3);
    ck_assert_uint_eq(words.words[0].word.tail.seq, a);
    ck_assert_uint_lt(words.words[2].word.tail.seq, a); /* as it promised */
    ck_assert(epoch_equal(words.words[2].word.promised, sequencer_epoch(t->core)));
    uint64_t tip = t->tip;
    suite_advance(t, 10000000); /* its own record is no news */
    ck_assert_uint_eq(t->tip, tip);
    suite_free(t);
}
END_TEST

static void fetch(struct suite *t)
{
    for (int i = 0; i < 20; i++) {
        suite_serve(t);
        suite_advance(t, 1000000);
    }
}

/* Another sequencer, which has heard nobody: what it adopts tells it that store 3 is older than it
 * was. It waits for the third. */
START_TEST(a_new_leader_reads_of_it)
{
    struct suite *t = suite_new();
    t->options.words_ns = 1000000;
    if (_i == 1)
        t->options.sabotage = SEQUENCER_RESTORED_VOTES;
    suite_lead(t, 3);
    uint64_t a = emit(t, 2), b = emit(t, 3);
    for (uint64_t store = 1; store <= 3; store++)
        suite_ack(t, store, b);
    suite_advance(t, 1000000);
    struct sys_words words;
    ck_assert_ptr_nonnull(newest_words(t, &words));
    struct position old = suite_ack_of(t, 3, a).tail;
    suite_restart(t, t->tip);
    suite_step(t);
    struct promise p = suite_promise(t, 1);
    suite_give_promise(t, &p); /* its number is too low */
    while (t->seal.epoch.number == 1)
        suite_advance(t, 1000000);
    p = suite_promise(t, 1);
    suite_give_promise(t, &p);
    p = suite_promise(t, 3);
    p.tail = old;
    p.run = (struct run) { .id = RUN, .base = { .promised = old.epoch, .tail = old } };
    suite_give_promise(t, &p);
    fetch(t);
    if (_i == 1) {
        ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_LEADING);
        suite_free(t);
        return;
    }
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    ck_assert_msg(strstr(sequencer_waiting_for(t->core), "1 restored from an older copy") != NULL,
                  "%s", sequencer_waiting_for(t->core));
    ck_assert_uint_eq(t->recall.store, 3);
    suite_give_promise(t, &p); /* it insists */
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    p = suite_promise(t, 2);
    suite_give_promise(t, &p);
    fetch(t);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_LEADING);
    /* And what it knows of store 3 goes on in its own records. */
    uint64_t tip = emit(t, 4);
    suite_ack(t, 1, tip);
    suite_advance(t, 1000000);
    ck_assert_ptr_nonnull(newest_words(t, &words));
    ck_assert_uint_eq(words.words[2].store, 3);
    ck_assert_uint_eq(words.words[2].word.tail.seq, b);
    suite_free(t);
}
END_TEST

/* The same, found out by its own word while the candidate is still adopting: what it had promised has gone,
 * and with it the quorum. */
START_TEST(a_promise_falls_while_it_is_adopted)
{
    struct suite *t = suite_new();
    suite_lead(t, 3);
    uint64_t a = emit(t, 2), b = emit(t, 3);
    struct ack late = suite_ack_of(t, 3, b), copy = restored(t, a);
    suite_restart(t, t->tip);
    suite_step(t);
    struct promise p = suite_promise(t, 1);
    suite_give_promise(t, &p); /* its number is too low */
    while (t->seal.epoch.number == 1)
        suite_advance(t, 1000000);
    p = suite_promise(t, 1);
    suite_give_promise(t, &p);
    p = suite_promise(t, 3);
    p.tail = copy.tail;
    p.run = copy.run;
    suite_give_promise(t, &p);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_ADOPTING);
    suite_give_ack(t, &late);
    suite_give_ack(t, &copy);
    fetch(t);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    p = suite_promise(t, 2);
    suite_give_promise(t, &p);
    fetch(t);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_LEADING);
    suite_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sequencer_word");
    TCase *tcase = tcase_create("sequencer_word");
    tcase_add_test(tcase, one_that_forgot_is_not_counted_and_told);
    tcase_add_test(tcase, a_restart_that_forgot_nothing_counts);
    tcase_add_test(tcase, a_late_word_changes_nothing);
    tcase_add_test(tcase, what_was_said_is_in_the_stream);
    tcase_add_loop_test(tcase, a_new_leader_reads_of_it, 0, 2);
    tcase_add_test(tcase, a_promise_falls_while_it_is_adopted);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
