#include "cli/cli.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "cli/ask.h"
#include "cli/deployment.h"
#include "cli/examine.h"

static const char help[] =
    "usage: cantus [--dir DIR] doctor [HOST] [--json]\n"
    "\n"
    "Looks at whether this machine is fit for Cantus, and says of each thing what it found, why it\n"
    "matters, and the command that mends it: socket buffers, interface, MTU, multicast (one datagram\n"
    "is sent and received), bridges, clock source and skew, cores, power, limits, and for each store\n"
    "here the disk's room and what one synced append takes (24 of 4 KiB, to a file that is removed).\n"
    "\n"
    "With --dir it looks at what that deployment needs, of the processes that are on this machine, and\n"
    "at the clocks of those that run. Without, at what any deployment needs. Changes nothing, and\n"
    "needs no rights. Exit status 1 if something is bad; warnings are 0.\n"
    "\n"
    "  HOST    this machine's address (a.b.c.d), if it has several: the processes with it are here\n"
    "  --json  one object a line for each check: check, verdict, found, why, mend\n";

enum { OPTION_JSON };
static const struct option options[] = {
    { "json", no_argument, NULL, OPTION_JSON },
    { 0 },
};

static bool parse(void *ctx, int option, const char *value)
{
    (void)option;
    (void)value;
    *(bool *)ctx = true;
    return true;
}

static uint64_t wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Each by itself, so that nobody's silence is taken for another's skew. */
static uint32_t find_skews(struct processes *p, struct examine_skew *skews)
{
    static struct ask ask;
    static struct status status;
    uint32_t count = 0;
    processes_ask(p);
    for (uint32_t i = 0; i < p->count; i++) {
        if (!p->all[i].answered || p->all[i].kind == PROCESS_PROXY) /* its clock stamps nothing */
            continue;
        uint64_t before = wall_ns();
        ask_for_status(&ask, p->all[i].address);
        ask_run(&ask, 1, ASK_TIMEOUT_NS);
        uint64_t after = wall_ns();
        if (!ask.answered || !status_decode(ask.body, ask.length, &status) ||
            status.clock_ns == 0 || after < before)
            continue;
        struct examine_skew *s = &skews[count++];
        memcpy(s->name, p->all[i].name, sizeof s->name);
        s->uncertain_ns = (after - before) / 2;
        bool restored = strcmp(status.state, STATUS_RESTORED) == 0;
        s->restored = restored ? status.store : 0;
        s->skew_ns = (int64_t)(status.clock_ns - before - s->uncertain_ns);
    }
    return count;
}

static void print_text(const struct findings *found)
{
    for (uint32_t i = 0; i < found->count; i++) {
        const struct finding *f = &found->all[i];
        printf("%-4s  %-18s  %s\n", examine_verdict_name(f->verdict), f->check, f->found);
        if (f->verdict != EXAMINE_OK)
            printf("      why:  %s\n      mend: %s\n", f->why, f->mend);
    }
}

static void print_json(const struct findings *found)
{
    for (uint32_t i = 0; i < found->count; i++) {
        const struct finding *f = &found->all[i];
        const struct {
            const char *key, *text;
        } pairs[] = { { "check", f->check },
                      { "verdict", examine_verdict_name(f->verdict) },
                      { "found", f->found },
                      { "why", f->why },
                      { "mend", f->mend } };
        for (size_t k = 0; k < sizeof pairs / sizeof pairs[0]; k++) {
            printf("%c\"%s\":", k == 0 ? '{' : ',', pairs[k].key);
            cli_json_string(stdout, pairs[k].text, strlen(pairs[k].text));
        }
        puts("}");
    }
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    bool json = false;
    int operand = cli_options(&verb_doctor, &g, argc, argv, options, parse, &json);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    struct in_addr host = { 0 };
    if (argc - operand > 1 || (operand < argc && inet_pton(AF_INET, argv[operand], &host) != 1)) {
        cli_fail("doctor wants one address of this machine (a.b.c.d) at most");
        return CLI_USAGE;
    }
    static struct config config;
    static struct findings found;
    static struct examine_skew skews[CONFIG_PROCESSES_MAX];
    struct machine machine = machine_real();
    struct examine what = { .machine = &machine, .host = ntohl(host.s_addr), .skews = skews };
    if (g.dir != NULL) {
        if (!deployment_config(g.dir, &config))
            return CLI_FAILED;
        struct processes *p = processes_create(&config);
        if (p == NULL)
            return cli_fail("out of memory");
        what.config = &config;
        what.skew_count = find_skews(p, skews);
        processes_destroy(p);
    }
    examine(&what, &found);
    if (json)
        print_json(&found);
    else
        print_text(&found);
    return examine_worst(&found) == EXAMINE_BAD ? CLI_FAILED : CLI_OK;
}

const struct cli_verb verb_doctor = { "doctor", "is this machine fit for Cantus?", help, run };
