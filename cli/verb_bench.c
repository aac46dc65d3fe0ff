#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

static const char help[] =
    "usage: cantus bench NAME [CASE]... [--rounds N] [--count N] [--size BYTES] [--rate N]\n"
    "                    [--silence MS]\n"
    "       cantus bench all\n"
    "       cantus bench list\n"
    "\n"
    "Measures on this machine and prints one JSON line a case, next to the floor: a bare program that\n"
    "moves the same bytes through the same kind of sockets or files, measured in turn in the same run.\n"
    "Without CASE all cases of that name; `list` shows what there is.\n"
    "\n"
    "  --rounds N    of floor and measured part in turn\n"
    "  --count N     trips or messages in a round\n"
    "  --size BYTES  of the payload\n"
    "  --rate N      a second, whether or not answers came back: latencies are then counted from the\n"
    "                moment a message should have been sent\n"
    "  --silence MS  after which a standby promotes itself\n"
    "  --json        as it prints anyway\n"
    "\n"
    "Each case has its own defaults, and prints what it used.\n";

enum { OPTION_ROUNDS, OPTION_COUNT, OPTION_SIZE, OPTION_RATE, OPTION_SILENCE, OPTION_JSON };
static const struct option options[] = {
    { "rounds", required_argument, NULL, OPTION_ROUNDS },
    { "count", required_argument, NULL, OPTION_COUNT },
    { "size", required_argument, NULL, OPTION_SIZE },
    { "rate", required_argument, NULL, OPTION_RATE },
    { "silence", required_argument, NULL, OPTION_SILENCE },
    { "json", no_argument, NULL, OPTION_JSON },
    { 0 },
};

static struct cli_progress progress;

static void show(uint64_t done, uint64_t total)
{
    cli_progress_show(&progress, done, total);
}

static bool parse(void *ctx, int option, const char *value)
{
    struct bench_knobs *k = ctx;
    switch (option) {
    case OPTION_ROUNDS:
        return cli_parse_u32("--rounds", value, 1, 100000, &k->rounds);
    case OPTION_COUNT:
        return cli_parse_u64("--count", value, 1, UINT64_C(1000000000), &k->count);
    case OPTION_SIZE:
        return cli_parse_u32("--size", value, 8, 1024, &k->payload_bytes);
    case OPTION_RATE:
        return cli_parse_u64("--rate", value, 1, UINT64_C(1000000000), &k->rate_per_s);
    case OPTION_SILENCE:
        return cli_parse_u32("--silence", value, 6, 60000, &k->silence_ms);
    default:
        return true; /* it prints JSON anyway */
    }
}

static bool is_known(const char *bench, const char *name)
{
    for (size_t i = 0; i < bench_case_count; i++)
        if (strcmp(bench_cases[i].bench, bench) == 0 &&
            (name == NULL || strcmp(bench_cases[i].name, name) == 0))
            return true;
    return false;
}

static bool is_asked(const struct bench_case *c, char **operands, int count)
{
    if (strcmp(operands[0], "all") == 0)
        return true;
    if (strcmp(operands[0], c->bench) != 0)
        return false;
    for (int i = 1; i < count; i++)
        if (strcmp(operands[i], c->name) == 0)
            return true;
    return count == 1;
}

static int list(void)
{
    for (size_t i = 0; i < bench_case_count; i++)
        printf("%-12s %-16s %s\n", bench_cases[i].bench, bench_cases[i].name, bench_cases[i].help);
    return CLI_OK;
}

static int measure(const struct bench_case *c, const struct bench_knobs *k)
{
    char what[64], error[BENCH_ERROR_MAX];
    struct bench_result *r = calloc(1, sizeof *r);
    if (r == NULL)
        return cli_fail("out of memory");
    snprintf(what, sizeof what, "%s %s", c->bench, c->name);
    progress = (struct cli_progress) { .what = what };
    bool fine = c->run(k, r, error);
    cli_progress_end(&progress);
    if (fine) {
        bench_print(stdout, c, r);
        putchar('\n');
        fflush(stdout);
    }
    free(r);
    return fine ? CLI_OK : cli_fail("bench %s %s: %s", c->bench, c->name, error);
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct bench_knobs k = { .progress = show };
    int operand = cli_options(&verb_bench, &g, argc, argv, options, parse, &k);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    char **operands = argv + operand;
    int count = argc - operand, status = CLI_OK;
    if (count == 1 && strcmp(operands[0], "list") == 0)
        return list();
    bool all = count == 1 && strcmp(operands[0], "all") == 0;
    bool known = all || (count > 0 && is_known(operands[0], NULL));
    for (int i = 1; known && i < count; i++)
        known = is_known(operands[0], operands[i]);
    if (!known) {
        cli_fail("bench wants the name of a bench, such as rtt; `cantus bench list` shows them");
        return CLI_USAGE;
    }
    for (size_t i = 0; i < bench_case_count; i++)
        if (is_asked(&bench_cases[i], operands, count) && measure(&bench_cases[i], &k) != CLI_OK)
            status = CLI_FAILED;
    return status;
}

const struct cli_verb verb_bench = { "bench", "measure, next to the floor", help, run };
