/* A run: deploy, torment, heal, judge. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/hash.h"
#include "sim/sim_private.h"

enum {
    STEPS_MAX = 4000000,
    MESSAGES_DEFAULT = 1000,
    FAULTS_DEFAULT = 20,
    WATCHES_EVERY =
        4, /* a run in so many watches bytes that are handed over: it costs a twentieth */
    DRIVEN_FAULTS_MIN = 8 /* of the kinds that are scheduled, not drawn per datagram */
};

#define TORMENT_MAX_NS (10000 * SIM_MS) /* then the healed phase begins whatever was reached */
#define LIVE_WITHIN_NS (60000 * SIM_MS)
#define PROBE_NS       (2 * SIM_MS)

static const char *const invariant_names[] = {
    [SIM_FINE] = "",
    [SIM_ONE_ORDER] = "one-order",
    [SIM_NOTHING_STABLE_LOST] = "nothing-stable-lost",
    [SIM_EXACTLY_ONCE] = "exactly-once",
    [SIM_ANSWERED] = "answered",
    [SIM_TIME] = "time",
    [SIM_FENCED] = "fenced",
    [SIM_DETERMINISM] = "determinism",
    [SIM_PERMISSIONS] = "permissions",
    [SIM_BOUNDED] = "bounded",
    [SIM_LIVE] = "live",
    [SIM_VIEWS] = "views",
    [SIM_READERS] = "readers",
    [SIM_IDENTITIES] = "identities",
    [SIM_SAME] = "same",
};

const char *sim_invariant_name(enum sim_invariant invariant)
{
    return invariant_names[invariant];
}

/* ---- life ------------------------------------------------------------------------------------ */

void sim_schedule(struct sim *s, uint64_t at, enum sim_event_kind kind, uint32_t node, uint32_t a,
                  uint32_t b)
{
    struct sim_event event = { .at = at, .kind = kind, .node = node, .a = a, .b = b };
    if (sim_queue_push(&s->queue, event))
        return;
    sim_violate(s, SIM_BOUNDED, "more than %u events are pending", SIM_EVENTS_MAX);
}

static char underscore(char c)
{
    return c == '-' ? '_' : c;
}

bool sim_sabotage_named(const char *wanted, const char *name)
{
    for (; *wanted != '\0' && *name != '\0'; wanted++, name++)
        if (underscore(*wanted) != underscore(*name))
            return false;
    return *wanted == *name;
}

