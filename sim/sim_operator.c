/* An operator at a terminal: gives one command at a time over the stream port, like `cantus promote`
 * and `cantus member`, and replaces stores that were lost. Gets what answers there are, or none. */
#include <stdlib.h>
#include <string.h>

#include "proto/replay.h"
#include "sim/sim_private.h"

enum { PATIENCE_MS = 400, REPAIR_MS = 4 };

struct sim_operator {
    struct sim *sim;
    struct sim_node *node;
    uint32_t stream;
    uint32_t target;
    bool asked;  /* there is a command to give, or being given */
    bool unsure; /* one got no answer, and may still be carried out */
    struct command command;
    uint64_t deadline_ns;
    uint64_t repair_at_ns;
};

struct sim_operator *sim_operator_create(struct sim *s, struct sim_node *n)
{
    struct sim_operator *o = calloc(1, sizeof *o);
    if (o != NULL)
        *o = (struct sim_operator) { .sim = s, .node = n };
    return o;
}

void sim_operator_ask(struct sim_operator *o, const struct command *command, uint32_t node)
{
    if (o->asked)
        return;
    o->asked = true;
    o->command = *command;
    o->target = node;
    o->deadline_ns = 0;
}

struct sim_node *sim_leader(const struct sim *s)
{
    struct sim_node *leader = NULL;
    for (uint32_t i = 0; i < s->node_count; i++) {
        struct sim_node *n = s->nodes[i];
        if (n->kind != SIM_SEQUENCER || !n->up || sequencer_state(n->core) != SEQUENCER_LEADING)
            continue;
        if (leader == NULL ||
            epoch_compare(sequencer_epoch(n->core), sequencer_epoch(leader->core)) > 0)
            leader = n;
    }
    return leader;
}

static bool is_gone(const struct sim *s, uint64_t id)
{
    for (uint32_t i = 0; i < s->history.word_count; i++)
        if (s->history.words[i].id == id)
            return s->history.words[i].gone;
    return false;
}

bool sim_operator_sits_out(const struct sim_node *n, const struct sim_node *leader)
{
    if (n->kind != SIM_STORE || n->journal == NULL)
        return false;
    struct epoch promised = journal_promised(n->journal), led = sequencer_epoch(leader->core);
    return promised.number == led.number && !epoch_equal(promised, led) &&
           !membership_has(catalog_members(sequencer_catalog(leader->core)), n->store);
}

static const struct sim_node *standby_of(const struct sim *s, const struct sim_node *leader)
{
    for (uint32_t i = 0; i < s->node_count; i++)
        if (s->nodes[i]->kind == SIM_SEQUENCER && s->nodes[i]->up && s->nodes[i] != leader)
            return s->nodes[i];
    return NULL;
}

/* A replacement is added before the lost one is removed, unless W is no majority of one more. One that sits out
 * is no replacement in this epoch: the operator promotes somebody, if there is somebody. */
bool sim_operator_repairs(const struct sim *s, struct command *out, const struct sim_node **target)
{
    const struct sim_node *leader = sim_leader(s);
    if (leader == NULL)
        return false;
    const struct membership *m = catalog_members(sequencer_catalog(leader->core));
    uint32_t gone = 0;
    *target = leader;
    *out = (struct command) { .kind = COMMAND_MEMBER_REMOVE };
    for (uint32_t i = 0; i < m->count; i++)
        if (is_gone(s, m->stores[i])) {
            gone++;
            out->store = m->stores[i];
        }
    if (gone == 0)
        return false;
    const struct sim_node *standby = standby_of(s, leader);
    bool grows = m->quorum == 0 || m->quorum >= (m->count + 1) / 2 + 1, waits = false;
    for (uint32_t i = 0; grows && i < s->node_count && m->count < s->options.stores + gone; i++) {
        const struct sim_node *n = s->nodes[i];
        if (n->kind != SIM_STORE || !n->up || n->founder || sim_fault_is_lost(s, n->store) ||
            membership_has(m, n->store))
            continue;
        if (sim_operator_sits_out(n, leader)) {
            waits = standby != NULL;
            continue;
        }
        out->kind = COMMAND_MEMBER_ADD;
        out->store = n->store;
    }
    if (waits && out->kind != COMMAND_MEMBER_ADD) {
        *out = (struct command) { .kind = COMMAND_PROMOTE, .why = "a store sits this epoch out" };
        *target = standby;
    }
    return true;
}

