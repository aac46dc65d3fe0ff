#include "ledger.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "instruction.h"

enum { SLOTS = LEDGER_ENTRIES_MAX * 2, SETTLEMENT_TIMER = 0, SETTLEMENT_MAX = 128 };

static const uint64_t ms_ns = 1000 * 1000;
static const char *const ledger_topics[] = { LEDGER_INSTRUCTIONS, LEDGER_SETTLEMENTS, NULL };

const char *ledger_outcome_text(enum ledger_outcome outcome)
{
#define TEXT(name, text) [name] = text,
    static const char *const texts[] = { LEDGER_OUTCOMES(TEXT) };
#undef TEXT
    return texts[outcome];
}

/* ---- accounts and references ----------------------------------------------------------------- */

static struct ledger_account *account_find(struct ledger *l, const char *name)
{
    for (uint32_t i = 0; i < l->account_count; i++)
        if (strcmp(l->accounts[i].name, name) == 0)
            return &l->accounts[i];
    return NULL;
}

static int64_t account_available(const struct ledger_account *a)
{
    return a->balance + a->overdraft - a->held;
}

/* Where the entry of this reference is, or the empty slot where it belongs. */
static size_t entry_slot(const struct ledger *l, uint64_t reference)
{
    size_t i = (size_t)(cantus_hash(0, &reference, sizeof reference) % SLOTS);
    while (l->entries[i].reference != 0 && l->entries[i].reference != reference)
        i = (i + 1) % SLOTS;
    return i;
}

static struct ledger_entry *entry_find(struct ledger *l, uint64_t reference)
{
    return &l->entries[entry_slot(l, reference)];
}

static uint64_t entry_hash(const struct ledger_entry *e)
{
    uint64_t fields[] = { e->reference, e->words, (uint64_t)e->amount,
                          (uint64_t)e->from << 32 | e->to, e->outcome };
    return cantus_hash(0, fields, sizeof fields);
}

/* The digest has the sum of all entries' hashes, so that a change costs no walk over all. */
static void entry_set(struct ledger *l, struct ledger_entry *e, struct ledger_entry value)
{
    if (e->reference != 0)
        l->entries_hash -= entry_hash(e);
    else
        l->entry_count++;
    *e = value;
    l->entries_hash += entry_hash(e);
}

bool ledger_outcome_of(const struct ledger *l, uint64_t reference, enum ledger_outcome *out)
{
    const struct ledger_entry *e = &l->entries[entry_slot(l, reference)];
    *out = (enum ledger_outcome)e->outcome;
    return reference != 0 && e->reference == reference;
}

int64_t ledger_sum(const struct ledger *l)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < l->account_count; i++)
        sum += l->accounts[i].balance;
    return sum;
}

uint64_t ledger_refused(const struct ledger *l)
{
    uint64_t refused = 0;
    for (int o = LEDGER_MALFORMED; o < LEDGER_OUTCOME_END; o++)
        refused += l->counts[o];
    return refused;
}

/* ---- instructions ---------------------------------------------------------------------------- */

static enum ledger_outcome open_account(struct ledger *l, const struct instruction *in)
{
    if (account_find(l, in->from) != NULL)
        return LEDGER_ACCOUNT_EXISTS;
    if (l->account_count == LEDGER_ACCOUNTS_MAX)
        return LEDGER_FULL;
    struct ledger_account *a = &l->accounts[l->account_count++];
    *a = (struct ledger_account) { .overdraft = (int64_t)in->amount };
    memcpy(a->name, in->from, sizeof a->name);
    return LEDGER_DONE;
}

static void pay(struct ledger *l, struct ledger_account *from, struct ledger_account *to,
                int64_t amount)
{
    from->balance -= amount;
    to->balance += amount;
    l->payments++;
    l->volume += (uint64_t)amount;
}

