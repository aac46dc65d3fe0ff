/* Where keys are logged in: at how many proxies, as the stream says (proto/sys_edge.h). So each proxy knows what part
 * of a key's limit is its own.
 *
 * What counts is a session of which the login is there and the logout is not, at a proxy that is there
 * (proto/presence.h) and has not joined anew since: so one that was killed takes its sessions with it. A function of the
 * stream. Bounded: of so many pairs of a key and a proxy that a place is missing, it is known only how many proxies
 * there are, and each key counts at all of them. Pure; all memory is taken by create. */
#ifndef CANTUS_PROXY_LOGINS_H
#define CANTUS_PROXY_LOGINS_H

#include "proto/catalog.h"

enum {
    LOGINS_PAIRS_MAX = 65536,
    LOGINS_UNSTABLE_MAX =
        16384 /* logins and logouts; more wait until some are stable: a power of two */
};

struct logins;

size_t logins_memory(void);
/* `catalog` follows at sequenced. `secret`: so that nobody can choose keys that are slow to find. */
struct logins *logins_create(const struct catalog *catalog, uint64_t secret); /* NULL: no memory */
void logins_destroy(struct logins *l);

/* Whether a whole batch more may come; if not, wait for logins_stable. */
bool logins_has_room(const struct logins *l, const struct batch_header *batch);
/* A message on /sys/edge, applied to the catalog. */
void logins_message(struct logins *l, const struct message *m);
/* All through here was told, and the stream's time is this. */
void logins_time(struct logins *l, uint64_t time_ns);
void logins_stable(struct logins *l, uint64_t stable);
/* What is above `common_seq` no longer holds; the catalog has gone back. */
void logins_fork(struct logins *l, uint64_t common_seq);

/* At how many proxies the key is logged in now. */
uint32_t logins_proxies(const struct logins *l, const uint8_t key[ACCESS_KEY_SIZE]);
/* Another one whenever what that says of any key may be another. */
uint64_t logins_version(const struct logins *l);

#endif
