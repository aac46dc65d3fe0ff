#include "bench/replay.h"

#include <cantus/cantus.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/clock.h"
#include "bench/leader.h"
#include "journal/journal.h"
#include "proto/hash.h"

enum {
    PUBLISHERS = 100,
    TOPICS = 10000,
    ROUNDS = 10,
    MESSAGES = 4000000, /* in the store */
    CHUNK = 256,
    READ_BYTES = 1 << 20,
    COMPLETIONS = 8
};

struct store {
    char dir[64];
    struct disk *disk;
    struct journal *journal;
    struct journal_options options;
    uint8_t *buffer;
    uint64_t messages;
    uint64_t bytes; /* read by the floor in one round */
    bool failed;
};

/* ---- the store ------------------------------------------------------------------------------- */

static void complete(struct store *s)
{
    struct disk_completion done[COMPLETIONS];
    uint32_t count;
    while ((count = s->disk->ops->complete(s->disk, done, COMPLETIONS)) > 0) {
        for (uint32_t i = 0; i < count; i++)
            journal_on_disk(s->journal, &done[i]);
    }
}

/* What the leader emits is written as a retransmitter would. */
static void record(void *ctx, const uint8_t *bytes, uint32_t length)
{
    enum { TRIES_MAX = 100000 };
    struct store *s = ctx;
    struct batch_header h;
    bool taken = false;
    if (s->failed || batch_decode(bytes, length, 0, &h) != WIRE_OK) {
        s->failed = true;
        return;
    }
    for (uint32_t i = 0; !taken && i < TRIES_MAX; i++) {
        taken = journal_append(s->journal, bytes, &h);
        if (!taken || i > 0)
            journal_commit(s->journal);
        complete(s);
    }
    s->failed = !taken;
}

static bool begin_store(struct store *s, const struct leader *l, char *error)
{
    char text[JOURNAL_ERROR_MAX] = "";
    struct journal_report report;
    enum journal_error code;
    uint32_t length;
    const uint8_t *genesis = leader_genesis(l, &length);
    bool fine = journal_format(s->disk, &s->options, leader_stream(l), 1, genesis, length, text) ==
                JOURNAL_OK;
    if (fine)
        s->journal = journal_open(s->disk, &s->options, leader_stream(l), &report, &code, text);
    if (s->journal == NULL)
        snprintf(error, BENCH_ERROR_MAX, "%s: %s", s->dir, text);
    return s->journal != NULL;
}

static bool end_store(struct store *s)
{
    enum { TRIES_MAX = 100000 };
    for (uint32_t i = 0; i < TRIES_MAX && !journal_idle(s->journal); i++) {
        journal_commit(s->journal);
        complete(s);
    }
    bool idle = journal_idle(s->journal) && !s->failed;
    journal_close(s->journal);
    s->journal = NULL;
    s->disk->ops->destroy(s->disk);
    s->disk = NULL;
    return idle;
}

/* The history that a leader wrote before the store was opened: it is held until then. */
struct recorder {
    struct store *store;
    bool open;
    uint32_t count;
    struct early {
        uint32_t length;
        uint8_t bytes[WIRE_DATAGRAM_DEFAULT];
    } * early;
};

enum { EARLY_MAX = 4096 };

static void on_emitted(void *ctx, const uint8_t *bytes, uint32_t length)
{
    struct recorder *r = ctx;
    if (r->open) {
        record(r->store, bytes, length);
    } else if (r->count < EARLY_MAX && length <= WIRE_DATAGRAM_DEFAULT) {
        r->early[r->count].length = length;
        memcpy(r->early[r->count++].bytes, bytes, length);
    } else {
        r->store->failed = true;
    }
}

