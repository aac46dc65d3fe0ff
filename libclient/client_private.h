/* Shared by client*.c and nobody else. */
#ifndef CANTUS_LIBCLIENT_CLIENT_PRIVATE_H
#define CANTUS_LIBCLIENT_CLIENT_PRIVATE_H

#include "journal/journal.h"
#include "libclient/core.h"
#include "shell/counter_file.h"
#include "shell/key_pair.h"
#include "shell/proxy_list.h"

struct client_proxies {
    struct proxy_list list;
    struct key_pair key;
    struct edge_options edge;
    struct tls *tls; /* NULL: plain */
    bool counters_tried;
};

struct cantus_client {
    struct cantus_client_options options;
    struct client_core *core;
    char error[CANTUS_ERROR_MAX];

    /* A deployment. */
    struct config config;
    struct transport *transport;
    struct loop *loop;
    struct counter_file *counters; /* NULL: there is none */
    struct log problems;           /* for others to read; nothing is written */
    char directory[CONFIG_PATH_MAX + 1];
    uint64_t opened_ns;
    bool heard; /* or told that nothing was */

    struct client_proxies *proxies; /* NULL: not through one */

    /* A store's files. */
    struct disk *disk;
    struct port port; /* takes nothing: there is nobody to propose to */
    enum cantus_status status;
    int readable;              /* an fd that always is */
    struct journal_walk *walk; /* NULL until the first poll */
    struct journal_walk_result walked;
    bool broken; /* what was read does not follow: c->error says where */
    uint64_t tip;
};

struct client_core_options client_core_options_of(struct cantus_client *c);
bool client_open_journal(struct cantus_client *c, const char *directory, char *error);
enum cantus_status client_poll_journal(struct cantus_client *c);
void client_close_journal(struct cantus_client *c);
bool client_open_proxy(struct cantus_client *c, const char *list, bool tls, char *error);
void client_find_proxies(struct cantus_client *c); /* if it wants to know where they are */
void client_close_proxy(struct cantus_client *c);

#endif
