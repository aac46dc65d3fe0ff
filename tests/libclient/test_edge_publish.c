/* Publishing through a proxy (script.h): exactly once over lost connections, forks, and what is refused; and apps
 * on top. */
#include <stdio.h>

#include "script.h"
#include "suite_main.h"

/* ---- publishing ------------------------------------------------------------------------------ */

static struct edge_open opened(struct script *s, uint64_t last, uint64_t join_seq)
{
    struct edge_open o;
    HEAR(s, open, EDGE_OPEN, &o);
    SAY(s, opened, .publisher = 12, .incarnation = o.wanted != 0 ? o.wanted : 3,
        .last_number = last, .join_seq = join_seq);
    script_flush(s);
    return o;
}

static void heard_item(struct script *s, uint64_t number, const char *payload)
{
    struct edge_publish p;
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.publisher, 12);
    ck_assert_uint_eq(p.number, number);
    ck_assert_uint_eq(p.length, strlen(payload));
    ck_assert_mem_eq(p.payload, payload, p.length);
    ck_assert(p.topic_length == 4 && memcmp(p.topic, "/a/b", 4) == 0);
}

static void outcome(struct script *s, uint64_t number, uint32_t count, uint64_t seq, uint8_t reason)
{
    SAY(s, outcome, .publisher = 12, .number = number, .count = count, .seq = seq, .reason = reason,
        .stable = seq - 1);
    script_flush(s);
}

static void push(struct script *s, struct cantus_pipe *pipe, const char *text)
{
    ck_assert(cantus_pipe_push(pipe, "/a/b", text, strlen(text)));
    script_step(s);
}

START_TEST(a_pipe_is_exactly_once_over_reconnects)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s); /* no subtree: from the tip */
    ck_assert(!cantus_pipe_ready(pipe));
    struct edge_open o = opened(s, 5, 11);
    ck_assert_str_eq(o.name, "me");
    ck_assert_uint_eq(o.wanted, 0);
    ck_assert(cantus_pipe_ready(pipe));
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 5);
    push(s, pipe, "six");
    push(s, pipe, "seven");
    push(s, pipe, "eight");
    heard_item(s, 6, "six");
    heard_item(s, 7, "seven");
    heard_item(s, 8, "eight");
    ck_assert(script_hears_nothing(s));
    s->now.mono_ns += 5 * SECOND;
    ck_assert(script_hears_nothing(s)); /* no retries */
    outcome(s, 6, 1, 13, 0);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 6);
    ck_assert_uint_eq(cantus_pipe_last_seq(pipe), 13);
    /* Seven is in the stream, but nobody has told. */
    script_cut(s);
    ck_assert(!cantus_pipe_ready(pipe));
    ck_assert(!cantus_pipe_push(pipe, "/a/b", "no", 2));
    script_let_in(s, 20, 20);
    struct edge_subscribe r = script_grant(s);
    ck_assert_uint_eq(r.position.seq, 13);
    struct edge_open again = opened(s, 7, 21);
    ck_assert_uint_eq(again.wanted, 4);
    ck_assert_uint_ne(again.nonce, o.nonce);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 7);
    heard_item(s, 8, "eight");
    ck_assert(script_hears_nothing(s));
    outcome(s, 8, 1, 23, 0);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 8);
    ck_assert_uint_eq(cantus_pipe_in_flight(pipe), 0);
    ck_assert_uint_eq(script_stats(s).violations, 0);
    script_free(s);
}
END_TEST

START_TEST(an_open_without_an_answer_is_asked_again_with_its_nonce)
{
    struct script *s = script_new(FOLLOWER_STABLE);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    struct edge_open first, again;
    HEAR(s, open, EDGE_OPEN, &first);
    script_cut(s);
    script_begin(s);
    HEAR(s, open, EDGE_OPEN, &again);
    ck_assert_uint_eq(first.nonce, again.nonce);
    ck_assert_uint_eq(again.wanted, 0);
    SAY(s, opened, .publisher = 12, .incarnation = 1, .last_number = 0, .join_seq = 12);
    script_flush(s);
    ck_assert(cantus_pipe_ready(pipe));
    script_free(s);
}
END_TEST

