/* What operators' tools ask of a proxy over its stream port on the core network: its status, who is
 * connected, and to drain. A few callers at a time, in frames of proto/replay.h. Clients never come here:
 * they have an address of their own. Pure; a plain struct. */
#ifndef CANTUS_PROXY_INQUIRY_H
#define CANTUS_PROXY_INQUIRY_H

#include "proto/clients.h"
#include "proto/command.h"
#include "proto/replay.h"
#include "proto/status.h"
#include "proxy/core.h"

enum { INQUIRY_CALLERS_MAX = 8 };

struct inquiry_options {
    uint64_t stream;
    bool is_volatile;
    uint64_t memory_bytes; /* taken at start */
};

struct inquiry {
    struct inquiry_options o;
    struct proxy *proxy;
    struct port *port;
    uint64_t began_ns;
    uint32_t caller_count;
    struct {
        uint32_t stream; /* 0: free */
        uint64_t heard_ns;
    } callers[INQUIRY_CALLERS_MAX];
    struct status status;
    struct clients page;
    uint8_t body[STATUS_SIZE_MAX];
    uint8_t frame[STATUS_SIZE_MAX + REPLAY_FRAME_HEADER];
};

/* `proxy` and `port` are borrowed. */
void inquiry_init(struct inquiry *q, const struct inquiry_options *o, struct proxy *proxy,
                  struct port *port, struct port_time now);
/* False: not one of its streams. */
bool inquiry_on_stream(struct inquiry *q, const struct port_stream_event *e, struct port_time now,
                       size_t *consumed);
uint64_t inquiry_step(struct inquiry *q, struct port_time now);

#endif
