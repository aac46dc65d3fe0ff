#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/lines.h"
#include "bench/report.h"
#include "bench/weight.h"

static const char help[] =
    "usage: cantus bench NAME [CASE]... [--rounds N] [--count N] [--size BYTES] [--rate N]\n"
    "                    [--silence MS] [--details] [--leave-autogroup]\n"
    "                    [--small-pages]\n"
    "       cantus bench all\n"
    "       cantus bench list\n"
    "       cantus bench --report FILE.html [NAME [CASE]...] [--from LINES.jsonl]\n"
    "                    [--picture FILE.svg] [--markdown]\n"
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
    "  --leave-autogroup\n"
    "                with the weight of any other session. Without this a bench runs in a session of\n"
    "                its own, and a case that spins has the most weight that is permitted, so that other\n"
    "                sessions take less of what it gives up when it yields; lines then say\n"
    "                \"autogroup_nice\"\n"
    "  --small-pages\n"
    "                `core` does not ask for huge pages, as a sequencer does\n"
    "  --json        as it prints anyway\n"
    "\n"
    "Each case has its own defaults, and prints what it used.\n"
    "\n"
    "  --details       puts histograms and rates over time into the lines, and the machine into a\n"
    "                  first one: what a report draws\n"
    "  --report FILE   a page with a picture of every case; of all cases if none is named\n"
    "  --picture FILE  the summary, as an SVG\n"
    "  --markdown      prints the summary as a table, instead of the lines\n"
    "  --from FILE     measures nothing, but reads lines that were saved, or a report\n";

enum {
    OPTION_ROUNDS,
    OPTION_COUNT,
    OPTION_SIZE,
    OPTION_RATE,
    OPTION_SILENCE,
    OPTION_LEAVE_AUTOGROUP,
    OPTION_SMALL_PAGES,
    OPTION_DETAILS,
    OPTION_REPORT,
    OPTION_PICTURE,
    OPTION_MARKDOWN,
    OPTION_FROM,
    OPTION_JSON
};
static const struct option options[] = {
    { "rounds", required_argument, NULL, OPTION_ROUNDS },
    { "count", required_argument, NULL, OPTION_COUNT },
    { "size", required_argument, NULL, OPTION_SIZE },
    { "rate", required_argument, NULL, OPTION_RATE },
    { "silence", required_argument, NULL, OPTION_SILENCE },
    { "leave-autogroup", no_argument, NULL, OPTION_LEAVE_AUTOGROUP },
    { "small-pages", no_argument, NULL, OPTION_SMALL_PAGES },
    { "details", no_argument, NULL, OPTION_DETAILS },
    { "report", required_argument, NULL, OPTION_REPORT },
    { "picture", required_argument, NULL, OPTION_PICTURE },
    { "markdown", no_argument, NULL, OPTION_MARKDOWN },
    { "from", required_argument, NULL, OPTION_FROM },
    { "json", no_argument, NULL, OPTION_JSON },
    { 0 },
};

struct order {
    struct bench_knobs knobs;
    bool details, markdown, leave_autogroup;
    const char *report, *picture, *from; /* files, or NULL */
    char **operands;                     /* a name and its cases; none: all */
    int count;
    struct bench_lines lines;
};

static struct cli_progress progress;

static void show(uint64_t done, uint64_t total)
{
    cli_progress_show(&progress, done, total);
}

