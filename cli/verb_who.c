#include "cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/ask.h"
#include "cli/deployment.h"
#include "cli/leader.h"
#include "cli/who_stream.h"
#include "proto/clients.h"

static const char help[] =
    "usage: cantus --dir DIR who [PROXY] [--once] [--json]\n"
    "       cantus --proxy HOST:PORT --key FILE who [--json]\n"
    "\n"
    "Prints who is connected to the proxies of a deployment, or to one: address, key, what connects,\n"
    "how many subtrees and publishers it has, how many messages it lags behind, and its rates over\n"
    "a second. Through a proxy it is what the stream says of all of them, who has logged in and not\n"
    "out since: address, key, since when, and what connects.\n"
    "\n"
    "  --once  look once, without rates\n"
    "  --json  print one object: clients, and proxies that do not answer\n"
    "\n"
    "  --ca FILE   the authorities that are trusted with --proxy tls:HOST:PORT\n"
    "  --proxy HOST:PORT[,HOST:PORT...]\n"
    "              through a proxy, one of these, instead of --dir DIR\n"
    "  --key FILE  as this key, which has the right to read /sys\n";

enum { OPTION_ONCE, OPTION_JSON };
static const struct option options[] = { { "once", no_argument, NULL, OPTION_ONCE },
                                         { "json", no_argument, NULL, OPTION_JSON },
                                         { 0 } };

struct who {
    bool once, json;
};

static bool parse(void *ctx, int option, const char *value)
{
    (void)value;
    struct who *w = ctx;
    if (option == OPTION_ONCE)
        w->once = true;
    else
        w->json = true;
    return true;
}

/* ---- looking --------------------------------------------------------------------------------- */

/* What one proxy said. */
struct look {
    const struct process *proxy;
    char problem[ASK_PROBLEM_MAX]; /* "": none */
    uint64_t tip, clock_ns;
    uint32_t count, room;
    struct client *all;
};

static bool take_page(struct look *l, const struct clients *page)
{
    if (l->count + page->count > l->room) {
        uint32_t room = l->room == 0 ? 256 : l->room * 2;
        struct client *more = realloc(l->all, room * sizeof *more);
        if (more == NULL)
            return false;
        l->all = more;
        l->room = room;
    }
    if (page->count > 0)
        memcpy(l->all + l->count, page->all, page->count * sizeof page->all[0]);
    l->count += page->count;
    l->tip = page->tip;
    l->clock_ns = page->clock_ns;
    return true;
}

/* Clients say of themselves what they like. */
static void clean_page(struct clients *page)
{
    for (uint32_t i = 0; i < page->count; i++)
        cli_clean(page->all[i].agent);
}

/* Page after page; clients that come and go meanwhile are on one or on none. */
static void look_at(struct look *l)
{
    static struct ask ask;
    static struct clients page;
    uint32_t place = 0;
    do {
        ask_for_clients(&ask, l->proxy->address, place);
        ask_run(&ask, 1, ASK_TIMEOUT_NS);
        if (!ask.answered)
            snprintf(l->problem, sizeof l->problem, "%s", ask.problem);
        else if (!clients_decode(ask.body, ask.length, &page) ||
                 (page.next != 0 && page.next <= place))
            snprintf(l->problem, sizeof l->problem,
                     "answered with something that is no list of clients; another version?");
        else if (clean_page(&page), !take_page(l, &page))
            snprintf(l->problem, sizeof l->problem, "out of memory");
        place = page.next;
    } while (l->problem[0] == '\0' && place != 0 && l->count <= CONFIG_SESSIONS_MAX &&
             cli_running());
}

static const struct client *find(const struct look *l, uint64_t session)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (l->all[i].session == session)
            return &l->all[i];
    return NULL;
}

/* ---- printing -------------------------------------------------------------------------------- */

struct rates {
    double in, out, published; /* a second */
};