static const struct sabotage {
    const char *name;
    uint32_t sequencer, retransmitter, client, follower, proxy;
} sabotages[] = {
    { "send_before_persist", .retransmitter = RETRANSMITTER_SEND_BEFORE_PERSIST },
    { "dedup_forgotten", .sequencer = SEQUENCER_DEDUP_FORGOTTEN },
    { "clock_unclamped", .sequencer = SEQUENCER_CLOCK_UNCLAMPED },
    { "gap_ignored", .retransmitter = RETRANSMITTER_GAP_IGNORED },
    { "order_by_arrival", .sequencer = SEQUENCER_ORDER_BY_ARRIVAL },
    { "stable_unacked", .sequencer = SEQUENCER_STABLE_UNACKED },
    { "ring_forgets", .sequencer = SEQUENCER_RING_FORGETS },
    { "renumbered_retry", .client = CLIENT_RENUMBERS },
    { "timer_by_arrival", .client = CLIENT_TIMER_BY_ARRIVAL },
    { "delivers_ahead", .client = CLIENT_DELIVERS_AHEAD },
    { "ack_any_epoch", .sequencer = SEQUENCER_ACK_ANY_EPOCH },
    { "stable_on_adopt", .sequencer = SEQUENCER_STABLE_ON_ADOPT },
    { "adopt_longest", .sequencer = SEQUENCER_ADOPT_LONGEST },
    { "volatile_promise", .retransmitter = RETRANSMITTER_VOLATILE_PROMISE },
    { "record_stale", .retransmitter = RETRANSMITTER_RECORD_STALE },
    { "no_digest_check", .retransmitter = RETRANSMITTER_NO_DIGEST_CHECK },
    { "minority_seal", .sequencer = SEQUENCER_MINORITY_SEAL },
    { "blind_watermark", .follower = FOLLOWER_BLIND_WATERMARK },
    { "epoch_number_only", .retransmitter = RETRANSMITTER_EPOCH_NUMBER_ONLY },
    { "weak_quorum", .sequencer = SEQUENCER_WEAK_QUORUM },
    { "replace_members", .sequencer = SEQUENCER_REPLACE_MEMBERS },
    { "unguarded_membership", .sequencer = SEQUENCER_UNGUARDED_MEMBERSHIP },
    { "static_membership", .sequencer = SEQUENCER_STATIC_MEMBERSHIP },
    { "small_quorum_change", .sequencer = SEQUENCER_SMALL_QUORUM_CHANGE },
    { .name = "wiped_votes" }, /* a mistake of who formats the store */
    { "cut_to_stable", .retransmitter = RETRANSMITTER_CUT_TO_STABLE },
    { "forked_by_seq", .follower = FOLLOWER_FORKED_BY_SEQ },
    { "deliver_unvouched", .follower = FOLLOWER_DELIVER_UNVOUCHED },
    { "foreign_basis", .sequencer = SEQUENCER_FOREIGN_BASIS },
    { "begin_after_rerecord", .sequencer = SEQUENCER_BEGIN_AFTER_RERECORD },
    { "older_incarnation", .sequencer = SEQUENCER_OLDER_INCARNATION },
    { "not_told", .client = CLIENT_NOT_TOLD },
    { "half_refused", .sequencer = SEQUENCER_HALF_REFUSED },
    { "half_group", .client = CLIENT_HALF_GROUP },
    { .name = "unsynced_votes" },
    { .name = "lying_quorum" },
    { .name = "false_digest" },
    { "silent_refusal", .sequencer = SEQUENCER_SILENT_REFUSAL },
    { "unpermitted", .sequencer = SEQUENCER_UNPERMITTED },
    { "rights_of_batch", .sequencer = SEQUENCER_RIGHTS_OF_BATCH },
    { "revocation_ignored", .sequencer = SEQUENCER_REVOCATION_IGNORED },
    { "restored_votes", .sequencer = SEQUENCER_RESTORED_VOTES },
    { "forgets_revoked", .proxy = PROXY_FORGETS_REVOKED },
    { "skips_a_match", .proxy = PROXY_SKIPS_A_MATCH },
    { "any_identity", .proxy = PROXY_ANY_IDENTITY },
    { "same_challenge", .proxy = PROXY_SAME_CHALLENGE },
    { "joins_with_gap", .proxy = PROXY_JOINS_WITH_GAP },
    { "fork_untold", .proxy = PROXY_FORK_UNTOLD },
    { "stable_early", .proxy = PROXY_STABLE_EARLY },
    { "own_clock", .proxy = PROXY_OWN_CLOCK },
    { "stable_of_now", .proxy = PROXY_STABLE_OF_NOW },
    { "shares_revoked", .proxy = PROXY_SHARES_REVOKED },
    { "changes_late", .proxy = PROXY_CHANGES_LATE },
    { "begins_anew", .client = CLIENT_BEGINS_ANEW },
    { "releases_parts", .proxy = PROXY_RELEASES_PARTS },
    { "restless", .sequencer = SEQUENCER_RESTLESS },
};

#define SIM_COUNT_ONE(name, what, invariant) +1
_Static_assert((int)SIM_NODES_MAX <= (int)SIM_WAKES_MAX, "every node has its wake-up");
_Static_assert(sizeof sabotages / sizeof sabotages[0] == 0 SIM_SABOTAGES(SIM_COUNT_ONE),
               "every sabotage has its bit");

