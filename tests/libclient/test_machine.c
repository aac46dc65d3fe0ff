/* Machines: composition in order and by topics, timers by due time and order of registration,
 * digests that agree exactly when states do, snapshots that come back whole or not at all, and the
 * quarantine of an app that repeats itself. */
#include "libclient/machine.h"

#include <stdio.h>

#include "suite_main.h"

/* ---- an app of two parts that write a journal of their calls --------------------------------- */

static char calls[4096];

static void note(const char *text)
{
    ck_assert_uint_lt(strlen(calls) + strlen(text) + 2, sizeof calls);
    strcat(calls, text);
    strcat(calls, " ");
}

struct part_state {
    uint64_t sum;
    char name[8];
    struct cantus_timers *timers;
};

static bool part_init(void *state, const char *config, struct cantus_timers *timers)
{
    struct part_state *s = state;
    ck_assert_uint_eq(s->sum, 0);
    s->timers = timers;
    return strcmp(config, "refuse") != 0;
}

static void part_apply(void *state, const struct cantus_message *m)
{
    struct part_state *s = state;
    s->sum = s->sum * 31 + m->seq;
    note("part");
}

static void part_timer(void *state, uint64_t id, uint64_t now_ns)
{
    struct part_state *s = state;
    char text[64];
    snprintf(text, sizeof text, "p%llu@%llu", (unsigned long long)id, (unsigned long long)now_ns);
    note(text);
    s->sum += id;
}

static void part_save(const void *state, struct cantus_writer *w)
{
    const struct part_state *s = state;
    cantus_write_u64(w, s->sum);
}

static bool part_load(void *state, struct cantus_reader *r)
{
    struct part_state *s = state;
    s->sum = cantus_read_u64(r);
    return true;
}

static uint64_t part_digest(const void *state)
{
    const struct part_state *s = state;
    return cantus_hash(7, &s->sum, sizeof s->sum);
}

static const char *const part_topics[] = { "/a", NULL };
static const struct cantus_app part_app = {
    .abi = CANTUS_APP_ABI,
    .logic_version = 1,
    .name = "part",
    .topics = part_topics,
    .state_size = sizeof(struct part_state),
    .init = part_init,
    .apply = part_apply,
    .timer = part_timer,
    .save = part_save,
    .load = part_load,
    .digest = part_digest,
};

struct whole_state {
    struct part_state first;
    uint64_t count;
    struct part_state second;
    struct cantus_timers *timers;
    uint64_t rearm; /* ids above this set themselves again */
};

static bool whole_init(void *state, const char *config, struct cantus_timers *timers)
{
    struct whole_state *s = state;
    (void)config;
    ck_assert_ptr_nonnull(s->first.timers); /* parts come first */
    s->timers = timers;
    s->rearm = UINT64_MAX;
    return true;
}

static void whole_apply(void *state, const struct cantus_message *m)
{
    struct whole_state *s = state;
    (void)m;
    s->count++;
    note("whole");
}

static void whole_timer(void *state, uint64_t id, uint64_t now_ns)
{
    struct whole_state *s = state;
    char text[64];
    snprintf(text, sizeof text, "w%llu@%llu", (unsigned long long)id, (unsigned long long)now_ns);
    if (s->rearm == UINT64_MAX)
        note(text);
    if (id >= s->rearm) {
        s->count++;
        cantus_timer_set(s->timers, id, now_ns);
    }
}

static void whole_save(const void *state, struct cantus_writer *w)
{
    const struct whole_state *s = state;
    cantus_write(w, &s->count, sizeof s->count);
}

static bool whole_load(void *state, struct cantus_reader *r)
{
    struct whole_state *s = state;
    return cantus_read(r, &s->count, sizeof s->count);
}

static uint64_t whole_digest(const void *state)
{
    const struct whole_state *s = state;
    return s->count;
}

