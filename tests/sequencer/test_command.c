/* Goal: what an operator asks for on the stream port is done, or refused with what is wrong and what
 * to do; and nothing is promoted that would not come to lead or would lose what can be had. */
#include "tests/sequencer/suite.h"

static struct suite *standby(uint32_t stores)
{
    struct suite *t = suite_new();
    suite_lead(t, stores);
    suite_standby(t, t->tip);
    suite_give_heartbeat(t, t->tip + 1, 0);
    t->seals = 0;
    return t;
}

static const struct command PROMOTE = { .kind = COMMAND_PROMOTE, .why = "the old one is gone" };

static const struct command PROMOTE_LEASE = { .kind = COMMAND_PROMOTE,
                                              .how = SYS_EPOCH_LEASE,
                                              .why = "s2 holds lease 1 on /leader" };

static struct promise probed(const struct suite *t, uint64_t store)
{
    struct promise p = suite_promise(t, store);
    p.probe = true;
    p.promised = t->seen[t->tip - 1].batch.epoch;
    return p;
}

static void check_refused(struct suite *t, const char *because)
{
    struct outcome outcome = suite_outcome(t);
    ck_assert_int_eq(outcome.verdict, OUTCOME_REFUSED);
    ck_assert_msg(strstr(outcome.text, because) != NULL, "\"%s\" does not say \"%s\"", outcome.text,
                  because);
    ck_assert_uint_eq(t->streams_closed, 0);
}

/* ---- promote --------------------------------------------------------------------------------- */

START_TEST(a_standby_is_promoted)
{
    struct suite *t = standby(3);
    suite_command(t, 7, &PROMOTE);
    ck_assert_uint_eq(t->seals, 1);
    ck_assert(t->seal.probe);
    ck_assert_int_eq(suite_outcome(t).verdict, 0);
    struct promise p = probed(t, 1);
    suite_give_promise(t, &p);
    ck_assert_int_eq(suite_outcome(t).verdict, 0);
    p = probed(t, 3);
    suite_give_promise(t, &p);
    ck_assert_int_eq(suite_outcome(t).verdict, 0);
    p = probed(t, 2);
    suite_give_promise(t, &p); /* the last of them: no time passes */
    struct outcome outcome = suite_outcome(t);
    ck_assert_int_eq(outcome.verdict, OUTCOME_PENDING);
    ck_assert_str_eq(outcome.text, "asks the stores to promise epoch 2");
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
    uint64_t tip = t->tip;
    suite_command(t, 8, &PROMOTE);
    ck_assert_int_eq(suite_outcome(t).verdict, OUTCOME_PENDING);
    suite_elect(t, 3);
    struct sys_epoch record;
    ck_assert(sys_epoch_decode(suite_message(t, tip + 1)->payload,
                               suite_message(t, tip + 1)->length, &record));
    ck_assert_uint_eq(record.how, SYS_EPOCH_PROMOTED);
    ck_assert_str_eq(record.why, PROMOTE.why);
    suite_command(t, 9, &PROMOTE);
    check_refused(t, "leads already, epoch 2");
    suite_free(t);
}
END_TEST

static struct promise probed_long_ago(const struct suite *t, uint64_t store, uint64_t leader_age_ns)
{
    struct promise p = probed(t, store);
    p.leader_age_ns = leader_age_ns;
    return p;
}

START_TEST(a_lease_overthrows_no_leader_that_is_heard)
{
    struct suite *t = standby(3);
    suite_command(t, 7, &PROMOTE_LEASE);
    for (uint64_t store = 1; store <= 2; store++) {
        struct promise p = probed_long_ago(t, store, 100 * MS);
        suite_give_promise(t, &p);
    }
    check_refused(t, "2 of 3 stores hear the leader");
    /* What an operator says is done all the same. */
    suite_command(t, 7, &PROMOTE);
    for (uint64_t store = 1; store <= 3; store++) {
        struct promise p = probed_long_ago(t, store, 100 * MS);
        suite_give_promise(t, &p);
    }
    ck_assert_int_eq(suite_outcome(t).verdict, OUTCOME_PENDING);
    suite_free(t);
}
END_TEST

