/* State digests: which positions replicas choose, and what they publish when.
 *
 * Method: replicas of a small app live one after the other on one stream of messages, groups and
 * fragments. Then the leader's log is read again here, without the client: which positions had to
 * be chosen is worked out from the log alone, and what the state there is by a client that follows
 * to just there. Every statement in the log must be one of these, and where a replica was live none
 * may be missing. */
#include <stdio.h>

#include "rig.h"
#include "suite_main.h"

/* ---- an app: sums what it hears -------------------------------------------------------------- */

struct sum {
    uint64_t sum;
    uint64_t fired;
    struct cantus_timers *timers;
};

static bool sum_init(void *state, const char *config, struct cantus_timers *timers)
{
    struct sum *s = state;
    (void)config;
    s->timers = timers;
    return true;
}

static void sum_apply(void *state, const struct cantus_message *m)
{
    struct sum *s = state;
    s->sum = cantus_hash(s->sum, m->payload, m->length);
    if (m->length == 5 && memcmp(m->payload, "timer", 5) == 0)
        cantus_timer_set(s->timers, 1, m->timestamp_ns + SECOND);
}

static void sum_timer(void *state, uint64_t id, uint64_t now_ns)
{
    struct sum *s = state;
    s->fired += id + now_ns % 2;
}

static uint32_t digests_taken;

static uint64_t sum_digest(const void *state)
{
    const struct sum *s = state;
    digests_taken++;
    return cantus_hash(s->fired, &s->sum, sizeof s->sum);
}

static const char *const sum_topics[] = { "/sum", NULL };
static const struct cantus_app sum_app = { .abi = CANTUS_APP_ABI,
                                           .logic_version = 7,
                                           .name = "sum",
                                           .topics = sum_topics,
                                           .state_size = sizeof(struct sum),
                                           .init = sum_init,
                                           .apply = sum_apply,
                                           .timer = sum_timer,
                                           .digest = sum_digest };

static struct machine *add(struct rig *r, const struct cantus_app *app, const char *identity,
                           uint64_t every)
{
    struct machine *m = rig_add(r, app, "", NULL);
    ck_assert_msg(client_core_publish_digests(r->core, m, identity, every, r->error), "%s",
                  r->error);
    return m;
}

/* ---- what the log says ----------------------------------------------------------------------- */

enum { STATEMENTS_MAX = 2048 };

struct statement {
    char publisher[IDENTITY_MAX + 1];
    uint64_t seq; /* of the message */
    struct sys_digest d;
};

static struct statement statements[STATEMENTS_MAX];
static uint32_t statement_count;

static void read_batch(struct rig *r, const struct leader_batch *b, uint32_t topic)
{
    struct batch_cursor cursor = batch_begin(b->bytes, &b->header);
    struct message m;
    while (batch_next(&cursor, &m)) {
        if (m.topic != topic)
            continue;
        ck_assert_uint_lt(statement_count, STATEMENTS_MAX);
        struct statement *s = &statements[statement_count++];
        s->seq = m.seq;
        snprintf(s->publisher, sizeof s->publisher, "%s",
                 catalog_publisher(r->leader.catalog, m.publisher)->identity);
        ck_assert(sys_digest_decode(m.payload, m.length, &s->d));
    }
}

static void read_statements(struct rig *r)
{
    statement_count = 0;
    uint32_t topic = catalog_topic_find(r->leader.catalog, "/sys/digest/sum", 15);
    for (uint32_t i = 0; topic != 0 && i < r->leader.log_count; i++)
        read_batch(r, &r->leader.log[i], topic);
}

static uint32_t statements_of(const char *publisher)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < statement_count; i++)
        count += strcmp(statements[i].publisher, publisher) == 0;
    return count;
}

static const struct statement *statement_at(const char *publisher, uint64_t seq)
{
    for (uint32_t i = 0; i < statement_count; i++) {
        if (strcmp(statements[i].publisher, publisher) == 0 && statements[i].d.position.seq == seq)
            return &statements[i];
    }
    return NULL;
}

/* The positions that had to be chosen: at or below each multiple, between runs, if /sum had
 * something new. Of one-message batches, as the rig emits. */
struct choice {
    uint64_t seq, multiple;
};
static struct choice choices[STATEMENTS_MAX];
static uint32_t choice_count;

