/* An instruction to the ledger, read from its text. */
#ifndef LEDGER_INSTRUCTION_H
#define LEDGER_INSTRUCTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ledger.h"

enum instruction_verb {
    INSTRUCTION_OPEN,
    INSTRUCTION_TRANSFER,
    INSTRUCTION_HOLD,
    INSTRUCTION_CAPTURE,
    INSTRUCTION_RELEASE,
    INSTRUCTION_EVERY,
    INSTRUCTION_CLOSE
};

enum { INSTRUCTION_MAX = 128 };

struct instruction {
    enum instruction_verb verb;
    uint64_t reference;
    char from[LEDGER_NAME_MAX + 1], to[LEDGER_NAME_MAX + 1]; /* `open`: from */
    uint64_t amount;                                         /* `open`: the overdraft */
    uint64_t ms;
};

/* False if it is none: another verb, too many words or too few, a name or number that can't be. */
bool instruction_read(const void *payload, size_t length, struct instruction *out);

#endif
