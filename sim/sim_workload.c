/* What the run's processes have to say: numbered items, now and then large ones; replicas whose
 * state depends on every byte, stamp and timer; and a race that one solver wins per round. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim_private.h"

enum {
    IN_FLIGHT_MAX = 48,
    PUSHES_MAX = 12,
    ITEM_BYTES_MAX = 30 * 1024,
    NOISE_PLACES = 4096,
    MAGIC_ITEM = 0x6d746943,
    MAGIC_RACE = 0x63617243
};

/* Apps get no context but their configuration, so the run is found through its thread. */
static _Thread_local struct sim *current;

void sim_work_context(struct sim *s)
{
    current = s;
}

/* ---- items ----------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

uint32_t sim_item_length(uint32_t author, uint64_t item)
{
    uint64_t drawn = mix(item * 64 + author);
    uint32_t large_every = current != NULL ? current->large_every : 400;
    uint32_t kind = (uint32_t)(drawn % large_every);
    drawn >>= 16;
    if (author == SIM_EDGE_PIPE && current != NULL && current->tears_groups)
        return SIM_EDGE_PART_BYTES - SIM_ITEM_HEADER - (uint32_t)(drawn % 64);
    if (author == SIM_EDGE_PIPE && current != NULL && sim_edge_has_groups(current))
        return SIM_ITEM_HEADER + (uint32_t)(drawn % SIM_EDGE_PART_BYTES);
    if (author == SIM_EDGE_PIPE && kind == 0)
        return SIM_EDGE_ITEM_MAX;
    if (kind == 0)
        return 4096 + (uint32_t)(drawn % (ITEM_BYTES_MAX - 4096) * (drawn >> 32 & 0xff) >> 8);
    if (kind < large_every / 32)
        return 1000 + (uint32_t)(drawn % 3000);
    return SIM_ITEM_HEADER + (uint32_t)(drawn % 64);
}

/* The bytes of an item are a stretch of this, from a place that depends on the item. */
static const uint8_t *item_bytes(uint32_t author, uint64_t item)
{
    static _Thread_local uint8_t noise[ITEM_BYTES_MAX + NOISE_PLACES];
    static _Thread_local bool made;
    for (uint32_t i = 0; !made && i < sizeof noise; i++)
        noise[i] = (uint8_t)mix(i + 1);
    made = true;
    return noise + mix(item * 64 + author) % NOISE_PLACES;
}

void sim_item_fill(uint32_t author, uint64_t item, uint8_t *out, uint32_t length)
{
    wire_store32(out, MAGIC_ITEM);
    wire_store32(out + 4, author);
    wire_store64(out + 8, item);
    memcpy(out + SIM_ITEM_HEADER, item_bytes(author, item), length - SIM_ITEM_HEADER);
}

bool sim_item_check(const uint8_t *payload, size_t length, uint32_t author, uint64_t item)
{
    return length >= SIM_ITEM_HEADER && length <= ITEM_BYTES_MAX &&
           memcmp(payload + SIM_ITEM_HEADER, item_bytes(author, item), length - SIM_ITEM_HEADER) ==
               0;
}

bool sim_item_header(const uint8_t *payload, size_t length, struct sim_item_header *out)
{
    if (length < SIM_ITEM_HEADER)
        return false;
    uint32_t magic = wire_load32(payload);
    if (magic != MAGIC_ITEM && magic != MAGIC_RACE)
        return false;
    *out = (struct sim_item_header) {
        .kind = magic == MAGIC_ITEM ? SIM_ITEM_PLAIN : SIM_ITEM_RACE,
        .author = wire_load32(payload + 4),
        .number = wire_load64(payload + 8),
    };
    return true;
}

/* ---- publishers ------------------------------------------------------------------------------ */

static void topic_of(uint32_t author, char *out, size_t capacity)
{
    snprintf(out, capacity, "/items/p%u", author);
}

