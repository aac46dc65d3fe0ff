#include "cli/metrics.h"

#include <inttypes.h>
#include <string.h>

/* Backslash, quote and newline, as the format wants it. */
static void print_label(FILE *f, const char *key, const char *value)
{
    fprintf(f, "%s=\"", key);
    for (; *value != '\0'; value++) {
        if (*value == '\\' || *value == '"')
            fputc('\\', f);
        if (*value == '\n')
            fputs("\\n", f);
        else
            fputc(*value, f);
    }
    fputc('"', f);
}

static void print_labels(FILE *f, const struct observed *p, uint64_t stream)
{
    fputc('{', f);
    print_label(f, "role", p->role);
    fputc(',', f);
    print_label(f, "name", p->name);
    fprintf(f, ",stream=\"%016" PRIx64 "\"} ", stream);
}

/* What is written in ns here is in seconds there. */
static void print_value(FILE *f, uint64_t value, double divisor)
{
    if (divisor > 1)
        fprintf(f, "%.9f\n", (double)value / divisor);
    else
        fprintf(f, "%" PRIu64 "\n", value);
}

static void print_head(FILE *f, const char *name, const char *type, const char *help)
{
    fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_counter(FILE *f, const struct observation *o, uint64_t stream, enum counter c)
{
    double divisor = counter_metric_divisor(c);
    const char *metric = counter_metric(c);
    char help[256];
    snprintf(help, sizeof help, "%s: %s.", divisor > 1 ? "seconds" : counter_unit(c),
             counter_help(c));
    print_head(f, metric, counter_kind(c) == COUNTER_KIND_COUNT ? "counter" : "gauge", help);
    for (uint32_t i = 0; i < o->count; i++) {
        const struct observed *p = &o->all[i];
        if (!p->alive || !observe_keeps(p->role, c))
            continue;
        fputs(metric, f);
        print_labels(f, p, stream);
        print_value(f, p->counters[c], divisor);
    }
}

struct own_metric {
    const char *name, *help;
    bool dead_too;
    uint64_t (*value)(const struct observed *p);
    double divisor;
};

static uint64_t up(const struct observed *p)
{
    return p->alive && p->silent_ns < OBSERVE_STALLED_NS;
}

static uint64_t silent(const struct observed *p)
{
    return p->silent_ns;
}

static uint64_t started(const struct observed *p)
{
    return p->started_ns;
}

static uint64_t problems(const struct observed *p)
{
    return p->problem_count;
}

void metrics_print(FILE *f, const struct observation *o, uint64_t stream)
{
    static const struct own_metric own[] = {
        { "cantus_up", "1: its process runs and its event loop goes round. 0: it does not.", true,
          up, 1 },
        { "cantus_silent_seconds", "Since its last sign of life, which is due every second.", false,
          silent, 1e9 },
        { "cantus_start_time_seconds", "Unix time when it started.", false, started, 1e9 },
        { "cantus_distinct_problems", "Different warnings and errors logged: cantus errors.", false,
          problems, 1 },
    };
    for (size_t m = 0; m < sizeof own / sizeof own[0]; m++) {
        print_head(f, own[m].name, "gauge", own[m].help);
        for (uint32_t i = 0; i < o->count; i++) {
            if (!o->all[i].alive && !own[m].dead_too)
                continue;
            fputs(own[m].name, f);
            print_labels(f, &o->all[i], stream);
            print_value(f, own[m].value(&o->all[i]), own[m].divisor);
        }
    }
    for (int c = 0; c < COUNTER_END; c++)
        print_counter(f, o, stream, (enum counter)c);
}

static const char *whose(enum counter c)
{
    switch (counter_whose(c)) {
    case COUNTER_SEQUENCERS:
        return "sequencers";
    case COUNTER_STORES:
        return "retransmitters";
    case COUNTER_APPS:
        return "apps";
    case COUNTER_PROXIES:
        return "proxies";
    case COUNTER_SERVERS:
        return "sequencers, retransmitters, proxies";
    case COUNTER_ALL:
        break;
    }
    return "all";
}

static void reference_of(FILE *f, const char *title, enum counter_kind kind)
{
    fprintf(f, "\n## %s\n\n| name | metric | of | unit | what |\n|---|---|---|---|---|\n", title);
    for (int i = 0; i < COUNTER_END; i++) {
        enum counter c = (enum counter)i;
        if (counter_kind(c) == kind)
            fprintf(f, "| `%s` | `%s` | %s | %s | %s |\n", counter_name(c), counter_metric(c),
                    whose(c), counter_unit(c), counter_help(c));
    }
}

void metrics_reference(FILE *f)
{
    fputs(
        "# Counters\n"
        "\n"
        "Written by `cantus metrics --reference` from the table in proto/counter.h. `name` is what\n"
        "`cantus status` and `cantus top` say, `metric` is what Prometheus gets from\n"
        "`cantus metrics`, where times are in seconds. Every sample has the labels `role`, `name`\n"
        "and `stream`. Besides these there are `cantus_up`, `cantus_silent_seconds`,\n"
        "`cantus_start_time_seconds` and `cantus_distinct_problems`.\n"
        "\n"
        "Each process keeps them in shared memory, in a file below `/dev/shm/cantus-STREAM` or the\n"
        "directory that `counters` in cantus.yaml names.\n",
        f);
    reference_of(f, "Counts, since the process started", COUNTER_KIND_COUNT);
    reference_of(f, "Gauges: what is now", COUNTER_KIND_GAUGE);
}
