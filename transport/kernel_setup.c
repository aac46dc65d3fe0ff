/* Opening sockets, and saying clearly why one could not be opened. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "transport/kernel.h"

enum {
    LISTEN_BACKLOG = 128,
    CLIENTS_BACKLOG = 4096 /* who all come back at once wait there, as far as the system allows */
};

static const char *const channel_names[PORT_CHANNELS] = { "unicast", "ingress", "egress A",
                                                          "egress B" };

__attribute__((format(printf, 2, 3))) static bool refuse(char *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, TRANSPORT_ERROR_MAX, format, args);
    va_end(args);
    return false;
}

struct ip_text {
    char text[INET_ADDRSTRLEN];
};

static struct ip_text ip_text(uint32_t ip)
{
    struct ip_text out;
    struct in_addr in = { .s_addr = htonl(ip) };
    if (inet_ntop(AF_INET, &in, out.text, sizeof out.text) == NULL)
        out.text[0] = '\0';
    return out;
}

/* The interface that has this address: its index. Checked before any socket is opened, because the
 * errors of bind and IP_ADD_MEMBERSHIP don't tell a typo from an interface that is down. */
static bool find_interface(uint32_t ip, const char *what, int *index, char *error)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0)
        return refuse(error, "cannot list the network interfaces: %s", strerror(errno));
    const struct ifaddrs *found = NULL;
    bool loopback = false;
    for (const struct ifaddrs *i = all; i != NULL && found == NULL; i = i->ifa_next) {
        if (i->ifa_addr == NULL || i->ifa_addr->sa_family != AF_INET)
            continue;
        const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)i->ifa_addr;
        if (ntohl(a->sin_addr.s_addr) == ip)
            found = i;
        else if ((i->ifa_flags & IFF_LOOPBACK) != 0 && ip >> 24 == 127)
            loopback = true; /* all of 127/8 is lo's */
    }
    bool ok = true;
    if (found != NULL && (found->ifa_flags & IFF_UP) == 0)
        ok = refuse(error, "%s: interface %s with address %s is down: ip link set %s up", what,
                    found->ifa_name, ip_text(ip).text, found->ifa_name);
    else if (found != NULL)
        *index = (int)if_nametoindex(found->ifa_name);
    else if (loopback)
        *index = (int)if_nametoindex("lo");
    else
        ok = refuse(error,
                    "%s: no network interface that is up has the address %s: compare with "
                    "`ip -br address`",
                    what, ip_text(ip).text);
    freeifaddrs(all);
    return ok;
}

static void set_int(int fd, int level, int option, int value)
{
    /* For options that only improve matters: an old kernel does without. */
    int ignored = setsockopt(fd, level, option, &value, sizeof value);
    (void)ignored;
}

static int udp_socket(const struct kernel *k)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    int bytes = (int)k->options.receive_buffer_bytes;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0)
        set_int(fd, SOL_SOCKET, SO_RCVBUF, bytes);
    set_int(fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
    return fd;
}

static bool bind_failed(char *error, const char *what, struct port_addr at, const char *list)
{
    if (errno == EADDRINUSE)
        return refuse(
            error,
            "%s: port %u of %s is in use by another process: stop it (`ss -%slpn 'sport = "
            ":%u'` shows which) or configure another port",
            what, at.port, ip_text(at.ip).text, list, at.port);
    if (errno == EACCES)
        return refuse(error, "%s: no permission for port %u: choose one above 1023", what, at.port);
    return refuse(error, "%s: cannot bind to %s:%u: %s", what, ip_text(at.ip).text, at.port,
                  strerror(errno));
}

static bool bind_to(int fd, struct port_addr at)
{
    struct sockaddr_in sa = kernel_sockaddr(at);
    return bind(fd, (const struct sockaddr *)(const void *)&sa, sizeof sa) == 0;
}

static struct port_addr bound_at(int fd)
{
    struct sockaddr_in sa = { 0 };
    socklen_t length = sizeof sa;
    if (getsockname(fd, (struct sockaddr *)(void *)&sa, &length) != 0)
        return (struct port_addr) { 0 };
    return kernel_addr(&sa);
}

static bool open_unicast(struct kernel *k, char *error)
{
    int index = 0;
    struct port_addr at = k->options.unicast;
    if (!find_interface(at.ip, "unicast", &index, error))
        return false;
    int fd = udp_socket(k);
    if (fd < 0)
        return refuse(error, "cannot open a UDP socket: %s", strerror(errno));
    k->sockets[PORT_UNICAST] = fd;
    /* Deliberately without SO_REUSEADDR: two processes on one address would share its datagrams. */
    if (!bind_to(fd, at))
        return bind_failed(error, "unicast", at, "u");
    k->transport.port.self = bound_at(fd);
    k->senders[PORT_UNICAST] = fd;
    set_int(fd, SOL_SOCKET, SO_SNDBUF, 4 << 20);
    return true;
}

static void set_sender(const struct kernel *k, int fd)
{
    set_int(fd, SOL_SOCKET, SO_SNDBUF, 4 << 20);
    set_int(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 1);
    set_int(fd, IPPROTO_IP, IP_MULTICAST_TTL, k->options.ttl);
}

/* A socket for one group: connected, so that the route is looked up once. It shares the unicast
 * socket's address, so that answers come back to one place; being connected it takes none of them
 * in. Both allow that only while the second one binds: another process must not. */
