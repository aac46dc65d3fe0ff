#include "cli/dev_key.h"

#include <cantus/cantus.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/administer.h"
#include "cli/cli.h"
#include "cli/key_file.h"

struct dev_key {
    bool is_volatile, done, there;
    const char *dir;
    char path[CONFIG_PATH_MAX + 32];
    char unfinished[CONFIG_PATH_MAX + 32];
    char admin[CONFIG_PATH_MAX + 32];
    struct sys_grant grant;
    struct cantus_client *client; /* NULL: not opened yet */
    struct cantus_pipe *pipe;
    bool pushed;
    uint64_t before; /* items that the administrator's pipe had then */
};

/* Without it one can do a lot, too: never a reason to stop. A file that is there already stays, but is of no use. */
static bool give_up(struct dev_key *k, const char *why)
{
    cli_fail("no dev.key: %s", why);
    k->there = false;
    return k->done = true;
}

/* A file that is there is never replaced: it may be somebody's only copy. */
static bool look_at_own(const struct dev_key *k)
{
    uint8_t key[ACCESS_KEY_SIZE];
    char error[KEY_FILE_ERROR_MAX];
    bool fine = key_file_read(k->path, key, error);
    if (!fine)
        cli_fail("%s; it is left as it is: remove it and start again, and another is made", error);
    return fine;
}

static bool look_at_admin(const struct dev_key *k)
{
    uint8_t key[ACCESS_KEY_SIZE];
    char error[KEY_FILE_ERROR_MAX];
    bool fine = key_file_read(k->admin, key, error);
    if (!fine)
        cli_fail(
            "%s; rights and limits can't be given without the administrator's key, of which no "
            "other is made: put it back, or name it with --key FILE",
            error);
    return fine;
}

struct dev_key *dev_key_open(const char *dir, bool is_volatile)
{
    struct dev_key *k = calloc(1, sizeof *k);
    if (k == NULL)
        return NULL;
    k->dir = dir;
    k->is_volatile = is_volatile;
    int n = snprintf(k->path, sizeof k->path, "%s/dev.key", dir);
    bool fits = n > 0 && (size_t)n < sizeof k->path - 4 &&
                administer_key_path(dir, k->admin, sizeof k->admin);
    snprintf(k->unfinished, sizeof k->unfinished, "%.*s.new", (int)sizeof k->path - 5, k->path);
    if (!fits) {
        k->done = true;
        return k;
    }
    bool is_own = access(k->path, F_OK) == 0, own_is_fine = is_own && look_at_own(k);
    bool admin_is_fine = look_at_admin(k);
    /* A volatile stream has forgotten what it was granted. */
    k->there = own_is_fine && (admin_is_fine || !is_volatile);
    k->done = !admin_is_fine || (is_own && !(own_is_fine && is_volatile));
    return k;
}

void dev_key_close(struct dev_key *k)
{
    if (k->client != NULL)
        cantus_client_close(k->client);
    free(k);
}

const char *dev_key_path(const struct dev_key *k)
{
    return k->done && k->there ? k->path : NULL;
}

/* The key's file, under one name or the other. */
static bool read_key(struct dev_key *k)
{
    char error[KEY_FILE_ERROR_MAX];
    const char *path = k->there ? k->path : k->unfinished;
    k->grant = (struct sys_grant) { .whom = { .who = ACCESS_KEY },
                                    .rights = ACCESS_READ | ACCESS_WRITE,
                                    .subtree = "/" };
    bool fine = !k->there && access(path, F_OK) != 0
                    ? key_file_new(path, k->grant.whom.key, error)
                    : key_file_read(path, k->grant.whom.key, error);
    if (!fine)
        give_up(k, error);
    return fine;
}

static void on_report(void *ctx, const struct cantus_report *r)
{
    if (r->kind == CANTUS_REPORT_REJECTED)
        give_up(ctx, r->text);
}

static bool open_client(struct dev_key *k)
{
    uint8_t key[ACCESS_KEY_SIZE];
    char identity[IDENTITY_MAX + 1] = "@", error[CANTUS_ERROR_MAX + KEY_FILE_ERROR_MAX] = "";
    struct cantus_client_options options = { .name = "cantus-dev",
                                             .source = k->dir,
                                             .level =
                                                 k->is_volatile ? CANTUS_SEQUENCED : CANTUS_STABLE,
                                             .report = on_report,
                                             .ctx = k };
    if (!read_key(k))
        return false;
    if (key_file_read(k->admin, key, error)) {
        access_key_write(key, identity + 1);
        strcat(identity, ":dev");
        k->client = cantus_client_open(&options, error);
        if (k->client != NULL)
            k->pipe = cantus_pipe_open(k->client, identity, error);
    }
    return k->pipe != NULL || !give_up(k, error);
}

static bool granted(const struct dev_key *k, const struct catalog *leader)
{
    struct access_grant g;
    for (uint32_t i = 0; access_grant_at(catalog_access(leader), i, &g); i++)
        if (g.whom.who == ACCESS_KEY && strcmp(g.subtree, k->grant.subtree) == 0 &&
            memcmp(g.whom.key, k->grant.whom.key, ACCESS_KEY_SIZE) == 0)
            return (g.rights & k->grant.rights) == k->grant.rights;
    return false;
}

static bool finish(struct dev_key *k)
{
    if (!k->there && rename(k->unfinished, k->path) != 0)
        return give_up(k, strerror(errno));
    k->there = true;
    return k->done = true;
}

static bool advance(struct dev_key *k, const struct catalog *leader)
{
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    if (k->done || (k->client == NULL && !open_client(k)))
        return k->done;
    if (cantus_client_poll(k->client, 0) != CANTUS_OK)
        return give_up(k, cantus_client_error(k->client));
    if (k->done || !cantus_pipe_ready(k->pipe))
        return k->done;
    if (!k->pushed) {
        if (granted(k, leader)) /* by a start that was interrupted */
            return finish(k);
        size_t length = sys_grant_encode(&k->grant, payload, sizeof payload);
        k->before = cantus_pipe_sequenced(k->pipe);
        k->pushed = cantus_pipe_push(k->pipe, topic_fixed_path(TOPIC_GRANT), payload, length);
    }
    return k->pushed && cantus_pipe_sequenced(k->pipe) > k->before && granted(k, leader) &&
           finish(k);
}

bool dev_key_poll(struct dev_key *k, const struct catalog *leader)
{
    if (advance(k, leader) && k->client != NULL) {
        cantus_client_close(k->client);
        k->client = NULL;
    }
    return k->done;
}