static bool parse(void *ctx, int option, const char *value)
{
    struct order *o = ctx;
    struct bench_knobs *k = &o->knobs;
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
    case OPTION_LEAVE_AUTOGROUP:
        o->leave_autogroup = true;
        return true;
    case OPTION_SMALL_PAGES:
        k->small_pages = true;
        return true;
    case OPTION_DETAILS:
        o->details = true;
        return true;
    case OPTION_REPORT:
        o->report = value;
        return true;
    case OPTION_PICTURE:
        o->picture = value;
        return true;
    case OPTION_MARKDOWN:
        o->markdown = true;
        return true;
    case OPTION_FROM:
        o->from = value;
        return true;
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

static bool is_asked(const struct order *o, const char *bench, const char *name)
{
    if (o->count == 0)
        return true;
    if (strcmp(o->operands[0], bench) != 0)
        return false;
    for (int i = 1; i < o->count; i++)
        if (strcmp(o->operands[i], name) == 0)
            return true;
    return o->count == 1;
}

static bool is_asked_line(const void *ctx, const struct bench_line *line)
{
    return is_asked(ctx, line->bench, line->name);
}

static int list(void)
{
    for (size_t i = 0; i < bench_case_count; i++)
        printf("%-12s %-16s %s\n", bench_cases[i].bench, bench_cases[i].name, bench_cases[i].help);
    return CLI_OK;
}

/* ---- lines ----------------------------------------------------------------------------------- */

typedef void printer(FILE *f, const struct bench_case *c, const struct bench_result *r);

static void print_machine(FILE *f, const struct bench_case *c, const struct bench_result *r)
{
    (void)c;
    (void)r;
    lines_print_machine(f);
}

static bool keep(struct order *o, printer *print, const struct bench_case *c,
                 const struct bench_result *r, char *error)
{
    char *text = NULL;
    size_t length;
    FILE *memory = open_memstream(&text, &length);
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (memory == NULL)
        return false;
    print(memory, c, r);
    bool fine = fclose(memory) == 0 && lines_add(&o->lines, text, error);
    free(text);
    return fine;
}

static void print_line(printer *print, const struct bench_case *c, const struct bench_result *r)
{
    print(stdout, c, r);
    putchar('\n');
    fflush(stdout);
}

static bool measure(struct order *o, const struct bench_case *c)
{
    char what[64], error[BENCH_ERROR_MAX];
    struct bench_result *r = calloc(1, sizeof *r);
    if (r == NULL)
        return cli_fail("out of memory") == CLI_OK;
    snprintf(what, sizeof what, "%s %s", c->bench, c->name);
    progress = (struct cli_progress) { .what = what };
    weight_set(c);
    bool fine = c->run(&o->knobs, r, error);
    cli_progress_end(&progress);
    if (fine)
        weight_note(r);
    if (fine && !o->markdown)
        print_line(o->details ? lines_print_detailed : bench_print, c, r);
    fine = fine && keep(o, lines_print_detailed, c, r, error);
    free(r);
    if (!fine)
        cli_fail("bench %s %s: %s", c->bench, c->name, error);
    return fine;
}

/* A case that fails does not keep the others from being measured. */
static bool measure_all(struct order *o)
{
    char error[BENCH_ERROR_MAX];
    bool fine = true;
    if (o->details && !o->markdown)
        print_line(print_machine, NULL, NULL);
    if (!keep(o, print_machine, NULL, NULL, error))
        return cli_fail("bench: %s", error) == CLI_OK;
    for (size_t i = 0; i < bench_case_count; i++)
        if (is_asked(o, bench_cases[i].bench, bench_cases[i].name))
            fine = measure(o, &bench_cases[i]) && fine;
    return fine;
}

static bool read_saved(struct order *o)
{
    char error[BENCH_ERROR_MAX];
    if (!lines_read(&o->lines, o->from, error))
        return cli_fail("bench: %s", error) == CLI_OK;
    lines_select(&o->lines, is_asked_line, o);
    if (o->lines.count == 0)
        return cli_fail("bench: %s holds no line of such a case", o->from) == CLI_OK;
    return true;
}

/* ---- what is made of them -------------------------------------------------------------------- */

/* Whether it can be written is found out before anything is measured: minutes later would be late.
 * What is there stays until there is something else, for it may be what --from reads. */
static bool open_output(const char *path, FILE **out)
{
    *out = NULL;
    if (path == NULL)
        return true;
    *out = fopen(path, "ae");
    return *out != NULL || cli_fail("%s: %s", path, strerror(errno)) == CLI_OK;
}

static bool write_output(const char *path, FILE *f, const struct bench_lines *lines,
                         void (*make)(FILE *f, const struct bench_lines *lines))
{
    if (f == NULL)
        return true;
    bool fine = true;
    if (lines->count > 0) {
        fine = ftruncate(fileno(f), 0) == 0;
        make(f, lines);
    }
    fine = ferror(f) == 0 && fine;
    fine = fclose(f) == 0 && fine;
    return fine || cli_fail("%s: cannot be written", path) == CLI_OK;
}

static int work(void *ctx)
{
    struct order *o = ctx;
    FILE *report, *picture = NULL;
    bool fine = open_output(o->report, &report) && open_output(o->picture, &picture);
    if (fine)
        fine = o->from != NULL ? read_saved(o) : measure_all(o);
    fine = write_output(o->report, report, &o->lines, report_page) && fine;
    fine = write_output(o->picture, picture, &o->lines, report_picture) && fine;
    if (o->markdown && o->lines.count > 0)
        report_markdown(stdout, &o->lines);
    lines_free(&o->lines);
    return fine ? CLI_OK : CLI_FAILED;
}

static bool is_sensible(const struct order *o)
{
    bool draws = o->report != NULL || o->picture != NULL || o->markdown;
    bool known = o->count == 0 ? draws : o->from != NULL || is_known(o->operands[0], NULL);
    for (int i = 1; known && o->from == NULL && i < o->count; i++)
        known = is_known(o->operands[0], o->operands[i]);
    if (o->from != NULL && !draws)
        cli_fail("bench --from wants --report, --picture or --markdown");
    else if (!known)
        cli_fail("bench wants the name of a bench, such as rtt; `cantus bench list` shows them");
    return known && (o->from == NULL || draws);
}

static int run_order(struct order *o)
{
    if (o->count == 1 && strcmp(o->operands[0], "list") == 0)
        return list();
    bool all = o->count == 1 && o->from == NULL && strcmp(o->operands[0], "all") == 0;
    if (!all && !is_sensible(o))
        return CLI_USAGE;
    o->count = all ? 0 : o->count;
    return o->leave_autogroup || o->from != NULL ? work(o) : weight_run(work, o);
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct order *o = calloc(1, sizeof *o);
    if (o == NULL)
        return cli_fail("out of memory");
    o->knobs.progress = show;
    int status = CLI_OK, operand = cli_options(&verb_bench, &g, argc, argv, options, parse, o);
    if (operand < 0) {
        status = operand == -2 ? CLI_OK : CLI_USAGE;
    } else {
        o->operands = argv + operand;
        o->count = argc - operand;
        status = run_order(o);
    }
    free(o);
    return status;
}

const struct cli_verb verb_bench = { "bench", "measure, next to the floor", help, run };