START_TEST(a_lease_promotes_when_the_leader_is_silent)
{
    struct suite *t = standby(3);
    suite_command(t, 7, &PROMOTE_LEASE);
    struct promise p = probed_long_ago(t, 1, 100 * MS);
    suite_give_promise(t, &p);
    p = probed_long_ago(t, 3, 500 * MS);
    suite_give_promise(t, &p);
    ck_assert_int_eq(suite_outcome(t).verdict, OUTCOME_PENDING);
    uint64_t tip = t->tip;
    suite_elect(t, 3);
    struct sys_epoch record;
    ck_assert(sys_epoch_decode(suite_message(t, tip + 1)->payload,
                               suite_message(t, tip + 1)->length, &record));
    ck_assert_uint_eq(record.how, SYS_EPOCH_LEASE);
    ck_assert_str_eq(record.why, PROMOTE_LEASE.why);
    suite_free(t);
}
END_TEST

/* It is no operator's word: the leader's word ends it. */
START_TEST(a_promotion_by_a_lease_yields_to_a_leader)
{
    for (int i = 0; i < 2; i++) {
        struct suite *t = standby(3);
        suite_command(t, 7, i == 0 ? &PROMOTE_LEASE : &PROMOTE);
        for (uint64_t store = 1; store <= (i == 0 ? 2 : 3); store++) {
            struct promise p = probed_long_ago(t, store, SECOND);
            suite_give_promise(t, &p);
        }
        ck_assert_int_eq(suite_outcome(t).verdict, OUTCOME_PENDING);
        ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_SEALING);
        suite_advance(t, 1);
        suite_give_heartbeat(t, t->tip + 1, 0);
        ck_assert((sequencer_state(t->core) == SEQUENCER_FOLLOWING) == (i == 0));
        suite_free(t);
    }
}
END_TEST

START_TEST(a_promotion_without_a_quorum_is_refused)
{
    struct suite *t = standby(3);
    suite_command(t, 7, &PROMOTE);
    suite_advance(t, 300 * MS);
    check_refused(t, "no store answered: start");
    suite_command(t, 7, &PROMOTE);
    struct promise p = probed(t, 2);
    suite_advance(t, 200 * MS);
    suite_give_promise(t, &p);
    suite_advance(t, 100 * MS);
    check_refused(t, "1 of 2 stores needed answered: start those that are missing "
                     "(0000000000000001, 0000000000000003), or");
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    ck_assert(t->seal.probe); /* nobody was sealed */
    ck_assert_uint_eq(suite_counter(t, COUNTER_SEALS), 0);
    ck_assert_uint_eq(suite_counter(t, COUNTER_COMMANDS_REFUSED), 2);
    suite_free(t);
}
END_TEST

START_TEST(a_promotion_that_would_lose_is_refused)
{
    struct suite *t = standby(3);
    suite_command(t, 7, &PROMOTE);
    struct promise p = probed(t, 1);
    p.proven = false;
    p.tail.seq += 5;
    suite_give_promise(t, &p);
    p = probed(t, 2);
    suite_give_promise(t, &p);
    p = probed(t, 3);
    suite_give_promise(t, &p);
    check_refused(t, "store 0000000000000001 reports seq 8, above 3 that can be had");
    ck_assert_uint_eq(suite_counter(t, COUNTER_SEALS), 0);
    suite_free(t);
}
END_TEST

/* Whoever answers last is asked all the same: what is decided does not depend on the order. */
START_TEST(every_member_is_given_time_to_object)
{
    struct suite *t = standby(3);
    suite_command(t, 7, &PROMOTE);
    for (uint64_t store = 2; store <= 3; store++) {
        struct promise p = probed(t, store);
        suite_give_promise(t, &p);
    }
    suite_advance(t, 100 * MS);
    ck_assert_int_eq(suite_outcome(t).verdict, 0);
    struct promise p = probed(t, 1);
    p.proven = false;
    p.tail.seq += 5;
    suite_give_promise(t, &p);
    check_refused(t, "store 0000000000000001 reports seq 8, above 3 that can be had");

    suite_command(t, 7, &PROMOTE); /* but not for ever */
    suite_advance(t, 200 * MS);
    for (uint64_t store = 2; store <= 3; store++) {
        p = probed(t, store);
        suite_give_promise(t, &p);
    }
    suite_advance(t, 99 * MS);
    ck_assert_int_eq(suite_outcome(t).verdict, 0);
    suite_advance(t, MS);
    struct outcome outcome = suite_outcome(t);
    ck_assert_int_eq(outcome.verdict, OUTCOME_PENDING);
    ck_assert_str_eq(outcome.text, "asks the stores to promise epoch 2; not heard, so what only "
                                   "these have may be lost: 0000000000000001");
    suite_free(t);
}
END_TEST

