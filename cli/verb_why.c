#include "cli/cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/ask.h"
#include "cli/deployment.h"
#include "cli/near.h"
#include "cli/observe.h"

static const char help[] =
    "usage: cantus --dir DIR why NAME [--json]\n"
    "\n"
    "Says what a publisher or an app waits for: a leader, a quorum of stores (and which of them are\n"
    "missing), a number of its own that has not arrived, a slow or stopped loop, a replay (how far,\n"
    "how fast, how long still); and what it was told last: rejected, superseded, quarantined.\n"
    "\n"
    "Asks the deployment's processes, the leader about the publisher, and reads the counters of the\n"
    "apps of this name on this host. NAME is a publisher's (pub --publisher, see cantus status) or an\n"
    "app's (see cantus top). Exit status 1 if nobody has this name.\n"
    "\n"
    "  --json  one object: name, waits (a list of what, text, holds_up), near (names alike, if nobody\n"
    "          has this one)\n";

enum {
    OPTION_JSON,
    REASONS_MAX = 64,
    REASON_SIZE = 512,
    PROBLEMS_SHOWN = 3,
    LOOK_NS = 500000000, /* between two looks at an app, for its rate */
    TEXT_SIZE = 256
};
#define STORE_SILENT_NS UINT64_C(3000000000)

static const struct option options[] = {
    { "json", no_argument, NULL, OPTION_JSON },
    { 0 },
};

struct reason {
    const char *what; /* deployment, publisher, app */
    bool holds_up;    /* else it is only told */
    char text[REASON_SIZE];
};

struct why {
    const char *name;
    struct config config;
    struct processes *p;
    const struct process *leader; /* or NULL */
    char directory[CONFIG_PATH_MAX + 1];
    struct counter_snapshot space;
    bool publisher, app; /* there is one of this name */
    uint32_t reason_count;
    struct reason reasons[REASONS_MAX];
    struct near_names near;
};

__attribute__((format(printf, 4, 5))) static void say(struct why *w, const char *what,
                                                      bool holds_up, const char *format, ...)
{
    if (w->reason_count == REASONS_MAX)
        return;
    struct reason *r = &w->reasons[w->reason_count++];
    r->what = what;
    r->holds_up = holds_up;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(r->text, sizeof r->text, format, arguments);
    va_end(arguments);
}

/* ---- the deployment -------------------------------------------------------------------------- */

/* False if the question cannot be put. */
static bool ask_why(const struct why *w, const struct process *sequencer, struct outcome *outcome,
                    char problem[ASK_PROBLEM_MAX])
{
    struct command command = { .kind = COMMAND_WHY };
    snprintf(problem, ASK_PROBLEM_MAX, "no publisher has such a name");
    if (strlen(w->name) > IDENTITY_MAX)
        return false;
    memcpy(command.name, w->name, strlen(w->name) + 1);
    return ask_command(sequencer->address, &command, outcome, problem);
}

/* A sequencer that does not lead says in its refusal what it waits for itself. */
static void explain_no_leader(struct why *w)
{
    struct outcome outcome;
    char problem[ASK_PROBLEM_MAX];
    say(w, "deployment", true,
        "no sequencer leads: nothing is put in order; see cantus promote --help");
    for (uint32_t i = 0; i < w->p->count; i++) {
        const struct process *one = &w->p->all[i];
        if (one->kind == PROCESS_STORE && !one->answered)
            say(w, "deployment", true, "%s does not answer: %s", one->name, one->problem);
        else if (one->kind == PROCESS_SEQUENCER && one->answered &&
                 ask_why(w, one, &outcome, problem))
            say(w, "deployment", true, "%s, %s: %s", one->name, one->status.state, outcome.text);
        else if (one->kind == PROCESS_SEQUENCER)
            say(w, "deployment", true, "%s: %s", one->name,
                one->answered ? one->status.state : one->problem);
    }
}

