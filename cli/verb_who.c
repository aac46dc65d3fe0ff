#include "cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/ask.h"
#include "cli/deployment.h"
#include "cli/leader.h"
#include "cli/who_proxy.h"
#include "proto/clients.h"

static const char help[] =
    "usage: cantus --dir DIR who [PROXY] [--once] [--json]\n"
    "       cantus --proxy HOST:PORT[,HOST:PORT...] --key FILE who [--once] [--json]\n"
    "\n"
    "Prints who is connected to the proxies of a deployment, or to one: address, key, what connects,\n"
    "how many subtrees and publishers it has, how many messages it lags behind, and its rates over\n"
    "a second. With --proxy each proxy of the list, at every address that a name has, is asked for\n"
    "its own clients, where clients come in, and a last line names those that were asked.\n"
    "\n"
    "  --once  look once, without rates\n"
    "  --json  print one object: clients, proxies that were asked, and those that do not answer\n"
    "\n"
    "  --ca FILE   the authorities that are trusted with --proxy tls:HOST:PORT\n"
    "  --proxy HOST:PORT[,HOST:PORT...]\n"
    "              these proxies, by their addresses for clients, instead of --dir DIR\n"
    "  --key FILE  as this key, which has the right to read /sys/edge\n";

enum { OPTION_ONCE, OPTION_JSON };
static const struct option options[] = { { "once", no_argument, NULL, OPTION_ONCE },
                                         { "json", no_argument, NULL, OPTION_JSON },
                                         { 0 } };