static void hold_end(struct ledger *l, struct ledger_entry *e, enum ledger_outcome how)
{
    struct ledger_account *from = &l->accounts[e->from];
    from->held -= e->amount;
    l->held -= e->amount;
    l->hold_count--;
    if (how == LEDGER_CAPTURED)
        pay(l, from, &l->accounts[e->to], e->amount);
    struct ledger_entry over = *e;
    over.outcome = (uint8_t)how;
    entry_set(l, e, over);
}

static enum ledger_outcome end_hold(struct ledger *l, const struct instruction *in,
                                    enum ledger_outcome how)
{
    struct ledger_entry *e = entry_find(l, in->reference);
    if (e->reference == 0 || e->outcome < LEDGER_HELD || e->outcome > LEDGER_EXPIRED)
        return LEDGER_NO_HOLD;
    if (e->outcome == how)
        return LEDGER_REPEATED;
    if (e->outcome != LEDGER_HELD)
        return LEDGER_HOLD_OVER;
    cantus_timer_cancel(l->timers, in->reference);
    hold_end(l, e, how);
    return how;
}

static enum ledger_outcome move(struct ledger *l, const struct instruction *in, uint64_t now_ns,
                                struct ledger_account *from, struct ledger_account *to)
{
    int64_t amount = (int64_t)in->amount;
    if (from == NULL || to == NULL)
        return LEDGER_NO_ACCOUNT;
    if (account_available(from) < amount)
        return LEDGER_FUNDS;
    if (in->verb == INSTRUCTION_TRANSFER) {
        pay(l, from, to, amount);
        return LEDGER_PAID;
    }
    if (l->hold_count == LEDGER_HOLDS_MAX ||
        !cantus_timer_set(l->timers, in->reference, now_ns + in->ms * ms_ns))
        return LEDGER_FULL;
    from->held += amount;
    l->held += amount;
    l->hold_count++;
    return LEDGER_HELD;
}

/* A transfer or a hold: the outcome stays with its reference, a refusal too. */
static enum ledger_outcome refer(struct ledger *l, const struct instruction *in,
                                 const struct cantus_message *m)
{
    uint64_t words = cantus_hash(0, m->payload, m->length);
    struct ledger_entry *e = entry_find(l, in->reference);
    if (e->reference != 0)
        return e->words == words ? LEDGER_REPEATED : LEDGER_REFERENCE_USED;
    if (l->entry_count == LEDGER_ENTRIES_MAX)
        return LEDGER_FULL;
    struct ledger_account *from = account_find(l, in->from), *to = account_find(l, in->to);
    enum ledger_outcome outcome = move(l, in, m->timestamp_ns, from, to);
    entry_set(
        l, e,
        (struct ledger_entry) { .reference = in->reference,
                                .words = words,
                                .amount = (int64_t)in->amount,
                                .from = from != NULL ? (uint16_t)(from - l->accounts) : UINT16_MAX,
                                .to = to != NULL ? (uint16_t)(to - l->accounts) : UINT16_MAX,
                                .outcome = (uint8_t)outcome });
    return outcome;
}

/* ---- settlements ----------------------------------------------------------------------------- */

static uint64_t balances_hash(const struct ledger *l)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < l->account_count; i++) {
        const struct ledger_account *a = &l->accounts[i];
        hash = cantus_hash(hash, a->name, sizeof a->name);
        int64_t amounts[] = { a->balance, a->held, a->overdraft };
        hash = cantus_hash(hash, amounts, sizeof amounts);
    }
    return hash;
}

/* With too many to be announced still, this period is settled together with the one before. */
static void settlement_due(struct ledger *l)
{
    assert(ledger_sum(l) == 0);
    if (l->due - l->announced < LEDGER_PERIODS_MAX)
        l->due++;
    l->periods[l->due % LEDGER_PERIODS_MAX] = (struct ledger_period) {
        .payments = l->payments, .volume = l->volume, .balances = balances_hash(l)
    };
}

