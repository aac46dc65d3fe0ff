/* GET /metrics, by libmicrohttpd. It runs in the caller's thread: what is printed needs no
 * locks. */
#include <microhttpd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>

#include "cli/metrics.h"

enum { CONNECTIONS_MAX = 16, IDLE_S = 10 };

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, char *text,
                              size_t length, enum MHD_ResponseMemoryMode memory, const char *type)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(length, text, memory);
    if (response == NULL) {
        if (memory == MHD_RESPMEM_MUST_FREE)
            free(text);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state)
{
    static char missing[] = "Cantus: see /metrics\n", wrong[] = "only GET\n";
    const struct metrics_server *server = ctx;
    (void)version;
    (void)upload;
    (void)upload_size;
    (void)state;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0)
        return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, wrong, sizeof wrong - 1,
                      MHD_RESPMEM_PERSISTENT, "text/plain");
    if (strcmp(url, "/metrics") != 0)
        return answer(connection, MHD_HTTP_NOT_FOUND, missing, sizeof missing - 1,
                      MHD_RESPMEM_PERSISTENT, "text/plain");
    char *text = NULL;
    size_t length = 0;
    FILE *f = open_memstream(&text, &length);
    if (f == NULL)
        return MHD_NO;
    server->print(server->ctx, f);
    fclose(f);
    return answer(connection, MHD_HTTP_OK, text, length, MHD_RESPMEM_MUST_FREE,
                  "text/plain; version=0.0.4; charset=utf-8");
}

/* Sleeps until a connection wants something, and now and then to see whether to go on. */
static void serve_once(struct MHD_Daemon *daemon)
{
    fd_set in, out, except;
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_ZERO(&except);
    int max = 0;
    struct timeval wait = { .tv_sec = 1 };
    MHD_UNSIGNED_LONG_LONG timeout_ms;
    if (MHD_get_fdset(daemon, &in, &out, &except, &max) == MHD_YES &&
        MHD_get_timeout(daemon, &timeout_ms) == MHD_YES && timeout_ms < 1000)
        wait = (struct timeval) { .tv_usec = (suseconds_t)(timeout_ms * 1000) };
    select(max + 1, &in, &out, &except, &wait);
    MHD_run(daemon);
}

bool metrics_serve(const struct metrics_server *server, struct port_addr at, char *error)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(at.port),
                                   .sin_addr = { .s_addr = htonl(at.ip) } };
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_NO_FLAG, at.port, NULL, NULL, on_request, (void *)(uintptr_t)server,
        MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S, MHD_OPTION_END);
    if (daemon == NULL) {
        snprintf(error, METRICS_ERROR_MAX,
                 "cannot listen on port %u: is it taken? choose another with --listen", at.port);
        return false;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT);
    server->ready(server->ctx, info != NULL ? info->port : at.port);
    while (server->running())
        serve_once(daemon);
    MHD_stop_daemon(daemon);
    return true;
}