START_TEST(outcomes_from_before_a_reconnect_count_once)
{
    struct script *s = script_new(FOLLOWER_STABLE);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    opened(s, 0, 11);
    push(s, pipe, "one");
    push(s, pipe, "two");
    heard_item(s, 1, "one");
    heard_item(s, 2, "two");
    script_cut(s);
    script_begin(s);
    outcome(s, 1, 1, 14, 0); /* in the order of the stream, before the join */
    ck_assert_uint_eq(cantus_pipe_in_flight(pipe), 1);
    opened(s, 1, 15);
    outcome(s, 1, 1, 16, 0); /* nothing new */
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 1);
    heard_item(s, 2, "two");
    outcome(s, 2, 1, 17, 0);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 2);
    ck_assert_uint_eq(script_stats(s).violations, 0);
    script_free(s);
}
END_TEST

START_TEST(outcomes_out_of_turn_end_the_connection)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    opened(s, 0, 11);
    push(s, pipe, "one");
    push(s, pipe, "two");
    outcome(s, _i == 0 ? 2 : 1, _i == 0 ? 1 : 3, 13, 0);
    ck_assert(script_is_gone(s));
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 0);
    ck_assert_uint_eq(script_stats(s).violations, 1);
    script_free(s);
}
END_TEST

START_TEST(openings_that_can_not_be_end_the_connection)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    opened(s, 4, 11);
    push(s, pipe, "five");
    outcome(s, 5, 1, 13, 0);
    push(s, pipe, "six");
    script_cut(s);
    script_begin(s);
    struct edge_open o;
    HEAR(s, open, EDGE_OPEN, &o);
    static const struct edge_opened wrong[] = {
        { .publisher = 13, .incarnation = 4, .last_number = 5, .join_seq = 20 }, /* another's */
        { .publisher = 12, .incarnation = 3, .last_number = 5, .join_seq = 20 }, /* as before */
        { .publisher = 12, .incarnation = 4, .last_number = 4, .join_seq = 20 }, /* has forgotten */
        { .publisher = 12, .incarnation = 4, .last_number = 7, .join_seq = 20 }, /* not sent */
    };
    s->said_end = edge_opened_encode(&wrong[_i], s->said, SAID_MAX);
    script_flush(s);
    ck_assert(script_is_gone(s));
    ck_assert_uint_eq(script_stats(s).violations, 1);
    script_free(s);
}
END_TEST

START_TEST(the_window_and_the_room_of_the_stream_are_respected)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    opened(s, 0, 11);
    for (int i = 0; i < 64; i++)
        push(s, pipe, "x");
    ck_assert(!cantus_pipe_push(pipe, "/a/b", "x", 1));
    for (uint64_t i = 1; i <= 64; i++)
        heard_item(s, i, "x");
    outcome(s, 1, 1, 13, 0);
    push(s, pipe, "y");
    ck_assert(!cantus_pipe_push(pipe, "/a/b", "x", 1));
    heard_item(s, 65, "y");
    for (uint64_t i = 2; i <= 65; i++)
        outcome(s, i, 1, 12 + i, 0);
    /* A large one, a few bytes at a time; it takes a number for each 1000 bytes. */
    static char large[60001];
    memset(large, 'z', sizeof large - 1);
    s->room = 777;
    push(s, pipe, large);
    for (int i = 0; i < 200; i++)
        script_event(s, PORT_STREAM_ROOM, NULL, 0);
    s->room = HEARD_MAX;
    heard_item(s, 66, large);
    push(s, pipe, "last");
    heard_item(s, 126, "last");
    outcome(s, 66, 60, 200, 0);
    outcome(s, 126, 1, 201, 0);
    ck_assert_uint_eq(cantus_pipe_in_flight(pipe), 0);
    script_free(s);
}
END_TEST