static bool write_history(struct store *s, struct recorder *r, const struct bench_knobs *k,
                          uint32_t payload_bytes, char *error)
{
    const uint64_t messages = k->count != 0 ? k->count : MESSAGES;
    struct leader_options o = { .publishers = PUBLISHERS,
                                .topics = TOPICS,
                                .payload_bytes = payload_bytes,
                                .emitted = on_emitted,
                                .ctx = r };
    struct leader *l = leader_create(&o);
    if (l == NULL)
        return false;
    bool fine = begin_store(s, l, error);
    if (fine) {
        r->open = true;
        for (uint32_t i = 0; i < r->count; i++)
            record(s, r->early[i].bytes, r->early[i].length);
        while (s->messages < messages && !s->failed) {
            s->messages += leader_make(l, CHUNK);
            leader_run(l);
        }
        fine = end_store(s);
        if (!fine)
            snprintf(error, BENCH_ERROR_MAX, "%s: the history could not be written", s->dir);
    }
    leader_destroy(l);
    return fine;
}

static bool make_store(struct store *s, const struct bench_knobs *k, uint32_t payload_bytes,
                       char *error)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(s->dir, sizeof s->dir, "%.40s/cantus-replay-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(s->dir) == NULL) {
        snprintf(error, BENCH_ERROR_MAX, "%s: %s", s->dir, strerror(errno));
        s->dir[0] = '\0';
        return false;
    }
    char text[256] = "";
    struct disk_options d = { .directory = s->dir, .sync = DISK_SYNC_NONE };
    s->disk = disk_open_file(&d, text);
    if (s->disk == NULL) {
        snprintf(error, BENCH_ERROR_MAX, "%s", text);
        return false;
    }
    struct recorder r = { .store = s, .early = calloc(EARLY_MAX, sizeof *r.early) };
    bool fine = r.early != NULL && write_history(s, &r, k, payload_bytes, error);
    free(r.early);
    return fine;
}

/* Calls back with each file, open for reading, until one says false. */
static bool each_file(struct store *s, bool (*file)(struct store *s, int fd))
{
    DIR *d = opendir(s->dir);
    bool fine = d != NULL;
    for (struct dirent *e; fine && (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
        fine = fd >= 0 && file(s, fd);
        if (fd >= 0)
            close(fd);
    }
    if (d != NULL)
        closedir(d);
    return fine;
}

static bool sync_and_forget(struct store *s, int fd)
{
    (void)s;
    return fsync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0;
}

static bool read_file(struct store *s, int fd)
{
    uint64_t sum = 0;
    for (ssize_t got; (got = read(fd, s->buffer, READ_BYTES)) != 0;) {
        if (got < 0)
            return false;
        sum = hash128(s->buffer, (size_t)got, sum).low;
        s->bytes += (uint64_t)got;
    }
    return true;
}

static void remove_store(struct store *s)
{
    if (s->journal != NULL)
        journal_close(s->journal);
    if (s->disk != NULL)
        s->disk->ops->destroy(s->disk);
    DIR *d = s->dir[0] != '\0' ? opendir(s->dir) : NULL;
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d != NULL)
        closedir(d);
    if (s->dir[0] != '\0')
        rmdir(s->dir);
    free(s->buffer);
}

/* ---- the app --------------------------------------------------------------------------------- */

struct state {
    uint64_t messages;
    uint64_t sum;
    uint64_t last_seq;
};

static void apply(void *state, const struct cantus_message *m)
{
    struct state *s = state;
    uint64_t value = 0;
    memcpy(&value, m->payload, m->length < sizeof value ? m->length : sizeof value);
    s->messages++;
    s->sum += value;
    s->last_seq = m->seq;
}

static const char *const topics[] = { "/md", NULL };
static const struct cantus_app counting = { .abi = CANTUS_APP_ABI,
                                            .name = "counting",
                                            .topics = topics,
                                            .state_size = sizeof(struct state),
                                            .apply = apply };

/* In the page cache nothing waits; from the disk that is what counts. */
static uint64_t clock_ns(bool cold)
{
    return cold ? bench_mono_ns() : bench_cpu_ns();
}

