/* Goal: a sequencer that starts again goes on exactly where the recorded history ends: numbers,
 * incarnations, topics, time and refused runs; what was not recorded is gone, and nothing is there
 * twice. And what it says of itself. */
#include "tests/sequencer/suite.h"

struct fixture {
    struct suite *t;
    uint32_t publisher;
    uint32_t topic;
};

static struct fixture fixture_of(struct suite *t)
{
    struct fixture f = { .t = t };
    suite_lead(t, 1);
    f.publisher = suite_join(t, "alice");
    f.topic = suite_topic(t, f.publisher, "/t");
    return f;
}

static void propose(struct fixture *f, uint64_t first, uint64_t last)
{
    for (uint64_t n = first; n <= last; n++) {
        suite_propose(f->t, f->publisher, n, f->topic, 16);
        suite_run(f->t);
    }
}

/* Each number of the publisher is in the stream once, in order, up to `last`. */
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

START_TEST(a_restart_continues_the_history)
{
    struct fixture f = fixture_of(suite_new());
    struct suite *t = f.t;
    propose(&f, 1, 10);
    uint64_t tip = t->tip;
    uint64_t digest = catalog_digest(sequencer_catalog(t->core));
    suite_restart(t, tip);
    suite_elect(t, 1);
    ck_assert_uint_eq(t->seal.epoch.number, 2);
    ck_assert_uint_eq(suite_message(t, tip + 1)->topic, TOPIC_EPOCH);
    ck_assert_uint_eq(t->tip, tip + 1); /* the session goes on: no record */
    ck_assert_uint_ne(catalog_digest(sequencer_catalog(t->core)), digest); /* one epoch more */
    ck_assert_uint_eq(ledger_next(sequencer_ledger(t->core), f.publisher), 11);
    propose(&f, 8, 12); /* sent again: they may have been lost */
    check_once(&f, 12);
    ck_assert_uint_eq(catalog_epochs(sequencer_catalog(t->core))->count, 3);
    suite_free(t);
}
END_TEST

START_TEST(what_nobody_recorded_is_gone_and_comes_again)
{
    struct fixture f = fixture_of(suite_new());
    struct suite *t = f.t;
    propose(&f, 1, 10);
    suite_restart(t, t->tip - 4);
    suite_elect(t, 1);
    ck_assert_uint_eq(ledger_next(sequencer_ledger(t->core), f.publisher), 7);
    propose(&f, 5, 10);
    check_once(&f, 10);
    suite_free(t);
}
END_TEST

/* A proposal that answers a message that nobody recorded is not accepted. */
START_TEST(a_lost_position_is_off_the_history)
{
    struct fixture f = fixture_of(suite_new());
    struct suite *t = f.t;
    propose(&f, 1, 10);
    struct offer o;
    offer_open(t, &o, f.publisher, 7);
    offer_add(&o, f.topic, 0, "answer", 6);
    suite_restart(t, t->tip - 4);
    suite_elect(t, 1);
    for (uint64_t n = 7; n <= 20; n++)
        suite_advance(t, MS);
    uint64_t tip = t->tip;
    offer_give(t, &o);
    suite_run(t);
    ck_assert_uint_eq(suite_counter(t, COUNTER_PROPOSALS_FORKED), 1);
    ck_assert_uint_eq(t->tip, tip);
    suite_free(t);
}
END_TEST

/* The standby was ahead of what the stores have: it takes that back before it leads. */
START_TEST(a_standby_that_is_ahead_goes_back)
{
    struct fixture f = fixture_of(suite_new());
    struct suite *t = f.t;
    propose(&f, 1, 10);
    uint64_t tip = t->tip;
    t->options.lead = false;
    t->options.candidate = 8;
    suite_start(t);
    for (uint64_t seq = 1; seq <= tip;) {
        seq = suite_give_batch(t, seq);
        suite_step(t);
    }
    ck_assert_uint_eq(sequencer_tip(t->core), tip);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_FOLLOWING);
    t->tip = t->store_tip = tip - 3;
    t->digest = t->seen[tip - 4].batch.digest;
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "");
    suite_elect(t, 1);
    ck_assert_uint_eq(suite_message(t, tip - 2)->topic, TOPIC_EPOCH);
    ck_assert_uint_eq(ledger_next(sequencer_ledger(t->core), f.publisher), 8);
    propose(&f, 6, 10);
    check_once(&f, 10);
    suite_free(t);
}
END_TEST

