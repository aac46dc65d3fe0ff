#include "cli/cli.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "cli/deployment.h"
#include "cli/metrics.h"

static const char help[] =
    "usage: cantus --dir DIR metrics [--listen ADDRESS:PORT] [--once]\n"
    "       cantus metrics --reference\n"
    "\n"
    "Serves the counters of every process of this host that takes part in the deployment to\n"
    "Prometheus, at http://ADDRESS:PORT/metrics. Reads them from shared memory: the processes\n"
    "notice nothing. Prints a line that begins with `listening` when it can be asked; ends on\n"
    "SIGTERM and SIGINT.\n"
    "\n"
    "  --listen ADDRESS:PORT  default 127.0.0.1:9464; port 0: any that is free\n"
    "  --once                 prints what would be served, once\n"
    "  --reference            prints the table of all counters, in Markdown: docs/counters.md\n";

enum { OPTION_LISTEN, OPTION_ONCE, OPTION_REFERENCE };
static const struct option options[] = {
    { "listen", required_argument, NULL, OPTION_LISTEN },
    { "once", no_argument, NULL, OPTION_ONCE },
    { "reference", no_argument, NULL, OPTION_REFERENCE },
    { 0 },
};

struct metrics_arguments {
    struct port_addr listen;
    bool once, reference;
};

static bool parse_address(const char *text, struct port_addr *out)
{
    char ip[INET_ADDRSTRLEN] = "";
    const char *colon = strrchr(text, ':');
    struct in_addr in;
    uint32_t port;
    if (colon != NULL && (size_t)(colon - text) < sizeof ip)
        memcpy(ip, text, (size_t)(colon - text));
    if (inet_pton(AF_INET, ip, &in) != 1) {
        cli_fail("--listen wants ADDRESS:PORT, like 127.0.0.1:9464, not '%s'", text);
        return false;
    }
    if (!cli_parse_u32("--listen's port", colon + 1, 0, 65535, &port))
        return false;
    *out = (struct port_addr) { .ip = ntohl(in.s_addr), .port = (uint16_t)port };
    return true;
}

static bool parse(void *ctx, int option, const char *value)
{
    struct metrics_arguments *a = ctx;
    if (option == OPTION_LISTEN)
        return parse_address(value, &a->listen);
    a->once = a->once || option == OPTION_ONCE;
    a->reference = a->reference || option == OPTION_REFERENCE;
    return true;
}

struct exporter {
    struct config config;
    struct observation *observation;
    char directory[CONFIG_PATH_MAX * 2 + 2];
    struct port_addr listen;
};

static void print(void *ctx, FILE *f)
{
    struct exporter *e = ctx;
    observe_files(e->observation, e->directory);
    metrics_print(f, e->observation, e->config.stream);
}

static void ready(void *ctx, uint16_t port)
{
    const struct exporter *e = ctx;
    const struct port_addr at = { .ip = e->listen.ip, .port = port };
    char text[PORT_ADDR_TEXT];
    printf("listening: http://%s/metrics\n", port_addr_write(at, text));
    fflush(stdout);
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct metrics_arguments a = { .listen = { 0x7f000001, 9464 } };
    int operand = cli_options(&verb_metrics, &g, argc, argv, options, parse, &a);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (operand < argc || (g.dir == NULL && !a.reference)) {
        cli_fail("metrics wants --dir DIR, or --reference, and nothing else");
        return CLI_USAGE;
    }
    if (a.reference) {
        metrics_reference(stdout);
        return CLI_OK;
    }
    static struct exporter e;
    if (!deployment_config(g.dir, &e.config))
        return CLI_FAILED;
    e.listen = a.listen;
    e.observation = observation_create();
    if (e.observation == NULL)
        return cli_fail("out of memory");
    int status = CLI_OK;
    char error[METRICS_ERROR_MAX] = "";
    struct metrics_server server = {
        .print = print, .ctx = &e, .running = cli_running, .ready = ready
    };
    cli_catch_signals();
    if (!config_counters(&e.config, e.directory, sizeof e.directory))
        status = cli_fail("the path of the counters' directory is too long");
    else if (a.once)
        print(&e, stdout);
    else if (!metrics_serve(&server, a.listen, error))
        status = cli_fail("%s", error);
    observation_destroy(e.observation);
    return status;
}

const struct cli_verb verb_metrics = { "metrics", "serve counters to Prometheus", help, run };
