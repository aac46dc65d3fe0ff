/* One way to do it: the last name is part of the state. */
#include <cantus/app.h>
#include <string.h>

struct counter {
    uint64_t visits;
    uint64_t changes;
    char last_name[32];
};

static void counter_apply(void *state, const struct cantus_message *m)
{
    struct counter *c = state;
    char name[32] = "";
    memcpy(name, m->payload, m->length < sizeof name - 1 ? m->length : sizeof name - 1);
    c->visits++;
    if (strcmp(name, c->last_name) != 0)
        c->changes++;
    memcpy(c->last_name, name, sizeof c->last_name);
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
