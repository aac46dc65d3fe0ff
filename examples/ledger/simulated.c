/* The ledger with its own day of payments inside, for the simulator: `cantus sim --app`. Each replica would
 * give the next instruction; a precondition lets one of them succeed. The configuration is the number of
 * payments. */
#include <stdlib.h>

#include "day.h"
#include "instruction.h"

struct simulated {
    struct ledger ledger;
    struct day day;
    uint64_t given; /* instructions in the stream */
    uint64_t last_seq;
};

static const char *const simulated_topics[] = { LEDGER_INSTRUCTIONS, NULL };
static const struct cantus_part simulated_parts[] = { { &ledger_app,
                                                        offsetof(struct simulated, ledger) } };

static bool simulated_init(void *state, const char *config, struct cantus_timers *timers)
{
    (void)timers;
    struct simulated *s = state;
    char *end;
    unsigned long long payments = strtoull(config, &end, 10);
    s->day =
        (struct day) { .seed = 1, .payments = config[0] != 0 ? payments : 200, .hour_ms = 100 };
    return *end == 0;
}

static void simulated_apply(void *state, const struct cantus_message *m)
{
    struct simulated *s = state;
    s->given++;
    s->last_seq = m->seq;
}

static bool simulated_next(const void *state, struct cantus_proposal *p)
{
    const struct simulated *s = state;
    if (ledger_app.next(&s->ledger, p))
        return true;
    if (s->given == day_count(&s->day))
        return false;
    p->topic = LEDGER_INSTRUCTIONS;
    p->payload = p->buffer;
    p->length = day_instruction(&s->day, s->given, (char *)p->buffer);
    p->condition_topic = LEDGER_INSTRUCTIONS;
    p->condition_after = s->last_seq;
    return true;
}

static uint64_t simulated_digest(const void *state)
{
    const struct simulated *s = state;
    uint64_t fields[] = { s->given, s->last_seq };
    return cantus_hash(ledger_app.digest(&s->ledger), fields, sizeof fields);
}

static void simulated_save(const void *state, struct cantus_writer *w)
{
    const struct simulated *s = state;
    cantus_write_u64(w, s->given);
    cantus_write_u64(w, s->last_seq);
}

static bool simulated_load(void *state, struct cantus_reader *r)
{
    struct simulated *s = state;
    s->given = cantus_read_u64(r);
    s->last_seq = cantus_read_u64(r);
    return true;
}

CANTUS_API const struct cantus_app cantus_app_v1 = {
    .abi = CANTUS_APP_ABI,
    .logic_version = 1,
    .name = "ledger-day",
    .topics = simulated_topics,
    .state_size = sizeof(struct simulated),
    .parts = simulated_parts,
    .part_count = 1,
    .init = simulated_init,
    .apply = simulated_apply,
    .next = simulated_next,
    .digest = simulated_digest,
    .save = simulated_save,
    .load = simulated_load,
};
