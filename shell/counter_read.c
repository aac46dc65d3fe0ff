#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shell/counter_layout.h"

enum { PATH_SIZE = 512 };

bool counter_file_is_locked(int fd)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static uint64_t mono_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Read, not mapped: whatever others do to the file, it can't end us. Twice, because what had the
 * same even version both times was not written in between. */
static bool read_twice(int fd, struct layout copies[2])
{
    for (int i = 0; i < 2; i++)
        if (pread(fd, &copies[i], sizeof copies[i], 0) != (ssize_t)sizeof copies[i])
            return false;
    return true;
}

static const char *foreign(const struct layout *l, bool whole)
{
    if (l->magic != COUNTER_FILE_MAGIC)
        return "not a file of counters";
    if (l->version != COUNTER_FILE_VERSION || l->counter_count != COUNTER_END ||
        l->table_hash != counter_table_hash() || l->bytes != sizeof *l)
        return "written by another release of Cantus, whose counters are others: use the `cantus` "
               "of that release";
    return whole ? NULL : "cut short";
}

/* What was written by others is text of our own from here on: printable, and it ends. */
static void clean(char *text, size_t size)
{
    text[size - 1] = '\0';
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

static bool settled(uint64_t first, uint64_t second)
{
    return first == second && first % 2 == 0;
}

static struct loop_pause pause_of(const struct layout_pause *a, const struct layout_pause *b)
{
    struct loop_pause pause =
        settled(a->version, b->version) ? a->pause : (struct loop_pause) { 0 };
    clean(pause.what, sizeof pause.what);
    return pause;
}

static int newest_first(const void *a, const void *b)
{
    uint64_t x = ((const struct counter_problem *)a)->last_ns;
    uint64_t y = ((const struct counter_problem *)b)->last_ns;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void take_problems(const struct layout *a, const struct layout *b,
                          struct counter_snapshot *out)
{
    for (int i = 0; i < LOG_ENTRIES_MAX; i++) {
        const struct layout_problem *p = &a->problems[i];
        if (p->version == 0 || !settled(p->version, b->problems[i].version))
            continue;
        struct counter_problem *to = &out->problems[out->problem_count];
        *to = p->problem;
        if (to->level != LOG_WARN && to->level != LOG_ERROR)
            continue;
        clean(to->component, sizeof to->component);
        clean(to->text, sizeof to->text);
        clean(to->detail, sizeof to->detail);
        out->problem_count++;
    }
    qsort(out->problems, out->problem_count, sizeof out->problems[0], newest_first);
}

static void take(const struct layout *a, const struct layout *b, struct counter_snapshot *out)
{
    uint64_t now = mono_ns();
    *out = (struct counter_snapshot) {
        .silent_ns = now > b->alive_ns ? now - b->alive_ns : 0,
        .started_ns = a->started_ns,
        .pid = a->pid,
        .stream = a->stream,
        .pause_max = pause_of(&a->pause_max, &b->pause_max),
        .pause_recent = pause_of(&a->pause_recent, &b->pause_recent),
        .forgotten = a->forgotten,
    };
    memcpy(out->role, a->role, sizeof out->role);
    memcpy(out->name, a->name, sizeof out->name);
    memcpy(out->state, a->state.text, sizeof out->state);
    if (!settled(a->state.version, b->state.version))
        out->state[0] = '\0';
    clean(out->role, sizeof out->role);
    clean(out->name, sizeof out->name);
    clean(out->state, sizeof out->state);
    memcpy(out->counters, b->counters, sizeof out->counters);
    take_problems(a, b, out);
}

bool counter_file_read(const char *path, struct counter_snapshot *out, char *error)
{
    *out = (struct counter_snapshot) { 0 };
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct layout *copies = calloc(2, sizeof *copies);
    const char *problem = NULL;
    if (fd < 0)
        problem = strerror(errno);
    else if (copies == NULL)
        problem = "no memory";
    else
        problem = foreign(copies, read_twice(fd, copies));
    if (problem == NULL) {
        take(&copies[0], &copies[1], out);
        out->alive = counter_file_is_locked(fd);
    } else
        snprintf(error, COUNTER_FILE_ERROR_MAX, "%.500s: %s", path, problem);
    free(copies);
    if (fd >= 0)
        close(fd);
    return problem == NULL;
}

static int is_counter_file(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name), suffix = strlen(COUNTER_FILE_SUFFIX);
    return entry->d_name[0] != '.' && length > suffix &&
           strcmp(entry->d_name + length - suffix, COUNTER_FILE_SUFFIX) == 0;
}

uint32_t counter_directory_read(const char *directory, struct counter_snapshot *space,
                                void (*each)(void *ctx, const char *path,
                                             const struct counter_snapshot *snapshot,
                                             const char *text),
                                void *ctx)
{
    struct dirent **entries = NULL;
    int found = scandir(directory, &entries, is_counter_file, alphasort);
    uint32_t count = 0;
    for (int i = 0; i < found; i++) {
        char path[PATH_SIZE], error[COUNTER_FILE_ERROR_MAX] = "";
        int n = snprintf(path, sizeof path, "%s/%s", directory, entries[i]->d_name);
        if (n > 0 && (size_t)n < sizeof path && count < COUNTER_FILES_MAX) {
            bool read = counter_file_read(path, space, error);
            each(ctx, path, read ? space : NULL, error);
            count++;
        }
        free(entries[i]);
    }
    free(entries);
    return count;
}
