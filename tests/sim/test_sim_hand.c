/* The deployment by hand: that nothing moves unless told, that every datagram can be dropped,
 * doubled and held, that processes crash and come back, and that the trace of a schedule is the same
 * each time. */
#include <check.h>
#include <string.h>

#include "sim/sim.h"

struct tally {
    uint64_t count;
    uint64_t goal;
};

static bool tally_init(void *state, const char *config, struct cantus_timers *timers)
{
    (void)timers;
    ((struct tally *)state)->goal = (uint64_t)(config[0] - '0');
    return true;
}

static void tally_apply(void *state, const struct cantus_message *m)
{
    (void)m;
    ((struct tally *)state)->count++;
}

static bool tally_next(const void *state, struct cantus_proposal *p)
{
    const struct tally *c = state;
    p->topic = "/count";
    p->payload = "tick";
    p->length = 4;
    return c->count < c->goal;
}

static uint64_t tally_digest(const void *state)
{
    return ((const struct tally *)state)->count;
}

static const char *const tally_topics[] = { "/count", NULL };

static const struct cantus_app tally = {
    .abi = CANTUS_APP_ABI,
    .logic_version = 1,
    .name = "tally",
    .topics = tally_topics,
    .state_size = sizeof(struct tally),
    .init = tally_init,
    .apply = tally_apply,
    .next = tally_next,
    .digest = tally_digest,
};

/* It proposes for ever what changes nothing of its state. */
static void stubborn_apply(void *state, const struct cantus_message *m)
{
    (void)state;
    (void)m;
}

static const struct cantus_app stubborn = {
    .abi = CANTUS_APP_ABI,
    .logic_version = 1,
    .name = "stubborn",
    .topics = tally_topics,
    .state_size = sizeof(struct tally),
    .init = tally_init,
    .apply = stubborn_apply,
    .next = tally_next,
};

/* Counts the messages of /a, by the very string that it is told. */
static void exact_apply(void *state, const struct cantus_message *m)
{
    ((struct tally *)state)->count += strcmp(m->topic, "/a") == 0;
}

static const char *const exact_topics[] = { "/", NULL };

static const struct cantus_app exact = {
    .abi = CANTUS_APP_ABI,
    .logic_version = 1,
    .name = "exact",
    .topics = exact_topics,
    .state_size = sizeof(struct tally),
    .init = tally_init,
    .apply = exact_apply,
    .digest = tally_digest,
};

enum { MS = 1000000 };

static const struct sim_options options = { .seed = 1 };

static uint64_t count_of(struct sim *s, uint32_t node)
{
    return ((const struct tally *)sim_app_state(s, node))->count;
}

START_TEST(an_app_counts_to_its_goal_and_no_further)
{
    struct sim *s = sim_open(&options);
    ck_assert_ptr_nonnull(s);
    uint32_t a = sim_add_app(s, &tally, "3", "counter", CANTUS_STABLE);
    uint32_t b = sim_add_app(s, &tally, "0", NULL, CANTUS_SEQUENCED);
    ck_assert(a != SIM_NO_NODE && b != SIM_NO_NODE);
    sim_advance(s, 300 * (uint64_t)MS);
    ck_assert_uint_eq(sim_sequenced(s, "/count"), 3);
    ck_assert_uint_eq(count_of(s, a), 3);
    ck_assert_uint_eq(count_of(s, b), 3);
    ck_assert_uint_eq(sim_app_digest(s, a), sim_app_digest(s, b));
    ck_assert_str_eq(sim_violation(s), "");
    sim_close(s);
}
END_TEST

START_TEST(nothing_moves_unless_told)
{
    struct sim *s = sim_open(&options);
    uint32_t a = sim_add_app(s, &tally, "3", "counter", CANTUS_STABLE);
    sim_settle(s);
    ck_assert_uint_eq(sim_in_flight(s), 0);
    uint64_t before = sim_seq(s, sim_node(s, "sequencer-1"));
    sim_hold(s, "*", "*", true);
    sim_advance(s, 20 * MS);
    ck_assert_uint_gt(sim_in_flight(s), 0);
    ck_assert_uint_eq(sim_seq(s, sim_node(s, "sequencer-1")), before);
    ck_assert_uint_eq(count_of(s, a), 0);
    sim_hold(s, "*", "*", false);
    sim_advance(s, 300 * (uint64_t)MS);
    ck_assert_uint_eq(count_of(s, a), 3);
    sim_close(s);
}
END_TEST

