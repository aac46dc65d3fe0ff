#include "cli/cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/ask.h"
#include "cli/deployment.h"

static const char help[] = "usage: cantus --dir DIR status [--json] [--all]\n"
                           "\n"
                           "Asks each process of a deployment what it is doing: who leads, state, "
                           "epoch, tip, stable, members,\n"
                           "publishers, and the counters that are not zero; and warns of what an "
                           "operator should know. Exit\n"
                           "status 1 if none answers.\n"
                           "\n"
                           "  --json  one object: stream, leader, warnings, session, epoch, tip, "
                           "stable, members, publishers,\n"
                           "          counters, and the answer of every process under `processes`\n"
                           "  --all   counters that are zero, too\n";

enum { OPTION_JSON, OPTION_ALL };
static const struct option options[] = {
    { "json", no_argument, NULL, OPTION_JSON },
    { "all", no_argument, NULL, OPTION_ALL },
    { 0 },
};

struct status_arguments {
    bool json, all;
};

static bool parse(void *ctx, int option, const char *value)
{
    (void)value;
    struct status_arguments *a = ctx;
    if (option == OPTION_JSON)
        a->json = true;
    else
        a->all = true;
    return true;
}

/* ---- warnings -------------------------------------------------------------------------------- */

enum { WARNINGS_MAX = 4 * CONFIG_PROCESSES_MAX, WARNING_SIZE = 256 };

struct warnings {
    uint32_t count;
    char text[WARNINGS_MAX][WARNING_SIZE];
};

__attribute__((format(printf, 2, 3))) static void warn(struct warnings *w, const char *format, ...)
{
    if (w->count == WARNINGS_MAX)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(w->text[w->count++], WARNING_SIZE, format, arguments);
    va_end(arguments);
}

static void warn_of_sequencers(struct warnings *w, const struct processes *p,
                               const struct process *leader)
{
    bool any = false;
    uint32_t epochs_used = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        const struct process *one = &p->all[i];
        if (one->kind != PROCESS_SEQUENCER || !one->answered)
            continue;
        any = true;
        if (epochs_used < one->status.epochs_used)
            epochs_used = one->status.epochs_used;
        if (one != leader && status_leads(&one->status))
            warn(w,
                 "%s believes that it leads, in epoch %" PRIu32 "; it is fenced by epoch %" PRIu32
                 " and has not heard of it",
                 one->name, one->status.epoch.number, leader->status.epoch.number);
        if (strstr(one->status.state, "deaf") != NULL)
            warn(w,
                 "%s is deaf: it hears the stream but not the ingress group, so that promoting it "
                 "loses time; look at its interface and at IGMP",
                 one->name);
    }
    if (epochs_used > EPOCH_TABLE_MAX / 4 * 3)
        warn(w,
             "%" PRIu32 " of the %d epochs that a stream can have are used: find out what begins "
             "them, see cantus history, and plan for a new stream",
             epochs_used, EPOCH_TABLE_MAX);
    if (any && leader == NULL)
        warn(w, "no sequencer leads: nothing is put in order; see cantus promote --help");
}

static void warn_of_members(struct warnings *w, struct processes *p, const struct process *leader)
{
    const struct status *s = &leader->status;
    uint32_t current = 0;
    for (uint32_t i = 0; i < s->member_count; i++) {
        const struct status_member *m = &s->members[i];
        const struct process *store = processes_store(p, m->store);
        current += m->current ? 1 : 0;
        if (store == NULL)
            warn(w, "store %016" PRIx64 " is a member, and no process that answers has it",
                 m->store);
        else if (m->full)
            warn(w, "%s: its disk is full, it acknowledges nothing", store->name);
        else if (!m->current)
            warn(w, "%s has acknowledged nothing of this epoch yet", store->name);
    }
    if (current < s->quorum)
        warn(w, "%" PRIu32 " of the %" PRIu32 " stores that make a message stable acknowledge",
             current, s->quorum);
    for (uint32_t i = 0; i < p->count; i++) {
        const struct process *one = &p->all[i];
        if (one->kind == PROCESS_STORE && one->answered && one->status.store != 0 &&
            !status_has_member(s, one->status.store))
            warn(w,
                 "%s is no member: its store %016" PRIx64 " counts for nothing until: "
                 "cantus member add %s",
                 one->name, one->status.store, one->name);
    }
}

