#include "bench/bench.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "bench/chain.h"
#include "bench/core.h"
#include "bench/dev.h"
#include "bench/durable.h"
#include "bench/failover.h"
#include "bench/edge.h"
#include "bench/follow.h"
#include "bench/publish.h"
#include "bench/replay.h"
#include "bench/rtt.h"
#include "bench/throughput.h"

const struct bench_case bench_cases[] = {
    { "rtt", "sequenced",
      "from proposing a message to applying it: app and sequencer, two processes", rtt_sequenced },
    { "rtt", "recorded", "the same with a retransmitter as third process", rtt_recorded },
    { "rtt", "loss", "app and sequencer, each of which loses 0.1 % of what arrives", rtt_loss },
    { "chain", "gso", "bare publisher, relay and receiver under throughput: no Cantus in them",
      chain_gso },
    { "chain", "gso-hashed", "the same with the five digests of a datagram", chain_gso_hashed },
    { "chain", "no-gso", "without digests and without segmentation offload", chain_no_gso },
    { "chain", "recorded-no-gso", "without it, and with a bare recorder as fourth process",
      chain_recorded_no_gso },
    { "chain", "recorded", "with offload and a recorder", chain_recorded },
    { "throughput", "256", "publisher, sequencer, receiver: three processes, 256-byte messages",
      throughput_256 },
    { "throughput", "1024", "the same with messages of 1 KiB", throughput_1024 },
    { "throughput", "32", "the same with 32-byte messages; the floor is `core`, without sockets",
      throughput_32 },
    { "throughput", "256-no-gso", "without segmentation offload", throughput_256_no_gso },
    { "throughput", "1024-no-gso", "without segmentation offload", throughput_1024_no_gso },
    { "throughput", "32-no-gso", "without segmentation offload", throughput_32_no_gso },
    { "throughput", "recorded-no-gso", "256 bytes, with a retransmitter as fourth process",
      throughput_recorded_no_gso },
    { "throughput", "recorded", "the same with segmentation offload", throughput_recorded },
    { "loss", "receiver", "1 % of what arrives at the receiver is lost; the floor loses nothing",
      loss_receiver },
    { "loss", "ingress", "1 % of what arrives at the sequencer", loss_ingress },
    { "loss", "both", "1 % at each", loss_both },
    { "core", "100", "the sequencer's core alone: 100 publishers, 10,000 topics", core_run_100 },
    { "core", "100000", "the same with 100,000 publishers", core_run_100000 },
    { "reassembly", "sequenced", "datagrams, some swapped or doubled, to the messages handed over",
      reassembly_run },
    { "publish", "sequenced", "a publisher's part alone: pushed, proposed, back, concluded",
      publish_run },
    { "discard", "sequenced", "the same, of topics that nobody asked for", discard_run },
    { "replay", "cached", "a store's files to an app's state: from the page cache", replay_cached },
    { "replay", "cold", "the same from the disk", replay_cold },
    { "durable", "append", "a journal alone: from offering a full batch to knowing it durable",
      durable_append },
    { "durable", "loaded", "a store under load: from receipt of a batch to its acknowledgement",
      durable_loaded },
    { "durable", "stable", "from sequenced to stable, with three stores: five processes",
      durable_stable },
    { "failover", "automatic", "the stream stands still: leader killed, the standby decides itself",
      failover_automatic },
    { "failover", "manual", "the stream stands still: from `cantus promote` on", failover_manual },
    { "edge", "rtt", "from publishing through a proxy to one's own message back: three processes",
      edge_rtt },
    { "edge", "rtt-nats", "the same; the floor is a publication to oneself through nats-server",
      edge_rtt_nats },
    { "edge", "rtt-nats-idle", "the same when all wait after having spun for 50 us",
      edge_rtt_nats_idle },
    { "edge", "fanout-1", "from the core through a proxy to a subscriber; floor: nats-server",
      edge_fanout_1 },
    { "edge", "fanout-10", "to 10 subscribers, each of which sees the whole order",
      edge_fanout_10 },
    { "edge", "fanout-100", "to 100", edge_fanout_100 },
    { "edge", "fanout-1000", "to 1,000", edge_fanout_1000 },
    { "edge", "filter-1", "99 % of what the proxy follows is wanted by nobody: a subscription",
      edge_filter_1 },
    { "edge", "filter-100", "the same with 100 subscriptions", edge_filter_100 },
    { "edge", "filter-10000", "the same with 10,000", edge_filter_10000 },
    { "edge", "idle", "the CPU time of a second, of a proxy with 10,000 clients that are idle",
      edge_idle },
    { "edge", "storm", "5,000 clients dropped and back at once: until all are subscribed again",
      edge_storm },
    { "edge", "storm-live", "p99 of live messages meanwhile; the floor is the same without a storm",
      edge_storm_live },
    { "edge", "fairness",
      "messages of each of ten greedy publishers that a polite one's proposal waits for",
      edge_fairness },
    { "dev", "start", "a default `cantus dev`, from nothing to `ready`", dev_start },
    { "dev", "idle", "the CPU time of a second in which nobody wants anything of it", dev_idle },
};
const size_t bench_case_count = sizeof bench_cases / sizeof bench_cases[0];

static struct bench_setting *setting(struct bench_result *r, const char *key)
{
    assert(r->setting_count < BENCH_SETTINGS_MAX);
    struct bench_setting *s = &r->settings[r->setting_count++];
    snprintf(s->key, sizeof s->key, "%s", key);
    return s;
}

