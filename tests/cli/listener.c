#include "tests/cli/listener.h"

#include <check.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>

struct listener {
    struct port_addr at;
    int fd;
    pid_t child;
};

static struct listener listeners[CONFIG_PROCESSES_MAX];
static uint32_t listener_count;

void listeners_open(void)
{
    listener_count = 0;
}

void listeners_close(void)
{
    for (uint32_t i = 0; i < listener_count; i++) {
        close(listeners[i].fd);
        if (listeners[i].child > 0) {
            kill(listeners[i].child, SIGKILL);
            waitpid(listeners[i].child, NULL, 0);
        }
    }
}

static struct listener *bound(void)
{
    struct listener *l = &listeners[listener_count++];
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof sa;
    l->child = -1;
    l->fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(l->fd, 0);
    ck_assert_int_eq(bind(l->fd, (const struct sockaddr *)(const void *)&sa, sizeof sa), 0);
    ck_assert_int_eq(getsockname(l->fd, (struct sockaddr *)(void *)&sa, &length), 0);
    l->at = (struct port_addr) { INADDR_LOOPBACK, ntohs(sa.sin_port) };
    return l;
}

struct port_addr listener_nobody(void)
{
    return bound()->at;
}

static void serve(int client, listener_answer *answer, void *ctx)
{
    uint8_t request[2048];
    size_t have = 0, whole;
    enum replay_type type;
    while ((whole = replay_frame_peek(request, have, &type)) == 0) {
        ssize_t n = recv(client, request + have, sizeof request - have, 0);
        if (n <= 0)
            return;
        have += (size_t)n;
    }
    if (whole <= have)
        answer(ctx, client, type, request + REPLAY_FRAME_HEADER, whole - REPLAY_FRAME_HEADER);
    shutdown(client, SHUT_WR);
    (void)!recv(client, request, sizeof request, 0);
}

struct port_addr listener_start(listener_answer *answer, void *ctx)
{
    struct listener *l = bound();
    ck_assert_int_eq(listen(l->fd, 4), 0);
    l->child = fork();
    ck_assert_int_ge(l->child, 0);
    for (; l->child == 0;) {
        int client = accept(l->fd, NULL, NULL);
        serve(client, answer, ctx);
        close(client);
    }
    return l->at;
}

void listener_send(int client, const uint8_t *bytes, size_t length, size_t piece)
{
    for (size_t at = 0; at < length; at += piece)
        if (send(client, bytes + at, length - at < piece ? length - at : piece, MSG_NOSIGNAL) < 0)
            return;
}

size_t listener_status_frame(const struct status *status, uint8_t *out, size_t capacity)
{
    uint8_t body[STATUS_SIZE_MAX];
    size_t length = status_encode(status, body, sizeof body);
    ck_assert_uint_gt(length, 0);
    return replay_frame_encode(REPLAY_STATUS, body, length, out, capacity);
}
