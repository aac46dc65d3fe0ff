#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

#include "cli/deployment.h"
#include "cli/leader.h"

static const char help[] =
    "usage: cantus --dir DIR promote [NAME] --why TEXT [--timeout SECONDS] [--json]\n"
    "\n"
    "Lets a standby lead: the one named, or the only one there is. It seals a quorum of the stores,\n"
    "adopts the history among theirs with the highest (epoch, seq), and begins a new epoch; whoever\n"
    "led before is fenced by that, whether it is dead or not. Nothing stable is lost, and publishers\n"
    "and followers notice nothing but a pause. Waits until it leads, and prints its epoch and tip;\n"
    "or ends, and says who leads, as soon as another candidate was faster.\n"
    "\n"
    "  --why TEXT         recorded in the stream with the epoch: see cantus history\n"
    "  --timeout SECONDS  how long to wait for it (default 30)\n"
    "  --json             print one object: name, epoch, candidate, tip\n";

enum { OPTION_WHY, OPTION_TIMEOUT, OPTION_JSON };
static const struct option options[] = {
    { "why", required_argument, NULL, OPTION_WHY },
    { "timeout", required_argument, NULL, OPTION_TIMEOUT },
    { "json", no_argument, NULL, OPTION_JSON },
    { 0 },
};
#define LOOK_NS   UINT64_C(2000000)
#define LEADER_NS UINT64_C(500000000) /* for who leads instead to be found */

struct promote {
    const char *why;
    uint64_t timeout_s;
    bool json;
};

static bool parse(void *ctx, int option, const char *value)
{
    struct promote *a = ctx;
    switch (option) {
    case OPTION_WHY:
        a->why = value;
        return true;
    case OPTION_TIMEOUT:
        return cli_parse_u64("--timeout", value, 1, 86400, &a->timeout_s);
    default:
        return a->json = true;
    }
}

/* The standby that is meant. NULL, having said why, if it can't be told. */
static struct process *choose(struct processes *p, const char *name)
{
    if (name != NULL) {
        struct process *named = processes_find(p, name);
        if (named == NULL || named->kind != PROCESS_SEQUENCER) {
            char error[CONFIG_ERROR_MAX];
            (void)config_find_sequencer(p->config, name, error);
            cli_fail("%s", error);
            return NULL;
        }
        if (named->answered)
            return named;
        cli_fail("%s: %s", name, named->problem);
        return NULL;
    }
    struct process *only = NULL;
    uint32_t standbys = 0;
    for (uint32_t i = 0; i < p->count; i++)
        if (p->all[i].kind == PROCESS_SEQUENCER && p->all[i].answered &&
            !status_leads(&p->all[i].status)) {
            only = &p->all[i];
            standbys++;
        }
    if (standbys == 1)
        return only;
    cli_fail(standbys == 0 ? "no standby answers; start one with: cantus-sequencer --standby"
                           : "which one? these stand by:");
    for (uint32_t i = 0; i < p->count; i++)
        if (p->all[i].kind == PROCESS_SEQUENCER &&
            (standbys == 0 || !status_leads(&p->all[i].status)))
            fprintf(stderr, "  %s: %s\n", p->all[i].name,
                    p->all[i].answered ? p->all[i].status.state : p->all[i].problem);
    return NULL;
}

static void print(const struct process *one, bool json)
{
    const struct status *s = &one->status;
    if (!json) {
        printf("%s leads: epoch %" PRIu32 ", tip %" PRIu64 "\n", one->name, s->epoch.number,
               s->tip);
        return;
    }
    fputs("{\"name\":", stdout);
    cli_json_string(stdout, one->name, strlen(one->name));
    printf(",\"epoch\":%" PRIu32 ",\"candidate\":\"%016" PRIx64 "\",\"tip\":%" PRIu64 "}\n",
           s->epoch.number, s->epoch.candidate, s->tip);
}

