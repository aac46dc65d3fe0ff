/* A day of payments that nobody made: 200 people are paid in the morning and spend in 40 shops, by card (a
 * hold, then its capture or not) or at once, with the mistakes that people and networks make. Each
 * instruction is a function of the day and of its number, so it can be asked for from any place on. */
#ifndef LEDGER_DAY_H
#define LEDGER_DAY_H

#include <stddef.h>
#include <stdint.h>

struct day {
    uint64_t seed;
    uint64_t payments;
    uint64_t hour_ms; /* a settlement is due after each; a card's hold lasts half of it, or more */
};

uint64_t day_count(const struct day *d); /* instructions */
/* The text of instruction `index` (from 0); returns its length. out[INSTRUCTION_MAX]. */
size_t day_instruction(const struct day *d, uint64_t index, char *out);
/* When it is given: the fraction of the day that has passed, in [0, 1]. */
double day_time(const struct day *d, uint64_t index);

#endif
