#include "cli/cli.h"

#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "cli/app_library.h"
#include "sim/sim.h"

static const char help[] =
    "usage: cantus sim --seed N [--runs K] [--sabotage NAME] [--app LIB.so [--config TEXT]]\n"
    "                  [--stores N] [--sequencers N] [--edge] [--trace] | --list-sabotage\n"
    "\n"
    "Runs whole deployments in one thread, on a seeded network, disk and clock: a phase of faults,\n"
    "then a healed phase in which everything must become live again. Prints one JSON line a run. The\n"
    "same seed gives the same line on every machine. A violated invariant is printed with its seed\n"
    "and step, and ends the runs with exit status 1.\n"
    "\n"
    "  --seed N         of the first run (default 1); run k has seed N + k\n"
    "  --runs K         how many (default 1)\n"
    "  --sabotage NAME  plant a mistake, which the checkers must find\n"
    "  --list-sabotage  name them\n"
    "  --app LIB.so     run this app too: it exports `const struct cantus_app cantus_app_v1`\n"
    "  --config TEXT    its configuration\n"
    "  --replicas N     of it (default 2)\n"
    "  --stores N       retransmitters, all of them members (default drawn: 1, 3 or 5, and spares)\n"
    "  --sequencers N   one leads, the others stand by (default drawn: 1 to 3)\n"
    "  --edge           proxies and their clients in every run (default drawn: in a quarter)\n"
    "  --core           in none\n"
    "  --trace          print every step of each run on standard error\n"
    "  --quiet          print a summary line instead of a line a run\n";

struct sim_arguments {
    struct sim_options sim;
    uint64_t runs, replicas, stores, sequencers;
    const char *app_path;
    bool list, quiet;
};

enum {
    OPTION_SEED,
    OPTION_RUNS,
    OPTION_SABOTAGE,
    OPTION_LIST,
    OPTION_APP,
    OPTION_CONFIG,
    OPTION_REPLICAS,
    OPTION_STORES,
    OPTION_SEQUENCERS,
    OPTION_EDGE,
    OPTION_CORE,
    OPTION_TRACE,
    OPTION_QUIET
};
static const struct option options[] = {
    { "seed", required_argument, NULL, OPTION_SEED },
    { "runs", required_argument, NULL, OPTION_RUNS },
    { "sabotage", required_argument, NULL, OPTION_SABOTAGE },
    { "list-sabotage", no_argument, NULL, OPTION_LIST },
    { "app", required_argument, NULL, OPTION_APP },
    { "config", required_argument, NULL, OPTION_CONFIG },
    { "replicas", required_argument, NULL, OPTION_REPLICAS },
    { "stores", required_argument, NULL, OPTION_STORES },
    { "sequencers", required_argument, NULL, OPTION_SEQUENCERS },
    { "edge", no_argument, NULL, OPTION_EDGE },
    { "core", no_argument, NULL, OPTION_CORE },
    { "trace", no_argument, NULL, OPTION_TRACE },
    { "quiet", no_argument, NULL, OPTION_QUIET },
    { 0 },
};

static bool parse(void *ctx, int option, const char *value)
{
    struct sim_arguments *a = ctx;
    switch (option) {
    case OPTION_SEED:
        return cli_parse_u64("--seed", value, 0, UINT64_MAX, &a->sim.seed);
    case OPTION_RUNS:
        return cli_parse_u64("--runs", value, 1, UINT64_MAX, &a->runs);
    case OPTION_REPLICAS:
        return cli_parse_u64("--replicas", value, 1, 8, &a->replicas);
    case OPTION_STORES:
        return cli_parse_u64("--stores", value, 0, 7, &a->stores);
    case OPTION_SEQUENCERS:
        return cli_parse_u64("--sequencers", value, 0, 8, &a->sequencers);
    case OPTION_SABOTAGE:
        a->sim.sabotage = value;
        return true;
    case OPTION_APP:
        a->app_path = value;
        return true;
    case OPTION_CONFIG:
        a->sim.app_config = value;
        return true;
    case OPTION_LIST:
        return a->list = true;
    case OPTION_EDGE:
        return a->sim.edge = true;
    case OPTION_CORE:
        return a->sim.core_only = true;
    case OPTION_TRACE:
        return a->sim.trace = true;
    default:
        return a->quiet = true;
    }
}

