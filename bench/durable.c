#include "bench/durable.h"

#include <errno.h>
#include <ftw.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/bare_disk.h"
#include "bench/leader.h"
#include "bench/stage.h"
#include "journal/journal.h"
#include "proto/batch.h"
#include "proto/signal.h"
#include "retransmitter/core.h"
#include "shell/loop.h"

enum {
    COMPLETIONS = 16,
    CHUNK = 256, /* datagrams made at a time */
    PUBLISHERS = 100,
    TOPICS = 1000,
    BATCHES_MAX = 16384, /* of a round */
    ARRIVALS = 64,       /* at most at once */
    LOADED_RATE = 100000,
    /* Short rounds and many: a shared disk's speed changes within milliseconds. */
    ROUNDS = 100,
    APPENDS = 20
};
#define PATIENCE_NS UINT64_C(10000000000)

struct batch {
    uint64_t due_ns; /* when it should have arrived */
    uint64_t last_seq;
    uint32_t length;
    uint8_t bytes[WIRE_DATAGRAM_DEFAULT];
};

struct durable {
    struct port port; /* first: the core's */
    char dir[64];
    struct disk *disk;
    struct journal *journal;
    struct bare_disk bare;
    struct leader *leader;
    struct batch *batches; /* those of this round first */
    uint32_t batch_count;  /* made */
    uint32_t round_count;  /* of this round */
    bool overflow;
    struct retransmitter *core;
    uint8_t scratch[PORT_SCRATCH_MAX];
    uint64_t acked_seq;
    uint64_t deadline_ns; /* of the core's next step */
    struct port_datagram arriving[ARRIVALS];
    struct histogram *into;
};

/* ---- a history ------------------------------------------------------------------------------- */

static void on_emitted(void *ctx, const uint8_t *bytes, uint32_t length)
{
    struct durable *d = ctx;
    struct batch_header header;
    if (d->batch_count == BATCHES_MAX || length > WIRE_DATAGRAM_DEFAULT ||
        batch_decode(bytes, length, 0, &header) != WIRE_OK) {
        d->overflow = true;
        return;
    }
    struct batch *b = &d->batches[d->batch_count++];
    memcpy(b->bytes, bytes, length);
    b->length = length;
    b->last_seq = batch_end_seq(&header) - 1;
}

/* Forgets the batches of the last round, and has those of the next. */
static bool fill(struct durable *d, uint32_t batches)
{
    d->batch_count -= d->round_count;
    memmove(d->batches, d->batches + d->round_count, d->batch_count * sizeof *d->batches);
    d->round_count = batches;
    while (d->batch_count < batches && !d->overflow) {
        (void)leader_make(d->leader, CHUNK);
        leader_run(d->leader);
    }
    return !d->overflow;
}

/* ---- the store ------------------------------------------------------------------------------- */

static bool open_journal(struct durable *d, char *error)
{
    char text[JOURNAL_ERROR_MAX] = "";
    struct disk_options disk = { .directory = d->dir, .sync = DISK_SYNC_EVERY, .direct = true };
    struct journal_options options = { 0 };
    struct journal_report report;
    enum journal_error code = JOURNAL_IO;
    uint32_t length;
    const uint8_t *genesis = leader_genesis(d->leader, &length);
    uint64_t stream = leader_stream(d->leader);
    journal_options_default(&options);
    d->disk = disk_open_uring(&disk, text);
    if (d->disk != NULL)
        code = journal_format(d->disk, &options, stream, 1, genesis, length, text);
    if (code == JOURNAL_OK)
        d->journal = journal_open(d->disk, &options, stream, &report, &code, text);
    snprintf(error, BENCH_ERROR_MAX, "%s", text);
    return d->journal != NULL;
}

