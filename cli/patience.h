/* Waiting for the stream: it is said once what for, and it may have an end. Whoever waits looks again at least each
 * 100 ms. */
#ifndef CANTUS_CLI_PATIENCE_H
#define CANTUS_CLI_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

/* For the help of those that have --timeout. */
#define PATIENCE_HELP                                                                              \
    "\n"                                                                                           \
    "  --timeout SECONDS\n"                                                                        \
    "                  end with an error, status 1, once the stream has been waited for so long\n" \
    "                  and nothing of it came; default: wait without end\n"

struct patience {
    uint64_t timeout_ns; /* 0: no end */
    uint64_t since_ns;   /* 0: nothing is waited for */
    uint64_t progress;
    bool said;
};

/* The value of --timeout. False: said on standard error. */
bool patience_parse(struct patience *p, const char *value);
/* What is waited for is there, or something else begins to be waited for. */
void patience_renew(struct patience *p);
/* `what` is waited for; a change of `progress` begins its time anew. False: it is over, and that was said. */
bool patience_lasts(struct patience *p, const char *what, uint64_t progress);

#endif
