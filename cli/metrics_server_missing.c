/* Of a build without libmicrohttpd. */
#include "cli/metrics.h"

bool metrics_serve(const struct metrics_server *server, struct port_addr at, char *error)
{
    (void)server;
    (void)at;
    snprintf(error, METRICS_ERROR_MAX,
             "this build has no HTTP server (libmicrohttpd-dev was not there): use --once");
    return false;
}