START_TEST(a_promotion_that_could_not_fetch_is_refused)
{
    struct suite *t = standby(3);
    for (int i = 0; i < 2; i++) {
        suite_command(t, 7, &PROMOTE);
        struct promise p = probed(t, 2);
        suite_give_promise(t, &p);
        p = probed(t, 1);
        p.tail.seq += 50;
        p.oldest_seq = i == 0 ? 30 : 1;
        p.fetch_port = 0;
        suite_give_promise(t, &p);
        p = probed(t, 3);
        suite_give_promise(t, &p);
        check_refused(t, i == 0 ? "begins at 30" : "does not say where to fetch it");
    }
    suite_free(t);
}
END_TEST

START_TEST(one_command_at_a_time)
{
    struct suite *t = standby(3);
    suite_command(t, 7, &PROMOTE);
    suite_command(t, 8, &PROMOTE);
    check_refused(t, "another command");
    struct port_stream_event closed = { .type = PORT_STREAM_CLOSED, .stream = 8 };
    sequencer_participant.on_stream(t->core, &closed, t->now);
    suite_command(t, 9, &PROMOTE);
    check_refused(t, "another command");
    closed.stream = 7; /* whose command it is */
    sequencer_participant.on_stream(t->core, &closed, t->now);
    suite_advance(t, SECOND);
    ck_assert_uint_eq(t->stream_out_length, 0);
    suite_command(t, 9, &PROMOTE);
    suite_advance(t, 300 * MS);
    check_refused(t, "no store answered");
    suite_free(t);
}
END_TEST

/* ---- others ---------------------------------------------------------------------------------- */

START_TEST(a_standby_refuses_what_is_the_leaders)
{
    struct suite *t = standby(1);
    const struct command cases[] = { { .kind = COMMAND_MEMBER_ADD, .store = 4 },
                                     { .kind = COMMAND_MEMBER_REMOVE, .store = 1 },
                                     { .kind = COMMAND_SESSION, .name = "friday" } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        suite_command(t, 7, &cases[i]);
        check_refused(t, "ask the leader, whose epoch is 1");
    }
    struct command why = { .kind = COMMAND_WHY, .name = "a" };
    suite_command(t, 7, &why);
    check_refused(t, "does not lead: standing by");
    struct command digest_at = { .kind = COMMAND_DIGEST_AT, .seq = 1 };
    suite_command(t, 7, &digest_at);
    check_refused(t, "ask a retransmitter");
    suite_free(t);
}
END_TEST

START_TEST(another_session)
{
    struct suite *t = suite_new();
    suite_lead(t, 1);
    uint64_t tip = t->tip;
    struct command c = { .kind = COMMAND_SESSION, .name = "friday" };
    suite_command(t, 7, &c);
    struct outcome outcome = suite_outcome(t);
    ck_assert_int_eq(outcome.verdict, OUTCOME_DONE);
    ck_assert_uint_eq(outcome.seq, tip + 1);
    ck_assert_uint_eq(suite_message(t, tip + 1)->topic, TOPIC_SESSION);
    ck_assert_str_eq(catalog_session(sequencer_catalog(t->core)), "friday");
    suite_command(t, 7, &c);
    check_refused(t, "session friday runs already");
    ck_assert_uint_eq(t->tip, tip + 1);
    suite_free(t);
}
END_TEST

static void check_why(struct suite *t, const char *name, uint64_t next, const char *because)
{
    struct command c = { .kind = COMMAND_WHY };
    strcpy(c.name, name);
    suite_command(t, 7, &c);
    struct outcome outcome = suite_outcome(t);
    ck_assert_int_eq(outcome.verdict, OUTCOME_DONE);
    ck_assert_uint_eq(outcome.seq, next);
    ck_assert_msg(strstr(outcome.text, because) != NULL, "\"%s\" does not say \"%s\"", outcome.text,
                  because);
}

