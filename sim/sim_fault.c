/* What goes wrong, and how it ends. When, and what how often, is the mood: sim_mood.c. */
#include <string.h>

#include "sim/sim_private.h"

/* ---- weather --------------------------------------------------------------------------------- */

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

/* ---- faults ---------------------------------------------------------------------------------- */

struct sim_node *sim_fault_draw_node(struct sim *s, enum sim_kind kind)
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

uint64_t sim_fault_draw_outage(struct sim *s)
{
    return sim_random_scale(&s->random, SIM_MS / 2, s->mood->outage_max_ns);
}

static void block(struct sim *s, uint32_t from, uint32_t to, uint64_t until, uint64_t flaps_ns)
{
    if (s->network.blocked_until[from][to] < until) {
        s->network.blocked_from[from][to] = s->now;
        s->network.blocked_until[from][to] = until;
        s->network.flaps_ns[from][to] = flaps_ns;
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
        s->network.flaps_ns[n->port.node][i] = 0;
    }
}

void sim_fault_restart_later(struct sim *s, struct sim_node *n, uint64_t outage_ns)
{
    sim_schedule(s, s->now + outage_ns, SIM_EVENT_RESTART, n->port.node, n->boot, 0);
}

static bool crash(struct sim *s, enum sim_kind kind, bool stale)
{
    struct sim_node *n = sim_fault_draw_node(s, kind);
    if (n == NULL)
        return false;
    if (stale)
        sim_net_linger(s, n->port.node, SIM_MS, 30 * SIM_MS);
    sim_node_crash(s, n);
    s->result.crashes++;
    uint64_t outage =
        stale ? sim_random_scale(&s->random, 100 * SIM_US, 4 * SIM_MS) : sim_fault_draw_outage(s);
    if (stale && sim_random_below(&s->random, 2) == 0)
        mute_later(s, n, s->now + outage);
    sim_fault_restart_later(s, n, outage);
    return true;
}

/* A process dies in a run that is still to come, at a point where its memory, its disk and the
 * network disagree. */
static void die_soon(struct sim *s, struct sim_node *n)
{
    n->dies = sim_random_below(&s->random, 2) == 0 ? SIM_DIES_BEFORE_STEP : SIM_DIES_BEFORE_FLUSH;
    n->outage_ns = sim_fault_draw_outage(s);
}

static bool half_step(struct sim *s)
{
    static const enum sim_kind kinds[] = { SIM_STORE, SIM_STORE, SIM_SEQUENCER, SIM_CLIENT };
    struct sim_node *n = sim_fault_draw_node(s, kinds[sim_random_below(&s->random, 4)]);
    if ((s->edge_extras & SIM_EDGE_HALVES) != 0 && sim_random_below(&s->random, 2) == 0)
        n = sim_fault_draw_node(s, SIM_PROXY);
    if (n == NULL || n->dies != SIM_DIES_NOT)
        return false;
    die_soon(s, n);
    return true;
}

static bool power(struct sim *s)
{
    uint64_t hit = sim_random_next(&s->random) | sim_random_next(&s->random);
    bool all = sim_random_below(&s->random, 3) == 0, any = false;
    for (uint32_t i = 0; i < s->node_count; i++) {
        struct sim_node *n = s->nodes[i];
        if (!n->up || (!all && (hit >> i & 1) == 0))
            continue;
        any = true;
        if (sim_fault_crash_host(s, n)) {
            s->result.crashes++;
            sim_fault_restart_later(s, n, sim_fault_draw_outage(s));
            continue;
        }
        if (sim_random_below(&s->random, 4) == 0) {
            die_soon(s, n);
            continue;
        }
        sim_node_crash(s, n);
        s->result.crashes++;
        sim_fault_restart_later(s, n, sim_fault_draw_outage(s));
    }
    return any;
}

static bool freeze(struct sim *s)
{
    struct sim_node *n = s->nodes[sim_random_below(&s->random, s->node_count)];
    if (!n->up || sim_node_frozen(s, n))
        return false;
    n->frozen_until = s->now + sim_fault_draw_outage(s);
    s->result.freezes++;
    return true;
}

/* The leader stops for long, and others go on without it. */
static bool stall_leader(struct sim *s)
{
    struct sim_node *n = sim_leader(s);
    if (n == NULL || sim_node_frozen(s, n))
        return false;
    n->frozen_until = s->now + sim_random_scale(&s->random, 2 * SIM_MS, 200 * SIM_MS);
    s->result.freezes++;
    struct sim_node *other = sim_fault_draw_node(s, SIM_SEQUENCER);
    if (other != NULL && other != n && !sim_node_frozen(s, other)) {
        sequencer_lead(other->core, SYS_EPOCH_PROMOTED, "the leader is silent");
        sim_node_wake(s, other, s->now);
        s->result.promotions++;
    }
    return true;
}