struct who {
    bool once, json;
    struct who_proxies *proxies; /* asked as a client; NULL: over the core network */
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

enum {
    LOOKS_MAX = (int)CONFIG_PROXIES_MAX > (int)PROXY_LIST_MAX ? (int)CONFIG_PROXIES_MAX
                                                              : (int)PROXY_LIST_MAX
};

/* ---- looking --------------------------------------------------------------------------------- */

/* What one proxy said. */
struct look {
    const struct process *process; /* NULL: one of who.proxies, */
    uint32_t index;                /* which is this one */
    char name[WHO_NAME_MAX + 1];
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

/* False with a text in l->problem. */
static bool ask_page(const struct who *w, struct look *l, uint32_t place, struct clients *page)
{
    static struct ask ask;
    if (l->process == NULL) {
        bool answered = who_proxies_page(w->proxies, l->index, place, page, l->problem);
        snprintf(l->name, sizeof l->name, "%s", who_proxies_name(w->proxies, l->index));
        return answered;
    }
    ask_for_clients(&ask, l->process->address, place);
    ask_run(&ask, 1, ASK_TIMEOUT_NS);
    if (!ask.answered)
        snprintf(l->problem, sizeof l->problem, "%s", ask.problem);
    else if (!clients_decode(ask.body, ask.length, page))
        snprintf(l->problem, sizeof l->problem,
                 "answered with something that is no list of clients; another version?");
    return l->problem[0] == '\0';
}

/* Page after page; clients that come and go meanwhile are on one or on none. */
static void look_at(const struct who *w, struct look *l)
{
    static struct clients page;
    uint32_t place = 0;
    do {
        if (!ask_page(w, l, place, &page))
            return;
        if (page.next != 0 && page.next <= place)
            snprintf(l->problem, sizeof l->problem, "its list of clients does not end");
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

static void print_text(const struct client *c, const struct look *l, const struct rates *r)
{
    char address[PORT_ADDR_TEXT], key[ACCESS_KEY_TEXT + 1] = "anyone", agent[EDGE_AGENT_MAX + 1];
    port_addr_write((struct port_addr) { .ip = c->ip, .port = c->port }, address);
    if (c->has_key)
        access_key_write(c->key, key);
    memcpy(agent, c->agent, sizeof agent);
    for (char *at = agent; *at != '\0'; at++) /* one column */
        *at = *at == ' ' ? '_' : *at;
    printf("%-8s %-21s %-43s %-20s %-9s %5" PRIu32 " %5" PRIu32 " %9" PRIu64, l->name, address, key,
           (c->flags & CLIENT_TEXT) != 0 ? "(text)" : agent, state_of(c), c->subtrees,
           c->publishers, lag_of(c, l));
    if (r != NULL)
        printf(" %9.0f %9.0f %11.0f", r->published, r->in, r->out);
    putchar('\n');
}

static void print_json(const struct client *c, const struct look *l, const struct rates *r)
{
    char address[PORT_ADDR_TEXT], key[ACCESS_KEY_TEXT + 1];
    port_addr_write((struct port_addr) { .ip = c->ip, .port = c->port }, address);
    access_key_write(c->key, key);
    fputs("{\"proxy\":", stdout);
    cli_json_string(stdout, l->name, strlen(l->name));
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

static void print_asked(const struct look *now, uint32_t count, const struct who *w)
{
    if (!w->json && w->proxies == NULL)
        return;
    fputs(w->json ? "],\"asked\":[" : "asked:", stdout);
    for (uint32_t p = 0; p < count; p++) {
        if (!w->json) {
            printf(" %s", now[p].name);
            continue;
        }
        fputs(p > 0 ? "," : "", stdout);
        cli_json_string(stdout, now[p].name, strlen(now[p].name));
    }
    putchar(w->json ? ']' : '\n');
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
    print_asked(now, count, w);
    if (w->json)
        fputs(",\"problems\":[", stdout);
    comma = "";
    for (uint32_t p = 0; p < count; p++) {
        if (now[p].problem[0] == '\0')
            continue;
        if (!w->json) {
            fprintf(stderr, "cantus: %s: %s\n", now[p].name, now[p].problem);
            continue;
        }
        printf("%s{\"proxy\":", comma);
        cli_json_string(stdout, now[p].name, strlen(now[p].name));
        fputs(",\"problem\":", stdout);
        cli_json_string(stdout, now[p].problem, strlen(now[p].problem));
        putchar('}');
        comma = ",";
    }
    if (w->json)
        puts("]}");
}

/* ---- the verb -------------------------------------------------------------------------------- */

static uint32_t choose(const struct processes *p, const char *name, struct look *now)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->count; i++)
        if (p->all[i].kind == PROCESS_PROXY &&
            (name == NULL || strcmp(p->all[i].name, name) == 0)) {
            now[count] = (struct look) { .process = &p->all[i] };
            snprintf(now[count].name, sizeof now[count].name, "%s", p->all[i].name);
            count++;
        }
    return count;
}

/* At all of them, twice if rates are wanted. */
static int look(struct look *now, uint32_t count, const struct who *w)
{
    struct look then[LOOKS_MAX];
    uint32_t answered = 0;
    memcpy(then, now, count * sizeof *now);
    for (uint32_t i = 0; i < count && !w->once; i++)
        look_at(w, &then[i]);
    if (!w->once)
        leader_pause(UINT64_C(1000000000));
    for (uint32_t i = 0; i < count; i++) {
        look_at(w, &now[i]);
        answered += now[i].problem[0] == '\0';
    }
    print_all(now, then, count, w);
    for (uint32_t i = 0; i < count; i++) {
        free(now[i].all);
        free(then[i].all);
    }
    return answered > 0 ? CLI_OK : CLI_FAILED;
}

static int by_dir(const char *dir, const char *name, const struct who *w)
{
    static struct config config;
    struct look now[LOOKS_MAX];
    char error[CONFIG_ERROR_MAX];
    if (!deployment_config(dir, &config))
        return CLI_FAILED;
    struct processes *p = processes_create(&config);
    if (p == NULL)
        return cli_fail("out of memory");
    uint32_t count = choose(p, name, now);
    int status = CLI_FAILED;
    if (count > 0)
        status = look(now, count, w);
    else if (name == NULL)
        cli_fail("cantus.yaml lists no proxies");
    else if (config_find_proxy(&config, name, error) < 0)
        cli_fail("%s", error);
    processes_destroy(p);
    return status;
}

static int by_proxies(const struct cli_globals *g, struct who *w)
{
    struct look now[LOOKS_MAX];
    w->proxies = who_proxies_open(g);
    if (w->proxies == NULL)
        return CLI_FAILED;
    uint32_t count = who_proxies_count(w->proxies);
    for (uint32_t i = 0; i < count; i++) {
        now[i] = (struct look) { .index = i };
        snprintf(now[i].name, sizeof now[i].name, "%s", who_proxies_name(w->proxies, i));
    }
    int status = look(now, count, w);
    who_proxies_close(w->proxies);
    return status;
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct who w = { 0 };
    int operand = cli_options(&verb_who, &g, argc, argv, options, parse, &w);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    bool proxied = g.proxy != NULL && argc == operand;
    if (!proxied && (g.dir == NULL || argc - operand > 1)) {
        cli_fail("who wants --dir DIR and at most one PROXY, or --proxy HOST:PORT");
        return CLI_USAGE;
    }
    cli_catch_signals();
    return proxied ? by_proxies(&g, &w)
                   : by_dir(g.dir, argc - operand == 1 ? argv[operand] : NULL, &w);
}

const struct cli_verb verb_who = { "who", "who is connected to the proxies", help, run };
