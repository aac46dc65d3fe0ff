#include "cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/deployment.h"
#include "shell/counter_file.h"

static const char help[] =
    "usage: cantus --dir DIR errors [--name NAME] [--json]\n"
    "\n"
    "Prints the distinct warnings and errors that the deployment's processes on this host have\n"
    "logged since they started: how often, when first and last, and the newest one's details; and\n"
    "the longest pause of each event loop with what caused it. Reads shared memory: the processes\n"
    "notice nothing. What a process that was killed has left is shown until its successor starts.\n"
    "\n"
    "  --name NAME  of one process\n"
    "  --json       one object a process\n";

enum { OPTION_NAME, OPTION_JSON };
static const struct option options[] = {
    { "name", required_argument, NULL, OPTION_NAME },
    { "json", no_argument, NULL, OPTION_JSON },
    { 0 },
};

struct errors_arguments {
    const char *name;
    bool json;
    uint32_t shown;
};

static bool parse(void *ctx, int option, const char *value)
{
    struct errors_arguments *a = ctx;
    if (option == OPTION_NAME)
        a->name = value;
    else
        a->json = true;
    return true;
}

static void time_text(uint64_t ns, char out[32])
{
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static void print_pause(const char *what, const struct loop_pause *pause)
{
    char when[32];
    if (pause->duration_ns == 0)
        return;
    time_text(pause->wall_ns, when);
    printf("  %s %.3f ms, %s, in %s\n", what, (double)pause->duration_ns / 1e6, when,
           pause->what[0] != '\0' ? pause->what : "the loop");
}

static void print_text(const struct counter_snapshot *s)
{
    printf("%s %s (process %" PRIu64 "%s)\n", s->role, s->name, s->pid,
           s->alive ? "" : ", which has ended");
    print_pause("longest pause of its loop:", &s->pause_max);
    print_pause("of the last minutes:", &s->pause_recent);
    for (uint32_t i = 0; i < s->problem_count; i++) {
        const struct counter_problem *p = &s->problems[i];
        char first[32], last[32];
        time_text(p->first_ns, first);
        time_text(p->last_ns, last);
        printf("  %-5s %s: %s%s%s\n        %" PRIu64 " times, first %s, last %s\n",
               log_level_name(p->level), p->component, p->text, p->detail[0] != '\0' ? "  " : "",
               p->detail, p->count, first, last);
    }
    if (s->problem_count == 0)
        puts("  no warnings and no errors");
    if (s->forgotten > 0)
        printf("  and %" PRIu64 " more, forgotten for those above\n", s->forgotten);
}

static void json_text(const char *key, const char *value)
{
    printf("\"%s\":", key);
    cli_json_string(stdout, value, cli_is_text(value, strlen(value)) ? strlen(value) : 0);
}

static void print_json_pause(const char *key, const struct loop_pause *pause)
{
    printf(",\"%s\":{\"duration_ns\":%" PRIu64 ",\"at_ns\":%" PRIu64 ",", key, pause->duration_ns,
           pause->wall_ns);
    json_text("what", pause->what);
    putchar('}');
}

static void print_json(const struct counter_snapshot *s)
{
    putchar('{');
    json_text("role", s->role);
    putchar(',');
    json_text("name", s->name);
    printf(",\"pid\":%" PRIu64 ",\"alive\":%s", s->pid, s->alive ? "true" : "false");
    print_json_pause("pause_max", &s->pause_max);
    print_json_pause("pause_recent", &s->pause_recent);
    printf(",\"forgotten\":%" PRIu64 ",\"errors\":[", s->forgotten);
    for (uint32_t i = 0; i < s->problem_count; i++) {
        const struct counter_problem *p = &s->problems[i];
        printf("%s{\"level\":\"%s\",\"count\":%" PRIu64 ",\"first_ns\":%" PRIu64
               ",\"last_ns\":%" PRIu64 ",",
               i > 0 ? "," : "", log_level_name(p->level), p->count, p->first_ns, p->last_ns);
        json_text("component", p->component);
        putchar(',');
        json_text("text", p->text);
        putchar(',');
        json_text("detail", p->detail);
        putchar('}');
    }
    puts("]}");
}

static void each(void *ctx, const char *path, const struct counter_snapshot *s, const char *text)
{
    struct errors_arguments *a = ctx;
    (void)path;
    if (s == NULL)
        cli_fail("%s", text);
    if (s == NULL || (a->name != NULL && strcmp(a->name, s->name) != 0))
        return;
    a->shown++;
    if (a->json)
        print_json(s);
    else
        print_text(s);
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct errors_arguments a = { 0 };
    int operand = cli_options(&verb_errors, &g, argc, argv, options, parse, &a);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (g.dir == NULL || operand < argc) {
        cli_fail("errors wants --dir DIR and nothing else");
        return CLI_USAGE;
    }
    static struct config config;
    static struct counter_snapshot snapshot;
    char directory[CONFIG_PATH_MAX * 2 + 2];
    if (!deployment_config(g.dir, &config) ||
        !config_counters(&config, directory, sizeof directory))
        return CLI_FAILED;
    counter_directory_read(directory, &snapshot, each, &a);
    if (a.shown > 0)
        return CLI_OK;
    return a.name != NULL ? cli_fail("no process %s of this deployment runs on this host", a.name)
                          : cli_fail("no process of this deployment runs on this host");
}

const struct cli_verb verb_errors = { "errors", "distinct warnings and errors of each process",
                                      help, run };
