#include "proto/counter.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "proto/hash.h"

enum { NAME_SIZE = 32, METRIC_SIZE = 64 };

struct row {
    char name[NAME_SIZE]; /* as the enumerator is spelt; people read it in lower case */
    enum counter_kind kind;
    enum counter_whose whose;
    const char *unit, *help;
};

static const struct row rows[COUNTER_END] = {
#define COUNTER_ROW(name, kind, whose, unit, help)                                                 \
    { #name, COUNTER_KIND_##kind, COUNTER_##whose, unit, help },
    COUNTER_TABLE(COUNTER_ROW)
#undef COUNTER_ROW
};

#define COUNTER_FITS(name, kind, whose, unit, help)                                                \
    _Static_assert(sizeof #name <= NAME_SIZE, "counter name too long: " #name);
COUNTER_TABLE(COUNTER_FITS)
#undef COUNTER_FITS

static char lower_names[COUNTER_END][NAME_SIZE];
static char metric_names[COUNTER_END][METRIC_SIZE];

static bool is_unit(enum counter c, const char *unit)
{
    return strcmp(rows[c].unit, unit) == 0;
}

/* What is counted stands in a count's name; of a gauge, bytes, seconds and places in the stream are
 * said. */
static void name_metric(enum counter c)
{
    const char *unit = is_unit(c, "ns") ? "_seconds" : is_unit(c, "seq") ? "_seq" : "";
    if (is_unit(c, "bytes") && rows[c].kind == COUNTER_KIND_GAUGE)
        unit = "_bytes";
    int n = snprintf(metric_names[c], METRIC_SIZE, "cantus_%s%s%s", lower_names[c], unit,
                     rows[c].kind == COUNTER_KIND_COUNT ? "_total" : "");
    assert(n > 0 && n < METRIC_SIZE);
}

/* Before main, so that nobody ever sees it half done. */
__attribute__((constructor)) static void name_all(void)
{
    for (int c = 0; c < COUNTER_END; c++) {
        for (size_t i = 0; rows[c].name[i] != '\0'; i++) {
            char letter = rows[c].name[i];
            lower_names[c][i] = (char)(letter >= 'A' && letter <= 'Z' ? letter | 0x20 : letter);
        }
        name_metric((enum counter)c);
    }
}

const char *counter_name(enum counter c)
{
    assert(c < COUNTER_END);
    return lower_names[c];
}

enum counter_kind counter_kind(enum counter c)
{
    assert(c < COUNTER_END);
    return rows[c].kind;
}

enum counter_whose counter_whose(enum counter c)
{
    assert(c < COUNTER_END);
    return rows[c].whose;
}

const char *counter_unit(enum counter c)
{
    assert(c < COUNTER_END);
    return rows[c].unit;
}

const char *counter_help(enum counter c)
{
    assert(c < COUNTER_END);
    return rows[c].help;
}

const char *counter_metric(enum counter c)
{
    assert(c < COUNTER_END);
    return metric_names[c];
}

double counter_metric_divisor(enum counter c)
{
    assert(c < COUNTER_END);
    return is_unit(c, "ns") ? 1e9 : 1;
}

uint64_t counter_table_hash(void)
{
    uint64_t hash = COUNTER_END;
    for (int c = 0; c < COUNTER_END; c++) {
        hash = hash64(rows[c].name, strlen(rows[c].name), hash);
        hash = hash64(rows[c].unit, strlen(rows[c].unit), hash + rows[c].kind);
    }
    return hash;
}