/* One node against the rest, or two halves; both ways or one. */
static bool partition(struct sim *s, bool one_way, bool flaps)
{
    uint64_t until = s->now + sim_fault_draw_outage(s);
    uint64_t turn = flaps ? sim_random_scale(&s->random, 100 * SIM_US, 3 * SIM_MS) : 0;
    uint64_t side = sim_random_next(&s->random);
    if (sim_random_below(&s->random, 2) == 0)
        side = UINT64_C(1) << sim_random_below(&s->random, s->node_count);
    for (uint32_t i = 0; i < s->node_count; i++)
        for (uint32_t j = 0; j < s->node_count; j++)
            if ((side >> i & 1) != 0 && (side >> j & 1) == 0) {
                block(s, i, j, until, turn);
                if (!one_way)
                    block(s, j, i, until, turn);
            }
    s->result.partitions++;
    return true;
}

/* The leader and one store go on apart from the others, who go on too under another leader, who
 * may soon be heard by few; clients may hear both. */
static bool island(struct sim *s)
{
    struct sim_node *leader = sim_leader(s), *store = sim_fault_draw_node(s, SIM_STORE);
    struct sim_node *other = sim_fault_draw_node(s, SIM_SEQUENCER);
    if (leader == NULL || store == NULL || other == NULL || other == leader)
        return false;
    uint64_t until = s->now + sim_random_scale(&s->random, 500 * SIM_US, 12 * SIM_MS);
    bool clients = sim_random_below(&s->random, 2) == 0;
    uint64_t side = sim_random_next(&s->random);
    for (uint32_t i = 0; i < s->node_count; i++) {
        if (s->nodes[i] == leader || s->nodes[i] == store)
            side |= UINT64_C(1) << i;
        else if (s->nodes[i]->kind != SIM_CLIENT)
            side &= ~(UINT64_C(1) << i);
    }
    for (uint32_t i = 0; i < s->node_count; i++)
        for (uint32_t j = 0; j < s->node_count; j++) {
            bool client = s->nodes[i]->kind == SIM_CLIENT || s->nodes[j]->kind == SIM_CLIENT;
            if ((side >> i & 1) != (side >> j & 1) && (clients || !client))
                block(s, i, j, until, 0);
        }
    if (!sim_node_frozen(s, other)) {
        sequencer_lead(other->core, SYS_EPOCH_PROMOTED, "off the island");
        sim_node_wake(s, other, s->now);
        s->result.promotions++;
        if (sim_random_below(&s->random, 2) == 0)
            mute_later(s, other, s->now + 200 * SIM_US);
    }
    s->result.partitions++;
    return true;
}

static bool trouble_disk(struct sim *s, enum sim_fault kind)
{
    struct sim_node *n = sim_fault_draw_node(s, SIM_STORE);
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
        w->stall_until_ns = s->now + sim_fault_draw_outage(s);
    }
    /* What begins also ends: by another fault, or by this one's own time. */
    sim_schedule(s, s->now + sim_fault_draw_outage(s), SIM_EVENT_FAULT, n->port.node,
                 (uint32_t)kind + 1, 0);
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
    struct sim_node *n = sim_fault_draw_node(s, SIM_SEQUENCER);
    if (n == NULL || sim_node_frozen(s, n) || sequencer_state(n->core) == SEQUENCER_LEADING)
        return false;
    sequencer_lead(n->core, SYS_EPOCH_PROMOTED, "drawn");
    s->result.promotions++;
    sim_node_wake(s, n, s->now);
    return true;
}

/* Two operators, or three, each at his own standby, who know nothing of each other. */
static bool rivals(struct sim *s)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->node_count; i++) {
        struct sim_node *n = s->nodes[i];
        if (n->kind != SIM_SEQUENCER || !n->up || sim_node_frozen(s, n) ||
            sequencer_state(n->core) != SEQUENCER_FOLLOWING)
            continue;
        sequencer_lead(n->core, SYS_EPOCH_PROMOTED, "at once");
        sim_node_wake(s, n, s->now);
        count++;
    }
    s->result.promotions += count;
    return count > 0;
}

/* ---- the operator ---------------------------------------------------------------------------- */

