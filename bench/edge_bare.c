#include "bench/edge_bare.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/edge_stage.h"
#include "proto/edge.h"
#include "proto/proposal.h"

enum { EVENTS_MAX = 32, BACKLOG = 4096, WAIT_MS = 10 };
#define SPIN_NS UINT64_C(50000)

bool edge_bare_open(struct edge_bare *b, const struct stage *s, uint32_t payload_bytes)
{
    static const uint8_t payload[EDGE_BARE_FRAME_MAX / 2];
    const struct config *config = &s->config;
    struct port_addr out = config->ingress, back = config->egress_a;
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof any;
    out.port = (uint16_t)(out.port + 10000);
    back.port = (uint16_t)(back.port + 10000);
    b->relay = b->echo = (struct floor_socket) { .receive = -1, .send = -1 };
    b->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (b->listener < 0 || bind(b->listener, (struct sockaddr *)&any, length) != 0 ||
        listen(b->listener, BACKLOG) != 0 ||
        getsockname(b->listener, (struct sockaddr *)&any, &length) != 0 ||
        !floor_open(&b->relay, back, out, config->interface) ||
        !floor_open(&b->echo, out, back, config->interface))
        return false;
    const struct edge_publish p = { .publisher = 1,
                                    .number = 1,
                                    .topic = EDGE_TOPIC,
                                    .topic_length = sizeof EDGE_TOPIC - 1,
                                    .payload = payload,
                                    .length = payload_bytes };
    b->port = ntohs(any.sin_port);
    b->request_bytes = (uint32_t)edge_publish_encode(&p, b->request, sizeof b->request);
    b->answer_bytes = EDGE_HEADER + EDGE_MESSAGE_HEADER + payload_bytes;
    b->relay.request_bytes = PROPOSAL_HEADER_SIZE + PROPOSAL_ENTRY_SIZE + payload_bytes;
    b->echo.answer_bytes = BATCH_HEADER_SIZE + MESSAGE_HEADER_SIZE + payload_bytes;
    return true;
}

void edge_bare_close(struct edge_bare *b)
{
    floor_close(&b->relay);
    floor_close(&b->echo);
    if (b->listener >= 0)
        close(b->listener);
}

size_t edge_bare_wait(int fd, uint64_t timeout_ns)
{
    uint8_t bytes[EDGE_BARE_FRAME_MAX];
    uint64_t began = stage_mono_ns(), passed = 0;
    while (passed < timeout_ns) {
        ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got > 0)
            return (size_t)got;
        if (passed < SPIN_NS) {
            sched_yield();
        } else {
            struct pollfd p = { .fd = fd, .events = POLLIN };
            struct timespec t = { .tv_nsec = (long)((timeout_ns - passed) % 1000000000u) };
            (void)!ppoll(&p, 1, &t, NULL);
        }
        passed = stage_mono_ns() - began;
    }
    return 0;
}

void edge_bare_sequencer(struct edge_bare *b, const struct stage *s)
{
    static const uint8_t answer[EDGE_BARE_FRAME_MAX];
    while (stage_phase_now(s) == STAGE_FLOOR)
        if (edge_bare_wait(b->echo.receive, WAIT_MS * 1000000) > 0)
            (void)!send(b->echo.send, answer, b->echo.answer_bytes, MSG_DONTWAIT);
}

/* ---- the proxy ------------------------------------------------------------------------------- */

static void watch(int epoll, int fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
    (void)!epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* What a proxy says to who logs in and subscribes. */
static void let_in(int fd)
{
    uint8_t frames[512];
    const struct edge_welcome welcome = { .version = EDGE_VERSION };
    const struct edge_accepted accepted = { .stable = 1 };
    const struct edge_subscribed subscribed = { .position = { .seq = 1 } };
    size_t length = edge_welcome_encode(&welcome, frames, sizeof frames);
    length += edge_accepted_encode(&accepted, frames + length, sizeof frames - length);
    length += edge_subscribed_encode(&subscribed, frames + length, sizeof frames - length);
    (void)!send(fd, frames, length, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The connection that messages come on is the one that they go back to. */
static void serve(struct edge_bare *b, int epoll, int fd, int *live)
{
    enum { TYPE_AT = 4 };
    uint8_t bytes[EDGE_BARE_FRAME_MAX];
    if (fd == b->listener) {
        int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (accepted >= 0)
            watch(epoll, accepted);
        return;
    }
    ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (fd == b->relay.receive) {
        if (got > 0 && *live >= 0)
            (void)!send(*live, bytes, b->answer_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else if (got > 0 && (fd == *live || (got > TYPE_AT && bytes[TYPE_AT] == EDGE_PUBLISH))) {
        *live = fd;
        for (b->unsent_bytes += (size_t)got; b->unsent_bytes >= b->request_bytes;
             b->unsent_bytes -= b->request_bytes)
            (void)!send(b->relay.send, bytes, b->relay.request_bytes, MSG_DONTWAIT);
    } else if (got > 0) {
        let_in(fd);
    } else if (got == 0 || errno != EAGAIN) {
        close(fd);
    }
}

void edge_bare_proxy(struct edge_bare *b, const struct stage *s)
{
    struct epoll_event events[EVENTS_MAX];
    int epoll = epoll_create1(EPOLL_CLOEXEC), live = -1;
    watch(epoll, b->listener);
    watch(epoll, b->relay.receive);
    for (uint64_t last = stage_mono_ns(); stage_phase_now(s) == STAGE_FLOOR;) {
        bool spins = stage_mono_ns() - last < SPIN_NS;
        int count = epoll_wait(epoll, events, EVENTS_MAX, spins ? 0 : WAIT_MS);
        for (int i = 0; i < count; i++)
            serve(b, epoll, events[i].data.fd, &live);
        if (count > 0)
            last = stage_mono_ns();
        else if (spins)
            sched_yield();
    }
    close(epoll); /* connections are left to the end of the process */
}