static const char *store_trouble(const struct status_member *m)
{
    return m->full                       ? "its disk is full"
           : m->age_ns == UINT64_MAX     ? "never heard by the leader"
           : m->age_ns > STORE_SILENT_NS ? "silent"
           : !m->current                 ? "has acknowledged nothing of this epoch"
                                         : NULL;
}

/* The stores that keep the quorum from being one, by name where that is known. */
static void explain_stores(struct why *w)
{
    const struct status *s = &w->leader->status;
    uint32_t good = 0;
    for (uint32_t i = 0; i < s->member_count; i++)
        good += store_trouble(&s->members[i]) == NULL &&
                processes_store(w->p, s->members[i].store) != NULL;
    bool short_of = good < s->quorum;
    if (short_of)
        say(w, "deployment", true,
            "a quorum of stores is missing: %" PRIu32 " of the %" PRIu32 " that make a message "
            "stable are there; sequenced through %" PRIu64 ", stable through %" PRIu64 "%s",
            good, s->quorum, s->tip, s->stable,
            status_is_paused(s) ? "; the ring is full, so that nothing is taken in any more" : "");
    for (uint32_t i = 0; i < s->member_count; i++) {
        const struct status_member *m = &s->members[i];
        const struct process *store = processes_store(w->p, m->store);
        const char *trouble = store_trouble(m);
        if (store != NULL && trouble != NULL)
            say(w, "deployment", short_of,
                "store %016" PRIx64 " (%s): %s; durable through %" PRIu64, m->store, store->name,
                trouble, m->durable_seq);
        else if (store == NULL)
            say(w, "deployment", short_of,
                "store %016" PRIx64 ": no process that answers has it; durable through %" PRIu64,
                m->store, m->durable_seq);
    }
    for (uint32_t i = 0; i < w->p->count; i++)
        if (w->p->all[i].kind == PROCESS_STORE && !w->p->all[i].answered)
            say(w, "deployment", short_of, "%s does not answer: %s", w->p->all[i].name,
                w->p->all[i].problem);
}

/* ---- a publisher ----------------------------------------------------------------------------- */

static void explain_publisher(struct why *w)
{
    struct outcome outcome;
    char problem[ASK_PROBLEM_MAX];
    if (!ask_why(w, w->leader, &outcome, problem)) {
        say(w, "publisher", true, "%s, which leads: %s", w->leader->name, problem);
        return;
    }
    w->publisher = outcome.verdict == OUTCOME_DONE;
    if (w->publisher)
        say(w, "publisher",
            strstr(outcome.text, "number") != NULL && strstr(outcome.text, "none waits") == NULL,
            "%s", outcome.text);
}

/* A publisher that the answer of a leader listed, where none leads now. */
static void find_listed(struct why *w)
{
    for (uint32_t i = 0; i < w->p->count; i++) {
        const struct status *s = &w->p->all[i].status;
        uint32_t listed =
            s->publisher_count < STATUS_PUBLISHERS_MAX ? s->publisher_count : STATUS_PUBLISHERS_MAX;
        for (uint32_t k = 0; w->p->all[i].answered && k < listed; k++) {
            w->publisher = w->publisher || strcmp(s->publishers[k].identity, w->name) == 0;
            near_consider(&w->near, w->name, s->publishers[k].identity);
        }
    }
}

/* ---- apps ------------------------------------------------------------------------------------ */

/* NAME, or what a second process of that name is called: NAME-2. */
static bool is_named(const char *file_name, const char *name)
{
    size_t length = strlen(name);
    if (strncmp(file_name, name, length) != 0)
        return false;
    const char *rest = file_name + length;
    return rest[0] == '\0' || (rest[0] == '-' && rest[1] != '\0' &&
                               strspn(rest + 1, "0123456789") == strlen(rest + 1));
}

/* What it has still to do, and how long that takes at its present rate. `again` is the same app a
 * moment later. */
