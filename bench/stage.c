#include "bench/stage.h"

#include <errno.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"
#include "cli/deployment.h"

static const uint64_t poll_default_ns = 100 * 1000;

uint64_t stage_mono_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t stage_cpu_ns(pid_t process)
{
    char path[64];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", (int)process);
    FILE *f = fopen(path, "re");
    if (f == NULL || fscanf(f, "%llu", &ns) != 1)
        ns = 0;
    if (f != NULL)
        fclose(f);
    return ns;
}

uint64_t stage_memory_bytes(pid_t process)
{
    char path[64];
    unsigned long long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)process);
    FILE *f = fopen(path, "re");
    if (f == NULL || fscanf(f, "%*u %llu", &pages) != 1)
        pages = 0;
    if (f != NULL)
        fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

void stage_sleep_ms(uint32_t ms)
{
    struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
    nanosleep(&t, NULL);
}

enum stage_phase stage_phase_now(const struct stage *s)
{
    return (enum stage_phase)atomic_load_explicit(&s->shared->phase, memory_order_acquire);
}

void stage_set_phase(struct stage *s, enum stage_phase phase)
{
    atomic_store_explicit(&s->shared->phase, (int)phase, memory_order_release);
}

void stage_stay_on_core(int n)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) <= n)
        return;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || n-- > 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

/* ---- the deployment -------------------------------------------------------------------------- */

static bool make_stream(struct stage *s, const struct stage_options *o, char *error)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(s->dir, sizeof s->dir, "%.40s/cantus-bench-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(s->dir) == NULL) {
        snprintf(error, BENCH_ERROR_MAX, "%s: %s", s->dir, strerror(errno));
        s->dir[0] = 0;
        return false;
    }
    struct deployment_init what = { .dir = s->dir, .is_volatile = !o->store, .stores = o->stores };
    uint64_t stream;
    if (!deployment_init(&what, &stream, error))
        return false;
    snprintf(error, BENCH_ERROR_MAX, "the configuration just written can't be read");
    if (!deployment_config(s->dir, &s->config))
        return false;
    if (!o->no_segmentation)
        return true;
    char path[128], text[CONFIG_ERROR_MAX];
    s->config.segmentation = false;
    snprintf(path, sizeof path, "%s/%s", s->dir, CONFIG_FILE);
    if (config_write(path, &s->config, text))
        return true;
    snprintf(error, BENCH_ERROR_MAX, "%s", text);
    return false;
}

bool stage_open(struct stage *s, const struct stage_options *o, char *error)
{
    *s = (struct stage) { 0 };
    void *memory =
        mmap(NULL, sizeof *s->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        snprintf(error, BENCH_ERROR_MAX, "out of memory");
        return false;
    }
    s->shared = memory;
    s->spin = o->spin;
    s->poll_ns = o->poll_ns != 0 ? o->poll_ns : poll_default_ns;
    return make_stream(s, o, error);
}

bool stage_fork(struct stage *s, int (*role)(void *ctx, struct stage *s), void *ctx, int core,
                char *error)
{
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (core >= 0)
            stage_stay_on_core(core);
        int status = role(ctx, s);
        if (status != 0)
            atomic_store(&s->shared->failed, true);
        _exit(status);
    }
    if (child > 0)
        s->children[s->child_count++] = child;
    else
        snprintf(error, BENCH_ERROR_MAX, "cannot start a process: %s", strerror(errno));
    return child > 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void stage_close(struct stage *s)
{
    if (s->shared != NULL)
        stage_set_phase(s, STAGE_END);
    for (uint32_t i = 0; i < s->child_count; i++)
        waitpid(s->children[i], NULL, 0);
    if (s->shared != NULL)
        munmap(s->shared, sizeof *s->shared);
    if (s->dir[0] != 0)
        nftw(s->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    *s = (struct stage) { 0 };
}

/* ---- roles ----------------------------------------------------------------------------------- */

static struct loop_options idle_of(const struct stage *s)
{
    struct loop_options options = config_loop(&s->config);
    if (s->spin)
        options.idle = LOOP_IDLE_SPIN;
    return options;
}

static int give_up(const char *error)
{
    fprintf(stderr, "cantus: %s\n", error);
    return 1;
}

static void lose(const struct stage *s, struct transport *t)
{
    uint32_t ppm = atomic_load_explicit(&s->shared->ingress_loss_ppm, memory_order_relaxed);
    uint32_t has = (uint32_t)((uint64_t)t->lose_below * STAGE_SHARE_PPM >> 32);
    if (ppm + 1 < has || has + 1 < ppm)
        transport_lose(t, (double)ppm / STAGE_SHARE_PPM, 1);
}

int stage_sequencer(struct stage *s, void (*bare)(void *ctx, struct stage *s), void *ctx)
{
    char error[CONFIG_ERROR_MAX] = "out of memory";
    struct loop_options options = idle_of(s);
    struct sequencer_start start = { .lead = true, .how = SYS_EPOCH_STARTED };
    struct sequencer_shell *shell = calloc(1, sizeof *shell);
    struct loop *loop = loop_create(&options, error);
    if (shell == NULL || loop == NULL || !sequencer_shell_open(shell, &s->config, &start, error))
        return give_up(error);
    struct loop_participant participant = sequencer_shell_participant(shell);
    loop_add(loop, &participant);
    const uint64_t *counters = sequencer_counters(shell->core);
    for (enum stage_phase phase; (phase = stage_phase_now(s)) != STAGE_END;) {
        if (phase != STAGE_CANTUS && bare != NULL) {
            bare(ctx, s);
        } else if (phase != STAGE_CANTUS) {
            stage_sleep_ms(1);
        } else {
            lose(s, shell->transport);
            loop_poll(loop, s->poll_ns);
            atomic_store_explicit(&s->shared->batches, counters[COUNTER_BATCHES_EMITTED],
                                  memory_order_relaxed);
            atomic_store_explicit(&s->shared->tip, sequencer_tip(shell->core),
                                  memory_order_relaxed);
        }
    }
    return 0;
}

int stage_record(struct stage *s, uint32_t index, void (*bare)(void *ctx, struct stage *s),
                 void *ctx)
{
    char error[RETRANSMITTER_SHELL_ERROR_MAX] = "out of memory";
    struct loop_options options = idle_of(s);
    struct loop *loop = loop_create(&options, error);
    struct log log;
    log_init(&log, 2, LOG_ERROR);
    struct retransmitter_shell *shell =
        loop != NULL ? retransmitter_shell_open(&s->config, index, loop, &log, error) : NULL;
    if (shell == NULL)
        return give_up(error);
    for (enum stage_phase phase; (phase = stage_phase_now(s)) != STAGE_END;) {
        if (phase != STAGE_CANTUS && bare != NULL)
            bare(ctx, s);
        else if (phase != STAGE_CANTUS)
            stage_sleep_ms(1);
        else
            loop_poll(loop, s->poll_ns);
    }
    return 0;
}

int stage_recorder(void *ctx, struct stage *s)
{
    (void)ctx;
    return stage_record(s, 0, NULL, NULL);
}
