#include "cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/deployment.h"
#include "cli/leader.h"

static const char help[] =
    "usage: cantus --dir DIR member [list]\n"
    "       cantus --dir DIR member add NAME [--timeout SECONDS]\n"
    "       cantus --dir DIR member remove STORE [--timeout SECONDS]\n"
    "       cantus --dir DIR member replace STORE NAME [--timeout SECONDS]\n"
    "\n"
    "Changes which stores count, in safe steps, each of which is printed. NAME is a retransmitter of\n"
    "cantus.yaml; STORE is one, too, or the id of a store (16 hex digits), for one that is gone.\n"
    "\n"
    "  list     the members, and which retransmitter has them\n"
    "  add      waits until the retransmitter has copied the history, compares its digest with a\n"
    "           member's, makes its store a member, and waits until that is stable. Before: list it in\n"
    "           cantus.yaml, make its store with cantus-retransmitter --format --name NAME, and start it\n"
    "  remove   lets a store count no longer, and waits until that is stable\n"
    "  replace  adds NAME, then removes STORE\n"
    "\n"
    "  --timeout SECONDS  how long a step may take without progress (default 60)\n"
    "\n"
    "A store that was wiped, restored from a backup, or may have lost what it acknowledged must never\n"
    "count as what it was: make it new, and replace its old id by its name.\n";

enum { OPTION_TIMEOUT };
static const struct option options[] = { { "timeout", required_argument, NULL, OPTION_TIMEOUT },
                                         { 0 } };
#define LOOK_NS UINT64_C(50000000)
enum { LOOKS_MAX = 40 };

struct member {
    struct processes *p;
    uint64_t timeout_ns;
};

static bool parse(void *ctx, int option, const char *value)
{
    uint64_t seconds = 0;
    (void)option;
    if (!cli_parse_u64("--timeout", value, 1, 86400, &seconds))
        return false;
    ((struct member *)ctx)->timeout_ns = seconds * 1000000000;
    return true;
}

/* ---- which store is meant -------------------------------------------------------------------- */

static bool parse_store(const char *text, uint64_t *store)
{
    char *end;
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return false;
    *store = strtoull(text, &end, 16);
    return *store != 0;
}

static void list(FILE *f, struct processes *p, const struct process *leader)
{
    for (uint32_t i = 0; i < leader->status.member_count; i++) {
        const struct status_member *m = &leader->status.members[i];
        const struct process *has = processes_store(p, m->store);
        fprintf(f, "  %016" PRIx64 "  %-16s durable %" PRIu64 "%s%s\n", m->store,
                has != NULL ? has->name : "(nobody answers)", m->durable_seq,
                m->current ? "" : "  (not of this epoch)", m->full ? "  DISK FULL" : "");
    }
}

/* A retransmitter that runs and has a store; NULL, having said why. */
static struct process *retransmitter(struct processes *p, const char *name)
{
    struct process *one = processes_find(p, name);
    if (one == NULL || one->kind != PROCESS_STORE) {
        char error[CONFIG_ERROR_MAX];
        (void)config_find_retransmitter(p->config, name, error);
        cli_fail("%s", error);
        return NULL;
    }
    /* One that was started a moment ago takes one to answer. */
    for (int looks = 0; looks < LOOKS_MAX && !one->answered && leader_pause(LOOK_NS); looks++) {
        processes_ask(p);
        one = processes_find(p, name);
    }
    if (one->answered && one->status.store != 0)
        return one;
    cli_fail("%s: %s; it has to run for this: cantus-retransmitter --name %s", name,
             one->answered ? "has no store" : one->problem, name);
    return NULL;
}

/* The id of a member, by itself or by the name of the retransmitter that has it. */
static bool member_id(struct processes *p, const struct process *leader, const char *text,
                      uint64_t *store)
{
    struct process *named = processes_find(p, text);
    if (named != NULL && named->kind == PROCESS_STORE && named->answered)
        *store = named->status.store;
    else if (!parse_store(text, store)) {
        if (named != NULL && named->kind == PROCESS_STORE)
            cli_fail(
                "%s: %s, so its store can't be told; give the id of its store instead. Members:",
                text, named->problem);
        else
            cli_fail("%s is neither a retransmitter of cantus.yaml nor the id of a store. Members:",
                     text);
        list(stderr, p, leader);
        return false;
    }
    if (status_has_member(&leader->status, *store))
        return true;
    cli_fail("the store of %s, %016" PRIx64 ", is no member. Members:", text, *store);
    list(stderr, p, leader);
    return false;
}

