/* What a proxy says of a client to those who ask: operators' tools over the core network (inquiry.h), and clients
 * that may (session_who.c). */
#ifndef CANTUS_PROXY_CLIENT_PAGE_H
#define CANTUS_PROXY_CLIENT_PAGE_H

#include "proto/clients.h"
#include "proxy/core.h"

/* There is room on the page. */
void client_page_add(struct clients *page, const struct proxy_client *client);

#endif
