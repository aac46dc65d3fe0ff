#include "bench/nats.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/edge_stage.h"

enum { TRY_AGAIN_MS = 10, CONNECT_TRIES = 500, PATIENCE_S = 5 };

/* Debian has it where administrators' programs are. */
static bool find_server(char path[PATH_MAX])
{
    const char *folders = getenv("PATH");
    char list[PATH_MAX];
    snprintf(list, sizeof list, "%s:/usr/sbin", folders != NULL ? folders : "");
    char *rest = list;
    for (const char *folder; (folder = strsep(&rest, ":")) != NULL;) {
        int length = snprintf(path, PATH_MAX, "%s/nats-server", folder);
        if (length > 0 && length < PATH_MAX && access(path, X_OK) == 0)
            return true;
    }
    return false;
}

bool nats_is_installed(void)
{
    char path[PATH_MAX];
    return find_server(path);
}

/* One that nobody has at the moment. */
static uint16_t free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, length) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &length) != 0)
        a.sin_port = 0;
    if (fd >= 0)
        close(fd);
    return ntohs(a.sin_port);
}

static void run_server(const char *path, uint16_t port)
{
    char number[8];
    snprintf(number, sizeof number, "%u", port);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int nowhere = open("/dev/null", O_RDWR);
    dup2(nowhere, STDIN_FILENO);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    execl(path, "nats-server", "-a", "127.0.0.1", "-p", number, (char *)NULL);
    _exit(127);
}

bool nats_start(struct nats *n, char *error)
{
    char path[PATH_MAX];
    snprintf(error, BENCH_ERROR_MAX, "%s", NATS_MISSING);
    if (!find_server(path))
        return false;
    n->port = free_port();
    n->server = fork();
    if (n->server == 0)
        run_server(path, n->port);
    for (uint32_t i = 0; i < CONNECT_TRIES && n->server > 0; i++) {
        int fd = edge_connect(n->port);
        if (fd >= 0) {
            close(fd);
            return true;
        }
        stage_sleep_ms(TRY_AGAIN_MS);
    }
    snprintf(error, BENCH_ERROR_MAX, "nats-server did not start");
    return false;
}

void nats_stop(struct nats *n)
{
    if (n->server > 0) {
        kill(n->server, SIGKILL);
        waitpid(n->server, NULL, 0);
    }
    n->server = 0;
}

int nats_connect(const struct nats *n, bool subscribes)
{
    static const char connect_text[] = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
    static const char subscribe_text[] = "SUB " NATS_SUBJECT " 1\r\n";
    static const char ping_text[] = "PING\r\n";
    struct timeval patience = { .tv_sec = PATIENCE_S };
    char text[4096];
    size_t length = 0;
    int fd = edge_connect(n->port);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    bool fine = edge_send_all(fd, connect_text, sizeof connect_text - 1) &&
                (!subscribes || edge_send_all(fd, subscribe_text, sizeof subscribe_text - 1)) &&
                edge_send_all(fd, ping_text, sizeof ping_text - 1);
    while (fine && length < sizeof text - 1) {
        ssize_t got = recv(fd, text + length, sizeof text - 1 - length, 0);
        length += got > 0 ? (size_t)got : 0;
        text[length] = 0;
        if (strstr(text, "PONG\r\n") != NULL)
            return fd;
        fine = got > 0;
    }
    close(fd);
    return -1;
}

size_t nats_pub_head(char out[NATS_HEAD_MAX], uint32_t payload_bytes)
{
    return (size_t)snprintf(out, NATS_HEAD_MAX, "PUB " NATS_SUBJECT " %u\r\n", payload_bytes);
}

size_t nats_msg_head(char out[NATS_HEAD_MAX], uint32_t payload_bytes)
{
    return (size_t)snprintf(out, NATS_HEAD_MAX, "MSG " NATS_SUBJECT " 1 %u\r\n", payload_bytes);
}
