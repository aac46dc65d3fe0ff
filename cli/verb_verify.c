#include "cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/ask.h"
#include "cli/deployment.h"

static const char help[] =
    "usage: cantus --dir DIR verify [--json]\n"
    "\n"
    "Asks every retransmitter for the digest of its history through the last seq that all of them have\n"
    "and that is stable, and compares: equal digests mean equal histories, byte for byte. If they\n"
    "differ, finds the first batch that does, and says whose is not that of the majority. Exit status\n"
    "0 only if all answered and agree.\n"
    "\n"
    "For the files of one store, without its process, see: cantus journal verify --help\n"
    "\n"
    "  --json  print one object: through, agree, first_differing_seq, stores\n";

enum { OPTION_JSON };
static const struct option options[] = { { "json", no_argument, NULL, OPTION_JSON }, { 0 } };

struct store {
    const struct process *process;
    bool compared; /* has history, and answers */
    bool differs;  /* from the majority */
    char problem[ASK_PROBLEM_MAX + OUTCOME_TEXT_MAX];
    struct outcome at; /* the last answer */
};

struct verify {
    struct processes *p;
    uint32_t count;
    struct store stores[CONFIG_RETRANSMITTERS_MAX];
    uint64_t through;         /* 0: there was nothing to compare */
    uint64_t first_differing; /* first seq of that batch; 0: they agree */
    bool split;               /* no history is a majority's */
};

static bool parse(void *ctx, int option, const char *value)
{
    (void)option;
    (void)value;
    return *(bool *)ctx = true;
}

/* ---- asking and comparing -------------------------------------------------------------------- */

static void read_outcome(struct store *s, const struct ask *a, uint64_t seq)
{
    if (!a->answered)
        snprintf(s->problem, sizeof s->problem, "%s", a->problem);
    else if (!outcome_decode(a->body, a->length, &s->at))
        snprintf(s->problem, sizeof s->problem, "answered with something that is no outcome");
    else if (s->at.verdict != OUTCOME_DONE)
        snprintf(s->problem, sizeof s->problem, "%s", s->at.text);
    else if (s->at.position.seq < seq)
        snprintf(s->problem, sizeof s->problem,
                 "was asked for seq %" PRIu64 " and answers for %" PRIu64, seq, s->at.position.seq);
    else
        return;
    s->compared = false;
}

/* The digests through the batch that holds seq. Whoever can't tell is compared no more. */
static void ask_digests(struct verify *v, uint64_t seq)
{
    static struct ask asks[CONFIG_RETRANSMITTERS_MAX];
    struct command command = { .kind = COMMAND_DIGEST_AT, .seq = seq };
    struct store *asked[CONFIG_RETRANSMITTERS_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->count; i++)
        if (v->stores[i].compared) {
            ask_for_command(&asks[n], v->stores[i].process->address, &command);
            asked[n++] = &v->stores[i];
        }
    /* A store may have to read for it. */
    ask_run(asks, n, 5 * ASK_TIMEOUT_NS);
    for (uint32_t i = 0; i < n; i++)
        read_outcome(asked[i], &asks[i], seq);
}

static bool equal(const struct store *a, const struct store *b)
{
    return digest_equal(a->at.digest, b->at.digest) && a->at.position.seq == b->at.position.seq &&
           epoch_equal(a->at.position.epoch, b->at.position.epoch);
}

/* How many of those compared have the history that this one has. */
static uint32_t allies(const struct verify *v, const struct store *of)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->count; i++)
        n += v->stores[i].compared && equal(&v->stores[i], of) ? 1 : 0;
    return n;
}

static uint32_t compared(const struct verify *v)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->count; i++)
        n += v->stores[i].compared ? 1 : 0;
    return n;
}

static bool agree(const struct verify *v)
{
    for (uint32_t i = 0; i < v->count; i++)
        if (v->stores[i].compared)
            return allies(v, &v->stores[i]) == compared(v);
    return true;
}

/* Digests chain: once they differ they differ for ever, so the first batch is found by halving.
 * Through `low` they agree, through `high` they don't. */
static void bisect(struct verify *v)
{
    uint64_t low = 0, high = v->through;
    struct cli_progress progress = { .what = "looking for the first difference, seqs left" };
    while (high - low > 1 && compared(v) > 1 && cli_running()) {
        uint64_t middle = low + (high - low) / 2;
        cli_progress_show(&progress, high - low, 0);
        ask_digests(v, middle);
        if (agree(v)) {
            for (uint32_t i = 0; i < v->count; i++)
                if (v->stores[i].compared)
                    low = v->stores[i].at.position.seq; /* of them all */
            if (low >= high)
                break;
        } else
            high = middle;
    }
    cli_progress_end(&progress);
    v->first_differing = low + 1;
    ask_digests(v, low + 1);
}