START_TEST(who_is_superseded_stops_once_that_is_stable)
{
    bool stable = _i >= 2;
    struct script *s = script_new(stable ? FOLLOWER_STABLE : FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    opened(s, 0, 11);
    if (_i % 2 == 1) { /* found when it comes back */
        script_cut(s);
        script_begin(s);
        struct edge_open o;
        HEAR(s, open, EDGE_OPEN, &o);
    }
    SAY(s, superseded, .publisher = 12, .incarnation = 9, .join_seq = 15);
    script_flush(s);
    SAY(s, outcome, .publisher = 12, .number = 1, .count = 1, .seq = 16); /* not its own */
    script_flush(s);
    ck_assert_uint_eq(script_stats(s).violations, 0);
    ck_assert(!cantus_pipe_push(pipe, "/a/b", "x", 1));
    if (!stable) {
        ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
        SAY(s, progress, .through = 18, .stable = 14, .timestamp_ns = 1);
        script_flush(s);
        ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
        SAY(s, progress, .through = 19, .stable = 15, .timestamp_ns = 1);
        script_flush(s);
    }
    ck_assert_int_eq(client_core_status(s->core), CANTUS_SUPERSEDED);
    ck_assert_ptr_nonnull(script_reported(s, CANTUS_REPORT_SUPERSEDED));
    ck_assert_uint_ne(s->stream, 0); /* it follows on */
    script_cut(s);
    script_begin(s);
    ck_assert(script_hears_nothing(s)); /* and does not come back */
    script_free(s);
}
END_TEST

/* Its join is in the stream, and a later one, before it is told of either. */
START_TEST(who_is_superseded_before_it_is_open_stops)
{
    struct script *s = script_new(FOLLOWER_STABLE);
    struct edge_open o;
    ck_assert_ptr_nonnull(client_core_add_pipe(s->core, "me", s->error));
    script_begin(s);
    HEAR(s, open, EDGE_OPEN, &o);
    SAY(s, superseded, .publisher = 12, .incarnation = 9, .join_seq = 15);
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_SUPERSEDED);
    ck_assert_uint_eq(script_stats(s).violations, 0);
    script_free(s);
}
END_TEST

/* ACCEPTED speaks of the stream's history: what is stable there says nothing of an outcome on another one. */
START_TEST(what_is_stable_on_another_history_is_not_given_up)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    struct edge_subscribe r;
    script_begin(s);
    opened(s, 0, 11);
    push(s, pipe, "one");
    heard_item(s, 1, "one");
    outcome(s, 1, 1, 15, 0);
    script_cut(s);
    script_let_in(s, 20, 18);
    HEAR(s, subscribe, EDGE_SUBSCRIBE, &r);
    ck_assert_uint_eq(r.position.seq, 15);
    SAY(s, forked, .common = script_at(script_first_epoch, 13));
    SAY(s, subscribed, .position = script_at(script_first_epoch, 13));
    SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 14);
    script_flush(s);
    opened(s, 0, 19);
    heard_item(s, 1, "one");
    ck_assert_uint_eq(script_stats(s).violations, 0);
    script_free(s);
}
END_TEST

START_TEST(a_fork_takes_back_what_superseded)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    opened(s, 0, 11);
    SAY(s, superseded, .publisher = 12, .incarnation = 9, .join_seq = 15);
    script_flush(s);
    ck_assert(script_hears_nothing(s));
    SAY(s, forked, .common = script_at(script_first_epoch, 13));
    SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 14);
    script_flush(s);
    ck_assert_uint_eq(opened(s, 0, 15).wanted, 4);
    ck_assert(cantus_pipe_ready(pipe));
    ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    script_free(s);
}
END_TEST

START_TEST(a_pipe_that_may_not_write_ends_the_client)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    opened(s, 0, 11);
    push(s, pipe, "one");
    SAY(s, refused, .request = EDGE_PUBLISH, .reason = EDGE_REFUSED_RIGHT, .right = ACCESS_WRITE,
        .publisher = 12, .number = 1, .subject = "/a/b");
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "\"/a/b\": not permitted"));
    script_free(s);
}
END_TEST

START_TEST(several_publishers_are_opened_one_after_the_other)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *a = client_core_add_pipe(s->core, "a", s->error);
    struct cantus_pipe *b = client_core_add_pipe(s->core, "b", s->error);
    script_begin(s);
    struct edge_open o;
    HEAR(s, open, EDGE_OPEN, &o);
    ck_assert_str_eq(o.name, "a");
    ck_assert(script_hears_nothing(s));
    SAY(s, opened, .publisher = 20, .incarnation = 1, .last_number = 0, .join_seq = 12);
    script_flush(s);
    HEAR(s, open, EDGE_OPEN, &o);
    ck_assert_str_eq(o.name, "b");
    SAY(s, opened, .publisher = 21, .incarnation = 1, .last_number = 0, .join_seq = 13);
    script_flush(s);
    ck_assert(cantus_pipe_ready(a) && cantus_pipe_ready(b));
    push(s, b, "x");
    struct edge_publish p;
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.publisher, 21);
    script_free(s);
}
END_TEST