bool sim_operator_busy(const struct sim_operator *o)
{
    return o->asked || o->unsure;
}

static void give_up(struct sim_operator *o)
{
    struct port *port = &o->node->port.port;
    if (o->stream != 0)
        port->ops->stream_close(port, o->stream);
    o->stream = 0;
    o->asked = false;
}

static void give(struct sim_operator *o)
{
    uint8_t body[COMMAND_SIZE_MAX], frame[COMMAND_SIZE_MAX + REPLAY_FRAME_HEADER];
    struct port *port = &o->node->port.port;
    size_t length = command_encode(&o->command, body, sizeof body);
    size_t framed = replay_frame_encode(REPLAY_COMMAND, body, length, frame, sizeof frame);
    if (length > 0 && framed > 0 && port->ops->stream_room(port, o->stream, framed) >= framed)
        port->ops->stream_write(port, o->stream, frame, framed);
}

static size_t take_outcome(struct sim_operator *o, const struct port_stream_event *e)
{
    enum replay_type type;
    struct outcome outcome;
    size_t framed = replay_frame_peek(e->bytes, e->length, &type);
    if (framed == 0)
        return 0;
    if (framed == SIZE_MAX || type != REPLAY_OUTCOME ||
        !outcome_decode(e->bytes + REPLAY_FRAME_HEADER, framed - REPLAY_FRAME_HEADER, &outcome))
        sim_violate(o->sim, SIM_BOUNDED, "the answer to a command is no outcome");
    else if (sim_tracing(o->sim))
        sim_trace_line(o->sim, "operator is told: %d %.200s", (int)outcome.verdict, outcome.text);
    give_up(o);
    return e->length;
}

static size_t on_stream(void *core, const struct port_stream_event *e, struct port_time now)
{
    struct sim_operator *o = core;
    (void)now;
    if (e->stream != o->stream || o->stream == 0)
        return e->length;
    if (e->type == PORT_STREAM_CONNECTED)
        give(o);
    else if (e->type == PORT_STREAM_BYTES)
        return take_outcome(o, e);
    else if (e->type == PORT_STREAM_CLOSED) {
        o->stream = 0;
        o->asked = false;
        o->unsure = true;
    }
    return 0;
}

static void on_datagrams(void *core, const struct port_datagram *datagrams, uint32_t count,
                         struct port_time now)
{
    (void)core;
    (void)datagrams;
    (void)count;
    (void)now;
}

static void on_disk(void *core, const struct disk_completion *completion, struct port_time now)
{
    (void)core;
    (void)completion;
    (void)now;
}

static uint64_t step(void *core, struct port_time now)
{
    struct sim_operator *o = core;
    struct sim *s = o->sim;
    if (!o->asked && now.mono_ns >= o->repair_at_ns) {
        struct command command;
        const struct sim_node *target;
        o->repair_at_ns = now.mono_ns + REPAIR_MS * SIM_MS;
        if (sim_operator_repairs(s, &command, &target))
            sim_operator_ask(o, &command, sim_node_index(s, target));
    }
    if (!o->asked)
        return o->repair_at_ns;
    if (o->deadline_ns == 0) {
        struct port *port = &o->node->port.port;
        o->deadline_ns = now.mono_ns + PATIENCE_MS * SIM_MS;
        if (sim_tracing(s))
            sim_trace_line(s, "operator asks %s: %d %016lx", s->nodes[o->target]->name,
                           (int)o->command.kind, o->command.store);
        o->stream = port->ops->stream_connect(port, s->nodes[o->target]->port.port.self);
        if (o->stream == 0)
            o->asked = false;
    } else if (now.mono_ns >= o->deadline_ns) {
        o->unsure = true;
        give_up(o);
    }
    return o->asked ? o->deadline_ns : o->repair_at_ns;
}

const struct participant_ops sim_operator_participant = {
    .on_datagrams = on_datagrams, .on_stream = on_stream, .on_disk = on_disk, .step = step
};
