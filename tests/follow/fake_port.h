/* A port that carries nothing: it remembers what a core asked of it, for a test to look at. */
#ifndef CANTUS_TESTS_FOLLOW_FAKE_PORT_H
#define CANTUS_TESTS_FOLLOW_FAKE_PORT_H

#include "transport/port.h"

enum { FAKE_SENT_MAX = 256, FAKE_STREAMS_MAX = 64, FAKE_WRITTEN_MAX = 256 };

struct fake_sent {
    enum port_channel channel;
    struct port_addr to;
    uint32_t length;
    uint8_t bytes[PORT_SCRATCH_MAX];
};

struct fake_stream {
    struct port_addr to;
    bool closed; /* by the core */
    size_t written;
    uint8_t bytes[FAKE_WRITTEN_MAX];
};

struct fake_port {
    struct port port;
    uint8_t scratch[PORT_SCRATCH_MAX];
    uint32_t sent_count;
    struct fake_sent sent[FAKE_SENT_MAX];
    uint32_t stream_count; /* ids are 1.. */
    struct fake_stream streams[FAKE_STREAMS_MAX];
    bool refuse_connect;
    size_t room; /* of every stream */
};

void fake_port_init(struct fake_port *p);

#endif