static bool start(struct durable *d, uint32_t payload_bytes, char *error)
{
    const char *tmp = getenv("TMPDIR");
    struct leader_options leader = { .publishers = PUBLISHERS,
                                     .topics = TOPICS,
                                     .payload_bytes = payload_bytes,
                                     .emitted = on_emitted,
                                     .ctx = d };
    snprintf(d->dir, sizeof d->dir, "%.40s/cantus-durable-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(d->dir) == NULL) {
        snprintf(error, BENCH_ERROR_MAX, "%s: %s", d->dir, strerror(errno));
        d->dir[0] = 0;
        return false;
    }
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    d->batches = malloc(BATCHES_MAX * sizeof *d->batches);
    d->leader = d->batches != NULL ? leader_create(&leader) : NULL;
    return d->leader != NULL && open_journal(d, error) &&
           bare_disk_open(&d->bare, d->dir, "floor", error);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static void stop(struct durable *d)
{
    retransmitter_destroy(d->core);
    if (d->journal != NULL)
        journal_close(d->journal);
    if (d->disk != NULL)
        d->disk->ops->destroy(d->disk);
    bare_disk_close(&d->bare);
    if (d->leader != NULL)
        leader_destroy(d->leader);
    free(d->batches);
    if (d->dir[0] != 0)
        nftw(d->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(d);
}

static void describe(const struct durable *d, struct bench_result *r, double target)
{
    char file_system[32];
    bare_disk_file_system(d->dir, file_system, sizeof file_system);
    bench_set_text(r, "file_system", file_system);
    bench_set_text(r, "direct", d->bare.direct ? "yes" : "no");
    r->wanted = BENCH_AT_MOST;
    r->target = target;
}

static bool measure_floor(struct durable *d, uint64_t appends, uint32_t bytes,
                          struct histogram *into, char *error)
{
    for (uint64_t i = 0; i < appends; i++) {
        uint64_t ns = bare_disk_append(&d->bare, bytes);
        if (ns == 0) {
            snprintf(error, BENCH_ERROR_MAX, "the floor's write failed");
            return false;
        }
        if (into != NULL)
            histogram_record(into, ns);
    }
    return true;
}

/* ---- append ---------------------------------------------------------------------------------- */

static void complete(struct durable *d)
{
    struct disk_completion done[COMPLETIONS];
    uint32_t count = d->disk->ops->complete(d->disk, done, COMPLETIONS);
    for (uint32_t i = 0; i < count; i++)
        journal_on_disk(d->journal, &done[i]);
}

/* 0: not durable within reason. */
static uint64_t append(struct durable *d, const struct batch *b)
{
    struct batch_header header;
    if (batch_decode(b->bytes, b->length, 0, &header) != WIRE_OK)
        return 0;
    uint64_t began = stage_mono_ns(), now = began;
    bool taken = false;
    for (;;) {
        taken = taken || journal_append(d->journal, b->bytes, &header);
        journal_commit(d->journal);
        complete(d);
        now = stage_mono_ns();
        if (journal_durable(d->journal).seq >= b->last_seq)
            return now - began;
        if (now - began > PATIENCE_NS)
            return 0;
        sched_yield(); /* the kernel's part of a write runs on this core, too */
    }
}

/* The next segment is prepared while nothing is measured. */
static void rest(struct durable *d)
{
    for (uint64_t began = stage_mono_ns(); stage_mono_ns() - began < PATIENCE_NS;) {
        (void)journal_step(d->journal, stage_mono_ns());
        complete(d);
        if (journal_idle(d->journal))
            return;
    }
}

static bool measure_append(struct durable *d, const struct bench_knobs *k, struct bench_result *r,
                           char *error)
{
    const uint32_t rounds = k->rounds != 0 ? k->rounds : ROUNDS;
    const uint64_t appends = k->count != 0 && k->count < BATCHES_MAX / 2 ? k->count : APPENDS;
    for (uint32_t round = 0; round <= rounds; round++) { /* the first is for warming up */
        bool counts = round > 0;
        if (!measure_floor(d, appends, BARE_DISK_BLOCK, counts ? &r->floor_latency : NULL, error))
            return false;
        if (!fill(d, (uint32_t)appends)) {
            snprintf(error, BENCH_ERROR_MAX, "no history could be made");
            return false;
        }
        for (uint32_t i = 0; i < d->round_count; i++) {
            uint64_t ns = append(d, &d->batches[i]);
            if (ns == 0) {
                snprintf(error, BENCH_ERROR_MAX, "%s: a batch did not become durable", d->dir);
                return false;
            }
            if (counts)
                histogram_record(&r->latency, ns);
        }
        rest(d);
        k->progress(round, rounds);
    }
    bench_set_u64(r, "rounds", rounds);
    bench_set_u64(r, "appends", r->latency.total);
    bench_set_u64(r, "batch_bytes", WIRE_DATAGRAM_DEFAULT);
    r->floor = "a bare program's write of 4 KiB, O_DIRECT and O_DSYNC, into pre-written space";
    describe(d, r, 1.3);
    return true;
}

bool durable_append(const struct bench_knobs *knobs, struct bench_result *result, char *error)
{
    struct durable *d = calloc(1, sizeof *d);
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (d == NULL)
        return false;
    d->bare.fd = -1;
    bool fine = start(d, knobs->payload_bytes != 0 ? knobs->payload_bytes : 32, error) &&
                measure_append(d, knobs, result, error);
    stop(d);
    return fine;
}

/* ---- loaded: a core between a made history and a real disk ----------------------------------- */

static void port_take(struct port *port, enum port_channel channel, struct port_addr to,
                      const uint8_t *bytes, uint32_t length)
{
    struct durable *d = (struct durable *)port;
    struct ack ack;
    (void)channel;
    (void)to;
    if (ack_decode(bytes, length, leader_stream(d->leader), &ack) == WIRE_OK)
        d->acked_seq = ack.tail.seq;
}

static uint8_t *port_memory(struct port *port, uint32_t length)
{
    (void)length;
    return ((struct durable *)port)->scratch;
}

static uint32_t port_connect(struct port *port, struct port_addr to)
{
    (void)port;
    (void)to;
    return 0;
}

static size_t port_room(struct port *port, uint32_t stream, size_t want)
{
    (void)port;
    (void)stream;
    (void)want;
    return 0;
}

static void port_write(struct port *port, uint32_t stream, const void *bytes, size_t length)
{
    (void)port;
    (void)stream;
    (void)bytes;
    (void)length;
}

static void port_close(struct port *port, uint32_t stream)
{
    (void)port;
    (void)stream;
}

static const struct port_ops port_ops = { .send = port_take,
                                          .scratch = port_memory,
                                          .stream_connect = port_connect,
                                          .stream_room = port_room,
                                          .stream_write = port_write,
                                          .stream_close = port_close };

static bool open_core(struct durable *d, char *error)
{
    struct retransmitter_options o;
    d->port = (struct port) { .ops = &port_ops, .datagram_max = WIRE_DATAGRAM_DEFAULT };
    retransmitter_options_default(&o);
    o.stream = leader_stream(d->leader);
    o.random = 1;
    o.datagram_max = WIRE_DATAGRAM_DEFAULT;
    d->core = retransmitter_create(&o, d->journal, &d->port, loop_clock());
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    return d->core != NULL;
}

/* Hands over what should have arrived by now. */
static uint32_t arrive(struct durable *d, uint32_t next, struct port_time now)
{
    uint32_t count = 0;
    while (count < ARRIVALS && next + count < d->round_count &&
           d->batches[next + count].due_ns <= now.mono_ns) {
        const struct batch *b = &d->batches[next + count];
        d->arriving[count++] = (struct port_datagram) { .bytes = b->bytes,
                                                        .length = b->length,
                                                        .from = { 0x7f000001, 700 },
                                                        .channel = PORT_EGRESS_A };
    }
    if (count > 0)
        retransmitter_participant.on_datagrams(d->core, d->arriving, count, now);
    return count;
}

/* A round as the event loop makes it. How many batches arrived. */
static uint32_t round_once(struct durable *d, uint32_t next)
{
    struct disk_completion done[COMPLETIONS];
    struct port_time now = loop_clock();
    uint32_t arrived = arrive(d, next, now);
    uint32_t count = d->disk->ops->complete(d->disk, done, COMPLETIONS);
    for (uint32_t i = 0; i < count; i++)
        retransmitter_participant.on_disk(d->core, &done[i], now);
    if (arrived == 0 && count == 0 && d->deadline_ns > now.mono_ns)
        sched_yield();
    else
        d->deadline_ns = retransmitter_participant.step(d->core, loop_clock());
    return arrived;
}

/* Acknowledged ones, from `next` on, are counted. */
static uint32_t count_acked(struct durable *d, uint32_t next)
{
    uint64_t now = stage_mono_ns();
    for (; next < d->round_count && d->batches[next].last_seq <= d->acked_seq; next++)
        if (d->into != NULL)
            histogram_record(d->into, now - d->batches[next].due_ns);
    return next;
}

static bool run_load(struct durable *d, uint64_t rate, char *error)
{
    uint64_t began = stage_mono_ns() + 1000 * 1000;
    for (uint32_t i = 0; i < d->round_count; i++)
        d->batches[i].due_ns = began + i * UINT64_C(1000000000) / rate;
    uint32_t arrived = 0, acked = 0;
    while (acked < d->round_count) {
        uint64_t before = d->acked_seq;
        arrived += round_once(d, arrived);
        if (d->acked_seq != before)
            acked = count_acked(d, acked);
        if (stage_mono_ns() > began + PATIENCE_NS) {
            snprintf(error, BENCH_ERROR_MAX, "%u of %u batches were not acknowledged within 10 s",
                     d->round_count - acked, d->round_count);
            return false;
        }
    }
    return true;
}

static uint32_t blocks_of(uint64_t bytes)
{
    uint64_t whole = (bytes + BARE_DISK_BLOCK - 1) / BARE_DISK_BLOCK * BARE_DISK_BLOCK;
    return whole == 0                     ? BARE_DISK_BLOCK
           : whole > BARE_DISK_APPEND_MAX ? BARE_DISK_APPEND_MAX
                                          : (uint32_t)whole;
}

static bool measure_loaded(struct durable *d, const struct bench_knobs *k, struct bench_result *r,
                           char *error)
{
    const uint32_t rounds = k->rounds != 0 ? k->rounds : ROUNDS;
    const uint64_t rate = k->rate_per_s != 0 ? k->rate_per_s : LOADED_RATE;
    const uint64_t batches = k->count != 0 && k->count < BATCHES_MAX / 2 ? k->count : 1000;
    const uint64_t *counters = journal_counters(d->journal);
    uint64_t commits = 0, bytes = 0;
    for (uint32_t round = 0; round <= rounds; round++) { /* the first is for warming up */
        bool counts = round > 0;
        uint64_t commits_before = counters[COUNTER_JOURNAL_COMMITS];
        uint64_t bytes_before = counters[COUNTER_JOURNAL_BYTES];
        d->into = counts ? &r->latency : NULL;
        snprintf(error, BENCH_ERROR_MAX, "no history could be made");
        if (!fill(d, (uint32_t)batches) || !run_load(d, rate, error))
            return false;
        uint64_t made = counters[COUNTER_JOURNAL_COMMITS] - commits_before;
        uint64_t wrote = counters[COUNTER_JOURNAL_BYTES] - bytes_before;
        commits += made;
        bytes += wrote;
        rest(d);
        if (!measure_floor(d, APPENDS, blocks_of(made > 0 ? wrote / made : 0),
                           counts ? &r->floor_latency : NULL, error))
            return false;
        k->progress(round, rounds);
    }
    bench_set_u64(r, "rounds", rounds);
    bench_set_u64(r, "batches", r->latency.total);
    bench_set_u64(r, "batch_bytes", WIRE_DATAGRAM_DEFAULT);
    bench_set_u64(r, "rate_asked_per_s", rate);
    bench_set_u64(r, "commit_bytes", commits > 0 ? bytes / commits : 0);
    r->floor = "a bare program's write of as much as a commit, O_DIRECT and O_DSYNC, one at a time";
    describe(d, r, 2.2);
    return true;
}

bool durable_loaded(const struct bench_knobs *knobs, struct bench_result *result, char *error)
{
    struct durable *d = calloc(1, sizeof *d);
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (d == NULL)
        return false;
    d->bare.fd = -1;
    bool fine = start(d, knobs->payload_bytes != 0 ? knobs->payload_bytes : 32, error) &&
                open_core(d, error) && measure_loaded(d, knobs, result, error);
    stop(d);
    return fine;
}
