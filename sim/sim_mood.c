/* What goes wrong how often. A mood leans towards the situations in which one kind of mistake shows;
 * every run draws one, so a search is at least as hostile as each of them. */
#include <string.h>

#include "sim/sim_private.h"

#define USUAL_WEIGHTS                                                                              \
    [SIM_FAULT_CRASH_SEQUENCER] = 3, [SIM_FAULT_CRASH_STORE] = 3, [SIM_FAULT_CRASH_CLIENT] = 4,    \
    [SIM_FAULT_FREEZE] = 3, [SIM_FAULT_PARTITION] = 3, [SIM_FAULT_ONE_WAY] = 3,                    \
    [SIM_FAULT_DISK_FULL] = 2, [SIM_FAULT_DISK_ERRORS] = 2, [SIM_FAULT_DISK_STALL] = 2,            \
    [SIM_FAULT_READ_FLIPS] = 2, [SIM_FAULT_CLOCK] = 3, [SIM_FAULT_RESET_STREAMS] = 2,              \
    [SIM_FAULT_WEATHER] = 5, [SIM_FAULT_PROMOTE] = 3, [SIM_FAULT_STALE] = 2, [SIM_FAULT_ROT] = 1,  \
    [SIM_FAULT_HALF_STEP] = 4, [SIM_FAULT_POWER] = 1, [SIM_FAULT_FLAP] = 2,                        \
    [SIM_FAULT_STALL_LEADER] = 2, [SIM_FAULT_REPEAT] = 3, [SIM_FAULT_RIVALS] = 2,                  \
    [SIM_FAULT_COMMAND] = 3, [SIM_FAULT_WIPE] = 1, [SIM_FAULT_ISLAND] = 2

static const struct sim_mood moods[] = {
    { .name = "usual",
      .weight = { USUAL_WEIGHTS },
      .gap_min_ns = 600 * SIM_US,
      .gap_max_ns = 8 * SIM_MS,
      .outage_max_ns = 30 * SIM_MS,
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
                  [SIM_FAULT_RIVALS] = 4,
                  [SIM_FAULT_ISLAND] = 4,
                  [SIM_FAULT_STALL_LEADER] = 3,
                  [SIM_FAULT_REPEAT] = 3,
                  [SIM_FAULT_HALF_STEP] = 3,
                  [SIM_FAULT_COMMAND] = 1,
                  [SIM_FAULT_CLOCK] = 1 },
      .gap_min_ns = 600 * SIM_US,
      .gap_max_ns = 6 * SIM_MS,
      .outage_max_ns = 30 * SIM_MS,
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
      .gap_min_ns = 600 * SIM_US,
      .gap_max_ns = 7 * SIM_MS,
      .outage_max_ns = 30 * SIM_MS,
      .packet_chance = 30 },
    { .name = "figure 8", /* tails of several epochs, each on a minority */
      .weight = { [SIM_FAULT_ISLAND] = 12,
                  [SIM_FAULT_PROMOTE] = 2,
                  [SIM_FAULT_RIVALS] = 2,
                  [SIM_FAULT_CRASH_STORE] = 3,
                  [SIM_FAULT_CRASH_SEQUENCER] = 2,
                  [SIM_FAULT_HALF_STEP] = 2,
                  [SIM_FAULT_WEATHER] = 2 },
      .gap_min_ns = 600 * SIM_US,
      .gap_max_ns = 6 * SIM_MS,
      .outage_max_ns = 30 * SIM_MS,
      .packet_chance = 200 },
    { .name = "members", /* they come and go, by the operator's word or by losing their disks */
      .weight = { [SIM_FAULT_COMMAND] = 10,
                  [SIM_FAULT_WIPE] = 3,
                  [SIM_FAULT_PROMOTE] = 4,
                  [SIM_FAULT_RIVALS] = 2,
                  [SIM_FAULT_STALE] = 2,
                  [SIM_FAULT_CRASH_STORE] = 2,
                  [SIM_FAULT_HALF_STEP] = 2,
                  [SIM_FAULT_ONE_WAY] = 3,
                  [SIM_FAULT_DISK_STALL] = 2,
                  [SIM_FAULT_REPEAT] = 2 },
      .gap_min_ns = 600 * SIM_US,
      .gap_max_ns = 7 * SIM_MS,
      .outage_max_ns = 30 * SIM_MS,
      .packet_chance = 60 },
    { .name = "power",
      .weight = { [SIM_FAULT_POWER] = 4,
                  [SIM_FAULT_HALF_STEP] = 10,
                  [SIM_FAULT_PROMOTE] = 2,
                  [SIM_FAULT_FLAP] = 3,
                  [SIM_FAULT_WEATHER] = 2,
                  [SIM_FAULT_CLOCK] = 1 },
      .gap_min_ns = 600 * SIM_US,
      .gap_max_ns = 7 * SIM_MS,
      .outage_max_ns = 30 * SIM_MS,
      .packet_chance = 60 },
    { .name = "weather",
      .weight = { [SIM_FAULT_WEATHER] = 10,
                  [SIM_FAULT_PARTITION] = 3,
                  [SIM_FAULT_ONE_WAY] = 4,
                  [SIM_FAULT_FLAP] = 3,
                  [SIM_FAULT_REPEAT] = 3,
                  [SIM_FAULT_CRASH_CLIENT] = 2,
                  [SIM_FAULT_RESET_STREAMS] = 3 },
      .gap_min_ns = 600 * SIM_US,
      .gap_max_ns = 7 * SIM_MS,
      .outage_max_ns = 30 * SIM_MS,
      .packet_chance = 400 },
    { .name = "clocks",
      .weight = { [SIM_FAULT_CLOCK] = 20,
                  [SIM_FAULT_CRASH_SEQUENCER] = 3,
                  [SIM_FAULT_CRASH_STORE] = 2,
                  [SIM_FAULT_CRASH_CLIENT] = 3,
                  [SIM_FAULT_FREEZE] = 3,
                  [SIM_FAULT_PROMOTE] = 3,
                  [SIM_FAULT_WEATHER] = 3 },
      .gap_min_ns = 600 * SIM_US,
      .gap_max_ns = 6 * SIM_MS,
      .outage_max_ns = 30 * SIM_MS,
      .packet_chance = 50 },
    { .name = "long outages", /* of the stores, so that the ring fills */
      .weight = { [SIM_FAULT_CRASH_STORE] = 4,
                  [SIM_FAULT_DISK_STALL] = 4,
                  [SIM_FAULT_DISK_FULL] = 4,
                  [SIM_FAULT_PARTITION] = 3,
                  [SIM_FAULT_CRASH_CLIENT] = 1 },
      .gap_min_ns = 6 * SIM_MS,
      .gap_max_ns = 32 * SIM_MS,
      .outage_max_ns = 120 * SIM_MS,
      .packet_chance = 100 },
    { .name = "calm",
      .weight = { USUAL_WEIGHTS },
      .gap_min_ns = 2 * SIM_MS,
      .gap_max_ns = 14 * SIM_MS,
      .outage_max_ns = 30 * SIM_MS,
      .packet_chance = 20 },
};