static bool ask_again(struct process *one)
{
    static struct ask ask;
    ask_for_status(&ask, one->address);
    ask_run(&ask, 1, ASK_TIMEOUT_NS);
    return ask.answered && status_decode(ask.body, ask.length, &one->status);
}

/* Back to following: another candidate was faster, or it found that it can never lead. */
static int given_up(struct processes *p, const struct process *one, bool json)
{
    processes_ask_sequencers(p, LEADER_NS);
    const struct process *leader = processes_leader(p);
    if (leader == one) {
        print(one, json);
        return CLI_OK;
    }
    if (leader == NULL)
        return cli_fail("%s has given up, and follows epoch %" PRIu32 ": its log says why",
                        one->name, one->status.epoch.number);
    return cli_fail("%s has given up: %s leads, in epoch %" PRIu32, one->name, leader->name,
                    leader->status.epoch.number);
}

static int see_through(struct processes *p, struct process *one, const struct promote *a)
{
    char said[sizeof one->status.state] = "";
    for (uint64_t until = cli_mono_ns() + a->timeout_s * 1000000000; cli_mono_ns() < until;) {
        bool answered = ask_again(one);
        if (answered && status_leads(&one->status)) {
            print(one, a->json);
            return CLI_OK;
        }
        if (answered && strncmp(one->status.state, "following", 9) == 0)
            return given_up(p, one, a->json);
        const char *state = answered ? one->status.state : "does not answer";
        if (strcmp(said, state) != 0)
            fprintf(stderr, "cantus: %s: %s\n", one->name, state);
        snprintf(said, sizeof said, "%s", state);
        if (!leader_pause(LOOK_NS))
            return cli_fail("interrupted; %s goes on by itself", one->name);
    }
    return cli_fail("%s does not lead after %" PRIu64
                    " s (%s); it goes on trying, and its log says "
                    "what it waits for",
                    one->name, a->timeout_s, said);
}

static int promote(struct processes *p, const char *name, const struct promote *a)
{
    struct command command = { .kind = COMMAND_PROMOTE };
    struct outcome outcome;
    char problem[ASK_PROBLEM_MAX];
    processes_ask(p);
    struct process *one = choose(p, name);
    if (one == NULL)
        return CLI_FAILED;
    if (status_leads(&one->status) && one == processes_leader(p))
        return cli_fail("%s leads already, in epoch %" PRIu32, one->name, one->status.epoch.number);
    snprintf(command.why, sizeof command.why, "%s", a->why);
    if (!ask_command(one->address, &command, &outcome, problem))
        return cli_fail("%s: %s; see cantus status for what became of it", one->name, problem);
    if (outcome.verdict == OUTCOME_REFUSED)
        return cli_fail("%s refuses: %s", one->name, outcome.text);
    fprintf(stderr, "cantus: %s: %s\n", one->name, outcome.text);
    return see_through(p, one, a);
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct promote a = { .timeout_s = 30 };
    int operand = cli_options(&verb_promote, &g, argc, argv, options, parse, &a);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (g.dir == NULL || argc - operand > 1) {
        cli_fail("promote wants --dir DIR and one NAME at most");
        return CLI_USAGE;
    }
    if (a.why == NULL || a.why[0] == '\0' || strlen(a.why) > WHY_MAX) {
        cli_fail(
            "promote wants --why TEXT, of at most %d bytes: whoever looks into it later will be "
            "glad of it",
            (int)WHY_MAX);
        return CLI_USAGE;
    }
    static struct config config;
    if (!deployment_config(g.dir, &config))
        return CLI_FAILED;
    cli_catch_signals();
    struct processes *p = processes_create(&config);
    int status = p != NULL ? promote(p, operand < argc ? argv[operand] : NULL, &a)
                           : cli_fail("out of memory");
    processes_destroy(p);
    return status;
}

const struct cli_verb verb_promote = { "promote", "let a standby lead", help, run };
