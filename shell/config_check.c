/* What keys of cantus.yaml have to do with each other. */
#include "shell/config_reader.h"

/* The line of a key that was read without a problem; 0 if it was not. */
static unsigned key_line(const unsigned *lines, enum config_section_id id, const char *name)
{
    for (uint32_t i = 0; i < config_sections[id].key_count; i++)
        if (strcmp(config_sections[id].keys[i].name, name) == 0)
            return lines[i];
    return 0;
}

static void check_groups(struct config_reader *r)
{
    static const char *const names[] = { "ingress", "egress_a", "egress_b" };
    const struct config *c = r->config;
    const struct port_addr *groups[] = { &c->ingress, &c->egress_a, &c->egress_b };
    for (int i = 1; i < 3; i++)
        for (int j = 0; j < i; j++) {
            unsigned a = key_line(r->lines[CONFIG_NETWORK], CONFIG_NETWORK, names[i]);
            unsigned b = key_line(r->lines[CONFIG_NETWORK], CONFIG_NETWORK, names[j]);
            if (a != 0 && b != 0 && port_addr_equal(*groups[i], *groups[j]))
                config_complain(r, a, "%s: the same group and port as %s on line %u", names[i],
                                names[j], b);
        }
    unsigned line = key_line(r->lines[CONFIG_NETWORK], CONFIG_NETWORK, "interface_b");
    if (line != 0 && c->egress_b.port == 0)
        config_complain(r, line, "interface_b: there is no egress_b that would use it");
}

/* ---- processes ------------------------------------------------------------------------------- */

/* What every process has, be it a sequencer (which come first), a retransmitter or a proxy. Lines
 * of what was not read are 0. */
struct process {
    const char *name;
    struct port_addr unicast;
    uint16_t stream_port;
    struct port_addr listen; /* a proxy's; port 0: none */
    unsigned name_line, unicast_line, stream_line, listen_line;
};

static struct process process_in(const struct config_reader *r, enum config_section_id id,
                                 uint32_t item)
{
    const unsigned *lines = r->item_lines[id][item];
    return (struct process) { .name_line = key_line(lines, id, "name"),
                              .unicast_line = key_line(lines, id, "unicast"),
                              .stream_line = key_line(lines, id, "stream_port"),
                              .listen_line = key_line(lines, id, "listen") };
}

static struct process process(const struct config_reader *r, uint32_t index)
{
    const struct config *c = r->config;
    struct process p;
    if (index < c->sequencer_count) {
        const struct config_sequencer *s = &c->sequencers[index];
        p = process_in(r, CONFIG_SEQUENCERS, index);
        p.name = s->name;
        p.unicast = s->unicast;
        p.stream_port = s->stream_port;
        return p;
    }
    index -= c->sequencer_count;
    if (index < c->retransmitter_count) {
        const struct config_retransmitter *t = &c->retransmitters[index];
        p = process_in(r, CONFIG_RETRANSMITTERS, index);
        p.name = t->name;
        p.unicast = t->unicast;
        p.stream_port = t->stream_port;
        return p;
    }
    index -= c->retransmitter_count;
    const struct config_proxy *x = &c->proxies[index];
    p = process_in(r, CONFIG_PROXIES, index);
    p.name = x->name;
    p.unicast = x->unicast;
    p.stream_port = x->stream_port;
    p.listen = x->listen;
    return p;
}

/* Whether two processes of one host, or one that listens on every interface, meet on a TCP port. */
static bool meet(const struct process *a, const struct process *b, uint32_t ip, uint32_t other)
{
    return ip != 0 && other != 0 ? ip == other : a->unicast.ip == b->unicast.ip;
}

static void check_listen(struct config_reader *r, const struct process *a, const struct process *b)
{
    if (a->listen_line != 0 && b->stream_line != 0 && a->listen.port == b->stream_port &&
        meet(a, b, a->listen.ip, b->unicast.ip))
        config_complain(r, a->listen_line, "listen: its port is the stream_port on line %u",
                        b->stream_line);
}

static void check_pair(struct config_reader *r, const struct process *a, const struct process *b)
{
    if (a->name_line != 0 && b->name_line != 0 && strcmp(a->name, b->name) == 0)
        config_complain(r, a->name_line, "name: '%s' is taken on line %u", a->name, b->name_line);
    if (a->unicast_line == 0 || b->unicast_line == 0)
        return;
    check_listen(r, a, b);
    check_listen(r, b, a);
    if (a->listen_line != 0 && b->listen_line != 0 && a->listen.port == b->listen.port &&
        meet(a, b, a->listen.ip, b->listen.ip))
        config_complain(r, a->listen_line, "listen: the same address and port as on line %u",
                        b->listen_line);
    if (a->unicast.ip != b->unicast.ip)
        return;
    if (a->unicast.port == b->unicast.port)
        config_complain(r, a->unicast_line, "unicast: the same address and port as on line %u",
                        b->unicast_line);
    if (a->stream_line != 0 && b->stream_line != 0 && a->stream_port == b->stream_port)
        config_complain(r, a->stream_line, "stream_port: the same as on line %u", b->stream_line);
}

