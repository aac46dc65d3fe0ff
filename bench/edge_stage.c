#include "bench/edge_stage.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/programs.h"
#include "proto/edge.h"
#include "proxy/shell.h"

enum { ANSWER_MAX = 4096, PATIENCE_S = 10, TRY_AGAIN_MS = 10, CONNECT_TRIES = 1000 };

bool edge_stage_open(struct edge_stage *e, const struct stage_options *options, char *error)
{
    if (!stage_open(&e->stage, options, error))
        return false;
    e->proxy = (struct port_addr) { .ip = INADDR_LOOPBACK,
                                    .port = e->stage.config.proxies[0].listen.port };
    snprintf(e->source, sizeof e->source, "proxy:127.0.0.1:%u", e->proxy.port);
    snprintf(e->key_file, sizeof e->key_file, "%s/admin.key", e->stage.dir);
    return true;
}

int edge_stage_proxy(struct edge_stage *e, const struct edge_proxy_watch *watch)
{
    struct stage *s = &e->stage;
    char error[PROXY_SHELL_ERROR_MAX] = "out of memory";
    struct loop_options options = config_loop(&s->config);
    if (s->spin)
        options.idle = LOOP_IDLE_SPIN;
    struct log log;
    log_init(&log, STDERR_FILENO, LOG_ERROR);
    struct loop *loop = loop_create(&options, error);
    struct proxy_shell *shell =
        loop != NULL ? proxy_shell_open(&s->config, 0, loop, &log, error) : NULL;
    if (shell == NULL) {
        fprintf(stderr, "cantus: %s\n", error);
        return 1;
    }
    const struct proxy *core = proxy_shell_core(shell);
    const uint64_t poll_ns = watch->poll_ns != 0   ? watch->poll_ns
                             : watch->bare != NULL ? 100 * 1000
                                                   : 20 * 1000 * 1000;
    for (enum stage_phase phase; (phase = stage_phase_now(s)) != STAGE_END;) {
        if (proxy_failed(core)) {
            fprintf(stderr, "cantus: proxy: %s\n", proxy_state(core));
            return 1;
        }
        if (phase != STAGE_CANTUS && watch->bare != NULL)
            watch->bare(watch->ctx, s);
        else if (phase != STAGE_CANTUS)
            stage_sleep_ms(1);
        else
            loop_poll(loop, poll_ns);
        if (watch->round != NULL)
            watch->round(watch->ctx, core);
    }
    return 0;
}

