#include "cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/deployment.h"

static const char help[] =
    "usage: cantus init DIR [--volatile] [--session NAME] [--json]\n"
    "\n"
    "Makes a stream in DIR: cantus.yaml (commented), the genesis, the administrator's key\n"
    "(admin.key: keep it), and the first store.\n"
    "\n"
    "  --volatile      without stores, for measuring: nothing in it is ever stable, and what leaves the\n"
    "                  sequencer's ring is forgotten\n"
    "  --session NAME  of the first session (default: main)\n"
    "  --json          print one object: dir, stream, volatile\n";

enum { OPTION_VOLATILE, OPTION_SESSION, OPTION_JSON };
static const struct option options[] = {
    { "volatile", no_argument, NULL, OPTION_VOLATILE },
    { "session", required_argument, NULL, OPTION_SESSION },
    { "json", no_argument, NULL, OPTION_JSON },
    { 0 },
};

struct init {
    struct deployment_init what;
    bool json;
};

static bool parse(void *ctx, int option, const char *value)
{
    struct init *i = ctx;
    if (option == OPTION_VOLATILE)
        i->what.is_volatile = true;
    else if (option == OPTION_SESSION)
        i->what.session = value;
    else
        i->json = true;
    return true;
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
    if (i.json) {
        fputs("{\"dir\":", stdout);
        cli_json_string(stdout, i.what.dir, strlen(i.what.dir));
        printf(",\"stream\":\"%016" PRIx64 "\",\"volatile\":%s}\n", stream,
               i.what.is_volatile ? "true" : "false");
    } else
        printf("stream %016" PRIx64 " in %s%s\nrun it: cantus dev --dir %s\n", stream, i.what.dir,
               i.what.is_volatile ? " (volatile: nothing in it is ever stable)" : "", i.what.dir);
    return CLI_OK;
}

const struct cli_verb verb_init = { "init", "make a stream in a directory", help, run };