START_TEST(a_standby_that_is_level_fetches_nothing)
{
    struct fixture f = fixture_of(suite_new());
    struct suite *t = f.t;
    propose(&f, 1, 10);
    uint64_t tip = t->tip;
    t->options.lead = false;
    t->options.candidate = 8;
    suite_start(t);
    for (uint64_t seq = 1; seq <= tip;)
        seq = suite_give_batch(t, seq);
    suite_step(t);
    t->store_tip = tip;
    sequencer_lead(t->core, SYS_EPOCH_PROMOTED, "");
    suite_step(t);
    struct promise p = suite_promise(t, 1);
    uint32_t sent = t->sent_count;
    suite_give_promise(t, &p);
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_LEADING);
    ck_assert_int_eq(t->sent[sent].type, WIRE_BATCH); /* at once */
    ck_assert_uint_eq(suite_message(t, tip + 1)->topic, TOPIC_EPOCH);
    suite_free(t);
}
END_TEST

/* A run of which only a part was recorded is void: its numbers are unused. */
START_TEST(a_run_cut_by_the_restart_is_void)
{
    struct suite *t = suite_new();
    t->options.step_batches_max = 1;
    struct fixture f = fixture_of(t);
    uint64_t tip = t->tip;
    for (uint64_t n = 1; n <= 10; n++) {
        struct offer o;
        offer_open(t, &o, f.publisher, n);
        offer_add(&o, f.topic, n < 10 ? MESSAGE_MORE | MESSAGE_FRAGMENT : 0, NULL, 1000);
        offer_give(t, &o);
    }
    suite_run(t);
    ck_assert_uint_eq(t->tip, tip + 10);
    suite_restart(t, tip + 4);
    suite_elect(t, 1);
    ck_assert_uint_eq(ledger_next(sequencer_ledger(t->core), f.publisher), 1);
    suite_propose(t, f.publisher, 1, f.topic, 8);
    suite_run(t);
    ck_assert_uint_eq(suite_message(t, t->tip)->publisher_seq, 1);
    suite_free(t);
}
END_TEST

/* That a rejected run goes on is known to the next sequencer too. */
START_TEST(the_rest_of_a_rejected_run_is_rejected_after_a_restart)
{
    struct suite *t = suite_new();
    t->options.run_bytes_max = 3000;
    struct fixture f = fixture_of(t);
    struct offer o;
    for (uint64_t n = 1; n <= 4; n++) {
        offer_open(t, &o, f.publisher, n);
        offer_add(&o, f.topic, MESSAGE_MORE | MESSAGE_FRAGMENT, NULL, 1000);
        offer_give(t, &o);
    }
    suite_run(t);
    ck_assert_uint_eq(suite_rejected(t, f.publisher, 1).count, 4);
    suite_restart(t, t->tip);
    suite_elect(t, 1);
    offer_open(t, &o, f.publisher, 5);
    offer_add(&o, f.topic, MESSAGE_MORE | MESSAGE_FRAGMENT, NULL, 100);
    offer_add(&o, f.topic, 0, NULL, 100);
    offer_give(t, &o);
    suite_run(t);
    struct sys_reject reject = suite_rejected(t, f.publisher, 5);
    ck_assert_uint_eq(reject.reason, REJECT_TOO_LARGE);
    ck_assert_uint_eq(reject.count, 2);
    ck_assert_uint_eq(reject.detail, 0);
    suite_free(t);
}
END_TEST

START_TEST(another_session_begins_after_the_epoch_record)
{
    struct fixture f = fixture_of(suite_new());
    struct suite *t = f.t;
    t->options.session = "tuesday";
    uint64_t tip = t->tip;
    suite_restart(t, tip);
    suite_elect(t, 1);
    ck_assert_uint_eq(suite_message(t, tip + 2)->topic, TOPIC_SESSION);
    ck_assert_str_eq(catalog_session(sequencer_catalog(t->core)), "tuesday");
    suite_free(t);
}
END_TEST

