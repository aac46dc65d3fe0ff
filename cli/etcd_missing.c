/* Built where libcurl and cJSON are not. */
#include <assert.h>
#include <stdio.h>

#include "cli/etcd.h"

struct etcd *etcd_open(const char *endpoints, const char *key, const char *value, uint32_t ttl_s,
                       char *error)
{
    (void)endpoints;
    (void)key;
    (void)value;
    (void)ttl_s;
    snprintf(error, ETCD_ERROR_MAX,
             "this cantus was built without a client of etcd: install libcurl4-openssl-dev and "
             "libcjson-dev, and build it again");
    return NULL;
}

void etcd_close(struct etcd *e)
{
    assert(e == NULL);
}

const char *etcd_error(const struct etcd *e)
{
    assert(e == NULL);
    return "";
}

enum etcd_result etcd_grant(struct etcd *e, uint64_t *lease, uint32_t *ttl_s)
{
    assert(e == NULL);
    *lease = 0;
    *ttl_s = 0;
    return ETCD_FAILED;
}

enum etcd_result etcd_keep_alive(struct etcd *e, uint64_t lease, uint32_t *ttl_s)
{
    assert(e == NULL && lease == 0);
    *ttl_s = 0;
    return ETCD_FAILED;
}

enum etcd_result etcd_campaign(struct etcd *e, uint64_t lease, bool *holds,
                               char holder[ETCD_VALUE_MAX + 1])
{
    assert(e == NULL && lease == 0);
    *holds = false;
    holder[0] = '\0';
    return ETCD_FAILED;
}

enum etcd_result etcd_revoke(struct etcd *e, uint64_t lease)
{
    assert(e == NULL && lease == 0);
    return ETCD_FAILED;
}
