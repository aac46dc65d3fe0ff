#include "cli/cli.h"

#include <cantus/cantus.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "cli/patience.h"

static const char help[] =
    "usage: cantus --dir DIR sub TOPIC [--from SEQ|TIME|tip] [--count N] [--follow] [--sequenced]\n"
    "                  [--json] [--timeout SECONDS]\n"
    "\n"
    "Prints the messages of a subtree, in the one order. TOPIC is a topic or a subtree such as\n"
    "/md; / is everything but /sys.\n"
    "\n"
    "  --from SEQ     begin at this seq (default 1); or at a time, written as it is printed, such as\n"
    "                 2026-11-22T09:30:00Z; or at the tip: with what comes from now on. Of what is\n"
    "                 before a time or the tip a proxy sends nothing\n"
    "  --count N      end after N messages\n"
    "  --follow       go on with what comes; without it, end at the stable tip as it is now\n"
    "  --sequenced    print what is sequenced but not yet stable, too; a failover may take it back,\n"
    "                 which is then said on standard error\n"
    "  --json         one object a line: seq, timestamp_ns, topic, publisher, publisher_seq, and\n"
    "                 payload, or payload_base64 where it is not text\n" PATIENCE_HELP
        CLI_PROXY_HELP;

struct sub {
    uint64_t from, from_ns, count, printed;
    bool from_tip;
    bool follow, sequenced, json, bounded;
    struct patience patience;
};

enum { OPTION_FROM, OPTION_COUNT, OPTION_FOLLOW, OPTION_SEQUENCED, OPTION_JSON, OPTION_TIMEOUT };
static const struct option options[] = {
    { "from", required_argument, NULL, OPTION_FROM },
    { "count", required_argument, NULL, OPTION_COUNT },
    { "follow", no_argument, NULL, OPTION_FOLLOW },
    { "sequenced", no_argument, NULL, OPTION_SEQUENCED },
    { "json", no_argument, NULL, OPTION_JSON },
    { "timeout", required_argument, NULL, OPTION_TIMEOUT },
    { 0 },
};

static bool parse_from(struct sub *s, const char *value)
{
    struct tm parts = { 0 };
    s->from_tip = strcmp(value, "tip") == 0;
    if (s->from_tip)
        return true;
    const char *rest = strptime(value, "%Y-%m-%dT%H:%M:%S", &parts);
    if (rest == NULL)
        return cli_parse_u64("--from", value, 1, UINT64_MAX, &s->from);
    uint64_t ns = 0, unit = 100000000;
    if (*rest == '.')
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
            ns += (uint64_t)(*rest - '0') * unit;
    time_t seconds = timegm(&parts);
    if (strcmp(rest, "Z") != 0 || seconds < 0) {
        cli_fail("--from wants a time such as 2026-11-22T09:30:00.5Z, in UTC, not '%s'", value);
        return false;
    }
    s->from_ns = (uint64_t)seconds * 1000000000 + ns;
    return true;
}

static bool parse(void *ctx, int option, const char *value)
{
    struct sub *s = ctx;
    switch (option) {
    case OPTION_FROM:
        return parse_from(s, value);
    case OPTION_COUNT:
        s->bounded = true;
        return cli_parse_u64("--count", value, 0, UINT64_MAX, &s->count);
    case OPTION_TIMEOUT:
        return patience_parse(&s->patience, value);
    case OPTION_FOLLOW:
        return s->follow = true;
    case OPTION_SEQUENCED:
        return s->sequenced = true;
    default:
        return s->json = true;
    }
}

