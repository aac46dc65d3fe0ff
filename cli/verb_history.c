#include "cli/cli.h"

#include <cantus/cantus.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "cli/ask.h"
#include "cli/deployment.h"
#include "proto/sys.h"

static const char help[] = "usage: cantus --dir DIR history [--json]\n"
                           "\n"
                           "Prints the epochs of the stream and the sessions they fell into: who "
                           "began to lead, how, when\n"
                           "and why, and the history it continued. Reads the stream from its "
                           "beginning to its stable end.\n"
                           "\n"
                           "  --json  one object a line: {\"epoch\":...} or {\"session\":...}\n";

enum { OPTION_JSON };
static const struct option options[] = { { "json", no_argument, NULL, OPTION_JSON }, { 0 } };
#define POLL_NS UINT64_C(100000000)

#define NAMES_NS UINT64_C(500000000) /* for the leader to say that an epoch is its own */

struct history {
    bool json;
    struct processes *processes; /* as they answered; NULL: not asked */
    struct cli_progress progress;
};

static bool parse(void *ctx, int option, const char *value)
{
    (void)option;
    (void)value;
    return ((struct history *)ctx)->json = true;
}

static const char *how_text(uint8_t how)
{
    switch (how) {
    case SYS_EPOCH_STARTED:
        return "started";
    case SYS_EPOCH_PROMOTED:
        return "promoted";
    case SYS_EPOCH_TIMEOUT:
        return "timeout";
    case SYS_EPOCH_LEASE:
        return "lease";
    default:
        return "unknown";
    }
}

static void print_time(uint64_t ns)
{
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm parts;
    char when[32];
    gmtime_r(&seconds, &parts);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &parts);
    printf("%s.%06uZ", when, (unsigned)(ns % 1000000000 / 1000));
}

/* What a candidate wrote, fit for a terminal. */
static void print_words(const char *text)
{
    for (; *text != '\0'; text++)
        putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
}

/* A candidate is an incarnation of a sequencer, of which only one that leads tells. */
static const char *candidate_name(const struct history *h, struct epoch epoch)
{
    for (uint32_t i = 0; h->processes != NULL && i < h->processes->count; i++) {
        const struct process *one = &h->processes->all[i];
        if (one->kind == PROCESS_SEQUENCER && one->answered && status_leads(&one->status) &&
            one->status.epoch.candidate == epoch.candidate)
            return one->name;
    }
    return NULL;
}

static void print_epoch(const struct history *h, const struct cantus_message *m,
                        const struct sys_epoch *e)
{
    if (h->json) {
        printf("{\"epoch\":%" PRIu32 ",\"candidate\":\"%016" PRIx64 "\",\"seq\":%" PRIu64
               ",\"timestamp_ns\":%" PRIu64 ",\"how\":\"%s\",\"why\":",
               e->epoch.number, e->epoch.candidate, m->seq, m->timestamp_ns, how_text(e->how));
        cli_json_string(stdout, e->why, strlen(e->why));
        printf(",\"adopted\":{\"epoch\":%" PRIu32 ",\"candidate\":\"%016" PRIx64
               "\",\"seq\":%" PRIu64 ",\"digest\":\"%016" PRIx64 "%016" PRIx64 "\"}}\n",
               e->adopted.epoch.number, e->adopted.epoch.candidate, e->adopted.seq, e->digest.high,
               e->digest.low);
        return;
    }
    print_time(m->timestamp_ns);
    const char *name = candidate_name(h, e->epoch);
    printf("  epoch %" PRIu32 " from seq %" PRIu64 "  %s, candidate %016" PRIx64 "%s%s%s"
           "  continues epoch %" PRIu32 " through seq %" PRIu64,
           e->epoch.number, m->seq, how_text(e->how), e->epoch.candidate, name != NULL ? " (" : "",
           name != NULL ? name : "", name != NULL ? ")" : "", e->adopted.epoch.number,
           e->adopted.seq);
    if (e->why[0] != '\0') {
        fputs("  why: ", stdout);
        print_words(e->why);
    }
    putchar('\n');
}

static void on_epoch(void *ctx, const struct cantus_message *m)
{
    struct history *h = ctx;
    struct sys_epoch e;
    cli_progress_end(&h->progress);
    if (sys_epoch_decode(m->payload, m->length, &e))
        print_epoch(h, m, &e);
    else
        cli_fail("the epoch record at seq %" PRIu64 " can't be read: of another version?", m->seq);
}

static void on_session(void *ctx, const struct cantus_message *m)
{
    struct history *h = ctx;
    struct sys_session s;
    cli_progress_end(&h->progress);
    if (!sys_session_decode(m->payload, m->length, &s)) {
        cli_fail("the session record at seq %" PRIu64 " can't be read: of another version?",
                 m->seq);
        return;
    }
    if (h->json) {
        fputs("{\"session\":", stdout);
        cli_json_string(stdout, s.name, strlen(s.name));
        printf(",\"seq\":%" PRIu64 ",\"timestamp_ns\":%" PRIu64 "}\n", m->seq, m->timestamp_ns);
        return;
    }
    print_time(m->timestamp_ns);
    printf("  session %s from seq %" PRIu64 "\n", s.name, m->seq);
}

static void on_report(void *ctx, const struct cantus_report *r)
{
    (void)ctx;
    fprintf(stderr, "cantus: %s\n", r->text);
}

static int replay(struct history *h, struct cantus_client *client)
{
    enum cantus_status status = CANTUS_OK;
    while (cli_running() && status == CANTUS_OK && !ferror(stdout)) {
        status = cantus_client_poll(client, POLL_NS);
        cli_progress_show(&h->progress, cantus_client_seq(client), cantus_client_stable(client));
        if (status == CANTUS_OK && cantus_client_caught_up(client))
            break;
    }
    cli_progress_end(&h->progress);
    if (status != CANTUS_OK && status != CANTUS_END)
        return cli_fail("%s", cantus_client_error(client));
    return ferror(stdout) || !cli_running() ? CLI_FAILED : CLI_OK;
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct history h = { .progress = { .what = "reading the stream" } };
    int operand = cli_options(&verb_history, &g, argc, argv, options, parse, &h);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (g.dir == NULL || operand < argc) {
        cli_fail("history wants --dir DIR and nothing else");
        return CLI_USAGE;
    }
    static struct config config;
    char error[CANTUS_ERROR_MAX];
    if (!deployment_config(g.dir, &config))
        return CLI_FAILED;
    struct cantus_client_options client_options = {
        .source = g.dir,
        .level = config.is_volatile ? CANTUS_SEQUENCED : CANTUS_STABLE,
        .report = on_report,
    };
    struct cantus_client *client = cantus_client_open(&client_options, error);
    if (client == NULL)
        return cli_fail("%s", error);
    cli_catch_signals();
    if (!h.json && (h.processes = processes_create(&config)) != NULL)
        processes_ask_sequencers(h.processes, NAMES_NS);
    bool fine = cantus_client_subscribe(client, "/sys/epoch", on_epoch, &h, error) &&
                cantus_client_subscribe(client, "/sys/session", on_session, &h, error);
    int status = fine ? replay(&h, client) : cli_fail("%s", error);
    cantus_client_close(client);
    processes_destroy(h.processes);
    return status;
}

const struct cli_verb verb_history = { "history", "epochs and sessions of a stream, and why", help,
                                       run };
