/* A payments ledger as a state machine. Instructions come as text on /ledger/instructions, one a message:
 *
 *   open ACCOUNT OVERDRAFT                  an account; its balance may go down to -OVERDRAFT
 *   transfer REFERENCE FROM TO AMOUNT       moves an amount at once
 *   hold REFERENCE FROM TO AMOUNT LIFE_MS   sets an amount aside; it expires after LIFE_MS
 *   capture REFERENCE                       the amount of that hold is paid
 *   release REFERENCE                       ... is free again
 *   every PERIOD_MS                         from here on, a settlement is due every so often
 *   close                                   the last settlement of the day is due
 *
 * Amounts are whole cents. A reference is a number that its author chose: an instruction that comes again
 * word for word changes nothing, another one with a used reference is refused. Whatever is refused has a
 * reason that everybody who follows can ask for; nobody has to be told.
 *
 * The ledger itself announces each settlement on /ledger/settlements, and checks those that it reads. Money
 * is only ever moved: the sum of all balances is zero. */
#ifndef LEDGER_LEDGER_H
#define LEDGER_LEDGER_H

#include <cantus/app.h>

#define LEDGER_INSTRUCTIONS "/ledger/instructions"
#define LEDGER_SETTLEMENTS  "/ledger/settlements"

enum {
    LEDGER_ACCOUNTS_MAX = 1024,
    LEDGER_NAME_MAX = 15,
    LEDGER_ENTRIES_MAX = 1 << 16, /* references ever used */
    LEDGER_HOLDS_MAX = 512,       /* at a time */
    LEDGER_PERIODS_MAX = 64,      /* due and not announced yet */
    LEDGER_AMOUNT_MAX = 1000000000
};

/* What became of an instruction; from LEDGER_MALFORMED on it was refused. */
#define LEDGER_OUTCOMES(X)                                                                         \
    X(LEDGER_DONE, "done") /* an account opened, a period set */                                   \
    X(LEDGER_PAID, "paid")                                                                         \
    X(LEDGER_HELD, "held")                                                                         \
    X(LEDGER_CAPTURED, "captured")                                                                 \
    X(LEDGER_RELEASED, "released")                                                                 \
    X(LEDGER_EXPIRED, "expired")                                                                   \
    X(LEDGER_REPEATED, "repeated")                                                                 \
    X(LEDGER_MALFORMED, "malformed")                                                               \
    X(LEDGER_NO_ACCOUNT, "no such account")                                                        \
    X(LEDGER_ACCOUNT_EXISTS, "account exists")                                                     \
    X(LEDGER_FUNDS, "insufficient funds")                                                          \
    X(LEDGER_REFERENCE_USED, "reference used")                                                     \
    X(LEDGER_NO_HOLD, "no such hold")                                                              \
    X(LEDGER_HOLD_OVER, "hold is over")                                                            \
    X(LEDGER_FULL, "full")

#define LEDGER_ENUM(name, text) name,
enum ledger_outcome { LEDGER_OUTCOMES(LEDGER_ENUM) LEDGER_OUTCOME_END };
#undef LEDGER_ENUM

struct ledger_account {
    char name[LEDGER_NAME_MAX + 1];
    int64_t balance, held, overdraft;
};

/* A reference, and what it stands for. */
struct ledger_entry {
    uint64_t reference; /* 0: an empty slot */
    uint64_t words;     /* hash of the instruction */
    int64_t amount;
    uint16_t from, to;
    uint8_t outcome; /* of a hold: as it stands now */
};

/* The totals at the end of a period. */
struct ledger_period {
    uint64_t payments, volume, balances;
};

struct ledger {
    struct cantus_timers *timers;
    struct ledger_account accounts[LEDGER_ACCOUNTS_MAX];
    uint32_t account_count;
    uint32_t hold_count;
    int64_t held;                                        /* of all accounts */
    struct ledger_entry entries[LEDGER_ENTRIES_MAX * 2]; /* open addressing */
    uint64_t entry_count, entries_hash;
    uint64_t counts[LEDGER_OUTCOME_END];
    uint64_t payments, volume;                        /* transfers and captures */
    uint64_t period_ns;                               /* 0: nothing is settled */
    struct ledger_period periods[LEDGER_PERIODS_MAX]; /* number n at n % LEDGER_PERIODS_MAX */
    uint64_t due, announced;                          /* settlements; numbered from 1 */
    uint64_t disputed;            /* that said something else than this ledger would */
    uint64_t last_settlement_seq; /* or what was said instead */
    bool closed;
    enum ledger_outcome last; /* of the newest instruction */
};

extern const struct cantus_app ledger_app;

const char *ledger_outcome_text(enum ledger_outcome outcome);
/* False: this reference was never used. */
bool ledger_outcome_of(const struct ledger *l, uint64_t reference, enum ledger_outcome *out);
int64_t ledger_sum(const struct ledger *l); /* of all balances: always zero */
uint64_t ledger_refused(const struct ledger *l);

#endif
