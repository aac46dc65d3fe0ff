/* Exercise 2: an injector.
 *
 * `prices` is a source outside the stream. Bring each of its entries into the stream, on /prices, in
 * order and exactly once, whatever crashes when.
 *
 * What is wrong below? `next` may be asked any number of times, and the process may die between any two
 * of them. Remembering what was *sent* is of no use: what counts is what is *in the stream*. */
#include <cantus/app.h>
#include <string.h>

static const char *const prices[] = { "100", "101", "99", "99", "102", "98" };
enum { PRICES = sizeof prices / sizeof prices[0] };

struct injector {
    uint64_t seen;
};

static uint64_t sent;

static void injector_apply(void *state, const struct cantus_message *m)
{
    struct injector *i = state;
    (void)m;
    i->seen++;
}

static bool injector_next(const void *state, struct cantus_proposal *p)
{
    (void)state;
    if (sent == PRICES)
        return false;
    p->topic = "/prices";
    p->payload = prices[sent];
    p->length = strlen(prices[sent]);
    sent++;
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
