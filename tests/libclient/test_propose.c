/* Apps that propose, on a client core with a leader (rig.h): well, badly, for ever, in competition
 * with each other, over loss, and under a name that another process takes over. */
#include <stdio.h>

#include "suite_main.h"
#include "tally.h"

START_TEST(an_app_proposes_until_it_is_content_at_either_level)
{
    for (int level = FOLLOWER_SEQUENCED; level <= FOLLOWER_STABLE; level++) {
        struct rig *r = rig_new((enum follower_level)level);
        r->watched = rig_add(r, &tally_app, "20", "me");
        ck_assert(rig_run_until(r, tally_is_done, MS, 100));
        rig_run(r);
        const struct tally *s = machine_state(r->watched);
        ck_assert_uint_eq(s->count, 20);
        ck_assert_uint_eq(r->leader.creates, 1); /* its topic, asked for once */
        ck_assert_uint_eq(client_core_counters(r->core)[COUNTER_OUTCOMES], 20);
        ck_assert_uint_eq(publisher_in_flight(client_core_publisher(r->core, r->watched)), 0);
        ck_assert_ptr_null(rig_reported(r, CANTUS_REPORT_QUARANTINED));
        rig_free(r);
    }
}
END_TEST

START_TEST(loss_doubles_and_loses_nothing)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    r->leader.lose_one_of = 3;
    r->watched = rig_add(r, &tally_app, "50", "me");
    ck_assert(rig_run_until(r, tally_is_done, MS, 4000));
    rig_run(r);
    ck_assert_uint_eq(((struct tally *)machine_state(r->watched))->count, 50);
    ck_assert_uint_gt(client_core_counters(r->core)[COUNTER_RESENT], 0);
    rig_free(r);
}
END_TEST

struct malformed {
    const char *topic;
    size_t length;
    const char *condition;
    const char *says;
};
static struct malformed wanted;

static bool malformed_next(const void *state, struct cantus_proposal *p)
{
    (void)state;
    static uint8_t bytes[(1 << 20) + 1];
    p->topic = wanted.topic;
    p->payload = bytes;
    p->length = wanted.length;
    p->condition_topic = wanted.condition;
    return true;
}

static const struct cantus_app malformed_app = { .abi = CANTUS_APP_ABI,
                                                 .name = "malformed",
                                                 .next = malformed_next };

START_TEST(malformed_proposals_are_reported_and_never_sent)
{
    char long_topic[400];
    memset(long_topic, 'a', sizeof long_topic - 1);
    long_topic[0] = '/';
    long_topic[sizeof long_topic - 1] = '\0';
    const struct malformed cases[] = {
        { "no-slash", 1, NULL, "no-slash" },
        { "/a//b", 1, NULL, "/a//b" },
        { "", 1, NULL, "topic" },
        { NULL, 1, NULL, "without a topic" },
        { long_topic, 1, NULL, "topic" },
        { "/a", (1 << 20) + 1, NULL, "too many" },
        { "/a", 1, "not a topic", "condition" },
        { "/sys/join", 1, NULL, "permitted" },
        { "/sys/mine", 1, NULL, "/sys/mine" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rig *r = rig_new(FOLLOWER_SEQUENCED);
        wanted = cases[i];
        rig_add(r, &malformed_app, "", "me");
        rig_run(r);
        for (int n = 0; n < 10; n++)
            rig_tick(r, r->leader.timestamp_ns + 1);
        const struct rig_report *report = rig_reported(r, CANTUS_REPORT_REJECTED);
        ck_assert_msg(report != NULL, "case %zu", i);
        ck_assert_msg(strstr(report->text, cases[i].says) != NULL, "case %zu: %s", i, report->text);
        ck_assert_str_eq(report->identity, "me");
        ck_assert_uint_eq(r->leader.proposals, 0);
        ck_assert_int_eq(client_core_status(r->core), CANTUS_OK);
        rig_free(r);
    }
}
END_TEST

/* Says the same for ever, and learns nothing from it. */
static bool parrot_next(const void *state, struct cantus_proposal *p)
{
    (void)state;
    p->topic = "/parrot";
    p->payload = "again";
    p->length = 5;
    return true;
}

static const struct cantus_app parrot_app = { .abi = CANTUS_APP_ABI,
                                              .name = "parrot",
                                              .next = parrot_next };

START_TEST(an_app_that_repeats_itself_is_quarantined_and_reported)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    struct machine *m = rig_add(r, &parrot_app, "", "me");
    r->watched = rig_add(r, &tally_app, "30", "you");
    ck_assert(rig_run_until(r, tally_is_done, MS, 100));
    rig_run(r);
    ck_assert(machine_quarantined(m));
    const struct rig_report *report = rig_reported(r, CANTUS_REPORT_QUARANTINED);
    ck_assert_ptr_nonnull(report);
    ck_assert_str_eq(report->topic, "/parrot");
    ck_assert_str_eq(report->identity, "me");
    ck_assert_uint_eq(report->r.seq, machine_repeated_seq(m));
    ck_assert_uint_eq(client_core_counters(r->core)[COUNTER_QUARANTINED], 1);
    ck_assert_uint_eq(publisher_done_number(client_core_publisher(r->core, m)),
                      MACHINE_REPEATS_MAX + 1);
    rig_free(r);
}
END_TEST

