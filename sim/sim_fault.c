/* What goes wrong, and when. A mood leans towards the situations in which one kind of mistake shows;
 * every run draws one, so a search is at least as hostile as each of them. */
#include <string.h>

#include "sim/sim_private.h"

#define USUAL_WEIGHTS                                                                              \
    [SIM_FAULT_CRASH_SEQUENCER] = 3, [SIM_FAULT_CRASH_STORE] = 3, [SIM_FAULT_CRASH_CLIENT] = 4,    \
    [SIM_FAULT_FREEZE] = 3, [SIM_FAULT_PARTITION] = 3, [SIM_FAULT_ONE_WAY] = 3,                    \
    [SIM_FAULT_DISK_FULL] = 2, [SIM_FAULT_DISK_ERRORS] = 2, [SIM_FAULT_DISK_STALL] = 2,            \
    [SIM_FAULT_READ_FLIPS] = 2, [SIM_FAULT_CLOCK] = 3, [SIM_FAULT_RESET_STREAMS] = 2,              \
    [SIM_FAULT_WEATHER] = 5, [SIM_FAULT_PROMOTE] = 3, [SIM_FAULT_STALE] = 2, [SIM_FAULT_ROT] = 1

static const struct sim_mood moods[] = {
    { .name = "usual",
      .weight = { USUAL_WEIGHTS },
      .gap_min_ns = 2 * SIM_MS,
      .gap_max_ns = 30 * SIM_MS,
      .packet_chance = 100 },
    { .name = "failovers", /* epochs come quickly, and the network is slow to forget */
      .weight = { [SIM_FAULT_CRASH_SEQUENCER] = 4,
                  [SIM_FAULT_STALE] = 6,
                  [SIM_FAULT_CRASH_STORE] = 4,
                  [SIM_FAULT_FREEZE] = 2,
                  [SIM_FAULT_DISK_STALL] = 3,
                  [SIM_FAULT_ONE_WAY] = 3,
                  [SIM_FAULT_WEATHER] = 2,
                  [SIM_FAULT_PROMOTE] = 6,
                  [SIM_FAULT_CLOCK] = 1 },
      .gap_min_ns = SIM_MS,
      .gap_max_ns = 16 * SIM_MS,
      .packet_chance = 150 },
    { .name = "disks",
      .weight = { [SIM_FAULT_CRASH_STORE] = 8,
                  [SIM_FAULT_DISK_FULL] = 4,
                  [SIM_FAULT_DISK_ERRORS] = 4,
                  [SIM_FAULT_DISK_STALL] = 4,
                  [SIM_FAULT_READ_FLIPS] = 3,
                  [SIM_FAULT_ROT] = 2,
                  [SIM_FAULT_CRASH_SEQUENCER] = 2,
                  [SIM_FAULT_CRASH_CLIENT] = 2 },
      .gap_min_ns = SIM_MS,
      .gap_max_ns = 20 * SIM_MS,
      .packet_chance = 30 },
    { .name = "weather",
      .weight = { [SIM_FAULT_WEATHER] = 10,
                  [SIM_FAULT_PARTITION] = 3,
                  [SIM_FAULT_ONE_WAY] = 4,
                  [SIM_FAULT_CRASH_CLIENT] = 2,
                  [SIM_FAULT_RESET_STREAMS] = 3 },
      .gap_min_ns = 2 * SIM_MS,
      .gap_max_ns = 20 * SIM_MS,
      .packet_chance = 400 },
    { .name = "clocks",
      .weight = { [SIM_FAULT_CLOCK] = 20,
                  [SIM_FAULT_CRASH_SEQUENCER] = 3,
                  [SIM_FAULT_CRASH_STORE] = 2,
                  [SIM_FAULT_CRASH_CLIENT] = 3,
                  [SIM_FAULT_FREEZE] = 3,
                  [SIM_FAULT_PROMOTE] = 3,
                  [SIM_FAULT_WEATHER] = 3 },
      .gap_min_ns = SIM_MS,
      .gap_max_ns = 16 * SIM_MS,
      .packet_chance = 50 },
    { .name = "long outages", /* of the stores, so that the ring fills */
      .weight = { [SIM_FAULT_CRASH_STORE] = 4,
                  [SIM_FAULT_DISK_STALL] = 4,
                  [SIM_FAULT_DISK_FULL] = 4,
                  [SIM_FAULT_PARTITION] = 3,
                  [SIM_FAULT_CRASH_CLIENT] = 1 },
      .gap_min_ns = 20 * SIM_MS,
      .gap_max_ns = 80 * SIM_MS,
      .packet_chance = 100 },
    { .name = "calm",
      .weight = { USUAL_WEIGHTS },
      .gap_min_ns = 10 * SIM_MS,
      .gap_max_ns = 60 * SIM_MS,
      .packet_chance = 20 },
};

