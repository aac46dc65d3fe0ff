/* Asking proxies where clients come in who is connected to them: WHO and CLIENTS of the client protocol. Each
 * answers for itself. */
#ifndef CANTUS_CLI_WHO_PROXY_H
#define CANTUS_CLI_WHO_PROXY_H

#include "cli/ask.h"
#include "cli/cli.h"
#include "proto/clients.h"
#include "shell/proxy_list.h"

enum { WHO_NAME_MAX = EDGE_AGENT_MAX };

struct who_proxies;

/* Those of globals->proxy, at each address that their names have. NULL: said on standard error. */
struct who_proxies *who_proxies_open(const struct cli_globals *globals);
void who_proxies_close(struct who_proxies *w); /* NULL: nothing */
uint32_t who_proxies_count(const struct who_proxies *w);
/* As it calls itself; its address until it has said so. */
const char *who_proxies_name(const struct who_proxies *w, uint32_t index);
/* The page that begins at this place; logs in if that is not done. False with a text in
 * problem[ASK_PROBLEM_MAX]: it refuses, is gone, or does not answer in some seconds. */
bool who_proxies_page(struct who_proxies *w, uint32_t index, uint32_t place, struct clients *page,
                      char *problem);

#endif
