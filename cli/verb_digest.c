#include "cli/cli.h"

#include <cantus/cantus.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/app_library.h"
#include "cli/digest_monitor.h"
#include "cli/digest_replay.h"

static const char help[] =
    "usage: cantus --dir DIR digest APPNAME [--follow] [--json]\n"
    "                               [--bisect A.so B.so [--config TEXT]]\n"
    "\n"
    "Compares what replicas of an app publish of their states (cantus_client_publish_digests), at\n"
    "equal positions. Of each position it prints how many agree; at the first where they don't,\n"
    "who says what, and ends with exit status 1. Digests of different logic versions are not\n"
    "compared. DIR may also be journal:DIR, a store's files.\n"
    "\n"
    "  --follow           go on with what comes; without it, end at the stable tip as it is now\n"
    "  --bisect A.so B.so then run these two builds of the app side by side, through the position\n"
    "                     of the mismatch or else to the tip, and print the first message after\n"
    "                     which their digests differ (a timer that fires before it counts as its\n"
    "                     doing). They export `const struct cantus_app cantus_app_v1`. Exit status\n"
    "                     1 if they differ\n"
    "  --config TEXT      their configuration\n"
    "  --json             one object a line\n";

enum { POLL_NS = 100 * 1000 * 1000 };
#define OTHERS_NS UINT64_C(1000000000) /* that a mismatch waits for who has not spoken yet */

struct comparison {
    bool follow, json;
    int argc;
    char **argv;
    const char *source, *app_name, *config, *paths[2];
    uint64_t malformed;
    uint64_t said;
    struct digest_monitor *monitor;
};

enum { OPTION_FOLLOW, OPTION_JSON, OPTION_BISECT, OPTION_CONFIG };
static const struct option options[] = {
    { "follow", no_argument, NULL, OPTION_FOLLOW },
    { "json", no_argument, NULL, OPTION_JSON },
    { "bisect", required_argument, NULL, OPTION_BISECT },
    { "config", required_argument, NULL, OPTION_CONFIG },
    { 0 },
};

static bool parse(void *ctx, int option, const char *value)
{
    struct comparison *c = ctx;
    switch (option) {
    case OPTION_FOLLOW:
        return c->follow = true;
    case OPTION_JSON:
        return c->json = true;
    case OPTION_CONFIG:
        c->config = value;
        return true;
    default:
        break;
    }
    if (optind >= c->argc || c->argv[optind][0] == '-') {
        cli_fail("--bisect wants two libraries");
        return false;
    }
    c->paths[0] = value;
    c->paths[1] = c->argv[optind++];
    return true;
}

/* ---- printing -------------------------------------------------------------------------------- */

static void print_members(const struct digest_monitor *m, const struct digest_point *p, int group,
                          bool json)
{
    const char *between = "";
    for (uint32_t i = 0; i < p->count; i++) {
        const char *name = m->replicas[p->statements[i].replica];
        if (!digest_same_group(&p->statements[i], &p->statements[group]))
            continue;
        fputs(between, stdout);
        if (json)
            cli_json_string(stdout, name, strlen(name));
        else
            fputs(name, stdout);
        between = json ? "," : ", ";
    }
}

static void print_point_json(const struct digest_monitor *m, const struct digest_point *p)
{
    printf("{\"seq\":%" PRIu64 ",\"epoch\":%" PRIu32 ",\"agree\":%s,\"groups\":[", p->position.seq,
           p->position.epoch.number, digest_point_differs(p) ? "false" : "true");
    for (int g = digest_group_next(p, -1); g >= 0; g = digest_group_next(p, g)) {
        const struct digest_statement *s = &p->statements[g];
        printf("%s{\"digest\":\"%016" PRIx64 "\",\"logic_version\":%" PRIu32
               ",\"skips\":\"%016" PRIx64 "\",\"majority\":%s,\"replicas\":[",
               g == 0 ? "" : ",", s->digest, s->logic_version, s->skips,
               digest_group_is_majority(p, g) ? "true" : "false");
        print_members(m, p, g, true);
        fputs("]}", stdout);
    }
    puts("]}");
}