/* A mistake shows in a mood of its own, so a search for it leans there. */
static const struct leaning {
    const char *sabotage, *mood;
} leanings[] = {
    { "volatile-promise", "failovers" }, { "record-stale", "failovers" },
    { "ack-any-epoch", "failovers" },    { "foreign-basis", "failovers" },
    { "dedup-forgotten", "failovers" },  { "clock-unclamped", "clocks" },
    { "ring-forgets", "long outages" },  { "gap-ignored", "weather" },
    { "order-by-arrival", "weather" },   { "renumbered-retry", "weather" },
    { "delivers-ahead", "weather" },
};

static const struct sim_mood *mood_named(const char *name)
{
    for (size_t i = 0; i < sizeof moods / sizeof moods[0]; i++)
        if (strcmp(moods[i].name, name) == 0)
            return &moods[i];
    return &moods[0];
}

static const struct sim_mood *draw_mood(struct sim *s)
{
    const struct sim_mood *drawn =
        &moods[sim_random_below(&s->random, sizeof moods / sizeof moods[0])];
    const char *sabotage = s->options.sabotage;
    for (size_t i = 0; sabotage != NULL && i < sizeof leanings / sizeof leanings[0]; i++) {
        char name[32];
        size_t length = 0;
        for (; sabotage[length] != '\0' && length + 1 < sizeof name; length++)
            name[length] = sabotage[length] == '_' ? '-' : sabotage[length];
        name[length] = '\0';
        if (strcmp(leanings[i].sabotage, name) == 0)
            return mood_named(leanings[i].mood);
    }
    return drawn;
}

/* ---- weather ------------------------------------------------------------------------------------- */

/* A chance per million: none, or small, or now and then large. */
static uint32_t draw_chance(struct sim *s, uint64_t usual_max)
{
    uint64_t chance = 0;
    switch (sim_random_below(&s->random, 4)) {
    case 0:
        return 0;
    case 1:
    case 2:
        chance = sim_random_scale(&s->random, 500, usual_max);
        break;
    default:
        chance = sim_random_scale(&s->random, usual_max, usual_max * 4);
        break;
    }
    chance = chance * s->mood->packet_chance / 100;
    return chance > 600000 ? 600000 : (uint32_t)chance;
}

void sim_fault_weather(struct sim *s)
{
    if (s->healed)
        return;
    struct sim_weather *w = &s->network.weather;
    w->loss = draw_chance(s, 20000);
    w->duplicate = draw_chance(s, 20000);
    w->reorder = draw_chance(s, 40000);
    w->delay = draw_chance(s, 2000);
    w->corrupt = draw_chance(s, 5000);
    w->latency_min_ns = sim_random_scale(&s->random, 5 * SIM_US, 100 * SIM_US);
    w->latency_max_ns = w->latency_min_ns + sim_random_scale(&s->random, SIM_US, 100 * SIM_US);
}

/* ---- faults -------------------------------------------------------------------------------------- */

static struct sim_node *draw_node(struct sim *s, enum sim_kind kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->node_count; i++)
        count += s->nodes[i]->kind == kind && s->nodes[i]->up;
    if (count == 0)
        return NULL;
    uint32_t drawn = (uint32_t)sim_random_below(&s->random, count);
    for (uint32_t i = 0; i < s->node_count; i++)
        if (s->nodes[i]->kind == kind && s->nodes[i]->up && drawn-- == 0)
            return s->nodes[i];
    return NULL;
}