void bench_set_u64(struct bench_result *r, const char *key, uint64_t value)
{
    struct bench_setting *s = setting(r, key);
    snprintf(s->value, sizeof s->value, "%" PRIu64, value);
}

void bench_set_i64(struct bench_result *r, const char *key, int64_t value)
{
    struct bench_setting *s = setting(r, key);
    snprintf(s->value, sizeof s->value, "%" PRId64, value);
}

void bench_set_text(struct bench_result *r, const char *key, const char *value)
{
    struct bench_setting *s = setting(r, key);
    s->text = true;
    snprintf(s->value, sizeof s->value, "%s", value);
}

void bench_series_add(struct bench_result *r, double rate_per_s)
{
    if (r->series_count < BENCH_SERIES_MAX)
        r->series[r->series_count++] = rate_per_s;
}

double bench_ratio(const struct bench_result *r)
{
    if (r->floor_rate_per_s > 0)
        return r->rate_per_s / r->floor_rate_per_s;
    uint64_t floor = histogram_at(&r->floor_latency, .5);
    return floor > 0 ? (double)histogram_at(&r->latency, .5) / (double)floor : 0;
}

double bench_chain_ratio(const struct bench_result *r)
{
    return r->chain_rate_per_s > 0 ? r->rate_per_s / r->chain_rate_per_s : 0;
}

bool bench_reached(const struct bench_result *r)
{
    if (r->rate_per_s < r->target_rate_per_s)
        return false;
    if (r->target_memory_mb > 0 && r->memory_mb > r->target_memory_mb)
        return false;
    if (r->target_messages_max > 0 && r->messages_max > r->target_messages_max)
        return false;
    if (r->target_p50_us > 0 && (double)histogram_at(&r->latency, .5) / 1e3 > r->target_p50_us)
        return false;
    if (r->target_p999_us > 0 && (double)histogram_at(&r->latency, .999) / 1e3 > r->target_p999_us)
        return false;
    if (r->wanted == BENCH_NO_TARGET)
        return true;
    return r->wanted == BENCH_AT_MOST ? bench_ratio(r) <= r->target : bench_ratio(r) >= r->target;
}

static void print_latency(FILE *f, const char *prefix, const struct histogram *h)
{
    static const struct {
        const char *name;
        double share;
    } points[] = { { "p50", .5 }, { "p99", .99 }, { "p999", .999 } };
    if (h->total == 0)
        return;
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        fprintf(f, ",\"%s%s_us\":%.2f", prefix, points[i].name,
                (double)histogram_at(h, points[i].share) / 1e3);
    fprintf(f, ",\"%smax_us\":%.2f", prefix, (double)h->max / 1e3);
}

void bench_print(FILE *f, const struct bench_case *c, const struct bench_result *r)
{
    fprintf(f, "{\"bench\":\"%s\",\"case\":\"%s\"", c->bench, c->name);
    print_latency(f, "", &r->latency);
    print_latency(f, "floor_", &r->floor_latency);
    if (r->rate_per_s > 0)
        fprintf(f, ",\"rate_per_s\":%.0f,\"unit\":\"%s\"", r->rate_per_s, r->unit);
    if (r->floor_rate_per_s > 0)
        fprintf(f, ",\"floor_rate_per_s\":%.0f", r->floor_rate_per_s);
    if (bench_ratio(r) > 0)
        fprintf(f, ",\"ratio\":%.3f", bench_ratio(r));
    if (r->chain_rate_per_s > 0)
        fprintf(f, ",\"chain_rate_per_s\":%.0f,\"chain_ratio\":%.3f", r->chain_rate_per_s,
                bench_chain_ratio(r));
    if (r->wanted != BENCH_NO_TARGET)
        fprintf(f, ",\"%s\":%.3f",
                r->wanted == BENCH_AT_MOST ? "wanted_at_most" : "wanted_at_least", r->target);
    if (r->target_rate_per_s > 0)
        fprintf(f, ",\"wanted_rate_per_s\":%.0f", r->target_rate_per_s);
    if (r->target_p50_us > 0)
        fprintf(f, ",\"wanted_p50_us\":%.0f", r->target_p50_us);
    if (r->target_p999_us > 0)
        fprintf(f, ",\"wanted_p999_us\":%.0f", r->target_p999_us);
    if (r->target_memory_mb > 0)
        fprintf(f, ",\"memory_mb\":%.0f,\"wanted_memory_mb\":%.0f", r->memory_mb,
                r->target_memory_mb);
    if (r->target_messages_max > 0)
        fprintf(f, ",\"messages_max\":%" PRIu64 ",\"wanted_messages_max\":%" PRIu64,
                r->messages_max, r->target_messages_max);
    if (r->wanted != BENCH_NO_TARGET || r->target_rate_per_s > 0 || r->target_p50_us > 0 ||
        r->target_p999_us > 0 || r->target_messages_max > 0)
        fprintf(f, ",\"reached\":%s", bench_reached(r) ? "true" : "false");
    for (uint32_t i = 0; i < r->setting_count; i++) {
        const struct bench_setting *s = &r->settings[i];
        fprintf(f, s->text ? ",\"%s\":\"%s\"" : ",\"%s\":%s", s->key, s->value);
    }
    fputc('}', f);
}