START_TEST(a_reject_is_reported_and_the_app_asked_again)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    r->leader.reject_next = REJECT_NOT_PERMITTED;
    r->watched = rig_add(r, &tally_app, "2", "me");
    ck_assert(rig_run_until(r, tally_is_done, MS, 100));
    const struct rig_report *report = rig_reported(r, CANTUS_REPORT_REJECTED);
    ck_assert_ptr_nonnull(report);
    ck_assert_str_eq(report->topic, "/count");
    ck_assert_uint_gt(report->r.seq, 0);
    rig_free(r);
}
END_TEST

/* Solves /task unless somebody has. */
struct solver {
    uint64_t solved;
};

static void solver_apply(void *state, const struct cantus_message *m)
{
    (void)m;
    ((struct solver *)state)->solved++;
}

static bool solver_next(const void *state, struct cantus_proposal *p)
{
    p->topic = "/task";
    p->payload = "solved";
    p->length = 6;
    p->condition_topic = "/task";
    p->condition_after = 0;
    return ((const struct solver *)state)->solved == 0;
}

static const char *const solver_topics[] = { "/task", NULL };
static const struct cantus_app solver_app = { .abi = CANTUS_APP_ABI,
                                              .name = "solver",
                                              .topics = solver_topics,
                                              .state_size = sizeof(struct solver),
                                              .apply = solver_apply,
                                              .next = solver_next };

START_TEST(of_redundant_apps_exactly_one_succeeds)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    struct machine *m[5];
    for (int i = 0; i < 5; i++) {
        char identity[24];
        snprintf(identity, sizeof identity, "solver-%d", i);
        m[i] = rig_add(r, &solver_app, "", identity);
    }
    rig_run_until(r, NULL, MS, 50);
    ck_assert_uint_gt(r->leader.conditions_failed, 0);
    for (int i = 0; i < 5; i++)
        ck_assert_uint_eq(((struct solver *)machine_state(m[i]))->solved, 1);
    rig_free(r);
}
END_TEST

START_TEST(a_later_incarnation_supersedes_and_numbers_go_on)
{
    struct rig *r = rig_new(FOLLOWER_STABLE);
    r->watched = rig_add(r, &tally_app, "5", "me");
    ck_assert(rig_run_until(r, tally_is_done, MS, 100));
    rig_restart(r);
    r->watched = rig_add(r, &tally_app, "9", "me");
    ck_assert(rig_run_until(r, tally_is_done, MS, 100));
    ck_assert_uint_eq(publisher_next_number(client_core_publisher(r->core, r->watched)), 10);
    rig_join(r, "me", 12345); /* another process */
    rig_run(r);
    ck_assert_int_eq(client_core_status(r->core), CANTUS_SUPERSEDED);
    ck_assert_ptr_nonnull(strstr(client_core_error(r->core), "me"));
    ck_assert_ptr_nonnull(rig_reported(r, CANTUS_REPORT_SUPERSEDED));
    /* It proposes no more under that name, and goes on following. */
    uint64_t seq = rig_say(r, "/other", "after that");
    rig_run(r);
    ck_assert_uint_ge(client_core_seq(r->core), seq);
    ck_assert_int_eq(client_core_status(r->core), CANTUS_SUPERSEDED);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("propose");
    TCase *t = tcase_create("propose");
    tcase_add_test(t, an_app_proposes_until_it_is_content_at_either_level);
    tcase_add_test(t, loss_doubles_and_loses_nothing);
    tcase_add_test(t, malformed_proposals_are_reported_and_never_sent);
    tcase_add_test(t, an_app_that_repeats_itself_is_quarantined_and_reported);
    tcase_add_test(t, a_reject_is_reported_and_the_app_asked_again);
    tcase_add_test(t, of_redundant_apps_exactly_one_succeeds);
    tcase_add_test(t, a_later_incarnation_supersedes_and_numbers_go_on);
    suite_add_tcase(s, t);
    return suite_main(s);
}
