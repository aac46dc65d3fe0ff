#include "cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/deployment.h"

static const char help[] =
    "usage: cantus init DIR [--stores N] [--sequencers M] [--proxies P] [--quorum W]\n"
    "                   [--session NAME] [--volatile] [--json]\n"
    "\n"
    "Makes a stream in DIR: cantus.yaml (commented), the genesis, the administrator's key\n"
    "(admin.key: keep it), and the stores, which all begin with the genesis.\n"
    "\n"
    "  --stores N      retransmitters, one store each: r1, r2 ... (default 1)\n"
    "  --sequencers M  s1, s2 ..., of which one leads and the others stand by (default 1)\n"
    "  --proxies P     p1, p2 ..., which let clients in (default 1)\n"
    "  --quorum W      stores that make a message stable (default: a majority). Below a majority\n"
    "                  the membership can't change, and a failover needs the promises of N-W+1\n"
    "                  stores: with W = 1 one lost store blocks it\n"
    "  --session NAME  of the first session (default: main)\n"
    "  --volatile      without stores, for measuring: nothing in it is ever stable, and what\n"
    "                  leaves the sequencer's ring is forgotten\n"
    "  --json          print one object: dir, stream, volatile, stores, sequencers,\n"
    "                  proxies\n"
    "\n"
    "All of it is on this host. For several, give each process its address and interface in\n"
    "cantus.yaml, and carry that file and each store's directory to where they belong.\n";

enum {
    OPTION_VOLATILE,
    OPTION_SESSION,
    OPTION_JSON,
    OPTION_STORES,
    OPTION_SEQUENCERS,
    OPTION_PROXIES,
    OPTION_QUORUM
};
static const struct option options[] = {
    { "volatile", no_argument, NULL, OPTION_VOLATILE },
    { "session", required_argument, NULL, OPTION_SESSION },
    { "json", no_argument, NULL, OPTION_JSON },
    { "stores", required_argument, NULL, OPTION_STORES },
    { "sequencers", required_argument, NULL, OPTION_SEQUENCERS },
    { "proxies", required_argument, NULL, OPTION_PROXIES },
    { "quorum", required_argument, NULL, OPTION_QUORUM },
    { 0 },
};

struct init {
    struct deployment_init what;
    bool json;
};

static bool parse(void *ctx, int option, const char *value)
{
    struct init *i = ctx;
    struct deployment_init *what = &i->what;
    switch (option) {
    case OPTION_VOLATILE:
        return what->is_volatile = true;
    case OPTION_SESSION:
        what->session = value;
        return cli_session_name("--session", value);
    case OPTION_STORES:
        return cli_parse_u32("--stores", value, 1, CONFIG_RETRANSMITTERS_MAX, &what->stores);
    case OPTION_SEQUENCERS:
        return cli_parse_u32("--sequencers", value, 1, CONFIG_SEQUENCERS_MAX, &what->sequencers);
    case OPTION_PROXIES:
        return cli_parse_u32("--proxies", value, 1, CONFIG_PROXIES_MAX, &what->proxies);
    case OPTION_QUORUM:
        return cli_parse_u32("--quorum", value, 1, CONFIG_RETRANSMITTERS_MAX, &what->quorum);
    default:
        return i->json = true;
    }
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct init i = { 0 };
    int operand = cli_options(&verb_init, &g, argc, argv, options, parse, &i);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    i.what.dir = operand < argc ? argv[operand] : g.dir;
    if (i.what.dir == NULL || argc - operand > 1) {
        cli_fail("init wants one DIR");
        return CLI_USAGE;
    }
    uint64_t stream;
    char error[DEPLOYMENT_ERROR_MAX];
    if (!deployment_init(&i.what, &stream, error))
        return cli_fail("%s", error);
    deployment_print_notes(&i.what);
    uint32_t stores = i.what.is_volatile ? 0 : i.what.stores > 0 ? i.what.stores : 1;
    if (i.json) {
        fputs("{\"dir\":", stdout);
        cli_json_string(stdout, i.what.dir, strlen(i.what.dir));
        printf(",\"stream\":\"%016" PRIx64 "\",\"volatile\":%s,\"stores\":%" PRIu32
               ",\"sequencers\":%" PRIu32 ",\"proxies\":%" PRIu32 "}\n",
               stream, i.what.is_volatile ? "true" : "false", stores,
               i.what.sequencers > 0 ? i.what.sequencers : 1,
               i.what.proxies > 0 ? i.what.proxies : 1);
    } else
        printf("stream %016" PRIx64 " in %s%s\nrun it: cantus dev --dir %s\n", stream, i.what.dir,
               i.what.is_volatile ? " (volatile: nothing in it is ever stable)" : "", i.what.dir);
    return CLI_OK;
}

const struct cli_verb verb_init = { "init", "make a stream in a directory", help, run };
