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

/* What each process binds to; index 0 is the sequencer. */
struct endpoint {
    struct port_addr unicast;
    uint16_t stream_port;
    unsigned unicast_line, stream_line;
};

static struct endpoint endpoint(const struct config_reader *r, uint32_t index)
{
    const struct config *c = r->config;
    if (index == 0)
        return (struct endpoint) {
            c->sequencer.unicast, c->sequencer.stream_port,
            key_line(r->lines[CONFIG_SEQUENCER], CONFIG_SEQUENCER, "unicast"),
            key_line(r->lines[CONFIG_SEQUENCER], CONFIG_SEQUENCER, "stream_port")
        };
    const unsigned *lines = r->item_lines[index - 1];
    return (struct endpoint) { c->retransmitters[index - 1].unicast,
                               c->retransmitters[index - 1].stream_port,
                               key_line(lines, CONFIG_RETRANSMITTER, "unicast"),
                               key_line(lines, CONFIG_RETRANSMITTER, "stream_port") };
}

static void check_endpoints(struct config_reader *r)
{
    for (uint32_t i = 1; i <= r->config->retransmitter_count; i++)
        for (uint32_t j = 0; j < i; j++) {
            struct endpoint a = endpoint(r, i), b = endpoint(r, j);
            if (a.unicast_line == 0 || b.unicast_line == 0 || a.unicast.ip != b.unicast.ip)
                continue;
            if (a.unicast.port == b.unicast.port)
                config_complain(r, a.unicast_line,
                                "unicast: the same address and port as on line %u", b.unicast_line);
            if (a.stream_line != 0 && b.stream_line != 0 && a.stream_port == b.stream_port)
                config_complain(r, a.stream_line, "stream_port: the same as on line %u",
                                b.stream_line);
        }
}

static void check_stores(struct config_reader *r)
{
    const struct config *c = r->config;
    for (uint32_t i = 1; i < c->retransmitter_count; i++)
        for (uint32_t j = 0; j < i; j++) {
            const struct config_retransmitter *a = &c->retransmitters[i],
                                              *b = &c->retransmitters[j];
            unsigned name = key_line(r->item_lines[i], CONFIG_RETRANSMITTER, "name");
            unsigned directory = key_line(r->item_lines[i], CONFIG_RETRANSMITTER, "directory");
            if (name != 0 && strcmp(a->name, b->name) == 0)
                config_complain(r, name, "name: '%s' is taken on line %u", a->name,
                                key_line(r->item_lines[j], CONFIG_RETRANSMITTER, "name"));
            /* The same path on two hosts is two directories. */
            if (directory != 0 && strcmp(a->directory, b->directory) == 0 &&
                a->unicast.ip == b->unicast.ip)
                config_complain(r, directory, "directory: '%s' is taken on line %u", a->directory,
                                key_line(r->item_lines[j], CONFIG_RETRANSMITTER, "directory"));
        }
    unsigned line = key_line(r->lines[CONFIG_TOP], CONFIG_TOP, "volatile");
    if (c->is_volatile && c->retransmitter_count > 0)
        config_complain(r, r->list_line, "retransmitters: a volatile stream (line %u) has none",
                        line);
    if (!c->is_volatile && r->list_seen && c->retransmitter_count == 0 && r->problem_count == 0)
        config_complain(r, r->list_line,
                        "retransmitters: without any nothing is ever recorded: list one, or say "
                        "'volatile: true'");
}

void config_check(struct config_reader *r)
{
    check_groups(r);
    check_endpoints(r);
    check_stores(r);
}
