#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/deployment.h"
#include "cli/top_screen.h"

static const char help[] =
    "usage: cantus --dir DIR top [--name NAME] [--page PAGE] [--interval MS]\n"
    "                            [--once | --batch N] [--columns N]\n"
    "\n"
    "Shows what a deployment does, live: who leads, epochs, rates, lag, gaps, fills, rejects,\n"
    "publishers, queues, pauses of event loops, with histories. Processes of this host are read\n"
    "from shared memory, which they don't notice; those of other hosts are asked. `h` shows the\n"
    "keys.\n"
    "\n"
    "  --name NAME    one process, and all of its counters\n"
    "  --page PAGE    flow, loss, queues, loop, clients, counters\n"
    "  --interval MS  between two looks (default 1000)\n"
    "  --once         prints one frame as text, of one interval\n"
    "  --batch N      prints N frames as text, one after each interval, a blank line between\n"
    "  --columns N    of these frames (default 120)\n";

enum {
    OPTION_NAME,
    OPTION_PAGE,
    OPTION_INTERVAL,
    OPTION_ONCE,
    OPTION_BATCH,
    OPTION_COLUMNS,
    COLUMNS_DEFAULT = 120
};
static const struct option options[] = {
    { "name", required_argument, NULL, OPTION_NAME },
    { "page", required_argument, NULL, OPTION_PAGE },
    { "interval", required_argument, NULL, OPTION_INTERVAL },
    { "once", no_argument, NULL, OPTION_ONCE },
    { "batch", required_argument, NULL, OPTION_BATCH },
    { "columns", required_argument, NULL, OPTION_COLUMNS },
    { 0 },
};
#define ASK_WITHIN_NS UINT64_C(300000000)

struct top {
    struct top_screen screen;
    uint32_t interval_ms, frames; /* 0: a screen */
    bool paged;
    struct config config;
    char directory[CONFIG_PATH_MAX * 2 + 2];
    struct observation *observation;
    struct top_frame frame;
};

static bool parse_page(struct top *t, const char *value)
{
    static const char *const names[TOP_PAGES] = { "flow", "loss",    "queues",
                                                  "loop", "clients", "counters" };
    for (int i = 0; i < TOP_PAGES; i++)
        if (strcmp(value, names[i]) == 0) {
            t->screen.view.page = (enum top_page)i;
            return t->paged = true;
        }
    cli_fail("--page: flow, loss, queues, loop, clients or counters, not '%s'", value);
    return false;
}

static bool parse(void *ctx, int option, const char *value)
{
    struct top *t = ctx;
    switch (option) {
    case OPTION_NAME:
        t->screen.view.only = value;
        return true;
    case OPTION_PAGE:
        return parse_page(t, value);
    case OPTION_INTERVAL:
        return cli_parse_u32("--interval", value, 10, 3600000, &t->interval_ms);
    case OPTION_BATCH:
        return cli_parse_u32("--batch", value, 1, UINT32_MAX, &t->frames);
    case OPTION_COLUMNS:
        return cli_parse_u32("--columns", value, 40, TOP_COLUMNS_MAX, &t->screen.view.columns);
    default:
        t->frames = 1;
        return true;
    }
}

static void sample(void *ctx)
{
    struct top *t = ctx;
    observe_files(t->observation, t->directory);
    observe_others(t->observation, &t->config, ASK_WITHIN_NS);
    top_model_take(t->screen.model, t->observation);
}

static void print_frames(struct top *t)
{
    struct timespec interval = { .tv_sec = (time_t)(t->interval_ms / 1000),
                                 .tv_nsec = (long)(t->interval_ms % 1000) * 1000000 };
    sample(t);
    for (uint32_t i = 0; i < t->frames && cli_running(); i++) {
        nanosleep(&interval, NULL);
        sample(t);
        top_frame_make(t->screen.model, &t->screen.view, &t->frame);
        for (uint32_t line = 0; line < t->frame.count; line++) {
            char *text = t->frame.lines[line].text;
            size_t length = strlen(text);
            while (length > 0 && text[length - 1] == ' ')
                length--;
            printf("%.*s\n", (int)length, text);
        }
        if (i + 1 < t->frames)
            putchar('\n');
        fflush(stdout);
    }
}

static int show(struct top *t)
{
    char error[TOP_ERROR_MAX] = "";
    cli_catch_signals();
    if (t->frames > 0) {
        print_frames(t);
        return CLI_OK;
    }
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return cli_fail("top wants a terminal; without one: --once or --batch N");
    t->screen.interval_ns = (uint64_t)t->interval_ms * 1000000;
    t->screen.sample = sample;
    t->screen.ctx = t;
    t->screen.running = cli_running;
    return top_screen_run(&t->screen, error) ? CLI_OK : cli_fail("%s", error);
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    static struct top t;
    struct cli_globals g = *globals;
    t.interval_ms = 1000;
    t.screen.view.columns = COLUMNS_DEFAULT;
    int operand = cli_options(&verb_top, &g, argc, argv, options, parse, &t);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (g.dir == NULL || operand < argc) {
        cli_fail("top wants --dir DIR and nothing else");
        return CLI_USAGE;
    }
    if (!deployment_config(g.dir, &t.config) ||
        !config_counters(&t.config, t.directory, sizeof t.directory))
        return CLI_FAILED;
    if (t.screen.view.only != NULL && !t.paged)
        t.screen.view.page = TOP_COUNTERS;
    t.observation = observation_create();
    t.screen.model = top_model_create(t.config.stream);
    int status =
        t.observation != NULL && t.screen.model != NULL ? show(&t) : cli_fail("out of memory");
    observation_destroy(t.observation);
    top_model_destroy(t.screen.model);
    return status;
}

const struct cli_verb verb_top = { "top", "watch a deployment live", help, run };
