#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "proto/sys.h"

static const struct cli_verb *const verbs[] = {
    &verb_init,   &verb_dev,     &verb_pub,    &verb_sub,     &verb_status, &verb_promote,
    &verb_member, &verb_session, &verb_verify, &verb_history, &verb_digest, &verb_journal,
    &verb_sim,    &verb_bench,   &verb_lease,  &verb_metrics, &verb_errors, &verb_top,
    &verb_doctor, &verb_why,     &verb_key,    &verb_grant,   &verb_revoke, &verb_grants,
    &verb_group,  &verb_limit,   &verb_topic,
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

static void usage(FILE *f)
{
    fputs("usage: cantus [--dir DIR] VERB [ARGUMENT ...]\n\n", f);
    for (int i = 0; i < VERBS; i++)
        fprintf(f, "  %-9s %s\n", verbs[i]->name, verbs[i]->summary);
    fputs("\nEvery verb has --help. --dir names a deployment: a directory with a cantus.yaml.\n"
          "Begin with: cantus dev --dir DIR\n",
          f);
}

int cli_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("cantus: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return CLI_FAILED;
}

bool cli_parse_u64(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 0);
    if (end == text || *end != 0 || errno != 0 || text[0] == '-' || value < min || value > max) {
        cli_fail("%s wants a number from %" PRIu64 " to %" PRIu64 ", not '%s'", what, min, max,
                 text);
        return false;
    }
    *out = value;
    return true;
}

bool cli_parse_u32(const char *what, const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
    uint64_t value = 0;
    bool fine = cli_parse_u64(what, text, min, max, &value);
    if (fine)
        *out = (uint32_t)value;
    return fine;
}

bool cli_session_name(const char *what, const char *text)
{
    bool fine = session_name_valid(text);
    if (!fine)
        cli_fail("%s: 1 to %d bytes of printable ASCII", what, SESSION_NAME_MAX);
    return fine;
}

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

void cli_catch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool cli_running(void)
{
    return !stopped;
}

enum { OPTION_HELP = 1000, OPTION_DIR, OPTIONS_MAX = 24 };

int cli_options(const struct cli_verb *verb, struct cli_globals *globals, int argc, char **argv,
                const struct option *options,
                bool (*parse)(void *ctx, int option, const char *value), void *ctx)
{
    struct option all[OPTIONS_MAX] = { { "help", no_argument, NULL, OPTION_HELP },
                                       { "dir", required_argument, NULL, OPTION_DIR } };
    for (int n = 2; options != NULL && options->name != NULL && n < OPTIONS_MAX - 1; n++)
        all[n] = *options++;
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "h", all, NULL)) != -1;) {
        if (c == OPTION_HELP || c == 'h') {
            fputs(verb->help, stdout);
            return -2;
        }
        if (c == '?') {
            fprintf(stderr, "try cantus %s --help\n", verb->name);
            return -1;
        }
        if (c == OPTION_DIR)
            globals->dir = optarg;
        else if (!parse(ctx, c, optarg))
            return -1;
    }
    return optind;
}

int main(int argc, char **argv)
{
    struct cli_globals globals = { 0 };
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            usage(stdout);
            return CLI_OK;
        }
        if (strcmp(argv[i], "--dir") == 0 && i + 1 < argc)
            globals.dir = argv[++i];
        else if (strncmp(argv[i], "--dir=", 6) == 0)
            globals.dir = argv[i] + 6;
        else {
            cli_fail("unknown option '%s' before the verb; see cantus --help", argv[i]);
            return CLI_USAGE;
        }
    }
    if (i == argc) {
        usage(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[i], "help") == 0) {
        usage(stdout);
        return CLI_OK;
    }
    for (int v = 0; v < VERBS; v++)
        if (strcmp(argv[i], verbs[v]->name) == 0)
            return verbs[v]->run(&globals, argc - i, argv + i);
    cli_fail("no verb '%s'; see cantus --help", argv[i]);
    return CLI_USAGE;
}
