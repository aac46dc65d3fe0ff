/* As much of etcd as a lease needs: a key that exists while the lease of its holder does. Over
 * HTTP, by the JSON gateway of etcd's version 3 API (/v3/lease/grant, /v3/lease/keepalive,
 * /v3/lease/revoke, /v3/kv/txn), which etcd has since version 3.4.
 *
 * Each call asks the endpoint that answered last, then the others in turn, each once, and returns
 * within a third of the lease's time, and within 2 s an endpoint. A call that failed may have been
 * carried out: a campaign that is repeated finds that it has won; a lease that nobody knows of ends
 * by itself. */
#ifndef CANTUS_CLI_ETCD_H
#define CANTUS_CLI_ETCD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ETCD_ENDPOINTS_MAX = 8,
    ETCD_KEY_MAX = 255,
    ETCD_VALUE_MAX = 63,
    ETCD_ERROR_MAX = 400,
    ETCD_ANSWER_MAX = 64 * 1024 /* bytes */
};

enum etcd_result {
    ETCD_OK = 1,
    ETCD_GONE,  /* etcd knows of no such lease (any more) */
    ETCD_FAILED /* no endpoint could do it: etcd_error says why */
};

struct etcd;

/* `endpoints`: http://HOST:PORT or https://HOST:PORT, with commas between. The key's value says who
 * holds it. NULL with a text in error[ETCD_ERROR_MAX]. */
struct etcd *etcd_open(const char *endpoints, const char *key, const char *value, uint32_t ttl_s,
                       char *error);
void etcd_close(struct etcd *e);
const char *etcd_error(const struct etcd *e);

/* A lease of its own, from now on; ttl_s is what etcd granted, which may be more than was asked. */
enum etcd_result etcd_grant(struct etcd *e, uint64_t *lease, uint32_t *ttl_s);
enum etcd_result etcd_keep_alive(struct etcd *e, uint64_t lease, uint32_t *ttl_s);
/* Makes the key, bound to the lease, if it does not exist. `holds`: it is bound to this lease now.
 * `holder` is its value. */
enum etcd_result etcd_campaign(struct etcd *e, uint64_t lease, bool *holds,
                               char holder[ETCD_VALUE_MAX + 1]);
/* The key goes with it. */
enum etcd_result etcd_revoke(struct etcd *e, uint64_t lease);

#endif
