/* Goal: a sequencer leads only with a quorum's promise, over the highest tail that it names, from
 * an epoch record that names that tail; and stops as soon as it hears of a later epoch. The stores
 * are scripted: their promises are given one by one. */
#include "tests/sequencer/suite.h"

static struct sys_epoch epoch_record(const struct suite *t, uint64_t seq)
{
    const struct message *m = suite_message(t, seq);
    struct sys_epoch record;
    ck_assert_uint_eq(m->topic, TOPIC_EPOCH);
    ck_assert_uint_eq(m->publisher, 0);
    ck_assert(sys_epoch_decode(m->payload, m->length, &record));
    return record;
}

START_TEST(one_store_promises_and_it_begins)
{
    struct suite *t = suite_new();
    t->options.why = "first start";
    suite_lead(t, 1);
    ck_assert_uint_eq(t->seals, 1);
    ck_assert_uint_eq(t->seal.epoch.number, 1);
    ck_assert_uint_eq(t->seal.epoch.candidate, 7);
    struct sys_epoch record = epoch_record(t, 2);
    ck_assert_uint_eq(t->seen[1].batch.count, 1); /* alone in its batch */
    ck_assert(epoch_equal(record.epoch, sequencer_epoch(t->core)));
    ck_assert_uint_eq(record.adopted.seq, 1);
    ck_assert_uint_eq(record.adopted.epoch.number, 0);
    ck_assert(digest_equal(record.digest, t->genesis_header.digest));
    ck_assert_uint_eq(record.entry_count, 1);
    ck_assert_str_eq(record.why, "first start");
    const struct message *m = suite_message(t, 3);
    struct sys_session session;
    ck_assert_uint_eq(m->topic, TOPIC_SESSION);
    ck_assert(sys_session_decode(m->payload, m->length, &session));
    ck_assert_str_eq(session.name, "default");
    ck_assert_uint_eq(session.protocol_digest, protocol_digest());
    ck_assert_str_eq(sequencer_waiting_for(t->core), "");
    ck_assert_uint_eq(suite_counter(t, COUNTER_EPOCHS_BEGUN), 1);
    suite_free(t);
}
END_TEST

START_TEST(the_seal_is_repeated_until_it_is_answered)
{
    struct suite *t = suite_new();
    suite_recorded(t, 1);
    suite_step(t);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    for (uint32_t i = 1; i <= 5; i++) {
        ck_assert_uint_eq(t->seals, i);
        suite_advance(t, t->options.seal_retry_ns - 1);
        ck_assert_uint_eq(t->seals, i);
        suite_advance(t, 1);
    }
    ck_assert_uint_eq(t->seal.epoch.number, 1); /* the same epoch each time */
    ck_assert_uint_eq(t->batches, 0);
    ck_assert_str_eq(sequencer_waiting_for(t->core), "no store has promised");
    suite_free(t);
}
END_TEST

START_TEST(a_majority_is_needed)
{
    struct suite *t = suite_new();
    suite_recorded(t, 3);
    suite_step(t);
    struct promise p = suite_promise(t, 1);
    suite_give_promise(t, &p);
    suite_give_promise(t, &p); /* the same store twice is one store */
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    ck_assert_str_eq(sequencer_waiting_for(t->core), "1 of 2 stores needed have promised");
    p = suite_promise(t, 9); /* no member */
    suite_give_promise(t, &p);
    p = suite_promise(t, 2);
    p.proven = false;
    suite_give_promise(t, &p);
    p.proven = true;
    p.probe = true;
    suite_give_promise(t, &p);
    p.probe = false;
    p.promised.number--; /* it holds to something else */
    p.promised.candidate = 3;
    suite_give_promise(t, &p);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    p = suite_promise(t, 2);
    suite_give_promise(t, &p);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_ADOPTING);
    suite_free(t);
}
END_TEST