static void push_items(struct sim *s, struct sim_node *n)
{
    static _Thread_local uint8_t payload[ITEM_BYTES_MAX];
    struct sim_client *c = n->client;
    if (!cantus_pipe_ready(c->pipe))
        return;
    if (!c->started) {
        c->started = true;
        c->items = cantus_pipe_sequenced(c->pipe);
        if (c->goal < c->items)
            c->goal = c->items; /* another process has pushed them */
    }
    char topic[32];
    topic_of(n->index, topic, sizeof topic);
    uint64_t pushes = sim_random_between(&s->random, 1, PUSHES_MAX);
    for (uint64_t i = 0; i < pushes && cantus_pipe_in_flight(c->pipe) < IN_FLIGHT_MAX; i++) {
        uint64_t item = c->items + 1;
        uint32_t length = sim_item_length(n->index, item);
        sim_item_fill(n->index, item, payload, length);
        if (!cantus_pipe_push(c->pipe, topic, payload, length))
            break;
        c->items = item;
        if (c->goal < item)
            c->goal = item;
    }
}

static void push_queued(struct sim_node *n)
{
    struct sim_client *c = n->client;
    uint32_t pushed = 0;
    while (pushed < c->queued_count) {
        struct sim_queued *q = &c->queued[pushed];
        if (!cantus_pipe_push(c->pipe, q->topic, q->payload, q->length))
            break;
        free(q->payload);
        pushed++;
    }
    c->queued_count -= pushed;
    memmove(c->queued, c->queued + pushed, c->queued_count * sizeof *c->queued);
}

void sim_work(struct sim *s, struct sim_node *n)
{
    struct sim_client *c = n->client;
    bool edge = c->edge != NULL;
    if (c->work == SIM_WORK_BY_HAND) {
        if (n->up && c->queued_count > 0) {
            push_queued(n);
            sim_node_step(s, n);
        }
        return;
    }
    /* A publisher that was restarted behind its goal has lost what it had not got rid of, and the
     * outside world still has it: it goes on pushing even when the others are done. */
    bool busy = !s->quiet || c->work == SIM_WORK_GROUPS || c->work == SIM_WORK_GRANTS || edge ||
                (c->work == SIM_WORK_PIPE && (!c->started || c->items < c->goal));
    if (n->up && !sim_node_frozen(s, n) && busy) {
        if (c->work == SIM_WORK_PIPE) {
            push_items(s, n);
        } else if (c->work == SIM_WORK_GROUPS) {
            sim_group_work(s, n);
        } else if (c->work == SIM_WORK_GRANTS) {
            sim_grant_work(s, n);
        } else if (edge) {
            sim_edge_work(s, n);
        } else {
            uint64_t more = sim_random_between(&s->random, 1, PUSHES_MAX);
            if (s->injector_limit < cantus_injector_sequenced(c->injector) + IN_FLIGHT_MAX)
                s->injector_limit += more;
            c->goal = s->injector_limit;
        }
        sim_node_step(s, n);
    }
    /* Once there is enough, only so much that the faults have something to hit. */
    uint64_t gap_max = s->history.stable_seq < s->options.messages_min ? 2 * SIM_MS : 20 * SIM_MS;
    if (busy)
        sim_schedule(s, s->now + sim_random_between(&s->random, gap_max / 20, gap_max),
                     SIM_EVENT_WORK, n->port.node, 0, 0);
}

bool sim_work_item(void *ctx, uint64_t index, struct cantus_item *out)
{
    static _Thread_local uint8_t payload[ITEM_BYTES_MAX];
    const struct sim *s = ctx;
    if (index >= s->injector_limit)
        return false;
    uint32_t length = sim_item_length(1, index + 1);
    sim_item_fill(1, index + 1, payload, length);
    *out = (struct cantus_item) { .topic = "/feed", .payload = payload, .length = length };
    return true;
}

/* ---- the replica ----------------------------------------------------------------------------- */

struct replica {
    uint64_t hash;
    uint64_t messages;
    uint64_t fired;
    struct cantus_timers *timers;
    uint32_t node;
};

static bool replica_init(void *state, const char *config, struct cantus_timers *timers)
{
    struct replica *r = state;
    r->timers = timers;
    r->node = config[0] != '\0' ? (uint32_t)strtoul(config, NULL, 10) : SIM_NONE;
    return true;
}

