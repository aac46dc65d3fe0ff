/* What the schedules by hand share: a deployment of three stores and three sequencers, an app at
 * each level that counts, and waiting for a state with a bound. */
#ifndef CANTUS_TESTS_SIM_SCHEDULE_H
#define CANTUS_TESTS_SIM_SCHEDULE_H

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "sim/sim.h"

#define MS UINT64_C(1000000)

struct schedule_tally {
    uint64_t count;
    uint64_t sum; /* of the payloads' first bytes, in order */
};

static inline void schedule_apply(void *state, const struct cantus_message *m)
{
    struct schedule_tally *t = state;
    t->count++;
    t->sum = t->sum * 31 + (m->length > 0 ? *(const uint8_t *)m->payload : 0);
}

static inline bool schedule_init(void *state, const char *config, struct cantus_timers *timers)
{
    (void)state;
    (void)config;
    (void)timers;
    return true;
}

static inline uint64_t schedule_digest(const void *state)
{
    const struct schedule_tally *t = state;
    return t->sum * 64 + t->count;
}

static const char *const schedule_topics[] = { "/", NULL };
static const struct cantus_app schedule_app = {
    .abi = CANTUS_APP_ABI,
    .logic_version = 1,
    .name = "schedule",
    .topics = schedule_topics,
    .state_size = sizeof(struct schedule_tally),
    .init = schedule_init,
    .apply = schedule_apply,
    .digest = schedule_digest,
};

struct schedule {
    struct sim *s;
    uint32_t sequencer[3], store[3];
    uint32_t stable, sequenced; /* apps */
};

static inline struct schedule schedule_open(void)
{
    static const struct sim_options options = { .seed = 1, .stores = 3, .sequencers = 3 };
    struct schedule d = { .s = sim_open(&options) };
    ck_assert_ptr_nonnull(d.s);
    const char *sequencers[] = { "sequencer-1", "sequencer-2", "sequencer-3" };
    const char *stores[] = { "store-1", "store-2", "store-3" };
    for (int i = 0; i < 3; i++) {
        d.sequencer[i] = sim_node(d.s, sequencers[i]);
        d.store[i] = sim_node(d.s, stores[i]);
    }
    d.stable = sim_add_app(d.s, &schedule_app, "", NULL, CANTUS_STABLE);
    d.sequenced = sim_add_app(d.s, &schedule_app, "", NULL, CANTUS_SEQUENCED);
    ck_assert(d.stable != SIM_NO_NODE && d.sequenced != SIM_NO_NODE);
    sim_advance(d.s, 20 * MS);
    ck_assert(sim_leads(d.s, d.sequencer[0]));
    return d;
}

static inline void schedule_say(struct schedule *d, const char *text)
{
    ck_assert(sim_publish(d->s, "alice", "/said", text, strlen(text)));
}

/* Nothing reaches it, and it reaches nobody; or that is over. */
static inline void schedule_cut_off(struct schedule *d, const char *name, bool off)
{
    sim_hold(d->s, name, "*", off);
    sim_hold(d->s, "*", name, off);
}

/* What is held between the two is lost. */
static inline void schedule_lose(struct schedule *d, const char *from, const char *to)
{
    char arrow[80];
    snprintf(arrow, sizeof arrow, " %s -> %s ", from, to);
    for (uint32_t i = sim_in_flight(d->s); i-- > 0;)
        if (strstr(sim_describe(d->s, i), arrow) != NULL)
            ck_assert(sim_drop(d->s, i));
}

static inline void schedule_wait_lead(struct schedule *d, uint32_t node)
{
    for (int i = 0; i < 400 && !sim_leads(d->s, node); i++)
        sim_advance(d->s, 5 * MS);
    ck_assert_msg(sim_leads(d->s, node), "does not lead; %s", sim_violation(d->s));
}

/* Everything is whole again: one leader, all at its tip, all of it stable, the apps alike. */
static inline void schedule_end(struct schedule *d, uint32_t leader, uint64_t said)
{
    sim_hold(d->s, "*", "*", false);
    for (int i = 0; i < 400; i++) {
        sim_advance(d->s, 5 * MS);
        bool level = sim_stable(d->s, leader) == sim_seq(d->s, leader);
        for (int k = 0; k < 3; k++)
            level = level && sim_seq(d->s, d->store[k]) == sim_seq(d->s, leader);
        const struct schedule_tally *t = sim_app_state(d->s, d->stable);
        if (level && t != NULL && t->count == said)
            break;
    }
    ck_assert_str_eq(sim_violation(d->s), "");
    ck_assert(sim_leads(d->s, leader));
    for (int k = 0; k < 3; k++) {
        ck_assert_uint_eq(sim_seq(d->s, d->store[k]), sim_seq(d->s, leader));
        ck_assert(d->sequencer[k] == leader || !sim_leads(d->s, d->sequencer[k]));
    }
    ck_assert_uint_eq(sim_stable(d->s, leader), sim_seq(d->s, leader));
    ck_assert_uint_eq(sim_sequenced(d->s, "/said"), said);
    const struct schedule_tally *t = sim_app_state(d->s, d->stable);
    ck_assert_uint_eq(t->count, said);
    ck_assert_uint_eq(sim_app_digest(d->s, d->stable), sim_app_digest(d->s, d->sequenced));
    sim_close(d->s);
}

static inline int schedule_main(const char *name, const TTest *test)
{
    Suite *suite = suite_create(name);
    TCase *t = tcase_create("schedule");
    tcase_add_test(t, test);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

#endif