static uint64_t items_asked;
static const uint32_t item_lengths[] = { 10, 2500, 1000, 1001, 5 }; /* 1, 3, 1, 2, 1 numbers */

static bool next_item(void *ctx, uint64_t index, struct cantus_item *out)
{
    static char payload[4096];
    (void)ctx;
    items_asked++;
    if (index >= sizeof item_lengths / sizeof item_lengths[0])
        return false;
    *out =
        (struct cantus_item) { .topic = "/a/b", .payload = payload, .length = item_lengths[index] };
    return true;
}

START_TEST(an_injector_finds_its_place_by_numbers)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct cantus_injector *i =
        client_core_add_injector(s->core, "feed", next_item, NULL, s->error);
    script_begin(s);
    opened(s, 5, 11); /* the first three items */
    ck_assert_uint_eq(cantus_injector_sequenced(i), 3);
    struct edge_publish p;
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 6);
    ck_assert_uint_eq(p.length, 1001);
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 8);
    ck_assert_uint_eq(p.length, 5);
    ck_assert(script_hears_nothing(s));
    outcome(s, 6, 2, 14, 0);
    ck_assert_uint_eq(cantus_injector_sequenced(i), 4);
    script_cut(s);
    script_begin(s);
    opened(s, 8, 30);
    ck_assert_uint_eq(cantus_injector_sequenced(i), 5);
    ck_assert(script_hears_nothing(s));
    script_free(s);
}
END_TEST

/* ---- apps ------------------------------------------------------------------------------------ */

struct count {
    uint64_t count, goal, fired, fired_at;
    struct cantus_timers *timers;
};

static bool count_init(void *state, const char *config, struct cantus_timers *timers)
{
    struct count *c = state;
    c->goal = strtoull(config, NULL, 10);
    c->timers = timers;
    return true;
}

static void count_apply(void *state, const struct cantus_message *m)
{
    struct count *c = state;
    c->count++;
    if (m->length > 5 && memcmp(m->payload, "timer", 5) == 0)
        cantus_timer_set(c->timers, 1, m->timestamp_ns + 5000);
}

static void count_timer(void *state, uint64_t id, uint64_t now_ns)
{
    struct count *c = state;
    (void)id;
    c->fired = now_ns;
    c->fired_at = c->count;
}

static bool count_next(const void *state, struct cantus_proposal *p)
{
    const struct count *c = state;
    if (c->count >= c->goal)
        return false;
    p->topic = "/a/b";
    p->payload = "inc";
    p->length = 3;
    p->condition_topic = "/a/c";
    p->condition_after = c->count;
    return true;
}

static uint64_t count_digest(const void *state)
{
    const struct count *c = state;
    const uint64_t fields[] = { c->count, c->fired, c->fired_at };
    return cantus_hash(0, fields, sizeof fields);
}

static const char *const count_topics[] = { "/a", NULL };
static const struct cantus_app count_app = { .abi = CANTUS_APP_ABI,
                                             .name = "count",
                                             .topics = count_topics,
                                             .state_size = sizeof(struct count),
                                             .init = count_init,
                                             .apply = count_apply,
                                             .timer = count_timer,
                                             .next = count_next,
                                             .digest = count_digest };

static struct machine *add(struct script *s, const char *goal, const char *identity)
{
    struct machine *m = client_core_add_app(s->core, &count_app, goal, identity, s->error);
    ck_assert_msg(m != NULL, "%s", s->error);
    return m;
}

START_TEST(timers_fire_with_messages_and_with_progress)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    const struct count *c = machine_state_const(add(s, "0", NULL));
    script_let_in(s, 10, 10);
    ck_assert_uint_eq(script_grant(s).tick_ms, 1); /* each tick of the stream */
    script_tell(s, 4, "timer");                    /* due at 9000: sequenced at 4000 */
    script_tell(s, 5, "timer!");
    script_flush(s);
    SAY(s, progress, .through = 8, .previous = 5, .stable = 1, .timestamp_ns = 9999);
    script_flush(s);
    ck_assert_uint_eq(c->fired, 0); /* due at 10000 */
    SAY(s, progress, .through = 9, .previous = 5, .stable = 1, .timestamp_ns = 10000);
    script_flush(s);
    ck_assert_uint_eq(c->fired, 10000);
    ck_assert_uint_eq(c->fired_at, 2);
    script_tell(s, 11, "timer!"); /* due at 16000 */
    script_tell(s, 16, "x");      /* fires before it */
    script_flush(s);
    ck_assert_uint_eq(c->fired, 16000);
    ck_assert_uint_eq(c->fired_at, 3);
    script_free(s);
}
END_TEST

