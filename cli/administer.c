#include "cli/administer.h"

#include <cantus/cantus.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/deployment.h"
#include "cli/key_file.h"

#define POLL_NS UINT64_C(100000000)

struct administer {
    struct cantus_client *client;
    struct cantus_pipe *pipe; /* NULL: only looks */
    struct catalog *catalog;
    uint64_t stream;
    bool through_proxy;
    char rejection[CANTUS_ERROR_MAX];
};

bool administer_key_path(const char *dir, char *out, size_t capacity)
{
    int n = snprintf(out, capacity, "%s/admin.key", dir);
    return n > 0 && (size_t)n < capacity;
}

/* Epochs and sessions are left out: they are judged by what a subscriber is not given. */
static void on_message(void *ctx, const struct cantus_message *m)
{
    struct administer *a = ctx;
    uint32_t topic = catalog_topic_find(a->catalog, m->topic, strlen(m->topic));
    struct sys_genesis genesis;
    if (topic == TOPIC_GENESIS && sys_genesis_decode(m->payload, m->length, &genesis))
        a->stream = genesis.stream;
    if (topic == 0 || topic >= TOPIC_FIRST_USER || topic == TOPIC_EPOCH || topic == TOPIC_SESSION)
        return;
    struct message message = { .seq = m->seq,
                               .topic = topic,
                               .publisher = m->publisher[0] != '\0'
                                                ? catalog_publisher_find(a->catalog, m->publisher)
                                                : 0,
                               .length = (uint32_t)m->length,
                               .payload = m->payload };
    struct batch_header batch = { .stream = a->stream, .first_seq = m->seq };
    (void)catalog_apply(a->catalog, &message, &batch);
}

static void on_report(void *ctx, const struct cantus_report *r)
{
    struct administer *a = ctx;
    if (r->kind == CANTUS_REPORT_REJECTED)
        snprintf(a->rejection, sizeof a->rejection, "%s", r->text);
    else
        cli_say(r->text);
}

/* What the catalog is made of: each is asked for by itself, so that what is not granted is told by
 * name. */
static bool subscribe(struct administer *a, bool proxy, char *error)
{
    static const uint32_t topics[] = { TOPIC_GENESIS, TOPIC_JOIN,  TOPIC_TOPIC,
                                       TOPIC_GRANT,   TOPIC_GROUP, TOPIC_LIMIT };
    if (!proxy)
        return cantus_client_subscribe(a->client, "/sys", on_message, a, error);
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++)
        if (!cantus_client_subscribe(a->client, topic_fixed_path(topics[i]), on_message, a, error))
            return false;
    return true;
}

static bool open_client(struct administer *a, const struct cli_globals *g, const char *identity)
{
    static struct config config;
    char error[CANTUS_ERROR_MAX] = "", source[CLI_SOURCE_MAX];
    bool proxy = g->proxy != NULL;
    a->through_proxy = proxy;
    if (!proxy && !deployment_config(g->dir, &config))
        return false;
    struct cantus_client_options options = {
        .name = "cantus-admin",
        .source = cli_source(g, source),
        .key_file = proxy ? g->key_file : NULL,
        .ca_file = g->ca_file,
        .level = config.is_volatile ? CANTUS_SEQUENCED : CANTUS_STABLE,
        .report = on_report,
        .ctx = a,
    };
    a->client = cantus_client_open(&options, error);
    /* Over the core network a publisher follows anyway. */
    bool looks = identity == NULL || !proxy;
    if (a->client != NULL && (!looks || subscribe(a, proxy, error)) &&
        (identity == NULL || (a->pipe = cantus_pipe_open(a->client, identity, error)) != NULL))
        return true;
    cli_fail("%s", error);
    return false;
}

/* On the core network, which is trusted, one says whom one acts for; a proxy knows. */
static bool identity_of(const struct cli_globals *g, char identity[IDENTITY_MAX + 1])
{
    uint8_t key[ACCESS_KEY_SIZE];
    char error[KEY_FILE_ERROR_MAX], admin[CLI_SOURCE_MAX];
    memcpy(identity, "cantus", sizeof "cantus");
    if (g->proxy != NULL && g->key_file == NULL)
        cli_fail("through a proxy it takes a key that may do this: --key FILE");
    if (g->proxy != NULL)
        return g->key_file != NULL;
    if (!administer_key_path(g->dir, admin, sizeof admin)) {
        cli_fail("the path %.300s is too long", g->dir);
        return false;
    }
    if (!key_file_read(g->key_file != NULL ? g->key_file : admin, key, error)) {
        cli_fail("%s", error);
        return false;
    }
    identity[0] = '@';
    access_key_write(key, identity + 1);
    strcat(identity, ":cantus");
    return true;
}

struct administer *administer_open(const struct cli_globals *globals, enum administer_what what)
{
    char identity[IDENTITY_MAX + 1];
    if (what == ADMINISTER_ACTS && !identity_of(globals, identity))
        return NULL;
    struct administer *a = calloc(1, sizeof *a);
    if (a != NULL)
        a->catalog = catalog_create(NULL);
    if (a == NULL || a->catalog == NULL) {
        cli_fail("out of memory");
        free(a);
        return NULL;
    }
    cli_catch_signals();
    if (open_client(a, globals, what == ADMINISTER_ACTS ? identity : NULL))
        return a;
    administer_close(a);
    return NULL;
}

