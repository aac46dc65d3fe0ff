#include "cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/deployment.h"
#include "cli/dev_key.h"

#define PATIENCE_NS UINT64_C(2000000000)
#define STARTING_NS UINT64_C(200000) /* there are two loops to turn while the key is granted */

static const char help[] =
    "usage: cantus dev --dir DIR [--session NAME] [--stores N] [--sequencers M] [--proxies P]\n"
    "                  [--quorum W] [--volatile]\n"
    "\n"
    "Runs a whole deployment in one process, in the foreground: makes a stream in DIR if there is\n"
    "none, starts its stores, its proxies, and its sequencers, of which the first leads and the\n"
    "others stand by, and prints one line that begins with `ready` when proposals are accepted and\n"
    "clients let in. Says who leads when that changes. Started again on the same DIR it continues the\n"
    "stream. Ends cleanly on SIGTERM and SIGINT.\n"
    "\n"
    "The first time it makes DIR/dev.key, too, a key for trying things out through a proxy: it may\n"
    "read and write everything but /sys, until that is revoked. At each start it looks at that file and\n"
    "at DIR/admin.key, and says what is wrong with them; it never replaces one.\n"
    "\n"
    "  --session NAME  begin another session of the stream\n"
    "  --stores N, --sequencers M, --proxies P, --quorum W, --volatile\n"
    "                  if a stream is made: see cantus init --help\n";

enum {
    OPTION_SESSION,
    OPTION_VOLATILE,
    OPTION_STORES,
    OPTION_SEQUENCERS,
    OPTION_PROXIES,
    OPTION_QUORUM
};
static const struct option options[] = {
    { "session", required_argument, NULL, OPTION_SESSION },
    { "volatile", no_argument, NULL, OPTION_VOLATILE },
    { "stores", required_argument, NULL, OPTION_STORES },
    { "sequencers", required_argument, NULL, OPTION_SEQUENCERS },
    { "proxies", required_argument, NULL, OPTION_PROXIES },
    { "quorum", required_argument, NULL, OPTION_QUORUM },
    { 0 },
};

static bool parse(void *ctx, int option, const char *value)
{
    struct deployment_init *what = ctx;
    switch (option) {
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
        return what->is_volatile = true;
    }
}

struct watch {
    const char *dir;
    struct dev_key *key;
    int leader; /* as said last; -1: none */
    bool ready; /* was said */
    uint64_t since_ns;
    char said[256];
};

/* How clients get in: by the first proxy, as the key that `dev` made. */
static void print_proxy(const struct watch *w, const struct deployment *d)
{
    const struct config_proxy *p = &d->config.proxies[0];
    const char *key = dev_key_path(w->key);
    struct port_addr at = p->listen;
    char text[PORT_ADDR_TEXT];
    if (at.ip == 0)
        at.ip = p->unicast.ip;
    if (d->config.proxy_count == 0)
        return;
    printf("; clients: cantus --proxy %s", port_addr_write(at, text));
    if (key != NULL)
        printf(" --key %s", key);
    printf(" sub / --follow");
}

static void print_ready(const struct watch *w, const struct deployment *d,
                        const struct sequencer *core)
{
    printf("ready: stream %016" PRIx64 " session %s epoch %" PRIu32 " tip %" PRIu64
           " stores %" PRIu32 "%s; try: cantus --dir %s pub /hello world",
           d->config.stream, catalog_session(sequencer_catalog(core)), sequencer_epoch(core).number,
           sequencer_tip(core), d->store_count,
           d->config.is_volatile ? " (volatile: nothing is ever stable)" : "", w->dir);
    print_proxy(w, d);
    putchar('\n');
    fflush(stdout);
}

static void say_leader(struct watch *w, const struct deployment *d, int leader)
{
    const struct sequencer *old = w->leader >= 0 ? d->sequencers[w->leader]->core : NULL;
    if (old != NULL && sequencer_state(old) != SEQUENCER_LEADING)
        fprintf(stderr, "cantus: %s leads no more: %s\n", d->config.sequencers[w->leader].name,
                sequencer_leads_no_more(old));
    if (leader >= 0 && w->ready) {
        const struct sequencer *new = d->sequencers[leader]->core;
        fprintf(stderr, "cantus: %s leads: epoch %" PRIu32 ", tip %" PRIu64 "\n",
                d->config.sequencers[leader].name, sequencer_epoch(new).number, sequencer_tip(new));
    }
    w->leader = leader;
    w->since_ns = cli_mono_ns();
    w->said[0] = '\0';
}

/* What stands in the way, said once it has lasted, and again only when it changes. */
static void explain_wait(struct watch *w, const struct deployment *d)
{
    const char *reason = "";
    for (uint32_t i = 0; i < d->sequencer_count && reason[0] == '\0'; i++)
        if (sequencer_state(d->sequencers[i]->core) != SEQUENCER_FOLLOWING)
            reason = sequencer_waiting_for(d->sequencers[i]->core);
    if (reason[0] == '\0')
        reason = "every sequencer here stands by; see: cantus promote --help";
    if (cli_mono_ns() - w->since_ns < PATIENCE_NS || strcmp(w->said, reason) == 0)
        return;
    snprintf(w->said, sizeof w->said, "%s", reason);
    fprintf(stderr, "cantus: not leading yet: %s\n", reason);
}

/* Ready is for apps and clients: what lets them in is waited for, but not for ever. */
static void look_ready(struct watch *w, const struct deployment *d)
{
    const struct sequencer *core = d->sequencers[w->leader]->core;
    bool settled = dev_key_poll(w->key, sequencer_catalog(core)) && deployment_lets_in(d);
    if (!settled && cli_mono_ns() - w->since_ns < PATIENCE_NS)
        return;
    print_ready(w, d, core);
    w->ready = true;
}

static int serve(struct deployment *d, const char *dir)
{
    struct watch w = { .dir = dir,
                       .key = dev_key_open(dir, d->config.is_volatile),
                       .leader = -1,
                       .since_ns = cli_mono_ns() };
    if (w.key == NULL)
        return cli_fail("out of memory");
    while (cli_running()) {
        loop_poll(d->loop, !w.ready && w.leader >= 0 ? STARTING_NS
                           : w.leader >= 0           ? UINT64_C(1000000000)
                                                     : UINT64_C(10000000));
        int leader = deployment_leader(d);
        if (leader != w.leader)
            say_leader(&w, d, leader);
        if (leader < 0)
            explain_wait(&w, d);
        else if (!w.ready)
            look_ready(&w, d);
        else if (dev_key_path(w.key) == NULL)
            dev_key_poll(w.key, sequencer_catalog(d->sequencers[leader]->core));
    }
    dev_key_close(w.key);
    return CLI_OK;
}

/* A stream is made if there is none, and what its numbers mean is said. */
static bool make_if_missing(const struct deployment_init *what)
{
    char error[DEPLOYMENT_ERROR_MAX];
    uint64_t stream;
    if (deployment_exists(what->dir)) {
        if (what->stores > 0 || what->sequencers > 0 || what->proxies > 0 || what->quorum > 0)
            fprintf(stderr,
                    "cantus: %s holds a stream already: its numbers of stores, sequencers "
                    "and proxies and its quorum stay as they are\n",
                    what->dir);
        return true;
    }
    if (!deployment_init(what, &stream, error)) {
        cli_fail("%s", error);
        return false;
    }
    deployment_print_notes(what);
    return true;
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
    what.dir = g.dir;
    cli_catch_signals();
    if (!make_if_missing(&what))
        return CLI_FAILED;
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