static bool replay(const struct store *s, bool cold, uint64_t *ns, char *error)
{
    char source[80];
    snprintf(source, sizeof source, "journal:%s", s->dir);
    struct cantus_client_options o = { .source = source, .name = "" };
    uint64_t began = clock_ns(cold);
    struct cantus_client *c = cantus_client_open(&o, error);
    struct cantus_machine *m =
        c != NULL ? cantus_client_add_app(c, &counting, NULL, NULL, error) : NULL;
    bool fine = m != NULL;
    if (fine) {
        enum cantus_status status;
        while ((status = cantus_client_poll(c, 0)) == CANTUS_OK)
            ;
        const struct state *state = cantus_machine_state(m);
        fine = status == CANTUS_END && state->messages == s->messages;
        if (!fine)
            snprintf(error, BENCH_ERROR_MAX, "%llu of %llu messages replayed: %s",
                     (unsigned long long)state->messages, (unsigned long long)s->messages,
                     cantus_client_error(c));
    }
    cantus_client_close(c);
    *ns = clock_ns(cold) - began;
    return fine;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static bool floor_of(struct store *s, bool cold, uint64_t *ns)
{
    uint64_t began = clock_ns(cold);
    s->bytes = 0;
    bool fine = each_file(s, read_file);
    *ns = clock_ns(cold) - began;
    return fine;
}

static bool measure(struct store *s, const struct bench_knobs *k, bool cold,
                    struct bench_result *result, char *error)
{
    const uint32_t rounds = k->rounds != 0 ? k->rounds : ROUNDS;
    uint64_t total_ns = 0, floor_total_ns = 0;
    for (uint32_t round = 0; round <= rounds; round++) { /* the first is for warming up */
        uint64_t ns, floor_ns;
        snprintf(error, BENCH_ERROR_MAX, "%s: %s", s->dir, "the files can't be read back");
        if ((cold && !each_file(s, sync_and_forget)) || !floor_of(s, cold, &floor_ns) ||
            (cold && !each_file(s, sync_and_forget)) || !replay(s, cold, &ns, error))
            return false;
        if (round > 0) {
            total_ns += ns;
            floor_total_ns += floor_ns;
            bench_series_add(result, (double)s->messages * 1e9 / (double)ns);
        }
        k->progress(round, rounds);
    }
    result->rate_per_s = (double)s->messages * rounds * 1e9 / (double)total_ns;
    result->floor_rate_per_s = (double)s->messages * rounds * 1e9 / (double)floor_total_ns;
    bench_set_u64(result, "messages", s->messages * rounds);
    bench_set_u64(result, "rounds", rounds);
    bench_set_u64(result, "store_bytes", s->bytes);
    return true;
}

static bool run(const struct bench_knobs *k, bool cold, struct bench_result *result, char *error)
{
    const uint32_t payload_bytes = k->payload_bytes != 0 ? k->payload_bytes : 32;
    struct store s = { .buffer = aligned_alloc(4096, READ_BYTES) };
    journal_options_default(&s.options);
    bench_set_u64(result, "payload_bytes", payload_bytes);
    bench_set_u64(result, "topics", TOPICS);
    bench_set_text(result, "files", cold ? "dropped from the page cache" : "in the page cache");
    bench_set_text(result, "clock", cold ? "monotonic" : "cpu time of the thread");
    result->unit = "messages";
    result->floor = "the same files read in the same pieces, and hashed";
    if (cold) { /* the disk's rate, as the floor has it */
        result->wanted = BENCH_AT_LEAST;
        result->target = .8;
    } else {
        result->target_rate_per_s = 40e6;
    }
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    bool fine = s.buffer != NULL && make_store(&s, k, payload_bytes, error) &&
                measure(&s, k, cold, result, error);
    remove_store(&s);
    return fine;
}

bool replay_cached(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, false, result, error);
}

bool replay_cold(const struct bench_knobs *k, struct bench_result *result, char *error)
{
    return run(k, true, result, error);
}
