#include "tally.h"

#include <stdio.h>

static bool init(void *state, const char *config, struct cantus_timers *timers)
{
    struct tally *s = state;
    s->goal = strtoull(config, NULL, 10);
    s->timers = timers;
    return true;
}

static void apply(void *state, const struct cantus_message *m)
{
    struct tally *s = state;
    if (strcmp(m->topic, "/count") == 0)
        s->count++;
    uint64_t due;
    if (m->length > 6 && sscanf((const char *)m->payload, "timer %lu", &due) == 1)
        cantus_timer_set(s->timers, 1, due);
}

static void timer(void *state, uint64_t id, uint64_t now_ns)
{
    struct tally *s = state;
    (void)id;
    s->ticks++;
    s->fired_at = s->count;
    s->fired_now = now_ns;
}

static bool next(const void *state, struct cantus_proposal *p)
{
    const struct tally *s = state;
    p->topic = "/count";
    p->payload = "inc";
    p->length = 3;
    return s->count < s->goal;
}

static uint64_t digest(const void *state)
{
    const struct tally *s = state;
    const uint64_t fields[] = { s->count, s->ticks, s->fired_at, s->fired_now };
    return cantus_hash(0, fields, sizeof fields);
}

static const char *const TOPICS[] = { "/count", "/timer", NULL };
const struct cantus_app tally_app = { .abi = CANTUS_APP_ABI,
                                      .name = "counter",
                                      .topics = TOPICS,
                                      .state_size = sizeof(struct tally),
                                      .init = init,
                                      .apply = apply,
                                      .timer = timer,
                                      .next = next,
                                      .digest = digest };

bool tally_is_done(struct rig *r)
{
    const struct tally *s = machine_state(r->watched);
    return s->count >= s->goal;
}