/* What a publisher waits for; asking changes nothing, and no command has to wait for it. */
START_TEST(why_a_publisher_waits)
{
    struct suite *t = suite_new();
    suite_lead(t, 1);
    struct command c = { .kind = COMMAND_WHY, .name = "nobody" };
    suite_command(t, 7, &c);
    check_refused(t, "no publisher nobody has joined");
    uint32_t publisher = suite_join(t, "a");
    uint32_t topic = suite_topic(t, publisher, "/x");
    check_why(t, "a", 1, "nothing was heard of it since this leader began");
    suite_propose(t, publisher, 1, topic, 8);
    suite_run(t);
    check_why(t, "a", 2, "waits for nothing here");
    suite_propose(t, publisher, 4, topic, 8);
    suite_run(t);
    uint64_t tip = t->tip;
    check_why(t, "a", 2, "its own number 2: 2 to 3 have not arrived");
    ck_assert_uint_eq(t->tip, tip);
    suite_propose(t, publisher, 2, topic + 100, 8);
    suite_propose(t, publisher, 3, topic, 8);
    suite_run(t);
    check_why(t, "a", 5, "its number 2 was rejected: no such topic");
    struct offer o;
    offer_open(t, &o, publisher, 5);
    offer_add(&o, topic, MESSAGE_MORE, "begins", 6);
    offer_give(t, &o);
    suite_run(t);
    check_why(t, "a", 5, "begins a run of which the end has not arrived");
    suite_free(t);
}
END_TEST

START_TEST(fenced_before_it_was_done)
{
    struct suite *t = suite_new();
    suite_lead(t, 1);
    struct command c = { .kind = COMMAND_SESSION, .name = "friday" };
    uint8_t body[COMMAND_SIZE_MAX];
    uint8_t frame[COMMAND_SIZE_MAX + REPLAY_FRAME_HEADER];
    size_t length = command_encode(&c, body, sizeof body);
    length = replay_frame_encode(REPLAY_COMMAND, body, length, frame, sizeof frame);
    struct port_stream_event e = {
        .type = PORT_STREAM_BYTES, .stream = 7, .bytes = frame, .length = length
    };
    sequencer_participant.on_stream(t->core, &e, t->now);
    struct ack a = suite_ack_of(t, 1, t->tip);
    a.promised.number++;
    suite_give_ack(t, &a);
    check_refused(t, "fenced");
    suite_free(t);
}
END_TEST

START_TEST(a_paused_leader_says_so)
{
    struct suite *t = suite_new();
    t->options.ring_bytes = 1;
    t->options.pace_bytes = UINT64_C(1) << 40;
    suite_lead(t, 1);
    uint32_t publisher = suite_join(t, "alice");
    uint32_t topic = suite_topic(t, publisher, "/t");
    for (uint64_t n = 1; n <= 100; n++) {
        suite_propose(t, publisher, n, topic, 8);
        suite_run(t);
    }
    ck_assert(sequencer_paused(t->core));
    static struct status status;
    sequencer_status(t->core, t->now, &status);
    ck_assert_str_eq(status.state, "leading, paused: no quorum");
    struct command c = { .kind = COMMAND_SESSION, .name = "friday" };
    suite_command(t, 7, &c); /* the way out is not blocked */
    ck_assert_int_eq(suite_outcome(t).verdict, OUTCOME_DONE);
    suite_free(t);
}
END_TEST

START_TEST(nonsense_is_cut_off)
{
    struct suite *t = standby(1);
    uint8_t frame[32];
    size_t length = replay_frame_encode(REPLAY_COMMAND, "\xff\xff\xff", 3, frame, sizeof frame);
    struct port_stream_event e = {
        .type = PORT_STREAM_BYTES, .stream = 7, .bytes = frame, .length = length
    };
    sequencer_participant.on_stream(t->core, &e, t->now);
    ck_assert_uint_eq(t->streams_closed, 1);
    ck_assert_uint_eq(t->stream_out_length, 0);
    suite_free(t);
}
END_TEST

SUITE_MAIN("sequencer_command", a_standby_is_promoted, a_lease_overthrows_no_leader_that_is_heard,
           a_lease_promotes_when_the_leader_is_silent, a_promotion_by_a_lease_yields_to_a_leader,
           a_promotion_without_a_quorum_is_refused, a_promotion_that_would_lose_is_refused,
           every_member_is_given_time_to_object, a_promotion_that_could_not_fetch_is_refused,
           one_command_at_a_time, a_standby_refuses_what_is_the_leaders, another_session,
           why_a_publisher_waits, fenced_before_it_was_done, a_paused_leader_says_so,
           nonsense_is_cut_off)
