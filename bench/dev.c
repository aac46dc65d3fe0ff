#include "bench/dev.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/programs.h"
#include "bench/stage.h"

enum {
    START_ROUNDS = 5,
    START_US_MAX = 300000, /* wanted */
    IDLE_ROUNDS = 4,       /* seconds */
    IDLE_US_MAX = 5000,    /* wanted: 0.5 % of a core */
    SETTLE_MS = 700,
    PATIENCE_MS = 20000
};

struct dev {
    struct programs programs;
    char dir[64];
    pid_t process;
};

/* Reads lines until one begins with "ready". */
static bool wait_until_ready(int fd)
{
    char text[4096];
    size_t length = 0;
    uint64_t until = stage_mono_ns() + UINT64_C(1000000) * PATIENCE_MS;
    struct pollfd p = { .fd = fd, .events = POLLIN };
    while (stage_mono_ns() < until && length < sizeof text - 1) {
        if (poll(&p, 1, 100) <= 0)
            continue;
        ssize_t got = read(fd, text + length, sizeof text - 1 - length);
        if (got <= 0)
            return false;
        length += (size_t)got;
        text[length] = 0;
        if (strncmp(text, "ready", 5) == 0 || strstr(text, "\nready") != NULL)
            return true;
    }
    return false;
}

/* How long until it was ready, in ns; 0: it never was. End it all the same. */
static uint64_t begin(struct dev *d, char *error)
{
    const char *tmp = getenv("TMPDIR");
    int out[2] = { -1, -1 };
    snprintf(d->dir, sizeof d->dir, "%.40s/cantus-dev-XXXXXX", tmp != NULL ? tmp : "/tmp");
    snprintf(error, BENCH_ERROR_MAX, "cantus dev was not ready within %d s", PATIENCE_MS / 1000);
    if (mkdtemp(d->dir) == NULL || pipe(out) != 0) {
        snprintf(error, BENCH_ERROR_MAX, "%s: %s", d->dir, strerror(errno));
        return 0;
    }
    const char *const arguments[] = { "cantus", "dev", "--dir", d->dir, NULL };
    uint64_t began = stage_mono_ns();
    d->process = programs_start(&d->programs, arguments, out[1]);
    close(out[1]);
    bool ready = d->process > 0 && wait_until_ready(out[0]);
    uint64_t took = stage_mono_ns() - began;
    close(out[0]);
    return ready ? took : 0;
}

static void end(struct dev *d)
{
    programs_end(&d->process, SIGTERM);
    programs_remove(d->dir);
}

/* The CPU time of its one thread so far; 0: can't be read. */
static uint64_t cpu_ns(const struct dev *d)
{
    char path[64];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", (int)d->process);
    FILE *f = fopen(path, "re");
    if (f == NULL || fscanf(f, "%llu", &ns) != 1)
        ns = 0;
    if (f != NULL)
        fclose(f);
    return ns;
}

bool dev_start(const struct bench_knobs *k, struct bench_result *r, char *error)
{
    const uint32_t rounds = k->rounds != 0 ? k->rounds : START_ROUNDS;
    struct dev d = { 0 };
    if (!programs_find(&d.programs, error))
        return false;
    for (uint32_t i = 0; i < rounds; i++) {
        uint64_t took = begin(&d, error);
        end(&d);
        if (took == 0)
            return false;
        histogram_record(&r->latency, took);
        k->progress(i + 1, rounds);
    }
    r->target_p50_us = START_US_MAX;
    bench_set_u64(r, "rounds", rounds);
    return true;
}

static bool measure_idle(struct dev *d, const struct bench_knobs *k, uint32_t rounds,
                         struct bench_result *r, char *error)
{
    if (begin(d, error) == 0)
        return false;
    snprintf(error, BENCH_ERROR_MAX, "the CPU time of another process can't be read");
    stage_sleep_ms(SETTLE_MS);
    for (uint32_t i = 0; i < rounds; i++) {
        uint64_t cpu = cpu_ns(d), began = stage_mono_ns();
        stage_sleep_ms(1000);
        uint64_t after = cpu_ns(d), passed = stage_mono_ns() - began;
        if (cpu == 0 || after <= cpu)
            return false;
        histogram_record(&r->latency, (uint64_t)((double)(after - cpu) * 1e9 / (double)passed));
        k->progress(i + 1, rounds);
    }
    return true;
}

bool dev_idle(const struct bench_knobs *k, struct bench_result *r, char *error)
{
    const uint32_t rounds = k->rounds != 0 ? k->rounds : IDLE_ROUNDS;
    struct dev d = { 0 };
    bool fine = programs_find(&d.programs, error) && measure_idle(&d, k, rounds, r, error);
    end(&d);
    r->target_p50_us = IDLE_US_MAX;
    bench_set_u64(r, "rounds", rounds);
    bench_set_text(r, "clock", "CPU time in a second: 10 ms are 1 %");
    return fine;
}