/* Both lists are in the order of the proxy's table: the search begins where the last one ended. */
static struct rates rates_of(const struct client *now, const struct look *then, uint64_t now_ns,
                             uint32_t *hint)
{
    const struct client *before = *hint < then->count && then->all[*hint].session == now->session
                                      ? &then->all[*hint]
                                      : find(then, now->session);
    if (before == NULL || now_ns <= then->clock_ns)
        return (struct rates) { 0 };
    *hint = (uint32_t)(before - then->all) + 1;
    double seconds = (double)(now_ns - then->clock_ns) / 1e9;
    return (struct rates) { .in = (double)(now->bytes_in - before->bytes_in) / seconds,
                            .out = (double)(now->bytes_out - before->bytes_out) / seconds,
                            .published = (double)(now->published - before->published) / seconds };
}

static const char *state_of(const struct client *c)
{
    return (c->flags & CLIENT_BEHIND) != 0       ? "behind"
           : (c->flags & CLIENT_SUBSCRIBED) == 0 ? "-"
           : (c->flags & CLIENT_STABLE) != 0     ? "stable"
                                                 : "sequenced";
}

static uint64_t lag_of(const struct client *c, const struct look *l)
{
    return (c->flags & CLIENT_SUBSCRIBED) != 0 && l->tip > c->seq ? l->tip - c->seq : 0;
}

static void address_of(const struct client *c, char out[32])
{
    snprintf(out, 32, "%u.%u.%u.%u:%u", c->ip >> 24, c->ip >> 16 & 255, c->ip >> 8 & 255,
             c->ip & 255, c->port);
}

static void print_text(const struct client *c, const struct look *l, const struct rates *r)
{
    char address[32], key[ACCESS_KEY_TEXT + 1] = "anyone", agent[EDGE_AGENT_MAX + 1];
    address_of(c, address);
    if (c->has_key)
        access_key_write(c->key, key);
    memcpy(agent, c->agent, sizeof agent);
    for (char *at = agent; *at != '\0'; at++) /* one column */
        *at = *at == ' ' ? '_' : *at;
    printf("%-8s %-21s %-43s %-20s %-9s %5" PRIu32 " %5" PRIu32 " %9" PRIu64, l->proxy->name,
           address, key, (c->flags & CLIENT_TEXT) != 0 ? "(text)" : agent, state_of(c), c->subtrees,
           c->publishers, lag_of(c, l));
    if (r != NULL)
        printf(" %9.0f %9.0f %11.0f", r->published, r->in, r->out);
    putchar('\n');
}

static void print_json(const struct client *c, const struct look *l, const struct rates *r)
{
    char address[32], key[ACCESS_KEY_TEXT + 1];
    address_of(c, address);
    access_key_write(c->key, key);
    fputs("{\"proxy\":", stdout);
    cli_json_string(stdout, l->proxy->name, strlen(l->proxy->name));
    printf(",\"address\":\"%s\",\"key\":%s%s%s,\"agent\":", address, c->has_key ? "\"" : "",
           c->has_key ? key : "null", c->has_key ? "\"" : "");
    cli_json_string(stdout, c->agent, strlen(c->agent));
    printf(",\"text\":%s,\"state\":\"%s\",\"subtrees\":%" PRIu32 ",\"publishers\":%" PRIu32
           ",\"since_ns\":%" PRIu64 ",\"seq\":%" PRIu64 ",\"lag\":%" PRIu64 ",\"bytes_in\":%" PRIu64
           ",\"bytes_out\":%" PRIu64 ",\"published\":%" PRIu64,
           (c->flags & CLIENT_TEXT) != 0 ? "true" : "false", state_of(c), c->subtrees,
           c->publishers, c->since_ns, c->seq, lag_of(c, l), c->bytes_in, c->bytes_out,
           c->published);
    if (r != NULL)
        printf(",\"bytes_in_per_s\":%.0f,\"bytes_out_per_s\":%.0f,\"published_per_s\":%.0f", r->in,
               r->out, r->published);
    putchar('}');
}

