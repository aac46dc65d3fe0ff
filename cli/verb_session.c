#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

#include "cli/deployment.h"
#include "cli/leader.h"

static const char help[] =
    "usage: cantus --dir DIR session NAME [--json]\n"
    "\n"
    "Begins the session NAME of the stream: a record that all see at the same place. Waits until it\n"
    "is stable, and prints its seq. Without NAME, prints the session that runs.\n"
    "\n"
    "  --json  print one object: session, seq (null without NAME)\n";

enum { OPTION_JSON };
static const struct option options[] = { { "json", no_argument, NULL, OPTION_JSON }, { 0 } };
#define PATIENCE_NS UINT64_C(30000000000)

static bool parse(void *ctx, int option, const char *value)
{
    (void)option;
    (void)value;
    return *(bool *)ctx = true;
}

static void print(const char *session, uint64_t seq, bool json)
{
    if (json) {
        fputs("{\"session\":", stdout);
        cli_json_string(stdout, session, strlen(session));
        if (seq != 0)
            printf(",\"seq\":%" PRIu64 "}\n", seq);
        else
            puts(",\"seq\":null}");
    } else if (seq != 0)
        printf("session %s from seq %" PRIu64 "\n", session, seq);
    else
        puts(session);
}

static int begin(struct processes *p, const char *name, bool json)
{
    struct process *leader = leader_find(p);
    struct command command = { .kind = COMMAND_SESSION };
    struct change change = { 0 };
    if (leader == NULL)
        return CLI_FAILED;
    if (name == NULL) {
        print(leader->status.session, 0, json);
        return CLI_OK;
    }
    snprintf(command.name, sizeof command.name, "%s", name);
    if (!leader_command(leader, &command, &change))
        return CLI_FAILED;
    if (!leader->status.is_volatile && !leader_wait(p, &change, PATIENCE_NS))
        return CLI_FAILED;
    print(name, change.seq, json);
    return CLI_OK;
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    bool json = false;
    int operand = cli_options(&verb_session, &g, argc, argv, options, parse, &json);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    const char *name = operand < argc ? argv[operand] : NULL;
    if (g.dir == NULL || argc - operand > 1) {
        cli_fail("session wants --dir DIR and one NAME, or none");
        return CLI_USAGE;
    }
    if (name != NULL && !cli_session_name("NAME", name))
        return CLI_USAGE;
    static struct config config;
    if (!deployment_config(g.dir, &config))
        return CLI_FAILED;
    cli_catch_signals();
    struct processes *p = processes_create(&config);
    int status = p != NULL ? begin(p, name, json) : cli_fail("out of memory");
    processes_destroy(p);
    return status;
}

const struct cli_verb verb_session = { "session", "begin another session of the stream", help,
                                       run };
