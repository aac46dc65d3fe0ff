/* Exercise 1: a counter.
 *
 * Messages on /visits carry a name. Count the visits, and how often the name changed from one visit to
 * the next. Two replicas that have applied the same messages must have the same digest, also when one of
 * them was restarted in between.
 *
 * What is wrong below? A state machine's state is a function of the stream, and lives in `state`. */
#include <cantus/app.h>
#include <string.h>

struct counter {
    uint64_t visits;
    uint64_t changes;
};

static char last_name[32];

static void counter_apply(void *state, const struct cantus_message *m)
{
    struct counter *c = state;
    char name[32] = "";
    memcpy(name, m->payload, m->length < sizeof name - 1 ? m->length : sizeof name - 1);
    c->visits++;
    if (strcmp(name, last_name) != 0)
        c->changes++;
    memcpy(last_name, name, sizeof last_name);
}

static uint64_t counter_digest(const void *state)
{
    return cantus_hash(0, state, sizeof(struct counter));
}

static const char *const counter_topics[] = { "/visits", NULL };

CANTUS_API const struct cantus_app cantus_app_v1 = {
    .abi = CANTUS_APP_ABI,
    .name = "counter",
    .topics = counter_topics,
    .state_size = sizeof(struct counter),
    .apply = counter_apply,
    .digest = counter_digest,
};
