#include "proxy/client_page.h"

#include <assert.h>
#include <string.h>

void client_page_add(struct clients *page, const struct proxy_client *in)
{
    assert(page->count < CLIENTS_PAGE_MAX);
    struct client *out = &page->all[page->count++];
    *out = (struct client) { .session = in->session,
                             .ip = in->addr.ip,
                             .port = in->addr.port,
                             .has_key = in->has_key,
                             .since_ns = in->since_wall_ns,
                             .seq = in->seq,
                             .bytes_in = in->bytes_in,
                             .bytes_out = in->bytes_out,
                             .published = in->published,
                             .subtrees = in->subtrees,
                             .publishers = in->publishers,
                             .flags = (in->is_text ? CLIENT_TEXT : 0u) |
                                      (in->subscribed ? CLIENT_SUBSCRIBED : 0u) |
                                      (in->stable ? CLIENT_STABLE : 0u) |
                                      (in->behind ? CLIENT_BEHIND : 0u) };
    if (in->has_key)
        memcpy(out->key, in->key, sizeof out->key);
    memcpy(out->agent, in->agent, sizeof out->agent);
}
