/* Pipe, injector, reconciler: exactly once, through loss, restarts at any moment, a deaf sequencer
 * and forks. What counts is what is in the leader's log at the end. */
#include <stdio.h>

#include "libclient/core_private.h"
#include "rig.h"
#include "suite_main.h"

/* Payloads of a topic in the log, in order; returns how many there are. */
static uint32_t in_log(const struct rig *r, const char *path, uint32_t *values, uint32_t max)
{
    uint32_t topic = catalog_topic_find(r->leader.catalog, path, strlen(path));
    uint32_t count = 0;
    for (uint32_t i = 0; i < r->leader.log_count; i++) {
        struct batch_cursor c = batch_begin(r->leader.log[i].bytes, &r->leader.log[i].header);
        struct message m;
        while (batch_next(&c, &m)) {
            if (m.topic != topic || count == max)
                continue;
            memcpy(&values[count++], m.payload, sizeof values[0]);
        }
    }
    return count;
}

static void all_in_log_once(const struct rig *r, const char *path, uint32_t expected)
{
    static uint32_t values[8192];
    uint32_t count = in_log(r, path, values, 8192);
    ck_assert_uint_eq(count, expected);
    for (uint32_t i = 0; i < count; i++)
        ck_assert_uint_eq(values[i], i);
}

/* ---- pipe ------------------------------------------------------------------------------------ */

static struct cantus_pipe *pipe_of(struct rig *r)
{
    struct cantus_pipe *p = client_core_add_pipe(r->core, "feed", r->error);
    ck_assert_msg(p != NULL, "%s", r->error);
    return p;
}

/* Pushes items below `end`, going on where the stream says that the pipe is; stops after `rounds`.
 */
static void push_through(struct rig *r, struct cantus_pipe *p, uint32_t end, uint32_t rounds)
{
    uint64_t pushed = UINT64_MAX;
    for (uint32_t i = 0; i < rounds; i++) {
        rig_run(r);
        if (cantus_pipe_ready(p)) {
            if (pushed == UINT64_MAX)
                pushed = cantus_pipe_sequenced(p) + cantus_pipe_in_flight(p);
            uint32_t value = (uint32_t)pushed;
            while (value < end && cantus_pipe_push(p, "/feed", &value, sizeof value))
                value++;
            pushed = value;
            if (cantus_pipe_sequenced(p) >= end)
                return;
        }
        r->now.mono_ns += MS;
    }
}

START_TEST(every_item_is_sequenced_once_through_loss_and_restarts)
{
    for (int level = FOLLOWER_SEQUENCED; level <= FOLLOWER_STABLE; level++) {
        struct rig *r = rig_new((enum follower_level)level);
        r->leader.lose_one_of = 4;
        for (uint32_t i = 1; i < 12; i++) {
            push_through(r, pipe_of(r), 3000, i); /* stops in the middle of things */
            rig_restart(r);
        }
        struct cantus_pipe *p = pipe_of(r);
        push_through(r, p, 3000, 5000);
        ck_assert_uint_eq(cantus_pipe_sequenced(p), 3000);
        ck_assert_uint_eq(cantus_pipe_in_flight(p), 0);
        ck_assert_uint_eq(cantus_pipe_rejected(p), 0);
        all_in_log_once(r, "/feed", 3000);
        rig_free(r);
    }
}
END_TEST

START_TEST(large_items_count_as_one_each)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    rig_subscribe(r, "/big");
    struct cantus_pipe *p = pipe_of(r);
    static uint8_t bytes[1 << 20];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    static const size_t sizes[] = { 1, 1400, 100000, 1 << 20, 0 };
    uint32_t pushed = 0;
    for (uint32_t i = 0; i < 2000 && cantus_pipe_sequenced(p) < 5; i++) {
        rig_run(r);
        if (pushed < 5 && cantus_pipe_push(p, "/big", bytes, sizes[pushed]))
            pushed++;
        r->now.mono_ns += MS;
    }
    ck_assert_uint_eq(r->seen_count, 5);
    for (uint32_t i = 0; i < 5; i++) {
        ck_assert_uint_eq(r->seen[i].length, sizes[i]);
        ck_assert_uint_eq(r->seen[i].hash, cantus_hash(0, bytes, sizes[i]));
    }
    rig_restart(r);
    p = pipe_of(r);
    rig_run_until(r, NULL, MS, 10);
    ck_assert(cantus_pipe_ready(p));
    ck_assert_uint_eq(cantus_pipe_sequenced(p), 5);
    rig_free(r);
}
END_TEST

START_TEST(a_malformed_item_stops_the_client_with_a_reason)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    struct cantus_pipe *p = pipe_of(r);
    ck_assert(!cantus_pipe_push(p, "/feed", "x", 1)); /* not ready */
    ck_assert_int_eq(client_core_status(r->core), CANTUS_OK);
    rig_run_until(r, NULL, MS, 5);
    ck_assert(cantus_pipe_ready(p));
    ck_assert(!cantus_pipe_push(p, "feed", "x", 1));
    ck_assert_int_eq(client_core_status(r->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(r->core), "feed"));
    rig_free(r);
}
END_TEST

