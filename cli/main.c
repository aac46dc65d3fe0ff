#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/key_file.h"
#include "proto/sys.h"

static const struct cli_verb *const verbs[] = {
    &verb_init,   &verb_dev,     &verb_pub,    &verb_sub,     &verb_status, &verb_promote,
    &verb_member, &verb_session, &verb_verify, &verb_history, &verb_digest, &verb_journal,
    &verb_sim,    &verb_bench,   &verb_lease,  &verb_metrics, &verb_errors, &verb_top,
    &verb_doctor, &verb_why,     &verb_key,    &verb_grant,   &verb_revoke, &verb_grants,
    &verb_group,  &verb_limit,   &verb_topic,  &verb_who,     &verb_proxy,
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

/* These take --proxy and --key, too. */
static bool through_proxy(const struct cli_verb *verb)
{
    return verb == &verb_pub || verb == &verb_sub || verb == &verb_topic || verb == &verb_grant ||
           verb == &verb_revoke || verb == &verb_grants || verb == &verb_group ||
           verb == &verb_limit || verb == &verb_who;
}

static void usage(FILE *f)
{
    fputs("usage: cantus [--dir DIR | --proxy HOST:PORT [--key FILE]] VERB [ARGUMENT ...]\n\n", f);
    for (int i = 0; i < VERBS; i++)
        fprintf(f, "  %-9s %s\n", verbs[i]->name, verbs[i]->summary);
    fputs(
        "\nEvery verb has --help. --dir names a deployment: a directory with a cantus.yaml. --proxy\n"
        "names one that is elsewhere, by its proxies, for the verbs that say so: tls:HOST:PORT goes\n"
        "over TLS, and --ca FILE says which authorities are trusted there (default: the system's).\n"
        "Begin with: cantus dev --dir DIR\n",
        f);
}

int cli_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    static char text[8192];
    vsnprintf(text, sizeof text, format, arguments);
    cli_clean_lines(text); /* what a proxy or a process has said may be part of it */
    fprintf(stderr, "cantus: %s\n", text);
    va_end(arguments);
    return CLI_FAILED;
}

void cli_say(const char *text)
{
    static char said[512];
    if (strncmp(said, text, sizeof said - 1) == 0)
        return;
    snprintf(said, sizeof said, "%s", text);
    char shown[1024];
    snprintf(shown, sizeof shown, "%s", text);
    cli_clean_lines(shown);
    fprintf(stderr, "cantus: %s\n", shown);
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

bool cli_where(const struct cli_verb *verb, const struct cli_globals *globals)
{
    if ((globals->dir == NULL) != (globals->proxy == NULL))
        return true;
    cli_fail("%s wants %s", verb->name,
             globals->dir == NULL ? "--dir DIR, or --proxy HOST:PORT"
                                  : "--dir DIR or --proxy HOST:PORT, not both");
    return false;
}

#define TLS_PREFIX "tls:"

const char *cli_source(const struct cli_globals *globals, char out[CLI_SOURCE_MAX])
{
    if (globals->proxy == NULL)
        return globals->dir;
    bool tls = strncmp(globals->proxy, TLS_PREFIX, strlen(TLS_PREFIX)) == 0;
    snprintf(out, CLI_SOURCE_MAX, "%s:%s", tls ? "proxys" : "proxy",
             globals->proxy + (tls ? strlen(TLS_PREFIX) : 0));
    return out;
}

enum {
    OPTION_HELP = 1000,
    OPTION_DIR,
    OPTION_PROXY,
    OPTION_PROXY_KEY,
    OPTION_PROXY_CA,
    OPTIONS_MAX = 24
};

int cli_options(const struct cli_verb *verb, struct cli_globals *globals, int argc, char **argv,
                const struct option *options,
                bool (*parse)(void *ctx, int option, const char *value), void *ctx)
{
    struct option all[OPTIONS_MAX] = { { "help", no_argument, NULL, OPTION_HELP },
                                       { "dir", required_argument, NULL, OPTION_DIR } };
    int n = 2;
    if (through_proxy(verb)) {
        all[n++] = (struct option) { "proxy", required_argument, NULL, OPTION_PROXY };
        all[n++] = (struct option) { "key", required_argument, NULL, OPTION_PROXY_KEY };
        all[n++] = (struct option) { "ca", required_argument, NULL, OPTION_PROXY_CA };
    } else if (globals->proxy != NULL || globals->key_file != NULL || globals->ca_file != NULL) {
        cli_fail("%s does not go through a proxy: it wants --dir DIR", verb->name);
        return -1;
    }
    for (; options != NULL && options->name != NULL && n < OPTIONS_MAX - 1; n++)
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
        else if (c == OPTION_PROXY)
            globals->proxy = optarg;
        else if (c == OPTION_PROXY_KEY)
            globals->key_file = optarg;
        else if (c == OPTION_PROXY_CA)
            globals->ca_file = optarg;
        else if (!parse(ctx, c, optarg))
            return -1;
    }
    if (globals->key_file != NULL)
        key_file_look(globals->key_file);
    return optind;
}

/* "NAME VALUE" or "NAME=VALUE" before the verb. */
static bool take_global(const char **out, const char *name, int argc, char **argv, int *i)
{
    size_t length = strlen(name);
    const char *word = argv[*i];
    if (strcmp(word, name) == 0 && *i + 1 < argc)
        *out = argv[++*i];
    else if (strncmp(word, name, length) == 0 && word[length] == '=')
        *out = word + length + 1;
    else
        return false;
    return true;
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
        if (!take_global(&globals.dir, "--dir", argc, argv, &i) &&
            !take_global(&globals.proxy, "--proxy", argc, argv, &i) &&
            !take_global(&globals.key_file, "--key", argc, argv, &i) &&
            !take_global(&globals.ca_file, "--ca", argc, argv, &i)) {
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