static const struct cantus_part whole_parts[] = {
    { &part_app, offsetof(struct whole_state, first) },
    { &part_app, offsetof(struct whole_state, second) },
};
static const char *const whole_topics[] = { "/a/b", "/c", NULL };
static const struct cantus_app whole_app = {
    .abi = CANTUS_APP_ABI,
    .logic_version = 3,
    .name = "whole",
    .topics = whole_topics,
    .state_size = sizeof(struct whole_state),
    .parts = whole_parts,
    .part_count = 2,
    .init = whole_init,
    .apply = whole_apply,
    .timer = whole_timer,
    .save = whole_save,
    .load = whole_load,
    .digest = whole_digest,
};

static char error[MACHINE_ERROR_MAX];

static struct machine *make(const struct cantus_app *app)
{
    calls[0] = '\0';
    struct machine *m = machine_create(app, NULL, error);
    ck_assert_msg(m != NULL, "%s", error);
    return m;
}

static void apply(struct machine *m, const char *topic, uint64_t seq, uint64_t timestamp_ns)
{
    struct cantus_message message = {
        .seq = seq, .timestamp_ns = timestamp_ns, .topic = topic, .publisher = ""
    };
    machine_advance(m, timestamp_ns);
    machine_apply(m, machine_wants(m, topic, strlen(topic)), &message);
}

/* ---- composition ----------------------------------------------------------------------------- */

START_TEST(parts_apply_first_each_by_its_topics)
{
    struct machine *m = make(&whole_app);
    ck_assert_uint_eq((uintptr_t)machine_state(m) % 64, 0);
    apply(m, "/a/b/x", 1, 1);
    ck_assert_str_eq(calls, "part part whole ");
    calls[0] = '\0';
    apply(m, "/a", 2, 1);
    ck_assert_str_eq(calls, "part part ");
    calls[0] = '\0';
    apply(m, "/c/d", 3, 1);
    ck_assert_str_eq(calls, "whole ");
    ck_assert_uint_eq(machine_wants(m, "/ab", 3), 0);
    ck_assert_uint_eq(machine_wants(m, "/sys/clock", 10), 0);
    machine_destroy(m);
}
END_TEST

START_TEST(the_whole_tree_leaves_out_sys)
{
    static const char *const all[] = { "/", NULL };
    static const char *const with_sys[] = { "/", "/sys/clock", NULL };
    struct cantus_app app = part_app;
    app.topics = all;
    struct machine *m = make(&app);
    ck_assert_uint_ne(machine_wants(m, "/x", 2), 0);
    ck_assert_uint_eq(machine_wants(m, "/sys/clock", 10), 0);
    machine_destroy(m);
    app.topics = with_sys;
    m = make(&app);
    ck_assert_uint_ne(machine_wants(m, "/sys/clock", 10), 0);
    ck_assert_uint_eq(machine_wants(m, "/sys/join", 9), 0);
    machine_destroy(m);
}
END_TEST

static void refused(const struct cantus_app *app, const char *config, const char *says)
{
    error[0] = '\0';
    ck_assert_ptr_null(machine_create(app, config, error));
    ck_assert_msg(strstr(error, says) != NULL, "\"%s\" does not say \"%s\"", error, says);
}

START_TEST(apps_that_can_not_run_are_refused_with_a_reason)
{
    struct cantus_app app = part_app;
    refused(&app, "refuse", "refuses to start");
    app.abi = 99;
    refused(&app, "", "version 99");
    app = part_app;
    app.name = NULL;
    refused(&app, "", "no name");
    static const char *const bad[] = { "a//b", NULL };
    app = part_app;
    app.topics = bad;
    refused(&app, "", "a//b");
    struct cantus_part parts[1] = { { &part_app, sizeof(struct part_state) } };
    app = part_app;
    app.parts = parts;
    app.part_count = 1;
    refused(&app, "", "does not fit");
    parts[0].offset = 1 << 20;
    refused(&app, "", "behind its state");
    parts[0] = (struct cantus_part) { NULL, 0 };
    refused(&app, "", "no app");
    parts[0] = (struct cantus_part) { &app, 0 };
    refused(&app, "", "in a circle");
}
END_TEST

/* ---- timers ---------------------------------------------------------------------------------- */

