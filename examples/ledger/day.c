#include "day.h"

#include <inttypes.h>
#include <stdio.h>

#include "instruction.h"

enum { PEOPLE = 200, SHOPS = 40, FIRST_PAYMENT = 1 + 1 + SHOPS + PEOPLE + PEOPLE };

/* Payments come in blocks of so many. Each has every slot once, in an order of its own; the slot says what kind
 * of payment it is, and which hold of the block before it ends. */
enum {
    BLOCK = 100,
    STEP = 37, /* from one slot to the next; STEP * STEP_BACK is 1 modulo BLOCK */
    STEP_BACK = 73
};

enum slot {
    SLOT_REPEATED = 2, /* below this: the payment before, sent again word for word */
    SLOT_REUSED = 3,   /* another one with a used reference */
    SLOT_MISTYPED = 4, /* to an account that is not there */
    SLOT_REFUND = 7,   /* from shop to person */
    SLOT_HOLD = 32,    /* by card */
    SLOT_CAPTURE = 52, /* ends the hold of so many slots before */
    SLOT_RELEASE = 55, /* the same; the rest are transfers */
    SLOT_ENDED = SLOT_HOLD - SLOT_REFUND
};

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

/* Draw number `which` of a payment or a block. */
static uint64_t draw(const struct day *d, uint64_t index, uint64_t which)
{
    return mix(mix(d->seed * 8 + which + 1) + index);
}

static uint64_t slot_of(const struct day *d, uint64_t payment)
{
    return (payment % BLOCK * STEP + draw(d, payment / BLOCK, 0) % BLOCK) % BLOCK;
}

/* The payment with that slot in a block. */
static uint64_t payment_with(const struct day *d, uint64_t block, uint64_t slot)
{
    uint64_t steps = slot + BLOCK - draw(d, block, 0) % BLOCK;
    return block * BLOCK + steps * STEP_BACK % BLOCK;
}

/* Cents: mostly small, now and then large, and few round. */
static uint64_t amount_of(const struct day *d, uint64_t index)
{
    uint64_t drawn = draw(d, index, 1), span = UINT64_C(150) << drawn % 6;
    return 90 + span / 2 + (drawn >> 8) % span + (drawn % 97 == 0 ? 40000 : 0);
}

static size_t write_payment(const struct day *d, uint64_t payment, uint64_t reference, char *out)
{
    uint64_t slot = slot_of(d, payment), drawn = draw(d, payment, 2),
             amount = amount_of(d, payment);
    int person = (int)(drawn % PEOPLE), shop = (int)((drawn >> 16) % SHOPS), n;
    if (slot >= SLOT_HOLD && slot < SLOT_RELEASE && payment >= BLOCK)
        n = snprintf(out, INSTRUCTION_MAX, "%s %" PRIu64,
                     slot < SLOT_CAPTURE ? "capture" : "release",
                     FIRST_PAYMENT + payment_with(d, payment / BLOCK - 1, slot - SLOT_ENDED));
    else if (slot >= SLOT_REFUND && slot < SLOT_HOLD)
        n = snprintf(out, INSTRUCTION_MAX,
                     "hold %" PRIu64 " person-%d shop-%d %" PRIu64 " %" PRIu64, reference, person,
                     shop, amount, d->hour_ms + d->hour_ms * (drawn >> 32) % 3);
    else if (slot >= SLOT_MISTYPED && slot < SLOT_REFUND)
        n = snprintf(out, INSTRUCTION_MAX, "transfer %" PRIu64 " shop-%d person-%d %" PRIu64,
                     reference, shop, person, amount / 2 + 1);
    else
        n = snprintf(out, INSTRUCTION_MAX, "transfer %" PRIu64 " person-%d %s-%d %" PRIu64,
                     reference, person, slot == SLOT_REUSED ? "shoop" : "shop", shop, amount);
    return (size_t)n;
}

uint64_t day_count(const struct day *d)
{
    return FIRST_PAYMENT + d->payments + 1;
}

size_t day_instruction(const struct day *d, uint64_t index, char *out)
{
    if (index == 0)
        return (size_t)snprintf(out, INSTRUCTION_MAX, "every %" PRIu64, d->hour_ms);
    if (index == 1)
        return (size_t)snprintf(out, INSTRUCTION_MAX, "open employer %d", LEDGER_AMOUNT_MAX);
    if (index < 2 + SHOPS)
        return (size_t)snprintf(out, INSTRUCTION_MAX, "open shop-%d 50000", (int)index - 2);
    if (index < 2 + SHOPS + PEOPLE)
        return (size_t)snprintf(out, INSTRUCTION_MAX, "open person-%d %d", (int)index - 2 - SHOPS,
                                index % 3 == 0 ? 20000 : 0);
    if (index < FIRST_PAYMENT)
        return (size_t)snprintf(
            out, INSTRUCTION_MAX, "transfer %" PRIu64 " employer person-%d %" PRIu64, index,
            (int)index - 2 - SHOPS - PEOPLE, 90000 + draw(d, index, 1) % 210000);
    if (index + 1 == day_count(d))
        return (size_t)snprintf(out, INSTRUCTION_MAX, "close");
    /* One reference in a block is used twice, and two payments come twice. */
    uint64_t payment = index - FIRST_PAYMENT, reference = index;
    if (slot_of(d, payment) < SLOT_REUSED && payment % BLOCK != 0)
        reference--;
    if (slot_of(d, payment) < SLOT_REPEATED && payment % BLOCK != 0)
        payment--;
    return write_payment(d, payment, reference, out);
}

/* How busy each hour is. */
static const double busy[24] = { 1,  .6, .4, .3, .4, 1,  3,  6,  9, 8, 7, 9,
                                 14, 12, 8,  7,  8,  12, 14, 11, 8, 6, 4, 2 };

double day_time(const struct day *d, uint64_t index)
{
    double total = 0, before = 0;
    for (int hour = 0; hour < 24; hour++)
        total += busy[hour];
    double wanted = total * (double)index / (double)day_count(d);
    for (int hour = 0; hour < 24; hour++) {
        if (before + busy[hour] >= wanted)
            return (hour + (wanted - before) / busy[hour]) / 24;
        before += busy[hour];
    }
    return 1;
}