static void find_warnings(struct warnings *w, struct processes *p)
{
    const struct process *leader = processes_leader(p);
    if (p->config->is_volatile)
        warn(w, "a volatile stream: it has no stores, and nothing in it is ever stable");
    if (leader != NULL && status_is_paused(&leader->status))
        warn(w,
             "the stream is paused: the ring of %s is full of what no quorum of stores has; the "
             "members say which are missing",
             leader->name);
    warn_of_sequencers(w, p, leader);
    if (leader != NULL && !p->config->is_volatile)
        warn_of_members(w, p, leader);
    for (uint32_t i = 0; i < p->count; i++) {
        const struct process *one = &p->all[i];
        if (!one->answered)
            warn(w, "%s does not answer: %s", one->name, one->problem);
        else if (strcmp(one->status.state, "damaged") == 0)
            warn(w, "%s: its journal is damaged; it does not vote until it is healed from a peer",
                 one->name);
        else if (strcmp(one->status.state, STATUS_RESTORED) == 0)
            warn(w,
                 "%s: its store was restored from an older copy, has forgotten what it said, and "
                 "votes no more: stop it, empty its directory, cantus-retransmitter --format "
                 "--name %s, start it, then: cantus member replace %016" PRIx64 " %s",
                 one->name, one->name, one->status.store, one->name);
        else if (strcmp(one->status.state, "history lost") == 0)
            warn(w, "%s lacks history that no peer has any more; replace its store", one->name);
    }
}

/* ---- printing -------------------------------------------------------------------------------- */

static void print_address(struct port_addr a)
{
    char text[PORT_ADDR_TEXT];
    fputs(port_addr_write(a, text), stdout);
}

static void print_members(struct processes *p, const struct status *s)
{
    for (uint32_t i = 0; i < s->member_count; i++) {
        const struct process *has = processes_store(p, s->members[i].store);
        printf("  member %016" PRIx64 " (%s)  durable %" PRIu64 "%s%s\n", s->members[i].store,
               has != NULL ? has->name : "?", s->members[i].durable_seq,
               s->members[i].current ? "" : "  (not of this epoch)",
               s->members[i].full ? "  DISK FULL" : "");
    }
    if (s->member_count > 0)
        printf("  %" PRIu32 " of %" PRIu32 " stores make a message stable\n", s->quorum,
               s->member_count);
}

static void print_text(struct processes *p, const struct process *a, bool all)
{
    printf("%s  ", a->name);
    print_address(a->address);
    if (!a->answered) {
        printf("  %s\n", a->problem);
        return;
    }
    const struct status *s = &a->status;
    printf("  %s, %s, up %" PRIu64 " s, %" PRIu64 " MiB\n", s->role, s->state,
           s->uptime_ns / 1000000000, s->memory_bytes >> 20);
    printf("  stream %016" PRIx64 "%s%s  epoch %" PRIu32 " from seq %" PRIu64 "  tip %" PRIu64
           "  stable %" PRIu64 "%s\n",
           s->stream, s->session[0] != '\0' ? "  session " : "", s->session, s->epoch.number,
           s->epoch_first_seq, s->tip, s->stable,
           s->is_volatile ? " (volatile: nothing is ever stable)" : "");
    if (s->epochs_used != 0)
        printf("  %" PRIu32 " of %d epochs used\n", s->epochs_used, EPOCH_TABLE_MAX);
    if (s->store != 0)
        printf("  store %016" PRIx64 "\n", s->store);
    if (status_leads(s))
        print_members(p, s);
    if (s->publisher_count != 0)
        printf("  %" PRIu32 " publishers, %" PRIu32 " topics\n", s->publisher_count,
               s->topic_count);
    for (int c = 0; c < COUNTER_END; c++)
        if (all || s->counters[c] != 0)
            printf("    %-22s %12" PRIu64 " %s %s\n", counter_name((enum counter)c), s->counters[c],
                   counter_unit((enum counter)c), counter_help((enum counter)c));
}

static void print_all(struct processes *p, const struct process *leader, const struct warnings *w,
                      bool all)
{
    if (leader != NULL)
        printf("%s leads\n", leader->name);
    for (uint32_t i = 0; i < p->count; i++)
        print_text(p, &p->all[i], all);
    for (uint32_t i = 0; i < w->count; i++)
        printf("warning: %s\n", w->text[i]);
}