START_TEST(a_higher_promise_means_a_higher_number)
{
    struct suite *t = suite_new();
    suite_recorded(t, 1);
    suite_step(t);
    struct promise p = suite_promise(t, 1);
    p.promised = (struct epoch) { .number = 40, .candidate = 99 };
    suite_give_promise(t, &p);
    suite_advance(t, SECOND);
    ck_assert_uint_eq(t->seal.epoch.number, 41);
    ck_assert_uint_eq(suite_counter(t, COUNTER_SEALS), 2);
    p = suite_promise(t, 1); /* another candidate has the same number */
    p.promised.candidate = 1;
    suite_give_promise(t, &p);
    suite_advance(t, SECOND);
    ck_assert_uint_eq(t->seal.epoch.number, 42);
    suite_free(t);
}
END_TEST

/* The delays between lost rounds are not those of another candidate. */
START_TEST(rivals_do_not_duel_in_step)
{
    uint64_t waits[2] = { 0 };
    for (uint32_t i = 0; i < 2; i++) {
        struct suite *t = suite_new();
        t->options.candidate = 100 + i;
        suite_recorded(t, 1);
        suite_step(t);
        for (int round = 0; round < 8; round++) {
            uint32_t number = t->seal.epoch.number;
            struct promise p = suite_promise(t, 1);
            p.promised = (struct epoch) { .number = number, .candidate = 1 };
            suite_give_promise(t, &p);
            while (t->seal.epoch.number == number) {
                suite_advance(t, MS);
                waits[i]++;
                ck_assert_uint_lt(waits[i], 100000);
            }
        }
        suite_free(t);
    }
    ck_assert_uint_gt(waits[0], 8);
    ck_assert_uint_ne(waits[0], waits[1]);
}
END_TEST

START_TEST(the_best_tail_is_adopted_or_done_without)
{
    struct suite *t = suite_new();
    suite_recorded(t, 3);
    suite_step(t);
    struct promise p = suite_promise(t, 1);
    p.tail = (struct position) { .epoch = { .number = 0 }, .seq = 1 };
    suite_give_promise(t, &p);
    p = suite_promise(t, 2); /* claims what nobody will serve */
    p.tail = (struct position) { .epoch = { .number = 0, .candidate = 5 }, .seq = 3 };
    p.digest = (struct digest) { 1, 2 };
    suite_give_promise(t, &p);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_ADOPTING);
    struct epoch first = t->seal.epoch;
    suite_advance(t, t->options.adopt_timeout_ns);
    for (int i = 0; i < 3 && t->seal.epoch.number == first.number; i++)
        suite_advance(t, t->options.adopt_timeout_ns);
    ck_assert_uint_gt(t->seal.epoch.number, first.number); /* a new round without store 2 */
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    p.promised = p.asked = t->seal.epoch;
    suite_give_promise(t, &p); /* which still says so */
    p = suite_promise(t, 1);
    suite_give_promise(t, &p);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    p = suite_promise(t, 3);
    suite_give_promise(t, &p);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_ADOPTING);
    for (int turn = 0; turn < 100 && sequencer_state(t->core) != SEQUENCER_LEADING; turn++) {
        suite_advance(t, MS);
        suite_serve(t);
        suite_run(t);
    }
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_LEADING);
    ck_assert_uint_eq(epoch_record(t, 2).adopted.seq, 1);
    suite_free(t);
}
END_TEST

START_TEST(a_standby_waits_to_be_told)
{
    struct suite *t = suite_new();
    t->options.lead = false;
    suite_recorded(t, 1);
    suite_advance(t, SECOND);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    ck_assert_uint_eq(t->seals, 0);
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "by hand");
    suite_step(t);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    suite_elect(t, 1);
    struct sys_epoch record = epoch_record(t, 2);
    ck_assert_uint_eq(record.how, SYS_EPOCH_PROMOTED);
    ck_assert_str_eq(record.why, "by hand");
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "again"); /* no effect */
    suite_run(t);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_LEADING);
    suite_free(t);
}
END_TEST

