/* What a daemon tells the service manager that started it: that it is ready, what it is doing, and,
 * where a watchdog waits for it, that its loop still turns. The protocol of sd_notify(3): each
 * message is a datagram to the Unix socket that $NOTIFY_SOCKET names. Without a service manager
 * nothing is sent; and since nothing depends on a message, one that can't be sent is dropped, never
 * waited for. */
#ifndef CANTUS_SHELL_NOTIFY_H
#define CANTUS_SHELL_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { NOTIFY_STATUS_MAX = 255 }; /* bytes of a status; what is longer is cut */

struct notify {
    int fd; /* -1: nobody to tell */
    struct sockaddr_un to;
    socklen_t to_length;
    uint64_t watchdog_ns; /* it wants to hear from us at least this often; 0: there is none */
    uint64_t told_ns;     /* when it last did */
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and takes them out of the environment. */
void notify_open(struct notify *n);
void notify_close(struct notify *n);

/* True if the message is on its way. `status` is for people: one line, or NULL. */
bool notify_ready(struct notify *n, const char *status);
bool notify_status(struct notify *n, const char *status);
bool notify_stopping(struct notify *n);
/* Call in every round; tells the watchdog when a third of its patience is over. `now_ns` is
 * monotonic. True if it was told. */
bool notify_alive(struct notify *n, uint64_t now_ns);
/* No longer than wait_ns, and so that notify_alive is called in time. */
uint64_t notify_wait_ns(const struct notify *n, uint64_t wait_ns);

#endif