START_TEST(an_app_proposes_when_it_has_caught_up_and_is_told_of_refusals)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct machine *m = add(s, "3", "me");
    script_begin(s);
    script_tell(s, 4, "one");
    script_flush(s);
    struct edge_open o;
    HEAR(s, open, EDGE_OPEN, &o);
    SAY(s, opened, .publisher = 12, .incarnation = 1, .last_number = 0, .join_seq = 12);
    script_flush(s);
    struct edge_publish p;
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 1);
    ck_assert_uint_eq(p.position.seq, 12); /* what OPENED says that it has applied */
    ck_assert(epoch_equal(p.position.epoch, script_first_epoch));
    ck_assert(p.conditional && p.condition_after == 1);
    ck_assert(p.condition_topic_length == 4 && memcmp(p.condition_topic, "/a/c", 4) == 0);
    SAY(s, refused, .request = EDGE_PUBLISH, .reason = EDGE_REFUSED_RIGHT, .right = ACCESS_WRITE,
        .publisher = 12, .number = 1, .subject = "/a/b");
    script_flush(s);
    const struct rig_report *r = script_reported(s, CANTUS_REPORT_REJECTED);
    ck_assert_ptr_nonnull(r);
    ck_assert_str_eq(r->topic, "/a/b");
    ck_assert_ptr_nonnull(strstr(r->text, "right to write"));
    ck_assert(script_hears_nothing(s)); /* until something changes */
    script_tell(s, 13, "two");
    script_flush(s);
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 1); /* it was free again */
    ck_assert_uint_eq(p.position.seq, 13);
    /* A reject of the stream's consumes it. */
    SAY(s, outcome, .publisher = 12, .number = 1, .count = 1, .seq = 15, .reason = REJECT_CONDITION,
        .detail = 13);
    script_flush(s);
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 2);
    r = script_reported(s, CANTUS_REPORT_REJECTED);
    ck_assert_uint_eq(r->r.seq, 15);
    ck_assert_str_eq(r->topic, "/a/b");
    char identity[64] = "@", key[ACCESS_KEY_TEXT + 1];
    access_key_write(s->edge.key, key);
    snprintf(identity, sizeof identity, "@%s:me", key);
    ck_assert_str_eq(r->identity, identity);
    ck_assert_uint_eq(((const struct count *)machine_state_const(m))->count, 2);
    ck_assert(!client_core_publish_digests(s->core, m, NULL, 0, s->error));
    ck_assert_ptr_nonnull(strstr(s->error, "core network"));
    script_free(s);
}
END_TEST

START_TEST(a_fork_rebuilds_the_apps_over_a_new_connection)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct machine *m = add(s, "0", NULL);
    script_subscribe(s, "/a");
    script_begin(s);
    for (uint64_t seq = 4; seq < 12; seq++)
        script_tell(s, seq, "old");
    script_flush(s);
    uint32_t stream = s->stream;
    struct port_addr to = s->to;
    SAY(s, forked, .common = script_at(script_first_epoch, 9));
    script_flush(s);
    const struct rig_report *r = script_reported(s, CANTUS_REPORT_FORKED);
    ck_assert_ptr_nonnull(r);
    ck_assert_uint_eq(r->r.seq, 10);
    ck_assert_uint_eq(((const struct count *)machine_state_const(m))->count, 0);
    script_begin(s);
    ck_assert_uint_ne(s->stream, stream);
    ck_assert(port_addr_equal(to, s->to)); /* there is nothing wrong with it */
    for (uint64_t seq = 4; seq < 10; seq++)
        script_tell(s, seq, "old");
    SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 10);
    script_tell(s, 11, "new");
    script_flush(s);
    ck_assert_uint_eq(((const struct count *)machine_state_const(m))->count, 7);
    ck_assert_ptr_nonnull(script_reported(s, CANTUS_REPORT_REBUILT));
    ck_assert_uint_eq(s->seen_count, 9); /* the subscription was not told twice */
    script_saw(s, 8, 11, "new");
    ck_assert_uint_eq(script_stats(s).violations, 0);
    script_free(s);
}
END_TEST

