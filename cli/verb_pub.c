#include "cli/cli.h"

#include <cantus/cantus.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/patience.h"

static const char help[] =
    "usage: cantus --dir DIR pub TOPIC [PAYLOAD | -] [--publisher NAME] [--sequenced] [--json]\n"
    "                  [--timeout SECONDS]\n"
    "\n"
    "Publishes one message, or with - each line of standard input, and waits until the stream has\n"
    "it. The outcome is read from the stream: exit status 0 means that every message is there, once.\n"
    "\n"
    "  --publisher NAME  continue that publisher's numbers (default: one of cli-0 .. cli-63)\n"
    "  --sequenced       wait until sequenced only, not until stable\n"
    "  --json            print one object at the end: publisher, messages, rejected, last_seq\n" PATIENCE_HELP
        CLI_PROXY_HELP;

enum { OPTION_PUBLISHER, OPTION_SEQUENCED, OPTION_JSON, OPTION_TIMEOUT, LINE_MAX_BYTES = 1 << 20 };
#define POLL_NS UINT64_C(100000000)

static const struct option options[] = {
    { "publisher", required_argument, NULL, OPTION_PUBLISHER },
    { "sequenced", no_argument, NULL, OPTION_SEQUENCED },
    { "json", no_argument, NULL, OPTION_JSON },
    { "timeout", required_argument, NULL, OPTION_TIMEOUT },
    { 0 },
};

struct pub {
    const char *topic, *payload, *publisher;
    bool sequenced, json, lines, failed;
    struct cantus_client *client;
    struct cantus_pipe *pipe;
    uint64_t first_item, pushed;
    struct patience patience;
};

static bool parse(void *ctx, int option, const char *value)
{
    struct pub *p = ctx;
    if (option == OPTION_TIMEOUT)
        return patience_parse(&p->patience, value);
    if (option == OPTION_PUBLISHER)
        p->publisher = value;
    else if (option == OPTION_SEQUENCED)
        p->sequenced = true;
    else
        p->json = true;
    return true;
}

static void on_report(void *ctx, const struct cantus_report *r)
{
    struct pub *p = ctx;
    cli_say(r->text);
    if (r->kind == CANTUS_REPORT_REJECTED)
        p->failed = true;
}

static bool poll_once(struct pub *p, uint64_t timeout_ns)
{
    if (!cli_running()) {
        cli_fail("interrupted; %" PRIu64 " of %" PRIu64 " messages are known to be in the stream",
                 cantus_pipe_sequenced(p->pipe) - p->first_item, p->pushed);
        return false;
    }
    enum cantus_status status = cantus_client_poll(p->client, timeout_ns);
    if (status == CANTUS_OK)
        return true;
    cli_fail("%s", cantus_client_error(p->client));
    return false;
}

/* Its publisher has joined; polls for what else it lacks. */
static bool wait_for_outcomes(struct pub *p)
{
    uint64_t sequenced = cantus_pipe_sequenced(p->pipe) - p->first_item;
    char what[100];
    snprintf(what, sizeof what, "the outcome of %" PRIu64 " of %" PRIu64 " messages",
             p->pushed - sequenced, p->pushed);
    if (p->pushed == sequenced)
        snprintf(what, sizeof what, "room for a message");
    return patience_lasts(&p->patience, what, p->pushed + sequenced) && poll_once(p, POLL_NS);
}

static bool wait_for_join(struct pub *p)
{
    char what[128];
    snprintf(what, sizeof what, "the stream to let publisher \"%.64s\" in", p->publisher);
    return patience_lasts(&p->patience, what, cantus_client_seq(p->client)) &&
           poll_once(p, POLL_NS);
}

static bool push(struct pub *p, const char *payload, size_t length)
{
    patience_renew(&p->patience);
    while (!cantus_pipe_push(p->pipe, p->topic, payload, length))
        if (p->failed || !wait_for_outcomes(p))
            return false;
    p->pushed++;
    return true;
}

/* ---- lines of standard input ----------------------------------------------------------------- */

struct lines {
    char bytes[LINE_MAX_BYTES + 1];
    size_t used;
    bool ended;
};

/* Waits for more input, and keeps the client going meanwhile: what was pushed travels while the
 * next line is still being thought of. */
static bool read_more(struct pub *p, struct lines *in)
{
    for (;;) {
        struct pollfd fds[] = { { .fd = STDIN_FILENO, .events = POLLIN },
                                { .fd = cantus_client_fd(p->client), .events = POLLIN } };
        uint64_t wait_ns = cantus_client_timeout_ns(p->client);
        if (wait_ns > POLL_NS)
            wait_ns = POLL_NS;
        if (poll(fds, 2, (int)((wait_ns + 999999) / 1000000)) > 0 && fds[0].revents != 0) {
            ssize_t n = read(STDIN_FILENO, in->bytes + in->used, sizeof in->bytes - in->used);
            in->ended = n <= 0 && !(n < 0 && errno == EINTR);
            in->used += n > 0 ? (size_t)n : 0;
            return true;
        }
        if (!poll_once(p, 0))
            return false;
    }
}

