/* What the schedules by hand share: a deployment of three stores and three sequencers, an app at
 * each level that counts, and waiting for a state with a bound.
 *
 * Every schedule is played twice. Sound cores pass, and the play proves that the situation it is
 * about arose; with the mistake planted that this situation is the trap for, a checker speaks up.
 * Whatever a play expects is excused from then on, and from then on nothing moves any more. */
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

static inline bool schedule_violated(const struct schedule *d)
{
    return sim_violated(d->s) != SIM_FINE;
}

#define schedule_expect(d, condition)                                                              \
    ck_assert_msg((condition) || schedule_violated(d), "expected: %s", #condition)

/* With a mistake, or NULL. */
static inline struct schedule schedule_open(const char *sabotage)
{
    const struct sim_options options = {
        .seed = 1, .stores = 3, .sequencers = 3, .sabotage = sabotage
    };
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

/* The oldest datagram in flight in whose description this text is; UINT32_MAX: none. */
static inline uint32_t schedule_find(struct schedule *d, const char *text)
{
    for (uint32_t i = 0; i < sim_in_flight(d->s); i++)
        if (strstr(sim_describe(d->s, i), text) != NULL)
            return i;
    return UINT32_MAX;
}

/* Every datagram of which that is true is lost. */
static inline void schedule_lose(struct schedule *d, const char *text)
{
    for (uint32_t i = sim_in_flight(d->s); i-- > 0;)
        if (strstr(sim_describe(d->s, i), text) != NULL)
            ck_assert(sim_drop(d->s, i));
}

/* And these arrive, although they are held. Returns how many. */
static inline uint32_t schedule_pass(struct schedule *d, const char *text)
{
    uint32_t passed = 0;
    for (uint32_t i; (i = schedule_find(d, text)) != UINT32_MAX; passed++)
        ck_assert(sim_deliver(d->s, i));
    return passed;
}

static const char *const schedule_others[] = { "store-2", "store-3", "sequencer-2", "sequencer-3" };

/* What the first sequencer and the first store say reaches no other of them. */
static inline void schedule_strand(struct schedule *d)
{
    for (int i = 0; i < 4; i++) {
        sim_hold(d->s, "sequencer-1", schedule_others[i], true);
        sim_hold(d->s, "store-1", schedule_others[i], true);
    }
}

/* Both crash, and nobody will ever hear what they said then. */
static inline void schedule_bury(struct schedule *d)
{
    sim_crash(d->s, d->sequencer[0]);
    sim_crash(d->s, d->store[0]);
    for (int i = 0; i < 4; i++) {
        char arrow[80];
        snprintf(arrow, sizeof arrow, " sequencer-1 -> %s ", schedule_others[i]);
        schedule_lose(d, arrow);
        snprintf(arrow, sizeof arrow, " store-1 -> %s ", schedule_others[i]);
        schedule_lose(d, arrow);
    }
}

/* Until something in flight says so. */
static inline void schedule_wait_flight(struct schedule *d, const char *text)
{
    for (int i = 0; i < 400 && schedule_find(d, text) == UINT32_MAX; i++)
        sim_advance(d->s, MS / 10);
    ck_assert_msg(schedule_find(d, text) != UINT32_MAX || schedule_violated(d), "nobody says%s",
                  text);
}

static inline void schedule_wait_lead(struct schedule *d, uint32_t node)
{
    for (int i = 0; i < 400 && !sim_leads(d->s, node); i++)
        sim_advance(d->s, 5 * MS);
    schedule_expect(d, sim_leads(d->s, node));
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

/* The play came to where the mistake shows, and this is what it broke. */
static inline void schedule_caught(struct schedule *d, enum sim_invariant invariant)
{
    ck_assert_msg(schedule_violated(d), "nobody has noticed");
    ck_assert_msg(sim_violated(d->s) == invariant, "%s", sim_violation(d->s));
    sim_close(d->s);
}

static inline int schedule_main(const char *name, const TTest *clean, const TTest *caught)
{
    Suite *suite = suite_create(name);
    TCase *t = tcase_create("schedule");
    tcase_add_test(t, clean);
    tcase_add_test(t, caught);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

#endif
