/* The lines of `cantus bench`, written with all that a report draws, and read back: reports are
 * made from lines alone, so that one can be made again from what was saved.
 *
 * A detailed line is the plain one with these fields behind it: `floor_is`, what the floor is;
 * `histogram_ns` and `floor_histogram_ns`, pairs of a bucket's highest value and its count;
 * `series_interval_s` and `series_per_s`, the rate over time. A line whose first field is `machine`
 * says what the machine is. */
#ifndef CANTUS_BENCH_LINES_H
#define CANTUS_BENCH_LINES_H

#include "bench/bench.h"

enum { LINES_MAX = 128, LINES_NAME_MAX = 32, LINES_TEXT_MAX = 128, LINES_SERIES_MAX = 512 };

/* In us; 0: not measured. */
struct line_latency {
    double p50, p99, p999, max;
    struct histogram *histogram; /* NULL: the line has none */
};

struct line_field {
    char key[LINES_NAME_MAX];
    char value[LINES_TEXT_MAX];
};

struct bench_line {
    char bench[LINES_NAME_MAX], name[LINES_NAME_MAX];
    char unit[LINES_NAME_MAX];
    char floor_is[LINES_TEXT_MAX];
    struct line_latency latency, floor_latency;
    double rate_per_s, floor_rate_per_s, chain_rate_per_s;
    double ratio, chain_ratio;
    enum bench_target wanted; /* of the ratio */
    double target;
    double target_p50_us, target_p999_us, target_rate_per_s;
    double messages_max, target_messages_max; /* counted; 0: not */
    bool judged, reached;                     /* whether there is any target */
    uint32_t setting_count;
    struct line_field settings[BENCH_SETTINGS_MAX];
    double series_interval_s;
    uint32_t series_count;
    double series_per_s[LINES_SERIES_MAX];
    char *text; /* the line itself */
};

struct bench_lines {
    char *machine_text; /* NULL: no line said */
    uint32_t machine_count;
    struct line_field machine[BENCH_SETTINGS_MAX];
    uint32_t count;
    struct bench_line *lines[LINES_MAX];
};

/* Without newlines. */
void lines_print_detailed(FILE *f, const struct bench_case *c, const struct bench_result *r);
void lines_print_machine(FILE *f);

/* Reads a line. What is neither a case's nor the machine's is passed over; a case that is there
 * already is replaced. False with a text in error[BENCH_ERROR_MAX]: malformed, or more than
 * LINES_MAX. */
bool lines_add(struct bench_lines *l, const char *text, char *error);
/* Every line of a file that begins with a brace: so a report, which holds its lines, can be read,
 * too. */
bool lines_read(struct bench_lines *l, const char *path, char *error);
/* Drops all lines that are not wanted. */
void lines_select(struct bench_lines *l,
                  bool (*wanted)(const void *ctx, const struct bench_line *line), const void *ctx);
void lines_free(struct bench_lines *l);

/* What the case measures; NULL: this program has no such case. */
const char *lines_help(const struct bench_line *line);

#endif
