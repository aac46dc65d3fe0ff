/* The cases of `cantus bench`: what each measures, next to its floor, and the line it prints.
 *
 * The floor is a bare program that moves the same bytes through the same kind of sockets or files,
 * in the same processes and on the same cores, in turn with the measured part within one run. So a
 * ratio is worth something on a machine whose figures are not. */
#ifndef CANTUS_BENCH_BENCH_H
#define CANTUS_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "bench/histogram.h"

enum { BENCH_ERROR_MAX = 1024, BENCH_SETTINGS_MAX = 24, BENCH_SERIES_MAX = 512 };

/* What the command line sets; 0 is each case's own default. */
struct bench_knobs {
    uint32_t rounds; /* of floor and measured part in turn */
    uint64_t count;  /* trips, messages or kills in a round */
    uint32_t payload_bytes;
    uint64_t rate_per_s; /* open loop at this rate, latencies from the intended send time; 0:
                               closed loop */
    uint32_t silence_ms; /* of automatic promotion */
    bool small_pages;    /* huge ones are not asked for, as daemons do */
    void (*progress)(uint64_t done, uint64_t total); /* never NULL */
};

struct bench_setting {
    char key[24];
    char value[64];
    bool text; /* quoted in the line */
};

/* The wanted side of the ratio. */
enum bench_target { BENCH_NO_TARGET = 0, BENCH_AT_MOST, BENCH_AT_LEAST };

struct bench_result {
    /* Latencies in ns; of those without a record nothing is printed. */
    struct histogram latency, floor_latency;
    /* Rates; 0: not measured. */
    double rate_per_s, floor_rate_per_s;
    double chain_rate_per_s; /* of as many bare processes: see chain.h */
    const char *unit;        /* of the rates: "messages", "datagrams" */
    /* The rate over time, for the report. */
    uint32_t series_count;
    double series_interval_s;
    double series[BENCH_SERIES_MAX];
    enum bench_target wanted;
    double target;                      /* of the ratio */
    double target_p50_us;               /* wanted at most, whatever the floor; 0: no such target */
    double target_p999_us;              /* the same */
    double memory_mb, target_memory_mb; /* of a process, and wanted at most; 0: not measured */
    double target_rate_per_s;           /* wanted at least, whatever the floor; 0: no such target */
    uint64_t messages_max, target_messages_max; /* the most, and wanted at most; 0: not counted */
    const char
        *floor; /* what the floor is, for the report: "two processes, sendmmsg and recvmmsg" */
    uint32_t setting_count;
    struct bench_setting settings[BENCH_SETTINGS_MAX];
};

struct bench_case {
    const char *bench; /* "rtt" */
    const char *name;  /* "sequenced" */
    const char *help;  /* a line, without a full stop */
    /* Fills a result that is all zero. False with a text in error[BENCH_ERROR_MAX]. */
    bool (*run)(const struct bench_knobs *knobs, struct bench_result *result, char *error);
};

extern const struct bench_case bench_cases[];
extern const size_t bench_case_count;

/* A setting of the run: it is part of the line. At most BENCH_SETTINGS_MAX. */
void bench_set_u64(struct bench_result *r, const char *key, uint64_t value);
void bench_set_i64(struct bench_result *r, const char *key, int64_t value);
void bench_set_text(struct bench_result *r, const char *key, const char *value);

/* The rate of the next round, for the series; what no longer fits is left out. */
void bench_series_add(struct bench_result *r, double rate_per_s);

/* Of the medians, or of the rates; 0 without a floor. */
double bench_ratio(const struct bench_result *r);
double bench_chain_ratio(const struct bench_result *r); /* the same of the chain */
bool bench_reached(const struct bench_result *r);       /* every target; true without one */

/* The line, without a newline: a JSON object. */
void bench_print(FILE *f, const struct bench_case *c, const struct bench_result *r);

#endif
