#include "proto/counter.h"

#include <assert.h>
#include <stddef.h>

enum { NAME_SIZE = 32 };

/* The table spells the names as the enumerators are spelt; people read them in lower case. */
static const char upper_names[COUNTER_END][NAME_SIZE] = {
#define COUNTER_NAME(name, unit, help) #name,
    COUNTER_TABLE(COUNTER_NAME)
#undef COUNTER_NAME
};

#define COUNTER_FITS(name, unit, help)                                                             \
    _Static_assert(sizeof #name <= NAME_SIZE, "counter name too long: " #name);
COUNTER_TABLE(COUNTER_FITS)
#undef COUNTER_FITS

static const char *const units[COUNTER_END] = {
#define COUNTER_UNIT(name, unit, help) unit,
    COUNTER_TABLE(COUNTER_UNIT)
#undef COUNTER_UNIT
};

static const char *const helps[COUNTER_END] = {
#define COUNTER_HELP(name, unit, help) help,
    COUNTER_TABLE(COUNTER_HELP)
#undef COUNTER_HELP
};

static char lower_names[COUNTER_END][NAME_SIZE];

/* Before main, so that nobody ever sees it half done. */
__attribute__((constructor)) static void lower_all(void)
{
    for (size_t c = 0; c < COUNTER_END; c++) {
        for (size_t i = 0; upper_names[c][i] != '\0'; i++) {
            char letter = upper_names[c][i];
            lower_names[c][i] = (char)(letter >= 'A' && letter <= 'Z' ? letter | 0x20 : letter);
        }
    }
}

const char *counter_name(enum counter c)
{
    assert(c < COUNTER_END);
    return lower_names[c];
}

const char *counter_unit(enum counter c)
{
    assert(c < COUNTER_END);
    return units[c];
}

const char *counter_help(enum counter c)
{
    assert(c < COUNTER_END);
    return helps[c];
}