static uint64_t draw_outage(struct sim *s)
{
    return sim_random_scale(&s->random, SIM_MS / 2,
                            s->mood->gap_max_ns > 60 * SIM_MS ? 120 * SIM_MS : 30 * SIM_MS);
}

static void block(struct sim *s, uint32_t from, uint32_t to, uint64_t until)
{
    if (s->network.blocked_until[from][to] < until) {
        s->network.blocked_from[from][to] = s->now;
        s->network.blocked_until[from][to] = until;
    }
}

/* Mute soon after it comes up, at `up_at`: sealed, and its epoch record heard by few or nobody. */
static void mute_later(struct sim *s, const struct sim_node *n, uint64_t up_at)
{
    uint64_t from = up_at + sim_random_scale(&s->random, 50 * SIM_US, 600 * SIM_US);
    uint64_t until = from + sim_random_scale(&s->random, SIM_MS, 16 * SIM_MS);
    for (uint32_t i = 0; i < s->node_count; i++) {
        if (s->nodes[i] == n || sim_random_below(&s->random, 4) == 0)
            continue;
        s->network.blocked_from[n->port.node][i] = from;
        s->network.blocked_until[n->port.node][i] = until;
    }
}

static bool crash(struct sim *s, enum sim_kind kind, bool stale)
{
    struct sim_node *n = draw_node(s, kind);
    if (n == NULL)
        return false;
    if (stale)
        sim_net_linger(s, n->port.node, SIM_MS, 30 * SIM_MS);
    sim_node_crash(s, n);
    s->result.crashes++;
    uint64_t outage =
        stale ? sim_random_scale(&s->random, 100 * SIM_US, 4 * SIM_MS) : draw_outage(s);
    if (stale && sim_random_below(&s->random, 2) == 0)
        mute_later(s, n, s->now + outage);
    sim_schedule(s, s->now + outage, SIM_EVENT_RESTART, n->port.node, n->boot, 0);
    return true;
}

static bool freeze(struct sim *s)
{
    struct sim_node *n = s->nodes[sim_random_below(&s->random, s->node_count)];
    if (!n->up || sim_node_frozen(s, n))
        return false;
    n->frozen_until = s->now + draw_outage(s);
    s->result.freezes++;
    return true;
}

/* One node against the rest, or two halves; both ways or one. */
static bool partition(struct sim *s, bool one_way)
{
    uint64_t until = s->now + draw_outage(s);
    uint64_t side = sim_random_next(&s->random);
    if (sim_random_below(&s->random, 2) == 0)
        side = UINT64_C(1) << sim_random_below(&s->random, s->node_count);
    for (uint32_t i = 0; i < s->node_count; i++)
        for (uint32_t j = 0; j < s->node_count; j++)
            if ((side >> i & 1) != 0 && (side >> j & 1) == 0) {
                block(s, i, j, until);
                if (!one_way)
                    block(s, j, i, until);
            }
    s->result.partitions++;
    return true;
}

static bool trouble_disk(struct sim *s, enum sim_fault kind)
{
    struct sim_node *n = draw_node(s, SIM_STORE);
    if (n == NULL)
        return false;
    struct sim_disk_weather *w = &n->disk->weather;
    uint32_t chance = (uint32_t)sim_random_scale(&s->random, 10000, 500000);
    if (kind == SIM_FAULT_DISK_FULL) {
        w->full = !w->full;
        w->thin = sim_random_below(&s->random, 2) == 0;
    } else if (kind == SIM_FAULT_DISK_ERRORS) {
        w->error_chance = w->error_chance > 0 ? 0 : chance;
    } else if (kind == SIM_FAULT_READ_FLIPS) {
        w->flip_chance = w->flip_chance > 0 ? 0 : chance;
    } else {
        w->stall_until_ns = s->now + draw_outage(s);
    }
    /* What begins also ends: by another fault, or by this one's own time. */
    sim_schedule(s, s->now + draw_outage(s), SIM_EVENT_FAULT, n->port.node, (uint32_t)kind + 1, 0);
    return true;
}