START_TEST(timers_fire_in_order_of_due_time_then_of_registration)
{
    struct machine *m = make(&whole_app);
    struct whole_state *s = machine_state(m);
    ck_assert_uint_eq(machine_next_timer_ns(m), UINT64_MAX);
    cantus_timer_set(s->timers, 1, 300);
    cantus_timer_set(s->timers, 2, 100);
    cantus_timer_set(s->first.timers, 2, 100);
    cantus_timer_set(s->timers, 3, 100);
    cantus_timer_set(s->timers, 4, 200);
    cantus_timer_set(s->timers, 5, 200);
    cantus_timer_set(s->timers, 4, 200); /* again: behind 5 now */
    cantus_timer_set(s->timers, 6, 250);
    cantus_timer_cancel(s->timers, 6);
    cantus_timer_cancel(s->timers, 99);
    ck_assert_uint_eq(machine_next_timer_ns(m), 100);
    machine_advance(m, 99);
    ck_assert_str_eq(calls, "");
    machine_advance(m, 200);
    ck_assert_str_eq(calls, "w2@100 p2@100 w3@100 w5@200 w4@200 ");
    machine_advance(m, 1000);
    ck_assert_str_eq(calls, "w2@100 p2@100 w3@100 w5@200 w4@200 w1@300 ");
    ck_assert_uint_eq(machine_next_timer_ns(m), UINT64_MAX);
    machine_destroy(m);
}
END_TEST

START_TEST(pending_timers_and_firings_are_bounded)
{
    struct machine *m = make(&whole_app);
    struct whole_state *s = machine_state(m);
    for (uint64_t i = 0; i < CANTUS_TIMERS_MAX; i++)
        ck_assert(cantus_timer_set(s->timers, i, 5000 - i));
    ck_assert(!cantus_timer_set(s->timers, 5000, 1));
    ck_assert(!cantus_timer_set(s->first.timers, 1, 1));
    ck_assert(cantus_timer_set(s->timers, 7, 1)); /* it has a place */
    for (uint64_t i = 0; i < CANTUS_TIMERS_MAX; i++)
        cantus_timer_cancel(s->timers, i);
    ck_assert_uint_eq(machine_next_timer_ns(m), UINT64_MAX);
    /* One that sets itself for the same moment again must not hold up the stream for ever. */
    s->rearm = 1;
    cantus_timer_set(s->timers, 1, 10);
    machine_advance(m, 10);
    ck_assert_uint_eq(s->count, MACHINE_TIMERS_FIRED_MAX);
    machine_destroy(m);
}
END_TEST

/* ---- digest and snapshots -------------------------------------------------------------------- */

START_TEST(equal_histories_give_equal_digests_and_others_do_not)
{
    struct machine *a = make(&whole_app);
    struct machine *b = make(&whole_app);
    ck_assert_uint_eq(machine_digest(a), machine_digest(b));
    apply(a, "/a/b", 5, 1);
    ck_assert_uint_ne(machine_digest(a), machine_digest(b));
    apply(b, "/a/b", 5, 1);
    ck_assert_uint_eq(machine_digest(a), machine_digest(b));
    struct whole_state *s = machine_state(a);
    struct whole_state *t = machine_state(b);
    cantus_timer_set(s->timers, 1, 9);
    ck_assert_uint_ne(machine_digest(a), machine_digest(b));
    cantus_timer_set(t->first.timers, 1, 9); /* another node's is another timer */
    ck_assert_uint_ne(machine_digest(a), machine_digest(b));
    cantus_timer_cancel(t->first.timers, 1);
    cantus_timer_set(t->timers, 1, 9);
    ck_assert_uint_eq(machine_digest(a), machine_digest(b));
    ck_assert(machine_reset(a));
    struct machine *fresh = make(&whole_app);
    ck_assert_uint_eq(machine_digest(a), machine_digest(fresh));
    machine_destroy(fresh);
    machine_destroy(a);
    machine_destroy(b);
}
END_TEST

static size_t saved(struct machine *m, uint8_t *out, size_t capacity)
{
    struct whole_state *s = machine_state(m);
    apply(m, "/a/b", 5, 1);
    apply(m, "/c", 6, 1);
    cantus_timer_set(s->timers, 1, 50);
    cantus_timer_set(s->second.timers, 2, 50);
    cantus_timer_set(s->timers, 3, 40);
    struct position p = { .epoch = { .number = 2, .candidate = 9 }, .seq = 6 };
    return machine_save(m, p, out, capacity);
}

