#include "shell/counter_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shell/counter_layout.h"

enum { PATH_SIZE = 512, NAMES_TRIED_MAX = 64, LOCK_TRIES_MAX = 200, DIRECTORIES_TRIED_MAX = 8 };

struct counter_file {
    int fd; /* its lock says that we live */
    struct layout *layout;
    struct log *log; /* that is attached; or NULL */
    bool remove_directory;
    char path[PATH_SIZE];
};

/* ---- the place in the directory -------------------------------------------------------------- */

/* Like /tmp: everyone's processes may put their files there, and remove none of others. */
static int open_directory(const char *path, char *error)
{
    if (mkdir(path, 01777) == 0)
        chmod(path, 01777); /* whatever the umask says */
    else if (errno != EEXIST) {
        snprintf(error, COUNTER_FILE_ERROR_MAX, "cannot make %.400s: %s", path, strerror(errno));
        return -1;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        snprintf(error, COUNTER_FILE_ERROR_MAX, "cannot open %.400s: %s", path, strerror(errno));
    return fd;
}

/* Held for as long as it takes to find a name; nobody is waited for beyond a fifth of a second. */
static bool lock_directory(int directory)
{
    for (int i = 0; i < LOCK_TRIES_MAX; i++) {
        if (flock(directory, LOCK_EX | LOCK_NB) == 0)
            return true;
        nanosleep(&(struct timespec) { .tv_nsec = 1000000 }, NULL);
    }
    return false;
}

/* Whether a file of this name may be replaced: there is none, or its process has ended. */
static bool is_vacant(int directory, const char *name)
{
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT;
    bool vacant = !counter_file_is_locked(fd);
    close(fd);
    return vacant;
}

static void file_name(const struct counter_file_start *start, int number, char *out, size_t size)
{
    int n = snprintf(out, size, "%.31s-%.63s", start->role, start->name);
    for (int i = 0; i < n; i++) {
        bool fine = (out[i] >= '0' && out[i] <= '9') || (out[i] >= 'a' && out[i] <= 'z') ||
                    (out[i] >= 'A' && out[i] <= 'Z') || strchr("._-", out[i]) != NULL;
        out[i] = fine ? out[i] : '_';
    }
    if (number > 1)
        n += snprintf(out + n, size - (size_t)n, "-%d", number);
    snprintf(out + n, size - (size_t)n, COUNTER_FILE_SUFFIX);
}

/* Gives the finished file, so far called `temporary`, its name. */
static bool take_name(struct counter_file *f, const struct counter_file_start *start, int directory,
                      const char *temporary, char *error)
{
    if (!lock_directory(directory)) {
        snprintf(error, COUNTER_FILE_ERROR_MAX, "%.400s: somebody keeps it locked",
                 start->directory);
        return false;
    }
    char name[160];
    for (int number = 1; number <= NAMES_TRIED_MAX; number++) {
        file_name(start, number, name, sizeof name);
        if (!is_vacant(directory, name) || renameat(directory, temporary, directory, name) != 0)
            continue;
        if (number > 1)
            snprintf(f->layout->name, sizeof f->layout->name, "%.58s-%d", start->name, number);
        int n = snprintf(f->path, sizeof f->path, "%s/%s", start->directory, name);
        if (n > 0 && (size_t)n < sizeof f->path)
            return true;
        unlinkat(directory, name, 0);
        break;
    }
    snprintf(error, COUNTER_FILE_ERROR_MAX, "no name is free in %.300s for %.31s %.63s",
             start->directory, start->role, start->name);
    return false;
}

/* ---- the file -------------------------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* All of it is taken at once: a store to a page that there is no memory for would end the
 * process. */
static bool map_file(struct counter_file *f, int directory, const char *temporary)
{
    f->fd = openat(directory, temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (f->fd < 0 || fchmod(f->fd, 0644) != 0)
        return false;
    errno = posix_fallocate(f->fd, 0, sizeof *f->layout);
    if (errno != 0)
        return false;
    void *at =
        mmap(NULL, sizeof *f->layout, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, f->fd, 0);
    if (at == MAP_FAILED)
        return false;
    f->layout = at;
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    return fcntl(f->fd, F_OFD_SETLK, &lock) == 0;
}

static void fill(struct layout *l, const struct counter_file_start *start)
{
    l->magic = COUNTER_FILE_MAGIC;
    l->version = COUNTER_FILE_VERSION;
    l->counter_count = COUNTER_END;
    l->table_hash = counter_table_hash();
    l->bytes = sizeof *l;
    l->stream = start->stream;
    l->pid = (uint64_t)getpid();
    l->started_ns = clock_ns(CLOCK_REALTIME);
    l->alive_ns = clock_ns(CLOCK_MONOTONIC);
    snprintf(l->role, sizeof l->role, "%s", start->role);
    snprintf(l->name, sizeof l->name, "%s", start->name);
}

struct counter_file *counter_file_create(const struct counter_file_start *start, char *error)
{
    static atomic_uint made;
    struct counter_file *f = calloc(1, sizeof *f);
    if (f == NULL) {
        snprintf(error, COUNTER_FILE_ERROR_MAX, "no memory for a counter file");
        return NULL;
    }
    f->fd = -1;
    char temporary[64];
    snprintf(temporary, sizeof temporary, ".new-%ld-%u", (long)getpid(),
             atomic_fetch_add(&made, 1));
    int directory = -1;
    bool mapped = false;
    /* Whoever closed the last file may be removing the directory just now. */
    for (int i = 0; i < DIRECTORIES_TRIED_MAX && !mapped; i++) {
        if (directory >= 0)
            close(directory);
        directory = open_directory(start->directory, error);
        if (directory < 0)
            goto failed;
        unlinkat(directory, temporary, 0); /* of a process that ended just here, with our id */
        mapped = map_file(f, directory, temporary);
        if (!mapped && errno != ENOENT)
            break;
    }
    if (!mapped) {
        snprintf(error, COUNTER_FILE_ERROR_MAX, "cannot make a file in %.400s: %s",
                 start->directory, strerror(errno));
        goto failed;
    }
    fill(f->layout, start);
    if (!take_name(f, start, directory, temporary, error))
        goto failed;
    close(directory);
    return f;
failed:
    if (directory >= 0) {
        unlinkat(directory, temporary, 0);
        close(directory);
    }
    counter_file_close(f);
    return NULL;
}

void counter_file_close(struct counter_file *f)
{
    if (f == NULL)
        return;
    if (f->log != NULL)
        f->log->on_problem = NULL;
    if (f->path[0] != '\0') {
        unlink(f->path);
        char *slash = strrchr(f->path, '/');
        *slash = '\0';
        if (f->remove_directory)
            rmdir(f->path); /* if it was the last */
    }
    if (f->layout != NULL)
        munmap(f->layout, sizeof *f->layout);
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}

uint64_t *counter_file_counters(struct counter_file *f)
{
    return f != NULL ? f->layout->counters : NULL;
}

/* ---- what is longer than a word -------------------------------------------------------------- */

static void begin(uint64_t *version)
{
    /* Acquires, so that nothing written between begin and end is seen before it. */
    (void)__atomic_fetch_add(version, 1, __ATOMIC_ACQ_REL);
}

static void end(uint64_t *version)
{
    __atomic_store_n(version, *version + 1, __ATOMIC_RELEASE);
}

static void set_pause(struct layout_pause *at, const struct loop_pause *pause)
{
    if (at->pause.duration_ns == pause->duration_ns && at->pause.wall_ns == pause->wall_ns)
        return;
    begin(&at->version);
    at->pause = *pause;
    end(&at->version);
}

void counter_file_sample(struct counter_file *f, const char *state, const struct loop *l)
{
    if (f == NULL)
        return;
    struct layout *at = f->layout;
    __atomic_store_n(&at->alive_ns, loop_now(l).mono_ns, __ATOMIC_RELAXED);
    struct loop_pause longest = loop_pause_max(l), recent = loop_pause_recent(l);
    set_pause(&at->pause_max, &longest);
    set_pause(&at->pause_recent, &recent);
    if (strncmp(at->state.text, state, COUNTER_FILE_STATE_MAX) == 0)
        return;
    begin(&at->state.version);
    snprintf(at->state.text, sizeof at->state.text, "%s", state);
    end(&at->state.version);
}

static void on_problem(void *ctx, const struct log *log, uint32_t index, const char *detail)
{
    struct counter_file *f = ctx;
    const struct log_entry *e = &log->entries[index];
    struct layout_problem *at = &f->layout->problems[index];
    __atomic_store_n(&f->layout->forgotten, log->forgotten, __ATOMIC_RELAXED);
    struct counter_problem *p = &at->problem;
    begin(&at->version);
    p->level = e->level;
    p->count = e->count;
    p->first_ns = e->first_ns;
    p->last_ns = e->last_ns;
    memcpy(p->component, e->component, sizeof e->component);
    memcpy(p->text, e->text, sizeof e->text);
    if (e->count == 1 || detail[0] != '\0')
        snprintf(p->detail, sizeof p->detail, "%s", detail);
    end(&at->version);
}

void counter_file_attach(struct counter_file *f, struct log *log)
{
    if (log->on_problem != NULL)
        return;
    log->on_problem = on_problem;
    log->problem_ctx = f;
    f->log = log;
}

struct counter_file *counter_file_of(const struct config *config, const char *role,
                                     const char *name, struct log *log)
{
    char directory[PATH_SIZE], error[COUNTER_FILE_ERROR_MAX] = "the path is too long";
    struct counter_file_start start = {
        .directory = directory, .role = role, .name = name, .stream = config->stream
    };
    struct counter_file *f = config_counters(config, directory, sizeof directory)
                                 ? counter_file_create(&start, error)
                                 : NULL;
    if (f != NULL)
        f->remove_directory = config->counters[0] == '\0'; /* nobody's but ours */
    if (f != NULL && log != NULL)
        counter_file_attach(f, log);
    if (f == NULL && log != NULL) {
        char quoted[LOG_LINE_MAX / 2];
        log_line(log, LOG_WARN, role, "counters can't be read by others", "why=%s",
                 log_quote(error, quoted, sizeof quoted));
    }
    return f;
}