bool sim_plant(struct sim *s, const char *name)
{
    s->sabotage_sequencer = s->sabotage_retransmitter = 0;
    s->sabotage_client = s->sabotage_follower = s->sabotage_proxy = 0;
    s->sabotage_wiped_votes = s->sabotage_unsynced_votes = s->sabotage_lying_quorum = false;
    s->sabotage_false_digest = false;
    if (name == NULL || name[0] == '\0')
        return true;
    for (size_t i = 0; i < sizeof sabotages / sizeof sabotages[0]; i++) {
        if (!sim_sabotage_named(name, sabotages[i].name))
            continue;
        s->sabotage_sequencer = sabotages[i].sequencer;
        s->sabotage_retransmitter = sabotages[i].retransmitter;
        s->sabotage_client = sabotages[i].client;
        s->sabotage_follower = sabotages[i].follower;
        s->sabotage_proxy = sabotages[i].proxy;
        s->sabotage_wiped_votes = sim_sabotage_named("wiped_votes", sabotages[i].name);
        s->sabotage_unsynced_votes = sim_sabotage_named("unsynced_votes", sabotages[i].name);
        s->sabotage_lying_quorum = sim_sabotage_named("lying_quorum", sabotages[i].name);
        s->sabotage_false_digest = sim_sabotage_named("false_digest", sabotages[i].name);
        return true;
    }
    return false;
}

struct sim *sim_create(const struct sim_options *options, bool by_hand, char *error)
{
    struct sim *s = calloc(1, sizeof *s);
    if (s == NULL) {
        snprintf(error, SIM_TEXT_MAX, "out of memory");
        return NULL;
    }
    s->options = *options;
    s->by_hand = by_hand;
    s->result.seed = options->seed;
    s->watches_bytes = by_hand || options->seed % WATCHES_EVERY == 0;
    /* Moved a little from 0, so that `now_ns - x` has room. */
    s->now = SIM_MS;
    sim_random_init(&s->random, options->seed);
    if (!sim_plant(s, options->sabotage)) {
        snprintf(error, SIM_TEXT_MAX, "there is no sabotage '%.100s': see --list-sabotage",
                 options->sabotage);
        free(s);
        return NULL;
    }
    if (!sim_queue_init(&s->queue) || !sim_net_init(s) || !sim_stream_init(s) ||
        !sim_history_init(&s->history)) {
        snprintf(error, SIM_TEXT_MAX, "out of memory");
        sim_destroy(s);
        return NULL;
    }
    if (!sim_deploy(s, error)) {
        sim_destroy(s);
        return NULL;
    }
    return s;
}

void sim_destroy(struct sim *s)
{
    for (uint32_t i = 0; i < s->node_count; i++)
        sim_node_free(s, s->nodes[i]);
    sim_talks_free(s);
    sim_history_close(&s->history);
    sim_stream_close_all(s);
    sim_net_close(s);
    sim_queue_close(&s->queue);
    for (uint32_t i = 0; i < SIM_BRANCHES_MAX; i++)
        free(s->timelines[i]);
    free(s->rights);
    free(s->trace);
    free(s);
}

/* ---- events ---------------------------------------------------------------------------------- */

static bool tormented_enough(const struct sim *s)
{
    const struct sim_result *r = &s->result;
    return s->history.stable_seq >= s->options.messages_min && r->faults >= s->options.faults_min &&
           s->faults_scheduled >= DRIVEN_FAULTS_MIN;
}

static void count_faults(struct sim *s)
{
    struct sim_result *r = &s->result;
    r->torn_writes = r->lost_writes = r->disk_full = r->bit_flips = 0;
    uint64_t errors = 0;
    for (uint32_t i = 0; i < s->node_count; i++) {
        if (s->nodes[i]->disk == NULL)
            continue;
        const struct sim_disk_counters *c = &s->nodes[i]->disk->counters;
        r->torn_writes += c->torn_writes;
        r->lost_writes += c->lost_writes;
        r->disk_full += c->refused_full;
        r->bit_flips += c->flips;
        errors += c->errors;
    }
    r->faults = r->lost + r->duplicated + r->reordered + r->delayed + r->corrupted + r->partitions +
                r->crashes + r->freezes + r->repeated + r->wipes + r->restores + r->torn_writes +
                r->lost_writes + r->disk_full + r->bit_flips + errors + r->clock_jumps;
}