static void find_choices(struct rig *r, uint64_t every)
{
    uint32_t topic = catalog_topic_find(r->leader.catalog, "/sum", 4);
    uint64_t between = 0;
    uint32_t heard = 0;
    uint32_t open = 0;
    choice_count = 0;
    for (uint32_t i = 0; i < r->leader.log_count; i++) {
        struct batch_cursor cursor = batch_begin(r->leader.log[i].bytes, &r->leader.log[i].header);
        struct message m;
        ck_assert(batch_next(&cursor, &m));
        if (m.topic == TOPIC_EPOCH)
            open = 0;
        open += m.topic == topic;
        if ((m.flags & MESSAGE_MORE) == 0) {
            heard += open;
            open = 0;
            between = m.seq;
        }
        if (m.seq % every != 0)
            continue;
        if (heard > 0)
            choices[choice_count++] = (struct choice) { between, m.seq };
        heard = 0;
    }
}

static bool is_choice(uint64_t seq)
{
    for (uint32_t i = 0; i < choice_count; i++) {
        if (choices[i].seq == seq)
            return true;
    }
    return false;
}

static uint64_t digest_there(struct rig *r, uint64_t seq)
{
    r->options.until_seq = seq;
    rig_restart(r);
    struct machine *m = client_core_add_app(r->core, &sum_app, "", NULL, r->error);
    rig_run_until(r, NULL, MS, 5);
    ck_assert_uint_eq(client_core_seq(r->core), seq);
    r->options.until_seq = 0;
    return machine_digest(m);
}

/* Every statement is a choice, said after it, of the state there. */
static void check_statements(struct rig *r, uint64_t every)
{
    read_statements(r);
    find_choices(r, every);
    for (uint32_t i = 0; i < statement_count; i++) {
        const struct statement *s = &statements[i];
        uint64_t seq = s->d.position.seq;
        ck_assert_msg(is_choice(seq), "%s chose %lu", s->publisher, (unsigned long)seq);
        ck_assert_uint_gt(s->seq, seq);
        ck_assert_uint_eq(s->d.logic_version, 7);
        ck_assert_uint_eq(s->d.skips, 0);
        const struct epoch_entry *e = epoch_table_find(catalog_epochs(r->leader.catalog), seq);
        ck_assert(epoch_equal(s->d.position.epoch, e->epoch));
        for (uint32_t k = 0; k < i; k++)
            ck_assert_msg(strcmp(statements[k].publisher, s->publisher) != 0 ||
                              statements[k].d.position.seq != seq,
                          "%s repeats %lu", s->publisher, (unsigned long)seq);
    }
    for (uint32_t i = 0; i < statement_count; i++)
        ck_assert_uint_eq(statements[i].d.digest, digest_there(r, statements[i].d.position.seq));
}

/* ---- what is emitted ------------------------------------------------------------------------- */

static uint32_t other(struct rig *r)
{
    uint32_t id = catalog_publisher_find(r->leader.catalog, "other");
    return id != 0 ? id : rig_join(r, "other", 1);
}

static void say_run(struct rig *r, uint32_t count, uint8_t flags)
{
    uint32_t topic = rig_topic(r, "/sum");
    uint32_t id = other(r);
    uint64_t first = ledger_next(&r->leader.ledger, id);
    for (uint32_t i = 0; i < count; i++)
        rig_emit(r, topic, id, first + i, i + 1 < count ? flags : 0, "part", 4);
}

/* Something of everything, the same for the same i. */
static void say_something(struct rig *r, uint32_t i)
{
    char text[32];
    snprintf(text, sizeof text, "message %u", i);
    switch (i * 2654435761u >> 29) {
    case 0:
        say_run(r, 2 + i % 9, MESSAGE_MORE);
        break;
    case 1:
        say_run(r, 2 + i % 13, MESSAGE_MORE | MESSAGE_FRAGMENT);
        break;
    case 2:
        rig_say(r, "/else", text);
        break;
    default:
        rig_say(r, "/sum", text);
        break;
    }
}

static void live_through(struct rig *r, uint32_t from, uint32_t count)
{
    for (uint32_t i = from; i < from + count; i++) {
        say_something(r, i);
        rig_run(r);
        r->now.mono_ns += MS;
        r->leader.timestamp_ns += MS;
    }
    rig_run_until(r, NULL, MS, 5);
}

/* ---- positions ------------------------------------------------------------------------------- */

