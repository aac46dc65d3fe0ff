/* DIR/dev.key: a key with which to try things out, that may read and write everything but /sys.
 * `cantus dev` makes it, once: the file has its name only when the grant is stable, so that a
 * revoked one stays revoked, and what was interrupted is taken up again. On a volatile stream,
 * which remembers nothing, it is granted at each start. Without admin.key none is made. A file that is no key is
 * left as it is. */
#ifndef CANTUS_CLI_DEV_KEY_H
#define CANTUS_CLI_DEV_KEY_H

#include "proto/catalog.h"
#include "shell/config.h"

struct dev_key;

/* Looks at both files, and says on standard error what is wrong with them and what helps. NULL: no memory. */
struct dev_key *dev_key_open(const char *dir, bool is_volatile);
void dev_key_close(struct dev_key *k);
/* A little more of it; never waits. To be called while a sequencer of this process leads, with its
 * catalog. True once there is nothing left to do. */
bool dev_key_poll(struct dev_key *k, const struct catalog *leader);
/* Its path; NULL: there is none, or not yet. */
const char *dev_key_path(const struct dev_key *k);

#endif