static void print_point(const struct digest_monitor *m, const struct digest_point *p)
{
    bool differs = digest_point_differs(p);
    printf("seq %" PRIu64 " epoch %" PRIu32 ": %s", p->position.seq, p->position.epoch.number,
           differs ? "MISMATCH\n" : "");
    for (int g = digest_group_next(p, -1); g >= 0; g = digest_group_next(p, g)) {
        const struct digest_statement *s = &p->statements[g];
        uint32_t size = digest_group_size(p, g);
        printf("%s%" PRIu32 " %s %016" PRIx64 " (",
               differs  ? "  "
               : g == 0 ? ""
                        : "; ",
               size,
               differs     ? size == 1 ? "says" : "say"
               : size == 1 ? "alone says"
                           : "agree on",
               s->digest);
        print_members(m, p, g, false);
        printf("; logic version %" PRIu32 ")", s->logic_version);
        if (differs)
            puts(digest_group_is_majority(p, g) ? ", the majority" : "");
    }
    if (!differs)
        putchar('\n');
}

static void show(void *ctx, const struct digest_monitor *m, const struct digest_point *p)
{
    const struct comparison *c = ctx;
    if (digest_point_differs(p))
        return; /* in the end, with all that is said of it */
    if (c->json)
        print_point_json(m, p);
    else
        print_point(m, p);
}

static void print_payload(const struct cantus_message *m, bool json)
{
    bool text = cli_is_text(m->payload, m->length);
    if (json) {
        fputs(text ? ",\"payload\":" : ",\"payload_base64\":", stdout);
        if (text) {
            cli_json_string(stdout, m->payload, m->length);
            return;
        }
        putchar('"');
    }
    if (cli_is_line(m->payload, m->length))
        fwrite(m->payload, 1, m->length, stdout);
    else
        cli_base64(stdout, m->payload, m->length);
    fputs(json ? "\"" : text ? "\n" : " (base64)\n", stdout);
}

static void print_replay_json(const struct digest_replay *r)
{
    const struct cantus_message *m = &r->message;
    printf("{\"bisect\":\"%s\",\"equal_through\":%" PRIu64 ",\"digest_a\":\"%016" PRIx64
           "\",\"digest_b\":\"%016" PRIx64 "\"",
           r->differ ? "differ" : "equal", r->equal_through, r->digest_a, r->digest_b);
    if (r->differ && m->seq != 0) {
        printf(",\"seq\":%" PRIu64 ",\"timestamp_ns\":%" PRIu64 ",\"topic\":", m->seq,
               m->timestamp_ns);
        cli_json_string(stdout, m->topic, strlen(m->topic));
        fputs(",\"publisher\":", stdout);
        cli_json_string(stdout, m->publisher, strlen(m->publisher));
        printf(",\"publisher_seq\":%" PRIu64, m->publisher_seq);
        print_payload(m, true);
    }
    puts("}");
}

static void print_replay(const struct digest_replay *r)
{
    const struct cantus_message *m = &r->message;
    if (!r->differ) {
        printf("the two builds are equal through seq %" PRIu64 ", digest %016" PRIx64 "\n",
               r->equal_through, r->digest_a);
    } else if (m->seq == 0) {
        printf("the two builds differ before the first message: %016" PRIx64 " and %016" PRIx64
               "\n",
               r->digest_a, r->digest_b);
    } else {
        printf("the two builds differ after seq %" PRIu64 ", and before it did not: %016" PRIx64
               " and %016" PRIx64 "\n%" PRIu64 " %" PRIu64 " %s %s %" PRIu64 " ",
               m->seq, r->digest_a, r->digest_b, m->seq, m->timestamp_ns, m->topic,
               *m->publisher != 0 ? m->publisher : "-", m->publisher_seq);
        print_payload(m, false);
    }
}

/* ---- following ------------------------------------------------------------------------------- */

static void on_message(void *ctx, const struct cantus_message *m)
{
    struct comparison *c = ctx;
    struct sys_digest said;
    if (strcmp(m->topic + sizeof SYS_DIGEST_ROOT, c->app_name) != 0)
        return; /* of an app whose name goes on with a slash */
    if (!sys_digest_decode(m->payload, m->length, &said)) {
        c->malformed++;
        return;
    }
    c->said++;
    digest_monitor_add(c->monitor, m->publisher, &said);
}

static void on_report(void *ctx, const struct cantus_report *r)
{
    (void)ctx;
    fflush(stdout);
    fprintf(stderr, "cantus: %s\n", r->text);
}

/* Until there is a mismatch of which nothing more is to be expected. */
static bool is_done(const struct comparison *c, uint64_t *since_ns)
{
    const struct digest_point *p = c->follow ? digest_monitor_mismatch(c->monitor) : NULL;
    if (p == NULL)
        return false;
    if (*since_ns == 0)
        *since_ns = cli_mono_ns();
    return digest_point_complete(c->monitor, p) || cli_mono_ns() - *since_ns > OTHERS_NS;
}

