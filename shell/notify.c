#include "shell/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WATCHDOG_SHARE = 3 }; /* of its patience: two messages may get lost */

static uint64_t number_of(const char *text)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 ? value : 0;
}

/* How long the watchdog of this process waits; 0: there is none, or it is meant for another one. */
static uint64_t watchdog_of_environment(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (usec == NULL || (pid != NULL && number_of(pid) != (uint64_t)getpid()))
        return 0;
    uint64_t value = number_of(usec);
    return value <= UINT64_MAX / 1000 ? value * 1000 : 0;
}

/* A path, or with @ a name in the kernel's own space of them. False: neither. */
static bool address_of(const char *path, struct notify *n)
{
    size_t length = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || length < 2 || length > sizeof n->to.sun_path - 1)
        return false;
    n->to.sun_family = AF_UNIX;
    memcpy(n->to.sun_path, path, length + 1);
    size_t used = offsetof(struct sockaddr_un, sun_path) + length;
    if (path[0] == '@')
        n->to.sun_path[0] = '\0';
    else
        used++;
    n->to_length = (socklen_t)used;
    return true;
}

void notify_open(struct notify *n)
{
    *n = (struct notify) { .fd = -1 };
    const char *path = getenv("NOTIFY_SOCKET");
    if (path != NULL && address_of(path, n))
        n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (n->fd >= 0)
        n->watchdog_ns = watchdog_of_environment();
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void notify_close(struct notify *n)
{
    if (n->fd >= 0)
        close(n->fd);
    *n = (struct notify) { .fd = -1 };
}

static bool tell(struct notify *n, const char *text)
{
    size_t length = strlen(text);
    return n->fd >= 0 &&
           sendto(n->fd, text, length, MSG_NOSIGNAL | MSG_DONTWAIT,
                  (const struct sockaddr *)(const void *)&n->to, n->to_length) == (ssize_t)length;
}

/* `status` must stay one line: another would be read as another assignment. */
static bool tell_with_status(struct notify *n, const char *what, const char *status)
{
    char text[NOTIFY_STATUS_MAX + 32];
    if (status == NULL)
        return tell(n, what);
    int at = snprintf(text, sizeof text, "%sSTATUS=%.*s", what, NOTIFY_STATUS_MAX, status);
    for (int i = (int)strlen(what); i < at; i++)
        if (text[i] == '\n' || text[i] == '\r')
            text[i] = ' ';
    return tell(n, text);
}

bool notify_ready(struct notify *n, const char *status)
{
    return tell_with_status(n, "READY=1\n", status);
}

bool notify_status(struct notify *n, const char *status)
{
    return tell_with_status(n, "", status);
}

bool notify_stopping(struct notify *n)
{
    return tell(n, "STOPPING=1");
}

bool notify_alive(struct notify *n, uint64_t now_ns)
{
    if (n->watchdog_ns == 0 || now_ns - n->told_ns < n->watchdog_ns / WATCHDOG_SHARE)
        return false;
    /* Told or not: a manager that does not read is not asked again in every round. */
    n->told_ns = now_ns;
    return tell(n, "WATCHDOG=1");
}

uint64_t notify_wait_ns(const struct notify *n, uint64_t wait_ns)
{
    uint64_t share = n->watchdog_ns / WATCHDOG_SHARE;
    return n->watchdog_ns != 0 && share < wait_ns ? share : wait_ns;
}