START_TEST(a_snapshot_goes_on_exactly_where_it_was_cut)
{
    uint8_t bytes[1024];
    struct machine *a = make(&whole_app);
    size_t length = saved(a, bytes, sizeof bytes);
    ck_assert_uint_gt(length, 0);
    struct machine *b = make(&whole_app);
    struct position p;
    ck_assert(machine_load(b, bytes, length, &p));
    ck_assert_uint_eq(p.seq, 6);
    ck_assert_uint_eq(p.epoch.number, 2);
    ck_assert_uint_eq(machine_digest(a), machine_digest(b));
    calls[0] = '\0';
    apply(a, "/a/b", 7, 60);
    char of_a[sizeof calls];
    strcpy(of_a, calls);
    calls[0] = '\0';
    apply(b, "/a/b", 7, 60);
    ck_assert_str_eq(calls, of_a);
    ck_assert_str_eq(calls, "w3@40 w1@50 p2@50 part part whole ");
    ck_assert_uint_eq(machine_digest(a), machine_digest(b));
    machine_destroy(a);
    machine_destroy(b);
}
END_TEST

START_TEST(a_snapshot_that_does_not_fit_is_not_written)
{
    static uint8_t bytes[1024];
    struct machine *m = make(&whole_app);
    size_t length = saved(m, bytes, sizeof bytes);
    struct position p = { .seq = 1 };
    for (size_t n = 0; n < length; n++)
        ck_assert_uint_eq(machine_save(m, p, bytes, n), 0);
    ck_assert_uint_eq(machine_save(m, p, bytes, length), length);
    struct cantus_app mute = part_app;
    mute.save = NULL;
    struct machine *n = make(&mute);
    ck_assert_uint_eq(machine_save(n, p, bytes, sizeof bytes), 0);
    machine_destroy(n);
    machine_destroy(m);
}
END_TEST

START_TEST(a_damaged_or_foreign_snapshot_leaves_the_initial_state)
{
    uint8_t bytes[1024];
    struct machine *a = make(&whole_app);
    size_t length = saved(a, bytes, sizeof bytes);
    struct machine *b = make(&whole_app);
    uint64_t fresh = machine_digest(b);
    struct position p;
    for (size_t n = 0; n < length; n++) {
        ck_assert(!machine_load(b, bytes, n, &p));
        ck_assert_uint_eq(machine_digest(b), fresh);
    }
    for (size_t i = 0; i < length; i++) {
        bytes[i] ^= 0x10;
        ck_assert(!machine_load(b, bytes, length, &p));
        ck_assert_uint_eq(p.seq, 0);
        ck_assert_uint_eq(machine_digest(b), fresh);
        bytes[i] ^= 0x10;
    }
    struct cantus_app other = whole_app;
    other.logic_version++;
    struct machine *c = make(&other);
    ck_assert(!machine_load(c, bytes, length, &p));
    other = whole_app;
    other.name = "other";
    struct machine *d = make(&other);
    ck_assert(!machine_load(d, bytes, length, &p));
    struct machine *e = make(&part_app);
    ck_assert(!machine_load(e, bytes, length, &p));
    ck_assert(machine_load(b, bytes, length, &p));
    machine_destroy(a);
    machine_destroy(b);
    machine_destroy(c);
    machine_destroy(d);
    machine_destroy(e);
}
END_TEST

/* ---- quarantine ------------------------------------------------------------------------------ */

struct talker {
    uint64_t changes;
    uint64_t text;
    uint64_t silent;
};

static bool talker_next(const void *state, struct cantus_proposal *p)
{
    const struct talker *s = state;
    ck_assert_uint_eq(p->buffer_size, MACHINE_BUFFER_BYTES);
    memcpy(p->buffer, &s->text, sizeof s->text);
    p->topic = "/talk";
    p->payload = p->buffer;
    p->length = sizeof s->text;
    return s->silent == 0;
}