static bool open_sender(struct kernel *k, int channel, int index, char *error)
{
    struct port_addr group = k->options.groups[channel];
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return refuse(error, "cannot open a UDP socket: %s", strerror(errno));
    k->senders[channel] = fd;
    set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set_int(k->sockets[PORT_UNICAST], SOL_SOCKET, SO_REUSEADDR, 1);
    bool bound = bind_to(fd, k->transport.port.self);
    int reason = errno;
    set_int(k->sockets[PORT_UNICAST], SOL_SOCKET, SO_REUSEADDR, 0);
    errno = reason;
    if (!bound)
        return bind_failed(error, channel_names[channel], k->transport.port.self, "u");
    set_sender(k, fd);
    struct ip_mreqn via = { .imr_address = { htonl(k->options.interfaces[channel]) },
                            .imr_ifindex = index };
    struct sockaddr_in sa = kernel_sockaddr(group);
    bool ok = setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &via, sizeof via) == 0 &&
              connect(fd, (const struct sockaddr *)(const void *)&sa, sizeof sa) == 0;
    reason = errno;
    if (ok)
        return true;
    return refuse(error,
                  "%s: no multicast route to %s through the interface with address %s (%s): "
                  "ip route add 224.0.0.0/4 dev INTERFACE",
                  channel_names[channel], ip_text(group.ip).text,
                  ip_text(k->options.interfaces[channel]).text, strerror(reason));
}

/* What we send to a group comes back to whoever joined it on this host, ourselves included: the
 * kernel drops it before it is queued. */
static void drop_own(const struct kernel *k, int fd)
{
    struct port_addr self = k->transport.port.self;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0), /* the UDP header's source port */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, self.port, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_NET_OFF + 12), /* the IP source */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, self.ip, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog program = { .len = sizeof code / sizeof code[0], .filter = code };
    /* Without it the cores drop what they sent, as they do anyway. */
    int ignored = setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
    (void)ignored;
}

static bool join_group(struct kernel *k, int channel, int index, char *error)
{
    struct port_addr group = k->options.groups[channel];
    uint32_t interface = k->options.interfaces[channel];
    int fd = udp_socket(k);
    if (fd < 0)
        return refuse(error, "cannot open a UDP socket: %s", strerror(errno));
    k->sockets[channel] = fd;
    /* Every process of this host that joins gets its own copy; bound to the group, so that a port
     * shared with another group or with unicast traffic brings nothing else in. */
    set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set_int(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
    drop_own(k, fd);
    if (!bind_to(fd, group))
        return bind_failed(error, channel_names[channel], group, "u");
    struct ip_mreqn join = { .imr_multiaddr = { htonl(group.ip) },
                             .imr_address = { htonl(interface) },
                             .imr_ifindex = index };
    if (setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join) == 0)
        return true;
    if (errno == ENOBUFS)
        return refuse(error,
                      "%s: cannot join %s: too many groups: raise net.ipv4.igmp_max_memberships",
                      channel_names[channel], ip_text(group.ip).text);
    return refuse(error, "%s: cannot join %s on the interface with address %s: %s",
                  channel_names[channel], ip_text(group.ip).text, ip_text(interface).text,
                  strerror(errno));
}

static bool open_group(struct kernel *k, int channel, char *error)
{
    struct port_addr group = k->options.groups[channel];
    if (group.port == 0) {
        if (k->options.join[channel])
            return refuse(error, "%s: to be received, but no group is configured",
                          channel_names[channel]);
        return true;
    }
    if (group.ip >> 28 != 0xe)
        return refuse(error,
                      "%s: %s is not a multicast group: use 224.0.0.0 to 239.255.255.255 "
                      "(239.x.y.z is for private use)",
                      channel_names[channel], ip_text(group.ip).text);
    for (int other = PORT_INGRESS; other < channel; other++)
        if (port_addr_equal(group, k->options.groups[other]))
            return refuse(error, "%s: the same group %s:%u as %s: each needs its own",
                          channel_names[channel], ip_text(group.ip).text, group.port,
                          channel_names[other]);
    int index = 0;
    if (!find_interface(k->options.interfaces[channel], channel_names[channel], &index, error) ||
        !open_sender(k, channel, index, error))
        return false;
    return !k->options.join[channel] || join_group(k, channel, index, error);
}

bool kernel_setup_sockets(struct kernel *k, char *error)
{
    if (!open_unicast(k, error))
        return false;
    for (int channel = PORT_INGRESS; channel < PORT_CHANNELS; channel++)
        if (!open_group(k, channel, error))
            return false;
    return true;
}

/* What is accepted has the options of who accepts it. */
static bool listen_at(struct kernel *k, int number, struct port_addr at, int backlog, char *error)
{
    struct kernel_streams *s = &k->streams;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    s->listen[number] = fd;
    if (fd < 0)
        return refuse(error, "cannot open a TCP socket: %s", strerror(errno));
    set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1); /* restart while old connections time out */
    kernel_stream_options(s, fd, number > 0);
    if (!bind_to(fd, at) || listen(fd, backlog) != 0)
        return bind_failed(error, number > 0 ? "clients" : "streams", at, "t");
    struct epoll_event event = { .events = EPOLLIN, .data = { .u32 = (uint32_t)number << 16 } };
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        return refuse(error, "cannot watch a socket: %s", strerror(errno));
    return true;
}

bool kernel_setup_listen(struct kernel *k, char *error)
{
    struct port_addr own = { k->options.unicast.ip, k->options.stream_port };
    if (k->options.listen) {
        if (!listen_at(k, 0, own, LISTEN_BACKLOG, error))
            return false;
        k->transport.port.stream_port = bound_at(k->streams.listen[0]).port;
    }
    return k->options.clients.port == 0 ||
           listen_at(k, 1, k->options.clients, CLIENTS_BACKLOG, error);
}