/* Names that no record can hold, however they came here: nothing begins, and nothing is asserted. */
START_TEST(a_session_with_an_impossible_name_does_not_begin)
{
    struct fixture f = fixture_of(suite_new());
    struct suite *t = f.t;
    uint64_t tip = t->tip;
    t->options.session = "caf\xc3\xa9";
    suite_restart(t, tip);
    suite_elect(t, 1);
    ck_assert_uint_ne(suite_message(t, t->tip)->topic, TOPIC_SESSION);
    ck_assert_str_eq(catalog_session(sequencer_catalog(t->core)), "default");
    suite_free(t);

    t = suite_new();
    t->options.session = "a\nb";
    t->options.session_first = "\x7f";
    suite_lead(t, 1);
    ck_assert_str_eq(catalog_session(sequencer_catalog(t->core)), "default");
    suite_free(t);
}
END_TEST

/* Ten epochs: the record carries the newest entries of the table, and old positions stay good. */
START_TEST(many_epochs)
{
    struct fixture f = fixture_of(suite_new());
    struct suite *t = f.t;
    for (uint32_t i = 1; i <= 40; i++) {
        propose(&f, i, i);
        suite_restart(t, t->tip);
        suite_elect(t, 1);
    }
    struct sys_epoch record;
    const struct message *m = suite_message(t, t->tip);
    ck_assert_uint_eq(m->topic, TOPIC_EPOCH);
    ck_assert(sys_epoch_decode(m->payload, m->length, &record));
    ck_assert_uint_eq(record.entry_count, EPOCH_RECORD_ENTRIES);
    struct offer o;
    offer_open(t, &o, f.publisher, 41);
    o.header.position = (struct position) { .epoch = t->seen[2].batch.epoch, .seq = 3 };
    offer_add(&o, f.topic, 0, "old", 3);
    offer_give(t, &o);
    suite_run(t);
    check_once(&f, 41);
    suite_free(t);
}
END_TEST

/* ---- status ---------------------------------------------------------------------------------- */

static size_t give_stream(struct suite *t, const void *bytes, size_t length)
{
    struct port_stream_event e = {
        .type = PORT_STREAM_BYTES, .stream = 77, .bytes = bytes, .length = length
    };
    return sequencer_participant.on_stream(t->core, &e, t->now);
}

START_TEST(status_is_answered_on_the_stream_port)
{
    struct fixture f = fixture_of(suite_new());
    struct suite *t = f.t;
    struct port_stream_event accepted = { .type = PORT_STREAM_ACCEPTED, .stream = 77 };
    ck_assert_uint_eq(sequencer_participant.on_stream(t->core, &accepted, t->now), 0);
    suite_ack(t, 1, t->tip);
    suite_run(t);
    uint8_t request[16];
    size_t length = replay_frame_encode(REPLAY_STATUS_REQUEST, NULL, 0, request, sizeof request);
    ck_assert_uint_eq(give_stream(t, request, length - 1), 0); /* not yet whole */
    ck_assert_uint_eq(give_stream(t, request, length), length);
    enum replay_type type;
    size_t framed = replay_frame_peek(t->stream_out, t->stream_out_length, &type);
    ck_assert_uint_eq(framed, t->stream_out_length);
    ck_assert_int_eq(type, REPLAY_STATUS);
    static struct status status;
    ck_assert(
        status_decode(t->stream_out + REPLAY_FRAME_HEADER, framed - REPLAY_FRAME_HEADER, &status));
    ck_assert_str_eq(status.role, "sequencer");
    ck_assert_str_eq(status.state, "leading");
    ck_assert_str_eq(status.session, "default");
    ck_assert_uint_eq(status.tip, t->tip);
    ck_assert_uint_eq(status.stable, t->tip);
    ck_assert_uint_eq(status.member_count, 1);
    ck_assert_uint_eq(status.members[0].durable_seq, t->tip);
    ck_assert(status.members[0].current);
    ck_assert_uint_eq(status.publisher_count, 1);
    ck_assert_str_eq(status.publishers[0].identity, "alice");
    ck_assert_uint_eq(status.topic_count, 1);
    ck_assert_uint_eq(status.counters[COUNTER_EPOCHS_BEGUN], 1);
    ck_assert_uint_eq(t->streams_closed, 0);
    (void)f;
    suite_free(t);
}
END_TEST

