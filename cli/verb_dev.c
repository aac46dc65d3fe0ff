#include "cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/deployment.h"

static const char help[] =
    "usage: cantus dev --dir DIR [--session NAME] [--volatile]\n"
    "\n"
    "Runs a whole deployment in one process, in the foreground: makes a stream in DIR if there is\n"
    "none, starts its stores and its sequencer, and prints one line that begins with `ready` when\n"
    "proposals are accepted. Started again on the same DIR it continues the stream. Ends cleanly on\n"
    "SIGTERM and SIGINT.\n"
    "\n"
    "  --session NAME  begin another session of the stream\n"
    "  --volatile      if a stream is made, make it without stores\n";

enum { OPTION_SESSION, OPTION_VOLATILE };
static const struct option options[] = {
    { "session", required_argument, NULL, OPTION_SESSION },
    { "volatile", no_argument, NULL, OPTION_VOLATILE },
    { 0 },
};

static bool parse(void *ctx, int option, const char *value)
{
    struct deployment_init *what = ctx;
    if (option == OPTION_SESSION)
        what->session = value;
    else
        what->is_volatile = true;
    return true;
}

static void print_ready(const struct deployment *d, const char *dir)
{
    struct epoch epoch = sequencer_epoch(d->sequencer.core);
    printf("ready: stream %016" PRIx64 " session %s epoch %" PRIu32 " tip %" PRIu64
           " stores %" PRIu32 "%s; try: cantus --dir %s pub /hello world\n",
           d->config.stream, catalog_session(sequencer_catalog(d->sequencer.core)), epoch.number,
           sequencer_tip(d->sequencer.core), d->store_count,
           d->config.is_volatile ? " (volatile: nothing is ever stable)" : "", dir);
    fflush(stdout);
}

/* What stands in the way, said once it has lasted, and again only when it changes. */
static void explain_wait(const struct deployment *d, uint64_t waited_ns)
{
    static char said[256];
    const char *reason = sequencer_waiting_for(d->sequencer.core);
    if (waited_ns < UINT64_C(2000000000) || strcmp(said, reason) == 0)
        return;
    snprintf(said, sizeof said, "%s", reason);
    fprintf(stderr, "cantus: not leading yet: %s\n", reason);
}

static int serve(struct deployment *d, const char *dir)
{
    bool ready = false;
    uint64_t since = cli_mono_ns();
    while (cli_running()) {
        loop_poll(d->loop, ready ? UINT64_C(1000000000) : 10 * 1000 * 1000);
        bool leads = sequencer_state(d->sequencer.core) == SEQUENCER_LEADING;
        if (leads && !ready)
            print_ready(d, dir);
        else if (!leads && ready) {
            since = cli_mono_ns();
            fputs("cantus: fenced: another sequencer has begun a later epoch; following it\n",
                  stderr);
        }
        ready = leads;
        if (!leads)
            explain_wait(d, cli_mono_ns() - since);
    }
    return CLI_OK;
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct deployment_init what = { 0 };
    int operand = cli_options(&verb_dev, &g, argc, argv, options, parse, &what);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (g.dir == NULL || operand < argc) {
        cli_fail("dev wants --dir DIR and nothing else");
        return CLI_USAGE;
    }
    char error[DEPLOYMENT_ERROR_MAX];
    uint64_t stream;
    what.dir = g.dir;
    cli_catch_signals();
    if (!deployment_exists(g.dir) && !deployment_init(&what, &stream, error))
        return cli_fail("%s", error);
    struct deployment *d = calloc(1, sizeof *d);
    if (d == NULL)
        return cli_fail("out of memory");
    int status = CLI_FAILED;
    if (deployment_open(d, g.dir, what.session, error)) {
        status = serve(d, g.dir);
        deployment_close(d);
    } else
        cli_fail("%s", error);
    free(d);
    return status;
}

const struct cli_verb verb_dev = { "dev", "run a whole deployment in one process", help, run };