START_TEST(a_second_fork_during_the_rebuild_is_found)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    add(s, "0", NULL);
    script_subscribe(s, "/a");
    script_begin(s);
    script_tell(s, 4, "old");
    SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 6);
    for (uint64_t seq = 7; seq < 12; seq++)
        script_tell(s, seq, "old");
    script_flush(s);
    SAY(s, forked, .common = script_at(script_second_epoch, 9));
    script_flush(s);
    ck_assert_uint_eq(script_reported(s, CANTUS_REPORT_FORKED)->r.seq, 10);
    script_begin(s);
    script_tell(s, 4, "old");
    script_flush(s);
    /* What was told of 6 to 9 does not hold either: another epoch began at 5. */
    SAY(s, epoch, .epoch = { .number = 3, .candidate = 33 }, .first_seq = 5);
    script_tell(s, 7, "new");
    script_flush(s);
    ck_assert_uint_eq(script_reported(s, CANTUS_REPORT_FORKED)->r.seq, 5);
    script_saw(s, s->seen_count - 1, 7, "new");
    ck_assert_uint_eq(s->seen_count, 7);
    script_free(s);
}
END_TEST

START_TEST(without_apps_a_fork_goes_on_where_it_is)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    struct cantus_pipe *pipe = client_core_add_pipe(s->core, "me", s->error);
    script_begin(s);
    opened(s, 0, 11);
    script_tell(s, 12, "old");
    script_flush(s);
    push(s, pipe, "one");
    push(s, pipe, "two");
    heard_item(s, 1, "one");
    heard_item(s, 2, "two");
    outcome(s, 1, 1, 14, 0);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 1);
    SAY(s, forked, .common = script_at(script_first_epoch, 13));
    SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 14);
    script_flush(s);
    ck_assert_uint_eq(script_reported(s, CANTUS_REPORT_FORKED)->r.seq, 14);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 0);
    ck_assert_uint_eq(cantus_pipe_in_flight(pipe), 2);
    ck_assert(script_hears_nothing(s)); /* the proxy has them */
    outcome(s, 1, 1, 15, 0);
    outcome(s, 2, 1, 16, 0);
    ck_assert_uint_eq(cantus_pipe_sequenced(pipe), 2);
    script_tell(s, 17, "new");
    script_flush(s);
    script_saw(s, s->seen_count - 1, 17, "new");
    ck_assert_ptr_nonnull(script_reported(s, CANTUS_REPORT_REBUILT));
    ck_assert_uint_eq(script_stats(s).violations, 0);
    ck_assert_uint_eq(s->streams, 1);
    script_free(s);
}
END_TEST

START_TEST(a_position_that_is_off_the_history_is_told)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_begin(s);
    script_tell(s, 4, "one");
    script_tell(s, 9, "two");
    script_flush(s);
    script_cut(s);
    script_let_in(s, 20, 20);
    struct edge_subscribe r;
    HEAR(s, subscribe, EDGE_SUBSCRIBE, &r);
    ck_assert_uint_eq(r.position.seq, 9);
    if (_i == 0)
        SAY(s, forked, .common = script_at(script_first_epoch, 6));
    SAY(s, subscribed, .position = script_at(script_first_epoch, 6));
    if (_i == 1)
        SAY(s, forked, .common = script_at(script_first_epoch, 6));
    SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 7);
    script_tell(s, 8, "other two");
    script_flush(s);
    ck_assert_uint_eq(script_reported(s, CANTUS_REPORT_FORKED)->r.seq, 7);
    script_saw(s, 2, 8, "other two");
    ck_assert_uint_eq(script_stats(s).violations, 0);
    script_free(s);
}
END_TEST

/* The proxy does not know where its history and the client's part: the join, which is stable, is behind that. */
START_TEST(a_fork_in_front_of_a_join_leaves_the_publisher)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    ck_assert_ptr_nonnull(client_core_add_pipe(s->core, "pub", s->error));
    script_subscribe(s, "/a");
    script_begin(s);
    opened(s, 0, 11);
    script_tell(s, 12, "one");
    script_flush(s);
    script_cut(s);
    script_let_in(s, 20, 10);
    struct edge_subscribe r;
    HEAR(s, subscribe, EDGE_SUBSCRIBE, &r);
    SAY(s, forked, .common = script_at(script_first_epoch, 6));
    SAY(s, subscribed, .position = script_at(script_first_epoch, 6));
    script_flush(s);
    ck_assert_uint_eq(opened(s, 0, 21).wanted, 4);
    ck_assert_uint_eq(script_stats(s).violations, 0);
    script_free(s);
}
END_TEST

