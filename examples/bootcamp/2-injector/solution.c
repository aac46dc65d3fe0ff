/* One way to do it: what is in the stream says what comes next. */
#include <cantus/app.h>
#include <string.h>

static const char *const prices[] = { "100", "101", "99", "99", "102", "98" };
enum { PRICES = sizeof prices / sizeof prices[0] };

struct injector {
    uint64_t seen;
};

static void injector_apply(void *state, const struct cantus_message *m)
{
    struct injector *i = state;
    (void)m;
    i->seen++;
}

static bool injector_next(const void *state, struct cantus_proposal *p)
{
    const struct injector *i = state;
    if (i->seen >= PRICES)
        return false;
    p->topic = "/prices";
    p->payload = prices[i->seen];
    p->length = strlen(prices[i->seen]);
    return true;
}

static uint64_t injector_digest(const void *state)
{
    return cantus_hash(0, state, sizeof(struct injector));
}

static const char *const injector_topics[] = { "/prices", NULL };

CANTUS_API const struct cantus_app cantus_app_v1 = {
    .abi = CANTUS_APP_ABI,
    .name = "injector",
    .topics = injector_topics,
    .state_size = sizeof(struct injector),
    .apply = injector_apply,
    .next = injector_next,
    .digest = injector_digest,
};
