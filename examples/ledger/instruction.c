#include "instruction.h"

#include <string.h>

enum { MS_MAX = 24 * 3600 * 1000 };

/* A verb's arguments, a letter each: r a reference, f and t accounts, a an amount, m milliseconds. */
static const struct {
    const char *verb, *arguments;
} grammar[] = {
    [INSTRUCTION_OPEN] = { "open", "fa" },      [INSTRUCTION_TRANSFER] = { "transfer", "rfta" },
    [INSTRUCTION_HOLD] = { "hold", "rftam" },   [INSTRUCTION_CAPTURE] = { "capture", "r" },
    [INSTRUCTION_RELEASE] = { "release", "r" }, [INSTRUCTION_EVERY] = { "every", "m" },
    [INSTRUCTION_CLOSE] = { "close", "" },
};

/* The word at *text, which ends at a space or at the text's end; *text goes behind it. */
static bool next_word(const char **text, const char *end, const char **word, size_t *length)
{
    if (*text > end)
        return false;
    const char *space = memchr(*text, ' ', (size_t)(end - *text));
    const char *stop = space != NULL ? space : end;
    *word = *text;
    *length = (size_t)(stop - *text);
    *text = stop + 1;
    return *length > 0;
}

static bool read_number(const char *word, size_t length, uint64_t min, uint64_t max, uint64_t *out)
{
    *out = 0;
    if (length > 18 || (word[0] == '0' && length > 1))
        return false;
    for (size_t i = 0; i < length; i++) {
        if (word[i] < '0' || word[i] > '9')
            return false;
        *out = *out * 10 + (uint64_t)(word[i] - '0');
    }
    return *out >= min && *out <= max;
}

static bool read_name(const char *word, size_t length, char out[LEDGER_NAME_MAX + 1])
{
    if (length > LEDGER_NAME_MAX)
        return false;
    for (size_t i = 0; i < length; i++)
        if (!((word[i] >= 'a' && word[i] <= 'z') || (word[i] >= '0' && word[i] <= '9') ||
              word[i] == '-'))
            return false;
    memcpy(out, word, length);
    return true;
}

static bool read_argument(char kind, const char *word, size_t length, struct instruction *out)
{
    switch (kind) {
    case 'r':
        return read_number(word, length, 1, UINT64_MAX, &out->reference);
    case 'f':
        return read_name(word, length, out->from);
    case 't':
        return read_name(word, length, out->to) && strcmp(out->from, out->to) != 0;
    case 'a':
        return read_number(word, length, out->verb == INSTRUCTION_OPEN ? 0 : 1, LEDGER_AMOUNT_MAX,
                           &out->amount);
    default:
        return read_number(word, length, 1, MS_MAX, &out->ms);
    }
}

bool instruction_read(const void *payload, size_t length, struct instruction *out)
{
    const char *text = payload, *end = text + length, *word;
    size_t n, verb = 0, verbs = sizeof grammar / sizeof grammar[0];
    *out = (struct instruction) { 0 };
    if (length > INSTRUCTION_MAX || !next_word(&text, end, &word, &n))
        return false;
    while (verb < verbs &&
           (strlen(grammar[verb].verb) != n || memcmp(grammar[verb].verb, word, n) != 0))
        verb++;
    if (verb == verbs)
        return false;
    out->verb = (enum instruction_verb)verb;
    for (const char *kind = grammar[verb].arguments; *kind != 0; kind++)
        if (!next_word(&text, end, &word, &n) || !read_argument(*kind, word, n, out))
            return false;
    return text == end + 1; /* nothing is behind the last word */
}
