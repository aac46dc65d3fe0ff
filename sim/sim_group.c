/* Groups: messages that are sequenced and handed over together or not at all. The library has no
 * call for them, so this publisher speaks the protocol itself. What a number says is a function of
 * the number, so that its bytes never change. */
#include <stdio.h>
#include <string.h>

#include "proto/proposal.h"
#include "proto/signal.h"
#include "sim/sim_private.h"

enum { PARTS_MAX = 8, PART_BYTES_MAX = 900, MAGIC_GROUP = 0x70756f72 };

static const char topic[] = "/groups";

/* ---- content --------------------------------------------------------------------------------- */

static uint64_t drawn(uint64_t first)
{
    uint64_t x = first * UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 29;
}

/* One in sixteen is a single message where no publisher may write. */
static bool forbidden(uint64_t first)
{
    return (drawn(first) >> 48) % 16 == 0;
}

static uint32_t parts_of(uint64_t first)
{
    if (forbidden(first))
        return 1;
    return 2 + (uint32_t)(drawn(first) % (PARTS_MAX - 1));
}

static uint32_t length_of(uint64_t first)
{
    return SIM_ITEM_HEADER + 2 + (uint32_t)(drawn(first) >> 8) % PART_BYTES_MAX;
}

static void part_fill(uint64_t first, uint32_t index, uint8_t *out, uint32_t length)
{
    memset(out, (int)(first + index), length);
    wire_store32(out, MAGIC_GROUP);
    wire_store32(out + 4, 0);
    wire_store64(out + 8, first);
    out[SIM_ITEM_HEADER] = (uint8_t)index;
    out[SIM_ITEM_HEADER + 1] = (uint8_t)parts_of(first);
}

bool sim_group_part(const uint8_t *payload, size_t length, struct sim_group_part *out)
{
    if (length < SIM_ITEM_HEADER + 2 || wire_load32(payload) != MAGIC_GROUP)
        return false;
    *out = (struct sim_group_part) { .first = wire_load64(payload + 8),
                                     .index = payload[SIM_ITEM_HEADER],
                                     .count = payload[SIM_ITEM_HEADER + 1] };
    return true;
}

/* ---- the publisher --------------------------------------------------------------------------- */

static void send(struct sim_node *n, const uint8_t *bytes, size_t length)
{
    port_send(&n->port.port, PORT_INGRESS, (struct port_addr) { 0, 0 }, bytes, (uint32_t)length);
}

static void ask_join(const struct sim *s, struct sim_node *n, uint32_t incarnation)
{
    struct join j = { .nonce = n->client->nonce, .wanted = incarnation + 1 };
    snprintf(j.identity, sizeof j.identity, "%s", n->client->identity);
    uint8_t *out = port_scratch(&n->port.port, SIGNAL_SIZE_MAX);
    send(n, out, join_encode(&j, s->stream, out, SIGNAL_SIZE_MAX));
}

static void ask_topic(const struct sim *s, struct sim_node *n, uint32_t publisher)
{
    struct create c = { .nonce = n->client->nonce, .publisher = publisher };
    memcpy(c.path, topic, sizeof topic);
    uint8_t *out = port_scratch(&n->port.port, SIGNAL_SIZE_MAX);
    send(n, out, create_encode(&c, s->stream, out, SIGNAL_SIZE_MAX));
}

/* All of a group, in as many datagrams as it takes. One in eight must be refused, and as a whole. */
static void propose(const struct sim *s, struct sim_node *n, uint32_t topic_id,
                    struct proposal_header header)
{
    static _Thread_local uint8_t datagrams[PARTS_MAX][SIM_DATAGRAM_MAX]; /* until the flush */
    uint64_t first = header.first_publisher_seq;
    uint32_t count = parts_of(first), length = length_of(first), used = 0;
    for (uint32_t i = 0; i < count;) {
        struct proposal_builder b;
        uint8_t part[SIM_ITEM_HEADER + 2 + PART_BYTES_MAX];
        proposal_open(&b, datagrams[used++], SIM_DATAGRAM_MAX);
        header.first_publisher_seq = first + i;
        for (; i < count; i++) {
            struct proposal_entry e = {
                .topic = forbidden(first) ? TOPIC_CLOCK : topic_id,
                .length = length,
                .flags = i + 1 < count ? MESSAGE_MORE : 0,
                .conditional = i == 0 && (drawn(first) >> 40) % 8 == 0,
                .payload = part,
            };
            e.conditional = e.conditional && !forbidden(first);
            e.condition_topic = e.conditional ? topic_id : 0;
            if (!proposal_fits(&b, &e))
                break;
            part_fill(first, i, part, length);
            proposal_add(&b, &e);
        }
        header.count = b.count;
        uint8_t *bytes = b.bytes;
        send(n, bytes, proposal_close(&b, s->stream, &header));
    }
}

void sim_group_work(struct sim *s, struct sim_node *n)
{
    struct sim_client *c = n->client;
    const struct catalog *catalog = client_core_catalog(n->core);
    struct position position = follower_tail(client_core_follower(n->core));
    uint32_t branch = sim_history_branch(&s->history, position.epoch);
    if (branch == SIM_NONE || client_core_seq(n->core) != position.seq)
        return;
    uint32_t id = catalog_publisher_find(catalog, c->identity);
    const struct catalog_publisher *p = id != 0 ? catalog_publisher(catalog, id) : NULL;
    if (p == NULL || p->nonce != c->nonce) {
        ask_join(s, n, p != NULL ? p->incarnation : 0);
        return;
    }
    uint32_t topic_id = catalog_topic_find(catalog, topic, sizeof topic - 1);
    if (topic_id == 0) {
        ask_topic(s, n, id);
        return;
    }
    /* Where it stands it would read in the stream; nothing is known any better like this. */
    const struct sim_tally *t = &s->history.branches[branch].tally;
    uint64_t next = t->next[id];
    if (t->run_publisher != 0 || (s->quiet && next > c->proposed))
        return;
    struct proposal_header header = { .position = position,
                                      .first_publisher_seq = next,
                                      .publisher = id,
                                      .incarnation = p->incarnation };
    propose(s, n, topic_id, header);
    c->proposed = next + parts_of(next) - 1;
}

bool sim_group_answered(const struct sim *s, const struct sim_node *n)
{
    const struct sim_client *c = n->client;
    uint32_t id = catalog_publisher_find(client_core_catalog(n->core), c->identity);
    return c->proposed == 0 ||
           s->history.branches[s->history.stable_branch].tally.next[id] > c->proposed;
}
