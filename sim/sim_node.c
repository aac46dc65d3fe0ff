/* Processes: what a shell's loop does for a core, in the run's time. */
#include <stdlib.h>
#include <string.h>

#include "sim/sim_private.h"

enum { BUSY_NS = 1000, BUSY_DATAGRAM_NS = 200, LAG_MAX_NS = 100000 };

uint32_t sim_node_index(const struct sim *s, const struct sim_node *n)
{
    for (uint32_t i = 0; i < s->node_count; i++)
        if (s->nodes[i] == n)
            return i;
    return SIM_NONE;
}

struct port_time sim_node_time(const struct sim *s, const struct sim_node *n)
{
    return sim_clock_read(&n->clock, s->now);
}

static void free_memory(struct sim_node *n)
{
    free(n->disk);
    free(n->client);
    free(n->out);
    free(n->due);
    free(n->scratch);
    free(n);
}

struct sim_node *sim_node_add(struct sim *s, enum sim_kind kind, uint32_t index, const char *name)
{
    if (s->node_count == SIM_NODES_MAX || strlen(name) > SIM_NAME_MAX)
        return NULL;
    struct sim_node *n = calloc(1, sizeof *n);
    if (n == NULL)
        return NULL;
    n->kind = kind;
    n->index = index;
    memcpy(n->name, name, strlen(name));
    n->scratch = malloc(SIM_SCRATCH_BYTES);
    n->due = malloc(SIM_DUE_MAX * sizeof *n->due);
    n->out = malloc(SIM_OUT_MAX * sizeof *n->out);
    if (kind == SIM_STORE)
        n->disk = malloc(sizeof *n->disk);
    if (kind == SIM_CLIENT)
        n->client = calloc(1, sizeof *n->client);
    if (n->scratch == NULL || n->due == NULL || n->out == NULL ||
        (kind == SIM_STORE && n->disk == NULL) || (kind == SIM_CLIENT && n->client == NULL)) {
        free_memory(n);
        return NULL;
    }
    if (n->disk != NULL) {
        sim_disk_init(n->disk, &s->random, &s->now);
        n->disk->watches = s->watches_bytes;
    }
    if (n->client != NULL)
        n->client->reader.branch = SIM_NONE;
    n->join[PORT_INGRESS] = kind == SIM_SEQUENCER;
    bool follows = kind != SIM_OPERATOR && kind != SIM_HOSTILE && kind != SIM_VISITOR;
    n->join[PORT_EGRESS_A] = follows;
    n->join[PORT_EGRESS_B] = follows && s->line_b;
    s->nodes[s->node_count++] = n;
    sim_port_init(s, n);
    if (!s->by_hand) {
        n->lag_ns = sim_random_scale(&s->random, SIM_US, LAG_MAX_NS);
        n->clock.drift_ppm = (int64_t)sim_random_between(&s->random, 0, 400) - 200;
        n->clock.wall_off_ns =
            (int64_t)sim_random_between(&s->random, 0, 4 * SIM_MS) - (int64_t)(2 * SIM_MS);
    }
    return n;
}

static void destroy_core(struct sim_node *n)
{
    if (n->core == NULL)
        return;
    switch (n->kind) {
    case SIM_SEQUENCER:
        sequencer_destroy(n->core);
        break;
    case SIM_STORE:
        retransmitter_destroy(n->core);
        journal_close(n->journal);
        n->journal = NULL;
        break;
    case SIM_CLIENT:
        client_core_destroy(n->core);
        n->client->pipe = NULL;
        n->client->injector = NULL;
        n->client->machines[0] = n->client->machines[1] = NULL;
        n->client->started = false;
        break;
    case SIM_PROXY:
        proxy_destroy(n->core);
        break;
    case SIM_OPERATOR:
    case SIM_HOSTILE:
        free(n->core);
        break;
    case SIM_VISITOR:
        sim_visitor_destroy(n->core);
        break;
    }
    n->core = NULL;
}

void sim_node_free(struct sim *s, struct sim_node *n)
{
    (void)s;
    n->up = false;
    if (n->disk != NULL)
        n->disk->dead = true;
    destroy_core(n);
    if (n->disk != NULL)
        sim_disk_close(n->disk);
    if (n->client != NULL && n->client->queued != NULL) {
        for (uint32_t i = 0; i < n->client->queued_count; i++)
            free(n->client->queued[i].payload);
        free(n->client->queued);
    }
    free_memory(n);
}

bool sim_node_start(struct sim *s, struct sim_node *n)
{
    if (n->up)
        return true;
    n->boot++;
    n->frozen_until = 0;
    n->dies = SIM_DIES_NOT;
    n->busy_until = s->now;
    n->again = 0;
    sim_net_receive(s, n); /* it was down, and has not heard it */
    sim_clock_start(&n->clock, s->now);
    if (n->disk != NULL)
        n->disk->dead = false;
    if (!sim_create_core(s, n))
        return false;
    n->up = true;
    n->ever = true;
    if (sim_tracing(s))
        sim_trace_line(s, "%s starts", n->name);
    sim_node_wake(s, n, s->now);
    return true;
}

static void empty_inbox(struct sim *s, struct sim_node *n)
{
    for (uint32_t i = 0; i < n->inbox_count; i++)
        sim_net_release(s, n->inbox[i]);
    n->inbox_count = 0;
}