static void print_json_status(const struct status *s, bool all)
{
    fputs("\"session\":", stdout);
    cli_json_string(stdout, s->session, strlen(s->session));
    printf(",\"epochs_used\":%" PRIu32 ",\"epochs_max\":%d", s->epochs_used, EPOCH_TABLE_MAX);
    printf(",\"state\":\"%s\",\"epoch\":{\"number\":%" PRIu32 ",\"candidate\":\"%016" PRIx64
           "\",\"first_seq\":%" PRIu64 "},\"tip\":%" PRIu64 ",\"stable\":%" PRIu64
           ",\"volatile\":%s,\"quorum\":%" PRIu32 ",\"members\":[",
           s->state, s->epoch.number, s->epoch.candidate, s->epoch_first_seq, s->tip, s->stable,
           s->is_volatile ? "true" : "false", s->quorum);
    for (uint32_t i = 0; i < s->member_count; i++)
        printf("%s{\"store\":\"%016" PRIx64 "\",\"durable_seq\":%" PRIu64
               ",\"current\":%s,\"full\":%s}",
               i ? "," : "", s->members[i].store, s->members[i].durable_seq,
               s->members[i].current ? "true" : "false", s->members[i].full ? "true" : "false");
    fputs("],\"publishers\":[", stdout);
    uint32_t listed =
        s->publisher_count < STATUS_PUBLISHERS_MAX ? s->publisher_count : STATUS_PUBLISHERS_MAX;
    for (uint32_t i = 0; i < listed; i++) {
        printf("%s{\"id\":%" PRIu32 ",\"identity\":", i ? "," : "", s->publishers[i].id);
        cli_json_string(stdout, s->publishers[i].identity, strlen(s->publishers[i].identity));
        printf(",\"incarnation\":%" PRIu32 ",\"next_number\":%" PRIu64 "}",
               s->publishers[i].incarnation, s->publishers[i].next_number);
    }
    printf("],\"publisher_count\":%" PRIu32 ",\"topic_count\":%" PRIu32 ",\"uptime_ns\":%" PRIu64
           ",\"memory_bytes\":%" PRIu64 ",\"counters\":{",
           s->publisher_count, s->topic_count, s->uptime_ns, s->memory_bytes);
    const char *comma = "";
    for (int c = 0; c < COUNTER_END; c++)
        if (all || s->counters[c] != 0) {
            printf("%s\"%s\":%" PRIu64, comma, counter_name((enum counter)c), s->counters[c]);
            comma = ",";
        }
    putchar('}');
}

static void print_json(const struct processes *p, const struct process *best,
                       const struct process *leader, const struct warnings *w, bool all)
{
    printf("{\"stream\":\"%016" PRIx64 "\",\"leader\":", best->status.stream);
    if (leader != NULL)
        cli_json_string(stdout, leader->name, strlen(leader->name));
    else
        fputs("null", stdout);
    fputs(",\"warnings\":[", stdout);
    for (uint32_t i = 0; i < w->count; i++) {
        fputs(i ? "," : "", stdout);
        cli_json_string(stdout, w->text[i], strlen(w->text[i]));
    }
    fputs("],", stdout);
    print_json_status(&best->status, all);
    fputs(",\"processes\":[", stdout);
    for (uint32_t i = 0; i < p->count; i++) {
        const struct process *one = &p->all[i];
        printf("%s{\"name\":", i ? "," : "");
        cli_json_string(stdout, one->name, strlen(one->name));
        fputs(",\"address\":\"", stdout);
        print_address(one->address);
        putchar('"');
        if (one->answered) {
            printf(",\"role\":\"%s\",\"store\":\"%016" PRIx64 "\",", one->status.role,
                   one->status.store);
            print_json_status(&one->status, all);
        } else {
            fputs(",\"problem\":", stdout);
            cli_json_string(stdout, one->problem, strlen(one->problem));
        }
        putchar('}');
    }
    fputs("]}\n", stdout);
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct status_arguments a = { 0 };
    int operand = cli_options(&verb_status, &g, argc, argv, options, parse, &a);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (g.dir == NULL || operand < argc) {
        cli_fail("status wants --dir DIR and nothing else");
        return CLI_USAGE;
    }
    static struct config config;
    static struct warnings warnings;
    if (!deployment_config(g.dir, &config))
        return CLI_FAILED;
    struct processes *p = processes_create(&config);
    if (p == NULL)
        return cli_fail("out of memory");
    processes_ask(p);
    const struct process *leader = processes_leader(p), *best = leader;
    for (uint32_t i = 0; best == NULL && i < p->count; i++)
        if (p->all[i].answered)
            best = &p->all[i];
    find_warnings(&warnings, p);
    if (a.json && best != NULL)
        print_json(p, best, leader, &warnings, a.all);
    else if (!a.json)
        print_all(p, leader, &warnings, a.all);
    int status = best != NULL
                     ? CLI_OK
                     : cli_fail("no process of %s answers; start it with: cantus dev --dir %s",
                                g.dir, g.dir);
    processes_destroy(p);
    return status;
}

const struct cli_verb verb_status = { "status", "ask a deployment what it is doing", help, run };
