#include "cli/patience.h"

#include <inttypes.h>

#include "cli/cli.h"

#define SECOND_NS UINT64_C(1000000000)
#define QUIET_NS  (3 * SECOND_NS)

bool patience_parse(struct patience *p, const char *value)
{
    uint64_t seconds;
    if (!cli_parse_u64("--timeout", value, 1, 86400, &seconds))
        return false;
    p->timeout_ns = seconds * SECOND_NS;
    return true;
}

void patience_renew(struct patience *p)
{
    p->since_ns = 0;
}

bool patience_lasts(struct patience *p, const char *what, uint64_t progress)
{
    uint64_t now_ns = cli_mono_ns();
    if (p->since_ns == 0 || progress != p->progress) {
        p->since_ns = now_ns;
        p->progress = progress;
    }
    uint64_t waited_ns = now_ns - p->since_ns;
    if (p->timeout_ns != 0 && waited_ns >= p->timeout_ns) {
        cli_fail("waited %" PRIu64 " s for %s: given up", p->timeout_ns / SECOND_NS, what);
        return false;
    }
    if (!p->said && waited_ns >= QUIET_NS) {
        p->said = true;
        fprintf(stderr, "cantus: waiting for %s%s\n", what,
                p->timeout_ns == 0 ? " (--timeout SECONDS gives that an end)" : "");
    }
    return true;
}