static void lives_of_two(enum follower_level level, uint64_t every)
{
    struct rig *r = rig_new(level);
    for (uint32_t i = 0; i < 40; i++)
        say_something(r, i);
    uint64_t live[3];
    for (int life = 0; life < 3; life++) {
        if (life > 0)
            rig_restart(r);
        add(r, &sum_app, life == 1 ? "two" : "one", every);
        rig_run_until(r, NULL, MS, 5);
        live[life] = rig_tip(r);
        live_through(r, 1000 * (uint32_t)life, 150);
    }
    uint64_t tip = rig_tip(r);
    check_statements(r, every);
    for (uint32_t i = 0; i < choice_count; i++) {
        const struct choice *c = &choices[i];
        if (c->multiple > live[0] && c->multiple <= live[1] && c->multiple + every < live[1])
            ck_assert_ptr_nonnull(statement_at("one", c->seq));
        if (c->multiple > live[1] && c->multiple <= live[2] && c->multiple + every < live[2])
            ck_assert_ptr_nonnull(statement_at("two", c->seq));
        if (c->multiple > live[2] && c->multiple + every < tip)
            ck_assert_ptr_nonnull(statement_at("one", c->seq));
    }
    ck_assert_uint_gt(statements_of("one"), 10);
    ck_assert_uint_gt(statements_of("two"), 5);
    rig_free(r);
}

START_TEST(replicas_choose_the_same_positions_whenever_they_started)
{
    lives_of_two(FOLLOWER_STABLE, 16);
    lives_of_two(FOLLOWER_SEQUENCED, 16);
    lives_of_two(FOLLOWER_SEQUENCED, 5); /* runs span several multiples */
    lives_of_two(FOLLOWER_STABLE, 31);
}
END_TEST

START_TEST(two_replicas_in_one_process_say_the_same)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    add(r, &sum_app, "one", 16);
    add(r, &sum_app, "two", 16);
    rig_run(r);
    live_through(r, 0, 100);
    read_statements(r);
    ck_assert_uint_gt(statements_of("one"), 5);
    ck_assert_uint_eq(statements_of("one"), statements_of("two"));
    for (uint32_t i = 0; i < statement_count; i++) {
        const struct statement *s = statement_at("two", statements[i].d.position.seq);
        ck_assert_ptr_nonnull(s);
        ck_assert_uint_eq(s->d.digest, statements[i].d.digest);
    }
    rig_free(r);
}
END_TEST

START_TEST(who_starts_says_only_the_newest_of_the_past_and_nothing_twice)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    for (int i = 0; i < 100; i++)
        rig_say(r, "/sum", "x");
    uint64_t newest = rig_tip(r) / 8 * 8;
    for (int life = 0; life < 3; life++) {
        add(r, &sum_app, "one", 8);
        digests_taken = 0;
        r->leader.log_delivered = r->leader.log_count; /* it hears of the tip first */
        leader_deliver(r);
        r->leader.log_delivered = 0;
        rig_run_until(r, NULL, MS, 5);
        ck_assert_uint_le(digests_taken, 1);
        read_statements(r);
        ck_assert_uint_eq(statement_count, 1);
        ck_assert_uint_eq(statements[0].d.position.seq, newest);
        rig_restart(r);
    }
    rig_free(r);
}
END_TEST

START_TEST(a_digest_is_no_reason_for_a_digest_and_neither_is_a_tick)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    add(r, &sum_app, "one", 1);
    rig_run(r);
    rig_say(r, "/sum", "x");
    rig_run_until(r, NULL, MS, 20);
    for (int i = 0; i < 20; i++)
        rig_tick(r, r->leader.timestamp_ns + 1);
    read_statements(r);
    ck_assert_uint_eq(statement_count, 1);
    rig_free(r);
}
END_TEST

START_TEST(a_timer_is_a_reason)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    struct machine *m = add(r, &sum_app, "one", 1);
    rig_run(r);
    rig_say(r, "/sum", "timer");
    rig_run_until(r, NULL, MS, 20);
    rig_tick(r, r->leader.timestamp_ns + SECOND - 1);
    rig_tick(r, r->leader.timestamp_ns + 1);
    uint64_t tick = rig_tip(r);
    rig_run_until(r, NULL, MS, 20);
    read_statements(r);
    ck_assert_uint_eq(statement_count, 2);
    ck_assert_uint_lt(statements[1].d.position.seq, statements[1].seq);
    ck_assert_uint_le(statements[1].d.position.seq, tick);
    ck_assert_uint_eq(statements[1].d.digest, machine_digest(m));
    ck_assert_uint_ne(statements[1].d.digest, statements[0].d.digest);
    rig_free(r);
}
END_TEST