/* Pushes the whole lines there are; at the end of the input also what is left without a newline. */
static bool push_read(struct pub *p, struct lines *in)
{
    size_t at = 0;
    for (char *end; (end = memchr(in->bytes + at, '\n', in->used - at)) != NULL;) {
        size_t length = (size_t)(end - in->bytes) - at;
        if (!push(p, in->bytes + at, length))
            return false;
        at += length + 1;
    }
    if (in->ended && at < in->used && !push(p, in->bytes + at, in->used - at))
        return false;
    in->used -= at;
    memmove(in->bytes, in->bytes + at, in->used);
    if (in->used < sizeof in->bytes || in->ended)
        return true;
    cli_fail("line %" PRIu64 " is longer than the %d bytes that a message may have", p->pushed + 1,
             LINE_MAX_BYTES);
    return false;
}

static bool push_lines(struct pub *p)
{
    struct lines *in = calloc(1, sizeof *in);
    if (in == NULL) {
        cli_fail("out of memory");
        return false;
    }
    bool fine = true;
    while (fine && !in->ended)
        fine = read_more(p, in) && push_read(p, in);
    free(in);
    return fine;
}

static int publish(struct pub *p)
{
    while (!cantus_pipe_ready(p->pipe))
        if (!wait_for_join(p))
            return CLI_FAILED;
    p->first_item = cantus_pipe_sequenced(p->pipe);
    bool fine = p->lines ? push_lines(p) : push(p, p->payload, strlen(p->payload));
    struct cli_progress progress = { .what = "publishing" };
    patience_renew(&p->patience);
    while (fine && cantus_pipe_sequenced(p->pipe) < p->first_item + p->pushed) {
        fine = wait_for_outcomes(p);
        if (p->lines)
            cli_progress_show(&progress, cantus_pipe_sequenced(p->pipe) - p->first_item, p->pushed);
    }
    cli_progress_end(&progress);
    if (!fine)
        return CLI_FAILED;
    uint64_t rejected = cantus_pipe_rejected(p->pipe), last_seq = cantus_pipe_last_seq(p->pipe);
    if (p->json) {
        fputs("{\"publisher\":", stdout);
        cli_json_string(stdout, p->publisher, strlen(p->publisher));
        printf(",\"messages\":%" PRIu64 ",\"rejected\":%" PRIu64 ",\"last_seq\":%" PRIu64 "}\n",
               p->pushed - rejected, rejected, last_seq);
    } else if (p->pushed == 1 && rejected == 0)
        printf("%" PRIu64 "\n", last_seq);
    else
        printf("%" PRIu64 " messages, last seq %" PRIu64 "\n", p->pushed - rejected, last_seq);
    return rejected == 0 ? CLI_OK : CLI_FAILED;
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    char fallback[32];
    snprintf(fallback, sizeof fallback, "cli-%d", (int)getpid() % 64);
    struct pub p = { .publisher = fallback };
    int operand = cli_options(&verb_pub, &g, argc, argv, options, parse, &p);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (!cli_where(&verb_pub, &g))
        return CLI_USAGE;
    if (argc - operand < 1 || argc - operand > 2) {
        cli_fail("pub wants TOPIC and at most one PAYLOAD");
        return CLI_USAGE;
    }
    p.topic = argv[operand];
    p.payload = argc - operand == 2 ? argv[operand + 1] : "";
    p.lines = strcmp(p.payload, "-") == 0;
    char error[CANTUS_ERROR_MAX], source[CLI_SOURCE_MAX];
    struct cantus_client_options client_options = {
        .name = "cantus-pub",
        .source = cli_source(&g, source),
        .key_file = g.key_file,
        .ca_file = g.ca_file,
        .level = p.sequenced ? CANTUS_SEQUENCED : CANTUS_STABLE,
        .report = on_report,
        .ctx = &p,
    };
    p.client = cantus_client_open(&client_options, error);
    if (p.client == NULL)
        return cli_fail("%s", error);
    cli_catch_signals();
    p.pipe = cantus_pipe_open(p.client, p.publisher, error);
    int status = p.pipe != NULL ? publish(&p) : cli_fail("%s", error);
    cantus_client_close(p.client);
    return status;
}

const struct cli_verb verb_pub = { "pub", "publish a message, or lines of standard input", help,
                                   run };