/* A W below a majority fixes the membership: better said before history is copied. */
static bool is_open(const struct process *leader)
{
    const struct status *s = &leader->status;
    if (s->is_volatile)
        cli_fail("a volatile stream has no stores");
    else if (s->quorum < s->member_count / 2 + 1)
        cli_fail("the quorum of this stream, %" PRIu32 " of %" PRIu32
                 " stores, is below a majority: "
                 "its membership is fixed",
                 s->quorum, s->member_count);
    else
        return true;
    return false;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void step(const char *name, uint64_t store, const char *what)
{
    printf("%s: store %016" PRIx64 ": %s\n", name, store, what);
    fflush(stdout);
}

/* Waits until the retransmitter has all that was stable one look ago: under load it never has quite
 * what is stable now. */
static bool wait_for_copy(const struct member *m, const char *name, uint64_t store)
{
    struct cli_progress progress = { .what = "copying" };
    uint64_t had = 0, moved_ns = cli_mono_ns(), goal = 0;
    bool done = false;
    while (!done) {
        processes_ask(m->p);
        const struct process *one = processes_find(m->p, name);
        const struct process *leader = processes_leader(m->p);
        if (one->answered && one->status.store != store) {
            cli_progress_end(&progress);
            cli_fail("%s has another store now, %016" PRIx64, name, one->status.store);
            return false;
        }
        if (one->answered && one->status.tip > had) {
            had = one->status.tip;
            moved_ns = cli_mono_ns();
        }
        done = one->answered && goal > 0 && one->status.tip >= goal;
        if (leader != NULL)
            goal = leader->status.stable;
        cli_progress_show(&progress, had, goal);
        if (!done && cli_mono_ns() - moved_ns > m->timeout_ns) {
            cli_progress_end(&progress);
            cli_fail("%s does not get on: it has %" PRIu64 " of %" PRIu64
                     " (%s); nothing was changed",
                     name, had, goal, one->answered ? one->status.state : one->problem);
            return false;
        }
        if (!done && !leader_pause(LOOK_NS)) {
            cli_progress_end(&progress);
            cli_fail("interrupted; nothing was changed");
            return false;
        }
    }
    cli_progress_end(&progress);
    return true;
}

static bool digest_of(const struct process *one, uint64_t seq, struct outcome *out)
{
    struct command command = { .kind = COMMAND_DIGEST_AT, .seq = seq };
    char problem[ASK_PROBLEM_MAX];
    bool fine = ask_command(one->address, &command, out, problem) && out->verdict == OUTCOME_DONE;
    if (!fine)
        cli_fail("%s: the digest at seq %" PRIu64 ": %s", one->name, seq,
                 problem[0] != '\0' ? problem : out->text);
    return fine;
}

/* What it copied has to be what a member has. */
static bool compare(struct processes *p, const struct process *leader, const struct process *new)
{
    for (uint32_t i = 0; i < p->count; i++) {
        const struct process *old = &p->all[i];
        if (old->kind != PROCESS_STORE || old == new || !old->answered ||
            !status_has_member(&leader->status, old->status.store))
            continue;
        uint64_t seq = leader->status.stable;
        seq = seq < new->status.tip ? seq : new->status.tip;
        seq = seq < old->status.tip ? seq : old->status.tip;
        struct outcome a, b;
        if (seq == 0 || !digest_of(new, seq, &a) || !digest_of(old, seq, &b))
            return false;
        if (!digest_equal(a.digest, b.digest) || a.position.seq != b.position.seq) {
            cli_fail("%s and %s have different histories at seq %" PRIu64 "; see cantus verify. "
                     "Nothing was changed",
                     new->name, old->name, seq);
            return false;
        }
        printf("%s: the digest at seq %" PRIu64 " is that of %s\n", new->name, a.position.seq,
               old->name);
        return true;
    }
    cli_fail("no member's retransmitter answers, so that %s can't be compared; nothing was changed",
             new->name);
    return false;
}

static bool change_member(const struct member *m, uint64_t store, bool add)
{
    struct command command = { .kind = add ? COMMAND_MEMBER_ADD : COMMAND_MEMBER_REMOVE,
                               .store = store };
    struct change change = { .store = store, .member = add };
    const struct process *leader = leader_find(m->p);
    return leader != NULL && leader_command(leader, &command, &change) &&
           leader_wait(m->p, &change, m->timeout_ns);
}

static int add(const struct member *m, const char *name)
{
    const struct process *leader = leader_find(m->p);
    if (leader == NULL || !is_open(leader))
        return CLI_FAILED;
    const struct process *one = retransmitter(m->p, name);
    if (one == NULL)
        return CLI_FAILED;
    uint64_t store = one->status.store;
    if (status_has_member(&leader->status, store)) {
        step(name, store, "is a member already");
        return CLI_OK;
    }
    step(name, store, "copies the history");
    if (!wait_for_copy(m, name, store) || (leader = leader_find(m->p)) == NULL ||
        (one = retransmitter(m->p, name)) == NULL)
        return CLI_FAILED;
    step(name, store, "has caught up");
    if (!compare(m->p, leader, one))
        return CLI_FAILED;
    if (!change_member(m, store, true))
        return CLI_FAILED;
    step(name, store, "is a member, stable");
    return CLI_OK;
}

static int remove_store(const struct member *m, const char *name, uint64_t store)
{
    if (!change_member(m, store, false))
        return CLI_FAILED;
    step(name, store, "is no member any more, stable");
    return CLI_OK;
}

/* ---- the verb -------------------------------------------------------------------------------- */

static int act(const struct member *m, int argc, char **argv)
{
    const char *verb = argc > 0 ? argv[0] : "list";
    if (strcmp(verb, "add") == 0)
        return add(m, argv[1]);
    const struct process *leader = leader_find(m->p);
    uint64_t store;
    if (leader == NULL)
        return CLI_FAILED;
    if (strcmp(verb, "list") == 0) {
        list(stdout, m->p, leader);
        return CLI_OK;
    }
    if (!is_open(leader) || !member_id(m->p, leader, argv[1], &store))
        return CLI_FAILED;
    if (strcmp(verb, "replace") == 0) {
        const struct process *new = retransmitter(m->p, argv[2]);
        if (new == NULL)
            return CLI_FAILED;
        if (new->status.store == store)
            return cli_fail("%s has the very store that is to go", argv[2]);
        if (add(m, argv[2]) != CLI_OK)
            return CLI_FAILED;
    }
    return remove_store(m, argv[1], store);
}

static bool is_usage(int argc, char **argv)
{
    static const struct {
        const char *verb;
        int count;
    } forms[] = { { "list", 1 }, { "add", 2 }, { "remove", 2 }, { "replace", 3 } };
    for (size_t i = 0; argc > 0 && i < sizeof forms / sizeof forms[0]; i++)
        if (strcmp(argv[0], forms[i].verb) == 0)
            return argc == forms[i].count;
    return argc == 0;
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct member m = { .timeout_ns = UINT64_C(60000000000) };
    int operand = cli_options(&verb_member, &g, argc, argv, options, parse, &m);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (g.dir == NULL || !is_usage(argc - operand, argv + operand)) {
        cli_fail("member wants --dir DIR and list, add NAME, remove STORE or replace STORE NAME");
        return CLI_USAGE;
    }
    static struct config config;
    if (!deployment_config(g.dir, &config))
        return CLI_FAILED;
    cli_catch_signals();
    m.p = processes_create(&config);
    int status = m.p != NULL ? act(&m, argc - operand, argv + operand) : cli_fail("out of memory");
    processes_destroy(m.p);
    return status;
}

const struct cli_verb verb_member = { "member", "add, remove or replace a store", help, run };