static void print_json(const struct cantus_message *m)
{
    printf("{\"seq\":%" PRIu64 ",\"timestamp_ns\":%" PRIu64 ",\"topic\":", m->seq, m->timestamp_ns);
    cli_json_string(stdout, m->topic, strlen(m->topic));
    fputs(",\"publisher\":", stdout);
    cli_json_string(stdout, m->publisher, strlen(m->publisher));
    printf(",\"publisher_seq\":%" PRIu64 ",", m->publisher_seq);
    if (cli_is_text(m->payload, m->length)) {
        fputs("\"payload\":", stdout);
        cli_json_string(stdout, m->payload, m->length);
    } else {
        fputs("\"payload_base64\":\"", stdout);
        cli_base64(stdout, m->payload, m->length);
        fputc('"', stdout);
    }
    fputs("}\n", stdout);
}

static void print_text(const struct cantus_message *m)
{
    time_t seconds = (time_t)(m->timestamp_ns / 1000000000);
    struct tm parts;
    char when[32];
    gmtime_r(&seconds, &parts);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &parts);
    printf("%" PRIu64 " %s.%06uZ %s ", m->seq, when,
           (unsigned)(m->timestamp_ns % 1000000000 / 1000), m->topic);
    if (cli_is_line(m->payload, m->length))
        fwrite(m->payload, 1, m->length, stdout);
    else
        for (size_t i = 0; i < m->length; i++)
            printf("%02x", ((const uint8_t *)m->payload)[i]);
    fputc('\n', stdout);
}

static bool is_done(const struct sub *s)
{
    return s->bounded && s->printed >= s->count;
}

static void on_message(void *ctx, const struct cantus_message *m)
{
    struct sub *s = ctx;
    if (m->seq < s->from || is_done(s))
        return;
    s->printed++;
    if (s->json)
        print_json(m);
    else
        print_text(m);
}

static void on_report(void *ctx, const struct cantus_report *r)
{
    (void)ctx;
    if (r->kind == CANTUS_REPORT_SUBSCRIBED)
        return;
    fflush(stdout);
    cli_say(r->text);
}

static int follow(struct sub *s, struct cantus_client *client)
{
    bool failed = false;
    while (cli_running() && !failed && !is_done(s) && !ferror(stdout)) {
        enum cantus_status status = cantus_client_poll(client, 100 * 1000 * 1000);
        if (s->follow)
            fflush(stdout);
        if (status == CANTUS_END)
            break;
        if (status != CANTUS_OK)
            return cli_fail("%s", cantus_client_error(client));
        bool caught_up = cantus_client_caught_up(client);
        if (!s->follow && caught_up)
            break;
        if (caught_up)
            patience_renew(&s->patience);
        else if (!patience_lasts(&s->patience, "what there is of the stream",
                                 cantus_client_seq(client)))
            failed = true;
    }
    fflush(stdout);
    return failed || ferror(stdout) ? CLI_FAILED : CLI_OK;
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct sub s = { .from = 1 };
    int operand = cli_options(&verb_sub, &g, argc, argv, options, parse, &s);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (!cli_where(&verb_sub, &g))
        return CLI_USAGE;
    if (argc - operand != 1) {
        cli_fail("sub wants one TOPIC");
        return CLI_USAGE;
    }
    char error[CANTUS_ERROR_MAX], source[CLI_SOURCE_MAX];
    struct cantus_client_options client_options = {
        .name = "cantus-sub",
        .source = cli_source(&g, source),
        .key_file = g.key_file,
        .ca_file = g.ca_file,
        .level = s.sequenced ? CANTUS_SEQUENCED : CANTUS_STABLE,
        .report = on_report,
        .from = s.from_tip       ? CANTUS_FROM_TIP
                : s.from_ns != 0 ? CANTUS_FROM_TIME
                                 : CANTUS_FROM_BEGINNING,
        .from_ns = s.from_ns,
    };
    struct cantus_client *client = cantus_client_open(&client_options, error);
    if (client == NULL)
        return cli_fail("%s", error);
    cli_catch_signals();
    int status = cantus_client_subscribe(client, argv[operand], on_message, &s, error)
                     ? follow(&s, client)
                     : cli_fail("%s", error);
    cantus_client_close(client);
    return status;
}

const struct cli_verb verb_sub = { "sub", "print the messages of a topic or subtree", help, run };