static int follow(struct comparison *c, struct cantus_client *client)
{
    uint64_t mismatch_since_ns = 0;
    while (cli_running() && !ferror(stdout) && !is_done(c, &mismatch_since_ns)) {
        enum cantus_status status = cantus_client_poll(client, POLL_NS);
        if (c->follow)
            fflush(stdout);
        if (status == CANTUS_END)
            break;
        if (status != CANTUS_OK)
            return cli_fail("%s", cantus_client_error(client));
        if (!c->follow && cantus_client_caught_up(client))
            break;
    }
    return CLI_OK;
}

static int monitor(struct comparison *c)
{
    char error[CANTUS_ERROR_MAX];
    char topic[sizeof SYS_DIGEST_ROOT + 256];
    struct cantus_client_options client_options = { .source = c->source, .report = on_report };
    snprintf(topic, sizeof topic, SYS_DIGEST_ROOT "/%s", c->app_name);
    struct cantus_client *client = cantus_client_open(&client_options, error);
    if (client == NULL)
        return cli_fail("%s", error);
    int status = cantus_client_subscribe(client, topic, on_message, c, error)
                     ? follow(c, client)
                     : cli_fail("%s", error);
    cantus_client_close(client);
    digest_monitor_end(c->monitor);
    return status;
}

static int conclude(const struct comparison *c)
{
    const struct digest_monitor *m = c->monitor;
    if (c->malformed != 0)
        cli_fail("%" PRIu64 " messages on the topic are no digests", c->malformed);
    if (m->overflow != 0)
        cli_fail("%" PRIu64 " digests were not compared: of too many replicas, or too late",
                 m->overflow);
    const struct digest_point *p = digest_monitor_mismatch(m);
    if (p != NULL) {
        if (c->json)
            print_point_json(m, p);
        else
            print_point(m, p);
        return CLI_FAILED;
    }
    if (!c->json)
        printf("%" PRIu64 " digests of %" PRIu32 " replicas, compared at %" PRIu64
               " positions: no mismatch\n",
               c->said, m->replica_count, m->compared);
    return CLI_OK;
}

/* ---- the verb -------------------------------------------------------------------------------- */

static int bisect(const struct comparison *c, const struct cantus_app *const apps[2])
{
    const struct digest_point *p = digest_monitor_mismatch(c->monitor);
    struct digest_replay r = { .source = c->source,
                               .a = apps[0],
                               .b = apps[1],
                               .config = c->config,
                               .through = p != NULL ? p->position.seq : 0 };
    int status = digest_replay_run(&r);
    if (status == CLI_OK) {
        if (c->json)
            print_replay_json(&r);
        else
            print_replay(&r);
        status = r.differ ? CLI_FAILED : CLI_OK;
    }
    digest_replay_close(&r);
    return status;
}

static int compare(struct comparison *c)
{
    const struct cantus_app *apps[2] = { NULL, NULL };
    for (int i = 0; i < 2 && c->paths[i] != NULL; i++) {
        apps[i] = app_library_load("--bisect", c->paths[i]);
        if (apps[i] == NULL)
            return CLI_FAILED;
    }
    int status = monitor(c);
    if (status != CLI_OK)
        return status;
    if (apps[0] == NULL && c->said == 0 && !c->follow)
        return cli_fail("nobody has published digests of an app '%s' in this stream", c->app_name);
    status = conclude(c);
    fflush(stdout);
    if (apps[0] != NULL && cli_running() && bisect(c, apps) != CLI_OK)
        status = CLI_FAILED;
    fflush(stdout);
    return ferror(stdout) ? CLI_FAILED : status;
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct comparison c = { .argc = argc, .argv = argv, .config = "" };
    int operand = cli_options(&verb_digest, &g, argc, argv, options, parse, &c);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (g.dir == NULL || argc - operand != 1) {
        cli_fail(g.dir == NULL ? "digest wants --dir DIR" : "digest wants one APPNAME");
        return CLI_USAGE;
    }
    c.source = g.dir;
    c.app_name = argv[operand];
    c.monitor = calloc(1, sizeof *c.monitor);
    if (c.monitor == NULL)
        return cli_fail("out of memory");
    c.monitor->show = show;
    c.monitor->ctx = &c;
    cli_catch_signals();
    int status = compare(&c);
    free(c.monitor);
    return status;
}

const struct cli_verb verb_digest = { "digest", "compare what replicas say of their states", help,
                                      run };