/* The index of the first datagram in flight whose description contains this. */
static uint32_t find(struct sim *s, const char *text)
{
    for (uint32_t i = 0; i < sim_in_flight(s); i++)
        if (strstr(sim_describe(s, i), text) != NULL)
            return i;
    return UINT32_MAX;
}

static struct sim *with_a_proposal_held(uint32_t *node)
{
    struct sim *s = sim_open(&options);
    *node = sim_add_app(s, &tally, "1", "counter", CANTUS_STABLE);
    sim_hold(s, "app-1", "sequencer-1", true);
    for (int i = 0; i < 200 && find(s, "PROPOSAL") == UINT32_MAX; i++) {
        sim_advance(s, MS / 2);
        for (uint32_t at; (at = find(s, "JOIN")) != UINT32_MAX;)
            sim_deliver(s, at);
        for (uint32_t at; (at = find(s, "CREATE")) != UINT32_MAX;)
            sim_deliver(s, at);
        sim_settle(s);
    }
    ck_assert_uint_ne(find(s, "app-1 -> sequencer-1 PROPOSAL 1..1"), UINT32_MAX);
    return s;
}

START_TEST(a_proposal_doubled_is_sequenced_once)
{
    uint32_t node;
    struct sim *s = with_a_proposal_held(&node);
    uint32_t at = find(s, "PROPOSAL");
    ck_assert(sim_duplicate(s, at));
    ck_assert(sim_deliver(s, at));
    ck_assert(sim_deliver(s, find(s, "PROPOSAL")));
    ck_assert_uint_eq(sim_sequenced(s, "/count"), 1);
    sim_hold(s, "*", "*", false);
    sim_advance(s, 200 * (uint64_t)MS);
    ck_assert_uint_eq(sim_sequenced(s, NULL), 1);
    ck_assert_uint_eq(count_of(s, node), 1);
    ck_assert_str_eq(sim_violation(s), "");
    sim_close(s);
}
END_TEST

START_TEST(a_proposal_dropped_is_sent_again)
{
    uint32_t node;
    struct sim *s = with_a_proposal_held(&node);
    for (uint32_t at; (at = find(s, "PROPOSAL")) != UINT32_MAX;)
        ck_assert(sim_drop(s, at));
    ck_assert_uint_eq(sim_sequenced(s, "/count"), 0);
    sim_hold(s, "*", "*", false);
    sim_advance(s, 200 * (uint64_t)MS);
    ck_assert_uint_eq(sim_sequenced(s, "/count"), 1);
    sim_close(s);
}
END_TEST

START_TEST(what_is_stable_survives_every_crash)
{
    static const char *const names[] = { "store-1", "sequencer-1", "app-1" };
    struct sim *s = sim_open(&options);
    uint32_t a = sim_add_app(s, &tally, "5", "counter", CANTUS_STABLE);
    sim_advance(s, 300 * (uint64_t)MS);
    ck_assert_uint_eq(count_of(s, a), 5);
    for (size_t i = 0; i < 3; i++)
        sim_crash(s, sim_node(s, names[i]));
    ck_assert_ptr_null(sim_app_state(s, a));
    for (size_t i = 0; i < 3; i++)
        sim_restart(s, sim_node(s, names[i]));
    sim_advance(s, 2000 * (uint64_t)MS);
    ck_assert_str_eq(sim_violation(s), "");
    ck_assert_uint_eq(count_of(s, a), 5);
    ck_assert_uint_eq(sim_sequenced(s, "/count"), 5);
    sim_close(s);
}
END_TEST

START_TEST(an_app_is_asked_what_it_would_propose)
{
    struct sim *s = sim_open(&options);
    uint32_t a = sim_add_app(s, &tally, "2", "counter", CANTUS_STABLE);
    uint32_t b = sim_add_app(s, &tally, "0", NULL, CANTUS_STABLE);
    struct cantus_proposal p;
    ck_assert(sim_would_propose(s, a, &p));
    ck_assert_str_eq(p.topic, "/count");
    ck_assert_uint_eq(p.length, 4);
    ck_assert(!sim_would_propose(s, b, &p));
    sim_advance(s, 300 * (uint64_t)MS);
    ck_assert(!sim_would_propose(s, a, &p));
    sim_close(s);
}
END_TEST