/* ---- stable ---------------------------------------------------------------------------------- */

START_TEST(only_what_is_stable_is_said)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    add(r, &sum_app, "one", 8);
    rig_run(r);
    live_through(r, 0, 20);
    read_statements(r);
    uint32_t before = statement_count;
    ck_assert_uint_gt(before, 0);
    uint64_t held = rig_tip(r);
    r->leader.hold_stable = true;
    for (int i = 0; i < 40; i++)
        rig_say(r, "/sum", "held");
    rig_run_until(r, NULL, MS, 10);
    read_statements(r);
    ck_assert_uint_eq(statement_count, before);
    r->leader.stable = held + 20;
    rig_run_until(r, NULL, MS, 10);
    read_statements(r);
    ck_assert_uint_gt(statement_count, before);
    for (uint32_t i = before; i < statement_count; i++)
        ck_assert_uint_le(statements[i].d.position.seq, held + 20);
    rig_free(r);
}
END_TEST

static bool rebuilt(struct rig *r)
{
    return rig_reported(r, CANTUS_REPORT_REBUILT) != NULL;
}

/* A fork that the client has found, and nothing of the history after it has come. */
static void fork_and_no_more(struct rig *r, uint64_t seq)
{
    rig_fork(r, seq);
    for (int i = 0; i < 10 && rig_reported(r, CANTUS_REPORT_FORKED) == NULL; i++) {
        leader_deliver(r);
        rig_step(r);
    }
    ck_assert_ptr_nonnull(rig_reported(r, CANTUS_REPORT_FORKED));
    ck_assert_uint_eq(client_core_seq(r->core), 0);
    r->leader.sent_count = 0;
}

/* Where the app hears nothing after the fork, no later digest takes the place of the old ones. Of two
 * forks, the later and lower one is found while the history of the first is applied again. */
static void fork_before_it_is_said(const char *topic, bool twice)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    add(r, &sum_app, "one", 8);
    rig_run(r);
    live_through(r, 0, 20);
    uint64_t held = rig_tip(r);
    r->leader.hold_stable = true;
    for (int i = 0; i < 40; i++)
        rig_say(r, "/sum", "old");
    rig_run_until(r, NULL, MS, 10);
    if (twice)
        fork_and_no_more(r, held + 32);
    rig_fork(r, held + 12);
    for (int i = 0; i < 40; i++)
        rig_say(r, topic, "new");
    ck_assert(rig_run_until(r, rebuilt, MS, 200));
    r->leader.hold_stable = false;
    r->leader.stable = rig_tip(r);
    live_through(r, 100, 30);
    check_statements(r, 8); /* against the new history */
    ck_assert_uint_gt(statement_at("one", choices[choice_count - 2].seq)->seq, held);
    rig_free(r);
}

START_TEST(a_fork_takes_back_what_was_not_said_yet)
{
    fork_before_it_is_said("/sum", false);
    fork_before_it_is_said("/else", false);
    fork_before_it_is_said("/sum", true);
    fork_before_it_is_said("/else", true);
}
END_TEST

START_TEST(a_volatile_stream_has_none)
{
    struct rig *r = rig_new_volatile();
    add(r, &sum_app, "one", 4);
    rig_run(r);
    live_through(r, 0, 30);
    read_statements(r);
    ck_assert_uint_eq(statement_count, 0);
    rig_free(r);
}
END_TEST

START_TEST(of_too_many_that_wait_the_oldest_are_dropped_and_counted)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    add(r, &sum_app, "one", 4);
    rig_run(r);
    rig_say(r, "/sum", "x"); /* its topic exists and its join is stable */
    live_through(r, 0, 10);
    read_statements(r);
    uint32_t before = statement_count;
    r->leader.hold_stable = true;
    for (int i = 0; i < 4 * 100; i++)
        rig_say(r, "/sum", "y");
    rig_run_until(r, NULL, MS, 10);
    uint64_t dropped = client_core_counters(r->core)[COUNTER_DIGESTS_DROPPED];
    ck_assert_uint_ge(dropped, 36);
    ck_assert_uint_le(dropped, 37);
    r->leader.stable = rig_tip(r);
    uint64_t newest = rig_tip(r) / 4 * 4;
    rig_run_until(r, NULL, MS, 10);
    read_statements(r);
    ck_assert_uint_eq(statement_count, before + 64);
    ck_assert_uint_eq(statements[statement_count - 1].d.position.seq, newest);
    rig_free(r);
}
END_TEST

