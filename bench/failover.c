#include "bench/failover.h"

#include <cantus/cantus.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/histogram.h"
#include "bench/programs.h"
#include "cli/deployment.h"

enum { STORES = 3, SEQUENCERS = 2, LOAD_MS = 400, PATIENCE_MS = 20000 };
/* Wanted: from the command, and beyond the configured silence. */
enum { MANUAL_US_MAX = 20000, BEYOND_US_MAX = 50000 };

struct failover_options {
    uint32_t rounds;     /* kills */
    bool manual;         /* `cantus promote` instead of the standby's own decision */
    uint32_t silence_ms; /* of automatic promotion */
    void (*progress)(uint64_t done, uint64_t total);
};

struct failover {
    const struct failover_options *options;
    char dir[64];
    char config_path[128];
    struct programs programs;
    pid_t stores[STORES];
    pid_t sequencers[SEQUENCERS];
    uint32_t leader;
    struct cantus_client *client;
    struct cantus_pipe *pipe;
    uint64_t messages;
    uint64_t last_ns;  /* when the last message of the load came */
    uint64_t epochs;   /* records seen */
    uint64_t epoch_ns; /* when the last of them came */
    struct histogram stood_still;
};

static uint64_t mono_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- processes ------------------------------------------------------------------------------- */

static pid_t spawn_sequencer(const struct failover *f, uint32_t index, bool standby)
{
    const char *name = index == 0 ? "s1" : "s2";
    const char *const arguments[] = {
        "cantus-sequencer",           "--config", f->config_path, "--name", name,
        standby ? "--standby" : NULL, NULL
    };
    return programs_start(&f->programs, arguments, -1);
}

static bool spawn_all(struct failover *f, char *error)
{
    static const char *const names[STORES] = { "r1", "r2", "r3" };
    for (uint32_t i = 0; i < STORES; i++) {
        const char *const arguments[] = {
            "cantus-retransmitter", "--config", f->config_path, "--name", names[i], NULL
        };
        f->stores[i] = programs_start(&f->programs, arguments, -1);
    }
    for (uint32_t i = 0; i < SEQUENCERS; i++)
        f->sequencers[i] = spawn_sequencer(f, i, i > 0);
    snprintf(error, DEPLOYMENT_ERROR_MAX, "cannot start processes: %s", strerror(errno));
    return f->stores[STORES - 1] > 0 && f->sequencers[SEQUENCERS - 1] > 0;
}

static void end(pid_t *child)
{
    programs_end(child, SIGKILL);
}

/* ---- the follower and its load --------------------------------------------------------------- */

static void on_load(void *ctx, const struct cantus_message *m)
{
    struct failover *f = ctx;
    (void)m;
    f->messages++;
}

static void on_epoch(void *ctx, const struct cantus_message *m)
{
    struct failover *f = ctx;
    (void)m;
    f->epochs++;
    f->epoch_ns = mono_ns();
}

static bool poll_load(struct failover *f, char *error)
{
    uint8_t payload[32] = { 0 };
    if (cantus_pipe_in_flight(f->pipe) < 64)
        (void)cantus_pipe_push(f->pipe, "/bench/load", payload, sizeof payload);
    if (cantus_client_poll(f->client, 200 * 1000) == CANTUS_OK)
        return true;
    snprintf(error, DEPLOYMENT_ERROR_MAX, "%s", cantus_client_error(f->client));
    return false;
}

static bool load_for(struct failover *f, uint64_t ms, char *error)
{
    uint64_t until = mono_ns() + ms * 1000000;
    while (mono_ns() < until)
        if (!poll_load(f, error))
            return false;
    return true;
}