static bool command(struct sim *s)
{
    const struct sim_node *leader = sim_leader(s);
    struct sim_node *target = sim_fault_draw_node(s, SIM_SEQUENCER);
    const struct sim_node *store = sim_fault_draw_node(s, SIM_STORE);
    if (!s->operator->up || target == NULL || store == NULL)
        return false;
    struct command c = { .kind = COMMAND_PROMOTE, .why = "by command" };
    if (leader != NULL && sim_random_below(&s->random, 4) != 0) {
        const struct membership *m = catalog_members(sequencer_catalog(leader->core));
        bool member = membership_has(m, store->store), lost = sim_fault_is_lost(s, store->store);
        for (uint32_t i = 0; i < m->count; i++)
            lost = lost || sim_fault_is_lost(s, m->stores[i]);
        if (lost)
            return false; /* first it is repaired: two at a time may be one too many */
        c.kind = member ? COMMAND_MEMBER_REMOVE : COMMAND_MEMBER_ADD;
        c.store = store->store;
        /* So many must stay that one can be lost; and mostly it is the leader who is asked. */
        if (member && m->count <= s->options.stores && sim_random_below(&s->random, 3) != 0)
            return false;
        if (sim_random_below(&s->random, 8) != 0)
            target = sim_leader(s);
    }
    sim_operator_ask(s->operator->core, &c, sim_node_index(s, target));
    sim_node_wake(s, s->operator, s->now);
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
        return partition(s, false, false);
    case SIM_FAULT_ONE_WAY:
        return partition(s, true, false);
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
        return sim_fault_rot(s);
    case SIM_FAULT_HALF_STEP:
        return half_step(s);
    case SIM_FAULT_POWER:
        return power(s);
    case SIM_FAULT_FLAP:
        return partition(s, sim_random_below(&s->random, 2) == 0, true);
    case SIM_FAULT_STALL_LEADER:
        return stall_leader(s);
    case SIM_FAULT_REPEAT:
        return sim_net_repeat(s, 16) > 0;
    case SIM_FAULT_RIVALS:
        return rivals(s);
    case SIM_FAULT_COMMAND:
        return command(s);
    case SIM_FAULT_ISLAND:
        return island(s);
    case SIM_FAULT_WIPE:
        return sim_fault_wipe(s);
    case SIM_FAULT_LIE:
        return sim_fault_lie(s);
    case SIM_FAULT_RESTORE:
        return sim_fault_restore(s);
    case SIM_FAULT_CRASH_PROXY:
    case SIM_FAULT_CUT:
    case SIM_FAULT_STORM:
    case SIM_FAULT_SLOW:
    case SIM_FAULT_DRAIN:
        return sim_fault_edge(s, kind);
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
    [SIM_FAULT_HALF_STEP] = "death amid a step",
    [SIM_FAULT_POWER] = "power",
    [SIM_FAULT_FLAP] = "flapping partition",
    [SIM_FAULT_STALL_LEADER] = "the leader stalls",
    [SIM_FAULT_REPEAT] = "old datagrams again",
    [SIM_FAULT_RIVALS] = "rivals",
    [SIM_FAULT_COMMAND] = "command",
    [SIM_FAULT_ISLAND] = "island",
    [SIM_FAULT_WIPE] = "wipe",
    [SIM_FAULT_LIE] = "a disk lies",
    [SIM_FAULT_RESTORE] = "an older copy of a store",
    [SIM_FAULT_CRASH_PROXY] = "crash of a proxy",
    [SIM_FAULT_CUT] = "clients' connections cut",
    [SIM_FAULT_STORM] = "all connections of a proxy cut",
    [SIM_FAULT_SLOW] = "clients read slowly",
    [SIM_FAULT_DRAIN] = "a proxy drains",
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
    if ((s->extras & SIM_EXTRA_LIARS) != 0 && sim_random_below(&s->random, 6) == 0)
        kind = SIM_FAULT_LIE;
    if ((s->extras & SIM_EXTRA_RESTORED) != 0 && sim_random_below(&s->random, 3) == 0)
        kind = SIM_FAULT_RESTORE;
    if ((s->extras & SIM_EXTRA_EDGE) != 0 && sim_random_below(&s->random, 3) == 0)
        kind = SIM_FAULT_CRASH_PROXY + (uint32_t)sim_random_below(&s->random, 5);
    if (sim_tracing(s))
        sim_trace_line(s, "fault: %s", fault_names[kind]);
    bool struck = strike(s, (enum sim_fault)kind);
    s->faults_scheduled += struck;
    s->result.fault_kinds |= (uint64_t)struck << kind;
    schedule_next(s);
}

void sim_fault_end(struct sim *s, uint32_t node, uint32_t kind)
{
    if (kind == SIM_FAULT_LIE)
        sim_fault_end_lie(s, s->nodes[node]);
    else if (kind == SIM_FAULT_TORN_GROUP)
        sim_fault_tear_group(s);
    else if (kind == SIM_FAULT_DRAIN)
        sim_fault_end_drain(s, s->nodes[node]);
    else
        end_disk_trouble(s, node, (enum sim_fault)kind);
}

void sim_fault_begin(struct sim *s)
{
    s->mood = sim_mood_draw(s);
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
    sim_check_disks(s);
    s->healed = true;
    s->healed_at = s->now;
    for (uint32_t i = 0; i < s->connections_end; i++) {
        struct sim_connection *c = &s->connections[i];
        c->way[1].slow_until = c->far_ns = c->piece_max = 0;
    }
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
            n->disk->weather.stall_until_ns = n->disk->weather.lies_until_ns = 0;
        }
        n->frozen_until = 0;
        n->dies = SIM_DIES_NOT;
        bool waits = n->client != NULL && n->client->edge != NULL && !s->edge_open;
        if (!n->up && !waits && !sim_node_start(s, n))
            sim_violate(s, SIM_LIVE, "%s does not start: %s", n->name, s->text);
        else
            sim_node_wake(s, n, s->now);
    }
}
