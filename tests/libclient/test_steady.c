/* Nothing allocates on the message path: every allocator call of the program goes through the
 * wrappers below, which count, while apps, a pipe and a subscription live through traffic, loss and
 * a fork. */
#include <stdio.h>

#include "rig.h"
#include "suite_main.h"

static uint64_t calls;
static bool counting;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *p);

void *__wrap_malloc(size_t size)
{
    calls += rig_inside || counting;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    calls += rig_inside || counting;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    calls += rig_inside || counting;
    return __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    calls += rig_inside || counting;
    return __real_aligned_alloc(alignment, size);
}

void __wrap_free(void *p)
{
    calls += rig_inside || counting;
    __real_free(p);
}

struct sum {
    uint64_t sum;
    uint64_t goal;
    struct cantus_timers *timers;
};

static bool sum_init(void *state, const char *config, struct cantus_timers *timers)
{
    struct sum *s = state;
    s->goal = strtoull(config, NULL, 10);
    s->timers = timers;
    return true;
}

static void sum_apply(void *state, const struct cantus_message *m)
{
    struct sum *s = state;
    s->sum++;
    cantus_timer_set(s->timers, m->seq % 50, m->timestamp_ns + m->seq % 7);
}

static bool sum_next(const void *state, struct cantus_proposal *p)
{
    const struct sum *s = state;
    p->topic = "/sum";
    p->payload = &s->sum;
    p->length = sizeof s->sum;
    return s->sum < s->goal;
}

static uint64_t sum_digest(const void *state)
{
    const struct sum *s = state;
    return s->sum;
}

static const char *const sum_topics[] = { "/sum", NULL };
static const struct cantus_app sum_app = { .abi = CANTUS_APP_ABI,
                                           .name = "sum",
                                           .topics = sum_topics,
                                           .state_size = sizeof(struct sum),
                                           .init = sum_init,
                                           .apply = sum_apply,
                                           .next = sum_next,
                                           .digest = sum_digest };

START_TEST(nothing_allocates_after_the_first_poll)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    counting = true;
    struct machine *m = client_core_add_app(r->core, &sum_app, "400", "me", r->error);
    ck_assert(client_core_publish_digests(r->core, m, NULL, 16, r->error));
    struct cantus_pipe *p = client_core_add_pipe(r->core, "feed", r->error);
    counting = false;
    ck_assert(m != NULL && p != NULL);
    ck_assert(client_core_subscribe(r->core, "/", rig_see, r, r->error));
    ck_assert_uint_gt(calls, 0); /* the wrappers are in place */
    rig_run(r);
    uint64_t before = calls;
    r->leader.lose_one_of = 7;
    static uint8_t bytes[4000];
    for (uint32_t i = 0; i < 600; i++) {
        char topic[32];
        snprintf(topic, sizeof topic, "/feed/%u", i % 20);
        counting = true;
        cantus_pipe_push(p, topic, bytes, i % 10 == 0 ? sizeof bytes : 32);
        counting = false;
        rig_run(r);
        if (i == 390)
            r->leader.stable_max = rig_tip(r); /* so that the fork takes nothing stable */
        if (i == 400) {
            rig_fork(r, rig_tip(r) - 5);
            r->leader.stable_max = 0;
        }
        r->now.mono_ns += MS;
        r->leader.timestamp_ns += MS;
    }
    ck_assert_uint_gt(r->seen_count, 600);
    ck_assert_ptr_nonnull(rig_reported(r, CANTUS_REPORT_REBUILT));
    ck_assert_uint_ne(catalog_topic_find(r->leader.catalog, "/sys/digest/sum", 15), 0);
    ck_assert_uint_eq(calls, before);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("steady");
    TCase *t = tcase_create("steady");
    tcase_add_test(t, nothing_allocates_after_the_first_poll);
    suite_add_tcase(s, t);
    return suite_main(s);
}