static void replica_apply(void *state, const struct cantus_message *m)
{
    struct replica *r = state;
    uint64_t word[3] = { m->seq, m->timestamp_ns, m->publisher_seq };
    r->hash = cantus_hash(r->hash, word, sizeof word);
    r->hash = cantus_hash(r->hash, m->payload, m->length);
    r->hash = cantus_hash(r->hash, m->topic, strlen(m->topic));
    r->hash = cantus_hash(r->hash, m->publisher, strlen(m->publisher));
    r->messages++;
    if (r->hash % 4 == 0)
        cantus_timer_set(r->timers, r->hash / 4 % 16,
                         m->timestamp_ns + (r->hash >> 20) % (3 * SIM_MS));
    else if (r->hash % 16 == 1)
        cantus_timer_cancel(r->timers, r->hash / 16 % 16);
    if (current != NULL)
        sim_check_applied(current, r->node, m->seq, r->hash);
}

static void replica_timer(void *state, uint64_t id, uint64_t now_ns)
{
    struct replica *r = state;
    uint64_t word[2] = { id, now_ns };
    r->hash = cantus_hash(r->hash, word, sizeof word);
    r->fired++;
    if (r->hash % 8 == 0)
        cantus_timer_set(r->timers, id, now_ns + 1 + (r->hash >> 24) % SIM_MS);
}

static uint64_t replica_digest(const void *state)
{
    const struct replica *r = state;
    if (current != NULL && current->sabotage_false_digest && r->node != SIM_NONE)
        return r->hash ^ r->node;
    return r->hash ^ r->messages * 3 ^ r->fired * 5;
}

static const char *const replica_topics[] = { "/items", "/feed", "/race", "/groups", NULL };

const struct cantus_app sim_follower_app = {
    .abi = CANTUS_APP_ABI,
    .logic_version = 1,
    .name = "sim-replica",
    .topics = replica_topics,
    .state_size = sizeof(struct replica),
    .init = replica_init,
    .apply = replica_apply,
    .timer = replica_timer,
    .digest = replica_digest,
};

/* ---- the race -------------------------------------------------------------------------------- */

struct solver {
    uint64_t rounds;
    uint64_t last_seq; /* of /race */
    uint64_t items;
    uint32_t number; /* not part of the digest: it tells the replicas apart */
    uint32_t per_round;
};

static bool solver_init(void *state, const char *config, struct cantus_timers *timers)
{
    (void)timers;
    struct solver *r = state;
    char *rest = NULL;
    r->number = (uint32_t)strtoul(config, &rest, 10);
    r->per_round = (uint32_t)strtoul(rest, NULL, 10);
    return true;
}

static void solver_apply(void *state, const struct cantus_message *m)
{
    struct solver *r = state;
    struct sim_item_header h;
    if (!sim_item_header(m->payload, m->length, &h))
        return;
    if (h.kind == SIM_ITEM_PLAIN) {
        r->items++;
        return;
    }
    r->rounds = h.number;
    r->last_seq = m->seq;
}

static bool solver_next(const void *state, struct cantus_proposal *p)
{
    const struct solver *r = state;
    if (r->items < (r->rounds + 1) * r->per_round)
        return false;
    wire_store32(p->buffer, MAGIC_RACE);
    wire_store32(p->buffer + 4, r->number);
    wire_store64(p->buffer + 8, r->rounds + 1);
    p->topic = p->condition_topic = "/race";
    p->payload = p->buffer;
    p->length = SIM_ITEM_HEADER;
    p->condition_after = r->last_seq;
    return true;
}

static uint64_t solver_digest(const void *state)
{
    const struct solver *r = state;
    uint64_t word[3] = { r->rounds, r->last_seq, r->items };
    return cantus_hash(7, word, sizeof word);
}

static const char *const solver_topics[] = { "/items", "/race", NULL };

const struct cantus_app sim_solver_app = {
    .abi = CANTUS_APP_ABI,
    .logic_version = 1,
    .name = "sim-solver",
    .topics = solver_topics,
    .state_size = sizeof(struct solver),
    .init = solver_init,
    .apply = solver_apply,
    .next = solver_next,
    .digest = solver_digest,
};