/* ---- fenced ---------------------------------------------------------------------------------- */

static void check_fenced(struct suite *t, const char *how)
{
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    ck_assert_uint_eq(suite_counter(t, COUNTER_FENCED), 1);
    ck_assert_ptr_nonnull(strstr(sequencer_leads_no_more(t->core), how));
    uint32_t batches = t->batches;
    uint32_t heartbeats = t->heartbeats;
    suite_propose(t, 1, 1, 16, 8);
    suite_advance(t, 10 * SECOND);
    ck_assert_uint_eq(t->batches, batches);
    ck_assert_uint_eq(t->heartbeats, heartbeats);
    ck_assert_str_ne(sequencer_waiting_for(t->core), "");
    suite_free(t);
}

START_TEST(fenced_by_a_heartbeat)
{
    struct suite *t = suite_new();
    suite_lead(t, 1);
    uint8_t bytes[SIGNAL_SIZE_MAX];
    struct heartbeat h = { .epoch = { .number = 1, .candidate = 7 },
                           .next_seq = 5,
                           .epoch_first_seq = 2 };
    suite_give(t, bytes, heartbeat_encode(&h, SUITE_STREAM, bytes, sizeof bytes)); /* its own */
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_LEADING);
    h.epoch.number = 2;
    suite_give(t, bytes, heartbeat_encode(&h, SUITE_STREAM, bytes, sizeof bytes));
    check_fenced(t, "fenced: another sequencer has begun a later epoch");
}
END_TEST

START_TEST(fenced_by_a_batch)
{
    struct suite *t = suite_new();
    suite_lead(t, 1);
    uint8_t bytes[WIRE_DATAGRAM_DEFAULT];
    struct batch_builder b;
    struct batch_header h = { .stream = SUITE_STREAM, .epoch = { .number = 2, .candidate = 8 } };
    batch_open(&b, bytes, sizeof bytes, 2);
    batch_add(&b, TOPIC_CLOCK, 0, 0, 0, NULL, 0);
    batch_close(&b, 0, &h);
    bytes[h.length - 1] ^= 1; /* damaged on its way: it proves nothing */
    suite_give(t, bytes, h.length);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_LEADING);
    ck_assert_uint_eq(suite_counter(t, COUNTER_DROPPED_CORRUPT), 1);
    bytes[h.length - 1] ^= 1;
    suite_give(t, bytes, h.length);
    check_fenced(t, "fenced: another sequencer has begun a later epoch");
}
END_TEST

START_TEST(fenced_by_an_acknowledgement)
{
    struct suite *t = suite_new();
    suite_lead(t, 1);
    struct ack a = suite_ack_of(t, 1, t->tip);
    a.promised.number++;
    suite_give_ack(t, &a);
    check_fenced(t, "fenced: a store has promised a later epoch");
}
END_TEST

START_TEST(fenced_by_a_promise)
{
    struct suite *t = suite_new();
    suite_lead(t, 1);
    struct promise p = suite_promise(t, 1);
    p.promised.number++;
    suite_give_promise(t, &p);
    check_fenced(t, "fenced: a store has promised a later epoch");
}
END_TEST

/* ---- a number promised to two ---------------------------------------------------------------- */

/* Store 3 promised our number to another candidate: it can't be had back but by a higher one. All
 * that was emitted becomes stable first. */
