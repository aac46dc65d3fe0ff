#include "cli/observe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct observation *observation_create(void)
{
    return calloc(1, sizeof(struct observation));
}

void observation_destroy(struct observation *o)
{
    free(o);
}

static int rank(const struct observed *p)
{
    return strcmp(p->role, "sequencer") == 0       ? 0
           : strcmp(p->role, "retransmitter") == 0 ? 1
           : strcmp(p->role, "proxy") == 0         ? 2
                                                   : 3;
}

static int by_role_and_name(const void *a, const void *b)
{
    const struct observed *x = a, *y = b;
    return rank(x) != rank(y) ? rank(x) - rank(y) : strcmp(x->name, y->name);
}

static void add_file(void *ctx, const char *path, const struct counter_snapshot *s,
                     const char *text)
{
    struct observation *o = ctx;
    (void)path;
    if (s == NULL) {
        snprintf(o->note, sizeof o->note, "%.500s", text);
        return;
    }
    if (o->count == OBSERVED_MAX)
        return;
    struct observed *p = &o->all[o->count++];
    *p = (struct observed) { .alive = s->alive,
                             .silent_ns = s->silent_ns,
                             .pid = s->pid,
                             .started_ns = s->started_ns,
                             .pause_max = s->pause_max,
                             .pause_recent = s->pause_recent,
                             .problem_count = s->problem_count };
    memcpy(p->role, s->role, sizeof p->role);
    memcpy(p->name, s->name, sizeof p->name);
    memcpy(p->state, s->state, sizeof p->state);
    memcpy(p->counters, s->counters, sizeof p->counters);
}

void observe_files(struct observation *o, const char *directory)
{
    struct counter_snapshot *space = calloc(1, sizeof *space);
    struct port_time now = loop_clock();
    o->count = 0;
    o->note[0] = '\0';
    o->mono_ns = now.mono_ns;
    o->wall_ns = now.wall_ns;
    if (space != NULL)
        counter_directory_read(directory, space, add_file, o);
    free(space);
    qsort(o->all, o->count, sizeof o->all[0], by_role_and_name);
}

static struct observed *find(struct observation *o, const char *role, const char *name)
{
    for (uint32_t i = 0; i < o->count; i++)
        if (strcmp(o->all[i].role, role) == 0 && strcmp(o->all[i].name, name) == 0)
            return &o->all[i];
    return NULL;
}

static void add_answer(struct observation *o, const struct process *process, const char *role)
{
    struct observed *p = find(o, role, process->name);
    if (p == NULL && o->count == OBSERVED_MAX)
        return;
    if (p == NULL)
        p = &o->all[o->count++];
    *p = (struct observed) { .alive = process->answered, .remote = true };
    snprintf(p->role, sizeof p->role, "%s", role);
    snprintf(p->name, sizeof p->name, "%s", process->name);
    snprintf(p->state, sizeof p->state, "%.*s", COUNTER_FILE_STATE_MAX,
             process->answered ? process->status.state : process->problem);
    if (!process->answered)
        return;
    p->started_ns = o->wall_ns - process->status.uptime_ns;
    memcpy(p->counters, process->status.counters, sizeof p->counters);
}

void observe_others(struct observation *o, const struct config *config, uint64_t timeout_ns)
{
    struct processes *p = processes_create(config);
    if (p == NULL)
        return;
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        const struct observed *local = find(o, process_role(&p->all[i]), p->all[i].name);
        if (local == NULL || !local->alive)
            p->all[count++] = p->all[i];
    }
    p->count = count;
    if (count > 0)
        processes_ask_within(p, timeout_ns);
    for (uint32_t i = 0; i < count; i++)
        add_answer(o, &p->all[i], process_role(&p->all[i]));
    processes_destroy(p);
    qsort(o->all, o->count, sizeof o->all[0], by_role_and_name);
}

bool observe_keeps(const char *role, enum counter c)
{
    unsigned whose = strcmp(role, "sequencer") == 0       ? COUNTER_SEQUENCERS
                     : strcmp(role, "retransmitter") == 0 ? COUNTER_STORES
                     : strcmp(role, "proxy") == 0         ? COUNTER_PROXIES
                                                          : COUNTER_APPS;
    return ((unsigned)counter_whose(c) & whose) != 0;
}
