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
    PORTS_EACH = 64, /* of a deployment: groups, sequencers, retransmitters, proxies (two each) */
    PORTS_BLOCKS = 195,
    PORT_SEQUENCERS = 1, /* from here in the block */
    PORT_RETRANSMITTERS = PORT_SEQUENCERS + CONFIG_SEQUENCERS_MAX,
    PORT_PROXIES = PORT_RETRANSMITTERS + CONFIG_RETRANSMITTERS_MAX,
    BLOCKS_TRIED_MAX = 64
};
_Static_assert(PORT_PROXIES + 2 * CONFIG_PROXIES_MAX <= PORTS_EACH, "all have a port");

void config_default(struct config *c)
{
    *c = (struct config) {
        .session = "main",
        .huge_pages = true,
        .interface = LOOPBACK,
        .datagram_max = 1472,
        .ttl = 1,
        .segmentation = true,
        .idle = LOOP_IDLE_SPIN_THEN_WAIT,
        .spin_us = 50,
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
        .promotion = CONFIG_PROMOTION_MANUAL,
        .silence_ms = 500,
    };
    for (int i = 0; i < CONFIG_RETRANSMITTERS_MAX; i++) {
        c->retransmitters[i].sync = DISK_SYNC_EVERY;
        c->retransmitters[i].direct = true;
        c->retransmitters[i].segment_mib = 32;
    }
    for (int i = 0; i < CONFIG_PROXIES_MAX; i++)
        c->proxies[i] = (struct config_proxy) { .sessions_max = 16384,
                                                .sessions_per_addr = 16384,
                                                .sessions_per_key = 1024,
                                                .logins_max = 512,
                                                .subtrees_max = 262144,
                                                .records_per_addr_s = 64,
                                                .records_per_addr_burst = 32768,
                                                .records_per_key_s = 16,
                                                .records_per_key_burst = 5120,
                                                .recent_mib = 256,
                                                .view_mib = 256,
                                                .relay_mib = 256,
                                                .publisher_kib = 256,
                                                .slow_s = 30,
                                                .idle_s = 60,
                                                .login_s = 5 };
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
    config_resize(c, 1, 1, 1);
    int n = snprintf(c->directory, sizeof c->directory, "%s", dir);
    if (n < 0 || (size_t)n >= sizeof c->directory)
        c->directory[0] = '\0';
}

static struct port_addr own_port(const struct config *c, uint32_t at)
{
    return (struct port_addr) { LOOPBACK, (uint16_t)(c->ingress.port + at) };
}

/* Fit for a first start: as many clients as every system's limits allow, in little memory. */
static void add_proxy(struct config *c, uint32_t index)
{
    struct config_proxy *p = &c->proxies[index];
    snprintf(p->name, sizeof p->name, "p%u", index + 1);
    p->unicast = own_port(c, PORT_PROXIES + 2 * index);
    p->stream_port = p->unicast.port;
    p->listen = own_port(c, PORT_PROXIES + 2 * index + 1);
    p->sessions_max = 512;
    p->recent_mib = p->view_mib = p->relay_mib = 64;
}

void config_resize(struct config *c, uint32_t retransmitters, uint32_t sequencers, uint32_t proxies)
{
    for (uint32_t i = c->sequencer_count; i < sequencers && i < CONFIG_SEQUENCERS_MAX; i++) {
        struct config_sequencer *s = &c->sequencers[i];
        snprintf(s->name, sizeof s->name, "s%u", i + 1);
        s->unicast = own_port(c, PORT_SEQUENCERS + i);
        s->stream_port = s->unicast.port;
    }
    for (uint32_t i = c->retransmitter_count; i < retransmitters && i < CONFIG_RETRANSMITTERS_MAX;
         i++) {
        struct config_retransmitter *r = &c->retransmitters[i];
        snprintf(r->name, sizeof r->name, "r%u", i + 1);
        snprintf(r->directory, sizeof r->directory, "r%u", i + 1);
        r->unicast = own_port(c, PORT_RETRANSMITTERS + i);
        r->stream_port = r->unicast.port;
    }
    for (uint32_t i = c->proxy_count; i < proxies && i < CONFIG_PROXIES_MAX; i++)
        add_proxy(c, i);
    c->proxy_count = proxies < CONFIG_PROXIES_MAX ? proxies : CONFIG_PROXIES_MAX;
    c->sequencer_count = sequencers < CONFIG_SEQUENCERS_MAX ? sequencers : CONFIG_SEQUENCERS_MAX;
    c->retransmitter_count =
        retransmitters < CONFIG_RETRANSMITTERS_MAX ? retransmitters : CONFIG_RETRANSMITTERS_MAX;
}

struct transport_options config_transport(const struct config *c, struct port_addr unicast)
{
    return config_transport_on(c, unicast, 0);
}

struct transport_options config_transport_on(const struct config *c, struct port_addr unicast,
                                             uint32_t interface)
{
    uint32_t a = interface != 0 ? interface : c->interface;
    struct transport_options o = {
        .unicast = unicast,
        .groups = { [PORT_INGRESS] = c->ingress,
                    [PORT_EGRESS_A] = c->egress_a,
                    [PORT_EGRESS_B] = c->egress_b },
        .interfaces = { [PORT_UNICAST] = unicast.ip,
                        [PORT_INGRESS] = a,
                        [PORT_EGRESS_A] = a,
                        [PORT_EGRESS_B] = c->interface_b != 0 ? c->interface_b : a },
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