static void print_name(const char *name)
{
    for (; *name != 0; name++)
        putchar(*name == '_' ? '-' : *name);
}

static int list_sabotages(void)
{
#define LIST(name, what, invariant)                                                                \
    print_name(#name);                                                                             \
    printf("%*s%s (breaks %s)\n", (int)(22 - strlen(#name)), "", what,                             \
           sim_invariant_name((enum sim_invariant)invariant));
    SIM_SABOTAGES(LIST)
#undef LIST
    return CLI_OK;
}

static void trace_line(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "%s\n", line);
}

/* What one run gives back the next one takes: giving it to the system in between costs a twentieth. */
static void keep_memory(void)
{
    enum { MAPPED_MIN = 32 << 20, GROWS_BY = 16 << 20 };
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    mallopt(M_MMAP_THRESHOLD, MAPPED_MIN);
    mallopt(M_TOP_PAD, GROWS_BY);
}

static int run_all(struct sim_arguments *a)
{
    struct cli_progress progress = { .what = "simulating" };
    uint64_t first = a->sim.seed, messages = 0, faults = 0, fault_kinds = 0;
    uint64_t runs = 0, messages_min = UINT64_MAX, faults_min = UINT64_MAX; /* of one run */
    for (uint64_t k = 0; k < a->runs && cli_running(); k++) {
        struct sim_result result;
        char line[2048];
        a->sim.seed = first + k;
        bool ran = sim_run(&a->sim, &result);
        if (!ran && result.violated == SIM_FINE)
            return cli_fail("%s", result.violation);
        if (!a->quiet || result.violated != SIM_FINE) {
            sim_result_json(&result, line, sizeof line);
            puts(line);
        } else
            cli_progress_show(&progress, k + 1, a->runs);
        if (result.violated != SIM_FINE) {
            fflush(stdout);
            return cli_fail("violated: %s, seed %" PRIu64 ", step %" PRIu64 ": %s",
                            sim_invariant_name(result.violated), result.seed, result.violation_step,
                            result.violation);
        }
        messages += result.messages;
        faults += result.faults;
        fault_kinds |= result.fault_kinds;
        messages_min = result.messages < messages_min ? result.messages : messages_min;
        faults_min = result.faults < faults_min ? result.faults : faults_min;
        runs++;
    }
    cli_progress_end(&progress);
    if (a->quiet && runs > 0)
        printf("{\"first_seed\":%" PRIu64 ",\"runs\":%" PRIu64 ",\"messages\":%" PRIu64
               ",\"messages_min\":%" PRIu64 ",\"faults\":%" PRIu64 ",\"faults_min\":%" PRIu64
               ",\"fault_kinds\":%d,\"violations\":0}\n",
               first, runs, messages, messages_min, faults, faults_min,
               __builtin_popcountll(fault_kinds));
    return cli_running() ? CLI_OK : CLI_FAILED;
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct sim_arguments a = { .sim = { .seed = 1, .trace_to = trace_line },
                               .runs = 1,
                               .replicas = 2 };
    int operand = cli_options(&verb_sim, &g, argc, argv, options, parse, &a);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (operand < argc) {
        cli_fail("sim: unexpected '%s'", argv[operand]);
        return CLI_USAGE;
    }
    if (a.list)
        return list_sabotages();
    a.sim.stores = (uint32_t)a.stores;
    a.sim.sequencers = (uint32_t)a.sequencers;
    if (a.app_path != NULL) {
        a.sim.app = app_library_load("--app", a.app_path);
        a.sim.app_replicas = (uint32_t)a.replicas;
        if (a.sim.app == NULL)
            return CLI_FAILED;
    }
    keep_memory();
    cli_catch_signals();
    return run_all(&a);
}

const struct cli_verb verb_sim = { "sim", "run whole deployments under seeded faults", help, run };