void administer_close(struct administer *a)
{
    if (a->client != NULL)
        cantus_client_close(a->client);
    catalog_destroy(a->catalog);
    free(a);
}

/* False: it can't go on, which was said unless it is because of a rejection. */
static bool poll_once(struct administer *a)
{
    if (!cli_running()) {
        cli_fail("interrupted");
        return false;
    }
    enum cantus_status status = cantus_client_poll(a->client, POLL_NS);
    if (a->rejection[0] != '\0')
        return false;
    if (status == CANTUS_OK)
        return true;
    /* One topic of /sys is named, the first of several that it would be refused. */
    const char *error = cantus_client_error(a->client);
    bool looks = a->through_proxy && a->pipe == NULL && strstr(error, "(right to read)") != NULL;
    cli_fail("%s%s", error, looks ? "; or read /sys, for all that this looks at" : "");
    return false;
}

const struct catalog *administer_catalog(struct administer *a)
{
    while (!cantus_client_caught_up(a->client))
        if (!poll_once(a))
            return NULL;
    return a->catalog;
}

static bool publish(struct administer *a, uint32_t topic, const uint8_t *payload, size_t length)
{
    while (!cantus_pipe_ready(a->pipe))
        if (!poll_once(a))
            return false;
    uint64_t items = cantus_pipe_sequenced(a->pipe) + 1;
    while (!cantus_pipe_push(a->pipe, topic_fixed_path(topic), payload, length))
        if (!poll_once(a))
            return false;
    while (cantus_pipe_sequenced(a->pipe) < items)
        if (!poll_once(a))
            return false;
    return a->rejection[0] == '\0';
}

uint64_t administer_publish(struct administer *a, uint32_t topic, const uint8_t *payload,
                            size_t length, const char *what, const char *needed)
{
    if (publish(a, topic, payload, length))
        return cantus_pipe_last_seq(a->pipe);
    if (a->rejection[0] != '\0')
        cli_fail("%s: %s; it needs %s", what, a->rejection, needed);
    return 0;
}

/* ---- words ----------------------------------------------------------------------------------- */

bool administer_key(const char *text, uint8_t out[ACCESS_KEY_SIZE])
{
    if (access_key_read(text, strlen(text), out))
        return true;
    cli_fail("'%s' is no key: %d characters, as `cantus key show` prints them", text,
             ACCESS_KEY_TEXT);
    return false;
}

bool administer_whom(const char *text, struct access_whom *out)
{
    *out = (struct access_whom) { .who = ACCESS_ANYONE };
    if (strcmp(text, "anyone") == 0)
        return true;
    if (strncmp(text, "group:", 6) == 0) {
        out->who = ACCESS_GROUP;
        if (!access_group_valid(text + 6)) {
            cli_fail("'%s': a group's name is 1 to %d of A-Z a-z 0-9 . _ - ~ :", text,
                     ACCESS_GROUP_MAX);
            return false;
        }
        memcpy(out->group, text + 6, strlen(text + 6) + 1);
        return true;
    }
    out->who = ACCESS_KEY;
    return administer_key(text, out->key);
}

static const char *const right_names[] = { "read", "write", "grant" };

bool administer_rights(const char *text, uint8_t *out)
{
    *out = 0;
    for (const char *at = text;; at++) {
        size_t length = strcspn(at, ",");
        uint8_t right = 0;
        for (uint32_t i = 0; i < 3; i++)
            if ((length == 1 && at[0] == right_names[i][0]) ||
                (length == strlen(right_names[i]) && memcmp(at, right_names[i], length) == 0))
                right = (uint8_t)(1 << i);
        if (right == 0) {
            cli_fail("'%s': rights are read, write and grant, with commas between them", text);
            return false;
        }
        *out |= right;
        at += length;
        if (*at == '\0')
            return true;
    }
}

bool administer_subtree(const char *text, char out[TOPIC_PATH_MAX + 1])
{
    const char *wrong = topic_subtree_check(text, strlen(text));
    if (wrong != NULL) {
        cli_fail("subtree '%.260s': %s", text, wrong);
        return false;
    }
    memcpy(out, text, strlen(text) + 1);
    return true;
}

void administer_whom_write(const struct access_whom *whom, char out[WHOM_TEXT_MAX])
{
    if (whom->who == ACCESS_KEY)
        access_key_write(whom->key, out);
    else
        snprintf(out, WHOM_TEXT_MAX, "%s%s", whom->who == ACCESS_GROUP ? "group:" : "anyone",
                 whom->group);
}

void administer_rights_write(uint8_t rights, char out[RIGHTS_TEXT_MAX])
{
    out[0] = '\0';
    for (uint32_t i = 0; i < 3; i++)
        if ((rights >> i & 1) != 0) {
            strcat(out, out[0] != '\0' ? "," : "");
            strcat(out, right_names[i]);
        }
}