static void print_all(const struct look *now, const struct look *then, uint32_t count,
                      const struct who *w)
{
    const char *comma = "";
    if (w->json)
        fputs("{\"clients\":[", stdout);
    else
        printf("%-8s %-21s %-43s %-20s %-9s %5s %5s %9s%s\n", "proxy", "address", "key", "agent",
               "reads", "trees", "pubs", "lag", w->once ? "" : "   msg/s in    B/s in     B/s out");
    for (uint32_t p = 0; p < count; p++) {
        uint32_t hint = 0;
        for (uint32_t i = 0; i < now[p].count; i++) {
            const struct client *c = &now[p].all[i];
            struct rates rates =
                w->once ? (struct rates) { 0 } : rates_of(c, &then[p], now[p].clock_ns, &hint);
            fputs(w->json ? comma : "", stdout);
            (w->json ? print_json : print_text)(c, &now[p], w->once ? NULL : &rates);
            comma = ",";
        }
    }
    if (w->json)
        fputs("],\"problems\":[", stdout);
    comma = "";
    for (uint32_t p = 0; p < count; p++) {
        if (now[p].problem[0] == '\0')
            continue;
        if (!w->json) {
            fprintf(stderr, "cantus: %s: %s\n", now[p].proxy->name, now[p].problem);
            continue;
        }
        printf("%s{\"proxy\":\"%s\",\"problem\":", comma, now[p].proxy->name);
        cli_json_string(stdout, now[p].problem, strlen(now[p].problem));
        putchar('}');
        comma = ",";
    }
    if (w->json)
        puts("]}");
}

/* ---- the verb -------------------------------------------------------------------------------- */

static uint32_t choose(struct processes *p, const char *name, struct look *now, struct look *then)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->count; i++)
        if (p->all[i].kind == PROCESS_PROXY &&
            (name == NULL || strcmp(p->all[i].name, name) == 0)) {
            now[count] = (struct look) { .proxy = &p->all[i] };
            then[count++] = (struct look) { .proxy = &p->all[i] };
        }
    return count;
}

static int who(struct processes *p, const char *name, const struct who *w)
{
    struct look now[CONFIG_PROXIES_MAX], then[CONFIG_PROXIES_MAX];
    char error[CONFIG_ERROR_MAX];
    uint32_t answered = 0, count = choose(p, name, now, then);
    if (count == 0) {
        if (name == NULL)
            return cli_fail("cantus.yaml lists no proxies");
        (void)config_find_proxy(p->config, name, error);
        return cli_fail("%s", error);
    }
    cli_catch_signals();
    for (uint32_t i = 0; i < count && !w->once; i++)
        look_at(&then[i]);
    if (!w->once)
        leader_pause(UINT64_C(1000000000));
    for (uint32_t i = 0; i < count; i++) {
        look_at(&now[i]);
        answered += now[i].problem[0] == '\0';
    }
    print_all(now, then, count, w);
    for (uint32_t i = 0; i < count; i++) {
        free(now[i].all);
        free(then[i].all);
    }
    return answered > 0 ? CLI_OK : CLI_FAILED;
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct who w = { 0 };
    int operand = cli_options(&verb_who, &g, argc, argv, options, parse, &w);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (g.proxy != NULL && argc == operand)
        return who_stream(&g, w.json);
    if (g.dir == NULL || argc - operand > 1) {
        cli_fail("who wants --dir DIR and at most one PROXY, or --proxy HOST:PORT");
        return CLI_USAGE;
    }
    static struct config config;
    if (!deployment_config(g.dir, &config))
        return CLI_FAILED;
    struct processes *p = processes_create(&config);
    if (p == NULL)
        return cli_fail("out of memory");
    int status = who(p, argc - operand == 1 ? argv[operand] : NULL, &w);
    processes_destroy(p);
    return status;
}

const struct cli_verb verb_who = { "who", "who is connected to the proxies", help, run };
