#include "sequencer/shell.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static uint64_t random_id(void)
{
    uint64_t id = 0;
    while (id == 0)
        if (getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id)
            id = 0;
    return id;
}

/* ---- the genesis of a stream without stores -------------------------------------------------- */

static bool read_genesis(const struct config *config, uint8_t *bytes, uint32_t *length, char *error)
{
    char path[CONFIG_PATH_MAX * 2 + 2];
    if (!config_path(config, "genesis", path, sizeof path)) {
        snprintf(error, CONFIG_ERROR_MAX, "sequencer: the configuration's path is too long");
        return false;
    }
    FILE *f = fopen(path, "rb");
    size_t n = f != NULL ? fread(bytes, 1, WIRE_DATAGRAM_DEFAULT, f) : 0;
    int problem = errno;
    if (f != NULL)
        fclose(f);
    struct batch_header header;
    if (n > 0 && batch_verify(bytes, n, config->stream, &header) == WIRE_OK) {
        *length = (uint32_t)n;
        return true;
    }
    snprintf(error, CONFIG_ERROR_MAX,
             "sequencer: %.500s %s; a volatile stream begins with it, as `cantus init` wrote it",
             path, n > 0 ? "is not the genesis of this stream" : strerror(problem));
    return false;
}

/* Epochs of a volatile stream are kept nowhere, so that its clock has to tell them apart: two
 * starts are at least a second apart, or the later one waits for nobody to follow it. */
static uint32_t volatile_epoch(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint32_t)now.tv_sec;
}

/* ---- the shell ------------------------------------------------------------------------------- */

static bool open_transport(struct sequencer_shell *s, const struct config *config,
                           const struct config_sequencer *own, char *error)
{
    struct transport_options options = config_transport_on(config, own->unicast, own->interface);
    options.join[PORT_INGRESS] = true;
    options.join[PORT_EGRESS_A] = true;
    options.join[PORT_EGRESS_B] = config->egress_b.port != 0;
    options.listen = true;
    options.stream_port = own->stream_port;
    char text[TRANSPORT_ERROR_MAX] = "";
    s->transport = transport_open_kernel(&options, text);
    if (s->transport == NULL)
        snprintf(error, CONFIG_ERROR_MAX, "sequencer %s: %s", own->name, text);
    return s->transport != NULL;
}

static struct sequencer_options options_of(const struct config *config,
                                           const struct sequencer_start *start)
{
    const struct config_sequencing *c = &config->sequencer;
    struct sequencer_options o;
    sequencer_options_default(&o);
    o.stream = config->stream;
    o.candidate = random_id();
    o.lead = start->lead;
    o.how = start->how;
    o.why = start->why != NULL ? start->why : "";
    o.session = start->session;
    o.session_first = config->session;
    o.catalog = (struct catalog_options) { .topics_max = c->topics_max,
                                           .publishers_max = c->publishers_max };
    o.datagram_max = config->datagram_max;
    o.ring_bytes = (uint64_t)c->ring_mib << 20;
    o.queue_max = c->queue_max;
    o.window = c->window;
    o.run_bytes_max = c->run_bytes_max;
    o.line_b = config->egress_b.port != 0;
    o.pad = config->segmentation;
    o.heartbeat_min_ns = (uint64_t)c->heartbeat_min_us * 1000;
    o.heartbeat_max_ns = (uint64_t)c->heartbeat_idle_ms * 1000000;
    if (c->pace_mib != 0)
        o.pace_bytes = (uint64_t)c->pace_mib << 20;
    o.pace_ns = (uint64_t)c->pace_us * 1000;
    o.clock_ahead_max_ns = (uint64_t)c->clock_ahead_max_ms * 1000000;
    for (uint32_t i = 0; i < config->retransmitter_count && o.source_count < FOLLOWER_SOURCES_MAX;
         i++) {
        const struct config_retransmitter *r = &config->retransmitters[i];
        o.sources[o.source_count++] =
            (struct follower_source) { .unicast = r->unicast,
                                       .stream = { r->unicast.ip, r->stream_port } };
    }
    o.tick_ns = (uint64_t)c->tick_ms * 1000000;
    uint32_t heartbeats_ms = 3 * c->heartbeat_idle_ms;
    uint32_t silence_ms = config->silence_ms > heartbeats_ms ? config->silence_ms : heartbeats_ms;
    o.lease_silence_ns = (uint64_t)silence_ms * 1000000;
    if (config->promotion == CONFIG_PROMOTION_AUTOMATIC)
        o.silence_ns = (uint64_t)config->silence_ms * 1000000;
    return o;
}

bool sequencer_shell_open(struct sequencer_shell *s, const struct config *config,
                          const struct sequencer_start *start, char *error)
{
    struct sequencer_options o = options_of(config, start);
    *s = (struct sequencer_shell) { 0 };
    if (config->is_volatile) {
        if (!read_genesis(config, s->genesis, &o.volatile_genesis_length, error))
            return false;
        o.volatile_genesis = s->genesis;
        o.volatile_epoch = volatile_epoch();
    }
    if (!open_transport(s, config, &config->sequencers[start->index], error))
        return false;
    s->name = config->sequencers[start->index].name;
    s->counters = counter_file_of(config, "sequencer", s->name, start->log);
    o.counters = counter_file_counters(s->counters);
    s->core = sequencer_create(&o, &s->transport->port, loop_clock());
    if (s->core != NULL)
        return true;
    snprintf(error, CONFIG_ERROR_MAX,
             "sequencer: no memory: it needs %zu MiB at start; lower ring_mib or queue_max",
             sequencer_memory(&o) >> 20);
    sequencer_shell_close(s);
    return false;
}

void sequencer_shell_close(struct sequencer_shell *s)
{
    if (s->core != NULL)
        sequencer_destroy(s->core);
    if (s->transport != NULL)
        s->transport->ops->close(s->transport);
    counter_file_close(s->counters);
    *s = (struct sequencer_shell) { 0 };
}

static void sample(void *ctx, const struct loop *l)
{
    struct sequencer_shell *s = ctx;
    sequencer_gauges(s->core, sequencer_own_counters(s->core));
    counter_file_sample(s->counters, sequencer_state_name(s->core), l);
}

struct loop_participant sequencer_shell_participant(struct sequencer_shell *s)
{
    return (struct loop_participant) { .core = s->core,
                                       .ops = &sequencer_participant,
                                       .transport = s->transport,
                                       .counters = sequencer_own_counters(s->core),
                                       .name = s->name,
                                       .sample = sample,
                                       .sample_ctx = s };
}