START_TEST(an_app_decides_again_after_a_fork)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    s->is_volatile = true; /* joins are taken back, too */
    add(s, "3", "me");
    script_begin(s);
    script_tell(s, 4, "one");
    script_flush(s);
    opened(s, 0, 12);
    struct edge_publish p;
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.position.seq, 12);
    script_tell(s, 13, "two"); /* not the app's own */
    script_flush(s);
    SAY(s, forked, .common = script_at(script_first_epoch, 12));
    script_flush(s);
    script_let_in(s, 12, 0);
    script_grant(s);
    script_tell(s, 4, "one");
    script_flush(s);
    struct edge_open o = opened(s, 0, 20);
    ck_assert_uint_eq(o.wanted, 4);
    HEAR(s, publish, EDGE_PUBLISH, &p); /* authored at 12, which holds: sent again as it was */
    ck_assert_uint_eq(p.number, 1);
    ck_assert_uint_eq(p.position.seq, 12);
    /* And one whose position fell off is decided again. */
    SAY(s, forked, .common = script_at(script_first_epoch, 11));
    script_flush(s);
    script_let_in(s, 12, 0);
    script_grant(s);
    ck_assert_uint_eq(script_stats(s).violations, 0);
    opened(s, 0, 30);
    HEAR(s, publish, EDGE_PUBLISH, &p);
    ck_assert_uint_eq(p.number, 1);
    ck_assert_uint_eq(p.position.seq, 30);
    ck_assert_uint_eq(p.condition_after, 0);
    script_free(s);
}
END_TEST

START_TEST(a_fork_of_what_was_stable_stops_the_client)
{
    struct script *s = script_new(FOLLOWER_STABLE);
    script_subscribe(s, "/a");
    script_begin(s);
    script_tell(s, 4, "one");
    script_tell(s, 9, "two");
    script_flush(s);
    SAY(s, forked, .common = script_at(script_first_epoch, 4));
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "was stable"));
    script_free(s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("edge_publish");
    TCase *t = tcase_create("publishing");
    tcase_add_test(t, a_pipe_is_exactly_once_over_reconnects);
    tcase_add_test(t, an_open_without_an_answer_is_asked_again_with_its_nonce);
    tcase_add_test(t, outcomes_from_before_a_reconnect_count_once);
    tcase_add_loop_test(t, outcomes_out_of_turn_end_the_connection, 0, 2);
    tcase_add_loop_test(t, openings_that_can_not_be_end_the_connection, 0, 4);
    tcase_add_test(t, the_window_and_the_room_of_the_stream_are_respected);
    tcase_add_loop_test(t, who_is_superseded_stops_once_that_is_stable, 0, 4);
    tcase_add_test(t, who_is_superseded_before_it_is_open_stops);
    tcase_add_test(t, what_is_stable_on_another_history_is_not_given_up);
    tcase_add_test(t, a_fork_takes_back_what_superseded);
    tcase_add_test(t, a_pipe_that_may_not_write_ends_the_client);
    tcase_add_test(t, several_publishers_are_opened_one_after_the_other);
    tcase_add_test(t, an_injector_finds_its_place_by_numbers);
    suite_add_tcase(s, t);
    t = tcase_create("apps");
    tcase_add_test(t, timers_fire_with_messages_and_with_progress);
    tcase_add_test(t, an_app_proposes_when_it_has_caught_up_and_is_told_of_refusals);
    tcase_add_test(t, a_fork_rebuilds_the_apps_over_a_new_connection);
    tcase_add_test(t, a_second_fork_during_the_rebuild_is_found);
    tcase_add_test(t, without_apps_a_fork_goes_on_where_it_is);
    tcase_add_loop_test(t, a_position_that_is_off_the_history_is_told, 0, 2);
    tcase_add_test(t, a_fork_in_front_of_a_join_leaves_the_publisher);
    tcase_add_test(t, an_app_decides_again_after_a_fork);
    tcase_add_test(t, a_fork_of_what_was_stable_stops_the_client);
    suite_add_tcase(s, t);
    return suite_main(s);
}
