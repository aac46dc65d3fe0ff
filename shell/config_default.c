#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <limits.h>
#include <netinet/in.h>

#include "shell/config.h"

enum {
    LOOPBACK = 0x7f000001,
    PORTS_FIRST = 20000, /* below the ephemeral ones, which begin at 32768 */
    PORTS_EACH = 4,      /* groups, sequencer, retransmitter, and one to spare */
    PORTS_BLOCKS = 3000,
    BLOCKS_TRIED_MAX = 64
};

void config_default(struct config *c)
{
    *c = (struct config) {
        .session = "main",
        .interface = LOOPBACK,
        .datagram_max = 1472,
        .ttl = 1,
        .segmentation = true,
        .idle = LOOP_IDLE_SPIN_THEN_WAIT,
        .spin_us = 20,
        .yield = true,
        .sequencer = { .ring_mib = 64,
                       .queue_max = 8192,
                       .window = 4096,
                       .run_bytes_max = 1u << 20,
                       .topics_max = 131072,
                       .publishers_max = 131072,
                       .tick_ms = 1000,
                       .heartbeat_min_us = 20,
                       .heartbeat_idle_ms = 100,
                       .pace_us = 50,
                       .clock_ahead_max_ms = 10000 },
    };
    for (int i = 0; i < CONFIG_RETRANSMITTERS_MAX; i++) {
        c->retransmitters[i].sync = DISK_SYNC_EVERY;
        c->retransmitters[i].direct = true;
        c->retransmitters[i].segment_mib = 32;
    }
}

/* splitmix64: every bit of the seed reaches every bit drawn. */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint64_t text_hash(const char *text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (; *text != '\0'; text++)
        h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return h;
}

static bool port_free(uint16_t port, int type)
{
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return true; /* can't be told; the daemon will say */
    struct sockaddr_in sa = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr = { .s_addr = htonl(LOOPBACK) } };
    bool ok = bind(fd, (const struct sockaddr *)(const void *)&sa, sizeof sa) == 0;
    close(fd);
    return ok;
}

static bool block_free(uint16_t first)
{
    for (uint16_t i = 0; i < PORTS_EACH; i++)
        if (!port_free((uint16_t)(first + i), SOCK_DGRAM) ||
            !port_free((uint16_t)(first + i), SOCK_STREAM))
            return false;
    return true;
}

void config_default_for_dir(struct config *c, const char *dir, uint64_t seed)
{
    config_default(c);
    char real[PATH_MAX];
    uint64_t state = seed ^ text_hash(realpath(dir, real) != NULL ? real : dir);
    c->stream = draw(&state);
    if (c->stream == 0)
        c->stream = 1;
    uint16_t first = PORTS_FIRST;
    for (int i = 0; i < BLOCKS_TRIED_MAX; i++) {
        first = (uint16_t)(PORTS_FIRST + draw(&state) % PORTS_BLOCKS * PORTS_EACH);
        if (block_free(first))
            break;
    }
    /* 239.192.0.0/14 is for an organisation's own use; four groups of one deployment in a row. */
    uint32_t group = 0xefc00000u | ((uint32_t)(draw(&state) & 0xffff) << 2);
    c->ingress = (struct port_addr) { group, first };
    c->egress_a = (struct port_addr) { group + 1, first };
    c->sequencer.unicast = (struct port_addr) { LOOPBACK, (uint16_t)(first + 1) };
    c->sequencer.stream_port = (uint16_t)(first + 1);
    struct config_retransmitter *r = &c->retransmitters[0];
    c->retransmitter_count = 1;
    snprintf(r->name, sizeof r->name, "r1");
    snprintf(r->directory, sizeof r->directory, "r1");
    r->unicast = (struct port_addr) { LOOPBACK, (uint16_t)(first + 2) };
    r->stream_port = (uint16_t)(first + 2);
    int n = snprintf(c->directory, sizeof c->directory, "%s", dir);
    if (n < 0 || (size_t)n >= sizeof c->directory)
        c->directory[0] = '\0';
}

struct transport_options config_transport(const struct config *c, struct port_addr unicast)
{
    struct transport_options o = {
        .unicast = unicast,
        .groups = { [PORT_INGRESS] = c->ingress,
                    [PORT_EGRESS_A] = c->egress_a,
                    [PORT_EGRESS_B] = c->egress_b },
        .interfaces = { [PORT_UNICAST] = unicast.ip,
                        [PORT_INGRESS] = c->interface,
                        [PORT_EGRESS_A] = c->interface,
                        [PORT_EGRESS_B] = c->interface_b != 0 ? c->interface_b : c->interface },
        .datagram_max = c->datagram_max,
        .ttl = (uint8_t)c->ttl,
        .segmentation = c->segmentation,
    };
    transport_options_default(&o);
    return o;
}

struct loop_options config_loop(const struct config *c)
{
    return (struct loop_options) { .idle = c->idle,
                                   .yield = c->yield,
                                   .spin_ns = (uint64_t)c->spin_us * 1000u };
}