START_TEST(who_asks_a_sequencer_for_history_is_refused)
{
    struct fixture f = fixture_of(suite_new());
    struct suite *t = f.t;
    const struct {
        uint64_t stream;
        uint64_t first_seq;
        enum replay_end_reason reason;
    } cases[] = { { SUITE_STREAM, 1, REPLAY_PRUNED },
                  { SUITE_STREAM, 1000, REPLAY_NOT_YET },
                  { 1, 1, REPLAY_OTHER_STREAM } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t body[64];
        uint8_t frame[128];
        struct replay_request r = { .stream = cases[i].stream, .first_seq = cases[i].first_seq };
        size_t length = replay_request_encode(&r, body, sizeof body);
        length = replay_frame_encode(REPLAY_REQUEST, body, length, frame, sizeof frame);
        t->stream_out_length = 0;
        ck_assert_uint_eq(give_stream(t, frame, length), length);
        struct replay_end end;
        ck_assert(replay_end_decode(t->stream_out + REPLAY_FRAME_HEADER,
                                    t->stream_out_length - REPLAY_FRAME_HEADER, &end));
        ck_assert_int_eq(end.reason, cases[i].reason);
    }
    suite_free(t);
}
END_TEST

START_TEST(nonsense_on_the_stream_port_is_cut_off)
{
    struct fixture f = fixture_of(suite_new());
    struct suite *t = f.t;
    uint8_t junk[64];
    memset(junk, 0xff, sizeof junk);
    ck_assert_uint_eq(give_stream(t, junk, sizeof junk), sizeof junk);
    ck_assert_uint_eq(t->streams_closed, 1);
    uint8_t request[16];
    size_t length = replay_frame_encode(REPLAY_STATUS_REQUEST, NULL, 0, request, sizeof request);
    t->stream_room = 10; /* who does not read */
    give_stream(t, request, length);
    ck_assert_uint_eq(t->streams_closed, 2);
    suite_free(t);
}
END_TEST

static void stream_event(struct suite *t, enum port_stream_event_type type, uint32_t stream)
{
    struct port_stream_event e = { .type = type, .stream = stream };
    ck_assert_uint_eq(sequencer_participant.on_stream(t->core, &e, t->now), 0);
}

START_TEST(who_asks_nothing_is_closed)
{
    struct fixture f = fixture_of(suite_new());
    struct suite *t = f.t;
    uint8_t request[16];
    size_t length = replay_frame_encode(REPLAY_STATUS_REQUEST, NULL, 0, request, sizeof request);
    stream_event(t, PORT_STREAM_ACCEPTED, 76);
    stream_event(t, PORT_STREAM_ACCEPTED, 77);
    stream_event(t, PORT_STREAM_ACCEPTED, 78);
    stream_event(t, PORT_STREAM_CLOSED, 78);
    suite_advance(t, 29 * SECOND);
    ck_assert_uint_eq(t->streams_closed, 0);
    give_stream(t, request, length); /* 77 */
    suite_advance(t, SECOND);
    ck_assert_uint_eq(t->streams_closed, 1);
    give_stream(t, request, length - 1); /* a trickle is no question */
    suite_advance(t, 28 * SECOND);
    ck_assert_uint_eq(t->streams_closed, 1);
    suite_advance(t, SECOND);
    ck_assert_uint_eq(t->streams_closed, 2);
    suite_advance(t, 100 * SECOND);
    ck_assert_uint_eq(t->streams_closed, 2);

    for (uint32_t i = 1; i <= 65; i++) /* one more than are kept */
        stream_event(t, PORT_STREAM_ACCEPTED, i);
    ck_assert_uint_eq(t->streams_closed, 3);
    ck_assert_uint_eq(suite_counter(t, COUNTER_STREAMS_REFUSED), 1);
    suite_advance(t, 30 * SECOND);
    ck_assert_uint_eq(t->streams_closed, 3 + 64);
    suite_free(t);
}
END_TEST

SUITE_MAIN("sequencer_core", a_restart_continues_the_history,
           what_nobody_recorded_is_gone_and_comes_again, a_lost_position_is_off_the_history,
           a_standby_that_is_ahead_goes_back, a_standby_that_is_level_fetches_nothing,
           a_run_cut_by_the_restart_is_void, the_rest_of_a_rejected_run_is_rejected_after_a_restart,
           another_session_begins_after_the_epoch_record,
           a_session_with_an_impossible_name_does_not_begin, many_epochs,
           status_is_answered_on_the_stream_port, who_asks_a_sequencer_for_history_is_refused,
           nonsense_on_the_stream_port_is_cut_off, who_asks_nothing_is_closed)
