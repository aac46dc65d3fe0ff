#include "cli/cli.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "cli/deployment.h"
#include "proto/replay.h"

static const char help[] =
    "usage: cantus --dir DIR status [--json] [--all]\n"
    "\n"
    "Asks each process of a deployment what it is doing: state, epoch, tip, stable, members,\n"
    "publishers, and the counters that are not zero. Exit status 1 if none answers.\n"
    "\n"
    "  --json  one object: stream, session, epoch, tip, stable, members, publishers, counters, and the\n"
    "          answer of every process under `processes`\n"
    "  --all   counters that are zero, too\n";

enum { OPTION_JSON, OPTION_ALL };
static const struct option options[] = {
    { "json", no_argument, NULL, OPTION_JSON },
    { "all", no_argument, NULL, OPTION_ALL },
    { 0 },
};

struct asked {
    char name[48];
    struct port_addr address;
    bool answered;
    char problem[128];
    struct status status;
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

/* ---- asking ------------------------------------------------------------------------------------ */

static bool read_answer(int fd, struct asked *a)
{
    static uint8_t bytes[REPLAY_FRAME_MAX + REPLAY_FRAME_HEADER];
    size_t have = 0;
    for (;;) {
        ssize_t n = recv(fd, bytes + have, sizeof bytes - have, 0);
        if (n <= 0) {
            snprintf(a->problem, sizeof a->problem, "%s",
                     n == 0 ? "closed the connection" : "no answer within 2 s");
            return false;
        }
        have += (size_t)n;
        enum replay_type type;
        size_t whole = replay_frame_peek(bytes, have, &type);
        if (whole == 0)
            continue;
        if (whole == SIZE_MAX || type != REPLAY_STATUS ||
            !status_decode(bytes + REPLAY_FRAME_HEADER, whole - REPLAY_FRAME_HEADER, &a->status)) {
            snprintf(a->problem, sizeof a->problem, "answered with something else; not Cantus?");
            return false;
        }
        return true;
    }
}

static void ask(struct asked *a)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(a->address.port),
                              .sin_addr.s_addr = htonl(a->address.ip) };
    struct timeval patience = { .tv_sec = 2 };
    uint8_t request[REPLAY_FRAME_HEADER];
    size_t length = replay_frame_encode(REPLAY_STATUS_REQUEST, NULL, 0, request, sizeof request);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0 ||
        send(fd, request, length, MSG_NOSIGNAL) != (ssize_t)length)
        snprintf(a->problem, sizeof a->problem, "%s",
                 errno == ECONNREFUSED ? "not running" : strerror(errno));
    else
        a->answered = read_answer(fd, a);
    if (fd >= 0)
        close(fd);
}

static uint32_t ask_all(const struct config *config, struct asked *all)
{
    uint32_t n = 0;
    all[n].address = config->sequencer.unicast;
    all[n].address.port = config->sequencer.stream_port;
    snprintf(all[n++].name, sizeof all[0].name, "sequencer");
    for (uint32_t i = 0; i < config->retransmitter_count; i++, n++) {
        all[n].address = config->retransmitters[i].unicast;
        all[n].address.port = config->retransmitters[i].stream_port;
        snprintf(all[n].name, sizeof all[n].name, "%s", config->retransmitters[i].name);
    }
    for (uint32_t i = 0; i < n; i++)
        ask(&all[i]);
    return n;
}

/* ---- printing ---------------------------------------------------------------------------------- */

static void print_address(struct port_addr a)
{
    printf("%u.%u.%u.%u:%u", a.ip >> 24, a.ip >> 16 & 255, a.ip >> 8 & 255, a.ip & 255, a.port);
}

static void print_text(const struct asked *a, bool all)
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
    printf("  stream %016" PRIx64 "  session %s  epoch %" PRIu32 " from seq %" PRIu64
           "  tip %" PRIu64 "  stable %" PRIu64 "%s\n",
           s->stream, s->session, s->epoch.number, s->epoch_first_seq, s->tip, s->stable,
           s->is_volatile ? " (volatile: nothing is ever stable)" : "");
    if (s->store != 0)
        printf("  store %016" PRIx64 "\n", s->store);
    for (uint32_t i = 0; i < s->member_count; i++)
        printf("  member %016" PRIx64 "  durable %" PRIu64 "%s%s\n", s->members[i].store,
               s->members[i].durable_seq, s->members[i].current ? "" : "  (not of this epoch)",
               s->members[i].full ? "  DISK FULL" : "");
    if (s->publisher_count != 0)
        printf("  %" PRIu32 " publishers, %" PRIu32 " topics\n", s->publisher_count,
               s->topic_count);
    for (int c = 0; c < COUNTER_END; c++)
        if (all || s->counters[c] != 0)
            printf("    %-22s %12" PRIu64 " %s %s\n", counter_name((enum counter)c),
                   s->counters[c], counter_unit((enum counter)c), counter_help((enum counter)c));
}

static void print_json_status(const struct status *s, bool all)
{
    fputs("\"session\":", stdout);
    cli_json_string(stdout, s->session, strlen(s->session));
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
    uint32_t listed = s->publisher_count < STATUS_PUBLISHERS_MAX ? s->publisher_count
                                                                 : STATUS_PUBLISHERS_MAX;
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

static void print_json(const struct asked *asked, uint32_t count, const struct asked *best,
                       bool all)
{
    printf("{\"stream\":\"%016" PRIx64 "\",", best->status.stream);
    print_json_status(&best->status, all);
    fputs(",\"processes\":[", stdout);
    for (uint32_t i = 0; i < count; i++) {
        printf("%s{\"name\":", i ? "," : "");
        cli_json_string(stdout, asked[i].name, strlen(asked[i].name));
        fputs(",\"address\":\"", stdout);
        print_address(asked[i].address);
        putchar('"');
        if (asked[i].answered) {
            printf(",\"role\":\"%s\",\"store\":\"%016" PRIx64 "\",", asked[i].status.role,
                   asked[i].status.store);
            print_json_status(&asked[i].status, all);
        } else {
            fputs(",\"problem\":", stdout);
            cli_json_string(stdout, asked[i].problem, strlen(asked[i].problem));
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
    static struct asked asked[CONFIG_RETRANSMITTERS_MAX + 1];
    if (!deployment_config(g.dir, &config))
        return CLI_FAILED;
    uint32_t count = ask_all(&config, asked);
    const struct asked *best = NULL;
    for (uint32_t i = count; i-- > 0;)
        if (asked[i].answered)
            best = &asked[i];
    if (a.json && best != NULL)
        print_json(asked, count, best, a.all);
    else if (!a.json)
        for (uint32_t i = 0; i < count; i++)
            print_text(&asked[i], a.all);
    if (best == NULL)
        return cli_fail("no process of %s answers; start it with: cantus dev --dir %s", g.dir,
                        g.dir);
    return CLI_OK;
}

const struct cli_verb verb_status = { "status", "ask a deployment what it is doing", help, run };
