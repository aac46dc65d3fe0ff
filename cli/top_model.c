#include "cli/top_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct top_model *top_model_create(uint64_t stream)
{
    struct top_model *m = calloc(1, sizeof *m);
    if (m != NULL)
        m->stream = stream;
    return m;
}

void top_model_destroy(struct top_model *m)
{
    free(m);
}

/* ---- taking an observation ------------------------------------------------------------------- */

static void push(struct top_history *h, double value)
{
    h->values[h->count++ % TOP_HISTORY_MAX] = value;
}

/* How far it is: what it has put in order, has on its disk, or has delivered. */
static uint64_t place_of(const struct observed *p)
{
    enum counter c = observe_keeps(p->role, COUNTER_DURABLE)     ? COUNTER_DURABLE
                     : observe_keeps(p->role, COUNTER_DELIVERED) ? COUNTER_DELIVERED
                                                                 : COUNTER_TIP;
    return p->counters[c];
}

static double rate_of(uint64_t before, uint64_t now, double seconds)
{
    return now > before && seconds > 0 ? (double)(now - before) / seconds : 0;
}

static bool same_run(const struct observed *a, const struct observed *b)
{
    return strcmp(a->role, b->role) == 0 && strcmp(a->name, b->name) == 0 && a->pid == b->pid &&
           a->remote == b->remote &&
           a->counters[COUNTER_DATAGRAMS_IN] <= b->counters[COUNTER_DATAGRAMS_IN];
}

static void advance(struct top_process *p, const struct observed *now, uint64_t mono_ns)
{
    double seconds = (double)(mono_ns - p->mono_ns) / 1e9;
    for (int c = 0; c < COUNTER_END; c++)
        p->rates[c] = counter_kind((enum counter)c) == COUNTER_KIND_COUNT
                          ? rate_of(p->now.counters[c], now->counters[c], seconds)
                          : 0;
    p->messages_rate = rate_of(place_of(&p->now), place_of(now), seconds);
    p->now = *now;
    p->mono_ns = mono_ns;
    push(&p->messages, p->messages_rate);
    push(&p->lag, (double)now->counters[COUNTER_LAG]);
}

/* The processes stay in the order of the observation: each is moved to its place, from where it was
 * or from nowhere. */
void top_model_take(struct top_model *m, const struct observation *o)
{
    for (uint32_t i = 0; i < o->count; i++) {
        uint32_t at = i;
        while (at < m->count && !same_run(&m->all[at].now, &o->all[i]))
            at++;
        struct top_process *p = &m->all[i];
        if (at < m->count && at > i) {
            struct top_process moved = m->all[at];
            memmove(p + 1, p, (at - i) * sizeof *p);
            *p = moved;
        }
        if (at < m->count) {
            advance(p, &o->all[i], o->mono_ns);
            continue;
        }
        if (m->count == OBSERVED_MAX)
            m->count--;
        memmove(p + 1, p, (m->count - i) * sizeof *p);
        m->count++;
        *p = (struct top_process) { .now = o->all[i], .mono_ns = o->mono_ns };
    }
    m->count = o->count;
    m->wall_ns = o->wall_ns;
    memcpy(m->note, o->note, sizeof m->note);
}

const struct top_process *top_model_leader(const struct top_model *m)
{
    const struct top_process *leader = NULL;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct observed *p = &m->all[i].now;
        if (p->alive && p->counters[COUNTER_LEADING] != 0 &&
            (leader == NULL || leader->now.counters[COUNTER_EPOCH] < p->counters[COUNTER_EPOCH]))
            leader = &m->all[i];
    }
    return leader;
}

/* ---- keys ------------------------------------------------------------------------------------ */

bool top_view_key(struct top_view *v, const struct top_model *m, enum top_key key)
{
    bool counters = v->page == TOP_COUNTERS;
    switch (key) {
    case TOP_KEY_QUIT:
        return false;
    case TOP_KEY_PAUSE:
        v->paused = !v->paused;
        break;
    case TOP_KEY_HELP:
        v->help = !v->help;
        break;
    case TOP_KEY_SORT:
        v->sort = (enum top_sort)((v->sort + 1) % TOP_SORTS);
        break;
    case TOP_KEY_UP:
        if (counters && v->scroll > 0)
            v->scroll--;
        else if (!counters && v->selected > 0)
            v->selected--;
        break;
    case TOP_KEY_DOWN:
        if (counters && v->scroll + 1 < COUNTER_END)
            v->scroll++;
        else if (!counters && v->selected + 1 < m->count)
            v->selected++;
        break;
    case TOP_KEY_LEFT:
        v->page = (enum top_page)((v->page + TOP_PAGES - 1) % TOP_PAGES);
        v->scroll = 0;
        break;
    case TOP_KEY_RIGHT:
        v->page = (enum top_page)((v->page + 1) % TOP_PAGES);
        v->scroll = 0;
        break;
    case TOP_KEY_OTHER:
        break;
    }
    return true;
}

/* ---- numbers and bars ------------------------------------------------------------------------ */

static const char *scaled(double value, const char *const *units, double step, char *out)
{
    int unit = 0;
    while (value >= step * 0.9995 && units[unit + 1] != NULL) {
        value /= step;
        unit++;
    }
    int digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
    snprintf(out, 16, "%.*f%s", value > 1e9 ? 0 : digits, value > 1e9 ? 1e9 : value, units[unit]);
    return out;
}

const char *top_number(double value, char *out)
{
    static const char *const units[] = { "", "k", "M", "G", "T", "P", "E", NULL };
    return scaled(value, units, 1000, out);
}

const char *top_duration(uint64_t ns, char *out)
{
    static const char *const units[] = { "ns", "us", "ms", "s", NULL };
    return scaled((double)ns, units, 1000, out);
}

const char *top_sparkline(const struct top_history *h, uint32_t width, bool ascii,
                          char out[TOP_LINE_BYTES])
{
    static const char *const blocks[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
    static const char *const letters[] = { "_", ".", "-", "=", "+", "*", "#", "@" };
    uint64_t have = h->count < TOP_HISTORY_MAX ? h->count : TOP_HISTORY_MAX;
    uint64_t shown = have < width ? have : width;
    size_t at = 0;
    double max = 0;
    for (uint64_t i = 0; i < shown; i++) {
        double value = h->values[(h->count - 1 - i) % TOP_HISTORY_MAX];
        max = value > max ? value : max;
    }
    for (uint64_t i = shown; i < width && at + 5 < TOP_LINE_BYTES; i++)
        out[at++] = ' ';
    for (uint64_t i = shown; i > 0 && at + 5 < TOP_LINE_BYTES; i--) {
        double value = h->values[(h->count - i) % TOP_HISTORY_MAX];
        int level = max > 0 ? (int)(value / max * 7 + 0.5) : 0;
        const char *bar = (ascii ? letters : blocks)[level < 0 ? 0 : level > 7 ? 7 : level];
        size_t length = strlen(bar);
        memcpy(out + at, bar, length);
        at += length;
    }
    out[at] = '\0';
    return out;
}