static uint64_t talker_digest(const void *state)
{
    return ((const struct talker *)state)->changes;
}

static struct cantus_app talker_app = { .abi = CANTUS_APP_ABI,
                                        .name = "talker",
                                        .state_size = sizeof(struct talker),
                                        .next = talker_next,
                                        .digest = talker_digest };

/* How many times it is asked, proposes, and has an outcome, before it is quarantined. */
static uint32_t proposals_until_quarantine(struct machine *m, void (*between)(struct talker *s))
{
    struct cantus_proposal p;
    for (uint32_t i = 0; i < 100; i++) {
        enum machine_advice advice = machine_next(m, &p);
        if (advice == MACHINE_QUARANTINED)
            return i;
        ck_assert_int_eq(advice, MACHINE_PROPOSES);
        machine_outcome(m, 1000 + i, i % 2 == 0);
        if (between != NULL)
            between(machine_state(m));
    }
    return UINT32_MAX;
}

static void change(struct talker *s)
{
    s->changes++;
}

static void reword(struct talker *s)
{
    s->text++;
}

START_TEST(an_app_that_repeats_itself_to_no_effect_is_quarantined)
{
    struct machine *m = make(&talker_app);
    uint32_t count = proposals_until_quarantine(m, NULL);
    ck_assert_uint_eq(count, MACHINE_REPEATS_MAX + 1);
    ck_assert(machine_quarantined(m));
    ck_assert_str_eq(machine_repeated_topic(m), "/talk");
    ck_assert_uint_eq(machine_repeated_seq(m), 1000 + count - 1);
    struct cantus_proposal p;
    change(machine_state(m));
    ck_assert_int_eq(machine_next(m, &p), MACHINE_QUARANTINED); /* for good */
    machine_destroy(m);
}
END_TEST

START_TEST(repetition_with_an_effect_and_other_words_are_fine)
{
    struct machine *m = make(&talker_app);
    ck_assert_uint_eq(proposals_until_quarantine(m, change), UINT32_MAX);
    machine_destroy(m);
    m = make(&talker_app);
    ck_assert_uint_eq(proposals_until_quarantine(m, reword), UINT32_MAX);
    machine_destroy(m);
    /* Asked again and again without an outcome in between: it may say the same. */
    m = make(&talker_app);
    struct cantus_proposal p;
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(machine_next(m, &p), MACHINE_PROPOSES);
    ((struct talker *)machine_state(m))->silent = 1;
    ck_assert_int_eq(machine_next(m, &p), MACHINE_NOTHING);
    machine_destroy(m);
    /* Without a digest the bytes of the state count. */
    struct cantus_app mute = talker_app;
    mute.digest = NULL;
    m = make(&mute);
    ck_assert_uint_eq(proposals_until_quarantine(m, change), UINT32_MAX);
    machine_destroy(m);
    m = make(&mute);
    ck_assert_uint_eq(proposals_until_quarantine(m, NULL), MACHINE_REPEATS_MAX + 1);
    machine_destroy(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("machine");
    TCase *t = tcase_create("machine");
    tcase_add_test(t, parts_apply_first_each_by_its_topics);
    tcase_add_test(t, the_whole_tree_leaves_out_sys);
    tcase_add_test(t, apps_that_can_not_run_are_refused_with_a_reason);
    tcase_add_test(t, timers_fire_in_order_of_due_time_then_of_registration);
    tcase_add_test(t, pending_timers_and_firings_are_bounded);
    tcase_add_test(t, equal_histories_give_equal_digests_and_others_do_not);
    tcase_add_test(t, a_snapshot_goes_on_exactly_where_it_was_cut);
    tcase_add_test(t, a_snapshot_that_does_not_fit_is_not_written);
    tcase_add_test(t, a_damaged_or_foreign_snapshot_leaves_the_initial_state);
    tcase_add_test(t, an_app_that_repeats_itself_to_no_effect_is_quarantined);
    tcase_add_test(t, repetition_with_an_effect_and_other_words_are_fine);
    suite_add_tcase(s, t);
    return suite_main(s);
}
