#include "cli/who_stream.h"

#include <cantus/cantus.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/sys.h"
#include "proto/sys_edge.h"
#include "proto/topic.h"

struct seen {
    char proxy[IDENTITY_MAX + 1];
    uint64_t since_ns;
    struct sys_edge login;
};

struct who_stream {
    uint32_t count, room;
    struct seen *all; /* in the order of their logins */
    bool no_memory, forked;
};

/* ---- reading --------------------------------------------------------------------------------- */

static void login(struct who_stream *w, const char *proxy, uint64_t since_ns,
                  const struct sys_edge *e)
{
    if (w->count == w->room) {
        uint32_t room = w->room == 0 ? 256 : w->room * 2;
        struct seen *more = realloc(w->all, room * sizeof *more);
        w->no_memory = w->no_memory || more == NULL;
        if (more == NULL)
            return;
        w->all = more;
        w->room = room;
    }
    struct seen *s = &w->all[w->count++];
    *s = (struct seen) { .since_ns = since_ns, .login = *e };
    snprintf(s->proxy, sizeof s->proxy, "%s", proxy);
    cli_clean(s->login.agent);
}

/* Of this session; 0: of all of the proxy's. */
static void logout(struct who_stream *w, const char *proxy, uint64_t session)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        const struct seen *s = &w->all[i];
        bool gone = strcmp(s->proxy, proxy) == 0 && (session == 0 || s->login.session == session);
        if (!gone && kept++ < i)
            w->all[kept - 1] = *s;
    }
    w->count = kept;
}

static void on_edge(void *ctx, const struct cantus_message *m)
{
    struct who_stream *w = ctx;
    struct sys_edge e;
    if (strncmp(m->publisher, SYS_EDGE_PROXY, strlen(SYS_EDGE_PROXY)) != 0 ||
        !sys_edge_decode(m->payload, m->length, &e))
        return;
    const char *proxy = m->publisher + strlen(SYS_EDGE_PROXY);
    if (e.kind == SYS_EDGE_LOGIN)
        login(w, proxy, m->timestamp_ns, &e);
    else if (e.kind == SYS_EDGE_LOGOUT)
        logout(w, proxy, e.session);
}

/* A proxy that starts anew has none of the clients of the one before. */
static void on_join(void *ctx, const struct cantus_message *m)
{
    struct sys_join j;
    if (sys_join_decode(m->payload, m->length, &j) &&
        strncmp(j.identity, SYS_EDGE_PROXY, strlen(SYS_EDGE_PROXY)) == 0)
        logout(ctx, j.identity + strlen(SYS_EDGE_PROXY), 0);
}

static void on_report(void *ctx, const struct cantus_report *r)
{
    struct who_stream *w = ctx;
    w->forked = w->forked || r->kind == CANTUS_REPORT_FORKED;
    cli_say(r->text);
}

/* ---- printing -------------------------------------------------------------------------------- */

static void print_one(const struct seen *s, bool json, bool first)
{
    char address[32], key[ACCESS_KEY_TEXT + 1] = "anyone", when[32];
    const struct sys_edge *e = &s->login;
    time_t seconds = (time_t)(s->since_ns / 1000000000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &parts);
    snprintf(address, sizeof address, "%u.%u.%u.%u:%u", e->ip >> 24, e->ip >> 16 & 255,
             e->ip >> 8 & 255, e->ip & 255, e->port);
    if (e->has_key)
        access_key_write(e->key, key);
    if (!json) {
        printf("%-8s %-21s %-43s %-20s %s\n", s->proxy, address, key, when, e->agent);
        return;
    }
    printf("%s{\"proxy\":", first ? "" : ",");
    cli_json_string(stdout, s->proxy, strlen(s->proxy));
    printf(",\"address\":\"%s\",\"key\":%s%s%s,\"agent\":", address, e->has_key ? "\"" : "",
           e->has_key ? key : "null", e->has_key ? "\"" : "");
    cli_json_string(stdout, e->agent, strlen(e->agent));
    printf(",\"since_ns\":%" PRIu64 "}", s->since_ns);
}

static void print_all(const struct who_stream *w, bool json)
{
    if (json)
        fputs("{\"clients\":[", stdout);
    else
        printf("%-8s %-21s %-43s %-20s %s\n", "proxy", "address", "key", "since", "agent");
    for (uint32_t i = 0; i < w->count; i++)
        print_one(&w->all[i], json, i == 0);
    if (json)
        puts("]}");
}

/* ---- following ------------------------------------------------------------------------------- */

static int read_all(struct who_stream *w, struct cantus_client *client)
{
    while (cli_running() && !cantus_client_caught_up(client)) {
        if (cantus_client_poll(client, 100 * 1000 * 1000) != CANTUS_OK)
            return cli_fail("%s", cantus_client_error(client));
        if (w->no_memory)
            return cli_fail("out of memory");
        if (w->forked)
            return cli_fail("a failover took back what was just read: ask again");
    }
    return cli_running() ? CLI_OK : CLI_FAILED;
}

int who_stream(const struct cli_globals *g, bool json)
{
    char error[CANTUS_ERROR_MAX], source[CLI_SOURCE_MAX];
    struct who_stream w = { 0 };
    struct cantus_client_options options = {
        .name = "cantus-who",
        .source = cli_source(g, source),
        .key_file = g->key_file,
        .ca_file = g->ca_file,
        .level = CANTUS_SEQUENCED,
        .report = on_report,
        .ctx = &w,
    };
    struct cantus_client *client = cantus_client_open(&options, error);
    if (client == NULL)
        return cli_fail("%s", error);
    cli_catch_signals();
    bool fine = cantus_client_subscribe(client, topic_fixed_path(TOPIC_EDGE), on_edge, &w, error) &&
                cantus_client_subscribe(client, topic_fixed_path(TOPIC_JOIN), on_join, &w, error);
    int status = fine ? read_all(&w, client) : cli_fail("%s", error);
    if (status == CLI_OK)
        print_all(&w, json);
    cantus_client_close(client);
    free(w.all);
    return status;
}