START_TEST(rejects_are_outcomes_too)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    struct cantus_pipe *p = pipe_of(r);
    r->leader.reject_next = REJECT_NOT_PERMITTED;
    push_through(r, p, 3, 100);
    ck_assert_uint_eq(cantus_pipe_sequenced(p), 3);
    ck_assert_uint_eq(cantus_pipe_rejected(p), 1);
    ck_assert_ptr_nonnull(rig_reported(r, CANTUS_REPORT_REJECTED));
    rig_free(r);
}
END_TEST

START_TEST(a_fork_takes_nothing_from_a_pipe)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    struct cantus_pipe *p = pipe_of(r);
    rig_topic(r, "/feed");
    rig_run_until(r, NULL, MS, 5);
    r->leader.hold_stable = true;
    for (uint32_t i = 0; i < 40; i++) {
        ck_assert(cantus_pipe_push(p, "/feed", &i, sizeof i));
        rig_run(r);
    }
    ck_assert_uint_eq(cantus_pipe_sequenced(p), 40);
    r->leader.deaf = true;
    for (uint32_t i = 40; i < 50; i++)
        ck_assert(cantus_pipe_push(p, "/feed", &i, sizeof i));
    rig_run(r);
    rig_fork(r, rig_tip(r) - 25);
    rig_run(r);
    ck_assert_ptr_nonnull(rig_reported(r, CANTUS_REPORT_FORKED));
    ck_assert_uint_eq(cantus_pipe_sequenced(p), 15);
    ck_assert_uint_eq(cantus_pipe_in_flight(p), 35);
    r->leader.deaf = false;
    rig_run_until(r, NULL, MS, 300);
    ck_assert_uint_eq(cantus_pipe_sequenced(p), 50);
    ck_assert_uint_eq(cantus_pipe_in_flight(p), 0);
    all_in_log_once(r, "/feed", 50);
    rig_free(r);
}
END_TEST

START_TEST(a_volatile_stream_that_begins_again_takes_new_items)
{
    struct rig *r = rig_new_volatile();
    struct cantus_pipe *p = pipe_of(r);
    push_through(r, p, 30, 200);
    ck_assert_uint_eq(cantus_pipe_sequenced(p), 30);
    rig_fork(r, 1); /* its sequencer has restarted, and nobody has what it knew */
    rig_run_until(r, NULL, MS, 100);
    ck_assert_ptr_nonnull(rig_reported(r, CANTUS_REPORT_FORKED));
    ck_assert(cantus_pipe_ready(p));
    ck_assert_uint_eq(cantus_pipe_sequenced(p), 0);
    ck_assert_uint_eq(cantus_pipe_in_flight(p), 0);
    push_through(r, p, 20, 200);
    all_in_log_once(r, "/feed", 20);
    rig_free(r);
}
END_TEST

/* ---- injector -------------------------------------------------------------------------------- */

static uint32_t source_end;

static bool source_item(void *ctx, uint64_t index, struct cantus_item *out)
{
    uint32_t *value = ctx;
    if (index >= source_end)
        return false;
    *value = (uint32_t)index;
    *out = (struct cantus_item) { .topic = "/md", .payload = value, .length = sizeof *value };
    return true;
}

START_TEST(an_injector_goes_on_at_the_right_item_after_any_restart)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    r->leader.lose_one_of = 5;
    uint32_t value;
    source_end = 5000;
    struct cantus_injector *in = NULL;
    for (uint32_t i = 1; i < 10; i++) {
        if (i > 1)
            rig_restart(r);
        in = client_core_add_injector(r->core, "source", source_item, &value, r->error);
        ck_assert_ptr_nonnull(in);
        for (uint32_t n = 0; n < i; n++) {
            leader_deliver(r);
            rig_run(r);
            r->now.mono_ns += MS;
        }
    }
    for (uint32_t i = 0; i < 5000 && cantus_injector_sequenced(in) < source_end; i++)
        rig_run_until(r, NULL, MS, 1);
    ck_assert_uint_eq(cantus_injector_sequenced(in), 5000);
    source_end = 5010; /* the list has grown */
    rig_run_until(r, NULL, MS, 300);
    ck_assert_uint_eq(cantus_injector_sequenced(in), 5010);
    ck_assert_uint_eq(cantus_injector_last_seq(in), rig_tip(r));
    all_in_log_once(r, "/md", 5010);
    rig_free(r);
}
END_TEST

/* ---- reconciler ------------------------------------------------------------------------------ */

struct level {
    uint32_t steps;
};

static void level_apply(void *state, const struct cantus_message *m)
{
    (void)m;
    ((struct level *)state)->steps++;
}

static const char *const level_topics[] = { "/level", NULL };
static const struct cantus_app level_app = { .abi = CANTUS_APP_ABI,
                                             .name = "level",
                                             .topics = level_topics,
                                             .state_size = sizeof(struct level),
                                             .apply = level_apply };