static void probe(struct sim *s)
{
    count_faults(s);
    sim_edge_look(s);
    char why[SIM_TEXT_MAX] = "";
    enum sim_invariant what = SIM_FINE;
    if (!s->healed) {
        if (s->disks_checked_at == 0 && sim_random_below(&s->random, 40) == 0) {
            s->disks_checked_at = s->now;
            sim_check_disks(s);
        }
        if (tormented_enough(s) || s->now > TORMENT_MAX_NS)
            sim_fault_heal(s);
        else if (s->sequencer_count > 1 && sim_random_below(&s->random, 20) == 0)
            sim_fault_operate(s);
    } else if (!s->quiet && s->history.stable_seq >= s->options.messages_min) {
        s->quiet = true;
    } else if ((what = sim_check_live(s, why, sizeof why)) == SIM_FINE) {
        s->done = true;
        return;
    } else if (s->now - s->healed_at > LIVE_WITHIN_NS) {
        sim_violate(s, what, "%s", why);
        return;
    } else if (s->silence_ns == 0) {
        sim_fault_operate(s); /* else they get along without an operator */
    }
    sim_schedule(s, s->now + PROBE_NS, SIM_EVENT_PROBE, 0, 0, 0);
}

static void restart(struct sim *s, struct sim_node *n, uint32_t boot)
{
    if (n->boot != boot || n->up || sim_node_start(s, n))
        return;
    /* A store on a failing disk gives up, and whoever supervises it starts it again. */
    bool excused = n->disk != NULL && !s->healed &&
                   (n->disk->weather.full || n->disk->weather.error_chance > 0);
    if (excused)
        sim_schedule(s, s->now + 5 * SIM_MS, SIM_EVENT_RESTART, n->port.node, n->boot, 0);
    else
        sim_violate(s, SIM_LIVE, "%s does not start: %s", n->name, s->text);
}

static void dispatch(struct sim *s, const struct sim_event *e)
{
    switch ((enum sim_event_kind)e->kind) {
    case SIM_EVENT_RUN:
        sim_node_run(s, s->nodes[e->node]);
        sim_fault_look_restored(s, s->nodes[e->node]);
        break;
    case SIM_EVENT_STREAM:
        sim_stream_event(s, e->a, e->b);
        break;
    case SIM_EVENT_RESTART:
        restart(s, s->nodes[e->node], e->a);
        break;
    case SIM_EVENT_FAULT:
        if (e->a == 0)
            sim_fault_strike(s);
        else
            sim_fault_end(s, e->node, e->a - 1);
        break;
    case SIM_EVENT_WORK:
        sim_work(s, s->nodes[e->node]);
        break;
    case SIM_EVENT_WEATHER:
        sim_fault_weather(s);
        break;
    case SIM_EVENT_PROBE:
        probe(s);
        break;
    }
}

bool sim_step(struct sim *s)
{
    struct sim_event e;
    if (!sim_queue_pop(&s->queue, &e))
        return false;
    if (e.at > s->now)
        s->now = e.at;
    s->steps++;
    sim_work_context(s);
    dispatch(s, &e);
    return true;
}

/* ---- a run ----------------------------------------------------------------------------------- */

/* 0 .. bound - 1, the few likelier than the many: a small deployment shows most of what a large one
 * does, in less time. */
static uint32_t few(struct sim_random *r, uint32_t bound)
{
    uint32_t a = (uint32_t)sim_random_below(r, bound), b = (uint32_t)sim_random_below(r, bound);
    return a < b ? a : b;
}

static struct sim_options resolve(const struct sim_options *options)
{
    struct sim_options o = *options;
    struct sim_random r;
    sim_random_init(&r, o.seed ^ UINT64_C(0x5eed));
    sim_fault_lean(&o);
    static const uint32_t founders[] = { 1, 1, 3, 3, 3, 5 };
    uint32_t stores = founders[sim_random_below(&r, 6)];
    uint32_t spares = (uint32_t)sim_random_below(&r, 8),
             quorum = (uint32_t)sim_random_below(&r, 16);
    uint32_t sequencers = (uint32_t)sim_random_between(&r, 1, 3);
    if (o.stores == 0) {
        o.stores = stores;
        o.spares = spares < 5 ? 0 : spares < 7 ? 1 : 2;
        o.quorum = quorum <= stores ? quorum : 0;
    }
    if ((sim_extras_draw(&o) & SIM_EXTRA_LIARS) != 0 && options->quorum == 0 && o.stores >= 3 &&
        !(o.sabotage != NULL && sim_sabotage_named(o.sabotage, "lying_quorum")))
        o.quorum = o.stores == 3 ? 3 : o.stores - 1;
    if (o.sequencers == 0)
        o.sequencers = sequencers;
    if (o.publishers == 0)
        o.publishers = 2 + few(&r, 4);
    if (o.followers == 0)
        o.followers = 2 + few(&r, 3);
    if (o.messages_min == 0)
        o.messages_min = MESSAGES_DEFAULT;
    if (o.faults_min == 0)
        o.faults_min = FAULTS_DEFAULT;
    return o;
}