static void end_disk_trouble(struct sim *s, uint32_t node, enum sim_fault kind)
{
    struct sim_disk_weather *w = &s->nodes[node]->disk->weather;
    if (kind == SIM_FAULT_DISK_FULL)
        w->full = false;
    else if (kind == SIM_FAULT_DISK_ERRORS)
        w->error_chance = 0;
    else if (kind == SIM_FAULT_READ_FLIPS)
        w->flip_chance = 0;
}

static bool jump_clock(struct sim *s)
{
    struct sim_node *n = s->nodes[sim_random_below(&s->random, s->node_count)];
    if (sim_random_below(&s->random, 2) == 0)
        n = s->nodes[0];
    int64_t by = (int64_t)sim_random_scale(&s->random, SIM_US, 20000 * SIM_MS);
    /* Towards the truth rather than ever further from it. */
    bool back = n->clock.wall_off_ns > 0 ? sim_random_below(&s->random, 4) != 0
                                         : sim_random_below(&s->random, 4) == 0;
    sim_clock_jump(&n->clock, back ? -by : by);
    s->result.clock_jumps++;
    return true;
}

static bool promote(struct sim *s)
{
    if (s->sequencer_count < 2)
        return false;
    struct sim_node *n = draw_node(s, SIM_SEQUENCER);
    if (n == NULL || sim_node_frozen(s, n) || sequencer_state(n->core) == SEQUENCER_LEADING)
        return false;
    sequencer_lead(n->core, SYS_EPOCH_PROMOTED, "drawn");
    sim_node_wake(s, n, s->now);
    return true;
}

/* One store of a run: what rots on a majority before it is healed may be gone for good. */
static bool rot(struct sim *s)
{
    struct sim_node *n = NULL;
    for (uint32_t i = 0; i < s->node_count && (n == NULL || !n->rotten); i++)
        if (s->nodes[i]->kind == SIM_STORE)
            n = s->nodes[i];
    if (n == NULL || s->store_count < 3 || !sim_disk_rot(n->disk, "segment-"))
        return false;
    n->rotten = true;
    return true;
}

static bool strike(struct sim *s, enum sim_fault kind)
{
    switch (kind) {
    case SIM_FAULT_CRASH_SEQUENCER:
        return crash(s, SIM_SEQUENCER, false);
    case SIM_FAULT_CRASH_STORE:
        return crash(s, SIM_STORE, false);
    case SIM_FAULT_CRASH_CLIENT:
        return crash(s, SIM_CLIENT, false);
    case SIM_FAULT_FREEZE:
        return freeze(s);
    case SIM_FAULT_PARTITION:
        return partition(s, false);
    case SIM_FAULT_ONE_WAY:
        return partition(s, true);
    case SIM_FAULT_DISK_FULL:
    case SIM_FAULT_DISK_ERRORS:
    case SIM_FAULT_DISK_STALL:
    case SIM_FAULT_READ_FLIPS:
        return trouble_disk(s, kind);
    case SIM_FAULT_CLOCK:
        return jump_clock(s);
    case SIM_FAULT_RESET_STREAMS:
        return sim_stream_reset_some(s) > 0;
    case SIM_FAULT_WEATHER:
        sim_fault_weather(s);
        return true;
    case SIM_FAULT_PROMOTE:
        return promote(s);
    case SIM_FAULT_STALE:
        return crash(s, SIM_SEQUENCER, true);
    case SIM_FAULT_ROT:
        return rot(s);
    case SIM_FAULT_KINDS:
        break;
    }
    return false;
}

