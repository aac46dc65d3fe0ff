/* One way to do it: an answer counts only if there is none after the last one seen. */
#include <cantus/app.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PUZZLES_MAX = 64 };

struct solver {
    uint64_t puzzles[PUZZLES_MAX];
    uint64_t asked;
    uint64_t answered;
    uint64_t last_answer_seq;
};

static void solver_apply(void *state, const struct cantus_message *m)
{
    struct solver *s = state;
    char text[32] = "";
    memcpy(text, m->payload, m->length < sizeof text - 1 ? m->length : sizeof text - 1);
    if (strcmp(m->topic, "/puzzle") == 0 && s->asked < PUZZLES_MAX)
        s->puzzles[s->asked++] = strtoull(text, NULL, 10);
    if (strcmp(m->topic, "/solution") == 0) {
        s->answered++;
        s->last_answer_seq = m->seq;
    }
}

static uint64_t smallest_factor(uint64_t n)
{
    for (uint64_t f = 2; f * f <= n; f++)
        if (n % f == 0)
            return f;
    return n;
}

static bool solver_next(const void *state, struct cantus_proposal *p)
{
    const struct solver *s = state;
    if (s->answered >= s->asked)
        return false;
    uint64_t factor = smallest_factor(s->puzzles[s->answered]);
    p->topic = "/solution";
    p->payload = p->buffer;
    p->length =
        (size_t)snprintf((char *)p->buffer, p->buffer_size, "%llu", (unsigned long long)factor);
    p->condition_topic = "/solution";
    p->condition_after = s->last_answer_seq;
    return true;
}

static uint64_t solver_digest(const void *state)
{
    return cantus_hash(0, state, sizeof(struct solver));
}

static const char *const solver_topics[] = { "/puzzle", "/solution", NULL };

CANTUS_API const struct cantus_app cantus_app_v1 = {
    .abi = CANTUS_APP_ABI,
    .name = "solver",
    .topics = solver_topics,
    .state_size = sizeof(struct solver),
    .apply = solver_apply,
    .next = solver_next,
    .digest = solver_digest,
};