START_TEST(an_app_that_proposes_for_ever_is_quarantined)
{
    struct sim *s = sim_open(&options);
    uint32_t a = sim_add_app(s, &stubborn, "9", "stubborn", CANTUS_STABLE);
    uint32_t b = sim_add_app(s, &tally, "2", "counter", CANTUS_STABLE);
    sim_advance(s, 3000 * (uint64_t)MS);
    ck_assert(sim_app_quarantined(s, a));
    ck_assert(!sim_app_quarantined(s, b));
    uint64_t count = sim_sequenced(s, "/count");
    sim_advance(s, 1000 * (uint64_t)MS);
    ck_assert_uint_eq(sim_sequenced(s, "/count"), count);
    sim_close(s);
}
END_TEST

START_TEST(messages_are_published_from_outside)
{
    struct sim *s = sim_open(&options);
    uint32_t a = sim_add_app(s, &tally, "0", NULL, CANTUS_STABLE);
    for (int i = 0; i < 20; i++)
        ck_assert(sim_publish(s, "outside", "/count", "x", 1));
    sim_advance(s, 300 * (uint64_t)MS);
    ck_assert_uint_eq(count_of(s, a), 20);
    ck_assert(!sim_publish(s, "outside", "/count", "x", SIZE_MAX / 2));
    sim_close(s);
}
END_TEST

/* Paths lie side by side in the catalog: each must end where it ends. */
START_TEST(an_app_is_told_the_topic_and_not_its_neighbour)
{
    struct sim *s = sim_open(&options);
    uint32_t a = sim_add_app(s, &exact, "0", NULL, CANTUS_SEQUENCED);
    static const char *const topics[] = { "/a", "/b/c", "/a", "/b/c", "/a" };
    for (size_t i = 0; i < 5; i++) {
        ck_assert(sim_publish(s, "outside", topics[i], "x", 1));
        sim_advance(s, 100 * (uint64_t)MS);
    }
    ck_assert_uint_eq(sim_sequenced(s, NULL), 5);
    ck_assert_uint_eq(count_of(s, a), 3);
    sim_close(s);
}
END_TEST

static struct sim *scripted(void)
{
    struct sim *s = sim_open(&options);
    sim_add_app(s, &tally, "3", "counter", CANTUS_STABLE);
    sim_publish(s, "outside", "/other", "hello", 5);
    sim_advance(s, 50 * (uint64_t)MS);
    sim_crash(s, sim_node(s, "sequencer-1"));
    sim_restart(s, sim_node(s, "sequencer-1"));
    sim_advance(s, 50 * (uint64_t)MS);
    return s;
}

START_TEST(a_trace_is_the_same_each_time)
{
    struct sim *first = scripted();
    struct sim *second = scripted();
    ck_assert_str_eq(sim_trace(first), sim_trace(second));
    ck_assert_ptr_nonnull(strstr(sim_trace(first), "sequencer-1 crashes\n"));
    ck_assert_ptr_nonnull(strstr(sim_trace(first), "app-1 -> ingress PROPOSAL 1..1"));
    sim_close(first);
    sim_close(second);
}
END_TEST

START_TEST(what_is_not_there_is_refused)
{
    struct sim *s = sim_open(&options);
    sim_settle(s);
    ck_assert_uint_eq(sim_node(s, "nobody"), SIM_NO_NODE);
    ck_assert(!sim_deliver(s, 0));
    ck_assert(!sim_drop(s, 99));
    ck_assert(!sim_duplicate(s, 99));
    ck_assert_str_eq(sim_describe(s, 99), "");
    ck_assert_ptr_null(sim_app_state(s, sim_node(s, "store-1")));
    sim_crash(s, SIM_NO_NODE);
    sim_close(s);
    const struct sim_options wrong = { .sabotage = "no-such" };
    ck_assert_ptr_null(sim_open(&wrong));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_hand");
    TCase *t = tcase_create("hand");
    tcase_add_test(t, an_app_counts_to_its_goal_and_no_further);
    tcase_add_test(t, nothing_moves_unless_told);
    tcase_add_test(t, a_proposal_doubled_is_sequenced_once);
    tcase_add_test(t, a_proposal_dropped_is_sent_again);
    tcase_add_test(t, what_is_stable_survives_every_crash);
    tcase_add_test(t, an_app_is_asked_what_it_would_propose);
    tcase_add_test(t, an_app_that_proposes_for_ever_is_quarantined);
    tcase_add_test(t, messages_are_published_from_outside);
    tcase_add_test(t, an_app_is_told_the_topic_and_not_its_neighbour);
    tcase_add_test(t, a_trace_is_the_same_each_time);
    tcase_add_test(t, what_is_not_there_is_refused);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