static void check_processes(struct config_reader *r)
{
    const struct config *c = r->config;
    for (uint32_t i = 0; i < c->sequencer_count + c->retransmitter_count + c->proxy_count; i++) {
        struct process a = process(r, i);
        if (a.unicast_line != 0)
            check_listen(r, &a, &a);
        for (uint32_t j = 0; j < i; j++) {
            struct process b = process(r, j);
            check_pair(r, &a, &b);
        }
    }
}

static void check_sequencers(struct config_reader *r)
{
    const struct config *c = r->config;
    unsigned line = r->section_lines[CONFIG_SEQUENCERS];
    if (line != 0 && c->sequencer_count == 0 && r->problem_count == 0)
        config_complain(r, line, "sequencers: nothing is put in order without any: list one");
    if (c->is_volatile && c->sequencer_count > 1)
        config_complain(r, line,
                        "sequencers: a volatile stream (line %u) has one: without stores there is "
                        "nothing that another could take over from",
                        key_line(r->lines[CONFIG_TOP], CONFIG_TOP, "volatile"));
    /* A leader with nothing to say is heard once in heartbeat_idle_ms; one or two may get lost. */
    unsigned silence = key_line(r->lines[CONFIG_FAILOVER], CONFIG_FAILOVER, "silence_ms");
    if (silence == 0)
        silence = key_line(r->lines[CONFIG_SEQUENCING], CONFIG_SEQUENCING, "heartbeat_idle_ms");
    if (c->promotion == CONFIG_PROMOTION_AUTOMATIC && silence != 0 &&
        c->silence_ms < 3 * c->sequencer.heartbeat_idle_ms)
        config_complain(r, silence,
                        "silence_ms: %u is too short for heartbeats that can be %u ms apart: give "
                        "it three times heartbeat_idle_ms at least, or lower that",
                        c->silence_ms, c->sequencer.heartbeat_idle_ms);
}

static void check_stores(struct config_reader *r)
{
    const struct config *c = r->config;
    for (uint32_t i = 1; i < c->retransmitter_count; i++)
        for (uint32_t j = 0; j < i; j++) {
            const struct config_retransmitter *a = &c->retransmitters[i],
                                              *b = &c->retransmitters[j];
            unsigned(*lines)[CONFIG_KEYS_MAX] = r->item_lines[CONFIG_RETRANSMITTERS];
            unsigned directory = key_line(lines[i], CONFIG_RETRANSMITTERS, "directory");
            /* The same path on two hosts is two directories. */
            if (directory != 0 && strcmp(a->directory, b->directory) == 0 &&
                a->unicast.ip == b->unicast.ip)
                config_complain(r, directory, "directory: '%s' is taken on line %u", a->directory,
                                key_line(lines[j], CONFIG_RETRANSMITTERS, "directory"));
        }
    unsigned line = r->section_lines[CONFIG_RETRANSMITTERS];
    if (c->is_volatile && c->retransmitter_count > 0)
        config_complain(r, line, "retransmitters: a volatile stream (line %u) has none",
                        key_line(r->lines[CONFIG_TOP], CONFIG_TOP, "volatile"));
    if (!c->is_volatile && line != 0 && c->retransmitter_count == 0 && r->problem_count == 0)
        config_complain(r, line,
                        "retransmitters: without any nothing is ever recorded: list one, or say "
                        "'volatile: true'");
}

static void check_tls(struct config_reader *r, uint32_t index)
{
    const unsigned *lines = r->item_lines[CONFIG_PROXIES][index];
    unsigned certificate = key_line(lines, CONFIG_PROXIES, "tls_certificate");
    unsigned key = key_line(lines, CONFIG_PROXIES, "tls_key");
    if ((certificate == 0) != (key == 0))
        config_complain(r, certificate + key, "%s: it takes %s, too",
                        key == 0 ? "tls_certificate" : "tls_key",
                        key == 0 ? "tls_key" : "tls_certificate");
}

/* The longest message is half of what one publisher may have under way. */
static void check_proxies(struct config_reader *r)
{
    const struct config *c = r->config;
    for (uint32_t i = 0; i < c->proxy_count; i++) {
        const struct config_proxy *p = &c->proxies[i];
        unsigned line = key_line(r->item_lines[CONFIG_PROXIES][i], CONFIG_PROXIES, "publisher_kib");
        if (line != 0 && (uint64_t)p->publisher_kib > (uint64_t)p->relay_mib * 1024)
            config_complain(r, line,
                            "publisher_kib: more than all publishers have: relay_mib is %u",
                            p->relay_mib);
        check_tls(r, i);
    }
}

void config_check(struct config_reader *r)
{
    check_groups(r);
    check_processes(r);
    check_sequencers(r);
    check_stores(r);
    check_proxies(r);
}