START_TEST(a_store_promised_to_a_rival_is_won_back)
{
    struct suite *t = suite_new();
    suite_recorded(t, 3);
    suite_elect(t, 2);
    uint64_t tip = t->tip;
    struct ack locked = suite_ack_of(t, 3, 1);
    locked.promised.candidate = 99;
    suite_give_ack(t, &locked);
    suite_advance(t, t->options.adopt_timeout_ns - 1);
    suite_give_ack(t, &locked);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_LEADING);
    suite_advance(t, 1);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_LEADING);
    suite_give_join(t, "alice", 1, 42);
    ck_assert_uint_eq(t->tip, tip); /* held back, and the join is asked for again */
    suite_ack(t, 1, tip);
    suite_ack(t, 2, tip);
    suite_step(t);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    ck_assert_ptr_nonnull(strstr(sequencer_leads_no_more(t->core), "seals a higher epoch itself"));
    t->store_tip = tip;
    suite_elect(t, 3);
    ck_assert_str_eq(sequencer_leads_no_more(t->core), "");
    ck_assert_uint_eq(sequencer_epoch(t->core).number, 2);
    ck_assert_uint_eq(epoch_record(t, tip + 1).adopted.seq, tip);
    ck_assert_uint_gt(suite_join(t, "alice"), 0);
    suite_free(t);
}
END_TEST

/* The one that records is not enough to make anything stable: it does not wait for ever. */
START_TEST(a_store_promised_to_a_rival_is_won_back_without_a_quorum)
{
    struct suite *t = suite_new();
    suite_recorded(t, 3);
    suite_elect(t, 2);
    t->store_tip = t->tip;
    struct ack locked = suite_ack_of(t, 3, 1);
    locked.promised.candidate = 99;
    suite_give_ack(t, &locked);
    suite_ack(t, 1, t->tip);
    suite_advance(t, 2 * t->options.adopt_timeout_ns);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    suite_elect(t, 3);
    suite_free(t);
}
END_TEST

/* Nor can one that is not a member record anything of ours, nor copy, and so become one. Seed 11979. */
START_TEST(a_spare_promised_to_a_rival_is_won_back)
{
    struct suite *t = suite_new();
    suite_lead(t, 3);
    struct ack locked = suite_ack_of(t, 9, 1);
    locked.promised.candidate = 99;
    suite_give_ack(t, &locked);
    suite_ack(t, 1, t->tip);
    suite_ack(t, 2, t->tip);
    suite_advance(t, t->options.adopt_timeout_ns);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    t->store_tip = t->tip;
    suite_elect(t, 3);
    ck_assert_uint_eq(sequencer_epoch(t->core).number, 2);
    suite_free(t);
}
END_TEST

/* ---- without stores -------------------------------------------------------------------------- */

START_TEST(a_volatile_stream_begins_with_its_genesis)
{
    struct suite *t = suite_new();
    t->options.volatile_epoch = 12;
    t->options.session = "monday";
    suite_volatile(t);
    ck_assert_uint_eq(t->seals, 0);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_LEADING);
    ck_assert_uint_eq(epoch_record(t, 2).epoch.number, 12);
    ck_assert_str_eq(catalog_session(sequencer_catalog(t->core)), "monday");
    ck_assert_ptr_nonnull(catalog_genesis(sequencer_catalog(t->core)));
    suite_free(t);
}
END_TEST

START_TEST(a_bad_genesis_is_said)
{
    struct suite *t = suite_new();
    suite_volatile(t);
    t->genesis[t->genesis_length - 1] ^= 1;
    suite_start(t);
    suite_advance(t, SECOND);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    ck_assert_str_eq(sequencer_waiting_for(t->core), "the genesis record is not valid");
    suite_free(t);
}
END_TEST

SUITE_MAIN("sequencer_seal", one_store_promises_and_it_begins,
           the_seal_is_repeated_until_it_is_answered, a_majority_is_needed,
           a_higher_promise_means_a_higher_number, rivals_do_not_duel_in_step,
           the_best_tail_is_adopted_or_done_without, a_standby_waits_to_be_told,
           fenced_by_a_heartbeat, fenced_by_a_batch, fenced_by_an_acknowledgement,
           fenced_by_a_promise, a_store_promised_to_a_rival_is_won_back,
           a_store_promised_to_a_rival_is_won_back_without_a_quorum,
           a_spare_promised_to_a_rival_is_won_back, a_volatile_stream_begins_with_its_genesis,
           a_bad_genesis_is_said)