bool sim_run(const struct sim_options *options, struct sim_result *result)
{
    *result = (struct sim_result) { .seed = options->seed };
    struct sim_options resolved = resolve(options);
    struct sim *s = sim_create(&resolved, false, result->violation);
    if (s == NULL)
        return false;
    sim_fault_begin(s);
    sim_schedule(s, s->now + PROBE_NS, SIM_EVENT_PROBE, 0, 0, 0);
    while (s->result.violated == SIM_FINE && !s->done && sim_step(s))
        if (s->steps > STEPS_MAX)
            sim_violate(s, SIM_BOUNDED, "still busy after %u steps", STEPS_MAX);
    if (s->result.violated == SIM_FINE)
        sim_check_final(s);
    if (s->result.violated == SIM_FINE)
        sim_check_talks(s);
    count_faults(s);
    s->result.steps = s->steps;
    *result = s->result;
    sim_destroy(s);
    return true;
}

size_t sim_result_json(const struct sim_result *r, char *out, size_t capacity)
{
    int length =
        snprintf(out, capacity,
                 "{\"seed\":%" PRIu64 ",\"steps\":%" PRIu64 ",\"messages\":%" PRIu64
                 ",\"digest\":\"%016" PRIx64 "\",\"faults\":%" PRIu64 ",\"lost\":%" PRIu64
                 ",\"duplicated\":%" PRIu64 ",\"reordered\":%" PRIu64 ",\"delayed\":%" PRIu64
                 ",\"corrupted\":%" PRIu64 ",\"partitions\":%" PRIu64 ",\"crashes\":%" PRIu64
                 ",\"freezes\":%" PRIu64 ",\"torn_writes\":%" PRIu64 ",\"lost_writes\":%" PRIu64
                 ",\"disk_full\":%" PRIu64 ",\"bit_flips\":%" PRIu64 ",\"clock_jumps\":%" PRIu64
                 ",\"repeated\":%" PRIu64 ",\"half_steps\":%" PRIu64 ",\"wipes\":%" PRIu64
                 ",\"restores\":%" PRIu64 ",\"stores\":%u,\"sequencers\":%u,\"promotions\":%" PRIu64
                 ",\"member_changes\":%" PRIu64 ",\"epochs\":%" PRIu64 ",\"forks\":%" PRIu64
                 ",\"logins\":%" PRIu64,
                 r->seed, r->steps, r->messages, r->digest, r->faults, r->lost, r->duplicated,
                 r->reordered, r->delayed, r->corrupted, r->partitions, r->crashes, r->freezes,
                 r->torn_writes, r->lost_writes, r->disk_full, r->bit_flips, r->clock_jumps,
                 r->repeated, r->half_steps, r->wipes, r->restores, r->stores, r->sequencers,
                 r->promotions, r->member_changes, r->epochs, r->forks, r->logins);
    if (length < 0 || (size_t)length >= capacity)
        return 0;
    size_t used = (size_t)length;
    if (r->violated != SIM_FINE) {
        length = snprintf(out + used, capacity - used,
                          ",\"violated\":\"%s\",\"step\":%" PRIu64 ",\"violation\":\"",
                          sim_invariant_name(r->violated), r->violation_step);
        if (length < 0 || (size_t)length >= capacity - used)
            return 0;
        used += (size_t)length;
        for (const char *c = r->violation; *c != '\0' && used + 4 < capacity; c++) {
            if (*c == '"' || *c == '\\')
                out[used++] = '\\';
            out[used++] = (unsigned char)*c < 0x20 ? ' ' : *c;
        }
        out[used++] = '"';
    }
    if (used + 2 > capacity)
        return 0;
    out[used++] = '}';
    out[used] = '\0';
    return used;
}
