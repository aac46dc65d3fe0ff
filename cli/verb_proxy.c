#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

#include "cli/ask.h"
#include "cli/deployment.h"
#include "cli/leader.h"

static const char help[] =
    "usage: cantus --dir DIR proxy drain NAME [--wait SECONDS]\n"
    "\n"
    "Tells the clients of a proxy to go to another one, and lets no more in: before it is stopped, or\n"
    "its host. Waits until they have gone. What it relayed for them is in the stream, or they send it\n"
    "again through the next one. It stays so until it is started again.\n"
    "\n"
    "  --wait SECONDS  no longer than this (default 30); exit status 1 if some are left then\n";

#define LOOK_NS UINT64_C(50000000)

enum { OPTION_WAIT };
static const struct option options[] = { { "wait", required_argument, NULL, OPTION_WAIT }, { 0 } };

static bool parse(void *ctx, int option, const char *value)
{
    (void)option;
    return cli_parse_u32("--wait", value, 0, 86400, ctx);
}

/* How many clients are left; false if it does not say so. */
static bool left(struct port_addr at, uint64_t *clients, char *problem)
{
    static struct ask ask;
    static struct status status;
    ask_for_status(&ask, at);
    ask_run(&ask, 1, ASK_TIMEOUT_NS);
    snprintf(problem, ASK_PROBLEM_MAX, "%s", ask.problem);
    if (!ask.answered || !status_decode(ask.body, ask.length, &status))
        return false;
    *clients = status.counters[COUNTER_SESSIONS];
    return true;
}

static int drain(const struct process *proxy, uint32_t wait_s)
{
    const struct command command = { .kind = COMMAND_DRAIN };
    struct outcome outcome;
    char problem[ASK_PROBLEM_MAX];
    if (!ask_command(proxy->address, &command, &outcome, problem))
        return cli_fail("%s: %s", proxy->name, problem);
    if (outcome.verdict == OUTCOME_REFUSED)
        return cli_fail("%s refuses: %s", proxy->name, outcome.text);
    uint64_t until = cli_mono_ns() + (uint64_t)wait_s * 1000000000u, clients = outcome.seq;
    cli_catch_signals();
    while (outcome.verdict != OUTCOME_DONE && left(proxy->address, &clients, problem) &&
           clients > 0 && cli_mono_ns() < until)
        if (!leader_pause(LOOK_NS))
            return cli_fail("interrupted; %s goes on draining", proxy->name);
    if (outcome.verdict == OUTCOME_DONE || clients == 0) {
        printf("%s has no clients any more\n", proxy->name);
        return CLI_OK;
    }
    return problem[0] != '\0' ? cli_fail("%s: %s", proxy->name, problem)
                              : cli_fail("%s still has %" PRIu64 " clients", proxy->name, clients);
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    uint32_t wait_s = 30;
    int operand = cli_options(&verb_proxy, &g, argc, argv, options, parse, &wait_s);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (g.dir == NULL || argc - operand != 2 || strcmp(argv[operand], "drain") != 0) {
        cli_fail("proxy wants --dir DIR and drain NAME");
        return CLI_USAGE;
    }
    static struct config config;
    char error[CONFIG_ERROR_MAX];
    if (!deployment_config(g.dir, &config))
        return CLI_FAILED;
    if (config_find_proxy(&config, argv[operand + 1], error) < 0)
        return cli_fail("%s", error);
    struct processes *p = processes_create(&config);
    if (p == NULL)
        return cli_fail("out of memory");
    int status = drain(processes_find(p, argv[operand + 1]), wait_s);
    processes_destroy(p);
    return status;
}

const struct cli_verb verb_proxy = { "proxy", "tell a proxy what to do: drain", help, run };