void sim_node_crash(struct sim *s, struct sim_node *n)
{
    if (!n->up)
        return;
    if (sim_tracing(s))
        sim_trace_line(s, "%s crashes", n->name);
    n->up = false;
    n->out_count = 0;
    n->scratch_used = 0;
    sim_queue_wake(&s->queue, n->port.node, SIM_QUEUE_NEVER);
    empty_inbox(s, n);
    sim_stream_node_down(s, n->port.node);
    if (n->disk != NULL)
        sim_disk_crash(n->disk);
    destroy_core(n);
}

void sim_node_wake(struct sim *s, struct sim_node *n, uint64_t at)
{
    if (at == PORT_NEVER)
        return;
    if (at < n->busy_until)
        at = n->busy_until;
    if (at < n->frozen_until)
        at = n->frozen_until;
    if (at < sim_queue_wake_at(&s->queue, n->port.node))
        sim_queue_wake(&s->queue, n->port.node, at);
}

void sim_node_step(struct sim *s, struct sim_node *n)
{
    if (!n->up || s->result.violated != SIM_FINE)
        return;
    struct port_time now = sim_node_time(s, n);
    uint64_t next = n->ops->step(n->core, now);
    sim_net_flush(s, n);
    if (n->kind == SIM_PROXY)
        sim_check_edge_proxy(s, n);
    else if (n->kind == SIM_CLIENT && n->client->edge != NULL)
        sim_check_edge_client(s, n);
    if (n->disk != NULL && n->disk->misuse != NULL)
        sim_violate(s, SIM_BOUNDED, "%s: %s", n->name, n->disk->misuse);
    uint64_t at;
    if (next <= now.mono_ns) {
        at = s->by_hand ? s->now : s->now + 500;
        if (++n->again > SIM_AGAIN_MAX)
            sim_violate(s, SIM_BOUNDED, "%s asks to be called again at once, for ever", n->name);
    } else {
        at = sim_clock_due(&n->clock, s->now, next);
        n->again = 0;
    }
    if (n->disk != NULL) {
        uint64_t due = sim_disk_due(n->disk);
        at = due < at ? due : at;
    }
    sim_node_wake(s, n, at);
}

void sim_node_stream(struct sim *s, struct sim_node *n, const struct port_stream_event *event,
                     size_t *consumed)
{
    if (!n->up || s->result.violated != SIM_FINE)
        return;
    size_t taken = n->ops->on_stream(n->core, event, sim_node_time(s, n));
    *consumed = event->type == PORT_STREAM_BYTES ? taken : 0;
    /* A run steps after what it offers; what is not wanted then is offered by the next one. */
    if (!n->running || *consumed > 0)
        sim_node_wake(s, n, s->now);
}

static void take_datagrams(struct sim *s, struct sim_node *n)
{
    struct port_datagram datagrams[SIM_INBOX_MAX];
    for (uint32_t i = 0; i < n->inbox_count; i++) {
        const struct sim_arrival *a = &s->network.arrivals[n->inbox[i]];
        datagrams[i] = (struct port_datagram) {
            .bytes = a->packet->bytes,
            .length = a->packet->length,
            .from = sim_net_address(a->from),
            .channel = (enum port_channel)a->channel,
        };
    }
    if (n->inbox_count > 0)
        n->ops->on_datagrams(n->core, datagrams, n->inbox_count, sim_node_time(s, n));
}

static uint32_t take_completions(struct sim *s, struct sim_node *n)
{
    struct disk_completion done[DISK_REQUESTS_MAX];
    sim_disk_advance(n->disk);
    uint32_t count = n->disk->disk.ops->complete(&n->disk->disk, done, DISK_REQUESTS_MAX);
    for (uint32_t i = 0; i < count; i++)
        n->ops->on_disk(n->core, &done[i], sim_node_time(s, n));
    return count;
}

/* Power fails amid its run: of what it wanted to send, some is sent. */
static void die(struct sim *s, struct sim_node *n)
{
    if (n->dies == SIM_DIES_BEFORE_FLUSH) {
        n->ops->step(n->core, sim_node_time(s, n));
        n->out_count = (uint32_t)sim_random_below(&s->random, n->out_count + UINT64_C(1));
        sim_net_flush(s, n);
    }
    s->result.half_steps++;
    s->result.crashes++;
    sim_node_crash(s, n);
    sim_fault_restart_later(s, n, n->outage_ns);
}

void sim_node_run(struct sim *s, struct sim_node *n)
{
    if (!n->up)
        return;
    if (sim_node_frozen(s, n)) {
        sim_node_wake(s, n, n->frozen_until);
        return;
    }
    sim_net_receive(s, n);
    if (!s->by_hand)
        n->busy_until = s->now + BUSY_NS + n->inbox_count * (uint64_t)BUSY_DATAGRAM_NS;
    n->running = true;
    take_datagrams(s, n);
    uint32_t completed = n->disk != NULL ? take_completions(s, n) : 1;
    sim_stream_offer(s, n);
    n->running = false;
    if (n->dies != SIM_DIES_NOT && completed > 0 && s->result.violated == SIM_FINE) {
        die(s, n);
        return;
    }
    sim_node_step(s, n);
    empty_inbox(s, n);
    if (n->due_count > 0)
        sim_node_wake(s, n, n->due[0].at + n->lag_ns);
}
