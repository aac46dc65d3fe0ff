/* The mistake: it counts its own pongs, but does not subscribe to them. */
#include <cantus/app.h>
#include <string.h>

struct ponger {
    uint64_t pings;
    uint64_t pongs;
};

static void ponger_apply(void *state, const struct cantus_message *m)
{
    struct ponger *p = state;
    if (strcmp(m->topic, "/ping") == 0)
        p->pings++;
    else if (strcmp(m->topic, "/pong") == 0)
        p->pongs++;
}

static bool ponger_next(const void *state, struct cantus_proposal *p)
{
    const struct ponger *s = state;
    if (s->pongs >= s->pings)
        return false;
    p->topic = "/pong";
    p->payload = "pong";
    p->length = 4;
    return true;
}

static uint64_t ponger_digest(const void *state)
{
    return cantus_hash(0, state, sizeof(struct ponger));
}

static const char *const ponger_topics[] = { "/ping", "/pong", NULL };

CANTUS_API const struct cantus_app cantus_app_v1 = {
    .abi = CANTUS_APP_ABI,
    .name = "ponger",
    .topics = ponger_topics,
    .state_size = sizeof(struct ponger),
    .apply = ponger_apply,
    .next = ponger_next,
    .digest = ponger_digest,
};