static const char *const fault_names[SIM_FAULT_KINDS] = {
    [SIM_FAULT_CRASH_SEQUENCER] = "crash of a sequencer",
    [SIM_FAULT_CRASH_STORE] = "crash of a store",
    [SIM_FAULT_CRASH_CLIENT] = "crash of a client",
    [SIM_FAULT_FREEZE] = "freeze",
    [SIM_FAULT_PARTITION] = "partition",
    [SIM_FAULT_ONE_WAY] = "one-way partition",
    [SIM_FAULT_DISK_FULL] = "disk full",
    [SIM_FAULT_DISK_ERRORS] = "disk errors",
    [SIM_FAULT_DISK_STALL] = "disk stall",
    [SIM_FAULT_READ_FLIPS] = "bits flipped in reads",
    [SIM_FAULT_CLOCK] = "clock jump",
    [SIM_FAULT_RESET_STREAMS] = "streams reset",
    [SIM_FAULT_WEATHER] = "weather",
    [SIM_FAULT_PROMOTE] = "promotion",
    [SIM_FAULT_STALE] = "crash of a sequencer whose datagrams linger",
    [SIM_FAULT_ROT] = "bit rot",
};

static void schedule_next(struct sim *s)
{
    uint64_t gap = sim_random_between(&s->random, s->mood->gap_min_ns, s->mood->gap_max_ns);
    sim_schedule(s, s->now + gap, SIM_EVENT_FAULT, 0, 0, 0);
}

void sim_fault_strike(struct sim *s)
{
    if (s->healed)
        return;
    uint64_t total = 0;
    for (uint32_t i = 0; i < SIM_FAULT_KINDS; i++)
        total += s->mood->weight[i];
    uint64_t drawn = sim_random_below(&s->random, total);
    uint32_t kind = 0;
    while (drawn >= s->mood->weight[kind])
        drawn -= s->mood->weight[kind++];
    if (sim_tracing(s))
        sim_trace_line(s, "fault: %s", fault_names[kind]);
    s->faults_scheduled += strike(s, (enum sim_fault)kind);
    schedule_next(s);
}

void sim_fault_end(struct sim *s, uint32_t node, uint32_t kind)
{
    end_disk_trouble(s, node, (enum sim_fault)kind);
}

void sim_fault_begin(struct sim *s)
{
    s->mood = draw_mood(s);
    sim_fault_weather(s);
    schedule_next(s);
    for (uint32_t i = 0; i < s->node_count; i++)
        if (s->nodes[i]->kind == SIM_CLIENT && s->nodes[i]->client->work != SIM_WORK_NONE)
            sim_schedule(s, s->now + i * 50 * SIM_US, SIM_EVENT_WORK, i, 0, 0);
}

/* An operator, who promotes when nobody leads. */
void sim_fault_operate(struct sim *s)
{
    struct sim_node *standby = NULL;
    for (uint32_t i = 0; i < s->node_count; i++) {
        struct sim_node *n = s->nodes[i];
        if (n->kind != SIM_SEQUENCER || !n->up)
            continue;
        if (sequencer_state(n->core) != SEQUENCER_FOLLOWING)
            return;
        standby = n;
    }
    if (standby == NULL)
        return;
    sequencer_lead(standby->core, SYS_EPOCH_PROMOTED, "nobody leads");
    sim_node_wake(s, standby, s->now);
}

void sim_fault_heal(struct sim *s)
{
    s->healed = true;
    s->healed_at = s->now;
    if (sim_tracing(s))
        sim_trace_line(s, "the network heals");
    struct sim_weather *w = &s->network.weather;
    w->loss = w->duplicate = w->reorder = w->delay = w->corrupt = 0;
    memset(s->network.blocked_until, 0, sizeof s->network.blocked_until);
    for (uint32_t i = 0; i < s->node_count; i++) {
        struct sim_node *n = s->nodes[i];
        if (n->disk != NULL) {
            n->disk->weather.full = false;
            n->disk->weather.error_chance = n->disk->weather.flip_chance = 0;
            n->disk->weather.stall_until_ns = 0;
        }
        n->frozen_until = 0;
        if (!n->up && !sim_node_start(s, n))
            sim_violate(s, SIM_LIVE, "%s does not start: %s", n->name, s->text);
        else
            sim_node_wake(s, n, s->now);
    }
}