static void judge(struct verify *v)
{
    uint32_t most = 0, leaders = 0;
    for (uint32_t i = 0; i < v->count; i++)
        if (v->stores[i].compared && allies(v, &v->stores[i]) > most)
            most = allies(v, &v->stores[i]);
    for (uint32_t i = 0; i < v->count; i++)
        leaders += v->stores[i].compared && allies(v, &v->stores[i]) == most ? 1 : 0;
    v->split = most * 2 <= compared(v) || leaders != most;
    for (uint32_t i = 0; i < v->count; i++)
        v->stores[i].differs =
            v->stores[i].compared && (v->split || allies(v, &v->stores[i]) < most);
}

static void verify(struct verify *v)
{
    uint64_t stable = 0, least = UINT64_MAX;
    processes_ask(v->p);
    for (uint32_t i = 0; i < v->p->count; i++) {
        const struct process *one = &v->p->all[i];
        if (one->answered && one->status.stable > stable)
            stable = one->status.stable;
        if (one->kind != PROCESS_STORE)
            continue;
        struct store *s = &v->stores[v->count++];
        s->process = one;
        s->compared = one->answered && one->status.tip > 0;
        snprintf(s->problem, sizeof s->problem, "%s",
                 !one->answered         ? one->problem
                 : one->status.tip == 0 ? "has no history yet"
                                        : "");
        if (s->compared && one->status.tip < least)
            least = one->status.tip;
    }
    if (compared(v) == 0)
        return;
    v->through = least < stable ? least : stable;
    if (v->through == 0)
        return;
    ask_digests(v, v->through);
    if (compared(v) == 0)
        v->through = 0;
    if (!agree(v)) {
        bisect(v);
        judge(v);
    }
}

/* ---- printing -------------------------------------------------------------------------------- */

static bool is_fine(const struct verify *v)
{
    return v->through > 0 && v->first_differing == 0 && compared(v) == v->count;
}

static void print_json(const struct verify *v)
{
    printf("{\"through\":%" PRIu64 ",\"agree\":%s,\"first_differing_seq\":", v->through,
           v->through > 0 && v->first_differing == 0 ? "true" : "false");
    if (v->first_differing != 0)
        printf("%" PRIu64, v->first_differing);
    else
        fputs("null", stdout);
    fputs(",\"stores\":[", stdout);
    for (uint32_t i = 0; i < v->count; i++) {
        const struct store *s = &v->stores[i];
        printf("%s{\"name\":", i ? "," : "");
        cli_json_string(stdout, s->process->name, strlen(s->process->name));
        if (s->process->answered)
            printf(",\"store\":\"%016" PRIx64 "\",\"tip\":%" PRIu64, s->process->status.store,
                   s->process->status.tip);
        if (s->compared)
            printf(",\"digest\":\"%016" PRIx64 "%016" PRIx64 "\",\"differs\":%s", s->at.digest.high,
                   s->at.digest.low, s->differs ? "true" : "false");
        if (s->problem[0] != '\0') {
            fputs(",\"problem\":", stdout);
            cli_json_string(stdout, s->problem, strlen(s->problem));
        }
        putchar('}');
    }
    puts("]}");
}

static void print_text(const struct verify *v)
{
    for (uint32_t i = 0; i < v->count; i++) {
        const struct store *s = &v->stores[i];
        if (s->compared)
            printf("%s  store %016" PRIx64 "  tip %" PRIu64 "  digest at seq %" PRIu64
                   " %016" PRIx64 "%016" PRIx64 "%s\n",
                   s->process->name, s->process->status.store, s->process->status.tip,
                   s->at.position.seq, s->at.digest.high, s->at.digest.low,
                   s->differs && !v->split ? "  DIFFERS" : "");
        else
            printf("%s  not compared: %s\n", s->process->name, s->problem);
    }
    if (v->through == 0) {
        puts("nothing to compare: no retransmitter told the digest of stable history");
        return;
    }
    if (v->first_differing == 0) {
        printf("%" PRIu32 " of %" PRIu32 " stores compared: one history through seq %" PRIu64 "\n",
               compared(v), v->count, v->through);
        return;
    }
    printf("the histories part: the first batch that differs begins at seq %" PRIu64 "\n",
           v->first_differing);
    if (v->split)
        puts("no history is that of a majority");
    for (uint32_t i = 0; i < v->count && !v->split; i++)
        if (v->stores[i].differs)
            printf(
                "%s differs from the majority: replace its store (cantus member replace --help)\n",
                v->stores[i].process->name);
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    bool json = false;
    int operand = cli_options(&verb_verify, &g, argc, argv, options, parse, &json);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (g.dir == NULL || operand < argc) {
        cli_fail("verify wants --dir DIR and nothing else");
        return CLI_USAGE;
    }
    static struct config config;
    struct verify *v = calloc(1, sizeof *v);
    struct processes *p = deployment_config(g.dir, &config) ? processes_create(&config) : NULL;
    int status = CLI_FAILED;
    cli_catch_signals();
    if (v != NULL && p != NULL) {
        v->p = p;
        verify(v);
        if (json)
            print_json(v);
        else
            print_text(v);
        status = is_fine(v) && cli_running() ? CLI_OK : CLI_FAILED;
    } else if (config.stream != 0)
        cli_fail("out of memory");
    processes_destroy(p);
    free(v);
    return status;
}

const struct cli_verb verb_verify = { "verify", "compare the histories of all stores", help, run };
