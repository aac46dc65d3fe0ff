#include "transport/transport.h"

void transport_options_default(struct transport_options *o)
{
    if (o->unicast.ip == 0)
        o->unicast.ip = 0x7f000001;
    for (int c = 0; c < PORT_CHANNELS; c++)
        if (o->interfaces[c] == 0)
            o->interfaces[c] = o->unicast.ip;
    if (o->datagram_max == 0)
        o->datagram_max = 1472;
    if (o->receive_buffer_bytes == 0)
        o->receive_buffer_bytes = 8u << 20;
    if (o->streams_max == 0)
        o->streams_max = 64;
    if (o->stream_buffer_bytes == 0)
        o->stream_buffer_bytes = 256u << 10;
    if (o->ttl == 0)
        o->ttl = 1;
}

void transport_lose(struct transport *t, double share, uint64_t seed)
{
    const double all = 4294967296.0;
    t->lose_below = share <= 0 ? 0 : share >= 1 ? UINT32_MAX : (uint32_t)(share * all);
    t->lose_state = seed;
}
