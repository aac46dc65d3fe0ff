#include "shell/proxy_list.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

enum { PORT_TEXT_MAX = 5 };

/* HOST:PORT, between `at` and `end`. */
static bool parse_host(struct proxy_host *host, const char *at, const char *end)
{
    const char *colon = end;
    while (colon > at && colon[-1] != ':')
        colon--;
    size_t length = colon > at ? (size_t)(colon - 1 - at) : 0;
    if (length == 0 || length > PROXY_HOST_MAX || colon == end || end - colon > PORT_TEXT_MAX)
        return false;
    uint32_t port = 0;
    for (const char *digit = colon; digit < end; digit++) {
        if (*digit < '0' || *digit > '9')
            return false;
        port = port * 10 + (uint32_t)(*digit - '0');
    }
    memcpy(host->name, at, length);
    host->port = (uint16_t)port;
    return port >= 1 && port <= UINT16_MAX;
}

bool proxy_list_parse(struct proxy_list *l, const char *text, char *error)
{
    *l = (struct proxy_list) { 0 };
    for (const char *at = text;;) {
        const char *end = at + strcspn(at, ",");
        if (l->host_count == PROXY_LIST_MAX) {
            snprintf(error, PROXY_LIST_ERROR_MAX, "more than %d proxies are named", PROXY_LIST_MAX);
            return false;
        }
        if (!parse_host(&l->hosts[l->host_count++], at, end)) {
            snprintf(error, PROXY_LIST_ERROR_MAX,
                     "\"%.200s\": what is wanted is HOST:PORT, or several with commas between them",
                     text);
            return false;
        }
        if (*end == '\0')
            return true;
        at = end + 1;
    }
}

static void add(struct proxy_list *l, uint32_t host, uint32_t ip)
{
    struct port_addr a = { .ip = ip, .port = l->hosts[host].port };
    for (uint32_t i = 0; i < l->count; i++)
        if (port_addr_equal(l->at[i], a))
            return;
    if (l->count == PROXY_LIST_MAX)
        return;
    l->host_of[l->count] = (uint8_t)host;
    l->at[l->count++] = a;
}

/* All addresses of a host, in the order in which the system gives them. */
static bool resolve_host(struct proxy_list *l, uint32_t index, char *error)
{
    const char *name = l->hosts[index].name;
    struct in_addr numeric;
    if (inet_pton(AF_INET, name, &numeric) == 1) {
        add(l, index, ntohl(numeric.s_addr));
        return true;
    }
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *all = NULL;
    int result = getaddrinfo(name, NULL, &hints, &all);
    if (result != 0) {
        snprintf(error, PROXY_LIST_ERROR_MAX, "proxy host \"%.200s\": %s", name,
                 result == EAI_SYSTEM ? strerror(errno) : gai_strerror(result));
        return false;
    }
    for (const struct addrinfo *a = all; a != NULL; a = a->ai_next) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a->ai_addr;
        add(l, index, ntohl(in->sin_addr.s_addr));
    }
    freeaddrinfo(all);
    return true;
}

bool proxy_list_resolve(struct proxy_list *l, char *error)
{
    uint32_t before = l->count;
    bool found = true;
    l->count = 0;
    for (uint32_t i = 0; i < l->host_count; i++)
        found = resolve_host(l, i, error) && found;
    if (l->count == 0)
        l->count = before; /* nothing was written over them */
    return found;
}

const char *proxy_list_name(void *list, struct port_addr at)
{
    const struct proxy_list *l = list;
    for (uint32_t i = 0; i < l->count; i++)
        if (port_addr_equal(l->at[i], at))
            return l->hosts[l->host_of[i]].name;
    return l->hosts[0].name; /* not reached: whoever asks has the address from the list */
}