START_TEST(a_topic_that_cannot_be_had_is_reported_once_and_hurts_nobody)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    rig_say(r, "/sum", "x");
    r->options.catalog.topics_max = TOPIC_FIRST_USER + 1;
    rig_restart(r);
    struct machine *m = add(r, &sum_app, "one", 2);
    uint64_t digest = machine_digest(m);
    for (int i = 0; i < 20; i++) {
        rig_say(r, "/sum", "x");
        rig_run(r);
    }
    const struct rig_report *report = rig_reported(r, CANTUS_REPORT_REJECTED);
    ck_assert_ptr_nonnull(report);
    ck_assert_str_eq(report->topic, "/sys/digest/sum");
    ck_assert_str_eq(report->identity, "one");
    ck_assert_uint_eq(r->report_count, 1);
    ck_assert_int_eq(client_core_status(r->core), CANTUS_OK);
    ck_assert_uint_ne(machine_digest(m), digest);
    rig_free(r);
}
END_TEST

/* ---- asking for them ------------------------------------------------------------------------- */

static const struct cantus_app mute_app = { .abi = CANTUS_APP_ABI, .name = "mute" };
static const struct cantus_app spaced_app = { .abi = CANTUS_APP_ABI,
                                              .name = "two words",
                                              .digest = sum_digest };
static struct cantus_app long_app = { .abi = CANTUS_APP_ABI, .digest = sum_digest };

static void refused(struct rig *r, const struct machine *m, const char *identity, const char *says)
{
    ck_assert(!client_core_publish_digests(r->core, m, identity, 8, r->error));
    ck_assert_msg(strstr(r->error, says) != NULL, "%s", r->error);
}

START_TEST(what_cannot_publish_is_told_why)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    char long_name[400];
    memset(long_name, 'n', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    long_app.name = long_name;
    const struct cantus_app *const apps[] = { &mute_app, &spaced_app, &long_app };
    const char *const says[] = { "digest function", "may stand between", "longer" };
    for (size_t i = 0; i < 3; i++)
        refused(r, client_core_add_app(r->core, apps[i], "", NULL, r->error), "one", says[i]);

    struct machine *m = client_core_add_app(r->core, &sum_app, "", NULL, r->error);
    refused(r, m, NULL, "only follows");
    refused(r, m, "a name with spaces that is far too long for an identity, which has 63 bytes",
            "publisher");
    ck_assert(client_core_publish_digests(r->core, m, "one", 8, r->error));
    refused(r, m, "two", "already");

    const char *sixty = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    struct machine *named = client_core_add_app(r->core, &sum_app, "", sixty, r->error);
    refused(r, named, NULL, "publisher");
    refused(r, named, "one", "already used");
    named = client_core_add_app(r->core, &sum_app, "", "replica", r->error);
    ck_assert(client_core_publish_digests(r->core, named, NULL, 0, r->error));
    struct machine *late = client_core_add_app(r->core, &sum_app, "", "late", r->error);
    rig_run_until(r, NULL, MS, 5);
    refused(r, late, NULL, "before the first poll");
    ck_assert_uint_ne(catalog_publisher_find(r->leader.catalog, "replica.digest"), 0);
    ck_assert_uint_ne(catalog_publisher_find(r->leader.catalog, "one"), 0);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("digest");
    TCase *t = tcase_create("digest");
    tcase_add_test(t, replicas_choose_the_same_positions_whenever_they_started);
    tcase_add_test(t, two_replicas_in_one_process_say_the_same);
    tcase_add_test(t, who_starts_says_only_the_newest_of_the_past_and_nothing_twice);
    tcase_add_test(t, a_digest_is_no_reason_for_a_digest_and_neither_is_a_tick);
    tcase_add_test(t, a_timer_is_a_reason);
    tcase_add_test(t, only_what_is_stable_is_said);
    tcase_add_test(t, a_fork_takes_back_what_was_not_said_yet);
    tcase_add_test(t, a_volatile_stream_has_none);
    tcase_add_test(t, of_too_many_that_wait_the_oldest_are_dropped_and_counted);
    tcase_add_test(t, a_topic_that_cannot_be_had_is_reported_once_and_hurts_nobody);
    tcase_add_test(t, what_cannot_publish_is_told_why);
    suite_add_tcase(s, t);
    return suite_main(s);
}