static uint32_t wanted_level;

static bool level_difference(void *ctx, struct cantus_proposal *p)
{
    const struct level *s = machine_state(ctx);
    memcpy(p->buffer, &s->steps, sizeof s->steps);
    p->topic = "/level";
    p->payload = p->buffer;
    p->length = sizeof s->steps;
    return s->steps < wanted_level;
}

START_TEST(a_reconciler_takes_each_step_once)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    r->leader.lose_one_of = 3;
    struct machine *m = client_core_add_app(r->core, &level_app, "", NULL, r->error);
    ck_assert_ptr_nonnull(
        client_core_add_reconciler(r->core, "hand", level_difference, m, r->error));
    wanted_level = 20;
    rig_run_until(r, NULL, MS, 1000);
    all_in_log_once(r, "/level", 20);
    wanted_level = 25;
    rig_run_until(r, NULL, MS, 300);
    all_in_log_once(r, "/level", 25);
    rig_free(r);
}
END_TEST

/* ---- many in one batch ----------------------------------------------------------------------- */

enum { MANY = 32 };

/* A batch as a sequencer makes it of two publishers' proposals, handed to the client: own items, every 8th of which goes to a
 * topic that is watched here, and after every 5th somebody else's. Of item `wrong` the payload is another. */
static void come_back(struct rig *r, uint32_t own, uint64_t first, uint32_t other, uint32_t wrong)
{
    uint32_t feed = rig_topic(r, "/feed"), watched = rig_topic(r, "/watched");
    uint8_t bytes[WIRE_DATAGRAM_DEFAULT];
    struct batch_builder b;
    batch_open(&b, bytes, sizeof bytes, rig_tip(r) + 1);
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t value = i == wrong ? 999 : i;
        batch_add(&b, i % 8 == 7 ? watched : feed, own, first + i, 0, &value, sizeof value);
        if (i % 5 == 4)
            batch_add(&b, feed, other, 1 + i / 5, 0, "theirs", 6);
    }
    struct batch_header header = { .stream = RIG_STREAM,
                                   .before = r->leader.digest,
                                   .epoch = r->leader.epoch,
                                   .timestamp_ns = r->leader.timestamp_ns };
    batch_close(&b, 0, &header);
    r->leader.feed(r, bytes, b.length, PORT_EGRESS_A);
    rig_step(r);
}

START_TEST(what_comes_back_among_others_is_concluded_and_handed_over)
{
    /* One is altered, each in turn; in the end none. */
    for (uint32_t wrong = 0; wrong <= MANY; wrong++) {
        struct rig *r = rig_new(FOLLOWER_SEQUENCED);
        rig_subscribe(r, "/watched");
        struct cantus_pipe *p = pipe_of(r);
        uint32_t other = rig_join(r, "other", 5);
        rig_topic(r, "/feed");
        rig_topic(r, "/watched");
        rig_run_until(r, NULL, MS, 20);
        ck_assert(cantus_pipe_ready(p));
        r->leader.deaf = true;
        for (uint32_t i = 0; i < MANY; i++)
            MUST(cantus_pipe_push(p, i % 8 == 7 ? "/watched" : "/feed", &i, sizeof i));
        rig_step(r);
        const struct publisher *publisher = p->author.publisher;
        come_back(r, publisher_id(publisher), 1, other, wrong);
        MUST(cantus_pipe_sequenced(p) == MANY && cantus_pipe_in_flight(p) == 0);
        MUST(publisher_mismatches(publisher) == (wrong < MANY));
        MUST(r->seen_count == MANY / 8);
        for (uint32_t i = 0; i < r->seen_count; i++) {
            uint32_t value = 8 * i + 7 == wrong ? 999 : 8 * i + 7;
            MUST(r->seen[i].publisher_seq == 8 * i + 8);
            MUST(strcmp(r->seen[i].publisher, "feed") == 0);
            MUST(memcmp(r->seen[i].head, &value, sizeof value) == 0);
        }
        MUST(cantus_pipe_last_seq(p) == client_core_seq(r->core));
        rig_free(r);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pipe");
    TCase *t = tcase_create("pipe");
    tcase_add_test(t, every_item_is_sequenced_once_through_loss_and_restarts);
    tcase_add_test(t, large_items_count_as_one_each);
    tcase_add_test(t, a_malformed_item_stops_the_client_with_a_reason);
    tcase_add_test(t, rejects_are_outcomes_too);
    tcase_add_test(t, a_fork_takes_nothing_from_a_pipe);
    tcase_add_test(t, a_volatile_stream_that_begins_again_takes_new_items);
    tcase_add_test(t, an_injector_goes_on_at_the_right_item_after_any_restart);
    tcase_add_test(t, a_reconciler_takes_each_step_once);
    tcase_add_test(t, what_comes_back_among_others_is_concluded_and_handed_over);
    suite_add_tcase(s, t);
    return suite_main(s);
}