static void explain_progress(struct why *w, const struct counter_snapshot *a,
                             const struct counter_snapshot *again, double seconds)
{
    uint64_t delivered = again->counters[COUNTER_DELIVERED], tip = again->counters[COUNTER_TIP];
    if (w->leader != NULL && w->leader->status.tip > tip)
        tip = w->leader->status.tip;
    uint64_t behind = tip > delivered ? tip - delivered : 0;
    double rate = (double)(delivered - a->counters[COUNTER_DELIVERED]) / seconds;
    if (delivered < a->counters[COUNTER_DELIVERED])
        rate = 0; /* rebuilding */
    char eta[64] = "at this rate never";
    if (rate > 0)
        snprintf(eta, sizeof eta, "%.1f s more if nothing is added", (double)behind / rate);
    if (behind > 0)
        say(w, "app", true,
            "%s is %" PRIu64 " messages behind the tip: delivered through %" PRIu64 " of %" PRIu64
            ", %.0f messages/s, %s",
            again->name, behind, delivered, tip, rate, eta);
    else
        say(w, "app", false, "%s has delivered everything, through %" PRIu64, again->name,
            delivered);
    uint64_t asked =
        again->counters[COUNTER_GAP_REQUESTS_OUT] - a->counters[COUNTER_GAP_REQUESTS_OUT];
    if (asked > 0)
        say(w, "app", true,
            "%s lacks batches: it asked for them %" PRIu64
            " times in the last %.1f s (the stores in "
            "the order of cantus.yaml, then the leader); %" PRIu64 " filled so far",
            again->name, asked, seconds, again->counters[COUNTER_FILLS_IN]);
}

static void explain_state(struct why *w, const struct counter_snapshot *s)
{
    if (strcmp(s->state, "no leader") == 0)
        say(w, "app", true,
            "%s hears no leader: see cantus status, and cantus doctor for its network", s->name);
    else if (strcmp(s->state, "live") != 0 && s->state[0] != '\0')
        say(w, "app", true, "%s: %s", s->name, s->state);
    if (s->counters[COUNTER_QUARANTINED] > 0)
        say(w, "app", true,
            "%s is quarantined: it kept proposing what is already sequenced, and may propose nothing "
            "until it is started anew with its mistake mended",
            s->name);
    if (s->counters[COUNTER_IN_FLIGHT] > 0)
        say(w, "app", false, "%s has %" PRIu64 " proposals on their way", s->name,
            s->counters[COUNTER_IN_FLIGHT]);
    for (uint32_t i = 0; i < s->problem_count && i < PROBLEMS_SHOWN; i++)
        say(w, "app", false, "%s was told %" PRIu64 " times: %s: %s %s", s->name,
            s->problems[i].count, s->problems[i].component, s->problems[i].text,
            s->problems[i].detail);
}

static void explain_app(struct why *w, const char *path, const struct counter_snapshot *s)
{
    static struct counter_snapshot again;
    char error[COUNTER_FILE_ERROR_MAX];
    w->app = true;
    if (!s->alive) {
        say(w, "app", true, "%s: its process (%" PRIu64 ") has ended without a farewell", s->name,
            s->pid);
        return;
    }
    if (s->silent_ns > OBSERVE_STALLED_NS)
        say(w, "app", true,
            "%s: its loop stands still since %.1f s: its process (%" PRIu64 ") is stopped, or one "
            "call of its own does not return",
            s->name, (double)s->silent_ns / 1e9, s->pid);
    uint64_t begun = cli_mono_ns();
    nanosleep(&(struct timespec) { .tv_nsec = LOOK_NS }, NULL);
    double seconds = (double)(cli_mono_ns() - begun) / 1e9;
    if (!counter_file_read(path, &again, error)) {
        say(w, "app", false, "%s has just ended", s->name);
        return;
    }
    explain_progress(w, s, &again, seconds);
    explain_state(w, &again);
}