/* A mistake shows in a mood and a deployment of its own, so a search for it leans there. */
static const struct leaning {
    const char *sabotage, *mood;
    uint32_t stores, sequencers, spares, quorum;
    uint32_t extras;
} leanings[] = {
    { "volatile-promise", "failovers", 3, 3, 0, 0, 0 },
    { "record-stale", "failovers", 3, 3, 0, 0, 0 },
    { "ack-any-epoch", "figure 8", 3, 3, 0, 0, 0 },
    { "stable-on-adopt", "figure 8", 3, 3, 0, 0, 0 },
    { "adopt-longest", "figure 8", 3, 3, 0, 0, 0 },
    { "no-digest-check", "failovers", 3, 3, 0, 0, 0 },
    { "minority-seal", "failovers", 3, 2, 0, 0, 0 },
    { "blind-watermark", "failovers", 3, 3, 0, 0, 0 },
    { "epoch-number-only", "failovers", 3, 3, 0, 0, 0 },
    { "weak-quorum", "failovers", 3, 2, 0, 0, 0 },
    { "replace-members", "members", 3, 2, 1, 0, 0 },
    { "unguarded-membership", "members", 3, 2, 2, 0, 0 },
    { "static-membership", "members", 1, 2, 2, 0, 0 },
    { "small-quorum-change", "members", 3, 2, 2, 1, 0 },
    { "wiped-votes", "members", 3, 2, 0, 0, 0 },
    { "cut-to-stable", "figure 8", 3, 3, 0, 0, 0 },
    { "forked-by-seq", "failovers", 3, 3, 0, 0, 0 },
    { "deliver-unvouched", "figure 8", 3, 3, 0, 0, 0 },
    { "foreign-basis", "failovers", 3, 3, 0, 0, 0 },
    { "begin-after-rerecord", "failovers", 3, 1, 0, 0, 0 },
    { "dedup-forgotten", "failovers", 3, 2, 0, 0, 0 },
    { "clock-unclamped", "clocks", 3, 2, 0, 0, 0 },
    { "ring-forgets", "long outages", 1, 1, 0, 0, 0 },
    { "gap-ignored", "weather", 1, 1, 0, 0, 0 },
    { "order-by-arrival", "weather", 1, 1, 0, 0, 0 },
    { "renumbered-retry", "weather", 1, 1, 0, 0, 0 },
    { "delivers-ahead", "weather", 1, 1, 0, 0, 0 },
    { "older-incarnation", "weather", 1, 1, 0, 0, SIM_EXTRA_TWIN },
    { "not-told", "weather", 1, 1, 0, 0, SIM_EXTRA_TWIN },
    { "half-refused", "weather", 1, 1, 0, 0, SIM_EXTRA_GROUPS },
    { "unsynced-votes", "power", 3, 2, 0, 0, SIM_EXTRA_UNSYNCED },
    { "restored-votes", "failovers", 3, 3, 0, 0, SIM_EXTRA_RESTORED },
    { "lying-quorum", "failovers", 3, 2, 0, 0, SIM_EXTRA_LIARS },
    { "false-digest", "usual", 3, 2, 0, 0, SIM_EXTRA_DIGESTS },
    { "silent-refusal", "weather", 1, 1, 0, 0, SIM_EXTRA_GROUPS },
    { "unpermitted", "weather", 1, 1, 0, 0, SIM_EXTRA_GROUPS },
    { "rights-of-batch", "weather", 1, 1, 0, 0, SIM_EXTRA_GRANTS },
    { "revocation-ignored", "weather", 1, 1, 0, 0, SIM_EXTRA_GRANTS },
    { "half-group", "power", 3, 2, 0, 0, SIM_EXTRA_GROUPS },
    { "forgets-revoked", "calm", 1, 1, 0, 0, SIM_EXTRA_EDGE },
    { "skips-a-match", "calm", 1, 1, 0, 0, SIM_EXTRA_EDGE },
    { "any-identity", "calm", 1, 1, 0, 0, SIM_EXTRA_EDGE },
    { "same-challenge", "calm", 1, 1, 0, 0, SIM_EXTRA_EDGE },
    { "joins-with-gap", "calm", 1, 1, 0, 0, SIM_EXTRA_EDGE },
    { "fork-untold", "failovers", 3, 3, 0, 0, SIM_EXTRA_EDGE },
    { "stable-early", "calm", 3, 2, 0, 0, SIM_EXTRA_EDGE },
    { "own-clock", "calm", 1, 1, 0, 0, SIM_EXTRA_EDGE },
    { "stable-of-now", "calm", 1, 1, 0, 0, SIM_EXTRA_EDGE },
    { "shares-revoked", "calm", 1, 1, 0, 0, SIM_EXTRA_EDGE },
    { "changes-late", "calm", 1, 1, 0, 0, SIM_EXTRA_EDGE },
    { "begins-anew", "usual", 1, 1, 0, 0, SIM_EXTRA_EDGE },
    { "releases-parts", "failovers", 3, 3, 0, 0, SIM_EXTRA_EDGE },
};