static int settlement_write(const struct ledger *l, char *out, size_t capacity)
{
    uint64_t number = l->announced + 1;
    const struct ledger_period *p = &l->periods[number % LEDGER_PERIODS_MAX];
    return snprintf(out, capacity,
                    "settlement %" PRIu64 " payments %" PRIu64 " volume %" PRIu64
                    " balances %016" PRIx64,
                    number, p->payments, p->volume, p->balances);
}

static void apply_settlement(struct ledger *l, const struct cantus_message *m)
{
    char mine[SETTLEMENT_MAX];
    size_t length = (size_t)settlement_write(l, mine, sizeof mine);
    l->last_settlement_seq = m->seq;
    if (l->announced < l->due && m->length == length && memcmp(m->payload, mine, length) == 0)
        l->announced++;
    else
        l->disputed++;
}

/* What is due and not in the stream yet. Of redundant ledgers exactly one announces it, because the
 * proposal holds only while nothing else has been said there. */
static bool ledger_next(const void *state, struct cantus_proposal *p)
{
    const struct ledger *l = state;
    if (l->announced == l->due)
        return false;
    p->topic = LEDGER_SETTLEMENTS;
    p->payload = p->buffer;
    p->length = (size_t)settlement_write(l, (char *)p->buffer, p->buffer_size);
    p->condition_topic = LEDGER_SETTLEMENTS;
    p->condition_after = l->last_settlement_seq;
    return true;
}

static enum ledger_outcome set_period(struct ledger *l, uint64_t period_ns, uint64_t now_ns)
{
    l->period_ns = period_ns;
    l->closed = false;
    return cantus_timer_set(l->timers, SETTLEMENT_TIMER, now_ns + period_ns) ? LEDGER_DONE
                                                                             : LEDGER_FULL;
}

static enum ledger_outcome close_day(struct ledger *l)
{
    cantus_timer_cancel(l->timers, SETTLEMENT_TIMER);
    if (!l->closed)
        settlement_due(l);
    l->period_ns = 0;
    l->closed = true;
    return LEDGER_DONE;
}

/* ---- the state machine ----------------------------------------------------------------------- */

static bool ledger_init(void *state, const char *config, struct cantus_timers *timers)
{
    (void)config;
    struct ledger *l = state;
    l->timers = timers;
    return true;
}

static enum ledger_outcome apply_instruction(struct ledger *l, const struct cantus_message *m)
{
    struct instruction in;
    if (!instruction_read(m->payload, m->length, &in))
        return LEDGER_MALFORMED;
    switch (in.verb) {
    case INSTRUCTION_OPEN:
        return open_account(l, &in);
    case INSTRUCTION_TRANSFER:
    case INSTRUCTION_HOLD:
        return refer(l, &in, m);
    case INSTRUCTION_CAPTURE:
        return end_hold(l, &in, LEDGER_CAPTURED);
    case INSTRUCTION_RELEASE:
        return end_hold(l, &in, LEDGER_RELEASED);
    case INSTRUCTION_EVERY:
        return set_period(l, in.ms * ms_ns, m->timestamp_ns);
    case INSTRUCTION_CLOSE:
        break;
    }
    return close_day(l);
}

static void ledger_apply(void *state, const struct cantus_message *m)
{
    struct ledger *l = state;
    if (strcmp(m->topic, LEDGER_SETTLEMENTS) == 0) {
        apply_settlement(l, m);
        return;
    }
    l->last = apply_instruction(l, m);
    l->counts[l->last]++;
}

static void ledger_timer(void *state, uint64_t id, uint64_t now_ns)
{
    struct ledger *l = state;
    if (id == SETTLEMENT_TIMER) {
        settlement_due(l);
        cantus_timer_set(l->timers, SETTLEMENT_TIMER, now_ns + l->period_ns);
        return;
    }
    hold_end(l, entry_find(l, id), LEDGER_EXPIRED);
    l->counts[LEDGER_EXPIRED]++;
}