/* Until messages come and the standby has had time to follow. */
static bool settle(struct failover *f, char *error)
{
    uint64_t began = mono_ns(), messages = f->messages;
    while (f->messages < messages + 100) {
        if (!poll_load(f, error))
            return false;
        if (mono_ns() - began > UINT64_C(1000000) * PATIENCE_MS) {
            snprintf(error, DEPLOYMENT_ERROR_MAX, "nothing is sequenced within %d s",
                     PATIENCE_MS / 1000);
            return false;
        }
    }
    return load_for(f, LOAD_MS, error);
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static pid_t spawn_promotion(const struct failover *f, uint32_t index)
{
    const char *const arguments[] = {
        "cantus", "--dir", f->dir, "promote", index == 0 ? "s1" : "s2", "--why", "bench", NULL
    };
    return programs_start(&f->programs, arguments, -1);
}

static bool run_round(struct failover *f, char *error)
{
    if (!settle(f, error))
        return false;
    uint64_t epochs = f->epochs;
    uint32_t next = 1 - f->leader;
    uint64_t from =
        mono_ns(); /* under load, so the last message of the old epoch comes about now */
    end(&f->sequencers[f->leader]);
    pid_t promotion = 0;
    if (f->options->manual) {
        if (!load_for(f, 100, error))
            return false;
        from = mono_ns();
        promotion = spawn_promotion(f, next);
    }
    for (uint64_t began = mono_ns(); f->epochs == epochs;) {
        if (!poll_load(f, error))
            return false;
        if (mono_ns() - began > UINT64_C(1000000) * PATIENCE_MS) {
            snprintf(error, DEPLOYMENT_ERROR_MAX, "no new epoch within %d s after a kill",
                     PATIENCE_MS / 1000);
            end(&promotion);
            return false;
        }
    }
    if (promotion > 0)
        waitpid(promotion, NULL, 0);
    histogram_record(&f->stood_still, f->epoch_ns - from);
    f->sequencers[f->leader] = spawn_sequencer(f, f->leader, true);
    f->leader = next;
    return true;
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static bool make_deployment(struct failover *f, char *error)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(f->dir, sizeof f->dir, "%.40s/cantus-failover-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(f->dir) == NULL) {
        snprintf(error, DEPLOYMENT_ERROR_MAX, "%s: %s", f->dir, strerror(errno));
        f->dir[0] = 0;
        return false;
    }
    struct deployment_init what = { .dir = f->dir, .stores = STORES, .sequencers = SEQUENCERS };
    struct config *config = calloc(1, sizeof *config);
    uint64_t stream;
    snprintf(f->config_path, sizeof f->config_path, "%s/%s", f->dir, CONFIG_FILE);
    bool fine = config != NULL && deployment_init(&what, &stream, error) &&
                deployment_config(f->dir, config);
    if (fine) {
        config->promotion =
            f->options->manual ? CONFIG_PROMOTION_MANUAL : CONFIG_PROMOTION_AUTOMATIC;
        config->silence_ms = f->options->silence_ms;
        config->sequencer.heartbeat_idle_ms = f->options->silence_ms / 3; /* words enough to miss */
        fine = config_write(f->config_path, config, error);
    }
    free(config);
    return fine;
}

static bool start(struct failover *f, char *error)
{
    if (!programs_find(&f->programs, error) || !make_deployment(f, error) || !spawn_all(f, error))
        return false;
    struct cantus_client_options options = { .source = f->dir };
    f->client = cantus_client_open(&options, error);
    if (f->client == NULL ||
        !cantus_client_subscribe(f->client, "/bench/load", on_load, f, error) ||
        !cantus_client_subscribe(f->client, "/sys/epoch", on_epoch, f, error))
        return false;
    f->pipe = cantus_pipe_open(f->client, "load", error);
    return f->pipe != NULL;
}

static void stop(struct failover *f)
{
    if (f->client != NULL)
        cantus_client_close(f->client);
    for (uint32_t i = 0; i < SEQUENCERS; i++)
        end(&f->sequencers[i]);
    for (uint32_t i = 0; i < STORES; i++)
        end(&f->stores[i]);
    if (f->dir[0] != 0)
        programs_remove(f->dir);
}

static bool run(const struct failover_options *options, struct bench_result *r, char *error)
{
    struct failover *f = calloc(1, sizeof *f);
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (f == NULL)
        return false;
    f->options = options;
    bool fine = start(f, error);
    for (uint32_t i = 0; fine && i < options->rounds; i++) {
        fine = run_round(f, error);
        options->progress(i + 1, options->rounds);
    }
    stop(f);
    r->latency = f->stood_still;
    r->target_p50_us = options->manual ? MANUAL_US_MAX : BEYOND_US_MAX + 1e3 * options->silence_ms;
    if (!options->manual) {
        r->floor = "the configured silence";
        histogram_record(&r->floor_latency, UINT64_C(1000000) * options->silence_ms);
        bench_set_u64(r, "silence_ms", options->silence_ms);
    }
    bench_set_u64(r, "rounds", options->rounds);
    bench_set_u64(r, "messages", f->messages);
    bench_set_text(r, "level", "stable");
    bench_set_u64(r, "stores", STORES);
    bench_set_u64(r, "sequencers", SEQUENCERS);
    free(f);
    return fine;
}

static struct failover_options options_of(const struct bench_knobs *k, bool manual)
{
    return (struct failover_options) { .rounds = k->rounds != 0 ? k->rounds : 15,
                                       .manual = manual,
                                       .silence_ms = k->silence_ms != 0 ? k->silence_ms : 20,
                                       .progress = k->progress };
}

bool failover_automatic(const struct bench_knobs *k, struct bench_result *r, char *error)
{
    struct failover_options options = options_of(k, false);
    return run(&options, r, error);
}

bool failover_manual(const struct bench_knobs *k, struct bench_result *r, char *error)
{
    struct failover_options options = options_of(k, true);
    return run(&options, r, error);
}