static const struct sim_mood *mood_named(const char *name)
{
    for (size_t i = 0; i < sizeof moods / sizeof moods[0]; i++)
        if (strcmp(moods[i].name, name) == 0)
            return &moods[i];
    return &moods[0];
}

static const struct leaning *leaning_of(const char *sabotage)
{
    for (size_t i = 0; sabotage != NULL && i < sizeof leanings / sizeof leanings[0]; i++)
        if (sim_sabotage_named(sabotage, leanings[i].sabotage))
            return &leanings[i];
    return NULL;
}

void sim_fault_lean(struct sim_options *o)
{
    const struct leaning *l = leaning_of(o->sabotage);
    if (l == NULL)
        return;
    if (o->stores == 0) {
        o->stores = l->stores;
        o->spares = l->spares;
        o->quorum = l->quorum;
    }
    if (o->sequencers == 0)
        o->sequencers = l->sequencers;
}

const struct sim_mood *sim_mood_draw(struct sim *s)
{
    const struct sim_mood *drawn =
        &moods[sim_random_below(&s->random, sizeof moods / sizeof moods[0])];
    const struct leaning *l = leaning_of(s->options.sabotage);
    return l != NULL ? mood_named(l->mood) : drawn;
}

/* Its own draws, so that a seed's other choices stay what they are. */
uint32_t sim_extras_draw(const struct sim_options *o)
{
    struct sim_random r;
    sim_random_init(&r, o->seed ^ UINT64_C(0xe87a5));
    uint32_t extras = 0;
    for (uint32_t extra = SIM_EXTRA_TWIN; extra < SIM_EXTRA_END; extra *= 2)
        if (sim_random_below(&r, 4) == 0)
            extras |= extra;
    const struct leaning *l = leaning_of(o->sabotage);
    if (o->core_only || l != NULL)
        extras &= ~(uint32_t)SIM_EXTRA_EDGE; /* a mistake of the core shows without, and sooner */
    if (o->edge)
        extras |= SIM_EXTRA_EDGE;
    return l != NULL ? extras | l->extras : extras;
}