static void look_at_file(void *ctx, const char *path, const struct counter_snapshot *s,
                         const char *text)
{
    struct why *w = ctx;
    (void)text;
    if (s == NULL || strcmp(s->role, "app") != 0 || s->stream != w->config.stream)
        return;
    if (is_named(s->name, w->name))
        explain_app(w, path, s);
    near_consider(&w->near, w->name, s->name);
}

/* ---- telling --------------------------------------------------------------------------------- */

static void print_json(const struct why *w)
{
    fputs("{\"name\":", stdout);
    cli_json_string(stdout, w->name, strlen(w->name));
    fputs(",\"waits\":[", stdout);
    for (uint32_t i = 0; i < w->reason_count; i++) {
        const struct reason *r = &w->reasons[i];
        printf("%s{\"what\":\"%s\",\"holds_up\":%s,\"text\":", i ? "," : "", r->what,
               r->holds_up ? "true" : "false");
        cli_json_string(stdout, r->text, strlen(r->text));
        putchar('}');
    }
    fputs("],\"near\":[", stdout);
    for (uint32_t i = 0; i < w->near.count && !w->publisher && !w->app; i++) {
        fputs(i ? "," : "", stdout);
        cli_json_string(stdout, w->near.name[i], strlen(w->near.name[i]));
    }
    puts("]}");
}

static void print_text(const struct why *w)
{
    bool held_up = false;
    for (uint32_t i = 0; i < w->reason_count; i++)
        held_up = held_up || w->reasons[i].holds_up;
    if (!held_up && (w->publisher || w->app))
        printf("%s waits for nothing\n", w->name);
    for (int holds = 1; holds >= 0; holds--)
        for (uint32_t i = 0; i < w->reason_count; i++)
            if (w->reasons[i].holds_up == (holds == 1))
                printf("%-10s  %s\n", w->reasons[i].what, w->reasons[i].text);
}

static int say_unknown(const struct why *w)
{
    char names[NEAR_NAMES_MAX * (NEAR_NAME_SIZE + 4)] = "";
    size_t at = 0;
    for (uint32_t i = 0; i < w->near.count; i++)
        at +=
            (size_t)snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "", w->near.name[i]);
    if (w->leader == NULL)
        return cli_fail("nobody who answers knows %s; while no sequencer leads that says little",
                        w->name);
    if (w->near.count > 0)
        return cli_fail("no publisher or app %s; did you mean: %s?", w->name, names);
    return cli_fail(
        "no publisher or app %s; cantus status lists the publishers, cantus top the apps "
        "of this host",
        w->name);
}

static bool parse(void *ctx, int option, const char *value)
{
    (void)option;
    (void)value;
    *(bool *)ctx = true;
    return true;
}

static void find_out(struct why *w)
{
    processes_ask(w->p);
    w->leader = processes_leader(w->p);
    if (w->leader == NULL)
        explain_no_leader(w);
    else if (!w->config.is_volatile)
        explain_stores(w);
    if (w->leader != NULL)
        explain_publisher(w);
    find_listed(w);
    if (config_counters(&w->config, w->directory, sizeof w->directory))
        counter_directory_read(w->directory, &w->space, look_at_file, w);
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    bool json = false;
    static struct why w;
    int operand = cli_options(&verb_why, &g, argc, argv, options, parse, &json);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (g.dir == NULL || argc - operand != 1) {
        cli_fail("why wants --dir DIR and the name of a publisher or an app");
        return CLI_USAGE;
    }
    w.name = argv[operand];
    if (!deployment_config(g.dir, &w.config))
        return CLI_FAILED;
    w.p = processes_create(&w.config);
    if (w.p == NULL)
        return cli_fail("out of memory");
    find_out(&w);
    bool known = w.publisher || w.app;
    if (json)
        print_json(&w);
    else
        print_text(&w);
    int status = known ? CLI_OK : json ? CLI_FAILED : say_unknown(&w);
    processes_destroy(w.p);
    return status;
}

const struct cli_verb verb_why = { "why", "what a publisher or an app waits for", help, run };
