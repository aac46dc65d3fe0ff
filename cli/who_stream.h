/* Who is connected to the proxies, as the stream says: from the logins and logouts that they write down. */
#ifndef CANTUS_CLI_WHO_STREAM_H
#define CANTUS_CLI_WHO_STREAM_H

#include "cli/cli.h"

/* Prints it; reads through globals->proxy. An exit status. */
int who_stream(const struct cli_globals *globals, bool json);

#endif