bool edge_stage_grant(const struct edge_stage *e, const char *subtree, char *error)
{
    const char *const arguments[] = { "cantus", "--dir", e->stage.dir, "grant",
                                      "anyone", "read",  subtree,      NULL };
    struct programs programs;
    int status = 1;
    if (!programs_find(&programs, error))
        return false;
    pid_t child = programs_start(&programs, arguments, -1);
    snprintf(error, BENCH_ERROR_MAX, "cantus grant failed");
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* ---- bare clients ---------------------------------------------------------------------------- */

int edge_connect(uint16_t port)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

bool edge_send_all(int fd, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;
    while (length > 0) {
        ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        at += sent;
        length -= (size_t)sent;
    }
    return true;
}

static bool receive_all(int fd, uint8_t *to, size_t length)
{
    while (length > 0) {
        ssize_t got = recv(fd, to, length, 0);
        if (got <= 0)
            return false;
        to += got;
        length -= (size_t)got;
    }
    return true;
}

/* Frames until one of this type; its body's length, SIZE_MAX: it did not come. */
static size_t wait_for(int fd, enum edge_type wanted, uint8_t body[ANSWER_MAX], char *error)
{
    uint8_t head[EDGE_HEADER];
    snprintf(error, BENCH_ERROR_MAX, "the proxy did not answer");
    while (receive_all(fd, head, sizeof head)) {
        size_t length = 4 + (size_t)wire_load32(head);
        if (length < EDGE_HEADER || length - EDGE_HEADER > ANSWER_MAX ||
            !receive_all(fd, body, length - EDGE_HEADER))
            break;
        uint8_t type = head[4];
        if (type == wanted)
            return length - EDGE_HEADER;
        struct edge_closing closing;
        struct edge_refused refused;
        if (type == EDGE_CLOSING && edge_closing_decode(body, length - EDGE_HEADER, &closing))
            snprintf(error, BENCH_ERROR_MAX, "the proxy closes: %s", closing.text);
        if (type == EDGE_REFUSED && edge_refused_decode(body, length - EDGE_HEADER, &refused)) {
            snprintf(error, BENCH_ERROR_MAX, "the proxy refuses: %s", refused.text);
            break;
        }
    }
    return SIZE_MAX;
}

static bool log_in(int fd, const struct key_pair *key, char *error)
{
    uint8_t frame[256], body[ANSWER_MAX];
    struct edge_hello hello = { .version = EDGE_VERSION, .has_key = key != NULL, .agent = "bench" };
    struct edge_welcome welcome;
    if (key != NULL)
        memcpy(hello.key, key->public_key, sizeof hello.key);
    if (!edge_send_all(fd, frame, edge_hello_encode(&hello, frame, sizeof frame)))
        return false;
    if (key != NULL) {
        static const uint8_t no_binding[32];
        uint8_t message[EDGE_SIGNED_SIZE];
        struct edge_prove prove;
        size_t length = wait_for(fd, EDGE_WELCOME, body, error);
        if (length == SIZE_MAX || !edge_welcome_decode(body, length, &welcome))
            return false;
        edge_signed(&welcome, key->public_key, no_binding, message);
        key_pair_sign(key, message, sizeof message, prove.signature);
        if (!edge_send_all(fd, frame, edge_prove_encode(&prove, frame, sizeof frame)))
            return false;
    }
    return wait_for(fd, EDGE_ACCEPTED, body, error) != SIZE_MAX;
}

static bool subscribe(int fd, const char *subtree, char *error)
{
    uint8_t frame[256], body[ANSWER_MAX], list[128];
    size_t length = strlen(subtree);
    list[0] = (uint8_t)length;
    memcpy(list + 1, subtree, length);
    struct edge_subscribe s = { .level = EDGE_SEQUENCED,
                                .from = EDGE_FROM_TIP,
                                .tick_ms = EDGE_TICK_DEFAULT_MS,
                                .subtrees = { .count = 1, .at = list, .length = length + 1 } };
    return edge_send_all(fd, frame, edge_subscribe_encode(&s, frame, sizeof frame)) &&
           wait_for(fd, EDGE_SUBSCRIBED, body, error) != SIZE_MAX;
}

bool edge_client_publisher(int fd, const char *name, struct edge_opened *opened, char *error)
{
    uint8_t frame[256], body[ANSWER_MAX];
    struct edge_open o = { .nonce = stage_mono_ns() };
    snprintf(o.name, sizeof o.name, "%s", name);
    if (!edge_send_all(fd, frame, edge_open_encode(&o, frame, sizeof frame)))
        return false;
    size_t length = wait_for(fd, EDGE_OPENED, body, error);
    return length != SIZE_MAX && edge_opened_decode(body, length, opened);
}

int edge_client_open(const struct edge_stage *e, const struct key_pair *key, const char *subtree,
                     char *error)
{
    struct timeval patience = { .tv_sec = PATIENCE_S };
    int fd = edge_connect(e->proxy.port);
    for (uint32_t i = 0; i < CONNECT_TRIES && fd < 0 && errno == ECONNREFUSED; i++) {
        stage_sleep_ms(TRY_AGAIN_MS);
        fd = edge_connect(e->proxy.port);
    }
    snprintf(error, BENCH_ERROR_MAX, "cannot connect to the proxy: %s", strerror(errno));
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (log_in(fd, key, error) && (subtree == NULL || subscribe(fd, subtree, error)))
        return fd;
    close(fd);
    return -1;
}