static uint64_t ledger_digest(const void *state)
{
    const struct ledger *l = state;
    uint64_t fields[] = { l->account_count, l->hold_count, l->entry_count, l->entries_hash,
                          l->payments,      l->volume,     l->period_ns,   l->due,
                          l->announced,     l->disputed,   l->closed,      l->last_settlement_seq };
    uint64_t digest = cantus_hash(balances_hash(l), fields, sizeof fields);
    return cantus_hash(digest, l->counts, sizeof l->counts);
}

/* ---- snapshots ------------------------------------------------------------------------------- */

static void ledger_save(const void *state, struct cantus_writer *w)
{
    const struct ledger *l = state;
    cantus_write_u64(w, l->account_count);
    cantus_write(w, l->accounts, l->account_count * sizeof l->accounts[0]);
    cantus_write_u64(w, l->entry_count);
    for (uint32_t i = 0; i < SLOTS; i++) {
        const struct ledger_entry *e = &l->entries[i];
        if (e->reference == 0)
            continue;
        cantus_write_u64(w, e->reference);
        cantus_write_u64(w, e->words);
        cantus_write_u64(w, (uint64_t)e->amount);
        cantus_write_u64(w, (uint64_t)e->from << 32 | (uint64_t)e->to << 8 | e->outcome);
    }
    cantus_write(w, l->counts, sizeof l->counts);
    cantus_write(w, l->periods, sizeof l->periods);
    uint64_t fields[] = { l->payments,  l->volume,   l->period_ns,           l->due,
                          l->announced, l->disputed, l->last_settlement_seq, l->closed };
    cantus_write(w, fields, sizeof fields);
}

static bool load_entries(struct ledger *l, struct cantus_reader *r)
{
    uint64_t count = cantus_read_u64(r);
    for (uint64_t i = 0; i < count; i++) {
        struct ledger_entry e = { .reference = cantus_read_u64(r),
                                  .words = cantus_read_u64(r),
                                  .amount = (int64_t)cantus_read_u64(r) };
        uint64_t packed = cantus_read_u64(r);
        e.from = (uint16_t)(packed >> 32);
        e.to = (uint16_t)(packed >> 8);
        e.outcome = (uint8_t)packed;
        bool known = e.from < l->account_count && e.to < l->account_count;
        struct ledger_entry *slot = entry_find(l, e.reference);
        if (e.reference == 0 || slot->reference != 0 || l->entry_count == LEDGER_ENTRIES_MAX ||
            (e.outcome <= LEDGER_EXPIRED && !known))
            return false;
        entry_set(l, slot, e);
        l->hold_count += e.outcome == LEDGER_HELD;
        l->held += e.outcome == LEDGER_HELD ? e.amount : 0;
    }
    return true;
}

static bool ledger_load(void *state, struct cantus_reader *r)
{
    struct ledger *l = state;
    uint64_t count = cantus_read_u64(r);
    if (count > LEDGER_ACCOUNTS_MAX ||
        !cantus_read(r, l->accounts, (size_t)count * sizeof l->accounts[0]))
        return false;
    l->account_count = (uint32_t)count;
    uint64_t fields[8];
    if (!load_entries(l, r) || !cantus_read(r, l->counts, sizeof l->counts) ||
        !cantus_read(r, l->periods, sizeof l->periods) || !cantus_read(r, fields, sizeof fields))
        return false;
    l->payments = fields[0];
    l->volume = fields[1];
    l->period_ns = fields[2];
    l->due = fields[3];
    l->announced = fields[4];
    l->disputed = fields[5];
    l->last_settlement_seq = fields[6];
    l->closed = fields[7] != 0;
    return ledger_sum(l) == 0 && l->hold_count <= LEDGER_HOLDS_MAX;
}

const struct cantus_app ledger_app = {
    .abi = CANTUS_APP_ABI,
    .logic_version = 1,
    .name = "ledger",
    .topics = ledger_topics,
    .state_size = sizeof(struct ledger),
    .init = ledger_init,
    .apply = ledger_apply,
    .timer = ledger_timer,
    .next = ledger_next,
    .save = ledger_save,
    .load = ledger_load,
    .digest = ledger_digest,
};
