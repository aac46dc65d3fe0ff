#include "bench/floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t mono_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static struct sockaddr_in address_of(struct port_addr a)
{
    return (struct sockaddr_in) { .sin_family = AF_INET,
                                  .sin_port = htons(a.port),
                                  .sin_addr.s_addr = htonl(a.ip) };
}

bool floor_open(struct floor_socket *s, struct port_addr from, struct port_addr to,
                uint32_t interface)
{
    struct sockaddr_in group = address_of(from), target = address_of(to);
    struct in_addr local = { .s_addr = htonl(interface) };
    struct ip_mreqn join = { .imr_multiaddr = group.sin_addr, .imr_address = local };
    int one = 1, zero = 0, bytes = 8 << 20;
    s->send = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    s->receive = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->receive >= 0 &&
        setsockopt(s->receive, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0)
        setsockopt(s->receive, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    if (s->send >= 0 && s->receive >= 0 &&
        setsockopt(s->receive, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        bind(s->receive, (struct sockaddr *)&group, sizeof group) == 0 &&
        setsockopt(s->receive, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join) == 0 &&
        setsockopt(s->receive, IPPROTO_IP, IP_MULTICAST_ALL, &zero, sizeof zero) == 0 &&
        setsockopt(s->send, IPPROTO_IP, IP_MULTICAST_IF, &local, sizeof local) == 0 &&
        connect(s->send, (struct sockaddr *)&target, sizeof target) == 0)
        return true;
    int saved = errno;
    floor_close(s);
    errno = saved;
    return false;
}

void floor_close(struct floor_socket *s)
{
    if (s->send >= 0)
        close(s->send);
    if (s->receive >= 0)
        close(s->receive);
    s->send = s->receive = -1;
}

void floor_echo(struct floor_socket *s, bool (*goes_on)(void *ctx), void *ctx)
{
    uint8_t bytes[FLOOR_DATAGRAM_BYTES] = { 0 };
    while (goes_on(ctx)) {
        if (recv(s->receive, bytes, sizeof bytes, 0) > 0)
            (void)!send(s->send, bytes, s->answer_bytes, 0);
        else
            sched_yield();
    }
}

uint64_t floor_ping(struct floor_socket *s, uint64_t number)
{
    enum { PATIENCE_NS = 200 * 1000 * 1000 };
    uint8_t bytes[FLOOR_DATAGRAM_BYTES] = { 0 }, back[FLOOR_DATAGRAM_BYTES];
    memcpy(bytes, &number, sizeof number);
    uint64_t began = mono_ns(), now = began;
    if (send(s->send, bytes, s->request_bytes, 0) < 0)
        return 0;
    while (now - began < PATIENCE_NS) {
        ssize_t n = recv(s->receive, back, sizeof back, 0);
        now = mono_ns();
        if (n == s->answer_bytes && memcmp(back, bytes, sizeof number) == 0)
            return now - began;
        if (n < 0)
            sched_yield();
    }
    return 0;
}

/* ---- one way --------------------------------------------------------------------------------- */

static uint8_t datagrams[FLOOR_AT_ONCE][FLOOR_DATAGRAM_BYTES];
static struct mmsghdr messages[FLOOR_AT_ONCE];
static struct iovec vectors[FLOOR_AT_ONCE];

static void prepare(void)
{
    for (int i = 0; i < FLOOR_AT_ONCE; i++) {
        vectors[i] = (struct iovec) { datagrams[i], FLOOR_DATAGRAM_BYTES };
        messages[i].msg_hdr = (struct msghdr) { .msg_iov = &vectors[i], .msg_iovlen = 1 };
    }
}

uint32_t floor_blast(struct floor_socket *s)
{
    prepare();
    int sent = sendmmsg(s->send, messages, FLOOR_AT_ONCE, 0);
    return sent < 0 ? 0 : (uint32_t)sent;
}

uint32_t floor_drain(struct floor_socket *s)
{
    prepare();
    int got = recvmmsg(s->receive, messages, FLOOR_AT_ONCE, MSG_DONTWAIT, NULL);
    if (got <= 0)
        sched_yield();
    return got < 0 ? 0 : (uint32_t)got;
}
