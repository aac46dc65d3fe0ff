/* Where proxies are, as people write it: "HOST:PORT,HOST:PORT". Names of hosts become addresses, all that each
 * has, and each address remembers whose it is: that is whose certificate is wanted there. */
#ifndef CANTUS_SHELL_PROXY_LIST_H
#define CANTUS_SHELL_PROXY_LIST_H

#include "transport/port.h"

enum {
    PROXY_LIST_MAX = 32,  /* of hosts, and of addresses: those beyond are not tried */
    PROXY_HOST_MAX = 253, /* of a name in the DNS */
    PROXY_LIST_ERROR_MAX = 512
};

struct proxy_host {
    char name[PROXY_HOST_MAX + 1];
    uint16_t port;
};

struct proxy_list {
    uint32_t host_count;
    struct proxy_host hosts[PROXY_LIST_MAX];
    uint32_t count; /* of addresses, each once, in the order of the hosts */
    struct port_addr at[PROXY_LIST_MAX];
    uint8_t host_of[PROXY_LIST_MAX]; /* of each address, in hosts */
};

/* No address is known yet. False with a text in error[PROXY_LIST_ERROR_MAX]. */
bool proxy_list_parse(struct proxy_list *l, const char *text, char *error);
/* Asks the system anew where the hosts are; may wait for a name server. False if one of them is not found, with
 * a text of the last such one in error[PROXY_LIST_ERROR_MAX]; those of the others are known then, and if there are
 * none, the list stays as it was. */
bool proxy_list_resolve(struct proxy_list *l, char *error);
/* The name of an address's host; as transport_options.tls_name wants it. */
const char *proxy_list_name(void *list, struct port_addr at);

#endif
